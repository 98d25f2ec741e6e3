//! One execution and one serialisation for equal subscriptions; and no client can see the difference in its stream.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use watchfloor::server::settings::Settings;
use watchfloor::server::share::group_settings::{Counters, GroupSettings};

use crate::statements::Sent;
use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::{Following, Options, TestDesk};
use crate::support::dice::Dice;
use crate::support::socket::{Frame, Socket};
use crate::support::stream::{QUEUE, offset, parsed, present, read_to, short};

each_database!(
    many_members_cost_one_execution,
    two_spellings_of_one_operation_share_its_stream,
    clients_with_the_set_share_no_stream_with_clients_without_it,
    members_join_at_the_seam_under_writes,
    a_slow_member_is_left_behind_and_loses_nothing,
    a_member_that_never_reads_is_closed_and_the_others_notice_nothing,
    both_subprotocols_share_the_bytes,
    two_scopes_never_share_bytes,
    resumed_from_the_tail_is_resumed_alone_byte_for_byte,
    what_cannot_be_shared_is_not,
    a_group_ends_with_its_last_member,
    a_storm_of_returning_clients_asks_the_database_nothing,
    followers_of_one_summary_share_its_count,
    a_member_whose_rights_change_is_told_and_no_other,
    members_outlive_a_founder_whose_rights_change,
    followers_of_a_summary_outlive_a_founder_whose_rights_change,
);

const RENAMED: &str =
    "mutation($id: ID!, $title: String!) { renameIncident(input: { incidentId: $id, title: $title }) { position } }";

/// Opens a desk, and returns the counters of its groups.
async fn counted(database: &TestDatabase, groups: GroupSettings) -> (TestDesk, Arc<Counters>) {
    let counters = groups.counters.clone();
    // No heartbeat in between, because frames are counted.
    let heartbeat = Duration::from_secs(600);
    let options = Options { settings: Settings { groups, ..Settings::default() }, heartbeat, ..Options::default() };
    (TestDesk::open_with(database, options).await, counters)
}

async fn rename(desk: &TestDesk, id: &str, title: &str) {
    desk.data(RENAMED, json!({ "id": id, "title": title })).await;
}

async fn a_storm_of_returning_clients_asks_the_database_nothing(database: TestDatabase) {
    const CLIENTS: usize = 60;
    let filter = json!({ "tags": { "none": ["noise"] } });
    let mut positions = Vec::new();
    {
        let desk = TestDesk::open(&database).await;
        let id = desk.incident("Busy").await;
        for number in 0..20 {
            positions.push(present(&desk, &filter).await);
            rename(&desk, &id, &format!("Title {number}")).await;
        }
    }
    // The server was away, and all clients come back at once, each from another position.
    let sent = Sent::default();
    let desk = sent.by_desk(&database).await;
    sent.take();
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let after = positions[number % positions.len()].clone();
        // Two queries: one that all clients share, and one of each client's own.
        let own = if number % 2 == 0 { json!(null) } else { json!(number) };
        let variables = json!({ "filter": filter, "after": after, "unused": own });
        clients.push(async { desk.follow(QUEUE, variables).await.items_until("Live").await });
    }
    let lists = futures_util::future::join_all(clients).await;
    for (number, list) in lists.iter().enumerate() {
        assert_eq!(list.len(), positions.len() - number % positions.len() + 1, "client {number}");
    }
    let statements = sent.take();
    let of_the_log =
        |it: &&watchfloor::storage::Statement| it.sql.contains("\"change\"") || it.sql.contains("\"log_head\"");
    let read: Vec<_> = statements.iter().filter(of_the_log).collect();
    assert!(read.is_empty(), "no stream asks for the log: {read:#?}");
    // The first clients cause a read of the caller, which is cached for a moment then.
    println!("{} statements for {CLIENTS} clients", statements.len());
    let mut again = desk.follow(QUEUE, json!({ "filter": filter, "after": positions[3] })).await;
    again.items_until("Live").await;
    let late = sent.take();
    assert!(late.len() <= 2 && late.iter().filter(of_the_log).count() == 0, "at most who calls: {late:#?}");
}

