//! Queues: answered by the board where it stands at the position of the read's snapshot, else by the database. Both give the
//! same answers; the board gives them without reading the table.

use std::collections::HashMap;

use super::App;
use crate::domain::account::{Owner, OwnerId};
use crate::domain::filter::{IncidentFilter, QueueFilter};
use crate::domain::incident::Severity;
use crate::domain::position::Position;
use crate::domain::summary::{SummaryFilter, Tally};
use crate::domain::tag::Tag;
use crate::domain::{Instant, Result};
use crate::realtime::board::{Rows, covers};
use crate::storage::{Facet, Page, PageRequest, Reader};

/// One snapshot and its position: the two that a queue is read from.
#[derive(Clone, Copy)]
pub struct At<'a> {
    /// The snapshot.
    pub reader: &'a Reader,
    /// The end of the log in it.
    pub position: Position,
}

impl App {
    /// A stretch of a queue.
    pub async fn queue_page(&self, at: At<'_>, request: &PageRequest) -> Result<Page> {
        match self.on_board(at, request.filter.filter(), |rows| rows.page(request)).await.flatten() {
            Some((ids, more)) => Ok(request.page_of(&ids, at.reader.incidents_to_show(&ids).await?, more)),
            None => at.reader.queue_page(request).await,
        }
    }

    /// How many incidents a queue has.
    pub async fn queue_count(&self, at: At<'_>, filter: &QueueFilter) -> Result<u64> {
        match self.on_board(at, filter.filter(), |rows| rows.count(filter.filter())).await {
            Some(count) => Ok(count),
            None => at.reader.queue_count(filter).await,
        }
    }

    /// How many incidents a queue has by severity, the worst first.
    pub async fn facet_severity(&self, at: At<'_>, queue: &QueueFilter) -> Result<Vec<Facet<Severity>>> {
        let rest = IncidentFilter { severity: None, ..queue.filter().clone() };
        match self.on_board(at, &rest, |rows| rows.by_severity(&rest)).await {
            Some(facets) => Ok(facets),
            None => at.reader.facet_severity(queue).await,
        }
    }

    /// How many incidents a queue has by owner, the busiest first.
    pub async fn facet_owner(&self, at: At<'_>, queue: &QueueFilter) -> Result<Vec<Facet<Option<Owner>>>> {
        let rest = IncidentFilter { owner: None, ..queue.filter().clone() };
        let Some(facets) = self.on_board(at, &rest, |rows| rows.by_owner(&rest)).await else {
            return at.reader.facet_owner(queue).await;
        };
        let owners: HashMap<OwnerId, Owner> = at.reader.owners(facets.iter().filter_map(|facet| facet.value)).await?;
        let named = |id: Option<OwnerId>| id.and_then(|id| owners.get(&id).cloned());
        Ok(facets.into_iter().map(|Facet { value, count }| Facet { value: named(value), count }).collect())
    }

    /// How many incidents a queue has by tag, the most frequent first.
    pub async fn facet_tags(&self, at: At<'_>, queue: &QueueFilter) -> Result<Vec<Facet<Tag>>> {
        let rest = IncidentFilter { tags: None, ..queue.filter().clone() };
        match self.on_board(at, &rest, |rows| rows.by_tag(&rest)).await {
            Some(facets) => Ok(facets),
            None => at.reader.facet_tags(queue).await,
        }
    }

    /// How many incidents a queue has by product, the most frequent first.
    pub async fn facet_product(&self, at: At<'_>, queue: &QueueFilter) -> Result<Vec<Facet<String>>> {
        let rest = IncidentFilter { product: None, ..queue.filter().clone() };
        match self.on_board(at, &rest, |rows| rows.by_product(&rest)).await {
            Some(facets) => Ok(facets),
            None => at.reader.facet_product(queue).await,
        }
    }

    /// The numbers of a wall.
    pub async fn tally(&self, at: At<'_>, filter: &SummaryFilter, since: Instant) -> Result<Tally> {
        match self.on_board(at, filter.queue().filter(), |rows| rows.portions(filter, since)).await {
            Some(open) => at.reader.tally_beside(filter, since, open.portions, open.oldest).await,
            None => at.reader.tally(filter, since, 1).await,
        }
    }

    /// An answer from the board, if its rows are all that a filter may select, at the position of the snapshot.
    async fn on_board<T>(&self, at: At<'_>, filter: &IncidentFilter, answer: impl FnOnce(&Rows) -> T) -> Option<T> {
        if !covers(filter) {
            return None;
        }
        self.hub.on_board(&at.position, answer).await
    }
}
