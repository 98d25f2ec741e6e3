//! Connections at the real listener: connections that time out, connections that are closed to make room, and the room
//! that health always has.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use watchfloor::server::edge::connections::network;

use crate::support::database::{TestDatabase, each_database};
use crate::support::little::{Server, query};
use crate::support::process::Process;
use crate::support::socket::{Frame, Socket};
use crate::support::waiting::PATIENCE;

each_database!(half_requests_take_no_room_from_others, health_has_room_where_sockets_take_all);

const HEAD: Duration = Duration::from_millis(400);
const IDLE: Duration = Duration::from_millis(1_600);

/// Starts a server with short timeouts, whose streams and sockets send no heartbeats.
async fn hasty() -> Server {
    Server::with(|settings| {
        settings.connections.head_wait = HEAD;
        settings.connections.idle_wait = IDLE;
        settings.socket.ping_every = Duration::from_secs(600);
        settings.streams.keep_alive = Duration::from_secs(600);
    })
    .await
}

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.address()).await.expect("a connection")
}

/// Reads to the end; returns how long that took, and the bytes.
async fn closed(stream: &mut TcpStream) -> (Duration, Vec<u8>) {
    let (start, mut read) = (Instant::now(), Vec::new());
    let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut read)).await;
    end.expect("the connection is closed").ok();
    (start.elapsed(), read)
}

/// Sends a request and reads the answer.
async fn answered(stream: &mut TcpStream, server: &Server) {
    let request = format!("GET /graphql?query={{version}} HTTP/1.1\r\nHost: {}\r\n\r\n", server.address());
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut read = Vec::new();
    while !read.ends_with(b"{\"version\":1}}") {
        let bytes = tokio::time::timeout(PATIENCE, stream.read_buf(&mut read)).await.expect("in time");
        assert_ne!(bytes.expect("an answer"), 0, "closed: {}", String::from_utf8_lossy(&read));
    }
}

