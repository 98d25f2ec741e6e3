//! A WebSocket, from its upgrade to its end.
//!
//! One task holds a socket. It reads (`reader.rs`) and writes (`writer.rs`), and neither waits for the other. Each
//! operation is a task of its own that puts its messages, in order, into one bounded outbox. A full outbox makes the
//! operation wait (back-pressure), so a slow client slows its own streams and nothing else. A client that takes nothing
//! for [`SocketSettings::write_deadline`](crate::server::settings::SocketSettings::write_deadline) is closed with 1013,
//! after which clients reconnect. When a client has completed an operation, the messages that the operation left in the
//! outbox are not sent.

use std::sync::Arc;

use axum::extract::ws::WebSocket;
use futures_util::StreamExt;
use futures_util::stream::{FuturesUnordered, select_all};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::ending::Ending;
use super::outbox::{Handed, Outbox};
use super::reader::MessageReader;
use super::socket_state::Socket;
use super::subprotocol::Subprotocol;
use super::writer::{Writer, own_messages};
use crate::server::edge::admission::Admission;
use crate::server::edge::connections::Busy;
use crate::server::edge::shutdown::stopped;
use crate::server::operation::endpoint::Endpoint;
use crate::server::served::Served;

/// Direct answers to the client (acknowledgement, pongs, refusals) that may wait for the writer. While this many wait,
/// the reader reads nothing from the client.
const CONTROL_MESSAGES: usize = 64;

/// The bytes of waiting direct answers, in messages of the largest size: a pong echoes the payload of its ping. A
/// client that asks for more without reading is closed.
const CONTROL_LARGEST: usize = 2;

/// The upper limit of a setting in bytes: a semaphore grants permits in numbers of 32 bits, and holds fewer on small
/// machines.
const MOST_BYTES: usize = (u32::MAX >> 3) as usize;

/// The peer, as far as the upgrade request describes it.
pub(super) struct SocketPeer {
    pub(super) subprotocol: Subprotocol,
    /// The account that the header names.
    pub(super) account: Option<String>,
    pub(super) place: Admission,
    /// Marks the connection as in use while it is held.
    pub(super) _busy: Option<Busy>,
}

/// Serves a socket until it ends.
pub(super) async fn serve<E: Endpoint>(socket: WebSocket, served: Served<E>, peer: SocketPeer) {
    let SocketPeer { subprotocol, account, mut place, _busy } = peer;
    let settings = served.settings.socket.clone();
    let mut shutdown = served.shutdown.clone();
    let (mut sink, mut stream) = socket.split();
    let (controls, control_queue) = mpsc::channel(CONTROL_MESSAGES);
    let (outbox, queue) = Outbox::new(settings.outbox_messages, settings.outbox_bytes.clamp(1, MOST_BYTES));
    let socket = Socket::default();

    let mut reader = MessageReader {
        socket: &socket,
        place: &mut place,
        served: Arc::new(served),
        subprotocol,
        account,
        admitted: false,
        admission: None,
        init_received: false,
        operations: JoinSet::new(),
        controls,
        control_bytes: Arc::new(Semaphore::new(settings.message_bytes.saturating_mul(CONTROL_LARGEST).min(MOST_BYTES))),
        outbox,
    };
    let own = select_all([own_messages(settings.ping_every, control_queue, queue).boxed()]);
    let mut writer = Writer { socket: &socket, settings: &settings, own, handed: Handed::default() };
    let ending = {
        let listening = async {
            tokio::select! {
                ending = reader.run(&mut stream) => ending,
                () = stopped(&mut shutdown) => Ending::close(1012, "the desk restarts, come back"),
            }
        };
        // A set with one future, because the set gives it a waker of its own. A frame for all members wakes the writer
        // and does not poll the reader.
        let mut listening: FuturesUnordered<_> = std::iter::once(listening).collect();
        // Unbiased: the two share the budget of this task. A writer that always has something to write would starve the
        // reader.
        tokio::select! {
            ending = writer.run(&mut sink) => ending,
            Some(ending) = listening.next() => ending,
        }
    };
    // This ends the operations and leaves the groups before the wait for the peer's close frame.
    drop((reader, writer));
    ending.say(&mut sink, &mut stream, settings.close_wait).await;
}
