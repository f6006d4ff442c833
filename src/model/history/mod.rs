//! The last minutes: one [`Frame`] a second, oldest first, on a [`Shelf`] that readers take frames from.
//!
//! A frame holds what a snapshot showed of each pod and container, and the node, in the fewest bytes that
//! bring every number back as it was: some 90 for each where all is idle, 110 where all is busy. Names are not
//! in it: frames between two changes share one [`Roster`], which holds names, those of cgroups among them, and
//! nothing else: no descriptors. [`Frame::BYTES_PER_ROW`] is what a row is reckoned at.
//!
//! Beside the frames stands a [`Digest`] of each that lives, which goes back further and says less.
//!
//! # Why packed
//! Five minutes at 110 pods and 220 containers are 100,000 rows. As structs they would take 35 MiB.

mod digest;
mod ended;
mod names;
mod numbers;
mod packed;
#[cfg(test)]
mod packed_tests;
mod shelf;

use std::sync::Arc;
use std::time::Duration;

use super::counters::IoCounters;
use super::counters::MemoryCounters;
use super::counters::NetworkCounters;
use super::snapshot::CgroupFigures;
use super::snapshot::ContainerFigures;
use super::snapshot::CpuFigures;
use super::snapshot::IoFigures;
use super::snapshot::IoRates;
use super::snapshot::NetworkFigures;
use super::snapshot::NetworkRates;
use super::snapshot::NodeFigures;
use super::snapshot::PodFigures;
use super::snapshot::Rate;
use super::snapshot::Snapshot;
use super::sweep::NetworkSource;
use super::sweep::NodeCpu;
use super::sweep::NodeMemory;
use super::sweep::Reading;
use super::target::ContainerTarget;
use super::target::PodTarget;
use super::time::ClockPair;

use self::numbers::Base;
use self::numbers::Reader;
use self::numbers::Writer;
use self::packed::Packed;
use self::packed::kept;

pub use self::digest::Digest;
pub use self::digest::Spread;
pub use self::digest::Used;
pub use self::ended::Cause;
pub use self::ended::Ended;
pub use self::ended::Final;
pub use self::names::PastContainer;
pub use self::names::PastPod;
pub use self::names::Roster;
pub use self::names::RosterPod;
pub use self::shelf::Digests;
pub use self::shelf::Shelf;

/// Frames are no closer together than this.
pub const CLOSEST: Duration = Duration::from_secs(1);

/// Block I/O of a pod or a container: the carried total, as documents show it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IoSample {
    /// Totals over leaf devices.
    pub counters: IoCounters,
    /// Since the sweep before.
    pub rates: Option<Rate<IoRates>>,
}

/// Network of a pod: the carried total, as documents show it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NetworkSample {
    /// From which side it was read.
    pub source: NetworkSource,
    /// Totals over the interfaces that count.
    pub counters: NetworkCounters,
    /// Since the sweep before.
    pub rates: Option<Rate<NetworkRates>>,
}

/// What a frame keeps of one cgroup.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CgroupSample {
    /// CPU time.
    pub cpu: Reading<CpuFigures>,
    /// Memory.
    pub memory: Reading<MemoryCounters>,
    /// Block I/O.
    pub io: Reading<IoSample>,
}

/// What a frame keeps of one pod.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PodSample {
    /// The pod's own cgroup.
    pub cgroup: CgroupSample,
    /// Its network.
    pub network: Reading<NetworkSample>,
}

/// What a frame keeps of the node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NodeSample {
    /// CPU time.
    pub cpu: Reading<NodeCpu>,
    /// Cores kept busy since the sweep before.
    pub cores: Option<Rate<f64>>,
    /// Memory.
    pub memory: Reading<NodeMemory>,
    /// Whole disks, since boot.
    pub io: Reading<IoSample>,
    /// NICs, since they were made.
    pub network: Reading<NetworkSample>,
}

impl CgroupSample {
    /// What is kept of these figures.
    pub fn of(figures: &CgroupFigures) -> Self {
        let CgroupFigures { cpu, memory, io, pids: _, pressure: _, limits: _, details: _ } = figures;
        let io = kept(io, |io: &IoFigures| IoSample { counters: io.counters.total, rates: io.rates });
        Self { cpu: *cpu, memory: *memory, io }
    }
}

impl PodSample {
    /// What is kept of these figures.
    pub fn of(figures: &PodFigures) -> Self {
        let network = kept(&figures.network, |network: &NetworkFigures| NetworkSample {
            source: network.source,
            counters: network.counters.total,
            rates: network.rates,
        });
        Self { cgroup: CgroupSample::of(&figures.cgroup), network }
    }
}

impl NodeSample {
    /// What is kept of these figures.
    pub fn of(figures: &NodeFigures) -> Self {
        let NodeFigures { cpu, memory, io, network, rates, .. } = figures;
        let io = kept(io, |(counters, _)| IoSample { counters: *counters, rates: rates.io });
        let network = kept(network, |(counters, _)| NetworkSample {
            source: NetworkSource::Netns,
            counters: *counters,
            rates: rates.network,
        });
        Self { cpu: *cpu, cores: rates.cpu_cores, memory: *memory, io, network }
    }
}

