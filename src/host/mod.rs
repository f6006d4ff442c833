//! NEIGHBOUR the kernel: turns kernel text into counters.
//!
//! Everything that opens a file of `/proc`, `/sys` or the cgroup tree is in this room, and nothing
//! else is. Parsers take bytes and know no path; readers add the path to the error.

pub mod cgroup;
pub mod clock;
pub mod devices;
pub mod error;
pub mod facts;
pub mod file_systems;
#[doc(hidden)]
pub mod fuzzing;
pub mod interfaces;
mod kept_file;
pub mod limits;
pub mod link;
pub mod net_dev;
pub mod net_ip;
mod netlink;
pub mod node;
mod node_files;
mod node_load;
mod node_network;
mod proc_scan;
pub mod process;
pub mod process_table;
pub mod processors;
pub mod read;
mod syscall;
pub mod text;
mod units_check;
mod veth;
pub mod watch;

#[cfg(test)]
pub(crate) mod fault;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
pub(crate) mod fixture_pods;

use std::path::PathBuf;

/// Where the host's file systems are: `/host/…` in the pod, a fixture in tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRoot {
    /// The host's `/proc`, in whatever pid namespace it was mounted.
    pub proc: PathBuf,
    /// The host's `/sys/fs/cgroup`.
    pub cgroup: PathBuf,
    /// `/sys`, for block devices and, in the host's netns, its links.
    pub sys: PathBuf,
}

impl HostRoot {
    /// The host's file systems as they are mounted for us. `/sys` is our own: it shows the host's block
    /// devices in any namespace.
    pub fn new(proc: PathBuf, cgroup: PathBuf) -> Self {
        Self { proc, cgroup, sys: PathBuf::from("/sys") }
    }

    /// The directory of a process.
    pub fn process(&self, pid: u32) -> PathBuf {
        self.proc.join(pid.to_string())
    }
}

pub use error::HostError;

/// The name of a file by the number under which [`crate::model::health::Health::begin_read`] has it.
pub fn file_name(file: u8) -> &'static str {
    match read::file_name(file) {
        Some(name) => name,
        None => cgroup::reader::file_name(file),
    }
}
