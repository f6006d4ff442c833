//! The other commands: each shows a person what the HTTP API says.
//!
//! `get` prints lists, `explain` the chain of one pod; `doctor` looks at the host itself. The first two ask an [`Origin`]: a podvitals that
//! serves, or, with `--direct`, the stages in this process. Rendering is pure: documents in, text out.

mod columns;
mod doctor;
mod explain;
#[doc(hidden)]
pub mod fuzzing;
mod get;
mod origin;
mod reasons;
mod server;
mod table;
mod trust;
mod units;

use std::io;

pub use crate::host::facts::daemon::arguments_of_process_1;
pub use doctor::{Form, Told, doctor};
pub use explain::{Explain, explain};
pub use get::{Get, Kind, Output, get};
pub use origin::Origin;
pub use server::{BadServer, DEFAULT_SERVER, FetchError, Server};
pub use trust::{Trust, TrustError};

use crate::pipeline::PipelineError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// No answer.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The server said no, and why.
    #[error("{path}: {status}: {detail}")]
    Refused {
        /// What was asked for.
        path: String,
        /// The HTTP status.
        status: u16,
        /// The server's own words.
        detail: String,
    },
    /// The answer is not the document it should be.
    #[error("{path}: not the document this podvitals knows; is the server of another version?")]
    Malformed {
        /// What was asked for.
        path: String,
        /// Where it differs.
        source: serde_json::Error,
    },
    /// There is no such pod; these have names like it.
    #[error("no pod {wanted} on node {node}{}", did_you_mean(.similar))]
    NoSuchPod {
        /// What was asked for.
        wanted: String,
        /// Where we looked.
        node: String,
        /// The names nearest to it.
        similar: Vec<String>,
    },
    /// The stages do not start.
    #[error("this host cannot be sampled directly")]
    Pipeline(#[from] PipelineError),
    /// The document cannot be put in this form.
    #[error("the document cannot be written as {form}")]
    Form {
        /// `json` or `yaml`.
        form: &'static str,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// `doctor` found that something does not work.
    #[error("the core job does not work here: {broken}")]
    Unfit {
        /// Which parts of it.
        broken: String,
    },
    /// The output is closed or full.
    #[error("cannot write the output")]
    Write(#[from] io::Error),
}

fn did_you_mean(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!("; did you mean {}?", names.join(", ")),
    }
}
