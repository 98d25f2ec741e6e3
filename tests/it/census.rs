//! The board's counts of closed incidents: by status, by severity, by the day of creation and resolution. Each number
//! equals the database's, at every position, on a node with old counts and on a node with new ones.

use serde_json::{Value, json};
use watchfloor::domain::filter::{IncidentFilter, QueueFilter, TimeRange};
use watchfloor::domain::incident::Status;
use watchfloor::domain::position::Position;
use watchfloor::domain::summary::{Numbers, SummaryFilter, TallyUse, Window};
use watchfloor::realtime::RealtimeLimits;
use watchfloor::realtime::board::covers;
use watchfloor::storage::Reader;

use super::board::on_board;
use super::filter::{SEVERITIES, World, any_filter, people};
use super::statements::Sent;
use super::tally::mutate;
use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::{Options, TestDesk};
use crate::support::dice::Dice;

each_database!(
    numbers_of_closed_incidents_are_those_of_the_database,
    an_incident_that_is_opened_again_is_no_longer_counted_as_resolved,
    answers_about_closed_incidents_are_those_of_a_desk_without_a_board,
    counts_of_closed_incidents_open_no_snapshot,
);

const STATUSES: [Status; 4] = [Status::New, Status::Active, Status::Resolved, Status::Redirected];

/// Returns a filter by status, severity and, sometimes, owner, at any depth.
fn any_portions(dice: &mut Dice, world: &World, depth: usize) -> IncidentFilter {
    let mut filter = IncidentFilter {
        status: dice.chance(60).then(|| dice.some(&STATUSES)),
        severity: dice.chance(50).then(|| dice.some(&SEVERITIES)),
        ..IncidentFilter::default()
    };
    if dice.chance(20) {
        filter.owner = any_filter_with_owner(dice, world).owner;
    }
    if depth > 0 {
        let some = |dice: &mut Dice| (0..dice.below(3)).map(|_| any_portions(dice, world, depth - 1)).collect();
        filter.and = dice.chance(20).then(|| some(dice));
        filter.or = dice.chance(25).then(|| some(dice));
        filter.not = dice.chance(25).then(|| Box::new(any_portions(dice, world, depth - 1)));
    }
    filter
}

/// Returns a time of creation that starts within the days of the test, and seldom ends.
fn any_creation(desk: &TestDesk, dice: &mut Dice) -> TimeRange {
    let at = |dice: &mut Dice| desk.clock.now() - chrono::Duration::minutes(dice.below(72 * 60) as i64);
    TimeRange { from: Some(at(dice)), to: dice.chance(20).then(|| at(dice)) }
}

fn any_filter_with_owner(dice: &mut Dice, world: &World) -> IncidentFilter {
    loop {
        let filter = any_filter(dice, world, 1, 60);
        if filter.owner.is_some() {
            return filter;
        }
    }
}

/// How often the board knew a number, and how often it did not.
#[derive(Default)]
struct Known {
    yes: usize,
    no: usize,
}

impl Known {
    fn check<T: PartialEq + std::fmt::Debug>(&mut self, told: Option<T>, counted: &T, must: bool, of: &IncidentFilter) {
        match told {
            Some(told) => {
                assert_eq!(told, *counted, "board left, database right: {of:#?}");
                self.yes += 1;
            }
            None => {
                assert!(!must, "the board does not know {counted:?} of {of:#?}");
                self.no += 1;
            }
        }
    }
}

async fn compare(desk: &TestDesk, filter: &IncidentFilter, world: &World, dice: &mut Dice, known: &mut Known) {
    let reader = desk.app.store.read().await.expect("a snapshot");
    let end = reader.head().await.expect("a head");
    let at = end.position();
    let queue = QueueFilter::resolve(filter, &world.actor).expect("a filter");
    let is_counted = |filter: &IncidentFilter| filter.asks_for_portions() && !filter.names_owner();
    let told = on_board(desk, &at, |rows| rows.count_if_known(queue.filter())).await;
    let counted = reader.queue_count(&queue).await.expect("a count");
    known.check(told, &counted, is_counted(queue.filter()) || covers(queue.filter()), queue.filter());
    let rest = IncidentFilter { status: None, ..queue.filter().clone() };
    let told = on_board(desk, &at, |rows| rows.by_status(&rest)).await;
    known.check(told, &reader.facet_status(&queue).await.expect("facets"), is_counted(&rest), &rest);
    let rest = IncidentFilter { severity: None, ..queue.filter().clone() };
    let told = on_board(desk, &at, |rows| rows.by_severity_if_known(&rest)).await;
    let counted = reader.facet_severity(&queue).await.expect("facets");
    known.check(told, &counted, is_counted(&rest) || covers(&rest), &rest);
    if covers(queue.filter()) {
        let since = dice.below(end.offset as usize + 2) as u64;
        let told = on_board(desk, &at, |rows| rows.unread(queue.filter(), since)).await;
        assert_eq!(told, reader.unread_count(&queue, since).await.expect("a count"), "unread since {since}");
    }
    created_and_resolved(desk, &reader, &at, &SummaryFilter::resolve(filter, &world.actor).expect("a filter"), known)
        .await;
}

