//! What Docker would call the containers of a snapshot: names and labels as the kubelet gave them when Docker
//! ran its pods (pure).
//!
//! ```text
//! /k8s_app_web-0_default_0a1b2c3d-0000-4000-8000-000000000001_2      container, pod, namespace, UID, attempt
//! /k8s_POD_web-0_default_0a1b2c3d-0000-4000-8000-000000000001_0      the sandbox
//! ```
//!
//! `k8s.io/kubernetes/pkg/kubelet/dockershim/naming.go` and `libdocker/helpers.go` at 1.23, the last with it;
//! cri-dockerd still does the same.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::native::pods::{NamedPod, each};
use crate::model::identity::{ContainerId, ContainerState, KnownContainer, KnownPod, KnownSandbox, PodUid};
use crate::model::snapshot::{ContainerFigures, Snapshot};
use crate::model::target::PodTarget;
use crate::model::time::WallTime;

/// One container, or the sandbox, of a named pod.
#[derive(Clone, Debug)]
pub(in crate::serve) struct Identity {
    pub(in crate::serve) id: ContainerId,
    runtime_uid: PodUid,
    pod: Arc<KnownPod>,
    role: Role,
    /// The sandbox of the same pod; of a sandbox itself.
    sandbox_id: Option<ContainerId>,
    pub(super) host_network: bool,
}

#[derive(Clone, Debug)]
enum Role {
    Container(Arc<KnownContainer>),
    Sandbox { attempt: u32, created_at: Option<WallTime> },
}

/// A container with what was read of it.
#[derive(Clone)]
pub(in crate::serve) struct Item<'a> {
    pub(in crate::serve) identity: Identity,
    pub(in crate::serve) pod: NamedPod<'a>,
    /// `None`: nothing is read of it. Of a container that means that it does not run.
    pub(in crate::serve) read: Option<&'a ContainerFigures>,
    pub(in crate::serve) state: State,
}

/// Docker's word for what a container does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::serve) enum State {
    Created,
    Running,
    Exited,
}

impl State {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Exited => "exited",
        }
    }
}

/// Why there is no such container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::serve) enum Lost {
    Unknown,
    /// Several ids begin so.
    Ambiguous,
}

impl Identity {
    /// Without the slash.
    pub(in crate::serve) fn name(&self) -> String {
        let attempt = match &self.role {
            Role::Container(known) => known.restart_count,
            Role::Sandbox { attempt, .. } => *attempt,
        };
        let KnownPod { namespace, name, .. } = &*self.pod;
        format!("k8s_{}_{name}_{namespace}_{}_{attempt}", self.container_name(), self.runtime_uid)
    }

    fn container_name(&self) -> &str {
        match &self.role {
            Role::Container(known) => &known.name,
            Role::Sandbox { .. } => "POD",
        }
    }

    pub(in crate::serve) fn labels(&self) -> BTreeMap<&'static str, String> {
        let kind = if self.is_sandbox() { "podsandbox" } else { "container" };
        let mut labels = BTreeMap::from([
            ("io.kubernetes.container.name", self.container_name().to_owned()),
            ("io.kubernetes.docker.type", kind.to_owned()),
            ("io.kubernetes.pod.name", self.pod.name.to_string()),
            ("io.kubernetes.pod.namespace", self.pod.namespace.to_string()),
            ("io.kubernetes.pod.uid", self.runtime_uid.to_string()),
        ]);
        if let (false, Some(id)) = (self.is_sandbox(), &self.sandbox_id) {
            labels.insert("io.kubernetes.sandbox.id", id.to_string());
        }
        labels
    }

    /// As the pod asks for it; nobody tells the sandbox's.
    pub(in crate::serve) fn image(&self) -> Option<&str> {
        self.known().and_then(|known| known.image.as_deref())
    }

    /// The container in the words of its pod; `None`: the sandbox.
    pub(in crate::serve) fn known(&self) -> Option<&KnownContainer> {
        match &self.role {
            Role::Container(known) => Some(known),
            Role::Sandbox { .. } => None,
        }
    }

    pub(super) fn is_sandbox(&self) -> bool {
        matches!(self.role, Role::Sandbox { .. })
    }

    /// When this instance started, which a kubelet has it do as soon as it is made.
    pub(in crate::serve) fn started_at(&self) -> Option<WallTime> {
        match &self.role {
            Role::Container(known) => known.started_at,
            Role::Sandbox { created_at, .. } => *created_at,
        }
    }

    /// Whose network it uses, as Docker says it.
    pub(super) fn network_mode(&self) -> Option<String> {
        match &self.role {
            Role::Container(_) => self.sandbox_id.as_ref().map(|id| format!("container:{id}")),
            Role::Sandbox { .. } if self.host_network => Some("host".to_owned()),
            Role::Sandbox { .. } => Some("none".to_owned()),
        }
    }

    /// Whether a source of names still lists it, run or not.
    pub(super) fn is_listed(&self, in_pod: &KnownPod) -> bool {
        in_pod.container(&self.id).is_some() || in_pod.sandboxes.iter().any(|known| known.id == self.id)
    }
}

