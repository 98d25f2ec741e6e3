//! A disk that fails at each write in turn, a network that is cut at each message in turn, and a loss of power at each
//! moment.
//!
//! The oracle: acknowledged changes are there, refused changes are not, numbers are unique, the log is whole. `make
//! test` tries a sample that its seed chooses; `make faults` tries every place.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use watchfloor::domain::chain::check;
use watchfloor::domain::position::Position;
use watchfloor::import::{self, ImportSource};
use watchfloor::storage::{Store, StoreOptions};
use watchfloor_faults::{Disk, Fault, Loss, Span};

use crate::support::database::{Kind, TestDatabase};
use crate::support::desk::TestDesk;
use crate::support::dice::Dice;
use crate::support::proxy::{Break, Proxy};
use crate::support::schema::fields_of;
use crate::support::triage::{laid_over, report};
use crate::support::waiting::{LONG_PATIENCE, PATIENCE, a_moment};

/// Returns the step between two tried places: 1 tries every place.
fn stride(sampled: usize) -> usize {
    if every_place() { 1 } else { sampled }
}

fn every_place() -> bool {
    std::env::var_os("WATCHFLOOR_FAULTS").is_some()
}

/// The failing part: SQLite's disk, or the network to PostgreSQL.
enum Weak {
    Disk { disk: Disk, folder: TempDir },
    Network { proxy: Proxy, behind: TestDatabase },
}

impl Weak {
    fn disk() -> (Self, TestDatabase) {
        let (disk, folder) = (Disk::new(), tempfile::tempdir().expect("a folder"));
        let database = TestDatabase::reached_at(Kind::Sqlite, disk.url(&folder.path().join("desk.db")));
        (Self::Disk { disk, folder }, database)
    }

    async fn network() -> (Self, TestDatabase) {
        let behind = TestDatabase::fresh(Kind::Postgres).await;
        let proxy = Proxy::to(&behind.url).await;
        let database = TestDatabase::at(proxy.url(&behind.url));
        (Self::Network { proxy, behind }, database)
    }

    /// Returns the number of failure modes. The last mode of a disk does not end by itself.
    fn manners(&self) -> usize {
        match self {
            Self::Disk { .. } => 4,
            Self::Network { .. } => 2,
        }
    }

    /// Makes the n-th write or message from now on fail in this mode.
    fn fail(&self, n: usize, manner: usize) {
        match self {
            Self::Disk { disk, .. } => {
                let fault = [Fault::Full, Fault::Error, Fault::ErrorAfter, Fault::Full][manner];
                // A full disk differs from a single failure: everything after the first error fails too.
                let span = if manner == 3 { Span::UntilMended } else { Span::Once };
                disk.fail(n as u64, fault, span);
            }
            Self::Network { proxy, .. } => proxy.break_at(n, [Break::Before, Break::After][manner]),
        }
    }

    /// Makes only the n-th write or message fail, in a random mode.
    fn fail_once(&self, n: usize, dice: &mut Dice) {
        self.fail(n, dice.below(self.manners().min(3)));
    }

    /// Ends all failures, and returns whether something had failed.
    fn mend(&self) -> bool {
        match self {
            Self::Disk { disk, .. } => disk.mend() > 0,
            Self::Network { proxy, .. } => proxy.mend(),
        }
    }

    /// Returns the address at which another process finds the database.
    fn plain_url(&self) -> String {
        match self {
            Self::Disk { folder, .. } => format!("sqlite://{}", folder.path().join("desk.db").display()),
            Self::Network { behind, .. } => behind.url.clone(),
        }
    }

    fn operations(&self) -> u64 {
        match self {
            Self::Disk { disk, .. } => disk.operations(),
            Self::Network { .. } => 0,
        }
    }
}

/// A moment at which no command was in progress.
struct Moment {
    /// The number of the disk's operations so far.
    operations: u64,
    /// The offset of the log's end.
    end: u64,
}

/// A desk on a failing disk or network, and its answers so far.
struct Trial {
    desk: TestDesk,
    weak: Weak,
    dice: Dice,
    stride: usize,
    /// Where each command fails before it succeeds, and in which mode; `None` chooses some places at random.
    round: Option<(usize, usize)>,
    /// The number of commands that met a fault: they were refused, or the desk recovered.
    met: usize,
    /// The acknowledged positions.
    acknowledged: Vec<Position>,
    moments: Vec<Moment>,
    /// The numbers of commands that were tried, refused, and left with an unknown outcome.
    tried: (usize, usize, usize),
}

