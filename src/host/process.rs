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

use rustix::io::Errno;

pub use super::proc_scan::ProcScan;
use super::{HostError, HostRoot, read, syscall, text};
use crate::model::target::PinnedProcess;

/// Why a process was not pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such process.
    Gone,
    /// It is none of the container's: the number was given to another, or it was moved.
    OtherCgroup,
    /// One hierarchy of cgroup v1 has it in one pod or container and another in another: it is nobody's.
    TwoCgroups,
    /// It ended but nobody has waited for it: it is in no network namespace any more.
    Zombie,
    /// `/proc` hides other users' processes.
    Hidepid,
    /// The kernel or a security module refused.
    Denied,
    /// Asking failed, with this: no descriptor or no memory left, say.
    Failed(Errno),
    /// Not a pid: runtimes answer 0 for a sandbox that has died.
    BadPid,
}

impl Refusal {
    /// The process may be there all the same.
    pub fn proves_nothing(self) -> bool {
        matches!(self, Self::Hidepid | Self::Denied | Self::Failed(_))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Gone => "no such process",
            Self::OtherCgroup => "in another cgroup",
            Self::TwoCgroups => "in the cgroups of two pods or containers at once",
            Self::Zombie => "has ended, not yet waited for",
            Self::Hidepid => "hidden by the hidepid option of /proc",
            Self::Denied => "permission denied",
            Self::Failed(errno) => return write!(f, "cannot be looked at: {errno}"),
            Self::BadPid => "not a process id",
        };
        f.write_str(what)
    }
}

/// The network namespace of the node: that of process 1, as [`PinnedProcess::netns`].
///
/// # Errors
/// If `<proc>/1/net/dev` cannot be looked at.
pub fn init_netns(root: &HostRoot) -> Result<u64, HostError> {
    let path = root.proc.join("1/net/dev");
    let stat = syscall::stat(&path).map_err(|errno| HostError::from_io(&path, errno.into()))?;
    Ok(stat.st_ino)
}

/// The network namespace this program is in, in the numbers of `root.proc`.
///
/// `thread-self` names the reader in the pid namespace of the mount, so it works through the host's
/// `/proc` too. `None` where the mount cannot see us.
pub fn own_netns(root: &HostRoot) -> Option<u64> {
    syscall::stat(root.proc.join("thread-self/net/dev")).ok().map(|stat| stat.st_ino)
}

/// Whether `/proc` hides other users' processes, so that a missing process proves nothing.
///
/// Process 1 always lives and its `stat` is world-readable. `hidepid=1` refuses it with EPERM,
/// `hidepid=2` and `4` deny that it exists; a security module would say EACCES.
pub fn hides_processes(root: &HostRoot) -> bool {
    match read::open_at(rustix::fs::CWD, root.proc.join("1/stat")) {
        Ok(_) => false,
        Err(errno) => matches!(errno, Errno::PERM | Errno::NOENT) && syscall::is_directory(&root.proc),
    }
}

/// Pins process `pid` if it `belongs` by all lines of its `cgroup`.
///
/// # Why all of them
/// On v1 a process may be moved in one hierarchy and left where it was in the others: one line alone
/// would make it a process of two pods.
///
/// # Errors
/// Why it was not pinned.
pub fn pin(
    root: &HostRoot,
    pid: u32,
    belongs: impl FnOnce(CgroupLines<'_>) -> bool,
) -> Result<PinnedProcess, Refusal> {
    if pid == 0 {
        return Err(Refusal::BadPid);
    }
    let dir = syscall::open(root.proc.join(pid.to_string()), syscall::HOLD)
        .map_err(|errno| refusal(root, errno))?;
    let mut cgroup = Vec::new();
    read::read_at(&dir, c"cgroup", &mut cgroup).map_err(|errno| refusal(root, errno))?;
    if !belongs(CgroupLines::of(&cgroup)) {
        return Err(Refusal::OtherCgroup);
    }
    let netns = match netns_of(&dir) {
        Ok(netns) => netns,
        Err(Errno::NOENT) if is_zombie(&dir) => return Err(Refusal::Zombie),
        Err(errno) => return Err(refusal(root, errno)),
    };
    Ok(PinnedProcess { pid, dir: Arc::new(dir), netns })
}

/// The lines of a `/proc/<pid>/cgroup`, one for each hierarchy.
///
/// Cgroup names may be any bytes, but those that runtimes give are plain: of a path that is not UTF-8
/// the part before the first such name is told. It still says whose cgroup that name was made in.
#[derive(Clone, Debug)]
pub struct CgroupLines<'a>(&'a [u8]);

