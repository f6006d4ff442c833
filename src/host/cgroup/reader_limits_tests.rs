//! Tests of `reader`: a limit that is absent without a reason is no limit.

use super::*;
use crate::host::fault::{self, Fault};

#[test]
fn no_limit_has_many_spellings() {
    for (text, expected) in [
        ("9223372036854771712\n", None), // Pages of 4 KiB.
        ("9223372036854710272\n", None), // Pages of 64 KiB.
        ("17179869185\n", None),         // A byte more than the node has.
        ("17179869184\n", Some(17_179_869_184)),
        ("0\n", Some(0)),
    ] {
        let mut sweeper = v1();
        sweeper.node.write(&format!("cgroup/memory/{POD}/memory.limit_in_bytes"), text);
        sweeper.node.write(&format!("cgroup/cpu,cpuacct/{POD}/cpu.cfs_quota_us"), "25000\n");
        let mut reader = sweeper.reader(POD, CgroupRole::Pod);
        let limits = amounts(sweeper.read(&mut reader).limits);
        let none = Limits { cpu_shares: Some(1024), ..Limits::default() };
        let [quota, period] = [25, 100].map(Duration::from_millis);
        let cpu_quota = Some(CpuQuota { quota, period });
        assert_eq!(
            limits,
            Limits { cpu_cores: Some(0.25), cpu_quota, memory_bytes: expected, ..none },
            "{text}"
        );
    }
}

#[test]
fn a_limit_that_could_never_be_read_is_not_said_to_be_none() {
    let mut sweeper = v2();
    let file = format!("cgroup/{POD}/memory.max");
    sweeper.node.write(&file, "40");
    let mut reader = sweeper.reader(POD, CgroupRole::Pod);
    let unread = |limits: Limits| (limits.memory_bytes, limits.unknown.memory_bytes);
    assert_eq!(unread(sweeper.read(&mut reader).limits), (None, Some(Unavailable::NotYet)));
    sweeper.node.write(&file, "4096\n");
    assert_eq!(unread(sweeper.read(&mut reader).limits), (Some(4096), None));
    sweeper.node.write(&file, "40");
    assert_eq!(unread(sweeper.read_slow(&mut reader).limits), (Some(4096), None), "it was known");

    // A file that is not there at a second look limits nothing.
    sweeper.node.remove(&file);
    let mut reader = sweeper.reader(POD, CgroupRole::Pod);
    assert_eq!(unread(sweeper.read(&mut reader).limits), (None, Some(Unavailable::NotYet)));
    assert_eq!(unread(sweeper.read(&mut reader).limits), (None, None));
    sweeper.node.write(&file, "max\n");
    let mut reader = sweeper.reader(POD, CgroupRole::Pod);
    assert_eq!(unread(sweeper.read(&mut reader).limits), (None, None));

    let (_, calls) = fault::record(|| {
        let mut reader = sweeper.reader(POD, CgroupRole::Pod);
        sweeper.read(&mut reader)
    });
    let open = calls.iter().position(|call| call.kind == "openat" && call.path.ends_with("/memory.max"));
    let denied = Fault::Errno(rustix::io::Errno::ACCESS);
    let (reading, ..) = fault::at(open.unwrap(), denied, || {
        let mut reader = sweeper.reader(POD, CgroupRole::Pod);
        sweeper.read(&mut reader)
    });
    assert_eq!(unread(reading.limits), (None, Some(Unavailable::Permission)));
}

/// A byte more than the node has.
const BEYOND: &str = "17179869185\n";

#[test]
fn swap_is_limited_beside_memory_on_v2_and_together_with_it_on_v1() {
    let of = |mut sweeper: Sweeper, files: &[(&str, &str)]| {
        for (file, text) in files {
            sweeper.node.write(&format!("cgroup/{}", file.replace('?', POD)), text);
        }
        let mut reader = sweeper.reader(POD, CgroupRole::Pod);
        let Limits { swap, reservation_bytes, unknown, .. } = sweeper.read(&mut reader).limits;
        assert_eq!(unknown, UnknownLimits::default());
        (swap.map(|swap| (swap.bytes, swap.as_told)), reservation_bytes)
    };
    assert_eq!((of(v1(), &[]), of(v2(), &[])), ((None, None), (None, Some(0))));
    let none_but_memory = [("?/memory.swap.max", "0\n"), ("?/memory.min", "4096\n")];
    assert_eq!(of(v2(), &none_but_memory), (Some((0, 0)), Some(4096)));
    // The last has more than the node: it is not limited, and may swap nothing all the same.
    for (memory, both, swap) in [("8000\n", "9000\n", 1000), ("9000\n", "9000\n", 0), (BEYOND, BEYOND, 0)] {
        let files =
            [("memory/?/memory.limit_in_bytes", memory), ("memory/?/memory.memsw.limit_in_bytes", both)];
        assert_eq!(of(v1(), &files), (Some((swap, both.trim().parse().unwrap())), None), "{memory}");
    }
    let soft = ("memory/?/memory.soft_limit_in_bytes", "5000\n");
    assert_eq!(of(v1(), &[soft]), (None, Some(5000)));
}

#[test]
fn the_limit_is_the_smaller_of_the_containers_and_its_pods() {
    let mut sweeper = v2();
    let container = format!("{POD}/c");
    let mut reader = sweeper.reader(&container, CgroupRole::Container);
    assert_eq!(amounts(sweeper.read(&mut reader).limits), none_on_v2());
    for (file, pods, own) in [
        ("cpu.max", "50000 100000\n", "150000 100000\n"),
        ("memory.max", "4096\n", "max\n"),
        ("pids.max", "100\n", "20\n"),
    ] {
        sweeper.node.write(&format!("cgroup/{POD}/{file}"), pods);
        sweeper.node.write(&format!("cgroup/{container}/{file}"), own);
    }
    // What bounds all pods together is no limit of one.
    sweeper.node.write("cgroup/kubepods/memory.max", "1024\n");
    assert_eq!(amounts(sweeper.read(&mut reader).limits), none_on_v2());
    let cpu_quota = Some(CpuQuota { quota: Duration::from_millis(50), period: Duration::from_millis(100) });
    let expected =
        Limits { cpu_cores: Some(0.5), cpu_quota, memory_bytes: Some(4096), pids: Some(20), ..none_on_v2() };
    let slow = sweeper.read_slow(&mut reader).limits;
    assert_eq!(slow, expected);
    assert_eq!(sweeper.read(&mut reader).limits, slow);
}

#[test]
fn a_limit_that_cannot_be_read_stays_as_it_was() {
    let mut sweeper = v2();
    let file = format!("cgroup/{POD}/memory.max");
    sweeper.node.write(&file, "4096\n");
    let mut reader = sweeper.reader(POD, CgroupRole::Pod);
    assert_eq!(sweeper.read(&mut reader).limits.memory_bytes, Some(4096));
    sweeper.node.write(&file, "40");
    assert_eq!(sweeper.read_slow(&mut reader).limits.memory_bytes, Some(4096));
}
