//! `/api/v1/pods`, `/api/v1/containers` and single pods.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::super::time::{microseconds, nanoseconds, rfc3339};
use super::cgroup::{Figures, figures};
use super::window::Windows;
use super::{absent, figure, finite, network, rows};
use crate::model::counters::InterfaceName;
use crate::model::document::{self, Reasons};
use crate::model::identity::{ContainerKind, ContainerState, KnownContainer, KnownPod};
use crate::model::snapshot::{ContainerFigures, ContainersSum, PodFigures, Snapshot};
use crate::model::target::{ContainerTarget, PodTarget};
use crate::model::time::{Monotonic, WallTime};
use crate::model::unavailable::Unavailable;

/// A pod's figures with its names.
#[derive(Clone, Copy)]
pub(in crate::serve) struct NamedPod<'a> {
    /// What was read.
    pub(in crate::serve) figures: &'a PodFigures,
    /// What it is.
    pub(in crate::serve) target: &'a PodTarget,
}

impl<'a> NamedPod<'a> {
    /// Its children but the sandbox: what was read of each, and what it is.
    pub(in crate::serve) fn children(
        self,
        snapshot: &'a Snapshot,
    ) -> impl Iterator<Item = (&'a ContainerFigures, &'a ContainerTarget)> {
        let all = &self.target.containers;
        let with_target =
            move |read: &'a ContainerFigures| Some((read, all.get(usize::try_from(read.target).ok()?)?));
        rows(&snapshot.containers, &self.figures.containers).filter_map(with_target)
    }

    /// Of two pods of one name the greater is the one that lives: a StatefulSet's new pod may share its name
    /// with one that is still ending.
    pub(in crate::serve) fn liveness(&self) -> (bool, bool, WallTime) {
        let ready = |known: &KnownPod| known.sandboxes.iter().any(|sandbox| sandbox.ready);
        let target = self.target;
        (target.known.as_deref().is_some_and(ready), target.process.is_some(), target.since)
    }
}

/// Named pods in the order of the documents, each name once: formats that know a pod by its name would add
/// two of one name up, or take the one's counters for the other's.
pub(in crate::serve) fn one_of_each_name(snapshot: &Snapshot) -> Vec<(NamedPod<'_>, &KnownPod)> {
    let mut pods: Vec<(NamedPod<'_>, &KnownPod)> = Vec::with_capacity(snapshot.pods.len());
    for pod in in_order(snapshot) {
        let Some(known) = pod.target.known.as_deref() else { continue };
        match pods.last_mut() {
            Some((last, of_last))
                if (&of_last.namespace, &of_last.name) == (&known.namespace, &known.name) =>
            {
                if pod.liveness() > last.liveness() {
                    (*last, *of_last) = (pod, known);
                }
            }
            _ => pods.push((pod, known)),
        }
    }
    pods
}

/// The containers of a pod that run, with what is known of them, each name once: of two instances the later
/// one. Init containers, sidecars and ephemeral ones among them; never the sandbox.
pub(in crate::serve) fn running<'a>(
    snapshot: &'a Snapshot,
    pod: NamedPod<'a>,
) -> Vec<(&'a ContainerFigures, &'a ContainerTarget, &'a KnownContainer)> {
    let mut containers: Vec<(&ContainerFigures, &ContainerTarget, &KnownContainer)> = Vec::new();
    if !is_settled(pod.target) {
        return containers;
    }
    for (read, child) in pod.children(snapshot) {
        let Some(known) = child.known.as_deref() else { continue };
        match containers.iter_mut().find(|(_, _, other)| other.name == known.name) {
            Some(place) if instance(known) > instance(place.2) => *place = (read, child, known),
            Some(_) => {}
            None => containers.push((read, child, known)),
        }
    }
    containers
}

/// Which life of its container it is: of two the greater is the later.
fn instance(known: &KnownContainer) -> (u32, Option<WallTime>) {
    (known.restart_count, known.started_at)
}

/// How a document is rendered.
#[derive(Clone, Copy, Debug)]
pub(in crate::serve) struct Rendering<'a> {
    /// For the ages.
    pub(in crate::serve) now: Monotonic,
    /// Only when they were asked for.
    pub(in crate::serve) labels: bool,
    /// Of the last seconds; `None`: there is no history, or none was asked for.
    pub(in crate::serve) windows: Option<&'a Windows<'a>>,
}

/// All pods, in no order.
pub(in crate::serve) fn each(snapshot: &Snapshot) -> impl Iterator<Item = NamedPod<'_>> {
    snapshot.pods.iter().filter_map(|figures: &PodFigures| {
        let target = snapshot.targets.pods.get(usize::try_from(figures.target).ok()?)?;
        Some(NamedPod { figures, target })
    })
}

/// All pods in the order of the documents: namespace, name, runtime UID; unnamed ones last.
pub(in crate::serve) fn in_order(snapshot: &Snapshot) -> Vec<NamedPod<'_>> {
    let mut pods: Vec<NamedPod<'_>> = each(snapshot).collect();
    pods.sort_by(|a, b| order(a.target, b.target));
    pods
}

