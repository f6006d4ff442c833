//! How many requests are in flight, and how many answers go on, in all and of each address.
//!
//! Requests that share a connection (HTTP/2) cost a client nothing: without a bound for each address a few
//! connections, whose answers nobody reads, would take all there is.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::limits::Limits;

/// The slots.
#[derive(Debug)]
pub(super) struct Slots {
    most: usize,
    most_of_one: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of: HashMap<IpAddr, usize>,
}

impl Slots {
    /// For requests, all free. An address may have as many in flight as connections.
    pub(super) fn of_requests(limits: &Limits) -> Self {
        let most = limits.connections.saturating_sub(limits.kept_for_health);
        Self { most, most_of_one: limits.connections_per_address, taken: Mutex::default() }
    }

    /// For answers that go on, all free.
    pub(super) fn of_streams(limits: &Limits) -> Self {
        Self { most: limits.streams, most_of_one: limits.streams_per_address, taken: Mutex::default() }
    }

    /// Takes one, if there is one; `None` is bounded by nothing but the whole.
    pub(super) fn take(&self, address: Option<IpAddr>) -> bool {
        let mut taken = self.taken();
        let of_one = address.and_then(|address| taken.of.get(&address)).copied().unwrap_or(0);
        let room = taken.all < self.most && of_one < self.most_of_one;
        if room {
            taken.all += 1;
            address.map(|address| taken.of.insert(address, of_one + 1));
        }
        room
    }

    /// Gives one back that was taken.
    pub(super) fn give_back(&self, address: Option<IpAddr>) {
        let mut taken = self.taken();
        taken.all = taken.all.saturating_sub(1);
        let Some(address) = address else { return };
        match taken.of.get_mut(&address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                taken.of.remove(&address);
            }
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether all are free.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let taken = self.taken();
        taken.all == 0 && taken.of.is_empty()
    }
}