/// All that Docker would list, newest first: with `all` those that do not run, too.
pub(in crate::serve) fn items(snapshot: &Snapshot, all: bool) -> Vec<Item<'_>> {
    let mut items: Vec<Item<'_>> = each(snapshot).flat_map(|pod| of_pod(snapshot, pod, all)).collect();
    // Who was started nobody knows when stands last.
    items.sort_by_key(|item| Reverse((item.identity.started_at(), item.identity.id.clone())));
    items
}

/// The container of this id, whatever else there is.
pub(super) fn by_id<'a>(snapshot: &'a Snapshot, id: &ContainerId) -> Option<Item<'a>> {
    each(snapshot).find_map(|pod| of_pod(snapshot, pod, true).into_iter().find(|it| it.identity.id == *id))
}

/// The container that a client calls `wanted`: by its id, its name, or the beginning of one id alone.
pub(super) fn find<'a>(snapshot: &'a Snapshot, wanted: &str) -> Result<Item<'a>, Lost> {
    if let Some(item) = ContainerId::new(wanted).and_then(|id| by_id(snapshot, &id)) {
        return Ok(item);
    }
    called(items(snapshot, true), wanted, |item| item.identity.id.as_str(), |item| Some(item.identity.name()))
}

/// The one that a client calls `wanted`, with a slash before it or without: by its id, its name, or the beginning
/// of one id alone. What has no id has an empty one.
pub(in crate::serve) fn called<T>(
    mut all: Vec<T>,
    wanted: &str,
    id: impl for<'t> Fn(&'t T) -> &'t str,
    name: impl Fn(&T) -> Option<String>,
) -> Result<T, Lost> {
    let wanted = wanted.trim_start_matches('/');
    if wanted.is_empty() {
        return Err(Lost::Unknown);
    }
    let by_id = all.iter().position(|one| id(one) == wanted);
    let exact = by_id.or_else(|| all.iter().position(|one| name(one).is_some_and(|name| name == wanted)));
    if let Some(at) = exact {
        return Ok(all.swap_remove(at));
    }
    let mut begin_so = all.into_iter().filter(|one| id(one).starts_with(wanted));
    match (begin_so.next(), begin_so.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(Lost::Unknown),
        (Some(_), Some(_)) => Err(Lost::Ambiguous),
    }
}

fn of_pod<'a>(snapshot: &'a Snapshot, pod: NamedPod<'a>, all: bool) -> Vec<Item<'a>> {
    // Before the sandbox is told apart any of them may be it.
    let Some(known) = pod.target.known.as_ref().filter(|_| pod.target.sandbox_settled) else {
        return Vec::new();
    };
    let sandbox = sandbox(pod.target, known);
    let sandbox_id = sandbox.as_ref().map(|(id, _)| id.clone());
    let identity = |id: ContainerId, role: Role| Identity {
        id,
        runtime_uid: pod.target.runtime_uid.clone(),
        pod: known.clone(),
        role,
        sandbox_id: sandbox_id.clone(),
        host_network: pod.target.host_network,
    };
    let mut items = Vec::with_capacity(pod.target.containers.len() + 1);
    let mut alive = Vec::with_capacity(pod.target.containers.len());
    for (read, child) in pod.children(snapshot) {
        alive.push(&child.container_id);
        if let Some(known) = child.known.clone() {
            let identity = identity(child.container_id.clone(), Role::Container(known));
            items.push(Item { identity, pod, read: Some(read), state: State::Running });
        }
    }
    if let Some((id, told)) = sandbox {
        let attempt = told.map_or(0, |told| told.attempt);
        // Where only the API server names pods: the kubelet makes the sandbox as soon as it has the pod.
        let seen = || pod.target.sandbox.as_ref().map(|child| child.cgroup.since);
        let created_at = told.map(|told| told.created_at).or(known.start_time).or_else(seen);
        let role = Role::Sandbox { attempt, created_at };
        items.push(Item { identity: identity(id, role), pod, read: None, state: State::Running });
    }
    if all {
        for known in &known.containers {
            let Some(id) = known.id.clone().filter(|id| !alive.contains(&id)) else { continue };
            // The source hears of an end later than the cgroup tree: what has no cgroup does not run.
            // One that waits to be started anew goes by the id of the instance that has ended.
            let waits = known.state == ContainerState::Waiting && known.started_at.is_none();
            let state = if waits { State::Created } else { State::Exited };
            let identity = identity(id, Role::Container(Arc::new(known.clone())));
            items.push(Item { identity, pod, read: None, state });
        }
    }
    items
}

/// The sandbox's id, with what the runtime says of it. A runtime without pause containers knows one that has
/// no cgroup.
fn sandbox<'a>(target: &PodTarget, known: &'a KnownPod) -> Option<(ContainerId, Option<&'a KnownSandbox>)> {
    match &target.sandbox {
        Some(child) => {
            let told = known.sandboxes.iter().find(|told| told.id == child.container_id);
            Some((child.container_id.clone(), told))
        }
        None => known.sandboxes.iter().find(|told| told.ready).map(|told| (told.id.clone(), Some(told))),
    }
}