/// Waits for an action of the server after a client was answered.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// The aliases of [`wide`], whose fragment is spread twice, and some more.
const WIDE_ALIASES: usize = 60;

/// Returns a document whose frames are large if a title is [`long`]: a hundred kilobytes.
fn wide() -> String {
    let again: String = (0..24).map(|n| format!("again{n}: title ")).collect();
    QUEUE.replace("version title", &format!("version title {again}"))
}

/// Returns a title of 4 KB, all of which is shown.
fn long(number: usize) -> String {
    format!("{number} {}", "🦀".repeat(990))
}

/// Opens a stream that has sent `Live`.
async fn live(desk: &TestDesk, variables: Value) -> Following {
    live_of(desk, QUEUE, variables).await
}

async fn live_of(desk: &TestDesk, document: &str, variables: Value) -> Following {
    let mut stream = desk.follow(document, variables).await;
    stream.items_until("Live").await;
    stream
}

async fn many_members_cost_one_execution(database: TestDatabase) {
    const MEMBERS: usize = 25;
    let (desk, counters) = counted(&database, GroupSettings::default()).await;
    let id = desk.incident("Beaconing").await;
    let early = present(&desk, &json!({})).await;
    rename(&desk, &id, "Beaconing again").await;
    let late = present(&desk, &json!({})).await;
    let mut members = Vec::new();
    for number in 0..MEMBERS {
        // The position is not part of the shared identity.
        let after = if number % 2 == 0 { &early } else { &late };
        members.push(live(&desk, json!({ "filter": {}, "after": after })).await);
    }
    until("all are members", || counters.members() == MEMBERS as u64).await;
    assert_eq!((counters.open(), counters.alone()), (1, 1), "one stream for all of them");
    let (executed, shared) = (counters.executed(), counters.shared());
    for number in 0..10 {
        rename(&desk, &id, &format!("Title {number}")).await;
    }
    let end = desk.log_end().await;
    let mut lists = Vec::new();
    for member in &mut members {
        lists.push(read_to(member, end).await);
    }
    assert_eq!(lists[0].len(), 10);
    assert!(lists.iter().all(|list| *list == lists[0]), "the same for all");
    assert_eq!(counters.executed() - executed, 10, "one execution for each change");
    assert_eq!(counters.shared() - shared, 10 * MEMBERS as u64, "its bytes for each member");
}

async fn two_spellings_of_one_operation_share_its_stream(database: TestDatabase) {
    let (desk, counters) = counted(&database, GroupSettings::default()).await;
    let id = desk.incident("Beaconing").await;
    let after = present(&desk, &json!({ "status": ["NEW"] })).await;
    let (one, two) = (
        "subscription($filter: IncidentFilterInput, $after: String) { incidentQueue(filter: $filter, after: $after) { \
         __typename position ... on QueueUpdated { row { title status } } } }"
            .to_owned(),
        format!(
            "# The same.\nsubscription Wall($f: IncidentFilterInput) {{ ...Q }} fragment Q on Subscription {{\n\
             incidentQueue(after: {after}, filter: $f) {{ __typename ... {{ position }} ...U }} }}\n\
             fragment U on QueueUpdated {{ row {{ title }} row {{ status }} }}"
        ),
    );
    let mut first = desk.follow(&one, json!({ "filter": { "status": ["NEW"] }, "after": after })).await;
    first.items_until("Live").await;
    let mut second = desk.follow(&two, json!({ "f": { "status": "NEW" } })).await;
    second.items_until("Live").await;
    until("both are members", || counters.members() == 2).await;
    assert_eq!((counters.open(), counters.alone()), (1, 1), "one stream for both");
    rename(&desk, &id, "Beaconing to two hosts").await;
    assert_eq!(first.change().await, second.change().await);
}

