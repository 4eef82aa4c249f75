//! What bounds the messages that all senders together have sent and no taker has yet: they are in the same process.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::super::pool::Meter;

/// What has not come by then is missing.
const MISSING_AFTER: Duration = Duration::from_secs(3);

/// How far the takers are, and what may be sent.
pub(super) struct Flow {
    pub(super) meter: Arc<Meter>,
    most: u64,
    bell: Notify,
    over: watch::Sender<bool>,
}

impl Flow {
    /// With at most so many under way.
    pub(super) fn new(most: u64) -> Arc<Flow> {
        Arc::new(Flow {
            meter: Meter::new(),
            most,
            bell: Notify::new(),
            over: watch::Sender::new(false),
        })
    }

    /// Waits for room for `n` more, and takes it; false: the load has stopped.
    pub(super) async fn take_room(&self, n: u64, stop: &mut watch::Receiver<bool>) -> bool {
        loop {
            let rung = self.bell.notified();
            if *stop.borrow_and_update() {
                return false;
            }
            if self.under_way() + n <= self.most {
                self.meter.published.fetch_add(n, Ordering::Relaxed);
                return true;
            }
            tokio::select! {
                () = rung => {}
                // The meter is there as long as its clients are.
                changed = stop.changed() => drop(changed),
            }
        }
    }

    /// `n` more have come.
    pub(super) fn came(&self, n: u64) {
        self.meter.delivered.fetch_add(n, Ordering::Relaxed);
        self.bell.notify_waiters();
    }

    /// Told once takers need not wait for more.
    pub(super) fn ended(&self) -> watch::Receiver<bool> {
        self.over.subscribe()
    }

    /// Waits for what is under way, lets the takers go, and says how many messages are missing.
    pub(super) async fn end(&self) -> u64 {
        let mut before = self.under_way();
        while before > 0 {
            let fewer = async {
                loop {
                    let rung = self.bell.notified();
                    let left = self.under_way();
                    if left == 0 || left < before {
                        break left;
                    }
                    rung.await;
                }
            };
            match tokio::time::timeout(MISSING_AFTER, fewer).await {
                Ok(left) => before = left,
                Err(_late) => break,
            }
        }
        self.over.send_replace(true);
        before
    }

    fn under_way(&self) -> u64 {
        let there = self.meter.delivered.load(Ordering::Relaxed);
        let sent = self.meter.published.load(Ordering::Relaxed);
        sent.saturating_sub(there)
    }
}
