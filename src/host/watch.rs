//! What appears and goes in the cgroup tree, told by the kernel: inotify(7) on its directories.
//!
//! A cgroup is made with mkdir and removed with rmdir, and inotify sees both on v1 and v2: a new
//! container is known some milliseconds after its directory. Only directories are told of; the files
//! inside are the kernel's own making and cause no event.
//!
//! # Why watches are taken away by hand
//! On other file systems a watch ends with its directory (`IN_IGNORED`). A cgroup's does not: the
//! watch itself keeps the removed directory in memory, and each container would leave one behind. So
//! a watch is removed when the parent tells that its directory went.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::HostError;
use super::syscall;

/// Waits for changes in a number of directories.
#[derive(Debug)]
pub struct CgroupWatch {
    inotify: OwnedFd,
    waker: Waker,
    directories: HashMap<i32, PathBuf>,
    watches: HashMap<PathBuf, i32>,
}

/// Ends a wait from another thread.
#[derive(Clone, Debug)]
pub struct Waker {
    event: Arc<OwnedFd>,
}

/// Why a wait ended; nothing set: time ran out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Woken {
    /// Watched directories in which a directory appeared or went, or that were unmounted; each once.
    pub directories: Vec<PathBuf>,
    /// Events were lost: look everywhere.
    pub overflowed: bool,
    /// Somebody called [`Waker::wake`].
    pub woken: bool,
}

impl Waker {
    /// Ends the present wait, or the next one.
    pub fn wake(&self) {
        // It fails only when the counter is full: then it has been woken 2^64 times already.
        let _ = rustix::io::write(&*self.event, &1_u64.to_ne_bytes());
    }

    /// Whether it was called since the last time this was asked.
    fn take(&self) -> bool {
        syscall::read(&*self.event, &mut Vec::with_capacity(8)).is_ok()
    }
}

