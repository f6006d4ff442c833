//! An unmodified metrics-server that is pointed at podvitals instead of the kubelet: `kubectl top` and a
//! HorizontalPodAutoscaler go by our figures, and nothing drops out while other pods come and go.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use anyhow::bail;
use jiff::Timestamp;
use podvitals_testbed::Beside;
use podvitals_testbed::wait_for;
use serde_json::Value;
use serde_json::json;
use tokio::net::TcpSocket;
use tokio::time::sleep;

use crate::accounts::Account;
use crate::oracle::Schedstat;
use crate::quantity::bytes;
use crate::quantity::cores;
use crate::reader::Reader;
use crate::release::Release;
use crate::stage::PATIENCE;
use crate::stage::Stage;
use crate::stage::TLS_PORT;
use crate::top_lives;
use crate::witness::now;
use crate::zoo::pods;

const PROGRAM: &str = "metrics-server";

/// Namespace of the pods under test, and name of what they climb on.
pub(crate) const PLACE: &str = "topped";

/// Of one core.
const DUTY: u32 = 40;

/// The least it takes.
pub(crate) const RESOLUTION: Duration = Duration::from_secs(10);

const CHURNED: usize = 100;
const WAVE: usize = 20;

/// On the node's own address, where metrics-server looks for a kubelet.
const ON_NODE: Release = Release::new("onnode", "onnode");

/// Namespace, pod, container.
type Names = BTreeSet<(String, String, String)>;

type Top = BTreeMap<(String, String, String), Usage>;

#[derive(Debug)]
pub(crate) struct Usage {
    pub(crate) cores: f64,
    pub(crate) bytes: u64,
    /// Of the window, in nanoseconds since 1970, the end in whole seconds.
    pub(crate) begun: u64,
    pub(crate) end: u64,
}

/// What was answered once.
pub(crate) struct Poll {
    /// Nanoseconds since 1970.
    pub(crate) at: u64,
    pub(crate) top: Top,
    /// Podvitals' own document, of which metrics-server's is made.
    pub(crate) resource: String,
}

pub(crate) async fn top_and_an_autoscaler_go_by_podvitals_alone(stage: Arc<Stage>) {
    ON_NODE.install(&stage, &["--set", "profile.hostNetwork=true"]).await.unwrap();
    stage.cluster.create_namespace(PLACE).await.unwrap();
    let items: Vec<_> = climber().into_iter().chain(top_lives::manifests()).collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
    stage.cluster.apply(&list.to_string()).await.unwrap();
    stage.until_rolled_out(ON_NODE.namespace(), &ON_NODE.full_name()).await.unwrap();
    let account = account(&stage).await;
    let (mut program, port) = start(&stage, &account).await;
    until_available(&stage, &mut program).await;

    let climbs = ["rollout", "status", "-n", PLACE, "deployment/topped", "--timeout=90s"];
    stage.cluster.kubectl(&climbs).await.unwrap();
    let ready = ["wait", "pods", "-n", PLACE, "--all", "--for=condition=Ready", "--timeout=90s"];
    stage.cluster.kubectl(&ready).await.unwrap();
    let lasting = lasting(&stage).await;
    assert!(lasting.len() >= 4, "{lasting:?}");
    until_all_are_there(&stage, &lasting).await;
    let shown = stage.cluster.kubectl(&["top", "pods", "-A", "--containers", "--no-headers"]).await.unwrap();
    for (namespace, pod, container) in &lasting {
        let wanted = [namespace, pod, container];
        let line = shown.lines().find(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.first_chunk() == Some(&wanted.map(String::as_str))
        });
        let words: Vec<&str> =
            line.unwrap_or_else(|| panic!("no {wanted:?} in\n{shown}")).split_whitespace().collect();
        assert!(words[3].ends_with('m') && words[4].ends_with("Mi"), "{words:?}");
    }
    the_climber_s_figure_is_the_scheduler_s(&stage, &lasting).await;
    let reader = Reader::tls((stage.cluster.node_address(), TLS_PORT).into(), Some(account.token().await));
    let others = async { tokio::join!(others_come_and_go(&stage), top_lives::live(&stage, &reader)).1 };
    let watched = nothing_drops_out_while(&stage, &reader, &lasting, others);
    let ((polls, lives), ()) = tokio::join!(watched, until_scaled(&stage));
    println!(
        "       {} containers in each of {} answers while {CHURNED} pods came and went",
        lasting.len(),
        polls.len()
    );
    lives.check(&polls);
    assert!(program.runs().unwrap(), "{}", stage.cluster.log_tail(PROGRAM));

    // First, or nothing could be deleted: the API server asks every API that is registered.
    stage.cluster.kubectl(&["delete", "apiservice", "v1beta1.metrics.k8s.io"]).await.unwrap();
    drop((program, port));
    stage.cluster.kubectl(&["delete", "service,endpointslice", "-n", "kube-system", PROGRAM]).await.unwrap();
    stage.cluster.kubectl(&["delete", "rolebinding", "-n", "kube-system", PROGRAM]).await.unwrap();
    account.remove().await;
    stage.cluster.helm(&["uninstall", ON_NODE.name(), "-n", ON_NODE.namespace()]).await.unwrap();
    let namespaces = ["delete", "namespace", PLACE, ON_NODE.namespace(), "--timeout=90s"];
    stage.cluster.kubectl(&namespaces).await.unwrap();
}

