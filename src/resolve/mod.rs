//! STAGE which cgroups, sandbox, process, netns and host interface each pod is, with the evidence.
//!
//! The cgroup tree is the ground truth for existence and inotify on it the trigger: a container is a
//! target as soon as its directory appears, under its id, before anybody has told us its name. Names
//! are attached when they come. Whatever is doubtful stays absent, with a reason: a figure under the
//! wrong pod is the worst thing this program could serve.
//!
//! [`sandbox`] decides which child of a pod's cgroup is the sandbox, [`process`] through which process
//! the pod's network is read, [`claims`] whose a netns is that two pods seem to have, [`sight`] looks
//! what `/proc` shows at all, [`evidence`] writes down why. [`system`] finds what the kubelet reports beside pods.

mod claims;
mod evidence;
mod network;
mod pinning;
mod pod;
mod process;
mod sandbox;
mod sight;
mod system;
mod target;

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::info;
use tracing::warn;

use crate::host::HostRoot;
use crate::host::cgroup::layout::Layout;
use crate::host::cgroup::tree;
use crate::host::clock;
use crate::host::link::HostVethReader;
use crate::host::link::Links;
use crate::host::link::compare_ends;
use crate::host::process::ProcScan;
use crate::host::watch::CgroupWatch;
use crate::model::health::Health;
use crate::model::health::Room;
use crate::model::identity::KnownPods;
use crate::model::target::CgroupPath;
use crate::model::target::TargetId;
use crate::model::target::TargetSet;
use crate::model::time::ClockPair;
use crate::model::time::Monotonic;

use self::network::LINKS_GAP;
use self::pod::PodState;

/// The whole tree is listed this often even if inotify reports nothing: events can be lost.
const FULL_LISTING: Duration = Duration::from_secs(30);

/// While no kubepods directory is there at all, it is looked for this often.
const LOOK_FOR_KUBEPODS: Duration = Duration::from_secs(2);

/// After something appeared beside the roots we know, a new root may be on its way for this long: it
/// is made one directory at a time, and only the topmost of them is watched.
const RESTLESS: Duration = Duration::from_secs(5);

/// While so, roots are looked for this often.
const RESTLESS_GAP: Duration = Duration::from_millis(100);

/// A cgroup nobody names is asked about for this long; the leftovers of a dead runtime stay unnamed.
const YOUNG: Duration = Duration::from_secs(30);

/// More pods or containers than this are not followed: the newest are left out, and counted.
const MOST_PODS: usize = 1_000;

/// Who is at home in a netns is settled in one step after so many changes of mind at most.
const MOST_CONTESTS: usize = 4;

/// While `/proc` hides processes, whether it still does is looked at this often.
const HIDDEN_GAP: Duration = Duration::from_secs(1);

/// Which side of a pod's link the sampler is to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The pod's: `net/dev` in its netns.
    Pod,
    /// The host's end of the veth.
    Host,
}

/// What `pipeline` hands in between two steps.
#[derive(Default)]
pub struct Inbox {
    /// New names, if there are any.
    pub known: Option<Arc<KnownPods>>,
    /// Targets the sampler found gone.
    pub lost: Vec<TargetId>,
    /// Pods the sampler found with other interfaces than before, or another default route.
    pub rewired: Vec<TargetId>,
}

/// What a step came to.
pub struct Outcome {
    /// The new targets, if anything changed.
    pub targets: Option<Arc<TargetSet>>,
    /// There are young cgroups that no source has named: ask again.
    pub unknown: bool,
    /// Call again after this long even if nothing happens.
    pub again: Duration,
}

/// Follows the pods of the node.
pub struct Resolver {
    host: Host,
    known: Arc<KnownPods>,
    pods: Vec<PodState>,
    kubepods: Vec<CgroupPath>,
    system: Vec<system::Found>,
    listed_at: Option<Monotonic>,
    /// When the host's links were last looked at for ends that are gone.
    linked_at: Option<Monotonic>,
    restless_until: Monotonic,
    generation: u64,
    health: Arc<Health>,
}

