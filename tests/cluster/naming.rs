//! How soon a pod has a name, a container its own, and a new cgroup its figures.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::follower::Follower;
use crate::stage::Stage;
use crate::witness::Witness;

const PLACE: &str = "naming";

/// Pods that start all at once, and pods that start one by one.
const AT_ONCE: usize = 4;
const ONE_BY_ONE: usize = 4;

const CONTAINERS: [&str; 2] = ["one", "two"];

const POD_NAMED: u64 = 1_500;
const CONTAINER_NAMED: u64 = 1_000;
const TARGET: u64 = 150;

pub(crate) async fn new_pods_and_containers_are_named_soon(stage: Arc<Stage>) {
    stage.cluster.create_namespace(PLACE).await.unwrap();
    let witness = Witness::begin(&stage, Duration::from_millis(5)).await;
    let (_forward, reader) = stage.port_forward().await;
    let follower = Follower::begin(reader, Duration::from_millis(10));

    stage.cluster.apply(&list_of(0..AT_ONCE)).await.unwrap();
    witness.until_running(PLACE, None, AT_ONCE).await;
    for number in AT_ONCE..AT_ONCE + ONE_BY_ONE {
        stage.cluster.apply(&list_of(number..number + 1)).await.unwrap();
        witness.until_running(PLACE, None, number + 1).await;
    }
    // The last ones' names may still be under way.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let seen = follower.end().await;
    let record = witness.record();
    let wrong = seen.contradictions(&record);
    assert!(wrong.is_empty(), "{wrong:#?}");

    let runtime = stage.cluster.runtime();
    let (mut pod_worst, mut container_worst, mut target_worst, mut nameless) = (0, 0, 0, 0);
    let ours = |uid: &str| record.pods.get(uid).is_some_and(|name| name.starts_with(PLACE));
    let containers = record.containers.iter().filter(|(_, heard)| ours(&heard.pod));
    let (mut count, mut rows) = (0, Vec::new());
    for (id, heard) in containers {
        count += 1;
        let started = runtime.started_at(id).await.unwrap();
        assert!(started > 0, "{id} never started");
        let pod = seen.named(&heard.pod).unwrap_or_else(|| panic!("{} was never named", heard.pod));
        pod_worst = pod_worst.max(milliseconds(started, pod.first));

        let key = (id.clone(), heard.pod.clone(), heard.name.clone());
        let named = seen.containers.get(&key).unwrap_or_else(|| panic!("{heard:?} was never named"));
        let in_api = heard.in_api.unwrap();
        container_worst = container_worst.max(milliseconds(in_api, named.first));
        rows.push(format!(
            "{}/{}: pod named {} ms, container {} ms after its start; its id came after {} ms",
            record.pods[&heard.pod],
            heard.name,
            milliseconds(started, pod.first),
            milliseconds(started, named.first),
            milliseconds(started, in_api),
        ));
        assert!(seen.sampled.contains_key(&key), "{heard:?} had no name in a sweep");

        // The directory was made after this look at the tree.
        let absent = record.directories[id].absent;
        let since = seen.since[id];
        assert!(absent > 0 && absent < since + 1_000_000_000, "a target before its cgroup was there");
        target_worst = target_worst.max(milliseconds(absent, since));
        nameless += usize::from(seen.nameless.contains_key(id));
    }
    println!(
        "       worst of {count}: pod named {pod_worst} ms after a start (limit {POD_NAMED}), container \
         {container_worst} ms after its id (limit {CONTAINER_NAMED}), target {target_worst} ms after its \
         cgroup (limit {TARGET}); {nameless} were first there under their ids"
    );
    let rows = rows.join("\n");
    assert_eq!(count, (AT_ONCE + ONE_BY_ONE) * CONTAINERS.len());
    assert!(target_worst <= TARGET, "a target {target_worst} ms after its cgroup\n{rows}");
    assert!(pod_worst <= POD_NAMED, "a pod named {pod_worst} ms late\n{rows}");
    assert!(container_worst <= CONTAINER_NAMED, "a container {container_worst} ms late\n{rows}");
    // The API server hears of a container long after its cgroup is there: somebody must have waited.
    assert!(nameless > 0, "no container was shown under its id while it had no name");
    let early = |uid: &str| seen.pods[uid].first <= seen.named(uid).unwrap().first;
    assert!(record.pods.keys().filter(|uid| ours(uid)).all(|uid| early(uid)));
    drop(witness);
    stage.cluster.kubectl(&["delete", "namespace", PLACE, "--wait=false"]).await.unwrap();
}

/// From `earlier` to `later`; 0 if it came first.
fn milliseconds(earlier: u64, later: u64) -> u64 {
    later.saturating_sub(earlier) / 1_000_000
}

fn list_of(numbers: std::ops::Range<usize>) -> String {
    let container = |name: &str| {
        json!({
            "name": name,
            "image": "localhost/load:1",
            "imagePullPolicy": "Never",
            "args": ["idle"],
        })
    };
    let pod = |number: usize| {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": format!("new-{number}"), "namespace": PLACE },
            "spec": {
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 1,
                "containers": CONTAINERS.map(container),
            },
        })
    };
    json!({ "apiVersion": "v1", "kind": "List", "items": numbers.map(pod).collect::<Vec<_>>() }).to_string()
}
