//! A snapshot on its way to a reader: rendered once, tagged, and with its age.

use std::sync::Arc;

use hyper::header::{ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH};

use super::app::App;
use super::common::Common;
use super::native::pods::NamedPod;
use super::reply::{Keep, Refusal, Rendered, Reply, not_modified};
use super::routes::Asked;
use super::sheets::Sheets;
use crate::model::snapshot::Snapshot;
use crate::model::time::Monotonic;

/// A snapshot that is about to be shown to someone.
pub(super) struct Shown<'a> {
    pub(super) app: &'a App,
    asked: &'a Asked,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) now: Monotonic,
    tag: String,
}

impl<'a> Shown<'a> {
    pub(super) fn new(app: &'a App, asked: &'a Asked) -> Result<Self, Refusal> {
        let snapshot = app.fresh()?;
        // Weak: whatever its coding, and whenever it was rendered, it tells the same of the same sweep.
        let tag = format!("W/\"{}\"", snapshot.version());
        Ok(Self { app, asked, snapshot, now: app.now(), tag })
    }

    /// The document everybody asks for, written on the memory of the one before if `render` cares for that.
    pub(super) fn common<T: Into<Sheets>>(
        &self,
        document: Common,
        render: impl FnOnce(Sheets) -> T,
    ) -> Reply {
        let oldest = match document {
            Common::Node | Common::Map => None,
            _ => oldest(self.snapshot.pods.iter().map(|pod| pod.oldest)),
        };
        if matches(&self.asked.headers, &self.tag) {
            return tagged(not_modified(Keep::Revalidate), &self.tag);
        }
        let rendered = self.app.documents.common(self.snapshot.tick, document, self.now, render);
        self.reply(&rendered, oldest)
    }

    /// Any other document, which costs as much as `cost` pods.
    pub(super) fn other(
        &self,
        media_type: &'static str,
        cost: usize,
        pods: &[NamedPod<'_>],
        render: impl FnOnce() -> Vec<u8>,
    ) -> Result<Reply, Refusal> {
        if matches(&self.asked.headers, &self.tag) {
            return Ok(tagged(not_modified(Keep::Revalidate), &self.tag));
        }
        // The same query may be answered in several forms.
        let path = format!("{media_type} {}?{}", self.asked.path, self.asked.query);
        let cost = (cost, self.snapshot.pods.len());
        let rendered =
            self.app.documents.other(self.snapshot.tick, &path, cost, self.now, media_type, render)?;
        Ok(self.reply(&rendered, oldest(pods.iter().map(|pod| pod.figures.oldest))))
    }

    fn reply(&self, rendered: &Rendered, oldest: Option<Monotonic>) -> Reply {
        let age_of = |instant| self.now.since(instant).unwrap_or_default();
        self.app.metrics.observe_age(age_of(oldest.unwrap_or(self.snapshot.clock.monotonic)));
        let mut reply = tagged(rendered.content.reply(&self.asked.headers), &self.tag);
        let since_rendering = format!("{:.6}", age_of(rendered.at).as_secs_f64());
        if let Ok(value) = HeaderValue::from_str(&since_rendering) {
            reply.headers_mut().insert(HeaderName::from_static("podvitals-age-seconds"), value);
        }
        reply
    }
}

fn oldest(instants: impl Iterator<Item = Monotonic>) -> Option<Monotonic> {
    instants.min()
}

pub(super) fn tagged(mut reply: Reply, tag: &str) -> Reply {
    if let Ok(tag) = HeaderValue::from_str(tag) {
        reply.headers_mut().insert(ETAG, tag);
    }
    reply
}

/// RFC 9110, 13.1.2: any of the tags, compared weakly.
pub(super) fn matches(asked: &HeaderMap, tag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let lines = asked.get_all(IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|one| one.trim() == "*" || opaque(one) == opaque(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_matches_in_any_place_and_either_strength() {
        let asks = |value: &'static str| {
            let headers = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static(value))]);
            matches(&headers, "W/\"7-3\"")
        };
        for holds in ["W/\"7-3\"", "\"7-3\"", "\"7-2\", W/\"7-3\"", "*"] {
            assert!(asks(holds), "{holds}");
        }
        for fails in ["\"7-2\"", "7-3", "", "\"7-31\"", "\"\""] {
            assert!(!asks(fails), "{fails}");
        }
    }
}
