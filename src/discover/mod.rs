//! STAGE which pods are bound to this node, from whichever neighbours answer.
//!
//! ```text
//!   container runtime ──follow──► answers ──merge──► KnownPods
//!   (a source more is one more follower)
//! ```
//!
//! Each source has a follower of its own, which tells all the source knows whenever that changes, or that
//! the source is lost. What a source once told stands while it is away: only a good answer takes a pod
//! from the list.

mod merge;
mod pace;
mod runtime;

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tracing::warn;

use crate::model::health::Health;
use crate::model::health::Room;
use crate::model::health::Trouble;
use crate::model::identity::KnownPod;
use crate::model::identity::KnownPods;
use crate::model::identity::PodUid;
use crate::model::identity::Source;
use crate::runtime::cri::Cri;

use self::merge::Disagreement;
use self::merge::Told;

/// More answers than sources can be waiting only while this task is not run.
const ANSWERS: usize = 4;

/// What a follower tells of its source.
enum Answer {
    /// All the pods it knows.
    Pods(Source, Vec<KnownPod>),
    /// It does not answer any more.
    Lost(Source),
}

/// Follows the sources until `stop`, and publishes what they know together whenever it changes.
///
/// `unknown` nudges: the resolver saw a cgroup that nobody has named, so that sources which are polled are
/// asked now. Must be called inside a tokio runtime.
pub async fn run(
    cri: Option<Cri>,
    known: watch::Sender<Arc<KnownPods>>,
    unknown: mpsc::Receiver<()>,
    health: Arc<Health>,
    stop: impl Future<Output = ()>,
) {
    let Some(cri) = cri else { return stop.await };
    let nudge = Arc::new(Notify::new());
    let (tell, answers) = mpsc::channel(ANSWERS);
    let publisher = Publisher { known, health, told: Told::new(), disagreements: BTreeSet::new() };
    tokio::select! {
        () = runtime::follow(cri, nudge.clone(), tell) => {}
        () = publisher.run(answers) => {}
        () = pass_on(unknown, &nudge) => {}
        () = stop => {}
    }
}

/// Any number of nudges while a question is under way are one.
async fn pass_on(mut unknown: mpsc::Receiver<()>, nudge: &Notify) {
    while unknown.recv().await.is_some() {
        nudge.notify_one();
    }
    // The resolver has ended; names are still followed until everything stops.
    std::future::pending().await
}

struct Publisher {
    known: watch::Sender<Arc<KnownPods>>,
    health: Arc<Health>,
    told: Told,
    disagreements: BTreeSet<(PodUid, Disagreement)>,
}

impl Publisher {
    async fn run(mut self, mut answers: mpsc::Receiver<Answer>) {
        while let Some(answer) = answers.recv().await {
            match answer {
                Answer::Pods(source, pods) => self.told.pods(source, pods),
                Answer::Lost(source) => self.told.lost(source),
            }
            self.publish();
        }
    }

    fn publish(&mut self) {
        let (merged, disagreements) = self.told.merge();
        for (pod, about) in disagreements.difference(&self.disagreements) {
            self.health.count(Room::Resolve, Trouble::Disagreement);
            warn!(%pod, %about, "sources of names disagree");
        }
        self.disagreements = disagreements;
        self.known.send_if_modified(|known| {
            let changed = **known != merged;
            if changed {
                *known = Arc::new(merged);
            }
            changed
        });
    }
}

#[cfg(test)]
mod tests;
