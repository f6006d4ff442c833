//! Who is connected, who waits, and who has to go when there is no room.
//!
//! A connection is a *visit*. Between requests, and while its next one is incomplete, it can be ended
//! without breaking a promise; then, when the house is full, the oldest such visit makes room.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::limits::Limits;
use crate::model::health::Health;

/// All visits.
#[derive(Debug)]
pub(super) struct Crowd {
    limits: Limits,
    health: Arc<Health>,
    visits: Mutex<BTreeMap<u64, Arc<Visit>>>,
    next: AtomicU64,
    /// Requests in flight that are not for a health route.
    busy: AtomicUsize,
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
    /// At least one request was complete.
    came_to_something: bool,
    /// Bytes of the next request came while this one was being answered.
    read_ahead: bool,
    /// The client's receive buffer has been full since.
    write_blocked: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The head of a request is awaited or incomplete.
    Reading { since: Instant },
    /// A request is in flight.
    Answering { since: Instant, ordinary: bool, handed_over: bool },
    /// Between two requests.
    Idle { since: Instant },
}

/// A visit for as long as this is held.
#[derive(Debug)]
pub(super) struct Place(Arc<Visit>);

impl Crowd {
    /// Nobody yet.
    pub(super) fn new(limits: Limits, health: Arc<Health>) -> Arc<Self> {
        let (visits, next, busy) = Default::default();
        Arc::new(Self { limits, health, visits, next, busy })
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
        let progress = Progress {
            phase: Phase::Reading { since: Instant::now() },
            came_to_something: false,
            read_ahead: false,
            write_blocked: None,
        };
        let (crowd, evicted) = (self.clone(), Notify::new());
        let visit = Arc::new(Visit { crowd, number, address, progress: Mutex::new(progress), evicted });
        visits.insert(number, visit.clone());
        self.count(&visits);
        Some(Place(visit))
    }

    /// Ends the oldest visit without a complete request, those who never had one first.
    fn evict(&self, visits: &mut BTreeMap<u64, Arc<Visit>>, among: impl Fn(&Visit) -> bool) -> bool {
        let candidates = visits.values().filter(|visit| among(visit)).filter_map(|visit| {
            let progress = visit.progress();
            let in_flight = matches!(progress.phase, Phase::Answering { .. });
            (!in_flight).then_some((progress.came_to_something, visit.number))
        });
        let Some(visit) = candidates.min().and_then(|(_, number)| visits.remove(&number)) else {
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

    /// Bytes came.
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
        let limits = &self.crowd.limits;
        let mut progress = self.progress();
        self.forget_request(&progress);
        let since = match progress.phase {
            Phase::Reading { since } => since,
            Phase::Idle { .. } | Phase::Answering { .. } => Instant::now(),
        };
        let most = limits.connections.saturating_sub(limits.kept_for_health);
        let admitted = about_health || self.crowd.busy.fetch_add(1, Ordering::Relaxed) < most;
        progress.phase = Phase::Answering { since, ordinary: !about_health, handed_over: false };
        progress.came_to_something = true;
        progress.read_ahead = false;
        admitted
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
            Phase::Answering { since, .. } => since + limits.request,
            Phase::Idle { since } => since + limits.idle,
        };
        progress.write_blocked.map_or(deadline, |since| deadline.min(since + limits.write))
    }

    fn forget_request(&self, progress: &Progress) {
        if let Phase::Answering { ordinary: true, .. } = progress.phase {
            self.crowd.busy.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
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
mod tests {
    use super::*;

    const FAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const FARTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
    const HERE: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    fn crowd() -> Arc<Crowd> {
        let limits =
            Limits { connections: 4, connections_per_address: 2, kept_for_health: 1, ..Limits::default() };
        Crowd::new(limits, Arc::default())
    }

    fn is_open(place: &Place) -> bool {
        place.0.crowd.visits().contains_key(&place.0.number)
    }

    #[tokio::test]
    async fn a_full_house_sends_the_oldest_silent_visit_away() {
        let crowd = crowd();
        let places: Vec<_> = (0..4).map(|_| crowd.admit(HERE).unwrap()).collect();
        assert!(places[0].visit().begin(false));
        let fifth = crowd.admit(HERE).unwrap();
        assert_eq!(places.iter().map(is_open).collect::<Vec<_>>(), [true, false, true, true]);
        places[1].visit().evicted().await;
        assert!(is_open(&fifth));
        assert_eq!(crowd.health.connections.load(Ordering::Relaxed), 4);
        assert_eq!(crowd.health.connections_refused.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn who_never_sent_a_request_goes_before_who_did() {
        let crowd = crowd();
        let places: Vec<_> = (0..4).map(|_| crowd.admit(HERE).unwrap()).collect();
        for place in &places[..3] {
            place.visit().begin(false);
            place.visit().handed_over();
            place.visit().flushed();
        }
        let _fifth = crowd.admit(HERE).unwrap();
        assert_eq!(places.iter().map(is_open).collect::<Vec<_>>(), [true, true, true, false]);
        let _sixth = crowd.admit(HERE).unwrap();
        assert!(is_open(&places[0]), "the fifth has never sent anything");
    }

    #[tokio::test]
    async fn one_address_cannot_fill_the_house_but_loopback_may() {
        let crowd = crowd();
        let far: Vec<_> = (0..3).map(|_| crowd.admit(FAR).unwrap()).collect();
        assert_eq!(far.iter().map(is_open).collect::<Vec<_>>(), [false, true, true]);
        far[1].visit().begin(true);
        far[2].visit().begin(true);
        assert!(crowd.admit(FAR).is_none());
        assert!(crowd.admit(FARTHER).is_some());
        let mapped = "::ffff:127.0.0.1".parse().unwrap();
        let here: Vec<_> = (0..2).map(|_| crowd.admit(mapped).unwrap()).collect();
        assert!(here.iter().all(is_open));
    }

    #[tokio::test]
    async fn the_last_slots_are_for_health() {
        let crowd = crowd();
        let places: Vec<_> = (0..4).map(|_| crowd.admit(HERE).unwrap()).collect();
        let begun: Vec<_> = places[..3].iter().map(|place| place.visit().begin(false)).collect();
        assert_eq!(begun, [true, true, true]);
        assert!(!places[3].visit().begin(false), "the fourth slot is kept");
        assert!(places[3].visit().begin(true));
        drop(places);
        assert_eq!(crowd.busy.load(Ordering::Relaxed), 0);
        assert_eq!(crowd.health.connections.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn patience_depends_on_what_is_awaited() {
        let crowd = crowd();
        let (place, start) = (crowd.admit(HERE).unwrap(), Instant::now());
        let visit = place.visit();
        let left = |visit: &Visit| (visit.deadline() - start).as_secs_f64().round();
        assert_eq!(left(visit), 5.0, "the first request may take as long as a head");
        visit.received();
        assert_eq!(left(visit), 5.0, "bytes do not buy time");
        visit.begin(false);
        assert_eq!(left(visit), 10.0, "the whole request");
        visit.wrote(true);
        assert_eq!(left(visit), 5.0, "a client that does not read");
        visit.wrote(false);
        visit.flushed();
        assert_eq!(left(visit), 10.0, "a flush in between is not the end");
        visit.handed_over();
        visit.flushed();
        assert_eq!(left(visit), 30.0, "idle");
        visit.received();
        assert_eq!(left(visit), 5.0, "the next head");
    }
}
