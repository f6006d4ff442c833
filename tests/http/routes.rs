//! What the routes answer.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use podvitals::model::health::{Room, Trouble};
use podvitals::model::target::TargetSet;
use podvitals::model::time::Monotonic;
use podvitals::serve::Limits;
use serde_json::{Value, json};

use super::client::{Answer, clock, server, server_with, set_clock};
use super::node::{self, ETCD_HASH, ETCD_UID, NAMELESS_UID, NEW_DB_UID, PROCESS_START, WEB_UID};

pub(crate) fn assert_golden(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == text, "{name} differs; UPDATE_GOLDEN=1 rewrites it. Now:\n{text}");
}

fn pretty(answer: &Answer) -> String {
    serde_json::to_string_pretty(&answer.json()).unwrap() + "\n"
}

pub(crate) fn assert_no_null(at: &str, value: &Value) {
    match value {
        Value::Null => panic!("{at} is null"),
        Value::Array(items) => items.iter().for_each(|item| assert_no_null(at, item)),
        Value::Object(object) => {
            object.iter().for_each(|(key, value)| assert_no_null(&format!("{at}.{key}"), value))
        }
        _ => {}
    }
}

#[tokio::test]
async fn every_document_is_as_agreed() {
    let server = server().await;
    for (path, golden) in [
        ("/api/v1/pods", "pods.json"),
        ("/api/v1/pods/default/web", "pod.json"),
        ("/api/v1/containers", "containers.json"),
        ("/api/v1/node", "node.json"),
        ("/api/v1/history/default/web", "history.json"),
        ("/api/v1/recent", "recent.json"),
        ("/api/v1/map", "map.json"),
    ] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{path}");
        assert_eq!(answer.header("vary"), "Accept, Accept-Encoding");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), "no-cache");
        assert_no_null(path, &answer.json());
        assert_golden(golden, &pretty(&answer));
    }
}

