//! Made-up lists of mounts, and this machine's own.

use std::process::Command;

use super::*;

/// What is found: number, path, mount point, what it holds.
fn found(text: &str) -> Vec<(String, String, Option<String>, Vec<&'static str>)> {
    let survey = survey(&mounts(text.as_bytes()));
    let row = |it: Candidate| {
        (it.number, it.path.display().to_string(), it.mount_point, it.holds.words().collect::<Vec<_>>())
    };
    survey.candidates.into_iter().map(row).collect()
}

fn upper(text: &str) -> Option<Vec<&'static str>> {
    Some(survey(&mounts(text.as_bytes())).upper?.words().collect())
}

/// A pod's container under containerd, whose store is on a disk of its own.
const CONTAINER: &str = "\
801 790 0:66 / / ro,relatime master:9 - overlay overlay rw,lowerdir=/var/lib/containerd/s/snapshots/9/fs:/var/lib/containerd/s/snapshots/8/fs,upperdir=/var/lib/containerd/s/snapshots/44/fs,workdir=/var/lib/containerd/s/snapshots/44/work
802 801 0:70 / /proc rw,nosuid - proc proc rw
815 801 254:1 /var/lib/kubelet/pods/35427ce3-38e4/etc-hosts /etc/hosts rw,relatime - ext4 /dev/vda1 rw
816 801 254:1 /var/lib/kubelet/pods/35427ce3-38e4/containers/app/6a1f0e3d /dev/termination-log rw,relatime - ext4 /dev/vda1 rw
817 801 254:16 /io.containerd.grpc.v1.cri/sandboxes/7085/hostname /etc/hostname ro - xfs /dev/vdb rw
818 801 254:16 /io.containerd.grpc.v1.cri/sandboxes/7085/resolv.conf /etc/resolv.conf ro - xfs /dev/vdb rw
819 801 0:72 / /dev/shm rw - tmpfs shm rw,size=65536k
";

#[test]
fn a_container_sees_the_kubelets_file_system_through_its_hosts_file() {
    let row = |number: &str, path: &str, holds: &[&'static str]| {
        (number.to_owned(), path.to_owned(), None, holds.to_vec())
    };
    assert_eq!(
        found(CONTAINER),
        [row("254:1", "/etc/hosts", &["kubelet"]), row("254:16", "/etc/resolv.conf", &[])]
    );
    assert_eq!(upper(CONTAINER).unwrap(), ["images", "containers"]);
    let mounts = mounts(CONTAINER.as_bytes());
    let disk = survey(&mounts).candidates.remove(0);
    assert_eq!((&*disk.device, &*disk.kind), ("/dev/vda1", "ext4"));
}

#[test]
fn images_elsewhere_than_what_is_written_are_not_claimed() {
    let elsewhere =
        CONTAINER.replace("lowerdir=/var/lib/containerd/s/snapshots/9/fs", "lowerdir=/images/9/fs");
    assert_eq!(upper(&elsewhere).unwrap(), ["containers"]);
    let relative = CONTAINER.replace("lowerdir=/var/lib/containerd/s/snapshots/9/fs", "lowerdir=9/fs");
    assert_eq!(upper(&relative).unwrap(), ["images", "containers"], "containerd shortens long lists");
    let crio = "1 0 0:9 / / rw - overlay overlay rw,lowerdir=/s/overlay/l/AB:/s/overlay/l/CD,upperdir=/s/overlay/f0/diff";
    assert_eq!(upper(crio).unwrap(), ["images", "containers"]);
    let view = "1 0 0:9 / / ro - overlay overlay ro,lowerdir=/s/overlay/l/AB:/s/overlay/l/CD";
    assert_eq!(upper(view), None);
}

#[test]
fn a_container_that_is_no_pod_knows_no_kubelet() {
    let docker = "\
1 0 0:9 / / rw - overlay overlay rw,lowerdir=/d/overlay2/l/AB,upperdir=/d/overlay2/f0/diff
2 1 254:1 /var/lib/docker/containers/f0/hosts /etc/hosts rw - ext4 /dev/vda1 rw
";
    assert!(found(docker).iter().all(|(.., holds)| holds.is_empty()));
    let half = docker.replace("/var/lib/docker/containers/f0/hosts", "/pods/containers/etc-hosts/x");
    assert!(found(&half).iter().all(|(.., holds)| holds.is_empty()), "it only looks like one");
}

#[test]
fn what_lies_behind_a_network_or_a_process_is_never_asked() {
    for kind in ["nfs4", "cifs", "fuse.glusterfs", "9p", "virtiofs", "ceph", "autofs", "overlay"] {
        let text = CONTAINER.replace(" ext4 /dev/vda1 ", &format!(" {kind} away "));
        assert!(found(&text).iter().all(|(_, path, ..)| path != "/etc/hosts"), "{kind}");
        assert_eq!(found(&format!("1 0 0:9 / / rw - {kind} away rw")), [], "{kind}");
    }
    let memory = CONTAINER.replace(" ext4 /dev/vda1 ", " tmpfs tmpfs ");
    assert_eq!(survey(&mounts(memory.as_bytes())).candidates[0].kind, "tmpfs", "memory, and says so");
}

