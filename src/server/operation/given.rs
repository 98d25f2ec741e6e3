//! The variables of a request as JSON text, with an outline of the places of its values.
//!
//! A tree of values takes ten times the bytes of its text, and forty times for short values. The outline takes four
//! bytes for each value and each name, and four more for a list or an object. So the outline serves to accept or refuse
//! a request, and its values are made when nothing can be refused any more.

use std::borrow::Cow;
use std::fmt;

use async_graphql::Number;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::ast::Variable;
use super::json_size::{NESTING_MAX, string, word};

/// The JSON text of an object; empty if the request has no variables.
#[derive(Debug, Default)]
pub struct Given {
    text: String,
}

impl Given {
    /// Takes the text of an object. Parses it to its end, so that no later step meets text that is not JSON.
    pub fn read(text: &str) -> serde_json::Result<Self> {
        u32::try_from(text.len()).map_err(Error::custom)?;
        serde_json::from_str::<Whole>(text)?;
        Ok(Self { text: text.to_owned() })
    }

    /// Finds the place of each value.
    pub(super) fn outline(&self) -> Outline<'_> {
        let mut count = 0;
        each_mark(self.text.as_bytes(), |mark, _| {
            count += match mark {
                Mark::Leaf => 1,
                Mark::Open => 2,
                Mark::Close => 0,
            };
        });
        let (mut marks, mut open) = (Vec::with_capacity(count), Vec::with_capacity(NESTING_MAX));
        each_mark(self.text.as_bytes(), |mark, at| match mark {
            Mark::Leaf => marks.push(narrow(at)),
            Mark::Open => {
                open.push(marks.len() + 1);
                marks.extend([narrow(at), 0]);
            }
            Mark::Close => {
                if let Some(end) = open.pop() {
                    marks[end] = narrow(marks.len());
                }
            }
        });
        Outline { text: &self.text, marks }
    }
}

/// A JSON text that is parsed and not kept. Unlike serde's `IgnoredAny` it refuses halves of surrogate pairs and
/// numbers that are out of range.
struct Whole;

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Whole {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any valid value")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self, A::Error> {
        while fields.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

enum Mark {
    /// A string, a number, a word, or the name of a field.
    Leaf,
    Open,
    Close,
}

/// Calls `mark` for each value or name that begins, and for each list or object that ends. The text is valid JSON.
fn each_mark(text: &[u8], mut mark: impl FnMut(Mark, usize)) {
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => {
                mark(Mark::Leaf, at);
                at += 1 + string(&text[at + 1..]);
            }
            b'{' | b'[' => mark(Mark::Open, at),
            b'}' | b']' => mark(Mark::Close, at),
            b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => {
                mark(Mark::Leaf, at);
                at += word(&text[at + 1..]);
            }
        }
        at += 1;
    }
}

/// Narrows a place in the text; `Given` takes no longer text.
fn narrow(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// The place where each value and each name begins, in the order of the text. After the place of a list or an object
/// comes the index of the first mark behind its content.
pub(super) struct Outline<'g> {
    text: &'g str,
    marks: Vec<u32>,
}

impl Outline<'_> {
    /// Finds the item that is given for each variable of an operation.
    pub(super) fn of(&self, variables: &[Variable]) -> Vec<Option<GivenItem<'_>>> {
        let mut given = vec![None; variables.len()];
        let root = (!self.marks.is_empty()).then_some(GivenItem { outline: self, at: 0 });
        if let Some(Json::Object(fields)) = root.map(|root| root.read()) {
            for (name, item) in fields {
                let name = name.read();
                if let Some(at) = variables.iter().position(|variable| variable.name == *name) {
                    given[at] = Some(item);
                }
            }
        }
        given
    }

    fn mark(&self, at: usize) -> usize {
        self.marks.get(at).map_or(self.text.len(), |mark| *mark as usize)
    }
}

/// A value in the text.
#[derive(Clone, Copy)]
pub(super) struct GivenItem<'g> {
    outline: &'g Outline<'g>,
    at: usize,
}

