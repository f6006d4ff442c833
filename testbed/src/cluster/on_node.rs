//! A pod of the cluster as the node has it, asked of the runtime and the kernel: what a test compares
//! with what Kubernetes, or podvitals, says.

use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::cgroup;
use crate::cri::Cri;
use crate::info::parse_info;
use crate::network::LinkCounters;

pub(super) const NAME: &str = "io.kubernetes.pod.name";
pub(super) const NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub(super) const UID: &str = "io.kubernetes.pod.uid";
pub(super) const CONTAINER: &str = "io.kubernetes.container.name";

/// `PodSandboxState`
const SANDBOX_READY: i32 = 0;
/// `ContainerState`
const RUNNING: i32 = 1;

/// A pod with a live sandbox.
#[derive(Clone, Debug)]
pub struct PodOnNode {
    /// The UID the kubelet knows: of a static pod not that of its mirror.
    pub uid: String,
    /// The runtime's id of the sandbox.
    pub sandbox_id: String,
    /// The pid of the pause process, as the host sees it.
    pub sandbox_pid: u32,
    /// `None` in the host's netns.
    pub ip: Option<IpAddr>,
    /// The pod's cgroup, as `/proc/<pid>/cgroup` says it.
    pub cgroup: String,
    /// Its running containers, by name.
    pub containers: HashMap<String, ContainerOnNode>,
    host_veth: Option<String>,
}

/// A running container.
#[derive(Clone, Debug)]
pub struct ContainerOnNode {
    /// The runtime's id.
    pub id: String,
    /// The pid of its first process, as the host sees it.
    pub pid: u32,
    cgroup: String,
}

impl PodOnNode {
    /// The newest of that name whose sandbox lives; `None` when there is none.
    pub(super) async fn find(cri: &Cri, bridge: &str, namespace: &str, name: &str) -> Result<Option<Self>> {
        let is_it = |labels: &HashMap<String, String>| {
            labels.get(NAME).is_some_and(|it| it == name)
                && labels.get(NAMESPACE).is_some_and(|it| it == namespace)
        };
        let sandboxes = cri.list_pod_sandboxes().await?.into_iter();
        let live = sandboxes.filter(|sandbox| sandbox.state == SANDBOX_READY && is_it(&sandbox.labels));
        let Some(sandbox) = live.max_by_key(|sandbox| sandbox.created_at) else { return Ok(None) };
        let status = cri.pod_sandbox_status(&sandbox.id).await?;
        let info = parse_info(&status.info).with_context(|| format!("sandbox {}", sandbox.id))?;
        let own = read_cgroup(info.pid)?;
        let mut containers = HashMap::new();
        for container in cri.list_containers().await? {
            let Some(name) = container.labels.get(CONTAINER) else { continue };
            if container.pod_sandbox_id != sandbox.id || container.state != RUNNING {
                continue;
            }
            let status = cri.container_status(&container.id).await?;
            let pid = parse_info(&status.info).with_context(|| format!("container {}", container.id))?.pid;
            let found = ContainerOnNode { id: container.id.clone(), pid, cgroup: read_cgroup(pid)? };
            containers.insert(name.clone(), found);
        }
        let network = status.status.unwrap_or_default().network.unwrap_or_default();
        Ok(Some(Self {
            uid: sandbox.labels.get(UID).cloned().unwrap_or_default(),
            sandbox_pid: info.pid,
            ip: network.ip.parse().ok(),
            cgroup: own.rsplit_once('/').map_or(own.clone(), |(pod, _)| pod.to_owned()),
            host_veth: info.host_veth(bridge),
            sandbox_id: sandbox.id,
            containers,
        }))
    }

    /// Where the pod's cgroup has the files of that controller (`memory`, `cpuacct`, …).
    pub fn cgroup_dir(&self, controller: &str) -> Result<PathBuf> {
        cgroup::directory(&self.cgroup, controller)
    }

    /// The container of that name; an error when it does not run.
    pub fn container(&self, name: &str) -> Result<&ContainerOnNode> {
        self.containers.get(name).with_context(|| format!("container '{name}' does not run"))
    }

    /// The host's end of the pod's `eth0`, as the CNI plugin told it.
    pub fn host_veth(&self) -> Result<&str> {
        self.host_veth.as_deref().with_context(|| format!("pod {} has no host veth", self.uid))
    }

    /// What the host's end has counted: the pod's figures with rx and tx swapped.
    pub fn host_counters(&self) -> Result<LinkCounters> {
        LinkCounters::read_host(self.host_veth()?)
    }

    /// What the pod's own `eth0` has counted.
    pub fn pod_counters(&self) -> Result<LinkCounters> {
        LinkCounters::read_pod(self.sandbox_pid, "eth0")
    }
}

impl ContainerOnNode {
    /// Where its cgroup has the files of that controller (`memory`, `cpuacct`, …).
    pub fn cgroup_dir(&self, controller: &str) -> Result<PathBuf> {
        cgroup::directory(&self.cgroup, controller)
    }
}

/// cgroups(7): `4:memory:/podvitals-a/kubepods/burstable/pod…/…`; on v2 `0::/…` alone.
fn read_cgroup(pid: u32) -> Result<String> {
    let path = format!("/proc/{pid}/cgroup");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let of = |wanted: &str| {
        text.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let controllers = fields.next()?;
            let cgroup = fields.next()?;
            controllers.split(',').any(|name| name == wanted).then(|| cgroup.to_owned())
        })
    };
    of("memory").or_else(|| of("")).with_context(|| format!("{path}: {text}"))
}
