//! Files that change, and a certificate of our own that ends.

use std::fs;
use std::path::PathBuf;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("podvitals-tls-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.0.join(name), text).unwrap();
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Certificate and key.
fn pair(year: i32) -> (String, String) {
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn leaf(tls: &Tls) -> Vec<u8> {
    tls.present().identity.key.cert[0].to_vec()
}

#[test]
fn a_certificate_of_our_own_is_renewed_a_month_before_it_ends_and_no_sooner() {
    let tls =
        Tls::new(TlsFiles::default(), vec!["n1".to_owned(), String::new(), "ü".to_owned()], false).unwrap();
    let (first, end) = (leaf(&tls), Duration::from_secs(tls.present().identity.not_after));
    assert!(end > now() + 365 * DAY, "more than a year");
    assert!(!tls.look(end - 34 * DAY).unwrap());
    assert_eq!(leaf(&tls), first);
    let late = end - 32 * DAY;
    assert!(tls.look(late).unwrap());
    assert_ne!(leaf(&tls), first);
    let next = Duration::from_secs(tls.present().identity.not_after);
    assert_eq!(next.as_secs(), (late + VALID).as_secs());
    assert!(!tls.look(late + DAY).unwrap(), "once");
}

#[test]
fn files_are_taken_over_when_they_change_and_only_if_they_can_be_used() {
    let folder = Folder::new("look");
    let (certificate, key) = pair(2040);
    let files = TlsFiles {
        identity: Some((folder.write("tls.crt", &certificate), folder.write("tls.key", &key))),
        client_ca: None,
    };
    let tls = Tls::new(files, Vec::new(), false).unwrap();
    let old = leaf(&tls);
    assert_eq!(tls.present().identity.not_after, 2_208_988_800, "2040-01-01");
    assert!(!tls.look(now()).unwrap());

    let (certificate, key) = pair(2041);
    folder.write("tls.crt", &certificate);
    assert!(matches!(tls.look(now()), Err(TlsError::Mismatch { .. })), "the key is still the old one");
    folder.write("tls.key", &key[..100]);
    assert!(tls.look(now()).is_err());
    fs::remove_file(folder.0.join("tls.key")).unwrap();
    assert!(matches!(tls.look(now()), Err(TlsError::Unreadable { .. })));
    assert_eq!((leaf(&tls), tls.present().identity.not_after), (old, 2_208_988_800));
    folder.write("tls.key", &key);
    assert!(tls.look(now()).unwrap());
    assert_eq!(tls.present().identity.not_after, 2_240_611_200, "2041-01-01");
    assert!(!tls.look(now()).unwrap());
}

#[test]
fn a_new_authority_leaves_a_certificate_of_our_own_as_it_is() {
    let folder = Folder::new("ca");
    let ca = folder.write("ca.crt", &pair(2040).0);
    let files = TlsFiles { identity: None, client_ca: Some(ca) };
    let tls = Tls::new(files, vec!["n1".to_owned()], false).unwrap();
    let own = leaf(&tls);
    folder.write("ca.crt", &format!("{}{}", pair(2040).0, pair(2041).0));
    assert!(tls.look(now()).unwrap());
    assert_eq!(leaf(&tls), own);
    folder.write("ca.crt", "");
    assert!(matches!(tls.look(now()), Err(TlsError::Empty { .. })));
    assert!(tls.present().clients.is_some(), "nobody is let in because a file is empty, nor locked out");
}

#[test]
fn http_2_is_offered_only_when_asked_for_and_sessions_are_not_resumed() {
    let offered = |http2| {
        let tls = Tls::new(TlsFiles::default(), Vec::new(), http2).unwrap();
        assert!(!tls.config().session_storage.can_cache() && tls.config().send_tls13_tickets == 0);
        tls.config().alpn_protocols.clone()
    };
    assert_eq!(offered(false), [b"http/1.1".to_vec()]);
    assert_eq!(offered(true), [b"h2".to_vec(), b"http/1.1".to_vec()]);
}
