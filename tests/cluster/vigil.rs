//! Reads every sweep of one podvitals for a while, so that no gap and no wrong name goes unseen.

use std::collections::HashMap;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use podvitals::model::document::PodList;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::reader::Reader;
use crate::stage::Stage;

/// Five looks at each sweep.
const STEP: Duration = Duration::from_millis(200);

/// The oldest a figure may be that is served.
const OLDEST: f64 = 1.5;

/// A reader at work.
pub(crate) struct Vigil {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Seen>,
}

/// What was read.
#[derive(Default)]
pub(crate) struct Seen {
    sweeps: Vec<Sweep>,
    /// The oldest that any figure was when it was read, in seconds, and in which sweep.
    oldest: (f64, u64),
    /// The answers of `/readyz` that were not 200.
    not_ready: Vec<String>,
    /// Answers that were none.
    failures: Vec<String>,
    missed: (f64, f64),
}

struct Sweep {
    tick: u64,
    time: u64,
    /// `namespace/name` by runtime UID; `None` while nobody has named the pod.
    pods: HashMap<String, Option<String>>,
}

/// `namespace/name` of each pod by its runtime UID, as the API server has them.
pub(crate) type Names = HashMap<String, String>;

impl Vigil {
    pub(crate) fn begin(reader: Reader) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut seen = Seen { missed: (missed(&reader).await, 0.0), ..Seen::default() };
            while stopped.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
                if let Err(error) = seen.look(&reader).await {
                    seen.failures.push(format!("{error:#}"));
                }
                sleep(STEP).await;
            }
            seen.missed.1 = missed(&reader).await;
            seen
        });
        Self { stop, task }
    }

    pub(crate) async fn end(self) -> Seen {
        // It may have panicked: then that is told.
        let _ = self.stop.send(());
        self.task.await.unwrap()
    }
}

async fn missed(reader: &Reader) -> f64 {
    reader.metric("podvitals_missed_ticks_total").await.unwrap()
}

impl Seen {
    async fn look(&mut self, reader: &Reader) -> anyhow::Result<()> {
        let answer = reader.try_get("/api/v1/pods").await?;
        anyhow::ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
        let list: PodList = serde_json::from_str(&answer.body)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        // No figure is older than the start of its sweep.
        let age = now.as_secs_f64() - Duration::from_nanos(list.time_unix_nano).as_secs_f64();
        let ages = list.pods.iter().map(|pod| pod.age_seconds);
        let age = ages.fold(age, f64::max);
        if age > self.oldest.0 {
            self.oldest = (age, list.tick);
        }
        if self.sweeps.last().is_none_or(|last| last.tick != list.tick) {
            let pods = list.pods.iter().map(|pod| (pod.runtime_uid.clone(), full_name(pod))).collect();
            self.sweeps.push(Sweep { tick: list.tick, time: list.time_unix_nano, pods });
        }
        let ready = reader.try_get("/readyz").await?;
        if ready.status != 200 {
            self.not_ready.push(format!("{} after sweep {}: {}", ready.status, list.tick, ready.body));
        }
        Ok(())
    }

    /// Every sweep was made, on time, and was fresh when read; the process was ready all along.
    pub(crate) fn assert_no_gap(&self, least_sweeps: u64) {
        let [first, .., last] = &self.sweeps[..] else { panic!("{} sweeps", self.sweeps.len()) };
        let made = last.tick - first.tick + 1;
        assert!(made >= least_sweeps, "{made} of {least_sweeps} sweeps");
        assert!(self.failures.is_empty(), "{:?}", self.failures);
        assert!(self.not_ready.is_empty(), "{:?}", self.not_ready);
        // One that was made and is gone before a busy machine let us look is no gap: its number and its
        // time are between those of its neighbours.
        let seen = self.sweeps.len() as u64;
        assert!(seen * 20 >= made * 19, "{seen} of {made} sweeps seen");
        for pair in self.sweeps.windows(2) {
            let [earlier, later] = pair else { continue };
            let apart = (later.time - earlier.time) as f64 / 1e9;
            let expected = (later.tick - earlier.tick) as f64;
            assert!(
                (apart - expected).abs() <= 0.5,
                "{apart} s from sweep {} to {}",
                earlier.tick,
                later.tick
            );
        }
        let (age, tick) = self.oldest;
        assert!(age <= OLDEST, "a figure of sweep {tick} was {age} s old");
        assert_eq!(self.missed.1 - self.missed.0, 0.0, "sweeps that were due and not made");
    }

    /// No pod had another name than its own in any sweep, and those of `lasting` had theirs in all.
    pub(crate) fn assert_names(&self, truth: &Names, lasting: &Names) {
        for sweep in &self.sweeps {
            let tick = sweep.tick;
            for (uid, name) in sweep.pods.iter().filter_map(|(uid, name)| Some((uid, name.as_ref()?))) {
                match truth.get(uid) {
                    Some(own) => assert_eq!(name, own, "sweep {tick}, {uid}"),
                    // Its object is gone and its cgroup is still to go: its name is not another pod's.
                    None => {
                        assert!(!truth.values().any(|other| other == name), "sweep {tick}, {uid}: {name}")
                    }
                }
            }
            for (uid, name) in lasting {
                assert_eq!(sweep.pods.get(uid), Some(&Some(name.clone())), "sweep {tick}, {uid}");
            }
        }
    }

    /// In words, for the output of the test.
    pub(crate) fn summary(&self) -> String {
        format!("{} sweeps, none older than {:.2} s when read", self.sweeps.len(), self.oldest.0)
    }
}

pub(crate) fn full_name(pod: &podvitals::model::document::Pod) -> Option<String> {
    Some(format!("{}/{}", pod.namespace.as_deref()?, pod.name.as_deref()?))
}

/// The names of all pods that have not ended. A static pod goes by the UID it has on the node.
pub(crate) async fn names(stage: &Stage) -> Names {
    let pods = stage.cluster.get_json(&["pods", "--all-namespaces"]).await.unwrap();
    let pods = pods["items"].as_array().unwrap().iter();
    let live = pods.filter(|pod| {
        let phase = pod["status"]["phase"].as_str();
        pod["metadata"]["deletionTimestamp"].is_null() && matches!(phase, Some("Running" | "Pending"))
    });
    let name = |pod: &serde_json::Value| {
        let metadata = &pod["metadata"];
        let mirror = &metadata["annotations"]["kubernetes.io/config.mirror"];
        let uid = mirror.as_str().or(metadata["uid"].as_str())?;
        Some((uid.to_owned(), format!("{}/{}", metadata["namespace"].as_str()?, metadata["name"].as_str()?)))
    };
    live.map(|pod| name(pod).unwrap()).collect()
}
