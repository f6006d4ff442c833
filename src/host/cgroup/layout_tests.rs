//! Hierarchies as distributions mount them, as trees of plain files.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::*;
use crate::host::fixture::Node;

fn detect(node: &Node) -> Layout {
    Layout::detect(&node.root()).unwrap()
}

fn kubepods(node: &Node) -> Vec<String> {
    detect(node).kubepods().iter().map(CgroupPath::to_string).collect()
}

#[test]
fn separate_v1_hierarchies_are_placed_one_by_one() {
    let node = Node::v1(&["cpu", "cpuacct", "memory", "blkio", "pids", "freezer"]);
    let layout = detect(&node);
    for (controller, name) in &CONTROLLERS[..5] {
        assert_eq!(layout.version(*controller), Some(Version::V1), "{name}");
        assert_eq!(layout.mount(*controller), Some(node.path("cgroup").join(name).as_path()));
    }
    assert_eq!(layout.version(Controller::Pressure), None);
    assert_eq!(layout.watched(), node.path("cgroup/memory"));
    assert!(layout.is_v1_io() && !layout.on_kernel());
    assert_eq!(layout.memory_total_bytes(), Some(16 << 30));
    assert!(layout.describe().starts_with("cgroup v1: cpu=/"), "{}", layout.describe());
}

#[test]
fn co_mounted_and_linked_controllers_share_a_hierarchy() {
    for links in [false, true] {
        let node = Node::v1(&["cpu,cpuacct", "memory"]);
        if links {
            node.link("cpu,cpuacct", "cgroup/cpu");
            node.link("cpu,cpuacct", "cgroup/cpuacct");
        }
        let layout = detect(&node);
        let shared = node.path("cgroup/cpu,cpuacct");
        assert_eq!(layout.mount(Controller::Cpu), Some(shared.as_path()));
        assert_eq!(layout.mount(Controller::Cpuacct), Some(shared.as_path()));
        assert_eq!(layout.hierarchies.len(), 2);
        assert_eq!(layout.version(Controller::Pids), None);
    }
}

#[test]
fn on_a_hybrid_node_each_controller_is_placed_for_itself() {
    let node = Node::v1(&["cpu", "cpuacct", "memory", "unified"]);
    node.write("cgroup/unified/cgroup.controllers", "hugetlb pids io\n");
    let layout = detect(&node);
    assert_eq!(layout.version(Controller::Memory), Some(Version::V1));
    assert_eq!(layout.version(Controller::Cpuacct), Some(Version::V1));
    assert_eq!(layout.version(Controller::Pids), Some(Version::V2));
    assert_eq!(layout.version(Controller::Blkio), Some(Version::V2));
    assert_eq!(layout.mount(Controller::Pressure), Some(node.path("cgroup/unified").as_path()));
    assert_eq!(layout.watched(), node.path("cgroup/memory"));
    assert!(layout.describe().starts_with("cgroup v1 and v2:"));
}

#[test]
fn v1_without_memory_watches_the_next_controller() {
    let node = Node::v1(&["cpuacct", "blkio"]);
    assert_eq!(detect(&node).watched(), node.path("cgroup/cpuacct"));
    assert_eq!(detect(&node).version(Controller::Memory), None);
}

#[test]
fn v2_has_everything_in_one_place() {
    let node = Node::v2();
    let layout = detect(&node);
    for (controller, _) in CONTROLLERS {
        assert_eq!(layout.version(controller), Some(Version::V2));
    }
    assert_eq!(layout.watched(), node.path("cgroup"));
    assert!(!layout.is_v1_io());
}

#[test]
fn a_root_without_cgroups_is_refused_with_its_path() {
    let node = Node::new();
    let error = Layout::detect(&node.root()).unwrap_err();
    assert!(matches!(error, HostError::Io { .. }), "{error:?}");
    assert!(error.to_string().ends_with("/cgroup: cannot be read"), "{error}");
}

#[test]
fn kubepods_is_found_behind_any_prefix() {
    let node = Node::v2();
    for path in [
        "kubepods/burstable/pod1/x",
        "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice",
        "docker/d842/kubepods.slice",
        "a/b/c/d/e/kubepods",
        "a/b/c/d/e/f/kubepods",
        "system.slice/kubepods-burstable.slice",
    ] {
        node.make(&format!("cgroup/{path}"));
    }
    node.write("cgroup/mykubepods", "a file");
    assert_eq!(
        kubepods(&node),
        [
            "a/b/c/d/e/kubepods",
            "docker/d842/kubepods.slice",
            "kubelet.slice/kubelet-kubepods.slice",
            "kubepods"
        ]
    );
}

#[test]
fn a_kubelet_inside_a_pod_is_that_pods_own_business() {
    let node = Node::v1(&["memory"]);
    node.make("cgroup/memory/kubepods/burstable/podaa/bb/kubelet/kubepods/besteffort/podcc");
    assert_eq!(kubepods(&node), ["kubepods"]);
}

#[test]
fn an_inode_is_that_of_the_watched_directory() {
    let node = Node::v1(&["memory", "cpu"]);
    node.make("cgroup/memory/kubepods");
    node.make("cgroup/cpu/elsewhere");
    let layout = detect(&node);
    let expected = fs::metadata(node.path("cgroup/memory/kubepods")).unwrap().ino();
    assert_eq!(layout.inode(&CgroupPath::new("kubepods")), Some(expected));
    assert_eq!(layout.inode(&CgroupPath::new("elsewhere")), None);
}