impl Trial {
    async fn open((weak, database): (Weak, TestDatabase), stride: usize) -> Self {
        let desk = TestDesk::open(&database).await;
        let mut trial = Self {
            desk,
            weak,
            dice: Dice::of_this_run(),
            stride,
            round: None,
            met: 0,
            acknowledged: Vec::new(),
            moments: Vec::new(),
            tried: (0, 0, 0),
        };
        trial.rest().await;
        trial
    }

    /// Records a moment without a command.
    async fn rest(&mut self) -> u64 {
        let end = self.desk.log_end().await;
        self.moments.push(Moment { operations: self.weak.operations(), end });
        end
    }

    /// Runs a command until it succeeds, and makes it fail before: at this round's place, or at some random places.
    /// Returns its payload.
    async fn tell(&mut self, name: &str, input: Value) -> Value {
        let mut place = self.round.map_or_else(|| 1 + self.dice.below(self.stride), |(place, _)| place);
        for attempt in 0.. {
            let before = self.rest().await;
            // Every other try has a new key: a key that a refused try has claimed must be free again.
            let input = match attempt % 2 {
                0 => input.clone(),
                _ => laid_over(input.clone(), json!({ "idempotencyKey": format!("{name}-{}", self.dice.next()) })),
            };
            match self.round {
                Some((place, manner)) if attempt == 0 => self.weak.fail(place, manner),
                Some(_) => {}
                None => self.weak.fail(place, self.dice.below(self.weak.manners())),
            }
            let mut answer = self.desk.mutate(name, input).await;
            let failed = self.weak.mend();
            self.tried.0 += 1;
            self.met += usize::from(failed);
            let Some(error) = answer.get("errors").map(|errors| errors[0].clone()) else {
                let payload = answer["data"][name].take();
                self.acknowledge(&payload).await;
                self.rest().await;
                return payload;
            };
            assert_eq!(error["extensions"]["code"], "UNAVAILABLE", "{name} at {place}: {error}");
            assert!(failed, "{name} at {place} failed without a fault: {error}");
            self.tried.1 += 1;
            let is_unknown = error["message"].as_str().is_some_and(|message| message.contains("it may be done or not"));
            // A client that retries without a check might do it twice.
            assert_eq!(error["extensions"]["retryAfter"] == 1, !is_unknown, "{error}");
            if is_unknown {
                self.tried.2 += 1;
                // Until something else is written, a loss of power may still bring it back.
                self.desk.user(&format!("clerk-{}", self.tried.0), "READER").await;
            }
            assert_eq!(self.rest().await, before, "{name} at {place} was refused, and is in the log");
            place += 1 + self.dice.below(2 * self.stride - 1);
        }
        unreachable!("a command without a fault goes well")
    }

    async fn acknowledge(&mut self, payload: &Value) {
        if let Some(position) = payload["position"].as_str() {
            let position = Position::parse(position).expect("a position");
            assert!(self.desk.log_end().await >= position.offset, "what was acknowledged is there");
            self.acknowledged.push(position);
        }
    }

