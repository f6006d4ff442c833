//! The node's own network: `net/dev` of process 1, once a sweep.
//!
//! `/proc/net/dev` would be our own netns, not the node's. The text is that of
//! [`super::net_dev`]; a node with a thousand pods has a thousand veths in it, 100 KB.
//!
//! # What is counted
//! A node's bridges, veths and tunnels carry what its NICs carry once more. So the total is that of
//! 1. the interfaces that are hardware: `/sys/class/net/<name>/device` exists, in a `/sys` that shows
//!    the node's interfaces. Not one whose master is hardware too (Hyper-V's and net_failover's pairs):
//!    the master counts for both. A bond is not hardware, its members are;
//! 2. where no such thing is to be seen, the interfaces with a default route;
//! 3. where there is no such route either, all but `lo` and the kernel's tunnels, as `overlapping`.

use std::cell::Cell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

use super::interfaces::DefaultRoutes;
use super::net_dev::{
    MAX_ROWS, add_name, index, interface_lines, looks_stacked, never_counts, parse_line, read_net_dev,
    sum_of_names, unavailable,
};
use super::net_ip::parse_table;
use super::{HostRoot, clock, process, read, syscall};
use crate::model::counters::{InterfaceName, InterfaceRow, NetworkCounters};
use crate::model::health::{Health, Room, Trouble};
use crate::model::sweep::{NetworkTotals, Reading, Stamped};
use crate::model::target::PinnedProcess;
use crate::model::time::Monotonic;
use crate::model::unavailable::Unavailable;

/// Routes and hardware are looked at again after this long, or when the set of names changes.
const COLD: Duration = Duration::from_secs(10);

/// Reads the node's interfaces again and again.
#[derive(Debug, Default)]
pub(super) struct NodeNetwork {
    init: Option<PinnedProcess>,
    names: Option<u64>,
    chosen_at: Monotonic,
    choice: Choice,
    /// The last attempt to choose failed.
    doubted: bool,
    forwards_ipv4: Option<bool>,
}

/// Which interfaces make the total.
#[derive(Debug, Default, PartialEq, Eq)]
struct Choice {
    counted: Vec<InterfaceName>,
    primary: Option<InterfaceName>,
    overlapping: bool,
}

impl NodeNetwork {
    pub(super) fn read(
        &mut self,
        root: &HostRoot,
        buffer: &mut Vec<u8>,
        rows: &mut Vec<InterfaceRow>,
        health: &Health,
    ) -> Reading<NetworkTotals> {
        health.begin_read(0, read::NODE_NET_DEV);
        let init = match self.init.take() {
            Some(init) => init,
            None => process::pin(root, 1, |_| true).map_err(|refusal| reason(refusal, health))?,
        };
        let at = self.read_text(root, &init, buffer, health).map_err(|errno| unavailable(errno, health))?;
        self.init = Some(init);
        let start = rows.len();
        let (total, counted, interfaces) = self.survey(buffer, rows);
        if interfaces == 0 {
            return Err(Unavailable::NotYet);
        }
        let truncated = interfaces > rows.len() - start;
        let rows = index(start)..index(rows.len());
        let overlapping = self.choice.overlapping;
        Ok(Stamped { at, value: NetworkTotals { total, counted, rows, truncated, overlapping } })
    }

    fn read_text(
        &mut self,
        root: &HostRoot,
        init: &PinnedProcess,
        buffer: &mut Vec<u8>,
        health: &Health,
    ) -> Result<Monotonic, Errno> {
        let at = read_sound(init, buffer, health)?;
        let names = sum_of_names(buffer);
        let cold = at.since(self.chosen_at).is_none_or(|age| age > COLD);
        if self.names == Some(names) && !cold {
            return Ok(at);
        }
        let present: Vec<InterfaceName> =
            interface_lines(buffer).filter_map(parse_line).map(|(name, _)| name).collect();
        let mut routes = DefaultRoutes::default();
        let sysfs = Sysfs { at: root.sys.join("class/net"), failed: Cell::new(None) };
        let readable = routes.read(init, buffer);
        let choice = choose(&present, &sysfs, &routes);
        match readable.err().or(sysfs.failed.get()) {
            // The same interfaces: what was chosen is as good as before.
            Some(_) if self.names == Some(names) => {}
            // Of two failures in a row the second is believed: it is how this node is.
            Some(errno) if !std::mem::replace(&mut self.doubted, true) => return Err(errno),
            failure => {
                self.choice = choice;
                self.names = Some(names);
                self.chosen_at = clock::monotonic();
                self.doubted = failure.is_some();
            }
        }
        self.forwards_ipv4 = read_forwarding(init, buffer);
        read_sound(init, buffer, health)
    }

