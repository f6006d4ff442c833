//! Tests of `pods`.

use super::super::fake;
use super::super::fake::container;
use super::super::fake::entry;
use super::super::fake::sandbox;
use super::super::messages::ContainerStatus;
use super::super::messages::LinuxPodSandboxStatus;
use super::super::messages::Namespace;
use super::super::messages::NamespaceOption;
use super::super::messages::PodSandboxStatus;
use super::*;

fn assemble(sandboxes: &[PodSandbox], containers: &[Container]) -> Assembled {
    let lists = Lists {
        source: Source::Cri,
        runtime: None,
        sandboxes,
        containers,
        sandbox_detail: |_: &_| None,
        container_detail: |_: &_| None,
    };
    lists.assemble()
}

fn only_pod(sandboxes: &[PodSandbox], containers: &[Container]) -> KnownPod {
    let Assembled { mut pods, refused } = assemble(sandboxes, containers);
    assert_eq!((pods.len(), refused), (1, 0));
    pods.remove(0)
}

#[test]
fn a_sandbox_and_its_containers_make_a_pod() {
    let pod = only_pod(&[sandbox('a', 0)], &[container('b', 'a', 3)]);
    assert_eq!((pod.namespace.as_ref(), pod.name.as_ref()), ("default", "web"));
    assert_eq!(pod.uid.as_ref().unwrap().as_str(), fake::UID);
    assert_eq!(pod.labels, BTreeMap::from([("app".into(), "web".into())]));
    assert_eq!((pod.static_pod, pod.phase, pod.host_network), (false, None, None));
    let [container] = pod.containers.as_slice() else { panic!("one container") };
    assert_eq!((container.name.as_ref(), container.restart_count), ("app", 3));
    assert_eq!(container.state, ContainerState::Running);
}

#[test]
fn the_newest_sandbox_comes_first_and_the_oldest_dates_the_pod() {
    let mut dead = sandbox('a', 0);
    dead.state = 1;
    let pod = only_pod(&[dead, sandbox('c', 1)], &[]);
    let order: Vec<_> = pod.sandboxes.iter().map(|known| (known.attempt, known.ready)).collect();
    assert_eq!(order, [(1, true), (0, false)]);
    assert_eq!(pod.start_time, Some(WallTime::from_unix_nanos(fake::CREATED)));
}

#[test]
fn the_order_of_the_lists_does_not_matter() {
    let sandboxes = [sandbox('a', 0), sandbox('b', 1)];
    let containers = [container('c', 'a', 0), container('d', 'b', 1), container('e', 'b', 2)];
    let one = assemble(&sandboxes, &containers);
    let other = assemble(
        &sandboxes.iter().rev().cloned().collect::<Vec<_>>(),
        &containers.iter().rev().cloned().collect::<Vec<_>>(),
    );
    assert_eq!(one, other);
}

#[test]
fn a_static_pod_has_no_api_uid_that_the_runtime_would_know() {
    for annotation in [("kubernetes.io/config.source", "file"), ("kubernetes.io/config.hash", "ab12")] {
        let mut sandbox = sandbox('a', 0);
        sandbox.annotations.push(entry(annotation.0, annotation.1));
        let pod = only_pod(&[sandbox], &[]);
        assert!(pod.static_pod && pod.uid.is_none(), "{annotation:?}");
    }
    let mut from_api = sandbox('a', 0);
    from_api.annotations.push(entry("kubernetes.io/config.source", "api"));
    assert!(!only_pod(&[from_api], &[]).static_pod);
}

#[test]
fn a_container_listed_before_its_sandbox_is_named_by_its_own_labels() {
    let mut early = container('b', 'a', 0);
    early.labels.extend([
        entry("io.kubernetes.pod.uid", fake::UID),
        entry("io.kubernetes.pod.namespace", "default"),
        entry("io.kubernetes.pod.name", "web"),
    ]);
    let pod = only_pod(&[], &[early]);
    assert_eq!((pod.name.as_ref(), pod.containers.len(), pod.uid), ("web", 1, None));
}

#[test]
fn hostile_ids_name_nothing() {
    let mut escaping = sandbox('a', 0);
    escaping.id = "../../etc".into();
    let mut nameless = sandbox('b', 0);
    nameless.metadata.as_mut().unwrap().uid = "..".into();
    let orphan = container('c', 'd', 0);
    let Assembled { pods, refused } = assemble(&[escaping, nameless], &[orphan]);
    assert_eq!((pods, refused), (vec![], 3));
}

