//! README's table of the agents' names, read: names of other systems, and where their values stand here.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde_json::Value;

/// A row.
#[derive(Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// Routes and what is there; none: absent.
    pub(crate) places: Vec<Place>,
}

/// One value.
#[derive(Debug, PartialEq)]
pub(crate) struct Place {
    pub(crate) route: String,
    /// A dotted path, or a series.
    pub(crate) path: String,
}

/// What README says of the agents' names.
pub(crate) fn section() -> &'static str {
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once("\n### The agents' names\n").expect("the section");
    section.split_once("\n## ").expect("a section after it").0
}

/// The rows of all tables.
///
/// # Panics
/// At a row that is none, and at one that names nothing and gives no reason.
pub(crate) fn rows(text: &str) -> Vec<Row> {
    let lines = text.lines().filter(|line| line.starts_with("| `"));
    lines.map(|line| row(line).unwrap_or_else(|| panic!("not a row: {line}"))).collect()
}

fn row(line: &str) -> Option<Row> {
    let cells: Vec<&str> = line.strip_prefix('|')?.strip_suffix('|')?.split(" | ").map(str::trim).collect();
    let [name, place, how] = cells[..] else { return None };
    let name = name.strip_prefix('`')?.strip_suffix('`')?.to_owned();
    if how.is_empty() {
        return None;
    }
    if place == "absent" {
        return Some(Row { name, places: Vec::new() });
    }
    let (mut route, mut places) = (None, Vec::new());
    for span in place.split('`').skip(1).step_by(2) {
        if span.starts_with('/') {
            route = Some(span);
        } else {
            places.push(Place { route: route?.to_owned(), path: span.to_owned() });
        }
    }
    (!places.is_empty()).then_some(Row { name, places })
}

/// Whether the document has it, and not as `null`.
pub(crate) fn has(document: &str, path: &str) -> bool {
    match serde_json::from_str(document) {
        Ok(json) => in_json(&json, path),
        Err(_) => in_series(document, path),
    }
}

fn in_json(value: &Value, path: &str) -> bool {
    let Some((step, rest)) = (!path.is_empty()).then(|| path.split_once('.').unwrap_or((path, ""))) else {
        return !value.is_null();
    };
    if step == "*" {
        return value.as_object().is_some_and(|object| object.values().any(|value| in_json(value, rest)));
    }
    let Some((key, wanted)) = step.strip_suffix(']').and_then(|step| step.split_once('[')) else {
        return value.get(step).is_some_and(|value| in_json(value, rest));
    };
    let is_wanted = |item: &Value| {
        wanted.split_once('=').is_none_or(|(key, wanted)| item.get(key).is_some_and(|value| value == wanted))
    };
    let items = value.get(key).and_then(Value::as_array).into_iter().flatten();
    items.filter(|item| is_wanted(item)).any(|item| in_json(item, rest))
}

fn in_series(text: &str, series: &str) -> bool {
    let (name, labels) = series.trim_end_matches('}').split_once('{').unwrap_or((series, ""));
    let labels: Vec<&str> = labels.split(',').filter(|label| !label.is_empty()).collect();
    text.lines().any(|line| {
        let of_it = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']));
        of_it.is_some_and(|rest| labels.iter().all(|label| rest.contains(label)))
    })
}

/// Rows whose name is in no list, and names without a row or with two.
pub(crate) fn differences(rows: &[Row], lists: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let known = |name: &str| lists.values().any(|names| names.contains(name));
    let strange =
        rows.iter().filter(|row| !known(&row.name)).map(|row| format!("{} is in no list", row.name));
    let names = lists.iter().flat_map(|(list, names)| names.iter().map(move |name| (list, name)));
    let missing = names.filter_map(|(list, name)| {
        let times = rows.iter().filter(|row| row.name == *name).count();
        (times != 1).then(|| format!("{name} of {list} has {times} rows"))
    });
    strange.chain(missing).collect()
}
