//! What the node as a whole is under: pressure, page faults, tasks.
//!
//! `/proc/pressure/*` (`Documentation/accounting/psi.rst`), `/proc/vmstat`, `/proc/loadavg` (proc(5)).
//!
//! # Whose limit of tasks
//! Since 6.14 `/proc/sys/kernel/pid_max` is the reader's pid namespace's, whichever `/proc` it is read
//! through, and a new namespace begins with the largest there can be: on a host with 32,768 a container
//! reads 4,194,304. So outside the host's pid namespace such a kernel is not asked.

use std::path::{Path, PathBuf};

use super::cgroup::pressure::parse_stall;
use super::kept_file::{self, unavailable};
use super::node_files::{parse_paging, parse_tasks};
use super::{HostRoot, clock, read, syscall, text};
use crate::model::counters::{PressureCounters, Stall};
use crate::model::health::Health;
use crate::model::sweep::{NodePaging, NodeTasks, Reading, Stamped};
use crate::model::unavailable::Unavailable;

/// Where they are. Opened for each reading: where descriptors are few, pods need them more.
#[derive(Debug)]
pub(super) struct NodeLoad {
    vmstat: PathBuf,
    loadavg: PathBuf,
    /// CPU, memory, I/O.
    pressure: [PathBuf; 3],
    /// `pid_max`, where it is the host's, and `threads-max`.
    task_limits: Vec<PathBuf>,
    page_bytes: u64,
}

impl NodeLoad {
    pub(super) fn new(root: &HostRoot) -> Self {
        Self {
            vmstat: root.proc.join("vmstat"),
            loadavg: root.proc.join("loadavg"),
            pressure: ["cpu", "memory", "io"].map(|of| root.proc.join("pressure").join(of)),
            task_limits: task_limits(root),
            page_bytes: rustix::param::page_size() as u64,
        }
    }

    /// Anonymous memory and page faults of all processes.
    pub(super) fn read_paging(&self, buffer: &mut Vec<u8>, health: &Health) -> Reading<NodePaging> {
        health.begin_read(0, read::NODE_VMSTAT);
        read_as(&self.vmstat, buffer, health, |vmstat| parse_paging(vmstat, self.page_bytes))
    }

    /// Stalls of all tasks; what the kernel does not account for is absent.
    pub(super) fn read_pressure(&self, buffer: &mut Vec<u8>, health: &Health) -> Reading<PressureCounters> {
        health.begin_read(0, read::NODE_PRESSURE);
        let [cpu, memory, io] = &self.pressure;
        let cpu = read_stall(cpu, buffer, health)?;
        let mut other = |file| read_stall(file, buffer, health).ok().map(|stall| stall.value);
        let value = PressureCounters { cpu: Some(cpu.value), memory: other(memory), io: other(io) };
        Ok(Stamped { at: cpu.at, value })
    }

    /// Tasks there are, and may be.
    pub(super) fn read_tasks(&self, buffer: &mut Vec<u8>, health: &Health) -> Reading<NodeTasks> {
        health.begin_read(0, read::NODE_LOADAVG);
        let current = read_as(&self.loadavg, buffer, health, parse_tasks)?;
        // The smaller counts: without one of them nobody can say.
        let mut limits =
            self.task_limits.iter().map(|path| read_as(path, buffer, health, text::parse_single_u64));
        let limit = limits.try_fold(u64::MAX, |least, limit| Some(least.min(limit.ok()?.value)));
        let limit = limit.filter(|_| !self.task_limits.is_empty());
        Ok(Stamped { at: current.at, value: NodeTasks { current: current.value, limit } })
    }
}

fn read_stall(file: &Path, buffer: &mut Vec<u8>, health: &Health) -> Reading<Stall> {
    if !syscall::is_there(file).map_err(|errno| unavailable(errno, health))? {
        return Err(Unavailable::KernelWithoutPsi);
    }
    read_as(file, buffer, health, |text| parse_stall(text).ok())
}

