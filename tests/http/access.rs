//! Access control as clients meet it: who is let in, who is not and why, with and without an API server.

use std::sync::atomic::Ordering;
use std::time::Duration;

use podvitals::config::TlsFiles;
use podvitals::model::health::Decision;
use podvitals::serve::Access;
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::json;
use tokio::io::AsyncReadExt;

use super::client::Server;
use super::secure::{Api, Authority, Client, Mount, get_on, serve};

/// A guarded server, the API server it asks, and a client without certificate.
struct Stage {
    api: Api,
    server: Server,
    client: Client,
    clients: Authority,
    servers: Authority,
    mount: Mount,
}

async fn stage(name: &str) -> Stage {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let (api, mount) = (Api::start().await, Mount::new(name));
    let leaf = servers.server();
    mount.swap(&[("tls.crt", &leaf.certificate), ("tls.key", &leaf.key), ("ca.crt", &clients.pem)]);
    let api_server = Some(api.client());
    let access = Access { files: mount.files(), api_server, node_name: "n1".into(), ..Access::default() };
    let server = serve(access).await;
    let client = Client::trusting(&servers.certificate, None);
    Stage { api, server, client, clients, servers, mount }
}

impl Stage {
    async fn get(&self, path: &str, token: Option<&str>) -> super::client::Answer {
        self.client.get(&self.server, path, token).await
    }

    fn decisions(&self) -> [u64; 4] {
        [Decision::Allowed, Decision::Denied, Decision::Unauthenticated, Decision::Unavailable]
            .map(|decision| self.server.health.decisions(decision))
    }
}

#[tokio::test]
async fn health_is_open_and_nothing_else() {
    let stage = stage("open").await;
    for path in ["/livez", "/readyz", "/healthz", "/readyz?verbose", "/livez/ping"] {
        assert_eq!(stage.get(path, None).await.status, 200, "{path}");
    }
    assert_eq!(stage.decisions(), [0; 4], "nothing was to be decided");
    for path in
        ["/", "/metrics", "/api/v1/pods", "/version", "/openapi.json", "/nothing", "/livezz", "//livez"]
    {
        let answer = stage.get(path, None).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer"), "{path}");
        assert!(answer.problem().contains("Authorization: Bearer"), "{path}");
    }
    assert_eq!(stage.decisions(), [0, 0, 8, 0]);
    assert!(stage.api.asked().is_empty(), "nobody is asked about nothing");
}

#[tokio::test]
async fn cadvisor_s_routes_need_a_right_to_the_path_and_say_so_in_its_words() {
    let stage = stage("cadvisor").await;
    stage.api.admit("path", "reader");
    stage.api.grant("reader", "/api/v2.1/stats");
    for path in ["/api/", "/api/v1.3/docker/x", "/api/v2.1/stats", "/api/v2.0"] {
        let answer = stage.get(path, None).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (401, "text/plain; charset=utf-8"),
            "{path}"
        );
    }
    assert_eq!(stage.get("/api/v2.1/stats?recursive=true", Some("path")).await.status, 200);
    let denied = stage.get("/api/v2.1/machine", Some("path")).await;
    assert!(denied.status == 403 && denied.text().contains("cannot get path \"/api/v2.1/machine\""));
}

