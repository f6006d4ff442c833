//! cAdvisor's REST API, v1.0 to v1.3, v2.0 and v2.1, of every container whoever runs it.
//!
//! ```text
//! POST /api/v1.3/docker/                          every container, with its last 60 samples
//! GET  /api/v2.1/stats/kubepods?recursive=true    every pod and container
//! GET  /api/v2.1/machinestats                     the node
//! ```
//!
//! One description of a sample (`stat`) out of the last sweep and the history (`sample`), in the shape of each
//! version. Everything that is wrong with a request is 500 and a line of text, as cAdvisor has it.
//!
//! # What cAdvisor would say and nobody tells us
//! It runs as root and looks into each process and each mount; this process does neither. What that would take
//! is left out, or in the schema's own word for none. A GET reads nothing: `max_age` changes nothing, and `ps` waits
//! for a list that somebody else makes, once for all who ask (`processes`).

mod cgroups;
mod events;
mod machine;
mod processes;
mod request;
mod sample;
mod spec;
mod stat;
mod storage;
mod summary;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use serde::Serialize;
use serde_json::json as object;

use super::app::App;
use super::dialect::Dialect;
use super::docker::query::Query;
use super::live::{self, Next};
use super::reply::{Content, JSON, Keep, Refusal, Reply, TEXT, bare, json, quoted};
use super::routes::Asked;
use super::series::device_paths;
use super::shown::Shown;
use crate::model::snapshot::Snapshot;

use self::cgroups::{Cgroup, What};
use self::events::Listener;
pub(super) use self::machine::version;
use self::request::{Call, NamedBy, Options, Range, Shape, Wanted};
use self::sample::{Past, Sample};
use self::spec::{Container, Info, Reference, Spec};
use self::stat::{Reader, Stat};
use self::summary::Summary;

pub(super) use self::request::{Path, asked, takes_a_body};

/// The body of a request, where one is taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent(pub(super) Bytes);

/// So many samples are as much work as one pod of a list.
const SAMPLES_OF_A_POD: usize = 8;

/// To look whether a container was killed in one sweep is this part of that work.
const KILLS_OF_A_POD: usize = 128;

/// An answer has no more samples than these, which fit into what is kept for the next who asks the same: of many
/// cgroups fewer of each, but two, of which readers make a rate.
const LARGEST: usize = 3072;

/// The answer to one of them.
pub(super) async fn reply(app: &Arc<App>, asked: Asked, path: &Path, sent: Option<&Sent>) -> Reply {
    match path {
        Path::Known(call) if call.kind == "ps" => {
            processes::reply(app, &asked, call).await.unwrap_or_else(worded)
        }
        path => at_once(app, asked, path, sent),
    }
}

/// The answer, where it waits for nobody.
fn at_once(app: &Arc<App>, mut asked: Asked, path: &Path, sent: Option<&Sent>) -> Reply {
    let list = |text: String| bare(StatusCode::BAD_REQUEST, text.into(), TEXT, Keep::Never);
    let call = match path {
        Path::Versions => return list(Path::versions()),
        Path::Kinds(kinds) => return list(format!("Supported request types: \"{}\"\n", kinds.join(","))),
        Path::Unknown(why) => return worded(Refusal::bad_request(why.clone())),
        Path::Known(call) => call,
    };
    let outcome = match call.kind {
        "events" => Query::parse(&asked.query).and_then(|query| told(app, &asked, call, &query)),
        "machine" => {
            of_node(app, &asked, |snapshot| json(&machine::machine(snapshot, &app.published.machine)))
        }
        _ if call.shape == Shape::V1 => Range::sent(sent.map_or(&[], |sent| &sent.0)).and_then(|range| {
            // What is asked for stands in the body: it is part of what the answer is kept under.
            asked.query = format!("{range:?}");
            v1(app, &asked, call, range)
        }),
        _ => Query::parse(&asked.query).and_then(|query| v2(app, &asked, call, &query)),
    };
    outcome.unwrap_or_else(worded)
}

fn worded(refusal: Refusal) -> Reply {
    refusal.reply_in(Dialect::Cadvisor)
}

