//! Incidents in their present state, and pages of a queue.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Deref;

use async_graphql::connection::{Connection, CursorType, Edge, EmptyFields};
use async_graphql::{ID, Object, SimpleObject};

use super::account::{Actor, Owner};
use super::activity::{ActivityInput, Change, ChangeConnection};
use super::alert::{AlertConnection, EntityGroup, IncidentEntity};
use super::at_once::{AtHand, AtOnce};
use super::attachment::Attachment;
use super::bookmark::BookmarkConnection;
use super::comment::Comment;
use super::connection::{PageArgs, cut, wider};
use super::context::View;
use super::loaders::{AttachmentsOf, ChangesAtEnd, CommentsAtEnd, Entities};
use super::page::RequestedPage;
use super::queue::{IncidentFields, Tag};
use super::searches::Search;
use super::similar::{SimilarIncident, similar};
use crate::app;
use crate::app::queue::Listed;
use crate::domain::activity::ToldChange;
use crate::domain::comment::CommentPlace;
use crate::domain::filter::{IncidentOrder, QueueFilter};
use crate::domain::incident::{Incident as DomainIncident, Severity, Status};
use crate::domain::queue::QueueRow;
use crate::domain::{Error, IncidentId, Instant, Result, title};
use crate::storage::{ActivityFilter, AlertFilter, Cursor, Facet, IncidentLists, PageRequest, Span};

/// The most entities that one request may ask of an incident.
const ENTITIES_MAX: i32 = 1_000;

/// The resolution of an incident.
#[derive(SimpleObject)]
pub(super) struct Resolution {
    /// The resolution note.
    pub(super) note: Option<String>,
    /// When the incident was resolved.
    pub(super) at: Instant,
    /// The actor who resolved the incident.
    pub(super) by: Actor,
}

/// An incident: the case that an analyst works on, in its present state.
pub(super) struct Incident {
    view: View,
    id: IncidentId,
    /// `None` if the request asks only for fields of the row.
    incident: Option<Box<DomainIncident>>,
    fields: Box<IncidentFields>,
}

impl Incident {
    /// Builds an incident that is read through `view`.
    pub(super) fn new(view: View, incident: DomainIncident) -> Self {
        let fields = Box::new(IncidentFields::new(incident.row_to_show(), title::ShownTitle::of(&incident.title)));
        Self { view, id: incident.id, incident: Some(Box::new(incident)), fields }
    }

    /// Builds an incident from its row alone, for a request that asks only for fields of rows ([`FromBoard`]).
    ///
    /// [`FromBoard`]: super::context::FromBoard
    fn of_row(view: View, row: QueueRow, title: title::ShownTitle) -> Self {
        Self { view, id: row.id, incident: None, fields: Box::new(IncidentFields::new(row, title)) }
    }

    /// Reads the incident with this id. `None` if it is deleted, or if the viewer may not see it.
    pub(super) async fn find(view: &View, id: IncidentId) -> Result<Option<Self>> {
        Ok(view.incident(id).await?.map(|incident| Self::new(view.clone(), incident)))
    }

    /// Returns the whole incident; a fault if only the row was read.
    fn whole(&self) -> Result<&DomainIncident> {
        let whole = self.incident.as_deref();
        whole.ok_or_else(|| Error::fault("reading an incident", "its row alone was read"))
    }
}

impl AtHand for Incident {
    type Fields = IncidentFields;

    fn at_hand(&self) -> &IncidentFields {
        &self.fields
    }
}

impl Deref for Incident {
    type Target = IncidentFields;

    fn deref(&self) -> &IncidentFields {
        &self.fields
    }
}

/// An incident: the case that an analyst works on, in its present state.
#[Object]
impl Incident {
    /// The fields that a queue shows.
    #[graphql(flatten)]
    async fn fields(&self) -> &IncidentFields {
        &self.fields
    }

    /// The description of the incident, at most 5,000 characters.
    async fn description(&self) -> Result<Option<&str>> {
        Ok(self.whole()?.description.as_deref())
    }

