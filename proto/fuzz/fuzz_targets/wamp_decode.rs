//! Any bytes as a message in each serializer: no panic, what is taken for a message is written and read again as the
//! same, and what is written in another serializer can be read there. `cargo +nightly fuzz run wamp_decode`

#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use restante_proto::wamp::{Limits, Message, Serializer, decode, encode};

fuzz_target!(|input: &[u8]| {
    // The first byte says which serializer.
    let Some((which, bytes)) = input.split_first() else {
        return;
    };
    let serializer = Serializer::ALL[usize::from(*which) % Serializer::ALL.len()];
    let frame = Bytes::copy_from_slice(bytes);
    let Ok(message) = decode(serializer, &frame, &Limits::default()) else {
        return;
    };
    for other in Serializer::ALL {
        check(other, &message);
    }
});

/// What can be written is read again, and then written as the same bytes.
fn check(serializer: Serializer, message: &Message) {
    let limits = Limits {
        bytes_max: usize::MAX,
        options_bytes_max: usize::MAX,
        ..Limits::default()
    };
    let mut out = BytesMut::new();
    if encode(serializer, message, &mut out).is_err() {
        return; // it has no words for something
    }
    let read = decode(serializer, &out.clone().freeze(), &limits).expect("it was written here");
    let mut again = BytesMut::new();
    encode(serializer, &read, &mut again).expect("it was written before");
    assert_eq!(again, out);
}
