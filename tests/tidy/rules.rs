//! Who may import whom, which crate lives in which room, and what no file may hold.

use super::source::Source;

/// One room and the rooms it may import.
pub(super) struct Room {
    /// Its file or folder under `src/`.
    pub(super) name: &'static str,
    /// Besides itself.
    pub(super) imports: &'static [&'static str],
}

const fn room(name: &'static str, imports: &'static [&'static str]) -> Room {
    Room { name, imports }
}

/// The table. Stages never appear in each other's rows, nor neighbours in a neighbour's.
pub(super) const ROOMS: &[Room] = &[
    room("model", &[]),
    room("config", &[]),
    room("host", &["model", "config"]),
    room("runtime", &["model", "config"]),
    room("kubernetes", &["model", "config"]),
    room("discover", &["model", "runtime", "kubernetes"]),
    room("resolve", &["model", "host"]),
    room("sample", &["model", "host"]),
    room("rate", &["model"]),
    room("aggregate", &["model"]),
    room("history", &["model"]),
    room("serve", &["model", "config", "kubernetes"]),
    room(
        "pipeline",
        &[
            "model",
            "config",
            "host",
            "runtime",
            "kubernetes",
            "discover",
            "resolve",
            "sample",
            "rate",
            "aggregate",
            "history",
            "serve",
        ],
    ),
    room("command", &["model", "config", "pipeline", "host", "kubernetes"]),
    room("fuzzing", &["model", "config", "host", "runtime", "kubernetes", "serve", "command"]),
    // `main.rs` and `cli.rs` are a crate of their own: they say `podvitals::`, not `crate::`.
    room("main", &["config", "pipeline", "command"]),
    room("lib", &[]),
];

/// A path and the only rooms it may be written in. Of two that fit, the longer counts.
const HOMES: &[(&str, &[&str])] = &[
    ("procfs", &["host"]),
    ("rustix", &["host"]),
    ("std::fs", &["host"]),
    ("bollard", &["runtime"]),
    ("tonic", &["runtime"]),
    ("tonic_prost", &["runtime"]),
    ("prost", &["runtime"]),
    ("rustls", &["serve", "command"]),
    ("tokio_rustls", &["serve", "command"]),
    ("rcgen", &["serve"]),
    ("ring", &["serve"]),
    ("kube", &["kubernetes"]),
    ("k8s_openapi", &["kubernetes"]),
    ("warp", &["serve"]),
    ("prometheus_client", &["serve"]),
    ("flate2", &["serve"]),
    ("hyper", &["runtime", "kubernetes", "serve", "command"]),
    ("hyper::server", &["serve"]),
    ("hyper_util::server", &["serve"]),
    ("hyper::client", &["command", "runtime"]),
    ("serde_saphyr", &["command"]),
    ("ratatui", &["command"]),
    ("clap", &["main"]),
    ("clap_complete", &["main"]),
    ("clap_mangen", &["main"]),
    ("anyhow", &["main"]),
    ("tracing_subscriber", &["main"]),
    ("tokio", &["runtime", "kubernetes", "discover", "serve", "pipeline", "command", "main"]),
    ("tokio::signal", &["pipeline", "main"]),
];

/// Files that may name a path their room may not, and why.
const GUESTS: &[(&str, &str, &str)] = &[
    (
        "src/serve/listen.rs",
        "std::fs",
        "a unix socket is a file: its remains are removed and its mode is set before anybody may connect",
    ),
    ("src/serve/listen.rs", "rustix", "an address of IPv6 that means every address has to be made so"),
    ("src/serve/tls/files.rs", "std::fs", "certificates and keys are files, and change while we run"),
    ("src/command/trust.rs", "std::fs", "the token to show and the authority to believe are files"),
    ("src/kubernetes/client.rs", "rustls", "kube takes the cryptography that is installed for the process"),
];

/// Words that promise work instead of doing it; in halves, or this file would trip over them.
const PROMISES: &[&str] = &[
    concat!("to", "do!"),
    concat!("TO", "DO"),
    concat!("unimple", "mented!"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("#[ign", "ore"),
];

/// Past this many lines, look for the second job.
pub(super) const LONGEST: usize = 450;

/// A file of tests: one case after another makes no second job.
pub(super) const LONGEST_OF_TESTS: usize = 550;

fn longest(path: &str) -> usize {
    let tests = path.contains("tests/") || path.ends_with("_tests.rs");
    if tests { LONGEST_OF_TESTS } else { LONGEST }
}

/// Longer files with a single job all the same, and which.
const LONG: &[(&str, &str)] = &[
    ("src/model/document.rs", "every noun of the wire, in one place and one notation"),
    ("src/serve/schema.rs", "the same nouns as OpenAPI describes them, beside each other"),
];

/// The room a file under `src/` belongs to.
pub(super) fn room_of(path: &str) -> Option<&str> {
    let first = path.strip_prefix("src/")?.split('/').next()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    Some(if name == "cli" || name == "bin" { "main" } else { name })
}

/// Everything wrong with one file, each with its line.
pub(super) fn problems(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    everywhere(source, &mut found);
    let Some(name) = room_of(&source.path) else { return found };
    let Some(room) = ROOMS.iter().find(|room| room.name == name) else {
        found.push(format!("{}: room {name} is not in the table of tests/tidy/rules.rs", source.path));
        return found;
    };
    imports(source, room, &mut found);
    homes(source, room, &mut found);
    direct_calls(source, room, &mut found);
    literals(source, room, &mut found);
    found
}

fn everywhere(source: &Source, found: &mut Vec<String>) {
    let path = &source.path;
    if !source.text.starts_with("//!") {
        found.push(format!("{path}: opens without a //! that says its one job"));
    }
    let lines = source.text.lines().count();
    if lines > longest(path) && !LONG.iter().any(|(long, _)| long == path) {
        found.push(format!("{path}: {lines} lines, more than {}: look for the second job", longest(path)));
    }
    for (i, line) in source.text.lines().enumerate() {
        for word in PROMISES.iter().filter(|word| has_word(line, word)) {
            found.push(format!("{path}:{}: {word} promises work: do it, or drop it", i + 1));
        }
    }
}

fn imports(source: &Source, room: &Room, found: &mut Vec<String>) {
    let from = if room.name == "main" { "podvitals::" } else { "crate::" };
    for (number, line) in source.lines(true) {
        for (at, _) in line.match_indices(from).filter(|(at, _)| starts_word(line, *at)) {
            let rest = &line[at + from.len()..];
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if name.is_empty() {
                found.push(format!(
                    "{}:{number}: {from}{{…}} hides which rooms it imports: one `use` each",
                    source.path
                ));
            } else if ROOMS.iter().any(|known| known.name == name)
                && name != room.name
                && !room.imports.contains(&name.as_str())
            {
                found.push(format!("{}:{number}: {} may not import {name}", source.path, room.name));
            }
        }
    }
}

fn homes(source: &Source, room: &Room, found: &mut Vec<String>) {
    for (number, line) in source.lines(false) {
        // `use std::{fs, io}` names std::fs as well.
        let line = &line.replace("std::{fs", "std::fs, {").replace("std::{self, fs", "std::fs, {");
        for (path, rooms) in HOMES.iter().filter(|(path, _)| names(line, path)) {
            let narrower = HOMES
                .iter()
                .any(|(other, _)| other.len() > path.len() && other.starts_with(path) && names(line, other));
            let guest = GUESTS.iter().any(|(file, guest, _)| *file == source.path && guest == path);
            if !narrower && !guest && !rooms.contains(&room.name) {
                found.push(format!("{}:{number}: {path} belongs to {}", source.path, rooms.join(", ")));
            }
        }
    }
}

/// Where the kernel's files are asked for, and with them the one place where a test can make it fail.
const SEAM: &str = "src/host/syscall.rs";

/// What looks at a file, however it is spelled: functions of `rustix::fs` are checked by their case.
const DIRECT: &[&str] = &[
    "rustix::io::read(",
    "rustix::io::pread(",
    "RawDir::new(",
    "std::fs::read",
    "std::fs::metadata(",
    "fs::File",
    "File::open(",
    "File::from_file(",
    "::from_file(",
    ".exists()",
    ".is_dir()",
    ".is_file()",
    ".metadata()",
    ".symlink_metadata()",
    ".canonicalize()",
    ".read_dir()",
    ".read_link()",
];

/// In the room that looks at the kernel's files, everybody does it through [`SEAM`].
fn direct_calls(source: &Source, room: &Room, found: &mut Vec<String>) {
    if room.name != "host" || source.path == SEAM {
        return;
    }
    for (number, line) in source.lines(false) {
        let imported = line.trim_start().starts_with("use std::fs;") || line.contains("std::{fs");
        let function = line.match_indices("rustix::fs::").any(|(at, path)| {
            let name = &line[at + path.len()..];
            // Types and constants have no system call in them; inotify has a file of its own.
            name.starts_with(|c: char| c.is_lowercase()) && !name.starts_with("inotify::")
        });
        let called = DIRECT.iter().any(|call| line.contains(call));
        if imported || function || called {
            found.push(format!("{}:{number}: looks at a file past {SEAM}", source.path));
        }
    }
}

/// A path of the kernel's, spelled out where only [`HostRoot`] may say where it is mounted.
fn literals(source: &Source, room: &Room, found: &mut Vec<String>) {
    if matches!(room.name, "host" | "config") {
        return;
    }
    // A full stop ends a sentence about the path.
    let below = |text: &str, root: &str| {
        text.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let kernel = |text: &str| (below(text, "/proc") || below(text, "/sys")) && !text.ends_with('.');
    for (line, text) in source.shipped_strings().filter(|(_, text)| kernel(text)) {
        found.push(format!("{}:{line}: {text:?}: take the path from HostRoot", source.path));
    }
}

/// `path` is used: followed by `::` or ended, and not itself the tail of another path.
fn names(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let used = line[at + path.len()..].chars().next().is_none_or(|c| !c.is_alphanumeric() && c != '_');
        // A crate that stands alone is a variable or a word; `use clap;` is not how it is used here.
        let path_follows = path.contains("::") || line[at + path.len()..].starts_with("::");
        used && path_follows && starts_word(line, at)
    })
}

/// Nothing of a word or a path stands right before `at`.
fn starts_word(line: &str, at: usize) -> bool {
    !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !inside(before) && !inside(after)
    })
}

