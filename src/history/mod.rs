//! STAGE the last minutes, in a fixed number of bytes (pure).
//!
//! Each second one [`Frame`] is put on the [`Shelf`], and the oldest go: those that are too old, and, on a
//! node that is larger than was foreseen, as many as it takes to stay within the bytes. What ended is
//! noticed in every sweep, also where there are several a second, and kept beside the frames. So is a digest of
//! each that lives, as far back as this process goes: in bytes of its own.
//!
//! # Why bytes, and not frames
//! Nobody knows at start how many pods there will be. What a pod may cost its neighbours must not depend
//! on that: the bound is reckoned from the time to keep alone, and said at start.

mod digesting;
mod ended;
#[cfg(test)]
mod made_up;
mod roster;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::model::history::CLOSEST;
use crate::model::history::Ended;
use crate::model::history::Frame;
use crate::model::history::Shelf;
use crate::model::snapshot::Snapshot;
use crate::model::time::Monotonic;

use self::ended::Changes;
use self::roster::Rosters;

/// Pods and containers that are foreseen: 110 pods, the kubelet's default limit, of two containers each.
const ROWS_FORESEEN: usize = 110 + 220;

/// Even a short history has room for some frames of a large node.
const LEAST_BYTES: usize = 1 << 20;

/// At most so many ends are kept, in at most so many bytes.
const ENDED: usize = 256;
const ENDED_BYTES: usize = 256 << 10;

/// Puts snapshots on the shelf.
#[derive(Debug)]
pub struct Recorder {
    shelf: Arc<Shelf>,
    every: Duration,
    /// What frames and ends may take.
    limit: usize,
    rosters: Rosters,
    /// For each frame on the shelf its bytes, and those of the names that go with it.
    charges: VecDeque<usize>,
    charged: usize,
    ended_bytes: usize,
    digest_bytes: usize,
    last: Option<Monotonic>,
    buffer: Vec<u8>,
}

impl Recorder {
    /// Keeps `span` at one sweep each `interval`; zero: nothing.
    pub fn new(span: Duration, interval: Duration) -> Self {
        let every = interval.max(CLOSEST);
        let frames = usize::try_from(span.as_nanos() / every.as_nanos().max(1)).unwrap_or(usize::MAX);
        let frames = frames.saturating_add(1);
        let of_frames = frames.saturating_mul(ROWS_FORESEEN * Frame::BYTES_PER_ROW).max(LEAST_BYTES);
        let limit = of_frames.saturating_add(ENDED_BYTES);
        let (all, room, ended) = if span.is_zero() {
            (0, 0, 0)
        } else {
            (limit.saturating_add(digesting::MOST_BYTES), frames.saturating_add(1), ENDED)
        };
        Self {
            shelf: Arc::new(Shelf::new(span, all, room, ended)),
            every,
            limit,
            rosters: Rosters::default(),
            charges: VecDeque::with_capacity(room),
            charged: 0,
            ended_bytes: 0,
            digest_bytes: 0,
            last: None,
            buffer: Vec::new(),
        }
    }

    /// Where readers find it.
    pub fn shelf(&self) -> &Arc<Shelf> {
        &self.shelf
    }

    /// Takes over one sweep; `before` is the one before it.
    pub fn record(&mut self, before: Option<&Snapshot>, now: &Snapshot) {
        if self.shelf.is_off() {
            return;
        }
        if let Some(before) = before {
            self.note_ended(before, now);
        }
        if self.is_due(now) {
            self.put(now);
            let every = self.every;
            self.digest_bytes = self.shelf.change_digests(|digests| {
                digesting::add(digests, now, every);
                digesting::bytes(digests)
            });
        }
        self.shelf.set_bytes(self.bytes() + self.digest_bytes);
    }

    /// Where sweeps are more frequent than frames, the one that is nearest to its time becomes one.
    fn is_due(&self, now: &Snapshot) -> bool {
        let Some(last) = self.last else { return true };
        let since = now.clock.monotonic.since(last).unwrap_or_default();
        now.interval >= self.every || since + now.interval / 2 >= self.every
    }

    /// When the frame of a sweep at `at` was due: each so long after the one before, so that sweeps which come
    /// early make no more frames than others.
    fn due(&self, at: Monotonic) -> Monotonic {
        let due = self.last.map(|last| last.plus(self.every));
        due.filter(|due| at < due.plus(self.every)).unwrap_or(at)
    }

    fn put(&mut self, now: &Snapshot) {
        self.last = Some(self.due(now.clock.monotonic));
        let parted = self.rosters.turn_to(now);
        // Names that are gone from the node stay for as long as the last frame that has them.
        if let Some(last) = self.charges.back_mut() {
            *last += parted;
            self.charged += parted;
        }
        let packing = Frame::pack(now, &mut self.buffer);
        while self.shelf.oldest().is_some_and(|oldest| {
            now.clock.monotonic.since(oldest).is_some_and(|age| age > self.shelf.span())
        }) {
            self.drop_oldest();
        }
        while self.bytes() + packing.bytes() > self.limit && !self.charges.is_empty() {
            self.drop_oldest();
        }
        if self.bytes() + packing.bytes() > self.limit {
            // Not even one frame of this node fits. Its names are not kept for it either.
            self.rosters.forget();
            return;
        }
        self.charges.push_back(packing.bytes());
        self.charged += packing.bytes();
        self.shelf.push(Arc::new(Frame::new(now, self.rosters.now(), packing, &self.buffer)));
    }

    fn drop_oldest(&mut self) {
        drop(self.shelf.take_oldest());
        self.charged -= self.charges.pop_front().unwrap_or_default();
    }

    /// Frames, names, ends, and the lists they are in.
    fn bytes(&self) -> usize {
        let lists = self.charges.capacity() * (size_of::<usize>() + size_of::<Arc<Frame>>())
            + ENDED * size_of::<Arc<Ended>>();
        lists + self.charged + self.rosters.bytes() + self.ended_bytes
    }

    fn note_ended(&mut self, before: &Snapshot, now: &Snapshot) {
        let changes = Changes::between(before, now);
        let span = self.shelf.span();
        let oldest = now.clock.monotonic.before(span);
        self.ended_bytes = self.shelf.change_ended(|ended| {
            if let Some(changes) = changes {
                changes.apply(ended);
            }
            let mut bytes: usize = ended.iter().map(|one| one.bytes()).sum();
            while let Some(first) = ended.front() {
                if ended.len() <= ENDED && bytes <= ENDED_BYTES && !first.before(oldest) {
                    break;
                }
                bytes -= first.bytes();
                ended.pop_front();
            }
            bytes
        });
    }
}
