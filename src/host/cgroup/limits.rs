//! What a cgroup may use at most: the smallest of its own limit and its pod's. Its reservation and its shares are its own.
//!
//! A pod's cgroup bounds its containers, so a container without a limit has its pod's. Above the pod
//! lie the node's own reservations (`kubepods` and the class levels), which bound all pods together
//! and are no limit of any one of them.
//!
//! Read on slow sweeps only, by open and close: an operator changes limits, the kernel does not.

use rustix::io::Errno;

use crate::model::counters::{CpuQuota, Limits, SwapLimit, UnknownLimits};
use crate::model::health::{Room, Trouble};
use crate::model::target::{CgroupPath, TargetId};
use crate::model::unavailable::Unavailable;

use super::file::File;
use super::files::{FilePath, complain, read_whole};
use super::layout::{Controller, Layout, Version};
use super::names;
use super::reader::ReadContext;
use super::v1;
use super::v2;

/// v1 writes `i64::MAX` rounded down to a page for *no limit*, whatever the size of a page.
const NO_LIMIT: u64 = 1 << 62;

/// How many kinds of files there are: those from [`File::CpuQuota`] on.
const LIMIT_FILES: u32 = 12;

/// The limit files of one cgroup and of the pod it lies in.
#[derive(Debug)]
pub struct LimitFiles {
    target: TargetId,
    own: FilePath,
    pod: Option<FilePath>,
    /// Files that were not there when last looked for, a bit each: the pod's after our own.
    missing: u32,
    known: Known,
}

/// Which limits were read at least once.
#[derive(Debug, Default)]
struct Known {
    cpu_cores: bool,
    memory_bytes: bool,
    pids: bool,
    swap: bool,
    reservation_bytes: bool,
    cpu_shares: bool,
}

impl LimitFiles {
    /// Of the cgroup at `path`, which is `target`.
    pub fn new(path: &CgroupPath, target: TargetId) -> Self {
        let pod = names::pod_of(path).filter(|pod| pod != path);
        let (own, pod) = (FilePath::new(path), pod.as_ref().map(FilePath::new));
        Self { target, own, pod, missing: 0, known: Known::default() }
    }

    /// Reads all limits, and says whether all could be read. One that cannot be stays as it was in
    /// `before`; one that never could is unknown.
    pub fn read(&mut self, layout: &Layout, before: Limits, context: &mut ReadContext<'_>) -> (Limits, bool) {
        let (target, missing) = (self.target, &mut self.missing);
        let mut limits = Level { path: &mut self.own, shift: 0, missing, target, layout, context }.read();
        if let Some(path) = &mut self.pod {
            let missing = &mut self.missing;
            let pods = Level { path, shift: LIMIT_FILES, missing, target, layout, context }.read();
            limits.cpu = smaller_quota(limits.cpu, pods.cpu);
            limits.memory_bytes = smaller(limits.memory_bytes, pods.memory_bytes);
            limits.pids = smaller(limits.pids, pods.pids);
            limits.swap = smaller(limits.swap, pods.swap);
        }
        let OwnLimits { cpu, memory_bytes, pids, swap, reservation_bytes, cpu_shares } = &limits;
        let whole = cpu.is_ok()
            && memory_bytes.is_ok()
            && pids.is_ok()
            && swap.is_ok()
            && reservation_bytes.is_ok()
            && cpu_shares.is_ok();
        let Known { cpu_cores, memory_bytes, pids, swap, reservation_bytes, cpu_shares } = &mut self.known;
        let unknown = UnknownLimits {
            cpu_cores: unknown(&limits.cpu, cpu_cores),
            memory_bytes: unknown(&limits.memory_bytes, memory_bytes),
            pids: unknown(&limits.pids, pids),
            swap: unknown(&limits.swap, swap),
            reservation_bytes: unknown(&limits.reservation_bytes, reservation_bytes),
            cpu_shares: unknown(&limits.cpu_shares, cpu_shares),
        };
        let cpu_quota = limits.cpu.unwrap_or(before.cpu_quota);
        let limits = Limits {
            cpu_cores: cpu_quota.map(CpuQuota::cores),
            cpu_quota,
            memory_bytes: limits.memory_bytes.unwrap_or(before.memory_bytes),
            pids: limits.pids.unwrap_or(before.pids),
            swap: limits.swap.unwrap_or(before.swap),
            reservation_bytes: limits.reservation_bytes.unwrap_or(before.reservation_bytes),
            cpu_shares: limits.cpu_shares.unwrap_or(before.cpu_shares),
            unknown,
        };
        (limits, whole)
    }
}

/// Why nobody can say what a limit is: it cannot be read now and could not before.
fn unknown<T>(limit: &Limit<T>, known: &mut bool) -> Option<Unavailable> {
    *known |= limit.is_ok();
    let errno = limit.as_ref().err().filter(|_| !*known)?;
    Some(match *errno {
        Errno::ACCESS | Errno::PERM => Unavailable::Permission,
        _ => Unavailable::NotYet,
    })
}

/// A limit, or none; the error leaves what was known before.
type Limit<T> = Result<Option<T>, Errno>;

/// The limits of one cgroup alone.
struct OwnLimits {
    cpu: Limit<CpuQuota>,
    memory_bytes: Limit<u64>,
    pids: Limit<u64>,
    swap: Limit<SwapLimit>,
    reservation_bytes: Limit<u64>,
    cpu_shares: Limit<u64>,
}

