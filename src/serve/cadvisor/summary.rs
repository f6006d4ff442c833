//! `summary`: what was used in the last minute, hour and day, as far as history goes back (pure).
//!
//! cAdvisor condenses minutes into percentiles of percentiles; here each is taken over the samples themselves.

use serde::Serialize;

use super::super::time::rfc3339;
use super::sample::Sample;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

const SECOND: u64 = 1_000_000_000;

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
    percent_complete: u64,
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
    count: usize,
}

impl Summary {
    /// Out of samples, oldest first. `None`: there is none.
    pub(super) fn of(samples: &[Sample]) -> Option<Self> {
        let last = samples.last()?;
        let usage = |length: u64| {
            let end = last.at.as_unix_nanos();
            let since = |sample: &Sample| end.saturating_sub(sample.at.as_unix_nanos());
            let from = samples.partition_point(|sample| since(sample) >= length * SECOND);
            let within = &samples[from..];
            let covered = within.first().map_or(0, since);
            // The first sample stands for the time before it: of 60 seconds there are 60 samples, 59 apart.
            let each = covered / (within.len() as u64 - 1).max(1);
            Usage {
                percent_complete: ((covered + each) * 100 / (length * SECOND)).min(100),
                cpu: percentiles(within.iter().filter_map(millicores).collect()),
                memory: percentiles(within.iter().filter_map(working_set).collect()),
            }
        };
        Some(Self {
            timestamp: rfc3339(last.at),
            latest_usage: Latest { cpu: millicores(last), memory: working_set(last) },
            minute_usage: usage(MINUTE),
            hour_usage: usage(HOUR),
            day_usage: usage(DAY),
        })
    }
}

/// Of the sweep's own rate.
fn millicores(sample: &Sample) -> Option<u64> {
    let cores = sample.cpu?.cores?.per_second;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let millicores = (cores * 1000.0).round() as u64;
    cores.is_finite().then_some(millicores)
}

fn working_set(sample: &Sample) -> Option<u64> {
    sample.memory?.working_set_bytes()
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a mean of figures far below 2^53"
)]
fn percentiles(mut samples: Vec<u64>) -> Percentiles {
    samples.sort_unstable();
    let Some(max) = samples.last().copied() else { return Percentiles::default() };
    let count = samples.len();
    let mean = samples.iter().map(|sample| *sample as f64).sum::<f64>() / count as f64;
    let squares: f64 = samples.iter().map(|sample| (*sample as f64 - mean).powi(2)).sum();
    let std = if count > 1 { (squares / (count as f64 - 1.0)).sqrt() } else { 0.0 };
    // The smallest sample that so many in a hundred do not exceed: a figure that was measured.
    let at = |percent: usize| samples[(count * percent).div_ceil(100).clamp(1, count) - 1];
    let known = Known {
        mean: mean as u64,
        std: std as u64,
        max,
        fifty: at(50),
        ninety: at(90),
        ninetyfive: at(95),
        count,
    };
    Percentiles { present: true, known: Some(known) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::counters::{MemoryCounters, PressureCounters};
    use crate::model::time::WallTime;

    fn sample(second: u64, usage_bytes: u64) -> Sample {
        let memory =
            MemoryCounters { usage_bytes, inactive_file_bytes: Some(0), ..MemoryCounters::default() };
        Sample {
            at: WallTime::from_unix_nanos(1_795_222_923 * SECOND + second * SECOND),
            cpu: None,
            memory: Some(memory),
            disks: None,
            network: None,
            tasks: None,
            pressure: PressureCounters::default(),
        }
    }

    #[test]
    fn a_minute_has_sixty_seconds_and_the_rest_is_for_the_hour() {
        let samples: Vec<Sample> = (0..90).map(|second| sample(second, second + 1)).collect();
        let summary = Summary::of(&samples).unwrap();
        let known = |usage: &Usage| (usage.percent_complete, usage.memory.known.as_ref().unwrap().count);
        assert_eq!(known(&summary.minute_usage), (100, 60));
        assert_eq!(known(&summary.hour_usage), (2, 90));
        assert_eq!(known(&summary.day_usage), (0, 90));
        let minute = summary.minute_usage.memory.known.unwrap();
        assert_eq!((minute.mean, minute.max, minute.std), (60, 90, 17));
        assert_eq!((minute.fifty, minute.ninety, minute.ninetyfive), (60, 84, 87));
        assert_eq!(summary.minute_usage.cpu, Percentiles::default(), "no rate, no figure");
        assert!(!summary.minute_usage.cpu.present);
        assert_eq!(summary.latest_usage.memory, Some(90));
    }

    #[test]
    fn one_sample_is_a_summary_and_none_is_not() {
        let one = Summary::of(&[sample(0, 7)]).unwrap();
        assert_eq!(one.day_usage.memory.known.unwrap().ninety, 7);
        assert_eq!(one.minute_usage.percent_complete, 0);
        assert!(Summary::of(&[]).is_none());
    }
}
