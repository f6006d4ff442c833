//! What a node is, as far as its readers want to be told: read once at start.

/// The node as it was when this process started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Of the kernel that runs: `/proc/sys/kernel/osrelease`.
    pub kernel_release: Option<String>,
    /// By which version of cgroups memory is accounted; `None` where it is not.
    pub memory_cgroups: Option<CgroupVersion>,
    /// What the kernel says of memory that is not limited: on cgroup v1 all pages that can be counted; on v2 `max`,
    /// which is no number.
    pub unlimited_memory_bytes: Option<u64>,
    /// Which start of the kernel this is: `/proc/sys/kernel/random/boot_id`.
    pub boot_id: Option<String>,
    /// What it computes with.
    pub processors: Processors,
}

/// The node's processors, as far as `/proc/cpuinfo` tells them apart: on ARM it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processors {
    /// `vendor_id`.
    pub vendor: Option<String>,
    /// Different pairs of `physical id` and `core id`.
    pub cores: Option<usize>,
    /// Different values of `physical id`.
    pub sockets: Option<usize>,
    /// The highest frequency, in kHz: `cpufreq/cpuinfo_max_freq` of the first, else what its `cpu MHz` was.
    pub kilohertz: Option<u64>,
}

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupVersion {
    /// A hierarchy for each controller.
    V1,
    /// One for all.
    V2,
}
