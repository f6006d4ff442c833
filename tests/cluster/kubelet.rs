//! The kubelet's own answers beside ours, of the same pods at the same time: the same figures, the same keys.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use podvitals_testbed::BUSYBOX;
use podvitals_testbed::LOAD;
use podvitals_testbed::wait_for;
use serde_json::Value;
use serde_json::json;
use tokio::time::sleep;

use crate::reader::Reader;
use crate::stage::PATIENCE;
use crate::stage::Stage;
use crate::summary::Summaries;
use crate::summary::file_systems_are_the_same;
use crate::summary::lives_are_the_same;
use crate::zoo::pods;

const PLACE: &str = "beside";
const PORT: &str = "5001";

/// Pods whose memory stands still: of others it may be anything between two readings.
pub(crate) const STEADY: [&str; 3] = ["spinner", "holder", "writer"];

/// Keys of the kubelet's summary that ours has not, up to where they begin. The README says why.
const ABSENT: [&str; 12] = [
    // What images and containers take themselves only the runtime knows.
    ".node.runtime.imageFs.usedBytes",
    ".node.runtime.imageFs.inodesUsed",
    ".node.runtime.containerFs.usedBytes",
    ".node.runtime.containerFs.inodesUsed",
    // In a pid namespace of its own podvitals cannot know the node's, on Linux 6.14 and later.
    ".node.rlimit.maxpid",
    // The kernel does not keep when a cgroup was made.
    ".node.systemContainers[].startTime",
    ".pods[].ephemeral-storage",
    ".pods[].volume",
    ".pods[].containers[].rootfs",
    ".pods[].containers[].logs",
    ".pods[].swap.swapAvailableBytes",
    // Where the kernel has no pressure of a resource the kubelet writes zeros.
    ".pods[].containers[].cpu.psi.full",
];

/// What is compared of both routes, and which part of a figure the two may be apart: the kernel hands memory to a
/// cgroup in batches for each processor, and both read what it says.
const COMPARED: [(&str, f64); 36] = [
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
    ("container_memory_mapped_file", 0.02),
    ("container_memory_max_usage_bytes", 0.02),
    ("container_memory_total_active_file_bytes", 0.02),
    ("container_memory_total_inactive_file_bytes", 0.02),
    ("container_memory_failcnt", 0.0),
    ("container_memory_failures_total", 0.0),
    ("container_network_receive_bytes_total", 0.0),
    ("container_network_receive_packets_total", 0.0),
    ("container_network_receive_packets_dropped_total", 0.0),
    ("container_network_receive_errors_total", 0.0),
    ("container_network_transmit_bytes_total", 0.0),
    ("container_network_transmit_packets_total", 0.0),
    ("container_network_transmit_packets_dropped_total", 0.0),
    ("container_network_transmit_errors_total", 0.0),
    ("container_oom_events_total", 0.0),
    ("container_threads", 0.0),
    ("container_threads_max", 0.0),
    ("container_spec_cpu_period", 0.0),
    ("container_spec_cpu_quota", 0.0),
    ("container_spec_cpu_shares", 0.0),
    ("container_spec_memory_limit_bytes", 0.0),
    ("container_spec_memory_reservation_limit_bytes", 0.0),
    // Ten seconds: between the making of a cgroup and the start of its process lies what a runtime does.
    ("container_start_time_seconds", 6e-9),
    ("pod_cpu_usage_seconds_total", 0.0),
    ("pod_memory_working_set_bytes", 0.02),
];

/// What may be none of here: no swap, no loss, no reservation, no limit that is met, no file that is mapped or looked at
/// twice.
const ZEROS: [&str; 11] = [
    "container_memory_swap",
    "container_memory_mapped_file",
    "container_memory_total_active_file_bytes",
    "container_memory_failcnt",
    "container_network_receive_packets_dropped_total",
    "container_network_receive_errors_total",
    "container_network_transmit_packets_dropped_total",
    "container_network_transmit_errors_total",
    "container_oom_events_total",
    "container_threads_max",
    "container_spec_memory_reservation_limit_bytes",
];

