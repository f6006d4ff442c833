//! `/metrics/cadvisor` and `/metrics/pods`: who has which rows, and that all forms tell the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use podvitals::model::counters::{InterfaceName, InterfaceRow, NetworkCounters};
use podvitals::model::snapshot::Snapshot;
use podvitals::serve::Limits;
use serde_json::Value;

use super::client::{Server, clock, server, server_with, set_clock};
use super::exposition::{Document, names, read_openmetrics, read_protobuf, read_text};
use super::node::{self, NAMELESS_UID, SECOND, SWEEP_WALL, WEB_UID, YOUNG_UID};
use super::routes::assert_golden;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

async fn text(server: &Server, path: &str) -> Document {
    read_text(server.get(path).await.text())
}

/// What the route tells, after checking that all forms tell it.
pub(crate) async fn in_every_form(server: &Server, path: &str) -> Document {
    let ask = async |kind: &str| {
        let answer = server.ask("GET", path, &[("Accept", kind)]).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, kind), "{path}");
        assert_eq!(answer.header("vary"), "Accept, Accept-Encoding");
        answer
    };
    let plain = read_text(ask(TEXT).await.text());
    let open = read_openmetrics(ask(OPENMETRICS).await.text());
    let protobuf = read_protobuf(&ask(PROTOBUF).await.body);
    let told = |document: &Document| {
        let mut all = document.samples.clone();
        all.values_mut().for_each(|sample| sample.text.clear());
        all
    };
    assert!(told(&plain) == told(&open), "{path}: text and OpenMetrics differ");
    assert!(told(&plain) == told(&protobuf), "{path}: text and protobuf differ");
    let kinds = |document: &Document| {
        let kinds = document
            .families
            .iter()
            .map(|(name, (kind, help, _))| (name.clone(), kind.clone(), help.clone()));
        let ours = kinds.filter(|(name, _, _)| !name.ends_with("_created"));
        // What has no word in one form has another in its stead.
        ours.map(|(name, kind, help)| {
            let kind = match kind.as_str() {
                "info" => "gauge".to_owned(),
                "unknown" => "counter".to_owned(),
                _ => kind,
            };
            (name, kind, help)
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(kinds(&plain), kinds(&open), "{path}");
    assert_eq!(kinds(&plain), kinds(&protobuf), "{path}");
    plain
}

#[tokio::test]
async fn both_documents_are_as_agreed_and_tell_the_same_in_every_form() {
    let server = server().await;
    for (path, golden) in [("/metrics/cadvisor", "cadvisor.txt"), ("/metrics/pods", "series.txt")] {
        assert_golden(golden, server.get(path).await.text());
        in_every_form(&server, path).await;
    }
    in_every_form(&server, "/metrics/cadvisor?profile=full&timestamps=1").await;
}

#[tokio::test]
async fn the_form_goes_by_what_the_reader_accepts() {
    let server = server().await;
    let prometheus = "application/openmetrics-text;version=1.0.0,\
        application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    for path in ["/metrics/cadvisor", "/metrics/pods", "/metrics/cadvisor?profile=full"] {
        for (accept, kind) in [(prometheus, OPENMETRICS), ("*/*", TEXT), ("image/png", TEXT)] {
            let answer = server.ask("GET", path, &[("Accept", accept)]).await;
            assert_eq!((answer.status, answer.header("content-type")), (200, kind), "{path} {accept}");
        }
        let zipped = server.ask("GET", path, &[("Accept-Encoding", "gzip")]).await;
        assert_eq!(zipped.header("content-encoding"), "gzip");
    }
}

/// Ids of the rows of a family.
fn ids(document: &Document, name: &str) -> BTreeSet<String> {
    document.of(name).map(|(labels, _)| labels["id"].clone()).collect()
}

#[tokio::test]
async fn rows_are_those_of_the_node_of_named_pods_and_of_their_containers() {
    let server = server().await;
    let document = text(&server, "/metrics/cadvisor?profile=full").await;
    for (name, labels) in document.samples.keys() {
        if name.starts_with("machine_")
            || ["container_scrape_error", "cadvisor_version_info"].contains(&&**name)
        {
            continue;
        }
        let label = |name: &str| labels.get(name).map_or("", String::as_str);
        let is_node = label("id") == "/";
        assert_eq!(is_node, label("pod").is_empty(), "{name}{labels:?}");
        assert_eq!(is_node, label("namespace").is_empty(), "{name}{labels:?}");
        // An image, a container and a container's id go together: else sums have things twice.
        let parts = ["container", "image", "name"].map(|part| label(part).is_empty());
        assert!(parts == [true; 3] || parts == [false; 3], "{name}{labels:?}");
        assert!(label("id").starts_with('/') && label("id").contains(label("name")));
        assert_eq!(name.starts_with("container_network_"), labels.contains_key("interface"), "{name}");
        if labels.contains_key("interface") {
            assert!(label("container").is_empty(), "{name}{labels:?}");
        }
        if let Some(device) = labels.get("device") {
            assert!(device.starts_with("/dev/") && !device.contains("dm-"), "{device}");
        }
        assert_eq!(name == "container_cpu_usage_seconds_total", labels.contains_key("cpu"));
        assert_eq!(labels.get("cpu").map_or("total", String::as_str), "total");
    }
    let pods: BTreeSet<String> =
        document.samples.keys().filter_map(|(_, labels)| labels.get("pod").cloned()).collect();
    assert_eq!(pods, ["db", "etcd-n1", "web", "young"].map(String::from).into());
    let containers: BTreeSet<String> =
        document.samples.keys().filter_map(|(_, labels)| labels.get("container").cloned()).collect();
    assert!(["web", "proxy", "setup", "db"].iter().all(|one| containers.contains(*one)), "{containers:?}");
    assert!(!containers.contains("early"), "nobody knows which child of its pod is the sandbox");
    assert!(!containers.contains("crashing"), "it does not run");
    // The node's network is the node's.
    let etcd = ids(&document, "container_cpu_usage_seconds_total")
        .into_iter()
        .find(|id| id.contains(node::ETCD_HASH));
    let with_network = ids(&document, "container_network_receive_bytes_total");
    assert!(with_network.contains("/") && !with_network.contains(&etcd.unwrap()));
    let eth0 = document
        .one("container_network_receive_bytes_total", &[("pod", "web"), ("interface", "eth0")])
        .unwrap();
    assert_eq!(eth0.text, "12000000000");
    assert!(document.one("container_network_receive_bytes_total", &[("interface", "lo")]).is_none());
    // From the host's end of the link nobody knows what the pod's end dropped.
    assert!(
        document
            .of("container_network_receive_errors_total")
            .all(|(labels, _)| labels.get("pod").is_none_or(|pod| pod != "db"))
    );
}

#[tokio::test]
async fn a_limit_that_is_not_there_is_zero_and_bandwidth_counts_only_with_a_quota() {
    let document = text(&server().await, "/metrics/cadvisor?profile=full").await;
    let has = |name: &str, pod: &str| {
        document.of(name).any(|(labels, _)| labels.get("pod").is_some_and(|it| it == pod))
    };
    let limits = |pod: &str| -> Vec<f64> {
        let all = document.of("container_spec_memory_limit_bytes");
        all.filter(|(labels, _)| labels.get("pod").is_some_and(|it| it == pod))
            .map(|(_, it)| it.value)
            .collect()
    };
    assert!(limits("web").iter().all(|limit| *limit == (512 << 20) as f64) && !limits("web").is_empty());
    assert!(limits("db").iter().all(|limit| *limit == 0.0) && !limits("db").is_empty());
    assert!(has("container_cpu_cfs_periods_total", "web") && !has("container_cpu_cfs_periods_total", "db"));
    assert!(has("container_cpu_usage_seconds_total", "db"));
    for absent in ["container_memory_swap", "container_memory_max_usage_bytes"] {
        assert!(has(absent, "web") && !has(absent, "db"), "{absent}");
    }
}

#[tokio::test]
async fn times_are_shown_when_they_are_asked_for_and_are_those_of_the_reads() {
    let server = server().await;
    assert!(text(&server, "/metrics/cadvisor").await.samples.values().all(|sample| sample.at.is_none()));
    let timed = text(&server, "/metrics/cadvisor?timestamps=1&nonsense=%ff").await;
    let labels = [("container", "web"), ("pod", "web")];
    let at = |name: &str| timed.one(name, &labels).unwrap().at;
    let milliseconds = |nanos: u64| Some(nanos / 1_000_000);
    assert_eq!(at("container_cpu_usage_seconds_total"), milliseconds(SWEEP_WALL + 10_000));
    assert_eq!(at("container_memory_rss"), milliseconds(SWEEP_WALL + 20_000));
    assert_eq!(at("container_start_time_seconds"), None);
    let value = |name: &str| timed.one(name, &labels).unwrap().text.clone();
    assert_eq!(
        value("container_start_time_seconds"),
        format!("{}.123456789", (SWEEP_WALL - 45 * SECOND) / SECOND)
    );
    assert_eq!(value("container_last_seen"), "1795222923.123506789", "its last figure is 50 µs younger");
}

/// In a pid namespace of its own podvitals is told the limit of that.
#[tokio::test]
async fn a_limit_of_the_node_that_is_not_known_is_absent() {
    let of_node = async |limit| {
        let mut snapshot = node::snapshot();
        snapshot.node.tasks.as_mut().unwrap().value.limit = limit;
        let document = text(&serving(snapshot).await, "/metrics/cadvisor?profile=full").await;
        let of = |name: &str| {
            document.of(name).find(|(labels, _)| labels["id"] == "/").map(|(_, sample)| sample.value)
        };
        [of("container_threads"), of("container_threads_max")]
    };
    assert_eq!(of_node(None).await, [Some(311.0), None]);
    assert_eq!(of_node(Some(4096)).await, [Some(311.0), Some(4096.0)]);
}

#[tokio::test]
async fn each_family_of_the_kubelet_and_of_cadvisor_is_served_or_has_a_reason() {
    let server = serving(with_everything(&[])).await;
    let ours = text(&server, "/metrics/cadvisor?profile=full").await;
    let absent: BTreeMap<&str, &str> = include_str!("../../fixtures/cadvisor/absent.txt")
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .collect();
    assert!(absent.keys().all(|name| !ours.families.contains_key(*name)), "a reason for what is served");
    let mut theirs = BTreeSet::new();
    for capture in [
        include_str!("../../fixtures/cadvisor/kubelet-1.34.txt"),
        include_str!("../../fixtures/cadvisor/cadvisor-0.60.txt"),
    ] {
        let capture = read_capture(capture);
        for (name, (kind, labels)) in &capture {
            theirs.insert(name.clone());
            let Some((our_kind, _, _)) = ours.families.get(name) else {
                assert!(absent.contains_key(name.as_str()), "{name} is neither served nor on the list");
                continue;
            };
            assert_eq!(our_kind, kind, "{name}");
            if labels.contains("namespace") && !name.starts_with("machine_") {
                let printed = printed_labels(server.get("/metrics/cadvisor?profile=full").await.text(), name);
                assert_eq!(&printed, labels, "{name}");
            }
        }
    }
    let idle: Vec<_> = absent.keys().filter(|name| !theirs.contains(**name)).collect();
    assert!(idle.is_empty(), "reasons for what nobody serves: {idle:?}");
    let strange: Vec<_> = names(&ours).into_iter().filter(|name| !theirs.contains(*name)).collect();
    assert_eq!(strange, [""; 0], "we serve what neither of them does");
}

/// Type and label names of each family.
fn read_capture(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.map(|(name, kind)| (name.to_owned(), (kind.to_owned(), printed_labels(text, name)))).collect()
}

/// The label names of a family's first row, empty ones included.
fn printed_labels(text: &str, name: &str) -> BTreeSet<String> {
    let row = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('{')).unwrap_or_default();
    let labels = row.split("\",").filter_map(|part| part.split_once("=\""));
    labels.map(|(label, _)| label.to_owned()).collect()
}

