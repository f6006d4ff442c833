//! An answer of any size read as it comes: what is skipped is never held.
//!
//! A list is as large as whoever makes pods wants it to be, 1.5 MB each. The parser runs on a thread that
//! may wait, and is fed piece by piece; a megabyte takes it about 20 ms.

use std::io;
use std::io::BufReader;
use std::io::Read;
use std::time::Duration;

use bytes::Buf;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Response;
use kube::client::Body;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::model::health::Refusal;

use super::client::Asked;
use super::client::KubernetesError;

/// Pieces on their way to the parser.
const PIECES: usize = 4;

/// The body of an answer as one JSON value. The deadline is for each piece of it.
pub(super) async fn read<T: DeserializeOwned + Send + 'static>(
    response: Response<Body>,
    asked: Asked<'_>,
    deadline: Duration,
) -> Result<T, KubernetesError> {
    let (pieces, fed) = mpsc::channel(PIECES);
    let parse = move || serde_json::from_reader(BufReader::new(Fed { pieces: fed, now: Bytes::new() }));
    let parser = tokio::task::spawn_blocking(parse);
    let fed = feed(response.into_body(), pieces, asked, deadline).await;
    let parsed = parser.await;
    // A body that broke explains the half document better than the parser can.
    fed?;
    match parsed {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(asked.error(Refusal::Malformed, format!("not the JSON expected: {error}"))),
        Err(ended) => Err(asked.broken(&ended)),
    }
}

async fn feed(
    mut body: Body,
    pieces: mpsc::Sender<Bytes>,
    asked: Asked<'_>,
    deadline: Duration,
) -> Result<(), KubernetesError> {
    loop {
        let frame = timeout(deadline, body.frame()).await.map_err(|_| asked.timeout(deadline))?;
        let Some(frame) = frame else { return Ok(()) };
        let frame = frame.map_err(|error| asked.broken(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        // The parser has read enough to know that it is wrong.
        if pieces.send(data).await.is_err() {
            return Ok(());
        }
    }
}

/// What the parser reads from.
struct Fed {
    pieces: mpsc::Receiver<Bytes>,
    now: Bytes,
}

impl Read for Fed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.now.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.now = piece,
                None => return Ok(0),
            }
        }
        let length = into.len().min(self.now.len());
        self.now.copy_to_slice(&mut into[..length]);
        Ok(length)
    }
}
