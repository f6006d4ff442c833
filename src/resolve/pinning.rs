//! Which process a pod's network is read through: looked for, taken, kept, let go.

use std::time::Duration;

use tracing::warn;

use crate::host::net_dev;
use crate::host::process::is_in_its_netns;
use crate::model::identity::ContainerId;
use crate::model::identity::KnownPod;
use crate::model::target::NetworkTarget;
use crate::model::target::PinnedProcess;
use crate::model::time::ClockPair;
use crate::model::time::Monotonic;
use crate::model::unavailable::Unavailable;

use super::Host;
use super::network::find_host_interface;
use super::pod::Child;
use super::pod::PodState;
use super::pod::SETTLING;
use super::process;
use super::process::Found;
use super::process::Vain;
use super::process::Wanted;
use super::sandbox::Sandbox;

/// A pod's link to the host may take its runtime this long.
const LINKING: Duration = Duration::from_secs(30);

/// The interfaces of one pod are not looked at more often, whatever it does with them.
const REWIRING: Duration = Duration::from_secs(1);

/// The netns of a process that is pinned no more. Its descriptor is not kept: it would outlive the process.
#[derive(Clone, Copy, Debug)]
pub(super) struct LostNetns {
    /// When the process was missed.
    pub(super) at: Monotonic,
    pub(super) netns: u64,
    /// It lives on in another: with nobody else of the pod in it, the netns may have died.
    by_leaving: bool,
}

impl LostNetns {
    fn of(process: &PinnedProcess, at: Monotonic) -> Self {
        Self { at, netns: process.netns, by_leaving: is_in_its_netns(process) == Ok(false) }
    }
}

impl PodState {
    pub(super) fn lose(&mut self, now: Monotonic) {
        if let Some(found) = self.found.take() {
            self.lost = Some(LostNetns::of(&found.process, now));
            self.changed = true;
            self.look_soon(now);
        }
    }

    /// Lets go of a process that ended or left its netns.
    pub(super) fn lose_dead(&mut self, now: Monotonic) {
        if self.found.as_ref().is_some_and(|found| is_in_its_netns(&found.process) != Ok(true)) {
            self.lose(now);
        }
    }

    /// The pinned process is not the sandbox's though we know the sandbox by now.
    pub(super) fn process_is_second_choice(&self) -> bool {
        match (&self.sandbox, &self.found) {
            (Sandbox::Is(id, _), Some(found)) => found.container != *id && self.changed,
            _ => false,
        }
    }

    /// Looks for a process to read the network through, the sandbox's first.
    pub(super) fn find_process(&mut self, host: &mut Host, known: Option<&KnownPod>, now: ClockPair) {
        if self.children.is_empty() {
            self.retry_at = None;
            return;
        }
        self.lose_dead(now.monotonic);
        if self.found.is_none() && self.cannot_pin(host) {
            return self.look_later(now.monotonic);
        }
        let netns = self.known_netns(host);
        let lost_at = netns.and_then(|(_, until)| until);
        let mut places: Vec<_> =
            self.children.iter().map(|child| child.place(lost_at, now.monotonic)).collect();
        if let Sandbox::Is(sandbox, _) = &self.sandbox {
            places.sort_by_key(|place| place.id != sandbox);
        }
        let runtime = known.and_then(|known| {
            let here = |id: &ContainerId| self.children.iter().any(|child| child.directory.id == *id);
            let sandbox = known.sandboxes.iter().find(|sandbox| sandbox.ready && here(&sandbox.id))?;
            Some((&sandbox.id, sandbox.pid?))
        });
        let netns = netns.map(|(netns, _)| netns);
        let (uid, sandbox) = (&self.directory.uid, &self.sandbox);
        let wanted = Wanted { uid, places, runtime, sandbox, netns };
        match process::find(host, &wanted) {
            Ok(found) => self.adopt(host, found, now),
            Err(vain) => {
                // The node's own netns never dies.
                let left = |lost: LostNetns| lost.by_leaving && Some(lost.netns) != host.init_netns;
                self.deserted |= self.found.is_none() && !vain.blind && self.lost.is_some_and(left);
                let settled =
                    now.monotonic.since(self.first_seen.monotonic).is_some_and(|age| age >= SETTLING);
                let absent = self.target.as_ref().map(|target| &target.network);
                let waiting = matches!(absent, Some(NetworkTarget::Absent(Unavailable::NotYet)));
                self.changed |= self.found.is_none() && (vain != self.vain || (waiting && settled));
                self.vain = vain;
                self.look_later(now.monotonic);
            }
        }
    }