#[test]
fn hostile_labels_are_kept_but_cut() {
    let mut hostile = sandbox('a', 0);
    hostile.labels = vec![
        entry("long", &"é".repeat(10_000)),
        Entry { key: "not-utf-8".into(), value: b"a\xff".as_slice().into() },
    ];
    hostile.labels.extend((0..1_000).map(|i| entry(&format!("label-{i}"), "x")));
    let labels = only_pod(&[hostile], &[]).labels;
    assert_eq!(labels["long"].len(), LONGEST_TEXT);
    assert_eq!(labels["not-utf-8"], "a\u{fffd}");
    assert_eq!(labels.len(), MOST_LABELS);
}

#[test]
fn the_image_is_a_name_or_absent() {
    let image = |image: &str, specified: &str| {
        let mut container = container('b', 'a', 0);
        let user_specified_image = specified.to_owned();
        container.image = Some(ImageSpec { image: image.into(), user_specified_image });
        container.image_ref = format!("sha256:{}", "0".repeat(64));
        only_pod(&[sandbox('a', 0)], &[container]).containers[0].image.clone()
    };
    let digest = "ab12".repeat(16);
    assert_eq!(image("busybox:1", "").as_deref(), Some("busybox:1"));
    assert_eq!(image(&format!("sha256:{digest}"), "web:2").as_deref(), Some("web:2"));
    assert_eq!(image(&format!("sha256:{digest}"), ""), None);
    assert_eq!(image(&digest, ""), None);
    let by_digest = format!("example.com/web@sha256:{digest}");
    assert_eq!(image(&by_digest, "").as_deref(), Some(by_digest.as_str()));
}

#[test]
fn the_pid_is_in_the_runtime_s_own_json_and_zero_is_no_pid() {
    let pid = |json: &str| {
        let info = vec![entry("info", json)];
        SandboxDetail::read(&PodSandboxStatusResponse { status: None, info }).pid
    };
    assert_eq!(pid(r#"{"sandboxID":"x","pid":4242,"config":{"pid":1}}"#), Some(4242));
    assert_eq!(pid(r#"{"pid":0}"#), None);
    assert_eq!(pid(r#"{"pid":-1}"#), None);
    assert_eq!(pid(r#"{"sandboxID":"x"}"#), None);
    assert_eq!(pid("{"), None);
}

#[test]
fn the_network_mode_tells_whose_network_it_is() {
    let mode = |network| {
        let options = Some(NamespaceOption { network });
        let linux = Some(LinuxPodSandboxStatus { namespaces: Some(Namespace { options }) });
        let status = Some(PodSandboxStatus { linux });
        SandboxDetail::read(&PodSandboxStatusResponse { status, info: vec![] }).network
    };
    assert_eq!(mode(0), Some(NetworkMode::Pod));
    assert_eq!(mode(2), Some(NetworkMode::Node));
    assert_eq!(mode(1), None);
    assert_eq!(SandboxDetail::read(&PodSandboxStatusResponse::default()).network, None);
}

#[test]
fn a_sandbox_that_is_not_ready_has_no_pid_but_still_tells_whose_network_it_was() {
    let detail = SandboxDetail { pid: Some(7), network: Some(NetworkMode::Node) };
    let mut dead = sandbox('a', 0);
    dead.state = 1;
    let lists = Lists {
        source: Source::Cri,
        runtime: None,
        sandboxes: &[dead],
        containers: &[],
        sandbox_detail: |_: &_| Some(&detail),
        container_detail: |_: &_| None,
    };
    let pod = lists.assemble().pods.remove(0);
    assert_eq!((pod.sandboxes[0].pid, pod.host_network), (None, Some(true)));
}

#[test]
fn a_container_that_was_not_started_has_no_start() {
    let read = |started_at| {
        let status = Some(ContainerStatus { started_at, ..ContainerStatus::default() });
        ContainerDetail::read(&ContainerStatusResponse { status }).started_at
    };
    assert_eq!(read(0), None);
    assert_eq!(read(-5), None);
    assert_eq!(read(5), Some(WallTime::from_unix_nanos(5)));
}
