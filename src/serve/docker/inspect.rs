//! `/containers/{id}/json`: what `docker inspect` shows, as far as anybody tells us (pure).

use std::time::Duration;

use serde_json::{Value, json};

use super::super::time::{microseconds, rfc3339};
use super::list::host_config;
use super::names::{Item, State};
use crate::model::counters::{CpuQuota, Limits, UnknownLimits};
use crate::model::target::CgroupPath;

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
    let host_config = &mut document["HostConfig"];
    host_config["CgroupParent"] = parent(&item.pod.target.cgroup.path).into();
    if let Some(cgroup) = cgroup {
        limits(&cgroup.limits, host_config);
    }
    document
}

/// Nothing is restarted or removed by an engine here, and so nothing is amidst that.
fn status(state: State) -> Value {
    let running = state == State::Running;
    json!({ "Status": state.word(), "Running": running, "Restarting": false, "Dead": false })
}

/// The pod's cgroup, as a kubelet tells it the Engine: by path, or by the name of the slice.
fn parent(pod: &CgroupPath) -> String {
    let slice = pod.as_path().file_name().filter(|_| pod.is_slice());
    slice.map_or_else(|| pod.absolute(), |slice| slice.to_string_lossy().into_owned())
}

/// 0 is Docker's word for no limit.
fn limits(limits: &Limits, host_config: &mut Value) {
    let UnknownLimits { cpu_cores, memory_bytes, pids, reservation_bytes, .. } = limits.unknown;
    if memory_bytes.is_none() {
        host_config["Memory"] = limits.memory_bytes.unwrap_or(0).into();
    }
    // Of both together, if both are limited.
    if let Some((swap, memory)) = limits.swap.zip(limits.memory_bytes) {
        host_config["MemorySwap"] = swap.bytes.saturating_add(memory).into();
    }
    if reservation_bytes.is_none() {
        host_config["MemoryReservation"] = limits.reservation_bytes.unwrap_or(0).into();
    }
    if pids.is_none() {
        host_config["PidsLimit"] = limits.pids.unwrap_or(0).into();
    }
    if let Some(shares) = limits.cpu_shares {
        host_config["CpuShares"] = shares.into();
    }
    if cpu_cores.is_none() {
        let of =
            |part: fn(CpuQuota) -> Duration| limits.cpu_quota.map_or(0, |quota| microseconds(part(quota)));
        host_config["CpuPeriod"] = of(|quota| quota.period).into();
        host_config["CpuQuota"] = of(|quota| quota.quota).into();
    }
}

fn sandbox_pid(item: &Item<'_>) -> Option<u32> {
    let known = item.pod.target.known.as_deref()?;
    known.sandboxes.iter().find(|told| told.id == item.identity.id)?.pid
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::unavailable::Unavailable;

    #[test]
    fn no_limit_is_zero_and_one_that_is_not_known_is_absent() {
        let told = |of: Limits| {
            let mut host_config = json!({});
            limits(&of, &mut host_config);
            host_config
        };
        let none =
            json!({ "Memory": 0, "MemoryReservation": 0, "PidsLimit": 0, "CpuPeriod": 0, "CpuQuota": 0 });
        assert_eq!(told(Limits::default()), none);
        let unknown = |cpu_cores, memory_bytes, pids| Limits {
            unknown: UnknownLimits {
                cpu_cores,
                memory_bytes,
                pids,
                reservation_bytes: memory_bytes,
                ..UnknownLimits::default()
            },
            ..Limits::default()
        };
        let why = Some(Unavailable::Permission);
        assert_eq!(
            told(unknown(why, None, None)),
            json!({ "Memory": 0, "MemoryReservation": 0, "PidsLimit": 0 })
        );
        assert_eq!(told(unknown(None, why, why)), json!({ "CpuPeriod": 0, "CpuQuota": 0 }));
    }

    #[test]
    fn a_slice_goes_by_its_name_and_everything_else_by_its_path() {
        for (path, told) in [
            ("kubepods.slice/kubepods-besteffort.slice", "kubepods-besteffort.slice"),
            ("kubepods/besteffort/pod0a1b", "/kubepods/besteffort/pod0a1b"),
        ] {
            assert_eq!(parent(&CgroupPath::new(path)), told);
        }
    }
}
