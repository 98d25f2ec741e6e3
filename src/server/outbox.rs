//! What waits to be written to one socket: messages of its operations, bounded by count, bytes and age; and the members
//! of groups that were handed to its writer, which have no queue at all, as their frames wait in the group.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use async_graphql::{Response, ServerError};
use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::answers::Room;
use super::dialect::Dialect;
use super::group::{Item, Member, Standing, Turn};
use crate::domain::Result;

/// One use of an id. The client may use the same id again for another.
pub(super) struct Operation {
    pub(super) id: String,
    dialect: Dialect,
    /// A result up to its payload; the payload and a brace complete it.
    envelope: String,
    /// The client wants nothing more of it.
    completed: AtomicBool,
}

impl Operation {
    pub(super) fn new(dialect: Dialect, id: String) -> Self {
        let envelope = dialect.envelope(&id);
        Self { id, dialect, envelope, completed: AtomicBool::new(false) }
    }

    /// The client wants nothing more of it.
    pub(super) fn complete(&self) {
        self.completed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_completed(&self) -> bool {
        self.completed.load(Ordering::Relaxed)
    }

    /// A payload that is JSON already, and shared: it is copied once, into the message.
    fn next_of(&self, payload: &str) -> String {
        let mut text = String::with_capacity(self.envelope.len() + payload.len() + 1);
        text.push_str(&self.envelope);
        text.push_str(payload);
        text.push('}');
        text
    }
}

/// Where the operations of a socket put their messages.
#[derive(Clone)]
pub(super) struct Outbox {
    // Boxed: a channel holds room for 32 from its start, and most sockets never need it.
    messages: mpsc::Sender<Box<Queued>>,
    bytes: Arc<Semaphore>,
    capacity: usize,
}

/// What an operation put into the outbox.
pub(super) struct Queued {
    pub(super) operation: Arc<Operation>,
    pub(super) content: Content,
    pub(super) since: Instant,
    /// Its share of the outbox; returned when the writer takes it.
    _bytes: Option<OwnedSemaphorePermit>,
    /// Its room among all answers on their way.
    _room: Option<Room>,
}

pub(super) enum Content {
    /// One of several messages.
    Next(String),
    /// The last message of its operation.
    Last(String),
    /// From here on the writer takes the frames from the group.
    Member(Handover),
    /// The writer gives the member back.
    Recall,
}

/// A member, and who waits for it to come back.
pub(super) struct Handover {
    member: Box<Member>,
    back: oneshot::Sender<Returned>,
}

/// How a member comes back from the writer.
pub(super) enum Returned {
    /// The group's tail has left it behind, or it was called back; it stands here.
    Behind(Standing),
    /// The stream has failed.
    Refused(Arc<[ServerError]>),
    /// The stream is over.
    Ended,
}

impl Outbox {
    pub(super) fn new(messages: usize, capacity: usize) -> (Self, mpsc::Receiver<Box<Queued>>) {
        let (messages, queue) = mpsc::channel(messages.max(1));
        (Self { messages, bytes: Arc::new(Semaphore::new(capacity)), capacity }, queue)
    }

    /// The outbox as one operation sees it.
    pub(super) fn of(&self, operation: Arc<Operation>) -> OperationOutbox {
        OperationOutbox { operation, outbox: self.clone() }
    }
}

/// The outbox as one operation sees it.
pub(super) struct OperationOutbox {
    operation: Arc<Operation>,
    outbox: Outbox,
}

impl OperationOutbox {
    /// The one answer of an operation, which keeps its room until it is written.
    pub(super) async fn answer(&self, answer: &Response, mut room: Room) -> Result<()> {
        let Operation { dialect, id, .. } = &*self.operation;
        let text = dialect.next(id, answer)?;
        room.fit(text.len());
        self.put_with(Content::Next(text), Some(room)).await;
        Ok(())
    }

    /// A payload that is JSON already.
    pub(super) async fn next_of(&self, payload: &str) {
        self.put(Content::Next(self.operation.next_of(payload))).await;
    }

