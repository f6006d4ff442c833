//! What is refused before any route is looked at.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::{Body, Incoming};
use hyper::header::{HOST, HeaderMap};
use hyper::{Method, Request, StatusCode, Uri};

use super::crowd::Visit;
use super::reply::{Refusal, quoted};

/// The rules of one listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct Door {
    /// Without access control the only thing between a web page and us is the same-origin policy of
    /// the browser, which a page gets around by pointing its own name at 127.0.0.1 (DNS rebinding).
    /// Its requests still carry that name as `Host`.
    pub(super) checks_host: bool,
}

impl Door {
    /// The request as the routes see it: without body, and a `HEAD` as a `GET`, since hyper leaves
    /// out the body of its answer.
    ///
    /// # Errors
    /// What is not for us, not served here, or too much.
    pub(super) fn enter(
        self,
        request: Request<Incoming>,
        visit: &Arc<Visit>,
    ) -> Result<Request<Empty<Bytes>>, Refusal> {
        let (mut parts, body) = request.into_parts();
        let admitted = visit.begin(is_about_health(parts.uri.path()));
        if self.checks_host && !is_direct(&parts.uri, &parts.headers) {
            return Err(Refusal::new(
                StatusCode::MISDIRECTED_REQUEST,
                "this listener answers to no name but localhost, and to IP addresses: Host is another name",
            ));
        }
        if parts.method != Method::GET && parts.method != Method::HEAD {
            let method = quoted(parts.method.as_str());
            return Err(Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("{method}: only GET and HEAD are served"),
            )
            .and_close());
        }
        if !body.is_end_stream() {
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "no route takes a body").and_close());
        }
        if !admitted {
            return Err(Refusal::unavailable("too many requests are in flight").and_close());
        }
        parts.method = Method::GET;
        Ok(Request::from_parts(parts, Empty::new()))
    }
}

/// What the kubelet asks must be answered even when nothing else is.
fn is_about_health(path: &str) -> bool {
    matches!(path.split('/').nth(1), Some("livez" | "readyz"))
}

/// Whether the client asks for this very host, and not for a name that somebody points at it.
fn is_direct(uri: &Uri, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return false;
    }
    let named = host.map_or(Some(""), |host| host.to_str().ok());
    named.is_some_and(is_local_name)
        && uri.authority().is_none_or(|authority| is_local_name(authority.as_str()))
}

/// Nothing, `localhost` or an IP literal, with a port or without.
fn is_local_name(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((address, rest)) => {
            let is_address = address.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6());
            return is_address && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
        }
        None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
    };
    port.is_none_or(is_port)
        && (host.is_empty()
            || name.eq_ignore_ascii_case("localhost")
            || name.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4()))
}

fn is_port(text: &str) -> bool {
    text.is_empty() || text.parse::<u16>().is_ok() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn only_this_host_is_local() {
        for host in [
            "",
            "localhost",
            "LOCALHOST:9790",
            "127.0.0.1",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:9790",
            "10.0.0.7:1",
        ] {
            assert!(is_local_name(host), "{host:?}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost:x",
            "127.0.0.1:99999",
            "[::1",
            "::1",
            "[evil]",
            "[127.0.0.1]",
            "[::1]x",
            "user@localhost",
            "localhost:80:80",
            ":80",
            "2130706433",
        ] {
            assert!(!is_local_name(host), "{host:?}");
        }
    }

    #[test]
    fn an_absolute_request_target_must_be_local_too() {
        let host = |host: &'static str| HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]);
        let uri = |uri: &'static str| Uri::from_static(uri);
        assert!(is_direct(&uri("/x"), &HeaderMap::new()));
        assert!(is_direct(&uri("http://localhost:1/x"), &host("localhost:1")));
        assert!(!is_direct(&uri("http://evil.example/x"), &host("localhost")));
        assert!(!is_direct(&uri("/x"), &host("evil.example")));
        let mut two = host("localhost");
        two.append(HOST, HeaderValue::from_static("localhost"));
        assert!(!is_direct(&uri("/x"), &two));
    }

    #[test]
    fn health_routes_are_known_by_their_first_segment() {
        assert!(is_about_health("/livez"));
        assert!(is_about_health("/readyz/ping"));
        assert!(!is_about_health("/api/v1/livez"));
        assert!(!is_about_health("/livezz"));
        assert!(!is_about_health("/"));
    }
}
