//! Block devices: what they are called and which of them rest on others.
//!
//! `/sys/dev/block/<major>:<minor>` links to the device's directory, whose `slaves/` names what it
//! rests on (`Documentation/ABI/testing/sysfs-block`): a dm or md device's I/O is counted a second
//! time on the disks below it, so totals are over devices without slaves.
//!
//! ```text
//! /sys/dev/block/254:0 -> ../../devices/pci0000:00/0000:00:02.0/virtio1/block/vda
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::model::counters::DeviceNumber;
use crate::model::snapshot::DeviceNames;

use super::HostRoot;
use super::error::is_gone;
use super::syscall;
use super::text;

/// The block devices of the node as they were when last looked at.
///
/// A number that is asked for and not known stays out of totals until the next [`Self::refresh`]:
/// counting it first and finding it stacked later would look like a counter going back.
#[derive(Debug, Default)]
pub struct Devices {
    known: BTreeMap<DeviceNumber, Kind>,
    names: Arc<DeviceNames>,
    asked_in_vain: RefCell<Vec<DeviceNumber>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Kind {
    stacked: bool,
    /// A whole disk of its own, neither a partition nor a piece of memory.
    disk: bool,
}

impl Devices {
    /// Looks at every device. None at all, where `/sys` cannot be read, means that nothing is known
    /// to be stacked.
    pub fn read(root: &HostRoot) -> Self {
        let mut devices = Self::default();
        devices.refresh(root);
        devices
    }

    /// Looks again. A device that was asked for and is still not there is taken for a plain one.
    pub fn refresh(&mut self, root: &HostRoot) {
        let mut known = BTreeMap::new();
        let mut names = BTreeMap::new();
        let block = root.sys.join("dev/block");
        let listed = syscall::read_directory(&block);
        let Ok(entries) = listed.and_then(Iterator::collect::<io::Result<Vec<_>>>) else {
            return; // What was known stands: devices do not change because nobody can look.
        };
        for entry in entries {
            let Some(number) = entry.file_name().to_str().and_then(|name| parse_number(name.as_bytes()))
            else {
                continue;
            };
            let directory = entry.path();
            let name = device_name(&directory).or_else(|| Some(self.names.0.get(&number)?.to_string()));
            let memory =
                name.as_deref().is_some_and(|name| name.starts_with("ram") || name.starts_with("zram"));
            let kind = match (is_stacked(&directory), syscall::is_there(directory.join("partition"))) {
                (Ok(stacked), Ok(partition)) => {
                    Some(Kind { stacked, disk: !stacked && !partition && !memory })
                }
                // Nobody can tell now: it stays what it was, or unknown.
                _ => self.known.get(&number).copied(),
            };
            known.extend(kind.map(|kind| (number, kind)));
            if let Some(name) = name {
                names.insert(number, Arc::from(name));
            }
        }
        for number in self.asked_in_vain.take() {
            known.entry(number).or_default();
        }
        self.known = known;
        if self.names.0 != names {
            self.names = Arc::new(DeviceNames(names));
        }
    }

    /// Whether the device's I/O rests on others', or may: see [`Self::needs_refresh`].
    pub fn stacked(&self, device: DeviceNumber) -> bool {
        match self.known.get(&device) {
            Some(kind) => kind.stacked,
            None if self.known.is_empty() => false,
            None => {
                let mut asked = self.asked_in_vain.borrow_mut();
                if !asked.contains(&device) {
                    asked.push(device);
                }
                true
            }
        }
    }

    /// Whether it is a whole disk of its own: not stacked, not a partition, not memory.
    pub fn is_disk(&self, device: DeviceNumber) -> bool {
        self.known.get(&device).is_some_and(|kind| kind.disk)
    }

    /// Whether a device was asked for that is not known.
    pub fn needs_refresh(&self) -> bool {
        !self.asked_in_vain.borrow().is_empty()
    }

    /// What the node calls its devices.
    pub fn names(&self) -> Arc<DeviceNames> {
        Arc::clone(&self.names)
    }
}

/// `254:0`.
pub fn parse_number(number: &[u8]) -> Option<DeviceNumber> {
    let (major, minor) = text::split_once(number, b':')?;
    Some(DeviceNumber { major: text::parse_u32(major)?, minor: text::parse_u32(minor)? })
}

/// Whether the device rests on others; an error where that cannot be told.
fn is_stacked(device: &Path) -> io::Result<bool> {
    match syscall::read_directory(&device.join("slaves")) {
        Ok(mut slaves) => slaves.next().transpose().map(|slave| slave.is_some()),
        Err(error) if is_gone(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The last part of what the entry links to; `!` stands for the `/` in names such as `cciss/c0d0`.
fn device_name(entry: &Path) -> Option<String> {
    let target = syscall::read_link(entry).ok()?;
    Some(target.file_name()?.to_str()?.replace('!', "/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixture::Node;

    fn node() -> Node {
        let node = Node::new();
        for (number, name) in [
            ("254:0", "vda"),
            ("254:1", "vda/vda1"),
            ("253:0", "dm-0"),
            ("104:0", "cciss!c0d0"),
            ("252:0", "zram0"),
        ] {
            node.make(&format!("sys/block/{name}/slaves"));
            node.link(&format!("../../block/{name}"), &format!("sys/dev/block/{number}"));
        }
        node.write("sys/block/vda/vda1/partition", "1\n");
        node.make("sys/block/dm-0/slaves/vda");
        node
    }

    fn device(major: u32, minor: u32) -> DeviceNumber {
        DeviceNumber { major, minor }
    }

    #[test]
    fn a_device_with_slaves_is_stacked() {
        let devices = Devices::read(&node().root());
        assert!(devices.stacked(device(253, 0)));
        assert!(!devices.stacked(device(254, 0)));
        assert!(!devices.needs_refresh());
        assert_eq!(devices.names().0.get(&device(254, 0)).map(|name| &**name), Some("vda"));
        assert_eq!(devices.names().0.get(&device(104, 0)).map(|name| &**name), Some("cciss/c0d0"));
    }

    #[test]
    fn only_whole_disks_are_disks() {
        let devices = Devices::read(&node().root());
        let disks = [(254, 0), (254, 1), (253, 0), (104, 0), (252, 0), (9, 9)];
        let seen = disks.map(|(major, minor)| devices.is_disk(device(major, minor)));
        assert_eq!(seen, [true, false, false, true, false, false]);
    }

    #[test]
    fn an_unknown_device_counts_only_once_it_was_looked_for() {
        let node = node();
        let mut devices = Devices::read(&node.root());
        assert!(devices.stacked(device(8, 0)));
        assert!(devices.needs_refresh());
        devices.refresh(&node.root());
        assert!(!devices.stacked(device(8, 0)));
        assert!(!devices.needs_refresh());
    }

    #[test]
    fn where_sysfs_shows_nothing_every_device_counts() {
        let devices = Devices::read(&Node::new().root());
        assert!(!devices.stacked(device(253, 0)));
        assert!(!devices.needs_refresh());
    }

    #[test]
    fn names_are_kept_while_nothing_changes() {
        let node = node();
        let mut devices = Devices::read(&node.root());
        let before = devices.names();
        devices.refresh(&node.root());
        assert!(Arc::ptr_eq(&before, &devices.names()));
    }

    #[test]
    fn device_numbers_are_two_numbers() {
        assert_eq!(parse_number(b"254:16"), Some(device(254, 16)));
        for refused in [&b"254"[..], b"254:", b":0", b"a:b", b"254:0 ", b"4294967296:0", b"1:2:3"] {
            assert_eq!(parse_number(refused), None, "{refused:?}");
        }
    }
}
