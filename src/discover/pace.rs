//! When to ask a source that has to be polled (pure).

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::hash::Hasher;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::health::Refusal;

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
        let longest = doubled(FIRST_BACKOFF, self.failures, LONGEST_BACKOFF);
        self.failures = self.failures.saturating_add(1);
        let half = longest / 2;
        let pause = half + up_to(half, chance);
        Pause { nudged: pause, at_most: pause }
    }
}

/// The first pause after the API server or the kubelet refused; doubled with each further one.
const FIRST_REFUSAL: Duration = Duration::from_millis(500);

/// The longest while it may come back at any moment.
///
/// # Why it is so short
///
/// Names are to be back within 5 s of its return, and a list may have to follow: 2.5 s at most until it is
/// asked again and [`RELIST`] until the list. One node's list is 240 KB from the server's cache; a server
/// that all nodes together are too much for answers 429, and is then left alone for as long as it says.
const LONGEST_OUTAGE: Duration = Duration::from_millis(2_500);

/// The longest while our token is not accepted: a new one may be on the disk at any moment.
const LONGEST_UNKNOWN: Duration = Duration::from_secs(4);

/// The longest while only somebody else can help: a right is missing, or the server throttles.
const LONGEST_REFUSAL: Duration = Duration::from_secs(10);

/// The longest of any kind just after nobody answered: a server that comes back does not accept a good
/// token, or misses a right, until its caches are filled, and has no hands free for us.
const LONGEST_RETURN: Duration = Duration::from_secs(2);

/// For so long after the last time nobody answered.
const RETURN: Duration = Duration::from_secs(30);

/// The nodes of a cluster hear together that they must list anew.
///
/// # Why two seconds
///
/// After a restart of the API server each node's watch is refused with 410 at once. Spread over 30 s the
/// lists would be gentler, but names are promised within 5 s of its return. Over 2 s a cluster of 1,000
/// nodes asks for 500 lists of 240 KB a second, all from the server's cache; what is too much for it, it
/// refuses with 429, and that is obeyed.
const RELIST: Duration = Duration::from_secs(2);

/// More than this is not waited, whatever a server says.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// A watch that has lived for so long works: what went wrong before it is forgotten.
const SETTLED: Duration = Duration::from_secs(5);

/// The least time from one watch to the next; doubled while they end early.
const FIRST_FLOOR: Duration = Duration::from_secs(1);

/// The most: something in between that ends each watch after seconds must not cost names more than that.
const LONGEST_FLOOR: Duration = Duration::from_secs(4);

/// A watch that ends sooner ended early: servers end them after minutes.
const EARLY: Duration = Duration::from_secs(30);

/// How long to leave a server alone that refused, or that ends what it began.
#[derive(Debug, Default)]
pub(super) struct Patience {
    refusals: u32,
    /// A 410 was answered with a list already.
    expired: bool,
    /// When nobody answered, the last time.
    away: Option<Instant>,
    /// Since when a watch is under way.
    watching: Option<Instant>,
    /// Watches in a row that ended early.
    early: u32,
}

impl Patience {
    /// All is well.
    pub(super) fn answered(&mut self) {
        *self = Self::default();
    }

    /// A watch has begun. That alone proves nothing.
    pub(super) fn begun(&mut self, now: Instant) {
        self.watching = Some(now);
    }

    /// The watch ended as watches do: how long to wait before the next.
    pub(super) fn ended(&mut self, now: Instant) -> Duration {
        let lived = self.settle(now);
        if lived >= EARLY {
            self.early = 0;
            return Duration::ZERO;
        }
        let floor = doubled(FIRST_FLOOR, self.early, LONGEST_FLOOR);
        self.early = self.early.saturating_add(1);
        floor.saturating_sub(lived)
    }

