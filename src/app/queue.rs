//! Queues: answered by the board where it stands at the position of the read, else by the database. Both give the same
//! answers; the board gives them without reading the table.

use std::collections::HashMap;
use std::time::Duration;

use super::App;
use crate::domain::account::{Owner, OwnerId};
use crate::domain::filter::{IncidentFilter, QueueFilter};
use crate::domain::incident::{Incident, Severity, Status};
use crate::domain::position::Position;
use crate::domain::queue::QueueRow;
use crate::domain::summary::{Numbers, SummaryFilter, TakenFrom, Tally};
use crate::domain::tag::Tag;
use crate::domain::title::Shown;
use crate::domain::{Error, Instant, Result};
use crate::realtime::board::{Portions, Rows, may_count};
use crate::storage::{Cursor, Facet, ListedRow, Page, PageRequest, Parts, Reader};

pub use crate::realtime::board::covers;

/// How long a read that needs no snapshot waits to learn where the log ends. After that it takes a snapshot, which has bounds of
/// its own.
const HEAD_WAIT: Duration = Duration::from_millis(250);

/// What a queue is read from.
#[derive(Clone, Copy)]
pub enum At<'a> {
    /// One snapshot, and the end of the log in it.
    Snapshot(&'a Reader, Position),
    /// The board alone, as it stands at this position and names owners since users and groups were changed so often.
    Board(Position, u64),
}

/// What a page shows of an incident.
#[derive(Clone, Debug)]
pub enum Listed {
    /// All that an incident holds, read from the snapshot.
    Whole(Box<Incident>),
    /// Its row, where nothing else is asked for.
    Row(Box<QueueRow>, Shown),
}

/// A stretch of a queue.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The incidents, each with its place.
    pub incidents: Vec<(Cursor, Listed)>,
    /// Whether more lie beyond the end that the page was counted towards.
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

/// A stretch of a queue from the database, for what the board does not hold: where the log ends does not matter to it. `rows` are the
/// parts of rows to read, where nothing else is asked for.
pub async fn stored_page(reader: &Reader, request: &PageRequest, rows: Option<Parts>) -> Result<Listing> {
    match rows {
        Some(parts) => reader.listed_page(request, parts).await.map(Listing::from),
        None => reader.queue_page(request).await.map(Listing::from),
    }
}

impl App {
    /// A stretch of a queue; `rows` as for [`stored_page`].
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

    /// How many incidents a queue has.
    pub async fn queue_count(&self, at: At<'_>, filter: &QueueFilter) -> Result<u64> {
        match self.if_known(at, filter.filter(), |rows| rows.count_if_known(filter.filter())).await {
            Some(count) => Ok(count),
            None => at.reader()?.queue_count(filter).await,
        }
    }

    /// How many incidents of a queue have changed since the log had so many changes.
    pub async fn unread_count(&self, at: At<'_>, filter: &QueueFilter, since: u64) -> Result<u64> {
        match self.on_board(at, filter.filter(), |rows| rows.unread(filter.filter(), since)).await {
            Some(count) => Ok(count),
            None => at.reader()?.unread_count(filter, since).await,
        }
    }

    /// How many incidents a queue has by status.
    pub async fn facet_status(&self, at: At<'_>, queue: &QueueFilter) -> Result<Vec<Facet<Status>>> {
        let rest = IncidentFilter { status: None, ..queue.filter().clone() };
        match self.if_known(at, &rest, |rows| rows.by_status(&rest)).await {
            Some(facets) => Ok(facets),
            None => at.reader()?.facet_status(queue).await,
        }
    }

    /// How many incidents a queue has by severity, the worst first.
    pub async fn facet_severity(&self, at: At<'_>, queue: &QueueFilter) -> Result<Vec<Facet<Severity>>> {
        let rest = IncidentFilter { severity: None, ..queue.filter().clone() };
        match self.if_known(at, &rest, |rows| rows.by_severity_if_known(&rest)).await {
            Some(facets) => Ok(facets),
            None => at.reader()?.facet_severity(queue).await,
        }
    }

    /// How many incidents a queue has by owner, the busiest first.
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

    /// How many incidents a queue has by tag, the most frequent first.
    pub async fn facet_tags(&self, at: At<'_>, queue: &QueueFilter) -> Result<Vec<Facet<Tag>>> {
        let rest = IncidentFilter { tags: None, ..queue.filter().clone() };
        match self.on_board(at, &rest, |rows| rows.by_tag(&rest)).await {
            Some(facets) => Ok(facets),
            None => at.reader()?.facet_tags(queue).await,
        }
    }

