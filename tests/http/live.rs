//! Answers that go on: how they begin, how they end, and what a client may not do with them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use podvitals::model::snapshot::Snapshot;
use podvitals::serve::Limits;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use super::client::{PATIENCE, Server, clock, rest, server_with, until};
use super::node;

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(150);

/// The app container of the pod default/web.
pub(crate) const APP: &str = "/containers/dddddddddddd/stats";

async fn server_of(limits: Limits) -> Server {
    server_with(limits, clock::<0>, Some(node::snapshot())).await
}

/// Nothing times out but what a test says.
fn patient() -> Limits {
    Limits { header: LONG, request: LONG, idle: LONG, write: LONG, drain: LONG, ..Limits::default() }
}

impl Server {
    /// The next sweep.
    pub(crate) fn sweep(&self, tick: u64) {
        self.shows(Snapshot { tick, ..node::snapshot() });
    }

    pub(crate) fn shows(&self, snapshot: Snapshot) {
        self.snapshot.send_replace(Some(Arc::new(snapshot)));
    }

    pub(crate) async fn follow(&self, path: &str) -> Following {
        let mut stream = self.connect().await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        Following { stream, bytes: Vec::new() }
    }

    fn connections(&self) -> u64 {
        self.health.connections.load(Ordering::SeqCst)
    }
}

/// An answer that goes on, read as it comes.
pub(crate) struct Following {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Following {
    async fn up_to(&mut self, mark: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.bytes.windows(mark.len()).position(|window| window == mark) {
                let rest = self.bytes.split_off(at + mark.len());
                return std::mem::replace(&mut self.bytes, rest);
            }
            let mut chunk = [0; 4096];
            let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut chunk)).await;
            let read = read.expect("something to read").unwrap();
            assert_ne!(read, 0, "ended after {:?}", String::from_utf8_lossy(&self.bytes));
            self.bytes.extend_from_slice(&chunk[..read]);
        }
    }

    pub(crate) async fn head(&mut self) -> String {
        String::from_utf8(self.up_to(b"\r\n\r\n").await).unwrap().to_lowercase()
    }

    /// The next chunk; `None` after the last.
    pub(crate) async fn chunk(&mut self) -> Option<String> {
        let length = self.up_to(b"\r\n").await;
        let length = usize::from_str_radix(std::str::from_utf8(&length).unwrap().trim(), 16).unwrap();
        while self.bytes.len() < length + 2 {
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.bytes)).await;
            assert_ne!(read.expect("the rest of a chunk").unwrap(), 0);
        }
        let rest = self.bytes.split_off(length + 2);
        let chunk = std::mem::replace(&mut self.bytes, rest);
        (length > 0).then(|| String::from_utf8(chunk[..length].to_vec()).unwrap())
    }

    /// The documents of the next chunk, one a line.
    pub(crate) async fn told(&mut self) -> Vec<Value> {
        self.chunk().await.unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[tokio::test]
async fn the_head_comes_at_once_and_a_chunk_with_each_sweep_for_as_long_as_one_likes() {
    let server = server_of(Limits { request: SHORT, ..patient() }).await;
    let mut events = server.follow("/events").await;
    let head = events.head().await;
    assert!(head.starts_with("http/1.1 200") && head.contains("transfer-encoding: chunked"), "{head}");
    let mut stats = server.follow(APP).await;
    stats.head().await;
    for tick in 813..816 {
        let document: Value = serde_json::from_str(&stats.chunk().await.unwrap()).unwrap();
        assert_eq!(document["id"], "d".repeat(64));
        // Past the deadline that any other answer has.
        tokio::time::sleep(SHORT * 2).await;
        server.sweep(tick);
    }
    assert_eq!(server.connections(), 2);
    assert_eq!(server.get("/api/v1/node").await.status, 200);
}

#[tokio::test]
async fn beyond_the_limit_there_is_503_in_the_words_of_the_format_until_one_leaves() {
    let server = server_of(Limits { streams: 2, ..patient() }).await;
    let mut first = server.follow(APP).await;
    let mut second = server.follow("/events").await;
    assert!(
        first.head().await.starts_with("http/1.1 200") && second.head().await.starts_with("http/1.1 200")
    );
    let full = server.get("/events").await;
    assert_eq!((full.status, full.header("retry-after")), (503, "1"));
    assert!(full.json()["message"].as_str().unwrap().contains("too many answers go on"), "{}", full.text());
    assert_eq!(server.ask("HEAD", "/events", &[]).await.status, 200, "a head takes no place");
    assert_eq!(server.get(&format!("{APP}?stream=false")).await.status, 200);
    drop(second);
    until("the place is free", || server.connections() == 1).await;
    assert!(server.follow("/events").await.head().await.starts_with("http/1.1 200"));
}

#[tokio::test]
async fn a_client_that_leaves_is_missed_while_there_is_nothing_to_tell() {
    let server = server_of(patient()).await;
    for half in [false, true] {
        let mut events = server.follow("/events").await;
        events.head().await;
        assert_eq!(server.connections(), 1);
        if half {
            events.stream.shutdown().await.unwrap();
        } else {
            drop(events);
        }
        until("the connection has ended", || server.connections() == 0).await;
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut() {
    let server = server_of(Limits { write: SHORT, ..patient() }).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut deaf = socket.connect(server.address).await.unwrap();
    deaf.write_all(format!("GET {APP} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
    let mut reads = server.follow(APP).await;
    reads.head().await;
    let begun = Instant::now();
    let mut tick = 813;
    while server.connections() == 2 {
        assert!(begun.elapsed() < PATIENCE, "still there after {tick}");
        reads.chunk().await.unwrap();
        server.sweep(tick);
        tick += 1;
    }
    assert_eq!(server.connections(), 1, "who reads is not cut");
    reads.chunk().await.unwrap();
    drop(deaf);
}

#[tokio::test]
async fn when_we_stop_it_ends_as_if_it_were_complete() {
    let server = server_of(patient()).await;
    let (mut events, mut stats) = (server.follow("/events").await, server.follow(APP).await);
    events.head().await;
    stats.head().await;
    stats.chunk().await.unwrap();
    server.stop.send_replace(true);
    assert_eq!((events.chunk().await, stats.chunk().await), (None, None));
    // With an hour for those who are slow it still ends at once.
    tokio::time::timeout(PATIENCE, server.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_asked_meanwhile_is_answered_afterwards() {
    let server = server_of(patient()).await;
    let mut stats = server.follow(APP).await;
    stats.head().await;
    stats.chunk().await.unwrap();
    let next = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stats.stream.write_all(next).await.unwrap();
    server.sweep(813);
    stats.chunk().await.unwrap();
    // The pod is gone, and with it what there was to follow.
    server.shows(Snapshot { tick: 814, pods: Vec::new(), ..node::snapshot() });
    assert_eq!(stats.chunk().await, None);
    let mut answer = std::mem::take(&mut stats.bytes);
    answer.extend(rest(&mut stats.stream).await);
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn a_head_has_no_body_and_ends() {
    let server = server_of(Limits { streams: 0, ..patient() }).await;
    for path in [APP, "/events"] {
        let request = format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = String::from_utf8(server.raw(request.as_bytes()).await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"), "{answer}");
        assert!(!answer.to_lowercase().contains("content-length"), "{answer}");
    }
}
