//! The watchdog: a sampler, a resolver or an asker that never comes back from a read must not look like a quiet node.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tracing::error;
use tracing::info;

use crate::host;
use crate::host::HostRoot;
use crate::host::clock;
use crate::model::health;
use crate::model::target::TargetId;
use crate::model::target::TargetSet;
use crate::serve::Published;

/// Says out loud when the sampler, the resolver or who asks the file systems is held up, and where; and when it goes on.
pub(super) async fn run(published: Published, root: HostRoot, mut stopping: watch::Receiver<bool>) {
    let limit = health::stale_after(published.interval);
    let (mut sampler_held_up, mut resolver_held_up, mut asker_held_up) = (false, false, false);
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
        let (health, now) = (&published.health, clock::monotonic());
        let age = health.last_sweep_at().and_then(|last| now.since(last)).unwrap_or_default();
        let (begun, ended) = changes(&mut sampler_held_up, age > limit);
        if begun {
            let (target, file) = health.being_read();
            let path =
                directory(&published.targets.borrow(), &root, TargetId(target)).join(host::file_name(file));
            let (path, seconds) = (path.display(), age.as_secs_f64());
            error!(room = "sample", %path, seconds, "the sampler is held up in a read");
        }
        if ended {
            info!("the sampler goes on");
        }
        let busy = health.resolving_for(now);
        let (begun, ended) = changes(&mut resolver_held_up, busy > limit);
        if begun {
            let seconds = busy.as_secs_f64();
            error!(room = "resolve", seconds, "the resolver is held up: what comes and goes is not noticed");
        }
        if ended {
            info!("the resolver goes on");
        }
        let asking = health.asking_for(now);
        let (begun, ended) = changes(&mut asker_held_up, asking > limit);
        if begun {
            let seconds = asking.as_secs_f64();
            error!(room = "host", seconds, "a file system does not answer: what is known of them grows old");
        }
        if ended {
            info!("file systems answer again");
        }
    }
}

/// Whether what `was` so has begun, or ended.
fn changes(was: &mut bool, is: bool) -> (bool, bool) {
    let before = std::mem::replace(was, is);
    (is && !before, before && !is)
}

/// Where the file of a target is: below the process's directory, or in the cgroup below the mount of its
/// hierarchy. The node's own files are below `/proc`.
fn directory(targets: &TargetSet, root: &HostRoot, id: TargetId) -> PathBuf {
    for pod in &targets.pods {
        if let Some(process) = pod.process.as_ref().filter(|_| pod.id == id) {
            return root.process(process.pid);
        }
        if let Some(cgroup) = pod.cgroups().find(|cgroup| cgroup.id == id) {
            return cgroup.path.as_path().to_owned();
        }
    }
    root.proc.clone()
}
