//! Two clocks and the bridge between them.
//!
//! Windows are measured on `CLOCK_MONOTONIC`, which no operator can set; people are shown
//! `CLOCK_REALTIME`. Nothing is ever subtracted across the two.

use std::time::Duration;

/// An instant of `CLOCK_MONOTONIC`, in nanoseconds since an arbitrary start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(u64);

impl Monotonic {
    /// The instant this many nanoseconds after the clock's start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time passed since `earlier`; `None` if `earlier` is later.
    pub fn since(self, earlier: Self) -> Option<Duration> {
        self.0.checked_sub(earlier.0).map(Duration::from_nanos)
    }

    /// The instant `earlier` before, saturating at the start of the clock.
    pub fn before(self, earlier: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(earlier.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The instant `after` later, saturating at the end of the clock.
    pub fn plus(self, after: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// An instant of `CLOCK_REALTIME`, in nanoseconds since 1970-01-01T00:00:00Z. For display only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(u64);

impl WallTime {
    /// The instant this many nanoseconds after the epoch.
    pub const fn from_unix_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the epoch.
    pub const fn as_unix_nanos(self) -> u64 {
        self.0
    }
}

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockPair {
    /// `CLOCK_MONOTONIC`.
    pub monotonic: Monotonic,
    /// `CLOCK_REALTIME` at the same moment.
    pub wall: WallTime,
}

impl ClockPair {
    /// What the wall clock shows, or showed, at `instant`, if nobody set it in between.
    pub fn wall_of(&self, instant: Monotonic) -> WallTime {
        let (here, there) = (self.monotonic.as_nanos(), instant.as_nanos());
        let wall = self.wall.as_unix_nanos();
        WallTime(if there >= here {
            wall.saturating_add(there - here)
        } else {
            wall.saturating_sub(here - there)
        })
    }
}
