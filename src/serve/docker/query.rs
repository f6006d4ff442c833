//! What a client of Docker asks for after the `?`, read as the Engine reads it (pure).
//!
//! A parameter that is not known is ignored. A boolean is false when it is absent or empty, `0`, `no`, `false`
//! or `none` in any case, and true otherwise. `filters` is JSON, in one of two forms:
//!
//! ```text
//! {"label":{"app=web":true},"status":{"running":true}}
//! {"label":["app=web"],"status":["running"]}
//! ```

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::query::decoded;
use super::super::reply::{Refusal, quoted};
use super::pattern::Pattern;

/// The parameters, each as it was last given.
#[derive(Clone, Debug, Default)]
pub(in crate::serve) struct Query(BTreeMap<String, String>);

/// The values that are asked for, by what they are about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filters(BTreeMap<String, Vec<String>>);

impl Query {
    /// Reads the text after the `?`.
    ///
    /// # Errors
    /// 400 if it is not percent-encoded UTF-8.
    pub(in crate::serve) fn parse(raw: &str) -> Result<Self, Refusal> {
        let mut query = Self::default();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(name), Some(value)) = (decoded(name), decoded(value)) else {
                return Err(Refusal::bad_request(format!("invalid URL escape {}", quoted(pair))));
            };
            // As Go's `FormValue`: of several the first.
            query.0.entry(name).or_insert(value);
        }
        Ok(query)
    }

    /// A value that is there and not empty.
    pub(in crate::serve) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A boolean, or what it is unless it is given.
    pub(super) fn is(&self, name: &str, otherwise: bool) -> bool {
        self.0.get(name).map_or(otherwise, |value| {
            !matches!(value.trim().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
        })
    }

    /// A number; 0 and less are none.
    pub(super) fn limit(&self) -> Result<Option<usize>, Refusal> {
        let Some(text) = self.get("limit") else { return Ok(None) };
        let number: i64 = text.parse().map_err(|_| not_a_number("Atoi", text))?;
        Ok(usize::try_from(number).ok().filter(|limit| *limit > 0))
    }

    /// A time in seconds since 1970, with a fraction or without, in nanoseconds.
    pub(super) fn time(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        let number = |digits: &str| digits.parse::<u64>().map_err(|_| not_a_number("ParseInt", text));
        let nanos = if fraction.is_empty() { 0 } else { number(&format!("{fraction:0<9.9}"))? };
        Ok(Some(number(seconds)?.saturating_mul(1_000_000_000).saturating_add(nanos)))
    }

    /// What is asked for.
    ///
    /// # Errors
    /// 400 if it is not of one of the two forms.
    pub(super) fn filters(&self) -> Result<Filters, Refusal> {
        let Some(text) = self.get("filters") else { return Ok(Filters::default()) };
        let refused = || Refusal::bad_request(format!("invalid filter {}", quoted(text)));
        let Ok(Value::Object(about)) = serde_json::from_str(text) else { return Err(refused()) };
        let mut filters = Filters::default();
        for (name, values) in about {
            let values: Option<Vec<String>> = match values {
                Value::Object(values) => Some(values.into_iter().map(|(value, _)| value).collect()),
                Value::Array(values) => {
                    values.into_iter().map(|value| value.as_str().map(str::to_owned)).collect()
                }
                _ => None,
            };
            filters.0.insert(name, values.ok_or_else(refused)?);
        }
        Ok(filters)
    }
}

fn not_a_number(function: &str, text: &str) -> Refusal {
    Refusal::bad_request(format!("strconv.{function}: parsing {}: invalid syntax", quoted(text)))
}

/// A filter, or a value of one, that cannot be answered.
pub(super) fn invalid_filter(name: &str, value: Option<&str>) -> Refusal {
    let said = value.map_or_else(|| name.to_owned(), |value| format!("{name}={value}"));
    let said: String = said.chars().take(80).collect();
    Refusal::bad_request(format!("invalid filter '{said}'"))
}

