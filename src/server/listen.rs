//! The listener: from the first connection to the last goodbye.

use std::net::SocketAddr;
use std::time::Duration;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::paced::Paced;
use super::routes::Settings;
use super::{Desk, router};
use crate::domain::{Error, Result};

/// How long requests, and then sockets, may take to end after the signal to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// Listens on an address; one that is taken, or not ours, is refused.
pub async fn bind(address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| Error::invalid("listen", format!("{address} cannot be listened on ({error})")))
}

/// Serves a desk until the process is told to stop: sockets are closed with 1012 and streams break off, which clients answer
/// by coming back, and requests may finish.
pub async fn serve(listener: TcpListener, desk: Desk, settings: Settings) -> Result<()> {
    let (stop, shutdown) = watch::channel(false);
    // Not `stop`, which is held by what is still open.
    let (stop_waiting, stopping) = watch::channel(false);
    let listener = Paced::new(listener, settings.http.write_deadline, stopping);
    let router = router(desk, settings, shutdown).into_make_service_with_connect_info::<SocketAddr>();
    let told = {
        let stop = stop.clone();
        async move {
            told_to_stop().await;
            stop.send_replace(true);
            stop_waiting.send_replace(true);
        }
    };
    // The tap does nothing; through it axum learns the peer's address from any listener.
    let listener = listener.tap_io(|_| {});
    let served = async { axum::serve(listener, router).with_graceful_shutdown(told).await };
    let overdue = async {
        let mut told = stop.subscribe();
        let is_told = told.wait_for(|told| *told).await.is_ok();
        drop(told);
        match is_told {
            true => tokio::time::sleep(DRAIN).await,
            false => std::future::pending().await,
        }
    };
    tokio::select! {
        outcome = served => outcome.map_err(|error| Error::fault("serving", error))?,
        () = overdue => tracing::warn!("requests were still open after {} s", DRAIN.as_secs()),
    }
    if tokio::time::timeout(DRAIN, stop.closed()).await.is_err() {
        tracing::warn!("sockets were still open after {} s", DRAIN.as_secs());
    }
    Ok(())
}

/// Waits for Ctrl-C or SIGTERM.
async fn told_to_stop() {
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => {
            if let Err(error) = interrupted {
                tracing::warn!(%error, "Ctrl-C cannot be heard");
                std::future::pending::<()>().await;
            }
        }
        _ = terminated => {}
    }
    tracing::info!("told to stop: finishing requests, closing sockets");
}
