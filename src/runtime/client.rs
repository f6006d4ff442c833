//! One gRPC call after another over a unix socket, each with a deadline.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::UnixStream;
use tonic::Code;
use tonic::Request;
use tonic::Status;
use tonic::Streaming;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::transport::Endpoint;
use tonic::transport::Uri;
use tonic_prost::ProstCodec;
use tower::service_fn;

use crate::model::health::Health;
use crate::model::health::Room;
use crate::model::health::Trouble;

use super::DEADLINE;
use super::LARGEST_ANSWER;
use super::error::RuntimeError;
use super::pods::bounded;

/// One connection, shared by all clones. It is made when it is first used, and again after every loss.
#[derive(Clone, Debug)]
pub(super) struct Client {
    socket: Arc<Path>,
    channel: Channel,
    health: Arc<Health>,
}

impl Client {
    pub(super) fn new(socket: PathBuf, health: Arc<Health>) -> Self {
        let socket: Arc<Path> = socket.into();
        let path = socket.clone();
        let connect = service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The authority is never used: the connector opens the socket.
        let endpoint = Endpoint::from_static("http://localhost").connect_timeout(DEADLINE);
        let channel = endpoint.connect_with_connector_lazy(connect);
        Self { socket, channel, health }
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks `call`. Every failure is counted.
    pub(super) async fn fetch<Q, A>(&self, call: &'static str, question: Q) -> Result<A, RuntimeError>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut request = Request::new(question);
        // Told to the runtime too, so that it drops work whose answer nobody waits for.
        request.set_timeout(DEADLINE);
        let answer = async {
            let mut grpc = self.ready().await?;
            grpc.unary(request, path_of(call)?, ProstCodec::<Q, A>::default()).await
        };
        // Around the whole: the connection's part has no deadline of its own.
        let result = match tokio::time::timeout(DEADLINE, answer).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.error(call, &status)),
            Err(_) => Err(RuntimeError::Timeout { socket: self.socket.to_path_buf(), call }),
        };
        result.inspect_err(|error| self.health.count(Room::Runtime, error.trouble()))
    }

    /// Opens a stream. There is no deadline: a runtime written in Go sends the first byte with the first
    /// message.
    pub(super) async fn fetch_stream<Q, A>(
        &self,
        call: &'static str,
        question: Q,
    ) -> Result<Streaming<A>, RuntimeError>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let opened = async {
            let mut grpc = self.ready().await?;
            grpc.server_streaming(Request::new(question), path_of(call)?, ProstCodec::<Q, A>::default()).await
        };
        opened.await.map(tonic::Response::into_inner).map_err(|status| self.error(call, &status))
    }

    async fn ready(&self) -> Result<Grpc<Channel>, Status> {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(LARGEST_ANSWER);
        grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
        Ok(grpc)
    }

    /// Sorts what a call ended with.
    pub(super) fn error(&self, call: &'static str, status: &Status) -> RuntimeError {
        let socket = self.socket.to_path_buf();
        let trouble = match status.code() {
            Code::Unimplemented => return RuntimeError::Unimplemented { socket, call },
            // tonic says Cancelled, "Timeout expired", when the deadline passes on our side.
            Code::DeadlineExceeded | Code::Cancelled => return RuntimeError::Timeout { socket, call },
            Code::NotFound => Trouble::Gone,
            Code::PermissionDenied | Code::Unauthenticated => Trouble::Denied,
            // An answer that cannot be decoded, or is larger than we take.
            Code::Internal | Code::OutOfRange | Code::DataLoss => Trouble::Malformed,
            _ if refused(status) => Trouble::Denied,
            _ => Trouble::Io,
        };
        RuntimeError::Call { socket, call, message: describe(status), trouble }
    }
}

fn path_of(call: &str) -> Result<PathAndQuery, Status> {
    PathAndQuery::from_maybe_shared(format!("/runtime.v1.RuntimeService/{call}"))
        .map_err(|error| Status::invalid_argument(error.to_string()))
}

fn causes(error: &Status) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(error), |cause| cause.source())
}

/// The socket is there, and not for us.
fn refused(status: &Status) -> bool {
    let mut io = causes(status).filter_map(|cause| cause.downcast_ref::<io::Error>());
    io.any(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// The last cause is what helps: `No such file or directory`, not `transport error`.
fn describe(status: &Status) -> String {
    let last = causes(status).last().map(ToString::to_string);
    bounded(&last.unwrap_or_else(|| status.message().to_owned())).to_owned()
}