/// What `text` would be told if it stood at `path`.
#[cfg(test)]
fn told(path: &str, text: &str) -> Vec<String> {
    problems(&Source::new(path, &format!("//! Its job.\n{text}"), false))
}

#[test]
fn stages_may_not_import_each_other() {
    assert_eq!(
        told("src/rate.rs", "use crate::sample::Sampler;"),
        ["src/rate.rs:2: rate may not import sample"]
    );
    assert_eq!(
        told("src/serve/a.rs", "fn f(x: crate::resolve::X) {}"),
        ["src/serve/a.rs:2: serve may not import resolve"]
    );
    assert!(told("src/rate.rs", "use crate::model::time::Monotonic;\nuse crate::rate::x;").is_empty());
    assert!(told("src/rate.rs", "// crate::sample is another matter").is_empty());
}

#[test]
fn neighbours_import_the_nouns_and_knobs_only() {
    assert_eq!(
        told("src/host/a.rs", "use crate::runtime::X;"),
        ["src/host/a.rs:2: host may not import runtime"]
    );
    assert_eq!(
        told("src/runtime/mod.rs", "use crate::discover::X;"),
        ["src/runtime/mod.rs:2: runtime may not import discover"]
    );
    assert!(told("src/host/a.rs", "use crate::config::Config;\nuse crate::model::x;").is_empty());
}

