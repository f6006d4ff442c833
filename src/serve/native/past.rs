//! `/api/v1/history/…` and `/api/v1/recent`: what was, in the words of what is.

use std::sync::Arc;

use super::super::time::{microseconds, rfc3339};
use super::cgroup::{cpu_document, memory_document};
use super::network::traffic;
use super::{absent, figure, finite};
use crate::model::counters::IoCounters;
use crate::model::document::{self, Reasons};
use crate::model::history::{
    CgroupSample, Ended, Final, Frame, IoSample, NetworkSample, PastContainer, PastPod, PodSample, Roster,
};
use crate::model::identity::{ContainerId, PodUid};
use crate::model::snapshot::Snapshot;
use crate::model::sweep::{Reading, Stamped};
use crate::model::time::ClockPair;
use crate::model::unavailable::Unavailable;

/// Finds one pod's row in frame after frame; as long as the roster is the same one, so is the place.
#[derive(Default)]
pub(in crate::serve) struct Finder<'a> {
    roster: Option<&'a Arc<Roster>>,
    place: Option<usize>,
}

impl<'a> Finder<'a> {
    /// Where the pod is in this frame.
    pub(in crate::serve) fn find(&mut self, frame: &'a Frame, uid: &PodUid) -> Option<usize> {
        if self.roster.is_none_or(|roster| !Arc::ptr_eq(roster, &frame.roster)) {
            (self.roster, self.place) = (Some(&frame.roster), frame.roster.find(uid));
        }
        self.place
    }
}

/// The pod that `wanted` takes, as it was called last.
pub(in crate::serve) fn newest(
    frames: &[Arc<Frame>],
    wanted: impl Fn(&PastPod) -> bool,
) -> Option<Arc<PastPod>> {
    let mut before: Option<&Arc<Roster>> = None;
    frames.iter().rev().find_map(|frame| {
        let seen = before.replace(&frame.roster).is_some_and(|roster| Arc::ptr_eq(roster, &frame.roster));
        let mut pods = frame.roster.pods.iter().filter(|_| !seen).map(|entry| &entry.pod);
        pods.rfind(|pod| wanted(pod)).cloned()
    })
}

/// Rows that a document of this pod has.
pub(in crate::serve) fn rows(frames: &[Arc<Frame>], uid: &PodUid) -> usize {
    let mut finder = Finder::default();
    let places = frames.iter().filter_map(|frame| Some((frame, finder.find(frame, uid)?)));
    places.map(|(frame, place)| 1 + frame.roster.containers_of(place).count()).sum()
}

/// `/api/v1/history/…` of this pod.
pub(in crate::serve) fn history(
    snapshot: &Snapshot,
    frames: &[Arc<Frame>],
    pod: &PastPod,
) -> document::PodHistory {
    let (mut samples, mut finder) = (Vec::with_capacity(frames.len()), Finder::default());
    let mut containers: Vec<(ContainerId, document::ContainerHistory)> = Vec::new();
    for frame in frames {
        let Some(place) = finder.find(frame, &pod.runtime_uid) else { continue };
        samples.extend(frame.pod(place).map(|read| pod_sample(frame.tick, &frame.clock, &read)));
        for (at, name) in frame.roster.containers_of(place) {
            let Some(read) = frame.container(at) else { continue };
            let at = containers.iter().position(|(id, _)| *id == name.id).unwrap_or_else(|| {
                containers.push((name.id.clone(), document::ContainerHistory::default()));
                containers.len() - 1
            });
            let history = &mut containers[at].1;
            history.container = container(name);
            history.samples.push(container_sample(frame.tick, &frame.clock, &read));
        }
    }
    document::PodHistory {
        node: snapshot.node_name.to_string(),
        tick: snapshot.tick,
        time: rfc3339(snapshot.clock.wall),
        time_unix_nano: snapshot.clock.wall.as_unix_nanos(),
        interval_seconds: snapshot.interval.as_secs_f64(),
        sweep_microseconds: microseconds(snapshot.sweep),
        namespace: pod.namespace.as_deref().map(str::to_owned),
        name: pod.name.as_deref().map(str::to_owned),
        uid: pod.uid.as_ref().map(ToString::to_string),
        runtime_uid: pod.runtime_uid.to_string(),
        samples,
        containers: containers.into_iter().map(|(_, history)| history).collect(),
    }
}

/// `/api/v1/recent`.
pub(in crate::serve) fn recent(
    snapshot: &Snapshot,
    history_seconds: f64,
    ended: &[Arc<Ended>],
) -> document::Recent {
    document::Recent {
        node: snapshot.node_name.to_string(),
        tick: snapshot.tick,
        time: rfc3339(snapshot.clock.wall),
        time_unix_nano: snapshot.clock.wall.as_unix_nanos(),
        interval_seconds: snapshot.interval.as_secs_f64(),
        sweep_microseconds: microseconds(snapshot.sweep),
        history_seconds,
        ended: ended.iter().map(|ended| ended_document(ended)).collect(),
    }
}

