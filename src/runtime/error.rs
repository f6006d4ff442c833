//! Why a runtime gave no answer.

use std::path::PathBuf;

use crate::model::health::Trouble;

use super::DEADLINE;

/// Why the runtime gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// It did not answer in time.
    #[error("{socket}: no answer to {call} within {} s", DEADLINE.as_secs())]
    Timeout {
        /// Its socket.
        socket: PathBuf,
        /// The method.
        call: &'static str,
    },
    /// It cannot be reached, or refused.
    #[error("{socket}: {call}: {message}")]
    Call {
        /// Its socket.
        socket: PathBuf,
        /// The method.
        call: &'static str,
        /// What it, or the connection, said.
        message: String,
        /// The kind under which it is counted.
        trouble: Trouble,
    },
    /// It does not know the method.
    #[error("{socket}: {call} is not implemented")]
    Unimplemented {
        /// Its socket.
        socket: PathBuf,
        /// The method.
        call: &'static str,
    },
}

impl RuntimeError {
    /// The kind under which it is counted.
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Timeout { .. } => Trouble::Timeout,
            Self::Call { trouble, .. } => *trouble,
            Self::Unimplemented { .. } => Trouble::Io,
        }
    }
}
