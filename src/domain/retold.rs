//! What a provider says otherwise of an alert that it reports anew: each field before and after, small enough for the log.
//!
//! Texts beyond [`TOLD_TEXT_BYTES_MAX`] are in the log by their SHA-256, and of long lists of entities the first ones.

use serde::{Deserialize, Serialize};

use super::Instant;
use super::alert::Report;
use super::entity::{Entity, EntityKind, Verdict};
use super::incident::Severity;
use super::queue::{INLINE_TEXT_BYTES_MAX, sha256_hex};

/// The longest text that the log repeats, in bytes: as long as one of an incident.
pub const TOLD_TEXT_BYTES_MAX: usize = INLINE_TEXT_BYTES_MAX;

/// The most entities that the log names of those that came, and of those that went: more are counted. A batch may report
/// 5,000 alerts of 500 entities each anew, and a change is held in memory whole.
pub const TOLD_ENTITIES_MAX: usize = 20;

/// A text, or what the log knows of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ToldText {
    /// The text itself.
    Whole(String),
    /// A long text.
    Hashed {
        /// Its length in characters.
        chars: u64,
        /// The SHA-256 of its bytes, in hexadecimal.
        sha256: String,
    },
}

impl ToldText {
    /// The text as the log holds it.
    pub fn of(text: &str) -> Self {
        if text.len() <= TOLD_TEXT_BYTES_MAX {
            return Self::Whole(text.to_owned());
        }
        Self::Hashed { chars: text.chars().count() as u64, sha256: sha256_hex(text) }
    }
}

/// An entity as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldEntity {
    /// Its kind.
    pub kind: EntityKind,
    /// Its value.
    pub value: ToldText,
    /// What its provider thinks of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

/// Entities that came to an alert and went from it. One whose verdict changed has gone and come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntitiesDelta {
    /// Those that came, [`TOLD_ENTITIES_MAX`] at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<ToldEntity>,
    /// How many came.
    #[serde(default)]
    pub added_count: u64,
    /// Those that went, [`TOLD_ENTITIES_MAX`] at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<ToldEntity>,
    /// How many went.
    #[serde(default)]
    pub removed_count: u64,
}

/// What a provider says otherwise of an alert: each field before and after, absent where it stayed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReportDelta {
    /// Its title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<(ToldText, ToldText)>,
    /// Its description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<(Option<ToldText>, Option<ToldText>)>,
    /// Its severity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<(Severity, Severity)>,
    /// The product's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<(Option<String>, Option<String>)>,
    /// The stage of an attack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<(Option<String>, Option<String>)>,
    /// The techniques.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub techniques: Option<(Vec<String>, Vec<String>)>,
    /// When the activity began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_activity_at: Option<(Option<Instant>, Option<Instant>)>,
    /// When the activity ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_activity_at: Option<(Option<Instant>, Option<Instant>)>,
    /// The entities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entities: Option<EntitiesDelta>,
}

impl ReportDelta {
    /// What differs between two reports of one alert; none where nothing does.
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

/// Those of `all` that `known` does not have: the first of them, and how many.
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