    /// Simulates a loss of power after each operation of the disk, or after some of them. The log must then be as at
    /// the last moment before, or one command longer, without any refused command.
    async fn lose_power(&mut self, stride: usize) {
        let Weak::Disk { disk, .. } = &self.weak else { return };
        let reader = self.desk.app.store.read().await.expect("a snapshot");
        let end = reader.head().await.expect("a head").offset;
        let all: Vec<u64> = (1..=end).collect();
        let hashes = reader.hashes_at(&all).await.expect("hashes");
        drop(reader);
        let from = self.moments[0].operations;
        let last = disk.operations();
        let mut losses = 0;
        let mut after = from + self.dice.below(20 * stride) as u64;
        while after <= last {
            let seed = self.dice.next();
            for loss in [Loss::All, Loss::Nothing, Loss::Some(seed)] {
                let folder = tempfile::tempdir().expect("a folder");
                disk.lose_power(after, loss, folder.path()).expect("what is left");
                let url = format!("sqlite://{}", folder.path().join("desk.db").display());
                let store = open(&url).await;
                let reader = store.read().await.expect("a snapshot");
                let head = reader.head().await.expect("a head");
                let before = self.moments.iter().rev().find(|moment| moment.operations <= after).expect("a moment");
                let is_at_rest = before.operations == after;
                let name = format!("power lost after operation {after} of {last}, {loss:?}");
                assert!(head.offset >= before.end, "{name}: {} of {} are left", head.offset, before.end);
                assert!(!is_at_rest || head.offset == before.end, "{name}: something refused is there");
                for (offset, hash) in reader.hashes_at(&all).await.expect("hashes") {
                    assert!(
                        offset > before.end || hashes.get(&offset) == Some(&hash),
                        "{name}: another change at {offset}"
                    );
                }
                drop(reader);
                store.close().await.expect("an end");
                if self.dice.chance(5) {
                    verify(&url);
                }
                losses += 1;
            }
            after += 1 + self.dice.below(40 * stride - 39) as u64;
        }
        println!("power lost {losses} times in {} operations", last - from);
    }

    /// Checks the end state: at once, and from a process that opens the files as they are.
    async fn judge(self, name: &str) {
        let (tried, refused, doubtful) = self.tried;
        println!(
            "{name}: {tried} commands, {} met a fault, {refused} refused, {doubtful} in doubt, all {} found",
            self.met,
            self.acknowledged.len()
        );
        assert_eq!(self.desk.get_as(None, "/readyz").await.0, 200, "it goes on by itself");
        holds(&self.desk.app.store, &self.acknowledged).await;
        drop(self.desk);
        let url = self.weak.plain_url();
        holds(&open(&url).await, &self.acknowledged).await;
        verify(&url);
    }
}

impl TestDesk {
    async fn job_is_over(&self, id: &Value) -> bool {
        let job = self.data("query($id: ID!) { bulkJob(id: $id) { state } }", json!({ "id": id })).await;
        job["bulkJob"]["state"] != "RUNNING"
    }
}

fn options(url: &str) -> StoreOptions {
    StoreOptions { url: url.to_owned(), connections: 2, acquire_timeout: PATIENCE, notify: false }
}

async fn open(url: &str) -> Store {
    Store::connect(options(url)).await.expect("a connection")
}

/// Checks that every acknowledged position is in the log with its hash, and that no number is given twice.
async fn holds(store: &Store, acknowledged: &[Position]) {
    let reader = store.read().await.expect("a snapshot");
    let offsets: Vec<u64> = acknowledged.iter().map(|position| position.offset).collect();
    let hashes = reader.hashes_at(&offsets).await.expect("hashes");
    for position in acknowledged.iter().filter(|position| position.offset > 0) {
        let hash = hashes.get(&position.offset).unwrap_or_else(|| panic!("{position} was acknowledged, and is lost"));
        assert_eq!(check(hash), position.check, "another change is at {position}");
    }
    let changes = reader.stored_by_incident(None, 10_000).await.expect("the log");
    let named: BTreeSet<_> = changes.iter().map(|change| change.incident).collect();
    let named: Vec<_> = named.into_iter().collect();
    let incidents = reader.incidents(&named).await.expect("incidents");
    let mut numbers: Vec<_> = incidents.iter().map(|incident| incident.number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), incidents.len(), "a number is given twice");
}

