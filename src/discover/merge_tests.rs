//! Merging: what is believed, what is noted, what is pinned.

use super::*;
use crate::model::identity::ContainerKind;
use crate::model::identity::Requests;
use crate::model::identity::f64Bits;

fn pod(name: &str, source: Source) -> KnownPod {
    KnownPod::named(PodUid::new("aa-bb").unwrap(), "default", name, source)
}

fn container(id: Option<&str>, kind: Option<ContainerKind>, state: ContainerState) -> KnownContainer {
    KnownContainer {
        id: id.map(|id| ContainerId::new(id).unwrap()),
        runtime: None,
        name: "app".into(),
        kind,
        image: None,
        state,
        state_reason: None,
        restart_count: 0,
        started_at: None,
        requests: Requests::default(),
    }
}

fn told(pods: impl IntoIterator<Item = KnownPod>) -> Told {
    let mut told = Told::default();
    for pod in pods {
        told.pods(pod.sources[0], vec![Arc::new(pod)]);
    }
    told
}

fn only(told: &mut Told) -> KnownPod {
    let known = told.merge();
    assert_eq!(known.pods.len(), 1);
    known.pods.into_values().next().unwrap().as_ref().clone()
}

fn of_kube_and_cri(kube: KnownContainer, cri: KnownContainer) -> Vec<KnownContainer> {
    let kube = KnownPod { containers: vec![kube], ..pod("web", Source::Kube) };
    let cri = KnownPod { containers: vec![cri], ..pod("web", Source::Cri) };
    let pod = only(&mut told([kube, cri]));
    assert_eq!(pod.disagreements, []);
    pod.containers
}

fn said(source: Source, says: &str) -> Said {
    Said { source, says: says.into() }
}

const APP: Option<ContainerKind> = Some(ContainerKind::App);
const INIT: Option<ContainerKind> = Some(ContainerKind::Init);

#[test]
fn two_sources_make_one_pod_and_the_first_is_believed() {
    let kube = KnownPod { phase: Some("Running".into()), ..pod("web", Source::Kube) };
    let cri = KnownPod { phase: Some("?".into()), host_network: Some(true), ..pod("web", Source::Cri) };
    let pod = only(&mut told([cri, kube]));
    assert_eq!(pod.sources, [Source::Kube, Source::Cri]);
    assert_eq!((pod.phase.as_deref(), pod.host_network), (Some("Running"), Some(true)));
    assert_eq!(pod.disagreements, []);
}

#[test]
fn the_spec_tells_what_a_container_is_and_the_runtime_what_it_does() {
    let init = container(Some("ab12"), INIT, ContainerState::Running);
    let image = Some("busybox:1".into());
    let ended = KnownContainer { image, ..container(Some("ab12"), APP, ContainerState::Terminated) };
    let containers = of_kube_and_cri(init, ended);
    let [container] = containers.as_slice() else { panic!("one container") };
    assert_eq!((container.kind, container.state), (INIT, ContainerState::Terminated));
    assert_eq!(container.image.as_deref(), Some("busybox:1"));
}

#[test]
fn an_instance_the_status_has_not_heard_of_has_the_spec_of_its_name() {
    let requests = Requests { cpu_cores: Some(f64Bits::new(0.1)), memory_bytes: Some(7) };
    for id in [None, Some("01d")] {
        let kube = container(id, INIT, ContainerState::Waiting);
        let kube = KnownContainer { requests, ..kube };
        let containers = of_kube_and_cri(kube, container(Some("ab12"), APP, ContainerState::Running));
        let new = containers.last().unwrap();
        assert_eq!((new.kind, new.state, new.requests), (INIT, ContainerState::Running, requests));
        assert_eq!(containers.len(), 1 + usize::from(id.is_some()), "an older instance stays beside it");
    }
}

#[test]
fn a_container_between_two_instances_waits_though_its_last_one_has_ended() {
    let kube = KnownContainer {
        state_reason: Some("CrashLoopBackOff".into()),
        ..container(Some("ab12"), APP, ContainerState::Waiting)
    };
    let containers = of_kube_and_cri(kube, container(Some("ab12"), APP, ContainerState::Terminated));
    assert_eq!(containers[0].state, ContainerState::Waiting);
    assert_eq!(containers[0].state_reason.as_deref(), Some("CrashLoopBackOff"));
}

#[test]
fn why_an_instance_ended_is_not_why_its_container_waits() {
    let ended = KnownContainer {
        state_reason: Some("OOMKilled".into()),
        ..container(Some("ab12"), APP, ContainerState::Terminated)
    };
    let reason = |state| {
        let containers = of_kube_and_cri(container(Some("ab12"), APP, state), ended.clone());
        containers[0].state_reason.as_deref().map(str::to_owned)
    };
    assert_eq!(reason(ContainerState::Waiting), None);
    assert_eq!(reason(ContainerState::Running).as_deref(), Some("OOMKilled"), "the runtime knows first");
}