/// The kind of a value, and access to its content.
pub(super) enum Json<'g> {
    Null,
    Boolean(bool),
    Number(Number),
    Text(GivenText<'g>),
    List(GivenList<'g>),
    Object(ObjectFields<'g>),
}

impl<'g> GivenItem<'g> {
    /// Reads the kind of the value, without making a value of its content.
    pub(super) fn read(self) -> Json<'g> {
        let text = self.text();
        match text.as_bytes().first() {
            Some(b'{') => Json::Object(ObjectFields { inside: self.inside() }),
            Some(b'[') => Json::List(GivenList { inside: self.inside() }),
            Some(b'"') => Json::Text(GivenText { from: text }),
            Some(b't') => Json::Boolean(true),
            Some(b'f') => Json::Boolean(false),
            Some(b'-' | b'0'..=b'9') => {
                let digits = &text[..1 + word(&text.as_bytes()[1..])];
                serde_json::from_str(digits).map_or(Json::Null, Json::Number)
            }
            _ => Json::Null,
        }
    }

    /// Returns its text, from its first to its last byte.
    pub(super) fn json(self) -> &'g str {
        let mut parser = serde_json::Deserializer::from_str(self.text());
        // The whole text was parsed before, so this value is valid.
        <&RawValue>::deserialize(&mut parser).map_or("null", RawValue::get)
    }

    /// Returns the length of its text, up to the next value.
    pub(super) fn bytes(self) -> usize {
        self.outline.mark(self.next()) - self.outline.mark(self.at)
    }

    /// Returns the text from its beginning on.
    fn text(self) -> &'g str {
        self.outline.text.get(self.outline.mark(self.at)..).unwrap_or_default()
    }

    fn is_composite(self) -> bool {
        matches!(self.text().as_bytes().first(), Some(b'{' | b'['))
    }

    /// Returns the index of the first mark behind it.
    fn next(self) -> usize {
        if self.is_composite() { self.outline.mark(self.at + 1) } else { self.at + 1 }
    }

    fn inside(self) -> Inside<'g> {
        Inside { outline: self.outline, at: self.at + 2, end: self.next() }
    }
}

/// A string, which may be long and may hold escapes.
#[derive(Clone, Copy)]
pub(super) struct GivenText<'g> {
    /// The text from the first quote on.
    from: &'g str,
}

impl<'g> GivenText<'g> {
    /// Decodes the string.
    pub(super) fn read(self) -> Cow<'g, str> {
        let length = string(&self.from.as_bytes()[1..]);
        let content = &self.from[1..=length];
        if content.contains('\\') {
            Cow::Owned(serde_json::from_str(&self.from[..length + 2]).unwrap_or_default())
        } else {
            Cow::Borrowed(content)
        }
    }
}

/// The rest of a list or an object.
#[derive(Clone, Copy)]
struct Inside<'g> {
    outline: &'g Outline<'g>,
    at: usize,
    end: usize,
}

impl<'g> Inside<'g> {
    fn next(&mut self) -> Option<GivenItem<'g>> {
        let item = (self.at < self.end).then_some(GivenItem { outline: self.outline, at: self.at })?;
        self.at = item.next();
        Some(item)
    }
}

/// The values of a list.
#[derive(Clone, Copy)]
pub(super) struct GivenList<'g> {
    inside: Inside<'g>,
}

impl GivenList<'_> {
    pub(super) fn length(self) -> usize {
        self.count()
    }
}

impl<'g> Iterator for GivenList<'g> {
    type Item = GivenItem<'g>;

    fn next(&mut self) -> Option<GivenItem<'g>> {
        self.inside.next()
    }
}

/// The fields of an object, in the order of the text. A name may come several times.
#[derive(Clone, Copy)]
pub(super) struct ObjectFields<'g> {
    inside: Inside<'g>,
}

impl<'g> Iterator for ObjectFields<'g> {
    type Item = (GivenText<'g>, GivenItem<'g>);

