//! A mixed crowd of concurrent commands, their outcomes, and the comparison of these outcomes with the log.

use std::collections::{HashMap, HashSet};

use futures_util::future::join_all;
use sea_orm::{ConnectionTrait, DatabaseTransaction, Statement, TransactionTrait};
use watchfloor::app::alert::{AlertEdit, Destination, Ingest};
use watchfloor::app::incident::{IncidentEdit, NewComment, OwnerChoice};
use watchfloor::app::{App, Command};
use watchfloor::domain::account::UserDraft;
use watchfloor::domain::alert::{AlertDraft, AlertStatus, Report};
use watchfloor::domain::alert_log::Logged;
use watchfloor::domain::idempotency::IdempotencyKey;
use watchfloor::domain::incident::{Incident, Patch, Severity};
use watchfloor::domain::position::Position;
use watchfloor::domain::tag::{Tag, TagKind};
use watchfloor::domain::view::{Slug, ViewDraft, Visibility};
use watchfloor::domain::{AlertId, IncidentId, Result, TransactionId};

use super::database::TestDatabase;
use super::waiting::a_moment;
/// The outcome of one command.
pub(crate) struct Told {
    /// The client's name for the command.
    pub(crate) word: String,
    pub(crate) answer: Result<Said>,
}

/// The content of an answer.
pub(crate) struct Said {
    pub(crate) position: Position,
    pub(crate) incident: Option<Incident>,
    pub(crate) replayed: bool,
    /// Whether the command wrote a change to the log.
    pub(crate) logged: bool,
}

/// The objects that the commands act on.
pub(crate) struct Matter {
    pub(crate) incidents: Vec<IncidentId>,
    pub(crate) free: Vec<AlertId>,
    /// An alert that an incident holds.
    pub(crate) held: AlertId,
}

pub(crate) async fn named(app: &App, word: &str, name: &str) -> Command {
    let caller = app.local_caller(None).await.expect("a caller");
    Command { client_mutation_id: Some(word.to_owned()), ..Command::new(caller, app.clock.now(), name) }
}

/// Returns whether the n-th command of a crowd has an idempotency key.
pub(crate) fn is_keyed(n: usize) -> bool {
    (n / 10).is_multiple_of(2)
}

pub(crate) fn keyed(command: Command) -> Command {
    let word = command.client_mutation_id.clone().expect("a word");
    let key = IdempotencyKey { key: word, mutation: command.cause.name.clone(), input: [7; 32] };
    Command { idempotency_key: Some(key), ..command }
}

pub(crate) fn draft(key: &str) -> AlertDraft {
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

pub(crate) fn view(n: usize) -> ViewDraft {
    ViewDraft {
        name: format!("View {n}"),
        slug: Slug::parse("slug", &format!("view-{n}")).expect("a slug"),
        visibility: Visibility::Private,
        filter: Default::default(),
        order: Vec::new(),
    }
}

pub(crate) fn titled(title: String) -> IncidentEdit {
    Patch { title: Some(title), ..Patch::default() }.into()
}

pub(crate) fn comment(body: String) -> IncidentEdit {
    IncidentEdit { comment: Some(NewComment { id: None, body }), ..IncidentEdit::default() }
}

pub(crate) fn tagged(name: &str) -> IncidentEdit {
    let tag = Tag::parse("tags", TagKind::Custom, name).expect("a tag");
    Patch { add_tags: vec![tag], ..Patch::default() }.into()
}

pub(crate) async fn matter(app: &App, incidents: usize) -> Matter {
    let command = named(app, "before", "createIncident").await;
    let mut ids = Vec::new();
    for n in 0..incidents {
        let made = app.create_incident(&command, None, titled(format!("Incident {n}"))).await.expect("an incident");
        ids.push(made.value.incident.id);
    }
    let alerts = (0..30).map(|n| draft(&format!("free-{n}"))).collect();
    let taken = app.ingest_alerts(&command, Ingest::new(alerts, Destination::Nowhere)).await.expect("alerts");
    let one = Ingest::new(vec![draft("held")], Destination::Incident(ids[0]));
    let held = app.ingest_alerts(&command, one).await.expect("an alert").value.alerts[0].id;
    Matter { incidents: ids, free: taken.value.alerts.iter().map(|alert| alert.id).collect(), held }
}

/// Runs the n-th command of a mixed crowd.
pub(crate) async fn one_of_many(app: &App, matter: &Matter, n: usize) -> Told {
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
            let taken = app.ingest_alerts(&command, Ingest::new(alerts, Destination::Nowhere)).await;
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
            let done = app.create_view(&command, view(n)).await;
            let said = |position, replayed| Said { position, incident: None, replayed, logged: false };
            return Told { word, answer: done.map(|done| said(done.position, done.replayed)) };
        }
        8 => app.update_incident(&command, IncidentId(app.clock.fresh_id()), tagged("nowhere")).await,
        // This command is refused after it has taken a number.
        _ => {
            let edit = IncidentEdit { link: vec![matter.held], ..tagged(&format!("refused-{n}")) };
            app.create_incident(&command, None, edit).await
        }
    };
    let answer = outcome.map(|outcome| Said {
        position: outcome.position,
        logged: outcome.changed,
        replayed: outcome.replayed,
        incident: Some(outcome.value.incident),
    });
    Told { word, answer }
}