    /// Whether the node passes packets on, as it was when its interfaces were last looked at. `None`: it cannot be told.
    pub(super) fn forwards_ipv4(&self) -> Option<bool> {
        self.forwards_ipv4
    }

    /// Adds up one text: the total, whose it is, and how many interfaces there are. Those that count are
    /// listed first: there may be more than we list.
    fn survey(&self, net_dev: &[u8], rows: &mut Vec<InterfaceRow>) -> (NetworkCounters, u64, usize) {
        let limit = rows.len() + MAX_ROWS;
        let Choice { counted, primary, .. } = &self.choice;
        let mut total = NetworkCounters::default();
        let (mut names, mut interfaces) = (0, 0);
        for listing_counted in [true, false] {
            for line in interface_lines(net_dev) {
                let Some((name, counters)) = parse_line(line) else { continue };
                if counted.contains(&name) != listing_counted {
                    continue;
                }
                interfaces += 1;
                if listing_counted {
                    total = total.plus(counters);
                    names = add_name(names, name);
                }
                if rows.len() < limit {
                    let primary = *primary == Some(name);
                    rows.push(InterfaceRow { name, primary, counted: listing_counted, counters });
                }
            }
        }
        (total, names, interfaces)
    }
}

/// Reads again, once, if a line cannot be read: without it the total would be too small.
fn read_sound(init: &PinnedProcess, buffer: &mut Vec<u8>, health: &Health) -> Result<Monotonic, Errno> {
    let at = read_net_dev(init, buffer)?;
    if interface_lines(buffer).all(|line| parse_line(line).is_some()) {
        return Ok(at);
    }
    health.count(Room::Host, Trouble::Malformed);
    read_net_dev(init, buffer)
}

/// `Forwarding` of RFC 1213 in `net/snmp`: 1 is yes, 2 is no. What `/proc/sys` has is our own netns's.
fn read_forwarding(init: &PinnedProcess, buffer: &mut Vec<u8>) -> Option<bool> {
    read::read_at(&init.dir, c"net/snmp", buffer).ok()?;
    match parse_table(buffer, b"Ip:", b"Forwarding")? {
        1 => Some(true),
        2 => Some(false),
        _ => None,
    }
}

fn reason(refusal: process::Refusal, health: &Health) -> Unavailable {
    let (trouble, why) = match refusal {
        process::Refusal::Hidepid => (Trouble::Denied, Unavailable::Hidepid),
        process::Refusal::Denied => (Trouble::Denied, Unavailable::Permission),
        process::Refusal::Failed(_) => (Trouble::Io, Unavailable::NotYet),
        _ => (Trouble::Gone, Unavailable::NoProcess),
    };
    health.count(Room::Host, trouble);
    why
}

/// `/sys/class/net`, which may be that of another netns than the node's.
struct Sysfs {
    at: PathBuf,
    /// Something could not be told.
    failed: Cell<Option<Errno>>,
}

impl Sysfs {
    fn knows(&self, name: InterfaceName) -> bool {
        self.is_there(&self.link(name))
    }

    fn is_hardware(&self, name: InterfaceName) -> bool {
        let link = self.link(name);
        self.is_there(&link.join("device")) && !self.is_there(&link.join("master/device"))
    }

    fn is_there(&self, path: &Path) -> bool {
        syscall::is_there(path).unwrap_or_else(|errno| {
            self.failed.set(Some(errno));
            false
        })
    }

    fn link(&self, name: InterfaceName) -> PathBuf {
        self.at.join(OsStr::from_bytes(name.as_bytes()))
    }
}

