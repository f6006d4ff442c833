//! Cgroup trees of other people's nodes: every pod and container found under its own UID and id, and
//! nothing else taken for one.
//!
//! `fixtures/cgroup/<layout>/` holds one node each: `tree.txt` its directories (`name = text` is a file),
//! `pods.txt` what has to be found, `proc-cgroup.txt` lines of `/proc/<pid>/cgroup` after the UID and the
//! id they stand for (`-`: none), `README.md` where it is from.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that fails fails the test")]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use podvitals::host::HostRoot;
use podvitals::host::cgroup::layout::Layout;
use podvitals::host::cgroup::names;
use podvitals::host::cgroup::tree;
use podvitals::model::identity::ContainerId;
use podvitals::model::identity::PodUid;
use podvitals::model::target::CgroupPath;
use proptest::prelude::*;

/// One layout, as directories of plain files.
struct Node {
    name: String,
    source: PathBuf,
    copy: PathBuf,
}

/// A pod as it has to be found: UID, class, ids.
type Pod = (String, String, BTreeSet<String>);

fn layouts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/cgroup");
    let mut found: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.is_dir());
    found.sort();
    found
}

impl Node {
    fn make(source: PathBuf) -> Self {
        let name = source.file_name().unwrap().to_str().unwrap().to_owned();
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        let copy =
            std::env::temp_dir().join(format!("podvitals-layout-{}-{thread}-{name}", std::process::id()));
        let node = Self { name, source, copy };
        for part in ["proc", "sys", "cgroup"] {
            fs::create_dir_all(node.copy.join(part)).unwrap();
        }
        for line in node.lines("tree.txt") {
            let (path, text) =
                line.split_once(" = ").map_or((line.as_str(), None), |(path, text)| (path, Some(text)));
            let path = node.copy.join("cgroup").join(path);
            match text {
                None => fs::create_dir_all(path).unwrap(),
                Some(text) => {
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(path, format!("{text}\n")).unwrap();
                }
            }
        }
        node
    }