    fn next(&mut self) -> Option<(GivenText<'g>, GivenItem<'g>)> {
        let name = GivenText { from: self.inside.next()?.text() };
        Some((name, self.inside.next()?))
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::{Name, Value};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::server::operation::coerce::untyped;
    use crate::server::operation::coerced::Coerced;
    use crate::server::operation::sketch::Sketch;
    use crate::server::operation::variable_uses::size;

    /// JSON text with blanks, escapes and repeated names.
    fn any_text() -> impl Strategy<Value = String> {
        let string = |text: String| {
            let written: String = text
                .encode_utf16()
                .map(|unit| match u8::try_from(unit) {
                    Ok(byte) if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
                    _ => format!("\\u{unit:04x}"),
                })
                .collect();
            format!("\"{written}\"")
        };
        let text = prop_oneof![any::<String>(), "[a-c]{0,2}"];
        let text = prop_oneof![
            text.clone().prop_map(string),
            text.prop_map(|text| serde_json::to_string(&text).expect("a text"))
        ];
        let number =
            prop_oneof![any::<i64>().prop_map(|it| it.to_string()), any::<f32>().prop_map(|it| json!(it).to_string())];
        let word = prop::sample::select(vec!["null", "true", "false", "-0", "1e3", "-2.50E-1"]).prop_map(str::to_owned);
        let leaf = prop_oneof![text.clone(), number, word];
        let blank = prop::sample::select(vec!["", " ", "\n\t", " \r\n"]);
        leaf.prop_recursive(6, 60, 6, move |inner| {
            let field = (text.clone(), blank.clone(), inner.clone());
            let field = field.prop_map(|(name, blank, value)| format!("{name}{blank}:{blank}{value}"));
            let around = |open: &'static str, close: &'static str| {
                move |(items, blank): (Vec<String>, &str)| {
                    format!("{open}{blank}{}{blank}{close}", items.join(&format!("{blank},{blank}")))
                }
            };
            prop_oneof![
                (prop::collection::vec(inner, 0..6), blank.clone()).prop_map(around("[", "]")),
                (prop::collection::vec(field, 0..6), blank.clone()).prop_map(around("{", "}")),
            ]
        })
    }

    fn root<'g>(outline: &'g Outline<'g>) -> GivenItem<'g> {
        GivenItem { outline, at: 0 }
    }

    proptest! {
        #[test]
        fn what_is_outlined_is_what_a_parser_reads(text in any_text()) {
            let given = Given::read(&text).expect("JSON");
            let outline = given.outline();
            let parsed: Value = serde_json::from_str(&text).expect("JSON");
            let read: Value = untyped(root(&outline));
            prop_assert_eq!(&read, &parsed);
            prop_assert_eq!(serde_json::to_string(&read).expect("JSON"), serde_json::to_string(&parsed).expect("JSON"));
            prop_assert_eq!(root(&outline).json(), text.trim_matches([' ', '\t', '\r', '\n']));
            let exact: Value = serde_json::from_str(root(&outline).json()).expect("JSON");
            prop_assert_eq!(exact, parsed);
            prop_assert_eq!(outline.marks.capacity(), outline.marks.len(), "no more room than marks");
            // At most two marks for three bytes, `[],`, besides the lists and objects that are open at once.
            prop_assert!(outline.marks.len() * 3 <= text.len() * 2 + 24, "{} marks", outline.marks.len());
        }

        #[test]
        fn a_sketch_knows_how_many_values_would_be_made(text in any_text()) {
            let parsed: Value = serde_json::from_str(&text).expect("JSON");
            // Written again, each name of an object comes once.
            let given = Given::read(&serde_json::to_string(&parsed).expect("JSON")).expect("JSON");
            let outline = given.outline();
            let sketch: Sketch = untyped(root(&outline));
            prop_assert_eq!(sketch.values, size(&parsed));
            prop_assert_eq!(sketch, Sketch::of(parsed));
        }

        #[test]
        fn what_a_parser_refuses_is_refused_in_its_words(text in any_text(), cut in any::<prop::sample::Index>()) {
            let mut text = text;
            let at = text.floor_char_boundary(cut.index(text.len() + 1));
            text.truncate(at);
            let parsed = serde_json::from_str::<Value>(&text).err().map(|error| error.to_string());
            prop_assert_eq!(Given::read(&text).err().map(|error| error.to_string()), parsed);
        }
    }

    #[test]
    fn what_has_the_form_of_json_and_means_nothing_is_refused() {
        for wrong in [r#"{"a":"\ud800"}"#, r#"{"\udc00":1}"#, r#"{"a":[1e999]}"#, "{} {}", ""] {
            let parsed = serde_json::from_str::<Value>(wrong).expect_err("no value").to_string();
            assert_eq!(Given::read(wrong).expect_err("no value").to_string(), parsed, "{wrong}");
        }
    }

    #[test]
    fn the_last_of_several_values_counts_for_a_variable() {
        let given = Given::read(r#"{"a":1,"b":[2],"\u0061":3}"#).expect("JSON");
        let outline = given.outline();
        let read: Value = untyped(root(&outline));
        let expected = [(Name::new("a"), Value::from(3)), (Name::new("b"), Value::List(vec![Value::from(2)]))];
        assert_eq!(read, Value::Object(expected.into_iter().collect()));
    }
}
