//! Any bytes as what a server sends: no panic, and what is taken for a packet is one. The first byte chooses the
//! version. `cargo +nightly fuzz run mqtt_client`

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use restante_proto::mqtt::{Decoder, Limits, Version, encode, encoded_len};

fuzz_target!(|input: &[u8]| {
    let Some((choice, input)) = input.split_first() else {
        return;
    };
    let version = match choice % 3 {
        0 => Version::V31,
        1 => Version::V311,
        _ => Version::V5,
    };
    let mut decoder = Decoder::client(version, Limits::default());
    let mut input = BytesMut::from(input);
    while let Ok(Some(packet)) = decoder.decode(&mut input) {
        let mut out = BytesMut::new();
        encode(&packet, version, &mut out).expect("a packet that was read can be written");
        assert_eq!(encoded_len(&packet, version), Ok(out.len()));
        let again = decoder.clone().decode(&mut out);
        assert_eq!(again, Ok(Some(packet)));
    }
});
