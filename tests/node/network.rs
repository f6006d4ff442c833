//! Network: exact to the byte and the packet, against the host's end of the veth.

use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use podvitals::model::document::Network;
use podvitals::model::unavailable::Unavailable;
use podvitals_testbed::Container;
use podvitals_testbed::Pod;
use podvitals_testbed::Testbed;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::daemon::Daemon;
use crate::daemon::has_pod;
use crate::find::pod;
use crate::oracle;
use crate::stage::Stage;

/// Where [`serving`] serves.
pub(crate) const PORT: u16 = 5001;

/// A dead pod's netns may live on for so long, and so many of them are looked at.
const SOON: Duration = Duration::from_millis(1_500);
const ROUNDS: u32 = 4;

const MB: u64 = 1_000_000;
const GB: u64 = 1_000 * MB;

/// Sent and received by a pod: different in each direction, and one beyond 2^32.
const AMOUNTS: [(u64, u64); 5] = [(0, 0), (1, 3), (MB, 2 * MB), (50 * MB, 7 * MB), (6 * GB, 11 * MB)];

pub(crate) async fn bytes_and_packets_equal_the_host_s_end_for_any_amount(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let daemons = [
        ("netns", &stage.full),
        ("netns", &stage.confined),
        ("netns", &Daemon::start(testbed, &["--source", "cgroup"]).await),
        ("host_veth", &Daemon::start(testbed, &["--network-source", "host"]).await),
    ];
    let server = testbed.pod("net-server").run().await.unwrap();
    serving(&server).await;
    for (number, (sent, received)) in AMOUNTS.into_iter().enumerate() {
        let client = testbed.pod(&format!("net-{number}")).run().await.unwrap();
        let app = client.container("app").args(["idle"]).run().await.unwrap();
        if sent > 0 {
            // The program counts what it moved, and fails unless that is what it was told.
            app.exchange(server.ip().unwrap(), PORT, sent, received).await.unwrap();
        }
        for (source, daemon) in &daemons {
            let network = while_quiet(daemon, &client).await;
            assert_eq!(network.source.as_deref(), Some(*source));
            assert!(network.total.tx_bytes >= sent, "{} < {sent}", network.total.tx_bytes);
            assert!(network.total.rx_bytes >= received, "{} < {received}", network.total.rx_bytes);
            assert_eq!(network.total, network.raw.clone().unwrap(), "one netns: nothing was carried");
        }
        client.stop().await.unwrap();
    }
    server.stop().await.unwrap();
}

/// A container of `pod` that sends and receives as it is asked.
pub(crate) async fn serving(pod: &Pod) -> Container {
    let server = pod.container("app").args(["serve-bytes", "--port", &PORT.to_string()]).run().await.unwrap();
    server.wait_for("listening", Duration::from_secs(5)).await.unwrap();
    server
}

/// The pod's network in a sweep during which nothing moved, after it was compared with the host's end.
pub(crate) async fn while_quiet(daemon: &Daemon, of: &Pod) -> Network {
    while_quiet_on(daemon, of.uid(), of.host_veth().unwrap()).await
}

/// The same of the pod with this UID, whose link's host end is `link`.
pub(crate) async fn while_quiet_on(daemon: &Daemon, uid: &str, link: &str) -> Network {
    while_quiet_seeing(daemon, uid, link, || ()).await.0
}

/// The same, and what `look` found after that sweep while still nothing had moved.
pub(crate) async fn while_quiet_seeing<T>(
    daemon: &Daemon,
    uid: &str,
    link: &str,
    look: impl Fn() -> T,
) -> (Network, T) {
    for _ in 0..20 {
        let before = oracle::host_link(link);
        let list = daemon.next_list().await;
        let found = look();
        let after = oracle::host_link(link);
        if before != after {
            continue;
        }
        let network = pod(&list, uid).network.clone().unwrap();
        let total = &network.total;
        let ours = [total.tx_bytes, total.tx_packets, total.rx_bytes, total.rx_packets];
        assert_eq!(ours, before, "tx and rx of the pod against rx and tx of {link}");
        return (network, found);
    }
    panic!("{link} was never quiet for a whole sweep");
}

