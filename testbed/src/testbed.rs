//! A testbed from start to stop.

use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};

use crate::cleanup;
use crate::containerd;
use crate::cri::Cri;
use crate::docker::Docker;
use crate::guard::Guard;
use crate::image;
use crate::load;
use crate::network::Network;
use crate::pod::PodBuilder;
use crate::process::ProcessId;
use crate::state::{Lock, Record, StateDir};

/// A private containerd with its network. Dropped, also by a panic, it takes everything down that
/// it made; [`Self::stop`] does the same and says what went wrong.
pub struct Testbed {
    shared: Arc<Shared>,
    containerd: Mutex<Option<Child>>,
    lock: Option<Lock>,
    guard: Option<Guard>,
}

/// What pods and containers need of their testbed.
pub(crate) struct Shared {
    pub(crate) state: StateDir,
    pub(crate) cri: Cri,
    pub(crate) network: Network,
    pub(crate) load: PathBuf,
    record: Mutex<Record>,
}

impl Testbed {
    /// Starts the testbed of that name, after undoing what an earlier one left.
    ///
    /// The name is part of everything it makes (see the [crate]); two of the same name cannot run
    /// at once.
    pub async fn start(name: &str) -> Result<Self> {
        Self::start_telling(name, |_| {}).await
    }

    /// As [`Self::start`], with a line for a person before each step that takes a while.
    pub async fn start_telling(name: &str, tell: impl Fn(&str)) -> Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "real pods need root: run this as root");
        let state = StateDir::new(name)?;
        {
            let _lock = state.lock()?;
            cleanup::undo(&state).await.context("what an earlier run left")?;
        }
        tell("building the load program");
        let load = load::build().await?;
        let lock = state.lock()?;
        let guard = Guard::start(&state)?;
        match Self::raise(&state, load, &tell).await {
            Ok((shared, child)) => {
                let containerd = Mutex::new(Some(child));
                Ok(Self { shared: Arc::new(shared), containerd, lock: Some(lock), guard })
            }
            Err(error) => match cleanup::undo(&state).await {
                Ok(()) => Err(error),
                Err(also) => Err(error.context(format!("{also:#}"))),
            },
        }
    }

    async fn raise(state: &StateDir, load: PathBuf, tell: &impl Fn(&str)) -> Result<(Shared, Child)> {
        let (network, record) = claim_network(state).await?;
        tell("starting containerd");
        let cri = Cri::new(&state.socket());
        let child = containerd::start(state, network, &cri).await?;
        tell("importing the images");
        let archive = image::write_archive(&state.join("images"), &load)?;
        containerd::import(state, &cri, &archive).await?;
        std::fs::create_dir_all(state.join("scratch")).context("scratch")?;
        let record = Mutex::new(record);
        Ok((Shared { state: state.clone(), cri, network, load, record }, child))
    }

    /// A pod to be made.
    pub fn pod(&self, name: &str) -> PodBuilder {
        PodBuilder::new(Arc::clone(&self.shared), name)
    }

    /// The socket containerd answers CRI on.
    pub fn cri_socket(&self) -> PathBuf {
        self.shared.state.socket()
    }

    /// The cgroup that holds `kubepods`: `/podvitals-NAME`.
    pub fn cgroup_prefix(&self) -> String {
        format!("/{}", self.shared.state.cgroup_prefix())
    }

    /// The bridge all pods hang on.
    pub fn bridge(&self) -> String {
        self.shared.network.bridge()
    }

    /// The host's own address on the bridge: pods reach the host there.
    pub fn host_address(&self) -> Ipv4Addr {
        self.shared.network.gateway()
    }

    /// A folder on the machine's disk, to be mounted into containers; gone with the testbed.
    pub fn scratch(&self) -> PathBuf {
        self.shared.state.join("scratch")
    }

    /// The load program on this machine.
    pub fn load(&self) -> &Path {
        &self.shared.load
    }

    /// What containerd said last, for a failing test.
    pub fn containerd_log(&self) -> String {
        containerd::log_tail(&self.shared.state)
    }

    /// Kills containerd as a crash would: with SIGKILL, and nobody else with it. The pods live on.
    pub fn kill_containerd(&self) -> Result<()> {
        let mut child = self.containerd().take().context("containerd does not run")?;
        child.kill().context("containerd")?;
        child.wait().context("containerd")?;
        Ok(())
    }

    /// Starts it again on what it left; when this returns it knows its pods and answers.
    pub async fn start_containerd(&self) -> Result<()> {
        ensure!(self.containerd().is_none(), "containerd runs");
        let Shared { state, cri, network, .. } = &*self.shared;
        let child = containerd::start(state, *network, cri).await?;
        *self.containerd() = Some(child);
        Ok(())
    }

    fn containerd(&self) -> MutexGuard<'_, Option<Child>> {
        self.containerd.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a program that belongs to the testbed: out of reach of the terminal's Ctrl-C, and
    /// ended with the testbed, also by [`crate::clean`] when we are killed.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        let (child, id) = spawn(command)?;
        self.record(|record| record.processes.push(id))?;
        Ok(child)
    }

    /// The same for a program that may be killed at any moment: it is not waited for in the end.
    pub(crate) fn spawn_disposable(&self, command: &mut Command) -> Result<Child> {
        let (child, id) = spawn(command)?;
        self.record(|record| record.disposable.push(id))?;
        Ok(child)
    }

    /// A Docker beside the containerd, on it and on the same bridge.
    pub async fn docker(&self) -> Result<Docker<'_>> {
        Docker::start(self).await
    }

    /// Writes down what must be undone, before it is done.
    pub(crate) fn record(&self, change: impl FnOnce(&mut Record)) -> Result<()> {
        let mut record = self.shared.record.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut record);
        self.shared.state.write_record(&record)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn shared_with(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Takes everything down.
    pub async fn stop(mut self) -> Result<()> {
        let result = cleanup::undo(&self.shared.state).await;
        self.let_go();
        result
    }

    fn let_go(&mut self) {
        if let Some(mut child) = self.containerd().take() {
            // It has been ended; this only buries it.
            let _ = child.try_wait();
        }
        self.lock = None;
        if let Some(guard) = self.guard.take() {
            guard.dismiss();
        }
    }
}

impl Drop for Testbed {
    /// A runtime of its own on a thread of its own: the caller's may be the one that panics.
    fn drop(&mut self) {
        if self.lock.is_none() {
            return;
        }
        let state = self.shared.state.clone();
        let undone = std::thread::spawn(move || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(cleanup::undo(&state))
        });
        if let Ok(Err(error)) = undone.join() {
            eprintln!("podvitals-testbed: {error:#}");
        }
        self.let_go();
    }
}

fn spawn(command: &mut Command) -> Result<(Child, ProcessId)> {
    let program = command.get_program().display().to_string();
    let child = command.process_group(0).spawn().with_context(|| program)?;
    let id = ProcessId::of(child.id())?;
    Ok((child, id))
}

/// Recorded first, made second: a bridge without a record would stay for ever.
async fn claim_network(state: &StateDir) -> Result<(Network, Record)> {
    let _turn = tokio::task::spawn_blocking(StateDir::lock_root).await??;
    let network = Network::find_free()?;
    let record = Record { subnet: Some(network.number()), ..Record::default() };
    state.write_record(&record)?;
    network.create(state).await?;
    Ok((network, record))
}
