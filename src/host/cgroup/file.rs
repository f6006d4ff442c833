//! Which files of a cgroup there are, and in which hierarchy.

use super::layout::Controller;

/// A file of a cgroup, by number as [`crate::model::health::Health::begin_read`] notes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is the kernel's file of that name, listed in FILES")]
pub enum File {
    CpuacctUsage,
    CpuacctUsagePercpu,
    CpuacctStat,
    CpuStatV1,
    CpuStatV2,
    MemoryUsage,
    MemoryMaxUsage,
    MemoryFailcnt,
    MemoryOomControl,
    MemoryStat,
    MemoryCurrent,
    MemoryEvents,
    MemoryPeak,
    MemorySwapCurrent,
    BfqBytes,
    BfqOperations,
    ThrottleBytes,
    ThrottleOperations,
    IoStat,
    PidsCurrent,
    CpuPressure,
    MemoryPressure,
    IoPressure,
    CpuQuota,
    CpuPeriod,
    CpuMax,
    MemoryLimit,
    MemoryMax,
    PidsMax,
    MemswLimit,
    SwapMax,
    MemorySoftLimit,
    MemoryMin,
    CpuShares,
    CpuWeight,
}

/// Name and hierarchy of each [`File`], by number. `cpu.stat` of version 2 has the CPU time as well.
pub(super) const FILES: [(&str, Controller); 35] = [
    ("cpuacct.usage", Controller::Cpuacct),
    ("cpuacct.usage_percpu", Controller::Cpuacct),
    ("cpuacct.stat", Controller::Cpuacct),
    ("cpu.stat", Controller::Cpu),
    ("cpu.stat", Controller::Cpuacct),
    ("memory.usage_in_bytes", Controller::Memory),
    ("memory.max_usage_in_bytes", Controller::Memory),
    ("memory.failcnt", Controller::Memory),
    ("memory.oom_control", Controller::Memory),
    ("memory.stat", Controller::Memory),
    ("memory.current", Controller::Memory),
    ("memory.events", Controller::Memory),
    ("memory.peak", Controller::Memory),
    ("memory.swap.current", Controller::Memory),
    ("blkio.bfq.io_service_bytes_recursive", Controller::Blkio),
    ("blkio.bfq.io_serviced_recursive", Controller::Blkio),
    ("blkio.throttle.io_service_bytes_recursive", Controller::Blkio),
    ("blkio.throttle.io_serviced_recursive", Controller::Blkio),
    ("io.stat", Controller::Blkio),
    ("pids.current", Controller::Pids),
    ("cpu.pressure", Controller::Pressure),
    ("memory.pressure", Controller::Pressure),
    ("io.pressure", Controller::Pressure),
    ("cpu.cfs_quota_us", Controller::Cpu),
    ("cpu.cfs_period_us", Controller::Cpu),
    ("cpu.max", Controller::Cpu),
    ("memory.limit_in_bytes", Controller::Memory),
    ("memory.max", Controller::Memory),
    ("pids.max", Controller::Pids),
    ("memory.memsw.limit_in_bytes", Controller::Memory),
    ("memory.swap.max", Controller::Memory),
    ("memory.soft_limit_in_bytes", Controller::Memory),
    ("memory.min", Controller::Memory),
    ("cpu.shares", Controller::Cpu),
    ("cpu.weight", Controller::Cpu),
];

/// The longest name in [`FILES`].
pub(super) const LONGEST_NAME: usize = 41;
/// Files that are kept open: those before [`File::CpuQuota`]. Limits are read too rarely.
pub(super) const KEPT: usize = File::CpuQuota as usize;

/// The name of a file by its number, for the log.
pub fn file_name(file: u8) -> &'static str {
    FILES.get(usize::from(file)).map_or("unknown file", |(name, _)| name)
}

impl File {
    /// The kernel's name for it.
    pub fn name(self) -> &'static str {
        FILES[self as usize].0
    }

    /// Which hierarchy it is in.
    pub fn controller(self) -> Controller {
        FILES[self as usize].1
    }
}
