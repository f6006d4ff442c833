//! The keys of a cluster: who signs, who serves, and who may say they are whom.
//!
//! <https://kubernetes.io/docs/setup/best-practices/certificates/>. Two authorities, as `kubeadm` makes
//! them: one for everybody, one that only vouches for the aggregation layer's proxy.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose as Usage, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// First address of the service range: `kubernetes.default.svc`.
pub(super) const SERVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// The folder they lie in; `x` is `x.crt` with `x.key`.
#[derive(Clone, Debug)]
pub(super) struct Certificates {
    folder: PathBuf,
}

type Authority = Issuer<'static, KeyPair>;

impl Certificates {
    /// Makes all of them for the node with that name and address.
    pub(super) fn make(folder: &Path, node_name: &str, address: Ipv4Addr) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let all = Self { folder: folder.to_owned() };
        let ca = all.authority("ca", "kubernetes-ca")?;
        let front = all.authority("front-proxy-ca", "front-proxy-ca")?;

        let (address, service) = (address.to_string(), SERVICE_ADDRESS.to_string());
        let names = [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "localhost",
            "127.0.0.1",
            &service,
            &address,
        ];
        all.server("apiserver", "kube-apiserver", &names, &ca)?;
        all.server("kubelet", node_name, &[node_name, "localhost", "127.0.0.1", &address], &ca)?;

        let node = format!("system:node:{node_name}");
        all.client("node", &node, Some("system:nodes"), &ca)?;
        all.client("admin", "kubernetes-admin", Some("system:masters"), &ca)?;
        all.client("apiserver-kubelet-client", "kube-apiserver-kubelet-client", Some("system:masters"), &ca)?;
        all.client("controller-manager", "system:kube-controller-manager", None, &ca)?;
        all.client("scheduler", "system:kube-scheduler", None, &ca)?;
        all.client("front-proxy-client", "front-proxy-client", None, &front)?;

        let tokens = KeyPair::generate().context("service-account key")?;
        all.write("sa.key", &tokens.serialize_pem())?;
        all.write("sa.pub", &tokens.public_key_pem())?;
        Ok(all)
    }

    pub(super) fn certificate(&self, name: &str) -> String {
        self.file(&format!("{name}.crt"))
    }

    pub(super) fn key(&self, name: &str) -> String {
        self.file(&format!("{name}.key"))
    }

    pub(super) fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn authority(&self, name: &str, common_name: &str) -> Result<Authority> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().with_context(|| name.to_owned())?;
        let certificate = params.self_signed(&key).with_context(|| name.to_owned())?;
        self.write(&format!("{name}.crt"), &certificate.pem())?;
        self.write(&format!("{name}.key"), &key.serialize_pem())?;
        Ok(Issuer::new(params, key))
    }

    fn server(&self, name: &str, common_name: &str, hosts: &[&str], by: &Authority) -> Result<()> {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let params = CertificateParams::new(hosts).with_context(|| name.to_owned())?;
        self.leaf(name, params, common_name, None, Usage::ServerAuth, by)
    }

    /// `common_name` is the user, `group` the group.
    fn client(&self, name: &str, common_name: &str, group: Option<&str>, by: &Authority) -> Result<()> {
        self.leaf(name, CertificateParams::default(), common_name, group, Usage::ClientAuth, by)
    }

    fn leaf(
        &self,
        name: &str,
        mut params: CertificateParams,
        common_name: &str,
        group: Option<&str>,
        usage: Usage,
        by: &Authority,
    ) -> Result<()> {
        // rcgen's own common name, "rcgen self signed cert", would come first.
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().with_context(|| name.to_owned())?;
        let certificate = params.signed_by(&key, by).with_context(|| name.to_owned())?;
        self.write(&format!("{name}.crt"), &certificate.pem())?;
        self.write(&format!("{name}.key"), &key.serialize_pem())
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.join(name);
        let shown = || path.display().to_string();
        fs::write(&path, text).with_context(shown)?;
        let mode = if name.ends_with(".key") { 0o600 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).with_context(shown)
    }
}
