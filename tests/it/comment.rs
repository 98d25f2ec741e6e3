//! Comments, through the public API.

use serde_json::{Value, json};

use crate::support::database::{TestDatabase, each_database};
use crate::support::desk::TestDesk;
use crate::support::triage::{each, laid_over};

each_database!(
    a_comment_is_edited_by_its_author_and_deleted_by_a_manager_too,
    a_comment_is_markdown_in_and_safe_html_out,
    what_is_pasted_into_a_comment_is_shown,
    comments_are_paged_both_ways,
);

const COMMENTS: &str =
    "query($id: ID!, $first: Int, $after: String, $last: Int, $before: String) { incident(by: { id: $id }) {
    commentCount comments(first: $first, after: $after, last: $last, before: $before) {
        totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor } nodes { id body } } } }";

async fn a_comment_is_edited_by_its_author_and_deleted_by_a_manager_too(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    for (account, role) in [("ana", "RESPONDER"), ("ben", "RESPONDER"), ("rea", "READER")] {
        desk.user(account, role).await;
    }
    let (ana, ben) = (Some("ana"), Some("ben"));
    let incident = desk.incident("Talked about").await;
    let write = |body: &str| json!({ "incidentId": incident, "body": body });
    let first = desk.act_as(ana, "addComment", write("  one\n")).await;
    assert_eq!((&first["comment"]["body"], &first["comment"]["author"]["account"]), (&json!("  one\n"), &json!("ana")));
    assert_eq!((&first["incident"]["commentCount"], &first["incident"]["version"]), (&json!(1), &json!(2)));
    let id = first["comment"]["id"].clone();
    let second = desk.act_as(ben, "addComment", write("two")).await["comment"]["id"].clone();

    let edit = json!({ "commentId": id, "body": "one, corrected" });
    for account in [ben, Some("rea"), None] {
        assert_eq!(desk.deny_as(account, "editComment", edit.clone()).await.code, "FORBIDDEN", "only its author edits");
    }
    assert_eq!(desk.deny_as(ben, "deleteComment", json!({ "commentId": id })).await.code, "FORBIDDEN");
    desk.clock.advance(chrono::Duration::minutes(2));
    let edited = desk.act_as(ana, "editComment", edit.clone()).await;
    assert_eq!(
        (&edited["comment"]["body"], &edited["comment"]["editedAt"]),
        (&json!("one, corrected"), &json!("2026-11-23T08:02:00+00:00"))
    );
    assert_eq!(desk.act_as(ana, "editComment", edit.clone()).await["changed"], false);
    assert_eq!(
        edited["comment"]["history"]["nodes"],
        json!([
            { "version": 2, "body": "  one\n", "by": { "account": "ana" } },
            { "version": 4, "body": "one, corrected", "by": { "account": "ana" } },
        ])
    );
    let gone = desk.act("deleteComment", json!({ "commentId": id })).await;
    assert_eq!((&gone["comment"]["body"], &gone["incident"]["commentCount"]), (&json!(""), &json!(1)));
    assert_eq!(gone["comment"]["history"]["nodes"].as_array().expect("a history").len(), 2, "its history stays");
    for name in ["editComment", "deleteComment"] {
        let input = if name == "editComment" { edit.clone() } else { json!({ "commentId": id }) };
        assert_eq!(desk.deny_as(ana, name, input).await.code, "NOT_FOUND", "once is enough");
    }
    assert_eq!(desk.refused("query($id: ID!) { node(id: $id) { id } }", json!({ "id": id })).await.code, "NOT_FOUND");
    let left = desk.data(COMMENTS, json!({ "id": incident })).await["incident"].take();
    assert_eq!((&left["commentCount"], &left["comments"]["totalCount"]), (&json!(1), &json!(1)));
    assert_eq!(each(&left["comments"]["nodes"], "id"), [&second]);
    let actions: Vec<Value> =
        desk.log(&incident).await[1..].iter().map(|change| change["entries"][0]["action"].clone()).collect();
    assert_eq!(actions, ["ADDED", "ADDED", "EDITED", "DELETED"]);
    desk.act_as(ben, "deleteComment", json!({ "commentId": second })).await;
    let more = desk.update(&incident, json!({ "comment": "beside a tag", "addTags": ["talk"] })).await;
    assert_eq!((&more["incident"]["commentCount"], &more["comment"]["body"]), (&json!(1), &json!("beside a tag")));
}

