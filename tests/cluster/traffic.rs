//! What podvitals costs the API server: counted by the kernel on its own sockets, and by the API server.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use anyhow::ensure;
use podvitals_testbed::PAUSE;
use podvitals_testbed::wait_for;
use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::release::Release;
use crate::stage::PATIENCE;
use crate::stage::Stage;

/// Per second, steadily, with so many pods.
const MOST_BYTES: f64 = 300.0;
const PODS: usize = 30;

/// One bookmark at the least: they come once a minute.
const SHORTLY: Duration = Duration::from_secs(75);

/// `make test-traffic` says how many seconds it shall be instead: some watches end and begin anew in 600.
const WINDOW: &str = "PODVITALS_TRAFFIC_SECONDS";

const NAMESPACE: &str = "quiet";

pub(crate) async fn a_quiet_node_costs_next_to_nothing(stage: Arc<Stage>) {
    let window = std::env::var(WINDOW).map_or(SHORTLY, |text| Duration::from_secs(text.parse().unwrap()));
    let stage = &*stage;
    fill(stage).await;
    let release = Release::SHARED;
    let pid = release.pid(stage).await;
    let reader = release.inside(stage).await;
    let named = wait_for("all names", PATIENCE, async || {
        let list = reader.list().await;
        let named = list.pods.iter().filter(|pod| pod.name.is_some()).count();
        ensure!(named > PODS, "{named} of {}", list.pods.len());
        Ok(Some(named))
    });
    let named = named.await.unwrap();
    // The last changes of status come a few seconds after the pods run.
    let mut events = audit(stage).len();
    let mut bytes = Sockets::default();
    wait_for("quiet", PATIENCE, async || {
        let before = bytes.look(stage, pid)?;
        sleep(Duration::from_secs(5)).await;
        let grown = bytes.look(stage, pid)? - before;
        let more = audit(stage).len() - std::mem::replace(&mut events, audit(stage).len());
        ensure!(grown < 2000 && more == 0, "{grown} bytes and {more} requests in 5 s");
        Ok(Some(()))
    })
    .await
    .unwrap();

    let lists = async || reader.metric("podvitals_api_requests_total{verb=\"list\",resource=\"pods\"}").await;
    let (lists_before, events_before) = (lists().await, audit(stage).len());
    let begun = Instant::now();
    let first = bytes.look(stage, pid).unwrap();
    while begun.elapsed() < window {
        sleep(Duration::from_secs(1)).await;
        bytes.look(stage, pid).unwrap();
    }
    let passed = begun.elapsed().as_secs_f64();
    let grown = bytes.total() - first;
    let rate = grown as f64 / passed;
    let requests: Vec<String> = audit(stage).split_off(events_before).iter().map(shown).collect();
    println!(
        "traffic: {grown} bytes in {passed:.0} s with {named} pods on the node: {rate:.1} B/s, over {} connections; \
         requests: {requests:?}",
        bytes.0.len(),
    );
    // A bookmark takes some 160 bytes: fewer than that would mean that nothing was measured.
    assert!(grown > 100, "{grown} bytes: was there no bookmark?");
    assert!(rate <= MOST_BYTES, "{rate} B/s");
    assert_eq!(lists().await, lists_before, "no list but the first");
    let watches = requests.iter().filter(|request| request.starts_with("watch ")).count();
    assert_eq!(watches, requests.len(), "nothing but a watch now and then: {requests:?}");
    // Beginning and end of each are noted down. Where no pod changes there is not even a bookmark, and
    // after a minute and a half of silence a watch is begun anew.
    let most = 2 * (1 + window.as_secs() as usize / 90);
    assert!(watches <= most, "{watches} of {most}: {requests:?}");

    // The API server's own view of now and of all that was: one watch, of this node's pods.
    let all = audit(stage);
    let open = open_watches(&all);
    assert_eq!(open.len(), 1, "{open:?}");
    let selector = format!("fieldSelector=spec.nodeName%3D{}", stage.cluster.node_name());
    assert!(open[0].contains(&selector) && open[0].contains("allowWatchBookmarks=true"), "{open:?}");
    for event in all.iter().filter(|event| event["objectRef"]["resource"] == "pods") {
        let uri = event["requestURI"].as_str().unwrap();
        assert!(matches!(event["verb"].as_str(), Some("list" | "watch")) && uri.contains(&selector), "{uri}");
        let cached = event["verb"] != "list" || uri.contains("resourceVersion=0");
        assert!(cached, "a list that etcd has to answer: {uri}");
    }
    stage.cluster.kubectl(&["delete", "namespace", NAMESPACE, "--timeout=120s"]).await.unwrap();
}

