//! A pod's network, seen from the host's end of its veth: `/sys/class/net/<name>/statistics`.
//!
//! `Documentation/ABI/testing/sysfs-class-net-statistics`; each file is one number, `50508310\n`.
//! What the host's end received the pod has sent, and the other way round, to the byte. Errors and
//! drops of the two ends differ, so only bytes and packets are taken.
//!
//! # Why these files may stay open
//! Unlike `net/dev` they belong to the host's link, not to the pod's netns: they keep nothing alive,
//! and give ENODEV once the link went, also when another has its name.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;

use super::process::is_in_its_netns;
use super::{HostError, HostRoot, clock, net_dev, read, syscall, text};
use crate::model::counters::{InterfaceName, InterfaceRow, NetworkCounters};
use crate::model::health::{Health, Room, Trouble};
use crate::model::sweep::{NetworkTotals, Reading, Stamped};
use crate::model::target::{HostInterface, PinnedProcess, TargetId};
use crate::model::unavailable::Unavailable;

/// Reads the host's end of one pod's veth again and again.
#[derive(Debug)]
pub struct HostVethReader {
    rx_bytes: OwnedFd,
    rx_packets: OwnedFd,
    tx_bytes: OwnedFd,
    tx_packets: OwnedFd,
    /// What the row is called: the pod's name for its end, where it is known.
    name: InterfaceName,
    /// One number for this link of the host's.
    link: u64,
}

/// Counters as the host's end counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct HostSide {
    rx_bytes: u64,
    rx_packets: u64,
    tx_bytes: u64,
    tx_packets: u64,
}

impl HostSide {
    /// What the pod's end counts at the same instant: the host's end receives what the pod sends.
    fn seen_from_the_pod(self) -> NetworkCounters {
        let Self { rx_bytes, rx_packets, tx_bytes, tx_packets } = self;
        NetworkCounters {
            rx_bytes: tx_bytes,
            rx_packets: tx_packets,
            tx_bytes: rx_bytes,
            tx_packets: rx_packets,
            ..NetworkCounters::default()
        }
    }
}

impl HostVethReader {
    /// Opens the statistics of a link of the host.
    ///
    /// # Errors
    /// If they cannot be opened, or `/sys` shows another link under this name.
    pub fn open(root: &HostRoot, interface: &HostInterface) -> Result<Self, HostError> {
        let path = root.sys.join("class/net").join(OsStr::from_bytes(interface.name.as_bytes()));
        let trouble = |errno: Errno| HostError::from_io(&path, errno.into());
        let link = syscall::open(&path, syscall::LIST).map_err(trouble)?;
        let mut index = Vec::new();
        read::read_at(&link, c"ifindex", &mut index).map_err(trouble)?;
        if text::parse_single_u64(&index) != Some(u64::from(interface.index)) {
            return Err(HostError::Gone { path }); // The name has gone to another link.
        }
        Ok(Self {
            rx_bytes: read::open_at(&link, c"statistics/rx_bytes").map_err(trouble)?,
            rx_packets: read::open_at(&link, c"statistics/rx_packets").map_err(trouble)?,
            tx_bytes: read::open_at(&link, c"statistics/tx_bytes").map_err(trouble)?,
            tx_packets: read::open_at(&link, c"statistics/tx_packets").map_err(trouble)?,
            name: interface.pod_interface.unwrap_or(interface.name),
            link: read::fingerprint(read::FINGERPRINT, &interface.index.to_ne_bytes()),
        })
    }

    /// Reads the counters, swaps them to the pod's view and appends the one row. The process must
    /// live and be in its netns: it is what says that this pair is the pod's.
    ///
    /// # Errors
    /// Why there is no figure.
    pub fn read(
        &mut self,
        process: &PinnedProcess,
        buffer: &mut Vec<u8>,
        rows: &mut Vec<InterfaceRow>,
        health: &Health,
        id: TargetId,
    ) -> Reading<NetworkTotals> {
        health.begin_read(id.0, read::HOST_VETH);
        let counters = match is_in_its_netns(process) {
            Ok(true) => self.host_side(buffer),
            Ok(false) => Err(Errno::SRCH),
            Err(errno) => Err(errno),
        };
        let total = counters.map_err(|errno| unavailable(errno, health))?.seen_from_the_pod();
        let at = clock::monotonic();
        let start = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        rows.push(InterfaceRow { name: self.name, primary: true, counted: true, counters: total });
        let rows = start..start.saturating_add(1);
        let counted = self.link;
        Ok(Stamped {
            at,
            value: NetworkTotals { total, counted, rows, truncated: false, overlapping: false },
        })
    }

    /// Descriptors held.
    pub fn descriptors(&self) -> usize {
        4
    }

    fn host_side(&self, buffer: &mut Vec<u8>) -> Result<HostSide, Errno> {
        Ok(HostSide {
            rx_bytes: read_number(&self.rx_bytes, buffer)?,
            rx_packets: read_number(&self.rx_packets, buffer)?,
            tx_bytes: read_number(&self.tx_bytes, buffer)?,
            tx_packets: read_number(&self.tx_packets, buffer)?,
        })
    }
}

/// Whether both ends of a pod's veth agree: the host's end is read, then the pod's, then the host's
/// again, and the pod must lie between. `None` if one of them cannot be read.
pub fn compare_ends(
    host: &HostVethReader,
    process: &PinnedProcess,
    pod_interface: InterfaceName,
    buffer: &mut Vec<u8>,
) -> Option<bool> {
    let before = host.host_side(buffer).ok()?.seen_from_the_pod();
    let pod = net_dev::read_interface(process, pod_interface, buffer)?;
    let after = host.host_side(buffer).ok()?.seen_from_the_pod();
    Some(lies_between(before, pod, after))
}

