//! Which pods and containers exist: listings of the cgroup tree.
//!
//! The tree is the ground truth for existence. These are cold paths, run when the watch reports a
//! change, or each sweep where there is no watch.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::host::error::is_gone;
use crate::host::{HostError, syscall, text};
use crate::model::identity::{ContainerId, PodUid};
use crate::model::target::CgroupPath;
use crate::model::time::WallTime;

use super::layout::Controller;
use super::layout::Layout;
use super::names;

/// One pod's cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodDirectory {
    /// The UID in its name.
    pub uid: PodUid,
    /// Where it is.
    pub path: CgroupPath,
    /// The class its place in the tree stands for.
    pub qos_class: Option<&'static str>,
    /// Identity of this life of it.
    pub inode: u64,
}

/// One container's, or sandbox's, cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerDirectory {
    /// The id in its name.
    pub id: ContainerId,
    /// Where it is.
    pub path: CgroupPath,
    /// Identity of this life of it.
    pub inode: u64,
    /// The directory's `ctime`. The kernel keeps none for cgroups and shows when anybody first looked
    /// at it, or looked again after memory was short: an upper bound, good for display.
    pub created: WallTime,
    /// A virtual machine, whose inside the node cannot see.
    pub virtual_machine: bool,
}

/// The pods below one `kubepods`, of every class, by path.
///
/// # Errors
/// `kubepods` cannot be listed. A class level that vanishes meanwhile is no error.
pub fn list_pods(layout: &Layout, kubepods: &CgroupPath) -> Result<Vec<PodDirectory>, HostError> {
    let mut pods = Vec::new();
    for (index, parent) in qos_directories(layout, kubepods).iter().enumerate() {
        let entries = match list(layout, parent) {
            Err(error) if error.is_gone() && index > 0 => continue,
            entries => entries?,
        };
        for Entry { name, inode, .. } in entries {
            let Some(uid) = names::parse_pod_directory(&name) else { continue };
            let path = parent.child(&name);
            let qos_class = names::qos_of(&path);
            pods.push(PodDirectory { uid, path, qos_class, inode });
        }
    }
    pods.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(pods)
}

/// The directories in which pod directories appear, `kubepods` first: what a watch must cover.
pub fn qos_directories(layout: &Layout, kubepods: &CgroupPath) -> Vec<CgroupPath> {
    let levels = list(layout, kubepods).unwrap_or_default();
    let levels = levels.iter().filter(|entry| names::is_qos_level(&entry.name));
    std::iter::once(kubepods.clone()).chain(levels.map(|entry| kubepods.child(&entry.name))).collect()
}

/// The containers and sandboxes of a pod, oldest first.
///
/// # Errors
/// The pod's directory cannot be listed.
///
/// # Why by inode
/// Which child is the oldest tells the sandbox. The kernel numbers cgroup directories in the order
/// they are made, while their `ctime` moves; in a copy of plain files it is the other way round.
pub fn list_containers(layout: &Layout, pod: &CgroupPath) -> Result<Vec<ContainerDirectory>, HostError> {
    let mut containers = Vec::new();
    for Entry { name, inode, created } in list(layout, pod)? {
        let Some(id) = names::parse_container_directory(&name) else { continue };
        let virtual_machine = names::is_virtual_machine(&name);
        containers.push(ContainerDirectory { id, path: pod.child(&name), inode, created, virtual_machine });
    }
    let on_kernel = layout.on_kernel();
    containers.sort_by_key(|container| {
        let made = if on_kernel { WallTime::default() } else { container.created };
        (made, container.inode)
    });
    Ok(containers)
}

/// Levels below a container in which processes are looked for: a nested init has its own cgroups.
const PIDS_DEPTH: usize = 4;
/// A container may make any number of cgroups and processes; what we look at is bounded.
const PIDS_DIRECTORIES: usize = 256;
const PIDS: usize = 4096;

/// The processes of a cgroup and of those below it, its own first. Seen from another pid namespace
/// there are none (v1 lists nothing, v2 zeros, which are left out).
///
/// # Errors
/// The cgroup itself cannot be read; those below may vanish meanwhile.
pub fn read_pids(layout: &Layout, path: &CgroupPath) -> Result<Vec<u32>, HostError> {
    let mut pids = read_own_pids(&layout.watched().join(path.as_path()))?;
    let mut level = vec![path.clone()];
    let mut left = PIDS_DIRECTORIES;
    for _ in 0..PIDS_DEPTH {
        let mut below = Vec::new();
        for parent in &level {
            for Entry { name, .. } in list(layout, parent).unwrap_or_default() {
                if left == 0 || pids.len() >= PIDS {
                    return Ok(pids);
                }
                left -= 1;
                let child = parent.child(&name);
                pids.extend(read_own_pids(&layout.watched().join(child.as_path())).unwrap_or_default());
                below.push(child);
            }
        }
        level = below;
    }
    pids.truncate(PIDS);
    Ok(pids)
}

