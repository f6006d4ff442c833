//! The node's own file systems: how large they are and how full, without a privilege.
//!
//! statvfs(3) asks for none, only for a path on the file system. Every container has some: the kubelet mounts
//! `/etc/hosts` and `/dev/termination-log` out of its own directory, the runtime `/etc/resolv.conf` and
//! `/etc/hostname` out of its own. Lines of `/proc/self/mountinfo` (proc(5)):
//!
//! ```text
//! 801 790 0:66 / / ro,relatime - overlay overlay rw,lowerdir=/r/snapshots/9/fs,upperdir=/r/snapshots/44/fs,workdir=…
//! 815 801 254:1 /var/lib/kubelet/pods/35427ce3/etc-hosts /etc/hosts rw,relatime - ext4 /dev/vda1 rw
//! 816 801 254:1 /var/lib/kubelet/pods/35427ce3/containers/app/6a1f0e3d /dev/termination-log rw - ext4 /dev/vda1 rw
//! ```
//!
//! # What is whose
//! A mount out of `…/pods/<uid>/` is on the kubelet's file system. Of the container's own `/` statvfs tells
//! the numbers of what its upper directory is on, but not which that is: it is the file system whose numbers are
//! the same, to the byte and the inode, and another time if they changed in between. Its images are there too if the layers
//! are beside the upper directory. Outside of any container the list of mounts tells where each path is.
//! Whatever cannot be decided is not listed.
//!
//! # What is never asked
//! A file system behind a network or another process may not answer for ever, so only types that the kernel
//! serves alone are (`LOCAL`), and an overlay, of which nobody tells what its upper directory is on. A disk may hang all the same: this is read on a thread of its own, and never by a sweep.
//!
//! A quota of a project makes statvfs tell the quota, but of directories only: the paths above are files.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};

use procfs::process::MountInfo;
use rustix::fs::StatVfs;
use rustix::io::Errno;

use super::{HostRoot, clock, syscall};
use crate::model::file_systems::{FileSystem, FileSystems, Holds, Inodes, Space};
use crate::model::health::{Health, Room, Trouble};
use crate::model::sweep::{Reading, Stamped};
use crate::model::unavailable::Unavailable;

/// Types of file systems that depend on nothing but this kernel and its devices.
const LOCAL: [&str; 13] = [
    "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "nilfs2", "ramfs", "reiserfs", "tmpfs",
    "xfs", "zfs",
];

/// Files that the kubelet or a runtime mounts into every container.
const MOUNTED: [&str; 4] = ["/etc/hosts", "/dev/termination-log", "/etc/resolv.conf", "/etc/hostname"];

/// Where the kubelet's directory is unless it is told otherwise.
const KUBELET: &str = "/var/lib/kubelet";

/// Times two file systems are compared: on a busy one something is written between two calls.
const COMPARISONS: usize = 4;

/// Asks the node's file systems again and again.
#[derive(Debug)]
pub struct FileSystemReader {
    /// Our own mounts.
    mounts: PathBuf,
    /// The hash of what was said of them last time.
    sum: Option<u64>,
    survey: Survey,
}

/// What the mounts say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Survey {
    /// Each file system once.
    candidates: Vec<Candidate>,
    /// In a container whose `/` lies on one of them, which is still to be found: what that one holds.
    upper: Option<Holds>,
}

/// A file system that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    /// As mountinfo has them: `254:1`.
    number: String,
    /// A path on it.
    path: PathBuf,
    device: String,
    kind: String,
    mount_point: Option<String>,
    holds: Holds,
}

impl FileSystemReader {
    /// Asks nothing yet.
    pub fn new(root: &HostRoot) -> Self {
        Self { mounts: root.proc.join("self/mountinfo"), sum: None, survey: Survey::default() }
    }

    /// Asks each of them once. May block for as long as a disk does not answer.
    pub fn read(&mut self, health: &Health) -> Reading<FileSystems> {
        let text = syscall::contents(&self.mounts).map_err(|errno| unavailable(errno, health))?;
        let mut hasher = DefaultHasher::new();
        hasher.write(&text);
        let sum = Some(hasher.finish());
        if self.sum != sum {
            self.survey = survey(&mounts(&text));
            self.sum = sum;
        }
        drop(text);
        self.find_upper();
        let mut all = Vec::new();
        for candidate in self.survey.candidates.iter().filter(|it| it.holds != Holds::default()) {
            match syscall::stat_vfs(&candidate.path) {
                // A file system without blocks has no numbers, like that of a kernel's own tables.
                Ok(stat) if stat.f_blocks > 0 => all.push(candidate.with(space(&stat))),
                Ok(_) => {}
                Err(errno) => drop(unavailable(errno, health)),
            }
        }
        Ok(Stamped { at: clock::monotonic(), value: all.into() })
    }

