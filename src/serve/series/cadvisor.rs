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

use super::super::exposition::{Form, Place, Shelf, Value, Writer};
use super::super::native::network::{counted, counted_nics};
use super::super::native::pods::{NamedPod, in_order, running};
use super::super::native::rows;
use super::super::node_cgroup;
use super::cadvisor_table::{DISKS, INTERFACES, MACHINE, PER_CGROUP, USAGE};
use super::row::{Network, Row};
use super::{Document, Read, Scribe, device_paths};
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

/// The document, written on `memory`.
pub(in crate::serve) fn document(snapshot: &Snapshot, how: How, form: Form, memory: Vec<u8>) -> Vec<u8> {
    super::render(&Cadvisor { snapshot, how }, form, memory)
}

struct Cadvisor<'a> {
    snapshot: &'a Snapshot,
    how: How,
}

type Rows<'a> = Vec<(Place, Row<'a>)>;

impl Document for Cadvisor<'_> {
    fn length(&self) -> usize {
        const OF_A_ROW: usize = 16 << 10;
        (1 + self.snapshot.pods.len() + self.snapshot.containers.len()) * OF_A_ROW
    }

    fn write<W: Writer>(&self, writer: W) -> Vec<u8> {
        let Self { snapshot, how } = *self;
        // A pod has its own labels and an interface's, a container its own and a disk's.
        let mut shelf = writer.shelf(2 * (1 + snapshot.pods.len() + snapshot.containers.len()));
        let machine = shelf.put(&[]);
        let node = node_cgroup::now(snapshot);
        let rows = all_rows(snapshot, &node, &mut shelf);
        let mut scribe = Scribe { writer, snapshot, timestamps: how.timestamps, full: how.full };
        scribe.series(PER_CGROUP, &shelf, &rows);
        scribe.interfaces(&mut shelf, &rows);
        scribe.disks(&mut shelf, &rows);
        for (family, of) in MACHINE {
            scribe.writer.family(family);
            if let Some(value) = of(&snapshot.node) {
                scribe.sample(shelf.at(machine), Read::plain(Value::Integer(value)));
            }
        }
        scribe.writer.finish()
    }
}

fn all_rows<'a>(snapshot: &'a Snapshot, node: &'a CgroupFigures, shelf: &mut Shelf) -> Rows<'a> {
    let mut all = Rows::with_capacity(1 + snapshot.pods.len() + snapshot.containers.len());
    all.push((put(shelf, Names::default(), "/"), node_row(snapshot, node)));
    for pod in in_order(snapshot) {
        let Some(known) = pod.target.known.as_deref() else { continue };
        let of_pod = Names { namespace: &known.namespace, pod: &known.name, ..Names::default() };
        let place = put(shelf, of_pod, &pod.target.cgroup.path.absolute());
        all.push((place, pod_row(snapshot, pod)));
        for (read, child, known) in running(snapshot, pod) {
            let Some(image) = known.image.as_deref() else { continue };
            let names = Names { container: &known.name, image, name: child.container_id.as_str(), ..of_pod };
            let place = put(shelf, names, &child.cgroup.path.absolute());
            let devices = match &read.cgroup.io {
                Ok(io) => rows(&snapshot.devices, &io.value.devices).as_slice(),
                Err(_) => &[],
            };
            let container = Some(child);
            let row =
                Row { pod: Some(pod), container, cgroup: &read.cgroup, snapshot, devices, network: None };
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

fn pod_row<'a>(snapshot: &'a Snapshot, pod: NamedPod<'a>) -> Row<'a> {
    let network = pod.figures.network.as_ref().ok().filter(|_| !pod.target.host_network).map(|network| {
        // Those that count: a sum over all rows must not have the same bytes twice.
        let interfaces = counted(snapshot, &network.value);
        Network { interfaces, source: network.value.source, at: network.at }
    });
    let cgroup = &pod.figures.cgroup;
    Row { pod: Some(pod), container: None, cgroup, snapshot, devices: &[], network }
}

fn node_row<'a>(snapshot: &'a Snapshot, cgroup: &'a CgroupFigures) -> Row<'a> {
    let network = snapshot.node.network.as_ref().ok().map(|network| {
        let interfaces = counted_nics(snapshot, &network.value.1);
        Network { interfaces, source: NetworkSource::Netns, at: network.at }
    });
    let devices = match &snapshot.node.io {
        Ok(io) => rows(&snapshot.devices, &io.value.1).as_slice(),
        Err(_) => &[],
    };
    Row { pod: None, container: None, cgroup, snapshot, devices, network }
}

/// What a row has in several families with one more label: an interface's or a disk's counters.
type Parts<T> = Vec<(Place, Option<Monotonic>, T)>;

impl<W: Writer> Scribe<'_, W> {
    fn interfaces(&mut self, shelf: &mut Shelf, rows: &[(Place, Row<'_>)]) {
        let mut each = Parts::new();
        for (place, network) in rows.iter().filter_map(|(place, row)| Some((*place, row.network.as_ref()?))) {
            for (name, counters) in &network.interfaces {
                let place = shelf.put_with(place, &[("interface", name)]);
                each.push((place, Some(network.at), (network.source, *counters)));
            }
        }
        for (family, of, inside_only) in INTERFACES {
            self.writer.family(family);
            for (place, at, (source, counters)) in &each {
                if !inside_only || *source != NetworkSource::HostVeth {
                    let read = Read { value: Value::Integer(of(counters)), at: *at, created: None };
                    self.sample(shelf.at(*place), read);
                }
            }
        }
    }

    fn disks(&mut self, shelf: &mut Shelf, rows: &[(Place, Row<'_>)]) {
        let paths = device_paths(self.snapshot);
        let node_at = self.snapshot.node.io.as_ref().ok().map(|io| io.at);
        let (mut each, mut by_operation) = (Parts::new(), Parts::new());
        for (place, row) in rows {
            let at = row.cgroup.io.as_ref().ok().map(|io| io.at).or(node_at);
            // What rests on another disk is counted there, and a number is no name.
            for disk in row.devices.iter().filter(|disk| !disk.stacked) {
                let Some(path) = paths.get(&disk.device) else { continue };
                each.push((shelf.put_with(*place, &[("device", path)]), at, disk.counters));
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
                    by_operation.push((shelf.put_with(*place, &extra), at, value));
                }
            }
        }
        for (family, of) in DISKS {
            self.writer.family(family);
            for (place, at, counters) in &each {
                let read = Read { value: Value::Integer(of(counters)), at: *at, created: None };
                self.sample(shelf.at(*place), read);
            }
        }
        self.writer.family(&USAGE);
        for (place, at, value) in &by_operation {
            self.sample(shelf.at(*place), Read { value: Value::Integer(*value), at: *at, created: None });
        }
    }
}
