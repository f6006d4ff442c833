//! The cgroup tree judged: hierarchies, controllers, pods, block I/O and pressure.

use std::path::Path;

use crate::host::cgroup::layout::Version;
use crate::host::facts::cgroups::Cgroups;
use crate::host::facts::cgroups::Place;
use crate::host::facts::cgroups::Tree;

use super::Check;
use super::Core;

const PART: &str = "cgroups";

const MOUNT: &str = "mount the host's cgroup tree read-only and name it with --cgroup-root \
                     (PODVITALS_CGROUP_ROOT); the chart does both";

pub(super) fn judge(cgroups: &Cgroups) -> Vec<Check> {
    let at = cgroups.root.display().to_string();
    match &cgroups.tree {
        Err(why) => vec![Check::ok(PART, "tree", at, why).problem(
            &[Core::Pods, Core::Cpu, Core::Memory],
            "no pod is found and nothing is counted: serve does not start",
            MOUNT,
        )],
        Ok(tree) => {
            let mut checks = vec![mode(&at, tree), whole(&at, tree)];
            checks.extend(kubepods(tree));
            checks.extend(tree.places.iter().map(|place| controller(tree, place)));
            checks.extend([block_io(tree), pressure(tree)]);
            checks
        }
    }
}

fn mode(at: &str, tree: &Tree) -> Check {
    let has = |version| tree.places.iter().any(|place| place.at.as_ref().is_some_and(|at| at.1 == version));
    let found = match (has(Version::V1), has(Version::V2) || tree.has_pressure_side) {
        (true, true) => "hybrid: some controllers in version 1, the rest in version 2",
        (true, false) => "version 1",
        (false, _) => "version 2",
    };
    Check::ok(PART, "mode", at, found)
}

fn whole(at: &str, tree: &Tree) -> Check {
    let check = |found: &str| Check::ok(PART, "view", at, found);
    match tree.whole {
        None => check("not mounted by the kernel: a copy"),
        Some(true) => check("the whole tree"),
        Some(false) if tree.kubepods.is_empty() => {
            check("a part of the tree, without pods: the view of a cgroup namespace or a delegated subtree")
                .problem(&[Core::Pods], "the node's pods lie outside of what is seen", MOUNT)
        }
        Some(false) => check("a part of the tree, with pods in it").notice(
            "pods outside of it are not seen; on a node that is itself a container (kind, rootless) that is right",
            MOUNT,
        ),
    }
}

fn kubepods(tree: &Tree) -> Vec<Check> {
    let at = tree.watched.display().to_string();
    if tree.kubepods.is_empty() && tree.whole == Some(false) {
        // Said with the view already.
        return Vec::new();
    }
    if tree.kubepods.is_empty() {
        let found =
            Check::ok(PART, "pods", at, "no directory of a kubelet's pods (a name that ends with kubepods)");
        return vec![found.notice(
            "there are no pods to sample; a kubelet makes that directory when it starts",
            "run it on a node with a kubelet; if there is one, see that --cgroup-root is that node's tree",
        )];
    }
    let one = |found: &crate::host::facts::cgroups::Kubepods| {
        let at = tree.watched.join(&found.path).display().to_string();
        match &found.trouble {
            Some(why) => Check::ok(PART, "pods", at, why).problem(
                &[Core::Pods],
                "its pods are not found",
                "see who may list that directory; cgroup directories are readable by everybody unless a security \
                 module says no",
            ),
            None => {
                let (pods, containers) = (found.pods, found.containers);
                Check::ok(PART, "pods", at, format!("{pods} pods, {containers} containers and sandboxes"))
            }
        }
    };
    tree.kubepods.iter().map(one).collect()
}

/// What a controller is for, and what of the core job goes with it.
fn purpose(name: &str) -> (&'static str, &'static [Core]) {
    match name {
        "cpuacct" => ("CPU time is", &[Core::Cpu]),
        "memory" => ("memory is", &[Core::Memory]),
        "cpu" => ("CPU limits and throttling are", &[]),
        "io" => ("block I/O is", &[]),
        _ => ("numbers of processes are", &[]),
    }
}

