//! What the node made by hand is put together from.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use podvitals::model::counters::InterfaceName;
use podvitals::model::identity::{
    ContainerId, ContainerKind, ContainerState, KnownContainer, KnownPod, KnownSandbox, NetworkMode, Owner,
    PodUid, Requests, RuntimeKind, Source, f64Bits,
};
use podvitals::model::snapshot::Rate;
use podvitals::model::sweep::{Reading, Stamped};
use podvitals::model::target::{
    CgroupPath, CgroupRole, CgroupTarget, ContainerTarget, Evidence, Link, NetworkTarget, PinnedProcess,
    PodTarget, TargetId,
};
use podvitals::model::time::{Monotonic, WallTime};

use super::node::{MIB, SECOND, SWEEP_AT, SWEEP_WALL};

/// The read of one figure, this long after the sweep began.
pub(crate) fn read<T>(micros: u64, value: T) -> Reading<T> {
    Ok(Stamped { at: Monotonic::from_nanos(SWEEP_AT + micros * 1000), value })
}

pub(crate) fn rate<T>(per_second: T) -> Option<Rate<T>> {
    Some(Rate { per_second, window: Duration::from_micros(1_000_300) })
}

pub(crate) fn wall(seconds_before: u64) -> WallTime {
    WallTime::from_unix_nanos(SWEEP_WALL - seconds_before * SECOND)
}

pub(crate) fn interface_name(name: &str) -> InterfaceName {
    InterfaceName::new(name.as_bytes()).unwrap()
}

pub(crate) fn container_id(digit: char) -> ContainerId {
    ContainerId::new(&digit.to_string().repeat(64)).unwrap()
}

pub(crate) fn process(pid: u32, netns: u64) -> PinnedProcess {
    PinnedProcess { pid, dir: Arc::new(File::open("/").unwrap().into()), netns }
}

pub(crate) fn cgroup(path: &str, role: CgroupRole) -> CgroupTarget {
    CgroupTarget {
        id: TargetId(7),
        path: CgroupPath::new(path),
        role,
        first_seen: Monotonic::from_nanos(SWEEP_AT - 60 * SECOND),
        since: wall(60),
    }
}

pub(crate) fn requests() -> Requests {
    Requests { cpu_cores: Some(f64Bits::new(0.1)), memory_bytes: Some(64 * MIB) }
}

pub(crate) fn known_container(id: ContainerId, name: &str, kind: ContainerKind) -> Arc<KnownContainer> {
    Arc::new(KnownContainer {
        id: Some(id),
        runtime: Some(RuntimeKind::Containerd),
        name: name.into(),
        kind: Some(kind),
        image: Some(format!("registry.example/{name}:1.2").into()),
        state: ContainerState::Running,
        state_reason: None,
        restart_count: 2,
        started_at: Some(wall(45)),
        requests: requests(),
    })
}

pub(crate) fn child(pod_path: &str, digit: char, known: Option<(&str, ContainerKind)>) -> ContainerTarget {
    let id = container_id(digit);
    ContainerTarget {
        cgroup: cgroup(&format!("{pod_path}/cri-containerd-{id}.scope"), CgroupRole::Container),
        known: known.map(|(name, kind)| known_container(id.clone(), name, kind)),
        container_id: id,
    }
}

pub(crate) fn sandbox_of(digit: char, ready: bool) -> KnownSandbox {
    KnownSandbox {
        id: container_id(digit),
        pid: Some(4242),
        ready,
        attempt: 0,
        created_at: wall(61),
        network: Some(NetworkMode::Pod),
        runtime_handler: String::new(),
    }
}

pub(crate) fn known_pod(uid: &str, namespace: &str, name: &str) -> KnownPod {
    KnownPod {
        uid: PodUid::new(uid),
        host_network: Some(false),
        phase: Some("Running".into()),
        start_time: Some(wall(62)),
        owner: Some(Owner { kind: "ReplicaSet".into(), name: format!("{name}-5d4") }),
        labels: BTreeMap::from([
            ("app".into(), name.into()),
            ("app.kubernetes.io/part-of".into(), "shop".into()),
        ]),
        requests: requests(),
        sources: vec![Source::Kube, Source::Cri],
        ..KnownPod::named(PodUid::new(uid).unwrap(), namespace, name, Source::Kube)
    }
}

/// A settled pod with a sandbox `digit` and a pinned process.
pub(crate) fn target(uid: &str, qos_class: &'static str, digit: char, known: Option<KnownPod>) -> PodTarget {
    let path = format!("kubepods.slice/kubepods-pod{}.slice", uid.replace('-', "_"));
    let pinned = process(4242, 4_026_532_501);
    PodTarget {
        id: TargetId(1),
        runtime_uid: PodUid::new(uid).unwrap(),
        known: known.map(Arc::new),
        cgroup: cgroup(&path, CgroupRole::Pod),
        containers: Vec::new(),
        sandbox: Some(child(&path, digit, None)),
        sandbox_settled: true,
        qos_class: Some(qos_class),
        host_network: false,
        process: Some(pinned.clone()),
        network: NetworkTarget::Netns(pinned),
        interface: None,
        host_interface: None,
        runtime_vm: false,
        evidence: Arc::new(vec![Evidence {
            link: Link::PodCgroup,
            found: Some(path),
            by: "inotify".into(),
            since: wall(60),
        }]),
        since: wall(60),
    }
}
