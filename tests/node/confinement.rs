//! A daemon that is short of everything: descriptors, memory, sight, a place to write, time on a core. It
//! serves right figures, or says why there is none, and never ends.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use podvitals::model::document::Pod as Shown;
use podvitals::model::unavailable::Unavailable;
use podvitals_testbed::Pod;
use podvitals_testbed::Testbed;
use podvitals_testbed::made_up::MadeUpPod;
use tokio::time::sleep;

use crate::daemon::Daemon;
use crate::daemon::PODVITALS;
use crate::find::pod;
use crate::oracle;
use crate::runtime::two_sweeps_later;
use crate::stage::Stage;
use crate::stale::HangingProc;
use crate::stale::OF_THE_SAMPLER;
use crate::watcher::Watcher;
use crate::watcher::logged;
use crate::watcher::metric;

/// More pods than can be pinned with 64 descriptors: 24.
const CROWD: usize = 28;

pub(crate) async fn with_64_descriptors_every_figure_is_right_or_has_a_reason(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let crowd: Vec<_> = (0..CROWD).map(|number| made_up(testbed, number)).collect();
    let daemon = wrapped(testbed, "ulimit -n 64", &[]).await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    assert!(limits.lines().any(|line| line.starts_with("Max open files            64 ")), "{limits}");
    let uids: Vec<_> = crowd.iter().map(|pod| pod.uid().to_owned()).collect();
    let watcher = Watcher::of(&daemon, move |list| {
        for shown in uids.iter().filter_map(|uid| list.pods.iter().find(|pod| pod.runtime_uid == *uid)) {
            assert_figure_or_reason(shown);
        }
    });
    // Somebody asks, too.
    for _ in 0..5 {
        let list = two_sweeps_later(&daemon).await;
        for (number, made_up) in crowd.iter().enumerate() {
            let shown = pod(&list, made_up.uid());
            assert!(shown.memory.is_some() && shown.cpu.is_some(), "{:?}", shown.unavailable);
            if let Some(network) = &shown.network {
                assert_eq!(network.total.rx_dropped, Some(number as u64 + 1), "pod {number}");
            }
        }
    }
    watcher.end();
    let served = |list: &podvitals::model::document::PodList| {
        crowd.iter().filter(|made_up| pod(list, made_up.uid()).network.is_some()).count()
    };
    let list = daemon.list();
    println!("       {} of {CROWD} networks served", served(&list));
    // Never out of descriptors, since it stops before; and each pod it stopped at is named once.
    assert_eq!(metric(&daemon, "podvitals_errors_total{room=\"host\",kind=\"io\"}"), 0.0, "{}", daemon.log());
    for made_up in crowd.iter().filter(|made_up| pod(&list, made_up.uid()).network.is_none()) {
        let lines = daemon.log().lines().filter(|line| line.contains(made_up.uid())).count();
        assert_eq!(lines, 1, "{}:\n{}", made_up.uid(), daemon.log());
    }
    assert!(served(&list) >= 16, "most must fit");
    crowd.into_iter().for_each(|pod| pod.stop().unwrap());
}

fn made_up(testbed: &Testbed, number: usize) -> MadeUpPod {
    let uid = fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
    let builder = MadeUpPod::builder(&testbed.cgroup_prefix(), uid.trim()).bridge(&testbed.bridge());
    let pod = builder.start().unwrap();
    let sent = Command::new(pod.load())
        .args(["frames", pod.host_veth().unwrap(), &(number + 1).to_string()])
        .output();
    assert!(sent.unwrap().status.success());
    pod
}

/// What is absent has a reason.
fn assert_figure_or_reason(shown: &Shown) {
    for (name, there) in [
        ("cpu", shown.cpu.is_some()),
        ("memory", shown.memory.is_some()),
        ("network", shown.network.is_some()),
    ] {
        assert!(there || shown.unavailable.contains_key(name), "no {name}, and no reason: {shown:?}");
    }
}

