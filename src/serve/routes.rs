//! The routes: one table that says what is here, and the filters that serve it.

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};

use hyper::HeaderMap;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::path::FullPath;

use super::app::App;
use super::data;
use super::metrics::OPENMETRICS;
use super::page;
use super::probes::{self, Probe};
use super::reply::{Content, JSON, Keep, Refusal, Reply, TEXT, json, quoted};
use super::{openapi, version};

/// All routes, ready to be served.
pub(super) type Routes = BoxedFilter<(Reply,)>;

/// One route, as `/`, `/openapi.json` and every 404 list it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) path: &'static str,
    pub(super) what: &'static str,
    /// Known parameters; others are refused on native routes and ignored elsewhere.
    pub(super) parameters: &'static [&'static str],
    pub(super) answer: Answer,
}

/// What a route answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Document(&'static str),
    Json,
    Text,
    Metrics,
}

impl Answer {
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Document(_) | Self::Json => JSON,
            Self::Text => TEXT,
            Self::Metrics => OPENMETRICS,
        }
    }
}

const fn route(
    path: &'static str,
    what: &'static str,
    parameters: &'static [&'static str],
    answer: Answer,
) -> Route {
    Route { path, what, parameters, answer }
}

const CHECKS: &[&str] = &["verbose", "exclude"];

/// Every route there is.
pub(super) const ROUTES: &[Route] = &[
    route("/", "this page", &[], Answer::Text),
    route("/api/v1/pods", "every pod of the node, from one sweep", data::LIST, Answer::Document("PodList")),
    route("/api/v1/pods/{namespace}/{name}", "one pod by name", data::SINGLE, Answer::Document("SinglePod")),
    route("/api/v1/pods/{uid}", "one pod by its UID", data::SINGLE, Answer::Document("SinglePod")),
    route("/api/v1/containers", "every container, flat", data::LIST, Answer::Document("ContainerList")),
    route(
        "/api/v1/node",
        "the node's own CPU, memory, disks and NICs",
        data::SINGLE,
        Answer::Document("Node"),
    ),
    route("/api/v1/map", "how each pod was found, with the evidence", &[], Answer::Document("Map")),
    route("/metrics", "the health of podvitals itself, for Prometheus", &[], Answer::Metrics),
    route("/livez", "whether it works; fails when only a restart helps", CHECKS, Answer::Text),
    route("/livez/{check}", "one check of it", &[], Answer::Text),
    route("/readyz", "whether there are figures with names yet", CHECKS, Answer::Text),
    route("/readyz/{check}", "one check of it", &[], Answer::Text),
    route("/healthz", "the old name of /livez", CHECKS, Answer::Text),
    route("/healthz/{check}", "one check of it", &[], Answer::Text),
    route("/version", "what is running", &[], Answer::Json),
    route("/openapi.json", "this API, for machines", &[], Answer::Json),
];

/// What a handler gets to see of a request.
pub(super) struct Asked {
    /// Its headers.
    pub(super) headers: HeaderMap,
    /// Its path, as sent.
    pub(super) path: String,
    /// What follows the `?`; empty without one.
    pub(super) query: String,
}

/// The filters. Each group is boxed, or their types would grow with every route.
pub(super) fn routes(app: Arc<App>) -> Routes {
    native(&app).or(own(&app)).unify().or(health(&app)).unify().or(nothing()).unify().boxed()
}

