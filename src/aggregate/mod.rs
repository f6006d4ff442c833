//! STAGE containers and sandbox make a pod, pods make the node's snapshot (pure).
//!
//! CPU, memory and tasks of a pod are its own cgroup's, which includes the pause container and any
//! overhead. Its network and block I/O are carried on a base of ours, because what the kernel counts
//! ends with a netns or, on cgroup v1, with a container: a pod's counters never go back for the life of
//! its UID.

mod carry;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::counters::IoCounters;
use crate::model::counters::NetworkCounters;
use crate::model::file_systems;
use crate::model::identity::PodUid;
use crate::model::snapshot::Beside;
use crate::model::snapshot::Carried;
use crate::model::snapshot::CgroupFigures;
use crate::model::snapshot::CgroupRates;
use crate::model::snapshot::ContainerFigures;
use crate::model::snapshot::ContainersSum;
use crate::model::snapshot::CpuFigures;
use crate::model::snapshot::IoFigures;
use crate::model::snapshot::NetworkFigures;
use crate::model::snapshot::NodeFigures;
use crate::model::snapshot::PodFigures;
use crate::model::snapshot::Rates;
use crate::model::snapshot::Snapshot;
use crate::model::snapshot::SystemFigures;
use crate::model::sweep::CgroupReading;
use crate::model::sweep::NetworkReading;
use crate::model::sweep::NetworkSource;
use crate::model::sweep::Reading;
use crate::model::sweep::Stamped;
use crate::model::sweep::Sweep;
use crate::model::target::PodTarget;
use crate::model::target::TargetId;
use crate::model::time::Monotonic;
use crate::model::time::WallTime;
use crate::model::unavailable::Unavailable;

use self::carry::Carry;
use self::carry::Total;

/// Pods whose bases are remembered. A pod may be without containers for as long as an image cannot be
/// had, and its counters must not go back when it returns. Ten times what a node has, at some 400 bytes each.
const REMEMBERED: usize = 1_024;

/// Folds sweeps into snapshots, and remembers what must not go back.
pub struct Aggregator {
    node_name: Arc<str>,
    process_start: WallTime,
    interval: Duration,
    /// cgroup v1: a pod's recursive I/O falls when a child goes, and OOM kills are not recursive.
    counters_die_with_children: bool,
    pods: HashMap<PodUid, PodMemory>,
    /// The live children whose last I/O and OOM kills a pod may have to take over.
    children: HashMap<TargetId, ChildMemory>,
}

struct PodMemory {
    seen: WallTime,
    network: Option<NetworkMemory>,
    io: Option<Carry<4>>,
    /// cgroup v1: all that its children ever read and wrote, as far as we saw it.
    children_io: Total<4>,
    /// OOM kills of children that are gone.
    oom_kills_before: u64,
}

struct NetworkMemory {
    id: TargetId,
    netns: u64,
    source: NetworkSource,
    /// What the pod's earlier netns had counted.
    earlier: [u64; 8],
    carry: Carry<8>,
}

struct ChildMemory {
    pod: PodUid,
    seen: u64,
    io: Option<Carry<4>>,
    last_io: [u64; 4],
    last_oom_kills: u64,
}

impl Aggregator {
    /// An aggregator that remembers nothing yet.
    pub fn new(
        node_name: Arc<str>,
        process_start: WallTime,
        interval: Duration,
        counters_die_with_children: bool,
    ) -> Self {
        Self {
            node_name,
            process_start,
            interval,
            counters_die_with_children,
            pods: HashMap::new(),
            children: HashMap::new(),
        }
    }

