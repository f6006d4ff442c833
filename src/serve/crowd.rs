//! Who is connected, who waits, and who has to go when there is no room.
//!
//! A connection is a *visit*. Between requests, and while its next one is incomplete, it can be ended
//! without breaking a promise. When the house is full the oldest of these makes room, those that never had
//! a complete request first. Thousands that say nothing pass through in a tenth of a second, in which a TLS
//! handshake does not come to a request: each step of one counts as if the connection were as young as that.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::limits::Limits;
use super::slots::Slots;
use crate::model::health::Health;

/// All visits.
#[derive(Debug)]
pub(super) struct Crowd {
    limits: Limits,
    health: Arc<Health>,
    visits: Mutex<BTreeMap<u64, Arc<Visit>>>,
    next: AtomicU64,
    /// Requests in flight that are not for a health route.
    busy: Slots,
    /// Answers that go on.
    live: Slots,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Visit {
    crowd: Arc<Crowd>,
    /// Counts up: the smaller, the older.
    number: u64,
    /// `None` on loopback and on a unix socket.
    address: Option<IpAddr>,
    progress: Mutex<Progress>,
    evicted: Notify,
}

#[derive(Debug)]
struct Progress {
    phase: Phase,
    reached: Reached,
    reached_at: Instant,
    /// Bytes of the next request came while this one was being answered.
    read_ahead: bool,
    /// The client's receive buffer has been full since.
    write_blocked: Option<Instant>,
    /// When the requests began that share this connection, oldest first. HTTP/2 only.
    streams: Vec<Instant>,
    /// Answers that go on, each with the instant since which the client has not taken what it was given.
    live: BTreeMap<u64, Option<Instant>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The head of a request is awaited or incomplete.
    Reading { since: Instant },
    /// A request is in flight.
    Answering { since: Instant, has_slot: bool, handed_over: bool },
    /// Between two requests.
    Idle { since: Instant },
}

/// Nobody is waited for so long: a year.
const FOR_EVER: Duration = Duration::from_secs(365 * 86_400);

/// And so much younger still: a step takes its time, too.
const HEAD_START: Duration = Duration::from_millis(100);

/// How far a connection has ever come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reached {
    /// It is open.
    Connected,
    /// A TLS handshake has begun.
    Spoke,
    /// TLS is agreed upon.
    Agreed,
    /// At least one request was complete.
    Asked,
}

/// A visit for as long as this is held.
#[derive(Debug)]
pub(super) struct Place(Arc<Visit>);

impl Crowd {
    /// Nobody yet.
    pub(super) fn new(limits: Limits, health: Arc<Health>) -> Arc<Self> {
        let (busy, live) = (Slots::of_requests(&limits), Slots::of_streams(&limits));
        let (visits, next) = (Mutex::default(), AtomicU64::default());
        Arc::new(Self { limits, health, visits, next, busy, live })
    }

