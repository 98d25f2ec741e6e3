//! What the reads of one request may cost the database, each alias by itself.
//!
//! The cost of a document counts the fields of its answer. A count, a facet or a text that is looked for makes one field of
//! a pass over a whole queue: those are counted here, before each is made, from the filter as it is resolved.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::domain::filter::{IncidentFilter, QueueFilter};
use crate::domain::{Error, Result};

/// The most texts that the filters of one request look for. Each is held against every title and description of a queue.
pub const TEXTS_MAX: usize = 20;

/// The most searches of one request: passes over a queue, each as often as it has texts besides. A page of a wall with its
/// count and its five facets is 12; 100 are a second or two on a desk of 10,000 open incidents.
pub const SEARCHES_MAX: usize = 100;

/// What a read over a queue is, beside the texts of its filter, in searches.
#[derive(Clone, Copy, Debug)]
pub enum Search {
    /// A page of rows.
    Page,
    /// How many there are.
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
            Self::Facet => 2,
            Self::Summary => 4,
        }
    }
}

/// What a request has searched for so far.
#[derive(Debug, Default)]
pub struct Searches {
    texts: AtomicUsize,
    passes: AtomicUsize,
}

impl Searches {
    /// Counts the texts of a filter that a root field gives.
    pub fn look_for(&self, filter: &IncidentFilter) -> Result<()> {
        self.look_for_texts(filter.text_count())
    }

    /// The same of a filter of another kind.
    pub fn look_for_texts(&self, texts: usize) -> Result<()> {
        let all = self.texts.fetch_add(texts, Ordering::Relaxed).saturating_add(texts);
        if all <= TEXTS_MAX {
            return Ok(());
        }
        let message = format!("a request looks for at most {TEXTS_MAX} texts, and this one for {all} or more");
        Err(Error::limit("filter", message, TEXTS_MAX))
    }

    /// Counts a read over a queue, before it is made.
    pub fn spend(&self, search: Search, filter: &QueueFilter) -> Result<()> {
        let passes = search.passes() + filter.filter().text_count();
        let all = self.passes.fetch_add(passes, Ordering::Relaxed).saturating_add(passes);
        if all <= SEARCHES_MAX {
            return Ok(());
        }
        let message = format!(
            "a request costs at most {SEARCHES_MAX} searches of the database, and this one {all} or more: pages and counts \
             are one each, facets two, summaries four, and each text of the filter is one more"
        );
        Err(Error::limit("query", message, SEARCHES_MAX))
    }
}
