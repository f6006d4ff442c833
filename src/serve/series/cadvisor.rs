//! `/metrics/cadvisor`: what the kubelet serves under this name, each second and without what doubles.
//!
//! ```text
//! container_memory_rss{container="web",id="/kubepods/pod0a1b/dddd",image="nginx:1.2",name="dddd",namespace="default",pod="web-5d4"} 104857600
//! ```
//! Which rows there are, so that no rule of the mixins counts anything twice or leaves it out:
//!
//! * containers, whatever their kind, with the image as the pod names it; none before it is known which
//!   container it is, since `container=""` means the pod;
//! * pods, with `container=""` and `image=""`: CPU and memory of the pod's own cgroup, and the network, which
//!   is nobody else's; none of the pause container, which the kubelet gives the image that makes
//!   `image!=""` count it;
//! * the node, with `id="/"`;
//! * nothing of a pod that nobody has named yet: readers take an empty `pod` for one of the node's slices, or
//!   discard it; and nothing of a container whose image nobody has told, since every rule asks for one.
//!
//! On cgroup v1 the I/O of a pod's cgroup falls when a container goes, so disks are shown of containers and
//! of the node.

use super::super::exposition::{Extended, Family, Form, Labels, Place, Shelf, Value, Writer};
use super::super::native::network::{counted, counted_nics};
use super::super::native::pods::{in_order, running};
use super::super::native::rows;
use super::super::node_cgroup;
use super::super::sheets::Sheets;
use super::cadvisor_node::{FILE_SYSTEMS, MACHINE, Places};
use super::cadvisor_table::{DISKS, INTERFACES, PER_CGROUP, USAGE};
use super::halves::Hand;
use super::row::Row;
use super::{Document, Read, Rows, Scribe, Section, device_paths, sections};
use crate::model::counters::{DeviceRow, NetworkCounters};
use crate::model::machine::Machine;
use crate::model::snapshot::{CgroupFigures, Snapshot};
use crate::model::sweep::NetworkSource;
use crate::model::time::Monotonic;

/// What may be asked of the document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::serve) struct How {
    /// Everything there is, not only what rules and dashboards read.
    pub(in crate::serve) full: bool,
    /// Each sample with the time at which it was read.
    pub(in crate::serve) timestamps: bool,
}

impl How {
    /// Reads the text after the `?`, which changes what is `usual` here. What it does not know it ignores, as
    /// the kubelet does.
    pub(in crate::serve) fn parse(query: &str, usual: Self) -> Self {
        let mut how = usual;
        for pair in query.split('&') {
            match pair {
                "profile=full" => how.full = true,
                "profile=lean" => how.full = false,
                "timestamps=1" | "timestamps=true" => how.timestamps = true,
                _ => {}
            }
        }
        how
    }
}

/// The document, written on `sheets`.
pub(in crate::serve) fn document(
    snapshot: &Snapshot,
    machine: &Machine,
    how: How,
    form: Form,
    sheets: Sheets,
) -> Sheets {
    super::render(&Cadvisor { snapshot, machine, how }, form, sheets)
}

struct Cadvisor<'a> {
    snapshot: &'a Snapshot,
    machine: &'a Machine,
    how: How,
}

