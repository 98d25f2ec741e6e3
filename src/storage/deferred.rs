//! Deferred writes: rows that commands of a transaction have written and that no statement has sent yet.
//!
//! The rows of a table are sent together, so thirty commands of a batch need few statements. A command that defers all
//! its writes needs no savepoint: if it is refused, its rows are forgotten. The rules:
//! - A statement that may read or write these tables is sent after the rows. The transaction takes care of it. Only a
//!   statement that does not use these tables may go by [`Apart`](super::transaction::Apart).
//! - The rows of a refused command are never sent, or they are rolled back to the command's savepoint.
//! - A row is sent after the rows that it refers to.

use std::collections::BTreeMap;

use sea_orm::prelude::Uuid;
use sea_orm::{DbBackend, EntityName, EntityTrait, Statement, Value};

use super::rows::{self, lots};

/// The most deferred rows; at this number they are sent. It bounds the memory of a transaction, and a batch has fewer
/// rows.
const ROWS_MAX: usize = 256;

/// The most rows of one statement. A statement takes 16, 8, 4, 2 or 1 rows, so a connection keeps five prepared
/// statements for each table, not one for each number of rows.
const ROWS_PER_STATEMENT: usize = 16;

/// The deferred rows of a transaction.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    /// The rows of commands that have ended.
    earlier: DeferredRows,
    /// The rows of the current command.
    own: DeferredRows,
    /// The counter of incident numbers, if this transaction has locked it.
    numbers: Option<LockedCounter>,
    /// The counter when the current command began.
    numbers_before: Option<LockedCounter>,
    /// Whether the current command joined a transaction that another command had begun.
    joined: bool,
}

#[derive(Debug, Default)]
struct DeferredRows {
    new: Vec<NewRow>,
    changed: Vec<ChangedRow>,
}

/// A row to insert.
#[derive(Debug)]
pub(super) struct NewRow {
    table: Table,
    /// The values of the columns, in the order of the columns.
    values: Vec<Value>,
}

/// New values for columns of a locked row.
#[derive(Debug)]
pub(super) struct ChangedRow {
    table: Table,
    id: Uuid,
    /// The incident of the row, or the incident that holds the alert.
    incident: Uuid,
    columns: Vec<&'static str>,
    values: Vec<Value>,
}

/// A table whose rows may be deferred. Tables are sent in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    Incident,
    Alert,
    Comment,
    CommentRevision,
}

/// The locked counter: the last number that was given, and the number that its row holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LockedCounter {
    last: i64,
    stored: i64,
}

impl NewRow {
    pub(super) fn of<E: EntityTrait>(table: Table, model: &E::Model) -> Self {
        Self { table, values: rows::values::<E>(model) }
    }
}

impl ChangedRow {
    pub(super) fn of_incident(id: Uuid, columns: Vec<&'static str>, values: Vec<Value>) -> Self {
        Self { table: Table::Incident, id, incident: id, columns, values }
    }

    /// Changes an alert's owner and time. Statements that read no other column are sent before such rows.
    pub(super) fn of_alert(id: Uuid, incident: Uuid, columns: Vec<&'static str>, values: Vec<Value>) -> Self {
        Self { table: Table::Alert, id, incident, columns, values }
    }

    pub(super) fn row(&self) -> (Table, Uuid) {
        (self.table, self.id)
    }
}

impl Table {
    fn name(self) -> &'static str {
        match self {
            Self::Incident => super::incident::row::Entity.table_name(),
            Self::Alert => super::alert::row::Entity.table_name(),
            Self::Comment => super::comment::row::Entity.table_name(),
            Self::CommentRevision => super::comment::revision::Entity.table_name(),
        }
    }

    fn insert(self, backend: DbBackend, rows: Vec<Vec<Value>>) -> Statement {
        match self {
            Self::Incident => rows::insert::<super::incident::row::Entity>(backend, rows),
            Self::Alert => rows::insert::<super::alert::row::Entity>(backend, rows),
            Self::Comment => rows::insert::<super::comment::row::Entity>(backend, rows),
            Self::CommentRevision => rows::insert::<super::comment::revision::Entity>(backend, rows),
        }
    }
}

impl Deferred {
    pub(super) fn insert(&mut self, row: NewRow) {
        self.own.new.push(row);
    }

    pub(super) fn change(&mut self, row: ChangedRow) {
        self.own.changed.push(row);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.earlier.is_empty() && self.own.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.earlier.len() + self.own.len() >= ROWS_MAX
    }

    /// Whether the row of one of these incidents is deferred.
    pub(super) fn holds_any(&self, incidents: &[Uuid]) -> bool {
        self.rows().any(|rows| incidents.iter().any(|id| rows.holds((Table::Incident, *id))))
    }

    /// Whether this row is deferred.
    pub(super) fn holds(&self, row: (Table, Uuid)) -> bool {
        self.rows().any(|rows| rows.holds(row))
    }

    /// Whether the row of an alert of this incident is deferred.
    pub(super) fn holds_alerts_of(&self, incident: Uuid) -> bool {
        self.rows().flat_map(|rows| &rows.changed).any(|row| row.table == Table::Alert && row.incident == incident)
    }

    fn rows(&self) -> impl Iterator<Item = &DeferredRows> {
        [&self.earlier, &self.own].into_iter()
    }

    /// Returns the next number if the counter is locked.
    pub(super) fn next_number(&mut self) -> Option<i64> {
        let numbers = self.numbers.as_mut()?;
        numbers.last += 1;
        Some(numbers.last)
    }

