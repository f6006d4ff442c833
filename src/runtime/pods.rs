//! The runtime's lists made into pods (pure).
//!
//! What the kubelet told the runtime comes back as it was: `metadata.uid` of a sandbox is the UID in cgroup
//! names, `attempt` of a container counts its restarts. What a pod's phase is, and which of its
//! containers are init containers or sidecars, the runtime was never told: that stays unknown here.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use crate::model::identity::ContainerId;
use crate::model::identity::ContainerKind;
use crate::model::identity::ContainerState;
use crate::model::identity::KnownContainer;
use crate::model::identity::KnownPod;
use crate::model::identity::KnownSandbox;
use crate::model::identity::NetworkMode;
use crate::model::identity::PodUid;
use crate::model::identity::Requests;
use crate::model::identity::RuntimeKind;
use crate::model::identity::Source;
use crate::model::time::WallTime;

use super::messages::Container;
use super::messages::ContainerStatusResponse;
use super::messages::Entry;
use super::messages::ImageSpec;
use super::messages::PodSandbox;
use super::messages::PodSandboxStatusResponse;
use super::messages::value;

/// Longer texts are cut: a name of a pod or container has at most 253 bytes.
const LONGEST_TEXT: usize = 1024;

/// More labels of one pod are not kept.
pub(super) const MOST_LABELS: usize = 128;

/// What one verbose status told of a sandbox; asked for once for each state it is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SandboxDetail {
    pub(super) pid: Option<u32>,
    pub(super) network: Option<NetworkMode>,
}

/// What one status told of a container; asked for once for each state it is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ContainerDetail {
    pub(super) started_at: Option<WallTime>,
    pub(super) image: Option<Arc<str>>,
    /// Why it ended.
    pub(super) reason: Option<Arc<str>>,
}

impl SandboxDetail {
    /// Reads a verbose status. A pid of 0 is what containerd says of a pause process that was killed:
    /// it would lead to `/proc/0`, so it is no pid.
    pub(super) fn read(answer: &PodSandboxStatusResponse) -> Self {
        #[derive(serde::Deserialize)]
        struct Info {
            pid: Option<i64>,
        }
        let info = value(&answer.info, "info").and_then(|json| serde_json::from_slice::<Info>(json).ok());
        let pid = info.and_then(|info| info.pid).and_then(|pid| u32::try_from(pid).ok());
        let linux = answer.status.as_ref().and_then(|status| status.linux.as_ref());
        let options = linux.and_then(|linux| linux.namespaces.as_ref()?.options.as_ref());
        let network = options.and_then(|options| match options.network {
            0 => Some(NetworkMode::Pod),
            2 => Some(NetworkMode::Node),
            _ => None,
        });
        Self { pid: pid.filter(|pid| *pid > 0), network }
    }
}

impl ContainerDetail {
    /// Reads a status.
    pub(super) fn read(answer: &ContainerStatusResponse) -> Self {
        let Some(status) = &answer.status else { return Self::default() };
        Self {
            started_at: wall(status.started_at),
            image: status.image.as_ref().and_then(image_of),
            reason: Some(bounded(&status.reason)).filter(|reason| !reason.is_empty()).map(Arc::from),
        }
    }
}

/// All a runtime lists, ended things too.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Listed {
    pub(super) sandboxes: Vec<PodSandbox>,
    pub(super) containers: Vec<Container>,
    /// Entries that could not be taken for either.
    pub(super) refused: usize,
}

/// Both lists, and the details known so far.
#[derive(Debug)]
pub(super) struct Lists<'a, S, C> {
    pub(super) source: Source,
    /// Whose lists they are, if it has said so.
    pub(super) runtime: Option<RuntimeKind>,
    pub(super) sandboxes: &'a [PodSandbox],
    pub(super) containers: &'a [Container],
    pub(super) sandbox_detail: S,
    pub(super) container_detail: C,
}

/// Pods, and how many entries of the lists could not be taken for anything of a pod.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Assembled {
    pub(super) pods: Vec<KnownPod>,
    pub(super) refused: usize,
}

