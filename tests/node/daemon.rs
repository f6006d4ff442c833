//! `podvitals serve` as a process of its own, and a client for its socket.

use std::io::Read;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use podvitals::model::document::Container;
use podvitals::model::document::Node;
use podvitals::model::document::Pod;
use podvitals::model::document::PodList;
use podvitals_testbed::Testbed;
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
        daemon
    }

    /// Starts `command`, which is or ends up as podvitals, with a socket and a log of its own.
    pub(crate) fn spawn(mut command: Command, flags: impl FnOnce(&mut Command)) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("podvitals-node-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        // The daemon may be another user.
        std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let socket = folder.join("podvitals.sock");
        let log = std::fs::File::create(folder.join("log")).unwrap();
        command.arg("serve").arg("--listen").arg(format!("unix://{}", socket.display()));
        flags(&mut command);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self { child: Some(child), folder, socket }
    }

    /// A client of a podvitals that runs in a pod.
    pub(crate) fn attach(socket: PathBuf) -> Self {
        Self { child: None, folder: PathBuf::from("/nonexistent"), socket }
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

/// The pod of this UID.
pub(crate) fn pod<'a>(list: &'a PodList, uid: &str) -> &'a Pod {
    list.pods.iter().find(|pod| pod.runtime_uid == uid).unwrap_or_else(|| {
        let there: Vec<_> = list.pods.iter().map(|pod| pod.runtime_uid.as_str()).collect();
        panic!("no pod {uid} among {there:?}")
    })
}

/// Whether the pod of this UID is there.
pub(crate) fn has_pod(list: &PodList, uid: &str) -> bool {
    list.pods.iter().any(|pod| pod.runtime_uid == uid)
}

/// The container of this id.
pub(crate) fn container(list: &PodList, id: &str) -> Container {
    let mut all = list.pods.iter().flat_map(|pod| &pod.containers);
    all.find(|container| container.id == id).unwrap_or_else(|| panic!("no container {id}")).clone()
}
