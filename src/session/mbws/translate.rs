//! MBWS words into the broker's and back: pure functions, one for each frame (MBWS.md §4).

use restante_proto::mbws::{
    Body, Code, Consume, Deliver, MessageFields, Mode, Send, Settle, SettleMode,
};
use restante_storage::UnixMillis;

use crate::broker::{self, Call, Delivery, Source};
use crate::message::{Message, NewMessage, PRIORITY_DEFAULT};
use crate::refusal::Refusal;

/// The close code where a code has none of its own.
pub(super) const CLOSE_INTERNAL: u16 = 1011;

/// A `send` as a call. Its priority is 0 to 9: the codec takes no other.
pub(super) fn publish(send: Send) -> Call {
    if send.delay.is_some_and(|millis| millis > 0) {
        return Call::Refuse(Refusal::Unsupported);
    }
    let fields = send.fields;
    Call::Publish(Box::new(NewMessage {
        address: send.address,
        message_id: fields.message_id,
        correlation_id: fields.correlation_id,
        reply_to: fields.reply_to,
        content_type: fields.content_type,
        key: fields.key,
        priority: fields.priority.unwrap_or(PRIORITY_DEFAULT),
        properties: fields.properties,
        ttl_ms: send.ttl,
        transient: send.transient,
        body: send.body.bytes,
        text: send.body.text,
        ..NewMessage::default()
    }))
}

/// A `consume` as a call.
pub(super) fn consume(consume: Consume) -> Call {
    let source = match consume.mode {
        Mode::Queue => Source::Queue,
        Mode::Topic => Source::Topic,
        Mode::Browse | Mode::Replay => return Call::Refuse(Refusal::Unsupported),
    };
    if consume.filter.is_some() || consume.from.is_some() {
        return Call::Refuse(Refusal::Unsupported);
    }
    Call::Consume(broker::Consume {
        retained: false,
        shard: None,
        consumer: consume.consumer,
        address: consume.address,
        source,
        limit: consume.limit.unwrap_or(0),
        auto_settle: consume.settle == SettleMode::Auto,
        exclusive: consume.exclusive,
    })
}

/// A `settle` as a call.
pub(super) fn settle(settle: Settle) -> Call {
    if settle.delay.is_some_and(|millis| millis > 0) {
        return Call::Refuse(Refusal::Unsupported);
    }
    Call::Settle(broker::Settle {
        consumer: settle.consumer,
        accepted: settle.accepted,
        released: settle.released,
        rejected: settle.rejected,
        reason: settle.reason,
        releasing: Vec::new(),
    })
}

/// A delivery as a frame; at `wall` it is told what it has left to live.
pub(super) fn deliver(delivery: Delivery, wall: UnixMillis) -> Box<Deliver> {
    let Message {
        address,
        message_id,
        correlation_id,
        reply_to,
        content_type,
        key,
        priority,
        properties,
        time,
        expires,
        body,
        text,
        // For MQTT and WAMP alone.
        wamp: _,
        qos_bound: _,
        ordered: _,
        retained: _,
        retain: _,
    } = delivery.message.take();
    Box::new(Deliver {
        consumer: delivery.consumer.as_ref().to_owned(),
        address,
        offset: delivery.offset,
        attempt: delivery.attempt,
        timestamp: time.get(),
        ttl: expires.map(|expires| expires.get().saturating_sub(wall.get())),
        fields: MessageFields {
            message_id: Some(message_id),
            correlation_id,
            reply_to,
            content_type,
            key,
            priority: Some(priority),
            properties,
        },
        body: Body { bytes: body, text },
    })
}

/// A refusal in MBWS's words.
pub(super) fn code(why: Refusal) -> Code {
    match why {
        Refusal::NoRoute => Code::NoRoute,
        Refusal::Denied => Code::Denied,
        Refusal::Full | Refusal::TooMany => Code::Full,
        Refusal::TooLarge => Code::TooLarge,
        Refusal::Expired => Code::Expired,
        Refusal::BadAddress => Code::BadAddress,
        Refusal::BadFilter => Code::BadFilter,
        // No MBWS frame unsubscribes: never said here.
        Refusal::NoSuchConsumer | Refusal::NoSuchSubscription => Code::NoSuchConsumer,
        Refusal::NoSuchDelivery => Code::NoSuchDelivery,
        Refusal::Rate => Code::Rate,
        Refusal::Unsupported => Code::Unsupported,
        Refusal::InUse => Code::InUse,
    }
}
