//! One pod as the resolver follows it: its directory, its children, its process, and the target made
//! of them.

use std::sync::Arc;
use std::time::Duration;

use crate::host::cgroup::tree;
use crate::host::cgroup::tree::ContainerDirectory;
use crate::host::cgroup::tree::PodDirectory;
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
use crate::model::target::HostInterface;
use crate::model::target::PodTarget;
use crate::model::target::TargetId;
use crate::model::time::ClockPair;
use crate::model::time::Monotonic;

use super::Host;
use super::pinning::LostNetns;
use super::process::Found;
use super::process::Place;
use super::process::Vain;
use super::sandbox;
use super::sandbox::Sandbox;
use super::sandbox::UNCLAIMED;
use super::target;

/// A process that cannot be found is looked for again: at once, then ever more rarely.
const FIRST_RETRY: Duration = Duration::from_millis(10);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// A pod this young has *no process yet*; an older one has *no process*.
pub(super) const SETTLING: Duration = Duration::from_secs(2);

/// A pod's cgroup holds at most this many children we follow: a pod may be delegated its subtree.
const MOST_CHILDREN: usize = 256;

/// One child of the pod's cgroup.
pub(super) struct Child {
    pub(super) directory: ContainerDirectory,
    pub(super) cgroup: CgroupTarget,
}

impl Child {
    pub(super) fn place(&self, lost_at: Option<Monotonic>, now: Monotonic) -> Place<'_> {
        let new = lost_at.is_some_and(|lost_at| self.cgroup.first_seen >= lost_at);
        let young = now.since(self.cgroup.first_seen).is_none_or(|age| age < SETTLING);
        Place { id: &self.directory.id, path: &self.directory.path, new, young }
    }
}

