//! What several sources tell, made into one list (pure).
//!
//! A pod is the union of what is told of it. Where two sources tell the same thing, the one that comes
//! first in [`Source`] is believed, the API server before the kubelet before the runtime; but for what a
//! container is doing, which the runtime knows first and the others hear a second later.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::model::identity::KnownContainer;
use crate::model::identity::KnownPod;
use crate::model::identity::KnownPods;
use crate::model::identity::PodUid;
use crate::model::identity::Source;

/// About what two sources disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Disagreement {
    /// What the pod is called.
    Name,
    /// Whether it uses the node's network.
    Network,
    /// What one of its containers is called.
    Container,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "namespace or name",
            Self::Network => "host network",
            Self::Container => "a container's name",
        })
    }
}

/// Pods and what they are disagreed about.
pub(super) type Disagreements = BTreeSet<(PodUid, Disagreement)>;

/// What each source told last.
#[derive(Debug)]
pub(super) struct Told(BTreeMap<Source, LastAnswer>);

#[derive(Debug)]
struct LastAnswer {
    pods: BTreeMap<PodUid, Arc<KnownPod>>,
    is_current: bool,
}

impl Told {
    /// Nothing so far.
    pub(super) fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// The source told all it knows.
    pub(super) fn pods(&mut self, source: Source, pods: Vec<KnownPod>) {
        let pods = pods.into_iter().map(|pod| (pod.runtime_uid.clone(), Arc::new(pod))).collect();
        self.0.insert(source, LastAnswer { pods, is_current: true });
    }

    /// The source does not answer: what it told stands.
    pub(super) fn lost(&mut self, source: Source) {
        if let Some(answer) = self.0.get_mut(&source) {
            answer.is_current = false;
        }
    }

    /// Everything together, and where sources disagree.
    pub(super) fn merge(&self) -> (KnownPods, Disagreements) {
        let mut known = KnownPods::default();
        let mut disagreements = BTreeSet::new();
        for (source, answer) in &self.0 {
            known.complete.push(*source);
            if answer.is_current {
                known.current.push(*source);
            }
            for (uid, told) in &answer.pods {
                let Some(pod) = known.pods.get_mut(uid) else {
                    known.pods.insert(uid.clone(), told.clone());
                    continue;
                };
                let mut disagree = |about| disagreements.insert((uid.clone(), about));
                add(Arc::make_mut(pod), told, &mut disagree);
            }
        }
        (known, disagreements)
    }
}

/// Adds to `pod` what a later source tells of it.
fn add(pod: &mut KnownPod, later: &KnownPod, disagree: &mut impl FnMut(Disagreement) -> bool) {
    if (&pod.namespace, &pod.name) != (&later.namespace, &later.name) {
        disagree(Disagreement::Name);
    }
    pod.host_network = match (pod.host_network, later.host_network) {
        // Traffic of the node shown as a pod's would be worse than none: the netns itself has to tell.
        (Some(one), Some(other)) if one != other => {
            disagree(Disagreement::Network);
            None
        }
        (one, other) => one.or(other),
    };
    pod.uid = pod.uid.take().or_else(|| later.uid.clone());
    pod.static_pod |= later.static_pod;
    pod.phase = pod.phase.take().or_else(|| later.phase.clone());
    pod.start_time = pod.start_time.or(later.start_time);
    pod.owner = pod.owner.take().or_else(|| later.owner.clone());
    if pod.labels.is_empty() {
        pod.labels.clone_from(&later.labels);
    }
    if pod.sandboxes.is_empty() {
        pod.sandboxes.clone_from(&later.sandboxes);
    }
    for container in &later.containers {
        match pod.containers.iter_mut().find(|known| known.id == container.id) {
            Some(known) => add_to_container(known, container, &later.sources, disagree),
            None => pod.containers.push(container.clone()),
        }
    }
    pod.sources.extend_from_slice(&later.sources);
}

