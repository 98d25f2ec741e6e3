//! Similar incidents: incidents that share entities with an incident, ranked by how rare the shared entities are.

use async_graphql::SimpleObject;
use futures_util::future::try_join_all;

use super::context::View;
use super::incident::Incident;
use super::loaders::Similar;
use crate::domain::entity::{EntityKind, Verdict};
use crate::domain::{Error, IncidentId, Result};
use crate::storage::EntityInCommon;

/// The most similar incidents that one request may ask of an incident (Microsoft, "Similar incidents": up to 20).
pub(super) const SIMILAR_MAX: i32 = 20;

/// An entity that an incident shares with a similar incident.
#[derive(SimpleObject)]
pub(super) struct SharedEntity {
    /// The kind of the entity.
    kind: EntityKind,
    /// The value of the entity, as written by an alert of the incident whose `similar` field was read.
    value: String,
    /// The strongest verdict that an alert of that incident gives the entity.
    verdict: Option<Verdict>,
    /// How many other incidents hold the entity, at most 100. The fewer they are, the higher the entity scores.
    incident_count: u64,
}

impl From<EntityInCommon> for SharedEntity {
    fn from(shared: EntityInCommon) -> Self {
        Self { kind: shared.kind, value: shared.value, verdict: shared.verdict, incident_count: shared.others }
    }
}

/// An incident that shares entities with the incident whose `similar` field was read.
#[derive(SimpleObject)]
pub(super) struct SimilarIncident {
    /// The similar incident, in its present state.
    incident: Incident,
    /// How similar the incidents are. Each shared entity adds 1,000 divided by its `incidentCount`, rounded down. For
    /// example, an entity that one other incident holds adds 1,000, and an entity that four others hold adds 250.
    score: u64,
    /// How many entities the two incidents share.
    shared_entity_count: u64,
    /// The shared entities with the lowest `incidentCount`, lowest first; at most 10.
    shared_entities: Vec<SharedEntity>,
}

/// Returns the most similar incidents, open incidents first. Refuses a `first` outside 0 to 20.
pub(super) async fn similar(view: &View, incident: IncidentId, first: i32) -> Result<Vec<SimilarIncident>> {
    if !(0..=SIMILAR_MAX).contains(&first) {
        let message = format!("an incident shows 0 to {SIMILAR_MAX} similar ones");
        return Err(Error::limit("first", message, SIMILAR_MAX as usize));
    }
    let found = view.load(Similar(incident, first as u64)).await?.unwrap_or_default();
    // The futures are joined so that one statement reads all incidents.
    let incidents = try_join_all(found.iter().map(|each| view.incident(each.incident))).await?;
    let similar = found.into_iter().zip(incidents).filter_map(|(each, incident)| {
        Some(SimilarIncident {
            // An incident that the viewer may not see is left out.
            incident: Incident::new(view.clone(), incident?),
            score: each.score,
            shared_entity_count: each.shared,
            shared_entities: each.reasons.into_iter().map(SharedEntity::from).collect(),
        })
    });
    Ok(similar.collect())
}
