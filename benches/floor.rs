//! What a sample costs, beside the cheapest way of reading the same files: `make bench`.
//!
//! Real pods; the sampler and the floor take turns in one run, each after the same idle second, since a
//! sweep that follows an idle gap finds cold caches and costs about twice one in a hot loop. The floor is
//! what no sampler that reads files without privilege can undercut: descriptors kept open and one `pread`
//! a file for cgroups, `openat` + `read` + `close` through a kept `/proc/<pid>` for a pod's network, and
//! each byte looked at once. It reads the very files the sampler has open, of the same cgroups.
//!
//! Microseconds are this machine's and noisy; the ratios are what to compare.

#![allow(clippy::unwrap_used, reason = "a benchmark may end")]
#![allow(clippy::cast_precision_loss, reason = "of CPU time")]

mod stage;

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use podvitals::aggregate::Aggregator;
use podvitals::host::HostRoot;
use podvitals::host::cgroup::layout::Layout;
use podvitals::host::clock;
use podvitals::model::health::Health;
use podvitals::model::snapshot::Beside;
use podvitals::model::snapshot::Rates;
use podvitals::model::sweep::Sweep;
use podvitals::model::target::NetworkTarget;
use podvitals::model::target::PodTarget;
use podvitals::model::target::TargetSet;
use podvitals::model::time::WallTime;
use podvitals::rate;
use podvitals::resolve::Inbox;
use podvitals::resolve::Resolver;
use podvitals::resolve::Side;
use podvitals::sample::Sampler;
use podvitals_testbed::Testbed;

/// Containers, two to a pod; each pod has a pause container besides.
const CONTAINERS: usize = 100;
const ROUNDS: usize = 20;
const GAP: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_secs(1);

/// What this step of the work promises.
const MOST: f64 = 1.5;

#[tokio::main]
async fn main() -> std::process::ExitCode {
    // `cargo test` builds and runs benches too; this one wants to be asked for.
    if !std::env::args().any(|argument| argument == "--bench") {
        return std::process::ExitCode::SUCCESS;
    }
    let testbed = Testbed::start("bench").await.unwrap();
    let pods = stage::start_pods(&testbed, 0..CONTAINERS / 2).await;
    // In a thread of its own: the runtime must not run on the thread whose CPU time is measured.
    let ours = testbed.cgroup_prefix();
    let within = std::thread::spawn(move || measure(&ours)).join();
    for pod in pods {
        pod.stop().await.unwrap();
    }
    testbed.stop().await.unwrap();
    match within {
        Ok(true) => std::process::ExitCode::SUCCESS,
        Ok(false) | Err(_) => std::process::ExitCode::FAILURE,
    }
}

/// Takes turns, prints what was found, and says whether it is within the promise.
fn measure(prefix: &str) -> bool {
    let root = HostRoot::new("/proc".into(), "/sys/fs/cgroup".into());
    let layout = Arc::new(Layout::detect(&root).unwrap());
    let descriptors = podvitals::host::limits::cached_descriptors();
    let targets = resolve(&root, &layout, prefix);
    let cgroups: usize = targets.pods.iter().map(|pod| pod.cgroups().count()).sum();
    let networks = targets.pods.len();

    let sampler = |targets: Arc<TargetSet>| {
        let mut sampler =
            Sampler::new(root.clone(), layout.clone(), INTERVAL, descriptors, Arc::new(Health::default()));
        sampler.retarget(targets, &mut Sweep::default());
        sampler
    };
    let before = open_files();
    let mut without_network = sampler(without(&targets));
    let mut sweep = Sweep::default();
    without_network.sweep(1, &mut sweep);
    let files: Vec<PathBuf> = open_files().into_iter().filter(|file| !before.contains(file)).collect();
    let files: Vec<PathBuf> =
        files.into_iter().filter(|file| file.to_string_lossy().contains("/pod")).collect();
    let mut whole = sampler(targets.clone());
    let mut floor = Floor::open(&files, &targets);
    let mut stages = Stages::new(&layout);

    let [mut ours, mut ours_whole, mut cgroup_floor, mut network_floor, mut publish] =
        [(); 5].map(|()| Vec::new());
    println!("{ROUNDS} rounds of {} files in {cgroups} cgroups and {networks} networks …", files.len());
    for round in 1..=ROUNDS as u64 {
        // Not a multiple of five: slow reads, of limits, come once in five sweeps and are averaged in.
        ours.push(after_a_gap(|| without_network.sweep(round + 1, &mut sweep)));
        cgroup_floor.push(after_a_gap(|| floor.read_cgroups()));
        ours_whole.push(after_a_gap(|| whole.sweep(round + 1, &mut stages.later)));
        publish.push(spent(|| stages.publish(&whole)));
        network_floor.push(after_a_gap(|| floor.read_networks()));
    }

    let per = |all: &[f64], items: usize| mean(all) / items as f64;
    let (container, container_floor) = (per(&ours, cgroups), per(&cgroup_floor, cgroups));
    let network: Vec<f64> = ours_whole.iter().zip(&ours).map(|(whole, part)| whole - part).collect();
    let (pod, pod_floor) = (per(&network, networks), per(&network_floor, networks));
    let (sum, sum_floor) = (mean(&ours_whole), mean(&cgroup_floor) + mean(&network_floor));
    println!();
    println!("                       podvitals      floor     ratio");
    let row = |name: &str, ours: f64, floor: f64| {
        println!("{name:<20} {ours:>8.2} us {floor:>8.2} us {:>8.2}", ours / floor)
    };
    row("container-sample", container, container_floor);
    row("pod-sample (network)", pod, pod_floor);
    row("whole sweep", sum, sum_floor);
    println!("publishing           {:>8.2} us a sweep: rates, totals, snapshot", mean(&publish));
    println!("one core             {:>8.2} % at one sweep a second", (sum + mean(&publish)) / 1e4);
    let ratios = [container / container_floor, sum / sum_floor];
    let within = ratios.iter().all(|ratio| *ratio <= MOST);
    println!("{}: at most {MOST} is promised", if within { "kept" } else { "NOT KEPT" });
    within
}

