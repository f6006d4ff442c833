//! Every process of the node in one look through `/proc`: what `ps` does.
//!
//! Three things of each, all of them for everybody to read unless `/proc` is mounted with `hidepid` (proc(5)): the
//! owner of the directory, which is the effective user of the process, and the files `stat` and `cgroup`.
//!
//! ```text
//! 7474 (sh) S 6945 7474 7474 0 -1 4194560 …      2: name, 3: state, 4: parent, 5: group, 6: session, 8: terminal's group
//! 4:memory:/kubepods/burstable/pod5f0a…/3c9d…
//! ```
//!
//! The command line and the environment are not read: they may hold secrets.
//!
//! # Why nothing is ever mixed of two processes
//! All is read through one descriptor of `/proc/<pid>`, which is that of a process and not of its number: once the
//! process has been waited for every read gives ESRCH, whoever has the number then, and the process is left out. The
//! owner is asked for first, since the directory of a process that is gone is still a directory, and root's.
//!
//! # Why nothing is kept from one look to the next
//! `ProcScan` keeps the cgroup of each process, and looks again at an old one after hours. That will do for whoever
//! looks for one, and verifies it; a list that is shown has to be of one moment.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::io::Errno;

use super::cgroup::names::ids_in_cgroup_line;
use super::process::{CgroupLines, hides_processes};
use super::{HostError, HostRoot, clock, read, syscall, text};
use crate::model::health::{Health, Room, Trouble};
use crate::model::processes::{Process, ProcessCgroup, ProcessTable};
use crate::model::time::{ClockPair, WallTime};

/// Why there is no list of processes.
#[derive(Debug, thiserror::Error)]
pub enum Unlisted {
    /// All that can be seen is our own user's: that list would look like a node where nothing runs.
    #[error("{path}: mounted with hidepid, so that processes of other users cannot be seen", path = .0.display())]
    Hidden(std::path::PathBuf),
    /// What failed, not only for one process: without descriptors, say, a list would be short for no reason.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// Lists the processes. One that ends meanwhile is not in it, nor one that may not be read; of what went wrong each
/// kind is counted once.
///
/// # Errors
/// If `/proc` cannot be listed, hides what is asked for, or reading it fails for a reason that is none of a process's.
pub fn read(root: &HostRoot, health: &Health) -> Result<ProcessTable, Unlisted> {
    let listed = list(root, health).map_err(|errno| HostError::from_io(&root.proc, errno.into()));
    let table = listed.inspect_err(|error| health.count(Room::Host, error.trouble()))?;
    let own = rustix::process::geteuid().as_raw();
    if hides_processes(root) && table.processes.iter().all(|process| process.uid == own) {
        health.count(Room::Host, Trouble::Denied);
        return Err(Unlisted::Hidden(root.proc.clone()));
    }
    Ok(table)
}

fn list(root: &HostRoot, health: &Health) -> Result<ProcessTable, Errno> {
    let mut table = ProcessTable { at: clock::monotonic(), ..ProcessTable::default() };
    let proc = syscall::open(&root.proc, syscall::LIST)?;
    let (mut cgroups, mut reader) = (Cgroups::default(), Reader::default());
    let (mut refused, mut malformed, mut failed) = (false, false, None);
    let mut entries = Vec::with_capacity(32 << 10);
    syscall::each_entry(&proc, entries.spare_capacity_mut(), |entry| {
        let Some(pid) = text::parse_u32(entry.file_name().to_bytes()) else { return };
        if failed.is_some() {
            return;
        }
        match reader.read(&proc, pid) {
            Ok(Some(mut process)) => {
                process.cgroup = cgroups.row(pid, &reader.cgroup);
                table.processes.push(process);
            }
            Ok(None) => malformed = true,
            // It ended between the listing and the look.
            Err(Errno::NOENT | Errno::SRCH | Errno::NODEV) => {}
            Err(Errno::PERM | Errno::ACCESS) => refused = true,
            Err(errno) => failed = Some(errno),
        }
    })?;
    if let Some(errno) = failed {
        return Err(errno);
    }
    for (_, trouble) in
        [(refused, Trouble::Denied), (malformed, Trouble::Malformed)].into_iter().filter(|it| it.0)
    {
        health.count(Room::Host, trouble);
    }
    table.processes.sort_unstable_by_key(|process| process.pid);
    table.cgroups = cgroups.told();
    Ok(table)
}

/// Units, and memory that is used for one process after the other.
struct Reader {
    units: Units,
    stat: Vec<u8>,
    cgroup: Vec<u8>,
}

/// What the figures of `/proc/<pid>/stat` are counted in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Units {
    /// `USER_HZ`: ticks of a second.
    pub(super) hertz: u64,
    /// Bytes of a page.
    pub(super) page: u64,
}

impl Default for Reader {
    fn default() -> Self {
        let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
        let units = Units { hertz: rustix::param::clock_ticks_per_second(), page };
        Self { units, stat: Vec::new(), cgroup: Vec::new() }
    }
}

impl Reader {
    /// `None`: its `stat` cannot be read as one.
    fn read(&mut self, proc: impl AsFd, pid: u32) -> Result<Option<Process>, Errno> {
        let dir = syscall::open_at(proc, pid.to_string(), syscall::HOLD)?;
        let uid = syscall::stat_open(&dir)?.st_uid;
        read::read_at(&dir, c"cgroup", &mut self.cgroup)?;
        read::read_at(&dir, c"stat", &mut self.stat)?;
        let (now, since_boot) = (clock::pair(), clock::since_boot());
        // The kernel ends each line: of one that was cut short the pod may be another's.
        let process = parse_stat(&self.stat, self.units, since_boot, now)
            .filter(|process| process.pid == pid && (self.cgroup.is_empty() || self.cgroup.ends_with(b"\n")));
        Ok(process.map(|process| Process { uid, ..process }))
    }
}

