//! What a kernel does not count is absent, and says why; it is never zero.

use std::sync::Arc;
use std::time::Duration;

use podvitals::model::document::Pressure;
use podvitals::model::unavailable::Unavailable;
use podvitals_testbed::made_up::Driver;
use tokio::time::Instant;

use crate::find::container;
use crate::find::pod;
use crate::stage::Stage;

/// While a cgroup is this young a missing file may still come.
const YOUNG: Duration = Duration::from_secs(2);

pub(crate) async fn each_controller_is_found_where_it_is(stage: Arc<Stage>) {
    let log = stage.daemon.log();
    let line = log.lines().find(|line| line.contains("memory=")).unwrap_or_else(|| panic!("{log}"));
    let expected: &[&str] = match stage.kind.is_v2() {
        true => &[
            "cpu=/sys/fs/cgroup(v2)",
            "cpuacct=/sys/fs/cgroup(v2)",
            "memory=/sys/fs/cgroup(v2)",
            "blkio=/sys/fs/cgroup(v2)",
            "pids=/sys/fs/cgroup(v2)",
            "pressure=/sys/fs/cgroup(v2)",
        ],
        false => &[
            "cpu=/sys/fs/cgroup/cpu,cpuacct(v1)",
            "cpuacct=/sys/fs/cgroup/cpu,cpuacct(v1)",
            "memory=/sys/fs/cgroup/memory(v1)",
            "blkio=/sys/fs/cgroup/blkio(v1)",
            "pids=/sys/fs/cgroup/pids(v1)",
            "pressure=none",
        ],
    };
    for place in expected {
        assert!(line.contains(place), "{place} is not in: {line}");
    }
}

pub(crate) async fn a_controller_that_is_not_handed_down_is_off_and_not_zero(stage: Arc<Stage>) {
    let made = stage.pod(Driver::Systemd).start().unwrap();
    let child = &made.children()[0];
    stage.settled(&made).await;
    let with = container(&stage.daemon.next_list().await, child.id());
    assert!(
        with.memory.is_some_and(|memory| memory.usage_bytes > 0) && with.io.is_some() && with.pids.is_some()
    );

    // While it is sampled, and its files are open.
    let control = made.cgroup_dir("memory").unwrap().join("cgroup.subtree_control");
    std::fs::write(&control, "-memory -io -pids -cpu").unwrap();
    let left = std::fs::read_to_string(&control).unwrap();
    assert!(!left.contains("memory"), "still handed down: {left}");
    let deadline = Instant::now() + YOUNG + Duration::from_secs(5);
    let without = loop {
        let list = stage.daemon.next_list().await;
        let found = list.pods.iter().flat_map(|pod| &pod.containers);
        let off = found.filter(|one| one.id.as_deref() == Some(child.id())).find(|one| {
            one.unavailable.get("memory") == Some(&Unavailable::ControllerOff)
                && one.cpu.as_ref().is_some_and(|cpu| cpu.cores.is_some())
        });
        if let Some(off) = off {
            break off.clone();
        }
        assert!(Instant::now() < deadline, "{:#?}", list.pods);
    };
    let off = Some(&Unavailable::ControllerOff);
    assert!(without.memory.is_none() && without.io.is_none() && without.pids.is_none(), "{without:#?}");
    for path in ["memory", "io", "pids", "cpu.throttling"] {
        assert_eq!(without.unavailable.get(path), off, "{path}: {:?}", without.unavailable);
    }
    let cpu = without.cpu.unwrap();
    assert!(cpu.usage_nanoseconds > 0 && cpu.throttling.is_none(), "time is counted without a controller");
    let list = stage.daemon.next_list().await;
    let of_pod = pod(&list, made.uid());
    assert!(of_pod.memory.as_ref().unwrap().usage_bytes > 0, "the pod's own is there");
    assert!(!of_pod.unavailable.contains_key("memory"), "{:?}", of_pod.unavailable);
}

pub(crate) async fn pressure_lies_between_the_file_before_and_after(stage: Arc<Stage>) {
    // Two that want the same CPU: each waits half of the time.
    let spin = ["load", "spin", "--cpu", "1"];
    let made = stage.pod(Driver::Cgroupfs).command(&spin).containers(2).start().unwrap();
    stage.settled(&made).await;
    let folders = [made.cgroup_dir("cpu").unwrap(), made.children()[0].cgroup_dir("cpu").unwrap()];
    let files = || {
        let some = |folder: &std::path::PathBuf| {
            let text = std::fs::read_to_string(folder.join("cpu.pressure")).unwrap();
            let line = text.lines().find(|line| line.starts_with("some ")).unwrap();
            line.rsplit_once("total=").unwrap().1.parse::<u64>().unwrap()
        };
        folders.each_ref().map(some)
    };
    let before = files();
    let list = stage.daemon.next_list().await;
    let after = files();
    let told =
        |pressure: &Option<Pressure>| pressure.as_ref().unwrap().cpu.as_ref().unwrap().some_microseconds;
    let ours =
        [told(&pod(&list, made.uid()).pressure), told(&container(&list, made.children()[0].id()).pressure)];
    for i in 0..2 {
        assert!((before[i]..=after[i]).contains(&ours[i]), "{ours:?} between {before:?} and {after:?}");
        assert!(ours[i] > 100_000, "somebody waited: {ours:?}");
    }
}

pub(crate) async fn a_kernel_without_pressure_says_so(stage: Arc<Stage>) {
    let made = stage.pod(Driver::Systemd).start().unwrap();
    stage.settled(&made).await;
    tokio::time::sleep(YOUNG).await;
    let list = stage.daemon.next_list().await;
    let found = pod(&list, made.uid());
    let child = container(&list, made.children()[0].id());
    for (pressure, why) in [(&found.pressure, &found.unavailable), (&child.pressure, &child.unavailable)] {
        assert!(pressure.is_none());
        assert_eq!(why.get("pressure"), Some(&Unavailable::KernelWithoutPsi), "{why:?}");
        // Without names nobody knows which are the app containers.
        let others = why.keys().filter(|path| !path.ends_with("containersSum")).count();
        assert_eq!(others, 1, "nothing else is missing: {why:?}");
    }
}

pub(crate) async fn block_io_that_v1_does_not_count_is_not_zero(stage: Arc<Stage>) {
    let made = stage.pod(Driver::Cgroupfs).start().unwrap();
    let child = &made.children()[0];
    made.output_in(child, &["load", "write-direct", "/dev/vda", "8MiB"]).unwrap();
    stage.settled(&made).await;
    let counted = child.cgroup_dir("blkio").unwrap().join("blkio.throttle.io_service_bytes_recursive");
    let text = std::fs::read_to_string(counted).unwrap();
    assert!(!text.contains("8388608"), "this kernel counts after all: {text}");
    tokio::time::sleep(YOUNG).await;
    let list = stage.daemon.next_list().await;
    let (found, child) = (pod(&list, made.uid()), container(&list, child.id()));
    for (io, why) in [(&found.io, &found.unavailable), (&child.io, &child.unavailable)] {
        assert!(io.is_none(), "{io:?}");
        assert_eq!(why.get("io"), Some(&Unavailable::BlkioNotAccounted), "{why:?}");
    }
    assert_eq!(found.unavailable.get("pressure"), Some(&Unavailable::ControllerOff), "v1 has none");
}
