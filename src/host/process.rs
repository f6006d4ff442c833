//! A live process, held by its `/proc` directory so that it cannot be mistaken for another.
//!
//! A pid is a number that the kernel gives again; a descriptor of `/proc/<pid>` is not. Whoever reads
//! through it gets ESRCH once the process is gone, also when the number lives on (proc(5)). Two
//! lines of `/proc/<pid>/cgroup`, cgroup v1 and v2:
//!
//! ```text
//! 4:memory:/kubepods/burstable/pod5f0a…/3c9d…
//! 0::/kubepods.slice/kubepods-besteffort.slice/…/cri-containerd-3c9d….scope
//! ```
//!
//! # Why the inode of `net/dev` is the network namespace
//! `ns/net` needs the right to trace the process; `net/dev` everybody may `stat`. Its inode number is
//! that of the namespace's own entry: equal for processes of one netns, different for two that are
//! both alive. It is used again at once after a netns died, so it is only ever compared between
//! processes that are pinned and alive.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

pub use super::proc_scan::ProcScan;
use super::{HostError, HostRoot, read, text};
use crate::model::target::PinnedProcess;

/// Why a process was not pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such process.
    Gone,
    /// It is none of the container's: the number was given to another, or it was moved.
    OtherCgroup,
    /// It ended but nobody has waited for it: it is in no network namespace any more.
    Zombie,
    /// `/proc` hides other users' processes.
    Hidepid,
    /// The kernel or a security module refused.
    Denied,
    /// Not a pid: runtimes answer 0 for a sandbox that has died.
    BadPid,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "no such process",
            Self::OtherCgroup => "in another cgroup",
            Self::Zombie => "has ended, not yet waited for",
            Self::Hidepid => "hidden by the hidepid option of /proc",
            Self::Denied => "permission denied",
            Self::BadPid => "not a process id",
        })
    }
}

/// The network namespace of the node: that of process 1, as [`PinnedProcess::netns`].
///
/// # Errors
/// If `<proc>/1/net/dev` cannot be looked at.
pub fn init_netns(root: &HostRoot) -> Result<u64, HostError> {
    let path = root.proc.join("1/net/dev");
    let stat = rustix::fs::stat(&path).map_err(|errno| HostError::from_io(&path, errno.into()))?;
    Ok(stat.st_ino)
}

/// The network namespace this program is in, in the numbers of `root.proc`.
///
/// `thread-self` names the reader in the pid namespace of the mount, so it works through the host's
/// `/proc` too. `None` where the mount cannot see us.
pub fn own_netns(root: &HostRoot) -> Option<u64> {
    rustix::fs::stat(root.proc.join("thread-self/net/dev")).ok().map(|stat| stat.st_ino)
}

/// Whether `/proc` hides other users' processes, so that a missing process proves nothing.
///
/// Process 1 always lives and its `stat` is world-readable. `hidepid=1` refuses it with EPERM,
/// `hidepid=2` and `4` deny that it exists; a security module would say EACCES.
pub fn hides_processes(root: &HostRoot) -> bool {
    match read::open_at(rustix::fs::CWD, root.proc.join("1/stat")) {
        Ok(_) => false,
        Err(errno) => matches!(errno, Errno::PERM | Errno::NOENT) && root.proc.is_dir(),
    }
}

