//! STAGE which pods are bound to this node, from whichever neighbours answer.
//!
//! ```text
//!   API server         ─┐
//!   kubelet            ─┼─follow──► answers ──merge──► KnownPods
//!   container runtime  ─┤
//!   Docker Engine      ─┘
//! ```
//!
//! Each source has a follower of its own, which tells all the source knows whenever that changes, or that
//! the source is lost. What a source once told stands while it is away: only a good answer takes a pod
//! from the list.

mod allowance;
mod api_server;
mod kubelet;
mod merge;
mod pace;
mod runtime;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tracing::warn;

use crate::kubernetes::kubelet::Kubelet;
use crate::kubernetes::watch::PodWatch;
use crate::model::health::Health;
use crate::model::health::Room;
use crate::model::health::Trouble;
use crate::model::identity::Disagreement;
use crate::model::identity::KnownPod;
use crate::model::identity::KnownPods;
use crate::model::identity::PodUid;
use crate::model::identity::Source;
use crate::model::time::ClockPair;

use self::merge::Told;
use self::runtime::Interface;

/// More answers than sources can be waiting only while this task is not run.
const ANSWERS: usize = 4;

/// What a follower tells of its source.
enum Answer {
    /// All the pods it knows.
    Pods(Source, Vec<Arc<KnownPod>>),
    /// It does not answer any more.
    Lost(Source),
}

/// Both clocks, read now.
pub type Now = fn() -> ClockPair;

/// Who is asked.
#[derive(Default)]
pub struct Sources {
    /// The API server.
    pub kube: Option<PodWatch>,
    /// The kubelet.
    pub kubelet: Option<Kubelet>,
    /// The container runtime, over its own interface.
    pub cri: Option<Runtime>,
    /// The Docker Engine.
    pub docker: Option<Runtime>,
}

/// Which container runtime is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// The one behind this socket.
    At(PathBuf),
    /// The first one that comes: podvitals may be started before it.
    WhoeverComes,
}

/// Follows the sources until `stop`, and publishes what they know together whenever it changes.
///
/// `unknown` nudges: the resolver saw a cgroup that nobody has named, so that sources which are polled are
/// asked now. Must be called inside a tokio runtime.
pub async fn run(
    sources: Sources,
    known: watch::Sender<Arc<KnownPods>>,
    unknown: mpsc::Receiver<()>,
    health: Arc<Health>,
    now: Now,
    stop: impl Future<Output = ()>,
) {
    let [to_kubelet, to_cri, to_docker] = std::array::from_fn(|_| Arc::new(Notify::new()));
    let (tell, answers) = mpsc::channel(ANSWERS);
    let publisher =
        Publisher { known, health: health.clone(), told: Told::default(), disagreements: BTreeSet::new() };
    let of = |source| health.source(source);
    let kube = async {
        let Some(watch) = sources.kube else { return std::future::pending().await };
        api_server::follow(watch, of(Source::Kube), now, tell.clone()).await;
    };
    let kubelet = async {
        let Some(kubelet) = sources.kubelet else { return std::future::pending().await };
        kubelet::follow(kubelet, to_kubelet.clone(), of(Source::Kubelet), now, tell.clone()).await;
    };
    let cri = async {
        let Some(runtime) = sources.cri else { return std::future::pending().await };
        runtime::follow(runtime, Interface::Cri, to_cri.clone(), &health, now, tell.clone()).await;
    };
    let docker = async {
        let Some(runtime) = sources.docker else { return std::future::pending().await };
        runtime::follow(runtime, Interface::Docker, to_docker.clone(), &health, now, tell.clone()).await;
    };
    tokio::select! {
        () = kube => {}
        () = kubelet => {}
        () = cri => {}
        () = docker => {}
        () = publisher.run(answers) => {}
        () = pass_on(unknown, [&to_kubelet, &to_cri, &to_docker]) => {}
        () = stop => {}
    }
}

/// Any number of nudges while a question is under way are one.
async fn pass_on(mut unknown: mpsc::Receiver<()>, nudges: [&Notify; 3]) {
    while unknown.recv().await.is_some() {
        nudges.iter().for_each(|nudge| nudge.notify_one());
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
        let merged = self.told.merge();
        let disagreements: BTreeSet<_> = merged
            .pods
            .values()
            .flat_map(|pod| pod.disagreements.iter().map(|it| (pod.runtime_uid.clone(), it.clone())))
            .collect();
        for (pod, Disagreement { about, first, second }) in disagreements.difference(&self.disagreements) {
            self.health.count(Room::Resolve, Trouble::Disagreement);
            let (one, other) = (first.source.word(), second.source.word());
            warn!(%pod, ?about, "sources of names disagree: {one} says {}, {other} says {}", first.says, second.says);
        }
        self.health.disagreements.store(disagreements.len() as u64, Ordering::Relaxed);
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

#[cfg(test)]
mod api_tests;
