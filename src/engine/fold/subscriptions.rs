//! What MQTT sessions keep: subscriptions, and the packet ids of QoS 2 messages on their way in and out.
//!
//! A session's own queue is bound to exactly the filters of its subscriptions that are not shared and want a quality of
//! service above 0. Each record names that queue, so that it needs to know nothing of what stands before it.
//!
//! Always, with tests of these names in `engine/tests/subscriptions.rs`:
//! - `an_own_queue_is_bound_to_what_its_session_subscribes_to`
//! - `an_own_queue_goes_with_its_session`
//! - `packet_ids_are_kept_until_they_are_released_and_completed`

use prost::Message as _;
use restante_storage::payload::{Advance, Receipt, Subscribe, Subscription};
use restante_storage::{Lsn, QueueId, RecordRef, SessionNo};

use super::{BindingChange, decode};
use crate::engine::session::{Change, Session, shared_consumer};
use crate::engine::{ConsumerId, Engine};
use crate::refusal::Refusal;

impl Engine {
    pub(super) fn subscribe(&mut self, record: &RecordRef<'_>) -> Option<Refusal> {
        let it = decode::<Subscribe>(record);
        let number = match it.session {
            0 => record.origin()?.session,
            number => SessionNo::new(number),
        };
        self.admit_session(number);
        if !self.sessions.contains_key(&number) {
            return None;
        }
        let own = (it.queue > 0).then(|| QueueId::new(it.queue));
        match it.set {
            Some(set) => self.begin_subscription(record.lsn(), number, own, set),
            None => {
                let (share, filter) = (it.removed_share, it.removed_filter);
                self.end_subscription(record.lsn(), number, own, share, filter);
            }
        }
        None
    }

    fn begin_subscription(
        &mut self,
        lsn: Lsn,
        number: SessionNo,
        own: Option<QueueId>,
        it: Subscription,
    ) {
        if it.share.is_empty()
            && let Some(own) = own
        {
            let filter = it.filter.clone();
            let change = match it.qos {
                0 => BindingChange::Unbound(filter),
                _ => BindingChange::Bound(filter),
            };
            self.record_binding(lsn, own, change);
        }
        self.change_session(lsn, number, Change::Subscribed(it));
    }

    fn end_subscription(
        &mut self,
        lsn: Lsn,
        number: SessionNo,
        own: Option<QueueId>,
        share: String,
        filter: String,
    ) {
        if !share.is_empty() {
            let name = shared_consumer(&share, &filter);
            self.end_consumers(number, &name);
        } else if let Some(own) = own {
            self.record_binding(lsn, own, BindingChange::Unbound(filter.clone()));
        }
        self.change_session(lsn, number, Change::Unsubscribed { share, filter });
    }

    /// The consumers of that name are over.
    pub(super) fn end_consumers(&mut self, number: SessionNo, name: &str) {
        let ended: Vec<ConsumerId> = self
            .consumers_of(number)
            .into_iter()
            .filter(|id| self.is_consumer(*id, name))
            .collect();
        for id in ended {
            self.remove_consumer(id);
        }
    }

    pub(super) fn advance(&mut self, record: &RecordRef<'_>) -> Option<Refusal> {
        let it = decode::<Advance>(record);
        for (packet, change) in [
            (it.received, Change::Received as fn(u32) -> Change),
            (it.forgotten, Change::Forgotten),
            (it.completed, Change::Completed),
        ] {
            if packet > 0 {
                self.change_origin(record, change(packet));
            }
        }
        Refusal::from_number(it.refusal)
    }

    /// A message came with a packet id that its session is to remember.
    pub(super) fn receive(&mut self, record: &RecordRef<'_>) {
        let session = record
            .origin()
            .and_then(|it| self.sessions.get(&it.session));
        if session.is_some_and(Session::may_speak_mqtt) {
            // Of a session that is not known yet: what it speaks is known only once it is, and then counts.
            let receipt = Receipt::decode(record.envelope());
            let received = receipt.map_or(0, |it| it.received);
            if received > 0 {
                self.change_origin(record, Change::Received(received));
            }
        }
    }

    /// A client has received deliveries whose packet ids its session is to remember.
    pub(super) fn release(&mut self, record: &RecordRef<'_>, packets: Vec<u32>) {
        for packet in packets {
            self.change_origin(record, Change::Releasing(packet));
        }
    }

    /// Changes the session whose frame the record is, which is listed already.
    fn change_origin(&mut self, record: &RecordRef<'_>, change: Change) {
        if let Some(origin) = record.origin()
            && let Some(session) = self.sessions.get_mut(&origin.session)
        {
            session.change(record.lsn(), change);
        }
    }

    /// Changes a session, which the next checkpoint looks at.
    pub(in crate::engine) fn change_session(
        &mut self,
        lsn: Lsn,
        number: SessionNo,
        change: Change,
    ) {
        if let Some(session) = self.sessions.get_mut(&number) {
            session.change(lsn, change);
            if session.list() {
                self.dirty.sessions.push(number);
            }
        }
    }
}
