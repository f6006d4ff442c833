//! TLS as clients meet it: certificates, handshakes that never end, files that are replaced.

use std::io::Read;
use std::sync::atomic::Ordering;
use std::time::Duration;

use podvitals::config::{Listen, TlsFiles};
use podvitals::model::health::{Room, Trouble};
use podvitals::serve::{Access, Limits, bind};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::client::{PATIENCE, rest, until};
use super::secure::{Authority, Client, Mount, get_on, serve, serve_within};

/// 2030-01-01, the end of every server's certificate here.
const END: u64 = 1_893_456_000;

fn public(files: TlsFiles) -> Access {
    Access { files, node_name: "n1".into(), insecure_public: true, ..Access::default() }
}

#[tokio::test]
async fn a_certificate_from_files_is_shown_under_any_name() {
    let (authority, mount) = (Authority::new("servers"), Mount::new("shown"));
    mount.identity(&authority.server());
    let server = serve(public(mount.files())).await;
    let client = Client::trusting(&authority.certificate, None);
    assert_eq!(client.get(&server, "/api/v1/node", None).await.json()["node"], "n1");
    let by_address = client.clone().calling("127.0.0.1");
    assert_eq!(by_address.get(&server, "/livez", None).await.status, 200);
    // No SNI makes the handshake fail at our end: it is the client that does not find its name.
    let refused = client.calling("other.example").connect(&server).await.unwrap_err();
    assert!(refused.to_string().contains("not valid for name"), "{refused}");
    until("the end is known", || server.health.certificate_expiry.load(Ordering::SeqCst) == END).await;
}

#[tokio::test]
async fn host_is_not_looked_at_behind_tls() {
    let (authority, mount) = (Authority::new("servers"), Mount::new("host"));
    mount.identity(&authority.server());
    let server = serve(public(mount.files())).await;
    let client = Client::trusting(&authority.certificate, None);
    let answer = client.ask(&server, "GET", "/api/v1/node", "Host: podvitals.monitoring.svc\r\n").await;
    assert_eq!(answer.status, 200);
    let head = client.ask(&server, "HEAD", "/api/v1/node", "").await;
    assert!(head.body.is_empty() && head.header("content-length").parse::<usize>().unwrap() > 100);
}

#[tokio::test]
async fn without_files_a_certificate_is_made_for_the_node() {
    let server = serve(public(TlsFiles::default())).await;
    let certificate = shown(&server).await;
    let client = Client::trusting(&certificate, None);
    for name in ["n1", "localhost", "127.0.0.1", "::1"] {
        let client = client.clone().calling(name);
        assert_eq!(client.get(&server, "/livez", None).await.status, 200, "{name}");
    }
    assert!(client.calling("n2").connect(&server).await.is_err());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let days_left = || (server.health.certificate_expiry.load(Ordering::SeqCst).saturating_sub(now)) / 86_400;
    until("the end is known", || (365..400).contains(&days_left())).await;
    assert_ne!(shown(&serve(public(TlsFiles::default())).await).await, certificate, "no two are the same");
}

/// The certificate a server shows, whoever signed it.
async fn shown(server: &super::client::Server) -> rustls::pki_types::CertificateDer<'static> {
    let address = server.address;
    let get = move || {
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config =
            config.unwrap().dangerous().with_custom_certificate_verifier(std::sync::Arc::new(Anybody));
        let name = rustls::pki_types::ServerName::try_from("x").unwrap();
        let config = std::sync::Arc::new(config.with_no_client_auth());
        let mut session = rustls::ClientConnection::new(config, name).unwrap();
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        session.complete_io(&mut socket).unwrap();
        session.peer_certificates().unwrap()[0].clone().into_owned()
    };
    tokio::task::spawn_blocking(get).await.unwrap()
}

