//! Stale is not fresh: a sampler or a resolver that is held up in a read is noticed, named, and survived.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use podvitals_testbed::Testbed;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::daemon::Daemon;
use crate::daemon::has_pod;
use crate::stage::Stage;

/// What the sampler reads of a process.
pub(crate) const OF_THE_SAMPLER: &str = "net/dev";

/// What the resolver reads of one it has not seen before.
const OF_THE_RESOLVER: &str = "cgroup";

/// A `/proc` in which a file of one process may be a pipe that nobody writes to: that holds up whoever
/// opens it, as a hung kernel lock would.
pub(crate) struct HangingProc {
    root: PathBuf,
    process: PathBuf,
}

impl HangingProc {
    pub(crate) fn of(testbed: &Testbed, pid: u32) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let root = testbed.scratch().join(format!("hanging-proc-{number}"));
        let (real, fake) = (Path::new("/proc").join(pid.to_string()), root.join(pid.to_string()));
        fs::create_dir_all(fake.join("net")).unwrap();
        for name in ["1", "stat", "meminfo", "diskstats", "self", "pressure"] {
            symlink(Path::new("/proc").join(name), root.join(name)).unwrap();
        }
        for name in ["cgroup", "stat", "net/dev"] {
            fs::copy(real.join(name), fake.join(name)).unwrap();
        }
        Self { root, process: fake }
    }

    pub(crate) fn root(&self) -> &str {
        self.root.to_str().unwrap()
    }

    pub(crate) fn hang(&self, file: &str) {
        let [file, healthy, pipe] = self.names(file);
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        fs::rename(&file, healthy).unwrap();
        fs::rename(pipe, file).unwrap();
    }

    /// Whoever hangs there goes on.
    pub(crate) fn answer(&self, file: &str) {
        let [file, healthy, _] = self.names(file);
        let pipe = fs::File::options().read(true).write(true).open(&file).unwrap();
        fs::rename(healthy, file).unwrap();
        drop(pipe);
    }

    /// As if the process were not there yet.
    fn hide(&self) {
        fs::rename(&self.process, self.root.join("hidden")).unwrap();
    }

    fn show(&self) {
        fs::rename(self.root.join("hidden"), &self.process).unwrap();
    }

    fn names(&self, file: &str) -> [PathBuf; 3] {
        ["", ".healthy", ".pipe"].map(|ending| self.process.join(format!("{file}{ending}")))
    }
}

impl Drop for HangingProc {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

pub(crate) async fn who_is_held_up_is_not_taken_for_fresh(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let victim = testbed.pod("stale").run().await.unwrap();
    victim.container("app").args(["idle"]).run().await.unwrap();

    let proc = HangingProc::of(testbed, victim.sandbox_pid());
    let daemon = Daemon::start(testbed, &["--proc-root", proc.root(), "--interval", "500ms"]).await;
    daemon.next_list().await;
    assert_eq!(daemon.get("/livez").status, 200);
    // Another, beside it: both take half a minute.
    let unseeing_proc = HangingProc::of(testbed, victim.sandbox_pid());
    unseeing_proc.hang(OF_THE_RESOLVER);
    unseeing_proc.hide();
    let unseeing = Daemon::start(testbed, &["--proc-root", unseeing_proc.root()]).await;
    unseeing.next_list().await;
    unseeing_proc.show();
    let shown = Instant::now();
    until(shown, Duration::ZERO, Duration::from_secs(20), || resolving_for(&unseeing) > 0.5).await;
    let unseeing_begun = Instant::now();
    proc.hang(OF_THE_SAMPLER);
    // The last sweep ended up to an interval before this, or more where it was late.
    let held_up = Instant::now();

    let status = |path: &str| daemon.get(path).status;
    until(held_up, Duration::from_millis(3_500), Duration::from_secs(8), || status("/api/v1/pods") == 503)
        .await;
    let answer = daemon.get("/api/v1/node");
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert_eq!(status("/livez"), 200, "not given up yet");
    assert_eq!(status("/metrics"), 200, "its own health is served all the same");
    until(held_up, Duration::from_secs(29), Duration::from_secs(34), || status("/livez") != 200).await;
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("held up")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("sample") && line.contains("net/dev"), "{line}");
    assert!(line.contains(&victim.sandbox_pid().to_string()), "{line}");

    until(unseeing_begun, Duration::from_secs(29), Duration::from_secs(36), || {
        unseeing.get("/livez").status != 200
    })
    .await;
    let livez = unseeing.get("/livez").body;
    assert!(
        livez.contains("[+]sweep ok") && livez.contains("[-]resolver failed: in one step for 3"),
        "{livez}"
    );
    assert!(has_pod(&unseeing.next_list().await, victim.uid()), "what is known goes on being sampled");
    let log = unseeing.log();
    assert!(log.lines().any(|line| line.contains("the resolver is held up")), "{log}");
    unseeing_proc.answer(OF_THE_RESOLVER);
    let answered = Instant::now();
    until(answered, Duration::ZERO, Duration::from_secs(5), || {
        unseeing.get("/livez").body == "ok" && has_network(&unseeing, victim.uid())
    })
    .await;

    // The read comes back: so does everything else.
    proc.answer(OF_THE_SAMPLER);
    let deadline = Instant::now() + Duration::from_secs(5);
    while status("/api/v1/pods") != 200 || status("/livez") != 200 {
        assert!(Instant::now() < deadline, "never recovered; log:\n{}", daemon.log());
        sleep(Duration::from_millis(100)).await;
    }
    drop(daemon);
    victim.stop().await.unwrap();
}

/// Seconds.
fn resolving_for(daemon: &Daemon) -> f64 {
    let metrics = daemon.get("/metrics").body;
    let told = metrics.lines().find_map(|line| line.strip_prefix("podvitals_resolving_seconds "));
    told.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap()
}

fn has_network(daemon: &Daemon, uid: &str) -> bool {
    daemon.list().pods.iter().any(|pod| pod.runtime_uid == uid && pod.network.is_some())
}

/// Waits until `holds`, which must not be before `least` nor after `most` since `begun`.
async fn until(begun: Instant, least: Duration, most: Duration, holds: impl Fn() -> bool) {
    while !holds() {
        assert!(begun.elapsed() < most, "still not so after {:?}", begun.elapsed());
        sleep(Duration::from_millis(50)).await;
    }
    assert!(begun.elapsed() >= least, "already so after {:?}", begun.elapsed());
}
