//! Mounts of `/proc` as hosts and containers have them.

use super::*;
use crate::command::doctor::Verdict;
use crate::host::facts::processes::Sight;

/// As in the default profile: the host's `/proc`, our own namespaces.
fn confined() -> Processes {
    Processes {
        root: "/host/proc".into(),
        is_proc: true,
        first: Ok(()),
        first_network: Ok(()),
        first_netns: Ok(()),
        options: None,
        kernel_threads: true,
        depth: Some(1),
        host_network: Some(false),
        sight: Sight { containers: 3, with_process: 3, with_network: 3, ..Sight::default() },
    }
}

fn judged(processes: &Processes) -> Vec<Check> {
    judge(processes, NetworkChoice::Auto)
}

fn wrong(processes: &Processes) -> Vec<(&'static str, Verdict)> {
    let checks = judged(processes);
    for check in &checks {
        assert!(
            check.verdict == Verdict::Ok || check.consequence.is_some() && check.cure.is_some(),
            "{check:?}"
        );
        assert_eq!(check.verdict == Verdict::Problem, check.breaks == [Core::Network], "{check:?}");
    }
    let wrong = checks.iter().filter(|check| check.verdict != Verdict::Ok);
    wrong.map(|check| (check.check, check.verdict)).collect()
}

#[test]
fn the_default_profile_has_nothing_to_cure_and_is_told_what_more_would_buy() {
    assert_eq!(wrong(&confined()), []);
    let bought: Vec<_> = judged(&confined()).into_iter().filter_map(|check| check.consequence).collect();
    assert!(bought.iter().any(|text| text.contains("profile.hostPID")), "{bought:?}");
    assert!(bought.iter().any(|text| text.contains("profile.hostNetwork")), "{bought:?}");
    let root = Processes { depth: Some(0), host_network: Some(true), ..confined() };
    assert_eq!(wrong(&root), []);
    assert!(
        judged(&root).iter().all(|check| check.consequence.as_ref().is_none_or(|text| !text.contains("buy")))
    );
}

#[test]
fn what_is_no_proc_shows_nothing() {
    assert_eq!(wrong(&Processes { is_proc: false, ..confined() }), [("mount", Verdict::Problem)]);
}

#[test]
fn hidepid_is_told_from_a_security_module() {
    let hidden = |failure| Processes {
        first: Err(failure),
        options: Some("hidepid=invisible,gid=4".into()),
        kernel_threads: false,
        ..confined()
    };
    for failure in [Failure::Absent, Failure::NotPermitted] {
        let processes = hidden(failure);
        assert_eq!(wrong(&processes), [("process 1", Verdict::Problem)]);
        let check = &judged(&processes)[1];
        assert!(check.found.contains("hidepid=invisible,gid=4"), "{check:?}");
        assert!(check.consequence.as_ref().unwrap().contains("reason hidepid"));
        assert!(check.cure.as_ref().unwrap().contains("CAP_SYS_PTRACE"));
    }
    let denied = hidden(Failure::Denied);
    assert_eq!(wrong(&denied), [("process 1", Verdict::Problem)]);
    assert!(judged(&denied)[1].cure.as_ref().unwrap().contains("spc_t"));
    let exempt = Processes { options: Some("hidepid=invisible,gid=4".into()), ..confined() };
    assert_eq!(wrong(&exempt), []);
    assert!(judged(&exempt)[1].found.contains("exempt"));
    assert_eq!(wrong(&hidden(Failure::Other("odd".into()))), [("process 1", Verdict::Problem)]);
}

#[test]
fn the_proc_of_one_container_is_found_out() {
    let sight = Sight { containers: 3, ..Sight::default() };
    let own = Processes { kernel_threads: false, depth: Some(0), sight, ..confined() };
    assert_eq!(wrong(&own), [("mount", Verdict::Notice), ("pod networks", Verdict::Problem)]);
    assert!(judged(&own)[3].cure.as_ref().unwrap().contains("--proc-root"));
    let nested = Processes { kernel_threads: false, ..confined() };
    assert_eq!(wrong(&nested), [], "a node that is a container itself");
    let stranger = Processes { depth: None, ..confined() };
    assert_eq!(wrong(&stranger), [("pid namespace", Verdict::Notice)]);
}

#[test]
fn networks_that_cannot_be_read_are_counted() {
    let seen = |containers, with_process, with_network, refused: usize| {
        let why = (refused > 0).then(|| ("permission denied".to_owned(), refused));
        let refused = why.into_iter().collect();
        Processes { sight: Sight { containers, with_process, with_network, refused }, ..confined() }
    };
    assert_eq!(wrong(&seen(0, 0, 0, 0)), []);
    assert_eq!(wrong(&seen(4, 4, 0, 4)), [("pod networks", Verdict::Problem)]);
    assert_eq!(wrong(&seen(4, 4, 3, 1)), [("pod networks", Verdict::Notice)]);
    assert_eq!(wrong(&seen(4, 3, 3, 0)), [("pod networks", Verdict::Notice)]);
    assert!(judged(&seen(4, 4, 3, 1))[3].found.contains("1 permission denied"));
}

#[test]
fn the_host_s_side_needs_the_host_s_network_namespace() {
    for (host_network, fine) in [(Some(true), true), (Some(false), false), (None, false)] {
        let processes = Processes { host_network, ..confined() };
        let check = judge(&processes, NetworkChoice::Host).pop().unwrap();
        assert_eq!(check.check, "network namespace");
        assert_eq!(check.verdict == Verdict::Ok, fine, "{check:?}");
        assert_eq!(judge(&processes, NetworkChoice::Netns).pop().unwrap().verdict, Verdict::Ok);
    }
}

#[test]
fn the_node_s_own_network_is_not_the_core_job() {
    let processes = Processes { first_network: Err(Failure::Denied), ..confined() };
    assert_eq!(wrong(&processes), [("node's NICs", Verdict::Notice)]);
}

#[test]
fn without_the_netns_of_process_1_no_pod_has_a_network() {
    for failure in [Failure::Absent, Failure::Denied, Failure::NotPermitted] {
        let unseen = Err(failure);
        let processes = Processes { first_network: unseen.clone(), first_netns: unseen, ..confined() };
        assert_eq!(wrong(&processes), [("node's NICs", Verdict::Problem)]);
        assert!(judged(&processes)[2].consequence.as_ref().unwrap().contains("of all pods are absent"));
    }
}
