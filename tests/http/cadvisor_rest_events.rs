//! What cAdvisor's clients are told of who comes and goes, names that are made to break a document, and bodies
//! that are made to break a server.

use std::sync::Arc;
use std::time::Duration;

use podvitals::config::Listen;
use podvitals::history::Recorder;
use podvitals::model::history::Shelf;
use podvitals::model::identity::{ContainerState, KnownPod};
use podvitals::model::snapshot::Snapshot;
use podvitals::model::target::CgroupPath;
use podvitals::model::time::Monotonic;
use podvitals::serve::{Access, Limits, bind};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::cadvisor_rest::{child, id};
use super::client::{
    Server, clock, first_answer, next, rest, server, server_that_remembers, server_with, until,
};
use super::hostile::{Called, called, hostile, rename};
use super::live::Following;
use super::node::{self, SECOND, after};

/// The app container of default/web is gone; `told` is what a source of names says of its end.
fn gone(seconds: u64, told: Option<&str>) -> Snapshot {
    after(seconds, |web, snapshot| {
        snapshot.pods.iter_mut().find(|pod| pod.target == 0).unwrap().containers.start += 1;
        let mut known = KnownPod::clone(web.known.as_ref().unwrap());
        if let Some(reason) = told {
            known.containers[0].state = ContainerState::Terminated;
            known.containers[0].state_reason = Some(reason.into());
        }
        web.known = Some(Arc::new(known));
    })
}

/// A process of it was killed.
fn killed(seconds: u64) -> Snapshot {
    after(seconds, |_, snapshot| {
        let first = snapshot.pods.iter().find(|pod| pod.target == 0).unwrap().containers.start;
        let memory = snapshot.containers[first as usize].cgroup.memory.as_mut().unwrap();
        memory.value.oom_kills = Some(1);
        memory.at = Monotonic::from_nanos(memory.at.as_nanos() + seconds * SECOND);
    })
}

fn remembered(sweeps: &[Snapshot]) -> Arc<Shelf> {
    let mut recorder = Recorder::new(Duration::from_secs(300), Duration::from_secs(1));
    let mut before = None;
    for sweep in sweeps {
        recorder.record(before, sweep);
        before = Some(sweep);
    }
    recorder.shelf().clone()
}

async fn server_after(sweeps: &[Snapshot]) -> Server {
    let bound = bind(&[Listen::Plain("127.0.0.1:0".parse().unwrap())], Access::default()).await.unwrap();
    let shown = sweeps.last().cloned();
    server_that_remembers(bound, Limits::default(), clock::<0>, shown, remembered(sweeps))
}

async fn events(server: &Server, path: &str) -> Following {
    let mut events = server.follow(path).await;
    let head = events.head().await;
    assert!(head.starts_with("http/1.1 200") && head.contains("transfer-encoding: chunked"), "{head}");
    events
}

fn words(events: &[Value]) -> Vec<(&str, &str)> {
    events
        .iter()
        .map(|event| (event["event_type"].as_str().unwrap(), event["container_name"].as_str().unwrap()))
        .collect()
}

#[tokio::test]
async fn a_life_is_told_as_it_goes_on() {
    let server = server_with(Limits::default(), clock::<0>, Some(gone(0, None))).await;
    let name = child("d");
    let alias = format!("/docker/{}", id("d"));
    let mut all = events(&server, "/api/v1.3/events/?stream=true&subcontainers=true&all_events=true").await;
    let mut aliased =
        events(&server, &format!("/api/v2.0/events{alias}?stream=1&deletion_events=true")).await;
    server.shows(after(1, |_, _| {}));
    let created = all.told().await;
    assert_eq!(words(&created), [("containerCreation", &*name)]);
    assert_eq!(created[0]["timestamp"], "2026-11-21T01:01:18.123456789Z", "when it started");
    assert_eq!(created[0]["event_data"], json!({}));
    let keys: Vec<&String> = created[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["container_name", "event_data", "event_type", "timestamp"], "of cAdvisor's info/v1");
    server.shows(killed(2));
    assert_eq!(words(&all.told().await), [("oom", &*name), ("oomKill", &*name)]);
    server.shows(gone(3, None));
    let deleted = all.told().await;
    assert_eq!(words(&deleted), [("containerDeletion", &*name)]);
    assert_eq!(deleted[0]["timestamp"], "2026-11-21T01:02:06.123456789Z", "when it was missed");
    assert_eq!(words(&aliased.told().await), [("containerDeletion", &*alias)], "by the name asked");
}

