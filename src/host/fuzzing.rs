//! Parsers of kernel text under any bytes: what must hold whatever the kernel prints.
//!
//! No parser may panic. And of a text that is cut short, no parser may make another number than of the
//! whole: only what stood in it, or nothing.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use procfs::prelude::FromRead;

use super::cgroup::{blkio, names, pressure, tree, v1, v2};
use super::{devices, facts, interfaces, net_dev, net_ip, netlink, node_files, process, process_table, text};
use crate::model::counters::ThrottlingCounters;
use crate::model::details::{DetailRows, Details, MemoryKeys};
use crate::model::target::CgroupPath;
use crate::model::time::ClockPair;

pub use super::units_check::units;

/// What a parser made of a text: each figure by its name.
type Figures = BTreeMap<String, String>;

/// That a text says something twice: which of the two counts is the kernel's to say.
const TWICE: &str = "said twice";

fn put<T: Debug>(figures: &mut Figures, name: impl ToString, value: Option<T>) {
    if let Some(value) = value
        && figures.insert(name.to_string(), format!("{value:?}")).is_some()
    {
        figures.insert(TWICE.to_owned(), String::new());
    }
}

/// Places to cut a text at: all of a short one, some of a long one, and most of its end.
fn cuts(text: &[u8]) -> impl Iterator<Item = usize> {
    let length = text.len();
    let step = (length / 24).max(1);
    (0..length).step_by(step).chain(length.saturating_sub(8)..length)
}

/// Holds `parse` to the rule for texts in which each line says another thing.
fn never_wrong(text: &[u8], parse: impl Fn(&[u8]) -> Figures) {
    let whole = parse(text);
    let mut heads: Vec<_> =
        text::lines(text).map(|line| text::fields(line).take(2).collect::<Vec<_>>()).collect();
    let before = heads.len();
    heads.sort_unstable();
    heads.dedup_by(|a, b| a.first() == b.first() || a == b);
    if heads.len() != before || whole.contains_key(TWICE) {
        return;
    }
    for cut in cuts(text) {
        for (name, figure) in parse(&text[..cut]) {
            let right = whole.get(&name);
            assert!(
                right.is_none_or(|right| *right == figure),
                "cut at {cut}: {name} is {figure}, not {right:?}"
            );
        }
    }
}

/// `net/dev`.
pub fn net_dev(text: &[u8]) {
    let parse = |text: &[u8]| {
        let mut figures = Figures::new();
        for (name, counters) in net_dev::interface_lines(text).filter_map(net_dev::parse_line) {
            assert!(!name.as_bytes().is_empty() && name.as_bytes().len() <= 15);
            put(&mut figures, name, Some(counters));
        }
        figures
    };
    let _ = net_dev::sum_of_names(text);
    never_wrong(text, parse);
}

/// `/proc/<pid>/cgroup`.
pub fn cgroup_procfile(text: &[u8]) {
    let ids = process_table::ids_of(process::CgroupLines::of(text));
    let said = |id: &str| {
        process::CgroupLines::of(text).any(|line| line.contains(id) || line.replace('_', "-").contains(id))
    };
    assert!(ids.pod.is_none_or(|uid| said(uid.as_str())) && ids.container.is_none_or(|id| said(id.as_str())));
    for line in process::CgroupLines::of(text) {
        let (uid, id) = names::ids_in_cgroup_line(line);
        assert!(id.is_none_or(|id| id.as_str().len() == 64 && line.contains(id.as_str())));
        let dashed = line.replace('_', "-");
        assert!(uid.is_none_or(|uid| dashed.contains(uid.as_str())));
    }
}

/// Names and paths of the cgroup tree.
pub fn cgroup_path(bytes: &[u8]) {
    let Ok(path) = std::str::from_utf8(bytes) else { return };
    let whole = CgroupPath::new(path.trim_start_matches('/'));
    let _ = names::qos_of(&whole);
    if let Some(pod) = names::pod_of(&whole) {
        assert!(whole.as_path().starts_with(pod.as_path()));
        assert_eq!(names::pod_of(&pod), Some(pod), "the pod of a pod is itself");
    }
    for name in path.split('/') {
        if let Some(uid) = names::parse_pod_directory(name) {
            // There and back: with either driver the kubelet would give the pod this name.
            let systemd = format!("kubepods-burstable-pod{}.slice", uid.as_str().replace('-', "_"));
            assert_eq!(names::parse_pod_directory(&systemd).as_ref(), Some(&uid));
            assert_eq!(names::parse_pod_directory(&format!("pod{uid}")), Some(uid));
        }
        if let Some(id) = names::parse_container_directory(name) {
            assert!(name.contains(id.as_str()) && !name.contains("conmon"));
        }
    }
}

/// `mountinfo`, which another crate parses.
pub fn mountinfo(text: &[u8]) {
    let _ = procfs::process::MountInfos::from_read(text);
}

