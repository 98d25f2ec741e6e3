//! The limits of the database work of one request. Each alias counts separately.
//!
//! The cost of a document counts the fields of its answer, but a count, a facet or a text search reads a whole queue
//! for one field. These reads are counted here, before they are made, from the resolved filter. A filter counts equally
//! if it comes from the request, from a saved view that the request names, or from a bulk job that it creates.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::domain::filter::{IncidentFilter, QueueFilter};
use crate::domain::{Error, Result};
use crate::storage::AlertFilter;

/// The most texts that the filters of one request search for. Each is compared with every title and description of a
/// queue.
pub const TEXTS_MAX: usize = 20;

/// The most searches of one request: passes over a queue, and one more for each text of its filter. A page of a wall
/// screen with its count and five facets takes 12; 100 take one or two seconds on a desk of 10,000 open incidents.
pub const SEARCHES_MAX: usize = 100;

/// How many entities of a filter count as one more search. Each entity is a range of an index, at most as long as a
/// queue.
pub const ENTITIES_PER_SEARCH: usize = 25;

/// The kind of a read of a queue. It decides how many searches the read costs, without the texts of its filter.
#[derive(Clone, Copy, Debug)]
pub enum Search {
    /// A page of rows, read along the index of its order.
    Page,
    /// A page of rows in an order that no index has: the whole queue is read and sorted.
    SortedPage,
    /// The number of the incidents, or their ids.
    Count,
    /// A facet: one count for each value.
    Facet,
    /// The numbers of a wall screen, or response times: several counts.
    Summary,
}

impl Search {
    fn passes(self) -> usize {
        match self {
            Self::Page | Self::Count => 1,
            Self::SortedPage | Self::Facet => 2,
            Self::Summary => 4,
        }
    }
}

/// The texts and entities that a filter searches for, at all depths.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The number of texts.
    pub texts: usize,
    /// The number of entities.
    pub entities: usize,
}

impl Wanted {
    /// Returns how many searches it adds to each read.
    fn passes(self) -> usize {
        self.texts + self.entities.div_ceil(ENTITIES_PER_SEARCH)
    }
}

impl From<&IncidentFilter> for Wanted {
    fn from(filter: &IncidentFilter) -> Self {
        Self { texts: filter.text_count(), entities: filter.entity_count() }
    }
}

impl From<&QueueFilter> for Wanted {
    fn from(filter: &QueueFilter) -> Self {
        filter.filter().into()
    }
}

impl From<&AlertFilter> for Wanted {
    fn from(filter: &AlertFilter) -> Self {
        Self { texts: usize::from(filter.text.is_some()), entities: filter.entity.as_ref().map_or(0, Vec::len) }
    }
}

/// The searches that a request has made so far.
#[derive(Debug, Default)]
pub struct Searches {
    texts: AtomicUsize,
    passes: AtomicUsize,
}

impl Searches {
    /// Counts the texts of a filter, once for each place of the request that gives or names it. Beyond [`TEXTS_MAX`]:
    /// `LIMIT`.
    pub fn look_for(&self, filter: impl Into<Wanted>) -> Result<()> {
        let texts = filter.into().texts;
        let all = self.texts.fetch_add(texts, Ordering::Relaxed).saturating_add(texts);
        if texts == 0 || all <= TEXTS_MAX {
            return Ok(());
        }
        let message = format!("a request looks for at most {TEXTS_MAX} texts, and this one for {all} or more");
        Err(Error::limit("filter", message, TEXTS_MAX))
    }

    /// Counts a read with a filter, before it is made. Beyond [`SEARCHES_MAX`]: `LIMIT`.
    pub fn spend(&self, search: Search, filter: impl Into<Wanted>) -> Result<()> {
        let passes = search.passes() + filter.into().passes();
        let all = self.passes.fetch_add(passes, Ordering::Relaxed).saturating_add(passes);
        if all <= SEARCHES_MAX {
            return Ok(());
        }
        let message = format!(
            "a request costs at most {SEARCHES_MAX} searches of the database, and this one {all} or more: pages and counts \
             are one each, facets and pages in an order of several keys two, summaries four, and each text and each \
             {ENTITIES_PER_SEARCH} entities of the filter are one more"
        );
        Err(Error::limit("query", message, SEARCHES_MAX))
    }
}