fn smaller<T: PartialOrd>(own: Limit<T>, pods: Limit<T>) -> Limit<T> {
    Ok(match (own?, pods?) {
        (Some(own), Some(pods)) => Some(if pods < own { pods } else { own }),
        (own, pods) => own.or(pods),
    })
}

/// The one that allows less in the same time.
fn smaller_quota(own: Limit<CpuQuota>, pods: Limit<CpuQuota>) -> Limit<CpuQuota> {
    Ok(match (own?, pods?) {
        (Some(own), Some(pods)) => Some(if pods.cores() < own.cores() { pods } else { own }),
        (own, pods) => own.or(pods),
    })
}

/// One cgroup, while its limits are read.
struct Level<'a, 'b> {
    path: &'a mut FilePath,
    /// Of [`LimitFiles::missing`]: the bit of the first file.
    shift: u32,
    missing: &'a mut u32,
    target: TargetId,
    layout: &'a Layout,
    context: &'a mut ReadContext<'b>,
}

impl Level<'_, '_> {
    fn read(&mut self) -> OwnLimits {
        let memory = self.read_memory();
        // More than there is is no limit, but for what it leaves to swap.
        let most = self.layout.memory_total_bytes().unwrap_or(NO_LIMIT);
        OwnLimits {
            cpu: self.read_cpu(),
            memory_bytes: memory.map(|limit| limit.filter(|&bytes| bytes <= most)),
            pids: self.read_one(File::PidsMax, v2::parse_limit),
            swap: self.read_swap(memory),
            // A pod's is none of one of its containers.
            reservation_bytes: if self.shift == 0 { self.read_reservation() } else { Ok(None) },
            cpu_shares: if self.shift == 0 { self.read_shares() } else { Ok(None) },
        }
    }

    fn read_cpu(&mut self) -> Limit<CpuQuota> {
        if self.layout.version(Controller::Cpu) != Some(Version::V1) {
            return self.read_one(File::CpuMax, v2::parse_cpu_max);
        }
        let Some(quota) = self.read_one(File::CpuQuota, v1::parse_quota)? else { return Ok(None) };
        let period = self.read_one(File::CpuPeriod, v1::parse_period)?;
        Ok(period.map(|period| CpuQuota { quota, period }))
    }

    fn read_memory(&mut self) -> Limit<u64> {
        let file = if self.has_memory_v1() { File::MemoryLimit } else { File::MemoryMax };
        self.read_bytes(file)
    }

    /// On v1 memory and swap have one limit together, never below that of memory.
    fn read_swap(&mut self, memory: Limit<u64>) -> Limit<SwapLimit> {
        if !self.has_memory_v1() {
            let limit = self.read_bytes(File::SwapMax)?;
            return Ok(limit.map(|bytes| SwapLimit { bytes, as_told: bytes }));
        }
        let (both, memory) = (self.read_bytes(File::MemswLimit)?, memory?);
        Ok(both
            .map(|as_told| SwapLimit { bytes: as_told.saturating_sub(memory.unwrap_or(as_told)), as_told }))
    }

    fn read_reservation(&mut self) -> Limit<u64> {
        self.read_bytes(if self.has_memory_v1() { File::MemorySoftLimit } else { File::MemoryMin })
    }

    fn read_shares(&mut self) -> Limit<u64> {
        if self.layout.version(Controller::Cpu) == Some(Version::V1) {
            return self.read_one(File::CpuShares, v2::parse_limit);
        }
        let weight = self.read_one(File::CpuWeight, v2::parse_limit)?;
        // What a runtime makes of shares, the other way round.
        Ok(weight.map(|weight| 2 + weight.saturating_sub(1).min(9_999) * 262_142 / 9_999))
    }

    fn read_bytes(&mut self, file: File) -> Limit<u64> {
        Ok(self.read_one(file, v2::parse_limit)?.filter(|&bytes| bytes < NO_LIMIT))
    }

    fn has_memory_v1(&self) -> bool {
        self.layout.version(Controller::Memory) == Some(Version::V1)
    }

    /// A file that is not there limits nothing: its controller is off. It takes two looks to say so.
    fn read_one<T>(
        &mut self,
        file: File,
        parse: impl FnOnce(&[u8]) -> Result<Option<T>, &[u8]>,
    ) -> Result<Option<T>, Errno> {
        let context = &mut *self.context;
        context.health.begin_read(self.target.0, file as u8);
        let read = self.path.open(self.layout, file).and_then(|file| read_whole(&file, context.buffer));
        let bit = 1 << (file as u32 - File::CpuQuota as u32 + self.shift);
        let was_missing = *self.missing & bit != 0;
        *self.missing &= !bit;
        match read {
            Ok(length) => parse(&context.buffer[..length]).map_err(|line| {
                complain(self.path, self.layout, file, line, context.health);
                Errno::INVAL
            }),
            Err(Errno::NOENT) if was_missing => {
                *self.missing |= bit;
                Ok(None)
            }
            Err(errno) => {
                if errno == Errno::NOENT {
                    *self.missing |= bit;
                }
                let trouble = match errno {
                    Errno::NOENT | Errno::NODEV | Errno::SRCH => Trouble::Gone,
                    Errno::ACCESS | Errno::PERM => Trouble::Denied,
                    _ => Trouble::Io,
                };
                context.health.count(Room::Host, trouble);
                Err(errno)
            }
        }
    }
}
