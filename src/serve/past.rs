//! The native routes to what was: from a request to the frames it asks for.

use std::sync::Arc;

use super::app::App;
use super::data::{POD, SINGLE, Which, find, single};
use super::native::past as documents;
use super::native::window;
use super::query::Query;
use super::reply::{JSON, Refusal, Reply};
use super::routes::Asked;
use super::shown::Shown;
use crate::model::history::{PastPod, Shelf};
use crate::model::snapshot::Snapshot;

/// So many rows of a history are as much work as one pod of a list.
const ROWS_OF_A_POD: usize = 8;

/// `/api/v1/history/{namespace}/{name}` and `/api/v1/history/{uid}`.
pub(super) fn history(app: &App, asked: &Asked, which: &Which) -> Result<Reply, Refusal> {
    let query = Query::parse(&asked.query, POD, "PodHistory")?;
    let shown = Shown::new(app, asked)?;
    let snapshot = &shown.snapshot;
    let shelf = kept(app)?;
    let length = query.window.unwrap_or(shelf.span().saturating_add(snapshot.interval * 2));
    let frames = window::frames(shelf, snapshot, length);
    // Of two pods of one name the one that lives; of a pod that is gone the frames still know the name.
    let alive = find(snapshot, which).map(|pod| Arc::new(PastPod::of(pod.target)));
    let found = alive.or_else(|| documents::newest(&frames, |pod| is(which, pod)));
    let pod = found.ok_or_else(|| nobody(which, snapshot))?;
    let cost = documents::rows(&frames, &pod.runtime_uid) / ROWS_OF_A_POD;
    shown.other(JSON, cost, &[], || single(&documents::history(snapshot, &frames, &pod), &query))
}

/// `/api/v1/recent`.
pub(super) fn recent(app: &App, asked: &Asked) -> Result<Reply, Refusal> {
    let query = Query::parse(&asked.query, SINGLE, "Recent")?;
    let shown = Shown::new(app, asked)?;
    let snapshot = &shown.snapshot;
    let shelf = kept(app)?;
    let ended = shelf.ended(snapshot.tick);
    let cost = ended.len() / ROWS_OF_A_POD;
    let span = shelf.span().as_secs_f64();
    shown.other(JSON, cost, &[], || single(&documents::recent(snapshot, span, &ended), &query))
}

/// The shelf, if anything is ever put on it.
fn kept(app: &App) -> Result<&Shelf, Refusal> {
    let shelf = &*app.published.history;
    if shelf.is_off() {
        return Err(Refusal::not_found("no history is kept here: podvitals runs with --history 0s"));
    }
    Ok(shelf)
}

fn is(which: &Which, pod: &PastPod) -> bool {
    let names = pod.namespace.as_deref().zip(pod.name.as_deref());
    which.is(&pod.runtime_uid, pod.uid.as_ref(), names)
}

fn nobody(which: &Which, snapshot: &Snapshot) -> Refusal {
    let (wanted, node) = (which.quoted(), &snapshot.node_name);
    Refusal::not_found(format!(
        "no pod {wanted} in the history of node {node} up to sweep {}; /api/v1/recent lists what ended",
        snapshot.tick
    ))
}
