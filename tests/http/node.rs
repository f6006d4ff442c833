//! A node made by hand: every shape a pod can have, and no kernel.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use podvitals::model::counters::{
    CpuCounters, CpuQuota, DeviceNumber, DeviceRow, InterfaceRow, IoCounters, Limits, MemoryCounters,
    NetworkCounters, PidsCounters, PressureCounters, Stall, StallTime, SwapLimit, ThrottlingCounters,
};
use podvitals::model::details::{DetailRows, Details};
use podvitals::model::file_systems::{FileSystem, FileSystems, Holds, Inodes, Space};
use podvitals::model::identity::{
    ContainerKind, ContainerState, Disagreement, KnownContainer, KnownPod, PodUid, Said, Source, Subject,
};
use podvitals::model::snapshot::{
    Carried, CgroupFigures, ContainerFigures, ContainersSum, CpuFigures, DeviceNames, IoFigures, IoRates,
    NetworkFigures, NetworkRates, NodeFigures, NodeRates, PodFigures, Snapshot, SystemFigures,
};
use podvitals::model::sweep::{NetworkSource, NodeCpu, NodeMemory, NodePaging, NodeTasks, Reading};
use podvitals::model::target::{
    Evidence, HostInterface, Link, NetworkTarget, PodTarget, SystemContainer, TargetSet,
};
use podvitals::model::time::{ClockPair, Monotonic, WallTime};
use podvitals::model::unavailable::Unavailable;

use super::parts::{
    child, container_id, interface_name, known_container, known_pod, rate, read, sandbox_of, target, wall,
};
use super::{earlier, memory_stat};

/// 2026-11-21T01:02:03.123456789Z.
pub(crate) const SWEEP_WALL: u64 = 1_795_222_923_123_456_789;
/// Two days of uptime.
pub(crate) const SWEEP_AT: u64 = 172_800 * SECOND;
pub(crate) const PROCESS_START: u64 = SWEEP_WALL - 900 * SECOND;
pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const MIB: u64 = 1 << 20;

pub(crate) const WEB_UID: &str = "0a1b2c3d-0000-4000-8000-000000000001";
pub(crate) const OLD_DB_UID: &str = "0a1b2c3d-0000-4000-8000-000000000002";
pub(crate) const NEW_DB_UID: &str = "0a1b2c3d-0000-4000-8000-000000000003";
pub(crate) const ETCD_HASH: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
pub(crate) const ETCD_UID: &str = "0a1b2c3d-0000-4000-8000-000000000004";
pub(crate) const YOUNG_UID: &str = "0a1b2c3d-0000-4000-8000-000000000005";
pub(crate) const NAMELESS_UID: &str = "0a1b2c3d-0000-4000-8000-000000000006";

fn io_counters(unit: u64) -> IoCounters {
    IoCounters {
        read_bytes: 3 * unit * MIB,
        write_bytes: 8 * unit * MIB,
        read_operations: 30 * unit,
        write_operations: 80 * unit,
    }
}

fn traffic(unit: u64) -> NetworkCounters {
    NetworkCounters::from_array([
        6_000_000_000 * unit,
        4_000_000 * unit,
        unit,
        2 * unit,
        5_000_000_000 * unit,
        3_000_000 * unit,
        3 * unit,
        4 * unit,
    ])
}

