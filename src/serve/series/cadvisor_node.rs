//! Of `/metrics/cadvisor` what is the node's alone: its file systems, the machine, and who answers.

use super::super::cadvisor::version;
use super::super::exposition::{Family, Kind, Place, Shelf, Value, Writer};
use super::{Read, Scribe};
use crate::model::file_systems::Space;
use crate::model::machine::Machine;
use crate::model::snapshot::NodeFigures;
use crate::model::unavailable::Unavailable;

const GAUGE: Kind = Kind::Gauge;

type OfFileSystem = fn(&Space) -> Option<u64>;

/// Of each file system of the node.
pub(super) const FILE_SYSTEMS: &[(Family, OfFileSystem)] = &[
    (
        Family::new(
            GAUGE,
            "container_fs_limit_bytes",
            "Number of bytes that can be consumed by the container on this filesystem.",
        ),
        |it| Some(it.capacity_bytes),
    ),
    (
        Family::new(
            GAUGE,
            "container_fs_usage_bytes",
            "Number of bytes that are consumed by the container on this filesystem.",
        ),
        |it| Some(it.used_bytes()),
    ),
    (Family::new(GAUGE, "container_fs_inodes_total", "Number of Inodes"), |it| Some(it.inodes?.total)),
    (Family::new(GAUGE, "container_fs_inodes_free", "Number of available Inodes"), |it| {
        Some(it.inodes?.free)
    }),
];

type OfNode = fn(&NodeFigures, &Machine) -> Option<usize>;

/// Of the node.
pub(super) const MACHINE: &[(Family, OfNode)] = &[
    (Family::new(GAUGE, "machine_cpu_cores", "Number of logical CPU cores."), |node, _| {
        node.cpu.as_ref().ok().map(|cpu| cpu.value.cores as usize)
    }),
    (Family::new(GAUGE, "machine_cpu_physical_cores", "Number of physical CPU cores."), |_, machine| {
        machine.processors.cores
    }),
    (Family::new(GAUGE, "machine_cpu_sockets", "Number of CPU sockets."), |_, machine| {
        machine.processors.sockets
    }),
    (Family::new(GAUGE, "machine_memory_bytes", "Amount of memory installed on the machine."), |node, _| {
        usize::try_from(node.memory.as_ref().ok()?.value.total_bytes).ok()
    }),
    (
        Family::new(GAUGE, "machine_swap_bytes", "Amount of swap memory available on the machine."),
        |node, _| usize::try_from(node.memory.as_ref().ok()?.value.swap_total_bytes).ok(),
    ),
];

/// 1 if what it is about could not be read.
const SCRAPE_ERRORS: [Family; 2] = [
    Family::new(
        GAUGE,
        "container_scrape_error",
        "1 if there was an error while getting container metrics, 0 otherwise",
    ),
    Family::new(
        GAUGE,
        "machine_scrape_error",
        "1 if there was an error while getting machine metrics, 0 otherwise.",
    ),
];

/// Who answers.
const VERSION_INFO: Family = Family::new(
    GAUGE,
    "cadvisor_version_info",
    "A metric with a constant '1' value labeled by kernel version, OS version, docker version, cadvisor version & \
    cadvisor revision.",
);

/// The labels of these series.
pub(super) struct Places {
    plain: Place,
    /// Of `machine_*`.
    boot: Place,
    version: Place,
}

impl Places {
    pub(super) fn new(machine: &Machine, shelf: &mut Shelf) -> Self {
        let plain = shelf.put(&[]);
        let boot = machine.boot_id.as_deref().map_or(plain, |id| shelf.put(&[("boot_id", id)]));
        let version = shelf.put(&[
            ("cadvisorRevision", ""),
            ("cadvisorVersion", &version()),
            ("dockerVersion", ""),
            ("kernelVersion", machine.kernel_release.as_deref().unwrap_or_default()),
            // That of the image podvitals runs from, which has none.
            ("osVersion", ""),
        ]);
        Self { plain, boot, version }
    }
}

impl<W: Writer> Scribe<'_, W> {
    pub(super) fn machine(&mut self, machine: &Machine, places: &Places, shelf: &Shelf) {
        for (family, of) in MACHINE {
            self.writer.family(family);
            if let Some(value) = of(&self.snapshot.node, machine) {
                self.sample(shelf.at(places.boot), Read::plain(Value::Integer(value as u64)));
            }
        }
        self.writer.family(&VERSION_INFO);
        self.sample(shelf.at(places.version), Read::plain(Value::Integer(1)));
        // What is new has no figures yet, and without a controller nobody has any: neither is an error.
        let none = [Unavailable::NotYet, Unavailable::ControllerOff];
        let fails = |why: Option<&Unavailable>| why.is_some_and(|why| !none.contains(why));
        let (node, mut containers) = (&self.snapshot.node, self.snapshot.containers.iter());
        let failed = [
            containers
                .any(|it| fails(it.cgroup.cpu.as_ref().err()) || fails(it.cgroup.memory.as_ref().err())),
            node.cpu.is_err() || node.memory.is_err(),
        ];
        for (family, failed) in SCRAPE_ERRORS.iter().zip(failed) {
            self.writer.family(family);
            self.sample(shelf.at(places.plain), Read::plain(Value::Integer(u64::from(failed))));
        }
    }
}
