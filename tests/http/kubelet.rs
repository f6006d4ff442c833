//! What the kubelet's clients are told.

use std::collections::BTreeMap;

use podvitals::config::Listen;
use podvitals::model::identity::PodUid;
use podvitals::model::unavailable::Unavailable;
use podvitals::serve::{Access, Limits, bind};
use serde_json::Value;

use super::client::{Server, clock, server, server_showing, server_with};
use super::node::{self, SWEEP_WALL, snapshot};
use super::routes::{assert_golden, assert_no_null};

/// A container as metrics-server takes it from a document, by `decode.go`'s rules: by the bytes of a line.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Point {
    cpu_nanoseconds: u64,
    memory_bytes: u64,
    start_nanoseconds: u64,
    /// Whichever line with a timestamp came last.
    milliseconds: u64,
}

/// Text between `label="` and the next quote, wherever that first stands.
fn cut<'a>(line: &'a str, label: &str) -> &'a str {
    let from = line.find(&format!("{label}=\"")).unwrap() + label.len() + 2;
    line[from..].split_once('"').unwrap().0
}

pub(crate) fn metrics_server(text: &str) -> BTreeMap<(String, String, String), Point> {
    let mut points = BTreeMap::<_, Point>::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let after = line.rsplit_once('}').map_or(line, |(_, after)| after.trim_start());
        let mut fields = after.split(' ');
        let key = || {
            let [namespace, pod, container] = ["namespace", "pod", "container"].map(|label| cut(line, label));
            (namespace.to_owned(), pod.to_owned(), container.to_owned())
        };
        let key = match name {
            "node_cpu_usage_seconds_total" | "node_memory_working_set_bytes" => {
                fields.next();
                Default::default()
            }
            "container_cpu_usage_seconds_total"
            | "container_memory_working_set_bytes"
            | "container_start_time_seconds" => key(),
            _ => continue,
        };
        let point = points.entry(key).or_default();
        let nanoseconds = |value: &str| {
            let (seconds, fraction) = value.split_once('.').unwrap();
            assert_eq!(fraction.len(), 9, "{line}");
            seconds.parse::<u64>().unwrap() * 1_000_000_000 + fraction.parse::<u64>().unwrap()
        };
        let value = fields.next().unwrap();
        match name.rsplit_once('_').unwrap() {
            (_, "total") => point.cpu_nanoseconds = nanoseconds(value),
            ("container_start_time", _) => point.start_nanoseconds = nanoseconds(value),
            _ => point.memory_bytes = value.parse().unwrap(),
        }
        if let Some(timestamp) = fields.next() {
            point.milliseconds = timestamp.parse().unwrap();
        }
        assert_eq!(fields.next(), None, "{line}");
    }
    points
}

#[tokio::test]
async fn metrics_server_finds_every_container_that_runs_and_no_other() {
    let server = server().await;
    let answer = server.get("/metrics/resource").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert_golden("resource.txt", answer.text());

    let points = metrics_server(answer.text());
    let names: Vec<String> = points.keys().map(|(a, b, c)| format!("{a}/{b}/{c}")).collect();
    assert_eq!(names, ["//", "default/web/proxy", "default/web/setup", "default/web/web", "shop/db/db"]);
    let documents = server.get("/api/v1/pods").await.json();
    for pod in documents["pods"].as_array().unwrap() {
        for container in pod["containers"].as_array().unwrap() {
            let name = |of: &serde_json::Value| of["name"].as_str().unwrap_or_default().to_owned();
            let key = (pod["namespace"].as_str().unwrap_or_default().to_owned(), name(pod), name(container));
            let Some(point) = points.get(&key) else { continue };
            let (cpu, memory) = (&container["cpu"], &container["memory"]);
            if key.1 == "db" && pod["uid"] != node::NEW_DB_UID {
                assert_ne!(cpu["usageNanoseconds"], point.cpu_nanoseconds, "of the pod that ends");
                continue;
            }
            assert_eq!(cpu["usageNanoseconds"], point.cpu_nanoseconds, "{key:?}");
            assert_eq!(memory["workingSetBytes"], point.memory_bytes, "{key:?}");
            assert_eq!(container["startedAtUnixNano"], point.start_nanoseconds, "{key:?}");
            assert_eq!(cpu["timeUnixNano"].as_u64().unwrap() / 1_000_000, point.milliseconds, "{key:?}");
        }
    }
    let node = &points[&Default::default()];
    assert!(node.cpu_nanoseconds > 0 && node.memory_bytes > 0 && node.milliseconds >= SWEEP_WALL / 1_000_000);
}

