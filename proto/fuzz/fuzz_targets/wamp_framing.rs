//! Any bytes as RawSocket frames and as a batch: no panic, what is split is framed again as the same bytes, and it does
//! not matter in which pieces a stream comes. `cargo +nightly fuzz run wamp_framing`

#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use restante_proto::wamp::rawsocket::{
    Frame, FrameDecoder, FrameError, encode_frame, parse_client,
};
use restante_proto::wamp::{Batch, Serializer};

fuzz_target!(|input: &[u8]| {
    if let Some(octets) = input.first_chunk() {
        let _ = parse_client(*octets);
    }
    let whole = frames(input, input.len().max(1));
    let piece_bytes = input.first().map_or(1, |byte| usize::from(byte % 16) + 1);
    assert_eq!(frames(input, piece_bytes), whole);
    let mut out = BytesMut::new();
    for frame in &whole.0 {
        encode_frame(frame, &mut out).expect("it was read");
    }
    assert!(input.starts_with(&out));

    for serializer in Serializer::ALL {
        let mut batch = Batch::new(serializer);
        if let Ok(messages) = batch.split(&Bytes::copy_from_slice(input), 1000) {
            let mut out = BytesMut::new();
            for message in &messages {
                batch
                    .append_message(&mut out, message)
                    .expect("it was read");
            }
            assert_eq!(out.len(), input.len());
            assert_eq!(batch.split(&out.freeze(), 1000), Ok(messages));
        }
    }
});

/// The frames in bytes that come in such pieces, and what ended them.
fn frames(input: &[u8], piece_bytes: usize) -> (Vec<Frame>, Option<FrameError>) {
    let decoder = FrameDecoder::new(4096);
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for piece in input.chunks(piece_bytes) {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}
