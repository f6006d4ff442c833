//! Reads what was rendered.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// A file of the repository.
pub(super) fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Every document of a YAML text.
pub(super) fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}"))
}

/// The renders of `ci/*-values.yaml` by name.
pub(super) fn cases() -> BTreeMap<String, Vec<Value>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/chart");
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        found.insert(name, documents(&fs::read_to_string(&path).unwrap()));
    }
    assert!(found.len() >= 15, "{} renders", found.len());
    found
}

/// One of them.
pub(super) fn case(name: &str) -> Vec<Value> {
    documents(&read(&format!("tests/golden/chart/{name}.yaml")))
}

/// Whether a document is there for `helm test` only.
pub(super) fn is_test(document: &Value) -> bool {
    document["metadata"]["annotations"]["helm.sh/hook"] == "test"
}

/// The documents of a kind that are installed.
pub(super) fn of_kind<'a>(documents: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    documents.iter().filter(move |document| document["kind"] == kind && !is_test(document))
}

/// The one and only DaemonSet.
pub(super) fn daemonset(documents: &[Value]) -> &Value {
    let found: Vec<_> = of_kind(documents, "DaemonSet").collect();
    assert_eq!(found.len(), 1);
    found[0]
}

/// The texts of an array.
pub(super) fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn manifests_are_the_namespace_and_the_defaults() {
    let manifests = documents(&read("manifests/podvitals.yaml"));
    let defaults: Vec<_> = case("default").into_iter().filter(|document| !is_test(document)).collect();
    assert_eq!(manifests[0]["kind"], "Namespace");
    assert_eq!(manifests[1..], defaults);
    assert_eq!(manifests[0]["metadata"]["name"], defaults[0]["metadata"]["namespace"]);
    let kustomization = documents(&read("manifests/kustomization.yaml"));
    assert_eq!(texts(&kustomization[0]["resources"]), ["podvitals.yaml"]);
}

#[test]
fn every_case_has_its_render() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/podvitals/ci");
    let mut wanted: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().replace("-values.yaml", ""))
        .collect();
    wanted.sort();
    assert_eq!(cases().into_keys().collect::<Vec<_>>(), wanted);
}
