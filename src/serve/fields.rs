//! `?fields=` and `?sort=`: dotted paths into an object of the native documents.
//!
//! `name,cpu.cores,containers.memory` keeps those keys and the structure around them; a list on the
//! way is walked through. Under `labels` and `unavailable` the rest of the path is one key, dots and
//! all.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::Value;

use super::reply::quoted;
use super::schema::{Type, field};

/// The keys to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fields(BTreeMap<String, Branch>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Branch {
    Whole,
    Some(BTreeMap<String, Branch>),
}

impl Fields {
    /// Comma-separated paths into the object `of`.
    ///
    /// # Errors
    /// The path that leads nowhere, and where it could lead.
    pub(super) fn parse(text: &str, of: &str) -> Result<Self, String> {
        let mut keep = BTreeMap::new();
        for path in text.split(',').map(str::trim) {
            let (steps, _) = resolve(path, of).map_err(|error| format!("fields: {error}"))?;
            insert(&mut keep, &steps);
        }
        Ok(Self(keep))
    }

    /// Whether anything under `key` is kept.
    pub(super) fn names(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Drops all other keys.
    pub(super) fn prune(&self, object: &mut Value) {
        prune(&self.0, object);
    }
}

fn insert(keep: &mut BTreeMap<String, Branch>, steps: &[String]) {
    let Some((step, rest)) = steps.split_first() else { return };
    if rest.is_empty() {
        keep.insert(step.clone(), Branch::Whole);
        return;
    }
    if let Branch::Some(below) = keep.entry(step.clone()).or_insert_with(|| Branch::Some(BTreeMap::new())) {
        insert(below, rest);
    }
}

fn prune(keep: &BTreeMap<String, Branch>, value: &mut Value) {
    match value {
        Value::Object(object) => object.retain(|key, value| match keep.get(key) {
            None => false,
            Some(Branch::Whole) => true,
            Some(Branch::Some(below)) => {
                prune(below, value);
                true
            }
        }),
        Value::Array(items) => items.iter_mut().for_each(|item| prune(keep, item)),
        _ => {}
    }
}

/// The key to sort by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sort {
    steps: Vec<String>,
    descending: bool,
}

impl Sort {
    /// A path into the object `of`; with a leading `-` the largest comes first.
    ///
    /// # Errors
    /// Why one cannot sort by it.
    pub(super) fn parse(text: &str, of: &str) -> Result<Self, String> {
        let descending = text.starts_with('-');
        let path = text.strip_prefix('-').unwrap_or(text);
        let (steps, holds) = resolve(path, of).map_err(|error| format!("sort: {error}"))?;
        match holds {
            Some(Type::Object(name)) => {
                let inside = keys_of(name);
                Err(format!("sort: {} has several values; sort by one of {inside} below it", quoted(path)))
            }
            None | Some(Type::List(_) | Type::Map(_)) => {
                Err(format!("sort: {} has any number of values; sort by a single one", quoted(path)))
            }
            Some(_) => Ok(Self { steps, descending }),
        }
    }

    /// Sorts the objects; those without the key stay last, whatever the direction.
    pub(super) fn sort(&self, objects: &mut [Value]) {
        objects.sort_by(|a, b| match (self.key(a), self.key(b)) {
            (Some(a), Some(b)) if self.descending => compare(b, a),
            (Some(a), Some(b)) => compare(a, b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        });
    }

    fn key<'a>(&self, object: &'a Value) -> Option<&'a Value> {
        self.steps.iter().try_fold(object, |value, step| value.get(step))
    }
}

fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => match (a.as_u64(), b.as_u64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => a.as_f64().unwrap_or_default().total_cmp(&b.as_f64().unwrap_or_default()),
        },
    }
}

/// The steps of a path and what is at its end; `None` once it went through a list or a map.
fn resolve(path: &str, of: &str) -> Result<(Vec<String>, Option<Type>), String> {
    let mut steps = Vec::new();
    let mut holds = Type::Object(match_name(of));
    let mut single = true;
    let mut rest = Some(path);
    while let Some(text) = rest {
        while let Type::List(of) = holds {
            (holds, single) = (*of, false);
        }
        match holds {
            Type::Object(name) => {
                let (key, below) =
                    text.split_once('.').map_or((text, None), |(key, below)| (key, Some(below)));
                let found = field(name, key);
                let found = found.ok_or_else(|| unknown(path, key, name))?;
                steps.push(key.to_owned());
                (holds, rest) = (found.holds, below);
            }
            Type::Map(_) if !text.is_empty() => {
                steps.push(text.to_owned());
                (single, rest) = (false, None);
            }
            _ => return Err(format!("{} goes on below a single value", quoted(path))),
        }
    }
    Ok((steps, single.then_some(holds)))
}