    /// Looks for the file system that our own `/` lies on, until it is found.
    fn find_upper(&mut self) {
        let Some(holds) = self.survey.upper else { return };
        for _ in 0..COMPARISONS {
            let Ok(upper) = syscall::stat_vfs("/") else { return };
            let same = |it: &&mut Candidate| syscall::stat_vfs(&it.path).is_ok_and(|it| is_same(&it, &upper));
            if let Some(found) = self.survey.candidates.iter_mut().find(same) {
                found.holds = found.holds.and(holds);
                self.survey.upper = None;
                return;
            }
        }
    }
}

impl Candidate {
    fn new(mount: &MountInfo, path: &Path, holds: Holds) -> Option<Self> {
        LOCAL.contains(&&*mount.fs_type).then(|| Self {
            number: mount.majmin.clone(),
            path: path.to_owned(),
            device: device(mount),
            kind: mount.fs_type.clone(),
            mount_point: None,
            holds,
        })
    }

    fn with(&self, space: Space) -> FileSystem {
        let Self { number: _, path: _, device, kind, mount_point, holds } = self.clone();
        FileSystem { device, kind, mount_point, holds, space }
    }
}

/// What it is mounted from. Of those in memory that is one word for all, so their number is told besides.
fn device(mount: &MountInfo) -> String {
    let source = mount.mount_source.as_ref().unwrap_or(&mount.fs_type);
    match &*mount.fs_type {
        "tmpfs" | "ramfs" => format!("{source}-{}", mount.majmin),
        _ => source.clone(),
    }
}

impl Survey {
    /// Of one that is there already only what else it holds is new.
    fn add(&mut self, candidate: Option<Candidate>) {
        let Some(candidate) = candidate else { return };
        match self.candidates.iter_mut().find(|known| known.number == candidate.number) {
            Some(known) => known.holds = known.holds.and(candidate.holds),
            None => self.candidates.push(candidate),
        }
    }
}

/// The mounts that matter, in their order: a node of 500 pods has 2,500, a megabyte of text, and next to all of them are of
/// containers.
fn mounts(text: &[u8]) -> Vec<MountInfo> {
    let text = String::from_utf8_lossy(text);
    let all = || text.lines().filter_map(|line| MountInfo::from_line(line).ok()).enumerate();
    let mut paths: BTreeSet<PathBuf> = MOUNTED.iter().chain(&["/", KUBELET]).map(PathBuf::from).collect();
    let (mut stores, mut first_of_kind) = (BTreeSet::new(), BTreeSet::new());
    for (number, mount) in all() {
        let directory = kubelet_directory(std::slice::from_ref(&mount));
        let store = stores_of(&mount).filter(|_| is_rootfs(&mount));
        let of_store = store.as_ref().map(|(store, _)| store.clone());
        if directory.into_iter().chain(of_store).fold(false, |new, path| paths.insert(path) | new)
            | store.is_some_and(|store| stores.insert(store))
        {
            first_of_kind.insert(number);
        }
    }
    let covers = |mount: &MountInfo| paths.iter().any(|path| path.starts_with(&mount.mount_point));
    all()
        .filter(|(number, mount)| first_of_kind.contains(number) || covers(mount))
        .map(|(_, mount)| mount)
        .collect()
}

/// Which file systems there are, and what they hold.
fn survey(mounts: &[MountInfo]) -> Survey {
    // The last one hides those before it.
    let at = |path: &str| mounts.iter().rev().find(|mount| mount.mount_point.as_os_str() == OsStr::new(path));
    let Some(root) = at("/") else { return Survey::default() };
    let is_container = root.fs_type == "overlay" || MOUNTED[..2].iter().any(|path| at(path).is_some());
    if !is_container {
        return of_node(mounts);
    }
    let mut survey = Survey::default();
    for (path, mount) in MOUNTED.iter().filter_map(|path| Some((path, at(path)?))) {
        let holds = Holds { kubelet: is_of_kubelet(mount), ..Holds::default() };
        survey.add(Candidate::new(mount, Path::new(path), holds));
    }
    let store = Holds { containers: true, images: true, ..Holds::default() };
    match &*root.fs_type {
        "overlay" => survey.upper = stores_of(root).map(|(_, images)| Holds { images, ..store }),
        // Each container and each image a subvolume of one file system.
        "btrfs" => survey.add(Candidate::new(root, Path::new("/"), store)),
        // A device of the container's own, as the device mapper gives it one.
        _ => {}
    }
    survey
}

