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

mod network;
mod rx_suspect;

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
use crate::host::node::NodeReader;
use crate::model::counters::DeviceRow;
use crate::model::counters::InterfaceRow;
use crate::model::details::Details;
use crate::model::details::MemoryKeys;
use crate::model::health::Health;
use crate::model::health::Room;
use crate::model::snapshot::DeviceNames;
use crate::model::sweep::CgroupReading;
use crate::model::sweep::Sweep;
use crate::model::target::CgroupTarget;
use crate::model::target::NetworkTarget;
use crate::model::target::TargetId;
use crate::model::target::TargetSet;

use self::network::NetworkReader;
use self::network::Received;
use self::network::is_lost;
use self::network::is_rewired;
use self::network::network_reader;
use self::network::read_network;

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
    /// In the order of the targets' system containers.
    system: Vec<(TargetId, CgroupReader)>,
    node: NodeReader,
    shared: Shared,
    /// Sweeps between two slow reads of one target.
    slow_every: u64,
    lost: Vec<TargetId>,
    rewired: Vec<TargetId>,
}

/// What all readers use in turn.
struct Shared {
    buffer: Vec<u8>,
    memory_keys: MemoryKeys,
    blkio: Blkio,
    devices: Devices,
    budget: DescriptorBudget,
}

struct PodReaders {
    id: TargetId,
    /// The pod's cgroup, its containers', its sandbox's: as [`crate::model::target::PodTarget::cgroups`].
    cgroups: Vec<(TargetId, CgroupReader)>,
    network: NetworkReader,
    received: Received,
}

