//! The CRI calls the kubelet makes to have a pod, over containerd's unix socket.
//!
//! Messages and tags follow `k8s.io/cri-api/pkg/apis/runtime/v1/api.proto`; see `messages`.

/// The messages, slim: only the fields that are set or read here.
pub(crate) mod messages;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper_util::rt::TokioIo;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use messages as m;

/// Starting or stopping many pods at once on a small machine takes a while; no call needs longer.
const PATIENCE: Duration = Duration::from_secs(120);

/// A connection to one containerd; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Cri {
    channel: Channel,
}

impl Cri {
    /// Connects at the first call.
    pub(crate) fn new(socket: &Path) -> Self {
        let socket = socket.to_owned();
        let connector = service_fn(move |_| {
            let socket = socket.clone();
            async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        Self { channel: Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector) }
    }

    /// Makes a sandbox and returns its id.
    pub(crate) async fn run_pod_sandbox(&self, config: m::PodSandboxConfig) -> Result<String> {
        let request = m::RunPodSandboxRequest { config: Some(config) };
        let response: m::RunPodSandboxResponse = self.runtime("RunPodSandbox", request).await?;
        Ok(response.pod_sandbox_id)
    }

    pub(crate) async fn stop_pod_sandbox(&self, id: &str) -> Result<()> {
        let _: m::Empty = self.runtime("StopPodSandbox", m::ById { id: id.to_owned() }).await?;
        Ok(())
    }

    pub(crate) async fn remove_pod_sandbox(&self, id: &str) -> Result<()> {
        let _: m::Empty = self.runtime("RemovePodSandbox", m::ById { id: id.to_owned() }).await?;
        Ok(())
    }

    /// All sandboxes, live or not.
    pub(crate) async fn list_pod_sandboxes(&self) -> Result<Vec<m::PodSandbox>> {
        let response: m::ListPodSandboxResponse = self.runtime("ListPodSandbox", m::Empty {}).await?;
        Ok(response.items)
    }

    /// All containers, running or not.
    pub(crate) async fn list_containers(&self) -> Result<Vec<m::Container>> {
        let response: m::ListContainersResponse = self.runtime("ListContainers", m::Empty {}).await?;
        Ok(response.containers)
    }

    /// The sandbox's status with containerd's own JSON in it.
    pub(crate) async fn pod_sandbox_status(&self, id: &str) -> Result<m::PodSandboxStatusResponse> {
        self.runtime("PodSandboxStatus", m::StatusById { id: id.to_owned(), verbose: true }).await
    }

    /// Makes a container in a sandbox and returns its id.
    pub(crate) async fn create_container(&self, request: m::CreateContainerRequest) -> Result<String> {
        let response: m::CreateContainerResponse = self.runtime("CreateContainer", request).await?;
        Ok(response.container_id)
    }

    pub(crate) async fn start_container(&self, id: &str) -> Result<()> {
        let _: m::Empty = self.runtime("StartContainer", m::ById { id: id.to_owned() }).await?;
        Ok(())
    }

    /// Kills it at once.
    pub(crate) async fn stop_container(&self, id: &str) -> Result<()> {
        let request = m::StopContainerRequest { container_id: id.to_owned(), timeout: 0 };
        let _: m::Empty = self.runtime("StopContainer", request).await?;
        Ok(())
    }

    pub(crate) async fn remove_container(&self, id: &str) -> Result<()> {
        let _: m::Empty = self.runtime("RemoveContainer", m::ById { id: id.to_owned() }).await?;
        Ok(())
    }

    /// The container's status with containerd's own JSON in it.
    pub(crate) async fn container_status(&self, id: &str) -> Result<m::ContainerStatusResponse> {
        self.runtime("ContainerStatus", m::StatusById { id: id.to_owned(), verbose: true }).await
    }

    /// Runs a command in a container and waits for its end, however long that takes.
    pub(crate) async fn exec_sync(&self, id: &str, command: Vec<String>) -> Result<m::ExecSyncResponse> {
        let request = m::ExecSyncRequest { container_id: id.to_owned(), cmd: command, timeout: 0 };
        self.call("RuntimeService", "ExecSync", tonic::Request::new(request)).await
    }

    /// Every condition the runtime reports, by name: `RuntimeReady`, `NetworkReady`.
    pub(crate) async fn conditions(&self) -> Result<Vec<m::RuntimeCondition>> {
        let response: m::StatusResponse = self.runtime("Status", m::Empty {}).await?;
        Ok(response.status.unwrap_or_default().conditions)
    }

    /// The tags of all images CRI knows.
    pub(crate) async fn list_image_tags(&self) -> Result<Vec<String>> {
        let mut request = tonic::Request::new(m::Empty {});
        request.set_timeout(PATIENCE);
        let response: m::ListImagesResponse = self.call("ImageService", "ListImages", request).await?;
        Ok(response.images.into_iter().flat_map(|image| image.repo_tags).collect())
    }

    async fn runtime<Q, S>(&self, method: &'static str, request: Q) -> Result<S>
    where
        Q: prost::Message + 'static,
        S: prost::Message + Default + 'static,
    {
        let mut request = tonic::Request::new(request);
        request.set_timeout(PATIENCE);
        self.call("RuntimeService", method, request).await
    }

    async fn call<Q, S>(&self, service: &str, method: &str, request: tonic::Request<Q>) -> Result<S>
    where
        Q: prost::Message + 'static,
        S: prost::Message + Default + 'static,
    {
        let mut client = Grpc::new(self.channel.clone()).max_decoding_message_size(64 << 20);
        client.ready().await.with_context(|| format!("{method}: containerd does not answer"))?;
        let path = PathAndQuery::try_from(format!("/runtime.v1.{service}/{method}"))?;
        let codec = tonic_prost::ProstCodec::default();
        match client.unary(request, path, codec).await {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => anyhow::bail!("{method}: {:?}: {}", status.code(), status.message()),
        }
    }
}