fn add_to_container(
    known: &mut KnownContainer,
    later: &KnownContainer,
    told_by: &[Source],
    disagree: &mut impl FnMut(Disagreement) -> bool,
) {
    if known.name != later.name {
        disagree(Disagreement::Container);
    }
    known.kind = known.kind.or(later.kind);
    known.image = known.image.take().or_else(|| later.image.clone());
    known.started_at = known.started_at.or(later.started_at);
    known.cpu_request_cores = known.cpu_request_cores.or(later.cpu_request_cores);
    known.memory_request_bytes = known.memory_request_bytes.or(later.memory_request_bytes);
    if told_by.iter().any(|source| matches!(source, Source::Cri | Source::Docker)) {
        known.state = later.state;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::ContainerId;
    use crate::model::identity::ContainerKind;
    use crate::model::identity::ContainerState;

    fn pod(name: &str, source: Source) -> KnownPod {
        KnownPod {
            runtime_uid: PodUid::new("aa-bb").unwrap(),
            uid: None,
            namespace: "default".into(),
            name: name.into(),
            static_pod: false,
            host_network: None,
            phase: None,
            start_time: None,
            owner: None,
            labels: BTreeMap::new(),
            sandboxes: vec![],
            containers: vec![],
            sources: vec![source],
        }
    }

    fn container(kind: Option<ContainerKind>, state: ContainerState) -> KnownContainer {
        KnownContainer {
            id: ContainerId::new("ab12").unwrap(),
            name: "app".into(),
            kind,
            image: None,
            state,
            restart_count: 0,
            started_at: None,
            cpu_request_cores: None,
            memory_request_bytes: None,
        }
    }

    fn told(pods: impl IntoIterator<Item = KnownPod>) -> Told {
        let mut told = Told::new();
        for pod in pods {
            told.pods(pod.sources[0], vec![pod]);
        }
        told
    }

    fn only(told: &Told) -> (KnownPod, Vec<Disagreement>) {
        let (known, disagreements) = told.merge();
        assert_eq!(known.pods.len(), 1);
        let pod = known.pods.into_values().next().unwrap();
        (pod.as_ref().clone(), disagreements.into_iter().map(|(_, about)| about).collect())
    }

    #[test]
    fn two_sources_make_one_pod_and_the_first_is_believed() {
        let kube = KnownPod { phase: Some("Running".into()), ..pod("web", Source::Kube) };
        let cri = KnownPod { phase: Some("?".into()), host_network: Some(true), ..pod("web", Source::Cri) };
        let (pod, disagreements) = only(&told([cri, kube]));
        assert_eq!(pod.sources, [Source::Kube, Source::Cri]);
        assert_eq!((pod.phase.as_deref(), pod.host_network), (Some("Running"), Some(true)));
        assert_eq!(disagreements, []);
    }

    #[test]
    fn the_spec_tells_what_a_container_is_and_the_runtime_what_it_does() {
        let init = container(Some(ContainerKind::Init), ContainerState::Running);
        let ended = KnownContainer {
            image: Some("busybox:1".into()),
            ..container(Some(ContainerKind::App), ContainerState::Terminated)
        };
        let kube = KnownPod { containers: vec![init], ..pod("web", Source::Kube) };
        let cri = KnownPod { containers: vec![ended], ..pod("web", Source::Cri) };
        let (pod, disagreements) = only(&told([kube, cri]));
        let [container] = pod.containers.as_slice() else { panic!("one container") };
        assert_eq!(
            (container.kind, container.state),
            (Some(ContainerKind::Init), ContainerState::Terminated)
        );
        assert_eq!(container.image.as_deref(), Some("busybox:1"));
        assert_eq!(disagreements, []);
    }

    #[test]
    fn sources_that_name_a_pod_differently_disagree() {
        let (pod, disagreements) = only(&told([pod("other", Source::Cri), pod("web", Source::Kube)]));
        assert_eq!(pod.name.as_ref(), "web");
        assert_eq!(disagreements, [Disagreement::Name]);
    }

    #[test]
    fn sources_that_differ_about_the_network_leave_it_open() {
        let kube = KnownPod { host_network: Some(false), ..pod("web", Source::Kube) };
        let cri = KnownPod { host_network: Some(true), ..pod("web", Source::Cri) };
        let (pod, disagreements) = only(&told([kube, cri]));
        assert_eq!(pod.host_network, None);
        assert_eq!(disagreements, [Disagreement::Network]);
    }

    #[test]
    fn what_a_lost_source_told_stands_until_it_answers_again() {
        let mut told = told([pod("web", Source::Cri)]);
        told.lost(Source::Cri);
        let (known, _) = told.merge();
        assert_eq!((known.pods.len(), known.complete, known.current), (1, vec![Source::Cri], vec![]));
        told.pods(Source::Cri, vec![]);
        let (known, _) = told.merge();
        assert_eq!((known.pods.len(), known.current), (0, vec![Source::Cri]));
    }

    #[test]
    fn a_source_that_never_answered_is_neither_complete_nor_current() {
        let mut told = Told::new();
        told.lost(Source::Cri);
        assert_eq!(told.merge(), (KnownPods::default(), BTreeSet::new()));
    }
}
