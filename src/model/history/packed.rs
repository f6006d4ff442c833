//! Numbers as small as they are: what a frame is written in, and read back from.
//!
//! Most of what a node counts in a second is zero or small, so every number takes as many bytes as it
//! needs, seven bits each. A rate is kept as the growth it was made of, from which the same `f64` comes
//! out again, bit for bit; one that cannot be had that way is kept as it is.

use std::time::Duration;

use crate::model::counters::CpuCounters;
use crate::model::counters::IoCounters;
use crate::model::counters::MemoryCounters;
use crate::model::counters::NetworkCounters;
use crate::model::counters::ThrottlingCounters;
use crate::model::snapshot::CpuFigures;
use crate::model::snapshot::IoRates;
use crate::model::snapshot::NetworkRates;
use crate::model::snapshot::Rate;
use crate::model::sweep::NetworkSource;
use crate::model::sweep::NodeCpu;
use crate::model::sweep::NodeMemory;
use crate::model::sweep::Reading;
use crate::model::sweep::Stamped;
use crate::model::time::Monotonic;
use crate::model::unavailable::Unavailable;

use super::CgroupSample;
use super::IoSample;
use super::NetworkSample;
use super::NodeSample;
use super::PodSample;
use super::numbers::Reader;
use super::numbers::Writer;

const NANOS: f64 = 1e9;
const PAGE: &[u64] = &[4096];