/// Whether any process is in a cgroup or below it, also as seen from another pid namespace: v2 `cgroup.events`,
/// v1 `pids.current`. `None` where neither can be read.
pub fn is_populated(layout: &Layout, path: &CgroupPath) -> Option<bool> {
    if let Ok(events) = syscall::contents(layout.watched().join(path.as_path()).join("cgroup.events")) {
        let populated = text::lines(&events).find_map(|line| line.strip_prefix(b"populated "))?;
        return Some(populated != b"0");
    }
    let pids = layout.mount(Controller::Pids)?.join(path.as_path()).join("pids.current");
    let count = text::parse_u64(syscall::contents(pids).ok()?.trim_ascii_end())?;
    Some(count != 0)
}

/// `cgroup.procs`; of a threaded cgroup, where reading that is refused, `cgroup.threads`.
fn read_own_pids(directory: &Path) -> Result<Vec<u32>, HostError> {
    let path = directory.join("cgroup.procs");
    match syscall::contents(&path) {
        Ok(listed) => Ok(parse_pids(&listed)),
        Err(Errno::OPNOTSUPP) => {
            let path = directory.join("cgroup.threads");
            let listed = syscall::contents(&path).map_err(|errno| HostError::from_io(path, errno.into()))?;
            Ok(parse_pids(&listed))
        }
        Err(errno) => Err(HostError::from_io(path, errno.into())),
    }
}

/// One number a line. 0 is a process of another pid namespace, which no path of `/proc` may name.
pub(in crate::host) fn parse_pids(listed: &[u8]) -> Vec<u32> {
    text::lines(listed).filter_map(text::parse_u32).filter(|&pid| pid != 0).collect()
}

struct Entry {
    name: String,
    inode: u64,
    created: WallTime,
}

