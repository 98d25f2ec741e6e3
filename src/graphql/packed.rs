//! Packed inputs of streams. A stream keeps its input for days: a filter of 20 texts takes 12 KB as values, and 0.5 KB
//! as JSON.
//!
//! A packed value holds bytes. A client cannot send such a value, because values come as JSON or in a document.

use std::borrow::Cow;

use async_graphql::registry::Registry;
use async_graphql::{InputType, InputValueError, InputValueResult, Value};

/// Packs a list or an object into one piece of JSON. Other values stay as they are.
pub fn pack(value: Value) -> Value {
    match &value {
        Value::List(_) | Value::Object(_) => match serde_json::to_vec(&value) {
            Ok(json) => Value::Binary(json.into_boxed_slice().into()),
            Err(_) => value,
        },
        _ => value,
    }
}

fn unpack(value: Value) -> Value {
    match value {
        Value::Binary(json) => serde_json::from_slice(&json).unwrap_or_default(),
        Value::List(items) => Value::List(items.into_iter().map(unpack).collect()),
        Value::Object(fields) => Value::Object(fields.into_iter().map(|(name, value)| (name, unpack(value))).collect()),
        other => other,
    }
}

/// An input that may be packed, or hold packed values. In the schema it is the input itself.
pub struct Packed<T>(pub Box<T>);

impl<T: InputType> InputType for Packed<T> {
    type RawValueType = T::RawValueType;

    fn type_name() -> Cow<'static, str> {
        T::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        T::create_type_info(registry)
    }

    fn parse(value: Option<Value>) -> InputValueResult<Self> {
        T::parse(value.map(unpack)).map(|input| Self(Box::new(input))).map_err(InputValueError::propagate)
    }

    fn to_value(&self) -> Value {
        self.0.to_value()
    }

    fn as_raw_value(&self) -> Option<&T::RawValueType> {
        self.0.as_raw_value()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_packed_is_the_same_unpacked() {
        for json in
            [json!({ "or": [{ "text": "a" }, { "number": [7], "not": { "status": ["NEW"] } }] }), json!(["a", 1, null])]
        {
            let value = Value::from_json(json).expect("a value");
            let packed = pack(value.clone());
            assert!(matches!(packed, Value::Binary(_)));
            assert_eq!(unpack(packed.clone()), value);
            let within = Value::List(vec![packed, Value::Null]);
            assert_eq!(unpack(within), Value::List(vec![value, Value::Null]));
        }
        assert_eq!(pack("a text".into()), "a text".into(), "what is small as it is stays");
    }
}
