//! Who is asked for names, and what comes of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::MissedTickBehavior;
use tokio::time::interval;
use tracing::error;
use tracing::info;
use tracing::warn;

use crate::config::AskedSource;
use crate::config::Config;
use crate::config::SourceChoice;
use crate::discover;
use crate::discover::Runtime;
use crate::discover::Sources;
use crate::host::clock;
use crate::kubernetes::client::ApiServer;
use crate::kubernetes::kubelet::Kubelet;
use crate::kubernetes::watch::PodWatch;
use crate::model::health::Health;
use crate::model::identity::KnownPods;
use crate::model::identity::PodUid;
use crate::model::identity::Source;
use crate::model::target::TargetSet;

use super::PipelineError;
use super::resolving::Mailbox;

/// Pods are here for so long, and the API server knows none of them: it is asked for another node.
const MISMATCH: Duration = Duration::from_secs(60);

/// That is looked at this often.
const LOOK: Duration = Duration::from_secs(5);

/// The API server, if one is configured: for names, and for the access control of https listeners.
///
/// # Errors
/// If it was asked for by name and cannot be asked.
pub(super) async fn api_server(config: &Config) -> Result<Option<ApiServer>, PipelineError> {
    let explicit = config.source.names(AskedSource::Kube);
    match ApiServer::configured(explicit).await {
        Ok(api) => Ok(api),
        Err(error) if explicit => Err(PipelineError::Kubernetes(error)),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            warn!(%error, cause, "the API server is not asked");
            Ok(None)
        }
    }
}

/// The sources that are configured, and were asked for or are part of all.
///
/// # Errors
/// If one was asked for by name and cannot be asked.
pub(super) fn choose(
    config: &Config,
    node: &str,
    api: Option<&ApiServer>,
    health: &Arc<Health>,
) -> Result<Sources, PipelineError> {
    let wanted = |source| config.source.wants(source);
    let mut sources = Sources::default();
    if let Some(api) = api.filter(|_| wanted(AskedSource::Kube)) {
        info!(server = api.url(), node, "names come from the API server");
        sources.kube = Some(PodWatch::new(api.clone(), node, health.clone()));
    }
    if let Some(address) = config.kubelet.as_ref().filter(|_| wanted(AskedSource::Kubelet)) {
        info!(kubelet = address.url, "names come from the kubelet");
        sources.kubelet =
            Some(Kubelet::new(address, api, health.clone()).map_err(PipelineError::Kubernetes)?);
    }
    sources.cri = runtime(config, AskedSource::Cri)?;
    sources.docker = runtime(config, AskedSource::Docker)?;
    let is_there = |runtime: &Option<Runtime>| matches!(runtime, Some(Runtime::At(_)));
    let asked = [
        (Source::Kube, sources.kube.is_some()),
        (Source::Kubelet, sources.kubelet.is_some()),
        (Source::Cri, is_there(&sources.cri)),
        (Source::Docker, is_there(&sources.docker)),
    ];
    for (source, asked) in asked {
        health.source(source).configured.store(asked, Ordering::Relaxed);
    }
    if asked.iter().all(|(_, asked)| !asked) {
        info!("no source of names: pods are shown by UID, containers by id");
        health.identity_complete.store(true, Ordering::Relaxed);
    }
    Ok(sources)
}

/// The runtime at its socket, if it is to be asked; where all are that come, it may come later.
fn runtime(config: &Config, source: AskedSource) -> Result<Option<Runtime>, PipelineError> {
    match super::runtime_socket(config, source) {
        _ if !config.source.wants(source) => Ok(None),
        Some(socket) => Ok(Some(Runtime::At(socket))),
        None if config.source == SourceChoice::Auto => Ok(Some(Runtime::WhoeverComes)),
        None => {
            let source = if source == AskedSource::Docker { Source::Docker } else { Source::Cri };
            Err(PipelineError::NoRuntime { source_word: source.word() })
        }
    }
}

