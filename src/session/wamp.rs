//! The WAMP session over one connection: messages in, calls and questions out, events in, messages out.
//!
//! ```text
//!             ┌────────── CHALLENGE ⇄ AUTHENTICATE ─────────┐
//! Opening ─HELLO─▶ Proving ─known─▶ Attaching ─WELCOME─▶ Running ─our GOODBYE─▶ Leaving
//!    ▲                │                 │                  │                       │
//!    └────────────────┼─────────────────┼──────── GOODBYE ─┴───────────────────────┘
//!                     └───── ABORT ─────┴──────── ABORT ─────▶ Over
//! ```
//!
//! After a GOODBYE another session may begin on the same connection; after an ABORT none does.
//!
//! Subscriptions, registrations and calls are known to the realm's router (`crate::router`), which the broker asks; events come the way
//! that every message goes. What stands here lives as long as the session: which request waits for which answer, which
//! subscription a delivery belongs to, what of a durable subscription is not acknowledged.
//!
//! Always, each with a test of its name in `tests::invariants`:
//! - `every_request_is_answered_once_and_only_when_it_is_confirmed`.
//! - `nothing_is_taken_after_a_violation`.
//! - `no_more_of_a_durable_subscription_is_out_than_was_granted`.
//!
//! Not here: bytes (`restante_proto`), sockets (front), credentials (access), who calls whom (router), and what a call does (broker).
//!
//! Rules: the WAMP specification, "Sessions", "Publish and Subscribe", "Remote Procedure Calls", and the advanced profile.

mod authorize;
mod deliver;
mod features;
mod open;
mod output;
mod publish;
mod requests;
mod rpc;
mod subscribe;
#[cfg(test)]
mod tests;
mod wish;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use restante_proto::wamp::{DecodeError, Dict, Message, Payload};
use rustc_hash::FxHashSet;

pub use features::announced;
pub use wish::{Closing, Disclosure, Known, Opening, Proved, Settings, Tally, Transport, Wish};

use super::rate::Bucket;
use crate::broker::{End, Event, WampCall};
use authorize::Authorizing;
use deliver::ForOthers;
use output::Output;
use requests::Requests;
use rpc::Timers;
use subscribe::Topics;

/// Bytes of what waits to be written before no more deliveries are wanted.
const WAITING_BYTES_MAX: usize = 256 * 1024;
/// And before no more messages are.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Reasons of GOODBYE and ABORT (wamp-proto, "Predefined URIs").
mod reason {
    pub(super) const GOODBYE_AND_OUT: &str = "wamp.close.goodbye_and_out";
    pub(super) const SYSTEM_SHUTDOWN: &str = "wamp.close.system_shutdown";
    pub(super) const CLOSE_REALM: &str = "wamp.close.close_realm";
    pub(super) const KILLED: &str = "wamp.close.killed";
    pub(super) const PROTOCOL_VIOLATION: &str = "wamp.error.protocol_violation";
}

/// WAMP over one connection: one session after the other.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    transport: Transport,
    state: State,
    /// Who the client is, from WELCOME on.
    me: Option<Box<Me>>,
    requests: Requests,
    topics: Topics,
    timers: Timers,
    /// Calls whose caller was told that they are over, before the router has.
    cut_off: FxHashSet<u64>,
    /// Calls that wait until the session has a queue for their answers.
    deferred: Vec<WampCall>,
    authorizing: Authorizing,
    /// What is for others of a shared queue, until it goes back to that.
    for_others: VecDeque<ForOthers>,
    publishing: Option<Bucket>,
    wishes: VecDeque<Wish>,
    output: Output,
    tally: Tally,
    /// Ids that are to be random come from here.
    seed: u64,
    /// Whether an attachment is there.
    attached: bool,
}

#[derive(Debug)]
enum State {
    Opening {
        deadline: Instant,
    },
    Proving {
        deadline: Instant,
        hello: Box<open::Hello>,
    },
    Attaching(Box<open::Opened>),
    Running,
    /// We have said goodbye, and wait for the answer.
    Leaving {
        deadline: Instant,
    },
    Over(Box<Closing>),
}

