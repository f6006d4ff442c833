//! The container runtime goes away, hangs, crashes and comes back; podvitals loses names of new pods, no more.

use std::sync::Arc;
use std::time::Duration;

use podvitals::model::document::Pod;
use podvitals::model::document::PodList;
use podvitals_testbed::Testbed;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::daemon::Daemon;
use crate::find::pod;
use crate::lifecycle::counters;
use crate::network::PORT;
use crate::network::serving;
use crate::oracle;
use crate::proxy::Proxy;
use crate::stage::Stage;
use crate::watcher::Watcher;
use crate::watcher::logged;
use crate::watcher::metric;
use crate::watcher::risen;
use crate::watcher::series;

/// What the log says once when the runtime is lost, and once when it is back.
const LOST: &str = "the container runtime does not answer";
const BACK: &str = "connected to the container runtime";

/// Calls that failed, by kind, and questions that were not answered, by reason.
const TROUBLES: &str = "podvitals_errors_total{room=\"runtime\",kind=\"";
const REFUSALS: &str = "podvitals_source_errors_total{source=\"cri\",reason=\"";

const UP: &str = "podvitals_source_up{source=\"cri\"}";

/// The longest pause between two questions to a runtime that is lost, and the questions themselves.
const UNTIL_ASKED: Duration = Duration::from_secs(8);

pub(crate) async fn a_runtime_that_vanishes_or_hangs_costs_the_names_of_new_pods(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let mut proxy = Proxy::before(testbed, "proxy");
    let known = testbed.pod("outage-known").run().await.unwrap();
    known.container("app").args(["spin"]).cpu_limit_millis(100).run().await.unwrap();
    let daemon = Daemon::spawn(std::process::Command::new(crate::daemon::PODVITALS), |command| {
        command.args(["--cri-endpoint", &proxy.endpoint(), "--source", "cri"]);
    });
    daemon.until_ready().await;
    let daemon = Arc::new(daemon);
    until(&daemon, known.uid(), |pod| pod.name.is_some()).await;
    let uid = known.uid().to_owned();
    let watcher = Watcher::of(&daemon, move |list| {
        let known = pod(list, &uid);
        assert_eq!(known.name.as_deref(), Some("outage-known"), "a name once told stands");
        assert!(known.network.is_some() && known.cpu.is_some(), "{:?}", known.unavailable);
    });

    let cases = [(1, 1_001, "io", "unreachable"), (2, 1_002, "timeout", "timeout")];
    for (round, drops, kind, reason) in cases {
        let before = [TROUBLES, REFUSALS].map(|begin| series(&daemon, begin));
        match kind {
            "io" => proxy.vanish(),
            _ => proxy.fall_silent(),
        }
        until_metric(&daemon, UP, 0.0).await;
        let newcomer = testbed.pod(&format!("outage-{kind}")).run().await.unwrap();
        newcomer.container("app").args(["idle"]).run().await.unwrap();
        newcomer.force_rx_drops(drops).await.unwrap();
        let list = two_sweeps_later(&daemon).await;
        let shown = pod(&list, newcomer.uid());
        assert!(shown.name.is_none() && shown.identity.is_empty(), "nobody can have named it: {shown:?}");
        let network = shown.network.as_ref().unwrap_or_else(|| panic!("{:?}", shown.unavailable));
        let oracle = oracle::net_dev(newcomer.sandbox_pid(), "eth0");
        assert!(network.total.rx_bytes <= oracle[0], "{network:?}");
        assert_eq!((network.total.rx_dropped, oracle[3]), (Some(oracle[3]), drops));
        assert_eq!(shown.containers.len(), 2, "the sandbox is a child like any other until it is settled");
        // Counted as what it is, and as nothing else.
        assert_eq!(risen(&daemon, TROUBLES, &before[0]), [format!("{kind}\"}}")]);
        assert_eq!(risen(&daemon, REFUSALS, &before[1]), [format!("{reason}\"}}")]);
        assert_eq!(logged(&daemon, LOST), round, "one line, however often it is asked:\n{}", daemon.log());

        proxy.listen();
        until(&daemon, newcomer.uid(), |pod| pod.name.is_some()).await;
        until_metric(&daemon, UP, 1.0).await;
        assert_eq!(logged(&daemon, LOST), round, "one line for each loss:\n{}", daemon.log());
        assert_eq!(logged(&daemon, BACK), round + 1, "one line for each return:\n{}", daemon.log());
        newcomer.stop().await.unwrap();
    }
    watcher.end();
    known.stop().await.unwrap();
}

