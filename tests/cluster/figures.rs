//! Figures of pods of every kind, as exact as on a node without Kubernetes, and the same whichever way
//! they are read.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::join_all;
use podvitals::model::unavailable::Unavailable;
use podvitals_testbed::LOAD;
use podvitals_testbed::PodOnNode;
use podvitals_testbed::wait_for;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use serde_json::Value;
use serde_json::json;

use crate::agreement;
use crate::both::Both;
use crate::find::container;
use crate::find::pod;
use crate::oracle;
use crate::oracle::Schedstat;
use crate::stage::PATIENCE;
use crate::stage::Stage;

const NAMESPACE: &str = "figures";
const PORT: &str = "5001";

const MB: u64 = 1_000_000;

/// Sent and received by each pod, one after the other: different in each direction.
const AMOUNTS: [(u64, u64); 3] = [(0, 0), (MB, 3 * MB), (50 * MB, 7 * MB)];

/// Windows in which rates are compared.
const WINDOWS: usize = 5;

/// Pods by what makes them, each with a container `app` that does nothing by itself.
struct Scenery<'a> {
    stage: &'a Stage,
    /// By kind: the name in the API, and what the node has.
    pods: HashMap<&'static str, (String, PodOnNode)>,
    static_pod: PathBuf,
}

const KINDS: [&str; 4] = ["deployment", "daemonset", "static", "sidecar"];

impl<'a> Scenery<'a> {
    async fn raise(stage: &'a Stage) -> Self {
        stage.cluster.create_namespace(NAMESPACE).await.unwrap();
        let static_pod = stage.cluster.static_pod_dir().join("figures.json");
        let manifest = of_pod("static", &json!({ "containers": [idle("app")] }));
        std::fs::write(&static_pod, manifest.to_string()).unwrap();
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": manifests() });
        stage.cluster.apply(&list.to_string()).await.unwrap();
        let ready = ["wait", "--for=condition=Ready", "pod", "--all", "-n", NAMESPACE, "--timeout=90s"];
        let names = wait_for("the pods of figures", PATIENCE, async || {
            let names = Self::names(stage).await?;
            Ok((names.len() == KINDS.len() + 3).then_some(names))
        });
        let names = names.await.unwrap();
        stage.cluster.kubectl(&ready).await.unwrap();
        let mut pods = HashMap::new();
        for (kind, name) in names {
            let on_node = stage.cluster.find_on_node(NAMESPACE, &name).await.unwrap().unwrap();
            pods.insert(kind, (name, on_node));
        }
        Self { stage, pods, static_pod }
    }

    /// Pods of the namespace by the kind their label says.
    async fn names(stage: &Stage) -> anyhow::Result<HashMap<&'static str, String>> {
        let pods = stage.cluster.get_json(&["pods", "-n", NAMESPACE]).await?;
        let pods = pods["items"].as_array().context("items")?;
        let all = KINDS.into_iter().chain(["server", "throttled", "host"]);
        Ok(all
            .filter_map(|kind| {
                let pod = pods.iter().find(|pod| pod["metadata"]["labels"]["kind"] == kind)?;
                Some((kind, pod["metadata"]["name"].as_str()?.to_owned()))
            })
            .collect())
    }

    fn on_node(&self, kind: &str) -> &PodOnNode {
        &self.pods[kind].1
    }

    /// Runs the load program in a container, as a person would.
    async fn exec(&self, kind: &str, container: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let name = &self.pods[kind].0;
        let command = ["exec", "-n", NAMESPACE, name, "-c", container, "--", "/load"];
        self.stage.cluster.kubectl(&[&command, arguments].concat()).await
    }

    /// Moves bytes between the pod and the server; the program counts them, and fails unless these are
    /// the amounts.
    async fn exchange(&self, kind: &str, sent: u64, received: u64) {
        let address = self.on_node("server").ip.unwrap().to_string();
        let (sent, received) = (sent.to_string(), received.to_string());
        let arguments = ["send", &address, PORT, "--bytes", &sent, "--receive", &received];
        let said = self.exec(kind, "app", &arguments).await.unwrap();
        assert_eq!(said.trim(), format!("{{\"sentBytes\":{sent},\"receivedBytes\":{received}}}"));
    }

    async fn strike(self) {
        std::fs::remove_file(&self.static_pod).unwrap();
        self.stage.cluster.kubectl(&["delete", "namespace", NAMESPACE, "--wait=false"]).await.unwrap();
    }
}

/// A container that does nothing until it is told.
fn idle(name: &str) -> Value {
    running(name, &["idle"])
}

fn running(name: &str, args: &[&str]) -> Value {
    json!({ "name": name, "image": LOAD, "imagePullPolicy": "Never", "args": args })
}

