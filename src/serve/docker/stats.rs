//! `/containers/{id}/stats`: one document a sweep (pure).
//!
//! `github.com/moby/moby/api/types/container`, `StatsResponse`. Its readers subtract `precpu_stats` from
//! `cpu_stats`: both are readings of one sweep each, the container's and the node's. Without a reading before
//! it is empty as the Engine's first one is.
//!
//! What is not known is left out of its object; objects and lists that clients look into are there all the
//! same, and empty.

use serde_json::{Map, Value, json};

use super::super::native::network::counted;
use super::super::native::rows;
use super::super::time::{NEVER, nanoseconds, rfc3339};
use super::names::Item;
use crate::model::counters::{CpuCounters, IoCounters, Limits, MemoryCounters, NetworkCounters};
use crate::model::machine::{CgroupVersion, Machine};
use crate::model::snapshot::{CgroupFigures, NetworkFigures, Snapshot};
use crate::model::sweep::{NetworkSource, NodeCpu, Reading};
use crate::model::time::Monotonic;
use crate::model::unavailable::Unavailable;

/// What Docker says of a limit there is none of.
const NO_LIMIT: u64 = u64::MAX;

/// How a document is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Without the reading before.
    pub(super) one_shot: bool,
    /// With CPU time in equal parts.
    pub(super) percpu: bool,
}

/// The document of one container.
pub(super) fn document(snapshot: &Snapshot, item: &Item<'_>, machine: &Machine, how: Manner) -> Value {
    let cgroup = item.read.map(|read| &read.cgroup);
    let node = snapshot.node.cpu.as_ref().ok().map(|cpu| &cpu.value);
    let now = cgroup.and_then(|cgroup| cgroup.cpu.as_ref().ok());
    let before = item.read.and_then(|read| Some((read.cpu_before?, snapshot.node.rates.cpu_before?)));
    let before = before.filter(|_| !how.one_shot);
    let by_cpu = |row| snapshot.details.percpu(row);
    let percpu = cgroup.map(|cgroup| by_cpu(&cgroup.details.percpu)).unwrap_or_default();
    let percpu_before = item.read.map(|read| by_cpu(&read.percpu_before)).unwrap_or_default();
    let wall = |at: Monotonic| rfc3339(snapshot.clock.wall_of(at));
    json!({
        "id": item.identity.id.as_str(),
        "name": format!("/{}", item.identity.name()),
        "os_type": "linux",
        "read": now.map_or_else(|| rfc3339(snapshot.clock.wall), |cpu| wall(cpu.at)),
        "preread": before.map_or_else(|| NEVER.to_owned(), |(cpu, _)| wall(cpu.at)),
        "cpu_stats": cpu(now.map(|now| &now.value.counters), node, percpu, how),
        "precpu_stats": match before {
            Some((before, node)) => cpu(Some(&before.value), Some(&node.value), percpu_before, how),
            None => no_cpu(),
        },
        "memory_stats": cgroup.map_or_else(|| json!({}), |cgroup| memory(snapshot, cgroup, machine)),
        "pids_stats": cgroup.map_or_else(|| json!({}), pids),
        "blkio_stats": blkio(snapshot, cgroup),
        "num_procs": 0,
        "storage_stats": {},
    })
    .with("networks", networks(snapshot, &item.pod.figures.network))
}

/// Adds to an object what may not be there.
trait With {
    fn with(self, key: &str, value: Option<impl Into<Value>>) -> Self;
}

impl With for Value {
    fn with(mut self, key: &str, value: Option<impl Into<Value>>) -> Self {
        if let (Some(object), Some(value)) = (self.as_object_mut(), value) {
            object.insert(key.to_owned(), value.into());
        }
        self
    }
}

