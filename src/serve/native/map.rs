//! `/api/v1/map`: how each pod was found, link by link.

use super::pods::{is_settled, sandbox};
use crate::model::document;
use crate::model::sweep::NetworkSource;
use crate::model::target::{ContainerTarget, Evidence, NetworkTarget, PodTarget, TargetSet};

/// The whole document.
pub(in crate::serve) fn document(node: &str, targets: &TargetSet) -> document::Map {
    let mut pods: Vec<&PodTarget> = targets.pods.iter().map(AsRef::as_ref).collect();
    pods.sort_by(|a, b| super::pods::order(a, b));
    document::Map {
        node: node.to_owned(),
        generation: targets.generation,
        pods: pods.into_iter().map(pod).collect(),
    }
}

fn pod(target: &PodTarget) -> document::MapPod {
    let known = target.known.as_deref();
    document::MapPod {
        namespace: known.map(|known| known.namespace.to_string()),
        name: known.map(|known| known.name.to_string()),
        uid: known.and_then(|known| known.uid.as_ref()).map(ToString::to_string),
        runtime_uid: target.runtime_uid.to_string(),
        identity: known.map(|known| known.sources.clone()).unwrap_or_default(),
        cgroup: target.cgroup.path.to_string(),
        since_unix_nano: target.since.as_unix_nanos(),
        sandbox_settled: target.sandbox_settled,
        sandbox: sandbox(target, None),
        network: network(&target.network).to_owned(),
        containers: target.containers.iter().map(|child| container(target, child)).collect(),
        evidence: target.evidence.iter().map(evidence).collect(),
        disagreements: known.map(|known| known.disagreements.clone()).unwrap_or_default(),
    }
}

fn network(target: &NetworkTarget) -> &'static str {
    match target {
        NetworkTarget::Absent(why) => why.word(),
        NetworkTarget::Netns(_) => NetworkSource::Netns.word(),
        NetworkTarget::HostVeth(..) => NetworkSource::HostVeth.word(),
    }
}

fn container(pod: &PodTarget, child: &ContainerTarget) -> document::MapContainer {
    let known = child.known.as_deref().filter(|_| is_settled(pod));
    document::MapContainer {
        id: child.container_id.to_string(),
        name: known.map(|known| known.name.to_string()),
        kind: known.and_then(|known| known.kind),
        cgroup: child.cgroup.path.to_string(),
        since_unix_nano: child.cgroup.since.as_unix_nanos(),
    }
}

fn evidence(evidence: &Evidence) -> document::MapEvidence {
    let Evidence { link, found, by, since } = evidence;
    document::MapEvidence {
        link: Some(*link),
        found: found.clone(),
        by: by.clone(),
        since_unix_nano: since.as_unix_nanos(),
    }
}
