//! Queries on queues. The board (the rows of all open incidents in memory) answers if it is at the position of the
//! read, else the database. Both give equal answers, but the board does not read the table.

use std::collections::HashMap;
use std::time::Duration;

use super::App;
use crate::domain::account::{Owner, OwnerId};
use crate::domain::filter::{IncidentFilter, QueueFilter};
use crate::domain::incident::{Incident, Severity, Status};
use crate::domain::position::Position;
use crate::domain::queue::QueueRow;
use crate::domain::summary::{Numbers, SummaryFilter, Tally, TallyUse};
use crate::domain::tag::Tag;
use crate::domain::title::ShownTitle;
use crate::domain::{Error, Instant, Result};
use crate::realtime::board::{BoardRows, may_count};
use crate::storage::{Cursor, Facet, ListedRow, Page, PageRequest, Parts, Reader};

pub use crate::realtime::board::covers;

/// The deadline for reading the log's end for a query that needs no snapshot. After it the query takes a snapshot,
/// which has its own limits.
const HEAD_WAIT: Duration = Duration::from_millis(250);

/// The source of a read.
#[derive(Clone, Copy)]
pub enum At<'a> {
    /// A database snapshot, and the position of its log end.
    Snapshot(&'a Reader, Position),
    /// The board alone, at this position. The number is the account version of the owners' names.
    Board(Position, u64),
}

/// An incident on a page.
#[derive(Clone, Debug)]
pub enum Listed {
    /// The whole incident, read from the snapshot.
    Whole(Box<Incident>),
    /// The row of the incident and its title, if the query asks for nothing else.
    Row(Box<QueueRow>, ShownTitle),
}

/// A page of a queue.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The incidents, each with its cursor.
    pub incidents: Vec<(Cursor, Listed)>,
    /// Whether more incidents follow in the direction of the page.
    pub more: bool,
}

impl From<Page> for Listing {
    fn from(page: Page) -> Self {
        let whole = |(cursor, incident): (Cursor, Incident)| (cursor, Listed::Whole(incident.into()));
        Self { incidents: page.incidents.into_iter().map(whole).collect(), more: page.more }
    }
}

impl From<(Vec<ListedRow>, bool)> for Listing {
    fn from((rows, more): (Vec<ListedRow>, bool)) -> Self {
        let listed = |ListedRow { cursor, row, title }| (cursor, Listed::Row(Box::new(row), title));
        Self { incidents: rows.into_iter().map(listed).collect(), more }
    }
}

/// Reads a page of a queue from the database, for filters that the board does not cover. The position of the log's end
/// is not needed. `rows` names the parts of rows to read, if the query asks for rows only.
pub async fn stored_page(reader: &Reader, request: &PageRequest, rows: Option<Parts>) -> Result<Listing> {
    match rows {
        Some(parts) => reader.listed_page(request, parts).await.map(Listing::from),
        None => reader.queue_page(request).await.map(Listing::from),
    }
}

impl App {
    /// Returns a page of a queue. `rows` has the meaning that it has in [`stored_page`].
    pub async fn queue_page(&self, at: At<'_>, request: &PageRequest, rows: Option<Parts>) -> Result<Listing> {
        let filter = request.filter.filter();
        let reader = match at {
            At::Snapshot(reader, _) => reader,
            At::Board(position, accounts) => {
                let listing = self
                    .board_at(&position, accounts, filter, |rows, names| rows.listing(request, names))
                    .await
                    .flatten();
                return listing.map(Listing::from).ok_or_else(moved_on);
            }
        };
        let page = match self.on_board(at, filter, |rows| rows.page(request)).await.flatten() {
            Some((ids, more)) => request.page_of(&ids, reader.incidents_to_show(&ids).await?, more),
            None => return stored_page(reader, request, rows).await,
        };
        Ok(page.into())
    }

    /// Counts the incidents of a queue.
    pub async fn queue_count(&self, at: At<'_>, filter: &QueueFilter) -> Result<u64> {
        match self.if_known(at, filter.filter(), |rows| rows.count_if_known(filter.filter())).await {
            Some(count) => Ok(count),
            None => at.reader()?.queue_count(filter).await,
        }
    }

