//! When to ask a source that has to be polled (pure).

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::hash::Hasher;
use std::time::Duration;

/// Pauses after something changed, or somebody saw a cgroup without a name: the runtime lists a sandbox
/// only once its network is made, some 100 ms after its cgroup.
const LADDER: [Duration; 5] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// When nothing happens: a container may end or start without its cgroup changing.
const IDLE: Duration = Duration::from_secs(2);

/// The same while the source tells of every change by itself.
const IDLE_WITH_EVENTS: Duration = Duration::from_secs(10);

/// The first pause after a failure; doubled with each further one.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);

/// The longest pause after a failure.
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// How long to wait after one question before the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pause {
    /// From when on a nudge is a reason to ask.
    pub(super) nudged: Duration,
    /// When to ask without a reason.
    pub(super) at_most: Duration,
}

/// Where we are on the ladder, or in a row of failures.
#[derive(Debug, Default)]
pub(super) struct Pace {
    step: usize,
    failures: u32,
}

impl Pace {
    /// After a good answer: `news` if it differed from the one before, or was asked for with a nudge.
    pub(super) fn answered(&mut self, news: bool, has_events: bool) -> Pause {
        self.failures = 0;
        self.step = if news { 0 } else { (self.step + 1).min(LADDER.len()) };
        let idle = if has_events { IDLE_WITH_EVENTS } else { IDLE };
        Pause { nudged: LADDER[0], at_most: LADDER.get(self.step).copied().unwrap_or(idle) }
    }

    /// After a failure. A source that is down is not asked more often for every cgroup that appears, and
    /// the nodes of a cluster do not all ask at the same moments: `chance` is any number.
    pub(super) fn failed(&mut self, chance: u64) -> Pause {
        let longest = FIRST_BACKOFF.saturating_mul(1 << self.failures.min(16)).min(LONGEST_BACKOFF);
        self.failures = self.failures.saturating_add(1);
        let half = longest / 2;
        let spread = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).saturating_add(1);
        let pause = half + Duration::from_nanos(chance % spread);
        Pause { nudged: pause, at_most: pause }
    }
}

/// A number nobody can foresee: the standard library seeds its hash maps with one.
pub(super) fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn after_news_it_asks_ever_more_rarely_until_it_idles() {
        let mut pace = Pace::default();
        let mut pauses = vec![pace.answered(true, false).at_most];
        pauses.extend((0..6).map(|_| pace.answered(false, false).at_most));
        assert_eq!(pauses, [50 * MS, 100 * MS, 200 * MS, 500 * MS, 1_000 * MS, 2_000 * MS, 2_000 * MS]);
    }

    #[test]
    fn news_start_the_ladder_again() {
        let mut pace = Pace::default();
        for _ in 0..9 {
            pace.answered(false, false);
        }
        assert_eq!(pace.answered(true, false), Pause { nudged: 50 * MS, at_most: 50 * MS });
    }

    #[test]
    fn an_idle_source_is_asked_at_once_when_somebody_nudges_and_rarely_when_it_has_events() {
        let mut pace = Pace::default();
        for _ in 0..9 {
            pace.answered(false, true);
        }
        assert_eq!(pace.answered(false, true), Pause { nudged: 50 * MS, at_most: 10_000 * MS });
    }

    #[test]
    fn a_lost_source_is_asked_from_100_ms_to_5_s_apart_for_ever_and_nudges_do_not_matter() {
        let mut pace = Pace::default();
        let longest: Vec<_> = (0..8).map(|_| pace.failed(0).at_most * 2).collect();
        let expected: Vec<_> =
            [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000].into_iter().map(|ms| ms * MS).collect();
        assert_eq!(longest, expected);
        for chance in [0, 1, u64::MAX / 3, u64::MAX] {
            let pause = pace.failed(chance);
            assert!(pause.at_most >= 2_500 * MS && pause.at_most <= 5_000 * MS, "{pause:?}");
            assert_eq!(pause.nudged, pause.at_most);
        }
    }

    #[test]
    fn one_good_answer_forgets_all_failures() {
        let mut pace = Pace::default();
        for _ in 0..40 {
            pace.failed(0);
        }
        pace.answered(true, false);
        assert_eq!(pace.failed(0).at_most, 50 * MS);
    }
}
