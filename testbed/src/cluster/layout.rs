//! Where the parts of one cluster are: files, addresses, names.
//!
//! A cluster has addresses of its own, derived from the number of its bridge, so that every part can
//! have its usual port: the bridge's for what pods and the node speak to, one of 127.0.0.0/8 for etcd.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::network::Network;
use crate::state::StateDir;

use super::certificates::Certificates;

pub(super) const API_PORT: u16 = 6443;
const ETCD_PORT: u16 = 2379;

/// The plan of one cluster.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) state: StateDir,
    network: Network,
}

impl Layout {
    pub(super) fn new(state: StateDir, network: Network) -> Self {
        Self { state, network }
    }

    pub(super) fn node_name(&self) -> String {
        format!("{}-node", self.state.name())
    }

    /// Of the bridge: of the host, and so of the node.
    pub(super) fn address(&self) -> Ipv4Addr {
        self.network.gateway()
    }

    pub(super) fn api_url(&self) -> String {
        format!("https://{}:{API_PORT}", self.address())
    }

    /// etcd knows no passwords here: not an address that pods reach.
    pub(super) fn etcd(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(127, 86, self.network.number(), 1), ETCD_PORT)
    }

    pub(super) fn etcd_peer(&self) -> SocketAddrV4 {
        SocketAddrV4::new(*self.etcd().ip(), ETCD_PORT + 1)
    }

    pub(super) fn folder(&self, name: &str) -> PathBuf {
        self.state.join(name)
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.state.join(name).display().to_string()
    }

    pub(super) fn log(&self, program: &str) -> PathBuf {
        self.state.join("log").join(format!("{program}.log"))
    }

    pub(super) fn audit_log(&self) -> PathBuf {
        self.log("audit")
    }

    pub(super) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.state.join("kubeconfig").join(user)
    }

    /// In JSON, which is YAML too. The files are named, not copied in: they lie beside it.
    pub(super) fn write_kubeconfig(&self, user: &str, certificates: &Certificates) -> anyhow::Result<()> {
        let (certificate, key) = (certificates.certificate(user), certificates.key(user));
        let credentials = json!({ "client-certificate": certificate, "client-key": key });
        self.write_kubeconfig_with(user, &credentials, certificates)
    }

    /// The same for someone who has other credentials: `{"token": …}`.
    pub(super) fn write_kubeconfig_with(
        &self,
        user: &str,
        credentials: &Value,
        certificates: &Certificates,
    ) -> anyhow::Result<()> {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": self.state.name(),
                "cluster": { "server": self.api_url(), "certificate-authority": certificates.certificate("ca") },
            }],
            "users": [{ "name": user, "user": credentials }],
            "contexts": [{
                "name": self.state.name(),
                "context": { "cluster": self.state.name(), "user": user, "namespace": "default" },
            }],
            "current-context": self.state.name(),
        });
        write(&self.kubeconfig(user), &config.to_string())
    }
}

/// Writes a file and the folders above it.
pub(super) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    use anyhow::Context;
    let shown = || path.display().to_string();
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(shown)?;
    }
    std::fs::write(path, text).with_context(shown)
}
