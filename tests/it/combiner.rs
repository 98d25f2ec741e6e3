//! Concurrent commands: they share transactions and commits, and each looks like a transaction of its own.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sea_orm::ConnectionTrait;
use tokio::sync::Semaphore;
use watchfloor::app::incident::IncidentEdit;
use watchfloor::app::{App, Command};
use watchfloor::domain::account::ActorImage;
use watchfloor::domain::comment::Comment;
use watchfloor::domain::{CommentId, Error, IncidentId, Result};
use watchfloor::storage::LockPlan;
use watchfloor_faults::{Disk, Fault, Span};

use crate::support::crowd::{
    Said, Told, comment, gathered, hold, is_keyed, log, marks, matter, named, number, numbers_are_dense, one_of_many,
    tagged, titled, view,
};
use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::dice::Dice;
use crate::support::proxy::{Break, Proxy};
use crate::support::waiting::{PATIENCE, a_moment};

each_database!(
    two_hundred_commands_at_once_are_each_a_transaction_of_the_log,
    commands_that_come_together_share_commits,
    a_refused_command_amid_others_leaves_nothing,
    edits_of_one_version_at_once_conflict_as_one_after_the_other,
    twins_at_once_have_one_effect,
    a_refusal_stands_only_if_what_it_saw_is_committed,
    a_command_that_took_too_long_is_not_done_again,
    a_visit_is_noted_where_its_answer_stands,
    two_nodes_that_lock_in_opposite_orders_wait_for_nobody,
);

async fn two_hundred_commands_at_once_are_each_a_transaction_of_the_log(database: TestDatabase) {
    const COMMANDS: usize = 200;
    let desk = TestDesk::open(&database).await;
    let matter = matter(&desk.app, 12).await;
    let told = join_all((0..COMMANDS).map(|n| one_of_many(&desk.app, &matter, n))).await;
    for (n, told) in told.iter().enumerate() {
        match (n % 10, &told.answer) {
            (8, Err(Error::Refused(refusal))) => assert_eq!(refusal.code.as_str(), "NOT_FOUND"),
            (9, Err(Error::Refused(refusal))) => assert_eq!(refusal.code.as_str(), "CONFLICT"),
            (0..=7, Ok(said)) => assert!(!said.replayed),
            (_, answer) => panic!("{n}: {:?}", answer.as_ref().err()),
        }
    }
    hold(&told, &log(&desk.app).await);
    numbers_are_dense(&database).await;
    desk.verified().await;
    // Under its key each command gets the same answer again, and does nothing.
    let end = desk.log_end().await;
    let keyed: Vec<usize> = (0..COMMANDS).filter(|n| is_keyed(*n)).collect();
    let again = join_all(keyed.iter().map(|n| one_of_many(&desk.app, &matter, *n))).await;
    for (again, n) in again.iter().zip(keyed) {
        match (&again.answer, &told[n].answer) {
            (Ok(again), Ok(first)) => assert!(again.replayed && again.position == first.position, "{n}"),
            (Err(Error::Refused(again)), Err(Error::Refused(first))) => assert_eq!(again, first, "{n}"),
            _ => panic!("{n} is answered otherwise"),
        }
    }
    assert_eq!(desk.log_end().await, end);
}

/// Counts how often the log's head is moved.
async fn count_commits(database: &TestDatabase) {
    let conn = database.connect().await;
    let sql = match database.kind {
        Kind::Sqlite => {
            "CREATE TABLE moved (position bigint);
             CREATE TRIGGER moved AFTER UPDATE OF position ON log_head
                 BEGIN INSERT INTO moved VALUES (NEW.position); END;"
        }
        Kind::Postgres => {
            "CREATE TABLE moved (position bigint);
             CREATE FUNCTION moved() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN INSERT INTO moved VALUES (NEW.position); RETURN NULL; END $$;
             CREATE TRIGGER moved AFTER UPDATE OF position ON log_head FOR EACH ROW EXECUTE FUNCTION moved();"
        }
    };
    conn.execute_unprepared(sql).await.expect("a trigger");
}

async fn commits(database: &TestDatabase) -> i64 {
    number(database, "SELECT COUNT(*) AS number FROM moved").await
}