    /// It refused once more; `chance` is any number. The first 410 is no failure: a list is due.
    pub(super) fn refused(
        &mut self,
        why: Refusal,
        retry_after: Option<Duration>,
        chance: u64,
        now: Instant,
    ) -> Duration {
        self.settle(now);
        if matches!(why, Refusal::Unreachable | Refusal::Timeout) {
            self.away = Some(now);
        }
        if why == Refusal::Expired && !std::mem::replace(&mut self.expired, true) {
            return up_to(RELIST, chance);
        }
        let longest = match why {
            Refusal::Unauthorized => LONGEST_UNKNOWN,
            Refusal::Forbidden | Refusal::Throttled | Refusal::Expired => LONGEST_REFUSAL,
            Refusal::Unreachable | Refusal::Timeout | Refusal::ServerError | Refusal::Malformed => {
                LONGEST_OUTAGE
            }
        };
        let returns = self.away.is_some_and(|away| away < now && now - away < RETURN);
        let longest = if returns { longest.min(LONGEST_RETURN) } else { longest };
        // The count is of all kinds together: a server in trouble refuses in several ways, in turns.
        let pause = doubled(FIRST_REFUSAL, self.refusals, longest);
        self.refusals = self.refusals.saturating_add(1);
        let asked = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
        asked + pause / 2 + up_to(pause / 2, chance)
    }

    /// How long the watch lived that is over now. One that lived long enough ends the row of failures.
    fn settle(&mut self, now: Instant) -> Duration {
        let lived = self.watching.take().map_or(Duration::ZERO, |begun| now - begun);
        if lived >= SETTLED {
            (self.refusals, self.expired) = (0, false);
        }
        lived
    }
}

/// Pauses between questions to the kubelet, the least first: after each that named nothing new.
const KUBELET_LADDER: [Duration; 4] =
    [Duration::from_secs(5), Duration::from_secs(10), Duration::from_secs(20), Duration::from_secs(30)];

/// How long to leave alone who is asked only when somebody nudges.
#[derive(Debug, Default)]
pub(super) struct Nudged {
    fruitless: usize,
}

impl Nudged {
    /// After a good answer: the least time from that question to the next one.
    pub(super) fn answered(&mut self, news: bool) -> Duration {
        self.fruitless = if news { 0 } else { (self.fruitless + 1).min(KUBELET_LADDER.len() - 1) };
        KUBELET_LADDER[self.fruitless]
    }

    /// Nobody nudged for `quiet`: the next nudge is of something else.
    pub(super) fn rested(&mut self, quiet: Duration) {
        if quiet >= KUBELET_LADDER[KUBELET_LADDER.len() - 1] {
            self.fruitless = 0;
        }
    }
}

/// `first`, doubled `times`, and never above `longest`.
fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(longest)
}

