//! Queues in memory that SP clients share: the requests sent to an address, and the two ends of a pair. They are there for as long as
//! somebody has joined them, with what waits in them.
//!
//! Always, with tests of these names in `broker/tests/sp.rs`:
//! - `requests_wait_for_who_answers`: for as long as whoever asked is there.
//! - `who_answers_goes_to_a_durable_queue_once_there_is_one`: who has joined comes back, and finds that.
//! - `a_pair_has_two_ends`: and what one sends while the other is away waits for who comes in its place.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use smallvec::SmallVec;

use super::Core;
use crate::broker::End;
use crate::broker::outbox::Outbox;
use crate::broker::sp::{Joined, Joint};
use crate::engine::QueueHandle;
use crate::refusal::Refusal;

/// Ends of a pair.
const ENDS: usize = 2;

/// The queues, and who has joined.
pub(super) struct JointQueues {
    /// For requests one, for a pair one for each end.
    queues: SmallVec<[Arc<QueueHandle>; ENDS]>,
    /// Who has joined; at which end, of a pair.
    members: Vec<(Arc<Outbox>, usize)>,
}

impl JointQueues {
    /// An end of a pair that nobody has.
    fn free_end(&self) -> Option<usize> {
        (0..ENDS).find(|end| self.members.iter().all(|(_, taken)| taken != end))
    }
}

impl Core {
    /// Has a client join.
    pub(super) fn join(
        &mut self,
        realm: Arc<str>,
        what: Joint,
        outbox: &Arc<Outbox>,
    ) -> Result<Joined, Refusal> {
        let engine = &mut self.engine;
        let settings = &self.shared.settings;
        let mut make = |name: String, requests: Option<&Arc<str>>| {
            engine.add_transient_queue(
                &realm,
                &name.into(),
                requests,
                settings.temp_messages_max,
                settings.temp_bytes_max,
            )
        };
        let joint = match self.joint.entry((Arc::clone(&realm), what.clone())) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                let queues = match &what {
                    Joint::Requests(address) => {
                        SmallVec::from_iter([make(format!("$req/{address}"), Some(address))])
                    }
                    Joint::Pair(version, address) => (0..ENDS)
                        .map(|end| make(format!("$pair{version}/{end}/{address}"), None))
                        .collect(),
                };
                free.insert(JointQueues {
                    queues,
                    members: Vec::new(),
                })
            }
        };
        let end = match &what {
            Joint::Requests(_) => 0,
            Joint::Pair(..) => joint.free_end().ok_or(Refusal::InUse)?,
        };
        joint.members.push((Arc::clone(outbox), end));
        // One that asked before there was a durable queue, and comes here after all others were moved.
        if let Joint::Requests(address) = &what
            && self
                .shared
                .routes
                .load()
                .durable_queue(&realm, address)
                .is_some()
        {
            outbox.close(End::Moved);
        }
        let own = joint.queues.get(end).cloned().ok_or(Refusal::NoRoute)?;
        let peer = joint.queues.iter().find(|it| **it != own).cloned();
        Ok(Joined { what, own, peer })
    }

    /// Whoever has joined requests of an address that has a durable queue of its name now is to come back, and finds that.
    pub(super) fn move_requests(&self) {
        let routes = self.shared.routes.load();
        for ((realm, what), joint) in &self.joint {
            if let Joint::Requests(address) = what
                && routes.durable_queue(realm, address).is_some()
            {
                joint
                    .members
                    .iter()
                    .for_each(|(it, _)| it.close(End::Moved));
            }
        }
    }

    /// A client leaves what it has joined; with the last one the queues go.
    pub(super) fn leave(&mut self, whose: &(Arc<str>, Joint), outbox: &Arc<Outbox>) {
        let Some(joint) = self.joint.get_mut(whose) else {
            return;
        };
        joint.members.retain(|(it, _)| !Arc::ptr_eq(it, outbox));
        if !joint.members.is_empty() {
            return;
        }
        let gone = self.joint.remove(whose).into_iter();
        for queue in gone.flat_map(|it| it.queues) {
            self.engine.remove_transient_queue(queue.id);
        }
    }
}