async fn clients_with_the_set_share_no_stream_with_clients_without_it(database: TestDatabase) {
    let (desk, counters) = counted(&database, GroupSettings::default()).await;
    let id = desk.incident("Beaconing").await;
    let receipt = desk.data(RENAMED, json!({ "id": id, "title": "Beaconing again" })).await["renameIncident"].take();
    let page = present(&desk, &json!({})).await;
    let mut streams = Vec::new();
    for (variables, holds_set, groups) in [
        (json!({ "filter": {}, "after": page }), true, 1),
        (json!({ "filter": {}, "after": receipt["position"] }), false, 2),
        (json!({ "filter": {}, "after": null }), false, 2),
        (json!({ "filter": {} }), false, 2),
        (json!({ "filter": {}, "after": page }), true, 2),
    ] {
        let mut stream = desk.follow(QUEUE, variables.clone()).await;
        let live = stream.items_until("Live").await.pop().expect("a marker");
        assert_eq!(live["holdsSet"], holds_set, "{variables}");
        streams.push(stream);
        until("all are members", || counters.members() == streams.len() as u64).await;
        assert_eq!((counters.open(), counters.alone()), (groups, groups), "{variables}");
    }
    let executed = counters.executed();
    rename(&desk, &id, "Beaconing to two hosts").await;
    let mut items = Vec::new();
    for stream in &mut streams {
        items.push(stream.change().await);
    }
    assert!(items[0] == items[4] && items[1] == items[2] && items[1] == items[3], "{items:#?}");
    assert_eq!(unclaimed(&items[0]), unclaimed(&items[1]), "the items differ in their positions only");
    let holds_set = |item: &Value| parsed(&item["position"]).holds_set();
    assert_eq!((holds_set(&items[0]), holds_set(&items[1])), (true, false));
    assert_eq!(counters.executed() - executed, 2, "one execution for each group");
}

async fn members_join_at_the_seam_under_writes(database: TestDatabase) {
    const WRITES: usize = 150;
    // A short tail, so that some clients join from it, some follow alone first, and some fall behind it.
    let groups = GroupSettings { tail_frames: 12, ..GroupSettings::default() };
    let (desk, counters) = counted(&database, groups).await;
    let mut dice = Dice::of_this_run();
    let filter = json!({ "severity": ["MEDIUM"] });
    let start = present(&desk, &filter).await;
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(desk.incident(&format!("Incident {number}")).await);
    }
    let mut known = vec![start.clone(), present(&desk, &filter).await];
    let mut readers = Vec::new();
    for write in 0..WRITES {
        let id = dice.pick(&ids).clone();
        if dice.chance(30) {
            let severity = if dice.chance(50) { "HIGH" } else { "MEDIUM" };
            let set = "mutation($id: ID!, $to: Severity!) {
                setIncidentSeverity(input: { incidentId: $id, severity: $to }) { position } }";
            desk.data(set, json!({ "id": id, "to": severity })).await;
        } else {
            rename(&desk, &id, &format!("Title {write}")).await;
        }
        if write % 3 == 0 {
            known.push(present(&desk, &filter).await);
            let after = if dice.chance(10) { Value::Null } else { dice.pick(&known).clone() };
            let stream = desk.follow(QUEUE, json!({ "filter": filter, "after": after })).await;
            readers.push((after, tokio::spawn(to_the_end(stream))));
        }
    }
    desk.incident(THE_END).await;
    // Another node, where no other client asks.
    let elsewhere = TestDesk::open(&database).await;
    let variables = json!({ "filter": filter, "after": start });
    let mut truth = to_the_end(elsewhere.follow(QUEUE, variables).await).await;
    truth.retain(|item| !is_marker(item));
    assert!(truth.len() > WRITES / 2);
    for (number, (after, reader)) in readers.into_iter().enumerate() {
        let items = reader.await.expect("a reader");
        let places: Vec<u64> = items.iter().map(|item| offset(&item["position"])).collect();
        assert!(places.is_sorted(), "reader {number}: {places:?}");
        let live = items.iter().position(|item| item["__typename"] == "Live").expect("it goes live");
        assert_eq!(items.iter().filter(|item| item["__typename"] == "Live").count(), 1, "reader {number}: once");
        let begin = if after.is_null() { places[0] } else { offset(&after) };
        assert!(!after.is_null() || live == 0, "the present has no backlog");
        let got: Vec<&Value> = items.iter().filter(|item| !is_marker(item)).collect();
        let wanted: Vec<&Value> = truth.iter().filter(|item| offset(&item["position"]) > begin).collect();
        if after.is_null() {
            // Positions of a stream that does not hold the set differ from positions of a stream that does.
            let unclaimed = |items: Vec<&Value>| items.into_iter().map(unclaimed).collect::<Vec<_>>();
            assert_eq!(unclaimed(got), unclaimed(wanted), "reader {number} from the present, {begin}");
        } else {
            assert_eq!(got, wanted, "reader {number} from {begin}, live at {}", places[live]);
        }
    }
    println!("{} streams alone, {} executions, {} shared", counters.alone(), counters.executed(), counters.shared());
    assert!(counters.shared() > counters.executed(), "most of it was shared");
}

