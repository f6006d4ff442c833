//! The node's own figures: CPU, memory, disks and NICs.
//!
//! `/proc/stat`, `/proc/meminfo` and `/proc/diskstats` are kept open and read from the start each
//! sweep; the network is `node_network`, and pressure, page faults and tasks are `node_load`. Node figures never come from the root cgroup: v2
//! has no `memory.current` there.
//!
//! # Which disks are counted
//! Whole disks: a partition's I/O is its disk's too (`/sys/dev/block/<number>/partition` tells).
//! Devices that rest on others are listed as `stacked` and left out of the total; so are loop devices,
//! whose I/O is that of a file on a disk, and the RAM of `ram` and `zram`. The kernel's idle supply of
//! such devices is not even listed.

use rustix::io::Errno;

use super::kept_file::{KeptFile, unavailable};
use super::node_files::{DiskLine, parse_boot_time, parse_disk_line, parse_meminfo, parse_stat};
use super::node_load::NodeLoad;
use super::node_network::NodeNetwork;
use super::{HostError, HostRoot, read, syscall, text};
use crate::model::counters::{DeviceNumber, DeviceRow, InterfaceRow, IoCounters};
use crate::model::health::{Health, Room, Trouble};
use crate::model::sweep::{IoReading, NodeReading, Reading, Stamped};
use crate::model::time::WallTime;

/// Reads the node again and again.
#[derive(Debug)]
pub struct NodeReader {
    root: HostRoot,
    /// `USER_HZ`, the unit of `/proc/stat`.
    hertz: u64,
    stat: KeptFile,
    meminfo: KeptFile,
    diskstats: KeptFile,
    disks: Disks,
    network: NodeNetwork,
    load: NodeLoad,
    /// As it was first read: the kernel counts back from the present, so it moves when the clock is set.
    booted_at: Option<WallTime>,
}

impl NodeReader {
    /// Opens nothing yet: files are opened by the first read, and again after one that failed.
    pub fn new(root: &HostRoot) -> Self {
        let kept = |file: &str| KeptFile::new(root.proc.join(file));
        Self {
            root: root.clone(),
            hertz: rustix::param::clock_ticks_per_second(),
            stat: kept("stat"),
            meminfo: kept("meminfo"),
            diskstats: kept("diskstats"),
            disks: Disks::default(),
            network: NodeNetwork::default(),
            load: NodeLoad::new(root),
            booted_at: None,
        }
    }

    /// Reads everything once. `stacked` says of a device that it rests on others that are counted too.
    pub fn read(
        &mut self,
        buffer: &mut Vec<u8>,
        devices: &mut Vec<DeviceRow>,
        interfaces: &mut Vec<InterfaceRow>,
        stacked: &dyn Fn(DeviceNumber) -> bool,
        health: &Health,
    ) -> NodeReading {
        let hertz = self.hertz;
        health.begin_read(0, read::NODE_STAT);
        let cpu = self.stat.read_as(buffer, health, |stat| parse_stat(stat, hertz));
        self.booted_at = self.booted_at.or_else(|| parse_boot_time(buffer));
        health.begin_read(0, read::NODE_MEMINFO);
        let memory = self.meminfo.read_as(buffer, health, parse_meminfo);
        health.begin_read(0, read::NODE_DISKSTATS);
        let io = self.read_disks(buffer, devices, stacked, health);
        let network = self.network.read(&self.root, buffer, interfaces, health);
        let paging = self.load.read_paging(buffer, health);
        let pressure = self.load.read_pressure(buffer, health);
        let tasks = self.load.read_tasks(buffer, health);
        let (booted_at, forwards_ipv4) = (self.booted_at, self.network.forwards_ipv4());
        NodeReading { cpu, memory, io, network, paging, pressure, tasks, booted_at, forwards_ipv4 }
    }

    /// Descriptors held.
    pub fn descriptors(&self) -> usize {
        let kept = [&self.stat, &self.meminfo, &self.diskstats];
        kept.into_iter().filter(|kept| kept.is_open()).count()
    }

