//! A real dockerd's statistics beside ours, of the same containers at the same time: the same figures, the
//! same keys.

use std::collections::BTreeMap;
use std::io::Read;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use podvitals_testbed::DockerContainer;
use serde_json::Value;

use crate::beside::Beside;
use crate::daemon::Daemon;
use crate::disk::Disk;
use crate::docker::PATIENCE;
use crate::docker::exchange;
use crate::docker::is_named;
use crate::docker::serving;
use crate::docker::until;
use crate::docker::watching;
use crate::docker_api::get;
use crate::stage::Stage;

const MB: u64 = 1_000_000;
const EIGHT_MIB: u64 = 8 << 20;

/// What the kernel hands a cgroup in advance, for each processor: 64 pages.
pub(crate) const BATCHES: f64 = 64.0 * 4096.0 * 2.0;

/// Lists of `blkio_stats` that both have rows in.
const BLKIO: [&str; 2] = ["io_service_bytes_recursive", "io_serviced_recursive"];

/// Rows of dockerd's that ours has not, as the README has it: readers add all up.
const OTHER_OPS: [&str; 4] = ["Sync", "Async", "Discard", "Total"];

/// Major, minor and op → value.
type Rows = BTreeMap<(u64, u64, String), u64>;

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
    // The kernel counts from here on.
    let disk = Disk::new(&stage.testbed, "docker-same");
    disk.account();
    let written = web.container_with(disk.folder(), "/disk", "written", &["idle"]).await.unwrap();
    let on = ["write-direct", "/disk/on", "1MiB", "--every", "50"];
    let writing = web.container_with(disk.folder(), "/disk", "writing", &on).await.unwrap();
    written.exec(&["/load", "write-direct", "/disk/once", "8MiB"]).await.unwrap();
    // What was written past the page cache has to be read from the disk.
    written.exec(&["/load", "read-file", "/disk/once"]).await.unwrap();
    let list = until(&daemon, "all have names", |list| is_named(list, &web)).await;
    daemon.list_after(list.tick + 1).await;
    for of in [&app, &still] {
        let [before, theirs, after] = beside(&daemon, &docker.socket(), of).await;
        compare([&before, &after], &theirs);
    }
    for (of, goes_on) in [(&written, false), (&writing, true)] {
        let [before, theirs, after] = beside(&daemon, &docker.socket(), of).await;
        compare_blkio([&before, &after], &theirs, &disk, goes_on);
    }
    for made in [server, web] {
        made.stop().await.unwrap();
    }
    docker.stop().await.unwrap();
    drop(disk);
}

/// Dockerd's document, and ours of before and after.
async fn beside(daemon: &Daemon, socket: &Path, of: &DockerContainer) -> [Value; 3] {
    let path = format!("/v1.41/containers/{}/stats?stream=false", of.id());
    let before = get(daemon, &path);
    let theirs = of_dockerd(socket, &path);
    daemon.next_list().await;
    [before, theirs, get(daemon, &path)]
}

fn compare(ours: [&Value; 2], theirs: &Value) {
    let slack = |path: &str| match path {
        _ if !path.starts_with(".memory_stats") || path.ends_with(".limit") => 0.0,
        // What only grows.
        _ if path.ends_with("pgfault") || path.ends_with("pgmajfault") || path.ends_with("failcnt") => 0.0,
        // A figure of now, not of all time: ours are of the moments before and after.
        _ => BATCHES,
    };
    let mut beside = Beside { slack: &slack, is_apart: &|_, _| false, wrong: Vec::new() };
    let parts = ["cpu_stats", "memory_stats", "networks", "pids_stats"];
    let each = parts.map(|part| beside.compare(&format!(".{part}"), ours.map(|of| &of[part]), &theirs[part]));
    let compared: usize = each.iter().sum();
    beside.check();
    println!("       {compared} figures of dockerd lie between two of ours");
    assert!(compared >= 25, "only {compared} figures could be compared: {theirs}");
    for figure in ["/cpu_stats/cpu_usage/total_usage", "/memory_stats/usage", "/networks/eth0/tx_bytes"] {
        assert!(theirs.pointer(figure).unwrap().as_u64().unwrap() > 0, "{figure}: {theirs}");
    }
    assert!(theirs["networks"]["eth0"]["tx_bytes"].as_u64().unwrap() >= 5 * MB, "{theirs}");
}

/// Each disk's reads and writes, in bytes and in operations: no row of dockerd's is missing, and none is more.
fn compare_blkio(ours: [&Value; 2], theirs: &Value, disk: &Disk, goes_on: bool) {
    let (major, minor) = disk.number();
    let of_disk = |op: &str| (u64::from(major), u64::from(minor), op.to_owned());
    for list in BLKIO {
        let [before, after] = ours.map(|of| rows(of, list));
        let mut theirs = rows(theirs, list);
        println!("       {list}: {theirs:?} of dockerd, {before:?} to {after:?} of ours");
        theirs.retain(|(major, minor, op), _| !OTHER_OPS.contains(&&**op) && !is_stacked(*major, *minor));
        assert!(theirs.keys().eq(before.keys()) && before.keys().eq(after.keys()), "{list}");
        for (row, value) in &theirs {
            assert!((before[row]..=after[row]).contains(value), "{list} {row:?}");
        }
        let [written, read] = ["Write", "Read"].map(|op| theirs[&of_disk(op)]);
        let moved = after[&of_disk("Write")] - before[&of_disk("Write")];
        assert_eq!(moved > 0, goes_on, "{list}: {moved} written meanwhile");
        assert!(written > 0, "{list}");
        if !goes_on {
            assert!(read > 0, "{list}");
        }
        if !goes_on && list == "io_service_bytes_recursive" {
            assert_eq!(written, EIGHT_MIB);
            // The file system's own blocks are read along with the file.
            assert!((EIGHT_MIB..EIGHT_MIB + MB).contains(&read), "{read} bytes read");
        }
    }
}

fn rows(stats: &Value, list: &str) -> Rows {
    let rows = stats["blkio_stats"][list].as_array().unwrap_or_else(|| panic!("no {list}: {stats}"));
    let named = rows.iter().map(|row| {
        let number = |key: &str| row[key].as_u64().unwrap_or_else(|| panic!("no {key}: {row}"));
        ((number("major"), number("minor"), row["op"].as_str().unwrap().to_owned()), number("value"))
    });
    let all: Rows = named.collect();
    assert_eq!(all.len(), rows.len(), "a row is there twice: {rows:?}");
    all
}

/// Whether the disk rests on another, whose I/O this one's is: ours has no row of it.
pub(crate) fn is_stacked(major: u64, minor: u64) -> bool {
    let below = std::fs::read_dir(format!("/sys/dev/block/{major}:{minor}/slaves"));
    below.is_ok_and(|mut below| below.next().is_some())
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