/// Returns an item with offsets in place of its positions, so that it does not say whether its client holds the set.
fn unclaimed(item: &Value) -> Value {
    let mut item = item.clone();
    for position in ["/position", "/row/position"] {
        if let Some(position) = item.pointer_mut(position) {
            *position = json!(offset(position));
        }
    }
    item
}

const THE_END: &str = "The end";

fn is_marker(item: &Value) -> bool {
    matches!(item["__typename"].as_str(), Some("Live" | "Heartbeat"))
}

/// Returns everything up to the incident with that title, and up to `Live`.
async fn to_the_end(mut stream: Following) -> Vec<Value> {
    let mut items: Vec<Value> = Vec::new();
    let (mut live, mut end) = (false, false);
    while !(live && end) {
        let item = stream.item().await;
        live |= item["__typename"] == "Live";
        end |= item["row"]["title"] == THE_END;
        items.push(item);
    }
    items
}

async fn a_member_that_never_reads_is_closed_and_the_others_notice_nothing(database: TestDatabase) {
    let mut settings = Settings::default();
    settings.socket.write_deadline = Duration::from_millis(200);
    settings.limits.aliases = WIDE_ALIASES;
    // So that the reason can be read here.
    settings.socket.close_wait = Duration::from_secs(20);
    // The tail keeps all frames, so the silent client is a member until it is closed.
    settings.groups.tail_bytes = 1 << 30;
    let counters = settings.groups.counters.clone();
    let desk = TestDesk::open_with(&database, Options { settings, ..Options::default() }).await;
    let id = desk.incident("Busy").await;
    let document = wide();
    let mut quick = live_of(&desk, &document, json!({})).await;
    let url = format!("{}/graphql", desk.url.replacen("http", "ws", 1));
    let mut silent = Socket::narrow(&url, "graphql-transport-ws").await;
    silent.init(json!({})).await;
    let payload = json!({ "query": document, "variables": {} });
    silent.send(json!({ "id": "1", "type": "subscribe", "payload": payload })).await;
    until("both are members", || counters.members() == 2).await;
    let (alone, mut written) = (counters.alone(), 0);
    let mut write = async || {
        rename(&desk, &id, &long(written)).await;
        let title = quick.change().await["row"]["title"].take();
        let title = title.as_str().expect("a title");
        assert_eq!(title.trim_end_matches('🦀').trim(), written.to_string(), "the other misses none, in order");
        written += 1;
    };
    // Until the silent client's connection is full and its time is over.
    while counters.members() == 2 {
        write().await;
    }
    write().await;
    assert_eq!(counters.alone(), alone, "the other never left the group");
    assert_eq!(silent.end().await, Frame::Closed(1013, "the client does not read fast enough".into()));
}

