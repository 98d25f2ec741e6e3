//! The listener: from the first connection to the last goodbye.
//!
//! Connections live on a runtime of their own, which does little: it accepts, reads heads, writes, and answers whether the
//! process lives. What the desk is asked for runs elsewhere (`work.rs`), so that no request keeps others from being heard.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::sync::watch;

use super::connections::counted;
use super::paced::Paced;
use super::routes::{Settings, stopped};
use super::{Desk, router};
use crate::domain::{Error, Result};

/// Threads that connections live on: beside the one that writes a large answer another accepts.
const THREADS: usize = 2;

/// How long requests may take to end after the signal to stop. Queries end earlier (`work.rs`).
const REQUESTS_END: Duration = Duration::from_secs(6);

/// How long sockets, and mutations whose client is gone, may take to end after it.
const SOCKETS_END: Duration = Duration::from_secs(7);

/// How long the process may take to end after it, whatever it is at: below the 10 s after which supervisors kill.
const PROCESS_END: Duration = Duration::from_secs(9);

/// Listens on an address; one that is taken, or not ours, is refused.
pub async fn bind(address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| Error::invalid("listen", format!("{address} cannot be listened on ({error})")))
}

/// Serves a desk until the process is told to stop: sockets are closed with 1012 and streams break off, which clients answer
/// by coming back, and requests may finish. What is not finished in time is broken off, and the process ends within
/// 9 s of the signal even where something in it hangs.
pub async fn serve(listener: TcpListener, desk: Desk, settings: Settings) -> Result<()> {
    let edge = runtime::Builder::new_multi_thread().worker_threads(THREADS).thread_name("edge").enable_all().build();
    let edge = edge.map_err(|error| Error::fault("starting the runtime of connections", error))?;
    let (stop, shutdown) = watch::channel(false);
    let settings = within_files(settings);
    let bounds = settings.clone();
    // Here, as requests are answered where it is made.
    let router = router(desk, settings, shutdown);
    // The runtime that hears of its connections is the one that it is taken over by.
    let listener = listener.into_std().map_err(|error| Error::fault("handing over the listener", error))?;
    let served = edge.spawn(async move {
        let listener = TcpListener::from_std(listener).map_err(|error| Error::fault("serving", error))?;
        until_stopped(listener, &bounds, router, stop).await
    });
    let outcome = served.await.unwrap_or_else(|error| Err(Error::fault("serving", error)));
    edge.shutdown_background();
    outcome
}

async fn until_stopped(
    listener: TcpListener,
    bounds: &Settings,
    router: Router,
    stop: watch::Sender<bool>,
) -> Result<()> {
    // Not `stop`, which is held by what is still open.
    let (stop_waiting, stopping) = watch::channel(false);
    let listener = Paced::new(listener, bounds, stopping);
    let router = counted(router);
    let told = {
        let stop = stop.clone();
        async move {
            told_to_stop().await;
            end_in_time();
            stop.send_replace(true);
            stop_waiting.send_replace(true);
        }
    };
    let served = async { axum::serve(listener, router).with_graceful_shutdown(told).await };
    let after = async |wait: Duration| {
        let mut told = stop.subscribe();
        stopped(&mut told).await;
        drop(told);
        tokio::time::sleep(wait).await;
    };
    let mut sockets_end = pin!(after(SOCKETS_END));
    let all_ended = async {
        tokio::select! {
            outcome = served => outcome.map_err(|error| Error::fault("serving", error))?,
            () = after(REQUESTS_END) => tracing::warn!("requests were still open after {} s", REQUESTS_END.as_secs()),
        }
        stop.closed().await;
        Ok(())
    };
    tokio::select! {
        ended = all_ended => ended,
        () = &mut sockets_end => {
            tracing::warn!("sockets or mutations were still open {} s after the signal to stop", SOCKETS_END.as_secs());
            Ok(())
        }
    }
}

/// Ends the process in time, whatever its runtimes are at. Nothing acknowledged is lost by that: what was acknowledged was
/// committed.
fn end_in_time() {
    let end = || {
        std::thread::sleep(PROCESS_END);
        tracing::warn!(
            "something was still at work {} s after the signal to stop: it is broken off",
            PROCESS_END.as_secs()
        );
        std::process::exit(0);
    };
    if let Err(error) = std::thread::Builder::new().name("end".to_owned()).spawn(end) {
        tracing::warn!(%error, "the process may take longer to end than it should");
    }
}

/// The same settings, with no more connections than this process may open files for. It may open as many as its hard limit says:
/// the soft one is for programs that cannot count beyond 1,024.
fn within_files(mut settings: Settings) -> Settings {
    let mut files = getrlimit(Resource::Nofile);
    if files.current != files.maximum {
        let current = std::mem::replace(&mut files.current, files.maximum);
        if let Err(error) = setrlimit(Resource::Nofile, files) {
            tracing::warn!(%error, "the limit of open files stays where it is");
            files.current = current;
        }
    }
    let (wanted, files) = (settings.connections.connections, files.current.unwrap_or(u64::MAX));
    settings.connections = settings.connections.within_files(files);
    let connections = settings.connections.connections;
    if connections < wanted {
        tracing::info!(
            connections,
            files,
            "fewer connections are served than the settings say: files are left to all else"
        );
    }
    settings.crowd.sockets = settings.crowd.sockets.min(settings.connections.sockets_max());
    settings
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