/// Who the client is.
#[derive(Debug)]
struct Me {
    session: u64,
    authid: Arc<str>,
    authrole: Arc<str>,
    announced: crate::router::Features,
    /// Whether it may publish what we do not look into.
    publishes_opaque: bool,
}

impl Session {
    /// Over a connection that began at `now`. `seed`: random, so that ids are.
    pub fn new(settings: Arc<Settings>, transport: Transport, seed: u64, now: Instant) -> Self {
        Session {
            state: State::Opening {
                deadline: now + settings.open_within,
            },
            me: None,
            requests: Requests::default(),
            topics: Topics::default(),
            timers: Timers::default(),
            cut_off: FxHashSet::default(),
            deferred: Vec::new(),
            authorizing: Authorizing::default(),
            for_others: VecDeque::new(),
            publishing: settings.publish_rate.map(|rate| Bucket::new(rate, now)),
            wishes: VecDeque::new(),
            output: Output::new(transport.serializer),
            tally: Tally::default(),
            seed,
            attached: false,
            transport,
            settings,
        }
    }

    /// A message came. Take its wishes with [`poll_wish`](Self::poll_wish) before the next one is given.
    ///
    /// What is wrong with it is answered here; nothing is taken any more once [`closing`](Self::closing) is there.
    pub fn handle_message(&mut self, now: Instant, message: Message) {
        match &self.state {
            State::Opening { .. } => self.opening_message(message),
            State::Proving { .. } => self.proving_message(message),
            State::Running => self.take_if_authorized(now, message),
            State::Leaving { .. } => match message {
                Message::Goodbye { .. } => self.begin_anew(now),
                Message::Abort { .. } => self.close("aborted", false, "the client aborted"),
                _ => {}
            },
            // The driver does not read meanwhile.
            State::Attaching(_) | State::Over(_) => {}
        }
    }

    /// Bytes came that are no message.
    pub fn handle_decode_error(&mut self, error: &DecodeError) {
        if !matches!(self.state, State::Over(_)) {
            self.violate(&error.to_string());
        }
    }

    fn dispatch(&mut self, now: Instant, message: Message) {
        match message {
            Message::Publish {
                request,
                options,
                topic,
                payload,
            } => self.publish(now, request, &options, &topic, &payload),
            Message::Subscribe {
                request,
                options,
                topic,
            } => self.subscribe(request, &options, topic),
            Message::Unsubscribe {
                request,
                subscription,
            } => self.unsubscribe(request, subscription),
            Message::EventReceived { publication } => self.received(publication),
            Message::Call {
                request,
                options,
                procedure,
                payload,
            } => self.call(request, &options, procedure, payload),
            Message::Cancel { request, options } => self.cancel(request, &options),
            Message::Register {
                request,
                options,
                procedure,
            } => self.register(request, &options, procedure),
            Message::Unregister {
                request,
                registration,
            } => self.unregister(request, registration),
            Message::Yield {
                request,
                options,
                payload,
            } => self.yielded(request, &options, payload),
            Message::Error {
                request_type,
                request,
                details,
                error,
                payload,
            } => self.failed_invocation(request_type, request, &details, error, payload),
            Message::Goodbye { .. } => {
                self.output.message(goodbye(reason::GOODBYE_AND_OUT, None));
                self.begin_anew(now);
            }
            Message::Abort { .. } => self.close("aborted", false, "the client aborted"),
            other => {
                let why = format!("{} may not come within a session", other.name());
                self.violate(&why);
            }
        }
    }

