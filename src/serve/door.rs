//! What is refused before any route is looked at.

use std::net::IpAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{HOST, HeaderMap, ORIGIN, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode, Uri};

use super::access::Visitor;
use super::cadvisor::{Sent, takes_a_body};
use super::limits::{BODY_BYTES, BODY_WITHIN};
use super::reply::{Refusal, quoted};
use crate::config::parse_port;

/// The rules of one listener, for one client.
#[derive(Clone)]
pub(super) struct Door {
    /// Without access control the only thing between a web page and us is the same-origin policy of
    /// the browser, which a page gets around by pointing its own name at 127.0.0.1 (DNS rebinding).
    /// Its requests still carry that name as `Host`. Where access is controlled a page has no
    /// credentials to send: a browser adds no bearer token by itself, and to use a certificate it asks.
    pub(super) checks_host: bool,
    /// Who has to show credentials; `None`: everybody may ask everything.
    pub(super) visitor: Option<Visitor>,
}

impl Door {
    /// The request as the routes see it: its body, where one is taken, beside it, and a `HEAD` or `POST` as a
    /// `GET`: what serves the connection leaves out the body of the answer to the one, and the other is the way
    /// to send a query that does not fit into a path.
    ///
    /// `begin` is called once all of the request is here, or it is refused: whether there is room for one more.
    ///
    /// # Errors
    /// What is not for us, not served here, or too much.
    pub(super) async fn enter(
        &self,
        request: Request<Incoming>,
        begin: impl FnOnce() -> bool,
    ) -> Result<Request<Empty<Bytes>>, Refusal> {
        let (mut parts, body) = request.into_parts();
        let sent = match self.look(&parts) {
            Ok(()) => sent(&parts, body).await,
            Err(refusal) => Err(refusal),
        };
        let admitted = begin();
        let sent = sent?;
        if !admitted {
            return Err(Refusal::unavailable("too many requests are in flight").and_close());
        }
        parts.method = Method::GET;
        parts.extensions.insert(Sent(sent));
        let request = Request::from_parts(parts, Empty::new());
        if let Some(visitor) = &self.visitor {
            visitor.admit(&request).await?;
        }
        Ok(request)
    }

    /// What can be told without the body.
    fn look(&self, parts: &Parts) -> Result<(), Refusal> {
        if self.checks_host && !is_direct(&parts.uri, &parts.headers) {
            return Err(Refusal::new(
                StatusCode::MISDIRECTED_REQUEST,
                "this listener answers to no name but localhost, and to IP addresses: Host is another name",
            ));
        }
        let with_query = takes_a_body(parts.uri.path());
        let allow = if with_query { "GET, HEAD, POST" } else { "GET, HEAD" };
        let served = match parts.method {
            Method::GET | Method::HEAD => true,
            Method::POST => with_query,
            _ => false,
        };
        if !served {
            let method = quoted(parts.method.as_str());
            let only = allow.replace(", ", " and ");
            return Err(Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("{method}: only {only} are served"),
            )
            .allowing(allow)
            .and_close());
        }
        if parts.method == Method::POST && is_of_a_page(&parts.headers) {
            return Err(Refusal::new(StatusCode::FORBIDDEN, "no web page may POST here").and_close());
        }
        // `GET podvitals:9791 HTTP/1.1`, a form for CONNECT alone: warp would panic over the missing path.
        if parts.uri.path_and_query().is_none() {
            return Err(Refusal::bad_request("the target of the request is no path").and_close());
        }
        Ok(())
    }
}

/// The body of a request that may have one. Whatever is left of one that is refused is not read: nothing in it
/// can be taken for a request.
async fn sent(parts: &Parts, body: Incoming) -> Result<Bytes, Refusal> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let too_large = |what: &str| Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, what).and_close();
    if parts.method == Method::HEAD || !takes_a_body(parts.uri.path()) {
        return Err(too_large("no route takes a body, but for queries at /api/v1.0 to /api/v1.3"));
    }
    // Of a body in chunks not every proxy on the way may see the same end.
    if parts.headers.contains_key(TRANSFER_ENCODING) {
        let why = "a body must come with its length, and not in chunks";
        return Err(Refusal::new(StatusCode::LENGTH_REQUIRED, why).and_close());
    }
    if body.size_hint().lower() > BODY_BYTES as u64 {
        return Err(too_large("a query has at most 8 KiB"));
    }
    let all = tokio::time::timeout(BODY_WITHIN, Limited::new(body, BODY_BYTES).collect());
    match all.await {
        Ok(Ok(all)) => Ok(all.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large("a query has at most 8 KiB")),
        Ok(Err(_)) => Err(Refusal::bad_request("the body broke off").and_close()),
        Err(_) => Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time").and_close()),
    }
}

/// Whether a browser says that a page of somebody's sends this. Clients of cAdvisor are programs; a page of ours
/// only ever reads.
fn is_of_a_page(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN) || headers.contains_key("sec-fetch-site")
}

/// What the kubelet asks must be answered even when nothing else is.
pub(super) fn is_about_health(path: &str) -> bool {
    matches!(path.split('/').nth(1), Some("livez" | "readyz"))
}

/// Whether the client asks for this very host, and not for a name that somebody points at it.
pub(super) fn is_direct(uri: &Uri, headers: &HeaderMap) -> bool {
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
    text.is_empty() || parse_port(text).is_some()
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
