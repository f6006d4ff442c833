//! What the kernel counts, in one unit whatever the cgroup version. `Option` says *not known*.

use std::fmt;
use std::time::Duration;

use super::unavailable::Unavailable;

/// CPU time one cgroup has used since it was made, descendants included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuCounters {
    /// v2 `cpu.stat` `usage_usec`; v1 `cpuacct.usage` (nanoseconds).
    pub usage: Duration,
    /// Time in user mode. v2 `user_usec`; v1 `cpuacct.stat` `user` (ticks of `USER_HZ`).
    pub user: Option<Duration>,
    /// Time in the kernel. v2 `system_usec`; v1 `cpuacct.stat` `system`.
    pub system: Option<Duration>,
    /// Bandwidth control; absent where the `cpu` controller is not on for this cgroup.
    pub throttling: Result<ThrottlingCounters, Unavailable>,
}

/// CFS bandwidth control of one cgroup: `cpu.stat` `nr_periods`, `nr_throttled`, and
/// `throttled_usec` (v2) or `throttled_time` (v1, nanoseconds).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThrottlingCounters {
    /// Enforcement periods in which the cgroup had something to run.
    pub periods: u64,
    /// Of those, the ones in which it ran out of quota.
    pub throttled_periods: u64,
    /// Time its tasks were held back.
    pub throttled: Duration,
    /// Periods in which it used more than the quota, out of what it had saved: `nr_bursts`, since Linux 5.14.
    pub bursts: Option<u64>,
    /// CPU time beyond the quota: `burst_usec` (v2) or `burst_time` (v1, nanoseconds).
    pub burst: Option<Duration>,
}

/// Memory charged to one cgroup at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryCounters {
    /// Everything charged, page cache included. v2 `memory.current`; v1 `memory.usage_in_bytes`.
    pub usage_bytes: u64,
    /// Anonymous memory. v2 `memory.stat` `anon`; v1 `total_rss`.
    pub anon_bytes: Option<u64>,
    /// Page cache, tmpfs included. v2 `file`; v1 `total_cache`.
    pub file_bytes: Option<u64>,
    /// Page cache the kernel drops first. v2 `inactive_file`; v1 `total_inactive_file`.
    pub inactive_file_bytes: Option<u64>,
    /// Swapped-out memory. v2 `memory.swap.current`; v1 `total_swap`. `None` without swap accounting.
    pub swap_bytes: Option<u64>,
    /// The highest usage so far. v2 `memory.peak` (kernel 5.19); v1 `memory.max_usage_in_bytes`.
    pub peak_bytes: Option<u64>,
    /// All page faults. v2 `pgfault`; v1 `total_pgfault`.
    pub page_faults: Option<u64>,
    /// Page faults that had to read from disk. v2 `pgmajfault`; v1 `total_pgmajfault`.
    pub major_page_faults: Option<u64>,
    /// Processes killed for lack of memory. v2 `memory.events` `oom_kill`, descendants included;
    /// v1 `memory.oom_control` `oom_kill`, this cgroup alone.
    pub oom_kills: Option<u64>,
    /// How often usage was about to go over the limit. v2 `memory.events` `max`, descendants included; v1
    /// `memory.failcnt`, this cgroup alone.
    pub limit_hits: Option<u64>,
    /// How often its tasks were held back because usage was above `memory.high`: v2 `memory.events` `high`, descendants
    /// included.
    pub high_hits: Option<u64>,
    /// How often no memory could be had below the limit, whether a process was killed for it or not: v2 `memory.events`
    /// `oom`, descendants included.
    pub ooms: Option<u64>,
}

impl MemoryCounters {
    /// Usage without the page cache that would be dropped first: the kubelet's formula, which the
    /// eviction manager and `kubectl top` use. Never below 0, since the two parts are read apart.
    pub fn working_set_bytes(&self) -> Option<u64> {
        self.inactive_file_bytes.map(|inactive| self.usage_bytes.saturating_sub(inactive))
    }
}

/// Block I/O: reads and writes, never discards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoCounters {
    /// v2 `io.stat` `rbytes`; v1 the `Read` row of `…io_service_bytes_recursive`.
    pub read_bytes: u64,
    /// v2 `wbytes`; v1 `Write`.
    pub write_bytes: u64,
    /// v2 `rios`; v1 the `Read` row of `…io_serviced_recursive`.
    pub read_operations: u64,
    /// v2 `wios`; v1 `Write`.
    pub write_operations: u64,
}

