//! What must not go back does not.

use super::*;
use crate::model::counters::CpuCounters;
use crate::model::counters::Limits;
use crate::model::counters::MemoryCounters;
use crate::model::identity::ContainerId;
use crate::model::sweep::IoReading;
use crate::model::sweep::NetworkSource;
use crate::model::sweep::NetworkTotals;
use crate::model::target::CgroupPath;
use crate::model::target::CgroupRole;
use crate::model::target::CgroupTarget;
use crate::model::target::ContainerTarget;
use crate::model::target::NetworkTarget;
use crate::model::target::TargetSet;
use crate::model::time::ClockPair;

const MB: u64 = 1_000_000;

fn cgroup(id: u64, role: CgroupRole) -> CgroupTarget {
    CgroupTarget {
        id: TargetId(id),
        path: CgroupPath::new(format!("kubepods/{id}")),
        role,
        first_seen: Monotonic::default(),
        since: WallTime::default(),
    }
}

/// A pod with cgroup 1, netns `network` and these children.
fn targets(network: u64, children: &[u64]) -> Arc<TargetSet> {
    let containers = children.iter().map(|&id| ContainerTarget {
        cgroup: cgroup(id, CgroupRole::Container),
        container_id: ContainerId::new(&format!("{id:064x}")).unwrap(),
        known: None,
    });
    let pod = PodTarget {
        id: TargetId(network),
        runtime_uid: PodUid::new("aa-bb").unwrap(),
        known: None,
        cgroup: cgroup(1, CgroupRole::Pod),
        containers: containers.collect(),
        sandbox: None,
        sandbox_settled: true,
        qos_class: None,
        host_network: false,
        process: None,
        network: NetworkTarget::Absent(Unavailable::NotYet),
        interface: None,
        host_interface: None,
        runtime_vm: false,
        evidence: Arc::default(),
        since: WallTime::default(),
    };
    Arc::new(TargetSet { generation: 1, pods: vec![Arc::new(pod)], ..TargetSet::default() })
}

fn reading(id: u64, written: u64, oom_kills: u64) -> CgroupReading {
    let at = Monotonic::from_nanos(1);
    let io = IoReading {
        total: IoCounters { write_bytes: written, write_operations: written / MB, ..Default::default() },
        ..Default::default()
    };
    let usage = Duration::from_secs(id);
    let throttling = Err(Unavailable::ControllerOff);
    CgroupReading {
        cpu: Ok(Stamped { at, value: CpuCounters { usage, user: None, system: None, throttling } }),
        memory: Ok(Stamped {
            at,
            value: MemoryCounters { usage_bytes: id, oom_kills: Some(oom_kills), ..Default::default() },
        }),
        io: Ok(Stamped { at, value: io }),
        limits: Limits::default(),
        ..CgroupReading::absent(TargetId(id), Unavailable::ControllerOff)
    }
}

/// One sweep: the netns' id and received bytes, then (id, bytes written, OOM kills) of each cgroup.
fn sweep(tick: u64, (network, rx_bytes): (u64, u64), cgroups: &[(u64, u64, u64)]) -> Sweep {
    let at = Monotonic::from_nanos(1);
    let total = NetworkCounters { rx_bytes, ..Default::default() };
    let children: Vec<_> = cgroups[1..].iter().map(|(id, ..)| *id).collect();
    Sweep {
        tick,
        clock: ClockPair {
            monotonic: Monotonic::from_nanos(tick * 1_000_000_000),
            wall: WallTime::from_unix_nanos(tick * 1_000_000_000),
        },
        targets: targets(network, &children),
        cgroups: cgroups.iter().map(|&(id, written, kills)| reading(id, written, kills)).collect(),
        networks: vec![NetworkReading {
            id: TargetId(network),
            netns: network,
            source: NetworkSource::Netns,
            rx_suspect: false,
            totals: Ok(Stamped { at, value: NetworkTotals { total, ..Default::default() } }),
        }],
        ..Default::default()
    }
}

fn aggregator(counters_die_with_children: bool) -> Aggregator {
    Aggregator::new("n1".into(), WallTime::default(), Duration::from_secs(1), counters_die_with_children)
}

fn fold(aggregator: &mut Aggregator, sweep: &Sweep) -> Snapshot {
    let rates = Rates {
        cgroups: vec![CgroupRates::default(); sweep.cgroups.len()],
        networks: vec![None; sweep.networks.len()],
        ..Default::default()
    };
    aggregator.fold(sweep, &rates, Beside::default())
}

fn written(snapshot: &Snapshot) -> u64 {
    snapshot.pods[0].cgroup.io.as_ref().unwrap().value.counters.total.write_bytes
}

fn received(snapshot: &Snapshot) -> Carried<NetworkCounters> {
    snapshot.pods[0].network.as_ref().unwrap().value.counters
}