#[tokio::test]
async fn a_head_that_never_ends_closes_its_connection() {
    let server = hasty().await;
    for sent in ["", "G", "GET /graphql HTTP/1.1\r\nHost: localhost\r\nX: "] {
        let mut stream = connect(&server).await;
        stream.write_all(sent.as_bytes()).await.expect("written");
        let (took, read) = closed(&mut stream).await;
        assert!(took >= HEAD / 2 && took < IDLE, "{sent:?}: {took:?}");
        assert_eq!(read, b"");
    }
    // A head that comes byte by byte has no more time.
    let (mut reading, mut writing) = connect(&server).await.into_split();
    let dribble = async {
        let mut head = "GET /graphql HTTP/1.1\r\nX: ".bytes().chain(std::iter::repeat(b'x'));
        while writing.write_all(&[head.next().expect("another")]).await.is_ok() {
            tokio::time::sleep(HEAD / 8).await;
        }
    };
    let end = async {
        let start = Instant::now();
        reading.read_to_end(&mut Vec::new()).await.ok();
        start.elapsed()
    };
    tokio::select! {
        () = dribble => {}
        took = end => assert!(took < IDLE, "{took:?}"),
        () = tokio::time::sleep(PATIENCE) => panic!("who dribbles goes on"),
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_later_than_a_half_request() {
    let server = hasty().await;
    let mut stream = connect(&server).await;
    for _ in 0..2 {
        answered(&mut stream, &server).await;
    }
    let (took, read) = closed(&mut stream).await;
    assert!(took >= IDLE * 3 / 4 && read.is_empty(), "{took:?}");
    // The next head has a timeout of its own, which is shorter.
    let mut stream = connect(&server).await;
    answered(&mut stream, &server).await;
    stream.write_all(b"GET /graphql HT").await.expect("written");
    let (took, _) = closed(&mut stream).await;
    assert!(took < IDLE, "{took:?}");
}

#[tokio::test]
async fn http_2_has_the_same_ends() {
    let server = hasty().await;
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    let mut stream = connect(&server).await;
    stream.write_all(&preface).await.expect("written");
    let (took, _) = closed(&mut stream).await;
    assert!(took >= HEAD / 2 && took < IDLE, "{took:?}");
    // HEADERS of stream 1, complete: GET, http, /, and the host.
    let host = server.address().as_bytes();
    let block = [&[0x82, 0x86, 0x84, 0x41, host.len() as u8], host].concat();
    let headers = [&[0, 0, block.len() as u8, 1, 5, 0, 0, 0, 1], block.as_slice()].concat();
    let mut stream = connect(&server).await;
    stream.write_all(&[preface.as_slice(), &headers].concat()).await.expect("written");
    let (took, read) = closed(&mut stream).await;
    assert!(took >= IDLE * 3 / 4, "{took:?}");
    assert!(
        read.windows(5).any(|frame| frame[0] == 1 && frame[1] & 4 == 4 && frame[2..] == [0, 0, 0]),
        "headers came back"
    );
}

/// Returns the frame that requests a path on an HTTP/2 stream, with a complete head.
fn asks(server: &Server, stream: u8, path: &str) -> Vec<u8> {
    let host = server.address().as_bytes();
    let block = [&[0x82, 0x86, 0x44, path.len() as u8], path.as_bytes(), &[0x41, host.len() as u8], host].concat();
    [&[0, 0, block.len() as u8, 1, 5, 0, 0, 0, stream], block.as_slice()].concat()
}

#[tokio::test]
async fn a_later_head_of_http_2_has_its_time_as_well() {
    let server = hasty().await;
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    let mut stream = connect(&server).await;
    // A request is in flight, so the connection is not idle.
    let request = asks(&server, 1, "/graphql?query={never}");
    stream.write_all(&[preface.as_slice(), &request].concat()).await.expect("written");
    let mut read = Vec::new();
    let still = tokio::time::timeout(IDLE * 2, async { while stream.read_buf(&mut read).await.expect("open") > 0 {} });
    assert!(still.await.is_err(), "what is in flight is not cut");
    // HEADERS of the next stream without END_HEADERS, and one CONTINUATION frame after the other, a byte at a time. The
    // library closes a connection after several whole CONTINUATION frames. Here no CONTINUATION frame is whole before
    // `IDLE` has passed.
    let (mut reading, mut writing) = stream.into_split();
    let dribble = async {
        let mut head = vec![0, 0, 3, 1, 1, 0, 0, 0, 3, 0x82, 0x86, 0x84];
        let mut more = std::iter::repeat([0, 0, 0, 9, 0, 0, 0, 0, 3]).flatten();
        while writing.write_all(&head).await.is_ok() {
            head = vec![more.next().expect("another")];
            tokio::time::sleep(HEAD / 2).await;
        }
    };
    let start = Instant::now();
    tokio::select! {
        () = dribble => {}
        _ = reading.read_to_end(&mut read) => {}
        () = tokio::time::sleep(PATIENCE) => panic!("who dribbles goes on"),
    }
    assert!(start.elapsed() >= HEAD / 2 && start.elapsed() < IDLE, "{:?}", start.elapsed());
}

/// The library answers these by itself, before any route has a request.
#[tokio::test]
async fn what_is_no_request_is_answered_as_guarded_as_all_else() {
    let server = hasty().await;
    let many: String = (0..200).map(|n| format!("X-{n}: y\r\n")).collect();
    for (sent, status) in [
        ("this is no request\r\n\r\n".to_owned(), "400"),
        ("GET /graphql HTTP/1.1\r\nHost: a\r\nContent-Length: many\r\n\r\n".to_owned(), "400"),
        (format!("GET /graphql HTTP/1.1\r\nHost: a\r\n{many}\r\n"), "431"),
    ] {
        for after_another in [false, true] {
            let mut stream = connect(&server).await;
            if after_another {
                answered(&mut stream, &server).await;
            }
            stream.write_all(sent.as_bytes()).await.expect("written");
            let (_, read) = closed(&mut stream).await;
            let answer = String::from_utf8(read).expect("UTF-8").to_lowercase();
            assert!(answer.starts_with(&format!("http/1.1 {status} ")), "{sent:?}: {answer}");
            for header in [
                "x-content-type-options: nosniff",
                "cross-origin-resource-policy: same-origin",
                "content-security-policy: default-src 'none'; frame-ancestors 'none'",
                "referrer-policy: same-origin",
                "cache-control: no-store",
            ] {
                assert!(answer.contains(&format!("\r\n{header}\r\n")), "{sent:?}: {answer}");
            }
            assert!(answer.ends_with("\r\n\r\n") && answer.matches("\r\n\r\n").count() == 1, "{answer}");
        }
    }
}

#[tokio::test]
async fn what_is_in_flight_is_never_idle() {
    let server = hasty().await;
    let mut stream = connect(&server).await;
    let request = format!("GET /graphql?query={{never}} HTTP/1.1\r\nHost: {}\r\n\r\n", server.address());
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut socket = Socket::open(&server.ws).await;
    socket.init(json!({})).await;
    let mut byte = [0];
    tokio::select! {
        end = stream.read(&mut byte) => panic!("a request was cut: {end:?}"),
        frame = socket.any_frame() => panic!("a socket was cut: {frame:?}"),
        () = tokio::time::sleep(IDLE * 2) => {}
    }
    socket.subscribe("1", "{ version }").await;
    assert_eq!(socket.json().await["payload"]["data"]["version"], 1);
}

#[tokio::test]
async fn an_address_has_its_share_of_connections() {
    let bounded = |proxies: &'static [&'static str]| {
        Server::with(move |settings| {
            settings.connections.per_address = 2;
            settings.connections.trusted_proxies = proxies.iter().map(|it| network(it).expect("a network")).collect();
        })
    };
    let asked = async |server: &Server, from: &str| {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(format!("{from}:0").parse().expect("an address")).expect("bound");
        let mut stream = socket.connect(server.address().parse().expect("an address")).await.expect("a connection");
        let request = format!(
            "GET /graphql?query={{version}} HTTP/1.1\r\nConnection: close\r\nHost: {}\r\n\r\n",
            server.address()
        );
        stream.write_all(request.as_bytes()).await.expect("written");
        String::from_utf8(closed(&mut stream).await.1).expect("a text")
    };
    let server = bounded(&[]).await;
    let sockets = [Socket::open(&server.ws).await, Socket::open(&server.ws).await];
    let answer = asked(&server, "127.0.0.1").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("UNAVAILABLE"), "{answer}");
    assert!(answer.contains("\r\nx-content-type-options: nosniff\r\n"), "{answer}");
    assert!(answer.contains("\r\nretry-after: 1\r\n") && answer.contains("\"retryAfter\":1"), "{answer}");
    assert!(asked(&server, "127.0.0.2").await.starts_with("HTTP/1.1 200 "), "another address has its own");
    drop(sockets);
    let trusting = bounded(&["127.0.0.0/8"]).await;
    let _sockets = [Socket::open(&trusting.ws).await, Socket::open(&trusting.ws).await];
    assert!(asked(&trusting, "127.0.0.1").await.starts_with("HTTP/1.1 200 "), "a proxy speaks for many");
}