    /// Notes that the counter is locked, and the number in its row.
    pub(super) fn lock_numbers(&mut self, stored: i64) {
        self.numbers = Some(LockedCounter { last: stored, stored });
    }

    /// Returns the counter's state, to which [`Self::take_back`] returns.
    pub(super) fn numbers(&self) -> Option<LockedCounter> {
        self.numbers
    }

    /// Returns the number to store if it differs from the counter's row, and counts it as stored from now on.
    pub(super) fn take_number(&mut self) -> Option<i64> {
        let numbers = self.numbers.as_mut().filter(|numbers| numbers.last != numbers.stored)?;
        numbers.stored = numbers.last;
        Some(numbers.last)
    }

    /// Begins a further command: the rows so far belong to earlier commands.
    pub(super) fn begin_command(&mut self) {
        self.joined = true;
        self.end_command();
    }

    /// Ends the last command.
    pub(super) fn end_commands(&mut self) {
        self.joined = false;
        self.end_command();
    }

    pub(super) fn is_joined(&self) -> bool {
        self.joined
    }

    fn end_command(&mut self) {
        let own = std::mem::take(&mut self.own);
        self.earlier.new.extend(own.new);
        self.earlier.changed.extend(own.changed);
        self.numbers_before = self.numbers;
    }

    /// Forgets the current command's rows and numbers. If the command took the counter's lock and keeps it (`locked`),
    /// the counter stays usable from its stored number.
    pub(super) fn take_back_command(&mut self, locked: bool) {
        let before = match (self.numbers_before, self.numbers) {
            (None, Some(numbers)) if locked => Some(LockedCounter { last: numbers.stored, ..numbers }),
            (before, _) => before,
        };
        self.take_back(before);
    }

    /// Forgets the current command's rows that no statement has sent, and returns the counter to `numbers`.
    pub(super) fn take_back(&mut self, numbers: Option<LockedCounter>) {
        self.own = DeferredRows::default();
        self.numbers = numbers;
    }

    /// Returns the statements that write the rows of earlier commands, and forgets the rows.
    pub(super) fn take_earlier(&mut self, backend: DbBackend) -> Vec<Statement> {
        std::mem::take(&mut self.earlier).statements(backend)
    }

    /// Returns the statements that write the rows of the current command, and forgets the rows.
    pub(super) fn take_own(&mut self, backend: DbBackend) -> Vec<Statement> {
        std::mem::take(&mut self.own).statements(backend)
    }
}

impl DeferredRows {
    fn is_empty(&self) -> bool {
        self.new.is_empty() && self.changed.is_empty()
    }

    fn len(&self) -> usize {
        self.new.len() + self.changed.len()
    }

    fn holds(&self, row: (Table, Uuid)) -> bool {
        let new = self.new.iter().filter(|new| new.table == row.0);
        // The first column is the id.
        let mut new = new.filter_map(|new| match new.values.first() {
            Some(Value::Uuid(id)) => id.as_ref(),
            _ => None,
        });
        new.any(|id| *id == row.1) || self.changed.iter().any(|changed| changed.row() == row)
    }

    fn statements(self, backend: DbBackend) -> Vec<Statement> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut tables: BTreeMap<Table, Vec<Vec<Value>>> = BTreeMap::new();
        for NewRow { table, values } in self.new {
            tables.entry(table).or_default().push(values);
        }
        let mut statements = Vec::new();
        for (table, rows) in tables {
            lots(rows, ROWS_PER_STATEMENT, |rows| statements.push(table.insert(backend, rows)));
        }
        let mut changes: BTreeMap<(Table, Vec<&'static str>), Vec<Vec<Value>>> = BTreeMap::new();
        for ChangedRow { table, id, columns, mut values, .. } in self.changed {
            values.insert(0, id.into());
            changes.entry((table, columns)).or_default().push(values);
        }
        // SQLite needs no message for a statement, so each row has its own statement.
        let rows_max = if backend == DbBackend::Postgres { ROWS_PER_STATEMENT } else { 1 };
        for ((table, columns), rows) in changes {
            lots(rows, rows_max, |rows| statements.push(rows::update(backend, table.name(), &columns, rows)));
        }
        statements
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_refused_command_are_given_again() {
        let mut deferred = Deferred::default();
        assert_eq!(deferred.next_number(), None, "the counter is not locked");
        deferred.begin_command();
        deferred.lock_numbers(7);
        assert_eq!(deferred.next_number(), Some(8));
        deferred.take_back_command(true);
        assert_eq!(deferred.next_number(), Some(8));
        deferred.begin_command();
        assert_eq!((deferred.next_number(), deferred.next_number()), (Some(9), Some(10)));
        deferred.take_back_command(false);
        assert_eq!(deferred.next_number(), Some(9), "an earlier command has locked it");
        assert_eq!((deferred.take_number(), deferred.take_number()), (Some(9), None));
        deferred.begin_command();
        deferred.take_back_command(false);
        assert_eq!(deferred.take_number(), None);
    }

    #[test]
    fn a_counter_that_a_savepoint_has_let_go_is_locked_again() {
        let mut deferred = Deferred::default();
        deferred.begin_command();
        deferred.lock_numbers(7);
        assert_eq!(deferred.next_number(), Some(8));
        deferred.take_back_command(false);
        assert_eq!(deferred.next_number(), None);
    }
}
