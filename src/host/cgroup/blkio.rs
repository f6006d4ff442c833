//! Whether cgroup v1 counts block I/O on this node, disk by disk, and in which files.
//!
//! There are two families of files, `blkio.bfq.*` and `blkio.throttle.*`, and either may show zeros
//! for ever while the disks are busy: BFQ counts where it schedules the disk; throttling, on kernels
//! from 6.10, once any cgroup was given a throttle rule on the disk, and before 6.5 only in cgroups
//! that have a rule. A row of the root cgroup, which includes all others:
//!
//! ```text
//! 254:0 Write 8388608
//! ```
//!
//! # Why the root cgroup and diskstats
//! A zero in a container's file may mean *nothing was written* or *nobody counts*. The root's row
//! tells them apart: a family counts a disk once the root's row is not zero. `/proc/diskstats` counts
//! always; where a disk moves and the root's row does not follow, totals lack that disk's share.
//! Where both families count a disk, BFQ's figures are taken, never the sum.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::host::devices::Devices;
use crate::host::{HostError, HostRoot, syscall, text};
use crate::model::counters::DeviceNumber;

use super::file::File;
use super::files::read_whole;
use super::layout::{Controller, Layout};
use super::v1;

/// Who counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// The BFQ scheduler: `blkio.bfq.*`.
    Bfq,
    /// Throttling: `blkio.throttle.*`.
    Throttle,
}

impl Family {
    /// Both, the preferred first.
    pub const ALL: [Self; 2] = [Self::Bfq, Self::Throttle];

    /// The files of bytes and of operations.
    pub const fn files(self) -> (File, File) {
        match self {
            Self::Bfq => (File::BfqBytes, File::BfqOperations),
            Self::Throttle => (File::ThrottleBytes, File::ThrottleOperations),
        }
    }
}

/// What is counted on this node at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accounting {
    /// Some disk is counted by BFQ.
    pub bfq: bool,
    /// Some disk is counted by throttling and not by BFQ.
    pub throttle: bool,
    /// Some busy disk is not counted, or not all of it.
    pub partly: bool,
}

impl Accounting {
    /// Whether any disk is counted by `family`.
    pub fn has(self, family: Family) -> bool {
        match family {
            Family::Bfq => self.bfq,
            Family::Throttle => self.throttle,
        }
    }

    /// Whether any disk is counted at all.
    pub fn any(self) -> bool {
        self.bfq || self.throttle
    }
}

/// The accounting truth of this node. On nodes without v1 block I/O it stays empty and reads nothing.
#[derive(Debug)]
pub struct Blkio {
    roots: [Option<OwnedFd>; 2],
    diskstats: Option<OwnedFd>,
    wanted: bool,
    disks: Vec<Disk>,
    accounting: Accounting,
    /// A file that was to be looked at could not be.
    failed: Option<Errno>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Disk {
    device: DeviceNumber,
    /// Bytes in the root's row of each family; `None` without a row.
    counted: [Option<u64>; 2],
    /// A row has not been zero since it is there.
    counts: [bool; 2],
    /// Bytes by diskstats, and by the family in charge, when they were last compared.
    compared: Option<(u64, u64)>,
    /// The last comparison found the family behind.
    behind: bool,
}

/// A disk that moved by less than this is not judged: requests under way are in one count only.
const COMPARABLE_BYTES: u64 = 1 << 20;
/// Diskstats counts in these, whatever the disk.
const SECTOR_BYTES: u64 = 512;

impl Blkio {
    /// Nothing is known to count before the first [`Self::refresh`].
    pub fn new(layout: &Layout) -> Self {
        Self {
            roots: [None, None],
            diskstats: None,
            wanted: layout.is_v1_io(),
            disks: Vec::new(),
            accounting: Accounting::default(),
            failed: None,
            buffer: Vec::new(),
        }
    }

