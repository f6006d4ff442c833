//! What all tests share: a cluster, the image in its runtime, and one release of the chart.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use podvitals_testbed::Cluster;
use podvitals_testbed::PortForward;
use podvitals_testbed::suite;
use podvitals_testbed::wait_for;
use serde_json::json;

use crate::accounts::until_it_may_read;
use crate::reader::Reader;
use crate::release::Release;
use crate::token::token_of;

/// The release, and so the DaemonSet, the ServiceAccount and all else the chart makes.
pub(crate) const RELEASE: &str = "podvitals";

/// Where it is installed.
pub(crate) const NAMESPACE: &str = "podvitals";

/// The listener behind TLS and access control.
pub(crate) const TLS_PORT: u16 = 9791;

/// The plain listener on the pod's loopback.
pub(crate) const PLAIN_PORT: u16 = 9790;

/// Where a pod finds its token.
pub(crate) const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Everything here takes a few seconds on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Service account of those who scrape, in the namespace `default`.
const SCRAPER: &str = "scraper";

pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    /// The image's name, as the chart is told it: registry, repository, tag.
    pub(crate) image: [String; 3],
    /// The first token of the release whose token lives for ten minutes.
    first_token: String,
}

impl Stage {
    /// One that is told the name of a node that is not its own.
    pub(crate) const MISNAMED: Release = Release::new("misnamed", "misnamed");

    /// One whose token lives for ten minutes.
    pub(crate) const SHORT_LIVED: Release = Release::new("shortlived", "shortlived");

    pub(crate) async fn set() -> anyhow::Result<Self> {
        let (name, archive) = (variable("PODVITALS_IMAGE_NAME")?, variable("PODVITALS_IMAGE_TAR")?);
        // Another name lets several suites run side by side.
        let own = std::env::var("PODVITALS_TEST_CLUSTER").unwrap_or_else(|_| "cluster-test".to_owned());
        let cluster = Cluster::start_telling(&own, |step| println!("{step}")).await?;
        cluster.import_image(&PathBuf::from(archive)).await?;
        let image = parts_of(&name).with_context(|| name.clone())?;
        let mut stage = Self { cluster, image, first_token: String::new() };
        stage.make_namespace(NAMESPACE).await?;
        stage.install(RELEASE, NAMESPACE, &[]).await?;
        stage.until_rolled_out(NAMESPACE, RELEASE).await?;
        stage.install_slow_ones().await?;
        stage.first_token = token_of(Self::SHORT_LIVED.pid(&stage).await)?;
        Ok(stage)
    }

    pub(crate) fn first_token(&self) -> &str {
        &self.first_token
    }

