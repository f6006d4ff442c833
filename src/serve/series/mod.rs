//! `/metrics/cadvisor` and `/metrics/pods`: a snapshot as families of series.
//!
//! A table says which families there are and, of each, which number of a row stands in it. Rows are pods,
//! containers and the node; their labels are made ready once. What is absent in the snapshot is absent here.

pub(super) mod cadvisor;
mod cadvisor_table;
pub(super) mod pods;
mod pods_table;
mod unavailable;

use std::collections::BTreeMap;

use super::exposition::{
    Extra, Family, Form, Kind, Labels, Place, ProtobufWriter, Sample, Shelf, TextWriter, Value, Writer,
};
use super::native::pods::NamedPod;
use crate::model::counters::{
    DeviceNumber, DeviceRow, IoCounters, MemoryCounters, NetworkCounters, PressureCounters, Stall, StallTime,
    ThrottlingCounters,
};
use crate::model::identity::KnownContainer;
use crate::model::snapshot::{CgroupFigures, CpuFigures, Snapshot};
use crate::model::sweep::{NetworkSource, Stamped};
use crate::model::target::ContainerTarget;
use crate::model::time::{Monotonic, WallTime};

/// A document that can be written in each form.
trait Document {
    /// How long it most likely is. Memory that is not written to costs nothing.
    fn length(&self) -> usize;

    /// All of it.
    fn write<W: Writer>(&self, writer: W) -> Vec<u8>;
}

/// Writes it on `memory`, or what there is of that.
fn render(document: &impl Document, form: Form, mut memory: Vec<u8>) -> Vec<u8> {
    if memory.capacity() == 0 {
        memory.reserve(document.length());
    }
    match form {
        Form::Text => document.write(TextWriter::new(false, memory)),
        Form::OpenMetrics => document.write(TextWriter::new(true, memory)),
        Form::Protobuf => document.write(ProtobufWriter::new(memory)),
    }
}

/// What one set of labels stands for.
struct Row<'a> {
    pod: Option<NamedPod<'a>>,
    /// `None`: the pod itself, or the node.
    container: Option<&'a ContainerTarget>,
    cgroup: &'a CgroupFigures,
    snapshot: &'a Snapshot,
    /// Disks to show one by one.
    devices: &'a [DeviceRow],
    network: Option<Network>,
}

/// Traffic, one interface after the other.
struct Network {
    interfaces: Vec<(String, NetworkCounters)>,
    source: NetworkSource,
    at: Monotonic,
}

/// One number of a row.
struct Read {
    value: Value,
    at: Option<Monotonic>,
    created: Option<WallTime>,
}

impl Read {
    /// A number that belongs to no read of the kernel.
    fn plain(value: Value) -> Self {
        Self { value, at: None, created: None }
    }
}

type Of = fn(&Row<'_>) -> Option<Read>;

/// A family and its numbers.
struct Series {
    family: Family,
    parts: &'static [Part],
}

/// One of the numbers that a row has in a family.
struct Part {
    extra: &'static [Extra<'static>],
    /// Only in the full profile.
    full: bool,
    of: Of,
}

const fn series(kind: Kind, name: &'static str, help: &'static str, parts: &'static [Part]) -> Series {
    Series { family: Family::new(kind, name, help), parts }
}

const fn lean(of: Of) -> Part {
    Part { extra: &[], full: false, of }
}

const fn full(of: Of) -> Part {
    Part { extra: &[], full: true, of }
}

/// Writes samples with or without their times.
struct Scribe<'a, W> {
    writer: W,
    snapshot: &'a Snapshot,
    timestamps: bool,
    full: bool,
}

