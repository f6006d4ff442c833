//! `/metrics/pods`: every figure under our own names.
//!
//! ```text
//! podvitals_pod_network_receive_bytes_total{namespace="default",pod="web-5d4",uid="0a1b…"} 12000000000
//! podvitals_container_memory_anon_bytes{container="web",id="dddd…",namespace="default",pod="web-5d4"} 104857600
//! ```
//! A pod is told from another of its name by `uid`, an instance of a container from the one before by `id`.
//! What has no name yet has no label for it: Prometheus takes that for an empty one. The counters of a pod do
//! not go back for as long as this process lives; those with a base of ours have a `_created`.

use super::super::exposition::{Extra, Family, Form, Place, Shelf, Value, Writer};
use super::super::native::pods::{NamedPod, qos_class};
use super::super::native::window::Windows;
use super::super::sheets::Sheets;
use super::halves::Hand;
use super::pods_table::{
    CONTAINER_INFO, CONTAINER_UNAVAILABLE, OF_CONTAINERS, OF_PODS, PER_CONTAINER, PER_POD, POD_INFO,
    POD_UNAVAILABLE, SAMPLE_AGE, SAMPLE_TIME, WINDOW,
};
use super::row::Row;
use super::{Document, Read, Rows, Scribe, Section, sections};
use crate::model::document::{Reasons, Window};
use crate::model::identity::{ContainerKind, KnownContainer};
use crate::model::snapshot::Snapshot;
use crate::model::time::Monotonic;

/// The document of `pods`, which are in order, with ages as of `now`, written on `sheets`; `windows` are of the
/// same pods, `None` where nothing is kept.
pub(in crate::serve) fn document(
    snapshot: &Snapshot,
    pods: &[NamedPod<'_>],
    now: Monotonic,
    windows: Option<&Windows<'_>>,
    form: Form,
    sheets: Sheets,
) -> Sheets {
    super::render(&Pods { snapshot, pods, now, windows }, form, sheets)
}

struct Pods<'a> {
    snapshot: &'a Snapshot,
    pods: &'a [NamedPod<'a>],
    now: Monotonic,
    windows: Option<&'a Windows<'a>>,
}

impl Document for Pods<'_> {
    fn length(&self) -> usize {
        const OF_A_ROW: usize = 16 << 10;
        (self.snapshot.pods.len() + self.snapshot.containers.len()) * OF_A_ROW
    }

    fn write<W: Writer>(&self, writer: impl Fn(Vec<u8>) -> W + Sync, sheets: Sheets) -> Sheets {
        let Self { snapshot, pods: named, now, windows } = *self;
        let mut shelf = W::shelf(named.len() + snapshot.containers.len());
        let pods = pods(snapshot, named, &mut shelf);
        let containers = containers(snapshot, named, &mut shelf);
        let Peaks { seen, without } = peaks(&pods, windows);
        let (shelf, pods, containers) = (&shelf, &pods[..], &containers[..]);
        let mut all = vec![
            Section::new(2 * pods.len(), |scribe| scribe.infos(&POD_INFO, shelf, pods, pod_info)),
            Section::new(2 * pods.len(), |scribe| scribe.ages(shelf, pods, now)),
        ];
        all.extend(sections(PER_POD, shelf, pods).chain(sections(OF_PODS, shelf, pods)));
        all.push(Section::new(WINDOW.len() * seen.len(), |scribe| scribe.windows(shelf, &seen)));
        all.push(Section::new(pods.len(), |scribe| {
            scribe.unavailable(&POD_UNAVAILABLE, shelf, pods);
            scribe.windowless(shelf, &without);
        }));
        all.push(Section::new(2 * containers.len(), |scribe| {
            scribe.infos(&CONTAINER_INFO, shelf, containers, container_info);
        }));
        all.extend(sections(PER_CONTAINER, shelf, containers));
        all.extend(sections(OF_CONTAINERS, shelf, containers));
        all.push(Section::new(containers.len(), |scribe| {
            scribe.unavailable(&CONTAINER_UNAVAILABLE, shelf, containers);
        }));
        Hand { begin: &|sheet| Scribe::new(writer(sheet), snapshot), end: Scribe::finish }.write(&all, sheets)
    }
}