impl Document for Cadvisor<'_> {
    fn length(&self) -> usize {
        const OF_A_ROW: usize = 16 << 10;
        (1 + self.snapshot.pods.len() + self.snapshot.containers.len()) * OF_A_ROW
    }

    fn write<W: Writer>(&self, writer: impl Fn(Vec<u8>) -> W + Sync, sheets: Sheets) -> Sheets {
        let Self { snapshot, machine, how } = *self;
        let mut shelf = W::shelf(4 + snapshot.pods.len() + snapshot.containers.len());
        let places = Places::new(machine, &mut shelf);
        let node = node_cgroup::now(snapshot);
        let rows = all_rows(snapshot, &node, &mut shelf);
        let (rows, shelf) = (&rows[..], &shelf);
        let mut all: Vec<_> = sections(PER_CGROUP, shelf, rows).collect();
        // A guess: one interface and one disk a row.
        all.push(Section::new(INTERFACES.len() * rows.len(), |scribe| scribe.interfaces(shelf, rows)));
        all.push(Section::new(DISKS.len() * rows.len(), |scribe| scribe.disks(shelf, rows)));
        all.push(Section::new(FILE_SYSTEMS.len(), |scribe| scribe.file_systems(shelf, rows)));
        all.push(Section::new(MACHINE.len(), move |scribe| scribe.machine(machine, &places, shelf)));
        let begin = |sheet| {
            let How { full, timestamps } = how;
            Scribe { full, timestamps, ..Scribe::new(writer(sheet), snapshot) }
        };
        Hand { begin: &begin, end: Scribe::finish }.write(&all, sheets)
    }
}

fn all_rows<'a>(snapshot: &'a Snapshot, node: &'a CgroupFigures, shelf: &mut Shelf) -> Rows<'a> {
    let mut all = Rows::with_capacity(1 + snapshot.pods.len() + snapshot.containers.len());
    let row = Row { pod: None, container: None, cgroup: node, snapshot };
    all.push((put(shelf, Names::default(), "/"), row));
    for pod in in_order(snapshot) {
        let Some(known) = pod.target.known.as_deref() else { continue };
        let of_pod = Names { namespace: &known.namespace, pod: &known.name, ..Names::default() };
        let place = put(shelf, of_pod, &pod.target.cgroup.path.absolute());
        all.push((place, Row { pod: Some(pod), container: None, cgroup: &pod.figures.cgroup, snapshot }));
        for (read, child, known) in running(snapshot, pod) {
            let Some(image) = known.image.as_deref() else { continue };
            let names = Names { container: &known.name, image, name: child.container_id.as_str(), ..of_pod };
            let place = put(shelf, names, &child.cgroup.path.absolute());
            let row = Row { pod: Some(pod), container: Some(child), cgroup: &read.cgroup, snapshot };
            all.push((place, row));
        }
    }
    all
}

/// The labels that every row has, empty or not.
#[derive(Clone, Copy, Default)]
struct Names<'a> {
    container: &'a str,
    image: &'a str,
    name: &'a str,
    namespace: &'a str,
    pod: &'a str,
}

fn put(shelf: &mut Shelf, names: Names<'_>, id: &str) -> Place {
    let Names { container, image, name, namespace, pod } = names;
    shelf.put(&[
        ("container", container),
        ("id", id),
        ("image", image),
        ("name", name),
        ("namespace", namespace),
        ("pod", pod),
    ])
}

/// Traffic, one interface after the other.
struct Network {
    interfaces: Vec<(String, NetworkCounters)>,
    source: NetworkSource,
    at: Monotonic,
}

/// Of a pod with a network of its own, or of the node.
fn network(row: &Row<'_>) -> Option<Network> {
    let Some(pod) = row.pod else {
        let network = row.snapshot.node.network.as_ref().ok()?;
        let interfaces = counted_nics(row.snapshot, &network.value.1);
        return Some(Network { interfaces, source: NetworkSource::Netns, at: network.at });
    };
    if row.container.is_some() || pod.target.host_network {
        return None;
    }
    let network = pod.figures.network.as_ref().ok()?;
    // Those that count: a sum over all rows must not have the same bytes twice.
    let interfaces = counted(row.snapshot, &network.value);
    Some(Network { interfaces, source: network.value.source, at: network.at })
}

/// Disks of a container, or of the node, to show one by one, and when they were read.
fn devices<'a>(row: &Row<'a>) -> Option<(Monotonic, &'a [DeviceRow])> {
    let (at, range) = match (row.pod, row.container) {
        (None, _) => row.snapshot.node.io.as_ref().ok().map(|io| (io.at, &io.value.1))?,
        (_, Some(_)) => row.cgroup.io.as_ref().ok().map(|io| (io.at, &io.value.devices))?,
        (_, None) => return None,
    };
    Some((at, rows(&row.snapshot.devices, range).as_slice()))
}

