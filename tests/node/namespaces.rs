//! Pods whose processes share, or own, namespaces that those of most pods do not: each figure is still that
//! of its own cgroup and its own netns.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use podvitals_testbed::made_up::Driver;
use podvitals_testbed::made_up::MadeUpPod;

use crate::daemon::Daemon;
use crate::find::container;
use crate::find::pod;
use crate::memory::compared_by;
use crate::network::PORT;
use crate::network::serving;
use crate::network::while_quiet;
use crate::odd_pods::made_up;
use crate::odd_pods::quick;
use crate::odd_pods::quiet;
use crate::odd_pods::send;
use crate::oracle;
use crate::stage::Stage;

const MIB: u64 = 1 << 20;
/// The host's users whom nobody else here has.
const FIRST: u32 = 1_000_000;
const USERS: u32 = 65_536;

pub(crate) async fn processes_that_see_each_other_are_counted_apart(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let server = testbed.pod("shared-server").run().await.unwrap();
    serving(&server).await;
    let shared = testbed.pod("shared").share_processes(true).run().await.unwrap();
    let busy = shared.container("busy").args(["spin", "--duty", "30", "--cpu", "0"]).run().await.unwrap();
    let large = shared.container("large").args(["memory", "--anon", "24MiB"]).run().await.unwrap();
    large.wait_for("ready", Duration::from_secs(20)).await.unwrap();
    // The pause process is everybody's process 1.
    let of_pause = namespace(shared.sandbox_pid(), "pid");
    assert_eq!(number_inside(shared.sandbox_pid()), 1);
    for container in [&busy, &large] {
        assert_eq!(namespace(container.pid(), "pid"), of_pause);
        assert!(number_inside(container.pid()) > 1);
    }
    busy.exchange(server.ip().unwrap(), PORT, 1_000_000, 500_000).await.unwrap();

    for (who, observer) in stage.observers() {
        let network = while_quiet(observer, &shared).await;
        assert!(network.total.tx_bytes >= 1_000_000 && network.total.rx_bytes >= 500_000, "{network:?}");
        let mut cores = Vec::new();
        for container in [&busy, &large] {
            let folders = ["cpuacct", "pids"].map(|controller| container.cgroup_dir(controller).unwrap());
            cores.push(own_cpu(observer, container.id(), &folders).await);
        }
        // Others want this processor too: it may get less than the three tenths it wants.
        assert!(cores[0] > 0.0 && cores[0] < 0.4 && cores[1] < 0.05, "{who}: {cores:?}");
        let small = compared_by(observer, busy.id(), &busy.cgroup_dir("memory").unwrap()).await;
        let memory = compared_by(observer, large.id(), &large.cgroup_dir("memory").unwrap()).await;
        assert!(memory.usage_bytes >= 24 * MIB && small.usage_bytes < 12 * MIB, "{who}: {small:?}");
        let list = observer.list();
        let shown = pod(&list, shared.uid());
        assert_eq!(shown.sandbox.as_ref().unwrap().pid, Some(shared.sandbox_pid()), "{who}");
    }
    shared.stop().await.unwrap();
    server.stop().await.unwrap();
}

pub(crate) async fn a_pod_of_users_of_its_own_has_the_same_figures(stage: Arc<Stage>) {
    let busy = ["load", "spin", "--duty", "30", "--cpu", "1"];
    let with_pause = made_up(&stage).users(FIRST).containers(2).command(&busy).start().unwrap();
    let without = made_up(&stage).users(FIRST + USERS).driver(Driver::Systemd).scope_prefix("crio-");
    let without = without.sandbox(false).command(&busy).start().unwrap();
    let daemon = quick(&stage, &[]).await;
    for (made, first, count) in [(&with_pause, FIRST, 321), (&without, FIRST + USERS, 123)] {
        for process in made.children().iter().chain(made.sandbox()) {
            assert_other_users(process.pid(), first);
        }
        assert_netns_is_theirs(made);
        send(made, &made.children()[0], count);
    }
    for observer in [&daemon, &stage.full, &stage.confined] {
        for (made, count) in [(&with_pause, 321), (&without, 123)] {
            let network = quiet(observer, made).await;
            assert!(network.total.tx_packets >= count, "{:?}", network.total);
            assert_eq!(network.source.as_deref(), Some("netns"));
            for child in made.children() {
                let folders = ["cpuacct", "pids"].map(|controller| child.cgroup_dir(controller).unwrap());
                let cores = own_cpu(observer, child.id(), &folders).await;
                assert!(cores > 0.0 && cores < 0.4, "{cores}");
                compared_by(observer, child.id(), &child.cgroup_dir("memory").unwrap()).await;
            }
            let list = observer.list();
            let pinned = pod(&list, made.uid()).sandbox.as_ref().unwrap().pid;
            assert_eq!(pinned, made.sandbox_pid().or(Some(made.children()[0].pid())));
        }
    }
    with_pause.stop().unwrap();
    without.stop().unwrap();
}

/// Cores the container uses, after its time and the number of its processes, which is one, were compared with
/// its files. `folders` are those of `cpuacct` and `pids`.
async fn own_cpu(observer: &Daemon, id: &str, folders: &[PathBuf; 2]) -> f64 {
    let [cpuacct, pids] = folders;
    for _ in 0..40 {
        let before = oracle::number(cpuacct.join("cpuacct.usage"));
        let found = container(&observer.next_list().await, id);
        let after = oracle::number(cpuacct.join("cpuacct.usage"));
        let cpu = found.cpu.unwrap();
        assert!((before..=after).contains(&cpu.usage_nanoseconds), "{before}, {cpu:?}, {after}");
        assert_eq!(oracle::number(pids.join("pids.current")), 1);
        assert_eq!(found.pids.unwrap().current, 1, "processes it only sees are not its own");
        // Sweeps that were held up stand too close together for a rate.
        if let Some(cores) = cpu.cores {
            return cores;
        }
    }
    panic!("{id} never has a rate");
}

/// What tells one namespace from another.
fn namespace(pid: u32, kind: &str) -> String {
    let link = fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
    link.to_str().unwrap().to_owned()
}

fn status(pid: u32, key: &str) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

/// The process's number in its own pid namespace.
fn number_inside(pid: u32) -> u32 {
    *status(pid, "NSpid:").last().unwrap()
}

/// The process is root where it lives, and somebody else here.
fn assert_other_users(pid: u32, first: u32) {
    assert_eq!(status(pid, "Uid:"), [first; 4]);
    assert_ne!(namespace(pid, "user"), namespace(std::process::id(), "user"));
    let map = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("uid_map")).unwrap();
    let map: Vec<u32> = map.split_whitespace().map(|number| number.parse().unwrap()).collect();
    assert_eq!(map, [0, first, USERS]);
}

/// Their root may make links there, which root of another user namespace might not.
fn assert_netns_is_theirs(made: &MadeUpPod) {
    let links = "ip link add mine type bridge && ip link delete mine && exec grep CapEff /proc/self/status";
    let said = made.output_in(&made.children()[0], &["/bin/sh", "-c", links]).unwrap();
    assert!(said.starts_with("CapEff:") && !said.contains("0000000000000000"), "{said}");
}
