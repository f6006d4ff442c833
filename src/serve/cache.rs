//! Each document is rendered once a sweep and shared; what else is asked has a budget.
//!
//! # Why
//! Reading must not cost more the more readers there are: the default query of each document costs
//! one rendering a sweep, whoever asks, as long as what is asked for fits into
//! [`common::KEPT_BYTES`](super::common::KEPT_BYTES). Other queries cannot be foreseen. They are shared as
//! long as they fit into [`KEPT_BYTES`], and the last one that does not fit besides; all of one sweep together
//! may render [`NODES_PER_SWEEP`] times the node; and their answers, while slow clients still read them, may
//! hold [`HELD_BYTES`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hyper::StatusCode;

use super::common::{Common, Documents, Place};
use super::reply::{Content, Keep, Refusal, Rendered};
use super::sheets::{Pieces, Sheets};
use crate::model::time::Monotonic;

const KEPT_BYTES: usize = 2 << 20;
const HELD_BYTES: usize = 16 << 20;
const NODES_PER_SWEEP: usize = 32;
/// A small node's budget, in pods: someone asks for each pod by name, some of them often.
const LEAST_PODS_PER_SWEEP: usize = 1024;

/// The documents of one sweep.
#[derive(Debug, Default)]
pub(super) struct Cache {
    now: Mutex<Kept>,
    held: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Kept {
    /// What the documents show: a tick, or a generation of the map.
    version: u64,
    common: Documents,
    others: BTreeMap<String, Place>,
    others_bytes: usize,
    /// Which of the others is kept though it does not fit.
    large: Option<String>,
    pods_rendered: usize,
}

impl Kept {
    /// Forgets all of an older version. `false` if `version` is itself the older one.
    fn turn_to(&mut self, version: u64) -> bool {
        if version > self.version {
            let mut common = std::mem::take(&mut self.common);
            common.turn();
            *self = Self { version, common, ..Self::default() };
        }
        version == self.version
    }

    /// Keeps the answer to `path`, which has so many bytes, and no more than may be kept.
    fn keep(&mut self, path: &str, answer: usize) {
        // Of a short answer the query may be the larger part.
        let bytes = self.others_bytes + path.len() + answer;
        if bytes <= KEPT_BYTES {
            self.others_bytes = bytes;
        } else if let Some(before) = self.large.replace(path.to_owned()) {
            self.others.remove(&before);
        }
    }
}

impl Cache {
    /// The default query of `document`, rendered by the first who asks, on the memory that it is given; others
    /// wait for that, or find it.
    pub(super) fn common<T: Into<Sheets>>(
        &self,
        version: u64,
        document: Common,
        now: Monotonic,
        render: impl FnOnce(Sheets) -> T,
    ) -> Arc<Rendered> {
        let place = {
            let mut kept = self.kept();
            kept.turn_to(version).then(|| kept.common.place(document))
        };
        let written = |sheets| Arc::new(rendered(render(sheets).into(), document.media_type(), now));
        match place {
            Some(place) => place.get_or_init(|| written(self.kept().common.memory_for(document))).clone(),
            // A reader may still hold the snapshot before: it renders for itself.
            None => written(Sheets::default()),
        }
    }

    /// Any other query: `path` with all it asks, rendered as `media_type` out of `pods` of the node's `of` pods.
    ///
    /// # Errors
    /// 429 when the budget of this sweep is spent, 503 when slow clients hold too many answers.
    pub(super) fn other(
        &self,
        version: u64,
        path: &str,
        (pods, of): (usize, usize),
        now: Monotonic,
        media_type: &'static str,
        render: impl FnOnce() -> Vec<u8>,
    ) -> Result<Arc<Rendered>, Refusal> {
        let place = {
            let mut kept = self.kept();
            let is_current = kept.turn_to(version);
            match kept.others.get(path).filter(|_| is_current) {
                // Or it is being rendered, and who asks waits for that.
                Some(place) => place.clone(),
                None => {
                    self.afford(&mut kept, pods, of)?;
                    let place = Place::default();
                    if is_current {
                        kept.others.insert(path.to_owned(), place.clone());
                    }
                    place
                }
            }
        };
        let mut is_new = false;
        let answer = place.get_or_init(|| {
            is_new = true;
            Arc::new(rendered(self.counted(render()), media_type, now))
        });
        if is_new {
            let mut kept = self.kept();
            if kept.version == version {
                kept.keep(path, answer.content.len());
            }
        }
        Ok(answer.clone())
    }

    /// Takes what a rendering costs from the budget of this sweep.
    fn afford(&self, kept: &mut Kept, pods: usize, of: usize) -> Result<(), Refusal> {
        if kept.pods_rendered + pods > LEAST_PODS_PER_SWEEP.max(NODES_PER_SWEEP * of) {
            return Err(Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                "this sweep was rendered for too many different queries; ask again after the next one, or \
                 ask without parameters",
            )
            .retry_after(1));
        }
        if self.held.load(Ordering::Relaxed) > HELD_BYTES {
            return Err(Refusal::unavailable("too many answers wait for slow clients to read them"));
        }
        kept.pods_rendered += pods.max(1);
        Ok(())
    }