/// A cgroup that gave everything. `unit` scales the counters, so that no two pods look alike.
fn figures(unit: u64, devices: Range<u32>) -> CgroupFigures {
    let rates = IoRates {
        read_bytes: 1024.0 * 3.0,
        write_bytes: 8192.0,
        read_operations: 0.75,
        write_operations: 2.0,
    };
    let stalled = |micros, avg10| StallTime {
        total: Duration::from_micros(micros),
        avg10,
        avg60: avg10 / 2.0,
        avg300: avg10 / 4.0,
    };
    let stall = Stall { some: stalled(5 * unit, 0.25), full: Some(stalled(unit, 0.125)) };
    CgroupFigures {
        cpu: read(
            10,
            CpuFigures {
                counters: CpuCounters {
                    usage: Duration::from_nanos(17 * unit * SECOND + 1),
                    user: Some(Duration::from_secs(11 * unit)),
                    system: Some(Duration::from_secs(6 * unit)),
                    throttling: Ok(ThrottlingCounters {
                        periods: 100 * unit,
                        throttled_periods: 7 * unit,
                        throttled: Duration::from_millis(350),
                        bursts: Some(2 * unit),
                        burst: Some(Duration::from_millis(20)),
                    }),
                },
                cores: rate(0.125 * f64::from(u32::try_from(unit).unwrap())),
            },
        ),
        memory: read(
            20,
            MemoryCounters {
                usage_bytes: 200 * unit * MIB,
                anon_bytes: Some(100 * unit * MIB),
                file_bytes: Some(90 * unit * MIB),
                inactive_file_bytes: Some(40 * unit * MIB),
                swap_bytes: Some(0),
                peak_bytes: Some(250 * unit * MIB),
                page_faults: Some(12_345 * unit),
                major_page_faults: Some(12),
                oom_kills: Some(0),
                limit_hits: Some(3 * unit),
                high_hits: Some(5 * unit),
                ooms: Some(unit),
            },
        ),
        io: read(
            30,
            IoFigures {
                counters: Carried { total: io_counters(2 * unit), raw: io_counters(unit), since: wall(900) },
                rates: rate(rates),
                devices,
                partly_accounted: false,
            },
        ),
        pids: read(40, PidsCounters { current: 7 * unit }),
        pressure: read(
            50,
            PressureCounters {
                cpu: Some(Stall { full: None, ..stall }),
                memory: Some(stall),
                io: Some(stall),
            },
        ),
        limits: Limits {
            cpu_cores: Some(1.5),
            cpu_quota: Some(CpuQuota {
                quota: Duration::from_millis(150),
                period: Duration::from_millis(100),
            }),
            memory_bytes: Some(512 * MIB),
            pids: Some(100),
            swap: Some(SwapLimit { bytes: 256 * MIB, as_told: 256 * MIB }),
            reservation_bytes: Some(64 * MIB),
            cpu_shares: Some(256),
            ..Limits::default()
        },
        details: DetailRows::default(),
    }
}

/// A cgroup that gave nothing.
fn nothing(why: Unavailable) -> CgroupFigures {
    CgroupFigures {
        cpu: Err(why),
        memory: Err(why),
        io: Err(why),
        pids: Err(why),
        pressure: Err(why),
        limits: Limits::default(),
        details: DetailRows::default(),
    }
}

fn network(source: NetworkSource, unit: u64, interfaces: Range<u32>) -> Reading<NetworkFigures> {
    let rates = NetworkRates { rx_bytes: 1500.0, tx_bytes: 750.5, rx_packets: 1.0, tx_packets: 0.5 };
    read(
        60,
        NetworkFigures {
            source,
            rx_suspect: false,
            counters: Carried { total: traffic(2 * unit), raw: traffic(unit), since: wall(900) },
            rates: rate(rates),
            interfaces,
            truncated: false,
            overlapping: false,
        },
    )
}

/// Everything there is to know of a pod: two containers, two interfaces, two devices.
fn web(rows: &mut Rows) -> PodTarget {
    let mut known = known_pod(WEB_UID, "default", "web");
    known.sandboxes = vec![sandbox_of('a', true)];
    let mut target = target(WEB_UID, "burstable", 'a', None);
    let path = target.cgroup.path.to_string();
    target.containers = vec![
        child(&path, 'd', Some(("web", ContainerKind::App))),
        child(&path, 'c', Some(("proxy", ContainerKind::Sidecar))),
        child(&path, 'b', Some(("setup", ContainerKind::Init))),
    ];
    known.containers =
        target.containers.iter().map(|child| (**child.known.as_ref().unwrap()).clone()).collect();
    // Between two instances: its last one has no cgroup any more.
    let crashing = known_container(container_id('e'), "crashing", ContainerKind::App);
    known.containers.push(KnownContainer {
        state: ContainerState::Waiting,
        state_reason: Some("CrashLoopBackOff".into()),
        ..(*crashing).clone()
    });
    known.disagreements = vec![Disagreement {
        about: Subject::Name,
        first: Said { source: Source::Kube, says: "default/web".into() },
        second: Said { source: Source::Cri, says: "default/other".into() },
    }];
    target.known = Some(Arc::new(known));
    let host = HostInterface {
        index: 9,
        name: interface_name("veth1a2b"),
        pod_interface: Some(interface_name("eth0")),
        peer: (2, 0),
    };
    target.host_interface = Some(host);
    target.evidence = Arc::new(vec![
        Evidence { link: Link::Sandbox, found: Some("aaaa".into()), by: "cri".into(), since: wall(59) },
        Evidence { link: Link::HostInterface, found: None, by: "sysfs of the host".into(), since: wall(58) },
    ]);
    let interfaces =
        rows.interfaces(&[("lo", false, false), ("eth0", true, true), ("net1\u{1}", false, true)]);
    let devices = rows.devices(&[(254, 0, false), (253, 0, true), (8, 16, false)]);
    let (app, sidecar, init) = (figures(1, devices.clone()), figures(2, 0..0), figures(1, 0..0));
    let containers = rows.containers([app, sidecar, init]);
    rows.pods.push(PodFigures {
        target: 0,
        cgroup: figures(3, devices),
        network: network(NetworkSource::Netns, 1, interfaces),
        containers_sum: Some(ContainersSum {
            cpu_usage: Some(Duration::from_secs(51)),
            cpu_cores: Some(0.375),
            memory_usage_bytes: Some(600 * MIB),
            memory_working_set_bytes: Some(480 * MIB),
        }),
        containers,
        oldest: Monotonic::from_nanos(SWEEP_AT + 10_000),
    });
    target
}

