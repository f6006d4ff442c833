//! Every system call by which this room looks at a file, in one place.
//!
//! # Why one place
//! Any of them may fail at any moment: the container ends between two lines, descriptors run out, a
//! disk does not answer. That each of them may fail without a wrong figure is only known if each was
//! made to fail; so tests, and tests alone, have a hook here (`fault`). In a shipped program nothing of
//! it is left: [`call`] is the call.
//!
//! A call that a signal interrupted is made again.

use std::ffi::CStr;
use std::fs::{DirEntry, Metadata, ReadDir};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::buffer::spare_capacity;
use rustix::fs::inotify::{self, WatchFlags};
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, RawDir, RawDirEntry, Stat, StatFs, StatVfs};
use rustix::io::{Errno, retry_on_intr};
use rustix::path::Arg;

#[cfg(test)]
use super::fault;

/// For reading, and not for the programs we start.
pub(super) const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);
/// A directory, to list it.
pub(super) const LIST: OFlags = READ.union(OFlags::DIRECTORY);
/// A directory, to hold it and to look below it.
pub(super) const HOLD: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens a file or directory, relative to a directory that is held open.
pub(super) fn open_at(directory: impl AsFd, path: impl Arg, flags: OFlags) -> Result<OwnedFd, Errno> {
    let directory = directory.as_fd();
    path.into_with_c_str(|path| {
        call(
            "openat",
            || below(directory, path),
            || rustix::fs::openat(directory, path, flags, Mode::empty()),
        )
    })
}

/// Opens a file or directory.
pub(super) fn open(path: impl Arg, flags: OFlags) -> Result<OwnedFd, Errno> {
    open_at(CWD, path, flags)
}

/// Reads into what room the buffer has left.
pub(super) fn read(file: impl AsFd, buffer: &mut Vec<u8>) -> Result<usize, Errno> {
    let file = file.as_fd();
    let start = buffer.len();
    let count = call("read", || name(file), || rustix::io::read(file, spare_capacity(buffer)))?;
    let kept = arrived(Some(file), &mut buffer[start..], count);
    buffer.truncate(start + kept);
    Ok(kept)
}

/// Reads from a place of the file into what room the buffer has left.
pub(super) fn read_at(file: impl AsFd, buffer: &mut Vec<u8>, at: u64) -> Result<usize, Errno> {
    let file = file.as_fd();
    let start = buffer.len();
    let count = call("pread", || name(file), || rustix::io::pread(file, spare_capacity(buffer), at))?;
    let kept = arrived(None, &mut buffer[start..], count);
    buffer.truncate(start + kept);
    Ok(kept)
}

/// Reads from the start of the file over what the buffer holds.
pub(super) fn read_over(file: impl AsFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    let file = file.as_fd();
    let count = call("pread", || name(file), || rustix::io::pread(file, &mut *buffer, 0))?;
    Ok(arrived(None, &mut buffer[..count], count))
}

/// The whole of a file that may be of any length; for cold paths.
pub(super) fn contents(path: impl Arg) -> Result<Vec<u8>, Errno> {
    let file = open(path, READ)?;
    let mut whole = Vec::new();
    loop {
        whole.reserve(4096);
        if read(&file, &mut whole)? == 0 {
            return Ok(whole);
        }
    }
}

/// What a file is; of a link, what it leads to.
pub(super) fn stat_at(directory: impl AsFd, path: impl Arg) -> Result<Stat, Errno> {
    let directory = directory.as_fd();
    path.into_with_c_str(|path| {
        call("fstatat", || below(directory, path), || rustix::fs::statat(directory, path, AtFlags::empty()))
    })
}

/// As [`stat_at`], by path.
pub(super) fn stat(path: impl Arg) -> Result<Stat, Errno> {
    stat_at(CWD, path)
}

/// Whether something of this name can be seen.
pub(super) fn exists(path: impl Arg) -> bool {
    stat(path).is_ok()
}

/// Whether it is a file, a directory, a socket.
pub(super) fn kind(path: impl Arg) -> Result<FileType, Errno> {
    Ok(FileType::from_raw_mode(stat(path)?.st_mode))
}

/// What an open file is.
pub(super) fn stat_open(file: impl AsFd) -> Result<Stat, Errno> {
    let file = file.as_fd();
    call("fstat", || name(file), || rustix::fs::fstat(file))
}

/// Whether something of this name is there; an error where that cannot be told.
pub(super) fn is_there(path: impl Arg) -> Result<bool, Errno> {
    match stat(path) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT | Errno::NODEV | Errno::SRCH) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Whether a directory, or a link to one, can be seen there.
pub(super) fn is_directory(path: impl Arg) -> bool {
    inode_of_directory(path).is_some()
}

/// The identity of a directory, if there is one.
pub(super) fn inode_of_directory(path: impl Arg) -> Option<u64> {
    let stat = stat(path).ok()?;
    FileType::from_raw_mode(stat.st_mode).is_dir().then_some(stat.st_ino)
}

/// Whether our user may make files in a directory.
pub(super) fn may_make_files_in(directory: &Path) -> Result<(), Errno> {
    let wanted = Access::WRITE_OK | Access::EXEC_OK;
    call("access", || directory.display().to_string(), || rustix::fs::access(directory, wanted))
}

