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
                    assert!(path == "/" || path.len() > 2, "{case}: {path} is everything");
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

/// As RBAC has it: a path, or the beginning of one with a `*`.
fn covers(granted: &str, path: &str) -> bool {
    granted.strip_suffix('*').map_or(granted == path, |beginning| path.starts_with(beginning))
}

#[test]
fn the_reader_may_get_all_that_is_served_with_docker_s_versions_in_front() {
    let documents = render::case("default");
    let mut roles = render::of_kind(&documents, "ClusterRole");
    let reader = roles.find(|role| role["metadata"]["name"] == "podvitals-reader").unwrap();
    let granted = render::texts(&reader["rules"][0]["nonResourceURLs"]);
    // The page at `/` has every route.
    let page = render::read("tests/golden/page.txt");
    let lines = page.lines().filter(|line| line.starts_with('/'));
    let mut served: Vec<String> = lines.map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert!(served.len() > 40, "{served:?}");
    // What needs no right.
    served.retain(|path| !["/livez", "/readyz", "/healthz"].iter().any(|open| path.starts_with(open)));
    let of_docker = |path: &&String| {
        ["/_ping", "/info", "/events", "/containers/", "/version"].iter().any(|its| path.starts_with(its))
    };
    let versioned = served.iter().filter(of_docker).map(|path| format!("/v1.44{path}"));
    let versioned: Vec<_> = versioned.collect();
    assert_eq!(versioned.len(), 7, "{versioned:?}");
    for path in served.iter().chain(&versioned) {
        assert!(granted.iter().any(|granted| covers(granted, path)), "{path} is not among {granted:?}");
    }
    for granted in &granted {
        // With and without a part after it, the API of old is one of both.
        let is_served = |path: &String| covers(granted, path) || path.starts_with(&format!("{granted}/"));
        assert!(served.iter().chain(&versioned).any(is_served), "{granted} is not served");
    }
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