/// What resolving asks the kernel through, shared by all pods.
struct Host {
    root: HostRoot,
    layout: Arc<Layout>,
    scan: ProcScan,
    links: Option<Links>,
    init_netns: Option<u64>,
    hides_processes: bool,
    side: Side,
    next_id: u64,
    /// The host's links were listed in this step.
    links_fresh: bool,
    /// All processes were listed in this step.
    scan_fresh: bool,
    /// Processes that are pinned, and how many may be: each takes a descriptor.
    pins: usize,
    most_pins: usize,
    /// Since when a source that lists every container, but no sandboxes, is heard without a break.
    claims_since: Option<Monotonic>,
}

impl Host {
    /// An id that was never used and never will be again.
    fn fresh_id(&mut self) -> TargetId {
        self.next_id += 1;
        TargetId(self.next_id)
    }
}

impl Resolver {
    /// A resolver that has looked at nothing yet.
    pub fn new(root: HostRoot, layout: Arc<Layout>, side: Side, health: Arc<Health>) -> Self {
        let mut host = Host {
            scan: ProcScan::new(),
            links: None,
            init_netns: None,
            hides_processes: false,
            side,
            next_id: 0,
            links_fresh: false,
            scan_fresh: false,
            claims_since: None,
            pins: 0,
            most_pins: crate::host::limits::pinned_processes(),
            root,
            layout,
        };
        host.open_eyes();
        Self {
            host,
            known: Arc::default(),
            pods: Vec::new(),
            kubepods: Vec::new(),
            system: Vec::new(),
            listed_at: None,
            linked_at: None,
            restless_until: Monotonic::default(),
            generation: 0,
            health,
        }
    }

    /// Takes in what happened and returns the targets as they are now.
    ///
    /// `changed` are directories in which a cgroup appeared or went; `overflowed` says that some may
    /// be missing from it.
    pub fn step(
        &mut self,
        changed: &[PathBuf],
        overflowed: bool,
        inbox: Inbox,
        watch: &mut Option<CgroupWatch>,
    ) -> Outcome {
        let now = clock::pair();
        let named = inbox.known.is_some();
        if let Some(known) = inbox.known {
            self.known = known;
            let since = self.host.claims_since.unwrap_or(now.monotonic);
            self.host.claims_since = sandbox::is_claimed_for(&self.known).then_some(since);
        }
        let due = self
            .listed_at
            .is_none_or(|at| now.monotonic.since(at).is_none_or(|age| age >= self.listing_gap()));
        if due || overflowed || watch.is_none() {
            self.list_all(now, watch);
        } else {
            self.list_changed(changed, now, watch);
        }
        for id in &inbox.lost {
            self.look_again(*id, now);
        }
        for pod in self.pods.iter_mut().filter(|pod| inbox.rewired.contains(&pod.network_id)) {
            pod.rewire(now.monotonic);
        }
        self.look_for_hidepid(now);
        self.look_for_own_netns(now);
        self.host.pins = self.pods.iter().filter(|pod| pod.found.is_some()).count();
        let mut changed = system::look(&mut self.system, &mut self.host, &self.kubepods, now);
        (self.host.links_fresh, self.host.scan_fresh) = (false, false);
        self.look_at_links(now);
        for pod in &mut self.pods {
            changed |= pod.settle(&mut self.host, &self.known, now, named, &self.health);
        }
        // Settling may find another process for a pod, which is another claim.
        let mut rounds = if changed { MOST_CONTESTS } else { 0 };
        while rounds > 0 && claims::contest(&mut self.pods, self.host.init_netns) {
            rounds -= 1;
            for pod in &mut self.pods {
                pod.settle(&mut self.host, &self.known, now, false, &self.health);
            }
        }
        self.pods.retain(|pod| {
            changed |= pod.ended && pod.target.is_some();
            !pod.ended
        });
        let unknown = self.pods.iter().any(|pod| pod.has_unknown(&self.known, now.monotonic, YOUNG));
        let targets = (changed || self.generation == 0).then(|| self.publish());
        Outcome { targets, unknown, again: self.again(now.monotonic, unknown) }
    }

