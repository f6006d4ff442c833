//! The token of podvitals's own account is replaced, as the kubelet does it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use podvitals_testbed::LOAD;
use podvitals_testbed::wait_for;
use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::reader::Reader;
use crate::stage::ACCOUNT;
use crate::stage::PATIENCE;
use crate::stage::Stage;
use crate::stage::TLS_PORT;
use crate::vigil::full_name;

/// The kubelet replaces a token at four fifths of its life, with its next look at the pod, which is at
/// most a minute and a half later.
const ROTATION: Duration = Duration::from_secs(600);

/// kube looks at the file once a minute.
const REREAD: Duration = Duration::from_secs(75);

/// Set by `make test-rotation`: wait until the API server refuses the old token, which is a minute after
/// its end.
const TO_THE_END: &str = "PODVITALS_TOKEN_TO_THE_END";

/// The last test: the release was installed before all others, and what is missing is waited for.
pub(crate) async fn a_token_that_is_replaced_is_not_missed(stage: Arc<Stage>) {
    let release = Stage::SHORT_LIVED;
    let begun = Instant::now();
    stage.until_rolled_out(release.namespace(), &release.full_name()).await.unwrap();
    let (restarts, id) = release.restarts(&stage).await;
    assert_eq!(restarts, 0);
    let pid = release.pid(&stage).await;
    let first = stage.first_token().to_owned();
    let reader = release.inside(&stage).await;
    let rotated = wait_for("another token", ROTATION, async || {
        let now = token_of(pid)?;
        Ok((now != first).then_some(now))
    });
    let second = rotated.await.unwrap();
    let waited = begun.elapsed().as_secs_f64();
    println!("token: replaced; waited {waited:.0} s for it");
    let (issued, ends) = (claim(&first, "iat"), claim(&first, "exp"));
    assert_eq!(ends - issued, 600, "the shortest life");
    assert!(claim(&second, "iat") > issued + 400, "a token of its own time");

    if std::env::var_os(TO_THE_END).is_some() {
        until_refused(&stage, &first, ends).await;
    }
    assert!(is_accepted(&stage, &second).await.unwrap());

    // Reviews for tokens that nobody has asked about yet: soon with the new token, and answered all along.
    let address = release.on_node(&stage).await.ip.unwrap();
    let changed = Instant::now();
    let reviewed = wait_for("a review with the new token", REREAD, async || {
        let tls = Reader::tls((address, TLS_PORT).into(), Some(stage.scraper_token().await));
        let answer = tls.get("/api/v1/pods").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let last = requests(&stage, "create").pop();
        ensure!(last == Some(credential(&second)), "the last was made with {last:?}");
        Ok(Some(()))
    });
    reviewed.await.unwrap();
    println!("token: in use {:.0} s after it was seen", changed.elapsed().as_secs_f64());
    // And a watch, over a connection that has to be made anew.
    let watches =
        async || reader.metric("podvitals_api_requests_total{verb=\"watch\",resource=\"pods\"}").await;
    let before = watches().await.unwrap();
    stage.cluster.kill_api_server().await.unwrap();
    stage.cluster.start_api_server().await.unwrap();
    let back = Instant::now();
    let up = wait_for("a new watch", PATIENCE, async || {
        let (watches, stale) = (watches().await, reader.metric("podvitals_api_stale_seconds").await);
        ensure!(watches > Some(before) && stale == Some(0.0), "{watches:?} watches, {stale:?} s stale");
        Ok(Some(()))
    });
    up.await.unwrap();
    let took = back.elapsed();
    assert!(took < Duration::from_secs(5), "watching again after {took:?}");
    assert_eq!(requests(&stage, "watch").pop(), Some(credential(&second)), "the watch has the new token");

    let name = "named-by-new-token";
    let container = json!({ "name": "app", "image": LOAD, "imagePullPolicy": "Never", "args": ["idle"] });
    let spec = json!({ "terminationGracePeriodSeconds": 0, "containers": [container] });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": release.namespace() }, "spec": spec,
    });
    stage.cluster.apply(&pod.to_string()).await.unwrap();
    // The scheduler and the kubelet lost the API server too, and take longer to come back.
    let ready = [
        "wait",
        "-n",
        release.namespace(),
        "--for=condition=Ready",
        "--timeout=150s",
        &format!("pod/{name}"),
    ];
    stage.cluster.kubectl(&ready).await.unwrap();
    let made = Instant::now();
    let named = wait_for("the name of a new pod", PATIENCE, async || {
        let list = reader.list().await;
        let name = format!("{}/{name}", release.namespace());
        Ok(list.pods.iter().any(|pod| full_name(pod) == Some(name.clone())).then_some(()))
    });
    named.await.unwrap();
    let named = made.elapsed();
    assert!(named < Duration::from_secs(5), "named {named:?} after it was ready");

    let refused =
        reader.metric("podvitals_source_errors_total{source=\"kube\",reason=\"unauthorized\"}").await;
    println!(
        "token: watching again {took:?}, a pod named {named:?} after it was ready; {refused:?} times refused"
    );
    assert_eq!(refused, Some(0.0), "the token was read anew before it was too late");
    assert_eq!(release.restarts(&stage).await, (0, id));
}

