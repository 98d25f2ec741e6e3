//! One operation of a socket, from the request to its last message.
//!
//! It is a task of its own. It waits if the outbox has no room, so that a slow client slows its own streams only. Once
//! it is a member of a group, the socket's writer takes the frames from the group, and the task waits until the member
//! returns.

use std::sync::Arc;

use async_graphql::parser::types::OperationType;

use super::outbox::{OperationOutbox, Returned};
use crate::domain::Result;
use crate::graphql::error::{is_request_error, refuse};
use crate::server::edge::panics::caught;
use crate::server::operation::endpoint::Endpoint;
use crate::server::operation::parameters::Parameters;
use crate::server::operation::{prepare, refused};
use crate::server::served::Served;
use crate::server::share::client_subscription::ClientSubscription;
use crate::server::share::frame::StreamItem;

/// A subscription that the client believes to be open broke off: its socket has to be closed, so that the client
/// reconnects. After `complete` no client would reconnect, because it means that nothing more comes.
pub(super) struct BrokenSubscription;

/// Runs an operation to its end, with all messages through the outbox. Returns [`BrokenSubscription`] if the operation
/// broke off.
pub(super) async fn operate<E: Endpoint>(
    served: Arc<Served<E>>,
    account: Option<String>,
    parameters: Box<Parameters>,
    outbox: OperationOutbox,
) -> Option<BrokenSubscription> {
    let run = caught(run(&served, account, parameters, &outbox)).await;
    match run.and_then(|ran| ran) {
        Ok(broken) => broken,
        Err(fault) => {
            Box::pin(outbox.error(&refuse(fault).errors)).await.unwrap_or_default();
            None
        }
    }
}

async fn run<E: Endpoint>(
    served: &Arc<Served<E>>,
    account: Option<String>,
    parameters: Box<Parameters>,
    outbox: &OperationOutbox,
) -> Result<Option<BrokenSubscription>> {
    // Each part is on the heap while it lasts, because a task keeps the memory for its largest state for ever. There is
    // a task for each subscription. Nearly all are members of groups and need next to nothing.
    let Some(mut subscription) = Box::pin(begin(served, account, parameters, outbox)).await? else {
        return Ok(None);
    };
    let refused = loop {
        if let Some(member) = subscription.take_member() {
            match outbox.hand_over(member, Box::pin(subscription.callers_changed())).await {
                Returned::Behind(standing) => subscription.go_on_from(standing),
                Returned::Refused(errors) => break Some(errors),
                Returned::Ended => break None,
            }
        }
        match Box::pin(subscription.next()).await? {
            Some(StreamItem::Next(payload)) => Box::pin(outbox.next_of(&payload)).await,
            Some(StreamItem::Refused(errors)) => break Some(errors),
            Some(StreamItem::Broken) => return Ok(Some(BrokenSubscription)),
            None => break None,
        }
    };
    match refused {
        Some(errors) => Box::pin(outbox.error(&errors)).await?,
        None => Box::pin(outbox.complete()).await?,
    }
    Ok(None)
}

/// Answers a query or a mutation. Returns a subscription for the caller to follow.
async fn begin<E: Endpoint>(
    served: &Arc<Served<E>>,
    account: Option<String>,
    parameters: Box<Parameters>,
    outbox: &OperationOutbox,
) -> Result<Option<Box<ClientSubscription<E>>>> {
    // Checked for each operation: a socket lives for days, and rights change meanwhile.
    let viewer = served.endpoint.admit(account.clone()).await?;
    let ready = match prepare(*parameters, viewer, &served.operations) {
        Ok(ready) => ready,
        Err(errors) => return outbox.error(&refused(errors).errors).await.map(|()| None),
    };
    if ready.operation == OperationType::Subscription {
        let subscription = ClientSubscription::new(&served.subscriptions, account, ready);
        return Ok(Some(Box::new(subscription)));
    }
    let room = served.answer_memory.room(&served.endpoint, &ready).await?;
    let answer = served.executor.execute(&served.endpoint, ready).await;
    if is_request_error(&answer) {
        return outbox.error(&answer.errors).await.map(|()| None);
    }
    outbox.answer(&answer, room).await?;
    outbox.complete().await.map(|()| None)
}
