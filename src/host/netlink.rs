//! rtnetlink, as little of it as two questions need: which links are there, and what number has that
//! netns.
//!
//! rtnetlink(7), netlink(7). A message is a 16-byte head (length, kind, flags, sequence, port), a
//! fixed body, and attributes of a 4-byte head (length, kind) each; all is in the machine's own byte
//! order and padded to four bytes.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

const ERROR: u16 = 2;
const DONE: u16 = 3;
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_NSID: u16 = 88;
const GET_NSID: u16 = 90;

const REQUEST: u16 = 0x1;
const DUMP: u16 = 0x300;
const DUMP_INTERRUPTED: u16 = 0x10;

const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_LINK_NETNSID: u16 = 37;
const WITHOUT_STATISTICS: u32 = 1 << 3;

const NETNSA_NSID: u16 = 1;
const NETNSA_PID: u16 = 2;
const NETNSA_FD: u16 = 3;

/// The two high bits of an attribute's kind are flags.
const KIND: u16 = 0x3fff;

const HEAD: usize = 16;
/// `struct ifinfomsg`.
const LINK_BODY: usize = 16;
/// `struct rtgenmsg`, padded.
const GENERAL_BODY: usize = 4;

/// One interface of our own netns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LinkMessage {
    pub(super) index: u32,
    pub(super) name: Vec<u8>,
    /// `veth`, `bridge`, …; empty for hardware.
    pub(super) kind: Vec<u8>,
    /// Index of the other end, in its own netns.
    pub(super) peer: Option<u32>,
    /// The number we know that netns by; absent if it is ours.
    pub(super) peer_netns: Option<i32>,
}

/// How a netns is pointed at.
pub(super) enum Netns<'a> {
    /// That of a process, by its number in our own pid namespace.
    Process(u32),
    /// An open `ns/net`.
    File(&'a OwnedFd),
}

/// A socket to the routing part of the kernel, in the netns it was opened in.
#[derive(Debug)]
pub(super) struct RouteSocket {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

/// The kernel fills at most 32 KiB a datagram.
const DATAGRAM: usize = 64 << 10;

impl RouteSocket {
    pub(super) fn open() -> Result<Self, Errno> {
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        // The kernel answers at once; nobody shall wait for an answer that was dropped.
        set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_secs(1)))?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(DATAGRAM) })
    }

    /// Every link of our netns. EINTR when links changed meanwhile: ask again.
    pub(super) fn links(&mut self) -> Result<Vec<LinkMessage>, Errno> {
        let mut request = vec![0; LINK_BODY];
        push_attribute(&mut request, IFLA_EXT_MASK, WITHOUT_STATISTICS.to_ne_bytes());
        let mut links = Vec::new();
        let mut interrupted = false;
        self.ask(GET_LINK, REQUEST | DUMP, &request, |message| {
            interrupted |= message.flags & DUMP_INTERRUPTED != 0;
            if message.kind == NEW_LINK {
                links.extend(parse_link(message.body));
            }
        })?;
        if interrupted { Err(Errno::INTR) } else { Ok(links) }
    }

    /// The number by which our netns knows another; `None` if it has given it none.
    pub(super) fn netns_id(&mut self, netns: &Netns<'_>) -> Result<Option<i32>, Errno> {
        let mut request = vec![0; GENERAL_BODY];
        match netns {
            Netns::Process(pid) => push_attribute(&mut request, NETNSA_PID, pid.to_ne_bytes()),
            Netns::File(file) => {
                push_attribute(&mut request, NETNSA_FD, file.as_fd().as_raw_fd().to_ne_bytes());
            }
        }
        let mut id = None;
        self.ask(GET_NSID, REQUEST, &request, |message| {
            if message.kind == NEW_NSID {
                id = parse_netns_id(message.body);
            }
        })?;
        Ok(id)
    }

    /// Sends one request and hands over the messages of its answer.
    fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        body: &[u8],
        mut each: impl FnMut(Message<'_>),
    ) -> Result<(), Errno> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = request(kind, flags, self.sequence, body);
        rustix::net::send(&self.socket, &request, SendFlags::empty())?;
        loop {
            self.buffer.clear();
            let room: &mut [MaybeUninit<u8>] = self.buffer.spare_capacity_mut();
            let ((datagram, _), length) = rustix::net::recv(&self.socket, room, RecvFlags::TRUNC)?;
            if length > datagram.len() {
                return Err(Errno::MSGSIZE);
            }
            for message in messages(datagram).filter(|message| message.sequence == self.sequence) {
                match message.kind {
                    DONE | ERROR => return end_of(message.body),
                    _ => each(message),
                }
                if flags & DUMP == 0 {
                    return Ok(());
                }
            }
        }
    }
}

/// The result with which the kernel ends an answer: 0, or an error number below 0.
fn end_of(body: &[u8]) -> Result<(), Errno> {
    match body.first_chunk().map(|code| i32::from_ne_bytes(*code)) {
        // The kernel knows no error beyond 4095.
        Some(code @ -4095..0) => Err(Errno::from_raw_os_error(-code)),
        Some(code) if code < 0 => Err(Errno::IO),
        _ => Ok(()),
    }
}

fn request(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEAD + body.len()).unwrap_or(u32::MAX);
    let mut request = Vec::with_capacity(HEAD + body.len());
    request.extend_from_slice(&length.to_ne_bytes());
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(&flags.to_ne_bytes());
    request.extend_from_slice(&sequence.to_ne_bytes());
    request.extend_from_slice(&0_u32.to_ne_bytes());
    request.extend_from_slice(body);
    request
}

