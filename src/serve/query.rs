//! The query part of a native route: what may be asked, and a clear no to everything else.

use std::time::Duration;

use super::fields::{Fields, Sort};
use super::reply::{Refusal, quoted};
use super::selector::Selector;
use crate::config::parse_duration;

/// What a client asked of a native route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    /// `?namespace=`: pods of this namespace only.
    pub(super) namespace: Option<String>,
    /// `?fields=`: these keys only.
    pub(super) fields: Option<Fields>,
    /// `?sort=`: in this order.
    pub(super) sort: Option<Sort>,
    /// `?labelSelector=`: pods with these labels only.
    pub(super) selector: Selector,
    /// `?window=`: over this time.
    pub(super) window: Option<Duration>,
}

impl Query {
    /// Reads `raw`, the text after the `?`. `allowed` are the parameters of the route; `of` is the
    /// object that paths lead into.
    ///
    /// # Errors
    /// 400 that names the parameter and what would do.
    pub(super) fn parse(raw: &str, allowed: &[&str], of: &str) -> Result<Self, Refusal> {
        let mut query = Self::default();
        let mut seen: Vec<String> = Vec::new();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(name), Some(value)) = (decoded(name), decoded(value)) else {
                return Err(Refusal::bad_request(format!("{} is not percent-encoded UTF-8", quoted(pair))));
            };
            if !allowed.contains(&name.as_str()) {
                let known = if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") };
                let name = quoted(&name);
                return Err(Refusal::bad_request(format!(
                    "unknown parameter {name}; this route knows: {known}"
                )));
            }
            if seen.contains(&name) {
                return Err(Refusal::bad_request(format!("parameter {name} is given twice")));
            }
            query.set(&name, &value, of).map_err(Refusal::bad_request)?;
            seen.push(name);
        }
        Ok(query)
    }

    fn set(&mut self, name: &str, value: &str, of: &str) -> Result<(), String> {
        match name {
            "namespace" => self.namespace = Some(namespace(value)?),
            "fields" => self.fields = Some(Fields::parse(value, of)?),
            "sort" => self.sort = Some(Sort::parse(value, of)?),
            "labelSelector" => self.selector = Selector::parse(value)?,
            "window" => self.window = Some(window(value)?),
            _ => return Err(format!("parameter {name} is not served yet")),
        }
        Ok(())
    }

    /// Whether the document is the one everybody gets.
    pub(super) fn is_default(&self) -> bool {
        self == &Self::default()
    }
}

/// At least one sweep, and no more than a day, which is more than is ever kept.
fn window(text: &str) -> Result<Duration, String> {
    let sensible = Duration::from_millis(100)..=Duration::from_secs(24 * 3600);
    let window = parse_duration(text).filter(|window| sensible.contains(window));
    window.ok_or_else(|| {
        format!("window: {} cannot be one; expected a duration such as 30s or 5m", quoted(text))
    })
}

/// A DNS label, as Kubernetes has it.
fn namespace(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !text.is_empty() && text.len() <= 63 && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    Err(format!("namespace: {} cannot be one; expected at most 63 of a-z, 0-9 and -", quoted(text)))
}

/// Undoes percent-encoding and `+`; `None` if the result is not UTF-8 or a `%` stands alone.
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => hex(rest.next()?)? << 4 | hex(rest.next()?)?,
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// A part of a path, in which unlike in a query `+` is itself. What cannot be decoded stands as it came: nothing
/// has such a name.
pub(super) fn decoded_in_path(text: &str) -> String {
    decoded(&text.replace('+', "%2B")).unwrap_or_else(|| text.to_owned())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[&str] = &["namespace", "fields", "sort", "labelSelector", "window"];

    fn refused(raw: &str) -> String {
        format!("{:?}", Query::parse(raw, ALL, "Pod").unwrap_err())
    }

    #[test]
    fn an_empty_query_is_the_default_one() {
        assert!(Query::parse("", ALL, "Pod").unwrap().is_default());
        assert!(Query::parse("&", ALL, "Pod").unwrap().is_default());
        assert!(Query::parse("labelSelector=", ALL, "Pod").unwrap().is_default());
        assert!(!Query::parse("sort=name", ALL, "Pod").unwrap().is_default());
    }

    #[test]
    fn values_are_percent_decoded() {
        let query = Query::parse("labelSelector=app+in+%28web%2Cdb%29&namespace=a-1", ALL, "Pod").unwrap();
        assert_eq!(query.selector, Selector::parse("app in (web,db)").unwrap());
        assert_eq!(query.namespace.as_deref(), Some("a-1"));
    }

    #[test]
    fn what_is_not_known_is_named_with_what_is() {
        let error = refused("Namespace=x");
        assert!(
            error.contains(r#"unknown parameter \"Namespace\"; this route knows: namespace, fields"#),
            "{error}"
        );
        assert!(refused("windows=30s").contains("unknown parameter"));
        assert!(refused("sort=name&sort=uid").contains("given twice"));
        let error = format!("{:?}", Query::parse("fields=name", &[], "Map").unwrap_err());
        assert!(error.contains("this route knows: none"), "{error}");
    }

    #[test]
    fn a_window_is_a_duration_of_a_sweep_or_more() {
        let window = |raw| Query::parse(raw, ALL, "Pod").unwrap().window;
        assert_eq!(window("window=1.5m"), Some(Duration::from_secs(90)));
        assert_eq!(window(""), None);
        for bad in
            ["window=", "window=30", "window=0s", "window=99ms", "window=25h", "window=-1s", "window=all"]
        {
            assert!(refused(bad).contains("a duration such as 30s"), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_decoded_is_refused() {
        for bad in
            ["fields=%", "fields=%2", "fields=%zz", "%ff=1", "namespace=%00", "namespace=", "namespace=../x"]
        {
            let _ = refused(bad);
        }
    }
}
