//! What one sweep read. Flat, so that a sweep of any size reuses the same few allocations.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::counters::{
    CpuCounters, DeviceRow, InterfaceRow, IoCounters, Limits, MemoryCounters, NetworkCounters, PidsCounters,
    PressureCounters,
};
use super::details::{DetailRows, Details};
use super::target::{TargetId, TargetSet};
use super::time::{ClockPair, Monotonic, WallTime};
use super::unavailable::Unavailable;

/// A value and the instant at which it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamped<T> {
    /// Taken right after the read that matters most for the value.
    pub at: Monotonic,
    /// What was read.
    pub value: T,
}

/// A figure, or why there is none.
pub type Reading<T> = Result<Stamped<T>, Unavailable>;

/// Block I/O of one cgroup: the total over leaf devices, and where in [`Sweep::devices`] its rows are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IoReading {
    /// Over devices that are not stacked.
    pub total: IoCounters,
    /// Rows of this cgroup.
    pub rows: Range<u32>,
    /// Some disk of the node is busy but not counted (cgroup v1): the total may lack its share.
    pub partly_accounted: bool,
}

/// One cgroup, read once.
#[derive(Clone, Debug, PartialEq)]
pub struct CgroupReading {
    /// Which target.
    pub id: TargetId,
    /// Identity of the directory. A counter is only ever compared under the same inode.
    pub inode: u64,
    /// `false` once the cgroup was removed: then nothing below is a figure.
    pub alive: bool,
    /// CPU time.
    pub cpu: Reading<CpuCounters>,
    /// Memory.
    pub memory: Reading<MemoryCounters>,
    /// Block I/O.
    pub io: Reading<IoReading>,
    /// Tasks.
    pub pids: Reading<PidsCounters>,
    /// Pressure stall information.
    pub pressure: Reading<PressureCounters>,
    /// Limits, read every few seconds.
    pub limits: Limits,
    /// In [`Sweep::details`].
    pub details: DetailRows,
}

impl CgroupReading {
    /// A reading in which nothing has been read.
    pub fn absent(id: TargetId, why: Unavailable) -> Self {
        Self {
            id,
            inode: 0,
            alive: true,
            cpu: Err(why),
            memory: Err(why),
            io: Err(why),
            pids: Err(why),
            pressure: Err(why),
            limits: Limits::unknown(why),
            details: DetailRows::default(),
        }
    }
}

/// From which side a pod's network was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NetworkSource {
    /// Inside: `/proc/<pid>/net/dev`.
    Netns,
    /// Outside: the host's end of the veth, swapped; bytes and packets only.
    HostVeth,
    /// Inside, but what was received as the IP layer counted it, without link headers: the device does
    /// not count all of it.
    NetnsIp,
}

impl NetworkSource {
    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Netns => "netns",
            Self::HostVeth => "host_veth",
            Self::NetnsIp => "netns_ip",
        }
    }
}

/// One pod's network, read once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkTotals {
    /// Over the interfaces that count.
    pub total: NetworkCounters,
    /// One number for the names of all interfaces that count, listed or not: only ever compared.
    pub counted: u64,
    /// Rows in [`Sweep::interfaces`]: at most 64, while `total` covers all.
    pub rows: Range<u32>,
    /// More interfaces than rows.
    pub truncated: bool,
    /// Interfaces may carry each other's traffic and we cannot tell.
    pub overlapping: bool,
}

/// One pod's network, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkReading {
    /// Which pod.
    pub id: TargetId,
    /// The netns it was read in; counters are only ever compared within one.
    pub netns: u64,
    /// From which side.
    pub source: NetworkSource,
    /// The device has received nothing for a minute while it sent a lot: it may not count.
    pub rx_suspect: bool,
    /// The counters.
    pub totals: Reading<NetworkTotals>,
}

/// CPU time of the whole node: the first line of `/proc/stat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeCpu {
    /// Everything but idle and iowait; guest time counted once.
    pub usage: Duration,
    /// `user` + `nice`.
    pub user: Duration,
    /// `system` + `irq` + `softirq`.
    pub system: Duration,
    /// The first seven fields, `user` to `softirq`, idle time among them: what the Docker Engine calls the
    /// system's CPU usage.
    pub elapsed: Duration,
    /// CPUs online.
    pub cores: u32,
}