/// Watches a directory.
pub(super) fn add_watch(watches: impl AsFd, directory: &Path, events: WatchFlags) -> Result<i32, Errno> {
    let watches = watches.as_fd();
    let describe = || directory.display().to_string();
    call("inotify_add_watch", describe, || inotify::add_watch(watches, directory, events))
}

/// The file system a path is on.
pub(super) fn stat_file_system(path: impl Arg) -> Result<StatFs, Errno> {
    path.into_with_c_str(|path| call("statfs", || text(path), || rustix::fs::statfs(path)))
}

/// How much there is of it, and how much of that is free.
pub(super) fn stat_vfs(path: impl Arg) -> Result<StatVfs, Errno> {
    path.into_with_c_str(|path| call("statfs", || text(path), || rustix::fs::statvfs(path)))
}

/// Where a link leads.
pub(super) fn read_link(path: impl Arg) -> Result<PathBuf, Errno> {
    path.into_with_c_str(|path| {
        let target = call("readlinkat", || text(path), || rustix::fs::readlinkat(CWD, path, Vec::new()))?;
        Ok(PathBuf::from(std::ffi::OsString::from_vec(target.into_bytes())))
    })
}

/// The path without links.
pub(super) fn canonical(path: &Path) -> io::Result<PathBuf> {
    call("realpath", || path.display().to_string(), || Ok(()))?;
    path.canonicalize()
}

/// What a listed entry itself is.
pub(super) fn metadata(entry: &DirEntry) -> io::Result<Metadata> {
    call("fstatat", || entry.path().display().to_string(), || Ok(()))?;
    entry.metadata()
}

/// Whether the listing calls the entry a directory; `None` of a link.
pub(super) fn is_listed_as_directory(entry: &DirEntry) -> Option<bool> {
    let kind = entry.file_type().ok()?;
    (!kind.is_symlink()).then(|| kind.is_dir())
}

/// Lists a directory by path.
pub(super) fn read_directory(path: &Path) -> io::Result<Listing<'_>> {
    call("openat", || path.display().to_string(), || Ok(()))?;
    Ok(Listing { path, entries: std::fs::read_dir(path)?, begun: false })
}

/// The entries of a directory, but `.` and `..`.
pub(super) struct Listing<'a> {
    path: &'a Path,
    entries: ReadDir,
    begun: bool,
}

impl Listing<'_> {
    fn may_go_on(&self) -> io::Result<()> {
        Ok(call("getdents", || self.path.display().to_string(), || Ok(()))?)
    }
}

impl Iterator for Listing<'_> {
    type Item = io::Result<DirEntry>;

    /// The kernel is asked before the first entry and once more after the last.
    fn next(&mut self) -> Option<Self::Item> {
        if !std::mem::replace(&mut self.begun, true)
            && let Err(error) = self.may_go_on()
        {
            return Some(Err(error));
        }
        self.entries.next().or_else(|| self.may_go_on().err().map(Err))
    }
}

/// Calls `each` with every entry of an open directory; `room` is what the kernel fills at once.
pub(super) fn each_entry(
    directory: impl AsFd,
    room: &mut [MaybeUninit<u8>],
    mut each: impl FnMut(&RawDirEntry<'_>),
) -> Result<(), Errno> {
    let directory = directory.as_fd();
    let mut entries = RawDir::new(directory, room);
    loop {
        if entries.is_buffer_empty() {
            call("getdents", || name(directory), || Ok(()))?;
        }
        match entries.next() {
            Some(entry) => each(&entry?),
            None => return Ok(()),
        }
    }
}

/// Makes a call, as often as signals interrupt it.
#[cfg(not(test))]
#[inline(always)]
fn call<T>(
    _: &'static str,
    _: impl Fn() -> String,
    work: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    retry_on_intr(work)
}

/// What was read arrived whole.
#[cfg(not(test))]
#[inline(always)]
fn arrived(_: Option<BorrowedFd<'_>>, _: &mut [u8], count: usize) -> usize {
    count
}

/// Makes a call, as often as signals interrupt it, unless it is to fail.
#[cfg(test)]
fn call<T>(
    kind: &'static str,
    path: impl Fn() -> String,
    mut work: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    retry_on_intr(|| {
        fault::before(kind, &path)?;
        work()
    })
}

#[cfg(test)]
fn arrived(file: Option<BorrowedFd<'_>>, bytes: &mut [u8], count: usize) -> usize {
    fault::arrived(file, bytes, count)
}

/// What an open file is called, for a list of calls.
fn name(file: impl AsFd) -> String {
    use std::os::fd::AsRawFd;
    let number = file.as_fd().as_raw_fd();
    let link = rustix::fs::readlink(format!("/proc/self/fd/{number}"), Vec::new());
    link.map_or_else(|_| format!("descriptor {number}"), |link| text(&link))
}

fn below(directory: impl AsFd, path: &CStr) -> String {
    use std::os::fd::AsRawFd;
    if path.to_bytes().starts_with(b"/") || directory.as_fd().as_raw_fd() == CWD.as_raw_fd() {
        return text(path);
    }
    format!("{}/{}", name(directory), text(path).trim_start_matches("./"))
}

fn text(path: &CStr) -> String {
    path.to_string_lossy().into_owned()
}