/// A Deployment that uses four times what it asks for, and what makes it grow for that.
fn climber() -> [Value; 2] {
    let container = json!({
        "name": "climber",
        "image": "localhost/load:1",
        "imagePullPolicy": "Never",
        "args": ["spin", "--duty", DUTY.to_string()],
        "resources": { "requests": { "cpu": "100m" } },
    });
    let labels = json!({ "app": PLACE });
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": PLACE, "namespace": PLACE },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "terminationGracePeriodSeconds": 1, "containers": [container] },
            },
        },
    });
    let target = json!({ "type": "Utilization", "averageUtilization": 100 });
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": { "name": PLACE, "namespace": PLACE },
        "spec": {
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": PLACE },
            "minReplicas": 1,
            "maxReplicas": 3,
            "metrics": [{ "type": "Resource", "resource": { "name": "cpu", "target": target } }],
        },
    });
    [deployment, autoscaler]
}

/// What metrics-server's own manifest grants it.
async fn account(stage: &Stage) -> Account<'_> {
    let rules = json!([
        { "apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"] },
        { "apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"] },
    ]);
    let account = Account::make(&stage.cluster, PROGRAM).await.allow(&rules).await;
    let binding = ["create", "rolebinding", PROGRAM, "-n", "kube-system"];
    let of = ["--role=extension-apiserver-authentication-reader", "--serviceaccount=default:metrics-server"];
    stage.cluster.kubectl(&[&binding[..], &of].concat()).await.unwrap();
    account.bind("system:auth-delegator").await
}

/// Starts it, and registers it as the cluster's `metrics.k8s.io`. The socket keeps its port from everybody
/// else: it takes no port of its own choice, and one that was found free may be somebody's a moment later.
async fn start(stage: &Stage, account: &Account<'_>) -> (Beside, TcpSocket) {
    let cluster = &stage.cluster;
    let address = cluster.node_address();
    let kept = TcpSocket::new_v4().unwrap();
    kept.set_reuseport(true).unwrap();
    // Bound, it holds the port; as long as it does not listen, every connection is metrics-server's.
    kept.bind((address, 0).into()).unwrap();
    let port = kept.local_addr().unwrap().port();
    let kubeconfig = cluster.kubeconfig_of(PROGRAM, &account.token().await).unwrap();
    let kubeconfig = kubeconfig.display();
    let certificates = cluster.folder_for(PROGRAM).unwrap();
    let program = cluster.start_beside(
        PROGRAM,
        vec![
            format!("--kubeconfig={kubeconfig}"),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            format!("--bind-address={address}"),
            format!("--secure-port={port}"),
            "--permit-port-sharing".to_owned(),
            format!("--cert-dir={}", certificates.display()),
            // From here on as the README says.
            format!("--kubelet-port={TLS_PORT}"),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            "--kubelet-insecure-tls".to_owned(),
            format!("--metric-resolution={}s", RESOLUTION.as_secs()),
            "--kubelet-request-timeout=5s".to_owned(),
        ],
    );
    let place = json!({ "name": PROGRAM, "namespace": "kube-system" });
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": place,
        "spec": { "ports": [{ "name": "https", "port": 443, "targetPort": port }] },
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": PROGRAM,
            "namespace": "kube-system",
            "labels": { "kubernetes.io/service-name": PROGRAM },
        },
        "addressType": "IPv4",
        "ports": [{ "name": "https", "port": port }],
        "endpoints": [{ "addresses": [address.to_string()], "conditions": { "ready": true } }],
    });
    let registered = json!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": { "name": "v1beta1.metrics.k8s.io" },
        "spec": {
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": true,
            "service": place,
        },
    });
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [service, slice, registered] });
    cluster.apply(&list.to_string()).await.unwrap();
    (program.unwrap(), kept)
}

