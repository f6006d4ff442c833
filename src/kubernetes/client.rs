//! How the API server is found, as `kubectl` finds it or from inside a pod, and one call to it.
//!
//! ```text
//!   KUBECONFIG=/path                  a kubeconfig, by name; ~/.kube/config only if the API server is asked for
//!   KUBERNETES_SERVICE_HOST=10.0.0.1  what the kubelet tells every pod; token and CA beside it in a volume
//! ```
//!
//! # Why kube's own calls and watches are not used
//!
//! They retry by themselves, lose `Retry-After`, and take half a line for the end of a watch: what stood
//! in it is never asked for again. Here kube finds, secures and authenticates the connection; the
//! answers are read by us.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::time::Duration;

use http_body_util::BodyExt;
use http_body_util::Limited;
use hyper::Request;
use hyper::Response;
use hyper::StatusCode;
use hyper::header::RETRY_AFTER;
use kube::Client;
use kube::Config;
use kube::client::Body;
use kube::config::KubeConfigOptions;
use serde::Deserialize;

use crate::model::health::Refusal;
use crate::model::health::Trouble;

/// For the connection alone; the rest of a call has deadlines of its own.
const CONNECT: Duration = Duration::from_secs(5);

/// More of what a server says about its refusal is not read.
const LONGEST_REFUSAL: usize = 64 << 10;

/// Longer messages are cut.
const LONGEST_MESSAGE: usize = 512;

/// What the kubelet tells every pod.
const IN_CLUSTER: &str = "KUBERNETES_SERVICE_HOST";

/// Why the API server or the kubelet gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// It was asked for, and nothing says where it is.
    #[error(
        "no API server is configured: set KUBECONFIG to a kubeconfig file, or run in a pod with a service \
         account, where KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are set"
    )]
    NotConfigured,
    /// What says where it is cannot be used.
    #[error("{origin} cannot be used")]
    Configuration {
        /// Where it was read.
        origin: &'static str,
        /// What is wrong with it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A call failed.
    #[error("{server}: {call}: {message}")]
    Call {
        /// Its address.
        server: Arc<str>,
        /// What was asked.
        call: &'static str,
        /// What it, or the connection, asked.
        message: String,
        /// The kind of failure.
        refusal: Refusal,
        /// How long to wait before the next call, where the server says so.
        retry_after: Option<Duration>,
    },
}

impl KubernetesError {
    /// The kind under which it is counted for its source.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::NotConfigured | Self::Configuration { .. } => Refusal::Unreachable,
            Self::Call { refusal, .. } => *refusal,
        }
    }

    /// The kind under which it is counted for the room.
    pub fn trouble(&self) -> Trouble {
        match self.refusal() {
            Refusal::Unreachable | Refusal::Throttled | Refusal::ServerError => Trouble::Io,
            Refusal::Timeout => Trouble::Timeout,
            Refusal::Unauthorized | Refusal::Forbidden => Trouble::Denied,
            Refusal::Expired => Trouble::Gone,
            Refusal::Malformed => Trouble::Malformed,
        }
    }

    /// How long the server wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Call { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Where the configuration is read, and read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Kubeconfig,
    InCluster,
    /// Fixed by the caller.
    Given,
}

/// The API server. All clones share one client.
#[derive(Clone)]
pub struct ApiServer {
    origin: Origin,
    url: Arc<str>,
    shared: Arc<RwLock<Shared>>,
}

struct Shared {
    config: Config,
    client: Client,
}

impl fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiServer").field("origin", &self.origin).field("url", &self.url).finish()
    }
}

impl ApiServer {
    /// The API server that is configured, if one is. Nothing is connected to. Must be called inside a
    /// tokio runtime.
    ///
    /// `explicit`: somebody asked for it by name, so that `~/.kube/config` counts too, as for `kubectl`,
    /// and finding none is an error.
    ///
    /// # Errors
    /// If what is configured cannot be used, or nothing is and `explicit`.
    pub async fn configured(explicit: bool) -> Result<Option<Self>, KubernetesError> {
        let origin = if is_set("KUBECONFIG") || explicit && has_own_kubeconfig() {
            Origin::Kubeconfig
        } else if is_set(IN_CLUSTER) {
            Origin::InCluster
        } else if explicit {
            return Err(KubernetesError::NotConfigured);
        } else {
            return Ok(None);
        };
        let config = origin.read().await?;
        Self::of(origin, config).map(Some)
    }