fn verify(url: &str) {
    let mut verify = Command::new(env!("CARGO_BIN_EXE_watchfloor"));
    let output = verify.args(["verify", "--database-url", url]).output().expect("the binary runs");
    assert!(output.status.success(), "verify: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs every command of the API once, each with the objects of earlier commands. At its end the desk does no work on
/// bulk jobs.
async fn shift(trial: &mut Trial) {
    let user = |account: &str| json!({ "account": account, "role": "RESPONDER" });
    let mira = trial.tell("upsertUser", user("mira.holt")).await["user"]["id"].clone();
    let group = json!({ "account": "second-line", "name": "Second line" });
    let group = trial.tell("upsertGroup", group).await["group"]["id"].clone();
    let members = json!({ "groupId": group, "users": [mira] });
    trial.tell("addGroupMembers", members.clone()).await;
    trial.tell("removeGroupMembers", members).await;
    let made = trial.tell("createIncident", json!({ "title": "First", "tags": ["one"] })).await;
    let first = made["incident"]["id"].clone();
    let second = trial.tell("createIncident", json!({ "title": "Second" })).await["incident"]["id"].clone();
    let of_first = |over: Value| laid_over(json!({ "incidentId": first }), over);
    trial.tell("renameIncident", of_first(json!({ "title": "First, renamed ".repeat(400) }))).await;
    trial.tell("describeIncident", of_first(json!({ "description": "What happened" }))).await;
    trial.tell("setIncidentSeverity", of_first(json!({ "severity": "HIGH" }))).await;
    trial.tell("setIncidentStatus", of_first(json!({ "status": "ACTIVE" }))).await;
    trial.tell("assignIncident", of_first(json!({ "owner": { "user": mira } }))).await;
    trial.tell("unassignIncident", of_first(json!({}))).await;
    trial.tell("addTags", of_first(json!({ "tags": ["two", "three"] }))).await;
    trial.tell("removeTags", of_first(json!({ "tags": ["two"] }))).await;
    let pair = json!({ "classification": { "truePositive": "PHISHING" } });
    trial.tell("classifyIncident", of_first(pair)).await;
    trial.tell("updateIncident", of_first(json!({ "severity": "LOW", "addTags": ["four"] }))).await;
    let alert =
        trial.tell("ingestAlert", json!({ "alert": report("a-1", json!({ "raw": "r".repeat(20_000) })) })).await;
    let alert = alert["alerts"][0]["id"].clone();
    let batch: Vec<Value> = (2..5).map(|n| report(&format!("a-{n}"), json!({}))).collect();
    let batch = trial.tell("ingestAlerts", json!({ "alerts": batch })).await;
    trial.tell("linkAlerts", of_first(json!({ "alerts": [alert, batch["alerts"][0]["id"]] }))).await;
    trial.tell("updateAlert", json!({ "alertId": alert, "status": "ACTIVE" })).await;
    let split = trial.tell("splitIncident", of_first(json!({ "alerts": [alert], "title": "Apart" }))).await;
    let apart = split["incident"]["id"].clone();
    trial.tell("unlinkAlerts", json!({ "incidentId": apart, "alerts": [alert] })).await;
    let comment = trial.tell("addComment", of_first(json!({ "body": "Seen before." }))).await["comment"]["id"].clone();
    trial.tell("editComment", json!({ "commentId": comment, "body": "Seen twice before." })).await;
    trial.tell("deleteComment", json!({ "commentId": comment })).await;
    let bookmark = of_first(json!({ "title": "Rows", "rows": [{ "host": "ws-1" }] }));
    let bookmark = trial.tell("addBookmark", bookmark).await["bookmark"]["id"].clone();
    trial.tell("removeBookmark", json!({ "bookmarkId": bookmark })).await;
    trial.tell("createAttachment", of_first(json!({ "name": "a.png", "size": 100, "type": "PNG" }))).await;
    trial.tell("mergeIncidents", json!({ "sourceId": second, "targetId": first })).await;
    trial.tell("undoMerge", json!({ "incidentId": second })).await;
    let view = trial.tell("createView", json!({ "name": "Mine" })).await["view"]["id"].clone();
    trial.tell("updateView", json!({ "viewId": view, "name": "Mine again" })).await;
    trial.tell("visitView", json!({ "viewId": view })).await;
    trial.tell("setDefaultView", json!({ "viewId": view })).await;
    trial.tell("deleteView", json!({ "viewId": view })).await;
    trial.tell("resolveIncident", of_first(json!({ "note": "Blocked." }))).await;
    trial.tell("reopenIncident", of_first(json!({}))).await;
    trial.tell("deleteIncident", json!({ "incidentId": apart })).await;
    trial.tell("restoreIncident", json!({ "incidentId": apart })).await;
    // Without work on it, a job runs until it is cancelled.
    trial.desk.leave_jobs();
    let job = json!({ "target": { "ids": [first, second] }, "edit": { "addTags": ["five"] } });
    let job = trial.tell("bulkUpdateIncidents", job).await["job"]["id"].clone();
    let job = trial.tell("cancelBulkJob", json!({ "jobId": job })).await["job"].clone();
    assert_eq!(job["state"], "CANCELLED");
}

#[test]
fn every_mutation_meets_faults() {
    let told = include_str!("faults.rs");
    let mut mutations = fields_of("Mutation");
    mutations.retain(|name| !told.contains(&format!("tell(\"{name}\"")));
    assert!(mutations.is_empty(), "`shift` does not run {mutations:?}");
}

/// Runs bulk jobs, each with a fault at a later place: a job waits for the disk, and changes each incident once.
async fn jobs(trial: &mut Trial) {
    let mut ids = Vec::new();
    for n in 0..12 {
        ids.push(trial.desk.incident(&format!("Of a job {n}")).await);
    }
    let query = "mutation($input: BulkUpdateIncidentsInput!) { bulkUpdateIncidents(input: $input) { job { id } } }";
    let mut place = 1 + trial.dice.below(trial.stride);
    let mut former = Vec::new();
    loop {
        let tag = format!("job-{place}");
        // An incident has at most a hundred tags, and there are more places than that.
        let input = json!({ "target": { "ids": ids }, "edit": { "addTags": [tag], "removeTags": former } });
        former = vec![tag.clone()];
        trial.weak.fail_once(place, &mut trial.dice);
        let mut answer = trial.desk.graphql_as(None, query, json!({ "input": input })).await;
        if answer.get("errors").is_some() {
            assert!(trial.weak.mend(), "{answer}");
            answer = trial.desk.graphql_as(None, query, json!({ "input": input })).await;
            trial.weak.fail_once(place, &mut trial.dice);
        }
        let id = answer["data"]["bulkUpdateIncidents"]["job"]["id"].take();
        let over = async {
            while !trial.desk.job_is_over(&id).await {
                a_moment().await;
            }
        };
        tokio::time::timeout(PATIENCE, over).await.expect("a job ends");
        let failed = trial.weak.mend();
        let query = "query($filter: IncidentFilterInput) { incidents(filter: $filter) { totalCount } }";
        let tagged = trial.desk.data(query, json!({ "filter": { "tags": { "any": [tag] } } })).await;
        assert_eq!(tagged["incidents"]["totalCount"], 12, "the job whose fault was at {place}");
        trial.rest().await;
        if !failed {
            return;
        }
        place += 1 + trial.dice.below(2 * trial.stride - 1);
    }
}

/// Runs imports, each with a fault at a later place: a second read of the file imports the missing records.
async fn imports(trial: &mut Trial) {
    let mut place = 1 + trial.dice.below(trial.stride);
    loop {
        let records: Vec<String> = (0..5)
            .map(|n| {
                json!({ "type": "incident", "externalId": format!("{place}-{n}"), "title": format!("Imported {place}-{n}"),
                        "createdAt": "2026-05-02T08:01:00Z" })
                .to_string()
            })
            .collect();
        let file = records.join("\n");
        let read = |app: watchfloor::app::App| {
            let source = ImportSource::reader(std::io::Cursor::new(file.clone()));
            async move { import::import(&app, source, import::Options::default(), |_| ()).await }
        };
        let before = trial.desk.log_end().await;
        trial.weak.fail_once(place, &mut trial.dice);
        read(trial.desk.app.clone()).await.ok();
        let failed = trial.weak.mend();
        read(trial.desk.app.clone()).await.expect("an import on a sound disk");
        assert_eq!(trial.rest().await, before + 5, "each record once, the fault being at {place}");
        if !failed {
            return;
        }
        place += 1 + trial.dice.below(2 * trial.stride - 1);
    }
}

/// Runs uploads, each with a fault at a later place: a refused upload succeeds again, and acknowledged bytes are
/// served.
async fn uploads(trial: &mut Trial) {
    let incident = trial.desk.incident("With images").await;
    let announce = "mutation($input: CreateAttachmentInput!) { createAttachment(input: $input) {
        uploadUrl attachment { url } } }";
    let image: Vec<u8> = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".iter().copied().chain([7; 1_984]).collect();
    let http = reqwest::Client::builder().timeout(LONG_PATIENCE).build().expect("a client");
    let mut place = 1 + trial.dice.below(trial.stride);
    loop {
        let name = format!("{place}.png");
        let input = json!({ "incidentId": incident, "name": name, "size": image.len(), "type": "PNG" });
        let made = trial.desk.data(announce, json!({ "input": input })).await;
        let address = |field: &Value| format!("{}{}", trial.desk.url, field.as_str().expect("an address"));
        let to = address(&made["createAttachment"]["uploadUrl"]);
        trial.weak.fail_once(place, &mut trial.dice);
        let first = http.put(&to).body(image.clone()).send().await.expect("an answer").status();
        let failed = trial.weak.mend();
        if !first.is_success() {
            assert!(failed && first == 503, "an upload whose fault was at {place}: {first}");
            // An upload that failed during its completion keeps its place, because it may have succeeded.
            trial.desk.clock.advance(chrono::Duration::seconds(180));
            let again = http.put(&to).body(image.clone()).send().await.expect("an answer").status();
            assert!(again.is_success(), "an upload after one that failed at {place}: {again}");
        }
        let served = http.get(address(&made["createAttachment"]["attachment"]["url"])).send().await.expect("an answer");
        assert_eq!(served.bytes().await.expect("a body"), image, "as it was uploaded, the fault being at {place}");
        trial.rest().await;
        if !failed {
            return;
        }
        place += 1 + trial.dice.below(2 * trial.stride - 1);
    }
}

