//! An API server for tests: HTTP/1.1 by hand, an answer for each connection, and faults on request.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::Mutex;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::task::JoinSet;

/// What one connection is answered.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// A status, more headers, and a body.
    Whole(u16, &'static str, String),
    /// Status 200, then these pieces of a body, then what happens to the connection.
    Stream(Vec<String>, After),
    /// Nothing at all.
    Silence,
}

/// What happens after the pieces of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// The body ends.
    End,
    /// It breaks off with RST.
    Reset,
    /// Nothing more comes.
    Hang,
}

/// Requests so far, as `path?query token`, and answers to come.
#[derive(Default)]
struct Script {
    asked: Vec<String>,
    replies: VecDeque<Reply>,
    /// The only token that is good, if tokens matter.
    token: Option<String>,
}

/// The server itself. Dropping it closes everything.
pub(crate) struct FakeApi {
    pub(crate) url: String,
    script: Arc<Mutex<Script>>,
    accepting: JoinHandle<()>,
}

impl FakeApi {
    /// A server that gives these answers, one after another, and then is silent.
    pub(crate) async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::at("127.0.0.1:0", replies).await
    }

    /// The same at this address.
    pub(crate) async fn at(address: &str, replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let replies = replies.into_iter().collect();
        let script = Arc::new(Mutex::new(Script { replies, ..Script::default() }));
        let accepting = tokio::spawn(accept(listener, script.clone()));
        Self { url, script, accepting }
    }

    /// An address where nobody listens, for now.
    pub(crate) async fn nobody() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().to_string()
    }

    /// From now on only this token is good.
    pub(crate) fn accept_only(&self, token: &str) {
        self.script.lock().unwrap().token = Some(token.to_owned());
    }

    /// Requests so far: path and query.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.script.lock().unwrap().asked.clone()
    }
}

impl Drop for FakeApi {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, script: Arc<Mutex<Script>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(answer(stream, script.clone()));
    }
}

/// One request each connection: every answer says `connection: close`.
async fn answer(mut stream: TcpStream, script: Arc<Mutex<Script>>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let token = head.lines().find_map(|line| line.strip_prefix("authorization: Bearer "));
    let reply = {
        let mut script = script.lock().unwrap();
        script.asked.push(path);
        if script.token.as_deref().is_some_and(|good| token != Some(good)) {
            status(401, "Unauthorized")
        } else {
            script.replies.pop_front().unwrap_or(Reply::Silence)
        }
    };
    match reply {
        Reply::Whole(status, headers, body) => {
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} X\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body.as_bytes()).await?;
        }
        Reply::Stream(pieces, after) => {
            let mut text =
                "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
            for piece in pieces {
                let _ = write!(text, "{:x}\r\n{piece}\r\n", piece.len());
            }
            if after == After::End {
                text.push_str("0\r\n\r\n");
            }
            stream.write_all(text.as_bytes()).await?;
            match after {
                After::End => {}
                After::Reset => {
                    // What was sent must be read before the reset overtakes it.
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    stream.set_zero_linger()?;
                    return Ok(());
                }
                After::Hang => std::future::pending().await,
            }
        }
        Reply::Silence => std::future::pending().await,
    }
    stream.shutdown().await?;
    // The client closes when it has read all.
    let _ = stream.read_u8().await;
    Ok(())
}

/// A Kubernetes `Status` with that code.
pub(crate) fn status(code: u16, message: &str) -> Reply {
    Reply::Whole(code, "", status_object(code, message))
}

/// The object alone, as an ERROR event carries it.
pub(crate) fn status_object(code: u16, message: &str) -> String {
    format!(r#"{{"kind":"Status","status":"Failure","message":"{message}","code":{code}}}"#)
}

/// A UID that ends with this digit.
pub(crate) fn uid(digit: char) -> String {
    format!("00000000-0000-4000-8000-00000000000{digit}")
}

/// A running pod default/`name`, with one container `app`.
pub(crate) fn pod(name: &str, digit: char, version: u64) -> String {
    let (uid, id) = (uid(digit), digit.to_string().repeat(64));
    format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"default","uid":"{uid}","resourceVersion":"{version}"}},
        "spec":{{"nodeName":"n1","containers":[{{"name":"app","image":"busybox:1"}}]}},
        "status":{{"phase":"Running","containerStatuses":[{{"name":"app","containerID":"containerd://{id}",
        "state":{{"running":{{"startedAt":"2026-11-21T01:49:56Z"}}}}}}]}}}}"#
    )
    .replace('\n', " ")
}

/// The answer to a list.
pub(crate) fn list(version: u64, pods: &[String]) -> Reply {
    let items = pods.join(",");
    let body =
        format!(r#"{{"kind":"PodList","metadata":{{"resourceVersion":"{version}"}},"items":[{items}]}}"#);
    Reply::Whole(200, "", body)
}

/// One line of a watch.
pub(crate) fn event(kind: &str, object: &str) -> String {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")
}

/// One that tells a version and nothing else.
pub(crate) fn bookmark(version: u64) -> String {
    event("BOOKMARK", &format!(r#"{{"kind":"Pod","metadata":{{"resourceVersion":"{version}"}}}}"#))
}

/// Events that go on to come, or not.
pub(crate) fn watch(events: &[String], after: After) -> Reply {
    Reply::Stream(events.to_vec(), after)
}
