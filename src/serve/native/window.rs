//! `window` of a pod, and its series: the most of the last seconds, out of the frames and the sweep that is shown.
//!
//! Each frame is gone through once for all pods that are asked for, and of each only the pods' rows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::pods::NamedPod;
use super::{absent, finite};
use crate::model::document::{self, Reasons};
use crate::model::history::{CLOSEST, Frame, PodSample, Roster, Shelf};
use crate::model::identity::PodUid;
use crate::model::snapshot::Snapshot;
use crate::model::sweep::Reading;
use crate::model::time::Monotonic;
use crate::model::unavailable::Unavailable;

/// What `window` covers unless a length is asked for.
pub(in crate::serve) const DEFAULT: Duration = Duration::from_secs(30);

/// The windows of the pods of one document.
#[derive(Debug, Default)]
pub(in crate::serve) struct Windows<'a> {
    places: HashMap<&'a PodUid, usize>,
    seen: Vec<Seen>,
}

/// What one pod did.
#[derive(Debug, Default)]
struct Seen {
    samples: usize,
    from: Option<Monotonic>,
    to: Option<Monotonic>,
    cores: Vec<f64>,
    working_set: Option<u64>,
    rx: Option<f64>,
    tx: Option<f64>,
}

/// The frames of the last `length` before and with the snapshot. A frame stands for the time since the one
/// before it: one more would make the window longer than was asked for. The newest is always there.
pub(in crate::serve) fn frames(shelf: &Shelf, snapshot: &Snapshot, length: Duration) -> Vec<Arc<Frame>> {
    let half = snapshot.interval.max(CLOSEST) / 2;
    let now = snapshot.clock.monotonic;
    shelf.frames(snapshot.tick, |frame| {
        frame.tick == snapshot.tick
            || now.since(frame.clock.monotonic).is_none_or(|age| age.saturating_add(half) < length)
    })
}

