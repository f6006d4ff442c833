//! Systemd in a container: its processes are in cgroups of its own below the container's, and none is left
//! in that itself. There is no pause process either, so a process can only be found down there.

use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;

use podvitals_testbed::made_up::Driver;

use crate::find::container;
use crate::find::pod;
use crate::network::while_quiet;
use crate::oracle;
use crate::stage::Stage;

const HIERARCHIES: [&str; 4] = ["cpuacct", "memory", "pids", "blkio"];

pub(crate) async fn systemd_in_a_container_is_its_own(stage: Arc<Stage>) {
    let builder = stage.pod(Driver::Systemd).scope_prefix("crio-").sandbox(false);
    let made = builder.command(&["load", "spin", "--duty", "20", "--cpu", "1"]).start().unwrap();
    let child = made.children()[0].clone();
    let mut folders: Vec<PathBuf> =
        HIERARCHIES.iter().map(|controller| child.cgroup_dir(controller).unwrap()).collect();
    folders.sort();
    folders.dedup();
    let mut service = Vec::new();
    for folder in &folders {
        let (init, slice) = (folder.join("init.scope"), folder.join("system.slice"));
        std::fs::create_dir(&init).unwrap();
        std::fs::create_dir_all(slice.join("app.service")).unwrap();
        std::fs::write(init.join("cgroup.procs"), child.pid().to_string()).unwrap();
        if stage.kind.is_v2() {
            for parent in [folder, &slice] {
                std::fs::write(parent.join("cgroup.subtree_control"), "+cpu +memory +pids +io").unwrap();
            }
        }
        service.push(slice.join("app.service").display().to_string());
    }
    let mut app = Command::new(made.load())
        .args(["enter", "--cgroup", &service.join(":"), "--netns", &child.pid().to_string(), "--"])
        .args(["load", "spin", "--duty", "20", "--cpu", "0"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let gateway = made.gateway().unwrap().to_string();
    let mut sender = Command::new(made.load());
    sender.args(["enter", "--netns", &child.pid().to_string(), "--", "load", "udp", &gateway, "9"]);
    assert!(
        sender.args(["--count", "400", "--size", "100"]).stdout(Stdio::null()).status().unwrap().success()
    );
    stage.settled(&made).await;
    for folder in &folders {
        let left = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap();
        assert!(left.is_empty(), "{} has {left} itself", folder.display());
    }

    let network = while_quiet(&stage, &made).await;
    assert!(network.total.tx_packets >= 400, "{:?}", network.total);
    let of = |controller| child.cgroup_dir(controller).unwrap();
    let burnt = || match stage.kind.is_v2() {
        true => 1_000 * oracle::keyed(of("cpu").join("cpu.stat"), "usage_usec"),
        false => oracle::number(of("cpuacct").join("cpuacct.usage")),
    };
    let before = burnt();
    let list = stage.daemon.next_list().await;
    let after = burnt();
    let shown = pod(&list, made.uid());
    let ids: Vec<_> = shown.containers.iter().map(|one| one.id.as_deref().unwrap()).collect();
    assert_eq!(ids, [child.id()], "what systemd makes in there is no container");
    let pinned = shown.sandbox.as_ref().and_then(|sandbox| sandbox.pid);
    assert!([child.pid(), app.id()].map(Some).contains(&pinned), "{pinned:?}");
    let found = container(&list, child.id());
    let cpu = found.cpu.unwrap();
    assert!((before..=after).contains(&cpu.usage_nanoseconds), "{before}, {cpu:?}, {after}");
    assert!(cpu.usage_nanoseconds >= 50_000_000, "{cpu:?}: both have burnt since they began");
    assert_eq!(oracle::number(of("pids").join("pids.current")), 2);
    assert_eq!(found.pids.unwrap().current, 2);
    app.kill().unwrap();
    app.wait().unwrap();
}
