//! The pods of this node as the API server told them, one version after another (pure).
//!
//! # Why versions are compared
//!
//! A list with `resourceVersion=0` comes from the cache of one API server. Behind a load balancer the
//! next one may come from another that is seconds behind. What we heard of later than such a list was made
//! is neither changed nor taken away by it. A version that is not a number compares with nothing: the
//! answer that comes last is believed.
//!
//! # Whose cgroup it is
//!
//! A mirror claims the cgroup of a static pod, and everybody who may create pods can write such a claim. It
//! never counts for a UID that is, or was, the own UID of another pod: the cgroup outlives the object by
//! seconds. A UID is the server's choice and comes back for nobody.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use crate::model::identity::KnownPod;
use crate::model::identity::PodUid;
use crate::model::identity::Source;
use crate::model::time::WallTime;

use super::identity::known;
use super::pod::Pod;

/// UIDs of pods that are gone: far more than a node has pods that end while their cgroups live on.
const MOST_GONE: usize = 4_096;

/// All pods, by the UID of the API object.
#[derive(Debug, Default)]
pub(super) struct Index {
    pods: BTreeMap<PodUid, Held>,
    /// Own UIDs of pods that are not there any more, the latest last.
    gone: VecDeque<PodUid>,
    /// The latest version heard of.
    newest: Option<u64>,
}

#[derive(Debug)]
struct Held {
    pod: Arc<KnownPod>,
    version: Option<u64>,
    created: Option<WallTime>,
    deleting: bool,
}

/// A pod has no name or UID we could use.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Nameless;

impl Index {
    /// A pod was added or changed. Returns whether anything is different now.
    pub(super) fn put(&mut self, pod: &Pod) -> Result<bool, Nameless> {
        let known = known(pod, Source::Kube).ok_or(Nameless)?;
        let uid = pod.metadata.uid.clone().ok_or(Nameless)?;
        let version = pod.metadata.resource_version.as_deref().and_then(number);
        self.heard(version);
        let deleting = pod.metadata.deletion_timestamp.is_some();
        match self.pods.entry(uid) {
            Entry::Occupied(held) if is_older(version, held.get().version) => Ok(false),
            Entry::Occupied(mut held) => {
                let held = held.get_mut();
                let changed = *held.pod != known || held.deleting != deleting;
                (held.version, held.deleting) = (version, deleting);
                if changed {
                    held.pod = Arc::new(known);
                }
                Ok(changed)
            }
            Entry::Vacant(place) => {
                let created = pod.metadata.creation_timestamp;
                place.insert(Held { pod: Arc::new(known), version, created, deleting });
                Ok(true)
            }
        }
    }

    /// A pod was deleted. That is final: no UID comes back.
    pub(super) fn remove(&mut self, pod: &Pod) -> bool {
        self.heard(pod.metadata.resource_version.as_deref().and_then(number));
        pod.metadata.uid.as_ref().is_some_and(|uid| self.take_out(uid))
    }

    fn take_out(&mut self, uid: &PodUid) -> bool {
        let Some(held) = self.pods.remove(uid) else { return false };
        if held.pod.runtime_uid == *uid {
            if self.gone.len() == MOST_GONE {
                self.gone.pop_front();
            }
            self.gone.push_back(uid.clone());
        }
        true
    }

    /// A whole list was read: what is not in it is gone, but for pods we heard of later than it was made.
    /// Returns how many pods had to be left out.
    pub(super) fn swap(&mut self, pods: &[Pod], version: Option<&str>) -> usize {
        let version = version.and_then(number);
        let listed: BTreeSet<_> = pods.iter().filter_map(|pod| pod.metadata.uid.as_ref()).collect();
        let stays = |uid: &PodUid, held: &Held| is_older(version, held.version) || listed.contains(uid);
        let left: Vec<_> =
            self.pods.iter().filter(|(uid, held)| !stays(uid, held)).map(|(uid, _)| uid.clone()).collect();
        for uid in &left {
            self.take_out(uid);
        }
        self.heard(version);
        pods.iter().filter(|pod| self.put(pod).is_err()).count()
    }

    /// A version of the whole was told: by a bookmark, or with a list.
    pub(super) fn heard(&mut self, version: Option<u64>) {
        self.newest = self.newest.max(version);
    }

    /// A list of this version is older than something we have heard already.
    pub(super) fn is_behind(&self, version: Option<&str>) -> bool {
        is_older(version.and_then(number), self.newest)
    }

