//! Certificates, keys and authorities: from files, or made here; and how to see that a file changed.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType, date_time_ymd};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;

use super::expiry;

/// Why TLS cannot be served with what there is.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not there, or not for us.
    #[error("{path}: cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// No PEM of the kind that belongs there.
    #[error("{path}: no {wanted} in it: expected PEM, -----BEGIN …")]
    Empty {
        /// The file.
        path: PathBuf,
        /// `certificate` or `private key`.
        wanted: &'static str,
    },
    /// PEM, but what it holds cannot be used.
    #[error("{path}: {detail}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// A key of another certificate; for a moment so while both are replaced.
    #[error("{key}: not the private key of the certificate in {certificate}")]
    Mismatch {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// No certificate of our own could be made.
    #[error("no certificate can be made: {detail}")]
    Unmade {
        /// Why.
        detail: String,
    },
}

/// How long a certificate of our own is good: renewed when a twelfth of that is left.
pub(super) const VALID: Duration = Duration::from_secs(396 * 24 * 3600);

/// Clocks of clients may be behind ours.
const SLOW_CLOCKS: Duration = Duration::from_secs(24 * 3600);

/// Who we are, and until when.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) key: Arc<CertifiedKey>,
    /// Seconds since 1970.
    pub(super) not_after: u64,
}

impl Identity {
    /// The chain and key in these files.
    pub(super) fn read(files: &(PathBuf, PathBuf), provider: &CryptoProvider) -> Result<Self, TlsError> {
        let (certificate, key) = files;
        Self::parse((certificate, &read(certificate)?), (key, &read(key)?), provider)
    }

    /// The chain and key in these texts, with the files they come from.
    pub(super) fn parse(
        (certificate, chain): (&PathBuf, &[u8]),
        (key, private): (&PathBuf, &[u8]),
        provider: &CryptoProvider,
    ) -> Result<Self, TlsError> {
        let chain = certificates(certificate, chain)?;
        let private = PrivateKeyDer::from_pem_slice(private).map_err(|error| match error {
            pem::Error::NoItemsFound => TlsError::Empty { path: key.clone(), wanted: "private key" },
            error => TlsError::Unusable { path: key.clone(), detail: error.to_string() },
        })?;
        Self::new(chain, private, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::Mismatch { certificate: certificate.clone(), key: key.clone() }
            }
            rustls::Error::InvalidCertificate(_) => {
                TlsError::Unusable { path: certificate.clone(), detail: error.to_string() }
            }
            error => TlsError::Unusable { path: key.clone(), detail: error.to_string() },
        })
    }

    /// One of our own for these names, good from `now` on.
    pub(super) fn make(names: &[String], now: Duration, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let unmade = |detail: String| TlsError::Unmade { detail };
        let make = || -> Result<_, rcgen::Error> {
            let mut params = CertificateParams::default();
            params.subject_alt_names = names.iter().filter_map(|name| subject(name)).collect();
            params.distinguished_name.push(DnType::CommonName, "podvitals");
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            let epoch = date_time_ymd(1970, 1, 1);
            params.not_before = epoch + now.saturating_sub(SLOW_CLOCKS);
            params.not_after = epoch + now + VALID;
            let key = KeyPair::generate()?;
            Ok((params.self_signed(&key)?, key))
        };
        let (certificate, key) = make().map_err(|error| unmade(error.to_string()))?;
        let private =
            PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| unmade(error.to_owned()))?;
        let chain = vec![certificate.der().clone()];
        Self::new(chain, private, provider).map_err(|error| unmade(error.to_string()))
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        provider: &CryptoProvider,
    ) -> Result<Self, rustls::Error> {
        let not_after = chain.first().and_then(|leaf| expiry::not_after(leaf)).unwrap_or(0);
        let key = Arc::new(CertifiedKey::from_der(chain, key, provider)?);
        Ok(Self { key, not_after })
    }
}

/// A name for a certificate, if it can be one.
fn subject(name: &str) -> Option<SanType> {
    match name.parse::<IpAddr>() {
        Ok(address) => Some(SanType::IpAddress(address)),
        Err(_) if name.is_empty() => None,
        Err(_) => name.try_into().ok().map(SanType::DnsName),
    }
}

/// Checks the certificates of clients against the authorities in this file. Clients may have none.
pub(super) fn authority(
    path: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    authority_in(path, &read(path)?, provider)
}

/// The same, of the text of a file.
pub(super) fn authority_in(
    path: &Path,
    text: &[u8],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let unusable = |detail: String| TlsError::Unusable { path: path.to_owned(), detail };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, text)? {
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|error| unusable(error.to_string()))
}

fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(found) if found.is_empty() => {
            Err(TlsError::Empty { path: path.to_owned(), wanted: "certificate" })
        }
        Ok(found) => Ok(found),
        Err(error) => Err(TlsError::Unusable { path: path.to_owned(), detail: error.to_string() }),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })
}

/// What tells one state of a file from the next, through the symlinks that a mounted secret is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// `None`: the file cannot be seen.
pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    let found = fs::metadata(path).ok()?;
    let modified = (found.mtime(), found.mtime_nsec());
    Some(Stamp { device: found.dev(), inode: found.ino(), size: found.len(), modified })
}
