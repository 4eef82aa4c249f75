//! MessagePack: <https://github.com/msgpack/msgpack/blob/master/spec.md>.
//!
//! Of the extensions, type 0 of one byte 0 is what JavaScript's encoders write for undefined, and −1 is a time, which
//! reads as its seconds; of any other the bytes are taken.

use bytes::{BufMut, BytesMut};

use super::error::Fault;
use super::read::{Binary, Place, Reader, Text, Token};

#[inline]
pub(super) fn next<'a>(reader: &mut Reader<'a>) -> Result<Token<'a>, Fault> {
    reader.mark();
    match reader.place() {
        Place::End => Ok(reader.close()),
        Place::Key => key(reader),
        Place::Value => value(reader),
    }
}

fn key<'a>(reader: &mut Reader<'a>) -> Result<Token<'a>, Fault> {
    let length = match reader.byte()? {
        byte @ 0xa0..=0xbf => u64::from(byte & 0x1f),
        0xd9 => u8(reader)?,
        0xda => u16(reader)?,
        0xdb => u32(reader)?,
        _ => return Err(Fault::KeyNotText),
    };
    Ok(Token::Key(Text::Plain(reader.take_text(length)?)))
}

#[inline]
fn value<'a>(reader: &mut Reader<'a>) -> Result<Token<'a>, Fault> {
    let first = reader.byte()?;
    Ok(match first {
        0x00..=0x7f => Token::Int(i64::from(first)),
        0x80..=0x8f => return reader.open(true, Some(u64::from(first & 0x0f)), 0),
        0x90..=0x9f => return reader.open(false, Some(u64::from(first & 0x0f)), 0),
        0xa0..=0xbf => text(reader, u64::from(first & 0x1f))?,
        0xc0 => Token::Null,
        0xc1 => return Err(Fault::Malformed("the byte 0xc1 begins nothing")),
        0xc2 => Token::Bool(false),
        0xc3 => Token::Bool(true),
        0xe0..=0xff => Token::Int(i64::from(first as i8)),
        _ => return longer(reader, first),
    })
}

fn longer<'a>(reader: &mut Reader<'a>, first: u8) -> Result<Token<'a>, Fault> {
    let length = match first {
        0xc4 | 0xc7 | 0xd9 => u8(reader)?,
        0xc5 | 0xc8 | 0xda | 0xdc | 0xde => u16(reader)?,
        0xc6 | 0xc9 | 0xdb | 0xdd | 0xdf => u32(reader)?,
        0xd4..=0xd8 => 1 << (first - 0xd4),
        _ => return number(reader, first),
    };
    match first {
        0xc4..=0xc6 => Ok(Token::Bytes(Binary::Plain(reader.take(length)?))),
        0xd9..=0xdb => text(reader, length),
        0xdc | 0xdd => reader.open(false, Some(length), 0),
        0xde | 0xdf => reader.open(true, Some(length), 0),
        _ => extension(reader, length),
    }
}

fn number<'a>(reader: &mut Reader<'a>, first: u8) -> Result<Token<'a>, Fault> {
    Ok(match first {
        0xca => Token::Float(f64::from(f32::from_be_bytes(reader.array()?))),
        0xcb => Token::Float(f64::from_be_bytes(reader.array()?)),
        0xcc => Token::Int(i64::from(reader.byte()?)),
        0xcd => Token::Int(i64::from(u16::from_be_bytes(reader.array()?))),
        0xce => Token::Int(i64::from(u32::from_be_bytes(reader.array()?))),
        0xcf => {
            let int = u64::from_be_bytes(reader.array()?);
            i64::try_from(int).map_or(Token::UInt(int), Token::Int)
        }
        0xd0 => Token::Int(i64::from(i8::from_be_bytes(reader.array()?))),
        0xd1 => Token::Int(i64::from(i16::from_be_bytes(reader.array()?))),
        0xd2 => Token::Int(i64::from(i32::from_be_bytes(reader.array()?))),
        _ => Token::Int(i64::from_be_bytes(reader.array()?)),
    })
}

#[inline]
fn text<'a>(reader: &mut Reader<'a>, length: u64) -> Result<Token<'a>, Fault> {
    Ok(Token::Text(Text::Plain(reader.take_text(length)?)))
}

