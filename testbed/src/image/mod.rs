//! Images made on the spot. One layer with the load program and busybox serves both images:
//! `localhost/pause:1`, which every sandbox runs, and `localhost/load:1`, which every container runs.
//!
//! The archive is what `docker save` writes, the smallest format `ctr images import` takes.

/// Just enough of ustar to write an archive.
mod tar;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tokio::process::Command;

use tar::Entry;

/// What sandboxes run.
pub(crate) const PAUSE: &str = "localhost/pause:1";
/// What containers run.
pub(crate) const LOAD: &str = "localhost/load:1";

/// The busybox commands that have a name of their own in `/bin`.
const COMMANDS: [&str; 16] = [
    "sh", "cat", "echo", "ls", "sleep", "true", "false", "ps", "id", "env", "mkdir", "rm", "head", "wc",
    "ip", "kill",
];

/// Writes the archive of both images into `folder` and returns its path.
pub(crate) async fn write_archive(folder: &Path, load: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let layer = folder.join("layer.tar");
    write_layer(&layer, load).with_context(|| layer.display().to_string())?;
    let digest = sha256(&layer).await?;
    let archive = folder.join("images.tar");
    let write = || -> Result<()> {
        let mut out = BufWriter::new(File::create(&archive)?);
        let mut manifest = Vec::new();
        for (tag, file, entrypoint) in
            [(PAUSE, "pause.json", vec!["/load", "pause"]), (LOAD, "load.json", vec!["/load"])]
        {
            tar::append(&mut out, file, &Entry::file(&image_config(&entrypoint, &digest)))?;
            manifest.push(json!({ "Config": file, "RepoTags": [tag], "Layers": ["layer.tar"] }));
        }
        tar::append(&mut out, "layer.tar", &Entry::file(&fs::read(&layer)?))?;
        tar::append(&mut out, "manifest.json", &Entry::file(&serde_json::to_vec(&manifest)?))?;
        tar::finish(&mut out)?;
        out.flush()?;
        Ok(())
    };
    write().with_context(|| archive.display().to_string())?;
    Ok(archive)
}

/// image-spec `config.md`: `architecture` in Go's spelling, `diff_ids` of the uncompressed layers.
fn image_config(entrypoint: &[&str], layer_digest: &str) -> Vec<u8> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": { "Entrypoint": entrypoint, "Env": ["PATH=/bin"], "WorkingDir": "/" },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer_digest}")] },
        "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "podvitals-testbed" }],
    });
    config.to_string().into_bytes()
}

fn write_layer(layer: &Path, load: &Path) -> Result<()> {
    let mut out = BufWriter::new(File::create(layer)?);
    for folder in ["bin/", "tmp/", "etc/", "data/"] {
        tar::append(&mut out, folder, &Entry::Folder)?;
    }
    tar::append(&mut out, "load", &Entry::program(&read_static_program(load, "the load program")?))?;
    let busybox = read_static_program(Path::new("/bin/busybox"), "busybox-static")?;
    tar::append(&mut out, "bin/busybox", &Entry::program(&busybox))?;
    for command in COMMANDS {
        tar::append(&mut out, &format!("bin/{command}"), &Entry::Link("busybox"))?;
    }
    tar::append(&mut out, "etc/passwd", &Entry::file(b"root:x:0:0:root:/:/bin/sh\n"))?;
    tar::finish(&mut out)?;
    out.flush()?;
    Ok(())
}

/// There is no loader in the image: a program that asks for one would fail in a way nobody understands.
fn read_static_program(path: &Path, package: &str) -> Result<Vec<u8>> {
    let bytes = fs::read(path).with_context(|| format!("{} (from {package})", path.display()))?;
    match asks_for_loader(&bytes) {
        Some(false) => Ok(bytes),
        Some(true) => bail!("{} is linked dynamically; {package} is needed", path.display()),
        None => bail!("{} is not a 64-bit ELF program", path.display()),
    }
}

/// elf(5): a dynamically linked program has a program header of type `PT_INTERP`.
fn asks_for_loader(elf: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let mut at = usize::try_from(u64::from_le_bytes(elf.get(32..40)?.try_into().ok()?)).ok()?;
    let size = u16::from_le_bytes(elf.get(54..56)?.try_into().ok()?);
    let count = u16::from_le_bytes(elf.get(56..58)?.try_into().ok()?);
    for _ in 0..count {
        let kind = u32::from_le_bytes(elf.get(at..at.checked_add(4)?)?.try_into().ok()?);
        if kind == PT_INTERP {
            return Some(true);
        }
        at = at.checked_add(usize::from(size))?;
    }
    Some(false)
}

async fn sha256(path: &Path) -> Result<String> {
    let output = Command::new("sha256sum").arg(path).output().await.context("sha256sum (coreutils)")?;
    let text = String::from_utf8(output.stdout).context("sha256sum")?;
    let digest = text.split(' ').next().unwrap_or_default();
    ensure!(
        digest.len() == 64,
        "sha256sum of {}: {}",
        path.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(digest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_is_told_from_a_static_one_and_from_no_program() {
        let own = fs::read("/proc/self/exe").unwrap();
        assert_eq!(asks_for_loader(&own), Some(true));
        assert_eq!(asks_for_loader(b"#!/bin/sh\n"), None);
        for end in 0..4096 {
            assert_ne!(asks_for_loader(&own[..end.min(64)]), Some(false));
        }
    }
}
