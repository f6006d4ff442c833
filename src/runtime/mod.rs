//! NEIGHBOUR the container runtime: asked for names and pids, never for figures.

pub mod cri;

mod client;
mod details;
mod messages;
mod pods;

#[cfg(test)]
pub(crate) mod fake;

#[cfg(test)]
mod tests;
