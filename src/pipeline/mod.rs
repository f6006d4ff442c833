//! Connects the stages; owns the clock, the tasks and shutdown; decides nothing else.
//!
//! ```text
//!   thread "resolver"   cgroup events, names, lost targets ──► targets
//!   thread "sampler"    targets ──► sweep ──► rates ──► snapshot, at a fixed phase
//!   tokio               discover (names), serve (readers), the watchdog
//! ```
//!
//! The two threads never wait for a socket, and nobody waits for them: values cross in channels.

mod resolving;
mod sampling;
mod watchdog;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::watch;
use tracing::info;
use tracing::warn;

use crate::aggregate::Aggregator;
use crate::config::Config;
use crate::config::NetworkChoice;
use crate::config::SourceChoice;
use crate::discover;
use crate::host;
use crate::host::HostError;
use crate::host::HostRoot;
use crate::host::cgroup::layout::Layout;
use crate::host::clock;
use crate::host::watch::CgroupWatch;
use crate::model::health::Health;
use crate::model::identity::KnownPods;
use crate::model::snapshot::Snapshot;
use crate::resolve::Resolver;
use crate::resolve::Side;
use crate::runtime::cri;
use crate::sample::Sampler;
use crate::serve;
use crate::serve::Answer;
use crate::serve::Desk;
use crate::serve::Published;

use self::resolving::Mailbox;
use self::resolving::Resolving;
use self::sampling::Order;
use self::sampling::Sampling;

/// `--direct` waits this long for two sweeps and the names.
const DIRECT_DEADLINE: Duration = Duration::from_secs(15);

/// Why nothing could be started, or went on.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The cgroup tree is not there or not readable.
    #[error("the cgroup tree cannot be read: check --cgroup-root and --proc-root")]
    Host(#[source] HostError),
    /// An address could not be listened on.
    #[error(transparent)]
    Listen(#[from] serve::ServeError),
    /// `--source cri` without a runtime.
    #[error(
        "--source cri: no container runtime socket found; name it with --cri-endpoint unix:///path/to/the.sock"
    )]
    NoRuntime,
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// `--direct` never saw two sweeps.
    #[error("no complete sweep within {} s; the log above may say why", DIRECT_DEADLINE.as_secs())]
    NoSweep,
}

/// Samples and serves until `stop` resolves.
///
/// # Errors
/// When the cgroup tree cannot be read, no runtime is found that was asked for, or an address cannot be
/// listened on. Nothing that happens later ends it.
pub async fn run(config: Config, stop: impl Future<Output = ()>) -> Result<(), PipelineError> {
    let bound = serve::bind(&config.listen).await?;
    let root = HostRoot::new(config.proc_root.clone(), config.cgroup_root.clone());
    let engine = Engine::start(&config, root.clone())?;
    for listener in &bound {
        info!(address = %listener.address(), "listening");
    }
    let watchdog = tokio::spawn(watchdog::run(engine.published.clone(), root, engine.stopping.subscribe()));
    let server = tokio::spawn(serve::run(bound, engine.published.clone(), engine.stopping.subscribe()));
    stop.await;
    engine.stop();
    // Requests in flight finish; the server bounds how long that takes.
    let _ = server.await;
    watchdog.abort();
    Ok(())
}

/// The stages without sockets, for commands that need no daemon. They end with this value.
pub struct Local {
    engine: Engine,
    desk: Desk,
}

impl Local {
    /// Starts the stages and waits for two sweeps and the names, or for what there is at a deadline.
    ///
    /// # Errors
    /// As [`run`], and [`PipelineError::NoSweep`].
    pub async fn start(config: Config) -> Result<Self, PipelineError> {
        let root = HostRoot::new(config.proc_root.clone(), config.cgroup_root.clone());
        let engine = Engine::start(&config, root)?;
        let mut snapshots = engine.published.snapshot.clone();
        let health = engine.published.health.clone();
        let swept = |snapshot: &Option<Arc<Snapshot>>| snapshot.as_ref().is_some_and(|it| it.tick >= 2);
        let ready = |snapshot: &_| swept(snapshot) && health.identity_complete.load(Ordering::Relaxed);
        // Names may never come: the deadline ends the wait, and what was swept by then is shown.
        let _ = tokio::time::timeout(DIRECT_DEADLINE, snapshots.wait_for(ready)).await;
        if !swept(&snapshots.borrow()) {
            engine.stop();
            return Err(PipelineError::NoSweep);
        }
        // The names are known, and the sweep after them shows them.
        let _ = tokio::time::timeout(config.interval * 3, snapshots.changed()).await;
        let desk = Desk::new(engine.published.clone());
        Ok(Self { engine, desk })
    }

    /// What `GET` of this path, with its query, answers.
    pub async fn answer(&self, path: &str) -> Answer {
        self.desk.answer(path).await
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.engine.stop();
    }
}

/// The running threads and tasks, and what they publish.
struct Engine {
    published: Published,
    stopping: watch::Sender<bool>,
    mailbox: Arc<Mailbox>,
    sampler: std_mpsc::Sender<Order>,
}

