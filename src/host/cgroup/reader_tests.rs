//! One cgroup of plain files, read as a sweep reads it.

use std::fs;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::host::fixture::Node;
use crate::model::counters::{CpuQuota, DeviceNumber, Stall, StallTime, ThrottlingCounters, UnknownLimits};
use crate::model::target::CgroupPath;
use crate::model::time::WallTime;

#[path = "reader_details_tests.rs"]
mod details;
#[path = "reader_limits_tests.rs"]
mod limits;

const POD: &str = "kubepods/burstable/podaa";

/// Everything a sweep owns.
struct Sweeper {
    node: Node,
    layout: Arc<Layout>,
    devices: Devices,
    blkio: Blkio,
    budget: DescriptorBudget,
    health: Health,
    buffer: Vec<u8>,
    rows: Vec<DeviceRow>,
    details: Details,
    memory_keys: MemoryKeys,
}

impl Sweeper {
    fn new(node: Node) -> Self {
        let layout = Arc::new(Layout::detect(&node.root()).unwrap());
        let blkio = Blkio::new(&layout);
        let devices = Devices::read(&node.root());
        // Plain files keep their descriptors' content when removed: only opening sees them go.
        let budget = DescriptorBudget::new(0);
        Self {
            node,
            layout,
            devices,
            blkio,
            budget,
            health: Health::default(),
            buffer: vec![],
            rows: vec![],
            details: Details::default(),
            memory_keys: MemoryKeys::default(),
        }
    }

    fn reader(&self, path: &str, role: CgroupRole) -> CgroupReader {
        self.reader_of_age(path, role, Duration::from_secs(10))
    }

    fn reader_of_age(&self, path: &str, role: CgroupRole, age: Duration) -> CgroupReader {
        let age = u64::try_from(age.as_nanos()).unwrap();
        let target = CgroupTarget {
            id: TargetId(7),
            path: CgroupPath::new(path),
            role,
            first_seen: Monotonic::from_nanos(clock::monotonic().as_nanos() - age),
            since: WallTime::default(),
        };
        CgroupReader::new(Arc::clone(&self.layout), &target)
    }

    fn read(&mut self, reader: &mut CgroupReader) -> CgroupReading {
        self.read_at(reader, false)
    }

    fn read_slow(&mut self, reader: &mut CgroupReader) -> CgroupReading {
        self.read_at(reader, true)
    }

    fn read_at(&mut self, reader: &mut CgroupReader, slow: bool) -> CgroupReading {
        self.blkio.refresh(&self.layout, &self.node.root(), &self.devices);
        reader.read(&mut ReadContext {
            buffer: &mut self.buffer,
            devices: &mut self.rows,
            details: &mut self.details,
            memory_keys: &mut self.memory_keys,
            blkio: &self.blkio,
            known_devices: &self.devices,
            budget: &mut self.budget,
            health: &self.health,
            slow,
        })
    }

    fn rows_of(&self, reading: &CgroupReading) -> Vec<DeviceRow> {
        let rows = value(&reading.io).rows;
        self.rows[usize::try_from(rows.start).unwrap()..usize::try_from(rows.end).unwrap()].to_vec()
    }
}

fn value<T: Clone>(reading: &Reading<T>) -> T {
    reading.as_ref().map(|stamped| stamped.value.clone()).unwrap_or_else(|why| panic!("{why:?}"))
}

/// A v2 pod at [`POD`] with one container `c` in it.
fn v2() -> Sweeper {
    let node = Node::v2();
    for cgroup in [POD.to_owned(), format!("{POD}/c")] {
        for (name, text) in [
            (
                "cpu.stat",
                "usage_usec 300\nuser_usec 200\nsystem_usec 100\nnr_periods 4\nnr_throttled 2\nthrottled_usec 9\n",
            ),
            ("memory.current", "8000\n"),
            ("memory.stat", "anon 1000\nfile 7000\ninactive_file 6000\npgfault 5\npgmajfault 1\n"),
            ("memory.events", "low 0\nhigh 4\nmax 2\noom 1\noom_kill 3\n"),
            ("memory.peak", "9000\n"),
            ("memory.swap.current", "0\n"),
            ("io.stat", "254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=9 dios=9\n"),
            ("pids.current", "6\n"),
            (
                "cpu.pressure",
                "some avg10=1.50 avg60=0.00 avg300=0.00 total=70\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
            ),
            (
                "memory.pressure",
                "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
            ),
            (
                "io.pressure",
                "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
            ),
            ("cpu.max", "max 100000\n"),
            ("memory.max", "max\n"),
            ("memory.min", "0\n"),
            ("cpu.weight", "39\n"),
            ("memory.swap.max", "max\n"),
            ("pids.max", "max\n"),
        ] {
            node.write(&format!("cgroup/{cgroup}/{name}"), text);
        }
    }
    Sweeper::new(node)
}

