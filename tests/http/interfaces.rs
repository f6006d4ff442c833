//! A pod of ten thousand interfaces: each is there once, with its own figures, in every format that has them.

use std::collections::BTreeMap;

use podvitals::model::counters::{InterfaceName, InterfaceRow, NetworkCounters};
use podvitals::serve::Limits;
use serde_json::Value;

use super::cadvisor_rest::{child, id};
use super::client::{Server, clock, server_with};
use super::docker::{clients, web_id};
use super::node::{WEB_UID, after};
use super::series::in_every_form;

const COUNT: u64 = 10_000;

/// A counter as cAdvisor and Docker call it, as JSON of Kubernetes does, and as a family of metrics does.
const COUNTERS: [[&str; 3]; 8] = [
    ["rx_bytes", "rxBytes", "receive_bytes"],
    ["rx_packets", "rxPackets", "receive_packets"],
    ["rx_errors", "rxErrors", "receive_errors"],
    ["rx_dropped", "rxDropped", "receive_packets_dropped"],
    ["tx_bytes", "txBytes", "transmit_bytes"],
    ["tx_packets", "txPackets", "transmit_packets"],
    ["tx_errors", "txErrors", "transmit_errors"],
    ["tx_dropped", "txDropped", "transmit_packets_dropped"],
];

/// A backslash has to be escaped in every format.
fn name(number: u64) -> InterfaceName {
    InterfaceName::new(format!("e\\{number}").as_bytes()).unwrap()
}

/// No two counters of all of them are the same.
fn counters(number: u64) -> [u64; 8] {
    std::array::from_fn(|which| 8 * number + which as u64 + 1)
}

fn total() -> [u64; 8] {
    (0..COUNT).map(counters).fold([0; 8], |sum, row| std::array::from_fn(|which| sum[which] + row[which]))
}

/// Every interface by the name that is shown.
type Rows = BTreeMap<String, [u64; 8]>;

fn expected() -> Rows {
    (0..COUNT).map(|number| (format!("e\\\\{number}"), counters(number))).collect()
}

/// The node on which default/web has them all.
async fn server() -> Server {
    let snapshot = after(0, |_, snapshot| {
        let start = u32::try_from(snapshot.interfaces.len()).unwrap();
        snapshot.interfaces.extend((0..COUNT).map(|number| InterfaceRow {
            name: name(number),
            primary: number == 0,
            counted: true,
            counters: NetworkCounters::from_array(counters(number)),
        }));
        let web = snapshot.pods.iter_mut().find(|pod| pod.target == 0).unwrap();
        let network = &mut web.network.as_mut().unwrap().value;
        network.interfaces = start..u32::try_from(snapshot.interfaces.len()).unwrap();
        network.counters.total = NetworkCounters::from_array(total());
    });
    server_with(Limits::default(), clock::<0>, Some(snapshot)).await
}

async fn json(server: &Server, path: &str) -> Value {
    let answer = server.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

/// All eight counters, whichever way they are spelled.
fn told(row: &Value) -> [u64; 8] {
    COUNTERS.map(|names| names.iter().find_map(|name| row.get(*name)?.as_u64()).expect("a counter"))
}

fn by_name(list: &Value) -> Rows {
    let mut rows = Rows::new();
    for row in list.as_array().unwrap() {
        let name = row["name"].as_str().unwrap();
        assert!(rows.insert(name.to_owned(), told(row)).is_none(), "{name} is there twice");
    }
    rows
}

/// The pod of default/web in a list.
fn web<'a>(list: &'a Value, uid: &str) -> &'a Value {
    list.as_array().unwrap().iter().find(|pod| pod.pointer(uid) == Some(&WEB_UID.into())).unwrap()
}

fn assert_all(rows: &Rows, told_by: &str) {
    let expected = expected();
    let missing = expected.keys().find(|name| !rows.contains_key(*name));
    assert_eq!((rows.len() as u64, missing), (COUNT, None), "{told_by}");
    assert!(*rows == expected, "{told_by}: other figures");
}

