//! The client against a runtime that answers, hangs, dies and comes back.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::model::health::Health;
use crate::model::health::Room;
use crate::model::health::Trouble;
use crate::model::identity::ContainerState;
use crate::model::identity::KnownPod;
use crate::model::identity::RuntimeKind;
use crate::model::time::WallTime;

use super::DEADLINE;
use super::details::AFTER_ERROR;
use super::engine::Changed;
use super::engine::Engine;
use super::error::RuntimeError;
use super::fake;
use super::fake::FakeRuntime;
use super::fake::container;
use super::fake::sandbox;
use super::version::Version;

const NOT_FOUND: u32 = 5;

fn client(socket: PathBuf) -> (Engine, Arc<Health>) {
    let health = Arc::new(Health::default());
    (Engine::cri(socket, health.clone()), health)
}

fn version(name: &str, version: &str) -> Version {
    Version { name: name.into(), version: version.into() }
}

#[tokio::test]
async fn lists_and_details_make_pods() {
    let runtime = FakeRuntime::start("lists", "1.6.20~ds1");
    let (mut cri, _) = client(runtime.socket.clone());
    let pods = cri.fetch_pods().await.unwrap();
    assert_eq!((pods.len(), pods[0].name.as_ref()), (1, "web"));
    assert_eq!(pods[0].sandboxes[0].pid, Some(4242));
    assert_eq!(pods[0].containers[0].started_at, Some(WallTime::from_unix_nanos(5_000)));
    assert_eq!(pods[0].containers[0].image.as_deref(), Some("busybox:1"));
    assert_eq!(pods[0].containers[0].runtime, Some(RuntimeKind::Containerd));
    assert_eq!(cri.fetch_version().await.unwrap().to_string(), "containerd 1.6.20~ds1");
}

#[tokio::test]
async fn a_runtime_is_asked_for_its_name_until_it_tells_and_after_a_loss() {
    let runtime = FakeRuntime::start("name", "1.6.20");
    let (mut cri, _) = client(runtime.socket.clone());
    runtime.fail("Version");
    assert_eq!(cri.fetch_pods().await.unwrap()[0].containers[0].runtime, None);
    runtime.heal("Version");
    for asked in [2, 2, 3] {
        if asked == 3 {
            cri.expire(&Changed::everything());
        }
        assert_eq!(cri.fetch_pods().await.unwrap()[0].containers[0].runtime, Some(RuntimeKind::Containerd));
        assert_eq!(runtime.calls("Version"), asked);
    }
}

#[tokio::test]
async fn details_are_asked_for_once_for_each_state() {
    let runtime = FakeRuntime::start("once", "1.6.20");
    let (mut cri, _) = client(runtime.socket.clone());
    for _ in 0..3 {
        cri.fetch_pods().await.unwrap();
    }
    assert_eq!((runtime.calls("PodSandboxStatus"), runtime.calls("ContainerStatus")), (1, 1));
    runtime.with(|script| script.containers[0].state = 2);
    let pods = cri.fetch_pods().await.unwrap();
    assert_eq!(pods[0].containers[0].state, ContainerState::Terminated);
    assert_eq!((runtime.calls("PodSandboxStatus"), runtime.calls("ContainerStatus")), (1, 2));
}

#[tokio::test]
async fn why_a_container_ended_is_told_and_asked_for_again_where_it_may_be_told_late() {
    let runtime = FakeRuntime::start("reason", "1.6.20");
    let (mut cri, _) = client(runtime.socket.clone());
    runtime.with(|script| script.reason = "Error".into());
    let reason = |pods: Vec<KnownPod>| pods[0].containers[0].state_reason.as_deref().map(str::to_owned);
    assert_eq!(reason(cri.fetch_pods().await.unwrap()), None, "it runs");
    runtime.with(|script| script.containers[0].state = 2);
    assert_eq!(reason(cri.fetch_pods().await.unwrap()).as_deref(), Some("Error"));
    runtime.with(|script| script.reason = "OOMKilled".into());
    later(AFTER_ERROR).await;
    assert_eq!(reason(cri.fetch_pods().await.unwrap()).as_deref(), Some("OOMKilled"));
    later(10 * AFTER_ERROR).await;
    cri.fetch_pods().await.unwrap();
    assert_eq!(runtime.calls("ContainerStatus"), 3, "nothing is asked that cannot change");
}

