//! The processes of the node, for the readers who ask: a thread for each look, and none between them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::sync::watch;
use tracing::warn;

use crate::host::HostRoot;
use crate::host::clock;
use crate::host::error::chain;
use crate::host::process_table;
use crate::model::health::Health;
use crate::model::processes::ProcessTable;
use crate::serve::Listing;
use crate::serve::ProcessLister;
use crate::serve::YOUNG;

/// A reader waits so long for a look to end: thousands of processes take a tenth of a second.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Looks whenever it is wanted, one look at a time, until it is told to stop or nobody is left who could ask. A list
/// that is too old to be shown is dropped.
pub(super) async fn run(
    mut lister: ProcessLister,
    root: HostRoot,
    health: Arc<Health>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut failing = false;
    loop {
        let is_wanted = tokio::select! {
            is_wanted = lister.wanted(clock::monotonic) => is_wanted,
            () = tokio::time::sleep(YOUNG), if lister.holds() => {
                lister.forget();
                continue;
            }
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        if !is_wanted {
            return;
        }
        let outcome = tokio::select! {
            outcome = look(root.clone(), health.clone()) => outcome,
            // The thread is not waited for: it may be held up in the kernel.
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        if let (Err(why), false) = (&outcome, failing) {
            warn!(%why, "processes cannot be listed");
        }
        failing = outcome.is_err();
        // Young by its end: who waited for a look that took long is shown it all the same.
        lister.show(Listing { at: clock::monotonic(), outcome });
    }
}

async fn look(root: HostRoot, health: Arc<Health>) -> Result<Arc<ProcessTable>, Arc<str>> {
    let (done, outcome) = oneshot::channel();
    let body = move || drop(done.send(process_table::read(&root, &health)));
    super::spawn("processes", body).map_err(|error| chain(&error))?;
    match outcome.await {
        Ok(Ok(table)) => Ok(Arc::new(table)),
        Ok(Err(error)) => Err(chain(&error).into()),
        Err(_) => Err("the look through /proc ended without a list".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::process_lane;

    #[tokio::test]
    async fn a_list_is_made_when_it_is_asked_for_shared_and_dropped() {
        let (lane, lister) = process_lane(PATIENCE * 4);
        let (stopping, stop) = watch::channel(false);
        let root = HostRoot::new("/proc".into(), "/sys/fs/cgroup".into());
        let task = tokio::spawn(run(lister, root, Arc::default(), stop));
        let (first, second) = tokio::join!(lane.table(clock::monotonic()), lane.table(clock::monotonic()));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert!(Arc::ptr_eq(&first, &second));
        assert!(first.processes.iter().any(|process| process.pid == std::process::id()));
        let kept = Arc::downgrade(&first);
        drop((first, second));
        assert!(kept.upgrade().is_some(), "for who comes soon after");
        tokio::time::pause();
        tokio::time::sleep(YOUNG * 2).await;
        assert!(kept.upgrade().is_none(), "nobody will be shown it any more");
        stopping.send_replace(true);
        task.await.unwrap();
        let why = lane.table(clock::monotonic()).await.unwrap_err();
        assert_eq!(&*why, "nobody lists the processes of this node");
    }

    #[tokio::test]
    async fn what_cannot_be_listed_is_said() {
        let (lane, lister) = process_lane(PATIENCE * 4);
        let (_stopping, stop) = watch::channel(false);
        let root = HostRoot::new("/nonexistent".into(), "/nonexistent".into());
        tokio::spawn(run(lister, root, Arc::default(), stop));
        let why = lane.table(clock::monotonic()).await.unwrap_err();
        assert_eq!(&*why, "/nonexistent: gone");
    }
}