impl<W: Writer> Scribe<'_, W> {
    fn series(&mut self, table: &[Series], shelf: &Shelf, rows: &[(Place, Row<'_>)]) {
        let (everything, mut labels) = (self.full, Vec::new());
        for Series { family, parts } in table {
            self.writer.family(family);
            for (place, row) in rows {
                for part in parts.iter().filter(|part| everything || !part.full) {
                    if let Some(read) = (part.of)(row) {
                        self.sample(shelf.with(*place, part.extra, &mut labels), &read);
                    }
                }
            }
        }
    }

    #[inline]
    fn sample(&mut self, labels: Labels<'_>, read: &Read) {
        let at = read.at.filter(|_| self.timestamps).map(|at| self.snapshot.clock.wall_of(at));
        self.writer.sample(labels, Sample { value: &read.value, at, created: read.created });
    }
}

fn read<T>(stamped: &Stamped<T>, value: impl FnOnce(&T) -> Option<Value>) -> Option<Read> {
    Some(Read { value: value(&stamped.value)?, at: Some(stamped.at), created: None })
}

impl<'a> Row<'a> {
    fn cpu(&self, value: impl FnOnce(&CpuFigures) -> Option<Value>) -> Option<Read> {
        read(self.cgroup.cpu.as_ref().ok()?, value)
    }

    fn throttling(&self, value: impl FnOnce(ThrottlingCounters) -> Value) -> Option<Read> {
        self.cpu(|cpu| cpu.counters.throttling.ok().map(value))
    }

    fn memory(&self, value: impl FnOnce(&MemoryCounters) -> Option<u64>) -> Option<Read> {
        read(self.cgroup.memory.as_ref().ok()?, |memory| value(memory).map(Value::Integer))
    }

    /// The carried counters, which have a beginning of ours.
    fn io(&self, value: impl FnOnce(IoCounters) -> u64) -> Option<Read> {
        let io = self.cgroup.io.as_ref().ok()?;
        let counters = &io.value.counters;
        let value = Value::Integer(value(counters.total));
        Some(Read { value, at: Some(io.at), created: Some(counters.since) })
    }

    fn stall(
        &self,
        of: impl FnOnce(&PressureCounters) -> Option<Stall>,
        value: impl FnOnce(Stall) -> Option<StallTime>,
    ) -> Option<Read> {
        let pressure = self.cgroup.pressure.as_ref().ok()?;
        read(pressure, |pressure| of(pressure).and_then(value).map(|stall| Value::Seconds(stall.total)))
    }

    /// The carried counters of a pod.
    fn traffic(&self, value: impl FnOnce(NetworkCounters) -> u64) -> Option<Read> {
        let network = self.pod?.figures.network.as_ref().ok()?;
        let counters = &network.value.counters;
        let value = Value::Integer(value(counters.total));
        Some(Read { value, at: Some(network.at), created: Some(counters.since) })
    }

    /// The two ends of a veth drop at different places: seen from the host, errors and drops are unknown.
    fn mishaps(&self, value: impl FnOnce(NetworkCounters) -> u64) -> Option<Read> {
        let network = self.pod?.figures.network.as_ref().ok()?;
        (network.value.source != NetworkSource::HostVeth).then(|| self.traffic(value))?
    }

    /// Until it is settled which child is the sandbox, none is surely the container it seems to be.
    fn known(&self) -> Option<&'a KnownContainer> {
        let settled = self.pod.is_some_and(|pod| pod.target.sandbox_settled);
        self.container?.known.as_deref().filter(|_| settled)
    }

    fn booted_at(&self) -> Option<Value> {
        self.snapshot.node.booted_at.map(Value::instant)
    }

    /// When it started: never a value that changes while nothing happens.
    fn started_at(&self) -> Option<Value> {
        let Some(NamedPod { target, .. }) = self.pod else { return self.booted_at() };
        let (told, seen) = match self.container {
            Some(container) => (self.known().and_then(|known| known.started_at), container.cgroup.since),
            None => (target.known.as_deref().and_then(|known| known.start_time), target.cgroup.since),
        };
        Some(Value::instant(told.unwrap_or(seen)))
    }

    /// When its directory was first seen.
    fn first_seen(&self) -> Option<Value> {
        let Some(NamedPod { target, .. }) = self.pod else { return self.booted_at() };
        Some(Value::instant(self.container.map_or(target.cgroup.since, |child| child.cgroup.since)))
    }
}

/// `/dev/<name>` of each disk that has a name: the kernel writes `!` for a `/` within one.
pub(super) fn device_paths(snapshot: &Snapshot) -> BTreeMap<DeviceNumber, String> {
    let path = |name: &str| format!("/dev/{}", name.replace('!', "/"));
    snapshot.device_names.0.iter().map(|(number, name)| (*number, path(name))).collect()
}

/// Processes and threads.
fn pids(row: &Row<'_>) -> Option<Read> {
    read(row.cgroup.pids.as_ref().ok()?, |pids| Some(Value::Integer(pids.current)))
}

/// A number, if it is one: limits and requests come from files and quantities of others.
fn finite(value: f64) -> Option<Value> {
    value.is_finite().then_some(Value::Float(value))
}
