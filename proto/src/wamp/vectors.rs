//! The vectors of `proto/vectors/wamp`, tried on this codec; `proto/vectors/README.md` says how they are written.

use std::path::Path;

use bytes::{Bytes, BytesMut};
use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    #[serde(default)]
    good: Vec<Good>,
    #[serde(default)]
    lenient: Vec<Lenient>,
    #[serde(default)]
    bad: Vec<Bad>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Good {
    name: String,
    json: String,
    msgpack: String,
    cbor: String,
    ubjson: String,
    ubjson_legacy: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lenient {
    name: String,
    json: String,
    inputs: Vec<Input>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bad {
    name: String,
    #[serde(flatten)]
    input: Input,
    error: String,
}

#[derive(Deserialize)]
struct Input {
    serializer: String,
    text: Option<String>,
    hex: Option<String>,
}

impl Input {
    fn serializer(&self) -> Serializer {
        match self.serializer.as_str() {
            "json" => Serializer::Json,
            "msgpack" => Serializer::MsgPack,
            "cbor" => Serializer::Cbor,
            "ubjson" => Serializer::Ubjson,
            "ubjson_legacy" => Serializer::UbjsonLegacy,
            other => panic!("{other} is no serializer"),
        }
    }

    fn bytes(&self) -> Bytes {
        match (&self.text, &self.hex) {
            (Some(text), None) => Bytes::from(text.clone()),
            (None, Some(hex)) => unhex(hex),
            _ => panic!("not one input"),
        }
    }
}

impl Good {
    fn forms(&self) -> [(Serializer, Bytes); 5] {
        [
            (Serializer::Json, Bytes::from(self.json.clone())),
            (Serializer::MsgPack, unhex(&self.msgpack)),
            (Serializer::Cbor, unhex(&self.cbor)),
            (Serializer::Ubjson, unhex(&self.ubjson)),
            (Serializer::UbjsonLegacy, unhex(&self.ubjson_legacy)),
        ]
    }
}

#[test]
fn every_good_vector_is_read_and_written_in_every_serializer() {
    let mut failures = Vec::new();
    each_file(|file, vectors| {
        for good in vectors.good {
            for (from, bytes) in good.forms() {
                let message = match decode(from, &bytes, &Limits::default()) {
                    Ok(message) => message,
                    Err(error) => {
                        failures.push(format!("{file}: {}: {from:?}: {error}", good.name));
                        continue;
                    }
                };
                for (to, wanted) in good.forms() {
                    let mut out = BytesMut::new();
                    let written = encode(to, &message, &mut out);
                    if written != Ok(()) || out != wanted {
                        let (name, out) = (&good.name, hex(&out));
                        failures.push(format!(
                            "{file}: {name}: {from:?} to {to:?}: {written:?}\n{out}\n{}",
                            hex(&wanted)
                        ));
                    }
                }
            }
        }
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_lenient_vector_is_read_as_what_it_means() {
    let mut failures = Vec::new();
    each_file(|file, vectors| {
        for lenient in vectors.lenient {
            for input in &lenient.inputs {
                let said = decode(input.serializer(), &input.bytes(), &Limits::default())
                    .map_err(|error| error.to_string())
                    .and_then(|message| json_of(&message).map_err(|error| error.to_string()));
                if said.as_ref() != Ok(&lenient.json) {
                    let (name, bytes) = (&lenient.name, hex(&input.bytes()));
                    failures.push(format!(
                        "{file}: {name}: {} {bytes}: {said:?}\n{}",
                        input.serializer, lenient.json
                    ));
                }
            }
        }
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_bad_vector_is_refused_with_its_error() {
    let mut failures = Vec::new();
    each_file(|file, vectors| {
        for bad in vectors.bad {
            let decoded = decode(
                bad.input.serializer(),
                &bad.input.bytes(),
                &Limits::default(),
            );
            let error = decoded.map_err(|error| variant_of(&error));
            if error != Err(bad.error.clone()) {
                let (name, input) = (&bad.name, &bad.input);
                let bytes = input.text.as_ref().or(input.hex.as_ref()).unwrap();
                failures.push(format!(
                    "{file}: {name}: {} {bytes}: {error:?}, not {}",
                    input.serializer, bad.error
                ));
            }
        }
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_message_is_in_a_good_vector() {
    let mut unseen = Message::ALL.to_vec();
    each_file(|_, vectors| {
        for good in vectors.good {
            let message = decode(
                Serializer::Json,
                &Bytes::from(good.json),
                &Limits::default(),
            );
            let message = message.unwrap();
            assert!(Message::ALL.contains(&(message.name(), message.code())));
            unseen.retain(|(name, _)| *name != message.name());
        }
    });
    assert_eq!(unseen, []);
}

#[test]
fn the_good_json_is_what_serde_json_takes_it_for() {
    each_file(|file, vectors| {
        for good in vectors.good {
            let read: serde_json::Value = serde_json::from_str(&good.json).unwrap();
            let code = decode(
                Serializer::Json,
                &Bytes::from(good.json),
                &Limits::default(),
            );
            let code = code.unwrap().code();
            assert_eq!(read[0], code, "{file}: {}", good.name);
        }
    });
}

/// The name of the error's variant.
pub(super) fn variant_of(error: &DecodeError) -> String {
    let debug = format!("{error:?}");
    let end = debug.find(|c: char| !c.is_alphanumeric());
    debug[..end.unwrap_or(debug.len())].to_owned()
}

fn json_of(message: &Message) -> Result<String, EncodeError> {
    let mut out = BytesMut::new();
    encode(Serializer::Json, message, &mut out)?;
    Ok(String::from_utf8(out.to_vec()).unwrap())
}

fn each_file(mut check: impl FnMut(&str, Vectors)) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/wamp");
    let mut n_files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let vectors = serde_json::from_str(&std::fs::read_to_string(&path).unwrap());
        let name = path.file_name().unwrap().to_string_lossy();
        check(
            &name,
            vectors.unwrap_or_else(|error| panic!("{name}: {error}")),
        );
        n_files += 1;
    }
    assert!(n_files > 0);
}

pub(super) fn unhex(digits: &str) -> Bytes {
    let digits: Vec<char> = digits.chars().filter(|c| !c.is_whitespace()).collect();
    assert!(digits.len().is_multiple_of(2));
    let pair = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
