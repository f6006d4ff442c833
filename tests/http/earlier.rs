//! What Docker's clients look for besides the hand-made node's last sweep: the readings of the one before, what the
//! node is, and the figures that one of them published.

use std::sync::Arc;
use std::time::Duration;

use podvitals::model::counters::{CpuCounters, IoCounters, NetworkCounters, ThrottlingCounters};
use podvitals::model::machine::{CgroupVersion, Machine, Processors};
use podvitals::model::snapshot::Snapshot;
use podvitals::model::sweep::{NodeCpu, Stamped};
use podvitals::model::time::Monotonic;

use super::node::{SECOND, SWEEP_AT};

/// The reading a second before: an eighth of a core for each `unit`.
pub(crate) fn cpu(unit: u64) -> Stamped<CpuCounters> {
    let value = CpuCounters {
        usage: Duration::from_nanos(17 * unit * SECOND + 1 - 125_000_000 * unit),
        user: Some(Duration::from_secs(11 * unit)),
        system: Some(Duration::from_secs(6 * unit) - Duration::from_millis(100)),
        throttling: Ok(ThrottlingCounters {
            periods: 100 * unit - 10,
            throttled_periods: 7 * unit - 1,
            throttled: Duration::from_millis(340),
            bursts: Some(2 * unit),
            burst: Some(Duration::from_millis(20)),
        }),
    };
    Stamped { at: Monotonic::from_nanos(SWEEP_AT - SECOND + 10_000), value }
}

/// The node's reading then: its eight CPUs had a second each.
pub(crate) fn node(now: NodeCpu) -> Stamped<NodeCpu> {
    let value = NodeCpu { elapsed: now.elapsed - Duration::from_secs(8), ..now };
    Stamped { at: Monotonic::from_nanos(SWEEP_AT - SECOND), value }
}

/// What the node is.
pub(crate) fn machine() -> Arc<Machine> {
    let vendor = Some("GenuineIntel".into());
    Arc::new(Machine {
        kernel_release: Some("6.18.0-test".into()),
        memory_cgroups: Some(CgroupVersion::V2),
        unlimited_memory_bytes: None,
        boot_id: Some("8a0e8f0c-0d7e-4c58-9e29-5d3a58a3f5b1".into()),
        processors: Processors { vendor, cores: Some(4), sockets: Some(1), kilohertz: Some(2_700_000) },
    })
}

/// Gives the app container of default/web the figures that a client of Docker published in 2017.
pub(crate) fn show_2017(snapshot: &mut Snapshot) {
    let pod = snapshot.pods.iter_mut().find(|pod| pod.target == 0).unwrap();
    let container = &mut snapshot.containers[pod.containers.start as usize];
    let cpu = &mut container.cgroup.cpu.as_mut().unwrap().value;
    let before = container.cpu_before.unwrap();
    cpu.counters.usage = before.value.usage + Duration::from_nanos(3_860_290_489);
    let node = &mut snapshot.node.cpu.as_mut().unwrap().value;
    node.cores = 4;
    node.elapsed = snapshot.node.rates.cpu_before.unwrap().value.elapsed + Duration::from_millis(3610);
    let memory = &mut container.cgroup.memory.as_mut().unwrap().value;
    memory.usage_bytes = 119_660_544;
    memory.inactive_file_bytes = Some(119_660_544 - 115_937_280);
    container.cgroup.limits.memory_bytes = None;
    snapshot.node.memory.as_mut().unwrap().value.total_bytes = 3_975_241_728;
    let devices = &container.cgroup.io.as_ref().unwrap().value.devices;
    let rows = &mut snapshot.devices[devices.start as usize..devices.end as usize];
    for (row, (read, write)) in rows.iter_mut().zip([(3_600_000, 9_000_000), (0, 0), (42_368, 669_120)]) {
        row.counters = IoCounters { read_bytes: read, write_bytes: write, ..row.counters };
    }
    let network = &pod.network.as_ref().unwrap().value.interfaces;
    let rows = &mut snapshot.interfaces[network.start as usize..network.end as usize];
    for (row, bytes) in rows.iter_mut().filter(|row| row.counted).zip([600, 48]) {
        row.counters = NetworkCounters { rx_bytes: bytes, tx_bytes: bytes, ..row.counters };
    }
}
