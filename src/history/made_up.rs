//! A node made up for tests: as many busy pods as are wanted.

use crate::model::counters::CpuCounters;
use crate::model::counters::IoCounters;
use crate::model::counters::Limits;
use crate::model::counters::MemoryCounters;
use crate::model::counters::NetworkCounters;
use crate::model::counters::ThrottlingCounters;
use crate::model::details::DetailRows;
use crate::model::details::Details;
use crate::model::identity::ContainerId;
use crate::model::identity::ContainerKind;
use crate::model::identity::ContainerState;
use crate::model::identity::KnownContainer;
use crate::model::identity::KnownPod;
use crate::model::identity::PodUid;
use crate::model::identity::Requests;
use crate::model::identity::Source;
use crate::model::snapshot::Carried;
use crate::model::snapshot::CgroupFigures;
use crate::model::snapshot::ContainerFigures;
use crate::model::snapshot::CpuFigures;
use crate::model::snapshot::IoFigures;
use crate::model::snapshot::IoRates;
use crate::model::snapshot::NetworkFigures;
use crate::model::snapshot::NetworkRates;
use crate::model::snapshot::NodeFigures;
use crate::model::snapshot::NodeRates;
use crate::model::snapshot::PodFigures;
use crate::model::snapshot::Rate;
use crate::model::snapshot::Snapshot;
use crate::model::sweep::NetworkSource;
use crate::model::sweep::Stamped;
use crate::model::target::CgroupPath;
use crate::model::target::CgroupRole;
use crate::model::target::CgroupTarget;
use crate::model::target::ContainerTarget;
use crate::model::target::NetworkTarget;
use crate::model::target::PodTarget;
use crate::model::target::TargetId;
use crate::model::target::TargetSet;
use crate::model::time::ClockPair;
use crate::model::time::Monotonic;
use crate::model::time::WallTime;
use crate::model::unavailable::Unavailable;
use std::sync::Arc;
use std::time::Duration;

pub(super) const SECOND: u64 = 1_000_000_000;

/// A pod of a made-up node: its number, its containers' numbers, and how long its name is.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) pod: u64,
    pub(super) containers: Vec<u64>,
    pub(super) name: String,
}

pub(super) fn made(pod: u64, containers: impl IntoIterator<Item = u64>) -> Made {
    Made { pod, containers: containers.into_iter().collect(), name: format!("web-{pod}") }
}

/// The kubelet's limit of pods, each with two containers.
pub(super) fn foreseen() -> Vec<Made> {
    (0..110).map(|pod| made(pod, [2 * pod, 2 * pod + 1])).collect()
}

pub(super) fn uid(pod: u64) -> PodUid {
    PodUid::new(&format!("0a1b2c3d-0000-4000-8000-{pod:012}")).unwrap()
}

pub(super) fn container_id(number: u64) -> ContainerId {
    ContainerId::new(&format!("{number:064x}")).unwrap()
}

/// What names the cgroup of a pod; a container's own number names that of it.
pub(super) fn pod_id(pod: u64) -> u64 {
    1_000_000 + pod
}

pub(super) fn cgroup(id: u64, path: String, role: CgroupRole) -> CgroupTarget {
    CgroupTarget {
        id: TargetId(id),
        path: CgroupPath::new(path),
        role,
        first_seen: Monotonic::default(),
        since: WallTime::default(),
    }
}

pub(super) fn known_container(number: u64) -> KnownContainer {
    KnownContainer {
        id: Some(container_id(number)),
        name: format!("app-{number}").into(),
        kind: Some(ContainerKind::App),
        image: Some("registry.example/team/app:1.2.3".into()),
        state: ContainerState::Running,
        state_reason: None,
        restart_count: 1,
        started_at: Some(WallTime::from_unix_nanos(7)),
        requests: Requests::default(),
        runtime: None,
    }
}

pub(super) fn pod_target(pod: &Made) -> PodTarget {
    let mut known = KnownPod::named(uid(pod.pod), "default", &pod.name, Source::Cri);
    known.containers = pod.containers.iter().map(|number| known_container(*number)).collect();
    let child = |number: &u64| ContainerTarget {
        cgroup: cgroup(*number, format!("pod{}/{number}", pod.pod), CgroupRole::Container),
        container_id: container_id(*number),
        known: Some(Arc::new(known_container(*number))),
    };
    PodTarget {
        id: TargetId(1),
        runtime_uid: uid(pod.pod),
        cgroup: cgroup(pod_id(pod.pod), format!("pod{}", pod.pod), CgroupRole::Pod),
        containers: pod.containers.iter().map(child).collect(),
        known: Some(Arc::new(known)),
        sandbox: None,
        sandbox_settled: true,
        qos_class: None,
        host_network: false,
        process: None,
        network: NetworkTarget::Absent(Unavailable::NoProcess),
        interface: None,
        host_interface: None,
        runtime_vm: false,
        evidence: Arc::default(),
        since: WallTime::default(),
    }
}

pub(super) fn targets(pods: &[Made]) -> Arc<TargetSet> {
    Arc::new(TargetSet {
        generation: 1,
        pods: pods.iter().map(pod_target).map(Arc::new).collect(),
        ..TargetSet::default()
    })
}

pub(super) fn io(unit: u64) -> IoCounters {
    IoCounters {
        read_bytes: unit * 40_960,
        write_bytes: unit * 81_920,
        read_operations: unit * 3,
        write_operations: unit * 9,
    }
}

/// As cgroup v2 counts.
fn micros(time: Duration) -> Duration {
    Duration::from_micros(u64::try_from(time.as_micros()).unwrap())
}

