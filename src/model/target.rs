//! Targets: what each pod asks the sampler to read, and the evidence that it is the right thing.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::counters::InterfaceName;
use super::identity::{ContainerId, KnownContainer, KnownPod, PodUid};
use super::time::{Monotonic, WallTime};
use super::unavailable::Unavailable;

/// Names one cgroup or one pod network for as long as this process lives; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId(pub u64);

/// A cgroup's path below the mount of each hierarchy, without a leading slash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CgroupPath(Arc<Path>);

impl CgroupPath {
    /// Takes a relative path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(Arc::from(path.into()))
    }

    /// The path below each mount.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// With a leading slash.
    pub fn absolute(&self) -> String {
        // Nearly always it is UTF-8, which is sooner seen than mended.
        let lossy = || ["/", &self.0.to_string_lossy()].concat();
        self.0.to_str().map_or_else(lossy, |path| ["/", path].concat())
    }

    /// Whether systemd keeps it: nobody else names cgroups so.
    pub fn is_slice(&self) -> bool {
        self.0.extension().is_some_and(|extension| extension == "slice")
    }

    /// The child of this name.
    pub fn child(&self, name: &str) -> Self {
        Self::new(self.0.join(name))
    }
}

impl std::fmt::Display for CgroupPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.display().fmt(f)
    }
}

/// What a cgroup is to its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CgroupRole {
    /// The pod's own cgroup, parent of the others.
    Pod,
    /// A container, or a cgroup no source has told apart from the sandbox yet.
    Container,
    /// The sandbox's cgroup. Only its v1 block I/O is read: the pod's total needs it.
    Sandbox,
}

/// One cgroup to read.
#[derive(Clone, Debug)]
pub struct CgroupTarget {
    /// Names this life of the cgroup.
    pub id: TargetId,
    /// Where it is in each hierarchy.
    pub path: CgroupPath,
    /// Which files matter.
    pub role: CgroupRole,
    /// When we first saw its directory: files may still be missing for 2 s after (v1).
    pub first_seen: Monotonic,
    /// The same instant on the wall clock.
    pub since: WallTime,
}

/// One child of a pod's cgroup.
#[derive(Clone, Debug)]
pub struct ContainerTarget {
    /// Its cgroup.
    pub cgroup: CgroupTarget,
    /// The id in the directory's name.
    pub container_id: ContainerId,
    /// What the sources of names say of this id. `None` until one of them does.
    pub known: Option<Arc<KnownContainer>>,
}

/// A live process whose `/proc` directory is held, so that its pid cannot be mistaken for another's.
#[derive(Clone, Debug)]
pub struct PinnedProcess {
    /// The number, in the pid namespace of the `/proc` we read.
    pub pid: u32,
    /// `O_PATH` descriptor of `/proc/<pid>`: gives ESRCH once the process is gone, whoever has its pid.
    pub dir: Arc<OwnedFd>,
    /// Identity of its network namespace: `st_ino` of `net/dev`, comparable while the process lives.
    pub netns: u64,
}

/// The host's end of a pod's veth pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostInterface {
    /// Its index among the host's links.
    pub index: u32,
    /// Its name.
    pub name: InterfaceName,
    /// The other end, inside the pod.
    pub pod_interface: Option<InterfaceName>,
    /// Where that is, as the kernel says: its index there, and the node's number of the netns it is in.
    pub peer: (u32, i32),
}

/// How to read a pod's network.
#[derive(Clone, Debug)]
pub enum NetworkTarget {
    /// Not at all.
    Absent(Unavailable),
    /// From the pod's side: `net/dev` through the pinned process.
    Netns(PinnedProcess),
    /// From the host's side, receive and transmit swapped. The pin guards the identity of the pair.
    HostVeth(HostInterface, PinnedProcess),
}

