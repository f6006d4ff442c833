//! Follows the container runtime: asks for its lists at the right moments, and says when it comes and goes.

use std::mem::Discriminant;
use std::sync::Arc;
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

use crate::model::identity::KnownPod;
use crate::model::identity::Source;
use crate::runtime::cri::Cri;
use crate::runtime::cri::Events;
use crate::runtime::cri::RuntimeError;

use super::Answer;
use super::pace::Pace;
use super::pace::chance;

/// A stream that broke before it told anything would break again at once.
const UNTIL_NEXT_STREAM: Duration = Duration::from_secs(60);

/// Tells `tell` what the runtime knows, for ever.
pub(super) async fn follow(cri: Cri, nudge: Arc<Notify>, tell: mpsc::Sender<Answer>) {
    let mut follower =
        Follower { cri, tell, last: None, lost: None, events: JoinSet::new(), live: Arc::default() };
    let mut pace = Pace::default();
    let mut nudged = false;
    loop {
        let asked = Instant::now();
        let pause = match follower.ask(&nudge).await {
            Ok(changed) => pace.answered(changed || nudged, follower.live.load(Ordering::Relaxed)),
            Err(_) => pace.failed(chance()),
        };
        nudged = wait(&nudge, asked + pause.nudged, Instant::now() + pause.at_most).await;
    }
}

/// Waits for a nudge, but not less than until `earliest`; or until `latest`. Returns whether there was one.
async fn wait(nudge: &Notify, earliest: Instant, latest: Instant) -> bool {
    tokio::select! {
        () = sleep_until(latest) => false,
        () = nudge.notified() => {
            sleep_until(earliest).await;
            true
        }
    }
}

struct Follower {
    cri: Cri,
    tell: mpsc::Sender<Answer>,
    /// What was told last; `None` before the first answer and while the runtime is lost.
    last: Option<Vec<KnownPod>>,
    /// The kind of failure that was logged.
    lost: Option<Discriminant<RuntimeError>>,
    /// The reader of events, ended when this is dropped. It ends with whether to try again.
    events: JoinSet<bool>,
    /// The runtime has told of an event, and goes on doing so.
    live: Arc<AtomicBool>,
}

impl Follower {
    /// Asks once. Returns whether the answer differed from the one before.
    async fn ask(&mut self, nudge: &Arc<Notify>) -> Result<bool, RuntimeError> {
        match self.cri.fetch_pods().await {
            Ok(pods) => {
                let changed = self.last.as_ref() != Some(&pods);
                let count = pods.len();
                // A runtime that restarts between two questions is only missed by its events.
                let missed = matches!(self.events.try_join_next(), Some(Ok(true)));
                let connected = self.last.is_none() || missed;
                if changed {
                    self.last = Some(pods.clone());
                    self.answer(Answer::Pods(Source::Cri, pods)).await;
                }
                if connected {
                    self.connected(count, nudge).await;
                }
                Ok(changed)
            }
            Err(error) => {
                self.lost(&error).await;
                Err(error)
            }
        }
    }

    async fn connected(&mut self, pods: usize, nudge: &Arc<Notify>) {
        self.lost = None;
        let socket = self.cri.socket().display();
        let version = match self.cri.fetch_version().await {
            Ok(version) => version,
            Err(error) => return info!(%socket, pods, %error, "connected to a container runtime"),
        };
        info!(%socket, runtime = %version, pods, "connected to the container runtime");
        match self.cri.events(&version) {
            Some(events) => {
                self.events.spawn(read_events(events, nudge.clone(), self.live.clone()));
            }
            None => {
                info!(runtime = %version, "this runtime does not tell every reader of its events: its lists are polled")
            }
        }
    }

    async fn lost(&mut self, error: &RuntimeError) {
        self.events = JoinSet::new();
        self.live.store(false, Ordering::Relaxed);
        let kind = std::mem::discriminant(error);
        if self.lost != Some(kind) {
            self.lost = Some(kind);
            warn!(%error, "the container runtime does not answer: known names stay, new pods have none");
        }
        if self.last.take().is_some() {
            self.answer(Answer::Lost(Source::Cri)).await;
        }
    }

    async fn answer(&self, answer: Answer) {
        // It is not received only while everything stops.
        let _ = self.tell.send(answer).await;
    }
}

/// Nudges with each event, until the stream breaks. Returns whether it is worth opening again.
async fn read_events(mut events: Events, nudge: Arc<Notify>, live: Arc<AtomicBool>) -> bool {
    loop {
        match events.next().await {
            Ok(()) => {
                live.store(true, Ordering::Relaxed);
                nudge.notify_one();
            }
            Err(error) => {
                info!(%error, "no events from the container runtime: its lists are polled");
                if matches!(error, RuntimeError::Unimplemented { .. }) {
                    return false;
                }
                if live.swap(false, Ordering::Relaxed) {
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
    use super::*;
    use crate::runtime::fake::FakeRuntime;

    async fn reader(runtime: &FakeRuntime) -> (tokio::task::JoinHandle<bool>, Arc<AtomicBool>) {
        let cri = Cri::new(runtime.socket.clone(), Arc::default());
        let events = cri.events(&cri.fetch_version().await.unwrap()).unwrap();
        let live = Arc::<AtomicBool>::default();
        (tokio::spawn(read_events(events, Arc::default(), live.clone())), live)
    }

    #[tokio::test]
    async fn a_stream_that_was_live_is_opened_again_at_once() {
        let runtime = FakeRuntime::start("live-stream", "2.0.1");
        let (reading, live) = reader(&runtime).await;
        while !live.load(Ordering::Relaxed) {
            runtime.event();
            sleep(Duration::from_millis(1)).await;
        }
        drop(runtime);
        assert!(reading.await.unwrap());
        assert!(!live.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn a_runtime_without_events_is_not_asked_again() {
        let runtime = FakeRuntime::start("no-stream", "2.0.1");
        runtime.refuse("GetContainerEvents");
        let (reading, _) = reader(&runtime).await;
        assert!(!reading.await.unwrap());
    }
}
