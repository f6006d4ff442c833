//! What the kernel allows this process: descriptors, and the memory they cost.

use std::path::Path;

use rustix::process::Resource;
use rustix::process::getrlimit;
use rustix::process::setrlimit;

use super::cgroup::v2;
use super::syscall;

/// Kernel memory of one cgroup descriptor after its first read, charged to the reader's own cgroup:
/// measured on 6.18 as 4.4 KB.
const DESCRIPTOR_BYTES: u64 = 4_505;

/// Descriptors kept free for sockets, `/proc` directories and files that are opened and closed.
const RESERVED: u64 = 384;

/// How many processes may be pinned: three quarters of the descriptors that are to spare. Without a pin a
/// pod has no network figures; without a cached file a sweep only takes longer.
pub fn pinned_processes() -> usize {
    let spare = spare_descriptors();
    usize::try_from(spare - spare / 4).unwrap_or(usize::MAX)
}

/// How many cgroup files may stay open: no more than the rest of the descriptors and an eighth of our memory
/// limit pay for.
pub fn cached_descriptors() -> usize {
    let paid_for = own_memory_limit().map_or(u64::MAX, |bytes| bytes / 8 / DESCRIPTOR_BYTES);
    usize::try_from((spare_descriptors() / 4).min(paid_for)).unwrap_or(usize::MAX)
}

/// Raises the soft limit on descriptors to the hard one, and returns what is not kept free of it.
fn spare_descriptors() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum.or(limit.current);
    // Refused at worst: then the soft limit stands.
    let _ = setrlimit(Resource::Nofile, limit);
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    // A small limit is shared half and half.
    descriptors.saturating_sub(RESERVED.min(descriptors / 2))
}

/// The memory limit of our own container, as its own cgroup namespace shows it.
pub(super) fn own_memory_limit() -> Option<u64> {
    let read = |path| syscall::contents(Path::new("/sys/fs/cgroup").join(path)).ok();
    let text = read("memory.max").or_else(|| read("memory/memory.limit_in_bytes"))?;
    // cgroup v1 spells *no limit* as a number that no machine has.
    v2::parse_limit(&text).ok().flatten().filter(|bytes| *bytes < 1 << 60)
}
