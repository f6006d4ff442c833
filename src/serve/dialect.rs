//! How each format words a refusal (pure).
//!
//! ```text
//! ours         {"type":"about:blank","title":"Not Found","status":404,"detail":"…"}          RFC 9457
//! Kubernetes   {"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404,"message":"…"}
//! Docker       {"message":"…"}
//! cAdvisor     text, and 500 whatever was wrong with the request
//! heapster     text
//! ```

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::json as object;

use super::reply::{JSON, TEXT, json};
use crate::model::document::Problem;

/// Whose clients ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Ours.
    Problem,
    /// Kubernetes's: routes of the kubelet.
    Kubernetes,
    /// The Docker Engine's.
    Docker,
    /// cAdvisor's.
    Cadvisor,
    /// Heapster's.
    Heapster,
}

impl Dialect {
    /// The one of the route that this path belongs to, or would if there were one.
    pub(super) fn of(path: &str) -> Self {
        let mut segments = path.split('/').skip(1);
        match (segments.next().unwrap_or_default(), segments.next()) {
            ("metrics", Some(_)) | ("stats" | "pods", _) => Self::Kubernetes,
            ("_ping" | "info" | "events" | "containers", _) => Self::Docker,
            (version, _) if is_version(version) => Self::Docker,
            ("api", None | Some("")) => Self::Cadvisor,
            ("api", Some(version)) if is_version(version) => Self::Cadvisor,
            ("api", Some("v1")) if is_heapster(segments.next()) => Self::Heapster,
            _ => Self::Problem,
        }
    }

    /// Status, media type and body.
    pub(super) fn worded(self, status: StatusCode, detail: String) -> (StatusCode, &'static str, Bytes) {
        match self {
            Self::Problem => {
                let problem = Problem {
                    kind: "about:blank".to_owned(),
                    title: title(status).to_owned(),
                    status: status.as_u16(),
                    detail,
                };
                (status, "application/problem+json", json(&problem).into())
            }
            Self::Kubernetes => {
                let body = object!({
                    "kind": "Status",
                    "apiVersion": "v1",
                    "metadata": {},
                    "status": "Failure",
                    "message": detail,
                    "reason": reason(status),
                    "code": status.as_u16(),
                });
                (status, JSON, json(&body).into())
            }
            Self::Docker => (status, JSON, json(&object!({ "message": detail })).into()),
            Self::Cadvisor => {
                let about_the_request = matches!(status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND);
                let status = if about_the_request { StatusCode::INTERNAL_SERVER_ERROR } else { status };
                (status, TEXT, (detail + "\n").into())
            }
            Self::Heapster => (status, TEXT, (detail + "\n").into()),
        }
    }
}

/// What follows `/api/v1` in heapster's paths, and in none of ours.
fn is_heapster(segment: Option<&str>) -> bool {
    matches!(segment, Some("model" | "metric-export" | "metric-export-schema"))
}

/// `v1.44`: a version of the Engine's API, or of cAdvisor's below `/api`, also one that never was. `v1`
/// is ours.
pub(super) fn is_version(segment: &str) -> bool {
    let numbers = segment.strip_prefix('v').and_then(|rest| rest.split_once('.'));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers.is_some_and(|(major, minor)| is_number(major) && is_number(minor))
}

fn title(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Error")
}

/// `k8s.io/apimachinery/pkg/apis/meta/v1`, `StatusReason`.
fn reason(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "BadRequest",
        StatusCode::UNAUTHORIZED => "Unauthorized",
        StatusCode::FORBIDDEN => "Forbidden",
        StatusCode::NOT_FOUND => "NotFound",
        StatusCode::METHOD_NOT_ALLOWED => "MethodNotAllowed",
        StatusCode::PAYLOAD_TOO_LARGE => "RequestEntityTooLarge",
        StatusCode::TOO_MANY_REQUESTS => "TooManyRequests",
        StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailable",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_is_answered_in_its_own_words() {
        for (path, dialect) in [
            ("/metrics", Dialect::Problem),
            ("/metrics/resource", Dialect::Kubernetes),
            ("/metrics/nothing", Dialect::Kubernetes),
            ("/stats/summary/", Dialect::Kubernetes),
            ("/pods", Dialect::Kubernetes),
            ("/containers/x/json", Dialect::Docker),
            ("/_ping", Dialect::Docker),
            ("/v1.44/containers/json", Dialect::Docker),
            ("/v1.44", Dialect::Docker),
            ("/api", Dialect::Cadvisor),
            ("/api/", Dialect::Cadvisor),
            ("/api/v1.3/machine", Dialect::Cadvisor),
            ("/api/v2.1/stats", Dialect::Cadvisor),
            ("/api/v1/pods", Dialect::Problem),
            ("/api/v1/model", Dialect::Heapster),
            ("/api/v1/model/metrics/", Dialect::Heapster),
            ("/api/v1/metric-export", Dialect::Heapster),
            ("/api/v1/models", Dialect::Problem),
            ("/api/v1.0/model", Dialect::Cadvisor),
            ("/api/v1.x", Dialect::Problem),
            ("/v1", Dialect::Problem),
            ("/", Dialect::Problem),
            ("", Dialect::Problem),
        ] {
            assert_eq!(Dialect::of(path), dialect, "{path:?}");
        }
    }

    #[test]
    fn whatever_a_client_sent_is_quoted_into_valid_documents() {
        let detail = "no \"such\"\n\u{7f}\\container";
        for dialect in [Dialect::Problem, Dialect::Kubernetes, Dialect::Docker] {
            let (status, _, body) = dialect.worded(StatusCode::NOT_FOUND, detail.to_owned());
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(status, StatusCode::NOT_FOUND);
            let said = ["detail", "message"].iter().find_map(|key| body[key].as_str());
            assert_eq!(said, Some(detail), "{dialect:?}");
        }
        let (status, kind, body) = Dialect::Kubernetes.worded(StatusCode::NOT_FOUND, String::new());
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((body["reason"].as_str(), body["code"].as_u64()), (Some("NotFound"), Some(404)));
        assert_eq!((status, kind), (StatusCode::NOT_FOUND, JSON));
    }

    #[test]
    fn cadvisor_says_500_to_what_it_does_not_know_and_nothing_else() {
        let status = |status| Dialect::Cadvisor.worded(status, String::new()).0.as_u16();
        let asked = [404, 400, 401, 503].map(|code| status(StatusCode::from_u16(code).unwrap()));
        assert_eq!(asked, [500, 500, 401, 503]);
        let (status, kind, body) = Dialect::Heapster.worded(StatusCode::NOT_FOUND, "no".to_owned());
        assert_eq!((status, kind, &body[..]), (StatusCode::NOT_FOUND, TEXT, &b"no\n"[..]));
    }
}