/// One sweep, packed.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The sweep's number.
    pub tick: u64,
    /// Both clocks at its start.
    pub clock: ClockPair,
    /// Whose rows it holds.
    pub roster: Arc<Roster>,
    base: Base,
    /// Where the first container's row begins.
    containers_at: usize,
    /// The node's row, the pods', the containers'.
    rows: Box<[u8]>,
}

impl Frame {
    /// What one pod or container takes in a second on a busy node, its network included: what the number
    /// of bytes is reckoned by that a history may take.
    pub const BYTES_PER_ROW: usize = 113;

    /// Packs a snapshot into `buffer`, which is used again and again. Names are the roster's matter.
    pub fn pack(snapshot: &Snapshot, buffer: &mut Vec<u8>) -> Packing {
        let interval = u64::try_from(snapshot.interval.as_nanos()).unwrap_or(u64::MAX);
        let base = Base { at: snapshot.clock.monotonic.as_nanos(), interval };
        buffer.clear();
        let mut writer = Writer { bytes: buffer, base };
        writer.row(&NodeSample::of(&snapshot.node));
        for (pod, _) in pods(snapshot) {
            writer.row(&PodSample::of(pod));
        }
        let containers_at = writer.bytes.len();
        for (pod, target) in pods(snapshot) {
            for (container, _) in containers(snapshot, pod, target) {
                writer.row(&CgroupSample::of(&container.cgroup));
            }
        }
        Packing { base, containers_at, length: buffer.len() }
    }

    /// What was packed, as a frame. `roster` names the pods and containers of the snapshot in their order.
    pub fn new(snapshot: &Snapshot, roster: Arc<Roster>, packing: Packing, buffer: &[u8]) -> Self {
        let Packing { base, containers_at, length: _ } = packing;
        let (tick, clock) = (snapshot.tick, snapshot.clock);
        Self { tick, clock, roster, base, containers_at, rows: buffer.into() }
    }

    /// Bytes it takes, names apart.
    pub fn bytes(&self) -> usize {
        frame_bytes(self.rows.len())
    }

    /// The node.
    pub fn node(&self) -> Option<NodeSample> {
        NodeSample::read(&mut self.reader(0).row()?)
    }

    /// One of the roster's pods.
    pub fn pod(&self, at: usize) -> Option<PodSample> {
        self.pods().nth(at)?.pod()
    }

    /// One of the roster's containers.
    pub fn container(&self, at: usize) -> Option<CgroupSample> {
        let mut reader = self.reader(self.containers_at);
        for _ in 0..at {
            reader.row()?;
        }
        CgroupSample::read(&mut reader.row()?)
    }

    /// Rows of all pods in the roster's order; nothing is read of those that are passed over.
    pub fn pods(&self) -> impl Iterator<Item = PodRow<'_>> {
        let mut reader = self.reader(0);
        let node = reader.row();
        let rows = std::iter::from_fn(move || reader.row()).take(self.roster.pods.len());
        rows.map(PodRow).take(if node.is_some() { usize::MAX } else { 0 })
    }

    /// Rows of all containers in the roster's order.
    pub fn containers(&self) -> impl Iterator<Item = ContainerRow<'_>> {
        let mut reader = self.reader(self.containers_at);
        std::iter::from_fn(move || reader.row()).take(self.roster.containers.len()).map(ContainerRow)
    }

    fn reader(&self, from: usize) -> Reader<'_> {
        Reader { bytes: self.rows.get(from..).unwrap_or_default(), base: self.base }
    }
}

/// What a frame will be.
#[derive(Clone, Copy, Debug)]
pub struct Packing {
    base: Base,
    containers_at: usize,
    length: usize,
}

impl Packing {
    /// Bytes the frame will take, names apart.
    pub fn bytes(&self) -> usize {
        frame_bytes(self.length)
    }
}

/// Its two blocks, and what an `Arc` and an allocator add to each.
fn frame_bytes(rows: usize) -> usize {
    size_of::<Frame>() + rows + 64
}

/// The pods of a snapshot in its order, each with what it is.
pub fn pods(snapshot: &Snapshot) -> impl Iterator<Item = (&PodFigures, &PodTarget)> {
    let targets = &snapshot.targets.pods;
    snapshot.pods.iter().filter_map(move |pod| Some((pod, &**targets.get(index(pod.target))?)))
}

/// The containers of one of its pods in its order, each with what it is.
pub fn containers<'a>(
    snapshot: &'a Snapshot,
    pod: &PodFigures,
    target: &'a PodTarget,
) -> impl Iterator<Item = (&'a ContainerFigures, &'a ContainerTarget)> {
    let range = index(pod.containers.start)..index(pod.containers.end);
    let rows = snapshot.containers.get(range).unwrap_or_default().iter();
    rows.filter_map(move |container| Some((container, target.containers.get(index(container.target))?)))
}

fn index(at: u32) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

/// One pod's row.
#[derive(Clone, Copy, Debug)]
pub struct PodRow<'a>(Reader<'a>);

impl PodRow<'_> {
    /// What it holds.
    pub fn pod(mut self) -> Option<PodSample> {
        PodSample::read(&mut self.0)
    }
}

/// One container's row.
#[derive(Clone, Copy, Debug)]
pub struct ContainerRow<'a>(Reader<'a>);

impl ContainerRow<'_> {
    /// What it holds.
    pub fn container(mut self) -> Option<CgroupSample> {
        CgroupSample::read(&mut self.0)
    }
}