/// Written by a [`Writer`] and read back by a [`Reader`] as it was.
pub(super) trait Packed: Sized {
    fn write(&self, to: &mut Writer<'_>);
    fn read(from: &mut Reader<'_>) -> Option<Self>;
}

/// As [`crate::model::snapshot::Rates`] have it: time by time.
pub(super) fn of_time(busy: u64, window: Duration) -> f64 {
    Duration::from_nanos(busy).as_secs_f64() / window.as_secs_f64()
}

/// And counts by time.
#[expect(clippy::cast_precision_loss, reason = "what comes out is compared")]
pub(super) fn of_count(added: u64, window: Duration) -> f64 {
    added as f64 / window.as_secs_f64()
}

impl Packed for u64 {
    fn write(&self, to: &mut Writer<'_>) {
        to.number(*self);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        from.number()
    }
}

impl Packed for Option<u64> {
    fn write(&self, to: &mut Writer<'_>) {
        to.units(*self, &[]);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        from.units(&[])
    }
}

impl Packed for Duration {
    fn write(&self, to: &mut Writer<'_>) {
        to.time(Some(*self));
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        from.time()?
    }
}

impl Packed for Option<Duration> {
    fn write(&self, to: &mut Writer<'_>) {
        to.time(*self);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        from.time()
    }
}

impl<T> Packed for Option<Rate<T>>
where
    Rate<T>: Packed,
{
    fn write(&self, to: &mut Writer<'_>) {
        to.bytes.push(u8::from(self.is_some()));
        if let Some(rate) = self {
            rate.write(to);
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        if from.byte()? == 0 { Some(None) } else { Rate::read(from).map(Some) }
    }
}

/// Zero for a value, else one more than the reason's place.
impl<T: Packed> Packed for Result<T, Unavailable> {
    fn write(&self, to: &mut Writer<'_>) {
        match self {
            Ok(value) => {
                to.bytes.push(0);
                value.write(to);
            }
            Err(why) => to.bytes.push(1 + *why as u8),
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        match from.byte()?.checked_sub(1) {
            None => T::read(from).map(Ok),
            Some(place) => ALL_REASONS.get(usize::from(place)).map(|why| Err(*why)),
        }
    }
}

/// In the order of their declaration.
pub(super) const ALL_REASONS: [Unavailable; 10] = [
    Unavailable::HostNetwork,
    Unavailable::NoProcess,
    Unavailable::NetnsGone,
    Unavailable::ControllerOff,
    Unavailable::KernelWithoutPsi,
    Unavailable::BlkioNotAccounted,
    Unavailable::Hidepid,
    Unavailable::Permission,
    Unavailable::RuntimeVm,
    Unavailable::NotYet,
];

impl<T: Packed> Packed for Stamped<T> {
    fn write(&self, to: &mut Writer<'_>) {
        to.near(self.at.as_nanos(), to.base.at);
        to.base.at = self.at.as_nanos();
        self.value.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        from.base.at = from.near(from.base.at)?;
        let at = Monotonic::from_nanos(from.base.at);
        Some(Self { at, value: T::read(from)? })
    }
}

/// What several rates of one window are made of.
pub(super) trait PerSecond<const N: usize>: Sized {
    const OF: fn(u64, Duration) -> f64;
    const UNIT: f64;
    fn to_array(self) -> [f64; N];
    fn from_array(values: [f64; N]) -> Self;
}

impl PerSecond<1> for f64 {
    const OF: fn(u64, Duration) -> f64 = of_time;
    const UNIT: f64 = NANOS;

    fn to_array(self) -> [f64; 1] {
        [self]
    }

    fn from_array([cores]: [f64; 1]) -> Self {
        cores
    }
}

impl PerSecond<4> for IoRates {
    const OF: fn(u64, Duration) -> f64 = of_count;
    const UNIT: f64 = 1.0;

    fn to_array(self) -> [f64; 4] {
        let Self { read_bytes, write_bytes, read_operations, write_operations } = self;
        [read_bytes, write_bytes, read_operations, write_operations]
    }

    fn from_array([read_bytes, write_bytes, read_operations, write_operations]: [f64; 4]) -> Self {
        Self { read_bytes, write_bytes, read_operations, write_operations }
    }
}

impl PerSecond<4> for NetworkRates {
    const OF: fn(u64, Duration) -> f64 = of_count;
    const UNIT: f64 = 1.0;

    fn to_array(self) -> [f64; 4] {
        let Self { rx_bytes, tx_bytes, rx_packets, tx_packets } = self;
        [rx_bytes, tx_bytes, rx_packets, tx_packets]
    }

    fn from_array([rx_bytes, tx_bytes, rx_packets, tx_packets]: [f64; 4]) -> Self {
        Self { rx_bytes, tx_bytes, rx_packets, tx_packets }
    }
}

fn write_rate<const N: usize, T: PerSecond<N> + Copy>(rate: &Rate<T>, to: &mut Writer<'_>) {
    let window = u64::try_from(rate.window.as_nanos()).unwrap_or(u64::MAX);
    to.near(window, to.base.interval);
    to.base.interval = window;
    for value in rate.per_second.to_array() {
        to.per_second(value, rate.window, T::OF, T::UNIT);
    }
}

fn read_rate<const N: usize, T: PerSecond<N>>(from: &mut Reader<'_>) -> Option<Rate<T>> {
    from.base.interval = from.near(from.base.interval)?;
    let window = Duration::from_nanos(from.base.interval);
    let mut values = [0.0; N];
    for value in &mut values {
        *value = from.per_second(window, T::OF)?;
    }
    Some(Rate { per_second: T::from_array(values), window })
}

macro_rules! packed_rates {
    ($($rates:ty),*) => {$(
        impl Packed for Rate<$rates> {
            fn write(&self, to: &mut Writer<'_>) {
                write_rate(self, to);
            }

            fn read(from: &mut Reader<'_>) -> Option<Self> {
                read_rate(from)
            }
        }
    )*};
}

packed_rates!(f64, IoRates, NetworkRates);

impl Packed for NetworkSource {
    fn write(&self, to: &mut Writer<'_>) {
        to.bytes.push(*self as u8);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        [Self::Netns, Self::HostVeth, Self::NetnsIp].get(usize::from(from.byte()?)).copied()
    }
}

impl Packed for NetworkCounters {
    fn write(&self, to: &mut Writer<'_>) {
        self.to_array().iter().for_each(|counter| to.number(*counter));
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let mut counters = [0; 8];
        for counter in &mut counters {
            *counter = from.number()?;
        }
        Some(Self::from_array(counters))
    }
}

/// Bytes that mostly come by the page.
struct Pages(u64);

impl Packed for Pages {
    fn write(&self, to: &mut Writer<'_>) {
        to.units(Some(self.0), PAGE);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        from.units(PAGE)?.map(Self)
    }
}

/// The same, or none.
struct MaybePages(Option<u64>);

impl Packed for MaybePages {
    fn write(&self, to: &mut Writer<'_>) {
        to.units(self.0, PAGE);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        from.units(PAGE).map(Self)
    }
}

/// A struct is its fields, one after the other; `via` where a field is written in another way.
macro_rules! packed {
    ($($name:ident { $($field:ident $(via $other:ident)?),* })*) => {$(
        impl Packed for $name {
            fn write(&self, to: &mut Writer<'_>) {
                let Self { $($field),* } = self;
                $(packed!(@write $field to $($other)?);)*
            }

            fn read(from: &mut Reader<'_>) -> Option<Self> {
                Some(Self { $($field: packed!(@read from $($other)?)),* })
            }
        }
    )*};
    (@write $field:ident $to:ident) => { $field.write($to) };
    (@write $field:ident $to:ident Pages) => { Pages(*$field).write($to) };
    (@write $field:ident $to:ident MaybePages) => { MaybePages(*$field).write($to) };
    (@read $from:ident) => { Packed::read($from)? };
    (@read $from:ident Pages) => { Pages::read($from)?.0 };
    (@read $from:ident MaybePages) => { MaybePages::read($from)?.0 };
}

packed! {
    ThrottlingCounters { periods, throttled_periods, throttled, bursts, burst }
    CpuCounters { usage, user, system, throttling }
    CpuFigures { counters, cores }
    MemoryCounters {
        usage_bytes via Pages, anon_bytes via MaybePages, file_bytes via MaybePages,
        inactive_file_bytes via MaybePages, swap_bytes via MaybePages, peak_bytes via MaybePages,
        page_faults, major_page_faults, oom_kills, limit_hits, high_hits, ooms
    }
    IoCounters { read_bytes via Pages, write_bytes via Pages, read_operations, write_operations }
    IoSample { counters, rates }
    NetworkSample { source, counters, rates }
    CgroupSample { cpu, memory, io }
    PodSample { cgroup, network }
    NodeMemory {
        total_bytes via Pages, available_bytes via Pages, free_bytes via Pages, cached_bytes via Pages,
        inactive_file_bytes via MaybePages, swap_used_bytes via Pages, swap_total_bytes via Pages
    }
    NodeSample { cpu, cores, memory, io, network }
}

impl Packed for NodeCpu {
    fn write(&self, to: &mut Writer<'_>) {
        let Self { usage, user, system, elapsed, cores } = self;
        [usage, user, system, elapsed].iter().for_each(|time| time.write(to));
        to.number(u64::from(*cores));
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let [usage, user, system, elapsed] = [from.time()??, from.time()??, from.time()??, from.time()??];
        Some(Self { usage, user, system, elapsed, cores: u32::try_from(from.number()?).ok()? })
    }
}

/// The reading as a frame keeps it.
pub(super) fn kept<T, U>(reading: &Reading<T>, keep: impl FnOnce(&T) -> U) -> Reading<U> {
    match reading {
        Ok(stamped) => Ok(Stamped { at: stamped.at, value: keep(&stamped.value) }),
        Err(why) => Err(*why),
    }
}
