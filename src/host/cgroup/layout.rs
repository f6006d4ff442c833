//! Where each controller's cgroups are on this node, found once at start.
//!
//! Version 2 has one hierarchy for all; version 1 one per controller, some of them co-mounted
//! (`cpu,cpuacct`) or reached by symbolic links; hybrid nodes have both. Each controller is placed
//! for itself (`man 7 cgroups`). A line of `/proc/self/mountinfo`:
//!
//! ```text
//! 35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
//! ```
//!
//! # Why not by the existence of a file
//! On hybrid nodes `unified/cgroup.controllers` and `unified/<cgroup>/cpu.stat` exist though no
//! controller is there. The file system's magic number decides, then mountinfo. Only where neither
//! knows the tree (a copy of plain files) do directory names decide.

use std::fs::DirEntry;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use procfs::prelude::FromRead;
use procfs::process::MountInfos;

use crate::host::{HostError, HostRoot, syscall};
use crate::model::target::CgroupPath;

use super::names;

/// What is counted in a cgroup, by the file family that shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// Bandwidth control: v1 `cpu`.
    Cpu,
    /// CPU time: v1 `cpuacct`. Version 2 counts it everywhere, without a controller.
    Cpuacct,
    /// `memory`.
    Memory,
    /// Block I/O: v1 `blkio`, v2 `io`.
    Blkio,
    /// `pids`.
    Pids,
    /// Pressure stall information: on the version 2 side only, without a controller.
    Pressure,
}

const CONTROLLERS: [(Controller, &str); 6] = [
    (Controller::Cpu, "cpu"),
    (Controller::Cpuacct, "cpuacct"),
    (Controller::Memory, "memory"),
    (Controller::Blkio, "blkio"),
    (Controller::Pids, "pids"),
    (Controller::Pressure, "pressure"),
];

/// The controllers whose v1 hierarchy may show that a pod exists, best first.
const WATCHED: [Controller; 5] =
    [Controller::Memory, Controller::Cpu, Controller::Cpuacct, Controller::Pids, Controller::Blkio];

/// Which files a hierarchy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// cgroup v1.
    V1,
    /// cgroup v2.
    V2,
}

/// One mounted hierarchy.
#[derive(Debug)]
struct Hierarchy {
    path: PathBuf,
    /// `O_PATH`, so that paths below are found without walking to the mount each time.
    directory: OwnedFd,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    hierarchy: usize,
    version: Version,
}

/// Where the cgroups are. Immutable.
#[derive(Debug)]
pub struct Layout {
    hierarchies: Vec<Hierarchy>,
    /// By [`Controller`].
    places: [Option<Place>; CONTROLLERS.len()],
    watched: usize,
    kind: &'static str,
    on_kernel: bool,
    kernel_has_psi: bool,
    memory_total_bytes: Option<u64>,
}

const CGROUP_V1_MAGIC: u64 = 0x0027_e0eb;
const CGROUP_V2_MAGIC: u64 = 0x6367_7270;

/// Levels below the mount at which `kubepods` is looked for.
const KUBEPODS_DEPTH: usize = 6;
/// Directories looked at for that, so that a hostile tree cannot hold us up.
const KUBEPODS_DIRECTORIES: usize = 20_000;

impl Layout {
    /// Finds every hierarchy below `root.cgroup`.
    ///
    /// # Errors
    /// The mount cannot be opened, or holds no cgroups at all.
    pub fn detect(root: &HostRoot) -> Result<Self, HostError> {
        let mut found = Found::default();
        if magic(&root.cgroup) == Some(CGROUP_V2_MAGIC) {
            found.place_all(&root.cgroup);
        } else {
            found.add_mounts(root);
            found.add_directories(root);
            found.add_unified(root);
        }
        found.into_layout(root)
    }

    /// The mount in which pod directories are listed and watched.
    pub fn watched(&self) -> &Path {
        &self.hierarchies[self.watched].path
    }

    /// Every directory that holds all pods of a kubelet, relative to [`Self::watched`]. Several
    /// where several kubelets run; one inside a pod belongs to that pod and is not listed.
    pub fn kubepods(&self) -> Vec<CgroupPath> {
        let mut found = Vec::new();
        let mut level = vec![PathBuf::new()];
        let mut left = KUBEPODS_DIRECTORIES;
        for _ in 0..KUBEPODS_DEPTH {
            let mut below = Vec::new();
            for parent in level {
                for name in subdirectories(&self.watched().join(&parent)) {
                    left = left.saturating_sub(1);
                    let path = parent.join(&name);
                    if left == 0 {
                        tracing::warn!(path = %path.display(), "too many cgroups, not all are searched for pods");
                        return found;
                    }
                    if names::is_kubepods(&name) {
                        found.push(CgroupPath::new(path));
                    } else {
                        below.push(path);
                    }
                }
            }
            level = below;
        }
        found.sort();
        found
    }

