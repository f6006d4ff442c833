//! A document of another program beside two of ours, of the same thing at the same time.

use std::collections::BTreeMap;

use serde_json::Value;

/// How the documents of one program are compared, and what came of it.
pub(crate) struct Beside<'a> {
    /// How far a number at a path (`.stats[].memory.usage`) may lie beyond ours.
    pub(crate) slack: &'a dyn Fn(&str) -> f64,
    /// Whether what is at that path is not compared, for ours does without it or tells something else.
    pub(crate) is_apart: &'a dyn Fn(&str, &Value) -> bool,
    pub(crate) wrong: Vec<String>,
}

impl Beside<'_> {
    /// How many figures of `theirs` were found in both of `ours`, the older first, each between the two.
    pub(crate) fn compare(&mut self, path: &str, ours: [&Value; 2], theirs: &Value) -> usize {
        match theirs {
            _ if (self.is_apart)(path, theirs) => return 0,
            Value::Object(object) => {
                let of = |key: &String| (ours.map(|of| of.get(key)), format!("{path}.{key}"));
                let each = object.iter().map(|(key, value)| {
                    let (ours, path) = of(key);
                    self.compare_known(&path, ours, value)
                });
                return each.sum();
            }
            Value::Array(list) => {
                let long = |of: &Value| of.as_array().map_or(0, Vec::len);
                // One whose items have no names is the same from end to end.
                if list.first().is_some_and(Value::is_number) && ours.iter().any(|of| long(of) != list.len())
                {
                    self.wrong.push(format!("{path}: {ours:?}, but {theirs}"));
                }
                let (ours, path) = (ours.map(by_identity), format!("{path}[]"));
                let theirs = list.iter().enumerate().map(|(at, item)| (identity(at, item), item));
                let of = |identity: &String| ours.each_ref().map(|of| of.get(identity).copied());
                return theirs.map(|(known, item)| self.compare_known(&path, of(&known), item)).sum();
            }
            _ => {}
        }
        let numbers = (ours.map(Value::as_f64), theirs.as_f64());
        if let ([Some(before), Some(after)], Some(number)) = numbers {
            let slack = (self.slack)(path);
            let between = before.min(after) - slack..=before.max(after) + slack;
            if !between.contains(&number) {
                self.wrong.push(format!("{path} is {theirs}, not {between:?}"));
            }
            return 1;
        }
        if ours.iter().any(|ours| *ours != theirs) {
            self.wrong.push(format!("{path}: {ours:?}, but {theirs}"));
        }
        0
    }

    /// # Panics
    /// If something is not as it is there.
    pub(crate) fn check(&self) {
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
    }

    fn compare_known(&mut self, path: &str, ours: [Option<&Value>; 2], theirs: &Value) -> usize {
        if let [Some(before), Some(after)] = ours {
            return self.compare(path, [before, after], theirs);
        }
        if !(self.is_apart)(path, theirs) {
            self.wrong.push(format!("no {path}, but {theirs}: {ours:?}"));
        }
        0
    }
}

/// The items of a list by what tells them apart.
fn by_identity(list: &Value) -> BTreeMap<String, &Value> {
    let items = list.as_array().into_iter().flatten();
    items.enumerate().map(|(at, item)| (identity(at, item), item)).collect()
}

fn identity(at: usize, item: &Value) -> String {
    match (item.get("name"), item.get("major"), item.get("minor")) {
        (Some(name), ..) => name.to_string(),
        (_, Some(major), Some(minor)) => format!("{major}:{minor}"),
        _ => at.to_string(),
    }
}
