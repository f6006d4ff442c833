//! Whose rows the frames hold: made anew only when somebody comes, goes or is called otherwise.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Weak;

use crate::model::history::PastContainer;
use crate::model::history::PastPod;
use crate::model::history::Roster;
use crate::model::history::RosterPod;
use crate::model::history::containers;
use crate::model::history::pods;
use crate::model::identity::PodUid;
use crate::model::snapshot::Snapshot;
use crate::model::target::TargetSet;

/// The roster of the newest frame, and what it was made of.
#[derive(Debug, Default)]
pub(super) struct Rosters {
    now: Arc<Roster>,
    /// Weak: targets hold descriptors, which must end with them.
    targets: Weak<TargetSet>,
    /// Which of them were alive.
    alive: Vec<(u32, u32)>,
    bytes: usize,
}

impl Rosters {
    /// Bytes of the newest roster and of the names in it.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.alive.capacity() * size_of::<(u32, u32)>()
    }

    pub(super) fn now(&self) -> Arc<Roster> {
        self.now.clone()
    }

    /// Keeps no names.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Makes the roster that of this snapshot. Returns the bytes that only earlier frames still need.
    pub(super) fn turn_to(&mut self, snapshot: &Snapshot) -> usize {
        if std::ptr::eq(self.targets.as_ptr(), Arc::as_ptr(&snapshot.targets))
            && alive(snapshot).eq(self.alive.iter().copied())
        {
            return 0;
        }
        self.targets = Arc::downgrade(&snapshot.targets);
        self.alive.clear();
        self.alive.extend(alive(snapshot));
        let next = next(&self.now, snapshot);
        if is_same(&self.now, &next) {
            return 0;
        }
        let (before, kept) = (self.bytes, shared(&self.now, &next));
        self.bytes = bytes(&next);
        self.now = Arc::new(next);
        before.saturating_sub(kept)
    }
}

/// By place in the targets: each pod, and each of its containers.
pub(super) fn alive(snapshot: &Snapshot) -> impl Iterator<Item = (u32, u32)> {
    pods(snapshot).flat_map(|(pod, target)| {
        let children = containers(snapshot, pod, target).map(|(child, _)| (pod.target, child.target));
        std::iter::once((pod.target, u32::MAX)).chain(children)
    })
}

/// The roster of `snapshot`, with all names of `before` that are still right.
fn next(before: &Roster, snapshot: &Snapshot) -> Roster {
    let places: HashMap<&PodUid, usize> =
        before.pods.iter().enumerate().map(|(at, entry)| (&entry.pod.runtime_uid, at)).collect();
    let (mut rows, mut children) = (Vec::new(), Vec::new());
    for (pod, target) in pods(snapshot) {
        let place = places.get(&target.runtime_uid).copied();
        let first = children.len();
        for (_, child) in containers(snapshot, pod, target) {
            let name = PastContainer::of(target, child);
            let known = place.and_then(|at| before.containers_of(at).find(|(_, old)| ***old == name));
            children.push(known.map_or_else(|| Arc::new(name), |(_, old)| old.clone()));
        }
        let name = PastPod::of(target);
        let known = place.map(|at| &before.pods[at].pod).filter(|old| ***old == name);
        let range = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        rows.push(RosterPod {
            pod: known.cloned().unwrap_or_else(|| Arc::new(name)),
            containers: range(first)..range(children.len()),
        });
    }
    Roster { pods: rows.into(), containers: children.into() }
}

fn is_same(one: &Roster, other: &Roster) -> bool {
    let same_pod =
        |(a, b): (&RosterPod, &RosterPod)| Arc::ptr_eq(&a.pod, &b.pod) && a.containers == b.containers;
    one.pods.len() == other.pods.len()
        && one.containers.len() == other.containers.len()
        && one.pods.iter().zip(&other.pods).all(same_pod)
        && one.containers.iter().zip(&other.containers).all(|(a, b)| Arc::ptr_eq(a, b))
}

/// Its lists and the names in them.
fn bytes(roster: &Roster) -> usize {
    let pods: usize = roster.pods.iter().map(|entry| entry.pod.bytes()).sum();
    let containers: usize = roster.containers.iter().map(|container| container.bytes()).sum();
    size_of::<Roster>()
        + 64
        + size_of_val(&*roster.pods)
        + size_of_val(&*roster.containers)
        + pods
        + containers
}

/// Bytes of the names that both have.
fn shared(before: &Roster, next: &Roster) -> usize {
    let pods: HashMap<*const PastPod, usize> =
        before.pods.iter().map(|entry| (Arc::as_ptr(&entry.pod), entry.pod.bytes())).collect();
    let containers: HashMap<*const PastContainer, usize> =
        before.containers.iter().map(|container| (Arc::as_ptr(container), container.bytes())).collect();
    let of_pods = next.pods.iter().filter_map(|entry| pods.get(&Arc::as_ptr(&entry.pod)));
    let of_containers =
        next.containers.iter().filter_map(|container| containers.get(&Arc::as_ptr(container)));
    of_pods.chain(of_containers).sum()
}