pub(crate) async fn forty_eight_mebibytes_are_enough(stage: Arc<Stage>) {
    const LIMIT: u64 = 48 << 20;
    let testbed = &stage.testbed;
    let prefix = testbed.cgroup_prefix();
    let cgroup = Path::new("/sys/fs/cgroup/memory").join(prefix.trim_start_matches('/')).join("small");
    fs::create_dir_all(&cgroup).unwrap();
    fs::write(cgroup.join("memory.limit_in_bytes"), LIMIT.to_string()).unwrap();
    let watched = watched_pod(testbed, "small").await;
    // The shell has moved itself before it becomes podvitals: all its memory is charged there.
    let enter = format!("echo 0 >{}/cgroup.procs", cgroup.display());
    let daemon = wrapped(testbed, &enter, &["--interval", "100ms"]).await;
    assert_eq!(fs::read_to_string(cgroup.join("cgroup.procs")).unwrap().trim(), daemon.pid().to_string());
    let uid = watched.uid().to_owned();
    let watcher = Watcher::of(&daemon, move |list| assert_figure_or_reason(pod(list, &uid)));
    let readers: Vec<_> = ["/api/v1/pods", "/api/v1/map", "/metrics", "/api/v1/containers"]
        .map(|route| {
            let daemon = daemon.clone();
            std::thread::spawn(move || (0..50).for_each(|_| assert_eq!(daemon.get(route).status, 200)))
        })
        .into();
    sleep(Duration::from_secs(3)).await;
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    assert_right(&daemon, &watched).await;
    watcher.end();
    assert_eq!(oracle::keyed(cgroup.join("memory.oom_control"), "oom_kill"), 0);
    let peak = oracle::number(cgroup.join("memory.max_usage_in_bytes"));
    println!("       at most {} of {} KiB", peak >> 10, LIMIT >> 10);
    drop(daemon);
    watched.stop().await.unwrap();
    fs::remove_dir(cgroup).unwrap();
}

pub(crate) async fn hidepid_takes_the_network_with_its_reason_and_gives_it_back(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let watched = watched_pod(testbed, "hidden").await;
    let mut all = Vec::new();
    // The last one begins with processes hidden.
    for (mode, at_first) in [("1", "0"), ("2", "0"), ("4", "0"), ("2", "2")] {
        let proc = testbed.scratch().join(format!("proc-{mode}-{at_first}"));
        fs::create_dir_all(&proc).unwrap();
        // The mount is in a mount namespace of the daemon's own; the machine's `/proc` stays as it is.
        let mount = format!("mount -t proc -o hidepid={at_first} proc {}", proc.display());
        let command =
            format!("{mount}; exec setpriv --reuid 65532 --regid 65532 --clear-groups \"$0\" \"$@\"");
        let mut private = Command::new("unshare");
        private.args(["--mount", "sh", "-c", &command, PODVITALS]);
        let daemon = Daemon::spawn(private, |command| {
            command.args([
                "--source",
                "cgroup",
                "--interval",
                "200ms",
                "--proc-root",
                proc.to_str().unwrap(),
            ]);
        });
        daemon.until_ready().await;
        let daemon = Arc::new(daemon);
        let uid = watched.uid().to_owned();
        let watcher = Watcher::of(&daemon, move |list| assert_figure_or_reason(pod(list, &uid)));
        if at_first == "0" {
            assert_right(&daemon, &watched).await;
        }
        all.push((mode, proc, daemon, watcher));
    }
    all.iter().for_each(|(mode, proc, daemon, _)| remount(daemon, proc, mode));
    for (mode, _, daemon, _) in &all {
        let list = two_sweeps_later(daemon).await;
        assert!(pod(&list, watched.uid()).network.is_none(), "hidepid={mode}");
        let list = daemon.list_after(list.tick).await;
        let shown = pod(&list, watched.uid());
        assert_eq!(
            shown.unavailable.get("network"),
            Some(&Unavailable::Hidepid),
            "hidepid={mode}: {shown:?}"
        );
        assert!(shown.cpu.is_some() && shown.memory.is_some());
        assert_eq!(logged(daemon, "hidepid"), 1, "{}", daemon.log());
        // Its own user's processes are no list of the node's.
        let answer = daemon.get("/api/v2.0/ps/");
        assert_eq!(answer.status, 500, "{}", answer.body);
        assert!(answer.body.contains("mounted with hidepid"), "{}", answer.body);
    }
    all.iter().for_each(|(_, proc, daemon, _)| remount(daemon, proc, "0"));
    for (_, proc, daemon, watcher) in all {
        // It looks once a second.
        crate::runtime::until(&daemon, watched.uid(), |pod| pod.network.is_some()).await;
        assert_right(&daemon, &watched).await;
        assert_eq!(logged(&daemon, "can be seen again"), 1, "{}", daemon.log());
        watcher.end();
        drop(daemon);
        fs::remove_dir(&proc).unwrap();
    }
    watched.stop().await.unwrap();
}

