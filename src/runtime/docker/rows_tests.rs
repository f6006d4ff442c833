//! Tests of `rows`.

use std::collections::HashMap;

use super::*;

fn row(name: &str, labels: &[(&str, &str)]) -> ContainerSummary {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    ContainerSummary {
        id: Some("aa".into()),
        names: Some(vec![name.to_owned()]),
        labels: Some(labels.collect::<HashMap<_, _>>()),
        state: Some(State::RUNNING),
        created: Some(3),
        ..ContainerSummary::default()
    }
}

const POD: [(&str, &str); 3] = [(POD_NAME, "web"), (POD_NAMESPACE, "default"), (POD_UID, "u")];

#[test]
fn the_attempt_is_the_last_part_of_cri_dockerd_s_name() {
    let attempt = |name| attempt(&row(name, &[]));
    assert_eq!(attempt("/k8s_app_web_default_9c43_12"), 12);
    assert_eq!(attempt("/k8s_POD_web_default_9c43_0"), 0);
    assert_eq!(attempt("/by_hand_7"), 0);
    assert_eq!(attempt("/k8s_app_web_default_9c43_many"), 0);
}

#[test]
fn what_is_no_pod_s_is_left_out_and_what_is_half_a_pod_s_is_counted() {
    let of = |kind, more: &[(&'static str, &'static str)]| {
        let labels: Vec<_> =
            [(super::super::TYPE, kind)].into_iter().chain(POD).chain(more.iter().copied()).collect();
        row("/k8s_x_web_default_u_0", &labels)
    };
    let half = row("/k8s_POD_web_default_u_0", &[(super::super::TYPE, "podsandbox")]);
    let rows = vec![
        of("podsandbox", &[]),
        of("container", &[(CONTAINER_NAME, "app"), (SANDBOX, "aa")]),
        of("container", &[]),
        of("volume", &[]),
        half,
        row("/by-hand", &[("app", "x")]),
        ContainerSummary::default(),
    ];
    let listed = listed(rows);
    assert_eq!((listed.sandboxes.len(), listed.containers.len(), listed.refused), (1, 1, 4));
    assert_eq!(listed.sandboxes[0].created_at, 3_000_000_000);
}

#[test]
fn annotations_come_back_from_the_labels_they_were_written_as() {
    let source = ("annotation.kubernetes.io/config.source", "file");
    let labels: Vec<_> =
        [(super::super::TYPE, "podsandbox"), source, ("app", "x")].into_iter().chain(POD).collect();
    let sandbox = sandbox(row("/k8s_POD_web_default_u_1", &labels)).unwrap();
    let names: Vec<_> = sandbox.annotations.iter().map(|entry| entry.key.clone()).collect();
    assert_eq!(names, ["kubernetes.io/config.source"]);
    assert!(sandbox.labels.iter().all(|entry| entry.key != super::super::TYPE));
    assert_eq!((sandbox.metadata.unwrap().attempt, sandbox.state), (1, 0));
}

#[test]
fn an_instant_before_1970_is_none() {
    assert_eq!(instant("0001-01-01T00:00:00Z"), None);
    assert_eq!(instant("soon"), None);
    assert_eq!(instant("1970-01-01T00:00:01.5Z"), Some(WallTime::from_unix_nanos(1_500_000_000)));
}

#[test]
fn the_network_of_a_sandbox_is_its_own_the_node_s_or_nobody_knows() {
    let of = |mode: Option<&str>| {
        let config =
            bollard::models::HostConfig { network_mode: mode.map(str::to_owned), ..Default::default() };
        let inspected = ContainerInspectResponse { host_config: Some(config), ..Default::default() };
        sandbox_detail(&inspected).network
    };
    assert_eq!(of(Some("host")), Some(NetworkMode::Node));
    assert_eq!((of(Some("default")), of(Some("none"))), (Some(NetworkMode::Pod), Some(NetworkMode::Pod)));
    assert_eq!((of(None), of(Some("container:aa"))), (None, None));
}