#[tokio::test]
async fn a_container_that_has_used_nothing_yet_does_not_cost_the_pod() {
    let mut snapshot = snapshot();
    let web = snapshot.pods.iter().find(|pod| pod.target == 0).unwrap();
    let first = web.containers.start as usize;
    if let Ok(cpu) = &mut snapshot.containers[first].cgroup.cpu {
        cpu.value.counters.usage = std::time::Duration::ZERO;
    }
    let server = server_with(Limits::default(), clock::<0>, Some(snapshot)).await;
    let answer = server.get("/metrics/resource").await;
    let text = answer.text();
    let points = metrics_server(text);
    let of_web = points.keys().filter(|(_, pod, _)| pod == "web").count();
    assert_eq!(of_web, 2, "{text}");
    assert!(points.values().all(|point| point.cpu_nanoseconds > 0 && point.memory_bytes > 0), "{text}");
}

#[tokio::test]
async fn whoever_cannot_ask_for_the_full_profile_gets_what_the_operator_chose() {
    let lean = server().await;
    let listen = [Listen::Plain("127.0.0.1:0".parse().unwrap())];
    let bound = bind(&listen, Access::default()).await.unwrap();
    let change = |published: &mut podvitals::serve::Published| published.cadvisor_full = true;
    let full = server_showing(bound, Limits::default(), change, Some(snapshot()));
    let ask = async |server: &Server, query: &str| {
        let answer = server.get(&format!("/metrics/cadvisor{query}")).await;
        assert_eq!(answer.status, 200);
        answer.text().to_owned()
    };
    let [small, large] = [ask(&lean, "").await, ask(&lean, "?profile=full").await];
    let has = |text: &str, name: &str| text.contains(&format!("\n{name}{{"));
    assert!(has(&small, "container_memory_rss") && has(&large, "container_memory_rss"));
    assert!(
        !has(&small, "container_creation_time_seconds") && has(&large, "container_creation_time_seconds")
    );
    assert_eq!(ask(&full, "").await, large);
    // A parameter wins, whichever way, and so it does when the other document was rendered before.
    for query in ["?profile=lean", "?profile=lean&profile=none"] {
        assert_eq!(ask(&full, query).await, small, "{query}");
    }
    assert_eq!(ask(&full, "?profile=full").await, large);
    assert_eq!(ask(&lean, "?profile=lean").await, small);
}

#[tokio::test]
async fn a_node_without_figures_of_its_own_says_so() {
    let mut snapshot = snapshot();
    snapshot.node.memory = Err(Unavailable::Permission);
    let server = server_with(Limits::default(), clock::<0>, Some(snapshot)).await;
    let answer = server.get("/metrics/resource").await;
    let text = answer.text();
    assert!(text.contains("\nresource_scrape_error 1\n") && text.contains("\nscrape_error 1\n"), "{text}");
    assert!(!text.contains("node_"), "{text}");
}

#[tokio::test]
async fn what_a_kubelets_client_cannot_have_is_a_status() {
    let server = server().await;
    for (path, code, reason) in [("/metrics/nothing", 404, "NotFound"), ("/stats/x", 404, "NotFound")] {
        let answer = server.get(path).await;
        let status = answer.json();
        assert_eq!((answer.status, answer.header("content-type")), (code, "application/json"), "{path}");
        assert_eq!((&status["kind"], &status["reason"]), (&"Status".into(), &reason.into()), "{path}");
    }
    let refused = server.ask("POST", "/metrics/resource", &[]).await;
    assert_eq!((refused.status, refused.header("allow")), (405, "GET, HEAD"));
    assert_eq!(refused.json()["reason"], "MethodNotAllowed");
    let unready = server_with(Limits::default(), clock::<0>, None).await.get("/metrics/resource").await;
    assert_eq!((unready.status, unready.header("retry-after")), (503, "1"));
    assert_eq!(unready.json()["reason"], "ServiceUnavailable");
}