async fn created_and_resolved(
    desk: &TestDesk,
    reader: &Reader,
    at: &Position,
    filter: &SummaryFilter,
    known: &mut Known,
) {
    let midnight = Window::Today.start(desk.clock.now());
    for days in 0..3 {
        let since = midnight - chrono::Duration::days(days);
        let told = on_board(desk, at, |rows| rows.created_and_resolved(filter, since)).await;
        let counted = reader.tally(filter, since, Numbers::ALL, TallyUse::Once).await.expect("a tally");
        let counted = counted.summary().expect("numbers");
        // The day of the newest incident is counted from the start, and may be yesterday.
        let rest = filter.any_status().filter().without_creation();
        let is_known = days == 0
            && rest.is_some_and(|(rest, from)| rest.asks_for_portions() && from.is_none_or(|from| from <= since));
        known.check(told, &(counted.created, counted.resolved), is_known, filter.any_status().filter());
    }
    let ragged = midnight + chrono::Duration::seconds(1);
    assert_eq!(on_board(desk, at, |rows| rows.created_and_resolved(filter, ragged)).await, None);
}

async fn numbers_of_closed_incidents_are_those_of_the_database(database: TestDatabase) {
    let mut dice = Dice::of_this_run();
    let desk = TestDesk::open(&database).await;
    let world = people(&desk).await;
    let (mut ids, mut alerts, mut known) = (Vec::new(), Vec::new(), Known::default());
    let another = || Options { clock: desk.clock.clone(), ..Options::default() };
    let mut other = TestDesk::open_with(&database, another()).await;
    for round in 0..24 {
        for _ in 0..10 {
            desk.clock.advance(chrono::Duration::microseconds(1 + dice.below(40_000_000) as i64));
            let writer = if dice.chance(50) { &desk } else { &other };
            mutate(writer, &world, &mut dice, &mut ids, &mut alerts).await;
        }
        if round % 2 == 1 {
            desk.clock.advance(chrono::Duration::hours(9));
        }
        if round % 6 == 5 {
            // It counts the present incidents, and then follows the changes.
            other = TestDesk::open_with(&database, another()).await;
        }
        for _ in 0..6 {
            let mut filter = any_portions(&mut dice, &world, 2);
            filter.created = dice.chance(40).then(|| any_creation(&desk, &mut dice));
            compare(&desk, &filter, &world, &mut dice, &mut known).await;
            compare(&other, &filter, &world, &mut dice, &mut known).await;
        }
        let filter = any_filter(&mut dice, &world, 3, 60);
        compare(&other, &filter, &world, &mut dice, &mut known).await;
    }
    println!("{} numbers compared, {} not known", known.yes, known.no);
    assert!(known.yes > 800 && known.no > 0, "nothing was tried: {} and {}", known.yes, known.no);
}

const NUMBERS: &str = "{ incidents { facets { status { value count } } } queueSummary { open created resolved } }";

async fn an_incident_that_is_opened_again_is_no_longer_counted_as_resolved(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("Crane stands still").await;
    desk.incident("Fence cut").await;
    let numbers = async || {
        let answer = desk.data(NUMBERS, json!({})).await;
        (answer["incidents"]["facets"]["status"].clone(), answer["queueSummary"].clone())
    };
    for _ in 0..2 {
        desk.act("resolveIncident", json!({ "incidentId": id })).await;
        let (status, summary) = numbers().await;
        assert_eq!(status, json!([{ "value": "NEW", "count": 1 }, { "value": "RESOLVED", "count": 1 }]));
        assert_eq!(summary, json!({ "open": 1, "created": 2, "resolved": 1 }));
        desk.update(&id, json!({ "status": "ACTIVE" })).await;
        let (status, summary) = numbers().await;
        assert_eq!(status, json!([{ "value": "NEW", "count": 1 }, { "value": "ACTIVE", "count": 1 }]));
        assert_eq!(summary, json!({ "open": 2, "created": 2, "resolved": 0 }));
    }
    desk.act("deleteIncident", json!({ "incidentId": id })).await;
    let (status, summary) = numbers().await;
    assert_eq!(status, json!([{ "value": "NEW", "count": 1 }]));
    assert_eq!(summary, json!({ "open": 1, "created": 1, "resolved": 0 }));
}

