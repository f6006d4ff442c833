//! What was there in one sweep and is not in the next.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::history::Cause;
use crate::model::history::CgroupSample;
use crate::model::history::Ended;
use crate::model::history::Final;
use crate::model::history::PastContainer;
use crate::model::history::PastPod;
use crate::model::history::PodSample;
use crate::model::history::containers;
use crate::model::history::pods;
use crate::model::identity::ContainerId;
use crate::model::identity::ContainerState;
use crate::model::identity::PodUid;
use crate::model::snapshot::PodFigures;
use crate::model::snapshot::Snapshot;
use crate::model::target::ContainerTarget;
use crate::model::target::PodTarget;

use super::roster::alive;

/// How the second of two sweeps differs from the first.
pub(super) struct Changes<'a> {
    now: &'a Snapshot,
    alive: HashMap<&'a PodUid, (&'a PodFigures, &'a PodTarget)>,
    ended: Vec<Ended>,
}

impl<'a> Changes<'a> {
    /// `None` if nobody came, went or is known otherwise.
    pub(super) fn between(before: &Snapshot, now: &'a Snapshot) -> Option<Self> {
        if Arc::ptr_eq(&before.targets, &now.targets) && alive(before).eq(alive(now)) {
            return None;
        }
        let alive = pods(now).map(|(pod, target)| (&target.runtime_uid, (pod, target))).collect();
        let mut changes = Self { now, alive, ended: Vec::new() };
        for (pod, target) in pods(before) {
            changes.note(before, pod, target);
        }
        Some(changes)
    }

    /// Notes what ended of this pod.
    fn note(&mut self, before: &Snapshot, pod: &PodFigures, target: &PodTarget) {
        let alive = self.alive.get(&target.runtime_uid).copied();
        let (cause, lives_on) = match alive {
            Some(_) => (Cause::ContainerGone, true),
            None => (Cause::PodGone, false),
        };
        let mut name: Option<Arc<PastPod>> = None;
        let mut end = |what: Final, cause: Cause| {
            let pod = name.get_or_insert_with(|| Arc::new(PastPod::of(target))).clone();
            self.ended.push(Ended {
                pod,
                what,
                last_tick: before.tick,
                last: before.clock,
                gone_tick: self.now.tick,
                gone: self.now.clock,
                cause,
            });
        };
        for (figures, child) in containers(before, pod, target) {
            let still =
                alive.is_some_and(|(pod, target)| is_among(self.now, pod, target, &child.container_id));
            if still || !is_container(target, child) {
                continue;
            }
            let told = alive.and_then(|(_, target)| told(target, &child.container_id));
            let container = Arc::new(PastContainer::of(target, child));
            let sample = CgroupSample::of(&figures.cgroup);
            end(Final::Container(container, sample), told.unwrap_or_else(|| cause.clone()));
        }
        if !lives_on {
            end(Final::Pod(PodSample::of(pod)), cause);
        }
    }

    /// Brings the list up to date: what ended, what is back, and reasons that were told since.
    pub(super) fn apply(self, list: &mut VecDeque<Arc<Ended>>) {
        list.retain(|ended| !self.is_back(ended));
        for ended in list.iter_mut() {
            let Some(container) = ended.container() else { continue };
            let pod = self.alive.get(&ended.pod.runtime_uid);
            let told = pod.and_then(|(_, target)| told(target, &container.id));
            if let Some(cause) = told.filter(|cause| *cause != ended.cause) {
                *ended = Arc::new(Ended { cause, ..(**ended).clone() });
            }
        }
        list.extend(self.ended.into_iter().map(Arc::new));
    }

    /// It was lost from sight and has not ended.
    fn is_back(&self, ended: &Ended) -> bool {
        let Some((pod, target)) = self.alive.get(&ended.pod.runtime_uid) else { return false };
        ended.container().is_none_or(|container| is_among(self.now, pod, target, &container.id))
    }
}

/// A living container of the pod, or what turned out to be its sandbox, has this id.
fn is_among(snapshot: &Snapshot, pod: &PodFigures, target: &PodTarget, id: &ContainerId) -> bool {
    let sandbox = target.sandbox.as_ref().is_some_and(|sandbox| sandbox.container_id == *id);
    sandbox || containers(snapshot, pod, target).any(|(_, child)| child.container_id == *id)
}

/// Until it is settled which child is the sandbox, a child without a name may be that.
fn is_container(pod: &PodTarget, child: &ContainerTarget) -> bool {
    pod.sandbox_settled || child.known.is_some()
}

/// What the source of names says of the end of the container with this id.
fn told(pod: &PodTarget, id: &ContainerId) -> Option<Cause> {
    let known = pod.known.as_deref()?;
    let of_it = known.container(id)?;
    let ended = of_it.state == ContainerState::Terminated;
    of_it.state_reason.clone().filter(|_| ended).map(Cause::Told)
}
