//! The native routes: from a request to the right rendering of the last snapshot.

use std::sync::Arc;

use hyper::header::{ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH};
use serde::Serialize;
use serde_json::{Map, Value};

use super::app::App;
use super::cache::{Common, Rendered};
use super::native::pods::{NamedPod, Rendering};
use super::native::{map as maps, node as nodes, pods as documents};
use super::query::Query;
use super::reply::{Keep, Refusal, Reply, json, not_modified, quoted};
use super::routes::Asked;
use crate::model::identity::KnownPod;
use crate::model::snapshot::Snapshot;
use crate::model::time::Monotonic;

/// What lists take.
pub(super) const LIST: &[&str] = &["namespace", "fields", "sort", "labelSelector"];

/// What single objects take.
pub(super) const SINGLE: &[&str] = &["fields"];

/// The keys every document of a sweep has; `fields` leaves them alone.
const ENVELOPE: [&str; 6] = ["node", "tick", "time", "timeUnixNano", "intervalSeconds", "sweepMicroseconds"];

/// Which pod.
pub(super) enum Which {
    /// Namespace and name.
    Name(String, String),
    /// The API object's UID or the runtime's.
    Uid(String),
}

/// `/api/v1/pods`.
pub(super) fn pods(app: &App, asked: &Asked) -> Result<Reply, Refusal> {
    let query = Query::parse(&asked.query, LIST, "Pod")?;
    let shown = Shown::new(app, asked)?;
    let snapshot = &shown.snapshot;
    let how = shown.rendering(&query);
    if query.is_default() {
        return Ok(shown
            .common(Common::Pods, || json(&documents::list(snapshot, &documents::in_order(snapshot), how))));
    }
    let pods = selected(snapshot, &query);
    shown.other(pods.len(), &pods, || list(&documents::list(snapshot, &pods, how), "pods", &query))
}

/// `/api/v1/containers`.
pub(super) fn containers(app: &App, asked: &Asked) -> Result<Reply, Refusal> {
    let query = Query::parse(&asked.query, LIST, "FlatContainer")?;
    let shown = Shown::new(app, asked)?;
    let snapshot = &shown.snapshot;
    if query.is_default() {
        return Ok(shown.common(Common::Containers, || {
            json(&documents::containers(snapshot, &documents::in_order(snapshot)))
        }));
    }
    let pods = selected(snapshot, &query);
    shown.other(pods.len(), &pods, || list(&documents::containers(snapshot, &pods), "containers", &query))
}

/// `/api/v1/pods/{namespace}/{name}` and `/api/v1/pods/{uid}`.
pub(super) fn pod(app: &App, asked: &Asked, which: &Which) -> Result<Reply, Refusal> {
    let query = Query::parse(&asked.query, SINGLE, "Pod")?;
    let shown = Shown::new(app, asked)?;
    let snapshot = &shown.snapshot;
    let pod = find(snapshot, which).ok_or_else(|| {
        let wanted = match which {
            Which::Name(namespace, name) => quoted(&format!("{namespace}/{name}")),
            Which::Uid(uid) => format!("with UID {}", quoted(uid)),
        };
        let node = &snapshot.node_name;
        Refusal::not_found(format!(
            "no pod {wanted} on node {node} in sweep {}; /api/v1/pods lists all",
            snapshot.tick
        ))
    })?;
    let how = shown.rendering(&query);
    shown.other(1, &[pod], || single(&documents::single(snapshot, pod, how), &query))
}

/// `/api/v1/node`.
pub(super) fn node(app: &App, asked: &Asked) -> Result<Reply, Refusal> {
    let query = Query::parse(&asked.query, SINGLE, "Node")?;
    let shown = Shown::new(app, asked)?;
    let snapshot = &shown.snapshot;
    if query.is_default() {
        return Ok(shown.common(Common::Node, || json(&nodes::document(snapshot))));
    }
    shown.other(1, &[], || single(&nodes::document(snapshot), &query))
}

/// `/api/v1/map`: not of a sweep, so it is there while the first one runs and while one hangs.
pub(super) fn map(app: &App, asked: &Asked) -> Result<Reply, Refusal> {
    Query::parse(&asked.query, &[], "Map")?;
    let targets = app.published.targets.borrow().clone();
    let tag = format!("W/\"{}-map-{}\"", app.published.process_start.as_unix_nanos(), targets.generation);
    if matches(&asked.headers, &tag) {
        return Ok(tagged(not_modified(Keep::Revalidate), &tag));
    }
    // Generations count from 0, versions from 1.
    let version = targets.generation.saturating_add(1);
    let name = &app.published.node_name;
    let rendered = app.maps.common(version, Common::Map, app.now(), || json(&maps::document(name, &targets)));
    Ok(tagged(rendered.content.reply(&asked.headers), &tag))
}

/// A snapshot that is about to be shown to someone.
struct Shown<'a> {
    app: &'a App,
    asked: &'a Asked,
    snapshot: Arc<Snapshot>,
    now: Monotonic,
    tag: String,
}