#[test]
fn a_test_is_held_to_the_table_too() {
    let text = "#[cfg(test)]\nmod tests {\n    use crate::serve::x;\n}";
    assert_eq!(told("src/rate.rs", text), ["src/rate.rs:4: rate may not import serve"]);
}

#[test]
fn main_sees_three_rooms() {
    assert_eq!(
        told("src/main.rs", "use podvitals::serve::run;"),
        ["src/main.rs:2: main may not import serve"]
    );
    assert!(told("src/cli.rs", "use podvitals::command::Get;").is_empty());
}

#[test]
fn a_group_at_the_root_is_refused_because_it_hides_rooms() {
    let said = told("src/rate.rs", "use crate::{model::x, serve::y};");
    assert_eq!(said, ["src/rate.rs:2: crate::{…} hides which rooms it imports: one `use` each"]);
}

#[test]
fn a_room_that_is_not_in_the_table_is_refused() {
    let said = told("src/attic/mod.rs", "");
    assert_eq!(said, ["src/attic/mod.rs: room attic is not in the table of tests/tidy/rules.rs"]);
}

#[test]
fn each_foreign_crate_has_its_room() {
    let refused = [
        ("src/sample.rs", "use rustix::fs::openat;", "rustix belongs to host"),
        ("src/resolve.rs", "let x = std::fs::read(p);", "std::fs belongs to host"),
        ("src/resolve.rs", "use std::{fs, io};", "std::fs belongs to host"),
        ("src/discover.rs", "use tonic::Status;", "tonic belongs to runtime"),
        ("src/pipeline.rs", "use warp::Filter;", "warp belongs to serve"),
        ("src/command/a.rs", "use hyper::server::conn::http1;", "hyper::server belongs to serve"),
        ("src/serve/a.rs", "use hyper::client::conn::http1;", "hyper::client belongs to command, runtime"),
        ("src/command/a.rs", "use clap::Parser;", "clap belongs to main"),
        ("src/serve/a.rs", "fn f() -> anyhow::Result<()>", "anyhow belongs to main"),
        ("src/serve/a.rs", "use tokio::signal::ctrl_c;", "tokio::signal belongs to pipeline, main"),
        ("src/main.rs", "use serde_saphyr::to_string;", "serde_saphyr belongs to command"),
    ];
    for (path, text, said) in refused {
        assert_eq!(told(path, text), [format!("{path}:2: {said}")], "{text}");
    }
    assert!(told("src/rate.rs", "use tokio::time::Instant;")[0].contains("tokio belongs to runtime"));
}