#[tokio::test]
async fn a_right_to_the_resource_or_to_the_path_opens() {
    let stage = stage("rights").await;
    stage.api.admit("prom", "prometheus");
    stage.api.grant("prometheus", "nodes/metrics n1");
    stage.api.admit("path", "reader");
    stage.api.grant("reader", "/metrics");
    stage.api.grant("reader", "/api/v1/pods");
    stage.api.admit("elsewhere", "stranger");
    stage.api.grant("stranger", "nodes/metrics n2");

    assert_eq!(stage.get("/metrics", Some("prom")).await.status, 200);
    assert_eq!(stage.get("/metrics", Some("path")).await.status, 200);
    assert_eq!(stage.get("/api/v1/pods", Some("path")).await.json()["node"], "n1");
    let denied = stage.get("/api/v1/pods", Some("prom")).await;
    assert_eq!(denied.status, 403);
    assert_eq!(
        denied.problem(),
        "User \"system:serviceaccount:default:prometheus\" cannot get path \"/api/v1/pods\""
    );
    let denied = stage.get("/metrics", Some("elsewhere")).await;
    assert_eq!(
        denied.problem(),
        "User \"system:serviceaccount:default:stranger\" cannot get resource \"nodes/metrics\" of \"n1\" in API \
         group \"\" at the cluster scope, nor get path \"/metrics\""
    );
    assert_eq!(stage.decisions(), [3, 2, 0, 0]);

    // All that is known of a user is handed on to whoever decides about rights.
    let asked = stage.api.asked();
    assert_eq!(asked[0], json!({ "token": "prom" }));
    assert_eq!(
        asked[1],
        json!({
            "user": "system:serviceaccount:default:prometheus",
            "uid": "uid-of-prometheus",
            "groups": ["system:serviceaccounts", "system:authenticated"],
            "extra": { "authentication.kubernetes.io/pod-name": ["scraper-0"] },
            "resourceAttributes": {
                "verb": "get", "version": "v1", "resource": "nodes", "subresource": "metrics", "name": "n1"
            },
        })
    );
    let paths =
        asked.iter().filter(|it| it["nonResourceAttributes"] == json!({"path": "/metrics", "verb": "get"}));
    assert_eq!(paths.count(), 2, "after the resource, for whoever has no right to it");
    // Everybody with an account may read /api/* of an API server: that does not open ours.
    let mut of_paths = asked.iter().filter(|it| it.get("nonResourceAttributes").is_some());
    assert!(of_paths.all(|it| it["groups"] == json!(["system:serviceaccounts"])));
    let counted = stage.server.health.api_reviews.load(Ordering::SeqCst);
    assert_eq!(usize::try_from(counted).unwrap(), asked.len());
}

#[tokio::test]
async fn a_token_nobody_vouches_for_is_refused_and_soon_not_asked_about() {
    let stage = stage("bad").await;
    for _ in 0..20 {
        let answer = stage.get("/metrics", Some("expired")).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer"));
        assert!(answer.problem().contains("invalid or expired"));
    }
    assert_eq!(stage.api.asked().len(), 1);
    assert_eq!(stage.decisions(), [0, 0, 20, 0]);
}

#[tokio::test]
async fn what_is_no_token_reaches_nobody() {
    let stage = stage("no-token").await;
    let long = format!("Authorization: Bearer {}\r\n", "x".repeat(6200));
    for (headers, status) in [
        ("Authorization: Basic cHJvbTpwcm9t\r\n", 401),
        ("Authorization: Bearer \r\n", 400),
        ("Authorization: Bearer a b\r\n", 400),
        ("Authorization: Bearer a\r\nAuthorization: Bearer a\r\n", 400),
        (long.as_str(), 400),
    ] {
        let answer = stage.client.ask(&stage.server, "GET", "/metrics", headers).await;
        assert_eq!(answer.status, status, "{headers:.60}");
        answer.problem();
    }
    assert!(stage.api.asked().is_empty());
    assert_eq!(stage.decisions(), [0, 0, 5, 0]);
}

#[tokio::test]
async fn what_was_said_is_not_asked_again_and_all_at_once_ask_once() {
    let stage = stage("cache").await;
    stage.api.admit("prom", "prometheus");
    stage.api.grant("prometheus", "nodes/metrics n1");
    stage.api.delay(Duration::from_millis(100));
    let get = || stage.get("/metrics", Some("prom"));
    let (a, b, c, d, e) = tokio::join!(get(), get(), get(), get(), get());
    assert_eq!([a, b, c, d, e].map(|answer| answer.status), [200; 5]);
    assert_eq!(stage.api.asked().len(), 2, "one review of the token, one of the right");
    for _ in 0..10 {
        assert_eq!(stage.get("/metrics", Some("prom")).await.status, 200);
    }
    assert_eq!(stage.api.asked().len(), 2);
}

