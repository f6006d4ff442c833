//! The processes of the node, as `/proc` shows them to everybody: what `ps` lists.
//!
//! No command line and no environment is among it: they may hold secrets, and are never read.

use std::time::Duration;

use super::identity::{ContainerId, PodUid};
use super::time::{Monotonic, WallTime};

/// Every process that could be read, each at its own moment of one look through `/proc`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessTable {
    /// When the look began: no process is older news than that.
    pub at: Monotonic,
    /// In the order of `/proc`, which is that of their numbers.
    pub processes: Vec<Process>,
    /// What the processes are in.
    pub cgroups: Vec<ProcessCgroup>,
}

impl ProcessTable {
    /// What a process is in.
    pub fn cgroup(&self, of: &Process) -> Option<&ProcessCgroup> {
        self.cgroups.get(usize::try_from(of.cgroup).ok()?)
    }
}

/// One process: its `/proc/<pid>/stat`, field by field as proc(5) counts them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number, in the pid namespace of the `/proc` that was read.
    pub pid: u32,
    /// Field 4, `ppid`; 0 of one whose parent is in a pid namespace above.
    pub parent_pid: u32,
    /// Its effective user, whose the directory `/proc/<pid>` is: 65534 of one that our user namespace has no number for.
    pub uid: u32,
    /// Field 2, `comm`: the name of the program, cut to 15 bytes but for the kernel's own; whoever runs may change it.
    pub command: Box<str>,
    /// Field 3, `state`: `R`, `S`, `D`, `Z`, `T`, `t`, `I`, ….
    pub state: char,
    /// Field 19, `nice`.
    pub nice: i64,
    /// Field 20, `num_threads`.
    pub threads: u64,
    /// It leads its session: field 6, `session`, is its own number.
    pub leads_session: bool,
    /// It is in the foreground of its terminal: field 8, `tpgid`, is field 5, `pgrp`.
    pub is_in_foreground: bool,
    /// Fields 14 and 15, `utime` and `stime`, of all its threads, and of no child.
    pub cpu: Duration,
    /// Since field 22, `starttime`, when it was read.
    pub age: Duration,
    /// The same on the wall clock.
    pub started: WallTime,
    /// Field 23, `vsize`.
    pub virtual_bytes: u64,
    /// Field 24, `rss`, in pages there.
    pub resident_bytes: u64,
    /// Field 39, `processor`: the one it last ran on.
    pub processor: u32,
    /// Its row in [`ProcessTable::cgroups`].
    pub cgroup: u32,
}

/// What a process is in, by its `/proc/<pid>/cgroup`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessCgroup {
    /// Where it is on the node, of cgroup v1 in the hierarchy of the CPU; `None` where a cgroup namespace hides that.
    pub path: Option<Box<str>>,
    /// The pod whose cgroup it is in. `None` of none, and of one that is in two at once.
    pub pod: Option<PodUid>,
    /// The container; without a pod it is in ours.
    pub container: Option<ContainerId>,
}
