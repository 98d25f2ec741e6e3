//! Incidents as they were at a position in the log or at a time, rebuilt from their logs.

use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;

use async_graphql::connection::{Connection, Edge, EmptyFields};
use async_graphql::{ID, Object, OneofObject, SimpleObject};

use super::account::{Actor, Owner};
use super::activity::{ActivityInput, ChangeConnection};
use super::alert::Alert;
use super::connection::{PageArgs, page_in_memory};
use super::context::View;
use super::incident::Resolution;
use super::markdown::to_html;
use super::queue::{Classification, IncidentFields};
use crate::app::export::NamedIncident;
use crate::domain::alert::AlertStatus;
use crate::domain::comment::{CommentPlace, Revision};
use crate::domain::entity::EntityKind;
use crate::domain::fold::{Folded, FoldedAlert, FoldedComment};
use crate::domain::incident::{Incident, TextField};
use crate::domain::instant::parse as instant;
use crate::domain::position::Position;
use crate::domain::queue::{IncidentText, sha256_hex};
use crate::domain::title::ShownTitle;
use crate::domain::{AlertId, Error, IncidentId, Instant, Result};
use crate::storage::{ActivityFilter, Moment, Span};

/// The most entities that one request may ask of an incident.
const ENTITIES_MAX: i32 = 1_000;

/// The most changes that are in memory at once while a log is folded.
const CHANGES_PER_BATCH: u64 = 200;

/// A moment in the past: either a position in the log or a time.
#[derive(Clone, Debug, OneofObject)]
pub(super) enum MomentInput {
    /// A position in the log: the moment right after the change at this position. The change may be about another
    /// incident.
    Position(String),
    /// A time, compared with the times of the incident's changes. Imported changes carry the times of the imported
    /// records.
    At(Instant),
}

/// An incident as it was at an earlier moment. It is rebuilt from its log alone, so that nothing later shows. A field
/// whose earlier value is unknown is left out of this type, or its description says that it shows the present.
pub(super) struct IncidentAsOf {
    view: View,
    position: String,
    folded: Box<Folded>,
    fields: Box<IncidentFields>,
}

impl Deref for IncidentAsOf {
    type Target = IncidentFields;

    fn deref(&self) -> &IncidentFields {
        &self.fields
    }
}

/// An incident as it was at an earlier moment. It is rebuilt from its log alone, so that nothing later shows. A field
/// whose earlier value is unknown is left out of this type, or its description says that it shows the present.
#[Object]
impl IncidentAsOf {
    /// The fields that a queue showed at that moment. An owner has the name of that time.
    #[graphql(flatten)]
    async fn fields(&self) -> &IncidentFields {
        &self.fields
    }

    /// The position of the incident's newest change at that moment. All fields are as of this position.
    async fn position(&self) -> &str {
        &self.position
    }

    /// The description of the incident at that moment.
    async fn description(&self) -> Result<Option<String>> {
        self.text(TextField::Description, self.folded.row.description.as_ref()).await
    }

    /// The whole title. Only the size of a request (by default 2 MiB) limits its length.
    async fn full_title(&self) -> Result<String> {
        whole(&self.view, self.folded.row.id, TextField::Title, &self.folded.row.title).await
    }

    /// Whether the desk had generated the title from the alerts.
    async fn title_generated(&self) -> bool {
        self.folded.title_generated
    }

    /// The resolution; null if the incident was not resolved at that moment.
    async fn resolution(&self) -> Result<Option<Resolution>> {
        let (Some(at), Some(by)) = (self.folded.row.resolved_at, &self.folded.resolved_by) else { return Ok(None) };
        let note = self.text(TextField::Note, self.folded.note.as_ref()).await?;
        Ok(Some(Resolution { note, at, by: by.clone().into() }))
    }

    /// When the incident was deleted; null if it was not deleted at that moment.
    async fn deleted_at(&self) -> Option<Instant> {
        self.folded.deleted_at
    }

