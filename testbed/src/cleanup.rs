//! Undoing a testbed, whoever started it and however it ended: by its own `stop`, by a panic, or by
//! a later run that finds the folder of one that was killed.
//!
//! Nothing is trusted to be there. Every step finds what it undoes by the testbed's name or folder,
//! and one that fails does not keep the next from being tried.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::mount::UnmountFlags;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::cgroup;
use crate::cluster::kubelet;
use crate::cri::Cri;
use crate::docker;
use crate::network::Network;
use crate::process::{self, OwnProcess};
use crate::state::{STATE_ROOT, StateDir};

/// For stopping all pods over CRI; what is left then is killed.
const POLITE: Duration = Duration::from_secs(30);

/// The shims' sockets, what libcni keeps, and our own, each before the folder it lies in.
const SHARED_FOLDERS: [&str; 6] = [
    "/run/containerd/s",
    "/run/containerd",
    "/var/lib/cni/results",
    "/var/lib/cni/cache",
    "/var/lib/cni",
    STATE_ROOT,
];

/// Undoes the testbed of that name, if there is one and nobody is using it.
pub async fn clean(name: &str) -> Result<()> {
    let state = StateDir::new(name)?;
    if !state.path().exists() {
        return Ok(());
    }
    let _lock = state.lock()?;
    undo(&state).await
}

/// Undoes every testbed nobody is using; returns their names.
pub async fn clean_all() -> Result<Vec<String>> {
    let mut cleaned = Vec::new();
    for state in StateDir::all()? {
        if let Ok(_lock) = state.lock() {
            undo(&state).await?;
            cleaned.push(state.name().to_owned());
        }
    }
    // One that was killed at its very end has no folder of its own any more.
    tokio::task::spawn_blocking(remove_shared_folders).await??;
    Ok(cleaned)
}

/// Undoes everything and removes the folder. The caller holds the lock.
pub(crate) async fn undo(state: &StateDir) -> Result<()> {
    let mut troubles = Vec::new();
    let record = state.read_record().unwrap_or_else(|error| {
        troubles.push(error);
        Default::default()
    });
    for (ids, patience) in [(&record.disposable, Duration::ZERO), (&record.processes, Duration::from_secs(5))]
    {
        let started: Vec<OwnProcess> = ids.iter().filter_map(|id| OwnProcess::recorded(*id)).collect();
        troubles.extend(process::end_all(&started, patience).await.err());
    }

    // Through the runtime first: it takes the pods' links, addresses and mounts along.
    if !process::runtime_processes(&state.path())?.is_empty() {
        let deadline = Instant::now() + POLITE;
        // A runtime that is half dead is no trouble: what it leaves is removed below.
        let _ = timeout(POLITE, remove_sandboxes(&Cri::new(&state.socket()), deadline)).await;
    }
    troubles.extend(end_runtime(state).await.err());
    troubles.extend(remove_shim_sockets(state).err());
    troubles.extend(unmount_below(&state.path()).err());
    troubles.extend(detach_loops(&state.path()).await.err());
    if let Some(number) = record.subnet {
        troubles.extend(Network::numbered(number).remove(state).await.err());
    }
    troubles.extend(remove_cni_results(state).err());
    troubles.extend(kubelet::remove_outside(state, &record).err());
    docker::remove_outside(&record);
    troubles.extend(kubelet::restore_tunables(&record.tunables).err());
    troubles.extend(cgroup::remove(&state.cgroup_prefix()).await.err());

    // The record goes last, and only when it is of no more use.
    if troubles.is_empty() {
        let path = state.path();
        troubles.extend(fs::remove_dir_all(&path).with_context(|| path.display().to_string()).err());
        troubles.extend(tokio::task::spawn_blocking(remove_shared_folders).await?.err());
    }
    if troubles.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = troubles.iter().map(|trouble| format!("{trouble:#}")).collect();
    Err(anyhow!("testbed '{}' is not all gone: {}", state.name(), list.join("; ")))
}

async fn remove_sandboxes(cri: &Cri, deadline: Instant) -> Result<()> {
    let mut removals = JoinSet::new();
    for sandbox in cri.list_pod_sandboxes().await? {
        let cri = cri.clone();
        removals.spawn(async move {
            cri.stop_pod_sandbox(&sandbox.id).await?;
            cri.remove_pod_sandbox(&sandbox.id).await
        });
    }
    while let Ok(Some(_)) = tokio::time::timeout_at(deadline, removals.join_next()).await {}
    Ok(())
}

