//! A reader that looks at every sweep and every map for as long as a test goes on, and what it saw.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use podvitals::model::document::Map;
use podvitals::model::document::PodList;
use podvitals::model::identity::ContainerKind;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::reader::Reader;
use crate::witness::Record;
use crate::witness::now;

/// Follows until it is told to end.
pub(crate) struct Follower {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Sightings>,
}

/// When something was first and last seen: the instants at which the answers had come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// Everything that was served, each thing once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sightings {
    /// Sweeps.
    pub(crate) ticks: BTreeSet<u64>,
    /// By the UID in the cgroup, named or not.
    pub(crate) pods: BTreeMap<String, Seen>,
    /// By the UID in the cgroup and `namespace/name`.
    pub(crate) names: BTreeMap<(String, String), Seen>,
    /// By the UID in the cgroup and the API object's.
    pub(crate) uids: BTreeSet<(String, String)>,
    /// By the UID in the cgroup and the sandbox's id.
    pub(crate) sandboxes: BTreeSet<(String, String)>,
    /// Ids of what stood among containers without a name.
    pub(crate) nameless: BTreeMap<String, Seen>,
    /// By container id, UID in the cgroup and container name, as the map shows them.
    pub(crate) containers: BTreeMap<(String, String, String), Seen>,
    /// The same of sweeps.
    pub(crate) sampled: BTreeMap<(String, String, String), Seen>,
    /// By UID in the cgroup and container name.
    pub(crate) kinds: BTreeSet<(String, String, String)>,
    /// When containers became targets, by id.
    pub(crate) since: BTreeMap<String, u64>,
    /// Ids with CPU time in a sweep that did not know their name.
    pub(crate) sampled_nameless: BTreeSet<String>,
}

impl Follower {
    /// Asks for maps and for sweeps, over and over, with this much rest between two of each.
    pub(crate) fn begin(reader: Reader, rest: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let task = tokio::spawn(async move {
            let seen = Mutex::new(Sightings::default());
            let maps = async {
                while !told.load(Ordering::Relaxed) {
                    let map: Map = reader.json("/api/v1/map").await;
                    seen.lock().unwrap().take_map(&map, now());
                    sleep(rest).await;
                }
            };
            let sweeps = async {
                while !told.load(Ordering::Relaxed) {
                    let list = reader.list().await;
                    seen.lock().unwrap().take_list(&list, now());
                    sleep(rest).await;
                }
            };
            tokio::join!(maps, sweeps);
            seen.into_inner().unwrap()
        });
        Self { stop, task }
    }

