//! What was: windows, histories and what ended, out of four sweeps of the hand-made node.

use std::sync::Arc;
use std::time::Duration;

use podvitals::config::Listen;
use podvitals::history::Recorder;
use podvitals::model::history::Shelf;
use podvitals::model::identity::{ContainerId, ContainerKind, KnownContainer, KnownPod, PodUid};
use podvitals::model::snapshot::{CgroupFigures, ContainerFigures, PodFigures, Snapshot};
use podvitals::model::sweep::Reading;
use podvitals::model::target::{PodTarget, TargetSet};
use podvitals::model::time::{ClockPair, Monotonic, WallTime};
use podvitals::serve::{Access, Limits, bind};
use serde_json::{Value, json};

use super::client::{Server, clock, server, server_that_remembers, server_with};
use super::exposition::{Document, read_text};
use super::node::{self, SECOND, WEB_UID};

const BATCH_UID: &str = "0a1b2c3d-0000-4000-8000-000000000009";

/// The sweep `back` seconds before this one: two seconds ago everybody used four times as much.
fn earlier(shown: &Snapshot, back: u64) -> Snapshot {
    let mut then = shown.clone();
    then.tick -= back;
    let ClockPair { monotonic, wall } = shown.clock;
    then.clock = ClockPair {
        monotonic: Monotonic::from_nanos(monotonic.as_nanos() - back * SECOND),
        wall: WallTime::from_unix_nanos(wall.as_unix_nanos() - back * SECOND),
    };
    let factor = if back == 2 { 4.0 } else { 1.0 };
    for pod in &mut then.pods {
        set_back(&mut pod.cgroup, back, factor);
        stamp_back(&mut pod.network, back);
        if let Some(rate) = pod.network.as_mut().ok().and_then(|network| network.value.rates.as_mut()) {
            rate.per_second.rx_bytes *= factor;
            rate.per_second.tx_bytes *= factor;
        }
    }
    then.containers.iter_mut().for_each(|container| set_back(&mut container.cgroup, back, factor));
    then
}

fn set_back(figures: &mut CgroupFigures, back: u64, factor: f64) {
    stamp_back(&mut figures.cpu, back);
    stamp_back(&mut figures.memory, back);
    stamp_back(&mut figures.io, back);
    if let Ok(cpu) = &mut figures.cpu {
        let usage = &mut cpu.value.counters.usage;
        *usage = usage.saturating_sub(Duration::from_millis(100 * back));
        if let Some(rate) = &mut cpu.value.cores {
            rate.per_second *= factor;
        }
    }
    if let Ok(memory) = &mut figures.memory {
        memory.value.usage_bytes += back << 20;
    }
}

fn stamp_back<T>(reading: &mut Reading<T>, back: u64) {
    if let Ok(stamped) = reading {
        stamped.at = Monotonic::from_nanos(stamped.at.as_nanos() - back * SECOND);
    }
}

/// The same sweep with what was there then: a pod more, and in the first pod a container more.
fn with_the_gone(mut then: Snapshot) -> Snapshot {
    let mut pods = then.targets.pods.clone();
    let mut web = PodTarget::clone(&pods[0]);
    let mut migrate = web.containers[0].clone();
    let id = ContainerId::new(&"9".repeat(64)).unwrap();
    let known = KnownContainer {
        id: Some(id.clone()),
        name: "migrate".into(),
        kind: Some(ContainerKind::Init),
        ..(**migrate.known.as_ref().unwrap()).clone()
    };
    (migrate.container_id, migrate.known) = (id, Some(Arc::new(known)));
    let target = u32::try_from(web.containers.len()).unwrap();
    web.containers.push(migrate);
    pods[0] = Arc::new(web);
    let mut batch = PodTarget::clone(&pods[1]);
    batch.runtime_uid = PodUid::new(BATCH_UID).unwrap();
    let known = KnownPod {
        uid: PodUid::new(BATCH_UID),
        name: "batch".into(),
        ..KnownPod::clone(batch.known.as_ref().unwrap())
    };
    batch.known = Some(Arc::new(known));
    batch.containers.clear();
    pods.push(Arc::new(batch));

    // Web is the last of the snapshot's pods; its containers go to the end of the list with one more.
    let web = then.pods.last_mut().unwrap();
    let range = web.containers.start as usize..web.containers.end as usize;
    let of_web = then.containers[range].to_vec();
    let first = u32::try_from(then.containers.len()).unwrap();
    let cgroup = of_web[0].cgroup.clone();
    then.containers.extend(of_web);
    then.containers.push(ContainerFigures { target, cgroup, cpu_before: None, percpu_before: 0..0 });
    web.containers = first..u32::try_from(then.containers.len()).unwrap();
    let target = u32::try_from(pods.len() - 1).unwrap();
    let like = then.pods[0].clone();
    let cgroup = then.pods.last().unwrap().cgroup.clone();
    then.pods.push(PodFigures { target, cgroup, containers: 0..0, ..like });
    then.targets = Arc::new(TargetSet { generation: 16, pods, ..TargetSet::default() });
    then
}

