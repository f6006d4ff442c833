//! Pods that are not as most are. No runtime makes them on demand, so they are made up: cgroups, a netns
//! and processes as such a pod would have them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use podvitals::model::document::Map;
use podvitals::model::document::MapPod;
use podvitals::model::document::Network;
use podvitals::model::document::Pod;
use podvitals::model::document::PodHistory;
use podvitals::model::document::PodList;
use podvitals::model::target::Link;
use podvitals::model::unavailable::Unavailable;
use podvitals_testbed::made_up::Driver;
use podvitals_testbed::made_up::MadeUpChild;
use podvitals_testbed::made_up::MadeUpPod;
use podvitals_testbed::made_up::MadeUpPodBuilder;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::daemon::Daemon;
use crate::daemon::PODVITALS;
use crate::daemon::has_pod;
use crate::find::container;
use crate::find::pod;
use crate::oracle;
use crate::stage::Stage;

const MIB: u64 = 1 << 20;

/// Waits for a file named after its own pid, then goes into a netns of its own, as the same process.
const STRAY: &str = "while [ ! -e \"$0/$$\" ]; do sleep 0.05; done; exec unshare -n sleep 600";

/// A pod of a UID nobody else has.
pub(crate) fn made_up(stage: &Stage) -> MadeUpPodBuilder {
    MadeUpPod::builder(&stage.testbed.cgroup_prefix(), &random_uid())
}

fn random_uid() -> String {
    fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap().trim().to_owned()
}

/// A container's id that nobody else has.
fn random_id() -> String {
    (random_uid() + &random_uid()).replace('-', "")
}

/// A daemon without names that sweeps ten times a second.
pub(crate) async fn quick(stage: &Stage, flags: &[&str]) -> Daemon {
    let flags: Vec<_> =
        ["--source", "cgroup", "--interval", "100ms"].into_iter().chain(flags.to_vec()).collect();
    Daemon::start(&stage.testbed, &flags).await
}

/// The pod's network in a sweep during which nothing moved, equal to the host's end of its link.
pub(crate) async fn quiet(daemon: &Daemon, of: &MadeUpPod) -> Network {
    let link = of.host_veth().unwrap();
    for _ in 0..40 {
        let before = oracle::host_link(link);
        let list = daemon.next_list().await;
        let after = oracle::host_link(link);
        if before != after {
            continue;
        }
        let pod = pod(&list, of.uid());
        let network = pod.network.clone().unwrap_or_else(|| panic!("no network: {:?}", pod.unavailable));
        let total = &network.total;
        let ours = [total.tx_bytes, total.tx_packets, total.rx_bytes, total.rx_packets];
        assert_eq!(ours, before, "tx and rx of the pod against rx and tx of {link}");
        return network;
    }
    panic!("{link} was never quiet for a whole sweep");
}

/// Sends datagrams to the pod's own gateway.
pub(crate) fn send(pod: &MadeUpPod, from: &MadeUpChild, count: u64) {
    let (gateway, count) = (pod.gateway().unwrap().to_string(), count.to_string());
    pod.output_in(from, &["load", "udp", &gateway, "9", "--count", &count, "--size", "100"]).unwrap();
}

/// Hands every sweep of some time to `check`.
async fn watch(daemon: &Daemon, time: Duration, mut check: impl FnMut(&PodList)) {
    let until = Instant::now() + time;
    let mut tick = daemon.list().tick;
    while Instant::now() < until {
        let list = daemon.list_after(tick).await;
        tick = list.tick;
        check(&list);
    }
}

/// The first sweep in which the pod is as wanted.
async fn until(daemon: &Daemon, uid: &str, what: &str, wanted: impl Fn(&Pod) -> bool) -> Pod {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let list = daemon.next_list().await;
        let now = list.pods.iter().find(|pod| pod.runtime_uid == uid);
        if let Some(pod) = now.filter(|pod| wanted(pod)) {
            return pod.clone();
        }
        assert!(Instant::now() < deadline, "never {what}: {now:#?}\n{}", daemon.log());
    }
}

