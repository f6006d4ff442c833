//! The metrics of heapster's model that one node knows: what each is, and how it is read from a row (pure). Lists,
//! values, the export and its schema are all made of this table.

use super::rows::{Read, Row};
use crate::model::counters::{DeviceRow, IoCounters, MemoryCounters, NetworkCounters};
use crate::model::file_systems::Space;
use crate::model::history::{IoSample, NetworkSample};
use crate::model::identity::f64Bits;
use crate::model::snapshot::{IoRates, NetworkRates};
use crate::model::sweep::{NetworkSource, NodeMemory, NodePaging};
use crate::model::time::Monotonic;

/// One number, as the export has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    /// Heapster's `int64`.
    Whole(u64),
    /// Its `double`.
    Real(f64),
}

impl Number {
    /// As the model has it: whole numbers, whose fraction is lost.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    pub(super) fn whole(self) -> u64 {
        match self {
            Self::Whole(value) => value,
            Self::Real(value) => value as u64,
        }
    }
}

/// A number of a row, and when it was read, if it was read of the kernel.
pub(super) type Value = (Option<Monotonic>, Number);

/// What its number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Grows from a beginning.
    Cumulative,
    /// Is what it is now.
    Gauge,
}

/// One metric.
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    pub(super) kind: Kind,
    /// Heapster's word; nothing for a number of things.
    pub(super) units: &'static str,
    /// Whether its numbers have fractions.
    pub(super) real: bool,
    pub(super) of: fn(&Row<'_>) -> Option<Value>,
    /// Of each disk, with the label `resource_id`; in the last sweep alone.
    pub(super) of_disk: Option<fn(&DeviceRow) -> u64>,
    /// What the number is of, as the label `resource_id` has it: a file system.
    pub(super) resource: Option<&'static str>,
}

