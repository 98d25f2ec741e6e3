//! The real binary as a process, which a test can kill as a loss of power would.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Returns the CPU time of a process in seconds, as the kernel counts it.
pub(crate) fn cpu_seconds(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or_default();
    // Linux counts a hundred ticks a second.
    (ticks(11) + ticks(12)) / 100.0
}

/// The reader of a server's log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Log {
    /// The test reads it to the end.
    Read,
    /// Its pipe is closed once the server listens.
    Closed,
}

/// A separate server process. It is killed when this value is dropped.
pub(crate) struct Process {
    child: Child,
    /// `127.0.0.1:port`.
    pub(crate) address: String,
    /// The lines that it has written to its log so far.
    log: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts `watchfloor serve` on a database and a free port; returns when it listens.
    pub(crate) async fn serve(database_url: &str) -> Self {
        Self::serve_at(database_url, "127.0.0.1:0").await
    }

    /// Starts it at a chosen address, for example at the address of a killed server.
    pub(crate) async fn serve_at(database_url: &str, listen: &str) -> Self {
        Self::serve_with(database_url, listen, &[]).await
    }

    /// Starts it at a chosen address with more settings.
    pub(crate) async fn serve_with(database_url: &str, listen: &str, settings: &[&str]) -> Self {
        let program = Command::new(env!("CARGO_BIN_EXE_watchfloor"));
        Self::started(program, database_url, listen, settings, Log::Read).await
    }

    /// Starts it on a free port, with a log that nobody reads.
    pub(crate) async fn serve_unread(database_url: &str) -> Self {
        let program = Command::new(env!("CARGO_BIN_EXE_watchfloor"));
        Self::started(program, database_url, "127.0.0.1:0", &[], Log::Closed).await
    }

    /// Starts it on a free port, with an allocator that returns freed memory at once. Otherwise jemalloc keeps freed
    /// memory for some seconds.
    pub(crate) async fn serve_without_slack(database_url: &str) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_watchfloor"));
        program.env("MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0");
        Self::started(program, database_url, "127.0.0.1:0", &[], Log::Read).await
    }

    /// Starts it on a free port, with a limit of open files.
    pub(crate) async fn serve_within_files(database_url: &str, files: u32) -> Self {
        let mut shell = Command::new("sh");
        let run = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
        shell.args(["-c", &run, env!("CARGO_BIN_EXE_watchfloor")]);
        Self::started(shell, database_url, "127.0.0.1:0", &[], Log::Read).await
    }

    async fn started(mut program: Command, database_url: &str, listen: &str, settings: &[&str], reader: Log) -> Self {
        let mut child = program
            .env("WATCHFLOOR_HEARTBEAT_SECONDS", "1")
            .env("WATCHFLOOR_RING_CHANGES", "40")
            .args(["serve", "--listen", listen, "--database-url", database_url])
            .args(settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        let (told, address) = tokio::sync::oneshot::channel();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let written = lines.clone();
        // Read to the end, so that the server never waits for a full pipe.
        std::thread::spawn(move || {
            // No test contains a loss of power, which fsync is for.
            let is_news = |line: &str| !line.contains("fsync or full_page_writes is off");
            let mut told = Some(told);
            let mut log = log.lines();
            while let Some(Ok(line)) = log.next() {
                written.lock().expect("whole").push(line.clone());
                if let (Some(at), Some(_)) = (line.find("listen="), &told) {
                    let address = line[at + 7..].split_whitespace().next().expect("an address").to_owned();
                    let told = told.take().expect("not told yet");
                    if reader == Log::Closed {
                        drop(log);
                        told.send(address).ok();
                        return;
                    }
                    told.send(address).ok();
                } else if (line.contains(" WARN ") || line.contains(" ERROR ") || told.is_some()) && is_news(&line) {
                    println!("server: {line}");
                }
            }
        });
        let address = address.await.expect("the server says where it listens");
        Self { child, address, log: lines }
    }

    /// Returns the lines of its log that contain a text.
    pub(crate) fn logged(&self, text: &str) -> Vec<String> {
        self.log.lock().expect("whole").iter().filter(|line| line.contains(text)).cloned().collect()
    }

    /// Returns its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it ends by itself, and returns its exit code.
    pub(crate) async fn end(mut self) -> Option<i32> {
        let id = self.id();
        let end = async {
            loop {
                if let Some(status) = self.child.try_wait().expect("a child") {
                    return status.code();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), end).await.unwrap_or_else(|_| panic!("process {id} does not end"))
    }

    /// Sends SIGTERM, as a supervisor does to stop a process.
    pub(crate) fn terminate(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.id().to_string()]).status().expect("kill runs");
        assert!(sent.success(), "the process is there to be told");
    }

    /// Sends SIGKILL (`kill -9`).
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
