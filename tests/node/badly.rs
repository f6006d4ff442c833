//! A test that ends badly, for `scripts/test-leftovers`: it has made one of everything, and cleans up nothing.

use std::sync::Arc;

use podvitals_testbed::made_up::MadeUpPod;

use crate::daemon::Daemon;
use crate::disk::Disk;
use crate::stage::Stage;
use crate::watcher::Watcher;

/// How it is to end; the test is in the list only if this is set.
pub(crate) const HOW: &str = "PODVITALS_TEST_BADLY";

pub(crate) async fn it_ends_with_everything_in_its_hands(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let _disk = Disk::new(testbed, "badly");
    let pod = testbed.pod("badly").run().await.unwrap();
    pod.container("app").args(["spin"]).run().await.unwrap();
    let uid = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
    let builder = MadeUpPod::builder(&testbed.cgroup_prefix(), uid.trim()).bridge(&testbed.bridge());
    let _made_up = builder.start().unwrap();
    let daemon = Arc::new(Daemon::start(testbed, &[]).await);
    let _watcher = Watcher::of(&daemon, |_| {});
    let how = std::env::var(HOW).unwrap();
    eprintln!("badly: {how}");
    assert_eq!(how, "killed", "as it was told");
    let own = rustix::process::getpid();
    rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
}
