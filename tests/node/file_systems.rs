//! The node's file systems against stat(1), from inside containers and outside of them.

use std::process::Command;
use std::sync::Arc;

use podvitals::model::document::Node;
use serde_json::Value;

use crate::daemon::PODVITALS;
use crate::stage::Stage;

/// A disk of its own for the kubelet's directory and what containers write, and a root as a runtime makes one: `$1`
/// is a folder, `$2` podvitals, `$3` the layers. Nobody else writes on that disk.
const INSIDE: &str = r#"
set -e
truncate -s 64M "$1/disk.img"
mkfs.ext4 -q -F "$1/disk.img"
mkdir -p "$1/disk" "$1/root"
mount -o loop "$1/disk.img" "$1/disk"
store="$1/disk/store/snapshots"
mkdir -p "$1/disk/kubelet/pods/u1" "$store/1/fs/bin" "$store/2/fs" "$store/2/work"
echo 127.0.0.1 > "$1/disk/kubelet/pods/u1/etc-hosts"
head -c 8388608 /dev/urandom > "$1/disk/kubelet/pods/u1/volume"
mount -t overlay overlay -o "lowerdir=$3:/,upperdir=$store/2/fs,workdir=$store/2/work" "$1/root"
mount --bind "$1/disk/kubelet/pods/u1/etc-hosts" "$1/root/etc/hosts"
mount --rbind /proc "$1/root/proc"
mount --rbind /sys "$1/root/sys"
touch "$1/root/podvitals"
mount --bind "$2" "$1/root/podvitals"
sync -f "$1/disk"
chroot "$1/root" /podvitals get node --direct --source cgroup --output json
stat --file-system --format '%S %b %f %a %c %d' "$1/disk"
findmnt --noheadings --output SOURCE --target "$1/disk"
"#;

pub(crate) async fn a_container_tells_of_the_disk_below_it(stage: Arc<Stage>) {
    let folder = stage.testbed.scratch().join("file-systems");
    std::fs::create_dir_all(&folder).unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", INSIDE, "sh"])
        .args([folder.as_os_str(), PODVITALS.as_ref(), folder.join("disk/store/snapshots/1/fs").as_os_str()])
        .output()
        .unwrap();
    let [text, said] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{text}{said}");
    let [document, numbers, device] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}{said}") };
    let document: Value = serde_json::from_str(document).unwrap();
    let [disk] = &document["fileSystems"].as_array().unwrap()[..] else { panic!("{document:#}") };
    assert_eq!((disk["device"].as_str(), disk["type"].as_str()), (Some(device), Some("ext4")));
    // Not images: the lowest layer is the host's own root.
    assert_eq!(disk["holds"], serde_json::json!(["kubelet", "containers"]));
    let numbers: Vec<u64> = numbers.split(' ').map(|number| number.parse().unwrap()).collect();
    let [block, blocks, free, available, inodes, inodes_free] = numbers[..] else { panic!("{numbers:?}") };
    let told = ["capacityBytes", "usedBytes", "availableBytes", "inodes", "inodesFree"];
    let expected = [blocks * block, (blocks - free) * block, available * block, inodes, inodes_free];
    assert_eq!(told.map(|key| disk[key].as_u64().unwrap()), expected);
    assert!(expected[1] >= 8 << 20, "what was written is taken: {expected:?}");
    std::fs::remove_dir_all(&folder).unwrap();
}

/// A runtime without a kubelet: a pod sees what images and containers lie on, and nothing that a kubelet made.
pub(crate) async fn without_a_kubelet_a_pod_claims_only_the_runtime_s(stage: Arc<Stage>) {
    let [(_, root), (_, unprivileged)] = stage.observers();
    let listed = |node: Node| node.file_systems.unwrap_or_else(|| panic!("{:?}", node.unavailable));
    let (outside, inside) = (listed(root.node()), listed(unprivileged.node()));
    let [disk] = &inside[..] else { panic!("{inside:?}") };
    assert_eq!(
        (&*disk.holds, &disk.mount_point),
        (&["images".to_owned(), "containers".to_owned()][..], &None)
    );
    let same = outside.iter().find(|it| it.device == disk.device).unwrap_or_else(|| panic!("{outside:?}"));
    assert!(same.mount_point.is_some(), "{outside:?}");
    assert_eq!((same.capacity_bytes, same.inodes), (disk.capacity_bytes, disk.inodes));
    assert_eq!(same.kind, disk.kind);
    // Others write, too.
    assert!(same.used_bytes.abs_diff(disk.used_bytes) < 4 << 30 && disk.used_bytes > 0, "{same:?} {disk:?}");
}