impl IoCounters {
    /// The sum of the two, saturating.
    pub fn plus(self, other: Self) -> Self {
        Self {
            read_bytes: self.read_bytes.saturating_add(other.read_bytes),
            write_bytes: self.write_bytes.saturating_add(other.write_bytes),
            read_operations: self.read_operations.saturating_add(other.read_operations),
            write_operations: self.write_operations.saturating_add(other.write_operations),
        }
    }

    /// What was added since `earlier`; `None` if any counter went back.
    pub fn since(self, earlier: Self) -> Option<Self> {
        Some(Self {
            read_bytes: self.read_bytes.checked_sub(earlier.read_bytes)?,
            write_bytes: self.write_bytes.checked_sub(earlier.write_bytes)?,
            read_operations: self.read_operations.checked_sub(earlier.read_operations)?,
            write_operations: self.write_operations.checked_sub(earlier.write_operations)?,
        })
    }
}

/// A block device number, as in `/sys/dev/block/<major>:<minor>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceNumber {
    /// The driver's number.
    pub major: u32,
    /// The driver's own number for the disk.
    pub minor: u32,
}

/// `254:0`, as the kernel writes it.
impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// Block I/O of one cgroup on one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceRow {
    /// Which device.
    pub device: DeviceNumber,
    /// Its own I/O rests on other devices that are counted too (dm, md): not part of totals.
    pub stacked: bool,
    /// What was read and written.
    pub counters: IoCounters,
}

/// Traffic of one interface or of a whole pod, seen from inside the pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkCounters {
    /// Received bytes, link headers included.
    pub rx_bytes: u64,
    /// Received packets.
    pub rx_packets: u64,
    /// Received packets with errors.
    pub rx_errors: u64,
    /// Received packets the kernel had no room for.
    pub rx_dropped: u64,
    /// Sent bytes, link headers included.
    pub tx_bytes: u64,
    /// Sent packets.
    pub tx_packets: u64,
    /// Sending errors.
    pub tx_errors: u64,
    /// Packets dropped before they left.
    pub tx_dropped: u64,
}

impl NetworkCounters {
    /// The eight counters in the order of their declaration.
    pub fn to_array(self) -> [u64; 8] {
        let Self { rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped } =
            self;
        [rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped]
    }

    /// The inverse of [`Self::to_array`].
    pub fn from_array(counters: [u64; 8]) -> Self {
        let [rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped] =
            counters;
        Self { rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped }
    }

    /// The sum of the two, saturating.
    pub fn plus(self, other: Self) -> Self {
        let (a, b) = (self.to_array(), other.to_array());
        Self::from_array(std::array::from_fn(|i| a[i].saturating_add(b[i])))
    }

    /// What was added since `earlier`; `None` if any counter went back.
    pub fn since(self, earlier: Self) -> Option<Self> {
        let (a, b) = (self.to_array(), earlier.to_array());
        let mut added = [0; 8];
        for i in 0..8 {
            added[i] = a[i].checked_sub(b[i])?;
        }
        Some(Self::from_array(added))
    }
}

/// The name of a network interface: at most 15 bytes, any but `/`, white space and NUL. Kept inline,
/// since a sweep holds one for each interface and must not allocate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct InterfaceName {
    bytes: [u8; 16],
    len: u8,
}

impl InterfaceName {
    /// `None` if `name` is empty or longer than the kernel allows (`IFNAMSIZ` − 1).
    pub fn new(name: &[u8]) -> Option<Self> {
        let len = u8::try_from(name.len()).ok().filter(|len| (1..=15).contains(len))?;
        let mut bytes = [0; 16];
        bytes[..name.len()].copy_from_slice(name);
        Some(Self { bytes, len })
    }

    /// The name as the kernel spells it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Display for InterfaceName {
    /// Printable ASCII as it is, any other byte as `\xNN`, so that two names never look the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.as_bytes() {
            match byte {
                b'\\' => f.write_str("\\\\")?,
                0x21..=0x7e => write!(f, "{}", char::from(byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// One interface of a netns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceRow {
    /// As in `/proc/<pid>/net/dev`.
    pub name: InterfaceName,
    /// It carries the default route; without one it is `eth0`, as runtimes call the first interface.
    pub primary: bool,
    /// It is part of the pod's total: not `lo`, not a tunnel of the kernel's own, not a vlan child.
    pub counted: bool,
    /// Its traffic.
    pub counters: NetworkCounters,
}

/// Processes and threads in one cgroup: `pids.current`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PidsCounters {
    /// Tasks now.
    pub current: u64,
}

/// Pressure stall information of one resource (`Documentation/accounting/psi.rst`).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stall {
    /// While some task waited.
    pub some: StallTime,
    /// While all tasks waited; the CPU file of old kernels does not say.
    pub full: Option<StallTime>,
}

/// How long tasks waited. The averages are in percent, as the kernel prints them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StallTime {
    /// Since the cgroup was made: `total` (microseconds in the file).
    pub total: Duration,
    /// Share of the last 10 s.
    pub avg10: f64,
    /// Share of the last minute.
    pub avg60: f64,
    /// Share of the last five minutes.
    pub avg300: f64,
}

