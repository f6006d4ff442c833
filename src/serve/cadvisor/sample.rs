//! What is known of a cgroup at one time: in the last sweep all of it, before that what history keeps (pure).
//!
//! # Disks and interfaces of the past
//! History keeps the total of all of them. Where one disk, or one interface, has made up the total ever since
//! it is carried, the total of then is that one's; else the past has none. The node's totals are not carried:
//! one that is alone now may have been one of several.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::super::memory_stat::{self, Keys};
use super::super::native::network::{counted, counted_nics};
use super::super::native::rows;
use super::super::node_cgroup;
use super::cgroups::{Cgroup, What};
use super::request::Range;
use crate::model::counters::{
    DeviceNumber, DeviceRow, IoCounters, MemoryCounters, NetworkCounters, PidsCounters, PressureCounters,
};
use crate::model::details::DetailRows;
use crate::model::file_systems::FileSystems;
use crate::model::history::{CgroupSample, Frame, IoSample, NetworkSample, Roster, Shelf};
use crate::model::snapshot::{Carried, CgroupFigures, CpuFigures, Snapshot};
use crate::model::sweep::{NetworkSource, Reading, Stamped};
use crate::model::time::{ClockPair, WallTime};
use crate::model::unavailable::Unavailable;

/// One cgroup at one time.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// When its CPU time was read, or what else there is.
    pub(super) at: WallTime,
    pub(super) cpu: Option<CpuFigures>,
    pub(super) memory: Option<MemoryCounters>,
    /// Those that rest on no other.
    pub(super) disks: Option<Vec<(DeviceNumber, IoCounters)>>,
    pub(super) network: Option<Interfaces>,
    /// With the limit, if that is known; of one that is not limited `None`.
    pub(super) tasks: Option<(PidsCounters, Option<Option<u64>>)>,
    pub(super) pressure: PressureCounters,
    /// Nanoseconds of each CPU, of the last sample alone.
    pub(super) percpu: Vec<u64>,
    /// What else `memory.stat` says, of the last sample alone.
    pub(super) memory_stat: BTreeMap<&'static str, u64>,
    /// Page faults of the cgroup's own processes, and those of them that had to wait for a disk; of the last sample alone.
    pub(super) own_faults: [Option<u64>; 2],
    /// Of the node alone, and of the last sample.
    pub(super) file_systems: Option<FileSystems>,
}

/// cAdvisor's names of numbers in `memory.stat`.
const MEMORY_STAT: [(&str, Keys); 9] = [
    ("file_dirty", memory_stat::DIRTY),
    ("file_writeback", memory_stat::WRITEBACK),
    ("kernel", memory_stat::KERNEL),
    ("mapped_file", memory_stat::MAPPED_FILE),
    ("pgscan", memory_stat::PAGES_SCANNED),
    ("pgsteal", memory_stat::PAGES_STOLEN),
    ("total_active_file", memory_stat::ACTIVE_FILE),
    ("workingset_refault_anon", memory_stat::REFAULTS_OF_ANON),
    ("workingset_refault_file", memory_stat::REFAULTS_OF_FILE),
];

/// Those that count, the one with the default route first.
#[derive(Clone, Debug)]
pub(super) struct Interfaces {
    pub(super) source: NetworkSource,
    pub(super) each: Vec<(String, NetworkCounters)>,
}

/// A part of a sample with the time it was read.
type Timed<T> = Option<Stamped<T>>;

impl Sample {
    /// `None`: nothing was read.
    fn new(
        clock: ClockPair,
        cpu: &Reading<CpuFigures>,
        memory: &Reading<MemoryCounters>,
        disks: Timed<Vec<(DeviceNumber, IoCounters)>>,
        network: Timed<Interfaces>,
    ) -> Option<Self> {
        let times = [
            cpu.as_ref().ok().map(|read| read.at),
            memory.as_ref().ok().map(|read| read.at),
            network.as_ref().map(|read| read.at),
            disks.as_ref().map(|read| read.at),
        ];
        Some(Self {
            at: clock.wall_of(times.into_iter().flatten().next()?),
            cpu: cpu.as_ref().ok().map(|read| read.value),
            memory: memory.as_ref().ok().map(|read| read.value),
            disks: disks.map(|read| read.value),
            network: network.map(|read| read.value),
            tasks: None,
            pressure: PressureCounters::default(),
            percpu: Vec::new(),
            memory_stat: BTreeMap::new(),
            own_faults: [None; 2],
            file_systems: None,
        })
    }