/// Runs every command, a job, an import and an upload, each with faults at some places, or at every place.
///
/// For every place: each place and mode has a desk of its own, because a command that survived a fault cannot run again
/// for the next place. At the first place without a fault, the longest command has sent all of its messages.
async fn shifts(name: &str, weak: impl AsyncFn() -> (Weak, TestDatabase), sampled: usize) {
    let mut trial = Trial::open(weak().await, stride(sampled)).await;
    let manners = trial.weak.manners();
    jobs(&mut trial).await;
    imports(&mut trial).await;
    uploads(&mut trial).await;
    if !every_place() {
        shift(&mut trial).await;
    }
    trial.lose_power(sampled).await;
    trial.judge(name).await;
    if !every_place() {
        return;
    }
    for place in 1.. {
        let mut met = 0;
        for manner in 0..manners {
            let mut trial = Trial::open(weak().await, 1).await;
            trial.round = Some((place, manner));
            shift(&mut trial).await;
            met += trial.met;
            // Each operation once, and then some of the operations that follow a fault at a later place.
            trial.lose_power(if (place, manner) == (1, 0) { 1 } else { 4 * sampled }).await;
            trial.judge(&format!("{name}, each command at place {place}, manner {manner}")).await;
        }
        if met == 0 {
            assert!(place > 10, "{name}: no command reached place {place}");
            return;
        }
    }
}

