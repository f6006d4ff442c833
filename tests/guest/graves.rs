//! Removed cgroups that the kernel keeps, because there is page cache of theirs.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use podvitals_testbed::made_up::Driver;
use tokio::time::Instant;

use crate::daemon::Daemon;
use crate::find::pod;
use crate::memory::compared;
use crate::oracle;
use crate::stage::FOLDER;
use crate::stage::Stage;
use crate::stage::run;

const COUNT: u64 = 2_000;
/// Made in so many parts.
const TIMES: u64 = 4;
const PAGE: u64 = 4_096;
const NAP: Duration = Duration::from_millis(20);

pub(crate) async fn thousands_of_removed_containers_cost_neither_figure_nor_time(stage: Arc<Stage>) {
    let made = stage.pod(Driver::Cgroupfs).start().unwrap();
    stage.settled(&made).await;
    let child = &made.children()[0];
    let (folder, home) = (made.cgroup_dir("memory").unwrap(), child.cgroup_dir("memory").unwrap());
    let (cheap, others) = (quickest(&stage).await, kept(&stage, &folder));
    let watcher = Watcher::of(&stage.daemon, made.uid());
    let (count, begun) = ((COUNT / TIMES).to_string(), Instant::now());
    let files = (0..TIMES).map(|time| format!("{FOLDER}/graves{time}")).collect::<Vec<_>>();
    for file in &files {
        let dig =
            ["load", "graves", folder.to_str().unwrap(), &count, file, "--home", home.to_str().unwrap()];
        let said = made.output_in(child, &dig).unwrap();
        assert_eq!(said.trim(), format!("{{\"graves\":{count},\"bytes\":{}}}", COUNT / TIMES * PAGE));
        println!("       {:.1} s for another {count}", begun.elapsed().as_secs_f64());
    }
    let dead = kept(&stage, &folder) - others;
    assert!(dead >= COUNT, "the kernel keeps {dead} only: nothing is shown by that");

    let living = compared(&stage, &made).await.usage_bytes;
    let with = usage(&stage, made.uid()).await;
    assert!(with >= living + COUNT * PAGE, "{with} with the dead, {living} without");
    let dear = quickest(&stage).await;
    let seen = watcher.end();
    println!("       {dead} dead; a sweep took {cheap} µs and takes {dear} µs; {seen:?}");
    assert!(seen.oldest <= 1.5 + seen.stood_still, "a sweep came late: {seen:?}");
    assert!(dear < 50_000, "{dear} µs a sweep, {cheap} µs before");

    // With their last page they are gone, and so is what they had.
    files.iter().for_each(|file| std::fs::remove_file(file).unwrap());
    compared(&stage, &made).await;
    let without = usage(&stage, made.uid()).await;
    assert!(without + COUNT * PAGE <= with, "{without} without the dead, {with} with them");
    let left = pod(&stage.daemon.next_list().await, made.uid()).containers.len();
    assert_eq!(left, 2, "the sandbox and the one that lives");
}

/// Somebody who looks at the pod all the time: as containers come and go, too, no sweep may be late, and none
/// without the pod's own figure.
struct Watcher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

/// In seconds.
#[derive(Debug, Default)]
struct Seen {
    /// The greatest age of the pod's figures.
    oldest: f64,
    /// The longest time by which a nap of its own took longer than it should: an emulated machine has no
    /// processor while others use the real one, and podvitals has none either.
    stood_still: f64,
}

impl Watcher {
    fn of(daemon: &Arc<Daemon>, uid: &str) -> Self {
        let (daemon, uid, stop) = (daemon.clone(), uid.to_owned(), Arc::new(AtomicBool::new(false)));
        let told = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !told.load(Ordering::Relaxed) {
                let begun = Instant::now();
                std::thread::sleep(NAP);
                let longer = begun.elapsed().saturating_sub(NAP);
                seen.stood_still = seen.stood_still.max(longer.as_secs_f64());
                let list = daemon.list();
                let shown = pod(&list, &uid);
                assert!(shown.memory.is_some() && shown.cpu.is_some(), "{shown:#?}");
                seen.oldest = seen.oldest.max(shown.age_seconds);
            }
            seen
        });
        Self { stop, thread }
    }

    fn end(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// The quickest of some sweeps, in microseconds: this machine has others to serve.
async fn quickest(stage: &Stage) -> u64 {
    run("sync");
    let (mut quickest, mut tick) = (u64::MAX, stage.daemon.list().tick);
    for _ in 0..8 {
        let list = stage.daemon.list_after(tick).await;
        (quickest, tick) = (quickest.min(list.sweep_microseconds), list.tick);
    }
    quickest
}

async fn usage(stage: &Stage, uid: &str) -> u64 {
    pod(&stage.daemon.next_list().await, uid).memory.as_ref().unwrap().usage_bytes
}

/// How many cgroups without a name the kernel keeps: below this one, or on version 1, which does not say
/// so, of all, with those that have a name.
fn kept(stage: &Stage, folder: &Path) -> u64 {
    if stage.kind.is_v2() {
        return oracle::keyed(folder.join("cgroup.stat"), "nr_dying_descendants");
    }
    let text = std::fs::read_to_string("/proc/cgroups").unwrap();
    let line = text.lines().find(|line| line.starts_with("memory\t")).unwrap();
    line.split('\t').nth(2).unwrap().parse().unwrap()
}