#[tokio::test]
async fn the_page_and_the_metrics_are_as_agreed() {
    let server = server().await;
    server.health.count(Room::Host, Trouble::Malformed);
    server.health.cgroup_targets.store(12, Ordering::SeqCst);
    server.health.inotify.store(true, Ordering::SeqCst);
    let page = server.get("/").await;
    assert_eq!(page.header("content-type"), "text/plain; charset=utf-8");
    let version = env!("CARGO_PKG_VERSION");
    assert_golden("page.txt", &page.text().replace(version, "VERSION"));

    server.get("/api/v1/pods").await;
    let metrics = server.get("/metrics").await;
    assert_eq!(metrics.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    // How many bytes it is just now depends on how the compiler lays structs out.
    let shown = metrics.text().lines().map(|line| {
        let bytes = line.strip_prefix("podvitals_history_bytes ").map(|bytes| bytes.parse::<u64>().unwrap());
        bytes.map_or(line, |bytes| if bytes > 0 { "podvitals_history_bytes SOME" } else { line }).to_owned()
            + "\n"
    });
    assert_golden("metrics.txt", &shown.collect::<String>().replace(version, "VERSION"));

    let html = server.ask("GET", "/", &[("Accept", "text/html,*/*;q=0.8")]).await;
    assert_eq!(html.header("content-type"), "text/html; charset=utf-8");
    assert!(html.header("content-security-policy").starts_with("default-src 'none';"));
    assert!(!html.text().contains("http://") && !html.text().contains("https://"), "the page is offline");
}

#[tokio::test]
async fn every_route_of_openapi_is_served_and_answers_what_it_says() {
    let server = server().await;
    let openapi = server.get("/openapi.json").await.json();
    assert_eq!(openapi["openapi"], "3.1.0");
    let paths = openapi["paths"].as_object().unwrap();
    for must in ["/", "/api/v1/pods", "/api/v1/map", "/metrics", "/livez", "/readyz", "/healthz", "/version"]
    {
        assert!(paths.contains_key(must), "{must}");
    }
    for (path, item) in paths {
        let real = path
            .replace("{namespace}", "default")
            .replace("{name}", "web")
            .replace("{uid}", WEB_UID)
            .replace("{check}", "ping")
            .replace("{node}", "n1")
            .replace("{pod}", "web")
            .replace("{pods}", "web")
            .replace("{container}", "web")
            .replace("{metric}", "cpu/usage")
            .replace("{cgroup}", "kubepods.slice")
            .replace("{id}", &super::docker::web_id());
        // What goes on for ever has a head that ends.
        let goes_on = path == "/events" || path.ends_with("/stats");
        let answer = server.ask(if goes_on { "HEAD" } else { "GET" }, &real, &[]).await;
        assert_eq!(answer.status, 200, "{path}");
        let content = item.pointer("/get/responses/200/content").unwrap().as_object().unwrap();
        assert!(content.contains_key(answer.header("content-type")), "{path}");
        for parameter in item.pointer("/get/parameters").unwrap().as_array().unwrap() {
            if parameter["in"] == "query" {
                let name = parameter["name"].as_str().unwrap();
                let value = if name == "fields" || name == "sort" { "tick" } else { "web" };
                let value = if path.contains("pods") || path.contains("containers") { "name" } else { value };
                let value = match name {
                    "start" | "end" => "2026-11-21T01:02:03Z",
                    "labels" => "resource_id:254:0",
                    "window" | "max_age" => "90s",
                    "type" => "name",
                    "count" => "3",
                    _ => value,
                };
                let answer = server.get(&format!("{real}?{name}={value}")).await;
                assert_eq!(answer.status, 200, "{path}?{name}={value}: {}", answer.text());
            }
        }
    }
}

#[tokio::test]
async fn version_serves_a_kubernetes_and_a_docker_client() {
    let version = server().await.get("/version").await.json();
    assert_eq!(version["gitVersion"], format!("v{}", env!("CARGO_PKG_VERSION")));
    for key in ["major", "minor", "Version", "ApiVersion", "MinAPIVersion", "Os", "Arch"] {
        assert!(version[key].is_string(), "{key}");
    }
    assert!(version.get("platform").is_none() && version.get("Platform").is_none());
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let server = server().await;
    for path in ["/", "/api/v1/pods", "/api/v1/node", "/metrics", "/livez", "/nothing", "/api/v1/pods?bad=1"]
    {
        let (get, head) = (server.get(path).await, server.ask("HEAD", path, &[]).await);
        assert_eq!(get.status, head.status, "{path}");
        assert!(head.body.is_empty());
        let comparable = |answer: &Answer| {
            let mut headers = answer.headers.clone();
            // These two move between two requests.
            headers.remove("date");
            if path == "/metrics" {
                headers.remove("content-length");
            }
            headers
        };
        assert_eq!(comparable(&get), comparable(&head), "{path}");
    }
}

#[tokio::test]
async fn what_has_not_changed_is_not_sent_again() {
    let server = server().await;
    let first = server.get("/api/v1/pods").await;
    let tag = format!("W/\"{PROCESS_START}-812\"");
    assert_eq!(first.header("etag"), tag);
    for path in ["/api/v1/pods", "/api/v1/pods?sort=name", "/api/v1/pods/default/web", "/api/v1/node"] {
        let again = server.ask("GET", path, &[("If-None-Match", &tag)]).await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        assert_eq!(again.header("etag"), tag);
        assert!(!again.headers.contains_key("content-length"), "a 304 has no length of its own");
    }
    let strong = format!("\"{PROCESS_START}-812\"");
    assert_eq!(server.ask("GET", "/api/v1/pods", &[("If-None-Match", &strong)]).await.status, 304);
    let unknown = server.ask("GET", "/api/v1/pods/default/none", &[("If-None-Match", &tag)]).await;
    assert_eq!(unknown.status, 404);

    let mut next = node::snapshot();
    next.tick = 813;
    server.snapshot.send_replace(Some(Arc::new(next)));
    let changed = server.ask("GET", "/api/v1/pods", &[("If-None-Match", &tag)]).await;
    assert_eq!((changed.status, changed.json()["tick"].clone()), (200, json!(813)));

    let map = server.get("/api/v1/map").await;
    let tag = map.header("etag").to_owned();
    assert_eq!(server.ask("GET", "/api/v1/map", &[("If-None-Match", &tag)]).await.status, 304);
    server.targets.send_replace(Arc::new(TargetSet {
        generation: 18,
        pods: Vec::new(),
        ..TargetSet::default()
    }));
    let map = server.ask("GET", "/api/v1/map", &[("If-None-Match", &tag)]).await;
    assert_eq!(map.json(), json!({ "node": "n1", "generation": 18, "pods": [] }));
}

#[tokio::test]
async fn gzip_is_the_same_document() {
    let server = server().await;
    for path in ["/api/v1/pods", "/api/v1/pods?sort=-cpu.cores", "/openapi.json", "/"] {
        let plain = server.get(path).await;
        let zipped = server.ask("GET", path, &[("Accept-Encoding", "br;q=1.0, gzip;q=0.5")]).await;
        assert_eq!(zipped.header("content-encoding"), "gzip", "{path}");
        assert!(zipped.body.len() < plain.body.len());
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&zipped.body[..]).read_to_end(&mut text).unwrap();
        assert_eq!(text, plain.body, "{path}");
        assert!(!plain.headers.contains_key("content-encoding"));
        let refused = server.ask("GET", path, &[("Accept-Encoding", "gzip;q=0")]).await;
        assert!(!refused.headers.contains_key("content-encoding"));
    }
}