/// Where a sweep's rows go.
struct Rows<'a> {
    devices: &'a mut Vec<DeviceRow>,
    interfaces: &'a mut Vec<InterfaceRow>,
    details: &'a mut Details,
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
            memory_keys: MemoryKeys::default(),
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
            system: Vec::new(),
            shared,
            slow_every: u64::try_from(SLOW.as_nanos() / interval.as_nanos().max(1)).unwrap_or(1).max(1),
            lost: Vec::new(),
            rewired: Vec::new(),
        }
    }

    /// Takes over a new set of targets: readers of targets that stay keep their descriptors.
    ///
    /// What is new is read at once into `base`, the sweep before, so that the next sweep already has a
    /// rate for it, and a container that lives for less than an interval has been seen at all.
    pub fn retarget(&mut self, targets: Arc<TargetSet>, base: &mut Sweep) {
        let mut cgroups: HashMap<TargetId, CgroupReader> = HashMap::new();
        let mut networks: HashMap<TargetId, (NetworkReader, Received)> = HashMap::new();
        for pod in self.pods.drain(..) {
            networks.insert(pod.id, (pod.network, pod.received));
            cgroups.extend(pod.cgroups);
        }
        cgroups.extend(self.system.drain(..));
        for (pod, old) in targets.pods.iter().map(|pod| (pod, networks.remove(&pod.id))) {
            let (old, received) = old.map_or_else(Default::default, |(old, received)| (Some(old), received));
            let mut readers = PodReaders {
                id: pod.id,
                cgroups: Vec::with_capacity(pod.containers.len() + 2),
                network: network_reader(&self.root, &self.health, pod, old),
                received,
            };
            for target in pod.cgroups() {
                readers.cgroups.push(self.take_over(target, &mut cgroups, base));
            }
            let known = base.networks.iter_mut().find(|network| network.id == pod.id);
            // Absent before, because its process was still to be found, is as good as new.
            if known.as_ref().is_none_or(|network| network.totals.is_err()) {
                let rows = &mut base.interfaces;
                let reading = read_network(pod, &mut readers, &mut self.shared, rows, &self.health, true);
                match known {
                    Some(network) => *network = reading,
                    None => base.networks.push(reading),
                }
            }
            self.pods.push(readers);
        }
        for system in &targets.system {
            let reader = self.take_over(&system.cgroup, &mut cgroups, base);
            self.system.push(reader);
        }
        for mut reader in cgroups.into_values() {
            reader.close(&mut self.shared.budget);
        }
        self.targets = targets;
    }

    /// The reader of a target: the one that is known, or a new one, which reads at once into `base`.
    fn take_over(
        &mut self,
        target: &CgroupTarget,
        known: &mut HashMap<TargetId, CgroupReader>,
        base: &mut Sweep,
    ) -> (TargetId, CgroupReader) {
        let (mut reader, is_new) = match known.remove(&target.id) {
            Some(reader) => (reader, false),
            None => (CgroupReader::new(self.layout.clone(), target), true),
        };
        reader.set_role(target.role);
        if is_new {
            let Sweep { devices, interfaces, details, .. } = base;
            let mut rows = Rows { devices, interfaces, details };
            let shared = &mut self.shared;
            let reading = read_cgroup(&mut reader, &self.root, shared, &mut rows, &self.health, true);
            base.cgroups.push(reading);
        }
        (target.id, reader)
    }

    /// Reads everything once into `sweep`, whose memory is used again.
    pub fn sweep(&mut self, tick: u64, sweep: &mut Sweep) {
        sweep.clear();
        self.shared.memory_keys.begin_sweep();
        self.lost.clear();
        self.rewired.clear();
        sweep.tick = tick;
        sweep.clock = clock::pair();
        sweep.targets.clone_from(&self.targets);
        self.refresh_devices(tick);
        let Sweep { devices, interfaces, details, .. } = sweep;
        let mut rows = Rows { devices, interfaces, details };
        for (number, (pod, readers)) in self.targets.pods.iter().zip(&mut self.pods).enumerate() {
            // Staggered, so that slow reads cost every sweep the same.
            let slow = (tick + number as u64).is_multiple_of(self.slow_every);
            for (id, reader) in &mut readers.cgroups {
                let shared = &mut self.shared;
                let reading = read_cgroup(reader, &self.root, shared, &mut rows, &self.health, slow);
                if !reading.alive {
                    self.lost.push(*id);
                }
                sweep.cgroups.push(reading);
            }
            if matches!(
                (&pod.network, &readers.network),
                (NetworkTarget::HostVeth(..), NetworkReader::Absent)
            ) {
                readers.network = network_reader(&self.root, &self.health, pod, None);
            }
            let shared = &mut self.shared;
            let reading = read_network(pod, readers, shared, rows.interfaces, &self.health, slow);
            if is_lost(pod, &reading) {
                self.lost.push(pod.id);
            } else if is_rewired(pod, &mut readers.network, &mut shared.buffer, slow) {
                self.rewired.push(pod.id);
            }
            sweep.networks.push(reading);
        }
        let slow = tick.is_multiple_of(self.slow_every);
        for (id, reader) in &mut self.system {
            let shared = &mut self.shared;
            let reading = read_cgroup(reader, &self.root, shared, &mut rows, &self.health, slow);
            if !reading.alive {
                self.lost.push(*id);
            }
            sweep.cgroups.push(reading);
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
        if let Some(error) = blkio.take_failure() {
            self.health.count(Room::Host, error.trouble());
        }
    }

    /// Targets that were found gone in the last sweep: they need another look.
    pub fn lost(&self) -> &[TargetId] {
        &self.lost
    }

    /// Pods whose interfaces, or the one with the default route, were others in the last sweep than those
    /// their target was made with.
    pub fn rewired(&self) -> &[TargetId] {
        &self.rewired
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
    rows: &mut Rows<'_>,
    health: &Health,
    slow: bool,
) -> CgroupReading {
    let before = (rows.devices.len(), rows.details.len());
    let Shared { buffer, memory_keys, blkio, devices, budget } = shared;
    let mut read = |known_devices: &Devices, rows: &mut Rows<'_>| {
        let Rows { devices, details, .. } = rows;
        reader.read(&mut ReadContext {
            buffer,
            devices,
            details,
            memory_keys,
            blkio,
            known_devices,
            budget,
            health,
            slow,
        })
    };
    let reading = read(devices, rows);
    if !devices.needs_refresh() {
        return reading;
    }
    // A device nobody has seen before: whether it is part of the total must be known before there is one.
    devices.refresh(root);
    rows.devices.truncate(before.0);
    rows.details.truncate(before.1);
    read(devices, rows)
}

#[cfg(test)]
mod calls_tests;
#[cfg(test)]
mod faults_tests;
// Needs root: part of the node tier.
#[cfg(feature = "node-tests")]
#[cfg(test)]
mod real_removal_tests;
#[cfg(test)]
mod removal_tests;
#[cfg(test)]
mod rewired_tests;
