//! Cuts connections whose peer takes none of the bytes written to it, sends half a request, or asks for nothing.
//!
//! Code above a connection cannot do that. While the buffers of a connection are full, hyper asks for no more data, so
//! a stream would wait with the connection for ever, and its client would believe that nothing happens. Before a
//! request is whole, no route counts it. A connection with a request in flight is never idle. Sockets and streams are
//! requests in flight: they have pings and heartbeats of their own.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep};

use super::connections::{ConnectionSettings, ConnectionSlot, Connections, Peer, SPARE_WAIT};
use super::http2_heads::HeadFrames;
use super::hyper_answers;
use super::shutdown::{Shutdown, stopped};

/// How long a peer that takes nothing has left when the server stops: other requests should not wait for it.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// How long a peer that acknowledges nothing counts as present: as long as proxies wait. The kernel's default is a
/// quarter of an hour.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(60);

/// The pause before the next attempt after a failed accept: mostly the process has no free file.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// The first bytes of an HTTP/2 connection. No method of HTTP/1.1 begins with them.
const PREFACE: &[u8; 3] = b"PRI";

/// The answer to a connection for which there is no room, before it is closed.
const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json; charset=utf-8\r\n\
    cache-control: no-store\r\nx-content-type-options: nosniff\r\nconnection: close\r\ncontent-length: 117\r\n\r\n\
    {\"errors\":[{\"message\":\"the desk serves no more connections at once; try again\",\"extensions\":{\"code\":\"UNAVAILABLE\"}}]}";

/// A listener that cuts connections whose peer has gone.
pub struct TimedListener {
    listener: TcpListener,
    connections: Connections,
    deadline: Duration,
    /// Turns true when the server stops.
    stopping: Shutdown,
}

impl TimedListener {
    /// Makes a listener with these limits. A peer may take nothing for as long as `write_deadline`, or for a second
    /// once `stopping` is true.
    pub fn new(
        listener: TcpListener,
        settings: ConnectionSettings,
        write_deadline: Duration,
        stopping: Shutdown,
    ) -> Self {
        Self { listener, connections: Connections::new(settings), deadline: write_deadline, stopping }
    }
}

impl Listener for TimedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let (stream, address) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    recover(&error, &self.connections).await;
                    continue;
                }
            };
            let Some(place) = self.connections.admit(address.ip()) else {
                tracing::warn!("a connection found no room: all that there may be are busy");
                // Best effort: the server does not wait for a peer that does not take this at once.
                stream.try_write(NO_ROOM).ok();
                continue;
            };
            if let Err(error) = prepare(&stream) {
                tracing::debug!(%error, "a connection keeps the usual options");
            }
            let (deadline, stopping) = (self.deadline, self.stopping.clone());
            let patience = Patience::new(place);
            return (Connection { stream, deadline, stopping, stall: None, patience, instead: None }, address);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, TimedListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TimedListener>) -> Self {
        Peer(stream.io().patience.place.activity.clone())
    }
}

/// Handles a failed accept. A connection that is already gone is ignored. Otherwise idle connections are closed, in
/// case the process has no free file.
async fn recover(error: &io::Error, connections: &Connections) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
        return;
    }
    let made_room = connections.make_room();
    tracing::warn!(%error, made_room, "a connection cannot be accepted, trying again");
    sleep(ACCEPT_PAUSE).await;
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    // A frame must not wait for the peer's acknowledgement of the frame before it.
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(UNACKNOWLEDGED_MAX).with_interval(UNACKNOWLEDGED_MAX / 4))
}

/// A connection that is cut if its peer has gone.
pub struct Connection {
    stream: TcpStream,
    deadline: Duration,
    stopping: Shutdown,
    /// The deadline of the peer, set only while it takes nothing.
    stall: Option<BoxFuture<'static, ()>>,
    patience: Patience,
    /// The answer that replaces hyper's own, and how many bytes of it are written.
    instead: Option<Box<(Vec<u8>, usize)>>,
}

