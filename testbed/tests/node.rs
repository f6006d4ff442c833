//! The testbed keeps its own promises, on real pods: what it makes counts exactly what it says, and
//! nothing of it is left behind, however its owner ends.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use podvitals_testbed::{LinkCounters, Pod, Qos, Testbed};
use tokio::sync::RwLock;
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_secs(20);
const MEGABYTE: u64 = 1_000_000;

/// Read by tests that may run beside others, written by the one that measures time.
static MACHINE: RwLock<()> = RwLock::const_new(());

fn as_seen_by_the_other_end(counters: LinkCounters) -> [u64; 4] {
    [counters.tx_bytes, counters.tx_packets, counters.rx_bytes, counters.rx_packets]
}

fn bytes_and_packets(counters: LinkCounters) -> [u64; 4] {
    [counters.rx_bytes, counters.rx_packets, counters.tx_bytes, counters.tx_packets]
}

/// Both ends, read while nothing moves: an idle pod still says hello (neighbour discovery) now and then.
async fn counters_at_rest(pod: &Pod) -> (LinkCounters, LinkCounters) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let before = pod.pod_counters().unwrap();
        let host = pod.host_counters().unwrap();
        if before == pod.pod_counters().unwrap()
            && bytes_and_packets(before) == as_seen_by_the_other_end(host)
        {
            return (before, host);
        }
        assert!(Instant::now() < deadline, "the ends differ: pod {before:?}, host {host:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// What of a testbed of that name this machine shows.
fn traces_of(name: &str) -> BTreeSet<String> {
    let folder = format!("/var/lib/podvitals-testbed/{name}");
    let mut traces = BTreeSet::new();
    if Path::new(&folder).exists() {
        traces.insert(folder.clone());
    }
    for line in fs::read_to_string("/proc/self/mountinfo").unwrap().lines() {
        if line.contains(&format!("{folder}/")) {
            traces.insert(format!("mount {line}"));
        }
    }
    for link in fs::read_dir("/sys/class/net").unwrap().flatten() {
        let alias = fs::read_to_string(link.path().join("ifalias")).unwrap_or_default();
        if alias.trim_end() == format!("podvitals-testbed-{name}") {
            traces.insert(format!("link {}", link.path().display()));
        }
    }
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let cgroup = hierarchy.path().join(format!("podvitals-{name}"));
        if cgroup.exists() {
            traces.insert(cgroup.display().to_string());
        }
    }
    for device in fs::read_dir("/sys/block").unwrap().flatten() {
        let backing = fs::read_to_string(device.path().join("loop/backing_file")).unwrap_or_default();
        if backing.starts_with(&format!("{folder}/")) {
            traces.insert(format!("loop device {}", device.path().display()));
        }
    }
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let cgroup = fs::read_to_string(process.path().join("cgroup")).unwrap_or_default();
        let arguments = fs::read(process.path().join("cmdline")).unwrap_or_default();
        if cgroup.contains(&format!("/podvitals-{name}/"))
            || String::from_utf8_lossy(&arguments).contains(&folder)
        {
            traces.insert(format!("process {}", process.path().display()));
        }
    }
    traces
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_where_the_kubelet_would_put_it() {
    let _machine = MACHINE.read().await;
    let testbed = Testbed::start("place").await.unwrap();
    let guaranteed =
        testbed.pod("g").guaranteed().uid("0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f").run().await.unwrap();
    assert_eq!(guaranteed.cgroup(), "/podvitals-place/kubepods/pod0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f");
    let pod = testbed.pod("web").namespace("shop").qos(Qos::Burstable).run().await.unwrap();
    let app = pod.container("app").cpu_limit_millis(250).memory_limit(64 << 20).run().await.unwrap();
    let expected = format!("/podvitals-place/kubepods/burstable/pod{}", pod.uid());
    let sandbox_cgroups = fs::read_to_string(format!("/proc/{}/cgroup", pod.sandbox_pid())).unwrap();
    assert!(
        sandbox_cgroups.contains(&format!(":memory:{expected}/{}", pod.sandbox_id())),
        "{sandbox_cgroups}"
    );
    let app_cgroups = fs::read_to_string(format!("/proc/{}/cgroup", app.pid())).unwrap();
    assert!(app_cgroups.contains(&format!(":memory:{expected}/{}", app.id())), "{app_cgroups}");
    let limit = fs::read_to_string(app.cgroup_dir("memory").unwrap().join("memory.limit_in_bytes")).unwrap();
    assert_eq!(limit.trim(), "67108864");
    let quota = fs::read_to_string(app.cgroup_dir("cpu").unwrap().join("cpu.cfs_quota_us")).unwrap();
    assert_eq!(quota.trim(), "25000");
    pod.stop().await.unwrap();
    assert!(!pod.cgroup_dir("memory").unwrap().exists());
    testbed.stop().await.unwrap();
    assert_eq!(traces_of("place"), BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_of_the_link_count_the_same_and_drops_are_exact() {
    let _machine = MACHINE.read().await;
    let testbed = Testbed::start("link").await.unwrap();
    let server = testbed.pod("server").run().await.unwrap();
    let client = testbed.pod("client").run().await.unwrap();
    let listener = server.container("app").args(["serve-bytes", "--port", "5001"]).run().await.unwrap();
    let app = client.container("app").run().await.unwrap();
    listener.wait_for("listening", PATIENCE).await.unwrap();

    let (before, _) = counters_at_rest(&client).await;
    app.exchange(server.ip().unwrap(), 5001, 50 * MEGABYTE, MEGABYTE).await.unwrap();
    let (after, _) = counters_at_rest(&client).await;
    let (sent, received) = (after.tx_bytes - before.tx_bytes, after.rx_bytes - before.rx_bytes);
    // Payload and headers: at least 40 of 1,500 bytes with offloads, at most one small segment each.
    assert!((50 * MEGABYTE..52 * MEGABYTE).contains(&sent), "{sent}");
    assert!((MEGABYTE..2 * MEGABYTE).contains(&received), "{received}");
    let (_, host_of_server) = counters_at_rest(&server).await;
    assert!(host_of_server.tx_bytes >= 50 * MEGABYTE);

    client.force_rx_drops(17).await.unwrap();
    client.force_tx_drops(&app, 23).await.unwrap();
    let (dropped, host) = counters_at_rest(&client).await;
    assert_eq!((dropped.rx_dropped, dropped.tx_dropped), (after.rx_dropped + 17, after.tx_dropped + 23));
    assert_eq!(host.tx_dropped, 0, "the two ends do not count each other's drops");
    testbed.stop().await.unwrap();
    assert_eq!(traces_of("link"), BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn load_uses_what_it_says() {
    let _machine = MACHINE.write().await;
    let testbed = Testbed::start("amounts").await.unwrap();
    let pod = testbed.pod("pod").run().await.unwrap();
    let spinner = pod.container("spin").args(["spin", "--duty", "37", "--seconds", "4"]).run().await.unwrap();
    let holder = pod.container("hold").args(["memory", "--anon", "50MiB", "--tmpfs", "/dev/shm/x", "8MiB"]);
    let holder = holder.mount(testbed.scratch(), "/data").run().await.unwrap();
    holder.wait_for("\"ready\":true", PATIENCE).await.unwrap();
    let stat = fs::read_to_string(holder.cgroup_dir("memory").unwrap().join("memory.stat")).unwrap();
    let key = |name: &str| -> u64 {
        let line = stat.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap().parse().unwrap()
    };
    // The program itself needs a little too, and the kernel charges in batches of 64 pages.
    assert!((50 << 20..52 << 20).contains(&key("rss")), "{stat}");
    assert!((8 << 20..9 << 20).contains(&key("shmem")), "{stat}");

    let written = holder.exec(["/load", "write-direct", "/data/direct", "8MiB"]).await.unwrap();
    assert_eq!(written.success().unwrap(), "{\"writtenBytes\":8388608}\n");
    assert_eq!(fs::metadata(testbed.scratch().join("direct")).unwrap().len(), 8 << 20);
    holder.exec(["/load", "write-file", "/data/file", "3M"]).await.unwrap().success().unwrap();
    let read = holder.exec(["/load", "read-file", "/data/file", "--times", "3"]).await.unwrap();
    assert_eq!(read.success().unwrap(), "{\"readBytes\":9000000}\n");

    spinner.wait_for("cpuNanoseconds", PATIENCE).await.unwrap();
    let said = spinner.log().unwrap();
    let busy: f64 =
        said.trim().trim_start_matches("{\"cpuNanoseconds\":").trim_end_matches('}').parse().unwrap();
    let share = busy / 4e9;
    assert!((0.36..0.38).contains(&share), "{share}");
    testbed.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_and_sandboxes_are_made_anew_as_the_kubelet_does() {
    let _machine = MACHINE.read().await;
    let testbed = Testbed::start("anew").await.unwrap();
    let pod = testbed.pod("pod").run().await.unwrap();
    let first = pod.container("app").run().await.unwrap();
    let second = pod.restart_container("app").await.unwrap();
    assert_ne!(first.id(), second.id());
    assert_eq!(first.exit_code().await.unwrap(), Some(137));
    assert_eq!(second.exit_code().await.unwrap(), None);
    let third = pod.restart_container("app").await.unwrap();
    assert!(first.exit_code().await.is_err(), "only one dead instance is kept");
    assert_eq!(pod.live_container("app").unwrap().id(), third.id());

    pod.kill_sandbox().await.unwrap();
    let again = pod.recreate_sandbox().await.unwrap();
    assert_eq!(again.uid(), pod.uid());
    assert_ne!(again.sandbox_id(), pod.sandbox_id());
    let host = testbed.pod("host").host_network(true).run().await.unwrap();
    assert!(host.host_veth().is_err() && host.ip().is_none());
    let unprivileged = again.container("p0").least_privilege().run().await.unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", unprivileged.pid())).unwrap();
    assert!(status.contains("CapBnd:\t0000000000000000") && status.contains("Uid:\t65532"), "{status}");
    testbed.stop().await.unwrap();
    assert_eq!(traces_of("anew"), BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_testbeds_stand_side_by_side_and_a_dropped_one_is_gone() {
    let _machine = MACHINE.read().await;
    let one = Testbed::start("one").await.unwrap();
    let two = Testbed::start("two").await.unwrap();
    assert_ne!(one.bridge(), two.bridge());
    assert!(Testbed::start("one").await.is_err(), "a name in use is refused");
    let pod = one.pod("same").run().await.unwrap();
    let other = two.pod("same").uid(pod.uid()).run().await.unwrap();
    assert_ne!(pod.ip(), other.ip());
    let disk = one.scratch().join("disk.img");
    fs::File::create(&disk).unwrap().set_len(1 << 20).unwrap();
    assert!(Command::new("losetup").arg("--find").arg(&disk).status().unwrap().success());
    drop(one);
    assert_eq!(traces_of("one"), BTreeSet::new());
    assert!(other.container("app").run().await.is_ok(), "the other one still works");
    two.stop().await.unwrap();
    assert_eq!(traces_of("two"), BTreeSet::new());
}

/// The pid of the testbed's containerd.
fn containerd_of(name: &str) -> i32 {
    let config = format!("/var/lib/podvitals-testbed/{name}/config.toml\0");
    let is_it = |pid: &i32| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&arguments) == format!("containerd\0--config\0{config}")
    };
    let pids = fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(is_it).unwrap()
}

/// `testbed up`, killed without a chance to clean up; then the same with the runtime killed first.
#[tokio::test(flavor = "multi_thread")]
async fn the_guard_takes_down_what_a_killed_owner_left() {
    let _machine = MACHINE.read().await;
    for runtime_dies_too in [false, true] {
        let mut owner =
            Command::new(env!("CARGO_BIN_EXE_testbed")).arg("up").stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(owner.stderr.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("pods run")), "the pods are up");
        let sandboxes = "/var/lib/podvitals-testbed/demo/root/io.containerd.grpc.v1.cri/sandboxes";
        let sandboxes: Vec<_> =
            fs::read_dir(sandboxes).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(sandboxes.len(), 8);
        if runtime_dies_too {
            let pid = rustix::process::Pid::from_raw(containerd_of("demo")).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
        owner.kill().unwrap();
        owner.wait().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !traces_of("demo").is_empty() {
            assert!(Instant::now() < deadline, "left: {:?}", traces_of("demo"));
            sleep(Duration::from_millis(100)).await;
        }
        for result in fs::read_dir("/var/lib/cni/results").into_iter().flatten().flatten() {
            let name = result.file_name().into_string().unwrap();
            assert!(!sandboxes.iter().any(|id| name.contains(id.to_str().unwrap())), "{name}");
        }
    }
}

/// Enough pods for a benchmark: each with two containers, all made at once.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_pods_start_and_stop_within_a_minute() {
    let _machine = MACHINE.read().await;
    let started = Instant::now();
    let testbed = Testbed::start("fifty").await.unwrap();
    let mut making = tokio::task::JoinSet::new();
    for number in 0..50 {
        let pod = testbed.pod(&format!("pod-{number}"));
        making.spawn(async move {
            let pod = pod.run().await.unwrap();
            pod.container("one").run().await.unwrap();
            pod.container("two").run().await.unwrap();
            pod
        });
    }
    let pods = making.join_all().await;
    let up = started.elapsed();
    let veths: BTreeSet<&str> = pods.iter().map(|pod| pod.host_veth().unwrap()).collect();
    assert_eq!(veths.len(), 50);
    testbed.stop().await.unwrap();
    println!("50 pods, 100 containers: up after {up:?}, gone after {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(60));
    assert_eq!(traces_of("fifty"), BTreeSet::new());
}
