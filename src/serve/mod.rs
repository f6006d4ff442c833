//! STAGE the last snapshot over HTTP: listener, limits, routes, one file per format.
//!
//! A request passes, in this order: `crowd` (is there room), `connection` (is it quick enough),
//! `door` (is it for us, without a body), `routes`, and one of `data`, `probes`, `metrics`,
//! `version`, `openapi` and `page`. Readers take an `Arc` of the last snapshot, so they can
//! neither delay nor change a sweep.
//!
//! # Why not `warp::serve`
//! It sets no deadline for a request's head, has no cap on connections and panics when it cannot
//! bind. Its filters are served by hyper under our own accept loop.

mod app;
mod cache;
mod connection;
mod crowd;
mod data;
mod desk;
mod door;
mod fields;
mod limits;
mod listen;
mod metrics;
mod native;
mod openapi;
mod page;
mod probes;
mod query;
mod reply;
mod routes;
mod schema;
mod selector;
mod time;
mod version;

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::app::App;
use self::crowd::{Crowd, Place};
use self::door::Door;
use self::listen::Client;
use self::routes::Routes;
use crate::model::health::{Health, Room, Trouble};
use crate::model::snapshot::Snapshot;
use crate::model::target::TargetSet;
use crate::model::time::{ClockPair, WallTime};

pub use self::desk::{Answer, Desk};
pub use self::limits::Limits;
pub use self::listen::{Bound, ServeError, bind};

/// What there is to show. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Published {
    /// The last sweep; `None` before the first.
    pub snapshot: watch::Receiver<Option<Arc<Snapshot>>>,
    /// The newest map of the node, which may be ahead of the last sweep.
    pub targets: watch::Receiver<Arc<TargetSet>>,
    /// What podvitals counts of itself.
    pub health: Arc<Health>,
    /// Both clocks now.
    pub clock: fn() -> ClockPair,
    /// The node's name.
    pub node_name: Arc<str>,
    /// Time between sweeps.
    pub interval: Duration,
    /// When this process started: with the tick, the identity of every document.
    pub process_start: WallTime,
}

/// Serves until `stop` turns true, or its sender is dropped, and requests in flight are answered.
pub async fn run(bound: Vec<Bound>, published: Published, stop: watch::Receiver<bool>) {
    run_within(Limits::default(), bound, published, stop).await;
}

/// The same with other limits.
pub async fn run_within(
    limits: Limits,
    bound: Vec<Bound>,
    published: Published,
    stop: watch::Receiver<bool>,
) {
    let health = published.health.clone();
    let crowd = Crowd::new(limits, health.clone());
    let routes = routes::routes(Arc::new(App::new(published)));
    let house = House { crowd, routes, health, stop };
    let mut listeners = JoinSet::new();
    for socket in bound {
        listeners.spawn(accept(socket, house.clone()));
    }
    while listeners.join_next().await.is_some() {}
}

/// What every listener shares.
#[derive(Clone)]
struct House {
    crowd: Arc<Crowd>,
    routes: Routes,
    health: Arc<Health>,
    stop: watch::Receiver<bool>,
}

/// Accepts until told to stop, then waits for the connections of this listener, but not for ever.
async fn accept(bound: Bound, house: House) {
    let mut stop = house.stop.clone();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = told(&mut stop) => break,
            Some(_) = connections.join_next() => {}
            accepted = bound.0.accept() => match accepted {
                Ok(client) => house.welcome(client, &mut connections),
                Err(error) => {
                    // Out of descriptors, or a client that left while it waited. Descriptors come
                    // back only when a connection ends: trying at once would just burn the CPU.
                    house.health.count(Room::Serve, Trouble::Io);
                    tracing::debug!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            },
        }
    }
    drop(bound);
    let ended = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(house.crowd.limits().drain, ended).await;
}

/// Until `stop` is true, or nobody is left to say so.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

impl House {
    /// Serves a client, if there is room for it.
    fn welcome(&self, client: Client, connections: &mut JoinSet<()>) {
        match client {
            Client::Tcp { stream, peer, loopback } => {
                // An answer is written at once and then waited for: there is nothing to collect.
                let _ = stream.set_nodelay(true);
                if let Some(place) = self.crowd.admit(peer) {
                    connections.spawn(self.serve(stream, place, Door { checks_host: loopback }));
                }
            }
            Client::Unix(stream) => {
                // No web page reaches a unix socket; its clients call the host what they like.
                if let Some(place) = self.crowd.admit_local() {
                    connections.spawn(self.serve(stream, place, Door { checks_host: false }));
                }
            }
        }
    }

    fn serve<S>(&self, stream: S, place: Place, door: Door) -> impl Future<Output = ()> + Send + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        connection::serve(stream, place, door, self.routes.clone(), self.health.clone(), self.stop.clone())
    }
}