/// Turns the clock on. While a runtime is asked it has to go by itself, or deadlines would pass at once.
async fn later(by: Duration) {
    tokio::time::pause();
    tokio::time::advance(by).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_pod_keeps_its_start_when_its_first_sandbox_is_removed() {
    let runtime = FakeRuntime::start("start", "1.6.20");
    let (mut cri, _) = client(runtime.socket.clone());
    let first = cri.fetch_pods().await.unwrap()[0].start_time;
    assert_eq!(first, Some(WallTime::from_unix_nanos(fake::CREATED)));
    runtime.with(|script| script.sandboxes = vec![sandbox('c', 1)]);
    assert_eq!(cri.fetch_pods().await.unwrap()[0].start_time, first);
}

#[tokio::test]
async fn one_sandbox_that_hangs_costs_its_own_pid_only() {
    let runtime = FakeRuntime::start("one-hangs", "1.6.20");
    runtime.with(|script| {
        let mut other = sandbox('c', 0);
        other.metadata.as_mut().unwrap().uid = "cc-dd".into();
        script.sandboxes.push(other);
        script.containers.push(container('d', 'c', 0));
        script.hanging.insert("a".repeat(64));
    });
    let (mut cri, health) = client(runtime.socket.clone());
    let pods = cri.fetch_pods().await.unwrap();
    let pids: Vec<_> = pods.iter().map(|pod| pod.sandboxes[0].pid).collect();
    assert_eq!(pids, [None, Some(4242)]);
    assert!(pods.iter().all(|pod| pod.containers[0].started_at.is_some()));
    assert_eq!(health.counted(Room::Runtime, Trouble::Timeout), 1);
    // And it does not hold up the next round.
    let begun = Instant::now();
    cri.fetch_pods().await.unwrap();
    assert!(begun.elapsed() < DEADLINE / 2, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_ends_between_the_list_and_the_question_spoils_nothing() {
    let runtime = FakeRuntime::start("gone", "1.6.20");
    runtime.with(|script| script.failing.insert("ContainerStatus", NOT_FOUND));
    let (mut cri, health) = client(runtime.socket.clone());
    let pods = cri.fetch_pods().await.unwrap();
    assert_eq!((pods[0].containers[0].name.as_ref(), pods[0].containers[0].started_at), ("app", None));
    assert_eq!(health.counted(Room::Runtime, Trouble::Gone), 1);
}

#[tokio::test]
async fn an_entry_we_cannot_take_is_counted_once_not_at_each_poll() {
    let runtime = FakeRuntime::start("refused", "1.6.20");
    runtime.with(|script| script.sandboxes[0].metadata.as_mut().unwrap().uid = "not a uid".into());
    let (mut cri, health) = client(runtime.socket.clone());
    for _ in 0..3 {
        assert!(cri.fetch_pods().await.unwrap().is_empty());
    }
    // The sandbox, and the container nobody can place then.
    assert_eq!(health.counted(Room::Runtime, Trouble::Malformed), 2);
}

#[tokio::test]
async fn a_runtime_that_accepts_and_never_answers_is_given_up_after_the_deadline() {
    let socket = FakeRuntime::path("hung");
    let _ = std::fs::remove_file(&socket);
    // Connections wait in the backlog: accepted by the kernel, read by nobody.
    let listener = UnixListener::bind(&socket).unwrap();
    let (mut cri, health) = client(socket.clone());
    let begun = Instant::now();
    let error = cri.fetch_pods().await.unwrap_err();
    let took = begun.elapsed();
    assert!(took >= DEADLINE && took < DEADLINE + Duration::from_secs(1), "{took:?}");
    assert!(matches!(error, RuntimeError::Timeout { call: "ListPodSandbox", .. }), "{error}");
    assert_eq!(health.counted(Room::Runtime, Trouble::Timeout), 1);
    drop(listener);
    let _ = std::fs::remove_file(socket);
}

#[tokio::test]
async fn a_runtime_that_is_not_there_is_said_to_be_so_and_found_once_it_is() {
    let socket = FakeRuntime::path("late");
    let (mut cri, health) = client(socket.clone());
    let error = cri.fetch_pods().await.unwrap_err().to_string();
    assert!(error.starts_with(&*socket.to_string_lossy()) && error.contains("No such file"), "{error}");
    assert_eq!(health.counted(Room::Runtime, Trouble::Io), 1);
    let _runtime = FakeRuntime::start("late", "1.6.20");
    assert_eq!(cri.fetch_pods().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_runtime_that_was_killed_is_reached_again_after_its_restart() {
    let runtime = FakeRuntime::start("killed", "1.6.20");
    let (mut cri, _) = client(runtime.socket.clone());
    cri.fetch_pods().await.unwrap();
    drop(runtime);
    let error = loop {
        // A call that is under way when the runtime dies may still be answered.
        if let Err(error) = cri.fetch_pods().await {
            break error;
        }
    };
    assert!(matches!(error, RuntimeError::Call { .. }), "{error}");
    let _again = FakeRuntime::start("killed", "1.6.20");
    assert_eq!(cri.fetch_pods().await.unwrap().len(), 1);
}

#[tokio::test]
async fn events_arrive_until_the_runtime_ends() {
    let runtime = FakeRuntime::start("events", "2.0.1");
    let (cri, _) = client(runtime.socket.clone());
    let mut events = cri.events(&cri.fetch_version().await.unwrap()).unwrap();
    let (sender, mut seen) = mpsc::unbounded_channel();
    tokio::spawn(async move { while sender.send(events.next().await).is_ok() {} });
    while runtime.event() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(seen.recv().await.unwrap().is_ok());
    drop(runtime);
    let broken = seen.recv().await.unwrap();
    assert!(matches!(broken, Err(RuntimeError::Call { trouble: Trouble::Io, .. })), "{broken:?}");
}

#[tokio::test]
async fn a_runtime_without_events_says_so() {
    let runtime = FakeRuntime::start("no-events", "2.0.1");
    runtime.refuse("GetContainerEvents");
    let (cri, _) = client(runtime.socket.clone());
    let mut events = cri.events(&version("containerd", "2.0.1")).unwrap();
    assert!(matches!(events.next().await, Err(RuntimeError::Unimplemented { .. })));
}

#[tokio::test]
async fn events_are_taken_only_from_runtimes_that_tell_every_reader() {
    let (cri, _) = client(FakeRuntime::path("never"));
    let taken = |name, number| cri.events(&version(name, number)).is_some();
    assert!(taken("containerd", "2.0.0") && taken("containerd", "v2.1.3-k3s1"));
    assert!(taken("cri-o", "1.28.0") && taken("cri-o", "1.31.2"));
    assert!(!taken("containerd", "1.6.20~ds1") && !taken("containerd", "1.7.24"));
    assert!(!taken("cri-o", "1.27.8") && !taken("docker", "27.0.1") && !taken("containerd", ""));
}
