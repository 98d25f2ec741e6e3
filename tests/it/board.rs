//! The board answers as the database does: every page, count, facet and summary of open incidents, at every position,
//! on every node, after every kind of change.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use watchfloor::app::queue::At;
use watchfloor::domain::account::{Owner, OwnerId};
use watchfloor::domain::filter::{IncidentFilter, IncidentOrder, IncidentOrderField, OrderDirection, QueueFilter};
use watchfloor::domain::incident::Status;
use watchfloor::domain::position::Position;
use watchfloor::domain::summary::{Numbers, SummaryFilter, TallyUse};
use watchfloor::realtime::RealtimeLimits;
use watchfloor::realtime::board::{BoardRows, covers};
use watchfloor::storage::{Cursor, PageRequest, Reader, Span};

use super::filter::{any_filter, corpus, people};
use super::tally::mutate;
use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::{Options, TestDesk, monday};
use crate::support::dice::Dice;
use crate::support::stream::{grow, newest, parsed};
use crate::support::waiting::a_moment;

each_database!(
    the_board_and_the_database_give_the_same_answers,
    what_one_answer_says_is_of_one_position_while_changes_go_on,
    an_answer_is_of_its_position_though_the_board_has_moved_on,
    a_read_sees_what_another_node_has_just_committed,
    an_answer_without_a_snapshot_is_that_of_a_snapshot,
    a_page_of_the_board_opens_no_snapshot,
    a_look_for_names_that_fails_publishes_nothing_twice,
    a_desk_of_more_open_incidents_than_the_board_holds_answers_from_the_database,
);

/// Returns an answer from the board at the end of a snapshot, and gives the board the time to get there.
pub(crate) async fn on_board<T>(desk: &TestDesk, at: &Position, answer: impl Fn(&BoardRows) -> T) -> T {
    tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            match desk.app.hub.on_board(at, &answer).await {
                Some(answer) => return answer,
                None => a_moment().await,
            }
        }
    })
    .await
    .expect("the board at the position of the snapshot")
}

fn any_order(dice: &mut Dice) -> Vec<IncidentOrder> {
    use IncidentOrderField as By;
    let fields = [
        By::UpdatedAt,
        By::CreatedAt,
        By::FirstActivityAt,
        By::LastActivityAt,
        By::ResolvedAt,
        By::Severity,
        By::Number,
        By::Status,
    ];
    let key = |dice: &mut Dice| IncidentOrder {
        field: *dice.pick(&fields),
        direction: *dice.pick(&[OrderDirection::Asc, OrderDirection::Desc]),
    };
    let mut order: Vec<IncidentOrder> = Vec::new();
    for _ in 0..1 + dice.below(3) {
        let key = key(dice);
        if order.iter().all(|former| former.field != key.field) {
            order.push(key);
        }
    }
    order
}

/// Reads a queue from one end to the other in pages of three, from the board and from the database.
async fn pages(desk: &TestDesk, reader: &Reader, at: &Position, filter: &QueueFilter, dice: &mut Dice) -> usize {
    let (order, from_end) = (any_order(dice), dice.chance(50));
    let (mut reached, mut seen): (Option<Cursor>, _) = (None, 0);
    loop {
        let (after, before) = if from_end { (None, reached) } else { (reached, None) };
        let span = Span { after: None, before: None, from_end, limit: 3 };
        let request = PageRequest { filter: filter.clone(), order: order.clone(), span, after, before };
        let (ids, more) = on_board(desk, at, |rows| rows.page(&request)).await.expect("no order by title");
        let page = reader.queue_page(&request).await.expect("a page");
        let expected: Vec<_> = page.incidents.iter().map(|(_, incident)| incident.id).collect();
        assert_eq!((&ids, more), (&expected, page.more), "board left, database right: {request:#?}");
        seen += ids.len();
        let last = if from_end { page.incidents.first() } else { page.incidents.last() };
        reached = last.map(|(cursor, _)| cursor.clone());
        if !more {
            return seen;
        }
    }
}

