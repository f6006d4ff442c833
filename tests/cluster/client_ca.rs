//! A second release, with a certificate and an authority of the operator's own, and what happens when the
//! certificate is replaced.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use anyhow::ensure;
use podvitals_testbed::wait_for;
use serde_json::Value;

use crate::certificates::Authority;
use crate::reader::Reader;
use crate::stage::PATIENCE;
use crate::stage::Stage;
use crate::stage::TLS_PORT;

const NAMESPACE: &str = "client-ca";
const RELEASE: &str = "own-ca";
/// What the chart calls everything of that release.
const NAME: &str = "own-ca-podvitals";

pub(crate) async fn certificates_open_and_are_replaced_without_a_restart(stage: Arc<Stage>) {
    let cluster = &stage.cluster;
    let (ours, theirs) = (Authority::make("ours"), Authority::make("theirs"));
    let first = ours.server("first.example");
    stage.make_namespace(NAMESPACE).await.unwrap();
    first.put(cluster, NAMESPACE, "serving").await;
    ours.put(cluster, NAMESPACE, "clients").await;
    let values = ["--set", "tls.secretName=serving", "--set", "tls.clientCASecretName=clients"];
    stage.install(RELEASE, NAMESPACE, &values).await.unwrap();
    stage.until_rolled_out(NAMESPACE, NAME).await.unwrap();

    let (pod, before) = the_pod(&stage).await;
    let on_node = cluster.find_on_node(NAMESPACE, &pod).await.unwrap().unwrap();
    let address = (on_node.ip.unwrap(), TLS_PORT).into();
    let anybody = Reader::tls(address, None);
    let let_in = Reader::tls_as(address, None, Some(ours.client("operator").identity()));
    let stranger = Reader::tls_as(address, None, Some(theirs.client("operator").identity()));

    assert_eq!(anybody.served_certificate().await.unwrap(), first.der());
    for path in ["/api/v1/pods", "/metrics"] {
        assert_eq!(let_in.get(path).await.status, 200, "{path}");
        assert_eq!(anybody.get(path).await.status, 401, "{path}");
        // TLS 1.3 tells a client after the fact: it may have sent its request by then.
        let refused = stranger.try_get(path).await;
        assert!(
            refused.as_ref().is_err_and(|error| format!("{error:#}").contains("fatal alert")),
            "{refused:?}"
        );
    }

    let mut kept = let_in.line().await.unwrap();
    assert_eq!(kept.get("/api/v1/pods").await.unwrap().status, 200);
    let second = ours.server("second.example");
    second.put(cluster, NAMESPACE, "serving").await;
    // The kubelet brings a changed secret with the pod's next sync, once a minute, or at once when the pod
    // itself is changed. Of the secret it may hear a moment later than of the pod.
    let mut syncs = 0;
    wait_for("the new certificate", PATIENCE, async || {
        syncs += 1;
        let sync = format!("podvitals.test/sync={syncs}");
        cluster.kubectl(&["annotate", "--overwrite", "pod", "-n", NAMESPACE, &pod, &sync]).await?;
        // An idle connection is not kept for ever; this one is to be older than the certificate.
        ensure!(kept.get("/livez").await?.status == 200, "/livez on the old connection");
        Ok((anybody.served_certificate().await? == second.der()).then_some(()))
    })
    .await
    .unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(
        kept.get("/api/v1/pods").await.unwrap().status,
        200,
        "on the connection that was there before"
    );
    assert_eq!(let_in.get("/api/v1/pods").await.status, 200);

    let (_, after) = the_pod(&stage).await;
    assert_eq!(before["metadata"]["uid"], after["metadata"]["uid"]);
    for pod in [&before, &after] {
        assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
    }
    cluster.helm(&["uninstall", RELEASE, "-n", NAMESPACE]).await.unwrap();
    cluster.kubectl(&["delete", "namespace", NAMESPACE, "--wait=false"]).await.unwrap();
}

async fn the_pod(stage: &Stage) -> (String, Value) {
    let selector = format!("app.kubernetes.io/instance={RELEASE}");
    let mut list = stage.cluster.get_json(&["pods", "-n", NAMESPACE, "-l", &selector]).await.unwrap();
    let pod = list["items"][0].take();
    let name = pod["metadata"]["name"].as_str().context("no pod").unwrap().to_owned();
    (name, pod)
}
