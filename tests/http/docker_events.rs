//! Docker's events out of sweeps, and names that are made to break a document.

use std::sync::Arc;

use podvitals::model::identity::KnownPod;
use podvitals::model::snapshot::Snapshot;
use podvitals::serve::Limits;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::client::{Server, clock, server, server_with};
use super::docker::{filters, web_id};
use super::hostile::{Called, called, hostile, rename};
use super::live::Following;
use super::node::{SECOND, SWEEP_WALL, after};

/// The app container's cgroup is gone; `listed` says whether a source of names still knows it.
fn ended(seconds: u64, listed: bool) -> Snapshot {
    after(seconds, |web, snapshot| {
        let pod = snapshot.pods.iter_mut().find(|pod| pod.target == 0).unwrap();
        pod.containers.start += 1;
        if !listed {
            let mut known = KnownPod::clone(web.known.as_ref().unwrap());
            known
                .containers
                .retain(|container| container.id.as_ref().is_none_or(|id| id.as_str() != web_id()));
            web.known = Some(Arc::new(known));
        }
    })
}

async fn events(server: &Server, query: &str) -> Following {
    let mut events = server.follow(&format!("/events?{query}")).await;
    assert!(events.head().await.starts_with("http/1.1 200"));
    events
}

fn words(events: &[Value]) -> Vec<(&str, &str)> {
    events
        .iter()
        .map(|event| (event["Action"].as_str().unwrap(), &event["id"].as_str().unwrap()[..1]))
        .collect()
}

#[tokio::test]
async fn a_life_is_told_from_start_to_destroy_once_each() {
    let server = server_with(Limits::default(), clock::<0>, Some(ended(0, false))).await;
    let mut all = events(&server, "").await;
    let mut dies =
        events(&server, &filters(&json!({"event": ["die"], "container": [&web_id()[..12]]}))).await;
    // A head is sent after the first sweep was looked at.
    server.shows(after(1, |_, _| {}));
    let start = all.told().await;
    assert_eq!(words(&start), [("start", "d")]);
    server.shows(ended(2, true));
    let die = all.told().await;
    assert_eq!(words(&die), [("die", "d")]);
    server.shows(ended(3, true));
    server.shows(ended(4, false));
    let destroy = all.told().await;
    assert_eq!(words(&destroy), [("destroy", "d")]);
    assert_eq!(words(&dies.told().await), [("die", "d")]);

    // As the engine words it, but for the code with which it ended.
    let real = include_str!("../../fixtures/docker/events.ndjson");
    let real: Vec<Value> = real.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (ours, action) in [(&start[0], "kill"), (&die[0], "die"), (&destroy[0], "destroy")] {
        let theirs = real.iter().find(|event| event["Action"] == action).unwrap();
        let keys = |event: &Value| event.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(ours), keys(theirs));
        assert_eq!((&ours["Type"], &ours["scope"]), (&theirs["Type"], &theirs["scope"]));
        let attributes = &ours["Actor"]["Attributes"];
        assert_eq!(ours["from"], attributes["image"]);
        assert_eq!(attributes["name"], "k8s_web_web_default_0a1b2c3d-0000-4000-8000-000000000001_2");
        assert_eq!(attributes["io.kubernetes.pod.name"], "web");
        assert!(attributes.get("exitCode").is_none());
    }
    assert_eq!(start[0]["timeNano"], SWEEP_WALL - 45 * SECOND, "when it started");
    assert_eq!(die[0]["timeNano"], SWEEP_WALL + 2 * SECOND, "when it was missed");
}

#[tokio::test]
async fn since_tells_first_what_runs_and_until_ends_it() {
    let server = server().await;
    let seconds = SWEEP_WALL / SECOND;
    let mut past = events(&server, &format!("since={}&until={seconds}", seconds - 100)).await;
    let starts = past.told().await;
    assert_eq!(starts.len(), 8, "the sandbox of the static pod, too, which began with its pod: {starts:#?}");
    assert!(starts.iter().all(|event| event["Action"] == "start"));
    let times: Vec<u64> = starts.iter().map(|event| event["timeNano"].as_u64().unwrap()).collect();
    assert!(times.is_sorted() && times[0] == SWEEP_WALL - 62 * SECOND, "{times:?}");
    assert_eq!(past.chunk().await, None);
    let mut recent = events(&server, &format!("since={}.5&until={seconds}", seconds - 46)).await;
    assert_eq!(recent.told().await.len(), 5, "not the sandboxes");
    let mut nothing = events(&server, "until=1").await;
    assert_eq!(nothing.chunk().await, None);
    let images = filters(&json!({"type": ["image"]}));
    let mut nothing = events(&server, &format!("since=1&until={seconds}&{images}")).await;
    assert_eq!(nothing.chunk().await, None);
}

#[tokio::test]
async fn a_container_that_loses_its_name_alone_has_not_died() {
    let server = server().await;
    let mut all = events(&server, "").await;
    let mut stats = server.follow(super::live::APP).await;
    stats.head().await;
    stats.chunk().await.unwrap();
    server.shows(after(1, |web, _| web.containers[0].known = None));
    server.shows(after(2, |_, _| {}));
    let next: Value = serde_json::from_str(&stats.chunk().await.unwrap()).unwrap();
    assert_eq!(next["id"], web_id(), "it has its name again: its stream goes on");
    server.shows(ended(3, false));
    assert_eq!(stats.chunk().await, None);
    assert_eq!(words(&all.told().await), [("die", "d"), ("destroy", "d")]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_name_breaks_a_document(
        called in called(),
        asked in hostile(),
    ) {
        let snapshot = after(0, |web, snapshot| rename(web, snapshot, &called));
        let Called { pod, namespace, container, image, .. } = called;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = server_with(Limits::default(), clock::<0>, Some(snapshot)).await;
            let list = server.get("/containers/json").await.json();
            let entry = list.as_array().unwrap().iter().find(|entry| entry["Id"] == web_id()).unwrap();
            let name = format!("/k8s_{container}_{pod}_{namespace}_0a1b2c3d-0000-4000-8000-000000000001_2");
            assert_eq!((&entry["Names"], &entry["Image"]), (&json!([name]), &json!(image)));
            assert_eq!(entry["Labels"]["io.kubernetes.pod.name"], pod);
            let stats = server.get(&format!("/containers/{}/stats?stream=0", web_id())).await.json();
            assert_eq!(stats["networks"].as_object().unwrap().len(), 2);
            let inspected = server.get(&format!("/containers/{}/json", web_id())).await.json();
            assert_eq!(inspected["Name"], name);
            // By that name it is found, whatever is in it, and by any other there is an answer, too.
            for (called, found) in [(&name, true), (&asked, false)] {
                let called: String = called.bytes().map(|byte| format!("%{byte:02x}")).collect();
                if called.len() > 6000 || called.is_empty() {
                    continue;
                }
                let answer = server.get(&format!("/containers/{called}/json")).await;
                assert!(answer.json().is_object());
                assert!(!found || answer.status == 200, "{called}: {}", answer.text());
            }
        });
    }
}