/// Mounts the daemon's `/proc` with another mode while it runs.
fn remount(daemon: &Daemon, proc: &Path, mode: &str) {
    let (pid, options) = (daemon.pid().to_string(), format!("remount,hidepid={mode}"));
    let status = Command::new("nsenter")
        .args(["--target", &pid, "--mount", "mount", "-o", &options])
        .arg(proc)
        .status();
    assert!(status.unwrap().success());
}

pub(crate) async fn nothing_needs_to_be_written(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let watched = watched_pod(testbed, "read-only").await;
    // Every mount but the folder of its socket.
    let mut private = Command::new("unshare");
    private.args(["--mount", "--propagation", "private", "sh", "-c", READ_ONLY, PODVITALS]);
    let cri = format!("unix://{}", testbed.cri_socket().display());
    let daemon = Daemon::spawn(private, |command| {
        command.args(["--cri-endpoint", &cri]);
    });
    daemon.until_ready().await;
    let daemon = Arc::new(daemon);
    let touch =
        ["--target", &daemon.pid().to_string(), "--mount", "touch", "/root/written"].map(str::to_owned);
    assert!(!Command::new("nsenter").args(touch).output().unwrap().status.success(), "not read-only");
    let uid = watched.uid().to_owned();
    let watcher = Watcher::of(&daemon, move |list| assert_figure_or_reason(pod(list, &uid)));
    assert_right(&daemon, &watched).await;
    watcher.end();
    assert_eq!(logged(&daemon, "ERROR"), 0, "{}", daemon.log());
    watched.stop().await.unwrap();
}

/// The folder of the socket, the last argument but the runtime's, becomes a mount of its own first.
const READ_ONLY: &str = r#"
folder=$(dirname "${3#unix://}")
mount --bind "$folder" "$folder"
awk '{print $5}' /proc/self/mountinfo | while read -r point; do
    case "$point" in "$folder") ;; *) mount -o remount,bind,ro "$point" 2>/dev/null ;; esac
done
exec "$0" "$@"
"#;

pub(crate) async fn it_ends_when_told_in_mid_sweep_and_starts_again_after_any_end(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let watched = watched_pod(testbed, "ending").await;
    let proc = HangingProc::of(testbed, watched.sandbox_pid());
    let cri = format!("unix://{}", testbed.cri_socket().display());
    let mut daemon = Daemon::spawn(Command::new(PODVITALS), |command| {
        command.args(["--cri-endpoint", &cri, "--interval", "100ms", "--proc-root", proc.root()]);
    });
    for round in 0..4 {
        daemon.until_ready().await;
        let list = daemon.next_list().await;
        assert!(pod(&list, watched.uid()).network.is_some());
        proc.hang(OF_THE_SAMPLER);
        until_in_mid_sweep(daemon.pid()).await;
        let begun = tokio::time::Instant::now();
        if round % 2 == 0 {
            let status = daemon.end(rustix::process::Signal::TERM);
            assert_eq!(status.code(), Some(0), "{}", daemon.log());
            assert!(!daemon.socket().exists(), "the socket was left behind");
            assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        } else {
            let status = daemon.end(rustix::process::Signal::KILL);
            assert_eq!(status.code(), None, "{status}");
        }
        proc.answer(OF_THE_SAMPLER);
        let begun = tokio::time::Instant::now();
        daemon.again();
        daemon.until_ready().await;
        assert!(begun.elapsed() < Duration::from_secs(3), "ready only after {:?}", begun.elapsed());
    }
    watched.stop().await.unwrap();
}

