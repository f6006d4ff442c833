//! The stage as a whole against an API server and a kubelet that go away, come back and refuse.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio::time::timeout;

use super::*;
use crate::kubernetes::client::ApiServer;
use crate::kubernetes::fake::After;
use crate::kubernetes::fake::FakeApi;
use crate::kubernetes::fake::bookmark;
use crate::kubernetes::fake::event;
use crate::kubernetes::fake::list;
use crate::kubernetes::fake::pod;
use crate::kubernetes::fake::status;
use crate::kubernetes::fake::watch as watching;
use crate::model::health::Refusal;
use crate::model::time::Monotonic;

/// Everything waited for here takes far less, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(20);

struct Stage {
    known: watch::Receiver<Arc<KnownPods>>,
    nudge: mpsc::Sender<()>,
    health: Arc<Health>,
    task: JoinHandle<()>,
}

fn now() -> ClockPair {
    ClockPair { monotonic: Monotonic::from_nanos(7), ..ClockPair::default() }
}

impl Stage {
    fn start(sources: impl FnOnce(Arc<Health>) -> Sources) -> Self {
        let health = Arc::new(Health::default());
        let (sender, known) = watch::channel(Arc::default());
        let (nudge, unknown) = mpsc::channel(1);
        let sources = sources(health.clone());
        let task = tokio::spawn(run(sources, sender, unknown, health.clone(), now, std::future::pending()));
        Self { known, nudge, health, task }
    }

    fn of_api(url: &str) -> Self {
        let api = ApiServer::at(url, None);
        Self::start(|health| Sources { kube: Some(PodWatch::new(api, "n1", health)), ..Sources::default() })
    }

    fn of_kubelet(url: &str) -> Self {
        Self::start(|health| Sources { kubelet: Some(Kubelet::at(url, health)), ..Sources::default() })
    }

    async fn until(&mut self, holds: impl Fn(&KnownPods) -> bool) -> Arc<KnownPods> {
        let waited = timeout(PATIENCE, self.known.wait_for(|known| holds(known))).await;
        waited.expect("in time").unwrap().clone()
    }