    /// The attachment has something to tell. `wall` is the time of day.
    pub fn handle_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Ended(end) => self.ended(now, end),
            _ if !matches!(self.state, State::Running) => {}
            Event::Confirmed { upto, failed } => self.confirmed(upto, &failed),
            Event::Delivery(delivery) => self.deliver(now, *delivery),
            Event::Cancelled { consumer, why } => self.lost(&consumer, why),
            Event::Wamp(told) => self.told(now, *told),
            // Of MQTT's subscriptions alone.
            Event::Unsubscribed { .. } => {}
        }
    }

    /// The broker goes down; the client has until `deadline` to say goodbye as well.
    pub fn handle_shutdown(&mut self, now: Instant, deadline: Instant) {
        match self.state {
            State::Running => {
                let until = deadline.min(now + self.settings.leave_within);
                self.leave(reason::SYSTEM_SHUTDOWN, None, until);
            }
            State::Opening { .. } | State::Proving { .. } | State::Attaching(_) => {
                self.abort(
                    reason::SYSTEM_SHUTDOWN,
                    "the broker is shutting down",
                    Dict::new(),
                );
                self.close("shutting-down", false, "the broker is shutting down");
            }
            State::Leaving { .. } | State::Over(_) => {}
        }
    }

    /// It is `now`; to be called at [`poll_timeout`](Self::poll_timeout), harmless before.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &self.state {
            State::Opening { deadline } if now >= *deadline => {
                self.close("open-timeout", false, "no HELLO in time");
            }
            State::Proving { deadline, .. } if now >= *deadline => {
                let why = "the authentication was not over in time";
                self.abort("wamp.error.authentication_failed", why, Dict::new());
                self.close("open-timeout", false, why);
            }
            State::Leaving { deadline } if now >= *deadline => {
                self.close("goodbye", false, "the client did not answer our GOODBYE");
            }
            State::Running => {
                self.give_up_authorizer(now);
                self.expire_calls(now);
                self.pass_on(now);
            }
            _ => {}
        }
    }

    /// When it wants to be woken.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Opening { deadline }
            | State::Proving { deadline, .. }
            | State::Leaving { deadline } => Some(*deadline),
            State::Running => {
                let asked = self.authorizing.deadline();
                let back = self.for_others.front().map(|it| it.until);
                let both = asked.into_iter().chain(back);
                self.timers.next().into_iter().chain(both).min()
            }
            State::Attaching(_) | State::Over(_) => None,
        }
    }

    /// What it wants done, in order, each once: after every `handle_…`, until there is nothing.
    pub fn poll_wish(&mut self) -> Option<Wish> {
        let wish = self.wishes.pop_front();
        if self.wishes.is_empty() && self.wishes.capacity() > IDLE_CAPACITY {
            self.wishes.shrink_to(IDLE_CAPACITY);
        }
        wish
    }

    /// Gives back room that nothing is in. To be called now and then: there are many sessions that do nothing for long.
    pub fn rest(&mut self) {
        self.wishes.shrink_to(0);
        self.requests.rest();
        self.output.rest();
    }

    /// Takes back a wish that the driver gets to later, to the front.
    pub fn put_back(&mut self, wish: Wish) {
        self.wishes.push_front(wish);
    }

    /// Encodes the next message that is ready in `room`, which has nothing in it, and splits it off. `peer_max`: how large a message
    /// the client takes.
    pub fn poll_message(&mut self, peer_max: usize, room: &mut BytesMut) -> Option<Bytes> {
        loop {
            match self.output.next(peer_max, room, &mut self.tally)? {
                Ok(message) => return Some(message),
                Err(unwritten) => self.see_to(unwritten),
            }
        }
    }

    /// Whether [`poll_message`](Self::poll_message) has something.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Whether a message may be given to it. While not, the driver does not read, so that TCP pushes back.
    pub fn wants_messages(&self) -> bool {
        match self.state {
            State::Opening { .. } | State::Leaving { .. } => true,
            State::Proving { .. } => !self.requests.waits_for_driver,
            State::Running => {
                !self.authorizing.is_asking()
                    && self.requests.in_flight() < u64::from(self.settings.window.max(1))
                    && self.output.n_bytes() < ANSWER_BYTES_MAX
            }
            State::Attaching(_) | State::Over(_) => false,
        }
    }

    /// Whether a delivery may be given to it. While not, those that come wait in the broker.
    pub fn wants_deliveries(&self) -> bool {
        matches!(self.state, State::Running) && self.output.n_bytes() < WAITING_BYTES_MAX
    }

    /// Why the connection is to be closed, once all is written.
    pub fn closing(&self) -> Option<&Closing> {
        match &self.state {
            State::Over(closing) => Some(closing),
            _ => None,
        }
    }

    /// What was done since the last call.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// The id of the session that runs.
    pub fn id(&self) -> Option<u64> {
        self.me.as_ref().map(|me| me.session)
    }

    fn ended(&mut self, now: Instant, end: End) {
        let (why, message) = match end {
            End::ShuttingDown => (reason::SYSTEM_SHUTDOWN, "the broker is shutting down"),
            End::Revoked => (
                reason::CLOSE_REALM,
                "what the client has shown is no longer good",
            ),
            End::Kicked => (reason::KILLED, "an administrator has closed the session"),
            End::TooSlow => (
                reason::KILLED,
                "the client does not take what it has asked for",
            ),
            End::TakenOver | End::SessionOver | End::Moved => {
                (reason::KILLED, "the session is over")
            }
            End::LogFailed => (
                reason::SYSTEM_SHUTDOWN,
                "the broker's log failed: what is not confirmed may not be durable",
            ),
        };
        if matches!(self.state, State::Running) {
            let until = now + self.settings.leave_within;
            self.leave(why, Some(message), until);
        }
    }

    /// We say goodbye, and wait for the client's until `until`.
    fn leave(&mut self, why: &str, message: Option<&str>, until: Instant) {
        self.output.message(goodbye(why, message));
        self.detach();
        self.state = State::Leaving { deadline: until };
    }

    /// The same, once the GOODBYE is said.
    fn leave_now(&mut self, now: Instant) {
        self.detach();
        self.state = State::Leaving {
            deadline: now + self.settings.leave_within,
        };
    }

    /// The session is over; another may begin.
    fn begin_anew(&mut self, now: Instant) {
        self.detach();
        self.state = State::Opening {
            deadline: now + self.settings.open_within,
        };
    }

    fn detach(&mut self) {
        self.me = None;
        self.requests = self.requests.of_next_session();
        self.topics = Topics::default();
        self.timers = Timers::default();
        self.cut_off = FxHashSet::default();
        self.deferred = Vec::new();
        self.authorizing = Authorizing::default();
        if std::mem::take(&mut self.attached) {
            self.wishes.push_back(Wish::Detach);
        }
    }

    /// The client broke the protocol: ABORT, and nothing of it is taken any more.
    fn violate(&mut self, why: &str) {
        // Answers that are ready are true, and go out before; what waits for its turn is not processed (wamp-proto, "Protocol Violations").
        self.abort(reason::PROTOCOL_VIOLATION, why, Dict::new());
        self.close("protocol-violation", true, why);
    }

    fn abort(&mut self, why: &str, message: &str, more: Dict) {
        self.output.message(Message::Abort {
            details: more.with("message", message),
            reason: why.to_owned(),
            payload: Payload::none(),
        });
    }

    fn close(&mut self, reason: &'static str, violation: bool, text: &str) {
        self.detach();
        self.state = State::Over(Box::new(Closing {
            reason,
            violation,
            text: text.to_owned(),
        }));
    }

    /// A random id, 1 to 2^53 (wamp-proto, "IDs": global scope).
    fn random_id(&mut self) -> u64 {
        // SplitMix64: each step is as good as a draw, and costs nothing.
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        (mixed >> 11) + 1
    }
}

/// Room that is kept for what comes next, until the session [rests](Session::rest).
const IDLE_CAPACITY: usize = 8;

fn goodbye(why: &str, message: Option<&str>) -> Message {
    let details = match message {
        Some(message) => Dict::new().with("message", message),
        None => Dict::new(),
    };
    Message::Goodbye {
        details,
        reason: why.to_owned(),
    }
}
