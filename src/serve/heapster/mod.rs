//! Heapster's model API: one node, its pods and containers, with a point a second out of the history.
//!
//! ```text
//! GET /api/v1/model/namespaces/shop/pods/db-0/metrics/cpu/usage_rate?start=2026-11-21T01:00:00Z
//! {"metrics":[{"timestamp":"2026-11-21T01:02:03.123466789Z","value":1250}],"latestTimestamp":"2026-11-21T01:02:03.123466789Z"}
//! ```
//!
//! Heapster has no word for what it does not know: a pod it has never seen has a list without points. So have those
//! here, since its clients ask for several pods at once and count the answers. What no node can know is refused,
//! with the place to ask: the sums of a namespace or the cluster, and other nodes.

mod answers;
mod export;
mod path;
mod query;
mod rows;
mod table;

use std::sync::LazyLock;

use super::app::App;
use super::common::Common;
use super::dialect::Dialect;
use super::reply::{Content, JSON, Keep, Refusal, Reply, json, quoted};
use super::routes::Asked;
use super::shown::Shown;
use crate::model::snapshot::Snapshot;

use self::path::Subject;
use self::query::Query;
use self::rows::{Sweeps, Which};

pub(super) use self::path::Route;

/// So many points are as much work as one pod of a list.
const POINTS_OF_A_POD: usize = 64;

/// As many points as one answer has at most, some 3 MB of them: all that history keeps of 160 pods.
const LARGEST: usize = 50_000;

/// The answer to one path.
pub(super) fn reply(app: &App, asked: &Asked, route: &Route) -> Reply {
    let outcome = match route {
        Route::Schema => Ok(schema(asked)),
        Route::Export => Shown::new(app, asked)
            .map(|shown| shown.common(Common::HeapsterExport, |_| json(&export::document(&shown.snapshot)))),
        Route::OfAllNodes => Err(of_all_nodes(&app.published.node_name)),
        Route::Metrics(subject) => metrics(app, asked, subject),
        Route::Values(subject, metric) => values(app, asked, subject, metric),
        Route::PodList(namespace, pods, metric) => pod_list(app, asked, namespace, pods, metric),
        _ => names(app, asked, route),
    };
    outcome.unwrap_or_else(|refusal| refusal.reply_in(Dialect::Heapster))
}

fn schema(asked: &Asked) -> Reply {
    static SCHEMA: LazyLock<Content> =
        LazyLock::new(|| Content::new(json(&export::schema()).into(), JSON, Keep::Revalidate));
    SCHEMA.reply(&asked.headers)
}

fn of_all_nodes(node: &str) -> Refusal {
    Refusal::not_found(format!(
        "sums over nodes belong to the aggregator: this is node {node}, which knows itself alone"
    ))
}

/// Refuses to speak for another node.
fn check_node(snapshot: &Snapshot, node: &str) -> Result<(), Refusal> {
    if *snapshot.node_name == *node {
        return Ok(());
    }
    Err(Refusal::not_found(format!(
        "other nodes belong to the aggregator, or are asked themselves: this is node {}, not {}",
        snapshot.node_name,
        quoted(node)
    )))
}

/// Lists of what there is.
fn names(app: &App, asked: &Asked, route: &Route) -> Result<Reply, Refusal> {
    let shown = Shown::new(app, asked)?;
    let snapshot = &shown.snapshot;
    if let Route::FreeContainers(node) = route {
        check_node(snapshot, node)?;
    }
    shown.other(JSON, 1, &[], || match route {
        Route::Nodes => json(&[&*snapshot.node_name]),
        Route::Namespaces => json(&answers::namespaces(snapshot)),
        Route::Pods(namespace) => json(&answers::pods(snapshot, namespace)),
        Route::Containers(namespace, pod) => json(&answers::containers(snapshot, namespace, pod)),
        Route::Keys => json(&answers::keys(snapshot)),
        _ => json(&answers::system(snapshot)),
    })
}

fn metrics(app: &App, asked: &Asked, subject: &Subject) -> Result<Reply, Refusal> {
    let shown = Shown::new(app, asked)?;
    let sweeps = Sweeps::last(&shown.snapshot);
    let which = which(&shown.snapshot, &sweeps, subject)?;
    shown.other(JSON, 1, &[], || json(&answers::metrics(&sweeps, which.as_ref())))
}

fn values(app: &App, asked: &Asked, subject: &Subject, metric: &str) -> Result<Reply, Refusal> {
    let query = Query::parse(&asked.query)?;
    let shown = Shown::new(app, asked)?;
    let sweeps = Sweeps::since(query.start, &shown.snapshot, &app.published.history);
    let which = which(&shown.snapshot, &sweeps, subject)?;
    shown.other(JSON, sweeps.len().div_ceil(POINTS_OF_A_POD), &[], || {
        json(&answers::values(&sweeps, which.as_ref(), metric, &query))
    })
}

fn pod_list(
    app: &App,
    asked: &Asked,
    namespace: &str,
    pods: &[String],
    metric: &str,
) -> Result<Reply, Refusal> {
    let query = Query::parse(&asked.query)?;
    let shown = Shown::new(app, asked)?;
    let sweeps = Sweeps::since(query.start, &shown.snapshot, &app.published.history);
    let known = sweeps.pods(namespace);
    let points = pods.iter().filter(|pod| known.contains_key(pod.as_str())).count() * sweeps.len();
    if points > LARGEST {
        return Err(Refusal::bad_request(format!(
            "these pods have {points} points, and an answer at most {LARGEST}: ask for fewer pods, or with a \
             later start"
        )));
    }
    shown.other(JSON, points.div_ceil(POINTS_OF_A_POD).max(pods.len()), &[], || {
        let which = |pod: &String| known.get(pod.as_str()).cloned().map(Which::Pod);
        let items = pods.iter().map(|pod| answers::values(&sweeps, which(pod).as_ref(), metric, &query));
        json(&answers::Items { items: items.collect() })
    })
}

/// `None`: nobody has heard of it. Whether a system container is known shows when it is asked for figures.
fn which(snapshot: &Snapshot, sweeps: &Sweeps<'_>, subject: &Subject) -> Result<Option<Which>, Refusal> {
    let pod = |namespace: &str, name: &str| sweeps.pods(namespace).get(name).cloned();
    Ok(match subject {
        Subject::Node(node) => {
            check_node(snapshot, node)?;
            Some(Which::Node)
        }
        Subject::FreeContainer(node, name) => {
            check_node(snapshot, node)?;
            Some(Which::System(name.clone()))
        }
        Subject::Pod(namespace, name) => pod(namespace, name).map(Which::Pod),
        Subject::Container(namespace, of, name) => {
            pod(namespace, of).map(|uid| Which::Container(uid, name.clone()))
        }
    })
}
