//! How often a source is asked at most, whatever happens to it (pure).

use std::time::Duration;

use tokio::time::Instant;

/// So many questions may follow each other as closely as their pace has it: a pod that starts is several
/// events, and its names are wanted at once.
const AT_ONCE: u32 = 8;

/// One more for each of these. A list of a node with a thousand containers costs the runtime some 20 ms, and
/// whoever can have a container restarted can have it restarted all the time.
const EVERY: Duration = Duration::from_millis(300);

/// What is left of the questions.
#[derive(Debug)]
pub(super) struct Allowance {
    left: u32,
    since: Instant,
}

impl Allowance {
    /// All of it.
    pub(super) fn new(now: Instant) -> Self {
        Self { left: AT_ONCE, since: now }
    }

    /// Takes one question, asked `now`. Returns when the next may be asked.
    pub(super) fn take(&mut self, now: Instant) -> Instant {
        while self.left < AT_ONCE && now.saturating_duration_since(self.since) >= EVERY {
            self.left += 1;
            self.since += EVERY;
        }
        if self.left == AT_ONCE {
            self.since = now;
        }
        self.left = self.left.saturating_sub(1);
        if self.left > 0 { now } else { self.since + EVERY }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Questions in this time if each is asked as soon as may be, but not sooner than `gap` after the last.
    fn asked(allowance: &mut Allowance, from: Instant, time: Duration, gap: Duration) -> u32 {
        let (mut now, mut count) = (from, 0);
        while now - from < time {
            count += 1;
            now = allowance.take(now).max(now + gap);
        }
        count
    }

    #[test]
    fn a_burst_is_asked_at_its_own_pace_and_a_storm_a_few_times_a_second() {
        let (start, gap) = (Instant::now(), Duration::from_millis(50));
        let mut allowance = Allowance::new(start);
        let burst = asked(&mut allowance, start, Duration::from_millis(350), gap);
        assert_eq!(burst, 7, "nothing is held back");
        let later = start + Duration::from_millis(350);
        let storm = asked(&mut allowance, later, Duration::from_secs(60), gap);
        assert!((195..=205).contains(&storm), "{storm} questions a minute");
    }

    #[test]
    fn what_was_not_used_does_not_pile_up() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        let storm = |allowance: &mut Allowance, from| {
            asked(allowance, from, Duration::from_secs(3), Duration::from_millis(1))
        };
        let first = storm(&mut allowance, start);
        let second = storm(&mut allowance, start + Duration::from_secs(3600));
        assert!(first <= 19 && second <= 19, "{first} {second}");
        assert!(first >= 16 && second >= 16, "{first} {second}");
    }

    #[test]
    fn one_that_is_asked_rarely_never_waits() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        for number in 0..100 {
            let now = start + EVERY * number;
            assert_eq!(allowance.take(now), now);
        }
    }
}
