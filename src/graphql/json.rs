//! The scalar `JSON`: a JSON text that the desk carries without reading its numbers.
//!
//! A number of 30 digits, `0.1000` and the order of keys would not survive as values. So a value of this scalar is kept
//! as its text. async-graphql carries the text in an object with one reserved name, and writes the text into the answer
//! as it is (its feature `raw_value`). A client cannot give such an object: a variable of type `JSON` becomes a text as
//! a whole, and a literal has no field of this name, because of its `$`.

use async_graphql::{InputValueResult, Name, Scalar, ScalarType, Value};
use async_graphql_value::RAW_VALUE_TOKEN;
use async_graphql_value::indexmap::IndexMap;

/// The name of the scalar in the schema.
pub const JSON: &str = "JSON";

/// Returns the value that stands for a JSON text. The text has to be valid.
pub fn exact(text: String) -> Value {
    Value::Object(IndexMap::from_iter([(Name::new(RAW_VALUE_TOKEN), Value::String(text))]))
}

/// A JSON value, as its text.
#[derive(Clone, Debug)]
pub struct JsonText(pub String);

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
}
