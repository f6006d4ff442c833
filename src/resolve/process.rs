//! Through which process a pod's network is read, and whether it is the node's own network.
//!
//! The chain is verified through one descriptor of `/proc/<pid>`: its `cgroup` names the pod and one of
//! its containers, then `net/dev` gives the identity of the netns. A pid alone proves nothing: it may be
//! another process by the time it is used.
//!
//! # Whose netns is the pod's
//! The sandbox's, where it lives. An app process may have made itself another (`unshare`) or gone into
//! one (`setns`), so without a sandbox the pod's netns is the one it was known to have, through whichever
//! process is still there; else that of each container's first process, if they agree. A process in
//! another one is never read, unless its container is so new that the sandbox may have been made anew.

use std::cell::LazyCell;
use std::fmt;

use crate::host::HostError;
use crate::host::cgroup::names::ids_in_cgroup_line;
use crate::host::cgroup::tree;
use crate::host::error::chain;
use crate::host::process::CgroupLines;
use crate::host::process::Refusal;
use crate::host::process::pin;
use crate::host::process::started;
use crate::model::identity::ContainerId;
use crate::model::identity::PodUid;
use crate::model::target::CgroupPath;
use crate::model::target::PinnedProcess;

use super::Host;
use super::sandbox::Sandbox;

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

/// A process by what its `/proc/<pid>/cgroup` says.
#[derive(Debug, PartialEq, Eq)]
struct Member {
    container: ContainerId,
    /// In some hierarchy.
    nested: bool,
}

/// What one line of `/proc/<pid>/cgroup` says of a process.
enum Whose {
    /// Nothing: no pod's hierarchy, or the pod itself.
    Nobody,
    /// It is in another pod, or in a container we do not know.
    Another,
    Ours(Member),
}

/// What was tried in vain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Vain {
    /// For the evidence.
    pub(super) tried: Vec<String>,
    /// Something could not be looked at: that nobody was found proves nothing.
    pub(super) blind: bool,
}

impl Vain {
    /// There may be thousands of processes: nobody reads of more than a few.
    fn say(&mut self, what: impl FnOnce() -> String) {
        if self.tried.len() < 8 {
            self.tried.push(what());
        }
    }
}

/// A child of the pod's cgroup in which a process is looked for.
pub(super) struct Place<'a> {
    pub(super) id: &'a ContainerId,
    pub(super) path: &'a CgroupPath,
    /// It was made after the netns the pod was known to have was lost: it may belong to another.
    pub(super) new: bool,
    /// It was seen so lately that its process may not be in it yet, or a scan not have come to it again.
    pub(super) young: bool,
}

/// What is looked for: a live process in the pod's netns.
pub(super) struct Wanted<'a> {
    pub(super) uid: &'a PodUid,
    /// Children of the pod's cgroup, in the order in which they are to be tried.
    pub(super) places: Vec<Place<'a>>,
    /// The sandbox and its pause process, as the runtime knows them.
    pub(super) runtime: Option<(&'a ContainerId, u32)>,
    /// Which child is the sandbox, or that there is none.
    pub(super) sandbox: &'a Sandbox,
    /// The netns that the pod is known to have.
    pub(super) netns: Option<u64>,
}

/// A container may have any number of processes: no more of each are looked at.
const MOST_PROCESSES: usize = 512;

/// Finds a process: the runtime's pid, else `cgroup.procs`, else a scan of `/proc` for new pids.
pub(super) fn find(host: &mut Host, wanted: &Wanted<'_>) -> Result<Found, Vain> {
    let mut vain = Vain::default();
    if let Some((sandbox, pid)) = wanted.runtime {
        match try_pid(host, wanted, pid, Origin::Runtime) {
            Ok(found) if found.container == *sandbox => return Ok(found),
            // The number is another's by now, in a container that may have a netns of its own.
            Ok(found) => {
                vain.tried.push(format!("the runtime's pid {pid}: of container {}", found.container))
            }
            Err(refusal) => vain.tried.push(format!("the runtime's pid {pid}: {refusal}")),
        }
    }
    let mut all = Vec::new();
    for origin in [Origin::CgroupProcs, Origin::ProcScan] {
        match search(host, wanted, origin, &mut vain) {
            Ok(found) => return Ok(found),
            Err(places) => all = places,
        }
        if all.iter().any(|there| there.first.is_some()) {
            break;
        }
        vain.tried.push(match origin {
            Origin::ProcScan => "no /proc/<pid>/cgroup names one of its containers".to_owned(),
            _ => "cgroup.procs names no process of its containers".to_owned(),
        });
    }
    let is_populated = |path: &CgroupPath| tree::is_populated(&host.layout, path) == Some(true);
    choose(wanted, all, is_populated, &mut vain).ok_or(vain)
}

