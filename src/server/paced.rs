//! Connections whose peers read: one that takes nothing of what is written to it for too long is cut.
//!
//! Nothing above a connection can do that. While its buffers are full it asks nobody for more, so a response that goes on
//! would wait with it for ever, and the client would believe that nothing happens.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::routes::{Shutdown, stopped};

/// How long a peer has that takes nothing when the server goes down: requests of others should not wait for it.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// A listener for connections that are cut where their peer does not read.
pub struct Paced {
    listener: TcpListener,
    deadline: Duration,
    /// Turns true when the server goes down.
    stopping: Shutdown,
}

impl Paced {
    /// Listens on; a peer may take nothing for as long as `deadline`, or a second once `stopping` is true.
    pub fn new(listener: TcpListener, deadline: Duration, stopping: Shutdown) -> Self {
        Self { listener, deadline, stopping }
    }
}

impl Listener for Paced {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.listener).await;
        // A frame must not wait for the peer's acknowledgement of the one before it.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps its delay");
        }
        (Connection { stream, deadline: self.deadline, stopping: self.stopping.clone(), stall: None }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that is cut where its peer does not read.
pub struct Connection {
    stream: TcpStream,
    deadline: Duration,
    stopping: Shutdown,
    /// Ends when the peer has had its time; only while it takes nothing.
    stall: Option<BoxFuture<'static, ()>>,
}

impl Connection {
    /// What a write means for the peer's time: it has more of it as soon as it takes anything.
    fn paced(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stall = None;
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

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.paced(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
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
