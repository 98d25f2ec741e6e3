//! The subscriptions. A stream with positions resumes exactly after a disconnect or a restart, on any node.

use async_graphql::{Context, ID, Subscription as Subscribe};
use futures_util::{Stream, StreamExt};

use super::activity::{ActivityInput, ActivityItem};
use super::bulk::{BulkJob, bulk_job_id};
use super::context::{View, Viewer, app, limits, viewer};
use super::event::{HandedOver, hand_over};
use super::filter::IncidentFilterInput;
use super::input::incident_id;
use super::packed::Packed;
use super::queue::QueueItem;
use super::searches::Searches;
use super::selected::Selected;
use super::shared_fields::may_share;
use super::summary::{QueueSummary, numbers, window};
use crate::domain::account::Role;
use crate::domain::filter::{IncidentFilter, QueueFilter};
use crate::domain::position::Position;
use crate::domain::summary::SummaryFilter;
use crate::domain::{Error, Instant, Result};
use crate::realtime::budget::{RequestSize, Reserved, StreamBudget, Weight};
use crate::realtime::feed::{self, ActivityScope, EventAt, FeedSource};
use crate::realtime::index::Interest;
use crate::realtime::summary::{self, SummaryRequest};
use crate::realtime::track::{FrameKind, FramePlace, Track};

/// The root of all subscriptions.
pub struct Subscription;

fn read_position(after: Option<String>) -> Result<Option<Position>> {
    let read = |text: String| Position::parse(&text).ok_or_else(|| Error::invalid("after", "this is not a position"));
    after.map(read).transpose()
}

fn source(ctx: &Context<'_>) -> Result<FeedSource> {
    let source = ctx.data::<FeedSource>().map_err(|error| Error::fault("finding the log to follow", error.message))?;
    // Streams read through the store of requests, whose statements have a shorter timeout than the desk's own.
    Ok(FeedSource { store: app(ctx)?.store.clone(), ..source.clone() })
}

/// Returns the properties of a caller on which the bytes of a subscription depend. Callers with equal properties share
/// a stream. `None` if the bytes depend on more, so that nobody may share the stream. `after` is the position after
/// which the stream begins.
///
/// The items of a queue come from the change alone. They depend on what the caller may see and, if the filter says
/// `me`, on who the caller is. A summary counts these rows, and the log is like a queue, with one exception: whether
/// the log of one incident may be read is checked when a stream begins. If the incident is deleted, only a manager may
/// read it. All `fields` that the operation selects must be in the list of fields that may be shared. The positions of a
/// queue's stream say whether the client holds the set.
pub fn scope<'a>(
    viewer: &Viewer,
    root: &str,
    fields: impl Iterator<Item = &'a str>,
    gives: &dyn Fn(&str) -> bool,
    after: Option<Position>,
) -> Option<Vec<u8>> {
    let is_shared = match root {
        "incidentQueue" | "queueSummary" => true,
        "activityLog" => !gives("incidentId") || viewer.user.role >= Role::Manager,
        _ => false,
    };
    // The root field itself is among the fields.
    let may_share = is_shared && may_share(fields.filter(|field| *field != root));
    may_share.then(|| {
        let mut scope = sight(viewer, gives);
        if root == "incidentQueue" {
            scope.push(after.is_some_and(|after| after.holds_set()).into());
        }
        scope
    })
}

/// Returns what the rows of a queue depend on: what the viewer may see and, if the filter says `me`, who the viewer is.
pub fn sight(viewer: &Viewer, gives: &dyn Fn(&str) -> bool) -> Vec<u8> {
    let mut sight = format!("{:?}", viewer.sight());
    if gives("me") || gives("meAndMyGroups") {
        sight.push_str(&format!(" {} {:?}", viewer.user.id, viewer.groups));
    }
    sight.into_bytes()
}

/// Whether the stream of this root field can resume: it takes `after`, and its items have positions.
pub fn resumes(root: &str) -> bool {
    matches!(root, "incidentQueue" | "activityLog")
}

/// Returns the track through which the transport asks this stream, or a new track through which nobody asks.
fn track(ctx: &Context<'_>) -> Track {
    ctx.data_opt::<Track>().cloned().unwrap_or_default()
}

/// Whether the document selects a field `filter`. Otherwise the stream does not keep the filter for its answers.
fn shows_filter(ctx: &Context<'_>) -> bool {
    ctx.data_opt::<Selected>().is_none_or(|selected| selected.selects("filter"))
}

