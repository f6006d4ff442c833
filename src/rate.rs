//! STAGE two samples of the same thing make a rate, or nothing (pure).
//!
//! The same thing is the same target, the same cgroup inode or netns, read from the same side, at a
//! later instant, with no counter gone back. Checked once, here, where samples are paired: otherwise the
//! answer is `None`, never a negative number or a guess. Each rate divides by its own two instants, since
//! a sweep of a large node takes tens of milliseconds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::counters::IoCounters;
use crate::model::counters::NetworkCounters;
use crate::model::snapshot::CgroupRates;
use crate::model::snapshot::IoRates;
use crate::model::snapshot::NetworkRates;
use crate::model::snapshot::NodeRates;
use crate::model::snapshot::Rate;
use crate::model::snapshot::Rates;
use crate::model::sweep::CgroupReading;
use crate::model::sweep::IoReading;
use crate::model::sweep::NetworkReading;
use crate::model::sweep::NetworkTotals;
use crate::model::sweep::Reading;
use crate::model::sweep::Stamped;
use crate::model::sweep::Sweep;
use crate::model::target::TargetId;

/// A shorter window gives no rate: the kernel itself adds CPU time up only once a scheduler tick (1 to
/// 10 ms), so over a few milliseconds a rate would mostly show the tick.
const SHORTEST_WINDOW: Duration = Duration::from_millis(80);

/// Where the readings of the earlier sweep are, by target. Keeps its memory between sweeps.
#[derive(Debug, Default)]
pub struct Index {
    cgroups: HashMap<TargetId, usize>,
    networks: HashMap<TargetId, usize>,
}

impl Index {
    fn rebuild(&mut self, sweep: &Sweep) {
        self.cgroups.clear();
        self.cgroups.extend(sweep.cgroups.iter().enumerate().map(|(at, reading)| (reading.id, at)));
        self.networks.clear();
        self.networks.extend(sweep.networks.iter().enumerate().map(|(at, reading)| (reading.id, at)));
    }
}

/// Fills `into` with a rate, or none, for each cgroup and network of `later`, in its order.
pub fn rates(earlier: &Sweep, later: &Sweep, index: &mut Index, into: &mut Rates) {
    // Between changes of targets both sweeps have the same order, and nothing is looked up.
    let aligned = Arc::ptr_eq(&earlier.targets, &later.targets)
        && earlier.cgroups.len() == later.cgroups.len()
        && earlier.networks.len() == later.networks.len();
    if !aligned {
        index.rebuild(earlier);
    }
    into.cgroups.clear();
    into.percpu_before.clear();
    for (at, now) in later.cgroups.iter().enumerate() {
        let before = if aligned { Some(at) } else { index.cgroups.get(&now.id).copied() };
        let before = before.map(|before| &earlier.cgroups[before]);
        let mut rates = before.map_or_else(CgroupRates::default, |before| cgroup_rates(before, now));
        if let Some(before) = before.filter(|_| rates.cpu_before.is_some()) {
            let by_cpu = earlier.details.percpu(&before.details.percpu);
            rates.percpu_before = into.percpu_before.add_percpu(by_cpu.iter().copied());
        }
        into.cgroups.push(rates);
    }
    into.networks.clear();
    into.networks.extend(later.networks.iter().enumerate().map(|(at, now)| {
        let before = if aligned { Some(at) } else { index.networks.get(&now.id).copied() };
        before.and_then(|before| network_rate(&earlier.networks[before], now))
    }));
    into.node = node_rates(earlier, later);
}

fn cgroup_rates(earlier: &CgroupReading, later: &CgroupReading) -> CgroupRates {
    let same = earlier.id == later.id && earlier.inode == later.inode && earlier.alive && later.alive;
    if !same {
        return CgroupRates::default();
    }
    CgroupRates {
        cpu_cores: over_window(&earlier.cpu, &later.cpu, |earlier, later, window| {
            cores(earlier.usage, later.usage, window)
        }),
        cpu_before: comparable(&earlier.cpu, &later.cpu, |cpu| cpu.usage),
        percpu_before: 0..0,
        io: io_rate(&earlier.io, &later.io),
    }
}

fn network_rate(earlier: &NetworkReading, later: &NetworkReading) -> Option<Rate<NetworkRates>> {
    let same = earlier.id == later.id && earlier.netns == later.netns && earlier.source == later.source;
    if !same {
        return None;
    }
    traffic_rate(&earlier.totals, &later.totals)
}

