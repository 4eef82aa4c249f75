//! Why a well-formed wish is not granted: decided before the log, told to the client in its protocol's words.

use thiserror::Error;

/// One wish refused; the session goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum Refusal {
    /// No queue and no subscriber takes what is sent to that address, and none may be made.
    #[error("nothing takes messages for this address")]
    NoRoute,
    /// A rule forbids it, or no rule allows it.
    #[error("not allowed")]
    Denied,
    /// A queue is at its limit, or the disk is nearly full.
    #[error("the queue or the disk is full")]
    Full,
    /// The message is larger than the broker takes.
    #[error("the message is too large")]
    TooLarge,
    /// The message's time to live was over before it was stored.
    #[error("the message has expired")]
    Expired,
    /// The address breaks the grammar or a limit.
    #[error("not a valid address")]
    BadAddress,
    /// The filter breaks the grammar or a limit.
    #[error("not a valid filter")]
    BadFilter,
    /// The session has no consumer of that name.
    #[error("no consumer of that name")]
    NoSuchConsumer,
    /// A delivery named in a settlement is not in the consumer's hand.
    #[error("no such delivery")]
    NoSuchDelivery,
    /// The connection publishes faster than it may.
    #[error("too many messages a second")]
    Rate,
    /// This release does not do that.
    #[error("not supported by this release")]
    Unsupported,
    /// The session has a consumer of that name, or the queue is taken exclusively, or the queue of that name is bound to
    /// something else or keeps a history, from which nobody consumes.
    #[error("already in use")]
    InUse,
    /// A limit on the number of consumers, queues or sessions is reached.
    #[error("too many of them")]
    TooMany,
    /// The session has no subscription to that filter.
    #[error("no subscription to that filter")]
    NoSuchSubscription,
}

impl Refusal {
    /// All refusals, at the place of their number less one.
    const NUMBERED: [Refusal; 14] = [
        Refusal::NoRoute,
        Refusal::Denied,
        Refusal::Full,
        Refusal::TooLarge,
        Refusal::Expired,
        Refusal::BadAddress,
        Refusal::BadFilter,
        Refusal::NoSuchConsumer,
        Refusal::NoSuchDelivery,
        Refusal::Rate,
        Refusal::Unsupported,
        Refusal::InUse,
        Refusal::TooMany,
        Refusal::NoSuchSubscription,
    ];

    /// The number under which it stands in the log (FORMAT.md §4); never 0, never changed.
    pub fn number(self) -> u32 {
        Self::NUMBERED
            .iter()
            .position(|known| *known == self)
            .map_or(0, |at| at as u32 + 1)
    }

    /// The refusal of that number; none for 0 and for numbers never given.
    pub fn from_number(number: u32) -> Option<Refusal> {
        let at = number.checked_sub(1)? as usize;
        Self::NUMBERED.get(at).copied()
    }

    /// Whether the same wish may be granted later.
    pub fn is_for_now(self) -> bool {
        matches!(
            self,
            Refusal::Full | Refusal::Rate | Refusal::NoRoute | Refusal::TooMany
        )
    }

    /// The name used in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::NoRoute => "no-route",
            Refusal::Denied => "denied",
            Refusal::Full => "full",
            Refusal::TooLarge => "too-large",
            Refusal::Expired => "expired",
            Refusal::BadAddress => "bad-address",
            Refusal::BadFilter => "bad-filter",
            Refusal::NoSuchConsumer => "no-such-consumer",
            Refusal::NoSuchDelivery => "no-such-delivery",
            Refusal::Rate => "rate",
            Refusal::Unsupported => "unsupported",
            Refusal::InUse => "in-use",
            Refusal::TooMany => "too-many",
            Refusal::NoSuchSubscription => "no-such-subscription",
        }
    }
}