    fn read_disks(
        &mut self,
        buffer: &mut Vec<u8>,
        devices: &mut Vec<DeviceRow>,
        stacked: &dyn Fn(DeviceNumber) -> bool,
        health: &Health,
    ) -> Reading<IoReading> {
        let mut at = self.diskstats.read(buffer).map_err(|errno| unavailable(errno, health))?;
        if text::lines(buffer).any(|line| parse_disk_line(line).is_none()) {
            // Without that line the total would be too small. Perhaps it was misread.
            health.count(Room::Host, Trouble::Malformed);
            at = self.diskstats.read(buffer).map_err(|errno| unavailable(errno, health))?;
        }
        let sum = sum_of_disks(buffer);
        if self.disks.sum != Some(sum) {
            self.disks.find_partitions(buffer, &self.root).map_err(|errno| unavailable(errno, health))?;
            self.disks.sum = Some(sum);
        }
        let start = row_number(devices);
        let mut total = IoCounters::default();
        for line in text::lines(buffer) {
            let Some(disk) = parse_disk_line(line) else { continue };
            let borrowed = rests_on_files_or_memory(disk.name);
            if self.disks.is_partition(disk.device) || (borrowed && disk.counters == IoCounters::default()) {
                continue;
            }
            let stacked = borrowed || stacked(disk.device);
            if !stacked {
                total = total.plus(disk.counters);
            }
            devices.push(DeviceRow { device: disk.device, stacked, counters: disk.counters });
        }
        let rows = start..row_number(devices);
        Ok(Stamped { at, value: IoReading { total, rows, partly_accounted: false } })
    }
}

/// Which devices are partitions; looked up again when the set of devices changes.
#[derive(Debug, Default)]
struct Disks {
    sum: Option<u64>,
    /// In order.
    partitions: Vec<DeviceNumber>,
}

impl Disks {
    fn find_partitions(&mut self, diskstats: &[u8], root: &HostRoot) -> Result<(), Errno> {
        let block = root.sys.join("dev/block");
        // Without it nobody knows what is a partition, and each of them would count twice.
        syscall::stat(&block)?;
        self.partitions.clear();
        for DiskLine { device, .. } in text::lines(diskstats).filter_map(parse_disk_line) {
            let DeviceNumber { major, minor } = device;
            if syscall::is_there(block.join(format!("{major}:{minor}/partition")))? {
                self.partitions.push(device);
            }
        }
        self.partitions.sort_unstable();
        Ok(())
    }

    fn is_partition(&self, device: DeviceNumber) -> bool {
        self.partitions.binary_search(&device).is_ok()
    }
}

/// One number for all device numbers and names, in their order.
fn sum_of_disks(diskstats: &[u8]) -> u64 {
    let disks = text::lines(diskstats).filter_map(parse_disk_line);
    disks.fold(read::FINGERPRINT, |sum, DiskLine { device, name, .. }| {
        let sum = read::fingerprint(sum, &device.major.to_ne_bytes());
        read::fingerprint(read::fingerprint(sum, &device.minor.to_ne_bytes()), name)
    })
}

fn rests_on_files_or_memory(disk: &[u8]) -> bool {
    [&b"loop"[..], b"ram", b"zram"].iter().any(|beginning| disk.starts_with(beginning))
}

fn row_number(devices: &[DeviceRow]) -> u32 {
    u32::try_from(devices.len()).unwrap_or(u32::MAX)
}

/// The name of this host, `/proc/sys/kernel/hostname`: in a pod the pod's own, since the kernel
/// answers for the reader's UTS namespace, through whatever mount it is asked.
pub fn host_name(root: &HostRoot) -> String {
    read_line(root, "sys/kernel/hostname")
        .unwrap_or_else(|_| rustix::system::uname().nodename().to_string_lossy().into_owned())
}

/// Which start of the kernel this is: `/proc/sys/kernel/random/boot_id`. What was remembered under
/// another one is worth nothing.
///
/// # Errors
/// If it cannot be read.
pub fn boot_id(root: &HostRoot) -> Result<String, HostError> {
    read_line(root, "sys/kernel/random/boot_id")
}

/// Which kernel runs: `/proc/sys/kernel/osrelease`.
///
/// # Errors
/// If it cannot be read.
pub fn kernel_release(root: &HostRoot) -> Result<String, HostError> {
    read_line(root, "sys/kernel/osrelease")
}

