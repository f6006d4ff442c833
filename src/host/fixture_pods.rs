//! For tests: a node of plain files with two pods, in which every figure tells whose it is.
//!
//! Each cgroup and each netns has a number of its own, and all its figures are multiples of that: one
//! that turned up in another's place would be seen.

use std::fs;
use std::path::PathBuf;

use super::fixture::Node;

/// Which hierarchies there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hierarchies {
    /// One, version 2.
    V2,
    /// Version 1, co-mounted where distributions do, and a version 2 side for pressure.
    Hybrid,
}

pub(crate) const HIERARCHIES: [Hierarchies; 2] = [Hierarchies::V2, Hierarchies::Hybrid];

/// Pods by number: their cgroups are 10 × number, container + 1, sandbox + 2.
pub(crate) const PODS: [u32; 2] = [1, 2];

/// A node with both pods.
pub(crate) struct PodsNode {
    pub(crate) node: Node,
    hierarchies: Hierarchies,
}

/// A process of a pod, for the pod of this number.
pub(crate) fn pid_of(pod: u32) -> u32 {
    100 + pod
}

/// The UID of the pod of this number.
pub(crate) fn uid_of(pod: u32) -> String {
    format!("9c43ae1e-6c1b-4b5f-9d0a-00000000000{pod}")
}

/// The id of child 1, the container, or 2, the sandbox.
pub(crate) fn id_of(pod: u32, child: u32) -> String {
    format!("{pod}{child}").repeat(32)
}

/// Below the mount of each hierarchy: of the pod itself (child 0) or of one of its children.
pub(crate) fn cgroup_of(pod: u32, child: u32) -> String {
    let pod_cgroup = format!("kubepods/burstable/pod{}", uid_of(pod));
    if child == 0 { pod_cgroup } else { format!("{pod_cgroup}/{}", id_of(pod, child)) }
}

impl PodsNode {
    pub(crate) fn new(hierarchies: Hierarchies) -> Self {
        let node = match hierarchies {
            Hierarchies::V2 => Node::v2(),
            Hierarchies::Hybrid => Node::v1(&["cpu,cpuacct", "memory", "blkio", "pids", "unified"]),
        };
        let this = Self { node, hierarchies };
        for pod in PODS {
            // The sandbox first: it is the oldest child.
            for child in [0, 2, 1] {
                this.write_cgroup(pod, child);
            }
            this.write_pod_process(pod);
        }
        this.write_node();
        this.write_veth(2);
        this
    }

    /// Where the files of a cgroup are: one directory a hierarchy.
    pub(crate) fn directories(&self, pod: u32, child: u32) -> Vec<PathBuf> {
        let mounts: &[&str] = match self.hierarchies {
            Hierarchies::V2 => &["cgroup"],
            Hierarchies::Hybrid => {
                &["cgroup/memory", "cgroup/cpu,cpuacct", "cgroup/blkio", "cgroup/pids", "cgroup/unified"]
            }
        };
        mounts.iter().map(|mount| self.node.path(mount).join(cgroup_of(pod, child))).collect()
    }

    fn cgroup_text(&self, pod: u32) -> String {
        let path = cgroup_of(pod, 2);
        match self.hierarchies {
            Hierarchies::V2 => format!("0::/{path}\n"),
            Hierarchies::Hybrid => format!("4:memory:/{path}\n3:cpu,cpuacct:/{path}\n0::/{path}\n"),
        }
    }

    /// Writes all files of a cgroup anew.
    pub(crate) fn write_cgroup(&self, pod: u32, child: u32) {
        let path = cgroup_of(pod, child);
        let k = u64::from(pod * 10 + child);
        let procs = if child == 2 { format!("{}\n", pid_of(pod)) } else { String::new() };
        let files = match self.hierarchies {
            Hierarchies::V2 => v2_files(k),
            Hierarchies::Hybrid => hybrid_files(k),
        };
        for (file, text) in files {
            let (mount, file) = file.rsplit_once('/').map_or(("", file), |(mount, file)| (mount, file));
            self.node.write(&format!("cgroup/{mount}/{path}/{file}"), &text);
        }
        let watched = if self.hierarchies == Hierarchies::V2 { "" } else { "memory/" };
        self.node.write(&format!("cgroup/{watched}{path}/cgroup.procs"), &procs);
    }

    /// Writes a pod's process anew.
    pub(crate) fn write_pod_process(&self, pod: u32) {
        self.write_process(pid_of(pod), &self.cgroup_text(pod), pod * 1000);
    }

