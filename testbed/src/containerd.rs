//! The private containerd: its configuration and its process.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::time::{Instant, sleep};

use crate::cri::Cri;
use crate::image;
use crate::network::Network;
use crate::state::StateDir;

/// From start to `RuntimeReady` and `NetworkReady`: under a second on an idle machine.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// Debian keeps `runc` in /usr/sbin, which is not in everybody's PATH.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Writes the configuration and starts the process; ready when this returns.
///
/// In a process group of its own: a Ctrl-C at the terminal must reach us, not it, or there would be
/// no runtime left to stop the pods with.
pub(crate) async fn start(state: &StateDir, network: Network, cri: &Cri) -> Result<Child> {
    let config = state.join("config.toml");
    let cni = state.join("cni");
    fs::create_dir_all(&cni).with_context(|| cni.display().to_string())?;
    write(&cni.join("10-testbed.conflist"), network.cni_config(state).to_string().as_bytes())?;
    write(&config, config_text(state)?.as_bytes())?;
    let log = File::options().create(true).append(true).open(state.join("containerd.log"));
    let log = log.context("containerd.log")?;
    let mut child = Command::new("containerd")
        .arg("--config")
        .arg(&config)
        .env_clear()
        .env("PATH", PATH)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("containerd (package containerd)")?;
    match wait_until_ready(&mut child, cri).await {
        Ok(()) => Ok(child),
        Err(error) => Err(error.context(format!("containerd's log ends with:\n{}", log_tail(state)))),
    }
}

async fn wait_until_ready(child: &mut Child, cri: &Cri) -> Result<()> {
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            bail!("containerd ended: {status}");
        }
        let trouble = match cri.conditions().await {
            Ok(conditions) => match conditions.iter().find(|condition| !condition.status) {
                None if !conditions.is_empty() => return Ok(()),
                None => "no conditions yet".to_owned(),
                Some(condition) => format!("{}: {}", condition.name, condition.message),
            },
            Err(error) => format!("{error:#}"),
        };
        if Instant::now() >= deadline {
            bail!("containerd is not ready after {} s: {trouble}", START_PATIENCE.as_secs());
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Loads the archive and waits until CRI knows the images: it hears of them by an event. Returns
/// their names.
pub(crate) async fn import(state: &StateDir, cri: &Cri, archive: &Path) -> Result<Vec<String>> {
    let output = tokio::process::Command::new("ctr")
        .arg("--address")
        .arg(state.socket())
        .args(["--namespace", "k8s.io", "images", "import", "--snapshotter", snapshotter(state)?])
        .arg(archive)
        .env("PATH", PATH)
        .output()
        .await
        .context("ctr (package containerd)")?;
    if !output.status.success() {
        bail!("ctr images import: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    let imported = parse_imported(&String::from_utf8_lossy(&output.stdout));
    ensure!(!imported.is_empty(), "{}: no image with a name in it", archive.display());
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        let tags = cri.list_image_tags().await?;
        if imported.iter().all(|image| tags.contains(image)) {
            return Ok(imported);
        }
        if Instant::now() >= deadline {
            bail!("containerd imported {imported:?}, yet CRI knows only {tags:?}");
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// `unpacking localhost/pause:1 (sha256:0a1b…)...done`
fn parse_imported(said: &str) -> Vec<String> {
    let names = said.lines().filter_map(|line| line.strip_prefix("unpacking ")?.split(' ').next());
    names.map(str::to_owned).collect()
}

/// The last lines of the log, for an error.
pub(crate) fn log_tail(state: &StateDir) -> String {
    const LINES: usize = 30;
    let log = fs::read_to_string(state.join("containerd.log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// An overlay cannot have its upper layer on an overlay: inside a container files are copied.
pub(crate) fn snapshotter(state: &StateDir) -> Result<&'static str> {
    const OVERLAYFS_MAGIC: i64 = 0x794c_7630;
    let path = state.path();
    let kind = rustix::fs::statfs(&path).with_context(|| path.display().to_string())?.f_type;
    Ok(if kind == OVERLAYFS_MAGIC { "native" } else { "overlayfs" })
}

/// Where Debian's package and where everybody else puts the CNI plugins.
fn cni_plugins() -> Result<&'static str> {
    let folders = ["/usr/lib/cni", "/opt/cni/bin"];
    let found = folders.into_iter().find(|folder| Path::new(folder).join("bridge").exists());
    found.context("no CNI plugins in /usr/lib/cni or /opt/cni/bin (package containernetworking-plugins)")
}

/// Version 2, which containerd 1.4 and later read. What has a default outside our folder is moved
/// into it or switched off; `restrict_oom_score_adj` is for machines without CAP_SYS_RESOURCE,
/// where a sandbox could not have the kubelet's -998.
fn config_text(state: &StateDir) -> Result<String> {
    let dir = state.path();
    let dir = dir.display();
    let (plugins, snapshotter, pause) = (cni_plugins()?, snapshotter(state)?, image::PAUSE);
    Ok(format!(
        r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
address = "{dir}/containerd.sock"

[debug]
level = "warn"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
stream_server_address = "127.0.0.1"
stream_server_port = "0"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{dir}/cni"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "{snapshotter}"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "{dir}/runc"
SystemdCgroup = false
"#
    ))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_imported_images_are_read() {
        let said =
            "unpacking localhost/pause:1 (sha256:0a1b)...done\nunpacking ghcr.io/a/b:0.1.0 (sha256:2c)...";
        assert_eq!(parse_imported(said), ["localhost/pause:1", "ghcr.io/a/b:0.1.0"]);
        assert!(parse_imported("Loaded image: x\n").is_empty());
    }
}
