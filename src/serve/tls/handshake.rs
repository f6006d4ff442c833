//! From the first byte of a connection to TLS, within the deadlines of any other connection.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::super::connection::linger;
use super::super::crowd::{Place, Reached, Visit};
use super::super::told;
use super::Tls;
use crate::model::health::{Health, Room, Trouble};

/// For who types `http://` with the port of `https://`. A TLS alert would look like garbage to them.
const PLAIN: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 48\r\nConnection: close\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// TLS with this client; `None` if it cannot speak it, takes too long, has to make room, or we stop.
pub(in crate::serve) async fn handshake(
    stream: TcpStream,
    place: &Place,
    tls: &Tls,
    health: &Health,
    stop: &mut watch::Receiver<bool>,
) -> Option<TlsStream<TcpStream>> {
    let visit = place.visit();
    // What is awaited is the head of the first request; the handshake is a part of that.
    let deadline = visit.deadline();
    tokio::select! {
        biased;
        () = visit.evicted() => None,
        () = told(stop) => None,
        agreed = agree(stream, tls.config(), visit) => agreed,
        () = tokio::time::sleep_until(deadline) => {
            health.count(Room::Serve, Trouble::Timeout);
            None
        }
    }
}

async fn agree(
    mut stream: TcpStream,
    config: Arc<ServerConfig>,
    visit: &Visit,
) -> Option<TlsStream<TcpStream>> {
    let mut first = [0];
    let spoke = stream.peek(&mut first).await.is_ok_and(|read| read == 1);
    if spoke && is_plain(first[0]) {
        let _ = stream.write_all(PLAIN.as_bytes()).await;
        linger(stream, visit).await;
        return None;
    }
    if spoke {
        visit.reached(Reached::Spoke);
    }
    match TlsAcceptor::from(config).accept(stream).into_fallible().await {
        Ok(stream) => {
            visit.reached(Reached::Agreed);
            Some(stream)
        }
        Err((error, stream)) => {
            // The alert that says why is on its way. Who just left needs none.
            if error.kind() == io::ErrorKind::InvalidData {
                tracing::debug!(%error, "a TLS handshake failed");
                linger(stream, visit).await;
            }
            None
        }
    }
}

/// A TLS record begins with its type, 22; a request with its method.
fn is_plain(first: u8) -> bool {
    first.is_ascii_alphabetic()
}