    /// One sweep, its rates and what is known beside it make one snapshot.
    pub fn fold(&mut self, sweep: &Sweep, rates: &Rates, beside: Beside) -> Snapshot {
        self.note_children(sweep);
        let mut snapshot = self.empty(sweep, rates, beside);
        let mut cgroups = sweep.cgroups.iter().zip(&rates.cgroups);
        let networks = sweep.networks.iter().zip(&rates.networks);
        let by_cpu = &rates.percpu_before;
        for ((index, pod), (network, network_rates)) in sweep.targets.pods.iter().enumerate().zip(networks) {
            let Some((own, own_rates)) = cgroups.next() else { break };
            let first = u32::try_from(snapshot.containers.len()).unwrap_or(u32::MAX);
            for target in 0..pod.containers.len() {
                let Some((reading, rates)) = cgroups.next() else { break };
                if reading.alive {
                    let target = u32::try_from(target).unwrap_or(u32::MAX);
                    let cgroup = self.container_figures(pod, reading, rates);
                    // What is counted around a virtual machine is no more its container's than what is now.
                    let cpu_before = rates.cpu_before.filter(|_| cgroup.cpu.is_ok());
                    let percpu_before = by_cpu.percpu(&rates.percpu_before).iter().copied();
                    let percpu_before = percpu_before.filter(|_| cpu_before.is_some());
                    let percpu_before = snapshot.details.add_percpu(percpu_before);
                    snapshot.containers.push(ContainerFigures { target, cgroup, cpu_before, percpu_before });
                }
            }
            if pod.sandbox.is_some() {
                cgroups.next();
            }
            let last = u32::try_from(snapshot.containers.len()).unwrap_or(u32::MAX);
            if !own.alive {
                snapshot.containers.truncate(first as usize);
                continue;
            }
            let containers = &snapshot.containers[first as usize..];
            let die = self.counters_die_with_children;
            let memory = self.remember(pod, own, network, sweep);
            let cgroup = pod_figures(own, own_rates, memory, containers, die);
            let network = network_figures(network, network_rates, memory);
            let oldest = oldest(&cgroup, &network, containers).unwrap_or(sweep.clock.monotonic);
            snapshot.pods.push(PodFigures {
                target: u32::try_from(index).unwrap_or(u32::MAX),
                containers_sum: pod.sandbox_settled.then(|| sum(containers)),
                cgroup,
                network,
                containers: first..last,
                oldest,
            });
        }
        snapshot.node.system = system_figures(sweep, rates);
        self.forget();
        snapshot
    }

    fn empty(&self, sweep: &Sweep, rates: &Rates, beside: Beside) -> Snapshot {
        let node = &sweep.node;
        Snapshot {
            process_start: self.process_start,
            node_name: self.node_name.clone(),
            tick: sweep.tick,
            clock: sweep.clock,
            interval: self.interval,
            sweep: sweep.duration(),
            targets: sweep.targets.clone(),
            device_names: beside.device_names,
            pods: Vec::with_capacity(sweep.targets.pods.len()),
            containers: Vec::with_capacity(sweep.cgroups.len()),
            devices: sweep.devices.clone(),
            interfaces: sweep.interfaces.clone(),
            details: sweep.details.with_room(rates.percpu_before.len()),
            node: NodeFigures {
                cpu: node.cpu,
                memory: node.memory,
                io: map(&node.io, |io| (io.total, io.rows.clone())),
                network: map(&node.network, |network| (network.total, network.rows.clone())),
                paging: node.paging,
                pressure: node.pressure,
                tasks: node.tasks,
                file_systems: file_systems::as_of(sweep.finished, beside.file_systems),
                rates: rates.node,
                system: Vec::new(),
                booted_at: node.booted_at,
                forwards_ipv4: node.forwards_ipv4,
            },
        }
    }

    /// Notes what every child has counted, and adds it to what its pod has.
    ///
    /// On cgroup v1 a pod's own recursive figures fall when a child goes, not quite at the moment at which
    /// the child is seen to be gone. So a pod's total is what its children added, each by its own figures.
    fn note_children(&mut self, sweep: &Sweep) {
        let wall = sweep.clock.wall;
        let mut readings = sweep.cgroups.iter();
        for pod in &sweep.targets.pods {
            let mut memory = self.pods.get_mut(&pod.runtime_uid);
            for target in pod.cgroups() {
                let Some(reading) = readings.next() else { return };
                if target.id == pod.cgroup.id {
                    continue;
                }
                let child = self.children.entry(reading.id).or_insert_with(|| ChildMemory {
                    pod: pod.runtime_uid.clone(),
                    seen: sweep.tick,
                    io: None,
                    last_io: [0; 4],
                    last_oom_kills: 0,
                });
                child.seen = sweep.tick;
                if let Ok(io) = &reading.io {
                    let raw = io_array(io.value.total);
                    if let Some(memory) = &mut memory {
                        memory.children_io.add_growth(child.last_io, raw);
                    }
                    child.last_io = raw;
                    child.io.get_or_insert_with(|| Carry::new(raw, wall)).advance(raw);
                }
                if let Ok(memory) = &reading.memory {
                    child.last_oom_kills = memory.value.oom_kills.unwrap_or(child.last_oom_kills);
                }
            }
        }
        let pods = &mut self.pods;
        self.children.retain(|_, child| {
            let stays = child.seen == sweep.tick;
            if !stays && let Some(pod) = pods.get_mut(&child.pod) {
                pod.oom_kills_before += child.last_oom_kills;
            }
            stays
        });
    }

