//! A connection that is kept: one request after the other, and how long each took.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use anyhow::ensure;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;
use tokio::time::timeout;

use crate::reader::Answer;
use crate::reader::Stream;

const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Line {
    stream: Box<dyn Stream>,
    host: SocketAddr,
    token: String,
    /// What came and belongs to no answer yet.
    rest: Vec<u8>,
}

impl Line {
    pub(crate) fn new(stream: Box<dyn Stream>, host: SocketAddr, token: Option<&str>) -> Self {
        let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        Self { stream, host, token, rest: Vec::new() }
    }

    /// Asks, and waits for the whole answer.
    pub(crate) async fn get(&mut self, path: &str) -> anyhow::Result<Answer> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{}\r\n", self.host, self.token);
        timeout(PATIENCE, self.exchange(request.as_bytes())).await.with_context(|| path.to_owned())?
    }

    /// The same, and the time from the first byte sent to the last received.
    pub(crate) async fn timed(&mut self, path: &str) -> anyhow::Result<(Duration, Answer)> {
        let begun = Instant::now();
        let answer = self.get(path).await?;
        Ok((begun.elapsed(), answer))
    }

    async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<Answer> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        let end = loop {
            if let Some(at) = self.rest.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at;
            }
            self.read().await?;
        };
        let head = String::from_utf8(self.rest[..end].to_vec())?;
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
        });
        let whole = end + 4 + length.context("no content-length")??;
        while self.rest.len() < whole {
            self.read().await?;
        }
        let body = String::from_utf8(self.rest[end + 4..whole].to_vec())?;
        self.rest.drain(..whole);
        Ok(Answer { status, head, body })
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        ensure!(self.stream.read_buf(&mut self.rest).await? > 0, "the server hung up");
        Ok(())
    }
}