/// containerd, then what runs in the pods, then the shims. Killed, a process may leave a child to
/// its parent's care, so it is looked for until nothing is found.
async fn end_runtime(state: &StateDir) -> Result<()> {
    let prefix = state.cgroup_prefix();
    for _ in 0..5 {
        let mut left = process::runtime_processes(&state.path())?;
        let pids = cgroup::pids(&prefix)?;
        left.extend(pids.into_iter().filter_map(|pid| process::process_in_cgroup(pid, &prefix)));
        if left.is_empty() {
            break;
        }
        process::end_all(&left, Duration::from_secs(2)).await?;
    }
    Ok(())
}

/// A shim listens under `/run/containerd/s`, outside our folder; its bundle says where:
/// `unix:///run/containerd/s/0a1b…`.
fn remove_shim_sockets(state: &StateDir) -> Result<()> {
    // The namespaces of CRI and of Docker.
    let bundles = ["k8s.io", "moby"].map(|name| state.join("state/io.containerd.runtime.v2.task").join(name));
    for bundle in bundles.iter().flat_map(fs::read_dir).flatten().flatten() {
        let Ok(address) = fs::read_to_string(bundle.path().join("address")) else { continue };
        if let Some(socket) = address.trim().strip_prefix("unix://") {
            remove_if_there(Path::new(socket))?;
        }
    }
    Ok(())
}

/// libcni keeps what a plugin answered in a file named network-sandbox-interface; the network of `lo`
/// has the same name for every containerd.
fn remove_cni_results(state: &StateDir) -> Result<()> {
    let prefix = format!("{}-", state.network());
    let sandboxes = names_in(&state.join("root/io.containerd.grpc.v1.cri/sandboxes"));
    for name in names_in(Path::new("/var/lib/cni/results")) {
        if name.starts_with(&prefix) || sandboxes.iter().any(|id| name.contains(id)) {
            remove_if_there(&Path::new("/var/lib/cni/results").join(name))?;
        }
    }
    Ok(())
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| path.display().to_string())
        }
        _ => Ok(()),
    }
}

/// The last mounted first. A mount may be hidden by a later one at the same place.
fn unmount_below(folder: &Path) -> Result<()> {
    let path = "/proc/self/mountinfo";
    let mut mounts = parse_mounts_below(&fs::read_to_string(path).context(path)?, folder);
    while let Some(mount) = mounts.pop() {
        match rustix::mount::unmount(&mount, UnmountFlags::DETACH) {
            // Not mounted any more, or gone together with its parent.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot unmount {}", mount.display())),
        }
    }
    Ok(())
}

/// Loop devices on files in the folder, such as a test makes to have a disk of its own.
async fn detach_loops(folder: &Path) -> Result<()> {
    for device in fs::read_dir("/sys/block").context("/sys/block")?.flatten() {
        let backing = fs::read_to_string(device.path().join("loop/backing_file")).unwrap_or_default();
        if Path::new(backing.trim_end()).starts_with(folder) {
            let node = Path::new("/dev").join(device.file_name());
            let output =
                Command::new("losetup").arg("--detach").arg(&node).output().await.context("losetup")?;
            ensure!(
                output.status.success(),
                "losetup: {}",
                String::from_utf8_lossy(&output.stderr).trim_end()
            );
        }
    }
    Ok(())
}

fn parse_mounts_below(mountinfo: &str, folder: &Path) -> Vec<PathBuf> {
    // Our own paths contain nothing that mountinfo would write as an octal escape.
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    points.filter(|point| point.starts_with(folder)).collect()
}

/// What all testbeds share goes with the last of them, and not before: a shim or a CNI plugin that
/// has just seen its folder there would fail to put anything into it.
///
/// Waits for its turn, as long as another testbed picks a subnet or a kubelet starts.
pub(crate) fn remove_shared_folders() -> Result<()> {
    let _turn = StateDir::lock_root()?;
    if StateDir::all()?.is_empty() {
        for folder in SHARED_FOLDERS {
            // In use by somebody who is no testbed it is not empty, and stays.
            let _ = fs::remove_dir(folder);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_inside_the_folder_are_ours() {
        let text = "30 1 8:1 / / rw - ext4 /dev/vda rw\n\
                    31 30 0:4 net:[1] /var/lib/podvitals-testbed/a/state/netns/x rw shared:1 - nsfs nsfs rw\n\
                    32 30 0:4 / /var/lib/podvitals-testbed/ab/state rw - tmpfs tmpfs rw\n";
        let found = parse_mounts_below(text, Path::new("/var/lib/podvitals-testbed/a"));
        assert_eq!(found, [PathBuf::from("/var/lib/podvitals-testbed/a/state/netns/x")]);
    }
}
