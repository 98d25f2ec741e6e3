//! Reads an object part by part if its reader refuses it as a whole: each unreadable part is reported and left out, and
//! the other parts are kept as they stand in the file.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::decode;
use super::document::reason;
use super::odd::Odds;
use super::times::{self, ToldTime};

/// The largest nested object whose members are tried one by one, in members and in bytes: the object is read as often
/// as it has members.
const MEMBERS_TRIED_MAX: usize = 64;
const BYTES_TRIED_MAX: usize = 64 * 1024;

/// A check that returns the reason why a text cannot be read.
pub(super) type Accepts<'a> = &'a dyn Fn(&str) -> Result<(), String>;

/// The way in which a reader takes an object.
pub(super) struct By<'a, T> {
    /// The members without which it accepts no object (`"type":"alert"`); may be empty.
    pub always: &'a str,
    /// Reads a whole object.
    pub read: fn(&'a str) -> serde_json::Result<T>,
    /// Checks whether it accepts an object that was made for a trial.
    pub accepts: fn(&str) -> serde_json::Result<()>,
}

/// Reads an object; if that fails, reads it without the parts that make it fail. Then the result borrows from `room`,
/// which holds the object without its odd parts.
pub(super) fn object<'a, T>(
    element: &'a RawValue,
    by: &By<'a, T>,
    room: &'a mut String,
    odds: &mut Odds,
) -> Result<T, String> {
    let By { always, read, accepts } = by;
    let first = match read(element.get()) {
        Ok(whole) => return Ok(whole),
        Err(error) => reason(&error),
    };
    let accepts = |text: &str| accepts(text).map_err(|error| reason(&error));
    let members = members(element.get()).map_err(|_| first)?;
    let mut kept: Vec<(&str, String)> = Vec::new();
    let mut seen = HashSet::new();
    for (name, value) in &members {
        if !seen.insert(name) {
            odds.keep(name, value.get(), format!("{name} is given twice"));
            continue;
        }
        let alone = |text: &str| accepts(&format!("{{{always}{}{}:{text}}}", comma(always), quoted(name)));
        let is_always = !always.is_empty() && always.starts_with(&format!("{}:", quoted(name)));
        if is_always {
            kept.push((name, value.get().to_owned()));
        } else if let Some(value) = part(value, name, &alone, odds) {
            kept.push((name, value));
        }
    }
    *room = written(&kept);
    read(room).map_err(|error| reason(&error))
}

/// Reads the properties of a resource, without the properties that cannot be read.
pub(super) fn properties<T: DeserializeOwned>(value: &RawValue, odds: &mut Odds) -> Result<T, String> {
    let by = By {
        always: "",
        read: |text| serde_json::from_str(text),
        accepts: |text| serde_json::from_str::<T>(text).map(drop),
    };
    object(value, &by, &mut String::new(), odds)
}

/// Returns a value in a form that its reader accepts, or `None` if there is none.
fn part(value: &RawValue, path: &str, accepts: Accepts<'_>, odds: &mut Odds) -> Option<String> {
    let text = value.get();
    let why = match accepts(text) {
        Ok(()) => return Some(text.to_owned()),
        Err(why) => why,
    };
    if let Some((other, said)) = in_another_form(text).filter(|(other, _)| accepts(other).is_ok()) {
        odds.assume(path, text, said);
        return Some(other);
    }
    match text.as_bytes().first() {
        Some(b'[') => list(text, path, accepts, odds).or_else(|| told(odds, path, text, why)),
        Some(b'{') => inner(text, path, accepts, odds).or_else(|| told(odds, path, text, why)),
        _ => told(odds, path, text, why),
    }
}

fn told(odds: &mut Odds, path: &str, text: &str, why: String) -> Option<String> {
    odds.keep(path, text, why);
    None
}

/// Returns the one other form in which a value makes sense, and the text of the report.
fn in_another_form(text: &str) -> Option<(String, String)> {
    match text.as_bytes().first()? {
        b'n' => Some(("[]".to_owned(), "null stands where a list belongs, and is read as an empty one".to_owned())),
        b'"' => {
            let time: String = serde_json::from_str(text).ok()?;
            match times::read(&time)? {
                ToldTime::At(at) => {
                    Some((format!("\"{}\"", at.to_rfc3339()), format!("\"{time}\" is read as {}", at.to_rfc3339())))
                }
                ToldTime::Unzoned(at) => {
                    Some((format!("\"{}\"", at.to_rfc3339()), format!("\"{time}\" has no zone, and is read as UTC")))
                }
                ToldTime::Never => Some(("null".to_owned(), format!("\"{time}\" is read as no time"))),
            }
        }
        b'{' | b'[' => None,
        _ => Some((format!("\"{text}\""), format!("{text} is read as a text"))),
    }
}

/// Returns a list without its unreadable elements.
fn list(text: &str, path: &str, accepts: Accepts<'_>, odds: &mut Odds) -> Option<String> {
    accepts("[]").ok()?;
    let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    let one = |element: &str| accepts(&format!("[{element}]"));
    let kept: Vec<String> = elements
        .iter()
        .enumerate()
        .filter_map(|(index, element)| part(element, &format!("{path}.{index}"), &one, odds))
        .collect();
    Some(format!("[{}]", kept.join(",")))
}

