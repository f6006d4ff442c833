//! What `net/dev` does not say of a netns's interfaces: indices, default route, vlans.
//!
//! All of it is read through the pinned directory of a process, needs no capability, and is cold:
//! read when the set of interfaces changes and every few seconds. Real lines:
//!
//! ```text
//! net/route          eth0  00000000  0101F40A  0003  0  0  0  00000000  0  0  0
//! net/ipv6_route     00000000000000000000000000000000 00 00… 00 fd00… 00000400 00000002 00000000 00000003     eth0
//! net/dev_snmp6/eth0 ifIndex                              2
//! net/if_inet6       fe8000000000000000fc00fffe000001 02 40 20 80     eth0
//! net/igmp           2       eth0      :     1      V3
//! ```

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;

use super::{read, syscall, text};
use crate::model::counters::InterfaceName;
use crate::model::target::PinnedProcess;

/// What is known of a netns beside its counters.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Interfaces listed in `net/vlan`.
    pub(super) vlans: Vec<InterfaceName>,
    /// `net/vlan` exists and cannot be listed.
    pub(super) vlans_unknown: bool,
    /// They were listed once.
    vlans_known: bool,
    /// Times in a row that they were not.
    vlans_refused: u32,
    /// Where they are listed.
    listing: Vec<InterfaceName>,
    routes: DefaultRoutes,
}

impl Facts {
    /// Reads everything anew; `buffer` is scratch.
    pub(super) fn refresh(&mut self, process: &PinnedProcess, buffer: &mut Vec<u8>) {
        self.listing.clear();
        match list_vlans(process, &mut self.listing) {
            Ok(()) => {
                std::mem::swap(&mut self.vlans, &mut self.listing);
                (self.vlans_unknown, self.vlans_known, self.vlans_refused) = (false, true, 0);
            }
            // Those that were known stay so.
            Err(_) => {
                self.vlans_unknown = true;
                self.vlans_refused = self.vlans_refused.saturating_add(1);
            }
        }
        let _ = self.routes.read(process, buffer);
    }

    /// Vlans could not be listed, which may have been chance: it takes two failures to do without.
    pub(super) fn is_doubtful(&self) -> bool {
        !self.vlans_known && self.vlans_refused == 1
    }

    /// As [`primary_interface`], provided there is an interface of this name.
    pub(super) fn primary(&self) -> Option<InterfaceName> {
        self.routes.best().or_else(|| InterfaceName::new(FIRST_INTERFACE))
    }
}

/// The interface that carries the default route, IPv4 before IPv6. Without one it is `eth0`: what
/// container runtimes call the pod's first interface.
pub fn primary_interface(process: &PinnedProcess) -> Option<InterfaceName> {
    let mut routes = DefaultRoutes::default();
    let _ = routes.read(process, &mut Vec::new());
    let first =
        || InterfaceName::new(FIRST_INTERFACE).filter(|name| interface_index(process, *name).is_some());
    routes.best().or_else(first)
}

const FIRST_INTERFACE: &[u8] = b"eth0";

/// Whether `known` may still be the [`primary_interface`], by the fewest calls that can tell: IPv6 is
/// looked at only where IPv4 has no default route. What cannot be read changes nothing.
pub fn is_still_primary(process: &PinnedProcess, known: Option<InterfaceName>, buffer: &mut Vec<u8>) -> bool {
    let mut routes = DefaultRoutes::default();
    if routes.read_ipv4(process, buffer).is_err() {
        return true;
    }
    if routes.routes.is_empty() && routes.read_ipv6(process, buffer).is_err() {
        return true;
    }
    match routes.best() {
        Some(best) => known == Some(best),
        None => known.is_none_or(|known| known.as_bytes() == FIRST_INTERFACE),
    }
}

/// Every interface with a default route in the main table.
#[derive(Debug, Default)]
pub(super) struct DefaultRoutes {
    /// IPv6 after IPv4, then by metric.
    routes: Vec<(bool, u32, InterfaceName)>,
}