    /// One line for the log.
    pub fn describe(&self) -> String {
        let mut line = format!("cgroup {}:", self.kind);
        for (controller, name) in CONTROLLERS {
            match self.places[controller as usize] {
                Some(place) => {
                    let version = if place.version == Version::V1 { "v1" } else { "v2" };
                    let path = self.hierarchies[place.hierarchy].path.display();
                    line.push_str(&format!(" {name}={path}({version})"));
                }
                None => line.push_str(&format!(" {name}=none")),
            }
        }
        line
    }

    /// Whether block I/O is counted by cgroup v1, that is perhaps not at all.
    pub fn is_v1_io(&self) -> bool {
        self.version(Controller::Blkio) == Some(Version::V1)
    }

    /// Identity of the directory `path` in [`Self::watched`]; `None` if it does not exist.
    pub fn inode(&self, path: &CgroupPath) -> Option<u64> {
        syscall::inode_of_directory(self.watched().join(path.as_path()))
    }

    /// Whether this is a real cgroup file system, whose inode numbers grow in the order of creation.
    pub fn on_kernel(&self) -> bool {
        self.on_kernel
    }

    /// Whether `/proc/pressure` is there: the kernel has PSI and it is switched on.
    pub fn kernel_has_psi(&self) -> bool {
        self.kernel_has_psi
    }

    /// `MemTotal`: no limit above it limits anything.
    pub fn memory_total_bytes(&self) -> Option<u64> {
        self.memory_total_bytes
    }

    /// What memory that is not limited has for its limit: `PAGE_COUNTER_MAX` on version 1; on version 2 no number.
    pub fn unlimited_memory_bytes(&self) -> Option<u64> {
        let page = rustix::param::page_size() as u64;
        let pages = i64::MAX.cast_unsigned() / page;
        (self.version(Controller::Memory) == Some(Version::V1)).then(|| pages * page)
    }

    /// Which files show this controller's figures; `None` if there are none.
    pub fn version(&self, controller: Controller) -> Option<Version> {
        self.places[controller as usize].map(|place| place.version)
    }

    /// The mount of the hierarchy that has this controller.
    pub fn mount(&self, controller: Controller) -> Option<&Path> {
        self.places[controller as usize].map(|place| self.hierarchies[place.hierarchy].path.as_path())
    }

    /// The same as an `O_PATH` descriptor.
    pub(super) fn directory(&self, controller: Controller) -> Option<&OwnedFd> {
        self.places[controller as usize].map(|place| &self.hierarchies[place.hierarchy].directory)
    }

    /// [`Self::watched`] as an `O_PATH` descriptor.
    pub(super) fn watched_directory(&self) -> &OwnedFd {
        &self.hierarchies[self.watched].directory
    }
}

/// The layout while it is being found.
#[derive(Default)]
struct Found {
    mounts: Vec<PathBuf>,
    places: [Option<Place>; CONTROLLERS.len()],
}

impl Found {
    fn place(&mut self, controller: Controller, mount: &Path, version: Version) {
        let place = &mut self.places[controller as usize];
        if place.is_none() {
            let known = self.mounts.iter().position(|known| known == mount);
            let hierarchy = known.unwrap_or_else(|| {
                self.mounts.push(mount.to_owned());
                self.mounts.len() - 1
            });
            *place = Some(Place { hierarchy, version });
        }
    }

    fn place_all(&mut self, mount: &Path) {
        for (controller, _) in CONTROLLERS {
            self.place(controller, mount, Version::V2);
        }
    }

    fn has_v1(&self) -> bool {
        self.places.iter().flatten().any(|place| place.version == Version::V1)
    }

    /// v1 hierarchies below the root by the kernel's own list of mounts: ours, or that of pid 1 where
    /// its paths hold for us.
    fn add_mounts(&mut self, root: &HostRoot) {
        for process in ["self", "1"] {
            let mounts = syscall::contents(root.proc.join(process).join("mountinfo"));
            let Some(mounts) = mounts.ok().and_then(|text| MountInfos::from_read(&*text).ok()) else {
                continue;
            };
            for mount in mounts.iter().filter(|mount| mount.fs_type == "cgroup") {
                let real = magic(&mount.mount_point) == Some(CGROUP_V1_MAGIC);
                if !real || !mount.mount_point.starts_with(&root.cgroup) {
                    continue;
                }
                for controller in v1_controllers(|name| mount.super_options.contains_key(name)) {
                    self.place(controller, &mount.mount_point, Version::V1);
                }
            }
        }
    }