    /// Writes `/proc/<pid>` anew; its counters are multiples of `k`.
    pub(crate) fn write_process(&self, pid: u32, cgroup: &str, k: u32) {
        let k = u64::from(k);
        let row = |name: &str, k: u64| {
            let figures: String = (1..=16).map(|i| format!(" {}", k * i)).collect();
            format!("{name:>6}:{figures}\n")
        };
        let net_dev = format!("head\nhead\n{}{}{}", row("lo", k + 7), row("eth0", k), row("eth0.5", k / 2));
        let route = "head\neth0\t00000000\t0101F40A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        for (file, text) in [
            ("cgroup", cgroup),
            ("stat", &format!("{pid} (pause) S 1 1 1 0\n")),
            ("net/dev", &net_dev),
            ("net/route", route),
            ("net/ipv6_route", ""),
            ("net/vlan/config", ""),
            ("net/vlan/eth0.5", ""),
            ("net/igmp", "Idx\tDevice\n2\teth0      :     1      V3\n"),
        ] {
            self.node.write(&format!("proc/{pid}/{file}"), text);
        }
    }

    /// The host's end of a pod's veth, as wide as the pod's number is large.
    fn write_veth(&self, pod: u32) {
        let link = format!("sys/class/net/veth{pod}");
        self.node.write(&format!("{link}/ifindex"), &format!("{}\n", 10 + pod));
        for (i, name) in ["rx_bytes", "rx_packets", "tx_bytes", "tx_packets"].iter().enumerate() {
            self.node.write(&format!("{link}/statistics/{name}"), &format!("{}\n", pod as usize * 1000 + i));
        }
    }

    fn write_node(&self) {
        self.node.write("proc/stat", "cpu  100 2 300 4000 5 6 7 0 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n");
        self.write_process(1, "0::/init.scope\n", 77_000);
        self.node.write("proc/diskstats", " 254 0 vda 11 0 800 0 12 0 1600 0 0 0 0\n 254 1 vda1 11 0 800 0 12 0 1600 0 0 0 0\n 253 0 dm-0 1 0 80 0 2 0 160 0 0 0 0\n");
        let meminfo = fs::read_to_string(self.node.path("proc/meminfo")).unwrap();
        self.node.write("proc/meminfo", &(meminfo + "MemAvailable: 9000 kB\nSReclaimable: 5 kB\n"));
        let stall = "some avg10=0.50 avg60=0.25 avg300=0.12 total=300\nfull avg10=0.10 avg60=0.05 avg300=0.02 total=100\n";
        for (file, text) in [
            ("pressure/cpu", stall),
            ("pressure/memory", stall),
            ("pressure/io", stall),
            (
                "vmstat",
                "nr_free_pages 1000\nnr_anon_pages 250\npgfault 4000\npgmajfault 12\nunevictable_pgs_culled 0\n",
            ),
            ("loadavg", "0.20 0.18 0.12 1/311 11206\n"),
            ("sys/kernel/osrelease", "6.12.0\n"),
            ("sys/kernel/pid_max", "32768\n"),
            ("sys/kernel/threads-max", "192730\n"),
        ] {
            self.node.write(&format!("proc/{file}"), text);
        }
        for (number, name) in [("254:0", "vda"), ("253:0", "dm-0")] {
            self.node.make(&format!("sys/block/{name}/slaves"));
            self.node.link(&format!("../../block/{name}"), &format!("sys/dev/block/{number}"));
        }
        self.node.make("sys/block/dm-0/slaves/vda");
        if self.hierarchies == Hierarchies::Hybrid {
            self.node.write("cgroup/unified/cgroup.controllers", "\n");
        }
        self.node.write("sys/block/vda/vda1/partition", "1\n");
        self.node.link("../../block/vda/vda1", "sys/dev/block/254:1");
        if self.hierarchies == Hierarchies::Hybrid {
            let root = "254:0 Read 4096\n254:0 Write 8192\n254:0 Total 12288\n\
                253:0 Read 512\n253:0 Write 512\n253:0 Total 1024\nTotal 13312\n";
            self.node.write("cgroup/blkio/blkio.throttle.io_service_bytes_recursive", root);
            self.node.write("cgroup/blkio/blkio.bfq.io_service_bytes_recursive", "Total 0\n");
        }
    }
}

impl Drop for PodsNode {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.node.path("cgroup"));
    }
}

