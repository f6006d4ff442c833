//! Follows the container runtime: asks for its lists at the right moments, and says when it comes and goes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::sleep_until;
use tracing::info;
use tracing::warn;

use crate::model::health::Health;
use crate::model::health::Refusal;
use crate::model::health::Trouble;
use crate::model::identity::KnownPod;
use crate::runtime::cri;
use crate::runtime::docker;
use crate::runtime::engine::Changed;
use crate::runtime::engine::Engine;
use crate::runtime::engine::Events;
use crate::runtime::error::RuntimeError;
use crate::runtime::version::Version;

use super::Answer;
use super::Now;
use super::Runtime;
use super::allowance::Allowance;
use super::pace::Pace;
use super::pace::chance;

/// A stream that broke before it told anything would break again at once.
const UNTIL_NEXT_STREAM: Duration = Duration::from_secs(60);

/// A socket that was not there is looked for this often.
const LOOK_FOR_SOCKET: Duration = Duration::from_secs(5);

/// Which interface the runtime speaks.
#[derive(Clone, Copy)]
pub(super) enum Interface {
    /// The container runtime interface.
    Cri,
    /// The Docker Engine's.
    Docker,
}

impl Interface {
    fn find_socket(self) -> Option<PathBuf> {
        match self {
            Self::Cri => cri::find_socket(),
            Self::Docker => docker::find_socket(),
        }
    }

    fn engine(self, socket: PathBuf, health: Arc<Health>) -> Engine {
        match self {
            Self::Cri => Engine::cri(socket, health),
            Self::Docker => Engine::docker(socket, health),
        }
    }
}

/// Tells `tell` what the runtime knows, for ever.
pub(super) async fn follow(
    runtime: Runtime,
    interface: Interface,
    nudge: Arc<Notify>,
    health: &Arc<Health>,
    now: Now,
    tell: mpsc::Sender<Answer>,
) {
    let socket = match runtime {
        Runtime::At(socket) => socket,
        Runtime::WhoeverComes => socket_that_comes(interface).await,
    };
    let engine = interface.engine(socket, health.clone());
    health.source(engine.source()).configured.store(true, Ordering::Relaxed);
    let mut follower = Follower::new(engine, health, now, tell);
    let mut pace = Pace::default();
    let mut allowance = Allowance::new(Instant::now());
    let mut nudged = false;
    loop {
        let asked = Instant::now();
        let allowed = allowance.take(asked);
        let pause = match follower.ask(&nudge).await {
            Ok(changed) => pace.answered(changed || nudged, follower.heard.is_live()),
            Err(_) => pace.failed(chance()),
        };
        let [earliest, latest] =
            [asked + pause.nudged, Instant::now() + pause.at_most].map(|at| at.max(allowed));
        nudged = wait(&nudge, earliest, latest).await;
    }
}

/// Waits for a runtime to listen where runtimes do.
async fn socket_that_comes(interface: Interface) -> PathBuf {
    loop {
        if let Some(socket) = interface.find_socket() {
            return socket;
        }
        sleep(LOOK_FOR_SOCKET).await;
    }
}

/// Waits for a nudge, but not less than until `earliest`; or until `latest`. Returns whether there was one.
pub(super) async fn wait(nudge: &Notify, earliest: Instant, latest: Instant) -> bool {
    tokio::select! {
        () = sleep_until(latest) => false,
        () = nudge.notified() => {
            sleep_until(earliest).await;
            true
        }
    }
}

struct Follower<'a> {
    engine: Engine,
    health: &'a Health,
    now: Now,
    tell: mpsc::Sender<Answer>,
    /// What was told last; `None` before the first answer and while the runtime is lost.
    last: Option<Vec<KnownPod>>,
    /// That it is lost was logged. How it fails while it is may change with every question: that is counted.
    lost: bool,
    /// What was logged of the runtime that is connected to: its version, if it told it.
    greeted: Option<Option<Version>>,
    /// The reader of events, ended when this is dropped. It ends with whether to try again.
    events: JoinSet<bool>,
    heard: Arc<Heard>,
}

/// What the events of a runtime came to.
#[derive(Default)]
struct Heard {
    /// The runtime has told of an event, and goes on doing so.
    live: AtomicBool,
    /// That it tells of none was logged.
    silent: AtomicBool,
    /// Of whom, since the last question.
    changed: Mutex<Changed>,
}

