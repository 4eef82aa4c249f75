//! WAMP's values as JSON's and back, for what the router itself says and hears. Bytes and what is no finite number are null.

use restante_proto::wamp::{Dict, Value};
use serde_json::{Map, Number, Value as Json};

/// JSON's value of a WAMP value.
pub(crate) fn of_value(value: Value) -> Json {
    match value {
        Value::Null | Value::Bytes(_) => Json::Null,
        Value::Bool(flag) => Json::Bool(flag),
        Value::Int(int) => Json::from(int),
        Value::UInt(int) => Json::from(int),
        // Ids come as floats from some clients.
        Value::Float(float) => Value::Float(float)
            .as_int()
            .map(Json::from)
            .or_else(|| Number::from_f64(float).map(Json::Number))
            .unwrap_or(Json::Null),
        Value::Number(digits) => digits
            .parse::<f64>()
            .ok()
            .and_then(Number::from_f64)
            .map_or(Json::Null, Json::Number),
        Value::Str(text) => Json::String(text),
        Value::List(items) => Json::Array(items.into_iter().map(of_value).collect()),
        Value::Dict(dict) => Json::Object(of_dict(dict)),
    }
}

/// JSON's object of a dict.
pub(crate) fn of_dict(dict: Dict) -> Map<String, Json> {
    dict.into_iter()
        .map(|(key, value)| (key, of_value(value)))
        .collect()
}

/// WAMP's value of a JSON value.
pub(crate) fn to_value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Value::Int(int),
            (None, Some(int)) => Value::UInt(int),
            (None, None) => number.as_f64().map_or(Value::Null, Value::Float),
        },
        Json::String(text) => Value::Str(text.clone()),
        Json::Array(items) => Value::List(items.iter().map(to_value).collect()),
        Json::Object(object) => Value::Dict(to_dict(object)),
    }
}

/// WAMP's dict of a JSON object.
pub(crate) fn to_dict(object: &Map<String, Json>) -> Dict {
    object
        .iter()
        .map(|(key, value)| (key.as_str(), to_value(value)))
        .collect()
}
