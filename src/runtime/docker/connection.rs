//! The connection under bollard: one for each question, bounded in time by who asks and in length here.
//!
//! bollard takes answers from hyper only. So an answer is read here, piece by piece, and what the [`Sieve`]
//! leaves of it is handed on through a pipe in memory, as a second and short HTTP answer.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use bollard::BollardRequest;
use bollard::errors::Error;
use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::Empty;
use hyper::Request;
use hyper::Response;
use hyper::StatusCode;
use hyper::Uri;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::super::pods::bounded;
use super::sieve::Question;
use super::sieve::Sieve;

/// The head of an answer: Docker's has 300 bytes.
const LONGEST_HEAD: usize = 16 << 10;

/// A stream of events ends after so many bytes, and is opened again: bollard looks through all that has come
/// since the last end of a line whenever more comes. A thousand events are about as much.
const LONGEST_STREAM: u64 = 1 << 20;

/// A pipe holds what fits into it; more waits.
const PIPE: usize = 64 << 10;

type Answering = Pin<Box<dyn Future<Output = Result<Response<Incoming>, Error>> + Send>>;

/// How bollard reaches the engine at `socket`.
pub(super) fn to(socket: Arc<Path>) -> impl Fn(BollardRequest) -> Answering {
    move |request| {
        let (socket, uri) = (socket.clone(), request.uri().clone());
        Box::pin(async move { answer(&socket, &uri).await })
    }
}

async fn answer(socket: &Path, uri: &Uri) -> Result<Response<Incoming>, Error> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    // Nothing is ever asked but to read.
    let request = Request::get(path).header(HOST, "docker").body(Empty::<Bytes>::new())?;
    let question = Question::of(uri.path());
    let (read, write) = UnixStream::connect(socket).await?.into_split();
    if question == Question::Events {
        return stream(tokio::io::join(read.take(LONGEST_STREAM), write), request).await;
    }
    let (status, body) = sifted(tokio::io::join(read, write), request, question).await?;
    hand_on(status, body).await
}

/// An answer that goes on for as long as somebody reads it.
async fn stream<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(LONGEST_HEAD).handshake(TokioIo::new(stream)).await?;
    // It ends with the answer's last reader; how it ended, that reader is told.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender.send_request(request).await?)
}

/// What is left of an answer. The connection ends with this call, however that ends.
async fn sifted<S>(
    stream: S,
    request: Request<Empty<Bytes>>,
    question: Question,
) -> Result<(StatusCode, Vec<u8>), Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(LONGEST_HEAD).handshake(TokioIo::new(stream)).await?;
    let answered = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = if head.status.is_success() { sift(question, body).await? } else { refusal(body).await? };
        Ok((head.status, body))
    };
    let kept_up = async {
        drop(connection.await);
        // What it ended with is told to whoever waits for the answer.
        std::future::pending().await
    };
    tokio::select! {
        answered = answered => answered,
        () = kept_up => Err(Error::RequestTimeoutError),
    }
}

/// An answer may be of any length: what is held of it is not, and who asks waits for so long only.
async fn sift(question: Question, mut body: Incoming) -> Result<Vec<u8>, Error> {
    let malformed = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut sieve = Sieve::new(question);
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame?.into_data() {
            sieve.pour(&piece).map_err(malformed)?;
        }
    }
    Ok(sieve.finish().map_err(malformed)?)
}

/// The beginning of what an engine says that does not answer.
async fn refusal(mut body: Incoming) -> Result<Vec<u8>, Error> {
    let mut said = Vec::new();
    while said.len() < LONGEST_HEAD
        && let Some(frame) = body.frame().await
    {
        if let Ok(piece) = frame?.into_data() {
            said.extend_from_slice(&piece);
        }
    }
    Ok(bounded(&String::from_utf8_lossy(&said)).as_bytes().to_owned())
}

/// A new answer with this body.
async fn hand_on(status: StatusCode, body: Vec<u8>) -> Result<Response<Incoming>, Error> {
    let (mut ours, theirs) = tokio::io::duplex(PIPE);
    tokio::spawn(async move {
        let head = format!("HTTP/1.1 {} -\r\ncontent-length: {}\r\n\r\n", status.as_u16(), body.len());
        // An answer that comes before its question is refused. Nobody reads it only if nobody waits any more.
        let mut question = [0; 128];
        let _ = ours.read(&mut question).await;
        let _ = ours.write_all(head.as_bytes()).await;
        let _ = ours.write_all(&body).await;
    });
    stream(theirs, Request::new(Empty::new())).await
}

#[cfg(test)]
mod tests {
    use super::super::fake::FakeEngine;
    use super::super::fake::Reply;
    use super::*;

    /// Pods of one tenant, each with all the annotations that it may have.
    #[tokio::test]
    async fn a_list_of_any_length_is_sifted() {
        let row = |n: u32| {
            let text = "x".repeat(256 << 10);
            format!(r#"{{"Id":"{n}","Labels":{{"annotation.motd":"{text}","app":"web"}},"State":"running"}}"#)
        };
        let rows: Vec<_> = (0..66).map(row).collect();
        let engine = FakeEngine::start("docker-long-list");
        engine.reply("/containers/json", Reply::Json(format!("[{}]", rows.join(",")).into_bytes()));
        let answered = answer(&engine.socket, &Uri::from_static("/v1.41/containers/json?all=true")).await;
        let body = answered.unwrap().into_body().collect().await.unwrap().to_bytes();
        let kept = (0..66).map(|n| format!(r#"{{"Id":"{n}","State":"running","Labels":{{"app":"web"}}}}"#));
        assert_eq!(body, format!("[{}]", kept.collect::<Vec<_>>().join(",")));
    }
}
