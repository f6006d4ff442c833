//! Block I/O on cgroup v1: not accounted until a source counts, exact from then on.

use std::sync::Arc;
use std::time::Duration;

use podvitals::model::document::Io;
use podvitals::model::unavailable::Unavailable;
use podvitals_testbed::Container;
use podvitals_testbed::Pod;
use tokio::time::Instant;

use crate::daemon::Daemon;
use crate::disk::Disk;
use crate::find::container;
use crate::find::pod;
use crate::stage::Stage;

const EIGHT_MIB: u64 = 8 << 20;

pub(crate) async fn eight_mebibytes_are_counted_once(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    // A disk of its own: once a rule was set on a disk, its kernel counts for ever.
    let disk = Disk::new(testbed, "blkio");
    let writer = testbed.pod("blkio").run().await.unwrap();
    let app = writer.container("app").args(["idle"]).mount(disk.folder(), "/disk").run().await.unwrap();

    write(&app).await;
    let mut counted_already = Vec::new();
    for (_, daemon) in stage.observers() {
        counted_already.push(is_not_accounted(daemon, &writer, &app, &disk).await);
    }

    // A rule that limits nothing, on another cgroup: from now on the kernel counts for all of them.
    let ticks = stage.observers().map(|(_, daemon)| daemon.list().tick);
    disk.account();
    write(&app).await;
    for (((_, daemon), tick), already) in stage.observers().into_iter().zip(ticks).zip(counted_already) {
        is_counted_once(daemon, tick, &writer, &app, &disk, already).await;
    }

    // The container goes; what it wrote stays in its pod's total, though the kernel forgets it.
    let app = writer.restart_container("app").await.unwrap();
    write(&app).await;
    for (_, daemon) in stage.observers() {
        let list = daemon.next_list().await;
        let io = container(&list, app.id()).io.unwrap();
        let row = io.devices.iter().find(|row| (row.major, row.minor) == disk.number()).unwrap();
        assert_eq!(row.write_bytes, EIGHT_MIB, "a new instance");
        let of_pod = pod(&list, writer.uid()).io.clone().unwrap();
        assert!(of_pod.write_bytes >= 2 * EIGHT_MIB, "{of_pod:?}");
    }
    writer.stop().await.unwrap();
    drop(disk);
}

/// Before any source counts there are no figures, and the reason. Returns whether another disk of this
/// machine was given a rule earlier: then this one alone is not counted.
async fn is_not_accounted(daemon: &Daemon, of: &Pod, app: &Container, disk: &Disk) -> bool {
    let list = daemon.next_list().await;
    let before = container(&list, app.id());
    let Some(io) = before.io else {
        let why = Some(&Unavailable::BlkioNotAccounted);
        assert_eq!(before.unavailable.get("io"), why);
        assert_eq!(pod(&list, of.uid()).unavailable.get("io"), why);
        return false;
    };
    assert!(io.devices.iter().all(|row| (row.major, row.minor) != disk.number()), "{io:?}");
    assert_eq!(before.unavailable.get("io.devices"), Some(&Unavailable::BlkioNotAccounted));
    true
}

async fn is_counted_once(
    daemon: &Daemon,
    mut tick: u64,
    of: &Pod,
    app: &Container,
    disk: &Disk,
    already: bool,
) {
    let deadline = Instant::now() + Duration::from_secs(5);
    let (list, io) = loop {
        let list = daemon.list_after(tick).await;
        tick = list.tick;
        let io = container(&list, app.id()).io;
        // The first sweep after the rule may have come in the midst of the write.
        let whole = |io: &Io| {
            let mut of_disk = io.devices.iter().filter(|row| (row.major, row.minor) == disk.number());
            of_disk.any(|row| row.write_bytes >= EIGHT_MIB)
        };
        if let Some(io) = io.filter(whole) {
            break (list, io);
        }
        assert!(Instant::now() < deadline, "never counted; log:\n{}", daemon.log());
    };
    let row = io.devices.iter().find(|row| (row.major, row.minor) == disk.number()).unwrap();
    assert_eq!((row.write_bytes, row.read_bytes, row.stacked), (EIGHT_MIB, 0, false), "exactly once");
    if !already {
        assert_eq!(io.write_bytes, EIGHT_MIB, "and once in the total");
        let of_pod = pod(&list, of.uid()).io.clone().unwrap();
        assert_eq!(of_pod.write_bytes, EIGHT_MIB);
        assert_eq!(of_pod.raw.unwrap().write_bytes, EIGHT_MIB);
    }
}

async fn write(app: &Container) {
    let output = app.exec(["/load", "write-direct", "/disk/file", "8MiB"]).await.unwrap();
    let counted: serde_json::Value = serde_json::from_str(&output.success().unwrap()).unwrap();
    assert_eq!(counted["writtenBytes"], EIGHT_MIB);
}
