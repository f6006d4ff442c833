//! What heapster's clients ask for after the `?` (pure).
//!
//! ```text
//! ?start=2026-11-21T01:02:03Z&end=2026-11-21T01:03:03.5%2B01:00&labels=resource_id:254:0
//! ```
//!
//! As Go reads them: of several of one name the first counts, an empty one is none, and what is not known is ignored.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::super::query::decoded;
use super::super::reply::{Refusal, quoted};

/// Which points are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    /// The first instant, in nanoseconds since 1970.
    pub(super) start: i128,
    /// The last one.
    pub(super) end: i128,
    /// Of a metric with labels, the one with just these.
    pub(super) labels: Option<BTreeMap<String, String>>,
}

impl Query {
    /// Reads the text after the `?`.
    ///
    /// # Errors
    /// 400 for a time that is none, or labels that are none.
    pub(super) fn parse(raw: &str) -> Result<Self, Refusal> {
        let mut given: BTreeMap<String, String> = BTreeMap::new();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(name), Some(value)) = (decoded(name), decoded(value)) else {
                return Err(Refusal::bad_request(format!("invalid URL escape {}", quoted(pair))));
            };
            given.entry(name).or_insert(value);
        }
        let get = |name: &str| given.get(name).map(String::as_str).filter(|value| !value.is_empty());
        Ok(Self {
            start: get("start").map(time).transpose()?.unwrap_or(i128::MIN),
            end: get("end").map(time).transpose()?.unwrap_or(i128::MAX),
            labels: get("labels").map(labels).transpose()?,
        })
    }
}

fn time(text: &str) -> Result<i128, Refusal> {
    let time = Some(text).filter(|text| is_rfc3339(text)).and_then(|text| text.parse::<Timestamp>().ok());
    let refused = || {
        let text = quoted(text);
        Refusal::bad_request(format!("timestamp argument cannot be parsed: {text} is not of RFC 3339"))
    };
    time.map(Timestamp::as_nanosecond).ok_or_else(refused)
}

/// `2006-01-02T15:04:05`, perhaps with a fraction, and `Z` or `+07:00`: the parser alone takes more than that.
fn is_rfc3339(text: &str) -> bool {
    let Some((first, rest)) = text.split_at_checked("2006-01-02T15:04:05".len()) else { return false };
    let fits = |form: &str, text: &str| {
        form.len() == text.len()
            && form.bytes().zip(text.bytes()).all(|(form, byte)| match form {
                b'0' => byte.is_ascii_digit(),
                other => other == byte,
            })
    };
    let zone = rest.strip_prefix('.').map_or(rest, |rest| {
        let after = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
        // A dot without a digit is no fraction.
        if after.len() == rest.len() { "" } else { after }
    });
    fits("0000-00-00T00:00:00", first) && (zone == "Z" || fits("+00:00", zone) || fits("-00:00", zone))
}

fn labels(text: &str) -> Result<BTreeMap<String, String>, Refusal> {
    let pair = |pair: &str| {
        let (key, value) = pair.split_once(':')?;
        Some((key.to_owned(), value.to_owned()))
    };
    let labels: Option<BTreeMap<String, String>> = text.split(',').map(pair).collect();
    labels.ok_or_else(|| {
        Refusal::bad_request(format!(
            "labels cannot be parsed: {} is not of the form k:v,k2:v2",
            quoted(text)
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_rfc_3339_and_no_others() {
        let start = |text: &str| Query::parse(&format!("start={text}")).map(|query| query.start);
        for (text, seconds) in [
            ("1970-01-01T00:00:01Z", 1),
            ("1970-01-01T01:00:02%2B01:00", 2),
            ("1969-12-31T23:00:03-01:00", 3),
            ("1970-01-01T00:00:04.000Z", 4),
            ("0001-01-01T00:00:00Z", -62_135_596_800_i64),
        ] {
            assert_eq!(start(text).unwrap(), i128::from(seconds) * 1_000_000_000, "{text}");
        }
        assert_eq!(start("1970-01-01T00:00:00.123456789Z").unwrap(), 123_456_789);
        for bad in [
            "x",
            "1970-01-01",
            "1970-01-01T00:00:01",
            "1970-01-01%2000:00:01Z",
            "1970-01-01T00:00:01+01:00",
            "1970-13-01T00:00:01Z",
            "1970-01-01T00:00:01.Z",
            "1970-01-01T00:00:01,5Z",
            "1970-01-01T00:00:01z",
            "1970-01-01T00:00:01Z[Europe/Paris]",
            "1970-01-01T00:00:01-00",
            "1795222923",
            "%ff",
            "%E2%82%AC%E2%82%AC%E2%82%AC%E2%82%AC%E2%82%AC%E2%82%AC%E2%82%AC",
        ] {
            assert!(start(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn without_a_query_everything_is_wanted() {
        let everything = Query { start: i128::MIN, end: i128::MAX, labels: None };
        for raw in ["", "start=&end=", "pretty=true", "&"] {
            assert_eq!(Query::parse(raw).unwrap(), everything, "{raw}");
        }
        let labels = Query::parse("labels=resource_id:254:0,k:&labels=x").unwrap().labels.unwrap();
        let pairs: Vec<(&str, &str)> =
            labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("k", ""), ("resource_id", "254:0")]);
        assert!(Query::parse("labels=x").is_err() && Query::parse("labels=a:b,").is_err());
    }
}
