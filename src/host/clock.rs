//! The kernel's clocks. Every instant in this program comes from here.

use rustix::time::{ClockId, clock_gettime};

use crate::model::time::{ClockPair, Monotonic, WallTime};

/// `CLOCK_MONOTONIC` now.
pub fn monotonic() -> Monotonic {
    Monotonic::from_nanos(nanos(ClockId::Monotonic))
}

/// Both clocks now.
pub fn pair() -> ClockPair {
    let wall = WallTime::from_unix_nanos(nanos(ClockId::Realtime));
    ClockPair { monotonic: monotonic(), wall }
}

/// CPU time this thread has used, in nanoseconds.
pub fn thread_cpu_nanos() -> u64 {
    nanos(ClockId::ThreadCPUTime)
}

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}
