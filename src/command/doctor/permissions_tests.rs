//! Users, capabilities and labels.

use super::*;
use crate::command::doctor::Verdict;
use crate::host::facts::permissions::Status;

/// As in the default profile.
fn confined() -> Permissions {
    let status = Status {
        uid: Some(65532),
        groups: vec![65532],
        capabilities: Some(0),
        no_new_privs: Some(true),
        seccomp: Some(2),
    };
    Permissions { status, ..Permissions::default() }
}

fn verdicts(permissions: &Permissions) -> Vec<Verdict> {
    judge(permissions).into_iter().map(|check| check.verdict).collect()
}

#[test]
fn the_default_profile_has_no_more_than_it_needs() {
    assert_eq!(verdicts(&confined()), [Verdict::Ok; 3]);
    assert_eq!(judge(&confined())[0].found, "user 65532, groups 65532, no capability");
    assert_eq!(judge(&confined())[1].found, "no_new_privs on, seccomp filter on");
}

#[test]
fn root_group_0_and_capabilities_are_more_than_is_needed() {
    let with = |uid, groups, capabilities| {
        let mut more = confined();
        more.status = Status { uid: Some(uid), groups, capabilities: Some(capabilities), ..more.status };
        judge(&more).remove(0)
    };
    for (check, shown) in [
        (with(0, vec![65532], 0), "user 0, groups 65532, no capability"),
        (with(65532, vec![65532, 0], 0), "user 65532, groups 65532 0, no capability"),
        (with(65532, vec![65532], 1 << 19), "user 65532, groups 65532, CAP_SYS_PTRACE"),
        (
            with(65532, vec![65532], 1 << 21 | 1 << 1),
            "user 65532, groups 65532, CAP_DAC_OVERRIDE CAP_SYS_ADMIN",
        ),
        (with(0, vec![0], 0x1ff_ffff_ffff), "user 0, groups 0, 41 capabilities"),
    ] {
        assert_eq!((check.verdict, check.found.as_str()), (Verdict::Notice, shown));
        assert!(check.cure.unwrap().contains("65532"));
    }
}

#[test]
fn a_process_that_could_gain_privileges_is_noticed() {
    for (no_new_privs, seccomp) in [(Some(false), Some(2)), (Some(true), Some(0))] {
        let mut loose = confined();
        loose.status = Status { no_new_privs, seccomp, ..loose.status };
        assert_eq!(verdicts(&loose), [Verdict::Ok, Verdict::Notice, Verdict::Ok]);
    }
    assert_eq!(verdicts(&Permissions::default()), [Verdict::Ok; 3]);
    assert_eq!(judge(&Permissions::default())[1].found, "no_new_privs unknown, seccomp filter unknown");
}

#[test]
fn selinux_s_container_type_is_noticed_where_it_is_enforced() {
    let container = Some("system_u:system_r:container_t:s0:c1,c2".to_owned());
    let module = |selinux, label: &Option<String>, modules: Option<&str>| {
        let (label, modules) = (label.clone(), modules.map(str::to_owned));
        judge(&Permissions { selinux, label, modules, ..confined() }).remove(2)
    };
    let enforced = module(Some(true), &container, None);
    assert_eq!(enforced.verdict, Verdict::Notice);
    assert!(enforced.found.contains("container_t") && enforced.cure.unwrap().contains("spc_t"));
    assert_eq!(module(Some(false), &container, None).verdict, Verdict::Ok);
    let privileged = Some("system_u:system_r:spc_t:s0".to_owned());
    assert_eq!(module(Some(true), &privileged, None).verdict, Verdict::Ok);
    let apparmor = Some("cri-containerd.apparmor.d (enforce)".to_owned());
    assert_eq!(module(None, &apparmor, None).found, "a label, we are cri-containerd.apparmor.d (enforce)");
    assert_eq!(module(None, &None, Some("lockdown,yama")).found, "lockdown,yama; no label on us");
    assert_eq!(module(None, &None, None).found, "none to be seen");
}
