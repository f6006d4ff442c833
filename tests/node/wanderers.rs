//! Processes that go into another pod's netns, as anybody with the right to `setns` may: whatever is ever
//! served is the pod's own.
//!
//! Each pod has a number and was sent a thousand times as many frames of 60 bytes, of a protocol nobody
//! speaks: what its kernel counted in bytes and in `rx_dropped` tells whose a figure is. What the kernels
//! say to each other beside that is far less than a thousand frames.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use podvitals::host::clock;
use podvitals::model::document::Network;
use podvitals::model::document::PodList;
use podvitals::model::document::Traffic;
use podvitals::model::unavailable::Unavailable;
use podvitals_testbed::Pod;
use podvitals_testbed::made_up::MadeUpPod;
use podvitals_testbed::made_up::MadeUpPodBuilder;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::daemon::Daemon;
use crate::find::pod;
use crate::odd_pods::made_up;
use crate::odd_pods::netns;
use crate::odd_pods::quick;
use crate::stage::Stage;
use crate::watcher::Watcher;

const FRAMES: u64 = 1_000;
const FRAME_BYTES: u64 = 60;

/// Long enough for ten sweeps and whatever they make the daemon do.
const A_WHILE: Duration = Duration::from_millis(1_200);

/// The numbers of the pods, by UID, and since when each was counted.
#[derive(Clone, Default)]
struct Numbers(Arc<Mutex<HashMap<String, (u64, u64)>>>);

impl Numbers {
    fn of(&self, uid: &str) -> Option<(u64, u64)> {
        self.0.lock().unwrap().get(uid).copied()
    }

    fn enter(&self, uid: &str, number: u64) {
        let now = clock::pair().wall.as_unix_nanos();
        self.0.lock().unwrap().insert(uid.to_owned(), (number, now));
    }

    /// A pod that is about to be stopped loses its link before its processes.
    fn leave(&self, uid: &str) {
        self.0.lock().unwrap().remove(uid);
    }

    fn stop(&self, pod: MadeUpPod) {
        self.leave(pod.uid());
        pod.stop().unwrap();
    }

    /// The numbers of the pods that are shown with a network, each of which is its own.
    fn served(&self, list: &PodList) -> BTreeSet<u64> {
        let mut served = BTreeSet::new();
        for pod in &list.pods {
            let (Some((number, since)), Some(network)) = (self.of(&pod.runtime_uid), &pod.network) else {
                continue;
            };
            // Read before the last frame had arrived.
            if network.time_unix_nano <= since {
                continue;
            }
            for told in told(network) {
                assert_eq!(number_in(told), number, "sweep {}: {network:?}", list.tick);
            }
            served.insert(number);
        }
        served
    }
}

/// All that a document says of a pod's `eth0`.
fn told(network: &Network) -> impl Iterator<Item = &Traffic> {
    let eth0 = network.interfaces.iter().filter(|interface| interface.name == "eth0");
    let eth0 = eth0.map(|interface| &interface.traffic);
    [Some(&network.total), network.raw.as_ref()].into_iter().flatten().chain(eth0)
}

/// The number that bytes and drops encode; those two must agree, where both are known.
fn number_in(traffic: &Traffic) -> u64 {
    let by_bytes = traffic.rx_bytes / (FRAMES * FRAME_BYTES);
    // The host's end counts no drops of the pod's.
    let by_drops = traffic.rx_dropped.filter(|dropped| *dropped > 0);
    assert!(by_drops.is_none_or(|drops| drops == by_bytes * FRAMES), "{traffic:?}");
    by_bytes
}

/// What all of it needs.
struct Scene<'a> {
    stage: &'a Stage,
    numbers: Numbers,
    /// Where wanderers are told to go.
    words: PathBuf,
}

impl Scene<'_> {
    fn numbered(&self, number: u64, builder: MadeUpPodBuilder) -> MadeUpPod {
        let pod = builder.start().unwrap();
        let (veth, frames) = (pod.host_veth().unwrap(), number * FRAMES);
        let sent = Command::new(pod.load()).args(["frames", veth, &frames.to_string()]).output().unwrap();
        assert!(sent.status.success(), "{sent:?}");
        let mut left = 1_000;
        let counted = loop {
            let counted = pod.pod_counters().unwrap();
            if counted.rx_dropped == frames {
                break counted;
            }
            assert!(left > 0 && counted.rx_dropped < frames, "{counted:?}, not {frames} drops");
            left -= 1;
            std::thread::sleep(Duration::from_millis(2));
        };
        assert_eq!(counted.rx_bytes / (FRAMES * FRAME_BYTES), number, "{counted:?}");
        self.numbers.enter(pod.uid(), number);
        pod
    }

    fn home(&self) -> MadeUpPodBuilder {
        made_up(self.stage)
    }

    fn without_sandbox(&self) -> MadeUpPodBuilder {
        self.home().sandbox(false)
    }

    fn wandering(&self, builder: MadeUpPodBuilder) -> MadeUpPodBuilder {
        builder.command(&["load", "wander", self.words.to_str().unwrap()])
    }

    /// A pod of the runtime's, whose sandbox is known to those who ask that.
    async fn real(&self, number: u64) -> Pod {
        let pod = self.stage.testbed.pod("haunted").run().await.unwrap();
        pod.force_rx_drops(number * FRAMES).await.unwrap();
        self.numbers.enter(pod.uid(), number);
        pod
    }

    /// Sends the process of a pod's container into the netns that a process of another pod is in.
    async fn send(&self, visitor: &MadeUpPod, whither: u32) {
        let who = first(visitor);
        let draft = self.words.join("draft");
        fs::write(&draft, whither.to_string()).unwrap();
        fs::rename(&draft, self.words.join(who.to_string())).unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while netns(who) != netns(whither) {
            assert!(Instant::now() < deadline, "process {who} never went");
            sleep(Duration::from_millis(2)).await;
        }
    }
}