async fn a_comment_is_markdown_in_and_safe_html_out(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let incident = desk.incident("Evil").await;
    let evil = "**bold** <script>alert(1)</script> [x](javascript:alert(1)) <img src=x onerror=alert(1)>\n\n| a |\n|-|\n| b |\n\n\
        ![shot](https://files.example/a.png) [a](vbscript:x) [b]( JAVASCRIPT&colon;alert(1)) <a href='java\nscript:x'>y</a> \
        <svg><style><!--</style><a title='--><img src onerror=alert(1)>'></svg>";
    let written = desk.act("addComment", json!({ "incidentId": incident, "body": evil })).await;
    assert_eq!(written["comment"]["body"], evil);
    let html = written["comment"]["html"].as_str().expect("html").to_lowercase();
    for kept in [
        "<strong>bold</strong>",
        "<table>",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "x (javascript:alert(1))",
        "&lt;img src=x onerror=alert(1)&gt;",
        "&lt;svg&gt;&lt;style&gt;&lt;!--&lt;/style&gt;",
        "image not loaded: shot \u{2197} files.example</a>",
    ] {
        assert!(html.contains(kept), "{kept} in {html}");
    }
    for sign in ["<script", "<img", "=\"javascript", "=\"vbscript", "<svg", "<style"] {
        assert!(!html.contains(sign), "{sign} in {html}");
    }
}

async fn what_is_pasted_into_a_comment_is_shown(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let incident = desk.incident("Pasted").await;
    for (body, html) in [
        ("SELECT * FROM a WHERE b<c AND d>e", "<p>SELECT * FROM a WHERE b&lt;c AND d&gt;e</p>\n"),
        ("from=<root@corp.example>, to=<EVIL>", "<p>from=&lt;root@corp.example&gt;, to=&lt;EVIL&gt;</p>\n"),
        ("[4711]: denied", "<pre>[4711]:&#32;denied</pre>"),
    ] {
        let written = desk.act("addComment", json!({ "incidentId": incident, "body": body })).await;
        let shown = written["comment"]["html"].as_str().expect("HTML");
        let without_links = shown.replace("<a href=\"mailto:root@corp.example\" title=\"mailto:root@corp.example\" class=\"external\" rel=\"noopener noreferrer nofollow\">", "");
        assert_eq!(without_links.replace("</a>", ""), html, "{body} became {shown}");
    }
    let xml = "<Event>\n  <System>\n    <EventID>4624</EventID>\n  </System>\n\n  <EventData Name='x'/>\n</Event>";
    let written = desk.act("addComment", json!({ "incidentId": incident, "body": xml })).await;
    let shown = written["comment"]["html"].as_str().expect("HTML");
    for piece in
        ["&lt;Event&gt;", "&lt;EventID&gt;4624&lt;/EventID&gt;", "&lt;EventData Name='x'/&gt;", "&lt;/Event&gt;"]
    {
        assert!(shown.contains(piece), "{piece} in {shown}");
    }
}

async fn comments_are_paged_both_ways(database: TestDatabase) {
    let desk = TestDesk::open(&database).await;
    let incident = desk.incident("Long talk").await;
    for n in 0..7 {
        desk.act("addComment", json!({ "incidentId": incident, "body": n.to_string() })).await;
        desk.act("addTags", json!({ "incidentId": incident, "tags": [format!("between {n}")] })).await;
    }
    for (end, cursor, ahead, mark) in
        [("first", "after", "hasNextPage", "endCursor"), ("last", "before", "hasPreviousPage", "startCursor")]
    {
        let (mut read, mut place) = (Vec::new(), Value::Null);
        loop {
            let arguments = laid_over(json!({ "id": incident, end: 3 }), json!({ cursor: place }));
            let page = desk.data(COMMENTS, arguments).await["incident"]["comments"].take();
            assert_eq!(page["totalCount"], 7);
            let bodies: Vec<String> =
                each(&page["nodes"], "body").iter().map(|b| b.as_str().expect("text").to_owned()).collect();
            read = if end == "first" { [read, bodies].concat() } else { [bodies, read].concat() };
            place = page["pageInfo"][mark].clone();
            if page["pageInfo"][ahead] == false {
                break;
            }
        }
        assert_eq!(read, ["0", "1", "2", "3", "4", "5", "6"], "{end}");
    }
    for (arguments, code) in [
        (json!({ "first": 101 }), "LIMIT"),
        (json!({ "first": -1 }), "INVALID"),
        (json!({ "after": "x" }), "INVALID"),
        (json!({ "first": 1, "last": 1 }), "INVALID"),
    ] {
        assert_eq!(desk.refused(COMMENTS, laid_over(json!({ "id": incident }), arguments)).await.code, code);
    }
}