/// What a busy cgroup that is days old gives. `unit` and `tick` make every row another one.
pub(super) fn figures(unit: u64, tick: u64) -> CgroupFigures {
    let at = Monotonic::from_nanos(tick * SECOND + unit * 21_337);
    let window = Duration::from_nanos(SECOND + unit * 173 % 90_000);
    let seconds = window.as_secs_f64();
    let busy = 37_000_000 + unit * 1_009_000 + tick % 7 * 1000;
    let usage = Duration::from_nanos(80_000 * SECOND + busy * (tick + 1));
    let per = |added: u32| f64::from(added) / seconds;
    let cores = Duration::from_nanos(busy).as_secs_f64() / seconds;
    let cpu = CpuFigures {
        counters: CpuCounters {
            usage,
            user: Some(micros(usage / 3 * 2)),
            system: Some(micros(usage / 3)),
            throttling: Ok(ThrottlingCounters {
                periods: tick * 10,
                throttled_periods: tick,
                throttled: micros(usage / 50),
                bursts: Some(0),
                burst: Some(Duration::ZERO),
            }),
        },
        cores: Some(Rate { per_second: cores, window }),
    };
    let memory = MemoryCounters {
        usage_bytes: (200 << 20) + unit * 4096,
        anon_bytes: Some((100 << 20) + tick * 4096),
        file_bytes: Some(90 << 20),
        inactive_file_bytes: Some(40 << 20),
        swap_bytes: Some(0),
        peak_bytes: Some(250 << 20),
        page_faults: Some(1_000_000 + unit * tick),
        major_page_faults: Some(200 + unit),
        oom_kills: Some(0),
        limit_hits: None,
        high_hits: None,
        ooms: None,
    };
    let rates = IoRates {
        read_bytes: per(40_960),
        write_bytes: per(8192),
        read_operations: per(3),
        ..Default::default()
    };
    let total = io(1_000 + unit * tick);
    let io = IoFigures {
        counters: Carried { total, raw: total, since: WallTime::default() },
        rates: Some(Rate { per_second: rates, window }),
        devices: 0..0,
        partly_accounted: false,
    };
    CgroupFigures {
        cpu: Ok(Stamped { at, value: cpu }),
        memory: Ok(Stamped { at, value: memory }),
        io: Ok(Stamped { at, value: io }),
        pids: Err(Unavailable::ControllerOff),
        pressure: Err(Unavailable::KernelWithoutPsi),
        limits: Limits::default(),
        details: DetailRows::default(),
    }
}

pub(super) fn network(unit: u64, tick: u64) -> Stamped<NetworkFigures> {
    let window = Duration::from_nanos(SECOND + unit * 311);
    let per = |added: u32| f64::from(added) / window.as_secs_f64();
    let rates = NetworkRates {
        rx_bytes: per(123_456),
        tx_bytes: per(65_432),
        rx_packets: per(321),
        tx_packets: per(123),
    };
    let total = NetworkCounters::from_array([
        5_000_000_000 + unit * tick,
        4_000_000 + tick,
        0,
        3,
        6_000_000_000 + unit,
        3_000_000,
        0,
        0,
    ]);
    let value = NetworkFigures {
        source: NetworkSource::Netns,
        rx_suspect: false,
        counters: Carried { total, raw: total, since: WallTime::default() },
        rates: Some(Rate { per_second: rates, window }),
        interfaces: 0..0,
        truncated: false,
        overlapping: false,
    };
    Stamped { at: Monotonic::from_nanos(tick * SECOND + unit * 30_000), value }
}

/// The node at sweep `tick`, which is as many seconds old.
pub(super) fn snapshot(tick: u64, pods: &[Made], targets: &Arc<TargetSet>) -> Snapshot {
    let mut shown = Snapshot {
        process_start: WallTime::default(),
        node_name: "n1".into(),
        tick,
        clock: ClockPair {
            monotonic: Monotonic::from_nanos(tick * SECOND),
            wall: WallTime::from_unix_nanos(1_795_222_923 * SECOND + tick * SECOND),
        },
        interval: Duration::from_secs(1),
        sweep: Duration::from_millis(3),
        targets: targets.clone(),
        device_names: Arc::default(),
        pods: Vec::new(),
        containers: Vec::new(),
        devices: Vec::new(),
        interfaces: Vec::new(),
        details: Details::default(),
        node: NodeFigures {
            cpu: Err(Unavailable::NotYet),
            memory: Err(Unavailable::NotYet),
            io: Err(Unavailable::NotYet),
            network: Err(Unavailable::NotYet),
            paging: Err(Unavailable::NotYet),
            pressure: Err(Unavailable::NotYet),
            tasks: Err(Unavailable::NotYet),
            file_systems: Err(Unavailable::NotYet),
            rates: NodeRates::default(),
            system: Vec::new(),
            booted_at: None,
            forwards_ipv4: None,
        },
    };
    for (target, pod) in (0..).zip(pods) {
        let first = u32::try_from(shown.containers.len()).unwrap();
        for (target, number) in (0..).zip(&pod.containers) {
            shown.containers.push(ContainerFigures {
                target,
                cgroup: figures(number % 997, tick),
                cpu_before: None,
                percpu_before: 0..0,
            });
        }
        shown.pods.push(PodFigures {
            target,
            cgroup: figures(pod.pod % 997 + 1000, tick),
            network: Ok(network(pod.pod % 997, tick)),
            containers_sum: None,
            containers: first..u32::try_from(shown.containers.len()).unwrap(),
            oldest: Monotonic::from_nanos(tick * SECOND),
        });
    }
    shown
}
