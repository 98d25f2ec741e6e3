//! Resuming: from any position, after any number of changes, without a gap or a repetition, or with a reason.

use std::collections::BTreeMap;
use std::time::Duration;

use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use watchfloor::domain::position::Position;
use watchfloor::realtime::RealtimeLimits;

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::{Options, TestDesk};
use crate::support::socket::Frame;
use crate::support::stream::{QUEUE, grow, newest, offset, parsed, present, read_to, replay, short};
use crate::support::waiting::a_moment;

each_database!(
    a_stream_goes_on_after_any_item,
    a_set_of_several_pages_is_taken_over_from_the_first,
    a_quiet_backlog_moves_the_position_on,
    everything_since_a_long_absence_comes,
    a_ring_that_is_too_small_skips_nothing,
    a_position_that_cannot_be_gone_on_from_says_why,
    a_queue_goes_on_after_a_position_of_the_log_without_the_set,
    a_queue_of_mine_is_mine_only,
);

const TAGGED: &str =
    "mutation($id: ID!, $tag: String!) { addTags(input: { incidentId: $id, tags: [$tag] }) { position } }";
const RENAMED: &str =
    "mutation($id: ID!, $title: String!) { renameIncident(input: { incidentId: $id, title: $title }) { position } }";

async fn a_stream_goes_on_after_any_item(database: TestDatabase) {
    let options = Options { heartbeat: Duration::from_millis(25), ..Options::default() };
    let desk = TestDesk::open_with(&database, options).await;
    let filter = json!({ "tags": { "none": ["noise"] } });
    let mut queue = desk.follow(QUEUE, json!({ "filter": filter })).await;
    let mut items = vec![queue.item().await];
    for number in 0..8 {
        let id = desk.incident(&format!("Incident {number}")).await;
        if number % 3 == 0 {
            desk.data(TAGGED, json!({ "id": id, "tag": "noise" })).await;
        }
        let beat = items.len();
        while !items[beat..].iter().any(|item| item["__typename"] == "Heartbeat") {
            items.push(queue.item().await);
        }
    }
    let end = desk.log_end().await;
    while offset(&items.last().expect("items")["position"]) < end {
        items.push(queue.item().await);
    }
    let is_change = |item: &&Value| item["row"].is_object() || item["incidentId"].is_string();
    let changes: Vec<&Value> = items.iter().filter(is_change).collect();
    assert_eq!(changes.len(), 11);
    assert!(changes.windows(2).all(|pair| offset(&pair[0]["position"]) < offset(&pair[1]["position"])), "they ascend");
    for (index, item) in items.iter().enumerate() {
        let mut replayed = replay(&desk, &filter, &item["position"]).await;
        replayed.retain(|item| is_change(&item));
        let rest: Vec<&Value> = items[index + 1..].iter().filter(is_change).collect();
        assert_eq!(replayed.iter().collect::<Vec<_>>(), rest, "after item {index}, a {}", item["__typename"]);
    }
}

/// A client's state of each incident, with the offset of that state.
type Held = BTreeMap<String, (u64, String, u64)>;

