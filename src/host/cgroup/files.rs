//! THE HOT PATH, first half: one cgroup's files, kept open and read again and again.
//!
//! # Why descriptors are kept
//! `open` and `close` of a cgroup file cost several times the read. A kept descriptor gives fresh
//! values with `pread` at 0, pins neither the cgroup nor its memory, and says ENODEV for ever once the
//! cgroup was removed, also when another of the same name is made: there is no mistaking the one for
//! the other. Each costs 4.4 KB of kernel memory, charged to us, so [`DescriptorBudget`] bounds them;
//! beyond it a file is opened, read and closed, which costs more and loses nothing.
//!
//! Files are opened by one `openat` below the mount of their hierarchy, with the path kept ready.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::io::Errno;

use crate::host::{HostError, clock, syscall};
use crate::model::health::{Health, Room, Trouble};
use crate::model::target::{CgroupPath, CgroupTarget, TargetId};
use crate::model::time::Monotonic;
use crate::model::unavailable::Unavailable;

use super::file::{FILES, File, KEPT, LONGEST_NAME};
use super::layout::{Controller, Layout};
use super::reader::ReadContext;

/// How many descriptors all readers together may keep.
#[derive(Debug)]
pub struct DescriptorBudget {
    limit: usize,
    used: usize,
}

impl DescriptorBudget {
    /// A budget of `limit` descriptors.
    pub fn new(limit: usize) -> Self {
        Self { limit, used: 0 }
    }

    /// Descriptors kept now.
    pub fn used(&self) -> usize {
        self.used
    }

    fn take(&mut self) -> bool {
        let granted = self.used < self.limit;
        self.used += usize::from(granted);
        granted
    }

    fn give_back(&mut self) {
        self.used = self.used.saturating_sub(1);
    }

    /// The process is out of descriptors: the budget was too generous, keep no more than now.
    fn shrink(&mut self) {
        self.limit = self.limit.min(self.used);
    }
}

/// Why a file gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The cgroup was removed: nothing of it can be read.
    Gone,
    /// This file alone.
    Because(Unavailable),
}

impl From<Unavailable> for Missing {
    fn from(why: Unavailable) -> Self {
        Self::Because(why)
    }
}

/// A new cgroup's directories appear one hierarchy at a time (v1): until this old a file may be missing.
const YOUNG: Duration = Duration::from_secs(2);
/// The buffer holds every file we know at first; it grows when one fills it, up to the second.
const SMALLEST_BUFFER: usize = 16 << 10;
const LARGEST_BUFFER: usize = 1 << 20;

#[derive(Debug, Default)]
enum Slot {
    /// To be opened at the next read.
    #[default]
    Closed,
    /// Open, and counted in the budget.
    Kept(OwnedFd),
    /// Not there, or refused, for the first time: looked for again by the next read.
    Doubtful,
    /// The same twice. Looked for again on slow reads only.
    Absent(Unavailable),
}

/// The path of one cgroup below its hierarchies, with room for the name of a file.
#[derive(Debug)]
pub struct FilePath {
    bytes: Vec<u8>,
    stem: usize,
}

impl FilePath {
    /// Of the files of the cgroup `path`.
    pub fn new(path: &CgroupPath) -> Self {
        let path = path.as_path().as_os_str().as_bytes();
        // `./` keeps the root cgroup's empty path below the mount.
        let mut bytes = Vec::with_capacity(path.len() + LONGEST_NAME + 4);
        bytes.extend_from_slice(b"./");
        bytes.extend_from_slice(path);
        bytes.push(b'/');
        let stem = bytes.len();
        Self { bytes, stem }
    }

    /// Opens `file` for reading.
    pub fn open(&mut self, layout: &Layout, file: File) -> Result<OwnedFd, Errno> {
        let directory = layout.directory(file.controller()).ok_or(Errno::NOENT)?;
        self.with(file.name(), |path| syscall::open_at(directory, path, syscall::READ))
    }

    /// Identity of the cgroup's directory in the watched hierarchy.
    fn inode(&mut self, layout: &Layout) -> Result<u64, Errno> {
        let stat = |path: &CStr| syscall::stat_at(layout.watched_directory(), path);
        self.with("", stat).map(|stat| stat.st_ino)
    }

    fn with<T>(&mut self, name: &str, call: impl FnOnce(&CStr) -> Result<T, Errno>) -> Result<T, Errno> {
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        let path = CStr::from_bytes_with_nul(&self.bytes);
        let result = path.map_err(|_| Errno::INVAL).and_then(call);
        self.bytes.truncate(self.stem);
        result
    }

