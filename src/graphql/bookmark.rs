//! Bookmarks: results of a hunt that are pinned to an incident.

use async_graphql::connection::{Connection, Edge, EmptyFields};
use async_graphql::{ID, InputObject, Object, SimpleObject};

use super::account::Actor;
use super::alert::{Entity, EntityInput};
use super::call::Call;
use super::connection::{PageArgs, cut, read_id, wider};
use super::context::View;
use super::incident::Incident;
use super::input::incident_id;
use super::json::JsonText;
use super::loaders::{BookmarkCount, BookmarksAtEnd, RowsOf};
use super::payload::{MutationReceipt, Payload};
use crate::app::bookmark::Pinned;
use crate::domain::bookmark::{Bookmark as DomainBookmark, Finding, ResultRows};
use crate::domain::instant::past;
use crate::domain::path::each;
use crate::domain::{BookmarkId, Error, IncidentId, Instant, Result};

/// A bookmark: a result of a hunt that a person has pinned to an incident.
pub(super) struct Bookmark {
    /// The view through which its rows and its incident are read.
    pub view: View,
    /// The bookmark as it is stored.
    pub bookmark: DomainBookmark,
}

/// A bookmark: a result of a hunt that a person has pinned to an incident.
#[Object]
impl Bookmark {
    /// The global id of the bookmark.
    pub(crate) async fn id(&self) -> ID {
        self.bookmark.id.to_string().into()
    }

    /// The incident that the bookmark is pinned to.
    async fn incident(&self) -> Result<Incident> {
        let incident = Incident::find(&self.view, self.bookmark.incident).await?;
        incident.ok_or_else(|| Error::not_found("incident", self.bookmark.incident))
    }

    /// The title of the bookmark.
    async fn title(&self) -> &str {
        &self.bookmark.finding.title
    }

    /// The query that found the result.
    async fn query(&self) -> Option<&str> {
        self.bookmark.finding.query.as_deref()
    }

    /// The result rows exactly as they were sent: an array of objects. Numbers keep their digits, objects keep the
    /// order of their keys, and texts keep their escapes. Only whitespace between values is left out.
    async fn rows(&self) -> Result<JsonText> {
        let rows = self.view.load(RowsOf(self.bookmark.id)).await?;
        rows.map(JsonText).ok_or_else(|| Error::fault("reading a bookmark's rows", "they are missing"))
    }

    /// The entities of the result. They are shown only here: the entities of an incident come from its alerts.
    async fn entities(&self) -> Vec<Entity> {
        self.bookmark.finding.entities.iter().cloned().map(Entity::from).collect()
    }

    /// The note of the person who pinned the result.
    async fn note(&self) -> Option<&str> {
        self.bookmark.finding.note.as_deref()
    }

    /// When the event of the result happened.
    async fn event_at(&self) -> Option<Instant> {
        self.bookmark.finding.event_at
    }

    /// The actor who pinned the result.
    async fn author(&self) -> Actor {
        self.bookmark.author.clone().into()
    }

    /// When the bookmark was pinned.
    async fn created_at(&self) -> Instant {
        self.bookmark.created_at
    }

    /// When the bookmark was removed; null if it was not.
    async fn removed_at(&self) -> Option<Instant> {
        self.bookmark.removed_at
    }
}

/// The fields of a list of bookmarks beside its items.
pub(super) struct BookmarkConnectionFields {
    view: View,
    incident: IncidentId,
}

/// The fields of a list of bookmarks beside its items.
#[Object]
impl BookmarkConnectionFields {
    /// The exact number of bookmarks of the incident that are not removed.
    async fn total_count(&self) -> Result<u64> {
        Ok(self.view.load(BookmarkCount(self.incident)).await?.unwrap_or(0))
    }
}

/// A page of an incident's bookmarks.
pub(super) type BookmarkConnection = Connection<String, Bookmark, BookmarkConnectionFields, EmptyFields>;

