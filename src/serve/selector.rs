//! `?labelSelector=` as `kubectl -l` has it.
//!
//! <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>
//! ```text
//! app=web,tier!=cache,env in (prod, staging),track notin (canary),!legacy,owner
//! ```

use std::collections::BTreeMap;

use super::reply::quoted;

/// All of its requirements must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Exists,
    Absent,
    In(Vec<String>),
    /// As in Kubernetes this holds, too, where there is no such label.
    NotIn(Vec<String>),
}

impl Selector {
    /// # Errors
    /// The requirement that cannot be read.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut requirements = Vec::new();
        if !text.trim().is_empty() {
            for one in split(text) {
                let requirement = Requirement::parse(one.trim());
                requirements.push(requirement.ok_or_else(|| {
                    format!(
                        "labelSelector: cannot read {}; expected key, !key, key=value, key!=value, \
                         key in (a,b) or key notin (a,b), separated by commas",
                        quoted(one.trim())
                    )
                })?);
            }
        }
        Ok(Self(requirements))
    }

    /// Whether it selects everything, pods whose labels are unknown included.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all requirements hold.
    pub(super) fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|Requirement { key, test }| {
            let value = labels.get(key);
            match test {
                Test::Exists => value.is_some(),
                Test::Absent => value.is_none(),
                Test::In(values) => value.is_some_and(|value| values.contains(value)),
                Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            }
        })
    }
}

/// At the commas outside parentheses.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_u32;
    text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
}

impl Requirement {
    fn parse(text: &str) -> Option<Self> {
        if let Some(key) = text.strip_prefix('!') {
            return Self::new(key, Test::Absent);
        }
        if let Some((left, list)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) {
            let values = list.split(',').map(value).collect::<Option<_>>()?;
            let (key, operator) = left.trim().rsplit_once(char::is_whitespace)?;
            return match operator {
                "in" => Self::new(key, Test::In(values)),
                "notin" => Self::new(key, Test::NotIn(values)),
                _ => None,
            };
        }
        if let Some((key, unwanted)) = text.split_once("!=") {
            return Self::new(key, Test::NotIn(vec![value(unwanted)?]));
        }
        match text.split_once('=') {
            Some((key, wanted)) => {
                Self::new(key, Test::In(vec![value(wanted.strip_prefix('=').unwrap_or(wanted))?]))
            }
            None => Self::new(text, Test::Exists),
        }
    }

    fn new(key: &str, test: Test) -> Option<Self> {
        let key = key.trim();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
        let key = (!key.is_empty() && key.bytes().all(fits)).then(|| key.to_owned())?;
        Some(Self { key, test })
    }
}

fn value(text: &str) -> Option<String> {
    let text = text.trim();
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.bytes().all(fits).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(selector: &str) -> bool {
        let labels = [("app", "web"), ("k8s.io/part-of", "shop"), ("empty", "")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        Selector::parse(selector).unwrap().selects(&labels)
    }

    #[test]
    fn each_operator_selects_as_kubectl_does() {
        for holds in [
            "",
            "app",
            "app=web",
            "app==web",
            "app = web",
            "app!=db",
            "!tier",
            "tier!=cache",
            "tier notin (cache)",
            "app in (db, web)",
            "app in(web)",
            "k8s.io/part-of=shop,app",
            "empty=",
            "app in (web),k8s.io/part-of notin (a,b),!x",
        ] {
            assert!(selects(holds), "{holds:?} should select");
        }
        for fails in
            ["app=db", "!app", "app!=web", "tier", "app notin (web)", "app in (db)", "app=web,tier", "tier="]
        {
            assert!(!selects(fails), "{fails:?} should not select");
        }
    }

    #[test]
    fn what_kubectl_refuses_is_refused() {
        for bad in [
            "=web",
            "app=we b",
            "app in web",
            "app in (a",
            "a b",
            ",",
            "app,",
            "!",
            "app>1",
            "(a)",
            "ä=b",
            "a=b=c",
        ] {
            let error = Selector::parse(bad).unwrap_err();
            assert!(error.starts_with("labelSelector: cannot read"), "{bad}: {error}");
        }
    }

    #[test]
    fn every_cut_of_a_selector_is_read_or_refused() {
        let whole = "app=web,tier!=cache,env in (prod, staging),track notin (canary),!legacy,owner";
        for end in 0..whole.len() {
            let _ = Selector::parse(&whole[..end]);
        }
    }
}
