//! `/api/v1/node`: the node's own figures.

use super::super::time::{microseconds, nanoseconds, rfc3339};
use super::cgroup::{Figures, io_totals, pressure_document};
use super::{absent, cgroup, figure, finite, network, rows};
use crate::model::document::{self, Reasons};
use crate::model::file_systems::FileSystem;
use crate::model::identity::Requests;
use crate::model::snapshot::{Snapshot, SystemFigures};
use crate::model::sweep::{NetworkSource, NodeCpu, NodeMemory, NodeTasks, Stamped};
use crate::model::unavailable::Unavailable;

/// The whole document.
pub(in crate::serve) fn document(snapshot: &Snapshot) -> document::Node {
    let mut reasons = Reasons::new();
    let node = &snapshot.node;
    let wall = |at| snapshot.clock.wall_of(at).as_unix_nanos();
    let cpu = figure(&node.cpu, "cpu", &mut reasons).map(|cpu| cpu_document(snapshot, cpu));
    if let Some(document::NodeCpu { cores: None, .. }) = &cpu {
        absent(&mut reasons, &["cpu.cores"], Unavailable::NotYet);
    }
    let memory = figure(&node.memory, "memory", &mut reasons).map(|memory| {
        let paging = figure(&node.paging, "memory.anonBytes", &mut reasons).map(|paging| paging.value);
        document::NodeMemory {
            anon_bytes: paging.map(|paging| paging.anon_bytes),
            page_faults: paging.map(|paging| paging.page_faults),
            major_page_faults: paging.map(|paging| paging.major_page_faults),
            ..memory_document(memory, wall(memory.at))
        }
    });
    let io = figure(&node.io, "io", &mut reasons).map(|io| {
        let (total, devices) = &io.value;
        let devices = rows(&snapshot.devices, devices);
        io_totals(snapshot, *total, node.rates.io, devices, wall(io.at), &mut reasons)
    });
    let network = figure(&node.network, "network", &mut reasons).map(|reading| {
        let (total, nics) = &reading.value;
        let nics = rows(&snapshot.interfaces, nics);
        let rates = node.rates.network;
        network::totals(*total, NetworkSource::Netns, rates, nics, wall(reading.at), &mut reasons)
    });
    let pids = figure(&node.tasks, "pids", &mut reasons).map(|tasks| {
        let NodeTasks { current, limit } = tasks.value;
        if limit.is_none() {
            // The kernel tells only our own pid namespace's.
            absent(&mut reasons, &["pids.limit"], Unavailable::Permission);
        }
        document::Pids { current, limit }
    });
    let pressure = figure(&node.pressure, "pressure", &mut reasons)
        .map(|pressure| pressure_document(&pressure.value, &mut reasons));
    let file_systems = figure(&node.file_systems, "fileSystems", &mut reasons)
        .map(|read| read.value.iter().map(|it| file_system(it, wall(read.at))).collect());
    document::Node {
        node: snapshot.node_name.to_string(),
        tick: snapshot.tick,
        time: rfc3339(snapshot.clock.wall),
        time_unix_nano: snapshot.clock.wall.as_unix_nanos(),
        interval_seconds: snapshot.interval.as_secs_f64(),
        sweep_microseconds: microseconds(snapshot.sweep),
        cpu,
        memory,
        io,
        network,
        pids,
        pressure,
        file_systems,
        system_containers: node.system.iter().map(|system| system_container(snapshot, system)).collect(),
        unavailable: reasons,
    }
}

fn cpu_document(snapshot: &Snapshot, cpu: &Stamped<NodeCpu>) -> document::NodeCpu {
    let rate = snapshot.node.rates.cpu_cores.filter(|rate| finite(rate.per_second).is_some());
    let NodeCpu { usage, user, system, elapsed: _, cores } = cpu.value;
    document::NodeCpu {
        time_unix_nano: snapshot.clock.wall_of(cpu.at).as_unix_nanos(),
        usage_nanoseconds: nanoseconds(usage),
        user_nanoseconds: nanoseconds(user),
        system_nanoseconds: nanoseconds(system),
        cores: rate.map(|rate| rate.per_second),
        window_seconds: rate.map(|rate| rate.window.as_secs_f64()),
        capacity_cores: cores,
    }
}

fn memory_document(memory: &Stamped<NodeMemory>, time_unix_nano: u64) -> document::NodeMemory {
    let NodeMemory {
        total_bytes,
        available_bytes,
        free_bytes,
        cached_bytes,
        inactive_file_bytes,
        swap_used_bytes,
        swap_total_bytes,
    } = memory.value;
    document::NodeMemory {
        time_unix_nano,
        total_bytes,
        available_bytes,
        free_bytes,
        cached_bytes,
        used_bytes: total_bytes.saturating_sub(available_bytes),
        working_set_bytes: memory.value.working_set_bytes(),
        inactive_file_bytes,
        swap_used_bytes,
        swap_total_bytes,
        ..document::NodeMemory::default()
    }
}

fn file_system(read: &FileSystem, time_unix_nano: u64) -> document::FileSystem {
    let FileSystem { device, kind, mount_point, holds, space } = read.clone();
    document::FileSystem {
        time_unix_nano,
        device,
        kind,
        mount_point,
        holds: holds.words().map(str::to_owned).collect(),
        capacity_bytes: space.capacity_bytes,
        available_bytes: space.available_bytes,
        used_bytes: space.used_bytes(),
        inodes: space.inodes.map(|inodes| inodes.total),
        inodes_free: space.inodes.map(|inodes| inodes.free),
    }
}

fn system_container(snapshot: &Snapshot, system: &SystemFigures) -> document::SystemContainer {
    let Figures { cpu, memory, pids, pressure, mut unavailable, io: _ } =
        cgroup::figures(snapshot, &system.cgroup, Requests::default());
    // On cgroup v1 what was read and written falls when a pod goes.
    unavailable.retain(|path, _| !path.starts_with("io"));
    document::SystemContainer {
        name: system.name.word().to_owned(),
        cpu,
        memory,
        pids,
        pressure,
        unavailable,
    }
}