/// Memory of the whole node: `/proc/meminfo`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeMemory {
    /// `MemTotal`.
    pub total_bytes: u64,
    /// `MemAvailable`.
    pub available_bytes: u64,
    /// `MemFree`.
    pub free_bytes: u64,
    /// `Cached` + `Buffers` + `SReclaimable`.
    pub cached_bytes: u64,
    /// `Inactive(file)`: page cache the kernel drops first.
    pub inactive_file_bytes: Option<u64>,
    /// `SwapTotal` − `SwapFree`.
    pub swap_used_bytes: u64,
    /// `SwapTotal`.
    pub swap_total_bytes: u64,
}

impl NodeMemory {
    /// What is in use, without the page cache that would be dropped first: what the kubelet calls the node's
    /// working set where the root cgroup has no `memory.current` of its own (cgroup v2).
    pub fn working_set_bytes(&self) -> Option<u64> {
        let used = self.total_bytes.saturating_sub(self.free_bytes);
        self.inactive_file_bytes.map(|inactive| used.saturating_sub(inactive))
    }
}

/// Memory of all processes of the node, and their page faults: `/proc/vmstat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodePaging {
    /// Anonymous memory: `nr_anon_pages`.
    pub anon_bytes: u64,
    /// Page faults since boot: `pgfault`.
    pub page_faults: u64,
    /// Those that had to wait for a disk: `pgmajfault`.
    pub major_page_faults: u64,
}

/// Processes and threads of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeTasks {
    /// There are: `/proc/loadavg`.
    pub current: u64,
    /// There may be: the smaller of `kernel.pid_max` and `kernel.threads-max`. `None` where the kernel would
    /// tell us our own pid namespace's.
    pub limit: Option<u64>,
}

/// The node's own figures.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeReading {
    /// `/proc/stat`.
    pub cpu: Reading<NodeCpu>,
    /// `/proc/meminfo`.
    pub memory: Reading<NodeMemory>,
    /// `/proc/diskstats`: whole disks; rows in [`Sweep::devices`].
    pub io: Reading<IoReading>,
    /// `/proc/1/net/dev`: the node's NICs; rows in [`Sweep::interfaces`].
    pub network: Reading<NetworkTotals>,
    /// `/proc/vmstat`.
    pub paging: Reading<NodePaging>,
    /// `/proc/pressure`.
    pub pressure: Reading<PressureCounters>,
    /// `/proc/loadavg`.
    pub tasks: Reading<NodeTasks>,
    /// `btime` of `/proc/stat`, as it was when this process first read it.
    pub booted_at: Option<WallTime>,
    /// Whether IPv4 packets are passed on: `Forwarding` of `/proc/1/net/snmp`, of the last ten seconds.
    pub forwards_ipv4: Option<bool>,
}

impl Default for NodeReading {
    fn default() -> Self {
        let why = Unavailable::NotYet;
        Self {
            cpu: Err(why),
            memory: Err(why),
            io: Err(why),
            network: Err(why),
            paging: Err(why),
            pressure: Err(why),
            tasks: Err(why),
            booted_at: None,
            forwards_ipv4: None,
        }
    }
}

/// Every target read once. The sampler fills one while the one before is still being compared with.
#[derive(Clone, Debug, Default)]
pub struct Sweep {
    /// Numbered from 1 in each run of the process.
    pub tick: u64,
    /// Both clocks at the start.
    pub clock: ClockPair,
    /// After the last read.
    pub finished: Monotonic,
    /// What was to be read.
    pub targets: Arc<TargetSet>,
    /// Pod by pod as in `targets`: the pod's cgroup, its containers', its sandbox's. Then the system containers'.
    pub cgroups: Vec<CgroupReading>,
    /// Pod by pod as in `targets`.
    pub networks: Vec<NetworkReading>,
    /// Rows of all cgroups and of the node.
    pub devices: Vec<DeviceRow>,
    /// Rows of all pods and of the node.
    pub interfaces: Vec<InterfaceRow>,
    /// Rows of all cgroups.
    pub details: Details,
    /// The node itself.
    pub node: NodeReading,
}

impl Sweep {
    /// Empties the sweep for another use and keeps its memory.
    pub fn clear(&mut self) {
        self.cgroups.clear();
        self.networks.clear();
        self.devices.clear();
        self.interfaces.clear();
        self.details.clear();
        self.node = NodeReading::default();
    }

    /// First read to last read.
    pub fn duration(&self) -> Duration {
        self.finished.since(self.clock.monotonic).unwrap_or_default()
    }
}
