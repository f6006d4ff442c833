//! What the tables of `get` show: one list of columns for pods, containers and the node.
//!
//! A figure that is absent is `-`, never 0; the network of a pod that uses the node's is `host`.

use crate::model::document::{
    ContainerList, Cpu, FlatContainer, Io, Memory, Network, Node, Pod, PodList, Sandbox,
};
use crate::model::identity::ContainerState;
use crate::model::unavailable::Unavailable;

use super::units;

/// Stands for a figure that is not known.
const ABSENT: &str = "-";

/// One column: its title, and the value it shows and is sorted by.
pub(super) struct Column<T> {
    /// As printed above it.
    pub(super) title: &'static str,
    /// Only with `-o wide`.
    pub(super) wide: bool,
    /// What it shows.
    pub(super) value: Value<T>,
}

/// What a column shows of one item.
pub(super) enum Value<T> {
    /// A number, by which items are sorted, and its form. Stands right.
    Number(fn(&Row<'_, T>) -> Option<f64>, fn(f64) -> String),
    /// A word. Stands left.
    Word(fn(&T) -> Option<String>),
}

/// One item and the moment its document shows, in nanoseconds since 1970: ages are told by the
/// node's clock, not by ours.
pub(super) struct Row<'a, T> {
    pub(super) item: &'a T,
    pub(super) now: u64,
}

impl<T: Item> Column<T> {
    const fn number(
        title: &'static str,
        value: fn(&Row<'_, T>) -> Option<f64>,
        show: fn(f64) -> String,
    ) -> Self {
        Self { title, wide: false, value: Value::Number(value, show) }
    }

    const fn word(title: &'static str, value: fn(&T) -> Option<String>) -> Self {
        Self { title, wide: false, value: Value::Word(value) }
    }

    /// The text of one cell.
    pub(super) fn cell(&self, row: &Row<'_, T>) -> String {
        let shown = match &self.value {
            Value::Number(value, show) => value(row).map(show),
            Value::Word(value) => value(row.item),
        };
        shown.unwrap_or_else(|| row.item.instead_of(self.title).to_owned())
    }
}

/// Marks a column as too much for a narrow terminal.
const fn wide<T>(column: Column<T>) -> Column<T> {
    Column { title: column.title, wide: true, value: column.value }
}

/// Something a table lists.
pub(super) trait Item: Sized + 'static {
    /// All its columns, in order.
    const COLUMNS: &'static [Column<Self>];

    /// As `-o name` prints it.
    fn name(&self) -> String;

    /// What a cell shows that has nothing to show.
    fn instead_of(&self, _title: &str) -> &'static str {
        ABSENT
    }
}

const RX: &str = "RX/s";
const TX: &str = "TX/s";
const NAMESPACE: &str = "NAMESPACE";

impl Item for Pod {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::word(NAMESPACE, |pod| pod.namespace.clone()),
        Column::word("NAME", |pod| pod.name.clone().or_else(|| Some(pod.runtime_uid.clone()))),
        Column::number("CPU(cores)", |row| cores(row.item.cpu.as_ref()), units::cores),
        Column::number("MEMORY(working set)", |row| working_set(row.item.memory.as_ref()), units::memory),
        Column::number(RX, |row| row.item.network.as_ref()?.rx_bytes_per_second, units::per_second),
        Column::number(TX, |row| row.item.network.as_ref()?.tx_bytes_per_second, units::per_second),
        Column::number("READ/s", |row| reads(row.item.io.as_ref()), units::per_second),
        Column::number("WRITE/s", |row| writes(row.item.io.as_ref()), units::per_second),
        Column::number("RESTARTS", |row| restarts(row.item), units::count),
        Column::number("AGE", |row| seconds(row.item.start_time_unix_nano, row.now), units::age),
        wide(Column::word("UID", |pod| Some(pod.uid.as_ref().unwrap_or(&pod.runtime_uid).clone()))),
        wide(Column::number("SANDBOX-PID", |row| Some(f64::from(sandbox(row.item)?.pid?)), units::count)),
        wide(Column::word("NETNS", |pod| sandbox(pod)?.netns.map(|inode| inode.to_string()))),
        wide(Column::word("INTERFACE", |pod| sandbox(pod)?.interface.clone())),
        wide(Column::word("HOSTIF", |pod| sandbox(pod)?.host_interface.clone())),
        wide(Column::word("LIMITS", |pod| limits(pod.cpu.as_ref(), pod.memory.as_ref()))),
        wide(Column::word("QOS", |pod| pod.qos_class.clone())),
        wide(Column::number("THROTTLED", |row| throttled(row.item.cpu.as_ref()), units::lost)),
        wide(Column::number("PIDS", |row| Some(real(row.item.pids.as_ref()?.current)), units::count)),
    ];

    fn name(&self) -> String {
        match (&self.namespace, &self.name) {
            (Some(namespace), Some(name)) => format!("pod/{namespace}/{name}"),
            _ => format!("pod/{}", self.runtime_uid),
        }
    }

    fn instead_of(&self, title: &str) -> &'static str {
        let host = self.host_network || self.unavailable.get("network") == Some(&Unavailable::HostNetwork);
        match title {
            NAMESPACE => "<none>",
            RX | TX if host => "host",
            _ => ABSENT,
        }
    }
}

