//! What is known of each listed thing beyond the list, and what has to be asked (pure but for the clock
//! it is handed).

use std::collections::HashMap;
use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

/// A question that was answered with an error is asked again after this.
pub(super) const AFTER_ERROR: Duration = Duration::from_secs(2);

/// A question that was not answered in time, or whose answer lacked something, is asked again after this:
/// a shim that hangs must not hold up each round.
pub(super) const AFTER_SILENCE: Duration = Duration::from_secs(30);

/// Details by id. Each is asked for once for each state the thing is in.
#[derive(Debug)]
pub(super) struct Details<T>(HashMap<String, Asked<T>>);

#[derive(Debug)]
struct Asked<T> {
    state: i32,
    detail: Option<T>,
    again: Option<Instant>,
}

impl<T> Default for Details<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> Details<T> {
    /// Whether to ask about the thing now.
    pub(super) fn is_due(&self, id: &str, state: i32, now: Instant) -> bool {
        match self.0.get(id) {
            Some(asked) => asked.state != state || asked.again.is_some_and(|again| again <= now),
            None => true,
        }
    }

    /// What is known of it.
    pub(super) fn get(&self, id: &str) -> Option<&T> {
        self.0.get(id).and_then(|asked| asked.detail.as_ref())
    }

    /// Whether what is known of it was told while it was in this state.
    pub(super) fn is_answered(&self, id: &str, state: i32) -> bool {
        self.0.get(id).is_some_and(|asked| asked.state == state && asked.detail.is_some())
    }

    /// Keeps an answer; it is asked for again `again`, if ever.
    pub(super) fn answered(&mut self, id: String, state: i32, detail: T, again: Option<Instant>) {
        self.0.insert(id, Asked { state, detail: Some(detail), again });
    }

    /// There was no answer: what was known stays.
    pub(super) fn failed(&mut self, id: String, state: i32, again: Instant) {
        let detail = self.0.remove(&id).and_then(|asked| asked.detail);
        self.0.insert(id, Asked { state, detail, again: Some(again) });
    }

    /// What is known of the thing may be out of date: it stays until it is asked for again, at once.
    pub(super) fn expire(&mut self, id: &str, now: Instant) {
        if let Some(asked) = self.0.get_mut(id) {
            asked.again = Some(now);
        }
    }

    /// The same of all.
    pub(super) fn expire_all(&mut self, now: Instant) {
        self.0.values_mut().for_each(|asked| asked.again = Some(now));
    }

    /// Forgets all but `ids`.
    pub(super) fn keep<'a>(&mut self, ids: impl Iterator<Item = &'a str>) {
        let listed: HashSet<&str> = ids.collect();
        self.0.retain(|id, _| listed.contains(id.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_is_asked_about_once() {
        let (mut details, now) = (Details::default(), Instant::now());
        assert!(details.is_due("a", 0, now));
        details.answered("a".into(), 0, "created", None);
        assert!(!details.is_due("a", 0, now + Duration::from_secs(3600)));
        assert!(details.is_due("a", 1, now));
        details.answered("a".into(), 1, "running", None);
        assert_eq!(details.get("a"), Some(&"running"));
    }

    #[test]
    fn what_was_known_stays_when_a_question_fails_and_it_is_asked_again_later() {
        let (mut details, now) = (Details::default(), Instant::now());
        details.answered("a".into(), 0, "created", None);
        details.failed("a".into(), 1, now + AFTER_SILENCE);
        assert_eq!(details.get("a"), Some(&"created"));
        assert!(!details.is_due("a", 1, now));
        assert!(details.is_due("a", 1, now + AFTER_SILENCE));
    }

    #[test]
    fn what_is_out_of_date_stays_until_it_is_asked_for_again() {
        let (mut details, now) = (Details::default(), Instant::now());
        for id in ["a", "b"] {
            details.answered(id.into(), 0, 4242, None);
        }
        details.expire("a", now);
        details.expire("nobody", now);
        assert_eq!(["a", "b", "nobody"].map(|id| details.is_due(id, 0, now)), [true, false, true]);
        assert_eq!((details.get("a"), details.get("nobody")), (Some(&4242), None));
        details.answered("a".into(), 0, 4343, None);
        assert!(!details.is_due("a", 0, now));
        details.expire_all(now);
        assert!(details.is_due("a", 0, now) && details.is_due("b", 0, now));
    }

    #[test]
    fn what_is_no_longer_listed_is_forgotten() {
        let mut details = Details::default();
        details.answered("a".into(), 0, 1, None);
        details.answered("b".into(), 0, 2, None);
        details.keep(["b"].into_iter());
        assert_eq!((details.get("a"), details.get("b")), (None, Some(&2)));
    }
}