fn lies_between(before: NetworkCounters, pod: NetworkCounters, after: NetworkCounters) -> bool {
    let mirrored = |of: NetworkCounters| [of.rx_bytes, of.rx_packets, of.tx_bytes, of.tx_packets];
    let (before, pod, after) = (mirrored(before), mirrored(pod), mirrored(after));
    (0..4).all(|i| (before[i]..=after[i]).contains(&pod[i]))
}

/// One number of at most 20 digits and its newline: always read whole by one call.
fn read_number(file: &OwnedFd, buffer: &mut Vec<u8>) -> Result<u64, Errno> {
    buffer.clear();
    buffer.reserve(32);
    syscall::read_at(file, buffer, 0)?;
    text::parse_single_u64(buffer).ok_or(Errno::INVAL)
}

fn unavailable(errno: Errno, health: &Health) -> Unavailable {
    let (trouble, why) = match errno {
        Errno::NOENT | Errno::SRCH | Errno::NODEV => (Trouble::Gone, Unavailable::NetnsGone),
        Errno::ACCESS | Errno::PERM => (Trouble::Denied, Unavailable::Permission),
        Errno::INVAL => (Trouble::Malformed, Unavailable::NotYet),
        _ => (Trouble::Io, Unavailable::NotYet),
    };
    health.count(Room::Host, trouble);
    why
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::host::process::pin;

    struct Fixture {
        at: PathBuf,
        root: HostRoot,
    }

    impl Fixture {
        fn new(test: &str) -> Self {
            let at = std::env::temp_dir().join(format!("podvitals-veth-{test}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&at);
            let link = at.join("class/net/veth1");
            fs::create_dir_all(link.join("statistics")).unwrap();
            fs::write(link.join("ifindex"), "17\n").unwrap();
            let figures = [
                ("rx_bytes", "5684\n"),
                ("rx_packets", "84\n"),
                ("tx_bytes", "5071600\n"),
                ("tx_packets", "96\n"),
            ];
            for (file, figure) in figures {
                fs::write(link.join("statistics").join(file), figure).unwrap();
            }
            let root = HostRoot { proc: "/proc".into(), cgroup: "/sys/fs/cgroup".into(), sys: at.clone() };
            Self { at, root }
        }
    }

    impl Drop for Fixture {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.at);
        }
    }

    fn interface(index: u32) -> HostInterface {
        let name = |text: &str| InterfaceName::new(text.as_bytes());
        HostInterface { index, name: name("veth1").unwrap(), pod_interface: name("eth0"), peer: (2, 0) }
    }

    #[test]
    fn what_the_host_received_the_pod_has_sent() {
        let host = Fixture::new("swap");
        let mut reader = HostVethReader::open(&host.root, &interface(17)).unwrap();
        let process = pin(&host.root, std::process::id(), |_| true).unwrap();
        let (mut rows, health) = (vec![InterfaceRow::default()], Health::default());
        let totals = reader.read(&process, &mut Vec::new(), &mut rows, &health, TargetId(1)).unwrap().value;
        assert_eq!(totals.total, NetworkCounters::from_array([5_071_600, 96, 0, 0, 5684, 84, 0, 0]));
        assert_eq!(totals.rows, 1..2);
        assert_eq!(rows[1].name.as_bytes(), b"eth0");
        assert_eq!((rows[1].counters, rows[1].counted), (totals.total, true));
        assert_eq!(reader.descriptors(), 4);
    }

    #[test]
    fn a_name_that_went_to_another_link_is_refused() {
        let host = Fixture::new("other");
        assert!(HostVethReader::open(&host.root, &interface(18)).unwrap_err().is_gone());
    }

    #[test]
    fn a_process_in_another_netns_vouches_for_nothing() {
        let host = Fixture::new("netns");
        let mut reader = HostVethReader::open(&host.root, &interface(17)).unwrap();
        let mut process = pin(&host.root, std::process::id(), |_| true).unwrap();
        process.netns += 1;
        let (mut rows, health) = (Vec::new(), Health::default());
        let refused = reader.read(&process, &mut Vec::new(), &mut rows, &health, TargetId(1)).unwrap_err();
        assert_eq!(refused, Unavailable::NetnsGone);
        assert!(rows.is_empty());
        assert_eq!(health.counted(Room::Host, Trouble::Gone), 1);
    }

    #[test]
    fn a_number_cut_short_is_no_figure() {
        let host = Fixture::new("cut");
        fs::write(host.at.join("class/net/veth1/statistics/tx_bytes"), "5071").unwrap();
        let mut reader = HostVethReader::open(&host.root, &interface(17)).unwrap();
        let process = pin(&host.root, std::process::id(), |_| true).unwrap();
        let health = Health::default();
        let refused =
            reader.read(&process, &mut Vec::new(), &mut Vec::new(), &health, TargetId(1)).unwrap_err();
        assert_eq!(refused, Unavailable::NotYet);
        assert_eq!(health.counted(Room::Host, Trouble::Malformed), 1);
    }

    #[test]
    fn the_ends_agree_if_the_pod_lies_between() {
        let with = |rx_bytes, tx_packets| NetworkCounters { rx_bytes, tx_packets, ..Default::default() };
        assert!(lies_between(with(10, 3), with(10, 3), with(10, 3)));
        assert!(lies_between(with(10, 3), with(12, 4), with(15, 4)));
        assert!(!lies_between(with(10, 3), with(9, 3), with(15, 4)));
        assert!(!lies_between(with(10, 3), with(12, 5), with(15, 4)));
    }
}