async fn both_subprotocols_share_the_bytes(database: TestDatabase) {
    let (desk, counters) = counted(&database, GroupSettings::default()).await;
    let id = desk.incident("Beaconing").await;
    let url = format!("{}/graphql", desk.url.replacen("http", "ws", 1));
    let payload = json!({ "query": QUEUE, "variables": {} });
    let mut newer = Socket::ready(&url).await;
    newer.send(json!({ "id": "n", "type": "subscribe", "payload": payload })).await;
    let mut older = Socket::legacy(&url).await;
    older.send(json!({ "type": "connection_init" })).await;
    older.send(json!({ "id": "o", "type": "start", "payload": payload })).await;
    until("both are members", || counters.members() == 2).await;
    let mut texts = Vec::new();
    for (socket, open) in
        [(&mut newer, r#"{"type":"next","id":"n","payload":"#), (&mut older, r#"{"type":"data","id":"o","payload":"#)]
    {
        // After the earlier messages: the acknowledgement, a keep-alive, `Live`.
        while !socket.text().await.contains(r#""Live""#) {}
        texts.push((socket, open));
    }
    let executed = counters.executed();
    rename(&desk, &id, "Renamed").await;
    let mut payloads = Vec::new();
    for (socket, open) in texts {
        let text = loop {
            let text = socket.text().await;
            if text != r#"{"type":"ka"}"# {
                break text;
            }
        };
        payloads.push(text.strip_prefix(open).and_then(|rest| rest.strip_suffix('}')).expect("an envelope").to_owned());
    }
    assert_eq!(payloads[0], payloads[1]);
    assert_eq!(counters.executed() - executed, 1, "one execution for both");
}

async fn a_slow_member_is_left_behind_and_loses_nothing(database: TestDatabase) {
    const FRAMES: usize = 160;
    let mut settings = Settings::default();
    settings.groups.tail_frames = 4;
    settings.limits.aliases = WIDE_ALIASES;
    // No client is closed here for slowness.
    settings.socket.write_deadline = Duration::from_secs(300);
    settings.socket.outbox_age = Duration::from_secs(300);
    let counters = settings.groups.counters.clone();
    // No heartbeat in between, because executions are counted.
    let heartbeat = Duration::from_secs(600);
    let desk = TestDesk::open_with(&database, Options { settings, heartbeat, ..Options::default() }).await;
    let id = desk.incident("Busy").await;
    let document = wide();
    let mut quick = live_of(&desk, &document, json!({})).await;
    let mut slow = live_of(&desk, &document, json!({})).await;
    let alone = counters.alone();
    let mut seen = Vec::new();
    // More than the sockets' buffers and the outbox take.
    for number in 0..FRAMES {
        rename(&desk, &id, &long(number)).await;
        seen.push(quick.change().await);
    }
    let mut late = Vec::new();
    while late.len() < FRAMES {
        late.push(slow.change().await);
    }
    assert_eq!(
        late.iter().map(short).collect::<Vec<_>>(),
        seen.iter().map(short).collect::<Vec<_>>(),
        "in order, once"
    );
    assert!(late == seen, "the same items");
    assert!(counters.alone() > alone, "it followed alone meanwhile");
    until("it is a member again", || counters.members() == 2).await;
    let executed = counters.executed();
    rename(&desk, &id, "Short").await;
    assert_eq!(slow.change().await, quick.change().await);
    assert_eq!(counters.executed() - executed, 1, "shared again");
}

async fn two_scopes_never_share_bytes(database: TestDatabase) {
    let (desk, counters) = counted(&database, GroupSettings::default()).await;
    for (account, role) in [("ada", "RESPONDER"), ("bob", "RESPONDER"), ("eve", "READER")] {
        desk.user(account, role).await;
    }
    let mine = json!({ "filter": { "owner": { "me": true } } });
    let mut streams = Vec::new();
    for (account, variables, groups) in [
        ("ada", json!({}), 1),
        ("bob", json!({}), 1),
        ("eve", json!({}), 2),
        ("ada", mine.clone(), 3),
        ("bob", mine.clone(), 4),
        ("ada", mine.clone(), 4),
    ] {
        let mut stream = desk.follow_as(account, QUEUE, variables.clone()).await;
        stream.items_until("Live").await;
        streams.push(stream);
        assert_eq!(counters.open(), groups, "{account} with {variables}");
    }
    let literal = "subscription { incidentQueue(filter: { owner: { meAndMyGroups: true } }) { __typename position } }";
    for (account, groups) in [("ada", 5), ("bob", 6)] {
        let mut stream = desk.follow_as(account, literal, json!({})).await;
        stream.items_until("Live").await;
        streams.push(stream);
        assert_eq!(counters.open(), groups, "{account} with `me` in the document");
    }
    let id = desk.incident("Whose?").await;
    let assign = "mutation($id: ID!) { assignIncident(input: { incidentId: $id, owner: { me: true } }) { changed } }";
    desk.data_as(Some("bob"), assign, json!({ "id": id })).await;
    let end = desk.log_end().await;
    assert_eq!(read_to(&mut streams[4], end).await.len(), 1, "bob's own");
    desk.data_as(Some("ada"), assign, json!({ "id": id })).await;
    let of_ada = streams[3].change().await;
    assert_eq!((short(&of_ada).1.as_str(), offset(&of_ada["position"])), ("QueueEntered", end + 1), "and not before");
    assert_eq!(short(&streams[4].change().await).1, "QueueLeft");
}

async fn resumed_from_the_tail_is_resumed_alone_byte_for_byte(database: TestDatabase) {
    let (desk, counters) = counted(&database, GroupSettings::default()).await;
    let filter = json!({ "tags": { "none": ["noise"] } });
    let id = desk.incident("Busy").await;
    let mut positions = vec![present(&desk, &filter).await];
    let mut member = live(&desk, json!({ "filter": filter, "after": positions[0] })).await;
    for number in 0..12 {
        rename(&desk, &id, &format!("Title {number} \"é\u{2028}🚨")).await;
        positions.push(present(&desk, &filter).await);
    }
    read_to(&mut member, desk.log_end().await).await;
    for (number, after) in positions.iter().enumerate() {
        let executed = counters.executed();
        let alone = counters.alone();
        let shared = texts(&desk, json!({ "filter": filter, "after": after })).await;
        assert_eq!(counters.alone(), alone, "from the tail");
        assert!(counters.executed() - executed <= 1, "at most its `live` was executed");
        // An equal filter in other words makes another group, and so a stream of its own.
        let same = json!({ "tags": { "none": vec!["noise"; number + 2] } });
        let variables = json!({ "filter": same, "after": after });
        let by_itself = texts(&desk, variables).await;
        assert_eq!(counters.alone(), alone + 1);
        assert_eq!(shared, by_itself, "after {number} titles");
        assert_eq!(shared.len(), 13 - number);
    }
}

/// Returns the frames up to `Live`, as they are written.
async fn texts(desk: &TestDesk, variables: Value) -> Vec<String> {
    let mut socket = Socket::ready(&format!("{}/graphql", desk.url.replacen("http", "ws", 1))).await;
    let payload = json!({ "query": QUEUE, "variables": variables });
    socket.send(json!({ "id": "1", "type": "subscribe", "payload": payload })).await;
    let mut texts = Vec::new();
    loop {
        let text = socket.text().await;
        let live = text.contains(r#""__typename":"Live""#);
        texts.push(text);
        if live {
            return texts;
        }
    }
}

async fn what_cannot_be_shared_is_not(database: TestDatabase) {
    let (desk, counters) = counted(&database, GroupSettings::default()).await;
    desk.user("eve", "READER").await;
    let id = desk.incident("One").await;
    let log = |fields: &str| {
        format!(
            "subscription($of: ID) {{ activityLog(incidentId: $of) {{
                __typename position ... on ActivityChange {{ change {{ {fields} }} }} }} }}"
        )
    };
    let present_day = [
        "incident { title }",
        "entries { ... on CommentEntry { comment { body } } }",
        "entries { ... on BookmarkEntry { bookmark { removedAt } } }",
    ];
    let mut streams = Vec::new();
    for fields in present_day {
        let mut stream = desk.follow(&log(fields), json!({ "of": id })).await;
        stream.items_until("Live").await;
        streams.push(stream);
    }
    let mut stream = desk.follow_as("eve", &log("version"), json!({ "of": id })).await;
    stream.items_until("Live").await;
    streams.push(stream);
    assert_eq!((counters.open(), counters.alone()), (0, 4), "nothing that reads the present, nor a reader's right");
    for _ in 0..2 {
        let mut stream = desk.follow(&log("version entries { kind }"), json!({ "of": id })).await;
        stream.items_until("Live").await;
        streams.push(stream);
    }
    assert_eq!((counters.open(), counters.alone()), (1, 5), "the changes themselves");

    let refused = [
        ("subscription { incidentQueue(after: \"no position\") { position } }", json!({})),
        ("subscription { incidentQueue { nonsense } }", json!({})),
        ("subscription($of: ID) { activityLog(incidentId: $of) { position } }", json!({ "of": "incident:7" })),
        ("subscription { incidentQueue(filter: { text: \" \" }) { position } }", json!({})),
    ];
    for (query, variables) in refused {
        let Frame::Json(answer) = desk.follow(query, variables).await.frame().await else { panic!("no answer") };
        assert_eq!(answer["type"], "error", "{query}: {answer}");
    }
    assert_eq!(counters.open(), 1, "what is refused founds nothing");
}

