//! Sockets with slow, silent or leaving peers: the conditions that end them, and the conditions that do not.

use std::time::Duration;

use serde_json::json;

use crate::support::little::{Server, narrow};
use crate::support::socket::{Frame, Socket};
use crate::support::waiting::a_moment;

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_1013() {
    let server = Server::with(|settings| {
        settings.socket.write_deadline = Duration::from_millis(100);
        settings.socket.close_wait = Duration::from_secs(20);
    })
    .await;
    let mut socket = narrow(&server).await;
    socket.subscribe("1", "subscription { endless(bytes: 100000) }").await;
    server.control.stream_dropped().await;
    let Frame::Closed(1013, reason) = socket.end().await else { panic!("another end") };
    assert_eq!(reason, "the client does not read fast enough");
}

#[tokio::test]
async fn what_waits_longer_than_its_age_closes_1013_though_the_client_reads_again() {
    const AGE: Duration = Duration::from_millis(50);
    let server = Server::with(|settings| settings.socket.outbox_age = AGE).await;
    let mut socket = narrow(&server).await;
    socket.subscribe("1", "subscription { endless(bytes: 100000) }").await;
    // Ten of these fill the outbox, and the connection's buffers hold some more.
    let mut made = server.control.made.subscribe();
    made.wait_for(|made| *made >= 11).await.expect("it makes them");
    while tokio::time::timeout(AGE * 2, made.changed()).await.is_ok() {}
    // Nothing was made for the maximum age, so the outbox's messages are older. The stream itself has no end.
    let end = tokio::time::timeout(Duration::from_secs(10), socket.end()).await.expect("an end");
    assert_eq!(end, Frame::Closed(1013, "the client does not read fast enough".into()));
    server.control.stream_dropped().await;
}

#[tokio::test]
async fn what_a_slow_client_has_not_read_waits_and_none_of_it_is_dropped() {
    let server = Server::with(|settings| {
        settings.socket.outbox_messages = 4;
        settings.socket.outbox_bytes = 100_000;
    })
    .await;
    let mut socket = narrow(&server).await;
    // Far more than connection and outbox hold together.
    socket.subscribe("1", "subscription { numbered(n: 500, bytes: 50000) }").await;
    let mut made = server.control.made.subscribe();
    made.wait_for(|made| *made >= 10).await.expect("it makes them");
    while tokio::time::timeout(Duration::from_millis(100), made.changed()).await.is_ok() {}
    assert!(*made.borrow() < 500, "the outbox is full, and the stream waits");
    for n in 0..500 {
        let item = socket.json().await["payload"]["data"]["numbered"].take();
        assert_eq!(item.as_str().expect("a text").trim_end_matches('x'), n.to_string());
    }
    assert_eq!(socket.json().await["type"], "complete");
}

