//! Authorities and certificates as an operator brings them, in secrets.

use podvitals_testbed::Cluster;
use rcgen::BasicConstraints;
use rcgen::Certificate;
use rcgen::CertificateParams;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::json;

use crate::reader::Identity;

/// Signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key.
pub(crate) struct Leaf {
    certificate: Certificate,
    key: KeyPair,
}

impl Authority {
    pub(crate) fn make(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A secret whose `ca.crt` it is.
    pub(crate) async fn put(&self, cluster: &Cluster, namespace: &str, secret: &str) {
        put(cluster, namespace, secret, "Opaque", &[("ca.crt", &self.pem)]).await;
    }

    pub(crate) fn client(&self, name: &str) -> Leaf {
        self.sign(CertificateParams::default(), name, ExtendedKeyUsagePurpose::ClientAuth)
    }

    pub(crate) fn server(&self, host: &str) -> Leaf {
        let params = CertificateParams::new([host.to_owned()]).unwrap();
        self.sign(params, host, ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn sign(&self, mut params: CertificateParams, name: &str, usage: ExtendedKeyUsagePurpose) -> Leaf {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf { certificate, key }
    }
}

impl Leaf {
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }

    pub(crate) fn identity(&self) -> Identity {
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        (vec![self.der()], PrivateKeyDer::from(key))
    }

    /// A secret of type `kubernetes.io/tls`, made or replaced.
    pub(crate) async fn put(&self, cluster: &Cluster, namespace: &str, secret: &str) {
        let (certificate, key) = (self.certificate.pem(), self.key.serialize_pem());
        let data = [("tls.crt", certificate.as_str()), ("tls.key", key.as_str())];
        put(cluster, namespace, secret, "kubernetes.io/tls", &data).await;
    }
}

async fn put(cluster: &Cluster, namespace: &str, name: &str, of_type: &str, data: &[(&str, &str)]) {
    let data: serde_json::Map<_, _> =
        data.iter().map(|(key, text)| ((*key).to_owned(), json!(text))).collect();
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": of_type,
        "metadata": { "name": name, "namespace": namespace },
        "stringData": data,
    });
    cluster.apply(&secret.to_string()).await.unwrap();
}