/// Outside of any container: the list of mounts tells where each path is.
fn of_node(mounts: &[MountInfo]) -> Survey {
    let mut survey = Survey::default();
    let add = |survey: &mut Survey, path: &Path, holds: Holds| {
        let Some(mount) = covering(mounts, path) else { return };
        let candidate = Candidate::new(mount, &mount.mount_point, holds);
        let mount_point = Some(mount.mount_point.display().to_string());
        survey.add(candidate.map(|candidate| Candidate { mount_point, ..candidate }));
    };
    let nothing = Holds::default();
    add(&mut survey, Path::new("/"), Holds { root: true, ..nothing });
    let kubelet = kubelet_directory(mounts).unwrap_or_else(|| KUBELET.into());
    add(&mut survey, &kubelet, Holds { kubelet: true, ..nothing });
    // Of runtimes with stores on different file systems nobody knows which is the kubelet's.
    let stores: Vec<_> =
        mounts.iter().filter_map(|mount| stores_of(mount).filter(|_| is_rootfs(mount))).collect();
    let on = |store: &Path| covering(mounts, store).map(|mount| &mount.majmin);
    if let Some((first, _)) = stores.first()
        && stores.iter().all(|(store, _)| on(store) == on(first))
    {
        let images = stores.iter().all(|(_, images)| *images);
        add(&mut survey, first, Holds { containers: true, images, ..nothing });
    }
    survey
}

/// `…/pods/<uid>/etc-hosts` or `…/pods/<uid>/containers/<name>/<id>`, on whatever file system.
fn is_of_kubelet(mount: &MountInfo) -> bool {
    let mut parts = mount.root.rsplit('/');
    let last = parts.next();
    let mut parts = if last == Some("etc-hosts") {
        parts
    } else {
        parts.next();
        if parts.next() != Some("containers") {
            return false;
        }
        parts
    };
    parts.next().is_some_and(|uid| !uid.is_empty()) && parts.next() == Some("pods")
}

/// Where a pod's volume is mounted, below the kubelet's directory:
/// `/var/lib/kubelet/pods/<uid>/volumes/kubernetes.io~projected/kube-api-access-x`.
fn kubelet_directory(mounts: &[MountInfo]) -> Option<PathBuf> {
    mounts.iter().find_map(|mount| {
        let (before, _) = mount.mount_point.to_str()?.split_once("/volumes/kubernetes.io~")?;
        let (before, _) = before.rsplit_once("/pods/")?;
        Some(PathBuf::from(before))
    })
}

/// A container's `/`, as runtimes mount it: `…/rootfs` or `…/merged`.
fn is_rootfs(mount: &MountInfo) -> bool {
    mount.mount_point.file_name().is_some_and(|name| name == "rootfs" || name == "merged")
}

/// Where a runtime keeps what the container of this overlay writes, and whether it keeps the layers there too.
///
/// containerd has `upperdir=<store>/44/fs` and `lowerdir=<store>/9/fs`, or `9/fs` if there are many, CRI-O and
/// Docker `<store>/<id>/diff` and `<store>/l/<short id>`.
fn stores_of(mount: &MountInfo) -> Option<(PathBuf, bool)> {
    let option = |name: &str| mount.super_options.get(name).and_then(Option::as_deref);
    let upper = Path::new(option("upperdir").filter(|_| mount.fs_type == "overlay")?);
    let store = upper.parent().and_then(Path::parent).filter(|store| store.parent().is_some())?;
    // Of layers that were added one by one (`lowerdir+`) only one is told here.
    let lower = option("lowerdir").map(|layers| layers.split(':'));
    let beside = |layer: &str| Path::new(layer).is_relative() || Path::new(layer).starts_with(store);
    Some((store.to_owned(), lower.is_some_and(|mut layers| layers.all(beside))))
}

/// The mount that a path is on.
fn covering<'a>(mounts: &'a [MountInfo], path: &Path) -> Option<&'a MountInfo> {
    let length = |mount: &&MountInfo| mount.mount_point.as_os_str().len();
    // Of several on one directory the last is seen.
    mounts.iter().filter(|mount| path.starts_with(&mount.mount_point)).max_by_key(length)
}

/// Whether two paths are on file systems with the same numbers. That of an overlay has an identity of its own.
fn is_same(one: &StatVfs, other: &StatVfs) -> bool {
    let numbers = |it: &StatVfs| (it.f_frsize, it.f_blocks, it.f_bfree, it.f_bavail, it.f_files, it.f_ffree);
    one.f_blocks > 0 && numbers(one) == numbers(other)
}

fn space(stat: &StatVfs) -> Space {
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Space {
        capacity_bytes: bytes(stat.f_blocks),
        available_bytes: bytes(stat.f_bavail),
        free_bytes: bytes(stat.f_bfree),
        inodes: (stat.f_files > 0).then_some(Inodes { total: stat.f_files, free: stat.f_ffree }),
    }
}

fn unavailable(errno: Errno, health: &Health) -> Unavailable {
    match errno {
        // A copy of another node's files has no mounts of ours, and what was unmounted just now is gone.
        Errno::NOENT => Unavailable::Permission,
        Errno::ACCESS | Errno::PERM => {
            health.count(Room::Host, Trouble::Denied);
            Unavailable::Permission
        }
        _ => {
            health.count(Room::Host, Trouble::Io);
            Unavailable::NotYet
        }
    }
}

#[cfg(test)]
#[path = "file_systems_tests.rs"]
mod tests;
