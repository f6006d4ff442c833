//! A client that has nothing in common with the server: HTTP/1.1 by hand, over TCP or TLS.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use podvitals::model::document::PodList;
use rustix::thread::LinkNameSpaceType;
use rustls::ClientConfig;
use rustls::DigitallySignedStruct;
use rustls::SignatureScheme;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;
use serde::de::DeserializeOwned;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::line::Line;

const PATIENCE: Duration = Duration::from_secs(10);

/// Where to ask, and as whom.
#[derive(Clone)]
pub(crate) struct Reader {
    address: SocketAddr,
    /// In whose netns to ask; `None`: in our own.
    netns_of: Option<u32>,
    tls: Option<TlsConnector>,
    /// Of this machine, to come from; `None`: the kernel chooses.
    source: Option<IpAddr>,
    pub(crate) token: Option<String>,
}

/// A client certificate with those that vouch for it, and its key.
pub(crate) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Bytes both ways.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reader {
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self { address, netns_of: None, tls: None, source: None, token: None }
    }

    /// As somebody in the netns of that process: on its loopback, without `kubectl port-forward`, which
    /// ends with the API server.
    pub(crate) fn inside(pid: u32, port: u16) -> Self {
        Self { netns_of: Some(pid), ..Self::plain(SocketAddr::from(([127, 0, 0, 1], port))) }
    }

    /// Whoever signed the server's certificate is believed, as scrapers do with a self-signed one.
    pub(crate) fn tls(address: SocketAddr, token: Option<String>) -> Self {
        Self::tls_as(address, token, None)
    }

    /// The same, with a client certificate.
    pub(crate) fn tls_as(address: SocketAddr, token: Option<String>, identity: Option<Identity>) -> Self {
        let provider = Arc::new(ring::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let trusting = Arc::new(Trusting(provider));
        let config = config.unwrap().dangerous().with_custom_certificate_verifier(trusting);
        let config = match identity {
            Some((chain, key)) => config.with_client_auth_cert(chain, key).unwrap(),
            None => config.with_no_client_auth(),
        };
        Self { address, netns_of: None, tls: Some(TlsConnector::from(Arc::new(config))), source: None, token }
    }

    /// The same, showing that token.
    pub(crate) fn with_token(&self, token: String) -> Self {
        Self { token: Some(token), ..self.clone() }
    }

    /// The same, coming from another address of this machine.
    pub(crate) fn coming_from(&self, source: IpAddr) -> Self {
        Self { source: Some(source), ..self.clone() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.try_get(path).await.unwrap_or_else(|error| panic!("{} {path}: {error:#}", self.address))
    }

    /// As [`Self::get`], for when there may be nobody.
    pub(crate) async fn try_get(&self, path: &str) -> anyhow::Result<Answer> {
        let host = self.address;
        let token = self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n"));
        let token = token.unwrap_or_default();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{token}Connection: close\r\n\r\n");
        timeout(PATIENCE, self.exchange(request.as_bytes())).await?
    }

    /// Sends these bytes and reads until the server has no more to say.
    pub(crate) async fn exchange(&self, request: &[u8]) -> anyhow::Result<Answer> {
        exchange(self.stream().await?, request).await
    }

    /// A connection that is kept, for one request after the other.
    pub(crate) async fn line(&self) -> anyhow::Result<Line> {
        let stream = timeout(PATIENCE, self.stream()).await??;
        Ok(Line::new(stream, self.address, self.token.as_deref()))
    }

    /// The certificate that new connections are shown.
    pub(crate) async fn served_certificate(&self) -> anyhow::Result<CertificateDer<'static>> {
        let connector = self.tls.as_ref().ok_or_else(|| anyhow::anyhow!("{} is plain", self.address))?;
        let name = ServerName::from(self.address.ip());
        let stream = connector.connect(name, self.connect().await?).await?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        chain.first().cloned().ok_or_else(|| anyhow::anyhow!("no certificate"))
    }

    /// TCP and nothing else, whatever the server expects.
    pub(crate) async fn connect(&self) -> anyhow::Result<TcpStream> {
        if let Some(pid) = self.netns_of {
            return connect_inside(pid, self.address).await;
        }
        let socket = if self.address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(source) = self.source {
            socket.bind((source, 0).into())?;
        }
        Ok(socket.connect(self.address).await?)
    }

    /// TCP, and TLS where that is spoken.
    pub(crate) async fn stream(&self) -> anyhow::Result<Box<dyn Stream>> {
        let stream = self.connect().await?;
        Ok(match &self.tls {
            None => Box::new(stream),
            Some(connector) => {
                Box::new(connector.connect(ServerName::from(self.address.ip()), stream).await?)
            }
        })
    }

    pub(crate) async fn json<T: DeserializeOwned>(&self, path: &str) -> T {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub(crate) async fn list(&self) -> PodList {
        self.json("/api/v1/pods").await
    }

    /// The first sweep that is served with a greater number than `tick`.
    pub(crate) async fn list_after(&self, tick: u64) -> PodList {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let list = self.list().await;
            if list.tick > tick {
                return list;
            }
            assert!(Instant::now() < deadline, "no sweep after {tick}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// A sweep begun after this call.
    pub(crate) async fn next_list(&self) -> PodList {
        let tick = self.list().await.tick;
        self.list_after(tick + 1).await
    }

    /// The value of one line of `/metrics`, labels included in `series`.
    pub(crate) async fn metric(&self, series: &str) -> Option<f64> {
        let text = self.get("/metrics").await.body;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        line.split(' ').next()?.parse().ok()
    }
}

/// A socket belongs to the netns it was made in, whoever uses it. The thread that went there ends there.
async fn connect_inside(pid: u32, address: SocketAddr) -> anyhow::Result<TcpStream> {
    let (made, stream) = tokio::sync::oneshot::channel();
    let connect = move || -> anyhow::Result<std::net::TcpStream> {
        let netns = std::fs::File::open(format!("/proc/{pid}/ns/net"))?;
        let kind = Some(LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(netns.as_fd(), kind)?;
        let stream = std::net::TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    };
    std::thread::spawn(move || made.send(connect()));
    Ok(TcpStream::from_std(stream.await??)?)
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> anyhow::Result<Answer> {
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    // Not until the end of the connection, which `kubectl port-forward` passes on a second late.
    while !is_whole(&answer) {
        match stream.read_buf(&mut answer).await {
            Ok(0) => break,
            Ok(_) => {}
            // A server that hangs up without TLS's own goodbye has said all the same.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof && !answer.is_empty() => break,
            Err(error) => return Err(error.into()),
        }
    }
    let text = String::from_utf8_lossy(&answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { anyhow::bail!("not HTTP: {text:?}") };
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| anyhow::anyhow!("no status: {head:?}"))?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    anyhow::ensure!(!chunked, "a chunked answer, which this client does not read");
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// Whether the body is as long as the head says.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    length.is_some_and(|length: usize| answer.len() - end - 4 >= length)
}

/// Believes any certificate.
#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
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
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
