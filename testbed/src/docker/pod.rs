//! A pod as cri-dockerd makes it: a container that pauses and holds the netns, and containers in that
//! netns, all with the kubelet's labels (cri-dockerd `core/{sandbox_run,container_create}.go`,
//! `core/naming.go`).

use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, sleep};

use super::{Engine, host_end};
use crate::cgroup;
use crate::image::{LOAD, PAUSE};

/// A pod with its sandbox.
pub struct DockerPod {
    engine: Engine,
    name: String,
    uid: String,
    cgroup: String,
    sandbox_id: String,
    sandbox_pid: u32,
    host_network: bool,
    ip: Option<IpAddr>,
    host_veth: Option<String>,
    /// The live instances, by name.
    containers: Mutex<HashMap<String, Life>>,
}

/// What a container's next instance has from its last.
struct Life {
    mounts: Vec<String>,
    args: Vec<String>,
    attempt: u32,
    instance: DockerContainer,
}

/// One instance of a container.
#[derive(Clone)]
pub struct DockerContainer {
    engine: Engine,
    id: String,
    pid: u32,
    cgroup: String,
}

impl DockerPod {
    pub(super) async fn run(engine: Engine, name: &str, host_network: bool) -> Result<Self> {
        let uid = fs::read_to_string("/proc/sys/kernel/random/uuid").context("uuid")?.trim().to_owned();
        let cgroup = format!("/{}/kubepods/burstable/pod{uid}", engine.shared.state.cgroup_prefix());
        cgroup::create(&cgroup)?;
        let mut command = started(&format!("k8s_POD_{name}_default_{uid}_0"), &cgroup);
        let labels = pod_labels(name, &uid);
        let own = [
            "io.kubernetes.docker.type=podsandbox",
            "annotation.kubernetes.io/config.source=api",
            "app=docker-test",
        ];
        command.extend(labels.iter().map(String::as_str).chain(own).map(|label| format!("--label={label}")));
        if host_network {
            command.push("--network=host".into());
        } else {
            command.push(format!("--hostname={name}"));
        }
        command.push(PAUSE.into());
        let sandbox_id = engine.run(command).await?;
        let ask = ["inspect", "--format", "{{.State.Pid}} {{.NetworkSettings.IPAddress}}", &sandbox_id];
        let told = engine.run(ask).await?;
        let (pid, ip) = told.split_once(' ').unwrap_or((&told, ""));
        let sandbox_pid = pid.parse().with_context(|| told.clone())?;
        let ip = ip.trim().parse().ok();
        ensure!(host_network || ip.is_some(), "docker gave pod {name} no address: '{told}'");
        let host_veth = if host_network { None } else { Some(host_end(sandbox_pid)?) };
        Ok(Self {
            engine,
            name: name.to_owned(),
            uid,
            cgroup,
            sandbox_id,
            sandbox_pid,
            host_network,
            ip,
            host_veth,
            containers: Mutex::default(),
        })
    }

    /// `metadata.uid`.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// The engine's id of the sandbox.
    pub fn sandbox_id(&self) -> &str {
        &self.sandbox_id
    }

    /// The pid of the pause process, as the host sees it.
    pub fn sandbox_pid(&self) -> u32 {
        self.sandbox_pid
    }

    /// Its address on the bridge; `None` in the host's netns.
    pub fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    /// The host's end of the pod's `eth0`.
    pub fn host_veth(&self) -> Result<&str> {
        self.host_veth.as_deref().with_context(|| format!("pod {} has no host veth", self.name))
    }

    /// Makes and starts a container that runs the load program with these arguments.
    pub async fn container(&self, name: &str, args: &[&str]) -> Result<DockerContainer> {
        self.instance(name, Vec::new(), owned(args), 0).await
    }

    /// The same, with a folder of the host in it.
    pub async fn container_with(
        &self,
        folder: &Path,
        inside: &str,
        name: &str,
        args: &[&str],
    ) -> Result<DockerContainer> {
        let mount = format!("--volume={}:{inside}", folder.display());
        self.instance(name, vec![mount], owned(args), 0).await
    }

