//! Time as the front sees it, and the one signal that ends it.

use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime};

use restante_storage::UnixMillis;
use tokio::sync::watch;
use tokio::time::Sleep;

/// A timer that is set anew only when it has to be: most turns of the loop end long before it.
pub(super) struct Alarm(Pin<Box<Sleep>>);

impl Alarm {
    /// A timer that is due.
    pub(super) fn new() -> Self {
        Alarm(Box::pin(tokio::time::sleep(Duration::ZERO)))
    }

    /// Waits until `at`, or wakes too early: whoever waits looks at the clock.
    pub(super) async fn reach(&mut self, at: Instant) {
        let at = tokio::time::Instant::from_std(at);
        if self.0.is_elapsed() || at < self.0.deadline() {
            self.0.as_mut().reset(at);
        }
        self.0.as_mut().await;
    }
}

/// Waits for the shutdown; whoever could tell of it being gone is one too.
pub(super) async fn down(shutdown: &mut watch::Receiver<bool>) {
    if shutdown.wait_for(|down| *down).await.is_err() {
        tracing::debug!("nobody is left who could tell of a shutdown");
    }
}

/// The clock that tests can stop.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The time of day, for what a message has left to live.
pub(super) fn wall() -> UnixMillis {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let millis = since_1970.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX));
    UnixMillis::new(millis)
}
