//! The watch on this node's pods: one list, then every change of it.
//!
//! ```text
//!   GET /api/v1/pods?fieldSelector=spec.nodeName=n1&resourceVersion=0      once
//!   GET …&watch=true&allowWatchBookmarks=true&resourceVersion=2618         for ever, from where it ended
//!   {"type":"MODIFIED","object":{"metadata":{"resourceVersion":"2619", …
//! ```
//!
//! `resourceVersion=0`: from the cache of the API server, where the pods of a node are indexed; without it
//! every node would make etcd read every pod of the cluster. A watch that breaks is taken up from the last
//! version heard of, which a bookmark a minute keeps young; a list is asked for only at the start, after
//! a 410, after a line that could not be read, and after silence that has a reason.
//!
//! # When silence makes a list due
//!
//! After a copy of etcd was put back, the last version heard of lies in the server's future: it accepts a
//! watch from there, and tells nothing until it has caught up. A list that comes from behind shows it. But
//! a cluster in which no pod changes is silent too, and etcd is not put back behind a server that runs on:
//! a list is due if a watch broke before the silence, and otherwise once an hour, for servers that went
//! without a word.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Request;
use kube::api::ListParams;
use kube::api::WatchParams;
use kube::client::Body;
use serde::Deserialize;
use tokio::time::Instant;
use tokio::time::timeout;

use crate::model::health::Health;
use crate::model::health::Refusal;
use crate::model::health::Room;
use crate::model::health::Trouble;
use crate::model::identity::KnownPod;

use super::client::ApiServer;
use super::client::Asked;
use super::client::KubernetesError;
use super::client::refusal_of;
use super::identity::is_cut;
use super::index::Index;
use super::index::number;
use super::json;
use super::lenient::Object;
use super::lenient::lenient;
use super::lines::LONGEST_LINE;
use super::lines::Rest;
use super::pod::Pod;
use super::pod::PodList;

const PODS: &str = "/api/v1/pods";
const LIST: &str = "list pods";
const WATCH: &str = "watch pods";

/// For a list, and for a watch to begin: a server that is short of time lets a request wait up to a minute,
/// and tells the next one when to come back.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// Nothing heard on a watch for so long, not even a bookmark. They come every minute, but only while pods
/// change anywhere in the cluster: either nothing happens, or the connection is half open, or the server
/// is frozen. A new watch on a new connection tells, and costs a request.
pub(super) const IDLE: Duration = Duration::from_secs(95);

/// After a break and so many watches in a row that told nothing, one list; and one each time their number
/// has doubled.
const SPEECHLESS: u32 = 2;

/// After so long a silence, one list.
const LONG_SILENCE: Duration = Duration::from_secs(3_600);

/// The server ends each watch after so many seconds, so that after its restart the nodes do not all stay
/// with the other servers; this one's share of the spread is subtracted.
const LONGEST_WATCH: u32 = 294;
const SPREAD: u32 = 30;

/// A watch that ends sooner without having told anything did not work.
const TOO_SHORT: Duration = Duration::from_secs(1);

/// A longer line is parsed on a thread that may wait: a megabyte takes about 20 ms.
const LARGE: usize = 256 << 10;

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// All pods were listed.
    Listed,
    /// A watch has begun.
    Watching,
    /// Something was told: `changed` if it was news.
    Heard {
        /// The pods are different now.
        changed: bool,
    },
    /// The watch ended as watches do: the next step begins another.
    Ended,
    /// Nothing was heard on the watch for longer than usual: the next step begins another.
    Silent,
}

/// The pods of one node, followed.
#[derive(Debug)]
pub struct PodWatch {
    api: ApiServer,
    node: String,
    spread: u32,
    health: Arc<Health>,
    index: Index,
    /// From where to watch; without it a list is due.
    version: Option<Arc<str>>,
    /// The next list is to be what etcd has, not what a cache has.
    exact: bool,
    stream: Option<Stream>,
    silence: Silence,
}

