//! Deferred rows of commands that share a transaction: a command's own next statement sees them, a refused command's
//! rows vanish, and a batch needs few statements.

use std::collections::HashSet;

use futures_util::future::join_all;
use watchfloor::app::Command;
use watchfloor::app::alert::{Destination, Ingest};
use watchfloor::app::incident::{IncidentEdit, OwnerChoice};
use watchfloor::domain::account::{ActorImage, OwnerId, UserDraft};
use watchfloor::domain::change::{Cause, CauseKind};
use watchfloor::domain::comment::Comment;
use watchfloor::domain::{CommentId, Error, IncidentId};
use watchfloor::storage::LockPlan;

use crate::statements::Sent;
use crate::support::crowd::{
    comment, draft, gathered, hold, log, matter, named, number, numbers_are_dense, one_of_many, titled,
};
use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::desk::TestDesk;

each_database!(
    a_command_finds_what_it_wrote,
    what_a_refused_command_wrote_is_in_no_table,
    numbers_of_refused_commands_are_given_again,
    commands_of_a_batch_share_statements,
    changes_of_one_incident_in_a_batch_build_on_each_other,
    alerts_follow_the_assignments_of_a_batch,
);

fn written(desk: &TestDesk, incident: IncidentId) -> Comment {
    Comment {
        id: CommentId(desk.app.clock.fresh_id()),
        incident,
        written_on: incident,
        version: 2,
        body: "The host was isolated at 14:02.".into(),
        author: ActorImage::System,
        created_at: desk.app.clock.now(),
        edited_at: None,
        deleted_at: None,
    }
}

async fn a_command_finds_what_it_wrote(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let incident = matter(&desk.app, 1).await.incidents[0];
    let comment = written(&desk, incident);
    let found = desk.app.store.transact_together(LockPlan::default(), |tx| {
        let comment = &comment;
        async move {
            tx.insert_comment(comment).await?;
            let found = tx.comments(&[comment.id]).await?.pop();
            let texts = tx.comment_histories(&[comment.id]).await?;
            Ok((found, texts.get(&comment.id).map_or(0, Vec::len)))
        }
    });
    let ((found, texts), _) = found.await.expect("a transaction");
    assert_eq!((found.as_ref(), texts), (Some(&comment), 1));
}

async fn what_a_refused_command_wrote_is_in_no_table(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let incidents = matter(&desk.app, 12).await.incidents;
    let commands = (0..12).map(|n| {
        let (comment, store) = (written(&desk, incidents[n]), desk.app.store.clone());
        async move {
            let outcome = store.transact_together(LockPlan::default(), |tx| {
                let comment = &comment;
                async move {
                    tx.lock_incident(comment.incident).await?;
                    tx.insert_comment(comment).await?;
                    // Half of the refused commands have already sent the row.
                    if n % 4 == 1 {
                        tx.comments(&[comment.id]).await?;
                    }
                    if n % 2 == 1 { Err(Error::forbidden("not this one")) } else { Ok(()) }
                }
            });
            (comment.id, outcome.await.is_ok())
        }
    });
    let outcomes = gathered(&database, commands.collect::<Vec<_>>()).await;
    let reader = desk.app.store.read().await.expect("a snapshot");
    let ids: Vec<CommentId> = outcomes.iter().map(|(id, _)| *id).collect();
    let there: HashSet<CommentId> =
        reader.comments(&ids).await.expect("comments").iter().map(|comment| comment.id).collect();
    for (n, (id, done)) in outcomes.iter().enumerate() {
        assert_eq!((*done, there.contains(id)), (n % 2 == 0, n % 2 == 0), "{n}");
    }
    let texts = number(&database, "SELECT COUNT(*) AS number FROM comment_revision").await;
    assert_eq!(texts, 6);
}

async fn numbers_of_refused_commands_are_given_again(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let matter = matter(&desk.app, 3).await;
    // A created incident, a refused command, a comment.
    let kinds = [0, 9, 1, 9, 0, 0, 9, 0];
    for round in 0..4 {
        let crowd = kinds.iter().enumerate().map(|(at, kind)| (round * kinds.len() + at) * 10 + kind);
        let told = gathered(&database, crowd.map(|n| one_of_many(&desk.app, &matter, n)).collect::<Vec<_>>()).await;
        assert_eq!(told.iter().filter(|told| told.answer.is_err()).count(), 3);
        hold(&told, &log(&desk.app).await);
        numbers_are_dense(&database).await;
    }
    let stored = number(&database, "SELECT value AS number FROM counter WHERE name = 'incident_number'").await;
    assert_eq!(stored, number(&database, "SELECT MAX(number) AS number FROM incident").await);
    // The log is whole, and so are the incidents.
    desk.verified().await;
}