/// The series that stand for a figure of `/api/v1/pods`.
const FIGURES: [(&str, &str); 20] = [
    ("cpu_usage_cores", "/cpu/cores"),
    ("cpu_limit_cores", "/cpu/limitCores"),
    ("cpu_request_cores", "/cpu/requestCores"),
    ("cpu_periods_total", "/cpu/throttling/periods"),
    ("cpu_throttled_periods_total", "/cpu/throttling/throttledPeriods"),
    ("memory_usage_bytes", "/memory/usageBytes"),
    ("memory_working_set_bytes", "/memory/workingSetBytes"),
    ("memory_anon_bytes", "/memory/anonBytes"),
    ("memory_file_bytes", "/memory/fileBytes"),
    ("memory_swap_bytes", "/memory/swapBytes"),
    ("memory_peak_bytes", "/memory/peakBytes"),
    ("memory_limit_bytes", "/memory/limitBytes"),
    ("memory_request_bytes", "/memory/requestBytes"),
    ("memory_page_faults_total", "/memory/pageFaults"),
    ("memory_oom_kills_total", "/memory/oomKills"),
    ("io_read_bytes_total", "/io/readBytes"),
    ("io_write_operations_total", "/io/writeOperations"),
    ("pids", "/pids/current"),
    ("pids_limit", "/pids/limit"),
    ("sample_age_seconds", "/ageSeconds"),
];

