//! A real Prometheus reads what podvitals serves, and the rules that dashboards stand on find every pod.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use podvitals::model::document::PodList;
use serde_json::Value;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::daemon::Daemon;
use crate::find::pod;
use crate::network::PORT;
use crate::network::serving;
use crate::network::while_quiet;
use crate::stage::Stage;

const ROUTES: [&str; 3] = ["cadvisor", "pods", "resource"];

/// The shape of kubernetes-mixin's rules, but for those of memory, `kube_pod_info` made of our own.
const RULES: &str = r#"
groups:
  - name: pods
    rules:
      - record: kube_pod_info
        expr: podvitals_pod_info
      - record: node_namespace_pod_container:container_cpu_usage_seconds_total:sum_rate5m
        expr: |
          sum by (cluster, namespace, pod, container) (
            rate(container_cpu_usage_seconds_total{job="cadvisor", image!=""}[5m])
          ) * on (cluster, namespace, pod) group_left(node) topk by (cluster, namespace, pod) (
            1, max by(cluster, namespace, pod, node) (kube_pod_info{node!=""})
          )
      - alert: CPUThrottlingHigh
        expr: |
          sum without (id, metrics_path, name, image, endpoint, job, node) (
            increase(container_cpu_cfs_throttled_periods_total{container!=""}[5m])
          )
          / on (namespace, pod, container, instance) group_left
          sum without (id, metrics_path, name, image, endpoint, job, node) (
            increase(container_cpu_cfs_periods_total{container!=""}[5m])
          ) > ( 25 / 100 )
      - record: pod:network_receive_bytes:sum_rate5m
        expr: sum by (namespace, pod) (rate(container_network_receive_bytes_total{namespace!=""}[5m]))
"#;

/// Of what memory each row has a rule of one shape.
const MEMORY: [&str; 4] = [
    "container_memory_working_set_bytes",
    "container_memory_rss",
    "container_memory_cache",
    "container_memory_swap",
];

fn rules() -> String {
    let of_memory = MEMORY.map(|family| {
        format!(
            r#"      - record: node_namespace_pod_container:{family}
        expr: |
          {family}{{job="cadvisor", image!=""}}
          * on (namespace, pod) group_left(node) topk by(namespace, pod) (
            1, max by(namespace, pod, node) (kube_pod_info{{node!=""}})
          )
"#
        )
    });
    RULES.to_owned() + &of_memory.concat()
}

