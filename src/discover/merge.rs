//! What several sources tell, made into one list (pure).
//!
//! A pod is the union of what is told of it. Where two sources tell the same thing, the one that comes
//! first in [`Source`] is believed, the API server before the kubelet before the runtime; but for what a
//! container is doing, which the runtime knows first and the others hear a second later. What changes, such
//! as phases and states, is not believed of a source that is away while another one answers. Where sources
//! that answer contradict each other, the pod carries both.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use crate::model::identity::ContainerId;
use crate::model::identity::ContainerState;
use crate::model::identity::Disagreement;
use crate::model::identity::KnownContainer;
use crate::model::identity::KnownPod;
use crate::model::identity::KnownPods;
use crate::model::identity::PodUid;
use crate::model::identity::Said;
use crate::model::identity::Source;
use crate::model::identity::Subject;
use crate::model::time::WallTime;

/// What each source told last.
#[derive(Debug, Default)]
pub(super) struct Told {
    answers: BTreeMap<Source, LastAnswer>,
    starts: Starts,
}

#[derive(Debug)]
struct LastAnswer {
    pods: BTreeMap<PodUid, Arc<KnownPod>>,
    is_current: bool,
}

/// When pods and containers started, as it was told first: two sources round the same instant
/// differently, and what was once served as a start does not move.
#[derive(Debug, Default)]
struct Starts {
    pods: HashMap<PodUid, WallTime>,
    containers: HashMap<ContainerId, WallTime>,
}

impl Told {
    /// The source told all it knows.
    pub(super) fn pods(&mut self, source: Source, pods: Vec<Arc<KnownPod>>) {
        let pods = pods.into_iter().map(|pod| (pod.runtime_uid.clone(), pod)).collect();
        self.answers.insert(source, LastAnswer { pods, is_current: true });
    }

    /// The source does not answer: what it told stands.
    pub(super) fn lost(&mut self, source: Source) {
        if let Some(answer) = self.answers.get_mut(&source) {
            answer.is_current = false;
        }
    }

    /// Everything together.
    pub(super) fn merge(&mut self) -> KnownPods {
        let mut known = KnownPods::default();
        let mut heard = HashSet::new();
        for (source, answer) in &self.answers {
            known.complete.push(*source);
            if answer.is_current {
                known.current.push(*source);
            }
            for (uid, told) in &answer.pods {
                let earlier = heard.contains(uid);
                match known.pods.get_mut(uid) {
                    Some(pod) => add(Arc::make_mut(pod), told, Heard { earlier, later: answer.is_current }),
                    None => drop(known.pods.insert(uid.clone(), told.clone())),
                }
                if answer.is_current {
                    heard.insert(uid);
                }
            }
        }
        self.starts.pin(&mut known);
        known
    }
}

impl Starts {
    /// Puts the start told first in the place of every later one, and forgets what is gone.
    fn pin(&mut self, known: &mut KnownPods) {
        let (mut pods, mut containers) = (HashMap::new(), HashMap::new());
        for (uid, pod) in &mut known.pods {
            let start = self.pods.get(uid).copied().or(pod.start_time);
            pods.extend(start.map(|start| (uid.clone(), start)));
            if start != pod.start_time {
                Arc::make_mut(pod).start_time = start;
            }
            for place in 0..pod.containers.len() {
                let container = &pod.containers[place];
                let Some(id) = container.id.clone() else { continue };
                let start = self.containers.get(&id).copied().or(container.started_at);
                if start != container.started_at {
                    Arc::make_mut(pod).containers[place].started_at = start;
                }
                containers.extend(start.map(|start| (id, start)));
            }
        }
        (self.pods, self.containers) = (pods, containers);
    }
}

/// Whose answer is good now.
#[derive(Clone, Copy)]
struct Heard {
    /// One of the sources that told of the pod so far.
    earlier: bool,
    /// The source whose word is added.
    later: bool,
}

impl Heard {
    /// What changes is to be taken from the later source.
    fn later_is_newer(self) -> bool {
        self.later && !self.earlier
    }

    /// What differs is a contradiction, not just old.
    fn both(self) -> bool {
        self.earlier && self.later
    }
}

