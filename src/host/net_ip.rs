//! What a pod received as its IP layer counted it, for when its devices' own counters stand still.
//!
//! Some networks hand a packet to the pod past its device (`bpf_redirect_peer`), and many kernels then
//! count it at neither end of the veth. The IP layer counts whatever reaches it:
//!
//! ```text
//! net/netstat   IpExt: InNoRoutes InTruncatedPkts … InOctets OutOctets …
//!               IpExt: 0 0 … 37113556237 28233849351 …
//! net/snmp      Ip: Forwarding DefaultTTL InReceives InHdrErrors …
//!               Ip: 2 64 15732232 0 …
//! net/snmp6     Ip6InReceives                   28352
//! ```
//!
//! It counts no link headers, and it counts what went over `lo`, whose device counts the same octets:
//! that is taken off. What the pod sends its devices count as ever, so only half of the traffic is
//! ever read here.

use rustix::io::Errno;

use super::net_dev::{interface_lines, parse_line, read_net_dev};
use super::process::is_in_its_netns;
use super::{read, text};
use crate::model::counters::InterfaceName;
use crate::model::health::Trouble;
use crate::model::target::PinnedProcess;

/// What arrived from outside since the netns was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Without link headers: `InOctets` and `Ip6InOctets`.
    pub bytes: u64,
    /// `InReceives` and `Ip6InReceives`.
    pub packets: u64,
}

impl Received {
    /// What arrived after `then`.
    pub fn since(self, then: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(then.bytes),
            packets: self.packets.saturating_sub(then.packets),
        }
    }
}

/// Reads one netns again and again.
#[derive(Debug, Default)]
pub struct IpReader {
    highest: Received,
}

impl IpReader {
    /// What was received so far. Never less than it was, and never more than there is: `lo` is read
    /// last, so what passes over it meanwhile is taken off too early, not too late.
    ///
    /// # Errors
    /// If a file cannot be read, or the process is not in its netns: the kind under which it is counted.
    pub fn read(&mut self, process: &PinnedProcess, buffer: &mut Vec<u8>) -> Result<Received, Trouble> {
        self.try_read(process, buffer).map_err(|errno| match errno {
            Errno::NOENT | Errno::SRCH => Trouble::Gone,
            Errno::ACCESS | Errno::PERM => Trouble::Denied,
            Errno::INVAL => Trouble::Malformed,
            _ => Trouble::Io,
        })
    }

    fn try_read(&mut self, process: &PinnedProcess, buffer: &mut Vec<u8>) -> Result<Received, Errno> {
        if !is_in_its_netns(process)? {
            return Err(Errno::SRCH);
        }
        read::read_at(&process.dir, c"net/netstat", buffer)?;
        let bytes = parse_table(buffer, b"IpExt:", b"InOctets").ok_or(Errno::INVAL)?;
        read::read_at(&process.dir, c"net/snmp", buffer)?;
        let packets = parse_table(buffer, b"Ip:", b"InReceives").ok_or(Errno::INVAL)?;
        let six = match read::read_at(&process.dir, c"net/snmp6", buffer) {
            Ok(()) => parse_snmp6(buffer),
            Err(Errno::NOENT) => Received::default(), // A kernel without IPv6.
            Err(errno) => return Err(errno),
        };
        // Also proves that it was the same netns all the while.
        read_net_dev(process, buffer)?;
        let lo = parse_lo(buffer);
        let now = Received {
            bytes: bytes.saturating_add(six.bytes).saturating_sub(lo.bytes),
            packets: packets.saturating_add(six.packets).saturating_sub(lo.packets),
        };
        let Received { bytes, packets } = self.highest;
        self.highest = Received { bytes: bytes.max(now.bytes), packets: packets.max(now.packets) };
        Ok(self.highest)
    }
}

/// The figure under `column` in a table of two lines: names, then values, both begun with its name.
pub(super) fn parse_table(text: &[u8], table: &[u8], column: &[u8]) -> Option<u64> {
    let mut lines = text::lines(text).filter(|line| line.starts_with(table));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut columns = text::fields(names).zip(text::fields(values));
    columns.find_map(|(name, value)| (name == column).then(|| text::parse_u64(value)).flatten())
}

/// A line each, `Ip6InOctets`, spaces, a tab, the figure.
pub(super) fn parse_snmp6(text: &[u8]) -> Received {
    let mut received = Received::default();
    for line in text::lines(text) {
        let mut fields = text::fields(line);
        let (Some(name), Some(value)) = (fields.next(), fields.next().and_then(text::parse_u64)) else {
            continue;
        };
        match name {
            b"Ip6InOctets" => received.bytes = value,
            b"Ip6InReceives" => received.packets = value,
            _ => {}
        }
    }
    received
}

