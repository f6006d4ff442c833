//! One pod of every kind on the node, for as long as one test looks at them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use anyhow::bail;
use podvitals_testbed::wait_for;
use serde_json::Value;
use serde_json::json;

use crate::accounts::until_it_may_read;
use crate::stage::PATIENCE;
use crate::stage::RELEASE;
use crate::stage::Stage;
use crate::witness::containers;
use crate::witness::full_name;

/// Their namespace.
pub(crate) const ZOO: &str = "zoo";

/// The static pod, by the name of its file; the mirror's ends in the node's.
pub(crate) const STATIC: &str = "keeper";

/// The pods that the manifest makes, the Job's aside, which ends.
const PODS: usize = 10;

pub(crate) struct Zoo {
    stage: Arc<Stage>,
    static_pod: PathBuf,
}

impl Zoo {
    /// Opens it and waits until every pod is what it is meant to be.
    pub(crate) async fn open(stage: &Arc<Stage>) -> Self {
        stage.cluster.create_namespace(ZOO).await.unwrap();
        let static_pod = stage.cluster.static_pod_dir().join("keeper.json");
        std::fs::write(&static_pod, keeper().to_string()).unwrap();
        stage.cluster.apply(include_str!("manifests/zoo.yaml")).await.unwrap();
        let zoo = Self { stage: stage.clone(), static_pod };
        wait_for("the zoo to be full", PATIENCE, async || {
            let pods = zoo.pods().await?;
            let lasting = pods.iter().filter(|pod| pod["metadata"]["labels"]["app"] != "once");
            let here = lasting.filter(|pod| pod["status"]["phase"] == "Running").count();
            let crashed: u64 = pods.iter().map(|pod| restarts(pod, "crash")).sum();
            if here < PODS || crashed < 4 {
                bail!("{here} of {PODS} run, {crashed} restarts");
            }
            Ok(Some(()))
        })
        .await
        .unwrap();
        let debug = [
            "debug",
            "-n",
            ZOO,
            "family",
            "--quiet",
            "--image=localhost/busybox:1",
            "--image-pull-policy=Never",
            "--container=debugger",
            "--",
            "/bin/sleep",
            "100000",
        ];
        stage.cluster.kubectl(&debug).await.unwrap();
        wait_for("the debugger to run", PATIENCE, async || {
            let family = zoo.pod("family").await?;
            let all = containers(&family);
            let (.., status) = all.iter().find(|(_, spec, _)| spec["name"] == "debugger").context("none")?;
            Ok(status["state"]["running"].is_object().then_some(()))
        })
        .await
        .unwrap();
        zoo
    }

    /// All pods of the zoo as the API server has them.
    pub(crate) async fn pods(&self) -> anyhow::Result<Vec<Value>> {
        pods(&self.stage, ZOO).await
    }

    pub(crate) async fn pod(&self, name: &str) -> anyhow::Result<Value> {
        self.stage.cluster.get_json(&["pod", "-n", ZOO, name]).await
    }

    /// Closes it and waits until nobody is left.
    pub(crate) async fn close(self) {
        std::fs::remove_file(&self.static_pod).unwrap();
        let arguments = ["delete", "namespace", ZOO, "--timeout=90s"];
        self.stage.cluster.kubectl(&arguments).await.unwrap();
    }
}

/// All pods of a namespace, or with an empty one of the node.
pub(crate) async fn pods(stage: &Stage, namespace: &str) -> anyhow::Result<Vec<Value>> {
    let place = if namespace.is_empty() { "--all-namespaces" } else { "--namespace" };
    let mut arguments = vec!["pods", place];
    arguments.extend(Some(namespace).filter(|namespace| !namespace.is_empty()));
    let list = stage.cluster.get_json(&arguments).await?;
    Ok(list["items"].as_array().context("items")?.clone())
}

/// A token of a ServiceAccount, made in that namespace, that may read podvitals. The binding that grants it
/// is called as the namespace, and is left to be deleted.
pub(crate) async fn reader_token(stage: &Stage, namespace: &str) -> String {
    let cluster = &stage.cluster;
    cluster.kubectl(&["create", "serviceaccount", "-n", namespace, "scraper"]).await.unwrap();
    let role = format!("--clusterrole={RELEASE}-reader");
    let account = format!("--serviceaccount={namespace}:scraper");
    cluster.kubectl(&["create", "clusterrolebinding", namespace, &role, &account]).await.unwrap();
    until_it_may_read(cluster, &format!("{namespace}:scraper")).await.unwrap();
    cluster.token_for(namespace, "scraper", Duration::from_secs(600)).await.unwrap()
}

/// Restarts of the containers of pods of this label.
fn restarts(pod: &Value, label: &str) -> u64 {
    if pod["metadata"]["labels"]["app"] != label || full_name(pod).is_empty() {
        return 0;
    }
    containers(pod).iter().filter_map(|(.., status)| status["restartCount"].as_u64()).sum()
}

fn keeper() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": STATIC, "namespace": ZOO, "labels": { "app": STATIC } },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "watchman",
                "image": "localhost/load:1",
                "imagePullPolicy": "Never",
                "args": ["idle"],
                "resources": { "limits": { "memory": "40Mi" } },
            }],
        },
    })
}
