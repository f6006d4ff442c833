//! An autoscaler of heapster's time reads real pods: against the scheduler's account, the kernel's file, and our own
//! history of the same sweeps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use podvitals::host::clock;
use podvitals::model::document::PodHistory;
use podvitals_testbed::Pod;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use serde_json::Value;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::daemon::Daemon;
use crate::docker_api::get;
use crate::oracle::Schedstat;
use crate::stage::Stage;

/// A scheduler tick, at which the kernel adds up the time of a task that runs on: 1 to 10 ms.
const TICK: f64 = 10e6;

/// What a pod may show that has nothing to do.
const IDLE: u64 = 20;

/// A step in load is seen within this time: a sweep, and the time that takes.
const VISIBLE: Duration = Duration::from_millis(1500);

/// Of one core's worth of load what the first sweep after it began must show: it saw a part of a second.
const SEEN: u64 = 200;

/// The points of a result, by when they were read, in nanoseconds since 1970.
fn points(result: &Value) -> BTreeMap<u64, u64> {
    let nanoseconds = |text: &Value| {
        let time: Timestamp = text.as_str().unwrap().parse().unwrap();
        u64::try_from(time.as_nanosecond()).unwrap()
    };
    let points = result["metrics"].as_array().unwrap().iter();
    let points: BTreeMap<u64, u64> =
        points.map(|point| (nanoseconds(&point["timestamp"]), point["value"].as_u64().unwrap())).collect();
    if let Some((last, _)) = points.last_key_value() {
        assert_eq!(nanoseconds(&result["latestTimestamp"]), *last);
    }
    points
}

/// What an autoscaler asks for: one metric of several pods at once, since a minute ago.
fn of_pods(daemon: &Daemon, pods: [&Pod; 2], metric: &str) -> [BTreeMap<u64, u64>; 2] {
    let minute_ago = clock::pair().wall.as_unix_nanos() - 60_000_000_000;
    let start = Timestamp::from_nanosecond(i128::from(minute_ago)).unwrap();
    let [one, other] = pods;
    let path = format!(
        "/api/v1/model/namespaces/{}/pod-list/{},{}/metrics/{metric}?start={start}",
        one.namespace(),
        one.name(),
        other.name()
    );
    let answer = get(daemon, &path);
    let items = answer["items"].as_array().unwrap();
    assert_eq!(items.len(), 2, "{answer}");
    [points(&items[0]), points(&items[1])]
}

fn latest(points: &BTreeMap<u64, u64>) -> Option<u64> {
    points.last_key_value().map(|(_, value)| *value)
}

