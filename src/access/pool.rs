//! Work that takes milliseconds of a processor, away from the tasks that move messages, a bounded amount at a time.
//!
//! So many run, so many wait, and whoever comes then is told so at once. Work goes on to its end even if whoever asked for
//! it has left: who leaves does not make room for more.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Cheap to clone: a handle to the same pool.
#[derive(Clone)]
pub(super) struct Pool {
    queue: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

/// The queue is full, or the work broke down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Busy;

impl Pool {
    /// `queued_max` counts those that run as well.
    pub(super) fn new(queued_max: usize, running_max: usize) -> Pool {
        Pool {
            queue: Arc::new(Semaphore::new(queued_max)),
            running: Arc::new(Semaphore::new(running_max)),
        }
    }

    /// Runs `work`, if there is a place in the queue.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let queued = self.queue.clone().try_acquire_owned().map_err(|_| Busy)?;
        let running = self.running.clone().acquire_owned();
        let running = running.await.map_err(|_| Busy)?;
        let run = tokio::task::spawn_blocking(move || {
            let _permits = (queued, running);
            work()
        });
        run.await.map_err(|_| Busy)
    }

    /// As [`Pool::run`], but waits for a turn however many are before: for callers who are few by nature.
    pub(super) async fn run_patiently<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let running = self.running.clone().acquire_owned();
        let running = running.await.map_err(|_| Busy)?;
        let run = tokio::task::spawn_blocking(move || {
            let _permit = running;
            work()
        });
        run.await.map_err(|_| Busy)
    }

    /// Takes every place, so that nothing more can run until they are dropped.
    #[cfg(test)]
    pub(super) fn fill(&self) -> Vec<tokio::sync::OwnedSemaphorePermit> {
        std::iter::from_fn(|| self.queue.clone().try_acquire_owned().ok()).collect()
    }
}
