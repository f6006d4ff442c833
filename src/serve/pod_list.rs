//! `/pods`: a PodList as the kubelet serves it, for clients of the summary that need one beside it (pure).
//!
//! <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/>, of which these keys: names,
//! labels, images, requests and limits, and what the status says. Never an environment, a command or a volume.
//! Pods are listed that have a cgroup and a name here. Limits are those the kernel holds a container to.

use serde_json::{Map, Value, json as object};

use super::native::pods::{NamedPod, in_order, pod_containers, qos_class};
use super::reply::json;
use super::time::rfc3339_seconds;
use crate::model::document::Container;
use crate::model::identity::{
    ContainerId, ContainerKind, ContainerState, KnownContainer, KnownPod, Owner, Requests,
};
use crate::model::snapshot::Snapshot;
use crate::model::time::WallTime;

/// The whole document.
pub(super) fn document(snapshot: &Snapshot) -> Vec<u8> {
    let named = |pod: NamedPod<'_>| Some(item(snapshot, pod, pod.target.known.as_deref()?));
    let items: Vec<Value> = in_order(snapshot).into_iter().filter_map(named).collect();
    json(&object!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items }))
}

fn item(snapshot: &Snapshot, pod: NamedPod<'_>, known: &KnownPod) -> Value {
    let target = pod.target;
    let containers = pod_containers(snapshot, pod);
    let of = |kinds: &'static [ContainerKind]| {
        containers.iter().filter(|container| {
            // What no source has told apart is an app container to the runtime too.
            container.name.is_some() && kinds.contains(&container.kind.unwrap_or(ContainerKind::App))
        })
    };
    let starting = || of(&[ContainerKind::Init, ContainerKind::Sidecar]);
    let ephemeral = || of(&[ContainerKind::Ephemeral]);
    let (spec, status) = (|it: &Container| spec(it, known), |it: &Container| status(it, known));
    let source = if known.static_pod { "file" } else { "api" };
    let hash = known.static_pod.then(|| target.runtime_uid.as_str());
    let annotations = present([
        ("kubernetes.io/config.source", Some(source.into())),
        ("kubernetes.io/config.hash", hash.map(Value::from)),
    ]);
    present([
        (
            "metadata",
            Some(present([
                ("name", Some((*known.name).into())),
                ("namespace", Some((*known.namespace).into())),
                // As there: of a static pod the hash, not the UID of its mirror.
                ("uid", Some(target.runtime_uid.as_str().into())),
                ("labels", (!known.labels.is_empty()).then(|| object!(known.labels))),
                ("annotations", Some(annotations)),
                ("ownerReferences", known.owner.as_ref().map(owner)),
            ])),
        ),
        (
            "spec",
            Some(present([
                ("nodeName", Some((*snapshot.node_name).into())),
                ("hostNetwork", target.host_network.then_some(true.into())),
                ("initContainers", list(starting().map(spec))),
                ("containers", Some(of(&[ContainerKind::App]).map(spec).collect())),
                ("ephemeralContainers", list(ephemeral().map(spec))),
            ])),
        ),
        (
            "status",
            Some(present([
                ("phase", known.phase.as_deref().map(Value::from)),
                ("startTime", known.start_time.map(rfc3339_seconds).map(Value::from)),
                ("qosClass", target.qos_class.map(qos_class).map(Value::from)),
                ("initContainerStatuses", list(starting().map(status))),
                ("containerStatuses", list(of(&[ContainerKind::App]).map(status))),
                ("ephemeralContainerStatuses", list(ephemeral().map(status))),
            ])),
        ),
    ])
}

fn owner(owner: &Owner) -> Value {
    object!([{ "kind": owner.kind, "name": owner.name, "controller": true }])
}

/// The container in the words of its source.
fn told<'a>(container: &Container, known: &'a KnownPod) -> Option<&'a KnownContainer> {
    let by_id = container.id.as_deref().and_then(ContainerId::new).and_then(|id| known.container(&id));
    by_id.or_else(|| known.containers.iter().find(|it| container.name.as_deref() == Some(&*it.name)))
}