/// How long after the stopped spinner of the first pod goes on its points tell of it. Those of the other do not.
async fn seen_in_the_points(daemon: &Daemon, [steps, holds]: [&Pod; 2], spinner: Pid) -> Duration {
    let quiet = Instant::now() + Duration::from_secs(10);
    let is_quiet = |points: &BTreeMap<u64, u64>| latest(points).is_some_and(|millicores| millicores < IDLE);
    while !of_pods(daemon, [steps, holds], "cpu/usage_rate").iter().all(is_quiet) {
        assert!(Instant::now() < quiet, "they were to do nothing");
        sleep(Duration::from_millis(50)).await;
    }
    let begun = Instant::now();
    kill_process(spinner, Signal::CONT).unwrap();
    loop {
        let [of_steps, of_holds] = of_pods(daemon, [steps, holds], "cpu-usage");
        if latest(&of_steps).unwrap() >= SEEN {
            assert!(is_quiet(&of_holds), "the other pod does nothing: {of_holds:?}");
            return begun.elapsed();
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{of_steps:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn an_autoscaler_of_heapster_s_sees_what_was_used_and_a_step_at_once(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let steps = testbed.pod("heap-steps").run().await.unwrap();
    let spinner = steps.container("app").args(["spin", "--cpu", "1"]).run().await.unwrap();
    let of_spinner = Pid::from_raw(i32::try_from(spinner.pid()).unwrap()).unwrap();
    kill_process(of_spinner, Signal::STOP).unwrap();
    let holds = testbed.pod("heap-holds").run().await.unwrap();
    let holder = holds.container("app").args(["memory", "--anon", "50MiB"]).run().await.unwrap();
    holder.wait_for("ready", Duration::from_secs(10)).await.unwrap();
    let daemon = &stage.full;
    // A machine may be held up for a moment, but not each time.
    let mut seen_after = Vec::new();
    let recording = loop {
        let recording = Schedstat::record(spinner.pid());
        seen_after.push(seen_in_the_points(daemon, [&steps, &holds], of_spinner).await);
        if seen_after.last().is_some_and(|after| *after < VISIBLE) {
            break recording;
        }
        assert!(seen_after.len() < 3, "a step in load is seen after {seen_after:?}");
        kill_process(of_spinner, Signal::STOP).unwrap();
        recording.end();
    };
    println!("       a step in load was seen after {seen_after:?}");
    let since = clock::pair().wall.as_unix_nanos();
    let tick = daemon.next_list().await.tick;
    daemon.list_after(tick + 3).await;

    // What was used, as the scheduler has it, at the very instants that the points name.
    let path = format!(
        "/api/v1/model/namespaces/{}/pods/heap-steps/containers/app/metrics/cpu/usage",
        steps.namespace()
    );
    let used = points(&get(daemon, &path));
    sleep(Duration::from_millis(20)).await;
    let recorded = recording.end();
    let used: Vec<(u64, u64)> = used.into_iter().filter(|(at, _)| *at > since).collect();
    assert!(used.len() >= 4, "{used:?}");
    let base = used[0].1 as f64 - recorded.at(used[0].0);
    for (at, used) in &used {
        let ((_, before), (_, after)) = recorded.around(*at);
        let used = *used as f64 - base;
        assert!(
            used >= before as f64 - TICK && used <= after as f64 + TICK,
            "{used} is not from {before} to {after}"
        );
    }
    let grown = used.last().unwrap().1 - used[0].1;
    assert!(grown > 500_000_000, "four sweeps of one core: {grown} ns");

    are_those_of_the_history(daemon, [&steps, &holds]);
    let [_, held] = of_pods(daemon, [&steps, &holds], "memory/usage");
    let file = holds.cgroup_dir("memory").unwrap();
    let file = ["memory.usage_in_bytes", "memory.current"].map(|name| file.join(name));
    let file = file.iter().find(|path| path.exists()).unwrap();
    let kernel: u64 = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
    let ours = latest(&held).unwrap();
    assert!(ours >= 50 << 20 && ours.abs_diff(kernel) <= 1 << 20, "{ours} against the kernel's {kernel}");
    for pod in [steps, holds] {
        pod.stop().await.unwrap();
    }
}

/// Each point is the figure that our own document has of the same reading.
fn are_those_of_the_history(daemon: &Daemon, pods: [&Pod; 2]) {
    let history = |pod: &Pod| -> PodHistory {
        serde_json::from_str(&daemon.get(&format!("/api/v1/history/{}", pod.uid())).body).unwrap()
    };
    let rates = of_pods(daemon, pods, "cpu/usage_rate");
    let usages = of_pods(daemon, pods, "memory/usage");
    for ((pod, rates), usages) in pods.into_iter().zip(rates).zip(usages) {
        let samples = history(pod).samples;
        let cpu = samples.iter().filter_map(|sample| sample.cpu.as_ref());
        let cores: BTreeMap<u64, f64> =
            cpu.filter_map(|cpu| Some((cpu.time_unix_nano, cpu.cores?))).collect();
        let memory = samples.iter().filter_map(|sample| sample.memory.as_ref());
        let bytes: BTreeMap<u64, u64> =
            memory.map(|memory| (memory.time_unix_nano, memory.usage_bytes)).collect();
        assert!(rates.len() >= 4 && usages.len() >= 4);
        for (at, millicores) in &rates {
            let cores = cores[at] * 1000.0;
            let lost = cores - *millicores as f64;
            assert!((-0.001..1.0).contains(&lost), "{millicores} is not the whole part of {cores}");
        }
        for (at, usage) in &usages {
            assert_eq!(bytes[at], *usage);
        }
    }
}