    fn listing_gap(&self) -> Duration {
        if self.kubepods.is_empty() { LOOK_FOR_KUBEPODS } else { FULL_LISTING }
    }

    /// When to look again without an event: soon while something is still missing.
    fn again(&self, now: Monotonic, unknown: bool) -> Duration {
        let retries = self.pods.iter().filter_map(PodState::next_look).min();
        let retry = retries.map_or(Duration::MAX, |at| at.since(now).unwrap_or_default());
        let unnamed = if unknown { Duration::from_millis(100) } else { Duration::MAX };
        let roots = if now < self.restless_until { RESTLESS_GAP } else { Duration::MAX };
        let hidden = if self.host.is_in_the_dark() { HIDDEN_GAP } else { Duration::MAX };
        let links = if self.host.links.is_some() { LINKS_GAP } else { Duration::MAX };
        self.listing_gap()
            .min(hidden)
            .min(links)
            .min(retry)
            .min(unnamed)
            .min(roots)
            .max(Duration::from_millis(5))
    }

    /// Lists every kubepods tree and every pod in it.
    fn list_all(&mut self, now: ClockPair, watch: &mut Option<CgroupWatch>) {
        let kubepods = self.roots();
        if kubepods != self.kubepods {
            let names: Vec<_> = kubepods.iter().map(ToString::to_string).collect();
            info!(kubepods = ?names, "cgroup roots of pods");
            self.kubepods = kubepods;
        }
        self.listed_at = Some(now.monotonic);
        self.watch_above(watch);
        self.list_pods(now, watch);
        for pod in &mut self.pods {
            pod.check_pin(now);
            pod.list(&mut self.host, now, &self.health);
        }
    }

    fn list_changed(&mut self, changed: &[PathBuf], now: ClockPair, watch: &mut Option<CgroupWatch>) {
        let (mut tree_changed, mut above_changed) = (false, false);
        for directory in changed {
            let relative = directory.strip_prefix(self.host.layout.watched()).unwrap_or(directory);
            match self.pods.iter_mut().find(|pod| pod.path().as_path() == relative) {
                Some(pod) => pod.list(&mut self.host, now, &self.health),
                None => {
                    tree_changed = true;
                    // Only above the roots can a new root appear.
                    above_changed |= !self.kubepods.iter().any(|root| relative.starts_with(root.as_path()));
                }
            }
        }
        if above_changed {
            self.restless_until = now.monotonic.plus(RESTLESS);
        }
        if tree_changed || now.monotonic < self.restless_until {
            self.list_roots(now, watch, tree_changed);
        }
    }

    /// Something is new above the pods. Pods we know are not listed again for that.
    fn list_roots(&mut self, now: ClockPair, watch: &mut Option<CgroupWatch>, pods_too: bool) {
        if self.roots() != self.kubepods {
            self.list_all(now, watch);
        } else if pods_too {
            self.list_pods(now, watch);
        }
    }

    /// The roots that are found, and those we know that are still there though a listing failed.
    fn roots(&self) -> Vec<CgroupPath> {
        let mut roots = self.host.layout.kubepods();
        let stands = |root: &&CgroupPath| self.host.layout.inode(root).is_some();
        let missed: Vec<_> =
            self.kubepods.iter().filter(|root| !roots.contains(root)).filter(stands).collect();
        roots.extend(missed.into_iter().cloned());
        roots.sort();
        roots
    }

    /// Directories above the pods in which the next pod, or the next root of pods, will appear.
    fn watch_above(&mut self, watch: &mut Option<CgroupWatch>) {
        let mount = self.host.layout.watched().to_owned();
        add_watch(watch, &mount, &self.health);
        for root in &self.kubepods {
            for above in root.as_path().ancestors().skip(1) {
                add_watch(watch, &mount.join(above), &self.health);
            }
        }
    }

