//! Who we are to the kernel: user, capabilities, filters and security modules.
//!
//! From `/proc/self/status` (proc_pid_status(5)):
//!
//! ```text
//! Uid:  65532  65532  65532  65532
//! CapEff:  0000000000000000
//! NoNewPrivs:  1
//! Seccomp:  2
//! ```

use std::path::Path;

use crate::host::HostRoot;

use super::{first_line, number, text_of};

/// Who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// What the kernel says of this process.
    pub status: Status,
    /// The label a security module has put on us: `cri-containerd.apparmor.d (enforce)`,
    /// `system_u:system_r:container_t:s0:c1,c2`.
    pub label: Option<String>,
    /// The security modules of this kernel: `lockdown,capability,selinux`. Only to be seen where
    /// `securityfs` is mounted.
    pub modules: Option<String>,
    /// SELinux is there, and whether it enforces.
    pub selinux: Option<bool>,
}

/// The lines we need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Effective user.
    pub uid: Option<u32>,
    /// Effective group, then the supplementary ones.
    pub groups: Vec<u32>,
    /// Effective capabilities, one bit each.
    pub capabilities: Option<u64>,
    /// Whether exec can never grant more.
    pub no_new_privs: Option<bool>,
    /// 0 none, 1 strict, 2 a filter.
    pub seccomp: Option<u32>,
}

impl Permissions {
    /// Looks.
    pub fn read(root: &HostRoot) -> Self {
        // Our own mount of it: it is there also where that of the host is not.
        let own = Path::new("/proc/self");
        let status = text_of(&own.join("status"));
        let label = ["attr/apparmor/current", "attr/current"].into_iter();
        let enforce = number(&root.sys.join("fs/selinux/enforce"));
        Self {
            status: parse_status(&status),
            label: label.filter_map(|file| first_line(&own.join(file))).next(),
            modules: first_line(&root.sys.join("kernel/security/lsm")),
            selinux: enforce.map(|enforce| enforce == 1),
        }
    }
}

pub(in crate::host) fn parse_status(text: &str) -> Status {
    let mut status = Status::default();
    let mut groups = Vec::new();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let mut words = value.split_whitespace();
        match key {
            // Real, effective, saved, of the file system.
            "Uid" => status.uid = words.nth(1).and_then(|word| word.parse().ok()),
            "Gid" => groups.splice(0..0, words.nth(1).and_then(|word| word.parse().ok())).for_each(drop),
            "Groups" => groups.extend(words.filter_map(|word| word.parse::<u32>().ok())),
            "CapEff" => status.capabilities = u64::from_str_radix(value.trim(), 16).ok(),
            "NoNewPrivs" => status.no_new_privs = words.next().map(|word| word == "1"),
            "Seccomp" => status.seccomp = words.next().and_then(|word| word.parse().ok()),
            _ => {}
        }
    }
    for group in groups {
        if !status.groups.contains(&group) {
            status.groups.push(group);
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixture::Node;

    const CONFINED: &str = "Name:\tpodvitals\nUid:\t1\t65532\t2\t3\nGid:\t65532\t65532\t65532\t65532\n\
                            Groups:\t0 65532 \nCapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n";

    #[test]
    fn the_effective_user_and_all_groups_are_read_once() {
        let status = parse_status(CONFINED);
        assert_eq!((status.uid, status.groups), (Some(65532), vec![65532, 0]));
        assert_eq!(
            (status.capabilities, status.no_new_privs, status.seccomp),
            (Some(0), Some(true), Some(2))
        );
    }

    #[test]
    fn any_cut_of_the_text_is_read_without_a_panic() {
        for end in 0..CONFINED.len() {
            let _ = parse_status(&CONFINED[..end]);
        }
        assert_eq!(parse_status("Uid\nCapEff:\tx\n"), Status::default());
    }

    #[test]
    fn selinux_and_the_modules_are_read_from_sys() {
        let node = Node::new();
        node.write("sys/fs/selinux/enforce", "1");
        node.write("sys/kernel/security/lsm", "lockdown,capability,selinux");
        let permissions = Permissions::read(&node.root());
        assert_eq!(permissions.selinux, Some(true));
        assert_eq!(permissions.modules.as_deref(), Some("lockdown,capability,selinux"));
        assert!(permissions.status.uid.is_some());
    }
}
