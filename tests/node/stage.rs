//! What all tests share: the testbed, and two daemons that watch it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use podvitals_testbed::Container;
use podvitals_testbed::Pod;
use podvitals_testbed::Testbed;

use crate::daemon::Daemon;
use crate::daemon::PODVITALS;

pub(crate) struct Stage {
    pub(crate) testbed: Testbed,
    /// As root on the host, with names from the runtime.
    pub(crate) full: Daemon,
    /// In a pod: uid 65532, no capability, namespaces of its own, the host's `/proc` and
    /// `/sys/fs/cgroup` read-only, no runtime socket.
    pub(crate) confined: Daemon,
    profile: Pod,
    /// The process of `confined`, as the host sees it.
    pub(crate) confined_pid: u32,
    home: PathBuf,
}

impl Stage {
    pub(crate) async fn set(name: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let testbed = Testbed::start(name).await?;
        let home = testbed.scratch().join("p0");
        fs::create_dir_all(&home)?;
        fs::set_permissions(&home, fs::Permissions::from_mode(0o777))?;
        fs::copy(PODVITALS, home.join("podvitals"))?;
        let profile = testbed.pod("p0").run().await?;
        let process = confine(&profile, &home).await?;
        let confined = Daemon::attach(home.join("socket"));
        let full = Daemon::start(&testbed, &[]).await;
        confined.until_ready().await;
        Ok(Self { full, confined, profile, confined_pid: process.pid(), home, testbed })
    }

    /// The two daemons, by what they are.
    pub(crate) fn observers(&self) -> [(&'static str, &Daemon); 2] {
        [("root", &self.full), ("no privilege", &self.confined)]
    }

    pub(crate) async fn strike(self) -> Result<(), Box<dyn std::error::Error>> {
        drop(self.full);
        self.profile.stop().await?;
        fs::remove_dir_all(self.home)?;
        self.testbed.stop().await?;
        Ok(())
    }
}

/// Starts podvitals in the pod, as a runtime confines it. The host's dynamic linker and libraries come
/// in read-only too, since the binary under test is not a static one.
async fn confine(pod: &Pod, home: &std::path::Path) -> Result<Container, Box<dyn std::error::Error>> {
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
    Ok(builder.command(command).run().await?)
}
