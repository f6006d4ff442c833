//! The container runtime interface over its unix socket: containerd, CRI-O, cri-dockerd.
//!
//! Two lists are asked for; the details of a sandbox (its pause process) and of a container (its start)
//! once each. Every call has a deadline of 2 s, and details are asked for several at once, so that one
//! that hangs costs its own pod's pid and not the names of all.
//!
//! # Why events are not taken from every runtime that has them
//!
//! containerd 1.7 and CRI-O before 1.28 hand each event to *one* of their readers (containerd/containerd
//! issue 7318, cri-o/cri-o issue 6466): to read along would take events from the kubelet. Only runtimes
//! that are known to tell every reader are asked.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Status;
use tonic::Streaming;

use crate::model::health::Health;
use crate::model::health::Room;
use crate::model::health::Trouble;
use crate::model::identity::KnownPod;
use crate::model::identity::PodUid;
use crate::model::time::WallTime;

use super::client::Client;
use super::client::DEADLINE;
use super::details::AFTER_ERROR;
use super::details::AFTER_SILENCE;
use super::details::Details;
use super::messages::Container;
use super::messages::ContainerEventResponse;
use super::messages::ContainerStatusRequest;
use super::messages::GetEventsRequest;
use super::messages::ListContainersRequest;
use super::messages::ListContainersResponse;
use super::messages::ListPodSandboxRequest;
use super::messages::ListPodSandboxResponse;
use super::messages::PodSandbox;
use super::messages::PodSandboxStatusRequest;
use super::messages::VersionRequest;
use super::messages::VersionResponse;
use super::pods::Assembled;
use super::pods::ContainerDetail;
use super::pods::Lists;
use super::pods::SandboxDetail;
use super::pods::bounded;

/// Where runtimes listen, in the order in which they are looked for.
const SOCKETS: &[&str] = &[
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/cri-dockerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/var/snap/microk8s/common/run/containerd.sock",
    "/run/k0s/containerd.sock",
];

/// So many questions about details are under way at once.
const QUESTIONS_AT_ONCE: usize = 8;

/// Why the runtime gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// It did not answer in time.
    #[error("{socket}: no answer to {call} within {} s", DEADLINE.as_secs())]
    Timeout {
        /// Its socket.
        socket: PathBuf,
        /// The method.
        call: &'static str,
    },
    /// It cannot be reached, or refused.
    #[error("{socket}: {call}: {message}")]
    Call {
        /// Its socket.
        socket: PathBuf,
        /// The method.
        call: &'static str,
        /// What it, or the connection, said.
        message: String,
        /// The kind under which it is counted.
        trouble: Trouble,
    },
    /// It does not know the method.
    #[error("{socket}: {call} is not implemented")]
    Unimplemented {
        /// Its socket.
        socket: PathBuf,
        /// The method.
        call: &'static str,
    },
}

impl RuntimeError {
    /// The kind under which it is counted.
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Timeout { .. } => Trouble::Timeout,
            Self::Call { trouble, .. } => *trouble,
            Self::Unimplemented { .. } => Trouble::Io,
        }
    }
}

/// The first well-known socket that exists.
pub fn find_socket() -> Option<PathBuf> {
    SOCKETS.iter().map(Path::new).find(|path| path.exists()).map(Path::to_owned)
}

/// What a runtime says of itself: `containerd 1.6.20~ds1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// `containerd`, `cri-o`, `docker`.
    pub name: String,
    /// As the runtime spells it.
    pub version: String,
}

impl Version {
    /// Whether every reader of its events is told all of them.
    fn tells_every_reader(&self) -> bool {
        let since = match self.name.as_str() {
            "containerd" => (2, 0),
            "cri-o" => (1, 28),
            _ => return false,
        };
        self.numbers().is_some_and(|numbers| numbers >= since)
    }

    /// `(1, 6)` of `v1.6.20~ds1`.
    fn numbers(&self) -> Option<(u32, u32)> {
        let mut parts = self.version.trim_start_matches('v').split('.');
        let mut number = || {
            let part = parts.next()?;
            let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..digits].parse().ok()
        };
        Some((number()?, number()?))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// A client of one runtime.
#[derive(Debug)]
pub struct Cri {
    client: Client,
    health: Arc<Health>,
    sandboxes: Details<SandboxDetail>,
    containers: Details<ContainerDetail>,
    /// Creation of each pod's first sandbox, which is removed long before the pod is.
    first_created: BTreeMap<PodUid, WallTime>,
    refused: usize,
}

impl Cri {
    /// A client that connects when it is first asked. Must be called inside a tokio runtime.
    pub fn new(socket: PathBuf, health: Arc<Health>) -> Self {
        Self {
            client: Client::new(socket, health.clone()),
            health,
            sandboxes: Details::default(),
            containers: Details::default(),
            first_created: BTreeMap::new(),
            refused: 0,
        }
    }

    /// Where the runtime listens.
    pub fn socket(&self) -> &Path {
        self.client.socket()
    }

    /// Name and version of the runtime.
    ///
    /// # Errors
    /// As for every call.
    pub async fn fetch_version(&self) -> Result<Version, RuntimeError> {
        let request = VersionRequest { version: "v1".into() };
        let VersionResponse { runtime_name, runtime_version } = self.client.fetch("Version", request).await?;
        Ok(Version { name: bounded(&runtime_name).to_owned(), version: bounded(&runtime_version).to_owned() })
    }

