//! Numbers as text, without an allocation and, but for what is no whole number, without `fmt`.

use std::io::Write;

use super::Value;

/// 00 to 99: two digits a step halve the divisions.
const PAIRS: &[u8; 200] = b"00010203040506070809\
    10111213141516171819\
    20212223242526272829\
    30313233343536373839\
    40414243444546474849\
    50515253545556575859\
    60616263646566676869\
    70717273747576777879\
    80818283848586878889\
    90919293949596979899";

/// Below this every whole double is exact.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// As many bytes as no number of ours exceeds: 20 digits, a point and 9 more.
const LONGEST: usize = 32;

/// Digits of a billion's parts.
const NANO_DIGITS: usize = 9;

/// The value in as few digits as tell it.
#[inline]
pub(super) fn write(out: &mut Vec<u8>, value: Value) {
    match value {
        Value::Integer(value) => integer(out, value),
        Value::Nanoseconds(value) => seconds(out, value),
        Value::Float(value) => float(out, value),
    }
}

/// In full.
#[inline]
pub(super) fn integer(out: &mut Vec<u8>, value: u64) {
    in_place(out, |place| {
        let length = digits(value);
        fill(&mut place[..length], value);
        length
    });
}

/// `17.000000001`: whole nanoseconds, without zeros at the end.
#[inline]
fn seconds(out: &mut Vec<u8>, nanoseconds: u64) {
    let (whole, nanos) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    in_place(out, |place| {
        let point = digits(whole);
        fill(&mut place[..point], whole);
        if nanos == 0 {
            return point;
        }
        place[point] = b'.';
        let fraction = &mut place[point + 1..=point + NANO_DIGITS];
        fill(fraction, nanos);
        point + 1 + fraction.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1)
    });
}

/// Lets `write` fill the next bytes, and keeps as many as it says.
///
/// Digits that are put together elsewhere and copied here would wait for each other: a processor does not
/// read at once what it has just written in smaller pieces.
#[inline]
fn in_place(out: &mut Vec<u8>, write: impl FnOnce(&mut [u8; LONGEST]) -> usize) {
    let start = out.len();
    out.extend_from_slice(&[0; LONGEST]);
    let length = out.last_chunk_mut().map_or(0, write);
    out.truncate(start + length);
}

/// How many digits a number has.
#[inline]
fn digits(value: u64) -> usize {
    // 1233 / 4096 is a little more than the digits that a bit is worth.
    let most = (((u64::BITS - (value | 1).leading_zeros()) * 1233) >> 12) as usize;
    let less = POWERS.get(most).is_some_and(|power| value | 1 < *power);
    most + 1 - usize::from(less)
}

/// 1, 10, 100, …
const POWERS: [u64; 20] = {
    let mut powers = [1; 20];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// Fills `place` with the last digits of a number, zeros in front.
#[inline]
fn fill(place: &mut [u8], mut value: u64) {
    let (pairs, _) = PAIRS.as_chunks::<2>();
    let mut places = place.rchunks_exact_mut(2);
    for place in &mut places {
        let pair = (value % 100) as usize;
        place.copy_from_slice(&pairs[pair]);
        value /= 100;
    }
    if let [place] = places.into_remainder() {
        *place = b'0' + (value % 10) as u8;
    }
}

/// The shortest that reads back as the same.
fn float(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else if (0.0..EXACT).contains(&value) && value.fract() == 0.0 && value.is_sign_positive() {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole, and within bounds"
        )]
        integer(out, value as u64);
    } else if let Some(nanos) = thousandths(value) {
        seconds(out, nanos);
    } else if (1e-5..1e17).contains(&value.abs()) {
        // Writing to memory cannot fail.
        let _ = write!(out, "{value}");
    } else {
        // 1e300 has 300 zeros otherwise.
        let _ = write!(out, "{value:e}");
    }
}

/// The billionths of a number that has three digits after its point, or fewer: most limits and requests are such,
/// and what [`write!`] takes for one is ten times as long.
fn thousandths(value: f64) -> Option<u64> {
    let whole = (value * 1e3).round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and within bounds")]
    ((1e-3..1e6).contains(&value) && whole / 1e3 == value).then(|| whole as u64 * 1_000_000)
}

/// Milliseconds since 1970, as seconds with three digits at most.
pub(super) fn milliseconds_as_seconds(out: &mut Vec<u8>, value: u64) {
    seconds(out, value.saturating_mul(1_000_000));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(value: Value) -> String {
        let mut out = Vec::new();
        write(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_have_no_digit_too_many() {
        let nanos = Value::Nanoseconds;
        for (value, expected) in [
            (Value::Integer(0), "0"),
            (Value::Integer(100), "100"),
            (Value::Integer(u64::MAX), "18446744073709551615"),
            (nanos(0), "0"),
            (nanos(17_000_000_001), "17.000000001"),
            (nanos(1_500_000_000), "1.5"),
            (nanos(10), "0.00000001"),
            (nanos(10_000_000_000), "10"),
            (Value::Float(0.0), "0"),
            (Value::Float(-0.0), "-0e0"),
            (Value::Float(0.1), "0.1"),
            (Value::Float(1.5e300), "1.5e300"),
            (Value::Float(-2.0), "-2"),
            (Value::Float(f64::NAN), "NaN"),
            (Value::Float(f64::INFINITY), "+Inf"),
            (Value::Float(f64::NEG_INFINITY), "-Inf"),
        ] {
            assert_eq!(text(value), expected, "{value:?}");
        }
    }

    #[test]
    fn every_number_of_digits_is_right() {
        for power in POWERS {
            for value in [power - 1, power, power + 1] {
                assert_eq!(text(Value::Integer(value)), value.to_string());
            }
        }
    }

    proptest! {
        #[test]
        fn integers_are_exact(value: u64, bits in 0..u64::BITS) {
            let value = value >> bits;
            prop_assert_eq!(text(Value::Integer(value)), value.to_string());
        }

        #[test]
        fn numbers_of_three_digits_after_the_point_are_as_short_as_others(thousandths in 0u32..2_000_000_000) {
            for value in [f64::from(thousandths) / 1e3, f64::from(thousandths % 5_000) / 1e3] {
                prop_assert_eq!(text(Value::Float(value)), value.to_string());
            }
        }

        #[test]
        fn floats_read_back_as_they_were(bits: u64) {
            let value = f64::from_bits(bits);
            let read: f64 = text(Value::Float(value)).parse().unwrap();
            prop_assert!(read.to_bits() == value.to_bits() || (read.is_nan() && value.is_nan()));
        }

        #[test]
        fn seconds_are_exact_to_the_nanosecond(nanos: u64) {
            let text = text(Value::Nanoseconds(nanos));
            let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
            prop_assert!(!fraction.ends_with('0') && !text.ends_with('.'));
            let read: u64 = format!("{whole}{fraction:0<9}").parse().unwrap();
            prop_assert_eq!(read, nanos);
        }
    }
}
