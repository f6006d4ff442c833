//! The files of cgroup v2, as text. `Documentation/admin-guide/cgroup-v2.rst`.
//!
//! Times are microseconds. Everything includes descendants. `max` means no limit. A row of `io.stat`:
//!
//! ```text
//! 254:0 rbytes=4096 wbytes=8388608 rios=1 wios=8 dbytes=0 dios=0
//! ```

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::host::{devices, text};
use crate::model::counters::{
    CpuCounters, CpuQuota, DeviceNumber, IoCounters, MemoryCounters, ThrottlingCounters,
};
use crate::model::details::Details;
use crate::model::unavailable::Unavailable;

/// `cpu.stat`. Without the `cpu` controller it has usage but no periods.
pub fn parse_cpu_stat(file: &[u8]) -> Result<CpuCounters, &[u8]> {
    let (mut usage, mut user, mut system) = (None, None, None);
    let (mut periods, mut throttled_periods, mut throttled) = (None, None, None);
    let (mut bursts, mut burst) = (None, None);
    for line in text::lines(file) {
        let (key, value) = text::parse_key_value(line).ok_or(line)?;
        match key {
            b"usage_usec" => usage = Some(Duration::from_micros(value)),
            b"user_usec" => user = Some(Duration::from_micros(value)),
            b"system_usec" => system = Some(Duration::from_micros(value)),
            b"nr_periods" => periods = Some(value),
            b"nr_throttled" => throttled_periods = Some(value),
            b"throttled_usec" => throttled = Some(Duration::from_micros(value)),
            b"nr_bursts" => bursts = Some(value),
            b"burst_usec" => burst = Some(Duration::from_micros(value)),
            _ => {} // The kernel adds keys over time; unknown ones are not errors.
        }
    }
    let throttling = match (periods, throttled_periods, throttled) {
        (Some(periods), Some(throttled_periods), Some(throttled)) => {
            Ok(ThrottlingCounters { periods, throttled_periods, throttled, bursts, burst })
        }
        _ => Err(Unavailable::ControllerOff),
    };
    Ok(CpuCounters { usage: usage.ok_or(&b""[..])?, user, system, throttling })
}

/// What is taken from `memory.stat`, of either version; each figure is absent on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStat {
    /// `anon`; v1 `total_rss`.
    pub anon_bytes: Option<u64>,
    /// `file`; v1 `total_cache`.
    pub file_bytes: Option<u64>,
    /// `inactive_file`; v1 `total_inactive_file`.
    pub inactive_file_bytes: Option<u64>,
    /// v1 `total_swap`; version 2 has a file of its own for it.
    pub swap_bytes: Option<u64>,
    /// `pgfault`; v1 `total_pgfault`.
    pub page_faults: Option<u64>,
    /// `pgmajfault`; v1 `total_pgmajfault`.
    pub major_page_faults: Option<u64>,
}

impl MemoryStat {
    /// Reads the lines that begin with `prefix`; `field` says where the number behind a key goes.
    ///
    /// A line that cannot be read costs its own figure; the first such line is returned beside what was
    /// read.
    pub(super) fn parse<'a>(
        file: &'a [u8],
        prefix: &[u8],
        field: impl for<'s> Fn(&'s mut Self, &[u8]) -> Option<&'s mut Option<u64>>,
    ) -> (Self, Option<&'a [u8]>) {
        let mut stat = Self::default();
        let mut bad = None;
        for line in text::lines(file) {
            let Some(rest) = line.strip_prefix(prefix) else { continue };
            let Some((key, digits)) = text::split_once(rest, b' ') else {
                bad.get_or_insert(line);
                continue;
            };
            let Some(field) = field(&mut stat, key) else { continue };
            *field = text::parse_u64(digits);
            if field.is_none() {
                bad.get_or_insert(line);
            }
        }
        (stat, bad)
    }
}

/// Without what other files say.
impl From<(MemoryStat, MemoryEvents)> for MemoryCounters {
    fn from((stat, events): (MemoryStat, MemoryEvents)) -> Self {
        let MemoryEvents { oom_kills, limit_hits, high_hits, ooms } = events;
        let MemoryStat { anon_bytes, file_bytes, inactive_file_bytes, swap_bytes, .. } = stat;
        let MemoryStat { page_faults, major_page_faults, .. } = stat;
        Self {
            anon_bytes,
            file_bytes,
            inactive_file_bytes,
            swap_bytes,
            page_faults,
            major_page_faults,
            oom_kills,
            limit_hits,
            high_hits,
            ooms,
            ..Self::default()
        }
    }
}

/// Where the figures of [`MemoryStat`] stand in a row of numbers, as long as its keys are the same: nobody has to
/// look for them in each text.
#[derive(Debug, Default)]
pub struct MemoryPlaces {
    keys: Arc<[Box<str>]>,
    places: [Option<usize>; 6],
}

impl MemoryPlaces {
    /// The figures of a row, of either version.
    pub fn read(&mut self, details: &Details, row: &Range<u32>) -> MemoryStat {
        if !Arc::ptr_eq(&self.keys, details.memory_keys()) {
            self.keys = Arc::clone(details.memory_keys());
            self.places = [
                &["total_rss", "anon"][..],
                &["total_cache", "file"],
                &["total_inactive_file", "inactive_file"],
                &["total_swap"],
                &["total_pgfault", "pgfault"],
                &["total_pgmajfault", "pgmajfault"],
            ]
            .map(|keys| details.memory_place(keys));
        }
        let [anon_bytes, file_bytes, inactive_file_bytes, swap_bytes, page_faults, major_page_faults] =
            self.places.map(|place| details.memory_at(row, place?));
        MemoryStat { anon_bytes, file_bytes, inactive_file_bytes, swap_bytes, page_faults, major_page_faults }
    }
}

