//! What pods and containers were called: all that is kept of who they were.

use std::ops::Range;
use std::sync::Arc;

use crate::model::identity::ContainerId;
use crate::model::identity::ContainerKind;
use crate::model::identity::PodUid;
use crate::model::target::CgroupPath;
use crate::model::target::ContainerTarget;
use crate::model::target::PodTarget;
use crate::model::time::WallTime;

use super::index;

/// What a pod was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastPod {
    /// As in the cgroup's name.
    pub runtime_uid: PodUid,
    /// Of the API object.
    pub uid: Option<PodUid>,
    /// Absent while no source had named it.
    pub namespace: Option<Arc<str>>,
    /// Absent while no source had named it.
    pub name: Option<Arc<str>>,
    /// When it was started.
    pub start_time: Option<WallTime>,
    /// Its cgroup.
    pub cgroup: CgroupPath,
}

/// What a container was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastContainer {
    /// Of this instance.
    pub id: ContainerId,
    /// Absent while no source had named it.
    pub name: Option<Arc<str>>,
    /// What it was to the pod.
    pub kind: Option<ContainerKind>,
    /// As the pod asked for it.
    pub image: Option<Arc<str>>,
    /// Instances before this one.
    pub restart_count: Option<u32>,
    /// When this instance started.
    pub started_at: Option<WallTime>,
    /// Its cgroup.
    pub cgroup: CgroupPath,
}

/// One pod of a roster.
#[derive(Clone, Debug)]
pub struct RosterPod {
    /// What it is called.
    pub pod: Arc<PastPod>,
    /// In [`Roster::containers`].
    pub containers: Range<u32>,
}

/// Whose rows a frame holds, in their order.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    /// In the order of the snapshot.
    pub pods: Box<[RosterPod]>,
    /// Grouped by pod.
    pub containers: Box<[Arc<PastContainer>]>,
}

impl Roster {
    /// Where the pod of this runtime UID is.
    pub fn find(&self, runtime_uid: &PodUid) -> Option<usize> {
        self.pods.iter().position(|entry| entry.pod.runtime_uid == *runtime_uid)
    }

    /// The containers of one of its pods, each with its place.
    pub fn containers_of(&self, pod: usize) -> impl Iterator<Item = (usize, &Arc<PastContainer>)> {
        let range = self.pods.get(pod).map_or(0..0, |entry| {
            index(entry.containers.start)..index(entry.containers.end).min(self.containers.len())
        });
        range.filter_map(|at| Some((at, self.containers.get(at)?)))
    }
}

impl PastPod {
    /// What the pod is called now.
    pub fn of(target: &PodTarget) -> Self {
        let known = target.known.as_deref();
        Self {
            runtime_uid: target.runtime_uid.clone(),
            uid: known.and_then(|known| known.uid.clone()),
            namespace: known.map(|known| known.namespace.clone()),
            name: known.map(|known| known.name.clone()),
            start_time: known.and_then(|known| known.start_time),
            cgroup: target.cgroup.path.clone(),
        }
    }

    /// Bytes it takes, its strings included, which other pods may share.
    pub fn bytes(&self) -> usize {
        let Self { runtime_uid, uid, namespace, name, start_time: _, cgroup } = self;
        let uids = [Some(runtime_uid), uid.as_ref()].into_iter().flatten().map(|uid| text(uid.as_str()));
        let names = [namespace, name].into_iter().flatten().map(|name| text(name));
        size_of::<Self>() + 32 + path(cgroup) + uids.chain(names).sum::<usize>()
    }
}

impl PastContainer {
    /// What the container is called now. Until it is settled which child is the sandbox, none has a name.
    pub fn of(pod: &PodTarget, child: &ContainerTarget) -> Self {
        let known = child.known.as_deref();
        let named = known.filter(|_| pod.sandbox_settled);
        Self {
            id: child.container_id.clone(),
            name: named.map(|known| known.name.clone()),
            kind: named.and_then(|known| known.kind),
            image: known.and_then(|known| known.image.clone()),
            restart_count: known.map(|known| known.restart_count),
            started_at: known.and_then(|known| known.started_at),
            cgroup: child.cgroup.path.clone(),
        }
    }

    /// Bytes it takes, its strings included, which other containers may share.
    pub fn bytes(&self) -> usize {
        let Self { id, name, kind: _, image, restart_count: _, started_at: _, cgroup } = self;
        let names = [name, image].into_iter().flatten().map(|name| text(name));
        size_of::<Self>() + 32 + text(id.as_str()) + path(cgroup) + names.sum::<usize>()
    }
}

/// A path, which as long as it lives the target has, too.
fn path(cgroup: &CgroupPath) -> usize {
    cgroup.as_path().as_os_str().len() + 32
}

/// A shared string: its counts, its bytes and what an allocator adds.
fn text(text: &str) -> usize {
    text.len() + 32
}
