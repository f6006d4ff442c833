//! Limits that suffice, and those that do not.

use super::*;
use crate::command::doctor::Verdict;
use crate::host::facts::Failure;
use crate::host::facts::cgroups::Kubepods;

fn ample() -> Limits {
    Limits {
        descriptors: Some(1_048_576),
        cached: 1_000,
        memory_bytes: Some(64 << 20),
        watches: Ok(()),
        max_instances: Some(128),
        max_watches: Some(65_536),
    }
}

fn verdicts(limits: &Limits, tree: Option<&Tree>) -> Vec<Verdict> {
    judge(limits, tree).into_iter().map(|check| check.verdict).collect()
}

#[test]
fn ample_limits_need_no_cure() {
    assert_eq!(verdicts(&ample(), None), [Verdict::Ok; 3]);
    assert_eq!(
        verdicts(&Limits { memory_bytes: None, descriptors: None, ..ample() }, None),
        [Verdict::Ok; 3]
    );
}

#[test]
fn descriptors_are_weighed_against_the_cgroups_there_are() {
    let pods = |pods| Tree { kubepods: vec![Kubepods { pods, ..Kubepods::default() }], ..Tree::default() };
    assert_eq!(verdicts(&ample(), Some(&pods(76)))[0], Verdict::Ok);
    assert_eq!(verdicts(&ample(), Some(&pods(77)))[0], Verdict::Notice);
    let found = &judge(&ample(), Some(&pods(77)))[0].found;
    assert_eq!(found, "1048576 descriptors, 1000 of them for cgroup files; 77 cgroups have up to 1001");
}

#[test]
fn little_memory_and_no_watches_are_noticed() {
    let tight = Limits { memory_bytes: Some((48 << 20) - 1), ..ample() };
    assert_eq!(verdicts(&tight, None), [Verdict::Ok, Verdict::Notice, Verdict::Ok]);
    let blind = Limits { watches: Err(Failure::Other("too many open files".into())), ..ample() };
    assert_eq!(verdicts(&blind, None), [Verdict::Ok, Verdict::Ok, Verdict::Notice]);
    assert!(judge(&blind, None)[2].cure.as_ref().unwrap().contains("max_user_instances"));
}

#[test]
fn a_clock_that_was_never_set_and_a_slow_one_are_noticed() {
    let machine = |unix_seconds, source: Option<&str>| {
        let machine = Machine { kernel: None, unix_seconds, clock_source: source.map(str::to_owned) };
        judge_clock(&machine).into_iter().map(|check| check.verdict).collect::<Vec<_>>()
    };
    let never = Machine { unix_seconds: NEVER_SET, ..Machine::default() };
    assert_eq!(judge_clock(&never)[0].found, "2025-01-01T00:00:00Z");
    assert_eq!(machine(NEVER_SET, Some("tsc")), [Verdict::Ok; 2]);
    assert_eq!(machine(NEVER_SET - 1, None), [Verdict::Notice, Verdict::Ok]);
    assert_eq!(machine(NEVER_SET, Some("hpet")), [Verdict::Ok, Verdict::Notice]);
}
