//! Stale is not fresh: a sampler that is held up in a read is noticed, named, and survived.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep;

use crate::daemon::Daemon;
use crate::stage::Stage;

pub(crate) async fn a_sampler_that_is_held_up_is_not_taken_for_fresh(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let victim = testbed.pod("stale").run().await.unwrap();
    victim.container("app").args(["idle"]).run().await.unwrap();

    // A `/proc` in which this one pod's `net/dev` is ours to replace: by a pipe that nobody writes to,
    // which holds up whoever opens it, as a hung kernel lock would.
    let proc = std::env::temp_dir().join(format!("podvitals-stale-{}", std::process::id()));
    fs::create_dir_all(&proc).unwrap();
    for name in ["1", "stat", "meminfo", "diskstats", "self", "pressure"] {
        symlink(Path::new("/proc").join(name), proc.join(name)).unwrap();
    }
    let (real, fake) = (
        Path::new("/proc").join(victim.sandbox_pid().to_string()),
        proc.join(victim.sandbox_pid().to_string()),
    );
    fs::create_dir_all(fake.join("net")).unwrap();
    for name in ["cgroup", "stat", "net/dev"] {
        fs::copy(real.join(name), fake.join(name)).unwrap();
    }

    let root = proc.to_str().unwrap();
    let daemon = Daemon::start(testbed, &["--proc-root", root, "--interval", "500ms"]).await;
    daemon.next_list().await;
    assert_eq!(daemon.get("/livez").status, 200);

    let pipe = fake.join("net/pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let healthy = fake.join("net/healthy");
    fs::rename(fake.join("net/dev"), &healthy).unwrap();
    fs::rename(&pipe, fake.join("net/dev")).unwrap();
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
    fs::write(fake.join("net/dev"), "").unwrap();
    fs::rename(&healthy, fake.join("net/dev")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while status("/api/v1/pods") != 200 || status("/livez") != 200 {
        assert!(Instant::now() < deadline, "never recovered; log:\n{}", daemon.log());
        sleep(Duration::from_millis(100)).await;
    }
    drop(daemon);
    fs::remove_dir_all(proc).unwrap();
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