    /// The alerts of the incident at that moment, in the order in which they came in.
    async fn alerts(
        &self,
        #[graphql(desc = "How many items from the start of the list; at most 100, by default 50.")] first: Option<i32>,
        #[graphql(desc = "Only items after this cursor of the same list.")] after: Option<String>,
        #[graphql(desc = "How many items from the end of the list; at most 100.")] last: Option<i32>,
        #[graphql(desc = "Only items before this cursor of the same list.")] before: Option<String>,
    ) -> Result<AlertAsOfConnection> {
        let args = PageArgs { first, after, last, before };
        let span = args.span(self.view.page_items_max(), super::alert::key)?;
        let (held, ends) = page(&self.folded.alerts, &span);
        let reader = self.view.reader().await?;
        let ids: Vec<AlertId> = held.iter().map(|(id, _)| *id).collect();
        let mut alerts: HashMap<_, _> =
            reader.alerts_to_show(&ids).await?.into_iter().map(|alert| (alert.id, alert)).collect();
        let owners = reader.owners(held.iter().filter_map(|(_, then)| then.owner)).await?;
        let fields = CountedFields { total_count: self.folded.alerts.len() as u64 };
        let mut page = Connection::with_additional_fields(ends.0, ends.1, fields);
        page.edges.extend(held.into_iter().map(|(id, then)| {
            let owner = then.owner.and_then(|owner| owners.get(&owner).cloned()).map(Owner::from);
            let alert = alerts.remove(&id).map(|alert| Alert::new(self.view.clone(), alert));
            Edge::new(super::alert::cursor(id), AlertAsOf { id, then, owner, alert })
        }));
        Ok(page)
    }

    /// The entities that the alerts of the incident named, grouped by kind. They are ordered by the number of alerts
    /// that named them (the highest first). At most 1,000 in all. Earlier verdicts are not recorded.
    async fn entities(
        &self,
        #[graphql(default = 100, desc = "How many entities; 0 to 1,000.")] first: i32,
    ) -> Result<Vec<EntityGroupAsOf>> {
        if !(0..=ENTITIES_MAX).contains(&first) {
            let message = format!("an incident shows 0 to {ENTITIES_MAX} entities at once");
            return Err(Error::limit("first", message, ENTITIES_MAX as usize));
        }
        let row = &self.folded.row;
        let held = self.view.reader().await?.entities_as_of(row.id, row.version, first as u64).await?;
        let mut groups: BTreeMap<EntityKind, Vec<EntityAsOf>> = BTreeMap::new();
        for held in held {
            groups.entry(held.kind).or_default().push(EntityAsOf { value: held.value, alert_count: held.alerts });
        }
        Ok(groups.into_iter().map(|(kind, entities)| EntityGroupAsOf { kind, entities }).collect())
    }

    /// The comments with the text of that moment, oldest first. Comments that were deleted by then are left out.
    async fn comments(
        &self,
        #[graphql(desc = "How many items from the start of the list; at most 100, by default 50.")] first: Option<i32>,
        #[graphql(desc = "Only items after this cursor of the same list.")] after: Option<String>,
        #[graphql(desc = "How many items from the end of the list; at most 100.")] last: Option<i32>,
        #[graphql(desc = "Only items before this cursor of the same list.")] before: Option<String>,
    ) -> Result<CommentAsOfConnection> {
        let args = PageArgs { first, after, last, before };
        let span = args.span(self.view.page_items_max(), CommentPlace::parse)?;
        let (comments, ends) = page(&self.folded.comments, &span);
        let of_each =
            |(_, comment): &(CommentPlace, FoldedComment)| [(comment.id, comment.first), (comment.id, comment.text)];
        let keys: Vec<_> = comments.iter().flat_map(of_each).collect();
        let texts = self.view.reader().await?.comment_texts(&keys).await?;
        let fields = CountedFields { total_count: self.folded.comments.len() as u64 };
        let mut page = Connection::with_additional_fields(ends.0, ends.1, fields);
        for (place, comment) in comments {
            let (first, text) = (texts.get(&(comment.id, comment.first)), texts.get(&(comment.id, comment.text)));
            page.edges.push(Edge::new(place.to_string(), CommentAsOf::new(comment, first, text)?));
        }
        Ok(page)
    }

