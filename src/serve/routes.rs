//! The routes: one table that says what is here, and the filters that serve it.

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};

use hyper::HeaderMap;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::path::FullPath;

use super::app::App;
use super::cadvisor;
use super::data;
use super::dialect::Dialect;
use super::docker;
use super::foreign;
use super::heapster;
use super::metrics::OPENMETRICS;
use super::page;
use super::past;
use super::probes::{self, Probe};
use super::reply::{Content, JSON, Keep, PROMETHEUS, Refusal, Reply, TEXT, json, quoted};
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
    Prometheus,
    /// In each of the forms, by `Accept`; without one the first.
    Series,
}

impl Answer {
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Document(_) | Self::Json => JSON,
            Self::Text => TEXT,
            Self::Metrics => OPENMETRICS,
            Self::Prometheus | Self::Series => PROMETHEUS,
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

const PROFILE: &[&str] = &["profile", "timestamps"];

const POINTS: &[&str] = &["start", "end", "labels"];
/// How cAdvisor's clients name a container.
const NAMES: &[&str] = &["type", "recursive"];

const SAMPLES: &[&str] = &["type", "recursive", "count", "max_age"];

const EVENTS: &[&str] = &[
    "stream",
    "subcontainers",
    "all_events",
    "creation_events",
    "deletion_events",
    "oom_events",
    "oom_kill_events",
    "max_events",
    "start_time",
    "end_time",
];

/// Every route there is.
pub(super) const ROUTES: &[Route] = &[
    route("/", "this page", &[], Answer::Text),
    route("/api/v1/pods", "every pod of the node, from one sweep", data::PODS, Answer::Document("PodList")),
    route("/api/v1/pods/{namespace}/{name}", "one pod by name", data::POD, Answer::Document("SinglePod")),
    route("/api/v1/pods/{uid}", "one pod by its UID", data::POD, Answer::Document("SinglePod")),
    route("/api/v1/containers", "every container, flat", data::LIST, Answer::Document("ContainerList")),
    route(
        "/api/v1/node",
        "the node's own CPU, memory, disks and NICs",
        data::SINGLE,
        Answer::Document("Node"),
    ),
    route(
        "/api/v1/history/{namespace}/{name}",
        "the last minutes of one pod and its containers",
        data::POD,
        Answer::Document("PodHistory"),
    ),
    route(
        "/api/v1/history/{uid}",
        "the same by its UID; of a pod that ended too, for as long as it is kept",
        data::POD,
        Answer::Document("PodHistory"),
    ),
    route(
        "/api/v1/recent",
        "pods and containers that ended in the last minutes, with their final sample",
        data::SINGLE,
        Answer::Document("Recent"),
    ),
    route("/api/v1/map", "how each pod was found, with the evidence", &[], Answer::Document("Map")),
    route("/metrics", "the health of podvitals itself, for Prometheus", &[], Answer::Metrics),
    route("/metrics/resource", "the kubelet's resource metrics, for metrics-server", &[], Answer::Prometheus),
    route("/metrics/cadvisor", "the kubelet's container metrics, for Prometheus", PROFILE, Answer::Series),
    route("/metrics/pods", "every pod and container, for Prometheus", foreign::WINDOW, Answer::Series),
    route("/stats/summary", "the kubelet's summary", &["only_cpu_and_memory"], Answer::Json),
    route("/pods", "the pods as the kubelet lists them, slim", &[], Answer::Json),
    route("/livez", "whether it works; fails when only a restart helps", CHECKS, Answer::Text),
    route("/livez/{check}", "one check of it", &[], Answer::Text),
    route("/readyz", "whether there are figures with names yet", CHECKS, Answer::Text),
    route("/readyz/{check}", "one check of it", &[], Answer::Text),
    route("/healthz", "the old name of /livez", CHECKS, Answer::Text),
    route("/healthz/{check}", "one check of it", &[], Answer::Text),
    route("/version", "what is running", &[], Answer::Json),
    route(
        "/_ping",
        "the Docker Engine's API, read-only, with a version in front or without",
        &[],
        Answer::Text,
    ),
    route("/info", "what Docker's clients are told of the node", &[], Answer::Json),
    route("/events", "containers that start and end, as they do", &[], Answer::Json),
    route("/containers/json", "what docker ps shows", &[], Answer::Json),
    route("/containers/{id}/json", "what docker inspect shows", &[], Answer::Json),
    route("/containers/{id}/stats", "what docker stats shows, with each sweep or once", &[], Answer::Json),
    route("/api/v1/model/nodes/", "heapster's model of this node: its name", &[], Answer::Json),
    route("/api/v1/model/nodes/{node}/metrics/", "what is known of the node", &[], Answer::Json),
    route(
        "/api/v1/model/nodes/{node}/metrics/{metric}",
        "one metric of it, each second",
        POINTS,
        Answer::Json,
    ),
    route(
        "/api/v1/model/nodes/{node}/freecontainers/",
        "the kubelet, the runtime, and all pods together",
        &[],
        Answer::Json,
    ),
    route("/api/v1/model/namespaces/", "namespaces with pods here", &[], Answer::Json),
    route("/api/v1/model/namespaces/{namespace}/pods/", "the pods of one", &[], Answer::Json),
    route(
        "/api/v1/model/namespaces/{namespace}/pods/{pod}/metrics/",
        "what is known of a pod",
        &[],
        Answer::Json,
    ),
    route(
        "/api/v1/model/namespaces/{namespace}/pods/{pod}/metrics/{metric}",
        "one metric of it, each second",
        POINTS,
        Answer::Json,
    ),
    route(
        "/api/v1/model/namespaces/{namespace}/pods/{pod}/containers/",
        "the containers of a pod",
        &[],
        Answer::Json,
    ),
    route(
        "/api/v1/model/namespaces/{namespace}/pods/{pod}/containers/{container}/metrics/",
        "what is known of a container",
        &[],
        Answer::Json,
    ),
    route(
        "/api/v1/model/namespaces/{namespace}/pods/{pod}/containers/{container}/metrics/{metric}",
        "one metric of it, each second",
        POINTS,
        Answer::Json,
    ),
    route(
        "/api/v1/model/namespaces/{namespace}/pod-list/{pods}/metrics/{metric}",
        "one metric of several pods, in the order they are asked for",
        POINTS,
        Answer::Json,
    ),
    route("/api/v1/model/debug/allkeys", "of what heapster's model has figures", &[], Answer::Json),
    route("/api/v1/metric-export", "every figure of the last sweep, as heapster has it", &[], Answer::Json),
    route("/api/v1/metric-export-schema", "what that is made of", &[], Answer::Json),
    route("/api/v1.3/machine", "the node, as v1.0 to v2.1 have it", &[], Answer::Json),
    route(
        "/api/v1.3/containers/{cgroup}",
        "a cgroup and its last samples, as v1.0 to v1.3 have it",
        &[],
        Answer::Json,
    ),
    route("/api/v1.3/subcontainers/{cgroup}", "the same with all below it", &[], Answer::Json),
    route("/api/v1.3/docker/{id}", "a container, or all of them, whoever runs them", &[], Answer::Json),
    route(
        "/api/v1.3/events/{cgroup}",
        "what came, went or was killed, as v1.3 to v2.1 have it",
        EVENTS,
        Answer::Json,
    ),
    route(
        "/api/v2.1/stats/{cgroup}",
        "a cgroup and its last samples, as v2.0 and v2.1 have it",
        SAMPLES,
        Answer::Json,
    ),
    route("/api/v2.1/machinestats", "the node's last samples", &["count"], Answer::Json),
    route("/api/v2.1/spec/{cgroup}", "what a cgroup is and may use", NAMES, Answer::Json),
    route("/api/v2.1/summary/{cgroup}", "its last minute, hour and day", NAMES, Answer::Json),
    route("/api/v2.0/ps/{cgroup}", "the processes in it, as ps prints them", &["type"], Answer::Json),
    route("/api/v2.1/attributes", "the node, and who answers", &[], Answer::Json),
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
    native(&app)
        .or(foreign(&app))
        .unify()
        .or(docker(&app))
        .unify()
        .or(heapster(&app))
        .unify()
        .or(cadvisor(&app))
        .unify()
        .or(own(&app))
        .unify()
        .or(health(&app))
        .unify()
        .or(nothing())
        .unify()
        .boxed()
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
        .or(past(app))
        .unify()
        .boxed()
}

fn past(app: &Arc<App>) -> Routes {
    let by_name = warp::path!("api" / "v1" / "history" / String / String).and(asked(app)).map(
        |namespace: String, name: String, app: Arc<App>, asked: Asked| {
            settle(past::history(&app, &asked, &data::Which::Name(namespace, name)))
        },
    );
    let by_uid = warp::path!("api" / "v1" / "history" / String).and(asked(app)).map(
        |uid: String, app: Arc<App>, asked: Asked| {
            settle(past::history(&app, &asked, &data::Which::Uid(uid)))
        },
    );
    let recent = warp::path!("api" / "v1" / "recent")
        .and(asked(app))
        .map(|app: Arc<App>, asked: Asked| settle(past::recent(&app, &asked)));
    by_name.or(by_uid).unify().or(recent).unify().boxed()
}

fn foreign(app: &Arc<App>) -> Routes {
    let one = |path: Path, answer: fn(&App, &Asked) -> Reply| {
        path.and(asked(app)).map(move |app: Arc<App>, asked: Asked| answer(&app, &asked)).boxed()
    };
    one(warp::path!("metrics" / "resource").boxed(), foreign::resource)
        .or(one(warp::path!("metrics" / "cadvisor").boxed(), foreign::cadvisor))
        .unify()
        .or(one(warp::path!("metrics" / "pods").boxed(), foreign::series))
        .unify()
        .or(one(warp::path!("stats" / "summary").boxed(), foreign::summary))
        .unify()
        .or(one(warp::path!("pods").boxed(), foreign::pods))
        .unify()
        .boxed()
}

/// The Engine's routes have versions and names with slashes in their paths: they are taken apart there.
fn docker(app: &Arc<App>) -> Routes {
    let route = warp::path::full().and_then(async |path: FullPath| {
        docker::Route::of(path.as_str()).ok_or_else(warp::reject::not_found)
    });
    route
        .and(asked(app))
        .map(|route: docker::Route, app: Arc<App>, asked: Asked| docker::reply(&app, &asked, &route))
        .boxed()
}

/// Heapster's names of metrics have slashes, and its paths one at the end or none.
fn heapster(app: &Arc<App>) -> Routes {
    let route = warp::path::full().and_then(async |path: FullPath| {
        heapster::Route::of(path.as_str()).ok_or_else(warp::reject::not_found)
    });
    route
        .and(asked(app))
        .map(|route: heapster::Route, app: Arc<App>, asked: Asked| heapster::reply(&app, &asked, &route))
        .boxed()
}

/// So have cAdvisor's, which come with a query in their body.
fn cadvisor(app: &Arc<App>) -> Routes {
    let route = warp::path::full().and_then(async |path: FullPath| {
        cadvisor::Path::of(path.as_str()).ok_or_else(warp::reject::not_found)
    });
    let sent = warp::ext::optional::<cadvisor::Sent>();
    let answer = async |path: cadvisor::Path, sent: Option<cadvisor::Sent>, app: Arc<App>, asked: Asked| {
        cadvisor::reply(&app, asked, &path, sent.as_ref()).await
    };
    route.and(sent).and(asked(app)).then(answer).boxed()
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
        let shown = quoted(path.as_str());
        Refusal::not_found(format!("nothing is served at {shown}; see / for what is: {}", known.join(" ")))
            .reply_in(Dialect::of(path.as_str()))
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
