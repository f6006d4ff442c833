//! The cgroup tree: which hierarchies there are, whose pods are in it, and what is counted for them.
//!
//! # How a part of a tree is told from the whole
//! The root of a hierarchy lacks, or alone has, certain files: version 2 shows `cgroup.events` everywhere
//! but there, version 1 shows `release_agent` nowhere else (`Documentation/admin-guide/cgroup-v2.rst`,
//! `cgroup-v1/cgroups.rst`). In a cgroup namespace of our own, or in a delegated subtree, it is the
//! other way round.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use crate::host::HostRoot;
use crate::host::cgroup::blkio::{Accounting, Blkio};
use crate::host::cgroup::layout::{Controller, Layout, Version};
use crate::host::cgroup::tree;
use crate::host::devices::Devices;
use crate::host::error::chain;
use crate::host::syscall;
use crate::model::identity::ContainerId;

use super::{Failure, Tried};

/// Controllers by the name under which version 2 lists them; version 1 calls `io` `blkio`.
pub const CONTROLLERS: [(Controller, &str); 5] = [
    (Controller::Cpuacct, "cpuacct"),
    (Controller::Memory, "memory"),
    (Controller::Cpu, "cpu"),
    (Controller::Blkio, "io"),
    (Controller::Pids, "pids"),
];

/// The tree, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroups {
    /// Where we looked.
    pub root: PathBuf,
    /// What is there.
    pub tree: Result<Tree, String>,
}

/// What is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Hierarchies by controller, as [`CONTROLLERS`] lists them.
    pub places: Vec<Place>,
    /// The hierarchy in which pods are found.
    pub watched: PathBuf,
    /// Whether it is the whole one, not a part that a namespace or a delegation shows; `None` where the
    /// files that tell are missing, as in a copy.
    pub whole: Option<bool>,
    /// Each root of all pods of a kubelet.
    pub kubepods: Vec<Kubepods>,
    /// Every container and sandbox below those.
    pub containers: BTreeSet<ContainerId>,
    /// Version 2: the controllers that are on for pods. `None` on version 1, or without pods.
    pub enabled: Option<Vec<String>>,
    /// Version 1: who counts block I/O.
    pub accounting: Option<Accounting>,
    /// `/proc/pressure/cpu`, read.
    pub pressure: Option<Tried<()>>,
    /// Whether cgroups have pressure files at all: on the version 2 side only.
    pub has_pressure_side: bool,
}

/// Where one controller is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub name: &'static str,
    /// Its hierarchy, if it has one.
    pub at: Option<(PathBuf, Version)>,
}

/// A root of all pods of a kubelet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kubepods {
    /// Below the hierarchy.
    pub path: String,
    /// Pod cgroups, empty ones included.
    pub pods: usize,
    /// Containers and sandboxes.
    pub containers: usize,
    /// Why pods could not be listed.
    pub trouble: Option<String>,
}

impl Cgroups {
    /// Looks.
    pub fn read(root: &HostRoot) -> Self {
        let tree =
            Layout::detect(root).map(|layout| Tree::read(root, &layout)).map_err(|error| chain(&error));
        Self { root: root.cgroup.clone(), tree }
    }
}

impl Tree {
    fn read(root: &HostRoot, layout: &Layout) -> Self {
        let place = |(controller, name): (Controller, &'static str)| Place {
            name,
            at: layout.mount(controller).map(PathBuf::from).zip(layout.version(controller)),
        };
        let mut tree = Self {
            places: CONTROLLERS.map(place).to_vec(),
            watched: layout.watched().to_owned(),
            whole: whole(layout),
            accounting: layout.is_v1_io().then(|| accounting(root, layout)),
            pressure: Some(pressure(root)),
            has_pressure_side: layout.version(Controller::Pressure).is_some(),
            ..Self::default()
        };
        for path in layout.kubepods() {
            let mut found = Kubepods { path: path.to_string(), ..Kubepods::default() };
            match tree::list_pods(layout, &path) {
                Ok(pods) => {
                    for pod in &pods {
                        let inside = tree::list_containers(layout, &pod.path).unwrap_or_default();
                        found.containers += inside.len();
                        tree.containers.extend(inside.into_iter().map(|container| container.id));
                    }
                    found.pods = pods.len();
                }
                Err(error) => found.trouble = Some(chain(&error)),
            }
            if layout.version(Controller::Memory) == Some(Version::V2) && tree.enabled.is_none() {
                let listed = layout.watched().join(path.as_path()).join("cgroup.subtree_control");
                let words = |text: Vec<u8>| {
                    String::from_utf8_lossy(&text).split_whitespace().map(str::to_owned).collect()
                };
                tree.enabled = syscall::contents(&listed).ok().map(words);
            }
            tree.kubepods.push(found);
        }
        tree
    }