    /// How much all and each may cost.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Lets a client in, if need be in place of another. `None`: everybody here has a request in flight.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        self.admit_from((!address.is_loopback()).then_some(address))
    }

    /// The same for a client without address.
    pub(super) fn admit_local(self: &Arc<Self>) -> Option<Place> {
        self.admit_from(None)
    }

    fn admit_from(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Place> {
        let mut visits = self.visits();
        let of_address = |visit: &Visit| address.is_some() && visit.address == address;
        let from_there = visits.values().filter(|visit| of_address(visit)).count();
        let room = (from_there < self.limits.connections_per_address || self.evict(&mut visits, of_address))
            && (visits.len() < self.limits.connections || self.evict(&mut visits, |_| true));
        if !room {
            self.refused();
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let progress = Progress {
            phase: Phase::Reading { since: now },
            reached: Reached::Connected,
            reached_at: now,
            read_ahead: false,
            write_blocked: None,
            streams: Vec::new(),
            live: BTreeMap::new(),
        };
        let (crowd, evicted) = (self.clone(), Notify::new());
        let visit = Arc::new(Visit { crowd, number, address, progress: Mutex::new(progress), evicted });
        visits.insert(number, visit.clone());
        self.count(&visits);
        Some(Place(visit))
    }

    /// Ends one visit without a request in flight, if there is one.
    fn evict(&self, visits: &mut BTreeMap<u64, Arc<Visit>>, among: impl Fn(&Visit) -> bool) -> bool {
        let candidates = visits.values().filter(|visit| among(visit)).filter_map(|visit| {
            let progress = visit.progress();
            let in_flight = matches!(progress.phase, Phase::Answering { .. });
            (!in_flight).then_some((progress.reached == Reached::Asked, progress.stands(), visit.number))
        });
        let Some(visit) = candidates.min().and_then(|(_, _, number)| visits.remove(&number)) else {
            return false;
        };
        visit.evicted.notify_one();
        self.refused();
        true
    }

    fn refused(&self) {
        self.health.connections_refused.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self, visits: &BTreeMap<u64, Arc<Visit>>) {
        let open = u64::try_from(visits.len()).unwrap_or(u64::MAX);
        self.health.connections.store(open, Ordering::Relaxed);
    }

    fn visits(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Visit>>> {
        self.visits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visit {
    /// Resolves once the visit has to make room for another.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// It has come so far.
    pub(super) fn reached(&self, point: Reached) {
        self.progress().come_to(point);
    }

    /// Bytes of a request came.
    pub(super) fn received(&self) {
        let mut progress = self.progress();
        match progress.phase {
            Phase::Idle { .. } => progress.phase = Phase::Reading { since: Instant::now() },
            Phase::Answering { .. } => progress.read_ahead = true,
            Phase::Reading { .. } => {}
        }
    }

    /// A request is complete. `false`: too many are in flight to take one more that is not about
    /// our health.
    pub(super) fn begin(&self, about_health: bool) -> bool {
        let mut progress = self.progress();
        self.forget_request(&progress);
        let since = match progress.phase {
            Phase::Reading { since } => since,
            Phase::Idle { .. } | Phase::Answering { .. } => Instant::now(),
        };
        let has_slot = !about_health && self.crowd.busy.take(self.address);
        progress.phase = Phase::Answering { since, has_slot, handed_over: false };
        progress.come_to(Reached::Asked);
        progress.read_ahead = false;
        about_health || has_slot
    }

    /// One of several requests at once is complete. It is in flight until the value is dropped.
    pub(super) fn begin_stream(self: &Arc<Self>, about_health: bool) -> Stream {
        let has_slot = !about_health && self.crowd.busy.take(self.address);
        let (visit, since) = (self.clone(), Instant::now());
        let mut progress = self.progress();
        progress.streams.push(since);
        progress.come_to(Reached::Asked);
        progress.follow_streams();
        Stream { visit, since: Some(since), has_slot, admitted: about_health || has_slot }
    }

    /// The answer goes on, if there is room for one more that does.
    pub(super) fn go_live(self: &Arc<Self>) -> Option<Streaming> {
        if !self.crowd.live.take(self.address) {
            return None;
        }
        let number = self.crowd.next.fetch_add(1, Ordering::Relaxed);
        self.progress().live.insert(number, None);
        Some(Streaming { visit: self.clone(), number })
    }

    /// Whether an answer goes on.
    pub(super) fn is_live(&self) -> bool {
        !self.progress().live.is_empty()
    }

    /// The last byte of the answer was handed over for writing.
    pub(super) fn handed_over(&self) {
        if let Phase::Answering { handed_over, .. } = &mut self.progress().phase {
            *handed_over = true;
        }
    }

    /// All that was handed over is written.
    pub(super) fn flushed(&self) {
        let mut progress = self.progress();
        if let Phase::Answering { handed_over: true, .. } = progress.phase {
            self.forget_request(&progress);
            let since = Instant::now();
            progress.phase =
                if progress.read_ahead { Phase::Reading { since } } else { Phase::Idle { since } };
        }
    }

    /// The client took some bytes, or took none.
    pub(super) fn wrote(&self, blocked: bool) {
        let mut progress = self.progress();
        progress.write_blocked = blocked.then(|| progress.write_blocked.unwrap_or_else(Instant::now));
    }

    /// Whether ending now would leave a request without its answer.
    pub(super) fn in_flight(&self) -> bool {
        matches!(self.progress().phase, Phase::Answering { .. })
    }

    /// Whether it is between two requests.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.progress().phase, Phase::Idle { .. })
    }

    /// When patience ends.
    pub(super) fn deadline(&self) -> Instant {
        let limits = &self.crowd.limits;
        let progress = self.progress();
        let deadline = match progress.phase {
            Phase::Reading { since } => since + limits.header,
            Phase::Answering { since, .. } if progress.only_goes_on() => since + FOR_EVER,
            Phase::Answering { since, .. } => since + limits.request,
            Phase::Idle { since } => since + limits.idle,
        };
        let not_taken = progress.live.values().flatten().min().copied();
        let blocked = progress.write_blocked.into_iter().chain(not_taken).min();
        blocked.map_or(deadline, |since| deadline.min(since + limits.write))
    }

    fn forget_request(&self, progress: &Progress) {
        if let Phase::Answering { has_slot: true, .. } = progress.phase {
            self.crowd.busy.give_back(self.address);
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    fn come_to(&mut self, point: Reached) {
        if point > self.reached {
            (self.reached, self.reached_at) = (point, Instant::now());
        }
    }

    /// Its place among those who may have to go: the earliest goes first.
    fn stands(&self) -> Instant {
        match self.reached {
            Reached::Connected => self.reached_at,
            Reached::Spoke | Reached::Agreed | Reached::Asked => self.reached_at + HEAD_START,
        }
    }

    /// All that is in flight are answers that go on.
    fn only_goes_on(&self) -> bool {
        !self.live.is_empty() && self.streams.is_empty()
    }

    /// The oldest request decides how long we are patient; after the last one, its answer is to be written.
    fn follow_streams(&mut self) {
        let since = self.streams.first().copied();
        // Each stream has a slot of its own.
        self.phase = Phase::Answering {
            since: since.unwrap_or_else(Instant::now),
            has_slot: false,
            handed_over: since.is_none() && self.live.is_empty(),
        };
    }
}

/// A request that shares its connection with others.
#[derive(Debug)]
pub(super) struct Stream {
    visit: Arc<Visit>,
    /// `None`: its answer goes on, and nobody counts how long.
    since: Option<Instant>,
    has_slot: bool,
    /// There was room for it.
    pub(super) admitted: bool,
}

impl Stream {
    /// Its answer goes on, if there is room for one more that does.
    pub(super) fn go_live(&mut self) -> Option<Streaming> {
        let streaming = self.visit.go_live()?;
        self.end();
        Some(streaming)
    }

    /// It is none of those any more that have a deadline for the whole.
    fn end(&mut self) {
        let mut progress = self.visit.progress();
        let ended = self.since.take();
        if let Some(at) = progress.streams.iter().position(|since| Some(*since) == ended) {
            progress.streams.remove(at);
        }
        progress.follow_streams();
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.has_slot {
            self.visit.crowd.busy.give_back(self.visit.address);
        }
        self.end();
    }
}

/// An answer that goes on until this is dropped.
#[derive(Debug)]
pub(super) struct Streaming {
    visit: Arc<Visit>,
    number: u64,
}

impl Streaming {
    /// A chunk was handed over for writing.
    pub(super) fn given(&self) {
        self.visit.progress().live.insert(self.number, Some(Instant::now()));
    }

    /// The client has room for the next one.
    pub(super) fn took(&self) {
        self.visit.progress().live.insert(self.number, None);
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.visit.crowd.live.give_back(self.visit.address);
        let mut progress = self.visit.progress();
        progress.live.remove(&self.number);
        // What is left to write has as long as any other answer.
        let left = progress.streams.first().copied().unwrap_or_else(Instant::now);
        if let Phase::Answering { since, .. } = &mut progress.phase {
            *since = left;
        }
    }
}

impl Place {
    /// The visit itself.
    pub(super) fn visit(&self) -> &Arc<Visit> {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut visits = self.0.crowd.visits();
        visits.remove(&self.0.number);
        self.0.crowd.count(&visits);
        self.0.forget_request(&self.0.progress());
    }
}

#[cfg(test)]
#[path = "crowd_tests.rs"]
mod tests;
