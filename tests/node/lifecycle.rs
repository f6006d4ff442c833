//! Containers that come and go: seen at once, and no pod counter ever goes back.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use podvitals::host::clock;
use podvitals::model::document::Map;
use podvitals::model::document::Pod;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::daemon::Daemon;
use crate::daemon::has_pod;
use crate::disk::Disk;
use crate::find::pod;
use crate::network::PORT;
use crate::network::serving;
use crate::stage::Stage;

pub(crate) async fn a_new_container_is_a_target_within_150_ms(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    // At a slow interval, to show that targets do not wait for a sweep.
    for flags in [["--interval", "5s", "--source", "cri"], ["--interval", "5s", "--source", "cgroup"]] {
        let daemon = Daemon::start(testbed, &flags).await;
        let fresh = testbed.pod("fresh").run().await.unwrap();
        let app = fresh.container("app").args(["idle"]).run().await.unwrap();
        // The inode's birth: the directory of the container's cgroup in the hierarchy that is watched.
        let made = app.cgroup_dir("memory").unwrap().metadata().unwrap().ctime_nsec() as u64
            + app.cgroup_dir("memory").unwrap().metadata().unwrap().ctime() as u64 * 1_000_000_000;
        let started = clock::pair().wall.as_unix_nanos();
        // `run` returned: the container runs, and its cgroup is older than that. How long we take to read the
        // map is our own affair: it says itself when it saw the cgroup.
        let deadline = Instant::now() + Duration::from_secs(4);
        let since = loop {
            let map: Map = serde_json::from_str(&daemon.get("/api/v1/map").body).unwrap();
            let container =
                map.pods.iter().flat_map(|pod| &pod.containers).find(|container| container.id == app.id());
            if let Some(container) = container {
                break container.since_unix_nano;
            }
            assert!(Instant::now() < deadline, "not a target before the next sweep");
            sleep(Duration::from_millis(2)).await;
        };
        let late = since.saturating_sub(made);
        assert!(late <= 150_000_000, "a target {} ms after its cgroup appeared", late / 1_000_000);
        assert!(since <= started + 150_000_000);
        fresh.stop().await.unwrap();
    }
}

/// Everything of a pod that only grows.
pub(crate) fn counters(pod: &Pod) -> Vec<(&'static str, u64)> {
    let mut all = Vec::new();
    if let Some(cpu) = &pod.cpu {
        all.push(("cpu.usageNanoseconds", cpu.usage_nanoseconds));
    }
    if let Some(memory) = &pod.memory {
        all.push(("memory.pageFaults", memory.page_faults.unwrap_or(0)));
        all.push(("memory.oomKills", memory.oom_kills.unwrap_or(0)));
    }
    if let Some(network) = &pod.network {
        all.push(("network.rxBytes", network.total.rx_bytes));
        all.push(("network.txBytes", network.total.tx_bytes));
        all.push(("network.rxPackets", network.total.rx_packets));
        all.push(("network.txPackets", network.total.tx_packets));
    }
    if let Some(io) = &pod.io {
        all.push(("io.readBytes", io.read_bytes));
        all.push(("io.writeBytes", io.write_bytes));
        all.push(("io.writeOperations", io.write_operations));
    }
    all
}

/// Watches a pod in every sweep until it is told to end, and checks that nothing goes back.
async fn watch(daemon: &Daemon, uid: &str, mut until: tokio::sync::oneshot::Receiver<()>) -> (u64, Vec<Pod>) {
    let mut last: Vec<(&str, u64)> = Vec::new();
    let (mut sweeps, mut tick, mut seen) = (0, 0, Vec::new());
    while until.try_recv().is_err() {
        let list = daemon.list_after(tick).await;
        tick = list.tick;
        if !has_pod(&list, uid) {
            continue;
        }
        let pod = pod(&list, uid);
        let now = counters(pod);
        for (name, before) in &last {
            if let Some((_, value)) = now.iter().find(|(present, _)| present == name) {
                assert!(value >= before, "{name} went back from {before} to {value} in sweep {tick}");
            }
        }
        for (name, value) in now {
            match last.iter_mut().find(|(known, _)| *known == name) {
                Some(entry) => entry.1 = value,
                None => last.push((name, value)),
            }
        }
        seen.push(pod.clone());
        sweeps += 1;
    }
    (sweeps, seen)
}