    /// The whole title. Only the size of a request (by default 2 MiB) limits its length, so ask for it only if
    /// `titleTruncated` is true.
    async fn full_title(&self) -> Result<Cow<'_, str>> {
        let start = &self.whole()?.title;
        if !title::may_go_on(start) {
            return Ok(Cow::Borrowed(start));
        }
        // Titles are read one at a time, not for a whole page together: a title may have two megabytes.
        let whole = self.view.reader().await?.whole_title(self.id).await?;
        whole.map(Cow::Owned).ok_or_else(|| Error::not_found("incident", self.id))
    }

    /// Whether the desk generated the title from the alerts. A generated title changes with the alerts; a title that a
    /// person wrote does not.
    async fn title_generated(&self) -> Result<bool> {
        Ok(self.whole()?.title_generated)
    }

    /// The resolution; null unless the status is `RESOLVED`.
    async fn resolution(&self) -> Result<Option<Resolution>> {
        let resolution = self.whole()?.resolution.clone();
        Ok(resolution.map(|it| Resolution { note: it.note, at: it.at, by: it.by.into() }))
    }

    /// The incident that this incident was merged into, in its present state; that incident may have been merged
    /// further. Null if this incident was not merged, or if the other incident is deleted.
    async fn redirected_to(&self) -> Result<Option<Incident>> {
        match self.whole()?.redirected_to {
            Some(target) => Self::find(&self.view, target).await,
            None => Ok(None),
        }
    }

    /// The alerts of the incident, in the order in which they came in.
    async fn alerts(
        &self,
        #[graphql(desc = "How many items from the start of the list; at most 100, by default 50.")] first: Option<i32>,
        #[graphql(desc = "Only items after this cursor of the same list.")] after: Option<String>,
        #[graphql(desc = "How many items from the end of the list; at most 100.")] last: Option<i32>,
        #[graphql(desc = "Only items before this cursor of the same list.")] before: Option<String>,
    ) -> Result<AlertConnection> {
        let filter = AlertFilter { incident: Some(self.id), ..AlertFilter::default() };
        super::alert::page(&self.view, filter, PageArgs { first, after, last, before }).await
    }

    /// The entities that the alerts of the incident name, grouped by kind. They are ordered by verdict (the worst
    /// first), then by the number of alerts that name them (the highest first). At most 1,000 in all.
    async fn entities(
        &self,
        #[graphql(default = 100, desc = "How many entities; 0 to 1,000.")] first: i32,
    ) -> Result<Vec<EntityGroup>> {
        if !(0..=ENTITIES_MAX).contains(&first) {
            let message = format!("an incident shows 0 to {ENTITIES_MAX} entities at once");
            return Err(Error::limit("first", message, ENTITIES_MAX as usize));
        }
        let entities = self.view.load(Entities(self.id, first as u64)).await?.unwrap_or_default();
        let mut groups: BTreeMap<_, Vec<IncidentEntity>> = BTreeMap::new();
        for entity in entities {
            groups.entry(entity.kind).or_default().push(entity.into());
        }
        Ok(groups.into_iter().map(|(kind, entities)| EntityGroup { kind, entities }).collect())
    }

    /// Other incidents that share entities with this incident, ordered by status (open first), then by `score` (the
    /// highest first), then by age (the newest first). Only the first 100 entities of `entities` are compared, and an
    /// entity that more than 100 other incidents hold is ignored.
    async fn similar(
        &self,
        #[graphql(default = 20, desc = "How many incidents; 0 to 20.")] first: i32,
    ) -> Result<Vec<SimilarIncident>> {
        similar(&self.view, self.id, first).await
    }

    /// The comments, oldest first. Deleted comments are left out.
    async fn comments(
        &self,
        #[graphql(desc = "How many items from the start of the list; at most 100, by default 50.")] first: Option<i32>,
        #[graphql(desc = "Only items after this cursor of the same list.")] after: Option<String>,
        #[graphql(desc = "How many items from the end of the list; at most 100.")] last: Option<i32>,
        #[graphql(desc = "Only items before this cursor of the same list.")] before: Option<String>,
    ) -> Result<CommentConnection> {
        let args = PageArgs { first, after, last, before };
        let (comments, ends) = self.comment_page(&args).await?;
        let fields = CommentConnectionFields { total_count: self.whole()?.comment_count };
        let mut page = Connection::with_additional_fields(ends.0, ends.1, fields);
        page.edges.extend(
            comments
                .into_iter()
                .map(|comment| (CommentPlace::of(&comment).to_string(), Comment { view: self.view.clone(), comment }))
                .map(|(place, comment)| Edge::new(place, comment)),
        );
        Ok(page)
    }

    /// The images that were uploaded to the incident, oldest first, including images that no comment shows. At most 200
    /// are uploaded to an incident; a merge may bring more together.
    async fn attachments(&self) -> Result<Vec<Attachment>> {
        let attachments = self.view.load(AttachmentsOf(self.id)).await?.unwrap_or_default();
        let attachments = attachments.into_iter();
        Ok(attachments.map(|attachment| Attachment { view: self.view.clone(), attachment }).collect())
    }

    /// The bookmarks (pinned results of a hunt), in the order in which they were pinned. Removed bookmarks are left
    /// out.
    async fn bookmarks(
        &self,
        #[graphql(desc = "How many items from the start of the list; at most 100, by default 50.")] first: Option<i32>,
        #[graphql(desc = "Only items after this cursor of the same list.")] after: Option<String>,
        #[graphql(desc = "How many items from the end of the list; at most 100.")] last: Option<i32>,
        #[graphql(desc = "Only items before this cursor of the same list.")] before: Option<String>,
    ) -> Result<BookmarkConnection> {
        super::bookmark::page(&self.view, self.id, &PageArgs { first, after, last, before }).await
    }

    /// The activity log of the incident: every change, oldest first, with its actor, time, cause, and each field before
    /// and after. Comments are part of it.
    async fn activity(
        &self,
        #[graphql(desc = "The filter of the changes. Without it, all changes.")] filter: Option<ActivityInput>,
        #[graphql(desc = "How many items from the start of the list; at most 100, by default 50.")] first: Option<i32>,
        #[graphql(desc = "Only items after this cursor of the same list.")] after: Option<String>,
        #[graphql(desc = "How many items from the end of the list; at most 100.")] last: Option<i32>,
        #[graphql(desc = "Only items before this cursor of the same list.")] before: Option<String>,
    ) -> Result<ChangeConnection> {
        let args = PageArgs { first, after, last, before };
        let filter = filter.map(ActivityInput::read).transpose()?.unwrap_or_default();
        activity(&self.view, self.id, filter, &args).await
    }
}

