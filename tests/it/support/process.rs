//! The real binary, to be killed as a power cut kills it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A server process of one's own. It is killed when this value is dropped.
pub(crate) struct Process {
    child: Child,
    /// `127.0.0.1:port`.
    pub(crate) address: String,
}

impl Process {
    /// Starts `watchfloor serve` on a database and a free port; returns when it listens.
    pub(crate) async fn serve(database_url: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_watchfloor"))
            .args(["serve", "--listen", "127.0.0.1:0", "--heartbeat-seconds", "1", "--ring-changes", "40"])
            .args(["--database-url", database_url])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        let (told, address) = tokio::sync::oneshot::channel();
        // Reads on until the end, so that the server never waits for a full pipe.
        std::thread::spawn(move || {
            let mut told = Some(told);
            for line in log.lines().map_while(Result::ok) {
                if let (Some(at), Some(_)) = (line.find("listen="), &told) {
                    let address = line[at + 7..].split_whitespace().next().expect("an address").to_owned();
                    told.take().expect("not told yet").send(address).ok();
                } else if line.contains(" WARN ") || line.contains(" ERROR ") || told.is_some() {
                    println!("server: {line}");
                }
            }
        });
        let address = address.await.expect("the server says where it listens");
        Self { child, address }
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it is there to be killed");
        self.child.wait().expect("it is dead");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
