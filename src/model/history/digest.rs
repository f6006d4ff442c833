//! What a cgroup has used for as long as this process knows it, in the fewest bytes that tell the last minute, hour
//! and day apart.
//!
//! The last minute is kept sample by sample. A minute that is over becomes one [`Spread`] of CPU and one of memory,
//! ten minutes become another, and an hour another: those of an hour and of a day are kept.
//!
//! # What condensing costs
//! Number, mean and maximum stay what they were. For a percentile over several spreads each stands for samples of
//! four sizes: half of them as large as its median, four tenths as its 90th percentile, and so on. That is never
//! less than the percentile of the samples themselves. An hour and a day begin where a span does: up to ten minutes,
//! or an hour, too early. Figures have seven digits; bytes that come by the page are exact up to 64 GiB.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::time::Monotonic;

use super::CLOSEST;

/// What is told sample by sample.
const MINUTE: Duration = Duration::from_secs(60);

/// What is told without hours.
const HOUR: Duration = Duration::from_secs(60 * 60);

/// Samples of one minute, [`CLOSEST`] apart, and a few that came early.
const POINTS: usize = 64;

/// How many minutes make one longer span, and how many of those an hour.
const MAKE: [usize; 2] = [10, 6];

/// How many are kept of minutes, of ten minutes and of hours: of the longer ones one more than an hour and a day
/// have, so that it is never too short.
const KEPT: [usize; 3] = [10, 7, 25];

/// What an allocator adds to each list.
const OVERHEAD: usize = 16;

/// One sample; what was not known is NaN.
#[derive(Clone, Copy, Debug)]
struct Point {
    at: Monotonic,
    millicores: f32,
    memory: f32,
}

/// A time that is over.
#[derive(Clone, Copy, Debug)]
struct Span {
    end: Monotonic,
    millicores: Spread,
    memory: Spread,
}

/// How the samples of some time are spread, without those that were not known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// How many there were. Without one all else is 0.
    pub count: u32,
    /// Their mean.
    pub mean: f32,
    /// Their standard deviation; of one sample 0.
    pub deviation: f32,
    /// The least that half of them do not exceed.
    pub fifty: f32,
    /// The least that 90 in a hundred do not exceed.
    pub ninety: f32,
    /// The least that 95 in a hundred do not exceed.
    pub ninety_five: f32,
    /// The largest.
    pub max: f32,
}

/// What was used within some time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Used {
    /// How much of that time is known.
    pub covered: Duration,
    /// CPU in thousandths of a core, each sample that of one sweep.
    pub millicores: Spread,
    /// The working set in bytes.
    pub memory: Spread,
}

/// The past of one cgroup.
#[derive(Clone, Debug)]
pub struct Digest {
    since: Monotonic,
    points: VecDeque<Point>,
    spans: [VecDeque<Span>; 3],
}

impl Digest {
    /// What its lists take at most.
    pub const MOST_LISTS: usize = POINTS * size_of::<Point>()
        + (KEPT[0] + KEPT[1] + KEPT[2]) * size_of::<Span>()
        + (1 + KEPT.len()) * OVERHEAD;

    /// Of a cgroup that was not known before `since`.
    pub fn new(since: Monotonic) -> Self {
        Self { since, points: VecDeque::new(), spans: Default::default() }
    }

    /// Bytes of its lists now.
    pub fn lists(&self) -> usize {
        let spans: usize = self.spans.iter().map(VecDeque::capacity).sum();
        let points = self.points.capacity() * size_of::<Point>();
        points + spans * size_of::<Span>() + (1 + KEPT.len()) * OVERHEAD
    }

    /// When the last sample was taken.
    pub fn last(&self) -> Option<Monotonic> {
        self.points.back().map(|point| point.at)
    }

    /// Takes a sample: thousandths of a core, and bytes.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "seven digits are kept")]
    pub fn add(&mut self, at: Monotonic, millicores: Option<f64>, memory: Option<u64>) {
        let point = Point {
            at,
            millicores: millicores.map_or(f32::NAN, |value| value as f32),
            memory: memory.map_or(f32::NAN, |value| value as f32),
        };
        push(&mut self.points, POINTS, point);
        if self.minute_of(at) > self.minute_of(self.end_of(0, at)) {
            self.end_minute(at);
        }
    }

    /// In which minute of its own that is. By number, so that minutes which end a sample early or late make hours
    /// that do not. A sweep begins a little early or late, too.
    fn minute_of(&self, at: Monotonic) -> u64 {
        at.plus(CLOSEST / 2).since(self.since).unwrap_or_default().as_secs() / MINUTE.as_secs()
    }

