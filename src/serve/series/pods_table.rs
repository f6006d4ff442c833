//! The families of `/metrics/pods`. The README has the same list, with units and sources.

use super::super::exposition::{Family, Kind, Value};
use super::row::{Of, Row};
use super::{Part, Series, finite, lean, series};
use crate::model::document::Window;
use crate::model::identity::{Requests, f64Bits};
use crate::model::snapshot::Rate;

const COUNTER: Kind = Kind::Counter;
const GAUGE: Kind = Kind::Gauge;

/// Who a pod is.
pub(super) const POD_INFO: Family = Family::new(Kind::Info, "podvitals_pod_info", "What a pod is.");

/// Who a container is.
pub(super) const CONTAINER_INFO: Family =
    Family::new(Kind::Info, "podvitals_container_info", "What a container is.");

/// Figures of a pod that are not there.
pub(super) const POD_UNAVAILABLE: Family = Family::new(
    GAUGE,
    "podvitals_pod_unavailable",
    "1 for each figure of a pod that is absent, with the reason.",
);

/// Figures of a container that are not there.
pub(super) const CONTAINER_UNAVAILABLE: Family = Family::new(
    GAUGE,
    "podvitals_container_unavailable",
    "1 for each figure of a container that is absent, with the reason.",
);

/// When the oldest figure of a pod was read.
pub(super) const SAMPLE_TIME: Family = Family::new(
    GAUGE,
    "podvitals_pod_sample_timestamp_seconds",
    "When the oldest figure of the pod was read, since 1970.",
);

/// How old that was when the document was made.
pub(super) const SAMPLE_AGE: Family = Family::new(
    GAUGE,
    "podvitals_pod_sample_age_seconds",
    "Age of the oldest figure of the pod when this document was made.",
);

/// The most of the last seconds, of pods, as `window` of a native document has it.
pub(super) const WINDOW: &[(Family, OfWindow)] = &[
    (
        Family::new(GAUGE, "podvitals_pod_window_seconds", "What the window covers, up to the last sweep."),
        |window| finite(window.seconds),
    ),
    (
        Family::new(
            GAUGE,
            "podvitals_pod_window_cpu_usage_max_cores",
            "The most CPUs kept busy from one sweep to the next, in the window.",
        ),
        |window| finite(window.cpu_cores_max?),
    ),
    (
        Family::new(
            GAUGE,
            "podvitals_pod_window_cpu_usage_p95_cores",
            "In the window 95 of 100 sweeps saw no more CPUs kept busy.",
        ),
        |window| finite(window.cpu_cores_p95?),
    ),
    (
        Family::new(
            GAUGE,
            "podvitals_pod_window_memory_working_set_max_bytes",
            "The largest working set that a sweep in the window saw.",
        ),
        |window| window.memory_working_set_max_bytes.map(Value::Integer),
    ),
    (
        Family::new(
            GAUGE,
            "podvitals_pod_window_network_receive_max_bytes_per_second",
            "The most received from one sweep to the next, in the window.",
        ),
        |window| finite(window.rx_bytes_per_second_max?),
    ),
    (
        Family::new(
            GAUGE,
            "podvitals_pod_window_network_transmit_max_bytes_per_second",
            "The most sent from one sweep to the next, in the window.",
        ),
        |window| finite(window.tx_bytes_per_second_max?),
    ),
];

/// A number of a window.
type OfWindow = fn(&Window) -> Option<Value>;

/// What pods have beside what their containers have too.
pub(super) const OF_PODS: &[Series] = &[
    series(
        GAUGE,
        "podvitals_pod_containers",
        "Containers of the pod that have a cgroup now, the sandbox not among them.",
        &[lean(Of::Known(|row| {
            let pod = row.pod.filter(|pod| pod.target.sandbox_settled)?;
            let count = pod.figures.containers.end.saturating_sub(pod.figures.containers.start);
            Some(Value::Integer(u64::from(count)))
        }))],
    ),
    series(
        COUNTER,
        "podvitals_pod_network_receive_bytes_total",
        "Bytes received over the life of the pod.",
        &[lean(Of::Traffic(|it| it.rx_bytes))],
    ),
    series(
        COUNTER,
        "podvitals_pod_network_receive_packets_total",
        "Packets received over the life of the pod.",
        &[lean(Of::Traffic(|it| it.rx_packets))],
    ),
    series(
        COUNTER,
        "podvitals_pod_network_receive_errors_total",
        "Packets received with errors over the life of the pod.",
        &[lean(Of::Mishaps(|it| it.rx_errors))],
    ),
    series(
        COUNTER,
        "podvitals_pod_network_receive_dropped_total",
        "Packets dropped on receipt over the life of the pod.",
        &[lean(Of::Mishaps(|it| it.rx_dropped))],
    ),
    series(
        COUNTER,
        "podvitals_pod_network_transmit_bytes_total",
        "Bytes sent over the life of the pod.",
        &[lean(Of::Traffic(|it| it.tx_bytes))],
    ),
    series(
        COUNTER,
        "podvitals_pod_network_transmit_packets_total",
        "Packets sent over the life of the pod.",
        &[lean(Of::Traffic(|it| it.tx_packets))],
    ),
    series(
        COUNTER,
        "podvitals_pod_network_transmit_errors_total",
        "Errors on sending over the life of the pod.",
        &[lean(Of::Mishaps(|it| it.tx_errors))],
    ),
    series(
        COUNTER,
        "podvitals_pod_network_transmit_dropped_total",
        "Packets dropped before they left over the life of the pod.",
        &[lean(Of::Mishaps(|it| it.tx_dropped))],
    ),
];