    /// Forgets every version, and with them the pods that only an exact list can confirm.
    pub(super) fn forget_versions(&mut self) {
        self.newest = None;
        for held in self.pods.values_mut() {
            held.version = None;
        }
    }

    /// All of them. Where two claim one cgroup, the pod whose own UID it is, else the mirror of a static pod
    /// that its node made, else the one that is not being deleted, else the one that was made first.
    pub(super) fn all(&self) -> Vec<Arc<KnownPod>> {
        let mut by_cgroup: BTreeMap<&PodUid, (&PodUid, &Held)> = BTreeMap::new();
        for (uid, held) in &self.pods {
            let cgroup = &held.pod.runtime_uid;
            if cgroup != uid && self.gone.contains(cgroup) {
                continue;
            }
            let place = by_cgroup.entry(cgroup).or_insert((uid, held));
            if rank(uid, held) > rank(place.0, place.1) {
                *place = (uid, held);
            }
        }
        by_cgroup.into_values().map(|(_, held)| held.pod.clone()).collect()
    }
}

type Rank = (bool, bool, bool, bool, Reverse<Option<WallTime>>, Reverse<Option<u64>>);

/// Of two claims the larger is believed.
fn rank(uid: &PodUid, held: &Held) -> Rank {
    let is_own = held.pod.runtime_uid == *uid;
    let of_node = held.pod.owner.as_ref().is_some_and(|owner| owner.kind == "Node");
    let Held { version, created, deleting, .. } = *held;
    (is_own, of_node, !deleting, created.is_some(), Reverse(created), Reverse(version))
}

fn is_older(one: Option<u64>, other: Option<u64>) -> bool {
    matches!((one, other), (Some(one), Some(other)) if one < other)
}