#[test]
fn a_pod_keeps_what_a_removed_container_had_written_on_v1() {
    let mut aggregator = aggregator(true);
    let first = fold(&mut aggregator, &sweep(1, (9, 0), &[(1, 24 * MB, 0), (2, 8 * MB, 0), (3, 16 * MB, 0)]));
    assert_eq!(written(&first), 24 * MB);
    // The kernel's recursive figure fell by what container 2 had, and container 3 wrote 1 MB more.
    let second = fold(&mut aggregator, &sweep(2, (9, 0), &[(1, 17 * MB, 0), (3, 17 * MB, 0)]));
    assert_eq!(written(&second), 25 * MB);
    let third = fold(&mut aggregator, &sweep(3, (9, 0), &[(1, 20 * MB, 0), (3, 17 * MB, 0), (4, 3 * MB, 0)]));
    assert_eq!(written(&third), 28 * MB);
    assert_eq!(third.pods[0].cgroup.io.as_ref().unwrap().value.counters.raw.write_bytes, 20 * MB);
}

#[test]
fn a_removed_container_changes_nothing_on_v2_where_the_kernel_keeps_the_sum() {
    let mut aggregator = aggregator(false);
    fold(&mut aggregator, &sweep(1, (9, 0), &[(1, 24 * MB, 0), (2, 8 * MB, 0)]));
    let second = fold(&mut aggregator, &sweep(2, (9, 0), &[(1, 24 * MB, 0)]));
    assert_eq!(written(&second), 24 * MB);
}

#[test]
fn a_new_netns_carries_on_where_the_old_one_ended() {
    let mut aggregator = aggregator(true);
    let first = fold(&mut aggregator, &sweep(1, (9, 5 * MB), &[(1, 0, 0)]));
    let second = fold(&mut aggregator, &sweep(2, (10, MB), &[(1, 0, 0)]));
    assert_eq!(received(&second).total.rx_bytes, 6 * MB);
    assert_eq!(received(&second).raw.rx_bytes, MB);
    assert_eq!(received(&second).since, received(&first).since);
}

#[test]
fn a_new_netns_that_has_counted_more_than_the_old_one_is_not_taken_for_it() {
    let mut aggregator = aggregator(true);
    fold(&mut aggregator, &sweep(1, (9, MB), &[(1, 0, 0)]));
    let second = fold(&mut aggregator, &sweep(2, (10, 5 * MB), &[(1, 0, 0)]));
    assert_eq!(received(&second).total.rx_bytes, 6 * MB);
}

#[test]
fn a_counter_that_falls_for_no_known_reason_still_does_not_go_back() {
    let mut aggregator = aggregator(true);
    fold(&mut aggregator, &sweep(1, (9, 5 * MB), &[(1, 0, 0)]));
    let second = fold(&mut aggregator, &sweep(2, (9, 2 * MB), &[(1, 0, 0)]));
    assert_eq!(received(&second).total.rx_bytes, 5 * MB);
    let third = fold(&mut aggregator, &sweep(3, (9, 3 * MB), &[(1, 0, 0)]));
    assert_eq!(received(&third).total.rx_bytes, 6 * MB);
}

#[test]
fn a_pod_remembers_the_oom_kills_of_its_dead_containers_on_v1() {
    let mut aggregator = aggregator(true);
    fold(&mut aggregator, &sweep(1, (9, 0), &[(1, 0, 0), (2, 0, 1)]));
    let second = fold(&mut aggregator, &sweep(2, (9, 0), &[(1, 0, 0), (3, 0, 2)]));
    assert_eq!(second.pods[0].cgroup.memory.unwrap().value.oom_kills, Some(3));
}

#[test]
fn the_sum_over_containers_is_absent_as_soon_as_one_of_them_is() {
    let mut aggregator = aggregator(true);
    let mut sweep = sweep(1, (9, 0), &[(1, 0, 0), (2, 0, 0), (3, 0, 0)]);
    let whole = fold(&mut aggregator, &sweep).pods[0].containers_sum.unwrap();
    assert_eq!((whole.cpu_usage, whole.memory_usage_bytes), (Some(Duration::from_secs(5)), Some(5)));
    sweep.cgroups[2].memory = Err(Unavailable::NotYet);
    let partial = fold(&mut aggregator, &sweep).pods[0].containers_sum.unwrap();
    assert_eq!((partial.cpu_usage, partial.memory_usage_bytes), (Some(Duration::from_secs(5)), None));
}

#[test]
fn a_pod_whose_cgroup_is_gone_is_in_no_snapshot() {
    let mut aggregator = aggregator(true);
    let mut sweep = sweep(1, (9, 0), &[(1, 0, 0), (2, 0, 0)]);
    sweep.cgroups[0].alive = false;
    let snapshot = fold(&mut aggregator, &sweep);
    assert!(snapshot.pods.is_empty() && snapshot.containers.is_empty());
}

#[test]
fn a_netns_that_was_lost_and_found_again_is_not_counted_twice() {
    let mut aggregator = aggregator(true);
    fold(&mut aggregator, &sweep(1, (9, 5 * MB), &[(1, 0, 0)]));
    let mut found_again = sweep(2, (10, 6 * MB), &[(1, 0, 0)]);
    found_again.networks[0].netns = 9;
    assert_eq!(received(&fold(&mut aggregator, &found_again)).total.rx_bytes, 6 * MB);
}