const ALL: &str = "query($filter: IncidentFilterInput, $since: DateTime) {
    incidents(filter: $filter, first: 3) { totalCount facets {
        status { value count } severity { value count } owner { value { name } count } tags { value { name } count }
        product { value count } } }
    status: incidents(filter: $filter, first: 1) { facets { status { value count } } }
    queueSummary(filter: $filter, since: $since) { since open created resolved byOwner { value { name } count }
        byTag { value { name kind } count } byProduct { value count } oldest }
    VIEWS }";

async fn answers_about_closed_incidents_are_those_of_a_desk_without_a_board(database: TestDatabase) {
    let mut dice = Dice::of_this_run();
    let desk = TestDesk::open(&database).await;
    let without = RealtimeLimits { incidents: 0, ..Options::default().ring };
    let plain = Options { clock: desk.clock.clone(), ring: without, ..Options::default() };
    let plain = TestDesk::open_with(&database, plain).await;
    let world = people(&desk).await;
    for (name, filter) in [("All that is open", json!({})), ("Done", json!({ "status": ["RESOLVED"] }))] {
        let made = desk.act("createView", json!({ "name": name, "filter": filter })).await;
        desk.act("visitView", json!({ "viewId": made["view"]["id"] })).await;
    }
    let (mut ids, mut alerts) = (Vec::new(), Vec::new());
    // With views it is read beside a snapshot, without them from the board alone.
    let texts = [ALL.replace("VIEWS", ""), ALL.replace("VIEWS", "views { name unreadCount }")];
    for round in 0..40 {
        desk.clock.advance(chrono::Duration::minutes(17));
        mutate(if round % 2 == 0 { &desk } else { &plain }, &world, &mut dice, &mut ids, &mut alerts).await;
        let filter = match dice.below(7) {
            0 => json!({ "status": ["RESOLVED"], "severity": ["HIGH", "MEDIUM"] }),
            1 => json!({ "severity": ["LOW"] }),
            2 => json!({ "tags": { "any": ["vip"] } }),
            3 => json!({ "and": [{ "status": ["ACTIVE"] }] }),
            4 => json!({ "owner": { "unassigned": true } }),
            5 => json!({ "or": [{ "status": ["REDIRECTED"] }, { "severity": ["INFORMATIONAL"] }] }),
            _ => json!({}),
        };
        let sinces = [Value::Null, json!("2026-11-22T00:00:00Z"), json!("2026-11-23T08:20:00Z")];
        let since = dice.pick(&sinces);
        let asked = json!({ "filter": filter, "since": since });
        for text in &texts {
            let (told, counted) = (desk.data(text, asked.clone()).await, plain.data(text, asked.clone()).await);
            assert_eq!(told.to_string(), counted.to_string(), "board left, database right: {asked}");
        }
    }
}

async fn counts_of_closed_incidents_open_no_snapshot(database: TestDatabase) {
    let sent = Sent::default();
    let desk = sent.by_desk(&database).await;
    for number in 0..4 {
        let id = desk.incident(&format!("Barrier {number} is down")).await;
        if number % 2 == 0 {
            desk.act("resolveIncident", json!({ "incidentId": id })).await;
        }
    }
    let reader = desk.app.store.read().await.expect("a snapshot");
    on_board(&desk, &reader.head().await.expect("a head").position(), |_| ()).await;
    drop(reader);
    let counts =
        "{ incidents(filter: { status: [RESOLVED] }, first: 0) { totalCount facets { status { value count } } }
        queueSummary { open created resolved } }";
    // The caller is known from here on.
    let rows =
        "{ incidents { totalCount nodes { id } facets { status { count } } } queueSummary { created resolved } }";
    desk.data(rows, json!({})).await;
    sent.take();
    let answer = desk.data(rows, json!({})).await;
    assert_eq!(answer["queueSummary"], json!({ "created": 4, "resolved": 2 }));
    assert_eq!(sent.take().len(), 0, "the end of the log is read beside every transaction");
    // A page of closed incidents comes from the database, so the whole answer does.
    assert_eq!(desk.data(counts, json!({})).await["incidents"]["totalCount"], 2);
    assert!(!sent.take().is_empty(), "statements are seen");
}
