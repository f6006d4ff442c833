//! The HTTP contract, spoken over a socket: every route, every status, every limit.
//!
//! The server is the real one, the node is made by hand (`http/node.rs`). Documents are compared with
//! `tests/golden/`; `UPDATE_GOLDEN=1` rewrites them, and the difference is for a person to read.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test may fail loudly")]

#[path = "http/client.rs"]
mod client;
#[path = "http/limits.rs"]
mod limits;
#[path = "http/node.rs"]
mod node;
#[path = "http/routes.rs"]
mod routes;
