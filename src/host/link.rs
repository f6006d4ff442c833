//! The host's own links, and which of them is the other end of a pod's veth.
//!
//! Only where this process is in the node's netns. The kernel says of each veth the index of its
//! other end and a number for the netns that end is in (rtnetlink(7)):
//!
//! ```text
//! 17: veth1a2b@if2: … link-netnsid 5        IFLA_LINK 2, IFLA_LINK_NETNSID 5
//! ```
//!
//! # Why both numbers
//! Indices are counted anew in each netns: on a node with a thousand pods nearly every other end has
//! index 2. The number of the netns alone is not enough for a pod with two interfaces. Where the two
//! together leave a doubt there is no answer.

use std::os::fd::AsFd;

use rustix::io::Errno;

use super::interfaces::interface_named_by;
use super::netlink::{LinkMessage, Netns, RouteSocket};
use super::process::{init_netns, is_in_its_netns, own_netns};
use super::{HostError, HostRoot, syscall};
use crate::model::counters::InterfaceName;
use crate::model::target::{HostInterface, PinnedProcess};

pub use super::veth::{HostVethReader, compare_ends};

/// A list of links that changes while it is read is read again, this often at most.
const DUMPS: usize = 5;

/// The links of the node's netns.
#[derive(Debug)]
pub struct Links {
    socket: RouteSocket,
    /// Pids of `/proc` are those of our own pid namespace.
    same_pids: bool,
    /// Only ends of pairs whose other end is in another netns.
    pairs: Vec<Pair>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pair {
    index: u32,
    name: InterfaceName,
    peer: u32,
    peer_netns: i32,
}

impl Links {
    /// Opens a socket to the kernel; `None` when this process is not in the node's netns.
    pub fn open(root: &HostRoot) -> Option<Self> {
        if own_netns(root)? != init_netns(root).ok()? {
            return None;
        }
        let own_pid = syscall::read_link(root.proc.join("self")).ok();
        let same_pids = own_pid.is_some_and(|pid| pid.as_os_str() == &*std::process::id().to_string());
        let socket = RouteSocket::open()
            .inspect_err(|errno| tracing::warn!(%errno, "host links cannot be asked for"))
            .ok()?;
        Some(Self { socket, same_pids, pairs: Vec::new() })
    }

    /// Asks for all links anew. Also makes the kernel number the netns of the other ends, without
    /// which a pod made since has no host end: call it before [`Self::host_end`] is asked for new pods.
    ///
    /// # Errors
    /// If the kernel does not answer, or the links never stood still.
    pub fn refresh(&mut self) -> Result<(), HostError> {
        let mut last = Errno::INTR;
        for _ in 0..DUMPS {
            match self.socket.links() {
                Ok(links) => {
                    self.pairs.clear();
                    self.pairs.extend(links.iter().filter_map(pair));
                    return Ok(());
                }
                Err(errno) => last = errno,
            }
            if last != Errno::INTR {
                break;
            }
        }
        Err(HostError::Io { path: "rtnetlink".into(), source: last.into() })
    }

    /// The host's end of the veth whose pod's end has this index in the process's netns. Without an
    /// index, the only one that leads there. On any doubt `None`.
    pub fn host_end(&mut self, process: &PinnedProcess, pod_ifindex: Option<u32>) -> Option<HostInterface> {
        let netns = self.netns_id(process)?;
        let Pair { index, name, peer, peer_netns } = only_match(&self.pairs, netns, pod_ifindex)?.clone();
        let pod_interface = interface_named_by(process, peer);
        Some(HostInterface { index, name, pod_interface, peer: (peer, peer_netns) })
    }

    /// Whether this end was among the links when they were last asked for, and led to where it did.
    pub fn stands(&self, end: &HostInterface) -> bool {
        let is_it = |pair: &Pair| pair.index == end.index && pair.name == end.name;
        self.pairs.iter().any(|pair| is_it(pair) && (pair.peer, pair.peer_netns) == end.peer)
    }

    /// Asked by pid where the numbers are ours, else by the netns's file, which is closed at once.
    /// A pid may have been given to another meanwhile: the pin tells afterwards.
    fn netns_id(&mut self, process: &PinnedProcess) -> Option<i32> {
        let id = if self.same_pids {
            self.socket.netns_id(&Netns::Process(process.pid)).ok()?
        } else {
            let file = syscall::open_at(process.dir.as_fd(), c"ns/net", syscall::READ).ok()?;
            self.socket.netns_id(&Netns::File(&file)).ok()?
        };
        id.filter(|_| is_in_its_netns(process) == Ok(true))
    }
}

/// Both kinds of pairs the kernel has; a vlan or macvlan has an other end too, but counts otherwise.
fn pair(link: &LinkMessage) -> Option<Pair> {
    let paired = matches!(&*link.kind, b"veth" | b"netkit");
    let (peer, peer_netns) = (link.peer?, link.peer_netns?);
    let name = InterfaceName::new(&link.name)?;
    paired.then_some(Pair { index: link.index, name, peer, peer_netns })
}

fn only_match(pairs: &[Pair], netns: i32, pod_ifindex: Option<u32>) -> Option<&Pair> {
    let leads_there =
        |pair: &&Pair| pair.peer_netns == netns && pod_ifindex.is_none_or(|index| pair.peer == index);
    let mut matches = pairs.iter().filter(leads_there);
    let first = matches.next()?;
    matches.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, kind: &str, peer: Option<u32>, peer_netns: Option<i32>) -> LinkMessage {
        LinkMessage {
            index,
            name: format!("if{index}").into_bytes(),
            kind: kind.as_bytes().to_vec(),
            peer,
            peer_netns,
        }
    }

    #[test]
    fn only_pairs_that_leave_the_netns_are_ends() {
        assert!(pair(&link(3, "veth", Some(2), Some(5))).is_some());
        assert!(pair(&link(3, "netkit", Some(2), Some(5))).is_some());
        assert_eq!(pair(&link(3, "veth", Some(4), None)), None);
        assert_eq!(pair(&link(3, "macvlan", Some(2), Some(5))), None);
        assert_eq!(pair(&link(3, "veth", None, Some(5))), None);
    }

    #[test]
    fn a_thousand_pods_with_the_same_index_are_told_apart_by_their_netns() {
        let pairs: Vec<_> =
            (0..1000).filter_map(|i| pair(&link(10 + i, "veth", Some(2), i32::try_from(i).ok()))).collect();
        for netns in 0..1000 {
            let found = only_match(&pairs, netns, Some(2)).unwrap();
            assert_eq!(i64::from(found.index), 10 + i64::from(netns));
        }
        assert_eq!(only_match(&pairs, 1000, Some(2)), None);
        assert_eq!(only_match(&pairs, 0, Some(3)), None);
    }

    #[test]
    fn two_interfaces_in_one_pod_are_told_apart_by_their_index_or_not_at_all() {
        let links = [link(10, "veth", Some(2), Some(7)), link(11, "veth", Some(3), Some(7))];
        let pairs: Vec<_> = links.iter().filter_map(pair).collect();
        assert_eq!(only_match(&pairs, 7, Some(3)).unwrap().index, 11);
        assert_eq!(only_match(&pairs, 7, None), None);
        assert_eq!(only_match(&pairs[..1], 7, None).unwrap().index, 10);
    }

    #[test]
    fn without_a_process_1_there_are_no_host_links() {
        let nowhere = std::path::PathBuf::from("/nonexistent");
        let root = HostRoot { proc: nowhere.clone(), cgroup: nowhere.clone(), sys: nowhere };
        assert!(Links::open(&root).is_none());
    }
}
