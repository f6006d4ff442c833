//! The documents of `/api/v1/model` (pure).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::super::native::pods::one_of_each_name;
use super::super::time::{NEVER, rfc3339};
use super::query::Query;
use super::rows::{self, Row, Sweeps, Which};
use super::table::{METRICS, Metric, find};
use crate::model::snapshot::Snapshot;
use crate::model::time::WallTime;

/// Of a metric's labels the one that tells disks apart: `254:0`.
pub(super) const RESOURCE_ID: &str = "resource_id";

/// One metric of one thing.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Points {
    metrics: Vec<Point>,
    latest_timestamp: String,
}

#[derive(Serialize)]
struct Point {
    timestamp: String,
    value: u64,
}

/// One metric of several.
#[derive(Serialize)]
pub(super) struct Items {
    pub(super) items: Vec<Points>,
}

/// Namespaces with a pod here.
pub(super) fn namespaces(snapshot: &Snapshot) -> BTreeSet<&str> {
    one_of_each_name(snapshot).into_iter().map(|(_, known)| &*known.namespace).collect()
}

/// The pods of one of them.
pub(super) fn pods<'a>(snapshot: &'a Snapshot, namespace: &str) -> Vec<&'a str> {
    let pods = one_of_each_name(snapshot).into_iter().filter(|(_, known)| *known.namespace == *namespace);
    pods.map(|(_, known)| &*known.name).collect()
}

/// The containers of one of those that run.
pub(super) fn containers<'a>(snapshot: &'a Snapshot, namespace: &str, pod: &str) -> Vec<&'a str> {
    let mut pods = one_of_each_name(snapshot).into_iter();
    let found = pods.find(|(_, known)| *known.namespace == *namespace && *known.name == *pod);
    let containers = found.map(|(pod, _)| rows::containers(snapshot, pod)).unwrap_or_default();
    containers.into_iter().map(|(name, _)| name).collect()
}

/// The system containers.
pub(super) fn system(snapshot: &Snapshot) -> Vec<&'static str> {
    rows::system(snapshot).map(|(name, _)| name).collect()
}

/// Of what there are figures: neither of a namespace nor of the cluster, which are sums over nodes.
pub(super) fn keys(snapshot: &Snapshot) -> Vec<String> {
    let node = format!("node:{}", snapshot.node_name);
    let mut keys: Vec<_> =
        system(snapshot).into_iter().map(|name| format!("{node}/container:{name}")).collect();
    keys.push(node);
    for (pod, known) in one_of_each_name(snapshot) {
        let key = format!("namespace:{}/pod:{}", known.namespace, known.name);
        let containers = rows::containers(snapshot, pod);
        let containers = containers.iter().map(|(name, _)| format!("{key}/container:{name}"));
        keys.extend(containers.collect::<Vec<_>>());
        keys.push(key);
    }
    keys.sort();
    keys
}

/// What is known of it now.
pub(super) fn metrics(sweeps: &Sweeps<'_>, which: Option<&Which>) -> Vec<&'static str> {
    let last = which.and_then(|which| sweeps.rows(which).pop());
    let is_known = |metric: &&Metric| last.as_ref().is_some_and(|row| (metric.of)(row).is_some());
    METRICS.iter().filter(is_known).map(|metric| metric.name).collect()
}

/// What was known of it, point by point.
pub(super) fn values(sweeps: &Sweeps<'_>, which: Option<&Which>, metric: &str, query: &Query) -> Points {
    let rows = which.map(|which| sweeps.rows(which)).unwrap_or_default();
    let points = find(metric).into_iter().flat_map(|metric| {
        rows.iter().filter_map(|row| match &query.labels {
            Some(labels) => of_resource(metric, row, labels),
            None => whole(metric, row),
        })
    });
    let wanted = |time: WallTime| (query.start..=query.end).contains(&i128::from(time.as_unix_nanos()));
    let points: Vec<(WallTime, u64)> = points.filter(|(time, _)| wanted(*time)).collect();
    let latest = points.iter().map(|(time, _)| *time).max();
    Points {
        metrics: points.into_iter().map(|(time, value)| Point { timestamp: rfc3339(time), value }).collect(),
        latest_timestamp: latest.map_or_else(|| NEVER.to_owned(), rfc3339),
    }
}

fn whole(metric: &Metric, row: &Row<'_>) -> Option<(WallTime, u64)> {
    let (at, value) = (metric.of)(row)?;
    Some((at.map_or(row.clock.wall, |at| row.clock.wall_of(at)), value.whole()))
}

/// The number of the one disk, or file system, with just these labels.
fn of_resource(metric: &Metric, row: &Row<'_>, labels: &BTreeMap<String, String>) -> Option<(WallTime, u64)> {
    let wanted = labels.get(RESOURCE_ID).filter(|_| labels.len() == 1)?;
    if metric.resource == Some(wanted) {
        return whole(metric, row);
    }
    let of = metric.of_disk?;
    let mut disks = row.present?.devices.iter().filter(|disk| !disk.stacked);
    let disk = disks.find(|disk| disk.device.to_string() == *wanted)?;
    let at = row.io().as_ref().ok()?.at;
    Some((row.clock.wall_of(at), of(disk)))
}
