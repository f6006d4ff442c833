//! A cluster keeps its promises: pods of every kind run on it, people's commands work, its API server
//! can be taken away and given back, and nothing of it is left behind, however its owner ends.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use podvitals_testbed::{Cluster, wait_for};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(60);

/// What is left behind is counted on the whole machine: one test at a time.
static MACHINE: Mutex<()> = Mutex::const_new(());

/// Says what each step took.
struct Steps {
    begun: Instant,
    last: Instant,
}

impl Steps {
    fn begin() -> Self {
        Self { begun: Instant::now(), last: Instant::now() }
    }

    fn done(&mut self, what: &str) {
        let (step, all) = (self.last.elapsed().as_secs_f64(), self.begun.elapsed().as_secs_f64());
        println!("{step:6.1} s  {what} ({all:.1} s since the start)");
        self.last = Instant::now();
    }
}

/// What `scripts/leftovers` lists.
fn leftovers() -> BTreeSet<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/leftovers");
    let output = Command::new(script).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(str::to_owned).collect()
}

/// What is there now and was not before, once the kernel has cleared up: a netns ends a little later
/// than its last process.
async fn nothing_but(before: &BTreeSet<String>) {
    let same = wait_for("the machine to be as before", Duration::from_secs(20), async || {
        let now = leftovers();
        ensure!(now == *before, "{:?}", now.symmetric_difference(before).collect::<Vec<_>>());
        Ok(Some(()))
    });
    same.await.unwrap();
}

fn pod(name: &str, spec: &Value) -> String {
    let metadata = json!({ "name": name, "labels": { "app": name } });
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec }).to_string()
}

fn container(name: &str, image: &str, args: &[&str]) -> Value {
    json!({ "name": name, "image": image, "imagePullPolicy": "Never", "args": args })
}