fn ended_document(ended: &Ended) -> document::Ended {
    let Ended { pod, what, last_tick, last, gone_tick, gone, cause } = ended;
    document::Ended {
        namespace: pod.namespace.as_deref().map(str::to_owned),
        pod: pod.name.as_deref().map(str::to_owned),
        uid: pod.uid.as_ref().map(ToString::to_string),
        runtime_uid: pod.runtime_uid.to_string(),
        container: ended.container().map(|name| container(name)),
        cause: cause.word().to_owned(),
        gone_tick: *gone_tick,
        gone_time: rfc3339(gone.wall),
        gone_time_unix_nano: gone.wall.as_unix_nanos(),
        sample: match what {
            Final::Pod(read) => pod_sample(*last_tick, last, read),
            Final::Container(_, read) => container_sample(*last_tick, last, read),
        },
    }
}

fn container(name: &PastContainer) -> document::PastContainer {
    let PastContainer { id, name, kind, image, restart_count, started_at, cgroup: _ } = name;
    document::PastContainer {
        name: name.as_deref().map(str::to_owned),
        kind: *kind,
        id: id.to_string(),
        image: image.as_deref().map(str::to_owned),
        restart_count: *restart_count,
        started_at: started_at.map(rfc3339),
        started_at_unix_nano: started_at.map(|time| time.as_unix_nanos()),
    }
}

fn pod_sample(tick: u64, clock: &ClockPair, sample: &PodSample) -> document::PastSample {
    let mut shown = container_sample(tick, clock, &sample.cgroup);
    shown.network = network(clock, &sample.network, &mut shown.unavailable);
    shown
}

fn container_sample(tick: u64, clock: &ClockPair, sample: &CgroupSample) -> document::PastSample {
    let CgroupSample { cpu, memory, io: block_io } = sample;
    let mut unavailable = Reasons::new();
    let reasons = &mut unavailable;
    let wall = |at| clock.wall_of(at).as_unix_nanos();
    let cpu = figure(cpu, "cpu", reasons).map(|cpu| cpu_document(cpu, wall(cpu.at), reasons));
    let memory =
        figure(memory, "memory", reasons).map(|memory| memory_document(memory, wall(memory.at), reasons));
    let io = figure(block_io, "io", reasons).map(|read| io(read, wall(read.at), reasons));
    let time_unix_nano = clock.wall.as_unix_nanos();
    document::PastSample { tick, time_unix_nano, cpu, memory, io, network: None, unavailable }
}

fn io(read: &Stamped<IoSample>, time_unix_nano: u64, reasons: &mut Reasons) -> document::PastIo {
    let IoSample { counters, rates } = &read.value;
    let IoCounters { read_bytes, write_bytes, read_operations, write_operations } = *counters;
    if rates.is_none() {
        let paths = [
            "io.readBytesPerSecond",
            "io.writeBytesPerSecond",
            "io.readOperationsPerSecond",
            "io.writeOperationsPerSecond",
        ];
        absent(reasons, &paths, Unavailable::NotYet);
    }
    document::PastIo {
        time_unix_nano,
        read_bytes,
        write_bytes,
        read_operations,
        write_operations,
        read_bytes_per_second: rates.and_then(|rate| finite(rate.per_second.read_bytes)),
        write_bytes_per_second: rates.and_then(|rate| finite(rate.per_second.write_bytes)),
        read_operations_per_second: rates.and_then(|rate| finite(rate.per_second.read_operations)),
        write_operations_per_second: rates.and_then(|rate| finite(rate.per_second.write_operations)),
        window_seconds: rates.map(|rate| rate.window.as_secs_f64()),
    }
}

fn network(
    clock: &ClockPair,
    read: &Reading<NetworkSample>,
    reasons: &mut Reasons,
) -> Option<document::PastNetwork> {
    let read = figure(read, "network", reasons)?;
    let NetworkSample { source, counters, rates } = &read.value;
    if rates.is_none() {
        let paths = [
            "network.rxBytesPerSecond",
            "network.txBytesPerSecond",
            "network.rxPacketsPerSecond",
            "network.txPacketsPerSecond",
        ];
        absent(reasons, &paths, Unavailable::NotYet);
    }
    Some(document::PastNetwork {
        time_unix_nano: clock.wall_of(read.at).as_unix_nanos(),
        source: source.word().to_owned(),
        total: traffic(*counters, *source),
        rx_bytes_per_second: rates.and_then(|rate| finite(rate.per_second.rx_bytes)),
        tx_bytes_per_second: rates.and_then(|rate| finite(rate.per_second.tx_bytes)),
        rx_packets_per_second: rates.and_then(|rate| finite(rate.per_second.rx_packets)),
        tx_packets_per_second: rates.and_then(|rate| finite(rate.per_second.tx_packets)),
        window_seconds: rates.map(|rate| rate.window.as_secs_f64()),
    })
}