#[test]
fn what_is_at_home_or_a_named_guest_is_welcome() {
    let welcome = [
        ("src/host/a.rs", "use rustix::fs::OFlags;"),
        ("src/host/syscall.rs", "use std::fs::ReadDir;\nuse rustix::fs::openat;"),
        ("src/serve/listen.rs", "std::fs::remove_file(path)"),
        ("src/command/a.rs", "use hyper::client::conn::http1;\nuse hyper::Uri;"),
        ("src/main.rs", "use tokio::signal::unix::signal;"),
        ("src/serve/a.rs", "let kube = 1; self.warp.x; std::fsx::y; my_tokio::z; \"std::fs\""),
        ("src/serve/a.rs", "#[cfg(test)]\nmod tests {\n    use std::fs;\n}"),
    ];
    for (path, text) in welcome {
        assert_eq!(told(path, text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn the_kernels_files_are_looked_at_in_one_place() {
    for line in [
        "use std::fs;",
        "let text = std::fs::read(path);",
        "rustix::fs::openat(directory, path, flags, mode)",
        "use rustix::fs::statat;",
        "rustix::io::pread(&file, buffer, 0)",
        "if path.join(name).exists() {}",
        "let kind = entry.metadata()?;",
        "MountInfos::from_file(path)",
        "let file = File::open(path);",
    ] {
        assert_eq!(told("src/host/a.rs", line), [format!("src/host/a.rs:2: looks at a file past {SEAM}")]);
        assert!(told(SEAM, line).is_empty(), "{line}");
    }
    for line in ["use rustix::fs::{Mode, OFlags};", "use rustix::fs::inotify::Reader;", "syscall::stat(path)"]
    {
        assert!(told("src/host/a.rs", line).is_empty(), "{line}");
    }
    assert!(told("src/host/a.rs", "#[cfg(test)]\nmod tests {\n    use std::fs;\n}").is_empty());
}

#[test]
fn kernel_paths_come_from_the_configuration() {
    let said = told("src/sample.rs", "let path = \"/proc/1/net/dev\";");
    assert_eq!(said, ["src/sample.rs:2: \"/proc/1/net/dev\": take the path from HostRoot"]);
    assert_eq!(told("src/pipeline.rs", "\"/sys\"").len(), 1);
    assert!(told("src/host/a.rs", "\"/proc\"").is_empty());
    assert!(
        told("src/serve/a.rs", "\"/processes\"; \"see /proc\"; \"/proc/stat.\"; // \"/proc\"").is_empty()
    );
}

#[test]
fn a_file_opens_with_its_job() {
    let said = problems(&Source::new("tests/a.rs", "use x;", true));
    assert_eq!(said, ["tests/a.rs: opens without a //! that says its one job"]);
}

#[test]
fn promises_are_refused_wherever_they_stand() {
    for word in PROMISES {
        assert_eq!(told("src/rate.rs", &format!("// {word} later")).len(), 1, "{word}");
    }
    assert!(told("src/rate.rs", &format!("mktemp(\"{0}{0}\")", concat!("XX", "X"))).is_empty());
}

#[test]
fn a_file_that_is_too_long_is_told_so_unless_it_is_named() {
    let long = "//\n".repeat(LONGEST);
    assert_eq!(
        told("src/rate.rs", &long),
        ["src/rate.rs: 451 lines, more than 450: look for the second job"]
    );
    assert!(told("src/model/document.rs", &long).is_empty());
}
