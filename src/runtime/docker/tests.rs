//! Faults that a real engine does not have, one after the other: each costs what it spoils and no more.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::health::Health;
use crate::model::health::Room;
use crate::model::health::Trouble;
use crate::model::identity::ContainerState;
use crate::model::identity::KnownPod;
use crate::model::identity::Source;

use super::super::DEADLINE;
use super::super::engine::Changed;
use super::super::engine::Engine;
use super::super::error::RuntimeError;
use super::fake::FakeEngine;
use super::fake::Reply;

const SANDBOX: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const APP: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const UID: &str = "9c430a5e-0000-4000-8000-000000000001";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

fn sandbox() -> String {
    format!(
        r#"{{"Id":"{SANDBOX}","Names":["/k8s_POD_web_default_{UID}_0"],"Image":"pause:1","State":"running",
        "Created":1700000000,"Labels":{{"app":"web","io.kubernetes.docker.type":"podsandbox",
        "io.kubernetes.pod.name":"web","io.kubernetes.pod.namespace":"default","io.kubernetes.pod.uid":"{UID}"}}}}"#
    )
}

fn app(state: &str) -> String {
    format!(
        r#"{{"Id":"{APP}","Names":["/k8s_app_web_default_{UID}_2"],"Image":"shop/web:1","State":{state},
        "Labels":{{"io.kubernetes.docker.type":"container","io.kubernetes.sandbox.id":"{SANDBOX}",
        "io.kubernetes.container.name":"app","io.kubernetes.pod.name":"web",
        "io.kubernetes.pod.namespace":"default","io.kubernetes.pod.uid":"{UID}"}}}}"#
    )
}

/// An engine with one pod of one container, whose rows are these.
fn engine(name: &str, rows: &[String]) -> (FakeEngine, Engine, Arc<Health>) {
    let fake = FakeEngine::start(name);
    fake.reply("/containers/json", Reply::Json(format!("[{}]", rows.join(",")).into_bytes()));
    let inspected = r#"{"State":{"Pid":4242,"StartedAt":"2026-11-21T01:02:03.5Z"},
        "HostConfig":{"NetworkMode":"default","NewThing":{"a":[1]}},"Config":{"Image":"shop/web:1","Env":["A=b"]}}"#;
    for id in [SANDBOX, APP] {
        fake.reply(&format!("/containers/{id}/json"), Reply::json(inspected));
    }
    let health = Arc::new(Health::default());
    let engine = Engine::docker(fake.socket.clone(), health.clone());
    (fake, engine, health)
}

async fn only_pod(engine: &mut Engine) -> KnownPod {
    let mut pods = engine.fetch_pods().await.unwrap();
    assert_eq!(pods.len(), 1);
    pods.remove(0)
}

#[tokio::test]
async fn an_engine_s_containers_make_pods_and_details_are_asked_for_once() {
    let (fake, mut engine, health) = engine("docker-pods", &[sandbox(), app("\"running\"")]);
    let pod = only_pod(&mut engine).await;
    assert_eq!(
        (pod.namespace.as_ref(), pod.name.as_ref(), pod.sources.as_slice()),
        ("default", "web", [Source::Docker].as_slice())
    );
    assert_eq!(pod.labels, [("app".to_owned(), "web".to_owned())].into());
    assert_eq!((pod.sandboxes[0].pid, pod.host_network), (Some(4242), Some(false)));
    let container = &pod.containers[0];
    assert_eq!((container.name.as_ref(), container.restart_count), ("app", 2));
    assert_eq!((container.state, container.image.as_deref()), (ContainerState::Running, Some("shop/web:1")));
    assert_eq!(container.started_at.unwrap().as_unix_nanos(), 1_795_222_923_500_000_000);
    only_pod(&mut engine).await;
    assert_eq!(fake.asked(&format!("/containers/{APP}/json")).len(), 1);
    assert_eq!(engine.fetch_version().await.unwrap().to_string(), "docker 20.10.24");
    assert_eq!(health.counted(Room::Runtime, Trouble::Malformed), 0);
}

