//! HTTP/2, which is spoken only when it was asked for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Method, Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use podvitals::config::TlsFiles;
use podvitals::serve::{Access, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::client::{PATIENCE, Server};
use super::node;
use super::secure::{Api, Authority, Client, Mount, serve, serve_within};

struct Stage {
    server: Server,
    client: Client,
    _mount: Mount,
}

async fn stage(name: &str, http2: bool, limits: Limits, api: Option<&Api>) -> Stage {
    let (authority, mount) = (Authority::new("servers"), Mount::new(name));
    mount.identity(&authority.server());
    let access = Access {
        files: TlsFiles { client_ca: None, ..mount.files() },
        api_server: api.map(Api::client),
        insecure_public: api.is_none(),
        node_name: "n1".into(),
        http2,
        ..Access::default()
    };
    let server =
        if limits == Limits::default() { serve(access).await } else { serve_within(limits, access).await };
    Stage {
        server,
        client: Client::trusting(&authority.certificate, None).speaking(&["h2", "http/1.1"]),
        _mount: mount,
    }
}

type Sender = SendRequest<Empty<Bytes>>;

impl Stage {
    async fn connect(&self) -> Sender {
        let stream = self.client.connect(&self.server).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }
}

fn request(method: Method, path: &str, token: Option<&str>) -> Request<Empty<Bytes>> {
    let request =
        Request::builder().method(method).uri(format!("https://localhost{path}")).version(Version::HTTP_2);
    let request = match token {
        Some(token) => request.header("authorization", format!("Bearer {token}")),
        None => request,
    };
    request.body(Empty::new()).unwrap()
}

/// Status, content-length and body.
async fn ask(sender: &mut Sender, request: Request<Empty<Bytes>>) -> (u16, Option<usize>, Bytes) {
    let answer =
        tokio::time::timeout(PATIENCE, sender.send_request(request)).await.expect("an answer").unwrap();
    let length = answer.headers().get("content-length").map(|it| it.to_str().unwrap().parse().unwrap());
    (answer.status().as_u16(), length, answer.into_body().collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn without_being_asked_for_it_is_not_offered() {
    let stage = stage("h1", false, Limits::default(), None).await;
    let stream = stage.client.connect(&stage.server).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(stage.client.clone().speaking(&["h2"]).connect(&stage.server).await.is_err());
}

#[tokio::test]
async fn a_connection_carries_many_requests_and_head_has_no_body() {
    let stage = stage("h2", true, Limits::default(), None).await;
    let mut sender = stage.connect().await;
    let (status, length, body) = ask(&mut sender, request(Method::GET, "/api/v1/node", None)).await;
    let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, length, document["node"].as_str()), (200, Some(body.len()), Some("n1")));
    let head = ask(&mut sender, request(Method::HEAD, "/api/v1/node", None)).await;
    assert_eq!(head, (200, Some(body.len()), Bytes::new()));
    let answers: Vec<_> = (0..100)
        .map(|_| {
            let mut sender = sender.clone();
            tokio::spawn(async move { ask(&mut sender, request(Method::GET, "/api/v1/pods", None)).await.0 })
        })
        .collect();
    for answer in answers {
        assert_eq!(answer.await.unwrap(), 200);
    }
    assert_eq!(ask(&mut sender, request(Method::POST, "/api/v1/node", None)).await.0, 405);
    // The old protocol is still there for who prefers it.
    let old = stage.client.clone().speaking(&["http/1.1"]);
    assert_eq!(old.get(&stage.server, "/livez", None).await.status, 200);
}

#[tokio::test]
async fn a_document_in_two_pieces_is_one_body() {
    let stage = stage("h2-large", true, Limits::default(), None).await;
    stage.server.snapshot.send_replace(Some(Arc::new(node::repeated(250))));
    let mut sender = stage.connect().await;
    let (status, length, body) = ask(&mut sender, request(Method::GET, "/metrics/pods", None)).await;
    assert_eq!((status, length), (200, Some(body.len())));
    let old = stage.client.clone().speaking(&["http/1.1"]);
    assert_eq!(body, old.get(&stage.server, "/metrics/pods", None).await.body);
    let head = ask(&mut sender, request(Method::HEAD, "/metrics/pods", None)).await;
    assert_eq!(head, (200, Some(body.len()), Bytes::new()));
}

#[tokio::test]
async fn a_query_of_cadvisor_s_may_come_as_a_body() {
    let stage = stage("h2-body", true, Limits::default(), None).await;
    let stream = stage.client.connect(&stage.server).await.unwrap();
    let (mut sender, connection) =
        http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut post = async |path: &str, body: &str| {
        let request = Request::post(format!("https://localhost{path}")).version(Version::HTTP_2);
        let request = request.body(Full::from(body.to_owned())).unwrap();
        let answer = tokio::time::timeout(PATIENCE, sender.send_request(request)).await.expect("an answer");
        let answer = answer.unwrap();
        (answer.status().as_u16(), answer.into_body().collect().await.unwrap().to_bytes())
    };
    let (status, body) = post("/api/v1.3/docker", r#"{"num_stats":1}"#).await;
    let all: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let first = all.as_object().unwrap().values().find(|it| it.get("stats").is_some()).unwrap();
    assert_eq!((status, first["stats"].as_array().unwrap().len()), (200, 1));
    assert_eq!(post("/api/v1.3/docker", &" ".repeat(8193)).await.0, 413);
    assert_eq!(post("/api/v2.1/stats", "{}").await.0, 405);
}

#[tokio::test]
async fn access_is_decided_for_each_request() {
    let api = Api::start().await;
    api.admit("prom", "prometheus");
    api.grant("prometheus", "nodes/metrics n1");
    let stage = stage("h2-access", true, Limits::default(), Some(&api)).await;
    let mut sender = stage.connect().await;
    for (path, token, status) in [
        ("/livez", None, 200),
        ("/metrics", None, 401),
        ("/metrics", Some("prom"), 200),
        ("/metrics", Some("other"), 401),
        ("/api/v1/pods", Some("prom"), 403),
    ] {
        assert_eq!(ask(&mut sender, request(Method::GET, path, token)).await.0, status, "{path} {token:?}");
    }
}

/// A frame: length, type, flags, stream, payload.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;

#[tokio::test]
async fn frames_that_are_no_request_buy_no_time() {
    let limits =
        Limits { header: Duration::from_millis(300), idle: Duration::from_millis(600), ..Limits::default() };
    let stage = stage("h2-slow", true, limits, None).await;
    for first in [&b""[..], PREFACE] {
        let started = Instant::now();
        let mut stream = stage.client.connect(&stage.server).await.unwrap();
        stream.write_all(first).await.unwrap();
        if !first.is_empty() {
            stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        }
        let pings = async {
            let mut bytes = [0; 1024];
            loop {
                let read = tokio::time::timeout(Duration::from_millis(20), stream.read(&mut bytes)).await;
                if matches!(read, Ok(Ok(0) | Err(_))) {
                    return;
                }
                if !first.is_empty() && stream.write_all(&frame(PING, 0, 0, b"12345678")).await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, pings).await.expect("the server cuts it");
        assert!(started.elapsed() >= Duration::from_millis(300));
    }
    let mut sender = stage.connect().await;
    assert_eq!(ask(&mut sender, request(Method::GET, "/livez", None)).await.0, 200);
    tokio::time::timeout(PATIENCE, async {
        while sender.ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the server ends an idle connection");
}

#[tokio::test]
async fn requests_that_are_taken_back_at_once_end_the_connection() {
    let stage = stage("h2-reset", true, Limits::default(), None).await;
    let mut stream = stage.client.connect(&stage.server).await.unwrap();
    // GET https / with authority "x", of the static table.
    let get = [0x82, 0x87, 0x84, 0x41, 0x01, b'x'];
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    for stream in (1..=199).step_by(2) {
        bytes.extend(frame(HEADERS, 0x05, stream, &get));
        bytes.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
    }
    stream.write_all(&bytes).await.unwrap();
    let mut answer = Vec::new();
    let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let _ = end.expect("the server ends it");
    // GOAWAY, whose code is ENHANCE_YOUR_CALM.
    let goaway = answer.windows(17).any(|it| it[3] == 7 && it[13..17] == [0, 0, 0, 11]);
    assert!(goaway, "{answer:?}");
    let mut sender = stage.connect().await;
    assert_eq!(ask(&mut sender, request(Method::GET, "/livez", None)).await.0, 200, "others are served");
}

#[tokio::test]
async fn an_answer_that_goes_on_shares_a_connection_until_the_client_makes_no_room() {
    let patient = Duration::from_secs(3600);
    let (short, limits) = (Duration::from_millis(300), Limits { request: patient, ..Limits::default() });
    let limits = Limits { write: short, idle: patient, ..limits };
    let stage = stage("h2-live", true, limits, None).await;
    let stream = stage.client.connect(&stage.server).await.unwrap();
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(4000)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request(Method::GET, super::live::APP, None)).await.unwrap();
    let mut body = answer.into_body();
    for tick in 813..818 {
        let chunk = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(chunk.starts_with(b"{"));
        // For longer than a client may leave what it is sent: it has taken all there is.
        tokio::time::sleep(short * 2).await;
        assert_eq!(ask(&mut sender, request(Method::GET, "/api/v1/node", None)).await.0, 200);
        assert_eq!(
            ask(&mut sender, request(Method::HEAD, super::live::APP, None)).await,
            (200, None, Bytes::new())
        );
        stage.server.sweep(tick);
    }
    let begun = Instant::now();
    let mut tick = 818;
    while !connection.is_finished() {
        assert!(begun.elapsed() < PATIENCE, "it reads nothing and is still there");
        stage.server.sweep(tick);
        tick += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(body);
}
