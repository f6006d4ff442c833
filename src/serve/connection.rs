//! One connection, from its first byte to its last, with a deadline for every state it can be in.
//!
//! # Why
//! hyper's own `header_read_timeout` also runs between two requests, so it cannot tell a client that
//! drips a head (5 s) from a scraper that keeps its connection (30 s), and hyper has no deadline for
//! answers that nobody reads. The stream below reports what happens to it, the service reports
//! requests, and one timer is set to whatever deadline follows.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::watch;
use warp::Reply as _;

use super::crowd::{Place, Visit};
use super::door::Door;
use super::limits::HEAD_BYTES;
use super::routes::Routes;
use super::told;
use crate::model::health::{Health, Room, Trouble};

/// How long a client has for reading its last answer.
const LINGER: Duration = Duration::from_secs(1);

/// How a connection ended.
enum End {
    /// By itself: all that was asked is answered.
    Done,
    /// Nothing was in flight, and it had to make room or we stop.
    Cut,
    /// A deadline passed.
    TimedOut,
}

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
    let service = service_fn(|request: Request<Incoming>| answer(request, &inner, door, visit));
    let stream = TokioIo::new(Watched { inner: stream, visit: visit.clone() });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .half_close(true)
        .max_header_size(HEAD_BYTES)
        .max_buf_size(2 * HEAD_BYTES)
        .serve_connection(stream, service);
    let mut evicted = pin!(visit.evicted());
    let mut stopping = pin!(told(&mut stop));
    let (mut stopped, mut make_room) = (false, false);
    let mut alarm = pin!(tokio::time::sleep_until(visit.deadline()));
    let end = poll_fn(|cx| {
        if !stopped && stopping.as_mut().poll(cx).is_ready() {
            stopped = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        // An error here is the client's: a reset, or bytes that are not HTTP, which hyper answers.
        if Pin::new(&mut connection).poll(cx).is_ready() {
            return Poll::Ready(End::Done);
        }
        make_room = make_room || evicted.as_mut().poll(cx).is_ready();
        if (make_room || stopped) && !visit.in_flight() {
            return Poll::Ready(End::Cut);
        }
        // Everything that moves the deadline happened inside the poll above.
        let deadline = visit.deadline();
        if alarm.deadline() != deadline {
            alarm.as_mut().reset(deadline);
        }
        alarm.as_mut().poll(cx).map(|()| End::TimedOut)
    })
    .await;
    match end {
        End::Done => linger(connection.into_parts().io.into_inner().inner, visit).await,
        // Who is silent between two requests just leaves; who holds one up is trouble.
        End::TimedOut if !visit.is_idle() => health.count(Room::Serve, Trouble::Timeout),
        End::TimedOut | End::Cut => {}
    }
}

/// Reads and forgets what the client still sends, until it closes or we need its place.
///
/// Closing with bytes unread would make the kernel send a reset, and the client's
/// kernel would throw away an answer its program has not read yet: of all clients, the one that sent
/// too much would never learn why it was refused.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, visit: &Visit) {
    // hyper has done so unless the request was broken off.
    let _ = stream.shutdown().await;
    let mut forgotten = [0; 4096];
    let read_all = async { while matches!(stream.read(&mut forgotten).await, Ok(1..)) {} };
    tokio::select! {
        () = read_all => {}
        () = visit.evicted() => {}
        () = tokio::time::sleep(LINGER) => {}
    }
}

/// Through the door, then by the routes.
async fn answer<R>(
    request: Request<Incoming>,
    routes: &R,
    door: Door,
    visit: &Arc<Visit>,
) -> Result<Response<impl Body<Data = Bytes, Error = warp::Error> + use<R>>, Infallible>
where
    R: Service<Request<Empty<Bytes>>, Response = warp::reply::Response, Error = Infallible>,
{
    let response = match door.enter(request, visit) {
        Err(refusal) => refusal.reply().into_response(),
        Ok(request) => routes.call(request).await?,
    };
    Ok(response.map(|inner| Tracked { inner, visit: visit.clone() }))
}

/// A body that tells when hyper has taken the last of it.
struct Tracked<B> {
    inner: B,
    visit: Arc<Visit>,
}

impl<B: Body + Unpin> Body for Tracked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> Drop for Tracked<B> {
    fn drop(&mut self) {
        self.visit.handed_over();
    }
}

/// A stream that tells what happens to it.
struct Watched<S> {
    inner: S,
    visit: Arc<Visit>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.visit.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.visit.wrote(wrote.is_pending());
        wrote
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.visit.wrote(wrote.is_pending());
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.visit.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