    /// Whether all descriptors for pins are taken. The pods that were there first keep theirs.
    fn cannot_pin(&mut self, host: &Host) -> bool {
        let unpinned = host.pins >= host.most_pins;
        if unpinned && !self.unpinned {
            warn!(pod = %self.directory.uid, pins = host.most_pins, "no descriptor to spare: its network is not read; raise RLIMIT_NOFILE");
        }
        self.changed |= unpinned != self.unpinned;
        self.unpinned = unpinned;
        unpinned
    }

    fn adopt(&mut self, host: &mut Host, found: Found, now: ClockPair) {
        self.retry_at = None;
        self.vain = Vain::default();
        if self.must_look_again(host, &found, now.monotonic) {
            self.look_later(now.monotonic);
        }
        let same = match (&self.found, self.lost) {
            // Both live: then equal numbers are one netns.
            (Some(present), _) if is_in_its_netns(&present.process) == Ok(true) => {
                present.process.netns == found.process.netns
            }
            (Some(present), _) => self.same_netns(LostNetns::of(&present.process, now.monotonic), &found),
            (None, Some(lost)) => self.same_netns(lost, &found),
            (None, None) => true,
        };
        if !same {
            self.network_id = host.fresh_id();
        }
        if !same || (self.found.is_none() && self.lost.is_none()) {
            self.claimed_at = now.monotonic;
        }
        let unchanged = self.found.as_ref().is_some_and(|present| present.process.pid == found.process.pid);
        if !unchanged || !same || self.host_interface.is_none() {
            self.note_interfaces(host, &found);
        }
        if unchanged && same {
            return;
        }
        self.changed = true;
        self.deserted = false;
        self.found_under = self.sandbox_id().cloned();
        host.pins += usize::from(self.found.is_none());
        self.found = Some(found);
    }

    /// Whether what was found may still change, since the pod is being made.
    ///
    /// A runtime puts a process into its cgroup before the process enters its namespaces: for some
    /// milliseconds it is in the node's netns, and later its interfaces are still to come.
    fn must_look_again(&self, host: &Host, found: &Found, now: Monotonic) -> bool {
        let since_rewired = self.rewired_at.and_then(|at| now.since(at)).unwrap_or(Duration::MAX);
        let age = self.age_of(&found.container, now).min(since_rewired);
        if Some(found.process.netns) == host.init_netns {
            age < SETTLING
        } else {
            host.links.is_some() && self.host_interface.is_none() && age < LINKING
        }
    }

    /// The pod's interfaces are to be looked at again: soon, but not for each of many changes.
    pub(super) fn rewire(&mut self, now: Monotonic) {
        let rested = self.rewired_at.map_or(now, |at| at.plus(REWIRING));
        self.rewire_at.get_or_insert(rested.max(now));
    }

    /// Which interface is the pod's primary, and which link of the host's is its other end, as it is now.
    pub(super) fn look_at_interfaces(&mut self, host: &mut Host, now: Monotonic) {
        (self.rewire_at, self.rewired_at) = (None, Some(now));
        let Some(found) = self.found.clone() else { return };
        self.note_interfaces(host, &found);
        if host.links.is_some() && self.host_interface.is_none() {
            self.look_soon(now); // The other end of what is new may be on its way.
        }
    }

    fn note_interfaces(&mut self, host: &mut Host, found: &Found) {
        let interface = net_dev::primary_interface(&found.process);
        let host_interface = find_host_interface(host, found, interface);
        self.changed |= (interface, &host_interface) != (self.interface, &self.host_interface);
        (self.interface, self.host_interface) = (interface, host_interface);
    }

    /// A pin that no sampler reads, on the node's network say, is looked at now and then.
    pub(super) fn check_pin(&mut self, now: ClockPair) {
        let unread = self.target.as_ref().is_some_and(|pod| matches!(pod.network, NetworkTarget::Absent(_)));
        if unread {
            self.lose_dead(now.monotonic);
        }
    }

    /// Whether a process reads the same netns as one that was found before it.
    ///
    /// The kernel hands the inode number of a dead netns to the next one, so an equal number is not
    /// enough: the sandbox must be the same, where it is known, and the process must belong to a
    /// container that was there before the other process was missed.
    fn same_netns(&self, lost: LostNetns, found: &Found) -> bool {
        let sandbox_stands = match (&self.found_under, self.sandbox_id()) {
            (Some(then), Some(now)) => then == now,
            _ => true,
        };
        let older =
            |child: &Child| child.directory.id == found.container && child.cgroup.first_seen < lost.at;
        lost.netns == found.process.netns && sandbox_stands && self.children.iter().any(older)
    }
}
