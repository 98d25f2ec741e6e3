//! The outbox of one socket: the messages of its operations, bounded by count, bytes and age. Members of groups that
//! were handed to the socket's writer need no queue, because their frames wait in the group.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use async_graphql::{Response, ServerError};
use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::subprotocol::Subprotocol;
use crate::domain::Result;
use crate::server::execution::answer_memory::AnswerRoom;
use crate::server::share::frame::StreamItem;
use crate::server::share::member::{Member, MemberEvent, MemberStanding};

/// One use of an operation's id. The client may use the same id again for another operation.
pub(super) struct OperationUse {
    pub(super) id: String,
    subprotocol: Subprotocol,
    /// The beginning of a result message. The payload and a brace complete it.
    envelope: String,
    /// Whether the client has completed the operation.
    completed: AtomicBool,
}

impl OperationUse {
    pub(super) fn new(subprotocol: Subprotocol, id: String) -> Self {
        let envelope = subprotocol.envelope(&id);
        Self { id, subprotocol, envelope, completed: AtomicBool::new(false) }
    }

    /// Notes that the client has completed the operation.
    pub(super) fn complete(&self) {
        self.completed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_completed(&self) -> bool {
        self.completed.load(Ordering::Relaxed)
    }

    /// Writes a payload that is already JSON, and shared: it is copied once, into the message.
    fn next_of(&self, payload: &str) -> String {
        let mut text = String::with_capacity(self.envelope.len() + payload.len() + 1);
        text.push_str(&self.envelope);
        text.push_str(payload);
        text.push('}');
        text
    }
}

/// The sender of a socket's messages, shared by its operations.
#[derive(Clone)]
pub(super) struct Outbox {
    // Boxed: a channel allocates room for 32 messages at its start, and most sockets never need it.
    messages: mpsc::Sender<Box<Queued>>,
    bytes: Arc<Semaphore>,
    capacity: usize,
}

/// A message of an operation in the outbox.
pub(super) struct Queued {
    pub(super) operation: Arc<OperationUse>,
    pub(super) content: Content,
    pub(super) since: Instant,
    /// The message's permits of the outbox's bytes, returned when the writer takes the message.
    _bytes: Option<OwnedSemaphorePermit>,
    /// The answer's room among the answers of all requests.
    _room: Option<AnswerRoom>,
}

pub(super) enum Content {
    /// One of several messages.
    Next(String),
    /// The last message of its operation.
    Last(String),
    /// From here on the writer takes the frames from the group.
    Member(Handover),
    /// The writer has to give the member back.
    Recall,
}

/// A member, and the channel on which it returns.
pub(super) struct Handover {
    member: Box<Member>,
    back: oneshot::Sender<Returned>,
}

/// How a member returns from the writer.
pub(super) enum Returned {
    /// The member fell behind the tail of its group, or was recalled; it stands here.
    Behind(MemberStanding),
    /// The stream was refused with these errors.
    Refused(Arc<[ServerError]>),
    /// The stream is complete.
    Ended,
}

impl Outbox {
    pub(super) fn new(messages: usize, capacity: usize) -> (Self, mpsc::Receiver<Box<Queued>>) {
        let (messages, queue) = mpsc::channel(messages.max(1));
        (Self { messages, bytes: Arc::new(Semaphore::new(capacity)), capacity }, queue)
    }

    /// Returns the outbox for one operation.
    pub(super) fn of(&self, operation: Arc<OperationUse>) -> OperationOutbox {
        OperationOutbox { operation, outbox: self.clone() }
    }
}

/// The outbox of a socket, for one operation.
pub(super) struct OperationOutbox {
    operation: Arc<OperationUse>,
    outbox: Outbox,
}

impl OperationOutbox {
    /// Queues the single answer of an operation. The answer keeps its room until it is written.
    pub(super) async fn answer(&self, answer: &Response, mut room: AnswerRoom) -> Result<()> {
        let OperationUse { subprotocol, id, .. } = &*self.operation;
        let text = subprotocol.next(id, answer)?;
        room.fit(text.len());
        self.put_with(Content::Next(text), Some(room)).await;
        Ok(())
    }