/// Until its end the old one would do; from then on only one that was read anew does.
async fn until_refused(stage: &Stage, token: &str, ends: u64) {
    let left = ends.saturating_sub(now()) + 1;
    sleep(Duration::from_secs(left)).await;
    let begun = Instant::now();
    let refused = wait_for("the old token to be refused", PATIENCE, async || {
        ensure!(!is_accepted(stage, token).await?, "still accepted");
        Ok(Some(()))
    });
    refused.await.unwrap();
    println!("token: waited {left} s for the old one's end, refused {:?} after it", begun.elapsed());
}

/// With which credentials the release made its requests of that kind, in their order.
fn requests(stage: &Stage, verb: &str) -> Vec<String> {
    let release = Stage::SHORT_LIVED;
    let events = stage.cluster.audit(release.namespace(), &release.full_name()).unwrap();
    let events = events.iter().filter(|event| event["verb"] == verb);
    let id = |event: &Value| event["user"]["extra"]["authentication.kubernetes.io/credential-id"][0].clone();
    events.map(|event| id(event).as_str().unwrap_or_default().to_owned()).collect()
}

/// As the API server calls the token: `JTI=ea28ed49-…`.
fn credential(token: &str) -> String {
    format!("JTI={}", claims(token)["jti"].as_str().unwrap())
}

/// The token in the container whose process that is.
pub(crate) fn token_of(pid: u32) -> anyhow::Result<String> {
    Ok(std::fs::read_to_string(format!("/proc/{pid}/root{ACCOUNT}/token"))?)
}

async fn is_accepted(stage: &Stage, token: &str) -> anyhow::Result<bool> {
    let kind = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview" });
    let mut review = kind;
    review["spec"] = json!({ "token": token });
    let create = ["create", "-f", "-", "-o", "json"];
    let said = stage.cluster.kubectl_with_stdin(&create, Some(&review.to_string())).await?;
    Ok(serde_json::from_str::<Value>(&said)?["status"]["authenticated"] == true)
}

/// The middle part of `header.claims.signature`.
fn claims(token: &str) -> Value {
    serde_json::from_slice(&decode(token.split('.').nth(1).unwrap())).unwrap()
}

fn claim(token: &str, name: &str) -> u64 {
    claims(token)[name].as_u64().unwrap()
}

/// base64url, <https://www.rfc-editor.org/rfc/rfc4648#section-5>, without padding.
fn decode(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digit = |byte: u8| ALPHABET.iter().position(|it| *it == byte).unwrap() as u32;
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes() {
        bits = bits << 6 | digit(byte);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    bytes
}

fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap().as_secs()
}
