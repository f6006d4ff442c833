//! What others know of the cluster's pods while a test runs, each with the instant it was learnt: the API
//! server, the runtime and the cgroup tree. None of it comes from podvitals or runs its code.

use std::collections::BTreeMap;
use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use podvitals::host::clock;
use podvitals::model::identity::ContainerKind;
use podvitals_testbed::Runtime;
use podvitals_testbed::wait_for;
use serde_json::Value;
use tokio::time::sleep;

use crate::stage::NAMESPACE;
use crate::stage::PATIENCE;
use crate::stage::Stage;

/// Between two questions to the runtime: a container is on its list for longer than it runs.
const ASK_RUNTIME: Duration = Duration::from_millis(200);

/// Nanoseconds since 1970.
pub(crate) fn now() -> u64 {
    clock::pair().wall.as_unix_nanos()
}

/// Listens until it is dropped.
pub(crate) struct Witness {
    record: Arc<Mutex<Record>>,
    stop: Arc<AtomicBool>,
    api: Child,
    runtime: tokio::task::JoinHandle<()>,
    tree: Option<JoinHandle<()>>,
}

/// Everything heard so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// What the API server has now, by the UID in the cgroup.
    pub(crate) objects: BTreeMap<String, Value>,
    /// `namespace/name` by the UID in the cgroup.
    pub(crate) pods: BTreeMap<String, String>,
    /// UID of the API object by the UID in the cgroup.
    pub(crate) uids: BTreeMap<String, String>,
    /// By container id.
    pub(crate) containers: BTreeMap<String, Heard>,
    /// The UID in the cgroup by sandbox id.
    pub(crate) sandboxes: BTreeMap<String, String>,
    /// By UID in the cgroup and container name.
    pub(crate) kinds: BTreeMap<(String, String), ContainerKind>,
    /// Directories of pods and containers, by UID and by id.
    pub(crate) directories: BTreeMap<String, Directory>,
    /// What nobody may say: two witnesses that contradict each other.
    pub(crate) contradictions: Vec<String>,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The UID in its pod's cgroup.
    pub(crate) pod: String,
    pub(crate) name: String,
    /// When its id first came from the API server.
    pub(crate) in_api: Option<u64>,
}

/// A cgroup's directory, of a pod while it has others in it: it was made after `absent`, and removed after
/// `present`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Directory {
    /// The last look at which it was not there yet; 0 if it was there at the first.
    pub(crate) absent: u64,
    /// The last look at which it was there.
    pub(crate) present: u64,
    pub(crate) is_gone: bool,
}

impl Witness {
    /// Begins to listen; looks at the cgroup tree that often.
    pub(crate) async fn begin(stage: &Stage, look: Duration) -> Self {
        let record = Arc::new(Mutex::new(Record::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let mut watch = stage.cluster.kubectl_command();
        watch.args(["get", "--raw", "/api/v1/pods?watch=true&resourceVersion=0"]);
        let mut api = stage.cluster.spawn(watch.stdin(Stdio::null()).stdout(Stdio::piped())).unwrap();
        let lines = BufReader::new(api.stdout.take().unwrap()).lines();
        let told = record.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let at = now();
                let mut event: Value = serde_json::from_str(&line).unwrap();
                let is_deleted = event["type"] == "DELETED";
                open(&told).hear_api(event["object"].take(), is_deleted, at);
            }
        });
        let runtime = tokio::spawn(listen_to_runtime(stage.cluster.runtime(), record.clone()));
        let (root, told, stopped) = (pods_cgroup(stage).await, record.clone(), stop.clone());
        let tree = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                look_at_tree(&root, &told);
                std::thread::sleep(look);
            }
        });
        let witness = Self { record, stop, api, runtime, tree: Some(tree) };
        while witness.record().pods.is_empty() || witness.record().directories.is_empty() {
            sleep(Duration::from_millis(20)).await;
        }
        witness
    }

    pub(crate) fn record(&self) -> Record {
        open(&self.record).clone()
    }

    /// Waits until exactly so many pods of a namespace, with these labels, exist, and all of them run.
    pub(crate) async fn until_running(&self, namespace: &str, label: Option<(&str, &str)>, number: usize) {
        let what = format!("{number} pods of {namespace} to run, {label:?}");
        wait_for(&what, PATIENCE, async || {
            let record = open(&self.record);
            let of_it = |pod: &&Value| {
                let labels = &pod["metadata"]["labels"];
                pod["metadata"]["namespace"] == namespace
                    && label.is_none_or(|(key, value)| labels[key] == value)
            };
            let pods: Vec<_> = record.objects.values().filter(of_it).collect();
            let running = pods.iter().filter(|pod| pod["status"]["phase"] == "Running").count();
            anyhow::ensure!(running == number && pods.len() == number, "{running} of {} run", pods.len());
            Ok(Some(()))
        })
        .await
        .unwrap();
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.runtime.abort();
        // It may have ended with the API server.
        let _ = self.api.kill();
        let _ = self.api.wait();
        let _ = self.tree.take().map(JoinHandle::join);
    }
}

