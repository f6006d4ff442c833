//! What clients may not do.

use std::sync::atomic::Ordering;
use std::time::Duration;

use podvitals::config::Listen;
use podvitals::serve::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::Instant;

use super::client::{Server, clock, first_answer, next, rest, server, server_with, until};
use super::{earlier, node};

const LONG: Duration = Duration::from_secs(3600);

/// Nothing times out but what a test says.
const PATIENT: Limits = Limits {
    connections: 256,
    connections_per_address: 16,
    kept_for_health: 16,
    streams: 192,
    streams_per_address: 12,
    header: LONG,
    request: LONG,
    idle: LONG,
    write: LONG,
    drain: LONG,
};

const SHORT: Duration = Duration::from_millis(100);

async fn server_of(limits: Limits) -> Server {
    server_with(limits, clock::<0>, Some(node::snapshot())).await
}

/// Asks until the server, which cannot write any more, stops reading; reads nothing itself.
async fn deaf_client(server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    let request =
        format!("GET /api/v1/pods HTTP/1.1\r\nHost: localhost\r\nX-Filler: {}\r\n\r\n", "x".repeat(2000));
    let asking = async { while stream.write_all(request.as_bytes()).await.is_ok() {} };
    let _ = tokio::time::timeout(Duration::from_millis(500), asking).await;
    stream
}

