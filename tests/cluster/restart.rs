//! Our own pod is made anew, and our own process is killed: soon ready again, and nothing goes back.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use podvitals::model::document::Pod;
use podvitals::model::document::PodList;
use podvitals_testbed::PodOnNode;
use podvitals_testbed::wait_for;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use serde_json::Value;
use serde_json::json;

use crate::reader::Reader;
use crate::stage::NAMESPACE;
use crate::stage::PATIENCE;
use crate::stage::Stage;
use crate::stage::TLS_PORT;
use crate::witness::now;
use crate::witness::runtime_uid;
use crate::zoo::pods;
use crate::zoo::reader_token;

const PLACE: &str = "restart";

/// From the start of our container to `/readyz` 200.
const READY: u64 = 3_000;

const MEGABYTE: u64 = 1_000_000;

/// The port of `load serve-bytes`.
const PORT: &str = "5001";

pub(crate) async fn a_restart_is_soon_over_and_no_counter_goes_back(stage: Arc<Stage>) {
    stage.cluster.create_namespace(PLACE).await.unwrap();
    let mut series = Series::default();
    let (forward, reader) = stage.port_forward().await;
    let carried = make_carried_totals(&stage, &reader).await;
    for _ in 0..3 {
        series.follow(&reader.next_list().await);
    }
    drop(forward);
    let token = reader_token(&stage, PLACE).await;
    let since = series.since(&carried, "network");

    let old = daemon(&stage).await;
    let name = stage.daemon_pod().await;
    stage.cluster.kubectl(&["delete", "pod", "-n", NAMESPACE, &name, "--wait=false"]).await.unwrap();
    let pod_took = until_ready_again(&stage, &old, &token).await;
    series.after_restart(&stage).await;
    assert_ne!(series.since(&carried, "network"), since, "its base was lost: a new series");

    let old = daemon(&stage).await;
    let pid = i32::try_from(old.container("podvitals").unwrap().pid).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let process_took = until_ready_again(&stage, &old, &token).await;
    let new = daemon(&stage).await;
    assert_eq!(new.uid, old.uid, "the same pod");
    series.after_restart(&stage).await;

    println!(
        "       ready {pod_took} ms after the start of a new pod's container, {process_took} ms after that of \
         the same pod's (limit {READY}); {} figures of {} pods followed over {} sweeps",
        series.figures.len(),
        series.pods(),
        series.sweeps
    );
    stage.cluster.kubectl(&["delete", "clusterrolebinding", PLACE]).await.unwrap();
    stage.cluster.kubectl(&["delete", "namespace", PLACE, "--wait=false"]).await.unwrap();
    assert!(pod_took <= READY && process_took <= READY);
}

/// The pod of the DaemonSet that the runtime runs now.
async fn daemon(stage: &Stage) -> PodOnNode {
    let name = stage.daemon_pod().await;
    stage.cluster.find_on_node(NAMESPACE, &name).await.unwrap().unwrap()
}

/// Waits for another container than `old`'s, and until it is ready, when every name is there: milliseconds
/// from its start.
async fn until_ready_again(stage: &Stage, old: &PodOnNode, token: &str) -> u64 {
    let before = &old.container("podvitals").unwrap().id;
    let new = wait_for("a new container", PATIENCE, async || {
        for pod in pods(stage, NAMESPACE).await? {
            let name = pod["metadata"]["name"].as_str().context("name")?;
            let Some(found) = stage.cluster.find_on_node(NAMESPACE, name).await? else { continue };
            if found.containers.get("podvitals").is_some_and(|container| container.id != *before) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    });
    let new = new.await.unwrap();
    let started = stage.cluster.runtime().started_at(&new.container("podvitals").unwrap().id).await.unwrap();
    let reader = Reader::tls((new.ip.unwrap(), TLS_PORT).into(), Some(token.to_owned()));
    let ready = wait_for("/readyz", PATIENCE, async || {
        let answer = reader.try_get("/readyz").await?;
        anyhow::ensure!(answer.status == 200, "{}", answer.body);
        Ok(Some(now()))
    });
    let ready = ready.await.unwrap();
    let list = reader.list().await;
    for pod in pods(stage, "").await.unwrap() {
        if pod["status"]["phase"] == "Running" {
            let uid = runtime_uid(&pod);
            let shown = list.pods.iter().find(|pod| pod.runtime_uid == uid);
            // One that is being deleted may run no more, whatever its status says yet.
            if shown.is_some() || pod["metadata"]["deletionTimestamp"].is_null() {
                let named = shown.and_then(|pod| pod.name.as_deref());
                assert_eq!(named, pod["metadata"]["name"].as_str(), "names are complete when it is ready");
            }
        }
    }
    assert!(ready > started, "the old one answered");
    (ready - started) / 1_000_000
}

/// A pod whose network total is more than the kernel's present count, since its sandbox was made anew: it
/// must be seen that this base does not outlive our process. Returns its UID.
async fn make_carried_totals(stage: &Stage, reader: &Reader) -> String {
    let pod = |name: &str, args: &[&str]| {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name, "namespace": PLACE },
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": "app",
                    "image": "localhost/load:1",
                    "imagePullPolicy": "Never",
                    "args": args,
                }],
            },
        })
    };
    let items = [pod("server", &["serve-bytes", "--port", PORT]), pod("carried", &["spin", "--duty", "3"])];
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
    stage.cluster.apply(&list.to_string()).await.unwrap();
    let server = until_runs(stage, "server", 0).await;
    let carried = until_runs(stage, "carried", 0).await;
    let uid = runtime_uid(&carried);
    until_shown(reader, &uid, 0, false).await;

    let address = server["status"]["podIP"].as_str().unwrap();
    let send = ["exec", "-n", PLACE, "carried", "--", "/load", "send", address, PORT, "--bytes", "1M"];
    stage.cluster.kubectl(&send).await.unwrap();
    until_shown(reader, &uid, MEGABYTE, false).await;
    let on_node = stage.cluster.find_on_node(PLACE, "carried").await.unwrap().unwrap();
    let pause = i32::try_from(on_node.sandbox_pid).unwrap();
    kill_process(Pid::from_raw(pause).unwrap(), Signal::KILL).unwrap();
    until_runs(stage, "carried", 1).await;
    stage.cluster.kubectl(&send).await.unwrap();
    until_shown(reader, &uid, 2 * MEGABYTE, true).await;
    uid
}

