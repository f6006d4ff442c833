//! The snapshot: one sweep as readers see it. Flat: publishing one costs the same few allocations
//! whatever the number of pods, and it is never changed once published.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::counters::{
    CpuCounters, DeviceRow, InterfaceRow, IoCounters, Limits, MemoryCounters, NetworkCounters, PidsCounters,
    PressureCounters,
};
use super::details::{DetailRows, Details};
use super::file_systems::FileSystems;
use super::sweep::{NetworkSource, NodeCpu, NodeMemory, NodePaging, NodeTasks, Reading, Stamped};
use super::target::{SystemContainer, TargetSet};
use super::time::{ClockPair, Monotonic, WallTime};
use super::unavailable::Unavailable;

/// Use of something per second, and the time over which it was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate<T> {
    /// Per second.
    pub per_second: T,
    /// Between the two reads.
    pub window: Duration,
}

/// Block I/O per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct IoRates {
    /// Bytes read.
    pub read_bytes: f64,
    /// Bytes written.
    pub write_bytes: f64,
    /// Reads.
    pub read_operations: f64,
    /// Writes.
    pub write_operations: f64,
}

/// Traffic per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NetworkRates {
    /// Bytes received.
    pub rx_bytes: f64,
    /// Bytes sent.
    pub tx_bytes: f64,
    /// Packets received.
    pub rx_packets: f64,
    /// Packets sent.
    pub tx_packets: f64,
}

/// Rates of one cgroup between two sweeps; `None` where the two cannot be compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CgroupRates {
    /// Cores kept busy.
    pub cpu_cores: Option<Rate<f64>>,
    /// The reading of the sweep before, if the two can be compared: however short the window.
    pub cpu_before: Option<Stamped<CpuCounters>>,
    /// That reading by CPU, in [`Rates::percpu_before`].
    pub percpu_before: Range<u32>,
    /// Block I/O.
    pub io: Option<Rate<IoRates>>,
}

/// Everything `rate` derives from two sweeps, in the order of the later one.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    /// One for each of the sweep's cgroups.
    pub cgroups: Vec<CgroupRates>,
    /// CPU times of the sweep before, of the cgroups that have them by CPU.
    pub percpu_before: Details,
    /// One for each of the sweep's networks.
    pub networks: Vec<Option<Rate<NetworkRates>>>,
    /// The node.
    pub node: NodeRates,
}

/// Rates of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NodeRates {
    /// Cores kept busy.
    pub cpu_cores: Option<Rate<f64>>,
    /// The reading of the sweep before.
    pub cpu_before: Option<Stamped<NodeCpu>>,
    /// All disks.
    pub io: Option<Rate<IoRates>>,
    /// All NICs that count.
    pub network: Option<Rate<NetworkRates>>,
}

/// A counter with a base of ours: it goes on where the kernel's starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried<T> {
    /// Base + the kernel's present value. Never goes back while `since` stands.
    pub total: T,
    /// The kernel's present value.
    pub raw: T,
    /// When this process began to carry the counter.
    pub since: WallTime,
}

/// CPU of a pod or a container.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CpuFigures {
    /// Since the cgroup was made.
    pub counters: CpuCounters,
    /// Cores kept busy since the sweep before.
    pub cores: Option<Rate<f64>>,
}

/// Block I/O of a pod or a container.
#[derive(Clone, Debug, PartialEq)]
pub struct IoFigures {
    /// Totals over leaf devices.
    pub counters: Carried<IoCounters>,
    /// Since the sweep before.
    pub rates: Option<Rate<IoRates>>,
    /// In [`Snapshot::devices`].
    pub devices: Range<u32>,
    /// Some busy disk of the node is not counted (cgroup v1).
    pub partly_accounted: bool,
}

/// Network of a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkFigures {
    /// From which side it was read.
    pub source: NetworkSource,
    /// The device has received nothing for a minute while it sent a lot: it may not count.
    pub rx_suspect: bool,
    /// Totals over the interfaces that count.
    pub counters: Carried<NetworkCounters>,
    /// Since the sweep before.
    pub rates: Option<Rate<NetworkRates>>,
    /// In [`Snapshot::interfaces`].
    pub interfaces: Range<u32>,
    /// More interfaces than are listed.
    pub truncated: bool,
    /// Interfaces may carry each other's traffic.
    pub overlapping: bool,
}

/// What one cgroup gave.
#[derive(Clone, Debug, PartialEq)]
pub struct CgroupFigures {
    /// CPU time.
    pub cpu: Reading<CpuFigures>,
    /// Memory.
    pub memory: Reading<MemoryCounters>,
    /// Block I/O.
    pub io: Reading<IoFigures>,
    /// Tasks.
    pub pids: Reading<PidsCounters>,
    /// Pressure.
    pub pressure: Reading<PressureCounters>,
    /// Limits.
    pub limits: Limits,
    /// In [`Snapshot::details`].
    pub details: DetailRows,
}