#[tokio::test]
async fn names_of_any_kind_stay_within_their_quotes() {
    let mut snapshot = snapshot();
    let mut targets = (*snapshot.targets).clone();
    let mut pod = (*targets.pods[0]).clone();
    let mut known = (**pod.known.as_ref().unwrap()).clone();
    known.name = "a\"} 1\n# \\".into();
    known.uid = PodUid::new(node::WEB_UID);
    pod.known = Some(known.into());
    targets.pods[0] = pod.into();
    snapshot.targets = targets.into();
    let server = server_with(Limits::default(), clock::<0>, Some(snapshot)).await;
    let answer = server.get("/metrics/resource").await;
    let text = answer.text();
    assert!(text.contains(r##"pod="a\"} 1\n# \\"}"##), "{text}");
    assert!(text.lines().all(|line| line.starts_with("# ") || line.contains(' ')), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("container_cpu")).count(), 4, "{text}");
}

/// Every number of a pod's or a container's summary that the native document has too.
fn assert_same(summary: &Value, document: &Value, at: &str) {
    for (ours, theirs) in [
        ("/cpu/usageCoreNanoSeconds", "/cpu/usageNanoseconds"),
        ("/cpu/timeUnixNano", "/cpu/timeUnixNano"),
        ("/cpu/throttling/throttledPeriods", "/cpu/throttling/throttledPeriods"),
        ("/cpu/psi/some/total", "/pressure/cpu/someMicroseconds"),
        ("/memory/usageBytes", "/memory/usageBytes"),
        ("/memory/workingSetBytes", "/memory/workingSetBytes"),
        ("/memory/rssBytes", "/memory/anonBytes"),
        ("/memory/pageFaults", "/memory/pageFaults"),
        ("/memory/psi/full/total", "/pressure/memory/fullMicroseconds"),
        ("/swap/swapUsageBytes", "/memory/swapBytes"),
        ("/blkio/writeOperations", "/io/writeOperations"),
        ("/process_stats/process_count", "/pids/current"),
        ("/ageSeconds", "/ageSeconds"),
    ] {
        let is_missing = matches!(ours, "/ageSeconds" | "/process_stats/process_count") && at.contains('#');
        if !is_missing {
            assert_eq!(summary.pointer(ours), document.pointer(theirs), "{at}{ours}");
        }
    }
    if let Some(cores) = document.pointer("/cpu/cores").and_then(Value::as_f64) {
        let nano = summary.pointer("/cpu/usageNanoCores").and_then(Value::as_f64).unwrap();
        assert!((nano / 1e9 - cores).abs() < 1e-9, "{at}: {nano} and {cores}");
    }
    let limit = document.pointer("/memory/limitBytes").and_then(Value::as_u64);
    let left =
        limit.map(|limit| limit.saturating_sub(document["memory"]["workingSetBytes"].as_u64().unwrap()));
    assert_eq!(summary.pointer("/memory/availableBytes").and_then(Value::as_u64), left, "{at}");
}

#[tokio::test]
async fn the_summary_has_the_figures_of_the_documents() {
    let server = server().await;
    let answer = server.get("/stats/summary").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let summary = answer.json();
    assert_no_null("summary", &summary);
    assert_golden("summary.json", &(serde_json::to_string_pretty(&summary).unwrap() + "\n"));
    assert_eq!(server.get("/stats/summary/").await.json(), summary, "heapster asks with a slash");

    let mut containers = 0;
    for pod in summary["pods"].as_array().unwrap() {
        let uid = pod["podRef"]["uid"].as_str().unwrap();
        let document = server.get(&format!("/api/v1/pods/{uid}")).await.json();
        assert_same(pod, &document, uid);
        assert_eq!(pod["podRef"]["apiUid"], document["uid"]);
        assert_eq!(pod["podRef"]["name"], document["name"]);
        for container in pod["containers"].as_array().unwrap() {
            let name = container["name"].as_str().unwrap();
            let found = document["containers"].as_array().unwrap().iter().find(|it| it["name"] == name);
            assert_same(container, found.unwrap(), &format!("{uid}#{name}"));
            containers += 1;
        }
        let network = &document["network"];
        assert_eq!(pod.get("network").is_some(), network.is_object(), "{uid}");
        let primary = network["interfaces"].as_array().into_iter().flatten().find(|it| it["primary"] == true);
        if let Some(primary) = primary.filter(|_| network["source"] != "netns_ip") {
            for key in ["name", "rxBytes", "rxErrors", "txBytes", "txErrors", "rxPackets", "txDropped"] {
                assert_eq!(pod["network"].get(key), primary.get(key), "{uid} {key}");
            }
        }
    }
    assert_eq!(containers, 4);
    let names: Vec<_> =
        summary["pods"].as_array().unwrap().iter().map(|pod| &pod["podRef"]["name"]).collect();
    assert_eq!(names, ["web", "young", "etcd-n1", "db"]);
    let etcd = &summary["pods"][2];
    assert_eq!((&etcd["podRef"]["uid"], etcd.get("network")), (&node::ETCD_HASH.into(), None));
    assert_eq!(
        summary["pods"][3]["podRef"]["uid"],
        node::NEW_DB_UID,
        "of two of one name the one that lives"
    );
}

#[tokio::test]
async fn the_summary_of_cpu_and_memory_has_nothing_else() {
    let server = server().await;
    let whole = server.get("/stats/summary").await.json();
    let part = server.get("/stats/summary?only_cpu_and_memory=true").await.json();
    let keys = |of: &Value| of.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&part["node"]), ["cpu", "memory", "nodeName", "startTime", "swap", "systemContainers"]);
    assert_eq!(keys(&part["node"]["systemContainers"][0]), ["ageSeconds", "cpu", "memory", "name", "swap"]);
    assert_eq!(
        keys(&part["pods"][0]),
        ["ageSeconds", "containers", "cpu", "memory", "podRef", "startTime", "swap"]
    );
    assert_eq!(
        keys(&part["pods"][0]["containers"][0]),
        ["ageSeconds", "cpu", "memory", "name", "startTime", "swap"]
    );
    for key in ["cpu", "memory", "swap"] {
        assert_eq!(part["pods"][0][key], whole["pods"][0][key]);
    }
    // As the kubelet: any other value, and any other parameter, is nothing.
    for query in ["only_cpu_and_memory=1", "x=y"] {
        assert_eq!(server.get(&format!("/stats/summary?{query}")).await.json(), whole, "{query}");
    }
}