fn native(app: &Arc<App>) -> Routes {
    let list = |path: Path, answer: Handler| path.and(asked(app)).map(answer).boxed();
    let by_name = warp::path!("api" / "v1" / "pods" / String / String).and(asked(app)).map(
        |namespace: String, name: String, app: Arc<App>, asked: Asked| {
            settle(data::pod(&app, &asked, &data::Which::Name(namespace, name)))
        },
    );
    let by_uid = warp::path!("api" / "v1" / "pods" / String).and(asked(app)).map(
        |uid: String, app: Arc<App>, asked: Asked| settle(data::pod(&app, &asked, &data::Which::Uid(uid))),
    );
    list(warp::path!("api" / "v1" / "pods").boxed(), |app, asked| settle(data::pods(&app, &asked)))
        .or(list(warp::path!("api" / "v1" / "containers").boxed(), |app, asked| {
            settle(data::containers(&app, &asked))
        }))
        .unify()
        .or(list(warp::path!("api" / "v1" / "node").boxed(), |app, asked| settle(data::node(&app, &asked))))
        .unify()
        .or(list(warp::path!("api" / "v1" / "map").boxed(), |app, asked| settle(data::map(&app, &asked))))
        .unify()
        .or(by_name)
        .unify()
        .or(by_uid)
        .unify()
        .boxed()
}

type Path = BoxedFilter<()>;
type Handler = fn(Arc<App>, Asked) -> Reply;

fn own(app: &Arc<App>) -> Routes {
    let one = |path: Path, answer: Handler| path.and(asked(app)).map(answer).boxed();
    one(warp::path::end().boxed(), |app, asked| page::reply(&app.published.node_name, &asked.headers))
        .or(one(warp::path!("metrics").boxed(), |app, asked| {
            Content::new(app.metrics.text().into(), OPENMETRICS, Keep::Never).reply(&asked.headers)
        }))
        .unify()
        .or(one(warp::path!("version").boxed(), |_, asked| {
            static VERSION: LazyLock<Content> =
                LazyLock::new(|| Content::new(json(&version::document()).into(), JSON, Keep::Revalidate));
            VERSION.reply(&asked.headers)
        }))
        .unify()
        .or(one(warp::path!("openapi.json").boxed(), |_, asked| {
            static OPENAPI: LazyLock<Content> =
                LazyLock::new(|| Content::new(json(&openapi::document()).into(), JSON, Keep::Revalidate));
            OPENAPI.reply(&asked.headers)
        }))
        .unify()
        .boxed()
}

fn health(app: &Arc<App>) -> Routes {
    let all = |path: Path, probe: Probe| {
        path.and(asked(app))
            .map(move |app: Arc<App>, asked: Asked| probes::all(&app, probe, &asked.query))
            .boxed()
    };
    let one = |name: &'static str, probe: Probe| {
        let path = warp::path(name).and(warp::path::param::<String>()).and(warp::path::end());
        let answer = move |check: String, app: Arc<App>, _: Asked| settle(probes::one(&app, probe, &check));
        path.and(asked(app)).map(answer).boxed()
    };
    all(warp::path!("livez").boxed(), Probe::Live)
        .or(all(warp::path!("readyz").boxed(), Probe::Ready))
        .unify()
        .or(all(warp::path!("healthz").boxed(), Probe::Health))
        .unify()
        .or(one("livez", Probe::Live))
        .unify()
        .or(one("readyz", Probe::Ready))
        .unify()
        .or(one("healthz", Probe::Health))
        .unify()
        .boxed()
}

fn nothing() -> Routes {
    let not_found = |path: FullPath| {
        let known: Vec<&str> = ROUTES.iter().map(|route| route.path).collect();
        let path = quoted(path.as_str());
        Refusal::not_found(format!("nothing is served at {path}; see / for what is: {}", known.join(" ")))
            .reply()
    };
    warp::path::full().map(not_found).boxed()
}

fn settle(outcome: Result<Reply, Refusal>) -> Reply {
    outcome.unwrap_or_else(Refusal::reply)
}

fn asked(app: &Arc<App>) -> impl Filter<Extract = (Arc<App>, Asked), Error = Infallible> + Clone + use<> {
    let app = app.clone();
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::any().map(move || app.clone()).and(
        warp::header::headers_cloned().and(warp::path::full()).and(query).map(
            |headers: HeaderMap, path: FullPath, query: String| Asked {
                headers,
                path: path.as_str().to_owned(),
                query,
            },
        ),
    )
}