/// What containers have beside what their pods have too.
pub(super) const OF_CONTAINERS: &[Series] = &[series(
    GAUGE,
    "podvitals_container_restarts",
    "Instances of the container before this one.",
    &[lean(Of::Known(|row| Some(Value::Integer(row.known()?.restart_count.into()))))],
)];

/// What both have, under names that begin with `$prefix`.
macro_rules! figures {
    ($name:ident, $prefix:literal) => {
        /// What pods and containers have alike.
        pub(super) const $name: &[Series] = &[
            series(
                GAUGE,
                concat!($prefix, "start_time_seconds"),
                "When it started, since 1970; when its cgroup was first seen where nobody says.",
                &[lean(Of::Known(|row| row.started_at()))],
            ),
            series(
                COUNTER,
                concat!($prefix, "cpu_usage_seconds_total"),
                "CPU time used.",
                &[lean(Of::Cpu(|cpu| Some(Value::seconds(cpu.counters.usage))))],
            ),
            series(
                COUNTER,
                concat!($prefix, "cpu_user_seconds_total"),
                "CPU time used in user mode.",
                &[lean(Of::Cpu(|cpu| cpu.counters.user.map(Value::seconds)))],
            ),
            series(
                COUNTER,
                concat!($prefix, "cpu_system_seconds_total"),
                "CPU time used in the kernel.",
                &[lean(Of::Cpu(|cpu| cpu.counters.system.map(Value::seconds)))],
            ),
            series(
                GAUGE,
                concat!($prefix, "cpu_usage_cores"),
                "CPUs kept busy since the sweep before.",
                &[lean(Of::Cpu(|cpu| finite(cpu.cores.map(|Rate { per_second, .. }| per_second)?)))],
            ),
            series(
                GAUGE,
                concat!($prefix, "cpu_limit_cores"),
                "CPUs it may use at most: its own limit or its pod's; absent without one.",
                &[lean(Of::Known(|row| finite(row.cgroup.limits.cpu_cores?)))],
            ),
            series(
                GAUGE,
                concat!($prefix, "cpu_request_cores"),
                "CPUs the scheduler set aside for it.",
                &[lean(Of::Known(|row| finite(requests(row)?.cpu_cores.map(f64Bits::get)?)))],
            ),
            series(
                COUNTER,
                concat!($prefix, "cpu_periods_total"),
                "Enforcement periods in which it had something to run.",
                &[lean(Of::Throttling(|it| Value::Integer(it.periods)))],
            ),
            series(
                COUNTER,
                concat!($prefix, "cpu_throttled_periods_total"),
                "Enforcement periods in which it ran out of quota.",
                &[lean(Of::Throttling(|it| Value::Integer(it.throttled_periods)))],
            ),
            series(
                COUNTER,
                concat!($prefix, "cpu_throttled_seconds_total"),
                "Time for which its tasks were held back.",
                &[lean(Of::Throttling(|it| Value::seconds(it.throttled)))],
            ),
            series(
                GAUGE,
                concat!($prefix, "memory_usage_bytes"),
                "Memory charged to it, page cache included.",
                &[lean(Of::Memory(|it| Some(it.usage_bytes)))],
            ),
            series(
                GAUGE,
                concat!($prefix, "memory_working_set_bytes"),
                "Usage less the page cache that goes first.",
                &[lean(Of::Memory(|it| it.working_set_bytes()))],
            ),
            series(
                GAUGE,
                concat!($prefix, "memory_anon_bytes"),
                "Anonymous memory.",
                &[lean(Of::Memory(|it| it.anon_bytes))],
            ),
            series(
                GAUGE,
                concat!($prefix, "memory_file_bytes"),
                "Page cache, tmpfs included.",
                &[lean(Of::Memory(|it| it.file_bytes))],
            ),
            series(
                GAUGE,
                concat!($prefix, "memory_inactive_file_bytes"),
                "Page cache that goes first.",
                &[lean(Of::Memory(|it| it.inactive_file_bytes))],
            ),
            series(
                GAUGE,
                concat!($prefix, "memory_swap_bytes"),
                "Memory swapped out.",
                &[lean(Of::Memory(|it| it.swap_bytes))],
            ),
            series(
                GAUGE,
                concat!($prefix, "memory_peak_bytes"),
                "The highest usage so far.",
                &[lean(Of::Memory(|it| it.peak_bytes))],
            ),
            series(
                GAUGE,
                concat!($prefix, "memory_limit_bytes"),
                "Memory it may use at most: its own limit or its pod's; absent without one.",
                &[lean(Of::Known(|row| Some(Value::Integer(row.cgroup.limits.memory_bytes?))))],
            ),
            series(
                GAUGE,
                concat!($prefix, "memory_request_bytes"),
                "Memory the scheduler set aside for it.",
                &[lean(Of::Known(|row| Some(Value::Integer(requests(row)?.memory_bytes?))))],
            ),
            series(
                COUNTER,
                concat!($prefix, "memory_page_faults_total"),
                "Page faults.",
                &[lean(Of::Memory(|it| it.page_faults))],
            ),
            series(
                COUNTER,
                concat!($prefix, "memory_major_page_faults_total"),
                "Page faults that had to read from a disk.",
                &[lean(Of::Memory(|it| it.major_page_faults))],
            ),
            series(
                COUNTER,
                concat!($prefix, "memory_oom_kills_total"),
                "Processes killed for lack of memory.",
                &[lean(Of::Memory(|it| it.oom_kills))],
            ),
            series(
                COUNTER,
                concat!($prefix, "io_read_bytes_total"),
                "Bytes read from disks.",
                &[lean(Of::Io(|io| io.read_bytes))],
            ),
            series(
                COUNTER,
                concat!($prefix, "io_write_bytes_total"),
                "Bytes written to disks.",
                &[lean(Of::Io(|io| io.write_bytes))],
            ),
            series(
                COUNTER,
                concat!($prefix, "io_read_operations_total"),
                "Reads from disks.",
                &[lean(Of::Io(|io| io.read_operations))],
            ),
            series(
                COUNTER,
                concat!($prefix, "io_write_operations_total"),
                "Writes to disks.",
                &[lean(Of::Io(|io| io.write_operations))],
            ),
            series(GAUGE, concat!($prefix, "pids"), "Processes and threads.", &[lean(Of::Pids)]),
            series(
                GAUGE,
                concat!($prefix, "pids_limit"),
                "Processes and threads it may have at most; absent without a limit.",
                &[lean(Of::Known(|row| Some(Value::Integer(row.cgroup.limits.pids?))))],
            ),
            series(
                COUNTER,
                concat!($prefix, "pressure_seconds_total"),
                "Time in which some, or all (full), of its tasks waited for a resource.",
                &[
                    some("cpu", Of::Pressure(|it| Some(it.cpu?.some.total))),
                    all("cpu", Of::Pressure(|it| Some(it.cpu?.full?.total))),
                    some("memory", Of::Pressure(|it| Some(it.memory?.some.total))),
                    all("memory", Of::Pressure(|it| Some(it.memory?.full?.total))),
                    some("io", Of::Pressure(|it| Some(it.io?.some.total))),
                    all("io", Of::Pressure(|it| Some(it.io?.full?.total))),
                ],
            ),
        ];
    };
}

macro_rules! stalls {
    ($name:ident, $share:literal) => {
        const fn $name(resource: &'static str, of: Of) -> Part {
            let extra: &[(&str, &str)] = match resource.as_bytes() {
                b"cpu" => &[("resource", "cpu"), ("share", $share)],
                b"memory" => &[("resource", "memory"), ("share", $share)],
                _ => &[("resource", "io"), ("share", $share)],
            };
            Part { extra, full: false, of }
        }
    };
}

stalls!(some, "some");
stalls!(all, "full");
figures!(PER_POD, "podvitals_pod_");
figures!(PER_CONTAINER, "podvitals_container_");

fn requests(row: &Row<'_>) -> Option<Requests> {
    match row.container {
        Some(_) => row.known().map(|known| known.requests),
        None => row.pod?.target.known.as_deref().map(|known| known.requests),
    }
}
