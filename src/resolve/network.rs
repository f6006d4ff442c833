//! How a pod's network is to be read, or why it is not.

use std::time::Duration;

use tracing::warn;

use crate::host::net_dev;
use crate::model::counters::InterfaceName;
use crate::model::health::Health;
use crate::model::health::Room;
use crate::model::health::Trouble;
use crate::model::identity::KnownPod;
use crate::model::target::HostInterface;
use crate::model::target::NetworkTarget;
use crate::model::time::ClockPair;
use crate::model::unavailable::Unavailable;

use super::Host;
use super::Resolver;
use super::Side;
use super::pod::PodState;
use super::pod::SETTLING;
use super::process::Found;

/// Whether the host's ends of the pods' links still stand is looked at this often: a few system calls,
/// where this process sees the host's links at all.
pub(super) const LINKS_GAP: Duration = Duration::from_secs(3);

impl Resolver {
    /// A veth may be replaced by another of the same name, between two sweeps: the pod's side shows nothing
    /// of it. One list of the host's links tells for all pods.
    pub(super) fn look_at_links(&mut self, now: ClockPair) {
        let due = self.linked_at.is_none_or(|at| now.monotonic.since(at).is_none_or(|age| age >= LINKS_GAP));
        let Some(links) = self.host.links.as_mut().filter(|_| due) else { return };
        self.linked_at = Some(now.monotonic);
        if links.refresh().is_err() {
            return; // Asked again before long.
        }
        self.host.links_fresh = true;
        for pod in &mut self.pods {
            if pod.host_interface.as_ref().is_some_and(|end| !links.stands(end)) {
                pod.rewire(now.monotonic);
            }
        }
    }
}

impl PodState {
    /// How the network is to be read, and whether it is the node's.
    ///
    /// Two witnesses decide the latter: what a source says, and whether the process has the netns of
    /// pid 1. If they disagree, nothing is served and the disagreement is counted.
    pub(super) fn network(
        &mut self,
        host: &Host,
        known: Option<&KnownPod>,
        now: ClockPair,
        health: &Health,
    ) -> (NetworkTarget, bool) {
        let said = known.and_then(|known| known.host_network);
        let Some(found) = &self.found else {
            let young = now.monotonic.since(self.first_seen.monotonic).is_none_or(|age| age < SETTLING);
            let why = match said {
                Some(true) => Unavailable::HostNetwork,
                _ if host.hides_processes => Unavailable::Hidepid,
                // Not even process 1 can be looked at.
                _ if host.init_netns.is_none() => Unavailable::Permission,
                _ if young || self.unpinned => Unavailable::NotYet,
                _ => Unavailable::NoProcess,
            };
            return (NetworkTarget::Absent(why), said == Some(true));
        };
        let Some(init_netns) = host.init_netns else {
            return (NetworkTarget::Absent(Unavailable::Permission), said == Some(true));
        };
        let seen = found.process.netns == init_netns;
        self.undecided =
            seen && said != Some(true) && self.age_of(&found.container, now.monotonic) < SETTLING;
        if self.undecided {
            return (NetworkTarget::Absent(Unavailable::NotYet), false);
        }
        let disagrees = said.is_some_and(|said| said != seen);
        if disagrees && !self.disagrees {
            health.count(Room::Resolve, Trouble::Disagreement);
            warn!(pod = %self.directory.uid, pid = found.process.pid, said_host_network = ?said,
                "what is said of the pod's network and its netns disagree: its network is not served");
        }
        self.disagrees = disagrees;
        if seen || disagrees {
            return (NetworkTarget::Absent(Unavailable::HostNetwork), true);
        }
        if self.contested {
            return (NetworkTarget::Absent(Unavailable::NoProcess), false);
        }
        let process = found.process.clone();
        let network = match (host.side, &self.host_interface) {
            (Side::Pod, _) => NetworkTarget::Netns(process),
            (Side::Host, Some(interface)) => NetworkTarget::HostVeth(interface.clone(), process),
            (Side::Host, None) if host.links.is_some() => NetworkTarget::Absent(Unavailable::NotYet),
            (Side::Host, None) => NetworkTarget::Absent(Unavailable::Permission),
        };
        (network, false)
    }
}

/// The host's end of the pair; the list of links is read once for all pods that ask in one step.
pub(super) fn find_host_interface(
    host: &mut Host,
    found: &Found,
    interface: Option<InterfaceName>,
) -> Option<HostInterface> {
    if Some(found.process.netns) == host.init_netns {
        return None;
    }
    let links = host.links.as_mut()?;
    if !host.links_fresh {
        links.refresh().ok()?;
        host.links_fresh = true;
    }
    let index = interface.and_then(|name| net_dev::interface_index(&found.process, name));
    links.host_end(&found.process, index).map(|end| HostInterface { pod_interface: interface, ..end })
}