#[tokio::test]
async fn without_the_api_server_what_was_allowed_goes_on_and_the_rest_waits() {
    let mut stage = stage("outage").await;
    stage.api.admit("prom", "prometheus");
    stage.api.grant("prometheus", "nodes/metrics n1");
    assert_eq!(stage.get("/metrics", Some("prom")).await.status, 200);
    stage.api.stop().await;
    assert_eq!(stage.get("/metrics", Some("prom")).await.status, 200);
    let answer = stage.get("/metrics", Some("other")).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    assert!(answer.problem().contains("cannot be checked now"), "{}", answer.problem());
    let answer = stage.get("/api/v1/pods", Some("prom")).await;
    assert_eq!(answer.status, 503, "a right that was never looked up");
    assert_eq!(stage.decisions(), [2, 0, 0, 2]);
    assert_eq!(stage.get("/livez", None).await.status, 200);

    stage.api.resume().await;
    stage.api.admit("other", "prometheus");
    let back = async { while stage.get("/metrics", Some("other")).await.status != 200 {} };
    tokio::time::timeout(Duration::from_secs(10), back).await.expect("the API server is asked again");
}

#[tokio::test]
async fn a_client_does_not_learn_what_is_wrong_with_our_api_server() {
    let mut stage = stage("forbidden").await;
    let detail =
        "this token cannot be checked now: the API server does not review it; the log of podvitals says why";
    for status in [Some(403), Some(401), Some(500)] {
        stage.api.refuse(status);
        let answer = stage.get("/metrics", Some("prom")).await;
        assert_eq!((answer.status, answer.problem()), (503, detail.to_owned()), "{status:?}");
    }
    stage.api.stop().await;
    let answer = stage.get("/metrics", Some("prom")).await;
    assert_eq!((answer.status, answer.problem()), (503, detail.to_owned()));
    assert_eq!(stage.decisions(), [0, 0, 0, 4]);
}

#[tokio::test]
async fn made_up_tokens_do_not_flood_the_api_server_nor_lock_out_the_known() {
    let stage = stage("flood").await;
    stage.api.admit("prom", "prometheus");
    stage.api.grant("prometheus", "nodes/metrics n1");
    assert_eq!(stage.get("/metrics", Some("prom")).await.status, 200);
    let mut statuses = std::collections::BTreeMap::<u16, usize>::new();
    let started = tokio::time::Instant::now();
    let mut flood = stage.client.connect(&stage.server).await.unwrap();
    for n in 0..500 {
        let header = format!("Authorization: Bearer made-up-{n}\r\n");
        let answer = get_on(&mut flood, "/metrics", &header).await;
        *statuses.entry(answer.status).or_default() += 1;
        if answer.status == 429 {
            assert_eq!(answer.header("retry-after"), "1");
        }
    }
    let most = 20 + usize::try_from(started.elapsed().as_millis() / 100).unwrap() + 1;
    assert_eq!(statuses.values().sum::<usize>(), 500);
    assert!(statuses[&401] >= 19 && statuses[&401] <= most, "{statuses:?} in {:?}", started.elapsed());
    assert!(statuses[&429] > 300, "{statuses:?}");
    assert!(stage.api.asked().len() <= 2 + most);
    let throttled = stage.server.health.decisions(Decision::Throttled);
    assert_eq!(usize::try_from(throttled).unwrap(), statuses[&429]);
    assert_eq!(stage.decisions()[3], 0, "the API server is not to blame");
    // Another address is not held up.
    stage.api.admit("new", "prometheus");
    let elsewhere = stage.client.clone().from([127, 0, 0, 2]);
    assert_eq!(elsewhere.get(&stage.server, "/metrics", Some("new")).await.status, 200);
    assert_eq!(stage.get("/metrics", Some("prom")).await.status, 200);
}

#[tokio::test]
async fn a_client_certificate_opens_everything() {
    let stage = stage("certificate").await;
    let known = Client::trusting(&stage.servers.certificate, Some(&stage.clients.client()));
    for path in ["/metrics", "/api/v1/pods", "/"] {
        assert_eq!(known.get(&stage.server, path, None).await.status, 200, "{path}");
    }
    assert_eq!(stage.decisions(), [3, 0, 0, 0]);
    assert!(stage.api.asked().is_empty());
}

