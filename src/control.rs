//! What the admin API asks for, answered from the broker.

use std::net::IpAddr;

use metrics_exporter_prometheus::PrometheusHandle;
use restante_admin_api::{Admin, AuthError, BoxFuture, Check, Control, Health, Policy, QueueInfo};
use restante_storage::UnixMillis;

use crate::access::{self, ADMIN, Authenticator, Credentials};
use crate::broker::Broker;
use crate::engine::QueueReport;

/// The broker, as the admin API sees it.
pub(crate) struct Controller {
    broker: Broker,
    auth: Authenticator,
    metrics: PrometheusHandle,
}

impl Controller {
    pub(crate) fn new(broker: Broker, auth: Authenticator, metrics: PrometheusHandle) -> Self {
        Controller {
            broker,
            auth,
            metrics,
        }
    }
}

impl Control for Controller {
    fn health(&self) -> Health {
        let failed = self.broker.failed().borrow().is_some();
        let check = |name, ok, bad: &str| Check {
            name,
            ok,
            text: if ok { "ok".into() } else { bad.into() },
        };
        Health {
            live: true,
            ready: vec![
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
            ],
        }
    }

    fn metrics(&self) -> String {
        let marks = self.broker.marks();
        metrics::gauge!("restante_sessions_attached").set(self.broker.n_attached() as f64);
        metrics::gauge!("restante_log_durable_lsn").set(marks.durable.get() as f64);
        metrics::gauge!("restante_log_applied_lsn").set(marks.applied.get() as f64);
        metrics::gauge!("restante_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        self.metrics.render()
    }

    fn queues(&self) -> BoxFuture<'_, Vec<QueueInfo>> {
        Box::pin(async move { self.broker.queues().await.into_iter().map(info).collect() })
    }

    fn authenticate<'a>(
        &'a self,
        authorization: &'a [u8],
        peer: IpAddr,
    ) -> BoxFuture<'a, Result<Admin, AuthError>> {
        Box::pin(async move {
            let credentials =
                Credentials::from_header(authorization).map_err(|_| AuthError::Refused)?;
            let principal =
                self.auth
                    .verify(credentials, peer)
                    .await
                    .map_err(|error| match error {
                        access::AuthError::Refused => AuthError::Refused,
                        access::AuthError::TooManyAttempts { retry_after } => {
                            AuthError::TooMany { retry_after }
                        }
                        access::AuthError::Busy => AuthError::Busy,
                    })?;
            Ok(Admin {
                name: principal.name.to_string(),
                may_read: principal.has_role(ADMIN),
            })
        })
    }
}

fn info(queue: QueueReport) -> QueueInfo {
    let positive = |number: u64| (number > 0).then_some(number);
    let def = queue.def.unwrap_or_default();
    QueueInfo {
        realm: queue.realm,
        name: queue.name,
        durable: queue.durable,
        messages_ready: queue.ready,
        messages_unsettled: queue.unsettled,
        bytes: queue.bytes,
        consumers: queue.consumers,
        next_offset: queue.next_offset,
        oldest_timestamp: queue.oldest.map(UnixMillis::get),
        policy: Policy {
            ttl_ms: positive(def.ttl_ms),
            max_messages: positive(def.max_messages),
            max_bytes: positive(def.max_bytes),
            max_attempts: (def.max_attempts > 0).then_some(def.max_attempts),
            dead_letter: def.dead_letter,
        },
    }
}
