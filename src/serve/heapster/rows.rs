//! One node, pod or container, sweep by sweep: what the frames of the history keep of it, and last the snapshot
//! (pure).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::native::past::Finder;
use super::super::native::pods::{NamedPod, each, one_of_each_name, running};
use super::super::native::rows;
use crate::model::counters::{DeviceRow, Limits};
use crate::model::file_systems::{self, Space};
use crate::model::history::{
    CLOSEST, CgroupSample, Frame, IoSample, NetworkSample, NodeSample, PastPod, PodSample, Shelf,
};
use crate::model::identity::{PodUid, Requests};
use crate::model::snapshot::{CgroupFigures, Snapshot};
use crate::model::sweep::{NodePaging, Reading, Stamped};
use crate::model::target::SystemContainer;
use crate::model::time::{ClockPair, WallTime};

/// One of them in one sweep.
pub(super) struct Row<'a> {
    /// Of the sweep.
    pub(super) clock: ClockPair,
    /// What was read.
    pub(super) read: Read,
    /// When it started, as a source of names says; of the node, when the kernel did.
    pub(super) started: Option<WallTime>,
    /// Instances of the container before this one.
    pub(super) restarts: Option<u32>,
    /// What no frame keeps.
    pub(super) present: Option<Present<'a>>,
}

/// What was read of it.
pub(super) enum Read {
    Node(NodeSample),
    Pod(PodSample),
    Container(CgroupSample),
}

/// What only the snapshot knows.
#[derive(Clone, Copy, Default)]
pub(super) struct Present<'a> {
    /// Nothing of the node's.
    pub(super) limits: Option<&'a Limits>,
    pub(super) requests: Requests,
    pub(super) devices: &'a [DeviceRow],
    /// Of the node alone.
    pub(super) paging: Option<NodePaging>,
    /// The same: of the file system that the kubelet's directory lies on.
    pub(super) kubelet_space: Option<Stamped<Space>>,
}

/// Which of them.
#[derive(Clone, Debug)]
pub(super) enum Which {
    Node,
    Pod(PodUid),
    Container(PodUid, String),
    /// By heapster's word for it. Of these no frame keeps anything.
    System(String),
}

impl Row<'_> {
    /// Of a pod or a container.
    pub(super) fn cgroup(&self) -> Option<&CgroupSample> {
        match &self.read {
            Read::Node(_) => None,
            Read::Pod(pod) => Some(&pod.cgroup),
            Read::Container(cgroup) => Some(cgroup),
        }
    }

    /// Of the node.
    pub(super) fn node(&self) -> Option<&NodeSample> {
        match &self.read {
            Read::Node(node) => Some(node),
            _ => None,
        }
    }

    /// Of the node or a pod: a container has none of its own.
    pub(super) fn network(&self) -> Option<&Reading<NetworkSample>> {
        match &self.read {
            Read::Node(node) => Some(&node.network),
            Read::Pod(pod) => Some(&pod.network),
            Read::Container(_) => None,
        }
    }

    /// Of any of them.
    pub(super) fn io(&self) -> &Reading<IoSample> {
        match &self.read {
            Read::Node(node) => &node.io,
            Read::Pod(pod) => &pod.cgroup.io,
            Read::Container(cgroup) => &cgroup.io,
        }
    }
}

/// The sweeps that a reader asks for.
pub(super) struct Sweeps<'a> {
    snapshot: &'a Snapshot,
    /// Oldest first, all of them before the snapshot's sweep.
    frames: Vec<Arc<Frame>>,
}

impl<'a> Sweeps<'a> {
    /// Those in which something was read since `start`, and perhaps some before.
    pub(super) fn since(start: i128, snapshot: &'a Snapshot, shelf: &Shelf) -> Self {
        // A sweep begins before its reads.
        let margin = i128::try_from(snapshot.interval.max(CLOSEST).as_nanos()).unwrap_or(i128::MAX);
        let late_enough =
            |frame: &Frame| i128::from(frame.clock.wall.as_unix_nanos()).saturating_add(margin) >= start;
        let mut frames = shelf.frames(snapshot.tick, late_enough);
        frames.retain(|frame| frame.tick < snapshot.tick);
        Self { snapshot, frames }
    }

    /// The last one alone.
    pub(super) fn last(snapshot: &'a Snapshot) -> Self {
        Self { snapshot, frames: Vec::new() }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.frames.len() + 1
    }

    /// The pods that have this namespace, by name: of two of one name the one that lives, or was there last.
    pub(super) fn pods(&self, namespace: &str) -> BTreeMap<Arc<str>, PodUid> {
        let mut pods = BTreeMap::new();
        let mut before = None;
        for frame in &self.frames {
            let roster = Arc::as_ptr(&frame.roster);
            if before.replace(roster) == Some(roster) {
                continue;
            }
            for PastPod { namespace: of, name, runtime_uid, .. } in
                frame.roster.pods.iter().map(|entry| &*entry.pod)
            {
                if let (Some(of), Some(name)) = (of, name)
                    && **of == *namespace
                {
                    pods.insert(name.clone(), runtime_uid.clone());
                }
            }
        }
        for (pod, known) in one_of_each_name(self.snapshot) {
            if *known.namespace == *namespace {
                pods.insert(known.name.clone(), pod.target.runtime_uid.clone());
            }
        }
        pods
    }

