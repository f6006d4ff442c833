//! A pod's network, seen from inside: `/proc/<pid>/net/dev` through the pinned process.
//!
//! proc(5); the kernel prints it in `net/core/net-procfs.c`. Two lines of names, then one for each
//! interface, eight figures received and eight sent (bytes, packets, errs, drop, …):
//!
//! ```text
//!   eth0: 114141779    3252    0    0    0     0          0         0   181934    1792    0    0    0     0       0          0
//! ```
//!
//! # Why the file is opened each time
//! A descriptor of it keeps the netns alive after the pod's last process: the host's veth would stay.
//! So it is opened, read and closed within one call, and only the directory of the process is kept.
//!
//! # What is counted
//! Every interface is listed; the total leaves out `lo`, the devices the kernel's tunnel modules put
//! into every netns, and vlans, whose traffic their parent has counted already. Where all a pod has
//! is vlans, their parents are in another netns and they count. Names that look like devices stacked
//! on others, beside a second interface, make the total `overlapping`: nobody can tell.

use super::interfaces::Facts;
use super::{clock, read, syscall, text};
use crate::model::counters::{InterfaceName, InterfaceRow, NetworkCounters};
use crate::model::health::{Health, Room, Trouble};
use crate::model::sweep::{NetworkTotals, Reading, Stamped};
use crate::model::target::{PinnedProcess, TargetId};
use crate::model::time::Monotonic;
use crate::model::unavailable::Unavailable;
use rustix::io::Errno;

pub use super::interfaces::{interface_index, interface_named_by, is_still_primary, primary_interface};

/// At most so many interfaces are listed; totals cover all.
pub const MAX_ROWS: usize = 64;

/// Reads one pod's network again and again.
#[derive(Debug, Default)]
pub struct NetDevReader {
    /// Sum over the names in the file: another one means other interfaces.
    names: Option<u64>,
    facts: Facts,
    /// Vlans are all there is, so they count.
    only_vlans: bool,
    /// The interface with the default route, if it is there.
    primary: Option<InterfaceName>,
    /// See [`Self::take_news`].
    news: bool,
    /// A line that cannot be read was reported.
    complained: bool,
}

impl NetDevReader {
    /// Knows nothing of the pod yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The interface that carries the pod's default route, as of the last reading.
    pub fn primary(&self) -> Option<InterfaceName> {
        self.primary
    }

    /// Whether there came to be other interfaces, or another primary, since this was last asked.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Reads the pod's counters and appends a row for each interface. `slow` reads anew what changes
    /// rarely: routes and vlans.
    ///
    /// # Errors
    /// Why there is no figure; `netns_gone` asks for a new resolution.
    pub fn read(
        &mut self,
        process: &PinnedProcess,
        buffer: &mut Vec<u8>,
        rows: &mut Vec<InterfaceRow>,
        slow: bool,
        health: &Health,
        id: TargetId,
    ) -> Reading<NetworkTotals> {
        health.begin_read(id.0, read::NET_DEV);
        let first = self.names.is_none();
        if slow {
            self.facts.refresh(process, buffer);
        }
        let mut at = read_net_dev(process, buffer).map_err(|errno| unavailable(errno, health))?;
        let names = sum_of_names(buffer);
        if self.names != Some(names) {
            self.facts.refresh(process, buffer);
            if self.facts.is_doubtful() {
                health.count(Room::Host, Trouble::Io);
                return Err(Unavailable::NotYet);
            }
            at = read_net_dev(process, buffer).map_err(|errno| unavailable(errno, health))?;
            self.news |= self.names.replace(sum_of_names(buffer)).is_some();
            self.only_vlans = false;
        }
        let start = rows.len();
        let mut survey = self.survey(buffer, rows);
        self.report(&survey, process, health);
        if survey.malformed > 0 {
            // Without that line the total would be too small. Perhaps it was misread; what cannot be
            // read twice is no line of an interface we know.
            at = read_net_dev(process, buffer).map_err(|errno| unavailable(errno, health))?;
            rows.truncate(start);
            survey = self.survey(buffer, rows);
        }
        if survey.counted == 0 && survey.vlans > 0 {
            self.only_vlans = true;
            rows.truncate(start);
            survey = self.survey(buffer, rows);
        }
        if survey.interfaces == 0 {
            return Err(Unavailable::NotYet); // Every netns has `lo`: this is not the file we know.
        }
        let before = std::mem::replace(&mut self.primary, survey.primary);
        self.news |= !first && before != survey.primary;
        let rows = index(start)..index(rows.len());
        let truncated = survey.interfaces > rows.len();
        let overlapping = survey.overlapping(self.facts.vlans_unknown);
        let Survey { total, names: counted, .. } = survey;
        Ok(Stamped { at, value: NetworkTotals { total, counted, rows, truncated, overlapping } })
    }