    fn of(origin: Origin, config: Config) -> Result<Self, KubernetesError> {
        let url = config.cluster_url.to_string().trim_end_matches('/').into();
        let client = client(origin.name(), &config)?;
        Ok(Self { origin, url, shared: Arc::new(RwLock::new(Shared { config, client })) })
    }

    /// The API server at `url` without credentials, as `kubectl proxy` shows it.
    ///
    /// # Errors
    /// If that is not a URL.
    pub fn anonymous(url: &str) -> Result<Self, KubernetesError> {
        let refuse = |source: Box<dyn Error + Send + Sync>| KubernetesError::Configuration {
            origin: Origin::Given.name(),
            source,
        };
        let url = url.parse().map_err(|error: hyper::http::uri::InvalidUri| refuse(error.into()))?;
        Self::of(Origin::Given, Config::new(url))
    }

    /// Plain HTTP at `url`, with the token of a file if one is given.
    #[cfg(test)]
    pub(crate) fn at(url: &str, token_file: Option<&std::path::Path>) -> Self {
        let mut config = Config::new(url.parse().unwrap());
        config.auth_info.token_file = token_file.map(|path| path.to_str().unwrap().to_owned());
        Self::of(Origin::Given, config).unwrap()
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same, for messages.
    pub(super) fn url_shared(&self) -> &Arc<str> {
        &self.url
    }

    /// The client to be used for one call: a later one may have newer credentials.
    pub(super) fn client(&self) -> Client {
        self.shared.read().unwrap_or_else(PoisonError::into_inner).client.clone()
    }

    /// How it is reached, credentials included.
    pub(super) fn config(&self) -> Config {
        self.shared.read().unwrap_or_else(PoisonError::into_inner).config.clone()
    }

    /// Reads the credentials again: after a 401 at once, not with kube's next look at the file, which is
    /// up to a minute away. What cannot be read leaves everything as it is.
    pub(super) async fn renew(&self) {
        let config = match self.origin {
            Origin::Given => Ok(self.config()),
            origin => origin.read().await,
        };
        let Ok(config) = config else { return };
        let Ok(client) = client(self.origin.name(), &config) else { return };
        *self.shared.write().unwrap_or_else(PoisonError::into_inner) = Shared { config, client };
    }

    /// Sends one request, and returns the answer if it is a good one. The deadline is for its head.
    ///
    /// # Errors
    /// No connection, no answer in time, or any status but 2xx.
    pub(super) async fn send(
        &self,
        call: &'static str,
        request: Request<Vec<u8>>,
        deadline: Duration,
    ) -> Result<Response<Body>, KubernetesError> {
        send(&self.client(), Asked { server: &self.url, call }, request, deadline).await
    }
}

impl Origin {
    fn name(self) -> &'static str {
        match self {
            Self::Kubeconfig => "the kubeconfig (KUBECONFIG, or ~/.kube/config)",
            Self::InCluster => "the pod's service account (KUBERNETES_SERVICE_HOST and its token)",
            Self::Given => "the given URL",
        }
    }

    async fn read(self) -> Result<Config, KubernetesError> {
        let refuse = |source| KubernetesError::Configuration { origin: self.name(), source };
        match self {
            Self::Kubeconfig => {
                Config::from_kubeconfig(&KubeConfigOptions::default()).await.map_err(|e| refuse(e.into()))
            }
            Self::InCluster => Config::incluster().map_err(|e| refuse(e.into())),
            Self::Given => Err(KubernetesError::NotConfigured),
        }
    }
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

fn has_own_kubeconfig() -> bool {
    std::env::home_dir().is_some_and(|home| home.join(".kube/config").exists())
}

/// A client that neither retries nor waits for ever to be connected.
pub(super) fn client(origin: &'static str, config: &Config) -> Result<Client, KubernetesError> {
    // The first one stays: whoever installed another knows why.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = config.clone();
    config.connect_timeout = Some(CONNECT);
    config.default_retry = false;
    Client::try_from(config).map_err(|error| KubernetesError::Configuration { origin, source: error.into() })
}

/// Who was asked what: the beginning of every message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) server: &'a Arc<str>,
    pub(super) call: &'static str,
}

