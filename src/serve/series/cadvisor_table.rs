//! The families of `/metrics/cadvisor`, named and explained as cAdvisor does.
//!
//! The lean profile is what kubernetes-mixin, kube-prometheus and Datadog read. A limit of 0 is none.

use std::time::Duration;

use super::super::exposition::{Family, Kind, Value};
use super::super::memory_stat;
use super::super::time::microseconds;
use super::row::{Of, Row};
use super::{Part, Series, full, lean, series};
use crate::model::counters::{CpuQuota, IoCounters, NetworkCounters};

const COUNTER: Kind = Kind::Counter;
const GAUGE: Kind = Kind::Gauge;

const fn failures(extra: &'static [(&'static str, &'static str)], full: bool, of: Of) -> Part {
    Part { extra, full, of }
}

const OWN_FAULTS: Of = Of::MemoryStat(memory_stat::OWN_PAGE_FAULTS);
const OWN_MAJOR_FAULTS: Of = Of::MemoryStat(memory_stat::OWN_MAJOR_PAGE_FAULTS);
const PAGE_FAULTS: Of = Of::Memory(|it| it.page_faults);
const MAJOR_PAGE_FAULTS: Of = Of::Memory(|it| it.major_page_faults);

/// One number, or two, of each cgroup.
pub(super) const PER_CGROUP: &[Series] = &[
    series(
        GAUGE,
        "container_last_seen",
        "Last time a container was seen by the exporter",
        &[lean(Of::LastSeen)],
    ),
    series(
        GAUGE,
        "container_start_time_seconds",
        "Start time of the container since unix epoch in seconds.",
        &[lean(Of::Known(|row| row.started_at()))],
    ),
    series(
        GAUGE,
        "container_creation_time_seconds",
        "When the cgroup was first seen, since unix epoch in seconds.",
        &[full(Of::Known(|row| row.first_seen()))],
    ),
    series(
        COUNTER,
        "container_cpu_usage_seconds_total",
        "Cumulative cpu time consumed in seconds.",
        &[Part {
            extra: &[("cpu", "total")],
            full: false,
            of: Of::Cpu(|cpu| Some(Value::seconds(cpu.counters.usage))),
        }],
    ),
    series(
        COUNTER,
        "container_cpu_user_seconds_total",
        "Cumulative user cpu time consumed in seconds.",
        &[lean(Of::Cpu(|cpu| cpu.counters.user.map(Value::seconds)))],
    ),
    series(
        COUNTER,
        "container_cpu_system_seconds_total",
        "Cumulative system cpu time consumed in seconds.",
        &[lean(Of::Cpu(|cpu| cpu.counters.system.map(Value::seconds)))],
    ),
    series(
        COUNTER,
        "container_cpu_cfs_periods_total",
        "Number of elapsed enforcement period intervals.",
        &[lean(Of::Quota(|it| Some(Value::Integer(it.periods))))],
    ),
    series(
        COUNTER,
        "container_cpu_cfs_throttled_periods_total",
        "Number of throttled period intervals.",
        &[lean(Of::Quota(|it| Some(Value::Integer(it.throttled_periods))))],
    ),
    series(
        COUNTER,
        "container_cpu_cfs_throttled_seconds_total",
        "Total time duration the container has been throttled.",
        &[lean(Of::Quota(|it| Some(Value::seconds(it.throttled))))],
    ),
    series(
        COUNTER,
        "container_cpu_cfs_burst_periods_total",
        "Number of periods when burst occurs.",
        &[full(Of::Quota(|it| it.bursts.map(Value::Integer)))],
    ),
    series(
        COUNTER,
        "container_cpu_cfs_burst_seconds_total",
        "Total time duration the container has been bursted.",
        &[full(Of::Quota(|it| it.burst.map(Value::seconds)))],
    ),
    series(
        GAUGE,
        "container_memory_usage_bytes",
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        &[lean(Of::Memory(|it| Some(it.usage_bytes)))],
    ),
    series(
        GAUGE,
        "container_memory_working_set_bytes",
        "Current working set in bytes.",
        &[lean(Of::Memory(|it| it.working_set_bytes()))],
    ),
    series(GAUGE, "container_memory_rss", "Size of RSS in bytes.", &[lean(Of::Memory(|it| it.anon_bytes))]),
    series(
        GAUGE,
        "container_memory_cache",
        "Number of bytes of page cache memory.",
        &[lean(Of::Memory(|it| it.file_bytes))],
    ),
    series(
        GAUGE,
        "container_memory_swap",
        "Container swap usage in bytes.",
        &[lean(Of::Memory(|it| it.swap_bytes))],
    ),
    series(
        GAUGE,
        "container_memory_max_usage_bytes",
        "Maximum memory usage recorded in bytes",
        &[lean(Of::Memory(|it| it.peak_bytes))],
    ),
    series(
        GAUGE,
        "container_memory_total_inactive_file_bytes",
        "Current inactive file in bytes.",
        &[full(Of::Memory(|it| it.inactive_file_bytes))],
    ),
    series(
        GAUGE,
        "container_memory_mapped_file",
        "Size of memory mapped files in bytes.",
        &[full(Of::MemoryStat(memory_stat::MAPPED_FILE))],
    ),
    series(
        GAUGE,
        "container_memory_total_active_file_bytes",
        "Current total active file in bytes.",
        &[full(Of::MemoryStat(memory_stat::ACTIVE_FILE))],
    ),
    series(
        GAUGE,
        "container_memory_file_dirty_bytes",
        "Number of bytes of file cache that has been modified but not yet written back to disk.",
        &[full(Of::MemoryStat(memory_stat::DIRTY))],
    ),
    series(
        GAUGE,
        "container_memory_file_writeback_bytes",
        "Number of bytes of file cache that is currently being written back to disk.",
        &[full(Of::MemoryStat(memory_stat::WRITEBACK))],
    ),
    series(
        GAUGE,
        "container_memory_kernel_usage",
        "Size of kernel memory allocated in bytes.",
        &[full(Of::MemoryStat(memory_stat::KERNEL))],
    ),
    series(
        COUNTER,
        "container_memory_pgscan_total",
        "Cumulative number of pages scanned by the page reclaim algorithm.",
        &[full(Of::MemoryStat(memory_stat::PAGES_SCANNED))],
    ),
    series(
        COUNTER,
        "container_memory_pgsteal_total",
        "Cumulative number of pages reclaimed by the page reclaim algorithm.",
        &[full(Of::MemoryStat(memory_stat::PAGES_STOLEN))],
    ),
    series(
        COUNTER,
        "container_memory_workingset_refault_file_total",
        "Cumulative number of refaults of previously evicted file pages.",
        &[full(Of::MemoryStat(memory_stat::REFAULTS_OF_FILE))],
    ),
    series(
        COUNTER,
        "container_memory_workingset_refault_anon_total",
        "Cumulative number of refaults of previously evicted anonymous pages.",
        &[full(Of::MemoryStat(memory_stat::REFAULTS_OF_ANON))],
    ),
    series(
        COUNTER,
        "container_memory_failcnt",
        "Number of memory usage hits limits",
        &[lean(Of::Memory(|it| it.limit_hits))],
    ),
    series(
        COUNTER,
        "container_memory_events_high_total",
        "Cumulative count of memory.high throttle events for the container",
        &[full(Of::Memory(|it| it.high_hits))],
    ),
    series(
        COUNTER,
        "container_memory_events_max_total",
        "Number of times memory usage was about to go over the limit",
        &[full(Of::Memory(|it| it.limit_hits))],
    ),
    series(
        COUNTER,
        "container_memory_failures_total",
        "Cumulative count of memory allocation failures.",
        &[
            failures(&[("failure_type", "pgfault"), ("scope", "container")], false, OWN_FAULTS),
            failures(&[("failure_type", "pgfault"), ("scope", "hierarchy")], true, PAGE_FAULTS),
            failures(&[("failure_type", "pgmajfault"), ("scope", "container")], false, OWN_MAJOR_FAULTS),
            failures(&[("failure_type", "pgmajfault"), ("scope", "hierarchy")], true, MAJOR_PAGE_FAULTS),
        ],
    ),
    series(
        COUNTER,
        "container_oom_events_total",
        "Count of out of memory events observed for the container",
        &[lean(Of::Memory(|it| it.oom_kills))],
    ),
    series(
        COUNTER,
        "container_pressure_cpu_waiting_seconds_total",
        "Total time duration tasks in the container have waited due to CPU congestion.",
        &[lean(Of::Pressure(|it| Some(it.cpu?.some.total)))],
    ),
    series(
        COUNTER,
        "container_pressure_cpu_stalled_seconds_total",
        "Total time duration no tasks in the container could make progress due to CPU congestion.",
        &[lean(Of::Pressure(|it| Some(it.cpu?.full?.total)))],
    ),
    series(
        COUNTER,
        "container_pressure_memory_waiting_seconds_total",
        "Total time duration tasks in the container have waited due to memory congestion.",
        &[lean(Of::Pressure(|it| Some(it.memory?.some.total)))],
    ),
    series(
        COUNTER,
        "container_pressure_memory_stalled_seconds_total",
        "Total time duration no tasks in the container could make progress due to memory congestion.",
        &[lean(Of::Pressure(|it| Some(it.memory?.full?.total)))],
    ),
    series(
        COUNTER,
        "container_pressure_io_waiting_seconds_total",
        "Total time duration tasks in the container have waited due to IO congestion.",
        &[lean(Of::Pressure(|it| Some(it.io?.some.total)))],
    ),
    series(
        COUNTER,
        "container_pressure_io_stalled_seconds_total",
        "Total time duration no tasks in the container could make progress due to IO congestion.",
        &[lean(Of::Pressure(|it| Some(it.io?.full?.total)))],
    ),
    series(GAUGE, "container_processes", "Number of tasks running inside the container.", &[lean(Of::Pids)]),
    series(GAUGE, "container_threads", "Number of threads running inside the container", &[full(Of::Pids)]),
    series(
        GAUGE,
        "container_threads_max",
        "Maximum number of threads allowed inside the container, 0 if unlimited",
        &[full(Of::Known(|row| limit(row.cgroup.limits.pids, row.cgroup.limits.unknown.pids.is_none())))],
    ),
    series(
        GAUGE,
        "container_spec_cpu_period",
        "CPU period of the container.",
        &[lean(Of::Known(|row| quota(row, |quota| quota.period)))],
    ),
    series(
        GAUGE,
        "container_spec_cpu_quota",
        "CPU quota of the container.",
        &[lean(Of::Known(|row| quota(row, |quota| quota.quota)))],
    ),
    series(
        GAUGE,
        "container_spec_cpu_shares",
        "CPU share of the container.",
        &[full(Of::Known(|row| row.cgroup.limits.cpu_shares.map(Value::Integer)))],
    ),
    series(
        GAUGE,
        "container_spec_memory_limit_bytes",
        "Memory limit for the container, 0 if unlimited.",
        &[lean(Of::Known(|row| {
            let limits = &row.cgroup.limits;
            limit(limits.memory_bytes, limits.unknown.memory_bytes.is_none())
        }))],
    ),
    series(
        GAUGE,
        "container_spec_memory_reservation_limit_bytes",
        "Memory reservation limit for the container.",
        &[full(Of::Known(|row| {
            let limits = &row.cgroup.limits;
            limit(limits.reservation_bytes, limits.unknown.reservation_bytes.is_none())
        }))],
    ),
    series(
        GAUGE,
        "container_spec_memory_swap_limit_bytes",
        "Memory swap limit for the container.",
        &[full(Of::Known(|row| {
            let limits = &row.cgroup.limits;
            limit(limits.swap.map(|swap| swap.as_told), limits.unknown.swap.is_none())
        }))],
    ),
];

