//! TLS: who we are, which clients' certificates count, and both again when the files change.
//!
//! # Why sessions are not resumed
//! A resumed session takes the client's certificate over from an earlier one without looking at it
//! again. Scrapers keep their connections, so there is little to gain.

mod expiry;
mod files;
pub(super) mod fuzzing;
mod handshake;

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};

use self::files::{Identity, Stamp, VALID};
use crate::config::TlsFiles;
use crate::model::health::{Health, Room, Trouble};

pub use self::files::TlsError;
pub(super) use self::handshake::handshake;

/// How often the files are looked at. A mounted secret is itself up to a minute behind.
const LOOK: Duration = Duration::from_secs(2);

/// TLS as it is spoken now, and what it takes to speak it anew.
#[derive(Debug)]
pub(super) struct Tls {
    files: TlsFiles,
    /// What a certificate of our own is made for.
    names: Vec<String>,
    http2: bool,
    provider: Arc<CryptoProvider>,
    present: RwLock<Arc<Present>>,
}

/// What new connections get.
struct Present {
    config: Arc<ServerConfig>,
    identity: Identity,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    /// Of the files as they were read: certificate, key, client authority.
    stamps: [Option<Stamp>; 3],
}

impl fmt::Debug for Present {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Present").field("stamps", &self.stamps).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files, or makes a certificate for `names`.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub(super) fn new(files: TlsFiles, names: Vec<String>, http2: bool) -> Result<Self, TlsError> {
        // Given by hand: with two providers among the dependencies rustls would not choose one.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let stamps = stamps(&files);
        let identity = match &files.identity {
            Some(paths) => Identity::read(paths, &provider)?,
            None => Identity::make(&names, now(), &provider)?,
        };
        let present = present(&files, identity, stamps, http2, &provider)?;
        Ok(Self { files, names, http2, provider, present: RwLock::new(Arc::new(present)) })
    }

    /// What a new connection gets.
    fn config(&self) -> Arc<ServerConfig> {
        self.present().config.clone()
    }

    /// Whether these certificates still count: a connection may be older than its client's rights.
    pub(super) fn vouches_for(&self, chain: &[CertificateDer<'_>]) -> bool {
        match (&self.present().clients, chain) {
            (Some(clients), [leaf, others @ ..]) => {
                clients.verify_client_cert(leaf, others, UnixTime::now()).is_ok()
            }
            _ => false,
        }
    }

    /// Looks at the files until dropped. What cannot be used is said once and changes nothing.
    pub(super) async fn keep_up(self: Arc<Self>, health: Arc<Health>) {
        let mut complaint = String::new();
        loop {
            health.certificate_expiry.store(self.present().identity.not_after, Ordering::Relaxed);
            tokio::time::sleep(LOOK).await;
            let tls = self.clone();
            // A file system may keep its reader waiting, and the other tasks shall not wait with it.
            let looked = tokio::task::spawn_blocking(move || tls.look(now())).await;
            match looked {
                Ok(Ok(false)) => complaint.clear(),
                Ok(Ok(true)) => {
                    complaint.clear();
                    tracing::info!("new connections get the new TLS files");
                }
                Ok(Err(error)) => {
                    let said = whole(&error);
                    if said != complaint {
                        health.count(Room::Serve, Trouble::Malformed);
                        tracing::warn!(error = %said, "the TLS files changed and cannot be used: the old ones serve on");
                        complaint = said;
                    }
                }
                // The runtime is ending.
                Err(_) => return,
            }
        }
    }

    /// Takes over what changed. `true`: something did.
    fn look(&self, now: Duration) -> Result<bool, TlsError> {
        let present = self.present();
        // Before reading: should a file change meanwhile, the next look sees it.
        let stamps = stamps(&self.files);
        let own_ends = self.files.identity.is_none()
            && Duration::from_secs(present.identity.not_after) < now + VALID / 12;
        if stamps == present.stamps && !own_ends {
            return Ok(false);
        }
        let identity = match &self.files.identity {
            Some(paths) => Identity::read(paths, &self.provider)?,
            None if own_ends => Identity::make(&self.names, now, &self.provider)?,
            None => present.identity.clone(),
        };
        let next = self::present(&self.files, identity, stamps, self.http2, &self.provider)?;
        *self.present.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        Ok(true)
    }

    fn present(&self) -> Arc<Present> {
        self.present.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn present(
    files: &TlsFiles,
    identity: Identity,
    stamps: [Option<Stamp>; 3],
    http2: bool,
    provider: &Arc<CryptoProvider>,
) -> Result<Present, TlsError> {
    let clients = files.client_ca.as_deref().map(|path| files::authority(path, provider)).transpose()?;
    let versions = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| TlsError::Unmade { detail: error.to_string() })?;
    let authentication = match &clients {
        Some(clients) => versions.with_client_cert_verifier(clients.clone()),
        None => versions.with_no_client_auth(),
    };
    // One certificate whatever name the client asks for: it may have only an address.
    let resolver = Arc::new(SingleCertAndKey::from((*identity.key).clone()));
    let mut config = authentication.with_cert_resolver(resolver);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    let protocols: &[&[u8]] = if http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Present { config: Arc::new(config), identity, clients, stamps })
}

fn stamps(files: &TlsFiles) -> [Option<Stamp>; 3] {
    let (certificate, key) = files.identity.as_ref().map_or((None, None), |(a, b)| (Some(a), Some(b)));
    [certificate, key, files.client_ca.as_ref()].map(|path| path.and_then(|path| files::stamp(path)))
}

/// An error with its cause.
fn whole(error: &TlsError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Time since 1970. A clock before that is as good as none.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests;
