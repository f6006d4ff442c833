//! The kubelet's own answers beside ours, of the same pods at the same time: the same figures, the same keys.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use podvitals_testbed::wait_for;
use serde_json::Value;
use serde_json::json;
use tokio::time::sleep;

use crate::reader::Reader;
use crate::stage::PATIENCE;
use crate::stage::Stage;

const PLACE: &str = "beside";

/// Keys of the kubelet's summary that ours has not, up to where they begin. The README says why.
const ABSENT: [&str; 11] = [
    ".node.fs",
    ".node.runtime",
    // In a pid namespace of its own podvitals cannot know the node's, on Linux 6.14 and later.
    ".node.rlimit.maxpid",
    // The kernel does not keep when a cgroup was made.
    ".node.systemContainers[].startTime",
    ".pods[].ephemeral-storage",
    ".pods[].volume",
    ".pods[].containers[].rootfs",
    ".pods[].containers[].logs",
    ".pods[].containers[].swap.swapAvailableBytes",
    ".pods[].swap.swapAvailableBytes",
    // Where the kernel has no pressure of a resource the kubelet writes zeros.
    ".pods[].containers[].cpu.psi.full",
];

/// What is compared of both routes, and which part of a figure the two may be apart: the kernel hands memory to a
/// cgroup in batches for each processor, and both read what it says.
const COMPARED: [(&str, f64); 13] = [
    ("container_cpu_usage_seconds_total", 0.0),
    ("container_cpu_user_seconds_total", 0.0),
    ("container_cpu_system_seconds_total", 0.0),
    ("container_cpu_cfs_periods_total", 0.0),
    ("container_cpu_cfs_throttled_periods_total", 0.0),
    ("container_cpu_cfs_throttled_seconds_total", 0.0),
    ("container_memory_working_set_bytes", 0.02),
    ("container_memory_usage_bytes", 0.02),
    ("container_memory_rss", 0.02),
    ("container_memory_cache", 0.02),
    ("container_memory_swap", 0.02),
    ("pod_cpu_usage_seconds_total", 0.0),
    ("pod_memory_working_set_bytes", 0.02),
];

/// Ours and the kubelet's; of cAdvisor's names the kubelet says when each was read, and we if asked.
const ROUTES: [(&str, &str); 2] = [
    ("/metrics/resource", "metrics/resource"),
    ("/metrics/cadvisor?timestamps=1&profile=full", "metrics/cadvisor"),
];

/// Route, family and labels → milliseconds and value, as the text has them.
type Series = BTreeMap<(usize, String), Vec<(u64, f64)>>;

pub(crate) async fn its_figures_lie_between_two_of_ours_and_its_keys_are_here(stage: Arc<Stage>) {
    stage.cluster.create_namespace(PLACE).await.unwrap();
    stage.cluster.apply(&pods().to_string()).await.unwrap();
    let ready = ["wait", "pods", "-n", PLACE, "--all", "--for=condition=Ready", "--timeout=90s"];
    stage.cluster.kubectl(&ready).await.unwrap();
    let (_forward, reader) = stage.port_forward().await;
    until_both_know(&stage, &reader).await;

    // The kubelet's figures are up to half a minute old: ours have to be older.
    let (mut ours, mut theirs) = (Series::new(), Series::new());
    for second in 0..45 {
        for _ in 0..2 {
            gather_ours(&reader, &mut ours).await;
            sleep(Duration::from_millis(300)).await;
        }
        if second > 30 && second % 5 == 0 {
            for (at, (_, route)) in ROUTES.into_iter().enumerate() {
                gather(at, &of_kubelet(&stage, route).await, &mut theirs);
            }
        }
    }
    gather_ours(&reader, &mut ours).await;
    let compared = compare(&ours, &theirs);
    println!("       figures of the kubelet between two of ours: {compared:?}");
    let of_resource: usize = compared.iter().filter(|((at, _), _)| *at == 0).map(|(_, times)| times).sum();
    assert!(of_resource >= 12, "only {of_resource} figures of /metrics/resource could be compared");
    for (family, _) in COMPARED {
        assert!(compared.keys().any(|(_, known)| *known == family), "{family}: {compared:?}");
    }

    let summary: Value = serde_json::from_str(&of_kubelet(&stage, "stats/summary").await).unwrap();
    let here: Value = serde_json::from_str(&reader.get("/stats/summary").await.body).unwrap();
    the_same_keys(&summary, &here);
    the_same_pods(&summary, &here);
    stage.cluster.kubectl(&["delete", "namespace", PLACE, "--timeout=90s"]).await.unwrap();
}