impl Asked<'_> {
    pub(super) fn error(self, refusal: Refusal, message: impl Into<String>) -> KubernetesError {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(LONGEST_MESSAGE));
        let (server, call) = (self.server.clone(), self.call);
        KubernetesError::Call { server, call, message, refusal, retry_after: None }
    }

    /// No answer within `deadline`.
    pub(super) fn timeout(self, deadline: Duration) -> KubernetesError {
        self.error(Refusal::Timeout, format!("no answer within {} s", deadline.as_secs()))
    }

    /// A connection that was not made, or broke.
    pub(super) fn broken(self, error: &(dyn Error + 'static)) -> KubernetesError {
        let mut io = causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>());
        let late = io.any(|error| error.kind() == io::ErrorKind::TimedOut);
        let refusal = if late { Refusal::Timeout } else { Refusal::Unreachable };
        // The last cause is what helps: `Connection refused`, not `client error`.
        self.error(refusal, causes(error).last().map(ToString::to_string).unwrap_or_default())
    }

    /// A status other than 2xx, and what came with it.
    fn refused(self, status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> KubernetesError {
        #[derive(Deserialize)]
        struct Told {
            #[serde(default)]
            message: String,
        }
        let told = serde_json::from_slice::<Told>(body).ok().map(|told| told.message);
        // A kubelet, or something in between, answers in plain words.
        let plain = || String::from_utf8_lossy(&body[..body.len().min(LONGEST_MESSAGE)]).trim().to_owned();
        let message = told.filter(|message| !message.is_empty()).unwrap_or_else(plain);
        let refusal = refusal_of(status.as_u16());
        match self.error(refusal, format!("{}: {message}", status.as_u16())) {
            KubernetesError::Call { server, call, message, refusal, .. } => {
                KubernetesError::Call { server, call, message, refusal, retry_after }
            }
            other => other,
        }
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&cause| cause.source())
}

/// The kind of failure an HTTP status, or the `code` of a Kubernetes `Status`, stands for.
pub(super) fn refusal_of(code: u16) -> Refusal {
    match code {
        401 => Refusal::Unauthorized,
        403 => Refusal::Forbidden,
        410 => Refusal::Expired,
        429 => Refusal::Throttled,
        _ => Refusal::ServerError,
    }
}

pub(super) async fn send(
    client: &Client,
    asked: Asked<'_>,
    request: Request<Vec<u8>>,
    deadline: Duration,
) -> Result<Response<Body>, KubernetesError> {
    let answered = tokio::time::timeout(deadline, client.send(request.map(Body::from))).await;
    let response = answered.map_err(|_| asked.timeout(deadline))?.map_err(|error| asked.broken(&error))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = retry_after.and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    let body = read(response, asked, LONGEST_REFUSAL, deadline).await.unwrap_or_default();
    Err(asked.refused(status, retry_after, &body))
}

/// The whole body of an answer, if it is not larger than `longest` and comes within `deadline`.
pub(super) async fn read(
    response: Response<Body>,
    asked: Asked<'_>,
    longest: usize,
    deadline: Duration,
) -> Result<Vec<u8>, KubernetesError> {
    let body = Limited::new(response.into_body(), longest).collect();
    let body = tokio::time::timeout(deadline, body).await.map_err(|_| asked.timeout(deadline))?;
    match body {
        Ok(body) => Ok(body.to_bytes().into()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(asked.error(Refusal::Malformed, format!("an answer of more than {longest} bytes")))
        }
        Err(error) => Err(asked.broken(&*error)),
    }
}