    /// The activity log up to that moment: every change, oldest first, with its actor, time, cause, and each field
    /// before and after.
    async fn activity(
        &self,
        #[graphql(desc = "The filter of the changes. Without it, all changes.")] filter: Option<ActivityInput>,
        #[graphql(desc = "How many items from the start of the list; at most 100, by default 50.")] first: Option<i32>,
        #[graphql(desc = "Only items after this cursor of the same list.")] after: Option<String>,
        #[graphql(desc = "How many items from the end of the list; at most 100.")] last: Option<i32>,
        #[graphql(desc = "Only items before this cursor of the same list.")] before: Option<String>,
    ) -> Result<ChangeConnection> {
        let filter = filter.map(ActivityInput::read).transpose()?.unwrap_or_default();
        let filter = ActivityFilter { up_to: Some(self.folded.row.version), ..filter };
        super::incident::activity(&self.view, self.folded.row.id, filter, &PageArgs { first, after, last, before })
            .await
    }
}

impl IncidentAsOf {
    async fn text(&self, field: TextField, text: Option<&IncidentText>) -> Result<Option<String>> {
        match text {
            Some(text) => Ok(Some(whole(&self.view, self.folded.row.id, field, text).await?)),
            None => Ok(None),
        }
    }
}

/// Reads a whole text of the log. A stored text with another SHA-256 than the log holds is a fault.
async fn whole(view: &View, incident: IncidentId, field: TextField, text: &IncidentText) -> Result<String> {
    match text {
        IncidentText::Inline(text) => Ok(text.clone()),
        IncidentText::Stored { version, sha256, .. } => covered(view.load((incident, field, *version)).await?, sha256),
    }
}

/// Returns a stored text if its SHA-256 is the SHA-256 that the log holds; else a fault.
fn covered(text: Option<String>, sha256: &str) -> Result<String> {
    text.filter(|text| sha256_hex(text) == sha256).ok_or_else(|| {
        Error::fault("reading a text of then", "it is not the one that the log covers; run `watchfloor verify`")
    })
}

/// The fields of a list beside its items.
#[derive(SimpleObject)]
pub(super) struct CountedFields {
    /// The exact number of items in the whole list.
    total_count: u64,
}

/// A page of the alerts that an incident held.
pub(super) type AlertAsOfConnection = Connection<String, AlertAsOf, CountedFields, EmptyFields>;

/// A page of the comments that an incident had.
pub(super) type CommentAsOfConnection = Connection<String, CommentAsOf, CountedFields, EmptyFields>;

/// An alert that belonged to the incident at that moment.
pub(super) struct AlertAsOf {
    id: AlertId,
    then: FoldedAlert,
    owner: Option<Owner>,
    alert: Option<Alert>,
}

/// An alert that belonged to the incident at that moment.
#[Object]
impl AlertAsOf {
    /// The alert's global id.
    async fn alert_id(&self) -> ID {
        self.id.to_string().into()
    }

    /// The status of the alert at that moment. Null if the alert joined the incident before the desk recorded the state
    /// of alerts, and did not change before that moment; `owner` and `classification` are then unknown and null too.
    async fn status(&self) -> Option<AlertStatus> {
        self.then.status
    }

    /// The owner of the alert at that moment, with the present name.
    async fn owner(&self) -> Option<&Owner> {
        self.owner.as_ref()
    }

    /// The classification of the alert at that moment.
    async fn classification(&self) -> Option<Classification> {
        self.then.classification.map(Classification::from)
    }

    /// The alert in its present state. It may show later reports: what a provider reported earlier is not kept after a
    /// new report.
    async fn alert(&self) -> Option<&Alert> {
        self.alert.as_ref()
    }
}

/// An entity that alerts of the incident named at that moment.
#[derive(SimpleObject)]
pub(super) struct EntityAsOf {
    /// The value, as an alert of the incident writes it. If no alert of the incident names the entity any more, the
    /// value is in lower case and without diacritical marks.
    value: String,
    /// How many alerts of the incident named the entity.
    alert_count: u64,
}

/// The entities of one kind that alerts of the incident named at that moment.
#[derive(SimpleObject)]
pub(super) struct EntityGroupAsOf {
    /// The kind of these entities.
    kind: EntityKind,
    /// The entities, ordered by the number of alerts that named them (the highest first).
    entities: Vec<EntityAsOf>,
}

/// A comment with the text of that moment.
pub(super) struct CommentAsOf {
    comment: FoldedComment,
    body: String,
    created_at: Instant,
    edited_at: Option<Instant>,
}

