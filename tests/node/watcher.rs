//! Somebody who looks at every sweep, as fast as they come, while a test does its worst.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use podvitals::host::clock;
use podvitals::model::document::PodList;

use crate::daemon::Daemon;

/// No sweep may be older than this when it is served, at an interval of a second or less.
const OLDEST: Duration = Duration::from_millis(1_500);

/// A watcher at work.
pub(crate) struct Watcher {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Seen>>,
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Sweeps with a number of their own.
    pub(crate) sweeps: u64,
    /// The greatest age of the latest sweep, at any moment.
    pub(crate) oldest: Duration,
}

impl Watcher {
    /// Looks until [`Self::end`]. Each sweep is handed to `check`, which panics if it is wrong.
    pub(crate) fn of(daemon: &Arc<Daemon>, mut check: impl FnMut(&PodList) + Send + 'static) -> Self {
        let (daemon, stop) = (daemon.clone(), Arc::new(AtomicBool::new(false)));
        let told = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut seen, mut tick) = (Seen::default(), 0);
            while !told.load(Ordering::Relaxed) {
                // Of what there is to be had: how long we take to read it is our own affair.
                let asked = clock::pair().wall.as_unix_nanos();
                let list = daemon.list();
                let age = asked.saturating_sub(list.time_unix_nano);
                seen.oldest = seen.oldest.max(Duration::from_nanos(age));
                if list.tick != tick {
                    assert!(list.tick > tick, "sweep {} after {tick}", list.tick);
                    tick = list.tick;
                    seen.sweeps += 1;
                    check(&list);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            seen
        });
        Self { stop, thread: Some(thread) }
    }

    /// Ends it. No sweep was too old, and each was right.
    pub(crate) fn end(mut self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.thread.take().unwrap().join().unwrap();
        assert!(seen.sweeps >= 2, "{seen:?}");
        assert!(seen.oldest <= OLDEST, "a sweep was served {:?} after it began", seen.oldest);
        seen
    }
}

impl Drop for Watcher {
    /// A test that panics must not leave its daemon in a thread's hands.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The value of that line of `/metrics`; 0 if there is none.
pub(crate) fn metric(daemon: &Daemon, name: &str) -> f64 {
    let text = daemon.get("/metrics").body;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().unwrap())
}

/// The lines of `/metrics` that begin so, by what follows.
pub(crate) fn series(daemon: &Daemon, begin: &str) -> BTreeMap<String, f64> {
    let text = daemon.get("/metrics").body;
    let lines = text.lines().filter_map(|line| line.strip_prefix(begin)?.rsplit_once(' '));
    lines.map(|(labels, value)| (labels.to_owned(), value.parse().unwrap())).collect()
}

/// Which of these lines have grown since `before`.
pub(crate) fn risen(daemon: &Daemon, begin: &str, before: &BTreeMap<String, f64>) -> Vec<String> {
    assert!(!before.is_empty(), "nothing begins with {begin}");
    let now = series(daemon, begin).into_iter();
    now.filter(|(labels, value)| *value > before[labels]).map(|(labels, _)| labels).collect()
}

/// How many lines of the daemon's log hold `words`.
pub(crate) fn logged(daemon: &Daemon, words: &str) -> usize {
    daemon.log().lines().filter(|line| line.contains(words)).count()
}
