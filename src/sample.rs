//! STAGE one sweep over the targets: every counter, each stamped with its own instant.
//!
//! A [`Sampler`] keeps a reader with cached descriptors for each target, in the order of the targets,
//! and walks them without looking anything up. A sweep allocates nothing once its buffers have grown:
//! only a change of targets does.
//!
//! # Why one thread
//!
//! Four threads made a round of 1,000 containers a third shorter for a fifth more CPU, and io_uring
//! was slower than `pread`: cgroup files are generated under kernel locks, so there is nothing to wait
//! for that another thread could use.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::host::HostRoot;
use crate::host::cgroup::blkio::Blkio;
use crate::host::cgroup::layout::Layout;
use crate::host::cgroup::reader::CgroupReader;
use crate::host::cgroup::reader::DescriptorBudget;
use crate::host::cgroup::reader::ReadContext;
use crate::host::clock;
use crate::host::devices::Devices;
use crate::host::link::HostVethReader;
use crate::host::net_dev::NetDevReader;
use crate::host::node::NodeReader;
use crate::model::counters::DeviceRow;
use crate::model::counters::InterfaceRow;
use crate::model::health::Health;
use crate::model::health::Room;
use crate::model::snapshot::DeviceNames;
use crate::model::sweep::CgroupReading;
use crate::model::sweep::NetworkReading;
use crate::model::sweep::NetworkSource;
use crate::model::sweep::Sweep;
use crate::model::target::HostInterface;
use crate::model::target::NetworkTarget;
use crate::model::target::PinnedProcess;
use crate::model::target::PodTarget;
use crate::model::target::TargetId;
use crate::model::target::TargetSet;
use crate::model::unavailable::Unavailable;

/// Limits, device names and the rest that changes by an operator's hand are read this often.
const SLOW: Duration = Duration::from_secs(5);

/// A memory file of a node with many disks or a netns with many links fits at first; it grows if not.
const BUFFER: usize = 16 << 10;

/// Reads every target once a sweep.
pub struct Sampler {
    root: HostRoot,
    layout: Arc<Layout>,
    health: Arc<Health>,
    targets: Arc<TargetSet>,
    /// In the order of `targets`, pod by pod.
    pods: Vec<PodReaders>,
    node: NodeReader,
    shared: Shared,
    /// Sweeps between two slow reads of one target.
    slow_every: u64,
    lost: Vec<TargetId>,
}

/// What all readers use in turn.
struct Shared {
    buffer: Vec<u8>,
    blkio: Blkio,
    devices: Devices,
    budget: DescriptorBudget,
}

struct PodReaders {
    id: TargetId,
    /// The pod's cgroup, its containers', its sandbox's: as [`PodTarget::cgroups`].
    cgroups: Vec<(TargetId, CgroupReader)>,
    network: NetworkReader,
}

enum NetworkReader {
    Absent,
    Netns(NetDevReader),
    HostVeth(HostInterface, HostVethReader),
}

/// Where a sweep's rows go.
struct Rows<'a> {
    devices: &'a mut Vec<DeviceRow>,
    interfaces: &'a mut Vec<InterfaceRow>,
}

impl Sampler {
    /// A sampler without targets. `descriptors` is how many files it may keep open.
    pub fn new(
        root: HostRoot,
        layout: Arc<Layout>,
        interval: Duration,
        descriptors: usize,
        health: Arc<Health>,
    ) -> Self {
        let shared = Shared {
            buffer: vec![0; BUFFER],
            blkio: Blkio::new(&layout),
            devices: Devices::read(&root),
            budget: DescriptorBudget::new(descriptors),
        };
        Self {
            node: NodeReader::new(&root),
            root,
            layout,
            health,
            targets: Arc::default(),
            pods: Vec::new(),
            shared,
            slow_every: u64::try_from(SLOW.as_nanos() / interval.as_nanos().max(1)).unwrap_or(1).max(1),
            lost: Vec::new(),
        }
    }

