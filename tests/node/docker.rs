//! The Docker Engine as the source of names, and pods as cri-dockerd makes them: a real dockerd, beside
//! the testbed's containerd and on it.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use podvitals::model::document::PodList;
use podvitals::model::identity::ContainerKind;
use podvitals::model::identity::ContainerState;
use podvitals::model::identity::Source;
use podvitals::model::unavailable::Unavailable;
use podvitals_testbed::DockerContainer;
use podvitals_testbed::DockerPod;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::agreement;
use crate::daemon::Daemon;
use crate::daemon::PODVITALS;
use crate::find::container;
use crate::find::pod;
use crate::memory;
use crate::network::PORT;
use crate::network::while_quiet_on;
use crate::oracle::Schedstat;
use crate::stage::Stage;
use crate::watcher::risen;
use crate::watcher::series;

const MB: u64 = 1_000_000;
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Windows in which CPU is compared.
const WINDOWS: u64 = 5;

/// A podvitals that asks the engine alone.
pub(crate) fn watching(socket: &Path, flags: &[&str]) -> Daemon {
    let endpoint = format!("unix://{}", socket.display());
    Daemon::spawn(Command::new(PODVITALS), |command| {
        command.args(["--source", "docker", "--docker-endpoint", &endpoint]).args(flags);
    })
}

/// The first sweep in which `holds`.
pub(crate) async fn until(daemon: &Daemon, what: &str, holds: impl Fn(&PodList) -> bool) -> PodList {
    let begun = Instant::now();
    let mut tick = 0;
    loop {
        let list = daemon.list_after(tick).await;
        if holds(&list) {
            return list;
        }
        assert!(begun.elapsed() < PATIENCE, "never: {what}; log:\n{}", daemon.log());
        tick = list.tick;
    }
}

pub(crate) fn is_named(list: &PodList, of: &DockerPod) -> bool {
    list.pods.iter().any(|pod| pod.runtime_uid == of.uid() && pod.name.is_some())
}

pub(crate) async fn serving(pod: &DockerPod) -> DockerContainer {
    let server = pod.container("app", &["serve-bytes", "--port", &PORT.to_string()]).await.unwrap();
    server.wait_for("listening", PATIENCE).await.unwrap();
    server
}

pub(crate) async fn exchange(from: &DockerContainer, to: &DockerPod, send: u64, receive: u64) {
    let (address, port) = (to.ip().unwrap().to_string(), PORT.to_string());
    let (send, receive) = (send.to_string(), receive.to_string());
    let command = ["/load", "send", &address, &port, "--bytes", &send, "--receive", &receive];
    from.exec(&command).await.unwrap();
}

pub(crate) async fn pods_have_their_names_and_figures_equal_independent_sources(stage: Arc<Stage>) {
    let docker = stage.testbed.docker().await.unwrap();
    let daemon = watching(&docker.socket(), &[]);
    daemon.until_ready().await;
    let server = docker.pod("dk-server").await.unwrap();
    serving(&server).await;
    let web = docker.pod("dk-web").await.unwrap();
    let app = web.container("app", &["spin", "--duty", "37", "--cpu", "1"]).await.unwrap();
    let still = web.container("still", &["memory", "--anon", "50MiB"]).await.unwrap();
    still.wait_for("ready", PATIENCE).await.unwrap();
    let host = docker.host_pod("dk-host").await.unwrap();
    host.container("app", &["idle"]).await.unwrap();
    let stranger = docker.stranger("by-hand").await.unwrap();

    let list = until(&daemon, "all have names", |list| is_named(list, &web) && is_named(list, &host)).await;
    assert!(list.pods.iter().all(|pod| pod.containers.iter().all(|it| it.id.as_ref() != Some(&stranger))));
    let list = daemon.list_after(list.tick + 1).await;
    let told = pod(&list, web.uid());
    assert_eq!((told.namespace.as_deref(), told.name.as_deref()), (Some("default"), Some("dk-web")));
    assert_eq!((told.uid.as_deref(), told.qos_class.as_deref()), (Some(web.uid()), Some("Burstable")));
    assert_eq!(told.identity, [Source::Docker]);
    let sandbox = told.sandbox.as_ref().unwrap();
    assert_eq!(sandbox.id.as_deref(), Some(web.sandbox_id()));
    assert_eq!(sandbox.pid, Some(web.sandbox_pid()));
    assert_eq!(sandbox.interface.as_deref(), Some("eth0"));
    assert_eq!(sandbox.host_interface.as_deref(), Some(web.host_veth().unwrap()));
    let mut containers: Vec<_> =
        told.containers.iter().map(|it| (it.name.as_deref(), it.id.as_deref())).collect();
    containers.sort_unstable();
    assert_eq!(containers, [(Some("app"), Some(app.id())), (Some("still"), Some(still.id()))]);
    for container in &told.containers {
        assert_eq!(container.kind, Some(ContainerKind::App));
        assert_eq!(container.state, Some(ContainerState::Running));
        assert_eq!(container.image.as_deref(), Some(podvitals_testbed::LOAD));
        assert_eq!(container.restart_count, Some(0));
        assert!(container.started_at.is_some());
    }
    let on_host = pod(&list, host.uid());
    assert!(on_host.host_network && on_host.network.is_none());
    assert_eq!(on_host.unavailable.get("network"), Some(&Unavailable::HostNetwork));

    exchange(&app, &server, 50 * MB, 7 * MB).await;
    let network = while_quiet_on(&daemon, web.uid(), web.host_veth().unwrap()).await;
    assert_eq!(network.source.as_deref(), Some("netns"));
    assert!(network.total.tx_bytes >= 50 * MB && network.total.rx_bytes >= 7 * MB, "{network:?}");
    memory::compared_by(&daemon, still.id(), &still.cgroup_dir("memory").unwrap()).await;
    cpu_agrees(&daemon, &app).await;

    docker.remove(&stranger).await.unwrap();
    for made in [server, web, host] {
        made.stop().await.unwrap();
    }
    docker.stop().await.unwrap();
}

