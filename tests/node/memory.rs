//! Memory: against the files, read beside it while nothing changes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use podvitals::model::document::Memory;
use podvitals_testbed::Container;

use crate::daemon::Daemon;
use crate::find::container;
use crate::oracle;
use crate::stage::Stage;

const MIB: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn usage_and_working_set_equal_the_files(stage: Arc<Stage>) {
    let testbed = &stage.testbed;

    for size in [50, 500] {
        let pod = testbed.pod("memory").run().await.unwrap();
        let load = ["memory", "--anon", &format!("{size}MiB")];
        let container = pod.container("app").args(load).run().await.unwrap();
        container.wait_for("ready", PATIENCE).await.unwrap();
        let memory = compared(&stage, &container).await;
        let anon = memory.anon_bytes.unwrap();
        assert!((size * MIB..(size + 16) * MIB).contains(&anon), "{anon} of {size} MiB");
        assert!(memory.working_set_bytes.unwrap() >= size * MIB);
        pod.stop().await.unwrap();
    }

    let once = of_file(&stage, 1).await;
    assert!(once.inactive_file_bytes.unwrap() >= 24 * MIB, "read once, it is dropped first: {once:?}");
    assert!(once.working_set_bytes.unwrap() < 16 * MIB, "{once:?}");

    let often = of_file(&stage, 3).await;
    assert!(often.inactive_file_bytes.unwrap() < 16 * MIB, "read three times, it is active: {often:?}");
    assert!(often.working_set_bytes.unwrap() >= 24 * MIB, "{often:?}");

    let pod = testbed.pod("memory-tmpfs").run().await.unwrap();
    let load = ["memory", "--tmpfs", "/dev/shm/file", "32MiB"];
    let container = pod.container("app").args(load).run().await.unwrap();
    container.wait_for("ready", PATIENCE).await.unwrap();
    let tmpfs = compared(&stage, &container).await;
    assert!(tmpfs.file_bytes.unwrap() >= 32 * MIB, "tmpfs is in the cache: {tmpfs:?}");
    assert!(tmpfs.working_set_bytes.unwrap() >= 32 * MIB, "and in the working set: {tmpfs:?}");
    pod.stop().await.unwrap();
}

/// The memory of a container that has read a file of 32 MiB, which nobody had read before, so often.
async fn of_file(stage: &Stage, times: u32) -> Memory {
    let testbed = &stage.testbed;
    let folder = testbed.scratch().join(format!("read-{times}"));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("file");
    std::fs::write(&file, vec![7; 32 << 20]).unwrap();
    // The first who touches a page pays for it: what the write left in the cache must go.
    forget(&file);
    let pod = testbed.pod("memory-file").run().await.unwrap();
    let container = pod.container("app").args(["idle"]).mount(&folder, "/folder").run().await.unwrap();
    let load =
        ["/load".to_owned(), "read-file".into(), "/folder/file".into(), "--times".into(), times.to_string()];
    container.exec(load).await.unwrap().success().unwrap();
    let memory = compared(stage, &container).await;
    pod.stop().await.unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    memory
}

/// Writes the file out and drops its pages.
fn forget(file: &Path) {
    let file = std::fs::File::open(file).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
}

/// The container's memory after each daemon's was compared with its files.
async fn compared(stage: &Stage, of: &Container) -> Memory {
    let mut memory = Memory::default();
    for (_, daemon) in stage.observers() {
        memory = compared_by(daemon, of.id(), &of.cgroup_dir("memory").unwrap()).await;
    }
    memory
}

/// The memory of the container with this id in a sweep during which its files did not change.
pub(crate) async fn compared_by(daemon: &Daemon, id: &str, folder: &Path) -> Memory {
    let files = || {
        let stat = |key| oracle::keyed(folder.join("memory.stat"), key);
        let usage = oracle::number(folder.join("memory.usage_in_bytes"));
        [usage, stat("total_rss"), stat("total_cache"), stat("total_inactive_file"), stat("total_pgfault")]
    };
    for _ in 0..20 {
        let before = files();
        let memory = container(&daemon.next_list().await, id).memory.unwrap();
        if before != files() {
            continue;
        }
        let ours = [
            memory.usage_bytes,
            memory.anon_bytes.unwrap(),
            memory.file_bytes.unwrap(),
            memory.inactive_file_bytes.unwrap(),
            memory.page_faults.unwrap(),
        ];
        assert_eq!(ours, before, "usage, rss, cache, inactive file and faults in {}", folder.display());
        assert_eq!(memory.working_set_bytes, Some(before[0] - before[3]), "the kubelet's formula");
        return memory;
    }
    panic!("{} never stood still for a whole sweep", folder.display());
}