    /// Takes over a new set of targets: readers of targets that stay keep their descriptors.
    ///
    /// What is new is read at once into `base`, the sweep before, so that the next sweep already has a
    /// rate for it, and a container that lives for less than an interval has been seen at all.
    pub fn retarget(&mut self, targets: Arc<TargetSet>, base: &mut Sweep) {
        let mut cgroups: HashMap<TargetId, CgroupReader> = HashMap::new();
        let mut networks: HashMap<TargetId, NetworkReader> = HashMap::new();
        for pod in self.pods.drain(..) {
            networks.insert(pod.id, pod.network);
            cgroups.extend(pod.cgroups);
        }
        for (pod, old) in targets.pods.iter().map(|pod| (pod, networks.remove(&pod.id))) {
            let mut readers = PodReaders {
                id: pod.id,
                cgroups: Vec::with_capacity(pod.containers.len() + 2),
                network: self.network_reader(pod, old),
            };
            for target in pod.cgroups() {
                let known = cgroups.remove(&target.id);
                let is_new = known.is_none();
                let mut reader = known.unwrap_or_else(|| CgroupReader::new(self.layout.clone(), target));
                reader.set_role(target.role);
                if is_new {
                    let reading = read_cgroup(
                        &mut reader,
                        &self.root,
                        &mut self.shared,
                        &mut base.devices,
                        &self.health,
                        true,
                    );
                    base.cgroups.push(reading);
                }
                readers.cgroups.push((target.id, reader));
            }
            let known = base.networks.iter_mut().find(|network| network.id == pod.id);
            // Absent before, because its process was still to be found, is as good as new.
            if known.as_ref().is_none_or(|network| network.totals.is_err()) {
                let rows = &mut base.interfaces;
                let reading =
                    read_network(pod, &mut readers.network, &mut self.shared, rows, &self.health, true);
                match known {
                    Some(network) => *network = reading,
                    None => base.networks.push(reading),
                }
            }
            self.pods.push(readers);
        }
        for mut reader in cgroups.into_values() {
            reader.close(&mut self.shared.budget);
        }
        self.targets = targets;
    }

    /// The reader for a pod's network: the old one if it still reads the same thing.
    fn network_reader(&self, pod: &PodTarget, old: Option<NetworkReader>) -> NetworkReader {
        match (&pod.network, old) {
            (NetworkTarget::Absent(_), _) => NetworkReader::Absent,
            (NetworkTarget::Netns(_), Some(NetworkReader::Netns(reader))) => NetworkReader::Netns(reader),
            (NetworkTarget::Netns(_), _) => NetworkReader::Netns(NetDevReader::new()),
            (NetworkTarget::HostVeth(interface, _), Some(NetworkReader::HostVeth(of, reader)))
                if of == *interface =>
            {
                NetworkReader::HostVeth(of, reader)
            }
            (NetworkTarget::HostVeth(interface, _), _) => match HostVethReader::open(&self.root, interface) {
                Ok(reader) => NetworkReader::HostVeth(interface.clone(), reader),
                Err(error) => {
                    self.health.count(Room::Host, error.trouble());
                    NetworkReader::Absent
                }
            },
        }
    }

    /// Reads everything once into `sweep`, whose memory is used again.
    pub fn sweep(&mut self, tick: u64, sweep: &mut Sweep) {
        sweep.clear();
        self.lost.clear();
        sweep.tick = tick;
        sweep.clock = clock::pair();
        sweep.targets.clone_from(&self.targets);
        self.refresh_devices(tick);
        let mut rows = Rows { devices: &mut sweep.devices, interfaces: &mut sweep.interfaces };
        for (number, (pod, readers)) in self.targets.pods.iter().zip(&mut self.pods).enumerate() {
            // Staggered, so that slow reads cost every sweep the same.
            let slow = (tick + number as u64).is_multiple_of(self.slow_every);
            for (id, reader) in &mut readers.cgroups {
                let reading =
                    read_cgroup(reader, &self.root, &mut self.shared, rows.devices, &self.health, slow);
                if !reading.alive {
                    self.lost.push(*id);
                }
                sweep.cgroups.push(reading);
            }
            let (network, shared) = (&mut readers.network, &mut self.shared);
            let reading = read_network(pod, network, shared, rows.interfaces, &self.health, slow);
            if is_lost(pod, &reading) {
                self.lost.push(pod.id);
            }
            sweep.networks.push(reading);
        }
        sweep.node = self.read_node(&mut rows);
        sweep.finished = clock::monotonic();
        self.health.cached_descriptors.store(self.shared.budget.used() as u64, Ordering::Relaxed);
    }

