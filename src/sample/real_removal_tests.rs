//! A real pod ends right before each system call of a sweep that reads it: processes, netns and cgroups are
//! gone, and at once another pod has cgroups of the same names. Its figures are right or absent, those of
//! its neighbour whole, and nothing is ever the next pod's.
//!
//! Pods are made up, which needs root: without, there is nothing to do here. The same on plain files is in
//! `removal_tests`, for everybody.

use std::path::Path;
use std::process::Command;

use podvitals_testbed::made_up::{MadeUpChild, MadeUpPod};

use super::*;
use crate::host::fault::{self, Fault, Made};
use crate::host::process;
use crate::model::counters::InterfaceName;
use crate::model::identity::{ContainerId, PodUid};
use crate::model::target::{CgroupPath, CgroupRole, CgroupTarget, ContainerTarget};
use crate::model::target::{HostInterface, PodTarget};
use crate::model::time::{Monotonic, WallTime};

const STAYS: &str = "9c43f1a0-0000-4000-8000-000000000001";
const GOES: &str = "9c43f1a0-0000-4000-8000-00000000001";

/// So many pods end at a time: most of what that takes is waiting.
const WORKERS: usize = 4;

/// Of one cgroup.
const FIGURES: usize = 4;

/// Of targets: ten times the pod's number, and what it is.
const NETWORK: u64 = 9;

/// One of the two, by number.
struct Member {
    number: u64,
    pod: MadeUpPod,
}

impl Member {
    /// A pod that has counted so many `rx_dropped` as the number says, and whose limits are made of it.
    fn make(number: u64, uid: &str) -> Self {
        let prefix = format!("/podvitals-removal-{}", std::process::id());
        let pod = MadeUpPod::builder(&prefix, uid).start().unwrap();
        let limit = pod.children()[0].cgroup_dir("memory").unwrap().join("memory.limit_in_bytes");
        std::fs::write(limit, limit_of(number).to_string()).unwrap();
        let frames = ["frames", pod.host_veth().unwrap(), &number.to_string()].map(str::to_owned);
        assert!(Command::new(pod.load()).args(frames).output().unwrap().status.success());
        while pod.pod_counters().unwrap().rx_dropped < number {
            std::thread::yield_now();
        }
        Self { number, pod }
    }

    fn cgroup(&self, role: CgroupRole, path: &str, child: u64) -> CgroupTarget {
        CgroupTarget {
            id: TargetId(self.number * 10 + child),
            path: CgroupPath::new(Path::new(path.trim_start_matches('/'))),
            role,
            first_seen: Monotonic::from_nanos(clock::monotonic().as_nanos() - 10_000_000_000),
            since: WallTime::default(),
        }
    }

    fn child(&self, role: CgroupRole, child: &MadeUpChild, number: u64) -> ContainerTarget {
        let container_id = ContainerId::new(child.id()).unwrap();
        ContainerTarget { cgroup: self.cgroup(role, child.cgroup(), number), container_id, known: None }
    }

    fn target(&self, root: &HostRoot, from_host: bool) -> Arc<PodTarget> {
        let process = process::pin(root, self.pod.sandbox_pid().unwrap(), |_| true).unwrap();
        let veth = self.pod.host_veth().unwrap();
        let index = std::fs::read_to_string(format!("/sys/class/net/{veth}/ifindex")).unwrap();
        let name = |name: &str| InterfaceName::new(name.as_bytes()).unwrap();
        let end = HostInterface {
            index: index.trim().parse().unwrap(),
            name: name(veth),
            pod_interface: Some(name("eth0")),
            peer: (2, 0),
        };
        let network = match from_host {
            false => NetworkTarget::Netns(process.clone()),
            true => NetworkTarget::HostVeth(end, process.clone()),
        };
        Arc::new(PodTarget {
            id: TargetId(self.number * 10 + NETWORK),
            runtime_uid: PodUid::new(self.pod.uid()).unwrap(),
            known: None,
            cgroup: self.cgroup(CgroupRole::Pod, self.pod.cgroup(), 0),
            containers: vec![self.child(CgroupRole::Container, &self.pod.children()[0], 1)],
            sandbox: Some(self.child(CgroupRole::Sandbox, self.pod.sandbox().unwrap(), 2)),
            sandbox_settled: true,
            qos_class: None,
            host_network: false,
            process: Some(process),
            network,
            interface: None,
            host_interface: None,
            runtime_vm: false,
            evidence: Arc::default(),
            since: WallTime::default(),
        })
    }
}

fn limit_of(number: u64) -> u64 {
    (512 << 20) + number * 4096
}

/// A sampler with both pods for its targets, the one that goes first.
struct Bench {
    sampler: Sampler,
    sweep: Sweep,
    targets: Arc<TargetSet>,
    from_host: bool,
}

impl Bench {
    fn new(layout: &Arc<Layout>, members: [&Member; 2], from_host: bool, warm: bool) -> Self {
        let root = HostRoot::new("/proc".into(), "/sys/fs/cgroup".into());
        let pods = members.map(|member| member.target(&root, from_host)).to_vec();
        let sampler = Sampler::new(root, layout.clone(), Duration::from_secs(1), 1_000, Arc::default());
        let targets = Arc::new(TargetSet { generation: 1, pods, ..TargetSet::default() });
        let mut bench = Self { sampler, sweep: Sweep::default(), targets, from_host };
        if warm {
            bench.begin();
            bench.at(4);
        }
        bench
    }

    fn begin(&mut self) {
        self.sampler.retarget(self.targets.clone(), &mut Sweep::default());
    }

