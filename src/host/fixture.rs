//! A cgroup tree of plain files, for tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::host::HostRoot;

/// A directory with `proc`, `sys` and `cgroup` in it; removed when dropped.
pub(crate) struct Node {
    directory: PathBuf,
}

static NODES: AtomicU32 = AtomicU32::new(0);

impl Node {
    /// An empty node.
    pub(crate) fn new() -> Self {
        let number = NODES.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("podvitals-{}-{number}", std::process::id()));
        let node = Self { directory };
        for part in ["proc", "sys/dev/block", "cgroup"] {
            node.make(part);
        }
        node.write("proc/meminfo", MEMINFO);
        node
    }

    /// A node with one cgroup v2 hierarchy.
    pub(crate) fn v2() -> Self {
        let node = Self::new();
        node.write("cgroup/cgroup.controllers", "cpuset cpu io memory pids\n");
        node
    }

    /// A node with these v1 hierarchies.
    pub(crate) fn v1(hierarchies: &[&str]) -> Self {
        let node = Self::new();
        for hierarchy in hierarchies {
            node.make(&format!("cgroup/{hierarchy}"));
        }
        node
    }

    pub(crate) fn root(&self) -> HostRoot {
        HostRoot {
            proc: self.directory.join("proc"),
            cgroup: self.directory.join("cgroup"),
            sys: self.directory.join("sys"),
        }
    }

    pub(crate) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.directory.join(path)
    }

    pub(crate) fn make(&self, path: &str) {
        fs::create_dir_all(self.path(path)).unwrap();
    }

    /// Writes a file and makes the directories above it. In place, as the kernel does.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn remove(&self, path: &str) {
        let path = self.path(path);
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }

    pub(crate) fn link(&self, target: &str, path: &str) {
        std::os::unix::fs::symlink(target, self.path(path)).unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// What procfs insists on, from a node with 16 GiB.
const MEMINFO: &str = "\
MemTotal:       16777216 kB
MemFree:         1048576 kB
Buffers:               0 kB
Cached:                0 kB
SwapCached:            0 kB
Active:                0 kB
Inactive:              0 kB
SwapTotal:             0 kB
SwapFree:              0 kB
Dirty:                 0 kB
Writeback:             0 kB
Mapped:                0 kB
Slab:                  0 kB
Committed_AS:          0 kB
VmallocTotal:          0 kB
VmallocUsed:           0 kB
VmallocChunk:          0 kB
";
