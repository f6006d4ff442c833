//! What the process in the pod may do, as the host sees it; and in which namespaces it may be started.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use serde_json::json;

use crate::stage::NAMESPACE;
use crate::stage::RELEASE;
use crate::stage::Stage;

/// Where the node's own files are mounted, and from where.
const HOST_PATHS: [(&str, &str); 2] = [("/host/proc", "/proc"), ("/host/sys/fs/cgroup", "/sys/fs/cgroup")];

/// What a runtime mounts into every container. None of it is the node's: a proc and a mqueue of the
/// container's own namespaces, memory-backed folders, and files of the pod.
const RUNTIMES_OWN: [&str; 8] = [
    "/proc",
    "/dev",
    "/dev/pts",
    "/dev/mqueue",
    "/dev/shm",
    "/dev/termination-log",
    "/etc/hosts",
    "/etc/hostname",
];

pub(crate) async fn the_process_has_no_privilege(stage: Arc<Stage>) {
    let pod = stage.daemon_pod().await;
    let on_node = stage.cluster.find_on_node(NAMESPACE, &pod).await.unwrap().unwrap();
    let pid = on_node.container("podvitals").unwrap().pid;
    assert_unprivileged(pid);
    assert_own_namespaces(pid);
    assert_mounts(pid);
    // A static program maps nothing but itself: no loader, no library.
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut files: Vec<_> =
        maps.lines().filter_map(|line| line.split_once('/')).map(|(_, path)| path).collect();
    files.dedup();
    assert_eq!(files, ["podvitals"], "{maps}");

    let spec = stage.cluster.get_json(&["pod", "-n", NAMESPACE, &pod]).await.unwrap()["spec"].take();
    for key in ["hostPID", "hostIPC", "hostNetwork", "shareProcessNamespace"] {
        assert_ne!(spec[key], true, "{key}");
    }
    let volumes = spec["volumes"].as_array().unwrap().iter();
    let mut paths: Vec<_> = volumes.filter_map(|volume| volume["hostPath"]["path"].as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, HOST_PATHS.map(|(_, path)| path));
    let mounts = spec["containers"][0]["volumeMounts"].as_array().unwrap();
    assert!(mounts.iter().all(|mount| mount["readOnly"] == true), "{mounts:?}");
    // The two, and the token of the ServiceAccount.
    assert_eq!(mounts.len(), 3, "{mounts:?}");
}

fn assert_unprivileged(pid: u32) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {key}: {status}")).split_whitespace().collect::<Vec<_>>()
    };
    assert_eq!(field("Uid"), ["65532"; 4], "real, effective, saved, of files");
    assert_eq!(field("Gid"), ["65532"; 4]);
    assert!(field("Groups").iter().all(|group| *group == "65532"), "{:?}", field("Groups"));
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(set), ["0000000000000000"], "{set}");
    }
    assert_eq!(field("NoNewPrivs"), ["1"]);
    assert_eq!(field("Seccomp"), ["2"], "filtered");
}

fn assert_own_namespaces(pid: u32) {
    let namespace = |pid: &str, kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
    // Ours are the node's: the kubelet and the runtime are our children.
    for kind in ["pid", "net", "ipc", "mnt", "uts"] {
        assert_ne!(namespace(&pid.to_string(), kind), namespace("self", kind), "{kind}");
    }
}

/// proc_pid_mountinfo(5): `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`.
struct Mount {
    root: String,
    point: String,
    read_only: bool,
    kind: String,
}

fn mounts(pid: u32) -> Vec<Mount> {
    let text = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let parse = |line: &str| {
        let (own, source) = line.split_once(" - ")?;
        let mut fields = own.split(' ').skip(3);
        Some(Mount {
            root: fields.next()?.to_owned(),
            point: fields.next()?.to_owned(),
            read_only: fields.next()?.split(',').any(|option| option == "ro"),
            kind: source.split(' ').next()?.to_owned(),
        })
    };
    text.lines().map(|line| parse(line).unwrap_or_else(|| panic!("{line}"))).collect()
}

