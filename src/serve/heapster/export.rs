//! `/api/v1/metric-export` and `/api/v1/metric-export-schema`: every figure of the last sweep at once (pure).

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::native::pods::one_of_each_name;
use super::super::time::rfc3339;
use super::answers::RESOURCE_ID;
use super::rows::{self, Row};
use super::table::{Kind, METRICS, Metric, Number};
use crate::model::identity::KnownPod;
use crate::model::snapshot::Snapshot;

/// One node, pod or container.
#[derive(Serialize)]
pub(super) struct Series {
    metrics: BTreeMap<&'static str, Vec<Point>>,
    labels: Labels,
}

type Labels = BTreeMap<&'static str, String>;

#[derive(Serialize)]
struct Point {
    start: String,
    end: String,
    #[serde(skip_serializing_if = "Labels::is_empty")]
    labels: Labels,
    value: Value,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Value {
    Whole(u64),
    Real(f64),
}

/// What the export is made of.
#[derive(Serialize)]
pub(super) struct Schema {
    metrics: Vec<Described>,
    common_labels: Vec<Label>,
    pod_labels: Vec<Label>,
}

#[derive(Serialize)]
struct Described {
    name: &'static str,
    description: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels: Vec<Label>,
    #[serde(rename = "type")]
    kind: &'static str,
    value_type: &'static str,
    units: &'static str,
}

#[derive(Clone, Copy, Serialize)]
struct Label {
    key: &'static str,
    description: &'static str,
}

const fn label(key: &'static str, description: &'static str) -> Label {
    Label { key, description }
}

const TYPE: Label = label("type", "What it is: node, sys_container, pod or pod_container");
const NODE_NAME: Label = label("nodename", "The node's name");
const HOST_NAME: Label = label("hostname", "The same");
const CONTAINER_NAME: Label =
    label("container_name", "The container's name; of a pod /pod, of the node machine");
const IMAGE: Label = label("container_base_image", "The image as the pod asks for it");
const POD_NAME: Label = label("pod_name", "The pod's name");
const POD_ID: Label = label("pod_id", "The pod's UID");
const NAMESPACE: Label = label("namespace_name", "The pod's namespace");
const POD_LABELS: Label = label("labels", "The pod's labels: key:value, with commas between");
const DISK: Label = label(RESOURCE_ID, "The disk's number: major:minor");

const FILE_SYSTEM: Label = label(RESOURCE_ID, "The file system that the kubelet's directory lies on: /");

/// The schema.
pub(super) fn schema() -> Schema {
    let described = |metric: &Metric| Described {
        name: metric.name,
        description: metric.description,
        labels: metric.of_disk.map(|_| DISK).or(metric.resource.map(|_| FILE_SYSTEM)).into_iter().collect(),
        kind: match metric.kind {
            Kind::Cumulative => "cumulative",
            Kind::Gauge => "gauge",
        },
        value_type: if metric.real { "double" } else { "int64" },
        units: metric.units,
    };
    Schema {
        metrics: METRICS.iter().map(described).collect(),
        common_labels: vec![TYPE, NODE_NAME, HOST_NAME, CONTAINER_NAME, IMAGE],
        pod_labels: vec![POD_NAME, POD_ID, NAMESPACE, POD_LABELS],
    }
}

/// The export.
pub(super) fn document(snapshot: &Snapshot) -> Vec<Series> {
    let node = snapshot.node_name.to_string();
    let of_node = |kind: &str, name: &str| {
        Labels::from([
            (TYPE.key, kind.to_owned()),
            (NODE_NAME.key, node.clone()),
            (HOST_NAME.key, node.clone()),
            (CONTAINER_NAME.key, name.to_owned()),
        ])
    };
    let mut all =
        vec![Series { metrics: figures(&rows::node(snapshot)), labels: of_node("node", "machine") }];
    for (name, row) in rows::system(snapshot) {
        all.push(Series { metrics: figures(&row), labels: of_node("sys_container", name) });
    }
    for (pod, known) in one_of_each_name(snapshot) {
        let uid = known.uid.as_ref().unwrap_or(&pod.target.runtime_uid);
        let of_pod = |kind: &str, name: &str| {
            let mut labels = of_node(kind, name);
            labels.insert(POD_NAME.key, known.name.to_string());
            labels.insert(POD_ID.key, uid.to_string());
            labels.insert(NAMESPACE.key, known.namespace.to_string());
            labels.insert(POD_LABELS.key, pod_labels(known));
            labels
        };
        all.push(Series { metrics: figures(&rows::pod(snapshot, pod)), labels: of_pod("pod", "/pod") });
        for (name, row) in rows::containers(snapshot, pod) {
            let mut labels = of_pod("pod_container", name);
            let image = known.containers.iter().find(|container| *container.name == *name);
            if let Some(image) = image.and_then(|container| container.image.as_deref()) {
                labels.insert(IMAGE.key, image.to_owned());
            }
            all.push(Series { metrics: figures(&row), labels });
        }
    }
    all
}

fn pod_labels(known: &KnownPod) -> String {
    let labels: Vec<String> = known.labels.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    labels.join(",")
}

fn figures(row: &Row<'_>) -> BTreeMap<&'static str, Vec<Point>> {
    let known = METRICS.iter().map(|metric| (metric.name, points(metric, row)));
    known.filter(|(_, points)| !points.is_empty()).collect()
}

/// Of disks one by one where they are known; else, and of everything else, the one number.
fn points(metric: &Metric, row: &Row<'_>) -> Vec<Point> {
    let Some((at, total)) = (metric.of)(row) else { return Vec::new() };
    let end = at.map_or(row.clock.wall, |at| row.clock.wall_of(at));
    let start = row.started.filter(|_| metric.kind == Kind::Cumulative).unwrap_or(end);
    let point = |labels: Labels, value: Number| Point {
        start: rfc3339(start),
        end: rfc3339(end),
        labels,
        value: match value {
            Number::Whole(value) => Value::Whole(value),
            Number::Real(value) => Value::Real(value),
        },
    };
    let disks = row.present.map(|present| present.devices).unwrap_or_default();
    match metric.of_disk {
        Some(of) if !disks.is_empty() => disks
            .iter()
            .filter(|disk| !disk.stacked)
            .map(|disk| {
                let labels = Labels::from([(RESOURCE_ID, disk.device.to_string())]);
                point(labels, Number::Whole(of(disk)))
            })
            .collect(),
        _ => {
            let resource = metric.resource.map(|name| (RESOURCE_ID, name.to_owned()));
            vec![point(resource.into_iter().collect(), total)]
        }
    }
}