pub(super) fn parse_lo(net_dev: &[u8]) -> Received {
    let is_lo = |name: InterfaceName| name.as_bytes() == b"lo";
    let lo = interface_lines(net_dev).filter_map(parse_line).find(|(name, _)| is_lo(*name));
    lo.map_or_else(Received::default, |(_, lo)| Received { bytes: lo.rx_bytes, packets: lo.rx_packets })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::UdpSocket;
    use std::os::unix::fs::MetadataExt;
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;

    const NETSTAT: &str = "TcpExt: SyncookiesSent InOctets\nTcpExt: 7 8\n\
        IpExt: InNoRoutes InOctets OutOctets\nIpExt: 0 5069796 4240\n";
    const SNMP: &str =
        "Ip: Forwarding DefaultTTL InReceives InHdrErrors\nIp: 2 64 95 0\nIcmp: InMsgs\nIcmp: 3\n";
    const SNMP6: &str = "Ip6InReceives                   \t4\nIp6InOctets                     \t300\n";

    fn net_dev(lo_bytes: u64, lo_packets: u64) -> String {
        format!(
            "Inter-| x\n face | y\n    lo: {lo_bytes} {lo_packets} 0 0 0 0 0 0 {lo_bytes} {lo_packets} 0 0 0 0 0 0\n"
        )
    }

    struct Fixture {
        at: PathBuf,
        process: PinnedProcess,
    }

    impl Fixture {
        fn new(test: &str) -> Self {
            let at = std::env::temp_dir().join(format!("podvitals-ip-{test}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&at);
            fs::create_dir_all(at.join("net")).unwrap();
            fs::write(at.join("net/netstat"), NETSTAT).unwrap();
            fs::write(at.join("net/snmp"), SNMP).unwrap();
            fs::write(at.join("net/snmp6"), SNMP6).unwrap();
            fs::write(at.join("net/dev"), net_dev(100, 2)).unwrap();
            let netns = fs::metadata(at.join("net/dev")).unwrap().ino();
            let dir = Arc::new(fs::File::open(&at).unwrap().into());
            Self { at, process: PinnedProcess { pid: 4242, dir, netns } }
        }

        fn read(&self, reader: &mut IpReader) -> Result<Received, Trouble> {
            reader.read(&self.process, &mut Vec::new())
        }
    }

    impl Drop for Fixture {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.at);
        }
    }

    #[test]
    fn both_versions_count_and_the_loopback_does_not() {
        let pod = Fixture::new("both");
        let mut reader = IpReader::default();
        let expected = Received { bytes: 5_069_796 + 300 - 100, packets: 95 + 4 - 2 };
        assert_eq!(pod.read(&mut reader), Ok(expected));
        fs::remove_file(pod.at.join("net/snmp6")).unwrap();
        assert_eq!(pod.read(&mut reader), Ok(expected), "a kernel that lost IPv6 takes nothing back");
        assert_eq!(
            pod.read(&mut IpReader::default()),
            Ok(Received { bytes: 5_069_696, packets: 93 }),
            "a kernel that never had IPv6"
        );
    }

    #[test]
    fn a_loopback_that_ran_ahead_takes_nothing_back() {
        let pod = Fixture::new("ahead");
        let mut reader = IpReader::default();
        let before = pod.read(&mut reader).unwrap();
        fs::write(pod.at.join("net/dev"), net_dev(4_000_000, 50)).unwrap();
        assert_eq!(pod.read(&mut reader), Ok(before));
    }

    #[test]
    fn a_process_in_another_netns_and_a_table_without_the_column_give_nothing() {
        let mut pod = Fixture::new("nothing");
        fs::write(pod.at.join("net/netstat"), "IpExt: InNoRoutes\nIpExt: 0\n").unwrap();
        assert_eq!(pod.read(&mut IpReader::default()), Err(Trouble::Malformed));
        pod.process.netns += 1;
        assert_eq!(pod.read(&mut IpReader::default()), Err(Trouble::Gone));
    }

    #[test]
    fn every_cut_of_a_table_gives_the_figure_or_none() {
        for end in 0..NETSTAT.len() {
            let found = parse_table(&NETSTAT.as_bytes()[..end], b"IpExt:", b"InOctets");
            assert!(found.is_none_or(|found| found == 5_069_796), "{found:?} at {end}");
        }
        for end in 0..SNMP6.len() {
            let found = parse_snmp6(&SNMP6.as_bytes()[..end]);
            assert!([0, 300].contains(&found.bytes) && [0, 4].contains(&found.packets), "{found:?}");
        }
    }

    /// Sends `datagrams` of 1,000 bytes over this netns's `lo`.
    fn loop_back(datagrams: usize) {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..datagrams {
            sender.send_to(&[7; 1_000], receiver.local_addr().unwrap()).unwrap();
        }
    }

    #[test]
    fn the_kernel_s_own_tables_are_read() {
        let root = super::super::HostRoot {
            proc: "/proc".into(),
            cgroup: "/sys/fs/cgroup".into(),
            sys: "/sys".into(),
        };
        loop_back(3);
        let process = super::super::process::pin(&root, std::process::id(), |_| true).unwrap();
        let mut buffer = Vec::new();
        read::read_at(&process.dir, c"net/netstat", &mut buffer).unwrap();
        assert!(parse_table(&buffer, b"IpExt:", b"InOctets").unwrap() >= 3_000);
        read::read_at(&process.dir, c"net/snmp", &mut buffer).unwrap();
        assert!(parse_table(&buffer, b"Ip:", b"InReceives").unwrap() >= 3);
        assert!(IpReader::default().read(&process, &mut buffer).is_ok());
    }
}