/// What rows have in several families with more labels: an interface's or a disk's counters.
struct Parts<T> {
    labels: Extended,
    each: Vec<(Monotonic, T)>,
}

impl<T> Parts<T> {
    fn none() -> Self {
        Self { labels: Extended::default(), each: Vec::new() }
    }

    fn iter(&self) -> impl Iterator<Item = (Labels<'_>, Monotonic, &T)> {
        self.labels.iter().zip(&self.each).map(|(labels, (at, part))| (labels, *at, part))
    }
}

impl<W: Writer> Scribe<'_, W> {
    fn interfaces(&mut self, shelf: &Shelf, rows: &[(Place, Row<'_>)]) {
        let mut all = Parts::none();
        for (place, network) in rows.iter().filter_map(|(place, row)| Some((*place, network(row)?))) {
            for (name, counters) in &network.interfaces {
                all.labels.add(shelf, place, &[("interface", name)]);
                all.each.push((network.at, (network.source, *counters)));
            }
        }
        for (family, of, inside_only) in INTERFACES {
            let seen = |source| !inside_only || source != NetworkSource::HostVeth;
            self.parts(family, &all, |(source, counters)| seen(*source).then(|| of(counters)));
        }
    }

    fn disks(&mut self, shelf: &Shelf, rows: &[(Place, Row<'_>)]) {
        let paths = device_paths(self.snapshot);
        let (mut all, mut by_operation) = (Parts::none(), Parts::none());
        for (place, (at, disks)) in rows.iter().filter_map(|(place, row)| Some((place, devices(row)?))) {
            // What rests on another disk is counted there, and a number is no name.
            for disk in disks.iter().filter(|disk| !disk.stacked) {
                let Some(path) = paths.get(&disk.device) else { continue };
                all.labels.add(shelf, *place, &[("device", path)]);
                all.each.push((at, disk.counters));
                if !self.full {
                    continue;
                }
                let [major, minor] = [disk.device.major, disk.device.minor].map(|part| part.to_string());
                let [read, written] = [disk.counters.read_bytes, disk.counters.write_bytes];
                for (operation, value) in [("Read", read), ("Write", written)] {
                    let extra = [
                        ("device", path.as_str()),
                        ("major", &major),
                        ("minor", &minor),
                        ("operation", operation),
                    ];
                    by_operation.labels.add(shelf, *place, &extra);
                    by_operation.each.push((at, value));
                }
            }
        }
        for (family, of) in DISKS {
            self.parts(family, &all, |counters| Some(of(counters)));
        }
        self.parts(&USAGE, &by_operation, |value| Some(*value));
    }

    /// The node's: a container's own would take a look into each of its mounts.
    fn file_systems(&mut self, shelf: &Shelf, rows: &[(Place, Row<'_>)]) {
        let mut all = Parts::none();
        let node = rows.iter().find(|(_, row)| row.pod.is_none());
        if let Some(((place, _), read)) = node.zip(self.snapshot.node.file_systems.as_ref().ok()) {
            for file_system in read.value.iter() {
                all.labels.add(shelf, *place, &[("device", &file_system.device)]);
                all.each.push((read.at, file_system.space));
            }
        }
        for (family, of) in FILE_SYSTEMS {
            self.parts(family, &all, of);
        }
    }

    fn parts<T>(&mut self, family: &Family, all: &Parts<T>, of: impl Fn(&T) -> Option<u64>) {
        self.writer.family(family);
        for (labels, at, part) in all.iter() {
            if let Some(value) = of(part) {
                self.sample(labels, Read { value: Value::Integer(value), at: Some(at), created: None });
            }
        }
    }
}
