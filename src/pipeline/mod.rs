//! Connects the stages; owns the clock, the tasks and shutdown; decides nothing else.
//!
//! ```text
//!   thread "resolver"   cgroup events, names, lost targets ──► targets
//!   thread "sampler"    targets ──► sweep ──► rates ──► snapshot, at a fixed phase
//!   thread "asker"      how full the node's file systems are ──► what the next sweeps show
//!   tokio               discover (names), serve (readers), the watchdog
//!   thread "processes"  while a reader waits for it: one look through /proc ──► the processes of the node
//! ```
//!
//! The threads never wait for a socket, and nobody waits for them, but a reader for the processes: values cross in
//! channels.

mod asking;
mod listing;
mod naming;
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
use crate::config::AskedSource;
use crate::config::Config;
use crate::config::NetworkChoice;
use crate::config::Profile;
use crate::history::Recorder;
use crate::host;
use crate::host::HostError;
use crate::host::HostRoot;
use crate::host::cgroup::layout::Controller;
use crate::host::cgroup::layout::Layout;
use crate::host::cgroup::layout::Version;
use crate::host::clock;
use crate::host::file_systems::FileSystemReader;
use crate::host::watch::CgroupWatch;
use crate::kubernetes::client::ApiServer;
use crate::kubernetes::client::KubernetesError;
use crate::model::health::Health;
use crate::model::machine::CgroupVersion;
use crate::model::machine::Machine;
use crate::model::snapshot::Snapshot;
use crate::model::unavailable::Unavailable;
use crate::resolve::Resolver;
use crate::resolve::Side;
use crate::runtime::cri;
use crate::runtime::docker;
use crate::sample::Sampler;
use crate::serve;
use crate::serve::Answer;
use crate::serve::Desk;
use crate::serve::Published;

use self::asking::Asking;
use self::naming::Following;
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
    /// `--source cri` or `--source docker` without a runtime.
    #[error(
        "--source {source_word}: no container runtime socket found; name it with --{source_word}-endpoint unix:///path/to/the.sock"
    )]
    NoRuntime {
        /// The source that was asked for.
        source_word: &'static str,
    },
    /// `--source kube` or `--source kubelet` that cannot be asked.
    #[error("the source of names cannot be asked")]
    Kubernetes(#[source] KubernetesError),
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// `--direct` never saw two sweeps.
    #[error("no complete sweep within {} s; the log above may say why", DIRECT_DEADLINE.as_secs())]
    NoSweep,
}

impl PipelineError {
    /// What was configured cannot be used: another value would help, waiting would not.
    pub fn is_configuration(&self) -> bool {
        use serve::ServeError::{Closed, Tls};
        matches!(self, Self::NoRuntime { .. } | Self::Kubernetes(_) | Self::Listen(Closed { .. } | Tls(_)))
    }
}

/// Samples and serves until `stop` resolves.
///
/// # Errors
/// When the cgroup tree cannot be read, no runtime is found that was asked for, or an address cannot be
/// listened on. Nothing that happens later ends it.
pub async fn run(config: Config, stop: impl Future<Output = ()>) -> Result<(), PipelineError> {
    let api = naming::api_server(&config).await?;
    let root = HostRoot::new(config.proc_root.clone(), config.cgroup_root.clone());
    let bound = serve::bind(&config.listen, access(&config, &root, api.clone())).await?;
    let engine = Engine::start(&config, root.clone(), api.as_ref())?;
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

/// Where the runtimes of this source listen, in the order in which they are looked for: none for a source
/// that is no runtime.
pub fn runtime_sockets(source: AskedSource) -> &'static [&'static str] {
    match source {
        AskedSource::Cri => cri::SOCKETS,
        AskedSource::Docker => docker::SOCKETS,
        AskedSource::Kube | AskedSource::Kubelet => &[],
    }
}

