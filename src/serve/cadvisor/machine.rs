//! The node in the words of cAdvisor (pure).

use serde_json::{Map, Value, json};

use super::super::native::rows;
use super::super::time::rfc3339;
use super::super::version::VERSION;
use super::storage;
use crate::model::counters::{DeviceNumber, DeviceRow};
use crate::model::machine::Machine;
use crate::model::snapshot::Snapshot;

/// A version that is no cAdvisor's, and still reads as one: `v1.2.3+podvitals`.
pub(in crate::serve) fn version() -> String {
    format!("v{VERSION}+podvitals")
}

/// `machine`.
pub(super) fn machine(snapshot: &Snapshot, machine: &Machine) -> Value {
    let mut document = common(snapshot, machine);
    let memory = snapshot.node.memory.as_ref().ok();
    let more = [
        ("timestamp", Some(rfc3339(snapshot.clock.wall).into())),
        ("vendor_id", machine.processors.vendor.clone().map(Value::from)),
        ("num_physical_cores", machine.processors.cores.map(Value::from)),
        ("num_sockets", machine.processors.sockets.map(Value::from)),
        ("swap_capacity", memory.map(|memory| memory.value.swap_total_bytes.into())),
        ("boot_id", machine.boot_id.clone().map(Value::from)),
    ];
    add(&mut document, more);
    document.into()
}

/// `attributes`.
pub(super) fn attributes(snapshot: &Snapshot, machine: &Machine) -> Value {
    let mut document = common(snapshot, machine);
    let more = [
        ("kernel_version", machine.kernel_release.clone().map(Value::from)),
        ("cadvisor_version", Some(version().into())),
        // As cAdvisor where it finds no Docker.
        ("docker_version", Some("".into())),
        ("docker_api_version", Some("".into())),
    ];
    add(&mut document, more);
    document.into()
}

fn common(snapshot: &Snapshot, machine: &Machine) -> Map<String, Value> {
    let (cpu, memory) = (snapshot.node.cpu.as_ref().ok(), snapshot.node.memory.as_ref().ok());
    let mut document = Map::new();
    let known = [
        ("num_cores", cpu.map(|cpu| cpu.value.cores.into())),
        ("cpu_frequency_khz", machine.processors.kilohertz.map(Value::from)),
        ("memory_capacity", memory.map(|memory| memory.value.total_bytes.into())),
        ("disk_map", disks(snapshot)),
        ("network_devices", network_devices(snapshot)),
        ("filesystems", storage::filesystems(snapshot)),
        // cAdvisor's word for what it does not know.
        ("cloud_provider", Some("Unknown".into())),
        ("instance_type", Some("Unknown".into())),
    ];
    add(&mut document, known);
    document
}

fn add<const N: usize>(document: &mut Map<String, Value>, values: [(&str, Option<Value>); N]) {
    document.extend(values.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
}

/// Those that have counted something, by their numbers.
fn disks(snapshot: &Snapshot) -> Option<Value> {
    let io = snapshot.node.io.as_ref().ok()?;
    let disk = |row: &DeviceRow| {
        let DeviceNumber { major, minor } = row.device;
        let name = snapshot.device_names.0.get(&row.device)?;
        Some((row.device.to_string(), json!({ "name": &**name, "major": major, "minor": minor })))
    };
    Some(Value::Object(rows(&snapshot.devices, &io.value.1).filter_map(disk).collect()))
}

fn network_devices(snapshot: &Snapshot) -> Option<Value> {
    let network = snapshot.node.network.as_ref().ok()?;
    let interfaces = rows(&snapshot.interfaces, &network.value.1);
    Some(interfaces.map(|row| json!({ "name": row.name.to_string() })).collect())
}
