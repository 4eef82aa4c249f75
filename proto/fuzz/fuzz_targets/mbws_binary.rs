//! Any bytes as a binary frame: no panic, and what is taken for a frame is one, in both bindings.
//! `cargo +nightly fuzz run mbws_binary`

#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use restante_proto::mbws::{Limits, decode_binary, decode_text, encode_binary, encode_text};

fuzz_target!(|input: &[u8]| {
    let limits = Limits::default();
    let Ok(frame) = decode_binary(&Bytes::copy_from_slice(input), &limits) else {
        return;
    };
    // A frame at a limit in one binding may be past it in the other.
    let roomy = Limits {
        frame_bytes_max: usize::MAX,
        header_bytes_max: usize::MAX,
        field_bytes_max: usize::MAX,
        ..limits
    };
    let mut text = BytesMut::new();
    encode_text(&frame, &mut text);
    assert_eq!(decode_text(&text.freeze(), &roomy).as_ref(), Ok(&frame));
    let mut binary = BytesMut::new();
    encode_binary(&frame, &mut binary);
    assert_eq!(decode_binary(&binary.freeze(), &roomy).as_ref(), Ok(&frame));
});