    fn read_node(&mut self, rows: &mut Rows<'_>) -> crate::model::sweep::NodeReading {
        let Shared { buffer, devices, .. } = &mut self.shared;
        let stacked = |device| devices.stacked(device);
        self.node.read(buffer, rows.devices, rows.interfaces, &stacked, &self.health)
    }

    fn refresh_devices(&mut self, tick: u64) {
        let Shared { devices, blkio, .. } = &mut self.shared;
        if tick.is_multiple_of(self.slow_every * 12) {
            devices.refresh(&self.root);
        }
        blkio.refresh(&self.layout, &self.root, devices);
    }

    /// Targets that were found gone in the last sweep: they need another look.
    pub fn lost(&self) -> &[TargetId] {
        &self.lost
    }

    /// Names of the node's block devices.
    pub fn device_names(&self) -> Arc<DeviceNames> {
        self.shared.devices.names()
    }
}

fn read_cgroup(
    reader: &mut CgroupReader,
    root: &HostRoot,
    shared: &mut Shared,
    rows: &mut Vec<DeviceRow>,
    health: &Health,
    slow: bool,
) -> CgroupReading {
    let before = rows.len();
    let Shared { buffer, blkio, devices, budget } = shared;
    let mut read = |devices: &Devices, rows: &mut Vec<DeviceRow>| {
        let context =
            &mut ReadContext { buffer, devices: rows, blkio, known_devices: devices, budget, health, slow };
        reader.read(context)
    };
    let reading = read(devices, rows);
    if !devices.needs_refresh() {
        return reading;
    }
    // A device nobody has seen before: whether it is part of the total must be known before there is one.
    devices.refresh(root);
    rows.truncate(before);
    read(devices, rows)
}

fn read_network(
    pod: &PodTarget,
    reader: &mut NetworkReader,
    shared: &mut Shared,
    rows: &mut Vec<InterfaceRow>,
    health: &Health,
    slow: bool,
) -> NetworkReading {
    let absent =
        |why| NetworkReading { id: pod.id, netns: 0, source: NetworkSource::Netns, totals: Err(why) };
    let of = |process: &PinnedProcess, source, totals| NetworkReading {
        id: pod.id,
        netns: process.netns,
        source,
        totals,
    };
    match (&pod.network, reader) {
        (NetworkTarget::Absent(why), _) => absent(*why),
        (NetworkTarget::Netns(process), NetworkReader::Netns(reader)) => {
            let totals = reader.read(process, &mut shared.buffer, rows, slow, health, pod.id);
            of(process, NetworkSource::Netns, totals)
        }
        (NetworkTarget::HostVeth(_, process), NetworkReader::HostVeth(_, reader)) => {
            let totals = reader.read(process, &mut shared.buffer, rows, health, pod.id);
            of(process, NetworkSource::HostVeth, totals)
        }
        (NetworkTarget::Netns(_) | NetworkTarget::HostVeth(..), _) => absent(Unavailable::NotYet),
    }
}

/// Whether the way to a pod's network must be found again.
fn is_lost(pod: &PodTarget, reading: &NetworkReading) -> bool {
    let expected = !matches!(pod.network, NetworkTarget::Absent(_));
    expected && reading.totals == Err(Unavailable::NetnsGone)
}
