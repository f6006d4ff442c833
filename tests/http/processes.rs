//! `/api/v2.0/ps`: who is in what, one look for all who ask, and what a reader is told who asks in vain.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use podvitals::config::Listen;
use podvitals::model::identity::{ContainerId, PodUid};
use podvitals::model::processes::{Process, ProcessCgroup, ProcessTable};
use podvitals::model::time::ClockPair;
use podvitals::serve::{Access, Limits, Listing, ProcessLane, bind, process_lane};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::cadvisor_rest::{child, id};
use super::client::{PATIENCE, Server, clock, server, server_showing, set_clock};
use super::node::{self, MIB, NAMELESS_UID, SWEEP_WALL, WEB_UID};
use super::parts::wall;

fn cgroup(path: Option<&str>, pod: Option<&str>, container: Option<&str>) -> ProcessCgroup {
    ProcessCgroup {
        path: path.map(Into::into),
        pod: pod.map(|uid| PodUid::new(uid).unwrap()),
        container: container.map(|digit| ContainerId::new(&id(digit)).unwrap()),
    }
}

fn process(pid: u32, command: &str, cgroup: u32) -> Process {
    Process {
        pid,
        parent_pid: 1,
        uid: 65_532,
        command: command.into(),
        state: 'S',
        nice: 0,
        threads: 3,
        leads_session: true,
        is_in_foreground: false,
        cpu: Duration::from_millis(17_300),
        age: Duration::from_secs(161),
        started: wall(161),
        virtual_bytes: 2_322_432,
        resident_bytes: 64 * MIB,
        processor: 1,
        cgroup,
    }
}

/// The processes of the hand-made node, as they are at this moment.
fn table(now: ClockPair) -> ProcessTable {
    let cgroups = vec![
        cgroup(Some("/init.scope"), None, None),
        cgroup(Some("/web/pause"), Some(WEB_UID), Some("a")),
        cgroup(Some("/web/d"), Some(WEB_UID), Some("d")),
        cgroup(None, Some(WEB_UID), Some("c")),
        // One that nobody knows yet, and one without a pod in its line.
        cgroup(None, Some(WEB_UID), Some("9")),
        cgroup(None, None, Some("d")),
        // Another pod's, and nobody's.
        cgroup(None, Some(NAMELESS_UID), Some("d")),
        cgroup(None, None, None),
    ];
    let names = ["init", "pause", "web", "proxy", "new", "near", "other", "moved"];
    let processes = (0..).zip(names).map(|(row, name)| process(40 + row, name, row)).collect();
    ProcessTable { at: now.monotonic, processes, cgroups }
}

/// Somebody who takes his time for a look, and counts them.
fn lane(now: fn() -> ClockPair, takes: Duration, looks: &Arc<AtomicU64>) -> ProcessLane {
    let (lane, mut lister) = process_lane(PATIENCE);
    let looks = looks.clone();
    tokio::spawn(async move {
        while lister.wanted(|| now().monotonic).await {
            looks.fetch_add(1, Ordering::SeqCst);
            let table = table(now());
            tokio::time::sleep(takes).await;
            lister.show(Listing { at: table.at, outcome: Ok(Arc::new(table)) });
        }
    });
    lane
}

/// For servers whose test is about something else.
pub(crate) fn any_lane() -> ProcessLane {
    lane(clock::<0>, Duration::ZERO, &Arc::default())
}

async fn server_with(lane: ProcessLane, now: fn() -> ClockPair) -> Server {
    let bound = bind(&[Listen::Plain("127.0.0.1:0".parse().unwrap())], Access::default()).await.unwrap();
    let change = |published: &mut podvitals::serve::Published| {
        (published.clock, published.processes) = (now, lane);
    };
    server_showing(bound, Limits::default(), change, Some(node::snapshot()))
}

async fn listed(server: &Server, path: &str) -> Value {
    let answer = server.get(&format!("/api/v2.0/ps{path}")).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{path}");
    assert_eq!(answer.header("podvitals-age-seconds"), "0.000000");
    answer.json()
}

#[tokio::test]
async fn each_has_its_own_processes_and_no_other_s() {
    let server = server().await;
    let web = format!("/kubepods.slice/kubepods-pod{}.slice", WEB_UID.replace('-', "_"));
    let (all, of_pod) = (
        ["init", "pause", "web", "proxy", "new", "near", "other", "moved"],
        ["pause", "web", "proxy", "new", "near"],
    );
    let of_pods = ["pause", "web", "proxy", "new", "near", "other"];
    for (path, expected) in [
        ("/".to_owned(), &all[..]),
        (String::new(), &all[..]),
        ("/?recursive=true".to_owned(), &all[..]),
        (web.clone(), &of_pod[..]),
        (format!("{web}?recursive=true"), &of_pod[..]),
        ("/kubepods.slice".to_owned(), &of_pods[..]),
        (child("d"), &["web", "near"][..]),
        (child("c"), &["proxy"][..]),
        (child("a"), &["pause"][..]),
        (format!("/docker/{}", id("d")), &["web", "near"][..]),
        (format!("/{}?type=docker", &id("d")[..12]), &["web", "near"][..]),
        ("/docker".to_owned(), &["pause", "web", "proxy", "near"][..]),
        (child("b"), &[][..]),
    ] {
        let list = listed(&server, &path).await;
        let names: Vec<&str> =
            list.as_array().unwrap().iter().map(|it| it["cmd"].as_str().unwrap()).collect();
        assert_eq!(names, expected, "{path}");
    }
}

