//! Memory: against the files, with everything charged to a cgroup below the container's own.

use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;

use podvitals::model::document::Memory;
use podvitals_testbed::made_up::Driver;
use podvitals_testbed::made_up::MadeUpChild;
use podvitals_testbed::made_up::MadeUpPod;

use crate::find::container;
use crate::find::pod;
use crate::oracle;
use crate::stage::DRIVERS;
use crate::stage::FOLDER;
use crate::stage::MIB;
use crate::stage::Stage;
use crate::stage::run;

pub(crate) async fn working_sets_of_nested_cgroups_equal_the_files(stage: Arc<Stage>) {
    let file = format!("{FOLDER}/read");
    run(&format!("dd if=/dev/zero of={file} bs=1M count=32 2>/dev/null"));

    let (once, mut reader) = nested(&stage, Driver::Cgroupfs, &["read-file", &file]).await;
    assert!(reader.wait().unwrap().success());
    let memory = compared(&stage, &once).await;
    assert!(memory.inactive_file_bytes.unwrap() >= 24 * MIB, "read once, it is dropped first: {memory:?}");
    assert!(memory.working_set_bytes.unwrap() < 16 * MIB, "{memory:?}");
    drop(once);

    let (often, mut reader) = nested(&stage, Driver::Systemd, &["read-file", &file, "--times", "3"]).await;
    assert!(reader.wait().unwrap().success());
    let memory = compared(&stage, &often).await;
    assert!(memory.inactive_file_bytes.unwrap() < 16 * MIB, "read three times, it is active: {memory:?}");
    assert!(memory.working_set_bytes.unwrap() >= 24 * MIB, "{memory:?}");
    drop(often);

    for driver in DRIVERS {
        let tmpfs = "/dev/shm/file";
        let hold = ["memory", "--anon", "50MiB", "--tmpfs", tmpfs, "32MiB"];
        let (held, mut holder) = nested(&stage, driver, &hold).await;
        run(&format!(
            "until [ \"$(stat -c %s {tmpfs} 2>/dev/null)\" = {} ]; do usleep 50000; done",
            32 * MIB
        ));
        let memory = compared(&stage, &held).await;
        assert!((50 * MIB..66 * MIB).contains(&memory.anon_bytes.unwrap()), "{memory:?}");
        assert!(memory.file_bytes.unwrap() >= 32 * MIB, "tmpfs is in the cache: {memory:?}");
        assert!(memory.working_set_bytes.unwrap() >= 82 * MIB, "and in the working set: {memory:?}");
        drop(held);
        holder.wait().unwrap();
        std::fs::remove_file(tmpfs).unwrap();
    }
}

/// A pod whose one container has its processes in a cgroup below its own, as systemd in a container has;
/// the load program runs there too. What was in the page cache is nobody's.
async fn nested(stage: &Stage, driver: Driver, load: &[&str]) -> (MadeUpPod, Child) {
    run("sync; echo 3 > /proc/sys/vm/drop_caches");
    let made = stage.pod(driver).start().unwrap();
    let child = made.children()[0].clone();
    let folder = child.cgroup_dir("memory").unwrap();
    let below = folder.join("below");
    std::fs::create_dir(&below).unwrap();
    std::fs::write(below.join("cgroup.procs"), child.pid().to_string()).unwrap();
    if stage.kind.is_v2() {
        std::fs::write(folder.join("cgroup.subtree_control"), "+memory").unwrap();
    }
    let process = Command::new(made.load())
        .args(["enter", "--cgroup", below.to_str().unwrap(), "--", "load"])
        .args(load)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    stage.settled(&made).await;
    (made, process)
}

/// The container's memory in a sweep during which its files did not change, after it was compared with
/// them, and the pod's with its own.
pub(crate) async fn compared(stage: &Stage, of: &MadeUpPod) -> Memory {
    let child = &of.children()[0];
    let files = || [of.cgroup_dir("memory").unwrap(), folder_of(child)].map(|folder| read(stage, &folder));
    for _ in 0..20 {
        let before = files();
        let list = stage.daemon.next_list().await;
        let (details, kernels) = (details(stage, of), in_memory_stat(stage, of));
        if before != files() {
            continue;
        }
        assert_eq!(details, kernels, "mapped file, active file, dirty");
        let found = container(&list, child.id());
        let memory = found.memory.unwrap();
        for (ours, theirs) in
            [pod(&list, of.uid()).memory.clone().unwrap(), memory.clone()].iter().zip(before)
        {
            let figures = [
                ours.usage_bytes,
                ours.anon_bytes.unwrap(),
                ours.file_bytes.unwrap(),
                ours.inactive_file_bytes.unwrap(),
                ours.page_faults.unwrap(),
            ];
            assert_eq!(figures, theirs, "usage, anonymous, file, inactive file, faults");
            assert_eq!(ours.working_set_bytes, Some(theirs[0] - theirs[3]), "the kubelet's formula");
        }
        assert_eq!(
            pod(&list, of.uid()).containers.len(),
            2,
            "the sandbox and one: what lies below is no third"
        );
        return memory;
    }
    panic!("{} never stood still for a whole sweep", of.cgroup());
}

/// What only readers of cAdvisor's names look for, of the pod's own cgroup.
fn details(stage: &Stage, of: &MadeUpPod) -> [u64; 3] {
    let answer = stage.daemon.get(&format!("/api/v2.0/stats{}?count=1", of.cgroup()));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let stats: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let memory = &stats[of.cgroup()][0]["memory"];
    ["mapped_file", "total_active_file", "file_dirty"]
        .map(|key| memory[key].as_u64().unwrap_or_else(|| panic!("no {key}: {stats}")))
}

fn in_memory_stat(stage: &Stage, of: &MadeUpPod) -> [u64; 3] {
    let keys = match stage.kind.is_v2() {
        true => ["file_mapped", "active_file", "file_dirty"],
        false => ["total_mapped_file", "total_active_file", "total_dirty"],
    };
    keys.map(|key| oracle::keyed(of.cgroup_dir("memory").unwrap().join("memory.stat"), key))
}

fn folder_of(child: &MadeUpChild) -> std::path::PathBuf {
    child.cgroup_dir("memory").unwrap()
}

fn read(stage: &Stage, folder: &std::path::Path) -> [u64; 5] {
    let (usage, keys) = match stage.kind.is_v2() {
        true => ("memory.current", ["anon", "file", "inactive_file", "pgfault"]),
        false => {
            ("memory.usage_in_bytes", ["total_rss", "total_cache", "total_inactive_file", "total_pgfault"])
        }
    };
    let [anon, file, inactive, faults] = keys.map(|key| oracle::keyed(folder.join("memory.stat"), key));
    [oracle::number(folder.join(usage)), anon, file, inactive, faults]
}