async fn compare(desk: &TestDesk, dice: &mut Dice, filters: &[QueueFilter], summaries: &[SummaryFilter]) {
    let reader = desk.app.store.read().await.expect("a snapshot");
    let at = reader.head().await.expect("a head").position();
    for filter in filters {
        let count = on_board(desk, &at, |rows| rows.count(filter.filter())).await;
        assert_eq!(count, reader.queue_count(filter).await.expect("a count"), "{filter:#?}");
        assert_eq!(pages(desk, &reader, &at, filter, dice).await as u64, count);
        let without = |drop: fn(&mut IncidentFilter)| {
            let mut rest = filter.filter().clone();
            drop(&mut rest);
            rest
        };
        let rest = without(|filter| filter.severity = None);
        let severities = on_board(desk, &at, |rows| rows.by_severity(&rest)).await;
        assert_eq!(severities, reader.facet_severity(filter).await.expect("facets"), "{filter:#?}");
        let rest = without(|filter| filter.owner = None);
        let owners = on_board(desk, &at, |rows| rows.by_owner(&rest)).await;
        let owners: Vec<_> = owners.iter().map(|facet| (facet.value, facet.count)).collect();
        let expected = reader.facet_owner(filter).await.expect("facets");
        let expected: Vec<_> =
            expected.iter().map(|facet| (facet.value.as_ref().map(|owner| owner.id), facet.count)).collect();
        assert_eq!(owners, expected, "{filter:#?}");
        let rest = without(|filter| filter.tags = None);
        let tags = on_board(desk, &at, |rows| rows.by_tag(&rest)).await;
        assert_eq!(tags, reader.facet_tags(filter).await.expect("facets"), "{filter:#?}");
        let rest = without(|filter| filter.product = None);
        let products = on_board(desk, &at, |rows| rows.by_product(&rest)).await;
        assert_eq!(products, reader.facet_product(filter).await.expect("facets"), "{filter:#?}");
    }
    for filter in summaries {
        let since = monday() + chrono::Duration::minutes(dice.below(90) as i64);
        let used = *dice.pick(&[TallyUse::Once, TallyUse::Followed]);
        let open = on_board(desk, &at, |rows| rows.open_numbers(filter, Numbers::ALL, used)).await;
        let told = reader.tally_beside(filter, since, Numbers::ALL, open).await.expect("a tally");
        let counted = reader.tally(filter, since, Numbers::ALL, used).await.expect("a tally");
        assert_eq!(told.summary(), counted.summary(), "since {since}: {filter:#?}");
    }
}

async fn the_board_and_the_database_give_the_same_answers(database: TestDatabase) {
    let mut dice = Dice::of_this_run();
    let desk = TestDesk::open(&database).await;
    let world = people(&desk).await;
    corpus(&desk, &world, &mut dice).await;
    // The first node filled its board from the log; the other node fills its board from the present rows.
    let other = Options { clock: desk.clock.clone(), ..Options::default() };
    let other = TestDesk::open_with(&database, other).await;
    let (mut filters, mut summaries) = (vec![IncidentFilter::default()], Vec::new());
    while filters.len() < 60 {
        let mut filter = any_filter(&mut dice, &world, 3, 90);
        filter.status = Some(dice.pick(&[vec![Status::New, Status::Active], vec![Status::New], vec![]]).clone());
        let is_met = QueueFilter::resolve(&filter, &world.actor).is_ok_and(|filter| covers(filter.filter()));
        if is_met {
            filters.push(filter);
        }
    }
    for filter in &filters {
        summaries.push(SummaryFilter::resolve(filter, &world.actor).expect("a filter"));
    }
    let filters: Vec<QueueFilter> =
        filters.iter().map(|filter| QueueFilter::resolve(filter, &world.actor).expect("a filter")).collect();
    for desk in [&desk, &other] {
        compare(desk, &mut dice, &filters, &summaries).await;
    }
    let (mut ids, mut alerts) = (Vec::new(), Vec::new());
    for _ in 0..12 {
        for _ in 0..12 {
            desk.clock.advance(chrono::Duration::microseconds(1 + dice.below(40_000_000) as i64));
            let writer = if dice.chance(50) { &desk } else { &other };
            mutate(writer, &world, &mut dice, &mut ids, &mut alerts).await;
        }
        let (from, reader) = (dice.below(50), if dice.chance(50) { &desk } else { &other });
        compare(reader, &mut dice, &filters[from..from + 10], &summaries[from..from + 10]).await;
    }
}

