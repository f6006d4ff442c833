//! What all tests of a machine share: one daemon, and pods made on the spot.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use podvitals::model::document::PodList;
use podvitals_testbed::Qos;
use podvitals_testbed::made_up::Driver;
use podvitals_testbed::made_up::MadeUpPod;
use podvitals_testbed::made_up::MadeUpPodBuilder;
use podvitals_testbed::suite;
use tokio::time::Instant;

use crate::daemon::Daemon;
use crate::daemon::PODVITALS;
use crate::machine::Kind;

pub(crate) const DRIVERS: [Driver; 2] = [Driver::Cgroupfs, Driver::Systemd];
pub(crate) const MIB: u64 = 1 << 20;
/// The second disk, with its file system.
pub(crate) const FOLDER: &str = "/mnt";

pub(crate) struct Stage {
    pub(crate) daemon: Arc<Daemon>,
    pub(crate) kind: Kind,
}

impl Stage {
    pub(crate) async fn set(kind: Kind) -> anyhow::Result<Self> {
        run("mount -t ext4 /dev/vdb /mnt");
        crate::daemon::live_in("/tmp/daemons".into());
        let daemon = daemon(Command::new(PODVITALS), "500ms").await;
        Ok(Self { daemon: Arc::new(daemon), kind })
    }

    /// A pod to be made, of a UID that no other has.
    pub(crate) fn pod(&self, driver: Driver) -> MadeUpPodBuilder {
        let uid = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
        MadeUpPod::builder("", uid.trim()).driver(driver).qos(Qos::Burstable)
    }

    /// A sweep in which each container of the pod, and its network, have been there before.
    pub(crate) async fn settled(&self, pod: &MadeUpPod) -> PodList {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            let list = self.daemon.next_list().await;
            let found = list.pods.iter().find(|found| found.runtime_uid == pod.uid()).filter(|found| {
                pod.children().iter().all(|child| {
                    let mut containers = found.containers.iter();
                    containers.any(|container| {
                        let rate = container.cpu.as_ref().and_then(|cpu| cpu.cores);
                        container.id.as_deref() == Some(child.id()) && rate.is_some()
                    })
                }) && found.network.is_some()
            });
            if found.is_some() {
                return list;
            }
            assert!(Instant::now() < deadline, "{}: {:#?}\n{}", pod.uid(), list.pods, self.daemon.log());
        }
    }
}

impl suite::Stage for Stage {
    async fn strike(self) -> anyhow::Result<()> {
        let log = self.daemon.log();
        let complaints: Vec<&str> =
            log.lines().filter(|line| line.contains(" WARN ") || line.contains(" ERROR ")).collect();
        anyhow::ensure!(complaints.is_empty(), "podvitals complained: {complaints:#?}");
        Ok(())
    }
}

/// Starts `program`, which is or ends up as podvitals, and waits until it is ready.
pub(crate) async fn daemon(program: Command, interval: &str) -> Daemon {
    let daemon = Daemon::spawn(program, |command| {
        command.args(["--source", "cgroup", "--interval", interval]);
        // Ours, and no knobs of its.
        command.env_remove("PODVITALS_GUEST").env_remove("PODVITALS_TESTBED_LOAD");
    });
    daemon.until_ready().await;
    daemon
}

/// Runs a line of shell; it must end well. Returns what it wrote.
pub(crate) fn run(line: &str) -> String {
    let output = Command::new("/bin/sh").args(["-c", line]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{line}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}
