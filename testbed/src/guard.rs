//! A second process that outlives the first: when the owner of a testbed ends without having taken
//! it down (killed, aborted, Ctrl-C in a test), the guard does.
//!
//! It reads from a pipe whose other end only the owner holds. The kernel closes that end however the
//! owner ends, and the guard wakes up.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep};

use crate::cleanup;
use crate::state::StateDir;

/// Where to find the `testbed` program, for owners that are not it: a test cannot run itself as guard.
const PROGRAM: &str = "PODVITALS_TESTBED_GUARD";

/// The guard of one testbed, seen from the owner.
pub(crate) struct Guard {
    child: Child,
}

impl Guard {
    /// Starts the guard; `None` when there is no program to run as one.
    pub(crate) fn start(state: &StateDir) -> Result<Option<Self>> {
        let Some(program) = program() else { return Ok(None) };
        let shown = program.display().to_string();
        let child = Command::new(program)
            .args(["guard", state.name()])
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .with_context(|| format!("{shown} (from {PROGRAM})"))?;
        Ok(Some(Self { child }))
    }

    /// Lets it go, when there is nothing left to guard.
    pub(crate) fn dismiss(mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn program() -> Option<OsString> {
    let own =
        || std::env::current_exe().ok().filter(|path| path.file_name().is_some_and(|name| name == "testbed"));
    std::env::var_os(PROGRAM).or_else(|| own().map(Into::into))
}

/// What the guard does: waits for the owner's end, then undoes the testbed, unless a new owner has
/// taken it meanwhile and so has undone it.
pub async fn stand_guard(name: &str) -> Result<()> {
    let state = StateDir::new(name)?;
    // Nothing is ever written: this returns at the end of the owner.
    std::io::stdin().read_to_end(&mut Vec::new()).context("guard")?;
    let deadline = Instant::now() + Duration::from_secs(5);
    while state.path().exists() {
        match state.lock() {
            Ok(_lock) => return cleanup::undo(&state).await,
            // The owner's last descriptors are still being closed.
            Err(_) if Instant::now() < deadline => sleep(Duration::from_millis(50)).await,
            Err(_) => return Ok(()),
        }
    }
    // It may have been killed at its very end.
    tokio::task::spawn_blocking(cleanup::remove_shared_folders).await?
}
