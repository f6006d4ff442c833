//! The resolver's thread, and the mailbox through which others reach it.

use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::watch;

use crate::host;
use crate::host::clock;
use crate::host::watch::CgroupWatch;
use crate::host::watch::Waker;
use crate::model::health::Health;
use crate::model::target::TargetSet;
use crate::resolve::Inbox;
use crate::resolve::Resolver;

use super::sampling::Order;

/// Both ends of a pod's veth are compared this often.
const COMPARE_ENDS: Duration = Duration::from_secs(30);

/// What the resolver's thread finds when it wakes.
pub(super) struct Mailbox {
    pub(super) inbox: Mutex<Inbox>,
    pub(super) posted: Condvar,
    pub(super) waker: Option<Waker>,
    pub(super) stop: AtomicBool,
}

impl Mailbox {
    pub(super) fn post(&self, change: impl FnOnce(&mut Inbox)) {
        change(&mut self.inbox.lock().unwrap_or_else(PoisonError::into_inner));
        self.posted.notify_one();
        if let Some(waker) = &self.waker {
            waker.wake();
        }
    }

    fn take(&self) -> Inbox {
        std::mem::take(&mut self.inbox.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits without inotify: for mail, or for the next listing to be due.
    fn wait(&self, timeout: Duration) {
        let inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        if inbox.known.is_none() && inbox.lost.is_empty() && inbox.rewired.is_empty() {
            drop(self.posted.wait_timeout(inbox, timeout));
        }
    }
}

/// The resolver's thread.
pub(super) struct Resolving {
    pub(super) resolver: Resolver,
    pub(super) watch: Option<CgroupWatch>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) targets: watch::Sender<Arc<TargetSet>>,
    pub(super) sampler: std_mpsc::Sender<Order>,
    pub(super) unknown: Option<mpsc::Sender<()>>,
    pub(super) health: Arc<Health>,
    /// Without inotify: time between two listings.
    pub(super) listing: Duration,
}

impl Resolving {
    pub(super) fn run(mut self) {
        let mut woken = host::watch::Woken::default();
        let mut compared = clock::monotonic();
        while !self.mailbox.stop.load(Ordering::Relaxed) {
            self.health.begin_resolving(clock::monotonic());
            let mail = self.mailbox.take();
            let outcome = self.resolver.step(&woken.directories, woken.overflowed, mail, &mut self.watch);
            if let Some(targets) = outcome.targets {
                self.targets.send_replace(targets.clone());
                let _ = self.sampler.send(Order::Retarget(targets));
            }
            if let Some(unknown) = self.unknown.as_ref().filter(|_| outcome.unknown) {
                // Full means that asking again is already due.
                let _ = unknown.try_send(());
            }
            let now = clock::monotonic();
            if now.since(compared).is_some_and(|gap| gap >= COMPARE_ENDS) {
                compared = now;
                self.resolver.compare_ends();
            }
            self.health.end_resolving();
            woken = match &mut self.watch {
                Some(watch) => watch.wait(outcome.again.min(COMPARE_ENDS)),
                None => {
                    self.mailbox.wait(outcome.again.min(self.listing));
                    host::watch::Woken::default()
                }
            };
        }
    }
}