fn read_line(root: &HostRoot, file: &str) -> Result<String, HostError> {
    let path = root.proc.join(file);
    let mut buffer = Vec::new();
    read::read_path(&path, &mut buffer).map_err(|errno| HostError::from_io(&path, errno.into()))?;
    let line = text::lines(&buffer).next().filter(|line| !line.is_empty());
    let line = line.ok_or_else(|| HostError::malformed(&path, &buffer))?;
    Ok(String::from_utf8_lossy(line).into_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::model::sweep::{NodeCpu, NodeMemory};
    use crate::model::unavailable::Unavailable;

    struct Tree {
        at: PathBuf,
        root: HostRoot,
    }

    impl Tree {
        fn new(test: &str) -> Self {
            let at = std::env::temp_dir().join(format!("podvitals-node-{test}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&at);
            let tree = Self {
                root: HostRoot { proc: at.join("proc"), cgroup: at.clone(), sys: at.join("sys") },
                at,
            };
            tree.put("proc/stat", "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n");
            tree.put(
                "proc/meminfo",
                "MemTotal: 9 kB\nMemFree: 3 kB\nMemAvailable: 6 kB\nBuffers: 1 kB\nCached: 2 kB\nSReclaimable: 1 kB\n",
            );
            tree.disks(&["7 0 loop0 0 0 0 0 0 0 0 0 0 0 0", "254 0 vda 1 0 8 0 2 0 16 0 0 0 0"]);
            fs::create_dir_all(tree.at.join("sys/dev/block")).unwrap();
            tree
        }

        fn put(&self, path: &str, text: &str) {
            let path = self.at.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn disks(&self, lines: &[&str]) {
            self.put("proc/diskstats", &lines.iter().map(|line| format!(" {line}\n")).collect::<String>());
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.at);
        }
    }

    fn read(
        reader: &mut NodeReader,
        stacked: &dyn Fn(DeviceNumber) -> bool,
    ) -> (NodeReading, Vec<DeviceRow>, Health) {
        let (mut devices, health) = (vec![DeviceRow::default()], Health::default());
        let reading = reader.read(&mut Vec::new(), &mut devices, &mut Vec::new(), stacked, &health);
        (reading, devices, health)
    }

    fn io(sectors_read: u64, sectors_written: u64) -> (u64, u64) {
        (sectors_read * 512, sectors_written * 512)
    }

    #[test]
    fn cpu_memory_and_disks_are_read_again_through_the_same_descriptors() {
        let tree = Tree::new("again");
        let mut reader = NodeReader::new(&tree.root);
        read(&mut reader, &|_| false);
        assert_eq!(reader.descriptors(), 3);
        tree.put("proc/stat", "cpu  100 0 0 4 5 0 0 0 0 0\ncpu0 1\ncpu1 1\n");
        let (node, ..) = read(&mut reader, &|_| false);
        let NodeCpu { usage, cores, .. } = node.cpu.unwrap().value;
        assert_eq!((usage.as_nanos(), cores), (100 * 1_000_000_000 / u128::from(reader.hertz), 2));
        let NodeMemory { total_bytes, cached_bytes, .. } = node.memory.unwrap().value;
        assert_eq!((total_bytes, cached_bytes), (9 * 1024, 4 * 1024));
        assert_eq!(node.network.unwrap_err(), Unavailable::Hidepid);
    }

    #[test]
    fn disks_count_once() {
        let tree = Tree::new("disks");
        tree.disks(&[
            "7 0 loop0 0 0 0 0 0 0 0 0 0 0 0",
            "7 1 loop1 1 0 1000 0 0 0 0 0 0 0 0",
            "254 0 vda 1 0 8 0 2 0 16 0 0 0 0",
            "254 1 vda1 1 0 8 0 2 0 16 0 0 0 0",
            "253 0 dm-0 1 0 8 0 2 0 16 0 0 0 0",
            "259 0 nvme0n1 0 0 0 0 0 0 0 0 0 0 0",
        ]);
        tree.put("sys/dev/block/254:1/partition", "1\n");
        let stacked = |device: DeviceNumber| device.major == 253;
        let (node, devices, health) = read(&mut NodeReader::new(&tree.root), &stacked);
        let reading = node.io.unwrap().value;
        assert_eq!((reading.total.read_bytes, reading.total.write_bytes), io(8, 16));
        assert_eq!((reading.total.read_operations, reading.total.write_operations), (1, 2));
        assert_eq!(reading.rows, 1..5);
        let listed: Vec<_> =
            devices[1..].iter().map(|row| (row.device.major, row.device.minor, row.stacked)).collect();
        assert_eq!(listed, [(7, 1, true), (254, 0, false), (253, 0, true), (259, 0, false)]);
        assert_eq!(health.counted(Room::Host, Trouble::Malformed), 0);
    }

    #[test]
    fn a_partition_that_appears_is_recognised_at_once() {
        let tree = Tree::new("partition");
        let mut reader = NodeReader::new(&tree.root);
        read(&mut reader, &|_| false);
        tree.put("sys/dev/block/254:1/partition", "1\n");
        tree.disks(&["254 0 vda 1 0 8 0 2 0 16 0 0 0 0", "254 1 vda1 1 0 8 0 2 0 16 0 0 0 0"]);
        let (node, devices, _) = read(&mut reader, &|_| false);
        assert_eq!(node.io.unwrap().value.total.read_bytes, 8 * 512);
        assert_eq!(devices.len(), 2);
    }

    #[test]
    fn a_bad_disk_line_costs_the_line() {
        let tree = Tree::new("bad");
        tree.disks(&["254 0 vda 1 0 8 0 2 0 16 0 0 0 0", "8 0 sda broken"]);
        let (node, devices, health) = read(&mut NodeReader::new(&tree.root), &|_| false);
        assert_eq!(node.io.unwrap().value.total.write_bytes, 16 * 512);
        assert_eq!((devices.len(), health.counted(Room::Host, Trouble::Malformed)), (2, 1));
    }

    #[test]
    fn what_is_missing_or_malformed_spoils_only_itself() {
        let tree = Tree::new("missing");
        fs::remove_file(tree.at.join("proc/stat")).unwrap();
        tree.put("proc/meminfo", "MemTotal: 9 kB\n");
        let mut reader = NodeReader::new(&tree.root);
        let (node, _, health) = read(&mut reader, &|_| false);
        assert_eq!(node.cpu.unwrap_err(), Unavailable::Permission);
        assert_eq!(node.memory.unwrap_err(), Unavailable::NotYet);
        assert!(node.io.is_ok());
        assert_eq!(health.counted(Room::Host, Trouble::Malformed), 2, "read twice");
        tree.put("proc/stat", "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n");
        assert!(read(&mut reader, &|_| false).0.cpu.is_ok(), "opened when it came");
    }

    #[test]
    fn without_a_sysfs_nobody_knows_what_is_a_partition() {
        let tree = Tree::new("sysfs");
        fs::remove_dir(tree.at.join("sys/dev/block")).unwrap();
        let (node, devices, _) = read(&mut NodeReader::new(&tree.root), &|_| false);
        assert_eq!(node.io.unwrap_err(), Unavailable::Permission);
        assert_eq!(devices.len(), 1);
    }

    #[test]
    fn the_name_and_the_start_of_this_host() {
        let tree = Tree::new("name");
        tree.put("proc/sys/kernel/hostname", "node-7\n");
        tree.put("proc/sys/kernel/random/boot_id", "8a0e8f0c-0d7e-4c58-9e29-5d3a58a3f5b1\n");
        assert_eq!(host_name(&tree.root), "node-7");
        assert_eq!(boot_id(&tree.root).unwrap(), "8a0e8f0c-0d7e-4c58-9e29-5d3a58a3f5b1");
        tree.put("proc/sys/kernel/hostname", "");
        assert_eq!(host_name(&tree.root), rustix::system::uname().nodename().to_str().unwrap());
        fs::remove_file(tree.at.join("proc/sys/kernel/random/boot_id")).unwrap();
        assert!(boot_id(&tree.root).unwrap_err().is_gone());
    }

    #[test]
    fn this_machine_can_be_read() {
        let root = HostRoot { proc: "/proc".into(), cgroup: "/sys/fs/cgroup".into(), sys: "/sys".into() };
        let (node, ..) = read(&mut NodeReader::new(&root), &|_| false);
        assert!(node.cpu.unwrap().value.usage.as_nanos() > 0);
        assert!(node.memory.unwrap().value.total_bytes > 1 << 20);
    }
}