/// The directories in `path`. One that vanishes meanwhile, or has no UTF-8 name, is left out.
fn list(layout: &Layout, path: &CgroupPath) -> Result<Vec<Entry>, HostError> {
    let directory: PathBuf = layout.watched().join(path.as_path());
    let failed = |error| HostError::from_io(&directory, error);
    let mut found = Vec::new();
    for entry in syscall::read_directory(&directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // A cgroup has some forty files, which nobody asks about.
        if syscall::is_listed_as_directory(&entry) != Some(true) {
            continue;
        }
        let Ok(name) = entry.file_name().into_string() else { continue };
        match syscall::metadata(&entry) {
            Ok(metadata) => {
                let seconds = u64::try_from(metadata.ctime()).unwrap_or(0);
                let nanos = u64::try_from(metadata.ctime_nsec()).unwrap_or(0);
                let created = WallTime::from_unix_nanos(seconds.saturating_mul(1_000_000_000) + nanos);
                found.push(Entry { name, inode: metadata.ino(), created });
            }
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::host::fixture::Node;

    const UID: &str = "9c43ae1e-6c1b-4b5f-9d0a-0f3a8d1c2b7e";

    fn id(digit: char) -> String {
        digit.to_string().repeat(64)
    }

    #[test]
    fn pods_of_all_classes_are_listed_and_nothing_else() {
        let node = Node::v1(&["memory"]);
        for path in [
            format!("pod{UID}"),
            "burstable/podaa".into(),
            "besteffort/podbb".into(),
            "burstable/elsewhere".into(),
            "other/podcc".into(),
            "burstable/podaa/poddd".into(),
        ] {
            node.make(&format!("cgroup/memory/kubepods/{path}"));
        }
        let layout = Layout::detect(&node.root()).unwrap();
        let kubepods = CgroupPath::new("kubepods");
        let pods = list_pods(&layout, &kubepods).unwrap();
        let seen: Vec<_> = pods.iter().map(|pod| (pod.uid.as_str(), pod.qos_class)).collect();
        assert_eq!(seen, [("bb", Some("BestEffort")), ("aa", Some("Burstable")), (UID, Some("Guaranteed"))]);
        assert_eq!(layout.inode(&pods[1].path), Some(pods[1].inode));
        let watched: Vec<_> = qos_directories(&layout, &kubepods).iter().map(CgroupPath::to_string).collect();
        assert_eq!(watched[0], "kubepods");
        assert_eq!(watched.len(), 3);
    }

    #[test]
    fn systemd_slices_are_listed_under_their_dashed_uid() {
        let node = Node::v2();
        let slice = format!("kubepods-burstable-pod{}.slice", UID.replace('-', "_"));
        node.make(&format!("cgroup/kubepods.slice/kubepods-burstable.slice/{slice}"));
        let layout = Layout::detect(&node.root()).unwrap();
        let pods = list_pods(&layout, &CgroupPath::new("kubepods.slice")).unwrap();
        assert_eq!(pods.len(), 1);
        assert_eq!(pods[0].uid.as_str(), UID);
    }

    #[test]
    fn a_root_that_is_not_there_is_gone() {
        let node = Node::v2();
        let layout = Layout::detect(&node.root()).unwrap();
        assert!(list_pods(&layout, &CgroupPath::new("kubepods")).unwrap_err().is_gone());
        assert!(list_containers(&layout, &CgroupPath::new("kubepods/podaa")).unwrap_err().is_gone());
        assert!(read_pids(&layout, &CgroupPath::new("kubepods/podaa")).unwrap_err().is_gone());
    }

    #[test]
    fn containers_come_oldest_first_and_monitors_not_at_all() {
        let node = Node::v2();
        let pod = "cgroup/kubepods/podaa";
        for name in [id('c'), format!("crio-{}.scope", id('a')), format!("kata_{}", id('b'))] {
            node.make(&format!("{pod}/{name}"));
            let made = fs::metadata(node.path(pod).join(&name)).unwrap();
            // Until the file system's clock has moved on.
            while fs::metadata(node.path("proc/meminfo")).unwrap().ctime_nsec() == made.ctime_nsec() {
                node.write("proc/meminfo", "");
            }
        }
        node.make(&format!("{pod}/crio-conmon-{}.scope", id('a')));
        node.make(&format!("{pod}/system.slice"));
        let layout = Layout::detect(&node.root()).unwrap();
        let containers = list_containers(&layout, &CgroupPath::new("kubepods/podaa")).unwrap();
        let seen: Vec<_> = containers.iter().map(|c| (c.id.to_string(), c.virtual_machine)).collect();
        assert_eq!(seen, [(id('c'), false), (id('a'), false), (id('b'), true)]);
        assert!(containers[0].created < containers[1].created);
    }

    #[test]
    fn pids_include_nested_cgroups_but_never_zero() {
        let node = Node::v2();
        node.write("cgroup/c/cgroup.procs", "0\n17\n");
        node.write("cgroup/c/init.scope/cgroup.procs", "18\n");
        node.write("cgroup/c/a/b/cgroup.procs", "19\nx\n20");
        node.write("cgroup/c/1/2/3/4/5/cgroup.procs", "99\n");
        let layout = Layout::detect(&node.root()).unwrap();
        assert_eq!(read_pids(&layout, &CgroupPath::new("c")).unwrap(), [17, 18, 19]);
    }

    #[test]
    fn nested_cgroups_without_number_do_not_hold_us_up() {
        let node = Node::v2();
        node.write("cgroup/c/cgroup.procs", "1\n");
        for child in 0..PIDS_DIRECTORIES + 50 {
            node.write(&format!("cgroup/c/{child}/cgroup.procs"), "2\n");
        }
        let layout = Layout::detect(&node.root()).unwrap();
        assert_eq!(read_pids(&layout, &CgroupPath::new("c")).unwrap().len(), 1 + PIDS_DIRECTORIES);
    }

    #[test]
    fn whether_a_cgroup_has_processes_is_told_without_their_numbers() {
        let path = CgroupPath::new("kubepods/podaa");
        let node = Node::v1(&["memory", "pids"]);
        node.make("cgroup/memory/kubepods/podaa");
        let layout = Layout::detect(&node.root()).unwrap();
        assert_eq!(is_populated(&layout, &path), None);
        for (text, populated) in [("0\n", Some(false)), ("3\n", Some(true)), ("", None)] {
            node.write("cgroup/pids/kubepods/podaa/pids.current", text);
            assert_eq!(is_populated(&layout, &path), populated, "{text}");
        }
        for (text, populated) in
            [("populated 0\nfrozen 0\n", Some(false)), ("frozen 0\npopulated 1\n", Some(true)), ("", None)]
        {
            node.write("cgroup/memory/kubepods/podaa/cgroup.events", text);
            assert_eq!(is_populated(&layout, &path), populated, "{text}");
        }
    }
}
