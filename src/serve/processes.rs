//! Where readers ask for the processes of the node, and wait for whoever lists them.
//!
//! ```text
//!   GET …/ps ──asked──► who lists them          a look through /proc, on a thread of its own
//!       ▲                    │
//!       └──────listed────────┘                  shown to all who wait, and for a few seconds to who comes next
//! ```
//!
//! # Why beside the sweep
//! Three files of each process a second are more than all that a sweep reads, and nearly nobody asks. So nothing is
//! read until somebody does; then it is once for all, and no more often than [`YOUNG`], however many ask. No sweep
//! waits for it, and no reader longer than a few seconds.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::model::processes::ProcessTable;
use crate::model::time::Monotonic;

/// A list that was made no longer ago than this is shown as it is.
pub const YOUNG: Duration = Duration::from_secs(5);

/// What came of one look.
#[derive(Clone, Debug)]
pub struct Listing {
    /// When it ended; its table says when it began.
    pub at: Monotonic,
    /// The list, or why there is none.
    pub outcome: Result<Arc<ProcessTable>, Arc<str>>,
}

impl Listing {
    fn is_young(&self, now: Monotonic) -> bool {
        now.since(self.at).is_none_or(|age| age <= YOUNG)
    }
}

/// The readers' end.
#[derive(Clone, Debug)]
pub struct ProcessLane {
    asked: mpsc::Sender<()>,
    listed: watch::Receiver<Option<Listing>>,
    patience: Duration,
}

/// The end of whoever lists them.
#[derive(Debug)]
pub struct ProcessLister {
    asked: mpsc::Receiver<()>,
    listed: watch::Sender<Option<Listing>>,
}

/// Both ends. A reader waits for `patience` at most.
pub fn process_lane(patience: Duration) -> (ProcessLane, ProcessLister) {
    let (asked, orders) = mpsc::channel(1);
    let (sender, listed) = watch::channel(None);
    (ProcessLane { asked, listed, patience }, ProcessLister { asked: orders, listed: sender })
}

impl Default for ProcessLane {
    /// One with nobody at its other end.
    fn default() -> Self {
        process_lane(Duration::ZERO).0
    }
}

impl ProcessLane {
    /// A list that is young `now`, or the next one.
    ///
    /// # Errors
    /// Why there is none, or that it did not come in time.
    pub async fn table(&self, now: Monotonic) -> Result<Arc<ProcessTable>, Arc<str>> {
        let young = |listing: &Option<Listing>| listing.as_ref().is_some_and(|listing| listing.is_young(now));
        let there = self.listed.borrow().clone();
        let listing = if young(&there) {
            there
        } else {
            // Full means that a look is already due.
            if let Err(mpsc::error::TrySendError::Closed(())) = self.asked.try_send(()) {
                return Err("nobody lists the processes of this node".into());
            }
            let mut listed = self.listed.clone();
            let next = tokio::time::timeout(self.patience, listed.wait_for(young)).await;
            let seconds = self.patience.as_secs_f64();
            let next = next.map_err(|_| format!("/proc was not looked through within {seconds} s"))?;
            next.map_err(|_| "nobody lists the processes of this node any more")?.clone()
        };
        listing.map_or_else(|| Err("there is no list".into()), |listing| listing.outcome)
    }
}

impl ProcessLister {
    /// Waits until a list is wanted and there is no young one. `false`: nobody is left who could want one.
    pub async fn wanted(&mut self, now: impl Fn() -> Monotonic) -> bool {
        while self.asked.recv().await.is_some() {
            // Whoever came during the last look has it by now.
            let young = self.listed.borrow().as_ref().is_some_and(|listing| listing.is_young(now()));
            if !young {
                return true;
            }
        }
        false
    }

    /// Shows it to all who wait.
    pub fn show(&self, listing: Listing) {
        self.listed.send_replace(Some(listing));
    }

    /// Whether there is one that somebody may still be shown.
    pub fn holds(&self) -> bool {
        self.listed.borrow().is_some()
    }

    /// Gives its memory back.
    pub fn forget(&self) {
        self.listed.send_replace(None);
    }
}
