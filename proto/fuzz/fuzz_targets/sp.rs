//! Any bytes as a header, a request target, options and tokens of SP: no panic, and what was read is written as it was.
//! `cargo +nightly fuzz run sp`

#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use restante_proto::sp::{
    FRAGMENT_BYTES_MAX, HOPS_MAX, Hops, Offer, Options, Role, Stack, Target, fragments, offered,
};

fuzz_target!(|input: &[u8]| {
    let message = Bytes::copy_from_slice(input);
    for words_max in [0, 1, HOPS_MAX, u8::MAX] {
        if let Ok((stack, body)) = Stack::split(&message, words_max) {
            assert!(stack.words().len() <= usize::from(words_max));
            check_written(&stack.to_bytes(), body, &message);
            let behind = stack.behind(stack.id());
            assert_eq!(behind.split_first().map(|(_, rest)| rest), Some(stack));
        }
        if let Ok((hops, body)) = Hops::split(&message, words_max) {
            assert!(hops.number() <= words_max);
            check_written(&hops.to_bytes(), body, &message);
        }
    }
    if let Ok(target) = Target::parse(input) {
        let path = target.name.path();
        let again = Target::parse(path.as_bytes()).expect("it was written");
        assert_eq!(again.name, target.name);
    }
    for client in Role::ALL {
        if let Err(error) = Options::parse(input, client) {
            assert!(error.to_string().len() < 512);
        }
    }
    if let Ok(text) = str::from_utf8(input)
        && let Offer::Spoken { token, .. } | Offer::Unknown { token } = offered([text])
    {
        assert!(text.contains(token) && token.is_ascii());
    }
});

/// A message in fragments is the message.
fn check_written(header: &[u8], body: Bytes, message: &[u8]) {
    let mut written = BytesMut::new();
    for fragment in fragments(header, body) {
        assert!(fragment.payload.len() <= FRAGMENT_BYTES_MAX);
        assert_eq!(fragment.is_first, written.is_empty());
        written.extend_from_slice(&fragment.payload);
        assert_eq!(fragment.is_last, written.len() == message.len());
    }
    assert_eq!(written, message);
}