impl CommentAsOf {
    fn new(comment: FoldedComment, first: Option<&Revision>, text: Option<&Revision>) -> Result<Self> {
        let body = covered(text.map(|text| text.body.clone()), &comment.sha256)?;
        let first = first.ok_or_else(|| Error::fault("reading a comment of then", "its first text is missing"))?;
        let edited_at = text.filter(|_| comment.text != comment.first).map(|text| text.at);
        Ok(Self { comment, body, created_at: first.at, edited_at })
    }
}

/// A comment with the text of that moment.
#[Object]
impl CommentAsOf {
    /// The comment's global id.
    async fn comment_id(&self) -> ID {
        self.comment.id.to_string().into()
    }

    /// The text of the comment, in Markdown.
    async fn body(&self) -> &str {
        &self.body
    }

    /// The text as HTML that is safe to show: it has no script, no event handler and no `javascript:` address.
    async fn html(&self) -> Result<String> {
        to_html(self.body.clone()).await
    }

    /// The author of the comment, with the name at the time of writing.
    async fn author(&self) -> Actor {
        self.comment.author.clone().into()
    }

    /// When the comment was written.
    async fn created_at(&self) -> Instant {
        self.created_at
    }

    /// When the comment was last edited before that moment; null if it was not edited.
    async fn edited_at(&self) -> Option<Instant> {
        self.edited_at
    }
}

/// Returns a page of a list in memory, and whether there are items before and after it.
fn page<K: Copy + Ord, V: Clone>(list: &BTreeMap<K, V>, span: &Span<K>) -> (Vec<(K, V)>, (bool, bool)) {
    let (items, more) = page_in_memory(list, span);
    (items, super::incident::ends(span, more))
}

/// Reads an incident as of a moment, for a viewer who may read its log.
pub(super) async fn find(view: &View, named: NamedIncident, path: &str, moment: MomentInput) -> Result<IncidentAsOf> {
    let reader = view.reader().await?;
    let (found, name) = match named {
        NamedIncident::Id(id) => (reader.incidents_to_show(&[id]).await?.pop(), id.to_string()),
        NamedIncident::Number(number) => (reader.any_incident_by_number(number).await?, format!("INC-{number}")),
    };
    let found = found.filter(|incident| view.viewer().reads(incident));
    let incident = found.ok_or_else(|| Error::not_found("incident", name).at(path))?;
    let moment = match moment {
        MomentInput::Position(text) => Moment::Offset(view.reached("moment.position", &text).await?.offset),
        MomentInput::At(at) => Moment::Time(instant("moment.at", at)?),
    };
    let Some(version) = reader.version_as_of(incident.id, moment).await? else {
        return Err(not_yet(&incident, moment));
    };
    let Some(folded) = folded(view, incident.id, version).await? else {
        return Err(Error::fault("folding the log of an incident", "it has no changes; run `watchfloor verify`"));
    };
    let title = whole(view, incident.id, TextField::Title, &folded.row.title).await?;
    let ((offset, check), epoch) = (folded.place, view.head().await?.epoch);
    let position = Position { epoch, offset, check, queue: None }.to_string();
    let fields = Box::new(IncidentFields::new(folded.row.clone(), ShownTitle::of(&title)));
    Ok(IncidentAsOf { view: view.clone(), position, folded: Box::new(folded), fields })
}

fn not_yet(incident: &Incident, moment: Moment) -> Error {
    let path = match moment {
        Moment::Offset(_) => "moment.position",
        Moment::Time(_) => "moment.at",
    };
    Error::not_found("incident", format!("INC-{} as of then: it was made later", incident.number)).at(path)
}

async fn folded(view: &View, incident: IncidentId, version: u64) -> Result<Option<Folded>> {
    let reader = view.reader().await?;
    let filter = ActivityFilter { up_to: Some(version), ..ActivityFilter::default() };
    let (mut state, mut after) = (None, None);
    loop {
        let span = Span { after, before: None, from_end: false, limit: CHANGES_PER_BATCH };
        let changes = reader.activity(incident, &filter, span).await?;
        let Some(last) = changes.last() else { return Ok(state) };
        after = Some(last.version());
        for change in changes {
            state = Some(Folded::after(state, change)?);
        }
    }
}
