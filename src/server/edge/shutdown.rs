//! The signal that the server stops.

use tokio::sync::watch;

/// Turns true when the server stops. Then every socket is closed with 1012, and every streaming response breaks off,
/// after which clients reconnect.
///
/// Each socket and stream holds a receiver until it is closed, and so does the router. The holder of the sender
/// therefore waits for them with `sender.closed()`, after the listener has ended.
pub type Shutdown = watch::Receiver<bool>;

/// Resolves when the server stops. Never resolves if the sender is gone.
pub(in crate::server) async fn stopped(shutdown: &mut Shutdown) {
    if shutdown.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}