    /// How many incidents a queue has by product, the most frequent first.
    pub async fn facet_product(&self, at: At<'_>, queue: &QueueFilter) -> Result<Vec<Facet<String>>> {
        let rest = IncidentFilter { product: None, ..queue.filter().clone() };
        match self.on_board(at, &rest, |rows| rows.by_product(&rest)).await {
            Some(facets) => Ok(facets),
            None => at.reader()?.facet_product(queue).await,
        }
    }

    /// The numbers of a wall. What was created and resolved is 0 where it is not asked for.
    pub async fn tally(&self, at: At<'_>, filter: &SummaryFilter, since: Instant, numbers: Numbers) -> Result<Tally> {
        let queue = filter.queue().filter();
        let flow = |rows: &Rows| match numbers {
            Numbers::All => rows.created_and_resolved(filter, since),
            Numbers::Open => Some((0, 0)),
        };
        let reader = match at {
            At::Snapshot(reader, _) => reader,
            At::Board(position, accounts) => {
                let tally = self.board_at(&position, accounts, queue, |rows, names| {
                    let (created, resolved) = flow(rows)?;
                    let Portions { portions, oldest } = rows.portions(filter);
                    let portions = portions.into_iter().map(|portion| portion.named(names)).collect();
                    Some(Tally::new(filter.clone(), since, TakenFrom { portions, oldest, created, resolved }))
                });
                return tally.await.flatten().ok_or_else(moved_on);
            }
        };
        let (Portions { portions, oldest }, flow) =
            match self.on_board(at, queue, |rows| (rows.portions(filter), flow(rows))).await {
                Some(known) => known,
                None => return reader.tally(filter, since, 1).await,
            };
        let Some((created, resolved)) = flow else {
            return reader.tally_beside(filter, since, portions, oldest).await;
        };
        let owners = reader.owners(portions.iter().filter_map(|portion| portion.owner)).await?;
        let portions = portions.into_iter().map(|portion| portion.named(&owners)).collect();
        Ok(Tally::new(filter.clone(), since, TakenFrom { portions, oldest, created, resolved }))
    }

    /// Where the board stands by itself, if that is at the end of the log as of now or beyond. None where the board, or the
    /// database, takes longer than the database's own answer would.
    pub async fn board_now(&self) -> Option<(Position, u64)> {
        self.hub.board_now(&self.store, HEAD_WAIT).await
    }

    async fn board_at<T>(
        &self,
        at: &Position,
        accounts: u64,
        filter: &IncidentFilter,
        answer: impl FnOnce(&Rows, &HashMap<OwnerId, Owner>) -> T,
    ) -> Option<T> {
        if !covers(filter) {
            return None;
        }
        let answer = self.hub.board_at(at, accounts, |rows, names| rows.bears(filter).then(|| answer(rows, names)));
        // Nothing else in a read of the board lets others have the thread.
        tokio::task::yield_now().await;
        answer.flatten()
    }

    /// An answer from the board, if its rows are all that a filter may select, at the position of the snapshot.
    async fn on_board<T>(&self, at: At<'_>, filter: &IncidentFilter, answer: impl FnOnce(&Rows) -> T) -> Option<T> {
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

    /// A number from the board, if that knows it at the position of the read, of incidents of whatever status.
    async fn if_known<T>(
        &self,
        at: At<'_>,
        filter: &IncidentFilter,
        answer: impl FnOnce(&Rows) -> Option<T>,
    ) -> Option<T> {
        if !may_count(filter) {
            return None;
        }
        let answer = match at {
            At::Snapshot(_, position) => self.hub.on_board(&position, answer).await,
            At::Board(position, accounts) => self.hub.board_at(&position, accounts, |rows, _| answer(rows)),
        };
        // Nothing else in a read of the board lets others have the thread.
        tokio::task::yield_now().await;
        answer.flatten()
    }
}

impl<'a> At<'a> {
    /// The snapshot.
    fn reader(&self) -> Result<&'a Reader> {
        match self {
            At::Snapshot(reader, _) => Ok(reader),
            At::Board(..) => Err(moved_on()),
        }
    }

    /// The position of what is read.
    pub fn position(&self) -> Position {
        match self {
            At::Snapshot(_, position) | At::Board(position, _) => *position,
        }
    }
}

/// The board does not stand at the position any more, or does not know what is asked for: the whole read has to be done on a
/// snapshot.
fn moved_on() -> Error {
    Error::Busy
}