async fn gather_ours(reader: &Reader, series: &mut Series) {
    for (at, (route, _)) in ROUTES.into_iter().enumerate() {
        gather(at, &reader.get(route).await.body, series);
    }
}

fn pods() -> Value {
    let pod = |name: &str, arguments: Value| {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name, "namespace": PLACE },
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": "load",
                    "image": "localhost/load:1",
                    "imagePullPolicy": "Never",
                    "args": arguments,
                    "resources": { "limits": { "cpu": "100m", "memory": "96Mi" } },
                }],
            },
        })
    };
    let items =
        [pod("spinner", json!(["spin", "--duty", "20"])), pod("holder", json!(["memory", "--anon", "40M"]))];
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

async fn of_kubelet(stage: &Stage, path: &str) -> String {
    let path = format!("/api/v1/nodes/{}/proxy/{path}", stage.cluster.node_name());
    stage.cluster.kubectl(&["get", "--raw", &path]).await.unwrap()
}

async fn until_both_know(stage: &Stage, reader: &Reader) {
    wait_for("both to have figures of the pods", PATIENCE, async || {
        for text in [of_kubelet(stage, "metrics/resource").await, reader.get("/metrics/resource").await.body]
        {
            for pod in ["spinner", "holder"] {
                anyhow::ensure!(text.contains(&format!("pod=\"{pod}\"")), "{pod} is in one only");
            }
        }
        Ok(Some(()))
    })
    .await
    .unwrap();
}

/// The samples of a text that say when they were taken, of the pods here.
fn gather(route: usize, text: &str, series: &mut Series) {
    for line in text.lines().filter(|line| line.contains(&format!("namespace=\"{PLACE}\""))) {
        let mut words = line.rsplitn(3, ' ');
        let (at, value, name) = (words.next(), words.next(), words.next());
        let (Some(at), Some(value), Some(name)) = (at, value, name.and_then(known)) else { continue };
        let of = series.entry((route, name)).or_default();
        let point = (at.parse().unwrap(), value.parse().unwrap());
        // Two readers of one sweep, or of one housekeeping, are told the same.
        if of.last() != Some(&point) {
            of.push(point);
        }
    }
}

/// Family and labels without those of the runtime, which stand in both texts and differ where the kubelet has
/// cgroups of its own. `None`: it is not compared, or of the pause container, of which ours has no series.
fn known(name: &str) -> Option<String> {
    let (family, labels) = name.trim_end_matches('}').split_once('{')?;
    apart(family)?;
    let of_pause = labels.contains("container=\"\"") && !labels.contains("image=\"\"");
    let is_ours = |label: &&str| !["id=", "image=", "name="].iter().any(|other| label.starts_with(other));
    let labels: Vec<_> = labels.split(',').filter(is_ours).collect();
    (!of_pause).then(|| format!("{family}{{{}}}", labels.join(",")))
}

/// Which part of a figure of this family the two may be apart; `None`: it is not compared.
fn apart(family: &str) -> Option<(&'static str, f64)> {
    COMPARED.into_iter().find(|(compared, _)| *compared == family)
}

