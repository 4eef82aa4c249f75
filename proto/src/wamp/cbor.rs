//! CBOR, RFC 8949. Tags are stepped over: what they tag is taken for itself (a typed array of bytes is bytes); only the
//! large integers of tags 2 and 3 are read as what they stand for. Undefined is null.

use bytes::{BufMut, BytesMut};

use super::error::Fault;
use super::number::Numeral;
use super::read::{Binary, Place, Reader, Text, Token};

const BREAK: u8 = 0xff;
const INDEFINITE: u8 = 31;
const TOO_EARLY: Fault = Fault::Malformed("a break stands where a value should");

#[inline]
pub(super) fn next<'a>(reader: &mut Reader<'a>) -> Result<Token<'a>, Fault> {
    reader.mark();
    if reader.peek() == Some(BREAK) {
        return stop(reader);
    }
    match reader.place() {
        Place::End => Ok(reader.close()),
        Place::Key => key(reader),
        Place::Value => value(reader),
    }
}

/// A break, or what stands behind an item whose end is known.
fn stop<'a>(reader: &mut Reader<'a>) -> Result<Token<'a>, Fault> {
    let level = reader.level().copied();
    match level {
        Some(level) if level.is_open() && !level.half => {
            reader.step(1);
            Ok(reader.close())
        }
        _ => match reader.place() {
            Place::End => Ok(reader.close()),
            _ => Err(TOO_EARLY),
        },
    }
}

/// The first byte's two parts.
#[inline]
fn head(reader: &mut Reader<'_>) -> Result<(u8, u8), Fault> {
    let first = reader.byte()?;
    Ok((first >> 5, first & 0x1f))
}

/// The number that a head's lower part says, or that follows it.
#[inline]
fn argument(reader: &mut Reader<'_>, info: u8) -> Result<u64, Fault> {
    Ok(match info {
        0..=23 => u64::from(info),
        24 => u64::from(reader.byte()?),
        25 => u64::from(u16::from_be_bytes(reader.array()?)),
        26 => u64::from(u32::from_be_bytes(reader.array()?)),
        27 => u64::from_be_bytes(reader.array()?),
        _ => return Err(Fault::Malformed("an item of a reserved or misplaced form")),
    })
}

/// The tag that counts of any that stand here: the innermost. 0 if there is none.
#[inline]
fn tag(reader: &mut Reader<'_>) -> Result<u64, Fault> {
    let mut tag = 0;
    while let Some(0xc0..=0xdf) = reader.peek() {
        let (_, info) = head(reader)?;
        tag = argument(reader, info)?;
    }
    Ok(tag)
}

fn key<'a>(reader: &mut Reader<'a>) -> Result<Token<'a>, Fault> {
    tag(reader)?;
    match head(reader)? {
        (3, info) => Ok(Token::Key(text(reader, info)?)),
        _ => Err(Fault::KeyNotText),
    }
}

#[inline]
fn value<'a>(reader: &mut Reader<'a>) -> Result<Token<'a>, Fault> {
    let tag = tag(reader)?;
    let (major, info) = head(reader)?;
    match major {
        0 => {
            let int = argument(reader, info)?;
            Ok(i64::try_from(int).map_or(Token::UInt(int), Token::Int))
        }
        1 => {
            let n = argument(reader, info)?;
            let int = i64::try_from(n).map(|n| Token::Int(-1 - n));
            Ok(int.unwrap_or(Token::Number(Numeral::Negative(n))))
        }
        2 => Ok(tagged(tag, bytes(reader, info)?)),
        3 => Ok(Token::Text(text(reader, info)?)),
        4 | 5 => {
            let count = match info {
                INDEFINITE => None,
                _ => Some(argument(reader, info)?),
            };
            reader.open(major == 5, count, 0)
        }
        7 => simple(reader, info),
        _ => Err(TOO_EARLY),
    }
}

