//! The vectors of `proto/vectors/mbws`, tried on this codec; `proto/vectors/README.md` says how they are written.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::Value as Json;

use super::field::{Field, Verb};
use super::layout::{Layout, Read, Value, Word, bad_value, read_frame};
use super::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    #[serde(default)]
    good: Vec<Good>,
    #[serde(default)]
    bad: Vec<Bad>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Good {
    name: String,
    frame: serde_json::Map<String, Json>,
    text: String,
    binary: String,
    #[serde(default)]
    also_text: Vec<String>,
    #[serde(default)]
    also_binary: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bad {
    name: String,
    text: Option<String>,
    text_hex: Option<String>,
    binary: Option<String>,
    #[serde(default)]
    limits: BTreeMap<String, usize>,
    code: String,
}

#[test]
fn every_good_vector_is_read_and_written_as_it_stands() {
    each_file(|file, vectors| {
        for good in vectors.good {
            let Good { name, text, .. } = &good;
            let frame = frame_of(&good.frame).unwrap();
            let decoded = decode_text(&Bytes::from(text.clone()), &Limits::default());
            assert_eq!(decoded, Ok(frame.clone()), "{file}: {name}: text");
            let decoded = decode_binary(&unhex(&good.binary), &Limits::default());
            assert_eq!(decoded, Ok(frame.clone()), "{file}: {name}: binary");

            let mut out = BytesMut::new();
            encode_text(&frame, &mut out);
            assert_eq!(&out, text, "{file}: {name}: as text");
            out.clear();
            encode_binary(&frame, &mut out);
            assert_eq!(hex(&out), good.binary, "{file}: {name}: as binary");

            for text in &good.also_text {
                let decoded = decode_text(&Bytes::from(text.clone()), &Limits::default());
                assert_eq!(decoded, Ok(frame.clone()), "{file}: {name}: {text}");
            }
            for binary in &good.also_binary {
                let decoded = decode_binary(&unhex(binary), &Limits::default());
                assert_eq!(decoded, Ok(frame.clone()), "{file}: {name}: {binary}");
            }
        }
    });
}

#[test]
fn every_bad_vector_is_refused_with_its_code() {
    each_file(|file, vectors| {
        for bad in vectors.bad {
            let limits = limits_of(&bad.limits);
            let decoded = match (&bad.text, &bad.text_hex, &bad.binary) {
                (Some(text), None, None) => decode_text(&Bytes::from(text.clone()), &limits),
                (None, Some(hex), None) => decode_text(&unhex(hex), &limits),
                (None, None, Some(hex)) => decode_binary(&unhex(hex), &limits),
                _ => panic!("{file}: {}: not one input", bad.name),
            };
            let code = decoded.map_err(|error| error.code().to_string());
            assert_eq!(code, Err(bad.code), "{file}: {}", bad.name);
        }
    });
}

#[test]
fn every_verb_and_every_field_is_in_a_good_vector() {
    let mut unseen: Vec<&str> = (1..=47)
        .filter_map(Field::from_number)
        .map(Field::name)
        .chain((1..=12).filter_map(Verb::from_number).map(Verb::name))
        .collect();
    each_file(|_, vectors| {
        for good in vectors.good {
            for line in good.text.split("\n\n").next().unwrap().lines() {
                let name = line.split(':').next().unwrap();
                let name = name.split('.').next().unwrap();
                unseen.retain(|other| *other != name);
            }
        }
    });
    assert!(unseen.is_empty(), "{unseen:?}");
}

#[test]
fn the_examples_in_the_document_are_vectors() {
    let mut inputs = Vec::new();
    each_file(|_, vectors| {
        inputs.extend(
            vectors
                .good
                .into_iter()
                .flat_map(|good| [good.text, good.binary]),
        );
    });
    let mut n_examples = 0;
    for block in include_str!("../../MBWS.md")
        .split("\n```")
        .skip(1)
        .step_by(2)
    {
        let example = match block.split_once('\n').unwrap() {
            ("mbws", text) => text.to_owned(),
            ("hex", lines) => lines
                .lines()
                .flat_map(|line| line.split('#').next().unwrap().split_whitespace())
                .collect(),
            (other, _) => panic!("a block of {other}"),
        };
        assert!(inputs.contains(&example), "{example}");
        n_examples += 1;
    }
    assert_eq!(n_examples, 7);
}

#[test]
fn the_tables_in_the_document_are_complete() {
    let document = include_str!("../../MBWS.md");
    for field in (1..=47).filter_map(Field::from_number) {
        let (number, name) = (field.number(), field.name());
        let name = if field == Field::Property {
            "property.NAME"
        } else {
            name
        };
        assert!(
            document.contains(&format!("| {number} | `{name}`")),
            "{name}"
        );
    }
    for verb in (1..=12).filter_map(Verb::from_number) {
        let entry = format!("**`{}`** ({})", verb.name(), verb.number());
        assert!(document.contains(&entry), "{entry}");
    }
    for code in Code::ALL {
        let entry = match code.close_code() {
            Some(close_code) => format!("\n| `{code}` | {close_code} |"),
            None => format!("\n| `{code}` | "),
        };
        assert!(document.contains(&entry), "{entry}");
    }
}

fn each_file(mut test: impl FnMut(&str, Vectors)) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/mbws");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let vectors = serde_json::from_slice(&std::fs::read(&path).unwrap());
        let file = path.file_name().unwrap().to_string_lossy();
        test(
            &file,
            vectors.unwrap_or_else(|error| panic!("{file}: {error}")),
        );
    }
}

