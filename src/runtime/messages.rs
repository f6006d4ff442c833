//! The messages of the container runtime interface (`runtime.v1`), cut down to the fields we read.
//!
//! Written by hand: prost skips fields it is not told of, so slim messages read every newer runtime, and
//! no proto file and no `protoc` are needed. The tags are those of the published interface.
//!
//! A map travels as a list of key and value, and is read as one, in bytes: most of it is annotations that
//! nobody asks for, and one value that is not UTF-8 must not cost the whole list of pods.

use bytes::Bytes;
use prost::Message;

/// One entry of a map.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Entry {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
}

/// The value under `key`.
pub(super) fn value<'a>(map: &'a [Entry], key: &str) -> Option<&'a [u8]> {
    map.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_ref())
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct VersionRequest {
    #[prost(string, tag = "1")]
    pub(super) version: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct VersionResponse {
    #[prost(string, tag = "2")]
    pub(super) runtime_name: String,
    #[prost(string, tag = "3")]
    pub(super) runtime_version: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ListPodSandboxRequest {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ListPodSandboxResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) items: Vec<PodSandbox>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PodSandbox {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(message, optional, tag = "2")]
    pub(super) metadata: Option<PodSandboxMetadata>,
    /// 0 ready, 1 not ready.
    #[prost(int32, tag = "3")]
    pub(super) state: i32,
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "4")]
    pub(super) created_at: i64,
    #[prost(message, repeated, tag = "5")]
    pub(super) labels: Vec<Entry>,
    #[prost(message, repeated, tag = "6")]
    pub(super) annotations: Vec<Entry>,
    #[prost(string, tag = "7")]
    pub(super) runtime_handler: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PodSandboxMetadata {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) uid: String,
    #[prost(string, tag = "3")]
    pub(super) namespace: String,
    #[prost(uint32, tag = "4")]
    pub(super) attempt: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PodSandboxStatusRequest {
    #[prost(string, tag = "1")]
    pub(super) pod_sandbox_id: String,
    #[prost(bool, tag = "2")]
    pub(super) verbose: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PodSandboxStatusResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<PodSandboxStatus>,
    /// `info["info"]` is JSON of the runtime's own making; `pid` is in it with containerd and CRI-O.
    #[prost(message, repeated, tag = "2")]
    pub(super) info: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PodSandboxStatus {
    #[prost(message, optional, tag = "6")]
    pub(super) linux: Option<LinuxPodSandboxStatus>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LinuxPodSandboxStatus {
    #[prost(message, optional, tag = "1")]
    pub(super) namespaces: Option<Namespace>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Namespace {
    #[prost(message, optional, tag = "2")]
    pub(super) options: Option<NamespaceOption>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct NamespaceOption {
    /// 0 pod, 2 node; a sandbox has no other.
    #[prost(int32, tag = "1")]
    pub(super) network: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ListContainersRequest {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ListContainersResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) containers: Vec<Container>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Container {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(string, tag = "2")]
    pub(super) pod_sandbox_id: String,
    #[prost(message, optional, tag = "3")]
    pub(super) metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "4")]
    pub(super) image: Option<ImageSpec>,
    #[prost(string, tag = "5")]
    pub(super) image_ref: String,
    /// 0 created, 1 running, 2 exited, 3 unknown.
    #[prost(int32, tag = "6")]
    pub(super) state: i32,
    #[prost(message, repeated, tag = "8")]
    pub(super) labels: Vec<Entry>,
    #[prost(message, repeated, tag = "9")]
    pub(super) annotations: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ContainerMetadata {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(uint32, tag = "2")]
    pub(super) attempt: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ImageSpec {
    /// The kubelet hands over the image's id here, which names nothing a person would know.
    #[prost(string, tag = "1")]
    pub(super) image: String,
    /// As in the pod spec; from Kubernetes 1.28 on.
    #[prost(string, tag = "18")]
    pub(super) user_specified_image: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ContainerStatusRequest {
    #[prost(string, tag = "1")]
    pub(super) container_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ContainerStatusResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<ContainerStatus>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ContainerStatus {
    /// Nanoseconds since 1970; 0 before the start.
    #[prost(int64, tag = "5")]
    pub(super) started_at: i64,
    #[prost(message, optional, tag = "8")]
    pub(super) image: Option<ImageSpec>,
    /// Of one that has ended: `Completed`, `Error`, `OOMKilled`.
    #[prost(string, tag = "10")]
    pub(super) reason: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GetEventsRequest {}

/// Its content is not read: that something happened is enough to ask for the lists.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ContainerEventResponse {}

#[cfg(test)]
mod tests {
    use super::*;

    /// `runtime.v1.PodSandbox` by hand: id, metadata {name, uid, namespace, attempt}, state, `created_at`,
    /// a label, an annotation that is not UTF-8, and a field of the future (tag 90).
    const SANDBOX: &[u8] = b"\x0a\x02ab\
        \x12\x10\x0a\x03web\x12\x02u1\x1a\x03def\x20\x02\
        \x18\x01\
        \x20\xe8\x07\
        \x2a\x0a\x0a\x03app\x12\x03web\
        \x32\x07\x0a\x01n\x12\x02\xff\xfe\
        \x3a\x04kata\
        \xd2\x05\x02hi";

    #[test]
    fn a_sandbox_is_read_by_its_tags_and_what_is_new_is_skipped() {
        let sandbox = PodSandbox::decode(SANDBOX).unwrap();
        let metadata = sandbox.metadata.unwrap();
        assert_eq!((sandbox.id.as_str(), sandbox.state, sandbox.created_at), ("ab", 1, 1_000));
        assert_eq!((metadata.name.as_str(), metadata.uid.as_str()), ("web", "u1"));
        assert_eq!((metadata.namespace.as_str(), metadata.attempt), ("def", 2));
        assert_eq!(value(&sandbox.labels, "app"), Some(b"web".as_slice()));
        assert_eq!(sandbox.runtime_handler, "kata");
    }

    #[test]
    fn a_value_that_is_not_utf_8_does_not_cost_the_list() {
        let sandbox = PodSandbox::decode(SANDBOX).unwrap();
        assert_eq!(value(&sandbox.annotations, "n"), Some(b"\xff\xfe".as_slice()));
        assert_eq!(value(&sandbox.annotations, "m"), None);
    }

    #[test]
    fn every_cut_of_a_message_is_read_or_refused() {
        for end in 0..SANDBOX.len() {
            let _ = PodSandbox::decode(&SANDBOX[..end]);
        }
    }
}