#[test]
fn outside_of_a_container_the_list_of_mounts_tells_where_each_path_is() {
    let node = "\
1 0 254:1 / / rw - ext4 /dev/vda1 rw
2 1 254:16 / /var/lib rw - ext4 /dev/vdb rw
3 1 254:32 / /mnt/kube\\040let rw - xfs /dev/vdc rw
4 1 0:50 / /run/containerd/k8s.io/f0/rootfs rw - overlay overlay rw,lowerdir=/var/lib/c/snapshots/1/fs,upperdir=/var/lib/c/snapshots/2/fs
5 1 0:51 / /home/x/merged rw - tmpfs tmpfs rw
";
    let row = |number: &str, at: &str, holds: &[&'static str]| {
        (number.to_owned(), at.to_owned(), Some(at.to_owned()), holds.to_vec())
    };
    let kubelet_and_store = row("254:16", "/var/lib", &["kubelet", "images", "containers"]);
    assert_eq!(found(node), [row("254:1", "/", &["root"]), kubelet_and_store.clone()]);
    let volume = "6 1 0:52 / /kubelet/pods/u1/volumes/kubernetes.io~projected/token rw - tmpfs tmpfs rw\n";
    let moved = format!("{node}{volume}");
    let store = row("254:16", "/var/lib", &["images", "containers"]);
    assert_eq!(
        found(&moved),
        [row("254:1", "/", &["root", "kubelet"]), store],
        "the kubelet's is where its volumes are"
    );
    let two =
        "7 1 0:53 / /x/merged rw - overlay overlay rw,lowerdir=/d/overlay2/l/A,upperdir=/d/overlay2/B/diff\n";
    let kubelet = row("254:16", "/var/lib", &["kubelet"]);
    assert_eq!(
        found(&format!("{node}{two}")),
        [row("254:1", "/", &["root"]), kubelet],
        "two runtimes, two disks"
    );
}

#[test]
fn a_mount_hides_the_one_before_it() {
    let hidden = format!("{CONTAINER}830 815 0:99 /x /etc/hosts rw - tmpfs tmpfs rw\n");
    assert_eq!(found(&hidden)[0], ("0:99".to_owned(), "/etc/hosts".to_owned(), None, vec![]));
    assert_eq!(found(&hidden)[1].1, "/dev/termination-log");
}

#[test]
fn every_cut_of_a_list_is_read_or_not() {
    for end in 0..CONTAINER.len() {
        let _ = survey(&mounts(&CONTAINER.as_bytes()[..end]));
    }
}

#[test]
fn numbers_are_those_of_statvfs() {
    let stat = StatVfs {
        f_bsize: 1 << 20,
        f_frsize: 4096,
        f_blocks: 1000,
        f_bfree: 600,
        f_bavail: 500,
        f_files: 0,
        f_ffree: 0,
        f_favail: 0,
        f_fsid: 1,
        f_flag: rustix::fs::StatVfsMountFlags::empty(),
        f_namemax: 255,
    };
    let read = space(&stat);
    assert_eq!((read.capacity_bytes, read.available_bytes), (4_096_000, 2_048_000));
    assert_eq!((read.used_bytes(), read.inodes), (1_638_400, None));
    assert!(is_same(&stat, &StatVfs { f_fsid: 2, ..stat }), "an overlay has an identity of its own");
    for other in
        [StatVfs { f_bfree: 599, ..stat }, StatVfs { f_files: 1, ..stat }, StatVfs { f_blocks: 999, ..stat }]
    {
        assert!(!is_same(&stat, &other));
    }
    let empty = StatVfs { f_blocks: 0, ..stat };
    assert!(!is_same(&empty, &empty), "a file system without numbers is like every other without");
}

#[test]
fn without_mounts_of_our_own_there_is_nothing() {
    let root = HostRoot { proc: "/nonexistent".into(), cgroup: "/".into(), sys: "/".into() };
    let health = Health::default();
    assert_eq!(FileSystemReader::new(&root).read(&health).unwrap_err(), Unavailable::Permission);
    assert_eq!(health.counted(Room::Host, Trouble::Denied), 0);
}

#[test]
fn this_machine_has_what_df_says() {
    let root = HostRoot { proc: "/proc".into(), cgroup: "/sys/fs/cgroup".into(), sys: "/sys".into() };
    let read = FileSystemReader::new(&root).read(&Health::default()).unwrap().value;
    for file_system in read.iter() {
        let Some(mount_point) = &file_system.mount_point else { continue };
        let df = Command::new("df").args(["-B1", "--output=source,fstype,size,itotal", mount_point]).output();
        let df = String::from_utf8(df.unwrap().stdout).unwrap();
        let row: Vec<&str> = df.lines().nth(1).unwrap().split_whitespace().collect();
        let Space { capacity_bytes, inodes, .. } = file_system.space;
        let inodes = inodes.map_or_else(|| "-".to_owned(), |inodes| inodes.total.to_string());
        assert_eq!(row[1..], [&file_system.kind, &capacity_bytes.to_string(), &inodes], "{row:?}");
    }
}
