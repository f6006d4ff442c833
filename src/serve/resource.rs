//! `/metrics/resource`: the kubelet's resource metrics, for metrics-server and what stands on it (pure).
//!
//! ```text
//! container_cpu_usage_seconds_total{container="app",namespace="default",pod="web-0"} 4.710169000 1767225600123
//! ```
//!
//! KEP-4205 and `k8s.io/kubernetes/pkg/kubelet/metrics/collectors/resource_metrics.go` name the families.
//! Their strictest reader, metrics-server's `pkg/scraper/client/resource/decode.go`, sets the rules:
//!
//! - It cuts labels out of a line by their text and unescapes nothing. So they are in one order, and no
//!   family it reads has another line.
//! - CPU and memory of one container have one timestamp, that of the CPU's reading: it divides by the
//!   difference of whichever timestamp came last.
//! - A container without CPU time or without memory makes it drop the whole pod. So a container is listed
//!   once it has both, and then with all of its lines.
//! - Two pods of one name would be merged: only the one that lives is listed, and of a container only its
//!   present instance. The sandbox never is.

use std::fmt::{self, Display, Write};
use std::time::Duration;

use super::exposition::label;
use super::native::pods::{one_of_each_name, running};
use super::node_cgroup::swap_limit;
use crate::model::identity::KnownPod;
use crate::model::snapshot::{CgroupFigures, Snapshot};
use crate::model::time::WallTime;

/// The whole document.
pub(super) fn document(snapshot: &Snapshot) -> Vec<u8> {
    let (mut pods, mut containers) = (Vec::new(), Vec::new());
    for (pod, known) in one_of_each_name(snapshot) {
        pods.extend(Row::of_cgroup(snapshot, &pod.figures.cgroup, pod_labels(known), None));
        for (read, _, container) in running(snapshot, pod) {
            let labels = container_labels(known, &container.name);
            containers.extend(Row::of_cgroup(snapshot, &read.cgroup, labels, container.started_at));
        }
    }
    let node = Row::of_node(snapshot);
    let failed = u64::from(node.is_none());

    let mut text = Text(String::with_capacity(512 * (containers.len() + pods.len() + 4)));
    text.usage("container", "of the container", &containers);
    let limits = containers
        .iter()
        .filter_map(|row| Some((row.labels.as_str(), row.swap_limit_bytes?, Some(since_epoch(row.at)))));
    let help = "Swap that the container may use at most, which is never more than the node has";
    text.family("container_swap_limit_bytes", "gauge", help, limits);
    text.usage("node", "of the node", node.as_slice());
    text.usage("pod", "of the pod", &pods);
    let help = "1 if the node's own figures are missing, else 0";
    text.family("resource_scrape_error", "gauge", help, [("", failed, None)]);
    let help = "What resource_scrape_error was called before Kubernetes 1.29";
    text.family("scrape_error", "gauge", help, [("", failed, None)]);
    text.0.into_bytes()
}

/// What is said of a container, a pod or the node.
struct Row {
    /// In the order of their names, braces included; nothing for the node.
    labels: String,
    cpu: Duration,
    working_set_bytes: u64,
    swap_bytes: Option<u64>,
    swap_limit_bytes: Option<u64>,
    start: Option<WallTime>,
    /// When the CPU time was read.
    at: WallTime,
}

impl Row {
    /// `None` unless it has used both CPU time and memory.
    fn of_cgroup(
        snapshot: &Snapshot,
        cgroup: &CgroupFigures,
        labels: String,
        start: Option<WallTime>,
    ) -> Option<Self> {
        let (cpu, memory) = (cgroup.cpu.as_ref().ok()?, cgroup.memory.as_ref().ok()?);
        let working_set_bytes = memory.value.working_set_bytes()?;
        let has_used = !cpu.value.counters.usage.is_zero() && working_set_bytes > 0;
        has_used.then_some(Self {
            labels,
            cpu: cpu.value.counters.usage,
            working_set_bytes,
            swap_bytes: memory.value.swap_bytes,
            swap_limit_bytes: swap_limit(snapshot, cgroup),
            start,
            at: snapshot.clock.wall_of(cpu.at),
        })
    }

    fn of_node(snapshot: &Snapshot) -> Option<Self> {
        let (cpu, memory) = (snapshot.node.cpu.as_ref().ok()?, snapshot.node.memory.as_ref().ok()?);
        Some(Self {
            labels: String::new(),
            cpu: cpu.value.usage,
            working_set_bytes: memory.value.working_set_bytes()?,
            swap_bytes: Some(memory.value.swap_used_bytes),
            swap_limit_bytes: None,
            start: None,
            at: snapshot.clock.wall_of(cpu.at),
        })
    }
}

struct Text(String);

impl Text {
    /// The families of one kind of row.
    fn usage(&mut self, prefix: &str, whose: &str, rows: &[Row]) {
        let at = |row: &Row| Some(since_epoch(row.at));
        self.family(
            &format!("{prefix}_cpu_usage_seconds_total"),
            "counter",
            &format!("CPU time {whose}, in seconds"),
            rows.iter().map(|row| (row.labels.as_str(), Seconds(row.cpu), at(row))),
        );
        self.family(
            &format!("{prefix}_memory_working_set_bytes"),
            "gauge",
            &format!("Memory {whose} without the page cache that would be dropped first"),
            rows.iter().map(|row| (row.labels.as_str(), row.working_set_bytes, at(row))),
        );
        // Without a timestamp: a line of the past would be older than what it tells.
        let started = |row: &Row| row.start.map(|start| Seconds(since_epoch(start)));
        self.family(
            &format!("{prefix}_start_time_seconds"),
            "gauge",
            &format!("Start {whose}, since the epoch"),
            rows.iter().filter_map(|row| Some((row.labels.as_str(), started(row)?, None))),
        );
        self.family(
            &format!("{prefix}_swap_usage_bytes"),
            "gauge",
            &format!("Swapped-out memory {whose}"),
            rows.iter().filter_map(|row| Some((row.labels.as_str(), row.swap_bytes?, at(row)))),
        );
    }

    /// The lines of a family stand together; without any, its head is left out too.
    fn family<'a>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        lines: impl IntoIterator<Item = (&'a str, impl Display, Option<Duration>)>,
    ) {
        let mut head = Some(format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        for (labels, value, at) in lines {
            self.0.push_str(&head.take().unwrap_or_default());
            // Writing to a String cannot fail.
            let _ = write!(self.0, "{name}{labels} {value}");
            if let Some(at) = at {
                let _ = write!(self.0, " {}", at.as_millis());
            }
            self.0.push('\n');
        }
    }
}

fn container_labels(pod: &KnownPod, container: &str) -> String {
    labels(&[("container", container), ("namespace", &pod.namespace), ("pod", &pod.name)])
}

fn pod_labels(pod: &KnownPod) -> String {
    labels(&[("namespace", &pod.namespace), ("pod", &pod.name)])
}

fn labels(labels: &[(&str, &str)]) -> String {
    let mut text = Vec::new();
    for (index, (name, value)) in labels.iter().enumerate() {
        text.push(if index == 0 { b'{' } else { b',' });
        label(&mut text, name, value);
    }
    text.push(b'}');
    String::from_utf8_lossy(&text).into_owned()
}

/// Exact to the nanosecond: what a reader makes of it times 10^9 is the kernel's counter.
struct Seconds(Duration);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0.as_secs(), self.0.subsec_nanos())
    }
}

fn since_epoch(time: WallTime) -> Duration {
    Duration::from_nanos(time.as_unix_nanos())
}