fn extension<'a>(reader: &mut Reader<'a>, length: u64) -> Result<Token<'a>, Fault> {
    let kind = reader.byte()? as i8;
    let bytes = reader.take(length)?;
    Ok(match (kind, bytes) {
        (0, [0]) => Token::Null,
        (-1, _) => time(bytes).unwrap_or(Token::Bytes(Binary::Plain(bytes))),
        _ => Token::Bytes(Binary::Plain(bytes)),
    })
}

/// Seconds since 1970, with their fraction.
fn time<'a>(bytes: &[u8]) -> Option<Token<'a>> {
    let (nanos, seconds) = if let Ok(seconds) = <[u8; 4]>::try_from(bytes) {
        (0, i64::from(u32::from_be_bytes(seconds)))
    } else if let Ok(both) = <[u8; 8]>::try_from(bytes) {
        let both = u64::from_be_bytes(both);
        ((both >> 34) as u32, (both & ((1 << 34) - 1)) as i64)
    } else {
        let (nanos, seconds) = bytes.split_first_chunk::<4>()?;
        let seconds = i64::from_be_bytes(seconds.try_into().ok()?);
        (u32::from_be_bytes(*nanos), seconds)
    };
    Some(match nanos {
        0 => Token::Int(seconds),
        _ => Token::Float(seconds as f64 + f64::from(nanos) / 1e9),
    })
}

fn u8(reader: &mut Reader<'_>) -> Result<u64, Fault> {
    Ok(u64::from(reader.byte()?))
}

fn u16(reader: &mut Reader<'_>) -> Result<u64, Fault> {
    Ok(u64::from(u16::from_be_bytes(reader.array()?)))
}

fn u32(reader: &mut Reader<'_>) -> Result<u64, Fault> {
    Ok(u64::from(u32::from_be_bytes(reader.array()?)))
}

pub(super) fn put_uint(int: u64, out: &mut BytesMut) {
    match int {
        0..=0x7f => out.put_u8(int as u8),
        0x80..=0xff => out.put_slice(&[0xcc, int as u8]),
        0x100..=0xffff => {
            out.put_u8(0xcd);
            out.put_u16(int as u16);
        }
        0x1_0000..=0xffff_ffff => {
            out.put_u8(0xce);
            out.put_u32(int as u32);
        }
        _ => {
            out.put_u8(0xcf);
            out.put_u64(int);
        }
    }
}

pub(super) fn put_int(int: i64, out: &mut BytesMut) {
    match int {
        0.. => put_uint(int.unsigned_abs(), out),
        -32..=-1 => out.put_i8(int as i8),
        -0x80..=-33 => {
            out.put_u8(0xd0);
            out.put_i8(int as i8);
        }
        -0x8000..=-0x81 => {
            out.put_u8(0xd1);
            out.put_i16(int as i16);
        }
        -0x8000_0000..=-0x8001 => {
            out.put_u8(0xd2);
            out.put_i32(int as i32);
        }
        _ => {
            out.put_u8(0xd3);
            out.put_i64(int);
        }
    }
}

pub(super) fn put_text_head(length: u32, out: &mut BytesMut) {
    match length {
        0..=31 => out.put_u8(0xa0 | length as u8),
        32..=0xff => out.put_slice(&[0xd9, length as u8]),
        _ => put_long_head(length, 0xda, 0xdb, out),
    }
}

pub(super) fn put_bytes_head(length: u32, out: &mut BytesMut) {
    match length {
        0..=0xff => out.put_slice(&[0xc4, length as u8]),
        _ => put_long_head(length, 0xc5, 0xc6, out),
    }
}

pub(super) fn put_list_head(count: u32, out: &mut BytesMut) {
    match count {
        0..=15 => out.put_u8(0x90 | count as u8),
        _ => put_long_head(count, 0xdc, 0xdd, out),
    }
}

pub(super) fn put_dict_head(count: u32, out: &mut BytesMut) {
    match count {
        0..=15 => out.put_u8(0x80 | count as u8),
        _ => put_long_head(count, 0xde, 0xdf, out),
    }
}

fn put_long_head(length: u32, of_u16: u8, of_u32: u8, out: &mut BytesMut) {
    match u16::try_from(length) {
        Ok(length) => {
            out.put_u8(of_u16);
            out.put_u16(length);
        }
        Err(_) => {
            out.put_u8(of_u32);
            out.put_u32(length);
        }
    }
}