impl Item for FlatContainer {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::word(NAMESPACE, |flat| flat.namespace.clone()),
        Column::word("POD", |flat| flat.pod.clone().or_else(|| Some(flat.runtime_uid.clone()))),
        Column::word("CONTAINER", |flat| {
            flat.container.name.clone().or_else(|| Some(short_id(flat).to_owned()))
        }),
        Column::word("KIND", |flat| Some(format!("{:?}", flat.container.kind?).to_lowercase())),
        Column::number("CPU(cores)", |row| cores(row.item.container.cpu.as_ref()), units::cores),
        Column::number(
            "MEMORY(working set)",
            |row| working_set(row.item.container.memory.as_ref()),
            units::memory,
        ),
        Column::number("READ/s", |row| reads(row.item.container.io.as_ref()), units::per_second),
        Column::number("WRITE/s", |row| writes(row.item.container.io.as_ref()), units::per_second),
        Column::number("RESTARTS", |row| row.item.container.restart_count.map(f64::from), units::count),
        Column::number("AGE", |row| seconds(row.item.container.started_at_unix_nano, row.now), units::age),
        wide(Column::word("STATE", |flat| Some(state(flat.container.state?).to_owned()))),
        wide(Column::word("ID", |flat| Some(short_id(flat).to_owned()))),
        wide(Column::word("LIMITS", |flat| {
            limits(flat.container.cpu.as_ref(), flat.container.memory.as_ref())
        })),
        wide(Column::number("THROTTLED", |row| throttled(row.item.container.cpu.as_ref()), units::lost)),
        wide(Column::number(
            "PIDS",
            |row| Some(real(row.item.container.pids.as_ref()?.current)),
            units::count,
        )),
        wide(Column::word("IMAGE", |flat| flat.container.image.clone())),
    ];

    fn name(&self) -> String {
        let container = self.container.name.as_ref().or(self.container.id.as_ref());
        let container = container.map_or(ABSENT, String::as_str);
        match (&self.namespace, &self.pod) {
            (Some(namespace), Some(pod)) => format!("container/{namespace}/{pod}/{container}"),
            _ => format!("container/{}/{container}", self.runtime_uid),
        }
    }

    fn instead_of(&self, title: &str) -> &'static str {
        if title == NAMESPACE { "<none>" } else { ABSENT }
    }
}

impl Item for Node {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::word("NAME", |node| Some(node.node.clone())),
        Column::number("CPU(cores)", |row| row.item.cpu.as_ref()?.cores, units::cores),
        Column::number("CPUS", |row| Some(f64::from(row.item.cpu.as_ref()?.capacity_cores)), units::count),
        Column::number("MEMORY(used)", |row| Some(real(row.item.memory.as_ref()?.used_bytes)), units::memory),
        Column::number(
            "MEMORY(total)",
            |row| Some(real(row.item.memory.as_ref()?.total_bytes)),
            units::memory,
        ),
        Column::number(RX, |row| row.item.network.as_ref()?.rx_bytes_per_second, units::per_second),
        Column::number(TX, |row| row.item.network.as_ref()?.tx_bytes_per_second, units::per_second),
        Column::number("READ/s", |row| reads(row.item.io.as_ref()), units::per_second),
        Column::number("WRITE/s", |row| writes(row.item.io.as_ref()), units::per_second),
        wide(Column::number(
            "CACHED",
            |row| Some(real(row.item.memory.as_ref()?.cached_bytes)),
            units::memory,
        )),
        wide(Column::number(
            "SWAP",
            |row| Some(real(row.item.memory.as_ref()?.swap_used_bytes)),
            units::memory,
        )),
        wide(Column::word("NICS", |node| node.network.as_ref().map(nics))),
        wide(Column::word("DISKS", |node| node.io.as_ref().map(disks))),
    ];

    fn name(&self) -> String {
        format!("node/{}", self.node)
    }
}

