//! Sends an exact number of raw Ethernet frames of a protocol nobody speaks.
//!
//! The kernel counts a frame without a receiver as `rx_dropped` of the device it came in by
//! (`__netif_receive_skb_core`, net/core/dev.c). Sent out of the host's end of a veth, they are
//! receive drops of the pod's `eth0`, one each: the only drop that needs no full queue and no luck.

use anyhow::{Context, Result, bail};
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{AddressFamily, SendFlags, SocketType};

use crate::arguments::Arguments;

/// IEEE 802 "local experimental EtherType 1".
const EXPERIMENTAL: [u8; 2] = [0x88, 0xb5];
const FRAME_BYTES: usize = 60;

pub(crate) fn send(mut given: Arguments) -> Result<()> {
    let interface = given.word("INTERFACE")?;
    let count: u64 = given.word_number("COUNT")?;
    given.end()?;
    let socket =
        rustix::net::socket(AddressFamily::PACKET, SocketType::RAW, None).context("packet socket")?;
    let index =
        rustix::net::netdevice::name_to_index(&socket, &interface).with_context(|| interface.clone())?;
    let address = LinkAddress::of(i32::try_from(index).with_context(|| interface.clone())?);
    let mut frame = [0; FRAME_BYTES];
    // To everybody, from a locally administered address.
    frame[..6].fill(0xff);
    frame[6] = 0x02;
    frame[12..14].copy_from_slice(&EXPERIMENTAL);
    for _ in 0..count {
        let sent = rustix::net::sendto(&socket, &frame, SendFlags::empty(), &address)
            .with_context(|| format!("cannot send on {interface}"))?;
        if sent != FRAME_BYTES {
            bail!("sent {sent} of {FRAME_BYTES} bytes on {interface}");
        }
    }
    println!("{{\"sentFrames\":{count},\"size\":{FRAME_BYTES}}}");
    Ok(())
}

/// `struct sockaddr_ll`, packet(7).
#[repr(C)]
struct LinkAddress {
    family: u16,
    protocol: u16,
    index: i32,
    hardware_type: u16,
    packet_type: u8,
    address_bytes: u8,
    address: [u8; 8],
}

impl LinkAddress {
    fn of(index: i32) -> Self {
        Self {
            family: AddressFamily::PACKET.as_raw(),
            protocol: u16::from_ne_bytes(EXPERIMENTAL),
            index,
            hardware_type: 0,
            packet_type: 0,
            address_bytes: 6,
            address: [0xff; 8],
        }
    }
}

// SAFETY: the pointer is to `self`, which outlives the call; the layout is that of the kernel's
// `sockaddr_ll`, 20 bytes without padding, and every byte of it is initialised.
#[expect(unsafe_code, reason = "rustix knows no address of AF_PACKET")]
unsafe impl SocketAddrArg for LinkAddress {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        const SIZE: SocketAddrLen = 20;
        const { assert!(size_of::<LinkAddress>() == SIZE as usize) };
        f(std::ptr::from_ref(self).cast(), SIZE)
    }
}
