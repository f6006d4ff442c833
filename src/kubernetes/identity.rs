//! Pods made into what the other rooms know of a pod (pure).
//!
//! # Which UID is whose
//!
//! A static pod is read by the kubelet from a file. Its cgroup and its runtime labels carry the UID that
//! the kubelet gave it (a hash, or what the file says: rke2 writes a UUID with dashes). The API server is
//! shown a mirror of it, with a UID of its own and the other one in `kubernetes.io/config.mirror`; the
//! kubelet's own `/pods` shows the static pod itself, under the UID of the cgroup.
//!
//! # Who is believed
//!
//! Annotations and owners of an API object are written by whoever makes it: any tenant can claim a UID that
//! is not his. Such a claim is only read here; [`super::index`] decides whether it counts. The kubelet writes
//! `kubernetes.io/config.source` over what a pod brings along, so its word on static pods is good.

use std::sync::Arc;

use crate::model::identity::ContainerId;
use crate::model::identity::ContainerKind;
use crate::model::identity::ContainerState;
use crate::model::identity::KnownContainer;
use crate::model::identity::KnownPod;
use crate::model::identity::Owner;
use crate::model::identity::PodUid;
use crate::model::identity::Requests;
use crate::model::identity::Source;
use crate::model::identity::f64Bits;

use super::lenient::FullContainerId;
use super::pod::Amounts;
use super::pod::ContainerStatus;
use super::pod::Pod;
use super::pod::SpecContainer;
use super::pod::Terminated;
use super::quantity::Quantity;

/// More containers of one pod are not told of, and of each at most two instances. Each becomes an entry in
/// every document, and the spec alone, which anybody writes, makes it.
const MOST_CONTAINERS: usize = 256;

/// What is known of a pod. `None` if it has no UID or name that we could show or compare.
pub(super) fn known(pod: &Pod, source: Source) -> Option<KnownPod> {
    let metadata = &pod.metadata;
    let own = metadata.uid.clone()?;
    let (runtime_uid, uid, static_pod) = uids(pod, own, source);
    let (name, namespace) = (metadata.name.as_deref()?, metadata.namespace.as_deref()?);
    let controller = metadata.owner_references.iter().find(|owner| owner.controller == Some(true));
    Some(KnownPod {
        uid,
        static_pod,
        host_network: Some(pod.spec.host_network.unwrap_or(false)),
        phase: pod.status.phase.clone(),
        start_time: pod.status.start_time,
        owner: controller.and_then(|owner| {
            Some(Owner { kind: owner.kind.as_deref()?.into(), name: owner.name.as_deref()?.into() })
        }),
        labels: metadata.labels.clone(),
        runtime_class: pod.spec.runtime_class_name.clone(),
        requests: pod_requests(pod),
        containers: containers(pod),
        ..KnownPod::named(runtime_uid, namespace, name, source)
    })
}

/// The UID in the cgroup tree, the UID of the API object, and whether the pod comes from a file.
fn uids(pod: &Pod, own: PodUid, source: Source) -> (PodUid, Option<PodUid>, bool) {
    let hash = &pod.metadata.annotations.hash;
    if source != Source::Kubelet {
        return match mirrored(pod) {
            Some(mirrored) => (mirrored.clone(), Some(own), true),
            None => (own.clone(), Some(own), false),
        };
    }
    // The kubelet writes itself where a pod came from, over whatever stood there.
    if is_from_file(pod) {
        // The static pod itself: the UID of its mirror is not told here.
        (hash.clone().unwrap_or(own), None, true)
    } else {
        (own.clone(), Some(own), false)
    }
}

/// The UID of the static pod whose mirror `pod` is, as far as an API object can tell: a mirror carries its
/// hash twice, and one without the annotation must at least be made for a file by its own node.
fn mirrored(pod: &Pod) -> Option<&PodUid> {
    let (mirror, hash) = (&pod.metadata.annotations.mirror, &pod.metadata.annotations.hash);
    if let Some(mirror) = mirror {
        return Some(mirror).filter(|mirror| hash.as_ref().is_none_or(|hash| hash == *mirror));
    }
    let node = &pod.spec.node_name;
    let by_its_node = pod.metadata.owner_references.iter().any(|owner| {
        owner.controller == Some(true)
            && owner.kind.as_deref() == Some("Node")
            && node.is_some()
            && owner.name == *node
    });
    hash.as_ref().filter(|_| by_its_node && is_from_file(pod))
}

fn is_from_file(pod: &Pod) -> bool {
    matches!(pod.metadata.annotations.source.as_deref(), Some("file" | "http"))
}

fn containers(pod: &Pod) -> Vec<KnownContainer> {
    let (spec, status) = (&pod.spec, &pod.status);
    let lists = [
        (&spec.init_containers, &status.init_container_statuses, ContainerKind::Init),
        (&spec.containers, &status.container_statuses, ContainerKind::App),
        (&spec.ephemeral_containers, &status.ephemeral_container_statuses, ContainerKind::Ephemeral),
    ];
    let (mut all, mut left) = (Vec::new(), MOST_CONTAINERS);
    for (specs, statuses, kind) in lists {
        let (specs, statuses) = (first(specs, left), first(statuses, MOST_CONTAINERS));
        left -= specs.len();
        for spec in specs {
            let Some(name) = &spec.name else { continue };
            let status = statuses.iter().find(|status| status.name.as_ref() == Some(name));
            let kind = if is_sidecar(spec) { ContainerKind::Sidecar } else { kind };
            add(&mut all, name, kind, Some(spec), status);
        }
        let named = |name: &Arc<str>| specs.iter().any(|spec| spec.name.as_ref() == Some(name));
        for status in statuses {
            if let Some(name) = status.name.as_ref().filter(|name| left > 0 && !named(name)) {
                left -= 1;
                add(&mut all, name, kind, None, Some(status));
            }
        }
    }
    all
}

