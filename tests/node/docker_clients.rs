//! Docker's own clients, on pods of a containerd that Docker has nothing to do with.

use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use bollard::BollardRequest;
use bollard::Docker;
use bollard::query_parameters::EventsOptionsBuilder;
use bollard::query_parameters::InspectContainerOptions;
use bollard::query_parameters::ListContainersOptionsBuilder;
use bollard::query_parameters::StatsOptionsBuilder;
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::Empty;
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use podvitals_testbed::Container;
use podvitals_testbed::Pod;
use serde_json::Value;
use tokio::time::Instant;

use crate::daemon::Daemon;
use crate::disk::Disk;
use crate::docker_api::cpu_percent;
use crate::docker_api::get;
use crate::network::PORT;
use crate::network::serving;
use crate::oracle;
use crate::stage::Stage;

const PATIENCE: Duration = Duration::from_secs(20);
const MB: u64 = 1_000_000;

/// What Docker calls it.
pub(crate) fn name_of(pod: &Pod, container: &str) -> String {
    format!("k8s_{container}_{}_{}_{}_0", pod.name(), pod.namespace(), pod.uid())
}

pub(crate) async fn until_named(daemon: &Daemon, of: &Container) {
    let deadline = Instant::now() + PATIENCE;
    while daemon.get(&format!("/containers/{}/json", of.id())).status != 200 {
        assert!(Instant::now() < deadline, "never named; log:\n{}", daemon.log());
        daemon.next_list().await;
    }
    // And two sweeps, so that there is one before the last.
    daemon.next_list().await;
    daemon.next_list().await;
}

/// Every docker there is here: of Debian, and a newer one where somebody installed it.
fn clis() -> Vec<&'static str> {
    let found: Vec<_> = ["/usr/bin/docker", "/usr/local/bin/docker"]
        .into_iter()
        .filter(|path| Path::new(path).exists())
        .collect();
    assert!(!found.is_empty(), "package docker.io");
    found
}