const OF_PODS_ONLY: [(&str, &str); 10] = [
    ("network_receive_bytes_total", "/network/rxBytes"),
    ("network_transmit_packets_total", "/network/txPackets"),
    ("network_receive_dropped_total", "/network/rxDropped"),
    ("network_transmit_errors_total", "/network/txErrors"),
    ("window_seconds", "/window/seconds"),
    ("window_cpu_usage_max_cores", "/window/cpuCoresMax"),
    ("window_cpu_usage_p95_cores", "/window/cpuCoresP95"),
    ("window_memory_working_set_max_bytes", "/window/memoryWorkingSetMaxBytes"),
    ("window_network_receive_max_bytes_per_second", "/window/rxBytesPerSecondMax"),
    ("window_network_transmit_max_bytes_per_second", "/window/txBytesPerSecondMax"),
];

/// What is absent there for a reason that has no series here.
const WITHOUT: [&str; 10] = [
    "cpu.containersSum",
    "cpu.containersSum.cores",
    "memory.containersSum",
    "io.readBytesPerSecond",
    "io.writeBytesPerSecond",
    "io.readOperationsPerSecond",
    "io.writeOperationsPerSecond",
    "network.rxBytesPerSecond",
    "network.txBytesPerSecond",
    "network.rxPacketsPerSecond",
];

