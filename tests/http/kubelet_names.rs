//! Names that are made to break a document, in what the kubelet's clients read: nothing differs but the names.

use std::collections::BTreeMap;

use podvitals::serve::Limits;
use proptest::prelude::*;
use serde_json::Value;

use super::client::{Server, clock, server, server_with};
use super::exposition::{Key, Sample, read_text};
use super::hostile::{Called, called, rename};
use super::kubelet::metrics_server;
use super::node::{WEB_UID, after};

/// The bytes of an interface, out of printable ASCII in which `\xNN` stands for any other.
fn bytes_of(shown: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), shown);
    while let Some(char) = rest.chars().next() {
        assert!(char.is_ascii_graphic(), "{shown:?}");
        let (byte, length) = match rest.get(..2) {
            Some("\\\\") => (b'\\', 2),
            Some("\\x") => (u8::from_str_radix(&rest[2..4], 16).unwrap(), 4),
            _ => (char as u8, 1),
        };
        assert!(length == 2 || byte != b'\\', "a backslash alone in {shown:?}");
        bytes.push(byte);
        rest = &rest[length..];
    }
    bytes
}

async fn json(server: &Server, path: &str) -> Value {
    let answer = server.get(path).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{path}");
    answer.json()
}

/// The one of a list in which this is said.
fn one<'a>(list: &'a mut Value, path: &str, says: &str) -> &'a mut Value {
    let mut found =
        list.as_array_mut().unwrap().iter_mut().filter(|it| it.pointer(path) == Some(&says.into()));
    let one = found.next().unwrap_or_else(|| panic!("no {says:?} at {path}"));
    assert!(found.next().is_none(), "{says:?} at {path} is there twice");
    one
}

/// By what stands at these places, as Rust compares strings.
fn sort<const N: usize>(list: &mut Value, by: [&str; N]) {
    let text = |of: &Value, path: &str| of.pointer(path).unwrap().as_str().unwrap().to_owned();
    list.as_array_mut().unwrap().sort_by_key(|it| by.map(|path| text(it, path)));
}

/// The summary of ordinary names with these instead.
fn summary(mut whole: Value, called: &Called) -> Value {
    let web = one(&mut whole["pods"], "/podRef/uid", WEB_UID);
    web["podRef"]["name"] = called.pod.as_str().into();
    web["podRef"]["namespace"] = called.namespace.as_str().into();
    one(&mut web["containers"], "/name", "web")["name"] = called.container.as_str().into();
    sort(&mut whole["pods"], ["/podRef/namespace", "/podRef/name"]);
    whole
}

/// The names of the first interface, once that of the pod and once of its list, taken out.
fn interface_of(summary: &mut Value) -> [Vec<u8>; 2] {
    let network = &mut one(&mut summary["pods"], "/podRef/uid", WEB_UID)["network"];
    let [primary, listed] = [network["name"].take(), network["interfaces"][0]["name"].take()];
    [primary, listed].map(|name| bytes_of(name.as_str().unwrap()))
}

fn pod_list(mut whole: Value, called: &Called) -> Value {
    let web = one(&mut whole["items"], "/metadata/uid", WEB_UID);
    web["metadata"]["name"] = called.pod.as_str().into();
    web["metadata"]["namespace"] = called.namespace.as_str().into();
    web["metadata"]["labels"][&called.label] = called.label.as_str().into();
    for list in ["/spec/containers", "/status/containerStatuses"] {
        let list = web.pointer_mut(list).unwrap();
        let app = one(list, "/name", "web");
        (app["name"], app["image"]) = (called.container.as_str().into(), called.image.as_str().into());
        sort(list, ["/name"]);
    }
    sort(&mut whole["items"], ["/metadata/namespace", "/metadata/name", "/metadata/uid"]);
    whole
}

/// The samples of ordinary names with these instead. An empty label is none.
fn resource(samples: BTreeMap<Key, Sample>, called: &Called) -> BTreeMap<Key, Sample> {
    let rename = |((name, mut labels), sample): (Key, Sample)| {
        if labels.get("pod").is_some_and(|pod| pod == "web") {
            labels.insert("pod".into(), called.pod.clone());
            labels.insert("namespace".into(), called.namespace.clone());
            if let Some(label) = labels.get_mut("container").filter(|label| *label == "web") {
                label.clone_from(&called.container);
            }
            labels.retain(|_, value| !value.is_empty());
        }
        ((name, labels), sample)
    };
    samples.into_iter().map(rename).collect()
}

/// What stands in the document of the real names is there with the hostile ones, and nothing else.
async fn assert_nothing_else_differs(called: &Called) {
    let plain = server().await;
    let snapshot = after(0, |web, snapshot| rename(web, snapshot, called));
    let hostile = server_with(Limits::default(), clock::<0>, Some(snapshot)).await;

    let mut expected = summary(json(&plain, "/stats/summary").await, called);
    let mut told = json(&hostile, "/stats/summary").await;
    assert_eq!(interface_of(&mut expected), [b"eth0", b"eth0"]);
    assert_eq!(interface_of(&mut told), [&*called.interface; 2]);
    assert_eq!(told, expected);
    assert_eq!(json(&hostile, "/pods").await, pod_list(json(&plain, "/pods").await, called));

    let [plain, hostile] = [plain.get("/metrics/resource").await, hostile.get("/metrics/resource").await];
    let expected = resource(read_text(plain.text()).samples, called);
    assert_eq!(read_text(hostile.text()).samples, expected);
    // Who takes a line by its bytes may misread the hostile one, and no other.
    let mut ordinary = metrics_server(plain.text());
    ordinary.retain(|(_, pod, _), _| pod != "web");
    assert_eq!(ordinary.len(), 2, "the node and shop/db");
    let read = metrics_server(hostile.text());
    for (key, point) in ordinary {
        assert_eq!(read.get(&key), Some(&point), "{key:?} in {}", hostile.text());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_name_breaks_a_document(called in called()) {
        // Without any name it would be the node to that reader.
        prop_assume!([&called.pod, &called.namespace, &called.container].iter().any(|name| !name.is_empty()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(assert_nothing_else_differs(&called));
    }
}
