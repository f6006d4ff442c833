//! README's table of the agents' names, held against what is really served.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::client::{Server, server};
use super::docker::web_id;
use super::table::{Place, Row, differences, has, rows, section};

/// What the other systems call things, list by list.
fn lists() -> BTreeMap<String, BTreeSet<String>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/names");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .map(|path| {
            let names = std::fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), names)
        })
        .collect()
}

/// Places that no document has.
async fn missing(server: &Server, rows: &[Row]) -> Vec<String> {
    let (mut documents, mut missing) = (BTreeMap::new(), Vec::new());
    for row in rows {
        for Place { route, path } in &row.places {
            if !documents.contains_key(route) {
                let answer = server.get(&route.replace("{id}", &web_id())).await;
                assert_eq!(answer.status, 200, "{route}: {}", answer.text());
                documents.insert(route.clone(), answer.text().to_owned());
            }
            if !has(&documents[route], path) {
                missing.push(format!("{}: no {path} in {route}", row.name));
            }
        }
    }
    missing
}

#[tokio::test]
async fn every_place_is_in_a_document_that_is_served() {
    let rows = rows(section());
    let found = rows.iter().filter(|row| !row.places.is_empty()).count();
    assert!(found > 100, "{found} rows name a place");
    assert_eq!(missing(&server().await, &rows).await, [""; 0]);
}

#[test]
fn every_name_of_the_agents_has_one_row() {
    let lists = lists();
    for list in [
        "ceilometer.txt",
        "datadog-kubernetes.txt",
        "datadog-container.txt",
        "datadog-docker.txt",
        "mackerel-agent.txt",
        "mackerel-docker.txt",
    ] {
        assert!(lists.get(list).is_some_and(|names| names.len() >= 6), "{list}");
    }
    assert_eq!(differences(&rows(section()), &lists), [""; 0]);
}

#[tokio::test]
async fn a_place_that_is_none_is_found_out() {
    let server = server().await;
    let wrong = |place: &str| rows(&format!("| `x` | {place} | as it is |"));
    for (place, is_there) in [
        ("`/api/v1/pods` `pods[].cpu.usageNanoseconds`", true),
        ("`/api/v1/pods` `pods[].cpu.usageNanosecond`", false),
        ("`/api/v1/pods` `pods.cpu`", false),
        ("`/api/v1/node` `cpu.capacityCores` `memory.nothing`", false),
        ("`/containers/{id}/stats?stream=false` `blkio_stats.io_serviced_recursive[op=Write].value`", true),
        ("`/containers/{id}/stats?stream=false` `blkio_stats.io_serviced_recursive[op=Sync].value`", false),
        ("`/containers/{id}/stats?stream=false` `networks.*.rx_bytes`", true),
        ("`/containers/{id}/stats?stream=false` `networks.*.collisions`", false),
        ("`/metrics/pods` `podvitals_pod_pids`", true),
        ("`/metrics/pods` `podvitals_pod_pid`", false),
        ("`/metrics/pods` `podvitals_pod_pressure_seconds_total{resource=\"io\",share=\"full\"}`", true),
        ("`/metrics/pods` `podvitals_pod_pressure_seconds_total{resource=\"net\",share=\"full\"}`", false),
    ] {
        assert_eq!(missing(&server, &wrong(place)).await.is_empty(), is_there, "{place}");
    }
}

#[test]
fn a_row_that_is_missing_strange_or_twice_is_found_out() {
    let lists = BTreeMap::from([("l.txt".to_owned(), ["a", "b"].map(str::to_owned).into())]);
    let row = |name: &str| format!("| `{name}` | absent | nobody knows |\n");
    let told =
        |names: &[&str]| differences(&rows(&names.iter().map(|name| row(name)).collect::<String>()), &lists);
    assert_eq!(told(&["a", "b"]), [""; 0]);
    assert_eq!(told(&["a"]), ["b of l.txt has 0 rows"]);
    assert_eq!(told(&["a", "b", "b", "c"]), ["c is in no list", "b of l.txt has 2 rows"]);
}

#[test]
#[should_panic(expected = "not a row")]
fn absence_needs_its_reason() {
    rows("| `x` | absent | |");
}
