//! Pods that come and go as fast as they can be made, while several readers look: no figure is another's.
//!
//! ```text
//! make test-churn      2,000 real containers instead of some dozens
//! ```

use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use podvitals_testbed::Testbed;
use podvitals_testbed::made_up::MadeUpPod;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::daemon::Daemon;
use crate::ledger::Entry;
use crate::ledger::Ledger;
use crate::stage::Stage;

/// Made-up pods are begun so often where no others are made: 25 a second. The kernel sets no limit near that:
/// eight threads that do nothing else made and ended 78 a second on two cores.
const PACE: Duration = Duration::from_millis(40);

/// And so often beside a runtime, which is to make containers as fast as it can: that takes most of two cores.
const PACE_BESIDE: Duration = Duration::from_millis(120);

/// By so many at once: enough for each to live for several sweeps, on a machine that is held up too.
const MADE_UP_MAKERS: u64 = 24;

/// What each lives for, once it was sent its frames.
const LIFE: Duration = Duration::from_millis(350);

/// Real pods are made by so many at once, as fast as containerd goes, of so many containers each: a sandbox
/// with its CNI plugins takes as long as several.
const REAL_MAKERS: u64 = 3;
const CONTAINERS: u64 = 8;

/// Each sweep is looked at more than once: they come every 100 ms.
const LOOK: Duration = Duration::from_millis(30);

/// At least so long, and until there were so many real containers.
const LEAST: Duration = Duration::from_secs(20);

/// Then so long without real ones.
const ALONE: Duration = Duration::from_secs(15);

/// How many real containers are wanted; none said is a short run.
fn wanted() -> Option<u64> {
    Some(std::env::var("PODVITALS_CHURN").ok()?.parse().unwrap())
}

/// Made-up pods a second, where no others are made. The whole run is for a machine that does nothing else.
fn least_pace() -> f64 {
    if wanted().is_some() { 20.0 } else { 12.0 }
}

/// Beside a runtime.
const LEAST_PACE_BESIDE: f64 = 4.0;

pub(crate) async fn no_figure_of_a_pod_is_ever_another_s(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let ledger = Ledger::new();
    let daemons = [
        Daemon::start(testbed, &["--interval", "100ms"]).await,
        Daemon::start(testbed, &["--interval", "100ms", "--source", "cgroup"]).await,
    ];
    let stop = AtomicBool::new(false);
    let begun = Instant::now();
    let (ledger, stop) = (&ledger, &stop);
    let pace = Pace { next: Mutex::new((begun, PACE_BESIDE)), made: AtomicU64::new(0) };
    let [beside, alone] = std::thread::scope(|scope| {
        for daemon in daemons.iter().chain([&stage.confined]) {
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let answer = daemon.get("/api/v1/pods");
                    // On a machine that has far too much to do it may say that it has nothing fresh.
                    match answer.status {
                        503 => assert!(answer.body.contains("stale"), "{}", answer.body),
                        _ => ledger.check(&serde_json::from_str(&answer.body).unwrap()),
                    }
                    std::thread::sleep(LOOK);
                }
            });
        }
        // Told to stop also when a maker fails, or the scope would wait for ever.
        let told = Told(stop);
        let makers: Vec<_> =
            (0..MADE_UP_MAKERS).map(|_| scope.spawn(|| make_up(ledger, testbed, &pace, stop))).collect();
        let real = tokio::task::block_in_place(|| {
            let all = (0..REAL_MAKERS).map(|maker| make_real(ledger, testbed, maker, begun));
            tokio::runtime::Handle::current().block_on(futures_util::future::join_all(all))
        });
        let real = real.iter().sum::<u64>();
        let (beside, seconds) = (pace.since(begun, 0), begun.elapsed().as_secs_f64());
        println!("       {real} real pods of {CONTAINERS} containers in {seconds:.1} s");
        pace.set(PACE);
        let (then, made) = (Instant::now(), pace.made());
        tokio::task::block_in_place(|| std::thread::sleep(ALONE));
        let alone = pace.since(then, made);
        println!("       beside them {beside:.1} made-up pods a second, without them {alone:.1}");
        drop(told);
        makers.into_iter().for_each(|maker| maker.join().unwrap());
        [beside, alone]
    });
    let account = ledger.account();
    println!(
        "       {} pods: {} shown whole, {} with their limit; {} figures checked, {} wrong",
        account.pods,
        account.served_whole,
        account.served_limit,
        account.checked,
        account.wrong.len()
    );
    assert!(account.wrong.is_empty(), "{:?}", &account.wrong[..account.wrong.len().min(10)]);
    // A machine that is held up shows a pod of a third of a second too late.
    let most = if wanted().is_some() { account.pods * 9 / 10 } else { account.pods * 3 / 4 };
    assert!(account.served_whole >= most && account.served_limit >= most, "too few were seen: {account:?}");
    assert!(beside >= LEAST_PACE_BESIDE, "{beside:.1} made-up pods a second beside real ones are no churn");
    assert!(alone >= least_pace(), "{alone:.1} made-up pods a second are no churn");
}