/// Every number of one answer that counts the same incidents.
const ALIKE: &str = "query($filter: IncidentFilterInput) {
    incidents(filter: $filter, first: 100) { totalCount position nodes { id version severity owner { id } }
        facets { severity { count } owner { count } } }
    queueSummary(filter: $filter) { position open byStatus { count } }
    once: incidents(filter: $filter, last: 100, orderBy: [{ field: SEVERITY, direction: ASC }, { field: NUMBER, direction: ASC }]) {
        nodes { id version } } }";

async fn what_one_answer_says_is_of_one_position_while_changes_go_on(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let other = Options { clock: desk.clock.clone(), ..Options::default() };
    let other = TestDesk::open_with(&database, other).await;
    let mut dice = Dice::of_this_run();
    let world = people(&desk).await;
    let is_over = AtomicBool::new(false);
    let writes = async {
        let (mut ids, mut alerts) = (Vec::new(), Vec::new());
        for step in 0..150 {
            desk.clock.advance(chrono::Duration::seconds(1));
            let writer = if step % 2 == 0 { &desk } else { &other };
            mutate(writer, &world, &mut dice, &mut ids, &mut alerts).await;
        }
        is_over.store(true, Ordering::SeqCst);
    };
    let sum = |facets: &Value| -> u64 {
        facets.as_array().expect("facets").iter().map(|facet| facet["count"].as_u64().expect("a count")).sum()
    };
    let reads = async {
        let (mut newest, mut moves, mut number) = (0, 0, 0);
        while !is_over.load(Ordering::SeqCst) {
            number += 1;
            let reader = if number % 2 == 0 { &desk } else { &other };
            let filter = if number % 3 == 0 { json!({ "severity": ["HIGH", "MEDIUM"] }) } else { json!({}) };
            let answer = reader.data(ALIKE, json!({ "filter": filter })).await;
            let page = &answer["incidents"];
            let nodes = page["nodes"].as_array().expect("rows");
            let count = page["totalCount"].as_u64().expect("a count");
            assert_eq!(nodes.len() as u64, count, "{answer:#}");
            assert_eq!(answer["queueSummary"]["position"], page["position"]);
            assert_eq!(answer["queueSummary"]["open"], count, "{answer:#}");
            assert_eq!(sum(&answer["queueSummary"]["byStatus"]), count);
            assert_eq!(sum(&page["facets"]["owner"]), count, "{answer:#}");
            if number % 3 != 0 {
                assert_eq!(sum(&page["facets"]["severity"]), count, "{answer:#}");
            }
            let versions = |nodes: &Value| {
                let row = |node: &Value| (node["id"].to_string(), node["version"].to_string());
                let mut rows: Vec<_> = nodes.as_array().expect("rows").iter().map(row).collect();
                rows.sort();
                rows
            };
            assert_eq!(versions(&page["nodes"]), versions(&answer["once"]["nodes"]));
            let offset = parsed(&page["position"]).offset;
            assert!(offset >= newest, "from {newest} back to {offset}");
            moves += usize::from(offset > newest);
            newest = offset;
        }
        assert!(moves >= 10, "nothing was tried: {moves} of {number} answers were of a new position");
    };
    tokio::join!(writes, reads);
}

