//! Commands that come at the same time: they share transactions and commits, and each is one by itself in all that can be seen.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sea_orm::{ConnectionTrait, DatabaseTransaction, Statement, TransactionTrait};
use watchfloor::app::alert::{AlertEdit, Ingest, Into};
use watchfloor::app::incident::{IncidentEdit, NewComment, OwnerChoice};
use watchfloor::app::{App, Command};
use watchfloor::domain::account::{ActorImage, UserDraft};
use watchfloor::domain::alert::{AlertDraft, AlertStatus, Report};
use watchfloor::domain::alert_log::Logged;
use watchfloor::domain::comment::Comment;
use watchfloor::domain::idempotency::IdempotencyKey;
use watchfloor::domain::incident::{Incident, Patch, Severity};
use watchfloor::domain::position::Position;
use watchfloor::domain::tag::{Tag, TagKind};
use watchfloor::domain::view::{Slug, ViewDraft, Visibility};
use watchfloor::domain::{AlertId, CommentId, Error, IncidentId, Result, TransactionId};
use watchfloor_faults::{Disk, Fault, Span};

use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::dice::Dice;
use crate::support::proxy::{Break, Proxy};
use crate::support::waiting::a_moment;

each_database!(
    two_hundred_commands_at_once_are_each_a_transaction_of_the_log,
    commands_that_come_together_share_commits,
    a_refused_command_amid_others_leaves_nothing,
    edits_of_one_version_at_once_conflict_as_one_after_the_other,
    twins_at_once_have_one_effect,
    a_refusal_stands_only_if_what_it_saw_is_committed,
    two_nodes_that_lock_in_opposite_orders_wait_for_nobody,
);

/// What a command that was asked for was told.
struct Told {
    /// What it called itself.
    word: String,
    answer: Result<Said>,
}

/// What an answer says.
struct Said {
    position: Position,
    incident: Option<Incident>,
    replayed: bool,
    /// Whether it changed what the log tells.
    logged: bool,
}

/// What the commands are about.
struct Matter {
    incidents: Vec<IncidentId>,
    free: Vec<AlertId>,
    /// An alert that an incident holds.
    held: AlertId,
}

async fn named(app: &App, word: &str, name: &str) -> Command {
    let caller = app.local_caller(None).await.expect("a caller");
    Command { client_mutation_id: Some(word.to_owned()), ..Command::new(caller, app.clock.now(), name) }
}

/// Whether the n-th command of a crowd has an idempotency key.
fn is_keyed(n: usize) -> bool {
    (n / 10).is_multiple_of(2)
}

fn keyed(command: Command) -> Command {
    let word = command.client_mutation_id.clone().expect("a word");
    let key = IdempotencyKey { key: word, mutation: command.cause.name.clone(), input: [7; 32] };
    Command { idempotency_key: Some(key), ..command }
}

fn draft(key: &str) -> AlertDraft {
    let report = Report {
        provider: "Suricata".into(),
        provider_alert_id: key.into(),
        product: Some("Suricata".into()),
        title: format!("Alert {key}"),
        description: None,
        severity: Severity::High,
        category: None,
        techniques: Vec::new(),
        first_activity_at: None,
        last_activity_at: None,
        entities: Vec::new(),
    };
    AlertDraft { report: report.checked().expect("a report"), status: None, classification: None, raw: None }
}

fn titled(title: String) -> IncidentEdit {
    Patch { title: Some(title), ..Patch::default() }.into()
}

fn comment(body: String) -> IncidentEdit {
    IncidentEdit { comment: Some(NewComment { id: None, body }), ..IncidentEdit::default() }
}

fn tagged(name: &str) -> IncidentEdit {
    let tag = Tag::parse("tags", TagKind::Custom, name).expect("a tag");
    Patch { add_tags: vec![tag], ..Patch::default() }.into()
}

async fn matter(app: &App, incidents: usize) -> Matter {
    let command = named(app, "before", "createIncident").await;
    let mut ids = Vec::new();
    for n in 0..incidents {
        let made = app.create_incident(&command, None, titled(format!("Incident {n}"))).await.expect("an incident");
        ids.push(made.incident.id);
    }
    let alerts = (0..30).map(|n| draft(&format!("free-{n}"))).collect();
    let taken = app.ingest_alerts(&command, Ingest::new(alerts, Into::Nowhere)).await.expect("alerts");
    let one = Ingest::new(vec![draft("held")], Into::Incident(ids[0]));
    let held = app.ingest_alerts(&command, one).await.expect("an alert").alerts[0].id;
    Matter { incidents: ids, free: taken.alerts.iter().map(|alert| alert.id).collect(), held }
}