async fn until_available(stage: &Stage, program: &mut Beside) {
    let available = wait_for("metrics.k8s.io to be available", PATIENCE, async || {
        anyhow::ensure!(program.runs()?, "metrics-server has ended");
        let service = stage.cluster.get_json(&["apiservice", "v1beta1.metrics.k8s.io"]).await?;
        let conditions = service["status"]["conditions"].as_array().context("conditions")?;
        let condition = conditions.iter().find(|it| it["type"] == "Available").context("Available")?;
        if condition["status"] != "True" {
            bail!("{}", condition["message"]);
        }
        Ok(Some(()))
    });
    if let Err(error) = available.await {
        panic!("{error:#}\n{}", stage.cluster.log_tail(PROGRAM));
    }
}

/// Every container that runs now, of pods that stay while the test lasts.
async fn lasting(stage: &Stage) -> Names {
    let mut lasting = Names::new();
    for pod in pods(stage, "").await.unwrap() {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let statuses = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
        let runs = |status: &&Value| status["state"]["running"].is_object();
        if pod["metadata"]["deletionTimestamp"].is_null() && pod["status"]["phase"] == "Running" {
            let name = (text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]));
            let names = statuses.filter(runs).map(|it| (name.0.clone(), name.1.clone(), text(&it["name"])));
            lasting.extend(
                names.filter(|(place, pod, container)| place != PLACE || top_lives::stays(pod, container)),
            );
        }
    }
    lasting
}

async fn top(stage: &Stage) -> anyhow::Result<Top> {
    let raw = ["get", "--raw", "/apis/metrics.k8s.io/v1beta1/pods"];
    let list: Value = serde_json::from_str(&stage.cluster.kubectl(&raw).await?)?;
    let mut top = Top::new();
    for pod in list["items"].as_array().context("items")? {
        let (end, window) = window_of(pod)?;
        for container in pod["containers"].as_array().context("containers")? {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let name = |of: &str| text(&pod["metadata"][of]);
            let usage = |of: &str| text(&container["usage"][of]);
            let key = (name("namespace"), name("name"), text(&container["name"]));
            let usage = Usage {
                cores: cores(&usage("cpu"))?,
                bytes: bytes(&usage("memory"))?,
                begun: end - window,
                end,
            };
            anyhow::ensure!(!top.contains_key(&key), "{key:?} is there twice");
            top.insert(key, usage);
        }
    }
    Ok(top)
}

async fn until_all_are_there(stage: &Stage, lasting: &Names) {
    // Two scrapes make a figure.
    let there = wait_for("every container in kubectl top", PATIENCE, async || {
        let top = top(stage).await?;
        let missing: Vec<_> = lasting.iter().filter(|name| !top.contains_key(name)).collect();
        anyhow::ensure!(missing.is_empty(), "{missing:?}");
        Ok(Some(()))
    });
    if let Err(error) = there.await {
        panic!("{error:#}\n{}", stage.cluster.log_tail(PROGRAM));
    }
}

/// The scheduler's own clock says the same of the same ten seconds.
async fn the_climber_s_figure_is_the_scheduler_s(stage: &Stage, lasting: &Names) {
    // One that ran at the beginning: the autoscaler may be adding others already.
    let (_, pod, _) = lasting.iter().find(|(place, _, of)| place == PLACE && of == "climber").unwrap();
    let on_node = stage.cluster.find_on_node(PLACE, pod).await.unwrap().unwrap();
    let pid = on_node.container("climber").unwrap().pid;
    let (clock, begun) = (Schedstat::record(pid), now());
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{PLACE}/pods/{pod}");
    let said = wait_for("a window of metrics-server's that begins now", PATIENCE, async || {
        let said: Value = serde_json::from_str(&stage.cluster.kubectl(&["get", "--raw", &path]).await?)?;
        let (end, window) = window_of(&said)?;
        Ok((end - window > begun).then_some(said))
    });
    let said = said.await.unwrap();
    let (end, window) = window_of(&said).unwrap();
    sleep(Duration::from_millis(1_200)).await;
    let clock = clock.end();
    let shown = cores(said["containers"][0]["usage"]["cpu"].as_str().unwrap()).unwrap();
    // The end is told in whole seconds: it is within the second that begins there.
    let of = |late: u64| (clock.at(end + late) - clock.at(end - window + late)) / window as f64;
    let possible: Vec<f64> = (0..=10).map(|tenths| of(tenths * 100_000_000)).collect();
    let low = possible.iter().copied().fold(f64::MAX, f64::min);
    let high = possible.iter().copied().fold(0.0, f64::max);
    println!("       {shown:.4} cores of the climber; the scheduler says {low:.4} to {high:.4}");
    assert!(high > 0.05 && (low * 0.98..=high * 1.02).contains(&shown), "{shown}, not {low} to {high}");
}