impl<'a> Windows<'a> {
    /// The windows of `pods`, which are of the snapshot, over the last `length`; `None` where nothing is kept.
    pub(in crate::serve) fn of_last(
        shelf: &Shelf,
        snapshot: &Snapshot,
        length: Duration,
        pods: &[NamedPod<'a>],
    ) -> Option<Self> {
        (!shelf.is_off()).then(|| Self::over(&frames(shelf, snapshot, length), snapshot, pods))
    }

    /// The windows of `pods`, which are of the snapshot, over it and these frames.
    pub(in crate::serve) fn over(frames: &[Arc<Frame>], snapshot: &Snapshot, pods: &[NamedPod<'a>]) -> Self {
        let places: HashMap<&PodUid, usize> =
            pods.iter().enumerate().map(|(place, pod)| (&pod.target.runtime_uid, place)).collect();
        let with_room = || Seen { cores: Vec::with_capacity(frames.len() + 1), ..Seen::default() };
        let mut windows = Self { seen: pods.iter().map(|_| with_room()).collect(), places };
        let mut rows: (Option<&Arc<Roster>>, Vec<Option<usize>>) = (None, Vec::new());
        for frame in frames.iter().filter(|frame| frame.tick < snapshot.tick) {
            if rows.0.is_none_or(|roster| !Arc::ptr_eq(roster, &frame.roster)) {
                let place = |uid: &PodUid| windows.places.get(uid).copied();
                let roster = &frame.roster;
                rows = (Some(roster), roster.pods.iter().map(|row| place(&row.pod.runtime_uid)).collect());
            }
            for (row, place) in frame.pods().zip(&rows.1) {
                if let Some(seen) = place.and_then(|place| windows.seen.get_mut(place))
                    && let Some(sample) = row.pod()
                {
                    seen.add(&sample);
                }
            }
        }
        for (pod, seen) in pods.iter().zip(&mut windows.seen) {
            seen.add(&PodSample::of(pod.figures));
            seen.cores.sort_by(f64::total_cmp);
        }
        windows
    }

    /// The window of one of them. What is not in it has a reason.
    pub(in crate::serve) fn of(&self, pod: NamedPod<'_>, reasons: &mut Reasons) -> Option<document::Window> {
        let seen = self.seen.get(*self.places.get(&pod.target.runtime_uid)?)?;
        let Some(seconds) = seen.seconds() else {
            absent(reasons, &["window"], Unavailable::NotYet);
            return None;
        };
        let window = document::Window {
            seconds,
            cpu_cores_max: seen.cores.last().copied(),
            cpu_cores_p95: seen.p95(),
            memory_working_set_max_bytes: seen.working_set,
            rx_bytes_per_second_max: seen.rx,
            tx_bytes_per_second_max: seen.tx,
        };
        let cgroup = &pod.figures.cgroup;
        if window.cpu_cores_max.is_none() {
            absent(reasons, &["window.cpuCoresMax", "window.cpuCoresP95"], why(&cgroup.cpu));
        }
        if window.memory_working_set_max_bytes.is_none() {
            // Memory that is there without its parts: this kernel, or this cgroup, does not tell them apart.
            let why = cgroup.memory.as_ref().err().copied().unwrap_or(Unavailable::ControllerOff);
            absent(reasons, &["window.memoryWorkingSetMaxBytes"], why);
        }
        if window.rx_bytes_per_second_max.is_none() {
            let paths = ["window.rxBytesPerSecondMax", "window.txBytesPerSecondMax"];
            absent(reasons, &paths, why(&pod.figures.network));
        }
        Some(window)
    }
}

/// Why there was no rate.
fn why<T>(reading: &Reading<T>) -> Unavailable {
    reading.as_ref().err().copied().unwrap_or(Unavailable::NotYet)
}

impl Seen {
    fn add(&mut self, sample: &PodSample) {
        let PodSample { cgroup, network } = sample;
        let before = self.to;
        if let Ok(cpu) = &cgroup.cpu {
            self.reaches(cpu.at, cpu.value.cores.map(|rate| rate.window));
            self.cores.extend(cpu.value.cores.and_then(|rate| finite(rate.per_second)));
        }
        if let Ok(memory) = &cgroup.memory {
            self.reaches(memory.at, None);
            self.working_set = self.working_set.max(memory.value.working_set_bytes());
        }
        if let Ok(network) = network {
            self.reaches(network.at, network.value.rates.map(|rate| rate.window));
            if let Some(rate) = network.value.rates {
                most(&mut self.rx, rate.per_second.rx_bytes);
                most(&mut self.tx, rate.per_second.tx_bytes);
            }
        }
        self.samples += usize::from(self.to > before);
    }

    /// Something was read at `at`, of the time that had passed.
    fn reaches(&mut self, at: Monotonic, of: Option<Duration>) {
        let from = at.before(of.unwrap_or_default());
        self.from = Some(self.from.map_or(from, |first| first.min(from)));
        self.to = self.to.max(Some(at));
    }

    /// `None` while there is but one instant and no rate.
    fn seconds(&self) -> Option<f64> {
        let rates = !self.cores.is_empty() || self.rx.is_some();
        let seconds = self.to?.since(self.from?)?.as_secs_f64();
        (rates || self.samples > 1).then_some(seconds)
    }

    /// The nearest rank: a rate that was seen, never one in between.
    fn p95(&self) -> Option<f64> {
        let rank = (self.cores.len() * 95).div_ceil(100);
        self.cores.get(rank.checked_sub(1)?).copied()
    }
}

fn most(so_far: &mut Option<f64>, value: f64) {
    if let Some(value) = finite(value) {
        *so_far = Some(so_far.map_or(value, |most| most.max(value)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_hundred_rates_the_95th_is_p95_and_of_few_the_last() {
        let p95 = |count: u32| {
            let cores = (1..=count).map(f64::from).collect();
            Seen { cores, ..Seen::default() }.p95()
        };
        assert_eq!([p95(0), p95(1), p95(19), p95(20)], [None, Some(1.0), Some(19.0), Some(19.0)]);
        assert_eq!([p95(30), p95(100), p95(300)], [Some(29.0), Some(95.0), Some(285.0)]);
    }
}