pub(crate) async fn counters_of_a_pod_never_go_back_through_ten_restarts(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let disk = Disk::new(testbed, "restarts");
    disk.account();
    let restarting = testbed.pod("restarts").run().await.unwrap();
    restarting.container("app").args(["spin"]).mount(disk.folder(), "/disk").run().await.unwrap();
    let daemon = Arc::new(Daemon::start(testbed, &["--interval", "100ms"]).await);
    let (end, until) = tokio::sync::oneshot::channel();
    let (watched, uid) = (daemon.clone(), restarting.uid().to_owned());
    let watching = tokio::spawn(async move { watch(&watched, &uid, until).await });
    for _ in 0..10 {
        let app = restarting.restart_container("app").await.unwrap();
        app.exec(["/load", "write-direct", "/disk/file", "1MiB"]).await.unwrap();
        sleep(Duration::from_millis(300)).await;
    }
    daemon.next_list().await;
    end.send(()).unwrap();
    let (sweeps, seen) = watching.await.unwrap();
    assert!(sweeps >= 40, "only {sweeps} sweeps were seen");

    let mut instances: Vec<(String, u32, u64)> = Vec::new();
    for container in seen.iter().flat_map(|pod| &pod.containers) {
        // Between two instances the last one is shown without figures.
        let Some(cpu) = &container.cpu else { continue };
        let (id, usage) = (container.id.clone().unwrap(), cpu.usage_nanoseconds);
        let restarts = container.restart_count.unwrap_or(0);
        match instances.iter_mut().find(|(known, ..)| *known == id) {
            Some(known) => {
                assert!(usage >= known.2, "a container's counter went back within one instance");
                known.1 = known.1.max(restarts);
                known.2 = usage;
            }
            None => {
                if let Some((_, _, before)) = instances.last() {
                    assert!(usage < *before, "a new instance starts again: {usage} after {before}");
                }
                instances.push((id, restarts, usage));
            }
        }
    }
    assert_eq!(instances.len(), 11, "every instance was seen");
    assert_eq!(instances.last().unwrap().1, 10, "restartCount");
    let last = seen.last().unwrap();
    assert_more_than_the_living(&seen, instances[..10].iter().map(|(_, _, usage)| usage).sum());
    assert!(last.io.as_ref().unwrap().write_bytes >= 10 << 20, "{:?}", last.io);
    restarting.stop().await.unwrap();
    drop(disk);
}

/// The sum over the living containers falls with each that dies. The pod's own figures do not: the dead
/// are in its CPU time, and the pause process is in its memory.
fn assert_more_than_the_living(seen: &[Pod], used_by_the_dead: u64) {
    let living = |pod: &Pod| pod.cpu.as_ref()?.containers_sum.as_ref()?.usage_nanoseconds;
    let falls =
        seen.windows(2).filter(|pair| living(&pair[1]) < living(&pair[0]) && living(&pair[1]).is_some());
    assert!(falls.count() >= 5, "ten instances ended");
    let last = seen.last().unwrap();
    let (all, living) = (last.cpu.as_ref().unwrap().usage_nanoseconds, living(last).unwrap());
    assert!(
        all >= living + used_by_the_dead,
        "{all} ns, {living} of the living, {used_by_the_dead} of the dead"
    );
    let memory = last.memory.as_ref().unwrap();
    let of_containers = memory.containers_sum.as_ref().and_then(|sum| sum.usage_bytes).unwrap();
    assert!(memory.usage_bytes > of_containers, "the pause process uses memory: {memory:?}");
}

pub(crate) async fn a_sandbox_made_anew_goes_on_counting(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let server = testbed.pod("anew-server").run().await.unwrap();
    serving(&server).await;
    let address = server.ip().unwrap();
    let mut anew = testbed.pod("anew").run().await.unwrap();
    let app = anew.container("app").args(["idle"]).run().await.unwrap();
    let daemon = Daemon::start(testbed, &["--interval", "200ms"]).await;
    app.exchange(address, PORT, 1_000_000, 1).await.unwrap();
    let before = pod(&daemon.next_list().await, anew.uid()).network.clone().unwrap();
    for round in 1..=3_u64 {
        anew = anew.recreate_sandbox().await.unwrap();
        let app = anew.container(&format!("app-{round}")).args(["idle"]).run().await.unwrap();
        app.exchange(address, PORT, 1_000_000, 1).await.unwrap();
        daemon.next_list().await;
        let network = pod(&daemon.next_list().await, anew.uid()).network.clone().unwrap();
        let raw = network.raw.unwrap();
        assert!(
            network.total.tx_bytes >= before.total.tx_bytes + round * 1_000_000,
            "round {round}: {:?}",
            network.total
        );
        assert!(raw.tx_bytes < 1_200_000, "the kernel began again: {raw:?}");
        assert_eq!(network.since_unix_nano, before.since_unix_nano, "the base was kept");
    }
    anew.stop().await.unwrap();
    server.stop().await.unwrap();
}
