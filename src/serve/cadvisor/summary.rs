//! `summary`: what was used in the last minute, hour and day, as far as this process goes back (pure).

use std::time::Duration;

use serde::Serialize;

use super::super::time::rfc3339;
use super::cgroups::{Cgroup, What};
use super::sample::Sample;
use crate::model::history::{Digest, Shelf, Spread};
use crate::model::snapshot::Snapshot;
use crate::model::time::Monotonic;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// CPU in thousandths of a core, memory (the working set) in bytes.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    timestamp: String,
    latest_usage: Latest,
    minute_usage: Usage,
    hour_usage: Usage,
    day_usage: Usage,
}

#[derive(Debug, Serialize)]
struct Latest {
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<u64>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Usage {
    percent_complete: u128,
    cpu: Percentiles,
    memory: Percentiles,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Percentiles {
    present: bool,
    #[serde(flatten)]
    known: Option<Known>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Known {
    mean: u64,
    std: u64,
    max: u64,
    fifty: u64,
    ninety: u64,
    ninetyfive: u64,
    count: u32,
}

impl Summary {
    /// Of a cgroup in the sweep that is shown. `None`: nothing was read of it.
    pub(super) fn of(snapshot: &Snapshot, shelf: &Shelf, cgroup: &Cgroup<'_>) -> Option<Self> {
        let past = match cgroup.what {
            What::Node => shelf.digest(None),
            What::Pod(pod) => shelf.digest(Some(pod.target.cgroup.id)),
            What::Container(_, _, child) => shelf.digest(Some(child.cgroup.id)),
            What::Sandbox(..) | What::Slice => None,
        };
        let last = Sample::now(snapshot, cgroup)?;
        Some(Self::new(&last, past.as_ref(), snapshot.clock.monotonic))
    }

    fn new(last: &Sample, past: Option<&Digest>, sweep: Monotonic) -> Self {
        let usage = |length: Duration| {
            let used = past.map(|past| past.used(length, sweep)).unwrap_or_default();
            Usage {
                percent_complete: used.covered.as_millis() * 100 / length.as_millis(),
                cpu: percentiles(used.millicores),
                memory: percentiles(used.memory),
            }
        };
        let millicores = last.cpu.and_then(|cpu| cpu.cores).map(|cores| whole(cores.per_second * 1000.0));
        let memory = last.memory.and_then(|memory| memory.working_set_bytes());
        Self {
            timestamp: rfc3339(last.at),
            latest_usage: Latest { cpu: millicores, memory },
            minute_usage: usage(MINUTE),
            hour_usage: usage(HOUR),
            day_usage: usage(DAY),
        }
    }
}

fn percentiles(spread: Spread) -> Percentiles {
    let Spread { count, mean, deviation, fifty, ninety, ninety_five, max } = spread;
    let known = (count > 0).then(|| Known {
        mean: whole(mean.into()),
        std: whole(deviation.into()),
        max: whole(max.into()),
        fifty: whole(fifty.into()),
        ninety: whole(ninety.into()),
        ninetyfive: whole(ninety_five.into()),
        count,
    });
    Percentiles { present: known.is_some(), known }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::counters::{MemoryCounters, PressureCounters};
    use crate::model::time::WallTime;

    fn sample(usage_bytes: u64) -> Sample {
        let memory =
            MemoryCounters { usage_bytes, inactive_file_bytes: Some(0), ..MemoryCounters::default() };
        Sample {
            at: WallTime::from_unix_nanos(1_795_222_923_000_000_000),
            cpu: None,
            memory: Some(memory),
            own_faults: [None; 2],
            disks: None,
            network: None,
            tasks: None,
            pressure: PressureCounters::default(),
            percpu: Vec::new(),
            file_systems: None,
            memory_stat: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn a_minute_has_sixty_seconds_and_the_rest_is_for_the_hour() {
        let second = |second: u64| Monotonic::from_nanos(second * 1_000_000_000);
        let mut digest = Digest::new(second(100));
        for at in 1..=90 {
            digest.add(second(100 + at), None, Some(at));
        }
        let summary = Summary::new(&sample(90), Some(&digest), second(190));
        let known = |usage: &Usage| (usage.percent_complete, usage.memory.known.as_ref().unwrap().count);
        assert_eq!(known(&summary.minute_usage), (100, 60));
        assert_eq!(known(&summary.hour_usage), (2, 90));
        assert_eq!(known(&summary.day_usage), (0, 90));
        let minute = summary.minute_usage.memory.known.unwrap();
        assert_eq!((minute.mean, minute.max, minute.std), (61, 90, 17));
        assert_eq!((minute.fifty, minute.ninety, minute.ninetyfive), (60, 84, 87));
        assert_eq!(summary.minute_usage.cpu, Percentiles::default(), "no rate, no figure");
        assert!(!summary.minute_usage.cpu.present);
        assert_eq!(summary.latest_usage.memory, Some(90));
    }

    #[test]
    fn without_a_past_there_is_the_last_sample() {
        let summary = Summary::new(&sample(7), None, Monotonic::default());
        assert_eq!(summary.latest_usage.memory, Some(7));
        for usage in [summary.minute_usage, summary.hour_usage, summary.day_usage] {
            assert_eq!((usage.percent_complete, usage.cpu.present, usage.memory.present), (0, false, false));
        }
    }
}