/// Adds to `pod` what a later source tells of it.
fn add(pod: &mut KnownPod, later: &KnownPod, heard: Heard) {
    if heard.later_is_newer() {
        pod.phase = later.phase.clone().or(pod.phase.take());
    }
    let noted = pod.disagreements.len();
    disagree(pod, later, Subject::Name, |pod| Some(format!("{}/{}", pod.namespace, pod.name)));
    disagree(pod, later, Subject::Uid, |pod| pod.uid.as_ref().map(ToString::to_string));
    let contradicted =
        disagree(pod, later, Subject::HostNetwork, |pod| pod.host_network.map(|it| it.to_string()));
    // Traffic of the node shown as a pod's would be worse than none: the netns itself has to tell.
    pod.host_network = pod.host_network.or(later.host_network).filter(|_| !contradicted);
    pod.uid = pod.uid.take().or_else(|| later.uid.clone());
    pod.static_pod |= later.static_pod;
    pod.phase = pod.phase.take().or_else(|| later.phase.clone());
    pod.start_time = pod.start_time.or(later.start_time);
    pod.owner = pod.owner.take().or_else(|| later.owner.clone());
    if pod.labels.is_empty() {
        pod.labels.clone_from(&later.labels);
    }
    pod.runtime_class = pod.runtime_class.take().or_else(|| later.runtime_class.clone());
    pod.requests = pod.requests.or(later.requests);
    if pod.sandboxes.is_empty() {
        pod.sandboxes.clone_from(&later.sandboxes);
    }
    for container in &later.containers {
        add_container(pod, container, later, heard);
    }
    if !heard.both() {
        pod.disagreements.truncate(noted);
    }
    pod.sources.extend_from_slice(&later.sources);
}

/// Notes it if both say something of `about`, and not the same. Returns whether it did.
fn disagree(
    pod: &mut KnownPod,
    later: &KnownPod,
    about: Subject,
    say: impl Fn(&KnownPod) -> Option<String>,
) -> bool {
    let (Some(first), Some(second)) = (say(pod), say(later)) else { return false };
    first != second && note(pod, later, about, first, second)
}

fn note(pod: &mut KnownPod, later: &KnownPod, about: Subject, first: String, second: String) -> bool {
    let (Some(by), Some(but)) = (pod.sources.first(), later.sources.first()) else { return false };
    let first = Said { source: *by, says: first };
    let second = Said { source: *but, says: second };
    pod.disagreements.push(Disagreement { about, first, second });
    true
}

fn add_container(pod: &mut KnownPod, container: &KnownContainer, later: &KnownPod, heard: Heard) {
    let is_runtime = later.sources.iter().any(|source| matches!(source, Source::Cri | Source::Docker));
    let same = |known: &KnownContainer| container.id.is_some() && known.id == container.id;
    if let Some(place) = pod.containers.iter().position(same) {
        if pod.containers[place].name != container.name {
            let said = |known: &KnownContainer| format!("{} is {}", id_of(known), known.name);
            let (first, second) = (said(&pod.containers[place]), said(container));
            note(pod, later, Subject::ContainerName, first, second);
        }
        if heard.later_is_newer() {
            let known = &mut pod.containers[place];
            (known.state, known.restart_count) = (container.state, container.restart_count);
            known.state_reason = container.state_reason.clone();
        }
        // A container that waits for its next instance still carries the id of the last one.
        let is_between = pod.containers[place].state == ContainerState::Waiting
            && container.state == ContainerState::Terminated;
        if is_runtime && !is_between {
            pod.containers[place].state = container.state;
        }
        fill(&mut pod.containers[place], container);
        return;
    }
    // An instance the pod's status has not heard of yet: its spec is that of the others of its name.
    let namesake = pod.containers.iter().position(|known| known.name == container.name);
    let mut instance = container.clone();
    if let Some(place) = namesake {
        let spec = &pod.containers[place];
        instance.kind = spec.kind.or(instance.kind);
        instance.image = spec.image.clone().or(instance.image);
        instance.requests = spec.requests;
        let lives = container.state != ContainerState::Terminated;
        if spec.id.is_none() && (lives || container.id.is_none()) {
            // The status has no id for it yet, the later source has.
            pod.containers[place] = instance;
            return;
        }
    }
    if container.id.is_some() || namesake.is_none() {
        pod.containers.push(instance);
    }
}

fn id_of(container: &KnownContainer) -> &str {
    container.id.as_ref().map_or("", ContainerId::as_str)
}

/// Adds to a container what a later source tells of the same instance.
fn fill(known: &mut KnownContainer, later: &KnownContainer) {
    known.runtime = known.runtime.or(later.runtime);
    known.kind = known.kind.or(later.kind);
    known.image = known.image.take().or_else(|| later.image.clone());
    // The reason of another state is none of this one: `Error` is why the last instance ended, not why the
    // container waits.
    let reason = || later.state_reason.clone().filter(|_| later.state == known.state);
    known.state_reason = known.state_reason.clone().or_else(reason);
    known.started_at = known.started_at.or(later.started_at);
    known.requests = known.requests.or(later.requests);
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
