//! Keeps one CPU busy for a given share of the time.
//!
//! The share is kept by the thread's own CPU clock, not by the wall: on a machine that is busy with
//! other things the loop stays in a period until it has really run that long.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::thread::CpuSet;
use rustix::time::{ClockId, clock_gettime};

use crate::arguments::Arguments;

const PERIOD: Duration = Duration::from_millis(10);

pub(crate) fn spin(mut given: Arguments) -> Result<()> {
    let duty: u32 = given.number("--duty")?.unwrap_or(100);
    ensure!((1..=100).contains(&duty), "--duty: {duty} is not between 1 and 100");
    let cpu: Option<usize> = given.number("--cpu")?;
    let seconds: Option<u64> = given.number("--seconds")?;
    given.end()?;
    if let Some(cpu) = cpu {
        pin(cpu)?;
    }
    let start = clock(ClockId::Monotonic);
    let end = seconds.map(|seconds| start + Duration::from_secs(seconds));
    if duty == 100 {
        while end.is_none_or(|end| clock(ClockId::Monotonic) < end) {
            burn_until(clock(ClockId::ThreadCPUTime) + PERIOD);
        }
    } else {
        keep_duty(duty, start, end);
    }
    println!("{{\"cpuNanoseconds\":{}}}", clock(ClockId::ThreadCPUTime).as_nanos());
    Ok(())
}

fn pin(cpu: usize) -> Result<()> {
    ensure!(cpu < CpuSet::MAX_CPU, "--cpu: {cpu} is not below {}", CpuSet::MAX_CPU);
    let mut only = CpuSet::new();
    only.set(cpu);
    rustix::thread::sched_setaffinity(None, &only).with_context(|| format!("cannot run on CPU {cpu} only"))
}

/// A period that ran too long or too late is made up for in the next ones, so that the mean holds;
/// after a long stall the past is forgotten, so that it is not followed by a long burst.
fn keep_duty(duty: u32, start: Duration, end: Option<Duration>) {
    const MOST_BEHIND: Duration = Duration::from_millis(100);
    let share = PERIOD * duty / 100;
    let mut cpu_time = clock(ClockId::ThreadCPUTime);
    let mut next = start;
    loop {
        cpu_time += share;
        burn_until(cpu_time);
        next += PERIOD;
        let now = clock(ClockId::Monotonic);
        if end.is_some_and(|end| now >= end) {
            return;
        }
        match next.checked_sub(now) {
            Some(left) => std::thread::sleep(left),
            None => next = next.max(now.saturating_sub(MOST_BEHIND)),
        }
    }
}

fn burn_until(cpu_time: Duration) {
    while clock(ClockId::ThreadCPUTime) < cpu_time {
        for turn in 0..2_000u32 {
            std::hint::black_box(turn);
        }
    }
}

fn clock(id: ClockId) -> Duration {
    // Both clocks count up from zero.
    Duration::try_from(clock_gettime(id)).unwrap_or_default()
}