/// Reads a page of an incident's bookmarks.
pub(super) async fn page(view: &View, incident: IncidentId, args: &PageArgs) -> Result<BookmarkConnection> {
    let key = |cursor: &str| BookmarkId::parse(cursor);
    let span = args.span(view.page_items_max(), key)?;
    let mut bookmarks = match args.at_end(view.page_items_max())? {
        // The first pages of all incidents of one list are read by one statement.
        Some(end) => view.load(BookmarksAtEnd(incident, wider(end))).await?.unwrap_or_default(),
        None => view.reader().await?.bookmarks_page(incident, wider(span)).await?,
    };
    let more = cut(&mut bookmarks, span.limit, span.from_end);
    let (before, after) = super::incident::ends(&span, more);
    let fields = BookmarkConnectionFields { view: view.clone(), incident };
    let mut page = Connection::with_additional_fields(before, after, fields);
    page.edges.extend(
        bookmarks
            .into_iter()
            .map(|bookmark| Edge::new(bookmark.id.to_string(), Bookmark { view: view.clone(), bookmark })),
    );
    Ok(page)
}

/// The input of `addBookmark`.
#[derive(Debug, InputObject)]
pub(super) struct AddBookmarkInput {
    /// The global id of the incident.
    incident_id: ID,
    /// The title of the bookmark: at most 200 characters.
    title: String,
    /// The query that found the result: at most 10,000 characters.
    query: Option<String>,
    /// The result rows: an array of at most 1,000 objects, in at most 256 KiB of JSON. The desk returns them exactly as
    /// sent in a variable, also `123456789012345678901234567890` and `0.1000`. Only whitespace between values is left
    /// out.
    rows: JsonText,
    /// The entities of the result, at most 500.
    #[graphql(default)]
    entities: Vec<EntityInput>,
    /// A note on the result: at most 30,000 characters.
    note: Option<String>,
    /// When the event of the result happened: at most 5 minutes in the future.
    event_at: Option<Instant>,
    /// The `clientMutationId` and the idempotency key.
    #[graphql(flatten)]
    pub call: Call,
}

impl AddBookmarkInput {
    /// Reads the incident, the result and its rows. `now` is the time of the desk, against which `eventAt` is checked.
    pub(super) fn read(self, now: Instant) -> Result<(IncidentId, Finding, ResultRows)> {
        let entities = each("entities", &self.entities, |path, entity| entity.read(path))?;
        let finding = Finding {
            title: self.title,
            query: self.query,
            note: self.note,
            entities,
            event_at: self.event_at.map(|at| past("eventAt", at, now)).transpose()?,
        };
        let rows = ResultRows::parse("rows", &self.rows.0)?;
        Ok((incident_id("incidentId", &self.incident_id)?, finding.checked()?, rows))
    }
}

/// The input of `removeBookmark`.
#[derive(Debug, InputObject)]
pub(super) struct RemoveBookmarkInput {
    /// The global id of the bookmark.
    pub bookmark_id: ID,
    /// The `clientMutationId` and the idempotency key.
    #[graphql(flatten)]
    pub call: Call,
}

/// Reads the id of a bookmark.
pub(super) fn bookmark_id(path: &str, id: &ID) -> Result<BookmarkId> {
    read_id(path, id, BookmarkId::WORD, BookmarkId::parse)
}

/// The result of a mutation on a bookmark.
#[derive(SimpleObject)]
pub(super) struct BookmarkPayload {
    /// The bookmark after the mutation.
    bookmark: Bookmark,
    /// The incident that the bookmark is pinned to.
    incident: Incident,
    /// The end of the log after the mutation, whether it changed anything, and how the client called it.
    #[graphql(flatten)]
    receipt: MutationReceipt,
}

impl Payload for BookmarkPayload {
    type Value = Pinned;

    fn new(view: View, Pinned { bookmark, incident }: Pinned, receipt: MutationReceipt) -> Self {
        Self { bookmark: Bookmark { view: view.clone(), bookmark }, incident: Incident::new(view, incident), receipt }
    }
}
