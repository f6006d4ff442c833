//! The container runtime interface over its unix socket: containerd, CRI-O, cri-dockerd.
//!
//! Two lists are asked for; the details of a sandbox (its pause process) and of a container (its start)
//! once each. Every call has a deadline of 2 s.
//!
//! # Why events are not taken from every runtime that has them
//!
//! containerd 1.7 and CRI-O before 1.28 hand each event to *one* of their readers (containerd/containerd
//! issue 7318, cri-o/cri-o issue 6466): to read along would take events from the kubelet. Only runtimes
//! that are known to tell every reader are asked.

use std::path::Path;
use std::path::PathBuf;

use tonic::Status;
use tonic::Streaming;

use super::client::Client;
use super::error::RuntimeError;
use super::messages::ContainerEventResponse;
use super::messages::ContainerStatusRequest;
use super::messages::GetEventsRequest;
use super::messages::ListContainersRequest;
use super::messages::ListContainersResponse;
use super::messages::ListPodSandboxRequest;
use super::messages::ListPodSandboxResponse;
use super::messages::PodSandboxStatusRequest;
use super::messages::VersionRequest;
use super::messages::VersionResponse;
use super::pods::ContainerDetail;
use super::pods::Listed;
use super::pods::SandboxDetail;
use super::pods::bounded;
use super::version::Version;

/// Where runtimes listen, in the order in which they are looked for.
pub const SOCKETS: &[&str] = &[
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/cri-dockerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/var/snap/microk8s/common/run/containerd.sock",
    "/run/k0s/containerd.sock",
];

/// The first well-known socket that exists.
pub fn find_socket() -> Option<PathBuf> {
    SOCKETS.iter().map(Path::new).find(|path| path.exists()).map(Path::to_owned)
}

/// The questions of this interface.
impl Client {
    pub(super) async fn fetch_version(&self) -> Result<Version, RuntimeError> {
        let request = VersionRequest { version: "v1".into() };
        let VersionResponse { runtime_name, runtime_version } = self.fetch("Version", request).await?;
        Ok(Version { name: bounded(&runtime_name).to_owned(), version: bounded(&runtime_version).to_owned() })
    }

    pub(super) async fn fetch_lists(&self) -> Result<Listed, RuntimeError> {
        let ListPodSandboxResponse { items: sandboxes } =
            self.fetch("ListPodSandbox", ListPodSandboxRequest {}).await?;
        // After the sandboxes: a container's sandbox is older than the container.
        let ListContainersResponse { containers } =
            self.fetch("ListContainers", ListContainersRequest {}).await?;
        Ok(Listed { sandboxes, containers, refused: 0 })
    }

    pub(super) async fn fetch_sandbox(&self, id: &str) -> Result<SandboxDetail, RuntimeError> {
        let request = PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: true };
        self.fetch("PodSandboxStatus", request).await.map(|answer| SandboxDetail::read(&answer))
    }

    pub(super) async fn fetch_container(&self, id: &str) -> Result<ContainerDetail, RuntimeError> {
        let request = ContainerStatusRequest { container_id: id.to_owned() };
        self.fetch("ContainerStatus", request).await.map(|answer| ContainerDetail::read(&answer))
    }
}

/// See [`super::engine::Events`].
#[derive(Debug)]
pub struct Events {
    client: Client,
    stream: Option<Streaming<ContainerEventResponse>>,
}

impl Events {
    /// `None` if to read along would take them from somebody else.
    pub(super) fn of(client: &Client, version: &Version) -> Option<Self> {
        version.tells_every_reader().then(|| Self { client: client.clone(), stream: None })
    }

    pub(super) async fn next(&mut self) -> Result<(), RuntimeError> {
        const CALL: &str = "GetContainerEvents";
        let (mut stream, is_new) = match self.stream.take() {
            Some(stream) => (stream, false),
            None => (self.client.fetch_stream(CALL, GetEventsRequest {}).await?, true),
        };
        match stream.message().await {
            Ok(Some(ContainerEventResponse {})) => {
                self.stream = Some(stream);
                Ok(())
            }
            // CRI-O with events switched off ends the stream at once, and says nothing.
            Ok(None) if is_new => Err(self.client.error(CALL, &Status::unimplemented("no events"))),
            Ok(None) => Err(self.client.error(CALL, &Status::unavailable("the stream ended"))),
            Err(status) => Err(self.client.error(CALL, &status)),
        }
    }
}
