//! CPU: against the scheduler's own account of the one process in the container.

use std::ops::Range;
use std::sync::Arc;

use podvitals_testbed::Container;

use crate::agreement;
use crate::find::container;
use crate::oracle::Schedstat;
use crate::stage::Stage;

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
        agreement::rates(&figures, &recorded, &expected);
    }
}

pub(crate) async fn throttling_equals_the_file(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let pod = testbed.pod("cpu-throttled").run().await.unwrap();
    let app = pod.container("app").args(["spin"]).cpu_limit_millis(200).run().await.unwrap();
    let file = app.cgroup_dir("cpu").unwrap().join("cpu.stat");
    let mut throttled = 0;
    for (_, daemon) in stage.observers().into_iter().cycle().take(6) {
        let before = agreement::throttling(&file);
        let cpu = container(&daemon.next_list().await, app.id()).cpu.unwrap();
        let after = agreement::throttling(&file);
        throttled = agreement::throttled(&cpu, before, after);
        assert_eq!(cpu.limit_cores, Some(0.2));
        assert!(cpu.cores.unwrap() < 0.25, "{:?} cores under a quota of 0.2", cpu.cores);
    }
    assert!(throttled > 0, "nothing was throttled");
    pod.stop().await.unwrap();
}
