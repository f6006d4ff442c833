//! Kills for lack of memory: told once, of whom and when, against the kernel's own counts.
//!
//! Two kinds: of a process in a container that goes on, which the container's cgroup counts; and of a
//! container's last process, whose cgroup is gone before a sweep can read it, so that only a source of names
//! knows why it ended.

use std::sync::Arc;
use std::time::Duration;

use podvitals::model::document::PastContainer;
use podvitals::model::document::PodList;
use podvitals::model::document::Recent;
use podvitals_testbed::Container;
use podvitals_testbed::Pod;
use serde_json::Value;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::cadvisor_rest::Following;
use crate::cadvisor_rest::name;
use crate::daemon::Daemon;
use crate::docker_api::get;
use crate::find::container;
use crate::find::pod;
use crate::oracle;
use crate::stage::Stage;

const PATIENCE: Duration = Duration::from_secs(20);
const LIMIT: u64 = 64 << 20;
const TOO_MUCH: &str = "256MiB";

/// Of SIGKILL.
const KILLED: i32 = 128 + 9;

/// What is asked for: `stream=true` or what is past.
const KILLS: &str = "subcontainers=true&oom_events=true&oom_kill_events=true";

pub(crate) async fn a_kill_is_told_once_of_whom_and_when(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let folder = testbed.scratch().join("oom");
    std::fs::create_dir_all(&folder).unwrap();
    let neighbour = testbed.pod("oom-neighbour").run().await.unwrap();
    let bystander = neighbour.container("app").args(["idle"]).memory_limit(LIMIT).run().await.unwrap();
    let made = testbed.pod("oom").run().await.unwrap();
    let stays = made.container("stays").args(["idle"]).memory_limit(LIMIT).run().await.unwrap();
    let load = ["memory", "--when", "/folder/now", "--anon", TOO_MUCH];
    let ends = made.container("ends").args(load).memory_limit(LIMIT).mount(&folder, "/folder");
    let ends = ends.run().await.unwrap();
    let (of_stays, of_ends) = (name(&stays, &made), name(&ends, &made));
    let mut streams = Vec::new();
    for (who, daemon) in stage.observers() {
        until_read(daemon, [&bystander, &stays, &ends]).await;
        let path = format!("/api/v1.3/events/?stream=true&creation_events=true&deletion_events=true&{KILLS}");
        streams.push((who, daemon, tokio::task::block_in_place(|| Following::new(daemon, &path))));
        // It begins with a sweep that has all of them.
        daemon.next_list().await;
    }
    let of_all = || oracle::keyed("/proc/vmstat", "oom_kill");
    let at_first = of_all();

    // The kernel kills the process that is too large, and not the container's first one.
    assert_eq!([&bystander, &stays, &ends].map(kills), [0; 3]);
    let began = now();
    let output = stays.exec(["/load", "memory", "--anon", TOO_MUCH]).await.unwrap();
    assert_eq!(output.exit_code, KILLED, "{output:?}");
    assert_eq!([&bystander, &stays, &ends].map(kills), [0, 1, 0]);
    let mut told: Vec<Vec<Value>> = streams
        .iter_mut()
        .map(|(_, _, events)| tokio::task::block_in_place(|| events.all_until("oomKill", &of_stays)))
        .collect();
    let first = began..=now();

    // Now a container's only process, of which nothing is left to read.
    let began = now();
    std::fs::write(folder.join("now"), "").unwrap();
    assert_eq!(exit_code(&ends).await, KILLED);
    assert!(of_all() >= at_first + 2, "the kernel counted both");
    for (place, (_, _, events)) in streams.iter_mut().enumerate() {
        let last = if place == 0 { "oomKill" } else { "containerDeletion" };
        told[place].extend(tokio::task::block_in_place(|| events.all_until(last, &of_ends)));
    }
    let second = began..=now();
    assert_eq!(ends.end_reason().await.unwrap(), "OOMKilled", "the runtime's word");
    assert_eq!([&bystander, &stays].map(kills), [0, 1]);
    let mut recent = Vec::new();
    for (_, daemon, _) in &streams {
        let list = daemon.next_list().await;
        assert_eq!(container(&list, stays.id()).memory.unwrap().oom_kills, Some(1));
        assert_eq!(container(&list, bystander.id()).memory.unwrap().oom_kills, Some(0));
        assert!((1..=2).contains(&pod(&list, made.uid()).memory.as_ref().unwrap().oom_kills.unwrap()));
        recent.push(cause(daemon, &ends));
    }
    // Without a source of names nobody knows why, nor whether it was the sandbox: such ends are not listed.
    assert_eq!(recent, [Some("OOMKilled".to_owned()), None]);

    // What comes after is told as well, and is no kill.
    for pod in [&made, &neighbour] {
        pod.stop().await.unwrap();
    }
    for (place, (who, daemon, events)) in streams.iter_mut().enumerate() {
        let rest = || events.all_until("containerDeletion", neighbour.cgroup());
        told[place].extend(tokio::task::block_in_place(rest));
        daemon.next_list().await;
        let told = kills_among(&told[place]);
        println!("       {who}: {told:?}");
        let of = |name: &str| {
            let of_it = told.iter().filter(|(_, of, _)| of == name);
            of_it.map(|(kind, _, at)| (kind.as_str(), *at)).collect::<Vec<_>>()
        };
        for (name, between, needed) in [(&of_stays, &first, true), (&of_ends, &second, place == 0)] {
            let of_it = of(name);
            if needed || !of_it.is_empty() {
                let [("oom", at), ("oomKill", again)] = of_it[..] else { panic!("{who}: {of_it:?}") };
                assert!(at == again && between.contains(&at), "{who}: {at} is not in {between:?}");
            }
        }
        assert_eq!(told.len(), of(&of_stays).len() + of(&of_ends).len(), "{who}: of nobody else");
        assert_eq!(past(daemon, &made), told, "{who}: what was told as it happened");
        assert_eq!(past(daemon, &neighbour), []);
    }
    std::fs::remove_dir_all(folder).unwrap();
}