    fn container_figures(
        &self,
        pod: &PodTarget,
        reading: &CgroupReading,
        rates: &CgroupRates,
    ) -> CgroupFigures {
        if pod.runtime_vm {
            let why = Unavailable::RuntimeVm;
            let absent = CgroupReading::absent(reading.id, why);
            return cgroup_figures(&absent, rates, None);
        }
        cgroup_figures(reading, rates, self.children.get(&reading.id).and_then(|child| child.io))
    }

    /// Moves the pod's carried counters on to what this sweep read.
    fn remember(
        &mut self,
        pod: &PodTarget,
        own: &CgroupReading,
        network: &NetworkReading,
        sweep: &Sweep,
    ) -> &PodMemory {
        let wall = sweep.clock.wall;
        let children = &self.children;
        let memory = self.pods.entry(pod.runtime_uid.clone()).or_insert_with(|| {
            let own = children.values().filter(|child| child.pod == pod.runtime_uid);
            let children_io = own.fold(Total::default(), |total, child| total.plus(child.last_io));
            PodMemory { seen: wall, network: None, io: None, children_io, oom_kills_before: 0 }
        });
        memory.seen = wall;
        if let Ok(totals) = &network.totals {
            let raw = totals.value.total.to_array();
            memory.network.get_or_insert_with(|| NetworkMemory::new(network, raw, wall)).go_on(network, raw);
        }
        if let Ok(io) = &own.io {
            let raw = io_array(io.value.total);
            let carry = memory.io.get_or_insert_with(|| Carry::new(raw, wall));
            if self.counters_die_with_children {
                memory.children_io = carry.set(memory.children_io, raw);
            } else {
                carry.advance(raw);
            }
        }
        memory
    }

    fn forget(&mut self) {
        while self.pods.len() > REMEMBERED {
            let oldest = self.pods.iter().min_by_key(|(_, pod)| pod.seen).map(|(uid, _)| uid.clone());
            let Some(uid) = oldest else { return };
            self.pods.remove(&uid);
        }
    }
}

impl NetworkMemory {
    fn new(reading: &NetworkReading, raw: [u64; 8], since: WallTime) -> Self {
        let NetworkReading { id, netns, source, .. } = *reading;
        Self { id, netns, source, earlier: [0; 8], carry: Carry::new(raw, since) }
    }

    /// The next kernel values, of this netns or another.
    fn go_on(&mut self, reading: &NetworkReading, raw: [u64; 8]) {
        let NetworkReading { id, netns, source, .. } = *reading;
        if self.id != id && !self.goes_on_as(netns, source, raw) {
            self.carry.keep(self.carry.raw());
            self.earlier = self.carry.total();
        } else if self.source != source {
            self.carry.change_over(self.earlier, raw);
        }
        (self.id, self.netns, self.source) = (id, netns, source);
        self.carry.advance(raw);
    }

    /// Whether another name for the netns stands for the one we know: a process was lost and found, or
    /// the pod itself was. A netns that got the number of a dead one begins at 0. Two sources count
    /// what was received each in its own way: then only what was sent tells.
    fn goes_on_as(&self, netns: u64, source: NetworkSource, raw: [u64; 8]) -> bool {
        let from = if self.source == source { 0 } else { 4 };
        let grown = |(before, now): (&u64, &u64)| now >= before;
        self.netns == netns && self.carry.raw()[from..].iter().zip(&raw[from..]).all(grown)
    }
}

/// Their readings follow those of the pods.
fn system_figures(sweep: &Sweep, rates: &Rates) -> Vec<SystemFigures> {
    let targets = &sweep.targets.system;
    let first = sweep.cgroups.len().saturating_sub(targets.len());
    let read = sweep.cgroups.iter().zip(&rates.cgroups).skip(first).zip(targets);
    read.filter(|((reading, _), _)| reading.alive)
        .map(|((reading, rates), target)| SystemFigures {
            name: target.name,
            cgroup: cgroup_figures(reading, rates, None),
        })
        .collect()
}