/// Reserves what a stream needs from the budgets of its caller and of the desk.
fn reserve(ctx: &Context<'_>, weight: impl FnOnce(RequestSize) -> Weight) -> Result<Reserved> {
    let budget = ctx.data::<StreamBudget>().map_err(|error| Error::fault("finding the budget", error.message))?;
    budget.reserve(viewer(ctx)?.user.id, weight(ctx.data_opt().copied().unwrap_or_default()))
}

/// Returns the stream, which holds its reservation until it is dropped.
fn holding<T>(reserved: Reserved, stream: impl Stream<Item = T>) -> impl Stream<Item = T> {
    stream.map(move |item| {
        let _held = &reserved;
        item
    })
}

/// The root of all subscriptions. A subscription that is refused gets one error with a code that `Query` lists, and no
/// item.
///
/// **Transports.** All of them are at `/graphql`:
/// - a WebSocket with the subprotocol `graphql-transport-ws`, or the older `graphql-ws` if the operator allows it;
/// - `POST` or `GET` with `Accept: text/event-stream`: events as graphql-sse has them, one stream for each response, or
///   many streams on one response with a token that `PUT` reserves;
/// - `POST` with `Accept: multipart/mixed`: parts as clients of Apollo read them.
///
/// **Positions.** Each item of `incidentQueue` and `activityLog` has a position, also a marker. A position is an opaque
/// text: keep it and give it back, and do not compare it with another position. Within a stream, later items have later
/// positions. A position outlives a restart of the desk and is valid on each of its nodes. `ResyncReason` lists all
/// reasons why a stream does not resume from a position. If the connection breaks off, subscribe again with the
/// position of the last item: a stream resumes from each item but a `Resync`.
///
/// **Silence.** A stream of `incidentQueue` or `activityLog` sends a `Heartbeat` every 10 seconds if it sends nothing
/// else, and `queueSummary` sends a state at least every 10 seconds. The operator may set another time. If three times
/// this time brings no item, count the connection as broken.
///
/// **End.** A stream completes after a `Resync`, and `bulkProgress` completes when its job has ended. A desk that stops
/// or restarts closes a WebSocket with code 1012. It closes with 1013 if the client reads too slowly, does not answer
/// pings or holds too many sockets, or if the desk cannot read on. After both codes come back with the last position.
/// Code 4403 means that the caller was not let in. Codes 4400, 4401, 4408, 4409 and 4429 mean that the client broke the
/// protocol. An HTTP response ends without its last event or part where a WebSocket would be closed with 1012 or 1013.
#[Subscribe]
impl Subscription {
    /// Follows a queue: each item says that an incident entered the queue, changed in it, or left it. There is at most
    /// one item for each change, in the order of the log.
    ///
    /// The stream first sends all changes since the position `after`, item by item, however many they are, and then goes
    /// live. No change is lost or comes twice. Without `after` the stream starts at the present.
    ///
    /// A position from `incidents` with the same filter asserts "I hold exactly the set of this filter as of that
    /// position"; so does a position of a stream that began after it. Any other position of the desk, for example the
    /// position of a mutation, and a stream without `after` assert nothing: the stream sends the same changes, and
    /// `Live.holdsSet` and its positions say that you may not hold the whole set. A position from `incidents` or from
    /// this stream with another filter ends the stream with a `Resync`.
    async fn incident_queue(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The filter of the incidents. Without it, the default queue.")] filter: Option<
            Packed<IncidentFilterInput>,
        >,
        #[graphql(desc = "The position to resume from. Without it, the stream starts at the present.")] after: Option<
            String,
        >,
    ) -> Result<HandedOver<QueueItem>> {
        let actor = viewer(ctx)?.clone();
        let filter = match filter {
            Some(Packed(filter)) => filter.read()?,
            None => IncidentFilter::default(),
        };
        Searches::default().look_for(&filter)?;
        let filter = QueueFilter::resolve(&filter, &actor)?;
        // As JSON it takes a tenth of the memory.
        let echo = shows_filter(ctx).then(|| serde_json::to_string(filter.filter()));
        let echo =
            echo.transpose().map_err(|error| Error::fault("keeping a filter", error))?.map(String::into_boxed_str);
        let reserved = reserve(ctx, |written| Weight::of(filter.filter(), &Interest::of(&filter), written))?;
        let events = feed::queue(source(ctx)?, actor, filter, read_position(after)?, track(ctx));
        let items = move |event: Result<EventAt<_>>| {
            let event = event?;
            Ok((Some(event.place()), QueueItem::new(event, echo.as_deref())))
        };
        hand_over(ctx, holding(reserved, events).map(items))
    }