impl<'a> CgroupLines<'a> {
    /// Of the whole text.
    pub fn of(cgroup: &'a [u8]) -> Self {
        Self(cgroup)
    }
}

impl<'a> Iterator for CgroupLines<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        while !self.0.is_empty() {
            let (line, rest) = text::split_once(self.0, b'\n').unwrap_or((self.0, b""));
            self.0 = rest;
            let valid = line.utf8_chunks().next().map_or("", |chunk| chunk.valid());
            let plain = || valid.rfind('/').map_or("", |end| &valid[..=end]);
            let told = if valid.len() == line.len() { valid } else { plain() };
            if !told.is_empty() {
                return Some(told);
            }
        }
        None
    }
}

/// The netns the process behind `dir` is in at this moment. Opened, not only looked at: that it can
/// be read is part of the answer.
fn netns_of(dir: &OwnedFd) -> Result<u64, Errno> {
    let file = read::open_at(dir, c"net/dev")?;
    syscall::stat_open(&file).map(|stat| stat.st_ino)
}

/// Whether the process lives and is still in the netns it was pinned in. Opens nothing, so nothing
/// can keep the netns alive.
pub fn is_in_its_netns(process: &PinnedProcess) -> Result<bool, Errno> {
    let stat = syscall::stat_at(process.dir.as_fd(), c"net/dev")?;
    Ok(stat.st_ino == process.netns)
}

/// When the process was started, in ticks since boot: of two, the older has the smaller number.
pub fn started(process: &PinnedProcess) -> Option<u64> {
    let mut stat = Vec::new();
    read::read_at(&process.dir, c"stat", &mut stat).ok()?;
    parse_start(&stat)
}

/// Field 22 of a `/proc/<pid>/stat`, counted after the name, which may itself hold `) 5 (`.
pub(super) fn parse_start(stat: &[u8]) -> Option<u64> {
    // Without its end it was cut short, perhaps within the number.
    let (_, rest) = text::rsplit_once(stat.strip_suffix(b"\n")?, b')')?;
    text::parse_u64(text::fields(rest).nth(19)?)
}

/// `Z` or `X` after the command's name, which may itself hold `) Z (`.
fn is_zombie(dir: &OwnedFd) -> bool {
    let mut stat = Vec::new();
    read::read_at(dir, c"stat", &mut stat).is_ok() && matches!(parse_state(&stat), Some(b'Z' | b'X'))
}

/// The state letter of a `/proc/<pid>/stat`: `812 (pause) S 790 812 …`.
pub(super) fn parse_state(stat: &[u8]) -> Option<u8> {
    let (_, rest) = text::rsplit_once(stat, b')')?;
    text::fields(rest).next()?.first().copied()
}

fn refusal(root: &HostRoot, errno: Errno) -> Refusal {
    match errno {
        Errno::NOENT | Errno::SRCH | Errno::PERM if hides_processes(root) => Refusal::Hidepid,
        Errno::NOENT | Errno::SRCH => Refusal::Gone,
        Errno::ACCESS | Errno::PERM => Refusal::Denied,
        errno => Refusal::Failed(errno),
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
        let pinned = pin(&here(), child.id(), |mut lines| lines.all(|line| line.contains(':'))).unwrap();
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
    fn of_a_path_with_odd_bytes_the_plain_part_is_told() {
        let text =
            b"4:memory:/kubepods/pod1/aaa/\xff\xfe/b\n3:cpu:/pl\xffin\n2:\xff\n\n0::/kubepods/pod1/aaa";
        let lines: Vec<_> = CgroupLines::of(text).collect();
        assert_eq!(lines, ["4:memory:/kubepods/pod1/aaa/", "3:cpu:/", "0::/kubepods/pod1/aaa"]);
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
    fn the_older_of_two_processes_was_started_before_the_other() {
        let mut child = sleeper();
        let started = |pid| started(&pin(&here(), pid, |_| true).unwrap()).unwrap();
        assert!(started(1) < started(child.id()));
        assert!(started(std::process::id()) <= started(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        let stat = b"7 (a) 5 (b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 8142 2 3 4\n";
        assert_eq!(parse_start(stat), Some(8142));
        assert_eq!(parse_start(&stat[..60]), None);
    }

    #[test]
    fn the_state_stands_after_the_last_parenthesis() {
        assert_eq!(parse_state(b"812 (pause) S 790 812"), Some(b'S'));
        assert_eq!(parse_state(b"812 (a) Z (b) R 790 812"), Some(b'R'));
        assert_eq!(parse_state(b"812 (pause"), None);
        assert_eq!(parse_state(b"812 (pause)"), None);
    }
}
