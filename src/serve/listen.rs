//! Sockets: where we listen, and why we could not.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::net::sockopt::set_ipv6_v6only;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

use super::tls::TlsError;
use super::{Access, Secure};
use crate::config::Listen;

/// Why serving could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be had.
    #[error("{address}: cannot listen there; {cure}")]
    Bind {
        /// As it was asked for.
        address: String,
        /// What to do.
        cure: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Another process answers on that socket.
    #[error("unix://{path}: another process listens there; stop it, or choose another path with --listen")]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// TLS cannot be spoken.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Nobody could ever be let in.
    #[error(
        "{address}: nobody can be told apart there; name an authority of clients with --client-ca, configure an API \
         server that knows tokens (in-cluster, or KUBECONFIG), or say --insecure-public if everybody on that network \
         may read it"
    )]
    Closed {
        /// The address.
        address: String,
    },
    /// Something that is not ours to remove is in the way.
    #[error(
        "unix://{path}: there is a file that is not a socket; move it, or choose another path with --listen"
    )]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
}

/// A socket that listens and is not served yet.
#[derive(Debug)]
pub struct Bound(pub(super) Socket);

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener, SocketAddr),
    Tls(TcpListener, SocketAddr, Arc<Secure>),
    Unix(UnixListener, SocketFile),
}

/// Someone who connected.
pub(super) enum Client {
    Tcp {
        stream: TcpStream,
        peer: IpAddr,
        /// The listener is on loopback.
        loopback: bool,
    },
    Tls {
        stream: TcpStream,
        peer: IpAddr,
        secure: Arc<Secure>,
    },
    Unix(UnixStream),
}

impl Socket {
    /// The next one who connects. May be dropped at any time without losing anybody.
    pub(super) async fn accept(&self) -> io::Result<Client> {
        match self {
            Self::Tcp(listener, address) => {
                let (stream, peer) = listener.accept().await?;
                Ok(Client::Tcp { stream, peer: peer.ip(), loopback: address.ip().is_loopback() })
            }
            Self::Tls(listener, _, secure) => {
                let (stream, peer) = listener.accept().await?;
                Ok(Client::Tls { stream, peer: peer.ip(), secure: secure.clone() })
            }
            Self::Unix(listener, _) => listener.accept().await.map(|(stream, _)| Client::Unix(stream)),
        }
    }
}

/// Where the socket is in the file system; removed when we go.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Bound {
    /// What it shares with the other https addresses, if it is one.
    pub(super) fn secure(&self) -> Option<&Arc<Secure>> {
        match &self.0 {
            Socket::Tls(_, _, secure) => Some(secure),
            Socket::Tcp(..) | Socket::Unix(..) => None,
        }
    }

    /// Where clients reach us: `http://127.0.0.1:9790` with the actual port, or `unix:///path`.
    pub fn address(&self) -> String {
        match &self.0 {
            Socket::Tcp(_, address) => format!("http://{address}"),
            Socket::Tls(_, address, _) => format!("https://{address}"),
            Socket::Unix(_, file) => format!("unix://{}", file.path.display()),
        }
    }
}

/// Opens all sockets, or none.
///
/// # Errors
/// The first address that cannot be had, why, and what to do.
pub async fn bind(listen: &[Listen], access: Access) -> Result<Vec<Bound>, ServeError> {
    let mut bound = Vec::with_capacity(listen.len());
    let tls: Vec<_> = listen.iter().filter(|one| matches!(one, Listen::Tls(_))).collect();
    let secure = match tls.first() {
        Some(first) if !access.opens() => return Err(ServeError::Closed { address: first.to_string() }),
        Some(_) => Some(Arc::new(Secure::new(access)?)),
        None => None,
    };
    for one in listen {
        bound.push(Bound(match (one, &secure) {
            (Listen::Tls(address), Some(secure)) => {
                let (listener, address) = tcp(*address).map_err(|source| refused(one, source))?;
                Socket::Tls(listener, address, secure.clone())
            }
            (Listen::Plain(address) | Listen::Tls(address), _) => {
                let (listener, address) = tcp(*address).map_err(|source| refused(one, source))?;
                Socket::Tcp(listener, address)
            }
            (Listen::Unix(path), _) => unix(path).await?,
        }));
    }
    Ok(bound)
}

