//! The Docker Engine's API, as its clients read it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use podvitals::config::Listen;
use podvitals::model::machine::{CgroupVersion, Machine};
use podvitals::model::snapshot::Snapshot;
use podvitals::model::sweep::NetworkSource;
use podvitals::serve::{Access, Limits, bind};
use serde_json::{Value, json};

use super::cadvisor_rest::is_under;
use super::client::{Answer, Server, clock, first_answer, server, server_showing, server_with};
use super::earlier;
use super::memory_stat::of_v1;
use super::node::{self, ETCD_HASH, MIB, WEB_UID};

const WEB: &str = "k8s_web_web_default_0a1b2c3d-0000-4000-8000-000000000001_2";

/// The app container of default/web.
pub(crate) fn web_id() -> String {
    "d".repeat(64)
}

fn assert_golden(name: &str, document: &Value) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/docker").join(name);
    let version = env!("CARGO_PKG_VERSION");
    let text = serde_json::to_string_pretty(document).unwrap().replace(version, "VERSION") + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == text, "{name} differs; UPDATE_GOLDEN=1 rewrites it. Now:\n{text}");
}

/// A server of a node like that.
async fn server_like(machine: Machine, percpu: bool, shown: Snapshot) -> Server {
    let listen = [Listen::Plain("127.0.0.1:0".parse().unwrap())];
    let bound = bind(&listen, Access::default()).await.unwrap();
    let change = move |published: &mut podvitals::serve::Published| {
        published.machine = Arc::new(machine);
        published.docker_percpu = percpu;
    };
    server_showing(bound, Limits::default(), change, Some(shown))
}

fn v1() -> Machine {
    Machine { memory_cgroups: Some(CgroupVersion::V1), ..(*earlier::machine()).clone() }
}

/// The whole number of a query, percent-encoded.
pub(crate) fn filters(filters: &Value) -> String {
    let encoded: String = filters.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect();
    format!("filters={encoded}")
}

#[tokio::test]
async fn every_document_is_as_agreed() {
    let server = server().await;
    for (path, golden) in [
        ("/containers/json".to_owned(), "list.json"),
        ("/v1.44/containers/json?all=1".to_owned(), "list-all.json"),
        (format!("/containers/{WEB}/json"), "inspect.json"),
        (format!("/containers/{}/json", "a".repeat(64)), "inspect-sandbox.json"),
        (format!("/containers/{WEB}/stats?stream=false"), "stats.json"),
        (format!("/containers/{WEB}/stats?stream=0&one-shot=1"), "stats-one-shot.json"),
        (format!("/containers/{}/stats?stream=no", "a".repeat(64)), "stats-sandbox.json"),
        ("/info".to_owned(), "info.json"),
        ("/v1.24/version".to_owned(), "version.json"),
    ] {
        let answer = server.get(&path).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{path}");
        assert_eq!((answer.header("api-version"), answer.header("ostype")), ("1.44", "linux"), "{path}");
        assert_golden(golden, &answer.json());
    }
    for (machine, percpu, shown, golden) in [
        (v1(), false, of_v1(node::snapshot()), "stats-v1.json"),
        ((*earlier::machine()).clone(), true, node::snapshot(), "stats-percpu.json"),
    ] {
        let server = server_like(machine, percpu, shown).await;
        let answer = server.get(&format!("/containers/{WEB}/stats?stream=False")).await;
        assert_golden(golden, &answer.json());
    }
}

#[tokio::test]
async fn a_ping_tells_the_version_and_has_no_body_for_head() {
    let server = server().await;
    for path in ["/_ping", "/v1.41/_ping"] {
        let (get, head) = (server.get(path).await, server.ask("HEAD", path, &[]).await);
        assert_eq!((get.status, get.text(), head.status, head.body.len()), (200, "OK", 200, 0));
        for answer in [get, head] {
            assert_eq!(answer.header("api-version"), "1.44");
            assert_eq!((answer.header("ostype"), answer.header("docker-experimental")), ("linux", "false"));
        }
    }
}