fn node_rates(before: &Sweep, after: &Sweep) -> NodeRates {
    let (earlier, later) = (&before.node, &after.node);
    NodeRates {
        cpu_cores: over_window(&earlier.cpu, &later.cpu, |earlier, later, window| {
            cores(earlier.usage, later.usage, window)
        }),
        cpu_before: comparable(&earlier.cpu, &later.cpu, |cpu| cpu.elapsed),
        io: io_rate(&earlier.io, &later.io),
        network: traffic_rate(&earlier.network, &later.network),
    }
}

fn traffic_rate(
    earlier: &Reading<NetworkTotals>,
    later: &Reading<NetworkTotals>,
) -> Option<Rate<NetworkRates>> {
    over_window(earlier, later, |earlier, later, window| {
        // An interface that is moved into the netns brings its past with it, and one that leaves takes
        // it away, which others may outweigh: neither is this second's traffic. Not all of them are listed.
        if earlier.counted == later.counted { traffic(earlier.total, later.total, window) } else { None }
    })
}

fn io_rate(earlier: &Reading<IoReading>, later: &Reading<IoReading>) -> Option<Rate<IoRates>> {
    over_window(earlier, later, |earlier, later, window| {
        // A disk that began to be counted brings its past with it, and one that was removed takes it away,
        // which others may outweigh: neither is this second's I/O. A disk that is used for the first time
        // begins at zero.
        let began = earlier.partly_accounted && !later.partly_accounted;
        let removed = later.rows.len() < earlier.rows.len();
        if began || removed { None } else { block_io(earlier.total, later.total, window) }
    })
}

/// Pairs two readings by their own instants.
fn over_window<T, R>(
    earlier: &Reading<T>,
    later: &Reading<T>,
    per_second: impl Fn(&T, &T, f64) -> Option<R>,
) -> Option<Rate<R>> {
    let (Ok(earlier), Ok(later)) = (earlier, later) else { return None };
    let window = later.at.since(earlier.at).filter(|window| *window >= SHORTEST_WINDOW)?;
    let (Stamped { value: earlier, .. }, Stamped { value: later, .. }) = (earlier, later);
    Some(Rate { per_second: per_second(earlier, later, window.as_secs_f64())?, window })
}

/// The earlier reading, if it can be subtracted from the later one.
fn comparable<T: Copy>(
    earlier: &Reading<T>,
    later: &Reading<T>,
    time: impl Fn(&T) -> Duration,
) -> Option<Stamped<T>> {
    let (Ok(earlier), Ok(later)) = (earlier, later) else { return None };
    let grew = earlier.at < later.at && time(&earlier.value) <= time(&later.value);
    grew.then_some(*earlier)
}

/// Mean number of CPUs kept busy over `seconds`.
fn cores(earlier: Duration, later: Duration, seconds: f64) -> Option<f64> {
    later.checked_sub(earlier).map(|busy| busy.as_secs_f64() / seconds)
}

fn block_io(earlier: IoCounters, later: IoCounters, seconds: f64) -> Option<IoRates> {
    let IoCounters { read_bytes, write_bytes, read_operations, write_operations } = later.since(earlier)?;
    Some(IoRates {
        read_bytes: per(read_bytes, seconds),
        write_bytes: per(write_bytes, seconds),
        read_operations: per(read_operations, seconds),
        write_operations: per(write_operations, seconds),
    })
}

fn traffic(earlier: NetworkCounters, later: NetworkCounters, seconds: f64) -> Option<NetworkRates> {
    let added = later.since(earlier)?;
    Some(NetworkRates {
        rx_bytes: per(added.rx_bytes, seconds),
        tx_bytes: per(added.tx_bytes, seconds),
        rx_packets: per(added.rx_packets, seconds),
        tx_packets: per(added.tx_packets, seconds),
    })
}