/// What is kept of the processes of one place: each that is held takes a descriptor.
#[derive(Default)]
struct There {
    /// Before all others of the place.
    first: Option<Elder>,
    /// Before all others of the place that are in the netns the pod is known to have. The file lists them by
    /// number or by when they came, and numbers wrap: a child that lives for milliseconds may stand first.
    known: Option<Elder>,
    /// There may be others, which could not be looked at.
    unseen: bool,
}

/// The process that is before all others.
struct Elder {
    found: Found,
    /// What makes it so, once there was another.
    seniority: Option<Seniority>,
}

/// A container's own first process is before those of cgroups it made in itself: nested, and when started.
type Seniority = (bool, u64);

fn seniority(found: &Found) -> Seniority {
    (found.nested, started(&found.process).unwrap_or(u64::MAX))
}

impl There {
    fn take(&mut self, found: &Found, netns: Option<u64>) {
        let own = LazyCell::new(|| seniority(found));
        if netns == Some(found.process.netns) {
            keep_elder(&mut self.known, found, &own);
        }
        keep_elder(&mut self.first, found, &own);
    }
}

/// Takes `found` in the elder's place if it is before it. A first one is asked nothing: most are alone.
fn keep_elder(
    elder: &mut Option<Elder>,
    found: &Found,
    own: &LazyCell<Seniority, impl FnOnce() -> Seniority>,
) {
    if let Some(Elder { found, seniority: known }) = elder
        && *known.get_or_insert_with(|| seniority(found)) <= **own
    {
        return;
    }
    let seniority = elder.is_some().then(|| **own);
    *elder = Some(Elder { found: found.clone(), seniority });
}

/// Looks through one place after the other, and no further than to a process that is in the pod's netns for
/// certain: the sandbox's, or else one in the netns the pod is known to have. Without one: what there is.
fn search(
    host: &mut Host,
    wanted: &Wanted<'_>,
    origin: Origin,
    vain: &mut Vain,
) -> Result<Found, Vec<There>> {
    let mut all = Vec::with_capacity(wanted.places.len());
    for place in &wanted.places {
        let pids = match origin {
            Origin::ProcScan => scan(host, wanted, place),
            _ => tree::read_pids(&host.layout, place.path),
        };
        let mut there = There::default();
        let pids = pids.unwrap_or_else(|error| {
            there.unseen = !error.is_gone();
            vain.say(|| format!("{origin}: {}", chain(&error)));
            Vec::new()
        });
        // The number of a netns that was lost may have been given to another since: it says nothing of
        // containers that are newer.
        let netns = wanted.netns.filter(|_| !place.new);
        for pid in pids.into_iter().take(MOST_PROCESSES) {
            match try_pid(host, wanted, pid, origin) {
                Ok(found) if found.container == *place.id => there.take(&found, netns),
                Ok(_) => {}
                Err(refusal) => {
                    there.unseen |= refusal.proves_nothing();
                    vain.say(|| format!("pid {pid} of {origin}: {refusal}"));
                }
            }
        }
        vain.blind |= there.unseen;
        let is_sandbox = matches!(wanted.sandbox, Sandbox::Is(id, _) if id == place.id);
        let certain = if is_sandbox && there.first.is_some() { &there.first } else { &there.known };
        if let Some(elder) = certain {
            return Ok(elder.found.clone());
        }
        all.push(there);
    }
    Err(all)
}

/// The processes of a place, from what a look through `/proc` told. It is done once for all pods of a step.
fn scan(host: &mut Host, wanted: &Wanted<'_>, place: &Place<'_>) -> Result<Vec<u32>, HostError> {
    let belongs = |line: &str| matches!(container_of(wanted, line), Whose::Ours(member) if member.container == *place.id);
    if !host.scan_fresh {
        host.scan.update(&host.root)?;
        host.scan_fresh = true;
    }
    Ok(host.scan.known(&belongs))
}

