//! A private dockerd on the testbed's containerd, and pods as cri-dockerd makes them.
//!
//! It has a data root, an execution root, a socket and an image store of its own, hangs its containers on
//! the testbed's bridge, and touches neither iptables nor the machine's `ip_forward`. The part of the
//! subnet it gives addresses from is one that CNI does not come to. Containers outlive it
//! (`--live-restore`), as on every node that runs Kubernetes with Docker.

mod pod;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal};
use tokio::time::{Instant, sleep};

pub use self::pod::{DockerContainer, DockerPod};

use crate::containerd::{PATH, snapshotter};
use crate::state::{Record, StateDir};
use crate::testbed::{Shared, Testbed};

/// From start to an answer: a second or two on an idle machine.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// From SIGTERM to its end.
const STOP_PATIENCE: Duration = Duration::from_secs(15);

/// What a dockerd makes wherever its flags point, outermost first: the key of a protocol that is no more,
/// and the folder of plugins.
const OUTSIDE: [&str; 4] = ["/etc/docker", "/etc/docker/key.json", "/run/docker", "/run/docker/plugins"];

/// The engine. Dropped without [`Self::stop`], it ends with its testbed.
pub struct Docker<'a> {
    testbed: &'a Testbed,
    engine: Engine,
    process: Mutex<Option<Child>>,
}

/// What pods and containers need of the engine.
#[derive(Clone)]
struct Engine {
    shared: Arc<Shared>,
}

impl<'a> Docker<'a> {
    pub(crate) async fn start(testbed: &'a Testbed) -> Result<Self> {
        let engine = Engine { shared: testbed.shared_with() };
        let docker = Self { testbed, engine, process: Mutex::default() };
        let absent = OUTSIDE.map(PathBuf::from).into_iter().filter(|path| !path.exists());
        testbed.record(|record| record.docker.extend(absent))?;
        fs::create_dir_all(docker.folder()).with_context(|| docker.folder().display().to_string())?;
        docker.begin().await?;
        let archive = docker.engine.shared.state.join("images/images.tar");
        docker.engine.run(["load", "--quiet", "--input", &archive.display().to_string()]).await?;
        Ok(docker)
    }

    /// Where it answers.
    pub fn socket(&self) -> PathBuf {
        self.engine.socket()
    }

    /// A pod of one sandbox, in the namespace `default` and of the class Burstable, to which containers
    /// are added. Its UID is a random one.
    pub async fn pod(&self, name: &str) -> Result<DockerPod> {
        DockerPod::run(self.engine.clone(), name, false).await
    }

    /// The same in the host's netns.
    pub async fn host_pod(&self, name: &str) -> Result<DockerPod> {
        DockerPod::run(self.engine.clone(), name, true).await
    }

    /// A container that is no pod's, such as an administrator starts by hand. Returns its id.
    pub async fn stranger(&self, name: &str) -> Result<String> {
        self.engine.run(["run", "--detach", "--name", name, crate::LOAD, "idle"]).await
    }

    /// Makes the container go.
    pub async fn remove(&self, id: &str) -> Result<()> {
        self.engine.run(["rm", "--force", id]).await.map(drop)
    }

