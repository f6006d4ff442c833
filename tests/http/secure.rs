//! A server behind TLS, authorities and clients for it, and the API server it asks: plain HTTP on
//! loopback, as `kubectl proxy` would show a real one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use podvitals::config::{Listen, TlsFiles};
use podvitals::kubernetes::client::ApiServer;
use podvitals::serve::{Access, Bound, Limits, bind};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::client::{Answer, PATIENCE, Server, clock, first_answer, server_on};
use super::node;

/// Someone who signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) pem: String,
}

/// A certificate with its key.
pub(crate) struct Leaf {
    pub(crate) certificate: String,
    pub(crate) key: String,
    chain: CertificateDer<'static>,
    private: PrivateKeyDer<'static>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Self { issuer: Issuer::new(params, key), certificate: der, pem }
    }

    /// For a server at localhost.
    pub(crate) fn server(&self) -> Leaf {
        self.issue(ExtendedKeyUsagePurpose::ServerAuth, 2030)
    }

    /// For a client.
    pub(crate) fn client(&self) -> Leaf {
        self.issue(ExtendedKeyUsagePurpose::ClientAuth, 2090)
    }

    /// Until the first day of that year.
    pub(crate) fn issue(&self, usage: ExtendedKeyUsagePurpose, year: i32) -> Leaf {
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            chain: certificate.der().clone(),
            private: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    }
}

/// Files as the kubelet mounts a secret: symlinks through `..data`, which is replaced as a whole.
pub(crate) struct Mount {
    pub(crate) path: PathBuf,
    versions: Mutex<u32>,
}

impl Mount {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("podvitals-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self { path, versions: Mutex::new(0) }
    }

    /// Replaces all files at once.
    pub(crate) fn swap(&self, files: &[(&str, &str)]) {
        let mut versions = self.versions.lock().unwrap();
        *versions += 1;
        let version = format!("..v{versions}");
        std::fs::create_dir(self.path.join(&version)).unwrap();
        for (name, text) in files {
            std::fs::write(self.path.join(&version).join(name), text).unwrap();
            let _ = std::os::unix::fs::symlink(Path::new("..data").join(name), self.path.join(name));
        }
        std::os::unix::fs::symlink(&version, self.path.join("..next")).unwrap();
        std::fs::rename(self.path.join("..next"), self.path.join("..data")).unwrap();
    }

    pub(crate) fn identity(&self, leaf: &Leaf) {
        self.swap(&[("tls.crt", &leaf.certificate), ("tls.key", &leaf.key)]);
    }