fn cpu(counters: Option<&CpuCounters>, node: Option<&NodeCpu>, percpu: &[u64], how: Manner) -> Value {
    let usage = counters.map_or_else(
        || json!({}),
        |cpu| {
            json!({ "total_usage": nanoseconds(cpu.usage) })
                .with("usage_in_usermode", cpu.user.map(nanoseconds))
                .with("usage_in_kernelmode", cpu.system.map(nanoseconds))
        },
    );
    let parts = counters.zip(node).filter(|_| how.percpu);
    let usage = match parts {
        _ if !percpu.is_empty() => usage.with("percpu_usage", Some(percpu)),
        Some((cpu, node)) => usage
            .with("percpu_usage", Some(equal_parts(nanoseconds(cpu.usage), node.cores)))
            .with("percpu_synthetic", Some(true)),
        None => usage,
    };
    let throttling = counters.and_then(|cpu| cpu.throttling.ok()).map_or_else(
        || json!({}),
        |throttling| {
            json!({
                "periods": throttling.periods,
                "throttled_periods": throttling.throttled_periods,
                "throttled_time": nanoseconds(throttling.throttled),
            })
        },
    );
    json!({ "cpu_usage": usage, "throttling_data": throttling })
        .with("system_cpu_usage", node.map(|node| nanoseconds(node.elapsed)))
        .with("online_cpus", node.map(|node| node.cores))
}

/// The sum of the parts is the whole.
fn equal_parts(whole: u64, cores: u32) -> Vec<u64> {
    let cores = u64::from(cores.max(1));
    (0..cores).map(|core| whole / cores + u64::from(core < whole % cores)).collect()
}

