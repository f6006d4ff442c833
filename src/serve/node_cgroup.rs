//! The node in the words of a cgroup, as cAdvisor's readers know it: `/` (pure).

use crate::model::counters::{CpuCounters, Limits, MemoryCounters, PidsCounters, SwapLimit, UnknownLimits};
use crate::model::details::DetailRows;
use crate::model::history::NodeSample;
use crate::model::snapshot::{CgroupFigures, CpuFigures, NodeFigures, Snapshot};
use crate::model::sweep::Stamped;
use crate::model::unavailable::Unavailable;

/// All that is known of the node in the sweep that is shown.
pub(super) fn now(snapshot: &Snapshot) -> CgroupFigures {
    let NodeFigures { memory: meminfo, paging, pressure, tasks, .. } = &snapshot.node;
    let CgroupFigures { cpu, memory, .. } = then(&NodeSample::of(&snapshot.node));
    let paging = paging.as_ref().ok().map(|paging| paging.value);
    let memory = memory.map(|memory| Stamped {
        value: MemoryCounters {
            anon_bytes: paging.map(|paging| paging.anon_bytes),
            page_faults: paging.map(|paging| paging.page_faults),
            major_page_faults: paging.map(|paging| paging.major_page_faults),
            ..memory.value
        },
        ..memory
    });
    let most_tasks = tasks.map(|tasks| tasks.value.limit);
    let limits = Limits {
        memory_bytes: meminfo.as_ref().ok().map(|meminfo| meminfo.value.total_bytes),
        pids: most_tasks.ok().flatten(),
        swap: meminfo.as_ref().ok().map(|meminfo| {
            let bytes = meminfo.value.swap_total_bytes;
            SwapLimit { bytes, as_told: bytes }
        }),
        reservation_bytes: Some(0),
        unknown: UnknownLimits {
            cpu_cores: None,
            memory_bytes: meminfo.as_ref().err().copied(),
            // Without a number the kernel would have told another pid namespace's.
            pids: most_tasks.map_or_else(Some, |most| most.is_none().then_some(Unavailable::Permission)),
            swap: meminfo.as_ref().err().copied(),
            reservation_bytes: None,
            // The kernel has none of all.
            cpu_shares: Some(Unavailable::NotYet),
        },
        ..Limits::default()
    };
    let pids =
        tasks.map(|tasks| Stamped { at: tasks.at, value: PidsCounters { current: tasks.value.current } });
    let (io, details) = (Err(Unavailable::NotYet), DetailRows::default());
    CgroupFigures { cpu, memory, pids, pressure: *pressure, limits, io, details }
}

/// Swap that a cgroup may use at most: no more than the node has. `None`: it is not known.
pub(super) fn swap_limit(snapshot: &Snapshot, cgroup: &CgroupFigures) -> Option<u64> {
    let of_node = snapshot.node.memory.as_ref().ok()?.value.swap_total_bytes;
    let known = cgroup.limits.unknown.swap.is_none();
    known.then(|| cgroup.limits.swap.map_or(of_node, |limit| limit.bytes.min(of_node)))
}

/// What the history keeps: `/proc/stat` and `/proc/meminfo`. Used is what is not free.
pub(super) fn then(node: &NodeSample) -> CgroupFigures {
    let why = Unavailable::NotYet;
    let cpu = node.cpu.map(|cpu| Stamped {
        at: cpu.at,
        value: CpuFigures {
            counters: CpuCounters {
                usage: cpu.value.usage,
                user: Some(cpu.value.user),
                system: Some(cpu.value.system),
                throttling: Err(why),
            },
            cores: node.cores,
        },
    });
    let memory = node.memory.map(|memory| {
        let read = memory.value;
        let value = MemoryCounters {
            usage_bytes: read.total_bytes.saturating_sub(read.free_bytes),
            file_bytes: Some(read.cached_bytes),
            inactive_file_bytes: read.inactive_file_bytes,
            swap_bytes: Some(read.swap_used_bytes),
            ..MemoryCounters::default()
        };
        Stamped { at: memory.at, value }
    });
    let (limits, details) = (Limits::default(), DetailRows::default());
    CgroupFigures { cpu, memory, io: Err(why), pids: Err(why), pressure: Err(why), limits, details }
}
