//! The runtime's own list of what there is: a record that owes nothing to the API server.

use anyhow::Result;

use crate::cri::Cri;

use super::Cluster;
use super::on_node::{CONTAINER, NAME, NAMESPACE, UID};

/// Asks the runtime; clones share one connection.
#[derive(Clone, Debug)]
pub struct Runtime(Cri);

/// Everything the runtime has at one moment, ended or not.
#[derive(Clone, Debug, Default)]
pub struct RuntimeList {
    /// Sandboxes.
    pub sandboxes: Vec<RuntimeSandbox>,
    /// Containers.
    pub containers: Vec<RuntimeContainer>,
}

/// A sandbox and the pod the kubelet made it for.
#[derive(Clone, Debug)]
pub struct RuntimeSandbox {
    /// Its id.
    pub id: String,
    /// The UID the kubelet knows.
    pub uid: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
}

/// A container and the sandbox it lives in.
#[derive(Clone, Debug)]
pub struct RuntimeContainer {
    /// Its id.
    pub id: String,
    /// Its name in the pod.
    pub name: String,
    /// The UID the kubelet knows its pod by.
    pub uid: String,
}

impl Cluster {
    /// The runtime under the kubelet.
    pub fn runtime(&self) -> Runtime {
        Runtime(self.testbed.shared().cri.clone())
    }
}

impl Runtime {
    /// Everything there is now.
    pub async fn list(&self) -> Result<RuntimeList> {
        let sandboxes = self.0.list_pod_sandboxes().await?.into_iter().map(|mut sandbox| RuntimeSandbox {
            uid: sandbox.labels.remove(UID).unwrap_or_default(),
            namespace: sandbox.labels.remove(NAMESPACE).unwrap_or_default(),
            name: sandbox.labels.remove(NAME).unwrap_or_default(),
            id: sandbox.id,
        });
        let containers = self.0.list_containers().await?.into_iter().map(|mut container| RuntimeContainer {
            name: container.labels.remove(CONTAINER).unwrap_or_default(),
            uid: container.labels.remove(UID).unwrap_or_default(),
            id: container.id,
        });
        Ok(RuntimeList { sandboxes: sandboxes.collect(), containers: containers.collect() })
    }

    /// When a container's process was started, in nanoseconds since 1970; 0 before that.
    pub async fn started_at(&self, container: &str) -> Result<u64> {
        let status = self.0.container_status(container).await?.status.unwrap_or_default();
        Ok(u64::try_from(status.started_at)?)
    }
}
