//! The folder of one testbed and what is recorded in it.
//!
//! A thing is recorded before it is made. Whoever finds the folder can undo everything, also when
//! the process that made it is gone.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::process::ProcessId;

/// Where every testbed of this machine has its folder. Fixed, so that what is left can be found
/// when the clone that made it is gone.
pub const STATE_ROOT: &str = "/var/lib/podvitals-testbed";

/// What must be undone beyond what the folder's path already tells.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The `n` of bridge `pvt<n>` and subnet `10.86.<n>.0/24`.
    pub(crate) subnet: Option<u8>,
    /// Processes that were started through the testbed, beside containerd and its shims.
    #[serde(default)]
    pub(crate) processes: Vec<ProcessId>,
    /// The same, of those that need no time to end well.
    #[serde(default)]
    pub(crate) disposable: Vec<ProcessId>,
    /// Kernel settings a kubelet is about to change, and what they were.
    #[serde(default)]
    pub(crate) tunables: Vec<(PathBuf, String)>,
    /// Folders outside ours that only the kubelets of testbeds use.
    #[serde(default)]
    pub(crate) folders: Vec<PathBuf>,
    /// What a dockerd makes outside our folder, and was not there before it.
    #[serde(default)]
    pub(crate) docker: Vec<PathBuf>,
}

/// The folder of one testbed. The name is in every path, cgroup and network it makes.
#[derive(Clone, Debug)]
pub(crate) struct StateDir {
    name: String,
}

/// Held as long as the testbed is in somebody's hands; the kernel drops it with its last holder.
#[derive(Debug)]
pub(crate) struct Lock {
    _folder: File,
}

impl StateDir {
    /// Refuses names that would not do in a path, a cgroup and a command line alike.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let fits = !name.is_empty()
            && name.len() <= 24
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        ensure!(fits, "testbed name '{name}': expected 1 to 24 of a-z, 0-9 and -");
        Ok(Self { name: name.to_owned() })
    }

    /// Every testbed that has a folder.
    pub(crate) fn all() -> Result<Vec<Self>> {
        let Ok(entries) = fs::read_dir(STATE_ROOT) else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        for entry in entries {
            let entry = entry.context(STATE_ROOT)?;
            if entry.path().is_dir()
                && let Some(name) = entry.file_name().to_str()
            {
                all.push(Self::new(name)?);
            }
        }
        Ok(all)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn path(&self) -> PathBuf {
        Path::new(STATE_ROOT).join(&self.name)
    }

    pub(crate) fn join(&self, tail: &str) -> PathBuf {
        self.path().join(tail)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.join("containerd.sock")
    }

    /// The cgroup all of this testbed's cgroups lie in, without the leading slash.
    pub(crate) fn cgroup_prefix(&self) -> String {
        format!("podvitals-{}", self.name)
    }

    /// The name of the CNI network; it is in the names of the files libcni keeps outside our folder.
    pub(crate) fn network(&self) -> String {
        format!("podvitals-testbed-{}", self.name)
    }

    /// Makes the folder if need be and takes it; refuses one that is in use.
    pub(crate) fn lock(&self) -> Result<Lock> {
        match lock_folder(&self.path(), FlockOperation::NonBlockingLockExclusive)? {
            Some(lock) => Ok(lock),
            None => bail!("testbed '{}' is in use by another process", self.name),
        }
    }

    /// Waits for its turn: held while one testbed picks a subnet, so that no other picks the same.
    pub(crate) fn lock_root() -> Result<Lock> {
        lock_folder(Path::new(STATE_ROOT), FlockOperation::LockExclusive)?.context("interrupted")
    }

    /// What was recorded; nothing when the folder was never used.
    pub(crate) fn read_record(&self) -> Result<Record> {
        let path = self.join("record.json");
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| path.display().to_string()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Record::default()),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// Replaces the record whole: a reader sees the old one or the new one.
    pub(crate) fn write_record(&self, record: &Record) -> Result<()> {
        let path = self.join("record.json");
        let new = self.join("record.json.new");
        fs::write(&new, serde_json::to_vec(record)?).with_context(|| new.display().to_string())?;
        fs::rename(&new, &path).with_context(|| path.display().to_string())
    }
}

/// The lock is on the folder itself: a lock file would be one more thing to leave behind. Its last
/// holder may remove the folder while we wait for it; then the lock is on nothing, and we try again.
fn lock_folder(path: &Path, operation: FlockOperation) -> Result<Option<Lock>> {
    let shown = || path.display().to_string();
    loop {
        // The folder may go at any step, and its parent with it: right after `mkdir` has found either
        // there, as well. What then is in the way is nothing that stays.
        let made = fs::create_dir_all(path).and_then(|()| File::open(path));
        let folder = match made {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) if error.kind() == ErrorKind::AlreadyExists && !path.is_file() => continue,
            made => made.with_context(shown)?,
        };
        match rustix::fs::flock(&folder, operation) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error).with_context(shown),
        }
        let held = folder.metadata().with_context(shown)?;
        if fs::metadata(path).is_ok_and(|named| named.ino() == held.ino()) {
            return Ok(Some(Lock { _folder: folder }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const ROUNDS: usize = 200;

    /// Every holder takes the folder away, and its parent when that is empty, as testbeds do that end.
    #[test]
    fn a_folder_that_others_take_away_is_made_and_locked_all_the_same() {
        let parent = std::env::temp_dir().join(format!("podvitals-lock-{}", std::process::id()));
        let held = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for number in 0..8 {
                let (parent, held) = (&parent, &held);
                let path = parent.join(format!("testbed-{}", number % 4));
                scope.spawn(move || {
                    for _ in 0..ROUNDS {
                        let lock = lock_folder(&path, FlockOperation::LockExclusive).unwrap().unwrap();
                        fs::remove_dir(&path).unwrap();
                        let _ = fs::remove_dir(parent);
                        held.fetch_add(1, Ordering::Relaxed);
                        drop(lock);
                    }
                });
            }
        });
        assert_eq!(held.into_inner(), 8 * ROUNDS);
        assert!(!parent.exists());
    }

    #[test]
    fn a_name_fits_paths_cgroups_and_command_lines() {
        assert_eq!(StateDir::new("node-1").unwrap().cgroup_prefix(), "podvitals-node-1");
        for bad in ["", ".", "..", "a/b", "A", "a b", "a_b", "a-name-that-is-much-too-long"] {
            assert!(StateDir::new(bad).is_err(), "{bad}");
        }
    }
}