    /// Finds new pod directories, and notes those that are gone.
    fn list_pods(&mut self, now: ClockPair, watch: &mut Option<CgroupWatch>) {
        let mount = self.host.layout.watched().to_owned();
        let mut seen: Vec<CgroupPath> = Vec::new();
        for root in self.kubepods.clone() {
            for directory in tree::qos_directories(&self.host.layout, &root) {
                add_watch(watch, &mount.join(directory.as_path()), &self.health);
            }
            let pods = match tree::list_pods(&self.host.layout, &root) {
                Ok(pods) => pods,
                Err(error) => {
                    self.health.count(Room::Resolve, error.trouble());
                    continue;
                }
            };
            for pod in pods {
                seen.push(pod.path.clone());
                if self.pods.iter().any(|known| known.is(&pod)) {
                    continue;
                }
                if self.pods.len() >= MOST_PODS {
                    self.health.count(Room::Resolve, crate::model::health::Trouble::Truncated);
                    continue;
                }
                // The watch before the listing, or a container made in between would be missed.
                add_watch(watch, &mount.join(pod.path.as_path()), &self.health);
                self.pods.retain(|old| old.path() != &pod.path);
                let mut state = PodState::new(&mut self.host, pod, now);
                state.list(&mut self.host, now, &self.health);
                self.pods.push(state);
            }
        }
        // A listing that failed proves nothing: what is not listed must also not be there.
        for pod in self.pods.iter_mut().filter(|pod| !seen.contains(pod.path())) {
            pod.ended |= self.host.layout.inode(pod.path()) != Some(pod.directory.inode);
        }
    }

    /// The sampler found this target gone: look at its pod again.
    fn look_again(&mut self, id: TargetId, now: ClockPair) {
        if let Some(pod) = self.pods.iter_mut().find(|pod| pod.owns(id)) {
            pod.lost(id, now);
            pod.list(&mut self.host, now, &self.health);
        }
    }

    fn publish(&mut self) -> Arc<TargetSet> {
        self.generation += 1;
        let pods: Vec<_> = self.pods.iter().filter_map(|pod| pod.target.clone()).collect();
        let cgroups: usize = pods.iter().map(|pod| pod.cgroups().count()).sum();
        self.health.pod_targets.store(pods.len() as u64, Ordering::Relaxed);
        self.health.cgroup_targets.store(cgroups as u64, Ordering::Relaxed);
        let system = self.system.iter().map(|found| found.target.clone()).collect();
        Arc::new(TargetSet { generation: self.generation, pods, system })
    }

    /// Compares both ends of each pod's veth, where both can be seen, and counts what it finds.
    pub fn compare_ends(&mut self) {
        let mut buffer = Vec::new();
        for pod in self.pods.iter().filter_map(|pod| pod.target.as_ref()) {
            let (Some(process), Some(end)) = (&pod.process, &pod.host_interface) else { continue };
            let (Some(inside), Ok(host)) = (end.pod_interface, HostVethReader::open(&self.host.root, end))
            else {
                continue;
            };
            if let Some(equal) = compare_ends(&host, process, inside, &mut buffer) {
                self.health.network_comparisons.fetch_add(1, Ordering::Relaxed);
                if !equal {
                    self.health.network_mismatches.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// Watches `directory`; if the kernel refuses for good, the watch is given up and every step lists.
fn add_watch(watch: &mut Option<CgroupWatch>, directory: &Path, health: &Health) {
    let Some(inotify) = watch else { return };
    match inotify.add(directory) {
        Ok(()) => {}
        Err(error) if error.is_gone() => {}
        Err(error) => {
            health.count(Room::Resolve, error.trouble());
            health.inotify.store(false, Ordering::Relaxed);
            warn!(error = %crate::host::error::chain(&error), "inotify is refused: cgroups are listed every sweep instead");
            *watch = None;
        }
    }
}

#[cfg(test)]
mod faults_tests;
