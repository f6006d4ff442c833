//! A pod as it is served beside the API server's object of it, field by field.

use std::collections::BTreeMap;

use podvitals::model::document::Container;
use podvitals::model::document::Pod;
use podvitals::model::document::PodList;
use podvitals::model::identity::ContainerKind;
use podvitals::model::identity::ContainerState;
use podvitals::model::identity::Source;
use serde_json::Value;

use crate::quantity::bytes;
use crate::quantity::cores;
use crate::witness::container_id;
use crate::witness::containers;
use crate::witness::runtime_uid;

/// What differs, one line each.
struct Differences {
    lines: Vec<String>,
}

impl Differences {
    fn check<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, served: T, expected: T) {
        if served != expected {
            self.lines.push(format!("{what} is {served:?}, not {expected:?}"));
        }
    }
}

/// Compares a running pod of the API server with the one that is served.
pub(crate) fn differences(list: &PodList, object: &Value, sources: &[Source]) -> Vec<String> {
    let uid = runtime_uid(object);
    match list.pods.iter().filter(|pod| pod.runtime_uid == uid).collect::<Vec<_>>()[..] {
        [pod] => pod_lines(pod, object, sources),
        ref found => vec![format!("{} pods of that UID", found.len())],
    }
}

fn pod_lines(pod: &Pod, object: &Value, sources: &[Source]) -> Vec<String> {
    let mut differ = Differences { lines: Vec::new() };
    let string = |value: &Value| value.as_str().map(str::to_owned);
    let (metadata, status) = (&object["metadata"], &object["status"]);
    differ.check("namespace", pod.namespace.clone(), string(&metadata["namespace"]));
    differ.check("name", pod.name.clone(), string(&metadata["name"]));
    let is_static = metadata["annotations"]["kubernetes.io/config.mirror"].is_string();
    // The kubelet shows the static pod itself, which knows nothing of its mirror at the API server.
    let mirror = Some(()).filter(|()| !is_static || sources.contains(&Source::Kube));
    differ.check("uid", pod.uid.clone(), mirror.and_then(|()| string(&metadata["uid"])));
    differ.check("static", pod.static_pod, is_static);
    differ.check("hostNetwork", pod.host_network, object["spec"]["hostNetwork"] == true);
    differ.check("phase", pod.phase.clone(), string(&status["phase"]));
    differ.check("qosClass", pod.qos_class.clone(), string(&status["qosClass"]));
    differ.check("startTime", pod.start_time_unix_nano, nanoseconds(&status["startTime"]));
    differ.check("identity", &pod.identity[..], sources);
    differ.check("labels", pod.labels.clone(), None);
    let owner = pod.owner.as_ref().map(|owner| (owner.kind.clone(), owner.name.clone()));
    differ.check("owner", owner, mirror.and_then(|()| controller(object)));
    differ.check("sandbox", pod.sandbox.as_ref().is_some_and(|sandbox| sandbox.id.is_some()), true);
    let wanted = containers(object);
    differ.check("number of containers", pod.containers.len(), wanted.len());
    for (kind, spec, status) in wanted {
        let name = spec["name"].as_str().unwrap();
        match pod.containers.iter().find(|container| container.name.as_deref() == Some(name)) {
            Some(container) => container_lines(&mut differ, container, kind, spec, status),
            None => differ.lines.push(format!("no container {name}")),
        }
    }
    differ.lines
}

fn container_lines(
    differ: &mut Differences,
    container: &Container,
    kind: ContainerKind,
    spec: &Value,
    status: &Value,
) {
    let string = |value: &Value| value.as_str().map(str::to_owned);
    let name = spec["name"].as_str().unwrap();
    let mut check = |what: &str, served: String, expected: String| {
        differ.check(&format!("{name}: {what}"), served, expected);
    };
    check("kind", format!("{:?}", container.kind), format!("{:?}", Some(kind)));
    check("id", format!("{:?}", container.id), format!("{:?}", container_id(&status["containerID"])));
    check("image", format!("{:?}", container.image), format!("{:?}", string(&spec["image"])));
    let restarts = status["restartCount"].as_u64();
    check("restartCount", format!("{:?}", container.restart_count), format!("{restarts:?}"));
    let (state, detail) = state(status);
    check("state", format!("{:?}", container.state), format!("{:?}", Some(state)));
    check("stateReason", format!("{:?}", container.state_reason), format!("{:?}", string(&detail["reason"])));
    if state != ContainerState::Waiting {
        let started = nanoseconds(&detail["startedAt"]);
        check("startedAt", format!("{:?}", container.started_at_unix_nano), format!("{started:?}"));
    }
    if state == ContainerState::Running {
        let (requests, limits) = (&spec["resources"]["requests"], &spec["resources"]["limits"]);
        let cpu = container.cpu.as_ref();
        let memory = container.memory.as_ref();
        let cores = |value: &Value| format!("{:?}", value.as_str().map(|it| cores(it).unwrap()));
        let bytes = |value: &Value| format!("{:?}", value.as_str().map(|it| bytes(it).unwrap()));
        check("cpu", format!("{:?}", cpu.is_some_and(|cpu| cpu.usage_nanoseconds > 0)), "true".to_owned());
        let shown = |value: Option<f64>| format!("{value:?}");
        check("requestCores", shown(cpu.and_then(|cpu| cpu.request_cores)), cores(&requests["cpu"]));
        check("limitCores", shown(cpu.and_then(|cpu| cpu.limit_cores)), cores(&limits["cpu"]));
        let shown = |value: Option<u64>| format!("{value:?}");
        let request = memory.and_then(|memory| memory.request_bytes);
        check("requestBytes", shown(request), bytes(&requests["memory"]));
        let limit = memory.and_then(|memory| memory.limit_bytes);
        let own = bytes(&limits["memory"]);
        // One without a limit still has that of all pods together, which is near the machine's memory.
        if own != "None" || limit.is_some_and(|limit| limit < 1 << 30) {
            check("limitBytes", shown(limit), own);
        }
    }
}

fn state(status: &Value) -> (ContainerState, &Value) {
    let state = &status["state"];
    let all = [
        (ContainerState::Waiting, "waiting"),
        (ContainerState::Running, "running"),
        (ContainerState::Terminated, "terminated"),
    ];
    let is = all.into_iter().find(|(_, word)| state[*word].is_object());
    is.map_or((ContainerState::Waiting, &Value::Null), |(is, word)| (is, &state[word]))
}

fn controller(object: &Value) -> Option<(String, String)> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    let owner = owners.iter().find(|owner| owner["controller"] == true)?;
    Some((owner["kind"].as_str()?.to_owned(), owner["name"].as_str()?.to_owned()))
}

/// Labels of an object.
pub(crate) fn labels(object: &Value) -> BTreeMap<String, String> {
    let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
    labels.map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect()
}

/// `2026-11-21T07:00:00Z` in nanoseconds since 1970.
fn nanoseconds(time: &Value) -> Option<u64> {
    let time: jiff::Timestamp = time.as_str()?.parse().unwrap();
    Some(time.as_nanosecond().try_into().unwrap())
}