/// Labels in the order of their names, without the empty ones.
fn put(shelf: &mut Shelf, labels: &[(&'static str, &str)]) -> Place {
    let told: Vec<_> = labels.iter().copied().filter(|(_, value)| !value.is_empty()).collect();
    shelf.put(&told)
}

fn pods<'a>(snapshot: &'a Snapshot, pods: &[NamedPod<'a>], shelf: &mut Shelf) -> Rows<'a> {
    let row = |pod: &NamedPod<'a>| {
        let known = pod.target.known.as_deref();
        let (namespace, name) = known.map_or(("", ""), |known| (&*known.namespace, &*known.name));
        let uid = pod.target.runtime_uid.as_str();
        let place = put(shelf, &[("namespace", namespace), ("pod", name), ("uid", uid)]);
        let cgroup = &pod.figures.cgroup;
        (place, Row { pod: Some(*pod), container: None, cgroup, snapshot })
    };
    pods.iter().map(row).collect()
}

fn containers<'a>(snapshot: &'a Snapshot, pods: &[NamedPod<'a>], shelf: &mut Shelf) -> Rows<'a> {
    let mut all = Vec::with_capacity(snapshot.containers.len());
    for &pod in pods {
        let known_pod = pod.target.known.as_deref();
        let (namespace, pod_name) = known_pod.map_or(("", ""), |known| (&*known.namespace, &*known.name));
        for (read, child) in pod.children(snapshot) {
            let (container, cgroup) = (Some(child), &read.cgroup);
            let row = Row { pod: Some(pod), container, cgroup, snapshot };
            let (name, id) = (row.known().map_or("", |known| &*known.name), child.container_id.as_str());
            let labels = [("container", name), ("id", id), ("namespace", namespace), ("pod", pod_name)];
            all.push((put(shelf, &labels), row));
        }
    }
    all
}

/// What the info of a pod has besides the labels of its other series.
fn pod_info<'a>(row: &Row<'a>) -> Vec<Extra<'a>> {
    let Some(NamedPod { figures, target }) = row.pod else { return Vec::new() };
    let known = target.known.as_deref();
    let owner = known.and_then(|known| known.owner.as_ref());
    let yes_or_no = |flag: bool| if flag { "true" } else { "false" };
    vec![
        ("host_network", yes_or_no(target.host_network)),
        ("network_source", figures.network.as_ref().map_or("", |network| network.value.source.word())),
        ("node", &row.snapshot.node_name),
        ("owner_kind", owner.map_or("", |owner| &owner.kind)),
        ("owner_name", owner.map_or("", |owner| &owner.name)),
        ("qos_class", target.qos_class.map_or("", qos_class)),
        ("static", known.map_or("", |known| yes_or_no(known.static_pod))),
    ]
}

/// The same of a container.
fn container_info<'a>(row: &Row<'a>) -> Vec<Extra<'a>> {
    let known = row.known();
    vec![
        ("image", known.and_then(|known| known.image.as_deref()).unwrap_or_default()),
        ("kind", kind(known)),
        ("uid", row.pod.map_or("", |pod| pod.target.runtime_uid.as_str())),
    ]
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

/// The most of the last seconds; what has none has a reason, which belongs to another family.
#[derive(Default)]
struct Peaks {
    seen: Vec<(Place, Window)>,
    without: Vec<(Place, Reasons)>,
}

fn peaks(pods: &[(Place, Row<'_>)], windows: Option<&Windows<'_>>) -> Peaks {
    let mut peaks = Peaks::default();
    for (place, pod) in pods.iter().filter_map(|(place, row)| Some((*place, row.pod?))) {
        let mut reasons = Reasons::new();
        let window = windows.and_then(|windows| windows.of(pod, &mut reasons));
        peaks.seen.extend(window.map(|window| (place, window)));
        if !reasons.is_empty() {
            peaks.without.push((place, reasons));
        }
    }
    peaks
}

impl<W: Writer> Scribe<'_, W> {
    /// A series for each row, with more labels than its others; those that are empty are left out.
    fn infos<'a>(
        &mut self,
        family: &Family,
        shelf: &Shelf,
        rows: &[(Place, Row<'a>)],
        info: fn(&Row<'a>) -> Vec<Extra<'a>>,
    ) {
        self.writer.family(family);
        let mut labels = Vec::new();
        for (place, row) in rows {
            let mut info = info(row);
            info.retain(|(_, value)| !value.is_empty());
            self.sample(shelf.with(*place, &info, &mut labels), Read::plain(Value::Integer(1)));
        }
    }

    fn ages(&mut self, shelf: &Shelf, pods: &[(Place, Row<'_>)], now: Monotonic) {
        let oldest = || pods.iter().filter_map(|(place, row)| Some((*place, row.pod?.figures.oldest)));
        self.writer.family(&SAMPLE_TIME);
        for (place, at) in oldest() {
            let value = Value::instant(self.snapshot.clock.wall_of(at));
            self.sample(shelf.at(place), Read::plain(value));
        }
        self.writer.family(&SAMPLE_AGE);
        for (place, at) in oldest() {
            let value = Value::seconds(now.since(at).unwrap_or_default());
            self.sample(shelf.at(place), Read::plain(value));
        }
    }

    fn windows(&mut self, shelf: &Shelf, seen: &[(Place, Window)]) {
        for (family, of) in WINDOW {
            self.writer.family(family);
            for (place, window) in seen {
                if let Some(value) = of(window) {
                    self.sample(shelf.at(*place), Read::plain(value));
                }
            }
        }
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
