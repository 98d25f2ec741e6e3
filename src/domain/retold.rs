//! The differences between two reports of an alert by its provider, small enough for the log.
//!
//! Of a text longer than [`TOLD_TEXT_BYTES_MAX`] the log holds only the SHA-256. Of a long list of entities it holds
//! only the first ones.

use serde::{Deserialize, Serialize};

use super::Instant;
use super::alert::Report;
use super::entity::{Entity, EntityKind, Verdict};
use super::incident::Severity;
use super::queue::{INLINE_TEXT_BYTES_MAX, sha256_hex};

/// The longest text that the log repeats, in bytes: as long as an inline text of an incident.
pub(crate) const TOLD_TEXT_BYTES_MAX: usize = INLINE_TEXT_BYTES_MAX;

/// The most added, and the most removed entities that the log names. It counts the others. A batch may report 5,000
/// alerts of 500 entities each again, and the desk holds each change in memory as a whole.
pub(crate) const TOLD_ENTITIES_MAX: usize = 20;

/// A text, or its length and digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ToldText {
    /// The text itself.
    Whole(String),
    /// A long text, by its length and digest.
    Hashed {
        /// The length in characters.
        chars: u64,
        /// The SHA-256 of the text's bytes, in hexadecimal.
        sha256: String,
    },
}

impl ToldText {
    /// Returns the form in which the log holds a text.
    pub fn of(text: &str) -> Self {
        if text.len() <= TOLD_TEXT_BYTES_MAX {
            return Self::Whole(text.to_owned());
        }
        Self::Hashed { chars: text.chars().count() as u64, sha256: sha256_hex(text) }
    }
}

/// An entity, in the form in which the log holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldEntity {
    /// The kind of the entity.
    pub kind: EntityKind,
    /// The value of the entity.
    pub value: ToldText,
    /// The provider's verdict, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

/// The entities that a new report added and removed. An entity with another verdict counts as removed and added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntitiesDelta {
    /// The added entities, at most [`TOLD_ENTITIES_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<ToldEntity>,
    /// How many entities were added.
    #[serde(default)]
    pub added_count: u64,
    /// The removed entities, at most [`TOLD_ENTITIES_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<ToldEntity>,
    /// How many entities were removed.
    #[serde(default)]
    pub removed_count: u64,
}

/// The differences between two reports of an alert: each field before and after. Fields that did not change are absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReportDelta {
    /// The title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<(ToldText, ToldText)>,
    /// The description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<(Option<ToldText>, Option<ToldText>)>,
    /// The severity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<(Severity, Severity)>,
    /// The product's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<(Option<String>, Option<String>)>,
    /// The attack category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<(Option<String>, Option<String>)>,
    /// The MITRE ATT&CK techniques.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub techniques: Option<(Vec<String>, Vec<String>)>,
    /// The start of the activity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_activity_at: Option<(Option<Instant>, Option<Instant>)>,
    /// The end of the activity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_activity_at: Option<(Option<Instant>, Option<Instant>)>,
    /// The entities that were added and removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entities: Option<EntitiesDelta>,
}

impl ReportDelta {
    /// Returns the differences between two reports of one alert; `None` if the reports are equal.
    pub fn between(before: &Report, after: &Report) -> Option<Box<Self>> {
        let text = |text: &Option<String>| text.as_deref().map(ToldText::of);
        let delta = Self {
            title: (before.title != after.title).then(|| (ToldText::of(&before.title), ToldText::of(&after.title))),
            description: (before.description != after.description)
                .then(|| (text(&before.description), text(&after.description))),
            severity: differing(&before.severity, &after.severity),
            product: differing(&before.product, &after.product),
            category: differing(&before.category, &after.category),
            techniques: differing(&before.techniques, &after.techniques),
            first_activity_at: differing(&before.first_activity_at, &after.first_activity_at),
            last_activity_at: differing(&before.last_activity_at, &after.last_activity_at),
            entities: EntitiesDelta::between(&before.entities, &after.entities),
        };
        (delta != Self::default()).then(|| Box::new(delta))
    }
}

fn differing<T: Clone + PartialEq>(before: &T, after: &T) -> Option<(T, T)> {
    (before != after).then(|| (before.clone(), after.clone()))
}

impl EntitiesDelta {
    fn between(before: &[Entity], after: &[Entity]) -> Option<Self> {
        let (added, added_count) = beyond(before, after);
        let (removed, removed_count) = beyond(after, before);
        let delta = Self { added, added_count, removed, removed_count };
        (delta != Self::default()).then_some(delta)
    }
}

/// Returns the first entities of `all` that `known` lacks, and how many it lacks.
fn beyond(known: &[Entity], all: &[Entity]) -> (Vec<ToldEntity>, u64) {
    let image = |entity: &Entity| (entity.kind, entity.value.clone(), entity.verdict);
    let known: std::collections::HashSet<_> = known.iter().map(image).collect();
    let new: Vec<&Entity> = all.iter().filter(|entity| !known.contains(&image(entity))).collect();
    let told = new.iter().take(TOLD_ENTITIES_MAX).map(|entity| ToldEntity {
        kind: entity.kind,
        value: ToldText::of(&entity.value),
        verdict: entity.verdict,
    });
    (told.collect(), new.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_told_by_their_hash() {
        let whole = "x".repeat(TOLD_TEXT_BYTES_MAX);
        assert_eq!(ToldText::of(&whole), ToldText::Whole(whole.clone()));
        let long = format!("{whole}x");
        let hashed = ToldText::Hashed { chars: 257, sha256: sha256_hex(&long) };
        assert_eq!(ToldText::of(&long), hashed);
        let written = serde_json::to_string(&hashed).expect("JSON");
        assert_eq!(serde_json::from_str::<ToldText>(&written).expect("a text"), hashed);
    }
}
