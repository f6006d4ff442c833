//! Reads the sources and holds them to the house's rules: who may import whom, which crate lives in
//! which room, what every file has and what none may have; and the papers to the code.
//!
//! Every rule has a test beside it that shows it bites.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a file that cannot be read fails the test")]

#[path = "tidy/papers.rs"]
mod papers;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/traps.rs"]
mod traps;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use podvitals::config::KNOBS;
use source::Source;

/// Folders with Rust in them, below the repository.
const FOLDERS: [&str; 7] = ["src", "tests", "benches", "examples", "fuzz", "testbed", "xtask"];

/// Files from which Cargo starts to compile.
fn is_root(path: &str) -> bool {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let name = path.rsplit('/').next().unwrap_or(path);
    let target = |of: &str| folder == of || folder.ends_with(&format!("/{of}"));
    name == "main.rs" || name == "lib.rs" || ["tests", "benches", "examples", "bin"].into_iter().any(target)
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(repository().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// All Rust files by their path below the repository.
fn files() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders: Vec<_> = FOLDERS.iter().map(|folder| repository().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(repository()).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    assert!(found.contains_key("src/lib.rs"), "no sources under {}", repository().display());
    found
}

/// Every file that some root declares, directly or not, and whether only for tests.
fn reached(files: &BTreeMap<String, String>) -> Vec<Source> {
    let outside_src = |path: &str| !path.starts_with("src/") && !path.contains("/src/");
    let roots = files.keys().filter(|path| is_root(path));
    let mut waiting: Vec<(String, bool)> = roots.map(|path| (path.clone(), outside_src(path))).collect();
    let mut sources: Vec<Source> = Vec::new();
    while let Some((path, test)) = waiting.pop() {
        let Some(text) = files.get(&path) else { continue };
        if sources.iter().any(|source| source.path == path) {
            continue;
        }
        let source = Source::new(&path, text, test);
        let (folder, file) = path.rsplit_once('/').unwrap();
        let below = match file {
            "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
            _ if is_root(&path) => folder.to_owned(),
            _ => path.trim_end_matches(".rs").to_owned(),
        };
        for (name, at, for_tests) in source.declared_modules() {
            let candidates = match at {
                Some(at) => vec![format!("{folder}/{at}")],
                None => vec![format!("{below}/{name}.rs"), format!("{below}/{name}/mod.rs")],
            };
            waiting.extend(candidates.into_iter().map(|path| (path, test || for_tests)));
        }
        sources.push(source);
    }
    sources
}

fn unreached(files: &BTreeMap<String, String>) -> Vec<String> {
    let reached = reached(files);
    let missing = files.keys().filter(|path| !reached.iter().any(|source| source.path == **path));
    missing.map(|path| format!("{path}: no `mod` leads here, so nobody compiles it")).collect()
}

fn none(problems: &[String]) {
    assert!(problems.is_empty(), "{} to tidy:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn the_sources_keep_the_rules() {
    let files = files();
    let mut problems = unreached(&files);
    problems.extend(reached(&files).iter().flat_map(rules::problems));
    problems.sort();
    none(&problems);
}

#[test]
fn a_file_nobody_declares_is_found() {
    let files: BTreeMap<String, String> = [
        ("src/lib.rs", "//! x\npub mod a;\nmod b;"),
        ("src/a.rs", "//! x\nmod deep;"),
        ("src/a/deep.rs", "//! x\n#[cfg(test)]\n#[path = \"deep_tests.rs\"]\nmod tests;"),
        ("src/a/deep_tests.rs", "//! x"),
        ("src/b/mod.rs", "//! x"),
        ("src/b/attic.rs", "//! x"),
        ("tests/cli.rs", "//! x"),
        ("testbed/src/main.rs", "//! x"),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .into();
    assert_eq!(unreached(&files), ["src/b/attic.rs: no `mod` leads here, so nobody compiles it"]);
    let reached = reached(&files);
    let tests = |path: &str| reached.iter().find(|source| source.path == path).unwrap().test_lines[0];
    assert!(tests("src/a/deep_tests.rs") && tests("tests/cli.rs"));
    assert!(!tests("src/a/deep.rs") && !tests("testbed/src/main.rs"));
}

#[test]
fn readme_names_every_knob_with_its_flag_variable_and_default() {
    let knobs: Vec<_> =
        KNOBS.iter().map(|knob| (knob.flag(), knob.variable.to_owned(), knob.default.to_owned())).collect();
    none(&papers::unnamed_knobs(&read("README.md"), &knobs));
}

#[test]
fn readme_names_every_route() {
    let files = files();
    let sources = reached(&files);
    let routes = sources.iter().filter(|source| source.path == "src/serve/routes.rs");
    let routes = routes.flat_map(Source::shipped_strings).map(|(_, text)| text.as_str());
    none(&papers::unnamed_routes(&read("README.md"), routes.filter(|text| text.starts_with('/'))));
}

#[test]
fn readme_names_every_metric_with_its_type() {
    none(&papers::unnamed_metrics(&read("README.md"), &read("tests/golden/metrics.txt")));
}

#[test]
fn readme_tells_people_to_run_what_there_is() {
    none(&papers::unknown_targets(&read("README.md"), &read("Makefile")));
}

#[test]
fn the_change_log_has_its_form() {
    none(&papers::changelog(&read("CHANGELOG.md")));
}

#[test]
fn every_trap_has_a_row_and_every_row_names_what_there_is() {
    let there = |path: &str| repository().join(path).exists();
    let (found, open) = traps::problems(&read("tests/TRAPS.md"), &files(), there);
    println!("{} traps that nothing shows yet\n{}", open.len(), open.join("\n"));
    none(&found);
}