    /// In the sweep that is shown.
    pub(super) fn now(snapshot: &Snapshot, cgroup: &Cgroup<'_>) -> Option<Self> {
        let node;
        let figures = match cgroup.what {
            What::Node => {
                node = node_cgroup::now(snapshot);
                Some(&node)
            }
            What::Pod(pod) => Some(&pod.figures.cgroup),
            What::Container(_, read, _) => Some(&read.cgroup),
            // Of the pause process nothing but its network is of use to anybody.
            What::Sandbox(..) | What::Slice => None,
        };
        let disks =
            disks_now(snapshot, cgroup).map(|read| Stamped { at: read.at, value: leaves(read.value) });
        let network = interfaces_now(snapshot, cgroup);
        let Some(CgroupFigures { cpu, memory, io: _, pids, pressure, limits, details }) = figures else {
            let nothing = Unavailable::NotYet;
            return Self::new(snapshot.clock, &Err(nothing), &Err(nothing), disks, network);
        };
        let limit = limits.unknown.pids.is_none().then_some(limits.pids);
        Some(Self {
            tasks: pids.as_ref().ok().map(|read| (read.value, limit)),
            pressure: pressure.as_ref().map(|read| read.value).unwrap_or_default(),
            percpu: percpu(snapshot, details),
            memory_stat: memory_stat(snapshot, details),
            own_faults: [memory_stat::OWN_PAGE_FAULTS, memory_stat::OWN_MAJOR_PAGE_FAULTS]
                .map(|keys| told(snapshot, details, keys)),
            file_systems: file_systems(snapshot, cgroup),
            ..Self::new(snapshot.clock, cpu, memory, disks, network)?
        })
    }

    fn then(
        clock: ClockPair,
        cpu: &Reading<CpuFigures>,
        memory: &Reading<MemoryCounters>,
        (io, disk): (&Reading<IoSample>, Option<DeviceNumber>),
        network: Option<(&Reading<NetworkSample>, &str)>,
    ) -> Option<Self> {
        let io = io.as_ref().ok().zip(disk);
        let disks = io.map(|(read, disk)| Stamped { at: read.at, value: vec![(disk, read.value.counters)] });
        let network = network.and_then(|(read, name)| Some((read.as_ref().ok()?, name)));
        let network = network.map(|(read, name)| {
            let each = vec![(name.to_owned(), read.value.counters)];
            Stamped { at: read.at, value: Interfaces { source: read.value.source, each } }
        });
        Self::new(clock, cpu, memory, disks, network)
    }
}

/// A container's own would take a look into each of its mounts.
fn file_systems(snapshot: &Snapshot, cgroup: &Cgroup<'_>) -> Option<FileSystems> {
    let read = snapshot.node.file_systems.as_ref().ok()?;
    matches!(cgroup.what, What::Node).then(|| read.value.clone())
}

/// Of the CPUs that there are: the kernel tells of all that there may ever be.
fn percpu(snapshot: &Snapshot, rows: &DetailRows) -> Vec<u64> {
    let cores = snapshot.node.cpu.as_ref().map_or(0, |cpu| cpu.value.cores) as usize;
    snapshot.details.percpu(&rows.percpu).iter().take(cores).copied().collect()
}

fn memory_stat(snapshot: &Snapshot, rows: &DetailRows) -> BTreeMap<&'static str, u64> {
    MEMORY_STAT.into_iter().filter_map(|(name, keys)| Some((name, told(snapshot, rows, keys)?))).collect()
}

fn told(snapshot: &Snapshot, rows: &DetailRows, keys: Keys) -> Option<u64> {
    snapshot.details.memory_at(&rows.memory_stat, snapshot.details.memory_place(keys)?)
}

fn disks_now<'a>(snapshot: &'a Snapshot, cgroup: &Cgroup<'_>) -> Timed<&'a [DeviceRow]> {
    let of = |at, range| Stamped { at, value: rows(&snapshot.devices, range).as_slice() };
    let io = match cgroup.what {
        What::Node => return snapshot.node.io.as_ref().ok().map(|io| of(io.at, &io.value.1)),
        What::Pod(pod) => pod.figures.cgroup.io.as_ref().ok()?,
        What::Container(_, read, _) => read.cgroup.io.as_ref().ok()?,
        What::Sandbox(..) | What::Slice => return None,
    };
    Some(of(io.at, &io.value.devices))
}

