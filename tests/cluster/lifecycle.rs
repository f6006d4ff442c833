//! What people do with a release: try it dry, change its values, test it, remove it.

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::ensure;
use podvitals_testbed::wait_for;
use serde_json::Value;

use crate::release::Release;
use crate::stage::PATIENCE;
use crate::stage::Stage;
use crate::stage::TLS_PORT;
use crate::stage::chart;

const NAMESPACE: &str = "lifecycle";

/// Where `ci/everything-values.yaml` puts what it makes.
const ELSEWHERE: &str = "monitoring";

/// What the chart makes things of that may not be installed: monitors, rules, certificates.
const KINDS_OF_OTHERS: &str = include_str!("crds.yaml");

/// Nodes that do not exist: a change of values then changes objects and starts no pod.
const NOWHERE: &str = "nodeSelector.podvitals-test=nowhere";

/// Helm waits between its requests otherwise, as one does who shares a server with others.
const AT_ONCE: [&str; 4] = ["--qps", "1000", "--burst-limit", "1000"];

pub(crate) async fn every_render_is_taken_by_the_server(stage: Arc<Stage>) {
    prepare(&stage).await;
    let version = stage.cluster.kubectl(&["version", "-o", "json"]).await.unwrap();
    let version: Value = serde_json::from_str(&version).unwrap();
    let version = version["serverVersion"]["gitVersion"].as_str().unwrap();
    // Of a pod the account must be there already, which in a dry run it is not.
    for (namespace, account) in [(NAMESPACE, "dry-podvitals-test"), (ELSEWHERE, "node-vitals-test")] {
        stage.cluster.kubectl(&["create", "serviceaccount", "-n", namespace, account]).await.unwrap();
    }
    let mut refused = Vec::new();
    for values in ci_files() {
        let chart = chart();
        let arguments = ["template", "dry", chart.to_str().unwrap(), "--namespace", NAMESPACE];
        let more = ["--kube-version", version, "--values", values.to_str().unwrap()];
        let rendered = stage.cluster.helm(&[&arguments[..], &more].concat()).await.unwrap();
        let documents = rendered.split("\n---\n").filter(|document| document.contains("\nkind: ")).count();
        let apply = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
        match stage.cluster.kubectl_with_stdin(&apply, Some(&rendered)).await {
            Ok(said) => {
                let taken = said.lines().filter(|line| line.contains("(server dry run)")).count();
                assert!(taken == documents && taken > 0, "{}: {documents} documents, {said}", shown(&values));
            }
            Err(error) => refused.push(format!("{}: {error:#}", shown(&values))),
        }
    }
    for (namespace, account) in [(NAMESPACE, "dry-podvitals-test"), (ELSEWHERE, "node-vitals-test")] {
        stage.cluster.kubectl(&["delete", "serviceaccount", "-n", namespace, account]).await.unwrap();
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

pub(crate) async fn any_values_become_any_others_and_all_goes_at_the_end(stage: Arc<Stage>) {
    prepare(&stage).await;
    let before = everything(&stage).await;
    let release = Release::new("life", NAMESPACE);

    let files = ci_files();
    let tour = tour(files.len());
    let mut seen = BTreeSet::new();
    for pair in tour.windows(2) {
        seen.insert((pair[0], pair[1]));
    }
    assert_eq!(seen.len(), files.len() * (files.len() - 1), "each to each other one");
    let mut step_from: Option<&PathBuf> = None;
    for step in &tour {
        let values = &files[*step];
        let arguments = ["--values", values.to_str().unwrap(), "--set-string", NOWHERE, "--history-max", "2"];
        let chart = chart();
        let upgrade = ["upgrade", "--install", release.name(), chart.to_str().unwrap(), "-n", NAMESPACE];
        let done = stage.cluster.helm(&[&upgrade[..], &arguments, &AT_ONCE].concat()).await;
        if let Err(error) = done {
            let from = step_from.map_or("nothing".to_owned(), |from| shown(from));
            panic!("from {from} to {}: {error:#}", shown(values));
        }
        step_from = Some(values);
    }
    // Not all of it, or what follows would be an empty proof.
    let made = everything(&stage).await;
    assert!(made.difference(&before).count() >= 5, "{:?}", made.difference(&before));

    // After all of that the defaults work as if nothing had been there before.
    stage.install(release.name(), NAMESPACE, &["--reset-values"]).await.unwrap();
    stage.until_rolled_out(NAMESPACE, "life-podvitals").await.unwrap();
    let pid = release.pid(&stage).await;
    let list = release.inside(&stage).await.next_list().await;
    assert!(list.pods.iter().any(|pod| pod.name.as_deref().is_some_and(|name| name.starts_with("life-"))));

    // The test's Service would need a DNS server to be found by.
    let on_node = release.on_node(&stage).await;
    let server = format!("tests.server=https://{}:{TLS_PORT}", on_node.ip.unwrap());
    stage.install(release.name(), NAMESPACE, &["--set-string", &server]).await.unwrap();
    let said = stage.cluster.helm(&["test", release.name(), "-n", NAMESPACE]).await;
    let said = said.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(said.contains("Phase:          Succeeded"), "{said}");
    assert_eq!(release.pid(&stage).await, pid, "values of the test alone restart nothing");
    // One that may not read fails, or a test that says yes to everything would pass.
    let nobody = format!("https://{}:1", on_node.ip.unwrap());
    let wrong = ["--set-string", &format!("tests.server={nobody}")];
    stage.install(release.name(), NAMESPACE, &wrong).await.unwrap();
    let said = stage.cluster.helm(&["test", release.name(), "-n", NAMESPACE]).await;
    assert!(said.is_err(), "{said:?}");

    stage.cluster.helm(&["uninstall", release.name(), "-n", NAMESPACE, "--wait"]).await.unwrap();
    let nothing = wait_for("nothing to be left", PATIENCE, async || {
        let after = everything(&stage).await;
        let left: Vec<_> = after.difference(&before).collect();
        ensure!(left.is_empty(), "{left:?}");
        Ok(Some(()))
    });
    nothing.await.unwrap();
}

pub(crate) async fn a_namespace_that_forbids_host_paths_gets_the_reason(stage: Arc<Stage>) {
    let namespace = "baseline";
    let label = ("pod-security.kubernetes.io/enforce", "baseline");
    stage.cluster.create_namespace_with(namespace, label).await.unwrap();
    let notes = stage.install("barred", namespace, &[]).await.unwrap();
    let advice = "kubectl label --overwrite namespace baseline pod-security.kubernetes.io/enforce=privileged";
    assert!(notes.contains(advice), "{notes}");
    let reason = wait_for("the refusal", PATIENCE, async || {
        let events = stage.cluster.get_json(&["events", "-n", namespace]).await?;
        let events = events["items"].as_array().cloned().unwrap_or_default();
        let refusal = events.iter().find(|event| event["reason"] == "FailedCreate");
        Ok(refusal.and_then(|event| event["message"].as_str()).map(str::to_owned))
    });
    let reason = reason.await.unwrap();
    assert!(reason.contains("violates PodSecurity \"baseline") && reason.contains("hostPath"), "{reason}");
    // The two hostPaths, and nothing else of what we ask for.
    assert!(reason.contains("(volumes \"proc\", \"cgroup\")"), "{reason}");
    for other in ["hostNetwork", "capabilities", "seccomp", "runAsNonRoot", "privileged container"] {
        assert!(!reason.contains(other), "{reason}");
    }

    // What the notes say helps.
    let told: Vec<&str> = advice.split(' ').skip(1).collect();
    stage.cluster.kubectl(&told).await.unwrap();
    // The controller waits longer after each refusal; a change of the DaemonSet makes it look at once.
    stage.install("barred", namespace, &["--set-string", "podLabels.again=yes"]).await.unwrap();
    stage.until_rolled_out(namespace, "barred-podvitals").await.unwrap();
    stage.cluster.helm(&["uninstall", "barred", "-n", namespace]).await.unwrap();
    stage.cluster.kubectl(&["delete", "namespace", namespace, "--wait=false"]).await.unwrap();
}

/// The namespaces, and the kinds that the monitors and certificates are of. May be called again.
async fn prepare(stage: &Stage) {
    // With all that a controller puts into them, which otherwise would seem to be left of a release.
    for name in [NAMESPACE, ELSEWHERE] {
        stage.make_namespace(name).await.unwrap();
    }
    stage.cluster.apply(KINDS_OF_OTHERS).await.unwrap();
    let established = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"];
    stage.cluster.kubectl(&established).await.unwrap();
}

/// `ci/*-values.yaml`, by name.
fn ci_files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(chart().join("ci")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_str().unwrap().ends_with("-values.yaml"));
    files.sort();
    assert!(files.len() > 5, "{files:?}");
    files
}

fn shown(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// A walk over `count` places that takes each way between two of them once, in each direction: what is
/// left of the ways is followed until there is none, and side trips are put in where they begin
/// (Hierholzer).
fn tour(count: usize) -> Vec<usize> {
    let mut next: Vec<Vec<usize>> =
        (0..count).map(|from| (0..count).filter(|to| *to != from).collect()).collect();
    let (mut stack, mut walk) = (vec![0], Vec::new());
    while let Some(at) = stack.last().copied() {
        match next[at].pop() {
            Some(to) => stack.push(to),
            None => walk.extend(stack.pop()),
        }
    }
    walk.reverse();
    walk
}

/// The name of every object of every kind on the cluster, but for those that come and go by themselves.
async fn everything(stage: &Stage) -> BTreeSet<String> {
    let kinds = stage.cluster.kubectl(&["api-resources", "--verbs=list", "-o", "name"]).await.unwrap();
    let kinds: Vec<&str> = kinds.lines().filter(|kind| !kind.starts_with("events")).collect();
    assert!(kinds.contains(&"clusterroles.rbac.authorization.k8s.io"), "{kinds:?}");
    let template = "--template={{range .items}}{{.kind}} {{.metadata.namespace}}/{{.metadata.name}}\n{{end}}";
    let all = ["get", &kinds.join(","), "--all-namespaces", "--ignore-not-found", template];
    let all = stage.cluster.kubectl(&all).await.unwrap();
    all.lines().map(str::to_owned).filter(|line| !line.starts_with("Lease ")).collect()
}
