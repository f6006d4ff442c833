//! Why a figure is absent. Absent is not zero: zero means *looked, and found nothing*.

use serde::{Deserialize, Serialize};

/// The fixed list of reasons. On the wire each is its name in `snake_case`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unavailable {
    /// The pod uses the node's own network: its traffic is the node's.
    HostNetwork,
    /// No live process of the pod could be found, so its network namespace cannot be read.
    NoProcess,
    /// The network namespace ended, or the process whose view of it we read left it.
    NetnsGone,
    /// The kernel has no such controller for this cgroup.
    ControllerOff,
    /// The kernel was built or started without pressure stall information.
    KernelWithoutPsi,
    /// cgroup v1 does not count block I/O on this node until a throttle rule or BFQ makes it.
    BlkioNotAccounted,
    /// `/proc` is mounted with `hidepid`, so other users' processes cannot be seen.
    Hidepid,
    /// The kernel or a security module refused the read.
    Permission,
    /// The containers run inside a virtual machine whose inside the node cannot see.
    RuntimeVm,
    /// Not known so far: a second sample, a retry or a name is still to come.
    NotYet,
}

impl Unavailable {
    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::HostNetwork => "host_network",
            Self::NoProcess => "no_process",
            Self::NetnsGone => "netns_gone",
            Self::ControllerOff => "controller_off",
            Self::KernelWithoutPsi => "kernel_without_psi",
            Self::BlkioNotAccounted => "blkio_not_accounted",
            Self::Hidepid => "hidepid",
            Self::Permission => "permission",
            Self::RuntimeVm => "runtime_vm",
            Self::NotYet => "not_yet",
        }
    }
}
