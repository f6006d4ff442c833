//! Half an hour of pods that come, are killed, restart and talk: podvitals grows by nothing.
//!
//! ```text
//! make soak                     30 minutes
//! SOAK_SECONDS=180 make soak    3 minutes
//! ```

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use podvitals_testbed::Pod;
use tokio::time::Instant;

use crate::daemon::Daemon;
use crate::network::PORT;
use crate::network::serving;
use crate::stage::Stage;
use crate::watcher::Watcher;
use crate::watcher::metric;

/// Its buffers have grown after this long.
const WARM: Duration = Duration::from_secs(60);

/// Pods that came or went are known, and let go of, after this long.
const SETTLED: Duration = Duration::from_secs(5);

const PROGRESS: Duration = Duration::from_secs(10);

/// One look at the process under test.
#[derive(Clone, Copy, Debug)]
struct Look {
    seconds: f64,
    resident: f64,
    descriptors: usize,
    threads: u64,
    zombies: usize,
    netns: usize,
}

pub(crate) async fn nothing_grows_while_pods_come_and_go(stage: Arc<Stage>) {
    let seconds = std::env::var("SOAK_SECONDS").map_or(1_800, |seconds| seconds.parse().unwrap());
    let testbed = &stage.testbed;
    let server = testbed.pod("soak-server").run().await.unwrap();
    serving(&server).await;
    let address = server.ip().unwrap();
    // A history that is full, and has let go of what is older, when the looks begin that count.
    let flags = ["--interval", "200ms", "--history", "30s"];
    let daemon = Arc::new(Daemon::start(testbed, &flags).await);
    let watcher = Watcher::of(&daemon, |_| {});
    let begun = Instant::now();
    tokio::time::sleep(SETTLED).await;
    let before = Look::at(&daemon, begun);
    let mut looks = Vec::new();
    let mut last = None;
    let (mut pods, mut restarts, mut kills) = (0_u64, 0_u64, 0_u64);
    println!("       seconds  RSS KiB  descriptors  threads  zombies  netns  pods  restarts  kills");
    while begun.elapsed().as_secs() < seconds {
        let pod = testbed.pod(&format!("soak-{pods}")).burstable().run().await.unwrap();
        let app = pod.container("app").args(["spin"]).cpu_limit_millis(200).run().await.unwrap();
        pods += 1;
        app.exchange(address, PORT, 100_000, 100_000).await.unwrap();
        match pods % 3 {
            0 => {
                pod.restart_container("app").await.unwrap();
                restarts += 1;
            }
            1 => {
                pod.kill_sandbox().await.unwrap();
                kills += 1;
            }
            _ => {}
        }
        let before: Option<Pod> = last.replace(pod);
        if let Some(before) = before {
            before.stop().await.unwrap();
        }
        let due = looks
            .last()
            .is_none_or(|look: &Look| begun.elapsed().as_secs_f64() >= look.seconds + PROGRESS.as_secs_f64());
        if due {
            let look = Look::at(&daemon, begun);
            looks.push(look);
            println!(
                "       {:7.0}  {:7.0}  {:11}  {:7}  {:7}  {:5}  {pods:4}  {restarts:8}  {kills:5}",
                look.seconds, look.resident, look.descriptors, look.threads, look.zombies, look.netns
            );
        }
    }
    if let Some(last) = last {
        last.stop().await.unwrap();
    }
    tokio::time::sleep(SETTLED).await;
    let base = Look::at(&daemon, begun);
    let seen = watcher.end();
    server.stop().await.unwrap();

    let warm: Vec<_> = looks.iter().filter(|look| look.seconds >= WARM.as_secs_f64()).copied().collect();
    assert!(warm.len() >= 4, "too short: {WARM:?} are only for warming up");
    let growth = growth(&warm);
    println!(
        "       over {seconds} s: RSS {:+.2} %, {} sweeps, none older than {:?}",
        growth * 100.0,
        seen.sweeps,
        seen.oldest
    );
    println!("       before {before:?}");
    println!("       after {base:?}");
    assert!(growth.abs() <= 0.05, "RSS went by {:.1} %: {warm:?}", growth * 100.0);
    assert_eq!(looks.iter().map(|look| look.zombies).max(), Some(0), "{looks:?}");
    assert!(base.descriptors <= before.descriptors, "{base:?} after {before:?}");
    assert_eq!(base.netns, before.netns, "netns were left: {base:?} after {before:?}");
    assert_eq!(base.threads, looks[0].threads, "{base:?} after {:?}", looks[0]);
    assert!(metric(&daemon, "podvitals_errors_total{room=\"host\",kind=\"io\"}") < 1.0);
}

/// What RSS did from the first look to the last, by the straight line nearest to all, as a part of the mean.
fn growth(looks: &[Look]) -> f64 {
    let count = looks.len() as f64;
    let mean = |of: fn(&Look) -> f64| looks.iter().map(of).sum::<f64>() / count;
    let (at, resident) = (mean(|look| look.seconds), mean(|look| look.resident));
    let covariance: f64 = looks.iter().map(|look| (look.seconds - at) * (look.resident - resident)).sum();
    let variance: f64 = looks.iter().map(|look| (look.seconds - at).powi(2)).sum();
    let whole = looks[looks.len() - 1].seconds - looks[0].seconds;
    covariance / variance * whole / resident
}

impl Look {
    fn at(daemon: &Daemon, begun: Instant) -> Self {
        let pid = daemon.pid();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
        };
        Self {
            seconds: begun.elapsed().as_secs_f64(),
            resident: field("VmRSS:") as f64,
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(),
            threads: field("Threads:"),
            zombies: zombies_of(pid),
            netns: mounted_netns(),
        }
    }
}

/// Children of the process that nobody has waited for.
fn zombies_of(pid: u32) -> usize {
    let stats = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path().join("stat"));
    let tails = stats.filter_map(|path| Some(fs::read_to_string(path).ok()?.rsplit_once(") ")?.1.to_owned()));
    tails.filter(|tail| tail.starts_with(&format!("Z {pid} "))).count()
}

/// Network namespaces that a runtime holds by a mount, of all testbeds of this name.
fn mounted_netns() -> usize {
    let name = std::env::var("PODVITALS_TEST_NAME").unwrap_or_else(|_| "test".to_owned());
    let ours = format!("/podvitals-testbed/{name}/");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().filter(|line| line.contains(" nsfs ") && line.contains(&ours)).count()
}