/// Believes everybody, to see what is shown.
#[derive(Debug)]
struct Anybody;

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::test]
async fn a_replaced_certificate_serves_the_next_connection_and_the_old_one_lives_on() {
    let (old, new, mount) = (Authority::new("old"), Authority::new("new"), Mount::new("swap"));
    mount.identity(&old.server());
    let server = serve(public(mount.files())).await;
    let (to_old, to_new) =
        (Client::trusting(&old.certificate, None), Client::trusting(&new.certificate, None));
    let mut kept = to_old.connect(&server).await.unwrap();
    assert_eq!(get_on(&mut kept, "/api/v1/node", "").await.status, 200);
    assert!(to_new.connect(&server).await.is_err());

    // A key that is not the certificate's, then half a file: nothing changes.
    let (leaf, other) = (new.server(), new.server());
    mount.swap(&[("tls.crt", &leaf.certificate), ("tls.key", &other.key)]);
    let refused = |times| server.health.counted(Room::Serve, Trouble::Malformed) == times;
    until("the pair is refused", || refused(1)).await;
    assert_eq!(to_old.get(&server, "/livez", None).await.status, 200);
    mount.swap(&[("tls.crt", &leaf.certificate[..200]), ("tls.key", &leaf.key)]);
    until("the half is refused", || refused(2)).await;
    assert_eq!(to_old.get(&server, "/livez", None).await.status, 200);

    mount.identity(&leaf);
    let started = Instant::now();
    while to_new.connect(&server).await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(10), "the new certificate is not shown");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(to_old.connect(&server).await.is_err(), "the old one is not shown any more");
    assert_eq!(get_on(&mut kept, "/api/v1/node", "").await.status, 200);
    assert!(refused(2), "each is said once");
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_at_start() {
    let (authority, mount) = (Authority::new("servers"), Mount::new("refused"));
    let (leaf, other) = (authority.server(), authority.server());
    let refusal = async |files: &[(&str, &str)]| {
        mount.swap(files);
        let listen = [Listen::Tls("127.0.0.1:0".parse().unwrap())];
        let refused = bind(&listen, public(mount.files())).await.unwrap_err();
        refused.to_string().replace(mount.path.to_str().unwrap(), "")
    };
    let (certificate, key) = (leaf.certificate.as_str(), leaf.key.as_str());
    assert_eq!(
        refusal(&[("tls.crt", ""), ("tls.key", key)]).await,
        "/tls.crt: no certificate in it: expected PEM, -----BEGIN …"
    );
    assert_eq!(
        refusal(&[("tls.crt", certificate), ("tls.key", certificate)]).await,
        "/tls.key: no private key in it: expected PEM, -----BEGIN …"
    );
    assert_eq!(
        refusal(&[("tls.crt", certificate), ("tls.key", &other.key)]).await,
        "/tls.key: not the private key of the certificate in /tls.crt"
    );
    assert_eq!(
        refusal(&[("tls.crt", certificate), ("tls.key", key), ("ca.crt", "# soon\n")]).await,
        "/ca.crt: no certificate in it: expected PEM, -----BEGIN …"
    );
    let missing = TlsFiles { identity: Some(("/no/tls.crt".into(), "/no/tls.key".into())), client_ca: None };
    let refused = bind(&[Listen::Tls("127.0.0.1:0".parse().unwrap())], public(missing)).await.unwrap_err();
    assert_eq!(refused.to_string(), "/no/tls.crt: cannot be read");
    let closed = Access { insecure_public: false, ..public(TlsFiles::default()) };
    let refused = bind(&[Listen::Tls("127.0.0.1:0".parse().unwrap())], closed).await.unwrap_err();
    assert!(refused.to_string().contains("--client-ca"), "{refused}");
}

