//! Rows that a batch locks ahead: few statements for many commands, and never a row of before a command of the batch.

use std::time::Duration;

use futures_util::future::join_all;
use sea_orm::{ConnectionTrait, TransactionTrait};
use watchfloor::app::alert::{AlertEdit, Destination, Ingest};
use watchfloor::app::incident::{IncidentEdit, OwnerChoice};
use watchfloor::domain::account::{OwnerId, UserDraft};
use watchfloor::domain::alert::AlertStatus;
use watchfloor::domain::{AlertId, IncidentId};
use watchfloor::storage::LockPlan;

use crate::statements::Sent;
use crate::support::crowd::{comment, draft, gathered, hold, log, matter, named, number, one_of_many};
use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::waiting::a_moment;

each_database!(
    a_batch_locks_and_reads_for_all_its_commands,
    an_owner_is_read_again_after_a_change_of_its_name,
    an_alert_is_read_again_after_its_own_command,
    an_alert_that_a_command_unlinks_keeps_its_owner,
    comments_on_incidents_in_turn_build_on_each_other,
    commands_of_few_incidents_build_on_each_other,
    a_batch_takes_the_commands_whose_rows_it_locked,
);

async fn user(desk: &TestDesk, account: &str, name: Option<&str>) -> OwnerId {
    let command = named(&desk.app, account, "upsertUser").await;
    let draft = UserDraft::parse(account, name, None, None).expect("a user");
    OwnerId::User(desk.app.upsert_user(&command, draft).await.expect("a user").value.id)
}

/// Gives each incident two alerts. Returns the ids of the alerts.
async fn alerts_of(desk: &TestDesk, incidents: &[IncidentId]) -> Vec<AlertId> {
    let command = named(&desk.app, "before", "ingestAlerts").await;
    let mut ids = Vec::new();
    for (n, id) in incidents.iter().enumerate() {
        let alerts = (0..2).map(|alert| draft(&format!("{n}-{alert}"))).collect();
        let taken = desk.app.ingest_alerts(&command, Ingest::new(alerts, Destination::Incident(*id))).await;
        ids.extend(taken.expect("alerts").value.alerts.iter().map(|alert| alert.id));
    }
    ids
}

fn owned(owner: OwnerId) -> IncidentEdit {
    IncidentEdit { owner: Some(Some(OwnerChoice::Id(owner))), ..IncidentEdit::default() }
}

async fn a_batch_locks_and_reads_for_all_its_commands(database: TestDatabase) {
    const COMMANDS: usize = 40;
    let sent = Sent::default();
    let desk = sent.by_desk(&database).await;
    let incidents = matter(&desk.app, COMMANDS).await.incidents;
    alerts_of(&desk, &incidents).await;
    let owners = [user(&desk, "ada", None).await, user(&desk, "bo", None).await];
    sent.take();
    let assigned = incidents.iter().enumerate().map(|(n, id)| {
        let app = &desk.app;
        async move {
            let command = named(app, &format!("assigned-{n}"), "assignIncident").await;
            app.update_incident(&command, *id, owned(owners[n % 2])).await
        }
    });
    let done = gathered(&database, assigned.collect::<Vec<_>>()).await;
    assert!(done.iter().all(|done| done.as_ref().is_ok_and(|done| done.value.alerts.len() >= 2)));
    let statements = sent.take();
    // The rows of a page or an answer are read by other statements.
    let locks = |table: &str| {
        let from = format!(" FROM \"{table}\" WHERE ");
        let of_table = statements.iter().filter(|statement| statement.sql.contains(&from));
        of_table.filter(|statement| statement.sql.contains("ORDER BY")).count()
    };
    let (incidents, alerts) = (locks("incident"), locks("alert"));
    assert!(incidents <= COMMANDS / 3 && alerts <= COMMANDS / 3, "{incidents} and {alerts}: {statements:#?}");
    let tags = statements.iter().filter(|statement| statement.sql.contains("FROM \"incident_tag\"")).count();
    assert!(tags <= COMMANDS / 3, "{tags} statements");
    desk.verified().await;
}