/// Events, that were or as they happen.
fn told(app: &Arc<App>, asked: &Asked, call: &Call, query: &Query) -> Result<Reply, Refusal> {
    let events = events::Asked { name: call.name(), wanted: Wanted::parse(query) };
    if events.wanted.stream {
        // Without a sweep there is nothing to tell of, and perhaps never will be.
        app.fresh()?;
        let (of, mut listener) = (app.clone(), Listener::new(events));
        let chunks = live::of_sweeps(app.published.snapshot.clone(), move |snapshot| {
            let lines = listener.turn(&of, snapshot);
            if lines.is_empty() { Next::Nothing } else { Next::Chunk(lines.into()) }
        });
        let head = bare(StatusCode::OK, Bytes::new(), JSON, Keep::Never);
        let full = worded(Refusal::unavailable("too many answers go on already; ask without stream"));
        return Ok(live::reply(head, chunks, full));
    }
    let shown = Shown::new(app, asked)?;
    let (snapshot, shelf) = (&shown.snapshot, &app.published.history);
    let frames = events.frames(shelf, snapshot.tick);
    let cost = frames.len() * snapshot.containers.len() / KILLS_OF_A_POD;
    shown.other(JSON, cost, &[], || events.past(snapshot, &frames, &shelf.ended(snapshot.tick)))
}

fn of_node(app: &App, asked: &Asked, render: impl FnOnce(&Snapshot) -> Vec<u8>) -> Result<Reply, Refusal> {
    let shown = Shown::new(app, asked)?;
    let snapshot = shown.snapshot.clone();
    shown.other(JSON, 1, &[], || render(&snapshot))
}

fn v1(app: &App, asked: &Asked, call: &Call, range: Range) -> Result<Reply, Refusal> {
    let shown = Shown::new(app, asked)?;
    let (snapshot, name) = (&shown.snapshot, call.name());
    let containers = |cgroups: &[Cgroup<'_>], past: &Past<'_>| -> Vec<Container> {
        let (all, each) = (cgroups::all(snapshot), stats(snapshot, past, Reader::Of(Shape::V1)));
        let container = |(stats, cgroup): (_, &Cgroup<'_>)| {
            let below = cgroups::children(&all, cgroup);
            let spec = Spec::new(snapshot, &app.published.machine, cgroup, false);
            container(cgroup, spec, below, stats)
        };
        each.into_iter().zip(cgroups).map(container).collect()
    };
    let answer = |cgroups: Vec<Cgroup<'_>>, render: &dyn Fn(Vec<Container>) -> Vec<u8>| {
        let range = within(range, cgroups.len());
        let past = Past::new(&app.published.history, snapshot, &cgroups, range);
        shown.other(JSON, cost(&past), &[], || render(containers(&cgroups, &past)))
    };
    let failed = |what: &str, name: &str, refusal: Refusal| {
        refusal.before(&format!("failed to get {what} {} with error: ", quoted(name)))
    };
    match (call.kind, &call.rest[..]) {
        ("containers", _) => {
            let found = cgroups::find(snapshot, &name).map_err(|it| failed("container", &name, it))?;
            answer(vec![found], &|all| all.first().map(json).unwrap_or_default())
        }
        ("subcontainers", _) => {
            let found = cgroups::find_recursive(snapshot, &name)
                .map_err(|it| failed("subcontainers for container", &name, it))?;
            answer(found, &|all| json(&all))
        }
        ("docker", []) => answer(cgroups::containers(snapshot), &|all| json(&by_name(all))),
        ("docker", [wanted]) => {
            let found = cgroups::find_docker(snapshot, wanted)
                .map_err(|it| failed("Docker container", wanted, it))?;
            answer(vec![found], &|all| json(&by_name(all)))
        }
        (_, rest) => {
            let rest = quoted(&rest.join(" "));
            Err(Refusal::bad_request(format!("unknown request for Docker container {rest}")))
        }
    }
}

fn within(range: Range, cgroups: usize) -> Range {
    let most = (LARGEST / cgroups.max(1)).max(2);
    Range { count: Some(range.count.unwrap_or(most).min(most)), ..range }
}

fn by_name(containers: Vec<Container>) -> BTreeMap<String, Container> {
    containers.into_iter().map(|container| (container.name.clone(), container)).collect()
}

fn container(cgroup: &Cgroup<'_>, spec: Spec, below: Vec<String>, stats: Vec<Stat>) -> Container {
    Container {
        id: cgroup.id().map(ToString::to_string),
        name: cgroup.name.clone(),
        aliases: spec::aliases(cgroup),
        namespace: spec::namespace(cgroup),
        subcontainers: below.into_iter().map(|name| Reference { name }).collect(),
        spec,
        stats,
    }
}

fn cost(past: &Past<'_>) -> usize {
    past.rows() / SAMPLES_OF_A_POD
}