/// A shelf with the sweep and three before it, in the first two of which there was more.
pub(crate) fn history(shown: &Snapshot) -> Arc<Shelf> {
    history_of(shown, 4)
}

/// The same with as many sweeps.
pub(crate) fn history_of(shown: &Snapshot, sweeps: u64) -> Arc<Shelf> {
    let mut recorder = Recorder::new(Duration::from_secs(300), shown.interval);
    let mut before: Option<Snapshot> = None;
    for back in (0..sweeps).rev() {
        let then = earlier(shown, back);
        // A snapshot that a test made of one pod has no room for more.
        let has_all = shown.pods.len() == shown.targets.pods.len() && shown.pods.len() > 1;
        let then = if back > 1 && has_all { with_the_gone(then) } else { then };
        recorder.record(before.as_ref(), &then);
        before = Some(then);
    }
    recorder.shelf().clone()
}

async fn server_over(shown: Snapshot, history: Arc<Shelf>) -> Server {
    let listen = [Listen::Plain("127.0.0.1:0".parse().unwrap())];
    let bound = bind(&listen, Access::default()).await.unwrap();
    server_that_remembers(bound, Limits::default(), clock::<0>, Some(shown), history)
}

fn pod<'a>(list: &'a Value, name: &str) -> &'a Value {
    list["pods"].as_array().unwrap().iter().find(|pod| pod["name"] == name).unwrap()
}

#[track_caller]
fn assert_near(value: &Value, right: f64) {
    assert!((value.as_f64().unwrap() - right).abs() < 1e-6, "{value}, not {right}");
}

#[tokio::test]
async fn a_window_is_the_most_of_the_sweeps_in_it_and_says_what_it_covers() {
    let server = server().await;
    let list = server.get("/api/v1/pods").await.json();
    let web = &pod(&list, "web")["window"];
    // Four sweeps; the first rate is of 1.0003 s; from the CPU of the first to the network of the last 50 µs.
    assert_near(&web["seconds"], 3.0 + 1.0003 + 0.000_05);
    assert_eq!(web["cpuCoresMax"], json!(0.375 * 4.0));
    assert_eq!(web["cpuCoresP95"], json!(0.375 * 4.0));
    assert_eq!(web["memoryWorkingSetMaxBytes"], json!(3 * (200 - 40) * node::MIB + 3 * node::MIB));
    assert_eq!((&web["rxBytesPerSecondMax"], &web["txBytesPerSecondMax"]), (&json!(6000.0), &json!(3002.0)));
    let one = server.get("/api/v1/pods/default/web").await.json();
    assert_eq!(one["window"], *web, "the same of one pod");

    let short = server.get("/api/v1/pods?window=2s").await.json();
    let web = &pod(&short, "web")["window"];
    assert_near(&web["seconds"], 1.0 + 1.0003 + 0.000_05);
    assert_eq!((&web["cpuCoresMax"], &web["rxBytesPerSecondMax"]), (&json!(0.375), &json!(1500.0)));
    assert_eq!(server.get("/api/v1/pods/default/web?window=2s").await.json()["window"], *web);
    let sorted =
        server.get("/api/v1/pods?sort=-window.cpuCoresMax&fields=name,window.cpuCoresMax").await.json();
    assert_eq!(sorted["pods"][0], json!({ "name": "etcd-n1", "window": { "cpuCoresMax": 0.75 * 4.0 } }));
}

