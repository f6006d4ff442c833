//! One container of a pod: how it is asked for, and what can be done with it.

use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::time::{Instant, sleep};

use crate::cgroup;
use crate::cri::messages as m;
use crate::image;
use crate::pod::Pod;

/// The kernel's default period of the CPU quota.
const CPU_PERIOD: Duration = Duration::from_millis(100);

/// A container to be made. Without a word it runs `load idle`.
pub struct ContainerBuilder {
    pod: Pod,
    spec: ContainerSpec,
}

/// What every instance of one container has in common.
#[derive(Clone, Default)]
pub(crate) struct ContainerSpec {
    pub(crate) name: String,
    command: Vec<String>,
    args: Vec<String>,
    envs: Vec<(String, String)>,
    mounts: Vec<m::Mount>,
    cpu: Option<(Duration, Duration)>,
    memory_limit_bytes: Option<u64>,
    user: Option<u32>,
    least_privilege: bool,
}

/// One instance of a container. Clones are the same instance.
#[derive(Clone)]
pub struct Container {
    pod: Pod,
    name: String,
    id: String,
    pid: u32,
    log: PathBuf,
}

/// What a command in a container said.
#[derive(Clone, Debug)]
pub struct Output {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Exit code.
    pub exit_code: i32,
}

impl Output {
    /// Standard output, or an error with the rest.
    pub fn success(self) -> Result<String> {
        ensure!(self.exit_code == 0, "exit code {}: {}{}", self.exit_code, self.stdout, self.stderr);
        Ok(self.stdout)
    }
}

impl ContainerBuilder {
    pub(crate) fn new(pod: Pod, name: &str) -> Self {
        let spec = ContainerSpec {
            name: name.to_owned(),
            args: vec!["idle".to_owned()],
            ..ContainerSpec::default()
        };
        Self { pod, spec }
    }

    /// Arguments of the load program: `["spin", "--duty", "37"]`.
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.spec.args = args.into_iter().map(Into::into).collect();
        self
    }

    /// Another program than the load program: `["/bin/sh", "-c", "…"]`, or a mounted one.
    pub fn command<S: Into<String>>(mut self, command: impl IntoIterator<Item = S>) -> Self {
        self.spec.command = command.into_iter().map(Into::into).collect();
        self.spec.args.clear();
        self
    }

    /// A variable of its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.spec.envs.push((name.to_owned(), value.to_owned()));
        self
    }

    /// At most `quota` of CPU time in each `period`.
    pub fn cpu_quota(mut self, quota: Duration, period: Duration) -> Self {
        self.spec.cpu = Some((quota, period));
        self
    }

    /// At most that many thousandths of a CPU, as `limits.cpu: 200m` does it.
    pub fn cpu_limit_millis(self, millis: u32) -> Self {
        self.cpu_quota(CPU_PERIOD * millis / 1000, CPU_PERIOD)
    }

    /// `limits.memory`.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.spec.memory_limit_bytes = Some(bytes);
        self
    }

    /// A path of the host, visible in the container.
    pub fn mount(self, host: impl AsRef<Path>, container: &str) -> Self {
        self.add_mount(host.as_ref(), container, false)
    }

    /// The same, read-only.
    pub fn mount_readonly(self, host: impl AsRef<Path>, container: &str) -> Self {
        self.add_mount(host.as_ref(), container, true)
    }

    fn add_mount(mut self, host: &Path, container: &str, readonly: bool) -> Self {
        self.spec.mounts.push(m::Mount {
            container_path: container.to_owned(),
            host_path: host.display().to_string(),
            readonly,
            propagation: 0,
        });
        self
    }

    /// Another user (and group) than root.
    pub fn user(mut self, uid: u32) -> Self {
        self.spec.user = Some(uid);
        self
    }

    /// uid and gid 65532, no capability, no new privileges, read-only root.
    pub fn least_privilege(mut self) -> Self {
        self.spec.user = Some(65532);
        self.spec.least_privilege = true;
        self
    }

    /// Makes and starts it.
    pub async fn run(self) -> Result<Container> {
        self.pod.run_container(self.spec).await
    }
}

impl ContainerSpec {
    pub(crate) fn log_path(&self, attempt: u32) -> String {
        format!("{}/{attempt}.log", self.name)
    }

    /// `generateContainerConfig` and `newContainerLabels`, kubernetes pkg/kubelet/kuberuntime.
    pub(crate) fn config(
        &self,
        attempt: u32,
        mut labels: HashMap<String, String>,
        namespaces: m::NamespaceOption,
    ) -> m::ContainerConfig {
        labels.insert("io.kubernetes.container.name".to_owned(), self.name.clone());
        let annotations =
            HashMap::from([("io.kubernetes.container.restartCount".to_owned(), attempt.to_string())]);
        let envs =
            self.envs.iter().map(|(key, value)| m::KeyValue { key: key.clone(), value: value.clone() });
        m::ContainerConfig {
            metadata: Some(m::ContainerMetadata { name: self.name.clone(), attempt }),
            image: Some(m::ImageSpec { image: image::LOAD.to_owned() }),
            command: self.command.clone(),
            args: self.args.clone(),
            envs: envs.collect(),
            mounts: self.mounts.clone(),
            labels,
            annotations,
            log_path: self.log_path(attempt),
            linux: Some(m::LinuxContainerConfig {
                resources: Some(self.resources()),
                security_context: Some(self.security(namespaces)),
            }),
        }
    }