/// The fields of a list of comments beside its items.
#[derive(SimpleObject)]
pub(super) struct CommentConnectionFields {
    /// The exact number of comments that are not deleted.
    total_count: u64,
}

pub(super) fn version(cursor: &str) -> Option<u64> {
    cursor.parse().ok()
}

/// Returns whether there are items before and after a page. `more` says whether there are more in the direction of
/// reading.
pub(super) fn ends<K>(span: &Span<K>, more: bool) -> (bool, bool) {
    if span.from_end { (more, span.before.is_some()) } else { (span.after.is_some(), more) }
}

impl Incident {
    async fn comment_page(&self, args: &PageArgs) -> Result<(Vec<crate::domain::comment::Comment>, (bool, bool))> {
        if let Some(span) = args.at_end(self.view.page_items_max())? {
            // The first pages of all incidents of one list are read by one statement.
            let asked = CommentsAtEnd(self.id, wider(span));
            let mut comments = self.view.load(asked).await?.unwrap_or_default();
            let more = cut(&mut comments, span.limit, span.from_end);
            return Ok((comments, ends(&span, more)));
        }
        let span = args.span(self.view.page_items_max(), CommentPlace::parse)?;
        let mut comments = self.view.reader().await?.comments_page(self.id, wider(span)).await?;
        let more = cut(&mut comments, span.limit, span.from_end);
        Ok((comments, ends(&span, more)))
    }
}

/// Refuses with `NOT_FOUND` a log that the viewer may not read, or whose incident does not exist.
pub(super) async fn readable_log(view: &View, id: IncidentId) -> Result<()> {
    let incident = view.reader().await?.incidents_to_show(&[id]).await?.pop();
    if incident.is_some_and(|incident| view.viewer().reads(&incident)) {
        Ok(())
    } else {
        Err(Error::not_found("incident", id))
    }
}

/// Reads a page of an incident's log.
pub(super) async fn activity(
    view: &View,
    incident: IncidentId,
    filter: ActivityFilter,
    args: &PageArgs,
) -> Result<ChangeConnection> {
    let span = args.span(view.page_items_max(), version)?;
    let mut changes = match args.at_end(view.page_items_max())? {
        // The changes at one end of the logs of all incidents of one list are read by one statement.
        Some(end) => view.load(ChangesAtEnd(incident, (filter.clone(), wider(end)))).await?.unwrap_or_default(),
        None => view.reader().await?.activity_told(incident, &filter, wider(span)).await?,
    };
    let more = cut(&mut changes, span.limit, span.from_end);
    let (before, after) = ends(&span, more);
    let fields = super::activity::ChangeConnectionFields::new(view.clone(), incident, filter);
    let mut page = Connection::with_additional_fields(before, after, fields);
    let edge = |change: ToldChange| Edge::new(change.version.to_string(), Change::new(view.clone(), change));
    page.edges.extend(changes.into_iter().map(edge));
    Ok(page)
}

