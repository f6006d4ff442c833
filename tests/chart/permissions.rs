//! What each setting grants at the API server, to the last verb.

use std::collections::BTreeSet;

use serde_json::Value;

use super::render;

const PODS: &str = "/pods get,list,watch";
const KUBELET: &str = "/nodes/pods get";
const TOKENS: &str = "authentication.k8s.io/tokenreviews create";
const ACCESS: &str = "authorization.k8s.io/subjectaccessreviews create";

/// The rules of the roles that are bound to the DaemonSet's account, as `group/resource verbs`.
fn granted(documents: &[Value]) -> BTreeSet<String> {
    let pod = &render::daemonset(documents)["spec"]["template"]["spec"];
    let account = (&pod["serviceAccountName"], &render::daemonset(documents)["metadata"]["namespace"]);
    let bound = |binding: &&Value| {
        binding["subjects"].as_array().unwrap().iter().any(|subject| {
            subject["kind"] == "ServiceAccount" && (&subject["name"], &subject["namespace"]) == account
        })
    };
    let mut found = BTreeSet::new();
    for binding in render::of_kind(documents, "ClusterRoleBinding").filter(bound) {
        let role = render::of_kind(documents, "ClusterRole")
            .find(|role| role["metadata"]["name"] == binding["roleRef"]["name"])
            .unwrap();
        for rule in role["rules"].as_array().unwrap() {
            assert!(rule["nonResourceURLs"].is_null());
            let verbs = render::texts(&rule["verbs"]).join(",");
            for group in render::texts(&rule["apiGroups"]) {
                let resources = render::texts(&rule["resources"]);
                found.extend(resources.iter().map(|resource| format!("{group}/{resource} {verbs}")));
            }
        }
    }
    found
}

#[test]
fn the_account_may_do_what_its_settings_need_and_nothing_else() {
    for (case, wanted) in [
        ("default", &[PODS, TOKENS, ACCESS][..]),
        ("kubelet", &[KUBELET, TOKENS, ACCESS]),
        ("kubelet-ca", &[PODS, KUBELET, TOKENS, ACCESS]),
        ("network-policy", &[PODS, KUBELET, TOKENS, ACCESS]),
        ("auto", &[PODS, KUBELET, TOKENS, ACCESS]),
        ("cgroup", &[]),
        ("plain", &[]),
        ("no-access", &[PODS]),
        ("runtime-socket", &[PODS, TOKENS, ACCESS]),
        ("everything", &[PODS, TOKENS, ACCESS]),
    ] {
        let wanted = wanted.iter().map(ToString::to_string).collect();
        assert_eq!(granted(&render::case(case)), wanted, "{case}");
    }
}

#[test]
fn a_token_is_mounted_where_there_is_something_to_ask() {
    for (case, documents) in render::cases() {
        let mounted =
            &render::daemonset(&documents)["spec"]["template"]["spec"]["automountServiceAccountToken"];
        assert_eq!(*mounted, !granted(&documents).is_empty(), "{case}");
        for account in render::of_kind(&documents, "ServiceAccount") {
            assert_eq!(account["automountServiceAccountToken"], false, "{case}");
        }
    }
}

#[test]
fn no_role_has_a_wildcard_a_secret_or_the_proxy_of_a_node() {
    for (case, documents) in render::cases() {
        for role in documents.iter().filter(|document| document["kind"] == "ClusterRole") {
            for rule in role["rules"].as_array().unwrap() {
                let named = [&rule["apiGroups"], &rule["resources"], &rule["verbs"]];
                let named: Vec<_> = named.into_iter().flat_map(render::texts).collect();
                assert!(!named.iter().any(|name| ["*", "secrets", "nodes/proxy"].contains(name)), "{case}");
                for path in render::texts(&rule["nonResourceURLs"]) {
                    assert!(path.len() > 2, "{case}: {path} is everything");
                }
            }
        }
    }
}

#[test]
fn the_reader_may_get_paths_and_is_nobody_until_bound() {
    let documents = render::case("default");
    let role = render::of_kind(&documents, "ClusterRole")
        .find(|role| role["metadata"]["name"] == "podvitals-reader")
        .unwrap();
    assert_eq!(role["rules"].as_array().unwrap().len(), 1);
    assert_eq!(render::texts(&role["rules"][0]["verbs"]), ["get"]);
    assert!(render::texts(&role["rules"][0]["nonResourceURLs"]).contains(&"/metrics"));
    let bound = render::of_kind(&documents, "ClusterRoleBinding")
        .any(|binding| binding["roleRef"]["name"] == "podvitals-reader");
    assert!(!bound);
}

#[test]
fn a_pod_monitor_has_credentials_that_exist() {
    for case in ["monitors", "cert-manager"] {
        let documents = render::case(case);
        let monitor = render::of_kind(&documents, "PodMonitor").next().unwrap();
        let credentials = &monitor["spec"]["podMetricsEndpoints"][0]["authorization"]["credentials"];
        let secret = render::of_kind(&documents, "Secret").next().unwrap();
        assert_eq!(credentials["name"], secret["metadata"]["name"], "{case}");
        assert_eq!(secret["type"], "kubernetes.io/service-account-token");
        let account = &secret["metadata"]["annotations"]["kubernetes.io/service-account.name"];
        let bound = render::of_kind(&documents, "ClusterRoleBinding")
            .any(|binding| binding["subjects"][0]["name"] == *account);
        assert!(bound, "{case}: nothing binds {account}");
    }
    let open = render::case("no-access");
    let monitor = render::of_kind(&open, "PodMonitor").next().unwrap();
    assert!(monitor["spec"]["podMetricsEndpoints"][0]["authorization"].is_null());
    assert_eq!(render::of_kind(&open, "Secret").count(), 0);
}
