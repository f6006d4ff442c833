//! cAdvisor's REST API, as its clients read it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use podvitals::model::snapshot::Snapshot;
use podvitals::serve::Limits;
use serde_json::{Value, json};

use super::client::{Answer, Server, clock, first_answer, server, server_with};
use super::memory_stat;
use super::node::{self, MIB, WEB_UID};

/// The pod default/web.
fn web() -> String {
    format!("/kubepods.slice/kubepods-pod{}.slice", WEB_UID.replace('-', "_"))
}

pub(crate) fn id(digit: &str) -> String {
    digit.repeat(64)
}

/// One of its children, by the digit its id is made of.
pub(crate) fn child(digit: &str) -> String {
    format!("{}/cri-containerd-{}.scope", web(), id(digit))
}

impl Server {
    async fn post(&self, path: &str, body: &str) -> Answer {
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        first_answer(&self.raw(request.as_bytes()).await, "POST").0
    }

    async fn document(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{path}");
        answer.json()
    }
}

pub(crate) type Shape = BTreeMap<String, String>;

/// Dotted paths of all keys with the kinds of what stands there; what is called by its own name is `*`.
pub(crate) fn shape(at: &str, value: &Value, into: &mut Shape) {
    let kind = match value {
        Value::Object(object) => {
            for (key, value) in object {
                let is_name = key.starts_with('/') || key.split(':').all(|part| part.parse::<u32>().is_ok());
                let key = if is_name { "*" } else { key };
                shape(&format!("{at}.{key}"), value, into);
            }
            "object"
        }
        Value::Array(list) => {
            list.iter().for_each(|one| shape(&format!("{at}[]"), one, into));
            "list"
        }
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "boolean",
        Value::Null => return,
    };
    into.insert(at.to_owned(), kind.to_owned());
}