async fn cpu_agrees(daemon: &Daemon, of: &DockerContainer) {
    let recording = Schedstat::record(of.pid());
    let mut tick = daemon.next_list().await.tick;
    let mut figures = Vec::new();
    for _ in 0..=WINDOWS {
        let list = daemon.list_after(tick).await;
        tick = list.tick;
        figures.push(container(&list, of.id()).cpu.unwrap());
    }
    daemon.list_after(tick).await;
    agreement::rates(&figures, &recording.end(), &(0.05..0.41));
}

pub(crate) async fn a_restart_is_counted_and_named_and_the_pod_goes_on(stage: Arc<Stage>) {
    let docker = stage.testbed.docker().await.unwrap();
    // At a slow interval, so that the names are the engine's events and not a chance of the sweep.
    let daemon = watching(&docker.socket(), &["--interval", "200ms"]);
    daemon.until_ready().await;
    let server = docker.pod("dk-server").await.unwrap();
    serving(&server).await;
    let web = docker.pod("dk-restarts").await.unwrap();
    let mut app = web.container("app", &["spin", "--duty", "50"]).await.unwrap();
    let mut sent = 0;
    let mut usage = 0;
    for restarts in 0..=3 {
        if restarts > 0 {
            app = web.restart_container("app").await.unwrap();
        }
        exchange(&app, &server, MB, 1).await;
        let id = app.id().to_owned();
        let list = until(&daemon, "the new instance has its name", |list| {
            let mut all = list.pods.iter().flat_map(|pod| &pod.containers);
            // The engine tells of it when it is made, and again when it runs.
            all.any(|it| {
                it.id.as_deref() == Some(&id) && it.cpu.is_some() && it.state == Some(ContainerState::Running)
            })
        })
        .await;
        let told = container(&list, app.id());
        assert_eq!((told.name.as_deref(), told.restart_count), (Some("app"), Some(restarts)));
        assert_eq!(told.state, Some(ContainerState::Running));
        let list = daemon.list_after(list.tick + 1).await;
        let whole = pod(&list, web.uid());
        let network = whole.network.as_ref().unwrap();
        assert!(network.total.tx_bytes >= sent + MB, "{} after {sent}", network.total.tx_bytes);
        let cpu = whole.cpu.as_ref().unwrap();
        assert!(cpu.usage_nanoseconds > usage, "{} after {usage}", cpu.usage_nanoseconds);
        assert_eq!(whole.sandbox.as_ref().unwrap().id.as_deref(), Some(web.sandbox_id()));
        (sent, usage) = (network.total.tx_bytes, cpu.usage_nanoseconds);
    }
    for made in [server, web] {
        made.stop().await.unwrap();
    }
    docker.stop().await.unwrap();
}

