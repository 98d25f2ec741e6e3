//! The bounds of a request: a larger request is refused before anything is made of it, on every transport.

use serde_json::{Value, json};
use watchfloor::realtime::budget::StreamLimits;

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::{Options, TestDesk};
use crate::support::little::Server;
use crate::support::socket::{Frame, Socket};
use crate::support::triage::report;

each_database!(
    a_request_of_too_many_values_is_refused,
    a_batch_of_alerts_may_hold_more_values_than_other_requests,
    a_list_beyond_its_bound_is_refused_where_it_stands,
    a_variable_that_is_used_often_is_bounded_by_what_it_becomes,
    a_stream_beyond_the_budget_is_refused_until_another_ends,
    streams_beyond_the_work_of_an_account_are_refused_until_another_ends,
    a_text_reaches_its_stream_wherever_it_stands,
    a_request_searches_the_database_so_often_and_no_more,
    orders_without_an_index_and_entities_cost_searches,
    a_filter_counts_wherever_a_request_takes_it_from,
);

const QUEUE: &str = "query($f: [IncidentFilterInput!]) { incidents(filter: { or: $f }) { totalCount } }";

async fn a_request_of_too_many_values_is_refused(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    for (query, variables) in [
        (QUEUE, json!({ "f": vec![json!({}); 100_000] })),
        (QUEUE, json!({ "unused": vec![0; 20_001] })),
        (
            "mutation($i: CreateIncidentInput!) { createIncident(input: $i) { changed } }",
            json!({ "i": { "title": "T", "tags": vec!["t"; 450_000] } }),
        ),
        (
            "mutation($i: IngestAlertsInput!) { ingestAlerts(input: $i) { created } version: __typename
                createIncident(input: { title: \"T\" }) { changed } }",
            json!({ "i": { "alerts": vec![0; 20_001] } }),
        ),
        ("mutation($i: IngestAlertsInput!) { ingestAlerts(input: $i) { created } }", json!({ "i": vec![0; 100_001] })),
    ] {
        let refusal = desk.refused(query, variables).await;
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("LIMIT", Some("body")), "{query}");
        let most = if refusal.message.contains("100000") { 100_000 } else { 20_000 };
        assert_eq!(refusal.now, json!({ "limit": most }));
    }
    let deep = (0..80).fold(json!([]), |inner, _| json!([inner]));
    let refusal = desk.refused(QUEUE, json!({ "f": deep })).await;
    assert_eq!((refusal.code.as_str(), refusal.now), ("LIMIT", json!({ "limit": 64 })));
    assert_eq!(desk.log_end().await, 0, "nothing was done");
}

async fn a_batch_of_alerts_may_hold_more_values_than_other_requests(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let entities: Vec<Value> =
        (0..10).map(|n| json!({ "kind": "IP", "value": format!("10.0.0.{n}"), "verdict": "SUSPICIOUS" })).collect();
    let alerts: Vec<Value> =
        (0..600).map(|n| report(&n.to_string(), json!({ "entities": entities, "severity": "LOW" }))).collect();
    let made = desk.act("ingestAlerts", json!({ "alerts": alerts })).await;
    assert!(made.is_object(), "{made}");
    assert_eq!(desk.data("{ alerts(filter: {}) { totalCount } }", json!({})).await["alerts"]["totalCount"], 600);
}

async fn a_list_beyond_its_bound_is_refused_where_it_stands(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let create = "mutation($i: CreateIncidentInput!) { createIncident(input: $i) { changed } }";
    let ingest = "mutation($i: IngestAlertsInput!) { ingestAlerts(input: $i) { created } }";
    let naming =
        |count: usize| report("1", json!({ "entities": vec![json!({ "kind": "IP", "value": "10.0.0.1" }); count] }));
    for (query, variables, path, bound) in [
        (create, json!({ "i": { "title": "T", "tags": vec!["t"; 101] } }), "variables.i.tags", 100),
        (create, json!({ "i": { "title": "T", "tags": vec!["t"; 19_000] } }), "variables.i.tags", 100),
        (create, json!({ "i": { "title": "T", "alerts": vec!["a"; 5_001] } }), "variables.i.alerts", 5_000),
        (ingest, json!({ "i": { "alerts": vec![report("1", json!({})); 5_001] } }), "variables.i.alerts", 5_000),
        (ingest, json!({ "i": { "alerts": [naming(500), naming(501)] } }), "variables.i.alerts.1.entities", 500),
        (QUEUE, json!({ "f": vec![json!({}); 501] }), "variables.f", 500),
        (
            QUEUE,
            json!({ "f": [{}, { "not": { "and": [{ "tags": { "none": vec!["t"; 501] } }] } }] }),
            "variables.f.1.not.and.0.tags.none",
            500,
        ),
    ] {
        let refusal = desk.refused(query, variables).await;
        assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("LIMIT", Some(path)), "{}", refusal.message);
        assert_eq!(refusal.now, json!({ "limit": bound }));
        assert!(refusal.message.starts_with(&format!("this list has at most {bound} values")), "{}", refusal.message);
    }
    let refusal = desk.refused(&format!("{{ nodes(ids: [{}]) {{ id }} }}", "1 ".repeat(101)), json!({})).await;
    assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("LIMIT", Some("ids")), "{}", refusal.message);
    let written = format!(
        "mutation {{ createIncident(input: {{ title: \"T\", tags: [{}] }}) {{ changed }} }}",
        "\"t\" ".repeat(101)
    );
    let refusal = desk.refused(&written, json!({})).await;
    assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("LIMIT", Some("input.tags")), "{}", refusal.message);
    assert_eq!(desk.log_end().await, 0, "nothing was done");
    let tags: Vec<String> = (0..100).map(|n| format!("t{n}")).collect();
    desk.data(create, json!({ "i": { "title": "T", "tags": tags } })).await;
}