impl DefaultRoutes {
    /// Reads what can be read; the error is that of what cannot. Without IPv6 there is no file of it.
    pub(super) fn read(&mut self, process: &PinnedProcess, buffer: &mut Vec<u8>) -> Result<(), Errno> {
        self.routes.clear();
        let of_ipv4 = self.read_ipv4(process, buffer);
        self.read_ipv6(process, buffer)?;
        of_ipv4
    }

    fn read_ipv4(&mut self, process: &PinnedProcess, buffer: &mut Vec<u8>) -> Result<(), Errno> {
        read::read_at(&process.dir, c"net/route", buffer)?;
        // It has a head line at least, and ends with a line: else this is not all of it.
        if !buffer.ends_with(b"\n") {
            return Err(Errno::IO);
        }
        let routes = text::lines(buffer).filter_map(parse_route);
        self.routes.extend(routes.map(|(metric, name)| (false, metric, name)));
        Ok(())
    }

    fn read_ipv6(&mut self, process: &PinnedProcess, buffer: &mut Vec<u8>) -> Result<(), Errno> {
        match read::read_at(&process.dir, c"net/ipv6_route", buffer) {
            Ok(()) => {
                let routes = text::lines(buffer).filter_map(parse_ipv6_route);
                self.routes.extend(routes.map(|(metric, name)| (true, metric, name)));
                Ok(())
            }
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// The lowest metric wins, as in the kernel; the first of equals.
    pub(super) fn best(&self) -> Option<InterfaceName> {
        self.routes.iter().min_by_key(|(v6, metric, _)| (*v6, *metric)).map(|(_, _, name)| *name)
    }

    pub(super) fn contains(&self, name: InterfaceName) -> bool {
        self.routes.iter().any(|(_, _, routed)| *routed == name)
    }
}

/// `RTF_UP` and `RTF_REJECT` of `include/uapi/linux/route.h`.
const ROUTE_UP: u64 = 0x0001;
const ROUTE_REJECT: u64 = 0x0200;

/// Metric and interface of a default route in `net/route`; `None` for any other line.
fn parse_route(line: &[u8]) -> Option<(u32, InterfaceName)> {
    let mut fields = text::fields(line);
    let name = InterfaceName::new(fields.next()?)?;
    let destination = parse_hex(fields.next()?)?;
    let _gateway = fields.next()?;
    let flags = parse_hex(fields.next()?)?;
    let metric = text::parse_u32(fields.nth(2)?)?;
    let mask = parse_hex(fields.next()?)?;
    (destination == 0 && mask == 0 && usable(flags)).then_some((metric, name))
}

/// Metric and interface of a default route in `net/ipv6_route`; `None` for any other line.
fn parse_ipv6_route(line: &[u8]) -> Option<(u32, InterfaceName)> {
    let mut fields = text::fields(line);
    let destination = fields.next()?;
    let length = fields.next()?;
    let metric = u32::try_from(parse_hex(fields.nth(3)?)?).ok()?;
    let flags = parse_hex(fields.nth(2)?)?;
    let name = InterfaceName::new(fields.next()?)?;
    let default = destination.iter().all(|&digit| digit == b'0') && length == b"00";
    (default && usable(flags) && name.as_bytes() != b"lo").then_some((metric, name))
}

fn usable(flags: u64) -> bool {
    flags & ROUTE_UP != 0 && flags & ROUTE_REJECT == 0
}

/// Hexadecimal digits and nothing else, at most 16 of them.
fn parse_hex(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    digits.iter().try_fold(0, |number: u64, &digit| {
        let value = char::from(digit).to_digit(16)?;
        Some(number << 4 | u64::from(value))
    })
}

/// Fills `vlans` with the names in `net/vlan`. Without the 8021q module there is no such directory,
/// and no vlan.
fn list_vlans(process: &PinnedProcess, vlans: &mut Vec<InterfaceName>) -> Result<(), Errno> {
    match for_each_name(process, c"net/vlan", |name| {
        // The kernel refuses to name a vlan after the directory's one other file.
        if name != b"config" {
            vlans.extend(InterfaceName::new(name));
        }
    }) {
        Err(Errno::NOENT) => Ok(()),
        listed => listed,
    }
}

/// Calls `each` with every name in a directory below the process, but `.` and `..`.
fn for_each_name(
    process: &PinnedProcess,
    directory: &std::ffi::CStr,
    mut each: impl FnMut(&[u8]),
) -> Result<(), Errno> {
    let directory = syscall::open_at(process.dir.as_fd(), directory, syscall::LIST)?;
    let mut room = [MaybeUninit::uninit(); 2048];
    syscall::each_entry(directory, &mut room, |entry| {
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            each(name);
        }
    })
}

/// The index of an interface inside the pod: unique in its netns, not on the node.
///
/// IPv6's own statistics name it; where IPv6 is off, multicast membership of IPv4 does.
pub fn interface_index(process: &PinnedProcess, name: InterfaceName) -> Option<u32> {
    let mut buffer = Vec::new();
    let mut path = b"net/dev_snmp6/".to_vec();
    path.extend_from_slice(name.as_bytes());
    if read::read_at(&process.dir, OsStr::from_bytes(&path), &mut buffer).is_ok()
        && let Some(index) = text::lines(&buffer).find_map(parse_snmp6_index)
    {
        return Some(index);
    }
    let of_this = |(index, found): (u32, InterfaceName)| (found == name).then_some(index);
    if read::read_at(&process.dir, c"net/if_inet6", &mut buffer).is_ok()
        && let Some(index) = text::lines(&buffer).filter_map(parse_if_inet6).find_map(of_this)
    {
        return Some(index);
    }
    read::read_at(&process.dir, c"net/igmp", &mut buffer).ok()?;
    text::lines(&buffer).filter_map(parse_igmp).find_map(of_this)
}

/// The interface of this index inside the pod: the inverse of [`interface_index`].
pub fn interface_named_by(process: &PinnedProcess, index: u32) -> Option<InterfaceName> {
    let mut names = Vec::new();
    let _ = for_each_name(process, c"net/dev_snmp6", |name| names.extend(InterfaceName::new(name)));
    let mut buffer = Vec::new();
    if read::read_at(&process.dir, c"net/igmp", &mut buffer).is_ok() {
        names.extend(text::lines(&buffer).filter_map(parse_igmp).map(|(_, name)| name));
    }
    names.into_iter().find(|name| interface_index(process, *name) == Some(index))
}

fn parse_snmp6_index(line: &[u8]) -> Option<u32> {
    let mut fields = text::fields(line);
    (fields.next()? == b"ifIndex").then(|| text::parse_u32(fields.next()?)).flatten()
}

fn parse_if_inet6(line: &[u8]) -> Option<(u32, InterfaceName)> {
    let mut fields = text::fields(line);
    let index = u32::try_from(parse_hex(fields.nth(1)?)?).ok()?;
    Some((index, InterfaceName::new(fields.nth(3)?)?))
}

/// The head line of an interface; those of its groups begin with white space.
fn parse_igmp(line: &[u8]) -> Option<(u32, InterfaceName)> {
    let (index, rest) = text::split_once(line, b'\t')?;
    let (name, _) = text::rsplit_once(rest, b':')?;
    let end = name.iter().rposition(|&byte| byte != b' ')?;
    Some((text::parse_u32(index)?, InterfaceName::new(&name[..=end])?))
}

/// For fuzzers: takes any text for each of the files.
pub(super) fn read_any(text: &[u8]) {
    for line in text::lines(text) {
        let _ = (parse_route(line), parse_ipv6_route(line), parse_snmp6_index(line));
        let _ = (parse_if_inet6(line), parse_igmp(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> InterfaceName {
        InterfaceName::new(text.as_bytes()).unwrap()
    }

    const ROUTE: &[u8] =
        b"Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
        net1\t00000000\t0101F40A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
        eth0\t00000000\t0101F40A\t0003\t0\t0\t5\t00000000\t0\t0\t0\n\
        down\t00000000\t0101F40A\t0002\t0\t0\t0\t00000000\t0\t0\t0\n\
        *\t00000000\t00000000\t0201\t0\t0\t0\t00000000\t0\t0\t0\n\
        eth0\t0001F40A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";

    #[test]
    fn default_routes_are_up_and_not_refusals() {
        let found: Vec<_> = text::lines(ROUTE).filter_map(parse_route).collect();
        assert_eq!(found, [(100, name("net1")), (5, name("eth0"))]);
    }

    #[test]
    fn the_lowest_metric_wins_and_ipv4_comes_first() {
        let mut routes = DefaultRoutes::default();
        assert_eq!(routes.best(), None);
        routes.routes = vec![(true, 1, name("six")), (false, 100, name("net1")), (false, 5, name("eth0"))];
        assert_eq!(routes.best(), Some(name("eth0")));
        assert!(routes.contains(name("six")) && !routes.contains(name("lo")));
        routes.routes.truncate(1);
        assert_eq!(routes.best(), Some(name("six")));
    }

    #[test]
    fn the_ipv6_default_route_is_told_from_the_kernels_own_refusal() {
        let zeros = "0".repeat(32);
        let default = format!(
            "{zeros} 00 {zeros} 00 fd000000000000000000000000000001 00000400 00000002 00000000 00000003     eth0"
        );
        assert_eq!(parse_ipv6_route(default.as_bytes()), Some((0x400, name("eth0"))));
        let refusal = format!("{zeros} 00 {zeros} 00 {zeros} ffffffff 00000001 00000000 00200200       lo");
        assert_eq!(parse_ipv6_route(refusal.as_bytes()), None);
        let subnet = default.replacen(" 00 ", " 40 ", 1);
        assert_eq!(parse_ipv6_route(subnet.as_bytes()), None);
    }

    #[test]
    fn indices_are_found_in_three_files() {
        assert_eq!(parse_snmp6_index(b"ifIndex                         \t2"), Some(2));
        assert_eq!(parse_snmp6_index(b"Ip6InReceives                   \t2"), None);
        let inet6 = b"fe8000000000000000fc00fffe000001 1f 40 20 80     eth0";
        assert_eq!(parse_if_inet6(inet6), Some((0x1f, name("eth0"))));
        assert_eq!(parse_igmp(b"2\teth0      :     1      V3"), Some((2, name("eth0"))));
        assert_eq!(parse_igmp(b"31\tvethabcdef12345:     1      V3"), Some((31, name("vethabcdef12345"))));
        assert_eq!(parse_igmp(b"\t\t\t\t010000E0     1 0:00000000\t\t0"), None);
        assert_eq!(parse_igmp(b"Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter"), None);
    }

    #[test]
    fn every_cut_of_a_line_is_refused_or_read_without_panic() {
        let zeros = "0".repeat(32);
        let route6 = format!("{zeros} 00 {zeros} 00 {zeros} 00000400 00000002 00000000 00000003     eth0");
        for end in 0..route6.len() {
            assert!(parse_ipv6_route(&route6.as_bytes()[..end]).is_none_or(|(metric, _)| metric == 0x400));
        }
        for end in 0..ROUTE.len() {
            for (metric, found) in text::lines(&ROUTE[..end]).filter_map(parse_route) {
                assert!([(100, name("net1")), (5, name("eth0"))].contains(&(metric, found)));
            }
        }
        let igmp = b"31\tvethabcdef12345:     1      V3";
        for end in 0..igmp.len() {
            let _ = parse_igmp(&igmp[..end]);
        }
    }

    #[test]
    fn hexadecimal_is_digits_only() {
        assert_eq!(parse_hex(b"00fF"), Some(255));
        for refused in [&b""[..], b"0x1", b"-1", b"11111111111111111", b"\xff"] {
            assert_eq!(parse_hex(refused), None, "{refused:?}");
        }
    }

    #[test]
    fn our_own_netns_has_an_index_for_lo() {
        let root = super::super::HostRoot {
            proc: "/proc".into(),
            cgroup: "/sys/fs/cgroup".into(),
            sys: "/sys".into(),
        };
        let process = super::super::process::pin(&root, std::process::id(), |_| true).unwrap();
        assert_eq!(interface_index(&process, name("lo")), Some(1));
        assert_eq!(interface_named_by(&process, 1), Some(name("lo")));
        assert_eq!(interface_index(&process, name("nosuch")), None);
        assert_eq!(interface_named_by(&process, 4_000_000), None);
    }
}