/// One container. Its names are in [`Snapshot::targets`].
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerFigures {
    /// Index into the pod target's `containers`.
    pub target: u32,
    /// Its cgroup.
    pub cgroup: CgroupFigures,
    /// Its CPU counters in the sweep before: there are readers who subtract for themselves.
    pub cpu_before: Option<Stamped<CpuCounters>>,
    /// The same by CPU, in [`Snapshot::details`].
    pub percpu_before: Range<u32>,
}

/// CPU and memory summed over the containers that live, for comparison with the pod's own cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ContainersSum {
    /// CPU time; `None` as soon as one container has none.
    pub cpu_usage: Option<Duration>,
    /// Cores; `None` as soon as one container has no rate yet: a partial sum would look like a drop.
    pub cpu_cores: Option<f64>,
    /// Memory charged.
    pub memory_usage_bytes: Option<u64>,
    /// Working set.
    pub memory_working_set_bytes: Option<u64>,
}

/// One pod. Its names are in [`Snapshot::targets`].
#[derive(Clone, Debug, PartialEq)]
pub struct PodFigures {
    /// Index into `targets.pods`.
    pub target: u32,
    /// The pod's own cgroup, pause and overhead included.
    pub cgroup: CgroupFigures,
    /// The pod's network.
    pub network: Reading<NetworkFigures>,
    /// Over app containers and sidecars; `None` until it is settled which child is the sandbox.
    pub containers_sum: Option<ContainersSum>,
    /// In [`Snapshot::containers`].
    pub containers: Range<u32>,
    /// The oldest figure of this pod.
    pub oldest: Monotonic,
}

/// The node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeFigures {
    /// CPU.
    pub cpu: Reading<NodeCpu>,
    /// Memory.
    pub memory: Reading<NodeMemory>,
    /// Disks: counters since boot.
    pub io: Reading<(IoCounters, Range<u32>)>,
    /// NICs: counters since they were made.
    pub network: Reading<(NetworkCounters, Range<u32>)>,
    /// Anonymous memory and page faults.
    pub paging: Reading<NodePaging>,
    /// Pressure.
    pub pressure: Reading<PressureCounters>,
    /// Processes and threads.
    pub tasks: Reading<NodeTasks>,
    /// Read every few seconds, beside the sweeps: with an instant of their own.
    pub file_systems: Reading<FileSystems>,
    /// Per second.
    pub rates: NodeRates,
    /// What of the node is neither a pod nor all of it: the kubelet's system containers.
    pub system: Vec<SystemFigures>,
    /// When the kernel started.
    pub booted_at: Option<WallTime>,
    /// Whether IPv4 packets are passed on.
    pub forwards_ipv4: Option<bool>,
}

/// A system container.
#[derive(Clone, Debug, PartialEq)]
pub struct SystemFigures {
    /// Which of them.
    pub name: SystemContainer,
    /// Its cgroup.
    pub cgroup: CgroupFigures,
}

/// The whole node at one tick.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When this process started: with the tick, the identity of every document.
    pub process_start: WallTime,
    /// The node's name.
    pub node_name: Arc<str>,
    /// The sweep's number.
    pub tick: u64,
    /// Both clocks at the start of the sweep.
    pub clock: ClockPair,
    /// Time between sweeps.
    pub interval: Duration,
    /// First read to last read.
    pub sweep: Duration,
    /// Names, paths and evidence of everything below.
    pub targets: Arc<TargetSet>,
    /// Names of block devices.
    pub device_names: Arc<DeviceNames>,
    /// Pods whose cgroup lived and held something when it was read.
    pub pods: Vec<PodFigures>,
    /// Grouped by pod.
    pub containers: Vec<ContainerFigures>,
    /// Grouped by cgroup.
    pub devices: Vec<DeviceRow>,
    /// Grouped by pod.
    pub interfaces: Vec<InterfaceRow>,
    /// What else was read of cgroups.
    pub details: Details,
    /// The node itself.
    pub node: NodeFigures,
}

/// What goes into a snapshot besides what its sweep read.
#[derive(Clone, Debug)]
pub struct Beside {
    /// Names of block devices.
    pub device_names: Arc<DeviceNames>,
    /// As they were when they were asked last.
    pub file_systems: Reading<FileSystems>,
}

impl Default for Beside {
    fn default() -> Self {
        Self { device_names: Arc::default(), file_systems: Err(Unavailable::NotYet) }
    }
}

/// What the node calls its block devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceNames(pub std::collections::BTreeMap<super::counters::DeviceNumber, Arc<str>>);

impl Snapshot {
    /// `<process start ns>-<tick>`: the ETag and event id of every document of this snapshot.
    pub fn version(&self) -> String {
        format!("{}-{}", self.process_start.as_unix_nanos(), self.tick)
    }
}

impl CgroupFigures {
    /// The instants of the figures that are there.
    pub fn instants(&self) -> impl Iterator<Item = Monotonic> {
        let Self { cpu, memory, io, pids, pressure, limits: _, details: _ } = self;
        [at(cpu), at(memory), at(io), at(pids), at(pressure)].into_iter().flatten()
    }
}

fn at<T>(reading: &Result<super::sweep::Stamped<T>, Unavailable>) -> Option<Monotonic> {
    reading.as_ref().ok().map(|stamped| stamped.at)
}
