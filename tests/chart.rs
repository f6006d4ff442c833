//! The chart as Helm rendered it (`tests/golden/chart/`, `manifests/`), without Helm: every document is
//! what Kubernetes takes it for, grants what the README says and no more, and says to podvitals what
//! podvitals understands.
//!
//! `cargo xtask chart --check` shows that these files are what Helm renders.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test may fail loudly")]

#[path = "chart/daemonset.rs"]
mod daemonset;
#[path = "chart/papers.rs"]
mod papers;
#[path = "chart/permissions.rs"]
mod permissions;
#[path = "chart/render.rs"]
mod render;
#[path = "chart/types.rs"]
mod types;