/// As the Engine writes what it has not read.
fn no_cpu() -> Value {
    json!({
        "cpu_usage": { "total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0 },
        "throttling_data": { "periods": 0, "throttled_periods": 0, "throttled_time": 0 },
    })
}

fn memory(snapshot: &Snapshot, cgroup: &CgroupFigures, machine: &Machine) -> Value {
    let Ok(memory) = &cgroup.memory else { return json!({}) };
    let of_node = snapshot.node.memory.as_ref().ok().map(|memory| memory.value.total_bytes);
    json!({
        "usage": memory.value.usage_bytes,
        "stats": memory_details(snapshot, &memory.value, cgroup, machine),
    })
    .with("max_usage", memory.value.peak_bytes)
    .with(
        "failcnt",
        match machine.memory_cgroups {
            Some(CgroupVersion::V1) => memory.value.limit_hits,
            _ => memory.value.ooms,
        },
    )
    .with("limit", memory_limit(&cgroup.limits, of_node))
}

/// Never more than the node has, and never 0: clients divide by it.
fn memory_limit(limits: &Limits, of_node: Option<u64>) -> Option<u64> {
    if limits.unknown.memory_bytes.is_some() {
        return None;
    }
    limits.memory_bytes.into_iter().chain(of_node).min().filter(|bytes| *bytes > 0)
}

/// All that the kernel says, as it says it, and on either cgroup version also under the names that clients of the other
/// one look for.
fn memory_details(
    snapshot: &Snapshot,
    memory: &MemoryCounters,
    cgroup: &CgroupFigures,
    machine: &Machine,
) -> Value {
    let MemoryCounters { anon_bytes, file_bytes, inactive_file_bytes, swap_bytes, .. } = *memory;
    let both: [(&[&str], Option<u64>); 5] = [
        (&["cache", "total_cache"], file_bytes),
        (&["rss", "total_rss"], anon_bytes),
        (&["inactive_file", "total_inactive_file"], inactive_file_bytes),
        (&["pgfault"], memory.page_faults),
        (&["pgmajfault"], memory.major_page_faults),
    ];
    let own: [(&[&str], Option<u64>); 4] = match machine.memory_cgroups {
        Some(CgroupVersion::V1) => [
            (&["swap", "total_swap"], swap_bytes),
            (&["total_pgfault"], memory.page_faults),
            (&["total_pgmajfault"], memory.major_page_faults),
            (&["hierarchical_memory_limit"], cgroup.limits.memory_bytes),
        ],
        _ => [(&["anon"], anon_bytes), (&["file"], file_bytes), (&[], None), (&[], None)],
    };
    let mut details = Map::new();
    for (names, value) in both.into_iter().chain(own) {
        let Some(value) = value else { continue };
        details.extend(names.iter().map(|name| ((*name).to_owned(), value.into())));
    }
    let told = snapshot.details.memory_stat(&cgroup.details);
    details.extend(told.map(|(key, number)| (key.to_owned(), number.into())));
    details.into()
}

fn pids(cgroup: &CgroupFigures) -> Value {
    let Ok(pids) = &cgroup.pids else { return json!({}) };
    let Limits { pids: limit, unknown, .. } = &cgroup.limits;
    let limit = unknown.pids.is_none().then(|| limit.unwrap_or(NO_LIMIT));
    json!({ "current": pids.value.current }).with("limit", limit)
}

/// Each disk once: what rests on another disk is that one's I/O, and Docker's readers add all rows up.
fn blkio(snapshot: &Snapshot, cgroup: Option<&CgroupFigures>) -> Value {
    let io = cgroup.and_then(|cgroup| cgroup.io.as_ref().ok());
    let rows = io.map(|io| rows(&snapshot.devices, &io.value.devices)).into_iter().flatten();
    let (mut bytes, mut operations) = (Vec::new(), Vec::new());
    for row in rows.filter(|row| !row.stacked) {
        let IoCounters { read_bytes, write_bytes, read_operations, write_operations } = row.counters;
        let (major, minor) = (row.device.major, row.device.minor);
        let entry =
            |op: &str, value: u64| json!({ "major": major, "minor": minor, "op": op, "value": value });
        bytes.extend([entry("Read", read_bytes), entry("Write", write_bytes)]);
        operations.extend([entry("Read", read_operations), entry("Write", write_operations)]);
    }
    json!({
        "io_service_bytes_recursive": bytes,
        "io_serviced_recursive": operations,
        "io_queue_recursive": [],
        "io_service_time_recursive": [],
        "io_wait_time_recursive": [],
        "io_merged_recursive": [],
        "io_time_recursive": [],
        "sectors_recursive": [],
    })
}

/// The interfaces that make up the pod's total. None on the node's network; not known is no key.
fn networks(snapshot: &Snapshot, network: &Reading<NetworkFigures>) -> Option<Value> {
    let network = match network {
        Ok(network) => &network.value,
        Err(Unavailable::HostNetwork) => return Some(json!({})),
        Err(_) => return None,
    };
    let interfaces = counted(snapshot, network).into_iter();
    let interfaces = interfaces.map(|(name, counters)| (name, interface(counters, network.source)));
    Some(Value::Object(interfaces.collect()))
}

fn interface(counters: NetworkCounters, source: NetworkSource) -> Value {
    let NetworkCounters { rx_bytes, rx_packets, rx_errors, rx_dropped, .. } = counters;
    let NetworkCounters { tx_bytes, tx_packets, tx_errors, tx_dropped, .. } = counters;
    // The two ends of a veth do not count errors and drops alike.
    let own_side = |value: u64| (source != NetworkSource::HostVeth).then_some(value);
    json!({
        "rx_bytes": rx_bytes,
        "rx_packets": rx_packets,
        "tx_bytes": tx_bytes,
        "tx_packets": tx_packets,
    })
    .with("rx_errors", own_side(rx_errors))
    .with("rx_dropped", own_side(rx_dropped))
    .with("tx_errors", own_side(tx_errors))
    .with("tx_dropped", own_side(tx_dropped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_parts_add_up_to_the_whole() {
        assert_eq!(equal_parts(10, 4), [3, 3, 2, 2]);
        assert_eq!(equal_parts(u64::MAX, 3).iter().sum::<u64>(), u64::MAX);
        assert_eq!(equal_parts(7, 0), [7]);
    }

    #[test]
    fn a_limit_is_never_more_than_the_node_has_and_never_0() {
        let of = |memory_bytes| Limits { memory_bytes, ..Limits::default() };
        assert_eq!(memory_limit(&of(Some(5)), Some(9)), Some(5));
        assert_eq!(memory_limit(&of(Some(9_223_372_036_854_771_712)), Some(9)), Some(9));
        assert_eq!(memory_limit(&of(None), Some(9)), Some(9));
        assert_eq!(memory_limit(&of(None), None), None);
        assert_eq!(memory_limit(&of(Some(0)), Some(9)), None);
        let unknown = crate::model::counters::UnknownLimits {
            memory_bytes: Some(Unavailable::NotYet),
            ..Default::default()
        };
        assert_eq!(memory_limit(&Limits { unknown, ..of(None) }, Some(9)), None, "it may have one");
    }
}