#[tokio::test]
async fn what_is_missing_in_a_window_has_a_reason() {
    let server = server().await;
    let list = server.get("/api/v1/pods").await.json();
    let etcd = pod(&list, "etcd-n1");
    assert_eq!(etcd["window"].get("rxBytesPerSecondMax"), None);
    assert_eq!(etcd["unavailable"]["window.rxBytesPerSecondMax"], "host_network");
    let young = pod(&list, "young");
    assert_eq!(young["window"].get("cpuCoresMax"), None, "no rate was ever had");
    assert_eq!(young["unavailable"]["window.cpuCoresP95"], "not_yet");
    assert!(young["window"]["memoryWorkingSetMaxBytes"].is_u64());

    // In the very first sweep.
    let mut recorder = Recorder::new(Duration::from_secs(300), Duration::from_secs(1));
    recorder.record(None, &node::snapshot());
    let server = server_over(node::snapshot(), recorder.shelf().clone()).await;
    let list = server.get("/api/v1/pods").await.json();
    let young = pod(&list, "young");
    assert_eq!((young.get("window"), &young["unavailable"]["window"]), (None, &json!("not_yet")));
    assert_near(&pod(&list, "web")["window"]["seconds"], 1.000_35);
}

#[tokio::test]
async fn a_history_is_every_sweep_that_is_kept_oldest_first() {
    let server = server().await;
    let history = server.get("/api/v1/history/default/web").await.json();
    let ticks = |samples: &Value| {
        samples.as_array().unwrap().iter().map(|sample| sample["tick"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(ticks(&history["samples"]), [809, 810, 811, 812]);
    let now = server.get("/api/v1/pods/default/web").await.json();
    let last = &history["samples"][3];
    for key in ["timeUnixNano", "usageNanoseconds", "cores", "windowSeconds"] {
        assert_eq!(last["cpu"][key], now["cpu"][key], "{key}");
    }
    for key in ["timeUnixNano", "usageBytes", "workingSetBytes", "anonBytes", "fileBytes", "pageFaults"] {
        assert_eq!(last["memory"][key], now["memory"][key], "{key}");
    }
    for key in ["timeUnixNano", "readBytes", "writeOperations", "writeBytesPerSecond"] {
        assert_eq!(last["io"][key], now["io"][key], "{key}");
    }
    for key in ["timeUnixNano", "rxBytes", "txDropped", "rxBytesPerSecond", "txPacketsPerSecond"] {
        assert_eq!(last["network"][key], now["network"][key], "{key}");
    }
    assert_eq!(history["samples"][1]["cpu"]["cores"], json!(0.375 * 4.0));
    let containers = history["containers"].as_array().unwrap();
    let seen: Vec<_> = containers.iter().map(|one| (&one["name"], ticks(&one["samples"]))).collect();
    let all = vec![809, 810, 811, 812];
    assert_eq!(
        seen,
        [
            (&json!("web"), all.clone()),
            (&json!("proxy"), all.clone()),
            (&json!("setup"), all),
            (&json!("migrate"), vec![809, 810]),
        ]
    );
    let short = server.get("/api/v1/history/default/web?window=2s&fields=samples.tick,containers.id").await;
    assert_eq!(short.json()["samples"], json!([{ "tick": 811 }, { "tick": 812 }]));
    assert_eq!(short.json()["containers"].as_array().unwrap().len(), 3, "the other was gone by then");
    let db = server.get("/api/v1/history/shop/db").await.json();
    assert_eq!(db["runtimeUid"], node::NEW_DB_UID, "the live sandbox wins");
    assert_eq!(db["samples"][0]["network"].get("rxErrors"), None, "the host's end does not tell");
}

#[tokio::test]
async fn what_ended_is_in_recent_and_its_history_too() {
    let server = server().await;
    let recent = server.get("/api/v1/recent").await.json();
    let ended = recent["ended"].as_array().unwrap();
    let told: Vec<_> =
        ended.iter().map(|one| (&one["pod"], &one["container"]["name"], &one["cause"])).collect();
    assert_eq!(
        told,
        [
            (&json!("web"), &json!("migrate"), &json!("container_gone")),
            (&json!("batch"), &Value::Null, &json!("pod_gone")),
        ]
    );
    for path in ["/api/v1/history/shop/batch".to_owned(), format!("/api/v1/history/{BATCH_UID}")] {
        let batch = server.get(&path).await.json();
        let samples = batch["samples"].as_array().unwrap();
        assert_eq!((samples.len(), &batch["uid"]), (2, &json!(BATCH_UID)), "{path}");
        for figure in ["tick", "timeUnixNano", "cpu", "memory", "io", "network", "unavailable"] {
            assert_eq!(samples[1][figure], ended[1]["sample"][figure], "{figure}: the last that was read");
        }
        assert_eq!((&ended[1]["sample"]["tick"], &ended[1]["goneTick"]), (&json!(810), &json!(811)));
        assert_eq!(server.get(&format!("{path}?window=2s")).await.status, 404, "{path}: not in the last 2 s");
    }
    let only = server.get("/api/v1/recent?fields=ended.pod").await.json();
    assert_eq!(only["ended"], json!([{ "pod": "web" }, { "pod": "batch" }]));
}

#[tokio::test]
async fn without_history_there_is_none_and_it_is_said() {
    let server = server_over(node::snapshot(), Arc::default()).await;
    let list = server.get("/api/v1/pods").await.json();
    let web = pod(&list, "web");
    assert_eq!((web.get("window"), web["unavailable"].get("window")), (None, None));
    for path in ["/api/v1/recent", "/api/v1/history/default/web"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.problem().contains("--history 0s"), "{path}");
    }
    let metrics = server.get("/metrics").await;
    assert!(metrics.text().contains("podvitals_history_limit_bytes 0\n"), "{}", metrics.text());
}

#[tokio::test]
async fn a_sweep_that_is_not_shown_yet_is_in_no_document() {
    let shown = node::snapshot();
    let mut recorder = Recorder::new(Duration::from_secs(300), shown.interval);
    recorder.record(None, &earlier(&shown, 1));
    let server = server_over(earlier(&shown, 1), recorder.shelf().clone()).await;
    recorder.record(Some(&earlier(&shown, 1)), &shown);
    let history = server.get("/api/v1/history/default/web").await.json();
    assert_eq!(history["samples"].as_array().unwrap().len(), 1);
    assert_eq!(server.get("/api/v1/recent").await.json()["ended"], json!([]));
}

#[tokio::test]
async fn before_the_first_sweep_there_is_no_past() {
    let server = server_with(Limits::default(), clock::<0>, None).await;
    for path in ["/api/v1/recent", "/api/v1/history/default/web"] {
        assert_eq!(server.get(path).await.status, 503, "{path}");
    }
}

#[tokio::test]
async fn a_burst_that_is_over_is_still_the_most_of_the_window() {
    // Two seconds ago everybody used four times as much.
    let server = server().await;
    let web =
        |document: &Document, name: &str| document.one(name, &[("uid", WEB_UID)]).map(|sample| sample.value);
    let now = read_text(server.get("/metrics/pods").await.text());
    let cores = web(&now, "podvitals_pod_cpu_usage_cores").unwrap();
    assert!(cores > 0.0);
    assert_eq!(web(&now, "podvitals_pod_window_cpu_usage_max_cores"), Some(4.0 * cores));
    assert_eq!(web(&now, "podvitals_pod_window_network_receive_max_bytes_per_second"), Some(6000.0));
    let working_set = web(&now, "podvitals_pod_memory_working_set_bytes").unwrap();
    assert!(web(&now, "podvitals_pod_window_memory_working_set_max_bytes").unwrap() > working_set);
    for parameters in ["?window=2s", "?nonsense=%ff&window=2s&fields=x"] {
        let short = read_text(server.get(&format!("/metrics/pods{parameters}")).await.text());
        assert_eq!(web(&short, "podvitals_pod_window_cpu_usage_max_cores"), Some(cores), "{parameters}");
    }
    for bad in ["?window=", "?window=30", "?window=0s"] {
        let answer = server.get(&format!("/metrics/pods{bad}")).await;
        assert!(answer.status == 400 && answer.text().contains("such as 30s"), "{bad}: {answer:?}");
    }
    // Where nothing is kept there is neither a series nor a reason.
    let document = server_over(node::snapshot(), Arc::default()).await.get("/metrics/pods").await;
    assert!(
        document.text().contains("podvitals_pod_cpu_usage_cores{") && !document.text().contains("window")
    );
}
