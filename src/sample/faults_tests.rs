//! Every single system call of a sweep fails once, in every way it can fail: what is shown then is
//! right or absent, nobody else's figures change, and two sweeps later all is as before.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;

use rustix::io::Errno;

use super::*;
use crate::host::fault::{self, Made};
use crate::host::fixture_pods::{self, HIERARCHIES, Hierarchies, PODS, PodsNode};
use crate::host::process;
use crate::model::counters::InterfaceName;
use crate::model::health::TROUBLES;
use crate::model::identity::{ContainerId, PodUid};
use crate::model::sweep::{IoReading, NetworkTotals, Reading};
use crate::model::target::{CgroupPath, CgroupRole, CgroupTarget, ContainerTarget};
use crate::model::target::{HostInterface, PodTarget};
use crate::model::time::{Monotonic, WallTime};

/// Whose figure: 10 × pod + child for cgroups, 10 × pod + 9 for a pod's network, 0 for the node.
pub(super) type Owner = u32;

/// What a figure is worth, in words; absent ones are missing.
pub(super) type Figures = BTreeMap<(Owner, &'static str), String>;

/// Everything but the targets, which cost a `/proc` directory each.
pub(super) struct Bench {
    sampler: Sampler,
    health: Arc<Health>,
    sweep: Sweep,
    targets: Arc<TargetSet>,
}

fn cgroup_target(pod: u32, child: u32) -> CgroupTarget {
    CgroupTarget {
        id: TargetId(u64::from(pod * 10 + child)),
        path: CgroupPath::new(fixture_pods::cgroup_of(pod, child)),
        role: [CgroupRole::Pod, CgroupRole::Container, CgroupRole::Sandbox][child as usize],
        first_seen: Monotonic::from_nanos(clock::monotonic().as_nanos() - 10_000_000_000),
        since: WallTime::default(),
    }
}

fn child_target(pod: u32, child: u32) -> ContainerTarget {
    let container_id = ContainerId::new(&fixture_pods::id_of(pod, child)).unwrap();
    ContainerTarget { cgroup: cgroup_target(pod, child), container_id, known: None }
}

/// The first pod is read from its own side, the second from the host's.
fn pod_target(root: &HostRoot, pod: u32) -> Arc<PodTarget> {
    let process = process::pin(root, fixture_pods::pid_of(pod), |_| true).unwrap();
    let name = |name: &str| InterfaceName::new(name.as_bytes()).unwrap();
    let (index, pod_interface) = (10 + pod, Some(name("eth0")));
    let host_end = HostInterface { index, name: name("veth2"), pod_interface, peer: (2, 0) };
    let network = match pod {
        1 => NetworkTarget::Netns(process.clone()),
        _ => NetworkTarget::HostVeth(host_end, process.clone()),
    };
    Arc::new(PodTarget {
        id: TargetId(u64::from(pod * 10 + 9)),
        runtime_uid: PodUid::new(&fixture_pods::uid_of(pod)).unwrap(),
        known: None,
        cgroup: cgroup_target(pod, 0),
        containers: vec![child_target(pod, 1)],
        sandbox: Some(child_target(pod, 2)),
        sandbox_settled: true,
        qos_class: None,
        host_network: false,
        process: Some(process),
        network,
        interface: Some(name("eth0")),
        host_interface: None,
        runtime_vm: false,
        evidence: Arc::default(),
        since: WallTime::default(),
    })
}

pub(super) fn targets(root: &HostRoot) -> Arc<TargetSet> {
    Arc::new(TargetSet {
        generation: 1,
        pods: PODS.iter().map(|pod| pod_target(root, *pod)).collect(),
        ..TargetSet::default()
    })
}

/// What one sweep of a case does, and at which ticks: a slow sweep reads limits and devices too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    First,
    Steady,
    Slow,
}

impl Moment {
    pub(super) fn tick(self) -> u64 {
        match self {
            Self::First => 1,
            Self::Steady => 11,
            Self::Slow => 60,
        }
    }
}

impl Bench {
    pub(super) fn new(
        node: &PodsNode,
        layout: &Arc<Layout>,
        targets: &Arc<TargetSet>,
        moment: Moment,
        descriptors: usize,
    ) -> Self {
        let health = Arc::new(Health::default());
        let interval = Duration::from_secs(1);
        let sampler = Sampler::new(node.node.root(), layout.clone(), interval, descriptors, health.clone());
        let mut bench = Self { sampler, health, sweep: Sweep::default(), targets: targets.clone() };
        if moment != Moment::First {
            bench.sampler.retarget(targets.clone(), &mut Sweep::default());
            bench.sweep(moment.tick() - 2);
            bench.sweep(moment.tick() - 1);
        }
        bench
    }

