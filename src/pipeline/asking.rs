//! The thread that asks the node's file systems: a disk that does not answer holds up nobody else.

use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use tokio::sync::watch;

use crate::host::clock;
use crate::host::file_systems::FileSystemReader;
use crate::model::file_systems::FileSystems;
use crate::model::health::Health;
use crate::model::sweep::Reading;

/// What a file system has left changes slowly, and readers of it come every ten seconds at most.
const EVERY: Duration = Duration::from_secs(5);

/// What the sampler takes along in each of its sweeps.
pub(super) type Known = watch::Receiver<Reading<FileSystems>>;

/// What the thread has.
pub(super) struct Asking {
    pub(super) reader: FileSystemReader,
    pub(super) known: watch::Sender<Reading<FileSystems>>,
    /// Closed when it is to end.
    pub(super) stop: std_mpsc::Receiver<()>,
    pub(super) health: Arc<Health>,
}

impl Asking {
    pub(super) fn run(mut self) {
        loop {
            self.health.begin_asking(clock::monotonic());
            let reading = self.reader.read(&self.health);
            self.health.end_asking();
            let _ = self.known.send_replace(reading);
            if !matches!(self.stop.recv_timeout(EVERY), Err(std_mpsc::RecvTimeoutError::Timeout)) {
                return;
            }
        }
    }
}