/// Ours and the kubelet's; of cAdvisor's names the kubelet says when each was read, and we if asked.
const ROUTES: [(&str, &str); 2] = [
    ("/metrics/resource", "metrics/resource"),
    ("/metrics/cadvisor?timestamps=1&profile=full", "metrics/cadvisor"),
];

/// Seconds for which both are read at the least: the kubelet reads each cgroup every 10 to 20 s.
const SECONDS: u32 = 35;

/// The least comparisons of one family, of rows of pods and of containers each.
const LEAST: usize = 5;

/// Route, family and labels → milliseconds and value, as the text has them.
type Series = BTreeMap<(usize, String), Vec<(u64, f64)>>;

/// Route, family and whether it is of containers, not of pods → how often it was compared, and the highest.
type Compared = BTreeMap<(usize, &'static str, bool), (usize, f64)>;

pub(crate) async fn its_figures_lie_between_two_of_ours_and_its_keys_are_here(stage: Arc<Stage>) {
    stage.cluster.create_namespace(PLACE).await.unwrap();
    stage.cluster.apply(&resting().to_string()).await.unwrap();
    let ready = ["wait", "pods", "-n", PLACE, "--all", "--for=condition=Ready", "--timeout=90s"];
    stage.cluster.kubectl(&ready).await.unwrap();
    stage.cluster.apply(&talker(&stage).await.to_string()).await.unwrap();
    stage.cluster.kubectl(&ready).await.unwrap();
    let (_forward, reader) = stage.port_forward().await;
    until_both_know(&stage, &reader).await;

    let (mut ours, mut theirs, mut summaries) = (Series::new(), Series::new(), Summaries::new());
    for second in 0.. {
        for _ in 0..2 {
            gather_ours(&reader, &mut ours, &mut summaries).await;
            sleep(Duration::from_millis(300)).await;
        }
        if second % 5 == 0 {
            for (at, (_, route)) in ROUTES.into_iter().enumerate() {
                gather(at, &of_kubelet(&stage, route).await, &mut theirs);
            }
            summaries.add_theirs(&of_kubelet(&stage, "stats/summary").await);
        } else if second % 5 == 4 && second > SECONDS {
            let lacking = lacking(&compare(&ours, &theirs)).or_else(|| summaries.lacking(PLACE));
            let Some(lacking) = lacking else { break };
            assert!(second < 3 * SECONDS, "{lacking}");
        }
    }
    println!("       figures of the kubelet between two of ours: {:?}", compare(&ours, &theirs));
    summaries.compare_node_cpu();

    let summary: Value = serde_json::from_str(&of_kubelet(&stage, "stats/summary").await).unwrap();
    let here: Value = serde_json::from_str(&reader.get("/stats/summary").await.body).unwrap();
    the_same_keys(&summary, &here);
    the_same_pods(&summary, &here);
    file_systems_are_the_same(&summary, &here);
    lives_are_the_same(&summary, &here, &pods(&stage, PLACE).await.unwrap(), PLACE);
    stage.cluster.kubectl(&["delete", "namespace", PLACE, "--timeout=90s"]).await.unwrap();
}

async fn gather_ours(reader: &Reader, series: &mut Series, summaries: &mut Summaries) {
    for (at, (route, _)) in ROUTES.into_iter().enumerate() {
        gather(at, &reader.get(route).await.body, series);
    }
    summaries.add_ours(&reader.get("/stats/summary").await.body);
}

/// The families of which too few figures were compared, or none but zeros.
fn lacking(compared: &Compared) -> Option<String> {
    let routes = 0..ROUTES.len();
    let wanted = routes.flat_map(|at| COMPARED.map(|(family, _)| [(at, family, false), (at, family, true)]));
    let wanted = wanted.flatten().filter(|(at, family, is_container)| known_to(*at, family, *is_container));
    let lacking = wanted.filter_map(|wanted| {
        let (times, highest) = compared.get(&wanted).copied().unwrap_or_default();
        // On cgroup v1 a pod has no processes of its own that could have faults.
        let of_no_process = !wanted.2 && wanted.1 == "container_memory_failures_total";
        let is_some = highest > 0.0 || of_no_process || ZEROS.contains(&wanted.1);
        (times < LEAST || !is_some).then(|| format!("{wanted:?}: {times} times up to {highest}"))
    });
    let lacking: Vec<_> = lacking.collect();
    (!lacking.is_empty()).then(|| lacking.join("\n"))
}

/// Whether a route has that family, of containers or of pods.
fn known_to(route: usize, family: &str, is_container: bool) -> bool {
    match (route, family) {
        (0, "container_cpu_usage_seconds_total" | "container_memory_working_set_bytes") => is_container,
        (0, _) => family.starts_with("pod_") && !is_container,
        // A pod's network is its sandbox's: there is none of a container.
        (_, _) if family.starts_with("container_network_") => !is_container,
        _ => family.starts_with("container_"),
    }
}

/// A pod of containers that are each allowed a tenth of a core and 96 MiB.
fn pod(name: &str, containers: &[(&str, Value)]) -> Value {
    let container = |(name, command): &(&str, Value)| {
        let mut container = json!({
            "name": name,
            "imagePullPolicy": "Never",
            "resources": { "limits": { "cpu": "100m", "memory": "96Mi" } },
        });
        // A line for a shell, or arguments of the load program.
        if command.is_string() {
            container["image"] = json!(BUSYBOX);
            container["command"] = json!(["/bin/sh", "-c", command]);
        } else {
            container["image"] = json!(LOAD);
            container["args"] = command.clone();
        }
        container
    };
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": PLACE },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": containers.iter().map(container).collect::<Vec<_>>(),
        },
    })
}

