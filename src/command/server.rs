//! A podvitals that serves, and one `GET` to it over HTTP/1.1, on a TCP or a unix socket, with TLS or
//! without.
//!
//! One connection for each question: a person asks once a second at most, and a daemon that was
//! restarted in between answers all the same.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, HOST, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::trust::{Trust, TrustError};
use crate::config::parse_port;

/// Where `serve` listens unless told otherwise.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:9790";

/// The whole of one question, from the name lookup to the last byte.
const DEADLINE: Duration = Duration::from_secs(5);

/// The longest answer we take: far more than a full node has to say.
const LONGEST: usize = 64 << 20;

/// Where a podvitals serves: `http://host:port` or `https://host:port`, with a path before the routes
/// if a proxy wants one (`kubectl proxy` does), or `unix:///path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    place: Place,
    trust: Trust,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Tcp { tls: bool, host: String, port: u16, prefix: String },
    Unix(PathBuf),
}

/// Not the address of a server.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected http://host:port, https://host:port or unix:///path")]
pub struct BadServer;

impl FromStr for Server {
    type Err = BadServer;

    fn from_str(text: &str) -> Result<Self, BadServer> {
        if let Some(path) = text.strip_prefix("unix://") {
            let absolute = path.starts_with('/') && path.len() > 1;
            return absolute.then(|| Place::Unix(path.into()).into()).ok_or(BadServer);
        }
        let uri: Uri = text.parse().map_err(|_| BadServer)?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(BadServer)?;
        let (tls, usual) = match uri.scheme_str() {
            Some("http") => (false, 80),
            Some("https") => (true, 443),
            _ => return Err(BadServer),
        };
        if uri.query().is_some() {
            return Err(BadServer);
        }
        // A port that cannot be one is no usual port, and a password in an address would be sent nowhere.
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let port = match authority.strip_prefix(host).ok_or(BadServer)? {
            "" => usual,
            rest => rest.strip_prefix(':').and_then(parse_port).ok_or(BadServer)?,
        };
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Place::Tcp { tls, host: host.to_owned(), port, prefix }.into())
    }
}

impl From<Place> for Server {
    fn from(place: Place) -> Self {
        Self { place, trust: Trust::default() }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Tcp { tls: false, host, port, prefix } => write!(f, "http://{host}:{port}{prefix}"),
            Place::Tcp { tls: true, host, port, prefix } => write!(f, "https://{host}:{port}{prefix}"),
            Place::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The socket refuses, or is not there.
    #[error("nobody listens on {server}: is `podvitals serve` running? or use --direct")]
    Nobody {
        /// Where.
        server: String,
    },
    /// Any other failure to connect.
    #[error("{server}: cannot connect")]
    Connect {
        /// Where.
        server: String,
        /// The cause.
        source: io::Error,
    },
    /// https does not come about.
    #[error("{server}")]
    Trust {
        /// Where.
        server: String,
        /// The cause.
        source: TrustError,
    },
    /// Nothing, or not all of it, in time.
    #[error("{server}: no whole answer within {} s", DEADLINE.as_secs())]
    Deadline {
        /// Where.
        server: String,
    },
    /// It does not speak HTTP, or hung up.
    #[error("{server}: not a valid HTTP answer")]
    Http {
        /// Where.
        server: String,
        /// The cause.
        source: hyper::Error,
    },
    /// It broke off, or is longer than we take.
    #[error("{server}: the answer cannot be read")]
    Body {
        /// Where.
        server: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The path cannot be asked for.
    #[error("{path}: not a path of HTTP")]
    Path {
        /// The path.
        path: String,
        /// The cause.
        source: hyper::http::Error,
    },
}

impl Server {
    /// The same server, with what is said about https.
    #[must_use]
    pub fn trusting(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }

    /// Status and body of `GET path`.
    ///
    /// # Errors
    /// There is no answer. An answer that says no is an answer.
    pub(super) async fn fetch(&self, path: &str) -> Result<(u16, Bytes), FetchError> {
        let asked = tokio::time::timeout(DEADLINE, self.ask(path));
        asked.await.unwrap_or_else(|_| Err(FetchError::Deadline { server: self.to_string() }))
    }

    async fn ask(&self, path: &str) -> Result<(u16, Bytes), FetchError> {
        let mut request = self.request(path)?;
        match &self.place {
            Place::Tcp { tls, host, port, .. } => {
                // A literal IPv6 address has brackets in a URL and none in a lookup.
                let host = host.trim_start_matches('[').trim_end_matches(']');
                let stream = TcpStream::connect((host, *port)).await.map_err(|error| self.refused(error))?;
                if !tls {
                    return self.exchange(stream, request).await;
                }
                let untrusted = |source| FetchError::Trust { server: self.to_string(), source };
                let stream = self.trust.agree(stream, host).await.map_err(untrusted)?;
                // Not before we know whom we talk to, and never in plain.
                if let Some(token) = self.trust.authorization().map_err(untrusted)? {
                    request.headers_mut().insert(AUTHORIZATION, token);
                }
                self.exchange(stream, request).await
            }
            Place::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(|error| self.refused(error))?;
                self.exchange(stream, request).await
            }
        }
    }

    fn request(&self, path: &str) -> Result<Request<Empty<Bytes>>, FetchError> {
        let (host, prefix) = match &self.place {
            Place::Tcp { host, port, prefix, .. } => (format!("{host}:{port}"), prefix.as_str()),
            Place::Unix(_) => ("localhost".to_owned(), ""),
        };
        Request::get(format!("{prefix}{path}"))
            .header(HOST, host)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("podvitals/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|source| FetchError::Path { path: path.to_owned(), source })
    }

    async fn exchange<S>(&self, stream: S, request: Request<Empty<Bytes>>) -> Result<(u16, Bytes), FetchError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let http = |source| FetchError::Http { server: self.to_string(), source };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
        // Ends by itself once the sender is dropped; its error comes out of the sender as well.
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(http)?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), LONGEST).collect().await;
        let body = body.map_err(|source| FetchError::Body { server: self.to_string(), source })?;
        Ok((status, body.to_bytes()))
    }

    fn refused(&self, source: io::Error) -> FetchError {
        let server = self.to_string();
        let nobody = match self.place {
            Place::Tcp { .. } => source.kind() == io::ErrorKind::ConnectionRefused,
            Place::Unix(_) => {
                matches!(source.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
            }
        };
        if nobody { FetchError::Nobody { server } } else { FetchError::Connect { server, source } }
    }
}