/// A count of the incidents of a queue that have one status.
#[derive(SimpleObject)]
pub(super) struct StatusFacet {
    /// The value that is counted.
    pub(super) value: Status,
    /// How many incidents have this value and match the filter without its top-level condition on this field.
    pub(super) count: u64,
}

/// A count of the incidents of a queue that have one severity.
#[derive(SimpleObject)]
pub(super) struct SeverityFacet {
    /// The value that is counted.
    pub(super) value: Severity,
    /// How many incidents have this value and match the filter without its top-level condition on this field.
    pub(super) count: u64,
}

/// A count of the incidents of a queue that have one owner, or (`value` null) no owner.
#[derive(SimpleObject)]
pub(super) struct OwnerFacet {
    /// The owner; null counts the incidents without an owner.
    pub(super) value: Option<Owner>,
    /// How many incidents have this value and match the filter without its top-level condition on this field.
    pub(super) count: u64,
}

/// A count of the incidents of a queue that have one tag.
#[derive(SimpleObject)]
pub(super) struct TagFacet {
    /// The value that is counted.
    pub(super) value: Tag,
    /// How many incidents of the queue have this value. A facet counts them without the filter's top-level condition on
    /// this field.
    pub(super) count: u64,
}

/// A count of the incidents of a queue that have an alert of one product.
#[derive(SimpleObject)]
pub(super) struct ProductFacet {
    /// The value that is counted.
    pub(super) value: String,
    /// How many incidents of the queue have this value. A facet counts them without the filter's top-level condition on
    /// this field.
    pub(super) count: u64,
}

/// Facets: the counts of a queue for each value of a field. Each facet ignores the top-level condition of the filter on
/// its own field, so it also counts values that the filter excludes. A value that no incident has is left out.
pub(super) struct Facets {
    view: View,
    filter: QueueFilter,
}

/// Facets: the counts of a queue for each value of a field. Each facet ignores the top-level condition of the filter on
/// its own field, so it also counts values that the filter excludes. A value that no incident has is left out.
#[Object]
impl Facets {
    /// The counts by status, in the order `NEW`, `ACTIVE`, `RESOLVED`, `REDIRECTED`.
    async fn status(&self) -> Result<Vec<StatusFacet>> {
        self.view.searches().spend(Search::Facet, &self.filter)?;
        let facets = self.view.app().facet_status(self.view.at().await?, &self.filter).await?;
        Ok(facets.into_iter().map(|Facet { value, count }| StatusFacet { value, count }).collect())
    }

    /// The counts by effective severity, the worst severity first.
    async fn severity(&self) -> Result<Vec<SeverityFacet>> {
        self.view.searches().spend(Search::Facet, &self.filter)?;
        let facets = self.view.app().facet_severity(self.view.at().await?, &self.filter).await?;
        Ok(facets.into_iter().map(|Facet { value, count }| SeverityFacet { value, count }).collect())
    }

    /// The counts by owner, the highest count first; at most 1,000 owners.
    async fn owner(&self) -> Result<Vec<OwnerFacet>> {
        self.view.searches().spend(Search::Facet, &self.filter)?;
        let facets = self.view.app().facet_owner(self.view.at().await?, &self.filter).await?;
        Ok(facets.into_iter().map(|f| OwnerFacet { value: f.value.map(Owner::from), count: f.count }).collect())
    }

    /// The counts by tag, the highest count first; at most 100 tags.
    async fn tags(&self) -> Result<Vec<TagFacet>> {
        self.view.searches().spend(Search::Facet, &self.filter)?;
        let facets = self.view.app().facet_tags(self.view.at().await?, &self.filter).await?;
        Ok(facets.into_iter().map(|f| TagFacet { value: f.value.into(), count: f.count }).collect())
    }

    /// The counts by product, the highest count first; at most 1,000 products.
    async fn product(&self) -> Result<Vec<ProductFacet>> {
        self.view.searches().spend(Search::Facet, &self.filter)?;
        let facets = self.view.app().facet_product(self.view.at().await?, &self.filter).await?;
        Ok(facets.into_iter().map(|Facet { value, count }| ProductFacet { value, count }).collect())
    }
}

/// The fields of a page of a queue beside its rows. They are read from the same snapshot as the rows.
pub(super) struct IncidentConnectionFields {
    view: View,
    filter: QueueFilter,
}

