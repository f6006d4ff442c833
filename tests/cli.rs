//! The binary as people and scripts meet it: what it prints where, and how it exits.
//!
//! The server it asks is a few lines of this file that answer with fixed documents.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails the test")]

#[path = "cli/doctor.rs"]
mod doctor;
#[path = "cli/https.rs"]
mod https;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use podvitals::model::document::{Map, MapPod, Network, Pod, PodList, Problem};

const PODVITALS: &str = env!("CARGO_BIN_EXE_podvitals");
const SECOND: u64 = 1_000_000_000;

/// `podvitals` without anything of our own environment.
fn podvitals(arguments: &[&str]) -> Command {
    let mut command = Command::new(PODVITALS);
    command.args(arguments).env_clear();
    command
}

fn run(arguments: &[&str]) -> Output {
    podvitals(arguments).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// What has to be printed to stderr and nowhere else, with exit code 1.
fn fails_with(arguments: &[&str], message: &str) {
    let output = run(arguments);
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""), "{}", stderr(&output));
    assert_eq!(stderr(&output), message);
}

/// A server that gives everybody the same answer and notes what was asked.
struct Canned {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Canned {
    /// Answers by the first path that the request's path starts with; else 404.
    fn start(answers: Vec<(&'static str, u16, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let noted = heads.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &answers, &noted);
            }
        });
        Self { url, heads }
    }

    fn asked(&self) -> Vec<String> {
        self.heads.lock().unwrap().iter().map(|head| path(head).to_owned()).collect()
    }
}

fn path(head: &str) -> &str {
    head.split(' ').nth(1).unwrap()
}

fn answer(
    mut stream: impl Read + Write,
    answers: &[(&'static str, u16, String)],
    heads: &Mutex<Vec<String>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap() == 0 {
            return;
        }
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let found = answers.iter().find(|(start, _, _)| path(&head).starts_with(start));
    let (status, body) = found.map_or((404, "{}"), |(_, status, body)| (*status, body.as_str()));
    heads.lock().unwrap().push(head);
    let length = body.len();
    // The client may have gone already.
    let _ =
        write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
}

fn pod(name: &str, received_per_second: f64) -> Pod {
    Pod {
        namespace: Some("default".into()),
        name: Some(name.into()),
        runtime_uid: format!("uid-{name}"),
        start_time_unix_nano: Some(100 * SECOND),
        network: Some(Network { rx_bytes_per_second: Some(received_per_second), ..Network::default() }),
        ..Pod::default()
    }
}

/// Two pods, seen 5 s after they started; the next sweep is 0.1 s away.
fn pods() -> String {
    let list = PodList {
        node: "n1".into(),
        time_unix_nano: 105 * SECOND,
        interval_seconds: 0.1,
        pods: vec![pod("db", 2048.0), pod("web", 0.0)],
        ..PodList::default()
    };
    serde_json::to_string(&list).unwrap()
}

const TABLE: &str = "\
NAMESPACE   NAME   CPU(cores)   MEMORY(working set)    RX/s   TX/s   READ/s   WRITE/s   RESTARTS   AGE
default     db              -                     -   2.0Ki      -        -         -          -    5s
default     web             -                     -       0      -        -         -          -    5s
";

/// A folder of this test's own, removed when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("podvitals-cli-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn get_prints_a_table_to_stdout_and_nothing_else() {
    let server = Canned::start(vec![("/api/v1/pods", 200, pods())]);
    let output = run(&["get", "pods", "--server", &server.url]);
    assert_eq!((output.status.code(), stdout(&output), stderr(&output)), (Some(0), TABLE, ""));
    assert_eq!(server.asked(), ["/api/v1/pods"]);
}

#[test]
fn get_hands_selection_to_the_server_and_sorts_by_columns_itself() {
    let server = Canned::start(vec![("/proxy/api/v1/pods", 200, pods())]);
    let url = format!("{}/proxy/", server.url);
    let output =
        podvitals(&["get", "po", "-n", "default", "-l", "app=web", "--sort-by", "-name", "-o", "name"])
            .env("PODVITALS_SERVER", &url)
            .output()
            .unwrap();
    assert_eq!((stdout(&output), stderr(&output)), ("pod/default/web\npod/default/db\n", ""));
    assert_eq!(server.asked(), ["/proxy/api/v1/pods?namespace=default&labelSelector=app%3Dweb"]);
}

#[test]
fn json_is_the_servers_document_with_what_we_do_not_know() {
    let document = pods().replacen('{', "{\"fromTheFuture\":[1],", 1);
    let server = Canned::start(vec![("/api/v1/pods", 200, document.clone())]);
    let output = run(&["get", "pods", "-o", "json", "--server", &server.url]);
    assert_eq!(stdout(&output), format!("{document}\n"));
    let yaml = run(&["get", "pods", "-o", "yaml", "--server", &server.url]);
    assert!(stdout(&yaml).starts_with("node: n1\n"), "{}", stdout(&yaml));
}

#[test]
fn a_unix_socket_is_asked_the_same_way() {
    let folder = Folder::new("socket");
    let path = folder.join("podvitals.sock");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        answer(stream, &[("/api/v1/pods", 200, pods())], &Mutex::default());
    });
    let output = run(&["get", "pods", "--server", &format!("unix://{}", path.display())]);
    assert_eq!((stdout(&output), stderr(&output)), (TABLE, ""));
}

