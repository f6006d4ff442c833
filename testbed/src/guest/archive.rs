//! The archive a kernel unpacks as its first root: cpio, "newc" (`Documentation/driver-api/early-userspace/
//! buffer-format.rst`). Each entry is a header of 110 bytes of hex, the name, the data, each part padded
//! to four bytes:
//!
//! ```text
//! 070701 ino mode uid gid nlink mtime size major minor rmajor rminor name-size check
//! ```

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// An archive that grows.
#[derive(Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    folders: BTreeSet<String>,
}

impl Archive {
    /// A folder and those above it, each once.
    pub(super) fn folder(&mut self, path: &str) -> Result<()> {
        let mut whole = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            whole = if whole.is_empty() { part.to_owned() } else { format!("{whole}/{part}") };
            if self.folders.insert(whole.clone()) {
                self.entry(&whole, FOLDER, (0, 0), b"")?;
            }
        }
        Ok(())
    }

    /// A file that everybody may read and run.
    pub(super) fn file(&mut self, path: &str, data: &[u8]) -> Result<()> {
        self.parent(path)?;
        self.entry(path, PROGRAM, (0, 0), data)
    }

    /// A symbolic link.
    pub(super) fn link(&mut self, path: &str, target: &str) -> Result<()> {
        self.parent(path)?;
        self.entry(path, LINK, (0, 0), target.as_bytes())
    }

    /// A character device.
    pub(super) fn device(&mut self, path: &str, major: u32, minor: u32) -> Result<()> {
        self.parent(path)?;
        self.entry(path, CHARACTER_DEVICE, (major, minor), b"")
    }

    /// The archive with its end mark.
    pub(super) fn into_bytes(mut self) -> Result<Vec<u8>> {
        self.entry("TRAILER!!!", 0, (0, 0), b"")?;
        Ok(self.bytes)
    }

    fn parent(&mut self, path: &str) -> Result<()> {
        let parent = Path::new(path).parent().and_then(Path::to_str).unwrap_or_default().to_owned();
        self.folder(&parent)
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), data: &[u8]) -> Result<()> {
        let name = path.trim_start_matches('/');
        let size = u32::try_from(data.len()).with_context(|| format!("{path}: too long for cpio"))?;
        let name_size = u32::try_from(name.len() + 1)?;
        self.entries += 1;
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_headers_names_and_data_padded_to_four_bytes() {
        let mut archive = Archive::default();
        archive.file("/bin/a", b"12345").unwrap();
        archive.link("/bin/b", "a").unwrap();
        let bytes = archive.into_bytes().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.len().is_multiple_of(4));
        assert_eq!(text.matches("070701").count(), 4, "bin, a, b, the end mark");
        assert!(text.starts_with("07070100000001000041ED"));
        let file = text.find("bin/a\0").unwrap();
        assert_eq!(&text[file - 110..file - 88], "07070100000002000081ED");
        assert_eq!(&text[file..file + 14], "bin/a\x0012345\0\0\0");
        assert!(text.ends_with("TRAILER!!!\0\0\0\0"));
    }
}
