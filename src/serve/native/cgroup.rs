//! Figures of one cgroup: CPU, memory, block I/O, tasks and pressure of a pod or a container.

use super::super::time::{microseconds, nanoseconds};
use super::{absent, figure, finite, rows};
use crate::model::counters::{
    DeviceRow, IoCounters, MemoryCounters, PressureCounters, Stall, StallTime, UnknownLimits,
};
use crate::model::document::{self, Reasons};
use crate::model::identity::{Requests, f64Bits};
use crate::model::snapshot::{CgroupFigures, CpuFigures, DeviceNames, IoFigures, IoRates, Rate, Snapshot};
use crate::model::sweep::Stamped;
use crate::model::unavailable::Unavailable;

/// The keys a pod and a container share.
pub(super) struct Figures {
    pub(super) cpu: Option<document::Cpu>,
    pub(super) memory: Option<document::Memory>,
    pub(super) io: Option<document::Io>,
    pub(super) pids: Option<document::Pids>,
    pub(super) pressure: Option<document::Pressure>,
    pub(super) unavailable: Reasons,
}

/// Everything one cgroup gave, and why the rest is absent.
pub(super) fn figures(snapshot: &Snapshot, cgroup: &CgroupFigures, requests: Requests) -> Figures {
    let mut reasons = Reasons::new();
    let CgroupFigures { cpu, memory, io, pids, pressure, limits, details: _ } = cgroup;
    unknown_limits(limits.unknown, [cpu.is_ok(), memory.is_ok(), pids.is_ok()], &mut reasons);
    let wall = |at| snapshot.clock.wall_of(at).as_unix_nanos();
    let cpu = figure(cpu, "cpu", &mut reasons).map(|cpu| document::Cpu {
        limit_cores: limits.cpu_cores.and_then(finite),
        request_cores: requests.cpu_cores.map(f64Bits::get).and_then(finite),
        ..cpu_document(cpu, wall(cpu.at), &mut reasons)
    });
    let memory = figure(memory, "memory", &mut reasons).map(|memory| document::Memory {
        limit_bytes: limits.memory_bytes,
        request_bytes: requests.memory_bytes,
        ..memory_document(memory, wall(memory.at), &mut reasons)
    });
    let io = figure(io, "io", &mut reasons).map(|io| io_document(snapshot, io, wall(io.at), &mut reasons));
    let pids = figure(pids, "pids", &mut reasons)
        .map(|pids| document::Pids { current: pids.value.current, limit: limits.pids });
    let pressure = figure(pressure, "pressure", &mut reasons)
        .map(|pressure| pressure_document(&pressure.value, &mut reasons));
    Figures { cpu, memory, io, pids, pressure, unavailable: reasons }
}

/// Reasons for limits that nobody knows. Of a figure that is absent as a whole the one reason suffices.
fn unknown_limits(unknown: UnknownLimits, [cpu, memory, pids]: [bool; 3], reasons: &mut Reasons) {
    for (path, why, is_there) in [
        ("cpu.limitCores", unknown.cpu_cores, cpu),
        ("memory.limitBytes", unknown.memory_bytes, memory),
        ("pids.limit", unknown.pids, pids),
    ] {
        if let Some(why) = why.filter(|_| is_there) {
            absent(reasons, &[path], why);
        }
    }
}

pub(super) fn cpu_document(
    cpu: &Stamped<CpuFigures>,
    time_unix_nano: u64,
    reasons: &mut Reasons,
) -> document::Cpu {
    let CpuFigures { counters, cores } = &cpu.value;
    let throttling = match &counters.throttling {
        Ok(throttling) => Some(document::Throttling {
            periods: throttling.periods,
            throttled_periods: throttling.throttled_periods,
            throttled_nanoseconds: nanoseconds(throttling.throttled),
        }),
        Err(why) => {
            absent(reasons, &["cpu.throttling"], *why);
            None
        }
    };
    let rate = cores.filter(|rate| rate.per_second.is_finite());
    if rate.is_none() {
        absent(reasons, &["cpu.cores"], Unavailable::NotYet);
    }
    document::Cpu {
        time_unix_nano,
        usage_nanoseconds: nanoseconds(counters.usage),
        user_nanoseconds: counters.user.map(nanoseconds),
        system_nanoseconds: counters.system.map(nanoseconds),
        cores: rate.map(|rate| rate.per_second),
        window_seconds: rate.map(|rate| rate.window.as_secs_f64()),
        limit_cores: None,
        request_cores: None,
        throttling,
        containers_sum: None,
    }
}

pub(super) fn memory_document(
    memory: &Stamped<MemoryCounters>,
    time_unix_nano: u64,
    reasons: &mut Reasons,
) -> document::Memory {
    let value = &memory.value;
    let missing = [
        ("memory.workingSetBytes", value.inactive_file_bytes),
        ("memory.swapBytes", value.swap_bytes),
        ("memory.peakBytes", value.peak_bytes),
        ("memory.oomKills", value.oom_kills),
    ];
    for (path, _) in missing.iter().filter(|(_, value)| value.is_none()) {
        // This kernel, or this cgroup, does not keep the count.
        absent(reasons, &[path], Unavailable::ControllerOff);
    }
    document::Memory {
        time_unix_nano,
        usage_bytes: value.usage_bytes,
        working_set_bytes: value.working_set_bytes(),
        anon_bytes: value.anon_bytes,
        file_bytes: value.file_bytes,
        inactive_file_bytes: value.inactive_file_bytes,
        swap_bytes: value.swap_bytes,
        peak_bytes: value.peak_bytes,
        limit_bytes: None,
        request_bytes: None,
        page_faults: value.page_faults,
        major_page_faults: value.major_page_faults,
        oom_kills: value.oom_kills,
        containers_sum: None,
    }
}