impl Engine {
    fn start(config: &Config, root: HostRoot) -> Result<Self, PipelineError> {
        let layout = Arc::new(Layout::detect(&root).map_err(PipelineError::Host)?);
        info!(layout = %layout.describe(), "cgroups");
        let health = Arc::new(Health::default());
        let process_start = clock::pair().wall;
        let node_name: Arc<str> =
            config.node_name.clone().unwrap_or_else(|| host::node::host_name(&root)).into();
        let names = choose_names(config, &health)?;

        let (stopping, _) = watch::channel(false);
        let (snapshot_sender, snapshot) = watch::channel(None);
        let (target_sender, targets) = watch::channel(Arc::default());
        let (sampler, orders) = std_mpsc::channel();
        let (unknown_sender, unknown) = mpsc::channel(1);

        let (watch, waker) = match CgroupWatch::new() {
            Ok((watch, waker)) => (Some(watch), Some(waker)),
            Err(error) => {
                warn!(error = %host::error::chain(&error), "no inotify: cgroups are listed every sweep instead");
                (None, None)
            }
        };
        health.inotify.store(watch.is_some(), Ordering::Relaxed);
        let mailbox = Arc::new(Mailbox {
            inbox: Mutex::default(),
            posted: Condvar::new(),
            waker,
            stop: AtomicBool::new(false),
        });

        let side = match config.network_source {
            NetworkChoice::Auto | NetworkChoice::Netns => Side::Pod,
            NetworkChoice::Host => Side::Host,
        };
        let resolving = Resolving {
            resolver: Resolver::new(root.clone(), layout.clone(), side, health.clone()),
            watch,
            mailbox: mailbox.clone(),
            targets: target_sender,
            sampler: sampler.clone(),
            unknown: (!matches!(names, Names::Nobody)).then_some(unknown_sender),
            listing: config.interval,
        };
        let sampling = Sampling {
            aggregator: Aggregator::new(node_name.clone(), process_start, config.interval, layout.is_v1_io()),
            sampler: Sampler::new(
                root,
                layout,
                config.interval,
                host::limits::cached_descriptors(),
                health.clone(),
            ),
            orders,
            mailbox: mailbox.clone(),
            snapshots: snapshot_sender,
            interval: config.interval,
            health: health.clone(),
        };
        spawn("resolver", move || resolving.run())?;
        spawn("sampler", move || sampling.run())?;
        follow_names(names, unknown, mailbox.clone(), health.clone(), stopping.subscribe());

        let published = Published {
            snapshot,
            targets,
            health,
            clock: clock::pair,
            node_name,
            interval: config.interval,
            process_start,
        };
        Ok(Self { published, stopping, mailbox, sampler })
    }

    /// Tells everybody to end. The threads are not joined: one may be held up in the kernel.
    fn stop(&self) {
        self.stopping.send_replace(true);
        self.mailbox.stop.store(true, Ordering::Relaxed);
        self.mailbox.post(|_| {});
        let _ = self.sampler.send(Order::Stop);
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), PipelineError> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(body).map(drop).map_err(PipelineError::Thread)
}

/// Who is asked for names.
enum Names {
    /// Nobody.
    Nobody,
    /// The runtime behind this socket.
    Runtime(PathBuf),
    /// The first runtime that comes: podvitals may be started before it.
    WhoeverComes,
}

/// A socket that was not there is looked for this often.
const LOOK_FOR_SOCKET: Duration = Duration::from_secs(5);

fn choose_names(config: &Config, health: &Arc<Health>) -> Result<Names, PipelineError> {
    let socket = config.cri_endpoint.clone().or_else(cri::find_socket);
    let names = match (config.source, socket) {
        (SourceChoice::Cgroup, _) => Names::Nobody,
        (SourceChoice::Auto | SourceChoice::Cri, Some(socket)) => {
            return Ok(Names::Runtime(socket));
        }
        (SourceChoice::Auto, None) => Names::WhoeverComes,
        (SourceChoice::Cri, None) => return Err(PipelineError::NoRuntime),
    };
    info!("no source of names: pods are shown by UID, containers by id");
    health.identity_complete.store(true, Ordering::Relaxed);
    Ok(names)
}

/// Hands names from `discover` to the resolver.
fn follow_names(
    names: Names,
    unknown: mpsc::Receiver<()>,
    mailbox: Arc<Mailbox>,
    health: Arc<Health>,
    mut stopping: watch::Receiver<bool>,
) {
    let socket = match names {
        Names::Nobody => return,
        Names::Runtime(socket) => Some(socket),
        Names::WhoeverComes => None,
    };
    let (sender, mut known) = watch::channel(Arc::<KnownPods>::default());
    let mut discover_stopping = stopping.clone();
    let of_runtime = health.clone();
    tokio::spawn(async move {
        let stop = async move {
            let _ = discover_stopping.wait_for(|stop| *stop).await;
        };
        let follow = async {
            let socket = match socket {
                Some(socket) => socket,
                None => socket_that_comes().await,
            };
            let cri = cri::Cri::new(socket, of_runtime.clone());
            discover::run(Some(cri), sender, unknown, of_runtime, std::future::pending()).await;
        };
        tokio::select! {
            () = follow => {}
            () = stop => {}
        }
    });
    tokio::spawn(async move {
        loop {
            tokio::select! {
                changed = known.changed() => if changed.is_err() { return },
                _ = stopping.wait_for(|stop| *stop) => return,
            }
            let now = known.borrow_and_update().clone();
            if !now.complete.is_empty() {
                health.identity_complete.store(true, Ordering::Relaxed);
            }
            mailbox.post(|inbox| inbox.known = Some(now));
        }
    });
}

/// Waits for a runtime to listen where runtimes do.
async fn socket_that_comes() -> PathBuf {
    loop {
        tokio::time::sleep(LOOK_FOR_SOCKET).await;
        if let Some(socket) = cri::find_socket() {
            return socket;
        }
    }
}