fn leaves(rows: &[DeviceRow]) -> Vec<(DeviceNumber, IoCounters)> {
    rows.iter().filter(|row| !row.stacked).map(|row| (row.device, row.counters)).collect()
}

fn interfaces_now(snapshot: &Snapshot, cgroup: &Cgroup<'_>) -> Timed<Interfaces> {
    if !cgroup.has_the_network() {
        return None;
    }
    let (at, source, each) = match cgroup.pod() {
        None => {
            let network = snapshot.node.network.as_ref().ok()?;
            (network.at, NetworkSource::Netns, counted_nics(snapshot, &network.value.1))
        }
        Some(pod) if pod.target.host_network => return None,
        Some(pod) => {
            let network = pod.figures.network.as_ref().ok()?;
            (network.at, network.value.source, counted(snapshot, &network.value))
        }
    };
    Some(Stamped { at, value: Interfaces { source, each } })
}

/// The one disk that has made up the total ever since it is carried.
fn only_disk(snapshot: &Snapshot, cgroup: &Cgroup<'_>) -> Option<DeviceNumber> {
    let carried = match cgroup.what {
        What::Pod(pod) => whole(&pod.figures.cgroup.io.as_ref().ok()?.value.counters)?,
        What::Container(_, read, _) => whole(&read.cgroup.io.as_ref().ok()?.value.counters)?,
        What::Node | What::Sandbox(..) | What::Slice => return None,
    };
    match leaves(disks_now(snapshot, cgroup)?.value)[..] {
        [(disk, counters)] if counters == carried => Some(disk),
        _ => None,
    }
}

/// The same of interfaces.
fn only_interface(snapshot: &Snapshot, cgroup: &Cgroup<'_>) -> Option<String> {
    let carried = whole(&cgroup.pod()?.figures.network.as_ref().ok()?.value.counters)?;
    match &interfaces_now(snapshot, cgroup)?.value.each[..] {
        [(name, counters)] if *counters == carried => Some(name.clone()),
        _ => None,
    }
}

/// A total that has no base of ours: all of it is what the kernel says now.
fn whole<T: PartialEq + Copy>(carried: &Carried<T>) -> Option<T> {
    (carried.total == carried.raw).then_some(carried.raw)
}

/// The frames that a range needs, before the sweep that is shown.
fn frames(shelf: &Shelf, snapshot: &Snapshot, range: Range) -> Vec<Arc<Frame>> {
    // One more than are asked for: a sweep may begin within the range and read a figure after its end.
    let wanted = |count: usize| if count == 0 { 0 } else { count.saturating_add(1) };
    let left = Cell::new(range.count.map(wanted));
    // A figure is read some time after its sweep began.
    let slack = u64::try_from(snapshot.interval.as_nanos()).unwrap_or(u64::MAX);
    let mut frames = shelf.frames(snapshot.tick.saturating_sub(1), |frame| {
        let at = frame.clock.wall.as_unix_nanos();
        if left.get() == Some(0) || range.from.is_some_and(|from| at.saturating_add(slack) < from) {
            return false;
        }
        if range.to.is_none_or(|to| at <= to) {
            left.set(left.get().map(|left| left - 1));
        }
        true
    });
    frames.retain(|frame| range.to.is_none_or(|to| frame.clock.wall.as_unix_nanos() <= to));
    frames
}

/// The samples of each of these cgroups, oldest first, the one of this sweep last. Each frame is gone through
/// once for all of them.
pub(super) struct Past<'a> {
    frames: Vec<Arc<Frame>>,
    snapshot: &'a Snapshot,
    cgroups: &'a [Cgroup<'a>],
    range: Range,
}

