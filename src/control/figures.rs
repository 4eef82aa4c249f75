//! How the broker is: health, overview, metrics. The core is not asked: what watches the broker must not wait for it.

use restante_admin_api::document::DocumentKind;
use restante_admin_api::queue::QueueInfo;
use restante_admin_api::{Check, ControlError, Health, Overview, QueuesWanted};
use restante_storage::UnixMillis;

use super::Controller;
use crate::broker::{DEFAULT_REALM, is_named_by_clients};
use crate::config::SyncPolicy;
use crate::exposition::QueueFigures;
use crate::tls::Certificates;

impl Controller {
    pub(super) fn how_it_is(&self) -> Health {
        let failed = self.broker.failed().borrow().is_some();
        let check = |name, ok, bad: &str| Check {
            name,
            ok,
            text: if ok { "ok".into() } else { bad.into() },
        };
        let certificate = self.certificates.as_deref().map(certificate_check);
        let ready = vec![
            // The listener that answers this is opened only once the log is replayed.
            check("recovered", true, ""),
            check(
                "log",
                !failed,
                "a write or sync failed: the broker is stopping",
            ),
            check(
                "disk",
                !self.broker.is_disk_full(),
                "below storage.free-low: publishes are refused",
            ),
            check(
                "draining",
                !self.broker.is_draining(),
                "the broker is shutting down",
            ),
        ];
        Health {
            live: true,
            ready: ready.into_iter().chain(certificate).collect(),
        }
    }

    pub(super) async fn figures(&self) -> String {
        if !self.meters.is_on() {
            return self.meters.render(None, []);
        }
        let checksum = self.definer.last_checksum().await;
        self.look_up();
        let queues = self.all_queues();
        self.meters
            .render(checksum.as_deref(), queues.iter().map(figures))
    }

    /// What is not counted as it happens.
    fn look_up(&self) {
        let marks = self.broker.marks();
        let (segments, bytes) = self.broker.log_size();
        metrics::gauge!("restante_sessions_attached").set(self.broker.n_attached() as f64);
        metrics::gauge!("restante_retained_messages").set(self.broker.n_retained() as f64);
        metrics::gauge!("restante_log_durable_lsn").set(marks.durable.get() as f64);
        metrics::gauge!("restante_log_applied_lsn").set(marks.applied.get() as f64);
        metrics::gauge!("restante_log_segments").set(segments as f64);
        metrics::gauge!("restante_log_size_bytes").set(bytes as f64);
        let wamp = self.broker.wamp_counts();
        metrics::gauge!("restante_wamp_sessions").set(wamp.sessions as f64);
        metrics::gauge!("restante_wamp_subscriptions").set(wamp.subscriptions as f64);
        metrics::gauge!("restante_wamp_registrations").set(wamp.registrations as f64);
        metrics::gauge!("restante_wamp_calls_in_flight").set(wamp.calls as f64);
        for check in self.how_it_is().ready {
            metrics::gauge!("restante_ready", "check" => check.name)
                .set(f64::from(u8::from(check.ok)));
        }
    }

    pub(super) async fn look_over(&self) -> Result<Overview, ControlError> {
        let checksum = self.definer.checksum().await?;
        let queues = self.all_queues();
        let registry = self.broker.registry();
        let realms = registry.of_kind(DocumentKind::Realm);
        let others = realms.filter(|it| it.id.name != DEFAULT_REALM).count() as u64;
        let messages = queues
            .iter()
            .map(|it| it.messages_ready + it.messages_unsettled);
        Ok(Overview {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: self.broker.node().to_string(),
            started_at: self.started_at.get(),
            sync: match self.config.load().storage.sync {
                SyncPolicy::Always => "always",
                SyncPolicy::Interval => "interval",
                SyncPolicy::Never => "never",
            }
            .to_owned(),
            realms: others + 1,
            queues: queues.len() as u64,
            connections: self.broker.n_attached() as u64,
            sessions: self.broker.n_sessions() as u64,
            messages: messages.sum(),
            log_durable: self.broker.marks().durable.get(),
            disk_full: self.broker.is_disk_full(),
            definitions_checksum: checksum.to_string(),
        })
    }

    fn all_queues(&self) -> Vec<QueueInfo> {
        self.broker.queues(&QueuesWanted {
            limit: usize::MAX,
            ..QueuesWanted::default()
        })
    }
}

fn figures(queue: &QueueInfo) -> QueueFigures<'_> {
    QueueFigures {
        realm: &queue.realm,
        queue: &queue.name,
        unnamed: !queue.durable || is_named_by_clients(&queue.name),
        ready: queue.messages_ready,
        unsettled: queue.messages_unsettled,
        bytes: queue.bytes,
        consumers: queue.consumers,
        oldest: queue.oldest_timestamp.map(UnixMillis::new),
        paused: queue.paused.is_some(),
    }
}

/// Not before it has expired: until then clients take it.
fn certificate_check(certificates: &Certificates) -> Check {
    let (expires, expired) = certificates.expiry();
    let text = if expired {
        format!("the TLS certificate expired on {expires}: clients refuse it")
    } else {
        format!("ok until {expires}")
    };
    Check {
        name: "certificate",
        ok: !expired,
        text,
    }
}

#[cfg(test)]
mod tests {
    use restante_admin_api::queue::QueueSpec;

    use super::*;

    #[test]
    fn queues_that_clients_have_named_are_only_counted() {
        for (name, durable, unnamed) in [
            ("orders", true, false),
            ("mqtt/orders", true, false),
            ("$mqtt/till", true, true),
            ("$share/g/a%2Fb", true, true),
            ("~1/x", false, true),
        ] {
            let queue = QueueInfo {
                realm: DEFAULT_REALM.to_owned(),
                name: name.to_owned(),
                durable,
                messages_ready: 0,
                messages_unsettled: 0,
                bytes: 0,
                consumers: 0,
                next_offset: 1,
                oldest_timestamp: None,
                paused: None,
                spec: QueueSpec::default(),
                revision: 1,
            };
            assert_eq!(figures(&queue).unnamed, unnamed, "{name}");
        }
    }
}
