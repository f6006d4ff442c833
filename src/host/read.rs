//! Whole kernel files into one reused buffer, and the numbers by which the watchdog names them.
//!
//! A read of `/proc` returns at most about a page, so a file is read until nothing more comes.
//! Nothing here allocates once the buffer has grown to the size of the largest file.

use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::path::Arg;

use super::syscall;

/// A pod's `net/dev`.
pub const NET_DEV: u8 = 200;
/// The host's end of a pod's veth: `/sys/class/net/<name>/statistics`.
pub const HOST_VETH: u8 = 201;
/// The node's `/proc/stat`.
pub const NODE_STAT: u8 = 202;
/// The node's `/proc/meminfo`.
pub const NODE_MEMINFO: u8 = 203;
/// The node's `/proc/diskstats`.
pub const NODE_DISKSTATS: u8 = 204;
/// The node's `/proc/1/net/dev`.
pub const NODE_NET_DEV: u8 = 205;
/// The node's `/proc/vmstat`.
pub const NODE_VMSTAT: u8 = 206;
/// The node's `/proc/pressure`.
pub const NODE_PRESSURE: u8 = 207;
/// The node's `/proc/loadavg`.
pub const NODE_LOADAVG: u8 = 208;

/// The file behind a number given to `Health::begin_read`, if it is one of this half of the room.
pub fn file_name(file: u8) -> Option<&'static str> {
    Some(match file {
        NET_DEV => "net/dev",
        HOST_VETH => "statistics of the host's veth",
        NODE_STAT => "stat",
        NODE_MEMINFO => "meminfo",
        NODE_DISKSTATS => "diskstats",
        NODE_NET_DEV => "1/net/dev",
        NODE_VMSTAT => "vmstat",
        NODE_PRESSURE => "pressure",
        NODE_LOADAVG => "loadavg",
        _ => return None,
    })
}

/// No file is read beyond this: a pod can make as many interfaces as it likes.
pub const LARGEST_FILE: usize = 1 << 20;

/// Room offered to each read: what the kernel fills at once.
pub const PAGE: usize = 4096;

/// Opens a file for reading, by path or relative to a directory that is held open.
pub fn open_at(directory: impl AsFd, path: impl Arg) -> Result<std::os::fd::OwnedFd, Errno> {
    syscall::open_at(directory, path, syscall::READ)
}

/// Opens, reads and closes a file; `buffer` then holds exactly its text.
pub fn read_at(directory: impl AsFd, path: impl Arg, buffer: &mut Vec<u8>) -> Result<(), Errno> {
    let file = open_at(directory, path)?;
    read_until(buffer, 0, |buffer, _| syscall::read(&file, buffer))
}

/// Reads a whole file that is held open, from its start.
pub fn read_again(file: impl AsFd, buffer: &mut Vec<u8>) -> Result<(), Errno> {
    read_until(buffer, 0, |buffer, at| syscall::read_at(&file, buffer, at))
}

/// Reads the small file at `path`, such as `/proc/sys/kernel/hostname`.
pub fn read_path(path: &std::path::Path, buffer: &mut Vec<u8>) -> Result<(), Errno> {
    read_at(rustix::fs::CWD, path, buffer)
}

/// Calls `read` with room for a page until it returns `enough` bytes or fewer: 0 where only the end
/// of the file is proof that there is no more. A line that has not ended is proof that there is.
pub fn read_until(
    buffer: &mut Vec<u8>,
    enough: usize,
    mut read: impl FnMut(&mut Vec<u8>, u64) -> Result<usize, Errno>,
) -> Result<(), Errno> {
    buffer.clear();
    loop {
        buffer.reserve(PAGE);
        let at = buffer.len() as u64;
        let count = read(buffer, at)?;
        if count == 0 || (count <= enough && buffer.ends_with(b"\n")) {
            return Ok(());
        }
        if buffer.len() > LARGEST_FILE {
            return Err(Errno::FBIG);
        }
    }
}

/// Start of a [`fingerprint`].
pub const FINGERPRINT: u64 = 0xcbf2_9ce4_8422_2325;

/// Adds bytes to a number that stands for all bytes so far (FNV-1a), to see that a list of names is
/// still the one it was without keeping it.
pub fn fingerprint(so_far: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(so_far, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_longer_than_one_read_is_read_whole() {
        let whole: Vec<u8> = (0..10_000_u32).flat_map(u32::to_le_bytes).collect();
        let path = std::env::temp_dir().join(format!("podvitals-read-{}", std::process::id()));
        std::fs::write(&path, &whole).unwrap();
        let mut buffer = b"left over".to_vec();
        read_path(&path, &mut buffer).unwrap();
        assert_eq!(buffer, whole);
        let file = open_at(rustix::fs::CWD, &path).unwrap();
        for _ in 0..2 {
            read_again(&file, &mut buffer).unwrap();
            assert_eq!(buffer, whole);
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_without_end_is_refused() {
        let mut buffer = Vec::new();
        assert_eq!(read_path("/dev/zero".as_ref(), &mut buffer), Err(Errno::FBIG));
    }

    #[test]
    fn every_file_number_has_a_name_and_no_other() {
        assert_eq!(file_name(NET_DEV), Some("net/dev"));
        assert_eq!((NET_DEV..=NODE_LOADAVG).filter_map(file_name).count(), 9);
        assert_eq!(file_name(NODE_LOADAVG + 1), None);
        assert_eq!(file_name(0), None);
    }
}
