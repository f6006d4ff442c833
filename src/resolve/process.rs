//! Through which process a pod's network is read, and whether it is the node's own network.
//!
//! The chain is verified through one descriptor of `/proc/<pid>`: its `cgroup` names the pod and one of
//! its containers, then `net/dev` gives the identity of the netns. A pid alone proves nothing: it may be
//! another process by the time it is used.

use std::cell::OnceCell;
use std::fmt;

use crate::host::cgroup::names::ids_in_cgroup_line;
use crate::host::cgroup::tree;
use crate::host::process::Refusal;
use crate::host::process::pin;
use crate::model::identity::ContainerId;
use crate::model::identity::PodUid;
use crate::model::target::CgroupPath;
use crate::model::target::PinnedProcess;

use super::Host;

/// Where a pid came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The runtime's status of the sandbox.
    Runtime,
    /// `cgroup.procs` of a child of the pod's cgroup.
    CgroupProcs,
    /// The container's id in `/proc/<pid>/cgroup`, found by looking through `/proc`.
    ProcScan,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Runtime => "the runtime",
            Self::CgroupProcs => "cgroup.procs",
            Self::ProcScan => "a scan of /proc/<pid>/cgroup",
        })
    }
}

/// A process that was found and verified.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) process: PinnedProcess,
    /// The child of the pod's cgroup it is in.
    pub(super) container: ContainerId,
    /// It is in a cgroup below that child's own: perhaps a container inside the container.
    pub(super) nested: bool,
    pub(super) origin: Origin,
}

/// What a line of `/proc/<pid>/cgroup` says of a process.
struct Member {
    container: ContainerId,
    nested: bool,
}

/// What was tried in vain, for the evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Vain(pub(super) Vec<String>);

/// What is looked for: a live process in one of these cgroups, best first.
pub(super) struct Wanted<'a> {
    pub(super) uid: &'a PodUid,
    /// Children of the pod's cgroup, in the order in which they are to be tried.
    pub(super) children: Vec<(&'a ContainerId, &'a CgroupPath)>,
    /// The pause process as the runtime knows it.
    pub(super) runtime_pid: Option<u32>,
}

/// Finds a process: the runtime's pid, else `cgroup.procs`, else a scan of `/proc` for new pids.
pub(super) fn find(host: &mut Host, wanted: &Wanted<'_>) -> Result<Found, Vain> {
    let mut vain = Vain::default();
    if let Some(pid) = wanted.runtime_pid {
        match try_pid(host, wanted, pid, Origin::Runtime) {
            Ok(found) => return Ok(found),
            Err(refusal) => vain.0.push(format!("the runtime's pid {pid}: {refusal}")),
        }
    }
    let mut listed = 0;
    for (_, path) in &wanted.children {
        let pids = tree::read_pids(&host.layout, path).unwrap_or_default();
        listed += pids.len();
        for pid in pids {
            match try_pid(host, wanted, pid, Origin::CgroupProcs) {
                Ok(found) => return Ok(found),
                Err(refusal) => vain.0.push(format!("pid {pid} of cgroup.procs: {refusal}")),
            }
        }
    }
    if listed == 0 {
        vain.0.push("cgroup.procs names no process in our pid namespace".to_owned());
    }
    let belongs = |line: &str| container_of(wanted, line).is_some();
    let pids = if host.scan_fresh { host.scan.known(&belongs) } else { host.scan.find(&host.root, &belongs) };
    host.scan_fresh = true;
    // The sandbox's first, where it is known: children are in the order in which they are to be tried.
    let mut best: Option<((usize, bool), Found)> = None;
    for pid in pids {
        if let Ok(found) = try_pid(host, wanted, pid, Origin::ProcScan) {
            let rank =
                wanted.children.iter().position(|(id, _)| **id == found.container).unwrap_or(usize::MAX);
            let rank = (rank, found.nested);
            if best.as_ref().is_none_or(|(best, _)| rank < *best) {
                best = Some((rank, found));
            }
        }
    }
    best.map(|(_, found)| found).ok_or_else(|| {
        vain.0.push("no /proc/<pid>/cgroup names one of its containers".to_owned());
        vain.0.truncate(8);
        vain
    })
}

fn try_pid(host: &Host, wanted: &Wanted<'_>, pid: u32, origin: Origin) -> Result<Found, Refusal> {
    let container = OnceCell::new();
    let process =
        pin(&host.root, pid, |line| container_of(wanted, line).is_some_and(|id| container.set(id).is_ok()))?;
    let Member { container, nested } = container.into_inner().ok_or(Refusal::OtherCgroup)?;
    Ok(Found { process, container, nested, origin })
}

/// The child of this pod that a line of `/proc/<pid>/cgroup` names, if it does.
fn container_of(wanted: &Wanted<'_>, line: &str) -> Option<Member> {
    let (uid, container) = ids_in_cgroup_line(line);
    let container = container?;
    // In a cgroup namespace of its own the line of a container may begin below the pod: its id is enough.
    let ours = uid.is_none_or(|uid| uid == *wanted.uid);
    let (_, path) = wanted.children.iter().find(|(id, _)| ours && **id == container)?;
    let nested = path.as_path().file_name().is_some_and(|name| !line.ends_with(&*name.to_string_lossy()));
    Some(Member { container, nested })
}
