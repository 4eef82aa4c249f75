//! A payload as one value: the list of its arguments by place and by name. For whoever keeps it as bytes.

use bytes::{Bytes, BytesMut};

use super::error::Fault;
use super::read::Token;
use super::transcode::open;
use super::write::Writer;
use super::{EncodeError, Payload, Serializer};

impl Payload {
    /// The list `[args]` or `[args, kwargs]`, or the empty one, written in the payload's serializer.
    pub fn to_list(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.len() + 16);
        let mut writer = Writer::new(self.serializer(), &mut out);
        let list = writer
            .list(self.elements())
            .and_then(|()| self.write(self.serializer(), &mut writer));
        writer.end_list();
        // Its own bytes, which were checked, and two elements at most.
        debug_assert_eq!(list, Ok(()));
        out.freeze()
    }

    /// The payload of such a list. Its parts are slices of `list`.
    ///
    /// # Errors
    /// [`EncodeError::Payload`]: it is something else.
    pub fn from_list(serializer: Serializer, list: &Bytes) -> Result<Payload, EncodeError> {
        parts(serializer, list).map_err(|fault| EncodeError::Payload {
            serializer,
            what: fault.what(),
        })
    }
}

fn parts(serializer: Serializer, list: &Bytes) -> Result<Payload, Fault> {
    const OTHER: Fault = Fault::Malformed("it is no list of arguments");
    let mut reader = open(serializer, list)?;
    if !matches!(reader.next()?, Token::List) || reader.is_typed() {
        return Err(OTHER);
    }
    let mut part = |is_part: fn(&Token<'_>) -> bool| {
        let token = reader.next()?;
        if matches!(token, Token::ListEnd) {
            return Ok(None);
        }
        if !is_part(&token) {
            return Err(OTHER);
        }
        let start = reader.start();
        reader.skip(token)?;
        Ok(Some(list.slice(start..reader.at())))
    };
    let args = part(|token| matches!(token, Token::List))?;
    let kwargs = match args {
        Some(_) => part(|token| matches!(token, Token::Dict))?,
        None => None,
    };
    if kwargs.is_some() && !matches!(reader.next()?, Token::ListEnd) {
        return Err(OTHER);
    }
    reader.finish()?;
    let whole = |part: Option<Bytes>| part.filter(|raw| !is_nothing(serializer, raw));
    Ok(Payload::of_checked(serializer, whole(args), whole(kwargs)))
}

/// Whether a list or dict is empty.
fn is_nothing(serializer: Serializer, raw: &[u8]) -> bool {
    let Ok(mut reader) = open(serializer, raw) else {
        return false;
    };
    reader.next().is_ok() && matches!(reader.next(), Ok(Token::ListEnd | Token::DictEnd))
}