    pub(crate) fn files(&self) -> TlsFiles {
        TlsFiles {
            identity: Some((self.path.join("tls.crt"), self.path.join("tls.key"))),
            client_ca: self.path.join("ca.crt").exists().then(|| self.path.join("ca.crt")),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// A guarded address on loopback.
pub(crate) async fn listen(access: Access) -> Vec<Bound> {
    bind(&[Listen::Tls("127.0.0.1:0".parse().unwrap())], access).await.unwrap()
}

/// The server of the hand-made node behind TLS.
pub(crate) async fn serve(access: Access) -> Server {
    serve_within(Limits::default(), access).await
}

pub(crate) async fn serve_within(limits: Limits, access: Access) -> Server {
    server_on(listen(access).await, limits, clock::<0>, Some(node::snapshot()))
}

/// What a client shows and whom it believes.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) config: Arc<ClientConfig>,
    name: &'static str,
    from: [u8; 4],
}

impl Client {
    pub(crate) fn trusting(root: &CertificateDer<'static>, own: Option<&Leaf>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_root_certificates(roots);
        let config = match own {
            None => config.with_no_client_auth(),
            Some(own) => {
                config.with_client_auth_cert(vec![own.chain.clone()], own.private.clone_key()).unwrap()
            }
        };
        Self { config: Arc::new(config), name: "localhost", from: [127, 0, 0, 1] }
    }

    /// Asks for the server by another name.
    pub(crate) fn calling(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// Connects from another address of this host.
    pub(crate) fn from(self, from: [u8; 4]) -> Self {
        Self { from, ..self }
    }

    /// Offers these protocols.
    pub(crate) fn speaking(self, protocols: &[&str]) -> Self {
        let mut config = (*self.config).clone();
        config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        Self { config: Arc::new(config), ..self }
    }

    pub(crate) async fn connect(&self, server: &Server) -> std::io::Result<TlsStream<TcpStream>> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((self.from, 0).into())?;
        let stream = socket.connect(server.address).await?;
        let name = ServerName::try_from(self.name).unwrap();
        let connecting = TlsConnector::from(self.config.clone()).connect(name, stream);
        tokio::time::timeout(PATIENCE, connecting).await.expect("a handshake")
    }

    /// `GET path` on a connection of its own.
    pub(crate) async fn get(&self, server: &Server, path: &str, token: Option<&str>) -> Answer {
        let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        self.ask(server, "GET", path, &token).await
    }

    pub(crate) async fn ask(&self, server: &Server, method: &str, path: &str, headers: &str) -> Answer {
        let mut stream = self.connect(server).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
        read.expect("the server should have closed the connection").unwrap();
        first_answer(&bytes, method).0
    }
}

/// One `GET` and its answer on a connection that stays open.
pub(crate) async fn get_on(stream: &mut TlsStream<TcpStream>, path: &str, headers: &str) -> Answer {
    stream.write_all(format!("GET {path} HTTP/1.1\r\n{headers}\r\n").as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut chunk)).await.expect("an answer").unwrap();
        assert_ne!(read, 0, "closed after {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&chunk[..read]);
        if let Some((answer, more)) = super::client::parse(&bytes, "GET") {
            assert!(more.is_empty());
            return answer;
        }
    }
}

/// An API server that knows some tokens and rights, and counts what it is asked.
pub(crate) struct Api {
    address: SocketAddr,
    world: Arc<Mutex<World>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct World {
    users: BTreeMap<String, Value>,
    /// User, and `nodes/metrics n1` or a path.
    rights: BTreeSet<(String, String)>,
    asked: Vec<Value>,
    /// Refuses every review with this status.
    refusal: Option<u16>,
    /// Before each answer.
    delay: Duration,
}

impl Api {
    pub(crate) async fn start() -> Self {
        let world = Arc::new(Mutex::new(World::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(answer_all(listener, world.clone()));
        Self { address, world, task }
    }

    pub(crate) fn client(&self) -> ApiServer {
        ApiServer::anonymous(&format!("http://{}", self.address)).unwrap()
    }

    /// A token of a ServiceAccount.
    pub(crate) fn admit(&self, token: &str, account: &str) {
        let user = json!({
            "username": format!("system:serviceaccount:default:{account}"),
            "uid": format!("uid-of-{account}"),
            "groups": ["system:serviceaccounts", "system:authenticated"],
            "extra": { "authentication.kubernetes.io/pod-name": ["scraper-0"] },
        });
        self.world.lock().unwrap().users.insert(token.to_owned(), user);
    }

    pub(crate) fn grant(&self, account: &str, right: &str) {
        let user = format!("system:serviceaccount:default:{account}");
        self.world.lock().unwrap().rights.insert((user, right.to_owned()));
    }

    pub(crate) fn refuse(&self, status: Option<u16>) {
        self.world.lock().unwrap().refusal = status;
    }

    pub(crate) fn delay(&self, delay: Duration) {
        self.world.lock().unwrap().delay = delay;
    }

    /// The specs of all reviews so far.
    pub(crate) fn asked(&self) -> Vec<Value> {
        self.world.lock().unwrap().asked.clone()
    }

    /// Ends it, connections included.
    pub(crate) async fn stop(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// Starts it again where it was.
    pub(crate) async fn resume(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.task = tokio::spawn(answer_all(listener, self.world.clone()));
    }
}

async fn answer_all(listener: TcpListener, world: Arc<Mutex<World>>) {
    // Dropped with this task, and their connections with them.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.spawn(answer_one(stream, world.clone()));
    }
}

/// Reviews, one after the other, until the client leaves.
async fn answer_one(mut stream: TcpStream, world: Arc<Mutex<World>>) {
    let mut bytes = Vec::new();
    loop {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let whole = end.and_then(|end| {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
            let length: usize = length.parse().unwrap();
            let body = bytes.get(end + 4..end + 4 + length)?;
            Some((end + 4 + length, head, serde_json::from_slice::<Value>(body).unwrap()))
        });
        let Some((length, head, review)) = whole else {
            let mut chunk = [0; 4096];
            match stream.read(&mut chunk).await {
                Ok(read @ 1..) => bytes.extend_from_slice(&chunk[..read]),
                _ => return,
            }
            continue;
        };
        bytes.drain(..length);
        let delay = world.lock().unwrap().delay;
        tokio::time::sleep(delay).await;
        let (status, body) = world.lock().unwrap().answer(&head, review);
        let body = body.to_string();
        let answer = format!(
            "HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

impl World {
    fn answer(&mut self, head: &str, mut review: Value) -> (u16, Value) {
        self.asked.push(review["spec"].clone());
        if let Some(code) = self.refusal {
            let status = json!({"kind": "Status", "apiVersion": "v1", "code": code, "status": "Failure",
                "message": "as the test wishes", "reason": "Forbidden"});
            return (code, status);
        }
        let spec = &review["spec"];
        if head.starts_with("post /apis/authentication.k8s.io/v1/tokenreviews ") {
            review["status"] = match self.users.get(spec["token"].as_str().unwrap()) {
                Some(user) => json!({"authenticated": true, "user": user, "audiences": ["api"]}),
                None => json!({"user": {}, "error": "[invalid bearer token]"}),
            };
        } else {
            assert!(head.starts_with("post /apis/authorization.k8s.io/v1/subjectaccessreviews "), "{head}");
            let wanted = match &spec["resourceAttributes"] {
                Value::Null => spec["nonResourceAttributes"]["path"].as_str().unwrap().to_owned(),
                it => {
                    let word = |key: &str| it[key].as_str().unwrap().to_owned();
                    format!("{}/{} {}", word("resource"), word("subresource"), word("name"))
                }
            };
            let user = spec["user"].as_str().unwrap().to_owned();
            review["status"] = json!({"allowed": self.rights.contains(&(user, wanted))});
        }
        (201, review)
    }
}
