//! Eight writers while their desk's disk fills up and is emptied, and while their desk is killed. Each acknowledged
//! incident is there once, under its number.
//!
//! `make test` has a short run of each; `make faults` fills the disk 20 times and kills 200 times.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;
use tempfile::TempDir;

use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::oracle::Driver;
use crate::support::process::Process;
use crate::support::waiting::{PATIENCE, a_moment};

each_database!(a_desk_that_is_killed_under_writers_loses_nothing_that_it_acknowledged);

const WRITERS: usize = 8;

/// The size of the small disk.
const DISK_BYTES: u64 = 8 << 20;

const CREATE: &str = "mutation($id: UUID!, $title: String!) {
    createIncident(input: { id: $id, title: $title }) { incident { id number } } }";

fn rounds(short: usize, long: usize) -> usize {
    if std::env::var_os("WATCHFLOOR_FAULTS").is_some() { long } else { short }
}

/// The writers, and the answers that they got.
struct Writers {
    address: Arc<Mutex<String>>,
    /// The global id and the number of each acknowledged incident.
    acknowledged: Arc<Mutex<Vec<(String, u64)>>>,
    refused: Arc<AtomicUsize>,
    unanswered: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Writers {
    fn start(address: &str) -> Self {
        let mut writers = Self {
            address: Arc::new(Mutex::new(address.to_owned())),
            acknowledged: Arc::default(),
            refused: Arc::default(),
            unanswered: Arc::default(),
            over: Arc::default(),
            tasks: Vec::new(),
        };
        for writer in 0..WRITERS {
            let (address, acknowledged) = (writers.address.clone(), writers.acknowledged.clone());
            let (refused, unanswered, over) =
                (writers.refused.clone(), writers.unanswered.clone(), writers.over.clone());
            writers.tasks.push(tokio::spawn(async move {
                let driver = Driver::new();
                for n in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let to = address.lock().expect("an address").clone();
                    let id = uuid::Uuid::from_u128((writer as u128) << 64 | n as u128 | 1 << 100);
                    let title = format!("Writer {writer}, {n}");
                    let answer = driver.run(&to, CREATE, json!({ "id": id, "title": title })).await;
                    let Some(answer) = answer else {
                        unanswered.fetch_add(1, Ordering::Relaxed);
                        a_moment().await;
                        continue;
                    };
                    if let Some(error) = answer["errors"].get(0) {
                        assert_eq!(error["extensions"]["code"], "UNAVAILABLE", "{error}");
                        refused.fetch_add(1, Ordering::Relaxed);
                        a_moment().await;
                        continue;
                    }
                    let made = &answer["data"]["createIncident"]["incident"];
                    let id = made["id"].as_str().expect("an id").to_owned();
                    let number = made["number"].as_u64().expect("a number");
                    acknowledged.lock().expect("a list").push((id, number));
                }
            }));
        }
        writers
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().expect("a list").len()
    }