/// The n-th command of a mixed crowd.
async fn one_of_many(app: &App, matter: &Matter, n: usize) -> Told {
    let word = format!("word-{n}");
    let command = named(app, &word, "updateIncident").await;
    let command = if is_keyed(n) { keyed(command) } else { command };
    let id = matter.incidents[n / 10 % matter.incidents.len()];
    let update = async |edit: IncidentEdit| app.update_incident(&command, id, edit).await;
    let outcome = match n % 10 {
        0 => app.create_incident(&command, None, titled(format!("Made at once {n}"))).await,
        1 => update(comment(format!("A remark {n}"))).await,
        2 => update(tagged(&format!("tag-{n}"))).await,
        3 => update(IncidentEdit { owner: Some(Some(OwnerChoice::Me)), ..tagged(&format!("mine-{n}")) }).await,
        4 => {
            let alerts = vec![draft(&format!("a-{n}")), draft(&format!("b-{n}"))];
            let taken = app.ingest_alerts(&command, Ingest::new(alerts, Into::Nowhere)).await;
            let said = |position, replayed| Said { position, incident: None, replayed, logged: true };
            return Told { word, answer: taken.map(|taken| said(taken.position, taken.replayed)) };
        }
        5 => {
            let edit = AlertEdit {
                status: Some(AlertStatus::Active),
                classification: None,
                owner: Some(Some(OwnerChoice::Me)),
                expected_version: None,
            };
            let done = app.update_alert(&command, matter.free[n / 10 % matter.free.len()], edit).await;
            let said = |position, replayed| Said { position, incident: None, replayed, logged: true };
            return Told { word, answer: done.map(|done| said(done.position, done.replayed)) };
        }
        6 => {
            let draft = UserDraft::parse(&format!("clerk-{}", n / 20), None, None, None).expect("a user");
            let done = app.upsert_user(&command, draft).await;
            let said = |position, replayed| Said { position, incident: None, replayed, logged: false };
            return Told { word, answer: done.map(|done| said(done.position, done.replayed)) };
        }
        7 => {
            let draft = ViewDraft {
                name: format!("View {n}"),
                slug: Slug::parse("slug", &format!("view-{n}")).expect("a slug"),
                visibility: Visibility::Private,
                filter: Default::default(),
                order: Vec::new(),
            };
            let done = app.create_view(&command, draft).await;
            let said = |position, replayed| Said { position, incident: None, replayed, logged: false };
            return Told { word, answer: done.map(|done| said(done.position, done.replayed)) };
        }
        8 => app.update_incident(&command, IncidentId(app.clock.fresh_id()), tagged("nowhere")).await,
        // Refused after it has taken a number.
        _ => {
            let edit = IncidentEdit { link: vec![matter.held], ..tagged(&format!("refused-{n}")) };
            app.create_incident(&command, None, edit).await
        }
    };
    let answer = outcome.map(|outcome| Said {
        position: outcome.position,
        logged: outcome.changed,
        replayed: outcome.replayed,
        incident: Some(outcome.incident),
    });
    Told { word, answer }
}

/// The log, each change by what its command called itself.
async fn log(app: &App) -> Vec<Logged> {
    let reader = app.store.read().await.expect("a snapshot");
    let head = reader.head().await.expect("a head");
    reader.log_after(&head, 0, u64::MAX >> 1).await.expect("the log").expect("dense positions")
}

fn marks(change: &Logged) -> (Option<&str>, TransactionId, bool) {
    match change {
        Logged::Incident(change) => {
            (change.body.client_mutation_id.as_deref(), change.body.transaction, change.body.last)
        }
        Logged::Alert(change) => (change.body.client_mutation_id.as_deref(), change.body.transaction, change.body.last),
    }
}

/// What was told, held against the log.
fn hold(told: &[Told], log: &[Logged]) {
    let mut by_word: HashMap<&str, Vec<&Logged>> = HashMap::new();
    for change in log {
        by_word.entry(marks(change).0.expect("a word")).or_default().push(change);
    }
    let mut transactions = HashSet::new();
    for Told { word, answer } in told {
        let changes = by_word.remove(word.as_str()).unwrap_or_default();
        let logged = answer.as_ref().is_ok_and(|said| said.logged);
        assert_eq!(!changes.is_empty(), logged, "{word}: {:?}", answer.as_ref().err());
        let Some(end) = changes.last() else { continue };
        let said = answer.as_ref().expect("an answer");
        let first = changes[0].offset();
        assert_eq!((said.position.offset, said.position.check), (end.offset(), end.check()), "{word}");
        let places: Vec<u64> = changes.iter().map(|change| change.offset()).collect();
        assert_eq!(places, (first..first + changes.len() as u64).collect::<Vec<_>>(), "{word}");
        let (_, transaction, _) = marks(end);
        assert!(transactions.insert(transaction), "{word}: another command has this transaction");
        for change in &changes {
            let (_, of, last) = marks(change);
            assert_eq!((of, last), (transaction, change.offset() == end.offset()), "{word}");
        }
        if let Some(incident) = &said.incident {
            let row = changes.iter().filter_map(|it| it.of_incident()).find(|it| it.incident() == incident.id);
            let row = &row.expect("its change").body.row;
            assert_eq!((row.version, row.number), (incident.version, incident.number), "{word}");
        }
    }
}

