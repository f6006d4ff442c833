//! Reading and parsing allocate nothing in the steady state, and publishing allocates the same few
//! blocks whatever the number of containers: shown with an allocator that counts.
//!
//! The cgroups are plain files here, which the sampler cannot tell from the kernel's; the network is
//! this process's own, through a pinned `/proc` directory.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![expect(unsafe_code, reason = "a global allocator is an unsafe trait; this one only counts and passes on")]

use std::alloc::GlobalAlloc;
use std::alloc::Layout as Block;
use std::alloc::System;
use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use podvitals::aggregate::Aggregator;
use podvitals::history::Recorder;
use podvitals::host::HostRoot;
use podvitals::host::cgroup::layout::Layout;
use podvitals::host::process;
use podvitals::model::health::Health;
use podvitals::model::identity::ContainerId;
use podvitals::model::identity::PodUid;
use podvitals::model::snapshot::Beside;
use podvitals::model::snapshot::Rates;
use podvitals::model::snapshot::Snapshot;
use podvitals::model::sweep::Sweep;
use podvitals::model::target::CgroupPath;
use podvitals::model::target::CgroupRole;
use podvitals::model::target::CgroupTarget;
use podvitals::model::target::ContainerTarget;
use podvitals::model::target::NetworkTarget;
use podvitals::model::target::PodTarget;
use podvitals::model::target::TargetId;
use podvitals::model::target::TargetSet;
use podvitals::model::time::Monotonic;
use podvitals::model::time::WallTime;
use podvitals::rate;
use podvitals::sample::Sampler;

/// Counts the blocks each thread asks for, and the bytes it has not given back.
struct Counting;

thread_local! {
    static BLOCKS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<i64> = const { Cell::new(0) };
}

fn note(blocks: u64, bytes: usize, freed: usize) {
    let _ = BLOCKS.try_with(|all| all.set(all.get() + blocks));
    let _ = BYTES.try_with(|all| all.set(all.get() + bytes as i64 - freed as i64));
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, block: Block) -> *mut u8 {
        note(1, block.size(), 0);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(block) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, block: Block) {
        note(0, 0, block.size());
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, block) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, block: Block, size: usize) -> *mut u8 {
        note(1, size, block.size());
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, block, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn blocks_of<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let before = BLOCKS.with(Cell::get);
    let result = work();
    (BLOCKS.with(Cell::get) - before, result)
}

