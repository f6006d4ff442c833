//! Independent sources: the other end of the veth, the pod's own files, `/proc/<pid>/schedstat`.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use podvitals::host::clock;
use podvitals::model::document::Traffic;

/// The eight counters of a `/proc/<pid>/net/dev` line: received bytes, packets, errors, drops, then sent.
pub(crate) type Counters = [u64; 8];

/// The line of `interface` in the netns of `pid`, read by the plainest of means.
pub(crate) fn net_dev(pid: u32, interface: &str) -> Counters {
    let text = fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap();
    let prefix = format!("{interface}:");
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(&prefix)).unwrap();
    let fields: Vec<u64> = line.split_whitespace().map(|field| field.parse().unwrap()).collect();
    [fields[0], fields[1], fields[2], fields[3], fields[8], fields[9], fields[10], fields[11]]
}

/// The same counters as a document tells them.
pub(crate) fn counters(told: &Traffic) -> Counters {
    [
        told.rx_bytes,
        told.rx_packets,
        told.rx_errors.unwrap(),
        told.rx_dropped.unwrap(),
        told.tx_bytes,
        told.tx_packets,
        told.tx_errors.unwrap(),
        told.tx_dropped.unwrap(),
    ]
}

/// Received bytes and packets, sent bytes and packets of a link of the host, as its `/sys` has them.
pub(crate) fn host_link(name: &str) -> [u64; 4] {
    ["rx_bytes", "rx_packets", "tx_bytes", "tx_packets"]
        .map(|file| number(format!("/sys/class/net/{name}/statistics/{file}")))
}

/// A file with one number.
pub(crate) fn number(path: impl AsRef<Path>) -> u64 {
    let path = path.as_ref();
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.trim().parse().unwrap()
}

/// The value behind a key of a file of `key value` lines.
pub(crate) fn keyed(path: impl AsRef<Path>, key: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {key}")).trim().parse().unwrap()
}

/// Nanoseconds that a read and its stamp may take.
const AT_ONCE: u64 = 300_000;

/// Nanoseconds between two samples of a recorder that did not have to wait.
const CLOSE: u64 = 3_000_000;

/// CPU time of a process and the instant at which it was read, over and over.
pub(crate) struct Schedstat {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<(u64, u64)>>,
}

/// What was recorded: (wall clock, CPU time), both in nanoseconds.
pub(crate) struct Recording(Vec<(u64, u64)>);

impl Schedstat {
    /// Reads `/proc/<pid>/schedstat` every millisecond until it is told to end.
    pub(crate) fn record(pid: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut samples = Vec::new();
            while !told.load(Ordering::Relaxed) {
                let before = clock::pair().wall.as_unix_nanos();
                let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
                let now = clock::pair().wall.as_unix_nanos();
                let used = text.split(' ').next().unwrap().parse().unwrap();
                // Between the two it may have had to wait for a processor: nobody knows when that was read.
                if now.saturating_sub(before) < AT_ONCE {
                    samples.push((now, used));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            samples
        });
        Self { stop, thread }
    }

    pub(crate) fn end(self) -> Recording {
        self.stop.store(true, Ordering::Relaxed);
        Recording(self.thread.join().unwrap())
    }
}

impl Recording {
    /// What was read just before and just after the instant, each with its own instant.
    pub(crate) fn around(&self, instant: u64) -> ((u64, u64), (u64, u64)) {
        let after = self.0.partition_point(|(at, _)| *at < instant);
        assert!(after > 0 && after < self.0.len(), "{instant} was not recorded");
        (self.0[after - 1], self.0[after])
    }

    /// By how much CPU time [`Self::at`] may be wrong: the line between two samples is as good as exact where they
    /// stand close together, and tells little where the recorder had to wait.
    pub(crate) fn doubt(&self, instant: u64) -> f64 {
        let ((t0, u0), (t1, u1)) = self.around(instant);
        if t1 - t0 > CLOSE { (u1 - u0) as f64 } else { 0.0 }
    }

    /// CPU time at the instant, on the line between the two samples around it.
    pub(crate) fn at(&self, instant: u64) -> f64 {
        let ((t0, u0), (t1, u1)) = self.around(instant);
        let part = (instant - t0) as f64 / (t1 - t0) as f64;
        u0 as f64 + part * (u1 - u0) as f64
    }
}
