//! `/metrics/pods`: every figure under our own names.
//!
//! ```text
//! podvitals_pod_network_receive_bytes_total{namespace="default",pod="web-5d4",uid="0a1b…"} 12000000000
//! podvitals_container_memory_anon_bytes{container="web",id="dddd…",namespace="default",pod="web-5d4"} 104857600
//! ```
//! A pod is told from another of its name by `uid`, an instance of a container from the one before by `id`.
//! What has no name yet has no label for it: Prometheus takes that for an empty one. The counters of a pod do
//! not go back for as long as this process lives; those with a base of ours have a `_created`.

use super::super::exposition::{Family, Form, Place, Shelf, Value, Writer};
use super::super::native::pods::{NamedPod, qos_class};
use super::super::native::window::Windows;
use super::pods_table::{
    CONTAINER_INFO, CONTAINER_UNAVAILABLE, OF_CONTAINERS, OF_PODS, PER_CONTAINER, PER_POD, POD_INFO,
    POD_UNAVAILABLE, SAMPLE_AGE, SAMPLE_TIME, WINDOW,
};
use super::row::Row;
use super::{Document, Read, Scribe};
use crate::model::document::{Reasons, Window};
use crate::model::identity::{ContainerKind, KnownContainer};
use crate::model::snapshot::Snapshot;
use crate::model::time::Monotonic;

/// The document of `pods`, which are in order, with ages as of `now`, written on `memory`; `windows` are of the
/// same pods, `None` where nothing is kept.
pub(in crate::serve) fn document(
    snapshot: &Snapshot,
    pods: &[NamedPod<'_>],
    now: Monotonic,
    windows: Option<&Windows<'_>>,
    form: Form,
    memory: Vec<u8>,
) -> Vec<u8> {
    super::render(&Pods { snapshot, pods, now, windows }, form, memory)
}

struct Pods<'a> {
    snapshot: &'a Snapshot,
    pods: &'a [NamedPod<'a>],
    now: Monotonic,
    windows: Option<&'a Windows<'a>>,
}

/// A row, its labels, and those of its info.
struct Placed<'a> {
    labels: Place,
    info: Place,
    row: Row<'a>,
}

impl Document for Pods<'_> {
    fn length(&self) -> usize {
        const OF_A_ROW: usize = 16 << 10;
        (self.snapshot.pods.len() + self.snapshot.containers.len()) * OF_A_ROW
    }

    fn write<W: Writer>(&self, writer: W) -> Vec<u8> {
        let Self { snapshot, pods: named, now, windows } = *self;
        // Each has two sets of labels.
        let mut shelf = writer.shelf(2 * (named.len() + snapshot.containers.len()));
        let pods = pods(snapshot, named, &mut shelf);
        let containers = containers(snapshot, named, &mut shelf);
        let mut scribe = Scribe { writer, snapshot, timestamps: false, full: true };
        scribe.infos(&POD_INFO, &shelf, &pods);
        scribe.ages(&shelf, &pods, now);
        let pods = plain(pods);
        scribe.series(PER_POD, &shelf, &pods);
        scribe.series(OF_PODS, &shelf, &pods);
        let without = scribe.windows(&shelf, &pods, windows);
        scribe.unavailable(&POD_UNAVAILABLE, &shelf, &pods);
        scribe.windowless(&shelf, &without);
        scribe.infos(&CONTAINER_INFO, &shelf, &containers);
        let containers = plain(containers);
        scribe.series(PER_CONTAINER, &shelf, &containers);
        scribe.series(OF_CONTAINERS, &shelf, &containers);
        scribe.unavailable(&CONTAINER_UNAVAILABLE, &shelf, &containers);
        scribe.writer.finish()
    }
}

fn plain(placed: Vec<Placed<'_>>) -> Vec<(Place, Row<'_>)> {
    placed.into_iter().map(|placed| (placed.labels, placed.row)).collect()
}

