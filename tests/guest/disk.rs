//! Block I/O of cgroup v2: each byte once, whatever lies on what, and for ever.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use podvitals::model::document::Io;
use podvitals::model::document::PodList;
use podvitals_testbed::made_up::Driver;
use podvitals_testbed::made_up::MadeUpChild;
use podvitals_testbed::made_up::MadeUpPod;
use tokio::time::sleep;

use crate::find::container;
use crate::find::pod;
use crate::stage::DRIVERS;
use crate::stage::FOLDER;
use crate::stage::MIB;
use crate::stage::Stage;
use crate::stage::run;

const EIGHT: u64 = 8 * MIB;

/// `(device, bytes written, stacked)` of each row with writes.
type Rows = Vec<(String, u64, bool)>;

pub(crate) async fn eight_mebibytes_are_counted_once_on_any_stack(stage: Arc<Stage>) {
    run(&format!("dd if=/dev/zero of={FOLDER}/loop0 bs=1M count=16 2>/dev/null; sync"));
    run(&format!("dd if=/dev/zero of={FOLDER}/loop1 bs=1M count=16 2>/dev/null; sync"));
    run(&format!("losetup /dev/loop0 {FOLDER}/loop0; losetup /dev/loop1 {FOLDER}/loop1"));
    dm("on-disk", "/dev/vda", 65_536);
    dm("on-loop", "/dev/loop1", 0);
    let stacks = [
        ("/dev/vda", vec![("vda", false)]),
        ("/dev/mapper/on-disk", vec![("dm-0", true), ("vda", false)]),
        ("/dev/loop0", vec![("loop0", false)]),
        ("/dev/mapper/on-loop", vec![("dm-1", true), ("loop1", false)]),
    ];
    for (number, (device, expected)) in stacks.into_iter().enumerate() {
        let made = stage.pod(DRIVERS[number % 2]).start().unwrap();
        let child = &made.children()[0];
        write_direct(&made, child, device);
        let list = stage.settled(&made).await;
        let rows: Rows =
            expected.iter().map(|(name, stacked)| ((*name).to_owned(), EIGHT, *stacked)).collect();
        for io in [pod(&list, made.uid()).io.clone().unwrap(), container(&list, child.id()).io.unwrap()] {
            assert_eq!(written(&io), rows, "{device}");
            assert_eq!(io.write_bytes, EIGHT, "{device}: the total has each byte once");
        }
    }
    run("dmsetup remove --noudevsync on-disk; dmsetup remove --noudevsync on-loop");
    run("losetup -d /dev/loop0; losetup -d /dev/loop1");
}

pub(crate) async fn what_removed_containers_wrote_stays_with_their_pod(stage: Arc<Stage>) {
    let mut made = stage.pod(Driver::Systemd).containers(2).start().unwrap();
    let children = made.children().to_vec();
    for child in &children {
        write_direct(&made, child, "/dev/vda");
    }
    let list = stage.settled(&made).await;
    assert_eq!(total(&list, &made), (2 * EIGHT, 2 * EIGHT));
    for child in children {
        made.remove_container(child.id()).unwrap();
        let list = stage.daemon.next_list().await;
        let (ours, kernel) = total(&list, &made);
        assert_eq!(ours, 2 * EIGHT, "whether or not the kernel keeps it ({kernel})");
        // Unlike v1 it does, and what is read again is the same.
        assert_eq!(kernel, in_file(&made).values().sum::<u64>());
        assert_eq!(kernel, 2 * EIGHT, "a v2 parent keeps what its children wrote");
    }
}

pub(crate) async fn a_device_that_goes_leaves_its_figures(stage: Arc<Stage>) {
    let made = stage.pod(Driver::Cgroupfs).start().unwrap();
    let child = &made.children()[0];
    run(&format!("dd if=/dev/zero of={FOLDER}/going bs=1M count=16 2>/dev/null; sync"));
    run(&format!("losetup /dev/loop5 {FOLDER}/going"));
    write_direct(&made, child, "/dev/loop5");
    let list = stage.settled(&made).await;
    assert_eq!(container(&list, child.id()).io.unwrap().write_bytes, EIGHT);
    let row = in_file(&made);
    assert_eq!(row.get("7:5"), Some(&EIGHT), "{row:?}");

    run("losetup -d /dev/loop5");
    remove_loop_device(5);
    let mut left = in_file(&made);
    for _ in 0..100 {
        if !left.contains_key("7:5") {
            break;
        }
        sleep(Duration::from_millis(50)).await;
        left = in_file(&made);
    }
    assert!(!left.contains_key("7:5"), "the kernel still has the row: {left:?}");
    for _ in 0..3 {
        let list = stage.daemon.next_list().await;
        let of_child = container(&list, child.id()).io.unwrap();
        assert_eq!((total(&list, &made).0, of_child.write_bytes), (EIGHT, EIGHT));
        assert_eq!(of_child.write_bytes_per_second, Some(0.0), "nothing was written");
    }
    write_direct(&made, child, "/dev/vda");
    let list = stage.daemon.next_list().await;
    assert_eq!(total(&list, &made).0, 2 * EIGHT, "and on it goes");
}