/// Pins process `pid` if any line of its `cgroup` is one that `belongs`.
///
/// # Errors
/// Why it was not pinned.
pub fn pin(root: &HostRoot, pid: u32, belongs: impl Fn(&str) -> bool) -> Result<PinnedProcess, Refusal> {
    if pid == 0 {
        return Err(Refusal::BadPid);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(root.proc.join(pid.to_string()), flags, Mode::empty())
        .map_err(|errno| refusal(root, errno))?;
    let mut cgroup = Vec::new();
    read::read_at(&dir, c"cgroup", &mut cgroup).map_err(|errno| refusal(root, errno))?;
    if !cgroup_lines(&cgroup).any(belongs) {
        return Err(Refusal::OtherCgroup);
    }
    let netns = match netns_of(&dir) {
        Ok(netns) => netns,
        Err(Errno::NOENT) if is_zombie(&dir) => return Err(Refusal::Zombie),
        Err(errno) => return Err(refusal(root, errno)),
    };
    Ok(PinnedProcess { pid, dir: Arc::new(dir), netns })
}

/// The lines of a `/proc/<pid>/cgroup`. Cgroup names may be any bytes; one that is not UTF-8 was not
/// made by a container runtime.
pub(super) fn cgroup_lines(cgroup: &[u8]) -> impl Iterator<Item = &str> {
    text::lines(cgroup).filter_map(|line| std::str::from_utf8(line).ok())
}

/// The netns the process behind `dir` is in at this moment. Opened, not only looked at: that it can
/// be read is part of the answer.
fn netns_of(dir: &OwnedFd) -> Result<u64, Errno> {
    let file = read::open_at(dir, c"net/dev")?;
    rustix::fs::fstat(&file).map(|stat| stat.st_ino)
}

/// Whether the process lives and is still in the netns it was pinned in. Opens nothing, so nothing
/// can keep the netns alive.
pub fn is_in_its_netns(process: &PinnedProcess) -> Result<bool, Errno> {
    let stat = rustix::fs::statat(process.dir.as_fd(), c"net/dev", rustix::fs::AtFlags::empty())?;
    Ok(stat.st_ino == process.netns)
}

/// `Z` or `X` after the command's name, which may itself hold `) Z (`.
fn is_zombie(dir: &OwnedFd) -> bool {
    let mut stat = Vec::new();
    read::read_at(dir, c"stat", &mut stat).is_ok() && matches!(parse_state(&stat), Some(b'Z' | b'X'))
}

/// The state letter of a `/proc/<pid>/stat`: `812 (pause) S 790 812 …`.
fn parse_state(stat: &[u8]) -> Option<u8> {
    let (_, rest) = text::rsplit_once(stat, b')')?;
    text::fields(rest).next()?.first().copied()
}

fn refusal(root: &HostRoot, errno: Errno) -> Refusal {
    match errno {
        Errno::NOENT | Errno::SRCH | Errno::PERM if hides_processes(root) => Refusal::Hidepid,
        Errno::NOENT | Errno::SRCH => Refusal::Gone,
        _ => Refusal::Denied,
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn here() -> HostRoot {
        HostRoot { proc: "/proc".into(), cgroup: "/sys/fs/cgroup".into(), sys: "/sys".into() }
    }

    fn sleeper() -> Child {
        Command::new("sleep").arg("60").stdout(Stdio::null()).spawn().unwrap()
    }

    #[test]
    fn a_process_is_pinned_with_its_netns() {
        let mut child = sleeper();
        let pinned = pin(&here(), child.id(), |line| line.contains(':')).unwrap();
        assert_eq!(pinned.pid, child.id());
        assert_eq!(Some(pinned.netns), own_netns(&here()));
        assert_eq!(is_in_its_netns(&pinned), Ok(true));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(is_in_its_netns(&pinned), Err(Errno::SRCH));
        assert_eq!(pin(&here(), child.id(), |_| true).unwrap_err(), Refusal::Gone);
    }

    #[test]
    fn a_process_of_another_cgroup_is_refused() {
        let mut child = sleeper();
        assert_eq!(pin(&here(), child.id(), |_| false).unwrap_err(), Refusal::OtherCgroup);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_process_that_ended_but_was_not_waited_for_is_a_zombie() {
        let mut child = sleeper();
        let pinned = pin(&here(), child.id(), |_| true).unwrap();
        child.kill().unwrap();
        // The pin tells when the kernel has let go of the netns; the parent has not waited yet.
        while is_in_its_netns(&pinned).is_ok() {
            std::thread::yield_now();
        }
        assert_eq!(pin(&here(), child.id(), |_| true).unwrap_err(), Refusal::Zombie);
        child.wait().unwrap();
    }

    #[test]
    fn pid_0_is_nobody() {
        assert_eq!(pin(&here(), 0, |_| true).unwrap_err(), Refusal::BadPid);
    }

    #[test]
    fn a_proc_without_process_1_hides_processes() {
        assert!(!hides_processes(&here()));
        let empty = HostRoot { proc: std::env::temp_dir(), ..here() };
        assert!(hides_processes(&empty));
        assert_eq!(pin(&empty, 1, |_| true).unwrap_err(), Refusal::Hidepid);
    }

    #[test]
    fn the_state_stands_after_the_last_parenthesis() {
        assert_eq!(parse_state(b"812 (pause) S 790 812"), Some(b'S'));
        assert_eq!(parse_state(b"812 (a) Z (b) R 790 812"), Some(b'R'));
        assert_eq!(parse_state(b"812 (pause"), None);
        assert_eq!(parse_state(b"812 (pause)"), None);
    }
}
