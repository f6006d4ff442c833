//! A pod's link: `eth0` inside, the other end in the netns of this process.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use super::netlink::RouteSocket;

/// Of 10.85.0.0/16, for the pods without a bridge.
const BLOCKS: u32 = 1 << 14;

/// Where a pod is plugged in.
#[derive(Clone, Debug, Default)]
pub(super) struct Socket {
    pub(super) bridge: Option<String>,
    /// Of `eth0`, with the length of its prefix.
    pub(super) address: Option<String>,
}

/// The link as it is.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) host_end: String,
    /// Of the pod.
    pub(super) address: Option<Ipv4Addr>,
    /// Of the host's end, where there is no bridge.
    pub(super) gateway: Option<Ipv4Addr>,
}

impl Link {
    /// Plugs the pod in whose process this is.
    pub(super) fn plug(pid: u32, host_end: String, socket: &Socket) -> Result<Self> {
        let block = match (&socket.bridge, &socket.address) {
            (None, None) => Some(free_block()?),
            _ => None,
        };
        let address = match block {
            Some(block) => Some(format!("{}/30", block.pod())),
            None => socket.address.clone(),
        };
        let inside = RouteSocket::open_in_netns_of(pid)?;
        inside.set_up("lo")?;
        let outside = RouteSocket::open()?;
        let bridge = socket.bridge.as_deref().map(|bridge| outside.index(bridge)).transpose()?;
        outside.add_pair(&host_end, bridge, "eth0", pid)?;
        inside.set_up("eth0")?;
        if let Some(address) = &address {
            inside.add_address("eth0", address)?;
        }
        // Last: an end that is up before the other throws away what it is sent until a worker of the
        // kernel's has noticed, and the first to send is the host.
        outside.set_up(&host_end)?;
        if let Some(block) = block {
            outside.add_address(&host_end, &format!("{}/30", block.host()))?;
        }
        let address = address.and_then(|address| address.split('/').next()?.parse().ok());
        Ok(Self { host_end, address, gateway: block.map(Block::host) })
    }

    /// Both ends go at once; left alone they would go with the netns, some milliseconds after its last
    /// process.
    pub(super) fn unplug(&self) -> Result<()> {
        if !Path::new("/sys/class/net").join(&self.host_end).exists() {
            return Ok(());
        }
        RouteSocket::open()?.delete(&self.host_end)
    }
}

/// Four addresses: the block's own, the host's, the pod's, everybody's.
#[derive(Clone, Copy, Debug)]
struct Block(u32);

impl Block {
    fn host(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base() + 1)
    }

    fn pod(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base() + 2)
    }

    fn base(self) -> u32 {
        u32::from(Ipv4Addr::new(10, 85, 0, 0)) + self.0 * 4
    }
}

/// Other processes may look for one at the same time: each begins elsewhere.
fn free_block() -> Result<Block> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let path = "/proc/net/route";
    let routes = fs::read_to_string(path).context(path)?;
    for _ in 0..BLOCKS {
        let number = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let block = Block(number % BLOCKS);
        // Destinations stand there as little-endian hex.
        if !routes.contains(&format!("\t{:08X}\t", block.base().swap_bytes())) {
            return Ok(block);
        }
    }
    anyhow::bail!("no free addresses in 10.85.0.0/16 for a made-up pod")
}