async fn commands_that_come_together_share_commits(database: TestDatabase) {
    const COMMANDS: usize = 60;
    let desk = TestDesk::open(&database).await;
    let matter = matter(&desk.app, COMMANDS).await;
    count_commits(&database).await;
    let comments = (0..COMMANDS).map(|n| one_of_many(&desk.app, &matter, n * 10 + 1));
    let told = gathered(&database, comments.collect::<Vec<_>>()).await;
    hold(&told, &log(&desk.app).await);
    let commits = commits(&database).await;
    println!("{COMMANDS} commands in {commits} commits");
    assert!((1..=COMMANDS as i64 / 4).contains(&commits), "{commits} commits");
    // Alone, each command has a commit of its own.
    let before = commits;
    for n in 0..3 {
        let command = named(&desk.app, "alone", "addComment").await;
        let edit = comment(format!("Alone {n}"));
        desk.app.update_incident(&command, matter.incidents[0], edit).await.expect("a comment");
    }
    assert_eq!(self::commits(&database).await, before + 3);
}

async fn a_refused_command_amid_others_leaves_nothing(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let matter = matter(&desk.app, 12).await;
    // Three of each ten commands are refused, or write nothing to the log.
    let kinds = [1, 9, 0, 9, 2, 8, 0, 9, 3];
    let crowd = |round: usize| kinds.iter().enumerate().map(move |(at, kind)| (round * kinds.len() + at) * 10 + kind);
    for round in 0..3 {
        let told =
            gathered(&database, crowd(round).map(|n| one_of_many(&desk.app, &matter, n)).collect::<Vec<_>>()).await;
        for (n, told) in crowd(round).zip(&told) {
            assert_eq!(told.answer.is_err(), n % 10 >= 8, "{n}: {:?}", told.answer.as_ref().err());
        }
        hold(&told, &log(&desk.app).await);
    }
    numbers_are_dense(&database).await;
    let tags = "SELECT COUNT(*) AS number FROM tag WHERE name LIKE 'refused-%' OR name = 'nowhere'";
    assert_eq!(number(&database, tags).await, 0, "a refused command has left a tag");
    // A command that was refused without a key succeeds once it is allowed.
    let command = named(&desk.app, "later", "createIncident").await;
    let edit = IncidentEdit { link: vec![matter.held], move_alerts: true, ..tagged("refused-later") };
    let made = desk.app.create_incident(&command, None, edit).await.expect("an incident");
    assert_eq!(made.value.alerts.len(), 1);
    desk.verified().await;
}

async fn edits_of_one_version_at_once_conflict_as_one_after_the_other(database: TestDatabase) {
    const EDITS: usize = 12;
    let desk = TestDesk::open(&database).await;
    let matter = matter(&desk.app, 2).await;
    let id = matter.incidents[1];
    for round in 0..3 {
        let known = desk.app.find_incident(id).await.expect("a look").expect("an incident").version;
        let edits = (0..EDITS).map(|n| {
            let app = &desk.app;
            async move {
                let command = named(app, &format!("title-{round}-{n}"), "renameIncident").await;
                let edit = titled(format!("Title {round} of {n}"));
                app.update_incident(&command, id, IncidentEdit { expected_version: Some(known), ..edit }).await
            }
        });
        let outcomes = gathered(&database, edits.collect::<Vec<_>>()).await;
        let done: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
        assert_eq!(done.len(), 1, "one of them knew the newest version");
        let refused = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        for error in refused {
            let Error::Refused(refusal) = error else { panic!("{error}") };
            assert_eq!(refusal.code.as_str(), "CONFLICT");
        }
        let now = desk.app.find_incident(id).await.expect("a look").expect("an incident");
        assert_eq!((now.version, &now.title), (known + 1, &done[0].value.incident.title));
    }
    desk.verified().await;
}

async fn twins_at_once_have_one_effect(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let matter = matter(&desk.app, 2).await;
    for n in [20, 21, 24, 28, 29] {
        let told = gathered(&database, (0..8).map(|_| one_of_many(&desk.app, &matter, n)).collect::<Vec<_>>()).await;
        let fresh = told.iter().filter(|told| told.answer.as_ref().is_ok_and(|said| !said.replayed)).count();
        let places: HashSet<_> =
            told.iter().filter_map(|told| told.answer.as_ref().ok()).map(|said| said.position.to_string()).collect();
        match n % 10 {
            8.. => assert!(told.iter().all(|told| told.answer.is_err()), "{n}"),
            _ => assert_eq!((fresh, places.len()), (1, 1), "{n}"),
        }
    }
    let words = log(&desk.app).await.iter().filter(|change| marks(change).0 == Some("word-21")).count();
    assert_eq!(words, 1);
    desk.verified().await;
}

