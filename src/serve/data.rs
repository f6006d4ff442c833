//! The native routes: from a request to the right rendering of the last snapshot.

use serde::Serialize;
use serde_json::{Map, Value};

use super::app::App;
use super::common::Common;
use super::native::pods::{NamedPod, Rendering};
use super::native::window::{self, Windows};
use super::native::{map as maps, node as nodes, pods as documents};
use super::query::Query;
use super::reply::{JSON, Keep, Refusal, Reply, json, not_modified, quoted};
use super::routes::Asked;
use super::shown::{Shown, matches, tagged};
use crate::model::identity::PodUid;
use crate::model::snapshot::Snapshot;

/// What lists take.
pub(super) const LIST: &[&str] = &["namespace", "fields", "sort", "labelSelector"];

/// What the list of pods takes.
pub(super) const PODS: &[&str] = &["namespace", "fields", "sort", "labelSelector", "window"];

/// What single objects take.
pub(super) const SINGLE: &[&str] = &["fields"];

/// What single pods take, now or as they were.
pub(super) const POD: &[&str] = &["fields", "window"];

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
    let query = Query::parse(&asked.query, PODS, "Pod")?;
    let shown = Shown::new(app, asked)?;
    let snapshot = &shown.snapshot;
    if query.is_default() {
        return Ok(shown.common(Common::Pods, |_| {
            let pods = documents::in_order(snapshot);
            let windows = windows(&shown, &query, &pods);
            json(&documents::list(snapshot, &pods, rendering(&shown, &query, windows.as_ref())))
        }));
    }
    let pods = selected(snapshot, &query);
    shown.other(JSON, pods.len(), &pods, || {
        let windows = windows(&shown, &query, &pods);
        list(&documents::list(snapshot, &pods, rendering(&shown, &query, windows.as_ref())), "pods", &query)
    })
}

/// `/api/v1/containers`.
pub(super) fn containers(app: &App, asked: &Asked) -> Result<Reply, Refusal> {
    let query = Query::parse(&asked.query, LIST, "FlatContainer")?;
    let shown = Shown::new(app, asked)?;
    let snapshot = &shown.snapshot;
    if query.is_default() {
        return Ok(shown.common(Common::Containers, |_| {
            json(&documents::containers(snapshot, &documents::in_order(snapshot)))
        }));
    }
    let pods = selected(snapshot, &query);
    shown.other(JSON, pods.len(), &pods, || {
        list(&documents::containers(snapshot, &pods), "containers", &query)
    })
}

/// `/api/v1/pods/{namespace}/{name}` and `/api/v1/pods/{uid}`.
pub(super) fn pod(app: &App, asked: &Asked, which: &Which) -> Result<Reply, Refusal> {
    let query = Query::parse(&asked.query, POD, "Pod")?;
    let shown = Shown::new(app, asked)?;
    let snapshot = &shown.snapshot;
    let pod = find(snapshot, which).ok_or_else(|| {
        let wanted = which.quoted();
        let node = &snapshot.node_name;
        Refusal::not_found(format!(
            "no pod {wanted} on node {node} in sweep {}; /api/v1/pods lists all",
            snapshot.tick
        ))
    })?;
    shown.other(JSON, 1, &[pod], || {
        let windows = windows(&shown, &query, &[pod]);
        single(&documents::single(snapshot, pod, rendering(&shown, &query, windows.as_ref())), &query)
    })
}

/// `/api/v1/node`.
pub(super) fn node(app: &App, asked: &Asked) -> Result<Reply, Refusal> {
    let query = Query::parse(&asked.query, SINGLE, "Node")?;
    let shown = Shown::new(app, asked)?;
    let snapshot = &shown.snapshot;
    if query.is_default() {
        return Ok(shown.common(Common::Node, |_| json(&nodes::document(snapshot))));
    }
    shown.other(JSON, 1, &[], || single(&nodes::document(snapshot), &query))
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
    let rendered =
        app.maps.common(version, Common::Map, app.now(), |_| json(&maps::document(name, &targets)));
    Ok(tagged(rendered.content.reply(&asked.headers), &tag))
}

fn rendering<'a>(shown: &Shown<'_>, query: &Query, windows: Option<&'a Windows<'a>>) -> Rendering<'a> {
    let labels = query.fields.as_ref().is_some_and(|fields| fields.names("labels"));
    Rendering { now: shown.now, labels, windows }
}

/// The windows of these pods, unless nothing is kept, or nobody would see them.
fn windows<'a>(shown: &'a Shown<'_>, query: &Query, pods: &[NamedPod<'a>]) -> Option<Windows<'a>> {
    let wanted = query.fields.as_ref().is_none_or(|fields| fields.names("window") || query.sort.is_some());
    let length = query.window.unwrap_or(window::DEFAULT);
    wanted.then(|| Windows::of_last(&shown.app.published.history, &shown.snapshot, length, pods))?
}

impl Which {
    /// Whether it is the pod of these UIDs, and of this namespace and name.
    pub(super) fn is(&self, runtime_uid: &PodUid, uid: Option<&PodUid>, names: Option<(&str, &str)>) -> bool {
        match self {
            Self::Uid(wanted) => {
                runtime_uid.as_str() == wanted || uid.is_some_and(|uid| uid.as_str() == wanted)
            }
            Self::Name(namespace, name) => names == Some((namespace, name)),
        }
    }

    /// As it is told to whoever asked for it.
    pub(super) fn quoted(&self) -> String {
        match self {
            Self::Name(namespace, name) => quoted(&format!("{namespace}/{name}")),
            Self::Uid(uid) => format!("with UID {}", quoted(uid)),
        }
    }
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
pub(super) fn find<'a>(snapshot: &'a Snapshot, which: &Which) -> Option<NamedPod<'a>> {
    let wanted = |pod: &NamedPod<'_>| {
        let known = pod.target.known.as_deref();
        let names = known.map(|known| (&*known.namespace, &*known.name));
        which.is(&pod.target.runtime_uid, known.and_then(|known| known.uid.as_ref()), names)
    };
    documents::in_order(snapshot).into_iter().filter(wanted).max_by_key(NamedPod::liveness)
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
pub(super) fn single<T: Serialize>(document: &T, query: &Query) -> Vec<u8> {
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
