//! A client that says just what it is told to say, and a server to say it to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use podvitals::config::Listen;
use podvitals::model::health::{Health, Refusal};
use podvitals::model::history::Shelf;
use podvitals::model::identity::Source;
use podvitals::model::snapshot::Snapshot;
use podvitals::model::target::TargetSet;
use podvitals::model::time::{ClockPair, Monotonic, WallTime};
use podvitals::serve::{Access, Bound, Limits, Published, bind, run_within};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::earlier;
use super::node::{self, PROCESS_START, SECOND, SWEEP_AT, SWEEP_WALL};
use super::past;
use super::processes;

/// Nothing here takes this long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Nanoseconds since the sweep; one clock for each test that moves it.
pub(crate) static CLOCKS: [AtomicU64; 8] = [const { AtomicU64::new(412_000_000) }; 8];

/// 0.412 s after the sweep began, unless a test says otherwise.
pub(crate) fn clock<const N: usize>() -> ClockPair {
    let since = CLOCKS[N].load(Ordering::SeqCst);
    ClockPair {
        monotonic: Monotonic::from_nanos(SWEEP_AT + since),
        wall: WallTime::from_unix_nanos(SWEEP_WALL + since),
    }
}

pub(crate) fn set_clock<const N: usize>(seconds_since_sweep: f64) {
    let since = Duration::from_secs_f64(seconds_since_sweep);
    CLOCKS[N].store(u64::try_from(since.as_nanos()).unwrap(), Ordering::SeqCst);
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) health: Arc<Health>,
    pub(crate) snapshot: watch::Sender<Option<Arc<Snapshot>>>,
    pub(crate) targets: watch::Sender<Arc<TargetSet>>,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) task: JoinHandle<()>,
}

/// A server of the hand-made node, on a clock that stands still.
pub(crate) async fn server() -> Server {
    server_with(Limits::default(), clock::<0>, Some(node::snapshot())).await
}

pub(crate) async fn server_with(limits: Limits, clock: fn() -> ClockPair, shown: Option<Snapshot>) -> Server {
    let listen = [Listen::Plain("127.0.0.1:0".parse().unwrap())];
    server_on(bind(&listen, Access::default()).await.unwrap(), limits, clock, shown)
}

pub(crate) fn server_on(
    bound: Vec<Bound>,
    limits: Limits,
    clock: fn() -> ClockPair,
    shown: Option<Snapshot>,
) -> Server {
    let history = shown.as_ref().map_or_else(Arc::default, past::history);
    server_that_remembers(bound, limits, clock, shown, history)
}

pub(crate) fn server_that_remembers(
    bound: Vec<Bound>,
    limits: Limits,
    clock: fn() -> ClockPair,
    shown: Option<Snapshot>,
    history: Arc<Shelf>,
) -> Server {
    let change = |published: &mut Published| (published.clock, published.history) = (clock, history);
    server_showing(bound, limits, change, shown)
}

/// The same with something else about it.
pub(crate) fn server_showing(
    bound: Vec<Bound>,
    limits: Limits,
    change: impl FnOnce(&mut Published),
    shown: Option<Snapshot>,
) -> Server {
    let address = bound[0].address().split_once("://").unwrap().1.parse().unwrap();
    let targets = shown.as_ref().map_or_else(Arc::default, |snapshot| snapshot.targets.clone());
    let (snapshot, snapshots) = watch::channel(shown.map(Arc::new));
    let (targets, maps) = watch::channel(targets);
    let (stop, stopped) = watch::channel(false);
    let health = Arc::new(Health::default());
    let mut published = Published {
        snapshot: snapshots,
        targets: maps,
        history: Arc::default(),
        health: health.clone(),
        clock: clock::<0>,
        node_name: "n1".into(),
        interval: Duration::from_secs(1),
        process_start: WallTime::from_unix_nanos(PROCESS_START),
        machine: earlier::machine(),
        cadvisor_full: false,
        docker_percpu: false,
        processes: processes::any_lane(),
    };
    change(&mut published);
    health.last_sweep_at.store(SWEEP_AT + 3_120_000, Ordering::SeqCst);
    health.last_sweep_nanos.store(3_120_000, Ordering::SeqCst);
    health.sweep_cpu_nanos.store(2 * SECOND, Ordering::SeqCst);
    health.sweeps.store(812, Ordering::SeqCst);
    health.identity_complete.store(true, Ordering::SeqCst);
    health.disagreements.store(1, Ordering::SeqCst);
    health.certificate_expiry.store(1_800_000_000, Ordering::SeqCst);
    let kube = health.source(Source::Kube);
    kube.configured.store(true, Ordering::SeqCst);
    kube.refused(Refusal::Forbidden, Monotonic::from_nanos(SWEEP_AT - 2 * SECOND));
    let task = tokio::spawn(run_within(limits, bound, published, stopped));
    Server { address, health, snapshot, targets, stop, task }
}

/// One answer, taken apart.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no header {name} in {:?}", self.headers))
    }

    /// The detail of a problem, after checking that it is one.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert_eq!(problem["type"], "about:blank");
        assert!(problem["title"].is_string());
        problem["detail"].as_str().unwrap().to_owned()
    }
}

impl Server {
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// `GET path` on a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[]).await
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut stream = self.connect().await;
        let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let bytes = rest(&mut stream).await;
        let (answer, more) = first_answer(&bytes, method);
        assert!(more.is_empty(), "{} bytes after the answer", more.len());
        answer
    }

    /// Sends `bytes` as they are and returns all that comes until the server closes.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect().await;
        // The server may close before it has read everything.
        let _ = stream.write_all(bytes).await;
        rest(&mut stream).await
    }
}

/// Everything until the end; a reset is an end, too.
pub(crate) async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    let _ = read.expect("the server should have closed the connection");
    bytes
}

/// One answer of a connection that stays open.
pub(crate) async fn next(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut chunk)).await.expect("an answer").unwrap();
        assert_ne!(read, 0, "closed after {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&chunk[..read]);
        if let Some((answer, more)) = parse(&bytes, "GET") {
            assert!(more.is_empty());
            return answer;
        }
    }
}

/// The first answer in `bytes`, and what follows it.
pub(crate) fn first_answer<'a>(bytes: &'a [u8], method: &str) -> (Answer, &'a [u8]) {
    parse(bytes, method).unwrap_or_else(|| panic!("no whole answer: {:?}", String::from_utf8_lossy(bytes)))
}

pub(crate) fn parse<'a>(bytes: &'a [u8], method: &str) -> Option<(Answer, &'a [u8])> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status: u16 = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: BTreeMap<String, String> = lines
        .map(|line| line.split_once(": ").unwrap_or((line.trim_end_matches(':'), "")))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    assert!(!headers.contains_key("transfer-encoding"), "every length is known");
    let length: usize = match (status, method) {
        (304, _) | (_, "HEAD") => 0,
        _ => headers["content-length"].parse().unwrap(),
    };
    let body = bytes.get(end + 4..end + 4 + length)?;
    Some((Answer { status, headers, body: body.to_vec() }, &bytes[end + 4 + length..]))
}

/// Waits, without guessing how long, until `holds`.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}