/// `memory.stat`, and the first line of it that cannot be read.
pub fn parse_memory_stat(file: &[u8]) -> (MemoryStat, Option<&[u8]>) {
    MemoryStat::parse(file, b"", |stat, key| {
        Some(match key {
            b"anon" => &mut stat.anon_bytes,
            b"file" => &mut stat.file_bytes,
            b"inactive_file" => &mut stat.inactive_file_bytes,
            b"pgfault" => &mut stat.page_faults,
            b"pgmajfault" => &mut stat.major_page_faults,
            _ => return None,
        })
    })
}

/// What is taken from `memory.events`, descendants included; `None` on a kernel that does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryEvents {
    /// `oom_kill`.
    pub oom_kills: Option<u64>,
    /// `max`.
    pub limit_hits: Option<u64>,
    /// `high`.
    pub high_hits: Option<u64>,
    /// `oom`.
    pub ooms: Option<u64>,
}

/// `memory.events`.
pub fn parse_memory_events(file: &[u8]) -> Result<MemoryEvents, &[u8]> {
    let mut events = MemoryEvents::default();
    for line in text::lines(file) {
        let (key, value) = text::parse_key_value(line).ok_or(line)?;
        match key {
            b"high" => events.high_hits = Some(value),
            b"max" => events.limit_hits = Some(value),
            b"oom" => events.ooms = Some(value),
            b"oom_kill" => events.oom_kills = Some(value),
            _ => {}
        }
    }
    // Every kernel says those; which processes were killed only since 4.13.
    let whole = events.high_hits.is_some() && events.limit_hits.is_some() && events.ooms.is_some();
    if whole { Ok(events) } else { Err(b"") }
}

/// Hands every row of `io.stat` to `row`; returns the first line that cannot be read in full, which
/// costs only what could not be read.
///
/// Kernels have printed a device without keys and without a newline, so that the next row follows on
/// the same line (`7:7 7:6 7:4 rbytes=…`: the keys belong to the last), and `(unknown)` for a device.
pub fn parse_io_stat(file: &[u8], mut row: impl FnMut(DeviceNumber, IoCounters)) -> Option<&[u8]> {
    let mut bad = None;
    for line in text::lines(file) {
        let mut fields = text::fields(line).peekable();
        let mut device = None;
        let mut devices = 0;
        while let Some(field) = fields.next_if(|field| !field.contains(&b'=')) {
            device = devices::parse_number(field);
            devices += 1;
        }
        let counters = parse_io_keys(fields);
        if let (Some(device), Some(counters)) = (device, counters) {
            row(device, counters);
            if devices == 1 {
                continue;
            }
        }
        bad.get_or_insert(line);
    }
    bad
}

/// All four counters or none: a row that was torn apart has no figures.
fn parse_io_keys<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Option<IoCounters> {
    let (mut read_bytes, mut write_bytes, mut reads, mut writes) = (None, None, None, None);
    for field in fields {
        let (key, value) = text::split_once(field, b'=')?;
        let counter = match key {
            b"rbytes" => &mut read_bytes,
            b"wbytes" => &mut write_bytes,
            b"rios" => &mut reads,
            b"wios" => &mut writes,
            _ => continue, // Discards, and what io.cost and io.latency add.
        };
        *counter = Some(text::parse_u64(value)?);
    }
    Some(IoCounters {
        read_bytes: read_bytes?,
        write_bytes: write_bytes?,
        read_operations: reads?,
        write_operations: writes?,
    })
}

/// `cpu.max`: `150000 100000`, or `max 100000`.
pub fn parse_cpu_max(file: &[u8]) -> Result<Option<CpuQuota>, &[u8]> {
    let line = file.strip_suffix(b"\n").ok_or(file)?;
    let (quota, period) = text::split_once(line, b' ').ok_or(line)?;
    if quota == b"max" {
        return Ok(None);
    }
    let quota_micros = text::parse_u64(quota).ok_or(line)?;
    let period_micros = text::parse_u64(period).filter(|&micros| micros > 0).ok_or(line)?;
    let [quota, period] = [quota_micros, period_micros].map(Duration::from_micros);
    Ok(Some(CpuQuota { quota, period }))
}

/// A file that holds one number: `memory.current`, `pids.current`, and most files of v1.
pub fn parse_number(file: &[u8]) -> Result<u64, &[u8]> {
    text::parse_single_u64(file).ok_or(file)
}

/// `memory.max`, `pids.max`, v1 `memory.limit_in_bytes`: a number or `max`.
pub fn parse_limit(file: &[u8]) -> Result<Option<u64>, &[u8]> {
    if file == b"max\n" {
        return Ok(None);
    }
    text::parse_single_u64(file).map(Some).ok_or(file)
}

#[cfg(test)]
impl MemoryStat {
    /// Every figure, in the order of declaration.
    pub(super) fn to_array(self) -> [Option<u64>; 6] {
        let Self { anon_bytes, file_bytes, inactive_file_bytes, swap_bytes, page_faults, major_page_faults } =
            self;
        [anon_bytes, file_bytes, inactive_file_bytes, swap_bytes, page_faults, major_page_faults]
    }
}

#[cfg(test)]
#[path = "v2_tests.rs"]
mod tests;