#[test]
fn a_child_that_is_missed_before_the_kernel_forgets_its_io_is_not_counted_twice_on_v1() {
    let mut aggregator = aggregator(true);
    fold(&mut aggregator, &sweep(1, (9, 0), &[(1, 24 * MB, 0), (2, 8 * MB, 0), (3, 16 * MB, 0)]));
    // Child 2 is no target any more, but its directory in this hierarchy is still there.
    let second = fold(&mut aggregator, &sweep(2, (9, 0), &[(1, 24 * MB, 0), (3, 16 * MB, 0)]));
    assert_eq!(written(&second), 24 * MB);
    let third = fold(&mut aggregator, &sweep(3, (9, 0), &[(1, 16 * MB, 0), (3, 16 * MB, 0)]));
    assert_eq!(written(&third), 24 * MB);
}

#[test]
fn a_child_that_cannot_be_read_for_a_sweep_is_not_counted_twice() {
    let mut aggregator = aggregator(true);
    fold(&mut aggregator, &sweep(1, (9, 0), &[(1, 8 * MB, 0), (2, 8 * MB, 1)]));
    let mut blinking = sweep(2, (9, 0), &[(1, 8 * MB, 0), (2, 0, 0)]);
    blinking.cgroups[1] =
        CgroupReading { alive: false, ..CgroupReading::absent(TargetId(2), Unavailable::NotYet) };
    fold(&mut aggregator, &blinking);
    let third = fold(&mut aggregator, &sweep(3, (9, 0), &[(1, 9 * MB, 0), (2, 9 * MB, 1)]));
    assert_eq!(written(&third), 9 * MB);
    assert_eq!(third.pods[0].cgroup.memory.unwrap().value.oom_kills, Some(1));
}

/// The same netns, read from `source`: received and sent bytes.
fn from(source: NetworkSource, tick: u64, rx_bytes: u64, tx_bytes: u64) -> Sweep {
    let mut sweep = sweep(tick, (9, 0), &[(1, 0, 0)]);
    let network = &mut sweep.networks[0];
    (network.source, network.rx_suspect) = (source, source == NetworkSource::NetnsIp);
    let total = &mut network.totals.as_mut().unwrap().value.total;
    (total.rx_bytes, total.tx_bytes) = (rx_bytes, tx_bytes);
    sweep
}

#[test]
fn another_witness_of_the_same_traffic_adds_what_it_knows_and_takes_nothing_back() {
    let (devices, ip) = (NetworkSource::Netns, NetworkSource::NetnsIp);
    let mut aggregator = aggregator(true);
    // Source, received and sent bytes as read, and what the pod has received in all.
    let series = [
        (devices, 1_437, 100, 1_437),
        (ip, 700_000, 200, 700_000), // what the device had hidden comes back in one piece
        (ip, 710_000, 300, 710_000),
        (devices, 2_000, 400, 710_000), // the device is believed again: nothing is lost,
        (devices, 2_500, 500, 710_500), // and it goes on from there
        (ip, 712_000, 600, 712_000),    // nor is anything counted twice
        (ip, 712_001, 700, 712_001),
    ];
    for (tick, (source, received_now, sent, expected)) in (1..).zip(series) {
        let counters = received(&fold(&mut aggregator, &from(source, tick, received_now, sent)));
        assert_eq!(counters.total.rx_bytes, expected, "sweep {tick}");
        assert_eq!((counters.raw.rx_bytes, counters.total.tx_bytes), (received_now, sent), "sweep {tick}");
        assert_eq!(counters.since, WallTime::from_unix_nanos(1_000_000_000), "the base was kept");
    }
}

#[test]
fn a_netns_made_anew_is_not_mixed_up_with_the_witness_of_the_one_before() {
    let mut aggregator = aggregator(true);
    fold(&mut aggregator, &from(NetworkSource::NetnsIp, 1, 5_000, 10));
    let mut anew = from(NetworkSource::Netns, 2, 30, 3);
    (anew.networks[0].id, anew.networks[0].netns) = (TargetId(10), 10);
    assert_eq!(received(&fold(&mut aggregator, &anew)).total.rx_bytes, 5_030);
    anew = from(NetworkSource::NetnsIp, 3, 400, 4);
    (anew.networks[0].id, anew.networks[0].netns) = (TargetId(10), 10);
    let counters = received(&fold(&mut aggregator, &anew));
    assert_eq!((counters.total.rx_bytes, counters.total.tx_bytes), (5_400, 14));
}

#[test]
fn a_process_found_again_while_the_witness_changes_counts_nothing_twice() {
    let mut aggregator = aggregator(true);
    fold(&mut aggregator, &from(NetworkSource::NetnsIp, 1, 5_000, 1_000));
    let mut again = from(NetworkSource::Netns, 2, 30, 1_001);
    again.networks[0].id = TargetId(10);
    let counters = received(&fold(&mut aggregator, &again));
    assert_eq!((counters.total.rx_bytes, counters.total.tx_bytes), (5_000, 1_001));
}
