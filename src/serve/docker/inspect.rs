//! `/containers/{id}/json`: what `docker inspect` shows, as far as anybody tells us (pure).

use serde_json::{Value, json};

use super::super::time::rfc3339;
use super::list::host_config;
use super::names::{Item, State};

/// The document.
pub(super) fn document(item: &Item<'_>) -> Value {
    let Item { identity, read, state, .. } = item;
    let started_at = identity.started_at().map(rfc3339);
    let mut document = json!({
        "Id": identity.id.as_str(),
        "Name": format!("/{}", identity.name()),
        "Platform": "linux",
        "State": status(*state),
        "Config": { "Labels": identity.labels() },
        "HostConfig": host_config(identity),
        "Mounts": [],
        "NetworkSettings": { "Networks": {}, "Ports": {} },
    });
    if let Some(image) = identity.image() {
        document["Config"]["Image"] = image.into();
        // The Engine has the image's id here. docker-py needs the key, and nobody tells us the id.
        document["Image"] = image.into();
    }
    if let Some(started_at) = started_at {
        document["Created"] = started_at.as_str().into();
        document["State"]["StartedAt"] = started_at.into();
    }
    if let Some(known) = identity.known() {
        document["RestartCount"] = known.restart_count.into();
    }
    if identity.is_sandbox() {
        // The process that keeps the pod's namespaces; nobody tells us those of the other containers.
        if let Some(pid) = sandbox_pid(item) {
            document["State"]["Pid"] = pid.into();
        }
    }
    let cgroup = read.map(|read| &read.cgroup);
    let kills = cgroup.and_then(|cgroup| cgroup.memory.as_ref().ok()?.value.oom_kills);
    if let Some(kills) = kills {
        document["State"]["OOMKilled"] = (kills > 0).into();
    }
    let limits = cgroup.map(|cgroup| cgroup.limits).filter(|limits| limits.unknown.memory_bytes.is_none());
    if let Some(limits) = limits {
        // 0 is Docker's word for no limit.
        document["HostConfig"]["Memory"] = limits.memory_bytes.unwrap_or(0).into();
    }
    document
}

fn status(state: State) -> Value {
    json!({ "Status": state.word(), "Running": state == State::Running })
}

fn sandbox_pid(item: &Item<'_>) -> Option<u32> {
    let known = item.pod.target.known.as_deref()?;
    known.sandboxes.iter().find(|told| told.id == item.identity.id)?.pid
}
