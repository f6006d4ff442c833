//! Who a pod is, as told by the sources of names. Spelling is settled at the door: a [`PodUid`] has
//! dashes where the API server writes them, whatever the cgroup driver made of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::time::WallTime;

/// The longest identifier we accept from a source or a directory name.
const LONGEST: usize = 64;

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $accepts:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// `None` if `text` cannot be such an identifier: it is never joined to a path then.
            pub fn new(text: &str) -> Option<Self> {
                let accepts: fn(u8) -> bool = $accepts;
                let fits = (1..=LONGEST).contains(&text.len()) && text.bytes().all(accepts);
                fits.then(|| Self(text.into()))
            }

            /// As it is shown and compared.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

identifier!(
    /// A pod's UID: a UUID with dashes, or for a static pod 32 hexadecimal digits.
    PodUid,
    |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-')
);

identifier!(
    /// The runtime's id of a container or a sandbox: 64 hexadecimal digits with every runtime we know.
    ContainerId,
    |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')
);

/// Where a name came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A watch on this node's pods at the API server.
    Kube,
    /// The kubelet's `/pods`.
    Kubelet,
    /// The container runtime interface.
    Cri,
    /// The Docker Engine.
    Docker,
}

/// All sources, in order, with their labels.
pub const SOURCES: [(Source, &str); 4] =
    [(Source::Kube, "kube"), (Source::Kubelet, "kubelet"), (Source::Cri, "cri"), (Source::Docker, "docker")];

impl Source {
    /// As it is written in documents, labels and `--source`.
    pub fn word(self) -> &'static str {
        SOURCES[self as usize].1
    }
}

/// What a container is to its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerKind {
    /// One of `spec.containers`.
    App,
    /// One of `spec.initContainers` that runs to its end.
    Init,
    /// A restartable one of `spec.initContainers`.
    Sidecar,
    /// One of `spec.ephemeralContainers`.
    Ephemeral,
}

/// As in `status.containerStatuses[].state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    /// Made, not started.
    Waiting,
    /// Running.
    Running,
    /// Ended.
    Terminated,
}

/// Whose network a sandbox uses, as the runtime says (CRI `NamespaceOption.network`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NetworkMode {
    /// One of its own.
    Pod,
    /// The node's.
    Node,
}

/// The runtime's object that holds a pod's namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownSandbox {
    /// Its id, which is also the id of its cgroup.
    pub id: ContainerId,
    /// The pause process, in the pid namespace of the host. Never 0.
    pub pid: Option<u32>,
    /// It has not ended.
    pub ready: bool,
    /// How often the pod's sandbox was made anew.
    pub attempt: u32,
    /// When it was made.
    pub created_at: WallTime,
    /// Whose network it uses.
    pub network: Option<NetworkMode>,
    /// `runtimeClassName`'s handler; empty for the default.
    pub runtime_handler: String,
}

/// Which runtime has made a container, as Kubernetes writes it before the id: `containerd://2606f223…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RuntimeKind {
    /// containerd.
    Containerd,
    /// CRI-O.
    CriO,
    /// The Docker Engine, behind cri-dockerd.
    Docker,
}

impl RuntimeKind {
    const WORDS: [(Self, &'static str); 3] =
        [(Self::Containerd, "containerd"), (Self::CriO, "cri-o"), (Self::Docker, "docker")];

    /// `None` for a runtime nobody here has heard of.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::WORDS.into_iter().find(|(_, known)| *known == word).map(|(kind, _)| kind)
    }

    /// As it stands before the id.
    pub fn word(self) -> &'static str {
        Self::WORDS[self as usize].1
    }
}

/// One container as a source knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownContainer {
    /// The id of this instance, which is also the id of its cgroup. `None` before its first instance, and
    /// for as long as the pod's status lags behind the runtime.
    pub id: Option<ContainerId>,
    /// Who has made it, where the source says so.
    pub runtime: Option<RuntimeKind>,
    /// Its name in the pod spec.
    pub name: Arc<str>,
    /// What it is to the pod.
    pub kind: Option<ContainerKind>,
    /// The image as the pod asks for it.
    pub image: Option<Arc<str>>,
    /// What it is doing.
    pub state: ContainerState,
    /// Why it waits or ended, in Kubernetes's words: `CrashLoopBackOff`, `OOMKilled`.
    pub state_reason: Option<Arc<str>>,
    /// Instances before this one.
    pub restart_count: u32,
    /// When this instance started.
    pub started_at: Option<WallTime>,
    /// What the scheduler set aside for it.
    pub requests: Requests,
}

