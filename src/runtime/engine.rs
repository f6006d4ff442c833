//! One container runtime, whichever interface it speaks: its lists, and the details of each thing once.
//!
//! The details of a sandbox (its pause process) and of a container (its start) are asked for once for each
//! state they are in, and several at once, so that one that hangs costs its own pod's pid and not the names
//! of all.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::model::health::Health;
use crate::model::health::Room;
use crate::model::health::Trouble;
use crate::model::identity::KnownPod;
use crate::model::identity::PodUid;
use crate::model::identity::RuntimeKind;
use crate::model::identity::Source;
use crate::model::time::WallTime;

use super::client;
use super::cri;
use super::details::AFTER_ERROR;
use super::details::AFTER_SILENCE;
use super::details::Details;
use super::docker;
use super::error::RuntimeError;
use super::messages::Container;
use super::messages::PodSandbox;
use super::pods::Assembled;
use super::pods::ContainerDetail;
use super::pods::Listed;
use super::pods::Lists;
use super::pods::SandboxDetail;
use super::version::Version;

/// Of more things that changed between two questions, all are asked about.
const MOST_CHANGED: usize = 1_024;

/// So many questions about details are under way at once.
const QUESTIONS_AT_ONCE: usize = 8;

/// A client of one runtime.
#[derive(Debug)]
pub struct Engine {
    speaks: Speaks,
    health: Arc<Health>,
    sandboxes: Details<SandboxDetail>,
    containers: Details<ContainerDetail>,
    /// Creation of each pod's first sandbox, which is removed long before the pod is.
    first_created: BTreeMap<PodUid, WallTime>,
    refused: usize,
    /// What it calls itself, once it has said so.
    kind: Option<RuntimeKind>,
}

/// The interfaces there are. What differs between them is here, and nowhere else in this file.
#[derive(Clone, Debug)]
enum Speaks {
    Cri(client::Client),
    Docker(docker::Client),
}

impl Speaks {
    fn source(&self) -> Source {
        match self {
            Self::Cri(_) => Source::Cri,
            Self::Docker(_) => Source::Docker,
        }
    }

    async fn fetch_lists(&self) -> Result<Listed, RuntimeError> {
        match self {
            Self::Cri(client) => client.fetch_lists().await,
            Self::Docker(client) => client.fetch_lists().await,
        }
    }

    async fn fetch_sandbox(&self, id: &str) -> Result<SandboxDetail, RuntimeError> {
        match self {
            Self::Cri(client) => client.fetch_sandbox(id).await,
            Self::Docker(client) => client.fetch_sandbox(id).await,
        }
    }

    async fn fetch_container(&self, id: &str) -> Result<ContainerDetail, RuntimeError> {
        match self {
            Self::Cri(client) => client.fetch_container(id).await,
            Self::Docker(client) => client.fetch_container(id).await,
        }
    }
}

impl Engine {
    /// One that speaks the container runtime interface. It connects when it is first asked. Must be called
    /// inside a tokio runtime.
    pub fn cri(socket: PathBuf, health: Arc<Health>) -> Self {
        Self::speaking(Speaks::Cri(client::Client::new(socket, health.clone())), health)
    }

    /// The Docker Engine. It connects when it is first asked.
    pub fn docker(socket: PathBuf, health: Arc<Health>) -> Self {
        Self::speaking(Speaks::Docker(docker::Client::new(socket, health.clone())), health)
    }

    fn speaking(speaks: Speaks, health: Arc<Health>) -> Self {
        Self {
            speaks,
            health,
            sandboxes: Details::default(),
            containers: Details::default(),
            first_created: BTreeMap::new(),
            refused: 0,
            kind: None,
        }
    }

    /// Which source of names it is.
    pub fn source(&self) -> Source {
        self.speaks.source()
    }

    /// Where the runtime listens.
    pub fn socket(&self) -> &Path {
        match &self.speaks {
            Speaks::Cri(client) => client.socket(),
            Speaks::Docker(client) => client.socket(),
        }
    }

    /// Name and version of the runtime.
    ///
    /// # Errors
    /// As for every call.
    pub async fn fetch_version(&self) -> Result<Version, RuntimeError> {
        match &self.speaks {
            Speaks::Cri(client) => client.fetch_version().await,
            Speaks::Docker(client) => client.fetch_version().await,
        }
    }

    /// The events of this runtime, if it tells every reader all of them.
    pub fn events(&self, version: &Version) -> Option<Events> {
        match &self.speaks {
            Speaks::Cri(client) => {
                cri::Events::of(client, version).map(|events| Events::Cri(Box::new(events)))
            }
            // Docker tells each of its readers everything.
            Speaks::Docker(client) => Some(Events::Docker(docker::Events::of(client))),
        }
    }

