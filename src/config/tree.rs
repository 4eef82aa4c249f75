//! A text's tree of maps, lists and values, of a size that the text's own length bounds.
//!
//! An alias in YAML stands for all that its anchor names, so a short text can mean a huge tree: the parser's own limit
//! stops chains of aliases, but a long list that is named a hundred thousand times gets past it. Without aliases, no text
//! has more values and letters than a small multiple of its bytes; a tree that would have more is refused while it grows.
//!
//! Always, each with a test of its name below or in `yaml`: `a_long_list_named_often_is_refused`,
//! `a_key_that_is_there_twice_is_refused`.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Values and letters for each byte of the text. An escape in YAML means at most three bytes for two.
const PER_BYTE: usize = 4;
/// What a text of no length may have.
const LEAST: usize = 1024;

/// Reads a tree out of a text of `text_bytes`.
///
/// # Errors
/// What the parser says; a map's key that is there twice, or is no text; a tag; a tree that is too large for its text.
pub(crate) fn read<'de, D: Deserializer<'de>>(
    deserializer: D,
    text_bytes: usize,
) -> Result<Value, D::Error> {
    let left = Cell::new(text_bytes.saturating_mul(PER_BYTE).saturating_add(LEAST));
    Tree { left: &left }.deserialize(deserializer)
}

/// Takes any value. `left` is what the whole tree may still have.
#[derive(Clone, Copy)]
struct Tree<'a> {
    left: &'a Cell<usize>,
}

impl Tree<'_> {
    fn spend<E: Error>(self, amount: usize) -> Result<(), E> {
        let left = self.left.get().checked_sub(amount.saturating_add(1));
        self.left.set(left.ok_or_else(|| {
            E::custom("its aliases stand for far more than is written; write it out")
        })?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a map")
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value, E> {
        self.spend(0)?;
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        self.spend(0)?;
        Ok(Value::from(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        self.spend(0)?;
        Ok(Value::from(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        self.spend(0)?;
        let text = || Value::String(number.to_string());
        Ok(Number::from_f64(number).map_or_else(text, Value::Number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        self.spend(text.len())?;
        Ok(Value::String(text.to_owned()))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.spend(0)?;
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.spend(0)?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        self.spend(0)?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key_seed(Key(self))? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!(
                    "the key `{key}` is there twice"
                )));
            }
            map.insert(key, entries.next_value_seed(self)?);
        }
        Ok(Value::Object(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Err(A::Error::custom("a tag (`!…`) means nothing here"))
    }
}

/// Takes a map's key: a scalar, as it is written.
struct Key<'a>(Tree<'a>);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key that is a name")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        self.0.spend(text.len())?;
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Result<Value, String> {
        let mut parser = serde_json::Deserializer::from_str(text);
        read(&mut parser, text.len()).map_err(|error| error.to_string())
    }

    #[test]
    fn json_becomes_itself() {
        for text in [
            r#"{"a":[1,-2,0.5,true,null,"x\u00e9\ud83d\ude00"],"b":{}}"#,
            "[]",
            "18446744073709551615",
        ] {
            assert_eq!(
                json(text).unwrap(),
                serde_json::from_str::<Value>(text).unwrap()
            );
        }
    }

    #[test]
    fn a_key_that_is_there_twice_is_refused() {
        assert!(json(r#"{"a":1,"a":2}"#).unwrap_err().contains("twice"));
        assert!(
            json(r#"{"b":{"a":1,"c":2,"a":2}}"#)
                .unwrap_err()
                .contains("twice")
        );
    }
}