impl<'a, S, C> Lists<'a, S, C>
where
    S: Fn(&str) -> Option<&'a SandboxDetail>,
    C: Fn(&str) -> Option<&'a ContainerDetail>,
{
    /// Makes pods. An entry whose id or uid is none we would accept is left out: it names no cgroup.
    pub(super) fn assemble(&self) -> Assembled {
        let mut pods: BTreeMap<PodUid, KnownPod> = BTreeMap::new();
        let mut pod_of_sandbox: HashMap<&str, PodUid> = HashMap::new();
        let mut refused = 0;
        for listed in self.sandboxes {
            let Some((sandbox, pod)) = self.sandbox(listed) else {
                refused += 1;
                continue;
            };
            pod_of_sandbox.insert(&listed.id, pod.runtime_uid.clone());
            pods.entry(pod.runtime_uid.clone()).or_insert(pod).sandboxes.push(sandbox);
        }
        for listed in self.containers {
            let Some(container) = self.container(listed) else {
                refused += 1;
                continue;
            };
            let pod = match pod_of_sandbox.get(listed.pod_sandbox_id.as_str()) {
                Some(uid) => pods.get_mut(uid),
                // Its sandbox was made after the sandboxes were listed, or is gone already.
                None => pod_of_labels(&listed.labels, self.source)
                    .map(|pod| pods.entry(pod.runtime_uid.clone()).or_insert(pod)),
            };
            match pod {
                Some(pod) => pod.containers.push(container),
                None => refused += 1,
            }
        }
        Assembled { pods: pods.into_values().map(settle).collect(), refused }
    }

    fn sandbox(&self, listed: &PodSandbox) -> Option<(KnownSandbox, KnownPod)> {
        let metadata = listed.metadata.as_ref()?;
        let runtime_uid = PodUid::new(&metadata.uid)?;
        let detail = (self.sandbox_detail)(&listed.id).cloned().unwrap_or_default();
        let ready = listed.state == 0;
        let sandbox = KnownSandbox {
            id: ContainerId::new(&listed.id)?,
            // The process of a sandbox that is not ready has ended, and its pid may be another's by now.
            pid: detail.pid.filter(|_| ready),
            ready,
            attempt: metadata.attempt,
            created_at: wall(listed.created_at).unwrap_or_default(),
            network: detail.network,
            runtime_handler: bounded(&listed.runtime_handler).to_owned(),
        };
        let static_pod = is_static(&listed.annotations);
        let pod = KnownPod {
            // A pod the kubelet read from a file has the file's hash here; the API server knows it by
            // another UID, which the runtime was never told.
            uid: (!static_pod).then(|| runtime_uid.clone()),
            static_pod,
            labels: own_labels(&listed.labels),
            ..KnownPod::named(runtime_uid, bounded(&metadata.namespace), bounded(&metadata.name), self.source)
        };
        Some((sandbox, pod))
    }

    fn container(&self, listed: &Container) -> Option<KnownContainer> {
        let metadata = listed.metadata.as_ref()?;
        let detail = (self.container_detail)(&listed.id).cloned().unwrap_or_default();
        let name = value(&listed.labels, "io.kubernetes.container.name").map(text);
        let specified = listed.image.as_ref().map(|image| image.user_specified_image.as_str());
        let image = specified
            .and_then(image_name)
            .or(detail.image)
            .or_else(|| listed.image.as_ref().and_then(image_of))
            .or_else(|| image_name(&listed.image_ref));
        let restarts = value(&listed.annotations, "io.kubernetes.container.restartCount").map(text);
        Some(KnownContainer {
            id: Some(ContainerId::new(&listed.id)?),
            runtime: self.runtime,
            name: name.unwrap_or_else(|| bounded(&metadata.name).to_owned()).into(),
            // Init containers and sidecars look the same to the runtime; a source that knows the pod's
            // spec overrides this.
            kind: Some(ContainerKind::App),
            image,
            state: match listed.state {
                1 => ContainerState::Running,
                2 => ContainerState::Terminated,
                // Created; or unknown, which the kubelet shows as waiting too.
                _ => ContainerState::Waiting,
            },
            state_reason: detail.reason.filter(|_| listed.state == 2),
            restart_count: restarts.and_then(|count| count.parse().ok()).unwrap_or(metadata.attempt),
            started_at: detail.started_at,
            requests: Requests::default(),
        })
    }
}