    /// Looks again, about each second, before the sweep. Allocates only for disks never seen before.
    pub fn refresh(&mut self, layout: &Layout, root: &HostRoot, devices: &Devices) {
        if !self.wanted {
            return;
        }
        for family in Family::ALL {
            self.refresh_family(layout, family);
        }
        self.compare_with_diskstats(root, devices);
        self.accounting = self.summary();
    }

    /// The last failure to look that was not told yet.
    pub fn take_failure(&mut self) -> Option<HostError> {
        let errno = self.failed.take()?;
        Some(HostError::Io { path: "blkio".into(), source: errno.into() })
    }

    /// What is counted.
    pub fn accounting(&self) -> Accounting {
        self.accounting
    }

    /// Whether `family`'s row of this device is the one to take.
    pub fn counts(&self, family: Family, device: DeviceNumber) -> bool {
        self.disks.iter().any(|disk| disk.device == device && disk.in_charge() == Some(family))
    }

    fn refresh_family(&mut self, layout: &Layout, family: Family) {
        let index = family as usize;
        let Some(mount) = layout.mount(Controller::Blkio) else { return };
        let open = || syscall::open(mount.join(family.files().0.name()), syscall::READ);
        let file = self.roots[index].take().map_or_else(open, Ok);
        // Where nobody can look, what was seen stands: it is not that nobody counts.
        let (file, length) = match file.and_then(|file| Ok((read_whole(&file, &mut self.buffer)?, file))) {
            Ok((length, file)) => (file, length),
            Err(Errno::NOENT) => return,
            Err(errno) => {
                self.failed = Some(errno);
                return;
            }
        };
        if !self.take_rows(index, length)
            && let Ok(length) = read_whole(&file, &mut self.buffer)
        {
            self.take_rows(index, length);
        }
        self.roots[index] = Some(file);
        for disk in &mut self.disks {
            disk.counts[index] = disk.counted[index].is_some_and(|bytes| bytes > 0 || disk.counts[index]);
        }
    }

    /// Takes what the root's file says; whether every line could be read.
    fn take_rows(&mut self, index: usize, length: usize) -> bool {
        for disk in &mut self.disks {
            disk.counted[index] = None;
        }
        let disks = &mut self.disks;
        let bad = v1::parse_blkio(&self.buffer[..length], |device, _, bytes| {
            let counted = &mut disk_of(disks, device).counted[index];
            *counted = Some(counted.unwrap_or(0).saturating_add(bytes));
        });
        bad.is_none()
    }

    fn compare_with_diskstats(&mut self, root: &HostRoot, devices: &Devices) {
        let file = self.diskstats.take();
        let file = file.or_else(|| syscall::open(root.proc.join("diskstats"), syscall::READ).ok());
        let Some(file) = file else { return };
        let Ok(length) = read_whole(&file, &mut self.buffer) else { return };
        for line in text::lines(&self.buffer[..length]) {
            if let Some((device, bytes)) = parse_diskstats_line(line)
                && devices.is_disk(device)
            {
                disk_of(&mut self.disks, device).compare(bytes);
            }
        }
        self.diskstats = Some(file);
    }

    fn summary(&self) -> Accounting {
        let in_charge = |family| self.disks.iter().any(|disk| disk.in_charge() == Some(family));
        Accounting {
            bfq: in_charge(Family::Bfq),
            throttle: in_charge(Family::Throttle),
            partly: self.disks.iter().any(|disk| disk.behind),
        }
    }
}

fn disk_of(disks: &mut Vec<Disk>, device: DeviceNumber) -> &mut Disk {
    let known = disks.iter().position(|disk| disk.device == device);
    let index = known.unwrap_or_else(|| {
        disks.push(Disk { device, counted: [None; 2], counts: [false; 2], compared: None, behind: false });
        disks.len() - 1
    });
    &mut disks[index]
}

impl Disk {
    fn in_charge(&self) -> Option<Family> {
        Family::ALL.into_iter().find(|&family| self.counts[family as usize])
    }