fn of_pod(kind: &str, spec: &Value) -> Value {
    let metadata = json!({ "name": kind, "namespace": NAMESPACE, "labels": { "kind": kind } });
    let mut spec = spec.clone();
    spec["terminationGracePeriodSeconds"] = json!(0);
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec })
}

fn manifests() -> Vec<Value> {
    let controlled = |kind: &str, of: &str, more: Value| {
        let mut spec = json!({
            "selector": { "matchLabels": { "kind": of } },
            "template": {
                "metadata": { "labels": { "kind": of } },
                "spec": { "containers": [idle("app")], "terminationGracePeriodSeconds": 0 },
            },
        });
        if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
            spec.extend(more);
        }
        let metadata = json!({ "name": of, "namespace": NAMESPACE });
        json!({ "apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec })
    };
    let mut helper = idle("helper");
    helper["restartPolicy"] = json!("Always");
    let mut limited = running("app", &["spin"]);
    limited["resources"] = json!({ "limits": { "cpu": "200m" } });
    vec![
        controlled("Deployment", "deployment", json!({ "replicas": 1 })),
        controlled("DaemonSet", "daemonset", json!({})),
        of_pod(
            "sidecar",
            &json!({
                "initContainers": [running("first", &["idle", "--seconds", "0"]), helper],
                "containers": [idle("app")],
            }),
        ),
        of_pod("server", &json!({ "containers": [running("app", &["serve-bytes", "--port", PORT])] })),
        of_pod("throttled", &json!({ "containers": [limited] })),
        of_pod("host", &json!({ "hostNetwork": true, "containers": [idle("app")] })),
    ]
}

pub(crate) async fn every_figure_is_exact_and_the_same_both_ways(stage: Arc<Stage>) {
    let scenery = Scenery::raise(&stage).await;
    let both = Both::open(&stage, "figures").await;
    network_equals_the_host_s_end(&scenery, &both).await;
    the_node_s_network_is_nobody_s(&scenery, &both).await;
    throttling_equals_the_file(&scenery, &both).await;
    // The throttled one took part of a CPU until here; it does not matter to those that follow, but for
    // the share they get.
    let full = Burning::start(&scenery, "deployment", "app", 100, 1).await;
    let part = Burning::start(&scenery, "daemonset", "app", 37, 0).await;
    rates_agree(&both, [full, part]).await;
    let fixed = Burning::start(&scenery, "static", "app", 37, 0).await;
    let beside = Burning::start(&scenery, "sidecar", "helper", 61, 1).await;
    rates_agree(&both, [fixed, beside]).await;
    both.close().await;
    scenery.strike().await;
}

async fn network_equals_the_host_s_end(scenery: &Scenery<'_>, both: &Both<'_>) {
    let (mut sent, mut received) = (0, 0);
    for (more_sent, more_received) in AMOUNTS {
        if more_sent > 0 {
            join_all(KINDS.map(|kind| scenery.exchange(kind, more_sent, more_received))).await;
        }
        (sent, received) = (sent + more_sent, received + more_received);
        while_quiet(scenery, both, [sent, received]).await;
    }
}

/// Compares every pod's network with the host's end of its veth, in a sweep during which nothing moved.
async fn while_quiet(scenery: &Scenery<'_>, both: &Both<'_>, least: [u64; 2]) {
    let links = || {
        KINDS.map(|kind| {
            let on_node = scenery.on_node(kind);
            (on_node.host_counters().unwrap(), oracle::net_dev(on_node.sandbox_pid, "eth0"))
        })
    };
    for _ in 0..20 {
        let before = links();
        let list = both.next_list().await;
        if before != links() {
            continue;
        }
        for (kind, (host, own)) in KINDS.into_iter().zip(before) {
            let on_node = scenery.on_node(kind);
            let network = pod(&list, &on_node.uid).network.clone().unwrap();
            let total = &network.total;
            assert_eq!(network.source.as_deref(), Some("netns"), "{kind}");
            assert_eq!(oracle::counters(total), own, "{kind}: its own interface");
            assert_eq!(
                [total.tx_bytes, total.tx_packets, total.rx_bytes, total.rx_packets],
                [host.rx_bytes, host.rx_packets, host.tx_bytes, host.tx_packets],
                "{kind}: tx and rx of the pod against rx and tx of the host's end"
            );
            // What the program counted is there, and not twice: headers and acknowledgements of both
            // directions are a fraction of it.
            let overhead = (least[0] + least[1]) / 4 + 100_000;
            for (counted, payload) in [(total.tx_bytes, least[0]), (total.rx_bytes, least[1])] {
                let possible = payload..=payload + overhead;
                assert!(possible.contains(&counted), "{kind}: {counted} bytes for {payload} of payload");
            }
        }
        println!("       {least:?} bytes of payload: {} packets out", before[0].0.rx_packets);
        return;
    }
    panic!("the links were never quiet for a whole sweep");
}

async fn the_node_s_network_is_nobody_s(scenery: &Scenery<'_>, both: &Both<'_>) {
    let list = both.next_list().await;
    let on_host = pod(&list, &scenery.on_node("host").uid);
    assert!(on_host.host_network && on_host.network.is_none());
    assert_eq!(on_host.unavailable.get("network"), Some(&Unavailable::HostNetwork));
    assert!(on_host.cpu.is_some() && on_host.memory.is_some(), "all else is there");
    let bridge = scenery.stage.cluster.testbed().bridge();
    for node in both.nodes().await {
        let nics = node.network.unwrap().interfaces;
        let mut names: Vec<_> = nics.iter().map(|nic| nic.name.clone()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), nics.len(), "each of the node's NICs once: {names:?}");
        assert!(names.contains(&bridge), "{names:?}");
        let counted = nics.iter().find(|nic| nic.counted).unwrap();
        let now = oracle::host_link(&counted.name);
        assert!((1..=now[0]).contains(&counted.traffic.rx_bytes), "{counted:?} against {now:?}");
    }
}

