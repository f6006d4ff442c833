//! The HTTP contract, spoken over a socket: every route, every status, every limit.
//!
//! The server is the real one, the node is made by hand (`http/node.rs`). Documents are compared with
//! `tests/golden/`; `UPDATE_GOLDEN=1` rewrites them, and the difference is for a person to read.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "of figures a test made itself"
)]
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test may fail loudly")]

#[path = "http/access.rs"]
mod access;
#[path = "http/cadvisor_rest.rs"]
mod cadvisor_rest;
#[path = "http/cadvisor_rest_events.rs"]
mod cadvisor_rest_events;
#[path = "http/client.rs"]
mod client;
#[path = "http/docker.rs"]
mod docker;
#[path = "http/docker_events.rs"]
mod docker_events;
#[path = "http/earlier.rs"]
mod earlier;
#[path = "http/exposition.rs"]
mod exposition;
#[path = "http/file_systems.rs"]
mod file_systems;
#[path = "http/heapster.rs"]
mod heapster;
#[path = "http/hostile.rs"]
mod hostile;
#[path = "http/interfaces.rs"]
mod interfaces;
#[path = "http/kubelet.rs"]
mod kubelet;
#[path = "http/kubelet_names.rs"]
mod kubelet_names;
#[path = "http/kubelet_shape.rs"]
mod kubelet_shape;
#[path = "http/large.rs"]
mod large;
#[path = "http/limits.rs"]
mod limits;
#[path = "http/live.rs"]
mod live;
#[path = "http/memory_stat.rs"]
mod memory_stat;
#[path = "http/names.rs"]
mod names;
#[path = "http/node.rs"]
mod node;
#[path = "http/parts.rs"]
mod parts;
#[path = "http/past.rs"]
mod past;
#[path = "http/processes.rs"]
mod processes;
#[path = "http/routes.rs"]
mod routes;
#[path = "http/secure.rs"]
mod secure;
#[path = "http/series.rs"]
mod series;
#[path = "http/series_names.rs"]
mod series_names;
#[path = "http/streams.rs"]
mod streams;
#[path = "names/table.rs"]
mod table;
#[path = "http/tls.rs"]
mod tls;