/// What happened since the last line or list.
#[derive(Debug)]
struct Silence {
    since: Instant,
    /// Watches in a row that told nothing.
    watches: u32,
    /// Something ended before its time, or failed.
    broken: bool,
}

impl PodWatch {
    /// Nothing is asked yet.
    pub fn new(api: ApiServer, node: &str, health: Arc<Health>) -> Self {
        // Another one on each node, and the same after each start.
        let spread = node.bytes().fold(0, |sum: u32, byte| sum.wrapping_mul(31) + u32::from(byte)) % SPREAD;
        let index = Index::default();
        let node = node.to_owned();
        let (version, stream, silence) = (None, None, Silence::begin());
        Self { api, node, spread, health, index, version, exact: false, stream, silence }
    }

    /// Where the API server is.
    pub fn url(&self) -> &str {
        self.api.url()
    }

    /// The node whose pods these are.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// All pods as they are known now.
    pub fn pods(&self) -> Vec<Arc<KnownPod>> {
        self.index.all()
    }

    /// Lists, begins to watch, or waits for what the watch tells: whatever comes next. After an error, the
    /// next step is another try; what is known stays.
    ///
    /// # Errors
    /// As for every call; [`Refusal::Expired`] if the next step has to be a list.
    pub async fn step(&mut self) -> Result<Step, KubernetesError> {
        let step = self.try_step().await;
        if let Err(error) = &step {
            self.stream = None;
            self.silence.broken = true;
            self.health.count(Room::Kubernetes, error.trouble());
            match error.refusal() {
                Refusal::Expired => self.version = None,
                Refusal::Unauthorized => self.api.renew().await,
                _ => {}
            }
        }
        step
    }

    async fn try_step(&mut self) -> Result<Step, KubernetesError> {
        let Some(version) = self.version.clone() else { return self.list().await };
        if self.stream.is_none() {
            self.stream = Some(self.watch(&version).await?);
            return Ok(Step::Watching);
        }
        self.hear().await
    }

    async fn list(&mut self) -> Result<Step, KubernetesError> {
        let asked = Asked { server: self.api.url_shared(), call: LIST };
        let params = ListParams::default().fields(&self.selector());
        let params = if self.exact { params } else { params.match_any() };
        let request = request(asked, kube::core::Request::new(PODS).list(&params))?;
        self.health.api_lists.fetch_add(1, Ordering::Relaxed);
        let answer = self.api.send(LIST, request, DEADLINE).await?;
        let PodList { metadata, items } = json::read(answer, asked, DEADLINE).await?;
        let Some(version) = metadata.resource_version else {
            return Err(asked.error(Refusal::Malformed, "a list without a version"));
        };
        if self.exact {
            self.index.forget_versions();
        }
        // What a cache that is behind cannot tell is asked of etcd, once: if its versions have gone back
        // for good (it was restored from a copy), what we know is forgotten with them.
        self.exact = !self.exact && self.index.is_behind(Some(&version));
        let nameless = self.index.swap(&items, Some(&version));
        for _ in 0..nameless {
            self.health.count(Room::Kubernetes, Trouble::Malformed);
        }
        for _ in items.iter().filter(|pod| is_cut(pod)) {
            self.health.count(Room::Kubernetes, Trouble::Truncated);
        }
        if !self.exact {
            self.version = Some(version);
            self.silence.since = Instant::now();
        }
        Ok(Step::Listed)
    }

    async fn watch(&mut self, version: &str) -> Result<Stream, KubernetesError> {
        let asked = Asked { server: self.api.url_shared(), call: WATCH };
        let params = WatchParams::default().fields(&self.selector()).timeout(LONGEST_WATCH - self.spread);
        let request = request(asked, kube::core::Request::new(PODS).watch(&params, version))?;
        self.health.api_watches.fetch_add(1, Ordering::Relaxed);
        let answer = self.api.send(WATCH, request, DEADLINE).await?;
        Ok(Stream { body: answer.into_body(), rest: Rest::default(), begun: Instant::now(), told: false })
    }

