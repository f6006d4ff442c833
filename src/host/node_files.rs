//! The texts of a node's own figures: `/proc/stat`, `/proc/meminfo`, `/proc/diskstats`, `/proc/vmstat`,
//! `/proc/loadavg`. Pure.
//!
//! proc(5) and `Documentation/admin-guide/iostats.rst`. Real lines:
//!
//! ```text
//! cpu  90712 1520 31021 4711228 2210 0 892 311 0 0
//! MemAvailable:   24131292 kB
//!  254       0 vda 65549 12726 11170658 27184 11055 41235 14535096 78063 0 15380 105890 4271 127 268688 606 510 36
//! ```

use std::time::Duration;

use super::text;
use crate::model::counters::{DeviceNumber, IoCounters};
use crate::model::sweep::{NodeCpu, NodeMemory, NodePaging};
use crate::model::time::WallTime;

/// CPU time of the whole node. `hertz` is the unit of the file: `USER_HZ`, ticks a second.
///
/// The kernel counts guest time in `user` and `nice` too, so it is not added again.
pub(super) fn parse_stat(stat: &[u8], hertz: u64) -> Option<NodeCpu> {
    let mut lines = text::lines(stat);
    let mut ticks = text::fields(lines.next()?);
    if ticks.next()? != b"cpu" {
        return None;
    }
    let mut next = || ticks.next().and_then(text::parse_u64);
    let (user, nice, system, idle, iowait) = (next()?, next()?, next()?, next()?, next()?);
    let (irq, softirq, steal) = (next()?, next()?, next()?);
    let user = user.checked_add(nice)?;
    let system = system.checked_add(irq)?.checked_add(softirq)?;
    let usage = user.checked_add(system)?.checked_add(steal)?;
    let waiting = idle.checked_add(iowait)?;
    let elapsed = user.checked_add(system)?.checked_add(waiting)?;
    let cores = lines.take_while(|line| line.starts_with(b"cpu")).count();
    Some(NodeCpu {
        usage: time_of(usage, hertz)?,
        user: time_of(user, hertz)?,
        system: time_of(system, hertz)?,
        elapsed: time_of(elapsed, hertz)?,
        cores: u32::try_from(cores).ok()?,
    })
}

/// `btime 1795050123`: when the kernel started, in seconds since the epoch.
pub(super) fn parse_boot_time(stat: &[u8]) -> Option<WallTime> {
    let mut lines = text::lines(stat).filter_map(|line| text::split_once(line, b' '));
    let (_, seconds) = lines.find(|(key, _)| *key == b"btime")?;
    // Of a text that was cut off, the last number may be half of one.
    lines.next()?;
    Some(WallTime::from_unix_nanos(text::parse_u64(seconds)?.checked_mul(1_000_000_000)?))
}

fn time_of(ticks: u64, hertz: u64) -> Option<Duration> {
    let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(hertz.max(1));
    u64::try_from(nanos).ok().map(Duration::from_nanos)
}

/// Memory of the whole node. Swap is absent from kernels without it, and then 0.
pub(super) fn parse_meminfo(meminfo: &[u8]) -> Option<NodeMemory> {
    let (mut total, mut available, mut free) = (None, None, None);
    let (mut cached, mut buffers, mut reclaimable) = (None, None, None);
    let (mut inactive_file, mut swap_total, mut swap_free) = (None, None, None);
    for line in text::lines(meminfo) {
        let Some((key, value)) = text::split_once(line, b':') else { continue };
        let slot = match key {
            b"MemTotal" => &mut total,
            b"MemAvailable" => &mut available,
            b"MemFree" => &mut free,
            b"Cached" => &mut cached,
            b"Buffers" => &mut buffers,
            b"SReclaimable" => &mut reclaimable,
            b"Inactive(file)" => &mut inactive_file,
            b"SwapTotal" => &mut swap_total,
            b"SwapFree" => &mut swap_free,
            _ => continue,
        };
        *slot = Some(kibibytes(value)?);
    }
    let swap_total_bytes = swap_total.unwrap_or(0);
    Some(NodeMemory {
        total_bytes: total?,
        available_bytes: available?,
        free_bytes: free?,
        cached_bytes: cached?.checked_add(buffers?)?.checked_add(reclaimable?)?,
        inactive_file_bytes: inactive_file,
        swap_used_bytes: swap_total_bytes.saturating_sub(swap_free.unwrap_or(0)),
        swap_total_bytes,
    })
}

