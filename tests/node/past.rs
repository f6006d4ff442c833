//! What was: a burst stays in the window, and what ended is told with the last that was read of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use podvitals::model::document::Cpu;
use podvitals::model::document::Ended;
use podvitals::model::document::PastSample;
use podvitals::model::document::Pod;
use podvitals::model::document::PodHistory;
use podvitals::model::document::PodList;
use podvitals::model::document::Recent;

use crate::daemon::Daemon;
use crate::daemon::has_pod;
use crate::find::pod;
use crate::stage::Stage;

/// Sweeps, and with them seconds, after the burst.
const LATER: u64 = 10;

pub(crate) async fn a_burst_is_the_maximum_ten_seconds_later(stage: Arc<Stage>) {
    let bursting = stage.testbed.pod("burst").run().await.unwrap();
    let app = bursting.container("app").args(["idle"]).run().await.unwrap();
    let daemon = &stage.full;
    let mut tick = daemon.next_list().await.tick;
    let uid = bursting.uid().to_owned();
    let burst = tokio::spawn(async move { app.exec(["/load", "spin", "--seconds", "2"]).await });
    let mut seen: BTreeMap<u64, Cpu> = BTreeMap::new();
    let mut ended_at = None;
    let list = loop {
        let list = daemon.list_after(tick).await;
        tick = list.tick;
        seen.insert(tick, pod(&list, &uid).cpu.clone().unwrap());
        let ended_at = *ended_at.get_or_insert(tick);
        if burst.is_finished() && tick >= ended_at + LATER + 3 {
            break list;
        }
    };
    burst.await.unwrap().unwrap().success().unwrap();

    let (at, most) = most(&seen);
    assert!(tick >= at + LATER, "the burst was in sweep {at}, this is {tick}");
    assert!(most > 0.2, "{most} cores are no burst");
    let now = pod(&list, &uid);
    assert!(now.cpu.as_ref().unwrap().cores.unwrap() < most / 2.0, "it is over");
    let window = now.window.as_ref().unwrap();
    assert_eq!(window.cpu_cores_max, Some(most), "the very rate that was shown in sweep {at}");
    assert!(window.seconds >= LATER as f64 && window.seconds < 31.5, "{window:?}");
    assert!(window.cpu_cores_p95.unwrap() <= most);
    // As Prometheus sees it, which was not there at the time. A sweep later its window has the burst as well.
    let series = daemon.get("/metrics/pods").body;
    let of_burst = format!("uid=\"{uid}\"}} ");
    let value = |name: &str| {
        let line = series.lines().find(|line| line.starts_with(name) && line.contains(&of_burst));
        let line = line.unwrap_or_else(|| panic!("no {name} with {of_burst} in\n{series}"));
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    let max = value("podvitals_pod_window_cpu_usage_max_cores{");
    // The same digits, read by two parsers, of which serde_json's may be off by the last bit.
    assert!((max - most).abs() <= f64::EPSILON, "{max}, not {most}");
    assert!(value("podvitals_pod_cpu_usage_cores{") < most / 2.0);
    let short: PodList = serde_json::from_str(&daemon.get("/api/v1/pods?window=5s").body).unwrap();
    assert!(pod(&short, &uid).window.as_ref().unwrap().cpu_cores_max.unwrap() < most, "not in the last 5 s");

    let history = daemon.get(&format!("/api/v1/history/{uid}")).body;
    let history: PodHistory = serde_json::from_str(&history).unwrap();
    let kept: BTreeMap<u64, &Cpu> =
        history.samples.iter().map(|sample| (sample.tick, sample.cpu.as_ref().unwrap())).collect();
    for (tick, shown) in &seen {
        let kept =
            kept.get(tick).unwrap_or_else(|| panic!("sweep {tick} was shown and is not in the history"));
        let figures = |cpu: &Cpu| (cpu.time_unix_nano, cpu.usage_nanoseconds, cpu.cores, cpu.window_seconds);
        assert_eq!(figures(kept), figures(shown), "sweep {tick}");
    }
    bursting.stop().await.unwrap();
}

fn most(seen: &BTreeMap<u64, Cpu>) -> (u64, f64) {
    let rates = seen.iter().filter_map(|(tick, cpu)| Some((*tick, cpu.cores?)));
    rates.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap()
}

pub(crate) async fn what_ended_is_told_with_the_last_that_was_read(stage: Arc<Stage>) {
    let ending = stage.testbed.pod("ending").run().await.unwrap();
    ending.container("first").args(["spin", "--duty", "10"]).run().await.unwrap();
    let second = ending.container("second").args(["idle"]).run().await.unwrap();
    let daemon = &stage.full;
    daemon.next_list().await;
    let watching = {
        let (stage, uid) = (stage.clone(), ending.uid().to_owned());
        tokio::spawn(async move { watch(&stage.full, &uid).await })
    };
    let first = ending.live_container("first").unwrap().id().to_owned();
    // The instance ends with its cgroup, and the next one is another container.
    let again = ending.restart_container("first").await.unwrap();
    daemon.next_list().await;
    let last_of_pod = [second.id().to_owned(), again.id().to_owned()];
    ending.stop().await.unwrap();
    let seen = watching.await.unwrap();
    let recent: Recent = serde_json::from_str(&daemon.get("/api/v1/recent").body).unwrap();
    let of_it: Vec<&Ended> = recent.ended.iter().filter(|ended| ended.runtime_uid == ending.uid()).collect();
    let told = |id: &str| {
        let is_it = |ended: &&&Ended| ended.container.as_ref().is_some_and(|container| container.id == id);
        *of_it.iter().find(is_it).unwrap_or_else(|| panic!("{id} is not among {of_it:?}"))
    };
    println!("       the first instance ended by {}", told(&first).cause);
    assert_ne!(told(&first).cause, "pod_gone", "its pod went on");
    assert_eq!(told(&first).container.as_ref().unwrap().name.as_deref(), Some("first"));
    for id in std::iter::once(&first).chain(&last_of_pod) {
        compare(&seen, told(id), id);
    }
    let whole = of_it.iter().find(|ended| ended.container.is_none()).unwrap();
    assert_eq!(whole.cause, "pod_gone");
    compare_pod(&seen, whole);
}

/// Every sweep in which the pod was shown, from now to its end.
async fn watch(daemon: &Daemon, uid: &str) -> BTreeMap<u64, Pod> {
    let mut seen = BTreeMap::new();
    let mut list = daemon.list();
    while has_pod(&list, uid) {
        seen.insert(list.tick, pod(&list, uid).clone());
        list = daemon.list_after(list.tick).await;
    }
    seen
}

/// The final sample is what was shown in the last sweep that had the container.
fn compare(seen: &BTreeMap<u64, Pod>, ended: &Ended, id: &str) {
    let has_it = |pod: &Pod| {
        let it = pod.containers.iter().find(|container| container.id.as_deref() == Some(id))?;
        it.cpu.is_some().then(|| it.clone())
    };
    let (tick, last) = seen.iter().rev().find_map(|(tick, pod)| Some((*tick, has_it(pod)?))).unwrap();
    assert_eq!(ended.sample.tick, tick, "{id}");
    assert!(ended.gone_tick > tick);
    assert_eq!(numbers(&ended.sample), numbers(&figures(last.cpu, last.memory)), "{id}");
    let (io, shown) = (ended.sample.io.as_ref(), last.io.as_ref());
    assert_eq!(io.map(|io| (io.read_bytes, io.write_bytes)), shown.map(|io| (io.read_bytes, io.write_bytes)));
    assert!(ended.sample.cpu.as_ref().unwrap().usage_nanoseconds > 0);
}

fn compare_pod(seen: &BTreeMap<u64, Pod>, ended: &Ended) {
    let (tick, last) = seen.last_key_value().unwrap();
    assert_eq!(ended.sample.tick, *tick);
    assert_eq!(numbers(&ended.sample), numbers(&figures(last.cpu.clone(), last.memory.clone())));
    let told = ended.sample.network.as_ref().map(|network| &network.total);
    assert_eq!(told, last.network.as_ref().map(|network| &network.total));
}

fn figures(cpu: Option<Cpu>, memory: Option<podvitals::model::document::Memory>) -> PastSample {
    PastSample { cpu, memory, ..PastSample::default() }
}

/// CPU and memory, of each when it was read and what.
fn numbers(figures: &PastSample) -> [Option<u64>; 8] {
    let (cpu, memory) = (figures.cpu.as_ref(), figures.memory.as_ref());
    [
        cpu.map(|cpu| cpu.time_unix_nano),
        cpu.map(|cpu| cpu.usage_nanoseconds),
        cpu.and_then(|cpu| cpu.user_nanoseconds),
        cpu.and_then(|cpu| cpu.system_nanoseconds),
        memory.map(|memory| memory.time_unix_nano),
        memory.map(|memory| memory.usage_bytes),
        memory.and_then(|memory| memory.working_set_bytes),
        memory.and_then(|memory| memory.page_faults),
    ]
}
