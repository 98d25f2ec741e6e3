//! Text search: the trigram indexes find the same as a read of every text.

use std::collections::{BTreeSet, HashMap, HashSet};

use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use watchfloor::app::Command;
use watchfloor::app::alert::{Destination as Target, Ingest};
use watchfloor::app::incident::IncidentEdit;
use watchfloor::domain::alert::{AlertDraft, Report};
use watchfloor::domain::filter::{
    IncidentFilter, IncidentOrder, IncidentOrderField, OrderDirection, QueueFilter, Subject,
};
use watchfloor::domain::incident::{Incident, Patch, Severity, Status};
use watchfloor::domain::{AlertId, IncidentId, text};
use watchfloor::storage::{AlertFilter, PageRequest, Reader, Span};

use super::filter::{local, people};
use crate::support::database::{Kind, TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::dice::Dice;

each_database!(
    a_search_finds_what_reading_every_text_finds,
    a_search_sees_what_others_write,
    an_alert_is_found_by_its_present_title,
    an_incident_is_found_by_its_reference,
);

const INCIDENTS: usize = 160;
const FILTERS: usize = 400;

/// Few letters, so that needles occur; each has a meaning to an index, a pattern, a word query, or folding.
const LETTERS: [&str; 24] = [
    "a", "b", "A", "ä", "ß", "ss", "İ", "ı", "ﬁ", "e\u{301}", "漢", "字", "🦀", " ", "%", "_", "\\", "'", "\"", "*",
    "-", "(", "OR", "\u{fdfa}",
];

fn letters(dice: &mut Dice, most: usize) -> String {
    (0..1 + dice.below(most)).map(|_| *dice.pick(&LETTERS)).collect()
}

/// Returns a part of a text, or random letters, which folding must not empty.
fn needle(dice: &mut Dice, from: &str) -> String {
    loop {
        let characters: Vec<char> = from.chars().collect();
        let needle = if characters.is_empty() || dice.chance(25) {
            letters(dice, 4)
        } else {
            let start = dice.below(characters.len());
            let most = if dice.chance(80) { 6 } else { 60 };
            let count = 1 + dice.below(most.min(characters.len() - start));
            characters[start..start + count].iter().collect()
        };
        if !text::is_blank(&text::fold(&needle)) {
            return needle;
        }
    }
}

fn patch(dice: &mut Dice) -> Patch {
    let most = if dice.chance(10) { 200 } else { 12 };
    let title = loop {
        let title = letters(dice, 12);
        if !text::is_blank(&title) && !text::is_blank(&text::fold(&title)) {
            break title;
        }
    };
    Patch {
        title: Some(title),
        description: Some(dice.chance(60).then(|| letters(dice, most)).filter(|text| !text::is_blank(text))),
        ..Patch::default()
    }
}

/// Returns a filter with a text at the top, or anywhere below it.
fn some_filter(dice: &mut Dice, texts: &[String], depth: usize) -> IncidentFilter {
    let mut filter = IncidentFilter::default();
    if depth == 0 || dice.chance(60) {
        let from = dice.pick(texts).clone();
        filter.text = Some(needle(dice, &from));
    }
    if dice.chance(50) {
        filter.status = Some(vec![Status::New, Status::Active, Status::Resolved, Status::Redirected]);
    }
    if depth > 0 {
        let below = |dice: &mut Dice| (0..1 + dice.below(2)).map(|_| some_filter(dice, texts, depth - 1)).collect();
        match dice.below(4) {
            0 => filter.and = Some(below(dice)),
            1 => filter.or = Some(below(dice)),
            2 => filter.not = Some(Box::new(some_filter(dice, texts, depth - 1))),
            _ => {}
        }
    }
    filter
}

async fn ids_by_page(reader: &Reader, filter: &QueueFilter, field: IncidentOrderField) -> BTreeSet<IncidentId> {
    let mut request = PageRequest {
        filter: filter.clone(),
        order: vec![IncidentOrder { field, direction: OrderDirection::Desc }],
        span: Span { after: None, before: None, from_end: false, limit: 50 },
        after: None,
        before: None,
    };
    let mut ids = BTreeSet::new();
    loop {
        let page = reader.queue_page(&request).await.expect("a page");
        request.after = page.incidents.last().map(|(cursor, _)| cursor.clone());
        ids.extend(page.incidents.iter().map(|(_, incident)| incident.id));
        if !page.more {
            return ids;
        }
    }
}

async fn a_search_finds_what_reading_every_text_finds(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let mut dice = Dice::of_this_run();
    let world = people(&desk).await;
    let mut ids = Vec::new();
    for _ in 0..INCIDENTS {
        let edit = IncidentEdit { patch: patch(&mut dice), ..IncidentEdit::default() };
        ids.push(
            desk.app.create_incident(&local(&desk).await, None, edit).await.expect("an incident").value.incident.id,
        );
    }
    // The index follows: titles and descriptions change, and a quarter of the incidents is resolved or deleted.
    for _ in 0..INCIDENTS {
        let id = *dice.pick(&ids);
        let command: Command = local(&desk).await;
        match dice.below(8) {
            0 => drop(desk.app.delete_incident(&command, id, None).await),
            1 => {
                let patch = Patch { status: Some(Status::Resolved), ..Patch::default() };
                drop(desk.app.update_incident(&command, id, IncidentEdit { patch, ..IncidentEdit::default() }).await);
            }
            _ => {
                let edit = IncidentEdit { patch: patch(&mut dice), ..IncidentEdit::default() };
                drop(desk.app.update_incident(&command, id, edit).await);
            }
        }
    }
    let reader = desk.app.store.read().await.expect("a snapshot");
    let incidents = reader.incidents(&ids).await.expect("incidents");
    let folded: HashMap<IncidentId, (String, String)> = incidents
        .iter()
        .map(|it| (it.id, (text::fold(&it.title), it.description.as_deref().map(text::fold).unwrap_or_default())))
        .collect();
    let texts: Vec<String> =
        incidents.iter().flat_map(|it| [Some(it.title.clone()), it.description.clone()]).flatten().collect();
    let (mut met, mut indexed) = (0, 0);
    for _ in 0..FILTERS {
        let filter = some_filter(&mut dice, &texts, 2);
        let queue = QueueFilter::resolve(&filter, &world.actor).expect("a filter");
        let holds = |it: &&Incident| {
            it.deleted_at.is_none()
                && queue.held().matches(Subject {
                    tag_keys: None,
                    row: &it.queue_row(),
                    title_folded: &folded[&it.id].0,
                    description_folded: &folded[&it.id].1,
                    entities: &HashSet::new(),
                })
        };
        let truth: BTreeSet<IncidentId> = incidents.iter().filter(holds).map(|it| it.id).collect();
        let listed: BTreeSet<_> = reader.queue_ids(&queue, 10_000).await.expect("ids").into_iter().collect();
        assert_eq!(listed, truth, "listed left, read right: {filter:#?}");
        assert_eq!(reader.queue_count(&queue).await.expect("a count"), truth.len() as u64, "{filter:#?}");
        for field in [IncidentOrderField::UpdatedAt, IncidentOrderField::Title] {
            assert_eq!(ids_by_page(&reader, &queue, field).await, truth, "by {field:?}: {filter:#?}");
        }
        met += usize::from(!truth.is_empty() && truth.len() < incidents.len() / 2);
        indexed += usize::from(queue.filter().text.as_ref().is_some_and(|needle| needle.chars().count() > 2));
    }
    println!("of {FILTERS} filters {met} met some, {indexed} were looked up");
    assert!(met > FILTERS / 8 && indexed > FILTERS / 8, "nothing was tried: {met}, {indexed}");
}

/// Triggers keep the search table up to date for every writer: a loader, an operator.
async fn a_search_sees_what_others_write(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    for title in ["Beacon to a known host", "Mailbox rule of chance"] {
        desk.incident(title).await;
    }
    let raw = database.connect().await;
    let titles = async |needle: &str| -> Vec<Value> {
        let query =
            "query($text: String!) { incidents(filter: { text: $text }, orderBy: [{ field: NUMBER, direction: ASC }]) {
            totalCount nodes { number } } }";
        let found = desk.data(query, json!({ "text": needle })).await["incidents"].take();
        let numbers: Vec<Value> =
            found["nodes"].as_array().expect("nodes").iter().map(|node| node["number"].clone()).collect();
        assert_eq!(found["totalCount"], numbers.len());
        numbers
    };
    raw.execute_unprepared("UPDATE incident SET title_folded = 'written by hand' WHERE number = 1")
        .await
        .expect("an update");
    raw.execute_unprepared("UPDATE incident SET description_folded = 'and by hand' WHERE number = 2")
        .await
        .expect("an update");
    assert_eq!(titles("By hand").await, [1, 2]);
    assert_eq!(titles("beacon").await, Vec::<Value>::new());
    raw.execute_unprepared("UPDATE incident SET description_folded = NULL WHERE number = 2").await.expect("an update");
    assert_eq!(titles("By hand").await, [1]);
    let copy = "INSERT INTO incident (id, number, version, title, title_key, title_folded, title_version, title_generated,
            description_version, severity, computed_severity, status, alert_count, comment_count, products, providers, created_at, updated_at)
        SELECT {id}, 3, 1, title, title_key, 'loaded by hand', 1, false, 1, severity, computed_severity, status, 0, 0, '[]', '[]',
            created_at, updated_at FROM incident WHERE number = 1";
    let id = if database.kind == Kind::Sqlite { "randomblob(16)" } else { "gen_random_uuid()" };
    raw.execute_unprepared(&copy.replace("{id}", id)).await.expect("a row");
    assert_eq!(titles("By hand").await, [1, 3]);
    raw.execute_unprepared("DELETE FROM incident WHERE number = 3").await.expect("a deletion");
    assert_eq!(titles("By hand").await, [1]);
    raw.execute_unprepared("VACUUM").await.expect("a smaller file");
    assert_eq!(titles("By hand").await, [1]);
}