    /// Each fifth is a slow one, for the first pod.
    fn at(&mut self, tick: u64) {
        self.sampler.sweep(tick, &mut self.sweep);
    }

    /// The first sweep of all begins with the targets; the others are one that reads limits too.
    fn act(&mut self, warm: bool) {
        if !warm {
            self.begin();
        }
        self.at(5);
    }

    /// Everything that is told of a pod is its own; how much that is, of three cgroups and a network.
    fn right_figures(&self, number: u64, case: &str) -> usize {
        let mut figures = 0;
        for cgroup in self.sweep.cgroups.iter().filter(|cgroup| cgroup.id.0 / 10 == number) {
            let told = [cgroup.cpu.is_ok(), cgroup.memory.is_ok(), cgroup.io.is_ok(), cgroup.pids.is_ok()];
            assert!(cgroup.alive || told == [false; 4], "{case}: {cgroup:?}");
            // Both processes are below the pod's own.
            let processes = if cgroup.id.0 % 10 == 0 { 2 } else { 1 };
            let pids = cgroup.pids.as_ref().ok().map(|pids| pids.value.current);
            assert!(pids.is_none_or(|pids| pids == processes), "{case}: {cgroup:?}");
            if let (1, Some(limit)) = (cgroup.id.0 % 10, cgroup.limits.memory_bytes) {
                assert_eq!(limit, limit_of(number), "{case}");
            }
            figures += told.iter().filter(|told| **told).count();
        }
        for network in self.sweep.networks.iter().filter(|network| network.id.0 / 10 == number) {
            let Ok(totals) = &network.totals else { continue };
            // The host's end says what it sent to the pod, and nothing of drops.
            let total = totals.value.total;
            let counted = if self.from_host { total.rx_bytes / 60 } else { total.rx_dropped };
            let noise = if self.from_host { number } else { 0 };
            assert!((number..=number + noise).contains(&counted), "{case}: {network:?}");
            figures += 1;
        }
        figures
    }
}

/// Numbers so far apart that the few frames kernels send by themselves make none into the other.
const NUMBERS: [u64; 2] = [100, 300];

fn is_about(call: &Made, goes: &Member) -> bool {
    let pid = format!("/proc/{}", goes.pod.sandbox_pid().unwrap());
    let veth = goes.pod.host_veth().unwrap();
    call.path.contains(GOES) || call.path.starts_with(&pid) || call.path.contains(veth)
}

/// Ends a pod before each of the calls that are about it, and right after the last. Each worker has a pod of
/// its own for its share of the calls.
fn end_before_each_call(
    layout: &Arc<Layout>,
    stays: &Member,
    from_host: bool,
    warm: bool,
    worker: usize,
) -> usize {
    let make = || Member::make(NUMBERS[0], &format!("{GOES}{worker}"));
    let mut goes = make();
    let mut clean = Bench::new(layout, [&goes, stays], from_host, warm);
    let (_, calls) = fault::record(|| clean.act(warm));
    let whole = [&goes, stays].map(|member| clean.right_figures(member.number, "nothing happened"));
    assert!(whole.iter().all(|figures| *figures >= 10), "{whole:?}");
    drop(clean);
    let about: Vec<_> = (0..calls.len()).filter(|at| is_about(&calls[*at], &goes)).collect();
    let after = (about[about.len() - 1] + 1).min(calls.len() - 1);
    let positions: Vec<_> = about.into_iter().chain([after]).collect();
    let mut cases = 0;
    for &position in positions.iter().skip(worker).step_by(WORKERS) {
        let case = format!("host side {from_host}, warm {warm}, before {position}, {:?}", calls[position]);
        let mut bench = Bench::new(layout, [&goes, stays], from_host, warm);
        let ends = Fault::Before(Box::new(move || goes.pod.stop().unwrap()));
        // A file that has grown shorter takes one call less: then it ends after the sweep.
        let (_, _, struck) = fault::at(position, ends, || bench.act(warm));
        cases += usize::from(struck);
        assert!(bench.right_figures(NUMBERS[0], &case) <= whole[0], "{case}");
        assert_eq!(bench.right_figures(NUMBERS[1], &case), whole[1], "{case}: the neighbour's");
        // A cgroup of the same name, and a netns that may have the same number. Only where the first was gone
        // before it was ever seen is that one taken for it: of one UID, and nothing else has that name.
        goes = make();
        let unseen = !warm && positions[0] == position;
        let next = if unseen { FIGURES } else { 0 };
        for tick in [6, 7, 10] {
            bench.at(tick);
            assert_eq!(bench.right_figures(NUMBERS[0], &case), next, "{case}, sweep {tick}: the next pod's");
            assert_eq!(bench.right_figures(NUMBERS[1], &case), whole[1], "{case}, sweep {tick}");
        }
    }
    goes.pod.stop().unwrap();
    cases
}

#[test]
fn a_real_pod_may_end_before_any_call() {
    let layout = Arc::new(Layout::detect(&HostRoot::new("/proc".into(), "/sys/fs/cgroup".into())).unwrap());
    let stays = Member::make(NUMBERS[1], STAYS);
    let mut cases = 0;
    for (from_host, warm) in [(false, false), (false, true), (true, true)] {
        let (layout, stays) = (&layout, &stays);
        cases += std::thread::scope(|scope| {
            let work = |worker| move || end_before_each_call(layout, stays, from_host, warm, worker);
            let workers: Vec<_> = (0..WORKERS).map(|worker| scope.spawn(work(worker))).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum::<usize>()
        });
    }
    println!("{cases} calls");
    assert!(cases > 200, "{cases} calls are too few");
    stays.pod.stop().unwrap();
}
