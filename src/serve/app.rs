//! What all routes share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Published;
use super::cache::Cache;
use super::metrics::Metrics;
use super::reply::Refusal;
use crate::model::health::stale_after;
use crate::model::snapshot::Snapshot;
use crate::model::time::Monotonic;

/// The published values and what is kept beside them.
#[derive(Debug)]
pub(super) struct App {
    pub(super) published: Published,
    /// When serving began.
    started: Monotonic,
    /// Ready once is ready for good.
    ready: AtomicBool,
    /// Documents of the last sweep.
    pub(super) documents: Cache,
    /// Documents of the newest map.
    pub(super) maps: Cache,
    pub(super) metrics: Metrics,
}

impl App {
    pub(super) fn new(published: Published) -> Self {
        let metrics = Metrics::new(&published);
        let started = (published.clock)().monotonic;
        let (documents, maps, ready) = Default::default();
        Self { published, started, ready, documents, maps, metrics }
    }

    pub(super) fn now(&self) -> Monotonic {
        (self.published.clock)().monotonic
    }

    /// The last snapshot, if it may still be shown.
    ///
    /// # Errors
    /// 503: there is none yet, or it is so old that it would pass off the past as the present.
    pub(super) fn fresh(&self) -> Result<Arc<Snapshot>, Refusal> {
        let Some(snapshot) = self.published.snapshot.borrow().clone() else {
            return Err(Refusal::unavailable("not ready: the first sweep is not done yet"));
        };
        let age = self.now().since(end_of(&snapshot)).unwrap_or_default();
        if age > stale_after(self.published.interval) {
            return Err(Refusal::unavailable(format!(
                "stale: the last sweep, number {}, ended {:.1} s ago; the log says which read it waits for",
                snapshot.tick,
                age.as_secs_f64()
            )));
        }
        Ok(snapshot)
    }

    /// Time since the last sweep ended, or since we wait for the first.
    pub(super) fn since_sweep(&self) -> Duration {
        let shown = self.published.snapshot.borrow().as_deref().map(end_of);
        let last = shown.max(self.published.health.last_sweep_at()).unwrap_or(self.started);
        self.now().since(last).unwrap_or_default()
    }

    /// How long the resolver has been at what it does.
    pub(super) fn resolving_for(&self) -> Duration {
        self.published.health.resolving_for(self.now())
    }

    /// Whether one source of names is complete, if any was asked for.
    pub(super) fn is_identified(&self) -> bool {
        self.was_ready() || self.published.health.identity_complete.load(Ordering::Relaxed)
    }

    /// Whether there are rates: two sweeps.
    pub(super) fn has_swept(&self) -> bool {
        self.was_ready() || self.published.health.sweeps.load(Ordering::Relaxed) >= 2
    }

    /// Latches: a pod that was ready and loses a source of names still has figures to give.
    pub(super) fn is_ready(&self) -> bool {
        let ready = self.is_identified() && self.has_swept();
        if ready {
            self.ready.store(true, Ordering::Relaxed);
        }
        ready
    }

    fn was_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }
}

fn end_of(snapshot: &Snapshot) -> Monotonic {
    snapshot.clock.monotonic.plus(snapshot.sweep)
}