/// When a figure's window ended, and how long it was, in nanoseconds.
fn window_of(said: &Value) -> anyhow::Result<(u64, u64)> {
    let end: Timestamp = said["timestamp"].as_str().context("timestamp")?.parse()?;
    let window = said["window"].as_str().and_then(|it| it.strip_suffix('s')).context("window")?;
    let window = Duration::from_secs_f64(window.parse()?);
    Ok((u64::try_from(end.as_nanosecond())?, u64::try_from(window.as_nanos())?))
}

/// Every answer until `others` is over, and what that brought.
async fn nothing_drops_out_while<T>(
    stage: &Stage,
    reader: &Reader,
    lasting: &Names,
    others: impl Future<Output = T>,
) -> (Vec<Poll>, T) {
    let over = tokio::sync::Notify::new();
    let others = async {
        let brought = others.await;
        over.notify_one();
        brought
    };
    let watch = async {
        let (mut polls, mut churned) = (Vec::new(), Names::new());
        let mut ended = std::pin::pin!(over.notified());
        loop {
            let top = top(stage).await.unwrap();
            let missing: Vec<_> = lasting.iter().filter(|name| !top.contains_key(name)).collect();
            assert!(missing.is_empty(), "answer {} lacks {missing:?}", polls.len());
            let passing =
                |(place, pod, _): &&(String, String, String)| place == PLACE && pod.starts_with("passing");
            churned.extend(top.keys().filter(passing).cloned());
            let resource = reader.get("/metrics/resource").await;
            assert_eq!(resource.status, 200, "{}", resource.body);
            polls.push(Poll { at: now(), top, resource: resource.body });
            if tokio::time::timeout(Duration::from_secs(1), ended.as_mut()).await.is_ok() {
                assert!(churned.len() >= WAVE, "hardly any of the others was ever seen: {churned:?}");
                return polls;
            }
        }
    };
    tokio::join!(watch, others)
}

async fn others_come_and_go(stage: &Stage) {
    for wave in 0..CHURNED / WAVE {
        let list = wave_of(wave);
        stage.cluster.kubectl_with_stdin(&["create", "-f", "-"], Some(&list)).await.unwrap();
        let selector = format!("wave=w{wave}");
        let running =
            ["wait", "pods", "-n", PLACE, "-l", &selector, "--for=condition=Ready", "--timeout=180s"];
        stage.cluster.kubectl(&running).await.unwrap();
        // Long enough to be in two scrapes, now and then.
        sleep(RESOLUTION).await;
        let end = ["delete", "pods", "-n", PLACE, "-l", &selector, "--grace-period=1", "--wait=false"];
        stage.cluster.kubectl(&end).await.unwrap();
    }
    sleep(RESOLUTION).await;
}

fn wave_of(wave: usize) -> String {
    let pod = |number: usize| {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": format!("passing-{number}"),
                "namespace": PLACE,
                "labels": { "wave": format!("w{wave}") },
            },
            "spec": {
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "containers": [{
                    "name": "passing",
                    "image": "localhost/load:1",
                    "imagePullPolicy": "Never",
                    "args": ["idle"],
                }],
            },
        })
    };
    let items: Vec<_> = (wave * WAVE..(wave + 1) * WAVE).map(pod).collect();
    json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string()
}

async fn until_scaled(stage: &Stage) {
    wait_for("the autoscaler to add a replica", 2 * PATIENCE, async || {
        let autoscaler = stage.cluster.get_json(&["hpa", "-n", PLACE, PLACE]).await?;
        let wanted = autoscaler["status"]["desiredReplicas"].as_u64().unwrap_or(0);
        anyhow::ensure!(wanted > 1, "{}", autoscaler["status"]);
        let deployment = stage.cluster.get_json(&["deployment", "-n", PLACE, PLACE]).await?;
        let replicas = deployment["status"]["replicas"].as_u64().unwrap_or(0);
        anyhow::ensure!(replicas > 1, "{}", deployment["status"]);
        Ok(Some(()))
    })
    .await
    .unwrap();
}