fn fixture(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/cadvisor").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

/// What podvitals leaves out, each with the reason.
fn absent() -> BTreeMap<String, String> {
    let list = fixture("absent-rest.txt");
    let entries = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    entries
        .map(|line| {
            let (path, why) = line.split_once('\t').unwrap_or_else(|| panic!("no reason: {line}"));
            assert!(why.trim().len() > 10, "{line}");
            (path.to_owned(), why.to_owned())
        })
        .collect()
}

pub(crate) fn is_under(path: &str, head: &str) -> bool {
    path == head || path.strip_prefix(head).is_some_and(|rest| rest.starts_with(['.', '[']))
}

#[tokio::test]
async fn what_a_real_cadvisor_answers_is_there_or_named_as_absent() {
    let mut shown = memory_stat::with_percpu(node::snapshot());
    // Kernels since 5.13 have both lines for the CPU, too.
    for container in &mut shown.containers {
        let pressure = container.cgroup.pressure.as_mut().ok().and_then(|read| read.value.cpu.as_mut());
        pressure.into_iter().for_each(|stall| stall.full = Some(stall.some));
    }
    let server = server_with(Limits::default(), clock::<0>, Some(shown)).await;
    let (container, sandbox) = (child("d"), child("a"));
    let both =
        |route: &str| [format!("{route}{container}"), format!("{route}{sandbox}"), format!("{route}/")];
    let cases: [(&str, Vec<String>); 13] = [
        ("v1.3_containers", both("/api/v1.3/containers").into()),
        ("v1.3_machine", vec!["/api/v1.3/machine".into()]),
        ("v2.0_attributes", vec!["/api/v2.0/attributes".into()]),
        ("v2.0_machine", vec!["/api/v2.0/machine".into()]),
        ("v2.0_ps_container", vec![format!("/api/v2.0/ps{container}")]),
        ("v2.0_spec_container", vec![format!("/api/v2.0/spec{container}")]),
        ("v2.0_stats_container", both("/api/v2.0/stats").into()),
        ("v2.0_storage", vec!["/api/v2.0/storage".into()]),
        ("v2.0_summary_container", vec![format!("/api/v2.0/summary{container}")]),
        ("v2.0_version", vec!["/api/v2.0/version".into()]),
        ("v2.1_machinestats", vec!["/api/v2.1/machinestats".into()]),
        ("v2.1_spec_container", vec![format!("/api/v2.1/spec{container}")]),
        ("v2.1_stats_container", both("/api/v2.1/stats").into()),
    ];
    let absent = absent();
    let mut used: Vec<&str> = Vec::new();
    let mut missing = Vec::new();
    for (name, paths) in cases {
        let (mut theirs, mut ours) = (Shape::new(), Shape::new());
        shape("", &serde_json::from_str(&fixture(&format!("rest/{name}.json"))).unwrap(), &mut theirs);
        for path in paths {
            shape("", &server.document(&path).await, &mut ours);
        }
        for (path, kind) in theirs {
            let full = format!("{name}{path}");
            match ours.get(&path) {
                Some(ours) => {
                    assert_eq!(*ours, kind, "{full}");
                    assert!(!absent.contains_key(&full), "{full} is there: strike it off the list");
                }
                None => match absent.keys().find(|head| is_under(&full, head)) {
                    Some(head) => used.push(head),
                    None => missing.push(full),
                },
            }
        }
    }
    // As there nothing is told of events unless it is asked for.
    let events: Value = serde_json::from_str(&fixture("rest/v2.0_events.json")).unwrap();
    assert_eq!(server.document("/api/v2.0/events").await, events);
    assert!(missing.is_empty(), "neither there nor on the list:\n{}", missing.join("\n"));
    let unused: Vec<&String> = absent.keys().filter(|head| !used.contains(&head.as_str())).collect();
    assert!(unused.is_empty(), "nothing real has these: {unused:#?}");
}

#[tokio::test]
async fn figures_are_those_of_our_own_document() {
    let server = server().await;
    let own = server.document("/api/v1/pods/default/web").await;
    let app = own["containers"].as_array().unwrap().iter().find(|it| it["name"] == "web").unwrap();
    let name = child("d");
    let v1 = server.document(&format!("/api/v1.3/containers{name}")).await;
    let v20 = server.document(&format!("/api/v2.0/stats{name}")).await;
    let v21 = server.document(&format!("/api/v2.1/stats{name}")).await;
    let last = |stats: &Value| stats.as_array().unwrap().last().unwrap().clone();
    for stat in [last(&v1["stats"]), last(&v20[&name]), last(&v21[&name]["stats"])] {
        assert_eq!(stat["cpu"]["usage"]["total"], app["cpu"]["usageNanoseconds"]);
        assert_eq!(stat["cpu"]["usage"]["user"], app["cpu"]["userNanoseconds"]);
        assert_eq!(stat["memory"]["usage"], app["memory"]["usageBytes"]);
        assert_eq!(stat["memory"]["working_set"], app["memory"]["workingSetBytes"]);
        assert_eq!(stat["memory"]["psi"]["some"]["total"], app["pressure"]["memory"]["someMicroseconds"]);
        assert_eq!(stat["timestamp"], "2026-11-21T01:02:03.123466789Z", "of the CPU read");
        // 253:0 rests on another disk.
        let disks = stat["diskio"]["io_service_bytes"].as_array().unwrap();
        assert_eq!(disks.len(), 2, "{disks:#?}");
        assert_eq!(disks[0]["major"], 254);
        assert!(stat.get("network").is_none(), "only its sandbox has a network");
    }
    let threads = json!({ "threads_current": app["pids"]["current"], "threads_max": 100 });
    assert_eq!(last(&v1["stats"])["processes"], threads);
    assert_eq!(last(&v21[&name]["stats"])["cpu_inst"]["usage"]["total"], 125_000_000);
    assert_eq!(v1["id"], id("d"));
    assert_eq!((&v1["name"], &v1["namespace"]), (&json!(name), &json!("containerd")));
    let spec = &v21[&name]["spec"];
    assert_eq!(spec["memory"]["limit"], 512 * MIB);
    assert_eq!(spec["cpu"], json!({ "limit": 256, "quota": 150_000, "period": 100_000 }));
    assert_eq!(spec["labels"]["io.kubernetes.pod.name"], "web");
    assert_eq!(spec["has_network"], false);
}

#[tokio::test]
async fn the_network_is_the_sandbox_s_and_v1_has_its_first_interface_twice() {
    let server = server().await;
    let own = server.document("/api/v1/pods/default/web").await;
    let eth0 =
        own["network"]["interfaces"].as_array().unwrap().iter().find(|it| it["name"] == "eth0").unwrap();
    let sandbox = server.document(&format!("/api/v1.3/containers{}", child("a"))).await;
    assert_eq!(sandbox["spec"]["has_network"], true);
    assert_eq!(sandbox["spec"]["has_cpu"], false);
    let stats = sandbox["stats"].as_array().unwrap();
    let network = &stats.last().unwrap()["network"];
    assert_eq!((&network["name"], &network["rx_bytes"]), (&json!("eth0"), &eth0["rxBytes"]));
    let names: Vec<&str> =
        network["interfaces"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["eth0", "net1\\x01"], "not lo");
    let v21 = server.document(&format!("/api/v2.1/stats{}", child("a"))).await;
    let v21 = &v21[child("a")]["stats"];
    let last = v21.as_array().unwrap().last().unwrap();
    assert!(last["network"].get("name").is_none());
    assert_eq!(last["network"]["interfaces"], network["interfaces"]);
}

/// Gives default/web one interface and one disk whose counters are the pod's since podvitals sees it.
fn with_one_of_each(mut shown: Snapshot) -> Snapshot {
    let pod = shown.pods.iter_mut().find(|pod| pod.target == 0).unwrap();
    let network = &mut pod.network.as_mut().unwrap().value;
    let eth0 = network.interfaces.start + 1;
    network.interfaces = eth0..eth0 + 1;
    network.counters.total = shown.interfaces[eth0 as usize].counters;
    network.counters.raw = network.counters.total;
    let io = &mut pod.cgroup.io.as_mut().unwrap().value;
    io.devices = io.devices.start..io.devices.start + 2;
    io.counters.total = shown.devices[io.devices.start as usize].counters;
    io.counters.raw = io.counters.total;
    shown
}

#[tokio::test]
async fn the_past_has_disks_and_interfaces_where_one_is_all_there_is() {
    let of = async |shown: Snapshot| {
        let server = server_with(Limits::default(), clock::<0>, Some(shown)).await;
        let all = server.document("/api/v2.0/stats?recursive=true").await;
        let has = |name: &str, part: &str| -> Vec<bool> {
            all[name].as_array().unwrap().iter().map(|stat| stat[part] == true).collect()
        };
        (has(&child("a"), "has_network"), has(&web(), "has_diskio"), all)
    };
    let (network, diskio, _) = of(node::snapshot()).await;
    assert_eq!((network, diskio), (vec![true], vec![false, false, false, true]), "of two nobody knows which");
    let (network, diskio, all) = of(with_one_of_each(node::snapshot())).await;
    assert_eq!((network, diskio), (vec![true; 4], vec![true; 4]));
    let sandbox = &all[child("a")];
    assert_eq!(sandbox[0]["network"], sandbox[3]["network"]);
    assert_eq!(sandbox[0]["network"]["interfaces"][0]["name"], "eth0");
    assert_eq!(all[web()][0]["diskio"]["io_service_bytes"][0]["device"], "/dev/vda");
    // The kernel's counter began again since: what the total was then is not what the interface said.
    let mut reset = with_one_of_each(node::snapshot());
    let pod = reset.pods.iter_mut().find(|pod| pod.target == 0).unwrap();
    pod.network.as_mut().unwrap().value.counters.total.rx_bytes += 1;
    assert_eq!(of(reset).await.0, [true]);
}

#[tokio::test]
async fn samples_come_oldest_first_and_as_many_as_are_asked_for() {
    let server = server().await;
    let name = child("d");
    let times = |stats: &Value| -> Vec<String> {
        stats
            .as_array()
            .into_iter()
            .flatten()
            .map(|it| it["timestamp"].as_str().unwrap().to_owned())
            .collect()
    };
    let all = times(&server.document(&format!("/api/v2.0/stats{name}")).await[&name]);
    assert_eq!(all.len(), 4, "{all:?}");
    assert!(all.is_sorted() && all[3].starts_with("2026-11-21T01:02:03.123466789"), "{all:?}");
    let usage = server.document(&format!("/api/v2.0/stats{name}")).await;
    let usage: Vec<u64> = usage[&name]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["cpu"]["usage"]["total"].as_u64().unwrap())
        .collect();
    assert!(usage.is_sorted() && usage[3] - usage[0] == 300_000_000, "{usage:?}");
    for (count, wanted) in [("2", &all[2..]), ("-1", &all[..]), ("0", &[][..]), ("1", &all[3..])] {
        let answer = server.document(&format!("/api/v2.0/stats{name}?count={count}&max_age=1s")).await;
        assert_eq!(times(&answer[&name]), wanted, "{count}");
    }
    let path = format!("/api/v1.3/containers{name}");
    for (body, wanted) in [
        (r#"{"num_stats":1}"#.to_owned(), &all[3..]),
        (r#"{"num_stats":-1,"start":"0001-01-01T00:00:00Z"}"#.to_owned(), &all[..]),
        (format!(r#"{{"start":"{}"}}"#, all[2]), &all[2..]),
        (format!(r#"{{"end":"{}","num_stats":2}}"#, all[2]), &all[1..3]),
        (format!(r#"{{"start":"{}","end":"{}"}}"#, all[0], all[1]), &all[..2]),
        (r#"{"end":"2000-01-01T00:00:00Z"}"#.to_owned(), &[][..]),
    ] {
        let answer = server.post(&path, &body).await;
        assert_eq!(answer.status, 200, "{body}");
        assert_eq!(times(&answer.json()["stats"]), wanted, "{body}");
    }
}

#[tokio::test]
async fn a_container_is_found_by_every_name_it_has() {
    let server = server().await;
    let name = child("d");
    let (full, docker) = (id("d"), format!("k8s_web_web_default_{WEB_UID}_2"));
    for wanted in [&full, &full[..5], &docker] {
        for by in ["docker", "dockerid", "dockeralias"] {
            let answer = server.document(&format!("/api/v2.1/stats/{wanted}?type={by}&count=1")).await;
            assert_eq!(answer.as_object().unwrap().keys().collect::<Vec<_>>(), [&name]);
        }
        let answer = server.document(&format!("/api/v1.2/docker/{wanted}")).await;
        assert_eq!(answer[&name]["aliases"], json!([docker, full]));
        // A name that is asked for is the one that is answered by.
        let asked = format!("/docker/{wanted}");
        let answer = server.document(&format!("/api/v2.0/spec{asked}")).await;
        assert_eq!(answer[&asked]["image"], "registry.example/web:1.2");
        let answer = server.document(&format!("/api/v1.0/containers{asked}")).await;
        assert_eq!((&answer["name"], &answer["id"]), (&json!(asked), &json!(full)));
    }
    let all = server.document("/api/v1.3/docker/").await;
    let recursive = server.document("/api/v2.0/stats?type=docker&recursive=true").await;
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&all), keys(&recursive));
    assert!(all.get(name).is_some() && all.get(web()).is_none() && all.get("/").is_none());
    let below = server.document("/api/v1.1/subcontainers/docker").await;
    assert_eq!(below.as_array().unwrap().len(), keys(&all).len());
}

#[tokio::test]
async fn one_gets_from_the_node_to_a_container_by_what_is_below() {
    let server = server().await;
    let root = server.document("/api/v1.3/containers/").await;
    assert_eq!(root["subcontainers"], json!([{ "name": "/kubepods.slice" }]));
    assert!(root["stats"].as_array().unwrap().last().unwrap()["memory"]["usage"].is_u64());
    let slice = server.document("/api/v1.3/containers/kubepods.slice").await;
    assert!(slice["subcontainers"].as_array().unwrap().contains(&json!({ "name": web() })), "{slice:#}");
    assert!(slice.get("stats").is_none() && slice["spec"]["has_cpu"] == false, "nothing is read of it");
    let pod = server.document(&format!("/api/v1.3/containers{}", web())).await;
    assert!(pod["subcontainers"].as_array().unwrap().contains(&json!({ "name": child("d") })), "{pod:#}");
    let all = server.document("/api/v1.3/subcontainers/kubepods.slice").await;
    let names: Vec<&str> = all.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert!(names.contains(&&*web()) && names.contains(&&*child("d")) && !names.contains(&"/kubepods.slice"));
    let recursive = server.document("/api/v2.1/stats?recursive=true&count=1").await;
    assert!(recursive.get("/").is_none() && recursive.as_object().unwrap().len() == names.len());
    let recursive = server.document("/api/v2.0/stats/?recursive=true&count=1").await;
    assert!(recursive.get("/").is_some());
}

#[tokio::test]
async fn the_node_has_its_own_routes() {
    let server = server().await;
    let own = server.document("/api/v1/node").await;
    let stats = server.document("/api/v2.1/machinestats").await;
    let stats = stats.as_array().unwrap();
    assert_eq!(stats.len(), 4);
    assert_eq!(stats[3]["cpu"]["usage"]["total"], own["cpu"]["usageNanoseconds"]);
    let machine = server.document("/api/v2.1/machine").await;
    assert_eq!(machine["num_cores"], own["cpu"]["cores"].as_u64().map_or(json!(8), |_| json!(8)));
    assert_eq!(machine["memory_capacity"], own["memory"]["totalBytes"]);
    assert_eq!((&machine["num_physical_cores"], &machine["vendor_id"]), (&json!(4), &json!("GenuineIntel")));
    let attributes = server.document("/api/v2.0/attributes").await;
    assert_eq!(attributes["kernel_version"], "6.18.0-test");
    let version = server.document("/api/v2.1/version").await;
    assert_eq!(version, attributes["cadvisor_version"]);
    assert!(version.as_str().unwrap().ends_with("+podvitals"));
    assert!(server.document("/api/v2.1/stats/").await.as_object().unwrap().is_empty());
}

#[tokio::test]
async fn no_limit_is_the_largest_number() {
    let server = server().await;
    let recursive = server.document("/api/v2.0/spec?recursive=true").await;
    let node = &recursive["/"];
    assert_eq!([&node["memory"]["limit"], &node["processes"]["limit"]], [16_384 * MIB, 32_768]);
    let all = recursive.as_object().unwrap();
    let limits: Vec<&Value> = all.values().filter_map(|spec| spec.get("memory")?.get("limit")).collect();
    assert!(limits.contains(&&json!(u64::MAX)) && limits.contains(&&json!(512 * MIB)), "{limits:?}");
    assert!(limits.iter().all(|limit| limit.is_u64()));
}

#[tokio::test]
async fn what_is_wrong_is_said_in_cadvisor_s_manner() {
    let server = server().await;
    for (path, status, said) in [
        ("/api", 400, "Supported API versions: v1.0,v1.1,v1.2,v1.3,v2.0,v2.1\n"),
        ("/api/", 400, "Supported API versions: v1.0,v1.1,v1.2,v1.3,v2.0,v2.1\n"),
        ("/api/v2.0", 400, "Supported request types: \"appmetrics,attributes,events,machine,ps,spec,"),
        ("/api/v2.1/", 400, "machinestats"),
        ("/api/v1.0", 400, "Supported request types: \"containers,machine\""),
        ("/api/v3.0/stats", 500, "unsupported API version \"v3.0\""),
        ("/api/v2.0/nonsense", 500, "unknown request type \"nonsense\""),
        ("/api/v2.0/stats/none", 500, "unknown container \"/none\""),
        ("/api/v1.3/containers/none", 500, "failed to get container \"/none\" with error: unknown container"),
        ("/api/v1.3/docker/none", 500, "failed to get Docker container \"none\" with error: unable to find"),
        ("/api/v2.0/spec/docker/none", 500, "unknown container \"/docker/none\""),
        ("/api/v1.3/docker/a/b", 500, "unknown request for Docker container"),
        ("/api/v2.0/stats?type=lxc", 500, "unknown 'type' \"lxc\" for container name"),
        ("/api/v2.0/stats/x?type=docker&recursive=true", 500, "with subcontainers"),
        ("/api/v2.0/stats?count=some", 500, "failed to parse 'count' option"),
        ("/api/v2.0/ps/none", 500, "process listing failed: unknown container \"/none\""),
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        assert!(answer.text().contains(said), "{path}: {}", answer.text());
    }
    // Ours is another API.
    assert_eq!(server.get("/api/v1/containers").await.json()["node"], "n1");
    assert_eq!(
        server.get("/api/v1/docker").await.problem().split(';').next(),
        Some("nothing is served at \"/api/v1/docker\"")
    );
}

#[tokio::test]
async fn a_query_may_come_as_a_body_and_nothing_else_may() {
    let server = server().await;
    let path = format!("/api/v1.3/containers{}", child("d"));
    let stats = |answer: &Answer| answer.json()["stats"].as_array().unwrap().len();
    let get = |body: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let answer = first_answer(&server.raw(get(r#"{"num_stats":2}"#).as_bytes()).await, "GET").0;
    assert_eq!((answer.status, stats(&answer)), (200, 2));
    assert_eq!(stats(&server.post(&path, "").await), 4);
    assert_eq!(stats(&server.post(&path, r#"{"num_stats":3}"#).await), 3);
    for bad in ["{", "x", r#"{"num_stats":"3"}"#, "[1]", "\u{0}"] {
        let answer = server.post(&path, bad).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (500, "text/plain; charset=utf-8"),
            "{bad}"
        );
        assert!(answer.text().contains("unable to decode the json value"), "{}", answer.text());
    }
    let fits = format!(r#"{{"num_stats":1{}}}"#, " ".repeat(8 * 1024 - 15));
    assert_eq!((fits.len(), stats(&server.post(&path, &fits).await)), (8192, 1));
    assert_eq!(server.post(&path, &(fits + " ")).await.status, 413);
    for (path, status) in
        [("/api/v2.0/stats", 405), ("/api/v1/pods", 405), ("/api/v1.4/docker", 405), ("/api/", 405)]
    {
        let answer = server.post(path, "{}").await;
        assert_eq!((answer.status, answer.header("allow")), (status, "GET, HEAD"), "{path}");
    }
    let put = server.ask("PUT", &path, &[]).await;
    assert_eq!((put.status, put.header("allow")), (405, "GET, HEAD, POST"));
    for header in ["Origin: http://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site"] {
        let request =
            format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{header}\r\nContent-Length: 2\r\n\r\n{{}}");
        let answer = server.raw(request.as_bytes()).await;
        assert!(answer.starts_with(b"HTTP/1.1 403"), "{}", String::from_utf8_lossy(&answer));
    }
}
