//! `/api/v1/pods`, `/api/v1/containers` and single pods.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::super::time::{microseconds, nanoseconds, rfc3339};
use super::cgroup::{Figures, Requests, figures};
use super::{absent, figure, finite, network, rows};
use crate::model::counters::InterfaceName;
use crate::model::document::{self, Reasons};
use crate::model::identity::{ContainerKind, KnownContainer};
use crate::model::snapshot::{ContainerFigures, ContainersSum, PodFigures, Snapshot};
use crate::model::target::{ContainerTarget, PodTarget};
use crate::model::time::Monotonic;
use crate::model::unavailable::Unavailable;

/// A pod's figures with its names.
#[derive(Clone, Copy)]
pub(in crate::serve) struct NamedPod<'a> {
    /// What was read.
    pub(in crate::serve) figures: &'a PodFigures,
    /// What it is.
    pub(in crate::serve) target: &'a PodTarget,
}

/// How a document is rendered.
#[derive(Clone, Copy, Debug)]
pub(in crate::serve) struct Rendering {
    /// For the ages.
    pub(in crate::serve) now: Monotonic,
    /// Only when they were asked for.
    pub(in crate::serve) labels: bool,
}

/// All pods in the order of the documents: namespace, name, runtime UID; unnamed ones last.
pub(in crate::serve) fn in_order(snapshot: &Snapshot) -> Vec<NamedPod<'_>> {
    let named = |figures: &'_ PodFigures| {
        let target = snapshot.targets.pods.get(usize::try_from(figures.target).ok()?)?;
        Some(target)
    };
    let mut pods: Vec<NamedPod<'_>> = snapshot
        .pods
        .iter()
        .filter_map(|figures| named(figures).map(|target| NamedPod { figures, target }))
        .collect();
    pods.sort_by(|a, b| order(a.target, b.target));
    pods
}