    /// What is known of these may be out of date, though they are in the state they were in: a sandbox that
    /// was started again between two questions has another process.
    pub fn expire(&mut self, changed: &Changed) {
        if changed.all {
            self.kind = None; // Another may listen there now.
        }
        if let Speaks::Cri(_) = self.speaks {
            return; // There one that ended is never started again.
        }
        let now = Instant::now();
        if changed.all {
            self.sandboxes.expire_all(now);
            self.containers.expire_all(now);
        }
        for id in &changed.ids {
            self.sandboxes.expire(id, now);
            self.containers.expire(id, now);
        }
    }

    /// All pods the runtime knows, ended ones too.
    ///
    /// # Errors
    /// If the lists cannot be had. A detail that cannot be had is left out, and asked for
    /// again later.
    pub async fn fetch_pods(&mut self) -> Result<Vec<KnownPod>, RuntimeError> {
        let Listed { sandboxes, containers, refused: unread } = self.speaks.fetch_lists().await?;
        self.sandboxes.keep(sandboxes.iter().map(|sandbox| sandbox.id.as_str()));
        self.containers.keep(containers.iter().map(|container| container.id.as_str()));
        self.ask_details(self.questions(&sandboxes, &containers)).await;
        let runtime = self.kind().await;
        let lists = Lists {
            source: self.source(),
            runtime,
            sandboxes: &sandboxes,
            containers: &containers,
            sandbox_detail: |id: &str| self.sandboxes.get(id),
            container_detail: |id: &str| self.containers.get(id),
        };
        let Assembled { mut pods, refused } = lists.assemble();
        let refused = refused + unread;
        // Each poll refuses the same ones again: only more of them is news.
        for _ in self.refused..refused {
            self.health.count(Room::Runtime, Trouble::Malformed);
        }
        self.refused = refused;
        self.remember_start(&mut pods);
        Ok(pods)
    }

    /// What stands before the ids of its containers, as a pod's status has them. One that speaks for several
    /// is asked, once.
    async fn kind(&mut self) -> Option<RuntimeKind> {
        if let Speaks::Docker(_) = self.speaks {
            return Some(RuntimeKind::Docker);
        }
        if self.kind.is_none() {
            let version = self.fetch_version().await.ok()?;
            self.kind = RuntimeKind::of_word(&version.name);
        }
        self.kind
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
                asked.spawn(question.ask(self.speaks.clone()));
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
                // Of a kill for lack of memory containerd hears by another way than of the end that came of
                // it, and maybe later: until then that end is an `Error`.
                let first = !self.containers.is_answered(&id, state);
                let unsure = detail.reason.as_deref() == Some("Error");
                let again = (first && unsure).then_some(now + AFTER_ERROR);
                self.containers.answered(id, state, detail, again);
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
    async fn ask(self, whom: Speaks) -> Answer {
        match self {
            Self::Sandbox { id, state } => {
                let detail = whom.fetch_sandbox(&id).await;
                Answer::Sandbox { id, state, detail }
            }
            Self::Container { id, state } => {
                let detail = whom.fetch_container(&id).await;
                Answer::Container { id, state, detail }
            }
        }
    }
}

/// What events have told of since the last question.
#[derive(Debug, Default)]
pub struct Changed {
    ids: HashSet<String>,
    all: bool,
}

impl Changed {
    /// Anything may have changed: events were missed.
    pub fn everything() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// One more event, of this thing if it says so.
    pub fn note(&mut self, id: Option<String>) {
        self.ids.extend(id.filter(|_| !self.all));
        if self.ids.len() > MOST_CHANGED {
            *self = Self::everything();
        }
    }
}

/// The runtime's events: what happened is not told, only that something did, and to whom.
pub enum Events {
    /// Of the container runtime interface.
    Cri(Box<cri::Events>),
    /// Of the Docker Engine.
    Docker(docker::Events),
}

impl Events {
    /// Waits until something happens, for as long as it takes, and returns the id of whom it happened to,
    /// where that may be what it was before and yet another: a container of the Docker Engine is started
    /// again under its id, one of the container runtime interface never is.
    /// Not to be cancelled and called again: the
    /// stream opens only with its first event.
    ///
    /// # Errors
    /// [`RuntimeError::Unimplemented`] if the runtime has no events, or has them switched off; any other
    /// when the stream broke.
    pub async fn next(&mut self) -> Result<Option<String>, RuntimeError> {
        match self {
            Self::Cri(events) => events.next().await.map(|()| None),
            Self::Docker(events) => events.next().await,
        }
    }
}
