//! Values, schema, versions, dashboard and alerts, held against each other and against the program.

use std::collections::BTreeSet;

use serde_json::Value;

use super::render::{documents, read};

fn schema() -> Value {
    serde_json::from_str(&read("charts/podvitals/values.schema.json")).unwrap()
}

fn values() -> Value {
    documents(&read("charts/podvitals/values.yaml")).remove(0)
}

/// Follows `$ref`.
fn resolve<'a>(root: &'a Value, node: &'a Value) -> &'a Value {
    match node["$ref"].as_str() {
        Some(path) => root.pointer(path.strip_prefix('#').unwrap()).unwrap_or_else(|| panic!("{path}")),
        None => node,
    }
}

/// Sections whose defaults do not show all their keys.
const PARTIAL: [&str; 4] = ["startupProbe", "livenessProbe", "readinessProbe", "updateStrategy"];

fn compare(root: &Value, schema: &Value, values: &Value, at: &str, found: &mut Vec<String>) {
    let Some(keys) = resolve(root, schema)["properties"].as_object() else { return };
    let Some(values) = values.as_object() else { return };
    for (key, value) in values {
        match keys.get(key) {
            None => found.push(format!("{at}{key} is not in values.schema.json")),
            Some(schema) => compare(root, schema, value, &format!("{at}{key}."), found),
        }
    }
    let partial = values.is_empty() || PARTIAL.contains(&at.trim_end_matches('.'));
    for key in keys.keys().filter(|key| !partial && !values.contains_key(*key)) {
        found.push(format!("{at}{key} is not in values.yaml"));
    }
}

#[test]
fn schema_and_values_know_the_same_keys() {
    let mut found = Vec::new();
    compare(&schema(), &schema(), &values(), "", &mut found);
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn no_section_takes_a_key_it_does_not_know() {
    fn open(node: &Value, at: &str, found: &mut Vec<String>) {
        if let Some(fields) = node.as_object() {
            if fields.contains_key("properties") && node["additionalProperties"] != false {
                found.push(at.to_owned());
            }
            for (key, value) in fields {
                open(value, &format!("{at}/{key}"), found);
            }
        }
    }
    let mut found = Vec::new();
    open(&schema(), "", &mut found);
    // A parent chart puts what it likes there.
    assert_eq!(found, ["/properties/global"]);
    assert_eq!(schema()["$schema"], "http://json-schema.org/draft-07/schema#");
}

#[test]
fn the_chart_is_of_the_version_of_the_program() {
    let chart = documents(&read("charts/podvitals/Chart.yaml")).remove(0);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(chart["appVersion"], version);
    let images = chart["annotations"]["artifacthub.io/images"].as_str().unwrap();
    assert!(images.contains(&format!("ghcr.io/podvitals/podvitals:{version}\n")), "{images}");
}

/// The names of our metrics in an expression.
fn metrics(expression: &str) -> BTreeSet<&str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("podvitals_")).collect()
}

fn unknown<'a>(expression: &'a str, exposition: &str) -> Vec<&'a str> {
    let known = |name: &str| {
        exposition
            .lines()
            .any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
    };
    metrics(expression).into_iter().filter(|name| !known(name)).collect()
}

/// All texts under the key `expr`.
fn expressions(node: &Value, found: &mut Vec<String>) {
    match node {
        Value::Object(fields) => {
            found.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| expressions(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

#[test]
fn dashboard_and_alerts_ask_for_metrics_that_exist() {
    let exposition = read("tests/golden/metrics.txt");
    let dashboard: Value = serde_json::from_str(&read("charts/podvitals/dashboards/podvitals.json")).unwrap();
    let alerts = documents(&read("charts/podvitals/alerts/podvitals.yaml"));
    for (node, least) in [(&dashboard, 20), (&alerts[0], 10)] {
        let mut found = Vec::new();
        expressions(node, &mut found);
        assert!(found.len() >= least, "{}", found.len());
        for expression in found {
            assert!(!metrics(&expression).is_empty(), "{expression}");
            assert_eq!(unknown(&expression, &exposition), Vec::<&str>::new(), "{expression}");
        }
    }
    assert_eq!(unknown("rate(podvitals_nonsense[5m]) + podvitals_sweeps", &exposition).len(), 2);
}

#[test]
fn panels_of_the_dashboard_do_not_overlap() {
    let dashboard: Value = serde_json::from_str(&read("charts/podvitals/dashboards/podvitals.json")).unwrap();
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{}", panel["title"]);
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(x < 24 && taken.insert((x, y)), "{} at {x},{y}", panel["title"]);
            }
        }
    }
}