#[tokio::test]
async fn a_request_without_tls_is_told_so() {
    let server = serve(public(TlsFiles::default())).await;
    let answer = server.raw(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"), "{answer}");
    // Anything else gets what TLS has for it: an alert, fatal.
    for garbage in [&b"\x16\x03\x01\x00\x04\x02\x00\x00\x00"[..], b"\x00\x00\x00\x00\x00\x00\x00\x00"] {
        let alert = server.raw(garbage).await;
        assert_eq!(alert.get(..2), Some(&[21, 3][..]), "{alert:?}");
        assert_eq!(alert.get(5), Some(&2), "{alert:?}");
    }
}

#[tokio::test]
async fn slow_handshakes_are_cut() {
    let limits = Limits { header: Duration::from_millis(300), ..Limits::default() };
    let server = serve_within(limits, public(TlsFiles::default())).await;
    let started = Instant::now();
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut half = TcpStream::connect(server.address).await.unwrap();
    // The beginning of a ClientHello of 512 bytes.
    half.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).await.unwrap();
    assert!(rest(&mut silent).await.is_empty() && rest(&mut half).await.is_empty());
    assert!(started.elapsed() >= Duration::from_millis(300));
    until("both are counted", || server.health.counted(Room::Serve, Trouble::Timeout) == 2).await;
    // The handshake is done, the request never comes.
    let mut stream = Client::trusting(&shown(&server).await, None).connect(&server).await.unwrap();
    let mut end = [0; 1];
    let read = tokio::io::AsyncReadExt::read(&mut stream, &mut end);
    let read = tokio::time::timeout(PATIENCE, read).await.expect("an end");
    assert!(matches!(read, Ok(0) | Err(_)));
    until("all three are counted", || server.health.counted(Room::Serve, Trouble::Timeout) == 3).await;
}

#[tokio::test]
async fn half_open_handshakes_do_not_stop_honest_readers() {
    let server = serve(public(TlsFiles::default())).await;
    let client = Client::trusting(&shown(&server).await, None);
    let mut half_open = Vec::new();
    for round in 0..4 {
        for _ in 0..250 {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).await.unwrap();
            half_open.push(stream);
        }
        let started = Instant::now();
        assert_eq!(client.get(&server, "/api/v1/node", None).await.status, 200);
        assert!(started.elapsed() < Duration::from_secs(2), "round {round}: {:?}", started.elapsed());
    }
    assert!(server.health.connections.load(Ordering::SeqCst) <= 256);
    assert!(server.health.connections_refused.load(Ordering::SeqCst) >= 700);
}

#[tokio::test]
async fn every_address_means_both_families() {
    let access = public(TlsFiles::default());
    let listen = [Listen::Tls("[::]:0".parse().unwrap()), Listen::Plain("[::]:0".parse().unwrap())];
    let bound = bind(&listen, access).await.unwrap();
    for bound in &bound {
        let port: u16 = bound.address().rsplit_once(':').unwrap().1.parse().unwrap();
        for host in ["127.0.0.1", "::1"] {
            let connected = std::net::TcpStream::connect((host, port));
            if host == "::1" && std::net::TcpListener::bind("[::1]:0").is_err() {
                continue;
            }
            connected.unwrap_or_else(|error| panic!("{host}: {error}"));
        }
    }
}

#[tokio::test]
async fn a_connection_is_closed_the_way_tls_closes() {
    let server = serve(public(TlsFiles::default())).await;
    let client = Client::trusting(&shown(&server).await, None);
    let mut kept = client.connect(&server).await.unwrap();
    assert_eq!(get_on(&mut kept, "/livez", "").await.status, 200);
    server.stop.send_replace(true);
    // Without `close_notify` this would be an error.
    let mut rest = Vec::new();
    let end = tokio::io::AsyncReadExt::read_to_end(&mut kept, &mut rest);
    assert_eq!(tokio::time::timeout(PATIENCE, end).await.unwrap().unwrap(), 0);
    let task = tokio::time::timeout(PATIENCE, server.task).await;
    task.unwrap().unwrap();
    let mut gone = [0; 1];
    assert!(std::net::TcpStream::connect(server.address).and_then(|mut it| it.read(&mut gone)).is_err());
}
