//! Pods without a runtime: cgroups as the kubelet and a runtime would name them, a netns with a link, and
//! processes in both. Made in a few milliseconds, on any version of cgroups, under either driver, also where
//! there is nothing but busybox.
//!
//! ```no_run
//! # fn example() -> anyhow::Result<()> {
//! use podvitals_testbed::Qos;
//! use podvitals_testbed::made_up::{Driver, MadeUpPod};
//! let uid = "9c43f1a0-1111-2222-3333-444455556666";
//! let pod = MadeUpPod::builder("/podvitals-example", uid)
//!     .qos(Qos::Burstable)
//!     .driver(Driver::Systemd)
//!     .containers(2)
//!     .start()?;
//! let app = &pod.children()[0];
//! let sent = pod.run_in(app, &["load", "udp", "10.85.0.1", "9", "--count", "7"])?.wait_with_output()?;
//! pod.stop()
//! # }
//! ```
//!
//! A pod ends with its value. What a killed process leaves under `/podvitals-NAME`, `testbed down` ends.

mod link;
mod names;
mod netlink;
mod owner;

use std::fs;
use std::io::Read;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, PidfdFlags, Signal};

pub use self::names::Driver;

use self::link::{Link, Socket};
use self::owner::Owner;
use crate::cgroup;
use crate::load;
use crate::network::LinkCounters;
use crate::pod::Qos;

/// For a process to start or to end; then something is wrong.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(2);

/// A pod to be made. Without a word: BestEffort, cgroupfs, a sandbox and one container.
pub struct MadeUpPodBuilder {
    prefix: String,
    uid: String,
    qos: Qos,
    driver: Driver,
    scope_prefix: Option<String>,
    sandbox: bool,
    containers: usize,
    command: Vec<String>,
    host_network: bool,
    users: Option<u32>,
    socket: Socket,
}

/// A pod that runs until its value goes.
pub struct MadeUpPod {
    uid: String,
    cgroup: String,
    driver: Driver,
    scope_prefix: Option<String>,
    command: Vec<String>,
    host_network: bool,
    users: Option<u32>,
    load: PathBuf,
    sandbox: Option<MadeUpChild>,
    children: Vec<MadeUpChild>,
    link: Option<Link>,
    /// First processes, each with its cgroup.
    started: Mutex<Vec<(String, Child)>>,
    stopped: bool,
    _owner: Option<Arc<Owner>>,
}

/// A container, or the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeUpChild {
    id: String,
    cgroup: String,
    pid: u32,
}

impl MadeUpChild {
    /// 64 hex digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its cgroup, as `/proc/<pid>/cgroup` says it.
    pub fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// Where its cgroup has the files of that controller.
    pub fn cgroup_dir(&self, controller: &str) -> Result<PathBuf> {
        cgroup::directory(&self.cgroup, controller)
    }

    /// Its first process.
    pub fn pid(&self) -> u32 {
        self.pid
    }
}

impl MadeUpPodBuilder {
    /// Its level of the cgroup tree.
    pub fn qos(mut self, qos: Qos) -> Self {
        self.qos = qos;
        self
    }

    /// Who names its cgroups.
    pub fn driver(mut self, driver: Driver) -> Self {
        self.driver = driver;
        self
    }

    /// What stands before the id in the name of a container's cgroup: `crio-`, `docker-`, … Without a word
    /// nothing under cgroupfs, `cri-containerd-` under systemd.
    pub fn scope_prefix(mut self, prefix: &str) -> Self {
        self.scope_prefix = Some(prefix.to_owned());
        self
    }

    /// Whether there is a pause process with a cgroup of its own.
    pub fn sandbox(mut self, yes: bool) -> Self {
        self.sandbox = yes;
        self
    }

    /// How many containers.
    pub fn containers(mut self, count: usize) -> Self {
        self.containers = count;
        self
    }

