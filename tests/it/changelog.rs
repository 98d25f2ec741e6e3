//! The log: every position once, in commit order, without a gap, each change chained to the change before.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection, QueryResult, Statement};
use sha2::{Digest, Sha256};
use uuid::Uuid;
use watchfloor::app::incident::{IncidentEdit, NewComment, OwnerChoice};
use watchfloor::app::upload::Uploads;
use watchfloor::app::{App, Command};
use watchfloor::domain::IncidentId;
use watchfloor::domain::alert::{AlertDraft, Report};
use watchfloor::domain::change::Change;
use watchfloor::domain::clock::Clock;
use watchfloor::domain::incident::{Patch, Severity, Status};
use watchfloor::domain::policy::Policies;
use watchfloor::domain::queue::QueueRow;
use watchfloor::domain::tag::{Tag, TagKind};
use watchfloor::realtime::{Hub, RealtimeLimits};
use watchfloor::storage::{Objects, Store, StoreOptions};

use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::desk::monday;
use crate::support::dice::Dice;
use crate::support::stream;

each_database!(
    sixteen_writers_leave_no_gap_and_no_disorder,
    each_hash_covers_its_change_and_the_one_before,
    a_transaction_takes_consecutive_positions,
    each_change_begins_where_the_one_before_ended,
    an_id_carries_the_time_of_the_clock,
);

const WRITERS: usize = 16;

/// Opens a desk without a relay, which would end the process at a gap; here the test itself looks for gaps.
async fn desk_at_rest(database: &TestDatabase) -> App {
    let options = StoreOptions {
        url: database.url.clone(),
        connections: WRITERS as u32 + 4,
        acquire_timeout: Duration::from_secs(30),
        notify: true,
    };
    let clock = Clock::manual(monday());
    let store = Store::connect(options).await.expect("a connection").timed_by(clock.clone());
    store.migrate().await.expect("a schema");
    let hub = Arc::new(Hub::new(RealtimeLimits { changes: 1, bytes: 1, incidents: 100_000 }));
    let (jobs, policies, objects) = (Arc::default(), Policies::default(), Objects::default());
    let app = App { store, hub, clock, jobs, policies, objects, uploads: Uploads::default() };
    app.ensure_local_manager().await.expect("a caller");
    app
}

async fn command(app: &App, name: &str) -> Command {
    Command::new(app.local_caller(None).await.expect("a caller"), app.clock.now(), name)
}

async fn incidents(app: &App, count: usize) -> Vec<IncidentId> {
    let command = command(app, "createIncident").await;
    let mut ids = Vec::new();
    for number in 0..count {
        let edit = Patch { title: Some(format!("Incident {number}")), ..Patch::default() };
        ids.push(app.create_incident(&command, None, edit.into()).await.expect("an incident").value.incident.id);
    }
    ids
}

async fn alert(app: &App, name: &str) -> AlertDraft {
    let report = Report {
        provider: "Suricata".into(),
        provider_alert_id: name.into(),
        product: Some("Suricata".into()),
        title: format!("Alert {name}"),
        description: None,
        severity: Severity::High,
        category: None,
        techniques: Vec::new(),
        first_activity_at: Some(app.clock.now()),
        last_activity_at: None,
        entities: Vec::new(),
    };
    AlertDraft { report: report.checked().expect("a report"), status: None, classification: None, raw: None }
}

async fn changes(app: &App) -> Vec<Change> {
    stream::changes(&app.store.read().await.expect("a snapshot"), 0, 100_000).await
}

async fn rows(database: &DatabaseConnection, sql: &str) -> Vec<QueryResult> {
    let statement = Statement::from_string(database.get_database_backend(), sql);
    database.query_all_raw(statement).await.expect("an answer")
}

/// Makes PostgreSQL wait up to 15 ms, by position, between a transaction's last statement and its commit. So a position
/// that was taken outside the lock would commit out of order.
const SLOW_COMMIT: &str = "
    CREATE FUNCTION slow_commit() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(((NEW.position * 7919) % 16) / 1000.0); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON change DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION slow_commit();
";

