//! Bytes to a message.

use bytes::Bytes;

use super::error::Fault;
use super::number::Numeral;
use super::read::{Reader, Text, Token};
use super::value::{Dict, ID_MAX, Value, integral};
use super::{DecodeError, Limits, Message, Payload, Serializer};

/// The codes of messages that an ERROR may answer (YIELD: a result that cannot be forwarded).
const REQUESTS: [u64; 8] = [16, 32, 34, 48, 64, 66, 68, 70];

/// How many times as long as other strings a signature may be.
const SIGNATURE_FACTOR: usize = 8;

/// The message that `frame` is. Its payload is a slice of `frame`.
///
/// # Errors
/// [`DecodeError`]: answered by ABORT with `wamp.error.protocol_violation`, its `Display` as the message, and by closing.
pub fn decode(
    serializer: Serializer,
    frame: &Bytes,
    limits: &Limits,
) -> Result<Message, DecodeError> {
    if frame.len() > limits.bytes_max {
        return Err(DecodeError::TooLarge {
            bytes: frame.len(),
            max: limits.bytes_max,
        });
    }
    let context = Context {
        serializer,
        frame,
        limits,
    };
    let reader = Reader::new(serializer, frame, limits.depth_max);
    let mut fields = Fields {
        reader: reader.map_err(|(fault, at)| context.error(fault, at))?,
        context: &context,
        message: "",
        min: 0,
        max: 0,
        ended: false,
    };
    let code = fields.code()?;
    Message::read(code, &mut fields)
}

/// What stays the same while a message is read.
struct Context<'a> {
    serializer: Serializer,
    frame: &'a Bytes,
    limits: &'a Limits,
}

impl Context<'_> {
    fn error(&self, fault: Fault, at: usize) -> DecodeError {
        match fault {
            Fault::Truncated => DecodeError::Truncated {
                at: self.frame.len(),
            },
            Fault::TooDeep => DecodeError::TooDeep {
                max: self.limits.depth_max.min(super::limits::DEPTH_CAP),
            },
            Fault::KeyNotText => DecodeError::KeyNotText { at },
            Fault::TrailingBytes => DecodeError::TrailingBytes { at },
            Fault::Malformed(what) => DecodeError::Malformed {
                serializer: self.serializer,
                at,
                what,
            },
        }
    }
}

/// The elements of a message, one after the other. Each method reads one field; `field` is its name for errors.
pub(super) struct Fields<'r, 'a> {
    reader: Reader<'a>,
    context: &'r Context<'a>,
    message: &'static str,
    min: usize,
    max: usize,
    /// The list's end was read.
    ended: bool,
}