/// A version as a number, which Kubernetes promises it to be.
pub(super) fn number(version: &str) -> Option<u64> {
    version.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::fake;
    use crate::kubernetes::pod::Metadata;

    fn pod(name: &str, digit: char, version: u64) -> Pod {
        serde_json::from_str(&fake::pod(name, digit, version)).unwrap()
    }

    fn mirror(name: &str, digit: char, version: u64, of: char, owner: &str) -> Pod {
        let notes = format!(
            r#"{{"annotations":{{"kubernetes.io/config.mirror":"{}"}},
            "ownerReferences":[{{"kind":"{owner}","name":"n1","controller":true}}],"#,
            fake::uid(of)
        );
        serde_json::from_str(&fake::pod(name, digit, version).replacen(
            r#"{"name""#,
            &(notes + r#""name""#),
            1,
        ))
        .unwrap()
    }

    /// Made at that second of a minute.
    fn made(second: u64, pod: Pod) -> Pod {
        let time = format!(r#"{{"creationTimestamp":"2026-11-21T01:49:{second:02}Z"}}"#);
        let Metadata { creation_timestamp, .. } = serde_json::from_str(&time).unwrap();
        Pod { metadata: Metadata { creation_timestamp, ..pod.metadata }, ..pod }
    }

    fn names(index: &Index) -> Vec<String> {
        index.all().iter().map(|pod| pod.name.to_string()).collect()
    }

    #[test]
    fn an_older_version_of_a_pod_changes_nothing() {
        let mut index = Index::default();
        assert_eq!(index.put(&pod("new", '1', 12)), Ok(true));
        assert_eq!(index.put(&pod("old", '1', 11)), Ok(false));
        assert_eq!(names(&index), ["new"]);
        assert_eq!(index.put(&pod("new", '1', 13)), Ok(false), "the same as before");
    }

    #[test]
    fn a_list_takes_away_what_it_does_not_hold_unless_that_is_newer() {
        let mut index = Index::default();
        index.swap(&[pod("a", '1', 10), pod("b", '2', 20)], Some("20"));
        index.put(&pod("c", '3', 30)).unwrap();
        index.swap(&[pod("a", '1', 10)], Some("25"));
        assert_eq!(names(&index), ["a", "c"]);
        assert!(index.is_behind(Some("25")) && !index.is_behind(Some("30")));
        index.forget_versions();
        index.swap(&[pod("a", '1', 10)], Some("25"));
        assert_eq!(names(&index), ["a"]);
    }

    #[test]
    fn versions_that_are_no_numbers_compare_with_nothing() {
        let mut index = Index::default();
        index.swap(&[pod("a", '1', 10), pod("b", '2', 20)], Some("20"));
        index.swap(&[pod("a", '1', 10)], Some("x-1"));
        assert_eq!(names(&index), ["a"]);
        assert!(!index.is_behind(Some("x-0")));
    }

    #[test]
    fn a_pod_that_claims_to_be_the_mirror_of_another_does_not_take_its_place() {
        let mut index = Index::default();
        index.put(&pod("victim", '1', 10)).unwrap();
        index.put(&mirror("thief", '2', 99, '1', "Node")).unwrap();
        assert_eq!(names(&index), ["victim"]);
        index.put(&mirror("static", '3', 11, '9', "Node")).unwrap();
        index.put(&mirror("thief", '4', 98, '9', "ReplicaSet")).unwrap();
        assert_eq!(names(&index), ["victim", "static"]);
    }

    #[test]
    fn a_pod_that_calls_itself_static_is_named_by_its_own_uid_alone() {
        let hash = format!(r#"{{"annotations":{{"kubernetes.io/config.hash":"{}"}},"name""#, fake::uid('1'));
        let thief = fake::pod("thief", '2', 99).replacen(r#"{"name""#, &hash, 1);
        let mut index = Index::default();
        index.put(&pod("victim", '1', 10)).unwrap();
        index.put(&serde_json::from_str(&thief).unwrap()).unwrap();
        assert_eq!(names(&index), ["victim", "thief"]);
        index.remove(&pod("victim", '1', 10));
        assert_eq!(names(&index), ["thief"]);
        assert_eq!(index.all()[0].runtime_uid.as_str(), fake::uid('2'));
        // As a mirror looks that has lost its annotation: read as a claim, and a claim it stays.
        let of_node = hash.replace(
            r#""annotations":{"#,
            r#""ownerReferences":[{"kind":"Node","name":"n1","controller":true}],
            "annotations":{"kubernetes.io/config.source":"file","#,
        );
        let thief = fake::pod("thief", '3', 99).replacen(r#"{"name""#, &of_node, 1);
        index.put(&pod("again", '1', 11)).unwrap();
        index.put(&serde_json::from_str(&thief).unwrap()).unwrap();
        assert_eq!(names(&index), ["again", "thief"], "the one of before; the new one is not shown");
    }

    #[test]
    fn between_two_mirrors_of_one_static_pod_the_first_is_believed() {
        let mut index = Index::default();
        index.put(&made(10, mirror("static", '3', 11, '9', "Node"))).unwrap();
        index.put(&made(20, mirror("thief", '2', 99, '9', "Node"))).unwrap();
        index.put(&mirror("timeless", '1', 5, '9', "Node")).unwrap();
        assert_eq!(names(&index), ["static"]);
        index.put(&made(10, mirror("static", '3', 100, '9', "Node"))).unwrap();
        assert_eq!(names(&index), ["static"]);
        index.remove(&mirror("static", '3', 101, '9', "Node"));
        assert_eq!(names(&index), ["thief"], "the claim that was made first of those that are left");
    }

    #[test]
    fn a_pod_that_is_gone_leaves_its_cgroup_to_nobody() {
        let mut index = Index::default();
        index.swap(&[pod("one", '1', 10), pod("two", '2', 10)], Some("20"));
        index.put(&mirror("thief-of-one", '3', 30, '1', "Node")).unwrap();
        index.put(&mirror("thief-of-two", '4', 31, '2', "Node")).unwrap();
        index.remove(&pod("one", '1', 32));
        assert_eq!(names(&index), ["two"]);
        let thieves = [
            mirror("thief-of-one", '3', 30, '1', "Node"),
            mirror("thief-of-two", '4', 31, '2', "Node"),
            mirror("static", '5', 33, '9', "Node"),
        ];
        index.swap(&thieves, Some("40"));
        assert_eq!(names(&index), ["static"]);
    }

    #[test]
    fn what_is_remembered_of_pods_that_are_gone_is_bounded() {
        let mut index = Index::default();
        for n in 0..MOST_GONE + 10 {
            let uid = format!("{n:08x}-0000-4000-8000-000000000001");
            let pod: Pod =
                serde_json::from_str(&fake::pod("web", '1', 1).replace(&fake::uid('1'), &uid)).unwrap();
            index.put(&pod).unwrap();
            index.remove(&pod);
        }
        assert_eq!((index.gone.len(), index.pods.len()), (MOST_GONE, 0));
    }
}
