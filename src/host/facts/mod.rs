//! What this host lets us read, looked at once: the values that `doctor` judges.
//!
//! Nothing here says whether a value is good, and nothing here changes the host: files are opened and
//! closed, sockets knocked at, addresses tried and given back.

pub mod cgroups;
pub mod daemon;
pub mod limits;
pub mod permissions;
pub mod processes;
pub mod sockets;

use std::fmt;
use std::io;
use std::path::Path;

use rustix::io::Errno;

use super::HostRoot;
use super::syscall;

/// Why something could not be read, connected to or listened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// ENOENT, ENODEV, ESRCH.
    Absent,
    /// EPERM: the rules of the kernel, `hidepid=1` among them.
    NotPermitted,
    /// EACCES: the mode of the file, or a security module.
    Denied,
    /// ECONNREFUSED: nobody listens.
    NobodyListens,
    /// EADDRINUSE, or somebody answers.
    Taken,
    /// Anything else, in the system's words.
    Other(String),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::NODEV | Errno::SRCH => Self::Absent,
            Errno::PERM => Self::NotPermitted,
            Errno::ACCESS => Self::Denied,
            Errno::CONNREFUSED => Self::NobodyListens,
            Errno::ADDRINUSE => Self::Taken,
            errno => Self::Other(io::Error::from(errno).to_string()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(errno) => errno.into(),
            None => Self::Other(error.to_string()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "not there",
            Self::NotPermitted => "operation not permitted",
            Self::Denied => "permission denied",
            Self::NobodyListens => "nobody listens",
            Self::Taken => "in use",
            Self::Other(words) => words,
        })
    }
}

/// What came of a try.
pub type Tried<T> = Result<T, Failure>;

/// The text of a file; empty if it cannot be read.
pub(super) fn text_of(path: &Path) -> String {
    let text = syscall::contents(path).unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}

/// The first line of a file, if it can be read and is text.
pub(super) fn first_line(path: &Path) -> Option<String> {
    let text = syscall::contents(path).ok()?;
    let line = text.split(|byte| matches!(byte, b'\n' | 0)).next()?;
    let line = String::from_utf8_lossy(line).trim().to_owned();
    (!line.is_empty()).then_some(line)
}

/// A file with one number.
pub(super) fn number(path: &Path) -> Option<u64> {
    first_line(path)?.parse().ok()
}

/// The machine under all this.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// `6.18.44`.
    pub kernel: Option<String>,
    /// Seconds since 1970 by the clock that people set.
    pub unix_seconds: u64,
    /// What the kernel reads the time from: `tsc`, `kvm-clock`, `hpet`.
    pub clock_source: Option<String>,
}

impl Machine {
    /// Looks.
    pub fn read(root: &HostRoot) -> Self {
        let clock = root.sys.join("devices/system/clocksource/clocksource0/current_clocksource");
        Self {
            kernel: first_line(&root.proc.join("sys/kernel/osrelease")),
            unix_seconds: super::clock::pair().wall.as_unix_nanos() / 1_000_000_000,
            clock_source: first_line(&clock),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixture::Node;

    #[test]
    fn failures_that_mean_different_things_are_told_apart() {
        for (errno, failure) in [
            (Errno::NOENT, Failure::Absent),
            (Errno::PERM, Failure::NotPermitted),
            (Errno::ACCESS, Failure::Denied),
            (Errno::CONNREFUSED, Failure::NobodyListens),
            (Errno::ADDRINUSE, Failure::Taken),
        ] {
            assert_eq!(Failure::from(errno), failure);
            assert_eq!(Failure::from(io::Error::from(errno)), failure);
        }
        assert_eq!(Failure::from(Errno::OPNOTSUPP).to_string(), "Operation not supported (os error 95)");
    }

    #[test]
    fn a_machine_is_known_by_its_kernel_and_its_clocks() {
        let node = Node::new();
        node.write("proc/sys/kernel/osrelease", "6.18.44\n");
        node.write("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n");
        let machine = Machine::read(&node.root());
        assert_eq!(machine.kernel.as_deref(), Some("6.18.44"));
        assert_eq!(machine.clock_source.as_deref(), Some("hpet"));
        assert!(machine.unix_seconds > 1_700_000_000);
        let bare = Machine::read(&Node::new().root());
        assert_eq!((bare.kernel, bare.clock_source), (None, None));
    }
}
