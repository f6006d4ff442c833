//! The cgroups above the containers' own: the kubelet makes `kubepods`, the QoS level and the pod in
//! every hierarchy and removes them; containerd does neither for all controllers, so we do.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep};

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hierarchy {
    mount: PathBuf,
    /// The controllers of a v1 hierarchy; empty on v2.
    controllers: Vec<String>,
    v2: bool,
}

/// Makes the cgroup `path` (absolute, as in `/proc/<pid>/cgroup`) in every hierarchy.
pub(crate) fn create(path: &str) -> Result<()> {
    for hierarchy in read_hierarchies()? {
        let target = hierarchy.mount.join(path.trim_start_matches('/'));
        fs::create_dir_all(&target).with_context(|| target.display().to_string())?;
        if hierarchy.v2 {
            enable_controllers(&hierarchy.mount, &target)?;
        }
    }
    Ok(())
}

/// On v2 a cgroup has the controllers its parent hands down; the kubelet hands down all.
fn enable_controllers(mount: &Path, target: &Path) -> Result<()> {
    let mut levels: Vec<&Path> =
        target.ancestors().skip(1).take_while(|level| level.starts_with(mount)).collect();
    levels.reverse();
    for level in levels {
        let available = fs::read_to_string(level.join("cgroup.controllers")).unwrap_or_default();
        for controller in available.split_whitespace() {
            let control = level.join("cgroup.subtree_control");
            // Some cannot be handed down (cpu with realtime tasks): the cgroup then simply lacks them.
            let _ = fs::write(&control, format!("+{controller}"));
        }
    }
    Ok(())
}

/// Lets processes into the cgroup `path` of a v1 cpuset, which is made without CPUs: it gets its
/// parent's, level by level, as a runtime would do it.
pub(crate) fn open_cpusets(path: &str) -> Result<()> {
    for hierarchy in read_hierarchies()?.iter().filter(|h| h.controllers.iter().any(|name| name == "cpuset"))
    {
        let mut level = hierarchy.mount.clone();
        for name in path.trim_matches('/').split('/') {
            let parent = level.clone();
            level.push(name);
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let (theirs, ours) = (parent.join(file), level.join(file));
                let read = |file: &Path| fs::read_to_string(file).with_context(|| file.display().to_string());
                if read(&ours)?.trim().is_empty() {
                    fs::write(&ours, read(&theirs)?).with_context(|| ours.display().to_string())?;
                }
            }
        }
    }
    Ok(())
}

/// Removes the cgroup `path` and all below it from every hierarchy. Its processes must have ended;
/// the kernel may need a moment more to let go of them.
pub(crate) async fn remove(path: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(error) = try_remove(path) {
        if Instant::now() >= deadline {
            return Err(error);
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// One attempt at what [`remove`] does, for those who do not wait in tokio.
pub(crate) fn try_remove(path: &str) -> Result<()> {
    for target in directories(path)? {
        remove_tree(&target).with_context(|| format!("cannot remove cgroup {}", target.display()))?;
    }
    Ok(())
}

/// Removes the cgroup `path` where nothing is in it any more: neither a process nor a pod.
pub(crate) fn try_remove_empty(path: &str) -> Result<()> {
    if pids(path)?.is_empty() { try_remove(path) } else { Ok(()) }
}

fn remove_tree(target: &Path) -> std::io::Result<()> {
    for child in child_directories(target) {
        remove_tree(&child)?;
    }
    match fs::remove_dir(target) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Every pid in the cgroup `path` and below it, in any hierarchy.
pub(crate) fn pids(path: &str) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    for hierarchy in read_hierarchies()? {
        collect_pids(&hierarchy.mount.join(path.trim_start_matches('/')), &mut pids);
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

fn collect_pids(target: &Path, pids: &mut Vec<i32>) {
    let listed = fs::read_to_string(target.join("cgroup.procs")).unwrap_or_default();
    pids.extend(listed.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
    for child in child_directories(target) {
        collect_pids(&child, pids);
    }
}

fn child_directories(target: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(target) else { return Vec::new() };
    let directories = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path()).collect()
}

/// The directory of the cgroup `path` in the hierarchy that has `controller`: v1 if there is one, else v2.
pub(crate) fn directory(path: &str, controller: &str) -> Result<PathBuf> {
    let hierarchies = read_hierarchies()?;
    let v1 = hierarchies.iter().find(|hierarchy| hierarchy.controllers.iter().any(|name| name == controller));
    let Some(hierarchy) = v1.or_else(|| hierarchies.iter().find(|hierarchy| hierarchy.v2)) else {
        bail!("no cgroup hierarchy has the controller '{controller}'");
    };
    Ok(hierarchy.mount.join(path.trim_start_matches('/')))
}

/// The directories of the cgroup `path`, one in each hierarchy.
pub(crate) fn directories(path: &str) -> Result<Vec<PathBuf>> {
    let mounts = read_hierarchies()?.into_iter().map(|hierarchy| hierarchy.mount);
    Ok(mounts.map(|mount| mount.join(path.trim_start_matches('/'))).collect())
}

fn read_hierarchies() -> Result<Vec<Hierarchy>> {
    let path = "/proc/self/mountinfo";
    let found = parse_hierarchies(&fs::read_to_string(path).context(path)?);
    if found.is_empty() {
        bail!("{path}: no cgroup hierarchy is mounted under /sys/fs/cgroup");
    }
    Ok(found)
}

/// proc_pid_mountinfo(5): `34 25 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct`.
/// Mounts elsewhere (those of other containers' roots) are not the host's.
fn parse_hierarchies(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let Some(mount) = left.split(' ').nth(4).filter(|mount| mount.starts_with("/sys/fs/cgroup")) else {
            continue;
        };
        let mut right = right.split(' ');
        let v2 = match right.next() {
            Some("cgroup") => false,
            Some("cgroup2") => true,
            _ => continue,
        };
        let options = if v2 { "" } else { right.nth(1).unwrap_or_default() };
        let controllers = options.split(',').filter(|option| !matches!(*option, "" | "rw" | "ro"));
        let hierarchy =
            Hierarchy { mount: mount.into(), controllers: controllers.map(str::to_owned).collect(), v2 };
        if !found.contains(&hierarchy) {
            found.push(hierarchy);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_a_hybrid_node() {
        let found = parse_hierarchies(
            "24 22 0:22 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
             25 24 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
             26 24 0:24 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n\
             27 24 0:25 / /sys/fs/cgroup/unified rw,relatime shared:3 - cgroup2 cgroup2 rw\n\
             28 24 0:23 / /run/other/sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n",
        );
        let mounts: Vec<_> =
            found.iter().map(|h| (h.mount.to_str().unwrap(), h.controllers.join("+"), h.v2)).collect();
        assert_eq!(
            mounts,
            [
                ("/sys/fs/cgroup/cpu,cpuacct", "cpu+cpuacct".to_owned(), false),
                ("/sys/fs/cgroup/systemd", "name=systemd".to_owned(), false),
                ("/sys/fs/cgroup/unified", String::new(), true),
            ]
        );
    }
}
