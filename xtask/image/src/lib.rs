//! Container images of one layer, made without a container tool: the same files give the same bytes.
//!
//! Follows the OCI image specification 1.1 (`image-layout.md`, `config.md`, `manifest.md`); what
//! `docker save` writes is a second, smaller form of the same.

/// Archives.
mod tar;

/// The two forms in which an image travels.
mod archive;

/// Telling a static program from one that needs a loader.
mod elf;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

pub use archive::{docker_archive, oci_archive};
pub use serde_json::{Value, json};

/// The root file system of an image, as a tar archive that is being written. Owned by root, at one
/// moment, in the order of the calls.
pub struct Layer {
    out: Vec<u8>,
    seconds: u64,
}

impl Layer {
    /// An empty one, whose files are all of `seconds` after 1970.
    pub fn new(seconds: u64) -> Self {
        Self { out: Vec::new(), seconds }
    }

    /// Adds a folder in which everybody may write and nobody remove what is another's.
    pub fn folder(self, name: &str) -> Result<Self> {
        self.entry(&format!("{name}/"), &tar::Entry::Folder(0o1777))
    }

    /// Adds a folder of root's.
    pub fn own_folder(self, name: &str) -> Result<Self> {
        self.entry(&format!("{name}/"), &tar::Entry::Folder(0o755))
    }

    /// Adds a file that everybody may read.
    pub fn file(self, name: &str, bytes: &[u8]) -> Result<Self> {
        self.entry(name, &tar::Entry::File(bytes, 0o644))
    }

    /// Adds a symbolic link.
    pub fn link(self, name: &str, target: &str) -> Result<Self> {
        self.entry(name, &tar::Entry::Link(target))
    }

    /// Adds a program of this host. `origin` is what brings it.
    ///
    /// # Errors
    /// It cannot be read, or asks for a loader: there is none in the image, and it would fail in a way
    /// nobody understands.
    pub fn program(self, name: &str, path: &Path, origin: &str) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("{} (from {origin})", path.display()))?;
        match elf::asks_for_loader(&bytes) {
            Some(false) => self.entry(name, &tar::Entry::File(&bytes, 0o755)),
            Some(true) => bail!("{} is linked dynamically; {origin} is needed", path.display()),
            None => bail!("{} is not a 64-bit ELF program", path.display()),
        }
    }

    fn entry(mut self, name: &str, entry: &tar::Entry<'_>) -> Result<Self> {
        tar::append(&mut self.out, name, entry, self.seconds).with_context(|| name.to_owned())?;
        Ok(self)
    }

    /// The archive.
    ///
    /// # Errors
    /// None in memory.
    pub fn finish(mut self) -> Result<Vec<u8>> {
        tar::finish(&mut self.out)?;
        Ok(self.out)
    }
}

/// `sha256:` and the hash, as everything in an image is named.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, bytes);
    let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
