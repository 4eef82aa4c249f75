//! The text binding: a WebSocket text message (MBWS.md §5).
//!
//! ```text
//! send                        verb
//! seq:17                      name:value, one a line
//! address:orders/eu
//!                             an empty line
//! {"id":1}                    the body, to the end
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};

use super::field::{Field, FieldSet, Verb};
use super::frame::parse_decimal;
use super::layout::{Layout, Read, Sink, Value, Word, Write, bad_value, read_frame, write_frame};
use super::{Body, Code, DecodeError, Frame, Limits, Ranges, RangesError};

const PROPERTY_PREFIX: &str = "property.";
const BASE64: &str = "base64";

/// Reads the frame that one WebSocket text message is.
///
/// `input` need not have been checked for UTF-8. A body that came as base64 is bytes again, with `text` false.
///
/// # Errors
/// [`DecodeError`]: the session answers `error` with [`DecodeError::code`] and closes the socket.
pub fn decode_text(input: &Bytes, limits: &Limits) -> Result<Frame, DecodeError> {
    limits.check_frame(input.len())?;
    let text = std::str::from_utf8(input).map_err(|_| DecodeError::NotUtf8 { part: "frame" })?;
    let mut reader = TextReader {
        input,
        rest: text,
        n_lines: 0,
        limits,
    };
    let verb = Verb::from_name(reader.line()?).ok_or(DecodeError::UnknownVerb)?;
    read_frame(verb, reader)
}

/// Writes `frame` to the end of `out`, as one whole WebSocket text message.
///
/// A body that is not text goes as base64; so does one that is said to be text but is not UTF-8.
pub fn encode_text(frame: &Frame, out: &mut BytesMut) {
    write_frame(frame, TextWriter { out });
}

struct TextReader<'a> {
    input: &'a Bytes,
    /// What of `input` is still to be read.
    rest: &'a str,
    n_lines: usize,
    limits: &'a Limits,
}

impl<'a> TextReader<'a> {
    /// Takes a header line, without its end.
    fn line(&mut self) -> Result<&'a str, DecodeError> {
        let Some((line, rest)) = self.rest.split_once('\n') else {
            self.limits.check_header(self.input.len() as u64)?;
            return Err(DecodeError::Truncated);
        };
        self.rest = rest;
        self.n_lines += 1;
        self.limits
            .check_header((self.input.len() - rest.len()) as u64)?;
        if line.as_bytes().contains(&b'\r') {
            return Err(DecodeError::BadLine { line: self.n_lines });
        }
        Ok(line)
    }

    /// Takes a field's name and value; none at the header's end.
    fn field(&mut self) -> Result<Option<(&'a str, &'a str)>, DecodeError> {
        match self.line()? {
            "" => Ok(None),
            line => line
                .split_once(':')
                .map(Some)
                .ok_or(DecodeError::BadLine { line: self.n_lines }),
        }
    }

    fn body(&self, base64: bool) -> Result<Body, DecodeError> {
        let bytes = if base64 {
            let decoded = STANDARD.decode(self.rest);
            Bytes::from(decoded.map_err(|_| DecodeError::BadBase64)?)
        } else {
            self.input.slice(self.input.len() - self.rest.len()..)
        };
        Ok(Body {
            bytes,
            text: !base64,
        })
    }
}

impl Read for TextReader<'_> {
    fn read<L: Layout>(mut self) -> Result<L, DecodeError> {
        let mut frame = L::default();
        let mut seen = FieldSet::default();
        let mut base64 = false;
        while let Some((name, value)) = self.field()? {
            let (field, property) = match name.strip_prefix(PROPERTY_PREFIX) {
                Some(property) => (Field::Property, property),
                None => match Field::from_name(name) {
                    // A bare `property` names none.
                    None | Some(Field::Property) => continue,
                    Some(field) => (field, ""),
                },
            };
            if field != Field::Property {
                seen.note(field)?;
            }
            self.limits.check_field(field.name(), value.len())?;
            if field == Field::BodyEncoding {
                base64 = value == BASE64;
                if !base64 {
                    return Err(bad_value(field));
                }
                continue;
            }
            frame.set(
                field,
                TextValue {
                    field,
                    property,
                    value,
                    limits: self.limits,
                },
            )?;
        }
        seen.check_required(L::REQUIRED)?;
        match frame.body_mut() {
            Some(body) => *body = self.body(base64)?,
            None if self.rest.is_empty() => {}
            None => {
                return Err(DecodeError::UnexpectedBody {
                    verb: L::VERB.name(),
                });
            }
        }
        Ok(frame)
    }
}