fn first(pod: &MadeUpPod) -> u32 {
    pod.children()[0].pid()
}

/// Waits for a sweep in which exactly these pods, and the one that it alone may know, have a network.
async fn until_served(scene: &Scene<'_>, daemon: &Daemon, known: Option<u64>, wanted: &[u64]) {
    let wanted: BTreeSet<_> = wanted.iter().copied().chain(known).collect();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let list = daemon.next_list().await;
        let served = scene.numbers.served(&list);
        if served == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{served:?} are served, not {wanted:?}; {}", daemon.log());
    }
}

pub(crate) async fn a_process_in_another_pod_s_netns_takes_no_figure_along(stage: Arc<Stage>) {
    let words = stage.testbed.scratch().join("wander");
    fs::create_dir_all(&words).unwrap();
    let scene = Scene { stage: &stage, numbers: Numbers::default(), words };
    let home = scene.numbered(1, scene.home());
    let bare = scene.numbered(2, scene.without_sandbox());
    let guarded = scene.numbered(3, scene.wandering(scene.home()));
    let pinned = scene.numbered(4, scene.wandering(scene.without_sandbox()));
    let pinned_beside_bare = scene.numbered(5, scene.wandering(scene.without_sandbox()));
    let unseen = scene.numbered(6, scene.wandering(scene.without_sandbox()));
    let haunted = scene.real(8).await;
    scene.send(&unseen, haunted.sandbox_pid()).await;

    // Of two in one netns only who knows the sandbox can tell who is at home, unless one was seen before.
    let observers = [
        (Arc::new(quick(&stage, &[]).await), None),
        (Arc::new(Daemon::start(&stage.testbed, &["--interval", "100ms"]).await), Some(8)),
        (Arc::new(quick(&stage, &["--network-source", "host"]).await), None),
    ];
    let mut watchers = Vec::new();
    let watch = |daemon: &Arc<Daemon>| {
        let numbers = scene.numbers.clone();
        Watcher::of(daemon, move |list| drop(numbers.served(list)))
    };
    for (daemon, known) in &observers {
        watchers.push(watch(daemon));
        until_served(&scene, daemon, *known, &[1, 2, 3, 4, 5]).await;
    }

    // Each goes: the one its pod is not read through, the only one there is, and that into a netns
    // without a sandbox.
    scene.send(&guarded, first(&home)).await;
    scene.send(&pinned, first(&home)).await;
    scene.send(&pinned_beside_bare, first(&bare)).await;
    for (daemon, known) in &observers {
        until_served(&scene, daemon, *known, &[1, 2, 3]).await;
        let list = daemon.list();
        for lost in [&pinned, &pinned_beside_bare, &unseen] {
            // A young pod has none *yet*.
            let why = pod(&list, lost.uid()).unavailable.get("network");
            assert!(matches!(why, Some(Unavailable::NoProcess | Unavailable::NotYet)), "{why:?}");
        }
    }
    // One that comes now cannot tell for any pod that has a visitor.
    let late = Arc::new(quick(&stage, &[]).await);
    watchers.push(watch(&late));
    until_served(&scene, &late, None, &[3]).await;

    // It goes on, into a pod that came later than itself.
    let successor = scene.numbered(7, scene.without_sandbox());
    for (daemon, known) in &observers {
        until_served(&scene, daemon, *known, &[1, 2, 3, 7]).await;
    }
    scene.send(&pinned, first(&successor)).await;
    sleep(A_WHILE).await;
    for (daemon, known) in &observers {
        until_served(&scene, daemon, *known, &[1, 2, 3, 7]).await;
    }
    until_served(&scene, &late, None, &[3, 7]).await;

    // Those who were at home go; their netns live on through the visitors.
    for host in [home, bare, successor] {
        scene.numbers.stop(host);
    }
    scene.numbers.leave(haunted.uid());
    haunted.stop().await.unwrap();
    sleep(A_WHILE).await;
    for daemon in observers.iter().map(|(daemon, _)| daemon).chain([&late]) {
        until_served(&scene, daemon, None, &[3]).await;
    }
    for watcher in watchers {
        watcher.end();
    }
    for visitor in [guarded, pinned, pinned_beside_bare, unseen] {
        scene.numbers.stop(visitor);
    }
}
