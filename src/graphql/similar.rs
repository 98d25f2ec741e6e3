//! Incidents that are like another one, and why.

use async_graphql::SimpleObject;
use futures_util::future::try_join_all;

use super::context::View;
use super::incident::Incident;
use super::loaders::Similar;
use crate::domain::entity::{EntityKind, Verdict};
use crate::domain::{Error, IncidentId, Result};
use crate::storage::SharedEntity as Shared;

/// The most similar incidents that an incident shows (Microsoft, "Similar incidents": up to 20).
pub const SIMILAR_MAX: i32 = 20;

/// An entity that two incidents share.
#[derive(SimpleObject)]
pub struct SharedEntity {
    /// What kind of thing.
    kind: EntityKind,
    /// Its value, as an alert of the incident that was asked about writes it.
    value: String,
    /// The strongest verdict that an alert of that incident gives it.
    verdict: Option<Verdict>,
    /// How many incidents hold it beside the one that was asked about: the fewer, the more it says.
    incident_count: u64,
}

impl From<Shared> for SharedEntity {
    fn from(shared: Shared) -> Self {
        Self { kind: shared.kind, value: shared.value, verdict: shared.verdict, incident_count: shared.others }
    }
}

/// An incident that shares entities with another.
#[derive(SimpleObject)]
pub struct SimilarIncident {
    /// The incident.
    incident: Incident,
    /// How much what they share says: 1,000 for each entity that no third incident holds, a half of that for one that one more
    /// holds, an nth for one that n hold.
    score: u64,
    /// How many entities they share.
    shared_entity_count: u64,
    /// The ten of them that say most, the rarest first.
    shared_entities: Vec<SharedEntity>,
}

/// The incidents that are most like this one, open ones first.
pub async fn similar(view: &View, incident: IncidentId, first: i32) -> Result<Vec<SimilarIncident>> {
    if !(0..=SIMILAR_MAX).contains(&first) {
        let message = format!("an incident shows 0 to {SIMILAR_MAX} similar ones");
        return Err(Error::limit("first", message, SIMILAR_MAX as usize));
    }
    let found = view.load(Similar(incident, first as u64)).await?.unwrap_or_default();
    // All at once, so that they are read together.
    let incidents = try_join_all(found.iter().map(|each| view.incident(each.incident))).await?;
    let similar = found.into_iter().zip(incidents).filter_map(|(each, incident)| {
        Some(SimilarIncident {
            // One that the viewer may not see is left out.
            incident: Incident::new(view.clone(), incident?),
            score: each.score,
            shared_entity_count: each.shared,
            shared_entities: each.reasons.into_iter().map(SharedEntity::from).collect(),
        })
    });
    Ok(similar.collect())
}
