//! The node's file systems in the words of cAdvisor (pure).
//!
//! `info/v2.FsInfo`, `info/v1.FsInfo` and `info/v2.MachineFsStats`. cAdvisor walks all that is mounted on the node, and has
//! one of an overlay and one of a volume for each container; here are those that hold something of the node's.

use serde::Serialize;
use serde_json::{Value, json};

use super::super::docker::query::Query;
use super::super::reply::Refusal;
use super::super::reply::quoted;
use super::super::time::rfc3339;
use super::request::Shape;
use super::stat::Reader;
use crate::model::file_systems::{FileSystem, FileSystems};
use crate::model::snapshot::Snapshot;
use crate::model::sweep::Stamped;

/// cAdvisor's word for all whose numbers come from statfs.
const KIND: &str = "vfs";

/// `storage`, all of it or what `?label=` asks for.
///
/// # Errors
/// In cAdvisor's words: a UUID, of which nothing is known.
pub(super) fn storage(snapshot: &Snapshot, query: &Query) -> Result<Vec<Value>, Refusal> {
    if let Some(uuid) = query.get("uuid").filter(|uuid| !uuid.is_empty()) {
        return Err(Refusal::bad_request(format!("no filesystem with UUID {} found", quoted(uuid))));
    }
    let Some(read) = known(snapshot) else { return Ok(Vec::new()) };
    let timestamp = rfc3339(snapshot.clock.wall_of(read.at));
    let wanted = query.get("label").filter(|label| !label.is_empty());
    let matching =
        read.value.iter().filter(|it| wanted.is_none_or(|wanted| it.holds.words().any(|it| it == wanted)));
    Ok(matching.map(|file_system| of_storage(file_system, &timestamp)).collect())
}

fn of_storage(file_system: &FileSystem, timestamp: &str) -> Value {
    let FileSystem { device, kind: _, mount_point, holds, space } = file_system;
    let mut document = json!({
        "timestamp": timestamp,
        "device": device,
        "capacity": space.capacity_bytes,
        "available": space.available_bytes,
        "usage": space.used_bytes(),
        "labels": holds.words().collect::<Vec<_>>(),
    });
    if let Some(mount_point) = mount_point {
        document["mountpoint"] = json!(mount_point);
    }
    if let Some(inodes) = space.inodes {
        document["inodes"] = json!(inodes.total);
        document["inodes_free"] = json!(inodes.free);
    }
    document
}

/// `filesystems` of the machine.
pub(super) fn filesystems(snapshot: &Snapshot) -> Option<Value> {
    let of = |it: &FileSystem| {
        let mut document = json!({
            "device": it.device,
            "capacity": it.space.capacity_bytes,
            "type": KIND,
            "has_inodes": it.space.inodes.is_some(),
        });
        if let Some(inodes) = it.space.inodes {
            document["inodes"] = json!(inodes.total);
        }
        document
    };
    Some(known(snapshot)?.value.iter().map(of).collect())
}

/// One of them in a sample of `/`. What its disk does is told of the disk.
#[derive(Debug, Serialize)]
pub(super) struct Filesystem {
    device: String,
    #[serde(rename = "type")]
    kind: &'static str,
    capacity: u64,
    usage: u64,
    available: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    has_inodes: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inodes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inodes_free: Option<u64>,
}

/// `filesystem` of a sample of `/`: `machinestats` has fewer keys, and v2.1 has it there alone.
pub(super) fn of_sample(all: &[FileSystem], reader: Reader) -> Option<Vec<Filesystem>> {
    let whole = reader != Reader::Machine;
    let of = |it: &FileSystem| Filesystem {
        device: it.device.clone(),
        kind: KIND,
        capacity: it.space.capacity_bytes,
        usage: it.space.used_bytes(),
        available: it.space.available_bytes,
        has_inodes: whole.then_some(it.space.inodes.is_some()),
        inodes: it.space.inodes.map(|inodes| inodes.total).filter(|_| whole),
        inodes_free: it.space.inodes.map(|inodes| inodes.free),
    };
    (reader != Reader::Of(Shape::V21)).then(|| all.iter().map(of).collect())
}

fn known(snapshot: &Snapshot) -> Option<&Stamped<FileSystems>> {
    snapshot.node.file_systems.as_ref().ok()
}