async fn running(cluster: &Cluster, namespace: &str, name: &str) -> Result<Value> {
    wait_for(&format!("pod {namespace}/{name} to run"), PATIENCE, async || {
        let pod = cluster.get_json(&["pod", "-n", namespace, name]).await?;
        let ready = pod["status"]["conditions"].as_array().into_iter().flatten();
        let ready = ready.filter(|condition| condition["type"] == "Ready" && condition["status"] == "True");
        if ready.count() == 1 { Ok(Some(pod)) } else { Err(anyhow!("status {}", pod["status"])) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_every_kind_run_and_nothing_is_left() {
    let _machine = MACHINE.lock().await;
    let before = leftovers();
    let mut steps = Steps::begin();
    let cluster = Cluster::start_telling("c-works", |step| println!("          {step}")).await.unwrap();
    steps.done("the node is ready");
    assert!(steps.begun.elapsed() < Duration::from_secs(60));

    a_deployment_runs(&cluster).await.unwrap();
    steps.done("a deployment of two pods runs");
    a_static_pod_has_two_uids(&cluster).await.unwrap();
    steps.done("a static pod runs");
    a_pod_on_the_node_s_network_has_its_address(&cluster).await.unwrap();
    steps.done("a pod on the node's network runs");
    people_s_commands_work(&cluster).await.unwrap();
    steps.done("exec, logs and port-forward work");
    a_pod_reaches_the_api_server_with_its_token(&cluster).await.unwrap();
    steps.done("a pod talks to the API server");
    the_api_server_comes_and_goes(&cluster, &mut steps).await.unwrap();
    an_old_list_expires(&cluster).await.unwrap();
    steps.done("compaction expires a list");

    cluster.stop().await.unwrap();
    steps.done("everything is taken down");
    nothing_but(&before).await;
    steps.done("nothing is left");
}

async fn a_deployment_runs(cluster: &Cluster) -> Result<()> {
    let labels = json!({ "app": "web" });
    let spec = json!({ "containers": [container("app", podvitals_testbed::LOAD, &["serve-bytes", "--port", "5001"])] });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": { "replicas": 2, "selector": { "matchLabels": labels }, "template": { "metadata": { "labels": labels }, "spec": spec } },
    });
    cluster.apply(&deployment.to_string()).await?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).await?;
    let pods = cluster.get_json(&["pods", "-l", "app=web"]).await?;
    let pods = pods["items"].as_array().unwrap();
    assert_eq!(pods.len(), 2);
    for pod in pods {
        let name = pod["metadata"]["name"].as_str().unwrap();
        let found = cluster.find_on_node("default", name).await?.unwrap();
        assert_eq!(Some(found.uid.as_str()), pod["metadata"]["uid"].as_str());
        assert_eq!(found.ip.map(|ip| ip.to_string()).as_deref(), pod["status"]["podIP"].as_str());
        let expected = format!("/podvitals-c-works/kubepods/besteffort/pod{}", found.uid);
        assert_eq!(found.cgroup, expected);
        let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap();
        let app = found.container("app")?;
        assert_eq!(id, format!("containerd://{}", app.id));
        let limit = app.cgroup_dir("memory")?.join("cgroup.procs");
        assert!(fs::read_to_string(limit)?.lines().any(|line| line == app.pid.to_string()));
        assert!(found.host_counters()?.tx_packets > 0);
    }
    Ok(())
}

async fn a_static_pod_has_two_uids(cluster: &Cluster) -> Result<()> {
    let spec = json!({ "containers": [container("app", podvitals_testbed::LOAD, &["idle"])] });
    fs::write(cluster.static_pod_dir().join("fixed.json"), pod("fixed", &spec))?;
    let name = format!("fixed-{}", cluster.node_name());
    let mirror = running(cluster, "default", &name).await?;
    let found = cluster.find_on_node("default", &name).await?.unwrap();
    let hash = mirror["metadata"]["annotations"]["kubernetes.io/config.hash"].as_str().unwrap();
    assert_eq!(found.uid, hash);
    assert_ne!(Some(found.uid.as_str()), mirror["metadata"]["uid"].as_str());
    Ok(())
}

async fn a_pod_on_the_node_s_network_has_its_address(cluster: &Cluster) -> Result<()> {
    let containers =
        [container("app", podvitals_testbed::BUSYBOX, &["/bin/sh", "-c", "echo hello; exec sleep 1000"])];
    cluster.apply(&pod("host", &json!({ "hostNetwork": true, "containers": containers }))).await?;
    let host = running(cluster, "default", "host").await?;
    assert_eq!(host["status"]["podIP"], cluster.node_address().to_string());
    let found = cluster.find_on_node("default", "host").await?.unwrap();
    let netns = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net"));
    assert_eq!(netns(&found.sandbox_pid.to_string())?, netns("self")?);
    assert!(found.host_veth().is_err());
    Ok(())
}

async fn people_s_commands_work(cluster: &Cluster) -> Result<()> {
    let said = cluster.kubectl(&["exec", "host", "--", "/bin/echo", "from inside"]).await?;
    assert_eq!(said, "from inside\n");
    assert_eq!(cluster.kubectl(&["logs", "host"]).await?, "hello\n");
    let refused = cluster.kubectl(&["logs", "nobody"]).await.unwrap_err().to_string();
    assert!(refused.contains("nobody") && refused.contains("not found"), "{refused}");
    assert!(cluster.helm(&["list", "-A", "-o", "json"]).await?.starts_with("[]"));

    let forward = cluster.port_forward("default", "deployment/web", 5001).await?;
    let address = forward.address();
    let received = tokio::task::spawn_blocking(move || ask_for_bytes(address, 100_000)).await??;
    assert_eq!(received, 100_000);
    Ok(())
}

/// As the load program's `serve-bytes` is asked: nothing to send, so many to receive.
fn ask_for_bytes(address: std::net::SocketAddr, bytes: u64) -> Result<u64> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&[[0; 8], bytes.to_be_bytes()].concat())?;
    let mut all = vec![0; usize::try_from(bytes)?];
    stream.read_exact(&mut all)?;
    Ok(all.iter().map(|byte| u64::from(*byte == 0x5a)).sum())
}

