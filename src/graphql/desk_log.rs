//! The log of the desk: the changes of all incidents, by actor and time.

use async_graphql::ID;
use async_graphql::connection::{Connection, ConnectionNameType, Edge, EmptyFields};

use super::activity::Change;
use super::connection::{PageArgs, cut, read_id, wider};
use super::context::View;
use super::incident::ends;
use crate::domain::account::Role;
use crate::domain::activity::ToldChange;
use crate::domain::instant::parse as instant;
use crate::domain::{Instant, Result, UserId};
use crate::storage::{DeskLogFilter, LogPlace};

/// The name of the connection. Its edges are those of an activity log.
pub(super) struct DeskLogName;

impl ConnectionNameType for DeskLogName {
    fn type_name<T: async_graphql::OutputType>() -> String {
        "DeskLogConnection".to_owned()
    }
}

/// A page of the log of the desk.
pub(super) type DeskLogConnection = Connection<String, Change, EmptyFields, EmptyFields, DeskLogName>;

/// The arguments by which changes are chosen.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// The global id of the user who made the changes.
    pub actor: Option<ID>,
    /// The first instant of the changes.
    pub from: Option<Instant>,
    /// The first instant after the changes.
    pub to: Option<Instant>,
}

/// Reads a page of the log, newest first.
pub(super) async fn page(view: &View, chosen: Chosen, args: &PageArgs) -> Result<DeskLogConnection> {
    let actor = chosen.actor.map(|id| read_id("actor", &id, UserId::WORD, UserId::parse));
    let filter = DeskLogFilter {
        actor: actor.transpose()?,
        from: chosen.from.map(|at| instant("from", at)).transpose()?,
        to: chosen.to.map(|at| instant("to", at)).transpose()?,
        shows_deleted: view.viewer().user.role >= Role::Manager,
    };
    let span = args.span(view.page_items_max(), place)?;
    let mut changes = view.reader().await?.desk_log(&filter, wider(span)).await?;
    let more = cut(&mut changes, span.limit, span.from_end);
    let (before, after) = ends(&span, more);
    let mut page = Connection::new(before, after);
    page.edges.extend(changes.into_iter().map(|change| Edge::new(cursor(&change), Change::new(view.clone(), change))));
    Ok(page)
}

fn cursor(change: &ToldChange) -> String {
    written(&LogPlace { at: change.body.at, offset: change.offset })
}

fn written(place: &LogPlace) -> String {
    format!("{}.{}", place.at.timestamp_micros(), place.offset)
}

fn place(cursor: &str) -> Option<LogPlace> {
    let (at, offset) = cursor.split_once('.')?;
    let at = instant("after", Instant::from_timestamp_micros(at.parse().ok()?)?).ok()?;
    let place = LogPlace { at, offset: offset.parse().ok()? };
    (written(&place) == cursor && i64::try_from(place.offset).is_ok()).then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let at = "2026-11-23T08:00:00.000001Z".parse().expect("an instant");
        let known = LogPlace { at, offset: 7 };
        assert_eq!(place(&written(&known)), Some(known));
        for text in
            ["", "1", "1.", ".7", "1.07", "01.7", "1.-7", "x.7", "1.18446744073709551615", "9223372036854775807.1"]
        {
            assert_eq!(place(text), None, "{text}");
        }
    }
}
