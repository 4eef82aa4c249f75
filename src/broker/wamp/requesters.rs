//! Who waits for a procedure's answer and is no caller of WAMP's: whoever has sent a request by another door, and sessions about which the
//! authorizer was asked. Each waits so long and no longer, and nobody for more than so many answers.
//!
//! Always, each with a test of its name below:
//! - `each_waits_for_its_time_and_no_longer`.
//! - `nobody_waits_for_more_than_so_many_answers`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use restante_proto::wamp::{Payload, Serializer};
use rustc_hash::FxHashMap;

use super::authorizer::{Authorized, read};
use super::doors::ERROR;
use crate::message::{NewMessage, PRIORITY_DEFAULT};
use crate::router::{CallError, CallResult, SessionId, ToSession};
use crate::wamp::body;

/// Requests of one principal that procedures have not answered.
pub(super) const REQUESTS_MAX: usize = 16_384;
/// How long an answer is waited for, if the request does not say until when it means something.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5 * 60);
/// The same if it does: one that is kept for weeks may not take its sender's place among those that wait for so long.
const ANSWERED_WITHIN_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The authorizer has less: a session asks no longer (`session/wamp/authorize.rs`).
const DECIDED_WITHIN: Duration = Duration::from_secs(30);

/// Who waits for an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Requester {
    /// Whoever has sent a message.
    Sender(Request),
    /// A session that was not let do yet what it wants.
    Session {
        id: SessionId,
        /// The session's number for what it wants.
        question: u64,
    },
}

/// What is known of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) principal: Arc<str>,
    pub(super) reply_to: String,
    pub(super) correlation_id: Option<String>,
    /// Milliseconds for which it means something; none: it does not say.
    pub(super) ttl_ms: Option<u64>,
}

/// What a requester is told.
#[derive(Debug)]
pub(super) enum Answer {
    /// A message for whoever has sent one.
    Message(Box<NewMessage>),
    /// For a session.
    Session {
        id: SessionId,
        question: u64,
        said: Authorized,
    },
}

/// All of a realm, by door.
#[derive(Debug, Default)]
pub(super) struct Requesters {
    waiting: FxHashMap<u64, (Instant, Requester)>,
    due: BTreeSet<(Instant, u64)>,
    /// How many requests each principal has there.
    counts: HashMap<Arc<str>, usize>,
}

impl Requesters {
    /// Whether a principal may wait for one answer more.
    pub(super) fn has_room_for(&self, principal: &str) -> bool {
        self.counts.get(principal).is_none_or(|n| *n < REQUESTS_MAX)
    }

    /// It waits from now on.
    pub(super) fn insert(&mut self, now: Instant, door: u64, it: Requester) {
        let within = match &it {
            Requester::Sender(request) => {
                *self
                    .counts
                    .entry(Arc::clone(&request.principal))
                    .or_default() += 1;
                let own = request.ttl_ms.map(Duration::from_millis);
                own.map_or(ANSWERED_WITHIN, |own| own.min(ANSWERED_WITHIN_MAX))
            }
            Requester::Session { .. } => DECIDED_WITHIN,
        };
        let at = now + within;
        self.due.insert((at, door));
        self.waiting.insert(door, (at, it));
    }

    /// What is to be told for what the router says; none: nobody waits there, or it is nothing to be told. After its last word nobody
    /// waits any more.
    pub(super) fn answer(&mut self, door: u64, said: &ToSession<Payload>) -> Option<Answer> {
        let is_last = match said {
            ToSession::Result(it) => !it.progress,
            ToSession::CallError(_) => true,
            _ => return None,
        };
        let answer = match &self.waiting.get(&door)?.1 {
            Requester::Session { id, question } => Some(Answer::Session {
                id: *id,
                question: *question,
                said: read(said),
            }),
            Requester::Sender(request) => request.reply(said).map(Answer::Message),
        };
        if is_last {
            self.remove(door);
        }
        answer
    }