impl<'a> Shown<'a> {
    fn new(app: &'a App, asked: &'a Asked) -> Result<Self, Refusal> {
        let snapshot = app.fresh()?;
        // Weak: whatever its coding, and whenever it was rendered, it tells the same of the same sweep.
        let tag = format!("W/\"{}\"", snapshot.version());
        Ok(Self { app, asked, snapshot, now: app.now(), tag })
    }

    fn rendering(&self, query: &Query) -> Rendering {
        Rendering {
            now: self.now,
            labels: query.fields.as_ref().is_some_and(|fields| fields.names("labels")),
        }
    }

    /// The document everybody asks for.
    fn common(&self, document: Common, render: impl FnOnce() -> Vec<u8>) -> Reply {
        let oldest = match document {
            Common::Pods | Common::Containers => oldest(self.snapshot.pods.iter().map(|pod| pod.oldest)),
            Common::Node | Common::Map => None,
        };
        if matches(&self.asked.headers, &self.tag) {
            return tagged(not_modified(Keep::Revalidate), &self.tag);
        }
        let rendered = self.app.documents.common(self.snapshot.tick, document, self.now, render);
        self.reply(&rendered, oldest)
    }

    /// Any other document, which costs as much as `cost` pods.
    fn other(
        &self,
        cost: usize,
        pods: &[NamedPod<'_>],
        render: impl FnOnce() -> Vec<u8>,
    ) -> Result<Reply, Refusal> {
        if matches(&self.asked.headers, &self.tag) {
            return Ok(tagged(not_modified(Keep::Revalidate), &self.tag));
        }
        let path = format!("{}?{}", self.asked.path, self.asked.query);
        let cost = (cost, self.snapshot.pods.len());
        let rendered = self.app.documents.other(self.snapshot.tick, &path, cost, self.now, render)?;
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

fn tagged(mut reply: Reply, tag: &str) -> Reply {
    if let Ok(tag) = HeaderValue::from_str(tag) {
        reply.headers_mut().insert(ETAG, tag);
    }
    reply
}

/// RFC 9110, 13.1.2: any of the tags, compared weakly.
fn matches(asked: &HeaderMap, tag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let lines = asked.get_all(IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|one| one.trim() == "*" || opaque(one) == opaque(tag))
}

fn selected<'a>(snapshot: &'a Snapshot, query: &Query) -> Vec<NamedPod<'a>> {
    let mut pods = documents::in_order(snapshot);
    pods.retain(|pod| {
        let known = pod.target.known.as_deref();
        let here = |namespace: &String| known.is_some_and(|known| *known.namespace == **namespace);
        // Of a pod without a name no label is known either: no selector may claim it.
        query.namespace.as_ref().is_none_or(here)
            && (query.selector.is_empty() || known.is_some_and(|known| query.selector.selects(&known.labels)))
    });
    pods
}

/// By name the live sandbox wins: a StatefulSet's new pod may share it with one that is still ending.
fn find<'a>(snapshot: &'a Snapshot, which: &Which) -> Option<NamedPod<'a>> {
    let wanted = |pod: &NamedPod<'_>| match which {
        Which::Uid(uid) => {
            let known = pod.target.known.as_deref().and_then(|known| known.uid.as_ref());
            pod.target.runtime_uid.as_str() == uid || known.is_some_and(|known| known.as_str() == uid)
        }
        Which::Name(namespace, name) => pod
            .target
            .known
            .as_deref()
            .is_some_and(|known| *known.namespace == **namespace && *known.name == **name),
    };
    documents::in_order(snapshot).into_iter().filter(wanted).max_by_key(|pod| {
        let ready = |known: &KnownPod| known.sandboxes.iter().any(|sandbox| sandbox.ready);
        let target = pod.target;
        (target.known.as_deref().is_some_and(ready), target.process.is_some(), target.since)
    })
}

/// A list with the query's order and keys.
fn list<T: Serialize>(document: &T, key: &str, query: &Query) -> Vec<u8> {
    if query.fields.is_none() && query.sort.is_none() {
        return json(document);
    }
    let mut document = value(document);
    if let Some(Value::Array(objects)) = document.get_mut(key) {
        if let Some(sort) = &query.sort {
            sort.sort(objects);
        }
        if let Some(fields) = &query.fields {
            objects.iter_mut().for_each(|object| fields.prune(object));
        }
    }
    json(&document)
}

/// A single object with the query's keys, and always those that say which sweep it is from.
fn single<T: Serialize>(document: &T, query: &Query) -> Vec<u8> {
    let Some(fields) = &query.fields else { return json(document) };
    let mut document = value(document);
    let envelope: Map<String, Value> = ENVELOPE
        .iter()
        .filter_map(|key| document.as_object_mut()?.remove(*key).map(|value| ((*key).to_owned(), value)))
        .collect();
    fields.prune(&mut document);
    if let Some(object) = document.as_object_mut() {
        object.extend(envelope);
    }
    json(&document)
}

fn value<T: Serialize>(document: &T) -> Value {
    serde_json::to_value(document).unwrap_or_default()
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