/// Pressure on the three resources; each is absent on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PressureCounters {
    /// `cpu.pressure`.
    pub cpu: Option<Stall>,
    /// `memory.pressure`.
    pub memory: Option<Stall>,
    /// `io.pressure`.
    pub io: Option<Stall>,
}

/// CPU time a cgroup may use in each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuQuota {
    /// v2 the first number of `cpu.max`; v1 `cpu.cfs_quota_us`.
    pub quota: Duration,
    /// v2 the second; v1 `cpu.cfs_period_us`. Never 0.
    pub period: Duration,
}

impl CpuQuota {
    /// As many cores.
    #[expect(clippy::cast_precision_loss, reason = "the kernel allows at most 2^44 microseconds")]
    pub fn cores(self) -> f64 {
        self.quota.as_micros() as f64 / self.period.as_micros() as f64
    }
}

/// What the cgroup may use at most. `None` means no limit, or that it is among the unknown ones. The smallest of
/// the cgroup's own and its ancestors' limits; read every few seconds, since an operator changes it and the
/// kernel does not.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// v2 `cpu.max`; v1 `cpu.cfs_quota_us` / `cpu.cfs_period_us`.
    pub cpu_cores: Option<f64>,
    /// The same as the kernel has it.
    pub cpu_quota: Option<CpuQuota>,
    /// v2 `memory.max`; v1 `memory.limit_in_bytes`.
    pub memory_bytes: Option<u64>,
    /// `pids.max`.
    pub pids: Option<u64>,
    /// Of swapped-out memory.
    pub swap: Option<SwapLimit>,
    /// What is left to the cgroup while memory is short: v2 `memory.min`, where 0 is nothing; v1
    /// `memory.soft_limit_in_bytes`, where none is all. Its own, whatever its ancestors have.
    pub reservation_bytes: Option<u64>,
    /// Its share of the CPU while that is short: v1 `cpu.shares`, 1,024 of a cgroup that nobody told; v2 what cAdvisor makes
    /// of `cpu.weight`, 2,597 of such a one. Its own.
    pub cpu_shares: Option<u64>,
    /// Why a limit is not known, so that its absence does not mean that there is none.
    pub unknown: UnknownLimits,
}

/// Swap that a cgroup may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SwapLimit {
    /// Of swap alone. v2 `memory.swap.max`; v1 `memory.memsw.limit_in_bytes` without `memory.limit_in_bytes`.
    pub bytes: u64,
    /// As the kernel has it: on v1 memory and swap have one limit together.
    pub as_told: u64,
}

impl Limits {
    /// Nobody knows any of them.
    pub fn unknown(why: Unavailable) -> Self {
        let why = Some(why);
        let unknown = UnknownLimits {
            cpu_cores: why,
            memory_bytes: why,
            pids: why,
            swap: why,
            reservation_bytes: why,
            cpu_shares: why,
        };
        Self { unknown, ..Self::default() }
    }
}

/// Which limits have never been read, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnknownLimits {
    /// Of [`Limits::cpu_cores`].
    pub cpu_cores: Option<Unavailable>,
    /// Of [`Limits::memory_bytes`].
    pub memory_bytes: Option<Unavailable>,
    /// Of [`Limits::pids`].
    pub pids: Option<Unavailable>,
    /// Of [`Limits::swap`].
    pub swap: Option<Unavailable>,
    /// Of [`Limits::reservation_bytes`].
    pub reservation_bytes: Option<Unavailable>,
    /// Of [`Limits::cpu_shares`].
    pub cpu_shares: Option<Unavailable>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `memory.stat` may lag behind the usage by two seconds.
    #[test]
    fn a_working_set_is_never_below_zero_and_not_known_by_half() {
        let of = |usage_bytes, inactive_file_bytes| {
            MemoryCounters { usage_bytes, inactive_file_bytes, ..MemoryCounters::default() }
                .working_set_bytes()
        };
        assert_eq!([of(9, Some(4)), of(4, Some(9)), of(9, None)], [Some(5), Some(0), None]);
    }
}