fn limits_of(fields: &BTreeMap<String, usize>) -> Limits {
    let mut limits = Limits::default();
    for (name, max) in fields {
        *match name.as_str() {
            "frame_bytes_max" => &mut limits.frame_bytes_max,
            "header_bytes_max" => &mut limits.header_bytes_max,
            "field_bytes_max" => &mut limits.field_bytes_max,
            "properties_max" => &mut limits.properties_max,
            "ranges_max" => &mut limits.ranges_max,
            _ => panic!("no limit {name}"),
        } = *max;
    }
    limits
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of hex digits, blanks between them or not.
fn unhex(hex: &str) -> Bytes {
    let digits: Vec<u8> = hex.bytes().filter(|byte| *byte != b' ').collect();
    assert_eq!(digits.len() % 2, 0, "{hex}");
    let pairs = digits
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap());
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

fn frame_of(fields: &serde_json::Map<String, Json>) -> Result<Frame, DecodeError> {
    let verb = fields.get("verb").and_then(Json::as_str).unwrap();
    read_frame(Verb::from_name(verb).unwrap(), JsonFrame(fields))
}

struct JsonFrame<'a>(&'a serde_json::Map<String, Json>);

impl Read for JsonFrame<'_> {
    fn read<L: Layout>(self) -> Result<L, DecodeError> {
        let mut frame = L::default();
        for (name, json) in self.0 {
            match name.as_str() {
                "verb" => {}
                "body" => *frame.body_mut().unwrap() = body_of(json),
                name => {
                    let field = Field::from_name(name).unwrap_or_else(|| panic!("no {name}"));
                    frame.set(field, JsonValue { field, json })?;
                }
            }
        }
        Ok(frame)
    }
}

fn body_of(json: &Json) -> Body {
    match (json.get("text"), json.get("base64")) {
        (Some(Json::String(text)), None) => Body {
            bytes: text.clone().into(),
            text: true,
        },
        (None, Some(Json::String(base64))) => Body {
            bytes: STANDARD.decode(base64).unwrap().into(),
            text: false,
        },
        _ => panic!("no body: {json}"),
    }
}

/// A third binding, for the fields as the vectors have them.
struct JsonValue<'a> {
    field: Field,
    json: &'a Json,
}

impl<'a> JsonValue<'a> {
    fn typed<T: Deserialize<'a>>(self) -> Result<T, DecodeError> {
        T::deserialize(self.json).map_err(|_| bad_value(self.field))
    }
}

impl<'a> Value<'a> for JsonValue<'a> {
    fn field(&self) -> Field {
        self.field
    }

    fn text(self) -> Result<Cow<'a, str>, DecodeError> {
        self.typed().map(Cow::Borrowed)
    }

    fn number(self, last: u64) -> Result<u64, DecodeError> {
        let bad = bad_value(self.field);
        Some(self.typed()?)
            .filter(|number| *number <= last)
            .ok_or(bad)
    }

    fn flag(self) -> Result<bool, DecodeError> {
        self.typed()
    }

    fn word<W: Word>(self) -> Result<W, DecodeError> {
        let bad = bad_value(self.field);
        W::from_str(self.typed()?).ok_or(bad)
    }

    fn ranges(self) -> Result<Ranges, DecodeError> {
        let mut ranges = Ranges::new();
        for [first, last] in self.typed::<Vec<[u64; 2]>>()? {
            ranges.insert_range(first, last);
        }
        Ok(ranges)
    }

    fn property(self, properties: &mut BTreeMap<String, String>) -> Result<(), DecodeError> {
        *properties = self.typed()?;
        Ok(())
    }

    fn failures(self, failed: &mut Vec<(u64, Code)>) -> Result<(), DecodeError> {
        for (seq, code) in self.typed::<Vec<(u64, String)>>()? {
            failed.push((seq, Code::parse(&code).unwrap()));
        }
        Ok(())
    }
}