#[tokio::test]
async fn a_client_that_never_reads_again_is_cut() {
    let server = Server::with(|settings| {
        settings.socket.write_deadline = Duration::from_millis(50);
        settings.socket.close_wait = Duration::from_millis(50);
    })
    .await;
    let mut socket = narrow(&server).await;
    socket.subscribe("1", "subscription { endless(bytes: 100000) }").await;
    server.control.stream_dropped().await;
    // The server drops its last receiver when the socket is closed and the listener is gone.
    server.task.abort();
    tokio::time::timeout(Duration::from_secs(10), server.stop.closed()).await.expect("the socket is closed");
    drop(socket);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_still_read() {
    let server = Server::start().await;
    let mut socket = narrow(&server).await;
    socket.subscribe("1", "subscription { endless(bytes: 200000) }").await;
    server.control.made.subscribe().wait_for(|made| *made >= 10).await.expect("it makes them");
    socket.subscribe("2", "subscription { counter }").await;
    while server.control.steps.receiver_count() == 0 {
        a_moment().await;
    }
    for id in ["1", "2"] {
        socket.complete(id).await;
        server.control.stream_dropped().await;
    }
}

#[tokio::test]
async fn a_slow_client_delays_nobody_else() {
    let server = Server::start().await;
    let mut slow = narrow(&server).await;
    slow.subscribe("1", "subscription { endless(bytes: 100000) }").await;
    let mut quick = Socket::ready(&server.ws).await;
    quick.subscribe("1", "subscription { upTo(n: 1000) }").await;
    for _ in 0..1_000 {
        assert_eq!(quick.json().await["type"], "next");
    }
}

#[tokio::test]
async fn a_client_that_asks_and_does_not_read_is_closed_1013() {
    let server = Server::with(|settings| settings.socket.close_wait = Duration::from_secs(20)).await;
    let mut socket = narrow(&server).await;
    socket.subscribe("1", "subscription { counter }").await;
    let payload = json!({ "x": "x".repeat(100_000) });
    for _ in 0..200 {
        socket.send(json!({ "type": "ping", "payload": payload })).await;
    }
    server.control.stream_dropped().await;
    let Frame::Closed(1013, reason) = socket.end().await else { panic!("another end") };
    assert_eq!(reason, "the client asks and does not read");
}

#[tokio::test]
async fn a_message_larger_than_the_outbox_travels_alone() {
    let server = Server::with(|settings| settings.socket.outbox_bytes = 1_000).await;
    let mut socket = Socket::ready(&server.ws).await;
    socket.subscribe("1", "subscription { endless(bytes: 50000) }").await;
    for _ in 0..20 {
        assert_eq!(socket.json().await["type"], "next");
    }
}

#[tokio::test]
async fn the_server_pings_and_a_client_that_answers_stays() {
    let server = Server::with(|settings| settings.socket.ping_every = Duration::from_millis(40)).await;
    let mut socket = Socket::ready(&server.ws).await;
    for _ in 0..6 {
        assert_eq!(socket.any_frame().await, Frame::Ping);
    }
    socket.subscribe("1", "{ version }").await;
    assert_eq!(socket.json().await["type"], "next");
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_closed_after_two() {
    let server = Server::with(|settings| {
        settings.socket.ping_every = Duration::from_millis(40);
        settings.socket.close_wait = Duration::from_secs(20);
    })
    .await;
    let mut socket = Socket::ready(&server.ws).await;
    socket.subscribe("1", "subscription { counter }").await;
    assert_eq!(socket.json().await["type"], "next");
    // The client answers pings only when it reads, and it does not read.
    server.control.stream_dropped().await;
    let mut pings = 0;
    let end = loop {
        match socket.any_frame().await {
            Frame::Ping => pings += 1,
            end => break end,
        }
    };
    assert_eq!(end, Frame::Closed(1013, "no answer to pings".into()));
    assert!(pings >= 2, "{pings} pings");
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_streams() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server.ws).await;
    for id in ["1", "2"] {
        socket.subscribe(id, "subscription { counter }").await;
        assert_eq!(socket.json().await["type"], "next");
    }
    drop(socket);
    server.control.stream_dropped().await;
    server.control.stream_dropped().await;
}

#[tokio::test]
async fn a_shutdown_closes_1012_and_can_be_waited_for() {
    let server = Server::start().await;
    let mut acknowledged = Socket::ready(&server.ws).await;
    acknowledged.subscribe("1", "subscription { counter }").await;
    assert_eq!(acknowledged.json().await["type"], "next");
    let mut fresh = Socket::open(&server.ws).await;
    server.stop.send_replace(true);
    for socket in [&mut acknowledged, &mut fresh] {
        assert!(matches!(socket.end().await, Frame::Closed(1012, _)));
    }
    server.control.stream_dropped().await;
    drop((acknowledged, fresh));
    server.task.abort();
    tokio::time::timeout(Duration::from_secs(10), server.stop.closed()).await.expect("no socket is left");
}

#[tokio::test]
async fn many_answers_at_once_reach_a_client_that_reads() {
    let server = Server::with(|settings| settings.socket.subscriptions = 1).await;
    let mut socket = Socket::ready(&server.ws).await;
    socket.subscribe("0", "subscription { counter }").await;
    assert_eq!(socket.json().await["type"], "next");
    // All at once, as a page does that reconnects with all of its subscriptions.
    socket
        .send_together((1..=300).map(|id| {
            json!({ "id": id.to_string(), "type": "subscribe", "payload": { "query": "subscription { counter }" } })
        }))
        .await;
    for id in 1..=300 {
        let refusal = socket.json().await;
        assert_eq!((&refusal["type"], &refusal["id"]), (&json!("error"), &json!(id.to_string())));
    }
}

#[tokio::test]
async fn a_client_is_read_however_much_there_is_to_write() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server.ws).await;
    for id in ["1", "2", "3", "4"] {
        socket.subscribe(id, "subscription { upTo(n: 1000000000) }").await;
    }
    for _ in 0..1_000 {
        assert_eq!(socket.json().await["type"], "next");
    }
    socket.send(json!({ "type": "ping" })).await;
    // More than the outbox and the connection hold.
    let mut before = 0;
    while socket.json().await["type"] == "next" {
        before += 1;
        assert!(before < 100_000, "the ping is not read");
    }
}
