//! A network between a desk and its database, to be taken away: it forwards, it swallows without a word, it cuts, it leads
//! elsewhere. It reads what a desk says to PostgreSQL, so that it can cut at one message of a transaction that writes.

use std::sync::{Arc, Mutex};

pub(crate) use super::wire::Break;
use super::wire::{self, Frames};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What becomes of a connection. One that was made before the latest change shares in it only for the worse.
#[derive(Clone, Debug, PartialEq)]
enum Way {
    /// Forwarded to this address.
    To(String),
    /// Held open, and nothing passes any more, in neither direction: no answer, no end.
    Silence,
    /// Closed.
    Cut,
}

/// The proxy. It ends with this value.
pub(crate) struct Proxy {
    address: String,
    way: Arc<watch::Sender<Way>>,
    plan: Plan,
    task: JoinHandle<()>,
}

/// What is to break.
type Plan = Arc<Mutex<wire::Plan>>;

impl Proxy {
    /// A proxy to the server of a database's address.
    pub(crate) async fn to(database_url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let (way, _) = watch::channel(Way::To(host(database_url).to_owned()));
        let way = Arc::new(way);
        let plan = Plan::default();
        let task = tokio::spawn(accept(listener, way.clone(), plan.clone()));
        Self { address, way, plan, task }
    }

    /// A database's address by way of this proxy.
    pub(crate) fn url(&self, database_url: &str) -> String {
        database_url.replacen(host(database_url), &self.address, 1)
    }

    /// From now on nothing passes and nothing is said, as behind a firewall that forgot its connections. Those that are open
    /// now stay so for ever.
    pub(crate) fn fall_silent(&self) {
        self.way.send_replace(Way::Silence);
    }

    /// Closes every connection, and each new one at once.
    pub(crate) fn cut(&self) {
        self.way.send_replace(Way::Cut);
    }

    /// Breaks at the n-th message, counted from one, that is sent from now on in transactions that write, BEGIN and COMMIT
    /// included. It does so once.
    pub(crate) fn break_at(&self, n: usize, how: Break) {
        *self.plan.lock().expect("a plan") = wire::Plan { left: n, how, only_commits: false };
    }

    /// Breaks at the next COMMIT, once.
    pub(crate) fn break_at_commit(&self, how: Break) {
        *self.plan.lock().expect("a plan") = wire::Plan { left: 1, how, only_commits: true };
    }

    /// Whether it has met the message.
    pub(crate) fn has_broken(&self) -> bool {
        self.plan.lock().expect("a plan").has_broken()
    }

    /// Breaks at no message any more; whether it did.
    pub(crate) fn mend(&self) -> bool {
        std::mem::take(&mut *self.plan.lock().expect("a plan")).has_broken()
    }

    /// Leads new connections to the server of this address; those to another one are cut.
    pub(crate) fn lead_to(&self, database_url: &str) {
        self.way.send_replace(Way::To(host(database_url).to_owned()));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// `127.0.0.1:port` of `postgres://user:password@127.0.0.1:port/database`.
fn host(url: &str) -> &str {
    let (server, _) = url.rsplit_once('/').expect("a database's address has a path");
    server.rsplit_once('@').expect("a user").1
}

async fn accept(listener: TcpListener, way: Arc<watch::Sender<Way>>, plan: Plan) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.expect("a connection");
        connections.spawn(connection(client, way.subscribe(), plan.clone()));
        // Those that have ended leave no trace.
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
        // Held as well: the server is told as little as the client.
        server = Some(stream);
    }
    let now = way.borrow().clone();
    if now == Way::Silence {
        std::future::pending::<()>().await;
    }
    drop((client, server));
}

/// Forwards until one side ends, or what is planned breaks.
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
                            // Only these are answered; the answer is kept back, so the server has done it.
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

/// Reads what the server says until it is ready for the next question.
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