async fn an_answer_is_of_its_position_though_the_board_has_moved_on(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.incident("Conveyor seven stands still").await;
    let reader = desk.app.store.read().await.expect("a snapshot");
    let before = reader.head().await.expect("a head");
    on_board(&desk, &before.position(), |_| ()).await;
    let alone = At::Board(before.position(), before.accounts);
    let filter = QueueFilter::resolve(&IncidentFilter::default(), &people(&desk).await.actor).expect("a filter");
    assert_eq!(desk.app.queue_count(At::Snapshot(&reader, before.position()), &filter).await.expect("a count"), 1);
    desk.incident("Conveyor eight stands still").await;
    let now = desk.app.store.read().await.expect("a snapshot").head().await.expect("a head").position();
    on_board(&desk, &now, |_| ()).await;
    assert_eq!(desk.app.queue_count(At::Snapshot(&reader, before.position()), &filter).await.expect("a count"), 1);
    assert!(desk.app.queue_count(alone, &filter).await.is_err(), "without a snapshot there is nothing to fall back on");
}

/// A query that the board may answer alone; with `MORE` in it, the database has to.
pub(super) const ROWS: &str = "query($filter: IncidentFilterInput, $order: [IncidentOrderInput!], $after: String) {
    incidents(filter: $filter, orderBy: $order, first: 7, after: $after) {
        totalCount position pageInfo { hasNextPage hasPreviousPage endCursor startCursor }
        edges { cursor node { MORE ...all } } facets {
            severity { value count } owner { value { id kind account name } count } tags { value { name kind } count }
            product { value count } } } }
    fragment all on QueueFields { id number reference version title titleTruncated severity computedSeverity severityOverride status
        classification { kind threat activity reason } owner { id kind account name } tags { name kind } alertCount commentCount
        hasActiveAlerts products providers createdAt updatedAt firstActivityAt lastActivityAt firstAssignedAt resolvedAt redirectedToId }";

async fn an_answer_without_a_snapshot_is_that_of_a_snapshot(database: TestDatabase) {
    let mut dice = Dice::of_this_run();
    let desk = TestDesk::open(&database).await;
    let world = people(&desk).await;
    corpus(&desk, &world, &mut dice).await;
    let (mut ids, mut alerts) = (Vec::new(), Vec::new());
    let (alone, beside) = (ROWS.replace("MORE", ""), ROWS.replace("MORE", "more: titleGenerated"));
    for round in 0..30 {
        desk.clock.advance(chrono::Duration::seconds(1));
        match round % 5 {
            // A new owner's name, which no change of an incident carries.
            0 => {
                let named = json!({ "account": "ada", "name": format!("Ada the {round}th") });
                desk.act("upsertUser", named).await;
            }
            // A long title, which no change carries whole, and then another title.
            1 => {
                let long = |words: &str| format!("{round} {}", words.repeat(if round % 2 == 0 { 40 } else { 400 }));
                let id = desk.incident(&long("Straße 🚨 ")).await;
                if round % 3 == 0 {
                    desk.act("updateIncident", json!({ "incidentId": id, "title": long("Kaimauer 🚨 ") })).await;
                }
            }
            _ => mutate(&desk, &world, &mut dice, &mut ids, &mut alerts).await,
        }
        let filter = match dice.below(4) {
            0 => json!({ "tags": { "any": ["vip", "phishing"] } }),
            1 => json!({ "owner": { "unassigned": true }, "text": "e" }),
            2 => json!({ "status": ["NEW", "RESOLVED"] }),
            _ => json!({}),
        };
        let field = *dice.pick(&["UPDATED_AT", "SEVERITY", "TITLE", "FIRST_ACTIVITY_AT"]);
        let order = json!([{ "field": field, "direction": *dice.pick(&["ASC", "DESC"]) }]);
        let mut after = Value::Null;
        loop {
            let asked = json!({ "filter": filter, "order": order, "after": after });
            let alone = if dice.chance(50) {
                desk.data(&alone, asked.clone()).await
            } else {
                let first = desk.data(&alone, asked.clone()).await;
                assert_eq!(desk.data(&alone, asked.clone()).await, first);
                first
            };
            let mut beside = desk.data(&beside, asked).await;
            for edge in beside["incidents"]["edges"].as_array_mut().expect("edges") {
                edge["node"].as_object_mut().expect("an incident").remove("more");
            }
            assert_eq!(alone, beside, "{filter} by {order}");
            let info = &alone["incidents"]["pageInfo"];
            if info["hasNextPage"] == false {
                break;
            }
            after = info["endCursor"].clone();
        }
    }
    let shown =
        desk.data("{ incidents(first: 100) { nodes { title titleTruncated owner { name } } } }", json!({})).await;
    let nodes = shown["incidents"]["nodes"].as_array().expect("rows");
    assert!(nodes.iter().any(|row| row["titleTruncated"] == true), "no long title was there");
    assert!(nodes.iter().any(|row| row["owner"]["name"] == "Ada the 25th"), "nothing was Ada's");
}