    pub(super) fn sweep(&mut self, tick: u64) {
        self.sampler.sweep(tick, &mut self.sweep);
    }

    /// The sweep that is looked at; the first begins with the targets.
    pub(super) fn act(&mut self, moment: Moment) {
        if moment == Moment::First {
            let mut base = Sweep::default();
            self.sampler.retarget(self.targets.clone(), &mut base);
        }
        self.sweep(moment.tick());
    }

    pub(super) fn figures(&self) -> Figures {
        let mut figures = Figures::new();
        for cgroup in &self.sweep.cgroups {
            collect_cgroup(&mut figures, &self.sweep, cgroup);
        }
        for network in &self.sweep.networks {
            let owner = u32::try_from(network.id.0).unwrap();
            collect_network(&mut figures, &self.sweep, owner, &network.totals);
        }
        let node = &self.sweep.node;
        whole(&mut figures, 0, "cpu", &node.cpu);
        whole(&mut figures, 0, "memory", &node.memory);
        whole(&mut figures, 0, "paging", &node.paging);
        let pressure = node.pressure.as_ref().ok().map(|pressure| pressure.value);
        part(&mut figures, 0, "cpu pressure", pressure.and_then(|pressure| pressure.cpu));
        part(&mut figures, 0, "memory pressure", pressure.and_then(|pressure| pressure.memory));
        part(&mut figures, 0, "i/o pressure", pressure.and_then(|pressure| pressure.io));
        let tasks = node.tasks.as_ref().ok().map(|tasks| tasks.value);
        part(&mut figures, 0, "tasks", tasks.map(|tasks| tasks.current));
        part(&mut figures, 0, "tasks limit", tasks.and_then(|tasks| tasks.limit));
        collect_io(&mut figures, &self.sweep, 0, &node.io);
        collect_network(&mut figures, &self.sweep, 0, &node.network);
        figures
    }

    fn troubles(&self) -> u64 {
        TROUBLES.iter().map(|(trouble, _)| self.health.counted(Room::Host, *trouble)).sum()
    }
}

fn part<T: Debug>(figures: &mut Figures, owner: Owner, name: &'static str, value: Option<T>) {
    figures.extend(value.map(|value| ((owner, name), format!("{value:?}"))));
}

fn whole<T: Debug>(figures: &mut Figures, owner: Owner, name: &'static str, reading: &Reading<T>) {
    part(figures, owner, name, reading.as_ref().ok().map(|stamped| &stamped.value));
}

fn rows<T>(rows: &[T], range: &std::ops::Range<u32>) -> Vec<T>
where
    T: Copy,
{
    rows[range.start as usize..range.end as usize].to_vec()
}

fn collect_io(figures: &mut Figures, sweep: &Sweep, owner: Owner, io: &Reading<IoReading>) {
    let io = io.as_ref().ok().map(|io| &io.value);
    part(figures, owner, "io", io.map(|io| io.total));
    let sorted = |io: &IoReading| {
        let mut rows = rows(&sweep.devices, &io.rows);
        rows.sort_by_key(|row| row.device);
        rows
    };
    part(figures, owner, "io rows", io.map(sorted));
}

fn collect_network(figures: &mut Figures, sweep: &Sweep, owner: Owner, totals: &Reading<NetworkTotals>) {
    let network = totals.as_ref().ok().map(|network| &network.value);
    part(figures, owner, "network", network.map(|network| (network.total, network.overlapping)));
    let listed = |network: &NetworkTotals| {
        rows(&sweep.interfaces, &network.rows)
            .iter()
            .map(|row| (row.name, row.counted, row.counters))
            .collect::<Vec<_>>()
    };
    part(figures, owner, "interfaces", network.map(listed));
}

