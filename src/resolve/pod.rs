//! One pod as the resolver follows it: its directory, its children, its process, and the target made
//! of them.

use std::sync::Arc;
use std::time::Duration;

use crate::host::cgroup::tree;
use crate::host::cgroup::tree::ContainerDirectory;
use crate::host::cgroup::tree::PodDirectory;
use crate::host::net_dev;
use crate::host::process::is_in_its_netns;
use crate::model::counters::InterfaceName;
use crate::model::health::Health;
use crate::model::health::Room;
use crate::model::health::Trouble;
use crate::model::identity::ContainerId;
use crate::model::identity::KnownPod;
use crate::model::identity::KnownPods;
use crate::model::target::CgroupPath;
use crate::model::target::CgroupRole;
use crate::model::target::CgroupTarget;
use crate::model::target::ContainerTarget;
use crate::model::target::HostInterface;
use crate::model::target::NetworkTarget;
use crate::model::target::PodTarget;
use crate::model::target::TargetId;
use crate::model::time::ClockPair;
use crate::model::time::Monotonic;
use crate::model::unavailable::Unavailable;

use super::Host;
use super::evidence;
use super::network::find_host_interface;
use super::process;
use super::process::Found;
use super::process::Vain;
use super::process::Wanted;
use super::sandbox;
use super::sandbox::Sandbox;

/// A process that cannot be found is looked for again: at once, then ever more rarely.
const FIRST_RETRY: Duration = Duration::from_millis(10);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// A pod this young has *no process yet*; an older one has *no process*.
pub(super) const SETTLING: Duration = Duration::from_secs(2);

/// A pod's link to the host may take its runtime this long.
const LINKING: Duration = Duration::from_secs(30);

/// A pod's cgroup holds at most this many children we follow: a pod may be delegated its subtree.
const MOST_CHILDREN: usize = 256;

/// One child of the pod's cgroup.
pub(super) struct Child {
    pub(super) directory: ContainerDirectory,
    pub(super) cgroup: CgroupTarget,
}

/// One pod directory.
pub(super) struct PodState {
    pub(super) directory: PodDirectory,
    cgroup: CgroupTarget,
    /// Oldest first.
    pub(super) children: Vec<Child>,
    pub(super) sandbox: Sandbox,
    /// Names the netns for the sampler and for all that compares counters.
    network_id: TargetId,
    pub(super) found: Option<Found>,
    pub(super) vain: Vain,
    /// The last process that was found dead, and when.
    before: Option<(Monotonic, Found)>,
    /// The sandbox at the time the process was found, where it was known.
    found_under: Option<ContainerId>,
    pub(super) interface: Option<InterfaceName>,
    pub(super) host_interface: Option<HostInterface>,
    pub(super) retry_at: Option<Monotonic>,
    retry_gap: Duration,
    pub(super) first_seen: ClockPair,
    changed: bool,
    pub(super) disagrees: bool,
    /// The pod is too young for a verdict on its network.
    pub(super) undecided: bool,
    /// The directory is gone.
    pub(super) ended: bool,
    pub(super) target: Option<Arc<PodTarget>>,
}

impl PodState {
    pub(super) fn new(host: &mut Host, directory: PodDirectory, now: ClockPair) -> Self {
        let cgroup = CgroupTarget {
            id: host.fresh_id(),
            path: directory.path.clone(),
            role: CgroupRole::Pod,
            first_seen: now.monotonic,
            since: now.wall,
        };
        Self {
            directory,
            cgroup,
            children: Vec::new(),
            sandbox: Sandbox::Unsettled,
            network_id: host.fresh_id(),
            found: None,
            vain: Vain::default(),
            before: None,
            found_under: None,
            interface: None,
            host_interface: None,
            retry_at: None,
            retry_gap: FIRST_RETRY,
            first_seen: now,
            changed: true,
            disagrees: false,
            undecided: false,
            ended: false,
            target: None,
        }
    }

    pub(super) fn path(&self) -> &CgroupPath {
        &self.directory.path
    }

    /// The same directory, not another of the same name.
    pub(super) fn is(&self, other: &PodDirectory) -> bool {
        self.directory.path == other.path && self.directory.inode == other.inode
    }