/// `   24131292 kB`.
fn kibibytes(value: &[u8]) -> Option<u64> {
    let mut fields = text::fields(value);
    let number = text::parse_u64(fields.next()?)?;
    (fields.next()? == b"kB").then(|| number.checked_mul(1024))?
}

/// Memory of processes, and their page faults since boot. `page_bytes` is the unit of `nr_anon_pages`.
pub(super) fn parse_paging(vmstat: &[u8], page_bytes: u64) -> Option<NodePaging> {
    let (mut anon, mut faults, mut major) = (None, None, None);
    for line in text::lines(vmstat) {
        let Some((key, value)) = text::split_once(line, b' ') else { continue };
        let slot = match key {
            b"nr_anon_pages" => &mut anon,
            b"pgfault" => &mut faults,
            b"pgmajfault" => &mut major,
            _ => continue,
        };
        *slot = Some(text::parse_u64(value)?);
    }
    Some(NodePaging {
        anon_bytes: anon?.checked_mul(page_bytes)?,
        page_faults: faults?,
        major_page_faults: major?,
    })
}

/// Processes and threads there are: the number after the slash in `0.20 0.18 0.12 1/80 11206`.
pub(super) fn parse_tasks(loadavg: &[u8]) -> Option<u64> {
    let counts = text::fields(text::lines(loadavg).next()?).nth(3)?;
    let (runnable, all) = text::split_once(counts, b'/')?;
    text::parse_u64(runnable)?;
    text::parse_u64(all)
}

/// One line of `diskstats`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DiskLine<'a> {
    pub(super) device: DeviceNumber,
    pub(super) name: &'a [u8],
    pub(super) counters: IoCounters,
}

/// The kernel's unit here, whatever the disk's own sectors are.
const SECTOR: u64 = 512;