#[tokio::test]
async fn a_ping_has_every_header_of_a_real_engine_s() {
    let real = fixture_text("ping.txt");
    let theirs = first_answer(real.as_bytes(), "GET").0;
    let ours = server().await.get("/_ping").await;
    assert_eq!((ours.status, ours.text()), (theirs.status, theirs.text()));
    for (name, value) in &theirs.headers {
        let told = ours.header(name);
        match name.as_str() {
            "api-version" => assert_eq!((told, value.as_str()), ("1.44", "1.41")),
            "server" => assert!(told.starts_with("podvitals/") && told.ends_with(" (linux)"), "{told}"),
            "date" => assert_eq!(told.len(), value.len(), "{told}"),
            // The strictest word of the engine's.
            "cache-control" => assert!(told == "no-store" && value.contains(told), "{value}"),
            _ => assert_eq!(told, value, "{name}"),
        }
    }
}

/// Dotted paths of all keys with the kind of what stands there; of lists the first element.
fn shape(at: &str, value: &Value, into: &mut BTreeSet<(String, &'static str)>) {
    let kind = match value {
        Value::Object(object) => {
            object.iter().for_each(|(key, value)| shape(&format!("{at}.{key}"), value, into));
            "object"
        }
        Value::Array(list) => {
            list.first().into_iter().for_each(|first| shape(&format!("{at}[]"), first, into));
            "list"
        }
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "boolean",
        Value::Null => "null",
    };
    into.insert((at.to_owned(), kind));
}

fn shape_of(values: &[Value]) -> BTreeSet<(String, &'static str)> {
    let mut into = BTreeSet::new();
    values.iter().for_each(|value| shape("", value, &mut into));
    into
}

/// A real answer.
fn fixture(name: &str) -> Value {
    serde_json::from_str(fixture_text(name).lines().next().unwrap()).unwrap()
}

fn fixture_text(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/docker").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// What a real engine answers is there, and of the same kind, or on the list of the absent. Nothing else is on
/// that list.
fn assert_covers(name: &str, ours: &[Value], theirs: &str) {
    let list = fixture_text("absent.txt");
    for line in list.lines() {
        let of = line.split(['.', '[']).next().unwrap();
        assert!(["info", "inspect", "list", "stats", "version"].contains(&of), "{line}: of no document");
    }
    let absent: Vec<&str> = list
        .lines()
        .map(|line| line.split_once('\t').filter(|(_, reason)| !reason.is_empty()).expect(line).0)
        .filter_map(|path| path.strip_prefix(name))
        .collect();
    let (ours, theirs) = (shape_of(ours), shape_of(&[fixture(theirs)]));
    for (path, kind) in theirs.iter().filter(|(path, _)| !absent.iter().any(|head| is_under(path, head))) {
        // What is null there is of any kind elsewhere.
        let is_there = ours.contains(&(path.clone(), kind))
            || *kind == "null" && ours.iter().any(|(ours, _)| ours == path);
        assert!(is_there, "{name}{path}: no {kind} in {ours:#?}");
    }
    for head in absent {
        assert!(!ours.iter().any(|(path, _)| path == head), "{name}{head} is there: strike it off the list");
        assert!(theirs.iter().any(|(path, _)| path == head), "{name}{head} is in no answer of the engine's");
    }
}

#[tokio::test]
async fn what_a_real_engine_answers_is_there_or_named_as_absent() {
    let server = &server_like(v1(), false, of_v1(node::snapshot())).await;
    let get = |path: String| async move { server.get(&path).await.json() };
    let stats = get(format!("/containers/{WEB}/stats?stream=false")).await;
    assert_covers("stats", &[stats], "stats-v1.json");
    let one_shot = get(format!("/containers/{WEB}/stats?stream=false&one-shot=true")).await;
    assert_eq!(one_shot["precpu_stats"], fixture("stats-one-shot-v1.json")["precpu_stats"]);
    assert_covers("stats", &[one_shot], "stats-one-shot-v1.json");
    assert_covers("list", &[get("/containers/json".into()).await], "list-v1.json");
    assert_covers("version", &[get("/v1.41/version".into()).await], "version.json");
    assert_covers("info", &[get("/info".into()).await], "info.json");
    // Of the sandbox alone a process is known.
    let both = [
        get(format!("/containers/{WEB}/json")).await,
        get(format!("/containers/{}/json", "a".repeat(64))).await,
    ];
    assert_covers("inspect", &both, "inspect.json");
}

/// Where devices do not count what a pod receives, as with eBPF networks.
#[tokio::test]
async fn what_the_ip_layer_counts_is_in_every_format() {
    let mut snapshot = node::snapshot();
    let network = snapshot.pods.iter_mut().find(|pod| pod.target == 0).unwrap().network.as_mut().unwrap();
    network.value.source = NetworkSource::NetnsIp;
    network.value.counters.total.rx_bytes = 30_000_000_000;
    network.value.counters.total.rx_packets = 30_000_000;
    let server = server_like(v1(), true, snapshot).await;

    let stats = server.get(&format!("/containers/{WEB}/stats?stream=false")).await.json();
    let networks = stats["networks"].as_object().unwrap();
    let sum = |key: &str| networks.values().map(|row| row[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("rx_bytes"), sum("rx_packets")), (30_000_000_000, 30_000_000), "{networks:?}");

    let metrics = server.get("/metrics/cadvisor").await;
    let lines = metrics.text().lines().filter(|line| {
        line.starts_with("container_network_receive_bytes_total{") && line.contains("pod=\"web\"")
    });
    let received = lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap());
    assert_eq!(received.sum::<u64>(), 30_000_000_000);

    let summary = server.get("/stats/summary").await.json();
    let pods = summary["pods"].as_array().unwrap();
    let web = pods.iter().find(|pod| pod["podRef"]["name"] == "web").unwrap();
    assert_eq!(web["network"]["rxBytes"], networks[web["network"]["name"].as_str().unwrap()]["rx_bytes"]);
}

#[tokio::test]
async fn figures_are_those_of_our_own_document() {
    let server = server().await;
    let own = server.get("/api/v1/pods/default/web").await.json();
    let container = own["containers"].as_array().unwrap().iter().find(|it| it["name"] == "web").unwrap();
    let stats = server.get(&format!("/containers/{}/stats?stream=false", web_id())).await.json();
    assert_eq!(stats["cpu_stats"]["cpu_usage"]["total_usage"], container["cpu"]["usageNanoseconds"]);
    assert_eq!(stats["memory_stats"]["usage"], container["memory"]["usageBytes"]);
    assert_eq!(stats["memory_stats"]["limit"], 512 * MIB);
    assert_eq!(
        stats["memory_stats"]["stats"]["total_inactive_file"],
        container["memory"]["inactiveFileBytes"]
    );
    assert_eq!(stats["pids_stats"], json!({ "current": container["pids"]["current"], "limit": 100 }));
    let counted: u64 = own["network"]["interfaces"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["counted"] == true)
        .map(|row| row["txBytes"].as_u64().unwrap())
        .sum();
    let networks = stats["networks"].as_object().unwrap();
    assert_eq!(networks.values().map(|row| row["tx_bytes"].as_u64().unwrap()).sum::<u64>(), counted);
    assert!(networks.contains_key("eth0") && !networks.contains_key("lo"));
    // 253:0 rests on another disk.
    let rows = stats["blkio_stats"]["io_service_bytes_recursive"].as_array().unwrap();
    let rows: Vec<_> =
        rows.iter().map(|row| (row["major"].as_u64().unwrap(), row["op"].as_str().unwrap())).collect();
    assert_eq!(rows, [(254, "Read"), (254, "Write"), (8, "Read"), (8, "Write")]);
    // 125 ms of CPU time in 8 s of CPU time that 8 CPUs had.
    assert_eq!(clients::cpu_percent(&stats), Some(12.5));
}

#[tokio::test]
async fn without_a_sweep_before_the_reading_before_is_empty_as_the_engine_s() {
    let mut snapshot = node::snapshot();
    snapshot.node.rates.cpu_before = None;
    let server = server_with(Limits::default(), clock::<0>, Some(snapshot)).await;
    let stats = server.get(&format!("/containers/{WEB}/stats?stream=false")).await.json();
    assert_eq!(stats["preread"], "0001-01-01T00:00:00Z");
    assert_eq!(stats["precpu_stats"], fixture("stats-one-shot-v1.json")["precpu_stats"]);
    assert!(stats["cpu_stats"]["cpu_usage"]["total_usage"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn every_container_of_every_named_pod_is_listed_with_its_sandbox() {
    let server = server().await;
    let names = |answer: &Answer| {
        let list = answer.json();
        let mut names: Vec<String> = list
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| {
                let name = entry["Names"][0].as_str().unwrap().strip_prefix("/k8s_").unwrap().to_owned();
                name.split('_').take(3).collect::<Vec<_>>().join(" ")
            })
            .collect();
        names.sort();
        names
    };
    let all = [
        "POD db shop",
        "POD db shop",
        "POD etcd-n1 kube-system",
        "POD web default",
        "db db shop",
        "db db shop",
        "proxy web default",
        "setup web default",
        "web web default",
    ];
    assert_eq!(names(&server.get("/containers/json").await), all);
    let with_dead = server.get("/containers/json?all=True").await;
    assert_eq!(names(&with_dead).len(), all.len() + 1);
    let asked =
        async |filter: Value| names(&server.get(&format!("/containers/json?{}", filters(&filter))).await);
    assert_eq!(asked(json!({"name": ["web_"]})).await.len(), 4);
    assert_eq!(asked(json!({"name": ["^/k8s_POD.*shop"]})).await, ["POD db shop", "POD db shop"]);
    assert_eq!(asked(json!({"id": {"dddd": true}})).await, ["web web default"]);
    let label = json!({"label": [format!("io.kubernetes.pod.uid={WEB_UID}"), "io.kubernetes.sandbox.id"]});
    assert_eq!(asked(label).await, ["proxy web default", "setup web default", "web web default"]);
    assert_eq!(asked(json!({"network": ["host"]})).await, ["POD etcd-n1 kube-system"]);
    assert_eq!(asked(json!({"network": [format!("container:{}", "a".repeat(64))]})).await.len(), 3);
    assert_eq!(asked(json!({"status": ["exited", "created"]})).await, ["crashing web default"]);
    assert_eq!(asked(json!({"ancestor": ["registry.example/proxy"]})).await, ["proxy web default"]);
    assert_eq!(asked(json!({"ancestor": ["registry.example/proxy:1.3"]})).await, [""; 0]);
    assert_eq!(server.get("/containers/json?limit=2").await.json().as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_container_goes_by_its_id_its_name_and_the_beginning_of_one_id_alone() {
    let server = server().await;
    for called in [web_id(), "d".repeat(12), "d".into(), WEB.into(), format!("/{WEB}"), format!("%2F{WEB}")] {
        for version in ["", "/v1.24", "/v1.99"] {
            let answer = server.get(&format!("{version}/containers/{called}/json")).await;
            assert_eq!((answer.status, &answer.json()["Id"]), (200, &json!(web_id())), "{called}");
        }
    }
    let path = format!("/containers/k8s_POD_etcd-n1_kube-system_{ETCD_HASH}_0/stats?stream=false");
    let etcd = server.get(&path).await.json();
    assert_eq!(etcd["networks"], json!({}), "on the node's network");
}

#[tokio::test]
async fn whatever_is_wrong_is_said_as_the_engine_says_it() {
    let server = server().await;
    let long = "x".repeat(5000);
    for (path, status, message) in [
        ("/containers/nosuch/json", 404, "No such container: nosuch"),
        ("/containers/nosuch/stats", 404, "No such container: nosuch"),
        ("/v1.44/containers/nosuch/stats?stream=false", 404, "No such container: nosuch"),
        ("/containers/%2e%2e/json", 404, "No such container: .."),
        ("/containers/a%00b/json", 404, "No such container: a\0b"),
        ("/containers/%22x%0a/json", 404, "No such container: \"x\n"),
        ("/containers/%ff/json", 404, "No such container: %ff"),
        ("/containers/e/json", 400, "multiple IDs found with provided prefix: e"),
        (&format!("/containers/{long}/json"), 404, "No such container: xxxxx"),
        ("/containers/dddd/logs", 404, "nothing is served at"),
        ("/v1.44/images/json", 404, "nothing is served at"),
        ("/containers/json?filters=x", 400, "invalid filter"),
        ("/containers/json?filters=%7b%22foo%22:%5b%22a%22%5d%7d", 400, "invalid filter 'foo'"),
        ("/containers/json?filters=%7b%22status%22:%5b%22x%22%5d%7d", 400, "invalid filter 'status=x'"),
        ("/containers/json?filters=%7b%22name%22:%5b%22(%22%5d%7d", 400, "invalid filter 'name=('"),
        ("/containers/json?limit=x", 400, "strconv.Atoi: parsing \"x\": invalid syntax"),
        ("/containers/json?all=%zz", 400, "invalid URL escape"),
        (
            "/containers/dddd/stats?stream=true&one-shot=true",
            400,
            "cannot have stream=true and one-shot=true",
        ),
        ("/events?since=x", 400, "strconv.ParseInt: parsing \"x\": invalid syntax"),
        ("/events?since=10&until=5", 400, "`since` time (10) cannot be after `until` time (5)"),
        ("/events?filters=x", 400, "invalid filter"),
    ] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (status, "application/json"), "{path}");
        let said = answer.json();
        assert_eq!(said.as_object().unwrap().len(), 1);
        assert!(said["message"].as_str().unwrap().starts_with(message), "{path}: {said}");
        assert!(answer.body.len() < 2000, "what a client sends does not come back in full");
    }
    for method in ["POST", "PUT", "DELETE"] {
        for path in ["/containers/json", "/v1.44/containers/dddd/stop", "/_ping"] {
            let answer = server.ask(method, path, &[]).await;
            assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD"));
            assert!(answer.json()["message"].is_string());
        }
    }
    let unready = server_with(Limits::default(), clock::<0>, None).await;
    for path in ["/containers/json", "/containers/dddd/stats", "/events", "/info"] {
        let answer = unready.get(path).await;
        assert_eq!(answer.status, 503, "{path}");
        assert!(answer.json()["message"].as_str().unwrap().contains("not ready"));
    }
    assert_eq!(unready.get("/_ping").await.status, 200);
}

#[tokio::test]
async fn ten_readers_get_the_same_bytes() {
    let server = server().await;
    let path = format!("/containers/{WEB}/stats?stream=false");
    let first = server.get(&path).await.body;
    for _ in 0..10 {
        assert_eq!(server.get(&path).await.body, first);
    }
}

/// The formulae of clients, as they are written there.
pub(crate) mod clients {
    use serde_json::Value;

    fn number(value: &Value) -> f64 {
        value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
    }

    fn deltas(stats: &Value) -> (f64, f64) {
        let delta = |path: &str| {
            number(stats["cpu_stats"].pointer(path).unwrap())
                - number(stats["precpu_stats"].pointer(path).unwrap_or(&Value::from(0)))
        };
        (delta("/cpu_usage/total_usage"), delta("/system_cpu_usage"))
    }

    /// The docker CLI's `calculateCPUPercentUnix`.
    pub(crate) fn cpu_percent(stats: &Value) -> Option<f64> {
        let (total, system) = deltas(stats);
        let cpus = number(&stats["cpu_stats"]["online_cpus"]);
        (total > 0.0 && system > 0.0).then(|| total / system * cpus * 100.0)
    }

    /// The docker-stats client of 2017 counts CPUs by the list.
    pub(crate) fn cpu_percent_2017(stats: &Value) -> f64 {
        let (total, system) = deltas(stats);
        let cpus = stats["cpu_stats"]["cpu_usage"]["percpu_usage"].as_array().unwrap().len();
        if total > 0.0 && system > 0.0 { total / system * cpus as f64 * 100.0 } else { 0.0 }
    }

    /// Bytes whose operation is `op`, exactly so spelled.
    pub(crate) fn blkio(stats: &Value, op: &str) -> u64 {
        let rows = stats["blkio_stats"]["io_service_bytes_recursive"].as_array().unwrap();
        rows.iter().filter(|row| row["op"] == op).map(|row| row["value"].as_u64().unwrap()).sum()
    }

    pub(crate) fn network(stats: &Value, key: &str) -> u64 {
        stats["networks"].as_object().unwrap().values().map(|row| row[key].as_u64().unwrap()).sum()
    }

    pub(crate) fn memory_percent(stats: &Value) -> f64 {
        number(&stats["memory_stats"]["usage"]) / number(&stats["memory_stats"]["limit"]) * 100.0
    }

    /// The docker CLI's `calculateMemUsageUnixNoCache`.
    pub(crate) fn cli_memory(stats: &Value) -> u64 {
        let (usage, details) =
            (stats["memory_stats"]["usage"].as_u64().unwrap(), &stats["memory_stats"]["stats"]);
        let cache = details["total_inactive_file"].as_u64().or_else(|| details["inactive_file"].as_u64());
        cache.filter(|cache| *cache < usage).map_or(usage, |cache| usage - cache)
    }
}

/// What the client of 2017 made of a container that used more than four CPUs, by its clock: on cgroup v1 as it is, on
/// cgroup v2 with a list that is made up for it.
#[tokio::test]
async fn the_client_of_2017_gets_its_figures() {
    let mut snapshot = node::snapshot();
    earlier::show_2017(&mut snapshot);
    let old = server_like(v1(), false, of_v1(snapshot.clone())).await;
    let new = server_like((*earlier::machine()).clone(), true, snapshot).await;
    for (server, synthetic) in [(old, None), (new, Some(true))] {
        gets_the_figures_of_2017(&server, synthetic).await;
    }
    // Unless it is asked for, nothing is made up.
    let plain = super::client::server().await;
    let stats = plain.get(&format!("/containers/{WEB}/stats?stream=false")).await.json();
    assert!(stats["cpu_stats"]["cpu_usage"].get("percpu_usage").is_none());
}

async fn gets_the_figures_of_2017(server: &Server, synthetic: Option<bool>) {
    let stats = server.get(&format!("/containers/{}/stats?stream=False", "d".repeat(12))).await.json();
    assert!((clients::cpu_percent_2017(&stats) - 427.733).abs() < 0.0005, "{stats}");
    assert_eq!(clients::cpu_percent_2017(&stats), clients::cpu_percent(&stats).unwrap());
    assert_eq!((clients::blkio(&stats, "Read"), clients::blkio(&stats, "Write")), (3_642_368, 9_669_120));
    assert_eq!((clients::network(&stats, "rx_bytes"), clients::network(&stats, "tx_bytes")), (648, 648));
    assert!((clients::memory_percent(&stats) - 3.0101).abs() < 0.00005, "{stats}");
    assert_eq!(clients::cli_memory(&stats), 115_937_280);
    let percent = clients::cli_memory(&stats) as f64 / 3_975_241_728.0 * 100.0;
    assert!((percent - 2.9165).abs() < 0.00005, "{percent}");
    let parts = stats["cpu_stats"]["cpu_usage"]["percpu_usage"].as_array().unwrap();
    let sum: u64 = parts.iter().map(|part| part.as_u64().unwrap()).sum();
    assert_eq!(sum, stats["cpu_stats"]["cpu_usage"]["total_usage"].as_u64().unwrap());
    assert_eq!(stats["cpu_stats"]["cpu_usage"].get("percpu_synthetic").and_then(Value::as_bool), synthetic);
}
