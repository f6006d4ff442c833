//! How many new tokens each client address may show us, and all together.
//!
//! Each has a bucket and a lane of its own: who makes up tokens uses up his own, and others get in. The ceiling
//! over all is for the API server's sake.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::memory::{Key, Memory};
use super::pace::Pace;

/// New tokens a second, and at once, of one address.
const OF_ONE: (u32, u32) = (10, 20);
/// The same of all.
const OF_ALL: (u32, u32) = (100, 200);
/// Reviews of new tokens at once, of one address.
const LANE: usize = 4;
/// Addresses remembered. Who is forgotten begins with a full bucket, under the same ceiling.
const ADDRESSES: usize = 1024;

/// The addresses that showed new tokens of late.
pub(super) struct Clients {
    all: Pace,
    each: Memory<Client>,
}

struct Client {
    pace: Pace,
    lane: Arc<Semaphore>,
}

impl Clients {
    pub(super) fn new() -> Self {
        Self { all: Pace::new(OF_ALL.0, OF_ALL.1), each: Memory::new(ADDRESSES) }
    }

    /// Takes one more new token, and says in which lane it waits; `None`: it is one too many.
    pub(super) fn take(&mut self, address: IpAddr) -> Option<Arc<Semaphore>> {
        let key = key(address);
        if self.each.get(&key).is_none() {
            let (pace, lane) = (Pace::new(OF_ONE.0, OF_ONE.1), Arc::new(Semaphore::new(LANE)));
            self.each.put(key, Client { pace, lane });
        }
        // Who is over his own pace takes nothing from that of all.
        let client = self.each.get(&key)?;
        (client.pace.take() && self.all.take()).then(|| client.lane.clone())
    }
}

/// An address is shorter than a key and no secret: it is its own.
fn key(address: IpAddr) -> Key {
    let bytes = match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let mut key = Key::default();
    key[..16].copy_from_slice(&bytes.octets());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn address(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 | n).into()
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_takes_nothing_from_another_and_all_have_a_ceiling() {
        let mut clients = Clients::new();
        let taken = |clients: &mut Clients, of: u32| {
            (0..1000).filter(|_| clients.take(address(of)).is_some()).count()
        };
        assert_eq!(taken(&mut clients, 1), 20);
        assert_eq!(taken(&mut clients, 2), 20, "others have theirs");
        assert!(clients.take("::ffff:10.0.0.1".parse().unwrap()).is_none(), "written otherwise, the same");
        assert_eq!((3..2000).map(|of| taken(&mut clients, of)).sum::<usize>(), 160, "200 in all");
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        assert_eq!(taken(&mut clients, 1999), 10, "whom the ceiling held back has his own pace");
    }
}
