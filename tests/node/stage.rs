//! What all tests share: the testbed, and two daemons that watch it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Mutex;

use podvitals_testbed::Container;
use podvitals_testbed::Pod;
use podvitals_testbed::Testbed;
use podvitals_testbed::suite;

use crate::daemon::Daemon;
use crate::daemon::PODVITALS;
use crate::odd_networks::Hidden;

pub(crate) struct Stage {
    pub(crate) testbed: Testbed,
    /// As root on the host, with names from the runtime.
    pub(crate) full: Daemon,
    /// In a pod: uid 65532, no capability, namespaces of its own, the host's `/proc` and
    /// `/sys/fs/cgroup` read-only, no runtime socket.
    pub(crate) confined: Daemon,
    /// The pod it is in.
    pub(crate) profile: Pod,
    /// The process of `confined`, as the host sees it.
    pub(crate) confined_pid: u32,
    /// The container it is in.
    pub(crate) confined_container: Container,
    home: PathBuf,
    /// A pod that some tests share, because it has to be watched for a minute.
    pub(crate) hidden: Mutex<Option<Hidden>>,
}

impl Stage {
    pub(crate) async fn set(name: &str) -> anyhow::Result<Self> {
        let testbed = Testbed::start(name).await?;
        crate::daemon::live_in(testbed.scratch().join("daemons"));
        let home = testbed.scratch().join("p0");
        fs::create_dir_all(&home)?;
        fs::set_permissions(&home, fs::Permissions::from_mode(0o777))?;
        fs::copy(PODVITALS, home.join("podvitals"))?;
        let profile = testbed.pod("p0").run().await?;
        let process = confine(&profile, &home).await?;
        let confined = Daemon::attach(home.join("socket"));
        let full = Daemon::start(&testbed, &[]).await;
        confined.until_ready().await;
        let confined_pid = process.pid();
        let hidden = Mutex::default();
        Ok(Self { full, confined, profile, confined_pid, confined_container: process, home, hidden, testbed })
    }

    /// The two daemons, by what they are.
    pub(crate) fn observers(&self) -> [(&'static str, &Daemon); 2] {
        [("root", &self.full), ("no privilege", &self.confined)]
    }
}

impl suite::Stage for Stage {
    async fn strike(self) -> anyhow::Result<()> {
        drop(self.full);
        drop(self.hidden);
        self.profile.stop().await?;
        fs::remove_dir_all(self.home)?;
        self.testbed.stop().await
    }
}

/// Starts podvitals in the pod, as a runtime confines it. The host's dynamic linker and libraries come
/// in read-only too, since the binary under test is not a static one.
async fn confine(pod: &Pod, home: &std::path::Path) -> anyhow::Result<Container> {
    let mut builder = pod.container("podvitals").least_privilege().mount(home, "/home");
    let mounts = [
        ("/proc", "/host/proc"),
        ("/sys/fs/cgroup", "/host/sys/fs/cgroup"),
        ("/lib", "/lib"),
        ("/lib64", "/lib64"),
    ];
    for (host, inside) in mounts {
        builder = builder.mount_readonly(host, inside);
    }
    let flags = "serve --listen unix:///home/socket --source cgroup --proc-root /host/proc --cgroup-root /host/sys/fs/cgroup";
    let command = std::iter::once("/home/podvitals").chain(flags.split(' '));
    builder.command(command).run().await
}
