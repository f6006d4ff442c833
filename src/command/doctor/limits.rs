//! Descriptors, memory, watches and clocks, judged against what this node needs.

use jiff::Timestamp;

use crate::host::facts::Machine;
use crate::host::facts::cgroups::Tree;
use crate::host::facts::limits::Limits;

use super::Check;

const PART: &str = "limits";

/// Files read of one cgroup each sweep, on version 1; version 2 has fewer.
const FILES: usize = 13;

/// What a node of 110 pods takes, with room for readers.
const MEMORY_BYTES: u64 = 48 << 20;

/// 2025-01-01: a clock before that was never set.
const NEVER_SET: u64 = 1_735_689_600;

/// Clock sources that are read through a slow bus, a microsecond and more each time.
const SLOW: [&str; 4] = ["hpet", "acpi_pm", "pit", "jiffies"];

pub(super) fn judge(limits: &Limits, tree: Option<&Tree>) -> Vec<Check> {
    vec![descriptors(limits, tree), memory(limits), watches(limits)]
}

fn descriptors(limits: &Limits, tree: Option<&Tree>) -> Check {
    let cgroups = tree.map_or(0, |tree| tree.containers.len() + tree.pods());
    let (needed, kept) = (cgroups * FILES, limits.cached);
    let most = limits.descriptors.map_or_else(|| "any number".to_owned(), |most| most.to_string());
    let found =
        format!("{most} descriptors, {kept} of them for cgroup files; {cgroups} cgroups have up to {needed}");
    let check = Check::ok(PART, "descriptors", "RLIMIT_NOFILE, our memory limit", found);
    if kept < needed {
        return check.notice(
            "files beyond that are opened and closed in each sweep: the same figures for more CPU time",
            "a higher hard limit of descriptors, and eight times as much memory as they cost (4.4 KB each)",
        );
    }
    check
}

fn memory(limits: &Limits) -> Check {
    let check = |found: String| Check::ok(PART, "memory", "memory.max, memory.limit_in_bytes", found);
    match limits.memory_bytes {
        None => check("no limit to be seen".to_owned()),
        Some(bytes) => {
            let check = check(format!("{} MiB", bytes >> 20));
            if bytes >= MEMORY_BYTES {
                return check;
            }
            check.notice(
                "a large node may need more: the kernel would end podvitals",
                "resources.limits.memory of 64 MiB, for 1,000 containers",
            )
        }
    }
}

fn watches(limits: &Limits) -> Check {
    let shown = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
    let (instances, watches) = (shown(limits.max_instances), shown(limits.max_watches));
    let at = format!("fs.inotify.max_user_instances={instances}, max_user_watches={watches}");
    match &limits.watches {
        Ok(()) => Check::ok(PART, "inotify", at, "cgroup directories can be watched"),
        Err(failure) => Check::ok(PART, "inotify", at, failure.to_string()).notice(
            "pods are listed in each sweep instead: new containers are seen up to an interval later",
            "sysctl fs.inotify.max_user_instances=1024 fs.inotify.max_user_watches=524288 on the node; they count by \
             user, so another user for podvitals helps too",
        ),
    }
}

pub(super) fn judge_clock(machine: &Machine) -> Vec<Check> {
    let second =
        i64::try_from(machine.unix_seconds).ok().and_then(|second| Timestamp::from_second(second).ok());
    let shown = second.map_or_else(|| "beyond any calendar".to_owned(), |second| second.to_string());
    let check = Check::ok(PART, "clock", "CLOCK_REALTIME", shown);
    let set = if machine.unix_seconds < NEVER_SET {
        check.notice(
            "tokens and certificates are taken for not yet valid, and times in documents are wrong; rates are right, \
             they are taken from the clock that nobody sets",
            "set the node's clock (chrony, systemd-timesyncd)",
        )
    } else {
        check
    };
    let source = machine.clock_source.as_deref();
    let check = Check::ok(
        PART,
        "clock source",
        "clocksource0/current_clocksource",
        source.unwrap_or("not to be seen"),
    );
    let slow = source.is_some_and(|source| SLOW.contains(&source));
    let source = if slow {
        check.notice(
            "each reading of the clock takes a microsecond or more, and there is one for each file: sweeps cost more",
            "tsc or kvm-clock, if the machine has a stable one (clocksource= on the kernel's command line)",
        )
    } else {
        check
    };
    vec![set, source]
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
