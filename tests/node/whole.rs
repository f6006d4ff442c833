//! The node as a whole: its pressure, page faults and tasks, and what all its pods have used together.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use podvitals::model::document::Node;
use podvitals::model::unavailable::Unavailable;

use crate::daemon::Daemon;
use crate::oracle;
use crate::stage::Stage;

/// Figures that never go back, as the kernel's files have them.
#[derive(Debug)]
struct Files {
    pods_cpu: u64,
    faults: u64,
    cpu_stalls: u64,
}

impl Files {
    fn read(kubepods: &Path) -> Self {
        let pressure = std::fs::read_to_string("/proc/pressure/cpu").unwrap();
        let total = pressure.lines().next().unwrap().split("total=").nth(1).unwrap();
        Self {
            pods_cpu: oracle::number(kubepods.join("cpuacct.usage")),
            faults: oracle::keyed("/proc/vmstat", "pgfault"),
            cpu_stalls: total.parse().unwrap(),
        }
    }

    fn of(node: &Node) -> Self {
        Self {
            pods_cpu: pods(node).cpu.as_ref().unwrap().usage_nanoseconds,
            faults: node.memory.as_ref().unwrap().page_faults.unwrap(),
            cpu_stalls: node.pressure.as_ref().unwrap().cpu.as_ref().unwrap().some_microseconds,
        }
    }

    fn all(&self) -> [u64; 3] {
        [self.pods_cpu, self.faults, self.cpu_stalls]
    }
}

pub(crate) async fn its_figures_lie_between_two_readings_of_the_files(stage: Arc<Stage>) {
    let pod = stage.testbed.pod("whole").run().await.unwrap();
    let container = pod.container("app").args(["spin", "--duty", "40"]).run().await.unwrap();
    let cgroup = container.cgroup_dir("cpuacct").unwrap();
    let kubepods = cgroup.ancestors().find(|path| path.ends_with("kubepods")).unwrap().to_owned();
    for (name, daemon) in stage.observers() {
        // Two sweeps with a rate that the pod was there for.
        let seen = daemon.list_after(daemon.list().tick + 1).await.tick;
        let files = Files::read(&kubepods);
        let node = node_after(daemon, seen).await;
        let after = Files::read(&kubepods);
        let (before, shown, after) = (files.all(), Files::of(&node).all(), after.all());
        for ((before, shown), after) in before.into_iter().zip(shown).zip(after) {
            assert!((before..=after).contains(&shown), "{name}: {before} {shown} {after}: {node:?}");
        }
        let pods = pods(&node);
        let cores = pods.cpu.as_ref().unwrap().cores.unwrap();
        assert!(cores > 0.35, "{name}: all pods have not used what one of them did: {pods:?}");
        let used = oracle::number(cgroup_file(&kubepods, "memory", "memory.usage_in_bytes"));
        let memory = pods.memory.as_ref().unwrap();
        assert!(memory.usage_bytes.abs_diff(used) < 16 << 20, "{name}: {used}, {memory:?}");
        assert!(memory.usage_bytes > 0 && memory.working_set_bytes.is_some(), "{name}: {memory:?}");
        assert!(!node.system_containers.iter().any(|part| part.name == "kubelet"), "{name}: none runs here");

        let anon = node.memory.as_ref().unwrap().anon_bytes.unwrap();
        let pages = oracle::keyed("/proc/vmstat", "nr_anon_pages") * rustix::param::page_size() as u64;
        assert!(anon.abs_diff(pages) < 256 << 20 && anon > 1 << 20, "{name}: {anon}, {pages}");
    }
    let (full, confined) = (stage.full.node(), stage.confined.node());
    let limits = ["pid_max", "threads-max"].map(|file| oracle::number(format!("/proc/sys/kernel/{file}")));
    let (here, there) = (full.pids.unwrap(), confined.pids.unwrap());
    assert_eq!(here.limit, limits.into_iter().min());
    assert!(here.current > 10 && here.current.abs_diff(there.current) < 200, "{here:?}, {there:?}");
    if pid_limits_are_namespaced() {
        // What the kernel would say there is the pod's own limit.
        assert_eq!((there.limit, confined.unavailable["pids.limit"]), (None, Unavailable::Permission));
    } else {
        assert_eq!(there.limit, here.limit);
    }
    pod.stop().await.unwrap();
}

/// The node's document of a later sweep.
async fn node_after(daemon: &Daemon, tick: u64) -> Node {
    loop {
        let node = daemon.node();
        if node.tick > tick + 1 {
            return node;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn pods(node: &Node) -> &podvitals::model::document::SystemContainer {
    node.system_containers.iter().find(|part| part.name == "pods").expect("there is one kubepods")
}

/// The same cgroup in another hierarchy.
fn cgroup_file(in_cpuacct: &Path, controller: &str, file: &str) -> PathBuf {
    let mount = in_cpuacct.ancestors().find(|path| path.join("release_agent").exists()).unwrap();
    let below = in_cpuacct.strip_prefix(mount).unwrap();
    mount.parent().unwrap().join(controller).join(below).join(file)
}

/// Linux 6.14 and later.
fn pid_limits_are_namespaced() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(14))
}