async fn a_variable_that_is_used_often_is_bounded_by_what_it_becomes(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let uses = |count: usize| {
        let filters = "{ or: $o } ".repeat(count);
        format!("query($o: [IncidentFilterInput!]) {{ incidents(filter: {{ or: [{filters}] }}) {{ totalCount }} }}")
    };
    let list = |length: usize| json!({ "o": vec![json!({ "status": [] }); length] });
    let refusal = desk.refused(&uses(100), list(500)).await;
    assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("LIMIT", Some("variables.o")));
    assert_eq!(refusal.now, json!({ "limit": 20_000 }));
    assert!(refusal.message.contains("used 100 times"), "{}", refusal.message);
    let links = (0..6).map(|n| format!("a{n}: createIncident(input: $i) {{ changed }} ")).collect::<String>();
    let links = format!("mutation($i: CreateIncidentInput!) {{ {links} }}");
    let refusal = desk.refused(&links, json!({ "i": { "title": "T", "alerts": vec!["a"; 5_000] } })).await;
    assert_eq!((refusal.code.as_str(), refusal.path.as_deref()), ("LIMIT", Some("variables.i")));
    assert_eq!(desk.log_end().await, 0, "nothing was done");
    desk.data(&uses(4), list(20)).await;
}

const STREAM: &str = "subscription($t: String!) { incidentQueue(filter: { text: $t }) { __typename position
    ... on QueueEntered { row { title } } ... on QueueUpdated { row { title } } } }";

async fn a_stream_beyond_the_budget_is_refused_until_another_ends(database: TestDatabase) {
    // A stream of this kind takes some 13,600 bytes: two and a half fit one account, three and a half fit in all.
    let memory = StreamLimits { bytes: 47_500, bytes_per_principal: 34_000, ..StreamLimits::default() };
    refused_until_another_ends(&database, memory, 34_000).await;
}

async fn streams_beyond_the_work_of_an_account_are_refused_until_another_ends(database: TestDatabase) {
    // A stream of this kind is rarely handed a change, and each takes the least work there is.
    let work = StreamLimits { work: 3, work_per_principal: 2, ..StreamLimits::default() };
    refused_until_another_ends(&database, work, 2).await;
}