    /// What each container runs (`load` is the testbed's own program); without a word it does nothing.
    pub fn command(mut self, command: &[&str]) -> Self {
        self.command = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// In the netns of this process.
    pub fn host_network(mut self, yes: bool) -> Self {
        self.host_network = yes;
        self
    }

    /// In a user namespace of its own, `hostUsers: false`: its root is the host's user `first`. Its netns is
    /// that user namespace's, too.
    pub fn users(mut self, first: u32) -> Self {
        self.users = Some(first);
        self
    }

    /// Puts the host's end of the link on that bridge.
    pub fn bridge(mut self, bridge: &str) -> Self {
        self.socket.bridge = Some(bridge.to_owned());
        self
    }

    /// The address of `eth0`, such as `10.86.3.200/22`. Without a bridge one is found; on one there is none
    /// without a word.
    pub fn address(mut self, address: &str) -> Self {
        self.socket.address = Some(address.to_owned());
        self
    }

    /// Makes it: when this returns every process runs where it belongs, and the link is up.
    pub fn start(self) -> Result<MadeUpPod> {
        ensure!(rustix::process::geteuid().is_root(), "made-up pods need root: run this as root");
        let owner = Owner::of(&self.prefix)?;
        let mut pod = MadeUpPod {
            cgroup: names::pod_cgroup(&self.prefix, self.driver, self.qos, &self.uid),
            uid: self.uid,
            driver: self.driver,
            scope_prefix: self.scope_prefix,
            command: self.command,
            host_network: self.host_network,
            users: self.users,
            load: load::build_now()?,
            sandbox: None,
            children: Vec::new(),
            link: None,
            started: Mutex::default(),
            stopped: false,
            _owner: owner,
        };
        cgroup::create(&pod.cgroup)?;
        if self.sandbox {
            pod.sandbox = Some(pod.start_child(&["load".to_owned(), "pause".to_owned()])?);
        }
        for _ in 0..self.containers {
            pod.add_container()?;
        }
        if let (Some(pid), false) = (pod.netns_pid(), pod.host_network) {
            let host_end = format!("pvm{}", &random_hex()?[..11]);
            pod.link = Some(Link::plug(pid, host_end, &self.socket)?);
        }
        Ok(pod)
    }
}

impl MadeUpPod {
    /// A pod under the cgroup `prefix`: empty for the root, or `/podvitals-NAME` (see
    /// [`crate::Testbed::cgroup_prefix`]) where a testbed of that name may take it down.
    pub fn builder(prefix: &str, uid: &str) -> MadeUpPodBuilder {
        MadeUpPodBuilder {
            prefix: prefix.to_owned(),
            uid: uid.to_owned(),
            qos: Qos::BestEffort,
            driver: Driver::Cgroupfs,
            scope_prefix: None,
            sandbox: true,
            containers: 1,
            command: vec!["load".to_owned(), "idle".to_owned()],
            host_network: false,
            users: None,
            socket: Socket::default(),
        }
    }

    /// As it stands in the name of the cgroup, but for systemd's escapes.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// The pod's cgroup, as `/proc/<pid>/cgroup` would say it.
    pub fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// Where the pod's cgroup has the files of that controller (`memory`, `cpuacct`, …).
    pub fn cgroup_dir(&self, controller: &str) -> Result<PathBuf> {
        cgroup::directory(&self.cgroup, controller)
    }

    /// The containers, oldest first.
    pub fn children(&self) -> &[MadeUpChild] {
        &self.children
    }

    /// The sandbox, if the pod has one.
    pub fn sandbox(&self) -> Option<&MadeUpChild> {
        self.sandbox.as_ref()
    }

    /// The pause process, if the pod has one.
    pub fn sandbox_pid(&self) -> Option<u32> {
        self.sandbox.as_ref().map(|sandbox| sandbox.pid)
    }

    /// The host's end of the link.
    pub fn host_veth(&self) -> Result<&str> {
        let link = self.link.as_ref().with_context(|| format!("pod {} has no link", self.uid))?;
        Ok(&link.host_end)
    }

    /// What the host's end has counted: the pod's figures with rx and tx swapped.
    pub fn host_counters(&self) -> Result<LinkCounters> {
        LinkCounters::read_host(self.host_veth()?)
    }

    /// What the pod's own `eth0` has counted.
    pub fn pod_counters(&self) -> Result<LinkCounters> {
        let pid = self.netns_pid().with_context(|| format!("pod {} has no process", self.uid))?;
        LinkCounters::read_pod(pid, "eth0")
    }

    /// Its address, if it was given one.
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.link.as_ref()?.address
    }

