//! Bytes to tokens, in any serializer: what decoding, checking and transcoding are made of.
//!
//! A [`Reader`] hands out one [`Token`] after the other and remembers what is open on a stack of its own, so that
//! nesting costs no recursion, and a claimed count no memory. Strings and numbers are checked where they stand and
//! resolved only if somebody asks.

use std::borrow::Cow;

use bytes::Bytes;
use smallvec::SmallVec;

use super::error::Fault;
use super::limits::DEPTH_CAP;
use super::number::Numeral;
use super::value::{Dict, Value};
use super::{Serializer, cbor, json, msgpack, ubjson};

/// One step of a value. `List` and `Dict` are followed by their items, and by `ListEnd` or `DictEnd`; each value of a
/// dict by its `Key` before it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Token<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// Above `i64::MAX`.
    UInt(u64),
    Float(f64),
    Number(Numeral<'a>),
    Text(Text<'a>),
    Bytes(Binary<'a>),
    List,
    Dict,
    Key(Text<'a>),
    ListEnd,
    DictEnd,
}

impl Token<'_> {
    /// What it begins, with its article, as error messages say it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Token::Null => "null",
            Token::Bool(_) => "a bool",
            Token::Int(_) | Token::UInt(_) => "an integer",
            Token::Float(_) | Token::Number(_) => "a number",
            Token::Text(_) | Token::Key(_) => "a string",
            Token::Bytes(_) => "bytes",
            Token::List | Token::ListEnd => "a list",
            Token::Dict | Token::DictEnd => "a dict",
        }
    }
}

/// A string that was checked, as it stands in the input.
#[derive(Debug, Clone, Copy)]
pub(super) enum Text<'a> {
    Plain(&'a str),
    /// Of JSON, with escapes in it.
    Escaped(&'a str),
    /// Of CBOR, in chunks: their bytes, heads included.
    Chunks(&'a [u8]),
}

impl<'a> Text<'a> {
    pub(super) fn resolve(self) -> Cow<'a, str> {
        match self {
            Text::Plain(text) => Cow::Borrowed(text),
            Text::Escaped(text) => Cow::Owned(json::unescape(text)),
            Text::Chunks(chunks) => {
                let bytes = cbor::join(chunks);
                Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
            }
        }
    }

    /// The bytes that a JSON string stands for, if it does.
    pub(super) fn as_binary(self) -> Option<Vec<u8>> {
        match self {
            Text::Escaped(text) => json::binary(text),
            _ => None,
        }
    }
}

/// Bytes as they stand in the input.
#[derive(Debug, Clone, Copy)]
pub(super) enum Binary<'a> {
    Plain(&'a [u8]),
    /// Of CBOR, in chunks: their bytes, heads included.
    Chunks(&'a [u8]),
}

impl<'a> Binary<'a> {
    pub(super) fn resolve(self) -> Cow<'a, [u8]> {
        match self {
            Binary::Plain(bytes) => Cow::Borrowed(bytes),
            Binary::Chunks(chunks) => Cow::Owned(cbor::join(chunks)),
        }
    }
}

/// How many items are left of a level that ends with a mark instead.
const OPEN: u64 = u64::MAX;

/// A list or dict that is open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Level {
    /// Items, or pairs, that are still to come; [`OPEN`] if a mark ends them.
    left: u64,
    pub(super) dict: bool,
    /// A key was read, and its value was not.
    pub(super) half: bool,
    /// Nothing was read of it yet.
    pub(super) fresh: bool,
    /// UBJSON: the marker that all items share, which they then lack; 0 if there is none.
    pub(super) marker: u8,
}

impl Level {
    pub(super) fn is_open(self) -> bool {
        self.left == OPEN
    }
}

/// What stands at this place of a serializer with counts.
pub(super) enum Place {
    Key,
    Value,
    End,
}

/// Reads one value, token by token.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    serializer: Serializer,
    input: &'a [u8],
    /// JSON: the same, known to be UTF-8.
    text: &'a str,
    at: usize,
    start: usize,
    levels: SmallVec<[Level; 8]>,
    depth_max: usize,
}

