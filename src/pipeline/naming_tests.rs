//! Which sources are asked, and when a node name is said to be wrong.

use super::*;
use crate::model::identity::KnownPod;

fn sources(variables: &[(&str, &str)]) -> Result<Sources, PipelineError> {
    let lookup = |name: &str| {
        let found = variables.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let config = Config::from_vars(lookup).unwrap();
    choose(&config, "n1", None, &Arc::default())
}

fn known(uids: &[&str], source: Source) -> KnownPods {
    let pod = |uid: &&str| {
        let uid = PodUid::new(uid).unwrap();
        (uid.clone(), Arc::new(KnownPod::named(uid, "default", "web", source)))
    };
    KnownPods { pods: uids.iter().map(pod).collect(), complete: vec![source], current: vec![source] }
}

#[test]
fn without_an_api_server_and_a_kubelet_there_is_the_runtime_or_nobody() {
    let socket = ("PODVITALS_CRI_ENDPOINT", "unix:///run/some.sock");
    for source in ["auto", "cri", "kube,cri"] {
        let sources = sources(&[("PODVITALS_SOURCE", source), socket]).unwrap();
        assert_eq!(sources.cri, Some(Runtime::At("/run/some.sock".into())), "{source}");
        assert!(sources.kube.is_none() && sources.kubelet.is_none(), "{source}");
    }
    let nobody = sources(&[("PODVITALS_SOURCE", "cgroup"), socket]).unwrap();
    assert!(!is_anybody(&nobody));
}

#[test]
fn the_docker_engine_is_asked_by_name_or_as_one_of_all() {
    let socket = ("PODVITALS_DOCKER_ENDPOINT", "unix:///run/some-docker.sock");
    let asked = |source| sources(&[("PODVITALS_SOURCE", source), socket]).unwrap();
    for source in ["auto", "docker", "kube,docker"] {
        assert_eq!(asked(source).docker, Some(Runtime::At("/run/some-docker.sock".into())), "{source}");
    }
    assert_eq!(asked("docker").cri, None);
    assert!(asked("auto").cri.is_some());
    assert!(!is_anybody(&asked("cgroup")) && asked("kube").docker.is_none());
}

#[tokio::test]
async fn a_kubelet_is_asked_where_its_address_is_set_and_its_source_wanted() {
    let url = ("PODVITALS_KUBELET_URL", "https://10.0.0.1:10250");
    let insecure = ("PODVITALS_KUBELET_INSECURE_TLS", "true");
    let asked = |source| sources(&[("PODVITALS_SOURCE", source), url, insecure]).unwrap().kubelet.is_some();
    assert!(asked("kubelet") && asked("auto"));
    assert!(!asked("cgroup"));
}

#[test]
fn pods_are_strangers_only_while_the_api_server_is_current_and_knows_none_of_them() {
    let strangers = |known: &KnownPods, here: &[&str]| {
        let here: Vec<_> = here.iter().map(|uid| PodUid::new(uid).unwrap()).collect();
        are_strangers(known, &here)
    };
    assert_eq!(strangers(&known(&[], Source::Kube), &["aa"]), Some(true));
    assert_eq!(strangers(&known(&["bb"], Source::Kube), &["aa", "cc"]), Some(true));
    assert_eq!(strangers(&known(&["bb"], Source::Kube), &["aa", "bb"]), Some(false));
    assert_eq!(strangers(&known(&["bb"], Source::Kube), &[]), Some(false), "nothing is here");
    let lost = KnownPods { current: Vec::new(), ..known(&[], Source::Kube) };
    assert_eq!(strangers(&lost, &["aa"]), None, "we cannot know");
    assert_eq!(strangers(&known(&["aa"], Source::Cri), &["aa"]), None);
}

#[test]
fn a_wrong_name_is_said_after_a_minute_and_taken_back_when_it_was_none() {
    let health = Health::default();
    let said = || health.node_name_mismatch.load(Ordering::Relaxed);
    let start = Instant::now();
    say_mismatch("n1", Some(start), start + MISMATCH - LOOK, &health);
    assert!(!said());
    say_mismatch("n1", Some(start), start + MISMATCH, &health);
    assert!(said());
    say_mismatch("n1", None, start + MISMATCH + LOOK, &health);
    assert!(!said());
}
