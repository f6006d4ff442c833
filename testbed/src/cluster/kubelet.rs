//! What the kubelet is told, and what it does to the machine outside the cluster's folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::state::{Record, StateDir};

use super::certificates::Certificates;
use super::layout::Layout;

/// Within the addresses and the ports a bridge has.
const MOST_PODS: u32 = 500;

/// `KubeletConfiguration`, <https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/>.
pub(super) fn config(layout: &Layout, certificates: &Certificates) -> Value {
    let address = layout.address().to_string();
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": address,
        "healthzBindAddress": address,
        "readOnlyPort": 0,
        "tlsCertFile": certificates.certificate("kubelet"),
        "tlsPrivateKeyFile": certificates.key("kubelet"),
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": certificates.certificate("ca") },
        },
        "authorization": { "mode": "Webhook" },
        "containerRuntimeEndpoint": format!("unix://{}", layout.state.socket().display()),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", layout.state.cgroup_prefix()),
        "enforceNodeAllocatable": ["pods"],
        "failCgroupV1": false,
        "failSwapOn": false,
        "staticPodPath": layout.path("manifests"),
        "podLogsDir": layout.path("logs"),
        "volumePluginDir": layout.path("volume-plugins"),
        "clusterDomain": "cluster.local",
        // Nobody answers there, and a pod's lookup fails at once: it has no route to it.
        "clusterDNS": ["10.96.0.10"],
        "configMapAndSecretChangeDetectionStrategy": "Watch",
        // The machine's disk is fuller than a node's should be; nothing is evicted for that.
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
            "imagefs.inodesFree": "1%",
        },
        // An image that was collected could not be pulled again.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        // No chains in the machine's iptables.
        "makeIPTablesUtilChains": false,
        "maxPods": MOST_PODS,
    })
}

pub(super) fn arguments(layout: &Layout) -> Vec<String> {
    vec![
        format!("--config={}", layout.path("kubelet.json")),
        format!("--kubeconfig={}", layout.kubeconfig("node").display()),
        format!("--root-dir={}", layout.path("kubelet")),
        format!("--cert-dir={}", layout.path("pki")),
        format!("--hostname-override={}", layout.node_name()),
        format!("--node-ip={}", layout.address()),
        // The cAdvisor in it asks the usual socket otherwise, and knows no container and no pod's network.
        format!("--containerd={}", layout.state.socket().display()),
    ]
}

/// `setupKernelTunables`, kubernetes pkg/kubelet/cm/container_manager_linux.go: it sets these at its
/// start and never again.
const TUNABLES: [&str; 6] = [
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/vm/panic_on_oom",
    "/proc/sys/kernel/panic",
    "/proc/sys/kernel/panic_on_oops",
    "/proc/sys/kernel/keys/root_maxkeys",
    "/proc/sys/kernel/keys/root_maxbytes",
];

/// What the machine has in them now.
pub(super) fn read_tunables() -> Result<Vec<(PathBuf, String)>> {
    let read = |path: &str| {
        let value = fs::read_to_string(path).with_context(|| path.to_owned())?;
        Ok((PathBuf::from(path), value.trim_end().to_owned()))
    };
    TUNABLES.into_iter().map(read).collect()
}

/// Gives the machine back what it had.
pub(crate) fn restore_tunables(before: &[(PathBuf, String)]) -> Result<()> {
    for (path, value) in before {
        let shown = || path.display().to_string();
        if fs::read_to_string(path).with_context(shown)?.trim_end() != value {
            fs::write(path, value).with_context(shown)?;
        }
    }
    Ok(())
}

/// Links to the logs of containers, by a name that tells whose they are.
const LOG_LINKS: &str = "/var/log/containers";
/// Where device plugins find the kubelet.
const DEVICE_PLUGINS: &str = "/var/lib/kubelet/device-plugins";
/// Folders whose place no flag of the kubelet changes, the inner ones first.
const FIXED_FOLDERS: [&str; 3] = [DEVICE_PLUGINS, "/var/lib/kubelet", LOG_LINKS];

/// Those of the fixed folders that no kubelet but a testbed's has made. The caller holds the root lock.
pub(super) fn own_folders() -> Result<Vec<PathBuf>> {
    let others = folders_of_others(None)?;
    let own = FIXED_FOLDERS.into_iter().map(PathBuf::from);
    Ok(own.filter(|folder| !folder.exists() || others.contains(folder)).collect())
}

fn folders_of_others(except: Option<&StateDir>) -> Result<Vec<PathBuf>> {
    let all = StateDir::all()?;
    let others = all.iter().filter(|other| except.is_none_or(|own| own.name() != other.name()));
    Ok(others.filter_map(|other| other.read_record().ok()).flat_map(|record| record.folders).collect())
}

/// Removes what a kubelet that has ended left in the fixed folders, and those that only testbeds had.
pub(crate) fn remove_outside(state: &StateDir, record: &Record) -> Result<()> {
    if record.folders.is_empty() && !Path::new(LOG_LINKS).exists() {
        return Ok(());
    }
    let _turn = StateDir::lock_root()?;
    for entry in fs::read_dir(LOG_LINKS).into_iter().flatten().flatten() {
        let link = entry.path();
        if fs::read_link(&link).is_ok_and(|target| target.starts_with(state.path())) {
            fs::remove_file(&link).with_context(|| link.display().to_string())?;
        }
    }
    let others = folders_of_others(Some(state))?;
    for folder in record.folders.iter().filter(|folder| !others.contains(folder)) {
        if folder == Path::new(DEVICE_PLUGINS) {
            for name in ["kubelet.sock", "kubelet_internal_checkpoint", "DEPRECATION"] {
                let _ = fs::remove_file(folder.join(name));
            }
        }
        // Somebody else may have put something there since: then it stays.
        let _ = fs::remove_dir(folder);
    }
    Ok(())
}