    /// Counts the incidents of a queue that changed after the first `since` changes of the log.
    pub async fn unread_count(&self, at: At<'_>, filter: &QueueFilter, since: u64) -> Result<u64> {
        match self.on_board(at, filter.filter(), |rows| rows.unread(filter.filter(), since)).await {
            Some(count) => Ok(count),
            None => at.reader()?.unread_count(filter, since).await,
        }
    }

    /// Counts the incidents of a queue by status.
    pub async fn facet_status(&self, at: At<'_>, queue: &QueueFilter) -> Result<Vec<Facet<Status>>> {
        let rest = IncidentFilter { status: None, ..queue.filter().clone() };
        match self.if_known(at, &rest, |rows| rows.by_status(&rest)).await {
            Some(facets) => Ok(facets),
            None => at.reader()?.facet_status(queue).await,
        }
    }

    /// Counts the incidents of a queue by severity, the worst first.
    pub async fn facet_severity(&self, at: At<'_>, queue: &QueueFilter) -> Result<Vec<Facet<Severity>>> {
        let rest = IncidentFilter { severity: None, ..queue.filter().clone() };
        match self.if_known(at, &rest, |rows| rows.by_severity_if_known(&rest)).await {
            Some(facets) => Ok(facets),
            None => at.reader()?.facet_severity(queue).await,
        }
    }

    /// Counts the incidents of a queue by owner, the busiest first.
    pub async fn facet_owner(&self, at: At<'_>, queue: &QueueFilter) -> Result<Vec<Facet<Option<Owner>>>> {
        let rest = IncidentFilter { owner: None, ..queue.filter().clone() };
        let named = |facets: Vec<Facet<Option<OwnerId>>>, owners: &HashMap<OwnerId, Owner>| {
            let name = |id: Option<OwnerId>| id.and_then(|id| owners.get(&id).cloned());
            facets.into_iter().map(|Facet { value, count }| Facet { value: name(value), count }).collect()
        };
        let reader = match at {
            At::Snapshot(reader, _) => reader,
            At::Board(position, accounts) => {
                let facets =
                    self.board_at(&position, accounts, &rest, |rows, names| named(rows.by_owner(&rest), names));
                return facets.await.ok_or_else(moved_on);
            }
        };
        match self.on_board(at, &rest, |rows| rows.by_owner(&rest)).await {
            Some(facets) => {
                let owners = reader.owners(facets.iter().filter_map(|facet| facet.value)).await?;
                Ok(named(facets, &owners))
            }
            None => reader.facet_owner(queue).await,
        }
    }

    /// Counts the incidents of a queue by tag, the most frequent first.
    pub async fn facet_tags(&self, at: At<'_>, queue: &QueueFilter) -> Result<Vec<Facet<Tag>>> {
        let rest = IncidentFilter { tags: None, ..queue.filter().clone() };
        match self.on_board(at, &rest, |rows| rows.by_tag(&rest)).await {
            Some(facets) => Ok(facets),
            None => at.reader()?.facet_tags(queue).await,
        }
    }

    /// Counts the incidents of a queue by product, the most frequent first.
    pub async fn facet_product(&self, at: At<'_>, queue: &QueueFilter) -> Result<Vec<Facet<String>>> {
        let rest = IncidentFilter { product: None, ..queue.filter().clone() };
        match self.on_board(at, &rest, |rows| rows.by_product(&rest)).await {
            Some(facets) => Ok(facets),
            None => at.reader()?.facet_product(queue).await,
        }
    }

