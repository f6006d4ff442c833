//! What cAdvisor calls numbers of `memory.stat`, and the kernel on cgroup v1 and v2. What the kernel does not tell
//! on one of them is absent there.

/// The kernel's keys; the first that there is counts.
pub(super) type Keys = &'static [&'static str];

/// Of the cgroup's own processes on v1, of those below it as well on v2: as cAdvisor has `scope="container"`.
pub(super) const OWN_PAGE_FAULTS: Keys = &["pgfault"];
/// As [`OWN_PAGE_FAULTS`], of those that had to wait for a disk.
pub(super) const OWN_MAJOR_PAGE_FAULTS: Keys = &["pgmajfault"];
pub(super) const MAPPED_FILE: Keys = &["total_mapped_file", "file_mapped"];
pub(super) const ACTIVE_FILE: Keys = &["total_active_file", "active_file"];
pub(super) const DIRTY: Keys = &["total_dirty", "file_dirty"];
pub(super) const WRITEBACK: Keys = &["total_writeback", "file_writeback"];
/// Since Linux 5.18, cgroup v2 alone.
pub(super) const KERNEL: Keys = &["kernel"];
/// Cgroup v2 alone, as is the next.
pub(super) const PAGES_SCANNED: Keys = &["pgscan"];
pub(super) const PAGES_STOLEN: Keys = &["pgsteal"];
/// Since Linux 5.9.
pub(super) const REFAULTS_OF_FILE: Keys = &["total_workingset_refault_file", "workingset_refault_file"];
/// Since Linux 5.9.
pub(super) const REFAULTS_OF_ANON: Keys = &["total_workingset_refault_anon", "workingset_refault_anon"];
