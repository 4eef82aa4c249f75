//! Values, as options, details and decoded payloads hold them.

use bytes::Bytes;

/// The largest id: 2⁵³. The smallest is 1.
pub const ID_MAX: u64 = 1 << 53;

/// A value of any serializer.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// Null, and what other serializers call undefined.
    #[default]
    Null,
    /// True or false; never an integer.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// An integer above `i64::MAX`; smaller ones are [`Value::Int`].
    UInt(u64),
    /// A float.
    Float(f64),
    /// A number that none of the former holds exactly, as JSON writes it: a larger integer, or more digits.
    Number(String),
    /// A string.
    Str(String),
    /// Bytes.
    Bytes(Bytes),
    /// A list.
    List(Vec<Value>),
    /// A dict.
    Dict(Dict),
}

impl Value {
    /// What it is, with its article, as error messages say it.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a bool",
            Value::Int(_) | Value::UInt(_) => "an integer",
            Value::Float(_) | Value::Number(_) => "a number",
            Value::Str(_) => "a string",
            Value::Bytes(_) => "bytes",
            Value::List(_) => "a list",
            Value::Dict(_) => "a dict",
        }
    }

    /// The integer that it is; an integral float is one too. A bool never is.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(int) => Some(*int),
            Value::Float(float) => integral(*float),
            _ => None,
        }
    }

    /// The id that it is: an integer, or an integral float, from 1 to [`ID_MAX`].
    pub fn as_id(&self) -> Option<u64> {
        let id = u64::try_from(self.as_int()?).ok()?;
        (1..=ID_MAX).contains(&id).then_some(id)
    }

    /// The string that it is.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The dict that it is.
    pub fn as_dict(&self) -> Option<&Dict> {
        match self {
            Value::Dict(dict) => Some(dict),
            _ => None,
        }
    }

    /// The list that it is.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    /// The bool that it is.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        }
    }
}

/// The integer that `float` is exactly. Beyond ±2⁶³ there is none.
pub(super) fn integral(float: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0; // 2⁶³
    let whole = float.fract() == 0.0 && (-LIMIT..LIMIT).contains(&float);
    whole.then_some(float as i64)
}

macro_rules! value_from {
    ($($from:ty => $variant:ident,)*) => {
        $(impl From<$from> for Value {
            fn from(value: $from) -> Value {
                Value::$variant(value.into())
            }
        })*
    };
}

value_from! {
    bool => Bool,
    i32 => Int,
    u16 => Int,
    u32 => Int,
    i64 => Int,
    f64 => Float,
    &str => Str,
    String => Str,
    Bytes => Bytes,
    Vec<Value> => List,
    Dict => Dict,
}

impl From<u64> for Value {
    fn from(value: u64) -> Value {
        i64::try_from(value).map_or(Value::UInt(value), Value::Int)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

/// A dict: keys in the order that they came in. Where a peer gave a key twice, the last one counts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Dict(Vec<(String, Value)>);

/// An option is there, and of another type than it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} is {found}, and should be {expected}")]
pub struct WrongType {
    /// The key.
    pub key: String,
    /// What its value should be.
    pub expected: &'static str,
    /// What it is.
    pub found: &'static str,
}

impl Dict {
    /// An empty dict.
    pub const fn new() -> Dict {
        Dict(Vec::new())
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of `key`; also if it is null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let mut entries = self.0.iter().rev();
        entries.find(|(k, _)| k == key).map(|(_, value)| value)
    }

    /// Sets `key` to `value`: in its place if it is there, at the end otherwise.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        match self.0.iter_mut().rev().find(|(k, _)| *k == key) {
            Some(entry) => entry.1 = value,
            None => self.0.push((key, value)),
        }
    }

