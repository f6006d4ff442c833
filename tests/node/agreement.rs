//! CPU figures against what the kernel says elsewhere.

use std::ops::Range;
use std::path::Path;

use podvitals::model::document::Cpu;

use crate::oracle;
use crate::oracle::Recording;

/// A scheduler tick, at which the kernel adds up the time of a task that runs on: 1 to 10 ms.
const TICK: f64 = 10e6;

/// Figures of successive sweeps, of a container in which one process uses CPU, agree with what was
/// recorded of that process.
pub(crate) fn rates(figures: &[Cpu], recorded: &Recording, expected: &Range<f64>) {
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
        // After a sweep that was held up the window is too short for a rate.
        let Some(cores) = later.cores else { continue };
        assert!(expected.contains(&cores), "{cores} cores is not what was burnt");
        let doubt = recorded.doubt(earlier.time_unix_nano) + recorded.doubt(later.time_unix_nano);
        let error = ((cores - busy / window).abs() - doubt / window) / cores;
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

/// Keys of `cpu.stat` of cgroup v1.
const THROTTLING: [&str; 3] = ["nr_periods", "nr_throttled", "throttled_time"];

/// What the file says now.
pub(crate) fn throttling(cpu_stat: &Path) -> [u64; 3] {
    THROTTLING.map(|key| oracle::keyed(cpu_stat, key))
}

/// The figures lie between what the file said before and after they were read. Returns throttled periods.
pub(crate) fn throttled(cpu: &Cpu, before: [u64; 3], after: [u64; 3]) -> u64 {
    let throttling = cpu.throttling.as_ref().unwrap();
    let ours = [throttling.periods, throttling.throttled_periods, throttling.throttled_nanoseconds];
    for i in 0..3 {
        assert!(
            (before[i]..=after[i]).contains(&ours[i]),
            "{}: {ours:?} between {before:?} and {after:?}",
            THROTTLING[i]
        );
    }
    throttling.throttled_periods
}
