//! The Docker Engine's API, as far as it only reads: the pods of this node as Docker's clients know containers.
//!
//! ```text
//! GET /v1.44/containers/json                       docker ps
//! GET /v1.44/containers/k8s_app_web-0_…/stats      docker stats: a document a sweep, or one with stream=false
//! GET /v1.44/events                                docker events, and docker stats for who comes and goes
//! ```
//!
//! Any version in front is taken, and none; the answers are those of the one that `_ping` tells. A document is a
//! function of the snapshot in a file of its own; here a request becomes one of them. A reading has the one
//! before it at its side (`rate` keeps it), so that `stream=false` waits for nothing.
//!
//! # What Docker would say and nobody tells us
//! What a container was made of (command, mounts, the image's id), with what code it ended, and the process ids
//! of other containers than the sandbox: absent, never invented.

mod events;
mod info;
mod inspect;
mod list;
pub(super) mod names;
mod pattern;
pub(super) mod query;
mod stats;

use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue, PRAGMA, SERVER};
use serde_json::Value;

use super::app::App;
use super::dialect::{Dialect, is_version};
use super::live::{self, Next};
use super::query::decoded_in_path;
use super::reply::{Content, JSON, Keep, Refusal, Reply, TEXT, bare, json};
use super::routes::Asked;
use super::shown::Shown;
use super::version::{API_VERSION, VERSION};
use crate::model::identity::ContainerId;
use crate::model::snapshot::Snapshot;

use self::events::Listener;
use self::names::{Item, Lost, State};
use self::query::Query;
use self::stats::Manner;

/// What one path of the Engine's asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Ping,
    Version,
    Info,
    List,
    Inspect(String),
    Stats(String),
    Events,
}

impl Route {
    /// `None`: it is none that is served here.
    pub(super) fn of(path: &str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        let (versioned, path) = match path.split_once('/') {
            Some((first, rest)) if is_version(first) => (true, rest),
            _ => (false, path),
        };
        match path {
            "_ping" => Some(Self::Ping),
            // Without a version the same path serves Kubernetes's clients as well.
            "version" if versioned => Some(Self::Version),
            "info" => Some(Self::Info),
            "events" => Some(Self::Events),
            "containers/json" => Some(Self::List),
            _ => {
                let (id, what) = path.strip_prefix("containers/")?.rsplit_once('/')?;
                let id = decoded_in_path(id);
                match what {
                    _ if id.is_empty() => None,
                    "json" => Some(Self::Inspect(id)),
                    "stats" => Some(Self::Stats(id)),
                    _ => None,
                }
            }
        }
    }
}

/// The answer to one of them.
pub(super) fn reply(app: &Arc<App>, asked: &Asked, route: &Route) -> Reply {
    let outcome = match route {
        Route::Ping => Ok(ping()),
        Route::Version => Ok(document(asked, &info::version(&app.published.machine))),
        Route::Info => information(app, asked),
        Route::List => list(app, asked),
        Route::Inspect(id) => inspect(app, asked, id),
        Route::Stats(id) => statistics(app, asked, id),
        Route::Events => events(app, asked),
    };
    dressed(outcome.unwrap_or_else(worded))
}

fn worded(refusal: Refusal) -> Reply {
    refusal.reply_in(Dialect::Docker)
}

/// With what the Engine puts on every answer: old clients look for the system they talk to.
fn dressed(mut reply: Reply) -> Reply {
    let headers = reply.headers_mut();
    headers.insert(HeaderName::from_static("api-version"), HeaderValue::from_static(API_VERSION));
    headers.insert(HeaderName::from_static("ostype"), HeaderValue::from_static(std::env::consts::OS));
    headers.insert(HeaderName::from_static("docker-experimental"), HeaderValue::from_static("false"));
    if let Ok(server) = HeaderValue::from_str(&format!("podvitals/{VERSION} ({})", std::env::consts::OS)) {
        headers.insert(SERVER, server);
    }
    reply
}

fn ping() -> Reply {
    let mut reply = bare(StatusCode::OK, Bytes::from_static(b"OK"), TEXT, Keep::Never);
    reply.headers_mut().insert(PRAGMA, HeaderValue::from_static("no-cache"));
    reply
}

fn document(asked: &Asked, document: &Value) -> Reply {
    Content::new(json(document).into(), JSON, Keep::Revalidate).reply(&asked.headers)
}

fn information(app: &App, asked: &Asked) -> Result<Reply, Refusal> {
    let shown = Shown::new(app, asked)?;
    let (snapshot, machine) = (&shown.snapshot, &app.published.machine);
    shown.other(JSON, snapshot.pods.len(), &[], || json(&info::info(snapshot, machine)))
}

fn list(app: &App, asked: &Asked) -> Result<Reply, Refusal> {
    let wanted = list::Wanted::parse(&Query::parse(&asked.query)?)?;
    let shown = Shown::new(app, asked)?;
    let snapshot = &shown.snapshot;
    let items = list::selected(snapshot, &wanted);
    shown.other(JSON, items.len(), &list::pods(&items), || json(&list::document(snapshot, &items)))
}