impl Filters {
    /// What is asked about.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// What is asked of it; nothing if anything will do.
    pub(super) fn of(&self, name: &str) -> &[String] {
        self.0.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether one of the values will do, or none is asked for.
    pub(super) fn any(&self, name: &str, fits: impl Fn(&str) -> bool) -> bool {
        let values = self.of(name);
        values.is_empty() || values.iter().any(|value| fits(value))
    }

    /// Labels: all that are asked for must be there, `name` or `name=value`.
    pub(super) fn labels<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.of("label").iter().all(|wanted| match wanted.split_once('=') {
            Some((name, value)) => get(name) == Some(value),
            None => get(wanted).is_some(),
        })
    }

    /// The values as patterns.
    ///
    /// # Errors
    /// 400 if one of them says what cannot be looked for here.
    pub(super) fn patterns(&self, name: &str) -> Result<Vec<Pattern>, Refusal> {
        let pattern = |text: &String| Pattern::parse(text).ok_or_else(|| invalid_filter(name, Some(text)));
        self.of(name).iter().map(pattern).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(raw: &str) -> Query {
        Query::parse(raw).unwrap()
    }

    #[test]
    fn booleans_are_what_the_engine_takes_them_for() {
        for (raw, is) in [
            ("stream=false", false),
            ("stream=False", false),
            ("stream=0", false),
            ("stream=no", false),
            ("stream=None", false),
            ("stream=", false),
            ("stream", false),
            ("stream=%20FALSE%20", false),
            ("stream=true", true),
            ("stream=1", true),
            ("stream=maybe", true),
            ("", true),
            ("other=false", true),
            ("stream=1&stream=0", true),
        ] {
            assert_eq!(query(raw).is("stream", true), is, "{raw:?}");
        }
    }

    #[test]
    fn filters_have_two_forms_and_anything_else_is_refused() {
        let filters = |json: &str| query(&format!("filters={json}")).filters();
        let both =
            [r#"{"name":{"a":true,"b":false}}"#, r#"{"name":["a","b"]}"#].map(|form| filters(form).unwrap());
        assert_eq!(both[0], both[1]);
        assert_eq!(both[0].of("name"), ["a", "b"]);
        assert!(filters("").unwrap().any("name", |_| false), "nothing is asked for");
        for bad in ["x", "[]", "1", r#"{"name":"a"}"#, r#"{"name":[1]}"#, r#"{"name":"#, "null"] {
            assert!(filters(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn all_labels_must_be_there_and_one_of_the_names() {
        let filters = query(r#"filters={"label":["a=1","b"],"status":["x","y"]}"#).filters().unwrap();
        let with = |b: bool| {
            filters.labels(|name| match name {
                "a" => Some("1"),
                "b" if b => Some(""),
                _ => None,
            })
        };
        assert_eq!((with(true), with(false)), (true, false));
        assert!(filters.any("status", |value| value == "y") && !filters.any("status", |value| value == "z"));
    }

    #[test]
    fn times_are_seconds_with_nine_digits_at_most() {
        let time = |text: &str| query(&format!("since={text}")).time("since");
        assert_eq!(time("12").unwrap(), Some(12_000_000_000));
        assert_eq!(time("12.5").unwrap(), Some(12_500_000_000));
        assert_eq!(time("12.000000001").unwrap(), Some(12_000_000_001));
        assert_eq!(time("12.0000000019").unwrap(), Some(12_000_000_001));
        assert_eq!(time("").unwrap(), None);
        for bad in ["x", "-1", "1.x", "1.2.3", "é", "1.é"] {
            assert!(time(bad).is_err(), "{bad}");
        }
        assert!(query("limit=x").limit().is_err());
        assert_eq!(
            [query("limit=-1"), query("limit=0"), query("limit=3")].map(|it| it.limit().unwrap()),
            [None, None, Some(3)]
        );
    }
}