    /// Waits for lines, and takes in all that came together.
    async fn hear(&mut self) -> Result<Step, KubernetesError> {
        let api = self.api.clone();
        let asked = Asked { server: api.url_shared(), call: WATCH };
        let Some(stream) = &mut self.stream else { return Ok(Step::Ended) };
        let lines = match stream.lines(asked).await {
            Ok(Lines::Told(lines)) => lines,
            Ok(Lines::Over(step)) => {
                if !stream.told && self.silence.goes_on(step) {
                    self.version = None;
                }
                self.stream = None;
                return Ok(step);
            }
            Err(error) => {
                // From the same version the same line would come again.
                if stream.rest.is_too_long() {
                    self.version = None;
                }
                return Err(error);
            }
        };
        self.silence = Silence::begin();
        self.take_lines(&lines, asked).await
    }

    /// Takes in whole lines, up to the first that is no news of a pod.
    async fn take_lines(&mut self, lines: &Bytes, asked: Asked<'_>) -> Result<Step, KubernetesError> {
        let mut changed = false;
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            let event = if line.len() > LARGE {
                let line = lines.slice_ref(line);
                let parsed = tokio::task::spawn_blocking(move || parse(&line)).await;
                parsed.map_err(|error| asked.broken(&error))?
            } else {
                parse(line)
            };
            match self.take_in(event, asked) {
                Ok(news) => changed |= news,
                // What came before it in the same breath is in the index: the next answer tells it.
                Err(error) => {
                    if error.refusal() == Refusal::Malformed {
                        self.version = None;
                    }
                    return Err(error);
                }
            }
        }
        Ok(Step::Heard { changed })
    }

    fn take_in(&mut self, event: Parsed, asked: Asked<'_>) -> Result<bool, KubernetesError> {
        let malformed = |what: &str| asked.error(Refusal::Malformed, what);
        let (event, told) = event.map_err(|error| malformed(&format!("a line that is no event: {error}")))?;
        let version = event.object.metadata.resource_version.clone();
        let changed = match event.kind.as_deref() {
            Some("ADDED" | "MODIFIED") => {
                if is_cut(&event.object) {
                    self.health.count(Room::Kubernetes, Trouble::Truncated);
                }
                self.index.put(&event.object).unwrap_or_else(|_| {
                    self.health.count(Room::Kubernetes, Trouble::Malformed);
                    false
                })
            }
            Some("DELETED") => self.index.remove(&event.object),
            Some("BOOKMARK") => {
                self.index.heard(version.as_deref().and_then(number));
                false
            }
            Some("ERROR") => {
                let Told { code, message } = told;
                let code = code.and_then(|code| u16::try_from(code).ok()).unwrap_or(500);
                let message = format!("{code}: {}", message.as_deref().unwrap_or("no reason given"));
                return Err(asked.error(refusal_of(code), message));
            }
            _ => return Err(malformed("an event of an unknown kind")),
        };
        // Never backwards: a server that is behind would tell old news as new ones for ever.
        let back = version.as_deref().and_then(number) < self.version.as_deref().and_then(number);
        if version.is_some() && !back {
            self.version = version;
        }
        Ok(changed)
    }

    fn selector(&self) -> String {
        format!("spec.nodeName={}", self.node)
    }
}

impl Silence {
    fn begin() -> Self {
        Self { since: Instant::now(), watches: 0, broken: false }
    }

    /// One more watch told nothing. Returns whether a list is to tell what that means.
    fn goes_on(&mut self, end: Step) -> bool {
        // At the end of its time a watch has fallen silent long before.
        self.broken |= end == Step::Ended;
        self.watches = self.watches.saturating_add(1);
        let doubled = self.watches >= SPEECHLESS && self.watches.is_power_of_two();
        (self.broken && doubled) || self.since.elapsed() >= LONG_SILENCE
    }
}

