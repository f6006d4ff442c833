//! **podvitals** knows the vital signs of every pod on its Kubernetes node, one second old and exact
//! to the byte.
//!
//! ```text
//!   API server      container runtime       kernel files                                              HTTP clients
//!       │                  │                     │                                                         ▲
//!  kubernetes/          runtime/               host/            ← neighbours: one room per outside system  │
//!       └────────┬─────────┘        ┌────────────┤                                                         │
//!            discover ──pods──► resolve ──targets──► sample ──counters──► rate ──usage──► aggregate ──snapshot──► serve
//!                                                                                             └──► history ──frames──┘
//!
//!   model: the nouns      config: the knobs      pipeline: wires, paces, stops
//! ```
//!
//! Read the rooms in the order of the picture. Stages never import each other: they meet in
//! [`model`], and [`pipeline`] hands values along. Each outside system, and the crates that speak to
//! it, live in one neighbour room. `tests/tidy.rs` holds both rules.

// The nouns all rooms share.
pub mod model;

// Every knob, parsed and checked once.
pub mod config;

// NEIGHBOUR the kernel.
pub mod host;

// NEIGHBOUR the container runtime.
pub mod runtime;

// NEIGHBOUR the API server and the kubelet.
pub mod kubernetes;

// STAGE which pods are bound to this node, from whichever neighbours answer.
pub mod discover;

// STAGE which cgroups, sandbox, processes, netns and host interface they are, with the evidence.
pub mod resolve;

// STAGE one sweep over the targets, each read stamped with its own instant.
pub mod sample;

// STAGE two samples of the same thing make a rate, or nothing.
pub mod rate;

// STAGE containers and sandbox make a pod; pod counters that never go back.
pub mod aggregate;

// STAGE the last minutes, in a fixed number of bytes.
pub mod history;

// STAGE the last snapshot over HTTP.
pub mod serve;

// Connects the stages; owns the clock, the tasks and shutdown; decides nothing else.
pub mod pipeline;

// The other commands: clients of the HTTP API.
pub mod command;

// Every parser of foreign bytes, for fuzzers.
#[doc(hidden)]
pub mod fuzzing;