/// Waits until one of its threads opens a pipe that has no writer.
async fn until_in_mid_sweep(pid: u32) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    let hangs = || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        tasks
            .into_iter()
            .any(|task| fs::read(task.path().join("wchan")).is_ok_and(|at| at == b"wait_for_partner"))
    };
    while !hangs() {
        assert!(tokio::time::Instant::now() < deadline, "no sweep met the pipe");
        sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) async fn pods_that_take_every_core_do_not_hold_it_up(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let cores = std::thread::available_parallelism().unwrap().get();
    let mut pods = Vec::new();
    for number in 0..2 * cores {
        let pod = testbed.pod(&format!("burner-{number}")).run().await.unwrap();
        pod.container("app").args(["spin"]).run().await.unwrap();
        pods.push(pod);
    }
    let daemon = Arc::new(Daemon::start(testbed, &[]).await);
    let missed = metric(&daemon, "podvitals_missed_ticks_total");
    let uids: Vec<_> = pods.iter().map(|pod| pod.uid().to_owned()).collect();
    let watcher =
        Watcher::of(&daemon, move |list| uids.iter().for_each(|uid| assert_figure_or_reason(pod(list, uid))));
    let idle = idle_seconds();
    sleep(Duration::from_secs(6)).await;
    let idle = idle_seconds() - idle;
    let list = daemon.next_list().await;
    let burnt: f64 =
        pods.iter().map(|made| pod(&list, made.uid()).cpu.as_ref().unwrap().cores.unwrap()).sum();
    let seen = watcher.end();
    println!("       {burnt:.2} cores burnt, {idle:.2} s idle, no sweep older than {:?}", seen.oldest);
    // Others may burn, too.
    assert!(burnt > 0.0 && idle < 0.05 * 6.0 * cores as f64, "{cores} cores were idle for {idle} s");
    assert!(metric(&daemon, "podvitals_missed_ticks_total") - missed <= 1.0, "sweeps were missed");
    for pod in pods {
        pod.stop().await.unwrap();
    }
}

/// Since boot, all cores together.
fn idle_seconds() -> f64 {
    let text = fs::read_to_string("/proc/uptime").unwrap();
    text.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A pod with a network figure that nobody else has.
async fn watched_pod(testbed: &Testbed, name: &str) -> Pod {
    let pod = testbed.pod(&format!("watched-{name}")).run().await.unwrap();
    pod.container("app").args(["idle"]).run().await.unwrap();
    pod.force_rx_drops(1_234).await.unwrap();
    pod
}

/// Its figures are right in a sweep that begins now.
async fn assert_right(daemon: &Daemon, watched: &Pod) {
    let list = two_sweeps_later(daemon).await;
    let shown = pod(&list, watched.uid());
    let network = shown.network.as_ref().unwrap_or_else(|| panic!("{:?}", shown.unavailable));
    let oracle = oracle::net_dev(watched.sandbox_pid(), "eth0");
    assert_eq!(network.total.rx_dropped, Some(oracle[3]));
    assert_eq!(oracle[3], 1_234);
    let usage = oracle::number(watched.cgroup_dir("memory").unwrap().join("memory.usage_in_bytes"));
    assert!(shown.memory.as_ref().unwrap().usage_bytes.abs_diff(usage) < 4 << 20);
    assert!(shown.cpu.as_ref().unwrap().usage_nanoseconds > 0);
}

/// A daemon that a shell becomes after it did `first`.
async fn wrapped(testbed: &Testbed, first: &str, flags: &[&str]) -> Arc<Daemon> {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{first} && exec \"$0\" \"$@\""), PODVITALS]);
    let cri = format!("unix://{}", testbed.cri_socket().display());
    let daemon = Daemon::spawn(shell, |command| {
        command.args(["--cri-endpoint", &cri]).args(flags);
    });
    daemon.until_ready().await;
    Arc::new(daemon)
}
