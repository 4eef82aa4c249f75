//! The application's part of a message: arguments by place and by name, as the bytes that they came as.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use super::error::Fault;
use super::read::{Binary, Text, Token};
use super::transcode::{open, transcode, value_of};
use super::value::{Dict, Value};
use super::write::Writer;
use super::{EncodeError, Serializer};

/// Arguments by place (`args`) and by name (`kwargs`), as raw bytes that were checked: a list, and a dict whose keys are
/// strings. Empty ones are `None`. Cloning copies nothing; a payload that was decoded keeps its frame alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    serializer: Serializer,
    args: Option<Bytes>,
    kwargs: Option<Bytes>,
}

/// One value as raw bytes, and what it holds if it is a string or bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawValue {
    /// How it is written.
    pub serializer: Serializer,
    /// All of its bytes.
    pub raw: Bytes,
    /// What it holds; `None` if it is neither a string nor bytes.
    pub content: Option<Content>,
}

/// What a string or bytes hold: without length, quotation marks or escapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A string's UTF-8.
    Text(Bytes),
    /// Bytes.
    Bytes(Bytes),
}

impl Payload {
    /// No arguments at all.
    pub const fn none() -> Payload {
        Payload {
            serializer: Serializer::Json,
            args: None,
            kwargs: None,
        }
    }

    /// A payload of parts that were checked, and are not empty.
    pub(super) fn of_checked(
        serializer: Serializer,
        args: Option<Bytes>,
        kwargs: Option<Bytes>,
    ) -> Payload {
        Payload {
            serializer,
            args,
            kwargs,
        }
    }

    /// The payload of these arguments.
    ///
    /// # Errors
    /// [`EncodeError`]: what the serializer cannot say.
    pub fn from_values(
        serializer: Serializer,
        args: &[Value],
        kwargs: &Dict,
    ) -> Result<Payload, EncodeError> {
        let mut payload = Payload {
            serializer,
            ..Payload::none()
        };
        if !args.is_empty() {
            payload.args = Some(written(serializer, |writer| writer.values(args))?);
        }
        if !kwargs.is_empty() {
            payload.kwargs = Some(written(serializer, |writer| writer.entries(kwargs))?);
        }
        Ok(payload)
    }

    /// The payload of one argument, a string.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`].
    pub fn from_single_text(serializer: Serializer, text: &str) -> Result<Payload, EncodeError> {
        Payload::from_single(serializer, |writer| writer.text(text))
    }

    /// The payload of one argument, bytes.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`].
    pub fn from_single_bytes(serializer: Serializer, bytes: &[u8]) -> Result<Payload, EncodeError> {
        Payload::from_single(serializer, |writer| writer.bytes(bytes))
    }

    /// The payload of one argument, which is written already.
    ///
    /// # Errors
    /// [`EncodeError::Payload`]: `raw` is not exactly one well-formed value.
    pub fn from_single_raw(
        serializer: Serializer,
        raw: impl AsRef<[u8]>,
    ) -> Result<Payload, EncodeError> {
        let raw = raw.as_ref();
        check_one(serializer, raw).map_err(|fault| EncodeError::Payload {
            serializer,
            what: fault.what(),
        })?;
        Payload::from_single(serializer, |writer| {
            writer.raw(raw);
            Ok(())
        })
    }

    fn from_single(
        serializer: Serializer,
        write: impl FnOnce(&mut Writer<'_>) -> Result<(), EncodeError>,
    ) -> Result<Payload, EncodeError> {
        let args = written(serializer, |writer| {
            writer.list(1)?;
            write(writer)?;
            writer.end_list();
            Ok(())
        })?;
        Ok(Payload::of_checked(serializer, Some(args), None))
    }

    /// How it is written. Of an empty payload it means nothing.
    pub fn serializer(&self) -> Serializer {
        self.serializer
    }

    /// The raw list of arguments by place; `None` if there are none.
    pub fn raw_args(&self) -> Option<&Bytes> {
        self.args.as_ref()
    }

    /// The raw dict of arguments by name; `None` if there are none.
    pub fn raw_kwargs(&self) -> Option<&Bytes> {
        self.kwargs.as_ref()
    }

    /// Whether there is no argument.
    pub fn is_empty(&self) -> bool {
        self.args.is_none() && self.kwargs.is_none()
    }

    /// Raw bytes of both parts.
    pub fn len(&self) -> usize {
        let part = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        part(&self.args) + part(&self.kwargs)
    }

    /// The arguments by place, decoded. A value in memory may be some 30 times as large as its bytes.
    ///
    /// # Errors
    /// [`EncodeError::Payload`]: a number has more than a thousand digits.
    pub fn args(&self) -> Result<Vec<Value>, EncodeError> {
        match self.args.as_ref().map(|raw| self.value(raw)).transpose()? {
            Some(Value::List(args)) => Ok(args),
            _ => Ok(Vec::new()),
        }
    }

    /// The arguments by name, decoded.
    ///
    /// # Errors
    /// As [`Payload::args`].
    pub fn kwargs(&self) -> Result<Dict, EncodeError> {
        match self
            .kwargs
            .as_ref()
            .map(|raw| self.value(raw))
            .transpose()?
        {
            Some(Value::Dict(kwargs)) => Ok(kwargs),
            _ => Ok(Dict::new()),
        }
    }

    fn value(&self, raw: &[u8]) -> Result<Value, EncodeError> {
        value_of(self.serializer, raw).map_err(|fault| EncodeError::Payload {
            serializer: self.serializer,
            what: fault.what(),
        })
    }

    /// The same payload in another serializer; itself if it is the same one, or empty.
    ///
    /// # Errors
    /// [`EncodeError`]: what the other serializer has no words for.
    pub fn to(&self, serializer: Serializer) -> Result<Cow<'_, Payload>, EncodeError> {
        if self.serializer == serializer || self.is_empty() {
            return Ok(Cow::Borrowed(self));
        }
        let part = |raw: &Bytes| {
            written(serializer, |writer| {
                transcode(self.serializer, raw, serializer, writer)
            })
        };
        Ok(Cow::Owned(Payload {
            serializer,
            args: self.args.as_ref().map(part).transpose()?,
            kwargs: self.kwargs.as_ref().map(part).transpose()?,
        }))
    }

