//! What passes between a session and its driver, besides messages.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use restante_proto::wamp::{Dict, Limits, Serializer};

use crate::broker::{Call, WampAsk, WampClient};
use crate::router::UriRules;

/// What holds for every WAMP session of one broker.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What the driver's decoder takes.
    pub limits: Limits,
    /// What a component of a URI may be.
    pub uris: UriRules,
    /// Whether request ids must ascend by one (wamp-proto, "IDs"), where messages come in order; else any will do.
    pub sequential_ids: bool,
    /// How long a client may take from its connection's beginning, or the end of its last session there, to WELCOME.
    pub open_within: Duration,
    /// How long the answer to our GOODBYE is waited for.
    pub leave_within: Duration,
    /// Publishes a second from one session, a second's worth at once; none: no limit.
    pub publish_rate: Option<NonZeroU32>,
    /// How many calls to the broker of one session may be unconfirmed before no message is wanted; at least 1.
    pub window: u32,
    /// Events of a durable subscription that a client may have unacknowledged, unless it asks for fewer; at least 1.
    pub unacknowledged_max: u64,
    /// Whether callers and publishers are disclosed.
    pub disclosure: Disclosure,
    /// The procedure that is asked what a session may do; none: rules alone decide.
    pub authorizer: Option<String>,
    /// How long its answers count; zero: for the one question.
    pub authorizer_cache: Duration,
    /// `agent` in WELCOME.
    pub agent: String,
}

/// Whether callers and publishers are disclosed to callees and subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Disclosure {
    /// If they wish so.
    #[default]
    Wished,
    /// Always.
    Always,
    /// Never; who wishes it is refused.
    Never,
}

/// How a client is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transport {
    /// Its name: `websocket`, `rawsocket` or `longpoll`.
    pub name: &'static str,
    /// How its messages are written.
    pub serializer: Serializer,
    /// Whether they come in the order in which the client sent them.
    pub keeps_order: bool,
}

/// What a HELLO asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Opening {
    /// The realm.
    pub realm: String,
    /// The session's id, if it comes to one.
    pub session: u64,
    /// The methods by which the client can prove who it is, the best first; none: it does not say.
    pub authmethods: Vec<String>,
    /// Who it says that it is.
    pub authid: Option<String>,
    /// The role that it wants to go by.
    pub authrole: Option<String>,
    /// What a method needs besides.
    pub authextra: Dict,
}

/// Who a client is, once that is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// Who it is.
    pub authid: Arc<str>,
    /// The role that it goes by.
    pub authrole: Arc<str>,
    /// How it was known.
    pub authmethod: &'static str,
    /// Who has known it.
    pub authprovider: &'static str,
    /// What it is told besides.
    pub authextra: Dict,
}

/// What became of a step of an authentication.
#[derive(Debug, Clone, PartialEq)]
pub enum Proved {
    /// It is to answer this.
    Challenge {
        /// The method.
        method: &'static str,
        /// What it is asked.
        extra: Dict,
    },
    /// It is known.
    Known(Box<Known>),
    /// It is not let in.
    Refused {
        /// The error's URI.
        reason: &'static str,
        /// For people.
        message: String,
        /// More of it.
        extra: Dict,
    },
}

/// What a session wants of its driver.
#[derive(Debug, Clone, PartialEq)]
pub enum Wish {
    /// Find out who this is; answered by [`handle_proved`](super::Session::handle_proved).
    Begin(Box<Opening>),
    /// What the client says to the challenge; answered likewise.
    Answer {
        /// The signature.
        signature: String,
        /// More of it.
        extra: Dict,
    },
    /// Attach whom [`Proved::Known`] was told of; answered by [`handle_attached`](super::Session::handle_attached).
    Attach {
        /// The realm.
        realm: String,
        /// Who it is to others.
        client: Box<WampClient>,
    },
    /// Hand this to the attachment; answered by [`Event::Confirmed`](crate::broker::Event::Confirmed).
    Call {
        /// The session's number for it, ascending by one.
        tag: u64,
        /// What it asks.
        call: Call,
    },
    /// Ask the realm's router; answered by [`Event::Wamp`](crate::broker::Event::Wamp).
    Ask(Box<WampAsk>),
    /// Raise a consumer's credit.
    Credit {
        /// The session's name for the consumer.
        consumer: Arc<str>,
        /// The absolute count.
        limit: u64,
    },
    /// The session is over, and with it the attachment; another may follow on the same connection.
    Detach,
}

/// Why the connection is to be closed, once all messages are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// A word for metrics and logs.
    pub reason: &'static str,
    /// Whether the client broke the protocol.
    pub violation: bool,
    /// Why, for people.
    pub text: String,
}

/// What was done since the driver last asked, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Messages written.
    pub written: u64,
    /// Events, results and invocations that are larger than the client takes, and so were not sent.
    pub too_large: u64,
    /// Those whose payload the client's serializer has no words for.
    pub unspeakable: u64,
    /// Deliveries that no subscription wanted any more, or that were not for this client.
    pub unwanted: u64,
    /// Of all those, the ones of durable subscriptions: they went back to their queue, or were rejected.
    pub given_back: u64,
    /// Publishes without acknowledgement that were refused: nobody hears of it.
    pub refused_unheard: u64,
}
