//! The mount of `/proc` judged: whose it is, what it hides, and whether pods' networks can be read.

use crate::config::NetworkChoice;
use crate::host::facts::Failure;
use crate::host::facts::processes::Processes;

use super::Check;
use super::Core;

const PART: &str = "processes";

const MOUNT: &str = "mount the host's /proc read-only and name it with --proc-root (PODVITALS_PROC_ROOT); the chart \
                     does both";

pub(super) fn judge(processes: &Processes, side: NetworkChoice) -> Vec<Check> {
    let at = processes.root.display().to_string();
    if !processes.is_proc {
        return vec![Check::ok(PART, "mount", at, "no proc file system").problem(
            &[Core::Network],
            "pods' networks and the node's own figures are absent",
            MOUNT,
        )];
    }
    let whose =
        if processes.kernel_threads { "the machine's own" } else { "without kernel threads: a container's" };
    let mount = Check::ok(PART, "mount", &at, format!("a proc file system, {whose}"));
    let mount = if processes.kernel_threads || processes.first.is_err() || processes.sight.with_process > 0 {
        mount
    } else {
        mount.notice(
            "it shows the processes of one container, and no pod's; a node that is itself a container has such a one",
            MOUNT,
        )
    };
    vec![
        mount,
        first(processes, &at),
        node_network(processes, &at),
        sight(processes, &at),
        pid_namespace(processes, &at),
        network_namespace(processes, &at, side),
    ]
}

fn first(processes: &Processes, at: &str) -> Check {
    let at = format!("{at}/1/stat");
    let options = processes.options.as_deref();
    let shown = options.map(|options| format!(" ({options})")).unwrap_or_default();
    let absent = |check: Check, cure: &str| {
        let consequence = "processes of other users are not seen: pods' networks are absent, reason hidepid";
        check.problem(&[Core::Network], consequence, cure)
    };
    match &processes.first {
        Ok(()) => {
            let free = if options.is_some() { "readable: we are exempt from hidepid" } else { "readable: no hidepid" };
            Check::ok(PART, "process 1", at, format!("{free}{shown}"))
        }
        Err(failure @ (Failure::Absent | Failure::NotPermitted)) => absent(
            Check::ok(PART, "process 1", at, format!("{failure}: the mount hides processes, hidepid{shown}")),
            "give podvitals the group that the mount exempts (mount option gid=, supplementalGroups in \
             podSecurityContext), or CAP_SYS_PTRACE; or mount /proc without hidepid",
        ),
        Err(failure @ Failure::Denied) => Check::ok(PART, "process 1", at, format!("{failure}, by a security module"))
            .problem(
                &[Core::Network],
                "processes of pods are not seen: their networks are absent, reason permission",
                "SELinux: run podvitals as type spc_t (seLinuxOptions.type in the chart) or allow container_t to read \
                 other domains' proc files; AppArmor: a profile that may read /proc (appArmorProfile)",
            ),
        Err(failure) => absent(Check::ok(PART, "process 1", at, failure.to_string()), MOUNT),
    }
}

fn node_network(processes: &Processes, at: &str) -> Check {
    let at = format!("{at}/1/net/dev");
    let check = |found: String| Check::ok(PART, "node's NICs", at, found);
    match (&processes.first_netns, &processes.first_network) {
        (Err(failure), _) => check(failure.to_string()).problem(
            &[Core::Network],
            "which pods are on the host's network cannot be told: the networks of all pods are absent, reason \
             permission, and the node's own figures too",
            "as for process 1",
        ),
        (Ok(()), Ok(())) => check("readable".to_owned()),
        (Ok(()), Err(failure)) => check(failure.to_string())
            .notice("the node's own network figures are absent", "as for process 1"),
    }
}

fn sight(processes: &Processes, at: &str) -> Check {
    let sight = &processes.sight;
    let at = format!("{at}/<pid>/{{cgroup,net/dev}}");
    let check = |found: String| Check::ok(PART, "pod networks", at, found);
    let (all, seen, read) = (sight.containers, sight.with_process, sight.with_network);
    if all == 0 {
        return check("there is no container to look at".to_owned());
    }
    let refused: Vec<_> = sight.refused.iter().map(|(why, times)| format!("{times} {why}")).collect();
    let refused = refused.join(", ");
    let absent = "pods' networks are absent, reason no_process";
    if seen == 0 {
        let found = check(format!("of {all} containers no process is seen"));
        return found.problem(
            &[Core::Network],
            absent,
            format!("{MOUNT}; see process 1 above for what may hide them"),
        );
    }
    if read == 0 {
        let found = check(format!("of {seen} containers with a process no network can be read: {refused}"));
        return found.problem(
            &[Core::Network],
            "pods' networks are absent, reason permission",
            "as for process 1",
        );
    }
    if read < seen {
        let found = check(format!("of {seen} containers the network of {read} can be read: {refused}"));
        return found
            .notice("networks of the others are absent", "a security module may tell them apart by label");
    }
    if seen < all {
        let found =
            check(format!("of {all} containers {seen} have a process, and their networks can be read"));
        return found.notice(
            "one without a process may be ending; if they stay, its pod may lack its network, reason no_process",
            "ask again; podvitals explain UID says what was looked at",
        );
    }
    check(format!("of all {all} containers a process is seen and its network can be read"))
}

fn pid_namespace(processes: &Processes, at: &str) -> Check {
    let at = format!("{at}/self/status, NSpid");
    match processes.depth {
        Some(0) => Check::ok(PART, "pid namespace", at, "that of the mount").means("cgroup.procs names processes"),
        Some(_) => Check::ok(PART, "pid namespace", at, "our own, as the default profile has it").means(
            "a new container's process is looked for in all of /proc once; profile.hostPID would buy reading it from \
             cgroup.procs, no further figure, and would let us signal every process of our user",
        ),
        None => Check::ok(PART, "pid namespace", at, "the mount does not show us").notice(
            "it is that of another container, or of one beside ours",
            MOUNT,
        ),
    }
}

fn network_namespace(processes: &Processes, at: &str, side: NetworkChoice) -> Check {
    let at = format!("{at}/1/net/dev and our own");
    let check = |found: &str| Check::ok(PART, "network namespace", at, found);
    match processes.host_network {
        Some(true) => check("the host's").means("hostInterface is known, and --network-source host works"),
        found if side == NetworkChoice::Host => {
            let found = if found.is_some() { "our own" } else { "cannot be compared" };
            check(found).problem(
                &[Core::Network],
                "--network-source host reads the host's ends of veth pairs, and they are not to be seen from here",
                "--network-source auto, which needs no grant; or profile.hostNetwork in the chart",
            )
        }
        Some(false) => check("our own, as the default profile has it").means(
            "pods' traffic is read from inside each pod's; profile.hostNetwork would buy hostInterface and a second \
             reading to compare with, and would put our port on the node, past any NetworkPolicy",
        ),
        None => check("cannot be compared").means("pods' traffic is read from inside each pod's"),
    }
}

#[cfg(test)]
#[path = "processes_tests.rs"]
mod tests;