impl<'a> Reader<'a> {
    /// A reader of `input`, which may open `depth_max` lists and dicts within each other; never more than 128.
    pub(super) fn new(
        serializer: Serializer,
        input: &'a [u8],
        depth_max: usize,
    ) -> Result<Reader<'a>, (Fault, usize)> {
        let text = match serializer {
            Serializer::Json => std::str::from_utf8(input).map_err(|error| {
                (
                    Fault::Malformed("a string is not utf-8"),
                    error.valid_up_to(),
                )
            })?,
            _ => "",
        };
        Ok(Reader {
            serializer,
            input,
            text,
            at: 0,
            start: 0,
            levels: SmallVec::new(),
            depth_max: depth_max.min(DEPTH_CAP),
        })
    }

    /// Where the token that was read last begins.
    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// Where what was read ends.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// How many lists and dicts are open.
    pub(super) fn depth(&self) -> usize {
        self.levels.len()
    }

    /// Whether the values that follow lack their markers, as UBJSON's typed lists have it.
    pub(super) fn is_typed(&self) -> bool {
        self.levels.last().is_some_and(|level| level.marker != 0)
    }

    #[inline]
    pub(super) fn next(&mut self) -> Result<Token<'a>, Fault> {
        match self.serializer {
            Serializer::Json => json::next(self),
            Serializer::MsgPack => msgpack::next(self),
            Serializer::Cbor => cbor::next(self),
            Serializer::Ubjson => ubjson::next::<true>(self),
            Serializer::UbjsonLegacy => ubjson::next::<false>(self),
        }
    }

    /// Reads on to the end of the value that `token`, the last one, begins.
    pub(super) fn skip(&mut self, token: Token<'a>) -> Result<(), Fault> {
        if !matches!(token, Token::List | Token::Dict) {
            return Ok(());
        }
        self.skip_to(self.depth() - 1)
    }

    /// Reads on until no more than `outside` lists and dicts are open.
    pub(super) fn skip_to(&mut self, outside: usize) -> Result<(), Fault> {
        match self.serializer {
            Serializer::Json => self.skip_by(outside, json::next),
            Serializer::MsgPack => self.skip_by(outside, msgpack::next),
            Serializer::Cbor => self.skip_by(outside, cbor::next),
            Serializer::Ubjson => self.skip_by(outside, ubjson::next::<true>),
            Serializer::UbjsonLegacy => self.skip_by(outside, ubjson::next::<false>),
        }
    }

    #[inline]
    fn skip_by(
        &mut self,
        outside: usize,
        next: impl Fn(&mut Reader<'a>) -> Result<Token<'a>, Fault>,
    ) -> Result<(), Fault> {
        while self.levels.len() > outside {
            next(self)?;
        }
        Ok(())
    }

    /// The value that `token`, the last one, begins. It recurses as deep as lists and dicts are nested, which is at
    /// most as deep as the reader was told.
    pub(super) fn value(&mut self, token: Token<'a>) -> Result<Value, Fault> {
        Ok(match token {
            Token::Null | Token::ListEnd | Token::DictEnd => Value::Null,
            Token::Bool(flag) => Value::Bool(flag),
            Token::Int(int) => Value::Int(int),
            Token::UInt(int) => Value::UInt(int),
            Token::Float(float) => Value::Float(float),
            Token::Number(number) => number.value()?,
            Token::Text(text) | Token::Key(text) => match text.as_binary() {
                Some(bytes) => Value::Bytes(bytes.into()),
                None => Value::Str(text.resolve().into_owned()),
            },
            Token::Bytes(bytes) => Value::Bytes(match bytes.resolve() {
                Cow::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
                Cow::Owned(bytes) => bytes.into(),
            }),
            Token::List => Value::List(self.list()?),
            Token::Dict => Value::Dict(self.dict()?),
        })
    }

    /// The rest of a list that was just opened.
    pub(super) fn list(&mut self) -> Result<Vec<Value>, Fault> {
        let mut list = Vec::new();
        loop {
            match self.next()? {
                Token::ListEnd => return Ok(list),
                token => list.push(self.value(token)?),
            }
        }
    }

    /// The rest of a dict that was just opened.
    pub(super) fn dict(&mut self) -> Result<Dict, Fault> {
        let mut dict = Dict::new();
        while let Token::Key(key) = self.next()? {
            let token = self.next()?;
            let value = self.value(token)?;
            dict.push(key.resolve().into_owned(), value);
        }
        Ok(dict)
    }

    /// Nothing may be left but what stands for nothing.
    pub(super) fn finish(&mut self) -> Result<(), Fault> {
        if self.serializer == Serializer::Json {
            json::space(self);
        }
        self.mark();
        if self.at < self.input.len() {
            return Err(Fault::TrailingBytes);
        }
        Ok(())
    }

    // What the serializers are written with.

    /// Here begins a token.
    #[inline]
    pub(super) fn mark(&mut self) {
        self.start = self.at;
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, Fault> {
        let byte = self.peek().ok_or(Fault::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    /// Steps over bytes that were peeked at.
    #[inline]
    pub(super) fn step(&mut self, n: usize) {
        self.at = (self.at + n).min(self.input.len());
    }

    #[inline]
    pub(super) fn take(&mut self, n: u64) -> Result<&'a [u8], Fault> {
        let n = usize::try_from(n).map_err(|_| Fault::Truncated)?;
        let rest = self.input.get(self.at..).unwrap_or_default();
        let taken = rest.get(..n).ok_or(Fault::Truncated)?;
        self.at += n;
        Ok(taken)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        let array = rest.first_chunk::<N>().ok_or(Fault::Truncated)?;
        self.at += N;
        Ok(*array)
    }

    /// `n` bytes of UTF-8.
    #[inline]
    pub(super) fn take_text(&mut self, n: u64) -> Result<&'a str, Fault> {
        let bytes = self.take(n)?;
        std::str::from_utf8(bytes).map_err(|_| Fault::Malformed("a string is not utf-8"))
    }

    /// What lies from `from` to here.
    #[inline]
    pub(super) fn since(&self, from: usize) -> &'a [u8] {
        self.input.get(from..self.at).unwrap_or_default()
    }

    /// The same as text; JSON only.
    #[inline]
    pub(super) fn text_since(&self, from: usize) -> &'a str {
        self.text.get(from..self.at).unwrap_or_default()
    }

    /// All that was not read yet.
    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.input.get(self.at..).unwrap_or_default()
    }

    #[inline]
    pub(super) fn level(&mut self) -> Option<&mut Level> {
        self.levels.last_mut()
    }

    /// Opens a list or dict. A count that is more than the bytes there are is not believed.
    pub(super) fn open(
        &mut self,
        dict: bool,
        count: Option<u64>,
        marker: u8,
    ) -> Result<Token<'a>, Fault> {
        if self.levels.len() >= self.depth_max {
            return Err(Fault::TooDeep);
        }
        let item_bytes_min = if dict { 2 } else { 1 };
        let there = (self.input.len() - self.at) as u64 / item_bytes_min;
        if count.is_some_and(|count| count > there) {
            return Err(Fault::Truncated);
        }
        self.levels.push(Level {
            left: count.unwrap_or(OPEN),
            dict,
            half: false,
            fresh: true,
            marker,
        });
        Ok(if dict { Token::Dict } else { Token::List })
    }

    /// Closes the innermost list or dict.
    pub(super) fn close(&mut self) -> Token<'a> {
        match self.levels.pop() {
            Some(level) if level.dict => Token::DictEnd,
            _ => Token::ListEnd,
        }
    }

    /// What stands here, in serializers with counts; counts it.
    #[inline]
    pub(super) fn place(&mut self) -> Place {
        let Some(level) = self.levels.last_mut() else {
            return Place::Value;
        };
        if level.half {
            level.half = false;
            return Place::Value;
        }
        if level.left == 0 {
            return Place::End;
        }
        if level.left != OPEN {
            level.left -= 1;
        }
        if level.dict {
            level.half = true;
            Place::Key
        } else {
            Place::Value
        }
    }
}
