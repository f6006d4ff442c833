//! The processes of this node as a mount of `/proc` shows them, and through them the pods' networks.
//!
//! What counts in the end is one question, and it is asked for each container that has a cgroup: is there
//! a process of it, and can its `net/dev` be read?

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use procfs::prelude::FromRead;
use procfs::process::MountInfos;

use crate::host::cgroup::names::ids_in_cgroup_line;
use crate::host::process::{CgroupLines, init_netns, own_netns};
use crate::host::{HostRoot, syscall, text};
use crate::model::identity::ContainerId;

use super::{Failure, Tried, text_of};

/// What a mount of `/proc` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processes {
    /// Where it is.
    pub root: PathBuf,
    /// It is a `proc` file system.
    pub is_proc: bool,
    /// `<proc>/1/stat`, which everybody may read on a plain mount.
    pub first: Tried<()>,
    /// `<proc>/1/net/dev`: the node's own NICs.
    pub first_network: Tried<()>,
    /// Which network namespace that file is of: without it no pod's network is known to be its own.
    pub first_netns: Tried<()>,
    /// Options of the mount that hide processes: `hidepid=invisible,gid=4`. Only to be seen from a pid
    /// namespace that has the mount in its table of mounts.
    pub options: Option<String>,
    /// Kernel threads are in it: it is that of the machine itself, not of a container.
    pub kernel_threads: bool,
    /// Pid namespaces between us and the mount's; `None` if it does not show us.
    pub depth: Option<usize>,
    /// We are in the network namespace of process 1.
    pub host_network: Option<bool>,
    /// What is to be seen of the containers.
    pub sight: Sight,
}

/// What is to be seen of the containers whose cgroups are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// Containers and sandboxes.
    pub containers: usize,
    /// Those with a process.
    pub with_process: usize,
    /// Those whose network can be read through it.
    pub with_network: usize,
    /// Why not, and how often, of those with a process.
    pub refused: BTreeMap<String, usize>,
}

/// The magic number of `proc`.
const PROC_MAGIC: u64 = 0x9fa0;

impl Processes {
    /// Looks.
    pub fn read(root: &HostRoot, containers: &BTreeSet<ContainerId>) -> Self {
        let open = |file: &str| syscall::contents(root.proc.join(file)).map(drop).map_err(Failure::from);
        let magic = syscall::stat_file_system(&root.proc).ok().and_then(|it| u64::try_from(it.f_type).ok());
        let status = text_of(&root.proc.join("self/status"));
        Self {
            root: root.proc.clone(),
            is_proc: magic == Some(PROC_MAGIC),
            first: open("1/stat"),
            first_network: open("1/net/dev"),
            first_netns: syscall::stat(root.proc.join("1/net/dev")).map(drop).map_err(Failure::from),
            options: hiding_options(&root.proc),
            kernel_threads: syscall::contents(root.proc.join("2/stat"))
                .is_ok_and(|stat| stat.starts_with(b"2 (kthreadd)")),
            depth: parse_depth(&status),
            host_network: init_netns(root).ok().zip(own_netns(root)).map(|(init, own)| init == own),
            sight: Sight::read(root, containers),
        }
    }
}

impl Sight {
    /// Looks at every process once.
    fn read(root: &HostRoot, containers: &BTreeSet<ContainerId>) -> Self {
        let mut sight = Self { containers: containers.len(), ..Self::default() };
        let mut seen: BTreeMap<ContainerId, Tried<()>> = BTreeMap::new();
        for entry in syscall::read_directory(&root.proc).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| text::parse_u32(name.as_bytes())) else { continue };
            let directory = root.process(pid);
            let Some(id) = container_of(&directory).filter(|id| containers.contains(id)) else { continue };
            // One process that can be read is enough: others may be ending.
            if !matches!(seen.get(&id), Some(Ok(()))) {
                seen.insert(
                    id,
                    syscall::contents(directory.join("net/dev")).map(drop).map_err(Failure::from),
                );
            }
        }
        sight.with_process = seen.len();
        for tried in seen.into_values() {
            match tried {
                Ok(()) => sight.with_network += 1,
                Err(failure) => *sight.refused.entry(failure.to_string()).or_default() += 1,
            }
        }
        sight
    }
}

