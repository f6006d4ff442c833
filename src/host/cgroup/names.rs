//! Directory names of the cgroup tree: which pod, which container. Pure.
//!
//! The kubelet names a pod's cgroup (`pkg/kubelet/cm/pod_container_manager_linux.go`), the runtime
//! names the containers' below it. With the cgroupfs and the systemd driver:
//!
//! ```text
//! kubepods/burstable/pod9c43…/d84274c30296719ba09a7bf1b340ff80…
//! kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod9c43_….slice/cri-containerd-d842….scope
//! ```
//!
//! # Why an exact grammar
//! `crio-conmon-<id>.scope` carries a container's id and is not the container, and a pod to which a
//! subtree was delegated may call its own cgroups anything. So only whole names count, and where a
//! path is searched the outermost match wins: what a pod can name lies below it.

use std::ffi::OsStr;
use std::path::Component;

use crate::model::identity::{ContainerId, PodUid};
use crate::model::target::CgroupPath;

/// Digits of an id with every runtime we know.
const ID_DIGITS: usize = 64;

/// What a runtime writes before the id. systemd units end in `.scope`; CRI-O and Podman keep the
/// prefix with the cgroupfs driver, where there is no such ending.
const SCOPE_PREFIXES: [&str; 5] = ["cri-containerd-", "crio-", "docker-", "libpod-", "nerdctl-"];

/// Kata's cgroup of a virtual machine, cgroupfs only.
const KATA_PREFIX: &str = "kata_";

/// The UID in the name of a pod's own cgroup: `pod<uid>`, or `<prefix>kubepods[-<qos>]-pod<uid>.slice`.
///
/// systemd escapes the dashes of the UID to `_`. Going back is exact here, though not for unit names
/// in general: a UID has only `[0-9a-f-]`, so each `_` was a dash.
pub fn parse_pod_directory(name: &str) -> Option<PodUid> {
    match split_slice(name) {
        Some((_, uid)) if uid.contains('-') => None,
        Some((_, uid)) => PodUid::new(&uid.replace('_', "-")),
        None => PodUid::new(name.strip_prefix("pod")?),
    }
}

/// The quality-of-service class of the pod whose cgroup `path` is.
///
/// A guaranteed pod lies directly below `kubepods`; the others below a level named after their class.
pub fn qos_of(path: &CgroupPath) -> Option<&'static str> {
    let name = path.as_path().file_name()?.to_str()?;
    parse_pod_directory(name)?;
    if let Some((level, _)) = split_slice(name) {
        return class_of_level(level);
    }
    let level = path.as_path().parent()?.file_name()?.to_str()?;
    match level {
        "burstable" => Some("Burstable"),
        "besteffort" => Some("BestEffort"),
        _ => class_of_level(level.strip_suffix(".slice").unwrap_or(level)),
    }
}

/// The id in the name of a container's or a sandbox's cgroup.
pub fn parse_container_directory(name: &str) -> Option<ContainerId> {
    let stem = name.strip_suffix(".scope").unwrap_or(name);
    let prefixed = SCOPE_PREFIXES.iter().find_map(|prefix| stem.strip_prefix(prefix));
    let id = match prefixed {
        Some(id) => id,
        // Without a prefix it is no systemd unit: the whole name counts.
        None => name.strip_prefix(KATA_PREFIX).unwrap_or(name),
    };
    (id.len() == ID_DIGITS).then(|| ContainerId::new(id)).flatten()
}

/// Whether the cgroup holds a virtual machine whose inside the node cannot see.
pub fn is_virtual_machine(name: &str) -> bool {
    name.starts_with(KATA_PREFIX)
}

/// Whether `name` is the root of all pods of a kubelet: `kubepods`, `kubelet-kubepods.slice`, ….
pub fn is_kubepods(name: &str) -> bool {
    name.strip_suffix(".slice").unwrap_or(name).ends_with("kubepods")
}

/// Whether `name` is the level of one quality-of-service class below the root of all pods.
pub fn is_qos_level(name: &str) -> bool {
    let stem = name.strip_suffix(".slice").unwrap_or(name);
    matches!(name, "burstable" | "besteffort")
        || stem.ends_with("kubepods-burstable")
        || stem.ends_with("kubepods-besteffort")
}

/// The pod and the container that a line of `/proc/<pid>/cgroup` names,
/// `4:memory:/kubepods/burstable/pod9c43…/d842…`.
///
/// The head of the path is relative to *our* cgroup namespace (`/../../pod9c43…/d842…`) and tells
/// nothing. The first pod that a container directly follows counts; cgroups the container made in
/// itself come after and cannot. A container without a pod counts only right at the start: that is
/// how a neighbour in our own pod looks from inside.
pub fn ids_in_cgroup_line(line: &str) -> (Option<PodUid>, Option<ContainerId>) {
    let Some(path) = line.splitn(3, ':').nth(2) else { return (None, None) };
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let mut names = path.split('/').filter(|name| !name.is_empty() && *name != "..").peekable();
    if let Some(id) = names.peek().and_then(|name| parse_container_directory(name)) {
        return (None, Some(id));
    }
    let mut lone_pod = None;
    while let Some(name) = names.next() {
        let Some(uid) = parse_pod_directory(name) else { continue };
        if let Some(id) = names.peek().and_then(|next| parse_container_directory(next)) {
            return (Some(uid), Some(id));
        }
        lone_pod.get_or_insert(uid);
    }
    (lone_pod, None)
}

/// The path of the pod's cgroup that `path` is or lies in: the last ancestor with a pod's name.
pub fn pod_of(path: &CgroupPath) -> Option<CgroupPath> {
    let is_pod = |name: &OsStr| name.to_str().is_some_and(|name| parse_pod_directory(name).is_some());
    let named = |component: Option<Component<'_>>| match component {
        Some(Component::Normal(name)) => is_pod(name),
        _ => false,
    };
    path.as_path().ancestors().find(|ancestor| named(ancestor.components().next_back())).map(CgroupPath::new)
}

/// `kubepods-burstable-pod9c43_….slice` → (`kubepods-burstable`, `9c43_…`).
fn split_slice(name: &str) -> Option<(&str, &str)> {
    let (level, uid) = name.strip_suffix(".slice")?.rsplit_once("-pod")?;
    class_of_level(level).map(|_| (level, uid))
}

/// The class of the pods directly below a level, by the level's name without `.slice`.
fn class_of_level(level: &str) -> Option<&'static str> {
    if level.ends_with("kubepods-burstable") {
        Some("Burstable")
    } else if level.ends_with("kubepods-besteffort") {
        Some("BestEffort")
    } else if level.ends_with("kubepods") {
        Some("Guaranteed")
    } else {
        None
    }
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