/// Puts parts in an order that does not depend on the runtime's, and draws what follows from all of them.
fn settle(mut pod: KnownPod) -> KnownPod {
    // The newest first; of two made at once, the one that lives.
    pod.sandboxes.sort_by(|a, b| {
        let key = |sandbox: &KnownSandbox| (sandbox.attempt, sandbox.created_at, sandbox.ready);
        key(b).cmp(&key(a)).then_with(|| a.id.cmp(&b.id))
    });
    pod.containers.sort_by(|a, b| {
        (&a.name, a.restart_count, a.started_at, &a.id).cmp(&(&b.name, b.restart_count, b.started_at, &b.id))
    });
    pod.host_network =
        pod.sandboxes.iter().find_map(|sandbox| sandbox.network).map(|mode| mode == NetworkMode::Node);
    pod.start_time =
        pod.sandboxes.iter().map(|sandbox| sandbox.created_at).filter(|at| *at > WallTime::default()).min();
    pod
}

/// A pod of which only a container is listed so far, by the labels the kubelet gives each container.
/// Whether it is static, and so whether this UID is the API object's, only its sandbox tells.
fn pod_of_labels(labels: &[Entry], source: Source) -> Option<KnownPod> {
    let uid = PodUid::new(&text(value(labels, "io.kubernetes.pod.uid")?))?;
    let namespace = text(value(labels, "io.kubernetes.pod.namespace")?);
    let name = text(value(labels, "io.kubernetes.pod.name")?);
    Some(KnownPod::named(uid, &namespace, &name, source))
}

/// `kubernetes.io/config.source` is `api`, or where the kubelet read the pod: `file` or `http`. Without
/// it (rke2 writes its own manifests) the hash of the manifest tells.
fn is_static(annotations: &[Entry]) -> bool {
    match value(annotations, "kubernetes.io/config.source") {
        Some(source) => source != b"api",
        None => ["kubernetes.io/config.mirror", "kubernetes.io/config.hash"]
            .iter()
            .any(|key| value(annotations, key).is_some()),
    }
}

/// The name of an image, from a status or a list. A status gives the first name the image has on this
/// node, which need not be the one the pod asked for; a newer kubelet also passes that one on.
fn image_of(image: &ImageSpec) -> Option<Arc<str>> {
    image_name(&image.user_specified_image).or_else(|| image_name(&image.image))
}

/// A bare digest names nothing a person would know, so it is no name: absent, rather than that.
pub(super) fn image_name(image: &str) -> Option<Arc<str>> {
    let digest = image.strip_prefix("sha256:").unwrap_or(image);
    let bare = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    (!image.is_empty() && !image.starts_with("sha256:") && !bare).then(|| bounded(image).into())
}

/// The pod's own labels: what the kubelet adds for the runtime is not among them.
fn own_labels(all: &[Entry]) -> BTreeMap<String, String> {
    let own = all.iter().filter(|entry| !entry.key.starts_with(b"io.kubernetes.pod."));
    own.take(MOST_LABELS).map(|entry| (text(&entry.key), text(&entry.value))).collect()
}

/// Bytes as text, at most [`LONGEST_TEXT`] of them. What is not UTF-8 is shown as `�`.
fn text(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(LONGEST_TEXT)];
    bounded(&String::from_utf8_lossy(cut)).to_owned()
}

/// At most [`LONGEST_TEXT`] bytes, cut at a character.
pub(super) fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_TEXT)]
}

/// 0 is the interface's *not yet*.
fn wall(nanos: i64) -> Option<WallTime> {
    u64::try_from(nanos).ok().filter(|nanos| *nanos > 0).map(WallTime::from_unix_nanos)
}

#[cfg(test)]
#[path = "pods_tests.rs"]
mod tests;
