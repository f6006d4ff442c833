//! One connection of HTTP/2: several requests at once, within the deadlines of any other connection.
//!
//! # Limits
//! A connection has at most 16 requests in flight, and all connections of one address together have no more
//! (`slots`): an answer that nobody reads is in flight. Each has a head of 8 KiB, and the oldest of them has
//! as long as a request on a connection of its own. Frames that are not requests buy no time. Requests that
//! are taken back before they are looked at (CVE-2023-44487) end the connection at the ninth.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::connection::{End, Watched, answer, drive};
use super::crowd::{Place, Stream};
use super::door::{Door, is_about_health};
use super::limits::HEAD_BYTES;
use super::live;
use super::routes::Routes;
use crate::model::health::{Health, Room, Trouble};

/// Requests in flight on one connection.
const STREAMS: u32 = 16;

/// Requests taken back before they were looked at.
const TAKEN_BACK: usize = 8;

/// What is kept ready for a client that has not made room for it.
const SEND_BUFFER: usize = 64 * 1024;

/// A client that is silent is asked whether it is there, and has this long to say so.
const PING_EVERY: Duration = Duration::from_secs(10);
const PONG_WITHIN: Duration = Duration::from_secs(5);

/// Serves one connection until it ends, times out, has to make room or `stop` turns true.
pub(super) async fn serve<S>(
    stream: S,
    place: Place,
    door: Door,
    routes: Routes,
    health: Arc<Health>,
    mut stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let visit = place.visit();
    let inner = TowerToHyperService::new(warp::service(routes));
    let stopping = stop.clone();
    let service = service_fn(|request: Request<Incoming>| {
        let (inner, door, stopping) = (inner.clone(), door.clone(), stopping.clone());
        let mut stream = visit.begin_stream(is_about_health(request.uri().path()));
        async move {
            let (bare, admitted) = (request.method() == Method::HEAD, stream.admitted);
            let response = answer(request, &inner, &door, || admitted).await?;
            let response = live::carry(response, bare, &stopping, &mut || stream.go_live());
            Ok::<_, Infallible>(response.map(|body| Tracked { body, bare, _stream: stream }))
        }
    });
    let head = u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX);
    let stream = TokioIo::new(Watched::new(stream, visit.clone(), false));
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(head)
        .max_pending_accept_reset_streams(TAKEN_BACK)
        .max_local_error_reset_streams(TAKEN_BACK)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN);
    let connection = pin!(builder.serve_connection(stream, service));
    let end = drive(connection, |it| it.graceful_shutdown(), visit, &mut stop).await;
    if matches!(end, End::TimedOut) && !visit.is_idle() {
        health.count(Room::Serve, Trouble::Timeout);
    }
}

/// A body that ends its stream when the last of it is on its way. `HEAD` has none: on HTTP/2 nothing
/// but us would leave it out.
struct Tracked<B> {
    body: B,
    bare: bool,
    _stream: Stream,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Tracked<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.bare { Poll::Ready(None) } else { Pin::new(&mut self.body).poll_frame(cx) }
    }

    fn is_end_stream(&self) -> bool {
        self.bare || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.bare { SizeHint::with_exact(0) } else { self.body.size_hint() }
    }
}
