//! Numbers as bytes, each in as few as it needs: seven bits a byte, the last one without the eighth bit.

use std::time::Duration;

use super::packed::Packed;

/// A tick of cgroup v1, and the microsecond of v2.
const TIME: &[u64] = &[10_000_000, 1000];

/// What the next number is near to: at the beginning of a row the sweep's own, then the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Base {
    /// When something was read, in nanoseconds.
    pub(super) at: u64,
    /// Over what time a rate was had, in nanoseconds.
    pub(super) interval: u64,
}

/// Appends numbers to a buffer that is used again and again.
pub(super) struct Writer<'a> {
    pub(super) bytes: &'a mut Vec<u8>,
    pub(super) base: Base,
}

/// Reads them back; `None` past the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) base: Base,
}

impl Writer<'_> {
    pub(super) fn number(&mut self, value: u64) {
        self.wide(u128::from(value));
    }

    pub(super) fn wide(&mut self, mut value: u128) {
        while value >= 0x80 {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push((value & 0x7f) as u8);
    }

    /// The distance from `from`, which is small in either direction.
    pub(super) fn near(&mut self, value: u64, from: u64) {
        let distance = u128::from(value.abs_diff(from));
        self.wide(distance << 1 | u128::from(value < from));
    }

    /// A number, or none, that is mostly a multiple of one of `units`, the largest first.
    pub(super) fn units(&mut self, value: Option<u64>, units: &[u64]) {
        let Some(value) = value else { return self.wide(0) };
        let all = units.iter().copied().chain([1]).zip(0..);
        let unit = all.into_iter().find(|(unit, _)| value.is_multiple_of(*unit));
        let (unit, place) = unit.unwrap_or((1, 0));
        let places = units.len() as u128 + 1;
        self.wide(1 + u128::from(value / unit) * places + place);
    }

    pub(super) fn time(&mut self, value: Option<Duration>) {
        self.units(value.map(|value| u64::try_from(value.as_nanos()).unwrap_or(u64::MAX)), TIME);
    }

    /// What grew to `per_second`, if the same rate comes out of it again.
    pub(super) fn per_second(
        &mut self,
        value: f64,
        window: Duration,
        of: fn(u64, Duration) -> f64,
        unit: f64,
    ) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and what comes out is compared"
        )]
        let growth = (value * window.as_secs_f64() * unit).round() as u64;
        if of(growth, window).to_bits() == value.to_bits() {
            self.wide(u128::from(growth) << 1);
        } else {
            self.wide(1);
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// One row, with its length before it, so that readers of other rows can step over it.
    pub(super) fn row(&mut self, row: &impl Packed) {
        let (start, base) = (self.bytes.len(), self.base);
        self.bytes.extend_from_slice(&[0; 2]);
        row.write(self);
        self.base = base;
        // A row has some sixty numbers of at most nineteen bytes.
        let length = u16::try_from(self.bytes.len() - start - 2).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&length.to_le_bytes());
    }
}

impl<'a> Reader<'a> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    pub(super) fn wide(&mut self) -> Option<u128> {
        // Few numbers are longer than eight bytes, and sums of 128 bits take their time.
        let mut low = 0_u64;
        for shift in (0..56).step_by(7) {
            let byte = self.byte()?;
            low |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(u128::from(low));
            }
        }
        let mut value = u128::from(low);
        for shift in (56..126).step_by(7) {
            let byte = self.byte()?;
            value |= u128::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        self.wide()?.try_into().ok()
    }

    pub(super) fn near(&mut self, from: u64) -> Option<u64> {
        let value = self.wide()?;
        let distance = u64::try_from(value >> 1).ok()?;
        if value & 1 == 1 { from.checked_sub(distance) } else { from.checked_add(distance) }
    }

    pub(super) fn units(&mut self, units: &[u64]) -> Option<Option<u64>> {
        let Some(value) = self.wide()?.checked_sub(1) else { return Some(None) };
        let places = units.len() as u64 + 1;
        let (count, place) = match u64::try_from(value) {
            Ok(value) => (value / places, value % places),
            Err(_) => {
                let places = u128::from(places);
                (u64::try_from(value / places).ok()?, u64::try_from(value % places).ok()?)
            }
        };
        let unit = units.get(usize::try_from(place).ok()?).copied().unwrap_or(1);
        count.checked_mul(unit).map(Some)
    }

    pub(super) fn time(&mut self) -> Option<Option<Duration>> {
        Some(self.units(TIME)?.map(Duration::from_nanos))
    }

    pub(super) fn per_second(&mut self, window: Duration, of: fn(u64, Duration) -> f64) -> Option<f64> {
        let value = self.wide()?;
        if value & 1 == 0 {
            return u64::try_from(value >> 1).ok().map(|growth| of(growth, window));
        }
        let (raw, rest) = self.bytes.split_first_chunk::<8>()?;
        self.bytes = rest;
        Some(f64::from_le_bytes(*raw))
    }

    /// The next row as bytes of its own.
    pub(super) fn row(&mut self) -> Option<Self> {
        let (length, rest) = self.bytes.split_first_chunk::<2>()?;
        let (row, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        self.bytes = rest;
        Some(Self { bytes: row, base: self.base })
    }
}
