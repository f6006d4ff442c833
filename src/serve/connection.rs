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

use bytes::{Bytes, BytesMut};
use http_body_util::Empty;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Method, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::watch;
use warp::Reply as _;

use super::crowd::{Place, Visit};
use super::dialect::Dialect;
use super::door::{Door, is_about_health};
use super::limits::HEAD_BYTES;
use super::live;
use super::routes::Routes;
use super::told;
use crate::model::health::{Health, Room, Trouble};

/// How long a client has for reading its last answer.
const LINGER: Duration = Duration::from_secs(1);

/// How a connection ended.
pub(super) enum End {
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
    let stopping = stop.clone();
    let service = service_fn(async |request: Request<Incoming>| {
        let bare = request.method() == Method::HEAD;
        let about_health = is_about_health(request.uri().path());
        // With a body a request is complete only when that has come: until then it is as patient with its
        // client, and as easily ended, as with half a head.
        let response = answer(request, &inner, &door, || visit.begin(about_health)).await?;
        let response = live::carry(response, bare, &stopping, &mut || visit.go_live());
        Ok::<_, Infallible>(response.map(|inner| Tracked { inner, visit: visit.clone() }))
    });
    let stream = TokioIo::new(Watched::new(stream, visit.clone(), true));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .half_close(true)
        .max_header_size(HEAD_BYTES)
        .max_buf_size(2 * HEAD_BYTES)
        .serve_connection(stream, service);
    let end = drive(Pin::new(&mut connection), |it| it.graceful_shutdown(), visit, &mut stop).await;
    match end {
        End::Done => linger(connection.into_parts().io.into_inner().inner, visit).await,
        // Who is silent between two requests just leaves; who holds one up is trouble.
        End::TimedOut if !visit.is_idle() => health.count(Room::Serve, Trouble::Timeout),
        End::TimedOut | End::Cut => {}
    }
}

/// Lets a connection go on until it ends, a deadline passes, or it has to.
pub(super) async fn drive<C: Future>(
    mut connection: Pin<&mut C>,
    wind_down: impl Fn(Pin<&mut C>),
    visit: &Visit,
    stop: &mut watch::Receiver<bool>,
) -> End {
    let mut evicted = pin!(visit.evicted());
    let mut stopping = pin!(told(stop));
    let (mut stopped, mut make_room) = (false, false);
    let mut alarm = pin!(tokio::time::sleep_until(visit.deadline()));
    poll_fn(|cx| {
        if !stopped && stopping.as_mut().poll(cx).is_ready() {
            stopped = true;
            wind_down(connection.as_mut());
        }
        // An error here is the client's: a reset, or bytes that are not HTTP, which hyper answers.
        if connection.as_mut().poll(cx).is_ready() {
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
    .await
}

/// Reads and forgets what the client still sends, until it closes or we need its place.
///
/// Closing with bytes unread would make the kernel send a reset, and the client's
/// kernel would throw away an answer its program has not read yet: of all clients, the one that sent
/// too much would never learn why it was refused.
pub(super) async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, visit: &Visit) {
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
pub(super) async fn answer<R>(
    request: Request<Incoming>,
    routes: &R,
    door: &Door,
    begin: impl FnOnce() -> bool,
) -> Result<warp::reply::Response, Infallible>
where
    R: Service<Request<Empty<Bytes>>, Response = warp::reply::Response, Error = Infallible>,
{
    let dialect = Dialect::of(request.uri().path());
    match door.enter(request, begin).await {
        Err(refusal) => Ok(refusal.reply_in(dialect).into_response()),
        Ok(request) => routes.call(request).await,
    }
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
pub(super) struct Watched<S> {
    inner: S,
    visit: Arc<Visit>,
    /// Bytes that come are a request.
    tells_requests: bool,
    /// What came while an answer went on: hyper does not read then.
    ahead: BytesMut,
}

impl<S> Watched<S> {
    pub(super) fn new(inner: S, visit: Arc<Visit>, tells_requests: bool) -> Self {
        Self { inner, visit, tells_requests, ahead: BytesMut::new() }
    }
}

impl<S: AsyncRead + Unpin> Watched<S> {
    /// Whether the client has left, or will send nothing more.
    ///
    /// An answer that goes on may have nothing to say for hours, and writing is the only other way to learn
    /// that nobody listens. Half a connection is none for it: Docker's own server ends there, too.
    fn is_left(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut bytes = [0; 512];
        while self.ahead.len() <= HEAD_BYTES {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.inner).poll_read(cx, &mut buffer) {
                Poll::Pending => return Ok(false),
                Poll::Ready(read) => read?,
            }
            if buffer.filled().is_empty() {
                return Ok(true);
            }
            self.visit.received();
            self.ahead.extend_from_slice(buffer.filled());
        }
        Ok(false)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let ready = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead.split_to(ready));
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        if self.tells_requests && buffer.filled().len() > before {
            self.visit.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
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
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        // TLS takes an answer into its own buffer: only here one sees that the client reads nothing.
        self.visit.wrote(flushed.is_pending());
        ready!(flushed)?;
        self.visit.flushed();
        if self.tells_requests && self.visit.is_live() && self.is_left(cx)? {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
