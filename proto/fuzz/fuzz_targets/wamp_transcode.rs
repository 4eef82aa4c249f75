//! Any bytes as the one argument of a payload, in each serializer and into each: no panic, and what is transcoded is
//! well-formed and says the same, as far as the other serializer has words. `cargo +nightly fuzz run wamp_transcode`

#![no_main]

use libfuzzer_sys::fuzz_target;
use restante_proto::wamp::{Dict, Payload, Serializer};

fuzz_target!(|input: &[u8]| {
    // The first byte says from which serializer to which.
    let Some((which, raw)) = input.split_first() else {
        return;
    };
    let n = Serializer::ALL.len();
    let from = Serializer::ALL[usize::from(*which) % n];
    let to = Serializer::ALL[usize::from(*which) / n % n];
    let Ok(payload) = Payload::from_single_raw(from, raw) else {
        return;
    };
    let single = payload.single().expect("there is one argument");
    Payload::from_single_raw(from, &single.raw).expect("it is a value");
    if let Ok(there) = payload.to(to) {
        // Integers of a thousand digits are passed on, and not read.
        let Ok(said) = there.args() else {
            return;
        };
        // Numbers with more digits than a float has, and strings that JSON takes for bytes, may change on the way there;
        // from then on nothing does.
        let there = Payload::from_values(to, &said, &Dict::new()).expect("it was read there");
        let again = there.args().expect("it was written here");
        assert_eq!(format!("{said:?}"), format!("{again:?}"));
    }
});
