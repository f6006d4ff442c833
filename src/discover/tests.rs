//! The stage as a whole, against a runtime that comes, goes and comes back.

use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio::time::timeout;

use super::*;
use crate::runtime::fake::FakeRuntime;

/// Everything waited for here takes far less, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(10);

struct Stage {
    known: watch::Receiver<Arc<KnownPods>>,
    nudge: mpsc::Sender<()>,
    health: Arc<Health>,
    task: JoinHandle<()>,
}

impl Stage {
    fn start(socket: PathBuf) -> Self {
        let health = Arc::new(Health::default());
        let (sender, known) = watch::channel(Arc::default());
        let (nudge, unknown) = mpsc::channel(1);
        let sources = Sources { cri: Some(Runtime::At(socket)), ..Sources::default() };
        let now: Now = ClockPair::default;
        let task = tokio::spawn(run(sources, sender, unknown, health.clone(), now, std::future::pending()));
        Self { known, nudge, health, task }
    }

    async fn until(&mut self, holds: impl Fn(&KnownPods) -> bool) -> Arc<KnownPods> {
        let waited = timeout(PATIENCE, self.known.wait_for(|known| holds(known))).await;
        waited.expect("in time").unwrap().clone()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn containers(known: &KnownPods) -> usize {
    known.pods.values().map(|pod| pod.containers.len()).sum()
}

#[tokio::test]
async fn a_runtime_that_comes_up_late_is_found_and_its_names_outlive_it() {
    let mut stage = Stage::start(FakeRuntime::path("stage"));
    while stage.health.counted(Room::Runtime, Trouble::Io) < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(**stage.known.borrow(), KnownPods::default());

    let runtime = FakeRuntime::start("stage", "1.6.20");
    let known = stage.until(|known| known.current == [Source::Cri]).await;
    assert_eq!((known.pods.len(), containers(&known)), (1, 1));

    drop(runtime);
    stage.nudge.send(()).await.unwrap();
    let known = stage.until(|known| known.current.is_empty()).await;
    assert_eq!((known.pods.len(), known.complete.as_slice()), (1, [Source::Cri].as_slice()));

    let runtime = FakeRuntime::start("stage", "1.6.20");
    runtime.remove_all();
    let known = stage.until(|known| known.current == [Source::Cri]).await;
    assert!(known.pods.is_empty());
}

#[tokio::test]
async fn a_nudge_names_a_new_container_at_once_and_an_idle_runtime_is_left_alone() {
    let runtime = FakeRuntime::start("nudge", "1.6.20");
    let mut stage = Stage::start(runtime.socket.clone());
    stage.until(|known| containers(known) == 1).await;
    // The ladder is 1.85 s long; after it the runtime is asked every 2 s.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let asked = runtime.calls("ListContainers");
    assert!(asked <= 7, "{asked}");

    runtime.add_container('c', 1);
    let begun = Instant::now();
    stage.nudge.send(()).await.unwrap();
    stage.until(|known| containers(known) == 2).await;
    assert!(begun.elapsed() < Duration::from_millis(150), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_container_the_runtime_lists_a_little_late_is_named_within_the_ladder() {
    let runtime = FakeRuntime::start("ladder", "1.6.20");
    let mut stage = Stage::start(runtime.socket.clone());
    stage.until(|known| containers(known) == 1).await;
    stage.nudge.send(()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(120)).await;
    runtime.add_container('c', 1);
    let begun = Instant::now();
    stage.until(|known| containers(known) == 2).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_event_is_as_good_as_a_nudge() {
    let runtime = FakeRuntime::start("event", "2.0.1");
    let mut stage = Stage::start(runtime.socket.clone());
    stage.until(|known| containers(known) == 1).await;
    tokio::time::sleep(Duration::from_millis(2_000)).await;
    runtime.add_container('c', 1);
    let begun = Instant::now();
    assert_eq!(runtime.event(), 1);
    stage.until(|known| containers(known) == 2).await;
    assert!(begun.elapsed() < Duration::from_millis(150), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn nothing_is_published_while_nothing_changes() {
    let runtime = FakeRuntime::start("quiet", "1.6.20");
    let mut stage = Stage::start(runtime.socket.clone());
    stage.until(|known| containers(known) == 1).await;
    let asked = runtime.calls("ListContainers");
    while runtime.calls("ListContainers") < asked + 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!stage.known.has_changed().unwrap());
}

#[tokio::test]
async fn it_ends_when_it_is_told_to() {
    let (sender, _known) = watch::channel(Arc::default());
    let (_nudge, unknown) = mpsc::channel(1);
    let sources = Sources { cri: Some(Runtime::At(FakeRuntime::path("stop"))), ..Sources::default() };
    let ended = run(sources, sender, unknown, Arc::default(), ClockPair::default, async {});
    timeout(PATIENCE, ended).await.expect("at once");
}
