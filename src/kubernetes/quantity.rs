//! Kubernetes's quantities (pure): `100m`, `1.5`, `64Mi`, `129e6`.
//!
//! As <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/> says: a decimal
//! number, and one suffix of `n u m k M G T P E`, of `Ki Mi Gi Ti Pi Ei`, or an exponent `e3`, `E-3`. What
//! is finer than a billionth is rounded up, as there.

/// A quantity that is not negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Quantity {
    nanos: u128,
}

const NANOS: u128 = 1_000_000_000;

/// More digits than any quantity has; so many always fit.
const MOST_DIGITS: usize = 24;

impl Quantity {
    /// `None` for what is no quantity, negative, or larger than any.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('+').unwrap_or(text);
        let number = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(number);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = whole.len() + fraction.len();
        if digits == 0 || digits > MOST_DIGITS || fraction.contains('.') {
            return None;
        }
        let mantissa: u128 = format!("{whole}{fraction}").parse().ok()?;
        let (factor, exponent) = scale(suffix)?;
        let exponent = exponent.checked_add(9)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
        let scaled = mantissa.checked_mul(factor)?;
        let power = 10u128.checked_pow(exponent.unsigned_abs());
        let nanos = match (power, exponent >= 0) {
            _ if scaled == 0 => 0,
            (Some(power), true) => scaled.checked_mul(power)?,
            (Some(power), false) => scaled.div_ceil(power),
            (None, true) => return None,
            (None, false) => 1,
        };
        (nanos <= u128::from(u64::MAX) * NANOS).then_some(Self { nanos })
    }

    /// For example cores.
    #[expect(clippy::cast_precision_loss, reason = "a number of cores has few digits")]
    pub(super) fn number(self) -> f64 {
        self.nanos as f64 / 1e9
    }

    /// For example bytes, rounded up.
    pub(super) fn whole(self) -> u64 {
        u64::try_from(self.nanos.div_ceil(NANOS)).unwrap_or(u64::MAX)
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self { nanos: self.nanos.saturating_add(other.nanos) }
    }
}

/// A factor and a power of ten.
fn scale(suffix: &str) -> Option<(u128, i32)> {
    Some(match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        exponent => (1, exponent.strip_prefix(['e', 'E'])?.parse::<i8>().ok()?.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(text: &str) -> Option<u128> {
        Quantity::parse(text).map(|quantity| quantity.nanos)
    }

    #[test]
    fn every_way_to_write_one_is_read() {
        let expected = [
            ("0", 0),
            ("1", NANOS),
            ("+1", NANOS),
            ("1.", NANOS),
            (".5", NANOS / 2),
            ("1.5", NANOS * 3 / 2),
            ("100m", NANOS / 10),
            ("250u", 250_000),
            ("7n", 7),
            ("1k", NANOS * 1_000),
            ("129M", NANOS * 129_000_000),
            ("129e6", NANOS * 129_000_000),
            ("129E+6", NANOS * 129_000_000),
            ("5e-3", NANOS / 200),
            ("123Mi", NANOS * 123 * 1_048_576),
            ("1.5Gi", NANOS * 1_610_612_736),
            ("128974848000m", NANOS * 128_974_848),
            ("2Ei", NANOS * (2 << 60)),
        ];
        for (text, is) in expected {
            assert_eq!(nanos(text), Some(is), "{text}");
        }
    }

    #[test]
    fn what_is_finer_than_a_billionth_is_rounded_up() {
        assert_eq!(nanos("0.1n"), Some(1));
        assert_eq!(nanos("1e-128"), Some(1));
        assert_eq!(nanos("0e-128"), Some(0));
        assert_eq!(Quantity::parse("1n").unwrap().whole(), 1);
    }

    #[test]
    fn nonsense_is_refused() {
        let wrong = [
            "",
            ".",
            "-1",
            "m",
            "Mi",
            "1 Mi",
            "1MiB",
            "1Mib",
            "1K",
            "1e",
            "1e+",
            "1e3m",
            "1e1000",
            "1..2",
            "1.2.3",
            "0x10",
            "1_000",
            "∞",
            "NaN",
            "1é",
            "99E",
            "1e30",
            "1234567890123456789012345",
        ];
        for text in wrong {
            assert_eq!(nanos(text), None, "{text}");
        }
    }

    #[test]
    fn every_cut_of_one_is_read_or_refused() {
        for whole in ["128974848000m", "+1.50Gi", "129E+6"] {
            for end in 0..=whole.len() {
                if let Some(quantity) = Quantity::parse(&whole[..end]) {
                    assert!(quantity.number() >= 0.0 && quantity.number().is_finite());
                }
            }
        }
    }

    #[test]
    fn a_tenth_of_a_core_is_the_number_people_write() {
        assert_eq!(Quantity::parse("100m").unwrap().number(), 0.1);
        assert_eq!(Quantity::parse("64Mi").unwrap().whole(), 67_108_864);
    }
}