#[tokio::test]
async fn the_default_document_is_rendered_once_a_sweep_and_says_how_long_ago() {
    let server = server_with(Limits::default(), clock::<1>, Some(node::snapshot())).await;
    set_clock::<1>(0.5);
    let first = server.get("/api/v1/pods").await;
    assert_eq!(first.header("podvitals-age-seconds"), "0.000000");
    set_clock::<1>(0.75);
    let second = server.get("/api/v1/pods").await;
    assert_eq!(second.header("podvitals-age-seconds"), "0.250000");
    assert_eq!(first.body, second.body);
    let age = first.json()["pods"][0]["ageSeconds"].as_f64().unwrap();
    assert!((age - 0.5).abs() < 0.001, "{age}");
}

fn names(list: &Value) -> Vec<String> {
    let name = |pod: &Value| pod["name"].as_str().unwrap_or("-").to_owned();
    list["pods"].as_array().unwrap().iter().map(name).collect()
}

#[tokio::test]
async fn lists_are_filtered_sorted_and_pruned_as_asked() {
    let server = server().await;
    let get = async |query: &str| {
        let answer = server.get(&format!("/api/v1/pods?{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        answer.json()
    };
    assert_eq!(names(&get("").await), ["web", "young", "etcd-n1", "db", "db", "-"]);
    assert_eq!(names(&get("namespace=shop").await), ["db", "db"]);
    assert_eq!(names(&get("namespace=none").await), [""; 0]);
    assert_eq!(names(&get("labelSelector=app%20in%20(web,young)").await), ["web", "young"]);
    assert_eq!(
        names(&get("labelSelector=tier!%3Ddata,app!=young").await),
        ["web", "etcd-n1"],
        "not the nameless one"
    );
    assert_eq!(names(&get("sort=-cpu.cores").await), ["etcd-n1", "db", "db", "web", "young", "-"]);
    assert_eq!(names(&get("sort=cpu.cores").await), ["web", "db", "db", "etcd-n1", "young", "-"]);
    let pruned = get("fields=name,cpu.cores,labels.app,unavailable.cpu.cores&namespace=default").await;
    assert_eq!(
        pruned["pods"],
        json!([
            { "name": "web", "cpu": { "cores": 0.375 }, "labels": { "app": "web" }, "unavailable": {} },
            { "name": "young", "cpu": {}, "labels": { "app": "young" }, "unavailable": { "cpu.cores": "not_yet" } },
        ])
    );
    assert_eq!(pruned["tick"], 812, "what sweep it is stays");
    let one = server.get("/api/v1/pods/default/web?fields=memory.usageBytes").await.json();
    assert_eq!(one["memory"], json!({ "usageBytes": 600 * node::MIB }));
    assert_eq!((one["tick"].clone(), one.get("name")), (json!(812), None));
    let flat =
        server.get("/api/v1/containers?fields=pod,name,kind&sort=-memory.usageBytes&namespace=default").await;
    assert_eq!(
        flat.json()["containers"],
        json!([
            { "pod": "web", "name": "proxy", "kind": "sidecar" },
            { "pod": "web", "name": "setup", "kind": "init" },
            { "pod": "web", "name": "web", "kind": "app" },
            { "pod": "web", "name": "crashing", "kind": "app" },
            { "pod": "young" },
            { "pod": "young" },
        ])
    );
    let node = server.get("/api/v1/node?fields=cpu.cores").await.json();
    assert_eq!((node["cpu"].clone(), node.get("memory")), (json!({ "cores": 2.5 }), None));
}

#[tokio::test]
async fn a_pod_is_found_by_name_and_by_either_uid() {
    let server = server().await;
    let runtime_uid = async |path: &str| server.get(path).await.json()["runtimeUid"].clone();
    assert_eq!(runtime_uid("/api/v1/pods/shop/db").await, NEW_DB_UID, "the live sandbox wins");
    assert_eq!(runtime_uid(&format!("/api/v1/pods/{ETCD_UID}")).await, ETCD_HASH);
    assert_eq!(runtime_uid(&format!("/api/v1/pods/{ETCD_HASH}")).await, ETCD_HASH);
    assert_eq!(runtime_uid(&format!("/api/v1/pods/{NAMELESS_UID}")).await, NAMELESS_UID);
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let server = server().await;
    for (path, status, says) in [
        (
            "/api/v1/pods?nonsense=1",
            400,
            "unknown parameter \"nonsense\"; this route knows: namespace, fields",
        ),
        ("/api/v1/containers?window=30s", 400, "unknown parameter \"window\""),
        ("/api/v1/pods?window=30", 400, "window: \"30\" cannot be one; expected a duration such as 30s"),
        ("/api/v1/history/default/web?sort=tick", 400, "this route knows: fields, window"),
        ("/api/v1/history/default/web?fields=samples.nonsense", 400, "no key \"nonsense\""),
        ("/api/v1/history/default/none", 404, "no pod \"default/none\" in the history of node n1"),
        ("/api/v1/history/0a1b", 404, "no pod with UID \"0a1b\" in the history"),
        ("/api/v1/recent?window=30s", 400, "unknown parameter \"window\""),
        ("/api/v1/map?fields=node", 400, "this route knows: none"),
        ("/api/v1/pods?fields=cpu,nonsense", 400, "no key \"nonsense\"; there is namespace, name, uid"),
        ("/api/v1/pods?sort=cpu", 400, "sort by one of"),
        ("/api/v1/pods?labelSelector=a%20b", 400, "cannot read \"a b\""),
        ("/api/v1/pods?namespace=..%2f..", 400, "namespace: \"../..\" cannot be one"),
        ("/api/v1/pods?fields=%ff", 400, "not percent-encoded UTF-8"),
        ("/api/v1/pods/default/none", 404, "no pod \"default/none\" on node n1 in sweep 812"),
        ("/api/v1/pods/0a1b", 404, "no pod with UID \"0a1b\""),
        ("/api/v1/pods/../../etc/passwd", 404, "see / for what is"),
        ("/api/v1/pods/%2e%2e/%00", 404, "no pod \"%2e%2e/%00\""),
        ("/api/v1/stream", 404, "/api/v1/pods /api/v1/pods/{namespace}/{name}"),
        ("/nothing", 404, "nothing is served at \"/nothing\""),
        ("/livez/nonsense", 404, "it has: ping, sweep, resolver"),
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        let detail = answer.problem();
        assert!(detail.contains(says), "{path}: {detail}");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    for path in
        ["/metrics?collect[]=x", "/version?timeout=32s", "/openapi.json?x", "/?x=1", "/livez?timeout=1s"]
    {
        assert_eq!(server.get(path).await.status, 200, "{path} is not ours alone");
    }
}

#[tokio::test]
async fn only_get_and_head_are_served() {
    let server = server().await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "BREW"] {
        let target = if method == "CONNECT" { "localhost:80" } else { "/api/v1/pods" };
        let answer = server.ask(method, target, &[]).await;
        assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD"), "{method}");
        assert!(answer.problem().contains(method));
    }
    let posted =
        server.raw(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nhalf of").await;
    assert!(posted.starts_with(b"HTTP/1.1 405"), "{}", String::from_utf8_lossy(&posted));
    let with_body = server.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc").await;
    assert!(with_body.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&with_body));
}

#[tokio::test]
async fn before_the_first_sweep_nothing_is_shown() {
    let server = server_with(Limits::default(), clock::<0>, None).await;
    server.health.sweeps.store(0, Ordering::SeqCst);
    for path in ["/api/v1/pods", "/api/v1/pods/default/web", "/api/v1/containers", "/api/v1/node"] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, "1"), "{path}");
        assert!(answer.problem().contains("not ready"));
    }
    assert_eq!(server.get("/api/v1/map").await.json()["pods"], json!([]));
    let readyz = server.get("/readyz").await;
    assert_eq!(readyz.status, 500);
    assert_eq!(
        readyz.text(),
        "[+]ping ok\n[+]identity ok\n[-]sweep failed: fewer than two sweeps are done\nreadyz check failed\n"
    );
    assert_eq!(server.get("/readyz/ping").await.status, 200);
    assert_eq!(server.get("/readyz/sweep").await.status, 500);
    assert_eq!(server.get("/readyz?exclude=sweep").await.status, 200);
    assert_eq!(server.get("/livez").await.text(), "ok");
}

