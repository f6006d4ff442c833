//! The files of cgroup v1, as text. `Documentation/admin-guide/cgroup-v1/{cpuacct,memory,blkio-controller}.rst`.
//!
//! Units are mixed: `cpuacct.usage` counts nanoseconds, `cpuacct.stat` ticks of `USER_HZ`, `cpu.stat`
//! nanoseconds. Of `memory.stat` only the `total_*` keys include descendants. Block I/O has a row for
//! each device and operation, and the same bytes twice more as `Sync`/`Async` and in `Total`:
//!
//! ```text
//! 254:0 Read 8388608
//! ```

use std::time::Duration;

use crate::host::{devices, text};
use crate::model::counters::{DeviceNumber, ThrottlingCounters};

use super::v2::MemoryStat;

/// `cpuacct.usage`: nanoseconds.
///
/// # Errors
/// Here and below: the line that cannot be read, an empty one if a line is missing.
pub fn parse_cpuacct_usage(file: &[u8]) -> Result<Duration, &[u8]> {
    text::parse_single_u64(file).map(Duration::from_nanos).ok_or(file)
}

/// `cpuacct.usage_percpu`: nanoseconds of each CPU that the node may have, in their order. Their sum is
/// `cpuacct.usage`, which the kernel makes of the same numbers.
pub fn parse_cpuacct_percpu(file: &[u8]) -> Result<Duration, &[u8]> {
    let line = file.strip_suffix(b"\n").ok_or(file)?;
    let add = |sum: u64, time| sum.checked_add(text::parse_u64(time)?);
    let sum = text::fields(line).try_fold(0, add).filter(|_| !line.is_empty());
    sum.map(Duration::from_nanos).ok_or(file)
}

/// Each number of a file that was parsed.
pub fn each_cpu(file: &[u8]) -> impl Iterator<Item = u64> {
    text::lines(file).flat_map(text::fields).filter_map(text::parse_u64)
}

/// `cpuacct.stat`: `user` and `system`, in ticks.
pub fn parse_cpuacct_stat(file: &[u8], ticks_per_second: u64) -> Result<(Duration, Duration), &[u8]> {
    let (mut user, mut system) = (None, None);
    for line in text::lines(file) {
        let (key, ticks) = text::parse_key_value(line).ok_or(line)?;
        match key {
            b"user" => user = Some(from_ticks(ticks, ticks_per_second)),
            b"system" => system = Some(from_ticks(ticks, ticks_per_second)),
            _ => {}
        }
    }
    user.zip(system).ok_or(b"")
}

fn from_ticks(ticks: u64, per_second: u64) -> Duration {
    let per_second = per_second.max(1);
    let rest = u128::from(ticks % per_second) * 1_000_000_000 / u128::from(per_second);
    Duration::from_secs(ticks / per_second) + Duration::from_nanos(u64::try_from(rest).unwrap_or(0))
}

/// `cpu.stat`: throttling; `None` on a kernel without CFS bandwidth control.
pub fn parse_cpu_stat(file: &[u8]) -> Result<Option<ThrottlingCounters>, &[u8]> {
    let (mut periods, mut throttled_periods, mut throttled) = (None, None, None);
    let (mut bursts, mut burst) = (None, None);
    for line in text::lines(file) {
        let (key, value) = text::parse_key_value(line).ok_or(line)?;
        match key {
            b"nr_periods" => periods = Some(value),
            b"nr_throttled" => throttled_periods = Some(value),
            b"throttled_time" => throttled = Some(Duration::from_nanos(value)),
            b"nr_bursts" => bursts = Some(value),
            b"burst_time" => burst = Some(Duration::from_nanos(value)),
            _ => {}
        }
    }
    Ok(match (periods, throttled_periods, throttled) {
        (Some(periods), Some(throttled_periods), Some(throttled)) => {
            Some(ThrottlingCounters { periods, throttled_periods, throttled, bursts, burst })
        }
        _ => None,
    })
}