#[tokio::test]
async fn a_disk_that_fails_at_any_write_loses_nothing_that_was_acknowledged() {
    shifts("disk", async || Weak::disk(), 12).await;
}

#[tokio::test]
async fn a_network_that_is_cut_at_any_message_loses_nothing_that_was_acknowledged() {
    shifts("network", Weak::network, 40).await;
}

/// A command may overlook a failed statement; PostgreSQL then answers COMMIT with ROLLBACK, which is no error.
#[tokio::test]
async fn a_commit_that_postgres_answers_by_rolling_back_is_not_acknowledged() {
    let (weak, database) = Weak::network().await;
    let desk = TestDesk::open(&database).await;
    let Weak::Network { proxy, .. } = &weak else { unreachable!("a network") };
    proxy.break_at_commit(Break::Abort);
    let answer = desk.mutate("createIncident", json!({ "title": "Taken back" })).await;
    assert!(proxy.mend(), "the transaction was aborted");
    assert_eq!(answer["errors"][0]["extensions"], json!({ "code": "UNAVAILABLE", "retryAfter": 1 }), "{answer}");
    assert_eq!(answer["errors"][0]["message"], "the database did not keep this: nothing was changed, try again");
    assert_eq!(desk.log_end().await, 0);
    desk.incident("Afterwards").await;
}

