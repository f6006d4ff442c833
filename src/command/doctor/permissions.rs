//! What we are allowed, judged: less is better, as long as the figures are there.

use crate::host::facts::permissions::Permissions;

use super::Check;

const PART: &str = "permissions";

/// By bit (capability.h). Those that podvitals could be tempted by come with what they would buy.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

pub(super) fn judge(permissions: &Permissions) -> Vec<Check> {
    vec![user(permissions), filters(permissions), security_module(permissions)]
}

fn user(permissions: &Permissions) -> Check {
    let status = &permissions.status;
    let check = |found: String| Check::ok(PART, "user", "self/status of /proc", found);
    let (Some(uid), Some(capabilities)) = (status.uid, status.capabilities) else {
        return check("not to be read".to_owned());
    };
    let groups: Vec<_> = status.groups.iter().map(u32::to_string).collect();
    let who = format!("user {uid}, groups {}", groups.join(" "));
    let held: Vec<_> =
        CAPABILITIES.iter().enumerate().filter(|(bit, _)| capabilities & (1 << bit) != 0).collect();
    let held = match held.len() {
        0 if uid != 0 && !status.groups.contains(&0) => return check(format!("{who}, no capability")),
        0 => "no capability".to_owned(),
        1..=4 => held.into_iter().map(|(_, name)| format!("CAP_{name}")).collect::<Vec<_>>().join(" "),
        many => format!("{many} capabilities"),
    };
    let consequence = "more than is needed: figures take no capability, no root and no group; SYS_PTRACE or the \
                       mount's group helps against hidepid only, group 0 or DAC_OVERRIDE to reach a runtime's socket";
    check(format!("{who}, {held}"))
        .notice(consequence, "run it as the chart does: user 65532, all capabilities dropped")
}

fn filters(permissions: &Permissions) -> Check {
    let status = &permissions.status;
    let shown = |on: Option<bool>| match on {
        Some(true) => "on",
        Some(false) => "off",
        None => "unknown",
    };
    let filter = status.seccomp.map(|mode| mode > 0);
    let found = format!("no_new_privs {}, seccomp filter {}", shown(status.no_new_privs), shown(filter));
    let check = Check::ok(PART, "confinement", "self/status of /proc", found);
    if status.no_new_privs == Some(false) || filter == Some(false) {
        return check.notice(
            "figures are the same; whoever takes over this process has more to go on with",
            "allowPrivilegeEscalation: false and seccompProfile RuntimeDefault, as the chart has them",
        );
    }
    check
}

fn security_module(permissions: &Permissions) -> Check {
    let at = "self/attr/current of /proc, /sys/kernel/security/lsm, /sys/fs/selinux/enforce";
    let check = |found: String| Check::ok(PART, "security module", at, found);
    let label = permissions.label.as_deref();
    let shown = label.map(|label| format!(", we are {label}")).unwrap_or_default();
    match permissions.selinux {
        Some(true) if label.is_some_and(|label| label.contains(":container_t:")) => check(format!(
            "SELinux enforces{shown}"
        ))
        .notice(
            "container_t may not look into processes of other domains: pods' networks can be absent, reason \
                 permission; see process 1 and pod networks above",
            "seLinuxOptions.type: spc_t in the chart's values",
        ),
        Some(enforces) => {
            check(format!("SELinux {}{shown}", if enforces { "enforces" } else { "only warns" }))
        }
        None => match (label, permissions.modules.as_deref()) {
            (Some(_), _) => check(format!("a label{shown}")),
            (None, Some(modules)) => check(format!("{modules}; no label on us")),
            (None, None) => check("none to be seen".to_owned()),
        },
    }
}

#[cfg(test)]
#[path = "permissions_tests.rs"]
mod tests;
