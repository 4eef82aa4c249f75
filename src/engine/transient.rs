//! Queues in memory: named and bound like any other, unknown to the log, gone with the process.

use std::sync::Arc;

use bytes::Bytes;
use restante_storage::{Offset, QueueId, UnixMillis};

use super::chunk::Cause;
use super::queue::Queue;
use super::{Engine, QueueHandle, is_transient};

impl Engine {
    /// Makes a queue that lives in memory, named and bound like any other. `requests`: it is bound to that address in place of its
    /// own name, and takes only what somebody is to answer.
    pub fn add_transient_queue(
        &mut self,
        realm: &Arc<str>,
        name: &Arc<str>,
        requests: Option<&Arc<str>>,
        max_messages: u64,
        max_bytes: u64,
    ) -> Arc<QueueHandle> {
        let id = QueueHandle::transient_id(self.next_transient);
        self.next_transient += 1;
        let mut queue = Queue::transient(id);
        let handle = Arc::new(QueueHandle {
            id,
            realm: Arc::clone(realm),
            name: Arc::clone(name),
            max_messages,
            max_bytes,
            sheds: false,
            history: false,
            requests: requests.cloned(),
            def: None,
            gauges: Arc::clone(&queue.gauges),
        });
        queue.handle = Some(Arc::clone(&handle));
        self.queues.insert(id, queue);
        self.transient.insert(id);
        self.route(&handle, &[requests.unwrap_or(name).to_string()]);
        self.touch(id);
        handle
    }

    /// Removes a queue that lives in memory, with all that waits in it.
    pub fn remove_transient_queue(&mut self, id: QueueId) {
        if is_transient(id) {
            self.remove_queue(id);
        }
    }

    /// Puts an encoded record into a queue that lives in memory.
    pub fn enqueue_transient(
        &mut self,
        id: QueueId,
        record: Bytes,
        time: UnixMillis,
        expires: Option<UnixMillis>,
    ) {
        if let Some(queue) = self.queues.get_mut(&id) {
            queue.push_held(record, time, expires);
            self.touch(id);
        }
    }

    /// A message of a queue in memory goes at once.
    pub(super) fn drop_held(&mut self, id: QueueId, offset: Offset, cause: Cause) {
        let queue = self.queues.get_mut(&id);
        let taken = queue.and_then(|it| it.take(offset, &*self.bodies, &mut self.expiries));
        self.dropped.extend(taken.map(|_| (id, cause)));
    }

    /// Expired messages of queues in memory go at once.
    pub(super) fn drop_expired_held(&mut self, now: UnixMillis) {
        for id in self.transient.clone() {
            let queue = self.queues.get(&id);
            for offset in queue.map_or_else(Vec::new, |queue| queue.held_expired(now)) {
                self.drop_held(id, offset, Cause::Expired);
            }
        }
    }
}