/// `memory.stat`, hierarchical keys only, and the first line of them that cannot be read.
pub fn parse_memory_stat(file: &[u8]) -> (MemoryStat, Option<&[u8]>) {
    MemoryStat::parse(file, b"total_", |stat, key| {
        Some(match key {
            b"rss" => &mut stat.anon_bytes,
            b"cache" => &mut stat.file_bytes,
            b"inactive_file" => &mut stat.inactive_file_bytes,
            b"swap" => &mut stat.swap_bytes,
            b"pgfault" => &mut stat.page_faults,
            b"pgmajfault" => &mut stat.major_page_faults,
            _ => return None,
        })
    })
}

/// `memory.oom_control`: `oom_kill`, since kernel 4.13; `None` before.
pub fn parse_oom_kills(file: &[u8]) -> Result<Option<u64>, &[u8]> {
    for line in text::lines(file) {
        if let Some(digits) = line.strip_prefix(b"oom_kill ") {
            return text::parse_u64(digits).map(Some).ok_or(line);
        }
    }
    Ok(None)
}

/// What a row of a block I/O file counts. Discards, and the second split into `Sync` and `Async`, are
/// left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `Read`.
    Read,
    /// `Write`.
    Write,
}

/// Hands every `Read` and `Write` row to `row`; returns the first line that cannot be read, which
/// costs only itself.
pub fn parse_blkio(file: &[u8], mut row: impl FnMut(DeviceNumber, Operation, u64)) -> Option<&[u8]> {
    let mut bad = None;
    for line in text::lines(file) {
        match parse_blkio_row(line) {
            Some(Some((device, operation, value))) => row(device, operation, value),
            Some(None) => {}
            None => {
                bad.get_or_insert(line);
            }
        }
    }
    bad
}

type BlkioRow = (DeviceNumber, Operation, u64);

/// `None` if the line cannot be read, `Some(None)` if it is one we leave out.
fn parse_blkio_row(line: &[u8]) -> Option<Option<BlkioRow>> {
    let (device, rest) = text::split_once(line, b' ')?;
    if device == b"Total" {
        return Some(None);
    }
    let (operation, value) = text::split_once(rest, b' ')?;
    // Also of what is left out: a row that broke off takes the next one with it.
    let (device, value) = (devices::parse_number(device)?, text::parse_u64(value)?);
    let operation = match operation {
        b"Read" => Operation::Read,
        b"Write" => Operation::Write,
        _ => return Some(None),
    };
    Some(Some((device, operation, value)))
}

/// `cpu.cfs_quota_us`: microseconds a period; −1 is none.
pub fn parse_quota(file: &[u8]) -> Result<Option<Duration>, &[u8]> {
    if file == b"-1\n" {
        return Ok(None);
    }
    text::parse_single_u64(file).map(|micros| Some(Duration::from_micros(micros))).ok_or(file)
}