    /// What it said last, for a failing test.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder().join("log")).unwrap_or_default()
    }

    /// `kill -9`. Its containers go on.
    pub fn kill(&self) -> Result<()> {
        if let Some(mut process) = self.process().take() {
            process.kill().context("dockerd")?;
            process.wait().context("dockerd")?;
        }
        Ok(())
    }

    /// Starts it again; it answers when this returns.
    pub async fn restart(&self) -> Result<()> {
        self.begin().await
    }

    /// Removes every container, then ends it.
    pub async fn stop(self) -> Result<()> {
        let ids = self.engine.run(["ps", "--all", "--quiet"]).await?;
        let mut removal = vec!["rm", "--force"];
        removal.extend(ids.split_whitespace());
        if removal.len() > 2 {
            self.engine.run(removal).await?;
        }
        let Some(mut process) = self.process().take() else { return Ok(()) };
        let pid = Pid::from_child(&process);
        rustix::process::kill_process(pid, Signal::TERM).context("dockerd")?;
        let deadline = Instant::now() + STOP_PATIENCE;
        while process.try_wait().context("dockerd")?.is_none() {
            ensure!(Instant::now() < deadline, "dockerd does not end; its log:\n{}", self.log());
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn begin(&self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.folder().join("log")).context("log")?;
        let mut command = Command::new("dockerd");
        command.env_clear().env("PATH", PATH).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.args(self.flags()?);
        let process = self.testbed.spawn(&mut command).context("package docker.io")?;
        *self.process() = Some(process);
        let deadline = Instant::now() + START_PATIENCE;
        while let Err(error) = self.engine.run(["version"]).await {
            let ended = self.process().as_mut().map(Child::try_wait).transpose()?.flatten();
            if let Some(status) = ended {
                bail!("dockerd ended: {status}; its log:\n{}", self.log());
            }
            ensure!(Instant::now() < deadline, "dockerd: {error:#}; its log:\n{}", self.log());
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn flags(&self) -> Result<Vec<String>> {
        let (folder, state) = (self.folder(), &self.engine.shared.state);
        let network = self.engine.shared.network;
        let config = folder.join("daemon.json");
        // The administrator's is not read.
        fs::write(&config, "{}").with_context(|| config.display().to_string())?;
        let driver = if snapshotter(state)? == "native" { "vfs" } else { "overlay2" };
        let inside = |name: &str| folder.join(name).display().to_string();
        let flags = [
            ("--config-file", inside("daemon.json")),
            ("--data-root", inside("data")),
            ("--exec-root", inside("exec")),
            ("--pidfile", inside("pid")),
            ("--host", self.engine.address()),
            ("--containerd", state.socket().display().to_string()),
            ("--storage-driver", driver.to_owned()),
            ("--exec-opt", "native.cgroupdriver=cgroupfs".to_owned()),
            ("--bridge", network.bridge()),
            ("--fixed-cidr", network.upper_half()),
            ("--iptables", "false".to_owned()),
            ("--ip6tables", "false".to_owned()),
            ("--ip-forward", "false".to_owned()),
            ("--ip-masq", "false".to_owned()),
            ("--live-restore", "true".to_owned()),
            ("--log-level", "warn".to_owned()),
        ];
        Ok(flags.into_iter().map(|(flag, value)| format!("{flag}={value}")).collect())
    }

    fn folder(&self) -> PathBuf {
        folder(&self.engine.shared.state)
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes what only ours can have made. What somebody else has put in there meanwhile stays.
pub(crate) fn remove_outside(record: &Record) {
    for path in record.docker.iter().rev() {
        let _ = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
    }
}

fn folder(state: &StateDir) -> PathBuf {
    state.join("docker")
}

impl Engine {
    fn socket(&self) -> PathBuf {
        folder(&self.shared.state).join("docker.sock")
    }

    fn address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Runs the client of the engine and returns what it printed.
    async fn run<S: AsRef<str>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<String> {
        let arguments: Vec<String> =
            arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        let output = tokio::process::Command::new("docker")
            .arg("--host")
            .arg(self.address())
            .args(&arguments)
            .env_clear()
            .env("PATH", PATH)
            // It would make a folder in the home of whoever runs this.
            .env("DOCKER_CONFIG", folder(&self.shared.state))
            .output()
            .await
            .context("docker (package docker.io)")?;
        ensure!(
            output.status.success(),
            "docker {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }
}

/// The host's end of the link whose other end is `eth0` of that process.
fn host_end(pid: u32) -> Result<String> {
    let number = |path: &Path| -> Result<u32> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        text.trim().parse().with_context(|| path.display().to_string())
    };
    // Its own mount of sysfs shows its own netns.
    let other = number(Path::new(&format!("/proc/{pid}/root/sys/class/net/eth0/iflink")))?;
    for link in fs::read_dir("/sys/class/net").context("/sys/class/net")?.flatten() {
        if number(&link.path().join("ifindex")).is_ok_and(|index| index == other) {
            return Ok(link.file_name().to_string_lossy().into_owned());
        }
    }
    bail!("no link {other} on the host, for eth0 of process {pid}")
}