async fn a_group_ends_with_its_last_member(database: TestDatabase) {
    let (desk, counters) = counted(&database, GroupSettings::default()).await;
    let (one, other) = (live(&desk, json!({})).await, live(&desk, json!({})).await);
    until("both are members", || counters.members() == 2).await;
    drop(one);
    until("one has left", || counters.members() == 1).await;
    assert_eq!(counters.open(), 1);
    drop(other);
    until("the group is gone", || (counters.members(), counters.open()) == (0, 0)).await;
    let executed = counters.executed();
    let id = desk.incident("For nobody").await;
    rename(&desk, &id, "For nobody at all").await;
    assert_eq!(counters.executed(), executed);
    live(&desk, json!({})).await;
}

const SUMMARY: &str = "subscription($filter: IncidentFilterInput) {
    queueSummary(filter: $filter) { position open bySeverity { value count } } }";

async fn followers_of_one_summary_share_its_count(database: TestDatabase) {
    const MEMBERS: usize = 12;
    let sent = Sent::default();
    let counters: Arc<Counters> = Arc::default();
    let groups = GroupSettings { counters: counters.clone(), ..GroupSettings::default() };
    let settings = Settings { groups, ..Settings::default() };
    let options = Options { settings, watch: Some(sent.watch()), ..Options::default() };
    let desk = TestDesk::open_with(&database, options).await;
    desk.incident("The first").await;
    let mut members = vec![desk.follow(SUMMARY, json!({})).await];
    assert_eq!(members[0].item().await["open"], 1);
    sent.take();
    for number in 1..MEMBERS {
        // Each client joins after a change, and receives the state that includes it.
        desk.incident(&format!("Incident {number}")).await;
        let end = desk.log_end().await;
        let mut member = desk.follow(SUMMARY, json!({})).await;
        let first = member.item().await;
        assert_eq!((&first["open"], offset(&first["position"])), (&json!(number + 1), end), "the state as of now");
        members.push(member);
    }
    assert_eq!((counters.open(), counters.alone(), counters.members()), (1, 1, MEMBERS as u64));
    let counts = sent.take().iter().filter(|it| it.sql.to_lowercase().contains("group by")).count();
    assert_eq!(counts, 0, "nobody counts anew what is counted already");
    desk.incident("For all").await;
    let end = desk.log_end().await;
    let mut last = Vec::new();
    for member in &mut members {
        let state = loop {
            let state = member.item().await;
            if offset(&state["position"]) == end {
                break state;
            }
        };
        last.push(state);
    }
    assert_eq!(last[0]["open"], MEMBERS + 1);
    assert!(last.iter().all(|state| *state == last[0]), "the same for all");
    assert!(counters.shared() > counters.executed(), "most of it was shared");
    // A change of accounts outside the counted incidents ends no stream; names are read again.
    desk.user("new", "READER").await;
    desk.incident("After it").await;
    for member in &mut members {
        while member.item().await["open"] != MEMBERS + 2 {}
    }
}

