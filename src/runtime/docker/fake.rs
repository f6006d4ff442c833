//! An engine for tests of what a real one never does: one answer for each path, whole or broken.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::task::JoinSet;

use super::super::fake::FakeRuntime;

/// What comes back on a connection.
#[derive(Clone)]
pub(super) enum Reply {
    /// This body, as JSON.
    Json(Vec<u8>),
    /// This status, and the engine's word for it.
    Refusal(u16, &'static str),
    /// These bytes, whatever they are, and the end.
    Bytes(Vec<u8>),
    /// The bytes, then the second ones over and over.
    Endless(&'static [u8], Vec<u8>),
    /// The bytes, then nothing, and no end.
    Held(Vec<u8>),
}

impl Reply {
    pub(super) fn json(text: &str) -> Self {
        Self::Json(text.as_bytes().to_owned())
    }
}

#[derive(Default)]
struct Script {
    /// By the path without its version and its query.
    replies: HashMap<String, Reply>,
    asked: Vec<String>,
}

/// The engine. Dropping it is killing it.
pub(super) struct FakeEngine {
    pub(super) socket: PathBuf,
    script: Arc<Mutex<Script>>,
    accepting: JoinHandle<()>,
}

impl FakeEngine {
    /// Starts as an engine of API 1.41 that has no containers.
    pub(super) fn start(name: &str) -> Self {
        let socket = FakeRuntime::path(name);
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let script = Arc::<Mutex<Script>>::default();
        let accepting = tokio::spawn(accept(listener, script.clone()));
        let engine = Self { socket, script, accepting };
        engine.reply("/version", Reply::json(r#"{"Version":"20.10.24","ApiVersion":"1.41","Components":7}"#));
        engine.reply("/containers/json", Reply::json("[]"));
        engine
    }

    pub(super) fn reply(&self, path: &str, reply: Reply) {
        self.script.lock().unwrap().replies.insert(path.to_owned(), reply);
    }

    /// First lines of all questions so far whose path ends with `path`.
    pub(super) fn asked(&self, path: &str) -> Vec<String> {
        let script = self.script.lock().unwrap();
        script.asked.iter().filter(|line| path_of(line).ends_with(path)).cloned().collect()
    }
}

impl Drop for FakeEngine {
    fn drop(&mut self) {
        self.accepting.abort();
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// `/containers/json` of `GET /v1.41/containers/json?all=true HTTP/1.1`.
fn path_of(line: &str) -> &str {
    let path = line.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default();
    match path.strip_prefix("/v1.").and_then(|rest| rest.find('/')) {
        Some(slash) => &path["/v1.".len() + slash..],
        None => path,
    }
}

async fn accept(listener: UnixListener, script: Arc<Mutex<Script>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, script.clone()));
    }
}

async fn serve(mut stream: UnixStream, script: Arc<Mutex<Script>>) {
    let mut head = Vec::new();
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        let mut bytes = [0; 1024];
        match stream.read(&mut bytes).await {
            Ok(read) if read > 0 => head.extend_from_slice(&bytes[..read]),
            _ => return,
        }
    }
    let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
    let reply = {
        let mut script = script.lock().unwrap();
        script.asked.push(line.clone());
        script.replies.get(path_of(&line)).cloned()
    };
    let _ = answer(&mut stream, reply.unwrap_or(Reply::Refusal(404, "page not found"))).await;
}

async fn answer(stream: &mut UnixStream, reply: Reply) -> std::io::Result<()> {
    match reply {
        Reply::Json(body) => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body).await
        }
        Reply::Refusal(status, message) => {
            let body = format!(r#"{{"message":"{message}"}}"#);
            let head = format!("HTTP/1.1 {status} -\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body.as_bytes()).await
        }
        Reply::Bytes(bytes) => stream.write_all(&bytes).await,
        Reply::Endless(head, again) => {
            stream.write_all(head).await?;
            loop {
                stream.write_all(&again).await?;
            }
        }
        Reply::Held(bytes) => {
            stream.write_all(&bytes).await?;
            std::future::pending().await
        }
    }
}
