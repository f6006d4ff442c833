//! Trees as hosts have them, and one verdict for each thing that can be wrong with them.

use std::path::PathBuf;

use super::*;
use crate::command::doctor::Verdict;
use crate::host::cgroup::blkio::Accounting;
use crate::host::facts::Failure;
use crate::host::facts::cgroups::CONTROLLERS;
use crate::host::facts::cgroups::Kubepods;

/// A whole tree of this version, with one pod in it and everything on.
fn tree(version: Version) -> Tree {
    let mount = |name: &str| match version {
        Version::V1 => PathBuf::from("/c").join(if name.starts_with("cpu") { "cpu,cpuacct" } else { name }),
        Version::V2 => PathBuf::from("/c"),
    };
    let v2 = version == Version::V2;
    Tree {
        places: CONTROLLERS.map(|(_, name)| Place { name, at: Some((mount(name), version)) }).to_vec(),
        watched: mount("memory"),
        whole: Some(true),
        kubepods: vec![Kubepods { path: "kubepods".into(), pods: 1, containers: 2, trouble: None }],
        enabled: v2.then(|| ["cpu", "memory", "io", "pids"].map(str::to_owned).to_vec()),
        accounting: (!v2).then_some(Accounting { bfq: false, throttle: true, partly: false }),
        pressure: Some(Ok(())),
        has_pressure_side: true,
        ..Tree::default()
    }
}

fn judged(tree: Tree) -> Vec<Check> {
    judge(&Cgroups { root: "/c".into(), tree: Ok(tree) })
}

/// The one check that is not as it should be.
fn only(tree: Tree) -> Check {
    let mut wrong: Vec<_> = judged(tree).into_iter().filter(|check| check.verdict != Verdict::Ok).collect();
    assert_eq!(wrong.len(), 1, "{wrong:#?}");
    let check = wrong.remove(0);
    assert!(check.consequence.is_some() && check.cure.is_some(), "{check:?}");
    check
}

#[test]
fn a_node_as_it_should_be_has_nothing_to_cure() {
    for (version, mode) in [(Version::V1, "hybrid"), (Version::V2, "version 2")] {
        let checks = judged(tree(version));
        assert!(checks.iter().all(|check| check.verdict == Verdict::Ok), "{checks:#?}");
        assert!(checks[0].found.starts_with(mode), "{}", checks[0].found);
    }
    let mut plain = tree(Version::V1);
    plain.has_pressure_side = false;
    assert_eq!(judged(plain)[0].found, "version 1");
}

#[test]
fn without_a_tree_nothing_of_the_core_job_works() {
    let checks = judge(&Cgroups { root: "/c".into(), tree: Err("nothing mounted".into()) });
    assert_eq!(checks.len(), 1);
    assert_eq!(checks[0].breaks, [Core::Pods, Core::Cpu, Core::Memory]);
    assert_eq!((checks[0].looked_at.as_str(), checks[0].found.as_str()), ("/c", "nothing mounted"));
}

#[test]
fn co_mounted_controllers_are_named() {
    let checks = judged(tree(Version::V1));
    let cpu = checks.iter().find(|check| check.check == "cpu").unwrap();
    assert_eq!(
        (cpu.looked_at.as_str(), cpu.found.as_str()),
        ("/c/cpu,cpuacct", "version 1, together with cpuacct")
    );
}

#[test]
fn a_part_of_the_tree_is_right_only_if_there_are_pods_in_it() {
    let part = Tree { whole: Some(false), ..tree(Version::V2) };
    assert_eq!((only(part.clone()).check, only(part.clone()).verdict), ("view", Verdict::Notice));
    let check = only(Tree { kubepods: Vec::new(), ..part });
    assert_eq!((check.check, check.breaks), ("view", vec![Core::Pods]));
    assert_eq!(judged(Tree { whole: None, ..tree(Version::V2) })[1].verdict, Verdict::Ok);
}

#[test]
fn no_pods_at_all_are_no_failure_of_ours() {
    let check = only(Tree { kubepods: Vec::new(), ..tree(Version::V2) });
    assert_eq!((check.check, check.verdict), ("pods", Verdict::Notice));
}

#[test]
fn pods_that_cannot_be_listed_are() {
    let mut closed = tree(Version::V2);
    closed.kubepods[0].trouble = Some("permission denied".into());
    let check = only(closed);
    assert_eq!((check.check, check.breaks), ("pods", vec![Core::Pods]));
}

#[test]
fn each_controller_that_is_missing_costs_its_figures() {
    for (name, breaks) in [
        ("cpuacct", vec![Core::Cpu]),
        ("memory", vec![Core::Memory]),
        ("cpu", vec![]),
        ("io", vec![]),
        ("pids", vec![]),
    ] {
        let mut without = tree(Version::V1);
        without.places.iter_mut().find(|place| place.name == name).unwrap().at = None;
        if name == "io" {
            without.accounting = None;
        }
        let check = only(without);
        assert_eq!((check.check, &check.breaks), (name, &breaks));
        assert!(check.consequence.unwrap().contains("controller_off"));
        if name == "cpuacct" {
            continue;
        }
        let mut off = tree(Version::V2);
        off.enabled.as_mut().unwrap().retain(|on| on != name);
        let check = only(off);
        assert_eq!((check.check, &check.breaks), (name, &breaks));
        assert!(check.found.contains("not on for pods") && !check.found.contains(&format!(" {name} ")));
    }
}

#[test]
fn block_io_of_version_1_counts_wholly_partly_or_not_at_all() {
    let counted = |bfq, throttle, partly| {
        let accounting = Some(Accounting { bfq, throttle, partly });
        judged(Tree { accounting, ..tree(Version::V1) })
            .into_iter()
            .find(|check| check.check == "block I/O")
            .unwrap()
    };
    let found = |check: Check| (check.verdict, check.found);
    assert_eq!(found(counted(true, false, false)), (Verdict::Ok, "counted by the BFQ scheduler".into()));
    assert_eq!(found(counted(false, true, true)), (Verdict::Notice, "counted by throttling".into()));
    assert_eq!(counted(true, true, false).verdict, Verdict::Ok);
    let none = counted(false, false, false);
    assert!(none.consequence.as_ref().unwrap().contains("blkio_not_accounted"));
    assert_eq!(found(none), (Verdict::Notice, "counted by nobody".into()));
}

#[test]
fn pressure_needs_the_kernel_and_a_version_2_side() {
    let check = only(Tree { pressure: Some(Err(Failure::Absent)), ..tree(Version::V2) });
    assert_eq!(check.check, "pressure");
    assert!(
        check.consequence.unwrap().contains("kernel_without_psi") && check.cure.unwrap().contains("psi=1")
    );
    let check = only(Tree { has_pressure_side: false, ..tree(Version::V1) });
    assert!(check.cure.unwrap().contains("cgroup v2"));
}