async fn commands_of_a_batch_share_statements(database: TestDatabase) {
    const COMMANDS: usize = 40;
    let sent = Sent::default();
    let desk = sent.by_desk(&database).await;
    let matter = matter(&desk.app, COMMANDS).await;
    sent.take();
    let comments = (0..COMMANDS).map(|n| {
        let id = matter.incidents[n];
        let app = &desk.app;
        async move {
            let command = named(app, &format!("remark-{n}"), "addComment").await;
            app.update_incident(&command, id, comment(format!("Remark {n}"))).await
        }
    });
    let done = gathered(&database, comments.collect::<Vec<_>>()).await;
    assert!(done.iter().all(Result::is_ok));
    let statements = sent.take();
    let of = |start: &str| statements.iter().filter(|statement| statement.sql.starts_with(start)).count();
    let (comments, texts) = (of("INSERT INTO \"comment\" "), of("INSERT INTO \"comment_revision\" "));
    assert!(comments <= COMMANDS / 3 && texts <= COMMANDS / 3, "{comments} and {texts} statements");
    if database.kind == Kind::Postgres {
        let incidents = of("UPDATE \"incident\" ");
        assert!(incidents <= COMMANDS / 3, "{incidents} statements");
    }
    let made = (0..COMMANDS).map(|n| {
        let app = &desk.app;
        async move {
            let command = named(app, &format!("made-{n}"), "createIncident").await;
            app.create_incident(&command, None, titled(format!("Beacon to 203.0.113.{n}"))).await
        }
    });
    sent.take();
    assert!(gathered(&database, made.collect::<Vec<_>>()).await.iter().all(Result::is_ok));
    let statements = sent.take();
    let of = |start: &str| statements.iter().filter(|statement| statement.sql.starts_with(start)).count();
    let (incidents, counters) = (of("INSERT INTO \"incident\" "), of("UPDATE \"counter\" "));
    assert!(incidents <= COMMANDS / 3 && counters <= COMMANDS / 3, "{incidents} and {counters} statements");
    numbers_are_dense(&database).await;
    desk.verified().await;
}

async fn changes_of_one_incident_in_a_batch_build_on_each_other(database: TestDatabase) {
    const CHANGES: usize = 24;
    let desk = TestDesk::open(&database).await;
    let id = matter(&desk.app, 2).await.incidents[1];
    let cause = Cause { kind: CauseKind::Command, name: "addComment".to_owned(), job: None };
    let command = Command::system(desk.app.clock.now(), cause);
    let changes = (0..CHANGES).map(|n| desk.app.update_incident(&command, id, comment(format!("Remark {n}"))));
    let held = gathered(&database, [join_all(changes)]).await.remove(0);
    let mut versions: Vec<u64> =
        held.into_iter().map(|outcome| outcome.expect("a comment").value.incident.version).collect();
    versions.sort_unstable();
    assert_eq!(versions, (2..2 + CHANGES as u64).collect::<Vec<_>>());
    let incident = desk.app.find_incident(id).await.expect("a look").expect("an incident");
    assert_eq!((incident.version, incident.comment_count), (1 + CHANGES as u64, CHANGES as u64));
    desk.verified().await;
}

async fn alerts_follow_the_assignments_of_a_batch(database: TestDatabase) {
    const INCIDENTS: usize = 20;
    let sent = Sent::default();
    let desk = sent.by_desk(&database).await;
    let incidents = matter(&desk.app, INCIDENTS).await.incidents;
    let command = named(&desk.app, "before", "ingestAlerts").await;
    for (n, id) in incidents.iter().enumerate() {
        // One more alert in some than what waits of one incident.
        let alerts = (0..if n == 7 { 20 } else { 2 }).map(|alert| draft(&format!("{n}-{alert}"))).collect();
        desk.app.ingest_alerts(&command, Ingest::new(alerts, Destination::Incident(*id))).await.expect("alerts");
    }
    let mut users = Vec::new();
    for name in ["ada", "bo", "cem"] {
        let draft = UserDraft::parse(name, None, None, None).expect("a user");
        users.push(OwnerId::User(desk.app.upsert_user(&command, draft).await.expect("a user").value.id));
    }
    let assigned = |n: usize, owner: OwnerId| {
        let (app, id) = (&desk.app, incidents[n % INCIDENTS]);
        async move {
            let command = named(app, &format!("assigned-{n}"), "assignIncident").await;
            let edit = IncidentEdit { owner: Some(Some(OwnerChoice::Id(owner))), ..IncidentEdit::default() };
            app.update_incident(&command, id, edit).await
        }
    };
    sent.take();
    let once = (0..INCIDENTS).map(|n| assigned(n, users[0])).collect::<Vec<_>>();
    for done in gathered(&database, once).await {
        let done = done.expect("an owner");
        assert!(done.changed && done.value.alerts.len() >= 2, "{done:?}");
    }
    let statements = sent.take();
    let of = |start: &str| statements.iter().filter(|statement| statement.sql.starts_with(start)).count();
    assert!(of("INSERT INTO \"assignee_pick\" ") <= INCIDENTS / 3, "{statements:#?}");
    if database.kind == Kind::Postgres {
        // 58 rows, in lots of 16, 8, 4, 2 and 1, of a few batches; each command by itself would send 20.
        assert!(of("UPDATE \"alert\" ") <= INCIDENTS / 2, "{statements:#?}");
    }
    // Each incident gets another owner twice within the same batches.
    let again = (0..2 * INCIDENTS).map(|n| assigned(n, users[1 + n / INCIDENTS])).collect::<Vec<_>>();
    assert!(gathered(&database, again).await.iter().all(Result::is_ok));
    let astray = "SELECT COUNT(*) AS number FROM alert JOIN incident ON incident.id = alert.incident_id
        WHERE alert.owner_user_id IS NULL OR alert.owner_user_id <> incident.owner_user_id";
    assert_eq!(number(&database, astray).await, 0);
    let picks = number(&database, "SELECT COUNT(*) AS number FROM assignee_pick").await;
    assert_eq!(picks, 3, "the local manager picked each of three users");
    desk.verified().await;
}