fn push_attribute(request: &mut Vec<u8>, kind: u16, value: [u8; 4]) {
    request.extend_from_slice(&8_u16.to_ne_bytes());
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(&value);
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

/// The messages of one datagram, up to the first that does not fit.
fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(datagram, 0)?).ok()?;
        let message = Message {
            kind: u16_at(datagram, 4)?,
            flags: u16_at(datagram, 6)?,
            sequence: u32_at(datagram, 8)?,
            body: datagram.get(HEAD..length)?,
        };
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes in `bytes`, up to the first that does not fit.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & KIND;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn parse_link(body: &[u8]) -> Option<LinkMessage> {
    let index = u32_at(body, 4)?;
    let mut link = LinkMessage { index, name: Vec::new(), kind: Vec::new(), peer: None, peer_netns: None };
    for (kind, value) in attributes(body.get(LINK_BODY..)?) {
        match kind {
            IFLA_IFNAME => link.name = text_of(value),
            IFLA_LINK => link.peer = u32_at(value, 0),
            IFLA_LINK_NETNSID => link.peer_netns = i32_at(value, 0),
            IFLA_LINKINFO => {
                let info = attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND);
                link.kind = info.map(|(_, value)| text_of(value)).unwrap_or_default();
            }
            _ => {} // The kernel says some sixty other things of a link.
        }
    }
    Some(link)
}

/// −1 stands for a netns that was given no number.
fn parse_netns_id(body: &[u8]) -> Option<i32> {
    let mut attributes = attributes(body.get(GENERAL_BODY..)?);
    let (_, value) = attributes.find(|(kind, _)| *kind == NETNSA_NSID)?;
    i32_at(value, 0).filter(|id| *id >= 0)
}

/// Up to the closing NUL.
fn text_of(value: &[u8]) -> Vec<u8> {
    value.split(|&byte| byte == 0).next().unwrap_or_default().to_vec()
}

/// For fuzzers: takes any datagram apart as every answer is.
pub(super) fn read_any(datagram: &[u8]) {
    for message in messages(datagram) {
        let _ = (parse_link(message.body), parse_netns_id(message.body), end_of(message.body));
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_ne_bytes(*chunk))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_ne_bytes(*chunk))
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at..)?.first_chunk().map(|chunk| i32::from_ne_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(4 + value.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn veth() -> Vec<u8> {
        let mut body = vec![0; LINK_BODY];
        body[4..8].copy_from_slice(&17_u32.to_ne_bytes());
        body.extend(attribute(IFLA_IFNAME, b"veth1a2b\0"));
        body.extend(attribute(13, &[0]));
        body.extend(attribute(IFLA_LINK, &2_u32.to_ne_bytes()));
        body.extend(attribute(IFLA_LINKINFO | 0x8000, &attribute(IFLA_INFO_KIND, b"veth\0")));
        body.extend(attribute(IFLA_LINK_NETNSID, &5_i32.to_ne_bytes()));
        body
    }

    #[test]
    fn a_veth_names_its_other_end_and_the_netns_of_that() {
        let link = LinkMessage {
            index: 17,
            name: b"veth1a2b".to_vec(),
            kind: b"veth".to_vec(),
            peer: Some(2),
            peer_netns: Some(5),
        };
        let mut datagram = request(NEW_LINK, 0, 9, &veth());
        datagram.extend(request(DONE, 0, 9, &[0; 4]));
        let found: Vec<_> = messages(&datagram).map(|message| (message.kind, message.sequence)).collect();
        assert_eq!(found, [(NEW_LINK, 9), (DONE, 9)]);
        assert_eq!(messages(&datagram).find_map(|message| parse_link(message.body)), Some(link));
    }

    #[test]
    fn a_netns_without_a_number_has_none() {
        let with = |id: i32| {
            let mut body = vec![0; GENERAL_BODY];
            body.extend(attribute(NETNSA_NSID, &id.to_ne_bytes()));
            body
        };
        assert_eq!(parse_netns_id(&with(0)), Some(0));
        assert_eq!(parse_netns_id(&with(-1)), None);
        assert_eq!(parse_netns_id(&[]), None);
    }

    #[test]
    fn an_answer_ends_well_or_with_the_kernels_error() {
        assert_eq!(end_of(&0_i32.to_ne_bytes()), Ok(()));
        assert_eq!(end_of(&(-1_i32).to_ne_bytes()), Err(Errno::PERM));
    }

    #[test]
    fn every_cut_of_a_link_parses_or_is_refused() {
        let datagram = request(NEW_LINK, 0, 9, &veth());
        for end in 0..datagram.len() {
            assert_eq!(messages(&datagram[..end]).count(), 0);
        }
        let whole = veth();
        for end in 0..whole.len() {
            let _ = parse_link(&whole[..end]);
        }
    }

    #[test]
    fn a_length_of_nothing_ends_the_datagram() {
        assert_eq!(messages(&[0; 64]).count(), 0);
        assert_eq!(attributes(&[0; 64]).count(), 0);
    }

    #[test]
    fn our_own_links_include_lo() {
        let mut socket = RouteSocket::open().unwrap();
        let links = loop {
            match socket.links() {
                Err(Errno::INTR) => continue,
                links => break links.unwrap(),
            }
        };
        assert!(links.iter().any(|link| link.name == b"lo" && link.index == 1 && link.peer_netns.is_none()));
    }

    #[test]
    fn a_process_that_does_not_exist_has_no_netns() {
        let mut socket = RouteSocket::open().unwrap();
        assert_eq!(socket.netns_id(&Netns::Process(u32::from(u16::MAX) << 8)), Err(Errno::SRCH));
    }

    proptest! {
        #[test]
        fn any_datagram_is_refused_or_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for message in messages(&bytes) {
                let _ = (parse_link(message.body), parse_netns_id(message.body), end_of(message.body));
            }
            let _ = attributes(&bytes).count();
        }
    }
}