    /// What it saw.
    pub(crate) async fn end(self) -> Sightings {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

impl Sightings {
    fn take_list(&mut self, list: &PodList, at: u64) {
        if !self.ticks.insert(list.tick) {
            return;
        }
        for pod in &list.pods {
            let uid = &pod.runtime_uid;
            self.take_pod(uid, pod.namespace.as_ref(), pod.name.as_ref(), pod.uid.as_ref(), at);
            self.take_sandbox(uid, pod.sandbox.as_ref().and_then(|sandbox| sandbox.id.as_ref()));
            for container in &pod.containers {
                let Some(id) = &container.id else { continue };
                let Some(name) = &container.name else {
                    see(&mut self.nameless, id.clone(), at);
                    if container.cpu.is_some() {
                        self.sampled_nameless.insert(id.clone());
                    }
                    continue;
                };
                see(&mut self.sampled, (id.clone(), uid.clone(), name.clone()), at);
                self.take_kind(uid, name, container.kind);
            }
        }
    }

    fn take_map(&mut self, map: &Map, at: u64) {
        for pod in &map.pods {
            let uid = &pod.runtime_uid;
            self.take_pod(uid, pod.namespace.as_ref(), pod.name.as_ref(), pod.uid.as_ref(), at);
            self.take_sandbox(uid, pod.sandbox.as_ref().and_then(|sandbox| sandbox.id.as_ref()));
            for container in &pod.containers {
                self.since.entry(container.id.clone()).or_insert(container.since_unix_nano);
                let Some(name) = &container.name else {
                    see(&mut self.nameless, container.id.clone(), at);
                    continue;
                };
                see(&mut self.containers, (container.id.clone(), uid.clone(), name.clone()), at);
                self.take_kind(uid, name, container.kind);
            }
        }
    }

    fn take_pod(
        &mut self,
        runtime_uid: &str,
        namespace: Option<&String>,
        name: Option<&String>,
        uid: Option<&String>,
        at: u64,
    ) {
        see(&mut self.pods, runtime_uid.to_owned(), at);
        assert_eq!(namespace.is_some(), name.is_some(), "half a name of {runtime_uid}");
        if let (Some(namespace), Some(name)) = (namespace, name) {
            see(&mut self.names, (runtime_uid.to_owned(), format!("{namespace}/{name}")), at);
        }
        self.uids.extend(uid.map(|uid| (runtime_uid.to_owned(), uid.clone())));
    }

    fn take_sandbox(&mut self, runtime_uid: &str, id: Option<&String>) {
        self.sandboxes.extend(id.map(|id| (runtime_uid.to_owned(), id.clone())));
    }

    fn take_kind(&mut self, runtime_uid: &str, name: &str, kind: Option<ContainerKind>) {
        let kind = kind.map(|kind| (runtime_uid.to_owned(), name.to_owned(), format!("{kind:?}")));
        self.kinds.extend(kind);
    }

    /// Sweeps between the first and the last that were never read.
    pub(crate) fn missed(&self) -> u64 {
        let (Some(first), Some(last)) = (self.ticks.first(), self.ticks.last()) else { return 0 };
        last - first + 1 - self.ticks.len() as u64
    }

    /// The first of what is kept by that name.
    pub(crate) fn named(&self, runtime_uid: &str) -> Option<Seen> {
        let mut of = self.names.iter().filter(|((uid, _), _)| uid == runtime_uid);
        of.next().map(|(_, seen)| *seen)
    }

    /// Everything that anybody else knows otherwise, or that nobody else knows.
    pub(crate) fn contradictions(&self, record: &Record) -> Vec<String> {
        let mut wrong = record.contradictions.clone();
        for (uid, name) in self.names.keys() {
            if record.pods.get(uid) != Some(name) {
                wrong.push(format!("pod {uid} was called {name}, not {:?}", record.pods.get(uid)));
            }
        }
        for (runtime_uid, uid) in &self.uids {
            if record.uids.get(runtime_uid) != Some(uid) {
                wrong
                    .push(format!("{runtime_uid} had the UID {uid}, not {:?}", record.uids.get(runtime_uid)));
            }
        }
        for (uid, id) in &self.sandboxes {
            if record.sandboxes.get(id) != Some(uid) {
                wrong.push(format!("{uid} had the sandbox {id}, which is {:?}'s", record.sandboxes.get(id)));
            }
        }
        for (id, pod, name) in self.containers.keys().chain(self.sampled.keys()) {
            let known = record.containers.get(id).map(|heard| (&heard.pod, &heard.name));
            if known != Some((pod, name)) {
                wrong.push(format!("container {id} was {name} of {pod}, not {known:?}"));
            }
        }
        for (pod, name, kind) in &self.kinds {
            let known = record.kinds.get(&(pod.clone(), name.clone())).map(|kind| format!("{kind:?}"));
            if known.as_ref() != Some(kind) {
                wrong.push(format!("container {name} of {pod} was {kind}, not {known:?}"));
            }
        }
        wrong
    }
}

fn see<K: Ord>(map: &mut BTreeMap<K, Seen>, key: K, at: u64) {
    map.entry(key).or_insert(Seen { first: at, last: at }).last = at;
}