/// `cpu.cfs_period_us`: microseconds, never 0.
pub fn parse_period(file: &[u8]) -> Result<Option<Duration>, &[u8]> {
    let micros = text::parse_single_u64(file).filter(|&micros| micros > 0);
    micros.map(|micros| Some(Duration::from_micros(micros))).ok_or(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPUACCT_STAT: &[u8] = b"user 1234\nsystem 56\n";
    const CPU_STAT: &[u8] = b"nr_periods 10\nnr_throttled 3\nthrottled_time 250000000\n\
                              nr_bursts 0\nburst_time 0\n";
    pub(crate) const MEMORY_STAT: &[u8] = b"cache 9764864\nrss 11079680\nrss_huge 0\nshmem 9084928\n\
        mapped_file 7573504\ndirty 12288\nwriteback 0\nworkingset_refault_anon 0\n\
        workingset_refault_file 1306\nswap 1\nswapcached 0\npgpgin 39007\npgpgout 33918\n\
        pgfault 42194\npgmajfault 0\ninactive_anon 0\nactive_anon 1531904\ninactive_file 8192\n\
        active_file 671744\nunevictable 18632704\nhierarchical_memory_limit 9223372036854771712\n\
        hierarchical_memsw_limit 9223372036854771712\ntotal_cache 25853952\ntotal_rss 19746816\n\
        total_rss_huge 0\ntotal_shmem 9084928\ntotal_mapped_file 11022336\ntotal_dirty 73728\n\
        total_writeback 0\ntotal_workingset_refault_anon 0\ntotal_workingset_refault_file 748306\n\
        total_swap 4096\ntotal_swapcached 0\ntotal_pgpgin 7580819\ntotal_pgpgout 7569680\n\
        total_pgfault 8186815\ntotal_pgmajfault 2129\ntotal_inactive_anon 8548352\n\
        total_active_anon 1593344\ntotal_inactive_file 5058560\ntotal_active_file 11710464\n\
        total_unevictable 18632704\n";
    const BLKIO: &[u8] = b"254:0 Read 4096\n254:0 Write 8388608\n254:0 Sync 8388608\n254:0 Async 4096\n\
                           254:0 Discard 65536\n254:0 Total 8458240\n7:0 Read 0\n7:0 Write 512\nTotal 8458752\n";

    fn rows(file: &[u8]) -> (Vec<BlkioRow>, Option<&[u8]>) {
        let mut rows = Vec::new();
        let bad = parse_blkio(file, |device, operation, value| rows.push((device, operation, value)));
        (rows, bad)
    }

    fn device(major: u32, minor: u32) -> DeviceNumber {
        DeviceNumber { major, minor }
    }

    #[test]
    fn usage_counts_nanoseconds() {
        assert_eq!(parse_cpuacct_usage(b"1500000001\n"), Ok(Duration::from_nanos(1_500_000_001)));
        assert_eq!(parse_cpuacct_usage(b"-1\n"), Err(&b"-1\n"[..]));
        assert_eq!(parse_cpuacct_usage(b"15"), Err(&b"15"[..]));
    }

    #[test]
    fn the_sum_over_cpus_is_the_usage() {
        let file = b"1500000001 0 20 \n";
        assert_eq!(parse_cpuacct_percpu(file), Ok(Duration::from_nanos(1_500_000_021)));
        assert!(each_cpu(file).eq([1_500_000_001, 0, 20]));
        for refused in [&b"15 20"[..], b"15 x\n", b"\n", b"", b"18446744073709551615 1\n"] {
            assert_eq!(parse_cpuacct_percpu(refused), Err(refused));
        }
    }

    #[test]
    fn cpuacct_stat_counts_ticks() {
        let expected = (Duration::from_millis(12_340), Duration::from_millis(560));
        assert_eq!(parse_cpuacct_stat(CPUACCT_STAT, 100), Ok(expected));
        assert_eq!(
            parse_cpuacct_stat(b"user 1\nsystem 1\n", 3).unwrap().0,
            Duration::from_nanos(333_333_333)
        );
        assert!(parse_cpuacct_stat(b"user 1\nsystem 18446744073709551615\n", 0).is_ok());
        assert_eq!(parse_cpuacct_stat(b"user 1\n", 100), Err(&b""[..]));
        assert_eq!(parse_cpuacct_stat(b"user 1\nsystem x\n", 100), Err(&b"system x"[..]));
    }

    #[test]
    fn throttled_time_counts_nanoseconds() {
        let throttled = Duration::from_millis(250);
        let (bursts, burst) = (Some(0), Some(Duration::ZERO));
        let expected = ThrottlingCounters { periods: 10, throttled_periods: 3, throttled, bursts, burst };
        assert_eq!(parse_cpu_stat(CPU_STAT), Ok(Some(expected)));
        assert_eq!(parse_cpu_stat(b"nr_bursts 0\n"), Ok(None));
        assert_eq!(parse_cpu_stat(b"nr_periods many\n"), Err(&b"nr_periods many"[..]));
    }

    #[test]
    fn only_the_hierarchical_keys_of_memory_stat_count() {
        let (stat, bad) = parse_memory_stat(MEMORY_STAT);
        let expected = MemoryStat {
            anon_bytes: Some(19_746_816),
            file_bytes: Some(25_853_952),
            inactive_file_bytes: Some(5_058_560),
            swap_bytes: Some(4096),
            page_faults: Some(8_186_815),
            major_page_faults: Some(2129),
        };
        assert_eq!((stat, bad), (expected, None));
    }

    #[test]
    fn a_bad_line_of_memory_stat_costs_its_own_figure() {
        let (stat, bad) = parse_memory_stat(b"total_cache 12x\ntotal_rss 7\ntotal_swap\n");
        assert_eq!((stat.file_bytes, stat.anon_bytes, stat.swap_bytes), (None, Some(7), None));
        assert_eq!(bad, Some(&b"total_cache 12x"[..]));
    }

    #[test]
    fn oom_kills_are_absent_before_kernel_4_13() {
        assert_eq!(parse_oom_kills(b"oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"), Ok(Some(4)));
        assert_eq!(parse_oom_kills(b"oom_kill_disable 0\nunder_oom 0\n"), Ok(None));
        assert_eq!(parse_oom_kills(b"oom_kill x\n"), Err(&b"oom_kill x"[..]));
    }

    #[test]
    fn only_reads_and_writes_are_handed_on() {
        let expected = vec![
            (device(254, 0), Operation::Read, 4096),
            (device(254, 0), Operation::Write, 8_388_608),
            (device(7, 0), Operation::Read, 0),
            (device(7, 0), Operation::Write, 512),
        ];
        assert_eq!(rows(BLKIO), (expected, None));
        assert_eq!(rows(b"Total 0\n"), (vec![], None));
    }

    #[test]
    fn a_bad_row_costs_the_row() {
        let file = b"(unknown) Read 5\n254:0 Read\n254:0 Write -1\n254:0 Read 7\n";
        assert_eq!(rows(file), (vec![(device(254, 0), Operation::Read, 7)], Some(&b"(unknown) Read 5"[..])));
    }

    #[test]
    fn a_quota_of_minus_one_is_none_and_a_period_is_never_zero() {
        assert_eq!(parse_quota(b"150000\n"), Ok(Some(Duration::from_millis(150))));
        assert_eq!(parse_quota(b"-1\n"), Ok(None));
        for refused in [&b"-2\n"[..], b"max\n", b"15", b"-1", b""] {
            assert_eq!(parse_quota(refused), Err(refused));
        }
        assert_eq!(parse_period(b"100000\n"), Ok(Some(Duration::from_millis(100))));
        assert_eq!(parse_period(b"0\n"), Err(&b"0\n"[..]));
    }

    #[test]
    fn every_cut_is_read_right_or_refused() {
        let (whole, _) = parse_memory_stat(MEMORY_STAT);
        for end in 0..MEMORY_STAT.len() {
            let (cut, bad) = parse_memory_stat(&MEMORY_STAT[..end]);
            assert_eq!(bad, None);
            for (cut, whole) in cut.to_array().into_iter().zip(whole.to_array()) {
                assert!(cut.is_none() || cut == whole);
            }
        }
        for end in 0..BLKIO.len() {
            let (cut, bad) = rows(&BLKIO[..end]);
            assert_eq!(bad, None);
            assert!(rows(BLKIO).0.starts_with(&cut));
        }
        for end in 0..CPU_STAT.len() {
            let Some(cut) = parse_cpu_stat(&CPU_STAT[..end]).unwrap() else { continue };
            let whole = parse_cpu_stat(CPU_STAT).unwrap().unwrap();
            let bursts = cut.bursts.and(whole.bursts);
            let burst = cut.burst.and(whole.burst);
            assert_eq!(cut, ThrottlingCounters { bursts, burst, ..whole });
        }
        for end in 0..CPUACCT_STAT.len() {
            assert!(parse_cpuacct_stat(&CPUACCT_STAT[..end], 100).is_err());
        }
    }
}