#[tokio::test]
async fn our_own_series_are_the_figures_of_the_pods_and_their_reasons() {
    let server = server().await;
    let series = in_every_form(&server, "/metrics/pods").await;
    let list = server.get("/api/v1/pods").await.json();
    let mut compared = 0;
    for pod in list["pods"].as_array().unwrap() {
        let uid = pod["runtimeUid"].as_str().unwrap();
        let all = FIGURES.iter().chain(&OF_PODS_ONLY);
        compared += compare(&series, "podvitals_pod_", ("uid", uid), pod, all);
        for container in pod["containers"].as_array().unwrap() {
            if let Some(id) = container["id"].as_str().filter(|_| container["state"] != "waiting") {
                compared += compare(&series, "podvitals_container_", ("id", id), container, FIGURES.iter());
            }
        }
        let created = series.one("podvitals_pod_network_receive_bytes_created", &[("uid", uid)]);
        let since = pod.pointer("/network/sinceUnixNano").and_then(Value::as_u64);
        assert_eq!(created.map(|it| it.value), since.map(|since| since as f64 / 1e9), "{uid}");
    }
    assert!(compared > 150, "{compared}");
}

/// Compares each figure and each reason; how many figures there were.
fn compare<'a>(
    series: &Document,
    prefix: &str,
    key: (&str, &str),
    object: &Value,
    figures: impl Iterator<Item = &'a (&'a str, &'a str)>,
) -> usize {
    let mut there = 0;
    for (name, path) in figures {
        let name = format!("{prefix}{name}");
        let told = series.one(&name, &[key]).map(|sample| sample.text.clone());
        let figure = object.pointer(path).map(|figure| figure.to_string());
        let number = |text: &Option<String>| text.as_ref().map(|text| text.parse::<f64>().unwrap());
        assert_eq!(number(&told), number(&figure), "{name} {key:?}");
        there += usize::from(told.is_some());
    }
    let name = format!("{prefix}unavailable");
    let mut reasons: BTreeMap<String, String> = BTreeMap::new();
    for (labels, sample) in
        series.of(&name).filter(|(labels, _)| labels.get(key.0).is_some_and(|it| it == key.1))
    {
        assert_eq!(sample.text, "1");
        assert!(reasons.insert(labels["figure"].clone(), labels["reason"].clone()).is_none());
    }
    let expected = object["unavailable"].as_object().unwrap().iter();
    let expected = expected
        .filter(|(path, _)| !WITHOUT.contains(&path.as_str()) && *path != "network.txPacketsPerSecond");
    let expected = expected.map(|(path, why)| (path.clone(), why.as_str().unwrap().to_owned())).collect();
    assert_eq!(reasons, expected, "{key:?}");
    there
}

