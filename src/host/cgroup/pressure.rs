//! Pressure stall information of one cgroup: `cpu.pressure`, `memory.pressure`, `io.pressure`.
//!
//! `Documentation/accounting/psi.rst`. Times are microseconds, averages percent:
//!
//! ```text
//! some avg10=0.01 avg60=0.32 avg300=0.22 total=9303687
//! full avg10=0.00 avg60=0.00 avg300=0.00 total=0
//! ```

use std::time::Duration;

use crate::host::text;
use crate::model::counters::Stall;

/// Reads one pressure file.
///
/// # Errors
/// The line that cannot be read; an empty one if there is no `some` line at all.
pub fn parse_stall(file: &[u8]) -> Result<Stall, &[u8]> {
    let (mut some, mut full) = (None, None);
    for line in text::lines(file) {
        let (kind, rest) = text::split_once(line, b' ').ok_or(line)?;
        match kind {
            b"some" => some = Some(parse_averages(rest).ok_or(line)?),
            b"full" => full = Some(parse_averages(rest).ok_or(line)?.1),
            _ => {} // The kernel adds lines over time; unknown ones are not errors.
        }
    }
    let (some_avg10, some) = some.ok_or(&b""[..])?;
    Ok(Stall { some, full, some_avg10 })
}

/// (`avg10`, `total`).
fn parse_averages(fields: &[u8]) -> Option<(f64, Duration)> {
    let (mut average, mut total) = (None, None);
    for field in text::fields(fields) {
        match text::split_once(field, b'=')? {
            (b"avg10", value) => average = Some(parse_percent(value)?),
            (b"total", value) => total = Some(Duration::from_micros(text::parse_u64(value)?)),
            _ => {}
        }
    }
    Some((average?, total?))
}

/// `12.34`; always two decimals.
fn parse_percent(value: &[u8]) -> Option<f64> {
    let (whole, hundredths) = text::split_once(value, b'.')?;
    let whole = text::parse_u32(whole)?;
    let hundredths = (hundredths.len() == 2).then(|| text::parse_u32(hundredths))??;
    Some((f64::from(whole) * 100.0 + f64::from(hundredths)) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: &[u8] = b"some avg10=0.01 avg60=0.32 avg300=0.22 total=9303687\n\
                         full avg10=0.00 avg60=0.00 avg300=0.00 total=42\n";

    #[test]
    fn totals_are_microseconds_and_averages_percent() {
        let stall = parse_stall(CPU).unwrap();
        assert_eq!(stall.some, Duration::from_micros(9_303_687));
        assert_eq!(stall.full, Some(Duration::from_micros(42)));
        assert_eq!(stall.some_avg10.to_bits(), 0.01_f64.to_bits());
    }

    #[test]
    fn the_cpu_file_of_old_kernels_has_no_full_line() {
        let stall = parse_stall(b"some avg10=12.34 avg60=0.00 avg300=0.00 total=7\n").unwrap();
        assert_eq!(stall, Stall { some: Duration::from_micros(7), full: None, some_avg10: 12.34 });
    }

    #[test]
    fn unknown_lines_are_passed_over_and_known_ones_must_be_whole() {
        assert!(parse_stall(&[b"irq avg10=x\n", CPU].concat()).is_ok());
        for line in [
            &b"some\n"[..],
            b"some avg10=0.01\n",
            b"some avg10=0.1 total=1\n",
            b"some avg10=-1.00 total=1\n",
            b"some avg10=nan total=1\n",
            b"some avg10=0.00 total=x\n",
            b"full avg10=0.00 total=1\n",
            b"",
        ] {
            assert!(parse_stall(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn every_cut_is_read_right_or_refused() {
        let whole = parse_stall(CPU).unwrap();
        for end in 0..CPU.len() {
            if let Ok(stall) = parse_stall(&CPU[..end]) {
                assert_eq!((stall.some, stall.some_avg10), (whole.some, whole.some_avg10));
                assert_eq!(stall.full, None);
            }
        }
    }
}
