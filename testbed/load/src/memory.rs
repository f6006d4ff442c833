//! Touches an exact amount of memory and keeps it.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::arguments::Arguments;
use crate::disk;

/// How often somebody is looked for who may come any time.
const POLL: Duration = Duration::from_millis(20);

/// Anonymous pages, and a file where the caller says there is a tmpfs; prints `ready` and holds both.
pub(crate) fn hold(mut given: Arguments) -> Result<()> {
    let anon = given.size("--anon")?.unwrap_or(0);
    let tmpfs = given.path_and_size("--tmpfs")?;
    let seconds = given.number("--seconds")?;
    let when = given.text("--when")?;
    given.end()?;
    while when.as_ref().is_some_and(|path| !Path::new(path).exists()) {
        std::thread::sleep(POLL);
    }
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