/// Bytes the pod had sent by the last sweep that read its network.
fn last_network(daemon: &Daemon, uid: &str) -> u64 {
    let history = daemon.get(&format!("/api/v1/history/{uid}")).body;
    let history: PodHistory = serde_json::from_str(&history).unwrap();
    let last = history.samples.iter().rev().find_map(|sample| sample.network.as_ref());
    last.unwrap_or_else(|| panic!("no network in {history:?}")).total.tx_bytes
}

pub(crate) fn mapped(daemon: &Daemon, uid: &str) -> Option<MapPod> {
    let map: Map = serde_json::from_str(&daemon.get("/api/v1/map").body).unwrap();
    map.pods.into_iter().find(|pod| pod.runtime_uid == uid)
}

fn pinned(pod: &Pod) -> Option<u32> {
    pod.sandbox.as_ref().and_then(|sandbox| sandbox.pid)
}

fn kill(pid: u32) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

/// The directories of a cgroup, one for each hierarchy that has it.
fn directories(cgroup: &str) -> Vec<PathBuf> {
    let mounts = [
        "memory", "cpu", "cpuacct", "pids", "blkio", "freezer", "cpuset", "devices", "systemd", "unified", "",
    ];
    let below = |mount: &str| Path::new("/sys/fs/cgroup").join(mount).join(cgroup.trim_start_matches('/'));
    mounts.map(below).into_iter().filter(|directory| directory.is_dir()).collect()
}

/// Makes a cgroup below one that is there, in every hierarchy but cpuset, where one without CPUs lets
/// nobody in. It goes with its pod.
fn make_below(cgroup: &str, name: &str) -> Vec<PathBuf> {
    let hierarchies = directories(cgroup).into_iter().filter(|at| !at.starts_with("/sys/fs/cgroup/cpuset"));
    hierarchies
        .map(|directory| directory.join(name))
        .inspect(|directory| fs::create_dir_all(directory).unwrap())
        .collect()
}

/// Starts a program in the child and waits until it is there: only then it can be moved elsewhere.
fn run_in(pod: &MadeUpPod, child: &MadeUpChild, command: &[&str]) -> Child {
    let process = pod.run_in(child, command).unwrap();
    let on_its_way = || {
        let words = fs::read(format!("/proc/{}/cmdline", process.id())).unwrap();
        words.split(|byte| *byte == 0).nth(1).is_none_or(|word| word == b"enter")
    };
    while on_its_way() {
        std::thread::sleep(Duration::from_millis(2));
    }
    process
}

/// Sends datagrams to the pod's gateway from outside its cgroups, through the netns of a process.
fn send_beside(pod: &MadeUpPod, process: u32, count: u64) {
    let netns = format!("--net=/proc/{process}/ns/net");
    let (gateway, count) = (pod.gateway().unwrap().to_string(), count.to_string());
    let mut command = Command::new("nsenter");
    command.arg(netns).arg(pod.load()).args(["udp", &gateway, "9", "--count", &count, "--size", "100"]);
    assert!(command.stdout(Stdio::null()).status().unwrap().success());
}

/// Moves a process.
fn put(pid: u32, cgroup: &[PathBuf]) {
    for directory in cgroup {
        let procs = directory.join("cgroup.procs");
        fs::write(&procs, pid.to_string()).unwrap_or_else(|error| panic!("{}: {error}", procs.display()));
    }
}