    /// The same dict with `key` set to `value`.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<Value>) -> Dict {
        self.insert(key, value);
        self
    }

    /// Takes `key` out, with its value.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let mut removed = None;
        self.0.retain_mut(|(k, value)| {
            let found = k == key;
            if found {
                removed = Some(std::mem::take(value));
            }
            !found
        });
        removed
    }

    /// Keys and values, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Adds an entry without a look at those that are there, so that a dict of many keys costs no more for each.
    pub(super) fn push(&mut self, key: String, value: Value) {
        self.0.push((key, value));
    }

    /// The id, 1 to [`ID_MAX`], under `key`. `None`: absent, null or undefined; so for all getters below.
    ///
    /// # Errors
    /// [`WrongType`]: it is something else; so for all getters below.
    pub fn id(&self, key: &str) -> Result<Option<u64>, WrongType> {
        self.typed(key, "an id from 1 to 2^53", Value::as_id)
    }

    /// The integer under `key`; an integral float is one, a bool is not.
    ///
    /// # Errors
    /// [`WrongType`].
    pub fn int(&self, key: &str) -> Result<Option<i64>, WrongType> {
        self.typed(key, "an integer", Value::as_int)
    }

    /// The bool under `key`.
    ///
    /// # Errors
    /// [`WrongType`].
    pub fn flag(&self, key: &str) -> Result<Option<bool>, WrongType> {
        self.typed(key, "a bool", Value::as_bool)
    }

    /// The string under `key`.
    ///
    /// # Errors
    /// [`WrongType`].
    pub fn text(&self, key: &str) -> Result<Option<&str>, WrongType> {
        self.typed(key, "a string", Value::as_str)
    }

    /// The list under `key`.
    ///
    /// # Errors
    /// [`WrongType`].
    pub fn list(&self, key: &str) -> Result<Option<&[Value]>, WrongType> {
        self.typed(key, "a list", Value::as_list)
    }

    /// The dict under `key`.
    ///
    /// # Errors
    /// [`WrongType`].
    pub fn dict(&self, key: &str) -> Result<Option<&Dict>, WrongType> {
        self.typed(key, "a dict", Value::as_dict)
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, WrongType> {
        let value = match self.get(key) {
            None | Some(Value::Null) => return Ok(None),
            Some(value) => value,
        };
        read(value).map(Some).ok_or_else(|| WrongType {
            key: key.to_owned(),
            expected,
            found: value.kind(),
        })
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Dict {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Dict {
        let mut dict = Dict::new();
        for (key, value) in entries {
            dict.insert(key, value);
        }
        dict
    }
}

impl IntoIterator for Dict {
    type Item = (String, Value);
    type IntoIter = std::vec::IntoIter<(String, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_clients_write_them() {
        let options = Dict::new()
            .with("float", 3.0)
            .with("half", 0.5)
            .with("null", Value::Null)
            .with("flag", true)
            .with("zero", 0)
            .with("large", ID_MAX)
            .with("larger", ID_MAX + 1)
            .with("text", "t");
        assert_eq!(options.id("float"), Ok(Some(3)));
        assert_eq!(options.int("float"), Ok(Some(3)));
        assert!(options.int("half").is_err());
        assert_eq!(options.flag("null"), Ok(None));
        assert_eq!(options.flag("absent"), Ok(None));
        assert!(options.int("flag").is_err(), "a bool is no integer");
        assert!(options.flag("zero").is_err(), "an integer is no bool");
        assert!(options.id("zero").is_err());
        assert_eq!(options.int("zero"), Ok(Some(0)));
        assert_eq!(options.id("large"), Ok(Some(ID_MAX)));
        assert!(options.id("larger").is_err());
        assert_eq!(options.text("text"), Ok(Some("t")));
        let error = options.dict("text").unwrap_err();
        assert_eq!(error.to_string(), "text is a string, and should be a dict");
    }

    #[test]
    fn of_a_key_given_twice_the_last_counts() {
        let mut dict = Dict::new();
        dict.push("a".into(), 1.into());
        dict.push("b".into(), 2.into());
        dict.push("a".into(), 3.into());
        assert_eq!(dict.int("a"), Ok(Some(3)));
        assert_eq!(dict.remove("a"), Some(Value::Int(3)));
        assert_eq!(dict.iter().collect::<Vec<_>>(), [("b", &Value::Int(2))]);
    }

    #[test]
    fn only_floats_that_are_integers_are_taken_for_some() {
        assert_eq!(integral(-9_223_372_036_854_775_808.0), Some(i64::MIN));
        for float in [
            9_223_372_036_854_775_808.0,
            1e300,
            f64::NAN,
            f64::INFINITY,
            0.1,
        ] {
            assert_eq!(integral(float), None);
        }
    }
}
