//! What a pod's link asks of the kernel, over rtnetlink: a made-up pod is to cost three messages, not a
//! dozen processes that each wait for the same lock.
//!
//! rtnetlink(7), netlink(7). A message is a 16-byte head (length, kind, flags, sequence, port), a fixed
//! body, and attributes of a 4-byte head (length, kind) each; all in the machine's own byte order and
//! padded to four bytes. A pair of links, the far one in another netns, is one message:
//!
//! ```text
//! RTM_NEWLINK ifinfomsg IFLA_IFNAME IFLA_MASTER
//!   IFLA_LINKINFO{ IFLA_INFO_KIND "veth"
//!     IFLA_INFO_DATA{ VETH_INFO_PEER{ ifinfomsg IFLA_IFNAME IFLA_NET_NS_PID } } }
//! ```

use std::fs::File;
use std::io::Error;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail, ensure};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::thread::LinkNameSpaceType;

const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;

/// NLM_F_REQUEST and NLM_F_ACK.
const ASK: u16 = 0x1 | 0x4;
/// NLM_F_CREATE and NLM_F_EXCL.
const NEW: u16 = 0x400 | 0x200;

const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_PID: u16 = 19;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

const IFF_UP: u32 = 1;
const AF_INET: u8 = 2;
const HEAD: usize = 16;

/// A socket to the routing part of the kernel, in the netns it was opened in.
pub(super) struct RouteSocket(OwnedFd);

impl RouteSocket {
    /// In the netns of this thread.
    pub(super) fn open() -> Result<Self> {
        let socket =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
                .context("netlink socket")?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0)).context("netlink socket")?;
        Ok(Self(socket))
    }

    /// In the netns of a process. Only a thread of its own goes there; the socket stays there.
    pub(super) fn open_in_netns_of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/ns/net");
        let netns = File::open(&path).with_context(|| path.clone())?;
        let there = || {
            rustix::thread::move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))
                .with_context(|| format!("cannot join {path}"))?;
            Self::open()
        };
        let visit = std::thread::scope(|scope| scope.spawn(there).join());
        visit.unwrap_or_else(|_| bail!("the thread that went to {path} panicked"))
    }

    pub(super) fn index(&self, interface: &str) -> Result<u32> {
        rustix::net::netdevice::name_to_index(&self.0, interface).with_context(|| interface.to_owned())
    }

    /// A pair: `near` here, on that bridge if one is named, and `far` in the netns of the process. Both down.
    pub(super) fn add_pair(&self, near: &str, bridge: Option<u32>, far: &str, pid: u32) -> Result<()> {
        let mut peer = link(0, 0);
        attribute(&mut peer, IFLA_IFNAME, &text(far))?;
        attribute(&mut peer, IFLA_NET_NS_PID, &pid.to_ne_bytes())?;
        let (mut data, mut info, mut body) = (Vec::new(), Vec::new(), link(0, 0));
        attribute(&mut data, VETH_INFO_PEER, &peer)?;
        attribute(&mut info, IFLA_INFO_KIND, &text("veth"))?;
        attribute(&mut info, IFLA_INFO_DATA, &data)?;
        attribute(&mut body, IFLA_IFNAME, &text(near))?;
        if let Some(bridge) = bridge {
            attribute(&mut body, IFLA_MASTER, &bridge.to_ne_bytes())?;
        }
        attribute(&mut body, IFLA_LINKINFO, &info)?;
        self.ask(RTM_NEWLINK, NEW, &body).with_context(|| format!("cannot make the pair {near}, {far}"))
    }

    pub(super) fn set_up(&self, interface: &str) -> Result<()> {
        let index = self.index(interface)?;
        self.ask(RTM_NEWLINK, 0, &link(index, IFF_UP)).with_context(|| format!("cannot set {interface} up"))
    }

    /// `address` is written with the length of its prefix, `10.85.0.1/30`.
    pub(super) fn add_address(&self, interface: &str, address: &str) -> Result<()> {
        let malformed = || format!("not an address with a prefix: {address}");
        let (ip, prefix) = address.split_once('/').with_context(malformed)?;
        let ip: Ipv4Addr = ip.parse().with_context(malformed)?;
        let prefix: u8 = prefix.parse().with_context(malformed)?;
        // struct ifaddrmsg: family, prefix length, flags, scope, index.
        let mut body = vec![AF_INET, prefix, 0, 0];
        body.extend_from_slice(&self.index(interface)?.to_ne_bytes());
        attribute(&mut body, IFA_LOCAL, &ip.octets())?;
        attribute(&mut body, IFA_ADDRESS, &ip.octets())?;
        self.ask(RTM_NEWADDR, NEW, &body).with_context(|| format!("cannot give {interface} {address}"))
    }

    /// Deletes a link, and the other end of it. Gone already is what we want.
    pub(super) fn delete(&self, interface: &str) -> Result<()> {
        let mut body = link(0, 0);
        attribute(&mut body, IFLA_IFNAME, &text(interface))?;
        match self.ask(RTM_DELLINK, 0, &body) {
            Err(error) if is_no_device(&error) => Ok(()),
            result => result.with_context(|| format!("cannot delete {interface}")),
        }
    }

    /// Sends one request and waits for the kernel's word on it.
    fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> Result<()> {
        let mut request = Vec::with_capacity(HEAD + body.len());
        request.extend_from_slice(&u32::try_from(HEAD + body.len())?.to_ne_bytes());
        request.extend_from_slice(&kind.to_ne_bytes());
        request.extend_from_slice(&(ASK | flags).to_ne_bytes());
        // Sequence and port.
        request.extend_from_slice(&[0; 8]);
        request.extend_from_slice(body);
        rustix::net::send(&self.0, &request, SendFlags::empty())?;
        let mut answer = [0_u8; 4096];
        let (length, _) = rustix::net::recv(&self.0, &mut answer, RecvFlags::empty())?;
        refusal(answer.get(..length).unwrap_or_default())
    }
}