    /// The whole path of a file, for the log.
    pub fn describe(&self, layout: &Layout, file: File) -> String {
        let mount = layout.mount(file.controller()).map(|mount| mount.display().to_string());
        let below = String::from_utf8_lossy(&self.bytes[2..self.stem]);
        format!("{}/{below}{}", mount.unwrap_or_default(), file.name())
    }
}

/// The files of one cgroup.
#[derive(Debug)]
pub struct Files {
    target: TargetId,
    first_seen: Monotonic,
    path: FilePath,
    /// Of the directory in the watched hierarchy, once it was there.
    inode: Option<u64>,
    slots: [Slot; KEPT],
    /// A file was opened by path since [`Self::confirm`].
    unconfirmed: bool,
}

impl Files {
    /// Nothing is opened yet.
    pub fn new(layout: &Layout, target: &CgroupTarget) -> Self {
        let mut path = FilePath::new(&target.path);
        let inode = path.inode(layout).ok();
        Self {
            target: target.id,
            first_seen: target.first_seen,
            path,
            inode,
            slots: Default::default(),
            unconfirmed: false,
        }
    }

    /// Identity of the cgroup's directory; 0 while it was never there.
    pub fn inode(&self) -> u64 {
        self.inode.unwrap_or(0)
    }

    /// Reads `file` into the buffer and returns how many bytes there are.
    ///
    /// # Errors
    /// Why there are none.
    pub fn read(
        &mut self,
        layout: &Layout,
        file: File,
        context: &mut ReadContext<'_>,
    ) -> Result<usize, Missing> {
        context.health.begin_read(self.target.0, file as u8);
        let read = match &self.slots[file as usize] {
            Slot::Kept(descriptor) => read_whole(descriptor, context.buffer),
            Slot::Absent(why) if !context.slow => return Err(Missing::Because(*why)),
            Slot::Absent(_) | Slot::Doubtful | Slot::Closed => self.open_and_read(layout, file, context),
        };
        read.map_err(|errno| self.failed(layout, file, errno, context))
    }

    /// Whether the files opened since the last call are those of the cgroup we were made for: between
    /// two opens by path it may have been removed and made anew.
    ///
    /// # Errors
    /// [`Missing::Gone`]; or that it cannot be told, and so must not be served.
    pub fn confirm(&mut self, layout: &Layout, health: &Health) -> Result<(), Missing> {
        if !self.unconfirmed {
            return Ok(());
        }
        let there = self.is_there(layout, health)?;
        self.unconfirmed = false;
        if there { Ok(()) } else { Err(Missing::Gone) }
    }

    /// Closes the files that `keep` does not want, and forgets what was absent.
    pub fn close(&mut self, budget: &mut DescriptorBudget, keep: impl Fn(Controller) -> bool) {
        for (slot, (_, controller)) in self.slots.iter_mut().zip(FILES) {
            if !keep(controller) && matches!(std::mem::take(slot), Slot::Kept(_)) {
                budget.give_back();
            }
        }
    }

    /// Descriptors kept for this cgroup.
    pub fn open_descriptors(&self) -> usize {
        self.slots.iter().filter(|slot| matches!(slot, Slot::Kept(_))).count()
    }

    /// Whether the cgroup is so new that files may still be missing and limits still be set.
    pub fn is_young(&self) -> bool {
        clock::monotonic().since(self.first_seen).is_none_or(|age| age < YOUNG)
    }

    /// Counts and logs a line that cannot be read.
    pub fn complain(&self, layout: &Layout, file: File, line: &[u8], health: &Health) {
        complain(&self.path, layout, file, line, health);
    }

    #[cold]
    fn open_and_read(
        &mut self,
        layout: &Layout,
        file: File,
        context: &mut ReadContext<'_>,
    ) -> Result<usize, Errno> {
        let descriptor = self.path.open(layout, file)?;
        let length = read_whole(&descriptor, context.buffer)?;
        self.unconfirmed = true;
        let slot = if context.budget.take() { Slot::Kept(descriptor) } else { Slot::Closed };
        self.slots[file as usize] = slot;
        Ok(length)
    }

