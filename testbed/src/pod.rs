//! Pods as the kubelet makes them: cgroups first, then the sandbox with the kubelet's labels.

use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::cgroup;
use crate::container::{Container, ContainerBuilder, ContainerSpec};
use crate::cri::messages as m;
use crate::info::parse_info;
use crate::network::{self, LinkCounters};
use crate::process;
use crate::testbed::Shared;

/// Quality of service: which level of the cgroup tree the pod hangs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    /// `kubepods/pod<uid>`
    Guaranteed,
    /// `kubepods/burstable/pod<uid>`
    Burstable,
    /// `kubepods/besteffort/pod<uid>`
    BestEffort,
}

/// A pod to be made. Without a word it is a BestEffort pod in the namespace `default`.
pub struct PodBuilder {
    shared: Arc<Shared>,
    spec: PodSpec,
}

#[derive(Clone)]
struct PodSpec {
    name: String,
    namespace: String,
    uid: Option<String>,
    host_network: bool,
    share_processes: bool,
    qos: Qos,
    labels: HashMap<String, String>,
    annotations: HashMap<String, String>,
}

/// A pod with its sandbox. Clones are the same pod.
#[derive(Clone)]
pub struct Pod {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    config: m::PodSandboxConfig,
    spec: PodSpec,
    uid: String,
    sandbox_id: String,
    sandbox_pid: u32,
    ip: Option<IpAddr>,
    cgroup: String,
    host_veth: Option<String>,
    containers: Mutex<HashMap<String, Life>>,
}

/// What is remembered of a container's name from one instance to the next.
struct Life {
    spec: ContainerSpec,
    /// Oldest first. The kubelet keeps one dead instance beside the live one.
    instances: Vec<Container>,
    attempt: u32,
}

impl PodBuilder {
    pub(crate) fn new(shared: Arc<Shared>, name: &str) -> Self {
        let spec = PodSpec {
            name: name.to_owned(),
            namespace: "default".to_owned(),
            uid: None,
            host_network: false,
            share_processes: false,
            qos: Qos::BestEffort,
            labels: HashMap::new(),
            annotations: HashMap::new(),
        };
        Self { shared, spec }
    }

    /// Another namespace than `default`.
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.spec.namespace = namespace.to_owned();
        self
    }

    /// A given UID instead of a random one: 32 hex digits for a static pod.
    pub fn uid(mut self, uid: &str) -> Self {
        self.spec.uid = Some(uid.to_owned());
        self
    }

    /// In the host's netns.
    pub fn host_network(mut self, yes: bool) -> Self {
        self.spec.host_network = yes;
        self
    }

    /// `shareProcessNamespace`: one pid namespace for all its containers, with the pause process as process 1.
    pub fn share_processes(mut self, yes: bool) -> Self {
        self.spec.share_processes = yes;
        self
    }

    /// Its level of the cgroup tree.
    pub fn qos(mut self, qos: Qos) -> Self {
        self.spec.qos = qos;
        self
    }

    /// Short for `qos(Qos::Burstable)`.
    pub fn burstable(self) -> Self {
        self.qos(Qos::Burstable)
    }

    /// Short for `qos(Qos::Guaranteed)`.
    pub fn guaranteed(self) -> Self {
        self.qos(Qos::Guaranteed)
    }

    /// One of the pod's own labels.
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.spec.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// One of the pod's annotations.
    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        self.spec.annotations.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Makes the pod's cgroups and its sandbox; when this returns the pause process runs.
    pub async fn run(self) -> Result<Pod> {
        let uid = match &self.spec.uid {
            Some(uid) => uid.clone(),
            None => fs::read_to_string("/proc/sys/kernel/random/uuid").context("uuid")?.trim().to_owned(),
        };
        run_sandbox(self.shared, self.spec, uid, 0).await
    }
}

async fn run_sandbox(shared: Arc<Shared>, spec: PodSpec, uid: String, attempt: u32) -> Result<Pod> {
    let shown = format!("pod {}/{}", spec.namespace, spec.name);
    let cgroup = cgroup_of(&shared, spec.qos, &uid);
    cgroup::create(&cgroup)?;
    let config = sandbox_config(&shared, &spec, &uid, attempt, &cgroup);
    fs::create_dir_all(&config.log_directory).with_context(|| config.log_directory.clone())?;
    let sandbox_id = shared.cri.run_pod_sandbox(config.clone()).await.with_context(|| shown.clone())?;
    let status = shared.cri.pod_sandbox_status(&sandbox_id).await.with_context(|| shown.clone())?;
    let info = parse_info(&status.info).with_context(|| shown.clone())?;
    let ip = status.status.unwrap_or_default().network.unwrap_or_default().ip;
    let inner = Inner {
        sandbox_pid: info.pid,
        ip: if spec.host_network { None } else { ip.parse().ok() },
        host_veth: info.host_veth(&shared.network.bridge()),
        containers: Mutex::default(),
        shared,
        config,
        spec,
        uid,
        sandbox_id,
        cgroup,
    };
    ensure!(inner.spec.host_network || inner.ip.is_some(), "{shown}: CNI gave no address: '{ip}'");
    Ok(Pod { inner: Arc::new(inner) })
}

