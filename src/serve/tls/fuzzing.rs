//! Files of TLS under any bytes: used, or refused with the file's name.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::expiry::not_after;
use super::files::{Identity, authority_in};

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));

/// A certificate as DER, or PEM with any of a chain, a key and authorities.
pub fn certificate(bytes: &[u8]) {
    ends_once(bytes);
    for found in CertificateDer::pem_slice_iter(bytes).flatten() {
        ends_once(&found);
    }
    let file = PathBuf::from("/tls.pem");
    let named = |error: String| assert!(error.contains("/tls.pem"), "{error}");
    match Identity::parse((&file, bytes), (&file, bytes), &PROVIDER) {
        Ok(identity) => {
            let leaf = identity.key.cert.first().and_then(|leaf| not_after(leaf));
            assert_eq!(identity.not_after, leaf.unwrap_or(0));
        }
        Err(error) => named(error.to_string()),
    }
    if let Err(error) = authority_in(&file, bytes, &PROVIDER) {
        named(error.to_string());
    }
}

/// Of half a certificate no end is known, or the right one.
fn ends_once(der: &[u8]) {
    let Some(end) = not_after(der) else { return };
    // Year 9999 is the last that can be written.
    assert!(end <= 253_402_300_799, "{end}");
    for cut in (0..der.len()).step_by((der.len() / 16).max(1)) {
        assert!(not_after(&der[..cut]).is_none_or(|of_half| of_half == end), "cut at {cut}");
    }
}
