//! When a certificate ends: a walk through its DER to `notAfter`, and no further.
//!
//! <https://www.rfc-editor.org/rfc/rfc5280#section-4.1>. rustls checks certificates but shows nothing
//! of them, and of all that a full parser could tell this one date is all we want.
//!
//! ```text
//! SEQUENCE { SEQUENCE { [0] version, serial, algorithm, issuer, SEQUENCE { notBefore, notAfter }, …
//! ```

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// Seconds since 1970 of `notAfter`; `None` if this is not a certificate.
pub(super) fn not_after(certificate: &[u8]) -> Option<u64> {
    let (whole, _) = expect(SEQUENCE, certificate)?;
    let (signed, _) = expect(SEQUENCE, whole)?;
    // Version 1 says nothing of its version.
    let signed = expect(VERSION, signed).map_or(signed, |(_, rest)| rest);
    let (_, rest) = expect(INTEGER, signed)?;
    let (_, rest) = expect(SEQUENCE, rest)?;
    let (_, rest) = expect(SEQUENCE, rest)?;
    let (validity, _) = expect(SEQUENCE, rest)?;
    let (_, _, rest) = element(validity)?;
    let (tag, time, _) = element(rest)?;
    seconds(tag, std::str::from_utf8(time).ok()?)
}

/// `491231235959Z` (two digits: 1950 to 2049) or `20501231235959Z`.
fn seconds(tag: u8, text: &str) -> Option<u64> {
    let long = match tag {
        UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%SZ", long).ok()?;
    let time = time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second();
    // Before 1970 nothing of ours was valid.
    Some(u64::try_from(time).unwrap_or(0))
}

/// The content of the first element, if it has this tag, and what follows it.
fn expect(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    element(der).and_then(|(found, content, rest)| (found == tag).then_some((content, rest)))
}

/// Tag, content and rest.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, der) = der.split_first()?;
    let (&first, der) = der.split_first()?;
    let (length, der) = match first {
        0..=0x7f => (usize::from(first), der),
        // The long form: how many bytes of length follow. Four hold any certificate.
        0x81..=0x84 => {
            let (length, der) = der.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), der)
        }
        _ => return None,
    };
    let (content, rest) = der.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn certificate(year: i32, month: u8, day: u8) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, month, day);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_last_second_is_read_from_both_forms_of_a_time() {
        // `date -u -d 2027-11-21 +%s`
        assert_eq!(not_after(&certificate(2027, 11, 21)), Some(1_826_755_200));
        // Two digits up to 2049, four from 2050 on.
        assert_eq!(not_after(&certificate(2049, 12, 31)), Some(2_524_521_600));
        assert_eq!(not_after(&certificate(2050, 1, 1)), Some(2_524_608_000));
        assert_eq!(not_after(&certificate(4096, 2, 29)), Some(67_095_216_000));
    }

    #[test]
    fn a_time_of_day_counts() {
        assert_eq!(seconds(UTC_TIME, "261121010203Z"), Some(1_795_222_923));
        assert_eq!(seconds(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(seconds(UTC_TIME, "500101000000Z"), Some(0));
        for (tag, text) in [(UTC_TIME, "2611210102Z"), (GENERALIZED_TIME, "20261321010203Z"), (INTEGER, "1")]
        {
            assert_eq!(seconds(tag, text), None, "{text}");
        }
    }

    #[test]
    fn every_cut_of_a_certificate_is_refused_or_right() {
        let whole = certificate(2027, 11, 21);
        for end in 0..whole.len() {
            assert_eq!(not_after(&whole[..end]), None, "the outer length says that bytes are missing");
        }
        for at in 0..200 {
            let mut bent = whole.clone();
            bent[at] ^= 0x81;
            let _ = not_after(&bent);
        }
        assert_eq!(not_after(b""), None);
        assert_eq!(not_after(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