    fn stale_since(&self, source: Source) -> u64 {
        self.health.source(source).stale_since.load(Ordering::Relaxed)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn names(known: &KnownPods) -> String {
    known.pods.values().map(|pod| pod.name.as_ref()).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn an_api_server_that_comes_late_dies_and_comes_back_costs_no_name() {
    let address = FakeApi::nobody().await;
    let mut stage = Stage::of_api(&format!("http://{address}"));
    let unreachable = || stage.health.source(Source::Kube).refusals(Refusal::Unreachable);
    while unreachable() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(**stage.known.borrow(), KnownPods::default());
    assert_eq!(stage.stale_since(Source::Kube), 7);

    let replies =
        [list(10, &[pod("web", '1', 9)]), watching(&[event("ADDED", &pod("b", '2', 11))], After::Reset)];
    let api = FakeApi::at(&address, replies).await;
    stage.until(|known| names(known) == "web b").await;
    drop(api);
    stage.until(|known| known.current.is_empty() && known.complete == [Source::Kube]).await;
    assert_eq!((names(&stage.known.borrow()).as_str(), stage.stale_since(Source::Kube)), ("web b", 7));

    let gone = event("DELETED", &pod("web", '1', 12));
    let api = FakeApi::at(&address, [watching(&[gone], After::Hang)]).await;
    let begun = Instant::now();
    let known = stage.until(|known| names(known) == "b").await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!((known.current.as_slice(), stage.stale_since(Source::Kube)), ([Source::Kube].as_slice(), 0));
    assert!(api.asked()[0].contains("resourceVersion=11"), "no list was needed: {:?}", api.asked());
}

#[tokio::test]
async fn a_410_costs_neither_a_name_nor_the_good_name_of_the_source() {
    let api = FakeApi::start([
        list(10, &[pod("web", '1', 9)]),
        status(410, "Expired"),
        list(20, &[pod("web", '1', 9), pod("b", '2', 11)]),
        watching(&[bookmark(21)], After::Hang),
    ])
    .await;
    let mut stage = Stage::of_api(&api.url);
    stage.until(|known| names(known) == "web").await;
    let known = stage.until(|known| names(known) == "web b").await;
    assert_eq!(known.current, [Source::Kube]);
    let source = stage.health.source(Source::Kube);
    assert_eq!((source.refusals(Refusal::Expired), stage.stale_since(Source::Kube)), (1, 0));
}

#[tokio::test]
async fn a_right_that_is_missing_is_counted_by_its_name_and_asked_for_again() {
    let api = FakeApi::start([
        list(10, &[pod("web", '1', 9)]),
        status(403, "pods is forbidden"),
        watching(&[event("ADDED", &pod("b", '2', 11))], After::Hang),
    ])
    .await;
    let mut stage = Stage::of_api(&api.url);
    let known = stage.until(|known| known.current.is_empty() && !known.pods.is_empty()).await;
    assert_eq!(names(&known), "web");
    stage.until(|known| names(known) == "web b" && known.current == [Source::Kube]).await;
    assert_eq!(stage.health.source(Source::Kube).refusals(Refusal::Forbidden), 1);
}

#[tokio::test]
async fn the_kubelet_is_asked_for_an_unknown_cgroup_at_most_every_five_seconds() {
    let second = [pod("web", '1', 1), pod("b", '2', 2)];
    let server = FakeApi::start([list(0, &second[..1]), list(0, &second)]).await;
    let mut stage = Stage::of_kubelet(&server.url);
    stage.until(|known| names(known) == "web").await;
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(server.asked().len(), 1, "nobody saw anything");
    for _ in 0..20 {
        stage.nudge.send(()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stage.until(|known| names(known) == "web b").await;
    assert!(begun.elapsed() > Duration::from_millis(4_500), "{:?}", begun.elapsed());
    assert_eq!(server.asked(), ["/pods", "/pods"]);
}

#[tokio::test]
async fn a_kubelet_that_refuses_keeps_its_names_and_is_out_of_date() {
    let server = FakeApi::start([list(0, &[pod("web", '1', 1)]), status(401, "Unauthorized")]).await;
    let mut stage = Stage::of_kubelet(&server.url);
    stage.until(|known| known.current == [Source::Kubelet]).await;
    stage.nudge.send(()).await.unwrap();
    let known = stage.until(|known| known.current.is_empty()).await;
    assert_eq!(names(&known), "web");
    let source = stage.health.source(Source::Kubelet);
    assert_eq!((source.refusals(Refusal::Unauthorized), stage.stale_since(Source::Kubelet)), (1, 7));
}

/// A second before a watch that tells nothing is given up. The clock does not run ahead of connections.
async fn nearly_idle() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(94)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_server_that_fell_silent_is_out_of_date_since_its_last_line_and_no_failure() {
    let api = FakeApi::start([
        list(10, &[pod("web", '1', 9)]),
        watching(&[event("ADDED", &pod("b", '2', 11))], After::Hang),
        crate::kubernetes::fake::Reply::Silence,
    ])
    .await;
    let mut stage = Stage::of_api(&api.url);
    stage.until(|known| names(known) == "web b").await;
    let source = stage.health.source(Source::Kube);
    let all = || crate::model::health::REFUSALS.iter().map(|(why, _)| source.refusals(*why)).sum::<u64>();
    assert_eq!((all(), stage.stale_since(Source::Kube)), (0, 0));
    nearly_idle().await;
    while stage.stale_since(Source::Kube) == 0 || api.asked().len() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The frozen server has been asked for another watch, and has not refused it yet.
    assert_eq!((all(), source.up.load(Ordering::Relaxed)), (0, true));
    assert_eq!(stage.known.borrow().current, [Source::Kube]);
    tokio::time::pause();
    while all() == 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!((source.refusals(Refusal::Timeout), source.up.load(Ordering::Relaxed)), (1, false));
}

#[tokio::test]
async fn a_quiet_server_that_answers_the_next_watch_is_up_to_date() {
    let api = FakeApi::start([
        list(10, &[pod("web", '1', 9)]),
        watching(&[bookmark(11)], After::Hang),
        watching(&[event("ADDED", &pod("b", '2', 12))], After::Hang),
    ])
    .await;
    let mut stage = Stage::of_api(&api.url);
    stage.until(|known| names(known) == "web").await;
    while api.asked().len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    nearly_idle().await;
    let known = stage.until(|known| names(known) == "web b").await;
    assert_eq!((known.current.as_slice(), stage.stale_since(Source::Kube)), ([Source::Kube].as_slice(), 0));
}

#[tokio::test]
async fn a_watch_that_ends_after_each_line_is_begun_again_a_second_later_and_then_later_still() {
    let line = |n: u64| watching(&[event("MODIFIED", &pod("web", '1', n))], After::End);
    let api = FakeApi::start([list(10, &[pod("web", '1', 9)]), line(11), line(12), line(13)]).await;
    let mut stage = Stage::of_api(&api.url);
    stage.until(|known| names(known) == "web").await;
    let begun = Instant::now();
    while api.asked().len() < 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (least, most) = (Duration::from_millis(2_900), Duration::from_secs(5));
    assert!((least..most).contains(&begun.elapsed()), "1 s and 2 s: {:?}", begun.elapsed());
    let source = stage.health.source(Source::Kube);
    assert_eq!((source.refusals(Refusal::Unreachable), stage.stale_since(Source::Kube)), (0, 0));
}

#[tokio::test]
async fn a_kubelet_is_left_alone_without_a_reason_and_ever_longer_if_it_names_nothing_new() {
    let answer = || list(0, &[pod("web", '1', 1)]);
    let server = FakeApi::start([answer(), answer(), answer()]).await;
    let mut stage = Stage::of_kubelet(&server.url);
    stage.until(|known| names(known) == "web").await;
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(600)).await;
    tokio::time::resume();
    assert_eq!(server.asked().len(), 1, "nobody saw anything");
    let begun = Instant::now();
    while server.asked().len() < 3 {
        stage.nudge.send(()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        if begun.elapsed() > Duration::from_secs(1) {
            assert!(server.asked().len() >= 2, "it is asked at once");
        }
    }
    let passed = begun.elapsed();
    assert!((Duration::from_millis(9_900)..Duration::from_secs(14)).contains(&passed), "{passed:?}");
}
