//! Pods captured from a real API server and the kubelet behind it, and the odd ones by hand.

use super::*;
use crate::kubernetes::pod::PodList;
use crate::model::time::WallTime;

/// See the README.md beside them.
const API_SERVER: &str = include_str!("../../fixtures/kubernetes/api-server-pods.json");
const KUBELET: &str = include_str!("../../fixtures/kubernetes/kubelet-pods.json");

const STATIC: &str = "2e2c6aa1687fc44aacdb4cc68633de57";
const MIRROR: &str = "c5d0c6b9-5054-4570-aa41-18a97699b001";

fn all(json: &str, source: Source) -> Vec<KnownPod> {
    let list: PodList = serde_json::from_str(json).unwrap();
    list.items.iter().map(|pod| known(pod, source).unwrap()).collect()
}

fn named(json: &str, source: Source, name: &str) -> KnownPod {
    let mut pods = all(json, source).into_iter().filter(|pod| pod.name.starts_with(name));
    pods.next().unwrap()
}

fn from_api(name: &str) -> KnownPod {
    named(API_SERVER, Source::Kube, name)
}

fn by_hand(json: &str) -> KnownPod {
    known(&serde_json::from_str(json).unwrap(), Source::Kube).unwrap()
}

/// `init init terminated Completed 0 42983d`
fn words(container: &KnownContainer) -> String {
    let KnownContainer { id, name, kind, state, state_reason, restart_count, .. } = container;
    let kind = format!("{:?}", kind.unwrap()).to_lowercase();
    let state = format!("{state:?}").to_lowercase();
    let id = id.as_ref().map_or("-", |id| &id.as_str()[..id.as_str().len().min(6)]);
    format!("{name} {kind} {state} {} {restart_count} {id}", state_reason.as_deref().unwrap_or("-"))
}

fn asked_for(requests: Requests) -> (Option<f64>, Option<u64>) {
    (requests.cpu_cores.map(f64Bits::get), requests.memory_bytes)
}

#[test]
fn containers_of_every_kind_are_read_from_all_three_lists() {
    let containers: Vec<_> = from_api("web").containers.iter().map(words).collect();
    let expected = [
        "init init terminated Completed 0 42983d",
        "side sidecar running - 0 c73fab",
        "app app running - 0 01fb62",
        "crash app waiting CrashLoopBackOff 5 901c14",
        "dbg ephemeral running - 0 1fcc31",
    ];
    assert_eq!(containers, expected);
}

#[test]
fn the_api_server_and_the_kubelet_tell_the_same_of_every_pod_but_a_static_one() {
    let (api, kubelet) = (all(API_SERVER, Source::Kube), all(KUBELET, Source::Kubelet));
    assert_eq!(api.len(), 6);
    for (one, other) in api.iter().zip(&kubelet) {
        let same = KnownPod { sources: one.sources.clone(), ..other.clone() };
        if one.static_pod {
            let itself = KnownPod { uid: one.uid.clone(), owner: one.owner.clone(), ..same };
            assert_eq!(*one, itself);
        } else {
            assert_eq!(*one, same);
        }
    }
}

#[test]
fn a_static_pod_has_the_uid_of_its_cgroup_and_that_of_its_mirror() {
    let mirror = from_api("static-web");
    assert_eq!(mirror.runtime_uid.as_str(), STATIC);
    assert_eq!(mirror.uid.as_ref().unwrap().as_str(), MIRROR);
    assert!(mirror.static_pod);
    assert_eq!(mirror.owner, Some(Owner { kind: "Node".into(), name: "kubewatch-node".into() }));
    let itself = named(KUBELET, Source::Kubelet, "static-web");
    assert_eq!((itself.runtime_uid.as_str(), itself.uid, itself.static_pod), (STATIC, None, true));
    assert_eq!((mirror.host_network, from_api("web").host_network), (Some(true), Some(false)));
}

#[test]
fn a_manifest_may_bring_a_uid_with_dashes() {
    // As rke2 writes it: the "hash" is a UUID.
    let dashed = "bf3c1fca-2b4b-4a3a-9b3c-2f0e4d1f8a11";
    let pod = by_hand(&format!(
        r#"{{"metadata": {{"name": "etcd-n1", "namespace": "kube-system", "uid": "{MIRROR}", "annotations": {{
            "kubernetes.io/config.hash": "{dashed}", "kubernetes.io/config.mirror": "{dashed}"}}}}}}"#
    ));
    assert_eq!((pod.runtime_uid.as_str(), pod.uid.unwrap().as_str()), (dashed, MIRROR));
    let itself = format!(
        r#"{{"metadata": {{"name": "etcd-n1", "namespace": "kube-system", "uid": "{dashed}", "annotations": {{
            "kubernetes.io/config.source": "file", "kubernetes.io/config.hash": "{dashed}"}}}}}}"#
    );
    let pod = known(&serde_json::from_str(&itself).unwrap(), Source::Kubelet).unwrap();
    assert_eq!((pod.runtime_uid.as_str(), pod.uid, pod.static_pod), (dashed, None, true));
}