/// Returns a nested object without its unreadable members.
fn inner(text: &str, path: &str, accepts: Accepts<'_>, odds: &mut Odds) -> Option<String> {
    let members = members(text).ok().filter(|members| members.len() <= MEMBERS_TRIED_MAX)?;
    if text.len() > BYTES_TRIED_MAX {
        return None;
    }
    if accepts("{}").is_ok() {
        // No member is required, so each member can be tried alone.
        let kept: Vec<(&str, String)> = members
            .iter()
            .filter_map(|(name, value)| {
                let alone = |value: &str| accepts(&written(&[(name.as_str(), value.to_owned())]));
                Some((name.as_str(), part(value, &format!("{path}.{name}"), &alone, odds)?))
            })
            .collect();
        let text = written(&kept);
        return accepts(&text).ok().map(|()| text);
    }
    let plain: Vec<(&str, String)> =
        members.iter().map(|(name, value)| (name.as_str(), value.get().to_owned())).collect();
    // Only one member is odd: try its other form, then leave it out.
    for (index, (name, value)) in members.iter().enumerate() {
        let mut others = plain.clone();
        if let Some((other, said)) = in_another_form(value.get()) {
            others[index].1 = other;
            let text = written(&others);
            if accepts(&text).is_ok() {
                odds.assume(format!("{path}.{name}"), value.get(), said);
                return Some(text);
            }
        }
        others.remove(index);
        let text = written(&others);
        if accepts(&text).is_ok() {
            let why = accepts(&written(&plain)).err().unwrap_or_default();
            odds.keep(format!("{path}.{name}"), value.get(), why);
            return Some(text);
        }
    }
    None
}

/// Returns an object of these members, each as it stands in the file.
fn written(members: &[(&str, String)]) -> String {
    let members: Vec<String> = members.iter().map(|(name, value)| format!("{}:{value}", quoted(name))).collect();
    format!("{{{}}}", members.join(","))
}

fn comma(always: &str) -> &str {
    if always.is_empty() { "" } else { "," }
}

fn quoted(name: &str) -> String {
    serde_json::Value::from(name).to_string()
}

/// Returns the members of an object in their order.
fn members(text: &str) -> serde_json::Result<Vec<(String, &RawValue)>> {
    serde_json::from_str::<Members<'_>>(text).map(|members| members.0)
}

struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct LenientReader;
        impl<'de> Visitor<'de> for LenientReader {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(LenientReader)
    }
}

/// Returns the whole elements of a JSON list that was cut off; `None` if the text is no list.
pub(super) fn elements_of_cut(text: &str) -> Option<Vec<serde_json::Value>> {
    text.trim_start().strip_prefix('[')?;
    let values = super::values::Values::new(std::io::Cursor::new(text.as_bytes()), super::lines::Ends::LineFeed, 1);
    let whole = values.filter_map(|piece| piece.ok()?.text.ok());
    Some(whole.filter_map(|text| serde_json::from_str(&decode::plain(&text)).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::odd::Became;
    use crate::import::record::Record;

    fn read(text: &str) -> (Result<Record, String>, Vec<(String, Became)>) {
        let element: &RawValue = serde_json::from_str(text).unwrap();
        let (mut odds, mut room) = (Odds::new(1, text), String::new());
        let by = By {
            always: "\"type\":\"alert\"",
            read: |text| serde_json::from_str(text),
            accepts: |text| serde_json::from_str::<Record>(text).map(drop),
        };
        let record = object(element, &by, &mut room, &mut odds);
        (record, odds.into_parts().into_iter().map(|odd| (odd.field, odd.became)).collect())
    }

    #[test]
    fn the_parts_that_can_be_read_are_read() {
        let (record, odd) = read(
            r#"{"type":"alert","provider":"P","providerAlertId":7,"title":"T","severity":"urgent","techniques":null,
              "entities":[{"kind":"IP","value":"192.0.2.7","verdict":"PURPLE"},{"kind":"TOASTER","value":"x"},5,{"kind":"IP","value":"192.0.2.8"}],
              "colour":"red","at":"2026-01-01T00:00:00","title":"again","lastActivityAt":"0001-01-01T00:00:00","firstActivityAt":"soon"}"#,
        );
        let Ok(Record::Alert(alert)) = record else { panic!("{record:?}") };
        assert_eq!((alert.provider_alert_id.as_str(), alert.title.as_str()), ("7", "T"));
        let values: Vec<(&str, bool)> =
            alert.entities.iter().map(|entity| (entity.value.as_str(), entity.verdict.is_some())).collect();
        assert_eq!(values, [("192.0.2.7", false), ("192.0.2.8", false)]);
        assert_eq!(alert.at, Some("2026-01-01T00:00:00Z".parse().unwrap()));
        let fields: Vec<(&str, Became)> = odd.iter().map(|(field, became)| (field.as_str(), *became)).collect();
        assert_eq!(
            fields,
            [
                ("providerAlertId", Became::Assumed),
                ("severity", Became::Raw),
                ("techniques", Became::Assumed),
                ("entities.0.verdict", Became::Raw),
                ("entities.1", Became::Raw),
                ("entities.2", Became::Raw),
                ("colour", Became::Raw),
                ("at", Became::Assumed),
                ("title", Became::Raw),
                ("lastActivityAt", Became::Assumed),
                ("firstActivityAt", Became::Raw),
            ]
        );
    }

    #[test]
    fn a_list_that_was_cut_gives_what_is_whole() {
        let elements = elements_of_cut(r#"[{"a":1},{"a":2},{"a":"#).unwrap();
        assert_eq!(elements.len(), 2);
        assert!(elements_of_cut("not json").is_none());
    }
}
