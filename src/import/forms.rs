//! The forms of single fields in the desk's own format: words in any case, a classification as a pair, null or absent.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::record::OWN_SOURCE;
use super::words;
use crate::domain::Result;
use crate::domain::alert::AlertStatus;
use crate::domain::classification::Classification;
use crate::domain::incident::{Severity, Status};
use crate::domain::tag::TagKind;

/// Returns the source of a record without a source.
pub(super) fn own_source() -> String {
    OWN_SOURCE.to_owned()
}

/// Returns the severity of a record without a readable severity.
pub(super) fn default_severity() -> Severity {
    Severity::DEFAULT
}

/// Returns whether a source can be omitted when a record is written.
pub(super) fn is_own_source(source: &str) -> bool {
    source == OWN_SOURCE
}

fn word<'de, D: Deserializer<'de>, T>(from: D, read: impl Fn(&str) -> words::Reading<T>) -> Result<T, D::Error> {
    let text = String::deserialize(from)?;
    read(&text).map_err(serde::de::Error::custom)
}

/// Reads a required severity.
pub(super) fn some_severity<'de, D: Deserializer<'de>>(from: D) -> Result<Severity, D::Error> {
    word(from, |text| words::severity(text)?.ok_or_else(|| format!("\"{text}\" is no severity")))
}

/// Reads an optional severity.
pub(super) fn severity<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Severity>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    text.map_or(Ok(None), |text| words::severity(&text)).map_err(serde::de::Error::custom)
}

/// Reads a severity or null. serde does not call it for an absent field.
pub(super) fn maybe_severity<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<Severity>>, D::Error> {
    severity(from).map(Some)
}

/// Reads an optional status.
pub(super) fn status<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Status>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    text.map(|text| words::status(&text)).transpose().map_err(serde::de::Error::custom)
}

/// Reads an alert's optional status.
pub(super) fn alert_status<'de, D: Deserializer<'de>>(from: D) -> Result<Option<AlertStatus>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    text.map_or(Ok(None), |text| words::alert_status(&text)).map_err(serde::de::Error::custom)
}

/// Reads the kind of a tag.
pub(super) fn tag_kind<'de, D: Deserializer<'de>>(from: D) -> Result<TagKind, D::Error> {
    word(from, words::tag_kind)
}

/// Reads a classification such as `{"truePositive": "PHISHING"}`: an object with one pair.
pub(super) fn classification<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Classification>, D::Error> {
    let pairs = Option::<BTreeMap<String, Option<String>>>::deserialize(from)?;
    let Some(pairs) = pairs else { return Ok(None) };
    let mut pairs = pairs.into_iter();
    match (pairs.next(), pairs.next()) {
        (Some((kind, detail)), None) => {
            words::classification(&kind, detail.as_deref()).map_err(serde::de::Error::custom)
        }
        _ => {
            Err(serde::de::Error::custom("a classification is an object of one pair: {\"truePositive\": \"PHISHING\"}"))
        }
    }
}

/// Reads a classification or null. serde does not call it for an absent field.
pub(super) fn maybe_classification<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Option<Classification>>, D::Error> {
    classification(from).map(Some)
}

/// Reads a value or null. serde does not call it for an absent field.
pub(super) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(from).map(Some)
}
