//! The kernel's clocks. Every instant in this program comes from here.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::model::time::{ClockPair, Monotonic, WallTime};

/// `CLOCK_MONOTONIC` now.
pub fn monotonic() -> Monotonic {
    Monotonic::from_nanos(nanos(ClockId::Monotonic))
}

/// Time since the node was started, in which the kernel counts when a process was (`CLOCK_BOOTTIME`): unlike the
/// monotonic clock it goes on while the machine sleeps.
pub fn since_boot() -> Duration {
    Duration::from_nanos(nanos(ClockId::Boottime))
}

/// Both clocks now.
///
/// They are read one after the other, and on a busy machine another thread may have the processor for
/// tens of milliseconds in between: every stamp of a sweep would be off by that much. So the one is
/// read between two readings of the other, and again if those are far apart.
pub fn pair() -> ClockPair {
    closest(|| (monotonic(), WallTime::from_unix_nanos(nanos(ClockId::Realtime)), monotonic()))
}

/// Two readings of the same clock that are no further apart have had nothing between them.
const UNDISTURBED: Duration = Duration::from_micros(20);
const TRIES: usize = 8;

/// The pair whose clocks were read closest to each other.
fn closest(mut read: impl FnMut() -> (Monotonic, WallTime, Monotonic)) -> ClockPair {
    let mut best: Option<(Duration, ClockPair)> = None;
    for _ in 0..TRIES {
        let (before, wall, after) = read();
        let apart = after.since(before).unwrap_or(Duration::MAX);
        if best.is_none_or(|(least, _)| apart < least) {
            best = Some((apart, ClockPair { monotonic: before.plus(apart / 2), wall }));
        }
        if apart <= UNDISTURBED {
            break;
        }
    }
    best.map_or_else(ClockPair::default, |(_, pair)| pair)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Readings of both clocks, in microseconds: before, in between, after.
    fn told(readings: &[(u64, u64, u64)]) -> (u64, u64, usize) {
        let mut left = readings.iter().copied();
        let pair = closest(|| {
            let (before, wall, after) = left.next().unwrap_or((0, 0, 1_000_000));
            (
                Monotonic::from_nanos(before * 1_000),
                WallTime::from_unix_nanos(wall * 1_000),
                Monotonic::from_nanos(after * 1_000),
            )
        });
        (pair.monotonic.as_nanos() / 1_000, pair.wall.as_unix_nanos() / 1_000, left.len())
    }

    #[test]
    fn clocks_that_were_read_together_are_read_once() {
        assert_eq!(told(&[(100, 5_000, 102), (900, 5_800, 901)]), (101, 5_000, 1));
    }

    #[test]
    fn what_came_in_between_is_left_out() {
        assert_eq!(told(&[(100, 60_000, 56_102), (60_000, 64_901, 60_002)]), (60_001, 64_901, 0));
        // Never undisturbed: the least disturbed.
        let busy = [(0, 10, 900), (1_000, 1_100, 1_300), (2_000, 2_010, 2_500)];
        assert_eq!(told(&busy), (1_150, 1_100, 0));
    }

    #[test]
    fn a_pair_lies_between_what_the_clocks_say_around_it() {
        let (before, wall) = (monotonic(), nanos(ClockId::Realtime));
        let pair = pair();
        assert!(before <= pair.monotonic && pair.monotonic <= monotonic());
        assert!(wall <= pair.wall.as_unix_nanos());
    }
}
