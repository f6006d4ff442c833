//! What etcd, the API server, the controller manager and the scheduler are told.

use serde_json::{Value, json};

use super::certificates::Certificates;
use super::layout::{API_PORT, Layout};

const SERVICE_RANGE: &str = "10.96.0.0/16";

pub(super) fn etcd(layout: &Layout) -> Vec<String> {
    let (client, peer) = (format!("http://{}", layout.etcd()), format!("http://{}", layout.etcd_peer()));
    flags(&[
        ("name", "default"),
        ("data-dir", &layout.path("etcd")),
        ("listen-client-urls", &client),
        ("advertise-client-urls", &client),
        ("listen-peer-urls", &peer),
        ("initial-advertise-peer-urls", &peer),
        ("initial-cluster", &format!("default={peer}")),
        ("log-level", "warn"),
        ("logger", "zap"),
    ])
}

/// On the bridge's address only: from outside the machine nobody gets here.
pub(super) fn api_server(layout: &Layout, certificates: &Certificates) -> Vec<String> {
    let address = layout.address().to_string();
    let crt = |name| certificates.certificate(name);
    let key = |name| certificates.key(name);
    flags(&[
        ("advertise-address", &address),
        ("bind-address", &address),
        ("secure-port", &API_PORT.to_string()),
        ("etcd-servers", &format!("http://{}", layout.etcd())),
        ("authorization-mode", "Node,RBAC"),
        ("enable-admission-plugins", "NodeRestriction"),
        ("client-ca-file", &crt("ca")),
        ("tls-cert-file", &crt("apiserver")),
        ("tls-private-key-file", &key("apiserver")),
        ("cert-dir", &layout.path("pki")),
        ("kubelet-certificate-authority", &crt("ca")),
        ("kubelet-client-certificate", &crt("apiserver-kubelet-client")),
        ("kubelet-client-key", &key("apiserver-kubelet-client")),
        ("kubelet-preferred-address-types", "InternalIP"),
        ("service-account-issuer", "https://kubernetes.default.svc.cluster.local"),
        ("service-account-key-file", &certificates.file("sa.pub")),
        ("service-account-signing-key-file", &key("sa")),
        // A token in a pod lives as long as the pod asked for, so that its renewal can be seen.
        ("service-account-extend-token-expiration", "false"),
        ("service-cluster-ip-range", SERVICE_RANGE),
        ("requestheader-client-ca-file", &crt("front-proxy-ca")),
        ("requestheader-allowed-names", "front-proxy-client"),
        ("requestheader-extra-headers-prefix", "X-Remote-Extra-"),
        ("requestheader-group-headers", "X-Remote-Group"),
        ("requestheader-username-headers", "X-Remote-User"),
        ("proxy-client-cert-file", &crt("front-proxy-client")),
        ("proxy-client-key-file", &key("front-proxy-client")),
        ("audit-policy-file", &layout.path("audit-policy.json")),
        ("audit-log-path", &layout.audit_log().display().to_string()),
        // There is no kube-proxy: a service's own address leads nowhere, its endpoints do.
        ("enable-aggregator-routing", "true"),
    ])
}

/// What the API server notes down: the requests of service accounts that are not the controllers'.
pub(super) fn audit_policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            { "level": "None", "userGroups": ["system:serviceaccounts:kube-system"] },
            { "level": "Metadata", "userGroups": ["system:serviceaccounts"] },
            { "level": "None" },
        ],
    })
}

pub(super) fn controller_manager(layout: &Layout, certificates: &Certificates) -> Vec<String> {
    let kubeconfig = layout.kubeconfig("controller-manager").display().to_string();
    flags(&[
        ("kubeconfig", &kubeconfig),
        ("authentication-kubeconfig", &kubeconfig),
        ("authorization-kubeconfig", &kubeconfig),
        ("bind-address", &layout.address().to_string()),
        ("cert-dir", &layout.path("pki")),
        ("leader-elect", "false"),
        ("use-service-account-credentials", "true"),
        // Its own choice, which it makes, lies in /usr/libexec.
        ("flex-volume-plugin-dir", &layout.path("volume-plugins")),
        ("service-account-private-key-file", &certificates.key("sa")),
        ("root-ca-file", &certificates.certificate("ca")),
        ("cluster-signing-cert-file", &certificates.certificate("ca")),
        ("cluster-signing-key-file", &certificates.key("ca")),
    ])
}

pub(super) fn scheduler(layout: &Layout) -> Vec<String> {
    let kubeconfig = layout.kubeconfig("scheduler").display().to_string();
    flags(&[
        ("kubeconfig", &kubeconfig),
        ("authentication-kubeconfig", &kubeconfig),
        ("authorization-kubeconfig", &kubeconfig),
        ("bind-address", &layout.address().to_string()),
        ("cert-dir", &layout.path("pki")),
        ("leader-elect", "false"),
    ])
}

fn flags(list: &[(&str, &str)]) -> Vec<String> {
    list.iter().map(|(name, value)| format!("--{name}={value}")).collect()
}