fn open(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn listen_to_runtime(runtime: Runtime, record: Arc<Mutex<Record>>) {
    loop {
        // A runtime in trouble is seen elsewhere: what it has not told here is then missed.
        if let Ok(list) = runtime.list().await {
            let mut record = open(&record);
            for sandbox in list.sandboxes {
                record.hear_pod(&sandbox.uid, format!("{}/{}", sandbox.namespace, sandbox.name));
                record.sandboxes.insert(sandbox.id, sandbox.uid);
            }
            for container in list.containers {
                record.hear_container(&container.id, &container.uid, &container.name, None);
            }
        }
        sleep(ASK_RUNTIME).await;
    }
}

impl Record {
    fn hear_pod(&mut self, runtime_uid: &str, name: String) {
        let known = self.pods.entry(runtime_uid.to_owned()).or_insert_with(|| name.clone());
        if *known != name {
            self.contradictions.push(format!("{runtime_uid} is {known} and {name}"));
        }
    }

    fn hear_container(&mut self, id: &str, pod: &str, name: &str, in_api: Option<u64>) {
        let heard = Heard { pod: pod.to_owned(), name: name.to_owned(), in_api };
        let known = self.containers.entry(id.to_owned()).or_insert_with(|| heard.clone());
        known.in_api = known.in_api.or(in_api);
        if (&known.pod, &known.name) != (&heard.pod, &heard.name) {
            self.contradictions.push(format!("{id} is {known:?} and {heard:?}"));
        }
    }

    fn hear_api(&mut self, pod: Value, is_deleted: bool, at: u64) {
        let Some(uid) = pod["metadata"]["uid"].as_str() else { return };
        let runtime_uid = runtime_uid(&pod);
        self.hear_pod(&runtime_uid, full_name(&pod));
        self.uids.insert(runtime_uid.clone(), uid.to_owned());
        for (kind, spec, status) in containers(&pod) {
            let name = text(&spec["name"]);
            self.kinds.insert((runtime_uid.clone(), name.clone()), kind);
            let last = &status["lastState"]["terminated"]["containerID"];
            for id in [&status["containerID"], last].into_iter().filter_map(container_id) {
                self.hear_container(&id, &runtime_uid, &name, Some(at));
            }
        }
        if is_deleted {
            self.objects.remove(&runtime_uid);
        } else {
            self.objects.insert(runtime_uid, pod);
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// `namespace/name` of an API object.
pub(crate) fn full_name(object: &Value) -> String {
    format!("{}/{}", text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]))
}

/// The UID in the cgroup: of a static pod's mirror the hash of its file, else the object's own.
pub(crate) fn runtime_uid(pod: &Value) -> String {
    let mirrored = &pod["metadata"]["annotations"]["kubernetes.io/config.mirror"];
    text(if mirrored.is_string() { mirrored } else { &pod["metadata"]["uid"] })
}

/// `containerd://4f…` without the runtime's name; `None` before there is one.
pub(crate) fn container_id(value: &Value) -> Option<String> {
    Some(value.as_str()?.strip_prefix("containerd://")?.to_owned())
}

/// Kind, spec and status of every container of a pod of the API server.
pub(crate) fn containers(pod: &Value) -> Vec<(ContainerKind, &Value, &Value)> {
    let lists = [
        (ContainerKind::App, "containers", "containerStatuses"),
        (ContainerKind::Init, "initContainers", "initContainerStatuses"),
        (ContainerKind::Ephemeral, "ephemeralContainers", "ephemeralContainerStatuses"),
    ];
    let mut all = Vec::new();
    for (kind, specs, statuses) in lists {
        for spec in pod["spec"][specs].as_array().into_iter().flatten() {
            let restarts = kind == ContainerKind::Init && spec["restartPolicy"] == "Always";
            let kind = if restarts { ContainerKind::Sidecar } else { kind };
            let mut of = pod["status"][statuses].as_array().into_iter().flatten();
            let status = of.find(|status| status["name"] == spec["name"]).unwrap_or(&Value::Null);
            all.push((kind, spec, status));
        }
    }
    all
}

/// `kubepods` in the hierarchy of the memory controller.
async fn pods_cgroup(stage: &Stage) -> PathBuf {
    let daemon = stage.daemon_pod().await;
    let on_node = stage.cluster.find_on_node(NAMESPACE, &daemon).await.unwrap().unwrap();
    let directory = on_node.cgroup_dir("memory").unwrap();
    directory.ancestors().find(|above| above.ends_with("kubepods")).unwrap().to_owned()
}

/// Pods are `pod<uid>` below `kubepods` or one of its two classes; containers are their children.
fn look_at_tree(root: &Path, record: &Mutex<Record>) {
    let at = now();
    let mut there = Vec::new();
    for class in ["", "burstable", "besteffort"] {
        for (name, path) in directories(&root.join(class)) {
            let Some(uid) = name.strip_prefix("pod") else { continue };
            let before = there.len();
            there.extend(directories(&path).map(|(id, _)| id));
            // An empty one is what is left of a pod until the kubelet tidies up.
            there.extend((there.len() > before).then(|| uid.to_owned()));
        }
    }
    let mut record = open(record);
    let is_first = record.directories.is_empty();
    let before = record.directories.values().map(|directory| directory.present).max().unwrap_or(0);
    for name in there {
        let absent = if is_first { 0 } else { before };
        let new = Directory { absent, present: at, is_gone: false };
        record.directories.entry(name).or_insert(new).present = at;
    }
    for directory in record.directories.values_mut() {
        directory.is_gone = directory.present != at;
    }
}

fn directories(path: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let entries = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
}