/// The socket of this source that is asked: the one that is given, else the first that is there.
pub fn runtime_socket(config: &Config, source: AskedSource) -> Option<PathBuf> {
    match source {
        AskedSource::Cri => config.cri_endpoint.clone().or_else(cri::find_socket),
        AskedSource::Docker => config.docker_endpoint.clone().or_else(docker::find_socket),
        AskedSource::Kube | AskedSource::Kubelet => None,
    }
}

/// How https addresses are served, if there are any.
fn access(config: &Config, root: &HostRoot, api_server: Option<ApiServer>) -> serve::Access {
    serve::Access {
        files: config.tls.clone(),
        api_server,
        node_name: node_name(config, root),
        host_names: vec![host::node::host_name(root)],
        insecure_public: config.insecure_public,
        http2: config.http2,
    }
}

fn node_name(config: &Config, root: &HostRoot) -> Arc<str> {
    config.node_name.clone().unwrap_or_else(|| host::node::host_name(root)).into()
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
        let api = naming::api_server(&config).await?;
        let engine = Engine::start(&config, root, api.as_ref())?;
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
    /// Closed with us, which ends the asker.
    _asker: std_mpsc::Sender<()>,
}

impl Engine {
    fn start(config: &Config, root: HostRoot, api: Option<&ApiServer>) -> Result<Self, PipelineError> {
        let layout = Arc::new(Layout::detect(&root).map_err(PipelineError::Host)?);
        info!(layout = %layout.describe(), "cgroups");
        let health = Arc::new(Health::default());
        let process_start = clock::pair().wall;
        let node_name = node_name(config, &root);
        let memory_cgroups = layout.version(Controller::Memory).map(|version| match version {
            Version::V1 => CgroupVersion::V1,
            Version::V2 => CgroupVersion::V2,
        });
        let machine = Machine {
            kernel_release: host::node::kernel_release(&root).ok(),
            memory_cgroups,
            unlimited_memory_bytes: layout.unlimited_memory_bytes(),
            boot_id: host::node::boot_id(&root).ok(),
            processors: host::processors::read(&root).unwrap_or_default(),
        };
        let sources = naming::choose(config, &node_name, api, &health)?;

        let (stopping, _) = watch::channel(false);
        let (snapshot_sender, snapshot) = watch::channel(None);
        let (target_sender, targets) = watch::channel(Arc::default());
        let (sampler, orders) = std_mpsc::channel();
        let (known, file_systems) = watch::channel(Err(Unavailable::NotYet));
        let (asker, stop) = std_mpsc::channel();
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
            unknown: naming::is_anybody(&sources).then_some(unknown_sender),
            health: health.clone(),
            listing: config.interval,
        };
        let of_processes = root.clone();
        let recorder = Recorder::new(config.history, config.interval);
        let history = recorder.shelf().clone();
        if !history.is_off() {
            info!(span = ?history.span(), at_most_bytes = history.limit_bytes(), "history");
        }
        let asking = Asking { reader: FileSystemReader::new(&root), known, stop, health: health.clone() };
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
            recorder,
            file_systems,
        };
        spawn("asker", move || asking.run())?;
        spawn("resolver", move || resolving.run())?;
        spawn("sampler", move || sampling.run())?;
        let following = Following {
            node: node_name.clone(),
            unknown,
            targets: targets.clone(),
            mailbox: mailbox.clone(),
            health: health.clone(),
            stopping: stopping.subscribe(),
        };
        naming::follow(sources, following);

        let (processes, lister) = serve::process_lane(listing::PATIENCE);
        tokio::spawn(listing::run(lister, of_processes, health.clone(), stopping.subscribe()));

        let published = Published {
            snapshot,
            targets,
            history,
            health,
            clock: clock::pair,
            node_name,
            interval: config.interval,
            process_start,
            machine: Arc::new(machine),
            cadvisor_full: config.profile == Profile::CadvisorFull,
            docker_percpu: config.docker_percpu,
            processes,
        };
        Ok(Self { published, stopping, mailbox, sampler, _asker: asker })
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
