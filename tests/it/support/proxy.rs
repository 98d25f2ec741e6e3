//! A proxy between a desk and its database that simulates network faults: it forwards, goes silent, cuts, or redirects.
//! It parses the desk's messages to PostgreSQL, so that it can break at one message of a writing transaction.

use std::sync::{Arc, Mutex};

pub(crate) use super::wire::Break;
use super::wire::{self, Frames};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// The fate of a connection. A later change affects an older connection only if it is for the worse.
#[derive(Clone, Debug, PartialEq)]
enum Way {
    /// The connection is forwarded to this address.
    To(String),
    /// The connection stays open, and no byte passes in either direction: no answer, no end.
    Silence,
    /// The connection is closed.
    Cut,
}

/// The proxy. It ends with this value.
pub(crate) struct Proxy {
    address: String,
    way: Arc<watch::Sender<Way>>,
    plan: Plan,
    task: JoinHandle<()>,
}

/// The planned break.
type Plan = Arc<Mutex<wire::Plan>>;

impl Proxy {
    /// Starts a proxy to the server of a database's address.
    pub(crate) async fn to(database_url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let (way, _) = watch::channel(Way::To(host(database_url).to_owned()));
        let way = Arc::new(way);
        let plan = Plan::default();
        let task = tokio::spawn(accept(listener, way.clone(), plan.clone()));
        Self { address, way, plan, task }
    }

    /// Returns a database's address through this proxy.
    pub(crate) fn url(&self, database_url: &str) -> String {
        database_url.replacen(host(database_url), &self.address, 1)
    }

    /// Stops all bytes from now on without closing a connection, as a firewall does that forgot its connections.
    /// Connections that are open now stay silent for ever.
    pub(crate) fn fall_silent(&self) {
        self.way.send_replace(Way::Silence);
    }

    /// Closes every connection, and each new one at once.
    pub(crate) fn cut(&self) {
        self.way.send_replace(Way::Cut);
    }

    /// Breaks once at the n-th message from now on, counted from one. Only messages in writing transactions count, with
    /// BEGIN and COMMIT.
    pub(crate) fn break_at(&self, n: usize, how: Break) {
        *self.plan.lock().expect("a plan") = wire::Plan { left: n, how, only_commits: false };
    }

    /// Breaks at the next COMMIT, once.
    pub(crate) fn break_at_commit(&self, how: Break) {
        *self.plan.lock().expect("a plan") = wire::Plan { left: 1, how, only_commits: true };
    }

    /// Returns whether the planned break has happened.
    pub(crate) fn has_broken(&self) -> bool {
        self.plan.lock().expect("a plan").has_broken()
    }

    /// Cancels the planned break, and returns whether it had happened.
    pub(crate) fn mend(&self) -> bool {
        std::mem::take(&mut *self.plan.lock().expect("a plan")).has_broken()
    }

    /// Sends new connections to the server of this address, and cuts connections to other servers.
    pub(crate) fn lead_to(&self, database_url: &str) {
        self.way.send_replace(Way::To(host(database_url).to_owned()));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns `127.0.0.1:port` of `postgres://user:password@127.0.0.1:port/database`.
fn host(url: &str) -> &str {
    let (server, _) = url.rsplit_once('/').expect("a database's address has a path");
    server.rsplit_once('@').expect("a user").1
}

async fn accept(listener: TcpListener, way: Arc<watch::Sender<Way>>, plan: Plan) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.expect("a connection");
        connections.spawn(connection(client, way.subscribe(), plan.clone()));
        // Forget the connections that have ended.
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(mut client: TcpStream, mut way: watch::Receiver<Way>, plan: Plan) {
    let begun = way.borrow_and_update().clone();
    let mut server = None;
    if let Way::To(address) = &begun {
        let Ok(mut stream) = TcpStream::connect(address).await else { return };
        client.set_nodelay(true).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        tokio::select! {
            _ = forward(&mut client, &mut stream, &plan) => return,
            _ = way.wait_for(|way| *way != begun) => {}
        }
        // Keep it open too: the server learns as little as the client.
        server = Some(stream);
    }
    let now = way.borrow().clone();
    if now == Way::Silence {
        std::future::pending::<()>().await;
    }
    drop((client, server));
}

/// Forwards until one side ends, or until the planned break happens.
async fn forward(client: &mut TcpStream, server: &mut TcpStream, plan: &Plan) -> std::io::Result<()> {
    let (mut frames, mut asked, mut answer) = (Frames::default(), vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        tokio::select! {
            count = client.read(&mut asked) => {
                match count? {
                    0 => return Ok(()),
                    count => frames.add(&asked[..count]),
                }
                while let Some(frame) = frames.next() {
                    let how = plan.lock().expect("a plan").meet(&mut frames, &frame);
                    match how {
                        Break::Nothing => server.write_all(&frame).await?,
                        Break::Before => return Ok(()),
                        Break::After | Break::Mute => {
                            server.write_all(&frame).await?;
                            // Only these messages are answered. The answer is held back, so the server has executed the
                            // message.
                            if matches!(frame[0], b'Q' | b'S') {
                                until_ready(server).await?;
                            }
                            if how == Break::Mute {
                                std::future::pending::<()>().await;
                            }
                            return Ok(());
                        }
                        Break::Abort => {
                            server.write_all(&wire::query("SELECT 1 / 0")).await?;
                            until_ready(server).await?;
                            server.write_all(&frame).await?;
                        }
                    }
                }
            }
            count = server.read(&mut answer) => match count? {
                0 => return Ok(()),
                count => client.write_all(&answer[..count]).await?,
            },
        }
    }
}

/// Reads the server's messages until it is ready for the next query.
async fn until_ready(server: &mut TcpStream) -> std::io::Result<()> {
    let mut frames = Frames::of_a_server();
    let mut said = vec![0; 64 << 10];
    loop {
        while let Some(frame) = frames.next() {
            if frame[0] == b'Z' {
                return Ok(());
            }
        }
        match server.read(&mut said).await? {
            0 => return Ok(()),
            count => frames.add(&said[..count]),
        }
    }
}
