//! Each document through the type Kubernetes has for it, and back: a field that is misspelt or in the
//! wrong place does not come back.
//!
//! The Prometheus operator's and cert-manager's types are not in k8s-openapi: for them, the fields the
//! chart may write are listed here, after their API references.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::render;

/// What is lost on the way through its type, as paths.
fn lost(document: &Value) -> Vec<String> {
    let of = (document["apiVersion"].as_str().unwrap(), document["kind"].as_str().unwrap());
    let back = match of {
        ("v1", "ConfigMap") => there_and_back::<ConfigMap>(document),
        ("v1", "Namespace") => there_and_back::<Namespace>(document),
        ("v1", "Pod") => there_and_back::<Pod>(document),
        ("v1", "Secret") => there_and_back::<Secret>(document),
        ("v1", "Service") => there_and_back::<Service>(document),
        ("v1", "ServiceAccount") => there_and_back::<ServiceAccount>(document),
        ("apps/v1", "DaemonSet") => there_and_back::<DaemonSet>(document),
        ("networking.k8s.io/v1", "NetworkPolicy") => there_and_back::<NetworkPolicy>(document),
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => there_and_back::<ClusterRole>(document),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => {
            there_and_back::<ClusterRoleBinding>(document)
        }
        ("monitoring.coreos.com/v1", "PodMonitor" | "ServiceMonitor") => return unlisted(document, MONITOR),
        ("monitoring.coreos.com/v1", "PrometheusRule") => return unlisted(document, RULE),
        ("cert-manager.io/v1", "Certificate") => return unlisted(document, CERTIFICATE),
        _ => panic!("no type for {of:?}"),
    };
    let mut found = Vec::new();
    missing(document, &back, "", &mut found);
    found
}

fn there_and_back<T: DeserializeOwned + Serialize>(document: &Value) -> Value {
    let typed: T = serde_json::from_value(document.clone()).unwrap_or_else(|error| {
        panic!("{} {}: {error}", document["kind"], document["metadata"]["name"]);
    });
    serde_json::to_value(typed).unwrap()
}

/// Everything of `left` that `right` has not, or has otherwise.
fn missing(left: &Value, right: &Value, at: &str, found: &mut Vec<String>) {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            for (key, value) in left {
                missing(value, right.get(key).unwrap_or(&Value::Null), &format!("{at}.{key}"), found);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (i, (left, right)) in left.iter().zip(right).enumerate() {
                missing(left, right, &format!("{at}[{i}]"), found);
            }
        }
        _ if left == right => {}
        _ => found.push(format!("{at}: {left} came back as {right}")),
    }
}

/// Fields of <https://prometheus-operator.dev/docs/api-reference/api/>, where a monitor's `endpoints`
/// and `podMetricsEndpoints` have those of ours in common.
const MONITOR: &[&str] = &[
    "spec.jobLabel",
    "spec.selector.matchLabels.*",
    "spec.namespaceSelector.matchNames",
    "spec.sampleLimit",
    "spec.targetLimit",
    "spec.labelLimit",
    "spec.labelNameLengthLimit",
    "spec.labelValueLengthLimit",
    "spec.keepDroppedTargets",
    "spec.bodySizeLimit",
    "ENDPOINT.port",
    "ENDPOINT.scheme",
    "ENDPOINT.path",
    "ENDPOINT.interval",
    "ENDPOINT.scrapeTimeout",
    "ENDPOINT.authorization.credentials.name",
    "ENDPOINT.authorization.credentials.key",
    "ENDPOINT.bearerTokenFile",
    "ENDPOINT.tlsConfig.ca.secret.name",
    "ENDPOINT.tlsConfig.ca.secret.key",
    "ENDPOINT.tlsConfig.ca.configMap.name",
    "ENDPOINT.tlsConfig.ca.configMap.key",
    "ENDPOINT.tlsConfig.serverName",
    "ENDPOINT.tlsConfig.insecureSkipVerify",
    "ENDPOINT.relabelings.sourceLabels",
    "ENDPOINT.relabelings.targetLabel",
    "ENDPOINT.metricRelabelings.action",
    "ENDPOINT.metricRelabelings.regex",
    "ENDPOINT.metricRelabelings.sourceLabels",
];

