//! A socket between podvitals and the container runtime that goes away, and that falls silent.

use std::path::Path;
use std::path::PathBuf;

use podvitals_testbed::Testbed;
use tokio::io::copy_bidirectional;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::task::JoinSet;

/// Hands everything on at first. Ends with this value.
pub(crate) struct Proxy {
    socket: PathBuf,
    runtime: PathBuf,
    silent: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

impl Proxy {
    pub(crate) fn before(testbed: &Testbed, name: &str) -> Self {
        let socket = testbed.scratch().join(format!("{name}.sock"));
        let mut proxy =
            Self { socket, runtime: testbed.cri_socket(), silent: watch::Sender::new(false), task: None };
        proxy.listen();
        proxy
    }

    /// For `--cri-endpoint`.
    pub(crate) fn endpoint(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// The socket is there, and hands on.
    pub(crate) fn listen(&mut self) {
        self.vanish();
        self.silent.send_replace(false);
        let listener = UnixListener::bind(&self.socket).unwrap();
        self.task = Some(tokio::spawn(accept(listener, self.runtime.clone(), self.silent.subscribe())));
    }

    /// Takes connections, and says nothing on any.
    pub(crate) fn fall_silent(&self) {
        self.silent.send_replace(true);
    }

    /// No socket, no connection.
    pub(crate) fn vanish(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        let _ = std::fs::remove_file(&self.socket);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.vanish();
    }
}

/// The connections end with this task.
async fn accept(listener: UnixListener, runtime: PathBuf, silent: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(hand_on(stream, runtime.clone(), silent.clone()));
    }
}

async fn hand_on(mut stream: UnixStream, runtime: impl AsRef<Path>, mut silent: watch::Receiver<bool>) {
    let handing_on = async {
        let mut runtime = UnixStream::connect(runtime).await?;
        copy_bidirectional(&mut stream, &mut runtime).await
    };
    tokio::select! {
        biased;
        _ = silent.wait_for(|silent| *silent) => {}
        _ = handing_on => return,
    }
    // Held open.
    std::future::pending::<()>().await;
    drop(stream);
}