    pub(super) fn owns(&self, id: TargetId) -> bool {
        self.cgroup.id == id
            || self.network_id == id
            || self.children.iter().any(|child| child.cgroup.id == id)
    }

    /// Takes in which children there are now.
    pub(super) fn list(&mut self, host: &mut Host, now: ClockPair, health: &Health) {
        let mut listed = match tree::list_containers(&host.layout, &self.directory.path) {
            Ok(listed) => listed,
            Err(error) if error.is_gone() => {
                self.ended = true;
                return;
            }
            Err(error) => return health.count(Room::Resolve, error.trouble()),
        };
        if listed.len() > MOST_CHILDREN {
            health.count(Room::Resolve, Trouble::Truncated);
            listed.truncate(MOST_CHILDREN);
        }
        let same = |child: &Child, directory: &ContainerDirectory| {
            child.directory.id == directory.id && child.directory.inode == directory.inode
        };
        let before = self.children.len();
        self.children.retain(|child| listed.iter().any(|directory| same(child, directory)));
        self.changed |= self.children.len() != before;
        for directory in listed {
            if self.children.iter().any(|child| same(child, &directory)) {
                continue;
            }
            let cgroup = CgroupTarget {
                id: host.fresh_id(),
                path: directory.path.clone(),
                role: CgroupRole::Container,
                first_seen: now.monotonic,
                since: now.wall,
            };
            self.children.push(Child { directory, cgroup });
            self.changed = true;
            self.look_soon(now.monotonic);
        }
    }

    /// The sampler could not read one of our targets any more.
    pub(super) fn lost(&mut self, id: TargetId, now: ClockPair) {
        if self.network_id == id
            && let Some(found) = self.found.take()
        {
            self.before = Some((now.monotonic, found));
            self.changed = true;
            self.look_soon(now.monotonic);
        }
    }

    fn look_soon(&mut self, now: Monotonic) {
        self.retry_gap = FIRST_RETRY;
        self.retry_at = Some(now);
    }

    fn look_later(&mut self, now: Monotonic) {
        self.retry_at = Some(now.plus(self.retry_gap));
        self.retry_gap = (self.retry_gap * 2).min(LAST_RETRY);
    }

    /// Whether a source of names should be asked about this pod.
    pub(super) fn has_unknown(&self, known: &KnownPods, now: Monotonic, young: Duration) -> bool {
        let pod = known.pods.get(&self.directory.uid);
        let named = |id: &ContainerId| {
            pod.is_some_and(|pod| {
                pod.containers.iter().any(|container| container.id == *id)
                    || pod.sandboxes.iter().any(|sandbox| sandbox.id == *id)
            })
        };
        self.children.iter().any(|child| {
            let age = now.since(child.cgroup.first_seen).unwrap_or_default();
            age < young && !named(&child.directory.id)
        })
    }

    /// Brings sandbox, process and target up to date. Returns whether the target changed.
    pub(super) fn settle(
        &mut self,
        host: &mut Host,
        known: &KnownPods,
        now: ClockPair,
        named: bool,
        health: &Health,
    ) -> bool {
        let known = known.pods.get(&self.directory.uid);
        let due = self.retry_at.is_some_and(|at| at <= now.monotonic);
        if self.ended || !(self.changed || named || due) {
            return false;
        }
        let ids: Vec<_> = self.children.iter().map(|child| child.directory.id.clone()).collect();
        let sandbox = sandbox::settle(&ids, known.map(Arc::as_ref));
        // What was once settled stays so while that child lives: a source that went away changes nothing.
        let stands = match &self.sandbox {
            Sandbox::Is(id, _) => ids.contains(id),
            Sandbox::None => known.is_some_and(|known| has_absent_sandbox(known, &ids)),
            Sandbox::Unsettled => false,
        };
        if sandbox != Sandbox::Unsettled || !stands {
            self.changed |= sandbox != self.sandbox;
            self.sandbox = sandbox;
        }
        // What was left open because the pod was young is decided now, one way or the other.
        self.changed |= due && self.undecided;
        if due || self.process_is_second_choice() {
            self.find_process(host, known.map(Arc::as_ref), now);
        }
        if self.children.is_empty() {
            // A directory without containers is what a runtime leaves behind, not a running pod.
            self.changed = false;
            return self.target.take().is_some();
        }
        let changed = self.changed || self.target.as_ref().is_none_or(|target| differs(target, known));
        self.changed = false;
        if changed {
            self.target = Some(Arc::new(self.make_target(host, known, now, health)));
        }
        changed
    }

