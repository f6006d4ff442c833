//! Rows, and where a number of a row stands.

use std::time::Duration;

use super::super::exposition::Value;
use super::super::memory_stat::Keys;
use super::super::native::pods::NamedPod;
use crate::model::counters::{
    IoCounters, MemoryCounters, NetworkCounters, PressureCounters, ThrottlingCounters,
};
use crate::model::identity::KnownContainer;
use crate::model::snapshot::{CgroupFigures, CpuFigures, Snapshot};
use crate::model::sweep::{NetworkSource, Reading};
use crate::model::target::ContainerTarget;
use crate::model::time::{Monotonic, WallTime};

/// What one set of labels stands for.
pub(super) struct Row<'a> {
    pub(super) pod: Option<NamedPod<'a>>,
    /// `None`: the pod itself, or the node.
    pub(super) container: Option<&'a ContainerTarget>,
    pub(super) cgroup: &'a CgroupFigures,
    pub(super) snapshot: &'a Snapshot,
}

/// The reading of a row that a number stands in. What is absent there has no series.
pub(super) enum Of {
    /// CPU time and what became of it.
    Cpu(fn(&CpuFigures) -> Option<Value>),
    /// Bandwidth control, whether there is a quota or not.
    Throttling(fn(&ThrottlingCounters) -> Value),
    /// The same, where there is one: elsewhere it counts nothing.
    Quota(fn(&ThrottlingCounters) -> Option<Value>),
    /// Memory.
    Memory(fn(&MemoryCounters) -> Option<u64>),
    /// A number of `memory.stat` that has one of these names.
    MemoryStat(Keys),
    /// Disks: the carried counters, which have a beginning of ours.
    Io(fn(&IoCounters) -> u64),
    /// Processes and threads.
    Pids,
    /// Time in which tasks waited.
    Pressure(fn(&PressureCounters) -> Option<Duration>),
    /// The carried counters of a pod's network.
    Traffic(fn(&NetworkCounters) -> u64),
    /// The same of what went wrong. The two ends of a veth drop at different places: seen from the host, it is
    /// unknown.
    Mishaps(fn(&NetworkCounters) -> u64),
    /// When the last of its figures was read.
    LastSeen,
    /// None: what is known of the row.
    Known(fn(&Row<'_>) -> Option<Value>),
}

impl Of {
    /// The numbers of some rows. Short loops, without a line of text between two numbers: so a processor can wait
    /// for several of them at once.
    pub(super) fn fetch<T>(&self, rows: &[(T, Row<'_>)], numbers: &mut [Option<Value>]) {
        match self {
            Self::Cpu(of) => each(rows, numbers, |row| of(told(&row.cgroup.cpu)?)),
            Self::Throttling(of) => each(rows, numbers, |row| row.throttling().map(of)),
            Self::Quota(of) => {
                each(rows, numbers, |row| row.cgroup.limits.cpu_quota.and_then(|_| of(row.throttling()?)))
            }
            Self::Memory(of) => {
                each(rows, numbers, |row| of(told(&row.cgroup.memory)?).map(Value::Integer));
            }
            Self::MemoryStat(keys) => {
                let place = rows.first().and_then(|(_, row)| row.snapshot.details.memory_place(keys));
                each(rows, numbers, |row| {
                    row.snapshot
                        .details
                        .memory_at(&row.cgroup.details.memory_stat, place?)
                        .map(Value::Integer)
                });
            }
            Self::Io(of) => each(rows, numbers, |row| {
                let io = told(&row.cgroup.io)?;
                Some(Value::Integer(of(&io.counters.total)))
            }),
            Self::Pids => each(rows, numbers, |row| Some(Value::Integer(told(&row.cgroup.pids)?.current))),
            Self::Pressure(of) => {
                each(rows, numbers, |row| of(told(&row.cgroup.pressure)?).map(Value::seconds));
            }
            Self::Traffic(of) => each(rows, numbers, |row| {
                let network = told(&row.pod?.figures.network)?;
                Some(Value::Integer(of(&network.counters.total)))
            }),
            Self::Mishaps(of) => each(rows, numbers, |row| {
                let network = told(&row.pod?.figures.network)?;
                let seen = network.source != NetworkSource::HostVeth;
                seen.then(|| Value::Integer(of(&network.counters.total)))
            }),
            Self::LastSeen => each(rows, numbers, |row| {
                Some(Value::instant(row.snapshot.clock.wall_of(row.cgroup.instants().max()?)))
            }),
            Self::Known(of) => each(rows, numbers, of),
        }
    }

    /// When the number was read; what belongs to no reading has no time.
    pub(super) fn at(&self, row: &Row<'_>) -> Option<Monotonic> {
        let cgroup = row.cgroup;
        match self {
            Self::Cpu(_) | Self::Throttling(_) | Self::Quota(_) => when(&cgroup.cpu),
            Self::Memory(_) | Self::MemoryStat(_) => when(&cgroup.memory),
            Self::Io(_) => when(&cgroup.io),
            Self::Pids => when(&cgroup.pids),
            Self::Pressure(_) => when(&cgroup.pressure),
            Self::Traffic(_) | Self::Mishaps(_) => when(&row.pod?.figures.network),
            Self::LastSeen => cgroup.instants().max(),
            Self::Known(_) => None,
        }
    }

    /// Whether it may say since when it counts.
    pub(super) fn has_beginning(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Traffic(_) | Self::Mishaps(_))
    }

    /// Since when it counts, where that is not the life of the cgroup.
    pub(super) fn created(&self, row: &Row<'_>) -> Option<WallTime> {
        match self {
            Self::Io(_) => Some(told(&row.cgroup.io)?.counters.since),
            Self::Traffic(_) | Self::Mishaps(_) => Some(told(&row.pod?.figures.network)?.counters.since),
            _ => None,
        }
    }
}

#[inline]
fn each<'r, 'a: 'r, T: 'r>(
    rows: &'r [(T, Row<'a>)],
    numbers: &mut [Option<Value>],
    of: impl Fn(&'r Row<'a>) -> Option<Value>,
) {
    for ((_, row), number) in rows.iter().zip(numbers) {
        *number = of(row);
    }
}

#[inline]
fn told<T>(reading: &Reading<T>) -> Option<&T> {
    reading.as_ref().ok().map(|stamped| &stamped.value)
}

fn when<T>(reading: &Reading<T>) -> Option<Monotonic> {
    reading.as_ref().ok().map(|stamped| stamped.at)
}

impl<'a> Row<'a> {
    #[inline]
    fn throttling(&self) -> Option<&'a ThrottlingCounters> {
        told(&self.cgroup.cpu)?.counters.throttling.as_ref().ok()
    }

    /// Until it is settled which child is the sandbox, none is surely the container it seems to be.
    pub(super) fn known(&self) -> Option<&'a KnownContainer> {
        let settled = self.pod.is_some_and(|pod| pod.target.sandbox_settled);
        self.container?.known.as_deref().filter(|_| settled)
    }

    fn booted_at(&self) -> Option<Value> {
        self.snapshot.node.booted_at.map(Value::instant)
    }

    /// When it started: never a value that changes while nothing happens.
    pub(super) fn started_at(&self) -> Option<Value> {
        let Some(NamedPod { target, .. }) = self.pod else { return self.booted_at() };
        let (told, seen) = match self.container {
            Some(container) => (self.known().and_then(|known| known.started_at), container.cgroup.since),
            None => (target.known.as_deref().and_then(|known| known.start_time), target.cgroup.since),
        };
        Some(Value::instant(told.unwrap_or(seen)))
    }

    /// When its directory was first seen.
    pub(super) fn first_seen(&self) -> Option<Value> {
        let Some(NamedPod { target, .. }) = self.pod else { return self.booted_at() };
        Some(Value::instant(self.container.map_or(target.cgroup.since, |child| child.cgroup.since)))
    }
}