fn read_as<T>(
    path: &Path,
    buffer: &mut Vec<u8>,
    health: &Health,
    parse: impl Fn(&[u8]) -> Option<T>,
) -> Reading<T> {
    let read = |buffer: &mut Vec<u8>| read::read_path(path, buffer).map(|()| clock::monotonic());
    // Each of these texts ends a line: one that does not was cut off.
    kept_file::read_as(buffer, health, read, |text| parse(text).filter(|_| text.ends_with(b"\n")))
}

fn task_limits(root: &HostRoot) -> Vec<PathBuf> {
    let kernel = root.proc.join("sys/kernel");
    let release = super::node::kernel_release(root).unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse().ok());
    let release: (u32, u32) = (numbers.next().unwrap_or(u32::MAX), numbers.next().unwrap_or(0));
    if release >= (6, 14) && !is_in_first_pid_namespace() {
        return Vec::new();
    }
    vec![kernel.join("pid_max"), kernel.join("threads-max")]
}

/// The kernel's own number for the pid namespace it starts with: `PROC_PID_INIT_INO` (`proc_ns.h`).
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

fn is_in_first_pid_namespace() -> bool {
    syscall::stat("/proc/self/ns/pid").is_ok_and(|stat| stat.st_ino == FIRST_PID_NAMESPACE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::health::{Room, Trouble};

    /// Counts what the kernel counts of all tasks in another place: directories of `/proc`.
    fn threads() -> u64 {
        let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let tasks = processes.filter_map(|process| std::fs::read_dir(process.path().join("task")).ok());
        tasks.map(|tasks| tasks.count() as u64).sum()
    }

    /// Page faults of this process and of its children that have ended: proc_pid_stat(5).
    fn own_faults() -> u64 {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        [7, 8].map(|at: usize| fields[at].parse::<u64>().unwrap()).iter().sum()
    }

    #[test]
    fn of_this_machine() {
        let root = HostRoot { proc: "/proc".into(), cgroup: "/sys/fs/cgroup".into(), sys: "/sys".into() };
        let (load, mut buffer, health) = (NodeLoad::new(&root), Vec::new(), Health::default());
        let (own, before) = (own_faults(), load.read_paging(&mut buffer, &health).unwrap().value);
        for _ in 0..20 {
            assert!(std::process::Command::new("true").status().unwrap().success());
        }
        let (after, own) = (load.read_paging(&mut buffer, &health).unwrap().value, own_faults() - own);
        assert!(
            own > 500 && after.page_faults - before.page_faults >= own / 2,
            "{own}: {before:?}, {after:?}"
        );
        assert!(before.major_page_faults <= after.major_page_faults, "{before:?}, {after:?}");
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
        let line = meminfo.lines().find_map(|line| line.strip_prefix("AnonPages:")).unwrap();
        let anon = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024;
        assert!(after.anon_bytes > 0 && after.anon_bytes.abs_diff(anon) < 256 << 20, "{anon}, {after:?}");

        let around = threads();
        let tasks = load.read_tasks(&mut buffer, &health).unwrap().value;
        let all = around.min(threads()).saturating_sub(30)..=around.max(threads()) + 30;
        assert!(all.contains(&tasks.current), "{tasks:?} of {around}");
        assert!(tasks.limit.is_none_or(|limit| limit > tasks.current), "{tasks:?}");
        if std::path::Path::new("/proc/pressure/cpu").exists() {
            let pressure = load.read_pressure(&mut buffer, &health).unwrap().value;
            assert!(pressure.memory.is_some() && pressure.io.is_some(), "{pressure:?}");
        }
    }

    #[test]
    fn a_kernel_without_pressure_says_so_and_is_not_complained_about() {
        let nowhere = std::env::temp_dir().join("podvitals-no-such-proc");
        let root = HostRoot { proc: nowhere.clone(), cgroup: nowhere.clone(), sys: nowhere };
        let (load, mut buffer, health) = (NodeLoad::new(&root), Vec::new(), Health::default());
        let pressure = load.read_pressure(&mut buffer, &health);
        assert_eq!(pressure.unwrap_err(), Unavailable::KernelWithoutPsi);
        assert_eq!(health.counted(Room::Host, Trouble::Denied), 0);
        assert_eq!(load.read_tasks(&mut buffer, &health).unwrap_err(), Unavailable::Permission);
    }
}