    pub(super) async fn error(&self, errors: &[ServerError]) -> Result<()> {
        let Operation { dialect, id, .. } = &*self.operation;
        self.put(Content::Last(dialect.error(id, errors)?)).await;
        Ok(())
    }

    pub(super) async fn complete(&self) -> Result<()> {
        let Operation { dialect, id, .. } = &*self.operation;
        self.put(Content::Last(dialect.complete(id)?)).await;
        Ok(())
    }

    /// Lets the writer take the frames of the group itself, behind everything that was put here before, until `recall`
    /// resolves.
    pub(super) fn hand_over<'a>(
        &'a self,
        member: Box<Member>,
        mut recall: Pin<Box<impl Future<Output = ()> + Send + 'a>>,
    ) -> impl Future<Output = Returned> + Send + 'a {
        let (back, mut returned) = oneshot::channel();
        // On the heap while it lasts: this task waits here for days, and what it could hold elsewhere is part of it.
        let put = self.put(Content::Member(Handover { member, back })).boxed();
        async move {
            put.await;
            let came_back = tokio::select! {
                came_back = &mut returned => came_back,
                () = &mut recall => {
                    self.put(Content::Recall).boxed().await;
                    returned.await
                }
            };
            // The writer drops it only with its socket, which ends this task as well.
            came_back.unwrap_or(Returned::Ended)
        }
    }

    /// Waits for room. A socket that is gone takes nothing, and this task with it.
    async fn put(&self, content: Content) {
        self.put_with(content, None).await;
    }

    async fn put_with(&self, content: Content, room: Option<Room>) {
        let length = match &content {
            Content::Next(text) | Content::Last(text) => text.len(),
            Content::Member(_) | Content::Recall => 0,
        };
        let share = u32::try_from(length.min(self.outbox.capacity)).unwrap_or(u32::MAX);
        let bytes = self.outbox.bytes.clone().acquire_many_owned(share).await.ok();
        let queued =
            Queued { operation: self.operation.clone(), content, since: Instant::now(), _bytes: bytes, _room: room };
        self.outbox.messages.send(Box::new(queued)).await.unwrap_or_default();
    }
}

/// The members that the writer of a socket serves, in turn.
#[derive(Default)]
pub(super) struct Handed(VecDeque<(Arc<Operation>, Handover)>);

impl Handed {
    pub(super) fn add(&mut self, operation: Arc<Operation>, handover: Handover) {
        self.0.push_back((operation, handover));
    }

    /// Gives the member of an operation back, if it is still here.
    pub(super) fn recall(&mut self, operation: &Arc<Operation>) {
        let Some(at) = self.0.iter().position(|(held, _)| Arc::ptr_eq(held, operation)) else { return };
        if let Some((_, Handover { member, back })) = self.0.remove(at) {
            back.send(Returned::Behind(member.standing())).unwrap_or_default();
        }
    }

    /// The next message of any of them; never, while none has one.
    pub(super) async fn next(&mut self) -> String {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<String> {
        for _ in 0..self.0.len() {
            let Some((operation, mut handover)) = self.0.pop_front() else { break };
            // The operation's task is gone: the client has completed it.
            if operation.is_completed() || handover.back.poll_closed(cx).is_ready() {
                continue;
            }
            let returned = match handover.member.poll_turn(cx) {
                Poll::Pending => {
                    self.0.push_back((operation, handover));
                    continue;
                }
                Poll::Ready(Turn::Item(Item::Next(payload))) => {
                    let text = operation.next_of(&payload);
                    self.0.push_back((operation, handover));
                    return Poll::Ready(text);
                }
                Poll::Ready(Turn::Item(Item::Refused(errors))) => Returned::Refused(errors),
                Poll::Ready(Turn::Item(Item::Broken)) => Returned::Behind(handover.member.standing()),
                Poll::Ready(Turn::Behind) => Returned::Behind(handover.member.standing()),
                Poll::Ready(Turn::Ended) => Returned::Ended,
            };
            // A task that is gone wants nothing.
            handover.back.send(returned).unwrap_or_default();
        }
        Poll::Pending
    }
}
