//! What a container runtime answers, under any bytes: read or refused, never a panic, and every entry of a
//! list is either in a pod or counted as refused.

use std::fmt::Debug;

use bytes::Bytes;
use prost::Message;
use serde_json::Value;

use super::messages::Container;
use super::messages::ContainerStatusResponse;
use super::messages::Entry;
use super::messages::ListContainersResponse;
use super::messages::ListPodSandboxResponse;
use super::messages::PodSandbox;
use super::messages::PodSandboxStatusResponse;
use super::messages::VersionResponse;
use super::pods::Assembled;
use super::pods::ContainerDetail;
use super::pods::Lists;
use super::pods::MOST_LABELS;
use super::pods::SandboxDetail;
use super::version::Version;
use crate::model::identity::KnownPod;
use crate::model::identity::Source;

pub use super::docker::fuzzing::docker_inspect;
pub use super::docker::fuzzing::docker_list;

/// Both lists of the container runtime interface. Two bytes say how much of the rest is the first.
pub fn cri_lists(bytes: &[u8]) {
    let Some((length, lists)) = bytes.split_first_chunk::<2>() else { return };
    let (first, second) = lists.split_at(usize::from(u16::from_be_bytes(*length)).min(lists.len()));
    let sandboxes = ListPodSandboxResponse::decode(first);
    let containers = ListContainersResponse::decode(second);
    if let (Ok(sandboxes), Ok(containers)) = (sandboxes, containers) {
        is_read_again(&sandboxes);
        is_read_again(&containers);
        assemble(Source::Cri, sandboxes.items, containers.containers);
    }
}

/// The answers about one sandbox, one container, and the runtime itself.
pub fn cri_status(bytes: &[u8]) {
    if let Ok(answer) = PodSandboxStatusResponse::decode(bytes) {
        is_read_again(&answer);
        assert_ne!(SandboxDetail::read(&answer).pid, Some(0));
    }
    if let Ok(answer) = ContainerStatusResponse::decode(bytes) {
        is_read_again(&answer);
        let ContainerDetail { started_at, image, reason } = ContainerDetail::read(&answer);
        assert!(started_at.is_none_or(|at| at.as_unix_nanos() > 0));
        for text in [image, reason].into_iter().flatten() {
            assert!(!text.is_empty() && text.len() <= 1024);
        }
    }
    if let Ok(VersionResponse { runtime_name: name, runtime_version: version }) =
        VersionResponse::decode(bytes)
    {
        let _ = Version { name, version }.tells_every_reader();
    }
}

/// `info["info"]` of a verbose status, which is JSON of the runtime's own making.
pub fn cri_info(bytes: &[u8]) {
    let pid_of = |json: &[u8]| {
        let info = vec![Entry { key: "info".into(), value: Bytes::copy_from_slice(json) }];
        SandboxDetail::read(&PodSandboxStatusResponse { status: None, info }).pid
    };
    let pid = pid_of(bytes);
    assert_ne!(pid, Some(0));
    // What is nested deeper than this other parser goes is skipped by ours.
    if let (Some(pid), Ok(Value::Object(told))) = (pid, serde_json::from_slice::<Value>(bytes)) {
        assert_eq!(told.get("pid").and_then(Value::as_u64), Some(pid.into()));
    }
    let step = (bytes.len() / 16).max(1);
    for cut in (0..bytes.len()).step_by(step) {
        let half = pid_of(&bytes[..cut]);
        assert!(half.is_none() || pid.is_none() || half == pid, "cut at {cut}: {half:?}, not {pid:?}");
    }
}

/// What was read is written so that it is read as the same.
fn is_read_again<T: Message + Default + PartialEq + Debug>(message: &T) {
    let again = T::decode(message.encode_to_vec().as_slice());
    assert_eq!(again.as_ref(), Ok(message));
}

/// Holds the pods that these lists make to what holds for any.
pub(super) fn assemble(source: Source, mut sandboxes: Vec<PodSandbox>, mut containers: Vec<Container>) {
    let sandbox = SandboxDetail { pid: Some(7), network: None };
    let container = ContainerDetail::default();
    let of = |sandboxes: &[PodSandbox], containers: &[Container]| {
        let details = (|_: &str| Some(&sandbox), |_: &str| Some(&container));
        Lists {
            source,
            runtime: None,
            sandboxes,
            containers,
            sandbox_detail: details.0,
            container_detail: details.1,
        }
        .assemble()
    };
    let Assembled { pods, refused } = of(&sandboxes, &containers);
    let taken: usize = pods.iter().map(|pod| pod.sandboxes.len() + pod.containers.len()).sum();
    assert_eq!(taken + refused, sandboxes.len() + containers.len(), "each entry counts once");
    pods.iter().for_each(is_sound);
    // In which order a runtime tells of things is its own business.
    sandboxes.reverse();
    containers.reverse();
    let reversed = of(&sandboxes, &containers);
    let uids = |pods: &[KnownPod]| pods.iter().map(|pod| pod.runtime_uid.clone()).collect::<Vec<_>>();
    assert_eq!((uids(&reversed.pods), reversed.refused), (uids(&pods), refused));
}

fn is_sound(pod: &KnownPod) {
    assert!(pod.name.len() <= 1024 && pod.namespace.len() <= 1024 && pod.labels.len() <= MOST_LABELS);
    assert!(pod.labels.iter().all(|(key, value)| key.len() <= 1024 && value.len() <= 1024));
    // The pid of a sandbox that has ended may be another's by now.
    assert!(pod.sandboxes.iter().all(|sandbox| sandbox.pid.is_some() == sandbox.ready));
    for container in &pod.containers {
        assert!(container.id.is_some() && container.name.len() <= 1024);
        assert!(container.image.as_ref().is_none_or(|image| !image.is_empty() && image.len() <= 1024));
    }
}