pub(crate) async fn buffered_writes_are_whose_pages_they_were(stage: Arc<Stage>) {
    let made = stage.pod(Driver::Systemd).containers(3).start().unwrap();
    let [alone, first, second] = [0, 1, 2].map(|at| made.children()[at].clone());
    stage.settled(&made).await;
    let dd = |child: &MadeUpChild, file: &str, blocks: &str| {
        let dd = format!("dd if=/dev/zero {file} bs=4096 {blocks} conv=notrunc 2>/dev/null");
        let words = ["/bin/sh", "-c", &dd];
        made.output_in(child, &words).unwrap();
    };
    dd(&alone, "of=/mnt/alone", "count=2048");
    let list = stage.daemon.next_list().await;
    assert_eq!(container(&list, alone.id()).io.unwrap().write_bytes, 0, "still in the cache");
    run("sync");
    dd(&first, "of=/mnt/shared", "count=1");
    run("sync");
    dd(&second, "of=/mnt/shared", "count=2048");
    run("sync");
    let list = stage.daemon.next_list().await;
    let bytes = [&alone, &first, &second].map(|child| container(&list, child.id()).io.unwrap().write_bytes);
    assert_eq!(bytes, [EIGHT, EIGHT + 4096, 0], "its writer's; then the inode's owner's, not the writer's");
}

/// A linear device of 8 MiB on another.
fn dm(name: &str, on: &str, from: u64) {
    let sectors = EIGHT / 512;
    run(&format!("dmsetup create --noudevsync {name} --table '0 {sectors} linear {on} {from}'"));
    run("dmsetup mknodes");
}

fn write_direct(made: &MadeUpPod, child: &MadeUpChild, device: &str) {
    let said = made.output_in(child, &["load", "write-direct", device, "8MiB"]).unwrap();
    assert_eq!(said.trim(), format!("{{\"writtenBytes\":{EIGHT}}}"));
}

fn written(io: &Io) -> Rows {
    let rows = io.devices.iter().filter(|row| row.write_bytes > 0);
    let mut rows: Rows =
        rows.map(|row| (row.device.clone().unwrap_or_default(), row.write_bytes, row.stacked)).collect();
    rows.sort();
    rows
}

/// What we say the pod has written, and what the kernel says now.
fn total(list: &PodList, made: &MadeUpPod) -> (u64, u64) {
    let io = pod(list, made.uid()).io.clone().unwrap();
    (io.write_bytes, io.raw.unwrap().write_bytes)
}

/// Bytes written by device number, as the pod's own file has them.
fn in_file(made: &MadeUpPod) -> BTreeMap<String, u64> {
    let text = std::fs::read_to_string(made.cgroup_dir("io").unwrap().join("io.stat")).unwrap();
    let row = |line: &str| {
        let (device, rest) = line.split_once(' ')?;
        let bytes = rest.split(' ').find_map(|field| field.strip_prefix("wbytes="))?;
        Some((device.to_owned(), bytes.parse().ok()?))
    };
    text.lines().filter_map(row).collect()
}

/// `LOOP_CTL_REMOVE` of `linux/loop.h`.
#[expect(unsafe_code, reason = "the only way to remove a loop device is this ioctl, which takes a number")]
fn remove_loop_device(number: usize) {
    const LOOP_CTL_REMOVE: rustix::ioctl::Opcode = 0x4C81;
    let control = std::fs::File::options().read(true).write(true).open("/dev/loop-control").unwrap();
    // SAFETY: the ioctl takes an integer and writes nothing.
    let removed = unsafe {
        let number = rustix::ioctl::IntegerSetter::<LOOP_CTL_REMOVE>::new_usize(number);
        rustix::ioctl::ioctl(&control, number)
    };
    removed.unwrap();
}