    /// Returns the numbers of a queue summary that are asked for.
    pub async fn tally(&self, at: At<'_>, filter: &SummaryFilter, since: Instant, numbers: Numbers) -> Result<Tally> {
        let queue = filter.queue().filter();
        // The outer `None` means that the board does not know them, the inner `None` that they are not asked for.
        let flow = |rows: &BoardRows| {
            if numbers.flow { rows.created_and_resolved(filter, since).map(Some) } else { Some(None) }
        };
        let open = |rows: &BoardRows| rows.open_numbers(filter, numbers, TallyUse::Once);
        let reader = match at {
            At::Snapshot(reader, _) => reader,
            At::Board(position, accounts) => {
                let tally = self.board_at(&position, accounts, queue, |rows, names| {
                    let flow = flow(rows)?;
                    Some(Tally::new(filter.clone(), since, open(rows).named(names, flow)))
                });
                return tally.await.flatten().ok_or_else(moved_on);
            }
        };
        let Some((open, flow)) = self.on_board(at, queue, |rows| (open(rows), flow(rows))).await else {
            return reader.tally(filter, since, numbers, TallyUse::Once).await;
        };
        let Some(flow) = flow else {
            return reader.tally_beside(filter, since, numbers, open).await;
        };
        let owners = reader.owners(open.portions.iter().filter_map(|portion| portion.owner)).await?;
        Ok(Tally::new(filter.clone(), since, open.named(&owners, flow)))
    }

    /// Returns the position of the board, and its account version, if the board is at or beyond the present end of the
    /// log. Returns `None` if that takes longer than the database's own answer would.
    pub async fn board_now(&self) -> Option<(Position, u64)> {
        self.hub.board_now(&self.store, HEAD_WAIT).await
    }

    async fn board_at<T>(
        &self,
        at: &Position,
        accounts: u64,
        filter: &IncidentFilter,
        answer: impl FnOnce(&BoardRows, &HashMap<OwnerId, Owner>) -> T,
    ) -> Option<T> {
        if !covers(filter) {
            return None;
        }
        let answer = self.hub.board_at(at, accounts, |rows, names| rows.bears(filter).then(|| answer(rows, names)));
        // A read of the board has no other point at which it yields the thread.
        tokio::task::yield_now().await;
        answer.flatten()
    }

    /// Answers from the board at the position of the read. `None` if it is elsewhere, or does not serve the filter.
    async fn on_board<T>(
        &self,
        at: At<'_>,
        filter: &IncidentFilter,
        answer: impl FnOnce(&BoardRows) -> T,
    ) -> Option<T> {
        match at {
            At::Snapshot(_, position) if covers(filter) => {
                let answer = self.hub.on_board(&position, |rows| rows.bears(filter).then(|| answer(rows))).await;
                tokio::task::yield_now().await;
                answer.flatten()
            }
            At::Snapshot(..) => None,
            At::Board(position, accounts) => self.board_at(&position, accounts, filter, |rows, _| answer(rows)).await,
        }
    }

    /// Answers with a number that the board knows at the position of the read, over incidents of any status.
    async fn if_known<T>(
        &self,
        at: At<'_>,
        filter: &IncidentFilter,
        answer: impl FnOnce(&BoardRows) -> Option<T>,
    ) -> Option<T> {
        if !may_count(filter) {
            return None;
        }
        let answer = match at {
            At::Snapshot(_, position) => self.hub.on_board(&position, answer).await,
            At::Board(position, accounts) => self.hub.board_at(&position, accounts, |rows, _| answer(rows)),
        };
        // A read of the board has no other point at which it yields the thread.
        tokio::task::yield_now().await;
        answer.flatten()
    }
}

impl<'a> At<'a> {
    /// Returns the snapshot. Without one, the error makes the caller repeat the whole read on a snapshot.
    fn reader(&self) -> Result<&'a Reader> {
        match self {
            At::Snapshot(reader, _) => Ok(reader),
            At::Board(..) => Err(moved_on()),
        }
    }

    /// Returns the position of the read.
    pub fn position(&self) -> Position {
        match self {
            At::Snapshot(_, position) | At::Board(position, _) => *position,
        }
    }
}

/// Returns the error for a board that has left the position, or lacks the answer. The caller has to repeat the whole
/// read on a snapshot.
fn moved_on() -> Error {
    Error::Busy
}