    /// Bytes that count as held until the last client has read them.
    fn counted(&self, body: Vec<u8>) -> Bytes {
        self.held.fetch_add(body.len(), Ordering::Relaxed);
        Bytes::from_owner(Held { body, held: self.held.clone() })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn rendered(body: impl Into<Pieces>, media_type: &'static str, at: Monotonic) -> Rendered {
    Rendered { content: Content::of(body.into(), media_type, Keep::Revalidate), at }
}

struct Held {
    body: Vec<u8>,
    held: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.held.fetch_sub(self.body.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::reply::JSON;
    use std::cell::Cell;

    const NOW: Monotonic = Monotonic::from_nanos(1);

    #[test]
    fn the_default_query_is_rendered_once_a_sweep() {
        let (cache, times) = (Cache::default(), Cell::new(0));
        let ask = |tick| {
            cache.common(tick, Common::Pods, NOW, |memory| {
                times.set(times.get() + 1);
                memory
            })
        };
        for tick in [1, 1, 1, 2, 2] {
            ask(tick);
        }
        assert_eq!(times.get(), 2);
        ask(1);
        ask(2);
        assert_eq!(times.get(), 3, "a late reader of sweep 1 must not spoil the documents of sweep 2");
    }

    #[test]
    fn other_queries_are_shared_and_have_a_budget() {
        let cache = Cache::default();
        let ask = |tick, path: &str| cache.other(tick, path, (100, 100), NOW, JSON, || vec![b'x'; 10]);
        for path in 0..32 {
            ask(1, &path.to_string()).unwrap();
        }
        assert!(ask(1, "31").is_ok(), "what is kept costs nothing");
        let refused = ask(1, "32").unwrap_err().reply();
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.headers()["retry-after"], "1");
        assert!(ask(2, "32").is_ok(), "the next sweep has its own budget");
    }

    #[test]
    fn whoever_asks_the_same_at_once_costs_one_rendering_however_large() {
        const READERS: usize = 8;
        for bytes in [10, 2 * KEPT_BYTES] {
            let (cache, begun, times) = (Cache::default(), AtomicUsize::new(0), AtomicUsize::new(0));
            let ask = || {
                begun.fetch_add(1, Ordering::SeqCst);
                let render = || {
                    // Not before all have begun to ask.
                    while begun.load(Ordering::SeqCst) < READERS {
                        std::thread::yield_now();
                    }
                    times.fetch_add(1, Ordering::SeqCst);
                    vec![b'x'; bytes]
                };
                cache.other(1, "the same", (100, 100), NOW, JSON, render).unwrap().content.len()
            };
            std::thread::scope(|scope| {
                let readers: Vec<_> = (0..READERS).map(|_| scope.spawn(ask)).collect();
                assert!(readers.into_iter().all(|reader| reader.join().unwrap() == bytes));
            });
            ask();
            assert_eq!(times.into_inner(), 1, "{bytes} bytes");
        }
    }

    #[test]
    fn of_those_that_do_not_fit_the_last_is_kept() {
        let (cache, rendered) = (Cache::default(), Cell::new(0));
        let ask = |path: &str| {
            let before = rendered.get();
            let render = || {
                rendered.set(before + 1);
                vec![b'x'; KEPT_BYTES]
            };
            cache.other(1, path, (1, 100), NOW, JSON, render).unwrap();
            rendered.get() > before
        };
        assert_eq!(
            ["a", "a", "b", "b", "a", "a", "b"].map(ask),
            [true, false, true, false, true, false, true]
        );
        assert!(cache.kept().others.len() == 1);
    }

    #[test]
    fn a_long_question_with_a_short_answer_takes_its_room() {
        let cache = Cache::default();
        let rendered = Cell::new(0);
        let ask = |number: usize| {
            let path = format!("{number:0>8000}");
            let answer = cache.other(1, &path, (1, 10_000), NOW, JSON, || {
                rendered.set(rendered.get() + 1);
                vec![b'x']
            });
            answer.unwrap();
        };
        (0..400).for_each(ask);
        (0..400).for_each(ask);
        let kept = KEPT_BYTES / 8001;
        assert_eq!(rendered.get(), 800 - kept, "no more than {kept} are kept");
    }

    #[test]
    fn bytes_that_clients_do_not_read_are_bounded() {
        let cache = Cache::default();
        let ask = |path: &str| cache.other(1, path, (1, 1), NOW, JSON, || vec![0; 9 << 20]);
        let unread = (ask("a").unwrap(), ask("b").unwrap());
        assert_eq!(ask("c").unwrap_err().reply().status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(unread);
        assert!(ask("c").is_ok());
    }
}
