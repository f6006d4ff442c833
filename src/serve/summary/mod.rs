//! `/stats/summary`: the kubelet's summary, for those who read it at the kubelet (pure).
//!
//! `k8s.io/kubelet/pkg/apis/stats/v1alpha1`. Absent is not zero here either: what is not known is left out.
//! A container is listed once its CPU time, its usage and its working set are known, since there are readers
//! that look no further before they use them; of two pods of one name the one that lives, and of a container
//! its present instance. A pod on the node's network has no `network`: the kubelet would show the node's.

mod wire;

use super::native::network::{counted, traffic};
use super::native::pods::{NamedPod, one_of_each_name, running};
use super::native::{finite, rows};
use super::reply::json;
use super::time::{microseconds, nanoseconds, rfc3339_seconds};
use crate::model::counters::{self, InterfaceRow, IoCounters, MemoryCounters, PressureCounters};
use crate::model::document::Traffic;
use crate::model::file_systems::{self, Holds};
use crate::model::identity::{KnownContainer, KnownPod};
use crate::model::snapshot::{
    CgroupFigures, ContainerFigures, CpuFigures, NetworkFigures, Rate, Snapshot, SystemFigures,
};
use crate::model::sweep::{NetworkSource, NodeTasks, Stamped};
use crate::model::time::Monotonic;

/// How much of it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// Everything.
    All,
    /// `?only_cpu_and_memory=true`.
    CpuAndMemory,
}

/// The whole document; ages are as of `now`.
pub(super) fn document(snapshot: &Snapshot, now: Monotonic, extent: Extent) -> Vec<u8> {
    let page = Page { snapshot, now, all: extent == Extent::All };
    json(&wire::Summary {
        node: page.node(),
        pods: one_of_each_name(snapshot).into_iter().map(|(pod, known)| page.pod(pod, known)).collect(),
    })
}

struct Page<'a> {
    snapshot: &'a Snapshot,
    now: Monotonic,
    all: bool,
}

