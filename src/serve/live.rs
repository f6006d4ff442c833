//! Bodies of more than one piece: a large document's halves, and answers that go on, a head at once, then chunks
//! for as long as the client and we like.
//!
//! A handler answers with a head as usual and puts the chunks beside it; what serves the connection puts them
//! in the place of the body. So routes stay functions of a snapshot, and what the client does is known where
//! it is seen. `HEAD` gets the head alone, and takes no place.
//!
//! # Limits
//! There is no deadline for the whole, but one for a client that does not take what it was sent. A chunk is
//! made when the client has room for it, out of the sweep that is the last one then: who is slow misses
//! sweeps, nothing is kept for it. When we are told to stop, the answer ends as if it were complete.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use hyper::Response;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::CONTENT_LENGTH;
use tokio::sync::watch;
use warp::Reply as _;

use super::crowd::Streaming;
use super::reply::{Reply, Rest};
use super::told;

/// What follows a head.
pub(super) type Chunks = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// What one sweep adds to an answer that goes on.
pub(super) enum Next {
    /// These bytes.
    Chunk(Bytes),
    /// Nothing to tell.
    Nothing,
    /// These bytes, and no more after them.
    Last(Bytes),
}

/// Chunks on their way from a handler to the connection.
#[derive(Clone)]
struct Coming(Arc<Mutex<Option<(Chunks, Reply)>>>);

/// An answer of the head of `reply` and of `chunks`. `full` is the answer when there is no room for one more.
pub(super) fn reply(mut reply: Reply, chunks: Chunks, full: Reply) -> Reply {
    reply.headers_mut().remove(CONTENT_LENGTH);
    let coming = Coming(Arc::new(Mutex::new(Some((chunks, full)))));
    reply.extensions_mut().insert(coming);
    reply
}

/// A chunk, or none, of each sweep the client has room for; the one that is published now is the first.
pub(super) fn of_sweeps<T: Send + Sync + 'static>(
    mut snapshots: watch::Receiver<Option<Arc<T>>>,
    next: impl FnMut(&Arc<T>) -> Next + Send + 'static,
) -> Chunks {
    snapshots.mark_changed();
    let chunks = stream::unfold(Some((snapshots, next)), |state| async move {
        let (mut snapshots, mut next) = state?;
        loop {
            // An error says that nothing will ever be published again.
            snapshots.changed().await.ok()?;
            let Some(snapshot) = snapshots.borrow_and_update().clone() else { continue };
            match next(&snapshot) {
                Next::Chunk(bytes) => return Some((bytes, Some((snapshots, next)))),
                Next::Nothing => {}
                Next::Last(bytes) if bytes.is_empty() => return None,
                Next::Last(bytes) => return Some((bytes, None)),
            }
        }
    });
    // Whoever asks once more after the end is told the same again.
    Box::pin(chunks.fuse())
}

/// The response with what stands beside it in place: the rest of its body, or chunks.
///
/// `bare`: the client wants the head alone. `room` gives a place among the streams, if there is one.
pub(super) fn carry(
    mut response: warp::reply::Response,
    bare: bool,
    stop: &watch::Receiver<bool>,
    room: &mut dyn FnMut() -> Option<Streaming>,
) -> Response<Payload<impl Body<Data = Bytes, Error = warp::Error> + Unpin + use<>>> {
    let coming = response.extensions_mut().remove::<Coming>();
    let coming = coming.and_then(|Coming(it)| it.lock().unwrap_or_else(PoisonError::into_inner).take());
    let Some((chunks, full)) = coming.filter(|_| !bare) else {
        let rest = response.extensions_mut().remove::<Rest>().map(|Rest(rest)| rest).unwrap_or_default();
        return response.map(|body| Payload::Whole(body, rest));
    };
    let Some(place) = room() else {
        return full.into_response().map(|body| Payload::Whole(body, Bytes::new()));
    };
    let mut stop = stop.clone();
    let stopping = Box::pin(async move { told(&mut stop).await });
    response.map(|_| Payload::Live(Flow { chunks, stopping, place }))
}

/// A body: one with what follows it, or one that goes on.
pub(super) enum Payload<B> {
    Whole(B, Bytes),
    Live(Flow),
}

/// Chunks, for as long as nobody stops them.
pub(super) struct Flow {
    chunks: Chunks,
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
    place: Streaming,
}

