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
use crate::model::counters::{Stall, StallTime};

/// Reads one pressure file.
///
/// # Errors
/// The line that cannot be read; an empty one if there is no `some` line at all.
pub fn parse_stall(file: &[u8]) -> Result<Stall, &[u8]> {
    let (mut some, mut full) = (None, None);
    for line in text::lines(file) {
        let (kind, rest) = text::split_once(line, b' ').ok_or(line)?;
        match kind {
            b"some" => some = Some(parse_time(rest).ok_or(line)?),
            b"full" => full = Some(parse_time(rest).ok_or(line)?),
            _ => {} // The kernel adds lines over time; unknown ones are not errors.
        }
    }
    Ok(Stall { some: some.ok_or(&b""[..])?, full })
}

/// Each figure is said once: of a line that was broken off and runs into the next, nothing.
fn parse_time(fields: &[u8]) -> Option<StallTime> {
    let (mut averages, mut total) = ([None; 3], None);
    for field in text::fields(fields) {
        let (key, value) = text::split_once(field, b'=')?;
        let place = match key {
            b"avg10" => &mut averages[0],
            b"avg60" => &mut averages[1],
            b"avg300" => &mut averages[2],
            b"total" => {
                let micros = Duration::from_micros(text::parse_u64(value)?);
                if total.replace(micros).is_some() {
                    return None;
                }
                continue;
            }
            _ => continue, // The kernel may add averages too.
        };
        if place.replace(parse_percent(value)?).is_some() {
            return None;
        }
    }
    let [avg10, avg60, avg300] = averages;
    Some(StallTime { total: total?, avg10: avg10?, avg60: avg60?, avg300: avg300? })
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
                         full avg10=0.00 avg60=0.05 avg300=0.01 total=42\n";

    fn time(micros: u64, [avg10, avg60, avg300]: [f64; 3]) -> StallTime {
        StallTime { total: Duration::from_micros(micros), avg10, avg60, avg300 }
    }

    #[test]
    fn totals_are_microseconds_and_averages_percent() {
        let stall = parse_stall(CPU).unwrap();
        assert_eq!(stall.some, time(9_303_687, [0.01, 0.32, 0.22]));
        assert_eq!(stall.full, Some(time(42, [0.0, 0.05, 0.01])));
    }

    #[test]
    fn the_cpu_file_of_old_kernels_has_no_full_line() {
        let stall = parse_stall(b"some avg10=12.34 avg60=1.00 avg300=0.50 total=7\n").unwrap();
        assert_eq!(stall, Stall { some: time(7, [12.34, 1.0, 0.5]), full: None });
    }

    #[test]
    fn unknown_lines_are_passed_over_and_known_ones_must_be_whole() {
        assert!(parse_stall(&[b"irq avg10=x\n", CPU].concat()).is_ok());
        for line in [
            &b"some\n"[..],
            b"some avg10=0.01 avg60=0.00 avg300=0.00\n",
            b"some avg10=0.01 avg300=0.00 total=1\n",
            b"some avg10=0.1 avg60=0.00 avg300=0.00 total=1\n",
            b"some avg10=-1.00 avg60=0.00 avg300=0.00 total=1\n",
            b"some avg10=nan avg60=0.00 avg300=0.00 total=1\n",
            b"some avg10=0.00 avg60=0.00 avg300=0.00 total=x\n",
            b"some avg10=0.00 avg60=0.00 avg60=0.00 avg300=0.00 total=1\n",
            b"some avg10=0.00 avg60=0.00 avg300=0.00 total=1 total=1\n",
            b"full avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
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
                assert_eq!(stall.some, whole.some);
                assert_eq!(stall.full, None);
            }
        }
    }
}