    /// The address of this machine at the other end of a link without a bridge.
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        self.link.as_ref()?.gateway
    }

    /// The testbed's load program on this machine.
    pub fn load(&self) -> &Path {
        &self.load
    }

    /// One more container. It joins the pod's netns.
    pub fn add_container(&mut self) -> Result<MadeUpChild> {
        let child = self.start_child(&self.command)?;
        self.children.push(child.clone());
        Ok(child)
    }

    /// Ends the container's processes and removes its cgroup.
    pub fn remove_container(&mut self, id: &str) -> Result<()> {
        let at = self.children.iter().position(|child| child.id == id).context("no such container")?;
        let child = self.children.remove(at);
        self.end(&child.cgroup)
    }

    /// Starts a program in the child's cgroup and the pod's netns; `load` is the testbed's own. Its output
    /// is piped, its error output ours. It ends with the pod at the latest.
    pub fn run_in(&self, child: &MadeUpChild, command: &[&str]) -> Result<Child> {
        let command: Vec<String> = command.iter().map(|&word| word.to_owned()).collect();
        let mut process = self.enter(&child.cgroup, &command, &[])?;
        let process = process.stdout(Stdio::piped()).spawn().context("load")?;
        Ok(process)
    }

    /// Runs a program as [`Self::run_in`] does, to its end; an error unless that is a good one. Returns what
    /// it wrote.
    pub fn output_in(&self, child: &MadeUpChild, command: &[&str]) -> Result<String> {
        let output = self.run_in(child, command)?.wait_with_output().context("load")?;
        ensure!(output.status.success(), "{command:?} ended with {}", output.status);
        String::from_utf8(output.stdout).context("output")
    }

    /// Ends every process of the pod, then its link and its cgroups.
    pub fn stop(mut self) -> Result<()> {
        self.undo()
    }

    fn undo(&mut self) -> Result<()> {
        self.stopped = true;
        let unplugged = self.link.take().map_or(Ok(()), |link| link.unplug());
        self.end(&self.cgroup).and(unplugged)
    }

    /// Whose netns is the pod's: the sandbox's, else the oldest container's.
    fn netns_pid(&self) -> Option<u32> {
        self.sandbox.as_ref().or(self.children.first()).map(|child| child.pid)
    }

    fn start_child(&self, command: &[String]) -> Result<MadeUpChild> {
        let id = format!("{}{}", random_hex()?, random_hex()?);
        let name = names::child_name(self.driver, self.scope_prefix.as_deref(), &id);
        let cgroup = format!("{}/{name}", self.cgroup);
        cgroup::create(&cgroup)?;
        cgroup::open_cpusets(&cgroup)?;
        let mut process = self.enter(&cgroup, command, &["--tell", "1"])?;
        let mut process = process.stdout(Stdio::piped()).spawn().context("load")?;
        let pid = process.id();
        // It ends when the process has become what it should be, and is where it should be.
        let mut trouble = String::new();
        let told = process.stdout.take().context("output")?.read_to_string(&mut trouble);
        self.started.lock().unwrap_or_else(PoisonError::into_inner).push((cgroup.clone(), process));
        told.context("load enter")?;
        ensure!(trouble.is_empty(), "{command:?}: {trouble}");
        Ok(MadeUpChild { id, cgroup, pid })
    }

    /// The command that becomes `command` in that cgroup and the pod's namespaces.
    fn enter(&self, cgroup: &str, command: &[String], options: &[&str]) -> Result<Command> {
        let folders = cgroup::directories(cgroup)?;
        let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        let mut process = Command::new(&self.load);
        process.args(["enter", "--cgroup", &folders.join(":")]).args(options);
        if !self.host_network {
            let netns = self.netns_pid().map_or_else(|| "new".to_owned(), |pid| pid.to_string());
            process.args(["--netns", &netns]);
        }
        match (self.users, self.netns_pid()) {
            (None, _) => {}
            (Some(first), None) => drop(process.args(["--users", &first.to_string()])),
            (Some(_), Some(pid)) => drop(process.args(["--users-of", &pid.to_string()])),
        }
        process.arg("--").args(command).stdin(Stdio::null());
        Ok(process)
    }

    /// Kills what is in the cgroup and below, removes the cgroup, buries what is ours.
    fn end(&self, cgroup: &str) -> Result<()> {
        let inside = format!("{cgroup}/");
        let ended = wait_until(|| {
            for pid in cgroup::pids(cgroup)? {
                kill_if_inside(pid, cgroup, &inside);
            }
            Ok(cgroup::pids(cgroup)?.is_empty() && cgroup::try_remove(cgroup).is_ok())
        });
        self.started.lock().unwrap_or_else(PoisonError::into_inner).retain_mut(|(home, process)| {
            let ends = home == cgroup || home.starts_with(&inside);
            if ends {
                // It may have been moved elsewhere: not buried yet, its number is still its own.
                let _ = process.kill();
                let _ = process.wait();
            }
            !ends
        });
        ended.with_context(|| format!("cannot end {cgroup}"))
    }
}

impl Drop for MadeUpPod {
    fn drop(&mut self) {
        if self.stopped {
            return;
        }
        if let Err(error) = self.undo() {
            eprintln!("podvitals-testbed: {error:#}");
        }
    }
}

/// Pinned first, then looked at, then killed: the number may be somebody else's by now.
fn kill_if_inside(pid: i32, cgroup: &str, inside: &str) {
    let Some(number) = Pid::from_raw(pid) else { return };
    let Ok(handle) = rustix::process::pidfd_open(number, PidfdFlags::empty()) else { return };
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let is_inside = |path: &str| path == cgroup || path.starts_with(inside);
    if text.lines().any(|line| line.splitn(3, ':').nth(2).is_some_and(is_inside)) {
        // Already gone is what we want.
        let _ = rustix::process::pidfd_send_signal(&handle, Signal::KILL);
    }
}

fn wait_until(mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let mut left = PATIENCE.as_millis() / PAUSE.as_millis();
    while !done()? {
        ensure!(left > 0, "not within {} s", PATIENCE.as_secs());
        left -= 1;
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// 32 digits.
fn random_hex() -> Result<String> {
    let path = "/proc/sys/kernel/random/uuid";
    Ok(fs::read_to_string(path).context(path)?.trim().replace('-', ""))
}
