//! What a kernel says in `memory.stat`, and on cgroup v1 of each CPU.

use podvitals::model::counters::CpuCounters;
use podvitals::model::details::MemoryKeys;
use podvitals::model::snapshot::Snapshot;

use super::node::MIB;

/// Of `memory.stat`: what each of a cgroup's 200 MiB comes with, and what every cgroup has.
type Said = (&'static str, u64, u64);

pub(crate) const V2: [Said; 23] = [
    ("anon", 100 * MIB, 0),
    ("file", 90 * MIB, 0),
    ("kernel", 10 * MIB, 0),
    ("kernel_stack", MIB, 0),
    ("pagetables", 2 * MIB, 0),
    ("sock", 0, 4096),
    ("shmem", 0, 0),
    ("file_mapped", 30 * MIB, 0),
    ("file_dirty", 0, 8192),
    ("file_writeback", 0, 4096),
    ("inactive_anon", 60 * MIB, 0),
    ("active_anon", 40 * MIB, 0),
    ("inactive_file", 40 * MIB, 0),
    ("active_file", 50 * MIB, 0),
    ("unevictable", 0, 0),
    ("slab_reclaimable", 3 * MIB, 0),
    ("slab_unreclaimable", 4 * MIB, 0),
    ("workingset_refault_anon", 5, 0),
    ("workingset_refault_file", 70, 0),
    ("pgscan", 900, 0),
    ("pgsteal", 800, 0),
    ("pgfault", 12_345, 0),
    ("pgmajfault", 0, 12),
];

/// As cgroup v1 says it: of the cgroup alone, and of all below it.
pub(crate) const V1: [Said; 36] = [
    ("cache", 90 * MIB, 0),
    ("rss", 100 * MIB, 0),
    ("rss_huge", 0, 0),
    ("shmem", 0, 0),
    ("mapped_file", 30 * MIB, 0),
    ("dirty", 0, 8192),
    ("writeback", 0, 4096),
    ("swap", 0, 0),
    ("pgpgin", 39_007, 0),
    ("pgpgout", 33_918, 0),
    ("pgfault", 12_345, 0),
    ("pgmajfault", 0, 12),
    ("inactive_anon", 60 * MIB, 0),
    ("active_anon", 40 * MIB, 0),
    ("inactive_file", 40 * MIB, 0),
    ("active_file", 50 * MIB, 0),
    ("unevictable", 0, 0),
    ("hierarchical_memory_limit", 0, 512 * MIB),
    ("hierarchical_memsw_limit", 0, 1024 * MIB),
    ("total_cache", 90 * MIB, 0),
    ("total_rss", 100 * MIB, 0),
    ("total_rss_huge", 0, 0),
    ("total_shmem", 0, 0),
    ("total_mapped_file", 30 * MIB, 0),
    ("total_dirty", 0, 8192),
    ("total_writeback", 0, 4096),
    ("total_swap", 0, 0),
    ("total_pgpgin", 39_007, 0),
    ("total_pgpgout", 33_918, 0),
    ("total_pgfault", 12_345, 0),
    ("total_pgmajfault", 0, 12),
    ("total_inactive_anon", 60 * MIB, 0),
    ("total_active_anon", 40 * MIB, 0),
    ("total_inactive_file", 40 * MIB, 0),
    ("total_active_file", 50 * MIB, 0),
    ("total_unevictable", 0, 0),
];

/// The node whose kernel says that of all cgroups that have memory.
pub(crate) fn with(mut snapshot: Snapshot, said: &[Said]) -> Snapshot {
    let Snapshot { pods, containers, details, .. } = &mut snapshot;
    details.clear();
    let mut keys = MemoryKeys::default();
    let pods = pods.iter_mut().map(|pod| &mut pod.cgroup);
    for cgroup in pods.chain(containers.iter_mut().map(|container| &mut container.cgroup)) {
        let Ok(memory) = &cgroup.memory else { continue };
        let unit = memory.value.usage_bytes / (200 * MIB);
        let inactive = memory.value.inactive_file_bytes;
        let lines = said.iter().map(|(key, each, all)| {
            let known = inactive.filter(|_| key.ends_with("inactive_file"));
            Some((key.as_bytes(), known.unwrap_or(each * unit + all)))
        });
        let again = details.add_memory_stat(&mut keys, lines.clone());
        let row = again.or_else(|_| details.add_memory_stat(&mut keys, lines));
        cgroup.details.memory_stat = row.unwrap();
    }
    snapshot
}

/// The node as cgroup v1 would show it.
pub(crate) fn of_v1(snapshot: Snapshot) -> Snapshot {
    with_percpu(with(snapshot, &V1))
}

/// The node whose kernel tells each container's CPU time by CPU, as that of cgroup v1 does.
pub(crate) fn with_percpu(mut snapshot: Snapshot) -> Snapshot {
    let Snapshot { containers, details, .. } = &mut snapshot;
    let mut by_cpu = |cpu: &CpuCounters| {
        let usage = u64::try_from(cpu.usage.as_nanos()).unwrap();
        details.add_percpu([usage - 7, 0, 7, 0].into_iter())
    };
    for container in containers {
        if let Ok(cpu) = &container.cgroup.cpu {
            container.cgroup.details.percpu = by_cpu(&cpu.value.counters);
        }
        if let Some(before) = &container.cpu_before {
            container.percpu_before = by_cpu(&before.value);
        }
    }
    snapshot
}