fn request(
    asked: Asked<'_>,
    built: Result<Request<Vec<u8>>, kube::core::request::Error>,
) -> Result<Request<Vec<u8>>, KubernetesError> {
    built.map_err(|error| asked.broken(&error))
}

/// One line of a watch.
#[derive(Debug, Default, Deserialize)]
#[serde(default, bound = "T: Object")]
struct Event<T> {
    #[serde(rename = "type", deserialize_with = "lenient")]
    kind: Option<Arc<str>>,
    #[serde(deserialize_with = "lenient")]
    object: T,
}

/// The object of an event that is an error.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Told {
    #[serde(deserialize_with = "lenient")]
    code: Option<u32>,
    #[serde(deserialize_with = "lenient")]
    message: Option<Arc<str>>,
}

impl Object for Told {}

type Parsed = serde_json::Result<(Event<Pod>, Told)>;

fn parse(line: &[u8]) -> Parsed {
    let event: Event<Pod> = serde_json::from_slice(line)?;
    let told = match event.kind.as_deref() {
        Some("ERROR") => serde_json::from_slice::<Event<Told>>(line)?.object,
        _ => Told::default(),
    };
    Ok((event, told))
}

/// What was waited for on a watch.
enum Lines {
    /// Some whole lines.
    Told(Bytes),
    /// It ended, or fell silent.
    Over(Step),
}

/// A watch under way.
#[derive(Debug)]
struct Stream {
    body: Body,
    rest: Rest,
    begun: Instant,
    told: bool,
}

impl Stream {
    /// Waits for whole lines, or for the end of the watch.
    async fn lines(&mut self, asked: Asked<'_>) -> Result<Lines, KubernetesError> {
        loop {
            let Ok(frame) = timeout(IDLE, self.body.frame()).await else {
                return Ok(Lines::Over(Step::Silent));
            };
            let Some(frame) = frame else { return self.ended(asked) };
            let frame = frame.map_err(|error| asked.broken(&error))?;
            let Some(data) = frame.data_ref() else { continue };
            let Some(lines) = self.rest.take(data) else {
                if self.rest.is_too_long() {
                    return Err(asked.error(Refusal::Malformed, format!("a line above {LONGEST_LINE} bytes")));
                }
                continue;
            };
            self.told = true;
            return Ok(Lines::Told(lines));
        }
    }

    fn ended(&self, asked: Asked<'_>) -> Result<Lines, KubernetesError> {
        if !self.rest.is_empty() {
            return Err(asked.error(Refusal::Malformed, "the watch ended in the middle of a line"));
        }
        if !self.told && self.begun.elapsed() < TOO_SHORT {
            return Err(asked.error(Refusal::Unreachable, "the watch ended as soon as it had begun"));
        }
        Ok(Lines::Over(Step::Ended))
    }
}

/// For fuzzers: all pods after a watch has told these pieces, from version 1 on, and what ended it early.
pub(super) async fn heard(
    api: &ApiServer,
    pieces: impl Iterator<Item = &[u8]>,
) -> (Vec<Arc<KnownPod>>, Option<Refusal>) {
    let mut watch = PodWatch::new(api.clone(), "n1", Arc::default());
    let asked = Asked { server: api.url_shared(), call: WATCH };
    watch.version = Some("1".into());
    let mut rest = Rest::default();
    for lines in pieces.filter_map(|piece| rest.take(piece)) {
        let before = watch.version.as_deref().and_then(number);
        if let Err(error) = watch.take_lines(&lines, asked).await {
            return (watch.pods(), Some(error.refusal()));
        }
        let after = watch.version.as_deref().and_then(number);
        assert!(before.is_none() || after >= before, "from version {before:?} back to {after:?}");
    }
    (watch.pods(), None)
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
