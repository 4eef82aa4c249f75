//! Queues in memory.

use std::sync::Arc;

use bytes::Bytes;
use restante_storage::payload::Settle;
use restante_storage::{QueueId, UnixMillis};

use super::rig::{REALM, Rig};
use crate::engine::{Cause, QueueHandle};

fn add(rig: &mut Rig, name: &str) -> Arc<QueueHandle> {
    let (realm, name): (Arc<str>, Arc<str>) = (REALM.into(), name.into());
    rig.engine.add_transient_queue(&realm, &name, None, 0, 0)
}

fn enqueue(rig: &mut Rig, queue: QueueId, n: usize, expires: Option<u64>) {
    for _ in 0..n {
        let (time, expires) = (rig.time(), expires.map(UnixMillis::new));
        let record = Bytes::from_static(b"record");
        rig.engine.enqueue_transient(queue, record, time, expires);
    }
}

fn settle(rig: &mut Rig, queue: QueueId, change: impl FnOnce(&mut Settle)) -> bool {
    let mut it = Settle::default();
    change(&mut it);
    rig.engine.settle_transient(queue, &it)
}

#[test]
fn a_queue_in_memory_delivers_settles_and_takes_back_without_the_log() {
    let mut rig = Rig::new();
    let queue = add(&mut rig, "t").id;
    enqueue(&mut rig, queue, 5, None);
    let gone = rig.consumer(queue, 3);
    assert_eq!(rig.offsets(), [1, 2, 3]);
    assert!(settle(&mut rig, queue, |it| it.accepted = vec![1, 1]));
    assert!(!settle(&mut rig, queue, |it| it.accepted = vec![1, 1]));
    assert!(settle(&mut rig, queue, |it| it.released = vec![2, 2]));
    rig.engine.remove_consumer(gone);
    rig.consumer(queue, 9);
    let got: Vec<_> = rig
        .deliveries()
        .iter()
        .map(|got| (got.offset, got.attempt))
        .collect();
    assert_eq!(got, [(2, 2), (3, 2), (4, 1), (5, 1)]);
    assert_eq!(rig.errands(), []);
    assert!(settle(&mut rig, queue, |it| it.rejected = vec![2, 5]));
    let dropped = rig.engine.take_dropped();
    assert_eq!(dropped, [(queue, Cause::Rejected); 4]);
    assert_eq!(rig.handle_messages(queue), 0);
}

#[test]
fn a_queue_in_memory_leaves_no_trace_in_the_state_store() {
    let mut rig = Rig::new();
    let queue = add(&mut rig, "t").id;
    enqueue(&mut rig, queue, 2, None);
    rig.consumer(queue, 1);
    rig.deliveries();
    settle(&mut rig, queue, |it| it.released = vec![1, 1]);
    rig.checkpoint();
    assert_eq!(rig.store.rows().len(), 1);
    assert_eq!(rig.engine.next_offsets().count(), 0);
    rig.engine.remove_transient_queue(queue);
    rig.checkpoint();
    assert_eq!(rig.store.rows().len(), 1);
    rig.deliveries();
    assert_eq!(rig.cancelled.len(), 1);
}

#[test]
fn expired_messages_in_memory_go_at_once() {
    let mut rig = Rig::new();
    let queue = add(&mut rig, "t").id;
    let soon = rig.now + 100;
    enqueue(&mut rig, queue, 2, Some(soon));
    enqueue(&mut rig, queue, 1, None);
    rig.consumer(queue, 1);
    rig.deliveries();
    rig.now = soon;
    assert_eq!(rig.errands(), []);
    assert_eq!(rig.engine.take_dropped(), [(queue, Cause::Expired)]);
    assert_eq!(rig.handle_messages(queue), 2, "one of them in hand");
    enqueue(&mut rig, queue, 1, Some(soon));
    rig.consumer(queue, 9);
    assert_eq!(rig.offsets(), [3]);
}

/// The durable queue's definition was ignored, but not at the next start.
#[test]
fn a_name_belongs_to_the_durable_queue() {
    let mut rig = Rig::new();
    let before = add(&mut rig, "q").id;
    let durable = rig.define("q");
    assert_eq!(rig.id("q"), Some(durable));
    let after = add(&mut rig, "q").id;
    assert_eq!(rig.id("q"), Some(durable));
    rig.engine.remove_transient_queue(before);
    rig.engine.remove_transient_queue(after);
    assert_eq!(rig.id("q"), Some(durable));
    assert_eq!(rig.rebuilt().all_rows(), rig.engine.all_rows());
}
