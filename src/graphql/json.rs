//! The scalar `JSON`: a JSON text that the desk carries without reading its numbers.
//!
//! A number of 30 digits, `0.1000` and the order of keys would not survive as values. So a value of this scalar is kept
//! as its text. async-graphql carries the text in an object with one reserved name, and writes the text into the answer
//! as it is (its feature `raw_value`). A client cannot give such an object: a variable of type `JSON` becomes a text as
//! a whole, and a literal has no field of this name, because of its `$`.

use std::fmt;

use async_graphql::{InputValueResult, Name, Scalar, ScalarType, Value};
use async_graphql_value::RAW_VALUE_TOKEN;
use async_graphql_value::indexmap::IndexMap;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The name of the scalar in the schema.
pub(crate) const JSON: &str = "JSON";

/// Returns the value that stands for a JSON text. The text has to be valid.
pub(crate) fn exact(text: String) -> Value {
    Value::Object(IndexMap::from_iter([(Name::new(RAW_VALUE_TOKEN), Value::String(text))]))
}

/// Returns the text of a value that [`exact`] made.
pub(crate) fn text_of(fields: &IndexMap<Name, Value>) -> Option<&str> {
    match fields.get(RAW_VALUE_TOKEN) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// Reads a value of an input. The numbers of its JSON texts are 64-bit numbers.
pub(crate) fn read(value: Value) -> serde_json::Result<serde_json::Value> {
    match value {
        Value::List(items) => items.into_iter().map(read).collect(),
        Value::Object(fields) => match text_of(&fields) {
            Some(text) => serde_json::from_str::<ReadJson>(text).map(|ReadJson(value)| value),
            None => fields.into_iter().map(|(name, value)| Ok((name.to_string(), read(value)?))).collect(),
        },
        value => value.into_json(),
    }
}

/// A JSON value that gives no key a meaning. A `serde_json::Value` reads the text below its own reserved key as a
/// further JSON text, with a nesting of its own.
struct ReadJson(serde_json::Value);

impl<'de> Deserialize<'de> for ReadJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReadJsonVisitor).map(Self)
    }
}

struct ReadJsonVisitor;

impl<'de> Visitor<'de> for ReadJsonVisitor {
    type Value = serde_json::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(serde_json::Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(ReadJson(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut object = serde_json::Map::new();
        while let Some((name, ReadJson(value))) = fields.next_entry::<String, ReadJson>()? {
            object.insert(name, value);
        }
        Ok(object.into())
    }
}

/// A JSON value, as its text.
#[derive(Clone, Debug)]
pub(crate) struct JsonText(pub String);

/// Any JSON value. Numbers keep their digits, and objects keep the order of their keys. In a variable, a number beyond
/// the range of 64-bit floats is `INVALID`, and so it is in a document.
#[Scalar(name = "JSON", specified_by_url = "https://www.rfc-editor.org/rfc/rfc8259")]
impl ScalarType for JsonText {
    fn parse(value: Value) -> InputValueResult<Self> {
        Ok(Self(serde_json::to_string(&value)?))
    }

    fn to_value(&self) -> Value {
        exact(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_passes_as_it_is_alone_and_within_a_value() {
        let text = r#"{"b":0.1000,"a":[123456789012345678901234567890,1e3]}"#;
        assert_eq!(serde_json::to_string(&exact(text.to_owned())).expect("JSON"), text);
        let within = Value::List(vec![exact("0.10".to_owned()), Value::Null, exact(text.to_owned())]);
        let read = JsonText::parse(within).map_err(|_| "refused").expect("JSON");
        assert_eq!(read.0, format!("[0.10,null,{text}]"));
    }

    #[test]
    fn a_value_is_read_as_serde_json_reads_it_but_for_the_reserved_key() {
        let text = r#"{"b":[1,-2,0.5,1e300,18446744073709551615,null,true,"\u00e9"],"a":{"b":{}},"a":2}"#;
        let plain: serde_json::Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(read(exact(text.to_owned())).expect("JSON"), plain);
        let reserved = r#"[{"$serde_json::private::RawValue":"no JSON"}]"#;
        let value = read(Value::List(vec![exact(reserved.to_owned())])).expect("JSON");
        assert_eq!(value[0][0]["$serde_json::private::RawValue"], "no JSON");
    }
}