fn cgroup_of(shared: &Shared, qos: Qos, uid: &str) -> String {
    let level = match qos {
        Qos::Guaranteed => "",
        Qos::Burstable => "burstable/",
        Qos::BestEffort => "besteffort/",
    };
    format!("/{}/kubepods/{level}pod{uid}", shared.state.cgroup_prefix())
}

/// `generatePodSandboxConfig` and `newPodLabels`, kubernetes pkg/kubelet/kuberuntime.
fn sandbox_config(
    shared: &Shared,
    spec: &PodSpec,
    uid: &str,
    attempt: u32,
    cgroup: &str,
) -> m::PodSandboxConfig {
    let mut labels = spec.labels.clone();
    labels.extend(pod_labels(spec, uid));
    let mut annotations = spec.annotations.clone();
    annotations.entry("kubernetes.io/config.source".to_owned()).or_insert_with(|| "api".to_owned());
    let logs = shared.state.join("logs").join(format!("{}_{}_{uid}", spec.namespace, spec.name));
    m::PodSandboxConfig {
        metadata: Some(m::PodSandboxMetadata {
            name: spec.name.clone(),
            uid: uid.to_owned(),
            namespace: spec.namespace.clone(),
            attempt,
        }),
        // A pod in the host's UTS namespace keeps the host's name.
        hostname: if spec.host_network { String::new() } else { spec.name.clone() },
        log_directory: logs.display().to_string(),
        labels,
        annotations,
        linux: Some(m::LinuxPodSandboxConfig {
            cgroup_parent: cgroup.to_owned(),
            security_context: Some(m::LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces(spec)),
            }),
        }),
    }
}

fn pod_labels(spec: &PodSpec, uid: &str) -> [(String, String); 3] {
    [("name", spec.name.as_str()), ("namespace", spec.namespace.as_str()), ("uid", uid)]
        .map(|(key, value)| (format!("io.kubernetes.pod.{key}"), value.to_owned()))
}

fn namespaces(spec: &PodSpec) -> m::NamespaceOption {
    let network = if spec.host_network { m::NamespaceMode::Node } else { m::NamespaceMode::Pod };
    let pid = if spec.share_processes { m::NamespaceMode::Pod } else { m::NamespaceMode::Container };
    m::NamespaceOption { network: network.into(), pid: pid.into(), ipc: m::NamespaceMode::Pod.into() }
}

impl Pod {
    /// `metadata.name`.
    pub fn name(&self) -> &str {
        &self.inner.spec.name
    }

    /// `metadata.namespace`.
    pub fn namespace(&self) -> &str {
        &self.inner.spec.namespace
    }

    /// `metadata.uid`.
    pub fn uid(&self) -> &str {
        &self.inner.uid
    }

    /// The runtime's id of the sandbox.
    pub fn sandbox_id(&self) -> &str {
        &self.inner.sandbox_id
    }

    /// The pid of the pause process, as the host sees it.
    pub fn sandbox_pid(&self) -> u32 {
        self.inner.sandbox_pid
    }

    /// Its address on the bridge; `None` in the host's netns.
    pub fn ip(&self) -> Option<IpAddr> {
        self.inner.ip
    }

    /// The pod's cgroup, as `/proc/<pid>/cgroup` would say it.
    pub fn cgroup(&self) -> &str {
        &self.inner.cgroup
    }

    /// Where the pod's cgroup has the files of that controller (`memory`, `cpuacct`, …).
    pub fn cgroup_dir(&self, controller: &str) -> Result<PathBuf> {
        cgroup::directory(self.cgroup(), controller)
    }

    /// Where the sandbox's own cgroup has the files of that controller.
    pub fn sandbox_cgroup_dir(&self, controller: &str) -> Result<PathBuf> {
        Ok(self.cgroup_dir(controller)?.join(self.sandbox_id()))
    }

    /// A container to be made in this pod.
    pub fn container(&self, name: &str) -> ContainerBuilder {
        ContainerBuilder::new(self.clone(), name)
    }

    /// The live instance of that container.
    pub fn live_container(&self, name: &str) -> Option<Container> {
        self.containers().get(name)?.instances.last().cloned()
    }

    /// Kills the container and makes the next instance, as the kubelet does: the attempt goes up by
    /// one, and the last dead instance stays.
    pub async fn restart_container(&self, name: &str) -> Result<Container> {
        let (spec, attempt, old) = {
            let containers = self.containers();
            let life = containers.get(name).with_context(|| format!("no container '{name}'"))?;
            (life.spec.clone(), life.attempt, life.instances.clone())
        };
        if let Some(live) = old.last() {
            live.kill().await?;
        }
        let new = self.run_instance(&spec, attempt + 1).await?;
        for older in old.iter().rev().skip(1) {
            self.inner.shared.cri.remove_container(older.id()).await?;
        }
        if let Some(life) = self.containers().get_mut(name) {
            life.attempt = attempt + 1;
            life.instances = old.last().cloned().into_iter().chain([new.clone()]).collect();
        }
        Ok(new)
    }

