//! Names as real nodes write them, and names that only look like them.

use proptest::prelude::*;

use super::*;

const UID: &str = "9c43ae1e-6c1b-4b5f-9d0a-0f3a8d1c2b7e";
const UID_ESCAPED: &str = "9c43ae1e_6c1b_4b5f_9d0a_0f3a8d1c2b7e";
const HASH: &str = "2e1bba2ad4a0ee4ed24a9a0ee1f1a2d9";
const ID: &str = "d84274c30296719ba09a7bf1b340ff80a3f1d84274c30296719ba09a7bf1b340";
const OTHER: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Writes the identifiers above into a shape such as `pod{uid}`.
fn fill(shape: &str) -> String {
    shape
        .replace("{uid}", UID)
        .replace("{uid_}", UID_ESCAPED)
        .replace("{hash}", HASH)
        .replace("{id}", ID)
        .replace("{other}", OTHER)
}

#[test]
fn pods_of_every_driver_prefix_and_class_are_recognised() {
    for (shape, uid) in [
        ("pod{uid}", UID),
        ("pod{hash}", HASH),
        ("kubepods-pod{uid_}.slice", UID),
        ("kubepods-burstable-pod{uid_}.slice", UID),
        ("kubepods-besteffort-pod{uid_}.slice", UID),
        ("kubepods-pod{hash}.slice", HASH),
        ("kubepods-burstable-pod{hash}.slice", HASH),
        ("kubelet-kubepods-pod{uid_}.slice", UID),
        ("kubelet-kubepods-burstable-pod{uid_}.slice", UID),
        ("kubelet-kubepods-besteffort-pod{uid_}.slice", UID),
        ("pods-kubepods-besteffort-pod{uid_}.slice", UID),
        ("k8s-infra-kubepods-burstable-pod{uid_}.slice", UID),
    ] {
        let name = fill(shape);
        assert_eq!(parse_pod_directory(&name).as_ref().map(PodUid::as_str), Some(uid), "{name}");
    }
}

#[test]
fn names_that_only_resemble_a_pod_are_refused() {
    for shape in [
        "",
        "pod",
        "pods",
        "podman",
        "podruntime.slice",
        "pod{uid}.slice",
        "pod{uid_}",
        "pod{uid}/x",
        "xpod{uid}",
        "pod9C43AE1E",
        "kubepods",
        "kubepods.slice",
        "kubepods-burstable.slice",
        "kubepods-pod.slice",
        "kubepods-pod{uid}.slice",
        "kubepods-burstable-pod{uid_}",
        "kubepods-guaranteed-pod{uid_}.slice",
        "system-pod{uid_}.slice",
        "kubepods-burstable-pod{uid_}.slice:cri-containerd:{id}",
        "kubepods-burstable-pod{uid_}é.slice",
        "pod012345678901234567890123456789012345678901234567890123456789012345",
    ] {
        assert_eq!(parse_pod_directory(&fill(shape)), None, "{shape}");
    }
}

#[test]
fn containers_of_every_runtime_are_recognised() {
    for shape in [
        "{id}",
        "cri-containerd-{id}.scope",
        "crio-{id}.scope",
        "crio-{id}",
        "docker-{id}.scope",
        "libpod-{id}.scope",
        "libpod-{id}",
        "nerdctl-{id}.scope",
        "kata_{id}",
    ] {
        let name = fill(shape);
        assert_eq!(parse_container_directory(&name).as_ref().map(ContainerId::as_str), Some(ID), "{name}");
        assert_eq!(is_virtual_machine(&name), shape.starts_with("kata_"), "{name}");
    }
}