    fn lines(&self, file: &str) -> Vec<String> {
        let path = self.source.join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    fn layout(&self) -> Layout {
        let [proc, cgroup, sys] = ["proc", "cgroup", "sys"].map(|part| self.copy.join(part));
        Layout::detect(&HostRoot { proc, cgroup, sys })
            .unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// Lines of `pods.txt` that begin with `word`, without it.
    fn expected(&self, word: &str) -> Vec<Vec<String>> {
        let words = |line: &String| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let lines =
            self.lines("pods.txt").iter().map(words).filter(|words| words[0] == word).collect::<Vec<_>>();
        lines.into_iter().map(|words| words[1..].to_vec()).collect()
    }

    fn expected_pods(&self) -> Vec<Pod> {
        let pod = |words: Vec<String>| {
            (words[0].clone(), words[1].clone(), words[2..].iter().cloned().collect::<BTreeSet<_>>())
        };
        let mut pods: Vec<Pod> = self.expected("pod").into_iter().map(pod).collect();
        pods.sort();
        pods
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.copy);
    }
}

fn found_pods(layout: &Layout) -> Vec<Pod> {
    let mut found = Vec::new();
    for kubepods in layout.kubepods() {
        for pod in tree::list_pods(layout, &kubepods).unwrap() {
            let ids = tree::list_containers(layout, &pod.path).unwrap();
            let ids = ids.iter().map(|container| container.id.to_string()).collect();
            found.push((pod.uid.to_string(), pod.qos_class.unwrap_or("-").to_owned(), ids));
        }
    }
    found.sort();
    found
}

#[test]
fn every_pod_and_container_of_every_layout_is_found_and_nothing_else() {
    let layouts = layouts();
    assert!(layouts.len() >= 16, "{layouts:?}");
    let mut total = (0, 0);
    for source in layouts {
        let node = Node::make(source);
        let layout = node.layout();
        let roots: Vec<_> = layout.kubepods().iter().map(CgroupPath::to_string).collect();
        assert_eq!(roots, node.expected("root").concat(), "{}", node.name);
        let expected = node.expected_pods();
        assert_eq!(found_pods(&layout), expected, "{}", node.name);
        let containers: usize = expected.iter().map(|(_, _, ids)| ids.len()).sum();
        assert!(expected.len() >= 2 && containers >= expected.len(), "{}: next to nothing in it", node.name);
        total = (total.0 + expected.len(), total.1 + containers);
    }
    assert!(total.0 >= 48 && total.1 >= 100, "{total:?}");
}

#[test]
fn every_process_of_every_layout_is_put_down_to_its_own_pod_and_container() {
    for source in layouts() {
        let node = Node::make(source);
        let lines = node.lines("proc-cgroup.txt");
        assert!(!lines.is_empty(), "{}", node.name);
        for line in lines {
            let mut words = line.splitn(3, ' ');
            let mut known = || words.next().filter(|word| *word != "-").map(str::to_owned);
            let expected = (known(), known());
            let line = words.next().unwrap();
            for line in [line.to_owned(), format!("{line} (deleted)")] {
                let (uid, id) = names::ids_in_cgroup_line(&line);
                let found = (uid.map(|uid| uid.to_string()), id.map(|id| id.to_string()));
                assert_eq!(found, expected, "{}: {line}", node.name);
            }
        }
    }
}

#[test]
fn what_watches_a_container_is_never_taken_for_it() {
    let mut seen = 0;
    for source in layouts() {
        let node = Node::make(source);
        for line in node.lines("tree.txt") {
            let name = line.rsplit('/').next().unwrap();
            if name.contains("conmon") {
                assert_eq!(names::parse_container_directory(name), None, "{name}");
                seen += 1;
            }
        }
    }
    assert!(seen >= 10, "{seen} monitors are not enough to say so");
}

#[test]
fn pods_inside_a_pod_are_not_given_to_the_outer_node() {
    let node =
        Node::make(layouts().into_iter().find(|path| path.ends_with("kind-in-docker-on-a-node")).unwrap());
    let nested: Vec<_> =
        node.lines("tree.txt").into_iter().filter(|line| line.matches("-pod").count() > 1).collect();
    assert!(!nested.is_empty());
    let found = found_pods(&node.layout());
    for line in nested {
        let uid = names::parse_pod_directory(line.rsplit('/').nth(1).unwrap()).unwrap();
        let id = names::parse_container_directory(line.rsplit('/').next().unwrap()).unwrap();
        assert!(
            found.iter().all(|(pod, _, ids)| *pod != uid.to_string() && !ids.contains(id.as_str())),
            "{line}"
        );
    }
}

/// Paths of pods' cgroups as nodes have them, copied by hand: driver and prefix, class, shape. `{uid}` is
/// the UID as the API has it, `{_}` with the dashes as systemd writes them.
const TABLE: [(&str, &str, &str); 18] = [
    ("cgroupfs", "Guaranteed", "kubepods/pod{uid}"),
    ("cgroupfs", "Burstable", "kubepods/burstable/pod{uid}"),
    ("cgroupfs", "BestEffort", "kubepods/besteffort/pod{uid}"),
    ("systemd", "Guaranteed", "kubepods.slice/kubepods-pod{_}.slice"),
    ("systemd", "Burstable", "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{_}.slice"),
    ("systemd", "BestEffort", "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{_}.slice"),
    ("kind", "Guaranteed", "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{_}.slice"),
    (
        "kind",
        "Burstable",
        "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{_}.slice",
    ),
    (
        "kind",
        "BestEffort",
        "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{_}.slice",
    ),
    (
        "/k8s/infra",
        "Guaranteed",
        "k8s.slice/k8s-infra.slice/k8s-infra-kubepods.slice/k8s-infra-kubepods-pod{_}.slice",
    ),
    (
        "/k8s/infra",
        "Burstable",
        "k8s.slice/k8s-infra.slice/k8s-infra-kubepods.slice/k8s-infra-kubepods-burstable.slice/k8s-infra-kubepods-burstable-pod{_}.slice",
    ),
    (
        "/k8s/infra",
        "BestEffort",
        "k8s.slice/k8s-infra.slice/k8s-infra-kubepods.slice/k8s-infra-kubepods-besteffort.slice/k8s-infra-kubepods-besteffort-pod{_}.slice",
    ),
    (
        "/pods.slice",
        "Guaranteed",
        "pods.slice.slice/pods.slice-kubepods.slice/pods.slice-kubepods-pod{_}.slice",
    ),
    (
        "/pods.slice",
        "Burstable",
        "pods.slice.slice/pods.slice-kubepods.slice/pods.slice-kubepods-burstable.slice/pods.slice-kubepods-burstable-pod{_}.slice",
    ),
    (
        "/pods.slice",
        "BestEffort",
        "pods.slice.slice/pods.slice-kubepods.slice/pods.slice-kubepods-besteffort.slice/pods.slice-kubepods-besteffort-pod{_}.slice",
    ),
    ("/custom/root", "Guaranteed", "custom/root/kubepods/pod{uid}"),
    ("/custom/root", "Burstable", "custom/root/kubepods/burstable/pod{uid}"),
    ("/custom/root", "BestEffort", "custom/root/kubepods/besteffort/pod{uid}"),
];

proptest! {
    /// Dashed as the API server makes them, and 32 digits as the kubelet does for static pods.
    #[test]
    fn any_uid_is_read_from_the_table_of_every_class_and_driver(
        digits in "[0-9a-f]{32}",
        dashed in any::<bool>(),
        id in "[0-9a-f]{64}",
    ) {
        let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
        let uid = if dashed { parts.join("-") } else { digits.clone() };
        for (driver, class, shape) in TABLE {
            let path = shape.replace("{uid}", &uid).replace("{_}", &uid.replace('-', "_"));
            let name = path.rsplit('/').next().unwrap();
            let found = names::parse_pod_directory(name);
            prop_assert_eq!(found.as_ref().map(PodUid::as_str), Some(uid.as_str()), "{} {}", driver, &path);
            prop_assert_eq!(names::qos_of(&CgroupPath::new(path.as_str())), Some(class), "{} {}", driver, &path);
            // Every level above is a root of pods, a class, or neither; never a pod.
            for above in path.split('/').rev().skip(1) {
                prop_assert!(names::parse_pod_directory(above).is_none(), "{} {}", driver, above);
            }
            let line = format!("0::/{path}/cri-containerd-{id}.scope");
            let (pod, container) = names::ids_in_cgroup_line(&line);
            prop_assert_eq!(pod.as_ref().map(PodUid::as_str), Some(uid.as_str()));
            prop_assert_eq!(container.as_ref().map(ContainerId::as_str), Some(id.as_str()));
        }
    }
}

#[test]
fn the_table_has_every_class_of_every_driver_once() {
    let mut classes: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (driver, class, _) in TABLE {
        assert!(classes.entry(driver).or_default().insert(class), "{driver} {class} twice");
    }
    assert!(classes.len() == 6 && classes.values().all(|classes| classes.len() == 3), "{classes:?}");
}

#[test]
fn every_layout_says_where_it_is_from() {
    for source in layouts() {
        let node = Node::make(source);
        let readme = node.lines("README.md");
        assert!(readme[0].starts_with("# ") && readme.len() > 1, "{}", node.name);
    }
}