/// Thirty pods that do nothing.
async fn fill(stage: &Stage) {
    stage.cluster.create_namespace(NAMESPACE).await.unwrap();
    let labels = json!({ "app": "quiet" });
    let container = json!({ "name": "app", "image": PAUSE, "imagePullPolicy": "Never" });
    let spec = json!({ "terminationGracePeriodSeconds": 0, "containers": [container] });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "quiet", "namespace": NAMESPACE },
        "spec": {
            "replicas": PODS, "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": spec },
        },
    });
    stage.cluster.apply(&deployment.to_string()).await.unwrap();
    let rolled = ["rollout", "status", "-n", NAMESPACE, "deployment/quiet", "--timeout=120s"];
    stage.cluster.kubectl(&rolled).await.unwrap();
}

/// What the API server noted down about the shared release.
fn audit(stage: &Stage) -> Vec<Value> {
    let release = Release::SHARED;
    stage.cluster.audit(release.namespace(), &release.full_name()).unwrap()
}

/// The requests for watches that have begun and not ended.
fn open_watches(events: &[Value]) -> Vec<String> {
    let mut open: HashMap<&str, String> = HashMap::new();
    for event in events.iter().filter(|event| event["verb"] == "watch") {
        let id = event["auditID"].as_str().unwrap();
        if event["stage"] == "ResponseStarted" {
            open.insert(id, event["requestURI"].as_str().unwrap().to_owned());
        } else {
            open.remove(id);
        }
    }
    open.into_values().collect()
}

fn shown(event: &Value) -> String {
    let word = |key: &str| event[key].as_str().unwrap_or_default();
    format!("{} {} ({})", word("verb"), word("requestURI"), word("stage"))
}

/// Bytes sent and received by each socket of a process's netns to the API server, by its local port: the
/// last that was seen, also of those that are closed.
#[derive(Default)]
struct Sockets(HashMap<String, u64>);

impl Sockets {
    /// Looks at those that are open now, and returns the sum over all.
    fn look(&mut self, stage: &Stage, pid: u32) -> anyhow::Result<u64> {
        let (host, port) = stage.cluster.api_address_for_pods();
        let output = std::process::Command::new("nsenter")
            .args([
                "--target",
                &pid.to_string(),
                "--net",
                "ss",
                "--tcp",
                "--info",
                "--no-header",
                "--numeric",
            ])
            .args(["--oneline", "state", "established", "dst", &format!("{host}:{port}")])
            .stdin(Stdio::null())
            .output()
            .context("nsenter and ss (packages util-linux and iproute2)")?;
        ensure!(output.status.success(), "ss: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout)?;
        ensure!(!text.trim().is_empty(), "no connection to {host}:{port}");
        for line in text.lines() {
            let local = line.split_whitespace().nth(2).with_context(|| line.to_owned())?;
            let bytes =
                |key: &str| line.split(' ').find_map(|word| word.strip_prefix(key)?.parse::<u64>().ok());
            let sum = bytes("bytes_sent:").with_context(|| line.to_owned())?
                + bytes("bytes_received:").unwrap_or(0);
            self.0.insert(local.to_owned(), sum);
        }
        Ok(self.total())
    }

    fn total(&self) -> u64 {
        self.0.values().sum()
    }
}