    /// The one argument, if there is one by place and none by name. What it holds is a slice of the payload, unless
    /// it has escapes or chunks.
    pub fn single(&self) -> Option<RawValue> {
        let args = self.args.as_ref().filter(|_| self.kwargs.is_none())?;
        let mut reader = open(self.serializer, args).ok()?;
        let Ok(Token::List) = reader.next() else {
            return None;
        };
        let token = reader.next().ok()?;
        if matches!(token, Token::ListEnd) {
            return None;
        }
        let start = reader.start();
        reader.skip(token).ok()?;
        let raw = args.slice(start..reader.at());
        let raw = if reader.is_typed() {
            // The list says its items' type, so that the bytes alone would not.
            let value = self.args().ok()?.pop()?;
            written(self.serializer, |writer| writer.value(&value)).ok()?
        } else {
            raw
        };
        let Ok(Token::ListEnd) = reader.next() else {
            return None;
        };
        Some(RawValue {
            serializer: self.serializer,
            raw,
            content: content(args, token),
        })
    }

    /// How many elements it adds to a message: none, one or two.
    pub(super) fn elements(&self) -> usize {
        match (&self.args, &self.kwargs) {
            (_, Some(_)) => 2,
            (Some(_), None) => 1,
            (None, None) => 0,
        }
    }

    /// Writes as many elements behind those of a message.
    pub(super) fn write(&self, to: Serializer, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        match &self.args {
            Some(args) => self.write_part(args, to, writer)?,
            None if self.kwargs.is_some() => writer.values(&[])?,
            None => {}
        }
        match &self.kwargs {
            Some(kwargs) => self.write_part(kwargs, to, writer),
            None => Ok(()),
        }
    }

    fn write_part(
        &self,
        raw: &[u8],
        to: Serializer,
        writer: &mut Writer<'_>,
    ) -> Result<(), EncodeError> {
        if self.serializer == to {
            writer.raw(raw);
            return Ok(());
        }
        transcode(self.serializer, raw, to, writer)
    }
}

impl Default for Payload {
    fn default() -> Payload {
        Payload::none()
    }
}

fn written(
    serializer: Serializer,
    write: impl FnOnce(&mut Writer<'_>) -> Result<(), EncodeError>,
) -> Result<Bytes, EncodeError> {
    let mut out = BytesMut::new();
    write(&mut Writer::new(serializer, &mut out))?;
    Ok(out.freeze())
}

fn check_one(serializer: Serializer, raw: &[u8]) -> Result<(), Fault> {
    let mut reader = open(serializer, raw)?;
    let token = reader.next()?;
    reader.skip(token)?;
    reader.finish()
}

/// What the token holds, as a slice of `raw` if it stands there as it is.
fn content(raw: &Bytes, token: Token<'_>) -> Option<Content> {
    Some(match token {
        Token::Text(Text::Plain(text)) => Content::Text(raw.slice_ref(text.as_bytes())),
        Token::Text(text) => match text.as_binary() {
            Some(bytes) => Content::Bytes(bytes.into()),
            None => Content::Text(text.resolve().into_owned().into()),
        },
        Token::Bytes(Binary::Plain(bytes)) => Content::Bytes(raw.slice_ref(bytes)),
        Token::Bytes(bytes) => Content::Bytes(bytes.resolve().into_owned().into()),
        _ => return None,
    })
}