async fn a_page_of_the_board_opens_no_snapshot(database: TestDatabase) {
    let sent = super::statements::Sent::default();
    let desk = sent.by_desk(&database).await;
    for number in 0..5 {
        let id = desk.incident(&format!("Barrier {number} is down")).await;
        desk.act("updateIncident", json!({ "incidentId": id, "owner": { "me": true }, "addTags": ["vip"] })).await;
    }
    // The relay has read the whole log, and the caller is known.
    let page =
        "{ incidents { totalCount position nodes { title owner { name } tags { name } } facets { owner { count } } } }";
    on_board(&desk, &desk.app.store.read().await.expect("a snapshot").head().await.expect("a head").position(), |_| ())
        .await;
    desk.data(page, json!({})).await;
    sent.take();
    let answer = desk.data(page, json!({})).await;
    assert_eq!(answer["incidents"]["totalCount"], 5);
    let statements = sent.take();
    assert_eq!(statements.len(), 0, "the end of the log is read beside every transaction: {statements:#?}");
    desk.data("{ incidents { totalCount nodes { description } } }", json!({})).await;
    assert!(!sent.take().is_empty(), "statements are seen");
}

async fn a_look_for_names_that_fails_publishes_nothing_twice(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let bob = desk.app.actor(people(&desk).await.users[1]).await.expect("bob").user;
    desk.incident("Pump house flooded").await;
    let (mut change, hash) = newest(&desk).await;
    let start = change.offset;
    let mut stream = desk.follow("subscription { incidentQueue { __typename position } }", json!({})).await;
    assert_eq!(stream.item().await["__typename"], "Live");
    // He owned nothing open, so his name has to be read, and at present it cannot be read.
    change.body.row.owner = Some(Owner { id: OwnerId::User(bob.id), account: bob.account, name: bob.name });
    let raw = database.connect().await;
    raw.execute_unprepared("ALTER TABLE \"user\" RENAME TO user_away").await.expect("a table");
    grow(&database, &change, hash, 3).await;
    let mut positions = Vec::new();
    for _ in 0..3 {
        positions.push(parsed(&stream.change().await["position"]).offset - start);
    }
    // Give the relay the time to retry.
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    let ring = desk.app.hub.after(start, 100).expect("all of it is in memory");
    assert_eq!(ring.iter().map(|change| change.offset() - start).collect::<Vec<_>>(), [1, 2, 3]);
    raw.execute_unprepared("ALTER TABLE user_away RENAME TO \"user\"").await.expect("a table");
    grow_on(&database, &desk, 1).await;
    positions.push(parsed(&stream.change().await["position"]).offset - start);
    assert_eq!(positions, [1, 2, 3, 4]);
}