    /// Those whose tests have to wait for minutes, which begin now.
    async fn install_slow_ones(&self) -> anyhow::Result<()> {
        // The chart gives the right one in a variable: a flag wins.
        let elsewhere = "extraArgs=[\"--node-name=elsewhere\"]";
        Self::MISNAMED.install(self, &["--set-json", elsewhere]).await?;
        // In place of the volume that every pod gets: the same, with the shortest life a token can have.
        let token = json!({ "serviceAccountToken": { "path": "token", "expirationSeconds": 600 } });
        let ca = json!({ "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] });
        let namespace = json!({ "path": "namespace", "fieldRef": { "fieldPath": "metadata.namespace" } });
        let sources = json!([token, { "configMap": ca }, { "downwardAPI": { "items": [namespace] } }]);
        let volumes = json!([{ "name": "account", "projected": { "sources": sources, "defaultMode": 292 } }]);
        let mounts = json!([{ "name": "account", "mountPath": ACCOUNT, "readOnly": true }]);
        let (volumes, mounts) = (format!("extraVolumes={volumes}"), format!("extraVolumeMounts={mounts}"));
        Self::SHORT_LIVED.install(self, &["--set-json", &volumes, "--set-json", &mounts]).await
    }

    /// A namespace whose pods may mount host paths, as the README says it has to be.
    pub(crate) async fn make_namespace(&self, name: &str) -> anyhow::Result<()> {
        self.cluster.create_namespace_with(name, ("pod-security.kubernetes.io/enforce", "privileged")).await
    }

    /// What every release on this cluster is told: which image, and where the API server is, since
    /// nothing here routes a service's address.
    pub(crate) fn values(&self) -> Vec<String> {
        let [registry, repository, tag] = &self.image;
        let (host, port) = self.cluster.api_address_for_pods();
        vec![
            format!("image.registry={registry}"),
            format!("image.repository={repository}"),
            format!("image.tag={tag}"),
            "image.pullPolicy=Never".to_owned(),
            format!("kubernetesServiceHost={host}"),
            format!("kubernetesServicePort={port}"),
        ]
    }

    /// `helm install`, or an upgrade of what is installed; `more` are further arguments.
    pub(crate) async fn install(
        &self,
        release: &str,
        namespace: &str,
        more: &[&str],
    ) -> anyhow::Result<String> {
        let chart = chart();
        let mut arguments = vec!["upgrade", "--install", release, chart.to_str().context("chart")?];
        arguments.extend(["--namespace", namespace]);
        let values = self.values();
        arguments.extend(values.iter().flat_map(|value| ["--set-string", value.as_str()]));
        arguments.extend(more);
        self.cluster.helm(&arguments).await
    }

    /// Waits until the DaemonSet's pod is ready.
    pub(crate) async fn until_rolled_out(&self, namespace: &str, daemon_set: &str) -> anyhow::Result<()> {
        let target = format!("daemonset/{daemon_set}");
        let rolled =
            self.cluster.kubectl(&["rollout", "status", "-n", namespace, &target, "--timeout=90s"]).await;
        if let Err(error) = rolled {
            let described =
                self.cluster.kubectl(&["describe", "pods", "-n", namespace]).await.unwrap_or_default();
            let logs = self.logs(namespace, daemon_set).await;
            return Err(error.context(format!("{described}\nlogs:\n{logs}")));
        }
        Ok(())
    }

    /// What the daemon has logged.
    pub(crate) async fn logs(&self, namespace: &str, daemon_set: &str) -> String {
        let target = format!("daemonset/{daemon_set}");
        self.cluster
            .kubectl(&["logs", "-n", namespace, &target])
            .await
            .unwrap_or_else(|error| format!("{error:#}"))
    }

    /// The name of the daemon's one ready pod.
    pub(crate) async fn daemon_pod(&self) -> String {
        let selector = format!("app.kubernetes.io/instance={RELEASE}");
        let ask = async || {
            let pods = self.cluster.get_json(&["pods", "-n", NAMESPACE, "-l", &selector]).await?;
            let pods = pods["items"].as_array().context("items")?;
            let ready = pods.iter().find(|pod| {
                pod["metadata"]["deletionTimestamp"].is_null()
                    && pod["status"]["containerStatuses"][0]["ready"] == true
            });
            Ok(ready.and_then(|pod| pod["metadata"]["name"].as_str()).map(str::to_owned))
        };
        wait_for("a ready podvitals", PATIENCE, ask).await.unwrap()
    }

    /// `kubectl port-forward` to the plain listener, and a reader of it.
    pub(crate) async fn port_forward(&self) -> (PortForward, Reader) {
        let pod = format!("pod/{}", self.daemon_pod().await);
        let forward = self.cluster.port_forward(NAMESPACE, &pod, PLAIN_PORT).await.unwrap();
        let reader = Reader::plain(forward.address());
        (forward, reader)
    }

    /// A token of its own for a scraper that may read everything, good for ten minutes.
    pub(crate) async fn scraper_token(&self) -> String {
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": { "name": SCRAPER, "namespace": "default" },
        });
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": { "name": SCRAPER },
            "rules": [{ "nonResourceURLs": ["*"], "verbs": ["get"] }],
        });
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": { "name": SCRAPER },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": SCRAPER },
            "subjects": [{ "kind": "ServiceAccount", "name": SCRAPER, "namespace": "default" }],
        });
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": [account, role, binding] });
        self.cluster.apply(&list.to_string()).await.unwrap();
        until_it_may_read(&self.cluster, &format!("default:{SCRAPER}")).await.unwrap();
        self.cluster.token_for("default", SCRAPER, Duration::from_secs(600)).await.unwrap()
    }

    /// A reader of the TLS listener at the pod's own address, with this token.
    pub(crate) async fn scraper(&self, token: Option<String>) -> Reader {
        let pod = self.daemon_pod().await;
        let on_node = self.cluster.find_on_node(NAMESPACE, &pod).await.unwrap().unwrap();
        Reader::tls((on_node.ip.unwrap(), TLS_PORT).into(), token)
    }
}

impl suite::Stage for Stage {
    async fn strike(self) -> anyhow::Result<()> {
        self.cluster.stop().await
    }
}

/// The chart under test.
pub(crate) fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/podvitals")
}

fn variable(name: &str) -> anyhow::Result<String> {
    std::env::var(name)
        .with_context(|| format!("{name}: scripts/test-cluster sets it to what `cargo xtask image` made"))
}

/// `registry/repository:tag`.
fn parts_of(image: &str) -> Option<[String; 3]> {
    let (rest, tag) = image.rsplit_once(':')?;
    let (registry, repository) = rest.rsplit_once('/')?;
    Some([registry, repository, tag].map(str::to_owned))
}