impl Heard {
    fn is_live(&self) -> bool {
        self.live.load(Ordering::Relaxed)
    }

    fn note(&self, id: Option<String>) {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).note(id);
        self.live.store(true, Ordering::Relaxed);
    }

    fn take(&self) -> Changed {
        std::mem::take(&mut self.changed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<'a> Follower<'a> {
    fn new(engine: Engine, health: &'a Health, now: Now, tell: mpsc::Sender<Answer>) -> Self {
        let (events, heard) = (JoinSet::new(), Arc::default());
        Self { engine, health, now, tell, last: None, lost: false, greeted: None, events, heard }
    }

    /// Asks once. Returns whether the answer differed from the one before.
    async fn ask(&mut self, nudge: &Arc<Notify>) -> Result<bool, RuntimeError> {
        self.engine.expire(&self.heard.take());
        match self.engine.fetch_pods().await {
            Ok(pods) => {
                self.health.source(self.engine.source()).answered();
                let changed = self.last.as_ref() != Some(&pods);
                let count = pods.len();
                // A runtime that restarts between two questions is only missed by its events.
                let missed = matches!(self.events.try_join_next(), Some(Ok(true)));
                let connected = self.last.is_none() || missed;
                if changed {
                    let source = self.engine.source();
                    self.last = Some(pods.clone());
                    self.answer(Answer::Pods(source, pods.into_iter().map(Arc::new).collect())).await;
                }
                if connected {
                    self.connected(count, nudge).await;
                }
                if missed {
                    // While nobody listened anything may have happened.
                    self.engine.expire(&Changed::everything());
                    nudge.notify_one();
                }
                Ok(changed)
            }
            Err(error) => {
                self.lost(&error).await;
                Err(error)
            }
        }
    }

    /// Greets the runtime, and reads its events. After a stream that broke it may be another one: only then
    /// is it greeted again.
    async fn connected(&mut self, pods: usize, nudge: &Arc<Notify>) {
        self.lost = false;
        let told = self.engine.fetch_version().await;
        let known = Some(told.as_ref().ok().cloned());
        let is_news = self.greeted != known;
        self.greeted = known;
        let socket = self.engine.socket().display();
        let version = match told {
            Ok(version) => version,
            Err(error) => {
                if is_news {
                    info!(%socket, pods, %error, "connected to a container runtime");
                }
                self.events.spawn(async {
                    sleep(UNTIL_NEXT_STREAM).await;
                    true
                });
                return;
            }
        };
        if is_news {
            info!(%socket, runtime = %version, pods, "connected to the container runtime");
        }
        match self.engine.events(&version) {
            Some(events) => {
                self.events.spawn(read_events(events, nudge.clone(), self.heard.clone()));
            }
            None if is_news => {
                info!(runtime = %version, "this runtime does not tell every reader of its events: its lists are polled")
            }
            None => {}
        }
    }

    async fn lost(&mut self, error: &RuntimeError) {
        (self.events, self.greeted) = (JoinSet::new(), None);
        self.heard.live.store(false, Ordering::Relaxed);
        self.heard.silent.store(false, Ordering::Relaxed);
        self.engine.expire(&Changed::everything());
        self.health.source(self.engine.source()).refused(refusal(error), (self.now)().monotonic);
        if !std::mem::replace(&mut self.lost, true) {
            warn!(%error, "the container runtime does not answer: known names stay, new pods have none");
        }
        if self.last.take().is_some() {
            self.answer(Answer::Lost(self.engine.source())).await;
        }
    }

    async fn answer(&self, answer: Answer) {
        // It is not received only while everything stops.
        let _ = self.tell.send(answer).await;
    }
}

fn refusal(error: &RuntimeError) -> Refusal {
    match error.trouble() {
        Trouble::Timeout => Refusal::Timeout,
        Trouble::Denied => Refusal::Forbidden,
        Trouble::Malformed => Refusal::Malformed,
        _ if matches!(error, RuntimeError::Unimplemented { .. }) => Refusal::ServerError,
        _ => Refusal::Unreachable,
    }
}

/// Nudges with each event, until the stream breaks. Returns whether it is worth opening again.
async fn read_events(mut events: Events, nudge: Arc<Notify>, heard: Arc<Heard>) -> bool {
    loop {
        match events.next().await {
            Ok(id) => {
                heard.note(id);
                if heard.silent.swap(false, Ordering::Relaxed) {
                    info!("the container runtime tells of its events again");
                }
                nudge.notify_one();
            }
            Err(error) => {
                // One that told of something ends now and then, and is opened again at once.
                let was_live = heard.live.swap(false, Ordering::Relaxed);
                if !was_live && !heard.silent.swap(true, Ordering::Relaxed) {
                    info!(%error, "no events from the container runtime: its lists are polled");
                }
                if matches!(error, RuntimeError::Unimplemented { .. }) {
                    return false;
                }
                if was_live {
                    nudge.notify_one();
                } else {
                    sleep(UNTIL_NEXT_STREAM).await;
                }
                return true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::PoisonError;

    use tracing::field::Field;
    use tracing::field::Visit;
    use tracing::span;

    use super::*;
    use crate::model::time::ClockPair;
    use crate::runtime::fake::FakeRuntime;

    /// What is logged on this thread.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<String>>>);

    impl Log {
        fn said(&self, words: &str) -> usize {
            let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            lines.iter().filter(|line| line.contains(words)).count()
        }
    }

    impl Visit for &Log {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            if field.name() == "message" {
                self.0.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{value:?}"));
            }
        }
    }

    impl tracing::Subscriber for Log {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, event: &tracing::Event<'_>) {
            let mut lines = self;
            event.record(&mut lines);
        }

        fn enter(&self, _: &span::Id) {}

        fn exit(&self, _: &span::Id) {}
    }

    async fn reader(runtime: &FakeRuntime) -> (tokio::task::JoinHandle<bool>, Arc<Heard>) {
        let engine = Engine::cri(runtime.socket.clone(), Arc::default());
        let events = engine.events(&engine.fetch_version().await.unwrap()).unwrap();
        let heard = Arc::<Heard>::default();
        (tokio::spawn(read_events(events, Arc::default(), heard.clone())), heard)
    }

    #[tokio::test]
    async fn a_stream_that_was_live_is_opened_again_at_once() {
        let runtime = FakeRuntime::start("live-stream", "2.0.1");
        let (reading, heard) = reader(&runtime).await;
        while !heard.is_live() {
            runtime.event();
            sleep(Duration::from_millis(1)).await;
        }
        drop(runtime);
        assert!(reading.await.unwrap());
        assert!(!heard.is_live());
    }

    #[tokio::test]
    async fn a_runtime_without_events_is_not_asked_again() {
        let runtime = FakeRuntime::start("no-stream", "2.0.1");
        runtime.refuse("GetContainerEvents");
        let (reading, _) = reader(&runtime).await;
        assert!(!reading.await.unwrap());
    }

    #[tokio::test]
    async fn events_that_never_come_are_told_of_once_and_asked_for_again() {
        let log = Log::default();
        // Where there is one alone, tracing asks only the thread that comes to a line first whether anybody
        // listens, and that may be another test's.
        let _second = tracing::Dispatch::new(log.clone());
        let _logging = tracing::subscriber::set_default(log.clone());
        let runtime = FakeRuntime::start("dead-stream", "2.0.1");
        runtime.fail("GetContainerEvents");
        let (health, nudge) = (Arc::<Health>::default(), Arc::default());
        let (tell, _told) = mpsc::channel(100);
        let engine = Engine::cri(runtime.socket.clone(), health.clone());
        let mut follower = Follower::new(engine, &health, ClockPair::default, tell);
        while runtime.calls("GetContainerEvents") < 4 {
            follower.ask(&nudge).await.unwrap();
            sleep(Duration::from_millis(5)).await;
            tokio::time::pause();
            tokio::time::advance(UNTIL_NEXT_STREAM).await;
            tokio::time::resume();
        }
        assert_eq!((log.said("connected to"), log.said("no events")), (1, 1));

        // Lost and found is news again.
        runtime.fail("ListPodSandbox");
        follower.ask(&nudge).await.unwrap_err();
        runtime.heal("ListPodSandbox");
        follower.ask(&nudge).await.unwrap();
        assert_eq!((log.said("does not answer"), log.said("connected to")), (1, 2));
    }
}