/// Returns a comment on an incident that does not exist: its commit is refused.
fn orphan(app: &App) -> Comment {
    Comment {
        id: CommentId(app.clock.fresh_id()),
        incident: IncidentId(app.clock.fresh_id()),
        written_on: IncidentId(app.clock.fresh_id()),
        version: 1,
        body: "Of no incident.".into(),
        author: ActorImage::System,
        created_at: app.clock.now(),
        edited_at: None,
        deleted_at: None,
    }
}

async fn a_refusal_stands_only_if_what_it_saw_is_committed(database: TestDatabase) {
    // A batch takes no further commands 25 ms after its begin, so a pause of the machine can keep the commands apart.
    const ROUNDS_MAX: usize = 20;
    let desk = TestDesk::open(&database).await;
    let store = &desk.app.store;
    let seen = AtomicUsize::new(0);
    for _ in 0..ROUNDS_MAX {
        let orphan = orphan(&desk.app);
        let writes = store.transact_together(LockPlan::default(), |tx| {
            let orphan = &orphan;
            async move {
                // The other commands arrive meanwhile. A command that ends sooner is committed alone.
                tokio::time::sleep(Duration::from_millis(5)).await;
                tx.insert_comment(orphan).await
            }
        });
        let looks = (0..5).map(|_| {
            store.transact_together(LockPlan::default(), |tx| {
                let (id, seen) = (orphan.id, &seen);
                async move {
                    if tx.comments(&[id]).await?.is_empty() {
                        return Ok(());
                    }
                    seen.fetch_add(1, Ordering::Relaxed);
                    Err(Error::forbidden("there is a comment"))
                }
            })
        });
        let (written, looked) = tokio::join!(writes, join_all(looks));
        assert!(written.is_err(), "a comment of no incident");
        for look in looked {
            assert!(look.is_ok(), "there never was such a comment: {:?}", look.err());
        }
        if database.kind == Kind::Postgres || seen.load(Ordering::Relaxed) > 0 {
            return;
        }
    }
    panic!("no command saw the comment");
}

async fn a_command_that_took_too_long_is_not_done_again(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let store = &desk.app.store;
    let orphan = orphan(&desk.app);
    let writes = store.transact_together(LockPlan::default(), |tx| {
        let orphan = &orphan;
        async move { tx.insert_comment(orphan).await }
    });
    let runs = AtomicUsize::new(0);
    let late = (0..5).map(|_| {
        store.transact_together(LockPlan::default(), |_| {
            runs.fetch_add(1, Ordering::Relaxed);
            async { Err::<(), _>(Error::unavailable("it took too long")) }
        })
    });
    let (written, late) = tokio::join!(writes, join_all(late));
    assert!(written.is_err() && late.iter().all(Result::is_err));
    assert_eq!(runs.load(Ordering::Relaxed), 5);
}

/// The view counts changes after the visit as unread, so the visit's position must not be before its answer's changes.
async fn a_visit_is_noted_where_its_answer_stands(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let matter = matter(&desk.app, 4).await;
    let command = named(&desk.app, "view", "createView").await;
    let view = desk.app.create_view(&command, view(7)).await.expect("a view").value.id;
    for round in 1..=5 {
        let comments = (0..8).map(|n| one_of_many(&desk.app, &matter, (round * 8 + n) * 10 + 1));
        let visit = async {
            let command = named(&desk.app, "visit", "visitView").await;
            desk.app.visit_view(&command, view).await.expect("a visit").position.offset
        };
        let both = async { tokio::join!(join_all(comments), visit).1 };
        let told = Box::pin(gathered(&database, [both])).await[0];
        let noted = number(&database, "SELECT position AS number FROM view_visit").await;
        assert_eq!(noted as u64, told);
    }
}

/// Waits until a counter has reached a value.
async fn met(counted: &AtomicUsize, times: usize) {
    while counted.load(Ordering::Relaxed) < times {
        tokio::task::yield_now().await;
    }
}