/// A `/proc/<pid>/stat`, read so long after the node was started; whose it is and what it is in stands elsewhere.
pub(super) fn parse_stat(stat: &[u8], units: Units, since_boot: Duration, now: ClockPair) -> Option<Process> {
    // Without its end it was cut short, perhaps within a number. The name may hold anything, `) 5 (` and line feeds
    // too; after it are numbers.
    let (head, rest) = text::rsplit_once(stat.strip_suffix(b"\n")?, b')')?;
    let (pid, command) = text::split_once(head, b'(')?;
    let pid = text::parse_u32(pid.strip_suffix(b" ")?)?;
    // No kernel prints more than some fifty of them; the first here is field 3.
    let mut fields = [&b""[..]; 37];
    let mut all = text::fields(rest);
    for field in &mut fields {
        *field = all.next()?;
    }
    let field = |number: usize| fields[number - 3];
    let number = |at: usize| text::parse_u64(field(at));
    let ticks = |count: u64| {
        let (seconds, rest) = (count / units.hertz.max(1), count % units.hertz.max(1));
        Duration::new(seconds, u32::try_from(rest * 1_000_000_000 / units.hertz.max(1)).unwrap_or(0))
    };
    let age = since_boot.saturating_sub(ticks(number(22)?));
    let [state] = *field(3) else { return None };
    Some(Process {
        pid,
        parent_pid: text::parse_u32(field(4))?,
        uid: 0,
        command: String::from_utf8_lossy(command).into(),
        state: state.is_ascii_alphabetic().then_some(char::from(state))?,
        nice: parse_i64(field(19))?,
        threads: number(20)?,
        leads_session: parse_i64(field(6))? == i64::from(pid),
        is_in_foreground: parse_i64(field(8))? == parse_i64(field(5))?,
        cpu: ticks(number(14)?.saturating_add(number(15)?)),
        age,
        // Not by the monotonic clock, which may have stood still meanwhile.
        started: WallTime::from_unix_nanos(now.wall.as_unix_nanos().saturating_sub(nanos(age))),
        virtual_bytes: number(23)?,
        resident_bytes: number(24)?.saturating_mul(units.page),
        processor: text::parse_u32(field(39))?,
        cgroup: 0,
    })
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A number that may be below 0: `-1` is the group of no terminal.
fn parse_i64(digits: &[u8]) -> Option<i64> {
    match digits.strip_prefix(b"-") {
        Some(digits) => i64::try_from(text::parse_u64(digits)?).ok()?.checked_neg(),
        None => i64::try_from(text::parse_u64(digits)?).ok(),
    }
}

/// What processes are in. Those of one cgroup share one row.
#[derive(Default)]
struct Cgroups {
    rows: Vec<(ProcessCgroup, Line)>,
    known: HashMap<Box<[u8]>, u32>,
    /// How far above our cgroup namespace the root of the tree is, by the line of process 1.
    depth: Option<usize>,
}

/// Where a process is, as our cgroup namespace shows it.
struct Line {
    /// How many levels up it begins.
    up: usize,
    /// From there on, with a slash before each name.
    path: Box<str>,
}

impl Cgroups {
    fn row(&mut self, pid: u32, text: &[u8]) -> u32 {
        let row = match self.known.entry(text.into()) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(place) => {
                self.rows.push((ids_of(CgroupLines::of(text)), line_of(CgroupLines::of(text))));
                *place.insert(u32::try_from(self.rows.len() - 1).unwrap_or(u32::MAX))
            }
        };
        if pid == 1 {
            let of_first = usize::try_from(row).ok().and_then(|row| self.rows.get(row));
            self.depth = of_first.map(|(_, line)| line.up);
        }
        row
    }

    /// All of them, with their paths on the node where those can be told: process 1 is in the root or right below it,
    /// so who begins as far up as that began at the root.
    fn told(self) -> Vec<ProcessCgroup> {
        let depth = self.depth;
        let told = |(cgroup, line): (ProcessCgroup, Line)| {
            let path = (depth == Some(line.up)).then_some(line.path);
            ProcessCgroup { path, ..cgroup }
        };
        self.rows.into_iter().map(told).collect()
    }
}

/// The pod and the container by all lines. On v1 a process may be in one pod in one hierarchy and in another in the
/// next: then it is nobody's.
pub(super) fn ids_of(lines: CgroupLines<'_>) -> ProcessCgroup {
    let mut ids = ProcessCgroup::default();
    for line in lines {
        let (pod, container) = ids_in_cgroup_line(line);
        let differ = |one: bool, other: bool, same: bool| one && other && !same;
        if differ(ids.pod.is_some(), pod.is_some(), ids.pod == pod)
            || differ(ids.container.is_some(), container.is_some(), ids.container == container)
        {
            return ProcessCgroup::default();
        }
        ids.pod = ids.pod.or(pod);
        ids.container = ids.container.or(container);
    }
    ids
}

/// Where it is in the hierarchy of v1 that has the CPU; without one, in that of v2.
fn line_of(lines: CgroupLines<'_>) -> Line {
    let mut found = "";
    for line in lines {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        if controllers.split(',').any(|controller| controller == "cpu") {
            found = path;
            break;
        }
        if controllers.is_empty() {
            found = path;
        }
    }
    let (mut up, mut path) = (0, found);
    while let Some(rest) = path.strip_prefix("/..").filter(|rest| rest.is_empty() || rest.starts_with('/')) {
        (up, path) = (up + 1, rest);
    }
    Line { up, path: if path.is_empty() { "/" } else { path }.into() }
}

#[cfg(test)]
#[path = "process_table_tests.rs"]
mod tests;