fn container_of(process: &Path) -> Option<ContainerId> {
    let cgroup = syscall::contents(process.join("cgroup")).ok()?;
    CgroupLines::of(&cgroup).find_map(|line| ids_in_cgroup_line(line).1)
}

/// `hidepid` and `gid` of the mount at `proc`, as our own table of mounts has them.
fn hiding_options(proc: &Path) -> Option<String> {
    let mounts = MountInfos::from_read(&*syscall::contents("/proc/self/mountinfo").ok()?).ok()?;
    let mount = mounts.iter().rev().find(|mount| mount.mount_point == proc && mount.fs_type == "proc")?;
    let shown = ["hidepid", "gid"].into_iter().filter_map(|key| {
        let value = mount.super_options.get(key)?;
        Some(format!("{key}={}", value.as_deref().unwrap_or_default()))
    });
    let shown = shown.collect::<Vec<_>>().join(",");
    shown.contains("hidepid").then_some(shown)
}

/// `NSpid:  4242  17`: our pid in the mount's pid namespace, then in each one below it.
pub(in crate::host) fn parse_depth(status: &str) -> Option<usize> {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().count().checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixture::Node;

    fn id(digit: char) -> ContainerId {
        ContainerId::new(&digit.to_string().repeat(64)).unwrap()
    }

    fn process(node: &Node, pid: u32, id: &ContainerId, net_dev: bool) {
        node.write(&format!("proc/{pid}/cgroup"), &format!("0::/kubepods/podaa/{}\n", id.as_str()));
        if net_dev {
            node.write(&format!("proc/{pid}/net/dev"), "eth0: 1");
        }
    }

    #[test]
    fn each_container_is_looked_for_and_its_network_read() {
        let node = Node::new();
        process(&node, 10, &id('a'), true);
        process(&node, 11, &id('b'), false);
        process(&node, 12, &id('b'), true);
        process(&node, 13, &id('c'), false);
        process(&node, 14, &id('e'), true);
        let wanted = BTreeSet::from([id('a'), id('b'), id('c'), id('d')]);
        let sight = Processes::read(&node.root(), &wanted).sight;
        assert_eq!((sight.containers, sight.with_process, sight.with_network), (4, 3, 2));
        assert_eq!(sight.refused, BTreeMap::from([("not there".to_owned(), 1)]));
    }

    #[test]
    fn a_directory_that_is_no_proc_is_not_taken_for_one() {
        let node = Node::new();
        let processes = Processes::read(&node.root(), &BTreeSet::new());
        assert!(!processes.is_proc && !processes.kernel_threads);
        let absent = Err(Failure::Absent);
        assert_eq!((processes.first, processes.first_network), (absent.clone(), absent.clone()));
        assert_eq!(processes.first_netns, absent);
        assert_eq!((processes.depth, processes.host_network, processes.options), (None, None, None));
    }

    #[test]
    fn our_own_proc_shows_us() {
        let root = HostRoot::new("/proc".into(), "/sys/fs/cgroup".into());
        let processes = Processes::read(&root, &BTreeSet::new());
        assert!(processes.is_proc);
        assert_eq!((processes.first, processes.depth), (Ok(()), Some(0)));
        assert_eq!(processes.first_netns.is_ok(), std::fs::metadata("/proc/1/net/dev").is_ok());
    }

    #[test]
    fn depth_is_the_number_of_further_pids() {
        assert_eq!(parse_depth("Name:\tx\nNSpid:\t4242\t17\nNSpgid:\t1\n"), Some(1));
        assert_eq!(parse_depth("NSpid:\t4242\n"), Some(0));
        assert_eq!(parse_depth("NSpid:\n"), None);
        assert_eq!(parse_depth(""), None);
    }
}
