//! A real dockerd's statistics beside ours, of the same containers at the same time: the same figures, the
//! same keys.

use std::io::Read;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use podvitals_testbed::DockerContainer;
use serde_json::Value;

use crate::daemon::Daemon;
use crate::docker::PATIENCE;
use crate::docker::exchange;
use crate::docker::is_named;
use crate::docker::serving;
use crate::docker::until;
use crate::docker::watching;
use crate::docker_api::get;
use crate::stage::Stage;

const MB: u64 = 1_000_000;

/// What the kernel hands a cgroup in advance, for each processor: 64 pages.
const BATCHES: f64 = 64.0 * 4096.0 * 2.0;

/// What dockerd says and we do not, as the README has it.
const ABSENT: [&str; 24] = [
    "/cpu_stats/cpu_usage/percpu_usage",
    "/memory_stats/failcnt",
    "/memory_stats/stats/active_anon",
    "/memory_stats/stats/active_file",
    "/memory_stats/stats/dirty",
    "/memory_stats/stats/hierarchical_memory_limit",
    "/memory_stats/stats/hierarchical_memsw_limit",
    "/memory_stats/stats/inactive_anon",
    "/memory_stats/stats/mapped_file",
    "/memory_stats/stats/pgpgin",
    "/memory_stats/stats/pgpgout",
    "/memory_stats/stats/rss_huge",
    "/memory_stats/stats/total_active_anon",
    "/memory_stats/stats/total_active_file",
    "/memory_stats/stats/total_dirty",
    "/memory_stats/stats/total_inactive_anon",
    "/memory_stats/stats/total_mapped_file",
    "/memory_stats/stats/total_pgpgin",
    "/memory_stats/stats/total_pgpgout",
    "/memory_stats/stats/total_rss_huge",
    "/memory_stats/stats/total_unevictable",
    "/memory_stats/stats/total_writeback",
    "/memory_stats/stats/unevictable",
    "/memory_stats/stats/writeback",
];

pub(crate) async fn dockerd_s_own_figures_lie_between_two_of_ours(stage: Arc<Stage>) {
    let docker = stage.testbed.docker().await.unwrap();
    let daemon = watching(&docker.socket(), &[]);
    daemon.until_ready().await;
    let server = docker.pod("same-server").await.unwrap();
    serving(&server).await;
    let web = docker.pod("same-web").await.unwrap();
    let app = web.container("app", &["spin", "--duty", "37"]).await.unwrap();
    let still = web.container("still", &["memory", "--anon", "50MiB"]).await.unwrap();
    still.wait_for("ready", PATIENCE).await.unwrap();
    exchange(&app, &server, 5 * MB, 2 * MB).await;
    let list = until(&daemon, "all have names", |list| is_named(list, &web)).await;
    daemon.list_after(list.tick + 1).await;
    for of in [&app, &still] {
        compare(&daemon, &docker.socket(), of).await;
    }
    for made in [server, web] {
        made.stop().await.unwrap();
    }
    docker.stop().await.unwrap();
}

async fn compare(daemon: &Daemon, socket: &Path, of: &DockerContainer) {
    let path = format!("/v1.41/containers/{}/stats?stream=false", of.id());
    let before = get(daemon, &path);
    let theirs = of_dockerd(socket, &path);
    daemon.next_list().await;
    let after = get(daemon, &path);
    let mut compared = 0;
    for part in ["cpu_stats", "memory_stats", "networks", "pids_stats"] {
        let path = format!("/{part}");
        compared += lies_between(&path, [&before[part], &after[part]], &theirs[part]);
    }
    println!("       {compared} figures of dockerd lie between two of ours");
    assert!(compared >= 25, "only {compared} figures could be compared: {theirs}");
    for figure in ["/cpu_stats/cpu_usage/total_usage", "/memory_stats/usage", "/networks/eth0/tx_bytes"] {
        assert!(theirs.pointer(figure).unwrap().as_u64().unwrap() > 0, "{figure}: {theirs}");
    }
    assert!(theirs["networks"]["eth0"]["tx_bytes"].as_u64().unwrap() >= 5 * MB, "{theirs}");
}

/// How many figures of `theirs` were found in both of `ours`, the older first, each between the two.
fn lies_between(path: &str, ours: [&Value; 2], theirs: &Value) -> usize {
    if let Some(object) = theirs.as_object() {
        let mut compared = 0;
        for (key, value) in object {
            let path = format!("{path}/{key}");
            if ABSENT.contains(&&*path) {
                assert!(ours[0].get(key).is_none(), "{path} is there: {}", ours[0]);
                continue;
            }
            let ours = ours.map(|of| of.get(key).unwrap_or_else(|| panic!("no {path} in {of}")));
            compared += lies_between(&path, ours, value);
        }
        return compared;
    }
    let number = |of: &Value| of.as_f64().unwrap_or_else(|| panic!("{path} is {of}, not a number"));
    let ([before, after], theirs) = (ours.map(number), number(theirs));
    let slack = match path {
        _ if !path.starts_with("/memory_stats") || path.ends_with("/limit") => 0.0,
        // A figure of now, not of all time: ours are of the moments before and after.
        _ => BATCHES,
    };
    let between = before.min(after) - slack..=before.max(after) + slack;
    assert!(between.contains(&theirs), "{path} is {theirs}, not {between:?}");
    1
}

/// What dockerd answers, a second or two later.
fn of_dockerd(socket: &Path, path: &str) -> Value {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // Of 1.0, so that the body is sent as it is and ends with the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 "), "{head}\n{body}");
    serde_json::from_str(body).unwrap()
}