/// Says stop, however its scope ends.
struct Told<'a>(&'a AtomicBool);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// When the next made-up pod is due and how long after it the one after that, and how many there were.
struct Pace {
    next: Mutex<(Instant, Duration)>,
    made: AtomicU64,
}

impl Pace {
    fn set(&self, gap: Duration) {
        self.next.lock().unwrap().1 = gap;
    }

    /// What was not begun in time is not made up for.
    fn wait(&self) {
        let due = {
            let mut next = self.next.lock().unwrap();
            let due = next.0.max(Instant::now());
            next.0 = due + next.1;
            due
        };
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }

    fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// Made a second since there were so many.
    fn since(&self, then: Instant, made: u64) -> f64 {
        (self.made() - made) as f64 / then.elapsed().as_secs_f64()
    }
}

/// Pods without a runtime, one after the other.
fn make_up(ledger: &Ledger, testbed: &Testbed, pace: &Pace, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        pace.wait();
        let (uid, entry) = ledger.enter();
        let builder = MadeUpPod::builder(&testbed.cgroup_prefix(), &uid).bridge(&testbed.bridge());
        let pod = builder.start().unwrap();
        entry.lives_in_netns_of(pod.sandbox_pid().unwrap());
        let limit = pod.children()[0].cgroup_dir("memory").unwrap().join("memory.limit_in_bytes");
        std::fs::write(limit, entry.memory_limit().to_string()).unwrap();
        let (veth, frames) = (pod.host_veth().unwrap(), entry.number.to_string());
        let sent = Command::new(pod.load()).args(["frames", veth, &frames]).output().unwrap();
        assert!(sent.status.success(), "{sent:?}");
        until_counted(&entry, pod.sandbox_pid().unwrap());
        std::thread::sleep(LIFE);
        pod.stop().unwrap();
        pace.made.fetch_add(1, Ordering::Relaxed);
    }
}

/// Real pods, one after the other. Returns how many.
async fn make_real(ledger: &Ledger, testbed: &Testbed, maker: u64, begun: Instant) -> u64 {
    let (mut made, wanted) = (0, wanted().unwrap_or(0));
    while made * CONTAINERS * REAL_MAKERS < wanted || begun.elapsed() < LEAST {
        let (uid, entry) = ledger.enter();
        let pod = testbed.pod(&format!("churn-{maker}-{made}")).uid(&uid).run().await.unwrap();
        entry.lives_in_netns_of(pod.sandbox_pid());
        for number in 0..CONTAINERS {
            let app = pod.container(&format!("app-{number}")).args(["idle"]);
            app.memory_limit(entry.memory_limit()).run().await.unwrap();
        }
        pod.force_rx_drops(entry.number).await.unwrap();
        until_counted(&entry, pod.sandbox_pid());
        sleep(LIFE).await;
        pod.stop().await.unwrap();
        made += 1;
    }
    made
}

/// The frames are on their way for a moment. What the pod's own file says is the oracle.
fn until_counted(entry: &Entry, pid: u32) {
    let mut left = 1_000;
    while crate::oracle::net_dev(pid, "eth0")[3] < entry.number {
        assert!(left > 0, "the frames were never counted");
        left -= 1;
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(crate::oracle::net_dev(pid, "eth0")[3], entry.number, "somebody else's frames");
    entry.is_whole();
}