const RULE: &[&str] = &[
    "spec.groups.name",
    "spec.groups.rules.alert",
    "spec.groups.rules.expr",
    "spec.groups.rules.for",
    "spec.groups.rules.labels.*",
    "spec.groups.rules.annotations.*",
];

/// <https://cert-manager.io/docs/reference/api-docs/#cert-manager.io/v1.CertificateSpec>
const CERTIFICATE: &[&str] = &[
    "spec.secretName",
    "spec.duration",
    "spec.renewBefore",
    "spec.privateKey.algorithm",
    "spec.privateKey.size",
    "spec.privateKey.rotationPolicy",
    "spec.usages",
    "spec.dnsNames",
    "spec.issuerRef.name",
    "spec.issuerRef.kind",
    "spec.issuerRef.group",
];

fn unlisted(document: &Value, listed: &[&str]) -> Vec<String> {
    let mut paths = Vec::new();
    leaves(document, "", &mut paths);
    // Metadata is everybody's.
    let meta = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": document["metadata"] });
    let mut found = lost(&meta);
    // A PodMonitor may not read files: it has no `bearerTokenFile`.
    let (endpoint, no_file) = match document["kind"].as_str() {
        Some("PodMonitor") => ("spec.podMetricsEndpoints", true),
        _ => ("spec.endpoints", false),
    };
    for path in paths.iter().filter(|path| path.starts_with("spec")) {
        let listed = listed.iter().any(|listed| {
            let listed = listed.replace("ENDPOINT", endpoint);
            match listed.strip_suffix('*') {
                Some(map) => path.starts_with(map),
                None => *path == listed,
            }
        });
        if !listed || (no_file && path.ends_with("bearerTokenFile")) {
            found.push(path.clone());
        }
    }
    found
}

/// The paths of everything that is no object or array of objects, arrays left out.
fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                leaves(value, &path, found);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            items.iter().for_each(|item| leaves(item, at, found));
        }
        _ => found.push(at.to_owned()),
    }
}

#[test]
fn no_document_loses_a_field_on_the_way_through_its_type() {
    let mut kinds = std::collections::BTreeSet::new();
    let manifests = render::documents(&render::read("manifests/podvitals.yaml"));
    for (case, documents) in render::cases().into_iter().chain([("manifests".to_owned(), manifests)]) {
        for document in documents {
            let kind = document["kind"].as_str().unwrap().to_owned();
            assert_eq!(lost(&document), Vec::<String>::new(), "{case}: {kind}");
            kinds.insert(kind);
        }
    }
    // None of the types above waits for a render in vain.
    assert_eq!(kinds.len(), 14, "{kinds:?}");
}

#[test]
fn a_misspelt_or_misplaced_field_is_lost() {
    let documents = render::case("default");
    let mut daemonset = render::daemonset(&documents).clone();
    daemonset["spec"]["template"]["spec"]["containers"][0]["readOnlyRootFilesystem"] = json!(true);
    daemonset["spec"]["template"]["spec"]["hostPid"] = json!(false);
    assert_eq!(
        lost(&daemonset),
        [
            ".spec.template.spec.containers[0].readOnlyRootFilesystem: true came back as null",
            ".spec.template.spec.hostPid: false came back as null",
        ]
    );
}

#[test]
fn a_field_the_operator_does_not_know_is_found() {
    let documents = render::case("monitors");
    let mut monitor = render::of_kind(&documents, "PodMonitor").next().unwrap().clone();
    monitor["spec"]["podMetricsEndpoints"][0]["bearerTokenFile"] = json!("/token");
    monitor["spec"]["podMetricsEndpoints"][0]["tls"] = json!({ "insecure": true });
    assert_eq!(
        lost(&monitor),
        ["spec.podMetricsEndpoints.bearerTokenFile", "spec.podMetricsEndpoints.tls.insecure"]
    );
}
