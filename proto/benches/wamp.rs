//! What an event costs in WAMP: `cargo bench -p restante-proto --bench wamp`.
//!
//! `event_for_one` is all that a router does with a message: a PUBLISH of 256 bytes is read, an EVENT is written.
//! `event_for_another` is the same for a subscriber of MessagePack (of JSON, if the publisher speaks that).

use bytes::{Bytes, BytesMut};
use divan::{Bencher, black_box};
use restante_proto::wamp::{
    Dict, EventTail, Limits, Message, Payload, Serializer, Value, decode, encode, write_event,
};

fn main() {
    divan::main();
}

const SERIALIZERS: [&str; 5] = ["json", "msgpack", "cbor", "ubjson", "ubjson, legacy"];

#[divan::bench(args = SERIALIZERS)]
fn decode_publish(bencher: Bencher, name: &str) {
    let (serializer, limits) = (serializer(name), Limits::default());
    let frame = publish(serializer);
    bencher.bench_local(|| decode(serializer, black_box(&frame), &limits));
}

#[divan::bench(args = SERIALIZERS)]
fn event_for_one(bencher: Bencher, name: &str) {
    let serializer = serializer(name);
    event(bencher, serializer, serializer);
}

#[divan::bench(args = SERIALIZERS)]
fn event_for_another(bencher: Bencher, name: &str) {
    let serializer = serializer(name);
    let other = match serializer {
        Serializer::MsgPack => Serializer::Json,
        _ => Serializer::MsgPack,
    };
    event(bencher, serializer, other);
}

/// One more subscriber of an event that is written already.
#[divan::bench(args = SERIALIZERS)]
fn event_for_one_more(bencher: Bencher, name: &str) {
    let serializer = serializer(name);
    let payload = payload(serializer);
    let tail =
        EventTail::new(serializer, 1 << 52, &Dict::new(), &payload).expect("it can be written");
    let mut out = BytesMut::with_capacity(4096);
    bencher.bench_local(|| {
        out.clear();
        write_event(&mut out, black_box(7), &tail);
        black_box(&out);
    });
}

fn event(bencher: Bencher, from: Serializer, to: Serializer) {
    let (frame, limits) = (publish(from), Limits::default());
    let mut out = BytesMut::with_capacity(4096);
    bencher.bench_local(|| {
        let Ok(Message::Publish { payload, .. }) = decode(from, black_box(&frame), &limits) else {
            panic!("it was written here");
        };
        let event = Message::Event {
            subscription: 7,
            publication: 1 << 52,
            details: Dict::new(),
            payload,
        };
        out.clear();
        encode(to, &event, &mut out).expect("it can be written");
        black_box(&out);
    });
}

fn publish(serializer: Serializer) -> Bytes {
    let message = Message::Publish {
        request: 1234,
        options: Dict::new().with("acknowledge", true),
        topic: "com.example.orders.eu".to_owned(),
        payload: payload(serializer),
    };
    let mut out = BytesMut::new();
    encode(serializer, &message, &mut out).expect("it can be written");
    out.freeze()
}

/// Some 256 bytes, as applications send them.
fn payload(serializer: Serializer) -> Payload {
    let order = Dict::new()
        .with("id", 81_234_567)
        .with("customer", "a customer with a name of some length")
        .with("total", 129.95)
        .with("paid", true)
        .with("note", "x".repeat(90));
    let items = [1, 5, 300, 70_000].map(Value::from).to_vec();
    let args = [Value::from(order), Value::from(items)];
    Payload::from_values(serializer, &args, &Dict::new()).expect("it can be written")
}

fn serializer(name: &str) -> Serializer {
    let index = SERIALIZERS.iter().position(|other| *other == name);
    let found = index.and_then(|index| Serializer::ALL.get(index));
    *found.expect("it is in the list")
}
