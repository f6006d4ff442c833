//! An honest reader, who keeps coming while others do what they want, and what it sees.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;

use podvitals::host::clock;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::line::Line;
use crate::reader::Reader;

/// Between two requests on the kept connection.
const STEP: Duration = Duration::from_millis(15);
/// Between two looks at everything else.
const LOOK: Duration = Duration::from_millis(250);

/// On a thread and a runtime of its own: what is measured shall be the server's delay, not that of the
/// tasks which attack it.
pub(crate) struct Witness {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Testimony>,
}

/// What was seen.
#[derive(Default)]
pub(crate) struct Testimony {
    /// Times of requests on the kept connection.
    kept: Vec<Duration>,
    /// Of `/livez` over a new one, without a token; the handshake included.
    fresh: Vec<Duration>,
    /// The age of the oldest sweep that was served as the present one.
    oldest: Duration,
    /// The greatest `podvitals_since_sweep_seconds`.
    since_sweep: f64,
    /// New connections that were cut before they had asked.
    again: usize,
    descriptors: usize,
    resident_bytes: u64,
    /// Requests that failed, with the reason.
    failures: Vec<String>,
}

impl Witness {
    /// `reader` may read everything; `pid` is the server. Its connection has been of use when this returns:
    /// one that has not yet come to a request may have to make room.
    pub(crate) fn call(reader: Reader, pid: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let (first, begun) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(watch(&reader, pid, &told, &first))
        });
        begun.recv().unwrap();
        Self { stop, thread }
    }

    pub(crate) fn dismiss(self) -> Testimony {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

async fn watch(reader: &Reader, pid: u32, told: &AtomicBool, first: &Sender<()>) -> Testimony {
    let mut seen = Testimony::default();
    let mut line = reader.line().await.unwrap();
    seen.ask(&mut line).await.unwrap();
    first.send(()).unwrap();
    let mut look = Instant::now();
    while !told.load(Ordering::Relaxed) {
        if let Err(error) = seen.ask(&mut line).await {
            seen.failures.push(format!("{error:#}"));
            match reader.line().await {
                Ok(new) => line = new,
                Err(error) => seen.failures.push(format!("{error:#}")),
            }
        }
        if look.elapsed() >= LOOK {
            look = Instant::now();
            if let Err(error) = seen.look(reader, &mut line, pid).await {
                seen.failures.push(format!("{error:#}"));
            }
        }
        sleep(STEP).await;
    }
    seen
}

impl Testimony {
    async fn ask(&mut self, line: &mut Line) -> anyhow::Result<()> {
        let (took, answer) = line.timed("/api/v1/pods").await?;
        anyhow::ensure!(answer.status == 200, "{}", answer.head);
        self.kept.push(took);
        // The first in the document is the sweep's own.
        let (_, rest) = answer.body.split_once("\"timeUnixNano\":").unwrap();
        let digits = rest.trim_start().split(|c: char| !c.is_ascii_digit()).next().unwrap();
        let age = clock::pair().wall.as_unix_nanos().saturating_sub(digits.parse()?);
        self.oldest = self.oldest.max(Duration::from_nanos(age));
        Ok(())
    }

    async fn look(&mut self, reader: &Reader, line: &mut Line, pid: u32) -> anyhow::Result<()> {
        let metrics = line.get("/metrics").await?.body;
        let since = metrics.lines().find_map(|line| line.strip_prefix("podvitals_since_sweep_seconds "));
        self.since_sweep = self.since_sweep.max(since.unwrap().parse()?);
        // Those of what it samples come and go with the node's pods.
        let cached = metrics.lines().find_map(|line| line.strip_prefix("podvitals_cached_descriptors "));
        let others = descriptors(pid).saturating_sub(cached.unwrap().parse()?);
        self.descriptors = self.descriptors.max(others);
        self.resident_bytes = self.resident_bytes.max(resident_bytes(pid));
        let begun = Instant::now();
        for attempt in 1.. {
            match reader.try_get("/livez").await {
                Ok(answer) => {
                    anyhow::ensure!(answer.status == 200, "/livez: {}", answer.head);
                    break;
                }
                // A connection without a request may have to make room before it has come to one. The
                // kubelet acts upon the third failure of its probe.
                Err(error) if attempt >= 3 => return Err(error.context("/livez")),
                Err(_) => self.again += 1,
            }
        }
        self.fresh.push(begun.elapsed());
        Ok(())
    }

    /// Says what was seen, and fails unless it is what was promised. `most_descriptors` is what the
    /// server may have open besides the files it samples.
    pub(crate) fn hold(mut self, during: &str, most_descriptors: usize) {
        let [kept, fresh] = [&mut self.kept, &mut self.fresh].map(|times| p99(times));
        println!(
            "       {during}: {} requests, p99 {:.1} ms kept, {:.1} ms new; sweep age {:.3} s, since sweep {:.3} s; \
             {} cut and tried again; {} descriptors besides the sampled, {:.1} MiB",
            self.kept.len(),
            kept.as_secs_f64() * 1e3,
            fresh.as_secs_f64() * 1e3,
            self.oldest.as_secs_f64(),
            self.since_sweep,
            self.again,
            self.descriptors,
            self.resident_bytes as f64 / f64::from(1 << 20),
        );
        assert!(self.failures.is_empty(), "{during}: {:?}", self.failures);
        assert!(self.kept.len() >= 100 && self.fresh.len() >= 10, "{during}: too little was seen");
        assert!(kept <= Duration::from_millis(50), "{during}: p99 of an honest reader is {kept:?}");
        // A new connection is a handshake, half of which is this machine's own work; the kubelet waits two
        // seconds for its probe, which is such a connection.
        assert!(fresh <= Duration::from_secs(1), "{during}: /livez took {fresh:?}");
        assert!(self.oldest <= Duration::from_millis(1_500), "{during}: a sweep of {:?} ago", self.oldest);
        assert!(self.since_sweep <= 1.5, "{during}: {} s since the last sweep", self.since_sweep);
        assert!(self.descriptors <= most_descriptors, "{during}: {} descriptors", self.descriptors);
        assert!(self.resident_bytes <= 64 << 20, "{during}: {} bytes resident", self.resident_bytes);
    }
}

/// The time that 99 of 100 did not exceed.
fn p99(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len().saturating_sub(1) * 99 / 100).copied().unwrap_or(Duration::MAX)
}

/// Open files of a process.
fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// `VmRSS:    10240 kB`
fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}
