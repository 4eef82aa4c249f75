//! The binary binding: a WebSocket binary message (MBWS.md §6, `proto/mbws.proto`).
//!
//! ```text
//! ┌───────────────┬──────────────────────────────────┬─────────────────┐
//! │ header length │ header: protobuf, one verb's arm │ body to the end │
//! │ LEB128        │ ┌─────┬────────┬─────────────┐   │                 │
//! │               │ │ tag │ length │ its fields  │   │                 │
//! └───────────────┴─┴─────┴────────┴─────────────┴───┴─────────────────┘
//! ```
//!
//! Read and written by hand: protobuf's rules take the last of a repeated field and cut a number to fit, where MBWS
//! refuses both; and the frames of every message go this way. `schema` has the same messages as prost derives them, and
//! the tests compare the two.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::encoding::{decode_varint, encode_varint, encoded_len_varint};

use super::field::{Field, FieldSet, Verb};
use super::layout::{Layout, Read, Sink, Value, Word, Write, bad_value, read_frame, write_frame};
use super::{Body, Code, DecodeError, Frame, Limits, Ranges};

/// Protobuf's wire types: what follows a tag.
const VARINT: u64 = 0;
const EIGHT_BYTES: u64 = 1;
const LENGTH_AND_BYTES: u64 = 2;
const FOUR_BYTES: u64 = 5;

/// Reads the frame that one WebSocket binary message is.
///
/// # Errors
/// [`DecodeError`]: the session answers `error` with [`DecodeError::code`] and closes the socket.
pub fn decode_binary(input: &Bytes, limits: &Limits) -> Result<Frame, DecodeError> {
    limits.check_frame(input.len())?;
    let mut rest = Reader(input);
    let header_bytes = rest.varint()?;
    // One length, one encoding: a frame could otherwise be padded past what its header says.
    if input.len() - rest.0.len() != encoded_len_varint(header_bytes) {
        return Err(DecodeError::BadVarint);
    }
    limits.check_header(header_bytes)?;
    let mut header = Reader(rest.take(header_bytes)?);
    let body_at = input.len() - rest.0.len();
    let verb = header.tag()?;
    let Raw::Bytes(arm) = header.raw(verb.wire_type)? else {
        return Err(DecodeError::BadHeader);
    };
    if !header.0.is_empty() {
        return Err(DecodeError::BadHeader);
    }
    let verb = Verb::from_number(verb.number).ok_or(DecodeError::UnknownVerb)?;
    read_frame(
        verb,
        BinaryReader {
            input,
            arm: Reader(arm),
            body_at,
            limits,
        },
    )
}

/// Writes `frame` to the end of `out`, as one whole WebSocket binary message.
///
/// A body that is said to be text goes as it is: whoever made the [`Body`] has checked it.
pub fn encode_binary(frame: &Frame, out: &mut BytesMut) {
    write_frame(frame, BinaryWriter { out });
}

/// A protobuf message's bytes, still to be read.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

struct Tag {
    number: u64,
    wire_type: u64,
}

/// What followed a tag.
enum Raw<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// A fixed-width number: no field of MBWS has one.
    Fixed,
}

impl<'a> Reader<'a> {
    #[inline]
    fn varint(&mut self) -> Result<u64, DecodeError> {
        if let [byte @ ..0x80, rest @ ..] = self.0 {
            self.0 = rest;
            return Ok(u64::from(*byte));
        }
        decode_varint(&mut self.0).map_err(|_| DecodeError::BadVarint)
    }

    #[inline]
    fn take(&mut self, n_bytes: u64) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = usize::try_from(n_bytes)
            .ok()
            .and_then(|n| self.0.split_at_checked(n))
            .ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    #[inline]
    fn tag(&mut self) -> Result<Tag, DecodeError> {
        let tag = self.varint()?;
        Ok(Tag {
            number: tag >> 3,
            wire_type: tag & 7,
        })
    }

    #[inline]
    fn raw(&mut self, wire_type: u64) -> Result<Raw<'a>, DecodeError> {
        match wire_type {
            VARINT => self.varint().map(Raw::Varint),
            LENGTH_AND_BYTES => {
                let n_bytes = self.varint()?;
                self.take(n_bytes).map(Raw::Bytes)
            }
            EIGHT_BYTES => self.take(8).map(|_| Raw::Fixed),
            FOUR_BYTES => self.take(4).map(|_| Raw::Fixed),
            _ => Err(DecodeError::BadHeader),
        }
    }
}

struct BinaryReader<'a> {
    input: &'a Bytes,
    /// The verb's fields.
    arm: Reader<'a>,
    body_at: usize,
    limits: &'a Limits,
}

impl BinaryReader<'_> {
    fn body(&self, text: bool) -> Result<Body, DecodeError> {
        let bytes = self.input.slice(self.body_at..);
        if text && std::str::from_utf8(&bytes).is_err() {
            return Err(DecodeError::NotUtf8 { part: "body" });
        }
        Ok(Body { bytes, text })
    }
}

