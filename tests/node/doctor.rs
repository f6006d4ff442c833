//! `doctor` on a real node: as root, without any privilege, with processes hidden, without cgroups.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use serde_json::Value;

use crate::daemon::PODVITALS;
use crate::stage::Stage;

/// A report and how it ended.
struct Report {
    code: i32,
    errors: String,
    document: Value,
}

impl Report {
    fn new(code: i32, stdout: &str, stderr: &str) -> Self {
        let document =
            serde_json::from_str(stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
        Self { code, errors: stderr.to_owned(), document }
    }

    fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        Self::new(output.status.code().unwrap(), &stdout, &stderr)
    }

    fn check(&self, name: &str) -> &Value {
        let checks = self.document["checks"].as_array().unwrap();
        let found = checks.iter().find(|check| check["check"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {:#}", self.document))
    }

    fn verdict(&self, name: &str) -> &str {
        self.check(name)["verdict"].as_str().unwrap()
    }

    fn words(&self, name: &str, of: &str) -> &str {
        self.check(name)[of].as_str().unwrap_or_else(|| panic!("no {of}: {:#}", self.check(name)))
    }

    /// Containers with a process whose network was read. The whole machine is looked at, so there may be
    /// others without one: what another run left when it was killed.
    fn containers(&self) -> usize {
        let found = self.words("pod networks", "found");
        assert!(found.contains("network can be read") || found.contains("networks can be read"), "{found}");
        let number = match found.strip_prefix("of all ") {
            Some(rest) => rest.split(' ').next(),
            None => found.split_once(" containers ").and_then(|(_, rest)| rest.split(' ').next()),
        };
        number.unwrap_or_else(|| panic!("{found}")).parse().unwrap_or_else(|_| panic!("{found}"))
    }

    fn works(&self) {
        assert_eq!((self.code, &self.document["works"]), (0, &true.into()), "{:#}", self.document);
        assert_eq!(self.errors, "");
    }

    fn breaks(&self, parts: &str) {
        assert_eq!(self.code, 1, "{:#}", self.document);
        assert_eq!(self.errors, format!("podvitals: the core job does not work here: {parts}\n"));
    }
}

const FLAGS: &str = "doctor -o json --listen 127.0.0.1:0";

fn doctor(runner: &[&str], flags: &str) -> Report {
    let words: Vec<&str> = runner.iter().copied().chain([PODVITALS]).chain(flags.split(' ')).collect();
    // What a container runtime gives, not what a shell has.
    Report::of(Command::new(words[0]).args(&words[1..]).env_remove("KUBECONFIG").env_remove("NO_COLOR"))
}

/// A pod with a sandbox and a container that stay until it is stopped.
macro_rules! with_a_pod {
    ($stage:expr, $name:literal) => {{
        let pod = $stage.testbed.pod($name).run().await.unwrap();
        pod.container("app").args(["idle"]).run().await.unwrap();
        pod
    }};
}

pub(crate) async fn root_on_a_node_is_told_that_all_works_and_that_it_is_more_than_is_needed(
    stage: Arc<Stage>,
) {
    let pod = with_a_pod!(stage, "doctor-root");
    let socket = stage.testbed.cri_socket().display().to_string();
    let report = doctor(&[], &format!("{FLAGS} --source cri --cri-endpoint unix://{socket}"));
    report.works();
    // Two of this pod, and two of the confined daemon.
    assert!(report.containers() >= 4, "{:#}", report.check("pod networks"));
    assert_eq!(report.verdict("user"), "notice");
    assert!(report.words("user", "found").starts_with("user 0, "));
    let socket_check = report.check("runtime socket");
    assert_eq!((&socket_check["lookedAt"], &socket_check["verdict"]), (&socket.into(), &"notice".into()));
    assert!(report.words("runtime socket", "consequence").contains("root on this node"));
    assert_eq!(report.words("network namespace", "found"), "the host's");
    assert_eq!(report.words("pid namespace", "found"), "that of the mount");
    assert_eq!(report.verdict("inotify"), "ok");
    // What serve would not start with is a problem here.
    doctor(&[], &format!("{FLAGS} --source cri --cri-endpoint unix:///nonexistent.sock")).breaks("names");
    pod.stop().await.unwrap();
}

pub(crate) async fn the_default_profile_works_and_is_told_so(stage: Arc<Stage>) {
    let pod = with_a_pod!(stage, "doctor-p0");
    let flags = "--source cgroup --proc-root /host/proc --cgroup-root /host/sys/fs/cgroup";
    let inside = async |flags: &str| {
        let command = format!("/home/podvitals {flags}");
        let output = stage.confined_container.exec(command.split(' ')).await.unwrap();
        Report::new(output.exit_code, &output.stdout, &output.stderr)
    };
    let report = inside(&format!("{FLAGS} {flags}")).await;
    report.works();
    assert!(report.containers() >= 4, "{:#}", report.check("pod networks"));
    assert_eq!(report.words("user", "found"), "user 65532, groups 65532, no capability");
    assert!(report.words("confinement", "found").starts_with("no_new_privs on"));
    assert_eq!(report.words("pid namespace", "found"), "our own, as the default profile has it");
    assert!(report.words("pid namespace", "consequence").contains("profile.hostPID"));
    assert_eq!(report.words("network namespace", "found"), "our own, as the default profile has it");
    for fine in ["view", "memory", "process 1", "user", "pid namespace", "network namespace"] {
        assert_eq!(report.verdict(fine), "ok", "{:#}", report.check(fine));
    }
    // Told nothing, it looks with the flags of the daemon it was let in beside.
    let beside = inside("doctor -o json").await;
    beside.works();
    let taken = beside.words("daemon", "found");
    assert!(taken.contains("--cgroup-root=/host/sys/fs/cgroup --listen=unix:///home/socket"), "{taken}");
    assert!(beside.containers() >= 4, "{:#}", beside.check("pod networks"));
    // What is given here wins over what the daemon was given.
    inside("doctor -o json --cgroup-root /proc").await.breaks("pods, cpu, memory");
    // Asked for the host's ends of links, it says that they are not to be seen from here.
    inside(&format!("{FLAGS} {flags} --network-source host")).await.breaks("network");
    // With the container's own /proc no process of any pod is seen but its own.
    let own =
        inside(&format!("{FLAGS} --source cgroup --proc-root /proc --cgroup-root /host/sys/fs/cgroup")).await;
    assert_ne!(own.verdict("mount"), "problem", "{:#}", own.document);
    assert!(!own.words("pod networks", "found").starts_with("of all "), "{:#}", own.check("pod networks"));
    pod.stop().await.unwrap();
}

pub(crate) async fn a_user_without_capabilities_works_with_the_host_s_namespaces(stage: Arc<Stage>) {
    let pod = with_a_pod!(stage, "doctor-user");
    let mut runner = NOBODY.to_vec();
    runner.extend(["--no-new-privs"]);
    let socket = stage.testbed.cri_socket().display().to_string();
    let report = doctor(&runner, &format!("{FLAGS} --cri-endpoint unix://{socket}"));
    report.works();
    assert!(report.containers() >= 4, "{:#}", report.check("pod networks"));
    assert_eq!(report.words("user", "found"), "user 65532, groups 65532, no capability");
    // The socket is root's: asked for by name it is a problem, else it is as it should be.
    assert_eq!(report.verdict("runtime socket"), "ok", "{:#}", report.check("runtime socket"));
    doctor(&runner, &format!("{FLAGS} --source cri --cri-endpoint unix://{socket}")).breaks("names");
    let low = doctor(&runner, "doctor -o json --source cgroup --listen unix:///proc/podvitals.sock");
    low.breaks("serving");
    pod.stop().await.unwrap();
}

/// Becomes the user of the default profile.
const NOBODY: &[&str] = &[
    "setpriv",
    "--reuid=65532",
    "--regid=65532",
    "--clear-groups",
    "--inh-caps=-all",
    "--ambient-caps=-all",
    "--bounding-set=-all",
];

pub(crate) async fn hidden_processes_are_a_problem_with_a_cure(stage: Arc<Stage>) {
    let pod = with_a_pod!(stage, "doctor-hidden");
    for (mode, shown) in [("1", "noaccess"), ("2", "invisible"), ("4", "ptraceable")] {
        let report = hidden(&stage, &format!("hidepid={mode},gid=4321"), NOBODY);
        report.breaks("network");
        let check = report.check("process 1");
        assert_eq!(check["verdict"], "problem", "{check:#}");
        assert!(report.words("process 1", "found").contains("hidepid"), "{check:#}");
        // The kernel spells the option as a word since 5.8.
        let found = report.words("process 1", "found");
        assert!(found.contains(&format!("hidepid={shown}")) && found.contains("gid=4321"), "{found}");
        assert!(report.words("process 1", "cure").contains("gid="), "{check:#}");
    }
    // The cure works: with the group that the mount exempts everything is to be seen again.
    let mut exempt = NOBODY.to_vec();
    exempt.retain(|word| *word != "--clear-groups");
    exempt.push("--groups=4321");
    let report = hidden(&stage, "hidepid=2,gid=4321", &exempt);
    report.works();
    assert!(report.containers() >= 4, "{:#}", report.check("pod networks"));
    assert!(report.words("process 1", "found").contains("exempt"), "{:#}", report.check("process 1"));
    pod.stop().await.unwrap();
}

/// With a `/proc` of these options, in a mount namespace of its own.
fn hidden(stage: &Stage, options: &str, runner: &[&str]) -> Report {
    let folder = stage.testbed.scratch().join("doctor-proc");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.display();
    let words: Vec<String> = runner.iter().map(|word| (*word).to_owned()).collect();
    let script = format!(
        "mount -t proc -o {options} proc {path} && exec {} {PODVITALS} {FLAGS} --source cgroup --proc-root {path}",
        words.join(" ")
    );
    let report = Report::of(Command::new("unshare").args([
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        &script,
    ]));
    std::fs::remove_dir(&folder).unwrap();
    report
}

pub(crate) async fn an_empty_cgroup_root_is_a_problem(stage: Arc<Stage>) {
    let folder = stage.testbed.scratch().join("no-cgroups");
    std::fs::create_dir_all(&folder).unwrap();
    let report = doctor(&[], &format!("{FLAGS} --source cgroup --cgroup-root {}", folder.display()));
    report.breaks("pods, cpu, memory");
    assert_eq!(report.words("tree", "lookedAt"), folder.display().to_string());
    assert!(report.words("tree", "cure").contains("--cgroup-root"));
    std::fs::remove_dir(&folder).unwrap();
}

/// A cgroup of its own and a folder to mount what is seen from inside it.
struct Part {
    cgroup: PathBuf,
    mounts: PathBuf,
}

impl Drop for Part {
    fn drop(&mut self) {
        for path in [&self.cgroup, &self.mounts.join("memory"), &self.mounts] {
            let _ = std::fs::remove_dir(path);
        }
    }
}

pub(crate) async fn a_part_of_the_tree_is_told_from_the_whole(stage: Arc<Stage>) {
    let name = format!("podvitals-part-{}", std::process::id());
    let part = Part {
        cgroup: Path::new("/sys/fs/cgroup/memory").join(name),
        mounts: stage.testbed.scratch().join("part"),
    };
    std::fs::create_dir(&part.cgroup).unwrap();
    std::fs::create_dir_all(part.mounts.join("memory")).unwrap();
    let (cgroup, mounts) = (part.cgroup.display(), part.mounts.display());
    let doctor = format!("{PODVITALS} {FLAGS} --source cgroup --cgroup-root {mounts}");
    let inside = format!("mount -t cgroup -o memory none {mounts}/memory && exec {doctor}");
    let script = format!("echo $$ > {cgroup}/cgroup.procs && exec unshare --cgroup sh -c '{inside}'");
    let report = Report::of(Command::new("unshare").args([
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        &script,
    ]));
    // Of all controllers only memory is mounted there.
    report.breaks("pods, cpu");
    assert!(report.words("view", "found").starts_with("a part of the tree, without pods"));
    assert_eq!(report.verdict("memory"), "ok");
    assert!(report.words("view", "cure").contains("--cgroup-root"));
}