#[tokio::test]
async fn a_container_of_which_too_little_is_known_is_not_in_the_summary() {
    let mut snapshot = snapshot();
    let web = snapshot.pods.iter().find(|pod| pod.target == 0).unwrap();
    let first = web.containers.start as usize;
    snapshot.containers[first].cgroup.memory = Err(Unavailable::NotYet);
    let server = server_with(Limits::default(), clock::<0>, Some(snapshot)).await;
    let summary = server.get("/stats/summary").await.json();
    let names: Vec<_> =
        summary["pods"][0]["containers"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["proxy", "setup"]);
}

#[tokio::test]
async fn the_pods_are_listed_as_the_kubelet_would() {
    let server = server().await;
    let answer = server.get("/pods").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let list = answer.json();
    assert_no_null("pods", &list);
    assert_golden("pod_list.json", &(serde_json::to_string_pretty(&list).unwrap() + "\n"));
    assert_eq!((&list["kind"], &list["apiVersion"]), (&"PodList".into(), &"v1".into()));

    let items = list["items"].as_array().unwrap();
    let names: Vec<_> = items.iter().map(|pod| &pod["metadata"]["name"]).collect();
    assert_eq!(names, ["web", "young", "etcd-n1", "db", "db"], "both of one name, as their UIDs differ");
    let web = &items[0];
    let name =
        |list: &Value| list.as_array().unwrap().iter().map(|it| it["name"].clone()).collect::<Vec<_>>();
    assert_eq!(name(&web["spec"]["containers"]), ["crashing", "web"]);
    assert_eq!(name(&web["status"]["initContainerStatuses"]), ["setup", "proxy"]);
    let app = &web["status"]["containerStatuses"][1];
    let id = app["containerID"].as_str().unwrap().strip_prefix("containerd://").unwrap();
    assert_eq!((id.len(), app["state"]["running"].is_object()), (64, true));
    assert_eq!(web["status"]["containerStatuses"][0]["state"]["waiting"]["reason"], "CrashLoopBackOff");
    let requests = &web["spec"]["containers"][1]["resources"]["requests"];
    assert_eq!((&requests["cpu"], &requests["memory"]), (&"100m".into(), &"67108864".into()));
    let etcd = &items[2];
    assert_eq!(etcd["metadata"]["uid"], node::ETCD_HASH, "as in the summary");
    assert_eq!(etcd["metadata"]["annotations"]["kubernetes.io/config.source"], "file");
    assert_eq!(etcd["spec"]["hostNetwork"], true);
}
