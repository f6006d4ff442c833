//! Follows the kubelet: asks for its list when somebody saw a cgroup without a name.
//!
//! # Why it is not asked regularly
//!
//! Its list is 9 KB a pod and is made for each question. It is asked at the start, and then only when there
//! are cgroups that nobody has named: 5 s apart at least, and up to 30 s apart while its answers name
//! nothing new. What it still lists of a pod that is gone does no harm, since the cgroup tree says what
//! exists.
//!
//! The price: what changes without a new cgroup is as old as the last question, however long ago that was.
//! That is a pod's phase, its labels, a resize in place, and the state and reason of a container that
//! ended and is not started again. A restart makes a new cgroup, and so is heard of. Where that matters,
//! the API server or the container runtime has to be a source too.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::sleep_until;
use tokio::time::timeout;
use tracing::info;
use tracing::warn;

use crate::kubernetes::kubelet::Kubelet;
use crate::model::health::Refusal;
use crate::model::health::SourceHealth;
use crate::model::identity::ContainerId;
use crate::model::identity::KnownPod;
use crate::model::identity::PodUid;
use crate::model::identity::Source;

use super::Answer;
use super::Now;
use super::api_server::cure;
use super::pace::Nudged;
use super::pace::Patience;
use super::pace::chance;

/// The least time between two questions, whatever comes of them.
const AT_MOST_EVERY: Duration = Duration::from_secs(5);

/// What a cgroup may be named by.
type Name = (PodUid, Option<ContainerId>);

fn names(pods: &[Arc<KnownPod>]) -> BTreeSet<Name> {
    let of = |pod: &Arc<KnownPod>| {
        let uid = pod.runtime_uid.clone();
        let ids: Vec<_> = pod.containers.iter().map(|container| container.id.clone()).chain([None]).collect();
        ids.into_iter().map(move |id| (uid.clone(), id))
    };
    pods.iter().flat_map(of).collect()
}

/// Tells `tell` what the kubelet knows, for ever.
pub(super) async fn follow(
    mut kubelet: Kubelet,
    nudge: Arc<Notify>,
    health: &SourceHealth,
    now: Now,
    tell: mpsc::Sender<Answer>,
) {
    let mut patience = Patience::default();
    let mut trouble: Option<Refusal> = None;
    let mut nudged = Nudged::default();
    let mut before: Option<BTreeSet<Name>> = None;
    loop {
        // What was nudged for until now is answered by this question.
        let _ = timeout(Duration::ZERO, nudge.notified()).await;
        let asked = Instant::now();
        // It is not received only while everything stops.
        match kubelet.fetch_pods().await {
            Ok(pods) => {
                patience.answered();
                health.answered();
                if trouble.take().is_some() || before.is_none() {
                    info!(kubelet = kubelet.url(), pods = pods.len(), "the kubelet lists its pods");
                }
                let all = names(&pods);
                let news = before.as_ref().is_none_or(|before| !all.is_subset(before));
                before = Some(all);
                let _ = tell.send(Answer::Pods(Source::Kubelet, pods)).await;
                let pause = nudged.answered(news);
                nudge.notified().await;
                nudged.rested(asked.elapsed());
                sleep_until(asked + pause).await;
            }
            Err(error) => {
                let why = error.refusal();
                health.refused(why, now().monotonic);
                if trouble != Some(why) {
                    trouble = Some(why);
                    warn!(kubelet = kubelet.url(), %error, "{}: known names stay, new pods have none from there", cure(why));
                }
                let _ = tell.send(Answer::Lost(Source::Kubelet)).await;
                sleep(patience.refused(why, error.retry_after(), chance(), asked)).await;
                sleep_until(asked + AT_MOST_EVERY).await;
            }
        }
    }
}