#[tokio::test]
async fn a_certificate_that_does_not_count_ends_the_handshake() {
    let stage = stage("stranger").await;
    let stranger = Authority::new("stranger");
    let expired = stage.clients.issue(ExtendedKeyUsagePurpose::ClientAuth, 2020);
    let of_server = stage.clients.issue(ExtendedKeyUsagePurpose::ServerAuth, 2090);
    for leaf in [stranger.client(), expired, of_server] {
        let client = Client::trusting(&stage.servers.certificate, Some(&leaf));
        // TLS 1.3: the client is done before the server has looked at its certificate.
        let ended = match client.connect(&stage.server).await {
            Err(error) => error,
            Ok(mut stream) => stream.read(&mut [0]).await.unwrap_err(),
        };
        assert!(ended.to_string().contains("alert"), "{ended}");
    }
    assert_eq!(stage.decisions(), [0; 4]);
}

#[tokio::test]
async fn a_new_authority_counts_at_once_also_for_old_connections() {
    let stage = stage("new-ca").await;
    let old = Client::trusting(&stage.servers.certificate, Some(&stage.clients.client()));
    let mut kept = old.connect(&stage.server).await.unwrap();
    assert_eq!(get_on(&mut kept, "/api/v1/node", "").await.status, 200);
    let (others, leaf) = (Authority::new("others"), stage.servers.server());
    stage.mount.swap(&[("tls.crt", &leaf.certificate), ("tls.key", &leaf.key), ("ca.crt", &others.pem)]);
    let new = Client::trusting(&stage.servers.certificate, Some(&others.client()));
    let welcome = async {
        loop {
            let stream = new.connect(&stage.server).await;
            if let Ok(mut stream) = stream
                && tokio::time::timeout(Duration::from_millis(100), stream.read(&mut [0])).await.is_err()
            {
                return get_on(&mut stream, "/api/v1/node", "").await.status;
            }
        }
    };
    let status =
        tokio::time::timeout(Duration::from_secs(10), welcome).await.expect("the new authority counts");
    assert_eq!(status, 200);
    assert_eq!(get_on(&mut kept, "/api/v1/node", "").await.status, 401, "the old one does not");
}

#[tokio::test]
async fn without_an_api_server_only_certificates_open() {
    let (servers, clients, mount) =
        (Authority::new("servers"), Authority::new("clients"), Mount::new("only-certificates"));
    let leaf = servers.server();
    mount.swap(&[("tls.crt", &leaf.certificate), ("tls.key", &leaf.key), ("ca.crt", &clients.pem)]);
    let server = serve(Access { files: mount.files(), node_name: "n1".into(), ..Access::default() }).await;
    let nobody = Client::trusting(&servers.certificate, None);
    let answer = nobody.get(&server, "/metrics", Some("x")).await;
    assert!(answer.status == 401 && answer.problem().contains("client certificate"));
    let known = Client::trusting(&servers.certificate, Some(&clients.client()));
    assert_eq!(known.get(&server, "/metrics", Some("x")).await.status, 200);
}

#[tokio::test]
async fn insecure_public_asks_nobody_for_anything() {
    let api = Api::start().await;
    let servers = Authority::new("servers");
    let mount = Mount::new("public");
    mount.identity(&servers.server());
    let access = Access {
        files: TlsFiles { client_ca: None, ..mount.files() },
        api_server: Some(api.client()),
        insecure_public: true,
        ..Access::default()
    };
    let server = serve(access).await;
    let client = Client::trusting(&servers.certificate, None);
    assert_eq!(client.get(&server, "/api/v1/pods", None).await.status, 200);
    assert_eq!(client.get(&server, "/api/v1/pods", Some("x")).await.status, 200);
    assert!(api.asked().is_empty());
    assert_eq!(server.health.decisions(Decision::Allowed), 0, "nothing was to be decided");
}