/// Labels in the order of their names, without the empty ones.
fn put(shelf: &mut Shelf, labels: &[(&'static str, &str)]) -> Place {
    let told: Vec<_> = labels.iter().copied().filter(|(_, value)| !value.is_empty()).collect();
    shelf.put(&told)
}

fn pods<'a>(snapshot: &'a Snapshot, pods: &[NamedPod<'a>], shelf: &mut Shelf) -> Vec<Placed<'a>> {
    let row = |pod: &NamedPod<'a>| {
        let pod = *pod;
        let NamedPod { figures, target } = pod;
        let known = target.known.as_deref();
        let (namespace, name) = known.map_or(("", ""), |known| (&*known.namespace, &*known.name));
        let uid = target.runtime_uid.as_str();
        let labels = put(shelf, &[("namespace", namespace), ("pod", name), ("uid", uid)]);
        let owner = known.and_then(|known| known.owner.as_ref());
        let source = figures.network.as_ref().map_or("", |network| network.value.source.word());
        let yes_or_no = |flag: bool| if flag { "true" } else { "false" };
        let info = put(
            shelf,
            &[
                ("host_network", yes_or_no(target.host_network)),
                ("namespace", namespace),
                ("network_source", source),
                ("node", &snapshot.node_name),
                ("owner_kind", owner.map_or("", |owner| &owner.kind)),
                ("owner_name", owner.map_or("", |owner| &owner.name)),
                ("pod", name),
                ("qos_class", target.qos_class.map_or("", qos_class)),
                ("static", known.map_or("", |known| yes_or_no(known.static_pod))),
                ("uid", uid),
            ],
        );
        let cgroup = &figures.cgroup;
        let row = Row { pod: Some(pod), container: None, cgroup, snapshot, devices: &[], network: None };
        Placed { labels, info, row }
    };
    pods.iter().map(row).collect()
}

fn containers<'a>(snapshot: &'a Snapshot, pods: &[NamedPod<'a>], shelf: &mut Shelf) -> Vec<Placed<'a>> {
    let mut all = Vec::with_capacity(snapshot.containers.len());
    for &pod in pods {
        let known_pod = pod.target.known.as_deref();
        let (namespace, pod_name) = known_pod.map_or(("", ""), |known| (&*known.namespace, &*known.name));
        for (read, child) in pod.children(snapshot) {
            // Until it is settled which child is the sandbox, none is surely the container it seems to be.
            let known = child.known.as_deref().filter(|_| pod.target.sandbox_settled);
            let (name, id) = (known.map_or("", |known| &*known.name), child.container_id.as_str());
            let labels = [("container", name), ("id", id), ("namespace", namespace), ("pod", pod_name)];
            let labels = put(shelf, &labels);
            let info = put(
                shelf,
                &[
                    ("container", name),
                    ("id", id),
                    ("image", known.and_then(|known| known.image.as_deref()).unwrap_or_default()),
                    ("kind", kind(known)),
                    ("namespace", namespace),
                    ("pod", pod_name),
                    ("uid", pod.target.runtime_uid.as_str()),
                ],
            );
            let container = Some(child);
            let cgroup = &read.cgroup;
            let row = Row { pod: Some(pod), container, cgroup, snapshot, devices: &[], network: None };
            all.push(Placed { labels, info, row });
        }
    }
    all
}

fn kind(known: Option<&KnownContainer>) -> &'static str {
    match known.and_then(|known| known.kind) {
        Some(ContainerKind::App) => "app",
        Some(ContainerKind::Init) => "init",
        Some(ContainerKind::Sidecar) => "sidecar",
        Some(ContainerKind::Ephemeral) => "ephemeral",
        None => "",
    }
}

impl<W: Writer> Scribe<'_, W> {
    fn infos(&mut self, family: &Family, shelf: &Shelf, all: &[Placed<'_>]) {
        self.writer.family(family);
        for placed in all {
            self.sample(shelf.at(placed.info), Read::plain(Value::Integer(1)));
        }
    }

    fn ages(&mut self, shelf: &Shelf, pods: &[Placed<'_>], now: Monotonic) {
        let oldest = |placed: &Placed<'_>| placed.row.pod.map(|pod| pod.figures.oldest);
        self.writer.family(&SAMPLE_TIME);
        for (placed, at) in pods.iter().filter_map(|placed| Some((placed, oldest(placed)?))) {
            let value = Value::instant(self.snapshot.clock.wall_of(at));
            self.sample(shelf.at(placed.labels), Read::plain(value));
        }
        self.writer.family(&SAMPLE_AGE);
        for (placed, at) in pods.iter().filter_map(|placed| Some((placed, oldest(placed)?))) {
            let value = Value::seconds(now.since(at).unwrap_or_default());
            self.sample(shelf.at(placed.labels), Read::plain(value));
        }
    }

    /// The most of the last seconds. What has none has a reason, which is returned: it belongs to another family.
    fn windows(
        &mut self,
        shelf: &Shelf,
        pods: &[(Place, Row<'_>)],
        windows: Option<&Windows<'_>>,
    ) -> Vec<(Place, Reasons)> {
        let mut without = Vec::new();
        let mut seen: Vec<(Place, Window)> = Vec::new();
        for (place, pod) in pods.iter().filter_map(|(place, row)| Some((*place, row.pod?))) {
            let mut reasons = Reasons::new();
            let window = windows.and_then(|windows| windows.of(pod, &mut reasons));
            seen.extend(window.map(|window| (place, window)));
            if !reasons.is_empty() {
                without.push((place, reasons));
            }
        }
        for (family, of) in WINDOW {
            self.writer.family(family);
            for (place, window) in &seen {
                if let Some(value) = of(window) {
                    self.sample(shelf.at(*place), Read::plain(value));
                }
            }
        }
        without
    }

    fn windowless(&mut self, shelf: &Shelf, without: &[(Place, Reasons)]) {
        let mut labels = Vec::new();
        for (place, reasons) in without {
            for (figure, why) in reasons {
                let extra = [("figure", figure.as_str()), ("reason", why.word())];
                self.sample(shelf.with(*place, &extra, &mut labels), Read::plain(Value::Integer(1)));
            }
        }
    }
}
