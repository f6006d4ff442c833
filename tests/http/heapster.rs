//! Heapster's model API, as its clients read it.

use std::sync::Arc;

use podvitals::config::Listen;
use podvitals::serve::{Access, Limits, bind};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::client::{Server, clock, server, server_that_remembers, server_with};
use super::hostile::{Called, called, hostile, rename};
use super::node::{self, MIB, SECOND};
use super::routes::{assert_golden, assert_no_null};

const MODEL: &str = "/api/v1/model";
const WEB: &str = "/api/v1/model/namespaces/default/pods/web";
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The node of the sweeps before, for as long as it is remembered.
const TIMES: [&str; 4] = ["00", "01", "02", "03"];

async fn get(server: &Server, path: &str) -> Value {
    let answer = server.get(path).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{path}");
    let document = answer.json();
    assert_no_null(path, &document);
    document
}

fn values(result: &Value) -> Vec<u64> {
    result["metrics"].as_array().unwrap().iter().map(|point| point["value"].as_u64().unwrap()).collect()
}

fn times(result: &Value) -> Vec<&str> {
    result["metrics"].as_array().unwrap().iter().map(|point| point["timestamp"].as_str().unwrap()).collect()
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[tokio::test]
async fn what_is_there_is_listed() {
    let server = server().await;
    for (path, list) in [
        ("/nodes/", json!(["n1"])),
        ("/nodes/n1/freecontainers/", json!(["pods"])),
        ("/namespaces/", json!(["default", "kube-system", "shop"])),
        ("/namespaces", json!(["default", "kube-system", "shop"])),
        ("/namespaces/default/pods/", json!(["web", "young"])),
        ("/namespaces/shop/pods/", json!(["db"])),
        ("/namespaces/nosuch/pods/", json!([])),
        ("/namespaces/default/pods/web/containers/", json!(["web", "proxy", "setup"])),
        ("/namespaces/default/pods/young/containers/", json!([])),
        ("/namespaces/default/pods/nosuch/containers/", json!([])),
        (
            "/debug/allkeys",
            json!([
                "namespace:default/pod:web",
                "namespace:default/pod:web/container:proxy",
                "namespace:default/pod:web/container:setup",
                "namespace:default/pod:web/container:web",
                "namespace:default/pod:young",
                "namespace:kube-system/pod:etcd-n1",
                "namespace:shop/pod:db",
                "namespace:shop/pod:db/container:db",
                "node:n1",
                "node:n1/container:pods",
            ]),
        ),
    ] {
        assert_eq!(get(&server, &format!("{MODEL}{path}")).await, list, "{path}");
    }
}

/// What each kind of thing has, and what the one that lacks something lacks.
#[tokio::test]
async fn metrics_are_listed_where_they_are_known() {
    let server = server().await;
    let names = async |path: &str| -> Vec<String> {
        let list = get(&server, &format!("{MODEL}{path}")).await;
        list.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    let has = |names: &[String], name: &str| names.iter().any(|known| known == name);
    let node = names("/nodes/n1/metrics/").await;
    let web = names("/namespaces/default/pods/web/metrics/").await;
    let app = names("/namespaces/default/pods/web/containers/web/metrics/").await;
    let etcd = names("/namespaces/kube-system/pods/etcd-n1/metrics/").await;
    let db = names("/namespaces/shop/pods/db/metrics").await;
    for all in
        ["cpu/usage", "cpu/usage_rate", "memory/usage", "memory/working_set", "disk/io_read_bytes", "uptime"]
    {
        assert!([&node, &web, &app, &etcd, &db].iter().all(|names| has(names, all)), "{all}");
    }
    for network in ["network/rx", "network/tx", "network/rx_rate", "network/rx_errors"] {
        let seen = [&web, &app, &etcd].map(|names| has(names, network));
        assert_eq!(seen, [true, false, false], "{network}: a pod's, not a container's, none on the node's");
    }
    assert!(has(&node, "network/rx") && !has(&node, "network/rx_rate"), "it has no rate yet");
    assert!(has(&db, "network/rx_rate") && !has(&db, "network/tx_errors"), "seen from the host's end");
    for (name, of) in
        [("cpu/limit", &web), ("memory/limit", &app), ("cpu/request", &app), ("restart_count", &app)]
    {
        assert!(has(of, name), "{name}");
    }
    assert!(!has(&db, "cpu/limit") && !has(&db, "memory/limit"), "no limit is none, not 0");
    for of_node in ["cpu/node_capacity", "filesystem/usage", "filesystem/inodes_free"] {
        assert!(has(&node, of_node) && !has(&web, of_node), "{of_node}");
    }
    for unknown in ["cpu/node_allocatable", "ephemeral_storage/usage", "memory/page_faults_rate", "cpu/load"]
    {
        assert!([&node, &web, &app].iter().all(|names| !has(names, unknown)), "{unknown}");
    }
    assert_eq!(names("/namespaces/default/pods/nosuch/metrics/").await, [""; 0]);
    let system = names("/nodes/n1/freecontainers/pods/metrics/").await;
    assert!(has(&system, "cpu/usage") && has(&system, "memory/working_set") && !has(&system, "network/rx"));
    assert_eq!(names("/nodes/n1/freecontainers/kubelet/metrics/").await, [""; 0]);
}

#[tokio::test]
async fn every_listed_metric_has_points_and_is_in_the_schema() {
    let server = server().await;
    let schema = get(&server, "/api/v1/metric-export-schema").await;
    let known: Vec<&str> =
        schema["metrics"].as_array().unwrap().iter().map(|metric| metric["name"].as_str().unwrap()).collect();
    for of in ["/nodes/n1", "/namespaces/default/pods/web", "/namespaces/default/pods/web/containers/proxy"] {
        for name in get(&server, &format!("{MODEL}{of}/metrics/")).await.as_array().unwrap() {
            let name = name.as_str().unwrap();
            let points = get(&server, &format!("{MODEL}{of}/metrics/{name}")).await;
            assert!(!values(&points).is_empty() && known.contains(&name), "{of} {name}: {points}");
            assert_eq!(points["latestTimestamp"], *times(&points).last().unwrap());
            assert!(times(&points).is_sorted());
        }
    }
}

/// `http/past.rs` has four sweeps: two seconds ago everybody used four times as much.
#[tokio::test]
async fn points_come_a_second_apart_out_of_the_history() {
    let server = server().await;
    let rate = get(&server, &format!("{WEB}/metrics/cpu/usage_rate")).await;
    assert_eq!(values(&rate), [375, 1500, 375, 375]);
    let second = |time: &&str| time["2026-11-21T01:02:".len()..][..2].to_owned();
    assert_eq!(times(&rate).iter().map(second).collect::<Vec<_>>(), TIMES);
    assert_eq!(
        rate["latestTimestamp"], "2026-11-21T01:02:03.123466789Z",
        "when it was read, not when it was asked"
    );
    assert_eq!(rate, get(&server, &format!("{WEB}/metrics/cpu-usage")).await, "the old spelling");

    let usage = get(&server, &format!("{WEB}/metrics/memory-usage")).await;
    assert_eq!(values(&usage), [603, 602, 601, 600].map(|mebibytes| mebibytes * MIB));
    assert_eq!(usage, get(&server, &format!("{WEB}/metrics/memory/usage")).await);
    let working_set = get(&server, &format!("{WEB}/metrics/memory-working")).await;
    assert_eq!(values(&working_set), [483, 482, 481, 480].map(|mebibytes| mebibytes * MIB));
    let app = get(&server, &format!("{WEB}/containers/web/metrics/cpu/usage")).await;
    assert_eq!(values(&app), [300, 200, 100, 0].map(|ago| 17 * SECOND + 1 - ago * 1_000_000));
    let received = get(&server, &format!("{WEB}/metrics/network/rx_rate")).await;
    assert_eq!(values(&received), [1500, 6000, 1500, 1500]);
    let sent = get(&server, &format!("{WEB}/metrics/network/tx_rate")).await;
    assert_eq!(values(&sent), [750, 3002, 750, 750], "fractions are lost");
    let node = get(&server, &format!("{MODEL}/nodes/n1/metrics/cpu/usage_rate")).await;
    assert_eq!(values(&node), [2500; 4]);
    // What no frame keeps is known of the last sweep alone.
    let limit = get(&server, &format!("{WEB}/metrics/cpu-limit")).await;
    assert_eq!((values(&limit), times(&limit)), (vec![1500], vec!["2026-11-21T01:02:03.123456789Z"]));
    assert_eq!(values(&get(&server, &format!("{WEB}/metrics/memory-limit")).await), [512 * MIB]);
    let uptime = get(&server, &format!("{WEB}/containers/web/metrics/uptime")).await;
    assert_eq!(values(&uptime), [42_000, 43_000, 44_000, 45_000]);
    assert_eq!(values(&get(&server, &format!("{WEB}/containers/web/metrics/restart_count")).await), [2; 4]);
}

#[tokio::test]
async fn start_and_end_are_part_of_what_they_cut_out() {
    let server = server().await;
    let all = get(&server, &format!("{WEB}/metrics/cpu/usage")).await;
    let of = times(&all);
    let cut = async |query: &str| get(&server, &format!("{WEB}/metrics/cpu/usage?{query}")).await;
    assert_eq!(times(&cut(&format!("start={}", of[1])).await), of[1..]);
    assert_eq!(times(&cut(&format!("end={}", of[1])).await), of[..2]);
    assert_eq!(times(&cut(&format!("start={}&end={}", of[1], of[2])).await), of[1..3]);
    assert_eq!(times(&cut("start=2026-11-21T02:02:02%2B01:00").await), of[2..]);
    assert_eq!(times(&cut("start=0001-01-01T00:00:00Z&foo=bar").await), of);
    let later = cut("start=2026-11-21T01:02:04Z").await;
    assert_eq!(later, json!({ "metrics": [], "latestTimestamp": NEVER }));
    assert_eq!(cut("start=2026-11-21T01:02:02Z&end=2026-11-21T01:02:01Z").await, later);
}

#[tokio::test]
async fn several_pods_are_answered_in_the_order_asked() {
    let server = server().await;
    let list = format!("{MODEL}/namespaces/default/pod-list/young,nosuch,web,web/metrics/memory/usage");
    let answer = get(&server, &list).await;
    let items = answer["items"].as_array().unwrap();
    let last: Vec<Option<u64>> = items.iter().map(|item| values(item).last().copied()).collect();
    assert_eq!(last, [Some(200 * MIB), None, Some(600 * MIB), Some(600 * MIB)]);
    assert_eq!(items[1], json!({ "metrics": [], "latestTimestamp": NEVER }));
    assert_eq!(items[2], get(&server, &format!("{WEB}/metrics/memory/usage")).await);
    // Two pods of one name: the one that lives.
    let shop = get(&server, &format!("{MODEL}/namespaces/shop/pod-list/db/metrics/memory-usage")).await;
    assert_eq!(values(&shop["items"][0]).last(), Some(&(5 * 200 * MIB)));
    // One that has ended is known for as long as it is kept.
    let batch = get(&server, &format!("{MODEL}/namespaces/shop/pods/batch/metrics/cpu/usage")).await;
    assert_eq!(values(&batch).len(), 2, "{batch}");
    let migrate = get(&server, &format!("{WEB}/containers/migrate/metrics/cpu/usage")).await;
    assert_eq!(values(&migrate).len(), 2);
    assert_eq!(get(&server, &format!("{MODEL}/namespaces/shop/pods/batch/metrics/")).await, json!([]));
}

#[tokio::test]
async fn disks_are_told_apart_by_their_number() {
    let server = server().await;
    let path = format!("{WEB}/containers/web/metrics/disk/io_write_bytes");
    assert_eq!(values(&get(&server, &path).await), [16 * MIB; 4], "all of them together");
    for (labels, written) in [
        ("resource_id:254:0", vec![8 * MIB]),
        ("resource_id:8:16", vec![24 * MIB]),
        ("resource_id:253:0", vec![]),
        ("resource_id:1:1", vec![]),
        ("resource_id:254:0,device:vda", vec![]),
    ] {
        let one = get(&server, &format!("{path}?labels={labels}")).await;
        assert_eq!(values(&one), written, "{labels}");
    }
    let unlabelled = get(&server, &format!("{WEB}/metrics/cpu/usage?labels=resource_id:254:0")).await;
    assert_eq!(values(&unlabelled), [0; 0]);
}

#[tokio::test]
async fn the_export_and_its_schema_are_as_agreed() {
    let server = server().await;
    for (path, golden) in [
        ("/api/v1/metric-export", "heapster_export.json"),
        ("/api/v1/metric-export-schema", "heapster_schema.json"),
    ] {
        let document = get(&server, path).await;
        assert_golden(golden, &(serde_json::to_string_pretty(&document).unwrap() + "\n"));
    }
    let export = get(&server, "/api/v1/metric-export").await;
    let series = export.as_array().unwrap();
    let of = |kind: &str, container: &str| {
        let is_it =
            |one: &&Value| one["labels"]["type"] == kind && one["labels"]["container_name"] == container;
        series.iter().find(is_it).unwrap_or_else(|| panic!("no {kind} {container}"))
    };
    let app = of("pod_container", "web");
    assert_eq!(app["labels"]["labels"], "app:web,app.kubernetes.io/part-of:shop");
    let usage = &app["metrics"]["cpu/usage"][0];
    assert_eq!(usage["value"], 17 * SECOND + 1);
    assert_eq!(usage["start"], "2026-11-21T01:01:18.123456789Z", "when the container started");
    let received = &of("pod", "/pod")["metrics"]["network/rx_rate"][0];
    assert_eq!((&received["value"], &received["start"]), (&json!(1500.0), &received["end"]));
    let sent = &of("pod", "/pod")["metrics"]["network/tx_rate"][0]["value"];
    assert_eq!(sent, &json!(750.5), "here fractions stay");
    let disks = app["metrics"]["disk/io_read_bytes"].as_array().unwrap();
    assert_eq!(
        disks.iter().map(|disk| &disk["labels"]["resource_id"]).collect::<Vec<_>>(),
        ["254:0", "8:16"]
    );
    assert_eq!(
        of("node", "machine")["metrics"]["memory/node_capacity"][0]["value"],
        json!(16_384.0 * MIB as f64)
    );
    // Whatever is exported is described.
    let schema = get(&server, "/api/v1/metric-export-schema").await;
    let described =
        |name: &str| schema["metrics"].as_array().unwrap().iter().any(|metric| metric["name"] == name);
    for name in series.iter().flat_map(|one| one["metrics"].as_object().unwrap().keys()) {
        assert!(described(name), "{name}");
    }
}

#[tokio::test]
async fn whatever_is_wrong_is_said_as_heapster_says_it() {
    let server = server().await;
    for (path, status, said) in [
        ("/metrics/", 404, "sums over nodes belong to the aggregator: this is node n1"),
        ("/metrics/cpu/usage_rate", 404, "sums over nodes belong to the aggregator"),
        ("/namespaces/default/metrics/", 404, "sums over nodes belong to the aggregator"),
        ("/namespaces/default/metrics/memory/usage", 404, "sums over nodes belong to the aggregator"),
        ("/nodes/n2/metrics/", 404, "other nodes belong to the aggregator, or are asked themselves"),
        ("/nodes/n2/metrics/cpu/usage", 404, "other nodes belong to the aggregator"),
        ("/nodes/n2/freecontainers/", 404, "other nodes belong to the aggregator"),
        ("/nodes/n2/freecontainers/x/metrics/uptime", 404, "other nodes belong to the aggregator"),
        ("/nodes/n1/metrics/cpu/usage?start=x", 400, "timestamp argument cannot be parsed: \"x\""),
        ("/nodes/n1/metrics/cpu/usage?end=12", 400, "timestamp argument cannot be parsed"),
        ("/nodes/n1/metrics/cpu/usage?labels=x", 400, "labels cannot be parsed: \"x\""),
        ("/nodes/n1/metrics/cpu/usage?start=%zz", 400, "invalid URL escape"),
        ("/namespaces/default/pod-list/web/metrics/cpu/usage?start=x", 400, "timestamp argument"),
        ("/namespaces/default/pod-list/web/metrics/", 404, "nothing is served at"),
        ("/nosuch", 404, "nothing is served at"),
        ("", 404, "nothing is served at"),
    ] {
        let answer = server.get(&format!("{MODEL}{path}")).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (status, "text/plain; charset=utf-8"),
            "{path}"
        );
        assert!(answer.text().starts_with(said), "{path}: {}", answer.text());
    }
    for path in ["/api/v1/model/nodes/", "/api/v1/metric-export"] {
        let answer = server.ask("POST", path, &[]).await;
        assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD"), "{path}");
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    }
    let empty = json!({ "metrics": [], "latestTimestamp": NEVER });
    for path in ["/metrics/nosuch", "/metrics/cpu", "/containers/nosuch/metrics/cpu/usage"] {
        assert_eq!(get(&server, &format!("{WEB}{path}")).await, empty, "heapster has no word for it: {path}");
    }
    let unready = server_with(Limits::default(), clock::<0>, None).await;
    for path in ["/api/v1/model/nodes/", "/api/v1/metric-export", "/api/v1/model/nodes/n1/metrics/cpu/usage"]
    {
        let answer = unready.get(path).await;
        assert_eq!(answer.status, 503, "{path}");
        assert!(answer.text().starts_with("not ready"), "{}", answer.text());
    }
    assert_eq!(unready.get("/api/v1/metric-export-schema").await.status, 200);
}

/// Each point of a list is work: a list may not be made long by naming one pod again and again.
#[tokio::test]
async fn ten_readers_get_the_same_bytes_and_a_list_has_its_price() {
    let server = server().await;
    for path in ["/api/v1/metric-export".to_owned(), format!("{WEB}/metrics/cpu/usage")] {
        let first = server.get(&path).await.body;
        for _ in 0..10 {
            assert_eq!(server.get(&path).await.body, first);
        }
    }
    let history = super::past::history_of(&node::snapshot(), 300);
    let listen = [Listen::Plain("127.0.0.1:0".parse().unwrap())];
    let bound = bind(&listen, Access::default()).await.unwrap();
    let server = server_that_remembers(bound, Limits::default(), clock::<0>, Some(node::snapshot()), history);
    let list = |pods: usize| {
        format!("{MODEL}/namespaces/default/pod-list/{}/metrics/cpu/usage", vec!["web"; pods].join(","))
    };
    assert_eq!(server.get(&list(160)).await.status, 200);
    let answer = server.get(&list(150)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "1"));
    let answer = server.get(&list(300)).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("ask for fewer pods"), "{}", answer.text());
}

