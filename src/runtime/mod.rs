//! NEIGHBOUR the container runtime: asked for names and pids, never for figures.

pub mod cri;
pub mod docker;
pub mod engine;
pub mod error;
#[doc(hidden)]
pub mod fuzzing;
pub mod version;

mod client;
mod details;
mod messages;
mod pods;

#[cfg(test)]
pub(crate) mod fake;

#[cfg(test)]
mod tests;

use std::time::Duration;

/// A runtime that takes longer is as good as gone.
const DEADLINE: Duration = Duration::from_secs(2);

/// The kubelet's value; a node of 1,000 containers needs more than the usual 4 MiB.
const LARGEST_ANSWER: usize = 16 << 20;