    /// What was used in the time of `length` that ends with `until`.
    pub fn used(&self, length: Duration, until: Monotonic) -> Used {
        let from = until.before(length);
        let covered = until.since(from.max(self.since)).unwrap_or_default();
        let kinds = if length <= MINUTE {
            0
        } else if length <= HOUR {
            2
        } else {
            3
        };
        let (millicores, memory) = self.spreads(kinds, from, until);
        Used { covered, millicores, memory }
    }

    /// Of CPU and of memory, from `from` to `until`, in so many kinds of spans: what is newer than the last span of
    /// a kind is told by the next shorter kind, or by samples. The first span may begin before `from`.
    fn spreads(&self, kinds: usize, from: Monotonic, until: Monotonic) -> (Spread, Spread) {
        let mut after: Vec<_> = (0..kinds).map(|kind| self.end_of(kind, until).max(from)).collect();
        after.push(from);
        let points = self.points.iter().filter(|point| after[0] < point.at && point.at <= until);
        let of_kind = |kind: usize| {
            let (from, until) = (after[kind + 1], after[kind]);
            self.spans[kind].iter().filter(move |span| from < span.end && span.end <= until)
        };
        let spans = (0..kinds).flat_map(of_kind);
        (
            Spread::of(
                spans.clone().map(|span| span.millicores),
                points.clone().map(|point| point.millicores),
            ),
            Spread::of(spans.map(|span| span.memory), points.map(|point| point.memory)),
        )
    }

    /// When the last span of a kind ended that was over at `until`.
    fn end_of(&self, kind: usize, until: Monotonic) -> Monotonic {
        let over = self.spans[kind].iter().rev().map(|span| span.end).find(|end| *end <= until);
        over.unwrap_or(self.since)
    }

    /// Ends a minute, and each longer span that ends with it.
    fn end_minute(&mut self, end: Monotonic) {
        for kind in 0..KEPT.len() {
            let begin = self.end_of(kind, end);
            let newer = |spans: &VecDeque<Span>| spans.iter().filter(|span| begin < span.end).count();
            if kind > 0 && newer(&self.spans[kind - 1]) < MAKE[kind - 1] {
                return;
            }
            let (millicores, memory) = self.spreads(kind, begin, end);
            push(&mut self.spans[kind], KEPT[kind], Span { end, millicores, memory });
        }
    }
}

/// Puts one more into a list that never has more than `most`.
fn push<T>(list: &mut VecDeque<T>, most: usize, one: T) {
    if list.len() == most {
        list.pop_front();
    }
    if list.capacity() == 0 {
        list.reserve_exact(most);
    }
    list.push_back(one);
}

impl Spread {
    /// Over all samples of some spans and some more, of which those that are NaN are none.
    #[expect(clippy::cast_possible_truncation, reason = "seven digits are kept")]
    fn of(spans: impl Iterator<Item = Self> + Clone, samples: impl Iterator<Item = f32> + Clone) -> Self {
        let spans = spans.filter(|span| span.count > 0);
        let samples = samples.filter(|sample| !sample.is_nan());
        let one = |value: f32| Self { count: 1, mean: value, max: value, ..Self::default() };
        let parts = || spans.clone().chain(samples.clone().map(one));
        let count: u32 = parts().map(|part| part.count).sum();
        if count == 0 {
            return Self::default();
        }
        let mean =
            parts().map(|part| f64::from(part.mean) * f64::from(part.count)).sum::<f64>() / f64::from(count);
        let squares = |part: Self| {
            let within = f64::from(part.deviation).powi(2) * (f64::from(part.count) - 1.0);
            within + (f64::from(part.mean) - mean).powi(2) * f64::from(part.count)
        };
        let squares: f64 = parts().map(squares).sum();
        let mut steps: Vec<(f32, u32)> =
            Vec::with_capacity(4 * spans.clone().count() + samples.clone().count());
        steps.extend(spans.clone().flat_map(Self::steps).chain(samples.clone().map(|sample| (sample, 1))));
        steps.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
        let at = |percent| at(&steps, rank(count, percent));
        Self {
            count,
            mean: mean as f32,
            deviation: (squares / f64::from(count - 1).max(1.0)).sqrt() as f32,
            fifty: at(50),
            ninety: at(90),
            ninety_five: at(95),
            max: parts().map(|part| part.max).fold(f32::NEG_INFINITY, f32::max),
        }
    }