/// One pod directory.
pub(super) struct PodState {
    pub(super) directory: PodDirectory,
    pub(super) cgroup: CgroupTarget,
    /// Oldest first.
    pub(super) children: Vec<Child>,
    pub(super) sandbox: Sandbox,
    /// Names the netns for the sampler and for all that compares counters.
    pub(super) network_id: TargetId,
    pub(super) found: Option<Found>,
    pub(super) vain: Vain,
    /// Of the last process that was found dead, or in another netns.
    pub(super) lost: Option<LostNetns>,
    /// Nobody of the pod was left in the netns of `lost`.
    pub(super) deserted: bool,
    /// Since when this netns is held to be the pod's.
    pub(super) claimed_at: Monotonic,
    /// Another pod has a better claim to the netns, or as good a one, or had it when it was there.
    pub(super) contested: bool,
    /// Under which name of the netns, and whether by the pod's own sandbox, the claim was contested.
    contested_as: Option<(TargetId, bool)>,
    /// The sandbox at the time the process was found, where it was known.
    pub(super) found_under: Option<ContainerId>,
    pub(super) interface: Option<InterfaceName>,
    pub(super) host_interface: Option<HostInterface>,
    /// When its interfaces are to be looked at again, and when they were.
    pub(super) rewire_at: Option<Monotonic>,
    pub(super) rewired_at: Option<Monotonic>,
    pub(super) retry_at: Option<Monotonic>,
    /// When a child that nobody claims will have been unclaimed for long enough.
    pub(super) settle_at: Option<Monotonic>,
    pub(super) retry_gap: Duration,
    pub(super) first_seen: ClockPair,
    pub(super) changed: bool,
    pub(super) disagrees: bool,
    /// The pod is too young for a verdict on its network.
    pub(super) undecided: bool,
    /// It has no process because there was no descriptor left to pin one.
    pub(super) unpinned: bool,
    /// The directory is gone.
    pub(super) ended: bool,
    pub(super) target: Option<Arc<PodTarget>>,
    /// What was last told of this UID. It stands while the pod's cgroup does, also when its object is
    /// deleted by force: a UID is never given to another pod.
    known: Option<Arc<KnownPod>>,
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
            lost: None,
            deserted: false,
            claimed_at: now.monotonic,
            contested: false,
            contested_as: None,
            found_under: None,
            interface: None,
            host_interface: None,
            rewire_at: None,
            rewired_at: None,
            retry_at: None,
            settle_at: None,
            retry_gap: FIRST_RETRY,
            first_seen: now,
            changed: true,
            disagrees: false,
            undecided: false,
            unpinned: false,
            ended: false,
            target: None,
            known: None,
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
        if self.children.len() != before {
            self.changed = true;
            // With its containers the sandbox may be gone, and what comes now be of the next.
            self.lose_dead(now.monotonic);
        }
        // One may have been missed by an earlier listing: the order is that of this one, the oldest first.
        let mut known = std::mem::take(&mut self.children);
        for directory in listed {
            if let Some(at) = known.iter().position(|child| same(child, &directory)) {
                self.children.push(known.swap_remove(at));
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
        if self.network_id == id {
            self.lose(now.monotonic);
        }
    }

    /// Takes in whether another pod has as good a claim to the netns; without another pod in it, what was
    /// found when there was one stands, unless the claim is a different one now. Whether that is news.
    pub(super) fn contest(&mut self, by_another: Option<bool>, by_its_sandbox: bool) -> bool {
        let claim = (self.network_id, by_its_sandbox);
        let contested = by_another.unwrap_or(self.contested_as == Some(claim));
        self.contested_as = contested.then_some(claim);
        let news = self.contested != contested;
        self.contested = contested;
        self.changed |= news;
        news
    }

    /// Processes can be seen, or cannot any more.
    pub(super) fn see_again(&mut self, now: ClockPair) {
        if self.found.is_none() {
            self.changed = true;
            self.look_soon(now.monotonic);
        }
    }

    pub(super) fn look_soon(&mut self, now: Monotonic) {
        self.retry_gap = FIRST_RETRY;
        self.retry_at = Some(now);
    }

    pub(super) fn look_later(&mut self, now: Monotonic) {
        self.retry_at = Some(now.plus(self.retry_gap));
        self.retry_gap = (self.retry_gap * 2).min(LAST_RETRY);
    }

    /// Whether a source of names should be asked about this pod.
    pub(super) fn has_unknown(&self, known: &KnownPods, now: Monotonic, young: Duration) -> bool {
        let pod = known.pods.get(&self.directory.uid);
        let named = |id: &ContainerId| {
            pod.is_some_and(|pod| {
                pod.container(id).is_some() || pod.sandboxes.iter().any(|sandbox| sandbox.id == *id)
            })
        };
        self.children.iter().any(|child| {
            let age = now.since(child.cgroup.first_seen).unwrap_or_default();
            let is_sandbox = self.sandbox_id() == Some(&child.directory.id);
            age < young && !is_sandbox && !named(&child.directory.id)
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
        if let Some(told) = known.pods.get(&self.directory.uid) {
            self.known = Some(told.clone());
        }
        let known = self.known.clone();
        let known = known.as_ref();
        let due = self.retry_at.is_some_and(|at| at <= now.monotonic);
        let settles = self.settle_at.is_some_and(|at| at <= now.monotonic);
        let rewires = self.rewire_at.is_some_and(|at| at <= now.monotonic);
        if self.ended || !(self.changed || named || due || settles || rewires) {
            return false;
        }
        let ids: Vec<_> = self.children.iter().map(|child| child.directory.id.clone()).collect();
        let oldest = self.children.first().map(|child| child.cgroup.first_seen);
        // Since when a source that lists containers could have claimed it.
        let claimable = oldest.zip(host.claims_since).map(|(oldest, since)| oldest.max(since));
        let unclaimed = claimable.and_then(|since| now.monotonic.since(since));
        let sandbox = sandbox::settle(&ids, known.map(Arc::as_ref), unclaimed.unwrap_or_default());
        let until = claimable.map(|since| since.plus(UNCLAIMED)).filter(|at| *at > now.monotonic);
        self.settle_at = until.filter(|_| sandbox == Sandbox::Unsettled);
        // What was once settled stays so while that child lives: a source that went away changes nothing.
        if sandbox != Sandbox::Unsettled || !self.sandbox.stands(&ids, known.map(Arc::as_ref)) {
            self.changed |= sandbox != self.sandbox;
            self.sandbox = sandbox;
        }
        // What was left open because the pod was young is decided now, one way or the other.
        self.changed |= due && self.undecided;
        if due || self.process_is_second_choice() {
            self.find_process(host, known.map(Arc::as_ref), now);
        }
        if rewires {
            self.look_at_interfaces(host, now.monotonic);
        }
        if self.children.is_empty() {
            // A directory without containers is what a runtime leaves behind, not a running pod.
            self.changed = false;
            return self.target.take().is_some();
        }
        let changed =
            self.changed || self.target.as_ref().is_none_or(|target| target::differs(target, known));
        self.changed = false;
        if changed {
            self.target = Some(Arc::new(self.make_target(host, known, now, health)));
        }
        changed
    }

    /// When something is to be looked at again.
    pub(super) fn next_look(&self) -> Option<Monotonic> {
        [self.retry_at, self.settle_at, self.rewire_at].into_iter().flatten().min()
    }

    /// Time since the child of this id was first seen.
    pub(super) fn age_of(&self, id: &ContainerId, now: Monotonic) -> Duration {
        let child = self.children.iter().find(|child| child.directory.id == *id);
        child.and_then(|child| now.since(child.cgroup.first_seen)).unwrap_or_default()
    }

    pub(super) fn sandbox_id(&self) -> Option<&ContainerId> {
        match &self.sandbox {
            Sandbox::Is(id, _) => Some(id),
            Sandbox::None | Sandbox::Unsettled => None,
        }
    }
}