    /// Sorts an error of `open` or `read`.
    #[cold]
    fn failed(
        &mut self,
        layout: &Layout,
        file: File,
        errno: Errno,
        context: &mut ReadContext<'_>,
    ) -> Missing {
        let slot = std::mem::take(&mut self.slots[file as usize]);
        let was_kept = matches!(slot, Slot::Kept(_));
        if was_kept {
            context.budget.give_back();
        }
        let count = |trouble| context.health.count(Room::Host, trouble);
        match errno {
            Errno::NODEV | Errno::NOENT | Errno::SRCH => {
                // The version 2 side of a hybrid node may lose a cgroup that the others still have.
                let aside = file.controller() == Controller::Pressure;
                let there =
                    if was_kept && !aside { Ok(false) } else { self.is_there(layout, context.health) };
                match there {
                    Ok(false) => Missing::Gone,
                    Ok(true) if self.is_young() => Missing::Because(Unavailable::NotYet),
                    Ok(true) if !matches!(slot, Slot::Doubtful | Slot::Absent(_)) => {
                        count(Trouble::Gone);
                        self.absent(file, &slot, Unavailable::ControllerOff)
                    }
                    Ok(true) => self.absent(file, &slot, Unavailable::ControllerOff),
                    Err(missing) => missing,
                }
            }
            // Pressure files of old kernels can be opened and not read.
            Errno::OPNOTSUPP => self.absent(file, &slot, Unavailable::KernelWithoutPsi),
            Errno::ACCESS | Errno::PERM => {
                count(Trouble::Denied);
                if !matches!(slot, Slot::Absent(Unavailable::Permission) | Slot::Doubtful) {
                    tracing::debug!(path = %self.path.describe(layout, file), "may not be read: {errno}");
                }
                self.absent(file, &slot, Unavailable::Permission)
            }
            Errno::MFILE | Errno::NFILE => {
                count(Trouble::Io);
                self.close(context.budget, |_| false);
                context.budget.shrink();
                Missing::Because(Unavailable::NotYet)
            }
            _ => {
                count(Trouble::Io);
                tracing::debug!(path = %self.path.describe(layout, file), "cannot be read: {errno}");
                Missing::Because(Unavailable::NotYet)
            }
        }
    }

    /// `before` is what the slot held: it takes two failures in a row to give a file up.
    fn absent(&mut self, file: File, before: &Slot, why: Unavailable) -> Missing {
        let twice = matches!(before, Slot::Doubtful | Slot::Absent(_));
        self.slots[file as usize] = if twice { Slot::Absent(why) } else { Slot::Doubtful };
        Missing::Because(why)
    }

    /// Whether the cgroup's directory is still the one we were made for. Where that cannot be told,
    /// nothing is known of its files.
    fn is_there(&mut self, layout: &Layout, health: &Health) -> Result<bool, Missing> {
        match self.path.inode(layout) {
            Ok(inode) => Ok(inode == *self.inode.get_or_insert(inode)),
            Err(Errno::NOENT | Errno::NODEV | Errno::SRCH) => Ok(false),
            Err(errno) => {
                let denied = matches!(errno, Errno::ACCESS | Errno::PERM);
                health.count(Room::Host, if denied { Trouble::Denied } else { Trouble::Io });
                Err(Missing::Because(Unavailable::NotYet))
            }
        }
    }
}

/// Counts a line that cannot be read, and logs the first of each kind of file: a kernel we misread
/// would otherwise fill the log.
#[cold]
pub fn complain(path: &FilePath, layout: &Layout, file: File, line: &[u8], health: &Health) {
    static LOGGED: AtomicU64 = AtomicU64::new(0);
    health.count(Room::Host, Trouble::Malformed);
    let bit = 1 << file as u8;
    if LOGGED.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
        let error = HostError::malformed(path.describe(layout, file), line);
        tracing::warn!("{error}; further ones in files of this name are only counted");
    }
}

/// Reads the whole file into `buffer`, which grows when it is filled, and returns the length.
///
/// The kernel ends what it prints with a newline: a text without one was cut short, and is read again,
/// once, since some kernels do print rows without.
///
/// # Errors
/// That of `pread`.
pub fn read_whole(descriptor: &OwnedFd, buffer: &mut Vec<u8>) -> Result<usize, Errno> {
    if buffer.len() < SMALLEST_BUFFER {
        buffer.resize(SMALLEST_BUFFER, 0);
    }
    let mut again = true;
    loop {
        let length = syscall::read_over(descriptor, buffer)?;
        if length == buffer.len() && length < LARGEST_BUFFER {
            buffer.resize(length * 2, 0);
        } else if length > 0 && buffer[length - 1] != b'\n' && again {
            again = false;
        } else {
            return Ok(length);
        }
    }
}