    /// What was read of it, oldest first.
    pub(super) fn rows(&self, which: &Which) -> Vec<Row<'a>> {
        let mut finder = Finder::default();
        let past = self.frames.iter().filter_map(|frame| past(frame, which, &mut finder));
        past.chain(present(self.snapshot, which)).collect()
    }
}

fn past<'f>(frame: &'f Frame, which: &Which, finder: &mut Finder<'f>) -> Option<Row<'static>> {
    let clock = frame.clock;
    let row = |read, started, restarts| Row { clock, read, started, restarts, present: None };
    match which {
        Which::Node => Some(row(Read::Node(frame.node()?), None, None)),
        Which::Pod(uid) => {
            let place = finder.find(frame, uid)?;
            let started = frame.roster.pods.get(place)?.pod.start_time;
            Some(row(Read::Pod(frame.pod(place)?), started, None))
        }
        Which::System(_) => None,
        Which::Container(uid, name) => {
            let containers = frame.roster.containers_of(finder.find(frame, uid)?);
            let of_name = containers.filter(|(_, container)| container.name.as_deref() == Some(name));
            // Of two instances the later one.
            let (at, container) =
                of_name.max_by_key(|(_, container)| (container.restart_count, container.started_at))?;
            let read = Read::Container(frame.container(at)?);
            Some(row(read, container.started_at, container.restart_count))
        }
    }
}

fn present<'a>(snapshot: &'a Snapshot, which: &Which) -> Option<Row<'a>> {
    let pod_of = |uid: &PodUid| each(snapshot).find(|pod| pod.target.runtime_uid == *uid);
    match which {
        Which::Node => Some(node(snapshot)),
        Which::Pod(uid) => Some(pod(snapshot, pod_of(uid)?)),
        Which::Container(uid, name) => containers(snapshot, pod_of(uid)?)
            .into_iter()
            .find(|(known, _)| known == name)
            .map(|(_, row)| row),
        Which::System(name) => system(snapshot).find(|(known, _)| known == name).map(|(_, row)| row),
    }
}

/// Heapster's system containers in the last sweep, by its words: the kubelet, the runtime, and all pods together.
pub(super) fn system(snapshot: &Snapshot) -> impl Iterator<Item = (&'static str, Row<'_>)> {
    snapshot.node.system.iter().map(|system| {
        let word = match system.name {
            // Whatever it is.
            SystemContainer::Runtime => "docker-daemon",
            name => name.word(),
        };
        let row = Row {
            clock: snapshot.clock,
            read: Read::Container(CgroupSample::of(&system.cgroup)),
            started: None,
            restarts: None,
            present: Some(of_cgroup(snapshot, &system.cgroup, Requests::default())),
        };
        (word, row)
    })
}

/// The node in the last sweep.
pub(super) fn node(snapshot: &Snapshot) -> Row<'_> {
    let disks = snapshot.node.io.as_ref().ok().map(|io| rows(&snapshot.devices, &io.value.1).as_slice());
    let present = Present {
        limits: None,
        requests: Requests::default(),
        devices: disks.unwrap_or_default(),
        paging: snapshot.node.paging.as_ref().ok().map(|paging| paging.value),
        kubelet_space: kubelet_space(snapshot),
    };
    Row {
        clock: snapshot.clock,
        read: Read::Node(NodeSample::of(&snapshot.node)),
        started: snapshot.node.booted_at,
        restarts: None,
        present: Some(present),
    }
}

fn kubelet_space(snapshot: &Snapshot) -> Option<Stamped<Space>> {
    let read = snapshot.node.file_systems.as_ref().ok()?;
    let value = file_systems::holding(&read.value, |holds| holds.kubelet)?.space;
    Some(Stamped { at: read.at, value })
}

/// A pod in the last sweep.
pub(super) fn pod<'a>(snapshot: &'a Snapshot, pod: NamedPod<'a>) -> Row<'a> {
    let known = pod.target.known.as_deref();
    let requests = known.map(|known| known.requests).unwrap_or_default();
    Row {
        clock: snapshot.clock,
        read: Read::Pod(PodSample::of(pod.figures)),
        started: known.and_then(|known| known.start_time),
        restarts: None,
        present: Some(of_cgroup(snapshot, &pod.figures.cgroup, requests)),
    }
}

/// Its containers that run, each with its name.
pub(super) fn containers<'a>(snapshot: &'a Snapshot, pod: NamedPod<'a>) -> Vec<(&'a str, Row<'a>)> {
    let running = running(snapshot, pod).into_iter();
    let rows = running.map(|(read, _, known)| {
        let row = Row {
            clock: snapshot.clock,
            read: Read::Container(CgroupSample::of(&read.cgroup)),
            started: known.started_at,
            restarts: Some(known.restart_count),
            present: Some(of_cgroup(snapshot, &read.cgroup, known.requests)),
        };
        (&*known.name, row)
    });
    rows.collect()
}

fn of_cgroup<'a>(snapshot: &'a Snapshot, cgroup: &'a CgroupFigures, requests: Requests) -> Present<'a> {
    let disks = cgroup.io.as_ref().ok().map(|io| rows(&snapshot.devices, &io.value.devices).as_slice());
    Present {
        limits: Some(&cgroup.limits),
        requests,
        devices: disks.unwrap_or_default(),
        ..Present::default()
    }
}
