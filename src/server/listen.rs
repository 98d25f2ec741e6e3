//! The listener: from the first connection to the orderly stop.
//!
//! Connections live on a runtime of their own, which does little: it accepts, reads heads, writes, and answers the
//! liveness check. Requests to the desk run on another runtime (`edge/runtime.rs`), so that no request delays the
//! connections of others.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::sync::watch;

use super::desk::Desk;
use super::edge::connections::counted;
use super::edge::shutdown::stopped;
use super::edge::timeouts::TimedListener;
use super::routes::router;
use super::settings::Settings;
use crate::domain::{Error, Result};

/// Threads for connections: while one writes a large answer, the other accepts.
const THREADS: usize = 2;

/// How long requests may run after the signal to stop. Queries end earlier (`execution/executor.rs`).
const REQUESTS_END: Duration = Duration::from_secs(6);

/// How long sockets, and mutations without a client, may run after the signal to stop.
const SOCKETS_END: Duration = Duration::from_secs(7);

/// How long the process may run after the signal to stop, whatever it does. Supervisors kill it after 10 s.
const PROCESS_END: Duration = Duration::from_secs(9);

/// Listens on an address. Refuses an address that is taken or does not belong to this machine.
pub async fn bind(address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| Error::invalid("listen", format!("{address} cannot be listened on ({error})")))
}

/// Serves a desk until the process receives the signal to stop. Then sockets are closed with 1012 and streams break
/// off, after which clients reconnect. Requests may finish in time; later they are broken off. The process ends within
/// 9 s of the signal even if a part of it hangs.
pub async fn serve(listener: TcpListener, desk: Desk, settings: Settings) -> Result<()> {
    let edge = runtime::Builder::new_multi_thread().worker_threads(THREADS).thread_name("edge").enable_all().build();
    let edge = edge.map_err(|error| Error::fault("starting the runtime of connections", error))?;
    let (stop, shutdown) = watch::channel(false);
    let settings = within_files(settings);
    let bounds = settings.clone();
    // The router is made here, because requests run on the runtime that makes it.
    let router = router(desk, settings, shutdown);
    // The listener belongs to the runtime that takes it over with `from_std`.
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
    // Not `stop`: open sockets and streams hold receivers of it.
    let (stop_waiting, stopping) = watch::channel(false);
    let listener = TimedListener::new(listener, bounds.connections.clone(), bounds.http.write_deadline, stopping);
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

/// Ends the process in time, whatever its runtimes do. No acknowledged change is lost, because it was committed before.
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

/// Limits the connections to the number of files that this process may open. Raises the soft limit of files to the hard
/// limit first: the soft limit is for programs that cannot handle file numbers beyond 1,024.
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
    settings.admission.sockets = settings.admission.sockets.min(settings.connections.sockets_max());
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