    /// The next one whose time is over by `now`, without taking it out: the router ends its call, and so answers it.
    pub(super) fn late(&self, now: Instant) -> Option<u64> {
        let (at, door) = self.due.first()?;
        (*at <= now).then_some(*door)
    }

    /// Nobody waits there any more.
    pub(super) fn remove(&mut self, door: u64) {
        let Some((at, it)) = self.waiting.remove(&door) else {
            return;
        };
        self.due.remove(&(at, door));
        let Requester::Sender(request) = it else {
            return;
        };
        if let Some(n) = self.counts.get_mut(&request.principal) {
            *n = n.saturating_sub(1);
            if *n == 0 {
                self.counts.remove(&request.principal);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

impl Request {
    /// The answer as a message; none if it cannot be one.
    fn reply(&self, said: &ToSession<Payload>) -> Option<Box<NewMessage>> {
        let explained;
        let (payload, error) = match said {
            ToSession::Result(CallResult { payload, .. }) => (payload, None),
            ToSession::CallError(CallError {
                uri,
                payload,
                message,
                ..
            }) => {
                explained = message.as_deref().map_or_else(Payload::none, |message| {
                    Payload::from_single_text(Serializer::Json, message).unwrap_or_default()
                });
                (payload.as_ref().unwrap_or(&explained), Some(uri))
            }
            _ => return None,
        };
        let body = body::of_payload(payload, false).ok()?;
        let error = error.map(|uri| (ERROR.to_owned(), uri.to_string()));
        Some(Box::new(NewMessage {
            address: self.reply_to.clone(),
            correlation_id: self.correlation_id.clone(),
            content_type: body.content_type.map(str::to_owned),
            priority: PRIORITY_DEFAULT,
            properties: error.into_iter().collect(),
            body: body.bytes,
            text: body.text,
            ..NewMessage::default()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(principal: &str, ttl_ms: Option<u64>) -> Requester {
        Requester::Sender(Request {
            principal: principal.into(),
            reply_to: "answers".to_owned(),
            correlation_id: None,
            ttl_ms,
        })
    }

    fn result(progress: bool) -> ToSession<Payload> {
        ToSession::Result(CallResult {
            request: 1,
            progress,
            ppt: None,
            payload: Payload::none(),
        })
    }

    #[test]
    fn each_waits_for_its_time_and_no_longer() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let mut all = Requesters::default();
        all.insert(now, 1, request("ann", None));
        all.insert(now, 2, request("ann", Some(1000)));
        all.insert(now, 3, request("ann", Some(u64::MAX)));
        let id = SessionId::new(7);
        all.insert(now, 4, Requester::Session { id, question: 9 });
        let mut order = Vec::new();
        for (seconds, door) in [(1, 2), (30, 4), (300, 1), (86_400, 3)] {
            assert_eq!(all.late(after(seconds) - Duration::from_millis(1)), None);
            assert_eq!(all.late(after(seconds)), Some(door));
            all.remove(door);
            order.push(door);
        }
        assert_eq!((all.late(after(1_000_000)), all.len()), (None, 0));
        assert!(all.due.is_empty() && all.counts.is_empty());
    }

    #[test]
    fn nobody_waits_for_more_than_so_many_answers() {
        let now = Instant::now();
        let mut all = Requesters::default();
        for door in 0..REQUESTS_MAX as u64 {
            assert!(all.has_room_for("ann"));
            all.insert(now, door, request("ann", None));
        }
        assert!(!all.has_room_for("ann"));
        assert!(all.has_room_for("bob"));
        assert!(all.answer(0, &result(true)).is_some());
        assert!(!all.has_room_for("ann"), "a piece is not the last word");
        assert!(all.answer(0, &result(false)).is_some());
        assert!(all.has_room_for("ann"));
        assert!(all.answer(0, &result(false)).is_none());
    }
}