async fn a_set_of_several_pages_is_taken_over_from_the_first(database: TestDatabase) {
    const PAGE: &str = "query($filter: IncidentFilterInput, $after: String) {
        incidents(filter: $filter, orderBy: [{ field: NUMBER, direction: ASC }], first: 100, after: $after) {
            position totalCount pageInfo { endCursor hasNextPage } nodes { id title version }
        }
    }";
    let desk = TestDesk::open(&database).await;
    let mut ids = Vec::new();
    for number in 0..350 {
        ids.push(desk.incident(&format!("Incident {number}")).await);
    }
    let filter = json!({ "tags": { "none": ["done"] } });
    let take = |held: &mut Held, page: &Value| {
        for row in page["nodes"].as_array().expect("rows") {
            let (id, title) = (row["id"].as_str().expect("an id"), row["title"].as_str().expect("a title"));
            let version = row["version"].as_u64().expect("a version");
            held.insert(id.to_owned(), (offset(&page["position"]), title.to_owned(), version));
        }
    };
    let (mut held, mut cursor, mut first, mut pages) = (Held::new(), Value::Null, None, 0);
    loop {
        let page = desk.data(PAGE, json!({ "filter": filter, "after": cursor })).await["incidents"].take();
        first.get_or_insert_with(|| page["position"].clone());
        take(&mut held, &page);
        pages += 1;
        // Between the pages: a row already read, a row not read yet, a row that leaves, a row that enters.
        for at in [3 + pages, 120 + pages, 349 - pages] {
            desk.data(RENAMED, json!({ "id": ids[at], "title": format!("Renamed after page {pages}") })).await;
        }
        desk.data(TAGGED, json!({ "id": ids[10 + pages], "tag": "done" })).await;
        desk.data(TAGGED, json!({ "id": ids[330 - pages], "tag": "done" })).await;
        ids.push(desk.incident(&format!("New after page {pages}")).await);
        if page["pageInfo"]["hasNextPage"] == false {
            break;
        }
        cursor = page["pageInfo"]["endCursor"].clone();
    }
    assert!(pages >= 4, "{pages} pages");
    for item in replay(&desk, &filter, &first.expect("a position")).await {
        let (at, kind, id, _) = short(&item);
        if kind == "Live" || held.get(&id).is_some_and(|held| held.0 >= at) {
            continue;
        }
        match kind.as_str() {
            "QueueLeft" => held.remove(&id),
            _ => {
                let title = item["row"]["title"].as_str().expect("a title").to_owned();
                held.insert(id, (at, title, item["row"]["version"].as_u64().expect("a version")))
            }
        };
    }
    let (mut truth, mut cursor) = (Held::new(), Value::Null);
    loop {
        let page = desk.data(PAGE, json!({ "filter": filter, "after": cursor })).await["incidents"].take();
        take(&mut truth, &page);
        if page["pageInfo"]["hasNextPage"] == false {
            assert_eq!(page["totalCount"], truth.len());
            break;
        }
        cursor = page["pageInfo"]["endCursor"].clone();
    }
    let bare = |held: Held| held.into_iter().map(|(id, (_, title, version))| (id, title, version)).collect::<Vec<_>>();
    assert_eq!(bare(held), bare(truth));
}

async fn a_quiet_backlog_moves_the_position_on(database: TestDatabase) {
    let start = {
        let desk = TestDesk::open(&database).await;
        desk.incident("Of no interest").await;
        let start = present(&desk, &json!({ "severity": ["HIGH"] })).await;
        let (change, hash) = newest(&desk).await;
        grow(&database, &change, hash, 2_500).await;
        start
    };
    let desk = TestDesk::open(&database).await;
    let items = replay(&desk, &json!({ "severity": ["HIGH"] }), &start).await;
    let marks: Vec<_> = items.iter().map(|item| (short(item).0 - offset(&start), short(item).1)).collect();
    let expected = [(1_000, "Heartbeat"), (2_000, "Heartbeat"), (2_500, "Live")];
    assert_eq!(marks, expected.map(|(at, kind)| (at, kind.to_owned())), "every 1,000 positions without a match");
    let rest = replay(&desk, &json!({ "severity": ["HIGH"] }), &items[0]["position"]).await;
    assert_eq!(rest.len(), 2, "a heartbeat's position is one to go on from: {rest:?}");
}

async fn everything_since_a_long_absence_comes(database: TestDatabase) {
    const SHORT: &str = "subscription($after: String) { incidentQueue(after: $after) {
        __typename position ... on QueueUpdated { row { version } } ... on Resync { resyncReason }
    } }";
    const MISSED: u64 = 50_000;
    let (start, id) = {
        let desk = TestDesk::open(&database).await;
        let id = desk.incident("Busy").await;
        let start = present(&desk, &json!({})).await;
        let (change, hash) = newest(&desk).await;
        grow(&database, &change, hash, MISSED).await;
        (start, id)
    };
    let desk = TestDesk::open(&database).await;
    let mut queue = desk.follow(SHORT, json!({ "after": start })).await;
    for place in 1..=MISSED {
        let item = queue.item().await;
        let seen = (&item["__typename"], offset(&item["position"]), &item["row"]["version"]);
        assert_eq!(seen, (&json!("QueueUpdated"), offset(&start) + place, &json!(place + 1)));
    }
    let live = queue.item().await;
    assert_eq!((&live["__typename"], offset(&live["position"])), (&json!("Live"), offset(&start) + MISSED));
    desk.data(RENAMED, json!({ "id": id, "title": "Live again" })).await;
    let item = queue.change().await;
    assert_eq!((offset(&item["position"]), &item["row"]["version"]), (offset(&start) + MISSED + 1, &json!(MISSED + 2)));
}

