//! README and CHANGELOG, held against the code they speak of.

use super::rules::ROOMS;

/// Knobs that no row of a README table names by flag, variable and default.
pub(super) fn unnamed_knobs(readme: &str, knobs: &[(String, String, String)]) -> Vec<String> {
    let rows: Vec<&str> = readme.lines().filter(|line| line.starts_with('|')).collect();
    let named = |flag: &str, variable: &str, default: &str| {
        let cells = [format!("`--{flag}`"), format!("`{variable}`"), format!("`{default}`")];
        let cells = if default.is_empty() { &cells[..2] } else { &cells[..] };
        rows.iter().any(|row| cells.iter().all(|cell| row.contains(cell)))
    };
    let missing = knobs.iter().filter(|(flag, variable, default)| !named(flag, variable, default));
    missing
        .map(|(flag, variable, default)| {
            format!("README.md: no row for --{flag}, {variable}, default {default:?}")
        })
        .collect()
}

/// Routes of `serve` that no row of a README table names.
pub(super) fn unnamed_routes<'a>(readme: &str, routes: impl Iterator<Item = &'a str>) -> Vec<String> {
    let rows: Vec<&str> = readme.lines().filter(|line| line.starts_with('|')).collect();
    let missing = routes.filter(|route| !rows.iter().any(|row| row.contains(&format!("`{route}`"))));
    missing.map(|route| format!("README.md: no row for the route {route}")).collect()
}

/// Metrics that no row of a README table names with their type. `exposition` is what `/metrics` shows;
/// OpenMetrics leaves the endings of counters and infos out of `# TYPE`.
pub(super) fn unnamed_metrics(readme: &str, exposition: &str) -> Vec<String> {
    let rows: Vec<&str> = readme.lines().filter(|line| line.starts_with('|')).collect();
    let types = exposition.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let missing = types.filter_map(|(name, kind)| {
        let ending = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let cells = format!("| `{name}{ending}` | {kind} |");
        (!rows.iter().any(|row| row.starts_with(&cells))).then_some(cells)
    });
    missing.map(|cells| format!("README.md: no row {cells}")).collect()
}

/// `make` targets that README tells people to run and the Makefile does not have.
pub(super) fn unknown_targets(readme: &str, makefile: &str) -> Vec<String> {
    let has = |target: &str| makefile.lines().any(|line| line.starts_with(&format!("{target}:")));
    let mut missing: Vec<String> = readme
        .split('`')
        .skip(1)
        .step_by(2)
        .flat_map(str::lines)
        .filter_map(|code| code.split("make ").nth(1)?.split_whitespace().next())
        .filter(|target| !has(target))
        .map(|target| format!("README.md: make {target} is not in the Makefile"))
        .collect();
    missing.dedup();
    missing
}

const KINDS: [&str; 4] = ["CHANGE", "FEATURE", "ENHANCEMENT", "BUGFIX"];

/// Places besides the rooms of `src/` that a change can be about.
const PLACES: [&str; 4] = ["house", "testbed", "chart", "image"];

/// What is wrong with the change log: a heading for each release, and entries of the form
/// `* [FEATURE] room: what the operator sees`, which may go on in indented lines.
pub(super) fn changelog(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let fine = match line {
            "" => true,
            "# Changelog" => i == 0,
            _ if line.starts_with("## ") => is_release(&line[3..]),
            _ if line.starts_with("  ") => true,
            _ => line.strip_prefix("* [").is_some_and(is_entry),
        };
        if !fine || (i == 0 && line != "# Changelog") {
            found.push(format!(
                "CHANGELOG.md:{}: {line:?}: expected `* [FEATURE] room: what the operator sees`",
                i + 1
            ));
        }
    }
    found
}

/// `Unreleased` or `0.1.0 / 2026-11-21`.
fn is_release(title: &str) -> bool {
    let date = |text: &str| text.len() == 10 && text.split('-').count() == 3;
    title == "Unreleased"
        || title.split_once(" / ").is_some_and(|(version, day)| version.split('.').count() == 3 && date(day))
}

fn is_entry(text: &str) -> bool {
    let Some((kind, rest)) = text.split_once("] ") else { return false };
    let Some((place, what)) = rest.split_once(": ") else { return false };
    let known = ROOMS.iter().any(|room| room.name == place) || PLACES.contains(&place);
    KINDS.contains(&kind) && known && !what.is_empty()
}

#[test]
fn a_knob_needs_its_flag_variable_and_default_in_one_row() {
    let knob = |default: &str| [("interval".to_owned(), "PODVITALS_INTERVAL".to_owned(), default.to_owned())];
    let readme =
        "| `--interval` | `PODVITALS_INTERVAL` | `1s` | time |\n`--interval` `PODVITALS_INTERVAL` `2s`";
    assert_eq!(unnamed_knobs(readme, &knob("1s")), Vec::<String>::new());
    assert_eq!(unnamed_knobs(readme, &knob("")), Vec::<String>::new());
    assert_eq!(unnamed_knobs(readme, &knob("2s")).len(), 1);
    assert_eq!(unnamed_knobs("", &knob("1s")).len(), 1);
}

#[test]
fn a_route_needs_its_row() {
    let readme = "| `/livez` | is it alive |\n`/readyz`";
    assert_eq!(
        unnamed_routes(readme, ["/livez", "/readyz"].into_iter()),
        ["README.md: no row for the route /readyz"]
    );
}

#[test]
fn a_metric_needs_its_row_with_its_type() {
    let exposition = "# HELP a_x X.\n# TYPE a_x counter\na_x_total 1\n# TYPE a_y gauge\na_y 2\n# EOF";
    assert_eq!(
        unnamed_metrics("| `a_x_total` | counter | |", exposition),
        ["README.md: no row | `a_y` | gauge |"]
    );
}

#[test]
fn readme_may_only_name_targets_there_are() {
    let readme = "Do `make run` or `DURATION=15 make run`.\n```sh\nmake test   # all\nmake dance\n```\nThey make nothing.";
    let makefile = ".PHONY: run\nrun:\n\techo\ntest: check\n";
    assert_eq!(unknown_targets(readme, makefile), ["README.md: make dance is not in the Makefile"]);
}

#[test]
fn entries_of_the_change_log_have_a_kind_a_room_and_a_fact() {
    let good =
        "# Changelog\n\n## Unreleased\n\n* [FEATURE] serve: it serves\n  well\n\n## 0.1.0 / 2026-11-21\n";
    assert_eq!(changelog(good), Vec::<String>::new());
    for bad in [
        "* [FEATURE] it serves",
        "* [FEATURE] attic: it serves",
        "* [NEWS] serve: it serves",
        "- serve",
        "## soon",
        "## 0.1 / today",
        "text",
    ] {
        assert_eq!(changelog(&format!("# Changelog\n{bad}")).len(), 1, "{bad}");
    }
    assert_eq!(changelog("# Changes").len(), 1);
}
