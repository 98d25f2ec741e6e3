//! The board: the rows of all open incidents in memory, as of one position of the log. Counts, facets and pages of open
//! queues come from it, so that they cost the same however many incidents the desk has resolved.
//!
//! Invariant: the board is what the database holds at the board's position. It starts from one snapshot, and only the
//! relay moves it on, with the same changes, in the same order, as it hands to the streams. A read beside a snapshot
//! uses the board only at exactly the position of the snapshot. A read without a snapshot takes one position of the
//! board, which is not before the end of the log at the read's arrival. Every other read goes to the database.
//!
//! `rows.rs` holds the rows and their indexes, `census.rs` the numbers of all incidents, `answers.rs` reads both.

mod answers;
mod census;
mod rows;

use std::collections::HashMap;

use parking_lot::RwLock;
use tracing::warn;

use self::census::Census;
pub use self::rows::BoardRows;
use crate::domain::Result;
use crate::domain::account::{Owner, OwnerId};
use crate::domain::alert_log::Logged;
use crate::domain::filter::IncidentFilter;
use crate::domain::position::Position;
use crate::domain::summary::OPEN;
use crate::storage::{Head, Reader, TextKey};

/// The most open incidents on the board if the operator sets no bound. A row takes about 1 KiB, so this is 200 MiB, and
/// ten times the open incidents of a large SOC.
pub const BOARD_INCIDENTS_MAX: usize = 200_000;

/// The most memory that a row may take on average, in bytes. Most rows take half of it; a row with a hundred long tags
/// takes forty times as much.
const ROW_BYTES: usize = 2 << 10;

/// The most long titles that one read of the log adds. They are the few that changes have set since.
const TITLES_READ: usize = 1_000;

/// The rows of one batch while the board is filled.
const LOAD_ROWS: u64 = 5_000;

/// The open incidents at one position, or nothing if there are too many.
#[derive(Debug)]
pub(super) struct Board {
    incidents_max: usize,
    state: RwLock<Option<BoardState>>,
}

#[derive(Debug)]
struct BoardState {
    at: Position,
    rows: BoardRows,
    names: OwnerNames,
}

/// The names of the owners of open incidents, of one snapshot. A row names its owner as of the row's change, and the
/// user may have been renamed since.
#[derive(Debug, Default)]
struct OwnerNames {
    owners: HashMap<OwnerId, Owner>,
    /// The account version of that snapshot; `None` before the first snapshot.
    accounts: Option<u64>,
}

impl Board {
    /// Makes an empty board for at most this many incidents; 0 means that the desk has no board.
    pub(super) fn new(incidents_max: usize) -> Self {
        Self { incidents_max, state: RwLock::default() }
    }

    /// Fills the board from a snapshot whose log ends at `head`.
    pub(super) async fn load(&self, reader: &Reader, head: &Head) -> Result<()> {
        if self.incidents_max == 0 {
            return Ok(());
        }
        let mut rows = BoardRows::default();
        let mut after = None;
        loop {
            let read = reader.open_rows(after, LOAD_ROWS).await?;
            after = read.last().map(|open| open.row.id);
            read.into_iter().for_each(|open| rows.put(open.row, Some(open.title), open.changed));
            if self.is_beyond_bounds(&rows) {
                self.close();
                return Ok(());
            }
            if after.is_none() {
                let state = BoardState { at: head.position(), rows, names: OwnerNames::default() };
                *self.state.write() = Some(state);
                return self.complete(reader, head).await;
            }
        }
    }

    /// Counts all incidents of the snapshot that filled the board, before a change moves the board on.
    pub(super) async fn count(&self, reader: &Reader) -> Result<()> {
        if !self.is_open() {
            return Ok(());
        }
        let census = Census::new(reader.count_all().await?, reader.count_newest_day().await?);
        if let Some(board) = self.state.write().as_mut() {
            board.rows.census = Some(census);
        }
        Ok(())
    }

    /// Moves the board on by the next changes of the log, which end at `at`.
    pub(super) fn follow(&self, changes: &[Logged], at: Position) {
        let mut state = self.state.write();
        let Some(board) = state.as_mut() else { return };
        for change in changes.iter().filter(|change| change.offset() > board.at.offset) {
            // A change of an alert that no incident holds changes no row.
            if let Some(change) = change.of_incident() {
                board.rows.follow(change);
            }
        }
        board.at = at;
        if self.is_beyond_bounds(&board.rows) {
            *state = None;
            drop(state);
            self.close();
        }
    }