#[test]
fn watch_prints_again_each_interval_until_nobody_reads() {
    let server = Canned::start(vec![("/api/v1/pods", 200, pods())]);
    let mut child = podvitals(&["get", "pods", "--watch", "--server", &server.url])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let two: Vec<String> = lines.by_ref().take(7).map(Result::unwrap).collect();
    assert_eq!(two.join("\n") + "\n", format!("{TABLE}\n{TABLE}"));
    drop(lines);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
}

#[test]
fn a_refusal_is_shown_in_the_servers_words() {
    let problem = Problem {
        kind: "about:blank".into(),
        title: "Service Unavailable".into(),
        status: 503,
        detail: "no sweep has been done yet".into(),
    };
    let server = Canned::start(vec![("/api/v1/node", 503, serde_json::to_string(&problem).unwrap())]);
    fails_with(
        &["get", "node", "--server", &server.url],
        "podvitals: /api/v1/node: 503: no sweep has been done yet\n",
    );
}

#[test]
fn an_answer_of_another_kind_is_told_from_ours() {
    let server = Canned::start(vec![("/api/v1/pods", 200, "{\"pods\": 1}".into())]);
    fails_with(
        &["get", "pods", "--server", &server.url],
        "podvitals: /api/v1/pods: not the document this podvitals knows; is the server of another version?: \
         invalid type: integer `1`, expected a sequence at line 1 column 10\n",
    );
}

#[test]
fn nobody_there_is_said_with_what_to_do() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let cure = "is `podvitals serve` running? or use --direct\n";
    fails_with(&["get", "pods", "--server", &url], &format!("podvitals: nobody listens on {url}: {cure}"));
    let socket = "unix:///nowhere/podvitals.sock";
    fails_with(
        &["explain", "a/b", "--server", socket],
        &format!("podvitals: nobody listens on {socket}: {cure}"),
    );
}

#[test]
fn explain_shows_one_pod_and_knows_similar_names() {
    let web = MapPod {
        namespace: Some("default".into()),
        name: Some("web".into()),
        runtime_uid: "0a1b".into(),
        network: "host_network".into(),
        ..MapPod::default()
    };
    let map = Map { node: "n1".into(), generation: 1, pods: vec![web] };
    let pod = r#"{"timeUnixNano": 1, "unavailable": {"network": "host_network"}}"#;
    let server = Canned::start(vec![
        ("/api/v1/map", 200, serde_json::to_string(&map).unwrap()),
        ("/api/v1/pods/0a1b", 200, pod.into()),
    ]);
    let output = run(&["explain", "default/web", "--server", &server.url]);
    assert!(stdout(&output).starts_with("default/web on node n1\n\npod  "), "{}", stdout(&output));
    assert!(stdout(&output).contains("\nnetwork         host_network   the pod uses"), "{}", stdout(&output));

    let json = run(&["explain", "0a1b", "-o", "json", "--server", &server.url]);
    let json: serde_json::Value = serde_json::from_str(stdout(&json)).unwrap();
    assert_eq!((&json["node"], &json["name"]), (&"n1".into(), &"web".into()));
    assert_eq!(json["unavailable"]["network"], "host_network");

    fails_with(
        &["explain", "default/wev", "--server", &server.url],
        "podvitals: no pod default/wev on node n1; did you mean default/web?\n",
    );
}

#[test]
fn bad_usage_exits_with_2() {
    let bad: [&[&str]; 6] = [
        &[],
        &["dance"],
        &["get"],
        &["get", "pods", "-o", "xml"],
        &["get", "pods", "-A", "-n", "default"],
        &["get", "pods", "--server", "ftp://host"],
    ];
    for arguments in bad {
        let output = run(arguments);
        assert_eq!((output.status.code(), stdout(&output)), (Some(2), ""), "{arguments:?}");
        assert!(stderr(&output).contains("Usage:") || stderr(&output).contains("--help"), "{arguments:?}");
    }
}