#[tokio::test]
async fn what_has_no_name_yet_is_shown_by_its_ids() {
    let series = text(&server().await, "/metrics/pods").await;
    let info = |name: &str, key: (&str, &str)| {
        let mut all =
            series.of(name).filter(move |(labels, _)| labels.get(key.0).is_some_and(|it| it == key.1));
        all.next().unwrap().0.clone()
    };
    let nameless = info("podvitals_pod_info", ("uid", NAMELESS_UID));
    assert!(!nameless.contains_key("pod") && !nameless.contains_key("namespace"));
    let young: Vec<_> = series
        .of("podvitals_container_info")
        .filter(|(labels, _)| labels["uid"] == YOUNG_UID)
        .map(|(labels, _)| (labels["pod"].clone(), labels.get("container").cloned()))
        .collect();
    assert_eq!(young, [("young".to_owned(), None), ("young".to_owned(), None)], "any may be the sandbox");
    let web = info("podvitals_pod_info", ("uid", WEB_UID));
    assert_eq!(
        [&web["qos_class"], &web["owner_name"], &web["network_source"]],
        ["Burstable", "web-5d4", "netns"]
    );
}

/// The node with one more pod of this namespace, name, image and these interfaces, whose container has it all.
fn with_pod(namespace: &str, name: &str, image: &str, interfaces: &[InterfaceName]) -> Snapshot {
    let mut snapshot = node::snapshot();
    let mut targets = (*snapshot.targets).clone();
    let mut pod = (*targets.pods[0]).clone();
    let mut known = (**pod.known.as_ref().unwrap()).clone();
    (known.namespace, known.name) = (namespace.into(), name.into());
    pod.known = Some(Arc::new(known));
    let child = pod.containers.first_mut().unwrap();
    let mut known = (**child.known.as_ref().unwrap()).clone();
    (known.name, known.image) = (name.into(), Some(image.into()));
    child.known = Some(Arc::new(known));
    pod.cgroup.path = pod.cgroup.path.child("again");
    child.cgroup.path = child.cgroup.path.child("again");
    targets.pods.push(Arc::new(pod));
    let mut figures = snapshot.pods.iter().find(|pod| pod.target == 0).unwrap().clone();
    figures.target = u32::try_from(targets.pods.len() - 1).unwrap();
    let index = |length: usize| u32::try_from(length).unwrap();
    let start = figures.containers.start as usize;
    let first = index(snapshot.containers.len());
    snapshot.containers.push(snapshot.containers[start].clone());
    figures.containers = first..first + 1;
    let first = index(snapshot.interfaces.len());
    for (number, name) in (1..).zip(interfaces) {
        let counters = NetworkCounters { rx_bytes: number, ..NetworkCounters::default() };
        snapshot.interfaces.push(InterfaceRow { name: *name, primary: false, counted: true, counters });
    }
    if let Ok(network) = &mut figures.network {
        network.value.interfaces = first..index(snapshot.interfaces.len());
    }
    snapshot.pods.push(figures);
    snapshot.targets = Arc::new(targets);
    snapshot
}