fn collect_cgroup(figures: &mut Figures, sweep: &Sweep, cgroup: &CgroupReading) {
    let owner = u32::try_from(cgroup.id.0).unwrap();
    let cpu = cgroup.cpu.as_ref().ok().map(|cpu| cpu.value);
    part(figures, owner, "cpu", cpu.map(|cpu| cpu.usage));
    part(figures, owner, "cpu user", cpu.and_then(|cpu| cpu.user));
    part(figures, owner, "cpu system", cpu.and_then(|cpu| cpu.system));
    part(figures, owner, "throttling", cpu.and_then(|cpu| cpu.throttling.ok()));
    let memory = cgroup.memory.as_ref().ok().map(|memory| memory.value);
    part(figures, owner, "memory", memory.map(|memory| memory.usage_bytes));
    part(figures, owner, "anon", memory.and_then(|memory| memory.anon_bytes));
    part(figures, owner, "file", memory.and_then(|memory| memory.file_bytes));
    part(figures, owner, "inactive", memory.and_then(|memory| memory.inactive_file_bytes));
    part(figures, owner, "swap", memory.and_then(|memory| memory.swap_bytes));
    part(figures, owner, "peak", memory.and_then(|memory| memory.peak_bytes));
    part(figures, owner, "faults", memory.and_then(|memory| memory.page_faults));
    part(figures, owner, "major faults", memory.and_then(|memory| memory.major_page_faults));
    part(figures, owner, "oom", memory.and_then(|memory| memory.oom_kills));
    part(figures, owner, "limit hits", memory.and_then(|memory| memory.limit_hits));
    let (by_cpu, said) = (sweep.details.percpu(&cgroup.details.percpu), &cgroup.details.memory_stat);
    part(figures, owner, "by cpu", (!by_cpu.is_empty()).then_some(by_cpu));
    let said = (!said.is_empty()).then(|| sweep.details.memory_stat(&cgroup.details).collect::<Vec<_>>());
    part(figures, owner, "memory.stat", said);
    collect_io(figures, sweep, owner, &cgroup.io);
    whole(figures, owner, "pids", &cgroup.pids);
    let pressure = cgroup.pressure.as_ref().ok().map(|pressure| pressure.value);
    for (some, full, stall) in [
        ("cpu some", "cpu full", pressure.and_then(|pressure| pressure.cpu)),
        ("memory some", "memory full", pressure.and_then(|pressure| pressure.memory)),
        ("i/o some", "i/o full", pressure.and_then(|pressure| pressure.io)),
    ] {
        part(figures, owner, some, stall.map(|stall| stall.some));
        part(figures, owner, full, stall.and_then(|stall| stall.full));
    }
    part(figures, owner, "cpu limit", cgroup.limits.cpu_cores);
    part(figures, owner, "memory limit", cgroup.limits.memory_bytes);
    part(figures, owner, "pids limit", cgroup.limits.pids);
    part(figures, owner, "swap limit", cgroup.limits.swap);
    part(figures, owner, "shares limit", cgroup.limits.cpu_shares);
    part(figures, owner, "reservation limit", cgroup.limits.reservation_bytes);
}

/// Whose figures may be absent after a fault in this call.
fn may_suffer(node: &PodsNode, call: &Made, (owner, figure): (Owner, &str)) -> bool {
    let path = &call.path;
    for pod in PODS {
        let pid = fixture_pods::pid_of(pod);
        if path.contains(&format!("/proc/{pid}")) || path.contains(&format!("/net/veth{pod}")) {
            return owner == pod * 10 + 9;
        }
        // The longer path first: a child's is below its pod's.
        for child in [1, 2, 0] {
            if node.directories(pod, child).iter().any(|directory| path.contains(directory.to_str().unwrap()))
            {
                // A pod's limits are its containers' as well.
                return owner == pod * 10 + child
                    || (child == 0 && owner / 10 == pod && figure.ends_with("limit"));
            }
        }
    }
    // Who counts, and which devices rest on others.
    if path.contains("/blkio/") || path.contains("/dev/block") || path.ends_with("diskstats") {
        return figure.starts_with("io");
    }
    owner == 0
}

/// What the kernel says only of what is not there: then its word is taken.
fn is_the_truth(call: &Made, fault: &str) -> bool {
    let gone = [Errno::NOENT, Errno::NODEV, Errno::SRCH].iter().any(|errno| fault == format!("{errno:?}"));
    let whole = ["/slaves", "/partition", "/net/vlan"].iter().any(|part| call.path.ends_with(part));
    // Looked for each time: a kernel without it has no such directory.
    let pressure = call.path.contains("/proc/pressure/") && call.kind == "fstatat";
    gone && (whole || pressure || call.path.contains("/cgroup/blkio/blkio."))
}

/// Descriptors of this process below a directory.
fn descriptors_below(directory: &std::path::Path) -> usize {
    let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
    open.filter(|entry| fs::read_link(entry.path()).is_ok_and(|to| to.starts_with(directory))).count()
}