/// kubectl in a pod, as anything in a pod: CA and token from its service account, over TLS.
async fn a_pod_reaches_the_api_server_with_its_token(cluster: &Cluster) -> Result<()> {
    let (host, port) = cluster.api_address_for_pods();
    let mut client = container("client", podvitals_testbed::LOAD, &["idle"]);
    client["env"] = json!([
        { "name": "KUBERNETES_SERVICE_HOST", "value": host },
        { "name": "KUBERNETES_SERVICE_PORT", "value": port.to_string() },
        { "name": "HOME", "value": "/tmp" },
    ]);
    client["volumeMounts"] = json!([{ "name": "tools", "mountPath": "/tools", "readOnly": true }]);
    let volumes = json!([{ "name": "tools", "hostPath": { "path": cluster.tools() } }]);
    cluster.apply(&pod("client", &json!({ "containers": [client], "volumes": volumes }))).await?;
    running(cluster, "default", "client").await?;
    let said =
        cluster.kubectl(&["exec", "client", "--", "/tools/kubectl", "auth", "whoami", "-o", "json"]).await?;
    let who: Value = serde_json::from_str(&said)?;
    assert_eq!(who["status"]["userInfo"]["username"], "system:serviceaccount:default:default");

    let token = cluster.token_for("default", "default", Duration::from_secs(600)).await?;
    let mut as_account = cluster.kubectl_command();
    as_account.env_remove("KUBECONFIG");
    let server = format!("https://{host}:{port}");
    as_account.args(["--server", &server, "--token", &token, "--certificate-authority"]).arg(cluster.ca());
    let output =
        as_account.args(["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"]).output()?;
    assert_eq!(String::from_utf8(output.stdout)?, "system:serviceaccount:default:default");
    Ok(())
}

async fn the_api_server_comes_and_goes(cluster: &Cluster, steps: &mut Steps) -> Result<()> {
    let before = cluster.find_on_node("default", "client").await?.unwrap();
    let ask = ["get", "--raw", "/readyz", "--request-timeout=2s"];
    cluster.pause_api_server()?;
    assert!(cluster.kubectl(&ask).await.is_err());
    cluster.resume_api_server()?;
    assert_eq!(cluster.kubectl(&ask).await?, "ok");
    steps.done("the API server was held up");
    cluster.stop_api_server().await?;
    let refused = cluster.kubectl(&ask).await.unwrap_err().to_string();
    assert!(refused.contains("refused"), "{refused}");
    steps.done("the API server was stopped");
    cluster.start_api_server().await?;
    cluster.kubectl(&["get", "deployment", "web"]).await?;
    steps.done("the API server is back");
    cluster.kill_api_server().await?;
    assert!(cluster.kubectl(&ask).await.is_err());
    cluster.start_api_server().await?;
    cluster.kubectl(&["scale", "deployment/web", "--replicas=3"]).await?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).await?;
    steps.done("the API server was killed and is back; a third pod runs");
    let after = cluster.find_on_node("default", "client").await?.unwrap();
    assert_eq!((after.sandbox_id, after.sandbox_pid), (before.sandbox_id, before.sandbox_pid));
    Ok(())
}

async fn an_old_list_expires(cluster: &Cluster) -> Result<()> {
    let revision = cluster.compact_etcd().await?;
    assert!(revision > 100, "{revision}");
    cluster.kill_api_server().await?;
    cluster.start_api_server().await?;
    let old = "/api/v1/pods?watch=1&resourceVersion=1&timeoutSeconds=5";
    let said = cluster.kubectl(&["get", "--raw", old]).await;
    let said = said.unwrap_or_else(|error| error.to_string());
    assert!(said.contains("too old resource version"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_owner_leaves_nothing() {
    let _machine = MACHINE.lock().await;
    let before = leftovers();
    let mut steps = Steps::begin();
    let mut owner = Command::new(env!("CARGO_BIN_EXE_testbed"))
        .args(["cluster", "c-killed"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let export = lines.find(|line| line.as_ref().unwrap().contains("export KUBECONFIG=")).unwrap().unwrap();
    steps.done("a cluster stands");
    let settings = |line: &str| -> Vec<(String, String)> {
        let words = line.trim().trim_start_matches("export ").split(' ');
        words.filter_map(|word| word.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    };
    let settings = settings(&export);
    let tools = settings[1].1.trim_end_matches(":$PATH");
    let spec = json!({ "containers": [container("app", podvitals_testbed::LOAD, &["spin", "--duty", "5"])] });
    let kubectl = |script: &str| {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).env(&settings[0].0, &settings[0].1).env("POD", pod("spin", &spec));
        command
            .env("PATH", format!("{tools}:/usr/bin:/bin"))
            .env("HOME", Path::new(&settings[0].1).parent().unwrap());
        assert!(command.status().unwrap().success(), "{script}");
    };
    kubectl("printf %s \"$POD\" | kubectl apply -f -");
    kubectl("kubectl wait --for=condition=Ready pod/spin --timeout=60s");
    steps.done("a pod runs");
    owner.kill().unwrap();
    owner.wait().unwrap();
    nothing_but(&before).await;
    steps.done("nothing is left");
}