#[test]
fn monitors_and_strangers_are_not_containers() {
    for shape in [
        "",
        ".scope",
        "crio-conmon-{id}.scope",
        "crio-conmon-{id}",
        "libpod-conmon-{id}.scope",
        "cri-containerd-.scope",
        "cri-containerd-{id}.scope.scope",
        "cri-containerd-{id}0.scope",
        "cri-containerd-cri-containerd-{id}.scope",
        "x-cri-containerd-{id}.scope",
        "{id}.scope",
        "kata_{id}.scope",
        "kata_overhead",
        "{id}0",
        "D84274C30296719BA09A7BF1B340FF80A3F1D84274C30296719BA09A7BF1B340",
        "d84274c30296",
        "pod{uid}",
        "container",
        "init.scope",
        "session-1.scope",
        "system.slice",
        "cri-containerd-{id}.slice",
        "é{id}",
    ] {
        assert_eq!(parse_container_directory(&fill(shape)), None, "{shape}");
    }
}

#[test]
fn the_class_is_read_off_the_path() {
    for (shape, class) in [
        ("kubepods/pod{uid}", Some("Guaranteed")),
        ("kubepods/burstable/pod{uid}", Some("Burstable")),
        ("kubepods/besteffort/pod{uid}", Some("BestEffort")),
        ("docker/{id}/kubepods/besteffort/pod{uid}", Some("BestEffort")),
        ("kubepods.slice/kubepods-pod{uid_}.slice", Some("Guaranteed")),
        ("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid_}.slice", Some("Burstable")),
        ("kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{uid_}.slice", Some("BestEffort")),
        (
            "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{uid_}.slice",
            Some("BestEffort"),
        ),
        ("kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{uid_}.slice", Some("Guaranteed")),
        ("kubepods/burstable", None),
        ("elsewhere/pod{uid}", None),
        ("pod{uid}", None),
        ("kubepods/burstable/pod{uid}/{id}", None),
    ] {
        assert_eq!(qos_of(&CgroupPath::new(fill(shape))), class, "{shape}");
    }
}

#[test]
fn roots_and_levels_of_all_pods_are_recognised() {
    for name in ["kubepods", "kubepods.slice", "kubelet-kubepods.slice", "mykubepods"] {
        assert!(is_kubepods(name), "{name}");
    }
    for name in ["kubepods-burstable.slice", "kubepods.slice.slice", "kubepodsx", "kubelet.slice", ""] {
        assert!(!is_kubepods(name), "{name}");
    }
    for name in ["burstable", "besteffort", "kubepods-burstable.slice", "kubelet-kubepods-besteffort.slice"] {
        assert!(is_qos_level(name), "{name}");
    }
    for name in ["guaranteed", "kubepods", "burstable.slice", "system-burstable.slice"] {
        assert!(!is_qos_level(name), "{name}");
    }
}

#[test]
fn the_ids_of_a_process_are_in_the_tail_of_its_cgroup() {
    let both = (Some(UID), Some(ID));
    for (shape, expected) in [
        ("4:memory:/kubepods/burstable/pod{uid}/{id}", both),
        ("0::/kubepods/pod{uid}/{id}", both),
        ("9:name=systemd:/kubepods/besteffort/pod{uid}/{id}", both),
        ("3:cpu,cpuacct:/kubepods/besteffort/pod{hash}/{id}", (Some(HASH), Some(ID))),
        (
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid_}.slice/cri-containerd-{id}.scope",
            both,
        ),
        ("0::/kubepods.slice/kubepods-pod{uid_}.slice/crio-{id}.scope", both),
        ("0::/kubepods.slice/kubepods-pod{uid_}.slice/crio-{id}.scope/container", both),
        (
            "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{uid_}.slice/cri-containerd-{id}.scope",
            both,
        ),
        ("0::/docker/{other}/kubepods/besteffort/pod{uid}/{id}", both),
        // From a private cgroup namespace the head is cut off.
        ("4:memory:/../../pod{uid}/{id}", both),
        (
            "0::/../../../kubepods-besteffort.slice/kubepods-besteffort-pod{uid_}.slice/docker-{id}.scope",
            both,
        ),
        ("0::/../{id}", (None, Some(ID))),
        ("0::/../cri-containerd-{id}.scope/init.scope", (None, Some(ID))),
        // The directory was removed under the process.
        ("4:memory:/kubepods/burstable/pod{uid}/{id} (deleted)", both),
        // Below a container anything may be called anything.
        ("0::/kubepods/pod{uid}/{id}/kubepods/pod{hash}/{other}", both),
        ("0::/kubepods/pod{uid}/{id}/cri-containerd-{other}.scope", both),
        ("0::/kubepods/pod{uid}/{id}/a:b/pod{hash}", both),
        ("0::/../{id}/pod{hash}/{other}", (None, Some(ID))),
        // No container, or none we would believe.
        ("0::/kubepods/burstable/pod{uid}", (Some(UID), None)),
        ("0::/kubepods/pod{uid}/crio-conmon-{id}.scope", (Some(UID), None)),
        ("0::/docker/{id}", (None, None)),
        ("0::/user.slice/user-1000.slice/{id}", (None, None)),
        ("0::/system.slice/crio-conmon-{id}.scope", (None, None)),
        ("0::/system.slice/containerd.service", (None, None)),
        ("0::/", (None, None)),
        ("0::", (None, None)),
        ("0:", (None, None)),
        ("", (None, None)),
    ] {
        let line = fill(shape);
        let (uid, id) = ids_in_cgroup_line(&line);
        assert_eq!(
            (uid.as_ref().map(PodUid::as_str), id.as_ref().map(ContainerId::as_str)),
            expected,
            "{line}"
        );
    }
}

