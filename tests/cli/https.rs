//! A server behind TLS: whom the client believes, and to whom it shows its token.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{Canned, Folder, TABLE, fails_with, pods, podvitals, run, stderr, stdout};

/// A server with a certificate of its own, and the heads of what it was asked.
struct Secure {
    url: String,
    certificate: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Secure {
    fn start() -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let noted = heads.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let session = ServerConnection::new(config.clone()).unwrap();
                let mut stream = StreamOwned::new(session, stream.unwrap());
                // A client that does not believe us leaves in the middle.
                let Some(head) = head(&mut stream) else { continue };
                noted.lock().unwrap().push(head);
                let body = pods();
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        });
        Self { url, certificate: certificate.pem(), heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn head(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    String::from_utf8(head).ok()
}

#[test]
fn https_wants_an_authority_or_to_be_told_to_go_without() {
    let server = Secure::start();
    fails_with(
        &["get", "pods", "--server", &server.url],
        &format!(
            "podvitals: {}: an https server: name the file of the authority that signed its certificate with --ca, or \
             take any certificate with --insecure-skip-tls-verify\n",
            server.url
        ),
    );
    let output = run(&["get", "pods", "--server", &server.url, "--insecure-skip-tls-verify"]);
    assert_eq!((stdout(&output), stderr(&output)), (TABLE, ""));
    assert_eq!(server.heads().len(), 1);
    assert!(!server.heads()[0].to_lowercase().contains("authorization"));
}

#[test]
fn a_token_is_shown_to_the_server_that_was_meant_and_to_no_other() {
    let (server, other) = (Secure::start(), Secure::start());
    let folder = Folder::new("token");
    let (ca, token) = (folder.join("ca.crt"), folder.join("token"));
    std::fs::write(&ca, &server.certificate).unwrap();
    std::fs::write(&token, "eyJ.eyI.x\n").unwrap();
    let (ca, token) = (ca.to_str().unwrap(), token.to_str().unwrap());
    let output = run(&["get", "pods", "--server", &server.url, "--ca", ca, "--token-file", token]);
    assert_eq!((stdout(&output), stderr(&output)), (TABLE, ""));
    let heads = server.heads();
    let line = heads[0].lines().find(|line| line.to_lowercase().starts_with("authorization: "));
    assert_eq!(line.unwrap().split_once(": ").unwrap().1, "Bearer eyJ.eyI.x");

    let output = run(&["get", "pods", "--server", &other.url, "--ca", ca, "--token-file", token]);
    assert_eq!(output.status.code(), Some(1));
    let said = format!("podvitals: {}: no TLS with this server: invalid peer certificate", other.url);
    assert!(stderr(&output).starts_with(&said), "{}", stderr(&output));
    assert!(other.heads().is_empty(), "it was asked nothing");

    // In plain it would be anybody's.
    let plain = Canned::start(vec![("/api/v1/pods", 200, pods())]);
    let mut command = podvitals(&["get", "pods", "--server", &plain.url]);
    assert_eq!(stdout(&command.env("PODVITALS_TOKEN_FILE", token).output().unwrap()), TABLE);
    assert!(plain.heads.lock().unwrap().iter().all(|head| !head.to_lowercase().contains("authorization")));
}

#[test]
fn files_that_hold_something_else_are_named() {
    let server = Secure::start();
    let folder = Folder::new("files");
    let empty = folder.join("empty");
    std::fs::write(&empty, "\n").unwrap();
    let empty = empty.to_str().unwrap();
    let said = format!("podvitals: {}: {empty}: no certificate (PEM) in it\n", server.url);
    fails_with(&["get", "pods", "--server", &server.url, "--ca", empty], &said);
    let insecure = ["get", "pods", "--server", &server.url, "--insecure-skip-tls-verify", "--token-file"];
    let said = format!("podvitals: {}: {empty}: no token in it\n", server.url);
    fails_with(&[&insecure[..], &[empty]].concat(), &said);
    let said = format!(
        "podvitals: {}: /no/token: cannot be read: No such file or directory (os error 2)\n",
        server.url
    );
    fails_with(&[&insecure[..], &["/no/token"]].concat(), &said);
}

#[test]
fn an_address_that_could_let_nobody_in_is_refused_at_start() {
    let serve = ["serve", "--source", "cgroup", "--listen", "https://127.0.0.1:0"];
    let output = run(&serve);
    assert_eq!((output.status.code(), stdout(&output)), (Some(78), ""), "{}", stderr(&output));
    let said = "podvitals: https://127.0.0.1:0: nobody can be told apart there; name an authority of clients with --client-ca";
    assert!(stderr(&output).contains(said), "{}", stderr(&output));
    let missing = ["--tls-cert", "/no/tls.crt", "--tls-key", "/no/tls.key", "--insecure-public"];
    let output = run(&[&serve[..], &missing].concat());
    assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
    let said = "podvitals: /no/tls.crt: cannot be read: No such file or directory (os error 2)\n";
    assert!(stderr(&output).ends_with(said), "{}", stderr(&output));
}
