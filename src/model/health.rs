//! What podvitals counts of itself. Written by every room, read by `serve` for `/metrics` and the
//! health routes. Atomics only: nobody waits for anybody.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::time::Monotonic;

/// Rooms that can fail, as they are labelled in `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Room {
    /// Kernel files.
    Host,
    /// The container runtime.
    Runtime,
    /// Finding what belongs to whom.
    Resolve,
    /// Answering.
    Serve,
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trouble {
    /// ENOENT, ENODEV, ESRCH: it ended between two lines. Expected.
    Gone,
    /// A kernel file or an answer we could not read.
    Malformed,
    /// Any other error of a system call or a connection.
    Io,
    /// EACCES, EPERM.
    Denied,
    /// A deadline passed.
    Timeout,
    /// Two sources disagree.
    Disagreement,
    /// More than we list: interfaces, pods, containers.
    Truncated,
}

/// All rooms, in label order.
pub const ROOMS: [(Room, &str); 4] =
    [(Room::Host, "host"), (Room::Runtime, "runtime"), (Room::Resolve, "resolve"), (Room::Serve, "serve")];

/// All kinds of trouble, in label order.
pub const TROUBLES: [(Trouble, &str); 7] = [
    (Trouble::Gone, "gone"),
    (Trouble::Malformed, "malformed"),
    (Trouble::Io, "io"),
    (Trouble::Denied, "denied"),
    (Trouble::Timeout, "timeout"),
    (Trouble::Disagreement, "disagreement"),
    (Trouble::Truncated, "truncated"),
];

/// The counters and gauges themselves.
#[derive(Debug, Default)]
pub struct Health {
    troubles: [[AtomicU64; TROUBLES.len()]; ROOMS.len()],
    /// Sweeps finished.
    pub sweeps: AtomicU64,
    /// Sweeps that were due while another was still running.
    pub missed_ticks: AtomicU64,
    /// Nanoseconds of wall time of the last sweep.
    pub last_sweep_nanos: AtomicU64,
    /// Nanoseconds of CPU time of all sweeps.
    pub sweep_cpu_nanos: AtomicU64,
    /// `CLOCK_MONOTONIC` nanoseconds at the end of the last sweep; 0 before the first.
    pub last_sweep_at: AtomicU64,
    /// What the sampler is about to read: [`Self::begin_read`].
    reading: AtomicU64,
    /// Cgroups in the present targets.
    pub cgroup_targets: AtomicU64,
    /// Pods in the present targets.
    pub pod_targets: AtomicU64,
    /// Descriptors the sampler keeps open.
    pub cached_descriptors: AtomicU64,
    /// Whether cgroup changes come from inotify (else from a listing each sweep).
    pub inotify: AtomicBool,
    /// Times both ends of a pod's veth were compared.
    pub network_comparisons: AtomicU64,
    /// Of those, the ones in which they disagreed.
    pub network_mismatches: AtomicU64,
    /// At least one source of names is complete, or none was asked for.
    pub identity_complete: AtomicBool,
    /// Connections open now.
    pub connections: AtomicU64,
    /// Connections refused or cut to make room.
    pub connections_refused: AtomicU64,
}

impl Health {
    /// Counts one failure.
    pub fn count(&self, room: Room, trouble: Trouble) {
        self.troubles[room as usize][trouble as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Failures so far.
    pub fn counted(&self, room: Room, trouble: Trouble) -> u64 {
        self.troubles[room as usize][trouble as usize].load(Ordering::Relaxed)
    }

    /// The sampler is about to read file number `file` of target `target`; the watchdog names it if
    /// the sampler never comes back.
    pub fn begin_read(&self, target: u64, file: u8) {
        self.reading.store(target << 8 | u64::from(file), Ordering::Relaxed);
    }

    /// The last [`Self::begin_read`].
    pub fn being_read(&self) -> (u64, u8) {
        let reading = self.reading.load(Ordering::Relaxed);
        (reading >> 8, (reading & 0xff) as u8)
    }

    /// When the last sweep ended.
    pub fn last_sweep_at(&self) -> Option<Monotonic> {
        let nanos = self.last_sweep_at.load(Ordering::Acquire);
        (nanos != 0).then(|| Monotonic::from_nanos(nanos))
    }
}

/// Without a sweep for this long, data routes answer 503: max(10 intervals, 5 s).
pub fn stale_after(interval: Duration) -> Duration {
    (interval * 10).max(Duration::from_secs(5))
}

/// Without a sweep for this long, `/livez` fails, so that the kubelet restarts us.
pub const DEAD_AFTER: Duration = Duration::from_secs(30);
