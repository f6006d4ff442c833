//! The table of the chart's values, from the comments in `values.yaml`.
//!
//! The file keeps to a small part of YAML, so that a comment has one place: each key on a line of its
//! own, a value that is not a section on the same line, and above each key a comment that says what it
//! is for.
//!
//! ```yaml
//! # The image.
//! image:
//!   # Tag; empty: the chart's `appVersion`.
//!   tag: ""
//! ```

use anyhow::{Context, Result, bail};

/// One value.
#[derive(Debug, PartialEq)]
pub(crate) struct Entry {
    /// Where it is: `image.tag`.
    pub(crate) path: String,
    /// Its default as it is written.
    pub(crate) default: String,
    /// What it is for.
    pub(crate) text: String,
}

/// All values, in the order of the file.
///
/// # Errors
/// A line that is none of the forms above, or a key without a comment.
pub(crate) fn parse(text: &str) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut sections: Vec<&str> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let at = || format!("values.yaml:{}: {line:?}", i + 1);
        let content = line.trim_start();
        if content.is_empty() {
            comment.clear();
        } else if let Some(said) = content.strip_prefix('#') {
            comment.push(said.trim());
        } else {
            let depth = (line.len() - content.len()) / 2;
            if depth > sections.len() {
                bail!("{}: in no section", at());
            }
            sections.truncate(depth);
            let (key, value) = content.split_once(':').with_context(|| format!("{}: no key", at()))?;
            if comment.is_empty() {
                bail!("{}: no comment above it says what it is for", at());
            }
            if value.trim().is_empty() {
                sections.push(key);
            } else {
                let path = sections.iter().chain([&key]).copied().collect::<Vec<_>>().join(".");
                entries.push(Entry { path, default: value.trim().to_owned(), text: comment.join(" ") });
            }
            comment.clear();
        }
    }
    Ok(entries)
}

/// The rows of a Markdown table.
pub(crate) fn table(entries: &[Entry]) -> String {
    let row = |entry: &Entry| {
        let (path, default, text) = (&entry.path, &entry.default, entry.text.replace('|', "\\|"));
        format!("| `{path}` | `{default}` | {text} |\n")
    };
    let head = "| value | default | what |\n|---|---|---|\n".to_owned();
    head + &entries.iter().map(row).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_its_path_its_default_and_its_comment() {
        let text = "# File.\n\n# The image.\nimage:\n  # Tag,\n  # or a|b.\n  tag: \"\"\n  # More.\n  deep:\n    # On.\n    on: true\n# Last.\nlast: {a: b}\n";
        let entries = parse(text).unwrap();
        let paths: Vec<_> = entries.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(paths, ["image.tag", "image.deep.on", "last"]);
        assert!(table(&entries).contains("| `image.tag` | `\"\"` | Tag, or a\\|b. |\n"));
        assert!(table(&entries).ends_with("| `last` | `{a: b}` | Last. |\n"));
    }

    #[test]
    fn a_value_without_a_comment_is_refused() {
        for (text, said) in [
            ("a: 1\n", "no comment"),
            ("# File.\n\na: 1\n", "no comment"),
            ("# A.\na:\n  b: 1\n", "no comment"),
            ("# A.\n- b\n", "no key"),
            ("# A.\n    b: 1\n", "in no section"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text:?}: {error}");
        }
    }
}