/// In microseconds, where there is one.
fn quota(row: &Row<'_>, part: fn(CpuQuota) -> Duration) -> Option<Value> {
    Some(Value::Integer(microseconds(part(row.cgroup.limits.cpu_quota?))))
}

/// 0 is none. One that is not known is absent.
fn limit(limit: Option<u64>, known: bool) -> Option<Value> {
    known.then(|| Value::Integer(limit.unwrap_or(0)))
}

type OfInterface = fn(&NetworkCounters) -> u64;

/// Of each interface; whether only the pod's side knows it.
pub(super) const INTERFACES: &[(Family, OfInterface, bool)] = &[
    interface(
        "container_network_receive_bytes_total",
        "Cumulative count of bytes received",
        |it| it.rx_bytes,
        false,
    ),
    interface(
        "container_network_receive_packets_total",
        "Cumulative count of packets received",
        |it| it.rx_packets,
        false,
    ),
    interface(
        "container_network_receive_packets_dropped_total",
        "Cumulative count of packets dropped while receiving",
        |it| it.rx_dropped,
        true,
    ),
    interface(
        "container_network_receive_errors_total",
        "Cumulative count of errors encountered while receiving",
        |it| it.rx_errors,
        true,
    ),
    interface(
        "container_network_transmit_bytes_total",
        "Cumulative count of bytes transmitted",
        |it| it.tx_bytes,
        false,
    ),
    interface(
        "container_network_transmit_packets_total",
        "Cumulative count of packets transmitted",
        |it| it.tx_packets,
        false,
    ),
    interface(
        "container_network_transmit_packets_dropped_total",
        "Cumulative count of packets dropped while transmitting",
        |it| it.tx_dropped,
        true,
    ),
    interface(
        "container_network_transmit_errors_total",
        "Cumulative count of errors encountered while transmitting",
        |it| it.tx_errors,
        true,
    ),
];

const fn interface(
    name: &'static str,
    help: &'static str,
    of: OfInterface,
    inside_only: bool,
) -> (Family, OfInterface, bool) {
    (Family::new(COUNTER, name, help), of, inside_only)
}

type OfDisk = fn(&IoCounters) -> u64;

/// Of each disk.
pub(super) const DISKS: &[(Family, OfDisk)] = &[
    (Family::new(COUNTER, "container_fs_reads_bytes_total", "Cumulative count of bytes read"), |it| {
        it.read_bytes
    }),
    (Family::new(COUNTER, "container_fs_reads_total", "Cumulative count of reads completed"), |it| {
        it.read_operations
    }),
    (Family::new(COUNTER, "container_fs_writes_bytes_total", "Cumulative count of bytes written"), |it| {
        it.write_bytes
    }),
    (Family::new(COUNTER, "container_fs_writes_total", "Cumulative count of writes completed"), |it| {
        it.write_operations
    }),
];

/// Of each disk and operation, in the full profile.
pub(super) const USAGE: Family =
    Family::new(COUNTER, "container_blkio_device_usage_total", "Blkio Device bytes usage");
