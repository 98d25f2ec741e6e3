//! What the reads of one request may cost the database, each alias by itself.
//!
//! The cost of a document counts the fields of its answer. A count, a facet or a text that is looked for makes one field of
//! a pass over a whole queue: those are counted here, before each is made, from the filter as it is resolved. A filter counts
//! alike wherever it stands: in the request, in a saved view that the request names, in a job that the request makes.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::domain::filter::{IncidentFilter, QueueFilter};
use crate::domain::{Error, Result};
use crate::storage::AlertFilter;

/// The most texts that the filters of one request look for. Each is held against every title and description of a queue.
pub const TEXTS_MAX: usize = 20;

/// The most searches of one request: passes over a queue, each as often as it has texts besides. A page of a wall with its
/// count and its five facets is 12; 100 are a second or two on a desk of 10,000 open incidents.
pub const SEARCHES_MAX: usize = 100;

/// So many entities of a filter are one more search: each is a range of an index, which an entity that everybody has makes as
/// long as a queue.
pub const ENTITIES_PER_SEARCH: usize = 25;

/// What a read over a queue is, beside what its filter looks for, in searches.
#[derive(Clone, Copy, Debug)]
pub enum Search {
    /// A page of rows, read along the index of its order.
    Page,
    /// A page of rows in an order that no index has: the whole queue is read and put into order.
    SortedPage,
    /// How many there are, or which.
    Count,
    /// One facet: a count for each value.
    Facet,
    /// The numbers of a wall, or response times: several counts.
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

/// What a filter looks for, at all depths.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Texts.
    pub texts: usize,
    /// Entities.
    pub entities: usize,
}

impl Wanted {
    /// What it adds to each read, in searches.
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

/// What a request has searched for so far.
#[derive(Debug, Default)]
pub struct Searches {
    texts: AtomicUsize,
    passes: AtomicUsize,
}

impl Searches {
    /// Counts the texts of a filter, once for each place of the request that gives or names it.
    pub fn look_for(&self, filter: impl Into<Wanted>) -> Result<()> {
        let texts = filter.into().texts;
        let all = self.texts.fetch_add(texts, Ordering::Relaxed).saturating_add(texts);
        if texts == 0 || all <= TEXTS_MAX {
            return Ok(());
        }
        let message = format!("a request looks for at most {TEXTS_MAX} texts, and this one for {all} or more");
        Err(Error::limit("filter", message, TEXTS_MAX))
    }

    /// Counts a read under a filter, before it is made.
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
