//! A runtime for tests: as much of gRPC over HTTP/2 as a client sees, and faults on request.

use std::collections::HashMap;
use std::collections::HashSet;
use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::task::Context;
use std::task::Poll;

use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::Body;
use hyper::body::Frame;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::header::HeaderValue;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::task::JoinSet;

use super::messages::Container;
use super::messages::ContainerEventResponse;
use super::messages::ContainerMetadata;
use super::messages::ContainerStatus;
use super::messages::ContainerStatusRequest;
use super::messages::ContainerStatusResponse;
use super::messages::Entry;
use super::messages::ImageSpec;
use super::messages::ListContainersResponse;
use super::messages::ListPodSandboxResponse;
use super::messages::PodSandbox;
use super::messages::PodSandboxMetadata;
use super::messages::PodSandboxStatusRequest;
use super::messages::PodSandboxStatusResponse;
use super::messages::VersionResponse;

/// The UID of the pod of [`sandbox`].
pub(super) const UID: &str = "9c430a5e-0000-4000-8000-000000000001";

/// When the first of the pod's sandboxes was made; each later one a nanosecond after it.
pub(super) const CREATED: u64 = 1_000;

/// The gRPC status of a method that the server does not have.
const UNIMPLEMENTED: u32 = 12;

/// The gRPC status of one that is out of order.
const UNAVAILABLE: u32 = 14;

pub(super) fn entry(key: &str, value: &str) -> Entry {
    Entry { key: key.to_owned().into(), value: value.to_owned().into() }
}

/// A ready sandbox of the pod default/web; its id is the digit 64 times.
pub(super) fn sandbox(digit: char, attempt: u32) -> PodSandbox {
    PodSandbox {
        id: digit.to_string().repeat(64),
        metadata: Some(PodSandboxMetadata {
            name: "web".into(),
            uid: UID.into(),
            namespace: "default".into(),
            attempt,
        }),
        created_at: (CREATED + u64::from(attempt)).try_into().unwrap(),
        labels: vec![entry("app", "web"), entry("io.kubernetes.pod.uid", UID)],
        ..PodSandbox::default()
    }
}

/// A running container `app` of the sandbox of that digit.
pub(super) fn container(digit: char, sandbox: char, attempt: u32) -> Container {
    Container {
        id: digit.to_string().repeat(64),
        pod_sandbox_id: sandbox.to_string().repeat(64),
        metadata: Some(ContainerMetadata { name: "app".into(), attempt }),
        state: 1,
        ..Container::default()
    }
}

/// What the runtime will say, and what it was asked.
#[derive(Default)]
pub(super) struct Script {
    pub(super) version: String,
    pub(super) sandboxes: Vec<PodSandbox>,
    pub(super) containers: Vec<Container>,
    /// Why containers ended.
    pub(super) reason: String,
    /// Ids whose status is never told.
    pub(super) hanging: HashSet<String>,
    /// gRPC status codes by method, instead of an answer.
    pub(super) failing: HashMap<&'static str, u32>,
    /// Calls so far, by method.
    pub(super) calls: HashMap<String, usize>,
    readers: Vec<mpsc::UnboundedSender<Bytes>>,
}

/// The runtime itself. Dropping it is killing it.
pub(crate) struct FakeRuntime {
    pub(crate) socket: PathBuf,
    script: Arc<Mutex<Script>>,
    accepting: JoinHandle<()>,
}

impl FakeRuntime {
    /// A path nobody else uses; no socket is there.
    pub(crate) fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("podvitals-fake-{name}-{}.sock", std::process::id()))
    }

    /// Starts at [`Self::path`] as containerd of that version, with one pod of one container.
    pub(crate) fn start(name: &str, version: &str) -> Self {
        let socket = Self::path(name);
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let script = Arc::new(Mutex::new(Script {
            version: version.into(),
            sandboxes: vec![sandbox('a', 0)],
            containers: vec![container('b', 'a', 0)],
            ..Script::default()
        }));
        let accepting = tokio::spawn(accept(listener, script.clone()));
        Self { socket, script, accepting }
    }

    /// Changes or reads the script.
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        change(&mut self.script.lock().unwrap())
    }

    /// A container of the pod's sandbox is started.
    pub(crate) fn add_container(&self, digit: char, attempt: u32) {
        self.with(|script| script.containers.push(container(digit, 'a', attempt)));
    }

    /// The method is not implemented.
    pub(crate) fn refuse(&self, method: &'static str) {
        self.with(|script| script.failing.insert(method, UNIMPLEMENTED));
    }

    /// The method is there, and never works.
    pub(crate) fn fail(&self, method: &'static str) {
        self.with(|script| script.failing.insert(method, UNAVAILABLE));
    }

    /// The method works again.
    pub(crate) fn heal(&self, method: &str) {
        self.with(|script| script.failing.remove(method));
    }

    /// Everything ended and was removed.
    pub(crate) fn remove_all(&self) {
        self.with(|script| {
            script.sandboxes.clear();
            script.containers.clear();
        });
    }

    /// How often a method was called.
    pub(crate) fn calls(&self, method: &str) -> usize {
        self.with(|script| script.calls.get(method).copied().unwrap_or(0))
    }

    /// Tells every reader of events that something happened. Returns how many there are.
    pub(crate) fn event(&self) -> usize {
        self.with(|script| {
            script.readers.retain(|reader| reader.send(framed(&ContainerEventResponse {})).is_ok());
            script.readers.len()
        })
    }
}