#[tokio::test]
async fn names_have_their_price_without_a_point() {
    let server = server().await;
    let of_the_future = |pods: usize| {
        let names: Vec<String> = (0..pods).map(|pod| format!("p{pod}")).collect();
        format!(
            "{MODEL}/namespaces/default/pod-list/{}/metrics/cpu/usage?start=2099-01-01T00:00:00Z",
            names.join(",")
        )
    };
    assert_eq!(server.get(&of_the_future(900)).await.status, 200);
    assert_eq!(server.get(&of_the_future(800)).await.status, 429);
}

#[tokio::test]
async fn without_a_history_there_is_the_last_sweep() {
    let listen = [Listen::Plain("127.0.0.1:0".parse().unwrap())];
    let bound = bind(&listen, Access::default()).await.unwrap();
    let server =
        server_that_remembers(bound, Limits::default(), clock::<0>, Some(node::snapshot()), Arc::default());
    assert_eq!(values(&get(&server, &format!("{WEB}/metrics/cpu-usage")).await), [375]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_name_breaks_a_document(
        called in called(),
        asked in hostile(),
        cores in any::<f64>(),
    ) {
        let mut snapshot = node::after(0, |web, snapshot| rename(web, snapshot, &called));
        let Called { pod, namespace, container, image, .. } = called;
        let figures = snapshot.pods.iter_mut().find(|pod| pod.target == 0).unwrap();
        let rate = figures.cgroup.cpu.as_mut().unwrap().value.cores.as_mut().unwrap();
        rate.per_second = cores;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = server_with(Limits::default(), clock::<0>, Some(snapshot)).await;
            let keys = get(&server, &format!("{MODEL}/debug/allkeys")).await;
            let key = json!(format!("namespace:{namespace}/pod:{pod}"));
            assert!(keys.as_array().unwrap().contains(&key), "{keys}");
            let export = get(&server, "/api/v1/metric-export").await;
            let exported = export.as_array().unwrap().iter().any(|one| {
                let labels = &one["labels"];
                labels["pod_name"] == pod && labels["container_name"] == container
                    && labels["container_base_image"] == image
            });
            assert!(exported || container == "proxy" || container == "setup", "{export}");
            let of = format!("{MODEL}/namespaces/{}/pods/{}", encoded(&namespace), encoded(&pod));
            // An empty name is no part of a path; a long one is no line of a request.
            if !namespace.is_empty() && !pod.is_empty() && of.len() < 6000 {
                let rate = get(&server, &format!("{of}/metrics/cpu-usage")).await;
                let micro = (cores * 1e6).round();
                let whole = (micro.is_finite() && micro >= 0.0).then_some(micro as u64 / 1000);
                assert_eq!(values(&rate).last().copied(), whole, "{cores}");
                assert_eq!(values(&get(&server, &format!("{of}/metrics/memory-usage")).await).len(), 4);
            }
            let asked = encoded(&asked);
            if asked.len() < 3000 {
                for path in ["nodes/n1/metrics/X", "namespaces/X/pods/", "namespaces/X/pod-list/X/metrics/X"] {
                    let answer = server.get(&format!("{MODEL}/{}", path.replace('X', &asked))).await;
                    assert!(answer.status == 200 && (answer.json().is_array() || answer.json().is_object())
                        || answer.status == 404, "{path}: {}", answer.status);
                }
            }
        });
    }
}
