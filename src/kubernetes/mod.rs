//! NEIGHBOUR the API server and the kubelet: asked for names and rights, never for figures.

pub mod client;
#[doc(hidden)]
pub mod fuzzing;
pub mod kubelet;
pub mod review;
pub mod watch;

mod identity;
mod index;
mod json;
mod lenient;
mod lines;
mod pod;
mod probe;
mod quantity;

#[cfg(test)]
pub(crate) mod fake;
