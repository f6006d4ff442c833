//! The table of traps, held against the tests and fixtures it names.

use std::collections::BTreeMap;

/// Rows there have to be, T1 to this.
const LAST: usize = 60;

/// What is wrong with the table, and the traps that nothing shows yet. `files`: the Rust files by path;
/// `there`: whether something else exists.
pub(super) fn problems(
    table: &str,
    files: &BTreeMap<String, String>,
    there: impl Fn(&str) -> bool,
) -> (Vec<String>, Vec<String>) {
    let (mut found, mut open) = (Vec::new(), Vec::new());
    let mut numbers = Vec::new();
    for line in table.lines().filter(|line| line.starts_with("| T")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [number, name, what, shown] = cells[..] else {
            found.push(format!("tests/TRAPS.md: {line:?}: expected four cells"));
            continue;
        };
        numbers.push(number.to_owned());
        if name.is_empty() || what.is_empty() {
            found.push(format!("tests/TRAPS.md: {number}: what is it?"));
        }
        let named: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        let paths = named.iter().filter(|path| path.contains('/') && !path.starts_with('/'));
        let paths: Vec<&&str> = paths.collect();
        for path in &paths {
            let exists = match path.split_once("::") {
                Some((file, test)) => is_test(files, file, test),
                None => there(path),
            };
            if !exists {
                found.push(format!("tests/TRAPS.md: {number}: there is no {path}"));
            }
        }
        if shown.starts_with("not shown yet: ") {
            open.push(format!("{number} {name}: {shown}"));
        } else if paths.is_empty() && !shown.starts_with("cannot be here: ") {
            found.push(format!("tests/TRAPS.md: {number}: names no test and does not say why"));
        }
    }
    let expected: Vec<String> = (1..=LAST).map(|number| format!("T{number}")).collect();
    if numbers != expected {
        found.push(format!(
            "tests/TRAPS.md: expected T1 to T{LAST}, each once and in order, found {numbers:?}"
        ));
    }
    (found, open)
}

/// Whether that file has that test, and something runs it: an attribute, a `proptest!`, or the list of a
/// suite's `main.rs`.
fn is_test(files: &BTreeMap<String, String>, file: &str, test: &str) -> bool {
    let Some(text) = files.get(file) else { return false };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let called = [format!("fn {test}("), format!("fn {test}<")];
    let Some(at) = lines.iter().position(|line| called.iter().any(|called| line.contains(called))) else {
        return false;
    };
    let above = lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("///"));
    let attributed =
        above.clone().any(|line| ["#[test]", "#[tokio::test"].iter().any(|test| line.starts_with(test)));
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    let module = file.rsplit('/').next().unwrap_or(file).trim_end_matches(".rs");
    let listed = format!("{module}::{test},");
    let suite = files.get(&format!("{folder}/main.rs")).is_some_and(|main| main.contains(&listed));
    attributed || suite
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> BTreeMap<String, String> {
        [
            ("src/a.rs", "#[test]\n#[should_panic]\nfn it_holds() {}\nfn helper() {}"),
            (
                "tests/node/b.rs",
                "pub(crate) async fn it_is_so(stage: Arc<Stage>) {}\npub(crate) async fn idle(s: S) {}",
            ),
            ("tests/node/main.rs", "tests![\n    b::it_is_so,\n];"),
        ]
        .map(|(path, text)| (path.to_owned(), text.to_owned()))
        .into()
    }

    /// A table whose first rows end so.
    fn table(first: &[&str]) -> String {
        let row = |number: usize| {
            let shown = first.get(number - 1).unwrap_or(&"cannot be here: never seen");
            format!("| T{number} | name | what happens | {shown} |\n")
        };
        (1..=LAST).map(row).collect()
    }

    fn told(first: &[&str]) -> (Vec<String>, Vec<String>) {
        problems(&table(first), &files(), |path| path == "fixtures/there")
    }

    #[test]
    fn tests_that_run_and_fixtures_that_exist_are_welcome() {
        let fine = ["`src/a.rs::it_holds`", "`tests/node/b.rs::it_is_so`, `fixtures/there`"];
        assert_eq!(told(&fine), (vec![], vec![]));
        let (found, open) = told(&["not shown yet: no such kernel"]);
        assert_eq!((found, open), (vec![], vec!["T1 name: not shown yet: no such kernel".to_owned()]));
    }

    #[test]
    fn what_does_not_exist_or_does_not_run_is_found() {
        for bad in [
            "`src/a.rs::it_holds_too`",
            "`src/a.rs::helper`",
            "`src/b.rs::it_holds`",
            "`tests/node/b.rs::idle`",
            "`fixtures/elsewhere`",
            "cannot be here: see `src/a.rs::nowhere`",
        ] {
            assert_eq!(told(&[bad]).0.len(), 1, "{bad}");
        }
        assert_eq!(told(&["see the tests"]).0, ["tests/TRAPS.md: T1: names no test and does not say why"]);
    }

    #[test]
    fn a_row_that_is_missing_or_twice_or_has_other_cells_is_found() {
        let whole = table(&[]);
        let none = |_: &str| false;
        let (without, _) = whole.split_once("| T60").unwrap();
        assert_eq!(problems(without, &files(), none).0.len(), 1);
        assert_eq!(
            problems(&format!("{whole}| T1 | a | b | cannot be here: c |\n"), &files(), none).0.len(),
            1
        );
        assert_eq!(problems(&whole.replace("| T7 | name", "| T7 "), &files(), none).0.len(), 2);
        assert_eq!(problems(&whole.replace("| T7 | name", "| T7 |  "), &files(), none).0.len(), 1);
    }
}