    /// All pods the runtime knows, ended ones too.
    ///
    /// # Errors
    /// If one of the two lists cannot be had. A detail that cannot be had is left out, and asked for
    /// again later.
    pub async fn fetch_pods(&mut self) -> Result<Vec<KnownPod>, RuntimeError> {
        let ListPodSandboxResponse { items: sandboxes } =
            self.client.fetch("ListPodSandbox", ListPodSandboxRequest {}).await?;
        // After the sandboxes: a container's sandbox is older than the container.
        let ListContainersResponse { containers } =
            self.client.fetch("ListContainers", ListContainersRequest {}).await?;
        self.sandboxes.keep(sandboxes.iter().map(|sandbox| sandbox.id.as_str()));
        self.containers.keep(containers.iter().map(|container| container.id.as_str()));
        self.ask_details(self.questions(&sandboxes, &containers)).await;
        let lists = Lists {
            sandboxes: &sandboxes,
            containers: &containers,
            sandbox_detail: |id: &str| self.sandboxes.get(id),
            container_detail: |id: &str| self.containers.get(id),
        };
        let Assembled { mut pods, refused } = lists.assemble();
        // Each poll refuses the same ones again: only more of them is news.
        for _ in self.refused..refused {
            self.health.count(Room::Runtime, Trouble::Malformed);
        }
        self.refused = refused;
        self.remember_start(&mut pods);
        Ok(pods)
    }

    fn questions(&self, sandboxes: &[PodSandbox], containers: &[Container]) -> Vec<Question> {
        let now = Instant::now();
        let sandboxes =
            sandboxes.iter().filter(|sandbox| self.sandboxes.is_due(&sandbox.id, sandbox.state, now));
        let containers =
            containers.iter().filter(|container| self.containers.is_due(&container.id, container.state, now));
        let about_sandboxes =
            sandboxes.map(|sandbox| Question::Sandbox { id: sandbox.id.clone(), state: sandbox.state });
        let about_containers = containers
            .map(|container| Question::Container { id: container.id.clone(), state: container.state });
        about_containers.chain(about_sandboxes).collect()
    }

    /// Asks several at once, the last of the list first. Once one is not answered in time, no more are
    /// begun in this round: it may be the runtime itself that hangs.
    async fn ask_details(&mut self, mut questions: Vec<Question>) {
        let mut asked = JoinSet::new();
        let mut held_up = false;
        loop {
            while asked.len() < QUESTIONS_AT_ONCE
                && !held_up
                && let Some(question) = questions.pop()
            {
                asked.spawn(question.ask(self.client.clone()));
            }
            match asked.join_next().await {
                Some(Ok(answer)) => held_up |= self.keep_detail(answer),
                Some(Err(_)) => {} // A question ended early only with the whole process.
                None => return,
            }
        }
    }

    /// Returns whether the runtime was too slow.
    fn keep_detail(&mut self, answer: Answer) -> bool {
        let now = Instant::now();
        let after = |error: &RuntimeError| match error {
            RuntimeError::Timeout { .. } => now + AFTER_SILENCE,
            _ => now + AFTER_ERROR,
        };
        let slow = |error: &RuntimeError| matches!(error, RuntimeError::Timeout { .. });
        match answer {
            Answer::Sandbox { id, state, detail: Ok(detail) } => {
                // CRI-O without a pause process never has a pid to tell; another may have it later.
                let again = (state == 0 && detail.pid.is_none()).then_some(now + AFTER_SILENCE);
                self.sandboxes.answered(id, state, detail, again);
                false
            }
            Answer::Container { id, state, detail: Ok(detail) } => {
                self.containers.answered(id, state, detail, None);
                false
            }
            Answer::Sandbox { id, state, detail: Err(error) } => {
                self.sandboxes.failed(id, state, after(&error));
                slow(&error)
            }
            Answer::Container { id, state, detail: Err(error) } => {
                self.containers.failed(id, state, after(&error));
                slow(&error)
            }
        }
    }

    fn remember_start(&mut self, pods: &mut [KnownPod]) {
        let mut before = std::mem::take(&mut self.first_created);
        for pod in pods {
            let first = before.remove(&pod.runtime_uid).into_iter().chain(pod.start_time).min();
            if let Some(first) = first {
                pod.start_time = Some(first);
                self.first_created.insert(pod.runtime_uid.clone(), first);
            }
        }
    }

    /// The events of this runtime, if it tells every reader all of them.
    pub fn events(&self, version: &Version) -> Option<Events> {
        version.tells_every_reader().then(|| Events { client: self.client.clone(), stream: None })
    }
}

enum Question {
    Sandbox { id: String, state: i32 },
    Container { id: String, state: i32 },
}

enum Answer {
    Sandbox { id: String, state: i32, detail: Result<SandboxDetail, RuntimeError> },
    Container { id: String, state: i32, detail: Result<ContainerDetail, RuntimeError> },
}

impl Question {
    async fn ask(self, client: Client) -> Answer {
        match self {
            Self::Sandbox { id, state } => {
                let request = PodSandboxStatusRequest { pod_sandbox_id: id.clone(), verbose: true };
                let answer = client.fetch("PodSandboxStatus", request).await;
                Answer::Sandbox { id, state, detail: answer.map(|answer| SandboxDetail::read(&answer)) }
            }
            Self::Container { id, state } => {
                let request = ContainerStatusRequest { container_id: id.clone() };
                let answer = client.fetch("ContainerStatus", request).await;
                Answer::Container { id, state, detail: answer.map(|answer| ContainerDetail::read(&answer)) }
            }
        }
    }
}

/// The runtime's events: what happened is not told, only that something did.
#[derive(Debug)]
pub struct Events {
    client: Client,
    stream: Option<Streaming<ContainerEventResponse>>,
}

impl Events {
    /// Waits until something happens, for as long as it takes. Not to be cancelled and called again: the
    /// stream opens only with its first event.
    ///
    /// # Errors
    /// [`RuntimeError::Unimplemented`] if the runtime has no events, or has them switched off; any other
    /// when the stream broke.
    pub async fn next(&mut self) -> Result<(), RuntimeError> {
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