#[test]
fn a_pod_of_the_api_server_is_static_only_as_a_mirror_and_one_of_the_kubelet_only_by_its_source() {
    let read = |source: Source, notes: &str, owner: &str| {
        let json = format!(
            r#"{{"metadata": {{"name": "a", "namespace": "b", "uid": "aa", "annotations": {{{notes}}},
                "ownerReferences": [{owner}]}}, "spec": {{"nodeName": "n1"}}}}"#
        );
        let pod = known(&serde_json::from_str(&json).unwrap(), source).unwrap();
        (pod.runtime_uid.to_string(), pod.uid.map(|uid| uid.to_string()), pod.static_pod)
    };
    let ordinary = || ("aa".to_owned(), Some("aa".to_owned()), false);
    let (hash, file, mirror) = (
        r#""kubernetes.io/config.hash": "bb""#,
        r#""kubernetes.io/config.source": "file""#,
        r#""kubernetes.io/config.mirror": "bb""#,
    );
    let both = format!("{hash}, {file}");
    for notes in ["", hash, file, &both, &format!("{both}, {}", mirror.replace("bb", "cc"))] {
        assert_eq!(read(Source::Kube, notes, ""), ordinary(), "{notes}");
    }
    let node = r#"{"kind": "Node", "name": "n1", "controller": true}"#;
    let claim = ("bb".to_owned(), Some("aa".to_owned()), true);
    assert_eq!(read(Source::Kube, &format!("{both}, {mirror}"), ""), claim);
    assert_eq!(read(Source::Kube, &both, node), claim);
    assert_eq!(read(Source::Kube, hash, node), ordinary());
    assert_eq!(read(Source::Kube, &both, &node.replace("n1", "n2")), ordinary());
    let api = format!(r#"{hash}, {mirror}, "kubernetes.io/config.source": "api""#);
    assert_eq!(read(Source::Kubelet, &api, node), ordinary());
    assert_eq!(read(Source::Kubelet, &both, ""), ("bb".to_owned(), None, true));
}

#[test]
fn a_resize_in_place_shows_what_is_set_aside_now_and_the_largest_moment_counts() {
    let pod = from_api("sized");
    let app = pod.containers.iter().find(|container| &*container.name == "app").unwrap();
    assert_eq!(asked_for(app.requests), (Some(0.2), Some(32 << 20)));
    // The init container alone asks for 500m of CPU, the app for more memory.
    assert_eq!(asked_for(pod.requests), (Some(0.5), Some(32 << 20)));
    assert_eq!(asked_for(from_api("web").requests), (Some(0.12), Some(32 << 20)), "app and sidecar");
    assert_eq!(asked_for(from_api("dep").requests), (None, None));
}

#[test]
fn sidecars_count_beside_the_init_containers_after_them_and_overhead_on_top() {
    let pod = |more: &str| {
        by_hand(&format!(
            r#"{{"metadata": {{"name": "a", "namespace": "b", "uid": "aa"}}, "spec": {{{more}
            "initContainers": [
                {{"name": "early", "resources": {{"requests": {{"cpu": "4"}}}}}},
                {{"name": "side", "restartPolicy": "Always", "resources": {{"requests": {{"cpu": "1"}}}}}},
                {{"name": "late", "resources": {{"requests": {{"cpu": "3500m"}}}}}}],
            "containers": [
                {{"name": "one", "resources": {{"requests": {{"cpu": "2", "memory": "1k"}}}}}},
                {{"name": "two", "resources": {{"requests": {{"cpu": "1", "memory": "nonsense"}}}}}}]}}}}"#
        ))
    };
    assert_eq!(asked_for(pod("").requests), (Some(4.5), Some(1_000)));
    let overhead = r#""overhead": {"cpu": "250m", "memory": "1Mi"},"#;
    assert_eq!(asked_for(pod(overhead).requests), (Some(4.75), Some(1_049_576)));
    let own = r#""resources": {"requests": {"cpu": "10"}}, "overhead": {"cpu": "250m"},"#;
    assert_eq!(asked_for(pod(own).requests), (Some(10.25), Some(1_000)));
}

#[test]
fn a_container_without_a_status_waits_and_one_without_an_image_says_why() {
    let waits = from_api("waits");
    assert_eq!(
        waits.containers.iter().map(words).collect::<Vec<_>>(),
        ["app app waiting ErrImageNeverPull 0 -"]
    );
    assert_eq!(waits.phase.as_deref(), Some("Pending"));
    let pod = by_hand(
        r#"{"metadata": {"name": "a", "namespace": "b", "uid": "aa"},
            "spec": {"containers": [{"name": "app", "image": "c:1"}]}}"#,
    );
    assert_eq!(pod.containers.iter().map(words).collect::<Vec<_>>(), ["app app waiting - 0 -"]);
    assert_eq!(pod.containers[0].image.as_deref(), Some("c:1"));
}

