//! UBJSON in its two dialects, `LE` telling which: BJData (little-endian, with unsigned and half-precision numbers, and
//! a marker for bytes) and plain UBJSON (big-endian; a typed list of uint8 is bytes).
//!
//! Lists that say their items' type are read for types of a fixed size; n-dimensional arrays are not read.

use bytes::{BufMut, BytesMut};

use super::error::Fault;
use super::limits::DEPTH_CAP;
use super::number::Numeral;
use super::read::{Binary, Place, Reader, Text, Token};
use super::{Serializer, cbor};

const NO_OP: u8 = b'N';

#[inline]
pub(super) fn next<'a, const LE: bool>(reader: &mut Reader<'a>) -> Result<Token<'a>, Fault> {
    reader.mark();
    let level = reader.level().copied();
    if level.is_some_and(|level| level.is_open() && !level.half) {
        step_over_no_ops(reader);
        let close = match level {
            Some(level) if level.dict => b'}',
            _ => b']',
        };
        if reader.peek() == Some(close) {
            reader.step(1);
            return Ok(reader.close());
        }
    }
    match reader.place() {
        Place::End => Ok(reader.close()),
        Place::Key => {
            step_over_no_ops(reader);
            key::<LE>(reader)
        }
        Place::Value => match level {
            Some(level) if level.marker != 0 => value::<LE>(reader, level.marker),
            _ => {
                step_over_no_ops(reader);
                let marker = reader.byte()?;
                value::<LE>(reader, marker)
            }
        },
    }
}

fn step_over_no_ops(reader: &mut Reader<'_>) {
    while reader.peek() == Some(NO_OP) {
        reader.step(1);
    }
    reader.mark();
}

fn key<'a, const LE: bool>(reader: &mut Reader<'a>) -> Result<Token<'a>, Fault> {
    let marker = reader.byte()?;
    let length = integer::<LE>(reader, marker)?.ok_or(Fault::KeyNotText)?;
    Ok(Token::Key(Text::Plain(
        reader.take_text(as_length(length)?)?,
    )))
}

fn value<'a, const LE: bool>(reader: &mut Reader<'a>, marker: u8) -> Result<Token<'a>, Fault> {
    Ok(match marker {
        b'Z' => Token::Null,
        b'T' => Token::Bool(true),
        b'F' => Token::Bool(false),
        b'S' => Token::Text(Text::Plain(text::<LE>(reader)?)),
        b'C' => Token::Text(Text::Plain(reader.take_text(1)?)),
        b'H' => {
            let text = text::<LE>(reader)?;
            check_number(text)?;
            Token::Number(Numeral::Text(text))
        }
        b'[' => return list::<LE>(reader),
        b'{' => {
            let (marker, count) = shape::<LE>(reader)?;
            return reader.open(true, count, marker);
        }
        _ => return number::<LE>(reader, marker),
    })
}

fn number<'a, const LE: bool>(reader: &mut Reader<'a>, marker: u8) -> Result<Token<'a>, Fault> {
    Ok(match marker {
        b'd' => Token::Float(f64::from(f32::from_bits(word::<LE>(reader, 4)? as u32))),
        b'D' => Token::Float(f64::from_bits(word::<LE>(reader, 8)?)),
        b'h' if LE => Token::Float(cbor::half(word::<LE>(reader, 2)? as u16)),
        b'B' if LE => Token::Int(i64::from(reader.byte()?)),
        _ => match integer::<LE>(reader, marker)? {
            Some(int) => match i64::try_from(int) {
                Ok(int) => Token::Int(int),
                Err(_) => Token::UInt(int as u64),
            },
            None => return Err(Fault::Malformed("there is no such marker")),
        },
    })
}

fn list<'a, const LE: bool>(reader: &mut Reader<'a>) -> Result<Token<'a>, Fault> {
    let (marker, count) = shape::<LE>(reader)?;
    let of_bytes = if LE { b'B' } else { b'U' };
    match count {
        Some(count) if marker == of_bytes => Ok(Token::Bytes(Binary::Plain(reader.take(count)?))),
        _ => reader.open(false, count, marker),
    }
}

/// The marker that all items share, 0 if none, and their count, of a list or dict whose first marker was read.
fn shape<const LE: bool>(reader: &mut Reader<'_>) -> Result<(u8, Option<u64>), Fault> {
    let mut marker = 0;
    if reader.peek() == Some(b'$') {
        reader.step(1);
        marker = reader.byte()?;
        if !is_fixed_size::<LE>(marker) {
            return Err(Fault::Malformed(
                "a list of items of this type is not read here",
            ));
        }
    }
    match reader.peek() {
        Some(b'#') => reader.step(1),
        None => return Err(Fault::Truncated),
        Some(_) if marker != 0 => return Err(Fault::Malformed("a type is given, and no count")),
        Some(_) => return Ok((0, None)),
    }
    let of_count = reader.byte()?;
    let count = integer::<LE>(reader, of_count)?;
    let count = count.ok_or(Fault::Malformed("a count is not an integer"))?;
    Ok((marker, Some(as_length(count)?)))
}

