//! What podvitals holds in memory on a node of 110 pods and on one of 1,000 containers: `make bench`.
//!
//! The release binary beside real pods, once its history is full, and once every format is read in every sweep.
//! Memory is what the kernel calls resident: heap, code and what is mapped. All documents in all forms are larger
//! than what is kept of them, on the larger node than all that is promised.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark may end")]

mod stage;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use podvitals_testbed::Testbed;
use tokio::time::{Instant, sleep};

/// As many as a kubelet takes without a word, and what is promised there: MiB with the history full, and with
/// every format being read.
const USUAL: (usize, f64, f64) = (110, 25.0, 40.0);

/// 1,000 containers.
const LARGE: (usize, f64, f64) = (500, 64.0, 64.0);

/// What there is of the past by default.
const HISTORY: Duration = Duration::from_secs(300);

/// How long every format is read.
const READING: Duration = Duration::from_secs(30);

/// Forms of the same document, as Prometheus asks for each.
const FORMS: [&str; 3] = [
    "text/plain",
    "application/openmetrics-text",
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
];

#[tokio::main]
async fn main() -> std::process::ExitCode {
    // `cargo test` builds and runs benches too; this one wants to be asked for.
    if !std::env::args().any(|argument| argument == "--bench") {
        return std::process::ExitCode::SUCCESS;
    }
    let testbed = Testbed::start("bench").await.unwrap();
    let (mut pods, mut kept) = (Vec::new(), true);
    for node in [USUAL, LARGE] {
        pods.extend(stage::start_pods(&testbed, pods.len()..node.0).await);
        kept &= measure(&testbed, node).await;
    }
    for pod in pods {
        pod.stop().await.unwrap();
    }
    testbed.stop().await.unwrap();
    if kept { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}

/// Whether it holds no more than is promised on a node of so many pods.
async fn measure(testbed: &Testbed, (pods, most, most_when_read): (usize, f64, f64)) -> bool {
    let serve = Serve::start(testbed);
    println!("waiting {} s until the history is full …", HISTORY.as_secs());
    sleep(HISTORY + Duration::from_secs(10)).await;
    let full = serve.resident();
    let paths = serve.paths();
    let (begun, mut bytes) = (Instant::now(), 0);
    while begun.elapsed() < READING {
        bytes = paths.iter().map(|path| serve.read_in_every_form(path)).sum();
        sleep(Duration::from_secs(1)).await;
    }
    let read = serve.resident();
    let head = format!("resident at {pods} pods, {} containers, podvitals serve", pods * 2);
    println!("{head:<60}MiB");
    println!("with {} s of history                                  {full:>6.1}", HISTORY.as_secs());
    println!(
        "and {} routes read each sweep, {:.1} MB in all forms   {read:>6.1}",
        paths.len(),
        bytes as f64 / 1e6
    );
    println!("promised: {most} and {most_when_read} MiB");
    full <= most && read <= most_when_read
}

/// A release binary that answers at a socket.
struct Serve {
    process: Child,
    socket: PathBuf,
}

impl Serve {
    fn start(testbed: &Testbed) -> Self {
        let socket = testbed.scratch().join("bench.sock");
        let mut command = Command::new(env!("CARGO_BIN_EXE_podvitals"));
        // As the image does.
        command.envs([("MALLOC_ARENA_MAX", "1"), ("MALLOC_MMAP_THRESHOLD_", "131072")]);
        command.arg("serve").arg("--listen").arg(format!("unix://{}", socket.display()));
        command.arg("--cri-endpoint").arg(format!("unix://{}", testbed.cri_socket().display()));
        Self { process: command.stderr(Stdio::null()).spawn().unwrap(), socket }
    }

    /// MiB.
    fn resident(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
    }

    /// Every route that can be asked without saying for whom, and ends.
    fn paths(&self) -> Vec<String> {
        let document: serde_json::Value =
            serde_json::from_slice(&self.get("/openapi.json", "*/*", "")).unwrap();
        let paths = document["paths"].as_object().unwrap().keys();
        let paths: Vec<_> =
            paths.filter(|path| !path.contains('{') && !path.ends_with("/events")).cloned().collect();
        assert!(paths.len() > 15, "{paths:?}");
        paths
    }

    /// How many bytes that was.
    fn read_in_every_form(&self, path: &str) -> usize {
        let forms: &[&str] = if path.starts_with("/metrics/") { &FORMS } else { &["*/*"] };
        let codings = ["identity", "gzip"];
        let all = forms.iter().flat_map(|form| codings.map(|coding| self.get(path, form, coding).len()));
        all.sum()
    }

    fn get(&self, path: &str, accept: &str, coding: &str) -> Vec<u8> {
        get(&self.socket, path, accept, coding).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn get(socket: &Path, path: &str, accept: &str, coding: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nAccept-Encoding: {coding}\r\n\
         Connection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(0);
    Ok(answer.split_off(end + 4))
}
