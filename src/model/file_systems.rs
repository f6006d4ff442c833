//! The node's own file systems, as far as they are seen without a privilege.

use std::sync::Arc;
use std::time::Duration;

use super::sweep::Reading;
use super::time::Monotonic;
use super::unavailable::Unavailable;

/// What had room this long ago may be full: a file system that no longer answers has no figures.
const TOO_OLD: Duration = Duration::from_secs(60);

/// All of them that are known, each once.
pub type FileSystems = Arc<[FileSystem]>;

/// A file system on the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// What is mounted, in the words of `/proc/<pid>/mountinfo`: `/dev/vda1`.
    pub device: String,
    /// Its type, from there too: `ext4`. A `tmpfs` is memory and no disk.
    pub kind: String,
    /// Where the node has it mounted; `None` where only a part of it is seen, from inside a container.
    pub mount_point: Option<String>,
    /// What lies on it.
    pub holds: Holds,
    /// How much there is of it.
    pub space: Space,
}

/// What of a node lies on a file system, as far as that can be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each of them may lie on any")]
pub struct Holds {
    /// The node's `/`.
    pub root: bool,
    /// The kubelet's directory, with volumes and logs of pods: Kubernetes's *nodefs*.
    pub kubelet: bool,
    /// The layers of images: *imagefs*.
    pub images: bool,
    /// What containers write: *containerfs*.
    pub containers: bool,
}

impl Holds {
    /// The words on the wire.
    pub const WORDS: [&'static str; 4] = ["root", "kubelet", "images", "containers"];

    /// Those that are true of it.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        let Self { root, kubelet, images, containers } = self;
        let held = Self::WORDS.into_iter().zip([root, kubelet, images, containers]);
        held.filter_map(|(word, holds)| holds.then_some(word))
    }

    /// What either holds.
    pub fn and(self, other: Self) -> Self {
        Self {
            root: self.root || other.root,
            kubelet: self.kubelet || other.kubelet,
            images: self.images || other.images,
            containers: self.containers || other.containers,
        }
    }
}

/// The numbers of statvfs(3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// `f_blocks` × `f_frsize`.
    pub capacity_bytes: u64,
    /// What all but root may still write: `f_bavail` × `f_frsize`.
    pub available_bytes: u64,
    /// What root may, too: `f_bfree` × `f_frsize`.
    pub free_bytes: u64,
    /// `None` where inodes are made as they are needed, as on btrfs.
    pub inodes: Option<Inodes>,
}

impl Space {
    /// What is taken: as df(1), the kubelet and cAdvisor count it, without what is kept for root.
    pub fn used_bytes(&self) -> u64 {
        self.capacity_bytes.saturating_sub(self.free_bytes)
    }
}

/// Inodes, where they are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inodes {
    /// `f_files`.
    pub total: u64,
    /// `f_ffree`.
    pub free: u64,
}

/// What is not too old to be told at this time.
pub fn as_of(now: Monotonic, reading: Reading<FileSystems>) -> Reading<FileSystems> {
    let reading = reading?;
    let age = now.since(reading.at).unwrap_or_default();
    if age > TOO_OLD { Err(Unavailable::NotYet) } else { Ok(reading) }
}

/// The one that holds something, if it is known.
pub fn holding(all: &[FileSystem], what: impl Fn(&Holds) -> bool) -> Option<&FileSystem> {
    all.iter().find(|file_system| what(&file_system.holds))
}

#[cfg(test)]
mod tests {
    use super::super::sweep::Stamped;
    use super::*;

    #[test]
    fn a_file_system_that_has_not_answered_for_a_minute_has_no_figures() {
        let at = |seconds: u64| Monotonic::from_nanos(seconds * 1_000_000_000);
        let reading = || Ok(Stamped { at: at(100), value: FileSystems::from([]) });
        // Read while the sweep went on.
        for now in [99, 100, 160] {
            assert!(as_of(at(now), reading()).is_ok(), "{now}");
        }
        assert_eq!(as_of(at(161), reading()), Err(Unavailable::NotYet));
        assert_eq!(as_of(at(100), Err(Unavailable::Permission)), Err(Unavailable::Permission));
    }

    #[test]
    fn what_is_kept_for_root_is_neither_taken_nor_available() {
        let space = Space { capacity_bytes: 100, free_bytes: 30, available_bytes: 25, inodes: None };
        assert_eq!(space.used_bytes(), 70);
        assert_eq!(
            Space { free_bytes: 101, ..space }.used_bytes(),
            0,
            "as some file systems under way have it"
        );
    }

    #[test]
    fn what_two_mounts_hold_their_file_system_holds() {
        let (root, images) =
            (Holds { root: true, ..Holds::default() }, Holds { images: true, ..Holds::default() });
        assert_eq!(root.and(images).words().collect::<Vec<_>>(), ["root", "images"]);
        assert_eq!(Holds::default().words().count(), 0);
    }
}