/// Checks that two streams fit one account and that three fit in all. `bound` is the limit of an account.
async fn refused_until_another_ends(database: &TestDatabase, streams: StreamLimits, bound: usize) {
    let mut options = Options::default();
    options.limits.streams = streams;
    let desk = TestDesk::open_with(database, options).await;
    desk.user("reader", "READER").await;
    let mut streams = Vec::new();
    for text in ["one", "two", "two"] {
        let mut stream = desk.follow(STREAM, json!({ "t": text })).await;
        stream.items_until("Live").await;
        streams.push(stream);
    }
    let mut socket = Socket::ready(&format!("{}/graphql", desk.url.replace("http", "ws"))).await;
    let ask = json!({ "id": "3", "type": "subscribe", "payload": { "query": STREAM, "variables": { "t": "three" } } });
    socket.send(ask.clone()).await;
    let refused = socket.json().await;
    assert_eq!(refused["type"], "error", "{refused}");
    assert_eq!(refused["payload"][0]["extensions"]["code"], "LIMIT", "{refused}");
    assert_eq!(refused["payload"][0]["extensions"]["now"], json!({ "limit": bound }));
    let mut other = desk.follow_as("reader", STREAM, json!({ "t": "four" })).await;
    other.items_until("Live").await;
    drop(streams);
    // As soon as the desk has noticed that the clients have gone.
    loop {
        socket.send(ask.clone()).await;
        match socket.json().await {
            message if message["type"] == "next" => break,
            message => assert_eq!(message["payload"][0]["extensions"]["code"], "LIMIT", "{message}"),
        }
    }
}

async fn a_text_reaches_its_stream_wherever_it_stands(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let words = ["x", "Zürich", "the end", "10.0.0.77", "a rather long text to look for, of more than forty bytes"];
    let mut streams = Vec::new();
    for word in words {
        let mut stream = desk.follow(STREAM, json!({ "t": word })).await;
        stream.items_until("Live").await;
        streams.push(stream);
    }
    let long = "lorem ipsum, ".repeat(300);
    for word in words {
        for title in [word.to_owned(), format!("{word} at first"), format!("at last {word}"), format!("{long}{word}")] {
            let made = desk.create(json!({ "title": title })).await;
            desk.act("describeIncident", json!({ "incidentId": made["id"], "description": "elsewhere" })).await;
        }
        let made = desk.create(json!({ "title": "T", "description": format!("{long}{word}") })).await;
        desk.act("renameIncident", json!({ "incidentId": made["id"], "title": "U" })).await;
    }
    for (stream, word) in streams.iter_mut().zip(words) {
        let last = format!("last of all: {word}");
        desk.create(json!({ "title": last })).await;
        let mut items = 0;
        while stream.change().await["row"]["title"] != last.as_str() {
            items += 1;
        }
        // One letter occurs in other texts as well.
        assert!(items == 10 || word == "x" && items > 10, "{word}: {items}");
    }
}

async fn a_request_searches_the_database_so_often_and_no_more(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.incident("one").await;
    let counts = |count: usize| format!("{{ {} }}", aliases(count, "incidents { totalCount }"));
    desk.data(&counts(30), json!({})).await;
    let facets = "incidents { totalCount facets { status { count } severity { count } owner { count } tags { count }
        product { count } } }";
    desk.data(&format!("{{ {} }}", aliases(8, facets)), json!({})).await;
    let refusal = desk.refused(&format!("{{ {} }}", aliases(9, facets)), json!({})).await;
    assert_eq!((refusal.code.as_str(), refusal.now), ("LIMIT", json!({ "limit": 100 })));
    assert!(refusal.message.contains("at most 100 searches"), "{}", refusal.message);
    let query = "query($f: IncidentFilterInput) { a: incidents(filter: $f) { totalCount } }";
    let texts = |count: usize| (0..count).map(|n| json!({ "text": format!("one{n}") })).collect::<Vec<_>>();
    desk.data(query, json!({ "f": { "or": texts(20) } })).await;
    let refusal = desk.refused(query, json!({ "f": { "or": texts(21) } })).await;
    assert_eq!((refusal.code.as_str(), refusal.now), ("LIMIT", json!({ "limit": 20 })));
    assert!(refusal.message.contains("this one for 21"), "{}", refusal.message);
    let twice = "query($f: IncidentFilterInput) { a: incidents(filter: $f) { totalCount } b: queueSummary(filter: $f) { open } }";
    assert_eq!(desk.refused(twice, json!({ "f": { "or": texts(11) } })).await.code, "LIMIT", "each alias by itself");
}