/// What the container's cgroup has counted, read by the plainest of means.
fn kills(of: &Container) -> u64 {
    oracle::keyed(of.cgroup_dir("memory").unwrap().join("memory.oom_control"), "oom_kill")
}

fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// Waits until a sweep has read the memory of all.
async fn until_read(daemon: &Daemon, all: [&Container; 3]) {
    let deadline = Instant::now() + PATIENCE;
    let mut list = daemon.list();
    let is_read = |list: &PodList, of: &Container| {
        let mut containers = list.pods.iter().flat_map(|pod| &pod.containers);
        containers.any(|it| it.id.as_deref() == Some(of.id()) && it.memory.is_some())
    };
    while !all.iter().all(|of| is_read(&list, of)) {
        assert!(Instant::now() < deadline, "they were never read");
        list = daemon.list_after(list.tick).await;
    }
}

async fn exit_code(of: &Container) -> i32 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(code) = of.exit_code().await.unwrap() {
            return code;
        }
        assert!(Instant::now() < deadline, "{} has not ended", of.name());
        sleep(Duration::from_millis(20)).await;
    }
}

/// Why it ended, as the list of what ended recently says.
fn cause(daemon: &Daemon, of: &Container) -> Option<String> {
    let recent: Recent = serde_json::from_str(&daemon.get("/api/v1/recent").body).unwrap();
    let mut ended = recent.ended.into_iter();
    let is_it = |container: &PastContainer| container.id == of.id();
    ended.find(|ended| ended.container.as_ref().is_some_and(is_it)).map(|ended| ended.cause)
}

/// Kind, name and time of the kills among events, oldest first.
fn kills_among(events: &[Value]) -> Vec<(String, String, jiff::Timestamp)> {
    let text = |event: &Value, key: &str| event[key].as_str().unwrap().to_owned();
    let kills = events.iter().filter(|event| text(event, "event_type").starts_with("oom"));
    let mut kills: Vec<_> = kills
        .map(|event| {
            let at = text(event, "timestamp").parse().unwrap();
            (text(event, "event_type"), text(event, "container_name"), at)
        })
        .collect();
    kills.sort_by_key(|(_, _, at)| *at);
    kills
}

/// The kills in this pod that both versions of the interface remember.
fn past(daemon: &Daemon, of: &Pod) -> Vec<(String, String, jiff::Timestamp)> {
    let [first, second] = ["v1.3", "v2.0"].map(|version| {
        let path = format!("/api/{version}/events{}?max_events=-1&{KILLS}", of.cgroup());
        kills_among(get(daemon, &path).as_array().unwrap())
    });
    assert_eq!(first, second);
    first
}
