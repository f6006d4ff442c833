//! Times as they stand on the wire.

use std::time::Duration;

use jiff::Timestamp;

use crate::model::time::WallTime;

/// `2026-11-21T01:02:03.123456789Z`: RFC 3339 in UTC, always with nanoseconds.
pub(super) fn rfc3339(time: WallTime) -> String {
    // Every u64 of nanoseconds is a year up to 2554, which jiff can hold.
    let time = Timestamp::from_nanosecond(i128::from(time.as_unix_nanos())).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{time:.9}")
}

/// `2026-11-21T01:02:03Z`: as Kubernetes writes its times, in whole seconds.
pub(super) fn rfc3339_seconds(time: WallTime) -> String {
    let seconds = i64::try_from(time.as_unix_nanos() / 1_000_000_000).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

/// What Go says of a time there is none of.
pub(super) const NEVER: &str = "0001-01-01T00:00:00Z";

/// Whole nanoseconds: 584 years fit.
pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Whole microseconds.
pub(super) fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_nine_digits_and_a_z_even_on_the_full_second() {
        let text = |nanos| rfc3339(WallTime::from_unix_nanos(nanos));
        assert_eq!(text(1_795_222_923_123_456_789), "2026-11-21T01:02:03.123456789Z");
        assert_eq!(text(1_795_222_923_000_000_000), "2026-11-21T01:02:03.000000000Z");
        assert_eq!(text(0), "1970-01-01T00:00:00.000000000Z");
        let seconds = |nanos| rfc3339_seconds(WallTime::from_unix_nanos(nanos));
        assert_eq!(seconds(1_795_222_923_999_999_999), "2026-11-21T01:02:03Z");
        assert_eq!(seconds(0), "1970-01-01T00:00:00Z");
        assert_eq!(text(u64::MAX), "2554-07-21T23:34:33.709551615Z");
    }
}