/// Numbers are given without a gap.
async fn numbers_are_dense(database: &TestDatabase) {
    let conn = database.connect().await;
    let sql = "SELECT COUNT(*) AS made, MAX(number) AS last FROM incident";
    let row = conn.query_one_raw(Statement::from_string(conn.get_database_backend(), sql)).await;
    let row = row.expect("an answer").expect("a row");
    let (made, last): (i64, i64) = (row.try_get("", "made").expect("made"), row.try_get("", "last").expect("last"));
    let first = 1;
    assert_eq!(made, last - first + 1, "a refused command has kept its number");
}

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
    // Under its key each has the same answer again, and does nothing.
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

/// Counts how often the head of the log is moved.
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

async fn number(database: &TestDatabase, sql: &str) -> i64 {
    let conn = database.connect().await;
    let row = conn.query_one_raw(Statement::from_string(conn.get_database_backend(), sql)).await;
    row.expect("an answer").expect("a row").try_get("", "number").expect("a number")
}

/// While it is held nobody commits, so that what comes meanwhile gathers.
async fn holding(database: &TestDatabase) -> DatabaseTransaction {
    let held = database.connect().await.begin().await.expect("a transaction");
    held.execute_unprepared("UPDATE log_head SET floor = floor").await.expect("the head");
    held
}

/// Runs commands that all come while nobody commits.
async fn gathered<T>(database: &TestDatabase, commands: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let held = holding(database).await;
    let release = async {
        for _ in 0..20 {
            a_moment().await;
        }
        held.rollback().await.expect("an end");
    };
    tokio::join!(join_all(commands), release).0
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
    // Alone each has a commit of its own.
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
    // Three of each ten are refused, or write nothing into the log.
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
    // What was refused without a key is done once it may be.
    let command = named(&desk.app, "later", "createIncident").await;
    let edit = IncidentEdit { link: vec![matter.held], move_alerts: true, ..tagged("refused-later") };
    let made = desk.app.create_incident(&command, None, edit).await.expect("an incident");
    assert_eq!(made.alerts.len(), 1);
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
        assert_eq!((now.version, &now.title), (known + 1, &done[0].incident.title));
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

async fn a_refusal_stands_only_if_what_it_saw_is_committed(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let store = &desk.app.store;
    let at = desk.app.clock.now();
    let orphan = Comment {
        id: CommentId(desk.app.clock.fresh_id()),
        incident: IncidentId(desk.app.clock.fresh_id()),
        written_on: IncidentId(desk.app.clock.fresh_id()),
        version: 1,
        body: "Of no incident.".into(),
        author: ActorImage::System,
        created_at: at,
        edited_at: None,
        deleted_at: None,
    };
    // Its commit is refused: there is no such incident.
    let writes = store.transact_together(|tx| {
        let orphan = &orphan;
        async move {
            // The others come meanwhile.
            tx.insert_comment(orphan).await
        }
    });
    let seen = AtomicUsize::new(0);
    let looks = (0..5).map(|_| {
        store.transact_together(|tx| {
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
    if database.kind == Kind::Sqlite {
        assert!(seen.load(Ordering::Relaxed) > 0, "nobody saw it");
    }
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
                // The same incidents on both nodes, upwards on one and downwards on the other.
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
                    answer: Ok(Said { position, incident: Some(outcome.incident), replayed, logged }),
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
        // What a session counts is seen a second later.
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        assert_eq!(number(&database, deadlocks).await, 0);
    }
}

/// A crowd of commands on a database that fails: what is acknowledged is there, what is refused is not.
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
                // The caller is read before, as a desk that fails does not know it.
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

/// `cargo test --test it -- --ignored --nocapture combiner::writes_a_second`: how many commands are done in a second by so many
/// clients at once.
async fn writes_a_second(database: TestDatabase) {
    const WINDOW: Duration = Duration::from_secs(4);
    let desk = TestDesk::open(&database).await;
    let matter = matter(&desk.app, 64).await;
    for kind in ["create", "comment"] {
        for clients in [1, 8, 32] {
            let began = Instant::now();
            let app = &desk.app;
            let ids = &matter.incidents;
            let waits = join_all((0..clients).map(|client| {
                let app = app.clone();
                let id = ids[client % ids.len()];
                let command = async move { (named(&app, "bench", kind).await, app) };
                async move {
                    let (command, app) = command.await;
                    let mut waits = Vec::new();
                    while began.elapsed() < WINDOW {
                        let at = Instant::now();
                        let done = match kind {
                            "create" => app.create_incident(&command, None, titled("Bench".into())).await,
                            _ => app.update_incident(&command, id, comment("Bench".into())).await,
                        };
                        done.expect("a write");
                        waits.push(at.elapsed());
                    }
                    waits
                }
            }))
            .await;
            let took = began.elapsed();
            let mut waits: Vec<Duration> = waits.into_iter().flatten().collect();
            waits.sort();
            let of = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize].as_secs_f64() * 1_000.0;
            println!(
                "{:?} {kind} c={clients}: {:.0}/s, p50 {:.1} ms, p99 {:.1} ms",
                database.kind,
                waits.len() as f64 / took.as_secs_f64(),
                of(0.5),
                of(0.99)
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn writes_a_second_sqlite() {
    writes_a_second(TestDatabase::fresh(Kind::Sqlite).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn writes_a_second_postgres() {
    writes_a_second(TestDatabase::fresh(Kind::Postgres).await).await;
}
