//! STAGE the last snapshot over HTTP: listener, limits, routes, one file per format.
//!
//! A request passes, in this order: `crowd` (is there room), on https addresses `tls`, `connection` or
//! `streams` (is it quick enough),
//! `door` (is it for us, without a body, and with `access` who may ask), `routes`, and one of `data`, `probes`, `metrics`,
//! `version`, `openapi` and `page`. Readers take an `Arc` of the last snapshot, so they can
//! neither delay nor change a sweep.
//!
//! # Why not `warp::serve`
//! It sets no deadline for a request's head, has no cap on connections and panics when it cannot
//! bind. Its filters are served by hyper under our own accept loop.

mod access;
mod app;
mod cache;
mod cadvisor;
mod common;
mod connection;
mod crowd;
mod data;
mod desk;
mod dialect;
mod docker;
mod door;
mod exposition;
mod fields;
mod foreign;
#[doc(hidden)]
pub mod fuzzing;
mod heapster;
mod limits;
mod listen;
mod live;
#[doc(hidden)]
pub mod measured;
mod memory_stat;
mod metrics;
mod metrics_reader;
mod native;
mod node_cgroup;
mod openapi;
mod page;
mod paper;
mod past;
mod pod_list;
mod probes;
mod processes;
mod query;
mod reply;
mod resource;
mod routes;
mod schema;
mod selector;
mod series;
mod sheets;
mod shown;
mod slots;
mod streams;
mod summary;
mod time;
mod tls;
mod version;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::access::{Guard, Visitor};
use self::app::App;
use self::crowd::{Crowd, Place};
use self::door::Door;
use self::listen::Client;
use self::routes::Routes;
use self::tls::Tls;
use crate::config::TlsFiles;
use crate::kubernetes::client::ApiServer;
use crate::model::health::{Health, Room, Trouble};
use crate::model::history::Shelf;
use crate::model::machine::Machine;
use crate::model::snapshot::Snapshot;
use crate::model::target::TargetSet;
use crate::model::time::{ClockPair, WallTime};

pub use self::desk::{Answer, Desk};
pub use self::limits::Limits;
pub use self::listen::{Bound, ServeError, bind};
pub use self::processes::{Listing, ProcessLane, ProcessLister, YOUNG, process_lane};
pub use self::sheets::Sheets;
pub use self::tls::TlsError;

/// What there is to show. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Published {
    /// The last sweep; `None` before the first.
    pub snapshot: watch::Receiver<Option<Arc<Snapshot>>>,
    /// The newest map of the node, which may be ahead of the last sweep.
    pub targets: watch::Receiver<Arc<TargetSet>>,
    /// The last minutes.
    pub history: Arc<Shelf>,
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
    /// What the node is.
    pub machine: Arc<Machine>,
    /// `/metrics/cadvisor` has everything there is, for a reader that does not say.
    pub cadvisor_full: bool,
    /// Docker's clients are told CPU time by CPU, in equal parts that nobody measured.
    pub docker_percpu: bool,
    /// Where the processes of the node are asked for.
    pub processes: ProcessLane,
}

/// How https addresses are served, and to whom.
#[derive(Clone, Default)]
pub struct Access {
    /// The certificate, and the authority of clients.
    pub files: TlsFiles,
    /// Who knows tokens and rights.
    pub api_server: Option<ApiServer>,
    /// The node whose figures are asked for.
    pub node_name: Arc<str>,
    /// Names of this host besides, for a certificate made here.
    pub host_names: Vec<String>,
    /// Everybody is served everything.
    pub insecure_public: bool,
    /// HTTP/2 is offered.
    pub http2: bool,
}

impl Access {
    /// Whether there is a way for anybody to be let in.
    fn opens(&self) -> bool {
        self.insecure_public || self.api_server.is_some() || self.files.client_ca.is_some()
    }
}

/// What all https addresses share.
#[derive(Debug)]
struct Secure {
    tls: Arc<Tls>,
    access: Access,
}

impl Secure {
    fn new(access: Access) -> Result<Self, TlsError> {
        let here = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let names = [access.node_name.to_string()].into_iter().chain(access.host_names.clone()).chain(here);
        let tls = Arc::new(Tls::new(access.files.clone(), names.collect(), access.http2)?);
        Ok(Self { tls, access })
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { files, node_name, insecure_public, http2, .. } = self;
        write!(f, "Access {{ {files:?}, {node_name}, insecure_public: {insecure_public}, http2: {http2} }}")
    }
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
    let secure = bound.iter().find_map(|bound| bound.secure().cloned());
    let guard = secure.as_ref().filter(|secure| !secure.access.insecure_public).map(|secure| {
        let Access { api_server, node_name, .. } = secure.access.clone();
        Arc::new(Guard::new(api_server, node_name, health.clone()))
    });
    // Ends when it is dropped, with this function.
    let mut upkeep = JoinSet::new();
    if let Some(secure) = secure {
        upkeep.spawn(secure.tls.clone().keep_up(health.clone()));
    }
    let house = House { crowd, routes, health, stop, guard };
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
    /// For https addresses; `None`: everybody is served.
    guard: Option<Arc<Guard>>,
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
                    let door = Door { checks_host: loopback, visitor: None };
                    connections.spawn(self.clone().serve(stream, place, door));
                }
            }
            Client::Tls { stream, peer, secure } => {
                let _ = stream.set_nodelay(true);
                if let Some(place) = self.crowd.admit(peer) {
                    connections.spawn(self.clone().serve_tls(stream, peer, place, secure.tls.clone()));
                }
            }
            Client::Unix(stream) => {
                // No web page reaches a unix socket; its clients call the host what they like.
                if let Some(place) = self.crowd.admit_local() {
                    let door = Door { checks_host: false, visitor: None };
                    connections.spawn(self.clone().serve(stream, place, door));
                }
            }
        }
    }

    async fn serve<S>(self, stream: S, place: Place, door: Door)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        connection::serve(stream, place, door, self.routes, self.health, self.stop).await;
    }

    async fn serve_tls(mut self, stream: TcpStream, peer: IpAddr, place: Place, tls: Arc<Tls>) {
        let agreed = tls::handshake(stream, &place, &tls, &self.health, &mut self.stop).await;
        let Some(stream) = agreed else { return };
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let certificates = certificates.iter().map(|one| one.clone().into_owned()).collect();
        let visitor = self.guard.clone().map(|guard| Visitor { guard, address: peer, tls, certificates });
        let door = Door { checks_host: false, visitor };
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            streams::serve(stream, place, door, self.routes, self.health, self.stop).await;
        } else {
            self.serve(stream, place, door).await;
        }
    }
}