impl Read for BinaryReader<'_> {
    fn read<L: Layout>(mut self) -> Result<L, DecodeError> {
        let mut frame = L::default();
        let mut seen = FieldSet::default();
        let mut text = false;
        while !self.arm.0.is_empty() {
            let tag = self.arm.tag()?;
            let raw = self.arm.raw(tag.wire_type)?;
            let Some(field) = Field::from_number(tag.number) else {
                // Nobody's: protobuf has no field 0.
                if tag.number == 0 {
                    return Err(DecodeError::BadHeader);
                }
                continue;
            };
            if !matches!(field, Field::Property | Field::Failed) {
                seen.note(field)?;
            }
            let value = BinaryValue {
                field,
                raw,
                limits: self.limits,
            };
            if field == Field::BodyEncoding {
                text = value.flag()?;
            } else {
                frame.set(field, value)?;
            }
        }
        seen.check_required(L::REQUIRED)?;
        match frame.body_mut() {
            Some(body) => *body = self.body(text)?,
            None if self.body_at == self.input.len() => {}
            None => {
                return Err(DecodeError::UnexpectedBody {
                    verb: L::VERB.name(),
                });
            }
        }
        Ok(frame)
    }
}

struct BinaryValue<'a> {
    field: Field,
    raw: Raw<'a>,
    limits: &'a Limits,
}

impl<'a> BinaryValue<'a> {
    fn bytes(&self) -> Result<&'a [u8], DecodeError> {
        let Raw::Bytes(bytes) = self.raw else {
            return Err(bad_value(self.field));
        };
        self.limits.check_field(self.field.name(), bytes.len())?;
        Ok(bytes)
    }

    /// The two fields that an entry of a map and a failure have, whichever of them are there.
    fn pair(&self) -> Result<[Option<BinaryValue<'a>>; 2], DecodeError> {
        let mut pair = [None, None];
        let mut reader = Reader(self.bytes()?);
        while !reader.0.is_empty() {
            let tag = reader.tag()?;
            let raw = reader.raw(tag.wire_type)?;
            let slot = match (&mut pair, tag.number) {
                (_, 0) => return Err(DecodeError::BadHeader),
                ([first, _], 1) => first,
                ([_, second], 2) => second,
                _ => continue,
            };
            let value = BinaryValue {
                field: self.field,
                raw,
                limits: self.limits,
            };
            if slot.replace(value).is_some() {
                return Err(DecodeError::Repeated {
                    field: self.field.name(),
                });
            }
        }
        Ok(pair)
    }
}

impl<'a> Value<'a> for BinaryValue<'a> {
    fn field(&self) -> Field {
        self.field
    }

    fn text(self) -> Result<Cow<'a, str>, DecodeError> {
        let text = std::str::from_utf8(self.bytes()?);
        text.map(Cow::Borrowed).map_err(|_| DecodeError::NotUtf8 {
            part: self.field.name(),
        })
    }

    fn number(self, last: u64) -> Result<u64, DecodeError> {
        match self.raw {
            Raw::Varint(number) if number <= last => Ok(number),
            _ => Err(bad_value(self.field)),
        }
    }

    fn flag(self) -> Result<bool, DecodeError> {
        self.number(1).map(|flag| flag == 1)
    }

    fn word<W: Word>(self) -> Result<W, DecodeError> {
        let bad = bad_value(self.field);
        W::from_number(self.number(u64::MAX)?).ok_or(bad)
    }

    fn ranges(self) -> Result<Ranges, DecodeError> {
        let mut reader = Reader(self.bytes()?);
        let mut ranges = Ranges::new();
        let mut n_ranges = 0;
        while !reader.0.is_empty() {
            let first = reader.varint()?;
            if reader.0.is_empty() {
                return Err(bad_value(self.field));
            }
            let last = reader.varint()?;
            if first > last {
                return Err(bad_value(self.field));
            }
            n_ranges += 1;
            if n_ranges > self.limits.ranges_max {
                return Err(DecodeError::TooManyRanges {
                    field: self.field.name(),
                    max: self.limits.ranges_max,
                });
            }
            ranges.insert_range(first, last);
        }
        Ok(ranges)
    }

    fn property(self, properties: &mut BTreeMap<String, String>) -> Result<(), DecodeError> {
        let max = self.limits.properties_max;
        let [name, value] = self.pair()?;
        // Protobuf leaves out an empty key or value.
        let name = name.map_or(Ok(String::new()), Value::string)?;
        let value = value.map_or(Ok(String::new()), Value::string)?;
        if properties.len() == max {
            return Err(DecodeError::TooManyProperties { max });
        }
        match properties.entry(name) {
            Entry::Vacant(vacant) => vacant.insert(value),
            Entry::Occupied(_) => {
                return Err(DecodeError::Repeated {
                    field: self.field.name(),
                });
            }
        };
        Ok(())
    }

    fn failures(self, failed: &mut Vec<(u64, Code)>) -> Result<(), DecodeError> {
        let [Some(seq), Some(code)] = self.pair()? else {
            return Err(bad_value(self.field));
        };
        failed.push((seq.u64()?, code.code()?));
        Ok(())
    }
}