#[test]
fn the_instance_before_this_one_is_kept_under_its_own_id_and_start() {
    let at = |second: u64| Some(WallTime::from_unix_nanos((1_795_222_923 + second) * 1_000_000_000));
    let state = |state: &str| {
        let json = r#"{"metadata": {"name": "a", "namespace": "b", "uid": "aa"}, "spec": {"containers": [{"name": "app"}]},
            "status": {"containerStatuses": [{"name": "app", "restartCount": 2, "containerID": "containerd://02",
            "state": STATE, "lastState": {"terminated": {"reason": "OOMKilled", "containerID": "containerd://01",
            "startedAt": "2026-11-21T01:02:03Z"}}}]}}"#;
        by_hand(&json.replace("STATE", state)).containers
    };
    let running = state(r#"{"running": {"startedAt": "2026-11-21T01:02:13Z"}}"#);
    assert_eq!(
        running.iter().map(words).collect::<Vec<_>>(),
        ["app app terminated OOMKilled 1 01", "app app running - 2 02"]
    );
    assert_eq!((running[0].started_at, running[1].started_at), (at(0), at(10)));
    let waiting = state(r#"{"waiting": {"reason": "CrashLoopBackOff"}}"#);
    assert_eq!(waiting.last().unwrap().started_at, None, "that start was another instance's");
    let crash = from_api("web").containers.into_iter().find(|container| &*container.name == "crash").unwrap();
    assert!(crash.started_at.is_some(), "it waits under the id of its last instance");
}

#[test]
fn an_ephemeral_container_that_has_ended_is_told_of_by_its_last_state_alone() {
    let pod = by_hand(
        r#"{"metadata": {"name": "a", "namespace": "b", "uid": "aa"}, "spec": {"ephemeralContainers": [{"name": "dbg"}]},
            "status": {"ephemeralContainerStatuses": [{"name": "dbg", "state": {"terminated":
            {"reason": "Completed", "containerID": "containerd://03"}}}]}}"#,
    );
    assert_eq!(
        pod.containers.iter().map(words).collect::<Vec<_>>(),
        ["dbg ephemeral terminated Completed 0 03"]
    );
}

#[test]
fn the_controller_is_the_owner_and_not_whoever_else_refers_to_the_pod() {
    assert_eq!(from_api("dep").owner.unwrap().kind, "ReplicaSet");
    let pod = by_hand(
        r#"{"metadata": {"name": "a", "namespace": "b", "uid": "aa", "ownerReferences": [
            {"kind": "ConfigMap", "name": "c"}, {"kind": "Job", "name": "d", "controller": true}]}}"#,
    );
    assert_eq!(pod.owner, Some(Owner { kind: "Job".into(), name: "d".into() }));
}

#[test]
fn a_pod_without_a_usable_uid_or_name_is_none() {
    for wrong in [
        r#"{}"#,
        r#"{"metadata": {"name": "a", "namespace": "b"}}"#,
        r#"{"metadata": {"name": "a", "namespace": "b", "uid": "../.."}}"#,
        r#"{"metadata": {"name": 7, "namespace": "b", "uid": "aa"}}"#,
        r#"{"metadata": {"name": "a", "uid": "aa"}}"#,
    ] {
        assert_eq!(known(&serde_json::from_str(wrong).unwrap(), Source::Kube), None, "{wrong}");
    }
}

#[test]
fn every_cut_of_a_real_answer_is_refused() {
    for end in (0..API_SERVER.trim_end().len()).step_by(13) {
        assert!(serde_json::from_str::<PodList>(&API_SERVER[..end]).is_err(), "{end}");
    }
}

#[test]
fn a_pod_of_thousands_of_containers_is_cut_and_says_so_but_asks_for_the_sum_of_them_all() {
    let read = |inits: usize, apps: usize, statuses: usize| {
        let list = |name: &str, count: usize, more: &str| {
            let item = |n: usize| format!(r#"{{"name": "{name}{n}"{more}}}"#);
            (0..count).map(item).collect::<Vec<_>>().join(",")
        };
        let cpu = r#", "resources": {"requests": {"cpu": "1"}}"#;
        let last = r#", "containerID": "containerd://aa",
            "lastState": {"terminated": {"containerID": "containerd://bb"}}"#;
        let json = format!(
            r#"{{"metadata": {{"name": "a", "namespace": "b", "uid": "aa"}},
            "spec": {{"initContainers": [{}], "containers": [{}]}}, "status": {{"containerStatuses": [{}]}}}}"#,
            list("init", inits, ""),
            list("app", apps, cpu),
            list("status", statuses, last)
        );
        let pod: Pod = serde_json::from_str(&json).unwrap();
        (known(&pod, Source::Kube).unwrap(), is_cut(&pod))
    };
    let (pod, cut) = read(6, 250, 0);
    assert_eq!((pod.containers.len(), cut), (256, false));
    let (pod, cut) = read(200, 9_000, 9_000);
    assert_eq!((pod.containers.len(), cut), (256, true));
    assert_eq!(asked_for(pod.requests).0, Some(9_000.0));
    let (pod, cut) = read(0, 0, 9_000);
    assert_eq!((pod.containers.len(), cut), (512, true), "with the instance before each");
}
