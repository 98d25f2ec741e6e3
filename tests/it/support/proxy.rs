//! A network between a desk and its database, to be taken away: it forwards, it swallows without a word, it cuts, it leads
//! elsewhere.

use std::sync::Arc;

use tokio::io::copy_bidirectional;
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
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy to the server of a database's address.
    pub(crate) async fn to(database_url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let (way, _) = watch::channel(Way::To(host(database_url).to_owned()));
        let way = Arc::new(way);
        let task = tokio::spawn(accept(listener, way.clone()));
        Self { address, way, task }
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

async fn accept(listener: TcpListener, way: Arc<watch::Sender<Way>>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.expect("a connection");
        connections.spawn(connection(client, way.subscribe()));
        // Those that have ended leave no trace.
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(mut client: TcpStream, mut way: watch::Receiver<Way>) {
    let begun = way.borrow_and_update().clone();
    let mut server = None;
    if let Way::To(address) = &begun {
        let Ok(mut stream) = TcpStream::connect(address).await else { return };
        client.set_nodelay(true).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        tokio::select! {
            _ = copy_bidirectional(&mut client, &mut stream) => return,
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