/// The pod once its container runs and has been restarted at least so often.
async fn until_runs(stage: &Stage, name: &str, restarts: u64) -> Value {
    wait_for("the pod to run", PATIENCE, async || {
        let pod = stage.cluster.get_json(&["pod", "-n", PLACE, name]).await?;
        let status = &pod["status"]["containerStatuses"][0];
        anyhow::ensure!(
            status["ready"] == true && status["restartCount"].as_u64() >= Some(restarts),
            "{status}"
        );
        Ok(Some(pod))
    })
    .await
    .unwrap()
}

/// Waits until a pod is shown to have sent that much, more than the kernel says with `carried`.
async fn until_shown(reader: &Reader, uid: &str, sent: u64, carried: bool) {
    wait_for("the traffic to be shown", PATIENCE, async || {
        let list = reader.next_list().await;
        let pod = list.pods.iter().find(|pod| pod.runtime_uid == uid).context("no pod")?;
        let network = pod.network.as_ref().with_context(|| format!("{:?}", pod.unavailable))?;
        let raw = network.raw.as_ref().context("raw")?.tx_bytes;
        let total = network.total.tx_bytes;
        anyhow::ensure!(total >= sent && (raw < total) == carried, "{total} sent, {raw} in the kernel");
        Ok(Some(()))
    })
    .await
    .unwrap();
}

/// Pod totals by UID and name, as a reader keeps them who knows no more of us than our documents.
#[derive(Default)]
struct Series {
    /// Value and `sinceUnixNano`, which only what we carry has.
    figures: BTreeMap<(String, &'static str), (u64, Option<u64>)>,
    sweeps: usize,
}

impl Series {
    fn follow(&mut self, list: &PodList) {
        self.sweeps += 1;
        for pod in &list.pods {
            for (name, value, since) in figures(pod) {
                let key = (pod.runtime_uid.clone(), name);
                if let Some((before, of)) = self.figures.insert(key, (value, since)) {
                    let who = (&pod.namespace, &pod.name);
                    assert!(value >= before || since != of, "{who:?}: {name} went from {before} to {value}");
                }
            }
        }
    }

    /// Reads some sweeps of the new process.
    async fn after_restart(&mut self, stage: &Stage) {
        let before = self.figures.len();
        let (_forward, reader) = stage.port_forward().await;
        for _ in 0..4 {
            self.follow(&reader.next_list().await);
        }
        assert!(self.figures.len() >= before, "the same pods are followed");
    }

    fn since(&self, uid: &str, block: &'static str) -> Option<u64> {
        let mut of = self.figures.iter().filter(|((of, name), _)| of == uid && name.starts_with(block));
        of.next().and_then(|(_, (_, since))| *since)
    }

    fn pods(&self) -> usize {
        let uids: std::collections::BTreeSet<_> = self.figures.keys().map(|(uid, _)| uid).collect();
        uids.len()
    }
}

/// Everything of a pod that only grows.
fn figures(pod: &Pod) -> Vec<(&'static str, u64, Option<u64>)> {
    let mut all = Vec::new();
    if let Some(cpu) = &pod.cpu {
        all.push(("cpu.usageNanoseconds", cpu.usage_nanoseconds, None));
    }
    if let Some(memory) = &pod.memory {
        all.extend(memory.page_faults.map(|faults| ("memory.pageFaults", faults, None)));
        all.extend(memory.oom_kills.map(|kills| ("memory.oomKills", kills, None)));
    }
    if let Some(io) = &pod.io {
        all.push(("io.readBytes", io.read_bytes, io.since_unix_nano));
        all.push(("io.writeBytes", io.write_bytes, io.since_unix_nano));
    }
    if let Some(network) = &pod.network {
        all.push(("network.rxBytes", network.total.rx_bytes, network.since_unix_nano));
        all.push(("network.txBytes", network.total.tx_bytes, network.since_unix_nano));
        all.push(("network.txPackets", network.total.tx_packets, network.since_unix_nano));
    }
    all
}
