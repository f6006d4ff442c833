//! A clock that is set: rates and ages are of the other clock, which nobody can set.

use std::sync::Arc;
use std::time::Duration;

use podvitals::model::document::PodList;
use podvitals_testbed::made_up::Driver;
use rustix::time::ClockId;
use rustix::time::Timespec;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::find::container;
use crate::find::pod;
use crate::stage::Stage;

const HOUR: i64 = 3_600;
const TEN_YEARS: i64 = 10 * 365 * 24 * HOUR;
/// How much later than another a sweep may come to be served, in seconds.
const LATE: f64 = 0.4;

/// A sweep, and between which instants it came.
struct Seen {
    not_yet: Instant,
    there: Instant,
    /// It was the last one then, or came soon after.
    asked: Instant,
    list: PodList,
}

/// The first sweep with a greater number than `tick`, which was the last one at the instant `not_yet`.
async fn seen_after(stage: &Stage, tick: u64, mut not_yet: Instant) -> Seen {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let asked = Instant::now();
        let list = stage.daemon.list();
        if list.tick > tick {
            return Seen { asked, not_yet, there: Instant::now(), list };
        }
        not_yet = asked;
        assert!(asked < deadline, "no sweep after {tick}");
        sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn a_clock_that_is_set_changes_no_rate_and_no_age(stage: Arc<Stage>) {
    let spin = ["load", "spin", "--duty", "30", "--cpu", "1"];
    let made = stage.pod(Driver::Cgroupfs).command(&spin).start().unwrap();
    let child = &made.children()[0];
    let first = stage.settled(&made).await;
    let mut seen = seen_after(&stage, first.tick, Instant::now()).await;
    let mut used = container(&seen.list, child.id()).cpu.unwrap().usage_nanoseconds;
    // The last one brings the clock back to where it was.
    for step in [0, -HOUR, TEN_YEARS, HOUR - TEN_YEARS] {
        let now = rustix::time::clock_gettime(ClockId::Realtime);
        let then = Timespec { tv_sec: now.tv_sec + step, tv_nsec: now.tv_nsec };
        rustix::time::clock_settime(ClockId::Realtime, then).unwrap();
        for _ in 0..5 {
            let now = seen_after(&stage, seen.list.tick, seen.asked).await;
            let list = &now.list;
            let found = pod(list, made.uid());
            assert!(found.age_seconds <= 1.5, "{} s old after a step of {step} s", found.age_seconds);
            let cpu = container(list, child.id()).cpu.unwrap();
            let (cores, window) = (cpu.cores.unwrap(), cpu.window_seconds.unwrap());
            let burnt = (cpu.usage_nanoseconds - used) as f64 / 1e9;
            assert!(burnt > 0.0 && cores > 0.0, "it burns all the time");
            // An independent clock that nobody can set either: between which instants the two sweeps came.
            // On a machine that stands still now and then these lie far apart, and sweeps are missed.
            let least = (now.not_yet - seen.there).as_secs_f64();
            let most = (now.there - seen.not_yet).as_secs_f64();
            let told = format!("a window of {window} s in {least} to {most} s, step {step} s");
            assert!(window > 0.0 && window <= most + LATE, "{told}");
            if list.tick == seen.list.tick + 1 {
                assert!(window >= least - LATE, "{told}");
                assert!((cores * window - burnt).abs() < 1e-6, "{cores} cores, {window} s, {burnt} s of CPU");
            }
            used = cpu.usage_nanoseconds;
            let network = found.network.as_ref().unwrap();
            assert!(
                network.tx_bytes_per_second.unwrap() >= 0.0 && network.rx_bytes_per_second.unwrap() >= 0.0
            );
            assert!((network.window_seconds.unwrap() - window).abs() < 0.5, "{network:?}");
            assert!(found.cpu.as_ref().unwrap().cores.unwrap() > 0.0);
            seen = now;
        }
        // What is told of the time of day follows the clock.
        let told = stage.daemon.list();
        let seconds = i64::try_from(told.time_unix_nano / 1_000_000_000).unwrap();
        let clock = rustix::time::clock_gettime(ClockId::Realtime).tv_sec;
        assert!((clock - seconds).abs() <= 3, "{seconds} is told, {clock} it is");
    }
    assert_eq!(stage.daemon.get("/readyz").status, 200);
}