/// What a docker says that talks to podvitals alone.
fn docker(cli: &str, daemon: &Daemon, arguments: &[&str]) -> String {
    let output = docker_command(cli, daemon, arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{cli} {arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn docker_command(cli: &str, daemon: &Daemon, arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", cli, "-H", &daemon.socket_url()]).args(arguments);
    command.env_remove("DOCKER_CONTEXT").env_remove("DOCKER_API_VERSION");
    command
}

/// Lines of a program that goes on.
pub(crate) struct Lines {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Lines {
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { child, lines }
    }

    pub(crate) fn until(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("never {what}: {seen:#?}"));
            if holds(&line) {
                return line;
            }
            seen.push(line);
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) async fn the_docker_cli_takes_a_node_for_an_engine(stage: Arc<Stage>) {
    let (testbed, daemon) = (&stage.testbed, &stage.full);
    let pod = testbed.pod("dcli").run().await.unwrap();
    let app = pod.container("app").args(["spin", "--cpu", "1"]).run().await.unwrap();
    until_named(daemon, &app).await;
    for (round, cli) in clis().into_iter().enumerate() {
        let all = docker(cli, daemon, &["ps", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.State}}"]);
        for (id, container) in [(app.id(), "app"), (pod.sandbox_id(), "POD")] {
            let line = format!("{id} {} running", name_of(&pod, container));
            assert!(all.lines().any(|said| said == line), "{line} in\n{all}");
        }
        let label = format!("label=io.kubernetes.pod.uid={}", pod.uid());
        let name = format!("name=^{}$", name_of(&pod, "app"));
        let filtered = ["ps", "--quiet", "--no-trunc", "--filter", &label, "--filter", &name];
        assert_eq!(docker(cli, daemon, &filtered), app.id());
        assert!(docker(cli, daemon, &["ps"]).contains(&app.id()[..12]), "as people type it");
        let format = "{{.Id}} {{.State.Status}} {{.HostConfig.NetworkMode}} {{.Config.Image}}";
        let inspected = docker(cli, daemon, &["inspect", &name_of(&pod, "app"), "--format", format]);
        let mode = format!("{} running container:{} {}", app.id(), pod.sandbox_id(), podvitals_testbed::LOAD);
        assert_eq!(inspected, mode);
        let version = docker(cli, daemon, &["version", "--format", "{{.Server.Version}} {{.Server.Os}}"]);
        assert_eq!(version, format!("{} linux", env!("CARGO_PKG_VERSION")));
        docker(cli, daemon, &["version"]);
        let cores = daemon.node().cpu.unwrap().capacity_cores;
        assert_eq!(docker(cli, daemon, &["info", "--format", "{{.NCPU}}"]), cores.to_string());
        let forwards = oracle::number("/proc/sys/net/ipv4/ip_forward") == 1;
        let settings = ["info", "--format", "{{.IPv4Forwarding}} {{.CPUShares}}"];
        assert_eq!(docker(cli, daemon, &settings), format!("{forwards} true"));
        let about = docker_command(cli, daemon, &["info"]).output().unwrap();
        let about =
            format!("{}{}", String::from_utf8_lossy(&about.stdout), String::from_utf8_lossy(&about.stderr));
        // The client's own guess, of what it is not told.
        assert!(!about.contains("bridge-nf-call") && !about.contains("No cpu shares"), "{about}");
        assert_eq!(about.contains("IPv4 forwarding is disabled"), !forwards, "{about}");

        let columns = "{{.ID}} {{.CPUPerc}} {{.MemPerc}} {{.PIDs}} {{.Name}}";
        let begun = Instant::now();
        let once =
            docker(cli, daemon, &["stats", "--no-stream", "--no-trunc", "--format", columns, app.id()]);
        println!("       {cli}: {once} after {:?}", begun.elapsed());
        assert_figures(&once, &app, &name_of(&pod, "app"));
        let lines = Lines::of(docker_command(cli, daemon, &["stats", "--no-trunc", "--format", columns]));
        for _ in 0..6 {
            let line = lines
                .until("the app with its figures", |line| line.contains(app.id()) && !line.contains("--"));
            assert_figures(&unpainted(&line), &app, &name_of(&pod, "app"));
        }
        drop(lines);

        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs().to_string();
        let follow = ["events", "--since", &now, "--format", "{{.Action}} {{.ID}}"];
        let events = Lines::of(docker_command(cli, daemon, &follow));
        let name = format!("dcli-late{round}");
        let late = testbed.pod(&name).run().await.unwrap();
        let short = late.container("short").args(["idle"]).run().await.unwrap();
        events.until("told of the start", |line| line == format!("start {}", short.id()));
        late.stop().await.unwrap();
        events.until("told of the end", |line| line == format!("die {}", short.id()));
    }
    let missing = docker_command(clis()[0], daemon, &["stats", "--no-stream", "nosuch"]).output().unwrap();
    assert!(String::from_utf8_lossy(&missing.stderr).contains("No such container: nosuch"), "{missing:?}");
    pod.stop().await.unwrap();
}

/// Without what tells a terminal where to write it.
fn unpainted(line: &str) -> String {
    let parts = line.split('\u{1b}').enumerate();
    let text = parts.map(|(at, part)| match part.strip_prefix('[').filter(|_| at > 0) {
        Some(command) => command.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, text)| text),
        None => part,
    });
    text.collect()
}

/// `ID 99.31% 0.01% 1 NAME`.
fn assert_figures(line: &str, of: &Container, name: &str) {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [id, cpu, memory, pids, said] = &fields[..] else { panic!("{line:?}") };
    let number =
        |text: &str| text.trim_end_matches('%').parse::<f64>().unwrap_or_else(|_| panic!("{line:?}"));
    assert!((*id, *said) == (of.id(), name), "{line:?}");
    // What it gets of its core depends on what else the machine does.
    assert!((10.0..130.0).contains(&number(cpu)), "{line:?}");
    assert!((0.0..1.0).contains(&number(memory)) && number(pids) >= 1.0, "{line:?}");
}

fn python(arguments: &[&str]) -> Vec<Value> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/node/docker_client.py");
    // The one that Debian's packages are for.
    let output =
        Command::new("/usr/bin/python3").arg(script).args(arguments).output().expect("package python3");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "package python3-docker? {error}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) async fn docker_py_reads_a_pod(stage: Arc<Stage>) {
    let (testbed, daemon) = (&stage.testbed, &stage.full);
    let pod = testbed.pod("dpy").run().await.unwrap();
    let app = pod.container("app").args(["spin", "--cpu", "1"]).run().await.unwrap();
    until_named(daemon, &app).await;

    let socket = daemon.socket().display().to_string();
    let said = python(&["py", &socket, app.id()]);
    let [about, listed, inspected, once, first, second, third, missing] = &said[..] else {
        panic!("{said:#?}")
    };
    assert_eq!(about["version"]["ApiVersion"], "1.44");
    assert_eq!(about["info"]["NCPU"], daemon.node().cpu.unwrap().capacity_cores);
    let name = name_of(&pod, "app");
    assert_eq!(listed[0]["id"], app.id());
    assert_eq!((listed[0]["name"].as_str(), listed[0]["status"].as_str()), (Some(&*name), Some("running")));
    assert_eq!(inspected["Name"], format!("/{name}"));
    assert!((10.0..130.0).contains(&cpu_percent(once)), "{once}");
    let read = |stats: &Value| stats["read"].as_str().unwrap().to_owned();
    assert!(read(first) < read(second) && read(second) < read(third), "a document a sweep");
    for (before, after) in [(first, second), (second, third)] {
        // One reads the other's reading before, unless it missed a sweep.
        let base = after["precpu_stats"]["cpu_usage"]["total_usage"].as_u64().unwrap();
        assert!(base >= before["cpu_stats"]["cpu_usage"]["total_usage"].as_u64().unwrap());
    }
    assert!(missing["explanation"].as_str().unwrap().contains("No such container: nosuch"), "{missing}");

    pod.stop().await.unwrap();
}