/// Two pods of one name: the one that ends has no live sandbox, and is newer in the alphabet of UIDs.
fn database(rows: &mut Rows, index: u32, uid: &str, live: bool) -> PodTarget {
    let mut known = known_pod(uid, "shop", "db");
    known.sandboxes = vec![sandbox_of('e', live)];
    known.labels.insert("tier".into(), "data".into());
    let mut target = target(uid, "guaranteed", 'e', Some(known));
    let path = target.cgroup.path.to_string();
    target.containers = vec![child(&path, if live { 'f' } else { '1' }, Some(("db", ContainerKind::App)))];
    let mut cgroup = figures(4 + u64::from(live), 0..0);
    // The kernel without: bandwidth control, swap accounting, memory.peak, pressure of the CPU.
    if let Ok(cpu) = &mut cgroup.cpu {
        cpu.value.counters.throttling = Err(Unavailable::ControllerOff);
    }
    if let Ok(memory) = &mut cgroup.memory {
        (memory.value.swap_bytes, memory.value.peak_bytes) = (None, None);
    }
    if let Ok(pressure) = &mut cgroup.pressure {
        pressure.value.cpu = None;
    }
    if let Ok(io) = &mut cgroup.io {
        io.value.partly_accounted = true;
    }
    cgroup.limits = Limits::default();
    let interfaces = rows.interfaces(&[("eth0", true, true)]);
    let containers = rows.containers([cgroup.clone()]);
    let mut network = network(NetworkSource::HostVeth, 3, interfaces);
    if let Ok(network) = &mut network {
        (network.value.truncated, network.value.overlapping) = (true, true);
        network.value.rx_suspect = true;
    }
    let sum = ContainersSum { cpu_usage: Some(Duration::from_secs(68)), ..ContainersSum::default() };
    let oldest = Monotonic::from_nanos(SWEEP_AT - 30 * 1_000_000);
    rows.pods.push(PodFigures {
        target: index,
        cgroup,
        network,
        containers_sum: Some(sum),
        containers,
        oldest,
    });
    target
}

/// A static pod in the node's network.
fn etcd(rows: &mut Rows) -> PodTarget {
    let mut known = known_pod(ETCD_UID, "kube-system", "etcd-n1");
    (known.static_pod, known.host_network) = (true, Some(true));
    (known.runtime_uid, known.owner) = (PodUid::new(ETCD_HASH).unwrap(), None);
    let mut target = target(ETCD_HASH, "burstable", '2', Some(known));
    target.host_network = true;
    target.network = NetworkTarget::Absent(Unavailable::HostNetwork);
    rows.pods.push(PodFigures {
        target: 3,
        cgroup: figures(6, 0..0),
        network: Err(Unavailable::HostNetwork),
        containers_sum: Some(ContainersSum::default()),
        containers: 0..0,
        oldest: Monotonic::from_nanos(SWEEP_AT + 10_000),
    });
    target
}

/// Half a second old: named, no rates yet, and nobody knows which child is the sandbox.
fn young(rows: &mut Rows) -> PodTarget {
    let mut target = target(YOUNG_UID, "besteffort", '3', Some(known_pod(YOUNG_UID, "default", "young")));
    let path = target.cgroup.path.to_string();
    target.sandbox = None;
    target.sandbox_settled = false;
    target.containers = vec![child(&path, '3', None), child(&path, '4', Some(("early", ContainerKind::App)))];
    let mut cgroup = figures(1, 0..0);
    if let Ok(cpu) = &mut cgroup.cpu {
        cpu.value.cores = None;
    }
    if let Ok(io) = &mut cgroup.io {
        io.value.rates = None;
    }
    let mut network = network(NetworkSource::Netns, 5, 0..0);
    if let Ok(network) = &mut network {
        network.value.rates = None;
    }
    let containers = rows.containers([nothing(Unavailable::NotYet), nothing(Unavailable::NotYet)]);
    let oldest = Monotonic::from_nanos(SWEEP_AT);
    rows.pods.push(PodFigures { target: 4, cgroup, network, containers_sum: None, containers, oldest });
    target
}