    fn is_beyond_bounds(&self, rows: &BoardRows) -> bool {
        rows.len() > self.incidents_max || rows.bytes() > self.incidents_max.saturating_mul(ROW_BYTES)
    }

    fn close(&self) {
        let bound = self.incidents_max;
        warn!(board.incidents_max = bound, "more is open than the board may hold: queues are read from the database");
    }

    /// Reads the missing facts that changes do not carry: the names of owners as of a snapshot, and the long titles
    /// that were set since the board was filled.
    pub(super) async fn complete(&self, reader: &Reader, head: &Head) -> Result<()> {
        self.name(reader, head).await?;
        let untitled: Vec<TextKey> = match self.state.read().as_ref() {
            Some(board) => board.rows.untitled(TITLES_READ),
            None => return Ok(()),
        };
        if untitled.is_empty() {
            return Ok(());
        }
        let starts = reader.long_text_starts(&untitled).await?;
        if let Some(board) = self.state.write().as_mut() {
            starts.iter().for_each(|((incident, _, version), start)| board.rows.give_title(*incident, *version, start));
        }
        Ok(())
    }

    /// Returns whether [`Self::complete`] has nothing to read.
    pub(super) fn is_complete(&self, head: &Head) -> bool {
        let state = self.state.read();
        state
            .as_ref()
            .is_none_or(|board| board.knows_names_of(head.accounts) && board.rows.untitled(TITLES_READ).is_empty())
    }

    async fn name(&self, reader: &Reader, head: &Head) -> Result<()> {
        let owners: Vec<OwnerId> = match self.state.read().as_ref() {
            Some(board) if !board.knows_names_of(head.accounts) => board.rows.owners().collect(),
            _ => return Ok(()),
        };
        let owners = reader.owners(owners).await?;
        if let Some(board) = self.state.write().as_mut() {
            board.names = OwnerNames { owners, accounts: Some(head.accounts) };
        }
        Ok(())
    }

    /// Returns the board's position if it is at or beyond this end of the log, and the board has the owners' names of
    /// that end.
    pub(super) fn beyond(&self, head: &Head) -> Option<Position> {
        let state = self.state.read();
        let board = state.as_ref()?;
        let is_beyond = board.at.epoch == head.epoch && board.at.offset >= head.offset;
        (is_beyond && board.knows_names_of(head.accounts)).then_some(board.at)
    }

    /// Returns whether there is a board.
    pub(super) fn is_open(&self) -> bool {
        self.state.read().is_some()
    }

    /// Answers from the rows and the names of their owners if the board is at exactly this position. Returns `None`
    /// otherwise, or if the board's names are not of the account version `accounts`.
    pub(super) fn read<T>(
        &self,
        at: &Position,
        accounts: Option<u64>,
        answer: impl FnOnce(&BoardRows, &HashMap<OwnerId, Owner>) -> T,
    ) -> Option<T> {
        let state = self.state.read();
        let board = state.as_ref()?;
        let stands = (board.at.epoch, board.at.offset, board.at.check) == (at.epoch, at.offset, at.check);
        let names = accounts.is_none_or(|accounts| board.names.accounts == Some(accounts));
        (stands && names).then(|| answer(&board.rows, &board.names.owners))
    }
}

impl BoardState {
    /// Returns whether the board knows the name of every owner as of this account version.
    fn knows_names_of(&self, accounts: u64) -> bool {
        self.names.accounts == Some(accounts) && self.rows.owners().all(|owner| self.names.owners.contains_key(&owner))
    }
}

/// Returns whether the board holds every row of this filter's queue and every value that the filter asks for: its
/// status conditions admit only `NEW` and `ACTIVE`, and it names no text and no entity.
pub fn covers(filter: &IncidentFilter) -> bool {
    filter.is_only_of(&OPEN) && says_all(filter)
}

/// Returns whether the board may know the number of matches: it covers the queue, or the filter asks only for counted
/// portions.
pub fn may_count(filter: &IncidentFilter) -> bool {
    covers(filter) || filter.asks_for_portions()
}

/// Returns whether the board's rows carry every value that a filter asks for.
fn says_all(filter: &IncidentFilter) -> bool {
    filter.text_count() == 0 && filter.entity_count() == 0
}
