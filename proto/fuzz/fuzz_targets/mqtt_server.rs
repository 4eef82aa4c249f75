//! Any bytes as what a client sends, from the CONNECT on: no panic, what is taken for a packet is one, and it does not
//! matter in which pieces the bytes come. `cargo +nightly fuzz run mqtt_server`

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use restante_proto::mqtt::{Decoder, Error, Limits, Packet, encode, encoded_len};

fuzz_target!(|input: &[u8]| {
    let whole = decode(input, input.len().max(1));
    // The first byte says how long the pieces are.
    let piece_bytes = input.first().map_or(1, |byte| usize::from(byte % 16) + 1);
    assert_eq!(decode(input, piece_bytes), whole);
});

/// The packets in bytes that come in such pieces, and what ended them.
fn decode(input: &[u8], piece_bytes: usize) -> (Vec<Packet>, Option<Error>) {
    let mut decoder = Decoder::server(Limits::default());
    let mut buffer = BytesMut::new();
    let mut packets = Vec::new();
    for piece in input.chunks(piece_bytes) {
        buffer.extend_from_slice(piece);
        loop {
            let before = decoder.clone();
            match decoder.decode(&mut buffer) {
                Ok(None) => break,
                Err(error) => return (packets, Some(error)),
                Ok(Some(packet)) => {
                    check(before, &decoder, &packet);
                    decoder.admit();
                    packets.push(packet);
                }
            }
        }
    }
    (packets, None)
}

/// A packet that was read is written, with the length that was told before, and read again as the same.
fn check(mut before: Decoder, after: &Decoder, packet: &Packet) {
    let version = after.version().expect("a packet was read");
    let mut out = BytesMut::new();
    encode(packet, version, &mut out).expect("a packet that was read can be written");
    assert_eq!(encoded_len(packet, version), Ok(out.len()));
    assert_eq!(before.decode(&mut out).as_ref(), Ok(&Some(packet.clone())));
}
