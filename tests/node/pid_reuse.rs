//! A pid that is given to another pod's process between two reads: 1,000 times, and no wrong figure.
//!
//! The kernel hands out the number after the last one, which root may set (`ns_last_pid`, pid_namespaces(7)).
//! It is set in a pid namespace of the test's own: the program starts itself again inside one, as process 1
//! with a `/proc` of its own.
//!
//! Two made-up pods take turns: a process in the cgroup of the first and in a netns whose one link bears the
//! number of the round is pinned and read. It dies, its pid goes to a process of the other pod in another
//! netns, and the reader goes on, through all of that, in a thread of its own.

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitCode;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use podvitals::host::HostRoot;
use podvitals::host::net_dev::NetDevReader;
use podvitals::host::process::CgroupLines;
use podvitals::host::process::Refusal;
use podvitals::host::process::is_in_its_netns;
use podvitals::host::process::pin;
use podvitals::model::health::Health;
use podvitals::model::target::PinnedProcess;
use podvitals::model::target::TargetId;
use podvitals::model::unavailable::Unavailable;
use serde::Deserialize;
use serde::Serialize;

use crate::stage::Stage;

/// The argument that makes this program the one inside.
pub(crate) const INSIDE: &str = "--pid-reuse";

const ROUNDS: u32 = 1_000;

/// What came of all rounds.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Tally {
    /// Rounds in which the second process got the pid of the first.
    reused: u32,
    /// Of those, the ones in which a read by path found the other netns, without a word: what a reader that
    /// remembers a number would have served.
    deceived: u32,
    /// Reads through the pin that found the right link.
    right: u64,
    /// Reads through the pin that found any other.
    wrong: u64,
    /// Reads through the pin after the end that said so.
    gone: u64,
    /// Attempts to pin the pid for the first pod after its end that were refused.
    refused: u32,
}

pub(crate) async fn a_pid_used_again_never_brings_another_pod_s_figure(stage: Arc<Stage>) {
    let cgroup = Path::new("/sys/fs/cgroup/pids")
        .join(stage.testbed.cgroup_prefix().trim_start_matches('/'))
        .join("reuse");
    for pod in ["first", "second"] {
        fs::create_dir_all(cgroup.join(pod)).unwrap();
    }
    let mut command = tokio::process::Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "--mount", "--net"]);
    command.arg(std::env::current_exe().unwrap()).arg(INSIDE).arg(&cgroup).kill_on_drop(true);
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    let tally: Tally = serde_json::from_slice(&output.stdout).unwrap();
    println!("       {tally:?}");

    assert_eq!(tally.reused, ROUNDS, "{tally:?}: {said}");
    assert_eq!(tally.deceived, ROUNDS, "a read by path must be deceived, or this proves nothing: {tally:?}");
    assert_eq!(tally.wrong, 0, "{tally:?}");
    assert_eq!(tally.refused, ROUNDS, "{tally:?}");
    assert!(tally.right >= u64::from(ROUNDS) && tally.gone >= u64::from(ROUNDS), "{tally:?}");
    for pod in ["first", "second"] {
        fs::remove_dir(cgroup.join(pod)).unwrap();
    }
    fs::remove_dir(cgroup).unwrap();
}

/// The program inside: prints its tally.
pub(crate) fn inside(cgroup: &str) -> ExitCode {
    let root = HostRoot::new("/proc".into(), "/sys/fs/cgroup".into());
    let mut tally = Tally::default();
    for round in 0..ROUNDS {
        play(&root, Path::new(cgroup), round, &mut tally);
    }
    println!("{}", serde_json::to_string(&tally).unwrap());
    ExitCode::SUCCESS
}

fn play(root: &HostRoot, cgroup: &Path, round: u32, tally: &mut Tally) {
    let of_first = |mut lines: CgroupLines<'_>| lines.any(|line| line.ends_with("/reuse/first"));
    let own = format!("own{round}");
    let first = Member::start(cgroup.join("first"), Some(&own));
    let pid = first.child.id();
    let pinned = pin(root, pid, of_first).unwrap();

    let mut reads = Reads::default();
    let mut reader = NetDevReader::new();
    reads.read(&mut reader, &pinned, &own);
    assert_eq!(reads.right, 1, "{reads:?}");
    let ended = AtomicBool::new(false);
    let (second, reads) = std::thread::scope(|scope| {
        let reading = scope.spawn(|| reads.go_on(&mut reader, &pinned, &own, &ended));
        first.end();
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
        let second = Member::start(cgroup.join("second"), None);
        ended.store(true, Ordering::Relaxed);
        (second, reading.join().unwrap())
    });
    tally.reused += u32::from(second.child.id() == pid);
    let by_path = fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap();
    tally.deceived += u32::from(by_path.contains("lo:") && !by_path.contains(&own));
    tally.right += reads.right;
    tally.wrong += reads.wrong + u64::from(is_in_its_netns(&pinned).is_ok());
    tally.gone += reads.gone;
    tally.refused +=
        u32::from(pin(root, pid, of_first).is_err_and(|refusal| refusal == Refusal::OtherCgroup));
    second.end();
}

#[derive(Debug, Default)]
struct Reads {
    right: u64,
    wrong: u64,
    gone: u64,
}

impl Reads {
    fn read(&mut self, reader: &mut NetDevReader, pinned: &PinnedProcess, own: &str) {
        let (mut buffer, mut rows) = (Vec::new(), Vec::new());
        match reader.read(pinned, &mut buffer, &mut rows, true, &Health::default(), TargetId(1)) {
            Ok(_) if rows.iter().any(|row| row.name.to_string() == own) => self.right += 1,
            Err(Unavailable::NetnsGone) => self.gone += 1,
            _ => self.wrong += 1,
        }
    }

    /// Reads through the pin until the second process is there, and once more.
    fn go_on(
        mut self,
        reader: &mut NetDevReader,
        pinned: &PinnedProcess,
        own: &str,
        ended: &AtomicBool,
    ) -> Self {
        loop {
            let last = ended.load(Ordering::Relaxed);
            self.read(reader, pinned, own);
            if last {
                return self;
            }
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
    }
}

/// A process in a cgroup and in a netns of its own, with a pair of links if one is named.
struct Member {
    child: Child,
}

impl Member {
    /// Ready when this returns.
    fn start(cgroup: PathBuf, link: Option<&str>) -> Self {
        let join = format!("echo 0 >{}/cgroup.procs", cgroup.display());
        let plug = link.map(|link| format!("ip link add {link} type veth peer name peer"));
        // It waits for a word that never comes.
        let script = format!("{join} && {} && echo ready && read word", plug.as_deref().unwrap_or("true"));
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self { child }
    }

    fn end(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
