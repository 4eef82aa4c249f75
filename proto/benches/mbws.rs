//! What a frame costs, in each binding: `cargo bench -p restante-proto --bench mbws`.

use bytes::{Bytes, BytesMut};
use divan::{Bencher, black_box};
use restante_proto::mbws::{
    Body, Confirm, Deliver, Frame, Limits, MessageFields, Ranges, Send, Settle, decode_binary,
    decode_text, encode_binary, encode_text,
};

fn main() {
    divan::main();
}

const FRAMES: [&str; 5] = ["send", "send, all fields", "deliver", "confirm", "settle"];

#[divan::bench(args = FRAMES)]
fn binary_decode(bencher: Bencher, name: &str) {
    let input = encoded(name, encode_binary);
    let limits = Limits::default();
    bencher.bench_local(|| decode_binary(black_box(&input), &limits));
}

#[divan::bench(args = FRAMES)]
fn binary_encode(bencher: Bencher, name: &str) {
    bench_encode(bencher, name, encode_binary);
}

#[divan::bench(args = FRAMES)]
fn text_decode(bencher: Bencher, name: &str) {
    let input = encoded(name, encode_text);
    let limits = Limits::default();
    bencher.bench_local(|| decode_text(black_box(&input), &limits));
}

#[divan::bench(args = FRAMES)]
fn text_encode(bencher: Bencher, name: &str) {
    bench_encode(bencher, name, encode_text);
}

fn bench_encode(bencher: Bencher, name: &str, encode: fn(&Frame, &mut BytesMut)) {
    let frame = frame(name);
    // As a driver has it: one buffer, written to and flushed again and again.
    let mut out = BytesMut::with_capacity(4096);
    bencher.bench_local(|| {
        out.clear();
        encode(black_box(&frame), &mut out);
        black_box(&out);
    });
}

fn encoded(name: &str, encode: fn(&Frame, &mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    encode(&frame(name), &mut out);
    out.freeze()
}

fn frame(name: &str) -> Frame {
    match name {
        "send" => Frame::Send(Box::new(Send {
            seq: 70_000,
            address: "orders/eu".to_owned(),
            body: body(),
            ..Send::default()
        })),
        "send, all fields" => Frame::Send(Box::new(Send {
            seq: 70_000,
            address: "orders/eu".to_owned(),
            fields: fields(),
            ttl: Some(60_000),
            delay: Some(10),
            transient: true,
            body: body(),
        })),
        "deliver" => Frame::Deliver(Box::new(Deliver {
            consumer: "worker".to_owned(),
            address: "orders/eu".to_owned(),
            offset: 1_000_000,
            attempt: 1,
            timestamp: 1_732_147_200_000,
            ttl: None,
            fields: MessageFields {
                message_id: Some("0192f0c1-7b5e-7cc3-98c4-dc0c0c07398f".to_owned()),
                ..MessageFields::default()
            },
            body: body(),
        })),
        "confirm" => Frame::Confirm(Confirm {
            upto: 70_000,
            failed: Vec::new(),
        }),
        "settle" => Frame::Settle(Settle {
            seq: 70_000,
            consumer: "worker".to_owned(),
            accepted: (1_000_000..1_000_100)
                .chain([1_000_105])
                .collect::<Ranges>(),
            ..Settle::default()
        }),
        _ => panic!("no frame {name}"),
    }
}

fn fields() -> MessageFields {
    MessageFields {
        message_id: Some("0192f0c1-7b5e-7cc3-98c4-dc0c0c07398f".to_owned()),
        correlation_id: Some("request-17".to_owned()),
        reply_to: Some("~replies".to_owned()),
        content_type: Some("application/json".to_owned()),
        key: Some("customer-4711".to_owned()),
        priority: Some(5),
        properties: [("colour", "red"), ("size", "XL")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
    }
}

fn body() -> Body {
    Body {
        bytes: Bytes::from(vec![b'x'; 256]),
        text: true,
    }
}
