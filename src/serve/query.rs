//! The query part of a native route: what may be asked, and a clear no to everything else.

use super::fields::{Fields, Sort};
use super::reply::{Refusal, quoted};
use super::selector::Selector;

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
            _ => return Err(format!("parameter {name} is not served yet")),
        }
        Ok(())
    }

    /// Whether the document is the one everybody gets.
    pub(super) fn is_default(&self) -> bool {
        self == &Self::default()
    }
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
fn decoded(text: &str) -> Option<String> {
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

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[&str] = &["namespace", "fields", "sort", "labelSelector"];

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
        assert!(refused("window=30s").contains("unknown parameter"));
        assert!(refused("sort=name&sort=uid").contains("given twice"));
        let error = format!("{:?}", Query::parse("fields=name", &[], "Map").unwrap_err());
        assert!(error.contains("this route knows: none"), "{error}");
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
