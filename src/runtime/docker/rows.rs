//! The engine's containers told as the sandboxes and containers that cri-dockerd made them from (pure).
//!
//! ```text
//!   Names   /k8s_POD_web_default_9c43…_0        /k8s_app_web_default_9c43…_2      the last part: the attempt
//!   Labels  annotation.kubernetes.io/config.source=api                            an annotation
//! ```

use bollard::models::ContainerInspectResponse;
use bollard::models::ContainerSummary;
use bollard::models::ContainerSummaryStateEnum as State;
use jiff::Timestamp;

use crate::model::identity::NetworkMode;
use crate::model::time::WallTime;

use super::super::messages::Container;
use super::super::messages::ContainerMetadata;
use super::super::messages::Entry;
use super::super::messages::ImageSpec;
use super::super::messages::PodSandbox;
use super::super::messages::PodSandboxMetadata;
use super::super::pods::ContainerDetail;
use super::super::pods::Listed;
use super::super::pods::SandboxDetail;
use super::super::pods::image_name;

pub(super) const SANDBOX: &str = "io.kubernetes.sandbox.id";
pub(super) const POD_NAME: &str = "io.kubernetes.pod.name";
pub(super) const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub(super) const POD_UID: &str = "io.kubernetes.pod.uid";
pub(super) const CONTAINER_NAME: &str = "io.kubernetes.container.name";

const ANNOTATION: &str = "annotation.";

/// Sorts the list. A container without the label is no pod's: an engine that is too old to be asked for
/// those alone tells of all.
pub(super) fn listed(rows: Vec<ContainerSummary>) -> Listed {
    let mut listed = Listed::default();
    for row in rows {
        let kind = label(&row, super::TYPE).map(str::to_owned);
        let known = match kind.as_deref() {
            Some("podsandbox") => sandbox(row).map(|sandbox| listed.sandboxes.push(sandbox)),
            Some("container") => container(row).map(|container| listed.containers.push(container)),
            None if row.id.is_some() => Some(()),
            _ => None,
        };
        listed.refused += usize::from(known.is_none());
    }
    listed
}

fn label<'a>(row: &'a ContainerSummary, key: &str) -> Option<&'a str> {
    row.labels.as_ref()?.get(key).map(String::as_str)
}

fn sandbox(row: ContainerSummary) -> Option<PodSandbox> {
    let metadata = PodSandboxMetadata {
        name: label(&row, POD_NAME)?.to_owned(),
        uid: label(&row, POD_UID)?.to_owned(),
        namespace: label(&row, POD_NAMESPACE)?.to_owned(),
        attempt: attempt(&row),
    };
    let lives = matches!(row.state, Some(State::RUNNING | State::PAUSED));
    let (labels, annotations) = entries(&row);
    Some(PodSandbox {
        id: row.id?,
        metadata: Some(metadata),
        state: i32::from(!lives),
        created_at: row.created.and_then(|seconds| seconds.checked_mul(1_000_000_000)).unwrap_or(0),
        // The engine's own, and its images', stay away; a pod's labels have no such names.
        labels: labels.into_iter().filter(|label| !is_docker_s(label)).collect(),
        annotations,
        runtime_handler: String::new(),
    })
}

fn is_docker_s(label: &Entry) -> bool {
    label.key == super::TYPE || label.key == SANDBOX || label.key == CONTAINER_NAME
}

fn container(row: ContainerSummary) -> Option<Container> {
    let name = label(&row, CONTAINER_NAME)?.to_owned();
    let pod_sandbox_id = label(&row, SANDBOX).unwrap_or_default().to_owned();
    let attempt = attempt(&row);
    let (labels, annotations) = entries(&row);
    Some(Container {
        id: row.id?,
        pod_sandbox_id,
        metadata: Some(ContainerMetadata { name, attempt }),
        image: row.image.map(|image| ImageSpec { image, ..ImageSpec::default() }),
        image_ref: String::new(),
        state: match row.state {
            Some(State::CREATED) => 0,
            Some(State::RUNNING | State::PAUSED | State::RESTARTING | State::STOPPING) => 1,
            Some(State::EXITED | State::DEAD | State::REMOVING) => 2,
            Some(State::EMPTY) | None => 3,
        },
        labels,
        annotations,
    })
}

/// `2` of `/k8s_app_web_default_9c43…_2`. A name or a namespace has no `_`; what is not named like that,
/// cri-dockerd did not make.
fn attempt(row: &ContainerSummary) -> u32 {
    let name = row.names.iter().flatten().find_map(|name| name.trim_start_matches('/').strip_prefix("k8s_"));
    name.and_then(|name| name.rsplit('_').next()?.parse().ok()).unwrap_or(0)
}

/// Labels, and annotations.
fn entries(row: &ContainerSummary) -> (Vec<Entry>, Vec<Entry>) {
    let all = row.labels.iter().flatten().map(|(key, value)| {
        let annotation = key.strip_prefix(ANNOTATION);
        let entry = |key: &str| Entry { key: key.to_owned().into(), value: value.clone().into() };
        (annotation.is_some(), entry(annotation.unwrap_or(key)))
    });
    let (mut labels, mut annotations) = (Vec::new(), Vec::new());
    for (is_annotation, entry) in all {
        if is_annotation { annotations.push(entry) } else { labels.push(entry) }
    }
    // The engine's order is another at each question, and of many labels only the first are kept.
    labels.sort_by(|a, b| a.key.cmp(&b.key));
    (labels, annotations)
}

/// The pause process, and whose network it is in. A pid of 0 is what the engine says of one that has
/// ended: it would lead to `/proc/0`, so it is no pid.
pub(super) fn sandbox_detail(container: &ContainerInspectResponse) -> SandboxDetail {
    let pid = container.state.as_ref().and_then(|state| state.pid);
    let mode = container.host_config.as_ref().and_then(|config| config.network_mode.as_deref());
    SandboxDetail {
        pid: pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0),
        network: match mode {
            None | Some("") => None,
            Some("host") => Some(NetworkMode::Node),
            // Somebody else's: whose, the netns itself has to tell.
            Some(mode) if mode.starts_with("container:") => None,
            Some(_) => Some(NetworkMode::Pod),
        },
    }
}

/// When it started, the image as it was asked for, and why it ended if it has, in cri-dockerd's words.
pub(super) fn container_detail(container: &ContainerInspectResponse) -> ContainerDetail {
    let state = container.state.as_ref();
    let started = state.and_then(|state| state.started_at.as_deref());
    let image = container.config.as_ref().and_then(|config| config.image.as_deref());
    let reason = state.and_then(|state| match (state.oom_killed, state.exit_code) {
        (Some(true), _) => Some("OOMKilled"),
        (_, Some(0)) => Some("Completed"),
        (_, Some(_)) => Some("Error"),
        (_, None) => None,
    });
    ContainerDetail {
        started_at: started.and_then(instant),
        image: image.and_then(image_name),
        reason: reason.map(Into::into),
    }
}

/// `0001-01-01T00:00:00Z` is the engine's *not yet*.
fn instant(text: &str) -> Option<WallTime> {
    let nanos = text.parse::<Timestamp>().ok()?.as_nanosecond();
    u64::try_from(nanos).ok().filter(|nanos| *nanos > 0).map(WallTime::from_unix_nanos)
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