    fn resources(&self) -> m::LinuxContainerResources {
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let (quota, period) = self.cpu.unwrap_or_default();
        let limit = self.memory_limit_bytes.unwrap_or(0);
        m::LinuxContainerResources {
            cpu_period: micros(period),
            cpu_quota: micros(quota),
            cpu_shares: 0,
            memory_limit_in_bytes: i64::try_from(limit).unwrap_or(i64::MAX),
            oom_score_adj: 1000,
        }
    }

    fn security(&self, namespaces: m::NamespaceOption) -> m::LinuxContainerSecurityContext {
        let user = self.user.map(|uid| m::Int64Value { value: i64::from(uid) });
        let drop_all = m::Capability { add: Vec::new(), drop: vec!["ALL".to_owned()] };
        m::LinuxContainerSecurityContext {
            capabilities: self.least_privilege.then_some(drop_all),
            namespace_options: Some(namespaces),
            run_as_user: user,
            readonly_rootfs: self.least_privilege,
            no_new_privs: self.least_privilege,
            run_as_group: user,
        }
    }
}

impl Container {
    pub(crate) fn new(pod: Pod, name: String, id: String, pid: u32, log: PathBuf) -> Self {
        Self { pod, name, id, pid, log }
    }

    /// Its name in the pod.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The runtime's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The pid of its first process, as the host sees it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Where its cgroup has the files of that controller (`memory`, `cpuacct`, …).
    pub fn cgroup_dir(&self, controller: &str) -> Result<PathBuf> {
        cgroup::directory(&format!("{}/{}", self.pod.cgroup(), self.id), controller)
    }

    /// Runs a command in the container and waits for its end.
    pub async fn exec<S: Into<String>>(&self, command: impl IntoIterator<Item = S>) -> Result<Output> {
        let command: Vec<String> = command.into_iter().map(Into::into).collect();
        let shown = command.join(" ");
        let response = self.pod.shared().cri.exec_sync(&self.id, command).await.with_context(|| shown)?;
        Ok(Output {
            stdout: String::from_utf8_lossy(&response.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&response.stderr).into_owned(),
            exit_code: response.exit_code,
        })
    }

    /// Sends so many bytes from here to a container that runs `load serve-bytes`, then receives so
    /// many. TCP payload, without the 16 bytes of the header.
    pub async fn exchange(&self, address: IpAddr, port: u16, send: u64, receive: u64) -> Result<()> {
        let [address, port, send, receive] =
            [address.to_string(), port.to_string(), send.to_string(), receive.to_string()];
        let command = ["/load", "send", &address, &port, "--bytes", &send, "--receive", &receive];
        self.exec(command).await?.success()?;
        Ok(())
    }

    /// Kills it and waits until the runtime has seen its end.
    pub async fn kill(&self) -> Result<()> {
        self.pod.shared().cri.stop_container(&self.id).await
    }

    /// Its exit code, once it has ended.
    pub async fn exit_code(&self) -> Result<Option<i32>> {
        const EXITED: i32 = 2;
        let status = self.pod.shared().cri.container_status(&self.id).await?.status.unwrap_or_default();
        Ok((status.state == EXITED).then_some(status.exit_code))
    }

    /// Why it ended, in the runtime's word: `Completed`, `Error`, `OOMKilled`; empty while it runs.
    pub async fn end_reason(&self) -> Result<String> {
        let status = self.pod.shared().cri.container_status(&self.id).await?.status;
        Ok(status.unwrap_or_default().reason)
    }

    /// What it has printed so far, both streams.
    pub fn log(&self) -> Result<String> {
        let text = fs::read_to_string(&self.log).with_context(|| self.log.display().to_string())?;
        Ok(parse_log(&text))
    }

    /// Waits until it has printed `text`; a container that ends instead is an error.
    pub async fn wait_for(&self, text: &str, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while !self.log()?.contains(text) {
            // It may have printed it after we looked, and then have ended.
            if let Some(code) = self.exit_code().await?
                && !self.log()?.contains(text)
            {
                bail!(
                    "container {} ended with {code} before it printed '{text}': {}",
                    self.name,
                    self.log()?
                );
            }
            ensure!(
                Instant::now() < deadline,
                "container {} has not printed '{text}': {}",
                self.name,
                self.log()?
            );
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

/// CRI log lines: `2026-11-21T01:02:03.123456789Z stdout F {"ready":true}`.
fn parse_log(text: &str) -> String {
    let mut said = String::new();
    for line in text.lines() {
        if let Some(message) = line.splitn(4, ' ').nth(3) {
            said.push_str(message);
            said.push('\n');
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_is_what_follows_the_tag() {
        let text = "2026-11-21T01:02:03.1Z stdout F {\"ready\":true}\n2026-11-21T01:02:03.2Z stderr F a b\n";
        assert_eq!(parse_log(text), "{\"ready\":true}\na b\n");
    }
}