fn v2_files(k: u64) -> Vec<(&'static str, String)> {
    let stall = |i: u64| {
        let (some, full) = (k * i, k * (i + 1));
        format!(
            "some avg10=0.50 avg60=0.00 avg300=0.00 total={some}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total={full}\n"
        )
    };
    vec![
        (
            "cpu.stat",
            format!(
                "usage_usec {}\nuser_usec {}\nsystem_usec {}\nnr_periods {}\nnr_throttled {}\nthrottled_usec {}\n",
                k * 3000,
                k * 2000,
                k * 1000,
                k * 4,
                k * 2,
                k * 9
            ),
        ),
        ("memory.current", format!("{}\n", k * 8000)),
        (
            "memory.stat",
            format!(
                "anon {}\nfile {}\nkernel 0\ninactive_anon 1\ninactive_file {}\npgfault {}\npgmajfault {}\n",
                k * 1000,
                k * 7000,
                k * 6000,
                k * 5,
                k
            ),
        ),
        ("memory.events", format!("low 0\nhigh 0\nmax 0\noom 1\noom_kill {k}\n")),
        ("memory.peak", format!("{}\n", k * 9000)),
        ("memory.swap.current", format!("{}\n", k * 11)),
        (
            "io.stat",
            format!(
                "254:0 rbytes={} wbytes={} rios={} wios={} dbytes=9 dios=9\n253:0 rbytes={} wbytes={} rios={} wios={} dbytes=0 dios=0\n",
                k * 100,
                k * 200,
                k * 3,
                k * 4,
                k * 1000,
                k * 2000,
                k * 30,
                k * 40
            ),
        ),
        ("pids.current", format!("{k}\n")),
        ("cpu.pressure", stall(70)),
        ("memory.pressure", stall(50)),
        ("io.pressure", stall(30)),
        ("cpu.max", format!("{} 100000\n", k * 10_000)),
        ("memory.max", format!("{}\n", (100 - k) * 1_000_000)),
        ("memory.min", format!("{}\n", k * 4096)),
        ("cpu.weight", format!("{k}\n")),
        ("memory.swap.max", format!("{}\n", (100 - k) * 2_000_000)),
        ("pids.max", format!("{}\n", 1000 - k)),
    ]
}

fn hybrid_files(k: u64) -> Vec<(&'static str, String)> {
    let rows = |unit: u64| {
        let (a, b, c, d) = (k * unit, k * unit * 2, k * unit * 10, k * unit * 20);
        format!(
            "254:0 Read {a}\n254:0 Write {b}\n254:0 Sync 1\n254:0 Total {}\n253:0 Read {c}\n253:0 Write {d}\n253:0 Total {}\nTotal {}\n",
            a + b,
            c + d,
            a + b + c + d
        )
    };
    let mut files: Vec<(&'static str, String)> = v2_files(k)
        .into_iter()
        .filter_map(|(name, text)| match name {
            "cpu.pressure" => Some(("unified/cpu.pressure", text)),
            "memory.pressure" => Some(("unified/memory.pressure", text)),
            "io.pressure" => Some(("unified/io.pressure", text)),
            "pids.current" => Some(("pids/pids.current", text)),
            "pids.max" => Some(("pids/pids.max", text)),
            _ => None,
        })
        .collect();
    files.extend([
        ("cpu,cpuacct/cpuacct.usage", format!("{}\n", k * 3_000_000)),
        ("cpu,cpuacct/cpuacct.usage_percpu", format!("{} {} \n", k * 2_000_000, k * 1_000_000)),
        ("cpu,cpuacct/cpuacct.stat", format!("user {}\nsystem {}\n", k * 2, k)),
        ("cpu,cpuacct/cpu.stat", format!("nr_periods {}\nnr_throttled {}\nthrottled_time {}\n", k * 4, k * 2, k * 9000)),
        ("cpu,cpuacct/cpu.cfs_quota_us", format!("{}\n", k * 10_000)),
        ("cpu,cpuacct/cpu.cfs_period_us", "100000\n".to_owned()),
        ("cpu,cpuacct/cpu.shares", format!("{}\n", k * 2)),
        ("memory/memory.usage_in_bytes", format!("{}\n", k * 8000)),
        (
            "memory/memory.stat",
            format!(
                "cache 1\nrss 1\ntotal_cache {}\ntotal_rss {}\ntotal_swap {}\ntotal_pgfault {}\ntotal_pgmajfault {}\ntotal_inactive_file {}\n",
                k * 7000, k * 1000, k * 11, k * 5, k, k * 6000
            ),
        ),
        ("memory/memory.max_usage_in_bytes", format!("{}\n", k * 9000)),
        ("memory/memory.failcnt", format!("{}\n", k * 2)),
        ("memory/memory.oom_control", format!("oom_kill_disable 0\nunder_oom 0\noom_kill {k}\n")),
        ("memory/memory.limit_in_bytes", format!("{}\n", (100 - k) * 1_000_000)),
        ("memory/memory.memsw.limit_in_bytes", format!("{}\n", (100 - k) * 3_000_000)),
        ("memory/memory.soft_limit_in_bytes", format!("{}\n", k * 4096)),
        ("blkio/blkio.throttle.io_service_bytes_recursive", rows(100)),
        ("blkio/blkio.throttle.io_serviced_recursive", rows(3)),
        ("blkio/blkio.bfq.io_service_bytes_recursive", "Total 0\n".to_owned()),
        ("blkio/blkio.bfq.io_serviced_recursive", "Total 0\n".to_owned()),
    ]);
    files
}
