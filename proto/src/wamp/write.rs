//! Values to bytes, in any serializer.

use std::fmt::Write as _;

use bytes::{BufMut, BytesMut};

use super::limits::DEPTH_CAP;
use super::value::{Dict, Value};
use super::{EncodeError, Serializer, cbor, json, msgpack, number, ubjson};

/// Writes one value, step by step. What is opened is to be closed, and to have as many items as was said.
pub(super) struct Writer<'o> {
    serializer: Serializer,
    pub(super) out: &'o mut BytesMut,
    /// JSON: something stands before the next item.
    comma: bool,
}

impl<'o> Writer<'o> {
    pub(super) fn new(serializer: Serializer, out: &'o mut BytesMut) -> Writer<'o> {
        Writer {
            serializer,
            out,
            comma: false,
        }
    }

    /// A writer of what stands behind other items.
    pub(super) fn behind(serializer: Serializer, out: &'o mut BytesMut) -> Writer<'o> {
        Writer {
            serializer,
            out,
            comma: true,
        }
    }

    #[inline]
    fn separate(&mut self) {
        if self.comma {
            self.out.put_u8(b',');
        }
        self.comma = true;
    }

    /// A value that is written already.
    #[inline]
    pub(super) fn raw(&mut self, value: &[u8]) {
        if self.serializer == Serializer::Json {
            self.separate();
        }
        self.out.put_slice(value);
    }

    pub(super) fn null(&mut self) {
        match self.serializer {
            Serializer::Json => self.raw(b"null"),
            Serializer::MsgPack => self.out.put_u8(0xc0),
            Serializer::Cbor => self.out.put_u8(0xf6),
            Serializer::Ubjson | Serializer::UbjsonLegacy => self.out.put_u8(b'Z'),
        }
    }

    pub(super) fn bool(&mut self, flag: bool) {
        let byte = match self.serializer {
            Serializer::Json => return self.raw(if flag { b"true" } else { b"false" }),
            Serializer::MsgPack => 0xc2 + u8::from(flag),
            Serializer::Cbor => 0xf4 + u8::from(flag),
            Serializer::Ubjson | Serializer::UbjsonLegacy if flag => b'T',
            Serializer::Ubjson | Serializer::UbjsonLegacy => b'F',
        };
        self.out.put_u8(byte);
    }

    pub(super) fn int(&mut self, int: i64) {
        match self.serializer {
            Serializer::Json => {
                self.separate();
                json::put_int(int < 0, int.unsigned_abs(), self.out);
            }
            Serializer::MsgPack => msgpack::put_int(int, self.out),
            Serializer::Cbor if int < 0 => cbor::put_head(1, !int as u64, self.out),
            Serializer::Cbor => cbor::put_head(0, int as u64, self.out),
            Serializer::Ubjson => ubjson::put_int::<true>(int, self.out),
            Serializer::UbjsonLegacy => ubjson::put_int::<false>(int, self.out),
        }
    }

    pub(super) fn uint(&mut self, int: u64) {
        match self.serializer {
            Serializer::Json => {
                self.separate();
                json::put_int(false, int, self.out);
            }
            Serializer::MsgPack => msgpack::put_uint(int, self.out),
            Serializer::Cbor => cbor::put_head(0, int, self.out),
            Serializer::Ubjson => ubjson::put_uint::<true>(int, self.out),
            Serializer::UbjsonLegacy => ubjson::put_uint::<false>(int, self.out),
        }
    }

    pub(super) fn float(&mut self, float: f64) -> Result<(), EncodeError> {
        match self.serializer {
            Serializer::Json => {
                if !float.is_finite() {
                    return Err(EncodeError::NotFinite {
                        to: self.serializer,
                    });
                }
                self.separate();
                // The shortest digits that read as the same float; never without a point or an exponent. Writing to
                // a `BytesMut` does not fail.
                let written = write!(self.out, "{float:?}");
                written.map_err(|_| self.too_long())?;
            }
            Serializer::MsgPack => {
                self.out.put_u8(0xcb);
                self.out.put_f64(float);
            }
            Serializer::Cbor => {
                self.out.put_u8(0xfb);
                self.out.put_f64(float);
            }
            Serializer::Ubjson => ubjson::put_float::<true>(float, self.out),
            Serializer::UbjsonLegacy => ubjson::put_float::<false>(float, self.out),
        }
        Ok(())
    }

    /// A number of [`Value::Number`]: exactly, or, if it is no integer, as the float that is nearest to it.
    pub(super) fn number(&mut self, text: &str) -> Result<(), EncodeError> {
        match self.serializer {
            Serializer::Json => {
                self.raw(text.as_bytes());
                return Ok(());
            }
            Serializer::Ubjson => {
                ubjson::put_number::<true>(text, self.out);
                return Ok(());
            }
            Serializer::UbjsonLegacy => {
                ubjson::put_number::<false>(text, self.out);
                return Ok(());
            }
            Serializer::Cbor => {
                if let Some((negative, bytes)) = number::big_bytes(text) {
                    self.out.put_u8(if negative { 0xc3 } else { 0xc2 });
                    return self.bytes(&bytes);
                }
            }
            Serializer::MsgPack => {}
        }
        let integral = !text.bytes().any(|b| matches!(b, b'.' | b'e' | b'E'));
        match text.parse::<f64>() {
            Ok(float) if float.is_finite() && !integral => self.float(float),
            _ => Err(EncodeError::Number {
                to: self.serializer,
            }),
        }
    }

    pub(super) fn text(&mut self, text: &str) -> Result<(), EncodeError> {
        match self.serializer {
            Serializer::Json => {
                self.separate();
                json::put_text(text, self.out);
            }
            Serializer::MsgPack => {
                msgpack::put_text_head(self.length(text.len())?, self.out);
                self.out.put_slice(text.as_bytes());
            }
            Serializer::Cbor => {
                cbor::put_head(3, text.len() as u64, self.out);
                self.out.put_slice(text.as_bytes());
            }
            Serializer::Ubjson => ubjson::put_text::<true>(text, self.out),
            Serializer::UbjsonLegacy => ubjson::put_text::<false>(text, self.out),
        }
        Ok(())
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        match self.serializer {
            Serializer::Json => {
                self.separate();
                json::put_binary(bytes, self.out);
            }
            Serializer::MsgPack => {
                msgpack::put_bytes_head(self.length(bytes.len())?, self.out);
                self.out.put_slice(bytes);
            }
            Serializer::Cbor => {
                cbor::put_head(2, bytes.len() as u64, self.out);
                self.out.put_slice(bytes);
            }
            Serializer::Ubjson => ubjson::put_bytes::<true>(bytes, self.out),
            Serializer::UbjsonLegacy => ubjson::put_bytes::<false>(bytes, self.out),
        }
        Ok(())
    }

    /// Opens a list of `n` items.
    pub(super) fn list(&mut self, n: usize) -> Result<(), EncodeError> {
        match self.serializer {
            Serializer::Json => self.open(b'['),
            Serializer::MsgPack => msgpack::put_list_head(self.length(n)?, self.out),
            Serializer::Cbor => cbor::put_head(4, n as u64, self.out),
            Serializer::Ubjson | Serializer::UbjsonLegacy => self.out.put_u8(b'['),
        }
        Ok(())
    }

    /// Opens a dict of `n` pairs.
    pub(super) fn dict(&mut self, n: usize) -> Result<(), EncodeError> {
        match self.serializer {
            Serializer::Json => self.open(b'{'),
            Serializer::MsgPack => msgpack::put_dict_head(self.length(n)?, self.out),
            Serializer::Cbor => cbor::put_head(5, n as u64, self.out),
            Serializer::Ubjson | Serializer::UbjsonLegacy => self.out.put_u8(b'{'),
        }
        Ok(())
    }

    fn open(&mut self, bracket: u8) {
        self.separate();
        self.out.put_u8(bracket);
        self.comma = false;
    }

    pub(super) fn key(&mut self, key: &str) -> Result<(), EncodeError> {
        match self.serializer {
            Serializer::Json => {
                self.text(key)?;
                self.out.put_u8(b':');
                self.comma = false;
            }
            Serializer::MsgPack | Serializer::Cbor => self.text(key)?,
            Serializer::Ubjson => ubjson::put_key::<true>(key, self.out),
            Serializer::UbjsonLegacy => ubjson::put_key::<false>(key, self.out),
        }
        Ok(())
    }

    pub(super) fn end_list(&mut self) {
        self.end(b']');
    }

    pub(super) fn end_dict(&mut self) {
        self.end(b'}');
    }

    fn end(&mut self, bracket: u8) {
        if !self.serializer.is_counted() {
            self.out.put_u8(bracket);
            self.comma = true;
        }
    }

    pub(super) fn value(&mut self, value: &Value) -> Result<(), EncodeError> {
        self.value_within(value, DEPTH_CAP)
    }

    fn value_within(&mut self, value: &Value, depth: usize) -> Result<(), EncodeError> {
        match value {
            Value::Null => self.null(),
            Value::Bool(flag) => self.bool(*flag),
            Value::Int(int) => self.int(*int),
            Value::UInt(int) => self.uint(*int),
            Value::Float(float) => self.float(*float)?,
            Value::Number(text) => self.number(text)?,
            Value::Str(text) => self.text(text)?,
            Value::Bytes(bytes) => self.bytes(bytes)?,
            Value::List(list) => self.values_within(list, depth)?,
            Value::Dict(dict) => self.entries_within(dict, depth)?,
        }
        Ok(())
    }

    pub(super) fn values(&mut self, list: &[Value]) -> Result<(), EncodeError> {
        self.values_within(list, DEPTH_CAP)
    }

    fn values_within(&mut self, list: &[Value], depth: usize) -> Result<(), EncodeError> {
        let depth = depth.checked_sub(1).ok_or(EncodeError::TooDeep)?;
        self.list(list.len())?;
        for item in list {
            self.value_within(item, depth)?;
        }
        self.end_list();
        Ok(())
    }

    pub(super) fn entries(&mut self, dict: &Dict) -> Result<(), EncodeError> {
        self.entries_within(dict, DEPTH_CAP)
    }

    fn entries_within(&mut self, dict: &Dict, depth: usize) -> Result<(), EncodeError> {
        let depth = depth.checked_sub(1).ok_or(EncodeError::TooDeep)?;
        self.dict(dict.len())?;
        for (key, value) in dict.iter() {
            self.key(key)?;
            self.value_within(value, depth)?;
        }
        self.end_dict();
        Ok(())
    }

    fn length(&self, length: usize) -> Result<u32, EncodeError> {
        u32::try_from(length).map_err(|_| self.too_long())
    }

    fn too_long(&self) -> EncodeError {
        EncodeError::TooLong {
            to: self.serializer,
        }
    }
}
