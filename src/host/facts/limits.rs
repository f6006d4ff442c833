//! What the kernel allows us: descriptors, memory, watches.

use rustix::process::{Resource, getrlimit};

use crate::host::HostRoot;
use crate::host::error::{HostError, chain};
use crate::host::limits::{cached_descriptors, own_memory_limit};
use crate::host::watch::CgroupWatch;

use super::cgroups::Tree;
use super::{Failure, Tried, number};

/// What is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most descriptors this process may have, after raising; `None`: any number.
    pub descriptors: Option<u64>,
    /// Cgroup files that may stay open, for that and for memory.
    pub cached: usize,
    /// The memory limit of our own container.
    pub memory_bytes: Option<u64>,
    /// Whether every root of pods could be watched.
    pub watches: Tried<()>,
    /// `fs.inotify.max_user_instances`.
    pub max_instances: Option<u64>,
    /// `fs.inotify.max_user_watches`.
    pub max_watches: Option<u64>,
}

impl Limits {
    /// Looks; raises our soft limit of descriptors, as `serve` does.
    pub fn read(root: &HostRoot, tree: Option<&Tree>) -> Self {
        let cached = cached_descriptors();
        let inotify = root.proc.join("sys/fs/inotify");
        Self {
            descriptors: getrlimit(Resource::Nofile).current,
            cached,
            memory_bytes: own_memory_limit(),
            watches: watches(tree),
            max_instances: number(&inotify.join("max_user_instances")),
            max_watches: number(&inotify.join("max_user_watches")),
        }
    }
}

fn watches(tree: Option<&Tree>) -> Tried<()> {
    let failure = |error: HostError| match error {
        HostError::Io { source, .. } => source.into(),
        HostError::Gone { .. } => Failure::Absent,
        error => Failure::Other(chain(&error)),
    };
    let (mut watch, _) = CgroupWatch::new().map_err(failure)?;
    let Some(tree) = tree else { return Ok(()) };
    let pods = tree.kubepods.iter().map(|found| tree.watched.join(&found.path));
    pods.chain([tree.watched.clone()]).try_for_each(|directory| watch.add(&directory).map_err(failure))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::facts::cgroups::{Cgroups, Kubepods};
    use crate::host::fixture::Node;

    #[test]
    fn limits_of_inotify_are_read_and_tried() {
        let node = Node::v2();
        node.make("cgroup/kubepods");
        node.write("proc/sys/fs/inotify/max_user_instances", "128\n");
        node.write("proc/sys/fs/inotify/max_user_watches", "65536\n");
        let mut tree = Cgroups::read(&node.root()).tree.unwrap();
        let limits = Limits::read(&node.root(), Some(&tree));
        assert_eq!((limits.max_instances, limits.max_watches), (Some(128), Some(65536)));
        assert_eq!(limits.watches, Ok(()));
        assert!(limits.cached > 0 && limits.descriptors.is_none_or(|most| most > limits.cached as u64));
        tree.kubepods.push(Kubepods { path: "gone".into(), ..Kubepods::default() });
        assert_eq!(Limits::read(&node.root(), Some(&tree)).watches, Err(Failure::Absent));
    }
}