impl Drop for FakeRuntime {
    fn drop(&mut self) {
        self.accepting.abort();
        let _ = std::fs::remove_file(&self.socket);
    }
}

async fn accept(listener: UnixListener, script: Arc<Mutex<Script>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let script = script.clone();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let script = script.clone();
            async move { Ok::<_, Infallible>(answer(request, &script).await) }
        });
        connections.spawn(async move {
            let builder = http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: hyper::Request<Incoming>, script: &Mutex<Script>) -> hyper::Response<Answer> {
    let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let question = request.into_body().collect().await.unwrap().to_bytes();
    // The first five bytes are the frame's.
    let question = question.slice(5.min(question.len())..);
    let failing = {
        let mut script = script.lock().unwrap();
        *script.calls.entry(method.clone()).or_default() += 1;
        script.failing.get(method.as_str()).copied()
    };
    if let Some(code) = failing {
        return refusal(code);
    }
    let id = match method.as_str() {
        "PodSandboxStatus" => PodSandboxStatusRequest::decode(question).unwrap().pod_sandbox_id,
        "ContainerStatus" => ContainerStatusRequest::decode(question).unwrap().container_id,
        _ => String::new(),
    };
    if script.lock().unwrap().hanging.contains(&id) {
        std::future::pending::<()>().await;
    }
    let mut script = script.lock().unwrap();
    match method.as_str() {
        "Version" => told(&VersionResponse {
            runtime_name: "containerd".into(),
            runtime_version: script.version.clone(),
        }),
        "ListPodSandbox" => told(&ListPodSandboxResponse { items: script.sandboxes.clone() }),
        "ListContainers" => told(&ListContainersResponse { containers: script.containers.clone() }),
        "PodSandboxStatus" => {
            told(&PodSandboxStatusResponse { status: None, info: vec![entry("info", r#"{"pid":4242}"#)] })
        }
        "ContainerStatus" => told(&ContainerStatusResponse {
            status: Some(ContainerStatus {
                started_at: 5_000,
                image: Some(ImageSpec { image: "busybox:1".into(), ..ImageSpec::default() }),
                reason: script.reason.clone(),
            }),
        }),
        "GetContainerEvents" => {
            let (sender, receiver) = mpsc::unbounded_channel();
            script.readers.push(sender);
            hyper::Response::new(Answer::Stream(receiver))
        }
        _ => refusal(UNIMPLEMENTED),
    }
}

fn refusal(code: u32) -> hyper::Response<Answer> {
    let mut response = hyper::Response::new(Answer::Nothing);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response.headers_mut().insert("grpc-status", HeaderValue::from(code));
    response
}

fn told(message: &impl Message) -> hyper::Response<Answer> {
    hyper::Response::new(Answer::Message(framed(message)))
}

fn framed(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.encoded_len().try_into().unwrap());
    message.encode(&mut frame).unwrap();
    frame.freeze()
}

/// A body: a message and the trailers that say it went well, or messages without end.
enum Answer {
    Nothing,
    Message(Bytes),
    Trailers,
    Stream(mpsc::UnboundedReceiver<Bytes>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Self::Stream(messages) = &mut *self {
            return messages.poll_recv(context).map(|message| message.map(|bytes| Ok(Frame::data(bytes))));
        }
        Poll::Ready(match std::mem::replace(&mut *self, Self::Nothing) {
            Self::Message(message) => {
                *self = Self::Trailers;
                Some(Ok(Frame::data(message)))
            }
            Self::Trailers => {
                let ok = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from(0))]);
                Some(Ok(Frame::trailers(ok)))
            }
            Self::Nothing | Self::Stream(_) => None,
        })
    }
}