    /// The pinned process is not the sandbox's though we know the sandbox by now.
    fn process_is_second_choice(&self) -> bool {
        match (&self.sandbox, &self.found) {
            (Sandbox::Is(id, _), Some(found)) => found.container != *id && self.changed,
            _ => false,
        }
    }

    /// Looks for a process to read the network through, the sandbox's first.
    fn find_process(&mut self, host: &mut Host, known: Option<&KnownPod>, now: ClockPair) {
        if self.children.is_empty() {
            self.retry_at = None;
            return;
        }
        let mut children: Vec<_> =
            self.children.iter().map(|child| (&child.directory.id, &child.directory.path)).collect();
        if let Sandbox::Is(sandbox, _) = &self.sandbox {
            children.sort_by_key(|(id, _)| *id != sandbox);
        }
        let runtime_pid = known.and_then(|known| {
            let here = |id: &ContainerId| self.children.iter().any(|child| child.directory.id == *id);
            known.sandboxes.iter().find(|sandbox| sandbox.ready && here(&sandbox.id))?.pid
        });
        let wanted = Wanted { uid: &self.directory.uid, children, runtime_pid };
        match process::find(host, &wanted) {
            Ok(found) => self.adopt(host, found, now),
            Err(vain) => {
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

    fn adopt(&mut self, host: &mut Host, found: Found, now: ClockPair) {
        self.retry_at = None;
        self.vain = Vain::default();
        if self.must_look_again(host, &found, now.monotonic) {
            self.look_later(now.monotonic);
        }
        let same = match (&self.found, &self.before) {
            // Both live: then equal numbers are one netns.
            (Some(present), _) if is_in_its_netns(&present.process) == Ok(true) => {
                present.process.netns == found.process.netns
            }
            (Some(present), _) => self.same_netns(now.monotonic, present, &found),
            (None, Some((lost_at, before))) => self.same_netns(*lost_at, before, &found),
            (None, None) => true,
        };
        if !same {
            self.network_id = host.fresh_id();
        }
        let unchanged = self.found.as_ref().is_some_and(|present| present.process.pid == found.process.pid);
        if !unchanged || !same || self.host_interface.is_none() {
            let interface = net_dev::primary_interface(&found.process);
            let host_interface = find_host_interface(host, &found, interface);
            self.changed |= (interface, &host_interface) != (self.interface, &self.host_interface);
            (self.interface, self.host_interface) = (interface, host_interface);
        }
        if unchanged && same {
            return;
        }
        self.changed = true;
        self.found_under = self.sandbox_id().cloned();
        self.found = Some(found);
    }

    /// Whether what was found may still change, since the pod is being made.
    ///
    /// A runtime puts a process into its cgroup before the process enters its namespaces: for some
    /// milliseconds it is in the node's netns, and later its interfaces are still to come.
    fn must_look_again(&self, host: &Host, found: &Found, now: Monotonic) -> bool {
        let age = self.age_of(&found.container, now);
        if Some(found.process.netns) == host.init_netns {
            age < SETTLING
        } else {
            host.links.is_some() && self.host_interface.is_none() && age < LINKING
        }
    }

    /// Time since the child of this id was first seen.
    pub(super) fn age_of(&self, id: &ContainerId, now: Monotonic) -> Duration {
        let child = self.children.iter().find(|child| child.directory.id == *id);
        child.and_then(|child| now.since(child.cgroup.first_seen)).unwrap_or_default()
    }

    /// A pin that no sampler reads, on the node's network say, is looked at now and then.
    pub(super) fn check_pin(&mut self, now: ClockPair) {
        let unread = self.target.as_ref().is_some_and(|pod| matches!(pod.network, NetworkTarget::Absent(_)));
        let dead = |found: &Found| is_in_its_netns(&found.process) != Ok(true);
        if unread && self.found.as_ref().is_some_and(dead) {
            self.lost(self.network_id, now);
        }
    }

    /// Whether a process reads the same netns as one that was found before it.
    ///
    /// The kernel hands the inode number of a dead netns to the next one, so an equal number is not
    /// enough: the sandbox must be the same, where it is known, and the process must belong to a
    /// container that was there before the other process was missed.
    fn same_netns(&self, missed_at: Monotonic, before: &Found, found: &Found) -> bool {
        let sandbox_stands = match (&self.found_under, self.sandbox_id()) {
            (Some(then), Some(now)) => then == now,
            _ => true,
        };
        let older =
            |child: &Child| child.directory.id == found.container && child.cgroup.first_seen <= missed_at;
        before.process.netns == found.process.netns && sandbox_stands && self.children.iter().any(older)
    }

    fn sandbox_id(&self) -> Option<&ContainerId> {
        match &self.sandbox {
            Sandbox::Is(id, _) => Some(id),
            Sandbox::None | Sandbox::Unsettled => None,
        }
    }

    fn make_target(
        &mut self,
        host: &Host,
        known: Option<&Arc<KnownPod>>,
        now: ClockPair,
        health: &Health,
    ) -> PodTarget {
        let (sandbox, containers): (Vec<_>, Vec<_>) = self
            .children
            .iter()
            .map(|child| self.container_target(child, known))
            .partition(|container| container.cgroup.role == CgroupRole::Sandbox);
        let (network, host_network) = self.network(host, known.map(Arc::as_ref), now, health);
        let old = self.target.as_ref().map(|target| target.evidence.clone());
        let evidence = evidence::write(
            self,
            host,
            known.map(Arc::as_ref),
            &network,
            old.as_deref().map_or(&[], Vec::as_slice),
            now.wall,
        );
        let handler =
            known.and_then(|known| known.sandboxes.first()).map_or("", |sandbox| &sandbox.runtime_handler);
        let since =
            self.children.iter().map(|child| child.cgroup.since).max().unwrap_or(self.first_seen.wall);
        PodTarget {
            id: self.network_id,
            runtime_uid: self.directory.uid.clone(),
            known: known.cloned(),
            cgroup: self.cgroup.clone(),
            containers,
            sandbox: sandbox.into_iter().next(),
            sandbox_settled: self.sandbox != Sandbox::Unsettled,
            qos_class: self.directory.qos_class,
            host_network,
            process: self.found.as_ref().map(|found| found.process.clone()),
            network,
            host_interface: self.host_interface.clone(),
            runtime_vm: self.children.iter().any(|child| child.directory.virtual_machine)
                || handler.contains("kata")
                || handler.contains("runsc"),
            evidence: Arc::new(evidence),
            since,
        }
    }

    fn container_target(&self, child: &Child, known: Option<&Arc<KnownPod>>) -> ContainerTarget {
        let id = &child.directory.id;
        let is_sandbox = matches!(&self.sandbox, Sandbox::Is(sandbox, _) if sandbox == id);
        // The pod names its containers; each gets a share of that one value, not a copy of it.
        let named = known.and_then(|known| known.containers.iter().find(|container| container.id == *id));
        ContainerTarget {
            cgroup: CgroupTarget {
                role: if is_sandbox { CgroupRole::Sandbox } else { CgroupRole::Container },
                ..child.cgroup.clone()
            },
            container_id: id.clone(),
            known: named.map(|container| Arc::new(container.clone())),
        }
    }
}

/// Whether a source knows a living sandbox that has no cgroup of its own.
fn has_absent_sandbox(known: &KnownPod, children: &[ContainerId]) -> bool {
    known.sandboxes.iter().any(|sandbox| sandbox.ready && !children.contains(&sandbox.id))
}

/// Whether the names in the target are not the ones known now.
fn differs(target: &PodTarget, known: Option<&Arc<KnownPod>>) -> bool {
    match (&target.known, known) {
        (Some(then), Some(now)) => !Arc::ptr_eq(then, now) && then != now,
        (None, None) => false,
        _ => true,
    }
}