/// Whether anybody is asked, or may be.
pub(super) fn is_anybody(sources: &Sources) -> bool {
    let Sources { kube, kubelet, cri, docker } = sources;
    kube.is_some() || kubelet.is_some() || cri.is_some() || docker.is_some()
}

/// What following needs.
pub(super) struct Following {
    pub(super) node: Arc<str>,
    pub(super) unknown: mpsc::Receiver<()>,
    pub(super) targets: watch::Receiver<Arc<TargetSet>>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) health: Arc<Health>,
    pub(super) stopping: watch::Receiver<bool>,
}

/// Hands names from `discover` to the resolver.
pub(super) fn follow(sources: Sources, following: Following) {
    if !is_anybody(&sources) {
        return;
    }
    let Following { node, unknown, targets, mailbox, health, stopping } = following;
    let (sender, known) = watch::channel(Arc::<KnownPods>::default());
    if sources.kube.is_some() {
        tokio::spawn(watch_node_name(node, known.clone(), targets, health.clone(), stopping.clone()));
    }
    let stop = stopped(stopping.clone());
    tokio::spawn(discover::run(sources, sender, unknown, health.clone(), clock::pair, stop));
    tokio::spawn(hand_over(known, mailbox, health, stopping));
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

async fn hand_over(
    mut known: watch::Receiver<Arc<KnownPods>>,
    mailbox: Arc<Mailbox>,
    health: Arc<Health>,
    stopping: watch::Receiver<bool>,
) {
    let stop = stopped(stopping);
    tokio::pin!(stop);
    loop {
        tokio::select! {
            changed = known.changed() => if changed.is_err() { return },
            () = &mut stop => return,
        }
        let now = known.borrow_and_update().clone();
        if !now.complete.is_empty() {
            health.identity_complete.store(true, Ordering::Relaxed);
        }
        mailbox.post(|inbox| inbox.known = Some(now));
    }
}

/// Says it out loud when the API server is asked for a node that is not this one.
async fn watch_node_name(
    node: Arc<str>,
    known: watch::Receiver<Arc<KnownPods>>,
    targets: watch::Receiver<Arc<TargetSet>>,
    health: Arc<Health>,
    stopping: watch::Receiver<bool>,
) {
    let stop = stopped(stopping);
    tokio::pin!(stop);
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut strange_since = None;
    loop {
        tokio::select! {
            now = look.tick() => {
                let strange = {
                    let here = targets.borrow();
                    are_strangers(&known.borrow(), here.pods.iter().map(|pod| &pod.runtime_uid))
                };
                // One that is away takes nothing back.
                let Some(strange) = strange else { continue };
                strange_since = strange.then(|| strange_since.unwrap_or(now));
                say_mismatch(&node, strange_since, now, &health);
            }
            () = &mut stop => return,
        }
    }
}

/// Whether there are pods here, and the API server lists not one of them for our node name. `None` while
/// it is away, since it lists nobody then.
fn are_strangers<'a>(known: &KnownPods, here: impl IntoIterator<Item = &'a PodUid>) -> Option<bool> {
    let listed = |uid| known.pods.get(uid).is_some_and(|pod| pod.sources.contains(&Source::Kube));
    let mut here = here.into_iter().map(listed).peekable();
    let current = known.current.contains(&Source::Kube);
    current.then(|| here.peek().is_some() && !here.any(|listed| listed))
}

fn say_mismatch(node: &str, since: Option<Instant>, now: Instant, health: &Health) {
    let mismatch = since.is_some_and(|since| now.duration_since(since) >= MISMATCH);
    let before = health.node_name_mismatch.swap(mismatch, Ordering::Relaxed);
    if mismatch && !before {
        error!(
            node,
            "the API server lists none of the pods that run here under this node name: set \
             PODVITALS_NODE_NAME (--node-name) to this node's name as `kubectl get nodes` shows it"
        );
    } else if before && !mismatch {
        info!(node, "the pods that run here are listed under this node name");
    }
}

#[cfg(test)]
#[path = "naming_tests.rs"]
mod tests;