    /// Follows the numbers of a wall screen: first the present state, then the newest state whenever a number changes,
    /// at most 4 times a second, and at least every 10 seconds (the operator may set another time). States in between
    /// are left out; the last state is always sent. Each state equals the answer of the query `queueSummary` at its
    /// position. The stream does not resume: subscribe again, and the first item is the present state.
    async fn queue_summary(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The filter of the incidents. Without it, the default queue.")] filter: Option<
            Packed<IncidentFilterInput>,
        >,
        #[graphql(
            desc = "`created` and `resolved` count from this time on. A time outside of the years 2 to 9998 is \
            `INVALID`. Without it, they count from the last midnight in UTC, and anew within 10 seconds after the \
            next midnight."
        )]
        since: Option<Instant>,
    ) -> Result<HandedOver<QueueSummary>> {
        let actor = viewer(ctx)?.as_ref().clone();
        let filter = filter.map(|Packed(filter)| filter.read()).transpose()?.unwrap_or_default();
        Searches::default().look_for(&filter)?;
        let filter = SummaryFilter::resolve(&filter, &actor)?;
        let queue = filter.any_status();
        let selected = ctx.data_opt::<Selected>();
        let numbers = numbers(|field| selected.is_none_or(|selected| selected.selects(field)));
        // The stream holds the filter three times.
        let weight = |written| {
            Weight::of(queue.filter(), &Interest::of(queue), written).times(3).and_bytes(numbers.bytes_held())
        };
        let reserved = reserve(ctx, weight)?;
        let asked = SummaryRequest { actor, filter: filter.clone(), window: window(since)? };
        let clock = app(ctx)?.clock.clone();
        let states = summary::follow(source(ctx)?, clock, asked, numbers, track(ctx));
        let items = move |state: Result<_>| {
            let (position, summary) = state?;
            let place = FramePlace { position, kind: FrameKind::State };
            Ok((Some(place), QueueSummary::new(position, summary, &filter)))
        };
        hand_over(ctx, holding(reserved, states).map(items))
    }

    /// Follows a bulk job: first its present state, then its progress at most 4 times a second, and last its end.
    async fn bulk_progress(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The global id of the job.")] id: ID,
    ) -> Result<HandedOver<BulkJob>> {
        let (app, viewer, limits) = (app(ctx)?.clone(), viewer(ctx)?.clone(), limits(ctx)?);
        let id = bulk_job_id("id", &id)?;
        let found = app.store.read().await?.bulk_job(id).await?;
        found.ok_or_else(|| Error::not_found("bulk job", id).at("id"))?;
        let reserved = reserve(ctx, Weight::plain)?;
        let states = app.follow_bulk(id);
        let items = move |job: Result<_>| {
            let view = View::new(app.clone(), viewer.clone(), limits);
            Ok((None, BulkJob { view, job: job? }))
        };
        hand_over(ctx, holding(reserved, states).map(items))
    }

    /// Follows the activity log: the changes of one incident, or of all incidents and of the alerts that belong to no
    /// incident. The stream can resume from any position of the log, however old. Only managers may follow the log of a
    /// deleted incident.
    async fn activity_log(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The global id of the incident. Without it, the log of the whole desk.")] incident_id: Option<
            ID,
        >,
        #[graphql(desc = "The filter of the changes. Without it, all changes.")] filter: Option<Packed<ActivityInput>>,
        #[graphql(desc = "The position to resume from. Without it, the stream starts at the present.")] after: Option<
            String,
        >,
    ) -> Result<HandedOver<ActivityItem>> {
        let incident = incident_id.map(|id| self::incident_id("incidentId", &id)).transpose()?;
        let (app, viewer, limits) = (app(ctx)?.clone(), viewer(ctx)?.clone(), limits(ctx)?);
        if let Some(id) = incident {
            super::incident::readable_log(&View::new(app.clone(), viewer.clone(), limits), id).await?;
        }
        let filter = filter.map(|Packed(filter)| filter.read()).transpose()?.unwrap_or_default();
        let scope = ActivityScope { incident, filter };
        let reserved = reserve(ctx, Weight::plain)?;
        let events = feed::activity(source(ctx)?, viewer.clone(), scope, read_position(after)?, track(ctx));
        let items = move |event: Result<EventAt<_>>| {
            let (event, view) = (event?, View::new(app.clone(), viewer.clone(), limits));
            Ok((Some(event.place()), ActivityItem::new(event, view)))
        };
        hand_over(ctx, holding(reserved, events).map(items))
    }
}
