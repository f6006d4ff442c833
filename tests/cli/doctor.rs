//! `doctor` on a host that is a folder: what it prints where, and how it ends.

use serde_json::Value;

use super::*;

/// What `doctor` says of a folder that holds neither processes nor cgroups.
fn of_an_empty_folder(name: &str, more: &[&str]) -> Output {
    let folder = Folder::new(name);
    let path = folder.0.to_str().unwrap();
    let roots = ["doctor", "--proc-root", path, "--cgroup-root", path, "--listen", "127.0.0.1:0"];
    run(&[&roots[..], more].concat())
}

#[test]
fn what_does_not_work_is_named_and_ends_with_1() {
    let output = of_an_empty_folder("doctor-text", &["--source", "cgroup"]);
    assert_eq!(output.status.code(), Some(1));
    let message = "podvitals: the core job does not work here: pods, cpu, memory, network\n";
    assert_eq!(stderr(&output), message);
    let text = stdout(&output);
    assert!(text.contains("\n  problem   tree ") && text.contains("--cgroup-root"), "{text}");
    assert!(text.contains("no proc file system") && text.contains("--proc-root"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 118 && !line.contains('\x1b')), "{text}");
}

#[test]
fn documents_say_the_same() {
    let document = of_an_empty_folder("doctor-json", &["-o", "json", "--node-name", "n1"]);
    assert_eq!(document.status.code(), Some(1));
    let document: Value = serde_json::from_str(stdout(&document)).unwrap();
    assert_eq!((&document["node"], &document["works"]), (&"n1".into(), &false.into()));
    assert_eq!(document["broken"], serde_json::json!(["pods", "cpu", "memory", "network"]));
    let checks = document["checks"].as_array().unwrap();
    let problems = checks.iter().filter(|check| check["verdict"] == "problem");
    for check in problems.clone() {
        assert!(check["cure"].is_string() && check["consequence"].is_string(), "{check}");
    }
    assert_eq!(problems.count(), 2);
    let yaml = of_an_empty_folder("doctor-yaml", &["-o", "yaml"]);
    assert!(stdout(&yaml).contains("works: false"), "{}", stdout(&yaml));
}

#[test]
fn a_source_that_is_asked_for_and_is_not_there_is_a_problem() {
    let output = of_an_empty_folder("doctor-kube", &["--source", "kube"]);
    assert!(stderr(&output).ends_with(": pods, cpu, memory, network, names\n"), "{}", stderr(&output));
    assert!(stdout(&output).contains("no API server is configured"), "{}", stdout(&output));
}

#[test]
fn an_address_that_would_be_refused_is_a_problem() {
    let output =
        of_an_empty_folder("doctor-listen", &["--source", "cgroup", "--listen", "https://127.0.0.1:0"]);
    assert!(stderr(&output).ends_with(": pods, cpu, memory, network, serving\n"), "{}", stderr(&output));
    assert!(stdout(&output).contains("nobody could be let in"), "{}", stdout(&output));
}

#[test]
fn a_setting_that_cannot_be_used_ends_with_78_and_prints_nothing() {
    for bad in [["--interval", "soon"], ["--listen", "0.0.0.0:9790"], ["--source", "oracle"]] {
        let output = run(&["doctor", bad[0], bad[1]]);
        assert_eq!((output.status.code(), stdout(&output)), (Some(78), ""), "{bad:?}");
    }
}