/// How many of the kubelet's figures of each route and family were found between those of ours that were taken before and
/// after, with a sweep's leave on either side: the kubelet notes the time when it has read.
fn compare(ours: &Series, theirs: &Series) -> BTreeMap<(usize, &'static str), usize> {
    let mut compared = BTreeMap::new();
    for ((route, name), points) in theirs {
        let (family, apart) = name.split_once('{').and_then(|(family, _)| apart(family)).unwrap();
        let known = ours.get(&(*route, name.clone())).unwrap_or_else(|| panic!("no {name} in ours"));
        for (at, value) in points {
            let after = known.partition_point(|(ours, _)| ours < at);
            let (Some(first), Some(last)) = (after.checked_sub(2), known.get(after + 1)) else { continue };
            let around = &known[first..=after + 1];
            let low = around.iter().map(|(_, value)| *value).fold(f64::INFINITY, f64::min);
            let high = around.iter().map(|(_, value)| *value).fold(0.0, f64::max);
            let leave = apart * high;
            assert!(
                (low - leave..=high + leave).contains(value),
                "{name} at {at}: {value}, but ours go from {low} to {high} ({around:?}, {last:?})"
            );
            *compared.entry((*route, family)).or_default() += 1;
        }
    }
    compared
}

/// Paths of all values, lists as one, with what they hold.
fn paths(value: &Value, at: &str, all: &mut BTreeMap<String, &'static str>) {
    match value {
        Value::Object(object) => {
            object.iter().for_each(|(key, value)| paths(value, &format!("{at}.{key}"), all));
        }
        Value::Array(items) => items.iter().for_each(|item| paths(item, &format!("{at}[]"), all)),
        Value::Number(_) => drop(all.insert(at.to_owned(), "a number")),
        Value::String(_) => drop(all.insert(at.to_owned(), "text")),
        _ => drop(all.insert(at.to_owned(), "something else")),
    }
}

fn the_same_keys(theirs: &Value, ours: &Value) {
    let all = |of: &Value| {
        let mut all = BTreeMap::new();
        paths(of, "", &mut all);
        all
    };
    let (theirs, ours) = (all(theirs), all(ours));
    assert!(theirs.len() > 100, "{theirs:?}");
    for (path, holds) in &theirs {
        let is_absent = ABSENT.iter().any(|beginning| path.starts_with(beginning));
        // Where the kernel has no pressure of a cgroup the kubelet writes zeros.
        let psi = path.split_once(".psi.").is_some_and(|(holder, _)| {
            !holder.starts_with(".node.cpu") && !ours.contains_key(&format!("{holder}.psi.some.total"))
        });
        if !is_absent && !psi {
            assert_eq!(ours.get(path), Some(holds), "{path}");
        }
    }
}

fn the_same_pods(theirs: &Value, ours: &Value) {
    let pods = |of: &Value| -> anyhow::Result<BTreeMap<String, (BTreeSet<String>, Value)>> {
        let mut all = BTreeMap::new();
        for pod in of["pods"].as_array().context("pods")? {
            let uid = pod["podRef"]["uid"].as_str().context("uid")?.to_owned();
            let containers = pod["containers"].as_array().context("containers")?;
            let names = containers.iter().map(|it| it["name"].as_str().unwrap_or_default().to_owned());
            all.insert(uid, (names.collect(), pod.clone()));
        }
        Ok(all)
    };
    let (theirs, ours) = (pods(theirs).unwrap(), pods(ours).unwrap());
    let uids = |of: &BTreeMap<String, _>| of.keys().cloned().collect::<Vec<_>>();
    assert_eq!(uids(&theirs), uids(&ours));
    for (uid, (names, pod)) in &theirs {
        let (our_names, our_pod) = &ours[uid];
        assert_eq!(names, our_names, "{uid}");
        for key in ["name", "namespace"] {
            assert_eq!(pod["podRef"][key], our_pod["podRef"][key], "{uid}");
        }
    }
}