struct BinaryWriter<'a> {
    out: &'a mut BytesMut,
}

impl Write for BinaryWriter<'_> {
    fn write<L: Layout>(self, frame: &L) {
        let mut arm = Measure(0);
        frame.put(&mut BinarySink(&mut arm));
        let arm_bytes = arm.0 as u64;
        let arm_tag = tag(L::VERB.number(), LENGTH_AND_BYTES);
        let header_bytes = encoded_len_varint(arm_tag) + encoded_len_varint(arm_bytes) + arm.0;
        let body = frame.body().map_or(&[][..], |body| &body.bytes);

        let out = self.out;
        out.reserve(encoded_len_varint(header_bytes as u64) + header_bytes + body.len());
        out.varint(header_bytes as u64);
        out.varint(arm_tag);
        out.varint(arm_bytes);
        frame.put(&mut BinarySink(out));
        out.put_slice(body);
    }
}

fn tag(number: u32, wire_type: u64) -> u64 {
    u64::from(number) << 3 | wire_type
}

/// Where protobuf bytes go: to be counted, then to be written.
trait Out {
    fn varint(&mut self, number: u64);
    fn slice(&mut self, bytes: &[u8]);
}

struct Measure(usize);

impl Out for Measure {
    #[inline]
    fn varint(&mut self, number: u64) {
        self.0 += encoded_len_varint(number);
    }

    #[inline]
    fn slice(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

impl Out for BytesMut {
    #[inline]
    fn varint(&mut self, number: u64) {
        encode_varint(number, self);
    }

    #[inline]
    fn slice(&mut self, bytes: &[u8]) {
        self.put_slice(bytes);
    }
}

struct BinarySink<'a, O>(&'a mut O);

impl<O: Out> BinarySink<'_, O> {
    #[inline]
    fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.length(number, bytes.len());
        self.0.slice(bytes);
    }

    /// Writes the tag and length of `n_bytes` that the caller writes next.
    #[inline]
    fn length(&mut self, number: u32, n_bytes: usize) {
        self.0.varint(tag(number, LENGTH_AND_BYTES));
        self.0.varint(n_bytes as u64);
    }
}

impl<O: Out> Sink for BinarySink<'_, O> {
    #[inline]
    fn text(&mut self, field: Field, text: &str) {
        self.bytes(field.number(), text.as_bytes());
    }

    #[inline]
    fn number(&mut self, field: Field, number: u64) {
        self.0.varint(tag(field.number(), VARINT));
        self.0.varint(number);
    }

    #[inline]
    fn flag(&mut self, field: Field, flag: bool) {
        self.number(field, u64::from(flag));
    }

    fn word<W: Word>(&mut self, field: Field, word: W) {
        self.number(field, word.number());
    }

    fn ranges(&mut self, field: Field, ranges: &Ranges) {
        if ranges.is_empty() {
            return;
        }
        let pair_bytes = |(first, last)| encoded_len_varint(first) + encoded_len_varint(last);
        self.length(field.number(), ranges.iter().map(pair_bytes).sum());
        for (first, last) in ranges.iter() {
            self.0.varint(first);
            self.0.varint(last);
        }
    }

    fn properties(&mut self, properties: &BTreeMap<String, String>) {
        for (name, value) in properties {
            let mut entry = Measure(0);
            put_entry(name, value, &mut BinarySink(&mut entry));
            self.length(Field::Property.number(), entry.0);
            put_entry(name, value, self);
        }
    }

    fn failures(&mut self, failed: &[(u64, Code)]) {
        for (seq, code) in failed {
            let mut failure = Measure(0);
            put_failure(*seq, *code, &mut BinarySink(&mut failure));
            self.length(Field::Failed.number(), failure.0);
            put_failure(*seq, *code, self);
        }
    }

    #[inline]
    fn body(&mut self, body: &Body) {
        self.flag_if(Field::BodyEncoding, body.text);
    }
}

/// Writes a map entry, as protobuf has it: key 1, value 2, neither if it is empty.
fn put_entry<O: Out>(name: &str, value: &str, sink: &mut BinarySink<'_, O>) {
    for (number, part) in [(1, name), (2, value)] {
        if !part.is_empty() {
            sink.bytes(number, part.as_bytes());
        }
    }
}

/// Writes a `Failure`: seq 1, code 2.
fn put_failure<O: Out>(seq: u64, code: Code, sink: &mut BinarySink<'_, O>) {
    sink.0.varint(tag(1, VARINT));
    sink.0.varint(seq);
    sink.bytes(2, code.as_str().as_bytes());
}
