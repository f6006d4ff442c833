//! Cgroups that come and go and leave something behind: what a container leaves that crashes again and
//! again.
//!
//! A removed cgroup stays in the kernel, without a name, for as long as a page is charged to it
//! (`Documentation/admin-guide/cgroup-v2.rst`, "dying descendants"). Each of these has one page of one
//! file in the page cache.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::arguments::Arguments;

const PAGE: usize = 4096;

pub(crate) fn dig(mut given: Arguments) -> Result<()> {
    let home = given.text("--home")?.context("--home missing")?;
    let below = given.word("DIR")?;
    let count: u64 = given.word_number("COUNT")?;
    let path = given.word("PATH")?;
    given.end()?;
    let file = File::create(&path).with_context(|| path.clone())?;
    let mut last = None;
    for number in 0..count {
        // As long as a container's id, and nobody else's.
        let grave = Path::new(&below).join(format!("{:032x}{number:032x}", std::process::id()));
        fs::create_dir(&grave).with_context(|| grave.display().to_string())?;
        // From one straight to the next: each move waits for every processor.
        enter(&grave)?;
        file.write_all_at(&[0x5a; PAGE], number * PAGE as u64).with_context(|| path.clone())?;
        if let Some(last) = last.replace(grave) {
            remove(&last)?;
        }
    }
    enter(Path::new(&home))?;
    last.as_deref().map_or(Ok(()), remove)?;
    println!("{{\"graves\":{count},\"bytes\":{}}}", count * PAGE as u64);
    Ok(())
}

fn enter(cgroup: &Path) -> Result<()> {
    let procs = cgroup.join("cgroup.procs");
    fs::write(&procs, "0").with_context(|| procs.display().to_string())
}

fn remove(cgroup: &Path) -> Result<()> {
    fs::remove_dir(cgroup).with_context(|| cgroup.display().to_string())
}
