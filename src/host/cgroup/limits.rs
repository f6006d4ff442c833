//! What a cgroup may use at most: the smallest of its own limit and its pod's.
//!
//! A pod's cgroup bounds its containers, so a container without a limit has its pod's. Above the pod
//! lie the node's own reservations (`kubepods` and the class levels), which bound all pods together
//! and are no limit of any one of them.
//!
//! Read on slow sweeps only, by open and close: an operator changes limits, the kernel does not.

use rustix::io::Errno;

use crate::model::counters::Limits;
use crate::model::health::{Room, Trouble};
use crate::model::target::{CgroupPath, TargetId};

use super::files::{File, FilePath, complain, read_whole};
use super::layout::{Controller, Layout, Version};
use super::names;
use super::reader::ReadContext;
use super::v1;
use super::v2;

/// v1 writes `i64::MAX` rounded down to a page for *no limit*, whatever the size of a page.
const NO_LIMIT: u64 = 1 << 62;

/// The limit files of one cgroup and of the pod it lies in.
#[derive(Debug)]
pub struct LimitFiles {
    target: TargetId,
    own: FilePath,
    pod: Option<FilePath>,
}

impl LimitFiles {
    /// Of the cgroup at `path`, which is `target`.
    pub fn new(path: &CgroupPath, target: TargetId) -> Self {
        let pod = names::pod_of(path).filter(|pod| pod != path);
        Self { target, own: FilePath::new(path), pod: pod.as_ref().map(FilePath::new) }
    }

    /// Reads all limits. One that cannot be read stays as it was in `before`.
    pub fn read(&mut self, layout: &Layout, before: Limits, context: &mut ReadContext<'_>) -> Limits {
        let mut limits = Level { path: &mut self.own, target: self.target, layout, context }.read();
        if let Some(path) = &mut self.pod {
            let pods = Level { path, target: self.target, layout, context }.read();
            limits.cpu_cores = smaller(limits.cpu_cores, pods.cpu_cores);
            limits.memory_bytes = smaller(limits.memory_bytes, pods.memory_bytes);
            limits.pids = smaller(limits.pids, pods.pids);
        }
        Limits {
            cpu_cores: limits.cpu_cores.unwrap_or(before.cpu_cores),
            memory_bytes: limits.memory_bytes.unwrap_or(before.memory_bytes),
            pids: limits.pids.unwrap_or(before.pids),
        }
    }
}

/// A limit, or none; the error leaves what was known before.
type Limit<T> = Result<Option<T>, Errno>;

/// The limits of one cgroup alone.
struct OwnLimits {
    cpu_cores: Limit<f64>,
    memory_bytes: Limit<u64>,
    pids: Limit<u64>,
}

fn smaller<T: PartialOrd>(own: Limit<T>, pods: Limit<T>) -> Limit<T> {
    Ok(match (own?, pods?) {
        (Some(own), Some(pods)) => Some(if pods < own { pods } else { own }),
        (own, pods) => own.or(pods),
    })
}

/// One cgroup, while its limits are read.
struct Level<'a, 'b> {
    path: &'a mut FilePath,
    target: TargetId,
    layout: &'a Layout,
    context: &'a mut ReadContext<'b>,
}

impl Level<'_, '_> {
    fn read(&mut self) -> OwnLimits {
        OwnLimits {
            cpu_cores: self.read_cpu(),
            memory_bytes: self.read_memory(),
            pids: self.read_one(File::PidsMax, v2::parse_limit),
        }
    }

    fn read_cpu(&mut self) -> Limit<f64> {
        if self.layout.version(Controller::Cpu) != Some(Version::V1) {
            return self.read_one(File::CpuMax, v2::parse_cpu_max);
        }
        let Some(quota) = self.read_one(File::CpuQuota, v1::parse_quota)? else { return Ok(None) };
        let period = self.read_one(File::CpuPeriod, v1::parse_period)?;
        Ok(period.map(|period| quota.as_secs_f64() / period.as_secs_f64()))
    }

    fn read_memory(&mut self) -> Limit<u64> {
        let v1 = self.layout.version(Controller::Memory) == Some(Version::V1);
        let limit = self.read_one(if v1 { File::MemoryLimit } else { File::MemoryMax }, v2::parse_limit)?;
        let most = self.layout.memory_total_bytes().unwrap_or(NO_LIMIT);
        Ok(limit.filter(|&bytes| bytes <= most))
    }

    /// A file that is not there limits nothing: its controller is off.
    fn read_one<T>(
        &mut self,
        file: File,
        parse: impl FnOnce(&[u8]) -> Result<Option<T>, &[u8]>,
    ) -> Result<Option<T>, Errno> {
        let context = &mut *self.context;
        context.health.begin_read(self.target.0, file as u8);
        let read = self.path.open(self.layout, file).and_then(|file| read_whole(&file, context.buffer));
        match read {
            Ok(length) => parse(&context.buffer[..length]).map_err(|line| {
                complain(self.path, self.layout, file, line, context.health);
                Errno::INVAL
            }),
            Err(Errno::NOENT | Errno::NODEV) => Ok(None),
            Err(errno) => {
                let denied = matches!(errno, Errno::ACCESS | Errno::PERM);
                let trouble = if denied { Trouble::Denied } else { Trouble::Io };
                context.health.count(Room::Host, trouble);
                Err(errno)
            }
        }
    }
}
