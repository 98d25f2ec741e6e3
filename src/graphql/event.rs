//! The execution of a subscription, in the two steps of the GraphQL specification (September 2025, 6.2.3): the root
//! field creates a source stream, and each event of the source stream is executed separately.
//!
//! Between two events, a stream keeps little more than its source stream. The stream of async-graphql would keep 6 KB
//! more for as long as the client listens. So async-graphql only creates the source stream, and each event is executed
//! as a query of a schema whose root is the event. The place of the event in the log goes with it to the response.

use std::any::Any;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll, ready};

use async_graphql::{Context, EmptyMutation, EmptySubscription, Object, OutputType, Request, Response};
use futures_util::future::{self, BoxFuture};
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use parking_lot::Mutex;

use super::activity::ActivityItem;
use super::budget::Budget;
use super::bulk::BulkJob;
use super::error::server_error;
use super::queue::QueueItem;
use super::selected::{AsSelected, Selected};
use super::summary::QueueSummary;
use crate::domain::{Error, Result};
use crate::realtime::track::FramePlace;

/// An item that has the type of the root field.
type BoxedItem = Box<dyn Any + Send>;

/// An event, and its place in the log if it has one.
type PlacedEvent = (Option<FramePlace>, BoxedItem);

/// The stream of the events of one subscription.
type SourceStream = BoxStream<'static, Result<PlacedEvent>>;

/// The schema that executes events.
pub(super) type EventSchema = async_graphql::Schema<Events, EmptyMutation, EmptySubscription>;

/// The stream that a root field returns to async-graphql. It has the type of the items and ends at once, because the
/// source stream was handed over.
pub(super) type HandedOver<T> = stream::Empty<async_graphql::Result<T>>;

/// A response of a stream, and the place of its event in the log. An error has no place.
pub type PlacedResponse = (Response, Option<FramePlace>);

/// The stream of the responses of one subscription.
pub type ResponseStream = BoxStream<'static, PlacedResponse>;

/// The slot in which a root field leaves its source stream. It is in the data of the request.
#[derive(Clone, Default)]
struct Created(Arc<Mutex<Option<SourceStream>>>);

/// Hands over the source stream of a root field to [`execute`]. Each event comes with its place in the log, if it has
/// one.
pub(super) fn hand_over<T>(
    ctx: &Context<'_>,
    events: impl Stream<Item = Result<(Option<FramePlace>, T)>> + Send + 'static,
) -> Result<HandedOver<T>>
where
    T: OutputType + 'static,
{
    let created = ctx.data::<Created>().map_err(missing)?;
    let source = events.map(|event| event.map(|(place, event)| (place, Box::new(event) as BoxedItem))).boxed();
    *created.0.lock() = Some(source);
    Ok(stream::empty())
}

fn missing(error: async_graphql::Error) -> Error {
    Error::fault("finding the stream of a request", error.message)
}

/// The event that a request executes, until its root field takes it. It is in the data of the request.
struct Occurred(Mutex<Option<Result<BoxedItem>>>);

fn occurred<T: OutputType + 'static>(ctx: &Context<'_>) -> Result<AsSelected<T>> {
    let occurred = ctx.data::<Occurred>().map_err(missing)?;
    let event = occurred.0.lock().take();
    let unknown = || Error::fault("executing an event", "the root field has another type");
    Ok(AsSelected(*event.ok_or_else(unknown)??.downcast::<T>().map_err(|_| unknown())?))
}

/// The root of the schema that executes events: the fields of `Subscription`, without their arguments.
pub(super) struct Events;

#[Object(name = "Subscription")]
impl Events {
    async fn incident_queue(&self, ctx: &Context<'_>) -> Result<AsSelected<QueueItem>> {
        occurred(ctx)
    }

    async fn queue_summary(&self, ctx: &Context<'_>) -> Result<AsSelected<QueueSummary>> {
        occurred(ctx)
    }

    async fn bulk_progress(&self, ctx: &Context<'_>) -> Result<AsSelected<BulkJob>> {
        occurred(ctx)
    }

    async fn activity_log(&self, ctx: &Context<'_>) -> Result<AsSelected<ActivityItem>> {
        occurred(ctx)
    }
}

/// The stream of the responses of a subscription.
struct Execution {
    events: EventSchema,
    selected: Selected,
    budget: Arc<Budget>,
    state: EventState,
}

enum EventState {
    /// The root field is creating the source stream, or is refused.
    Creating(BoxStream<'static, Response>, Created),
    /// The stream waits for the next event.
    Waiting(SourceStream),
    /// An event is being executed.
    Executing(BoxFuture<'static, PlacedResponse>, SourceStream),
    /// The stream is over.
    Over,
}

/// Executes a subscription. `create` executes its root field in the desk's schema; `events` is the schema of its
/// events. The data of the request holds what the subscription [selects](Selected). The budget settles each response.
pub(super) fn execute(
    request: Request,
    create: impl FnOnce(Request) -> BoxStream<'static, Response>,
    events: EventSchema,
    budget: Arc<Budget>,
) -> ResponseStream {
    let Some(selected) = Selected::of(&request).cloned() else {
        let fault = server_error(Error::fault("executing a subscription", "the request has no selection"));
        return stream::once(future::ready((Response::from_errors(vec![fault]), None))).boxed();
    };
    let created = Created::default();
    let creating = create(request.data(created.clone()));
    Execution { events, selected, budget, state: EventState::Creating(creating, created) }.boxed()
}

impl Execution {
    fn begin(&self, event: Result<PlacedEvent>) -> BoxFuture<'static, PlacedResponse> {
        let (place, event) = match event {
            Ok((place, event)) => (place, Ok(event)),
            Err(error) => (None, Err(error)),
        };
        let (events, budget) = (self.events.clone(), self.budget.clone());
        let request = self.selected.of_an_event().data(Occurred(Mutex::new(Some(event)))).data(budget.clone());
        Box::pin(async move { (budget.settle(events.execute(request).await), place) })
    }
}

impl Stream for Execution {
    type Item = PlacedResponse;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<PlacedResponse>> {
        loop {
            self.state = match &mut self.state {
                EventState::Creating(responses, created) => match ready!(responses.as_mut().poll_next(task)) {
                    Some(response) => return Poll::Ready(Some((self.budget.settle(response), None))),
                    None => match created.0.lock().take() {
                        Some(source) => EventState::Waiting(source),
                        None => EventState::Over,
                    },
                },
                EventState::Waiting(source) => match ready!(source.as_mut().poll_next(task)) {
                    Some(event) => {
                        let executing = self.begin(event);
                        self.state.executing(executing)
                    }
                    None => EventState::Over,
                },
                EventState::Executing(response, _) => {
                    let response = ready!(response.as_mut().poll(task));
                    self.state = self.state.executed();
                    return Poll::Ready(Some(response));
                }
                EventState::Over => return Poll::Ready(None),
            };
        }
    }
}

impl EventState {
    /// Returns the next state of a waiting stream that begins to execute an event.
    fn executing(&mut self, response: BoxFuture<'static, PlacedResponse>) -> Self {
        match mem::replace(self, Self::Over) {
            Self::Waiting(source) => Self::Executing(response, source),
            other => other,
        }
    }

    /// Returns the next state of a stream whose event was executed.
    fn executed(&mut self) -> Self {
        match mem::replace(self, Self::Over) {
            Self::Executing(_, source) => Self::Waiting(source),
            other => other,
        }
    }
}