/// What the scheduler set aside, as far as a source with the pod's spec says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// CPU in cores.
    pub cpu_cores: Option<f64Bits>,
    /// Memory.
    pub memory_bytes: Option<u64>,
}

impl Requests {
    /// These, and from `others` what these do not say.
    pub fn or(self, others: Self) -> Self {
        Self {
            cpu_cores: self.cpu_cores.or(others.cpu_cores),
            memory_bytes: self.memory_bytes.or(others.memory_bytes),
        }
    }
}

/// An `f64` that compares by its bits, so that identities can be compared as wholes.
#[derive(Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "reads as the number it holds")]
pub struct f64Bits(u64);

impl f64Bits {
    /// Wraps a number.
    pub fn new(value: f64) -> Self {
        Self(value.to_bits())
    }

    /// The number.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl fmt::Debug for f64Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.get())
    }
}

/// The controller of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// For example `ReplicaSet`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// What one source says of something that another source says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Said {
    /// Who says so.
    pub source: Source,
    /// What.
    pub says: String,
}

/// What two sources can disagree about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Subject {
    /// What the pod is called.
    Name,
    /// The UID of the API object.
    Uid,
    /// Whether it uses the node's network.
    HostNetwork,
    /// What one of its containers is called.
    ContainerName,
}

/// Two sources that do not say the same. The first is believed, but for [`Subject::HostNetwork`], which is
/// then unknown: traffic of the node shown as a pod's would be worse than none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Disagreement {
    /// About what.
    pub about: Subject,
    /// The source that comes first in [`Source`].
    pub first: Said,
    /// The other.
    pub second: Said,
}

/// One pod as one source knows it, or as several sources together know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPod {
    /// The UID in cgroup names and runtime labels: for a static pod the hash, else [`Self::uid`].
    pub runtime_uid: PodUid,
    /// `metadata.uid` of the API object; `None` while only the runtime knows the pod.
    pub uid: Option<PodUid>,
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
    /// It comes from a file on the node, not from the API server.
    pub static_pod: bool,
    /// `spec.hostNetwork`, where a source says so.
    pub host_network: Option<bool>,
    /// `status.phase`.
    pub phase: Option<Arc<str>>,
    /// `status.startTime`, or the creation of the first sandbox.
    pub start_time: Option<WallTime>,
    /// The controlling owner.
    pub owner: Option<Owner>,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec.runtimeClassName`.
    pub runtime_class: Option<Arc<str>>,
    /// What the scheduler set aside for the whole pod, overhead included.
    pub requests: Requests,
    /// The sandboxes the runtime knows, newest first.
    pub sandboxes: Vec<KnownSandbox>,
    /// All containers, whatever their kind, ended ones included.
    pub containers: Vec<KnownContainer>,
    /// Who told us, in the order of [`Source`].
    pub sources: Vec<Source>,
    /// Where they do not say the same.
    pub disagreements: Vec<Disagreement>,
}

impl KnownPod {
    /// The container of this id, if a source lists it.
    pub fn container(&self, id: &ContainerId) -> Option<&KnownContainer> {
        self.containers.iter().find(|container| container.id.as_ref() == Some(id))
    }

    /// A pod of which one source tells nothing but its names.
    pub fn named(runtime_uid: PodUid, namespace: &str, name: &str, source: Source) -> Self {
        Self {
            runtime_uid,
            uid: None,
            namespace: namespace.into(),
            name: name.into(),
            static_pod: false,
            host_network: None,
            phase: None,
            start_time: None,
            owner: None,
            labels: BTreeMap::new(),
            runtime_class: None,
            requests: Requests::default(),
            sandboxes: Vec::new(),
            containers: Vec::new(),
            sources: vec![source],
            disagreements: Vec::new(),
        }
    }
}

/// All pods of this node that any source knows, merged. Replaced as a whole when anything changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownPods {
    /// By runtime UID.
    pub pods: BTreeMap<PodUid, Arc<KnownPod>>,
    /// Sources that have told us all they know at least once.
    pub complete: Vec<Source>,
    /// Sources whose last answer is good: what they do not list does not exist for them.
    pub current: Vec<Source>,
}
