//! Whether the API server answers, and what the log was told of it.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::health::Refusal;

/// After a failure the API server is left alone this long.
pub(super) const BREATHER: Duration = Duration::from_secs(1);
/// One may be the token's own: some authenticators ask others.
const TIMEOUTS: u32 = 2;
/// Between two warnings of the same kind of review.
const QUIET: Duration = Duration::from_secs(10);

/// What reviews are about.
#[derive(Clone, Copy, Debug)]
pub(super) enum About {
    Token,
    Right,
}

/// The state.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// It is away, and is asked again then.
    ask_again: Option<Instant>,
    /// In a row.
    timeouts: u32,
    told: [Told; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct Told {
    failing: Option<Refusal>,
    at: Option<Instant>,
}

impl Outage {
    /// It is away, or may be.
    pub(super) fn is_likely(&self) -> bool {
        self.ask_again.is_some() || self.timeouts > 0
    }

    /// It failed a moment ago.
    pub(super) fn rests(&self, now: Instant) -> bool {
        self.ask_again.is_some_and(|then| now < then)
    }

    /// A review failed. Whether the log has not been told yet.
    ///
    /// Only a failure that is surely not the token's own, nor that of our rights, is one for all.
    pub(super) fn failed(&mut self, about: About, why: Refusal, now: Instant) -> bool {
        let timeouts = if why == Refusal::Timeout { self.timeouts.saturating_add(1) } else { 0 };
        let away = matches!(why, Refusal::Unreachable | Refusal::ServerError) || timeouts >= TIMEOUTS;
        self.timeouts = timeouts;
        self.ask_again = away.then(|| now + BREATHER);
        let told = &mut self.told[about as usize];
        let is_quiet = told.at.is_none_or(|at| now.saturating_duration_since(at) >= QUIET);
        let tell = told.failing != Some(why) && is_quiet;
        if tell {
            *told = Told { failing: Some(why), at: Some(now) };
        }
        tell
    }

    /// A review came to something. Whether the log was told that they do not.
    pub(super) fn answered(&mut self, about: About) -> bool {
        (self.ask_again, self.timeouts) = (None, 0);
        self.told[about as usize].failing.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_failure_is_for_all_only_if_it_is_the_servers() {
        for (why, first, second) in [
            (Refusal::Unreachable, true, true),
            (Refusal::ServerError, true, true),
            (Refusal::Timeout, false, true),
            (Refusal::Forbidden, false, false),
            (Refusal::Unauthorized, false, false),
            (Refusal::Throttled, false, false),
            (Refusal::Malformed, false, false),
        ] {
            let (mut outage, now) = (Outage::default(), Instant::now());
            outage.failed(About::Token, why, now);
            assert_eq!(outage.rests(now), first, "{why:?}");
            outage.failed(About::Right, why, now);
            assert_eq!(outage.rests(now), second, "{why:?}");
            assert!(!outage.rests(now + BREATHER));
            outage.answered(About::Token);
            assert!(!outage.is_likely());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_log_is_told_once_and_not_at_a_clients_pace() {
        let (mut outage, start) = (Outage::default(), Instant::now());
        assert!(!outage.answered(About::Token), "it was never away");
        assert!(outage.failed(About::Token, Refusal::Forbidden, start));
        assert!(!outage.failed(About::Token, Refusal::Forbidden, start + 20 * BREATHER), "it knows");
        assert!(!outage.answered(About::Right), "the other kind never failed");
        assert!(outage.answered(About::Token) && !outage.answered(About::Token));
        let later = start + 20 * BREATHER;
        assert!(outage.failed(About::Token, Refusal::Malformed, later));
        for _ in 0..100 {
            outage.answered(About::Token);
            assert!(!outage.failed(About::Token, Refusal::Malformed, later + 9 * BREATHER));
        }
        assert!(outage.failed(About::Token, Refusal::Malformed, later + 10 * BREATHER));
    }
}
