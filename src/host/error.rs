//! Three kinds of trouble at the kernel: gone, malformed, refused or failed.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::model::health::Trouble;
use crate::model::unavailable::Unavailable;

/// Why a kernel file gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// ENOENT, ENODEV or ESRCH: the thing ended. Expected, silent.
    #[error("{path}: gone")]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// A line we cannot read: we misread this kernel.
    #[error("{path}: malformed line {line:?}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line.
        line: String,
    },
    /// Any other failure of a system call.
    #[error("{path}: cannot be read")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl HostError {
    /// Sorts the error of a system call on `path`.
    pub fn from_io(path: impl AsRef<Path>, source: io::Error) -> Self {
        let path = path.as_ref().to_owned();
        if is_gone(&source) { Self::Gone { path } } else { Self::Io { path, source } }
    }

    /// A line of `path` that cannot be read; at most 200 bytes of it are kept.
    pub fn malformed(path: impl AsRef<Path>, line: &[u8]) -> Self {
        let line = String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned();
        Self::Malformed { path: path.as_ref().to_owned(), line }
    }

    /// Whether the thing simply ended.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Gone { .. })
    }

    /// The kind under which it is counted.
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Gone { .. } => Trouble::Gone,
            Self::Malformed { .. } => Trouble::Malformed,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => Trouble::Denied,
            Self::Io { .. } => Trouble::Io,
        }
    }

    /// The reason a figure carries that could not be read for this.
    pub fn reason(&self) -> Unavailable {
        match self.trouble() {
            Trouble::Gone => Unavailable::ControllerOff,
            Trouble::Denied => Unavailable::Permission,
            _ => Unavailable::NotYet,
        }
    }
}

/// ENODEV, ENOENT, ESRCH.
pub fn is_gone(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::NODEV | Errno::NOENT | Errno::SRCH))
}

/// An error with all its causes, on one line: `Display` leaves the cause to `source`.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