async fn a_ring_that_is_too_small_skips_nothing(database: TestDatabase) {
    let options =
        Options { ring: RealtimeLimits { changes: 3, bytes: 1 << 20, incidents: 100_000 }, ..Options::default() };
    let desk = TestDesk::open_with(&database, options).await;
    let start = present(&desk, &json!({})).await;
    let mut slow = desk.follow(QUEUE, json!({ "after": start })).await;
    slow.items_until("Live").await;
    let id = desk.incident("Busy").await;
    let (change, hash) = newest(&desk).await;
    let before = change.offset;
    // In one commit, so that the relay reads them at once, and the ring has dropped most when the stream looks.
    grow(&database, &change, hash, 40).await;
    let offsets = |items: &[Value]| items.iter().map(|item| offset(&item["position"])).collect::<Vec<_>>();
    let items = read_to(&mut slow, before + 40).await;
    assert_eq!(offsets(&items), (offset(&start) + 1..=before + 40).collect::<Vec<_>>());
    for number in 0..20 {
        desk.data(RENAMED, json!({ "id": id, "title": format!("Title {number}") })).await;
    }
    let more = read_to(&mut slow, before + 60).await;
    assert_eq!(offsets(&more), (before + 41..=before + 60).collect::<Vec<_>>());
    let mut replayed = replay(&desk, &json!({}), &start).await;
    replayed.pop();
    assert_eq!(replayed, [items, more].concat());
}

/// Returns the reason why a stream cannot continue; it must end there.
async fn resync(desk: &TestDesk, account: Option<&str>, filter: &Value, after: &Position) -> String {
    let variables = json!({ "filter": filter, "after": after.to_string() });
    let mut stream = match account {
        Some(account) => desk.follow_as(account, QUEUE, variables).await,
        None => desk.follow(QUEUE, variables).await,
    };
    let item = stream.item().await;
    assert_eq!(item["__typename"], "Resync", "{item}");
    let Frame::Json(end) = stream.frame().await else { panic!("the socket stays open") };
    assert_eq!(end["type"], "complete", "a resync is the last item");
    item["resyncReason"].as_str().expect("a reason").to_owned()
}

async fn a_position_that_cannot_be_gone_on_from_says_why(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let id = desk.incident("One").await;
    let filter = json!({ "severity": ["MEDIUM"] });
    let early = parsed(&present(&desk, &filter).await);
    desk.data(RENAMED, json!({ "id": id, "title": "Two" })).await;
    let now = parsed(&present(&desk, &filter).await);
    let foreign = Position { epoch: uuid::Uuid::from_u128(7), ..now };
    let rewound = Position { check: [7; 8], ..early };
    let beyond = Position { offset: now.offset + 1_000, ..now };
    for (held, reason) in [(foreign, "EPOCH"), (rewound, "EPOCH"), (beyond, "AHEAD")] {
        assert_eq!(resync(&desk, None, &filter, &held).await, reason);
    }
    assert_eq!(resync(&desk, None, &json!({ "severity": ["HIGH"] }), &now).await, "FILTER");
    let other_words = json!({ "severity": ["MEDIUM", "MEDIUM"], "status": ["ACTIVE", "NEW"] });
    assert_eq!(replay(&desk, &other_words, &json!(early.to_string())).await.len(), 2, "the same filter in other words");

    let mut malformed = desk.follow(QUEUE, json!({ "after": "no position" })).await;
    let Frame::Json(refusal) = malformed.frame().await else { panic!("the socket stays open") };
    assert_eq!(refusal["type"], "error", "{refusal}");
    assert_eq!(refusal["payload"][0]["extensions"]["code"], "INVALID", "{refusal}");

    let raw = database.connect().await;
    let floor = format!("UPDATE log_head SET floor = {}", now.offset);
    raw.execute_unprepared(&floor).await.expect("a floor");
    // Streams start from memory; the relay sees the new floor at its next tick.
    while desk.app.hub.known().floor != now.offset {
        a_moment().await;
    }
    assert_eq!(resync(&desk, None, &filter, &early).await, "BELOW_FLOOR");
    assert_eq!(replay(&desk, &filter, &json!(now.to_string())).await.len(), 1, "at the floor one may go on");
}