/// No source has named it, and next to nothing can be read.
fn nameless(rows: &mut Rows) -> PodTarget {
    let mut target = target(NAMELESS_UID, "besteffort", '5', None);
    (target.sandbox, target.process) = (None, None);
    target.network = NetworkTarget::Absent(Unavailable::NoProcess);
    let mut cgroup = nothing(Unavailable::ControllerOff);
    cgroup.io = Err(Unavailable::BlkioNotAccounted);
    cgroup.pressure = Err(Unavailable::KernelWithoutPsi);
    rows.pods.push(PodFigures {
        target: 5,
        cgroup,
        network: Err(Unavailable::NoProcess),
        containers_sum: Some(ContainersSum::default()),
        containers: 0..0,
        oldest: Monotonic::from_nanos(SWEEP_AT),
    });
    target
}

#[derive(Default)]
struct Rows {
    pods: Vec<PodFigures>,
    containers: Vec<ContainerFigures>,
    devices: Vec<DeviceRow>,
    interfaces: Vec<InterfaceRow>,
}

fn length<T>(rows: &[T]) -> u32 {
    u32::try_from(rows.len()).unwrap()
}

impl Rows {
    fn interfaces(&mut self, names: &[(&str, bool, bool)]) -> Range<u32> {
        let start = length(&self.interfaces);
        for (index, (name, primary, counted)) in (1..).zip(names) {
            let (name, counters) = (interface_name(name), traffic(index));
            self.interfaces.push(InterfaceRow { name, primary: *primary, counted: *counted, counters });
        }
        start..length(&self.interfaces)
    }

    fn devices(&mut self, devices: &[(u32, u32, bool)]) -> Range<u32> {
        let start = length(&self.devices);
        for (index, (major, minor, stacked)) in (1..).zip(devices) {
            let device = DeviceNumber { major: *major, minor: *minor };
            self.devices.push(DeviceRow { device, stacked: *stacked, counters: io_counters(index) });
        }
        start..length(&self.devices)
    }

    fn containers<const N: usize>(&mut self, cgroups: [CgroupFigures; N]) -> Range<u32> {
        let start = length(&self.containers);
        for (target, cgroup) in (0..).zip(cgroups) {
            // Seventeen seconds of CPU time each unit.
            let units = cgroup.cpu.as_ref().ok().map(|cpu| cpu.value.counters.usage.as_secs() / 17);
            let cpu_before = units.map(earlier::cpu);
            self.containers.push(ContainerFigures { target, cgroup, cpu_before, percpu_before: 0..0 });
        }
        start..length(&self.containers)
    }
}

/// The node's disk, and one that nothing is kept on but images, of which only a part is seen.
fn file_systems() -> FileSystems {
    let disk =
        |device: &str, mount_point: Option<&str>, holds, gib: u64, inodes: Option<Inodes>| FileSystem {
            device: device.to_owned(),
            kind: if inodes.is_none() { "btrfs" } else { "ext4" }.to_owned(),
            mount_point: mount_point.map(str::to_owned),
            holds,
            space: Space {
                capacity_bytes: gib * 1024 * MIB,
                available_bytes: gib * 700 * MIB,
                free_bytes: gib * 750 * MIB,
                inodes,
            },
        };
    let kubelet = Holds { root: true, kubelet: true, containers: true, ..Holds::default() };
    let images = Holds { images: true, ..Holds::default() };
    let inodes = Some(Inodes { total: 6_553_600, free: 6_100_000 });
    [disk("/dev/vda1", Some("/"), kubelet, 100, inodes), disk("/dev/vdb", None, images, 40, None)].into()
}

fn node(rows: &mut Rows) -> NodeFigures {
    let disks = rows.devices(&[(254, 0, false)]);
    let nics = rows.interfaces(&[("eno1", true, true)]);
    let cpu = NodeCpu {
        usage: Duration::from_secs(9000),
        user: Duration::from_secs(6000),
        system: Duration::from_secs(3000),
        elapsed: Duration::from_secs(72_000),
        cores: 8,
    };
    let memory = NodeMemory {
        total_bytes: 16_384 * MIB,
        available_bytes: 10_000 * MIB,
        free_bytes: 1_000 * MIB,
        cached_bytes: 8_000 * MIB,
        inactive_file_bytes: Some(6_000 * MIB),
        swap_used_bytes: 5 * MIB,
        swap_total_bytes: 1_024 * MIB,
    };
    NodeFigures {
        cpu: read(1, cpu),
        memory: read(2, memory),
        io: read(3, (io_counters(50), disks)),
        network: read(4, (traffic(50), nics)),
        paging: read(5, NodePaging { anon_bytes: 900 * MIB, page_faults: 81_272, major_page_faults: 31 }),
        pressure: figures(30, 0..0).pressure,
        tasks: read(6, NodeTasks { current: 311, limit: Some(32_768) }),
        file_systems: read(7, file_systems()),
        rates: NodeRates {
            cpu_cores: rate(2.5),
            cpu_before: Some(earlier::node(cpu)),
            io: rate(IoRates::default()),
            network: None,
        },
        system: vec![SystemFigures { name: SystemContainer::Pods, cgroup: figures(21, 0..0) }],
        booted_at: Some(wall(172_800)),
        forwards_ipv4: Some(true),
    }
}