    /// Queues a payload that is already JSON.
    pub(super) async fn next_of(&self, payload: &str) {
        self.put(Content::Next(self.operation.next_of(payload))).await;
    }

    pub(super) async fn error(&self, errors: &[ServerError]) -> Result<()> {
        let OperationUse { subprotocol, id, .. } = &*self.operation;
        self.put(Content::Last(subprotocol.error(id, errors)?)).await;
        Ok(())
    }

    pub(super) async fn complete(&self) -> Result<()> {
        let OperationUse { subprotocol, id, .. } = &*self.operation;
        self.put(Content::Last(subprotocol.complete(id)?)).await;
        Ok(())
    }

    /// Hands the member to the writer, which takes the frames from the group after everything that was queued before.
    /// Ends when the member returns; once `recall` resolves, the writer has to return it.
    pub(super) fn hand_over<'a>(
        &'a self,
        member: Box<Member>,
        mut recall: Pin<Box<impl Future<Output = ()> + Send + 'a>>,
    ) -> impl Future<Output = Returned> + Send + 'a {
        let (back, mut returned) = oneshot::channel();
        // On the heap while it lasts: this task waits here for days, and its size would include the future otherwise.
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
            // The writer drops the member only with its socket, which ends this task as well.
            came_back.unwrap_or(Returned::Ended)
        }
    }

    /// Waits for room in the outbox (back-pressure). If the socket is gone, this does nothing, and the task ends too.
    async fn put(&self, content: Content) {
        self.put_with(content, None).await;
    }

    async fn put_with(&self, content: Content, room: Option<AnswerRoom>) {
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

/// The members that the writer of a socket serves, in rotation.
#[derive(Default)]
pub(super) struct Handed(VecDeque<(Arc<OperationUse>, Handover)>);

impl Handed {
    pub(super) fn add(&mut self, operation: Arc<OperationUse>, handover: Handover) {
        self.0.push_back((operation, handover));
    }

    /// Gives the member of an operation back, if it is still here.
    pub(super) fn recall(&mut self, operation: &Arc<OperationUse>) {
        let Some(at) = self.0.iter().position(|(held, _)| Arc::ptr_eq(held, operation)) else { return };
        if let Some((_, Handover { member, back })) = self.0.remove(at) {
            back.send(Returned::Behind(member.standing())).unwrap_or_default();
        }
    }

    /// Waits for the next message of any member.
    pub(super) async fn next(&mut self) -> String {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<String> {
        for _ in 0..self.0.len() {
            let Some((operation, mut handover)) = self.0.pop_front() else { break };
            // The client has completed the operation, and its task is gone.
            if operation.is_completed() || handover.back.poll_closed(cx).is_ready() {
                continue;
            }
            let returned = match handover.member.poll_next(cx) {
                Poll::Pending => {
                    self.0.push_back((operation, handover));
                    continue;
                }
                Poll::Ready(MemberEvent::Item(StreamItem::Next(payload))) => {
                    let text = operation.next_of(&payload);
                    self.0.push_back((operation, handover));
                    return Poll::Ready(text);
                }
                Poll::Ready(MemberEvent::Item(StreamItem::Refused(errors))) => Returned::Refused(errors),
                Poll::Ready(MemberEvent::Item(StreamItem::Broken)) => Returned::Behind(handover.member.standing()),
                Poll::Ready(MemberEvent::Behind) => Returned::Behind(handover.member.standing()),
                Poll::Ready(MemberEvent::Ended) => Returned::Ended,
            };
            // A task that is gone needs no answer.
            handover.back.send(returned).unwrap_or_default();
        }
        Poll::Pending
    }
}
