//! One release of the chart, as the node has it.

use anyhow::Context;
use podvitals_testbed::PodOnNode;
use podvitals_testbed::wait_for;
use serde_json::Value;

use crate::reader::Reader;
use crate::stage::PATIENCE;
use crate::stage::PLAIN_PORT;
use crate::stage::Stage;

/// Its name and its namespace.
#[derive(Clone, Copy)]
pub(crate) struct Release {
    name: &'static str,
    namespace: &'static str,
}

impl Release {
    /// The one that all tests share.
    pub(crate) const SHARED: Self = Self::new(crate::stage::RELEASE, crate::stage::NAMESPACE);

    pub(crate) const fn new(name: &'static str, namespace: &'static str) -> Self {
        Self { name, namespace }
    }

    pub(crate) fn name(self) -> &'static str {
        self.name
    }

    pub(crate) fn namespace(self) -> &'static str {
        self.namespace
    }

    /// The name of its objects, the DaemonSet's for one, as the chart makes it.
    pub(crate) fn full_name(self) -> String {
        if self.name.contains("podvitals") {
            self.name.to_owned()
        } else {
            format!("{}-podvitals", self.name)
        }
    }

    /// Makes the namespace and installs it there; waits for nothing.
    pub(crate) async fn install(self, stage: &Stage, more: &[&str]) -> anyhow::Result<()> {
        stage.make_namespace(self.namespace).await?;
        stage.install(self.name, self.namespace, more).await?;
        Ok(())
    }

    /// Its one pod that is not ending, as the API server has it.
    pub(crate) async fn pod(self, stage: &Stage) -> Value {
        let selector = format!("app.kubernetes.io/instance={},app.kubernetes.io/component=agent", self.name);
        let ask = async || {
            let pods = stage.cluster.get_json(&["pods", "-n", self.namespace, "-l", &selector]).await?;
            let pods = pods["items"].as_array().context("items")?;
            let stays = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
            Ok(pods.iter().find(stays).cloned())
        };
        wait_for(&format!("a pod of {}", self.name), PATIENCE, ask).await.unwrap()
    }

    /// Its pod on the node, with the container running. Asks the API server for the name.
    pub(crate) async fn on_node(self, stage: &Stage) -> PodOnNode {
        let pod = self.pod(stage).await;
        self.find(stage, pod["metadata"]["name"].as_str().unwrap()).await
    }

    /// The same, when the pod's name is known.
    pub(crate) async fn find(self, stage: &Stage, pod: &str) -> PodOnNode {
        let ask = async || {
            let found = stage.cluster.find_on_node(self.namespace, pod).await?;
            Ok(found.filter(|pod| pod.container("podvitals").is_ok()))
        };
        wait_for(&format!("{pod} on the node"), PATIENCE, ask).await.unwrap()
    }

    /// Of the process, as the host sees it.
    pub(crate) async fn pid(self, stage: &Stage) -> u32 {
        self.on_node(stage).await.container("podvitals").unwrap().pid
    }

    /// A reader of the plain listener that needs no API server.
    pub(crate) async fn inside(self, stage: &Stage) -> Reader {
        Reader::inside(self.pid(stage).await, PLAIN_PORT)
    }

    /// What it has logged, line by line.
    pub(crate) async fn log(self, stage: &Stage) -> Vec<String> {
        let log = stage.logs(self.namespace, &self.full_name()).await;
        log.lines().map(str::to_owned).collect()
    }

    /// How often its container was started anew, and the container's id.
    pub(crate) async fn restarts(self, stage: &Stage) -> (u64, String) {
        let pod = self.pod(stage).await;
        let status = &pod["status"]["containerStatuses"][0];
        (
            status["restartCount"].as_u64().unwrap(),
            status["containerID"].as_str().unwrap_or_default().to_owned(),
        )
    }
}