/// From zero to `longest`, as `chance` has it.
pub(super) fn up_to(longest: Duration, chance: u64) -> Duration {
    let spread = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX).saturating_add(1);
    Duration::from_nanos(chance % spread)
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

    const ALL: [Refusal; 8] = [
        Refusal::Unreachable,
        Refusal::Timeout,
        Refusal::Unauthorized,
        Refusal::Forbidden,
        Refusal::Throttled,
        Refusal::Expired,
        Refusal::ServerError,
        Refusal::Malformed,
    ];

    #[test]
    fn a_server_that_is_away_is_asked_again_within_seconds_however_long_it_is_away() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        let mut longest = || patience.refused(Refusal::Timeout, None, 0, now) * 2;
        let pauses: Vec<_> = (0..5).map(|_| longest()).collect();
        assert_eq!(pauses, [500 * MS, 1_000 * MS, 2_000 * MS, 2_500 * MS, 2_500 * MS]);
        for chance in [1, u64::MAX / 3, u64::MAX] {
            let pause = patience.refused(Refusal::Unreachable, None, chance, now);
            assert!(pause >= 1_250 * MS && pause <= LONGEST_OUTAGE, "{pause:?}");
        }
    }

    #[test]
    fn names_are_back_within_five_seconds_whatever_a_server_says_while_it_comes_back() {
        for why in ALL {
            let (mut patience, begun) = (Patience::default(), Instant::now());
            for _ in 0..9 {
                patience.refused(Refusal::Unreachable, None, u64::MAX, begun);
            }
            for n in 1..40 {
                for chance in [0, 1, u64::MAX / 3, u64::MAX] {
                    // It is well again just after it was asked, and a list has to follow.
                    let pause = patience.refused(why, None, chance, begun + 700 * MS * n);
                    assert!(pause + RELIST < 5_000 * MS, "{why:?}: {pause:?}");
                }
            }
        }
        let (mut patience, begun) = (Patience::default(), Instant::now());
        for _ in 0..9 {
            patience.refused(Refusal::Unreachable, None, 0, begun);
        }
        assert_eq!(patience.refused(Refusal::Forbidden, None, 0, begun + RETURN), LONGEST_REFUSAL / 2);
    }

    #[test]
    fn the_first_410_is_answered_with_a_list_and_only_a_second_one_in_a_row_with_patience() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        assert_eq!(patience.refused(Refusal::Expired, None, 0, now), Duration::ZERO);
        assert!(patience.refused(Refusal::Expired, None, 0, now) > Duration::ZERO);
        patience.begun(now);
        assert_eq!(patience.refused(Refusal::Expired, None, 0, now + SETTLED), Duration::ZERO);
    }

    #[test]
    fn a_server_that_says_when_to_come_back_is_left_alone_until_then() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        let pause = patience.refused(Refusal::Throttled, Some(7_000 * MS), 0, now);
        assert_eq!(pause, 7_250 * MS);
        let pause = patience.refused(Refusal::Throttled, Some(Duration::MAX), 0, now);
        assert_eq!(pause, LONGEST_RETRY_AFTER + 500 * MS);
    }

    #[test]
    fn failures_of_different_kinds_in_turns_are_one_row_and_each_kind_has_its_longest_pause() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        let mut refused = |why| patience.refused(why, None, 0, now) * 2;
        let kinds = [Refusal::ServerError, Refusal::Malformed, Refusal::Forbidden, Refusal::ServerError];
        assert_eq!(kinds.map(&mut refused), [500 * MS, 1_000 * MS, 2_000 * MS, LONGEST_OUTAGE]);
        assert_eq!([Refusal::Forbidden; 2].map(&mut refused), [8_000 * MS, LONGEST_REFUSAL]);
        assert_eq!(refused(Refusal::ServerError), LONGEST_OUTAGE);
    }

    #[test]
    fn a_watch_ends_a_row_of_failures_only_if_it_lives_for_seconds() {
        let (mut patience, mut now) = (Patience::default(), Instant::now());
        let mut pauses = Vec::new();
        for lived in [0, 0, 4_999, 0, 5_000, 0] {
            patience.begun(now);
            now += lived * MS;
            pauses.push(patience.refused(Refusal::ServerError, None, 0, now) * 2);
        }
        assert_eq!(pauses, [500, 1_000, 2_000, 2_500, 500, 1_000].map(|ms| ms * MS));
    }

    #[test]
    fn watches_that_end_early_begin_ever_more_rarely_but_every_few_seconds() {
        let (mut patience, mut now) = (Patience::default(), Instant::now());
        let mut pauses = Vec::new();
        for lived in [0, 200, 500, 500, 20_000, 30_000, 0] {
            patience.begun(now);
            now += lived * MS;
            pauses.push(patience.ended(now));
        }
        assert_eq!(pauses, [1_000, 1_800, 3_500, 3_500, 0, 0, 1_000].map(|ms| ms * MS));
    }

    #[test]
    fn who_is_asked_on_demand_is_asked_ever_more_rarely_until_something_is_new() {
        let mut nudged = Nudged::default();
        let pauses = [true, false, false, false, false, true, false].map(|news| nudged.answered(news));
        assert_eq!(pauses, [5, 10, 20, 30, 30, 5, 10].map(|s| s * 1_000 * MS));
        nudged.rested(29_999 * MS);
        assert_eq!(nudged.answered(false), 20_000 * MS);
        nudged.rested(30_000 * MS);
        assert_eq!(nudged.answered(false), 10_000 * MS);
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