async fn an_alert_is_found_by_its_present_title(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let mut dice = Dice::of_this_run();
    let mut titles: HashMap<AlertId, String> = HashMap::new();
    for round in 0..3 {
        let drafts = (0..60).map(|number| {
            let title = loop {
                let title = letters(&mut dice, 10);
                if !text::is_blank(&text::fold(&title)) {
                    break title;
                }
            };
            let report = Report {
                provider: "Sensor".into(),
                provider_alert_id: format!("{}", number + 20 * round),
                product: None,
                title,
                description: None,
                severity: Severity::Low,
                category: None,
                techniques: Vec::new(),
                first_activity_at: None,
                last_activity_at: None,
                entities: Vec::new(),
            };
            AlertDraft { report: report.checked().expect("a report"), status: None, classification: None, raw: None }
        });
        let drafts = drafts.collect();
        let taken =
            desk.app.ingest_alerts(&local(&desk).await, Ingest::new(drafts, Target::Nowhere)).await.expect("an ingest");
        titles.extend(taken.value.alerts.into_iter().map(|alert| (alert.id, alert.report.title)));
        if database.kind == Kind::Sqlite {
            // After a VACUUM the rows of a table have other rowids.
            database.connect().await.execute_unprepared("VACUUM").await.expect("a smaller file");
        }
    }
    let reader = desk.app.store.read().await.expect("a snapshot");
    let all: Vec<String> = titles.values().cloned().collect();
    let mut met = 0;
    for _ in 0..150 {
        let from = dice.pick(&all).clone();
        let needle = needle(&mut dice, &from);
        let filter = AlertFilter { text: Some(needle.clone()), ..AlertFilter::default() };
        let truth: BTreeSet<AlertId> = titles
            .iter()
            .filter(|(_, title)| text::fold(title).contains(&text::fold(&needle)))
            .map(|(id, _)| *id)
            .collect();
        let span = Span { after: None, before: None, from_end: false, limit: 1_000 };
        let page = reader.alerts_page(&filter, span, true).await.expect("alerts");
        assert_eq!(page.iter().map(|alert| alert.id).collect::<BTreeSet<_>>(), truth, "{needle:?}");
        assert_eq!(reader.alert_count(&filter).await.expect("a count"), truth.len() as u64, "{needle:?}");
        met += usize::from(!truth.is_empty() && needle.chars().count() > 2);
    }
    assert!(met > 20, "nothing was tried: {met}");
}

