//! What strangers send, under any bytes: answered or refused, never a panic. And what we print of ourselves:
//! a reader of the format reads it back.

use std::collections::BTreeMap;

use hyper::Uri;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH};
use hyper::http::uri::Authority;
use std::net::IpAddr;

use super::access::{bearer, right};
use super::data::LIST;
use super::door::{is_about_health, is_direct};
use super::fields::{Fields, Sort};
use super::page::{accepts_html, escaped};
use super::query::{Query, decoded};
use super::reply::{prefers_gzip, quoted, weighted};
use super::selector::Selector;
use super::shown::matches;
use crate::kubernetes::review::Right;

pub use super::metrics_reader::own_metrics;
pub use super::tls::fuzzing::certificate;

/// A query string.
pub fn query_params(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for of in ["Pod", "FlatContainer", "Node"] {
        if let Ok(query) = Query::parse(text, LIST, of) {
            // What was asked twice over is not asked twice.
            assert!(query.is_default() || Query::parse(&format!("{text}&{text}"), LIST, of).is_err());
            assert!(query.namespace.is_none_or(|namespace| (1..=63).contains(&namespace.len())));
        }
        fields_and_order(text, of);
    }
    if let Ok(selector) = Selector::parse(text) {
        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
        let none = BTreeMap::new();
        assert!(!selector.is_empty() || selector.selects(&labels), "an empty selector selects everything");
        // All of several requirements: with one more it selects nothing more.
        if let Ok(narrower) = Selector::parse(&format!("app,{text}")) {
            assert!(!narrower.selects(&none));
            assert_eq!(narrower.selects(&labels), selector.selects(&labels));
        }
    }
    super::cadvisor::asked(text);
    let encoded: String = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
    assert_eq!(decoded(&encoded).as_deref(), Some(text));
    assert!(quoted(text).len() <= 80 * "\\u{10ffff}".len() + 8 && !quoted(text).contains('\n'));
}

fn fields_and_order(text: &str, of: &str) {
    if let Ok(fields) = Fields::parse(text, of) {
        let mut object = serde_json::json!({
            "cpu": { "usageNanoseconds": 1, "throttling": { "periods": 2 } }, "name": "web",
            "labels": { "app": "web" }, "containers": [{ "name": "app", "cpu": {} }, {}], "nonsense": {},
        });
        let whole = object.clone();
        fields.prune(&mut object);
        let once = object.clone();
        fields.prune(&mut object);
        assert_eq!(object, once, "what was cut out cannot be cut out again");
        assert!(once.get("nonsense").is_none());
        for (key, value) in whole.as_object().into_iter().flatten() {
            assert!(once.get(key).is_none() || fields.names(key), "{key} was not asked for: {value}");
        }
    }
    if let Ok(sort) = Sort::parse(text, of) {
        let mut objects = vec![
            serde_json::json!({ "name": "b", "cpu": { "usageNanoseconds": 2 } }),
            serde_json::json!({}),
            serde_json::json!({ "name": "a", "cpu": { "usageNanoseconds": u64::MAX } }),
        ];
        sort.sort(&mut objects);
        assert_eq!(objects.len(), 3);
        let sorted = objects.clone();
        sort.sort(&mut objects);
        assert_eq!(objects, sorted, "in order it stays");
    }
}

/// The head of a request: a line of method and path, then `name: value` lines.
pub fn request_head(bytes: &[u8]) {
    let mut lines = bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let path = lines.next().and_then(|line| line.split(|&byte| byte == b' ').nth(1)).unwrap_or_default();
    let uri = Uri::try_from(path);
    let mut headers = HeaderMap::new();
    for line in lines.take(64) {
        let Some(at) = line.iter().position(|&byte| byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..at]);
        let value = HeaderValue::from_bytes(line[at + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    if let Ok(uri) = &uri {
        names_this_host(uri, &headers);
        opens(uri.path());
    }
    shows_a_token(&headers);
    let wants = |words: [&str; 2]| {
        let all = headers.values().filter_map(|value| value.to_str().ok()).map(str::to_ascii_lowercase);
        all.into_iter().any(|value| words.iter().any(|word| value.contains(word)))
    };
    assert!(!prefers_gzip(&headers) || wants(["gzip", "*"]));
    assert!(!accepts_html(&headers) || wants(["text/html", "text/html"]));
    for item in headers.values().filter_map(|value| value.to_str().ok()).flat_map(|line| line.split(',')) {
        let (_, weight) = weighted(item);
        assert!((0.0..=1.0).contains(&weight), "{item:?} weighs {weight}");
    }
    let tags = || headers.get_all(IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
    let named = tags().any(|line| line.contains("\"7-3\"") || line.contains('*'));
    assert!(!matches(&headers, "W/\"7-3\"") || named);
    let safe = escaped(&String::from_utf8_lossy(bytes));
    assert!(!safe.contains(['<', '>', '"']));
}

/// Who gets in without access control asked for this very host, as another parser reads the names.
fn names_this_host(uri: &Uri, headers: &HeaderMap) {
    if !is_direct(uri, headers) {
        return;
    }
    assert!(headers.get_all(HOST).iter().count() <= 1);
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).filter(|host| !host.is_empty());
    let host = host.map(|host| (host, host.parse::<Authority>()));
    assert!(host.as_ref().is_none_or(|(_, read)| read.is_ok()), "{host:?}");
    let named = host.and_then(|(_, read)| read.ok());
    for authority in named.iter().chain(uri.authority()) {
        let name = authority.host();
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        assert!(name.eq_ignore_ascii_case("localhost") || address.is_ok(), "{authority}");
        assert!(!authority.as_str().contains('@'), "{authority}");
    }
}

fn opens(path: &str) {
    let rights = right::rights(path, "n1");
    assert!(matches!(rights.last(), Some(Right::Path(asked)) if asked == path), "{rights:?}");
    assert!(rights.len() <= 2);
    let begins = |names: &[&str]| names.iter().any(|name| path.starts_with(&format!("/{name}")));
    assert!(!right::is_open(path) || begins(&["livez", "readyz", "healthz"]), "{path}");
    assert!(!is_about_health(path) || right::is_open(path), "{path}");
    assert!(rights.len() == 1 || begins(&["metrics", "stats", "pods"]), "{path}");
}

fn shows_a_token(headers: &HeaderMap) {
    let Ok(Some(token)) = bearer::token(headers) else { return };
    assert!(
        !token.is_empty() && token.len() <= 6 * 1024 && token.bytes().all(|byte| byte.is_ascii_graphic())
    );
    assert_eq!(headers.get_all(AUTHORIZATION).iter().count(), 1);
    let line = headers.get(AUTHORIZATION).and_then(|line| line.to_str().ok()).unwrap_or_default();
    assert!(line.to_ascii_lowercase().starts_with("bearer ") && line.trim_end().ends_with(token));
}