/// Differences between two sweeps stay far below 2^53, where an `f64` would lose a unit.
fn per(added: u64, seconds: f64) -> f64 {
    added as f64 / seconds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::counters::CpuCounters;
    use crate::model::sweep::NetworkSource;
    use crate::model::sweep::NodeCpu;
    use crate::model::time::Monotonic;
    use crate::model::unavailable::Unavailable;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn cgroup(id: u64, inode: u64, at: u64, usage: u64, written: u64) -> CgroupReading {
        let at = Monotonic::from_nanos(at);
        let throttling = Err(Unavailable::ControllerOff);
        let cpu = CpuCounters { usage: Duration::from_nanos(usage), user: None, system: None, throttling };
        let total = IoCounters { write_bytes: written, ..Default::default() };
        CgroupReading {
            inode,
            cpu: Ok(Stamped { at, value: cpu }),
            io: Ok(Stamped { at, value: IoReading { total, ..Default::default() } }),
            ..CgroupReading::absent(TargetId(id), Unavailable::ControllerOff)
        }
    }

    fn network(id: u64, netns: u64, at: u64, rx_bytes: u64) -> NetworkReading {
        let total = NetworkCounters { rx_bytes, ..Default::default() };
        let value = NetworkTotals { total, ..Default::default() };
        let totals = Ok(Stamped { at: Monotonic::from_nanos(at), value });
        NetworkReading { id: TargetId(id), netns, source: NetworkSource::Netns, rx_suspect: false, totals }
    }

    fn sweep(cgroups: Vec<CgroupReading>, networks: Vec<NetworkReading>) -> Sweep {
        Sweep { cgroups, networks, ..Default::default() }
    }

    fn between(earlier: &Sweep, later: &Sweep) -> Rates {
        let mut into = Rates::default();
        rates(earlier, later, &mut Index::default(), &mut into);
        into
    }

    #[test]
    fn a_rate_divides_by_its_own_two_instants() {
        let earlier = sweep(vec![cgroup(1, 5, SECOND, 2 * SECOND, 0)], vec![network(9, 7, SECOND, 1_000)]);
        let later = sweep(
            vec![cgroup(1, 5, 3 * SECOND, 3 * SECOND, 8_000)],
            vec![network(9, 7, SECOND + SECOND / 2, 1_500)],
        );
        let rates = between(&earlier, &later);
        let cores = rates.cgroups[0].cpu_cores.unwrap();
        assert_eq!((cores.per_second, cores.window), (0.5, Duration::from_secs(2)));
        assert_eq!(rates.cgroups[0].io.unwrap().per_second.write_bytes, 4_000.0);
        assert_eq!(rates.networks[0].unwrap().per_second.rx_bytes, 1_000.0);
    }

    #[test]
    fn another_inode_under_the_same_name_has_no_rate() {
        let earlier = sweep(vec![cgroup(1, 5, SECOND, 0, 0)], vec![]);
        let later = sweep(vec![cgroup(1, 6, 2 * SECOND, SECOND, 0)], vec![]);
        assert_eq!(between(&earlier, &later).cgroups[0], CgroupRates::default());
    }

    #[test]
    fn another_netns_has_no_rate() {
        let earlier = sweep(vec![], vec![network(9, 7, SECOND, 0)]);
        let later = sweep(vec![], vec![network(9, 8, 2 * SECOND, 1_000)]);
        assert_eq!(between(&earlier, &later).networks, [None]);
    }

    #[test]
    fn a_counter_that_went_back_has_no_rate() {
        let earlier = sweep(vec![cgroup(1, 5, SECOND, SECOND, 9)], vec![network(9, 7, SECOND, 10)]);
        let later = sweep(vec![cgroup(1, 5, 2 * SECOND, 0, 8)], vec![network(9, 7, 2 * SECOND, 9)]);
        let rates = between(&earlier, &later);
        assert_eq!((&rates.cgroups[0], rates.networks[0]), (&CgroupRates::default(), None));
    }

    #[test]
    fn block_io_that_begins_to_be_counted_has_no_rate_for_that_interval() {
        let mut earlier = sweep(vec![cgroup(1, 5, SECOND, 0, 0)], vec![]);
        earlier.cgroups[0].io = Err(Unavailable::BlkioNotAccounted);
        let later = sweep(vec![cgroup(1, 5, 2 * SECOND, 0, 9)], vec![]);
        assert_eq!(between(&earlier, &later).cgroups[0].io, None);
    }

    #[test]
    fn a_disk_that_was_removed_costs_the_rate_of_that_interval() {
        let with_disks = |at, written, disks| {
            let mut reading = cgroup(1, 5, at, 0, written);
            if let Ok(io) = &mut reading.io {
                io.value.rows = 0..disks;
            }
            sweep(vec![reading], vec![])
        };
        let io =
            |earlier, later| between(&earlier, &later).cgroups[0].io.map(|rate| rate.per_second.write_bytes);
        assert_eq!(io(with_disks(SECOND, 10, 2), with_disks(2 * SECOND, 50, 1)), None);
        // The first use of a disk begins at zero.
        assert_eq!(io(with_disks(SECOND, 10, 1), with_disks(2 * SECOND, 50, 2)), Some(40.0));
    }

    #[test]
    fn an_interface_that_comes_with_a_past_or_leaves_costs_the_rate_of_that_interval() {
        // Whether it is among those that are listed or not: here none is.
        let over = |interfaces: u64, at, received| {
            let mut reading = network(9, 7, at, received);
            if let Ok(totals) = &mut reading.totals {
                totals.value.counted = interfaces;
            }
            sweep(vec![], vec![reading])
        };
        let received = |earlier: &Sweep, later: &Sweep| {
            between(earlier, later).networks[0].map(|rate| rate.per_second.rx_bytes)
        };
        let [first, second, third] =
            [over(70, SECOND, 1_000), over(71, 2 * SECOND, 9_000), over(71, 3 * SECOND, 9_500)];
        assert_eq!(received(&first, &second), None);
        assert_eq!(received(&second, &third), Some(500.0));
        assert_eq!(received(&over(70, SECOND, 1_000), &over(70, 2 * SECOND, 9_000)), Some(8_000.0));
        let mut node = [first, second];
        for sweep in &mut node {
            sweep.node.network = sweep.networks[0].totals.clone();
        }
        assert_eq!(between(&node[0], &node[1]).node.network, None);
    }

    #[test]
    fn the_node_has_rates_of_its_own() {
        let node = |at, used, received| {
            let at = Monotonic::from_nanos(at);
            let mut sweep = Sweep::default();
            let cpu = NodeCpu { usage: Duration::from_nanos(used), ..Default::default() };
            sweep.node.cpu = Ok(Stamped { at, value: cpu });
            let total = NetworkCounters { rx_bytes: received, ..Default::default() };
            sweep.node.network = Ok(Stamped { at, value: NetworkTotals { total, ..Default::default() } });
            sweep
        };
        let rates = between(&node(SECOND, SECOND, 100), &node(3 * SECOND, 4 * SECOND, 300)).node;
        assert_eq!(rates.cpu_cores.unwrap().per_second, 1.5);
        assert_eq!(rates.network.unwrap().per_second.rx_bytes, 100.0);
        assert_eq!(rates.io, None);
    }

    #[test]
    fn targets_are_paired_by_id_when_their_order_changed() {
        let earlier = sweep(vec![cgroup(1, 5, SECOND, 0, 0), cgroup(2, 6, SECOND, 0, 0)], vec![]);
        let mut later =
            sweep(vec![cgroup(2, 6, 2 * SECOND, SECOND, 0), cgroup(3, 7, 2 * SECOND, SECOND, 0)], vec![]);
        later.targets = Arc::default();
        let rates = between(&earlier, &later);
        assert_eq!(rates.cgroups[0].cpu_cores.unwrap().per_second, 1.0);
        assert_eq!(rates.cgroups[1].cpu_cores, None);
    }

    #[test]
    fn a_window_of_a_few_milliseconds_would_show_the_scheduler_s_tick() {
        let earlier = sweep(vec![cgroup(1, 5, SECOND, 0, 0)], vec![]);
        let later = sweep(vec![cgroup(1, 5, SECOND + SECOND / 100, SECOND / 100, 0)], vec![]);
        assert_eq!(between(&earlier, &later).cgroups[0].cpu_cores, None);
    }

    proptest! {
        #[test]
        fn a_rate_is_never_negative_nor_infinite(
            (at, later_at) in (any::<u64>(), any::<u64>()),
            (used, later_used) in (any::<u64>(), any::<u64>()),
            (got, later_got) in (any::<u64>(), any::<u64>()),
        ) {
            let earlier = sweep(vec![cgroup(1, 5, at, used, got)], vec![network(9, 7, at, got)]);
            let later = sweep(vec![cgroup(1, 5, later_at, later_used, later_got)], vec![network(9, 7, later_at, later_got)]);
            let rates = between(&earlier, &later);
            let all = [
                rates.cgroups[0].cpu_cores.map(|rate| rate.per_second),
                rates.cgroups[0].io.map(|rate| rate.per_second.write_bytes),
                rates.networks[0].map(|rate| rate.per_second.rx_bytes),
            ];
            for rate in all.into_iter().flatten() {
                prop_assert!(rate.is_finite() && rate >= 0.0);
            }
        }
    }
}
