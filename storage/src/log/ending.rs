//! How the writer's thread ends, and who hears of it.
//!
//! Whatever ends it (a close, a failed sync, a panic), the order is the same: the housekeeper stops, the folder's lock
//! is given back, nobody waits for room any more, a failure is told once, and those who wait for the end go on.

use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use super::handle::Shared;
use crate::{DiskLock, LogError};

/// How the writer ended, for whoever waits for it.
#[derive(Default)]
pub(crate) struct Ended {
    result: Mutex<Option<Result<(), Arc<LogError>>>>,
    news: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Ended {
    pub(crate) fn attach(&self, thread: JoinHandle<()>) {
        *self.thread.lock() = Some(thread);
    }

    pub(crate) fn set(&self, result: Result<(), Arc<LogError>>) {
        *self.result.lock() = Some(result);
        self.news.notify_all();
    }

    pub(super) fn wait(&self) -> Result<(), Arc<LogError>> {
        let mut result = self.result.lock();
        let ended = loop {
            if let Some(ended) = &*result {
                break ended.clone();
            }
            self.news.wait(&mut result);
        };
        drop(result);
        if let Some(thread) = self.thread.lock().take() {
            thread
                .join()
                .unwrap_or_else(|_panic| tracing::error!("the log's writer panicked"));
        }
        ended
    }
}

/// What the thread leaves behind however it ends. The order matters: nothing touches the folder once the lock is gone,
/// nobody is told of the end before nothing more is taken.
pub(super) struct Ending<F: FnOnce(Arc<LogError>)> {
    pub(super) shared: Arc<Shared>,
    pub(super) lock: Option<Box<dyn DiskLock>>,
    pub(super) on_failure: Option<F>,
    /// None: the writer panicked.
    pub(super) result: Option<Result<(), LogError>>,
}

impl<F: FnOnce(Arc<LogError>)> Ending<F> {
    /// Runs the writer for its whole life, and leaves what is to be left.
    pub(super) fn after(mut self, writer: impl FnOnce() -> Result<(), LogError>) {
        self.result = Some(writer());
    }
}

impl<F: FnOnce(Arc<LogError>)> Drop for Ending<F> {
    fn drop(&mut self) {
        self.shared.housekeeper.stop();
        self.lock = None;
        self.shared.room.close();
        let result = self
            .result
            .take()
            .unwrap_or(Err(LogError::Panicked))
            .map_err(Arc::new);
        match &result {
            Err(failure) if !matches!(**failure, LogError::ClosedWhileFull { .. }) => {
                self.shared
                    .failure
                    .set(failure.clone())
                    .expect("a log ends once");
                if let Some(on_failure) = self.on_failure.take() {
                    on_failure(failure.clone());
                }
            }
            _ => {}
        }
        self.shared.ended.set(result);
    }
}