async fn a_member_whose_rights_change_is_told_and_no_other(database: TestDatabase) {
    let (desk, counters) = counted(&database, GroupSettings::default()).await;
    for account in ["ada", "bob", "eve"] {
        desk.user(account, "RESPONDER").await;
    }
    let log = "subscription { activityLog { __typename position ... on Resync { resyncReason } } }";
    let id = desk.incident("Whose?").await;
    for query in [QUEUE, log, SUMMARY] {
        let mut streams = Vec::new();
        for account in ["ada", "bob", "eve"] {
            let mut stream = desk.follow_as(account, query, json!({})).await;
            stream.item().await;
            streams.push(stream);
        }
        until("all are members", || counters.members() == 3).await;
        // The second client did not start the group.
        desk.user("bob", "READER").await;
        if query == SUMMARY {
            let Frame::Closed(code, _) = streams[1].frame().await else { panic!("not closed") };
            assert_eq!(code, 1013, "it has nothing to go on from, and comes back");
        } else {
            let end = streams[1].item().await;
            assert_eq!((&end["__typename"], &end["resyncReason"]), (&json!("Resync"), &json!("SCOPE")), "{query}");
        }
        until("the others are members", || counters.members() == 2).await;
        rename(&desk, &id, &format!("Seen by two: {}", query.len())).await;
        if query != SUMMARY {
            for other in [0, 2] {
                assert!(!is_marker(&streams[other].item().await), "{query}");
            }
        }
        desk.user("bob", "RESPONDER").await;
        drop(streams);
        until("all have left", || counters.members() == 0).await;
    }
}