#[tokio::test]
async fn ready_once_is_ready_for_good() {
    let server = server().await;
    server.health.identity_complete.store(false, Ordering::SeqCst);
    assert_eq!(server.get("/readyz").await.status, 500);
    server.health.identity_complete.store(true, Ordering::SeqCst);
    assert_eq!(server.get("/readyz").await.text(), "ok");
    server.health.identity_complete.store(false, Ordering::SeqCst);
    let verbose = server.get("/readyz?verbose").await;
    assert_eq!(verbose.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(verbose.text(), "[+]ping ok\n[+]identity ok\n[+]sweep ok\nreadyz check passed\n");
}

#[tokio::test]
async fn stale_is_not_fresh() {
    let server = server_with(Limits::default(), clock::<2>, Some(node::snapshot())).await;
    // The sweep took 3.12 ms; at an interval of 1 s its figures may be shown for 10 s after that.
    set_clock::<2>(10.003);
    assert_eq!(server.get("/api/v1/pods").await.status, 200);
    set_clock::<2>(10.004);
    for path in ["/api/v1/pods", "/api/v1/pods?sort=name", "/api/v1/containers", "/api/v1/node"] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, "1"), "{path}");
        let detail = answer.problem();
        assert!(detail.contains("the last sweep, number 812, ended 10.0 s ago"), "{detail}");
    }
    let tag = format!("W/\"{PROCESS_START}-812\"");
    let known = server.ask("GET", "/api/v1/pods", &[("If-None-Match", &tag)]).await;
    assert_eq!(known.status, 503, "a client must not go on showing what it has");
    assert_eq!(server.get("/api/v1/map").await.status, 200);
    assert_eq!(server.get("/livez").await.status, 200);
    set_clock::<2>(30.01);
    let livez = server.get("/livez").await;
    assert_eq!(livez.status, 500);
    assert_eq!(
        livez.text(),
        "[+]ping ok\n[-]sweep failed: no sweep for 30.0 s\n[+]resolver ok\nlivez check failed\n"
    );
    assert_eq!(server.get("/healthz").await.status, 500);
    let metrics = server.get("/metrics").await;
    assert!(metrics.text().contains("podvitals_since_sweep_seconds 30.0"), "{}", metrics.text());
}

