//! Ending processes that are ours, and no other.
//!
//! A pid is a number that is used again. Each is pinned by a pidfd first, then looked at through
//! `/proc`, and only then signalled through the pidfd: what was looked at is what is hit.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

/// A process that cannot be confused with a later one of the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pid: i32,
    /// Field 22 of `/proc/<pid>/stat`, in clock ticks since boot.
    start_ticks: u64,
}

impl ProcessId {
    /// The process that has this pid now.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let pid = i32::try_from(pid)?;
        let start_ticks = read_start_ticks(pid).with_context(|| format!("no process {pid}"))?;
        Ok(Self { pid, start_ticks })
    }

    fn is_alive(self) -> bool {
        read_start_ticks(self.pid) == Some(self.start_ticks)
    }
}

/// A process that was looked at and is ours.
pub(crate) struct OwnProcess {
    pid: i32,
    handle: OwnedFd,
}

impl OwnProcess {
    /// The recorded process, if it still lives.
    pub(crate) fn recorded(id: ProcessId) -> Option<Self> {
        Self::pin_if(id.pid, |_| id.is_alive())
    }

    fn pin_if(pid: i32, is_ours: impl FnOnce(&Path) -> bool) -> Option<Self> {
        let handle = rustix::process::pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        is_ours(&Path::new("/proc").join(pid.to_string())).then_some(Self { pid, handle })
    }

    fn signal(&self, signal: Signal) {
        // Already gone is what we want.
        let _ = rustix::process::pidfd_send_signal(&self.handle, signal);
    }

    /// A zombie has ended; burying it is its parent's business.
    fn has_ended(&self) -> bool {
        read_stat_tail(self.pid).is_none_or(|tail| tail.starts_with('Z'))
    }
}

/// Processes of the runtime that work for the testbed in `dir`: the program is one of containerd's
/// and an argument names a path inside `dir`.
pub(crate) fn runtime_processes(dir: &Path) -> Result<Vec<OwnProcess>> {
    const PROGRAMS: [&str; 4] = ["containerd", "containerd-shim-runc-v2", "runc", "ctr"];
    let inside = format!("{}/", dir.display());
    let names_ours = |proc: &Path| {
        let program = fs::read_link(proc.join("exe")).unwrap_or_default();
        // A program that was replaced by an upgrade ends in " (deleted)".
        let program = program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let program = program.trim_end_matches(" (deleted)");
        let arguments = fs::read(proc.join("cmdline")).unwrap_or_default();
        PROGRAMS.contains(&program)
            && arguments.split(|byte| *byte == 0).any(|argument| argument.starts_with(inside.as_bytes()))
    };
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("/proc")? {
        let name = entry.context("/proc")?.file_name();
        if let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) {
            found.extend(OwnProcess::pin_if(pid, names_ours));
        }
    }
    Ok(found)
}

/// The process with this pid, if its cgroup lies under `/prefix/`.
pub(crate) fn process_in_cgroup(pid: i32, prefix: &str) -> Option<OwnProcess> {
    let inside = format!("/{prefix}/");
    OwnProcess::pin_if(pid, |proc| {
        let cgroups = fs::read_to_string(proc.join("cgroup")).unwrap_or_default();
        cgroups.lines().any(|line| line.splitn(3, ':').nth(2).is_some_and(|path| path.starts_with(&inside)))
    })
}

/// Asks politely, waits, then kills; returns when all have ended.
pub(crate) async fn end_all(processes: &[OwnProcess], patience: Duration) -> Result<()> {
    for process in processes {
        process.signal(Signal::TERM);
    }
    if wait_for_end(processes, patience).await {
        return Ok(());
    }
    for process in processes.iter().filter(|process| !process.has_ended()) {
        process.signal(Signal::KILL);
    }
    let ended = wait_for_end(processes, Duration::from_secs(10)).await;
    let left: Vec<i32> =
        processes.iter().filter(|process| !process.has_ended()).map(|process| process.pid).collect();
    ensure!(ended, "processes {left:?} do not end");
    Ok(())
}

async fn wait_for_end(processes: &[OwnProcess], patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while !processes.iter().all(OwnProcess::has_ended) {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(Duration::from_millis(20)).await;
    }
    true
}

fn read_start_ticks(pid: i32) -> Option<u64> {
    // The tail begins with field 3.
    read_stat_tail(pid)?.split(' ').nth(22 - 3)?.parse().ok()
}

/// What follows the command in `/proc/<pid>/stat`. The command may itself contain `) `.
fn read_stat_tail(pid: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ").map(|(_, tail)| tail.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_process_is_found_and_an_older_one_of_the_same_pid_is_not() {
        let own = ProcessId::of(std::process::id()).unwrap();
        assert!(OwnProcess::recorded(own).is_some());
        assert!(OwnProcess::recorded(ProcessId { start_ticks: own.start_ticks - 1, ..own }).is_none());
    }

    #[test]
    fn a_process_outside_the_prefix_is_not_ours() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(process_in_cgroup(pid, "podvitals-nobody").is_none());
    }
}