/// `memory.stat`, of either version.
pub fn memory_stat(text: &[u8]) {
    for parse in [v1::parse_memory_stat, v2::parse_memory_stat] {
        never_wrong(text, |text| {
            let (stat, _) = parse(text);
            let mut figures = Figures::new();
            put(&mut figures, "anon", stat.anon_bytes);
            put(&mut figures, "file", stat.file_bytes);
            put(&mut figures, "inactive", stat.inactive_file_bytes);
            put(&mut figures, "swap", stat.swap_bytes);
            put(&mut figures, "faults", stat.page_faults);
            put(&mut figures, "major faults", stat.major_page_faults);
            figures
        });
    }
    // What is kept of it is all there, under its keys, or nothing.
    let (mut details, mut keys) = (Details::default(), MemoryKeys::default());
    let lines = text::lines(text).map(text::parse_key_value);
    let first = details.add_memory_stat(&mut keys, lines.clone());
    if let Ok(memory_stat) = first.or_else(|_| details.add_memory_stat(&mut keys, lines.clone())) {
        let rows = DetailRows { memory_stat, ..DetailRows::default() };
        let kept = details.memory_stat(&rows).map(|(key, number)| Some((key.as_bytes(), number)));
        assert!(kept.eq(lines), "{:?}", details.memory_stat(&rows).collect::<Vec<_>>());
    }
}

/// `cpu.stat`, of either version.
pub fn cpu_stat(text: &[u8]) {
    never_wrong(text, |text| {
        let mut figures = Figures::new();
        let cpu = v2::parse_cpu_stat(text).ok();
        put(&mut figures, "usage", cpu.map(|cpu| cpu.usage));
        put(&mut figures, "user", cpu.and_then(|cpu| cpu.user));
        let throttling = [cpu.and_then(|cpu| cpu.throttling.ok()), v1::parse_cpu_stat(text).ok().flatten()];
        for (version, throttling) in ["v2", "v1"].into_iter().zip(throttling) {
            // Not every kernel has bursts: they are figures of their own.
            let without = throttling.map(|it| ThrottlingCounters { bursts: None, burst: None, ..it });
            put(&mut figures, version, without);
            put(&mut figures, format!("bursts {version}"), throttling.and_then(|it| it.bursts));
            put(&mut figures, format!("burst {version}"), throttling.and_then(|it| it.burst));
        }
        figures
    });
}

/// `cpuacct.usage` and `cpuacct.stat`.
pub fn cpuacct(text: &[u8]) {
    never_wrong(text, |text| {
        let mut figures = Figures::new();
        put(&mut figures, "usage", v1::parse_cpuacct_usage(text).ok());
        let by_cpu = v1::parse_cpuacct_percpu(text);
        if let Ok(sum) = by_cpu {
            let each: u128 = v1::each_cpu(text).map(u128::from).sum();
            assert_eq!(each, sum.as_nanos());
        }
        put(&mut figures, "by cpu", by_cpu.ok());
        put(&mut figures, "split", v1::parse_cpuacct_stat(text, 100).ok());
        figures
    });
    // The unit is never 0 on a kernel, and 1000 on some.
    let _ = v1::parse_cpuacct_stat(text, 1000);
}

/// `io.stat`.
pub fn io_stat(text: &[u8]) {
    never_wrong(text, |text| {
        let mut figures = Figures::new();
        let _ = v2::parse_io_stat(text, |device, counters| {
            put(&mut figures, format!("{device:?}"), Some(counters))
        });
        figures
    });
}

/// The v1 files of block I/O.
pub fn blkio_v1(text: &[u8]) {
    let mut totals = crate::model::counters::IoCounters::default();
    let _ = v1::parse_blkio(text, |_, _, value| totals.read_bytes = totals.read_bytes.saturating_add(value));
    never_wrong(text, |text| {
        let mut figures = Figures::new();
        let _ = v1::parse_blkio(text, |device, operation, value| {
            put(&mut figures, format!("{device:?} {operation:?}"), Some(value));
        });
        figures
    });
}

/// `net/netstat`, `net/snmp` and `net/snmp6`. Cut short, a table has its figure or none.
pub fn net_ip(text: &[u8]) {
    let read = |text: &[u8]| {
        let bytes = net_ip::parse_table(text, b"IpExt:", b"InOctets");
        (bytes, net_ip::parse_table(text, b"Ip:", b"InReceives"))
    };
    let whole = read(text);
    for cut in cuts(text) {
        let half = read(&text[..cut]);
        assert!(half.0.is_none() || half.0 == whole.0, "cut at {cut}: {half:?}, not {whole:?}");
        assert!(half.1.is_none() || half.1 == whole.1, "cut at {cut}: {half:?}, not {whole:?}");
    }
    never_wrong(text, |text| {
        let six = net_ip::parse_snmp6(text);
        let mut figures = Figures::new();
        put(&mut figures, "bytes", Some(six.bytes).filter(|bytes| *bytes > 0));
        put(&mut figures, "packets", Some(six.packets).filter(|packets| *packets > 0));
        figures
    });
    let _ = net_ip::parse_lo(text);
}

/// `/proc/<pid>/status`, our own and another's.
pub fn pid_status(text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    let status = facts::permissions::parse_status(&text);
    let groups: BTreeSet<_> = status.groups.iter().collect();
    assert_eq!(groups.len(), status.groups.len(), "each group once");
    let depth = facts::processes::parse_depth(&text);
    assert!(depth.is_none_or(|depth| depth < text.len().max(1)));
}

