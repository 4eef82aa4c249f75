//! What the service manager is told: ready, stopping, and that the broker is alive (sd_notify(3), `Type=notify`).
//!
//! ```text
//! recovering … ─▶ READY=1 ─▶ WATCHDOG=1, again and again ─▶ STOPPING=1 ─▶ exit
//!                    ▲ └─▶ RELOADING=1 ─┐
//!                    └──────────────────┘
//! ```
//!
//! Without `NOTIFY_SOCKET` in the environment each of these does nothing. A message that cannot be sent is logged and
//! forgotten: the service manager's troubles are none of the clients'.
//!
//! Always:
//! - ready is said once the listeners are bound and the log is replayed, not before, and stopping before the drain
//!   (`systemd_hears_of_ready_alive_and_stopping`, `tests/whole/ops.rs`);
//! - the watchdog is fed only while the core answers (`a_core_that_does_not_answer_feeds_no_watchdog`): a broker that
//!   listens and does nothing is restarted.

use std::future::Future;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::broker::Broker;

/// How often the watchdog is fed within its limit: one answer that comes late is not the end.
const FEEDS_PER_LIMIT: u32 = 3;

/// The log is being read; `systemctl status` shows it.
pub(crate) fn recovering() {
    tell(&[NotifyState::Status("recovering")]);
}

/// Clients are served from now on, or again after [`reloading`].
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration or a certificate is read again; [`ready`] ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager is not told of the reload"),
    }
}

/// The way to the end has begun, and it is not to be taken for a crash.
pub(crate) fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// Feeds the watchdog for as long as the core answers. Ends at once where there is none (`WatchdogSec` is not set).
pub(crate) async fn feed_watchdog(broker: Broker) {
    let limit = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero());
    let Some(patience) = limit.map(|limit| limit / FEEDS_PER_LIMIT) else {
        return;
    };
    let mut tick = interval(patience.max(Duration::from_millis(1)));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if answers_within(patience, broker.answers()).await {
            tell(&[NotifyState::Watchdog]);
        } else {
            tracing::error!("the core does not answer: the watchdog is not fed");
        }
    }
}

async fn answers_within(patience: Duration, answer: impl Future<Output = bool>) -> bool {
    timeout(patience, answer).await.unwrap_or(false)
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn a_core_that_does_not_answer_feeds_no_watchdog() {
        let long = Duration::from_secs(60);
        assert!(answers_within(long, ready(true)).await);
        assert!(!answers_within(long, ready(false)).await);
        assert!(!answers_within(Duration::from_millis(1), pending()).await);
    }
}
