//! What podvitals answers Docker's clients, against its own document of the same sweep and against the kernel.

use std::sync::Arc;
use std::time::Duration;

use podvitals::model::document::Container as Figures;
use podvitals::model::document::Pod;
use podvitals_testbed::Container;
use serde_json::Value;
use tokio::time::Instant;

use crate::daemon::Daemon;
use crate::find::container;
use crate::find::pod;
use crate::network::PORT;
use crate::network::while_quiet_seeing;
use crate::stage::Stage;

const PATIENCE: Duration = Duration::from_secs(10);
const MIB: u64 = 1 << 20;
const MB: u64 = 1_000_000;

/// `GET` of a document that is there.
pub(crate) fn get(daemon: &Daemon, path: &str) -> Value {
    let answer = daemon.get(path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

/// The statistics of a container, with its figures and its pod's in our own document of the same sweep.
async fn both(daemon: &Daemon, of: &Container, uid: &str) -> (Value, Figures, Pod) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stats = get(daemon, &format!("/v1.41/containers/{}/stats?stream=false", of.id()));
        let list = daemon.next_list().await;
        let again = get(daemon, &format!("/containers/{}/stats?stream=False", of.id()));
        let figures = container(&list, of.id());
        let at = figures.cpu.as_ref().unwrap().time_unix_nano;
        let read = |stats: &Value| stats["read"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        if let Some(same) =
            [stats, again].into_iter().find(|stats| read(stats).as_nanosecond() == i128::from(at))
        {
            return (same, figures, pod(&list, uid).clone());
        }
        assert!(Instant::now() < deadline, "never of one sweep");
    }
}

/// The docker CLI's `calculateCPUPercentUnix`.
pub(crate) fn cpu_percent(stats: &Value) -> f64 {
    let of =
        |path: &str| stats.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path}: {stats}"));
    let delta = |path: &str| of(&format!("/cpu_stats{path}")) - of(&format!("/precpu_stats{path}"));
    delta("/cpu_usage/total_usage") / delta("/system_cpu_usage") * of("/cpu_stats/online_cpus") * 100.0
}

pub(crate) async fn figures_are_our_own_and_the_kernel_s_and_an_answer_waits_for_nothing(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let made = testbed.pod("dapi").run().await.unwrap();
    let burner = made.container("burner").args(["spin", "--cpu", "1"]).run().await.unwrap();
    let still = made.container("still").args(["memory", "--anon", "50MiB"]).run().await.unwrap();
    still.wait_for("ready", PATIENCE).await.unwrap();
    let server = testbed.pod("dapi-server").run().await.unwrap();
    let serving =
        server.container("app").args(["serve-bytes", "--port", &PORT.to_string()]).run().await.unwrap();
    serving.wait_for("listening", PATIENCE).await.unwrap();
    still.exchange(server.ip().unwrap(), PORT, 20 * MB, 3 * MB).await.unwrap();

    let daemon = &stage.full;
    daemon.next_list().await;
    daemon.next_list().await;
    // CPU: our own rate, which other tests hold against the scheduler's account.
    let mut percents = Vec::new();
    for _ in 0..4 {
        let (stats, figures, _) = both(daemon, &burner, made.uid()).await;
        let cpu = figures.cpu.unwrap();
        assert_eq!(stats["cpu_stats"]["cpu_usage"]["total_usage"], cpu.usage_nanoseconds);
        let before = stats["precpu_stats"]["cpu_usage"]["total_usage"].as_u64().unwrap();
        assert!(before < cpu.usage_nanoseconds);
        let (cores, window) = (cpu.cores.unwrap(), cpu.window_seconds.unwrap());
        let used = (cpu.usage_nanoseconds - before) as f64 / 1e9;
        assert!((used - cores * window).abs() < 1e-6, "{used} s against {cores} cores of {window} s");
        percents.push((cpu_percent(&stats), cores * 100.0));
        assert!(stats["cpu_stats"]["cpu_usage"].get("percpu_synthetic").is_none(), "nothing is made up");
    }
    println!("       CPU % by the CLI's formula and by ours {percents:?}");
    for (theirs, ours) in percents {
        // Docker divides by what /proc/stat counted: 10 ms a step, and none of what the hypervisor took.
        assert!((theirs - ours).abs() < 0.15 * ours && theirs > 10.0, "{theirs} against {ours}");
    }

    let file = still.cgroup_dir("memory").unwrap();
    let file = ["memory.usage_in_bytes", "memory.current"].map(|name| file.join(name));
    let file = file.iter().find(|path| path.exists()).unwrap();
    let kernel = || std::fs::read_to_string(file).unwrap().trim().parse::<u64>().unwrap();
    let (lowest, (stats, figures, _)) = (kernel(), both(daemon, &still, made.uid()).await);
    let highest = kernel();
    let memory = figures.memory.unwrap();
    assert_eq!(stats["memory_stats"]["usage"], memory.usage_bytes);
    assert!(
        (lowest.min(highest)..=lowest.max(highest)).contains(&memory.usage_bytes),
        "{memory:?} {lowest} {highest}"
    );
    assert!(memory.usage_bytes >= 50 * MIB);
    assert_eq!(Some(&stats["memory_stats"]["stats"]["rss"]), memory.anon_bytes.map(Value::from).as_ref());
    let total = daemon.node().memory.unwrap().total_bytes;
    assert_eq!(stats["memory_stats"]["limit"], total, "without a limit of its own what the node has");
    assert_eq!(stats["pids_stats"]["current"], 1);

    // Network: each container and the sandbox have the pod's, as its host's end counts it.
    let all = || {
        let of = |id| get(daemon, &format!("/containers/{id}/stats?stream=false"));
        [burner.id(), still.id(), made.sandbox_id()].map(of)
    };
    let (network, all) = while_quiet_seeing(daemon, made.uid(), made.host_veth().unwrap(), all).await;
    let network = network.total;
    assert!(network.tx_bytes >= 20 * MB && network.rx_bytes >= 3 * MB);
    for stats in all {
        let eth0 = &stats["networks"]["eth0"];
        let theirs =
            ["rx_bytes", "rx_packets", "tx_bytes", "tx_packets"].map(|key| eth0[key].as_u64().unwrap());
        assert_eq!(theirs, [network.rx_bytes, network.rx_packets, network.tx_bytes, network.tx_packets]);
    }

    let path = format!("/containers/{}/stats?stream=false", burner.id());
    let mut times: Vec<Duration> = (0..21).map(|_| timed(daemon, &path)).collect();
    times.sort();
    println!("       stats?stream=false takes {:?}, the slowest of 21 {:?}", times[10], times[20]);
    assert!(times[10] < Duration::from_millis(100), "{times:?}");

    let host = testbed.pod("dapi-host").host_network(true).run().await.unwrap();
    let on_host = host.container("app").args(["idle"]).run().await.unwrap();
    let named = Instant::now() + PATIENCE;
    while stage.full.get(&format!("/containers/{}/json", on_host.id())).status != 200 {
        assert!(Instant::now() < named, "never named");
        stage.full.next_list().await;
    }
    let stats = get(&stage.full, &format!("/containers/{}/stats?stream=0", on_host.id()));
    assert_eq!(stats["networks"], serde_json::json!({}), "the node's network is not the pod's");
    for pod in [made, server, host] {
        pod.stop().await.unwrap();
    }
}

fn timed(daemon: &Daemon, path: &str) -> Duration {
    let begun = Instant::now();
    assert_eq!(daemon.get(path).status, 200);
    begun.elapsed()
}