async fn an_owner_is_read_again_after_a_change_of_its_name(database: TestDatabase) {
    const FIRST: usize = 10;
    let desk = TestDesk::open(&database).await;
    let incidents = matter(&desk.app, 2 * FIRST).await.incidents;
    let owner = user(&desk, "ada", Some("Ada Before")).await;
    let assigned = async |n: usize| {
        // The second half arrives after the change of the name, and before the batch begins.
        for _ in 0..if n < FIRST { 0 } else { 5 } {
            a_moment().await;
        }
        let command = named(&desk.app, &format!("assigned-{n}"), "assignIncident").await;
        let done = desk.app.update_incident(&command, incidents[n], owned(owner)).await.expect("an owner");
        done.value.incident.owner.expect("an owner").name
    };
    let all = async {
        let renamed = async { user(&desk, "ada", Some("Ada After")).await };
        tokio::join!(join_all((0..2 * FIRST).map(&assigned)), renamed).0
    };
    let names = Box::pin(gathered(&database, [all])).await.remove(0);
    // On PostgreSQL two batches gather at once, and the other batch may have read the name before the change.
    if database.kind == Kind::Sqlite {
        assert!(names[FIRST..].iter().all(|name| name == "Ada After"), "{names:?}");
    }
    desk.verified().await;
}

async fn an_alert_is_read_again_after_its_own_command(database: TestDatabase) {
    const INCIDENTS: usize = 8;
    let desk = TestDesk::open(&database).await;
    let incidents = matter(&desk.app, INCIDENTS).await.incidents;
    let alerts = alerts_of(&desk, &incidents).await;
    let owners = [user(&desk, "ada", None).await, user(&desk, "bo", None).await];
    for round in 0..4 {
        let commands = (0..3 * INCIDENTS).map(|n| {
            let (app, incident) = (&desk.app, incidents[n % INCIDENTS]);
            let alert = alerts[2 * (n % INCIDENTS)];
            async move {
                let command = named(app, &format!("{round}-{n}"), "updateAlert").await;
                let owner = owners[(round + n / INCIDENTS) % 2];
                if n / INCIDENTS == 1 {
                    let edit = AlertEdit {
                        status: Some(if round % 2 == 0 { AlertStatus::Active } else { AlertStatus::New }),
                        classification: None,
                        owner: Some(Some(OwnerChoice::Id(owner))),
                        expected_version: None,
                    };
                    return app.update_alert(&command, alert, edit).await.map(|done| done.changed);
                }
                app.update_incident(&command, incident, owned(owner)).await.map(|done| done.changed)
            }
        });
        let done = gathered(&database, commands.collect::<Vec<_>>()).await;
        assert!(done.iter().all(Result::is_ok), "{done:?}");
    }
    // The log names each alert's owner after each command, so a state of before would contradict it.
    desk.verified().await;
}

async fn an_alert_that_a_command_unlinks_keeps_its_owner(database: TestDatabase) {
    const INCIDENTS: usize = 20;
    let desk = TestDesk::open(&database).await;
    let incidents = matter(&desk.app, INCIDENTS).await.incidents;
    let alerts = alerts_of(&desk, &incidents).await;
    let owner = user(&desk, "ada", None).await;
    let edits = incidents.iter().enumerate().map(|(n, id)| {
        let (app, edit) = (&desk.app, IncidentEdit { unlink: vec![alerts[2 * n]], ..owned(owner) });
        async move {
            let command = named(app, &format!("unlinked-{n}"), "updateIncident").await;
            app.update_incident(&command, *id, edit).await.map(|done| done.changed)
        }
    });
    let done = gathered(&database, edits.collect::<Vec<_>>()).await;
    assert!(done.iter().all(|done| matches!(done, Ok(true))), "{done:?}");
    let owned = "SELECT COUNT(*) AS number FROM alert WHERE owner_user_id IS NOT NULL AND incident_id IS";
    assert_eq!(number(&database, &format!("{owned} NULL")).await, 0);
    // `matter` has given the first incident an alert, too.
    assert_eq!(number(&database, &format!("{owned} NOT NULL")).await, INCIDENTS as i64 + 1);
    desk.verified().await;
}

