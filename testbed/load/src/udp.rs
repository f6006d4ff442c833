//! Sends an exact number of datagrams.

use std::net::{Ipv4Addr, UdpSocket};

use anyhow::{Context, Result};

use crate::arguments::Arguments;

pub(crate) fn send(mut given: Arguments) -> Result<()> {
    let count: u64 = given.number("--count")?.context("--count missing")?;
    let size: usize = given.number("--size")?.unwrap_or(64);
    let address = given.word("ADDRESS")?;
    let port: u16 = given.word_number("PORT")?;
    given.end()?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("bind")?;
    let datagram = vec![0x5a; size];
    for _ in 0..count {
        // Not connected: nobody needs to be there, and an ICMP answer must not stop us.
        socket
            .send_to(&datagram, (address.as_str(), port))
            .with_context(|| format!("cannot send to {address}:{port}"))?;
    }
    println!("{{\"sentDatagrams\":{count},\"size\":{size}}}");
    Ok(())
}