#[test]
fn sources_that_name_a_pod_or_a_container_differently_disagree_and_both_are_shown() {
    let app = container(Some("ab12"), APP, ContainerState::Running);
    let other = KnownContainer { name: "other".into(), ..app.clone() };
    let kube = KnownPod { containers: vec![app], ..pod("web", Source::Kube) };
    let cri = KnownPod { containers: vec![other], ..pod("else", Source::Cri) };
    let pod = only(&mut told([cri, kube]));
    assert_eq!((pod.name.as_ref(), pod.containers[0].name.as_ref()), ("web", "app"));
    let expected = [
        Disagreement {
            about: Subject::Name,
            first: said(Source::Kube, "default/web"),
            second: said(Source::Cri, "default/else"),
        },
        Disagreement {
            about: Subject::ContainerName,
            first: said(Source::Kube, "ab12 is app"),
            second: said(Source::Cri, "ab12 is other"),
        },
    ];
    assert_eq!(pod.disagreements, expected);
}

#[test]
fn sources_that_differ_about_the_network_leave_it_open() {
    let kube = KnownPod { host_network: Some(false), ..pod("web", Source::Kube) };
    let cri = KnownPod { host_network: Some(true), ..pod("web", Source::Cri) };
    let pod = only(&mut told([kube, cri]));
    assert_eq!(pod.host_network, None);
    assert_eq!(pod.disagreements.len(), 1);
    assert_eq!(pod.disagreements[0].about, Subject::HostNetwork);
}

#[test]
fn a_start_that_was_told_once_does_not_move_while_its_owner_lives() {
    let at = |nanos| Some(WallTime::from_unix_nanos(nanos));
    let with = |source, nanos| {
        let started =
            KnownContainer { started_at: at(nanos), ..container(Some("ab12"), APP, ContainerState::Running) };
        KnownPod { start_time: at(nanos + 1), containers: vec![started], ..pod("web", source) }
    };
    let mut told = told([with(Source::Cri, 1_500)]);
    let starts = |pod: KnownPod| (pod.start_time, pod.containers[0].started_at);
    assert_eq!(starts(only(&mut told)), (at(1_501), at(1_500)));
    told.pods(Source::Kube, vec![Arc::new(with(Source::Kube, 1_000))]);
    assert_eq!(starts(only(&mut told)), (at(1_501), at(1_500)));
    told.pods(Source::Kube, vec![]);
    told.pods(Source::Cri, vec![]);
    assert!(told.merge().pods.is_empty());
    told.pods(Source::Kube, vec![Arc::new(with(Source::Kube, 1_000))]);
    assert_eq!(starts(only(&mut told)), (at(1_001), at(1_000)), "what is gone is forgotten");
}

#[test]
fn what_changes_is_not_believed_of_a_source_that_is_away_and_what_is_old_is_no_contradiction() {
    let of = |name, source, phase: &str, state| KnownPod {
        phase: Some(phase.into()),
        containers: vec![container(Some("ab12"), APP, state)],
        ..pod(name, source)
    };
    let kube = of("web", Source::Kube, "Running", ContainerState::Running);
    let kubelet = of("else", Source::Kubelet, "Succeeded", ContainerState::Terminated);
    let mut told = told([kube, kubelet]);
    let shown = |pod: KnownPod| (pod.phase, pod.containers[0].state, pod.disagreements.len());
    assert_eq!(shown(only(&mut told)), (Some("Running".into()), ContainerState::Running, 1));
    told.lost(Source::Kube);
    assert_eq!(shown(only(&mut told)), (Some("Succeeded".into()), ContainerState::Terminated, 0));
    assert_eq!(only(&mut told).name.as_ref(), "web", "names stay");
    told.lost(Source::Kubelet);
    assert_eq!(shown(only(&mut told)), (Some("Running".into()), ContainerState::Running, 0));
}

#[test]
fn what_a_lost_source_told_stands_until_it_answers_again() {
    let mut told = told([pod("web", Source::Cri)]);
    told.lost(Source::Cri);
    let known = told.merge();
    assert_eq!((known.pods.len(), known.complete, known.current), (1, vec![Source::Cri], vec![]));
    told.pods(Source::Cri, vec![]);
    let known = told.merge();
    assert_eq!((known.pods.len(), known.current), (0, vec![Source::Cri]));
}

#[test]
fn a_source_that_never_answered_is_neither_complete_nor_current() {
    let mut told = Told::default();
    told.lost(Source::Cri);
    assert_eq!(told.merge(), KnownPods::default());
}