fn io_document(
    snapshot: &Snapshot,
    io: &Stamped<IoFigures>,
    time_unix_nano: u64,
    reasons: &mut Reasons,
) -> document::Io {
    let IoFigures { counters, rates, devices, partly_accounted } = &io.value;
    if *partly_accounted {
        absent(reasons, &["io.devices"], Unavailable::BlkioNotAccounted);
    }
    let IoCounters { read_bytes, write_bytes, read_operations, write_operations } = counters.raw;
    document::Io {
        since_unix_nano: Some(counters.since.as_unix_nanos()),
        raw: Some(document::IoRaw { read_bytes, write_bytes, read_operations, write_operations }),
        ..io_totals(
            snapshot,
            counters.total,
            *rates,
            rows(&snapshot.devices, devices),
            time_unix_nano,
            reasons,
        )
    }
}

/// Totals, rates and devices; the node's disks have no more than these.
pub(super) fn io_totals<'a>(
    snapshot: &Snapshot,
    total: IoCounters,
    rates: Option<Rate<IoRates>>,
    devices: impl Iterator<Item = &'a DeviceRow>,
    time_unix_nano: u64,
    reasons: &mut Reasons,
) -> document::Io {
    let per_second = |of: fn(&IoRates) -> f64| rates.and_then(|rate| finite(of(&rate.per_second)));
    let document = document::Io {
        time_unix_nano,
        since_unix_nano: None,
        raw: None,
        read_bytes: total.read_bytes,
        write_bytes: total.write_bytes,
        read_operations: total.read_operations,
        write_operations: total.write_operations,
        read_bytes_per_second: per_second(|rates| rates.read_bytes),
        write_bytes_per_second: per_second(|rates| rates.write_bytes),
        read_operations_per_second: per_second(|rates| rates.read_operations),
        write_operations_per_second: per_second(|rates| rates.write_operations),
        window_seconds: rates.map(|rate| rate.window.as_secs_f64()),
        devices: devices.map(|row| device(row, &snapshot.device_names)).collect(),
    };
    if rates.is_none() {
        let paths = [
            "io.readBytesPerSecond",
            "io.writeBytesPerSecond",
            "io.readOperationsPerSecond",
            "io.writeOperationsPerSecond",
        ];
        absent(reasons, &paths, Unavailable::NotYet);
    }
    document
}

fn device(row: &DeviceRow, names: &DeviceNames) -> document::Device {
    let DeviceRow { device, stacked, counters } = row;
    document::Device {
        device: names.0.get(device).map(|name| name.to_string()),
        major: device.major,
        minor: device.minor,
        read_bytes: counters.read_bytes,
        write_bytes: counters.write_bytes,
        read_operations: counters.read_operations,
        write_operations: counters.write_operations,
        stacked: *stacked,
    }
}

pub(super) fn pressure_document(pressure: &PressureCounters, reasons: &mut Reasons) -> document::Pressure {
    let PressureCounters { cpu, memory, io } = pressure;
    for (path, stall) in [("pressure.cpu", cpu), ("pressure.memory", memory), ("pressure.io", io)] {
        if stall.is_none() {
            absent(reasons, &[path], Unavailable::KernelWithoutPsi);
        }
    }
    document::Pressure { cpu: cpu.map(stall), memory: memory.map(stall), io: io.map(stall) }
}

fn stall(stall: Stall) -> document::Stall {
    let Stall { some, full } = stall;
    let average = |of: fn(StallTime) -> f64| full.and_then(|full| finite(of(full)));
    document::Stall {
        some_microseconds: microseconds(some.total),
        full_microseconds: full.map(|full| microseconds(full.total)),
        some_avg10: finite(some.avg10).unwrap_or_default(),
        some_avg60: finite(some.avg60),
        some_avg300: finite(some.avg300),
        full_avg10: average(|full| full.avg10),
        full_avg60: average(|full| full.avg60),
        full_avg300: average(|full| full.avg300),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_nobody_knows_is_absent_for_a_reason() {
        let unknown = UnknownLimits {
            cpu_cores: Some(Unavailable::NotYet),
            memory_bytes: Some(Unavailable::Permission),
            pids: Some(Unavailable::NotYet),
            ..UnknownLimits::default()
        };
        let reasons = |unknown, there| {
            let mut reasons = Reasons::new();
            unknown_limits(unknown, there, &mut reasons);
            reasons.into_iter().map(|(path, why)| (path, why.word())).collect::<Vec<_>>()
        };
        let [cpu, memory] = [("cpu.limitCores", "not_yet"), ("memory.limitBytes", "permission")]
            .map(|(path, why)| (path.to_owned(), why));
        assert_eq!(reasons(unknown, [true, true, false]), [cpu, memory]);
        assert_eq!(reasons(UnknownLimits::default(), [true; 3]), []);
    }
}