async fn serving(snapshot: Snapshot) -> Server {
    server_with(Limits::default(), clock::<0>, Some(snapshot)).await
}

#[tokio::test]
async fn names_that_are_made_to_break_a_document_are_read_back_as_they_are() {
    let interfaces = [b"eth0\"} 1\n".as_slice(), b"\xff\xfe\\n", b"a\x01\xc3\xa9{,=", b"\\", b"\n#"];
    let interfaces = interfaces.map(|name| InterfaceName::new(name).unwrap());
    for hostile in ["a\"b", "\n# EOF\n", "back\\slash\\n", "{}, =#", "", "é\u{2028}\u{0}\r\n", "\\\""] {
        let server = serving(with_pod(hostile, "same", hostile, &interfaces)).await;
        let documents = [
            in_every_form(&server, "/metrics/cadvisor?profile=full&timestamps=1").await,
            in_every_form(&server, "/metrics/cadvisor").await,
        ];
        for document in documents {
            let labels = [("namespace", hostile), ("pod", "same")];
            let rows = document.of("container_network_receive_bytes_total");
            let found: BTreeSet<String> = rows
                .filter(|(all, _)| all.get("pod").is_some_and(|pod| pod == "same"))
                .map(|(all, _)| all["interface"].clone())
                .collect();
            assert_eq!(found, interfaces.map(|name| name.to_string()).into(), "{hostile:?}");
            let container = [labels[0], labels[1], ("container", "same"), ("image", hostile)];
            let rss = document.one("container_memory_rss", &container).map(|sample| sample.text.clone());
            assert_eq!(rss.as_deref(), Some("104857600"), "{hostile:?}");
        }
        let series = in_every_form(&server, "/metrics/pods").await;
        let labels = [("namespace", hostile), ("pod", "same"), ("container", "same")];
        assert!(series.one("podvitals_container_memory_anon_bytes", &labels).is_some(), "{hostile:?}");
    }
}

/// What the README says, of a pod that has everything: one disk, one interface, every limit.
const OF_AN_INTERFACE: usize = 8;
const OF_A_POD: usize = 28;
const OF_A_CONTAINER: usize = 32;
const OWN_OF_A_POD: usize = 64;
const OWN_OF_A_CONTAINER: usize = 40;