pub(super) fn parse_disk_line(line: &[u8]) -> Option<DiskLine<'_>> {
    let mut fields = text::fields(line);
    let major = text::parse_u32(fields.next()?)?;
    let minor = text::parse_u32(fields.next()?)?;
    let name = fields.next()?;
    let mut next = || fields.next().and_then(text::parse_u64);
    let (read_operations, _merged, sectors_read, _millis) = (next()?, next()?, next()?, next()?);
    let (write_operations, _merged, sectors_written, _millis) = (next()?, next()?, next()?, next()?);
    let counters = IoCounters {
        read_bytes: sectors_read.checked_mul(SECTOR)?,
        write_bytes: sectors_written.checked_mul(SECTOR)?,
        read_operations,
        write_operations,
    };
    Some(DiskLine { device: DeviceNumber { major, minor }, name, counters })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STAT: &[u8] = b"cpu  90712 1520 31021 4711228 2210 7 892 311 400 50\n\
        cpu0 45356 760 15510 2355614 1105 0 446 155 0 0\n\
        cpu1 45356 760 15511 2355614 1105 0 446 156 0 0\n\
        intr 114141779 0 0\nctxt 5\nbtime 1795050123\nprocesses 7\n";

    #[test]
    fn the_start_of_the_kernel_is_read_whole_or_not_at_all() {
        let booted_at = Some(WallTime::from_unix_nanos(1_795_050_123_000_000_000));
        assert_eq!(parse_boot_time(STAT), booted_at);
        for end in 0..STAT.len() {
            let cut = parse_boot_time(&STAT[..end]);
            assert!(cut.is_none() || cut == booted_at, "cut at {end}");
        }
        assert_eq!(parse_boot_time(b"btime x\nprocesses 7\n"), None);
    }

    #[test]
    fn usage_is_everything_but_idle_and_iowait_with_guests_counted_once() {
        let cpu = parse_stat(STAT, 100).unwrap();
        assert_eq!(cpu.usage, Duration::from_millis((90_712 + 1520 + 31_021 + 7 + 892 + 311) * 10));
        assert_eq!(cpu.user, Duration::from_millis((90_712 + 1520) * 10));
        assert_eq!(cpu.system, Duration::from_millis((31_021 + 7 + 892) * 10));
        assert_eq!(cpu.cores, 2);
    }

    #[test]
    fn elapsed_is_the_first_seven_fields_as_docker_adds_them_up() {
        let cpu = parse_stat(STAT, 100).unwrap();
        let ticks: u64 = std::str::from_utf8(STAT)
            .unwrap()
            .split_whitespace()
            .skip(1)
            .take(7)
            .map(|field| field.parse::<u64>().unwrap())
            .sum();
        assert_eq!(cpu.elapsed, Duration::from_millis(ticks * 10));
        assert!(cpu.elapsed > cpu.usage);
    }

    #[test]
    fn a_stat_that_overflows_or_lacks_a_field_is_refused() {
        assert_eq!(parse_stat(b"cpu  1 2 3 4 5 6 7\n", 100), None);
        assert_eq!(parse_stat(b"cpu  18446744073709551615 1 3 4 5 6 7 8\n", 100), None);
        assert_eq!(parse_stat(b"cpu0 1 2 3 4 5 6 7 8\n", 100), None);
        assert_eq!(parse_stat(b"", 100), None);
    }

    const MEMINFO: &[u8] = b"MemTotal:       49368168 kB\nMemFree:        40000000 kB\n\
        MemAvailable:   48000000 kB\nBuffers:            1000 kB\nCached:          2000000 kB\n\
        SwapCached:            5 kB\nInactive:            700 kB\nInactive(file):      600 kB\nSwapTotal:       1000000 kB\nSwapFree:         900000 kB\n\
        SReclaimable:      30000 kB\nHugePages_Total:       0\n";

    #[test]
    fn memory_is_in_bytes() {
        let memory = parse_meminfo(MEMINFO).unwrap();
        assert_eq!(memory.total_bytes, 49_368_168 * 1024);
        assert_eq!(memory.available_bytes, 48_000_000 * 1024);
        assert_eq!(memory.free_bytes, 40_000_000 * 1024);
        assert_eq!(memory.cached_bytes, (2_000_000 + 1000 + 30_000) * 1024);
        assert_eq!(memory.inactive_file_bytes, Some(600 * 1024));
        assert_eq!(memory.working_set_bytes(), Some((49_368_168 - 40_000_000 - 600) * 1024));
        assert_eq!(memory.swap_used_bytes, 100_000 * 1024);
        assert_eq!(memory.swap_total_bytes, 1_000_000 * 1024);
    }

    #[test]
    fn no_cut_of_a_file_gives_a_wrong_figure() {
        for end in 0..STAT.len() {
            let whole = parse_stat(STAT, 100).unwrap();
            let cut = parse_stat(&STAT[..end], 100);
            assert!(cut.is_none_or(|cut| cut.usage == whole.usage && cut.cores <= whole.cores));
        }
        let whole = parse_meminfo(MEMINFO).unwrap();
        for end in 0..MEMINFO.len() {
            assert!(parse_meminfo(&MEMINFO[..end]).is_none_or(|cut| cut == whole), "cut at {end}");
        }
    }

    #[test]
    fn a_disk_is_counted_in_sectors_of_512_bytes() {
        let line = b" 254       0 vda 65549 12726 11170658 27184 11055 41235 14535096 78063 0 15380 105890 4271 127 268688 606 510 36";
        let disk = parse_disk_line(line).unwrap();
        assert_eq!((disk.device, disk.name), (DeviceNumber { major: 254, minor: 0 }, &b"vda"[..]));
        let counters = IoCounters {
            read_bytes: 11_170_658 * 512,
            write_bytes: 14_535_096 * 512,
            read_operations: 65_549,
            write_operations: 11_055,
        };
        assert_eq!(disk.counters, counters);
        assert_eq!(parse_disk_line(b" 254 0 vda 1 2 3 4 5 6"), None);
        assert_eq!(parse_disk_line(b" 254 0 vda 1 2 18446744073709551615 4 5 6 7 8"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = (parse_stat(&bytes, 100), parse_meminfo(&bytes), parse_disk_line(&bytes));
        }
    }
}
