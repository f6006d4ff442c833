//! `/`: what is here, for a person.

use std::fmt::Write;

use bytes::Bytes;
use hyper::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};

use super::reply::{Content, Keep, Reply, TEXT, weighted};
use super::routes::ROUTES;
use super::version::VERSION;

/// Nothing is loaded, run, framed or sent anywhere.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// HTML for a browser, text for everybody else.
pub(super) fn reply(node: &str, asked: &HeaderMap) -> Reply {
    let html = accepts_html(asked);
    let (body, kind) = if html { (as_html(node), "text/html; charset=utf-8") } else { (as_text(node), TEXT) };
    let mut reply = Content::new(Bytes::from(body), kind, Keep::Revalidate).reply(asked);
    for (name, value) in
        [("content-security-policy", POLICY), ("referrer-policy", "no-referrer"), ("x-frame-options", "DENY")]
    {
        reply.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    reply
}

pub(super) fn accepts_html(asked: &HeaderMap) -> bool {
    let lines = asked.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .map(weighted)
        .any(|(kind, weight)| weight > 0.0 && kind.eq_ignore_ascii_case("text/html"))
}

fn as_text(node: &str) -> String {
    let mut text = format!("podvitals {VERSION} on {node}: the vital signs of every pod of this node\n\n");
    for route in ROUTES {
        let _ = writeln!(text, "{:36} {}", route.path, route.what);
    }
    text
}

fn as_html(node: &str) -> String {
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>podvitals</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}\
         td{{padding:.1rem 1rem .1rem 0;vertical-align:top}}</style>\n\
         <h1>podvitals</h1>\n<p>The vital signs of every pod of {}. Version {VERSION}.</p>\n<table>\n",
        escaped(node)
    );
    for route in ROUTES {
        let path = escaped(route.path);
        // Links are relative: behind `kubectl proxy` this page is not at the root.
        let link = if route.path.contains('{') {
            format!("<code>{path}</code>")
        } else {
            format!("<a href=\".{path}\"><code>{path}</code></a>")
        };
        let _ = writeln!(text, "<tr><td>{link}</td><td>{}</td></tr>", escaped(route.what));
    }
    text.push_str("</table>\n</html>\n");
    text
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_name_cannot_bring_its_own_markup() {
        assert!(as_html("<script>").contains("&lt;script&gt;"));
        assert!(!as_html("<script>").contains("<script>"));
    }

    #[test]
    fn a_browser_gets_html_and_curl_gets_text() {
        let accept = |value: &'static str| HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(value))]);
        assert!(accepts_html(&accept("text/html,application/xhtml+xml,*/*;q=0.8")));
        assert!(!accepts_html(&accept("*/*")));
        assert!(!accepts_html(&accept("text/html;q=0, text/plain")));
        assert!(!accepts_html(&HeaderMap::new()));
    }
}