#[test]
fn the_pod_of_a_container_is_its_nearest_ancestor_with_a_pods_name() {
    let pod = |shape: &str| pod_of(&CgroupPath::new(fill(shape))).map(|path| path.to_string());
    assert_eq!(pod("kubepods/pod{uid}/{id}"), Some(fill("kubepods/pod{uid}")));
    assert_eq!(pod("kubepods/pod{uid}"), Some(fill("kubepods/pod{uid}")));
    assert_eq!(pod("kubepods/burstable"), None);
    assert_eq!(pod(""), None);
}

/// As `ConvertCgroupNameToSystemd` of the kubelet does it: each part escaped, parents repeated.
fn systemd_name(parts: &[&str]) -> String {
    let escaped: Vec<String> = parts.iter().map(|part| part.replace('-', "_")).collect();
    format!("{}.slice", escaped.join("-"))
}

fn uid() -> impl Strategy<Value = String> {
    proptest::collection::vec(0_u8..16, 32).prop_map(|nibbles| {
        let digits: String = nibbles.iter().filter_map(|&n| char::from_digit(u32::from(n), 16)).collect();
        format!(
            "{}-{}-{}-{}-{}",
            &digits[..8],
            &digits[8..12],
            &digits[12..16],
            &digits[16..20],
            &digits[20..]
        )
    })
}

proptest! {
    #[test]
    fn every_uid_survives_both_drivers_and_every_class(uid in uid(), class in 0_usize..3, prefix in "[a-z]{0,8}") {
        let pod = format!("pod{uid}");
        let level = [None, Some("burstable"), Some("besteffort")][class];
        let mut parts = vec!["kubepods"];
        if !prefix.is_empty() {
            parts.insert(0, &prefix);
        }
        parts.extend(level);
        parts.push(&pod);
        let parsed = parse_pod_directory(&systemd_name(&parts));
        prop_assert_eq!(parsed.as_ref().map(PodUid::as_str), Some(uid.as_str()));
        let parsed = parse_pod_directory(&pod);
        prop_assert_eq!(parsed.as_ref().map(PodUid::as_str), Some(uid.as_str()));
    }

    #[test]
    fn any_line_is_read_without_a_panic(line in "\\PC{0,200}") {
        let _ = ids_in_cgroup_line(&line);
        let _ = (parse_pod_directory(&line), parse_container_directory(&line), qos_of(&CgroupPath::new(line.as_str())));
    }

    #[test]
    fn nothing_below_a_container_changes_whose_it_is(tail in "(/[a-z0-9:._-]{1,90}){0,5}") {
        let line = fill(&format!("0::/kubepods/pod{{uid}}/{{id}}{tail}"));
        let (uid, id) = ids_in_cgroup_line(&line);
        prop_assert_eq!(uid.as_ref().map(PodUid::as_str), Some(UID));
        prop_assert_eq!(id.as_ref().map(ContainerId::as_str), Some(ID));
    }
}
