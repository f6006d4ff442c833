//! What the kubelet and the runtimes call a pod's cgroups, under either cgroup driver.
//!
//! ```text
//! /kubepods/burstable/pod9c43…/<64 hex>
//! /kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod9c43_….slice/cri-containerd-<64 hex>.scope
//! ```

use crate::pod::Qos;

/// Who names the cgroups. `cgroupDriver` of the kubelet's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// The kubelet itself.
    Cgroupfs,
    /// systemd: slices that repeat their parents' names, and a scope for each container.
    Systemd,
}

/// The cgroup of the pod, below `prefix` (empty, or absolute). Under systemd a prefix that is itself a
/// slice is repeated in every name, as kind's `kubelet.slice/kubelet-kubepods.slice` shows.
pub(super) fn pod_cgroup(prefix: &str, driver: Driver, qos: Qos, uid: &str) -> String {
    let prefix = prefix.trim_end_matches('/');
    let level = match qos {
        Qos::Guaranteed => None,
        Qos::Burstable => Some("burstable"),
        Qos::BestEffort => Some("besteffort"),
    };
    match driver {
        Driver::Cgroupfs => {
            let level = level.map(|level| format!("{level}/")).unwrap_or_default();
            format!("{prefix}/kubepods/{level}pod{uid}")
        }
        Driver::Systemd => {
            let last = prefix.rsplit('/').next().unwrap_or_default();
            let mut stem = last.strip_suffix(".slice").map(|stem| format!("{stem}-")).unwrap_or_default();
            stem.push_str("kubepods");
            let mut path = format!("{prefix}/{stem}.slice");
            for part in level.map(str::to_owned).into_iter().chain([format!("pod{}", uid.replace('-', "_"))])
            {
                stem = format!("{stem}-{part}");
                path = format!("{path}/{stem}.slice");
            }
            path
        }
    }
}

/// The last component of a container's cgroup. `scope_prefix` is the runtime's, such as `crio-`.
pub(super) fn child_name(driver: Driver, scope_prefix: Option<&str>, id: &str) -> String {
    match (driver, scope_prefix) {
        (Driver::Cgroupfs, prefix) => format!("{}{id}", prefix.unwrap_or_default()),
        (Driver::Systemd, prefix) => format!("{}{id}.scope", prefix.unwrap_or("cri-containerd-")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "9c43f1a0-1111-2222-3333-444455556666";

    #[test]
    fn names_are_those_of_real_nodes() {
        assert_eq!(
            pod_cgroup("", Driver::Cgroupfs, Qos::Burstable, UID),
            format!("/kubepods/burstable/pod{UID}")
        );
        assert_eq!(
            pod_cgroup("/docker/ab", Driver::Cgroupfs, Qos::Guaranteed, UID),
            format!("/docker/ab/kubepods/pod{UID}")
        );
        assert_eq!(
            pod_cgroup("", Driver::Systemd, Qos::BestEffort, UID),
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod9c43f1a0_1111_2222_3333_444455556666.slice"
        );
        assert_eq!(
            pod_cgroup("/kubelet.slice", Driver::Systemd, Qos::Guaranteed, "ab-c"),
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podab_c.slice"
        );
        assert_eq!(child_name(Driver::Systemd, None, "ab"), "cri-containerd-ab.scope");
        assert_eq!(child_name(Driver::Systemd, Some("crio-"), "ab"), "crio-ab.scope");
        assert_eq!(child_name(Driver::Cgroupfs, None, "ab"), "ab");
    }
}