/// On PostgreSQL two batches gather at once. SQLite has one writer in any case.
#[tokio::test]
async fn commands_that_stall_in_batches_stop_no_other() {
    let database = TestDatabase::fresh(Kind::Postgres).await;
    let desk = TestDesk::open(&database).await;
    let store = &desk.app.store;
    let (leading, stalled) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let gate = Semaphore::new(0);
    let leads = join_all((0..2).map(|_| {
        store.transact_together(LockPlan::default(), |_| async {
            leading.fetch_add(1, Ordering::Relaxed);
            gate.acquire().await.map(|pass| pass.forget()).map_err(|_| Error::unavailable("closed"))
        })
    }));
    let joins = async {
        met(&leading, 2).await;
        let stall = || async {
            stalled.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<Result<()>>().await
        };
        join_all((0..2).map(|_| store.transact_together(LockPlan::default(), |_| stall()))).await
    };
    let other = async {
        met(&leading, 2).await;
        a_moment().await;
        gate.add_permits(2);
        met(&stalled, 2).await;
        let command = named(&desk.app, "other", "createIncident").await;
        desk.app.create_incident(&command, None, titled("Not stopped".into())).await
    };
    tokio::select! {
        _ = async { tokio::join!(leads, joins) } => panic!("a stalled command has ended"),
        made = tokio::time::timeout(PATIENCE, other) => made.expect("in time").map(drop).expect("an incident"),
    }
}

#[tokio::test]
async fn a_commit_without_an_answer_stops_no_other() {
    let behind = TestDatabase::fresh(Kind::Postgres).await;
    let proxy = Proxy::to(&behind.url).await;
    let desk = TestDesk::open(&TestDatabase::at(proxy.url(&behind.url))).await;
    let create = async |word: &str| {
        let command = named(&desk.app, word, "createIncident").await;
        desk.app.create_incident(&command, None, titled(word.to_owned())).await
    };
    proxy.break_at_commit(Break::Mute);
    let others = async {
        while !proxy.has_broken() {
            a_moment().await;
        }
        for word in ["second", "third", "fourth"] {
            create(word).await.expect("an incident");
        }
    };
    tokio::select! {
        _ = create("first") => panic!("nobody has answered its commit"),
        done = tokio::time::timeout(PATIENCE, others) => done.expect("in time"),
    }
    proxy.mend();
    assert_eq!(number(&behind, "SELECT COUNT(*) AS number FROM incident").await, 4, "the first one is there as well");
}

async fn two_nodes_that_lock_in_opposite_orders_wait_for_nobody(database: TestDatabase) {
    const CLIENTS: usize = 12;
    const ROUNDS: usize = 50;
    let (one, two) = (TestDesk::open(&database).await, TestDesk::open(&database).await);
    let matter = matter(&one.app, 6).await;
    let began = Instant::now();
    let clients = [&one.app, &two.app].into_iter().enumerate().flat_map(|(node, app)| {
        let matter = &matter;
        (0..CLIENTS).map(move |client| async move {
            let mut told = Vec::new();
            for round in 0..ROUNDS {
                // The same incidents on both nodes, in ascending order on one and in descending order on the other.
                let at = (client + round) % matter.incidents.len();
                let at = if node == 0 { at } else { matter.incidents.len() - 1 - at };
                let word = format!("word-{node}-{client}-{round}");
                let command = named(app, &word, "updateIncident").await;
                let edit = match round % 4 {
                    0 => tagged(&format!("tag-{}", (client + round) % 20)),
                    _ => comment(format!("By {node} {client} {round}")),
                };
                let outcome = match round % 8 {
                    7 => app.create_incident(&command, None, titled(word.clone())).await,
                    _ => app.update_incident(&command, matter.incidents[at], edit).await,
                };
                let outcome = outcome.unwrap_or_else(|error| panic!("{word}: {error:?}"));
                let (position, logged, replayed) = (outcome.position, outcome.changed, outcome.replayed);
                told.push(Told {
                    word,
                    answer: Ok(Said { position, incident: Some(outcome.value.incident), replayed, logged }),
                });
            }
            told
        })
    });
    let told: Vec<Told> = join_all(clients).await.into_iter().flatten().collect();
    println!("{} commands of two nodes in {:?}", told.len(), began.elapsed());
    hold(&told, &log(&one.app).await);
    numbers_are_dense(&database).await;
    one.verified().await;
    if database.kind == Kind::Postgres {
        let deadlocks = "SELECT deadlocks AS number FROM pg_stat_database WHERE datname = current_database()";
        // PostgreSQL publishes a session's counters a second later.
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        assert_eq!(number(&database, deadlocks).await, 0);
    }
}