async fn members_outlive_a_founder_whose_rights_change(database: TestDatabase) {
    let (desk, counters) = counted(&database, GroupSettings::default()).await;
    for account in ["ada", "bob", "eve"] {
        desk.user(account, "RESPONDER").await;
    }
    let id = desk.incident("Whose?").await;
    let mut streams = Vec::new();
    for account in ["ada", "bob", "eve"] {
        let mut stream = desk.follow_as(account, QUEUE, json!({})).await;
        stream.items_until("Live").await;
        streams.push(stream);
    }
    until("all are members", || counters.members() == 3).await;
    desk.user("ada", "READER").await;
    assert_eq!(streams[0].item().await["resyncReason"], "SCOPE", "the one who founded the group");
    for number in 0..3 {
        rename(&desk, &id, &format!("Title {number}")).await;
        for other in [1, 2] {
            let item = streams[other].item().await;
            assert_eq!(item["row"]["title"], format!("Title {number}"), "a member's stream goes on: {item}");
        }
    }
    until("they share again", || (counters.open(), counters.members()) == (1, 2)).await;
}

async fn followers_of_a_summary_outlive_a_founder_whose_rights_change(database: TestDatabase) {
    let (desk, counters) = counted(&database, GroupSettings::default()).await;
    let mut streams = Vec::new();
    for account in ["ada", "bob", "eve"] {
        desk.user(account, "RESPONDER").await;
        let mut stream = desk.follow_as(account, SUMMARY, json!({})).await;
        stream.item().await;
        streams.push(stream);
    }
    until("all are members", || counters.members() == 3).await;
    desk.user("ada", "READER").await;
    let closed = loop {
        match streams[0].frame().await {
            Frame::Closed(code, _) => break code,
            frame => assert!(matches!(frame, Frame::Json(_)), "{frame:?}"),
        }
    };
    assert_eq!(closed, 1013, "the one who founded the group");
    desk.incident("For the others").await;
    for other in [1, 2] {
        while streams[other].item().await["open"] != 1 {}
    }
    until("they share one count again", || (counters.open(), counters.members()) == (1, 2)).await;
}