#[tokio::test]
async fn another_name_for_this_host_is_not_answered() {
    let server = server().await;
    for (host, status) in [
        ("Host: localhost:9790\r\n", 200),
        ("Host: 127.0.0.1:9790\r\n", 200),
        ("Host: [::1]\r\n", 200),
        ("", 200),
        ("Host: rebound.example\r\n", 421),
        ("Host: localhost.rebound.example:9790\r\n", 421),
        ("Host: localhost\r\nHost: rebound.example\r\n", 421),
    ] {
        for path in ["/api/v1/pods", "/livez", "/nothing"] {
            let request = format!("GET {path} HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
            let bytes = server.raw(request.as_bytes()).await;
            let (answer, _) = first_answer(&bytes, "GET");
            let expected = if status == 200 && path == "/nothing" { 404 } else { status };
            assert_eq!(answer.status, expected, "{path} {host:?}");
            if status == 421 {
                assert!(answer.problem().contains("Host"));
            }
        }
    }
}

#[tokio::test]
async fn a_unix_socket_serves_the_same_under_any_name() {
    let path = std::env::temp_dir().join(format!("podvitals-http-{}.sock", std::process::id()));
    let bound = podvitals::serve::bind(&[Listen::Unix(path.clone())], podvitals::serve::Access::default())
        .await
        .unwrap();
    let (_snapshot, snapshot) = tokio::sync::watch::channel(Some(node::snapshot().into()));
    let (_targets, targets) = tokio::sync::watch::channel(std::sync::Arc::default());
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let published = podvitals::serve::Published {
        snapshot,
        targets,
        history: std::sync::Arc::default(),
        health: std::sync::Arc::default(),
        clock: clock::<0>,
        node_name: "n1".into(),
        interval: Duration::from_secs(1),
        process_start: podvitals::model::time::WallTime::from_unix_nanos(node::PROCESS_START),
        machine: earlier::machine(),
        cadvisor_full: false,
        docker_percpu: false,
        processes: podvitals::serve::ProcessLane::default(),
    };
    let task = tokio::spawn(podvitals::serve::run(bound, published, stopped));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream
        .write_all(b"GET /api/v1/node HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(first_answer(&bytes, "GET").0.json()["node"], "n1");
    stop.send_replace(true);
    task.await.unwrap();
    assert!(!path.exists(), "the socket is removed");
}

#[tokio::test]
async fn heads_are_8_kib_at_most() {
    let server = server().await;
    let query = "x".repeat(100_000);
    let answer =
        server.raw(format!("GET /api/v1/pods?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await;
    assert!(answer.starts_with(b"HTTP/1.1 431"));
    let many = "X-Filler: xxxxxxxxxxxxxxxxxxxx\r\n".repeat(300);
    let answer = server.raw(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n").as_bytes()).await;
    assert!(answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    let fits = "x".repeat(7000);
    assert_eq!(server.get(&format!("/?{fits}")).await.status, 200);
    let echoed = server.get(&format!("/{fits}")).await;
    assert!(
        echoed.status == 404 && echoed.body.len() < 2000,
        "what a client sends does not come back in full"
    );
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let server = server().await;
    for junk in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"GET /\0 HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    ] {
        let answer = server.raw(junk).await;
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    assert_eq!(server.get("/livez").await.status, 200);
}

#[tokio::test]
async fn a_target_without_a_path_is_refused() {
    let server = server().await;
    for target in ["localhost", "localhost:1", "127.0.0.1:9790"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = server.raw(request.as_bytes()).await;
        assert!(answer.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(server.get("/livez").await.status, 200);
}

#[tokio::test]
async fn who_drips_a_head_is_cut() {
    let server = server_of(Limits { header: SHORT, ..PATIENT }).await;
    let mut silent = server.connect().await;
    assert!(rest(&mut silent).await.is_empty());
    let (start, mut dripping) = (Instant::now(), server.connect().await);
    let (mut reader, mut writer) = dripping.split();
    let drip = async {
        loop {
            if writer.write_all(b"G").await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let mut end = Vec::new();
    tokio::select! {
        () = drip => {}
        _ = reader.read_to_end(&mut end) => {}
    }
    assert!(start.elapsed() >= SHORT, "bytes buy no time, and none is taken away");
    until("both are counted", || {
        server
            .health
            .counted(podvitals::model::health::Room::Serve, podvitals::model::health::Trouble::Timeout)
            == 2
    })
    .await;
}

#[tokio::test]
async fn who_keeps_a_connection_may_be_idle_for_longer_than_a_head_takes() {
    let idle = Duration::from_millis(400);
    let server = server_of(Limits { header: SHORT, idle, ..PATIENT }).await;
    let mut stream = server.connect().await;
    for _ in 0..2 {
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        assert_eq!(next(&mut stream).await.text(), "ok");
        tokio::time::sleep(2 * SHORT).await;
    }
    stream.write_all(b"GET /livez HT").await.unwrap();
    let start = Instant::now();
    assert!(rest(&mut stream).await.is_empty());
    assert!(start.elapsed() < idle, "an incomplete head is not idleness: {:?}", start.elapsed());

    let mut stream = server.connect().await;
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    next(&mut stream).await;
    let start = Instant::now();
    assert!(rest(&mut stream).await.is_empty());
    assert!(start.elapsed() >= idle - SHORT / 2, "{:?}", start.elapsed());
}

#[tokio::test]
async fn who_does_not_read_is_cut() {
    let server = server_of(Limits { write: SHORT, ..PATIENT }).await;
    let deaf = deaf_client(&server).await;
    until("the deaf client is cut", || server.health.connections.load(Ordering::SeqCst) == 0).await;
    drop(deaf);
    let server = server_of(Limits { request: SHORT, ..PATIENT }).await;
    let _deaf = deaf_client(&server).await;
    until("the whole request takes too long", || server.health.connections.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = server().await;
    let mut stream = server.connect().await;
    let requests = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nHEAD /api/v1/pods HTTP/1.1\r\nHost: localhost\r\n\r\n\
                    GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(requests.as_bytes()).await.unwrap();
    let bytes = rest(&mut stream).await;
    let (first, more) = first_answer(&bytes, "GET");
    let (second, more) = first_answer(more, "HEAD");
    let (third, more) = first_answer(more, "GET");
    assert_eq!((first.status, second.status, third.status, more.len()), (200, 200, 404, 0));
}

#[tokio::test]
async fn a_client_that_shuts_its_half_still_gets_its_answer() {
    let server = server().await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let bytes = rest(&mut stream).await;
    assert_eq!(first_answer(&bytes, "GET").0.text(), "ok");
}

#[tokio::test]
async fn a_full_house_sends_the_oldest_incomplete_visitor_away() {
    let server = server_of(Limits { connections: 4, kept_for_health: 1, ..PATIENT }).await;
    let mut kept = server.connect().await;
    kept.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    next(&mut kept).await;
    let mut first = server.connect().await;
    first.write_all(b"GET /liv").await.unwrap();
    until("the first is in", || server.health.connections.load(Ordering::SeqCst) == 2).await;
    let mut second = server.connect().await;
    let _third = server.connect().await;
    until("the house is full", || server.health.connections.load(Ordering::SeqCst) == 4).await;
    assert_eq!(server.get("/api/v1/node").await.status, 200);
    assert!(rest(&mut first).await.is_empty(), "the oldest incomplete one went");
    assert_eq!(server.health.connections_refused.load(Ordering::SeqCst), 1);
    second.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    assert_eq!(next(&mut second).await.text(), "ok", "the next oldest stayed");
    kept.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    assert_eq!(next(&mut kept).await.text(), "ok", "and so did who had asked before");
}

#[tokio::test]
async fn probes_are_answered_while_nobody_else_is() {
    let server = server_of(Limits { connections: 4, kept_for_health: 2, ..PATIENT }).await;
    let _deaf = (deaf_client(&server).await, deaf_client(&server).await);
    let _silent = (server.connect().await, server.connect().await);
    until("the house is full", || server.health.connections.load(Ordering::SeqCst) == 4).await;
    let refused = server.get("/api/v1/pods").await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, "1"));
    assert!(refused.problem().contains("too many requests are in flight"));
    for path in ["/livez", "/readyz", "/readyz?verbose", "/livez/ping"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn told_to_stop_it_answers_what_was_asked_and_ends() {
    let server = server_of(PATIENT).await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    next(&mut idle).await;
    let mut incomplete = server.connect().await;
    incomplete.write_all(b"GET /li").await.unwrap();
    let mut deaf = deaf_client(&server).await;
    until("all are in", || server.health.connections.load(Ordering::SeqCst) == 3).await;
    server.stop.send_replace(true);
    assert!(rest(&mut idle).await.is_empty());
    assert!(rest(&mut incomplete).await.is_empty());
    assert!(TcpStream::connect(server.address).await.is_err(), "nobody is let in any more");
    assert!(!server.task.is_finished(), "an answer is still on its way");
    let bytes = rest(&mut deaf).await;
    let (mut more, mut answers) = (&bytes[..], 0);
    while !more.is_empty() {
        let (answer, after) = first_answer(more, "GET");
        assert_eq!(answer.json()["tick"], 812, "answer {answers} is whole");
        (more, answers) = (after, answers + 1);
    }
    assert!(answers >= 1);
    server.task.await.unwrap();
}

#[tokio::test]
async fn draining_does_not_last_for_ever() {
    let server = server_of(Limits { drain: SHORT, ..PATIENT }).await;
    let _deaf = deaf_client(&server).await;
    server.stop.send_replace(true);
    tokio::time::timeout(Duration::from_secs(10), server.task)
        .await
        .expect("ends in spite of the deaf client")
        .unwrap();
    until("it was cut", || server.health.connections.load(Ordering::SeqCst) == 0).await;
}