impl Connection {
    /// Replaces an answer of hyper's own by an answer with the usual headers; `None` if `bytes` are no such answer.
    /// Reports `bytes` as written once the whole replacement is written.
    fn poll_write_instead(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Option<Poll<io::Result<usize>>> {
        if self.instead.is_none() && !self.patience.place.activity.is_busy() {
            self.instead = hyper_answers::guarded(bytes).map(|answer| Box::new((answer, 0)));
        }
        let (answer, written) = &mut **self.instead.as_mut()?;
        while *written < answer.len() {
            match Pin::new(&mut self.stream).poll_write(cx, &answer[*written..]) {
                Poll::Ready(Ok(more)) if more > 0 => *written += more,
                other => return Some(other),
            }
        }
        self.instead = None;
        Some(Poll::Ready(Ok(bytes.len())))
    }

    /// Applies the deadline to the result of a write: any byte taken gives the peer new time.
    fn paced(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stall = None;
            self.patience.taken();
            return written;
        }
        let (deadline, mut stopping) = (self.deadline, self.stopping.clone());
        let stall = self.stall.get_or_insert_with(|| {
            let last_wait = async move {
                stopped(&mut stopping).await;
                sleep(LAST_WAIT).await;
            };
            async move {
                tokio::select! {
                    () = sleep(deadline) => {}
                    () = last_wait => {}
                }
            }
            .boxed()
        });
        ready!(stall.as_mut().poll(cx));
        tracing::debug!("a peer did not read, its connection is cut");
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// The timeouts of a connection without a request.
struct Patience {
    place: ConnectionSlot,
    /// The deadline of a connection without a request, and whether it is the deadline of a request head.
    quiet: Option<(Pin<Box<Sleep>>, bool)>,
    /// The first bytes of the connection, at most the length of the preface.
    first: Vec<u8>,
    /// The heads over HTTP/2, and the deadline of an unfinished one.
    frames: HeadFrames,
    head: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn new(place: ConnectionSlot) -> Self {
        Self { place, quiet: None, first: Vec::new(), frames: HeadFrames::default(), head: None }
    }

    /// Notes bytes from the peer. In HTTP/1.1, bytes outside a request begin the next request; in HTTP/2 they need not.
    fn sent(&mut self, bytes: &[u8]) {
        let missing = PREFACE.len() - self.first.len();
        self.first.extend(bytes.iter().take(missing));
        // A connection without the preface is not HTTP/2, and its frames are not read.
        if PREFACE.starts_with(&self.first) {
            let has_ended = self.frames.sent(bytes);
            // The next head has a deadline of its own, even if it begins in the same bytes.
            if has_ended || !self.frames.in_head() {
                self.head = None;
            }
        }
        let activity = &self.place.activity;
        let between_requests = !activity.is_busy() && !activity.is_in_head();
        if self.first != PREFACE && between_requests && !bytes.is_empty() {
            activity.head_begins();
            self.quiet = None;
        }
    }

    /// Notes that the peer took bytes.
    fn taken(&mut self) {
        let idle_wait = self.place.settings().idle_wait;
        // Reset and not dropped: HTTP/2 may write after its last poll for incoming data.
        if let Some((quiet, false)) = &mut self.quiet {
            quiet.as_mut().reset(Instant::now() + idle_wait);
        }
    }

    /// Returns whether to close the connection. Otherwise the reader is woken when that may have changed.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let activity = &self.place.activity;
        activity.watch(cx);
        if activity.is_cut() {
            return !activity.is_busy();
        }
        // Other requests in flight do not matter: an unfinished head blocks every further request on this connection.
        if self.frames.in_head() && self.first == PREFACE {
            let wait = self.place.settings().head_wait;
            let head = self.head.get_or_insert_with(|| Box::pin(sleep(wait)));
            if head.as_mut().poll(cx).is_ready() {
                return true;
            }
        }
        if activity.is_busy() {
            self.quiet = None;
            return false;
        }
        let in_head = activity.is_in_head();
        if self.quiet.as_ref().is_none_or(|(_, of_head)| *of_head != in_head) {
            let settings = self.place.settings();
            let wait = if activity.is_spare() {
                SPARE_WAIT
            } else if in_head {
                settings.head_wait
            } else {
                settings.idle_wait
            };
            self.quiet = Some((Box::pin(sleep(wait)), in_head));
        }
        self.quiet.as_mut().is_some_and(|(quiet, _)| quiet.as_mut().poll(cx).is_ready())
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        match read {
            Poll::Ready(Ok(())) => self.patience.sent(&buffer.filled()[before..]),
            Poll::Ready(Err(_)) => {}
            Poll::Pending if self.patience.is_over(cx) => {
                tracing::debug!("a connection asks for nothing, it is closed");
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            Poll::Pending => {}
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let instead = self.poll_write_instead(cx, bytes);
        let written = instead.unwrap_or_else(|| Pin::new(&mut self.stream).poll_write(cx, bytes));
        self.paced(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let instead = match slices {
            [only] => self.poll_write_instead(cx, only),
            _ => None,
        };
        let written = instead.unwrap_or_else(|| Pin::new(&mut self.stream).poll_write_vectored(cx, slices));
        self.paced(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