struct TextValue<'a> {
    field: Field,
    /// NAME of `property.NAME`, escaped.
    property: &'a str,
    /// Escaped.
    value: &'a str,
    limits: &'a Limits,
}

impl<'a> Value<'a> for TextValue<'a> {
    fn field(&self) -> Field {
        self.field
    }

    fn text(self) -> Result<Cow<'a, str>, DecodeError> {
        unescape(self.value, Part::Value).ok_or(DecodeError::BadEscape {
            field: self.field.name(),
        })
    }

    fn number(self, last: u64) -> Result<u64, DecodeError> {
        parse_decimal(self.value)
            .filter(|number| *number <= last)
            .ok_or(bad_value(self.field))
    }

    fn flag(self) -> Result<bool, DecodeError> {
        match self.value {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(bad_value(self.field)),
        }
    }

    fn word<W: Word>(self) -> Result<W, DecodeError> {
        W::from_str(self.value).ok_or(bad_value(self.field))
    }

    fn ranges(self) -> Result<Ranges, DecodeError> {
        let max = self.limits.ranges_max;
        Ranges::parse(self.value, max).map_err(|error| match error {
            RangesError::Malformed => bad_value(self.field),
            RangesError::TooMany => DecodeError::TooManyRanges {
                field: self.field.name(),
                max,
            },
        })
    }

    fn property(self, properties: &mut BTreeMap<String, String>) -> Result<(), DecodeError> {
        let max = self.limits.properties_max;
        let field = self.field.name();
        self.limits.check_field(field, self.property.len())?;
        let name = unescape(self.property, Part::Name).ok_or(DecodeError::BadEscape { field })?;
        let value = self.text()?.into_owned();
        if properties.len() == max {
            return Err(DecodeError::TooManyProperties { max });
        }
        match properties.entry(name.into_owned()) {
            Entry::Vacant(vacant) => vacant.insert(value),
            Entry::Occupied(_) => return Err(DecodeError::Repeated { field }),
        };
        Ok(())
    }

    fn failures(self, failed: &mut Vec<(u64, Code)>) -> Result<(), DecodeError> {
        if self.value.is_empty() {
            return Ok(());
        }
        for failure in self.value.split(',') {
            let parsed = failure.trim_matches(' ').split_once(' ');
            let parsed = parsed.and_then(|(seq, code)| {
                Some((
                    parse_decimal(seq)?,
                    Code::parse(code.trim_start_matches(' '))?,
                ))
            });
            failed.push(parsed.ok_or(bad_value(self.field))?);
        }
        Ok(())
    }
}

/// Which side of a header line's colon.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Name,
    Value,
}

/// Undoes the escapes of `text`; none if there is one that `part` does not have.
fn unescape(text: &str, part: Part) -> Option<Cow<'_, str>> {
    let mut pieces = text.split('\\');
    let plain = pieces.next()?;
    if plain.len() == text.len() {
        return Some(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len());
    out.push_str(plain);
    while let Some(piece) = pieces.next() {
        // An empty piece lies between two backslashes, or behind a last one that escapes nothing.
        if piece.is_empty() {
            out.push('\\');
            out.push_str(pieces.next()?);
            continue;
        }
        let (escaped, rest) = piece.split_at_checked(1)?;
        out.push(match escaped {
            "n" => '\n',
            "r" => '\r',
            "c" if part == Part::Name => ':',
            _ => return None,
        });
        out.push_str(rest);
    }
    Some(Cow::Owned(out))
}

struct TextWriter<'a> {
    out: &'a mut BytesMut,
}

