//! cAdvisor's own reading of a cgroup beside what we answer its clients of it, at the same time: the same figures,
//! the same keys. Its server is no module that could be had; `tests/readers/manager` is what it is made of, and the
//! kubelet.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::process::Child;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;

use podvitals_testbed::Testbed;
use serde_json::Value;

use crate::beside::Beside;
use crate::cadvisor_rest::name;
use crate::daemon::Daemon;
use crate::disk::Disk;
use crate::docker_api::get;
use crate::docker_same::BATCHES;
use crate::docker_same::is_stacked;
use crate::network::PORT;
use crate::network::serving;
use crate::network::while_quiet;
use crate::readers::programs;
use crate::stage::Stage;

const MB: u64 = 1_000_000;
const EIGHT_MIB: u64 = 8 << 20;

/// What is compared of a cgroup, but for its name and relations.
const ALL: &[&str] = &["/spec", "/stats"];

/// And of a pod: all but its CPU time by CPU, which is read of containers.
const OF_POD: &[&str] = &[
    "/spec",
    "/stats/0/cpu/usage/total",
    "/stats/0/cpu/usage/user",
    "/stats/0/cpu/usage/system",
    "/stats/0/cpu/cfs",
    // Of its page faults cAdvisor has the cgroup's own twice.
    "/stats/0/memory/container_data",
    "/stats/0/memory/usage",
    "/stats/0/memory/max_usage",
    "/stats/0/memory/working_set",
    "/stats/0/memory/rss",
    "/stats/0/memory/cache",
    "/stats/0/memory/swap",
    "/stats/0/memory/mapped_file",
    "/stats/0/memory/failcnt",
    "/stats/0/diskio",
    "/stats/0/processes",
];

/// What is another thing on purpose, as the README has it.
const OTHERWISE: [&str; 5] = [
    ".spec.creation_time",
    ".spec.start_time",
    ".stats[].timestamp",
    ".stats[].memory.kernel",
    // They are the process's, which nobody but its owner may look into.
    ".stats[].processes.ulimits",
];

/// Zeros, for what cgroup v1 does not tell, and pressure, of which this node's is cgroup v2's.
const NOT_TOLD: [&str; 6] = [
    ".stats[].cpu.psi.",
    ".stats[].memory.psi.",
    ".stats[].diskio.psi.",
    ".stats[].memory.events.high",
    ".stats[].memory.pgscan",
    ".stats[].memory.pgsteal",
];

/// Of a disk: sums of reads and writes, and its name, which cAdvisor does not find here.
const OF_A_DISK: [&str; 5] = [".Async", ".Discard", ".Sync", ".Total", ".device"];

/// A cAdvisor without a server.
struct Manager {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Manager {
    fn start(testbed: &Testbed) -> Self {
        // Should it hang, its end is read.
        let mut command = Command::new("timeout");
        command
            .arg("120")
            .arg(programs().join("manager"))
            .arg("-containerd")
            .arg(testbed.cri_socket())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, answers }
    }

