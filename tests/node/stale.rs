//! Stale is not fresh: a sampler that is held up in a read is noticed, named, and survived.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use podvitals_testbed::Testbed;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::daemon::Daemon;
use crate::stage::Stage;

/// A `/proc` in which one process's `net/dev` may be a pipe that nobody writes to: that holds up whoever
/// opens it, as a hung kernel lock would.
pub(crate) struct HangingProc {
    root: PathBuf,
    net: PathBuf,
}

impl HangingProc {
    pub(crate) fn of(testbed: &Testbed, pid: u32) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let root = testbed.scratch().join(format!("hanging-proc-{number}"));
        let (real, fake) = (Path::new("/proc").join(pid.to_string()), root.join(pid.to_string()));
        let net = fake.join("net");
        fs::create_dir_all(&net).unwrap();
        for name in ["1", "stat", "meminfo", "diskstats", "self", "pressure"] {
            symlink(Path::new("/proc").join(name), root.join(name)).unwrap();
        }
        for name in ["cgroup", "stat", "net/dev"] {
            fs::copy(real.join(name), fake.join(name)).unwrap();
        }
        Self { root, net }
    }

    pub(crate) fn root(&self) -> &str {
        self.root.to_str().unwrap()
    }

    pub(crate) fn hang(&self) {
        let pipe = self.net.join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        fs::rename(self.net.join("dev"), self.net.join("healthy")).unwrap();
        fs::rename(&pipe, self.net.join("dev")).unwrap();
    }

    /// Whoever hangs there goes on.
    pub(crate) fn answer(&self) {
        let pipe = fs::File::options().read(true).write(true).open(self.net.join("dev")).unwrap();
        fs::rename(self.net.join("healthy"), self.net.join("dev")).unwrap();
        drop(pipe);
    }
}

impl Drop for HangingProc {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

pub(crate) async fn a_sampler_that_is_held_up_is_not_taken_for_fresh(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let victim = testbed.pod("stale").run().await.unwrap();
    victim.container("app").args(["idle"]).run().await.unwrap();

    let proc = HangingProc::of(testbed, victim.sandbox_pid());
    let daemon = Daemon::start(testbed, &["--proc-root", proc.root(), "--interval", "500ms"]).await;
    daemon.next_list().await;
    assert_eq!(daemon.get("/livez").status, 200);
    proc.hang();
    // The last sweep ended up to an interval before this.
    let held_up = Instant::now();

    let status = |path: &str| daemon.get(path).status;
    until(held_up, Duration::from_millis(4_400), Duration::from_secs(8), || status("/api/v1/pods") == 503)
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

    // The read comes back: so does everything else.
    proc.answer();
    let deadline = Instant::now() + Duration::from_secs(5);
    while status("/api/v1/pods") != 200 || status("/livez") != 200 {
        assert!(Instant::now() < deadline, "never recovered; log:\n{}", daemon.log());
        sleep(Duration::from_millis(100)).await;
    }
    drop(daemon);
    victim.stop().await.unwrap();
}

/// Waits until `holds`, which must not be before `least` nor after `most` since `begun`.
async fn until(begun: Instant, least: Duration, most: Duration, holds: impl Fn() -> bool) {
    while !holds() {
        assert!(begun.elapsed() < most, "still not so after {:?}", begun.elapsed());
        sleep(Duration::from_millis(50)).await;
    }
    assert!(begun.elapsed() >= least, "already so after {:?}", begun.elapsed());
}