impl Stream for Flow {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        // Whoever asks has room: the client took what it was sent.
        self.place.took();
        if self.stopping.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        let next = self.chunks.as_mut().poll_next(cx);
        if let Poll::Ready(Some(_)) = &next {
            self.place.given();
        }
        next
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Payload<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.get_mut() {
            Self::Whole(body, rest) => match ready!(Pin::new(body).poll_frame(cx)) {
                None if !rest.is_empty() => Poll::Ready(Some(Ok(Frame::data(std::mem::take(rest))))),
                frame => Poll::Ready(frame),
            },
            Self::Live(flow) => Pin::new(flow).poll_next(cx).map(|chunk| chunk.map(Frame::data).map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body, rest) => rest.is_empty() && body.is_end_stream(),
            Self::Live(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body, rest) => {
                let (hint, rest) = (body.size_hint(), rest.len() as u64);
                let mut both = SizeHint::new();
                both.set_lower(hint.lower() + rest);
                if let Some(upper) = hint.upper() {
                    both.set_upper(upper + rest);
                }
                both
            }
            Self::Live(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use http_body_util::BodyExt;

    /// Numbers for sweeps: odd ones have nothing to tell, 9 is the last.
    fn numbers(numbers: &watch::Receiver<Option<Arc<u64>>>) -> Chunks {
        of_sweeps(numbers.clone(), |number| match **number {
            9 => Next::Last(Bytes::from_static(b"9")),
            99 => Next::Last(Bytes::new()),
            odd if odd % 2 == 1 => Next::Nothing,
            even => Next::Chunk(even.to_string().into()),
        })
    }

    fn now(chunks: &mut Chunks) -> Option<Option<Bytes>> {
        chunks.next().now_or_never()
    }

    fn chunk(text: &'static str) -> Option<Option<Bytes>> {
        Some(Some(Bytes::from_static(text.as_bytes())))
    }

    #[tokio::test]
    async fn a_body_in_two_pieces_ends_after_the_second() {
        for (first, rest) in [("ab", "cde"), ("", "cde"), ("ab", ""), ("", "")] {
            let body = http_body_util::Full::new(Bytes::from(first));
            let mut payload = Payload::Whole(body, Bytes::from(rest));
            let (mut seen, mut left) = (String::new(), (first.len() + rest.len()) as u64);
            loop {
                assert_eq!(payload.size_hint().exact(), Some(left), "{first} {rest}");
                let Some(frame) = payload.frame().await else { break };
                assert!(left > 0, "an end that is told too early or too late: {first} {rest}");
                let data = frame.unwrap().into_data().unwrap();
                left -= data.len() as u64;
                assert_eq!(payload.is_end_stream(), left == 0, "{first} {rest}");
                seen.push_str(std::str::from_utf8(&data).unwrap());
            }
            assert_eq!((seen, payload.is_end_stream()), ([first, rest].concat(), true));
        }
    }

    #[test]
    fn a_client_that_is_slow_misses_sweeps_and_none_waits_for_it() {
        let (sweeps, seen) = watch::channel(Some(Arc::new(2)));
        let mut chunks = numbers(&seen);
        assert_eq!(now(&mut chunks), chunk("2"), "the one that is there is the first");
        assert_eq!(now(&mut chunks), None);
        let missed = Arc::new(4);
        for number in [missed.clone(), Arc::new(5), Arc::new(6)] {
            sweeps.send_replace(Some(number));
        }
        assert_eq!(Arc::strong_count(&missed), 1, "nobody holds it");
        assert_eq!(now(&mut chunks), chunk("6"));
        assert_eq!(Arc::strong_count(sweeps.borrow().as_ref().unwrap()), 1, "what is written is let go");
        sweeps.send_replace(Some(Arc::new(7)));
        assert_eq!(now(&mut chunks), None, "nothing to tell");
    }

    #[test]
    fn the_last_chunk_is_the_last() {
        for (last, told) in [(9, chunk("9")), (99, Some(None))] {
            let (sweeps, seen) = watch::channel(None);
            let mut chunks = numbers(&seen);
            assert_eq!(now(&mut chunks), None, "before the first sweep");
            sweeps.send_replace(Some(Arc::new(last)));
            assert_eq!(now(&mut chunks), told);
            assert_eq!(now(&mut chunks).unwrap_or_default(), None);
        }
        let (sweeps, seen) = watch::channel(None);
        let mut chunks = numbers(&seen);
        drop((sweeps, seen));
        assert_eq!(now(&mut chunks), Some(None), "nothing will ever be published");
    }
}