async fn sixteen_writers_leave_no_gap_and_no_disorder(database: TestDatabase) {
    const ROUNDS: usize = 8;
    let app = desk_at_rest(&database).await;
    // Some incidents of each writer's own and some shared: writers meet at the log's head, and also at rows.
    let ids = Arc::new(incidents(&app, WRITERS + 4).await);
    if database.kind == Kind::Postgres {
        database.connect().await.execute_unprepared(SLOW_COMMIT).await.expect("slow commits");
    }
    let mut dice = Dice::of_this_run();
    let start = ids.len() as u64;
    let end = start + (WRITERS * ROUNDS) as u64;
    let tail = {
        let app = app.clone();
        tokio::spawn(async move {
            let mut last = start;
            let mut seen = Vec::new();
            while last < end {
                let reader = app.store.read().await.expect("a snapshot");
                // Read the rows themselves: a read bounded by the head would miss rows beyond it.
                for row in reader.stored_after(last, 7).await.expect("rows") {
                    last = row.position();
                    seen.push(last);
                }
            }
            seen
        })
    };
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (app, ids, mut dice) = (app.clone(), ids.clone(), Dice::new(dice.next()));
            tokio::spawn(async move {
                let origin = command(&app, "renameIncident").await;
                for round in 0..ROUNDS {
                    let id = ids[if dice.chance(30) { WRITERS + dice.below(4) } else { writer }];
                    let pause = Duration::from_micros(dice.below(4_000) as u64);
                    let edit = watchfloor::storage::ChangeOrigin {
                        at: origin.at,
                        actor: origin.actor_image(),
                        cause: origin.cause.clone(),
                        client_mutation_id: None,
                    };
                    let written = app.store.transact(|tx| {
                        let edit = edit.clone();
                        Box::pin(async move {
                            let before = tx.lock_incident(id).await?;
                            let mut after = before.clone();
                            after.title = format!("Writer {writer}, round {round}");
                            after.title_version = before.version + 1;
                            tx.record(Some(&before), &mut after, Vec::new(), &edit, None).await?;
                            tokio::time::sleep(pause).await;
                            Ok(())
                        })
                    });
                    written.await.expect("a commit");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("a writer");
    }
    let patience = Duration::from_secs(10);
    let seen = tokio::time::timeout(patience, tail).await.expect("the tail sees the end").expect("a tail");
    assert_eq!(seen, (start + 1..=end).collect::<Vec<_>>(), "each position once, ascending, without a gap");
}

/// The head is locked last, so long work on an incident of one's own delays no other commit.
#[tokio::test]
async fn a_long_transaction_holds_up_no_other() {
    let database = TestDatabase::fresh(Kind::Postgres).await;
    let app = desk_at_rest(&database).await;
    let ids = incidents(&app, 2).await;
    let command = command(&app, "addComment").await;
    let comment = |body: &str| IncidentEdit {
        comment: Some(NewComment { id: None, body: body.into() }),
        ..IncidentEdit::default()
    };
    let (app, command, ids, comment) = (&app, &command, &ids, &comment);
    let long = app.store.transact(|tx| {
        Box::pin(async move {
            tx.lock_incident(ids[0]).await?;
            let short = app.update_incident(command, ids[1], comment("meanwhile"));
            Ok(tokio::time::timeout(Duration::from_secs(5), short).await.is_ok())
        })
    });
    assert!(long.await.expect("a commit").0, "the other one commits meanwhile");
}

/// The reason why the head is a locked row: a sequence may give 1 to a transaction that commits after the transaction
/// with 2, and a reader that asks for changes after 2 never sees 1.
#[tokio::test]
async fn a_sequence_instead_of_the_head_would_lose_changes() {
    let database = TestDatabase::fresh(Kind::Postgres).await;
    let [first, second, tail] = [database.connect().await, database.connect().await, database.connect().await];
    tail.execute_unprepared("CREATE TABLE log (id bigserial PRIMARY KEY, body text)").await.expect("a table");
    let mut seen = Vec::new();
    let mut poll = async || {
        let after = seen.last().copied().unwrap_or(0);
        for row in rows(&tail, &format!("SELECT id FROM log WHERE id > {after} ORDER BY id")).await {
            seen.push(row.try_get_by_index::<i64>(0).expect("an id"));
        }
    };
    for (connection, statement) in [
        (&first, "BEGIN"),
        (&first, "INSERT INTO log (body) VALUES ('of the slow one')"),
        (&second, "BEGIN"),
        (&second, "INSERT INTO log (body) VALUES ('of the fast one')"),
        (&second, "COMMIT"),
    ] {
        connection.execute_unprepared(statement).await.expect(statement);
    }
    poll().await;
    first.execute_unprepared("COMMIT").await.expect("COMMIT");
    poll().await;
    assert_eq!(rows(&tail, "SELECT id FROM log").await.len(), 2, "both are there");
    assert_eq!(seen, [2], "and the tail has missed one for ever");
}

async fn each_hash_covers_its_change_and_the_one_before(database: TestDatabase) {
    let app = desk_at_rest(&database).await;
    edit_at_random(&app, 4, 16).await;
    let drafts = vec![alert(&app, "free 1").await, alert(&app, "free 2").await];
    let free = watchfloor::app::alert::Ingest::new(drafts, watchfloor::app::alert::Destination::Nowhere);
    app.ingest_alerts(&command(&app, "ingestAlerts").await, free).await.expect("an ingest");
    incidents(&app, 1).await;
    let raw = database.connect().await;
    let head = rows(&raw, "SELECT epoch, position, hash FROM log_head").await.pop().expect("a head");
    let epoch: Uuid = head.try_get_by_index(0).expect("an epoch");
    let mut hash: Vec<u8> = Sha256::digest(epoch.as_bytes()).to_vec();
    let mut position = 0_i64;
    let both = "SELECT position, incident_id, version, body, hash, '' AS word FROM change
        UNION ALL SELECT position, alert_id, version, body, hash, 'alert:' FROM alert_change ORDER BY position";
    let mut of_alerts = 0;
    for row in rows(&raw, both).await {
        position += 1;
        let word: String = row.try_get_by_index(5).expect("a word");
        of_alerts += usize::from(!word.is_empty());
        assert_eq!(row.try_get_by_index::<i64>(0).expect("a position"), position);
        let mut next = Sha256::new();
        next.update(&hash);
        next.update(position.to_be_bytes());
        next.update(word.as_bytes());
        next.update(row.try_get_by_index::<Uuid>(1).expect("an incident or alert").as_bytes());
        next.update(row.try_get_by_index::<i64>(2).expect("a version").to_be_bytes());
        next.update(row.try_get_by_index::<String>(3).expect("a body").as_bytes());
        hash = next.finalize().to_vec();
        assert_eq!(row.try_get_by_index::<Vec<u8>>(4).expect("a hash"), hash, "the hash at {position}");
    }
    assert!(position > 40 && of_alerts == 2, "{position} changes, {of_alerts} of alerts");
    assert_eq!(head.try_get_by_index::<i64>(1).expect("a position"), position, "the head names the last change");
    assert_eq!(head.try_get_by_index::<Vec<u8>>(2).expect("a hash"), hash);
}

async fn a_transaction_takes_consecutive_positions(database: TestDatabase) {
    let app = desk_at_rest(&database).await;
    let command = command(&app, "createIncident").await;
    let holders = incidents(&app, 3).await;
    let mut link = Vec::new();
    for (index, holder) in holders.iter().enumerate() {
        let drafts = vec![alert(&app, &format!("a{index}")).await];
        let into = watchfloor::app::alert::Destination::Incident(*holder);
        link.push(
            app.ingest_alerts(&command, watchfloor::app::alert::Ingest::new(drafts, into))
                .await
                .expect("an ingest")
                .value
                .alerts[0]
                .id,
        );
    }
    let before = changes(&app).await.len();
    let edit = IncidentEdit {
        patch: Patch { title: Some("All of it".into()), ..Patch::default() },
        link,
        move_alerts: true,
        ..IncidentEdit::default()
    };
    let target = app.create_incident(&command, None, edit).await.expect("a move").value.incident.id;

    let log = changes(&app).await;
    let moved = &log[before..];
    assert_eq!(moved.len(), 4, "one change for each incident");
    assert_eq!(
        moved.iter().map(|change| change.offset).collect::<Vec<_>>(),
        (before as u64 + 1..=before as u64 + 4).collect::<Vec<_>>()
    );
    let mut touched: Vec<_> = moved.iter().map(Change::incident).collect();
    touched.sort();
    let mut expected: Vec<_> = holders.iter().copied().chain([target]).collect();
    expected.sort();
    assert_eq!(touched, expected);
    assert!(moved.iter().all(|change| change.body.transaction == moved[0].body.transaction), "one transaction id");
    assert_eq!(moved.iter().map(|change| change.body.last).collect::<Vec<_>>(), [false, false, false, true]);
    let others = &log[..before];
    assert!(others.iter().all(|change| change.body.last && change.body.transaction != moved[0].body.transaction));
}

async fn each_change_begins_where_the_one_before_ended(database: TestDatabase) {
    let app = desk_at_rest(&database).await;
    edit_at_random(&app, 8, 12).await;
    let mut last: HashMap<IncidentId, QueueRow> = HashMap::new();
    for change in changes(&app).await {
        let id = change.incident();
        let former = last.insert(id, change.body.row.clone());
        assert_eq!(change.before, former, "the before of position {} is the after of the one before", change.offset);
        assert_eq!(change.version(), former.map_or(0, |row| row.version) + 1, "versions of {id} are dense");
    }
    let reader = app.store.read().await.expect("a snapshot");
    for incident in reader.incidents(&last.keys().copied().collect::<Vec<_>>()).await.expect("incidents") {
        assert_eq!(incident.queue_row(), last[&incident.id], "the log's last row is the incident");
    }
}

/// Lets several callers edit a few incidents at random: every kind of triage, with moves of alerts.
async fn edit_at_random(app: &App, callers: usize, rounds: usize) {
    let mut dice = Dice::of_this_run();
    let ids = Arc::new(incidents(app, 3).await);
    let ingest = command(app, "ingestAlerts").await;
    let mut drafts = Vec::new();
    for number in 0..6 {
        drafts.push(alert(app, &format!("r{number}")).await);
    }
    let into = watchfloor::app::alert::Destination::Incident(ids[0]);
    let alerts = app
        .ingest_alerts(&ingest, watchfloor::app::alert::Ingest::new(drafts, into))
        .await
        .expect("an ingest")
        .value
        .alerts;
    let alerts: Arc<Vec<_>> = Arc::new(alerts.into_iter().map(|alert| alert.id).collect());
    let callers: Vec<_> = (0..callers)
        .map(|caller| {
            let (app, ids, alerts, mut dice) = (app.clone(), ids.clone(), alerts.clone(), Dice::new(dice.next()));
            tokio::spawn(async move {
                let command = command(&app, "updateIncident").await;
                for round in 0..rounds {
                    let (mut edit, mut patch) = (IncidentEdit::default(), Patch::default());
                    match dice.below(7) {
                        0 => patch.title = Some(format!("{} of {caller}, {round}", "long ".repeat(dice.below(90)))),
                        1 => edit.owner = Some(dice.chance(50).then_some(OwnerChoice::Me)),
                        2 => {
                            let tag = Tag { kind: TagKind::Custom, name: format!("tag {}", dice.below(5)) };
                            if dice.chance(50) { patch.add_tags.push(tag) } else { patch.remove_tags.push(tag) }
                        }
                        3 => patch.severity = Some(Some(*dice.pick(&[Severity::Low, Severity::High]))),
                        4 => patch.status = Some(*dice.pick(&[Status::New, Status::Active])),
                        5 => edit.comment = Some(NewComment { id: None, body: format!("{caller}: {round}") }),
                        _ => {
                            edit.link = dice.some(&alerts);
                            edit.move_alerts = true;
                        }
                    }
                    edit.patch = patch;
                    app.update_incident(&command, *dice.pick(&ids), edit).await.expect("an edit");
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("a caller");
    }
}

async fn an_id_carries_the_time_of_the_clock(database: TestDatabase) {
    let app = desk_at_rest(&database).await;
    app.clock.advance(chrono::Duration::hours(36));
    let made = incidents(&app, 2).await;
    let changes = changes(&app).await;
    let transactions: Vec<Uuid> = changes.iter().map(|change| change.body.transaction.0).collect();
    assert!(transactions[0] < transactions[1], "ids of one instant ascend too: {transactions:?}");
    for id in made.iter().map(|id| id.0).chain(transactions) {
        let (seconds, nanos) = id.get_timestamp().expect("a UUIDv7").to_unix();
        let told = chrono::DateTime::from_timestamp(seconds as i64, nanos).expect("a time");
        assert_eq!(told.timestamp_millis(), app.clock.now().timestamp_millis(), "{id}");
    }
}
