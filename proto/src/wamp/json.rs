//! JSON, RFC 8259. Bytes are strings that begin with U+0000, which base64 follows (wamp-proto, "Binary conversion of
//! JSON Strings"); that holds of values only, not of keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, BytesMut};

use super::error::Fault;
use super::number::Numeral;
use super::read::{Reader, Text, Token};

/// How a string that stands for bytes begins.
const BINARY_MARK: &str = "\\u0000";

#[inline]
pub(super) fn next<'a>(reader: &mut Reader<'a>) -> Result<Token<'a>, Fault> {
    space(reader);
    reader.mark();
    let here = reader.peek();
    let Some(level) = reader.level() else {
        return value(reader);
    };
    if level.half {
        level.half = false;
        return value(reader);
    }
    let dict = level.dict;
    let fresh = std::mem::replace(&mut level.fresh, false);
    if here == Some(if dict { b'}' } else { b']' }) {
        reader.step(1);
        return Ok(reader.close());
    }
    if !fresh {
        match here {
            Some(b',') => reader.step(1),
            None => return Err(Fault::Truncated),
            Some(_) => return Err(Fault::Malformed("there is no comma between two items")),
        }
        space(reader);
        reader.mark();
    }
    if dict { key(reader) } else { value(reader) }
}

/// Steps over what stands for nothing.
#[inline]
pub(super) fn space(reader: &mut Reader<'_>) {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = reader.peek() {
        reader.step(1);
    }
}

fn key<'a>(reader: &mut Reader<'a>) -> Result<Token<'a>, Fault> {
    match reader.peek() {
        Some(b'"') => reader.step(1),
        None => return Err(Fault::Truncated),
        Some(b'}' | b',' | b']' | b':') => return Err(Fault::Malformed("a key is missing")),
        Some(_) => return Err(Fault::KeyNotText),
    }
    let key = string(reader)?;
    space(reader);
    match reader.peek() {
        Some(b':') => reader.step(1),
        None => return Err(Fault::Truncated),
        Some(_) => return Err(Fault::Malformed("there is no colon behind a key")),
    }
    if let Some(level) = reader.level() {
        level.half = true;
    }
    Ok(Token::Key(key))
}

#[inline]
fn value<'a>(reader: &mut Reader<'a>) -> Result<Token<'a>, Fault> {
    match reader.peek() {
        Some(b'"') => {
            reader.step(1);
            Ok(Token::Text(string(reader)?))
        }
        Some(b'-' | b'0'..=b'9') => number(reader),
        Some(b'[') => {
            reader.step(1);
            reader.open(false, None, 0)
        }
        Some(b'{') => {
            reader.step(1);
            reader.open(true, None, 0)
        }
        Some(b't') => word(reader, "true", Token::Bool(true)),
        Some(b'f') => word(reader, "false", Token::Bool(false)),
        Some(b'n') => word(reader, "null", Token::Null),
        None => Err(Fault::Truncated),
        Some(_) => Err(Fault::Malformed("there is no value")),
    }
}

fn word<'a>(reader: &mut Reader<'a>, word: &str, token: Token<'a>) -> Result<Token<'a>, Fault> {
    let rest = reader.rest();
    if rest.starts_with(word.as_bytes()) {
        reader.step(word.len());
        return Ok(token);
    }
    if word.as_bytes().starts_with(rest) {
        return Err(Fault::Truncated);
    }
    Err(Fault::Malformed("there is no value"))
}

#[inline]
fn number<'a>(reader: &mut Reader<'a>) -> Result<Token<'a>, Fault> {
    let from = reader.at();
    if reader.peek() == Some(b'-') {
        reader.step(1);
    }
    let whole = digits(reader)?;
    if whole.len() > 1 && whole.first() == Some(&b'0') {
        return Err(Fault::Malformed("a number begins with a zero"));
    }
    let mut integral = true;
    if reader.peek() == Some(b'.') {
        reader.step(1);
        digits(reader)?;
        integral = false;
    }
    if let Some(b'e' | b'E') = reader.peek() {
        reader.step(1);
        if let Some(b'+' | b'-') = reader.peek() {
            reader.step(1);
        }
        digits(reader)?;
        integral = false;
    }
    if reader.peek().is_none() && reader.depth() > 0 {
        return Err(Fault::Truncated); // in the midst of the number, perhaps
    }
    let text = reader.text_since(from);
    // Whatever has so few digits fits, and "-0" is none of these.
    if integral && whole.len() <= 18 && text != "-0" {
        let magnitude = whole
            .iter()
            .fold(0, |n: i64, d| n * 10 + i64::from(d - b'0'));
        let negative = whole.len() < text.len();
        return Ok(Token::Int(if negative { -magnitude } else { magnitude }));
    }
    Ok(Token::Number(Numeral::Text(text)))
}

#[inline]
fn digits<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Fault> {
    let from = reader.at();
    while let Some(b'0'..=b'9') = reader.peek() {
        reader.step(1);
    }
    let digits = reader.since(from);
    match (digits.is_empty(), reader.peek()) {
        (false, _) => Ok(digits),
        (true, None) => Err(Fault::Truncated),
        (true, Some(_)) => Err(Fault::Malformed("a number lacks digits")),
    }
}

/// A string whose first quotation mark was read.
#[inline]
fn string<'a>(reader: &mut Reader<'a>) -> Result<Text<'a>, Fault> {
    let from = reader.at();
    let mut escaped = false;
    loop {
        reader.step(plain_bytes(reader.rest()));
        match reader.peek() {
            Some(b'"') => {
                let text = reader.text_since(from);
                reader.step(1);
                return Ok(if escaped {
                    Text::Escaped(text)
                } else {
                    Text::Plain(text)
                });
            }
            Some(b'\\') => {
                escaped = true;
                reader.step(1);
                escape(reader)?;
            }
            Some(_) => return Err(Fault::Malformed("a control character is not escaped")),
            None => return Err(Fault::Truncated),
        }
    }
}