    /// v1 hierarchies below the root by the names of its directories and links: `memory`,
    /// `cpu,cpuacct`. For trees that mountinfo does not show at this path. Beside real mounts a plain
    /// directory is a mount point that nothing is mounted on.
    fn add_directories(&mut self, root: &HostRoot) {
        let candidate = |name: String| {
            let path = root.cgroup.join(&name);
            // `cpu` and `cpuacct` may be links to one `cpu,cpuacct`.
            let mount = syscall::canonical(&path).unwrap_or(path);
            let magic = magic(&mount);
            (name, mount, magic)
        };
        let candidates: Vec<_> = subdirectories(&root.cgroup).into_iter().map(candidate).collect();
        let real = candidates.iter().any(|(_, _, magic)| *magic == Some(CGROUP_V1_MAGIC));
        for (name, mount, magic) in candidates {
            let usable = if real { magic == Some(CGROUP_V1_MAGIC) } else { magic != Some(CGROUP_V2_MAGIC) };
            if usable {
                for controller in v1_controllers(|wanted| name.split(',').any(|part| part == wanted)) {
                    self.place(controller, &mount, Version::V1);
                }
            }
        }
    }

    /// The version 2 side of a hybrid node has what no v1 hierarchy has. A tree that has no v1
    /// hierarchy and is not a mount of ours is version 2 as a whole.
    fn add_unified(&mut self, root: &HostRoot) {
        let unified = root.cgroup.join("unified");
        let listed =
            |mount: &Path| String::from_utf8(syscall::contents(mount.join("cgroup.controllers")).ok()?).ok();
        if !self.has_v1() {
            if listed(&root.cgroup).is_some() {
                self.place_all(&root.cgroup);
            } else if listed(&unified).is_some() {
                self.place_all(&unified);
            }
            return;
        }
        let Some(controllers) = listed(&unified) else { return };
        for (controller, name) in CONTROLLERS {
            let name = if controller == Controller::Blkio { "io" } else { name };
            let without_controller = matches!(controller, Controller::Cpuacct | Controller::Pressure);
            if without_controller || controllers.split_whitespace().any(|listed| listed == name) {
                self.place(controller, &unified, Version::V2);
            }
        }
    }

    fn into_layout(self, root: &HostRoot) -> Result<Layout, HostError> {
        let place = |controller: Controller| self.places[controller as usize];
        let watched = WATCHED.into_iter().find_map(|controller| {
            place(controller).filter(|place| place.version == Version::V1 || !self.has_v1())
        });
        let Some(watched) = watched else {
            let nothing = "neither cgroup v2 nor any cgroup v1 controller is mounted here";
            return Err(HostError::Io {
                path: root.cgroup.clone(),
                source: io::Error::new(io::ErrorKind::Unsupported, nothing),
            });
        };
        let kind = match (self.has_v1(), place(Controller::Pressure).is_some()) {
            (false, _) => "v2",
            (true, false) => "v1",
            (true, true) => "v1 and v2",
        };
        let watched = watched.hierarchy;
        let on_kernel = matches!(magic(&self.mounts[watched]), Some(CGROUP_V1_MAGIC | CGROUP_V2_MAGIC));
        let open = |path: PathBuf| match syscall::open(&path, syscall::HOLD) {
            Ok(directory) => Ok(Hierarchy { path, directory }),
            Err(errno) => Err(HostError::from_io(path, errno.into())),
        };
        let meminfo = syscall::contents(root.proc.join("meminfo")).ok();
        Ok(Layout {
            hierarchies: self.mounts.into_iter().map(open).collect::<Result<_, _>>()?,
            places: self.places,
            watched,
            kind,
            on_kernel,
            kernel_has_psi: syscall::is_directory(root.proc.join("pressure")),
            memory_total_bytes: meminfo
                .and_then(|text| procfs::Meminfo::from_read(&*text).ok())
                .map(|meminfo| meminfo.mem_total),
        })
    }
}

/// The v1 controllers whose name is `listed`. Pressure has no v1 side.
fn v1_controllers(listed: impl Fn(&str) -> bool) -> impl Iterator<Item = Controller> {
    CONTROLLERS.into_iter().filter_map(move |(controller, name)| {
        (controller != Controller::Pressure && listed(name)).then_some(controller)
    })
}

/// The magic number of the file system at `path`.
fn magic(path: &Path) -> Option<u64> {
    let statfs = syscall::stat_file_system(path).ok()?;
    u64::try_from(statfs.f_type).ok()
}

/// Names of the directories, and links to directories, in `path`; none if it cannot be read.
fn subdirectories(path: &Path) -> Vec<String> {
    let Ok(entries) = syscall::read_directory(path) else { return Vec::new() };
    let is_directory = |entry: &DirEntry| match syscall::is_listed_as_directory(entry) {
        Some(known) => known,
        None => syscall::is_directory(entry.path()),
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(is_directory)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
