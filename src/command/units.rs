//! Figures as people read them: the units of `kubectl top` and the ages of `kubectl get`.
//!
//! `531m` cores, `50Mi`, `1.2Mi` a second, `3h20m`. Whoever computes with a figure takes `-o json`.

/// CPU cores in thousandths, as `kubectl top` shows them. A little is not nothing: above 0 it is at
/// least `1m`.
pub(super) fn cores(cores: f64) -> String {
    let milli = (cores * 1000.0).round();
    format!("{}m", if cores > 0.0 { milli.max(1.0) } else { milli })
}

/// Bytes in whole `Mi`, as `kubectl top` shows them, but less than one of them in `Ki`.
pub(super) fn memory(bytes: f64) -> String {
    match bytes {
        _ if bytes >= MI => format!("{}Mi", (bytes / MI).round()),
        _ if bytes >= KI => format!("{}Ki", (bytes / KI).round()),
        _ => small(bytes),
    }
}

/// Bytes per second in the largest unit that leaves at least 1, with one decimal below 10.
pub(super) fn per_second(bytes: f64) -> String {
    for (unit, size) in [("Gi", GI), ("Mi", MI), ("Ki", KI)] {
        // What rounds up to a whole unit is shown as that: 1Mi, not 1024Ki.
        if bytes >= size - size / 2048.0 {
            let number = bytes / size;
            return if number < 9.95 { format!("{number:.1}{unit}") } else { format!("{number:.0}{unit}") };
        }
    }
    small(bytes)
}

/// Fewer bytes than a `Ki`.
fn small(bytes: f64) -> String {
    if bytes > 0.0 { format!("{}B", bytes.round().max(1.0)) } else { "0".to_owned() }
}

/// A count.
pub(super) fn count(number: f64) -> String {
    format!("{number:.0}")
}

/// A time span with two units at most, rounded down as `kubectl get` rounds its ages.
pub(super) fn age(seconds: f64) -> String {
    // `as` saturates: an age beyond u64 is not a case worth an error.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and only for display"
    )]
    let seconds = seconds.max(0.0) as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        _ if seconds < 120 => format!("{seconds}s"),
        _ if minutes < 10 => two((minutes, "m"), (seconds % 60, "s")),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two((hours, "h"), (minutes % 60, "m")),
        _ if hours < 48 => format!("{hours}h"),
        _ if days < 8 => two((days, "d"), (hours % 24, "h")),
        _ if days < 730 => format!("{days}d"),
        _ if days < 2920 => two((days / 365, "y"), (days % 365, "d")),
        _ => format!("{}y", days / 365),
    }
}

/// A time that was lost, with a finer grain than an age: `0s`, `13ms`, `4.2s`, then as [`age`].
pub(super) fn lost(seconds: f64) -> String {
    match seconds {
        _ if seconds <= 0.0 => "0s".to_owned(),
        _ if seconds < 0.9995 => format!("{}ms", (seconds * 1000.0).round().max(1.0)),
        _ if seconds < 9.95 => format!("{seconds:.1}s"),
        _ => age(seconds.round()),
    }
}

fn two(large: (u64, &str), small: (u64, &str)) -> String {
    if small.0 == 0 {
        format!("{}{}", large.0, large.1)
    } else {
        format!("{}{}{}{}", large.0, large.1, small.0, small.1)
    }
}

const KI: f64 = 1024.0;
const MI: f64 = 1024.0 * KI;
const GI: f64 = 1024.0 * MI;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_thousandths_and_a_little_is_not_nothing() {
        assert_eq!(cores(0.531), "531m");
        assert_eq!(cores(2.0), "2000m");
        assert_eq!(cores(0.000_01), "1m");
        assert_eq!(cores(0.0), "0m");
    }

    #[test]
    fn memory_is_in_mi_as_kubectl_top_has_it() {
        assert_eq!(memory(50.0 * MI), "50Mi");
        assert_eq!(memory(3.0 * GI), "3072Mi");
        assert_eq!(memory(300.0 * KI), "300Ki");
        assert_eq!(memory(512.0), "512B");
        assert_eq!(memory(0.0), "0");
    }

    #[test]
    fn a_rate_has_the_largest_unit_that_fits() {
        assert_eq!(per_second(0.0), "0");
        assert_eq!(per_second(0.2), "1B");
        assert_eq!(per_second(312.4), "312B");
        assert_eq!(per_second(1536.0), "1.5Ki");
        assert_eq!(per_second(9.96 * KI), "10Ki");
        assert_eq!(per_second(1023.9 * KI), "1.0Mi");
        assert_eq!(per_second(1.2 * MI), "1.2Mi");
        assert_eq!(per_second(117.0 * MI), "117Mi");
        assert_eq!(per_second(20.0 * 1024.0 * GI), "20480Gi");
    }

    #[test]
    fn ages_are_those_of_kubectl() {
        let minute = 60.0;
        let (hour, day) = (60.0 * minute, 24.0 * 60.0 * minute);
        let shown = [-3.0, 0.4, 119.0, 2.0 * minute, 200.0, 12.5 * minute].map(age);
        assert_eq!(shown, ["0s", "0s", "119s", "2m", "3m20s", "12m"]);
        let shown =
            [3.0 * hour, 3.5 * hour, 47.0 * hour, 2.0 * day, 2.5 * day, 30.0 * day, 800.0 * day].map(age);
        assert_eq!(shown, ["3h", "3h30m", "47h", "2d", "2d12h", "30d", "2y70d"]);
        assert_eq!(age(f64::MAX), "584942417355y");
    }

    #[test]
    fn lost_time_has_a_fine_grain() {
        let shown = [0.0, 0.000_2, 0.013, 0.9996, 4.21, 9.96, 130.0].map(lost);
        assert_eq!(shown, ["0s", "1ms", "13ms", "1.0s", "4.2s", "10s", "2m10s"]);
    }
}
