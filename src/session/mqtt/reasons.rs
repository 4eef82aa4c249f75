//! The broker's refusals and ends in MQTT's words: tables.

use restante_proto::mqtt::ReasonCode;

use crate::broker::{AttachError, End};
use crate::refusal::Refusal;
use crate::session::NotAttached;

/// A reason code, and what to do about it for people.
pub(super) type Reason = (ReasonCode, &'static str);

/// What a PUBACK or PUBREC says of a publish that was not stored. Those two may only carry what table 2.4 of MQTT 5.0 has
/// for them: not 0x95 nor 0x96, so that every limit is 0x97.
pub(super) fn of_publish(why: Refusal) -> Reason {
    match why {
        Refusal::NoRoute => (ReasonCode::NoMatchingSubscribers, ""),
        // Taken, and over at once.
        Refusal::Expired => (ReasonCode::Success, ""),
        Refusal::Denied => (
            ReasonCode::NotAuthorized,
            "no rule allows this client to send there",
        ),
        Refusal::Full => (
            ReasonCode::QuotaExceeded,
            "the queue or the disk is full: send it again later",
        ),
        Refusal::TooMany => (
            ReasonCode::QuotaExceeded,
            "too many queues or retained messages: an administrator may raise the limit",
        ),
        Refusal::TooLarge => (
            ReasonCode::QuotaExceeded,
            "the message is larger than a queue takes",
        ),
        Refusal::Rate => (
            ReasonCode::QuotaExceeded,
            "too many messages a second: send it again later",
        ),
        Refusal::BadAddress => (
            ReasonCode::TopicNameInvalid,
            "the topic is too long, too deep, or not one to publish to",
        ),
        Refusal::Unsupported => (
            ReasonCode::ImplementationSpecific,
            "not supported by this release",
        ),
        Refusal::BadFilter
        | Refusal::NoSuchConsumer
        | Refusal::NoSuchDelivery
        | Refusal::NoSuchSubscription
        | Refusal::InUse => (ReasonCode::Unspecified, "not possible"),
    }
}

/// Whether a publish that was refused for this may be taken later as it is: then it must not be acknowledged, or it is lost.
pub(super) fn is_for_now(why: Refusal) -> bool {
    match why {
        Refusal::Full | Refusal::TooMany | Refusal::Rate => true,
        Refusal::NoRoute
        | Refusal::Expired
        | Refusal::Denied
        | Refusal::TooLarge
        | Refusal::BadAddress
        | Refusal::Unsupported
        | Refusal::BadFilter
        | Refusal::NoSuchConsumer
        | Refusal::NoSuchDelivery
        | Refusal::NoSuchSubscription
        | Refusal::InUse => false,
    }
}

/// What a SUBACK says of a filter that was not subscribed to.
pub(super) fn of_subscribe(why: Refusal) -> Reason {
    match why {
        Refusal::Denied => (
            ReasonCode::NotAuthorized,
            "no rule allows this client to receive that",
        ),
        Refusal::BadFilter | Refusal::BadAddress => (
            ReasonCode::TopicFilterInvalid,
            "a filter is too long, too deep, or not one to subscribe to",
        ),
        Refusal::Full | Refusal::TooMany | Refusal::Rate => (
            ReasonCode::QuotaExceeded,
            "too many subscriptions, queues or consumers",
        ),
        Refusal::Unsupported => (
            ReasonCode::ImplementationSpecific,
            "not supported by this release",
        ),
        Refusal::NoRoute
        | Refusal::TooLarge
        | Refusal::Expired
        | Refusal::NoSuchConsumer
        | Refusal::NoSuchDelivery
        | Refusal::NoSuchSubscription
        | Refusal::InUse => (ReasonCode::Unspecified, "not possible"),
    }
}

/// What an UNSUBACK says of a filter.
pub(super) fn of_unsubscribe(why: Refusal) -> ReasonCode {
    match why {
        Refusal::NoSuchSubscription => ReasonCode::NoSubscriptionExisted,
        Refusal::BadFilter | Refusal::BadAddress => ReasonCode::TopicFilterInvalid,
        Refusal::Denied => ReasonCode::NotAuthorized,
        _ => ReasonCode::Unspecified,
    }
}

/// What a CONNACK says of a client that was not attached.
pub(super) fn of_attach(why: NotAttached, showed_credentials: bool) -> ReasonCode {
    match why {
        NotAttached::Unauthorized if showed_credentials => ReasonCode::BadUserNameOrPassword,
        NotAttached::Unauthorized => ReasonCode::NotAuthorized,
        NotAttached::Throttled => ReasonCode::ConnectionRateExceeded,
        NotAttached::Busy => ReasonCode::ServerBusy,
        NotAttached::Refused(AttachError::NotYours) => ReasonCode::ClientIdNotValid,
        NotAttached::Refused(AttachError::TooMany) => ReasonCode::QuotaExceeded,
        // There is no better word for it here than that it may come again.
        NotAttached::Refused(AttachError::TakenOver) => ReasonCode::ServerBusy,
        NotAttached::Refused(AttachError::ShuttingDown) => ReasonCode::ServerUnavailable,
        NotAttached::Refused(AttachError::NoSession) => ReasonCode::Unspecified,
        NotAttached::Refused(AttachError::Will(why)) => match why {
            Refusal::TooLarge => ReasonCode::PacketTooLarge,
            why => of_publish(why).0,
        },
    }
}

/// What a DISCONNECT says of an attachment that the broker has ended.
pub(super) fn of_end(end: End) -> (&'static str, ReasonCode, &'static str) {
    match end {
        End::TakenOver | End::Moved => (
            "taken-over",
            ReasonCode::SessionTakenOver,
            "the session goes on over another connection with this client identifier",
        ),
        End::Revoked => (
            "revoked",
            ReasonCode::NotAuthorized,
            "the credentials are no longer good: revoked, disabled or expired",
        ),
        End::SessionOver => (
            "session-over",
            ReasonCode::Unspecified,
            "the session is over, by its time or an administrator: connect again",
        ),
        End::ShuttingDown => (
            "shutting-down",
            ReasonCode::ServerShuttingDown,
            "the broker is shutting down; the session can be resumed",
        ),
        End::TooSlow => (
            "too-slow",
            ReasonCode::QuotaExceeded,
            "the client does not take what it has asked for",
        ),
        End::Kicked => (
            "kicked",
            ReasonCode::AdministrativeAction,
            "an administrator has closed this connection; the session can be resumed",
        ),
        End::LogFailed => (
            "log-failed",
            ReasonCode::Unspecified,
            "the broker's log failed: what is not acknowledged may not be durable",
        ),
    }
}

/// The word for metrics and logs of a connection that ends with such a code.
pub(super) fn word(code: ReasonCode) -> &'static str {
    match code {
        ReasonCode::MalformedPacket => "malformed",
        ReasonCode::ProtocolError => "protocol",
        ReasonCode::UnsupportedVersion => "version",
        ReasonCode::ClientIdNotValid => "client-id",
        ReasonCode::BadUserNameOrPassword | ReasonCode::NotAuthorized => "unauthorized",
        ReasonCode::ServerUnavailable | ReasonCode::ServerShuttingDown => "shutting-down",
        ReasonCode::ServerBusy => "busy",
        ReasonCode::ConnectionRateExceeded => "throttled",
        ReasonCode::BadAuthenticationMethod => "auth-method",
        ReasonCode::KeepAliveTimeout => "keep-alive",
        ReasonCode::ReceiveMaximumExceeded => "receive-maximum",
        ReasonCode::TopicAliasInvalid => "topic-alias",
        ReasonCode::TopicNameInvalid | ReasonCode::TopicFilterInvalid => "bad-address",
        ReasonCode::PacketTooLarge => "too-large",
        ReasonCode::QuotaExceeded => "quota",
        ReasonCode::PayloadFormatInvalid => "payload-format",
        ReasonCode::RetainNotSupported => "retain",
        ReasonCode::ImplementationSpecific => "not-supported",
        _ => "error",
    }
}
