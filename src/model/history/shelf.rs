//! Where the sampler puts frames and readers take them from.
//!
//! # Why a lock
//! It is held for as long as it takes to copy pointers or to move one: microseconds. Frames are packed
//! before and taken apart after, by whoever wants them, and freed by whoever is last. A list that is made
//! anew each second would need no lock, and would cost an allocation that grows with the history. Digests, of
//! which each sweep changes all, have a lock of their own: the sampler holds it for as long as that takes, readers to
//! copy one.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::model::target::TargetId;
use crate::model::time::Monotonic;

use super::Digest;
use super::Ended;
use super::Frame;

/// The past of each cgroup; of `None`: of the node.
pub type Digests = HashMap<Option<TargetId>, Digest>;

/// Frames of the last minutes, what ended in them, and digests of what lives.
#[derive(Debug, Default)]
pub struct Shelf {
    span: Duration,
    limit_bytes: usize,
    bytes: AtomicUsize,
    kept: Mutex<Kept>,
    digests: Mutex<Digests>,
}

#[derive(Debug, Default)]
struct Kept {
    frames: VecDeque<Arc<Frame>>,
    ended: VecDeque<Arc<Ended>>,
}

impl Shelf {
    /// Room for what happens in `span`, in no more than `limit_bytes`: `frames` frames and what ended.
    pub fn new(span: Duration, limit_bytes: usize, frames: usize, ended: usize) -> Self {
        let kept = Kept { frames: VecDeque::with_capacity(frames), ended: VecDeque::with_capacity(ended) };
        Self {
            span,
            limit_bytes,
            bytes: AtomicUsize::new(0),
            kept: Mutex::new(kept),
            digests: Mutex::default(),
        }
    }

    /// Whether anything is kept at all.
    pub fn is_off(&self) -> bool {
        self.span.is_zero()
    }

    /// How long things are kept, if there is room.
    pub fn span(&self) -> Duration {
        self.span
    }

    /// What all of it may take.
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// What it takes now.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// From the oldest frame's sweep to the newest's.
    pub fn covered(&self) -> Duration {
        let kept = self.kept();
        let (Some(oldest), Some(newest)) = (kept.frames.front(), kept.frames.back()) else {
            return Duration::ZERO;
        };
        newest.clock.monotonic.since(oldest.clock.monotonic).unwrap_or_default()
    }

    /// The frames up to sweep `tick` that `wanted` takes, oldest first. It is asked from the newest on,
    /// and not again once it has said no.
    pub fn frames(&self, tick: u64, wanted: impl Fn(&Frame) -> bool) -> Vec<Arc<Frame>> {
        let mut found = Vec::with_capacity(64);
        let kept = self.kept();
        let known = kept.frames.iter().rev().skip_while(|frame| frame.tick > tick);
        found.extend(known.take_while(|frame| wanted(frame)).cloned());
        drop(kept);
        found.reverse();
        found
    }

    /// What had ended by sweep `tick`, oldest first.
    pub fn ended(&self, tick: u64) -> Vec<Arc<Ended>> {
        let kept = self.kept();
        kept.ended.iter().filter(|ended| ended.gone_tick <= tick).cloned().collect()
    }

    /// The past of one cgroup, where it is kept.
    pub fn digest(&self, of: Option<TargetId>) -> Option<Digest> {
        locked(&self.digests).get(&of).cloned()
    }

    /// Changes the digests.
    pub fn change_digests<T>(&self, with: impl FnOnce(&mut Digests) -> T) -> T {
        with(&mut locked(&self.digests))
    }

    /// Puts a frame on the shelf.
    pub fn push(&self, frame: Arc<Frame>) {
        self.kept().frames.push_back(frame);
    }

    /// Takes the oldest frame away. The caller frees it, not under the lock.
    pub fn take_oldest(&self) -> Option<Arc<Frame>> {
        self.kept().frames.pop_front()
    }

    /// When the oldest frame's sweep began.
    pub fn oldest(&self) -> Option<Monotonic> {
        self.kept().frames.front().map(|frame| frame.clock.monotonic)
    }

    /// Changes the list of what ended: `with` gets all of it, oldest first.
    pub fn change_ended<T>(&self, with: impl FnOnce(&mut VecDeque<Arc<Ended>>) -> T) -> T {
        with(&mut self.kept().ended)
    }

    /// Notes what all of it takes now.
    pub fn set_bytes(&self, bytes: usize) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        locked(&self.kept)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
