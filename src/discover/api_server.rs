//! Follows the API server's watch on this node's pods, and says when it comes and goes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio::time::sleep;
use tracing::info;
use tracing::warn;

use crate::kubernetes::client::KubernetesError;
use crate::kubernetes::watch::PodWatch;
use crate::kubernetes::watch::Step;
use crate::model::health::Refusal;
use crate::model::health::SourceHealth;
use crate::model::identity::Source;
use crate::model::time::Monotonic;

use super::Answer;
use super::Now;
use super::pace::Patience;
use super::pace::chance;
use super::pace::up_to;

/// The nodes of a cluster start podvitals together when it is rolled out.
const FIRST_LIST: Duration = Duration::from_secs(1);

/// Tells `tell` what the API server knows, for ever.
pub(super) async fn follow(watch: PodWatch, health: &SourceHealth, now: Now, tell: mpsc::Sender<Answer>) {
    let heard = now().monotonic;
    let mut follower = Follower { watch, health, now, tell, trouble: None, listed: false, heard };
    let mut patience = Patience::default();
    sleep(up_to(FIRST_LIST, chance())).await;
    loop {
        match follower.watch.step().await {
            Ok(step) => {
                follower.told(step).await;
                match step {
                    Step::Watching => patience.begun(Instant::now()),
                    Step::Ended | Step::Silent => sleep(patience.ended(Instant::now())).await,
                    // A list says nothing of how the watch after it will go, nor its first line.
                    Step::Listed | Step::Heard { .. } => {}
                }
            }
            Err(error) => {
                let pause = patience.refused(error.refusal(), error.retry_after(), chance(), Instant::now());
                follower.refused(&error).await;
                sleep(pause).await;
            }
        }
    }
}

struct Follower<'a> {
    watch: PodWatch,
    health: &'a SourceHealth,
    now: Now,
    tell: mpsc::Sender<Answer>,
    /// The kind of failure that was logged; `None` while all is well.
    trouble: Option<Refusal>,
    listed: bool,
    /// When the server last told anything.
    heard: Monotonic,
}

impl Follower<'_> {
    async fn told(&mut self, step: Step) {
        match step {
            Step::Listed if !self.listed => {
                self.listed = true;
                let (server, node) = (self.watch.url(), self.watch.node());
                info!(server, node, pods = self.watch.pods().len(), "listed the pods of this node");
            }
            Step::Watching if self.trouble.take().is_some() => {
                info!(server = self.watch.url(), "the API server answers again");
            }
            _ => {}
        }
        match step {
            // What came just before the watch broke is told with the next one.
            Step::Listed | Step::Watching | Step::Heard { changed: true } => {
                self.health.answered();
                // It is not received only while everything stops.
                let _ = self.tell.send(Answer::Pods(Source::Kube, self.watch.pods())).await;
            }
            // No failure, most often: but until the next watch answers, nobody knows.
            Step::Silent => self.doubt(),
            Step::Heard { changed: false } | Step::Ended => {}
        }
        if !matches!(step, Step::Silent | Step::Ended) {
            self.heard = (self.now)().monotonic;
        }
    }

    /// What is known may be out of date since the last line.
    fn doubt(&self) {
        let since = self.heard.as_nanos().max(1);
        let _ = self.health.stale_since.compare_exchange(0, since, Ordering::Relaxed, Ordering::Relaxed);
    }

    async fn refused(&mut self, error: &KubernetesError) {
        let why = error.refusal();
        self.health.refused(why, (self.now)().monotonic);
        if why == Refusal::Expired {
            info!(%error, "the API server does not go back so far: listing the pods of this node anew");
            return;
        }
        if self.trouble != Some(why) {
            self.trouble = Some(why);
            let server = self.watch.url();
            warn!(server, %error, "{}: known names stay, new pods have none from there", cure(why));
        }
        let _ = self.tell.send(Answer::Lost(Source::Kube)).await;
    }
}

/// What happened, and what to do about it.
pub(super) fn cure(why: Refusal) -> &'static str {
    match why {
        Refusal::Unreachable => {
            "cannot be reached (is its address right, its certificate's authority known?)"
        }
        Refusal::Timeout => "does not answer in time",
        Refusal::Unauthorized => {
            "does not accept our credentials (is the token expired, or of another cluster?)"
        }
        Refusal::Forbidden => {
            "a right is missing: source kube needs list and watch on pods, kubelet get on nodes/pods"
        }
        Refusal::Throttled => "asks us to wait",
        Refusal::Expired => "does not go back so far",
        Refusal::ServerError => "has trouble of its own",
        Refusal::Malformed => "sent what we cannot read",
    }
}