impl<'a> Past<'a> {
    pub(super) fn new(
        shelf: &Shelf,
        snapshot: &'a Snapshot,
        cgroups: &'a [Cgroup<'a>],
        range: Range,
    ) -> Self {
        Self { frames: frames(shelf, snapshot, range), snapshot, cgroups, range }
    }

    /// Rows that are going to be read.
    pub(super) fn rows(&self) -> usize {
        (self.frames.len() + 1).saturating_mul(self.cgroups.len())
    }

    /// Of each cgroup, oldest first.
    pub(super) fn samples(&self) -> Vec<Vec<Sample>> {
        let Self { frames, snapshot, cgroups, range } = self;
        let only: Vec<Only> = cgroups.iter().map(|cgroup| Only::of(snapshot, cgroup)).collect();
        let mut samples: Vec<Vec<Sample>> = cgroups.iter().map(|_| Vec::new()).collect();
        let mut places: Option<(&Arc<Roster>, Places)> = None;
        for frame in frames {
            if places.as_ref().is_none_or(|(roster, _)| !Arc::ptr_eq(roster, &frame.roster)) {
                places = Some((&frame.roster, Places::of(cgroups, &frame.roster)));
            }
            let Some((_, places)) = &places else { continue };
            places.read(frame, &only, |at, sample| samples[at].push(sample));
        }
        for (cgroup, samples) in cgroups.iter().zip(&mut samples) {
            samples.extend(Sample::now(snapshot, cgroup));
            samples.retain(|sample| range.has(sample.at.as_unix_nanos()));
            let most = range.count.unwrap_or(usize::MAX);
            samples.drain(..samples.len().saturating_sub(most));
        }
        samples
    }
}

/// What alone makes up the totals of a cgroup.
struct Only {
    disk: Option<DeviceNumber>,
    interface: Option<String>,
}

impl Only {
    fn of(snapshot: &Snapshot, cgroup: &Cgroup<'_>) -> Self {
        Self { disk: only_disk(snapshot, cgroup), interface: only_interface(snapshot, cgroup) }
    }
}

/// Which of a roster's rows are of which cgroup.
struct Places {
    node: Option<usize>,
    /// The pod itself, and the sandbox that has its network.
    pods: Vec<(Option<usize>, Option<usize>)>,
    containers: Vec<Option<usize>>,
}

impl Places {
    fn of(cgroups: &[Cgroup<'_>], roster: &Roster) -> Self {
        let (mut node, mut pods, mut sandboxes, mut containers) =
            (None, HashMap::new(), HashMap::new(), HashMap::new());
        for (at, cgroup) in cgroups.iter().enumerate() {
            match cgroup.what {
                What::Node => node = Some(at),
                What::Pod(pod) => drop(pods.insert(&pod.target.runtime_uid, at)),
                What::Sandbox(pod, _) => drop(sandboxes.insert(&pod.target.runtime_uid, at)),
                What::Container(_, _, child) => drop(containers.insert(&child.container_id, at)),
                What::Slice => {}
            }
        }
        let of_pod = |uid| (pods.get(uid).copied(), sandboxes.get(uid).copied());
        Self {
            node,
            pods: roster.pods.iter().map(|entry| of_pod(&entry.pod.runtime_uid)).collect(),
            containers: roster.containers.iter().map(|it| containers.get(&it.id).copied()).collect(),
        }
    }

    fn read(&self, frame: &Frame, only: &[Only], mut add: impl FnMut(usize, Sample)) {
        let mut found = |at: usize, sample: Option<Sample>| sample.into_iter().for_each(|it| add(at, it));
        if let Some((at, node)) = self.node.and_then(|at| Some((at, frame.node()?))) {
            let CgroupFigures { cpu, memory, .. } = node_cgroup::then(&node);
            found(at, Sample::then(frame.clock, &cpu, &memory, (&node.io, None), None));
        }
        for (row, (pod, sandbox)) in frame.pods().zip(&self.pods) {
            if pod.is_none() && sandbox.is_none() {
                continue;
            }
            let Some(read) = row.pod() else { continue };
            let named = |at: usize| only[at].interface.as_deref().map(|name| (&read.network, name));
            if let Some(at) = *pod {
                let CgroupSample { cpu, memory, io } = &read.cgroup;
                found(at, Sample::then(frame.clock, cpu, memory, (io, only[at].disk), named(at)));
            }
            if let Some(at) = *sandbox {
                let nothing = Unavailable::NotYet;
                let (cpu, memory, io) = (Err(nothing), Err(nothing), Err(nothing));
                found(at, Sample::then(frame.clock, &cpu, &memory, (&io, None), named(at)));
            }
        }
        if self.containers.iter().all(Option::is_none) {
            return;
        }
        for (row, at) in frame.containers().zip(&self.containers) {
            let Some((at, read)) = at.and_then(|at| Some((at, row.container()?))) else { continue };
            let CgroupSample { cpu, memory, io } = &read;
            found(at, Sample::then(frame.clock, cpu, memory, (io, only[at].disk), None));
        }
    }
}
