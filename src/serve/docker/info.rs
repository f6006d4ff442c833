//! `/info` and `/vX.Y/version`: what Docker's clients are told of the node and of us (pure).

use serde_json::{Value, json};

use super::super::time::rfc3339;
use super::super::version::{API_VERSION, BUILT, COMMIT, MIN_API_VERSION, VERSION, architecture};
use super::names::{State, items};
use crate::model::machine::{CgroupVersion, Machine};
use crate::model::snapshot::{CgroupFigures, Snapshot};

/// `/vX.Y/version`, of which `Platform` is in no document that a Kubernetes client reads.
pub(super) fn version(machine: &Machine) -> Value {
    let mut details = json!({
        "ApiVersion": API_VERSION,
        "MinAPIVersion": MIN_API_VERSION,
        "GitCommit": COMMIT,
        "GoVersion": "none",
        "Os": std::env::consts::OS,
        "Arch": architecture(),
        "BuildTime": BUILT,
    });
    if let Some(kernel) = &machine.kernel_release {
        details["KernelVersion"] = kernel.as_str().into();
    }
    let mut document = details.clone();
    document["Version"] = VERSION.into();
    document["Platform"] = json!({ "Name": "podvitals" });
    details["Experimental"] = "false".into();
    document["Components"] = json!([{ "Name": "podvitals", "Version": VERSION, "Details": details }]);
    document
}

/// `/info`.
pub(super) fn info(snapshot: &Snapshot, machine: &Machine) -> Value {
    let all = items(snapshot, true);
    let running = all.iter().filter(|item| item.state == State::Running).count();
    let can_limit = Limited::of(snapshot);
    let mut document = json!({
        "ID": &*snapshot.node_name,
        "Name": &*snapshot.node_name,
        "Containers": all.len(),
        "ContainersRunning": running,
        "ContainersStopped": all.len() - running,
        "OSType": std::env::consts::OS,
        "Architecture": std::env::consts::ARCH,
        "ServerVersion": VERSION,
        "SystemTime": rfc3339(snapshot.clock.wall),
        "DriverStatus": [],
        "Labels": [],
        "Debug": false,
        "ExperimentalBuild": false,
        "MemoryLimit": can_limit.memory,
        "SwapLimit": can_limit.swap,
        "CpuCfsPeriod": can_limit.quota,
        "CpuCfsQuota": can_limit.quota,
        "CPUShares": can_limit.shares,
        "PidsLimit": can_limit.pids,
        "OomKillDisable": machine.memory_cgroups == Some(CgroupVersion::V1),
        "Warnings": warnings(snapshot, &can_limit),
    });
    if let Some(forwards) = snapshot.node.forwards_ipv4 {
        document["IPv4Forwarding"] = forwards.into();
    }
    if let Ok(cpu) = &snapshot.node.cpu {
        document["NCPU"] = cpu.value.cores.into();
    }
    if let Ok(memory) = &snapshot.node.memory {
        document["MemTotal"] = memory.value.total_bytes.into();
    }
    if let Some(kernel) = &machine.kernel_release {
        document["KernelVersion"] = kernel.as_str().into();
    }
    if let Some(version) = machine.memory_cgroups {
        let version = match version {
            CgroupVersion::V1 => "1",
            CgroupVersion::V2 => "2",
        };
        document["CgroupVersion"] = version.into();
    }
    if let Some(pod) = snapshot.targets.pods.first() {
        document["CgroupDriver"] = if pod.cgroup.path.is_slice() { "systemd" } else { "cgroupfs" }.into();
    }
    document
}

/// What of a pod can be limited here: what is accounted can.
struct Limited {
    memory: bool,
    swap: bool,
    quota: bool,
    shares: bool,
    pids: bool,
}

impl Limited {
    fn of(snapshot: &Snapshot) -> Self {
        let has_swap = |cgroup: &CgroupFigures| {
            cgroup.memory.as_ref().is_ok_and(|memory| memory.value.swap_bytes.is_some())
        };
        Self {
            memory: some(snapshot, |cgroup| cgroup.memory.is_ok()),
            swap: some(snapshot, has_swap),
            quota: some(snapshot, is_throttled),
            shares: some(snapshot, |cgroup| cgroup.limits.cpu_shares.is_some()),
            pids: some(snapshot, |cgroup| cgroup.pids.is_ok()),
        }
    }
}

/// In the Engine's words. Without any the docker CLI makes its own, of each key that is false or not there.
fn warnings(snapshot: &Snapshot, can_limit: &Limited) -> Vec<&'static str> {
    let unknown = "WARNING: podvitals does not know whether CPU sets and iptables on bridges are supported";
    // Without a pod nobody can say what one would be told.
    let some = !snapshot.pods.is_empty();
    let told = [
        (some && !can_limit.memory, "WARNING: No memory limit support"),
        (some && !can_limit.swap, "WARNING: No swap limit support"),
        (some && !can_limit.quota, "WARNING: No cpu cfs quota support"),
        (some && !can_limit.quota, "WARNING: No cpu cfs period support"),
        (some && !can_limit.shares, "WARNING: No cpu shares support"),
        (snapshot.node.forwards_ipv4 == Some(false), "WARNING: IPv4 forwarding is disabled"),
        (true, unknown),
    ];
    told.into_iter().filter(|(holds, _)| *holds).map(|(_, warning)| warning).collect()
}

fn some(snapshot: &Snapshot, holds: impl Fn(&CgroupFigures) -> bool) -> bool {
    snapshot.pods.iter().any(|pod| holds(&pod.cgroup))
}

/// The CPU controller tells of its periods.
fn is_throttled(cgroup: &CgroupFigures) -> bool {
    cgroup.cpu.as_ref().is_ok_and(|cpu| cpu.value.counters.throttling.is_ok())
}
