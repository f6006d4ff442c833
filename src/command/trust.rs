//! Whom we believe, and who we are, when a podvitals is asked over https.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::header::HeaderValue;
use rustls::ClientConfig;
use rustls::DigitallySignedStruct;
use rustls::RootCertStore;
use rustls::SignatureScheme;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where every pod finds its own token.
const OWN_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// What is said on the command line about https.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// The file of the token to show; `None`: the pod's own, if there is one.
    pub token_file: Option<PathBuf>,
    /// Who signed the server's certificate.
    pub ca: Option<PathBuf>,
    /// Nobody needs to have signed it.
    pub insecure: bool,
}

/// Why an https server cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Nothing to check its certificate with.
    #[error(
        "an https server: name the file of the authority that signed its certificate with --ca, or take any \
         certificate with --insecure-skip-tls-verify"
    )]
    Unchecked,
    /// A file that is not there, or not for us.
    #[error("{path}: cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file that holds something else.
    #[error("{path}: no {wanted} in it")]
    Empty {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
    /// Not a name a certificate could hold.
    #[error("{host}: not a name of a host")]
    Name {
        /// As given.
        host: String,
    },
    /// No agreement, or a certificate that does not count.
    #[error("no TLS with this server")]
    Handshake(#[source] io::Error),
    /// TLS itself is not to be had.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

impl Trust {
    /// TLS over this connection, to the server of that name.
    pub(super) async fn agree(
        &self,
        stream: TcpStream,
        host: &str,
    ) -> Result<TlsStream<TcpStream>, TrustError> {
        let bad_name = |_| TrustError::Name { host: host.to_owned() };
        let name = ServerName::try_from(host.to_owned()).map_err(bad_name)?;
        let connector = TlsConnector::from(Arc::new(self.config()?));
        connector.connect(name, stream).await.map_err(TrustError::Handshake)
    }

    fn config(&self) -> Result<ClientConfig, TrustError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = ClientConfig::builder_with_provider(provider.clone());
        let versions = versions.with_safe_default_protocol_versions()?;
        let checked = match &self.ca {
            _ if self.insecure => {
                versions.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            }
            Some(path) => versions.with_root_certificates(authorities(path)?),
            None => return Err(TrustError::Unchecked),
        };
        Ok(checked.with_no_client_auth())
    }

    /// The header that shows the token. Read anew for each request, since tokens are replaced.
    ///
    /// A token that nobody named goes to a server whose certificate was checked, and to no other: it is
    /// as good as a password.
    pub(super) fn authorization(&self) -> Result<Option<HeaderValue>, TrustError> {
        let path = match &self.token_file {
            Some(path) => path.as_path(),
            None if self.insecure || !Path::new(OWN_TOKEN).exists() => return Ok(None),
            None => Path::new(OWN_TOKEN),
        };
        let token = String::from_utf8_lossy(&read(path)?).trim().to_owned();
        let no_token = || TrustError::Empty { path: path.to_owned(), wanted: "token" };
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(no_token());
        }
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| no_token())?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

fn authorities(path: &Path) -> Result<RootCertStore, TrustError> {
    let empty = || TrustError::Empty { path: path.to_owned(), wanted: "certificate (PEM)" };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&read(path)?) {
        roots.add(certificate.map_err(|_| empty())?)?;
    }
    if roots.is_empty() { Err(empty()) } else { Ok(roots) }
}

fn read(path: &Path) -> Result<Vec<u8>, TrustError> {
    fs::read(path).map_err(|source| TrustError::Unreadable { path: path.to_owned(), source })
}

/// Takes every certificate, but only from who has its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