/// `struct nlmsgerr` begins with 0, or with an error number below it.
fn refusal(answer: &[u8]) -> Result<()> {
    let kind = answer.get(4..).and_then(<[u8]>::first_chunk).map(|kind| u16::from_ne_bytes(*kind));
    let code = answer.get(HEAD..).and_then(<[u8]>::first_chunk).map(|code| i32::from_ne_bytes(*code));
    ensure!(kind == Some(NLMSG_ERROR), "not an answer of the kernel's: {answer:?}");
    match code.context("an answer that was cut short")? {
        0 => Ok(()),
        code => Err(Error::from_raw_os_error(code.saturating_neg()).into()),
    }
}

fn is_no_device(error: &anyhow::Error) -> bool {
    let errno = error.downcast_ref().and_then(Error::raw_os_error).map(Errno::from_raw_os_error);
    errno == Some(Errno::NODEV)
}

/// `struct ifinfomsg`: family, type, index, flags, and which flags are to change.
fn link(index: u32, flags: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    for word in [index, flags, flags] {
        body.extend_from_slice(&word.to_ne_bytes());
    }
    body
}

fn text(word: &str) -> Vec<u8> {
    [word.as_bytes(), b"\0"].concat()
}

/// Appends one, padded.
fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) -> Result<()> {
    body.extend_from_slice(&u16::try_from(4 + value.len())?.to_ne_bytes());
    body.extend_from_slice(&kind.to_ne_bytes());
    body.extend_from_slice(value);
    body.resize(body.len().next_multiple_of(4), 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_padded_but_its_length_is_not() {
        let mut body = Vec::new();
        attribute(&mut body, IFLA_IFNAME, &text("eth0")).unwrap();
        assert_eq!(body[..2], 9_u16.to_ne_bytes());
        assert_eq!(body[4..], *b"eth0\0\0\0\0");
    }

    #[test]
    fn the_kernel_s_refusal_is_an_error_with_its_number() {
        let answer = |code: i32| {
            let mut answer = vec![0; HEAD];
            answer[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
            answer.extend_from_slice(&code.to_ne_bytes());
            answer
        };
        assert!(refusal(&answer(0)).is_ok());
        assert!(is_no_device(&refusal(&answer(-19)).unwrap_err()));
        assert!(!is_no_device(&refusal(&answer(-17)).unwrap_err()));
        assert!(refusal(&answer(0)[..HEAD]).is_err() && refusal(&[]).is_err());
    }

    #[test]
    fn deleting_what_is_not_there_is_no_error() {
        // Without the right to delete, the kernel says so first.
        if rustix::process::geteuid().is_root() {
            RouteSocket::open().unwrap().delete("pv-is-not-there").unwrap();
        }
    }
}