    /// Waits for this many more acknowledgements.
    async fn more(&self, count: usize) {
        let goal = self.count() + count;
        let reached = async {
            while self.count() < goal {
                a_moment().await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, reached).await;
        assert!(waited.is_ok(), "writers stand still after {} acknowledgements", self.count());
    }

    /// Waits for this many more refusals.
    async fn refusals(&self, count: usize) {
        let goal = self.refused.load(Ordering::Relaxed) + count;
        let reached = async {
            while self.refused.load(Ordering::Relaxed) < goal {
                a_moment().await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.expect("a full disk refuses writes");
    }

    async fn stop(self) -> Told {
        self.over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("a writer");
        }
        Told {
            acknowledged: std::mem::take(&mut *self.acknowledged.lock().expect("a list")),
            refused: self.refused.load(Ordering::Relaxed),
            unanswered: self.unanswered.load(Ordering::Relaxed),
        }
    }
}

struct Told {
    acknowledged: Vec<(String, u64)>,
    refused: usize,
    unanswered: usize,
}

impl Told {
    /// Checks that every acknowledged incident is there under its number, and that no number was given twice.
    async fn holds(&self, address: &str, name: &str) {
        let driver = Driver::new();
        let mut there: HashMap<String, u64> = HashMap::new();
        for ids in self.acknowledged.chunks(100) {
            let ids: Vec<&String> = ids.iter().map(|(id, _)| id).collect();
            let query = "query($ids: [ID!]!) { nodes(ids: $ids) { ... on Incident { id number } } }";
            let answer = driver.run(address, query, json!({ "ids": ids })).await.expect("an answer");
            for node in answer["data"]["nodes"].as_array().expect("nodes").iter().filter(|node| !node.is_null()) {
                let id = node["id"].as_str().expect("an id").to_owned();
                there.insert(id, node["number"].as_u64().expect("a number"));
            }
        }
        let missing = self.acknowledged.iter().filter(|(id, number)| there.get(id) != Some(number)).count();
        let mut numbers: Vec<u64> = self.acknowledged.iter().map(|(_, number)| *number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let doubled = self.acknowledged.len() - numbers.len();
        let (count, refused, unanswered) = (self.acknowledged.len(), self.refused, self.unanswered);
        println!(
            "{name}: acknowledged {count}, refused {refused}, unanswered {unanswered}, missing {missing}, doubled {doubled}"
        );
        assert_eq!((missing, doubled), (0, 0));
    }
}

fn verify(url: &str) {
    let mut verify = Command::new(env!("CARGO_BIN_EXE_watchfloor"));
    let output = verify.args(["verify", "--database-url", url]).output().expect("the binary runs");
    assert!(output.status.success(), "verify: {}", String::from_utf8_lossy(&output.stderr));
}

/// A small disk, which is unmounted with this value.
pub(crate) struct SmallDisk(TempDir);

impl SmallDisk {
    /// Mounts it; `None` if this user may not mount.
    pub(crate) fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let size = format!("size={DISK_BYTES}");
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(folder))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Fills the free space.
    pub(crate) fn fill(&self) {
        let mut ballast = std::fs::File::create(self.path().join("ballast")).expect("a file");
        let piece = [0_u8; 4_096];
        while std::io::Write::write_all(&mut ballast, &piece).is_ok() {}
    }

    pub(crate) fn empty(&self) {
        std::fs::remove_file(self.path().join("ballast")).expect("the ballast");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(self.path()).status().ok();
    }
}

#[tokio::test]
async fn a_disk_that_fills_and_is_emptied_under_writers_loses_nothing_that_was_acknowledged() {
    for _ in 0..rounds(1, 10) {
        let Some(disk) = SmallDisk::mount() else {
            println!("skipped: to mount a small disk takes root");
            return;
        };
        fill_and_empty(disk).await;
    }
}

async fn fill_and_empty(disk: SmallDisk) {
    // Each time the writers go on until the space of the write-ahead log is used up, so a disk holds only a few rounds.
    const ROUNDS: usize = 2;
    let url = format!("sqlite://{}", disk.path().join("desk.db").display());
    let process = Process::serve(&url).await;
    let writers = Writers::start(&process.address);
    for _ in 0..ROUNDS {
        writers.more(20).await;
        disk.fill();
        writers.refusals(20).await;
        assert_eq!(readiness(&process.address).await, 503, "a desk on a full disk says so");
        disk.empty();
    }
    writers.more(20).await;
    assert_eq!(readiness(&process.address).await, 200);
    let told = writers.stop().await;
    told.holds(&process.address, &format!("disk filled {ROUNDS} times")).await;
    process.kill();
    let again = Process::serve(&url).await;
    told.holds(&again.address, "after kill -9 and a start").await;
    again.kill();
    verify(&url);
}

async fn readiness(address: &str) -> u16 {
    reqwest::get(format!("http://{address}/readyz")).await.expect("an answer").status().as_u16()
}

async fn a_desk_that_is_killed_under_writers_loses_nothing_that_it_acknowledged(database: TestDatabase) {
    let mut process = Process::serve(&database.url).await;
    let writers = Writers::start(&process.address);
    // Half of the kills on each database.
    let kills = rounds(3, 100);
    for _ in 0..kills {
        writers.more(10).await;
        process.kill();
        process = Process::serve(&database.url).await;
        *writers.address.lock().expect("an address") = process.address.clone();
    }
    writers.more(10).await;
    let told = writers.stop().await;
    told.holds(&process.address, &format!("killed {kills} times on {}", name(database.kind))).await;
    process.kill();
    verify(&database.url);
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Sqlite => "SQLite",
        Kind::Postgres => "PostgreSQL",
    }
}
