//! Goes from netns to netns as it is told, as the same process: what a program with the right to `setns`
//! may do in any pod.
//!
//! ```text
//! load wander /folder      and somebody writes a pid to /folder/<own pid>: it goes into the netns of
//!                          that process, then removes the file
//! ```

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::arguments::Arguments;
use crate::enter;

pub(crate) fn wander(mut given: Arguments) -> Result<()> {
    let folder = given.word("FOLDER")?;
    given.end()?;
    let word = Path::new(&folder).join(std::process::id().to_string());
    loop {
        match fs::read_to_string(&word) {
            // It is being written.
            Ok(pid) if pid.is_empty() => {}
            Ok(pid) => {
                enter::join_netns(pid.trim())?;
                fs::remove_file(&word).with_context(|| word.display().to_string())?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| word.display().to_string()),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
