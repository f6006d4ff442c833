//! What lives, into its digest.

use std::time::Duration;

use crate::model::history::Digest;
use crate::model::history::Digests;
use crate::model::history::containers;
use crate::model::history::pods;
use crate::model::snapshot::CgroupFigures;
use crate::model::snapshot::Snapshot;
use crate::model::target::TargetId;

/// Pods and containers of 1,000 containers in 500 pods, and the node.
const MOST: usize = 1536;

/// One place in the map.
const PLACE: usize = size_of::<(Option<TargetId>, Digest)>() + 1;

/// What all of them take at most: a map has up to three times as many places as it needs, those of the dead included.
pub(super) const MOST_BYTES: usize = MOST * (Digest::MOST_LISTS + 3 * PLACE);

/// Adds one sweep, and forgets what is not in it.
pub(super) fn add(digests: &mut Digests, now: &Snapshot, every: Duration) {
    let at = now.clock.monotonic;
    let mut added = 0;
    let mut one = |key, millicores: Option<f64>, memory| {
        if digests.len() < MOST || digests.contains_key(&key) {
            let since = || Digest::new(at.before(every));
            digests.entry(key).or_insert_with(since).add(at, millicores, memory);
            added += 1;
        }
    };
    let node = &now.node;
    let memory = node.memory.as_ref().ok().and_then(|memory| memory.value.working_set_bytes());
    one(None, node.rates.cpu_cores.map(|cores| cores.per_second * 1000.0), memory);
    let mut cgroup = |id, figures: &CgroupFigures| {
        let cores = figures.cpu.as_ref().ok().and_then(|cpu| cpu.value.cores);
        let memory = figures.memory.as_ref().ok().and_then(|memory| memory.value.working_set_bytes());
        one(Some(id), cores.map(|cores| cores.per_second * 1000.0), memory);
    };
    for (pod, target) in pods(now) {
        cgroup(target.cgroup.id, &pod.cgroup);
        for (container, child) in containers(now, pod, target) {
            cgroup(child.cgroup.id, &container.cgroup);
        }
    }
    if added < digests.len() {
        digests.retain(|_, digest| digest.last() == Some(at));
    }
}

/// What they take now.
pub(super) fn bytes(digests: &Digests) -> usize {
    digests.capacity() * PLACE * 8 / 7 + digests.values().map(Digest::lists).sum::<usize>()
}
