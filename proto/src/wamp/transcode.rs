//! One value from one serializer into another, token by token.

use super::error::Fault;
use super::limits::DEPTH_CAP;
use super::read::{Reader, Token};
use super::value::Value;
use super::write::Writer;
use super::{EncodeError, Serializer};

/// Writes the one value that `raw` is.
pub(super) fn transcode(
    from: Serializer,
    raw: &[u8],
    to: Serializer,
    writer: &mut Writer<'_>,
) -> Result<(), EncodeError> {
    let unreadable = |fault: Fault| EncodeError::Payload {
        serializer: from,
        what: fault.what(),
    };
    // Serializers that begin with counts need them before the items: they are found by reading twice.
    let counts = if to.is_counted() {
        counts(from, raw).map_err(unreadable)?
    } else {
        Vec::new()
    };
    let mut counts = counts.into_iter();
    let mut reader = open(from, raw).map_err(unreadable)?;
    loop {
        let token = reader.next().map_err(unreadable)?;
        match token {
            Token::Null => writer.null(),
            Token::Bool(flag) => writer.bool(flag),
            Token::Int(int) => writer.int(int),
            Token::UInt(int) => writer.uint(int),
            Token::Float(float) => writer.float(float)?,
            Token::Number(number) => writer.value(&number.value().map_err(unreadable)?)?,
            Token::Text(text) => match text.as_binary() {
                Some(bytes) => writer.bytes(&bytes)?,
                None => writer.text(&text.resolve())?,
            },
            Token::Bytes(bytes) => writer.bytes(&bytes.resolve())?,
            Token::List => writer.list(counts.next().unwrap_or_default())?,
            Token::Dict => writer.dict(counts.next().unwrap_or_default())?,
            Token::Key(key) => writer.key(&key.resolve())?,
            Token::ListEnd => writer.end_list(),
            Token::DictEnd => writer.end_dict(),
        }
        if reader.depth() == 0 {
            return reader.finish().map_err(unreadable);
        }
    }
}

/// How many items each list and dict has, in the order in which they begin.
fn counts(from: Serializer, raw: &[u8]) -> Result<Vec<usize>, Fault> {
    let mut counts: Vec<usize> = Vec::new();
    let mut open_ones: Vec<usize> = Vec::new();
    let mut reader = open(from, raw)?;
    loop {
        let token = reader.next()?;
        let counted = !matches!(token, Token::Key(_) | Token::ListEnd | Token::DictEnd);
        if counted
            && let Some(at) = open_ones.last()
            && let Some(count) = counts.get_mut(*at)
        {
            *count += 1;
        }
        match token {
            Token::List | Token::Dict => {
                open_ones.push(counts.len());
                counts.push(0);
            }
            Token::ListEnd | Token::DictEnd => {
                open_ones.pop();
            }
            _ => {}
        }
        if reader.depth() == 0 {
            return Ok(counts);
        }
    }
}

/// A reader of a value that stands alone.
pub(super) fn open(serializer: Serializer, raw: &[u8]) -> Result<Reader<'_>, Fault> {
    Reader::new(serializer, raw, DEPTH_CAP).map_err(|(fault, _)| fault)
}

/// The one value that `raw` is.
pub(super) fn value_of(serializer: Serializer, raw: &[u8]) -> Result<Value, Fault> {
    let mut reader = open(serializer, raw)?;
    let token = reader.next()?;
    let value = reader.value(token)?;
    reader.finish()?;
    Ok(value)
}
