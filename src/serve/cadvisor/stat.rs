//! One sample in the words of cAdvisor: one description, of which each version shows a part (pure).
//!
//! `github.com/google/cadvisor/info/v1` and `info/v2`. What is not known is left out, never 0.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::time::{microseconds, nanoseconds, rfc3339};
use super::request::Shape;
use super::sample::{Interfaces, Sample};
use super::storage;
use crate::model::counters::{DeviceNumber, IoCounters, MemoryCounters, NetworkCounters, Stall, StallTime};
use crate::model::snapshot::CpuFigures;
use crate::model::sweep::NetworkSource;

/// Paths of devices.
pub(super) type Devices = BTreeMap<DeviceNumber, String>;

/// For whom a sample is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    Of(Shape),
    /// `machinestats`.
    Machine,
}

/// One sample. Of the parts that say whether another is there only v2.0 knows.
#[derive(Debug, Serialize)]
pub(super) struct Stat {
    timestamp: String,
    #[serde(flatten)]
    has: Option<Has>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<Cpu>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_inst: Option<CpuInst>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diskio: Option<DiskIo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Memory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<Network>,
    #[serde(skip_serializing_if = "Option::is_none")]
    processes: Option<Processes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filesystem: Option<Vec<storage::Filesystem>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oom_events: Option<u64>,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "as they stand on the wire")]
struct Has {
    has_cpu: bool,
    has_diskio: bool,
    has_memory: bool,
    has_hugetlb: bool,
    has_network: bool,
    has_processes: bool,
    has_filesystem: bool,
    has_load: bool,
    has_custom_metrics: bool,
}

#[derive(Debug, Serialize)]
struct Cpu {
    usage: CpuUsage,
    #[serde(skip_serializing_if = "Option::is_none")]
    cfs: Option<Cfs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Psi>,
}

/// In nanoseconds.
#[derive(Debug, Serialize)]
struct CpuUsage {
    total: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    per_cpu_usage: Vec<u64>,
}

#[derive(Debug, Serialize)]
struct Cfs {
    periods: u64,
    throttled_periods: u64,
    throttled_time: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bursts_periods: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    burst_time: Option<u64>,
}

#[derive(Debug, Serialize)]
struct CpuInst {
    usage: Nanocores,
}

#[derive(Debug, Serialize)]
struct Nanocores {
    total: u64,
}

#[derive(Debug, Serialize)]
struct DiskIo {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_service_bytes: Vec<Disk>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_serviced: Vec<Disk>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Psi>,
}