pub(crate) async fn an_engine_killed_and_restarted_costs_no_name_and_no_sweep(stage: Arc<Stage>) {
    let docker = stage.testbed.docker().await.unwrap();
    let daemon = watching(&docker.socket(), &["--interval", "200ms"]);
    daemon.until_ready().await;
    let web = docker.pod("dk-lives-on").await.unwrap();
    let app = web.container("app", &["spin", "--duty", "30"]).await.unwrap();
    let before = until(&daemon, "named", |list| is_named(list, &web)).await;
    let before = daemon.list_after(before.tick + 1).await;
    assert!(is_up(&daemon) && container(&before, app.id()).cpu.unwrap().cores.is_some());

    let refusals = "podvitals_source_errors_total{source=\"docker\",reason=\"";
    let counted = series(&daemon, refusals);
    docker.kill().unwrap();
    let mut watch = Vigil::begin(before);
    watch.keep(&daemon, &web, &app, 15).await;
    until(&daemon, "it is known to be away", |_| !is_up(&daemon)).await;
    assert_eq!(risen(&daemon, refusals, &counted), ["unreachable\"}"]);
    docker.restart().await.unwrap();
    watch.keep(&daemon, &web, &app, 10).await;
    let again = until(&daemon, "it is connected again", |_| is_up(&daemon)).await;
    assert!(is_named(&again, &web));

    // It is heard again: what is made now has its name.
    let late = docker.pod("dk-late").await.unwrap();
    until(&daemon, "a pod made after the restart", |list| is_named(list, &late)).await;
    let log = daemon.log();
    let said = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    assert_eq!(said("does not answer"), 1, "{log}");
    assert_eq!(said("connected to the container runtime"), 2, "{log}");
    for made in [web, late] {
        made.stop().await.unwrap();
    }
    docker.stop().await.unwrap();
}

/// What the metrics say of the source.
fn is_up(daemon: &Daemon) -> bool {
    let body = daemon.get("/metrics").body;
    let value = body.lines().find_map(|line| line.strip_prefix("podvitals_source_up{source=\"docker\"} "));
    value.unwrap().parse::<f64>().unwrap() > 0.0
}

/// Every sweep of a while: none is missing, none is late, and the pod is whole in each.
struct Vigil {
    last: PodList,
}

impl Vigil {
    fn begin(last: PodList) -> Self {
        Self { last }
    }

    async fn keep(&mut self, daemon: &Daemon, of: &DockerPod, app: &DockerContainer, sweeps: usize) {
        for _ in 0..sweeps {
            let list = daemon.list_after(self.last.tick).await;
            let ago = Duration::from_nanos(list.time_unix_nano - self.last.time_unix_nano);
            let steps = u32::try_from(list.tick - self.last.tick).unwrap();
            assert!(
                ago < Duration::from_millis(200) * steps + Duration::from_secs(1),
                "{ago:?}, {steps} sweeps"
            );
            let told = pod(&list, of.uid());
            assert_eq!(told.name.as_deref(), Some("dk-lives-on"));
            assert_eq!(told.sandbox.as_ref().unwrap().pid, Some(of.sandbox_pid()));
            assert!(told.network.is_some() && told.age_seconds < 1.5, "{told:?}");
            let container = container(&list, app.id());
            assert_eq!((container.name.as_deref(), container.restart_count), (Some("app"), Some(0)));
            // A sweep that was held up leaves the next one too short a window for a rate.
            assert!(container.cpu.is_some_and(|cpu| cpu.cores.is_none_or(|cores| cores > 0.0)));
            self.last = list;
        }
    }
}

pub(crate) async fn a_socket_that_hangs_costs_the_names_only(stage: Arc<Stage>) {
    let docker = stage.testbed.docker().await.unwrap();
    let web = docker.pod("dk-hangs").await.unwrap();
    let app = web.container("app", &["spin", "--duty", "30"]).await.unwrap();
    let socket = stage.testbed.scratch().join("hangs.sock");
    // The kernel accepts, nobody reads.
    let listener = UnixListener::bind(&socket).unwrap();
    let daemon = watching(&socket, &["--interval", "200ms"]);
    let timeout = "podvitals_source_errors_total{source=\"docker\",reason=\"timeout\"} 0";
    let deadline = Instant::now() + PATIENCE;
    let is_counted = || {
        let body = daemon.get("/metrics").body;
        body.contains("source=\"docker\"") && !body.contains(timeout)
    };
    while !daemon.log().contains("no answer to /containers/json within 2 s") || !is_counted() {
        assert!(Instant::now() < deadline, "{}", daemon.log());
        sleep(Duration::from_millis(50)).await;
    }
    let list = daemon.next_list().await;
    let told = pod(&list, web.uid());
    assert!(told.name.is_none() && told.identity.is_empty());
    assert!(container(&list, app.id()).cpu.unwrap().usage_nanoseconds > 0);
    assert_ne!(daemon.get("/readyz").status, 200, "no source of names has told anything");

    // Whoever asks next is answered; whoever asked is still not.
    let answering = stage.testbed.scratch().join("answers.sock");
    std::os::unix::fs::symlink(docker.socket(), &answering).unwrap();
    std::fs::rename(&answering, &socket).unwrap();
    until(&daemon, "it answers at last", |list| is_named(list, &web)).await;
    daemon.until_ready().await;
    let log = daemon.log();
    assert_eq!(log.lines().filter(|line| line.contains("does not answer")).count(), 1, "{log}");
    drop(listener);
    std::fs::remove_file(&socket).unwrap();
    web.stop().await.unwrap();
    docker.stop().await.unwrap();
}
