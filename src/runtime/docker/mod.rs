//! The Docker Engine, as cri-dockerd uses it: a pod is a container that holds its namespaces, and others
//! beside it, all told apart by their labels.
//!
//! ```text
//!   io.kubernetes.docker.type=podsandbox|container   io.kubernetes.sandbox.id=…
//!   io.kubernetes.pod.{name,namespace,uid}           io.kubernetes.container.name=app
//! ```
//!
//! Asked for are labels, names, states, pids and starts; figures never: those of the engine are old, dear,
//! and not the same on every version.
//!
//! # Why not only bollard
//!
//! bollard writes the questions, agrees on a version, and reads answers and events. But it takes answers
//! of any length, keeps all of them, and gives up a whole list for one value it does not know, such as a
//! state that came with a later engine. So it is handed a [`connection`] of our own, which bounds what
//! comes in and lets through only what is used here, read entry by entry.

#[doc(hidden)]
pub mod fuzzing;

mod connection;
mod parts;
mod rows;
mod sieve;

#[cfg(test)]
mod fake;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use bollard::API_DEFAULT_VERSION;
use bollard::Docker;
use bollard::errors::Error;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptions;
use bollard::query_parameters::InspectContainerOptions;
use bollard::query_parameters::ListContainersOptions;
use futures_util::Stream;
use futures_util::StreamExt;

use crate::model::health::Health;
use crate::model::health::Room;
use crate::model::health::Trouble;

use super::DEADLINE;
use super::error::RuntimeError;
use super::pods::ContainerDetail;
use super::pods::Listed;
use super::pods::SandboxDetail;
use super::pods::bounded;
use super::version::Version;

/// Where the engine listens, on every distribution.
pub const SOCKETS: &[&str] = &["/var/run/docker.sock"];

/// What tells a pod's containers from all others, and its sandbox from the rest.
const TYPE: &str = "io.kubernetes.docker.type";

/// Of all that is told of containers: what changes the lists. The probes of a pod alone would be three
/// events a second.
const EVENTS: &[&str] = &["create", "start", "die", "destroy"];

/// An id has 64 digits; what is longer is none.
const LONGEST_ID: usize = 128;

/// The well-known socket, if it exists.
pub fn find_socket() -> Option<PathBuf> {
    SOCKETS.iter().map(PathBuf::from).find(|path| path.exists())
}

/// One engine. A connection is made for each question.
#[derive(Clone, Debug)]
pub(super) struct Client {
    socket: Arc<Path>,
    /// As soon as a version was agreed on.
    agreed: Arc<Mutex<Option<Docker>>>,
    health: Arc<Health>,
}

impl Client {
    pub(super) fn new(socket: PathBuf, health: Arc<Health>) -> Self {
        Self { socket: socket.into(), agreed: Arc::default(), health }
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) async fn fetch_version(&self) -> Result<Version, RuntimeError> {
        let told = self.fetch("/version", |docker| async move { docker.version().await }).await?;
        let version = told.version.unwrap_or_default();
        Ok(Version { name: "docker".into(), version: bounded(&version).to_owned() })
    }