    /// What it reads of the cgroup now.
    fn ask(&mut self, cgroup: &str) -> Value {
        writeln!(self.child.stdin.as_ref().unwrap(), "{cgroup}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{cgroup}: {error}: {line:?}"))
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) async fn its_own_figures_lie_between_two_of_ours(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let disk = Disk::new(testbed, "cadvisor-same");
    disk.account();
    let server = testbed.pod("same-server").run().await.unwrap();
    serving(&server).await;
    let made = testbed.pod("same").run().await.unwrap();
    let spins =
        made.container("spins").args(["spin", "--duty", "37"]).cpu_limit_millis(500).run().await.unwrap();
    let holds = made.container("holds").args(["memory", "--anon", "50MiB"]).memory_limit(200 << 20);
    let holds = holds.run().await.unwrap();
    let writes = made.container("writes").args(["idle"]).mount(disk.folder(), "/disk").run().await.unwrap();
    writes.exec(["/load", "write-direct", "/disk/once", "8MiB"]).await.unwrap();
    writes.exec(["/load", "read-file", "/disk/once"]).await.unwrap();
    holds.exchange(server.ip().unwrap(), PORT, 5 * MB, 2 * MB).await.unwrap();
    while_quiet(&stage.full, &made).await;

    let mut manager = Manager::start(testbed);
    let sandbox = format!("{}/{}", made.cgroup(), made.sandbox_id());
    // Of the sandbox ours has nothing but the network.
    for (parts, of, least, figure, at_least) in [
        (ALL, name(&spins, &made), 20, "/stats/0/cpu/usage/total", 1),
        (ALL, name(&holds, &made), 20, "/stats/0/memory/usage", 50 << 20),
        (ALL, name(&writes, &made), 20, "/stats/0/diskio/io_service_bytes/0/stats/Write", EIGHT_MIB),
        (OF_POD, made.cgroup().to_owned(), 20, "/stats/0/memory/usage", 50 << 20),
        (&["/stats/0/network"][..], sandbox, 8, "/stats/0/network/tx_bytes", 5 * MB),
    ] {
        let [before, theirs, after] = beside(&stage.full, &mut manager, &of).await;
        let compared = compare(parts, [&before, &after], &theirs);
        let started =
            |of: &Value| of["spec"]["creation_time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        let apart = started(&theirs).duration_since(started(&after)).as_secs_f64();
        assert!(apart.abs() < 2.0, "{apart} s: {theirs}");
        println!("       {compared} figures of cAdvisor lie between two of ours: {of}");
        assert!(compared >= least, "only {compared} figures could be compared: {theirs}");
        let shown = theirs.pointer(figure).and_then(Value::as_u64);
        assert!(shown.is_some_and(|shown| shown >= at_least), "{figure}: {theirs}");
    }
    drop(manager);
    for pod in [made, server] {
        pod.stop().await.unwrap();
    }
    drop(disk);
}

/// Its document, and ours of before and after.
async fn beside(daemon: &Daemon, manager: &mut Manager, of: &str) -> [Value; 3] {
    let ours = || {
        let all = get(daemon, &format!("/api/v1.3/containers{of}?num_stats=1"));
        // All that a client would be told, and the last sample.
        Value::from_iter(["name", "spec", "stats"].map(|key| match &all[key] {
            Value::Array(stats) => (key, Value::from(vec![stats.last().unwrap().clone()])),
            other => (key, other.clone()),
        }))
    };
    let before = ours();
    let mut theirs = tokio::task::block_in_place(|| manager.ask(of));
    // Without a quota it is the period of nothing, and ours has none.
    if theirs["spec"]["cpu"].get("quota").is_none() {
        theirs["spec"]["cpu"].as_object_mut().unwrap().remove("period");
    }
    daemon.next_list().await;
    [before, theirs, ours()]
}

fn compare(parts: &[&str], ours: [&Value; 2], theirs: &Value) -> usize {
    let list = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/cadvisor/absent-rest.txt");
    let list = std::fs::read_to_string(list).unwrap();
    let absent: Vec<&str> = list.lines().filter_map(|line| line.split('\t').next()).collect();
    let is_apart = |path: &str, theirs: &Value| {
        let [major, minor] = ["major", "minor"].map(|key| theirs.get(key).and_then(Value::as_u64));
        // The answers of v1.3 in the fixture are without some kinds of figures.
        let in_v2 = path.replacen(".stats[]", "v2.0_stats_container.*[]", 1);
        absent.contains(&&*format!("v1.3_containers{path}"))
            || absent.contains(&&*in_v2)
            || OTHERWISE.contains(&path)
            // A container has none of its own, and cAdvisor then writes zeros of an interface without a name.
            || (path == ".stats[].network" && theirs["name"] == "")
            || (path.starts_with(".stats[].diskio") && OF_A_DISK.iter().any(|key| path.ends_with(key)))
            || (*theirs == 0 && NOT_TOLD.iter().any(|head| path.starts_with(head)))
            || major.zip(minor).is_some_and(|(major, minor)| is_stacked(major, minor))
    };
    let slack = |path: &str| match path {
        _ if !path.starts_with(".stats[].memory.") => 0.0,
        _ if ["fault", "failcnt", "events"].iter().any(|count| path.contains(count)) => 0.0,
        _ => BATCHES,
    };
    let mut beside = Beside { slack: &slack, is_apart: &is_apart, wrong: Vec::new() };
    let part =
        |of: &'_ Value, part: &str| of.pointer(part).unwrap_or_else(|| panic!("no {part}: {of}")).clone();
    let mut compared = 0;
    for at in parts {
        let (ours, theirs) = (ours.map(|of| part(of, at)), part(theirs, at));
        compared += beside.compare(&at.replace("/0", "[]").replace('/', "."), ours.each_ref(), &theirs);
    }
    beside.check();
    compared
}