pub(crate) async fn rules_of_the_mixin_find_every_pod(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let server = testbed.pod("prom-server").run().await.unwrap();
    serving(&server).await;
    let client = testbed.pod("prom-client").run().await.unwrap();
    let spins =
        client.container("spins").args(["spin", "--duty", "90"]).cpu_limit_millis(200).run().await.unwrap();
    let on_host = testbed.pod("prom-host").host_network(true).run().await.unwrap();
    on_host.container("app").args(["idle"]).run().await.unwrap();
    let daemon = Daemon::start(testbed, &["--listen", "127.0.0.1:0"]).await;
    let address = daemon.address();
    spins.exchange(server.ip().unwrap(), PORT, 3_000_000, 5_000_000).await.unwrap();
    let quiet = while_quiet(&daemon, &client).await;

    let prometheus = Prometheus::start(&testbed.scratch().join("prometheus"), &address);
    for route in ROUTES {
        let up = format!("up{{job=\"{route}\"}} == 1");
        prometheus.until(&up, |rows| rows.len() == 1).await;
    }
    let list = daemon.next_list().await;
    let containers = named_containers(&list);
    let of_rule = async |rule: &str| {
        let found = |rows: &Rows| keys(rows, &["namespace", "pod", "container"]).is_superset(&containers);
        let rows = prometheus.until(rule, found).await;
        assert_eq!(keys(&rows, &["namespace", "pod", "container"]).len(), rows.len(), "{rule}: one row each");
        rows
    };
    let cpu = of_rule("node_namespace_pod_container:container_cpu_usage_seconds_total:sum_rate5m").await;
    for family in MEMORY {
        let rows = of_rule(&format!("node_namespace_pod_container:{family}")).await;
        // There may be neither cache nor swap, but never no working set.
        let least =
            if ["container_memory_cache", "container_memory_swap"].contains(&family) { 0.0 } else { 1.0 };
        assert!(rows.iter().all(|(labels, value)| *value >= least && !labels["node"].is_empty()), "{rows:?}");
    }
    // It wants 90 % of a core and may have 20: the kernel holds it up in nearly every period.
    let alert = "ALERTS{alertname=\"CPUThrottlingHigh\", alertstate=\"firing\"}";
    let firing = prometheus.until(alert, |rows| !rows.is_empty()).await;
    assert_eq!(keys(&firing, &["container"]), BTreeSet::from([vec!["spins".to_owned()]]), "{firing:?}");
    // Over five minutes of which it has seen a few seconds the rule's own figure is small.
    assert!(cpu.iter().any(|(labels, value)| labels["container"] == "spins" && *value > 0.0), "{cpu:?}");
    let now = "rate(container_cpu_usage_seconds_total{container=\"spins\",image!=\"\"}[5s])";
    prometheus.until(now, |rows| rows.len() == 1 && (0.1..0.25).contains(&rows[0].1)).await;

    // Every pod with a network of its own, and no other.
    let networked = list.pods.iter().filter(|pod| pod.network.is_some());
    let networked: BTreeSet<Vec<String>> =
        networked.filter_map(|pod| Some(vec![pod.namespace.clone()?, pod.name.clone()?])).collect();
    let found = |rows: &Rows| keys(rows, &["namespace", "pod"]) == networked;
    prometheus.until("pod:network_receive_bytes:sum_rate5m", found).await;
    assert!(networked.iter().all(|pod| pod[1] != "prom-host") && networked.len() >= 2, "{networked:?}");

    // What was counted, through text and database; since then no more than neighbours say to each other.
    for (direction, bytes) in [("receive", quiet.total.rx_bytes), ("transmit", quiet.total.tx_bytes)] {
        for name in [
            format!("container_network_{direction}_bytes_total{{pod=\"prom-client\"}}"),
            format!("podvitals_pod_network_{direction}_bytes_total{{pod=\"prom-client\"}}"),
        ] {
            let rows = prometheus.until(&name, |rows| rows.len() == 1).await;
            assert!(
                rows[0].1 >= bytes as f64 && rows[0].1 < bytes as f64 + 10_000.0,
                "{name}: {rows:?}, not {bytes}"
            );
        }
    }
    let uid = pod(&list, client.uid()).runtime_uid.clone();
    let created = format!("podvitals_pod_network_receive_bytes_created{{uid=\"{uid}\"}}");
    let rows = prometheus.until(&created, |rows| rows.len() == 1).await;
    let since = quiet.since_unix_nano.unwrap() as f64 / 1e9;
    assert!((rows[0].1 - since).abs() < 1e-3, "{rows:?}, not {since}");

    drop(prometheus);
    for made in [server, client, on_host] {
        made.stop().await.unwrap();
    }
}

pub(crate) async fn promtool_finds_nothing_but_names_of_others(stage: Arc<Stage>) {
    let made = stage.testbed.pod("promtool").run().await.unwrap();
    made.container("app").args(["idle"]).cpu_limit_millis(500).run().await.unwrap();
    stage.full.next_list().await;
    let of_others: BTreeSet<&str> = include_str!("../../fixtures/cadvisor/promtool.txt").lines().collect();
    let mut said = BTreeSet::new();
    for route in ["/metrics/cadvisor?profile=full", "/metrics/pods", "/metrics/resource"] {
        let document = stage.full.get(route).body;
        assert!(document.contains("promtool"), "{route} does not know the pod");
        let complaints = promtool(&document);
        let ours: Vec<_> = complaints.iter().filter(|line| !of_others.contains(line.as_str())).collect();
        assert!(ours.is_empty(), "{route}: {ours:?}");
        said.extend(complaints);
    }
    // On cgroup v1 this file is not read, so the name is not there to complain of.
    let unsaid: Vec<_> = of_others.iter().filter(|line| !said.contains(**line)).collect();
    assert!(unsaid.iter().all(|line| line.starts_with("container_memory_failcnt ")), "{unsaid:?}");
    made.stop().await.unwrap();
}