    /// Kills the container and makes the next instance; the dead one stays, as with the kubelet.
    pub async fn restart_container(&self, name: &str) -> Result<DockerContainer> {
        let known = self.containers.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        let Life { mounts, args, attempt, instance } =
            known.with_context(|| format!("no container '{name}'"))?;
        self.engine.run(["kill", &instance.id]).await?;
        self.instance(name, mounts, args, attempt + 1).await
    }

    async fn instance(
        &self,
        name: &str,
        mounts: Vec<String>,
        args: Vec<String>,
        attempt: u32,
    ) -> Result<DockerContainer> {
        let title = format!("k8s_{name}_{}_default_{}_{attempt}", self.name, self.uid);
        let mut command = started(&title, &self.cgroup);
        let of_sandbox = format!("io.kubernetes.sandbox.id={}", self.sandbox_id);
        let own = [
            "io.kubernetes.docker.type=container".to_owned(),
            of_sandbox,
            format!("io.kubernetes.container.name={name}"),
            format!("annotation.io.kubernetes.container.restartCount={attempt}"),
        ];
        let labels = pod_labels(&self.name, &self.uid).into_iter().chain(own);
        command.extend(labels.map(|label| format!("--label={label}")));
        let network = if self.host_network { "host" } else { &format!("container:{}", self.sandbox_id) };
        command.push(format!("--network={network}"));
        command.extend(mounts.iter().cloned());
        command.push(LOAD.into());
        command.extend(args.iter().cloned());
        let id = self.engine.run(command).await?;
        let pid = self.engine.run(["inspect", "--format", "{{.State.Pid}}", &id]).await?;
        let pid = pid.parse().with_context(|| format!("pid of {title}: '{pid}'"))?;
        let cgroup = format!("{}/{id}", self.cgroup);
        let container = DockerContainer { engine: self.engine.clone(), id, pid, cgroup };
        let kept = Life { mounts, args, attempt, instance: container.clone() };
        self.containers.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), kept);
        Ok(container)
    }

    /// Removes the pod's containers, its sandbox, then its cgroups.
    pub async fn stop(&self) -> Result<()> {
        let of_pod = format!("label=io.kubernetes.pod.uid={}", self.uid);
        let ids = self.engine.run(["ps", "--all", "--quiet", "--filter", &of_pod]).await?;
        self.engine.run(["rm", "--force"].into_iter().chain(ids.split_whitespace())).await?;
        cgroup::remove(&self.cgroup).await
    }
}

fn started(name: &str, cgroup: &str) -> Vec<String> {
    ["run", "--detach", "--name", name, "--cgroup-parent", cgroup].map(str::to_owned).to_vec()
}

fn owned(args: &[&str]) -> Vec<String> {
    args.iter().map(|&argument| argument.to_owned()).collect()
}

fn pod_labels(name: &str, uid: &str) -> [String; 3] {
    [("name", name), ("namespace", "default"), ("uid", uid)]
        .map(|(key, value)| format!("io.kubernetes.pod.{key}={value}"))
}

impl DockerContainer {
    /// The engine's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The pid of its first process, as the host sees it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Where its cgroup has the files of that controller (`memory`, `cpuacct`, …).
    pub fn cgroup_dir(&self, controller: &str) -> Result<PathBuf> {
        cgroup::directory(&self.cgroup, controller)
    }

    /// Runs a command in the container and waits for its end; one that fails is an error.
    pub async fn exec(&self, command: &[&str]) -> Result<String> {
        self.engine.run(["exec", &self.id].into_iter().chain(command.iter().copied())).await
    }

    /// Waits until it has printed `text`.
    pub async fn wait_for(&self, text: &str, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let said = self.engine.run(["logs", &self.id]).await?;
            if said.contains(text) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "container {} has not printed '{text}': {said}", self.id);
            sleep(Duration::from_millis(20)).await;
        }
    }
}
