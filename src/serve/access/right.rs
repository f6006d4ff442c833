//! Which right opens which path (pure).

use crate::kubernetes::review::Right;

/// Needs no right.
pub(in crate::serve) fn is_open(path: &str) -> bool {
    matches!(first(path), "livez" | "readyz" | "healthz")
}

/// Any of these suffices, to be asked for in this order.
///
/// The kubelet's own subresources go by the first segment of the path, which is also what the routes
/// look at: a path that is written otherwise is another path to both.
pub(in crate::serve) fn rights(path: &str, node: &str) -> Vec<Right> {
    let subresource = match first(path) {
        "metrics" => Some("metrics"),
        "stats" => Some("stats"),
        "pods" => Some("pods"),
        _ => None,
    };
    let resource = subresource.map(|subresource| Right::Node { subresource, name: node.to_owned() });
    // The path itself, also below /api: `review` leaves out the group of everybody, to whom Kubernetes
    // grants the API server's own /api/*. What is granted to anybody else under that name counts.
    resource.into_iter().chain([Right::Path(path.to_owned())]).collect()
}

fn first(path: &str) -> &str {
    path.split('/').nth(1).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_open_and_nothing_that_only_looks_like_it() {
        for open in ["/livez", "/readyz", "/healthz", "/livez/ping", "/readyz/"] {
            assert!(is_open(open), "{open}");
        }
        for closed in ["/", "", "/livezz", "//livez", "/api/livez", "/%6civez", "/metrics/livez", "livez"] {
            assert!(!is_open(closed), "{closed}");
        }
    }

    #[test]
    fn the_kubelets_routes_need_the_kubelets_rights_or_the_path_itself() {
        let subresource = |path: &str| match &rights(path, "n1")[..] {
            [Right::Node { subresource, name }, Right::Path(asked)] => {
                assert_eq!((name.as_str(), asked.as_str()), ("n1", path));
                *subresource
            }
            [Right::Path(asked)] => {
                assert_eq!(asked, path);
                "-"
            }
            other => panic!("{other:?}"),
        };
        for (path, wanted) in [
            ("/metrics", "metrics"),
            ("/metrics/", "metrics"),
            ("/metrics/cadvisor", "metrics"),
            ("/stats/summary", "stats"),
            ("/pods", "pods"),
            ("/api/v1/pods", "-"),
            ("/metricsx", "-"),
            ("//metrics", "-"),
            ("/%6detrics", "-"),
            ("/", "-"),
        ] {
            assert_eq!(subresource(path), wanted, "{path}");
        }
    }
}