async fn comments_on_incidents_in_turn_build_on_each_other(database: TestDatabase) {
    const INCIDENTS: usize = 3;
    const COMMENTS: usize = 8;
    let desk = TestDesk::open(&database).await;
    let incidents = matter(&desk.app, INCIDENTS).await.incidents;
    let remarks = (0..INCIDENTS * COMMENTS).map(|n| {
        let (app, id) = (&desk.app, incidents[n % INCIDENTS]);
        async move {
            let command = named(app, &format!("remark-{n}"), "addComment").await;
            app.update_incident(&command, id, comment(format!("Remark {n}"))).await.expect("a comment").value.incident
        }
    });
    let mut counts: Vec<_> = gathered(&database, remarks.collect::<Vec<_>>()).await;
    counts.sort_by_key(|incident| (incident.id, incident.comment_count));
    let counts: Vec<u64> = counts.iter().map(|incident| incident.comment_count).collect();
    let expected: Vec<u64> = (0..INCIDENTS).flat_map(|_| 1..=COMMENTS as u64).collect();
    assert_eq!(counts, expected);
    desk.verified().await;
}

async fn commands_of_few_incidents_build_on_each_other(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let matter = matter(&desk.app, 5).await;
    for round in 0..3 {
        let crowd = (0..60).map(|n| one_of_many(&desk.app, &matter, round * 60 + n)).collect::<Vec<_>>();
        let told = gathered(&database, crowd).await;
        hold(&told, &log(&desk.app).await);
    }
    desk.verified().await;
}

/// Each command takes longer than a batch gathers. The batch still takes the commands for which it has locked rows.
async fn a_batch_takes_the_commands_whose_rows_it_locked(database: TestDatabase) {
    // A batch takes no command at all 250 ms after its begin, so a pause of the machine can keep the commands apart.
    const ROUNDS_MAX: usize = 20;
    let sent = Sent::default();
    let desk = sent.by_desk(&database).await;
    let store = &desk.app.store;
    let incidents = matter(&desk.app, 4).await.incidents;
    for _ in 0..ROUNDS_MAX {
        sent.take();
        let lead = |pause: u64| {
            store.transact_together(LockPlan::default(), move |_| async move {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                Ok(())
            })
        };
        // On PostgreSQL two batches gather at once. The second one has a long command.
        let busy = async {
            if database.kind == Kind::Postgres {
                lead(200).await.expect("a command");
            }
        };
        let locks = incidents.iter().map(|id| {
            let plan = LockPlan { incident: Some(*id), ..LockPlan::default() };
            store.transact_together(plan, move |tx| async move {
                let locked = tx.lock_incidents(&[*id]).await?;
                tokio::time::sleep(Duration::from_millis(30)).await;
                Ok(locked.len())
            })
        });
        let (first, (), locked) = tokio::join!(lead(5), busy, join_all(locks));
        first.expect("a command");
        assert!(locked.into_iter().all(|locked| locked.is_ok_and(|(count, _)| count == 1)));
        if sent.take().iter().filter(|statement| statement.sql.contains(" FROM \"incident\" WHERE ")).count() == 1 {
            return;
        }
    }
    panic!("each batch has left commands to another batch");
}

/// A command whose incident another transaction has locked waits for it, and stops no other command.
#[tokio::test]
async fn a_locked_incident_is_left_to_its_command() {
    const COMMANDS: usize = 20;
    const LOCKED: usize = 11;
    let database = TestDatabase::fresh(Kind::Postgres).await;
    let desk = TestDesk::open(&database).await;
    let incidents = matter(&desk.app, COMMANDS).await.incidents;
    let holder = database.connect().await.begin().await.expect("a transaction");
    let lock = format!("SELECT 1 FROM incident WHERE id = '{}' FOR UPDATE", incidents[LOCKED].0);
    holder.execute_unprepared(&lock).await.expect("a lock");
    let remark = |n: usize| {
        let (app, id) = (desk.app.clone(), incidents[n]);
        async move {
            let command = named(&app, &format!("remark-{n}"), "addComment").await;
            app.update_incident(&command, id, comment(format!("Remark {n}"))).await.map(|done| done.changed)
        }
    };
    let locked = tokio::spawn(remark(LOCKED));
    let others = (0..COMMANDS).filter(|n| *n != LOCKED).map(remark).collect::<Vec<_>>();
    let done = gathered(&database, others).await;
    assert!(done.iter().all(|done| matches!(done, Ok(true))), "{done:?}");
    assert!(!locked.is_finished(), "its incident is locked");
    holder.rollback().await.expect("an end");
    assert!(locked.await.expect("a task").expect("a comment"));
    desk.verified().await;
}