/// Runs a crowd of commands on a failing database: acknowledged changes are there, refused ones are not.
async fn survives(desk: &TestDesk, fail: impl Fn(usize), mend: impl Fn() -> bool, places: impl Iterator<Item = usize>) {
    let app = &desk.app;
    let made = matter(app, 4).await;
    let (mut acknowledged, mut refused, mut unknown, mut met) = (0, 0, 0, 0);
    for place in places {
        fail(place);
        let commands = (0..10).map(|n| {
            let id = made.incidents[n % made.incidents.len()];
            async move {
                let word = format!("word-{place}-{n}");
                // Read the caller first, because a failing desk does not know it.
                let command =
                    Command { client_mutation_id: Some(word.clone()), ..Command::system(app.clock.now(), cause()) };
                let outcome = match n % 3 {
                    0 => app.create_incident(&command, None, titled(word.clone())).await,
                    _ => app.update_incident(&command, id, comment(word.clone())).await,
                };
                (word, outcome)
            }
        });
        let outcomes = join_all(commands).await;
        met += usize::from(mend());
        let log = log(app).await;
        let places: BTreeMap<&str, u64> =
            log.iter().filter_map(|change| Some((marks(change).0?, change.offset()))).collect();
        for (word, outcome) in outcomes {
            let found = places.get(word.as_str()).copied();
            match outcome {
                Ok(outcome) => {
                    assert_eq!(found, Some(outcome.position.offset), "{word} was acknowledged");
                    acknowledged += 1;
                }
                Err(Error::Refused(refusal)) if refusal.message.contains("it may be done or not") => unknown += 1,
                Err(error) => {
                    assert_eq!(error.code().as_str(), "UNAVAILABLE", "{word}: {error:?}");
                    assert_eq!(found, None, "{word} was refused: {error}");
                    refused += 1;
                }
            }
        }
    }
    println!("{acknowledged} acknowledged, {refused} refused, {unknown} in doubt; {met} faults");
    assert!(met > 0 && acknowledged > 0);
    desk.verified().await;
}

fn cause() -> watchfloor::domain::change::Cause {
    let kind = watchfloor::domain::change::CauseKind::Command;
    watchfloor::domain::change::Cause { kind, name: "updateIncident".to_owned(), job: None }
}

#[tokio::test]
async fn what_a_failing_disk_acknowledges_to_a_crowd_is_there() {
    let (disk, folder) = (Disk::new(), tempfile::tempdir().expect("a folder"));
    let database = TestDatabase::reached_at(Kind::Sqlite, disk.url(&folder.path().join("desk.db")));
    let desk = TestDesk::open(&database).await;
    let mut dice = Dice::of_this_run();
    let faults = [Fault::Full, Fault::Error, Fault::ErrorAfter];
    let places: Vec<usize> = (0..40).map(|_| 1 + dice.below(60)).collect();
    let fail = |place: usize| disk.fail((place % 100) as u64, faults[place % 3], Span::Once);
    survives(&desk, fail, || disk.mend() > 0, places.into_iter().enumerate().map(|(at, place)| at * 100 + place)).await;
}

#[tokio::test]
async fn what_a_failing_network_acknowledges_to_a_crowd_is_there() {
    let behind = TestDatabase::fresh(Kind::Postgres).await;
    let proxy = Proxy::to(&behind.url).await;
    let database = TestDatabase::at(proxy.url(&behind.url));
    let desk = TestDesk::open(&database).await;
    let mut dice = Dice::of_this_run();
    let places: Vec<usize> = (0..30).map(|_| 1 + dice.below(90)).collect();
    let fail = |place: usize| match place / 100 % 3 {
        0 => proxy.break_at_commit(if place.is_multiple_of(2) { Break::Before } else { Break::After }),
        _ => proxy.break_at(place % 100, if place.is_multiple_of(2) { Break::Before } else { Break::After }),
    };
    survives(&desk, fail, || proxy.mend(), places.into_iter().enumerate().map(|(at, place)| at * 100 + place)).await;
}
