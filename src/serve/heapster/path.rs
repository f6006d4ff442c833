//! What one of heapster's paths asks for (pure).
//!
//! ```text
//! /api/v1/model/namespaces/shop/pods/db-0/containers/db/metrics/cpu/usage_rate
//! /api/v1/model/namespaces/shop/pod-list/db-0,db-1/metrics/memory-usage
//! ```
//!
//! A slash at the end makes no difference, and the name of a metric has slashes of its own.

use super::super::query::decoded_in_path;

/// One path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::serve) enum Route {
    /// Every figure of the last sweep.
    Export,
    /// What the export is made of.
    Schema,
    /// What there are figures of.
    Keys,
    /// Names of nodes.
    Nodes,
    /// Names of the node's containers that belong to no pod.
    FreeContainers(String),
    /// Names of namespaces.
    Namespaces,
    /// Names of a namespace's pods.
    Pods(String),
    /// Names of a pod's containers.
    Containers(String, String),
    /// Names of what is known of this.
    Metrics(Subject),
    /// One metric of this.
    Values(Subject, String),
    /// One metric of each of a namespace's pods.
    PodList(String, Vec<String>, String),
    /// Sums over nodes.
    OfAllNodes,
}

/// What there are figures of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::serve) enum Subject {
    /// A node.
    Node(String),
    /// One of its containers that belong to no pod.
    FreeContainer(String, String),
    /// Namespace and name.
    Pod(String, String),
    /// Namespace and name of its pod, and its own.
    Container(String, String, String),
}

impl Route {
    /// `None`: nothing of heapster's is there.
    pub(in crate::serve) fn of(path: &str) -> Option<Self> {
        match path.strip_prefix("/api/v1/")?.trim_end_matches('/') {
            "metric-export" => Some(Self::Export),
            "metric-export-schema" => Some(Self::Schema),
            below => Self::of_model(below.strip_prefix("model/")?),
        }
    }

    fn of_model(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').collect();
        let name = decoded_in_path;
        let route = match &parts[..] {
            ["debug", "allkeys"] => Self::Keys,
            ["nodes"] => Self::Nodes,
            ["nodes", _, "freecontainers"] => Self::FreeContainers(name(parts[1])),
            ["namespaces"] => Self::Namespaces,
            ["namespaces", _, "pods"] => Self::Pods(name(parts[1])),
            ["namespaces", _, "pods", _, "containers"] => Self::Containers(name(parts[1]), name(parts[3])),
            ["metrics", ..] | ["namespaces", _, "metrics", ..] => Self::OfAllNodes,
            ["nodes", node, "metrics", metric @ ..] => of_metric(Subject::Node(name(node)), metric),
            ["nodes", node, "freecontainers", one, "metrics", metric @ ..] => {
                of_metric(Subject::FreeContainer(name(node), name(one)), metric)
            }
            ["namespaces", namespace, "pods", pod, "metrics", metric @ ..] => {
                of_metric(Subject::Pod(name(namespace), name(pod)), metric)
            }
            ["namespaces", namespace, "pods", pod, "containers", one, "metrics", metric @ ..] => {
                of_metric(Subject::Container(name(namespace), name(pod), name(one)), metric)
            }
            ["namespaces", namespace, "pod-list", pods, "metrics", metric @ ..] if !metric.is_empty() => {
                let pods = name(pods).split(',').map(str::to_owned).collect();
                Self::PodList(name(namespace), pods, spelled(metric))
            }
            _ => return None,
        };
        Some(route)
    }
}

fn of_metric(subject: Subject, metric: &[&str]) -> Route {
    if metric.is_empty() { Route::Metrics(subject) } else { Route::Values(subject, spelled(metric)) }
}

/// The name as it is spelled today.
fn spelled(metric: &[&str]) -> String {
    let name = decoded_in_path(&metric.join("/"));
    let today = match name.as_str() {
        "cpu-usage" => "cpu/usage_rate",
        "cpu-limit" => "cpu/limit",
        "memory-limit" => "memory/limit",
        "memory-usage" => "memory/usage",
        "memory-working" => "memory/working_set",
        _ => return name,
    };
    today.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> Subject {
        Subject::Pod("shop".into(), name.into())
    }

    #[test]
    fn paths_are_taken_apart_as_heapster_s_clients_write_them() {
        let node = || Subject::Node("n1".into());
        let container = Subject::Container("shop".into(), "db-0".into(), "db".into());
        let values = |subject, metric: &str| Some(Route::Values(subject, metric.into()));
        for (path, route) in [
            ("nodes/", Some(Route::Nodes)),
            ("nodes", Some(Route::Nodes)),
            ("nodes/n1/metrics/", Some(Route::Metrics(node()))),
            ("nodes/n1/metrics/cpu/usage_rate", values(node(), "cpu/usage_rate")),
            ("nodes/n1/metrics/cpu%2Fusage", values(node(), "cpu/usage")),
            ("nodes/n1/freecontainers/", Some(Route::FreeContainers("n1".into()))),
            (
                "nodes/n1/freecontainers/kubelet/metrics/uptime",
                values(Subject::FreeContainer("n1".into(), "kubelet".into()), "uptime"),
            ),
            ("namespaces/", Some(Route::Namespaces)),
            ("namespaces/shop/pods/", Some(Route::Pods("shop".into()))),
            ("namespaces/shop/pods/db-0/containers/", Some(Route::Containers("shop".into(), "db-0".into()))),
            ("namespaces/shop/pods/db-0/metrics", Some(Route::Metrics(pod("db-0")))),
            ("namespaces/shop/pods/db-0/metrics/memory-working", values(pod("db-0"), "memory/working_set")),
            ("namespaces/shop/pods/%2e%2e/metrics/a+b", values(pod(".."), "a+b")),
            ("namespaces/shop/pods/%zz/metrics/uptime/", values(pod("%zz"), "uptime")),
            (
                "namespaces/shop/pods/db-0/containers/db/metrics/cpu-usage",
                values(container, "cpu/usage_rate"),
            ),
            (
                "namespaces/shop/pod-list/b,a%2Cb/metrics/memory-usage",
                Some(Route::PodList(
                    "shop".into(),
                    ["b", "a", "b"].map(str::to_owned).into(),
                    "memory/usage".into(),
                )),
            ),
            ("debug/allkeys", Some(Route::Keys)),
            ("metrics/", Some(Route::OfAllNodes)),
            ("metrics/cpu/usage_rate", Some(Route::OfAllNodes)),
            ("namespaces/shop/metrics", Some(Route::OfAllNodes)),
            ("namespaces/shop/metrics/cpu-usage", Some(Route::OfAllNodes)),
            ("namespaces/shop/pod-list/a/metrics/", None),
            ("namespaces/shop/pods/db-0", None),
            ("nodes/n1", None),
            ("nodes//n1/metrics", None),
            ("stats", None),
            ("", None),
        ] {
            assert_eq!(Route::of(&format!("/api/v1/model/{path}")), route, "{path}");
        }
        assert_eq!(Route::of("/api/v1/metric-export"), Some(Route::Export));
        assert_eq!(Route::of("/api/v1/metric-export-schema/"), Some(Route::Schema));
        for other in ["/api/v1/model", "/api/v1/models/nodes", "/api/v1/pods", "/api/model/nodes", "", "/"] {
            assert_eq!(Route::of(other), None, "{other}");
        }
    }
}