/// Returns a field `count` times, each time under another alias.
fn aliases(count: usize, field: &str) -> String {
    (0..count).map(|n| format!("a{n}: {field} ")).collect()
}

async fn orders_without_an_index_and_entities_cost_searches(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.incident("one").await;
    let ordered = |count: usize, keys: &str| {
        let field = format!("incidents(orderBy: [{keys}]) {{ totalCount facets {{ status {{ count }} }} }}");
        format!("{{ {} }}", aliases(count, &field))
    };
    // A page, a count and a facet are four searches, or five if the page has to be sorted.
    let of_the_open = "{ field: SEVERITY }, { field: UPDATED_AT }";
    for keys in ["{ field: SEVERITY }", "{ field: NUMBER }, { field: TITLE }", of_the_open] {
        desk.data(&ordered(25, keys), json!({})).await;
    }
    let keys = "{ field: SEVERITY }, { field: TITLE }";
    desk.data(&ordered(20, keys), json!({})).await;
    let refusal = desk.refused(&ordered(21, keys), json!({})).await;
    assert_eq!((refusal.code.as_str(), refusal.now), ("LIMIT", json!({ "limit": 100 })), "{}", refusal.message);

    let entities = |count: usize| (0..count).map(|n| json!({ "value": format!("10.0.0.{n}") })).collect::<Vec<_>>();
    for (root, input, filter) in [
        ("incidents", "IncidentFilterInput", json!({ "not": { "entity": entities(26) } })),
        ("alerts", "AlertFilterInput", json!({ "entity": entities(26) })),
    ] {
        let query = |count: usize| {
            let field = format!("{root}(filter: $f) {{ totalCount }}");
            format!("query($f: {input}!) {{ {} }}", aliases(count, &field))
        };
        // A page and a count, each with two blocks of 25 entities, the second only begun.
        desk.data(&query(16), json!({ "f": filter })).await;
        let refusal = desk.refused(&query(17), json!({ "f": filter })).await;
        assert_eq!((refusal.code.as_str(), refusal.now), ("LIMIT", json!({ "limit": 100 })), "{}", refusal.message);
    }
    desk.data(&format!("{{ {} }}", aliases(30, "alerts { totalCount }")), json!({})).await;
}

