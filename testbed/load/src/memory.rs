//! Touches an exact amount of memory and keeps it.

use std::hint::black_box;

use anyhow::{Context, Result};

use crate::arguments::Arguments;
use crate::disk;

/// Anonymous pages, and a file where the caller says there is a tmpfs; prints `ready` and holds both.
pub(crate) fn hold(mut given: Arguments) -> Result<()> {
    let anon = given.size("--anon")?.unwrap_or(0);
    let tmpfs = given.path_and_size("--tmpfs")?;
    let seconds = given.number("--seconds")?;
    given.end()?;
    // Not zeros: those would be one shared page.
    let pages = vec![0x5a_u8; usize::try_from(anon).context("--anon")?];
    black_box(&pages);
    let mut tmpfs_bytes = 0;
    if let Some((path, size)) = tmpfs {
        disk::fill(&path, size)?;
        tmpfs_bytes = size;
    }
    println!("{{\"ready\":true,\"anonBytes\":{anon},\"tmpfsBytes\":{tmpfs_bytes}}}");
    crate::rest(seconds);
    black_box(&pages);
    Ok(())
}