const MEMORY_STAT_V1: &str = "cache 1\nrss 1\ninactive_file 1\ntotal_cache 7000\ntotal_rss 1000\n\
    total_inactive_file 6000\ntotal_pgfault 5\ntotal_pgmajfault 1\n";

/// The same pod on v1, co-mounted; the disk is 254:0.
fn v1() -> Sweeper {
    let node = Node::v1(&["cpu,cpuacct", "memory", "blkio", "pids"]);
    for cgroup in [POD.to_owned(), format!("{POD}/c")] {
        for (name, text) in [
            ("cpu,cpuacct/?/cpuacct.usage", "300000\n"),
            ("cpu,cpuacct/?/cpuacct.usage_percpu", "200000 100000 \n"),
            ("cpu,cpuacct/?/cpuacct.stat", "user 2\nsystem 1\n"),
            ("cpu,cpuacct/?/cpu.stat", "nr_periods 4\nnr_throttled 2\nthrottled_time 9000\n"),
            ("cpu,cpuacct/?/cpu.cfs_quota_us", "-1\n"),
            ("cpu,cpuacct/?/cpu.cfs_period_us", "100000\n"),
            ("cpu,cpuacct/?/cpu.shares", "1024\n"),
            ("memory/?/memory.usage_in_bytes", "8000\n"),
            ("memory/?/memory.stat", MEMORY_STAT_V1),
            ("memory/?/memory.max_usage_in_bytes", "9000\n"),
            ("memory/?/memory.failcnt", "2\n"),
            ("memory/?/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
            ("memory/?/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/?/memory.memsw.limit_in_bytes", "9223372036854771712\n"),
            ("memory/?/memory.soft_limit_in_bytes", "9223372036854771712\n"),
            (
                "blkio/?/blkio.throttle.io_service_bytes_recursive",
                "254:0 Read 1\n254:0 Write 2\n254:0 Total 3\nTotal 3\n",
            ),
            ("blkio/?/blkio.throttle.io_serviced_recursive", "254:0 Read 3\n254:0 Write 4\nTotal 7\n"),
            ("pids/?/pids.current", "6\n"),
            ("pids/?/pids.max", "max\n"),
        ] {
            node.write(&format!("cgroup/{}", name.replace('?', &cgroup)), text);
        }
    }
    node.write("cgroup/blkio/blkio.throttle.io_service_bytes_recursive", "Total 0\n");
    Sweeper::new(node)
}

fn start_accounting(sweeper: &Sweeper) {
    let root = "254:0 Read 4096\n254:0 Write 0\n254:0 Total 4096\nTotal 4096\n";
    sweeper.node.write("cgroup/blkio/blkio.throttle.io_service_bytes_recursive", root);
}

const DISK: DeviceNumber = DeviceNumber { major: 254, minor: 0 };
const IO: IoCounters = IoCounters { read_bytes: 1, write_bytes: 2, read_operations: 3, write_operations: 4 };
const MEMORY: MemoryCounters = MemoryCounters {
    usage_bytes: 8000,
    anon_bytes: Some(1000),
    file_bytes: Some(7000),
    inactive_file_bytes: Some(6000),
    swap_bytes: Some(0),
    peak_bytes: Some(9000),
    page_faults: Some(5),
    major_page_faults: Some(1),
    oom_kills: Some(3),
    limit_hits: Some(2),
    high_hits: Some(4),
    ooms: Some(1),
};

#[test]
fn every_figure_of_a_v2_cgroup_is_read() {
    let mut sweeper = v2();
    let mut reader = sweeper.reader(POD, CgroupRole::Pod);
    let before = clock::monotonic();
    let reading = sweeper.read(&mut reader);
    let throttled = Duration::from_micros(9);
    let throttling =
        ThrottlingCounters { periods: 4, throttled_periods: 2, throttled, bursts: None, burst: None };
    let cpu = CpuCounters {
        usage: Duration::from_micros(300),
        user: Some(Duration::from_micros(200)),
        system: Some(Duration::from_micros(100)),
        throttling: Ok(throttling),
    };
    assert_eq!(value(&reading.cpu), cpu);
    assert_eq!(value(&reading.memory), MEMORY);
    assert_eq!(value(&reading.memory).working_set_bytes(), Some(2000));
    assert_eq!(value(&reading.io), IoReading { total: IO, rows: 0..1, partly_accounted: false });
    assert_eq!(sweeper.rows_of(&reading), [DeviceRow { device: DISK, stacked: false, counters: IO }]);
    assert_eq!(value(&reading.pids).current, 6);
    let stalled =
        |micros, avg10| StallTime { total: Duration::from_micros(micros), avg10, ..StallTime::default() };
    let stall = Stall { some: stalled(70, 1.5), full: Some(stalled(7, 0.0)) };
    assert_eq!(value(&reading.pressure).cpu, Some(stall));
    assert_eq!(amounts(reading.limits), none_on_v2());
    assert!(reading.alive);
    assert_eq!(Some(reading.inode), sweeper.layout.inode(&CgroupPath::new(POD)));
    let at = reading.cpu.unwrap().at;
    assert!(
        before < at && at <= reading.memory.unwrap().at && reading.pressure.unwrap().at < clock::monotonic()
    );
}

#[test]
fn every_figure_of_a_v1_cgroup_is_read() {
    let mut sweeper = v1();
    start_accounting(&sweeper);
    let mut reader = sweeper.reader(POD, CgroupRole::Pod);
    let reading = sweeper.read(&mut reader);
    let cpu = value(&reading.cpu);
    assert_eq!(cpu.usage, Duration::from_micros(300));
    let tick = Duration::from_secs(1) / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap();
    assert_eq!((cpu.user, cpu.system), (Some(tick * 2), Some(tick)));
    assert_eq!(cpu.throttling.unwrap().throttled, Duration::from_micros(9));
    assert_eq!(
        value(&reading.memory),
        MemoryCounters { swap_bytes: None, high_hits: None, ooms: None, ..MEMORY }
    );
    assert_eq!(value(&reading.io).total, IO);
    assert_eq!(value(&reading.pids).current, 6);
    assert_eq!(reading.pressure, Err(Unavailable::KernelWithoutPsi));
    assert_eq!(amounts(reading.limits), Limits { cpu_shares: Some(1024), ..Limits::default() });
}

#[test]
fn v1_block_io_has_no_figure_until_somebody_counts() {
    let mut sweeper = v1();
    let mut reader = sweeper.reader(POD, CgroupRole::Pod);
    assert_eq!(sweeper.read(&mut reader).io, Err(Unavailable::BlkioNotAccounted));
    start_accounting(&sweeper);
    assert_eq!(value(&sweeper.read(&mut reader).io).total, IO);
}

#[test]
fn of_a_sandbox_only_the_block_io_of_v1_is_read() {
    let mut sweeper = v1();
    start_accounting(&sweeper);
    let mut reader = sweeper.reader(POD, CgroupRole::Container);
    sweeper.budget = DescriptorBudget::new(100);
    assert!(sweeper.read(&mut reader).cpu.is_ok());
    let kept = reader.open_descriptors();
    assert_eq!((kept, sweeper.budget.used()), (11, 11));
    reader.set_role(CgroupRole::Sandbox);
    let reading = sweeper.read(&mut reader);
    assert_eq!(value(&reading.io).total, IO);
    assert!(reading.alive && reading.cpu.is_err() && reading.memory.is_err() && reading.pids.is_err());
    assert_eq!((reader.open_descriptors(), sweeper.budget.used()), (2, 2));

    let mut sweeper = v2();
    let mut reader = sweeper.reader(POD, CgroupRole::Sandbox);
    let reading = sweeper.read(&mut reader);
    assert!(reading.alive && reading.cpu.is_err() && reading.io.is_err());
}

#[test]
fn descriptors_stay_within_the_budget_and_nothing_is_lost_beyond_it() {
    for limit in [0, 1, 5, 100] {
        let mut sweeper = v2();
        sweeper.budget = DescriptorBudget::new(limit);
        let mut reader = sweeper.reader(POD, CgroupRole::Pod);
        for _ in 0..3 {
            let reading = sweeper.read(&mut reader);
            assert_eq!((value(&reading.memory), value(&reading.io).total), (MEMORY, IO));
        }
        assert_eq!(reader.open_descriptors(), limit.min(11));
        assert_eq!(sweeper.budget.used(), limit.min(11));
        reader.close(&mut sweeper.budget);
        assert_eq!((reader.open_descriptors(), sweeper.budget.used()), (0, 0));
    }
}

#[test]
fn a_kept_descriptor_gives_fresh_values() {
    let mut sweeper = v2();
    sweeper.budget = DescriptorBudget::new(100);
    let mut reader = sweeper.reader(POD, CgroupRole::Pod);
    sweeper.read(&mut reader);
    sweeper.node.write(&format!("cgroup/{POD}/memory.current"), "8001\n");
    assert_eq!(value(&sweeper.read(&mut reader).memory).usage_bytes, 8001);
}

#[test]
fn a_removed_cgroup_has_no_figures_and_no_descriptors() {
    let mut sweeper = v2();
    let mut reader = sweeper.reader(POD, CgroupRole::Pod);
    let inode = sweeper.read(&mut reader).inode;
    let rows = sweeper.rows.len();
    sweeper.node.remove(&format!("cgroup/{POD}"));
    for _ in 0..2 {
        let reading = sweeper.read(&mut reader);
        assert!(!reading.alive && reading.cpu.is_err() && reading.io.is_err());
        assert_eq!((reading.inode, sweeper.rows.len()), (inode, rows));
    }
    assert_eq!(sweeper.health.counted(Room::Host, Trouble::Gone), 1);
}

#[test]
fn another_cgroup_of_the_same_name_is_not_this_one() {
    let mut sweeper = v2();
    let mut reader = sweeper.reader(POD, CgroupRole::Pod);
    assert!(sweeper.read(&mut reader).alive);
    // Moved aside, not removed: a file system may give the freed inode to the next directory.
    let pod = sweeper.node.path(format!("cgroup/{POD}"));
    fs::rename(&pod, sweeper.node.path("cgroup/aside")).unwrap();
    sweeper.node.write(&format!("cgroup/{POD}/cpu.stat"), "usage_usec 1\n");
    assert!(!sweeper.read(&mut reader).alive);
}

#[test]
fn a_file_is_waited_for_while_the_cgroup_is_young() {
    let mut sweeper = v1();
    let file = format!("cgroup/cpu,cpuacct/{POD}/cpuacct.usage");
    sweeper.node.remove(&file);
    let mut young = sweeper.reader_of_age(POD, CgroupRole::Pod, Duration::ZERO);
    assert_eq!(sweeper.read(&mut young).cpu, Err(Unavailable::NotYet));
    assert!(sweeper.read(&mut young).memory.is_ok());
    sweeper.node.write(&file, "5\n");
    assert_eq!(value(&sweeper.read(&mut young).cpu).usage, Duration::from_nanos(5));
}

#[test]
fn a_file_that_never_came_is_looked_for_only_now_and_then() {
    let mut sweeper = v2();
    for file in ["memory.current", "pids.current", "memory.peak"] {
        sweeper.node.remove(&format!("cgroup/{POD}/{file}"));
    }
    let mut reader = sweeper.reader(POD, CgroupRole::Pod);
    let reading = sweeper.read(&mut reader);
    assert_eq!(reading.memory, Err(Unavailable::ControllerOff));
    assert_eq!(reading.pids, Err(Unavailable::ControllerOff));
    assert!(reading.alive && reading.cpu.is_ok());
    // One refusal may have been chance: the second is believed.
    sweeper.read(&mut reader);
    sweeper.node.write(&format!("cgroup/{POD}/memory.current"), "1\n");
    assert_eq!(sweeper.read(&mut reader).memory, Err(Unavailable::ControllerOff));
    let memory = value(&sweeper.read_slow(&mut reader).memory);
    assert_eq!((memory.usage_bytes, memory.peak_bytes), (1, None));
}

#[test]
fn a_controller_that_no_hierarchy_has_is_off() {
    let node = Node::v1(&["cpuacct"]);
    node.write(&format!("cgroup/cpuacct/{POD}/cpuacct.usage"), "5\n");
    node.make("proc/pressure");
    let mut sweeper = Sweeper::new(node);
    let mut reader = sweeper.reader(POD, CgroupRole::Pod);
    let reading = sweeper.read(&mut reader);
    let cpu = value(&reading.cpu);
    assert_eq!((cpu.user, cpu.throttling), (None, Err(Unavailable::ControllerOff)));
    assert_eq!(reading.memory, Err(Unavailable::ControllerOff));
    assert_eq!(reading.io, Err(Unavailable::ControllerOff));
    assert_eq!(reading.pids, Err(Unavailable::ControllerOff));
    // This kernel has PSI, but shows it on a version 2 side only.
    assert_eq!(reading.pressure, Err(Unavailable::ControllerOff));
}

#[test]
fn pressure_comes_from_the_version_2_side_of_a_hybrid_node() {
    let node = Node::v1(&["cpuacct", "unified"]);
    node.write("cgroup/unified/cgroup.controllers", "hugetlb\n");
    node.write(&format!("cgroup/cpuacct/{POD}/cpuacct.usage"), "5\n");
    let some = "some avg10=0.00 avg60=0.00 avg300=0.00 total=3\n";
    node.write(&format!("cgroup/unified/{POD}/memory.pressure"), some);
    let mut sweeper = Sweeper::new(node);
    let mut reader = sweeper.reader(POD, CgroupRole::Pod);
    let pressure = value(&sweeper.read(&mut reader).pressure);
    assert_eq!((pressure.cpu, pressure.io), (None, None));
    assert_eq!(pressure.memory.unwrap().some.total, Duration::from_micros(3));
}

#[test]
fn a_malformed_file_costs_its_own_figure_and_is_counted() {
    let mut sweeper = v2();
    sweeper.node.write(&format!("cgroup/{POD}/cpu.stat"), "usage_usec much\n");
    sweeper.node.write(&format!("cgroup/{POD}/memory.peak"), "x\n");
    sweeper.node.write(&format!("cgroup/{POD}/io.stat"), "(unknown) rbytes=1 wbytes=1 rios=1 wios=1\n");
    let mut reader = sweeper.reader(POD, CgroupRole::Pod);
    let reading = sweeper.read(&mut reader);
    assert_eq!(reading.cpu, Err(Unavailable::NotYet));
    assert_eq!(value(&reading.memory), MemoryCounters { peak_bytes: None, ..MEMORY });
    assert_eq!(value(&reading.io).total, IoCounters::default());
    // Each is read twice before it is given up.
    assert_eq!(sweeper.health.counted(Room::Host, Trouble::Malformed), 6);
}

#[test]
fn an_empty_io_stat_is_real_zeros() {
    let mut sweeper = v2();
    sweeper.node.write(&format!("cgroup/{POD}/io.stat"), "");
    let mut reader = sweeper.reader(POD, CgroupRole::Pod);
    let io = value(&sweeper.read(&mut reader).io);
    assert_eq!(io, IoReading::default());
}

#[test]
fn a_device_that_vanishes_keeps_its_last_value() {
    let mut sweeper = v2();
    let mut reader = sweeper.reader(POD, CgroupRole::Pod);
    sweeper.read(&mut reader);
    for text in
        ["7:0 rbytes=10 wbytes=0 rios=0 wios=0\n", "254:0 rbytes=\n7:0 rbytes=10 wbytes=0 rios=0 wios=0\n"]
    {
        sweeper.node.write(&format!("cgroup/{POD}/io.stat"), text);
        let reading = sweeper.read(&mut reader);
        assert_eq!(value(&reading.io).total, IoCounters { read_bytes: 11, ..IO });
        assert_eq!(sweeper.rows_of(&reading).len(), 2);
    }
}

#[test]
fn a_stacked_device_has_a_row_and_no_part_in_the_total() {
    let mut sweeper = v2();
    sweeper.node.make("sys/dev/block/253:0/slaves/vda");
    sweeper.node.make("sys/dev/block/254:0/slaves");
    sweeper.devices.refresh(&sweeper.node.root());
    let row = "rbytes=1 wbytes=2 rios=3 wios=4";
    sweeper.node.write(&format!("cgroup/{POD}/io.stat"), &format!("253:0 {row}\n254:0 {row}\n"));
    let mut reader = sweeper.reader(POD, CgroupRole::Pod);
    let reading = sweeper.read(&mut reader);
    assert_eq!(value(&reading.io).total, IO);
    assert_eq!(sweeper.rows_of(&reading).iter().map(|row| row.stacked).collect::<Vec<_>>(), [true, false]);
}

/// The kernel says of each cgroup how much is reserved.
fn none_on_v2() -> Limits {
    Limits { reservation_bytes: Some(0), cpu_shares: Some(998), ..Limits::default() }
}

/// Without a word on what is not known.
fn amounts(limits: Limits) -> Limits {
    Limits { unknown: UnknownLimits::default(), ..limits }
}

#[test]
fn a_file_larger_than_the_buffer_is_read_whole() {
    let mut sweeper = v2();
    let filler = "some_new_key 18446744073709551615\n".repeat(2000);
    let stat = format!("anon 1000\n{filler}file 7000\ninactive_file 6000\npgfault 5\npgmajfault 1\n");
    sweeper.node.write(&format!("cgroup/{POD}/memory.stat"), &stat);
    let mut reader = sweeper.reader(POD, CgroupRole::Pod);
    assert_eq!(value(&sweeper.read(&mut reader).memory), MEMORY);
    assert_eq!(sweeper.buffer.len(), 128 << 10);
}

#[test]
fn the_watchdog_can_name_what_is_being_read() {
    let mut sweeper = v2();
    let mut reader = sweeper.reader(POD, CgroupRole::Pod);
    sweeper.read(&mut reader);
    let (target, file) = sweeper.health.being_read();
    assert_eq!((target, file_name(file)), (7, "cpu.weight"));
    assert_eq!(file_name(255), "unknown file");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_cut_file_never_gives_another_number(cut in 0_usize..90, which in 0_usize..11) {
        const FILES: [&str; 11] = [
            "cpu.stat", "memory.current", "memory.stat", "memory.events", "memory.peak", "memory.swap.current",
            "io.stat", "pids.current", "cpu.pressure", "memory.pressure", "io.pressure",
        ];
        let mut sweeper = v2();
        let mut reader = sweeper.reader(POD, CgroupRole::Pod);
        let whole = sweeper.read(&mut reader);
        let path = format!("cgroup/{POD}/{}", FILES[which]);
        let text = fs::read_to_string(sweeper.node.path(&path)).unwrap();
        sweeper.node.write(&path, &text[..cut.min(text.len())]);
        let cut = sweeper.read(&mut reader);
        prop_assert!(cut.cpu.is_err() || value(&cut.cpu).usage == value(&whole.cpu).usage);
        prop_assert!(cut.memory.is_err() || value(&cut.memory).usage_bytes == MEMORY.usage_bytes);
        prop_assert_eq!(value(&cut.io).total, IO);
        prop_assert!(cut.pids.is_err() || value(&cut.pids) == value(&whole.pids));
        if let Ok(memory) = &cut.memory {
            for (cut, whole) in [
                (memory.value.inactive_file_bytes, MEMORY.inactive_file_bytes),
                (memory.value.oom_kills, MEMORY.oom_kills),
                (memory.value.peak_bytes, MEMORY.peak_bytes),
                (memory.value.swap_bytes, MEMORY.swap_bytes),
            ] {
                prop_assert!(cut.is_none() || cut == whole);
            }
        }
    }
}
