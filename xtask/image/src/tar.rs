//! Just enough of ustar (POSIX.1-1988) to write an archive: folders, files and links with short
//! names, owned by root, at a time that the caller says, so that the same content has the same digest.

use std::io::{self, Write};

const BLOCK: usize = 512;

/// One thing in the archive.
pub(super) enum Entry<'a> {
    /// A folder of this mode; its name ends in `/`.
    Folder(u32),
    /// A symbolic link to this.
    Link(&'a str),
    /// A file of these bytes and this mode.
    File(&'a [u8], u32),
}

/// Writes one entry.
pub(super) fn append(out: &mut impl Write, name: &str, entry: &Entry<'_>, seconds: u64) -> io::Result<()> {
    let (kind, mode, link, bytes): (u8, u32, &str, &[u8]) = match entry {
        Entry::Folder(mode) => (b'5', *mode, "", b""),
        Entry::Link(target) => (b'2', 0o777, target, b""),
        Entry::File(bytes, mode) => (b'0', *mode, "", bytes),
    };
    out.write_all(&header(name, kind, mode, link, bytes.len(), seconds)?)?;
    out.write_all(bytes)?;
    out.write_all(&[0; BLOCK][..bytes.len().next_multiple_of(BLOCK) - bytes.len()])
}

/// Writes the end of the archive: two empty blocks.
pub(super) fn finish(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])
}

fn header(name: &str, kind: u8, mode: u32, link: &str, size: usize, seconds: u64) -> io::Result<[u8; BLOCK]> {
    let mut header = [0; BLOCK];
    put(&mut header[..100], name)?;
    put(&mut header[100..108], &format!("{mode:07o}"))?;
    put(&mut header[108..116], "0000000")?;
    put(&mut header[116..124], "0000000")?;
    put(&mut header[124..136], &format!("{size:011o}"))?;
    put(&mut header[136..148], &format!("{seconds:011o}"))?;
    // The checksum counts itself as spaces.
    header[148..156].fill(b' ');
    header[156] = kind;
    put(&mut header[157..257], link)?;
    put(&mut header[257..263], "ustar")?;
    header[263..265].copy_from_slice(b"00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut header[148..155], &format!("{sum:06o}"))?;
    Ok(header)
}

/// Leaves at least one NUL at the end.
fn put(field: &mut [u8], text: &str) -> io::Result<()> {
    if text.len() >= field.len() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("'{text}' is too long for a tar header"),
        ));
    }
    field[..text.len()].copy_from_slice(text.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gnu_tar_reads_what_was_written() {
        let mut archive = Vec::new();
        append(&mut archive, "bin/", &Entry::Folder(0o755), 0).unwrap();
        append(&mut archive, "bin/hello", &Entry::File(b"x", 0o755), 86_400).unwrap();
        append(&mut archive, "bin/hi", &Entry::Link("hello"), 0).unwrap();
        finish(&mut archive).unwrap();
        // Three headers, one block of content, two of end.
        assert_eq!(archive.len(), 6 * BLOCK);
        let mut tar = std::process::Command::new("tar")
            .args(["--list", "--verbose", "--numeric-owner", "--utc"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        tar.stdin.take().unwrap().write_all(&archive).unwrap();
        let output = tar.wait_with_output().unwrap();
        let listed = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success());
        assert!(listed.contains("-rwxr-xr-x 0/0"), "{listed}");
        assert!(listed.contains("1970-01-02 00:00 bin/hello"), "{listed}");
        assert!(listed.contains("bin/hi -> hello"), "{listed}");
    }

    #[test]
    fn a_name_that_does_not_fit_is_refused() {
        assert!(append(&mut Vec::new(), &"x".repeat(100), &Entry::File(b"", 0o644), 0).is_err());
    }
}
