//! Moves an exact number of bytes each way over one TCP connection.
//!
//! The client opens with two big-endian `u64`: how many bytes it will send, how many it wants back.
//! Those 16 bytes are not part of what is reported.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::arguments::Arguments;

const CHUNK: usize = 256 * 1024;

/// Serves connections for ever, each on a thread of its own.
pub(crate) fn serve(mut given: Arguments) -> Result<()> {
    let port: u16 = given.number("--port")?.context("--port missing")?;
    given.end()?;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
        .with_context(|| format!("cannot listen on port {port}"))?;
    println!("{{\"listening\":{port}}}");
    for stream in listener.incoming() {
        let stream = stream.context("accept")?;
        std::thread::spawn(move || {
            if let Err(error) = answer(&stream) {
                eprintln!("load: connection: {error:#}");
            }
        });
    }
    Ok(())
}

fn answer(mut stream: &TcpStream) -> Result<()> {
    let mut word = [0; 8];
    stream.read_exact(&mut word).context("header")?;
    let incoming = u64::from_be_bytes(word);
    stream.read_exact(&mut word).context("header")?;
    let outgoing = u64::from_be_bytes(word);
    receive_bytes(stream, incoming)?;
    send_bytes(stream, outgoing)?;
    println!("{{\"sentBytes\":{outgoing},\"receivedBytes\":{incoming}}}");
    Ok(())
}

/// Sends, then receives; with `--every` again and again.
pub(crate) fn send(mut given: Arguments) -> Result<()> {
    let outgoing = given.size("--bytes")?.unwrap_or(0);
    let incoming = given.size("--receive")?.unwrap_or(0);
    let every: Option<u64> = given.number("--every")?;
    let address = given.word("ADDRESS")?;
    let port: u16 = given.word_number("PORT")?;
    given.end()?;
    loop {
        let result = exchange(&address, port, outgoing, incoming);
        let Some(every) = every else { return result };
        // One of a pair may start before the other: the demonstration goes on.
        if let Err(error) = result {
            eprintln!("load: {error:#}");
        }
        std::thread::sleep(Duration::from_millis(every));
    }
}

fn exchange(address: &str, port: u16, outgoing: u64, incoming: u64) -> Result<()> {
    let mut stream =
        TcpStream::connect((address, port)).with_context(|| format!("cannot connect to {address}:{port}"))?;
    stream.write_all(&outgoing.to_be_bytes()).context("header")?;
    stream.write_all(&incoming.to_be_bytes()).context("header")?;
    send_bytes(&stream, outgoing)?;
    receive_bytes(&stream, incoming)?;
    // The other end closes first or now; its last segment must be counted before we report.
    stream.shutdown(std::net::Shutdown::Write).context("shutdown")?;
    let extra = stream.read(&mut [0; 1]).context("end of stream")?;
    anyhow::ensure!(extra == 0, "the other end sent more than {incoming} bytes");
    println!("{{\"sentBytes\":{outgoing},\"receivedBytes\":{incoming}}}");
    Ok(())
}

fn send_bytes(mut stream: &TcpStream, bytes: u64) -> Result<()> {
    let chunk = vec![0x5a; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let size = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        stream.write_all(&chunk[..size]).with_context(|| format!("send: {left} of {bytes} bytes left"))?;
        left -= size as u64;
    }
    Ok(())
}

fn receive_bytes(mut stream: &TcpStream, bytes: u64) -> Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let size = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let read = stream.read(&mut chunk[..size]).context("receive")?;
        anyhow::ensure!(read > 0, "the connection ended with {left} of {bytes} bytes left");
        left -= read as u64;
    }
    Ok(())
}
