//! What one client, and all clients together, may cost us.

use std::time::Duration;

/// The longest request head, request line included.
pub(super) const HEAD_BYTES: usize = 8 * 1024;

/// The longest body, where one is taken at all.
pub(super) const BODY_BYTES: usize = 8 * 1024;

/// A body has this long to come after its head, if the connection is not cut before.
pub(super) const BODY_WITHIN: Duration = Duration::from_secs(5);

/// How many connections, and how long each may take. [`Limits::default`] is what is served; tests
/// are less patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections. Beyond, the oldest one without a complete request makes room.
    pub connections: usize,
    /// The same for each address; loopback and unix sockets have no such limit, since behind
    /// `kubectl port-forward` all clients are one address.
    pub connections_per_address: usize,
    /// Of the connections, how many can never be taken by anything but `/livez` and `/readyz`.
    pub kept_for_health: usize,
    /// How many answers may go on at once: each is a connection that does not come back.
    pub streams: usize,
    /// The same for each address; a client that follows everything can still ask for something else.
    pub streams_per_address: usize,
    /// From the first byte of a request to the end of its head; a new connection also has this long
    /// for its first byte.
    pub header: Duration,
    /// From the first byte of a request to the last byte of an answer that does not go on.
    pub request: Duration,
    /// Between an answer and the next request.
    pub idle: Duration,
    /// How long a client may leave its receive buffer full, or not take a chunk of an answer that goes on.
    pub write: Duration,
    /// How long requests in flight may take after we were told to stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            connections_per_address: 16,
            kept_for_health: 16,
            streams: 192,
            streams_per_address: 12,
            header: Duration::from_secs(5),
            request: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            write: Duration::from_secs(5),
            drain: Duration::from_secs(5),
        }
    }
}