    /// Its samples as far as they are known: so many are no larger than that.
    fn steps(self) -> [(f32, u32); 4] {
        let [fifty, ninety, ninety_five] = [50, 90, 95].map(|percent| rank(self.count, percent));
        [
            (self.fifty, fifty),
            (self.ninety, ninety - fifty),
            (self.ninety_five, ninety_five - ninety),
            (self.max, self.count - ninety_five),
        ]
    }
}

/// Of so many samples in order, the place of the one that so many in a hundred do not exceed.
fn rank(count: u32, percent: u32) -> u32 {
    (u64::from(count) * u64::from(percent)).div_ceil(100).try_into().unwrap_or(u32::MAX)
}

/// The value of that rank.
fn at(steps: &[(f32, u32)], rank: u32) -> f32 {
    let mut before = 0;
    let step = steps.iter().find(|(_, count)| {
        before += count;
        rank <= before
    });
    step.or(steps.last()).map_or(0.0, |(value, _)| *value)
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "of figures a test made itself")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn second(second: u64) -> Monotonic {
        Monotonic::default().plus(SECOND * u32::try_from(second).unwrap())
    }

    /// Of a cgroup that was seen in seconds 1 to `seconds`.
    fn digest(seconds: u64, sample: impl Fn(u64) -> (Option<f64>, Option<u64>)) -> Digest {
        let mut digest = Digest::new(second(0));
        for at in 1..=seconds {
            let (millicores, memory) = sample(at);
            digest.add(second(at), millicores, memory);
        }
        digest
    }

    /// Percentiles of the samples themselves.
    fn exact(mut samples: Vec<u64>) -> [u64; 4] {
        samples.sort_unstable();
        let at = |percent: usize| samples[(samples.len() * percent).div_ceil(100) - 1];
        [at(50), at(90), at(95), at(100)]
    }

    fn told(spread: Spread) -> [u64; 4] {
        [spread.fifty, spread.ninety, spread.ninety_five, spread.max].map(|value| value as u64)
    }

    #[test]
    fn a_minute_is_its_samples() {
        let digest = digest(90, |at| (None, Some(at * 4096)));
        let used = digest.used(MINUTE, second(90));
        assert_eq!((used.covered, used.memory.count), (MINUTE, 60));
        assert_eq!(told(used.memory), exact((31..=90).map(|at| at * 4096).collect()));
        assert_eq!(used.memory.mean, 60.5 * 4096.0);
        assert_eq!((used.memory.deviation / 4096.0 * 100.0).round(), 1746.0);
        assert_eq!(used.millicores, Spread::default(), "what was never known has no figure");
        let before = digest.used(MINUTE, second(89));
        assert_eq!(
            (told(before.memory)[3], before.memory.count),
            (89 * 4096, 60),
            "of the sweep that is shown"
        );
    }

    #[test]
    fn what_is_new_is_covered_as_far_as_it_is_known() {
        let digest = digest(90, |at| (Some(at as f64), None));
        let [minute, hour, day] = [MINUTE, HOUR, DAY].map(|length| digest.used(length, second(90)));
        assert_eq!([minute.covered, hour.covered, day.covered], [MINUTE, SECOND * 90, SECOND * 90]);
        assert_eq!([minute, hour, day].map(|used| used.millicores.count), [60, 90, 90]);
        assert_eq!(day, hour);
        let one = self::digest(1, |_| (Some(7.0), Some(8))).used(DAY, second(1));
        assert_eq!((one.covered, told(one.millicores), told(one.memory)), (SECOND, [7; 4], [8; 4]));
        let none = Digest::new(second(5)).used(MINUTE, second(5));
        assert_eq!(none, Used::default());
        assert_eq!(digest.used(MINUTE, second(0)), Used::default(), "a sweep from before it was there");
    }

    #[test]
    fn an_hour_and_a_day_are_as_long_and_nothing_in_them_is_told_twice_or_missed() {
        // An hour in 24 is busy, and a second in it more than all others.
        let sample = |at: u64| (Some(if at % 86_400 < 3600 { 900.0 } else { 10.0 }), Some(at));
        let long = digest(86_400 * 2 + 1234, sample);
        let now = 86_400 * 2 + 1234;
        let (hour, day) = (long.used(HOUR, second(now)), long.used(DAY, second(now)));
        assert_eq!((hour.covered, day.covered), (HOUR, DAY));
        // 1,234 s are 20 whole minutes and 34 s: the hour begins 50 minutes before them, the day with an hour.
        assert_eq!(hour.memory.count, 4 + 30 + 3600);
        assert_eq!(u64::from(day.memory.count), 86_400 + 1234);
        let (first_of_hour, first_of_day) = (now - u64::from(hour.memory.count) + 1, 86_400 + 1);
        for (used, first) in [(hour, first_of_hour), (day, first_of_day)] {
            let mean = (first + now) as f64 / 2.0;
            assert!((f64::from(used.memory.mean) - mean).abs() < 1.0, "{} is not {mean}", used.memory.mean);
            assert_eq!(used.memory.max as u64, now);
        }
        let busy = (first_of_day..=now).map(|at| sample(at).0.unwrap() as u64);
        assert_eq!(told(day.millicores), exact(busy.collect()));
        assert!(long.lists() <= Digest::MOST_LISTS);
        for (spans, most) in long.spans.iter().zip(KEPT) {
            assert_eq!((spans.len(), spans.capacity()), (most, most));
        }
    }

    #[test]
    fn a_sweep_that_is_not_the_newest_any_more_is_told_as_it_was() {
        let sample = |at: u64| (Some((at % 100) as f64), Some(at * 4096));
        // The last sample ends a minute, ten minutes, an hour.
        for ends in [120, 1200, 7200] {
            let (before, after) = (digest(ends - 1, sample), digest(ends, sample));
            for length in [MINUTE, HOUR, DAY] {
                let [was, is] = [&before, &after].map(|digest| digest.used(length, second(ends - 1)));
                assert_eq!((is.memory.count, is.memory.max), (was.memory.count, was.memory.max), "{ends}");
                assert!((is.millicores.mean - was.millicores.mean).abs() < 1e-3, "{ends}");
            }
        }
    }

    #[test]
    fn a_time_without_sweeps_is_one_long_minute() {
        let mut digest = digest(100, |_| (Some(1.0), Some(1)));
        for at in 1000..=1100 {
            digest.add(second(at), Some(2.0), None);
        }
        let [minute, hour] = [MINUTE, HOUR].map(|length| digest.used(length, second(1100)));
        assert_eq!((minute.millicores.count, minute.memory.count), (60, 0));
        assert_eq!((hour.millicores.count, hour.memory.count, hour.millicores.max), (201, 100, 2.0));
    }

    #[test]
    fn sweeps_of_any_interval_make_minutes() {
        for interval in [1, 7, 8, 10, 25, 40, 45, 60] {
            let mut digest = Digest::new(second(0));
            for at in 1..=7200 / interval {
                // None is quite in time.
                let at = second(at * interval).plus(Duration::from_millis(at % 3));
                digest.add(at, None, Some(1));
            }
            let hour = digest.used(HOUR, second(7201));
            let expected = 3600 / interval..=4200 / interval + 1;
            assert!(expected.contains(&u64::from(hour.memory.count)), "{interval}: {}", hour.memory.count);
            assert_eq!(hour.covered, HOUR);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn percentiles_are_never_too_low_and_the_rest_is_exact(
            samples in prop::collection::vec(prop::option::weighted(0.9, 0..1_000_u64), 1..4000),
            scale in 1..1000_u64,
        ) {
            let digest = digest(samples.len() as u64, |at| (None, samples[at as usize - 1].map(|it| it * scale)));
            let used = digest.used(DAY, second(samples.len() as u64)).memory;
            let known: Vec<u64> = samples.iter().flatten().map(|sample| sample * scale).collect();
            prop_assert_eq!(used.count as usize, known.len());
            if !known.is_empty() {
                let mean = known.iter().sum::<u64>() as f64 / known.len() as f64;
                prop_assert!((f64::from(used.mean) - mean).abs() <= mean * 1e-5 + 1e-3);
                let squares: f64 = known.iter().map(|sample| (*sample as f64 - mean).powi(2)).sum();
                let deviation = (squares / (known.len() as f64 - 1.0).max(1.0)).sqrt();
                prop_assert!((f64::from(used.deviation) - deviation).abs() <= deviation * 1e-3 + 1e-2);
                let (told, exact) = (told(used), exact(known));
                prop_assert!(told.iter().zip(&exact).all(|(told, exact)| told >= exact), "{told:?} {exact:?}");
                prop_assert_eq!(told[3], exact[3]);
                prop_assert!(told.is_sorted());
            }
        }
    }
}
