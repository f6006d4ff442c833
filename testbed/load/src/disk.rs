//! Reads and writes exact amounts, through the page cache or past it.

use std::fs::File;
use std::io::{Read, Write};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::fs::{Mode, OFlags};

use crate::arguments::Arguments;

const CHUNK: usize = 1 << 20;
/// What O_DIRECT asks of addresses, offsets and lengths: no disk has larger blocks.
const ALIGNMENT: usize = 4096;

/// Through the page cache, then fsync: afterwards all of it is clean cache.
pub(crate) fn write_file(mut given: Arguments) -> Result<()> {
    let path = given.word("PATH")?;
    let size = given.word_size("SIZE")?;
    given.end()?;
    fill(&path, size)?.sync_all().with_context(|| path.clone())?;
    println!("{{\"writtenBytes\":{size}}}");
    Ok(())
}

/// Makes a file of that many bytes.
pub(crate) fn fill(path: &str, size: u64) -> Result<File> {
    let mut file = File::create(path).with_context(|| path.to_owned())?;
    let chunk = vec![0x5a; CHUNK];
    let mut left = size;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        file.write_all(&chunk[..length]).with_context(|| path.to_owned())?;
        left -= length as u64;
    }
    Ok(file)
}

pub(crate) fn read_file(mut given: Arguments) -> Result<()> {
    let times: u64 = given.number("--times")?.unwrap_or(1);
    let path = given.word("PATH")?;
    given.end()?;
    let mut chunk = vec![0; CHUNK];
    let mut total = 0u64;
    for _ in 0..times {
        let mut file = File::open(&path).with_context(|| path.clone())?;
        loop {
            let read = file.read(&mut chunk).with_context(|| path.clone())?;
            if read == 0 {
                break;
            }
            total += read as u64;
        }
    }
    println!("{{\"readBytes\":{total}}}");
    Ok(())
}

/// Past the page cache; with `--every` over and over the same blocks.
pub(crate) fn write_direct(mut given: Arguments) -> Result<()> {
    let every: Option<u64> = given.number("--every")?;
    let path = given.word("PATH")?;
    let size = given.word_size("SIZE")?;
    given.end()?;
    let length = usize::try_from(size).context("SIZE")?;
    ensure!(length.is_multiple_of(ALIGNMENT), "SIZE: {size} is not a multiple of {ALIGNMENT}");
    loop {
        write_direct_once(&path, length).with_context(|| path.clone())?;
        println!("{{\"writtenBytes\":{size}}}");
        let Some(every) = every else { return Ok(()) };
        std::thread::sleep(Duration::from_millis(every));
    }
}

fn write_direct_once(path: &str, length: usize) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::DIRECT | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::from_raw_mode(0o644))?;
    let unaligned = vec![0x5a_u8; CHUNK + ALIGNMENT];
    let skip = unaligned.as_ptr().align_offset(ALIGNMENT);
    let chunk = &unaligned[skip..skip + CHUNK];
    let mut at = 0;
    while at < length {
        let wanted = CHUNK.min(length - at);
        let written = rustix::io::pwrite(&file, &chunk[..wanted], at as u64)?;
        ensure!(written > 0 && written.is_multiple_of(ALIGNMENT), "wrote {written} of {wanted} bytes");
        at += written;
    }
    rustix::fs::fsync(&file)?;
    Ok(())
}