/// The targets of the testbed, without names, and none of any other pods of this machine.
fn resolve(root: &HostRoot, layout: &Arc<Layout>, prefix: &str) -> Arc<TargetSet> {
    let mut resolver = Resolver::new(root.clone(), layout.clone(), Side::Pod, Arc::default());
    let mut targets: Arc<TargetSet> = Arc::default();
    // The second look finds what was still to be settled at the first.
    for _ in 0..3 {
        if let Some(found) = resolver.step(&[], true, Inbox::default(), &mut None).targets {
            targets = found;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let prefix = prefix.trim_start_matches('/');
    let ours = targets.pods.iter().filter(|pod| pod.cgroup.path.as_path().starts_with(prefix));
    Arc::new(TargetSet { generation: 0, pods: ours.cloned().collect(), ..TargetSet::default() })
}

fn without(targets: &TargetSet) -> Arc<TargetSet> {
    let absent = |pod: &Arc<PodTarget>| {
        let why = podvitals::model::unavailable::Unavailable::NotYet;
        Arc::new(PodTarget { network: NetworkTarget::Absent(why), ..PodTarget::clone(pod) })
    };
    Arc::new(TargetSet {
        generation: 0,
        pods: targets.pods.iter().map(absent).collect(),
        ..TargetSet::default()
    })
}

/// Paths of all files this process has open.
fn open_files() -> Vec<PathBuf> {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    descriptors.filter_map(|descriptor| std::fs::read_link(descriptor.path()).ok()).collect()
}

/// The cheapest way to read the same files.
struct Floor {
    files: Vec<File>,
    processes: Vec<std::sync::Arc<std::os::fd::OwnedFd>>,
    buffer: Vec<u8>,
    sum: u64,
}

impl Floor {
    fn open(files: &[PathBuf], targets: &TargetSet) -> Self {
        let networks = targets.pods.iter().filter_map(|pod| match &pod.network {
            NetworkTarget::Netns(process) => Some(process.dir.clone()),
            _ => None,
        });
        Self {
            files: files.iter().map(|file| File::open(file).unwrap()).collect(),
            processes: networks.collect(),
            buffer: vec![0; 64 << 10],
            sum: 0,
        }
    }

    fn read_cgroups(&mut self) {
        for file in &self.files {
            let length = file.read_at(&mut self.buffer, 0).unwrap();
            self.sum = self.sum.wrapping_add(numbers(&self.buffer[..length]));
        }
    }

    fn read_networks(&mut self) {
        use rustix::fs::Mode;
        use rustix::fs::OFlags;
        for process in &self.processes {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let file = rustix::fs::openat(process.as_fd(), c"net/dev", flags, Mode::empty()).unwrap();
            let length = rustix::io::read(&file, &mut self.buffer[..]).unwrap();
            self.sum = self.sum.wrapping_add(numbers(&self.buffer[..length]));
        }
    }
}

/// The least a parser can do: look at every byte, and take every number.
fn numbers(text: &[u8]) -> u64 {
    let (mut sum, mut number) = (0_u64, 0_u64);
    for byte in text {
        match byte {
            b'0'..=b'9' => number = number.wrapping_mul(10).wrapping_add(u64::from(byte - b'0')),
            _ => sum = sum.wrapping_add(std::mem::take(&mut number)),
        }
    }
    sum
}

/// What follows a sweep on the sampler's thread.
struct Stages {
    aggregator: Aggregator,
    index: rate::Index,
    rates: Rates,
    earlier: Sweep,
    later: Sweep,
}

impl Stages {
    fn new(layout: &Layout) -> Self {
        Self {
            aggregator: Aggregator::new("bench".into(), WallTime::default(), INTERVAL, layout.is_v1_io()),
            index: rate::Index::default(),
            rates: Rates::default(),
            earlier: Sweep::default(),
            later: Sweep::default(),
        }
    }

    fn publish(&mut self, sampler: &Sampler) {
        rate::rates(&self.earlier, &self.later, &mut self.index, &mut self.rates);
        let beside = Beside { device_names: sampler.device_names(), ..Beside::default() };
        let snapshot = self.aggregator.fold(&self.later, &self.rates, beside);
        std::hint::black_box(Arc::new(snapshot));
        std::mem::swap(&mut self.earlier, &mut self.later);
    }
}

fn after_a_gap(work: impl FnOnce()) -> f64 {
    std::thread::sleep(GAP);
    spent(work)
}

/// CPU microseconds of this thread.
fn spent(work: impl FnOnce()) -> f64 {
    let before = clock::thread_cpu_nanos();
    work();
    (clock::thread_cpu_nanos() - before) as f64 / 1e3
}

/// Without the two lowest and highest: a noisy neighbour spoils a round, not the run.
fn mean(all: &[f64]) -> f64 {
    let mut sorted = all.to_vec();
    sorted.sort_by(f64::total_cmp);
    let kept = &sorted[2..sorted.len() - 2];
    kept.iter().sum::<f64>() / kept.len() as f64
}
