//! The kubelet's own list of its pods: `GET https://10.0.0.1:10250/pods`.
//!
//! What it tells is what the API server knows, for this node alone, and needs the right to `nodes/pods`
//! instead of one to the pods of the cluster. There is no watch. Static pods are there themselves,
//! not their mirrors.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use kube::Client;
use kube::Config;

use crate::config::KubeletAddress;
use crate::model::health::Health;
use crate::model::health::Refusal;
use crate::model::health::Room;
use crate::model::health::Trouble;
use crate::model::identity::KnownPod;
use crate::model::identity::Source;

use super::client::ApiServer;
use super::client::Asked;
use super::client::KubernetesError;
use super::client::client;
use super::client::send;
use super::identity::is_cut;
use super::identity::known;
use super::json;
use super::pod::PodList;

const PODS: &str = "/pods";
const ORIGIN: &str = "the kubelet's address (PODVITALS_KUBELET_URL, PODVITALS_KUBELET_CA)";

/// For each part of an answer: a kubelet that takes longer is as good as gone.
const DEADLINE: Duration = Duration::from_secs(10);

/// Where the kubelet puts a pod's own credentials.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
const CA: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";

/// A client of this node's kubelet.
pub struct Kubelet {
    url: Arc<str>,
    config: Config,
    client: Client,
    health: Arc<Health>,
    nameless: usize,
    cut: usize,
}

impl Kubelet {
    /// A client that connects when it is first asked, with the credentials of the service account, or the
    /// ones for the API server where there is none. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// If a file it needs cannot be used.
    pub fn new(
        address: &KubeletAddress,
        api: Option<&ApiServer>,
        health: Arc<Health>,
    ) -> Result<Self, KubernetesError> {
        let refuse = |source| KubernetesError::Configuration { origin: ORIGIN, source };
        let mut config = Config::new(address.url.parse().map_err(|error| refuse(Box::from(error)))?);
        config.accept_invalid_certs = address.insecure_tls;
        if Path::new(TOKEN).exists() {
            config.auth_info.token_file = Some(TOKEN.to_owned());
        } else if let Some(api) = api {
            config.auth_info = api.config().auth_info;
        }
        config.root_cert_file =
            address.ca.clone().or_else(|| Some(PathBuf::from(CA)).filter(|path| path.exists()));
        // Verification is by the file, which is read again when it changes; without one the client would
        // look for the host's authorities first, and an image may have none.
        if config.root_cert_file.is_some() {
            config.root_cert = Some(Vec::new());
        }
        let client = client(ORIGIN, &config)?;
        Ok(Self { url: address.url.as_str().into(), config, client, health, nameless: 0, cut: 0 })
    }

    /// Plain HTTP at `url`.
    #[cfg(test)]
    pub(crate) fn at(url: &str, health: Arc<Health>) -> Self {
        let address = KubeletAddress { url: url.to_owned(), ca: None, insecure_tls: true };
        Self::new(&address, None, health).unwrap()
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All pods of the node.
    ///
    /// # Errors
    /// As for every call.
    pub async fn fetch_pods(&mut self) -> Result<Vec<Arc<KnownPod>>, KubernetesError> {
        let answer = self.list().await;
        if let Err(error) = &answer {
            self.health.count(Room::Kubernetes, error.trouble());
            if error.refusal() == Refusal::Unauthorized
                && let Ok(fresh) = client(ORIGIN, &self.config)
            {
                // The token is read again at once, not with kube's next look at the file.
                self.client = fresh;
            }
        }
        let PodList { items, .. } = answer?;
        let pods: Vec<_> = items.iter().filter_map(|pod| known(pod, Source::Kubelet)).map(Arc::new).collect();
        // Each answer leaves the same ones out again: only more of them is news.
        let nameless = items.len() - pods.len();
        for _ in self.nameless..nameless {
            self.health.count(Room::Kubernetes, Trouble::Malformed);
        }
        let cut = items.iter().filter(|pod| is_cut(pod)).count();
        for _ in self.cut..cut {
            self.health.count(Room::Kubernetes, Trouble::Truncated);
        }
        (self.nameless, self.cut) = (nameless, cut);
        Ok(pods)
    }

    async fn list(&self) -> Result<PodList, KubernetesError> {
        let asked = Asked { server: &self.url, call: "list pods" };
        let request = Request::get(PODS).body(Vec::new()).map_err(|error| asked.broken(&error))?;
        let answer = send(&self.client, asked, request, DEADLINE).await?;
        json::read(answer, asked, DEADLINE).await
    }
}

#[cfg(test)]
#[path = "kubelet_tests.rs"]
mod tests;