#[test]
fn a_configuration_that_is_refused_exits_with_78() {
    let said = "podvitals: PODVITALS_INTERVAL=\"5ms\": expected a duration from 100ms to 60s\n";
    let by_flag = run(&["serve", "--interval", "5ms"]);
    let by_variable = podvitals(&["serve"]).env("PODVITALS_INTERVAL", "5ms").output().unwrap();
    let direct = run(&["get", "pods", "--direct", "--interval", "5ms"]);
    for output in [by_flag, by_variable, direct] {
        assert_eq!((output.status.code(), stderr(&output)), (Some(78), said));
    }
}

#[test]
fn a_source_that_is_asked_for_by_name_and_cannot_be_asked_exits_with_78() {
    let kube = |variable: &str, value: &str| {
        let mut serve = podvitals(&["serve", "--source", "kube", "--listen", "127.0.0.1:0"]);
        let output = serve.env("HOME", "/nowhere").env(variable, value).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
        stderr(&output).lines().last().unwrap().to_owned()
    };
    let nothing = kube("NO_COLOR", "1");
    assert!(nothing.contains("no API server is configured: set KUBECONFIG"), "{nothing}");
    let missing = kube("KUBECONFIG", "/nowhere/config");
    assert!(missing.contains("KUBECONFIG") && missing.contains("/nowhere/config"), "{missing}");
    let in_cluster = kube("KUBERNETES_SERVICE_HOST", "10.96.0.1");
    assert!(in_cluster.contains("the pod's service account"), "{in_cluster}");
}

#[test]
fn a_variable_that_is_no_knob_is_warned_about_and_the_nearest_one_named() {
    let mut serve = podvitals(&["serve", "--source", "kube", "--listen", "127.0.0.1:0"]);
    let output = serve.env("HOME", "/nowhere").env("PODVITALS_INTERVALL", "1s").output().unwrap();
    assert!(stderr(&output).contains("is PODVITALS_INTERVAL meant?"), "{}", stderr(&output));
}

#[test]
fn listening_in_public_has_to_be_said_out_loud() {
    let several = ["serve", "--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0,0.0.0.0:0"];
    let output = run(&several);
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("PODVITALS_LISTEN=0.0.0.0:0: plain HTTP"), "{}", stderr(&output));
    assert!(stderr(&output).contains("--insecure-public"), "{}", stderr(&output));
    // The flag wins over the environment.
    let mut muted = podvitals(&[&several[..], &["--insecure-public=false"]].concat());
    let output = muted.env("PODVITALS_INSECURE_PUBLIC", "true").output().unwrap();
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn every_knob_is_in_the_help_with_its_variable_and_default() {
    let output = podvitals(&["serve", "--help"]).env("COLUMNS", "500").output().unwrap();
    let words = stdout(&output).split_whitespace().collect::<Vec<_>>().join(" ");
    for knob in podvitals::config::KNOBS {
        assert!(words.contains(&format!("--{}", knob.flag())), "{words}");
        assert!(words.contains(&format!("[env: {}]", knob.variable)), "{words}");
        assert!(
            knob.default.is_empty() || words.contains(&format!("[default: {}]", knob.default)),
            "{words}"
        );
    }
}

#[test]
fn as_a_plugin_it_goes_by_kubectls_name() {
    let folder = Folder::new("plugin");
    let plugin = folder.join("kubectl-podvitals");
    std::os::unix::fs::symlink(Path::new(PODVITALS), &plugin).unwrap();
    let output = Command::new(&plugin).args(["get", "--help"]).output().unwrap();
    assert!(stdout(&output).contains("Usage: kubectl podvitals get [OPTIONS] <KIND>"), "{}", stdout(&output));
    let output = Command::new(&plugin).arg("--help").output().unwrap();
    assert!(stdout(&output).contains("Usage: kubectl podvitals <COMMAND>"), "{}", stdout(&output));
}

#[test]
fn completions_and_manual_pages_are_generated() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = run(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(stdout(&output).contains("network-source"), "{shell}: {}", stdout(&output));
    }
    assert!(stdout(&run(&["man"])).contains(".TH podvitals 1"), "{}", stdout(&run(&["man"])));
    assert!(stdout(&run(&["man", "get"])).contains("\\-\\-sort\\-by"));
    fails_with(&["man", "dance"], "podvitals: dance: no such command\n");
}

#[test]
fn a_reader_who_has_had_enough_is_no_failure() {
    for arguments in [&["man"][..], &["completions", "bash"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = podvitals(arguments).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let output = output.wait_with_output().unwrap();
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""), "{arguments:?}");
    }
}