fn spec(container: &Container, known: &KnownPod) -> Value {
    let cpu = |cores: Option<f64>| cores.map(|cores| quantity(cores).into());
    let (of_cpu, of_memory) = (container.cpu.as_ref(), container.memory.as_ref());
    let amounts = |cores: Option<f64>, bytes: Option<u64>| {
        let amounts = present([("cpu", cpu(cores)), ("memory", bytes.map(|bytes| bytes.to_string().into()))]);
        Some(amounts).filter(|amounts| amounts.as_object().is_some_and(|amounts| !amounts.is_empty()))
    };
    // The pod asks for them whether the container has a cgroup now or not.
    let Requests { cpu_cores, memory_bytes } =
        told(container, known).map(|told| told.requests).unwrap_or_default();
    let requests = amounts(
        of_cpu.and_then(|cpu| cpu.request_cores).or(cpu_cores.map(|cores| cores.get())),
        of_memory.and_then(|memory| memory.request_bytes).or(memory_bytes),
    );
    let limits =
        amounts(of_cpu.and_then(|cpu| cpu.limit_cores), of_memory.and_then(|memory| memory.limit_bytes));
    let is_sidecar = container.kind == Some(ContainerKind::Sidecar);
    present([
        ("name", container.name.as_deref().map(Value::from)),
        ("image", container.image.as_deref().map(Value::from)),
        ("resources", Some(present([("requests", requests), ("limits", limits)]))),
        ("restartPolicy", is_sidecar.then_some("Always".into())),
    ])
}

fn status(container: &Container, known: &KnownPod) -> Value {
    let runtime = told(container, known).and_then(|told| told.runtime);
    let id = container.id.as_deref().zip(runtime).map(|(id, runtime)| format!("{}://{id}", runtime.word()));
    let started_at = container.started_at_unix_nano.map(WallTime::from_unix_nanos).map(rfc3339_seconds);
    let started_at = || started_at.clone().map(Value::from);
    let reason = || container.state_reason.as_deref().map(Value::from);
    let state = match container.state {
        Some(ContainerState::Running) => object!({ "running": present([("startedAt", started_at())]) }),
        Some(ContainerState::Waiting) => object!({ "waiting": present([("reason", reason())]) }),
        Some(ContainerState::Terminated) => {
            object!({ "terminated": present([("reason", reason()), ("startedAt", started_at())]) })
        }
        None => object!({}),
    };
    present([
        ("name", container.name.as_deref().map(Value::from)),
        ("image", container.image.as_deref().map(Value::from)),
        ("containerID", id.map(Value::from)),
        ("restartCount", container.restart_count.map(Value::from)),
        ("state", Some(state)),
    ])
}

/// As Kubernetes writes an amount of CPU: `2`, `250m`; finer than a thousandth `1500u`.
fn quantity(cores: f64) -> String {
    let micros = (cores * 1e6).round();
    match micros {
        whole if whole % 1e6 == 0.0 => format!("{}", whole / 1e6),
        milli if milli % 1e3 == 0.0 => format!("{}m", milli / 1e3),
        micro => format!("{micro}u"),
    }
}

/// An object of the keys that are there.
fn present<const N: usize>(keys: [(&str, Option<Value>); N]) -> Value {
    let there = keys.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(there.collect::<Map<String, Value>>())
}

/// A list, unless it is empty.
fn list(items: impl Iterator<Item = Value>) -> Option<Value> {
    let items: Vec<Value> = items.collect();
    (!items.is_empty()).then_some(Value::Array(items))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_kubernetes_does() {
        for (cores, text) in [(2.0, "2"), (0.25, "250m"), (0.1, "100m"), (0.0015, "1500u"), (1.5, "1500m")] {
            assert_eq!(quantity(cores), text);
        }
    }
}