/// The answer to COMMIT is lost, so the desk queries the outcome before it answers.
#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_acknowledged_once_the_database_has_said_so() {
    let (weak, database) = Weak::network().await;
    let desk = TestDesk::open(&database).await;
    let Weak::Network { proxy, .. } = &weak else { unreachable!("a network") };
    for (how, done) in [(Break::After, true), (Break::Before, false)] {
        let before = desk.log_end().await;
        proxy.break_at_commit(how);
        let answer = desk.mutate("createIncident", json!({ "title": format!("Cut {how:?}") })).await;
        assert!(proxy.mend(), "it was cut at COMMIT");
        assert_eq!(answer.get("errors").is_none(), done, "{how:?}: {answer}");
        assert_eq!(desk.log_end().await, before + u64::from(done), "{how:?}");
    }
}

#[tokio::test]
async fn the_desk_goes_on_by_itself_when_a_full_disk_has_room_again() {
    let (weak, database) = Weak::disk();
    let desk = TestDesk::open(&database).await;
    let Weak::Disk { disk, .. } = &weak else { unreachable!("a disk") };
    let kept = desk.incident("Kept").await;
    disk.fail(1, Fault::Full, Span::UntilMended);
    let reason = "the disk of the database is full: nothing was changed, try again when there is room";
    for _ in 0..3 {
        let refusal =
            desk.refused("mutation { createIncident(input: { title: \"No\" }) { changed } }", json!({})).await;
        assert_eq!((refusal.code.as_str(), refusal.message.as_str()), ("UNAVAILABLE", reason));
    }
    assert_eq!(desk.get_as(None, "/readyz").await, (503, format!("{reason}\n")));
    let read = desk.data("query($id: ID!) { incident(by: { id: $id }) { title } }", json!({ "id": kept })).await;
    assert_eq!(read["incident"]["title"], "Kept", "what is there is read all the same");
    disk.mend();
    let ready = async {
        while desk.get_as(None, "/readyz").await.0 != 200 {
            a_moment().await;
        }
    };
    tokio::time::timeout(PATIENCE, ready).await.expect("it is ready without a write of a client");
    desk.incident("With room").await;
    assert_eq!(desk.log_end().await, 2);
}

/// A failed migration leaves a database that the next start migrates completely.
#[tokio::test]
async fn a_migration_that_fails_at_any_write_is_done_at_the_next_start() {
    let mut dice = Dice::of_this_run();
    let stride = stride(30);
    let mut place = 1 + dice.below(stride);
    loop {
        let (weak, database) = Weak::disk();
        weak.fail(place, dice.below(weak.manners()));
        let first = Store::connect(options(&database.url)).await;
        if let Ok(store) = first {
            store.migrate().await.ok();
            store.close().await.ok();
        }
        let failed = weak.mend();
        let desk = TestDesk::open(&database).await;
        desk.incident("After the migration").await;
        drop(desk);
        verify(&weak.plain_url());
        if !failed {
            println!("a migration has {place} writes, or a few less");
            return;
        }
        place += 1 + dice.below(2 * stride - 1);
    }
}

/// An error at the end of a commit leaves it whole on the disk, after the log's end: a recovery would treat it as
/// committed.
#[tokio::test]
async fn what_was_refused_does_not_come_back_after_a_loss_of_power() {
    let (weak, database) = Weak::disk();
    let desk = TestDesk::open(&database).await;
    let Weak::Disk { disk, .. } = &weak else { unreachable!("a disk") };
    desk.incident("Before").await;
    let mut refused = 0;
    for place in 1.. {
        let before = desk.log_end().await;
        disk.fail(place, Fault::ErrorAfter, Span::Once);
        let answer = desk.mutate("createIncident", json!({ "title": format!("At {place}") })).await;
        if disk.mend() == 0 {
            break;
        }
        if answer.get("errors").is_none() {
            continue;
        }
        refused += 1;
        for loss in [Loss::All, Loss::Nothing] {
            let folder = tempfile::tempdir().expect("a folder");
            disk.lose_power(disk.operations(), loss, folder.path()).expect("what is left");
            let store = open(&format!("sqlite://{}", folder.path().join("desk.db").display())).await;
            let head = store.read().await.expect("a snapshot").head().await.expect("a head");
            assert_eq!(head.offset, before, "refused at {place}, {loss:?}");
        }
    }
    assert!(refused > 5, "{refused} were refused");
}