/// `cgroup.procs`: a process a line.
pub fn cgroup_procs(text: &[u8]) {
    let pids = tree::parse_pids(text);
    assert!(pids.iter().all(|pid| *pid > 0));
    for cut in cuts(text) {
        let some = tree::parse_pids(&text[..cut]);
        assert!(pids.starts_with(&some), "cut at {cut}: {some:?}, not {pids:?}");
    }
}

/// A pressure file.
pub fn psi(text: &[u8]) {
    never_wrong(text, |text| {
        let mut figures = Figures::new();
        let stall = pressure::parse_stall(text).ok();
        for time in stall.iter().flat_map(|stall| [Some(stall.some), stall.full]).flatten() {
            let averages = [time.avg10, time.avg60, time.avg300];
            assert!(averages.iter().all(|average| average.is_finite() && *average >= 0.0));
        }
        put(&mut figures, "some", stall.map(|stall| stall.some));
        put(&mut figures, "full", stall.and_then(|stall| stall.full));
        figures
    });
}

/// `/proc/<pid>/stat`, whose command may hold anything.
pub fn pid_stat(text: &[u8]) {
    let units = process_table::Units { hertz: 100, page: 4096 };
    let listed =
        |text| process_table::parse_stat(text, units, Duration::from_secs(1 << 40), ClockPair::default());
    if let Some(process) = listed(text) {
        let pid = process.pid.to_string();
        assert!(text.starts_with(pid.as_bytes()) || text.starts_with(b"0"), "{process:?}");
        assert_eq!(process::parse_state(text).map(char::from), Some(process.state));
    }
    let state = process::parse_state(text);
    assert!(state.is_none() || text.contains(&b')'));
    // A line; in what comm may hold besides is no room for twenty fields.
    let start = process::parse_start(text);
    let one_line = text.iter().position(|&byte| byte == b'\n') == text.len().checked_sub(1);
    for cut in cuts(text).filter(|_| one_line) {
        assert_eq!(listed(&text[..cut]), None, "cut at {cut}");
        let half = process::parse_start(&text[..cut]);
        assert!(half.is_none() || start.is_none() || half == start, "cut at {cut}: {half:?}, not {start:?}");
    }
}

/// Limits, each spelling of *none* included.
pub fn limit_value(text: &[u8]) {
    never_wrong(text, |text| {
        let mut figures = Figures::new();
        let cores = v2::parse_cpu_max(text).ok().flatten().map(|quota| quota.cores());
        assert!(cores.is_none_or(|cores| cores.is_finite() && cores >= 0.0), "{cores:?}");
        put(&mut figures, "cpu.max", cores);
        put(&mut figures, "limit", v2::parse_limit(text).ok().flatten());
        put(&mut figures, "quota", v1::parse_quota(text).ok().flatten());
        let period = v1::parse_period(text).ok().flatten();
        assert!(period.is_none_or(|period| !period.is_zero()));
        put(&mut figures, "period", period);
        put(&mut figures, "oom", v2::parse_memory_events(text).ok().and_then(|events| events.oom_kills));
        figures
    });
}

/// `/proc/stat`, `/proc/meminfo` and `/proc/diskstats`.
pub fn node_files(text: &[u8]) {
    let _ = node_files::parse_stat(text, 100);
    let _ = node_files::parse_meminfo(text);
    never_wrong(text, |text| {
        let mut figures = Figures::new();
        for disk in text::lines(text).filter_map(node_files::parse_disk_line) {
            put(&mut figures, format!("{:?} {:?}", disk.device, disk.name), Some(disk.counters));
        }
        figures
    });
    // Two readers of the same line agree.
    for line in text::lines(text) {
        if let Some(disk) = node_files::parse_disk_line(line) {
            let bytes = disk.counters.read_bytes.saturating_add(disk.counters.write_bytes);
            assert_eq!(blkio::parse_diskstats_line(line), Some((disk.device, bytes)));
        }
    }
    let _ = text::split_once(text, b'\n').map(|(line, _)| devices::parse_number(line));
}

/// Answers of the kernel over netlink.
pub fn netlink(bytes: &[u8]) {
    netlink::read_any(bytes);
}

/// The lines from which interfaces and routes are told.
pub fn interfaces(text: &[u8]) {
    interfaces::read_any(text);
}

/// Numbers: what is read as one is written as one.
pub fn numbers(text: &[u8]) {
    if let Some(number) = text::parse_u64(text) {
        let digits = String::from_utf8_lossy(text);
        let digits = digits.trim_start_matches('0');
        assert_eq!(number.to_string(), if digits.is_empty() { "0" } else { digits });
        assert_eq!(text::parse_u32(text).map(u64::from), u32::try_from(number).ok().map(u64::from));
    }
    if let Some(number) = text::parse_single_u64(text) {
        assert_eq!(text.last(), Some(&b'\n'));
        assert!(text::parse_single_u64(&text[..text.len() - 1]).is_none(), "{number} without its end");
    }
}