/// A list document: its items and the moment it shows.
pub(super) trait Listing {
    /// What it lists.
    type Item: Item;

    /// The items.
    fn items(&mut self) -> &mut [Self::Item];

    /// The moment it shows, and the time to the next.
    fn moment(&self) -> (u64, f64);
}

macro_rules! listing {
    ($document:ident, $item:ident, $items:expr) => {
        impl Listing for $document {
            type Item = $item;

            fn items(&mut self) -> &mut [$item] {
                let items: fn(&mut Self) -> &mut [$item] = $items;
                items(self)
            }

            fn moment(&self) -> (u64, f64) {
                (self.time_unix_nano, self.interval_seconds)
            }
        }
    };
}

listing!(PodList, Pod, |list| &mut list.pods);
listing!(ContainerList, FlatContainer, |list| &mut list.containers);
listing!(Node, Node, std::slice::from_mut);

fn cores(cpu: Option<&Cpu>) -> Option<f64> {
    cpu?.cores
}

fn working_set(memory: Option<&Memory>) -> Option<f64> {
    memory?.working_set_bytes.map(real)
}

fn reads(io: Option<&Io>) -> Option<f64> {
    io?.read_bytes_per_second
}

fn writes(io: Option<&Io>) -> Option<f64> {
    io?.write_bytes_per_second
}

/// Of all containers whose count is known; `None` if that is none of them.
fn restarts(pod: &Pod) -> Option<f64> {
    let counts = pod.containers.iter().filter_map(|container| container.restart_count);
    counts.map(f64::from).reduce(|sum, count| sum + count)
}

fn throttled(cpu: Option<&Cpu>) -> Option<f64> {
    Some(real(cpu?.throttling.as_ref()?.throttled_nanoseconds) / 1e9)
}

/// From `start` to `now`; a start in the future is an age of 0.
fn seconds(start: Option<u64>, now: u64) -> Option<f64> {
    Some(real(now.saturating_sub(start?)) / 1e9)
}

/// `cpu/memory`, `-` for no limit or an unknown one; nothing at all if both are.
fn limits(cpu: Option<&Cpu>, memory: Option<&Memory>) -> Option<String> {
    let cpu = cpu.and_then(|cpu| cpu.limit_cores).map(units::cores);
    let memory = memory.and_then(|memory| memory.limit_bytes).map(|bytes| units::memory(real(bytes)));
    if cpu.is_none() && memory.is_none() {
        return None;
    }
    let shown = |limit: Option<String>| limit.unwrap_or_else(|| ABSENT.to_owned());
    Some(format!("{}/{}", shown(cpu), shown(memory)))
}

fn sandbox(pod: &Pod) -> Option<&Sandbox> {
    pod.sandbox.as_ref()
}

/// As `crictl ps` and `docker ps` shorten ids.
fn short_id(flat: &FlatContainer) -> &str {
    let id = flat.container.id.as_deref().unwrap_or(ABSENT);
    id.get(..12).unwrap_or(id)
}

const fn state(state: ContainerState) -> &'static str {
    match state {
        ContainerState::Waiting => "waiting",
        ContainerState::Running => "running",
        ContainerState::Terminated => "terminated",
    }
}

fn nics(network: &Network) -> String {
    joined(network.interfaces.iter().filter(|one| one.counted).map(|one| one.name.as_str()))
}

fn disks(io: &Io) -> String {
    joined(io.devices.iter().filter(|one| !one.stacked).filter_map(|one| one.device.as_deref()))
}

fn joined<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names = names.collect::<Vec<_>>().join(",");
    if names.is_empty() { ABSENT.to_owned() } else { names }
}

/// For display and sorting only, where 53 bits are plenty.
fn real(number: u64) -> f64 {
    number as f64
}
