//! CPU: against the scheduler's own account of the one process in the container.

use std::ops::Range;
use std::sync::Arc;

use podvitals::model::document::Cpu;
use podvitals_testbed::Container;

use crate::daemon::container;
use crate::oracle;
use crate::oracle::Recording;
use crate::oracle::Schedstat;
use crate::stage::Stage;

/// A scheduler tick, at which the kernel adds up the time of a task that runs on: 1 to 10 ms.
const TICK: f64 = 10e6;

/// Windows that are compared. What share of its CPU the load gets depends on what else the machine does;
/// that the rate is the scheduler's own figure does not.
const WINDOWS: u64 = 6;

pub(crate) async fn counters_lie_between_schedstat_before_and_after_and_rates_agree(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let full = testbed.pod("cpu-full").run().await.unwrap();
    let full_app = full.container("app").args(["spin", "--duty", "100", "--cpu", "1"]).run().await.unwrap();
    compare(&stage, &full_app, 0.1..1.01).await;
    full.stop().await.unwrap();

    let part = testbed.pod("cpu-part").run().await.unwrap();
    let part_app = part.container("app").args(["spin", "--duty", "37", "--cpu", "1"]).run().await.unwrap();
    compare(&stage, &part_app, 0.05..0.41).await;
    part.stop().await.unwrap();
}

/// Compares what each daemon says of the container with the scheduler's account of its one process.
async fn compare(stage: &Stage, of: &Container, expected: Range<f64>) {
    let recording = Schedstat::record(of.pid());
    let mut seen = Vec::new();
    for (_, daemon) in stage.observers() {
        let mut tick = daemon.next_list().await.tick;
        let mut figures = Vec::new();
        for _ in 0..=WINDOWS {
            let list = daemon.list_after(tick).await;
            tick = list.tick;
            figures.push(container(&list, of.id()).cpu.unwrap());
        }
        daemon.list_after(tick).await;
        seen.push(figures);
    }
    let recorded = recording.end();
    for ((who, _), figures) in stage.observers().into_iter().zip(seen) {
        println!("       {who}: {:?} cores", figures.iter().map(|cpu| cpu.cores).collect::<Vec<_>>());
        agree(&figures, &recorded, &expected);
    }
}

fn agree(figures: &[Cpu], recorded: &Recording, expected: &Range<f64>) {
    // The container's cgroup has also counted the runtime's start of the process, once and before.
    let offset = |cpu: &Cpu, used: u64| cpu.usage_nanoseconds as f64 - used as f64;
    let base = offset(&figures[0], recorded.around(figures[0].time_unix_nano).0.1);
    for pair in figures.windows(2) {
        let [earlier, later] = pair else { continue };
        let ((_, before), (_, after)) = recorded.around(later.time_unix_nano);
        assert!(offset(later, before) - base >= -TICK, "below schedstat before our stamp");
        assert!(offset(later, after) - base <= TICK, "above schedstat after our stamp");

        let window = (later.time_unix_nano - earlier.time_unix_nano) as f64;
        let busy = recorded.at(later.time_unix_nano) - recorded.at(earlier.time_unix_nano);
        let cores = later.cores.unwrap();
        assert!(expected.contains(&cores), "{cores} cores is not what was burnt");
        let error = (cores - busy / window).abs() / cores;
        assert!(error <= 0.005, "{cores} cores against {} of schedstat: off by {error}", busy / window);
        let seconds = later.window_seconds.unwrap();
        assert!((seconds - window / 1e9).abs() < 1e-3, "the window is that of the two stamps");

        let split = later.user_nanoseconds.unwrap() + later.system_nanoseconds.unwrap();
        let difference = later.usage_nanoseconds.abs_diff(split) as f64;
        assert!(
            difference <= 2.0 * TICK + 0.001 * later.usage_nanoseconds as f64,
            "user + system is off by {difference} ns"
        );
    }
}

pub(crate) async fn throttling_equals_the_file(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let pod = testbed.pod("cpu-throttled").run().await.unwrap();
    let app = pod.container("app").args(["spin"]).cpu_limit_millis(200).run().await.unwrap();
    let file = app.cgroup_dir("cpu").unwrap().join("cpu.stat");
    let keys = ["nr_periods", "nr_throttled", "throttled_time"];
    let mut throttled = 0;
    for (_, daemon) in stage.observers().into_iter().cycle().take(6) {
        let before = keys.map(|key| oracle::keyed(&file, key));
        let cpu = container(&daemon.next_list().await, app.id()).cpu.unwrap();
        let after = keys.map(|key| oracle::keyed(&file, key));
        let throttling = cpu.throttling.unwrap();
        let ours = [throttling.periods, throttling.throttled_periods, throttling.throttled_nanoseconds];
        for i in 0..3 {
            assert!(
                (before[i]..=after[i]).contains(&ours[i]),
                "{}: {ours:?} between {before:?} and {after:?}",
                keys[i]
            );
        }
        throttled = ours[1];
        assert_eq!(cpu.limit_cores, Some(0.2));
        assert!(cpu.cores.unwrap() < 0.25, "{:?} cores under a quota of 0.2", cpu.cores);
    }
    assert!(throttled > 0, "nothing was throttled");
    pod.stop().await.unwrap();
}