/// One link of the chain from a pod to its counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Link {
    /// Namespace, name and UID.
    Pod,
    /// The UID the runtime and the cgroup use.
    RuntimeUid,
    /// The pod's cgroup.
    PodCgroup,
    /// Which child is which container.
    Containers,
    /// Which child is the sandbox.
    Sandbox,
    /// The process through which the netns is read.
    Process,
    /// The network namespace.
    Netns,
    /// The interfaces inside.
    Interfaces,
    /// The host's end of the veth pair.
    HostInterface,
}

/// Why we believe one link of the chain, or what we looked for and did not find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Which link.
    pub link: Link,
    /// What was found; `None` if nothing was.
    pub found: Option<String>,
    /// Who says so: `cri`, `cgroup.procs`, `inotify`, `proc scan`, …, or what was tried in vain.
    pub by: String,
    /// Since when it has been so.
    pub since: WallTime,
}

/// One pod with everything it takes to read it.
#[derive(Clone, Debug)]
pub struct PodTarget {
    /// Names this life of the pod's network; the pod cgroup has its own id.
    pub id: TargetId,
    /// As in the cgroup's name.
    pub runtime_uid: PodUid,
    /// What the sources of names say. `None` until one of them does.
    pub known: Option<Arc<KnownPod>>,
    /// The pod's cgroup.
    pub cgroup: CgroupTarget,
    /// The children that are, or may be, containers, in the order they appeared.
    pub containers: Vec<ContainerTarget>,
    /// The sandbox's cgroup, once it is settled which child that is and if the child exists.
    pub sandbox: Option<ContainerTarget>,
    /// Whether it is settled which child is the sandbox, or that there is none.
    pub sandbox_settled: bool,
    /// `burstable`, `besteffort` or, at the top, `guaranteed`: read off the cgroup's path.
    pub qos_class: Option<&'static str>,
    /// It runs in the node's network namespace.
    pub host_network: bool,
    /// Process and network namespace, also while the network itself is not served.
    pub process: Option<PinnedProcess>,
    /// How to read the network.
    pub network: NetworkTarget,
    /// The interface inside that carries the default route, as when it was last looked for.
    pub interface: Option<InterfaceName>,
    /// The host's end of the pod's veth, where this process can see it.
    pub host_interface: Option<HostInterface>,
    /// The containers run inside a virtual machine (Kata, gVisor).
    pub runtime_vm: bool,
    /// The chain, link by link.
    pub evidence: Arc<Vec<Evidence>>,
    /// When the newest of its cgroups became a target.
    pub since: WallTime,
}

impl PodTarget {
    /// Every cgroup to read, the pod's own first.
    pub fn cgroups(&self) -> impl Iterator<Item = &CgroupTarget> {
        std::iter::once(&self.cgroup)
            .chain(self.containers.iter().map(|container| &container.cgroup))
            .chain(self.sandbox.iter().map(|sandbox| &sandbox.cgroup))
    }
}

/// Parts of the node that the kubelet calls system containers, by its own names for them
/// (`k8s.io/kubelet/pkg/apis/stats/v1alpha1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SystemContainer {
    /// The cgroup above all pods.
    Pods,
    /// The kubelet itself.
    Kubelet,
    /// The container runtime.
    Runtime,
}

impl SystemContainer {
    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Kubelet => "kubelet",
            Self::Runtime => "runtime",
        }
    }
}

/// The cgroup of a system container.
#[derive(Clone, Debug)]
pub struct SystemTarget {
    /// Which of them.
    pub name: SystemContainer,
    /// Its cgroup.
    pub cgroup: CgroupTarget,
}

/// All targets of the node. Replaced as a whole whenever anything changes.
#[derive(Clone, Debug, Default)]
pub struct TargetSet {
    /// Counts replacements.
    pub generation: u64,
    /// In the order the pods appeared.
    pub pods: Vec<Arc<PodTarget>>,
    /// Each at most once.
    pub system: Vec<SystemTarget>,
}