fn inspect(app: &App, asked: &Asked, id: &str) -> Result<Reply, Refusal> {
    Query::parse(&asked.query)?;
    let shown = Shown::new(app, asked)?;
    let item = find(&shown.snapshot, id)?;
    shown.other(JSON, 1, &[item.pod], || json(&inspect::document(&item)))
}

fn find<'a>(snapshot: &'a Snapshot, wanted: &str) -> Result<Item<'a>, Refusal> {
    names::find(snapshot, wanted).map_err(|lost| {
        // What a client sent does not come back in full.
        let shown: String = wanted.chars().take(80).collect();
        match lost {
            Lost::Unknown => Refusal::not_found(format!("No such container: {shown}")),
            Lost::Ambiguous => {
                Refusal::bad_request(format!("multiple IDs found with provided prefix: {shown}"))
            }
        }
    })
}

fn statistics(app: &Arc<App>, asked: &Asked, id: &str) -> Result<Reply, Refusal> {
    let query = Query::parse(&asked.query)?;
    let (stream, one_shot) = (query.is("stream", true), query.is("one-shot", false));
    if stream && one_shot {
        return Err(Refusal::bad_request("cannot have stream=true and one-shot=true"));
    }
    let shown = Shown::new(app, asked)?;
    let item = find(&shown.snapshot, id)?;
    let how = Manner { one_shot, percpu: app.published.docker_percpu };
    let (snapshot, machine) = (&shown.snapshot, &app.published.machine);
    let render = || json(&stats::document(snapshot, &item, machine, how));
    if !stream {
        return shown.other(JSON, 1, &[item.pod], render);
    }
    Ok(flow(app, each_sweep(app, item.identity.id.clone(), how)))
}

/// The document of every sweep while the container runs; each is rendered once, whoever follows it. Of one that
/// does not run there is one document.
fn each_sweep(
    app: &Arc<App>,
    id: ContainerId,
    how: Manner,
) -> impl FnMut(&Arc<Snapshot>) -> Next + Send + use<> {
    let app = app.clone();
    let key = format!("stats of {id}");
    let mut has_run = false;
    move |snapshot| {
        let item = names::by_id(snapshot, &id).filter(|item| item.state == State::Running || !has_run);
        let Some(item) = item else {
            // One that has lost its name alone goes on; so does its stream, once it has one again.
            let nameless = events::there(snapshot).contains(&id);
            return if nameless { Next::Nothing } else { Next::Last(Bytes::new()) };
        };
        let render = || json(&stats::document(snapshot, &item, &app.published.machine, how));
        let cost = (1, snapshot.pods.len());
        let rendered = app.documents.other(snapshot.tick, &key, cost, app.now(), JSON, render);
        // Without room for it in this sweep's budget the client gets the next one.
        let Ok(rendered) = rendered else { return Next::Nothing };
        let line = rendered.content.plain();
        has_run = item.state == State::Running;
        if has_run { Next::Chunk(line) } else { Next::Last(line) }
    }
}

fn events(app: &Arc<App>, asked: &Asked) -> Result<Reply, Refusal> {
    let mut listener = Listener::parse(&Query::parse(&asked.query)?)?;
    // Without a sweep there is nothing to tell of, and perhaps never will be.
    app.fresh()?;
    Ok(flow(app, move |snapshot| {
        let lines = listener.turn(snapshot).into();
        match listener.is_done(snapshot) {
            true => Next::Last(lines),
            false if lines.is_empty() => Next::Nothing,
            false => Next::Chunk(lines),
        }
    }))
}

/// Lines that go on.
fn flow(app: &App, next: impl FnMut(&Arc<Snapshot>) -> Next + Send + 'static) -> Reply {
    let head = bare(StatusCode::OK, Bytes::new(), JSON, Keep::Never);
    let full = worded(Refusal::unavailable("too many answers go on already; ask with stream=false"));
    live::reply(head, live::of_sweeps(app.published.snapshot.clone(), next), dressed(full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart_as_docker_s_clients_write_them() {
        let stats = |id: &str| Some(Route::Stats(id.to_owned()));
        for (path, route) in [
            ("/_ping", Some(Route::Ping)),
            ("/v1.24/_ping", Some(Route::Ping)),
            ("/v1.44/version", Some(Route::Version)),
            ("/version", None),
            ("/info", Some(Route::Info)),
            ("/v9.99/events", Some(Route::Events)),
            ("/containers/json", Some(Route::List)),
            ("/v1.41/containers/json", Some(Route::List)),
            ("/containers/json/json", Some(Route::Inspect("json".to_owned()))),
            ("/containers/abc/stats", stats("abc")),
            ("/containers/%2Fk8s_a_b/stats", stats("/k8s_a_b")),
            ("/containers//k8s_a_b/stats", stats("/k8s_a_b")),
            ("/containers/a+b/stats", stats("a+b")),
            ("/containers/%2e%2e/stats", stats("..")),
            ("/containers/%zz/stats", stats("%zz")),
            ("/containers/%ff/stats", stats("%ff")),
            ("/containers//json", None),
            ("/containers/abc/logs", None),
            ("/containers/", None),
            ("/v1/info", None),
            ("/v1.x/info", None),
            ("/v1.44", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }
}