    pub(super) async fn fetch_lists(&self) -> Result<Listed, RuntimeError> {
        let options = ListContainersOptions {
            all: true,
            filters: Some(HashMap::from([("label".into(), vec![TYPE.into()])])),
            ..ListContainersOptions::default()
        };
        let list = |docker: Docker| async move { docker.list_containers(Some(options)).await };
        let listed = self.fetch("/containers/json", list).await;
        if listed.is_err() {
            // Who answers next may be another version.
            *self.agreed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        listed.map(rows::listed)
    }

    pub(super) async fn fetch_sandbox(&self, id: &str) -> Result<SandboxDetail, RuntimeError> {
        self.inspect(id).await.map(|container| rows::sandbox_detail(&container))
    }

    pub(super) async fn fetch_container(&self, id: &str) -> Result<ContainerDetail, RuntimeError> {
        self.inspect(id).await.map(|container| rows::container_detail(&container))
    }

    async fn inspect(&self, id: &str) -> Result<bollard::models::ContainerInspectResponse, RuntimeError> {
        let id = id.to_owned();
        let inspect = |docker: Docker| async move {
            docker.inspect_container(&id, None::<InspectContainerOptions>).await
        };
        self.fetch("/containers/{id}/json", inspect).await
    }

    /// Asks, once a version is agreed on. Every failure is counted.
    async fn fetch<T, F>(&self, call: &'static str, ask: impl FnOnce(Docker) -> F) -> Result<T, RuntimeError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let answer = async { ask(self.agree().await?).await };
        let result = match tokio::time::timeout(DEADLINE, answer).await {
            Ok(answer) => answer.map_err(|error| self.error(call, &error)),
            Err(_) => Err(RuntimeError::Timeout { socket: self.socket.to_path_buf(), call }),
        };
        result.inspect_err(|error| self.health.count(Room::Runtime, error.trouble()))
    }

    /// An engine refuses questions of a version it is too old for.
    async fn agree(&self) -> Result<Docker, Error> {
        let agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(docker) = agreed {
            return Ok(docker);
        }
        // The host is in no question: the connection knows its socket.
        let address = Some("http://docker");
        let docker = Docker::connect_with_custom_transport(
            connection::to(self.socket.clone()),
            address,
            DEADLINE.as_secs(),
            API_DEFAULT_VERSION,
        )?;
        let docker = docker.negotiate_version().await?;
        *self.agreed.lock().unwrap_or_else(PoisonError::into_inner) = Some(docker.clone());
        Ok(docker)
    }

    /// Sorts what a call ended with.
    fn error(&self, call: &'static str, error: &Error) -> RuntimeError {
        let socket = self.socket.to_path_buf();
        let trouble = match error {
            Error::RequestTimeoutError => return RuntimeError::Timeout { socket, call },
            Error::DockerResponseServerError { status_code: 404, .. } => Trouble::Gone,
            Error::DockerResponseServerError { status_code: 401 | 403, .. } => Trouble::Denied,
            Error::IOError { err } if err.kind() == io::ErrorKind::PermissionDenied => Trouble::Denied,
            Error::IOError { err } if err.kind() == io::ErrorKind::InvalidData => Trouble::Malformed,
            Error::JsonDataError { .. } | Error::JsonSerdeError { .. } | Error::APIVersionParseError {} => {
                Trouble::Malformed
            }
            Error::HyperResponseError { err } if err.is_parse() => Trouble::Malformed,
            _ => Trouble::Io,
        };
        RuntimeError::Call { socket, call, message: describe(error), trouble }
    }
}

/// The last cause is what helps.
fn describe(error: &Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let last = causes.last().map_or_else(|| error.to_string(), ToString::to_string);
    bounded(&last).to_owned()
}

/// See [`super::engine::Events`].
pub struct Events {
    client: Client,
    stream: Option<Messages>,
}

type Messages = Pin<Box<dyn Stream<Item = Result<EventMessage, Error>> + Send>>;

impl Events {
    pub(super) fn of(client: &Client) -> Self {
        Self { client: client.clone(), stream: None }
    }

    pub(super) async fn next(&mut self) -> Result<Option<String>, RuntimeError> {
        const CALL: &str = "/events";
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => match open(self.client.clone()).await {
                Ok(stream) => Box::pin(stream),
                Err(error) => return Err(self.client.error(CALL, &error)),
            },
        };
        match stream.next().await {
            Some(Ok(event)) => {
                self.stream = Some(stream);
                Ok(event.actor.and_then(|actor| actor.id).filter(|id| id.len() <= LONGEST_ID))
            }
            Some(Err(error)) => Err(self.client.error(CALL, &error)),
            None => {
                let socket = self.client.socket.to_path_buf();
                let message = "the stream ended".to_owned();
                Err(RuntimeError::Call { socket, call: CALL, message, trouble: Trouble::Io })
            }
        }
    }
}

async fn open(client: Client) -> Result<impl Stream<Item = Result<EventMessage, Error>> + Send, Error> {
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    let filters = [("type", words(&["container"])), ("event", words(EVENTS)), ("label", words(&[TYPE]))];
    let filters = filters.map(|(key, values)| (key.to_owned(), values));
    let options = EventsOptions { filters: Some(HashMap::from(filters)), ..EventsOptions::default() };
    Ok(client.agree().await?.events(Some(options)))
}