    /// Compares what the disk moved with what was counted, once it moved enough.
    fn compare(&mut self, moved: u64) {
        let counted = self.in_charge().and_then(|family| self.counted[family as usize]).unwrap_or(0);
        let Some((moved_before, counted_before)) = self.compared else {
            self.compared = Some((moved, counted));
            return;
        };
        // A removed cgroup takes its bytes out of the root's row: then there is nothing to compare.
        if moved < moved_before || counted < counted_before {
            self.compared = Some((moved, counted));
            return;
        }
        let (moved_since, counted_since) = (moved - moved_before, counted - counted_before);
        if moved_since > 0 && self.in_charge().is_none() {
            self.behind = true;
        } else if moved_since >= COMPARABLE_BYTES {
            self.behind = counted_since < moved_since / 2;
            self.compared = Some((moved, counted));
        }
    }
}

/// ` 254       0 vda 39545 8565 8141234 20281 9394 40752 14134608 …`: the device, and bytes read and
/// written (`Documentation/admin-guide/iostats.rst`, fields 3 and 7 after the name).
pub(in crate::host) fn parse_diskstats_line(line: &[u8]) -> Option<(DeviceNumber, u64)> {
    let mut fields = text::fields(line);
    let major = text::parse_u32(fields.next()?)?;
    let minor = text::parse_u32(fields.next()?)?;
    let read_sectors = text::parse_u64(fields.nth(3)?)?;
    let written_sectors = text::parse_u64(fields.nth(3)?)?;
    let bytes = read_sectors.saturating_add(written_sectors).saturating_mul(SECTOR_BYTES);
    Some((DeviceNumber { major, minor }, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixture::Node;

    const MIB: u64 = 1 << 20;
    const VDA: DeviceNumber = DeviceNumber { major: 254, minor: 0 };

    struct Bench {
        node: Node,
        layout: Layout,
        devices: Devices,
        blkio: Blkio,
    }

    impl Bench {
        /// A node with the disks 254:0 and 8:0, of which nobody counts anything.
        fn new() -> Self {
            let node = Node::v1(&["blkio", "memory"]);
            for disk in ["254:0", "8:0"] {
                node.make(&format!("sys/dev/block/{disk}/slaves"));
            }
            let layout = Layout::detect(&node.root()).unwrap();
            let devices = Devices::read(&node.root());
            let blkio = Blkio::new(&layout);
            let mut bench = Self { node, layout, devices, blkio };
            bench.show("bfq", "Total 0\n");
            bench.show("throttle", "Total 0\n");
            bench.moved(0, 0);
            bench.refresh();
            bench
        }

        fn show(&mut self, family: &str, rows: &str) {
            self.node.write(&format!("cgroup/blkio/blkio.{family}.io_service_bytes_recursive"), rows);
        }

        /// Bytes that went to 254:0 and 8:0 so far.
        fn moved(&mut self, vda: u64, sda: u64) {
            let line = |device: &str, bytes: u64| {
                format!(" {device} x 1 0 {} 5 1 0 0 5 0 5 5\n", bytes / SECTOR_BYTES)
            };
            let text = format!("{}{}", line("254 0", vda), line("8 0", sda));
            self.node.write("proc/diskstats", &text);
        }

        fn refresh(&mut self) -> Accounting {
            self.blkio.refresh(&self.layout, &self.node.root(), &self.devices);
            self.blkio.accounting()
        }
    }

    fn accounting(bfq: bool, throttle: bool, partly: bool) -> Accounting {
        Accounting { bfq, throttle, partly }
    }

    #[test]
    fn nothing_counts_until_the_roots_row_is_not_zero() {
        let mut bench = Bench::new();
        bench.show("throttle", "254:0 Read 0\n254:0 Write 0\n254:0 Total 0\nTotal 0\n");
        assert_eq!(bench.refresh(), Accounting::default());
        bench.show("throttle", "254:0 Read 0\n254:0 Write 512\n254:0 Total 512\nTotal 512\n");
        assert_eq!(bench.refresh(), accounting(false, true, false));
        assert!(bench.blkio.counts(Family::Throttle, VDA));
        assert!(!bench.blkio.counts(Family::Throttle, DeviceNumber { major: 8, minor: 0 }));
    }

    #[test]
    fn a_family_counts_on_when_removed_cgroups_took_their_bytes_with_them() {
        let mut bench = Bench::new();
        bench.show("throttle", "254:0 Write 512\n");
        bench.refresh();
        bench.show("throttle", "254:0 Write 0\n");
        assert!(bench.refresh().throttle);
        bench.show("throttle", "Total 0\n");
        assert!(!bench.refresh().throttle, "the row itself is gone");
    }

    #[test]
    fn where_both_count_a_disk_bfq_is_taken() {
        let mut bench = Bench::new();
        bench.show("throttle", "254:0 Write 512\n8:0 Write 512\n");
        bench.show("bfq", "254:0 Write 512\n");
        assert_eq!(bench.refresh(), accounting(true, true, false));
        assert!(bench.blkio.counts(Family::Bfq, VDA) && !bench.blkio.counts(Family::Throttle, VDA));
        bench.show("throttle", "254:0 Write 512\n");
        assert_eq!(bench.refresh(), accounting(true, false, false));
    }

    #[test]
    fn a_busy_disk_that_nobody_counts_makes_the_account_partial() {
        let mut bench = Bench::new();
        bench.show("throttle", "254:0 Write 4096\n");
        assert!(!bench.refresh().partly);
        bench.moved(0, MIB);
        assert_eq!(bench.refresh(), accounting(false, true, true));
        bench.show("throttle", &format!("254:0 Write 4096\n8:0 Write {MIB}\n"));
        bench.moved(0, 2 * MIB);
        assert_eq!(bench.refresh(), accounting(false, true, false));
    }

    #[test]
    fn a_family_that_counts_only_some_cgroups_is_found_out() {
        let mut bench = Bench::new();
        bench.show("throttle", "254:0 Write 4096\n");
        bench.refresh();
        bench.show("throttle", "254:0 Write 8192\n");
        bench.moved(8 * MIB, 0);
        assert_eq!(bench.refresh(), accounting(false, true, true));
    }

    #[test]
    fn a_counted_disk_that_hardly_moves_is_not_judged() {
        let mut bench = Bench::new();
        bench.show("throttle", "254:0 Write 4096\n");
        bench.moved(MIB - SECTOR_BYTES, 0);
        assert!(!bench.refresh().partly);
        bench.moved(MIB - SECTOR_BYTES, SECTOR_BYTES);
        assert!(bench.refresh().partly, "nobody counts the other one");
    }

    #[test]
    fn on_version_2_nothing_is_looked_at() {
        let node = Node::v2();
        let layout = Layout::detect(&node.root()).unwrap();
        let mut blkio = Blkio::new(&layout);
        blkio.refresh(&layout, &node.root(), &Devices::default());
        assert_eq!(blkio.accounting(), Accounting::default());
        assert!(blkio.diskstats.is_none());
    }

    #[test]
    fn diskstats_counts_sectors() {
        let line = b" 254       0 vda 39545 8565 8141234 20281 9394 40752 14134608 77360 0 11736 98226";
        assert_eq!(parse_diskstats_line(line), Some((VDA, (8_141_234 + 14_134_608) * 512)));
        for end in 0..line.len() - 30 {
            let cut = parse_diskstats_line(&line[..end]);
            assert!(cut.is_none() || end >= 57, "{cut:?}");
        }
        assert_eq!(parse_diskstats_line(b"254 0 vda a b c d e f g h"), None);
    }
}
