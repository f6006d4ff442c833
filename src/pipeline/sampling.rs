//! The sampler's thread: sweep, rates, snapshot, at a fixed phase.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use tokio::sync::watch;

use crate::aggregate::Aggregator;
use crate::history::Recorder;
use crate::host::clock;
use crate::model::health::Health;
use crate::model::snapshot::Beside;
use crate::model::snapshot::Rates;
use crate::model::snapshot::Snapshot;
use crate::model::sweep::Sweep;
use crate::model::target::TargetSet;
use crate::model::time::Monotonic;
use crate::rate;
use crate::sample::Sampler;

use super::asking::Known;
use super::resolving::Mailbox;

/// What the sampler's thread is told.
pub(super) enum Order {
    Retarget(Arc<TargetSet>),
    Stop,
}

/// The sampler's thread.
pub(super) struct Sampling {
    pub(super) sampler: Sampler,
    pub(super) aggregator: Aggregator,
    pub(super) orders: std_mpsc::Receiver<Order>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    pub(super) interval: Duration,
    pub(super) health: Arc<Health>,
    pub(super) recorder: Recorder,
    pub(super) file_systems: Known,
}

impl Sampling {
    pub(super) fn run(mut self) {
        let (mut earlier, mut later) = (Sweep::default(), Sweep::default());
        let (mut index, mut rates) = (rate::Index::default(), Rates::default());
        let start = clock::monotonic();
        let (mut tick, mut slot) = (0_u64, 0_u64);
        loop {
            let interval = u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX);
            let due = start.plus(Duration::from_nanos(interval.saturating_mul(slot)));
            if !self.wait_until(due, tick == 0, &mut earlier) {
                return;
            }
            tick += 1;
            let cpu = clock::thread_cpu_nanos();
            self.sampler.sweep(tick, &mut later);
            self.health.sweep_cpu_nanos.fetch_add(clock::thread_cpu_nanos() - cpu, Ordering::Relaxed);
            rate::rates(&earlier, &later, &mut index, &mut rates);
            let file_systems = self.file_systems.borrow().clone();
            let beside = Beside { device_names: self.sampler.device_names(), file_systems };
            let snapshot = self.aggregator.fold(&later, &rates, beside);
            // Before it is shown, so that who sees a sweep finds it in the history too. It is read already.
            self.recorder.record(self.snapshots.borrow().as_deref(), &snapshot);
            self.report(&later);
            self.snapshots.send_replace(Some(Arc::new(snapshot)));
            std::mem::swap(&mut earlier, &mut later);
            slot = self.next_slot(start, slot);
        }
    }

    /// Waits for the sweep to be due, taking over new targets meanwhile. `false`: stop.
    fn wait_until(&mut self, due: Monotonic, first: bool, base: &mut Sweep) -> bool {
        let mut waiting_for_first = first;
        loop {
            let left = due.since(clock::monotonic()).unwrap_or_default();
            // A sweep before the first targets would show a node without pods. They take milliseconds, but
            // not on a node whose cores are all taken.
            let order = if waiting_for_first {
                self.orders.recv().map_err(|_| std_mpsc::RecvTimeoutError::Disconnected)
            } else {
                self.orders.recv_timeout(left)
            };
            match order {
                Ok(Order::Retarget(targets)) => {
                    // Many pods starting at once must not put the sweep off: only the newest counts.
                    let Some(targets) = self.newest(targets) else { return false };
                    self.sampler.retarget(targets, base);
                    waiting_for_first = false;
                    if clock::monotonic() >= due {
                        return true;
                    }
                }
                Ok(Order::Stop) | Err(std_mpsc::RecvTimeoutError::Disconnected) => return false,
                Err(std_mpsc::RecvTimeoutError::Timeout) => return true,
            }
        }
    }

    /// The last of the targets that wait in the queue. `None`: stop.
    fn newest(&self, mut targets: Arc<TargetSet>) -> Option<Arc<TargetSet>> {
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Retarget(newer) => targets = newer,
                Order::Stop => return None,
            }
        }
        Some(targets)
    }

    /// Publishes what is to be known of the sweep itself, and tells the resolver what is gone.
    fn report(&self, sweep: &Sweep) {
        let nanos = u64::try_from(sweep.duration().as_nanos()).unwrap_or(u64::MAX);
        self.health.last_sweep_nanos.store(nanos, Ordering::Relaxed);
        self.health.sweeps.fetch_add(1, Ordering::Relaxed);
        self.health.last_sweep_at.store(sweep.finished.as_nanos(), Ordering::Release);
        let (lost, rewired) = (self.sampler.lost(), self.sampler.rewired());
        if !lost.is_empty() || !rewired.is_empty() {
            self.mailbox.post(|inbox| {
                inbox.lost.extend_from_slice(lost);
                inbox.rewired.extend_from_slice(rewired);
            });
        }
    }

    /// The next sweep keeps the phase of the first; those that were missed are counted, not made up.
    fn next_slot(&self, start: Monotonic, slot: u64) -> u64 {
        let since = clock::monotonic().since(start).unwrap_or_default();
        let passed = u64::try_from(since.as_nanos() / self.interval.as_nanos().max(1)).unwrap_or(u64::MAX);
        let missed = passed.saturating_sub(slot);
        if missed > 0 {
            self.health.missed_ticks.fetch_add(missed, Ordering::Relaxed);
        }
        slot + missed + 1
    }
}