#[tokio::test]
async fn a_process_is_told_in_the_words_of_ps() {
    let server = server().await;
    let list = listed(&server, &child("c")).await;
    let share = {
        let total = server.get("/api/v1/node").await.json()["memory"]["totalBytes"].as_u64().unwrap();
        (64 * MIB * 1000 / total) as f64 / 10.0
    };
    assert!(share > 0.0);
    // 161 s before 01:02:03.
    assert_eq!(SWEEP_WALL / 1_000_000_000 % 86_400, 3723);
    let expected = json!({
        "user": "65532", "pid": 43, "parent_pid": 1, "start_time": "00:59", "percent_cpu": 10.7, "percent_mem": share,
        "rss": 64 * MIB, "virtual_size": 2_322_432, "status": "Ssl", "running_time": "00:00:17", "cgroup_path": "",
        "cmd": "proxy", "psr": 1,
    });
    assert_eq!(list, json!([expected]));
    let all = listed(&server, "/").await;
    let paths: Vec<&str> =
        all.as_array().unwrap().iter().map(|it| it["cgroup_path"].as_str().unwrap()).collect();
    assert_eq!(paths[..4], ["/init.scope", "/web/pause", "/web/d", ""]);
    // Whatever the node's memory is not known for, no share of it is made up.
    let mut without = node::snapshot();
    without.tick += 1;
    without.node.memory = Err(podvitals::model::unavailable::Unavailable::NotYet);
    server.snapshot.send_replace(Some(Arc::new(without)));
    assert!(listed(&server, &child("c")).await[0].get("percent_mem").is_none());
}

#[tokio::test]
async fn ten_readers_cost_one_look_and_so_does_who_comes_soon_after() {
    let looks = Arc::default();
    let server =
        Arc::new(server_with(lane(clock::<4>, Duration::from_millis(200), &looks), clock::<4>).await);
    assert_eq!(server.get("/api/v2.0/ps/none").await.status, 500);
    assert_eq!(server.get("/api/v2.0/ps/?type=lxc").await.status, 500);
    assert_eq!(looks.load(Ordering::SeqCst), 0, "who asks for what is not there wakes nobody");
    let mut readers = JoinSet::new();
    for reader in 0..10 {
        let (server, path) = (server.clone(), if reader % 2 == 0 { "/".to_owned() } else { child("d") });
        readers.spawn(async move { listed(&server, &path).await.as_array().unwrap().len() });
    }
    let mut lengths = readers.join_all().await;
    lengths.sort_unstable();
    assert_eq!(lengths, [2, 2, 2, 2, 2, 8, 8, 8, 8, 8]);
    assert_eq!(looks.load(Ordering::SeqCst), 1);
    set_clock::<4>(5.3);
    let answer = server.get("/api/v2.0/ps/").await;
    assert_eq!((answer.status, answer.header("podvitals-age-seconds")), (200, "4.888000"));
    assert_eq!(looks.load(Ordering::SeqCst), 1);
    set_clock::<4>(5.5);
    listed(&server, "/").await;
    assert_eq!(looks.load(Ordering::SeqCst), 2, "5.088 s later");
}

#[tokio::test]
async fn who_asks_in_vain_is_told_why_and_in_time() {
    // Somebody who never answers, somebody who cannot, and nobody.
    let (never, held) = process_lane(Duration::from_millis(50));
    let (cannot, mut lister) = process_lane(PATIENCE);
    tokio::spawn(async move {
        while lister.wanted(|| clock::<0>().monotonic).await {
            let why = "/host/proc: mounted with hidepid".into();
            lister.show(Listing { at: clock::<0>().monotonic, outcome: Err(why) });
        }
    });
    for (lane, why) in [
        (never, "process listing failed: /proc was not looked through within 0.05 s\n"),
        (cannot, "process listing failed: /host/proc: mounted with hidepid\n"),
        (ProcessLane::default(), "process listing failed: nobody lists the processes of this node\n"),
    ] {
        let server = server_with(lane, clock::<0>).await;
        let answer = server.get("/api/v2.0/ps/").await;
        assert_eq!((answer.status, answer.text()), (500, why));
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    }
    assert!(!held.holds());
}