/// Namespace, name, runtime UID; unnamed pods last.
pub(super) fn order(a: &PodTarget, b: &PodTarget) -> Ordering {
    let names = match (&a.known, &b.known) {
        (Some(a), Some(b)) => (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)),
        (a, b) => b.is_some().cmp(&a.is_some()),
    };
    names.then_with(|| a.runtime_uid.cmp(&b.runtime_uid))
}

/// `/api/v1/pods`.
pub(in crate::serve) fn list(
    snapshot: &Snapshot,
    pods: &[NamedPod<'_>],
    how: Rendering<'_>,
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
    how: Rendering<'_>,
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

fn document(snapshot: &Snapshot, pod: NamedPod<'_>, how: Rendering<'_>) -> document::Pod {
    let NamedPod { figures: read, target } = pod;
    let known = target.known.as_deref();
    let Figures { mut cpu, mut memory, io, pids, pressure, unavailable: mut reasons } =
        figures(snapshot, &read.cgroup, known.map(|known| known.requests).unwrap_or_default());
    sums(read.containers_sum.filter(|_| is_settled(target)), &mut cpu, &mut memory, &mut reasons);
    let primary = read.network.as_ref().ok().and_then(|network| {
        let mut interfaces = rows(&snapshot.interfaces, &network.value.interfaces);
        interfaces.find(|row| row.primary).map(|row| row.name)
    });
    let network = figure(&read.network, "network", &mut reasons)
        .map(|network| network::pod(snapshot, network, &mut reasons));
    let start_time = known.and_then(|known| known.start_time);
    let window = how.windows.and_then(|windows| windows.of(pod, &mut reasons));
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
        window,
        unavailable: reasons,
        containers: pod_containers(snapshot, pod),
    }
}

/// As the API server writes it; `resolve` reads it off the cgroup's path in lower case.
pub(in crate::serve) fn qos_class(of_path: &'static str) -> &'static str {
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
    let inside = primary.or(target.interface).or_else(|| host.and_then(|host| host.pod_interface));
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

/// All containers of a pod, those without a cgroup too: they wait, or have ended.
pub(in crate::serve) fn pod_containers(snapshot: &Snapshot, pod: NamedPod<'_>) -> Vec<document::Container> {
    let mut containers: Vec<document::Container> =
        pod.children(snapshot).map(|(read, child)| container(snapshot, pod.target, child, read)).collect();
    if let Some(known) = pod.target.known.as_deref().filter(|_| is_settled(pod.target)) {
        containers.extend(without_cgroup(known, pod.target).map(unread));
    }
    containers.sort_by(|a, b| {
        let key = |it: &'_ document::Container| (rank(it.kind), it.name.clone(), it.id.clone());
        key(a).cmp(&key(b))
    });
    containers
}

/// Of each container that has no cgroup now, the instance that was last: it waits, or has ended.
fn without_cgroup<'a>(
    known: &'a KnownPod,
    target: &'a PodTarget,
) -> impl Iterator<Item = &'a KnownContainer> {
    let mut last: BTreeMap<&str, &KnownContainer> = BTreeMap::new();
    for container in &known.containers {
        let newest = last.entry(&container.name).or_insert(container);
        if instance(container) > instance(newest) {
            *newest = container;
        }
    }
    let runs = |name: &str| {
        let names = |child: &ContainerTarget| child.known.as_deref().is_some_and(|it| *it.name == *name);
        target.containers.iter().any(names)
    };
    last.into_values().filter(move |container| !runs(&container.name))
}

/// A container there is nothing to read of.
fn unread(known: &KnownContainer) -> document::Container {
    // The source hears of an end later than the cgroup tree: what has no cgroup does not run.
    let (state, why) = match known.state {
        ContainerState::Waiting => (ContainerState::Waiting, Unavailable::NotYet),
        ContainerState::Running | ContainerState::Terminated => {
            (ContainerState::Terminated, Unavailable::NoProcess)
        }
    };
    let mut unavailable = Reasons::new();
    absent(&mut unavailable, &["cpu", "memory", "io", "pids", "pressure"], why);
    document::Container {
        name: Some(known.name.to_string()),
        kind: known.kind,
        id: known.id.as_ref().map(ToString::to_string),
        image: known.image.as_deref().map(str::to_owned),
        state: Some(state),
        state_reason: known.state_reason.as_deref().map(str::to_owned),
        restart_count: Some(known.restart_count),
        started_at: known.started_at.map(rfc3339),
        started_at_unix_nano: known.started_at.map(|time| time.as_unix_nanos()),
        unavailable,
        ..document::Container::default()
    }
}

fn container(
    snapshot: &Snapshot,
    pod: &PodTarget,
    child: &ContainerTarget,
    read: &ContainerFigures,
) -> document::Container {
    let known = child.known.as_deref();
    let named = known.filter(|_| is_settled(pod));
    let requests = known.map(|known| known.requests).unwrap_or_default();
    let started_at = known.and_then(|known| known.started_at);
    let Figures { cpu, memory, io, pids, pressure, unavailable } = figures(snapshot, &read.cgroup, requests);
    document::Container {
        name: named.map(|known| known.name.to_string()),
        kind: named.and_then(|known| known.kind),
        id: Some(child.container_id.to_string()),
        image: known.and_then(|known| known.image.as_deref()).map(str::to_owned),
        state: known.map(|known| known.state),
        state_reason: known.and_then(|known| known.state_reason.as_deref()).map(str::to_owned),
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