/// Types whose values take bytes: a claimed count of others would be free.
fn is_fixed_size<const LE: bool>(marker: u8) -> bool {
    match marker {
        b'i' | b'U' | b'I' | b'l' | b'L' | b'd' | b'D' | b'C' => true,
        b'u' | b'm' | b'M' | b'h' | b'B' => LE,
        _ => false,
    }
}

fn text<'a, const LE: bool>(reader: &mut Reader<'a>) -> Result<&'a str, Fault> {
    let marker = reader.byte()?;
    let length = integer::<LE>(reader, marker)?;
    let length = length.ok_or(Fault::Malformed("a length is not an integer"))?;
    reader.take_text(as_length(length)?)
}

fn as_length(length: i128) -> Result<u64, Fault> {
    u64::try_from(length).map_err(|_| Fault::Malformed("a length or count is negative"))
}

/// The integer of a type; `None` if it is not one of integers.
#[inline]
fn integer<const LE: bool>(reader: &mut Reader<'_>, marker: u8) -> Result<Option<i128>, Fault> {
    let (signed, n_bytes) = match marker {
        b'i' => (true, 1),
        b'U' => (false, 1),
        b'I' => (true, 2),
        b'l' => (true, 4),
        b'L' => (true, 8),
        b'u' if LE => (false, 2),
        b'm' if LE => (false, 4),
        b'M' if LE => (false, 8),
        _ => return Ok(None),
    };
    let word = word::<LE>(reader, n_bytes)?;
    let unused = 64 - 8 * n_bytes;
    Ok(Some(if signed {
        i128::from((word << unused) as i64 >> unused)
    } else {
        i128::from(word)
    }))
}

#[inline]
fn word<const LE: bool>(reader: &mut Reader<'_>, n_bytes: u64) -> Result<u64, Fault> {
    let bytes = reader.take(n_bytes)?;
    let add = |n: u64, byte: &u8| n << 8 | u64::from(*byte);
    Ok(if LE {
        bytes.iter().rev().fold(0, add)
    } else {
        bytes.iter().fold(0, add)
    })
}

/// Number text is to be what JSON takes for a number.
fn check_number(text: &str) -> Result<(), Fault> {
    const NO_NUMBER: Fault = Fault::Malformed("a number's text is not that of a number");
    let reader = Reader::new(Serializer::Json, text.as_bytes(), DEPTH_CAP);
    let mut reader = reader.map_err(|_| NO_NUMBER)?;
    match reader.next() {
        Ok(Token::Number(_) | Token::Int(_))
            if reader.start() == 0 && reader.at() == text.len() =>
        {
            Ok(())
        }
        _ => Err(NO_NUMBER),
    }
}

pub(super) fn put_int<const LE: bool>(int: i64, out: &mut BytesMut) {
    match int {
        0.. => put_uint::<LE>(int.unsigned_abs(), out),
        -0x80..=-1 => put_word::<LE>(b'i', 1, int as u64, out),
        -0x8000..=-0x81 => put_word::<LE>(b'I', 2, int as u64, out),
        -0x8000_0000..=-0x8001 => put_word::<LE>(b'l', 4, int as u64, out),
        _ => put_word::<LE>(b'L', 8, int as u64, out),
    }
}

pub(super) fn put_uint<const LE: bool>(int: u64, out: &mut BytesMut) {
    match int {
        0..=0xff => put_word::<LE>(b'U', 1, int, out),
        0x100..=0xffff if LE => put_word::<LE>(b'u', 2, int, out),
        0x1_0000..=0xffff_ffff if LE => put_word::<LE>(b'm', 4, int, out),
        _ if LE => put_word::<LE>(b'M', 8, int, out),
        0x100..=0x7fff => put_word::<LE>(b'I', 2, int, out),
        0x8000..=0x7fff_ffff => put_word::<LE>(b'l', 4, int, out),
        0x8000_0000..=0x7fff_ffff_ffff_ffff => put_word::<LE>(b'L', 8, int, out),
        _ => put_number::<LE>(&int.to_string(), out),
    }
}

pub(super) fn put_float<const LE: bool>(float: f64, out: &mut BytesMut) {
    put_word::<LE>(b'D', 8, float.to_bits(), out);
}

/// A number as its text.
pub(super) fn put_number<const LE: bool>(text: &str, out: &mut BytesMut) {
    out.put_u8(b'H');
    put_key::<LE>(text, out);
}

pub(super) fn put_text<const LE: bool>(text: &str, out: &mut BytesMut) {
    out.put_u8(b'S');
    put_key::<LE>(text, out);
}

/// A text without a marker.
pub(super) fn put_key<const LE: bool>(text: &str, out: &mut BytesMut) {
    put_uint::<LE>(text.len() as u64, out);
    out.put_slice(text.as_bytes());
}

pub(super) fn put_bytes<const LE: bool>(bytes: &[u8], out: &mut BytesMut) {
    out.put_slice(if LE { b"[$B#" } else { b"[$U#" });
    put_uint::<LE>(bytes.len() as u64, out);
    out.put_slice(bytes);
}

fn put_word<const LE: bool>(marker: u8, n_bytes: usize, word: u64, out: &mut BytesMut) {
    out.put_u8(marker);
    if LE {
        out.put_uint_le(word, n_bytes);
    } else {
        out.put_uint(word, n_bytes);
    }
}