/// Of processes none of which is certain: the one that may be taken for the pod's, if any.
fn choose(
    wanted: &Wanted<'_>,
    all: Vec<There>,
    is_populated: impl Fn(&CgroupPath) -> bool,
    vain: &mut Vain,
) -> Option<Found> {
    let is_known = wanted.netns.is_some();
    let (mut firsts, mut before, mut astray) = (Vec::new(), Vec::new(), None);
    for (place, there) in wanted.places.iter().zip(all) {
        let may_be = place.new || !is_known;
        match there.first {
            Some(first) if may_be => firsts.push(first.found),
            Some(first) => astray = astray.or(Some(first.found.process)),
            None if may_be && firsts.is_empty() && (place.young || there.unseen) => before.push(place),
            None => {}
        }
    }
    let mut firsts = firsts.into_iter();
    let Some(oldest) = firsts.next() else {
        if let Some(process) = astray {
            vain.tried.push(format!("pid {} is in netns {}, not in the pod's", process.pid, process.netns));
        }
        return None;
    };
    // The sandbox, as far as we know: its netns is the pod's, and that of who comes after it may be another. A
    // runtime may keep a cgroup for one that has no process at all.
    if *wanted.sandbox != Sandbox::None
        && let Some(awaited) = before.into_iter().rfind(|place| is_populated(place.path))
    {
        vain.tried.push(format!("{} comes before it, and its process is still to be found", awaited.id));
        return None;
    }
    // As long as nobody says otherwise the oldest child may be the sandbox.
    let may_be_sandbox = is_known || *wanted.sandbox == Sandbox::Unsettled;
    if may_be_sandbox || firsts.all(|first| first.process.netns == oldest.process.netns) {
        return Some(oldest);
    }
    vain.tried.push("the first processes of its containers are in different network namespaces".to_owned());
    None
}

fn try_pid(host: &Host, wanted: &Wanted<'_>, pid: u32, origin: Origin) -> Result<Found, Refusal> {
    let mut member = Err(Refusal::OtherCgroup);
    let pinned = pin(&host.root, pid, |lines| {
        member = member_by(wanted, lines);
        member.is_ok()
    });
    match (member, pinned) {
        (Err(Refusal::TwoCgroups), Err(Refusal::OtherCgroup)) => Err(Refusal::TwoCgroups),
        (Ok(Member { container, nested }), Ok(process)) => Ok(Found { process, container, nested, origin }),
        (_, pinned) => Err(pinned.err().unwrap_or(Refusal::OtherCgroup)),
    }
}

/// The child of this pod that a process is in by all lines of its `/proc/<pid>/cgroup`.
///
/// # Which hierarchy decides
/// None alone: a runtime puts a process into its container in every hierarchy it knows, and whoever moves
/// it may do so in one only. A hierarchy without pods has the process at its root or with the runtime, and
/// says nothing. Those that speak must agree, or it is nobody's.
fn member_by(wanted: &Wanted<'_>, lines: CgroupLines<'_>) -> Result<Member, Refusal> {
    let mut member: Option<Member> = None;
    let mut is_elsewhere = false;
    for line in lines {
        match container_of(wanted, line) {
            Whose::Nobody => {}
            Whose::Another => is_elsewhere = true,
            Whose::Ours(now) => match &mut member {
                Some(before) if before.container == now.container => before.nested |= now.nested,
                Some(_) => is_elsewhere = true,
                None => member = Some(now),
            },
        }
    }
    match member {
        Some(_) if is_elsewhere => Err(Refusal::TwoCgroups),
        member => member.ok_or(Refusal::OtherCgroup),
    }
}

/// Whose cgroup a line of `/proc/<pid>/cgroup` names.
fn container_of(wanted: &Wanted<'_>, line: &str) -> Whose {
    let (uid, container) = ids_in_cgroup_line(line);
    // In a cgroup namespace of its own the line of a container may begin below the pod: its id is enough.
    if uid.is_some_and(|uid| uid != *wanted.uid) {
        return Whose::Another;
    }
    let Some(container) = container else { return Whose::Nobody };
    let Some(place) = wanted.places.iter().find(|place| *place.id == container) else {
        return Whose::Another;
    };
    let nested =
        place.path.as_path().file_name().is_some_and(|name| !line.ends_with(&*name.to_string_lossy()));
    Whose::Ours(Member { container, nested })
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