#[derive(Debug, Serialize)]
struct Disk {
    device: String,
    major: u32,
    minor: u32,
    stats: Operations,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Operations {
    read: u64,
    write: u64,
}

#[derive(Debug, Serialize)]
struct Memory {
    usage: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_usage: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rss: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    swap: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    working_set: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_inactive_file: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failcnt: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_data: Option<Faults>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hierarchical_data: Option<Faults>,
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<MemoryEvents>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Psi>,
    #[serde(flatten)]
    details: BTreeMap<&'static str, u64>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Faults {
    #[serde(skip_serializing_if = "Option::is_none")]
    pgfault: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pgmajfault: Option<u64>,
}

impl Faults {
    fn new([pgfault, pgmajfault]: [Option<u64>; 2]) -> Option<Self> {
        (pgfault.is_some() || pgmajfault.is_some()).then_some(Self { pgfault, pgmajfault })
    }
}

#[derive(Debug, Serialize)]
struct MemoryEvents {
    #[serde(skip_serializing_if = "Option::is_none")]
    high: Option<u64>,
    max: u64,
}

/// v1 has the first interface twice.
#[derive(Debug, Serialize)]
struct Network {
    #[serde(flatten)]
    first: Option<Interface>,
    interfaces: Vec<Interface>,
}

#[derive(Clone, Debug, Serialize)]
struct Interface {
    name: String,
    rx_bytes: u64,
    rx_packets: u64,
    tx_bytes: u64,
    tx_packets: u64,
    #[serde(flatten)]
    own_side: Option<OwnSide>,
}

/// The two ends of a veth do not count errors and drops alike.
#[derive(Clone, Copy, Debug, Serialize)]
struct OwnSide {
    rx_errors: u64,
    rx_dropped: u64,
    tx_errors: u64,
    tx_dropped: u64,
}

#[derive(Debug, Serialize)]
struct Processes {
    threads_current: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    threads_max: Option<u64>,
}

/// Pressure. The totals are in microseconds.
#[derive(Debug, Serialize)]
struct Psi {
    #[serde(skip_serializing_if = "Option::is_none")]
    full: Option<PsiTime>,
    some: PsiTime,
}

#[derive(Debug, Serialize)]
struct PsiTime {
    total: u64,
    avg10: f64,
    avg60: f64,
    avg300: f64,
}

impl Stat {
    pub(super) fn new(sample: &Sample, devices: &Devices, reader: Reader) -> Self {
        let Sample { at, cpu, memory, disks, network, tasks, pressure, percpu, .. } = sample;
        let Sample { memory_stat, own_faults, file_systems, .. } = sample;
        let v1 = reader == Reader::Of(Shape::V1);
        let diskio = disks.as_deref().map(|disks| DiskIo {
            io_service_bytes: each(disks, devices, |it| (it.read_bytes, it.write_bytes)),
            io_serviced: each(disks, devices, |it| (it.read_operations, it.write_operations)),
            psi: pressure.io.map(psi),
        });
        let processes = tasks.map(|(pids, limit)| Processes {
            threads_current: pids.current,
            // 0 is runc's word for no limit, and so cAdvisor's.
            threads_max: limit.map(Option::unwrap_or_default),
        });
        let has = Has {
            has_cpu: cpu.is_some(),
            has_diskio: disks.is_some(),
            has_memory: memory.is_some(),
            has_hugetlb: false,
            has_network: network.is_some(),
            has_processes: tasks.is_some(),
            has_filesystem: file_systems.is_some(),
            has_load: false,
            has_custom_metrics: false,
        };
        Self {
            timestamp: rfc3339(*at),
            has: (reader == Reader::Of(Shape::V20)).then_some(has),
            cpu: cpu.as_ref().map(|cpu| of_cpu(cpu, percpu, pressure.cpu)),
            cpu_inst: cpu.as_ref().filter(|_| !v1).and_then(nanocores),
            diskio,
            memory: memory
                .as_ref()
                .map(|memory| of_memory(memory, memory_stat, *own_faults, pressure.memory)),
            network: network.as_ref().map(|network| of_network(network, v1)),
            processes: processes.filter(|_| reader != Reader::Machine),
            filesystem: file_systems.as_deref().and_then(|all| storage::of_sample(all, reader)),
            oom_events: memory.and_then(|memory| memory.oom_kills).filter(|_| v1),
        }
    }
}

fn of_cpu(cpu: &CpuFigures, percpu: &[u64], pressure: Option<Stall>) -> Cpu {
    let counters = &cpu.counters;
    let cfs = counters.throttling.ok().map(|it| Cfs {
        periods: it.periods,
        throttled_periods: it.throttled_periods,
        throttled_time: nanoseconds(it.throttled),
        bursts_periods: it.bursts,
        burst_time: it.burst.map(nanoseconds),
    });
    let usage = CpuUsage {
        total: nanoseconds(counters.usage),
        user: counters.user.map(nanoseconds),
        system: counters.system.map(nanoseconds),
        per_cpu_usage: percpu.to_vec(),
    };
    Cpu { usage, cfs, psi: pressure.map(psi) }
}

/// Of the sweep's own rate.
fn nanocores(cpu: &CpuFigures) -> Option<CpuInst> {
    let cores = cpu.cores?.per_second;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let total = (cores * 1e9).round() as u64;
    cores.is_finite().then_some(CpuInst { usage: Nanocores { total } })
}

fn each(
    disks: &[(DeviceNumber, IoCounters)],
    devices: &Devices,
    of: fn(&IoCounters) -> (u64, u64),
) -> Vec<Disk> {
    let disk = |(number, counters): &(DeviceNumber, IoCounters)| {
        let DeviceNumber { major, minor } = *number;
        let (read, write) = of(counters);
        // A disk that is gone has but its number.
        let device = devices.get(number).cloned().unwrap_or_else(|| number.to_string());
        Disk { device, major, minor, stats: Operations { read, write } }
    };
    disks.iter().map(disk).collect()
}

fn of_memory(
    memory: &MemoryCounters,
    details: &BTreeMap<&'static str, u64>,
    own_faults: [Option<u64>; 2],
    pressure: Option<Stall>,
) -> Memory {
    Memory {
        usage: memory.usage_bytes,
        max_usage: memory.peak_bytes,
        cache: memory.file_bytes,
        rss: memory.anon_bytes,
        swap: memory.swap_bytes,
        working_set: memory.working_set_bytes(),
        total_inactive_file: memory.inactive_file_bytes,
        failcnt: memory.limit_hits,
        container_data: Faults::new(own_faults),
        hierarchical_data: Faults::new([memory.page_faults, memory.major_page_faults]),
        events: memory.limit_hits.map(|max| MemoryEvents { high: memory.high_hits, max }),
        psi: pressure.map(psi),
        details: details.clone(),
    }
}

fn of_network(network: &Interfaces, first_inline: bool) -> Network {
    let Interfaces { source, each } = network;
    let interface = |(name, counters): &(String, NetworkCounters)| {
        let NetworkCounters { rx_bytes, rx_packets, rx_errors, rx_dropped, .. } = *counters;
        let NetworkCounters { tx_bytes, tx_packets, tx_errors, tx_dropped, .. } = *counters;
        let own_side = OwnSide { rx_errors, rx_dropped, tx_errors, tx_dropped };
        let own_side = (*source != NetworkSource::HostVeth).then_some(own_side);
        Interface { name: name.clone(), rx_bytes, rx_packets, tx_bytes, tx_packets, own_side }
    };
    let interfaces: Vec<Interface> = each.iter().map(interface).collect();
    Network { first: interfaces.first().filter(|_| first_inline).cloned(), interfaces }
}

fn psi(stall: Stall) -> Psi {
    let time = |time: StallTime| PsiTime {
        total: microseconds(time.total),
        avg10: time.avg10,
        avg60: time.avg60,
        avg300: time.avg300,
    };
    Psi { full: stall.full.map(time), some: time(stall.some) }
}