impl Write for TextWriter<'_> {
    fn write<L: Layout>(self, frame: &L) {
        let out = self.out;
        let body = frame.body().map(|body| (body, is_plain(body)));
        // Enough for most headers, so that most frames are written without growing.
        let body_bytes = body.map_or(0, |(body, plain)| {
            if plain {
                body.bytes.len()
            } else {
                body.bytes.len().div_ceil(3) * 4
            }
        });
        out.reserve(256 + body_bytes);
        out.put_slice(L::VERB.name().as_bytes());
        out.put_u8(b'\n');
        frame.put(&mut TextSink { out });
        out.put_u8(b'\n');
        match body {
            None => {}
            Some((body, true)) => out.put_slice(&body.bytes),
            Some((body, false)) => put_base64(&body.bytes, out),
        }
    }
}

/// Whether a body can stand in a text frame as it is, and be taken for text by its reader.
fn is_plain(body: &Body) -> bool {
    body.text && std::str::from_utf8(&body.bytes).is_ok()
}

fn put_base64(bytes: &[u8], out: &mut BytesMut) {
    // By chunks on the stack, whole triples each, so that only the last is padded.
    let mut encoded = [0; 1024];
    for chunk in bytes.chunks(768) {
        let encoded_bytes = STANDARD.encode_slice(chunk, &mut encoded);
        let encoded_bytes = encoded_bytes.expect("1024 bytes hold 768 as base64");
        out.put_slice(encoded.split_at(encoded_bytes).0);
    }
}

struct TextSink<'a> {
    out: &'a mut BytesMut,
}

impl TextSink<'_> {
    fn name(&mut self, field: Field) {
        self.out.put_slice(field.name().as_bytes());
        self.out.put_u8(b':');
    }

    /// Writes a line whose value needs no escapes.
    fn line(&mut self, field: Field, value: std::fmt::Arguments<'_>) {
        self.name(field);
        self.format(value);
        self.out.put_u8(b'\n');
    }

    fn format(&mut self, value: std::fmt::Arguments<'_>) {
        self.out.write_fmt(value).expect("a BytesMut takes all");
    }
}

impl Sink for TextSink<'_> {
    fn text(&mut self, field: Field, text: &str) {
        self.name(field);
        put_escaped(text, Part::Value, self.out);
        self.out.put_u8(b'\n');
    }

    fn number(&mut self, field: Field, number: u64) {
        self.line(field, format_args!("{number}"));
    }

    fn flag(&mut self, field: Field, flag: bool) {
        self.line(field, format_args!("{flag}"));
    }

    fn word<W: Word>(&mut self, field: Field, word: W) {
        self.text(field, word.as_str());
    }

    fn ranges(&mut self, field: Field, ranges: &Ranges) {
        if !ranges.is_empty() {
            self.line(field, format_args!("{ranges}"));
        }
    }

    fn properties(&mut self, properties: &BTreeMap<String, String>) {
        for (name, value) in properties {
            self.out.put_slice(PROPERTY_PREFIX.as_bytes());
            put_escaped(name, Part::Name, self.out);
            self.out.put_u8(b':');
            put_escaped(value, Part::Value, self.out);
            self.out.put_u8(b'\n');
        }
    }

    fn failures(&mut self, failed: &[(u64, Code)]) {
        let Some(((seq, code), others)) = failed.split_first() else {
            return;
        };
        self.name(Field::Failed);
        self.format(format_args!("{seq} {code}"));
        for (seq, code) in others {
            self.format(format_args!(", {seq} {code}"));
        }
        self.out.put_u8(b'\n');
    }

    fn body(&mut self, body: &Body) {
        if !is_plain(body) {
            self.text(Field::BodyEncoding, BASE64);
        }
    }
}

fn put_escaped(text: &str, part: Part, out: &mut BytesMut) {
    let mut rest = text;
    let escapes = |c: char| matches!(c, '\\' | '\n' | '\r') || (c == ':' && part == Part::Name);
    while let Some((plain, behind)) = rest.find(escapes).and_then(|at| rest.split_at_checked(at)) {
        out.put_slice(plain.as_bytes());
        let mut behind = behind.chars();
        out.put_slice(match behind.next() {
            Some('\n') => b"\\n",
            Some('\r') => b"\\r",
            Some(':') => b"\\c",
            _ => b"\\\\",
        });
        rest = behind.as_str();
    }
    out.put_slice(rest.as_bytes());
}
