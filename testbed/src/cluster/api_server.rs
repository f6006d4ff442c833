//! The API server as tests treat it: stopped, killed, held up, started again.

use std::process::{Child, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal};
use tokio::time::{Instant, sleep};

use super::{Cluster, START_PATIENCE, control_plane, wait_for};

const PROGRAM: &str = "kube-apiserver";
/// Between SIGTERM and SIGKILL. The server itself waits a minute for its watches to end.
const GRACE: Duration = Duration::from_secs(10);

/// Its process, as long as there is one.
#[derive(Default)]
pub(super) struct ApiServer {
    child: Mutex<Option<Child>>,
}

impl ApiServer {
    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.child();
        let child = child.as_ref().context("the API server does not run")?;
        let pid = Pid::from_raw(i32::try_from(child.id())?).context("pid")?;
        // Not yet waited for: the pid is still its own.
        rustix::process::kill_process(pid, signal).with_context(|| format!("{PROGRAM}: {signal:?}"))
    }

    pub(super) fn into_child(self) -> Option<Child> {
        self.child.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self) -> Result<Option<ExitStatus>> {
        self.child().as_mut().map_or(Ok(None), |child| child.try_wait().context(PROGRAM))
    }

    /// Whether it ended in that time.
    async fn bury(&self, patience: Duration) -> Result<bool> {
        let deadline = Instant::now() + patience;
        while self.ended()?.is_none() {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            sleep(Duration::from_millis(20)).await;
        }
        *self.child() = None;
        Ok(true)
    }
}

impl Cluster {
    /// Starts the API server; it answers `/readyz` when this returns.
    pub async fn start_api_server(&self) -> Result<()> {
        ensure!(self.api_server.child().is_none(), "the API server runs already");
        let arguments = control_plane::api_server(&self.layout, &self.certificates);
        let child = self.launch(self.command(PROGRAM), PROGRAM, arguments)?;
        *self.api_server.child() = Some(child);
        let mut ended = None;
        let ready = wait_for("the API server to be ready", START_PATIENCE, async || {
            ended = self.api_server.ended()?;
            if ended.is_some() {
                return Ok(Some(()));
            }
            self.kubectl(&["get", "--raw", "/readyz", "--request-timeout=5s"]).await.map(|_| Some(()))
        });
        let ready = ready.await.and_then(|()| match ended {
            Some(status) => bail!("it ended: {status}"),
            None => Ok(()),
        });
        self.tell_log(PROGRAM, ready)
    }

    /// Ends it with SIGTERM, and with SIGKILL if it still has open watches after ten seconds.
    pub async fn stop_api_server(&self) -> Result<()> {
        self.api_server.signal(Signal::TERM)?;
        if self.api_server.bury(GRACE).await? { Ok(()) } else { self.kill_api_server().await }
    }

    /// Ends it with SIGKILL.
    pub async fn kill_api_server(&self) -> Result<()> {
        self.api_server.signal(Signal::KILL)?;
        ensure!(self.api_server.bury(GRACE).await?, "the API server does not end");
        Ok(())
    }

    /// Holds it up (SIGSTOP): connections stay open and nobody answers.
    pub fn pause_api_server(&self) -> Result<()> {
        self.api_server.signal(Signal::STOP)
    }

    /// Lets it go on (SIGCONT).
    pub fn resume_api_server(&self) -> Result<()> {
        self.api_server.signal(Signal::CONT)
    }
}