async fn an_incident_is_found_by_its_reference(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let ids = [desk.incident("Door alarm").await, desk.incident("As in INC-1, and in INC-12").await];
    desk.act("resolveIncident", json!({ "incidentId": ids[1] })).await;
    desk.incident("A door that stays open").await;
    let query = "query($filter: IncidentFilterInput) { incidents(filter: $filter,
        orderBy: [{ field: NUMBER, direction: ASC }]) { totalCount nodes { number } } }";
    let found = async |text: &str, status: Value| -> Vec<i64> {
        let mut filter = json!({ "text": text });
        if !status.is_null() {
            filter["status"] = status;
        }
        let found = desk.data(query, json!({ "filter": filter })).await["incidents"].take();
        let nodes = found["nodes"].as_array().expect("nodes");
        assert_eq!(found["totalCount"], nodes.len());
        nodes.iter().map(|node| node["number"].as_i64().expect("a number")).collect()
    };
    let all = json!(["NEW", "ACTIVE", "RESOLVED"]);
    for text in ["INC-1", "inc-1", " Inc-1"] {
        assert_eq!(found(text, Value::Null).await, [1], "{text}: the default queue has no resolved incident");
    }
    assert_eq!(found("INC-1", all.clone()).await, [1, 2], "the incident, and the text in the other incident");
    assert_eq!(found("INC 2", all.clone()).await, [2]);
    for text in ["INC-2 ", "INC-4", "INC-99999999999999999999", "INC-", "INC2", "INC--2", "#2"] {
        let expected: &[i64] = match text {
            "INC-2 " => &[2],
            "INC-" => &[2],
            _ => &[],
        };
        assert_eq!(found(text, all.clone()).await, expected, "{text:?}");
    }
    let stream = "subscription { incidentQueue(filter: { text: \"inc-3\" }) { __typename
        ... on QueueUpdated { row { number } } } }";
    let mut stream = desk.follow(stream, json!({})).await;
    assert_eq!(stream.item().await["__typename"], "Live");
    let by_number = "query($number: Int!) { incident(by: { number: $number }) { id } }";
    for number in [1, 3] {
        let id = desk.data(by_number, json!({ "number": number })).await["incident"]["id"].take();
        desk.act("addTags", json!({ "incidentId": id, "tags": ["doors"] })).await;
    }
    assert_eq!(stream.change().await, json!({ "__typename": "QueueUpdated", "row": { "number": 3 } }));
}