#[tokio::test]
async fn one_too_many_closes_the_one_that_was_idle_for_longest() {
    let server = Server::with(|settings| settings.connections.connections = 2).await;
    let (mut idle, mut half) = (connect(&server).await, connect(&server).await);
    answered(&mut idle, &server).await;
    half.write_all(b"GET /").await.expect("written");
    assert_eq!(server.ask(query("{ version }")).await.status, 200);
    closed(&mut half).await;
    answered(&mut idle, &server).await;
}

/// The limit of open files, as under `ulimit -n`.
const FILES: u32 = 160;

async fn health(process: &Process) -> u16 {
    let client = reqwest::Client::builder().timeout(PATIENCE).build().expect("a client");
    let answer = client.get(format!("http://{}/healthz", process.address)).send().await;
    answer.expect("an answer").status().as_u16()
}

async fn half_requests_take_no_room_from_others(database: TestDatabase) {
    let process = Process::serve_within_files(&database.url, FILES).await;
    let mut half = Vec::new();
    for _ in 0..2 * FILES {
        let mut stream = TcpStream::connect(&process.address).await.expect("a connection");
        // A connection that was closed to make room does not take the place.
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ").await.ok();
        half.push(stream);
    }
    assert_eq!(health(&process).await, 200);
    let url = format!("http://{}/graphql", process.address);
    let asked = reqwest::Client::new().post(&url).json(&query("{ incidents { totalCount } }"));
    assert_eq!(asked.send().await.expect("an answer").status().as_u16(), 200);
}

async fn health_has_room_where_sockets_take_all(database: TestDatabase) {
    let process = Process::serve_within_files(&database.url, FILES).await;
    let url = format!("ws://{}/graphql", process.address);
    let protocol = [("sec-websocket-protocol", "graphql-transport-ws")];
    let mut sockets = Vec::new();
    let refused = loop {
        match Socket::open_with(&url, &protocol).await {
            Ok((mut socket, _)) => {
                socket.init(json!({})).await;
                sockets.push(socket);
            }
            Err(answer) => break answer.status().as_u16(),
        }
        assert!(sockets.len() < FILES as usize, "each takes a file");
    };
    assert_eq!(refused, 503);
    assert!(sockets.len() > 16, "{}", sockets.len());
    // Requests that wait for their bodies take all connections that sockets leave.
    let mut posts = Vec::new();
    for _ in 0..FILES {
        let mut stream = TcpStream::connect(&process.address).await.expect("a connection");
        let head = format!(
            "POST /graphql HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n",
            process.address
        );
        stream.write_all(head.as_bytes()).await.ok();
        posts.push(stream);
    }
    assert_eq!(health(&process).await, 200);
    sockets[0].subscribe("1", "{ incidents { totalCount } }").await;
    assert!(matches!(sockets[0].frame().await, Frame::Json(_)), "a socket is not closed to make room");
}
