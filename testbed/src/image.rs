//! Images made on the spot. One layer with the load program and busybox serves all images:
//! `localhost/pause:1`, which every sandbox runs, `localhost/load:1`, which every container runs, and
//! `localhost/busybox:1`, whose command is a shell.
//!
//! The archive is what `docker save` writes, the smallest format `ctr images import` takes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use podvitals_image::{Layer, docker_archive};
use serde_json::json;

/// The image sandboxes run: a process that waits to be ended.
pub const PAUSE: &str = "localhost/pause:1";
/// The image containers run: the load program, with arguments such as `spin --duty 37`.
pub const LOAD: &str = "localhost/load:1";
/// The same with `/bin/sh` as its command.
pub const BUSYBOX: &str = "localhost/busybox:1";

/// The busybox commands that have a name of their own in `/bin`.
const COMMANDS: [&str; 16] = [
    "sh", "cat", "echo", "ls", "sleep", "true", "false", "ps", "id", "env", "mkdir", "rm", "head", "wc",
    "ip", "kill",
];

/// Writes the archive of all images into `folder` and returns its path.
pub(crate) fn write_archive(folder: &Path, load: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let layer = layer(load)?;
    let config = |entrypoint: &[&str], command: &[&str]| json!({ "Entrypoint": entrypoint, "Cmd": command, "Env": ["PATH=/bin"], "WorkingDir": "/" });
    let images = [
        (PAUSE, config(&["/load", "pause"], &[])),
        (LOAD, config(&["/load"], &[])),
        (BUSYBOX, config(&[], &["/bin/sh"])),
    ];
    let archive = folder.join("images.tar");
    fs::write(&archive, docker_archive(&images, &layer)?).with_context(|| archive.display().to_string())?;
    Ok(archive)
}

fn layer(load: &Path) -> Result<Vec<u8>> {
    let mut layer = Layer::new(0);
    for folder in ["bin", "tmp", "etc", "data"] {
        layer = layer.folder(folder)?;
    }
    layer = layer.program("load", load, "the load program")?;
    layer = layer.program("bin/busybox", Path::new("/bin/busybox"), "busybox-static")?;
    for command in COMMANDS {
        layer = layer.link(&format!("bin/{command}"), "busybox")?;
    }
    layer.file("etc/passwd", b"root:x:0:0:root:/:/bin/sh\n")?.finish()
}