fn controller(tree: &Tree, place: &Place) -> Check {
    let (figures, breaks) = purpose(place.name);
    let without = |check: Check, cure: String| {
        let consequence = format!("{figures} absent, reason controller_off");
        if breaks.is_empty() {
            check.notice(consequence, cure)
        } else {
            check.problem(breaks, consequence, cure)
        }
    };
    let Some((mount, version)) = &place.at else {
        let check = Check::ok(PART, place.name, "hierarchies", "in no hierarchy");
        let name = if place.name == "io" { "blkio" } else { place.name };
        let cure = format!(
            "mount it, or take cgroup_disable={name} from the kernel's command line; newer kernels leave out \
             version 1 of some controllers: boot with cgroup v2 (systemd.unified_cgroup_hierarchy=1)"
        );
        return without(check, cure);
    };
    let at = mount.display().to_string();
    if *version == Version::V1 {
        let partners = sharing(tree, place.name, mount);
        let shared = if partners.is_empty() { String::new() } else { format!(", together with {partners}") };
        return Check::ok(PART, place.name, at, format!("version 1{shared}"));
    }
    // CPU time is counted in every cgroup of version 2, without a controller.
    let off =
        tree.enabled.as_ref().filter(|on| place.name != "cpuacct" && !on.iter().any(|on| on == place.name));
    match off {
        None => Check::ok(PART, place.name, at, "version 2"),
        Some(on) => {
            let check =
                Check::ok(PART, place.name, at, format!("version 2, not on for pods (on: {})", on.join(" ")));
            let cure = "the kubelet turns it on in cgroup.subtree_control of its pods' directory, if every directory \
                        above has it on: see the kubelet's log, and Delegate= of the unit it runs in";
            without(check, cure.to_owned())
        }
    }
}

/// Other controllers of the same version 1 hierarchy.
fn sharing(tree: &Tree, name: &str, mount: &Path) -> String {
    let same =
        |other: &&Place| other.name != name && other.at.as_ref().is_some_and(|(path, _)| path == mount);
    tree.places.iter().filter(same).map(|other| other.name).collect::<Vec<_>>().join(" and ")
}

fn block_io(tree: &Tree) -> Check {
    let Some(accounting) = tree.accounting else {
        return match tree.place("io") {
            Some((mount, _)) => {
                Check::ok(PART, "block I/O", mount.display().to_string(), "counted in io.stat")
            }
            None => Check::ok(PART, "block I/O", "hierarchies", "not counted, without the controller"),
        };
    };
    let who = match (accounting.bfq, accounting.throttle) {
        (true, true) => "by the BFQ scheduler and by throttling",
        (true, false) => "by the BFQ scheduler",
        (false, true) => "by throttling",
        (false, false) => "by nobody",
    };
    let at = tree.place("io").map_or_else(String::new, |(mount, _)| mount.display().to_string());
    let check = Check::ok(
        PART,
        "block I/O",
        format!("{at}/blkio.*.io_service_bytes_recursive"),
        format!("counted {who}"),
    );
    let cure = "boot with cgroup v2, where block I/O is always counted; on version 1, BFQ as the disk's scheduler \
                counts, and so does throttling once any cgroup was given a limit on the disk, however high";
    if !accounting.any() {
        check.notice("block I/O is absent, reason blkio_not_accounted; it is never shown as 0", cure)
    } else if accounting.partly {
        check.notice("some busy disk is not counted, or not wholly: totals lack its share", cure)
    } else {
        check
    }
}

fn pressure(tree: &Tree) -> Check {
    let check = |found: String| Check::ok(PART, "pressure", "pressure/cpu of /proc", found);
    let consequence = "pressure is absent, reason kernel_without_psi";
    match &tree.pressure {
        Some(Ok(())) if tree.has_pressure_side => check("the kernel keeps it for every cgroup".to_owned()),
        Some(Ok(())) => check("kept for the machine, but cgroup v1 has no files for it".to_owned()).notice(
            "pressure of pods is absent",
            "boot with cgroup v2, or mount it beside version 1 (hybrid)",
        ),
        Some(Err(failure)) => check(failure.to_string())
            .notice(consequence, "psi=1 on the kernel's command line, where it is built in (CONFIG_PSI)"),
        None => check("not looked at".to_owned()),
    }
}

#[cfg(test)]
#[path = "cgroups_tests.rs"]
mod tests;