#[tokio::test]
async fn why_a_container_ended_is_told_in_the_words_of_kubernetes() {
    let (fake, mut engine, _) = engine("docker-reason", &[sandbox(), app("\"exited\"")]);
    for (told, word) in [
        (r#""OOMKilled":true,"ExitCode":137"#, Some("OOMKilled")),
        (r#""OOMKilled":false,"ExitCode":0"#, Some("Completed")),
        (r#""ExitCode":7"#, Some("Error")),
        (r#""Pid":0"#, None),
    ] {
        fake.reply(&format!("/containers/{APP}/json"), Reply::json(&format!("{{\"State\":{{{told}}}}}")));
        engine.expire(&Changed::everything());
        let pod = only_pod(&mut engine).await;
        assert_eq!(pod.containers[0].state_reason.as_deref(), word);
    }
}

#[tokio::test]
async fn a_state_of_a_later_engine_costs_the_state_only() {
    let (_fake, mut engine, health) = engine("docker-state", &[sandbox(), app("\"hibernating\"")]);
    let pod = only_pod(&mut engine).await;
    assert_eq!((pod.containers[0].name.as_ref(), pod.containers[0].state), ("app", ContainerState::Waiting));
    assert_eq!(health.counted(Room::Runtime, Trouble::Malformed), 0);
}

#[tokio::test]
async fn rows_that_nobody_can_read_are_counted_once_and_cost_no_other_row() {
    let odd = sandbox().replace(UID, "NOT A UID").replace(SANDBOX, &"c".repeat(64));
    let rows = [sandbox(), "7".into(), "null".into(), r#"{"Id":7}"#.into(), odd, app("\"running\"")];
    let (_fake, mut engine, health) = engine("docker-rows", &rows);
    for _ in 0..3 {
        let pod = only_pod(&mut engine).await;
        assert_eq!((pod.sandboxes.len(), pod.containers.len()), (1, 1));
    }
    assert_eq!(health.counted(Room::Runtime, Trouble::Malformed), 4);
}

#[tokio::test]
async fn labels_of_odd_bytes_cost_nothing_but_themselves() {
    let (fake, mut engine, _) = engine("docker-bytes", &[]);
    let list = format!("[{},{}]", sandbox(), app("\"running\""));
    let mut bytes =
        list.replace(r#""app":"web""#, r#""app":"<>","lone":"\ud800","number":7,"none":null"#).into_bytes();
    let at = bytes.iter().position(|byte| *byte == b'<').unwrap();
    bytes[at..at + 2].copy_from_slice(b"\xff\xfe");
    fake.reply("/containers/json", Reply::Json(bytes));
    let pod = only_pod(&mut engine).await;
    assert_eq!(pod.labels, [("app".to_owned(), "??".to_owned())].into());
    assert_eq!(pod.containers.len(), 1);
}

#[tokio::test]
async fn pid_0_is_no_pid_and_a_detail_that_fails_costs_its_own_thing() {
    let (fake, mut engine, health) = engine("docker-pid", &[sandbox(), app("\"running\"")]);
    fake.reply(&format!("/containers/{SANDBOX}/json"), Reply::json(r#"{"State":{"Pid":0},"HostConfig":[]}"#));
    fake.reply(&format!("/containers/{APP}/json"), Reply::Refusal(404, "No such container"));
    let pod = only_pod(&mut engine).await;
    assert_eq!((pod.sandboxes[0].pid, pod.host_network), (None, None));
    assert_eq!((pod.containers[0].name.as_ref(), pod.containers[0].started_at), ("app", None));
    assert_eq!(health.counted(Room::Runtime, Trouble::Gone), 1);
}

#[tokio::test]
async fn one_container_whose_detail_hangs_costs_its_own_start_only() {
    let (fake, mut engine, health) = engine("docker-hangs", &[sandbox(), app("\"running\"")]);
    fake.reply(&format!("/containers/{APP}/json"), Reply::Held(OK.to_vec()));
    let pod = only_pod(&mut engine).await;
    assert_eq!((pod.sandboxes[0].pid, pod.containers[0].started_at), (Some(4242), None));
    assert_eq!(health.counted(Room::Runtime, Trouble::Timeout), 1);
    let begun = Instant::now();
    only_pod(&mut engine).await;
    assert!(begun.elapsed() < DEADLINE / 2, "it held up the next round: {:?}", begun.elapsed());
}

/// What the list is answered with, the kind of trouble it is counted as, and what is said.
#[tokio::test]
async fn a_broken_list_is_an_error_of_its_kind_and_the_next_good_one_is_taken() {
    let long = Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n[{}".to_vec());
    let heads = Reply::Endless(b"HTTP/1.1 200 OK\r\n", b"x-head: aaaaaaaaaaaaaaaaaaaaaaaaa\r\n".to_vec());
    let cases = [
        ("no JSON", Reply::json("<html>"), Trouble::Malformed, "not a list of containers"),
        ("cut JSON", Reply::json(r#"[{"Id":"a"#), Trouble::Malformed, "EOF"),
        ("no list", Reply::json(r#"{"message":"hello"}"#), Trouble::Malformed, "a list of containers"),
        ("cut short", long, Trouble::Io, "end of file"),
        ("no HTTP", Reply::Bytes(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec()), Trouble::Malformed, "HTTP"),
        ("endless head", heads, Trouble::Malformed, "large"),
        ("nothing", Reply::Bytes(Vec::new()), Trouble::Io, "before message completed"),
        ("refused", Reply::Refusal(403, "go away"), Trouble::Denied, "go away"),
        ("failing", Reply::Refusal(500, "out of order"), Trouble::Io, "out of order"),
    ];
    let (fake, mut engine, health) = engine("docker-broken", &[sandbox()]);
    for (name, reply, trouble, said) in cases {
        let before = health.counted(Room::Runtime, trouble);
        fake.reply("/containers/json", reply);
        let begun = Instant::now();
        let error = engine.fetch_pods().await.unwrap_err();
        assert!(begun.elapsed() < DEADLINE, "{name}: {:?}", begun.elapsed());
        let text = error.to_string();
        assert_eq!(error.trouble(), trouble, "{name}: {text}");
        assert!(text.contains("/containers/json") && text.contains(said), "{name}: {text}");
        assert_eq!(health.counted(Room::Runtime, trouble), before + 1, "{name}");
        fake.reply("/containers/json", Reply::Json(format!("[{}]", sandbox()).into_bytes()));
        only_pod(&mut engine).await;
    }
}

#[tokio::test]
async fn an_engine_that_never_finishes_is_given_up_after_the_deadline() {
    let (fake, mut engine, health) = engine("docker-never", &[]);
    let endless = [b"10000\r\n".as_slice(), &[b'['; 1 << 16], b"\r\n"].concat();
    let replies =
        [Reply::Held(Vec::new()), Reply::Held([OK, b"2\r\n[{\r\n"].concat()), Reply::Endless(OK, endless)];
    for reply in replies {
        fake.reply("/containers/json", reply);
        let begun = Instant::now();
        let error = engine.fetch_pods().await.unwrap_err();
        let took = begun.elapsed();
        assert!(took >= DEADLINE && took < DEADLINE + Duration::from_secs(1), "{took:?}");
        assert!(matches!(error, RuntimeError::Timeout { call: "/containers/json", .. }), "{error}");
    }
    assert_eq!(health.counted(Room::Runtime, Trouble::Timeout), 3);
}

#[tokio::test]
async fn an_inspection_without_end_costs_its_own_detail_only() {
    let (fake, mut engine, health) = engine("docker-long-detail", &[sandbox(), app("\"running\"")]);
    let endless = [b"10000\r\n".as_slice(), &[b'['; 1 << 16], b"\r\n"].concat();
    fake.reply(&format!("/containers/{APP}/json"), Reply::Endless(OK, endless));
    let pod = only_pod(&mut engine).await;
    assert_eq!((pod.sandboxes[0].pid, pod.containers[0].started_at), (Some(4242), None));
    let counted = |trouble| health.counted(Room::Runtime, trouble);
    assert_eq!(counted(Trouble::Malformed) + counted(Trouble::Timeout), 1, "whichever is first");
}

#[tokio::test]
async fn only_pods_are_asked_for_in_the_version_that_was_agreed_on_and_again_after_a_loss() {
    let (fake, mut engine, _) = engine("docker-version", &[sandbox()]);
    engine.fetch_pods().await.unwrap();
    engine.fetch_pods().await.unwrap();
    assert_eq!(fake.asked("/version").len(), 1);
    let list = fake.asked("/containers/json").pop().unwrap();
    assert!(list.starts_with("GET ") && list.contains("all=true"), "{list}");
    assert!(list.contains("io.kubernetes.docker.type"), "{list}");
    fake.reply("/containers/json", Reply::Refusal(500, "going down"));
    engine.fetch_pods().await.unwrap_err();
    engine.fetch_pods().await.unwrap_err();
    assert_eq!(fake.asked("/version").len(), 2);
}

#[tokio::test]
async fn a_sandbox_started_again_under_its_id_has_its_new_pid() {
    let (fake, mut engine, _) = engine("docker-again", &[sandbox(), app("\"running\"")]);
    assert_eq!(only_pod(&mut engine).await.sandboxes[0].pid, Some(4242));
    let inspected = r#"{"State":{"Pid":4343,"StartedAt":"2026-11-21T01:02:04Z"}}"#;
    fake.reply(&format!("/containers/{SANDBOX}/json"), Reply::json(inspected));
    // It was running at both questions; only its events tell.
    let mut changed = Changed::default();
    changed.note(Some(SANDBOX.to_owned()));
    engine.expire(&changed);
    assert_eq!(only_pod(&mut engine).await.sandboxes[0].pid, Some(4343));
    only_pod(&mut engine).await;
    assert_eq!(fake.asked(&format!("/containers/{SANDBOX}/json")).len(), 2, "once for each life");
    assert_eq!(fake.asked(&format!("/containers/{APP}/json")).len(), 1, "nothing happened to it");

    // Events that were missed may have been of anybody; so may more than are remembered.
    engine.expire(&Changed::everything());
    only_pod(&mut engine).await;
    let mut many = Changed::default();
    (0..2_000).for_each(|number| many.note(Some(number.to_string())));
    engine.expire(&many);
    only_pod(&mut engine).await;
    assert_eq!(fake.asked(&format!("/containers/{APP}/json")).len(), 3);
}

#[tokio::test]
async fn events_arrive_until_the_engine_ends_and_a_line_without_end_is_cut_off() {
    let (fake, engine, _) = engine("docker-events", &[]);
    let event = br#"{"Type":"container","Action":"start","Actor":{"ID":"aa"},"time":1}"#;
    let chunk = [format!("{:x}\r\n", event.len() + 1).as_bytes(), event, b"\n\r\n"].concat();
    fake.reply("/events", Reply::Bytes([OK, &chunk, &chunk].concat()));
    let version = engine.fetch_version().await.unwrap();
    let mut events = engine.events(&version).unwrap();
    assert!(matches!(events.next().await, Ok(Some(id)) if id == "aa") && events.next().await.is_ok());
    assert!(matches!(events.next().await, Err(RuntimeError::Call { .. })));
    let asked = fake.asked("/events").pop().unwrap();
    for word in ["container", "start", "die", "io.kubernetes.docker.type"] {
        assert!(asked.contains(word), "{word} is not in {asked}");
    }
    assert!(!asked.contains("exec"), "probes are of no interest: {asked}");

    fake.reply(
        "/events",
        Reply::Endless(OK, [b"10000\r\n\"".as_slice(), &[b'a'; (1 << 16) - 1], b"\r\n"].concat()),
    );
    let ended = tokio::time::timeout(Duration::from_secs(30), engine.events(&version).unwrap().next()).await;
    assert!(ended.expect("cut off").is_err());
}
