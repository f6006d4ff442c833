//! Who names pods, asked and unasked, willing and not.

use std::collections::BTreeSet;

use super::*;
use crate::command::doctor::Verdict;

fn these<const N: usize>(sources: [AskedSource; N]) -> SourceChoice {
    SourceChoice::These(BTreeSet::from(sources))
}

/// As in the chart: the API server lists five pods of this node.
fn in_cluster() -> Names {
    Names {
        node: "n1".into(),
        node_given: true,
        source: these([AskedSource::Kube]),
        kube: Answer::Asked { url: "https://10.96.0.1".into(), pods: Ok(5) },
        kubelet: Answer::NotConfigured,
        sockets: Vec::new(),
        pods_here: 5,
    }
}

fn refused(kind: Refusal) -> Answer {
    Answer::Asked { url: "https://x".into(), pods: Err(Refused { kind, said: "no".into() }) }
}

fn knock(path: &str, answer: Result<(), Failure>) -> Socket {
    Socket { source: AskedSource::Cri, given: false, asked: true, knock: Knock { path: path.into(), answer } }
}

fn wrong(names: &Names) -> Vec<(&'static str, Verdict)> {
    let checks = judge(names);
    for check in &checks {
        assert!(
            check.verdict == Verdict::Ok || check.consequence.is_some() && check.cure.is_some(),
            "{check:?}"
        );
        assert_eq!(check.verdict == Verdict::Problem, check.breaks == [Core::Names], "{check:?}");
    }
    let wrong = checks.iter().filter(|check| check.verdict != Verdict::Ok);
    wrong.map(|check| (check.check, check.verdict)).collect()
}

#[test]
fn names_from_the_api_server_are_enough() {
    assert_eq!(wrong(&in_cluster()), []);
    assert!(in_cluster().api_is_there());
    assert_eq!(judge(&in_cluster())[0].found, "lists 5 pods of node n1");
}

#[test]
fn a_source_asked_for_by_name_has_to_answer_and_one_of_all_need_not() {
    for (source, verdict) in
        [(these([AskedSource::Kube]), Verdict::Problem), (SourceChoice::Auto, Verdict::Notice)]
    {
        let down = Names { source, kube: refused(Refusal::Unreachable), ..in_cluster() };
        assert_eq!(wrong(&down), [("API server", verdict), ("names", Verdict::Notice)]);
        let unusable = Names { kube: Answer::Unusable("no token".into()), ..down };
        assert_eq!(wrong(&unusable), [("API server", verdict), ("names", Verdict::Notice)]);
        assert!(!unusable.api_is_there());
    }
}

#[test]
fn the_cure_of_a_refusal_is_of_its_kind() {
    let cure = |kind| judge(&Names { kube: refused(kind), ..in_cluster() })[0].cure.clone().unwrap();
    assert!(cure(Refusal::Forbidden).contains("ClusterRole"));
    assert!(cure(Refusal::Unauthorized).contains("service account"));
    assert!(cure(Refusal::Timeout).contains("NetworkPolicy"));
    assert!(cure(Refusal::ServerError).contains("its own log"));
}

#[test]
fn the_kubelet_has_cures_of_its_own() {
    let asked = |kubelet| Names { source: these([AskedSource::Kubelet]), kubelet, ..in_cluster() };
    let fine = asked(Answer::Asked { url: "https://10.0.0.1:10250".into(), pods: Ok(5) });
    assert_eq!(wrong(&fine), []);
    let down = asked(refused(Refusal::Unreachable));
    assert_eq!(wrong(&down), [("kubelet", Verdict::Problem)]);
    assert!(judge(&down)[2].cure.as_ref().unwrap().contains("--kubelet-ca"));
    assert!(judge(&asked(refused(Refusal::Forbidden)))[2].cure.as_ref().unwrap().contains("nodes/pods"));
    assert_eq!(wrong(&asked(Answer::Unusable("no file".into()))), [("kubelet", Verdict::Problem)]);
}

#[test]
fn another_node_s_name_is_found_out() {
    let stranger = Names { kube: Answer::Asked { url: "https://x".into(), pods: Ok(0) }, ..in_cluster() };
    assert_eq!(wrong(&stranger), [("node name", Verdict::Problem)]);
    assert!(judge(&stranger)[1].cure.as_ref().unwrap().contains("spec.nodeName"));
    assert_eq!(wrong(&Names { pods_here: 0, ..stranger }), [], "there may be none");
    assert_eq!(wrong(&Names { node_given: false, ..in_cluster() }), [("node name", Verdict::Notice)]);
}

