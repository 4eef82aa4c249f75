//! A publisher that goes as fast as all of its subscribers, where the protocol itself would not hold it back: they are in the
//! same process, and it looks at what they count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::pool::Meter;

/// What has not come by then is lost.
const LOST_AFTER: Duration = Duration::from_secs(3);

/// How far the subscribers are, all together.
pub(super) struct Pace {
    /// Rung when there are as many deliveries.
    wanted: AtomicU64,
    bell: Notify,
    over: watch::Sender<bool>,
}

impl Pace {
    pub(super) fn new() -> Arc<Pace> {
        Arc::new(Pace {
            wanted: AtomicU64::new(u64::MAX),
            bell: Notify::new(),
            over: watch::Sender::new(false),
        })
    }

    /// Waits for so many deliveries; false: they do not come.
    pub(super) async fn reaches(&self, meter: &Meter, wanted: u64) -> bool {
        self.wanted.store(wanted, Ordering::Relaxed);
        let mut before = meter.delivered.load(Ordering::Relaxed);
        while before < wanted {
            let rung = self.bell.notified();
            let late = tokio::time::timeout(LOST_AFTER, rung).await.is_err();
            let now = meter.delivered.load(Ordering::Relaxed);
            if late && now == before {
                return false;
            }
            before = now;
        }
        true
    }

    /// Counts `n` deliveries more.
    pub(super) fn came(&self, meter: &Meter, n: u64) {
        let before = meter.delivered.fetch_add(n, Ordering::Relaxed);
        let wanted = self.wanted.load(Ordering::Relaxed);
        if before < wanted && before + n >= wanted {
            self.bell.notify_one();
        }
    }

    /// Subscribers need not wait for more.
    pub(super) fn end(&self) {
        self.over.send_replace(true);
    }

    /// Told once that is so.
    pub(super) fn ended(&self) -> watch::Receiver<bool> {
        self.over.subscribe()
    }
}