/// The fields of a page of a queue beside its rows. They are read from the same snapshot as the rows.
#[Object]
impl IncidentConnectionFields {
    /// The exact number of incidents in the queue.
    async fn total_count(&self) -> Result<u64> {
        self.view.searches().spend(Search::Count, &self.filter)?;
        self.view.app().queue_count(self.view.at().await?, &self.filter).await
    }

    /// The position of the snapshot from which the rows, counts and facets of this page were read. To follow the queue,
    /// subscribe to `incidentQueue` with the same filter and this position as `after`: the stream sends each later
    /// change once. If you read several pages, subscribe after the position of the first page. The further pages are
    /// read later, so they may already show a change that the stream sends: keep the rows by `id`, and ignore a row of
    /// the stream whose `version` is not higher than the version that you hold. An incident that moved in the order
    /// between two reads may be on both pages or on neither page; the stream then brings its row. `QueueLeft` takes the
    /// row out.
    async fn position(&self) -> Result<String> {
        let position = self.view.at().await?.position();
        Ok(position.of_queue(self.filter.fingerprint()).to_string())
    }

    /// The counts of the queue for each value of a field.
    async fn facets(&self) -> Facets {
        Facets { view: self.view.clone(), filter: self.filter.clone() }
    }
}

/// A page of comments.
pub(super) type CommentConnection = Connection<String, Comment, CommentConnectionFields, EmptyFields>;

/// A page of a queue.
pub(super) type IncidentConnection = Connection<Cursor, AtOnce<Incident>, IncidentConnectionFields, EmptyFields>;

impl CursorType for Cursor {
    type Error = &'static str;

    fn decode_cursor(text: &str) -> Result<Self, &'static str> {
        Self::parse(text).ok_or("this is not a cursor of a queue")
    }

    fn encode_cursor(&self) -> String {
        self.to_string()
    }
}

/// Reads a page of a queue. `asked` says which parts of the page the document selects.
pub(super) async fn queue(
    view: &View,
    filter: QueueFilter,
    order: Vec<IncidentOrder>,
    args: PageArgs,
    asked: RequestedPage,
) -> Result<IncidentConnection> {
    let span = args.span(view.page_items_max(), Cursor::parse)?;
    let ends_of = |more| ends(&span, more);
    let request = PageRequest {
        filter: filter.clone(),
        order,
        span: Span { after: None, before: None, from_end: span.from_end, limit: span.limit },
        after: span.after.clone(),
        before: span.before.clone(),
    };
    for (path, cursor) in [("after", &request.after), ("before", &request.before)] {
        if cursor.as_ref().is_some_and(|cursor| !request.owns(cursor)) {
            return Err(Error::invalid(path, "this cursor is of another filter or order"));
        }
    }
    let search = if request.is_indexed() { Search::Page } else { Search::SortedPage };
    view.searches().spend(search, &request.filter)?;
    let rows = view.shows_rows_alone().then_some(asked.parts);
    let alone = match rows.filter(|_| asked.alone) {
        Some(parts) => view.page_alone(&request, parts).await?,
        None => None,
    };
    let found = match alone {
        Some(found) => found,
        None => match view.beside_board(request.filter.filter()).await? {
            Some(reader) => app::queue::stored_page(reader, &request, rows).await?,
            None => view.app().queue_page(view.at().await?, &request, rows).await?,
        },
    };
    let (before, after) = ends_of(found.more);
    let fields = IncidentConnectionFields { view: view.clone(), filter };
    let mut page = Connection::with_additional_fields(before, after, fields);
    page.edges.extend(found.incidents.into_iter().filter_map(|(cursor, listed)| {
        let incident = match listed {
            Listed::Whole(incident) => {
                view.viewer().sees_incident(&incident).then(|| Incident::new(view.clone(), *incident))
            }
            Listed::Row(row, title) => view.viewer().sees(&row).then(|| Incident::of_row(view.clone(), *row, title)),
        };
        Some(Edge::new(cursor, AtOnce(incident?)))
    }));
    Ok(page)
}

/// Reads the incident with this id; an unknown id is `NOT_FOUND` at the path. `lists` is given if the request asks for
/// the incident, these lists of it, and nothing else.
pub(super) async fn find(view: &View, id: IncidentId, path: &str, lists: Option<IncidentLists>) -> Result<Incident> {
    let incident = match lists {
        Some(lists) => view.incident_at_once(id, lists).await?,
        None => view.incident(id).await?,
    };
    let incident = incident.ok_or_else(|| Error::not_found("incident", id).at(path))?;
    Ok(Incident::new(view.clone(), incident))
}

/// Returns the global id of an incident.
pub(super) fn global_id(id: IncidentId) -> ID {
    id.to_string().into()
}