fn simple<'a>(reader: &mut Reader<'a>, info: u8) -> Result<Token<'a>, Fault> {
    Ok(match info {
        20 => Token::Bool(false),
        21 => Token::Bool(true),
        22 | 23 => Token::Null,
        25 => Token::Float(half(u16::from_be_bytes(reader.array()?))),
        26 => Token::Float(f64::from(f32::from_be_bytes(reader.array()?))),
        27 => Token::Float(f64::from_be_bytes(reader.array()?)),
        INDEFINITE => return Err(TOO_EARLY),
        28..=30 => return Err(Fault::Malformed("an item of a reserved or misplaced form")),
        _ => return Err(Fault::Malformed("there is no such simple value")),
    })
}

/// A float of 16 bits.
pub(super) fn half(bits: u16) -> f64 {
    let exponent = i32::from(bits >> 10 & 0x1f);
    let mantissa = f64::from(bits & 0x3ff);
    let magnitude = match exponent {
        0 => mantissa * f64::powi(2.0, -24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (mantissa + 1024.0) * f64::powi(2.0, exponent - 25),
    };
    if bits & 0x8000 == 0 {
        magnitude
    } else {
        -magnitude
    }
}

fn tagged(tag: u64, binary: Binary<'_>) -> Token<'_> {
    if tag != 2 && tag != 3 {
        return Token::Bytes(binary);
    }
    let (bytes, chunks) = match binary {
        Binary::Plain(bytes) => (bytes, false),
        Binary::Chunks(bytes) => (bytes, true),
    };
    Token::Number(Numeral::Big {
        negative: tag == 3,
        bytes,
        chunks,
    })
}

#[inline]
fn text<'a>(reader: &mut Reader<'a>, info: u8) -> Result<Text<'a>, Fault> {
    if info == INDEFINITE {
        return chunks(reader, 3).map(Text::Chunks);
    }
    let length = argument(reader, info)?;
    Ok(Text::Plain(reader.take_text(length)?))
}

fn bytes<'a>(reader: &mut Reader<'a>, info: u8) -> Result<Binary<'a>, Fault> {
    if info == INDEFINITE {
        return chunks(reader, 2).map(Binary::Chunks);
    }
    let length = argument(reader, info)?;
    Ok(Binary::Plain(reader.take(length)?))
}

/// Chunks up to their break, which is read and not handed out.
fn chunks<'a>(reader: &mut Reader<'a>, major: u8) -> Result<&'a [u8], Fault> {
    let from = reader.at();
    loop {
        if reader.peek() == Some(BREAK) {
            let chunks = reader.since(from);
            reader.step(1);
            return Ok(chunks);
        }
        let (chunk_major, info) = head(reader)?;
        if chunk_major != major || info == INDEFINITE {
            return Err(Fault::Malformed("a chunk is not of its string's kind"));
        }
        let length = argument(reader, info)?;
        if major == 3 {
            reader.take_text(length)?;
        } else {
            reader.take(length)?;
        }
    }
}

/// What chunks that were checked say together.
pub(super) fn join(chunks: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(chunks.len());
    let mut rest = chunks;
    while let Some((first, behind)) = rest.split_first() {
        let (length, behind) = length(first & 0x1f, behind);
        let (chunk, behind) = behind.split_at(length.min(behind.len()));
        joined.extend_from_slice(chunk);
        rest = behind;
    }
    joined
}

fn length(info: u8, bytes: &[u8]) -> (usize, &[u8]) {
    let n_bytes = match info {
        0..=23 => return (usize::from(info), bytes),
        24 => 1,
        25 => 2,
        26 => 4,
        _ => 8,
    };
    let (number, rest) = bytes.split_at(bytes.len().min(n_bytes));
    let length = number
        .iter()
        .fold(0, |n: usize, b| n << 8 | usize::from(*b));
    (length, rest)
}

/// Writes an item's head: its kind, and its value, length or count.
#[inline]
pub(super) fn put_head(major: u8, argument: u64, out: &mut BytesMut) {
    let major = major << 5;
    match argument {
        0..=23 => out.put_u8(major | argument as u8),
        24..=0xff => out.put_slice(&[major | 24, argument as u8]),
        0x100..=0xffff => {
            out.put_u8(major | 25);
            out.put_u16(argument as u16);
        }
        0x1_0000..=0xffff_ffff => {
            out.put_u8(major | 26);
            out.put_u32(argument as u32);
        }
        _ => {
            out.put_u8(major | 27);
            out.put_u64(argument);
        }
    }
}