#[tokio::test]
async fn a_kill_is_told_once_though_its_container_was_lost_from_sight() {
    let name = child("d");
    // Killed in sweep 1, missed by sweep 2, there again in sweep 3 with the same count.
    let sweeps = [after(0, |_, _| {}), killed(1), gone(2, None), killed(3)];
    let server = server_after(&sweeps).await;
    let path = format!("/api/v1.3/events{name}?oom_events=true&max_events=-1");
    let past = server.get(&path).await.json();
    assert_eq!(words(past.as_array().unwrap()), [("oom", &*name)]);

    let server = server_with(Limits::default(), clock::<0>, Some(after(0, |_, _| {}))).await;
    let mut all = events(&server, &format!("/api/v1.3/events{name}?stream=true&all_events=true")).await;
    let mut seen = Vec::new();
    for sweep in [killed(1), gone(2, None), killed(3), gone(4, None)] {
        server.shows(sweep);
        seen.extend(all.told().await);
    }
    let kinds: Vec<&str> = words(&seen).iter().map(|(kind, _)| *kind).collect();
    let expected = ["oom", "oomKill", "containerDeletion", "containerCreation", "containerDeletion"];
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn what_was_of_a_whole_history_is_told() {
    let history = super::past::history_of(&node::snapshot(), 300);
    let bound = bind(&[Listen::Plain("127.0.0.1:0".parse().unwrap())], Access::default()).await.unwrap();
    let server = server_that_remembers(bound, Limits::default(), clock::<0>, Some(node::snapshot()), history);
    for number in 0..50 {
        let path = format!("/api/v1.3/events/?subcontainers=true&all_events=true&number={number}");
        assert_eq!(server.get(&path).await.status, 200, "question {number}");
    }
}

#[tokio::test]
async fn what_was_is_remembered_oldest_first() {
    let sweeps = [after(0, |_, _| {}), killed(1), gone(2, None), gone(3, Some("OOMKilled"))];
    let server = server_after(&sweeps).await;
    let name = child("d");
    let ask = async |query: &str| {
        let answer = server.get(&format!("/api/v1.3/events{query}")).await;
        assert_eq!(answer.status, 200, "{query}");
        answer.json().as_array().unwrap().clone()
    };
    assert_eq!(ask("/").await, [] as [Value; 0], "as with cAdvisor nothing is told unless it is asked for");
    assert_eq!(ask("/?all_events=true").await, [] as [Value; 0], "of the node itself nothing happens");
    let all = ask(&format!("{name}?all_events=true")).await;
    let kinds: Vec<&str> = words(&all).iter().map(|(kind, _)| *kind).collect();
    // It was counted: what a source of names says of the end adds nothing.
    assert_eq!(kinds, ["containerCreation", "oom", "oomKill", "containerDeletion"]);
    assert!(words(&all).iter().all(|(_, of)| *of == name));
    assert_eq!(all[3]["timestamp"], "2026-11-21T01:02:05.123456789Z");
    let last = ask(&format!("{name}?all_events=true&max_events=1")).await;
    assert_eq!(last, all[3..]);
    let start = all[1]["timestamp"].as_str().unwrap();
    assert_eq!(ask(&format!("{name}?all_events=true&start_time={start}&end_time={start}")).await, all[1..3]);
    let below = ask("/kubepods.slice?subcontainers=true&deletion_events=true").await;
    assert_eq!(below, all[3..]);
    let many = ask("/?subcontainers=true&creation_events=true&max_events=-1").await;
    assert!(many.len() > 10 && ask("/?subcontainers=true&creation_events=true").await.len() == 10);
    let times: Vec<&str> = many.iter().map(|event| event["timestamp"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");

    // Killed with its last process, between two sweeps.
    let server = server_after(&[after(0, |_, _| {}), gone(1, None), gone(2, Some("OOMKilled"))]).await;
    let answer = server.get(&format!("/api/v2.1/events{name}?oom_kill_events=true")).await.json();
    assert_eq!(words(answer.as_array().unwrap()), [("oomKill", &*name)]);
}

#[tokio::test]
async fn many_readers_are_one_rendering_and_many_questions_are_too_many() {
    let server = server().await;
    let first = server.get("/api/v2.1/stats?recursive=true").await;
    for _ in 0..300 {
        let again = server.get("/api/v2.1/stats?recursive=true").await;
        assert!(again.status == 200 && again.body == first.body);
    }
    let mut refused = None;
    for number in 0..1100 {
        let answer = server.get(&format!("/api/v2.1/stats?recursive=true&other={number}")).await;
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("all of them were rendered");
    assert_eq!((refused.status, refused.header("content-type")), (429, "text/plain; charset=utf-8"));
    assert_eq!(server.get("/api/v2.1/stats?recursive=true").await.status, 200, "what is kept costs nothing");
}

/// Nothing times out but a head, and what comes with it.
async fn impatient() -> Server {
    let limits = Limits { header: Duration::from_millis(300), ..Limits::default() };
    server_with(limits, clock::<0>, Some(node::snapshot())).await
}

#[tokio::test]
async fn who_drips_a_body_is_cut_like_who_drips_a_head() {
    let server = impatient().await;
    let (start, mut dripping) = (Instant::now(), server.connect().await);
    let head = b"POST /api/v1.3/docker/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000\r\n\r\n{";
    dripping.write_all(head).await.unwrap();
    let (mut reader, mut writer) = dripping.split();
    let drip = async {
        while writer.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut end = Vec::new();
    tokio::select! {
        () = drip => {}
        _ = reader.read_to_end(&mut end) => {}
    }
    assert!(end.is_empty() && start.elapsed() >= Duration::from_millis(300), "bytes buy no time");
    until("it is counted", || {
        let health = &server.health;
        health.counted(podvitals::model::health::Room::Serve, podvitals::model::health::Trouble::Timeout) == 1
    })
    .await;
}

#[tokio::test]
async fn a_body_takes_no_place_from_requests_before_it_is_whole() {
    // One request at a time, and that one is not for bodies that do not come.
    let limits = Limits { connections: 17, kept_for_health: 16, ..Limits::default() };
    let server = server_with(limits, clock::<0>, Some(node::snapshot())).await;
    let mut half = server.connect().await;
    half.write_all(b"POST /api/v1.3/docker/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{")
        .await
        .unwrap();
    assert_eq!(server.get("/api/v1/node").await.status, 200);
    half.write_all(b"}").await.unwrap();
    assert_eq!(next(&mut half).await.status, 200);
}

#[tokio::test]
async fn no_request_can_be_hidden_in_a_body() {
    let server = server().await;
    let hidden = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let path = "/api/v1.3/machine";
    let chunked = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    for (headers, body, status) in [
        ("Transfer-Encoding: chunked\r\n".to_owned(), &*chunked, "411"),
        (format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", hidden.len()), &chunked, "4"),
        (format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", hidden.len()), &chunked, "4"),
        ("Transfer-Encoding: identity\r\n".to_owned(), hidden, "4"),
        (format!("Content-Length: 0\r\nContent-Length: {}\r\n", hidden.len()), hidden, "400"),
        ("Content-Length: +5\r\n".to_owned(), hidden, "400"),
        ("Content-Length: 100000\r\n".to_owned(), hidden, "413"),
    ] {
        let request = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n{body}");
        let bytes = server.raw(request.as_bytes()).await;
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{headers}: {text}");
        assert_eq!(text.matches("HTTP/1.1").count(), 1, "one request, one answer: {headers}: {text}");
    }
    // A body of its length is one, and what follows it is the next request.
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{hidden}",
        hidden.len()
    );
    let mut stream = server.connect().await;
    let last = "GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all((request + last).as_bytes()).await.unwrap();
    let bytes = rest(&mut stream).await;
    let (first, more) = first_answer(&bytes, "POST");
    let (second, none) = first_answer(more, "GET");
    assert_eq!((first.status, second.status, none.len()), (200, 404, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_name_breaks_a_document(
        called in called(),
        [path, asked] in [hostile(), hostile()],
    ) {
        // A cgroup's name has no slash, and is none of the two that lead elsewhere.
        let cgroup = format!("x{}", path.replace(['/', '\0'], "_"));
        let snapshot = after(0, |web, snapshot| {
            rename(web, snapshot, &called);
            web.containers[0].cgroup.path = CgroupPath::new(cgroup.clone());
        });
        let Called { pod, image, .. } = called;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = server_with(Limits::default(), clock::<0>, Some(snapshot)).await;
            let name = format!("/{cgroup}");
            let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
            let all = server.get("/api/v2.1/stats?recursive=true").await.json();
            let spec = &all[&name]["spec"];
            assert_eq!((&spec["image"], &spec["labels"]["io.kubernetes.pod.name"]), (&json!(image), &json!(pod)));
            let subcontainers = server.get("/api/v1.3/subcontainers/").await.json();
            assert!(subcontainers.as_array().unwrap().iter().any(|it| it["name"] == name));
            let sandbox = server.get(&format!("/api/v1.3/docker/{}", id("a"))).await.json();
            let stats = sandbox.as_object().unwrap().values().next().unwrap()["stats"].as_array().unwrap();
            assert_eq!(stats.last().unwrap()["network"]["interfaces"].as_array().unwrap().len(), 2);
            let events = server.get("/api/v1.3/events/?subcontainers=true&all_events=true&max_events=-1").await;
            assert!(events.json().as_array().unwrap().iter().any(|event| event["container_name"] == name));
            if cgroup.len() < 2000 {
                let found = server.get(&format!("/api/v1.3/containers/{}", encoded(&cgroup))).await;
                assert_eq!(found.json()["id"], id("d"));
            }
            if asked.len() < 2000 {
                for route in ["v1.3/containers", "v1.3/docker", "v2.0/stats", "v2.1/ps", "v2.0", "v1.3/events"] {
                    let answer = server.get(&format!("/api/{route}/{}", encoded(&asked))).await;
                    assert!([200, 400, 500].contains(&answer.status), "{route}: {}", answer.text());
                    assert!(answer.body.len() < 600_000);
                }
                let answer = server.get(&format!("/api/v2.0/stats?type={}", encoded(&asked))).await;
                assert!(asked.is_empty() || answer.status == 500, "{}", answer.text());
            }
        });
    }
}