impl Page<'_> {
    fn node(&self) -> wire::Node {
        let Snapshot { node, node_name, .. } = self.snapshot;
        let memory = node.memory.as_ref().ok();
        let paging = node.paging.as_ref().ok().map(|paging| paging.value);
        let pressure = node.pressure.as_ref().ok();
        let stalls = pressure.map(|pressure| pressure.value).unwrap_or_default();
        wire::Node {
            node_name: node_name.to_string(),
            system_containers: node.system.iter().map(|system| self.system(system)).collect(),
            start_time: node.booted_at.map(rfc3339_seconds),
            cpu: node.cpu.as_ref().ok().map(|cpu| wire::Cpu {
                psi: stalls.cpu.map(psi),
                ..self.cpu(cpu.at, nanoseconds(cpu.value.usage), node.rates.cpu_cores)
            }),
            memory: memory.and_then(|memory| {
                let working_set_bytes = memory.value.working_set_bytes()?;
                let (time, time_unix_nano) = self.instant(memory.at);
                Some(wire::Memory {
                    time,
                    time_unix_nano,
                    available_bytes: Some(memory.value.total_bytes.saturating_sub(working_set_bytes)),
                    usage_bytes: memory.value.total_bytes.saturating_sub(memory.value.free_bytes),
                    working_set_bytes,
                    rss_bytes: paging.map(|paging| paging.anon_bytes),
                    page_faults: paging.map(|paging| paging.page_faults),
                    major_page_faults: paging.map(|paging| paging.major_page_faults),
                    psi: stalls.memory.map(psi),
                })
            }),
            io: pressure.and_then(|pressure| self.io(pressure)),
            network: node.network.as_ref().ok().filter(|_| self.all).map(|network| {
                let (_, nics) = &network.value;
                let nics = rows(&self.snapshot.interfaces, nics);
                self.interfaces(network.at, nics, NetworkSource::Netns)
            }),
            fs: self.file_system(|holds| holds.kubelet),
            runtime: self.runtime(),
            rlimit: node.tasks.as_ref().ok().filter(|_| self.all).map(|tasks| {
                let (time, time_unix_nano) = self.instant(tasks.at);
                let NodeTasks { current, limit } = tasks.value;
                wire::Rlimit { time, time_unix_nano, maxpid: limit, curproc: current }
            }),
            swap: memory.map(|memory| {
                let free = memory.value.swap_total_bytes.saturating_sub(memory.value.swap_used_bytes);
                self.swap(memory.at, memory.value.swap_used_bytes, Some(free))
            }),
            blkio: node.io.as_ref().ok().filter(|_| self.all).map(|io| self.block_io(io.at, io.value.0)),
        }
    }

    /// The one that holds this, if it is known.
    fn file_system(&self, what: impl Fn(&Holds) -> bool) -> Option<wire::FileSystem> {
        let read = self.snapshot.node.file_systems.as_ref().ok().filter(|_| self.all)?;
        let space = file_systems::holding(&read.value, what)?.space;
        let (time, time_unix_nano) = self.instant(read.at);
        Some(wire::FileSystem {
            time,
            time_unix_nano,
            available_bytes: space.available_bytes,
            capacity_bytes: space.capacity_bytes,
            used_bytes: Some(space.used_bytes()),
            inodes_free: space.inodes.map(|inodes| inodes.free),
            inodes: space.inodes.map(|inodes| inodes.total),
            inodes_used: space.inodes.map(|inodes| inodes.total.saturating_sub(inodes.free)),
        })
    }

    /// What images and containers lie on; how much of it they take themselves is not known.
    fn runtime(&self) -> Option<wire::Runtime> {
        let of = |what: fn(&Holds) -> bool| {
            let whole = self.file_system(what)?;
            Some(wire::FileSystem { used_bytes: None, inodes_used: None, ..whole })
        };
        let (image_fs, container_fs) = (of(|holds| holds.images), of(|holds| holds.containers));
        let known = image_fs.is_some() || container_fs.is_some();
        known.then_some(wire::Runtime { image_fs, container_fs })
    }

    fn pod(&self, pod: NamedPod<'_>, known: &KnownPod) -> wire::Pod {
        let NamedPod { figures, target } = pod;
        let Cgroup { cpu, memory, io, swap, blkio } = self.cgroup(&figures.cgroup);
        let containers = running(self.snapshot, pod);
        let network = figures.network.as_ref().ok().filter(|_| self.all);
        let processes = figures.cgroup.pids.as_ref().ok().filter(|_| self.all);
        wire::Pod {
            pod_ref: wire::PodReference {
                name: known.name.to_string(),
                namespace: known.namespace.to_string(),
                uid: target.runtime_uid.to_string(),
                api_uid: known.uid.as_ref().map(ToString::to_string),
            },
            start_time: known.start_time.map(rfc3339_seconds),
            containers: containers
                .into_iter()
                .filter_map(|(read, _, known)| self.container(read, known))
                .collect(),
            cpu,
            memory,
            io,
            network: network.map(|network| self.network(network)),
            process_stats: processes
                .map(|processes| wire::ProcessStats { process_count: processes.value.current }),
            swap,
            blkio,
            age_seconds: self.age(figures.oldest),
        }
    }

    /// `None` for want of a figure that readers take for granted.
    fn container(&self, read: &ContainerFigures, known: &KnownContainer) -> Option<wire::Container> {
        let Cgroup { cpu, memory, io, swap, blkio } = self.cgroup(&read.cgroup);
        Some(wire::Container {
            name: known.name.to_string(),
            start_time: known.started_at.map(rfc3339_seconds),
            cpu: cpu?,
            memory: memory?,
            io,
            swap,
            blkio,
            age_seconds: self.age(read.cgroup.instants().min()?),
        })
    }

    fn system(&self, system: &SystemFigures) -> wire::SystemContainer {
        // On cgroup v1 block I/O falls when a pod goes.
        let Cgroup { cpu, memory, io, swap, blkio: _ } = self.cgroup(&system.cgroup);
        let age_seconds = system.cgroup.instants().min().map(|oldest| self.age(oldest));
        wire::SystemContainer { name: system.name.word().to_owned(), cpu, memory, io, swap, age_seconds }
    }

    fn cgroup(&self, cgroup: &CgroupFigures) -> Cgroup {
        let pressure = cgroup.pressure.as_ref().ok();
        let stalls = pressure.map(|pressure| pressure.value).unwrap_or_default();
        let PressureCounters { cpu: on_cpu, memory: on_memory, io: _ } = stalls;
        let memory = cgroup.memory.as_ref().ok();
        let io = cgroup.io.as_ref().ok().filter(|_| self.all);
        Cgroup {
            cpu: cgroup.cpu.as_ref().ok().map(|cpu| wire::Cpu {
                psi: on_cpu.map(psi),
                throttling: throttling(cpu),
                ..self.cpu(cpu.at, nanoseconds(cpu.value.counters.usage), cpu.value.cores)
            }),
            memory: memory.and_then(|memory| {
                let document = self.memory(memory, cgroup.limits.memory_bytes)?;
                Some(wire::Memory { psi: on_memory.map(psi), ..document })
            }),
            io: pressure.and_then(|pressure| self.io(pressure)),
            swap: memory.and_then(|memory| {
                let used = memory.value.swap_bytes?;
                Some(self.swap(memory.at, used, self.swap_left(cgroup, used)))
            }),
            blkio: io.map(|io| self.block_io(io.at, io.value.counters.total)),
        }
    }

    fn cpu(&self, at: Monotonic, usage_core_nano_seconds: u64, cores: Option<Rate<f64>>) -> wire::Cpu {
        let (time, time_unix_nano) = self.instant(at);
        wire::Cpu {
            time,
            time_unix_nano,
            usage_nano_cores: cores.and_then(|rate| nano_cores(rate.per_second)),
            usage_core_nano_seconds,
            psi: None,
            throttling: None,
        }
    }

    fn memory(&self, memory: &Stamped<MemoryCounters>, limit: Option<u64>) -> Option<wire::Memory> {
        let working_set_bytes = memory.value.working_set_bytes()?;
        let (time, time_unix_nano) = self.instant(memory.at);
        Some(wire::Memory {
            time,
            time_unix_nano,
            available_bytes: limit.map(|limit| limit.saturating_sub(working_set_bytes)),
            usage_bytes: memory.value.usage_bytes,
            working_set_bytes,
            rss_bytes: memory.value.anon_bytes,
            page_faults: memory.value.page_faults,
            major_page_faults: memory.value.major_page_faults,
            psi: None,
        })
    }

    fn network(&self, network: &Stamped<NetworkFigures>) -> wire::Network {
        let NetworkFigures { source, interfaces, .. } = &network.value;
        let interfaces = rows(&self.snapshot.interfaces, interfaces);
        let mut document = self.interfaces(network.at, interfaces, *source);
        if *source == NetworkSource::NetnsIp {
            // The devices do not count what was received; the IP layer does, for all of them together.
            let first = counted(self.snapshot, &network.value).first().map(|(_, counters)| *counters);
            let primary = document.primary.zip(first);
            document.primary =
                primary.map(|(primary, counters)| interface(primary.name, traffic(counters, *source)));
        }
        document
    }

    fn interfaces<'b>(
        &self,
        at: Monotonic,
        rows: impl Iterator<Item = &'b InterfaceRow> + Clone,
        source: NetworkSource,
    ) -> wire::Network {
        let named = |row: &InterfaceRow| interface(row.name.to_string(), traffic(row.counters, source));
        let (time, time_unix_nano) = self.instant(at);
        wire::Network {
            time,
            time_unix_nano,
            primary: rows.clone().find(|row| row.primary).map(named),
            // As in the kubelet's list `lo` is not.
            interfaces: rows.filter(|row| row.counted || row.primary).map(named).collect(),
        }
    }

    fn io(&self, pressure: &Stamped<PressureCounters>) -> Option<wire::Io> {
        let stall = pressure.value.io.filter(|_| self.all)?;
        let (time, time_unix_nano) = self.instant(pressure.at);
        Some(wire::Io { time, time_unix_nano, psi: psi(stall) })
    }

    /// Of a cgroup with a limit: what that leaves to it, and the node has.
    fn swap_left(&self, cgroup: &CgroupFigures, used: u64) -> Option<u64> {
        let node = self.snapshot.node.memory.as_ref().ok()?.value;
        let left = cgroup.limits.swap?.bytes.saturating_sub(used);
        Some(left.min(node.swap_total_bytes.saturating_sub(node.swap_used_bytes)))
    }

    fn swap(&self, at: Monotonic, swap_usage_bytes: u64, swap_available_bytes: Option<u64>) -> wire::Swap {
        let (time, time_unix_nano) = self.instant(at);
        wire::Swap { time, time_unix_nano, swap_available_bytes, swap_usage_bytes }
    }

    fn block_io(&self, at: Monotonic, counters: IoCounters) -> wire::BlockIo {
        let IoCounters { read_bytes, write_bytes, read_operations, write_operations } = counters;
        let (time, time_unix_nano) = self.instant(at);
        wire::BlockIo { time, time_unix_nano, read_bytes, write_bytes, read_operations, write_operations }
    }

    /// In whole seconds, as clients of the kubelet expect, and to the nanosecond.
    fn instant(&self, at: Monotonic) -> (String, u64) {
        let wall = self.snapshot.clock.wall_of(at);
        (rfc3339_seconds(wall), wall.as_unix_nanos())
    }

    fn age(&self, oldest: Monotonic) -> f64 {
        self.now.since(oldest).unwrap_or_default().as_secs_f64()
    }
}

