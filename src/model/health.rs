//! What podvitals counts of itself. Written by every room, read by `serve` for `/metrics` and the
//! health routes. Atomics only: nobody waits for anybody.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::identity::{SOURCES, Source};
use super::time::Monotonic;

/// Rooms that can fail, as they are labelled in `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Room {
    /// Kernel files.
    Host,
    /// The container runtime.
    Runtime,
    /// The API server and the kubelet.
    Kubernetes,
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
pub const ROOMS: [(Room, &str); 5] = [
    (Room::Host, "host"),
    (Room::Runtime, "runtime"),
    (Room::Kubernetes, "kubernetes"),
    (Room::Resolve, "resolve"),
    (Room::Serve, "serve"),
];

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

/// Why a source of names did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// No connection, or one that broke.
    Unreachable,
    /// A deadline passed.
    Timeout,
    /// 401: the token or the certificate is not accepted.
    Unauthorized,
    /// 403: a right is missing.
    Forbidden,
    /// 429.
    Throttled,
    /// 410: what we had is too old to go on from. Expected after an outage.
    Expired,
    /// Any other status.
    ServerError,
    /// An answer we could not read.
    Malformed,
}

/// All refusals, in label order.
pub const REFUSALS: [(Refusal, &str); 8] = [
    (Refusal::Unreachable, "unreachable"),
    (Refusal::Timeout, "timeout"),
    (Refusal::Unauthorized, "unauthorized"),
    (Refusal::Forbidden, "forbidden"),
    (Refusal::Throttled, "throttled"),
    (Refusal::Expired, "expired"),
    (Refusal::ServerError, "server_error"),
    (Refusal::Malformed, "malformed"),
];

/// One source of names, as it is now.
#[derive(Debug, Default)]
pub struct SourceHealth {
    /// It was asked for, so it is shown.
    pub configured: AtomicBool,
    /// Its last answer is good.
    pub up: AtomicBool,
    /// `CLOCK_MONOTONIC` nanoseconds since when what it told may be out of date; 0 while it is not.
    pub stale_since: AtomicU64,
    refusals: [AtomicU64; REFUSALS.len()],
}

impl SourceHealth {
    /// Its answer is good and complete.
    pub fn answered(&self) {
        self.up.store(true, Ordering::Relaxed);
        self.stale_since.store(0, Ordering::Relaxed);
    }

    /// It did not answer. What it told may be out of date since `now`, or since an earlier failure.
    pub fn refused(&self, why: Refusal, now: Monotonic) {
        self.refusals[why as usize].fetch_add(1, Ordering::Relaxed);
        // An answer that expired is asked for anew at once: nothing is missing yet.
        if why != Refusal::Expired {
            self.lost(now);
        }
    }

    /// From `now` on nothing is heard of it.
    pub fn lost(&self, now: Monotonic) {
        self.up.store(false, Ordering::Relaxed);
        let since = now.as_nanos().max(1);
        let _ = self.stale_since.compare_exchange(0, since, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// How long what it told may have been out of date; zero while it is not.
    pub fn stale(&self, now: Monotonic) -> Duration {
        match self.stale_since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => now.since(Monotonic::from_nanos(since)).unwrap_or_default(),
        }
    }

    /// Failures of this kind so far.
    pub fn refusals(&self, why: Refusal) -> u64 {
        self.refusals[why as usize].load(Ordering::Relaxed)
    }
}

/// What access control decided about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decision {
    /// Let in.
    Allowed,
    /// 403: known, without the right.
    Denied,
    /// 429: more new tokens, or paths, than the API server is asked about.
    Throttled,
    /// 401: no token, or one nobody vouches for.
    Unauthenticated,
    /// 503: the API server could not be asked, and nothing is remembered.
    Unavailable,
}

/// All decisions, in label order.
pub const DECISIONS: [(Decision, &str); 5] = [
    (Decision::Allowed, "allowed"),
    (Decision::Denied, "denied"),
    (Decision::Throttled, "throttled"),
    (Decision::Unauthenticated, "unauthenticated"),
    (Decision::Unavailable, "unavailable"),
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
    /// `CLOCK_MONOTONIC` nanoseconds at which the resolver woke; 0 while it waits for something to do.
    resolving_since: AtomicU64,
    /// `CLOCK_MONOTONIC` nanoseconds at which file systems began to be asked; 0 while none is.
    asking_since: AtomicU64,
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
    sources: [SourceHealth; SOURCES.len()],
    /// Contradictions between sources, in the present list of pods.
    pub disagreements: AtomicU64,
    /// The API server lists pods for our node name, and none of them is here, though pods are.
    pub node_name_mismatch: AtomicBool,
    /// Lists of pods asked of the API server.
    pub api_lists: AtomicU64,
    /// Watches begun.
    pub api_watches: AtomicU64,
    /// TokenReviews and SubjectAccessReviews.
    pub api_reviews: AtomicU64,
    decisions: [AtomicU64; DECISIONS.len()],
    /// When the serving certificate ends, in seconds since 1970; 0 without one.
    pub certificate_expiry: AtomicU64,
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

    /// One source of names.
    pub fn source(&self, source: Source) -> &SourceHealth {
        &self.sources[source as usize]
    }

    /// Counts what access control decided.
    pub fn decided(&self, decision: Decision) {
        self.decisions[decision as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Decisions of this kind so far.
    pub fn decisions(&self, decision: Decision) -> u64 {
        self.decisions[decision as usize].load(Ordering::Relaxed)
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

    /// The resolver has something to do.
    pub fn begin_resolving(&self, now: Monotonic) {
        self.resolving_since.store(now.as_nanos(), Ordering::Release);
    }

    /// The resolver waits again.
    pub fn end_resolving(&self) {
        self.resolving_since.store(0, Ordering::Release);
    }

    /// How long the resolver has been at what it does; zero while it waits.
    pub fn resolving_for(&self, now: Monotonic) -> Duration {
        duration_since(&self.resolving_since, now)
    }

    /// The node's file systems are about to be asked.
    pub fn begin_asking(&self, now: Monotonic) {
        self.asking_since.store(now.as_nanos(), Ordering::Release);
    }

    /// All of them have answered.
    pub fn end_asking(&self) {
        self.asking_since.store(0, Ordering::Release);
    }

    /// How long one of them has not answered; zero while none is asked.
    pub fn asking_for(&self, now: Monotonic) -> Duration {
        duration_since(&self.asking_since, now)
    }
}

/// Of an instant that is 0 while nothing is under way.
fn duration_since(instant: &AtomicU64, now: Monotonic) -> Duration {
    match instant.load(Ordering::Acquire) {
        0 => Duration::ZERO,
        since => now.since(Monotonic::from_nanos(since)).unwrap_or_default(),
    }
}

/// Without a sweep for this long, data routes answer 503: max(10 intervals, 5 s).
pub fn stale_after(interval: Duration) -> Duration {
    (interval * 10).max(Duration::from_secs(5))
}

/// Without a sweep for this long, or with the resolver at one thing for as long, `/livez` fails, so that the
/// kubelet restarts us.
pub const DEAD_AFTER: Duration = Duration::from_secs(30);