pub(crate) async fn no_pod_counter_goes_back_while_sandboxes_and_the_runtime_are_made_anew(
    stage: Arc<Stage>,
) {
    let testbed = &stage.testbed;
    let mut proxy = Proxy::before(testbed, "anew");
    let server = testbed.pod("back-server").run().await.unwrap();
    serving(&server).await;
    let address = server.ip().unwrap();
    let mut anew = testbed.pod("back").run().await.unwrap();
    anew.container("app-0").args(["spin"]).cpu_limit_millis(100).run().await.unwrap();
    let daemon = Daemon::spawn(std::process::Command::new(crate::daemon::PODVITALS), |command| {
        command.args(["--cri-endpoint", &proxy.endpoint(), "--interval", "100ms"]);
    });
    daemon.until_ready().await;
    let daemon = Arc::new(daemon);
    until(&daemon, anew.uid(), |pod| pod.network.is_some()).await;
    let (uid, mut last) = (anew.uid().to_owned(), Vec::new());
    let watcher = Watcher::of(&daemon, move |list| {
        // Between two sandboxes the pod has no process, and is not shown.
        let shown = list.pods.iter().find(|pod| pod.runtime_uid == uid);
        shown.into_iter().for_each(|pod| grown(&mut last, pod, list.tick));
    });

    let name = |round: u64| format!("app-{round}");
    for round in 1..=3 {
        let app = anew.live_container(&name(round - 1)).unwrap();
        app.exchange(address, PORT, 1_000_000, 1).await.unwrap();
        daemon.next_list().await;
        // The runtime's connection is lost in each round, in another way, and so is the sandbox.
        match round {
            1 => proxy.vanish(),
            2 => proxy.fall_silent(),
            _ => crash(testbed, &[server.sandbox_pid(), anew.sandbox_pid(), app.pid()]).await,
        }
        anew = anew.recreate_sandbox().await.unwrap();
        let app = anew.container(&name(round)).args(["spin"]).cpu_limit_millis(100).run().await.unwrap();
        app.exchange(address, PORT, 1_000_000, 1).await.unwrap();
        proxy.listen();
        anew.restart_container(&name(round)).await.unwrap();
        until_metric(&daemon, UP, 1.0).await;
        let sandbox = anew.sandbox_id().to_owned();
        until(&daemon, anew.uid(), |pod| sandbox_of(pod) == Some(&sandbox)).await;
        let network = pod(&daemon.next_list().await, anew.uid()).network.clone().unwrap();
        let raw = network.raw.unwrap();
        assert!(raw.tx_bytes < 1_500_000, "the kernel began again: {raw:?}");
        assert!(network.total.tx_bytes >= 2_000_000 * round, "and the pod went on: {:?}", network.total);
    }
    let seen = watcher.end();
    assert!(seen.sweeps >= 30, "{seen:?}");
    assert_eq!(logged(&daemon, LOST), 3, "{}", daemon.log());
    assert_eq!(logged(&daemon, BACK), 4, "{}", daemon.log());
    for made in [anew, server] {
        made.stop().await.unwrap();
    }
}

/// containerd dies, and nothing else does; it comes back, and so does everything it knew.
async fn crash(testbed: &Testbed, lives_on: &[u32]) {
    let born = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let start = |stat: String| stat.rsplit(") ").next().unwrap().split(' ').nth(19).unwrap().to_owned();
    let before: Vec<_> = lives_on.iter().map(|pid| start(born(pid))).collect();
    testbed.kill_containerd().unwrap();
    sleep(Duration::from_millis(1_000)).await;
    testbed.start_containerd().await.unwrap();
    let after: Vec<_> = lives_on.iter().map(|pid| start(born(pid))).collect();
    assert_eq!(before, after, "a pod died with containerd");
}

/// Nothing in `now` is less than it was.
fn grown(last: &mut Vec<(&'static str, u64)>, now: &Pod, tick: u64) {
    for (name, value) in counters(now) {
        match last.iter_mut().find(|(known, _)| *known == name) {
            Some((_, before)) => {
                assert!(value >= *before, "{name} went back from {before} to {value} in sweep {tick}");
                *before = value;
            }
            None => last.push((name, value)),
        }
    }
}

fn sandbox_of(pod: &Pod) -> Option<&String> {
    pod.sandbox.as_ref()?.id.as_ref()
}

/// A list of the second sweep that began after this call.
pub(crate) async fn two_sweeps_later(daemon: &Daemon) -> PodList {
    let tick = daemon.next_list().await.tick;
    daemon.list_after(tick).await
}

/// Waits until `holds` of the pod of that UID.
pub(crate) async fn until(daemon: &Daemon, uid: &str, holds: impl Fn(&Pod) -> bool) {
    let deadline = Instant::now() + UNTIL_ASKED;
    loop {
        let list = daemon.list();
        let found = list.pods.iter().find(|pod| pod.runtime_uid == uid);
        if found.is_some_and(&holds) {
            return;
        }
        assert!(Instant::now() < deadline, "{uid}: {found:?}; log:\n{}", daemon.log());
        sleep(Duration::from_millis(20)).await;
    }
}

async fn until_metric(daemon: &Daemon, name: &str, value: f64) {
    let deadline = Instant::now() + UNTIL_ASKED;
    while (metric(daemon, name) - value).abs() > 0.0 {
        assert!(Instant::now() < deadline, "{name} is not {value}; log:\n{}", daemon.log());
        sleep(Duration::from_millis(20)).await;
    }
}