fn choose(present: &[InterfaceName], sysfs: &Sysfs, routes: &DefaultRoutes) -> Choice {
    let only = |wanted: &dyn Fn(InterfaceName) -> bool| -> Vec<InterfaceName> {
        present.iter().copied().filter(|name| !never_counts(*name) && wanted(*name)).collect()
    };
    let primary = routes.best();
    if present.iter().all(|name| sysfs.knows(*name)) {
        let counted = only(&|name| sysfs.is_hardware(name));
        if !counted.is_empty() {
            return Choice { counted, primary, overlapping: false };
        }
    }
    let counted = only(&|name| routes.contains(name));
    if !counted.is_empty() {
        let stacked = |name: &InterfaceName| looks_stacked(*name) || name.as_bytes().contains(&b'.');
        let overlapping = counted.len() > 1 && counted.iter().any(stacked);
        return Choice { counted, primary, overlapping };
    }
    let counted = only(&|_| true);
    let overlapping = counted.len() > 1;
    Choice { counted, primary, overlapping }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Tree(PathBuf);

    impl Tree {
        fn new(test: &str) -> Self {
            let at = std::env::temp_dir().join(format!("podvitals-nics-{test}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&at);
            fs::create_dir_all(&at).unwrap();
            Self(at)
        }

        fn link(&self, name: &str, hardware: bool) {
            fs::create_dir_all(self.0.join("sys/class/net").join(name)).unwrap();
            if hardware {
                fs::create_dir_all(self.0.join("sys/class/net").join(name).join("device")).unwrap();
            }
        }

        fn sysfs(&self) -> Sysfs {
            Sysfs { at: self.0.join("sys/class/net"), failed: Cell::new(None) }
        }

        fn init(&self, interfaces: &[&str], default_routes: &[&str]) -> HostRoot {
            let init = self.0.join("proc/1");
            fs::create_dir_all(init.join("net")).unwrap();
            fs::write(init.join("cgroup"), "0::/init.scope\n").unwrap();
            let lines = |count: u64| (0..16).map(|_| format!(" {count}")).collect::<String>();
            let rows: String =
                (1..).zip(interfaces).map(|(i, name)| format!("{name}:{}\n", lines(i))).collect();
            fs::write(init.join("net/dev"), format!("head\nhead\n{rows}")).unwrap();
            let route =
                |name: &&str| format!("{name}\t00000000\t0101F40A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n");
            let routes: String = default_routes.iter().map(route).collect();
            fs::write(init.join("net/route"), format!("head\n{routes}")).unwrap();
            HostRoot { proc: self.0.join("proc"), cgroup: self.0.clone(), sys: self.0.join("sys") }
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn names(names: &[&str]) -> Vec<InterfaceName> {
        names.iter().map(|name| InterfaceName::new(name.as_bytes()).unwrap()).collect()
    }

    fn read(
        network: &mut NodeNetwork,
        root: &HostRoot,
    ) -> (Result<NetworkTotals, Unavailable>, Vec<InterfaceRow>) {
        let (mut buffer, mut rows) = (Vec::new(), Vec::new());
        let reading = network.read(root, &mut buffer, &mut rows, &Health::default());
        (reading.map(|stamped| stamped.value), rows)
    }

    #[test]
    fn hardware_is_counted_and_what_rests_on_it_is_not() {
        let tree = Tree::new("hardware");
        for (name, hardware) in [("lo", false), ("eth0", true), ("bond0", false), ("cni0", false)] {
            tree.link(name, hardware);
        }
        let root = tree.init(&["lo", "cni0", "bond0", "eth0"], &["bond0"]);
        let (totals, rows) = read(&mut NodeNetwork::default(), &root);
        let totals = totals.unwrap();
        assert_eq!((totals.total.rx_bytes, totals.total.tx_dropped), (4, 4));
        assert!(!totals.overlapping && !totals.truncated);
        let listed: Vec<_> =
            rows.iter().map(|row| (row.name.to_string(), row.counted, row.primary)).collect();
        let expected =
            [("eth0", true, false), ("lo", false, false), ("cni0", false, false), ("bond0", false, true)];
        assert_eq!(listed, expected.map(|(name, counted, primary)| (name.to_owned(), counted, primary)));
    }

    #[test]
    fn of_a_master_and_its_member_that_are_both_hardware_the_master_counts() {
        let tree = Tree::new("master");
        tree.link("eth0", true);
        tree.link("enP1s1", true);
        std::os::unix::fs::symlink("../eth0", tree.sysfs().link(names(&["enP1s1"])[0]).join("master"))
            .unwrap();
        let choice = choose(&names(&["eth0", "enP1s1"]), &tree.sysfs(), &DefaultRoutes::default());
        assert_eq!(choice.counted, names(&["eth0"]));
    }

    #[test]
    fn a_sysfs_of_another_netns_is_not_believed() {
        let tree = Tree::new("foreign");
        tree.link("lo", false);
        tree.link("eth0", true);
        let root = tree.init(&["lo", "eth0", "ens5"], &["ens5"]);
        let (totals, rows) = read(&mut NodeNetwork::default(), &root);
        assert_eq!(totals.unwrap().total.rx_bytes, 3);
        assert!(rows[0].primary && rows[0].counted);
    }

    #[test]
    fn with_neither_hardware_nor_routes_everything_may_overlap() {
        let tree = Tree::new("neither");
        let root = tree.init(&["lo", "tunl0", "a", "b"], &[]);
        let (totals, _) = read(&mut NodeNetwork::default(), &root);
        let totals = totals.unwrap();
        assert_eq!((totals.total.rx_bytes, totals.overlapping), (7, true));
    }

    #[test]
    fn a_nic_behind_a_thousand_veths_is_still_listed() {
        let tree = Tree::new("thousand");
        let mut interfaces: Vec<String> = (0..1000).map(|i| format!("veth{i}")).collect();
        interfaces.push("eth0".into());
        let interfaces: Vec<&str> = interfaces.iter().map(String::as_str).collect();
        let root = tree.init(&interfaces, &["eth0"]);
        let (totals, rows) = read(&mut NodeNetwork::default(), &root);
        let totals = totals.unwrap();
        assert_eq!((totals.total.rx_bytes, totals.rows, totals.truncated), (1001, 0..64, true));
        assert_eq!(rows[0].name.as_bytes(), b"eth0");
    }

    #[test]
    fn a_new_interface_is_looked_into_at_once() {
        let tree = Tree::new("new");
        let root = tree.init(&["lo", "eth0"], &["eth0"]);
        let mut network = NodeNetwork::default();
        assert_eq!(read(&mut network, &root).0.unwrap().total.rx_bytes, 2);
        // A new file has a new inode, and that would be another netns.
        let dev = root.proc.join("1/net/dev");
        let text = fs::read_to_string(&dev).unwrap() + "eth1: 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9\n";
        fs::write(&dev, text).unwrap();
        let routes = root.proc.join("1/net/route");
        let both = fs::read_to_string(&routes).unwrap().replace("eth0", "eth1");
        fs::write(&routes, both).unwrap();
        assert_eq!(read(&mut network, &root).0.unwrap().total.rx_bytes, 9);
    }

    #[test]
    fn whether_packets_are_passed_on_is_told_or_not_known() {
        let tree = Tree::new("forwarding");
        let root = tree.init(&["lo", "eth0"], &["eth0"]);
        for (told, expected) in [("1 64", Some(true)), ("2 64", Some(false)), ("0 64", None), ("", None)] {
            let table = format!("Ip: Forwarding DefaultTTL\nIp: {told}\n");
            fs::write(root.proc.join("1/net/snmp"), table).unwrap();
            let mut network = NodeNetwork::default();
            assert!(read(&mut network, &root).0.is_ok());
            assert_eq!(network.forwards_ipv4(), expected, "{told}");
        }
    }

    #[test]
    fn without_process_1_there_is_a_reason() {
        let tree = Tree::new("without");
        let root = HostRoot { proc: tree.0.clone(), cgroup: tree.0.clone(), sys: tree.0.clone() };
        assert_eq!(read(&mut NodeNetwork::default(), &root).0.unwrap_err(), Unavailable::Hidepid);
    }
}
