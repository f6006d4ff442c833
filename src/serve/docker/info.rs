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
        // What is accounted can be limited.
        "MemoryLimit": some(snapshot, |cgroup| cgroup.memory.is_ok()),
        "SwapLimit": some(snapshot, |cgroup| {
            cgroup.memory.as_ref().is_ok_and(|memory| memory.value.swap_bytes.is_some())
        }),
        "CpuCfsPeriod": some(snapshot, is_throttled),
        "CpuCfsQuota": some(snapshot, is_throttled),
        "PidsLimit": some(snapshot, |cgroup| cgroup.pids.is_ok()),
    });
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

fn some(snapshot: &Snapshot, holds: impl Fn(&CgroupFigures) -> bool) -> bool {
    snapshot.pods.iter().any(|pod| holds(&pod.cgroup))
}

/// The CPU controller tells of its periods.
fn is_throttled(cgroup: &CgroupFigures) -> bool {
    cgroup.cpu.as_ref().is_ok_and(|cpu| cpu.value.counters.throttling.is_ok())
}