/// What `promtool check metrics` says, line by line.
fn promtool(document: &str) -> Vec<String> {
    let mut tool = Command::new("promtool");
    tool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = tool.spawn().expect("promtool, of Debian's package prometheus");
    let mut input = child.stdin.take().unwrap();
    let text = document.to_owned();
    let writing = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8(said).unwrap().lines().map(str::to_owned).collect()
}

/// Namespace, pod and name of each container that runs and has them, with its figures.
fn named_containers(list: &PodList) -> BTreeSet<Vec<String>> {
    let mut all = BTreeSet::new();
    for pod in &list.pods {
        for container in pod.containers.iter().filter(|container| container.memory.is_some()) {
            let names = [&pod.namespace, &pod.name, &container.name].map(Clone::clone);
            all.extend(names.into_iter().collect::<Option<Vec<String>>>());
        }
    }
    assert!(all.len() >= 3, "{all:?}");
    all
}

/// Labels and value of each series that a query finds.
type Rows = Vec<(BTreeMap<String, String>, f64)>;

fn keys(rows: &Rows, names: &[&str]) -> BTreeSet<Vec<String>> {
    let key = |labels: &BTreeMap<String, String>| {
        names.iter().map(|name| labels.get(*name).cloned().unwrap_or_default()).collect()
    };
    rows.iter().map(|(labels, _)| key(labels)).collect()
}

/// Prometheus, which scrapes and evaluates each second, and ends with this value.
struct Prometheus {
    child: Child,
    address: String,
    log: std::path::PathBuf,
}

impl Prometheus {
    fn start(home: &Path, target: &str) -> Self {
        let _ = std::fs::remove_dir_all(home);
        std::fs::create_dir_all(home).unwrap();
        let mut config = "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n\
            rule_files: [rules.yaml]\nscrape_configs:\n"
            .to_owned();
        for route in ROUTES {
            config += &format!(
                "  - {{job_name: {route}, metrics_path: /metrics/{route}, honor_timestamps: false, \
                static_configs: [{{targets: [\"{target}\"]}}]}}\n"
            );
        }
        std::fs::write(home.join("prometheus.yaml"), config).unwrap();
        std::fs::write(home.join("rules.yaml"), rules()).unwrap();
        let log = home.join("log");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "prometheus", "--web.listen-address=127.0.0.1:0"]);
        command.arg(format!("--config.file={}", home.join("prometheus.yaml").display()));
        command.arg(format!("--storage.tsdb.path={}", home.join("data").display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap());
        let child = command.spawn().expect("prometheus, of Debian's package of that name");
        Self { child, address: String::new(), log }.listening()
    }

    /// It says itself on which port.
    fn listening(mut self) -> Self {
        let deadline = std::time::SystemTime::now() + Duration::from_secs(20);
        loop {
            let log = std::fs::read_to_string(&self.log).unwrap();
            let line = log.lines().find(|line| line.contains("\"Listening on\""));
            if let Some((_, address)) = line.and_then(|line| line.split_once("address=")) {
                self.address = address.trim().to_owned();
                return self;
            }
            assert!(std::time::SystemTime::now() < deadline, "it does not listen:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the query finds, once that is what `holds` says.
    async fn until(&self, query: &str, holds: impl Fn(&Rows) -> bool) -> Rows {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let rows = self.ask(query);
            if holds(&rows) {
                return rows;
            }
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            assert!(Instant::now() < deadline, "{query} finds {rows:?}; the log:\n{log}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn ask(&self, query: &str) -> Rows {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let request = format!("GET /api/v1/query?query={encoded} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        // Until it has read its own files it says 503.
        if head.contains(" 503 ") {
            return Rows::new();
        }
        let answer: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(answer["status"], "success", "{query}: {body}");
        let row = |row: &Value| {
            let labels = serde_json::from_value(row["metric"].clone()).unwrap();
            (labels, row["value"][1].as_str().unwrap().parse().unwrap())
        };
        answer["data"]["result"].as_array().unwrap().iter().map(row).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