/// How many bytes, from the first on, stand for themselves.
#[inline]
fn plain_bytes(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut n = 0;
    for word in words {
        let word = u64::from_ne_bytes(*word);
        // Bytes below 0x20: a borrow out of a byte that has no high bit.
        let controls = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let quotes = has_zero(word ^ (ONES * u64::from(b'"')));
        let escapes = has_zero(word ^ (ONES * u64::from(b'\\')));
        if controls | quotes | escapes != 0 {
            return n + plain_bytes_by_one(bytes.get(n..).unwrap_or_default());
        }
        n += 8;
    }
    n + plain_bytes_by_one(rest)
}

#[inline]
fn plain_bytes_by_one(bytes: &[u8]) -> usize {
    let special = |b: &u8| *b < 0x20 || matches!(b, b'"' | b'\\');
    bytes.iter().position(special).unwrap_or(bytes.len())
}

/// An escape whose backslash was read.
fn escape(reader: &mut Reader<'_>) -> Result<(), Fault> {
    match reader.byte()? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
        b'u' => match hex4(reader)? {
            0xd800..=0xdbff => low_surrogate(reader),
            0xdc00..=0xdfff => Err(Fault::Malformed("a surrogate stands alone")),
            _ => Ok(()),
        },
        _ => Err(Fault::Malformed("there is no such escape")),
    }
}

fn low_surrogate(reader: &mut Reader<'_>) -> Result<(), Fault> {
    const ALONE: Fault = Fault::Malformed("a surrogate stands alone");
    for wanted in *b"\\u" {
        if reader.byte()? != wanted {
            return Err(ALONE);
        }
    }
    match hex4(reader)? {
        0xdc00..=0xdfff => Ok(()),
        _ => Err(ALONE),
    }
}

fn hex4(reader: &mut Reader<'_>) -> Result<u32, Fault> {
    let mut code = 0;
    for _ in 0..4 {
        let digit = char::from(reader.byte()?).to_digit(16);
        let digit = digit.ok_or(Fault::Malformed("an escape lacks hexadecimal digits"))?;
        code = code << 4 | digit;
    }
    Ok(code)
}

/// The text of a string that was checked.
pub(super) fn unescape(escaped: &str) -> String {
    let mut out = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((plain, behind)) = rest.split_once('\\') {
        out.push_str(plain);
        let mut chars = behind.chars();
        match chars.next() {
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('u') => {
                rest = push_code(chars.as_str(), &mut out);
                continue;
            }
            Some(other) => out.push(other),
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out
}

/// Adds what the digits behind `\u` stand for; gives back what is behind them.
fn push_code<'a>(text: &'a str, out: &mut String) -> &'a str {
    let code_at = |text: &'a str| {
        let (digits, rest) = text.split_at_checked(4)?;
        Some((u32::from_str_radix(digits, 16).ok()?, rest))
    };
    let Some((mut code, mut rest)) = code_at(text) else {
        return text;
    };
    if (0xd800..0xdc00).contains(&code)
        && let Some((low, behind)) = rest.strip_prefix("\\u").and_then(code_at)
    {
        code = 0x10000 + ((code - 0xd800) << 10) + low.saturating_sub(0xdc00);
        rest = behind;
    }
    out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
    rest
}

/// The bytes that a string with escapes stands for, if it stands for bytes.
pub(super) fn binary(escaped: &str) -> Option<Vec<u8>> {
    let text = escaped.strip_prefix(BINARY_MARK)?;
    if text.contains('\\') {
        return STANDARD.decode(unescape(text)).ok(); // as "\/"
    }
    STANDARD.decode(text).ok()
}

/// Writes a string, quotation marks included.
pub(super) fn put_text(text: &str, out: &mut BytesMut) {
    out.reserve(text.len() + 2);
    out.put_u8(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (plain, behind) = rest.split_at(plain_bytes(rest));
        out.put_slice(plain);
        let Some((special, behind)) = behind.split_first() else {
            break;
        };
        put_escape(*special, out);
        rest = behind;
    }
    out.put_u8(b'"');
}

fn put_escape(byte: u8, out: &mut BytesMut) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            let hex = |n: u8| if n < 10 { b'0' + n } else { b'a' + n - 10 };
            out.put_slice(b"\\u00");
            out.put_u8(hex(byte >> 4));
            out.put_u8(hex(byte & 15));
            return;
        }
    };
    out.put_slice(&[b'\\', short]);
}

/// Writes bytes as the string that stands for them.
pub(super) fn put_binary(bytes: &[u8], out: &mut BytesMut) {
    out.put_u8(b'"');
    out.put_slice(BINARY_MARK.as_bytes());
    // In pieces that base64 pads only at the end of the last.
    for piece in bytes.chunks(3 * 256) {
        let mut text = [0; 4 * 256];
        let n = STANDARD.encode_slice(piece, &mut text).unwrap_or_default();
        out.put_slice(text.get(..n).unwrap_or_default());
    }
    out.put_u8(b'"');
}

/// Writes an integer in digits.
pub(super) fn put_int(negative: bool, magnitude: u64, out: &mut BytesMut) {
    if negative {
        out.put_u8(b'-');
    }
    let mut digits = [0; 20];
    let mut n = magnitude;
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (n % 10) as u8;
        n /= 10;
        used += 1;
        if n == 0 {
            break;
        }
    }
    out.put_slice(digits.get(digits.len() - used..).unwrap_or_default());
}