fn pod_figures(
    own: &CgroupReading,
    rates: &CgroupRates,
    memory: &PodMemory,
    containers: &[ContainerFigures],
    counters_die_with_children: bool,
) -> CgroupFigures {
    let mut figures = cgroup_figures(own, rates, memory.io);
    if counters_die_with_children && let Ok(own) = &mut figures.memory {
        let of_children =
            containers.iter().filter_map(|container| container.cgroup.memory.ok()?.value.oom_kills);
        own.value.oom_kills =
            own.value.oom_kills.map(|kills| kills + memory.oom_kills_before + of_children.sum::<u64>());
    }
    figures
}

fn cgroup_figures(reading: &CgroupReading, rates: &CgroupRates, io: Option<Carry<4>>) -> CgroupFigures {
    CgroupFigures {
        cpu: map(&reading.cpu, |counters| CpuFigures { counters: *counters, cores: rates.cpu_cores }),
        memory: reading.memory,
        io: map(&reading.io, |now| IoFigures {
            counters: match io {
                Some(carry) => Carried {
                    total: io_counters(carry.total()),
                    raw: io_counters(carry.raw()),
                    since: carry.since(),
                },
                None => Carried { total: now.total, raw: now.total, since: WallTime::default() },
            },
            rates: rates.io,
            devices: now.rows.clone(),
            partly_accounted: now.partly_accounted,
        }),
        pids: reading.pids,
        pressure: reading.pressure,
        limits: reading.limits,
        details: reading.details.clone(),
    }
}

fn network_figures(
    reading: &NetworkReading,
    rates: &Option<crate::model::snapshot::Rate<crate::model::snapshot::NetworkRates>>,
    memory: &PodMemory,
) -> Reading<NetworkFigures> {
    let Some(NetworkMemory { carry, .. }) = &memory.network else {
        return Err(reading.totals.as_ref().err().copied().unwrap_or(Unavailable::NotYet));
    };
    map(&reading.totals, |totals| NetworkFigures {
        source: reading.source,
        rx_suspect: reading.rx_suspect,
        counters: Carried {
            total: NetworkCounters::from_array(carry.total()),
            raw: NetworkCounters::from_array(carry.raw()),
            since: carry.since(),
        },
        rates: *rates,
        interfaces: totals.rows.clone(),
        truncated: totals.truncated,
        overlapping: totals.overlapping,
    })
}

/// `None` in a part as soon as one container lacks it: a partial sum would look like a drop.
fn sum(containers: &[ContainerFigures]) -> ContainersSum {
    let cgroups = || containers.iter().map(|container| &container.cgroup);
    let cpu = || cgroups().map(|cgroup| cgroup.cpu.as_ref().ok().map(|cpu| cpu.value));
    let memory = || cgroups().map(|cgroup| cgroup.memory.as_ref().ok().map(|memory| memory.value));
    ContainersSum {
        cpu_usage: cpu().map(|cpu| Some(cpu?.counters.usage)).sum(),
        cpu_cores: cpu().map(|cpu| Some(cpu?.cores?.per_second)).sum(),
        memory_usage_bytes: memory().map(|memory| Some(memory?.usage_bytes)).sum(),
        memory_working_set_bytes: memory().map(|memory| memory?.working_set_bytes()).sum(),
    }
}

fn oldest(
    pod: &CgroupFigures,
    network: &Reading<NetworkFigures>,
    containers: &[ContainerFigures],
) -> Option<Monotonic> {
    let network = network.as_ref().ok().map(|network| network.at);
    let containers = containers.iter().flat_map(|container| container.cgroup.instants());
    pod.instants().chain(network).chain(containers).min()
}

fn map<T, U>(reading: &Reading<T>, with: impl FnOnce(&T) -> U) -> Reading<U> {
    reading
        .as_ref()
        .map(|stamped| Stamped { at: stamped.at, value: with(&stamped.value) })
        .map_err(|why| *why)
}

fn io_array(io: IoCounters) -> [u64; 4] {
    let IoCounters { read_bytes, write_bytes, read_operations, write_operations } = io;
    [read_bytes, write_bytes, read_operations, write_operations]
}

fn io_counters([read_bytes, write_bytes, read_operations, write_operations]: [u64; 4]) -> IoCounters {
    IoCounters { read_bytes, write_bytes, read_operations, write_operations }
}
