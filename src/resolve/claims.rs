//! Whose a netns is. Of two pods in one netns at most one is at home there.
//!
//! A netns belongs to one pod; only the node's own has many. But a process with the right to may enter
//! any, and a process may be moved into another pod's cgroup: then what is read for the one pod would be
//! the other's traffic. The pod whose sandbox is in the netns is at home; without one, the pod that was
//! there first. Where even that is a tie nobody gets a figure.
//!
//! The pod that was at home may go and leave its visitor behind, alone in a netns that still counts what
//! was the other's. So who was not at home stays a stranger there, until its sandbox turns out to be in it.

use std::collections::HashMap;

use crate::host::process::is_in_its_netns;
use crate::model::time::Monotonic;

use super::Host;
use super::pod::PodState;

/// The number of no netns.
const NONE: u64 = 0;

/// What a pod has to say for itself, better first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    not_by_its_sandbox: bool,
    since: Monotonic,
}

/// Tells each pod whether another has as good a claim to its netns, or a better one. Whether that is
/// news for any of them.
pub(super) fn contest(pods: &mut [PodState], init_netns: Option<u64>) -> bool {
    let mut by_netns: HashMap<u64, Vec<usize>> = HashMap::with_capacity(pods.len());
    for (index, pod) in pods.iter().enumerate() {
        if let Some(netns) = netns(pod).filter(|netns| Some(*netns) != init_netns) {
            by_netns.entry(netns).or_default().push(index);
        }
    }
    let mut news = false;
    for mut claimants in by_netns.into_values() {
        // The number of a netns that died is given again: only the living can meet in one.
        if claimants.len() > 1 {
            claimants.retain(|&index| is_there(&pods[index]));
        }
        let claims: Vec<_> = claimants.iter().map(|&index| claim(&pods[index])).collect();
        for (&index, own) in claimants.iter().zip(&claims) {
            let as_good = claims.iter().filter(|other| *other <= own).count();
            let by_another = (claims.len() > 1).then_some(as_good > 1);
            news |= pods[index].contest(by_another, !own.not_by_its_sandbox);
        }
    }
    news
}

impl PodState {
    /// The netns the pod is known to have, and until when it was seen. A process that is being started
    /// is in the node's for a moment: that one counts only where it was settled. One that was deserted
    /// may have died, and its number may be another's.
    pub(super) fn known_netns(&self, host: &Host) -> Option<(u64, Option<Monotonic>)> {
        let (netns, until) = match (&self.found, self.lost) {
            (Some(found), _) => (found.process.netns, None),
            (None, Some(lost)) => (lost.netns, Some(lost.at)),
            (None, None) => return None,
        };
        let settled = self.target.as_ref().is_some_and(|target| target.host_network);
        let passing = Some(netns) == host.init_netns && !settled;
        let deserted = self.deserted && self.found.is_none();
        (!passing).then_some((if deserted { NONE } else { netns }, until))
    }
}

fn netns(pod: &PodState) -> Option<u64> {
    pod.found.as_ref().map(|found| found.process.netns)
}

fn is_there(pod: &PodState) -> bool {
    pod.found.as_ref().is_some_and(|found| is_in_its_netns(&found.process) == Ok(true))
}

fn claim(pod: &PodState) -> Claim {
    let container = pod.found.as_ref().map(|found| &found.container);
    let by_its_sandbox = container.is_some() && container == pod.sandbox_id();
    Claim { not_by_its_sandbox: !by_its_sandbox, since: pod.claimed_at }
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