fn sweep_with_every_fault(hierarchies: Hierarchies, moment: Moment) {
    let node = PodsNode::new(hierarchies);
    let layout = Arc::new(Layout::detect(&node.node.root()).unwrap());
    let targets = targets(&node.node.root());
    let mut clean = Bench::new(&node, &layout, &targets, moment, 1000);
    let (_, calls) = fault::record(|| clean.act(moment));
    let right = clean.figures();
    let figures_of = |owner| right.keys().filter(|(of, _)| *of == owner).count();
    let by_cpu = usize::from(hierarchies != Hierarchies::V2);
    let of_container = 30 + by_cpu;
    let expected = [12, 30, of_container, 2, 30, of_container, 2];
    assert_eq!([0, 10, 11, 19, 20, 21, 29].map(figures_of), expected, "{right:#?}");
    assert_eq!(clean.troubles(), 0, "the sweep that is compared with had none");
    let open = descriptors_below(&node.node.path(""));
    drop(clean);
    let base = descriptors_below(&node.node.path(""));
    let mut wrong = Vec::new();
    let mut cases = 0;
    for (position, call) in calls.iter().enumerate() {
        for fault in fault::ways_to_fail(call) {
            let name = format!("{fault:?}");
            let case = format!("{hierarchies:?} {moment:?} {position} {} {} {name}", call.kind, call.path);
            let mut bench = Bench::new(&node, &layout, &targets, moment, 1000);
            let (_, made, struck) = fault::at(position, fault, || bench.act(moment));
            assert_eq!(&made[position], call, "{case}: another call than was recorded");
            cases += 1;
            if is_the_truth(call, &name) {
                continue;
            }
            let seen = bench.figures();
            for (key, value) in &right {
                match seen.get(key) {
                    Some(figure) if figure == value => {}
                    Some(figure) => wrong.push(format!("{case}: {key:?} is {figure}, not {value}")),
                    None if !may_suffer(&node, call, *key) => {
                        wrong.push(format!("{case}: {key:?} is absent too"));
                    }
                    None => {}
                }
            }
            wrong.extend(
                seen.keys()
                    .filter(|key| !right.contains_key(key))
                    .map(|key| format!("{case}: {key:?} was never there")),
            );
            if struck && seen != right && bench.troubles() == 0 && !silent(&name, call, &seen, &right) {
                wrong.push(format!("{case}: not counted"));
            }
            bench.sweep(moment.tick() + 1);
            bench.sweep(moment.tick() + 2);
            let after = bench.figures();
            let lasting: Vec<_> = right
                .iter()
                .filter(|(key, value)| after.get(key) != Some(value))
                .map(|(key, _)| key)
                .collect();
            if !lasting.is_empty() {
                wrong.push(format!("{case}: two sweeps later {lasting:?}"));
            }
            if descriptors_below(&node.node.path("")) > open {
                wrong.push(format!("{case}: a descriptor was left open"));
            }
            drop(bench);
            if descriptors_below(&node.node.path("")) != base {
                wrong.push(format!("{case}: a descriptor outlived its owner"));
            }
        }
    }
    assert!(cases > 300, "{cases} cases of {} calls", calls.len());
    let most: Vec<_> = wrong.iter().take(40).cloned().collect();
    assert!(wrong.is_empty(), "{} of {cases} cases:\n{}", wrong.len(), most.join("\n"));
}

/// A row that broke off may look like one of the many nobody asks for, and a text that ends between two
/// rows like that of an older kernel: what is missing is absent, and nothing can tell why.
fn silent(fault: &str, call: &Made, seen: &Figures, right: &Figures) -> bool {
    let missing = right.keys().filter(|key| !seen.contains_key(key)).count();
    let of_many_rows = [".pressure", ".stat", ".oom_control"].iter().any(|end| call.path.ends_with(end));
    matches!(fault, "short read" | "torn row") && of_many_rows && missing <= 3
}

#[test]
fn each_call_of_a_first_sweep_may_fail_on_v2() {
    sweep_with_every_fault(Hierarchies::V2, Moment::First);
}

#[test]
fn each_call_of_a_first_sweep_may_fail_on_a_hybrid_node() {
    sweep_with_every_fault(Hierarchies::Hybrid, Moment::First);
}

#[test]
fn each_call_of_a_steady_sweep_may_fail() {
    HIERARCHIES.into_iter().for_each(|hierarchies| sweep_with_every_fault(hierarchies, Moment::Steady));
}

#[test]
fn each_call_of_a_slow_sweep_may_fail() {
    HIERARCHIES.into_iter().for_each(|hierarchies| sweep_with_every_fault(hierarchies, Moment::Slow));
}
