//! What a provider says otherwise of an alert, as the log tells it.

use async_graphql::SimpleObject;

use crate::domain::Instant;
use crate::domain::entity::{EntityKind, Verdict};
use crate::domain::incident::Severity;
use crate::domain::retold::{self, ToldText};

/// A text of a report as the log holds it: whole up to 256 bytes, a longer one by its SHA-256.
#[derive(SimpleObject)]
pub struct ReportText {
    /// The text; null where it is long.
    text: Option<String>,
    /// The length in characters of a long text; null where the text is here.
    characters: Option<u64>,
    /// The SHA-256 of a long text, in hexadecimal; null where the text is here.
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

/// A text of a report, before and after; null where there was none.
#[derive(SimpleObject)]
pub struct ReportTextDelta {
    /// Before.
    before: Option<ReportText>,
    /// After.
    after: Option<ReportText>,
}

/// A severity of a report, before and after.
#[derive(SimpleObject)]
pub struct ReportSeverityDelta {
    /// Before.
    before: Severity,
    /// After.
    after: Severity,
}

/// The techniques of a report, before and after.
#[derive(SimpleObject)]
pub struct ReportTechniquesDelta {
    /// Before.
    before: Vec<String>,
    /// After.
    after: Vec<String>,
}

/// A time of a report, before and after.
#[derive(SimpleObject)]
pub struct ReportTimeDelta {
    /// Before.
    before: Option<Instant>,
    /// After.
    after: Option<Instant>,
}

/// An entity of a report as the log holds it.
#[derive(SimpleObject)]
pub struct ReportEntity {
    /// Its kind.
    kind: EntityKind,
    /// Its value.
    value: ReportText,
    /// What its provider thinks of it.
    verdict: Option<Verdict>,
}

/// Entities that came to an alert and went from it; one whose verdict changed has gone and come.
#[derive(SimpleObject)]
pub struct ReportEntitiesDelta {
    /// Those that came, the first 20.
    added: Vec<ReportEntity>,
    /// How many came.
    added_count: u64,
    /// Those that went, the first 20.
    removed: Vec<ReportEntity>,
    /// How many went.
    removed_count: u64,
}

/// What a provider says otherwise of an alert: each field before and after, null where it stayed.
#[derive(SimpleObject)]
pub struct ReportDelta {
    /// Its title.
    title: Option<ReportTextDelta>,
    /// Its description.
    description: Option<ReportTextDelta>,
    /// Its severity.
    severity: Option<ReportSeverityDelta>,
    /// The product's name.
    product: Option<ReportTextDelta>,
    /// The stage of an attack.
    category: Option<ReportTextDelta>,
    /// MITRE ATT&CK techniques.
    techniques: Option<ReportTechniquesDelta>,
    /// When the activity began.
    first_activity_at: Option<ReportTimeDelta>,
    /// When the activity ended.
    last_activity_at: Option<ReportTimeDelta>,
    /// The entities that came and went.
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