    /// Adds up one text and lists its interfaces.
    fn survey(&self, net_dev: &[u8], rows: &mut Vec<InterfaceRow>) -> Survey {
        let limit = rows.len() + MAX_ROWS;
        let primary = self.facts.primary();
        let mut survey = Survey::default();
        for line in interface_lines(net_dev) {
            let Some((name, counters)) = parse_line(line) else {
                survey.malformed += 1;
                continue;
            };
            let kind = self.kind_of(name);
            survey.add(kind, name, counters);
            if primary == Some(name) {
                survey.primary = primary;
            }
            if rows.len() < limit {
                let counted = kind == Kind::Counted;
                rows.push(InterfaceRow { name, primary: primary == Some(name), counted, counters });
            }
        }
        survey
    }

    fn kind_of(&self, name: InterfaceName) -> Kind {
        if never_counts(name) {
            Kind::Never
        } else if !self.only_vlans && self.facts.vlans.contains(&name) {
            Kind::Vlan
        } else {
            Kind::Counted
        }
    }

    fn report(&mut self, survey: &Survey, process: &PinnedProcess, health: &Health) {
        for _ in 0..survey.malformed {
            health.count(Room::Host, Trouble::Malformed);
        }
        if survey.malformed > 0 && !self.complained {
            let (pid, lines) = (process.pid, survey.malformed);
            tracing::warn!(pid, lines, "net/dev: lines that cannot be read");
        }
        self.complained = survey.malformed > 0;
    }
}

/// How an interface takes part in the total.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `lo`, the kernel's own tunnels and wires into a virtual machine.
    Never,
    /// Its parent has counted it.
    Vlan,
    Counted,
}

/// What one text holds.
#[derive(Default)]
struct Survey {
    total: NetworkCounters,
    /// Over the names of those counted.
    names: u64,
    interfaces: usize,
    counted: usize,
    vlans: usize,
    /// Of those counted: what may carry, or be carried by, another.
    stacked: usize,
    dotted: usize,
    malformed: usize,
    primary: Option<InterfaceName>,
}

impl Survey {
    fn add(&mut self, kind: Kind, name: InterfaceName, counters: NetworkCounters) {
        self.interfaces += 1;
        match kind {
            Kind::Never => {}
            Kind::Vlan => self.vlans += 1,
            Kind::Counted => {
                self.counted += 1;
                self.total = self.total.plus(counters);
                self.names = add_name(self.names, name);
                self.stacked += usize::from(looks_stacked(name));
                self.dotted += usize::from(name.as_bytes().contains(&b'.'));
            }
        }
    }

    fn overlapping(&self, vlans_unknown: bool) -> bool {
        self.counted > 1 && (self.stacked > 0 || (vlans_unknown && self.dotted > 0))
    }
}

/// The devices that tunnel modules put into every netns as soon as they are loaded. Traffic through
/// them leaves by another interface.
const TUNNELS: [&[u8]; 9] =
    [b"tunl0", b"gre0", b"gretap0", b"erspan0", b"ip_vti0", b"ip6_vti0", b"ip6tnl0", b"sit0", b"ip6gre0"];

/// What Kata Containers calls its ends of a virtual machine's wires, `tap0_kata`: all that passes there
/// passes the pod's own interface too.
const KATA_SUFFIX: &[u8] = b"_kata";

/// `lo` and the kernel's own tunnels, by their exact names, and the wires into a virtual machine.
pub(super) fn never_counts(name: InterfaceName) -> bool {
    let name = name.as_bytes();
    name == b"lo" || TUNNELS.contains(&name) || name.ends_with(KATA_SUFFIX)
}

/// Beginnings of names that programs and people give to devices resting on others.
const STACKED: [&[u8]; 14] = [
    b"bond", b"team", b"bridge", b"br-", b"virbr", b"docker", b"cni", b"vxlan", b"flannel", b"cali", b"veth",
    b"tun", b"tap", b"wg",
];