/// Files as a v1 kernel shows them, in three hierarchies below `root`.
const FILES: &[(&str, &str, &str)] = &[
    ("cpuacct", "cpuacct.usage", "7024760000\n"),
    ("cpuacct", "cpuacct.usage_percpu", "7024760000 0 \n"),
    ("cpuacct", "cpuacct.stat", "user 412\nsystem 290\n"),
    ("cpu", "cpu.stat", "nr_periods 120\nnr_throttled 7\nthrottled_time 350000000\n"),
    ("memory", "memory.usage_in_bytes", "8978432\n"),
    ("memory", "memory.max_usage_in_bytes", "9978432\n"),
    ("memory", "memory.failcnt", "0\n"),
    ("memory", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n"),
    (
        "memory",
        "memory.stat",
        "cache 8421376\nrss 561152\npgfault 1000\npgmajfault 3\ninactive_file 0\ntotal_cache 8421376\n\
         total_rss 561152\ntotal_pgfault 1000\ntotal_pgmajfault 3\ntotal_inactive_file 8421376\n",
    ),
    ("pids", "pids.current", "3\n"),
];

struct Tree(PathBuf);

impl Tree {
    fn new(containers: usize) -> Self {
        // Two tests at once may want as many containers.
        static TREES: AtomicU32 = AtomicU32::new(0);
        let tree = TREES.fetch_add(1, Ordering::Relaxed);
        let name = format!("podvitals-allocation-{}-{tree}", std::process::id());
        let tree = Self(std::env::temp_dir().join(name));
        for path in std::iter::once(pod_path()).chain((0..containers).map(container_path)) {
            for (hierarchy, file, text) in FILES {
                let directory = tree.0.join(hierarchy).join(&path);
                fs::create_dir_all(&directory).unwrap();
                fs::write(directory.join(file), text).unwrap();
            }
        }
        tree
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn pod_path() -> String {
    "kubepods/burstable/pod00000000-0000-4000-8000-000000000001".to_owned()
}

fn container_path(number: usize) -> String {
    format!("{}/{number:064x}", pod_path())
}

fn cgroup(id: u64, path: &str, role: CgroupRole) -> CgroupTarget {
    CgroupTarget {
        id: TargetId(id),
        path: CgroupPath::new(Path::new(path)),
        role,
        first_seen: Monotonic::default(),
        since: WallTime::default(),
    }
}

fn targets(root: &HostRoot, containers: usize) -> Arc<TargetSet> {
    let process = process::pin(root, std::process::id(), |_| true).unwrap();
    let pod = PodTarget {
        id: TargetId(1),
        runtime_uid: PodUid::new("00000000-0000-4000-8000-000000000001").unwrap(),
        known: None,
        cgroup: cgroup(2, &pod_path(), CgroupRole::Pod),
        containers: (0..containers)
            .map(|number| ContainerTarget {
                cgroup: cgroup(3 + number as u64, &container_path(number), CgroupRole::Container),
                container_id: ContainerId::new(&format!("{number:064x}")).unwrap(),
                known: None,
            })
            .collect(),
        sandbox: None,
        sandbox_settled: true,
        qos_class: None,
        host_network: false,
        process: Some(process.clone()),
        network: NetworkTarget::Netns(process),
        interface: None,
        host_interface: None,
        runtime_vm: false,
        evidence: Arc::default(),
        since: WallTime::default(),
    };
    Arc::new(TargetSet { generation: 1, pods: vec![Arc::new(pod)], ..TargetSet::default() })
}

/// Blocks allocated by one sweep and its rates, by publishing it, and by keeping it, once all is warm.
fn steady_state(containers: usize) -> ([u64; 3], Arc<Snapshot>) {
    let tree = Tree::new(containers);
    let root = HostRoot { proc: "/proc".into(), cgroup: tree.0.clone(), sys: "/sys".into() };
    let layout = Arc::new(Layout::detect(&root).unwrap());
    let interval = Duration::from_secs(1);
    let mut sampler = Sampler::new(root.clone(), layout, interval, 100_000, Arc::new(Health::default()));
    let mut aggregator = Aggregator::new("n1".into(), WallTime::default(), interval, true);
    let (mut earlier, mut later) = (Sweep::default(), Sweep::default());
    let beside = |sampler: &Sampler| Beside { device_names: sampler.device_names(), ..Beside::default() };
    let (mut index, mut rates) = (rate::Index::default(), Rates::default());
    sampler.retarget(targets(&root, containers), &mut earlier);
    let mut recorder = Recorder::new(Duration::from_secs(5), interval);
    let mut before: Option<Arc<Snapshot>> = None;
    let [mut reading, mut publishing, mut keeping] = [u64::MAX; 3];
    // Ticks 11 to 14 have no slow reads in them: those happen every fifth sweep, and on change.
    for tick in 1..=14 {
        let (read, ()) = blocks_of(|| {
            sampler.sweep(tick, &mut later);
            rate::rates(&earlier, &later, &mut index, &mut rates);
        });
        let (published, snapshot) = blocks_of(|| Arc::new(aggregator.fold(&later, &rates, beside(&sampler))));
        assert_eq!(snapshot.containers.len(), containers, "every container is read");
        let cpu = snapshot.containers[0].cgroup.cpu.as_ref().unwrap();
        assert_eq!(cpu.value.counters.usage, Duration::from_nanos(7_024_760_000));
        assert!(snapshot.pods[0].network.is_ok(), "the network is read");
        let (kept, ()) = blocks_of(|| recorder.record(before.as_deref(), &snapshot));
        before = Some(snapshot);
        std::mem::swap(&mut earlier, &mut later);
        if tick > 10 {
            // The least of four: a disk or an interface that this machine gets meanwhile is no steady state.
            (reading, publishing) = (reading.min(read), publishing.min(published));
            keeping = keeping.min(kept);
        }
    }
    ([reading, publishing, keeping], before.unwrap())
}

#[test]
fn a_sweep_allocates_nothing_and_a_snapshot_the_same_few_blocks_for_any_number_of_containers() {
    let ([reading_few, publishing_few, keeping_few], _) = steady_state(4);
    let ([reading_many, publishing_many, keeping_many], _) = steady_state(200);
    assert_eq!((reading_few, reading_many), (0, 0), "blocks allocated by reading and parsing");
    assert_eq!(publishing_few, publishing_many, "blocks allocated by publishing");
    assert!(publishing_many <= 8, "publishing allocates {publishing_many} blocks");
    assert_eq!((keeping_few, keeping_many), (2, 2), "blocks of a frame: its rows and itself");
}

/// The same sweep, this many seconds later.
fn later(snapshot: &Snapshot, seconds: u64) -> Snapshot {
    let mut later = snapshot.clone();
    later.tick += seconds;
    later.clock.monotonic = later.clock.monotonic.plus(Duration::from_secs(seconds));
    let shift = |at: &mut Monotonic| *at = at.plus(Duration::from_secs(seconds));
    for container in &mut later.containers {
        container.cgroup.cpu.as_mut().map(|cpu| shift(&mut cpu.at)).unwrap();
        container.cgroup.memory.as_mut().map(|memory| shift(&mut memory.at)).unwrap();
    }
    later
}

#[test]
fn the_history_takes_what_it_says_and_never_more_than_its_limit() {
    let (_, snapshot) = steady_state(200);
    let before = BYTES.with(Cell::get);
    let mut recorder = Recorder::new(Duration::from_secs(60), Duration::from_secs(1));
    for seconds in 1..=1000 {
        recorder.record(None, &later(&snapshot, seconds));
        let taken = usize::try_from(BYTES.with(Cell::get) - before).unwrap();
        let shelf = recorder.shelf();
        // Besides what is kept there is the buffer that frames are packed in.
        assert!(taken <= shelf.limit_bytes() + (64 << 10), "{taken} bytes after {seconds} s");
        if seconds > 60 {
            let told = shelf.bytes();
            assert!(told.abs_diff(taken) < told / 4, "{taken} bytes of the heap, and {told} are told");
        }
    }
    assert_eq!(recorder.shelf().covered(), Duration::from_secs(60));
}