/// Namespace, name, runtime UID; unnamed pods last.
pub(super) fn order(a: &PodTarget, b: &PodTarget) -> Ordering {
    let key =
        |pod: &'_ PodTarget| pod.known.as_ref().map(|known| (known.namespace.clone(), known.name.clone()));
    let (of_a, of_b) = (key(a), key(b));
    let names = match (&of_a, &of_b) {
        (Some(a), Some(b)) => a.cmp(b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    };
    names.then_with(|| a.runtime_uid.cmp(&b.runtime_uid))
}

/// `/api/v1/pods`.
pub(in crate::serve) fn list(
    snapshot: &Snapshot,
    pods: &[NamedPod<'_>],
    how: Rendering,
) -> document::PodList {
    document::PodList {
        node: snapshot.node_name.to_string(),
        tick: snapshot.tick,
        time: rfc3339(snapshot.clock.wall),
        time_unix_nano: snapshot.clock.wall.as_unix_nanos(),
        interval_seconds: snapshot.interval.as_secs_f64(),
        sweep_microseconds: microseconds(snapshot.sweep),
        pods: pods.iter().map(|pod| document(snapshot, *pod, how)).collect(),
    }
}

/// `/api/v1/containers`.
pub(in crate::serve) fn containers(snapshot: &Snapshot, pods: &[NamedPod<'_>]) -> document::ContainerList {
    document::ContainerList {
        node: snapshot.node_name.to_string(),
        tick: snapshot.tick,
        time: rfc3339(snapshot.clock.wall),
        time_unix_nano: snapshot.clock.wall.as_unix_nanos(),
        interval_seconds: snapshot.interval.as_secs_f64(),
        sweep_microseconds: microseconds(snapshot.sweep),
        containers: pods.iter().flat_map(|pod| flat(snapshot, *pod)).collect(),
    }
}

/// One pod with the sweep it is from.
pub(in crate::serve) fn single(
    snapshot: &Snapshot,
    pod: NamedPod<'_>,
    how: Rendering,
) -> document::SinglePod {
    document::SinglePod {
        node: snapshot.node_name.to_string(),
        tick: snapshot.tick,
        time: rfc3339(snapshot.clock.wall),
        time_unix_nano: snapshot.clock.wall.as_unix_nanos(),
        interval_seconds: snapshot.interval.as_secs_f64(),
        sweep_microseconds: microseconds(snapshot.sweep),
        pod: document(snapshot, pod, how),
    }
}

fn flat<'a>(snapshot: &'a Snapshot, pod: NamedPod<'a>) -> impl Iterator<Item = document::FlatContainer> {
    let known = pod.target.known.as_deref();
    pod_containers(snapshot, pod).into_iter().map(move |container| document::FlatContainer {
        namespace: known.map(|known| known.namespace.to_string()),
        pod: known.map(|known| known.name.to_string()),
        runtime_uid: pod.target.runtime_uid.to_string(),
        container,
    })
}

fn document(snapshot: &Snapshot, pod: NamedPod<'_>, how: Rendering) -> document::Pod {
    let NamedPod { figures: read, target } = pod;
    let known = target.known.as_deref();
    let Figures { mut cpu, mut memory, io, pids, pressure, unavailable: mut reasons } =
        figures(snapshot, &read.cgroup, requests(target));
    sums(read.containers_sum.filter(|_| is_settled(target)), &mut cpu, &mut memory, &mut reasons);
    let primary = read.network.as_ref().ok().and_then(|network| {
        let mut interfaces = rows(&snapshot.interfaces, &network.value.interfaces);
        interfaces.find(|row| row.primary).map(|row| row.name)
    });
    let network = figure(&read.network, "network", &mut reasons)
        .map(|network| network::pod(snapshot, network, &mut reasons));
    let start_time = known.and_then(|known| known.start_time);
    document::Pod {
        namespace: known.map(|known| known.namespace.to_string()),
        name: known.map(|known| known.name.to_string()),
        uid: known.and_then(|known| known.uid.as_ref()).map(ToString::to_string),
        runtime_uid: target.runtime_uid.to_string(),
        static_pod: known.is_some_and(|known| known.static_pod),
        host_network: target.host_network,
        phase: known.and_then(|known| known.phase.as_deref()).map(str::to_owned),
        qos_class: target.qos_class.map(qos_class).map(str::to_owned),
        start_time: start_time.map(rfc3339),
        start_time_unix_nano: start_time.map(|time| time.as_unix_nanos()),
        identity: known.map(|known| known.sources.clone()).unwrap_or_default(),
        owner: known.and_then(|known| known.owner.clone()),
        labels: known.filter(|_| how.labels).map(|known| known.labels.clone()),
        sandbox: sandbox(target, primary),
        age_seconds: how.now.since(read.oldest).unwrap_or_default().as_secs_f64(),
        cpu,
        memory,
        io,
        network,
        pids,
        pressure,
        unavailable: reasons,
        containers: pod_containers(snapshot, pod),
    }
}

/// As the API server writes it; `resolve` reads it off the cgroup's path in lower case.
fn qos_class(of_path: &'static str) -> &'static str {
    match of_path {
        "guaranteed" => "Guaranteed",
        "burstable" => "Burstable",
        "besteffort" => "BestEffort",
        other => other,
    }
}

/// Whether it is settled which child of the pod's cgroup is the sandbox. Until then no child is
/// surely a container, so kinds, names and sums would be guesses.
pub(super) fn is_settled(target: &PodTarget) -> bool {
    target.sandbox_settled
}

/// Sandbox, process and netns, as far as they are known.
pub(super) fn sandbox(target: &PodTarget, primary: Option<InterfaceName>) -> Option<document::Sandbox> {
    // A runtime without pause containers (CRI-O) knows a sandbox that has no cgroup.
    let told = || target.known.as_deref()?.sandboxes.iter().find(|sandbox| sandbox.ready).map(|it| &it.id);
    let id = target.sandbox.as_ref().map(|child| &child.container_id).or_else(told);
    let process = target.process.as_ref();
    let host = target.host_interface.as_ref();
    let inside = primary.or_else(|| host.and_then(|host| host.pod_interface));
    let sandbox = document::Sandbox {
        id: id.filter(|_| is_settled(target)).map(ToString::to_string),
        pid: process.map(|process| process.pid),
        netns: process.map(|process| process.netns),
        interface: inside.map(|name| name.to_string()),
        host_interface: host.map(|host| host.name.to_string()),
    };
    (sandbox != document::Sandbox::default()).then_some(sandbox)
}

fn sums(
    sum: Option<ContainersSum>,
    cpu: &mut Option<document::Cpu>,
    memory: &mut Option<document::Memory>,
    reasons: &mut Reasons,
) {
    if let Some(cpu) = cpu {
        let usage_nanoseconds = sum.and_then(|sum| sum.cpu_usage).map(nanoseconds);
        let cores = sum.and_then(|sum| sum.cpu_cores).and_then(finite);
        cpu.containers_sum =
            usage_nanoseconds.is_some().then_some(document::CpuSum { usage_nanoseconds, cores });
        let missing = match (usage_nanoseconds, cores) {
            (None, _) => Some("cpu.containersSum"),
            (_, None) => Some("cpu.containersSum.cores"),
            _ => None,
        };
        absent(reasons, missing.as_slice(), Unavailable::NotYet);
    }
    if let Some(memory) = memory {
        let usage_bytes = sum.and_then(|sum| sum.memory_usage_bytes);
        let working_set_bytes = sum.and_then(|sum| sum.memory_working_set_bytes);
        memory.containers_sum =
            usage_bytes.is_some().then_some(document::MemorySum { usage_bytes, working_set_bytes });
        if usage_bytes.is_none() {
            absent(reasons, &["memory.containersSum"], Unavailable::NotYet);
        }
    }
}

/// What the scheduler sets aside for the pod: the sum over what runs side by side, but no less than
/// the largest init container, which runs alone.
fn requests(target: &PodTarget) -> Requests {
    let Some(known) = target.known.as_deref() else { return Requests::default() };
    // Ended instances of a container carry the same request: count each name once.
    let mut by_name: BTreeMap<&str, &KnownContainer> = BTreeMap::new();
    for container in &known.containers {
        by_name.entry(&container.name).or_insert(container);
    }
    let is_init = |container: &KnownContainer| container.kind == Some(ContainerKind::Init);
    let mut cpu: (Option<f64>, Option<f64>) = (None, None);
    let mut memory: (Option<u64>, Option<u64>) = (None, None);
    for container in by_name.into_values() {
        let cores = container.cpu_request_cores.map(|cores| cores.get()).and_then(finite);
        if is_init(container) {
            cpu.1 = cores.into_iter().chain(cpu.1).reduce(f64::max);
            memory.1 = memory.1.max(container.memory_request_bytes);
        } else {
            cpu.0 = cores.into_iter().chain(cpu.0).reduce(|a, b| a + b);
            memory.0 = container.memory_request_bytes.into_iter().chain(memory.0).reduce(u64::saturating_add);
        }
    }
    Requests {
        cpu_cores: cpu.0.into_iter().chain(cpu.1).reduce(f64::max),
        memory_bytes: memory.0.max(memory.1),
    }
}

/// Init containers first, as they start; then sidecars, app containers, ephemeral ones.
fn rank(kind: Option<ContainerKind>) -> u8 {
    match kind {
        Some(ContainerKind::Init) => 0,
        Some(ContainerKind::Sidecar) => 1,
        Some(ContainerKind::App) => 2,
        Some(ContainerKind::Ephemeral) => 3,
        None => 4,
    }
}

fn pod_containers(snapshot: &Snapshot, pod: NamedPod<'_>) -> Vec<document::Container> {
    let mut containers: Vec<document::Container> = rows(&snapshot.containers, &pod.figures.containers)
        .filter_map(|read| {
            let child = pod.target.containers.get(usize::try_from(read.target).ok()?)?;
            Some(container(snapshot, pod.target, child, read))
        })
        .collect();
    containers.sort_by(|a, b| {
        let key = |it: &'_ document::Container| (rank(it.kind), it.name.clone(), it.id.clone());
        key(a).cmp(&key(b))
    });
    containers
}

fn container(
    snapshot: &Snapshot,
    pod: &PodTarget,
    child: &ContainerTarget,
    read: &ContainerFigures,
) -> document::Container {
    let known = child.known.as_deref();
    let named = known.filter(|_| is_settled(pod));
    let requests = known.map_or_else(Requests::default, |known| Requests {
        cpu_cores: known.cpu_request_cores.map(|cores| cores.get()).and_then(finite),
        memory_bytes: known.memory_request_bytes,
    });
    let started_at = known.and_then(|known| known.started_at);
    let Figures { cpu, memory, io, pids, pressure, unavailable } = figures(snapshot, &read.cgroup, requests);
    document::Container {
        name: named.map(|known| known.name.to_string()),
        kind: named.and_then(|known| known.kind),
        id: child.container_id.to_string(),
        image: known.and_then(|known| known.image.as_deref()).map(str::to_owned),
        state: known.map(|known| known.state),
        restart_count: known.map(|known| known.restart_count),
        started_at: started_at.map(rfc3339),
        started_at_unix_nano: started_at.map(|time| time.as_unix_nanos()),
        cpu,
        memory,
        io,
        pids,
        pressure,
        unavailable,
    }
}