#[tokio::test]
async fn a_resolver_that_does_not_come_back_is_not_alive() {
    let server = server().await;
    let now = clock::<0>().monotonic;
    for (seconds, status) in [(0, 200), (29, 200), (30, 500)] {
        server.health.begin_resolving(Monotonic::from_nanos(now.as_nanos() - seconds * 1_000_000_000));
        assert_eq!(server.get("/livez").await.status, status, "{seconds} s");
    }
    assert_eq!(
        server.get("/livez").await.text(),
        "[+]ping ok\n[+]sweep ok\n[-]resolver failed: in one step for 30.0 s\nlivez check failed\n"
    );
    assert_eq!(server.get("/api/v1/pods").await.status, 200, "what is known goes on being served");
    let metrics = server.get("/metrics").await;
    assert!(metrics.text().contains("podvitals_resolving_seconds 30.0"), "{}", metrics.text());
    server.health.end_resolving();
    assert_eq!(server.get("/livez").await.status, 200);
}

#[tokio::test]
async fn other_queries_have_a_budget_and_the_default_one_does_not() {
    let mut snapshot = node::snapshot();
    // A budget is counted in pods: many of them make it small enough to be spent here.
    let one = snapshot.pods[0].clone();
    snapshot.pods = vec![one; 200];
    let server = server_with(Limits::default(), clock::<0>, Some(snapshot)).await;
    let mut statuses = Vec::new();
    for count in 0..40 {
        statuses.push(server.get(&format!("/api/v1/pods?labelSelector=x{count}&fields=name")).await.status);
    }
    assert!(
        statuses.iter().all(|status| *status == 200),
        "what selects nothing costs next to nothing: {statuses:?}"
    );
    statuses.clear();
    for field in ["cpu", "memory", "io", "network", "pids", "pressure", "uid"] {
        for other in ["name", "phase", "static", "owner", "startTime", "qosClass"] {
            statuses.push(server.get(&format!("/api/v1/pods?fields={field},{other}")).await.status);
        }
    }
    let served = statuses.iter().take_while(|status| **status == 200).count();
    assert_eq!(served, 31, "{statuses:?}");
    assert!(statuses[served..].iter().all(|status| *status == 429), "{statuses:?}");
    let refused = server.get("/api/v1/pods?sort=name").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "1"));
    assert_eq!(server.get("/api/v1/pods").await.status, 200);
    assert_eq!(
        server.get("/api/v1/pods?fields=cpu,name").await.status,
        200,
        "what was rendered is still there"
    );
}