/// Appends this many changes after the newest change.
async fn grow_on(database: &TestDatabase, desk: &TestDesk, count: u64) {
    let (change, hash) = newest(desk).await;
    grow(database, &change, hash, count).await;
}

async fn a_read_sees_what_another_node_has_just_committed(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let other = Options { clock: desk.clock.clone(), ..Options::default() };
    let other = TestDesk::open_with(&database, other).await;
    const COUNTED: &str = "{ incidents(first: 1) { totalCount nodes { title } } queueSummary { open } }";
    for number in 1..=40 {
        let (writer, reader) = if number % 2 == 0 { (&desk, &other) } else { (&other, &desk) };
        desk.clock.advance(chrono::Duration::seconds(1));
        let title = format!("Crane {number} does not answer");
        writer.incident(&title).await;
        let read = reader.data(COUNTED, json!({})).await;
        assert_eq!(reader.data(COUNTED, json!({})).await, read, "asked again");
        let expected = json!({
            "incidents": { "totalCount": number, "nodes": [{ "title": title }] }, "queueSummary": { "open": number },
        });
        assert_eq!(read, expected);
    }
}

async fn a_desk_of_more_open_incidents_than_the_board_holds_answers_from_the_database(database: TestDatabase) {
    let narrow = || RealtimeLimits { changes: 1_000, bytes: 16 << 20, incidents: 2 };
    let desk = TestDesk::open_with(&database, Options { ring: narrow(), ..Options::default() }).await;
    let count = async |desk: &TestDesk| {
        let read = desk.data("{ incidents(first: 10) { totalCount nodes { id } } }", json!({})).await;
        assert_eq!(read["incidents"]["nodes"].as_array().expect("rows").len(), read["incidents"]["totalCount"]);
        read["incidents"]["totalCount"].as_u64().expect("a count")
    };
    let is_on_board = async |desk: &TestDesk| {
        let reader = desk.app.store.read().await.expect("a snapshot");
        let at = reader.head().await.expect("a head").position();
        // The relay may still be reading.
        while desk.app.hub.head() < at.offset {
            a_moment().await;
        }
        desk.app.hub.on_board(&at, |_| ()).await.is_some()
    };
    for number in 1..=4 {
        let id = desk.incident("Lock open").await;
        assert_eq!(count(&desk).await, number);
        assert_eq!(is_on_board(&desk).await, number <= 2, "{number} open ones");
        if number == 4 {
            desk.act("deleteIncident", json!({ "incidentId": id })).await;
        }
    }
    assert_eq!(count(&desk).await, 3);
    let wordy = RealtimeLimits { changes: 1_000, bytes: 16 << 20, incidents: 3 };
    let wordy = TestDesk::open_with(&database, Options { ring: wordy, ..Options::default() }).await;
    assert_eq!((count(&wordy).await, is_on_board(&wordy).await), (3, true));
    let tags: Vec<String> = (0..20).map(|n| format!("{n} {}", "seen at the quay ".repeat(10))).collect();
    let id =
        wordy.data("{ incidents(first: 1) { nodes { id } } }", json!({})).await["incidents"]["nodes"][0]["id"].take();
    wordy.act("updateIncident", json!({ "incidentId": id, "addTags": tags })).await;
    assert_eq!((count(&wordy).await, is_on_board(&wordy).await), (3, false), "its rows may take 6 KiB");
    wordy.act("updateIncident", json!({ "incidentId": id, "removeTags": tags })).await;
    // A node that starts now does not hold them either; a node with a larger bound does.
    let again = TestDesk::open_with(&database, Options { ring: narrow(), ..Options::default() }).await;
    assert_eq!((count(&again).await, is_on_board(&again).await), (3, false));
    let wide = TestDesk::open(&database).await;
    assert_eq!((count(&wide).await, is_on_board(&wide).await), (3, true));
}