pub(super) fn looks_stacked(name: InterfaceName) -> bool {
    let name = name.as_bytes();
    let numbered_bridge = || matches!(name, [b'b', b'r', digit, ..] if digit.is_ascii_digit());
    STACKED.iter().any(|beginning| name.starts_with(beginning)) || numbered_bridge()
}

/// Reads the text and says when. Refuses it if the process is in another netns than it was.
pub(super) fn read_net_dev(process: &PinnedProcess, buffer: &mut Vec<u8>) -> Result<Monotonic, Errno> {
    let file = read::open_at(&process.dir, c"net/dev")?;
    if syscall::stat_open(&file)?.st_ino != process.netns {
        return Err(Errno::SRCH);
    }
    let page = |buffer: &mut Vec<u8>, _| syscall::read(&file, buffer);
    read::read_until(buffer, read::PAGE - LONGEST_LINE, page)?;
    Ok(clock::monotonic())
}

/// A name, a colon, 16 figures of 20 digits, spaces between, a newline. A read that left room for one
/// more line was the last: the kernel fills a page as long as whole lines fit.
const LONGEST_LINE: usize = 360;

pub(super) fn unavailable(errno: Errno, health: &Health) -> Unavailable {
    let (trouble, why) = match errno {
        Errno::NOENT | Errno::SRCH => (Trouble::Gone, Unavailable::NetnsGone),
        Errno::ACCESS | Errno::PERM => (Trouble::Denied, Unavailable::Permission),
        Errno::FBIG => (Trouble::Truncated, Unavailable::NotYet),
        _ => (Trouble::Io, Unavailable::NotYet),
    };
    health.count(Room::Host, trouble);
    why
}

pub(super) fn index(row: usize) -> u32 {
    u32::try_from(row).unwrap_or(u32::MAX)
}

/// The counters of one interface in the process's netns, now; `None` if they cannot be had.
pub fn read_interface(
    process: &PinnedProcess,
    name: InterfaceName,
    buffer: &mut Vec<u8>,
) -> Option<NetworkCounters> {
    read_net_dev(process, buffer).ok()?;
    let mut interfaces = interface_lines(buffer).filter_map(parse_line);
    interfaces.find_map(|(found, counters)| (found == name).then_some(counters))
}

/// The lines that stand for interfaces.
pub(super) fn interface_lines(net_dev: &[u8]) -> impl Iterator<Item = &[u8]> {
    text::lines(net_dev).skip(2)
}

/// Name and counters of one interface. The name may hold a colon: the last one ends it.
pub(super) fn parse_line(line: &[u8]) -> Option<(InterfaceName, NetworkCounters)> {
    let (name, figures) = text::rsplit_once(line, b':')?;
    let mut figure = [0; 16];
    let mut count = 0;
    for field in text::fields(figures) {
        *figure.get_mut(count)? = text::parse_u64(field)?;
        count += 1;
    }
    let [rx_bytes, rx_packets, rx_errors, rx_dropped, _, _, _, _, sent @ ..] = figure;
    let [tx_bytes, tx_packets, tx_errors, tx_dropped, _, _, _, _] = sent;
    let counters = NetworkCounters {
        rx_bytes,
        rx_packets,
        rx_errors,
        rx_dropped,
        tx_bytes,
        tx_packets,
        tx_errors,
        tx_dropped,
    };
    let name = InterfaceName::new(name.trim_ascii_start())?;
    // The kernel allows no white space in a name: this is a row that broke off, and the next one.
    let broken = name.as_bytes().iter().any(u8::is_ascii_whitespace);
    (count == figure.len() && !broken).then_some((name, counters))
}

/// Adds a name to a number that stands for all names so far, in their order.
pub(super) fn add_name(so_far: u64, name: InterfaceName) -> u64 {
    read::fingerprint(read::fingerprint(so_far, name.as_bytes()), b":")
}

/// One number for all the names, in their order. Only ever compared with the one before.
pub(super) fn sum_of_names(net_dev: &[u8]) -> u64 {
    let names = interface_lines(net_dev).filter_map(|line| text::rsplit_once(line, b':'));
    names.fold(read::FINGERPRINT, |sum, (name, _)| read::fingerprint(read::fingerprint(sum, name), b":"))
}

#[cfg(test)]
#[path = "net_dev_tests.rs"]
mod tests;