async fn a_filter_counts_wherever_a_request_takes_it_from(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    desk.incident("one").await;
    let texts =
        |count: usize| json!({ "or": (0..count).map(|n| json!({ "text": format!("one{n}") })).collect::<Vec<_>>() });
    let view = desk.act("createView", json!({ "name": "mine", "filter": texts(11) })).await["view"]["id"].take();
    let view = view.as_str().expect("an id");
    let seen = "view(by: { slug: \"mine\" }) { unreadCount incidents { totalCount } }";
    let refused =
        |refusal: crate::support::desk::Refusal| (refusal.code, refusal.path.unwrap_or_default(), refusal.now);
    let limit = |path: &str| ("LIMIT".to_owned(), path.to_owned(), json!({ "limit": 20 }));
    desk.data(&format!("{{ {seen} }}"), json!({})).await;
    let twice = format!("{{ {} }}", aliases(2, seen));
    assert_eq!(refused(desk.refused(&twice, json!({})).await), limit("filter"));
    let beside = format!("query($f: IncidentFilterInput) {{ {seen} incidents(filter: $f) {{ totalCount }} }}");
    desk.data(&beside, json!({ "f": texts(9) })).await;
    assert_eq!(refused(desk.refused(&beside, json!({ "f": texts(10) })).await), limit("filter"));

    // Mutations too, although each answer is read separately.
    let visit = format!("visitView(input: {{ viewId: \"{view}\" }}) {{ view {{ incidents {{ totalCount }} }} }}");
    desk.data(&format!("mutation {{ {visit} }}"), json!({})).await;
    assert_eq!(
        refused(desk.refused(&format!("mutation {{ {} }}", aliases(2, &visit)), json!({})).await),
        limit("filter")
    );
    let job =
        "bulkUpdateIncidents(input: { target: { filter: $f }, edit: { severity: HIGH }, dryRun: true }) { total }";
    let jobs = |count: usize| format!("mutation($f: IncidentFilterInput!) {{ {} }}", aliases(count, job));
    desk.data(&jobs(1), json!({ "f": texts(20) })).await;
    assert_eq!(refused(desk.refused(&jobs(1), json!({ "f": texts(21) })).await), limit("input.target.filter"));
    assert_eq!(refused(desk.refused(&jobs(2), json!({ "f": texts(11) })).await), limit("input.target.filter"));
    let stream = "subscription($f: IncidentFilterInput!) { incidentQueue(filter: $f) { __typename } }";
    let mut socket = Socket::ready(&format!("{}/graphql", desk.url.replace("http", "ws"))).await;
    let payload = json!({ "query": stream, "variables": { "f": texts(21) } });
    socket.send(json!({ "id": "1", "type": "subscribe", "payload": payload })).await;
    assert_eq!(socket.json().await["payload"][0]["extensions"]["code"], "LIMIT");

    let views =
        format!("{{ {} }}", aliases(30, "view(by: { slug: \"all\" }) { unreadCount incidents { totalCount } }"));
    desk.act("createView", json!({ "name": "all" })).await;
    desk.data(&views, json!({})).await;
    let views = views.replace("totalCount", "totalCount facets { status { count } }");
    assert_eq!(desk.refused(&views, json!({})).await.now, json!({ "limit": 100 }));
}

/// Returns more values than a request may hold.
fn many() -> Value {
    json!({ "query": "{ version }", "variables": { "v": vec![json!({}); 20_001] } })
}

#[tokio::test]
async fn the_same_bounds_hold_on_every_transport() {
    let server = Server::start().await;
    server.ask(many()).await.refused(400, "LIMIT");
    let deep = format!("{{\"v\":{}{}}}", "[".repeat(70), "]".repeat(70));
    server.get(&[("query", "{ version }"), ("variables", &deep)]).await.refused(400, "LIMIT");
    for (subprotocol, start) in [("graphql-transport-ws", "subscribe"), ("graphql-ws", "start")] {
        let headers = [("sec-websocket-protocol", subprotocol)];
        let (mut socket, _) = Socket::open_with(&server.ws, &headers).await.expect("the upgrade");
        socket.init(json!({})).await;
        socket.send(json!({ "type": start, "id": "large", "payload": many() })).await;
        let error = loop {
            let message = socket.json().await;
            if message["type"] == "error" {
                break message;
            }
        };
        assert_eq!(error["id"], "large");
        let payload = error["payload"].get(0).unwrap_or(&error["payload"]);
        assert_eq!(payload["extensions"]["code"], "LIMIT", "{error}");
        socket.send(json!({ "type": start, "id": "small", "payload": { "query": "{ version }" } })).await;
        assert_eq!(socket.json().await["id"], "small", "the socket stays");
    }
    let mut socket = Socket::open(&server.ws).await;
    socket.send(json!({ "type": "connection_init", "payload": { "v": vec![0; 2_000] } })).await;
    assert!(matches!(socket.end().await, Frame::Closed(4400, _)));
}