/// CPU, anonymous memory beside nothing at all, and page cache.
fn resting() -> Value {
    let write = "dd if=/dev/zero of=/file bs=1M count=16 && exec sleep 100000";
    let items = [
        pod("spinner", &[("load", json!(["spin", "--duty", "20"]))]),
        pod("holder", &[("load", json!(["memory", "--anon", "40M"])), ("idle", json!(["idle"]))]),
        pod("writer", &[("load", json!(write))]),
        pod("server", &[("load", json!(["serve-bytes", "--port", PORT]))]),
    ];
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

/// It moves bytes for as long as it lives, more of them one way than the other.
async fn talker(stage: &Stage) -> Value {
    let server = stage.cluster.find_on_node(PLACE, "server").await.unwrap().unwrap();
    let address = server.ip.unwrap().to_string();
    let amounts = ["--bytes", "20k", "--receive", "50k", "--every", "200"];
    pod("talker", &[("load", json!([&["send", &*address, PORT][..], &amounts].concat()))])
}

async fn of_kubelet(stage: &Stage, path: &str) -> String {
    let path = format!("/api/v1/nodes/{}/proxy/{path}", stage.cluster.node_name());
    stage.cluster.kubectl(&["get", "--raw", &path]).await.unwrap()
}

async fn until_both_know(stage: &Stage, reader: &Reader) {
    wait_for("both to have figures of the pods", PATIENCE, async || {
        for text in [of_kubelet(stage, "metrics/resource").await, reader.get("/metrics/resource").await.body]
        {
            for pod in ["spinner", "holder", "writer", "server", "talker"] {
                anyhow::ensure!(text.contains(&format!("pod=\"{pod}\"")), "{pod} is in one only");
            }
        }
        Ok(Some(()))
    })
    .await
    .unwrap();
}

/// The samples of a text, of the pods here. What says no time of its own, as settings do, is of now.
fn gather(route: usize, text: &str, series: &mut Series) {
    let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap();
    for line in text.lines().filter(|line| line.contains(&format!("namespace=\"{PLACE}\""))) {
        let (name, figures) = line.rsplit_once('}').unwrap();
        let Some(name) = known(name) else { continue };
        let mut words = figures.split_whitespace();
        let value = words.next().unwrap().parse().unwrap();
        let point = (words.next().map_or(now, |at| at.parse().unwrap()), value);
        let of = series.entry((route, name)).or_default();
        // Two readers of one sweep, or of one housekeeping, are told the same.
        if of.last() != Some(&point) {
            of.push(point);
        }
    }
}

/// Family and labels without those of the runtime, which stand in both texts and differ where the kubelet has
/// cgroups of its own. `None`: it is not compared, or memory that moves, or of the pause container, of which ours has no
/// series: the network that cAdvisor has there is the pod's.
fn known(name: &str) -> Option<String> {
    let (family, labels) = name.split_once('{')?;
    apart(family)?;
    let of_pause =
        !family.contains("_network_") && labels.contains("container=\"\"") && !labels.contains("image=\"\"");
    // A kubelet of 1.34 gives a pod's own faults under both scopes, and on v1 a pod has no processes of its own.
    let own_twice = family.ends_with("_failures_total") && labels.contains("scope=\"hierarchy\"");
    let is_apart = of_pause || (own_twice && labels.contains("container=\"\""));
    let is_ours = |label: &&str| !["id=", "image=", "name="].iter().any(|other| label.starts_with(other));
    let stands = STEADY.iter().any(|pod| labels.contains(&format!("pod=\"{pod}\"")));
    let labels: Vec<_> = labels.split(',').filter(is_ours).collect();
    (!is_apart && (stands || !family.contains("_memory_")))
        .then(|| format!("{family}{{{}}}", labels.join(",")))
}

/// Which part of a figure of this family the two may be apart; `None`: it is not compared.
fn apart(family: &str) -> Option<(&'static str, f64)> {
    COMPARED.into_iter().find(|(compared, _)| *compared == family)
}

/// How many of the kubelet's figures of each route and family, of containers or of pods, were found between those
/// of ours that were taken before and after, and the highest.
fn compare(ours: &Series, theirs: &Series) -> Compared {
    let (mut compared, mut wrong) = (Compared::new(), Vec::new());
    for ((route, name), points) in theirs {
        let (family, apart) = name.split_once('{').and_then(|(family, _)| apart(family)).unwrap();
        let is_container = name.contains("container=\"") && !name.contains("container=\"\"");
        let Some(known) = ours.get(&(*route, name.clone())) else {
            wrong.push(format!("no {name} in ours"));
            continue;
        };
        for (at, value) in points {
            let Some(around) = around(known, *at, *at) else { continue };
            wrong.extend(beyond(name, *at, *value, around, apart));
            let (times, highest) = compared.entry((*route, family, is_container)).or_default();
            (*times, *highest) = (*times + 1, value.max(*highest));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    compared
}

/// Our points from before that time to after it, with a sweep's leave on either side: the kubelet notes the time
/// when it has read. `None`: ours do not go that far.
pub(crate) fn around(known: &[(u64, f64)], from: u64, to: u64) -> Option<&[(u64, f64)]> {
    let first = known.partition_point(|(at, _)| *at < from).checked_sub(2)?;
    let last = known.partition_point(|(at, _)| *at <= to) + 1;
    known.get(first..=last)
}

/// What is wrong, if the value does not lie between ours.
pub(crate) fn beyond(name: &str, at: u64, value: f64, around: &[(u64, f64)], apart: f64) -> Option<String> {
    let low = around.iter().map(|(_, value)| *value).fold(f64::INFINITY, f64::min);
    let high = around.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let leave = apart * high;
    let is_between = (low - leave..=high + leave).contains(&value);
    (!is_between).then(|| format!("{name} at {at}: {value}, but ours go from {low} to {high}: {around:?}"))
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