const fn metric(
    name: &'static str,
    description: &'static str,
    kind: Kind,
    units: &'static str,
    of: fn(&Row<'_>) -> Option<Value>,
) -> Metric {
    Metric { name, description, kind, units, real: false, of, of_disk: None, resource: None }
}

const fn counter(
    name: &'static str,
    description: &'static str,
    units: &'static str,
    of: fn(&Row<'_>) -> Option<Value>,
) -> Metric {
    metric(name, description, Kind::Cumulative, units, of)
}

const fn gauge(
    name: &'static str,
    description: &'static str,
    units: &'static str,
    of: fn(&Row<'_>) -> Option<Value>,
) -> Metric {
    metric(name, description, Kind::Gauge, units, of)
}

const fn rate(name: &'static str, description: &'static str, of: fn(&Row<'_>) -> Option<Value>) -> Metric {
    Metric { real: true, ..metric(name, description, Kind::Gauge, "", of) }
}

const fn of_disks(metric: Metric, of_disk: fn(&DeviceRow) -> u64) -> Metric {
    Metric { of_disk: Some(of_disk), ..metric }
}

/// The kubelet's file system, which heapster calls `/`, in the last sweep alone.
const fn space(
    name: &'static str,
    description: &'static str,
    units: &'static str,
    of: fn(&Row<'_>) -> Option<Value>,
) -> Metric {
    Metric { resource: Some("/"), ..gauge(name, description, units, of) }
}

/// All of them, in the order of the documents.
pub(super) const METRICS: &[Metric] = &[
    counter("cpu/usage", "CPU time used on all cores", "ns", cpu_usage),
    gauge("cpu/usage_rate", "CPU time used on all cores, per second, in millicores", "millicores", cpu_rate),
    gauge("cpu/limit", "CPU time that may be used, in millicores", "millicores", |row| {
        Some((None, millicores(row.present?.limits?.cpu_cores?)?))
    }),
    gauge("cpu/request", "CPU time set aside, in millicores", "millicores", |row| {
        Some((None, millicores(row.present?.requests.cpu_cores.map(f64Bits::get)?)?))
    }),
    Metric {
        real: true,
        ..gauge("cpu/node_capacity", "CPUs of the node, in millicores", "millicores", |row| {
            let cpu = row.node()?.cpu.as_ref().ok()?;
            Some((Some(cpu.at), Number::Real(f64::from(cpu.value.cores) * 1000.0)))
        })
    },
    gauge("memory/usage", "Memory in use, page cache included", "bytes", |row| {
        memory(row, |it| Some(it.usage_bytes), |it| Some(it.total_bytes.saturating_sub(it.free_bytes)))
    }),
    gauge("memory/working_set", "Memory in use that the kernel does not easily drop", "bytes", |row| {
        memory(row, MemoryCounters::working_set_bytes, NodeMemory::working_set_bytes)
    }),
    gauge("memory/rss", "Anonymous memory", "bytes", |row| {
        paged(row, |it| it.anon_bytes, |it| it.anon_bytes)
    }),
    gauge("memory/cache", "Page cache", "bytes", |row| {
        memory(row, |it| it.file_bytes, |it| Some(it.cached_bytes))
    }),
    gauge("memory/limit", "Memory that may be used", "bytes", |row| {
        Some((None, Number::Whole(row.present?.limits?.memory_bytes?)))
    }),
    gauge("memory/request", "Memory set aside", "bytes", |row| {
        Some((None, Number::Whole(row.present?.requests.memory_bytes?)))
    }),
    counter("memory/page_faults", "Page faults", "", |row| {
        paged(row, |it| it.page_faults, |it| it.page_faults)
    }),
    counter("memory/major_page_faults", "Page faults that had to read from a disk", "", |row| {
        paged(row, |it| it.major_page_faults, |it| it.major_page_faults)
    }),
    Metric {
        real: true,
        ..gauge("memory/node_capacity", "Memory of the node", "bytes", |row| {
            let memory = row.node()?.memory.as_ref().ok()?;
            #[expect(clippy::cast_precision_loss, reason = "exact up to 8 PiB")]
            let bytes = memory.value.total_bytes as f64;
            Some((Some(memory.at), Number::Real(bytes)))
        })
    },
    counter("network/rx", "Bytes received", "bytes", |row| traffic(row, |it| it.rx_bytes)),
    rate("network/rx_rate", "Bytes received per second", |row| traffic_rate(row, |it| it.rx_bytes)),
    counter("network/rx_errors", "Packets received with errors", "", |row| mishaps(row, |it| it.rx_errors)),
    counter("network/tx", "Bytes sent", "bytes", |row| traffic(row, |it| it.tx_bytes)),
    rate("network/tx_rate", "Bytes sent per second", |row| traffic_rate(row, |it| it.tx_bytes)),
    counter("network/tx_errors", "Errors while sending", "", |row| mishaps(row, |it| it.tx_errors)),
    of_disks(
        counter("disk/io_read_bytes", "Bytes read from disks", "bytes", |row| io(row, |it| it.read_bytes)),
        |disk| disk.counters.read_bytes,
    ),
    rate("disk/io_read_bytes_rate", "Bytes read from disks per second", |row| {
        io_rate(row, |it| it.read_bytes)
    }),
    of_disks(
        counter("disk/io_write_bytes", "Bytes written to disks", "bytes", |row| io(row, |it| it.write_bytes)),
        |disk| disk.counters.write_bytes,
    ),
    rate("disk/io_write_bytes_rate", "Bytes written to disks per second", |row| {
        io_rate(row, |it| it.write_bytes)
    }),
    space("filesystem/usage", "Bytes taken of the node's file system", "bytes", |row| {
        of_space(row, |it| Some(it.used_bytes()))
    }),
    space("filesystem/limit", "All bytes of it", "bytes", |row| of_space(row, |it| Some(it.capacity_bytes))),
    space("filesystem/available", "Bytes that are left of it", "bytes", |row| {
        of_space(row, |it| Some(it.available_bytes))
    }),
    space("filesystem/inodes", "All inodes of it", "", |row| of_space(row, |it| Some(it.inodes?.total))),
    space("filesystem/inodes_free", "Inodes that are left of it", "", |row| {
        of_space(row, |it| Some(it.inodes?.free))
    }),
    counter("uptime", "Milliseconds since the start", "ms", |row| {
        let running = row.clock.wall.as_unix_nanos().checked_sub(row.started?.as_unix_nanos())?;
        Some((None, Number::Whole(running / 1_000_000)))
    }),
    gauge("restart_count", "Instances of the container before this one", "", |row| {
        Some((None, Number::Whole(u64::from(row.restarts?))))
    }),
];

/// The metric of this name.
pub(super) fn find(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

fn cpu_usage(row: &Row<'_>) -> Option<Value> {
    let (at, usage) = match &row.read {
        Read::Node(node) => node.cpu.as_ref().ok().map(|cpu| (cpu.at, cpu.value.usage))?,
        _ => row.cgroup()?.cpu.as_ref().ok().map(|cpu| (cpu.at, cpu.value.counters.usage))?,
    };
    Some((Some(at), Number::Whole(u64::try_from(usage.as_nanos()).ok()?)))
}

fn cpu_rate(row: &Row<'_>) -> Option<Value> {
    let (at, cores) = match &row.read {
        Read::Node(node) => (node.cpu.as_ref().ok()?.at, node.cores?),
        _ => row.cgroup()?.cpu.as_ref().ok().and_then(|cpu| Some((cpu.at, cpu.value.cores?)))?,
    };
    Some((Some(at), millicores(cores.per_second)?))
}

/// Whole ones; a thousandth of one is more than the rounding of a float.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "finite and not negative")]
fn millicores(cores: f64) -> Option<Number> {
    let micro = (cores * 1e6).round();
    (micro.is_finite() && micro >= 0.0).then_some(Number::Whole(micro as u64 / 1000))
}

fn memory(
    row: &Row<'_>,
    of: fn(&MemoryCounters) -> Option<u64>,
    of_node: fn(&NodeMemory) -> Option<u64>,
) -> Option<Value> {
    let (at, bytes) = match &row.read {
        Read::Node(node) => node.memory.as_ref().ok().map(|memory| (memory.at, of_node(&memory.value)))?,
        _ => row.cgroup()?.memory.as_ref().ok().map(|memory| (memory.at, of(&memory.value)))?,
    };
    Some((Some(at), Number::Whole(bytes?)))
}

/// The node's are another file's, of the last sweep alone.
fn paged(
    row: &Row<'_>,
    of: fn(&MemoryCounters) -> Option<u64>,
    of_node: fn(&NodePaging) -> u64,
) -> Option<Value> {
    match row.present.and_then(|present| present.paging) {
        Some(paging) => Some((None, Number::Whole(of_node(&paging)))),
        None => memory(row, of, |_| None),
    }
}

fn network<T>(row: &Row<'_>, of: impl FnOnce(&NetworkSample) -> Option<T>) -> Option<(Option<Monotonic>, T)> {
    let network = row.network()?.as_ref().ok()?;
    Some((Some(network.at), of(&network.value)?))
}

fn traffic(row: &Row<'_>, of: fn(&NetworkCounters) -> u64) -> Option<Value> {
    network(row, |network| Some(Number::Whole(of(&network.counters))))
}

/// The two ends of a veth do not count errors alike: seen from the host they are unknown.
fn mishaps(row: &Row<'_>, of: fn(&NetworkCounters) -> u64) -> Option<Value> {
    network(row, |network| {
        (network.source != NetworkSource::HostVeth).then(|| Number::Whole(of(&network.counters)))
    })
}

fn traffic_rate(row: &Row<'_>, of: fn(&NetworkRates) -> f64) -> Option<Value> {
    network(row, |network| real(of(&network.rates?.per_second)))
}

fn block_io(row: &Row<'_>, of: impl FnOnce(&IoSample) -> Option<Number>) -> Option<Value> {
    let io = row.io().as_ref().ok()?;
    Some((Some(io.at), of(&io.value)?))
}

fn io(row: &Row<'_>, of: fn(&IoCounters) -> u64) -> Option<Value> {
    block_io(row, |io| Some(Number::Whole(of(&io.counters))))
}

fn io_rate(row: &Row<'_>, of: fn(&IoRates) -> f64) -> Option<Value> {
    block_io(row, |io| real(of(&io.rates?.per_second)))
}

fn of_space(row: &Row<'_>, of: fn(&Space) -> Option<u64>) -> Option<Value> {
    let read = row.present?.kubelet_space?;
    Some((Some(read.at), Number::Whole(of(&read.value)?)))
}

/// A number, if it is one.
fn real(value: f64) -> Option<Number> {
    value.is_finite().then_some(Number::Real(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_metric() {
        for metric in METRICS {
            assert_eq!(
                METRICS.iter().filter(|other| other.name == metric.name).count(),
                1,
                "{}",
                metric.name
            );
            assert!(find(metric.name).is_some_and(|found| found.description == metric.description));
        }
        assert!(find("cpu").is_none() && find("").is_none());
    }

    #[test]
    fn fractions_are_lost_and_floats_do_not_lose_a_whole_one() {
        assert_eq!(millicores(0.375), Some(Number::Whole(375)));
        assert_eq!(millicores(0.29), Some(Number::Whole(290)));
        assert_eq!(millicores(0.000_999), Some(Number::Whole(0)));
        assert_eq!([f64::NAN, f64::INFINITY, -1.0].map(millicores), [None; 3]);
        assert_eq!(Number::Real(750.9).whole(), 750);
        assert_eq!(Number::Whole(u64::MAX).whole(), u64::MAX);
    }
}