impl<'a> Fields<'_, 'a> {
    fn code(&mut self) -> Result<u64, DecodeError> {
        let token = self.next()?;
        if !matches!(token, Token::List) {
            return Err(self.no_message(token)?);
        }
        match self.next()? {
            Token::ListEnd => Err(DecodeError::NotAMessage {
                found: "an empty list",
            }),
            token => match self.as_integer(token)? {
                Some(code) => Ok(code),
                None => {
                    self.skip(token)?;
                    Err(DecodeError::NotAMessage {
                        found: "a list that begins with something else",
                    })
                }
            },
        }
    }

    /// It is malformed, if it is, rather than no message.
    fn no_message(&mut self, token: Token<'a>) -> Result<DecodeError, DecodeError> {
        self.skip(token)?;
        let finished = self.reader.finish();
        finished.map_err(|fault| self.fault(fault))?;
        Ok(DecodeError::NotAMessage {
            found: token.kind(),
        })
    }

    /// Which message it is, and how many elements it should have.
    pub(super) fn begin(&mut self, message: &'static str, min: usize, max: usize) {
        self.message = message;
        self.min = min;
        self.max = max;
    }

    /// Nothing may follow.
    pub(super) fn end(&mut self) -> Result<(), DecodeError> {
        if self.following()?.is_some() {
            return Err(self.arity());
        }
        let finished = self.reader.finish();
        finished.map_err(|fault| self.fault(fault))
    }

    pub(super) fn id(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let id = self.integer(field)?;
        if (1..=ID_MAX).contains(&id) {
            return Ok(id);
        }
        Err(self.wrong_value(field, "an id from 1 to 2^53"))
    }

    pub(super) fn id_or_zero(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let id = self.integer(field)?;
        if id <= ID_MAX {
            return Ok(id);
        }
        Err(self.wrong_value(field, "an id from 1 to 2^53, or 0"))
    }

    pub(super) fn request_type(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        let code = self.integer(field)?;
        match u16::try_from(code) {
            Ok(small) if REQUESTS.contains(&code) => Ok(small),
            _ => Err(self.wrong_value(field, "the code of a request")),
        }
    }

    pub(super) fn text(&mut self, field: &'static str) -> Result<String, DecodeError> {
        self.text_within(field, self.context.limits.text_bytes_max)
    }

    pub(super) fn signature(&mut self, field: &'static str) -> Result<String, DecodeError> {
        let max = self.context.limits.text_bytes_max;
        self.text_within(field, max.saturating_mul(SIGNATURE_FACTOR))
    }

    fn text_within(&mut self, field: &'static str, max: usize) -> Result<String, DecodeError> {
        let token = self.element()?;
        let Token::Text(text) = token else {
            return Err(self.wrong_type(field, "a string", token));
        };
        let text = text.resolve();
        if text.len() > max {
            return Err(self.too_large(field, max));
        }
        Ok(text.into_owned())
    }

    /// A dict; null stands for an empty one.
    pub(super) fn dict(&mut self, field: &'static str) -> Result<Dict, DecodeError> {
        let token = self.element()?;
        self.dict_of(field, token)
    }

    /// A dict, or none.
    pub(super) fn details_if_any(
        &mut self,
        field: &'static str,
    ) -> Result<Option<Dict>, DecodeError> {
        match self.following()? {
            Some(token) => self.dict_of(field, token).map(Some),
            None => Ok(None),
        }
    }

    fn dict_of(&mut self, field: &'static str, token: Token<'a>) -> Result<Dict, DecodeError> {
        match token {
            Token::Null => return Ok(Dict::new()),
            Token::Dict => {}
            _ => return Err(self.wrong_type(field, "a dict", token)),
        }
        let max = self.context.limits.options_bytes_max;
        let start = self.reader.start();
        let mut dict = Dict::new();
        while let Token::Key(key) = self.next()? {
            let key = key.resolve().into_owned();
            let value = self.value_within(field, start, max)?;
            dict.push(key, value);
        }
        Ok(dict)
    }

    /// The next value. It is skipped before it is built, so that memory is spent on no more than `max` bytes.
    fn value_within(
        &mut self,
        field: &'static str,
        start: usize,
        max: usize,
    ) -> Result<Value, DecodeError> {
        let token = self.next()?;
        if matches!(token, Token::List | Token::Dict) {
            let mut ahead = self.reader.clone();
            let skipped = ahead.skip(token);
            skipped.map_err(|fault| self.context.error(fault, ahead.start()))?;
            if ahead.at() - start > max {
                return Err(self.too_large(field, max));
            }
        } else if self.reader.at() - start > max {
            return Err(self.too_large(field, max));
        }
        let value = self.reader.value(token);
        value.map_err(|fault| self.fault(fault))
    }

    /// A list and a dict, a list, or nothing. Null stands for an empty one of either.
    pub(super) fn payload(&mut self, _field: &'static str) -> Result<Payload, DecodeError> {
        let args = match self.following()? {
            None | Some(Token::Null) => None,
            Some(Token::List) => self.raw_unless_empty()?,
            Some(token) => return Err(self.no_args(token)),
        };
        let kwargs = match self.following()? {
            None | Some(Token::Null) => None,
            Some(Token::Dict) => self.raw_unless_empty()?,
            Some(token) => return Err(self.wrong_type("kwargs", "a dict", token)),
        };
        Ok(Payload::of_checked(self.context.serializer, args, kwargs))
    }

    /// The bytes of the list or dict that was just opened, looked over.
    fn raw_unless_empty(&mut self) -> Result<Option<Bytes>, DecodeError> {
        let start = self.reader.start();
        match self.next()? {
            Token::ListEnd | Token::DictEnd => return Ok(None),
            // The first item's token: the whole list or dict is left with it.
            _ => self.skip_to(1)?,
        }
        Ok(Some(self.context.frame.slice(start..self.reader.at())))
    }

    fn no_args(&self, token: Token<'_>) -> DecodeError {
        let opaque = match token {
            Token::Bytes(_) => true,
            Token::Text(text @ Text::Escaped(_)) => text.as_binary().is_some(),
            _ => false,
        };
        if opaque {
            return DecodeError::OpaquePayload {
                message: self.message,
            };
        }
        self.wrong_type("args", "a list", token)
    }

    fn integer(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let token = self.element()?;
        let integer = self.as_integer(token)?;
        integer.ok_or_else(|| self.wrong_type(field, "a non-negative integer", token))
    }

    /// The integer that a token is; integral floats are integers.
    fn as_integer(&self, token: Token<'_>) -> Result<Option<u64>, DecodeError> {
        let from_float = |float| integral(float).and_then(|int| u64::try_from(int).ok());
        Ok(match token {
            Token::Int(int) => u64::try_from(int).ok(),
            Token::UInt(int) => Some(int),
            Token::Float(float) => from_float(float),
            Token::Number(number @ Numeral::Text(text)) if text.len() <= 32 => {
                match number.value().map_err(|fault| self.fault(fault))? {
                    Value::Int(int) => u64::try_from(int).ok(),
                    Value::UInt(int) => Some(int),
                    Value::Float(float) => from_float(float),
                    _ => None,
                }
            }
            _ => None,
        })
    }

    /// The next element, which must be there.
    fn element(&mut self) -> Result<Token<'a>, DecodeError> {
        match self.following()? {
            Some(token) => Ok(token),
            None => Err(self.arity()),
        }
    }

    /// The next element, if there is one.
    fn following(&mut self) -> Result<Option<Token<'a>>, DecodeError> {
        if self.ended {
            return Ok(None);
        }
        let token = self.next()?;
        self.ended = matches!(token, Token::ListEnd);
        Ok((!self.ended).then_some(token))
    }

    fn next(&mut self) -> Result<Token<'a>, DecodeError> {
        let token = self.reader.next();
        token.map_err(|fault| self.fault(fault))
    }

    fn skip(&mut self, token: Token<'a>) -> Result<(), DecodeError> {
        let skipped = self.reader.skip(token);
        skipped.map_err(|fault| self.fault(fault))
    }

    fn skip_to(&mut self, outside: usize) -> Result<(), DecodeError> {
        let skipped = self.reader.skip_to(outside);
        skipped.map_err(|fault| self.fault(fault))
    }

    fn fault(&self, fault: Fault) -> DecodeError {
        self.context.error(fault, self.reader.start())
    }

    fn arity(&self) -> DecodeError {
        DecodeError::Arity {
            message: self.message,
            min: self.min,
            max: self.max,
        }
    }

    fn wrong_type(
        &self,
        field: &'static str,
        expected: &'static str,
        found: Token<'_>,
    ) -> DecodeError {
        DecodeError::WrongType {
            message: self.message,
            field,
            expected,
            found: found.kind(),
        }
    }

    fn wrong_value(&self, field: &'static str, expected: &'static str) -> DecodeError {
        DecodeError::WrongValue {
            message: self.message,
            field,
            expected,
        }
    }

    fn too_large(&self, field: &'static str, max: usize) -> DecodeError {
        DecodeError::FieldTooLarge {
            message: self.message,
            field,
            max,
        }
    }
}