pub(crate) async fn without_a_pause_whoever_is_in_the_pod_s_netns_will_do(stage: Arc<Stage>) {
    crate::odd_networks::begin_hidden(&stage).await;
    let signals = stage.testbed.scratch().join("odd-signals");
    fs::create_dir_all(&signals).unwrap();
    let stray = ["/bin/sh", "-c", STRAY, signals.to_str().unwrap()];
    let no_pause = || made_up(&stage).driver(Driver::Systemd).scope_prefix("crio-").sandbox(false);
    let mut crio = no_pause().containers(2).command(&stray).start().unwrap();
    // One whose first process lives in a user namespace of its own.
    let remapped = no_pause().command(&["unshare", "-r", "sleep", "600"]).start().unwrap();
    let first = crio.children()[0].clone();
    let monitor = make_below(crio.cgroup(), &format!("crio-conmon-{}.scope", first.id()));
    let mut conmon = Command::new("sleep").arg("600").spawn().unwrap();
    put(conmon.id(), &monitor);

    let daemon = quick(&stage, &[]).await;
    send(&crio, &first, 500);
    send(&remapped, &remapped.children()[0], 300);
    for observer in [&daemon, &stage.confined] {
        let network = quiet(observer, &crio).await;
        assert!(network.total.tx_packets >= 500, "{:?}", network.total);
        assert!(quiet(observer, &remapped).await.total.tx_packets >= 300);
        let list = observer.list();
        let shown = pod(&list, crio.uid());
        let mut ids: Vec<_> = shown.containers.iter().map(|it| it.id.clone().unwrap()).collect();
        let mut expected: Vec<_> = crio.children().iter().map(|child| child.id().to_owned()).collect();
        ids.sort();
        expected.sort();
        assert_eq!(ids, expected, "conmon's scope carries a container's id and is none");
        assert!(shown.sandbox.as_ref().unwrap().id.is_none());
    }

    // The very process we look through goes astray; the other container's is still at home.
    let before = quiet(&daemon, &crio).await;
    let strayed = pinned(pod(&daemon.list(), crio.uid())).unwrap();
    let lost = crio.children().iter().find(|child| child.pid() == strayed).unwrap().clone();
    let kept = crio.children().iter().find(|child| child.pid() != strayed).unwrap().clone();
    fs::write(signals.join(strayed.to_string()), "").unwrap();
    watch(&daemon, Duration::from_millis(1_500), |list| {
        if let Some(network) = &pod(list, crio.uid()).network {
            assert_eq!(network.total, network.raw.clone().unwrap(), "figures of another netns");
            assert!(network.total.tx_bytes >= before.total.tx_bytes);
        }
    })
    .await;
    let after = quiet(&daemon, &crio).await;
    assert_eq!(after.since_unix_nano, before.since_unix_nano);
    assert_eq!(pinned(pod(&daemon.list(), crio.uid())), Some(kept.pid()));

    // With that one gone nobody is left at home: no figure, and the reason.
    crio.remove_container(kept.id()).unwrap();
    let absent = until(&daemon, crio.uid(), "without network", |pod| pod.network.is_none()).await;
    // Up to its end it may have said something to its neighbours.
    let last = last_network(&daemon, crio.uid());
    assert!(last >= after.total.tx_bytes);
    assert_eq!(absent.unavailable.get("network"), Some(&Unavailable::NoProcess));
    watch(&daemon, Duration::from_millis(1_000), |list| {
        assert_eq!(pod(list, crio.uid()).network, None, "figures of another netns");
    })
    .await;
    let chain = mapped(&daemon, crio.uid()).unwrap();
    let process = chain.evidence.iter().find(|one| one.link == Some(Link::Process)).unwrap();
    assert!(process.found.is_none() && process.by.contains("not in the pod's"), "{process:?}");

    // What is left behind of it is no pod.
    crio.remove_container(lost.id()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while has_pod(&daemon.next_list().await, crio.uid()) || mapped(&daemon, crio.uid()).is_some() {
        assert!(Instant::now() < deadline, "it is taken for a pod\n{}", daemon.log());
    }
    assert!(directories(crio.cgroup()).iter().all(|left| left.is_dir()));
    assert!(!daemon.get("/api/v1/containers").body.contains(lost.id()));

    // Made anew, in a netns of its own: what was counted before is kept.
    let anew = crio.add_container().unwrap();
    let shown = until(&daemon, crio.uid(), "back", |pod| pod.network.is_some()).await;
    let network = shown.network.unwrap();
    assert_eq!(shown.sandbox.unwrap().pid, Some(anew.pid()));
    assert_eq!(network.total.tx_bytes, last + network.raw.unwrap().tx_bytes);
    assert_eq!(network.since_unix_nano, before.since_unix_nano);
    conmon.kill().unwrap();
    conmon.wait().unwrap();
    crio.stop().unwrap();
    remapped.stop().unwrap();
}

pub(crate) async fn a_pause_that_was_killed_is_done_without(stage: Arc<Stage>) {
    let signals = stage.testbed.scratch().join("odd-signals");
    fs::create_dir_all(&signals).unwrap();
    let stray = ["/bin/sh", "-c", STRAY, signals.to_str().unwrap()];
    let made = made_up(&stage).containers(2).command(&stray).start().unwrap();
    let real = stage.testbed.pod("odd-pause").run().await.unwrap();
    real.container("app").args(["idle"]).run().await.unwrap();
    let daemon = quick(&stage, &[]).await;
    let [astray, home] = made.children() else { panic!("two containers") };
    send(&made, home, 400);
    let before = quiet(&daemon, &made).await;
    assert!(before.total.tx_packets >= 400);
    fs::write(signals.join(astray.pid().to_string()), "").unwrap();
    let own = netns(home.pid());
    while netns(astray.pid()) == own {
        sleep(Duration::from_millis(5)).await;
    }

    // Nobody waits for it, so it stays as a zombie, in its cgroup.
    kill(made.sandbox_pid().unwrap());
    kill(real.sandbox_pid());
    watch(&daemon, Duration::from_millis(1_500), |list| {
        if let Some(network) = &pod(list, made.uid()).network {
            assert_eq!(network.total, network.raw.clone().unwrap(), "figures of another netns");
        }
    })
    .await;
    send_beside(&made, home.pid(), 400);
    let after = quiet(&daemon, &made).await;
    assert_eq!(pinned(pod(&daemon.list(), made.uid())), Some(home.pid()));
    assert!(after.total.tx_packets >= before.total.tx_packets + 400);
    assert_eq!(after.since_unix_nano, before.since_unix_nano);

    // The runtime still answers, with pid 0, and says that the sandbox is not ready.
    let dead = real.sandbox_pid();
    until(&stage.full, real.uid(), "read through the app", |pod| {
        pod.network.is_some() && pinned(pod).is_some_and(|pid| pid != dead)
    })
    .await;
    crate::network::while_quiet(&stage.full, &real).await;
    real.stop().await.unwrap();
    made.stop().unwrap();
}

pub(crate) async fn cgroups_and_a_kubelet_inside_a_container_belong_to_it(stage: Arc<Stage>) {
    let scratch = stage.testbed.scratch();
    let outer = made_up(&stage).start().unwrap();
    let app = outer.children()[0].clone();
    let below = |name: &str| make_below(app.cgroup(), name);
    let (inner_uid, inner_id, copy) = (random_uid(), random_id(), random_id());
    put(app.pid(), &below("init.scope"));
    let mut spinning = run_in(&outer, &app, &["load", "spin", "--duty", "50"]);
    put(spinning.id(), &below("system.slice/app.service"));
    let mut idle = run_in(&outer, &app, &["load", "idle"]);
    put(idle.id(), &below(&format!("kubelet/kubepods/burstable/pod{inner_uid}/{inner_id}")));
    let file = scratch.join("odd-file");
    let write = format!("sleep 0.3; exec {} write-file {} 12MiB", outer.load().display(), file.display());
    let writer = run_in(&outer, &app, &["/bin/sh", "-c", &write]);
    put(writer.id(), &below(&format!("cri-containerd-{copy}.scope")));
    assert!(writer.wait_with_output().unwrap().status.success());
    assert!(fs::read_to_string(app.cgroup_dir("memory").unwrap().join("cgroup.procs")).unwrap().is_empty());

    let daemon = quick(&stage, &[]).await;
    send(&outer, &app, 200);
    // A daemon whose own cgroup namespace makes `/proc/<pid>/cgroup` begin elsewhere sees the same.
    let mut namespaced = Command::new("unshare");
    namespaced.args(["-C", PODVITALS]);
    let namespaced = Daemon::spawn(namespaced, |command| {
        command.args(["--source", "cgroup", "--interval", "100ms"]);
    });
    namespaced.until_ready().await;
    for observer in [&daemon, &namespaced, &stage.confined] {
        assert!(quiet(observer, &outer).await.total.tx_packets >= 200);
        let usage = app.cgroup_dir("cpuacct").unwrap().join("cpuacct.usage");
        let before = oracle::number(&usage);
        let list = observer.next_list().await;
        let after = oracle::number(&usage);
        let shown = pod(&list, outer.uid());
        assert_eq!(pinned(shown), outer.sandbox_pid());
        let mut ids: Vec<_> = shown.containers.iter().map(|it| it.id.clone().unwrap()).collect();
        let mut expected = vec![outer.sandbox().unwrap().id().to_owned(), app.id().to_owned()];
        ids.sort();
        expected.sort();
        assert_eq!(ids, expected, "the pod's own two, and nothing a container called like one");
        assert!(!has_pod(&list, &inner_uid), "a pod inside a pod is not the node's");

        let container = container(&list, app.id());
        let cpu = container.cpu.unwrap();
        assert!((before..=after).contains(&cpu.usage_nanoseconds), "descendants are in it");
        assert!(cpu.usage_nanoseconds >= 50_000_000, "{cpu:?}: half a core for a while");
        let memory = container.memory.unwrap();
        let inactive = memory.inactive_file_bytes.unwrap();
        assert!(inactive >= 8 * MIB, "{inactive}: what a descendant wrote to a file once");
        assert_eq!(memory.working_set_bytes.unwrap(), memory.usage_bytes - inactive);
    }
    for process in [&mut spinning, &mut idle] {
        process.kill().unwrap();
        process.wait().unwrap();
    }
    outer.stop().unwrap();
    fs::remove_file(file).unwrap();
}

pub(crate) async fn a_process_that_was_moved_takes_no_figure_along(stage: Arc<Stage>) {
    let home = made_up(&stage).start().unwrap();
    let other = made_up(&stage).sandbox(false).start().unwrap();
    let daemon = quick(&stage, &[]).await;
    let (from, to) = (home.children()[0].clone(), other.children()[0].clone());
    send(&home, &from, 600);
    send(&other, &to, 50);
    let mut memory = run_in(&home, &from, &["load", "memory", "--anon", "24MiB"]);
    let charged = |list: &PodList, of: &MadeUpChild| container(list, of.id()).memory.unwrap().usage_bytes;
    until(&daemon, home.uid(), "charged", |pod| {
        pod.memory.as_ref().is_some_and(|memory| memory.usage_bytes >= 24 * MIB)
    })
    .await;
    quiet(&daemon, &other).await;
    put(memory.id(), &directories(to.cgroup()));
    let list = daemon.next_list().await;
    assert!(charged(&list, &from) >= 24 * MIB, "who touched the memory first pays for it");
    assert!(charged(&list, &to) < 12 * MIB);
    assert_eq!(container(&list, to.id()).pids.unwrap().current, 2);

    // Now the only process of the one pod is in the other's netns.
    kill(to.pid());
    until(&daemon, other.uid(), "without network", |pod| pod.network.is_none()).await;
    let ignorant = quick(&stage, &[]).await;
    for observer in [&daemon, &ignorant] {
        watch(observer, Duration::from_millis(700), |list| {
            assert_eq!(pod(list, other.uid()).network, None, "the traffic of {}", home.uid());
        })
        .await;
    }
    assert!(quiet(&daemon, &home).await.total.tx_packets >= 600);
    memory.kill().unwrap();
    memory.wait().unwrap();
    other.stop().unwrap();
    home.stop().unwrap();
}

pub(crate) async fn a_process_moved_in_one_hierarchy_alone_is_nobody_s(stage: Arc<Stage>) {
    let home = made_up(&stage).start().unwrap();
    let other = made_up(&stage).sandbox(false).start().unwrap();
    let (from, to) = (home.children()[0].clone(), other.children()[0].clone());
    send(&home, &from, 600);
    // The memory of the one pod, whatever else of the other: nobody but a person does that.
    let mut guest = run_in(&home, &from, &["load", "idle"]);
    put(guest.id(), &[to.cgroup_dir("memory").unwrap()]);
    kill(to.pid());
    // A daemon that has known neither has no reason to hold one of them for the older.
    let daemon = quick(&stage, &[]).await;
    for observer in [&daemon, &stage.confined] {
        until(observer, other.uid(), "looked into", |pod| {
            pod.unavailable.get("network") == Some(&Unavailable::NoProcess)
        })
        .await;
        watch(observer, Duration::from_millis(700), |list| {
            let guest_s = pod(list, other.uid());
            assert_eq!((guest_s.network.as_ref(), pinned(guest_s)), (None, None));
            assert!(pod(list, home.uid()).network.is_some(), "its own pod loses nothing by it");
        })
        .await;
        assert!(quiet(observer, &home).await.total.tx_packets >= 600);
    }
    let chain = mapped(&daemon, other.uid()).unwrap();
    let process = chain.evidence.iter().find(|one| one.link == Some(Link::Process)).unwrap();
    assert!(process.by.contains("the cgroups of two pods or containers at once"), "{process:?}");
    guest.kill().unwrap();
    guest.wait().unwrap();
    other.stop().unwrap();
    home.stop().unwrap();
}

pub(crate) async fn a_frozen_pod_is_idle_and_a_threaded_one_is_found(stage: Arc<Stage>) {
    let frozen = made_up(&stage).command(&["load", "spin"]).start().unwrap();
    let threaded = made_up(&stage).sandbox(false).start().unwrap();
    let unified = Path::new("/sys/fs/cgroup/unified");
    let v2 = |child: &MadeUpChild| unified.join(child.cgroup().trim_start_matches('/'));
    let app = &threaded.children()[0];
    // Only an empty cgroup can be made so, and only below one that hands down no domain controller.
    put(app.pid(), &[unified.to_owned()]);
    let control = v2(app).parent().unwrap().join("cgroup.subtree_control");
    for controller in fs::read_to_string(&control).unwrap().split_whitespace() {
        fs::write(&control, format!("-{controller}")).unwrap();
    }
    fs::write(v2(app).join("cgroup.type"), "threaded").unwrap();
    put(app.pid(), &[v2(app)]);
    let refused = fs::read(v2(app).join("cgroup.procs")).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(95), "EOPNOTSUPP");

    // The v2 side alone stands for a node without v1.
    let by_v2 = quick(&stage, &["--cgroup-root", unified.to_str().unwrap()]).await;
    send(&threaded, app, 100);
    assert!(quiet(&by_v2, &threaded).await.total.tx_packets >= 100);
    assert_eq!(pinned(pod(&by_v2.list(), threaded.uid())), Some(app.pid()));

    let by_v1 = quick(&stage, &[]).await;
    let spinning = frozen.children()[0].clone();
    let busy = |pod: &Pod| pod.cpu.as_ref().is_some_and(|cpu| cpu.cores.is_some_and(|cores| cores > 0.2));
    fs::write(v2(&spinning).join("cgroup.freeze"), "1").unwrap();
    while oracle::keyed(v2(&spinning).join("cgroup.events"), "frozen") == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    for observer in [&by_v1, &by_v2] {
        observer.next_list().await;
        let mut cores = Vec::new();
        watch(observer, Duration::from_secs(1), |list| {
            let pod = pod(list, frozen.uid());
            // Sweeps that were held up stand too close together for a rate.
            cores.extend(container(list, spinning.id()).cpu.unwrap().cores);
            assert!(!pod.unavailable.contains_key("cpu") && pod.age_seconds < 2.0, "{pod:?}");
            assert!(pod.network.is_some());
        })
        .await;
        assert!(cores.len() >= 3 && cores.iter().all(|cores| *cores == 0.0), "nothing ran: {cores:?}");
    }
    fs::write(v2(&spinning).join("cgroup.freeze"), "0").unwrap();
    for observer in [&by_v1, &by_v2] {
        until(observer, frozen.uid(), "busy again", busy).await;
    }
    threaded.stop().unwrap();
    frozen.stop().unwrap();
}

/// What tells one netns from another while both live.
pub(crate) fn netns(pid: u32) -> u64 {
    fs::metadata(format!("/proc/{pid}/net/dev")).unwrap().ino()
}