async fn throttling_equals_the_file(scenery: &Scenery<'_>, both: &Both<'_>) {
    let app = scenery.on_node("throttled").container("app").unwrap();
    let file = app.cgroup_dir("cpu").unwrap().join("cpu.stat");
    let mut throttled = 0;
    for _ in 0..3 {
        let before = agreement::throttling(&file);
        let cpu = container(&both.next_list().await, &app.id).cpu.unwrap();
        let after = agreement::throttling(&file);
        throttled = agreement::throttled(&cpu, before, after);
        assert_eq!(cpu.limit_cores, Some(0.2));
        assert!(cpu.cores.unwrap() < 0.25, "{:?} cores under a quota of 0.2", cpu.cores);
    }
    assert!(throttled > 0, "nothing was throttled");
    scenery.stage.cluster.kubectl(&["delete", "pod", "throttled", "-n", NAMESPACE]).await.unwrap();
}

/// A process that burns CPU in a container where nothing else does.
struct Burning {
    of: String,
    id: String,
    pid: u32,
    recording: Schedstat,
    exec: tokio::process::Child,
}

impl Burning {
    /// `kubectl exec` in the container, ended by [`Self::end`].
    async fn start(scenery: &Scenery<'_>, kind: &str, container: &str, duty: u32, cpu: u32) -> Self {
        let (name, on_node) = &scenery.pods[kind];
        let inside = on_node.container(container).unwrap();
        let (duty, cpu) = (duty.to_string(), cpu.to_string());
        let mut command = scenery.stage.cluster.kubectl_command();
        command.args(["exec", "-n", NAMESPACE, name, "-c", container, "--", "/load", "spin"]);
        // An end of its own, should nobody come to end it.
        command.args(["--duty", &duty, "--cpu", &cpu, "--seconds", "90"]);
        command.stdout(std::process::Stdio::null());
        let exec = tokio::process::Command::from(command).kill_on_drop(true).spawn().unwrap();
        let processes = inside.cgroup_dir("cpuacct").unwrap().join("cgroup.procs");
        let pid = wait_for("the load to burn", PATIENCE, async || {
            let pids = std::fs::read_to_string(&processes)?;
            let spins = |pid: &u32| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                line.starts_with(b"/load\0spin\0")
            };
            Ok(pids.lines().filter_map(|pid| pid.parse().ok()).find(spins))
        });
        let pid = pid.await.unwrap();
        let of = format!("{kind}/{container}");
        Self { of, id: inside.id.clone(), pid, recording: Schedstat::record(pid), exec }
    }
}

/// Follows all of them through the same sweeps, and compares each with the scheduler's account.
/// Some of a CPU: how much is the scheduler's decision, on a machine on which a whole cluster runs. That the
/// rate is the scheduler's own figure is what counts.
const SHARE: Range<f64> = 0.01..1.01;

async fn rates_agree<const N: usize>(both: &Both<'_>, burning: [Burning; N]) {
    let lists = both.successive(WINDOWS + 1).await;
    // The recording must reach beyond the last stamp.
    tokio::time::sleep(Duration::from_millis(20)).await;
    for one in burning {
        let Burning { of, id, pid, recording, mut exec } = one;
        let recorded = recording.end();
        kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
        let _ = exec.wait().await.unwrap();
        let figures: Vec<_> = lists.iter().map(|list| container(list, &id).cpu.unwrap()).collect();
        println!("       {of}: {:?} cores", figures.iter().map(|cpu| cpu.cores).collect::<Vec<_>>());
        agreement::rates(&figures, &recorded, &SHARE);
    }
}