impl CgroupWatch {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// If the kernel gives no inotify instance (`fs.inotify.max_user_instances`) or descriptor.
    pub fn new() -> Result<(Self, Waker), HostError> {
        let trouble = |what: &str, errno: Errno| HostError::Io { path: what.into(), source: errno.into() };
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)
            .map_err(|errno| trouble("inotify", errno))?;
        let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
            .map_err(|errno| trouble("eventfd", errno))?;
        let waker = Waker { event: Arc::new(event) };
        let (directories, watches) = (HashMap::new(), HashMap::new());
        Ok((Self { inotify, waker: waker.clone(), directories, watches }, waker))
    }

    /// Watches a directory; to add it again changes nothing, unless another directory has its name
    /// by now. A directory that goes is forgotten by itself if its parent is watched too.
    ///
    /// # Errors
    /// If there is no such directory, or no watch is left (`fs.inotify.max_user_watches`).
    pub fn add(&mut self, directory: &Path) -> Result<(), HostError> {
        let flags = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE | WatchFlags::ONLYDIR;
        let watch = syscall::add_watch(&self.inotify, directory, flags)
            .map_err(|errno| HostError::from_io(directory, errno.into()))?;
        match self.watches.insert(directory.to_owned(), watch) {
            Some(before) if before == watch => return Ok(()),
            Some(before) => self.end(before),
            None => {}
        }
        self.directories.insert(watch, directory.to_owned());
        Ok(())
    }

    /// Directories watched.
    pub fn len(&self) -> usize {
        self.directories.len()
    }

    /// Whether nothing is watched.
    pub fn is_empty(&self) -> bool {
        self.directories.is_empty()
    }

    /// Waits until something happens, but not longer than `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Woken {
        let timeout = Timespec::try_from(timeout).ok();
        let mut sources =
            [PollFd::new(&self.inotify, PollFlags::IN), PollFd::new(&*self.waker.event, PollFlags::IN)];
        // A signal ends the wait early, which is as good as the end of its time.
        let _ = poll(&mut sources, timeout.as_ref());
        let mut woken = Woken { woken: self.waker.take(), ..Woken::default() };
        self.drain(&mut woken);
        woken
    }

    fn drain(&mut self, woken: &mut Woken) {
        let mut gone = Vec::new();
        let mut room = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.inotify, &mut room);
        // Ends with EAGAIN, when all has been read.
        while let Ok(event) = events.next() {
            let what = event.events();
            woken.overflowed |= what.contains(ReadFlags::QUEUE_OVERFLOW);
            let Some(directory) = self.directories.get(&event.wd()) else { continue };
            if what.contains(ReadFlags::IGNORED) {
                gone.push(directory.clone());
            } else if !what.contains(ReadFlags::ISDIR) {
                continue;
            } else if what.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
                let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                gone.extend(name.map(|name| directory.join(name)));
            }
            if !woken.directories.contains(directory) {
                woken.directories.push(directory.clone());
            }
        }
        if woken.overflowed {
            gone = self.watches.keys().cloned().collect();
        }
        for directory in gone {
            self.look_again(&directory);
        }
    }

    /// Ends the watch of a directory that went, and of all below. There may be another of its name
    /// already, which has been added or will be.
    fn look_again(&mut self, directory: &Path) {
        if !self.watches.contains_key(directory) || self.add(directory).is_ok() {
            return;
        }
        let below = |path: &Path| path.starts_with(directory);
        let ended: Vec<i32> =
            self.watches.iter().filter_map(|(path, watch)| below(path).then_some(*watch)).collect();
        self.watches.retain(|path, _| !below(path));
        for watch in ended {
            self.end(watch);
        }
    }

    fn end(&mut self, watch: i32) {
        self.directories.remove(&watch);
        // It fails if the watch has ended by itself, which is as good.
        let _ = inotify::remove_watch(&self.inotify, watch);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsRawFd;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);
    const NOW: Duration = Duration::ZERO;

    struct Tree(PathBuf);

    impl Tree {
        fn new(test: &str) -> Self {
            let at = std::env::temp_dir().join(format!("podvitals-watch-{test}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&at);
            fs::create_dir_all(&at).unwrap();
            Self(at)
        }

        fn make(&self, name: &str) -> PathBuf {
            let path = self.0.join(name);
            fs::create_dir(&path).unwrap();
            path
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn watches_in_the_kernel(watch: &CgroupWatch) -> usize {
        let fdinfo = format!("/proc/self/fdinfo/{}", watch.inotify.as_raw_fd());
        fs::read_to_string(fdinfo).unwrap().lines().filter(|line| line.starts_with("inotify ")).count()
    }

    #[test]
    fn directories_that_appear_and_go_are_told_of_once() {
        let tree = Tree::new("appear");
        let (mut watch, _) = CgroupWatch::new().unwrap();
        watch.add(&tree.0).unwrap();
        watch.add(&tree.0).unwrap();
        assert_eq!(watch.len(), 1);
        tree.make("a");
        let b = tree.make("b");
        assert_eq!(watch.wait(LONG), Woken { directories: vec![tree.0.clone()], ..Woken::default() });
        assert_eq!(watch.wait(NOW), Woken::default());
        fs::remove_dir(b).unwrap();
        assert_eq!(watch.wait(LONG).directories, std::slice::from_ref(&tree.0));
    }

    #[test]
    fn a_directory_that_went_is_forgotten_with_all_below() {
        let tree = Tree::new("forgotten");
        let (mut watch, _) = CgroupWatch::new().unwrap();
        assert!(watch.is_empty());
        for directory in [tree.0.clone(), tree.make("pod"), tree.make("pod/app"), tree.make("pods")] {
            watch.add(&directory).unwrap();
        }
        assert_eq!(watches_in_the_kernel(&watch), 4);
        fs::remove_dir_all(tree.0.join("pod")).unwrap();
        let woken = watch.wait(LONG);
        assert!(woken.directories.contains(&tree.0) && !woken.overflowed);
        assert_eq!((watch.len(), watches_in_the_kernel(&watch)), (2, 2));
    }

    #[test]
    fn a_namesake_added_before_the_end_of_the_first_was_read_stays_watched() {
        let tree = Tree::new("namesake");
        let (mut watch, _) = CgroupWatch::new().unwrap();
        let pod = tree.make("pod");
        watch.add(&tree.0).unwrap();
        watch.add(&pod).unwrap();
        fs::remove_dir(&pod).unwrap();
        // Kept apart, or the new directory could get the inode just freed.
        tree.make("other");
        tree.make("pod");
        watch.add(&pod).unwrap();
        assert_eq!(watch.wait(LONG).directories, std::slice::from_ref(&tree.0));
        assert_eq!(watch.len(), 2);
        fs::create_dir(pod.join("container")).unwrap();
        assert_eq!(watch.wait(LONG).directories, [pod]);
    }

    #[test]
    fn files_are_no_news() {
        let tree = Tree::new("files");
        let (mut watch, waker) = CgroupWatch::new().unwrap();
        watch.add(&tree.0).unwrap();
        fs::write(tree.0.join("file"), "").unwrap();
        waker.wake();
        assert_eq!(watch.wait(LONG), Woken { woken: true, ..Woken::default() });
    }

    #[test]
    fn a_wait_is_ended_from_another_thread_and_once_only() {
        let (mut watch, waker) = CgroupWatch::new().unwrap();
        let thread = std::thread::spawn(move || waker.wake());
        assert!(watch.wait(LONG).woken);
        thread.join().unwrap();
        assert!(!watch.wait(NOW).woken);
    }

    #[test]
    fn what_is_no_directory_cannot_be_watched() {
        let tree = Tree::new("refuse");
        let (mut watch, _) = CgroupWatch::new().unwrap();
        assert!(watch.add(&tree.0.join("missing")).unwrap_err().is_gone());
        let file = tree.0.join("file");
        fs::write(&file, "").unwrap();
        assert!(!watch.add(&file).unwrap_err().is_gone());
        assert!(watch.is_empty());
    }
}