#[tokio::test]
async fn our_own_documents_have_all_and_their_sum() {
    let server = server().await;
    for path in ["/api/v1/pods".to_owned(), format!("/api/v1/pods/{WEB_UID}")] {
        let document = json(&server, &path).await;
        let pod = if document["pods"].is_array() { web(&document["pods"], "/runtimeUid") } else { &document };
        assert_all(&by_name(&pod["network"]["interfaces"]), &path);
        assert_eq!(told(&pod["network"]), total(), "{path}");
    }
    let series = in_every_form(&server, "/metrics/pods").await;
    let sum = series.one("podvitals_pod_network_receive_bytes_total", &[("uid", WEB_UID)]);
    assert_eq!(sum.unwrap().text, total()[0].to_string());
}

#[tokio::test]
async fn the_kubelet_s_formats_have_all() {
    let server = server().await;
    let summary = json(&server, "/stats/summary").await;
    let network = &web(&summary["pods"], "/podRef/uid")["network"];
    assert_all(&by_name(&network["interfaces"]), "/stats/summary");
    assert_eq!((network["name"].as_str(), told(network)), (Some("e\\\\0"), counters(0)), "the primary one");

    let series = in_every_form(&server, "/metrics/cadvisor").await;
    let mut rows = Rows::new();
    for (which, [_, _, family]) in COUNTERS.into_iter().enumerate() {
        for (labels, sample) in series.of(&format!("container_network_{family}_total")) {
            if labels.get("pod").is_some_and(|pod| pod == "web") {
                // The reader has made sure that it is there once.
                rows.entry(labels["interface"].clone()).or_default()[which] = sample.text.parse().unwrap();
            }
        }
    }
    assert_all(&rows, "/metrics/cadvisor");
}

#[tokio::test]
async fn docker_s_statistics_have_all_and_their_sum() {
    let path = format!("/containers/{}/stats?stream=false", web_id());
    let answer = server().await.get(&path).await;
    let stats = answer.json();
    let networks = stats["networks"].as_object().unwrap();
    assert_all(&networks.iter().map(|(name, row)| (name.clone(), told(row))).collect(), &path);
    assert_eq!(answer.text().matches("\"tx_dropped\"").count() as u64, COUNT, "no key is there twice");
    for (which, [key, _, _]) in COUNTERS.into_iter().enumerate() {
        assert_eq!(clients::network(&stats, key), total()[which], "{key}");
    }
}

#[tokio::test]
async fn every_version_of_cadvisor_s_api_has_all() {
    let server = server().await;
    let (sandbox, id) = (child("a"), id("a"));
    for (path, stats) in [
        (format!("/api/v1.3/containers{sandbox}"), "/stats"),
        (format!("/api/v1.3/docker/{id}"), "/*/stats"),
        (format!("/api/v2.0/stats{sandbox}"), "/*"),
        (format!("/api/v2.0/stats/{id}?type=docker&count=1"), "/*"),
        ("/api/v2.0/stats/?recursive=true".into(), "/sandbox"),
        (format!("/api/v2.1/stats{sandbox}"), "/*/stats"),
        (format!("/api/v2.1/stats/{id}?type=docker&count=1"), "/*/stats"),
        ("/api/v2.1/stats?recursive=true&count=1".into(), "/sandbox/stats"),
    ] {
        let document = json(&server, &path).await;
        let only = || document.as_object().unwrap().keys().next().unwrap().as_str();
        let key = |part| match part {
            "*" => only().to_owned(),
            "sandbox" => sandbox.clone(),
            part => part.to_owned(),
        };
        let samples = stats.split('/').skip(1).fold(&document, |at, part| &at[key(part)]);
        let last = samples.as_array().unwrap().last().unwrap();
        assert_all(&by_name(&last["network"]["interfaces"]), &path);
        // Version 1 has the first one beside the list, too.
        if path.starts_with("/api/v1") {
            assert_eq!(told(&last["network"]), counters(0), "{path}");
        }
    }
}