    /// Makes the first instance and remembers how.
    pub(crate) async fn run_container(&self, spec: ContainerSpec) -> Result<Container> {
        let container = self.run_instance(&spec, 0).await?;
        let life = Life { attempt: 0, instances: vec![container.clone()], spec };
        self.containers().insert(life.spec.name.clone(), life);
        Ok(container)
    }

    async fn run_instance(&self, spec: &ContainerSpec, attempt: u32) -> Result<Container> {
        let shown = || format!("container {}/{}/{}", self.namespace(), self.name(), spec.name);
        let cri = &self.inner.shared.cri;
        let labels = pod_labels(&self.inner.spec, self.uid()).into_iter().collect();
        let request = m::CreateContainerRequest {
            pod_sandbox_id: self.inner.sandbox_id.clone(),
            config: Some(spec.config(attempt, labels, namespaces(&self.inner.spec))),
            sandbox_config: Some(self.inner.config.clone()),
        };
        let id = cri.create_container(request).await.with_context(shown)?;
        cri.start_container(&id).await.with_context(shown)?;
        let status = cri.container_status(&id).await.with_context(shown)?;
        let pid = parse_info(&status.info).with_context(shown)?.pid;
        let log = PathBuf::from(&self.inner.config.log_directory).join(spec.log_path(attempt));
        Ok(Container::new(self.clone(), spec.name.clone(), id, pid, log))
    }

    /// The host's end of the pod's `eth0`, as the CNI plugin told it.
    pub fn host_veth(&self) -> Result<&str> {
        let shown = || format!("pod {}/{} has no host veth", self.namespace(), self.name());
        self.inner.host_veth.as_deref().with_context(shown)
    }

    /// What the host's end has counted: the pod's figures with rx and tx swapped.
    pub fn host_counters(&self) -> Result<LinkCounters> {
        LinkCounters::read_host(self.host_veth()?)
    }

    /// What the pod's own `eth0` has counted.
    pub fn pod_counters(&self) -> Result<LinkCounters> {
        LinkCounters::read_pod(self.sandbox_pid(), "eth0")
    }

    /// Makes the pod's `eth0` count exactly `count` more `rx_dropped`: frames of a protocol that
    /// nobody speaks, sent out of the host's end.
    pub async fn force_rx_drops(&self, count: u64) -> Result<()> {
        let output = Command::new(&self.inner.shared.load)
            .args(["frames", self.host_veth()?, &count.to_string()])
            .output()
            .await
            .context("load frames")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim_end());
        Ok(())
    }

    /// Makes the pod's `eth0` count exactly `count` more `tx_dropped`: datagrams from `container`
    /// that the host's end finds too long (`is_skb_forwardable`, net/core/dev.c).
    pub async fn force_tx_drops(&self, container: &Container, count: u64) -> Result<()> {
        let veth = self.host_veth()?;
        let gateway = self.inner.shared.network.gateway().to_string();
        let datagrams = |count: u64, size: &str| {
            let count = count.to_string();
            container
                .exec(["/load", "udp", &gateway, "9", "--count", &count, "--size", size].map(str::to_owned))
        };
        // The neighbour is asked for now, or some datagrams would wait for the answer and be lost elsewhere.
        datagrams(1, "8").await?.success()?;
        network::ip(&["link", "set", "dev", veth, "mtu", "600"]).await?;
        let sent = datagrams(count, "1000").await;
        network::ip(&["link", "set", "dev", veth, "mtu", "1500"]).await?;
        sent?.success()?;
        Ok(())
    }

    /// Kills the pause process. containerd then calls the sandbox not ready and answers pid 0.
    pub async fn kill_sandbox(&self) -> Result<()> {
        let pid = i32::try_from(self.sandbox_pid())?;
        let prefix = self.inner.shared.state.cgroup_prefix();
        let pause =
            process::process_in_cgroup(pid, &prefix).with_context(|| format!("no pause process {pid}"))?;
        process::end_all(&[pause], std::time::Duration::ZERO).await
    }

    /// A new sandbox for the same pod, without containers, as the kubelet makes one when the old
    /// one died: same UID, attempt one up. The old one stays, stopped.
    pub async fn recreate_sandbox(&self) -> Result<Pod> {
        self.inner.shared.cri.stop_pod_sandbox(self.sandbox_id()).await?;
        let attempt = self.inner.config.metadata.as_ref().map_or(0, |metadata| metadata.attempt) + 1;
        run_sandbox(Arc::clone(&self.inner.shared), self.inner.spec.clone(), self.inner.uid.clone(), attempt)
            .await
    }

    /// Stops and removes the sandbox with its containers, then the pod's cgroups.
    pub async fn stop(&self) -> Result<()> {
        self.inner.shared.cri.stop_pod_sandbox(self.sandbox_id()).await?;
        self.inner.shared.cri.remove_pod_sandbox(self.sandbox_id()).await?;
        cgroup::remove(self.cgroup()).await
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.inner.shared
    }

    fn containers(&self) -> std::sync::MutexGuard<'_, HashMap<String, Life>> {
        self.inner.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
