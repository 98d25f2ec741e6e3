//! The changes that a new report of a provider makes to an alert, as the log stores them.

use async_graphql::SimpleObject;

use crate::domain::Instant;
use crate::domain::entity::{EntityKind, Verdict};
use crate::domain::incident::Severity;
use crate::domain::retold::{self, ToldText};

/// A text of a report as the log stores it: up to 256 bytes the text itself, a longer text as its length and its
/// SHA-256.
#[derive(SimpleObject)]
pub(super) struct ReportText {
    /// The text; null if it is longer than 256 bytes.
    text: Option<String>,
    /// The length in characters of a text that is longer than 256 bytes; null if `text` is set.
    characters: Option<u64>,
    /// The SHA-256, in hexadecimal, of a text that is longer than 256 bytes; null if `text` is set.
    sha256: Option<String>,
}

impl From<ToldText> for ReportText {
    fn from(told: ToldText) -> Self {
        match told {
            ToldText::Whole(text) => Self { text: Some(text), characters: None, sha256: None },
            ToldText::Hashed { chars, sha256 } => Self { text: None, characters: Some(chars), sha256: Some(sha256) },
        }
    }
}

/// A text of a report before and after a change.
#[derive(SimpleObject)]
pub(super) struct ReportTextDelta {
    /// The text before the change; null if there was no text.
    before: Option<ReportText>,
    /// The text after the change; null if there is no text.
    after: Option<ReportText>,
}

/// The severity of a report before and after a change.
#[derive(SimpleObject)]
pub(super) struct ReportSeverityDelta {
    /// The severity before the change.
    before: Severity,
    /// The severity after the change.
    after: Severity,
}

/// The MITRE ATT&CK techniques of a report before and after a change.
#[derive(SimpleObject)]
pub(super) struct ReportTechniquesDelta {
    /// The techniques before the change.
    before: Vec<String>,
    /// The techniques after the change.
    after: Vec<String>,
}

/// A time of a report before and after a change.
#[derive(SimpleObject)]
pub(super) struct ReportTimeDelta {
    /// The time before the change; null if it was unknown.
    before: Option<Instant>,
    /// The time after the change; null if it is unknown.
    after: Option<Instant>,
}

/// An entity of a report as the log stores it.
#[derive(SimpleObject)]
pub(super) struct ReportEntity {
    /// The kind of the entity.
    kind: EntityKind,
    /// The value of the entity.
    value: ReportText,
    /// The verdict of the provider on the entity.
    verdict: Option<Verdict>,
}

/// The entities that a report added to an alert and removed from it. An entity whose verdict changed is in both lists.
#[derive(SimpleObject)]
pub(super) struct ReportEntitiesDelta {
    /// The first 20 added entities.
    added: Vec<ReportEntity>,
    /// How many entities were added.
    added_count: u64,
    /// The first 20 removed entities.
    removed: Vec<ReportEntity>,
    /// How many entities were removed.
    removed_count: u64,
}

/// The fields of an alert that a new report of the provider changed, each before and after. A field that did not change
/// is null.
#[derive(SimpleObject)]
pub(super) struct ReportDelta {
    /// The title, if it changed.
    title: Option<ReportTextDelta>,
    /// The description, if it changed.
    description: Option<ReportTextDelta>,
    /// The reported severity, if it changed.
    severity: Option<ReportSeverityDelta>,
    /// The name of the product, if it changed.
    product: Option<ReportTextDelta>,
    /// The stage of the attack, if it changed.
    category: Option<ReportTextDelta>,
    /// The MITRE ATT&CK techniques, if they changed.
    techniques: Option<ReportTechniquesDelta>,
    /// When the activity began, if this time changed.
    first_activity_at: Option<ReportTimeDelta>,
    /// When the activity ended, if this time changed.
    last_activity_at: Option<ReportTimeDelta>,
    /// The added and removed entities, if the entities changed.
    entities: Option<ReportEntitiesDelta>,
}

fn text(before: Option<ToldText>, after: Option<ToldText>) -> ReportTextDelta {
    ReportTextDelta { before: before.map(ReportText::from), after: after.map(ReportText::from) }
}

fn name((before, after): (Option<String>, Option<String>)) -> ReportTextDelta {
    text(before.map(ToldText::Whole), after.map(ToldText::Whole))
}

fn entities(told: Vec<retold::ToldEntity>) -> Vec<ReportEntity> {
    let entity = |it: retold::ToldEntity| ReportEntity { kind: it.kind, value: it.value.into(), verdict: it.verdict };
    told.into_iter().map(entity).collect()
}

impl From<retold::ReportDelta> for ReportDelta {
    fn from(delta: retold::ReportDelta) -> Self {
        let time = |(before, after)| ReportTimeDelta { before, after };
        Self {
            title: delta.title.map(|(before, after)| text(Some(before), Some(after))),
            description: delta.description.map(|(before, after)| text(before, after)),
            severity: delta.severity.map(|(before, after)| ReportSeverityDelta { before, after }),
            product: delta.product.map(name),
            category: delta.category.map(name),
            techniques: delta.techniques.map(|(before, after)| ReportTechniquesDelta { before, after }),
            first_activity_at: delta.first_activity_at.map(time),
            last_activity_at: delta.last_activity_at.map(time),
            entities: delta.entities.map(|it| ReportEntitiesDelta {
                added: entities(it.added),
                added_count: it.added_count,
                removed: entities(it.removed),
                removed_count: it.removed_count,
            }),
        }
    }
}