async fn a_queue_goes_on_after_a_position_of_the_log_without_the_set(database: TestDatabase) {
    const LOG: &str = "subscription { activityLog { __typename position ... on Live { holdsSet } } }";
    let desk = TestDesk::open(&database).await;
    let filter = json!({ "severity": ["MEDIUM"] });
    let id = desk.incident("Matches already").await;
    desk.incident("Matches, and nobody changes it").await;
    let mut log = desk.follow(LOG, json!({})).await;
    assert_eq!(log.item().await["holdsSet"], Value::Null, "the log is no set");
    let receipt = desk.act("renameIncident", json!({ "incidentId": id, "title": "Renamed" })).await["position"].take();
    let page = present(&desk, &filter).await;
    assert_eq!((offset(&receipt), parsed(&receipt).queue), (offset(&page), None));
    assert_eq!(log.change().await["position"], receipt, "the position of a mutation is a position of the log");

    desk.act("addTags", json!({ "incidentId": id, "tags": ["seen"] })).await;
    desk.incident("New").await;
    desk.act("setIncidentSeverity", json!({ "incidentId": id, "severity": "HIGH" })).await;
    let (with, without) = (replay(&desk, &filter, &page).await, replay(&desk, &filter, &receipt).await);
    let kinds: Vec<_> = without.iter().map(|item| short(item).1).collect();
    assert_eq!(kinds, ["QueueUpdated", "QueueEntered", "QueueLeft", "Live"]);
    assert_eq!(without[0]["row"]["title"], "Renamed", "a first item about an incident has its whole row");
    let shorts = |items: &[Value]| items.iter().map(short).collect::<Vec<_>>();
    assert_eq!(shorts(&without), shorts(&with), "nothing is missed and nothing comes twice");
    assert_eq!((&with[3]["holdsSet"], &without[3]["holdsSet"]), (&json!(true), &json!(false)));
    for (seen, (with, item)) in with.iter().zip(&without).enumerate() {
        assert_eq!((parsed(&with["position"]).holds_set(), parsed(&item["position"]).holds_set()), (true, false));
        let rest = replay(&desk, &filter, &item["position"]).await;
        let expected = if seen == 3 { &without[3..] } else { &without[seen + 1..] };
        assert_eq!(rest, expected, "gone on from item {seen}, still without the set");
    }
    // The client holds the set as soon as it reads a page and goes on from there.
    let mut queue = desk.follow(QUEUE, json!({ "filter": filter, "after": present(&desk, &filter).await })).await;
    assert_eq!(queue.item().await["holdsSet"], true);
    desk.incident("Newer").await;
    assert!(parsed(&queue.change().await["position"]).holds_set());
    // A position of a stream belongs to its queue, with the set and without it.
    let other = json!({ "severity": ["HIGH"] });
    for item in [&with[0], &without[0]] {
        assert_eq!(resync(&desk, None, &other, &parsed(&item["position"])).await, "FILTER");
    }
}

async fn a_queue_of_mine_is_mine_only(database: TestDatabase) {
    const OWNED: &str =
        "mutation($id: ID!) { assignIncident(input: { incidentId: $id, owner: { me: true } }) { changed } }";
    const POSITION: &str = "query($filter: IncidentFilterInput) { incidents(filter: $filter) { position totalCount } }";
    let desk = TestDesk::open(&database).await;
    let (ada, _) = (desk.user("ada", "RESPONDER").await, desk.user("bob", "RESPONDER").await);
    let id = desk.incident("Whose?").await;
    desk.data_as(Some("ada"), OWNED, json!({ "id": id })).await;
    let mine = json!({ "owner": { "me": true } });
    let ours = json!({ "owner": { "meAndMyGroups": true } });
    let held = async |filter: &Value| {
        let page = desk.data_as(Some("ada"), POSITION, json!({ "filter": filter })).await;
        assert_eq!(page["incidents"]["totalCount"], 1);
        parsed(&page["incidents"]["position"])
    };
    let (of_mine, of_ours) = (held(&mine).await, held(&ours).await);
    assert_eq!(resync(&desk, Some("bob"), &mine, &of_mine).await, "SCOPE", "another's `me` is another queue");
    let mut own = desk.follow_as("ada", QUEUE, json!({ "filter": mine, "after": of_mine.to_string() })).await;
    let live = own.item().await;
    assert_eq!(live["__typename"], "Live");
    assert_eq!(live["filter"]["json"]["owner"], json!({ "users": [ada] }), "`me` is resolved");
    let group = desk.data("mutation { upsertGroup(input: { account: \"tier-1\" }) { group { id } } }", json!({})).await
        ["upsertGroup"]["group"]["id"]
        .take();
    desk.data(
        "mutation($group: ID!, $users: [ID!]!) { addGroupMembers(input: { groupId: $group, users: $users }) { group { id } } }",
        json!({ "group": group, "users": [ada] }),
    )
    .await;
    assert_eq!(resync(&desk, Some("ada"), &ours, &of_ours).await, "SCOPE", "her groups are others now");
    let mut still = desk.follow_as("ada", QUEUE, json!({ "filter": mine, "after": of_mine.to_string() })).await;
    assert_eq!(still.item().await["__typename"], "Live", "a filter that names no groups does not care");
}