/// Returns the log, each change with the client's name of its command.
pub(crate) async fn log(app: &App) -> Vec<Logged> {
    let reader = app.store.read().await.expect("a snapshot");
    let head = reader.head().await.expect("a head");
    reader.log_after(&head, 0, u64::MAX >> 1).await.expect("the log").expect("dense positions")
}

pub(crate) fn marks(change: &Logged) -> (Option<&str>, TransactionId, bool) {
    match change {
        Logged::Incident(change) => {
            (change.body.client_mutation_id.as_deref(), change.body.transaction, change.body.last)
        }
        Logged::Alert(change) => (change.body.client_mutation_id.as_deref(), change.body.transaction, change.body.last),
    }
}

/// Compares the outcomes with the log.
pub(crate) fn hold(told: &[Told], log: &[Logged]) {
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

/// Checks that numbers are given without a gap.
pub(crate) async fn numbers_are_dense(database: &TestDatabase) {
    let conn = database.connect().await;
    let sql = "SELECT COUNT(*) AS made, MAX(number) AS last FROM incident";
    let row = conn.query_one_raw(Statement::from_string(conn.get_database_backend(), sql)).await;
    let row = row.expect("an answer").expect("a row");
    let (made, last): (i64, i64) = (row.try_get("", "made").expect("made"), row.try_get("", "last").expect("last"));
    let first = 1;
    assert_eq!(made, last - first + 1, "a refused command has kept its number");
}

/// Locks the log's head: nobody can commit meanwhile, so the commands that arrive gather.
pub(crate) async fn holding(database: &TestDatabase) -> DatabaseTransaction {
    let held = database.connect().await.begin().await.expect("a transaction");
    held.execute_unprepared("UPDATE log_head SET floor = floor").await.expect("the head");
    held
}

/// Runs commands that all arrive while nobody can commit.
pub(crate) async fn gathered<T>(
    database: &TestDatabase,
    commands: impl IntoIterator<Item = impl Future<Output = T>>,
) -> Vec<T> {
    let held = holding(database).await;
    let release = async {
        for _ in 0..20 {
            a_moment().await;
        }
        held.rollback().await.expect("an end");
    };
    tokio::join!(join_all(commands), release).0
}

pub(crate) async fn number(database: &TestDatabase, sql: &str) -> i64 {
    let conn = database.connect().await;
    let row = conn.query_one_raw(Statement::from_string(conn.get_database_backend(), sql)).await;
    row.expect("an answer").expect("a row").try_get("", "number").expect("a number")
}