/// On cgroup v1, as its author had it: with a list of what each CPU did. It is told nothing but another address.
pub(crate) async fn the_client_of_2017_finds_what_a_container_did(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let daemon = Daemon::start(testbed, &["--listen", "127.0.0.1:0"]).await;
    let disk = Disk::new(testbed, "client-2017");
    disk.account();
    let server = testbed.pod("server2017").run().await.unwrap();
    serving(&server).await;
    let pod = testbed.pod("client2017").run().await.unwrap();
    let app =
        pod.container("app").args(["spin", "--cpu", "1"]).mount(disk.folder(), "/disk").run().await.unwrap();
    let written = app.exec(["/load", "write-direct", "/disk/file", "8MiB"]).await.unwrap();
    written.success().unwrap();
    app.exchange(server.ip().unwrap(), PORT, 5 * MB, 2 * MB).await.unwrap();
    until_named(&daemon, &app).await;
    let tick = daemon.list().tick;
    daemon.list_after(tick + 1).await;

    let made = &python(&["2017", &http_address(&daemon), &app.id()[..12]])[0];
    let (stats, usage) = (&made["stats"], &made["stats"]["cpu_stats"]["cpu_usage"]);
    let by_cpu: Vec<u64> =
        usage["percpu_usage"].as_array().unwrap().iter().map(|time| time.as_u64().unwrap()).collect();
    assert_eq!(by_cpu.iter().sum::<u64>(), usage["total_usage"].as_u64().unwrap(), "{usage}");
    assert!(usage.get("percpu_synthetic").is_none(), "the kernel measured it: {usage}");
    let file = app.cgroup_dir("cpuacct").unwrap().join("cpuacct.usage_percpu");
    let kernel = std::fs::read_to_string(file).unwrap();
    let kernel: Vec<u64> = kernel.split_whitespace().map(|time| time.parse().unwrap()).collect();
    assert_eq!(by_cpu.len(), kernel.len());
    assert!(by_cpu.iter().zip(&kernel).all(|(ours, now)| ours <= now), "{by_cpu:?}, then {kernel:?}");
    let percent = made["cpu_percent"].as_f64().unwrap();
    let cpus = stats["cpu_stats"]["online_cpus"].as_f64().unwrap();
    let by_list = cpu_percent(stats) * by_cpu.len() as f64 / cpus;
    assert!((percent - by_list).abs() < 1e-6 && percent > 10.0, "{percent}, {by_list}");
    let (written, read) = (made["blkio_write"].as_u64().unwrap(), made["blkio_read"].as_u64().unwrap());
    // The file system reads blocks of its own.
    assert!(written == 8 << 20 && read < MB, "{written} written, {read} read: {stats}");
    let interface = &stats["networks"]["eth0"];
    assert_eq!((&made["rx_bytes"], &made["tx_bytes"]), (&interface["rx_bytes"], &interface["tx_bytes"]));
    let counted = |what: &str| made[what].as_u64().unwrap();
    assert!(counted("tx_bytes") >= 5 * MB && counted("rx_bytes") >= 2 * MB, "{made}");
    assert!(counted("tx_bytes") < 6 * MB && counted("rx_bytes") < 3 * MB, "headers, and no more: {made}");
    let memory = |what: &str| stats["memory_stats"][what].as_f64().unwrap();
    let share = memory("usage") / memory("limit") * 100.0;
    assert!((made["memory_percent"].as_f64().unwrap() - share).abs() < 1e-9 && share > 0.0, "{made}");
    for made in [server, pod] {
        made.stop().await.unwrap();
    }
    drop(disk);
}