/// What was asked of each, oldest first.
fn stats(snapshot: &Snapshot, past: &Past<'_>, reader: Reader) -> Vec<Vec<Stat>> {
    let devices = device_paths(snapshot);
    let stats = |samples: Vec<Sample>| samples.iter().map(|it| Stat::new(it, &devices, reader)).collect();
    past.samples().into_iter().map(stats).collect()
}

fn v2(app: &App, asked: &Asked, call: &Call, query: &Query) -> Result<Reply, Refusal> {
    let options = Options::parse(query)?;
    match call.kind {
        "version" => {
            let version = Content::new(json(&machine::version()).into(), JSON, Keep::Revalidate);
            return Ok(version.reply(&asked.headers));
        }
        "attributes" => {
            return of_node(app, asked, |snapshot| {
                json(&machine::attributes(snapshot, &app.published.machine))
            });
        }
        "storage" => {
            let shown = Shown::new(app, asked)?;
            let known = storage::storage(&shown.snapshot, query)?;
            return shown.other(JSON, 1, &[], || json(&known));
        }
        _ => {}
    }
    let shown = Shown::new(app, asked)?;
    let snapshot = &shown.snapshot;
    let found = match call.kind {
        "machinestats" => vec![cgroups::find(snapshot, "/")?],
        _ => found(snapshot, call, options)?,
    };
    let few = |render: &dyn Fn() -> Vec<u8>| shown.other(JSON, found.len(), &[], render);
    let range = within(options.range, found.len());
    let past = || Past::new(&app.published.history, snapshot, &found, range);
    match call.kind {
        "spec" => few(&|| {
            json(&each(&found, |cgroup| Some(Spec::new(snapshot, &app.published.machine, cgroup, true))))
        }),
        "appmetrics" => few(&|| json(&each(&found, |_| Some(object!({}))))),
        "summary" => {
            few(&|| json(&each(&found, |cgroup| Summary::of(snapshot, &app.published.history, cgroup))))
        }
        kind => {
            let past = past();
            shown.other(JSON, cost(&past), &[], || {
                let reader = if kind == "machinestats" { Reader::Machine } else { Reader::Of(call.shape) };
                let mut stats = stats(snapshot, &past, reader).into_iter();
                match reader {
                    Reader::Machine => json(&stats.next().unwrap_or_default()),
                    Reader::Of(Shape::V21) => json(&each(&found, |cgroup| {
                        let stats = stats.next()?;
                        // The node has a route of its own.
                        let spec = Spec::new(snapshot, &app.published.machine, cgroup, true);
                        (!matches!(cgroup.what, What::Node)).then_some(Info { spec, stats })
                    })),
                    Reader::Of(_) => json(&each(&found, |_| stats.next())),
                }
            })
        }
    }
}

/// The cgroups that a client of v2 asks for.
fn found<'a>(snapshot: &'a Snapshot, call: &Call, options: Options) -> Result<Vec<Cgroup<'a>>, Refusal> {
    let name = call.name();
    match (options.by, options.recursive) {
        (NamedBy::Cgroup, false) => cgroups::find(snapshot, &name).map(|found| vec![found]),
        (NamedBy::Cgroup, true) => cgroups::find_recursive(snapshot, &name),
        (NamedBy::Docker, false) => cgroups::find_docker(snapshot, &name).map(|found| vec![found]),
        (NamedBy::Docker, true) if call.rest.is_empty() => Ok(cgroups::containers(snapshot)),
        (NamedBy::Docker, true) => {
            let name = quoted(&name);
            Err(Refusal::bad_request(format!(
                "invalid request for docker container {name} with subcontainers"
            )))
        }
    }
}

/// Something of each, by its name.
fn each<'a, T: Serialize>(
    cgroups: &'a [Cgroup<'_>],
    mut of: impl FnMut(&Cgroup<'_>) -> Option<T>,
) -> BTreeMap<&'a str, T> {
    cgroups.iter().filter_map(|cgroup| Some((&*cgroup.name, of(cgroup)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_cgroups_there_are_fewer_samples_each_but_two() {
        let of = |count, cgroups| within(Range { count, from: Some(1), to: None }, cgroups);
        let counts =
            [(Some(64), 1), (Some(64), 48), (Some(64), 440), (None, 1), (None, 9000), (Some(0), 9000)];
        let counts = counts.map(|(count, cgroups)| of(count, cgroups).count.unwrap());
        assert_eq!(counts, [64, 64, 6, 3072, 2, 0]);
        assert_eq!((of(None, 0).count, of(None, 0).from), (Some(3072), Some(1)));
    }
}