fn assert_mounts(pid: u32) {
    let mounts = mounts(pid);
    let at = |point: &str| mounts.iter().find(|mount| mount.point == point);
    assert!(at("/").unwrap().read_only, "the root");
    for (point, _) in HOST_PATHS {
        let mount = at(point).unwrap_or_else(|| panic!("{point} is not mounted"));
        assert!(mount.read_only, "{point}");
        assert_eq!(mount.root, "/", "{point}: all of the node's");
    }
    assert_eq!(at("/host/proc").unwrap().kind, "proc");
    for mount in &mounts {
        let point = mount.point.as_str();
        let inside = |folder: &str| Path::new(point).starts_with(folder);
        // The runtime hides files of the container's proc under /dev/null.
        if mount.read_only || mount.root == "/null" || RUNTIMES_OWN.contains(&point) {
            continue;
        }
        // What is mounted on the node below the two comes along, and a runtime before containerd 2 makes
        // only the upper mount read-only; the cgroups of the container itself are mounted by the runtime.
        // All of that is root's, and must not be writable for others.
        let folders = HOST_PATHS.map(|(folder, _)| folder);
        assert!(
            folders.iter().chain(&["/sys/fs/cgroup"]).any(|folder| inside(folder)),
            "{point} is writable"
        );
        let seen = format!("/proc/{pid}/root{point}");
        let metadata = fs::metadata(&seen).unwrap_or_else(|error| panic!("{seen}: {error}"));
        assert_eq!((metadata.uid(), metadata.mode() & 0o022), (0, 0), "{point} is writable for us");
    }
}

pub(crate) async fn pod_security_takes_it_only_where_the_notes_say(stage: Arc<Stage>) {
    let daemon_set = ["daemonset", "-n", NAMESPACE, RELEASE];
    let mut daemon_set = stage.cluster.get_json(&daemon_set).await.unwrap();
    let spec = daemon_set["spec"]["template"]["spec"].take();
    let mut harmless = spec.clone();
    for volume in harmless["volumes"].as_array_mut().unwrap() {
        let name = volume["name"].take();
        *volume = json!({ "name": name, "emptyDir": {} });
    }
    for (level, allowed) in [("restricted", false), ("baseline", false), ("privileged", true)] {
        let namespace = format!("level-{level}");
        let label = ("pod-security.kubernetes.io/enforce", level);
        stage.cluster.create_namespace_with(&namespace, label).await.unwrap();
        stage.cluster.kubectl(&["create", "serviceaccount", RELEASE, "-n", &namespace]).await.unwrap();
        let refused = try_pod(&stage, &namespace, &spec).await;
        assert_eq!(refused.is_none(), allowed, "{level}: {refused:?}");
        if let Some(refused) = refused {
            let violation = format!("violates PodSecurity \"{level}:latest\"");
            assert!(refused.contains(&violation) && refused.contains("hostPath"), "{refused}");
        }
        // It is the two host paths, and nothing else, that the stricter levels mind.
        let refused = try_pod(&stage, &namespace, &harmless).await;
        assert_eq!(refused, None, "{level}, without host paths");
        stage.cluster.kubectl(&["delete", "namespace", &namespace, "--wait=false"]).await.unwrap();
    }
    let notes = stage.cluster.helm(&["get", "notes", RELEASE, "-n", NAMESPACE]).await.unwrap();
    assert!(notes.contains("pod-security.kubernetes.io/enforce=privileged"), "{notes}");
}

/// What the API server says against such a pod, without making it.
async fn try_pod(stage: &Stage, namespace: &str, spec: &Value) -> Option<String> {
    let metadata = json!({ "name": "tried", "namespace": namespace });
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec }).to_string();
    let command = ["create", "--dry-run=server", "-f", "-"];
    let refused = stage.cluster.kubectl_with_stdin(&command, Some(&pod)).await.err()?;
    Some(format!("{refused:#}"))
}
