//! Who is let in, and what podvitals itself is let do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::accounts::Account;
use crate::reader::Reader;
use crate::stage::NAMESPACE;
use crate::stage::PLAIN_PORT;
use crate::stage::RELEASE;
use crate::stage::Stage;

/// What the chart's ClusterRole grants in its default profile.
const GRANTED: [&str; 3] = [
    "pods [] [] [get list watch]",
    "subjectaccessreviews.authorization.k8s.io [] [] [create]",
    "tokenreviews.authentication.k8s.io [] [] [create]",
];

/// What Kubernetes grants every ServiceAccount: ClusterRoles `system:basic-user`, `system:discovery`,
/// `system:public-info-viewer` and `system:service-account-issuer-discovery`.
const EVERYBODYS: [&str; 18] = [
    "selfsubjectaccessreviews.authorization.k8s.io [] [] [create]",
    "selfsubjectreviews.authentication.k8s.io [] [] [create]",
    "selfsubjectrulesreviews.authorization.k8s.io [] [] [create]",
    "[/.well-known/openid-configuration/] [] [get]",
    "[/.well-known/openid-configuration] [] [get]",
    "[/api/*] [] [get]",
    "[/api] [] [get]",
    "[/apis/*] [] [get]",
    "[/apis] [] [get]",
    "[/healthz] [] [get]",
    "[/livez] [] [get]",
    "[/openapi/*] [] [get]",
    "[/openapi] [] [get]",
    "[/openid/v1/jwks/] [] [get]",
    "[/openid/v1/jwks] [] [get]",
    "[/readyz] [] [get]",
    "[/version/] [] [get]",
    "[/version] [] [get]",
];

/// What a stolen token would be used for: verb, resource, subresource.
const FORBIDDEN: [[&str; 3]; 15] = [
    ["get", "secrets", ""],
    ["get", "configmaps", ""],
    ["get", "nodes", ""],
    ["get", "nodes", "proxy"],
    ["get", "nodes", "pods"],
    ["get", "nodes", "metrics"],
    ["get", "pods", "log"],
    ["create", "pods", "exec"],
    ["get", "pods", "exec"],
    ["create", "pods", ""],
    ["delete", "pods", ""],
    ["patch", "pods", "ephemeralcontainers"],
    ["create", "pods", "eviction"],
    ["create", "serviceaccounts", "token"],
    ["impersonate", "users", ""],
];

pub(crate) async fn the_account_may_do_what_the_chart_grants_and_no_more(stage: Arc<Stage>) {
    let account = format!("--as=system:serviceaccount:{NAMESPACE}:{RELEASE}");
    for namespace in [NAMESPACE, "kube-system"] {
        let arguments = ["auth", "can-i", "--list", "--no-headers", &account, "-n", namespace];
        let said = stage.cluster.kubectl(&arguments).await.unwrap();
        let lines = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        let may: BTreeSet<String> = lines.filter(|line| !line.is_empty()).collect();
        let expected = GRANTED.iter().chain(&EVERYBODYS).map(|line| (*line).to_owned()).collect();
        assert_eq!(may, expected, "in {namespace}: {said}");
    }
    let ask = async |[verb, resource, subresource]: [&str; 3]| {
        let subresource = format!("--subresource={subresource}");
        let arguments = ["auth", "can-i", verb, resource, &subresource, &account, "--all-namespaces"];
        // It says no by its exit code, and on standard output.
        match stage.cluster.kubectl(&arguments).await {
            Ok(said) => said.trim().to_owned(),
            Err(error) => format!("{error:#}"),
        }
    };
    assert_eq!(ask(["watch", "pods", ""]).await, "yes");
    for (words, said) in FORBIDDEN.iter().zip(join_all(FORBIDDEN.map(ask)).await) {
        assert!(said.ends_with("\nno"), "{words:?}: {said}");
    }
}

/// The status of an answer to this token at this path.
async fn status(reader: &Reader, path: &str) -> u16 {
    reader.get(path).await.status
}

pub(crate) async fn clients_are_told_apart(stage: Arc<Stage>) {
    let cluster = &stage.cluster;
    let nobody = Account::make(cluster, "nobody").await;
    let metrics = json!([{ "apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"] }]);
    let by_resource = Account::make(cluster, "by-resource").await.allow(&metrics).await;
    let pods = json!([{ "nonResourceURLs": ["/api/v1/pods"], "verbs": ["get"] }]);
    let by_path = Account::make(cluster, "by-path").await.allow(&pods).await;
    let by_chart = Account::make(cluster, "by-chart").await.bind(&format!("{RELEASE}-reader")).await;
    let stale = Account::make(cluster, "stale").await;
    let stale_token = stale.token().await;
    stale.remove().await;

    let anybody = stage.scraper(None).await;
    for (account, metrics, pods, stats) in [
        (&nobody, 403, 403, 403),
        (&by_resource, 200, 403, 403),
        (&by_path, 403, 200, 403),
        (&by_chart, 200, 200, 404),
    ] {
        let reader = anybody.with_token(account.token().await);
        let seen = [
            status(&reader, "/metrics").await,
            status(&reader, "/api/v1/pods").await,
            status(&reader, "/stats/nowhere").await,
        ];
        assert_eq!(seen, [metrics, pods, stats]);
    }
    let refused = anybody.with_token(nobody.token().await).get("/api/v1/pods").await;
    assert!(refused.body.contains("system:serviceaccount:default:nobody"), "{}", refused.body);
    assert!(refused.head.to_ascii_lowercase().contains("application/problem+json"), "{}", refused.head);

    let made_up = "eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.eyJzdWIiOiJzeXN0ZW06YWRtaW4ifQ.c2lnbmF0dXJl".to_owned();
    let refused = [stale_token, made_up, "word".to_owned()].map(|token| anybody.with_token(token));
    for reader in refused.iter().chain([&anybody]) {
        for path in ["/metrics", "/api/v1/pods", "/", "/nowhere"] {
            let answer = reader.get(path).await;
            assert_eq!(answer.status, 401, "{path}: {}", answer.body);
            let mut lines = answer.head.lines().map(str::to_ascii_lowercase);
            assert!(lines.any(|line| line.starts_with("www-authenticate: bearer")), "{}", answer.head);
        }
        assert_eq!([status(reader, "/livez").await, status(reader, "/readyz").await], [200, 200]);
    }
    for account in [nobody, by_resource, by_path, by_chart] {
        account.remove().await;
    }
}