/// What a pod and a container have in common.
struct Cgroup {
    cpu: Option<wire::Cpu>,
    memory: Option<wire::Memory>,
    io: Option<wire::Io>,
    swap: Option<wire::Swap>,
    blkio: Option<wire::BlockIo>,
}

fn throttling(cpu: &Stamped<CpuFigures>) -> Option<wire::Throttling> {
    let throttling = cpu.value.counters.throttling.as_ref().ok()?;
    Some(wire::Throttling {
        periods: throttling.periods,
        throttled_periods: throttling.throttled_periods,
        throttled_nanoseconds: nanoseconds(throttling.throttled),
    })
}

fn interface(name: String, traffic: Traffic) -> wire::Interface {
    let Traffic { rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped } =
        traffic;
    wire::Interface {
        name,
        rx_bytes,
        rx_errors,
        tx_bytes,
        tx_errors,
        rx_packets,
        tx_packets,
        rx_dropped,
        tx_dropped,
    }
}

fn psi(stall: counters::Stall) -> wire::Psi {
    let time = |time: counters::StallTime| wire::Stall {
        total: microseconds(time.total),
        avg10: finite(time.avg10).unwrap_or_default(),
        avg60: finite(time.avg60).unwrap_or_default(),
        avg300: finite(time.avg300).unwrap_or_default(),
    };
    wire::Psi { full: stall.full.map(time), some: time(stall.some) }
}

/// Cores to whole nanocores; nothing for what is no such number.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked before")]
fn nano_cores(cores: f64) -> Option<u64> {
    let nano = (cores * 1e9).round();
    (nano.is_finite() && (0.0..1e18).contains(&nano)).then_some(nano as u64)
}
