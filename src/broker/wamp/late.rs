//! Answers for those who have waited for a procedure long enough: the keeper looks for them, for whoever has asked may be gone.
//!
//! ```text
//! keeper, every tick ─▶ whose time is over ─▶ router: the call is over ─▶ INTERRUPT to the callee
//!                                                                    └─▶ a reply, with the property wamp-error
//! ```
//!
//! Always, with a test of this name in `broker/tests/wamp/doors.rs`: `whoever_is_not_answered_in_time_hears_so`.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use restante_storage::payload::Envelope;
use restante_storage::{Draft, Kind, encode_detached};
use uuid::Uuid;

use super::Realm;
use super::doors::REQUEST;
use super::requesters::Answer;
use crate::broker::core::{Ask, Extras};
use crate::broker::keeper::Scribe;
use crate::broker::outbox::Notice;
use crate::broker::placing::Placed;
use crate::broker::publish::{Care, Takers, elsewhere};
use crate::broker::{Protocol, Shared, now as time_of_day};
use crate::engine::address::Address;
use crate::message::NewMessage;
use crate::router::Party;
use crate::routes::Sent;

/// Calls that are ended while a realm's router is locked.
const AT_ONCE: usize = 256;

impl Realm {
    /// Ends calls whose time is over, [`AT_ONCE`] at most: how many, and what their senders are told.
    fn end_late(&mut self, shared: &Shared, now: Instant) -> (usize, Vec<NewMessage>) {
        let (mut n_late, mut replies) = (0, Vec::new());
        while n_late < AT_ONCE
            && let Some(door) = self.requesters.late(now)
        {
            n_late += 1;
            let ((), answers) = self.hand_out(shared, |router, sink| {
                router.expire(Party::Door(door), REQUEST, sink);
            });
            for answer in answers {
                match answer {
                    Answer::Message(reply) => replies.push(*reply),
                    // It has given up before.
                    Answer::Session { .. } => {}
                }
            }
            // Whatever the router has said.
            self.requesters.remove(door);
        }
        (n_late, replies)
    }
}

impl Scribe {
    /// Answers all who have waited for a procedure until `now`, in vain.
    pub(in crate::broker) fn answer_late(&mut self, now: Instant) {
        for (name, realm) in self.shared().routers.all() {
            let mut n_all = 0;
            loop {
                let (n_late, replies) = realm.lock().end_late(self.shared(), now);
                for reply in &replies {
                    self.reply(&name, reply);
                }
                n_all += n_late;
                if n_late < AT_ONCE {
                    break;
                }
            }
            if n_all > 0 {
                let realm = &*name;
                tracing::warn!(realm, requests = n_all, "procedures did not answer in time");
            }
        }
    }

    /// Publishes a reply, for whom nobody's rights are looked at: its requester's were.
    fn reply(&mut self, realm: &Arc<str>, message: &NewMessage) {
        let shared = self.shared();
        let Ok(address) = Address::parse(&message.address, shared.settings.address) else {
            return;
        };
        let sent = Sent {
            address: address.as_str(),
            message,
            id: &[],
        };
        let mut landings = match shared.place(realm, &address, &sent, false, Care::KEPT, None) {
            Placed::Lands(landings) | Placed::Makes { landings, .. } => landings,
            Placed::Dropped => return shared.stats.dropped_by_route(),
            Placed::NoRoute => return,
        };
        for landing in &mut landings {
            landing.takers.shed_what_is_full();
        }
        let n_shed: u64 = landings.iter().map(|it| it.takers.n_shed()).sum();
        if n_shed > 0 {
            shared.stats.shed(n_shed);
        }
        let mut landings = landings.into_iter();
        let Some(first) = landings.next() else { return };
        let mut envelope = Envelope {
            address: first.address,
            uuid: Bytes::copy_from_slice(Uuid::now_v7().as_bytes()),
            correlation_id: message.correlation_id.clone(),
            content_type: message.content_type.clone(),
            text: message.text,
            properties: message.properties.clone(),
            ..Envelope::default()
        };
        let Takers {
            mut durable,
            transient,
            topics,
            ..
        } = first.takers;
        let mut draft = Draft {
            priority: message.priority,
            body: &message.body,
            ..Draft::new(Kind::Enqueue, time_of_day(), &())
        };
        let others = elsewhere(&draft, &mut envelope, &mut durable, landings);
        draft.envelope = &envelope;
        draft.targets = &durable;
        shared.stats.published(Protocol::Wamp);
        let extras = Extras {
            queues: transient,
            topics,
            others,
        };
        if durable.is_empty() {
            return hand_over(shared, &draft, extras);
        }
        if let Some(index) = self.push_draft(&draft) {
            self.add_extras(index, extras);
        }
    }
}

/// Nobody keeps it on disk: it goes to them at once.
fn hand_over(shared: &Shared, draft: &Draft<'_>, extras: Extras) {
    let own = (encode_detached(draft), extras.queues, extras.topics);
    let others = extras.others.into_iter();
    let others = others.map(|it| (it.record, it.queues, it.topics));
    for (record, queues, topics) in [own].into_iter().chain(others) {
        let notice = Notice::new(record.clone());
        for subscriber in &topics {
            if subscriber.offer(&notice) {
                subscriber.outbox().ring();
            } else {
                shared.missed_by(subscriber);
            }
        }
        if !queues.is_empty() {
            shared.ask(Ask::Direct {
                queues,
                record,
                time: draft.time,
                expires: draft.expires,
            });
        }
    }
}