#[tokio::test]
async fn the_number_of_series_is_as_promised_and_grows_with_what_there_is() {
    let [eth0, eth1] = [b"eth0", b"eth1"].map(|name| InterfaceName::new(name).unwrap());
    let pods = async |path: &str, interfaces: &[InterfaceName]| {
        let document = text(&serving(with_everything(interfaces)).await, path).await;
        let mut counts = [0; 2];
        for (_, labels) in
            document.samples.keys().filter(|(_, labels)| labels.get("pod").is_some_and(|it| it == "p"))
        {
            counts[usize::from(labels.contains_key("container"))] += 1;
        }
        counts
    };
    assert_eq!(pods("/metrics/cadvisor", &[eth0]).await, [OF_A_POD + OF_AN_INTERFACE, OF_A_CONTAINER]);
    assert_eq!(
        pods("/metrics/cadvisor", &[eth0, eth1]).await,
        [OF_A_POD + 2 * OF_AN_INTERFACE, OF_A_CONTAINER]
    );
    assert_eq!(pods("/metrics/pods", &[eth0]).await, [OWN_OF_A_POD, OWN_OF_A_CONTAINER]);
    assert_eq!(
        pods("/metrics/pods", &[eth0, eth1]).await,
        [OWN_OF_A_POD, OWN_OF_A_CONTAINER],
        "it is summed up"
    );
    for promise in [
        format!(
            "{OF_A_CONTAINER} series a container with one disk, {OF_A_POD} a pod and {OF_AN_INTERFACE} an interface"
        ),
        format!("{OWN_OF_A_CONTAINER} series a container and {OWN_OF_A_POD} a pod"),
    ] {
        assert!(include_str!("../../README.md").contains(&promise), "README.md does not say: {promise}");
    }
}

/// The node with one more pod, on a kernel that tells of all there is.
fn with_everything(interfaces: &[InterfaceName]) -> Snapshot {
    let mut snapshot = with_pod("n", "p", "i", interfaces);
    let pods = snapshot.pods.iter_mut().map(|pod| &mut pod.cgroup);
    for cgroup in pods.chain(snapshot.containers.iter_mut().map(|container| &mut container.cgroup)) {
        if let Ok(pressure) = &mut cgroup.pressure
            && let Some(cpu) = &mut pressure.value.cpu
        {
            cpu.full = Some(cpu.some);
        }
    }
    snapshot
}

#[tokio::test]
async fn each_form_is_rendered_once_a_sweep_for_all_who_ask() {
    let server = server_with(Limits::default(), clock::<7>, Some(node::snapshot())).await;
    let age = async |kind: &str| {
        let answer = server.ask("GET", "/metrics/pods", &[("Accept", kind)]).await;
        (answer.header("podvitals-age-seconds").to_owned(), answer.body)
    };
    let (first, body) = age(TEXT).await;
    assert_eq!(first, "0.000000");
    set_clock::<7>(0.812);
    assert_eq!(age(TEXT).await, ("0.400000".to_owned(), body), "nobody renders it again");
    assert_eq!(age(OPENMETRICS).await.0, "0.000000", "this one nobody had asked for");
    set_clock::<7>(0.912);
    assert_eq!(age(OPENMETRICS).await.0, "0.100000");
    assert_eq!(age(PROTOBUF).await.0, "0.000000");
}

#[tokio::test]
async fn the_readme_names_each_of_our_own_series_with_its_type() {
    let document = text(&serving(with_everything(&[])).await, "/metrics/pods").await;
    let readme = include_str!("../../README.md");
    for (name, (kind, _, _)) in document.families.iter().filter(|(name, _)| !name.ends_with("_created")) {
        let of_both = ["podvitals_pod_", "podvitals_container_"]
            .map(|prefix| name.replace(prefix, "podvitals_{pod,container}_"))
            .into_iter()
            .find(|other| other != name);
        let rows =
            [Some(name.clone()), of_both].map(|name| name.map(|name| format!("\n| `{name}` | {kind} | ")));
        let named = rows.iter().flatten().filter(|row| readme.contains(row.as_str())).count();
        assert_eq!(named, 1, "README.md: rows for {name}, {kind}");
    }
}