/// The whole node at its 812th sweep.
pub(crate) fn snapshot() -> Snapshot {
    let mut rows = Rows::default();
    let pods = vec![
        Arc::new(web(&mut rows)),
        Arc::new(database(&mut rows, 1, OLD_DB_UID, false)),
        Arc::new(database(&mut rows, 2, NEW_DB_UID, true)),
        Arc::new(etcd(&mut rows)),
        Arc::new(young(&mut rows)),
        Arc::new(nameless(&mut rows)),
    ];
    let node = node(&mut rows);
    // The order of the sweep is not the order of the documents.
    rows.pods.reverse();
    let names = [((254, 0), "vda"), ((253, 0), "dm-0")];
    let names = names.map(|((major, minor), name)| (DeviceNumber { major, minor }, name.into()));
    let snapshot = Snapshot {
        process_start: WallTime::from_unix_nanos(PROCESS_START),
        node_name: "n1".into(),
        tick: 812,
        clock: ClockPair {
            monotonic: Monotonic::from_nanos(SWEEP_AT),
            wall: WallTime::from_unix_nanos(SWEEP_WALL),
        },
        interval: Duration::from_secs(1),
        sweep: Duration::from_micros(3120),
        targets: Arc::new(TargetSet { generation: 17, pods, ..TargetSet::default() }),
        device_names: Arc::new(DeviceNames(BTreeMap::from(names))),
        pods: rows.pods,
        containers: rows.containers,
        devices: rows.devices,
        interfaces: rows.interfaces,
        details: Details::default(),
        node,
    };
    memory_stat::with(snapshot, &memory_stat::V2)
}

/// The node so many seconds later, after something happened to default/web.
pub(crate) fn after(seconds: u64, change: impl FnOnce(&mut PodTarget, &mut Snapshot)) -> Snapshot {
    let mut snapshot = snapshot();
    let ClockPair { monotonic, wall } = snapshot.clock;
    snapshot.tick += seconds;
    snapshot.clock = ClockPair {
        monotonic: Monotonic::from_nanos(monotonic.as_nanos() + seconds * SECOND),
        wall: WallTime::from_unix_nanos(wall.as_unix_nanos() + seconds * SECOND),
    };
    let mut pods = snapshot.targets.pods.clone();
    let mut web = (*pods[0]).clone();
    change(&mut web, &mut snapshot);
    pods[0] = Arc::new(web);
    snapshot.targets = Arc::new(TargetSet { generation: snapshot.tick, pods, ..TargetSet::default() });
    snapshot
}

/// The node with its first pod so many times, and no other: two devices, two interfaces, three containers.
pub(crate) fn repeated(count: usize) -> Snapshot {
    let mut snapshot = snapshot();
    let mut targets = (*snapshot.targets).clone();
    let figures = snapshot.pods.iter().find(|pod| pod.target == 0).unwrap().clone();
    let target = targets.pods[0].clone();
    let (first, last) = (figures.containers.start as usize, figures.containers.end as usize);
    let containers = snapshot.containers[first..last].to_vec();
    let known = (**target.known.as_ref().unwrap()).clone();
    targets.pods.clear();
    snapshot.pods.clear();
    snapshot.containers.clear();
    for number in 0..u32::try_from(count).unwrap() {
        let mut pod = (*target).clone();
        pod.known =
            Some(Arc::new(KnownPod { name: format!("web-5d4f8b-{number:05}").into(), ..known.clone() }));
        targets.pods.push(Arc::new(pod));
        let first = u32::try_from(snapshot.containers.len()).unwrap();
        snapshot.containers.extend_from_slice(&containers);
        let containers = first..u32::try_from(snapshot.containers.len()).unwrap();
        snapshot.pods.push(PodFigures { target: number, containers, ..figures.clone() });
    }
    snapshot.targets = Arc::new(targets);
    snapshot
}