/// Where it says that it listens.
fn http_address(daemon: &Daemon) -> String {
    let log = daemon.log();
    let listening = log.lines().find(|line| line.contains("listening") && line.contains("127.0.0.1"));
    let line = listening.unwrap_or_else(|| panic!("no address in\n{log}"));
    let at = line.find("http://").unwrap();
    line[at..].chars().take_while(|c| !c.is_whitespace() && *c != '"' && *c != '\u{1b}').collect()
}

/// A bollard that talks to that daemon.
fn bollard(daemon: &Daemon) -> Docker {
    let socket = daemon.socket().to_owned();
    let transport = move |request: BollardRequest| {
        let (socket, uri) = (socket.clone(), request.uri().clone());
        Box::pin(async move {
            let path = uri.path_and_query().map_or("/", |path| path.as_str());
            let request = Request::get(path).header("host", "docker").body(Empty::<Bytes>::new())?;
            let stream = tokio::net::UnixStream::connect(socket).await?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(async move { drop(connection.await) });
            Ok(sender.send_request(request).await?)
        }) as std::pin::Pin<Box<dyn Future<Output = _> + Send>>
    };
    Docker::connect_with_custom_transport(transport, Some("http://docker"), 10, bollard::API_DEFAULT_VERSION)
        .unwrap()
}

pub(crate) async fn bollard_lists_inspects_and_follows(stage: Arc<Stage>) {
    let (testbed, daemon) = (&stage.testbed, &stage.full);
    let docker = bollard(daemon).negotiate_version().await.unwrap();
    assert_eq!(docker.client_version().to_string(), "1.44");
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs().to_string();
    // It asks when it is first looked at, which may be after the start.
    let since = EventsOptionsBuilder::new().since(&now).build();
    let mut events = Box::pin(docker.events(Some(since)));
    let pod = testbed.pod("dbollard").run().await.unwrap();
    let app = pod.container("app").args(["spin", "--cpu", "1"]).run().await.unwrap();
    let of_app = async |action: &str, events: &mut std::pin::Pin<Box<_>>| {
        let found = async {
            loop {
                let event: bollard::models::EventMessage = next(events).await;
                if event.actor.and_then(|actor| actor.id).as_deref() == Some(app.id()) {
                    return event.action.unwrap();
                }
            }
        };
        let told = tokio::time::timeout(PATIENCE, found).await;
        assert_eq!(told.expect("an event of the app"), action);
    };
    of_app("start", &mut events).await;
    until_named(daemon, &app).await;

    let listed = docker.list_containers(Some(ListContainersOptionsBuilder::new().build())).await.unwrap();
    let ours = listed.iter().find(|container| container.id.as_deref() == Some(app.id())).unwrap();
    assert_eq!(ours.names.as_deref(), Some(&[format!("/{}", name_of(&pod, "app"))][..]));
    assert_eq!(ours.labels.as_ref().unwrap()["io.kubernetes.container.name"], "app");
    let inspected = docker.inspect_container(app.id(), None::<InspectContainerOptions>).await.unwrap();
    assert_eq!(inspected.state.unwrap().running, Some(true));
    docker.version().await.unwrap();
    assert_eq!(docker.info().await.unwrap().name, get(daemon, "/info")["Name"].as_str().map(str::to_owned));

    let options = StatsOptionsBuilder::new().stream(true).build();
    let documents: Vec<_> = docker.stats(&name_of(&pod, "app"), Some(options)).take(4).collect().await;
    let mut last = 0;
    for document in documents {
        let stats = document.unwrap();
        let usage = stats.cpu_stats.unwrap().cpu_usage.unwrap().total_usage.unwrap();
        assert!(usage > last, "{usage} after {last}");
        last = usage;
        assert!(
            stats.memory_stats.unwrap().limit.unwrap() > 0 && stats.networks.unwrap().contains_key("eth0")
        );
    }
    pod.stop().await.unwrap();
    of_app("die", &mut events).await;
}

/// The next of a stream that neither ends nor fails.
async fn next<T>(
    events: &mut std::pin::Pin<Box<impl futures_util::Stream<Item = Result<T, bollard::errors::Error>>>>,
) -> T {
    events.next().await.expect("it goes on").unwrap()
}