fn tcp(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = match listener(address) {
        // A kernel without IPv6: its every address is an IPv4 one.
        Err(error) if is_any_v6(address) && is_no_v6(&error) => {
            listener(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()))?
        }
        listener => listener?,
    };
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Or a successor would have to wait for the last connections of its predecessor.
    socket.set_reuseaddr(true)?;
    if is_any_v6(address) {
        // Whatever `net.ipv6.bindv6only` says: `[::]` means every address.
        set_ipv6_v6only(&socket, false)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Clients that may wait to be accepted.
const BACKLOG: u32 = 1024;

fn is_any_v6(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

fn is_no_v6(error: &io::Error) -> bool {
    // `ipv6.disable=1` has no kind of its own.
    let unsupported = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(unsupported)
}

async fn unix(path: &Path) -> Result<Socket, ServeError> {
    remove_stale(path).await?;
    let bound = || -> io::Result<Socket> {
        let listener = UnixListener::bind(path)?;
        // Until here the umask alone decided who may connect.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        let inode = std::fs::symlink_metadata(path)?.ino();
        Ok(Socket::Unix(listener, SocketFile { path: path.to_owned(), inode }))
    };
    bound().map_err(|source| refused(&Listen::Unix(path.to_owned()), source))
}

/// A killed process leaves its socket behind; one that answers is left alone.
async fn remove_stale(path: &Path) -> Result<(), ServeError> {
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(ServeError::NotASocket { path: path.to_owned() });
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|source| refused(&Listen::Unix(path.to_owned()), source))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(refused(&Listen::Unix(path.to_owned()), error))
        }
        _ => Err(ServeError::Taken { path: path.to_owned() }),
    }
}

fn refused(listen: &Listen, source: io::Error) -> ServeError {
    let cure = match source.kind() {
        io::ErrorKind::AddrInUse => "another process does; stop it, or choose another one with --listen",
        io::ErrorKind::AddrNotAvailable => "this host has no such address; choose another one with --listen",
        io::ErrorKind::PermissionDenied => {
            "this user may not; choose a port from 1024 on or another directory with --listen"
        }
        io::ErrorKind::NotFound => "make the directory first, or choose another path with --listen",
        _ => "choose another one with --listen",
    };
    ServeError::Bind { address: listen.to_string(), cure, source }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Only if it is still ours: a successor may have replaced it.
        if std::fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("podvitals-listen-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[tokio::test]
    async fn port_0_becomes_the_port_we_got() {
        let bound = bind(&[Listen::Plain("127.0.0.1:0".parse().unwrap())], Access::default()).await.unwrap();
        let port: u16 = bound[0].address().strip_prefix("http://127.0.0.1:").unwrap().parse().unwrap();
        assert_ne!(port, 0);
        let taken = Listen::Plain(format!("127.0.0.1:{port}").parse().unwrap());
        let error = bind(&[taken], Access::default()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "http://127.0.0.1:{port}: cannot listen there; another process does; stop it, or choose another one \
                 with --listen"
            )
        );
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let directory = directory("stale");
        let path = directory.join("a.sock");
        let listen = [Listen::Unix(path.clone())];
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves the file behind, as a killed process does");
        let bound = bind(&listen, Access::default()).await.unwrap();
        assert_eq!(bound[0].address(), format!("unix://{}", path.display()));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(matches!(bind(&listen, Access::default()).await, Err(ServeError::Taken { .. })));
        assert!(path.exists());
        drop(bound);
        assert!(!path.exists(), "we leave nothing behind");
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let directory = directory("file");
        let path = directory.join("precious");
        std::fs::write(&path, "text").unwrap();
        let refused = bind(&[Listen::Unix(path.clone())], Access::default()).await;
        assert!(matches!(refused, Err(ServeError::NotASocket { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "text");
        let missing =
            bind(&[Listen::Unix(directory.join("no/such/x.sock"))], Access::default()).await.unwrap_err();
        assert!(missing.to_string().contains("make the directory first"), "{missing}");
        std::fs::remove_dir_all(directory).unwrap();
    }
}
