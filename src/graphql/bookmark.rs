//! Bookmarks: results of a hunt, pinned to an incident.

use async_graphql::connection::{Connection, Edge, EmptyFields};
use async_graphql::{Context, ID, InputObject, Json, Object, SimpleObject};

use super::account::Actor;
use super::alert::{Entity, EntityInput};
use super::call::Call;
use super::connection::{PageArgs, cut, read_id, wider};
use super::context::View;
use super::incident::Incident;
use super::input::incident_id;
use super::loaders::{BookmarkCount, BookmarksAtEnd, RowsOf};
use crate::app::bookmark::BookmarkOutcome;
use crate::domain::bookmark::{Bookmark as DomainBookmark, Finding, Rows};
use crate::domain::instant::past;
use crate::domain::{BookmarkId, Error, IncidentId, Instant, Result};

/// The rows of a result: what a client sends is what it gets, in the same order.
type RowsJson = Json<async_graphql::Value>;

/// A result of a hunt, pinned to an incident by hand.
pub struct Bookmark {
    /// Where its rows and incident are read.
    pub view: View,
    /// The bookmark.
    pub bookmark: DomainBookmark,
}

/// A result of a hunt, pinned to an incident by hand.
#[Object]
impl Bookmark {
    /// Its global id.
    pub(crate) async fn id(&self) -> ID {
        self.bookmark.id.to_string().into()
    }

    /// The incident it is pinned to.
    async fn incident(&self) -> Result<Incident> {
        let incident = self.view.incident(self.bookmark.incident).await?;
        let incident = incident.ok_or_else(|| Error::not_found("incident", self.bookmark.incident))?;
        Ok(Incident::new(self.view.clone(), incident))
    }

    /// What it is, in a line.
    async fn title(&self) -> &str {
        &self.bookmark.finding.title
    }

    /// The query that found it.
    async fn query(&self) -> Option<&str> {
        self.bookmark.finding.query.as_deref()
    }

    /// The result rows as they were given: an array of objects.
    async fn rows(&self) -> Result<RowsJson> {
        let rows = self.view.load(RowsOf(self.bookmark.id)).await?;
        let rows = rows.ok_or_else(|| Error::fault("reading a bookmark's rows", "they are missing"))?;
        serde_json::from_str(&rows).map(Json).map_err(|error| Error::fault("reading a bookmark's rows", error))
    }

    /// The things that it names. They are shown here only: an incident's entities come from its alerts.
    async fn entities(&self) -> Vec<Entity> {
        self.bookmark.finding.entities.iter().cloned().map(Entity::from).collect()
    }

    /// What to make of it.
    async fn note(&self) -> Option<&str> {
        self.bookmark.finding.note.as_deref()
    }

    /// When what it shows happened.
    async fn event_at(&self) -> Option<Instant> {
        self.bookmark.finding.event_at
    }

    /// Who pinned it.
    async fn author(&self) -> Actor {
        self.bookmark.author.clone().into()
    }

    /// When it was pinned.
    async fn created_at(&self) -> Instant {
        self.bookmark.created_at
    }

    /// When it was taken away, if it was.
    async fn removed_at(&self) -> Option<Instant> {
        self.bookmark.removed_at
    }
}

/// What a list of bookmarks says beside its items.
pub struct BookmarkConnectionFields {
    view: View,
    incident: IncidentId,
}

/// What a list of bookmarks says beside its items.
#[Object]
impl BookmarkConnectionFields {
    /// How many bookmarks stand on the incident, exactly.
    async fn total_count(&self) -> Result<u64> {
        Ok(self.view.load(BookmarkCount(self.incident)).await?.unwrap_or(0))
    }
}

/// A page of an incident's bookmarks.
pub type BookmarkConnection = Connection<String, Bookmark, BookmarkConnectionFields, EmptyFields>;

/// Reads a page of an incident's bookmarks.
pub async fn page(view: &View, incident: IncidentId, args: &PageArgs) -> Result<BookmarkConnection> {
    let key = |cursor: &str| BookmarkId::parse(cursor);
    let span = args.span(view.page_items_max(), key)?;
    let mut bookmarks = match args.at_end(view.page_items_max())? {
        // The first pages of several incidents in one list are read together.
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

/// A result of a hunt to pin.
#[derive(Debug, InputObject)]
pub struct AddBookmarkInput {
    /// The incident, by global id.
    incident_id: ID,
    /// What it is, in a line: at most 200 characters.
    title: String,
    /// The query that found it: at most 10,000 characters.
    query: Option<String>,
    /// The result rows: an array of at most 1,000 objects, in at most 256 KiB. Kept and given back as they are.
    rows: RowsJson,
    /// The things that it names, at most 500.
    #[graphql(default)]
    entities: Vec<EntityInput>,
    /// What to make of it: at most 30,000 characters.
    note: Option<String>,
    /// When what it shows happened: at most 5 minutes in the future.
    event_at: Option<Instant>,
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
}

impl AddBookmarkInput {
    /// The incident, what was found, and its rows, at this time of the desk.
    pub fn read(self, now: Instant) -> Result<(IncidentId, Finding, Rows)> {
        let entities = self.entities.iter().map(|entity| entity.read("entities.value"));
        let finding = Finding {
            title: self.title,
            query: self.query,
            note: self.note,
            entities: entities.collect::<Result<_>>()?,
            event_at: self.event_at.map(|at| past("eventAt", at, now)).transpose()?,
        };
        let rows = serde_json::to_string(&self.rows.0).map_err(|error| Error::fault("reading a result", error))?;
        Ok((incident_id("incidentId", &self.incident_id)?, finding.checked()?, Rows::parse("rows", rows)?))
    }
}

/// The bookmark to take away.
#[derive(Debug, InputObject)]
pub struct RemoveBookmarkInput {
    /// The bookmark, by global id.
    pub bookmark_id: ID,
    /// What it is called, and its key.
    #[graphql(flatten)]
    pub call: Call,
}

/// Reads the id of a bookmark.
pub fn bookmark_id(path: &str, id: &ID) -> Result<BookmarkId> {
    read_id(path, id, BookmarkId::WORD, BookmarkId::parse)
}

/// What a mutation on a bookmark did.
#[derive(SimpleObject)]
pub struct BookmarkPayload {
    /// The bookmark after it.
    bookmark: Bookmark,
    /// The incident it is pinned to.
    incident: Incident,
    /// The end of the log after it.
    position: String,
    /// What the client called it.
    client_mutation_id: Option<String>,
    /// Whether an earlier call under the same idempotency key did it: this one changed nothing.
    replayed: bool,
}

impl BookmarkPayload {
    /// What a command answers.
    pub fn new(ctx: &Context<'_>, done: BookmarkOutcome, call: Call) -> Result<Self> {
        let view = View::fresh(ctx)?;
        Ok(Self {
            bookmark: Bookmark { view: view.clone(), bookmark: done.bookmark },
            incident: Incident::new(view, done.outcome.incident),
            position: done.outcome.position.to_string(),
            client_mutation_id: call.client_mutation_id,
            replayed: done.outcome.replayed,
        })
    }
}