/// The table's own copy of a name, which lives for ever.
fn match_name(of: &str) -> &'static str {
    super::schema::SCHEMAS.iter().find(|schema| schema.name == of).map_or("", |schema| schema.name)
}

fn unknown(path: &str, key: &str, of: &str) -> String {
    let whole = if path == key { String::new() } else { format!(" in {}", quoted(path)) };
    format!("no key {}{whole}; there is {}", quoted(key), keys_of(of))
}

fn keys_of(name: &str) -> String {
    let schema = super::schema::SCHEMAS.iter().find(|schema| schema.name == name);
    let keys: Vec<&str> =
        schema.into_iter().flat_map(|schema| schema.fields().map(|field| field.name)).collect();
    keys.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pruned(fields: &str, mut object: Value) -> Value {
        Fields::parse(fields, "Pod").unwrap().prune(&mut object);
        object
    }

    #[test]
    fn only_named_keys_are_kept_and_lists_are_walked_through() {
        let pod = json!({
            "name": "web", "cpu": { "cores": 0.5, "usageNanoseconds": 7 }, "memory": { "usageBytes": 1 },
            "containers": [{ "name": "a", "cpu": { "cores": 0.1, "limitCores": 1 } }, { "name": "b" }],
        });
        assert_eq!(
            pruned("name,cpu.cores,containers.cpu.cores", pod.clone()),
            json!({ "name": "web", "cpu": { "cores": 0.5 }, "containers": [{ "cpu": { "cores": 0.1 } }, {}] })
        );
        assert_eq!(
            pruned("cpu,cpu.cores", pod.clone()),
            json!({ "cpu": { "cores": 0.5, "usageNanoseconds": 7 } })
        );
        assert_eq!(pruned("cpu.cores, cpu", pod), json!({ "cpu": { "cores": 0.5, "usageNanoseconds": 7 } }));
    }

    #[test]
    fn keys_of_labels_may_have_dots() {
        let pod = json!({ "labels": { "app.kubernetes.io/name": "web", "app": "x" }, "unavailable": { "io.devices": "y" } });
        assert_eq!(
            pruned("labels.app.kubernetes.io/name,unavailable.io.devices", pod),
            json!({ "labels": { "app.kubernetes.io/name": "web" }, "unavailable": { "io.devices": "y" } })
        );
    }

    #[test]
    fn a_path_that_leads_nowhere_is_told_where_it_could_lead() {
        let error = |fields| Fields::parse(fields, "Pod").unwrap_err();
        assert!(
            error("cpu.core").starts_with("fields: no key \"core\" in \"cpu.core\"; there is timeUnixNano, ")
        );
        assert!(error("nonsense").starts_with("fields: no key \"nonsense\"; there is namespace, "));
        assert!(error("name.first").contains("goes on below a single value"));
        assert!(error("").starts_with("fields: no key \"\""));
        assert!(error("name,,uid").starts_with("fields: no key \"\""));
        assert!(error("labels.").contains("goes on below"));
    }

    #[test]
    fn objects_without_the_key_are_last_in_both_directions() {
        let sorted = |by| {
            let mut pods = vec![
                json!({ "name": "none" }),
                json!({ "name": "large", "cpu": { "usageNanoseconds": u64::MAX } }),
                json!({ "name": "small", "cpu": { "usageNanoseconds": u64::MAX - 1 } }),
            ];
            Sort::parse(by, "Pod").unwrap().sort(&mut pods);
            pods.iter().map(|pod| pod["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(sorted("cpu.usageNanoseconds"), ["small", "large", "none"]);
        assert_eq!(sorted("-cpu.usageNanoseconds"), ["large", "small", "none"]);
        assert_eq!(sorted("name"), ["large", "none", "small"]);
    }

    #[test]
    fn one_sorts_by_single_values_only() {
        for bad in ["cpu", "containers.cpu.cores", "labels", "labels.app", "identity", "", "-", "nonsense"] {
            assert!(Sort::parse(bad, "Pod").is_err(), "{bad:?}");
        }
    }
}