    /// Pods, empty cgroups included.
    pub fn pods(&self) -> usize {
        self.kubepods.iter().map(|root| root.pods).sum()
    }

    /// Where a controller is.
    pub fn place(&self, name: &str) -> Option<&(PathBuf, Version)> {
        self.places.iter().find(|place| place.name == name)?.at.as_ref()
    }
}

fn whole(layout: &Layout) -> Option<bool> {
    if !layout.on_kernel() {
        return None;
    }
    let v2 = layout.mount(Controller::Memory).or(Some(layout.watched())) == Some(layout.watched())
        && syscall::exists(layout.watched().join("cgroup.controllers"));
    Some(if v2 {
        !syscall::exists(layout.watched().join("cgroup.events"))
    } else {
        syscall::exists(layout.watched().join("release_agent"))
    })
}

fn accounting(root: &HostRoot, layout: &Layout) -> Accounting {
    let mut blkio = Blkio::new(layout);
    blkio.refresh(layout, root, &Devices::read(root));
    blkio.accounting()
}

/// Old kernels let the file be opened and refuse the read.
fn pressure(root: &HostRoot) -> Tried<()> {
    match syscall::contents(root.proc.join("pressure/cpu")) {
        Ok(text) if text.starts_with(b"some ") => Ok(()),
        Ok(_) => Err(Failure::from(io::Error::from(io::ErrorKind::InvalidData))),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixture::Node;

    fn id(digit: char) -> String {
        digit.to_string().repeat(64)
    }

    #[test]
    fn pods_containers_and_controllers_of_a_version_2_tree_are_listed() {
        let node = Node::v2();
        node.make(&format!(
            "cgroup/kubepods.slice/kubepods-pod{}.slice/cri-containerd-{}.scope",
            "a_b",
            id('1')
        ));
        node.make(&format!(
            "cgroup/kubepods.slice/kubepods-pod{}.slice/cri-containerd-{}.scope",
            "a_b",
            id('2')
        ));
        node.write("cgroup/kubepods.slice/cgroup.subtree_control", "cpu memory\n");
        node.write("proc/pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n");
        let tree = Cgroups::read(&node.root()).tree.unwrap();
        assert_eq!((tree.pods(), tree.containers.len()), (1, 2));
        assert_eq!(tree.kubepods[0].path, "kubepods.slice");
        assert_eq!(tree.enabled, Some(vec!["cpu".to_owned(), "memory".to_owned()]));
        assert_eq!(tree.place("io").unwrap().1, Version::V2);
        assert_eq!((tree.whole, tree.accounting), (None, None));
        assert_eq!(tree.pressure, Some(Ok(())));
        assert!(tree.has_pressure_side);
    }

    #[test]
    fn a_version_1_tree_says_who_counts_block_io() {
        let node = Node::v1(&["memory", "blkio"]);
        node.write("cgroup/blkio/blkio.throttle.io_service_bytes_recursive", "8:0 Write 512\n");
        let tree = Cgroups::read(&node.root()).tree.unwrap();
        assert!(tree.accounting.unwrap().throttle);
        assert_eq!((tree.enabled, tree.pressure), (None, Some(Err(Failure::Absent))));
        assert!(tree.places.iter().any(|place| place.name == "cpu" && place.at.is_none()));
        assert!(!tree.has_pressure_side && tree.kubepods.is_empty());
    }

    #[test]
    fn a_directory_without_cgroups_says_so() {
        let cgroups = Cgroups::read(&Node::new().root());
        assert!(cgroups.tree.unwrap_err().contains("neither cgroup v2 nor any cgroup v1 controller"));
    }

    #[test]
    fn this_machine_s_tree_is_the_kernel_s() {
        let root = HostRoot::new("/proc".into(), "/sys/fs/cgroup".into());
        let tree = Cgroups::read(&root).tree.unwrap();
        assert!(tree.whole.is_some() && tree.place("memory").is_some(), "{tree:?}");
    }
}