fn first<T>(list: &[T], most: usize) -> &[T] {
    &list[..list.len().min(most)]
}

/// Whether [`known`] leaves containers of the pod out.
pub(super) fn is_cut(pod: &Pod) -> bool {
    let (spec, status) = (&pod.spec, &pod.status);
    let specs = [&spec.init_containers, &spec.containers, &spec.ephemeral_containers];
    let statuses =
        [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
    specs.iter().map(|list| list.len()).sum::<usize>() > MOST_CONTAINERS
        || statuses.iter().map(|list| list.len()).sum::<usize>() > MOST_CONTAINERS
}

fn is_sidecar(spec: &SpecContainer) -> bool {
    spec.restart_policy.as_deref() == Some("Always")
}

/// Adds the present instance of a container, and the one before it: its cgroup may still be there.
fn add(
    all: &mut Vec<KnownContainer>,
    name: &Arc<str>,
    kind: ContainerKind,
    spec: Option<&SpecContainer>,
    status: Option<&ContainerStatus>,
) {
    let specified = spec.and_then(|spec| spec.image.clone());
    let mut container = KnownContainer {
        id: None,
        runtime: None,
        name: name.clone(),
        kind: Some(kind),
        image: specified.or_else(|| status.and_then(|status| status.image.clone())),
        state: ContainerState::Waiting,
        state_reason: None,
        restart_count: 0,
        started_at: None,
        requests: requests(&amounts(spec, status)),
    };
    let Some(status) = status else { return all.push(container) };
    identify(&mut container, status.container_id.as_ref());
    container.restart_count = status.restart_count.unwrap_or(0);
    let last = status.last_state.terminated.as_ref();
    if let Some(running) = &status.state.running {
        container.state = ContainerState::Running;
        container.started_at = running.started_at;
    } else if let Some(ended) = &status.state.terminated {
        container.state = ContainerState::Terminated;
        container.state_reason.clone_from(&ended.reason);
        container.started_at = ended.started_at;
        // An ephemeral container that has ended may be told of only here.
        if container.id.is_none() {
            identify(&mut container, ended.container_id.as_ref());
        }
    } else {
        let waiting = status.state.waiting.as_ref();
        container.state_reason = waiting.and_then(|waiting| waiting.reason.clone());
        // It waits for its next instance, under the id of its last.
        let same = last.filter(|last| id_of(last).is_some() && id_of(last) == container.id.as_ref());
        container.started_at = same.and_then(|last| last.started_at);
    }
    let earlier = last.filter(|last| id_of(last).is_some() && id_of(last) != container.id.as_ref());
    if let Some(earlier) = earlier {
        all.push(KnownContainer {
            id: id_of(earlier).cloned(),
            state: ContainerState::Terminated,
            state_reason: earlier.reason.clone(),
            restart_count: container.restart_count.saturating_sub(1),
            started_at: earlier.started_at,
            ..container.clone()
        });
    }
    all.push(container);
}

fn identify(container: &mut KnownContainer, told: Option<&FullContainerId>) {
    container.id = told.map(|told| told.id.clone());
    container.runtime = told.and_then(|told| told.runtime);
}

fn id_of(ended: &Terminated) -> Option<&ContainerId> {
    ended.container_id.as_ref().map(|told| &told.id)
}

/// What is set aside for a container now: while it is resized in place that is not yet, or not any more,
/// what its spec asks for.
fn amounts(spec: Option<&SpecContainer>, status: Option<&ContainerStatus>) -> Amounts {
    let stages = [
        status.map(|status| &status.allocated_resources),
        status.map(|status| &status.resources.requests),
        spec.map(|spec| &spec.resources.requests),
    ];
    let first = |of: fn(&Amounts) -> Option<Quantity>| stages.iter().flatten().find_map(|stage| of(stage));
    Amounts { cpu: first(|amounts| amounts.cpu), memory: first(|amounts| amounts.memory) }
}

fn requests(amounts: &Amounts) -> Requests {
    Requests {
        cpu_cores: amounts.cpu.map(|cpu| f64Bits::new(cpu.number())),
        memory_bytes: amounts.memory.map(Quantity::whole),
    }
}

/// What the scheduler sets aside for the pod: enough for its app containers and sidecars at once, and
/// for each init container while the sidecars before it run; and the overhead of its runtime class.
fn pod_requests(pod: &Pod) -> Requests {
    let (spec, status) = (&pod.spec, &pod.status);
    let of = |part: fn(&Amounts) -> Option<Quantity>| {
        let asked = |spec: &SpecContainer, statuses: &[ContainerStatus]| {
            let mut statuses = first(statuses, MOST_CONTAINERS).iter();
            let status = statuses.find(|status| status.name.is_some() && status.name == spec.name);
            part(&amounts(Some(spec), status))
        };
        let (mut sidecars, mut starting) = (None, None);
        for init in &spec.init_containers {
            let request = asked(init, &status.init_container_statuses);
            let at_once = sum(sidecars, request);
            starting = starting.max(at_once);
            if is_sidecar(init) {
                sidecars = at_once;
            }
        }
        let apps = spec.containers.iter().map(|app| asked(app, &status.container_statuses));
        let running = apps.fold(sidecars, sum);
        let containers = running.max(starting);
        sum(part(&spec.resources.requests).or(containers), part(&spec.overhead))
    };
    requests(&Amounts { cpu: of(|amounts| amounts.cpu), memory: of(|amounts| amounts.memory) })
}

/// `None` only if both are: nobody asked for anything.
fn sum(one: Option<Quantity>, other: Option<Quantity>) -> Option<Quantity> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.plus(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