pub(crate) async fn errors_and_drops_equal_the_pod_s_own_file(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let by_cgroup = Daemon::start(testbed, &["--source", "cgroup"]).await;
    let dropping = testbed.pod("net-drops").run().await.unwrap();
    let container = dropping.container("app").args(["idle"]).run().await.unwrap();
    dropping.force_rx_drops(100).await.unwrap();
    dropping.force_tx_drops(&container, 30).await.unwrap();
    for daemon in [&stage.full, &stage.confined, &by_cgroup] {
        let own = || oracle::net_dev(dropping.sandbox_pid(), "eth0");
        let link = dropping.host_veth().unwrap();
        let (network, expected) = while_quiet_seeing(daemon, dropping.uid(), link, own).await;
        assert_eq!(oracle::counters(&network.total), expected);
        assert!(expected[3] >= 100 && expected[7] >= 30, "drops were forced: {expected:?}");
    }
    dropping.stop().await.unwrap();
}

pub(crate) async fn a_pod_on_the_host_s_network_has_none_of_its_own(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let daemons = [
        &stage.full,
        &stage.confined,
        &Daemon::start(testbed, &["--source", "cgroup"]).await,
        &Daemon::start(testbed, &["--network-source", "host"]).await,
    ];
    let host = testbed.pod("net-host").host_network(true).run().await.unwrap();
    host.container("app").args(["idle"]).run().await.unwrap();
    for daemon in daemons {
        let list = daemon.next_list().await;
        let pod = pod(&list, host.uid());
        assert!(pod.host_network && pod.network.is_none());
        assert_eq!(pod.unavailable.get("network"), Some(&Unavailable::HostNetwork));
        let node = daemon.node();
        let nics = node.network.unwrap().interfaces;
        let mut names: Vec<_> = nics.iter().map(|nic| nic.name.as_str()).collect();
        let listed = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), listed, "each of the node's NICs once");
        assert!(nics.iter().any(|nic| nic.counted && nic.traffic.rx_bytes > 0), "{nics:?}");
    }
    host.stop().await.unwrap();
}

/// A pod whose app runs, and a link of the host's into its netns that nobody deletes: neither the CNI plugin
/// nor the kernel does before the netns itself is gone.
async fn marked(testbed: &Testbed, name: &str) -> (Pod, PathBuf) {
    let pod = testbed.pod(name).run().await.unwrap();
    pod.container("app").args(["idle"]).run().await.unwrap();
    let (mark, netns) = (format!("pvk{}", pod.sandbox_pid()), pod.sandbox_pid().to_string());
    let add = ["link", "add", &mark, "type", "veth", "peer", "name", "mark", "netns", &netns];
    assert!(Command::new("ip").args(add).status().unwrap().success());
    (pod, link(&mark))
}

fn link(name: &str) -> PathBuf {
    Path::new("/sys/class/net").join(name)
}

/// How long until it was no more.
async fn until_gone(path: &Path) -> Duration {
    let begun = Instant::now();
    while path.exists() {
        assert!(begun.elapsed() < SOON, "{} is still there {SOON:?} after the pod's end", path.display());
        sleep(Duration::from_millis(5)).await;
    }
    begun.elapsed()
}

pub(crate) async fn a_dead_pod_s_link_is_not_kept_alive_by_sampling(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let daemons = [
        Daemon::start(testbed, &["--interval", "100ms"]).await,
        Daemon::start(testbed, &["--interval", "100ms", "--network-source", "host"]).await,
    ];
    let read_by_all = async |uid: &str| {
        for daemon in &daemons {
            let deadline = Instant::now() + Duration::from_secs(10);
            while !daemon
                .next_list()
                .await
                .pods
                .iter()
                .any(|it| it.runtime_uid == uid && it.network.is_some())
            {
                assert!(Instant::now() < deadline, "never read; its log:\n{}", daemon.log());
            }
        }
    };
    let mut slowest = Duration::ZERO;
    for round in 0..ROUNDS {
        let (short, mark) = marked(testbed, &format!("net-short-{round}")).await;
        read_by_all(short.uid()).await;
        let host_end = link(short.host_veth().unwrap());
        short.stop().await.unwrap();
        // Of its end, both began at once.
        let (of_veth, of_netns) = tokio::join!(until_gone(&host_end), until_gone(&mark));
        slowest = slowest.max(of_veth).max(of_netns);
        for daemon in &daemons {
            assert!(!has_pod(&daemon.next_list().await, short.uid()), "a pod that has ended is shown");
        }
    }
    println!("       {ROUNDS} pods: link and netns gone within {slowest:?}");

    // What the mark is good for: somebody does keep a descriptor.
    let (kept, mark) = marked(testbed, "net-kept").await;
    let keeper = File::open(format!("/proc/{}/net/dev", kept.sandbox_pid())).unwrap();
    kept.stop().await.unwrap();
    sleep(SOON).await;
    assert!(mark.exists(), "a descriptor of net/dev keeps no netns alive: this test would see nothing");
    drop(keeper);
    until_gone(&mark).await;
}