#[test]
fn a_socket_we_may_connect_to_is_root_on_the_node() {
    let open = Names { sockets: vec![knock("/run/x.sock", Ok(()))], ..in_cluster() };
    assert_eq!(wrong(&open), [("runtime socket", Verdict::Notice)]);
    assert!(judge(&open)[3].consequence.as_ref().unwrap().contains("root on this node"));
    let closed = Names { sockets: vec![knock("/run/x.sock", Err(Failure::Denied))], ..in_cluster() };
    assert_eq!(wrong(&closed), []);
    assert!(judge(&closed)[3].consequence.as_ref().unwrap().contains("would buy"));
    let dead = Names { sockets: vec![knock("/run/x.sock", Err(Failure::NobodyListens))], ..in_cluster() };
    assert_eq!(wrong(&dead), []);
}

#[test]
fn a_runtime_that_is_asked_for_has_to_be_there_and_open() {
    let source = these([AskedSource::Cri]);
    let asked =
        |sockets| Names { source: source.clone(), kube: Answer::NotConfigured, sockets, ..in_cluster() };
    let broken = [("runtime socket", Verdict::Problem), ("names", Verdict::Notice)];
    assert_eq!(wrong(&asked(vec![])), broken);
    assert_eq!(wrong(&asked(vec![knock("/run/x.sock", Err(Failure::Denied))])), broken);
    assert_eq!(wrong(&asked(vec![knock("/run/x.sock", Ok(()))])), [("runtime socket", Verdict::Notice)]);
    let given = |answer| Socket { given: true, ..knock("/run/y.sock", answer) };
    let beside = |answer| Socket { asked: false, ..knock("/run/x.sock", answer) };
    let elsewhere = asked(vec![given(Err(Failure::Absent)), beside(Err(Failure::Denied))]);
    assert_eq!(wrong(&elsewhere), broken);
}

#[test]
fn only_the_socket_that_is_asked_has_to_answer_and_only_its_answer_counts() {
    let beside = |answer| Socket { asked: false, ..knock("/run/crio/crio.sock", answer) };
    let asked = |first, second| Names {
        source: these([AskedSource::Cri]),
        kube: Answer::NotConfigured,
        sockets: vec![knock("/run/containerd/containerd.sock", first), beside(second)],
        ..in_cluster()
    };
    let (open, stale) = (("runtime socket", Verdict::Notice), Err(Failure::NobodyListens));
    assert_eq!(wrong(&asked(Ok(()), stale.clone())), [open]);
    let broken = [("runtime socket", Verdict::Problem), open, ("names", Verdict::Notice)];
    assert_eq!(wrong(&asked(stale, Ok(()))), broken);
    // One that we cannot even see is none for the daemon either.
    let unseen = Names { sockets: vec![beside(Err(Failure::Denied))], ..asked(Ok(()), Ok(())) };
    assert_eq!(wrong(&unseen), [("runtime socket", Verdict::Problem), ("names", Verdict::Notice)]);
}

#[test]
fn the_docker_engine_is_a_source_of_its_own() {
    let docker = |answer| Socket { source: AskedSource::Docker, ..knock("/run/docker.sock", answer) };
    let source = these([AskedSource::Docker]);
    let asked =
        |sockets| Names { source: source.clone(), kube: Answer::NotConfigured, sockets, ..in_cluster() };
    let broken = [("Docker's socket", Verdict::Problem), ("names", Verdict::Notice)];
    assert_eq!(wrong(&asked(vec![])), broken);
    assert_eq!(wrong(&asked(vec![docker(Err(Failure::Denied))])), broken);
    assert_eq!(wrong(&asked(vec![docker(Ok(()))])), [("Docker's socket", Verdict::Notice)]);
    // The runtime's socket names nobody while only Docker is asked.
    let other = asked(vec![knock("/run/x.sock", Ok(())), docker(Err(Failure::NobodyListens))]);
    assert_eq!(wrong(&other)[1..], broken);
    let given = Socket { given: true, ..docker(Err(Failure::Absent)) };
    let auto = Names { sockets: vec![given], source: SourceChoice::Auto, ..in_cluster() };
    assert_eq!(wrong(&auto), [("Docker's socket", Verdict::Notice)]);
}

#[test]
fn nobody_may_be_chosen() {
    let nobody = Names {
        source: SourceChoice::Cgroup,
        kube: Answer::NotAsked("https://x".into()),
        kubelet: Answer::NotAsked("https://y".into()),
        ..in_cluster()
    };
    assert_eq!(wrong(&nobody), []);
    let alone = Names { source: SourceChoice::Auto, kube: Answer::NotConfigured, ..nobody };
    assert_eq!(wrong(&alone), [("names", Verdict::Notice)]);
}