pub(crate) async fn without_tls_nobody_gets_anything(stage: Arc<Stage>) {
    let scraper = stage.scraper(None).await;
    let plain = Reader::plain(scraper.address());
    for path in ["/livez", "/api/v1/pods"] {
        let answer = plain.get(path).await;
        assert_eq!(answer.status, 400, "{}", answer.head);
        assert!(answer.body.contains("HTTP request to an HTTPS server"), "{}", answer.body);
    }
    // What is neither is cut, and the next client is served.
    assert!(plain.exchange(&[0; 64]).await.is_err(), "an answer to nonsense");
    assert_eq!(scraper.get("/livez").await.status, 200);
    // The plain listener is on the pod's loopback, where port-forward comes in.
    let at_pod = Reader::plain((scraper.address().ip(), PLAIN_PORT).into());
    let refused = at_pod.connect().await.unwrap_err();
    let kind = refused.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    assert_eq!(kind, Some(std::io::ErrorKind::ConnectionRefused));
    let (_forward, forwarded) = stage.port_forward().await;
    assert_eq!(forwarded.list().await.node, stage.cluster.node_name());
}

pub(crate) async fn a_hundred_scrapes_cost_one_pair_of_reviews(stage: Arc<Stage>) {
    const OWN: &str = "podvitals_api_requests_total{verb=\"create\",resource=\"reviews\"}";
    const ALLOWED: &str = "podvitals_access_decisions_total{decision=\"allowed\"}";
    let account = Account::make(&stage.cluster, "often").await.bind(&format!("{RELEASE}-reader")).await;
    let scraper = stage.scraper(Some(account.token().await)).await;
    let (_forward, own) = stage.port_forward().await;
    let counts = async || {
        let [reviews, allowed] = [own.metric(OWN).await.unwrap(), own.metric(ALLOWED).await.unwrap()];
        (reviews, allowed, token_reviews_at_api_server(&stage).await)
    };
    let before = counts().await;
    let mut line = scraper.line().await.unwrap();
    for _ in 0..50 {
        assert_eq!(line.get("/api/v1/pods").await.unwrap().status, 200);
    }
    // Other connections, too: it is the token that is remembered.
    for _ in 0..5 {
        let others = join_all((0..10).map(|_| scraper.get("/api/v1/pods"))).await;
        assert!(others.iter().all(|answer| answer.status == 200));
    }
    let after = counts().await;
    assert_eq!(after.1 - before.1, 100.0, "each was decided upon");
    assert_eq!(after.0 - before.0, 2.0, "one TokenReview and one SubjectAccessReview");
    // Nobody else asks for one here: the kubelet knows its clients by certificate.
    assert_eq!(after.2 - before.2, 1.0, "as the API server counts them");
    account.remove().await;
}

/// `apiserver_request_total{…resource="tokenreviews",…verb="POST"…} 7`, over all codes.
async fn token_reviews_at_api_server(stage: &Stage) -> f64 {
    let text = stage.cluster.kubectl(&["get", "--raw", "/metrics"]).await.unwrap();
    let lines = text.lines().filter(|line| {
        line.starts_with("apiserver_request_total{") && line.contains("resource=\"tokenreviews\"")
    });
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

pub(crate) async fn the_command_reads_over_tls_with_a_token(stage: Arc<Stage>) {
    let account = Account::make(&stage.cluster, "command").await.bind(&format!("{RELEASE}-reader")).await;
    let server = format!("https://{}", stage.scraper(None).await.address());
    let file = stage.cluster.testbed().scratch().join("token");
    std::fs::write(&file, account.token().await).unwrap();
    let run = async |more: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_podvitals"));
        command.args(["get", "pods", "-A", "-o", "name", "--server", &server]).args(more);
        command.env_remove("KUBECONFIG").kill_on_drop(true);
        tokio::time::timeout(Duration::from_secs(30), command.output()).await.unwrap().unwrap()
    };
    let file = file.to_str().unwrap();
    let shown = run(&["--token-file", file, "--insecure-skip-tls-verify"]).await;
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let own = stage.daemon_pod().await;
    assert!(text.lines().any(|line| line.ends_with(&own)), "{text}");
    // Its certificate is signed by itself, which nobody who checks believes.
    for more in [&["--token-file", file][..], &["--insecure-skip-tls-verify"]] {
        let refused = run(more).await;
        assert_eq!(refused.status.code(), Some(1), "{more:?}");
        assert!(refused.stdout.is_empty() && !refused.stderr.is_empty());
    }
    account.remove().await;
}
