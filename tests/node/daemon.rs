//! `podvitals serve` as a process of its own, and a client for its socket.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::io::Read;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use podvitals::model::document::Node;
use podvitals::model::document::PodList;
use podvitals_testbed::Testbed;
use rustix::process::Pid;
use rustix::process::Signal;
use tokio::time::Instant;
use tokio::time::sleep;

/// The program under test.
pub(crate) const PODVITALS: &str = env!("CARGO_BIN_EXE_podvitals");

/// A daemon that ends with this value.
pub(crate) struct Daemon {
    /// `None` if somebody else started it.
    child: Option<Child>,
    folder: PathBuf,
    socket: PathBuf,
    /// The program and its arguments, to start it again.
    command: Vec<OsString>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Daemon {
    /// Starts `podvitals serve` with these flags on the testbed's runtime, and waits until it is ready.
    pub(crate) async fn start(testbed: &Testbed, flags: &[&str]) -> Self {
        let cri = format!("unix://{}", testbed.cri_socket().display());
        let daemon = Self::spawn(Command::new(PODVITALS), |command| {
            command.args(["--cri-endpoint", &cri]).args(flags);
        });
        daemon.until_ready().await;
        let log = daemon.log();
        assert!(!log.contains("PODVITALS_TEST"), "it was told what is meant for the tests:\n{log}");
        daemon
    }

    /// Starts `command`, which is or ends up as podvitals, with a socket and a log of its own.
    ///
    /// It ends with this process, also when that is killed.
    pub(crate) fn spawn(program: Command, flags: impl FnOnce(&mut Command)) -> Self {
        let folder = new_folder();
        let socket = folder.join("podvitals.sock");
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let mut command = without_our_own("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program.get_program()).args(program.get_args());
        command.arg("serve").arg("--listen").arg(format!("unix://{}", socket.display()));
        flags(&mut command);
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words = words.map(ToOwned::to_owned).collect();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self { child: Some(child), folder, socket, command: words }
    }

    /// A client of a podvitals that runs in a pod.
    pub(crate) fn attach(socket: PathBuf) -> Self {
        Self { child: None, folder: PathBuf::from("/nonexistent"), socket, command: Vec::new() }
    }

    /// The process; a shell that became podvitals keeps its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Sends it that signal and waits for its end.
    pub(crate) fn end(&mut self, signal: Signal) -> ExitStatus {
        let child = self.child.as_mut().unwrap();
        rustix::process::kill_process(Pid::from_child(child), signal).unwrap();
        child.wait().unwrap()
    }

    /// Starts it again after its end, as it was started before. Its log goes on.
    pub(crate) fn again(&mut self) {
        let [program, arguments @ ..] = &*self.command else { panic!("somebody else started it") };
        let log = std::fs::File::options().append(true).open(self.folder.join("log")).unwrap();
        let mut command = without_our_own(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(crate) async fn until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.try_get("/readyz").is_none_or(|answer| answer.status != 200) {
            assert!(Instant::now() < deadline, "not ready; its log:\n{}", self.log());
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    pub(crate) fn socket_url(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Where it listens on TCP, as it says itself.
    pub(crate) fn address(&self) -> String {
        let log = self.log();
        let said = log.split("address=http://").nth(1).and_then(|rest| rest.split_whitespace().next());
        said.unwrap_or_else(|| panic!("it listens nowhere on TCP:\n{log}")).to_owned()
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.try_get(path).unwrap_or_else(|| panic!("no answer to {path}; its log:\n{}", self.log()))
    }

    fn try_get(&self, path: &str) -> Option<Answer> {
        let mut stream = UnixStream::connect(&self.socket).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Answer { status, body: body.to_owned() })
    }

    pub(crate) fn list(&self) -> PodList {
        let answer = self.get("/api/v1/pods");
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    pub(crate) fn node(&self) -> Node {
        serde_json::from_str(&self.get("/api/v1/node").body).unwrap()
    }

    /// A later sweep than any that was served so far, begun after this call.
    pub(crate) async fn next_list(&self) -> PodList {
        let tick = self.list().tick;
        self.list_after(tick + 1).await
    }

    /// The first sweep that is served with a greater number than `tick`.
    pub(crate) async fn list_after(&self, tick: u64) -> PodList {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let list = self.list();
            if list.tick > tick {
                return list;
            }
            assert!(Instant::now() < deadline, "no sweep after {tick}; its log:\n{}", self.log());
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// Where daemons have their folders.
static HOME: OnceLock<PathBuf> = OnceLock::new();

/// Has daemons keep their sockets and logs in this folder, which somebody removes also when this process
/// is killed.
pub(crate) fn live_in(folder: PathBuf) {
    HOME.set(folder).unwrap();
}

/// One that nobody else has, and every user may write to: a daemon may be anybody.
fn new_folder() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed).to_string();
    let folder = HOME.get().unwrap().join(number);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    folder
}

/// A command that does not inherit what these tests are told by variables: to podvitals each of them would
/// be a knob it does not have.
fn without_our_own(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    let ours = |name: &OsString| name.as_encoded_bytes().starts_with(b"PODVITALS_");
    for name in std::env::vars_os().map(|(name, _)| name).filter(ours) {
        command.env_remove(name);
    }
    command
}

/// Whether the pod of this UID is there.
pub(crate) fn has_pod(list: &PodList, uid: &str) -> bool {
    list.pods.iter().any(|pod| pod.runtime_uid == uid)
}
