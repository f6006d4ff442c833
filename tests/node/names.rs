//! README's table of the agents' names, held against documents of real pods.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep;

use crate::docker_clients::until_named;
use crate::network::PORT;
use crate::stage::Stage;
use crate::table::has;
use crate::table::rows;
use crate::table::section;

/// What these pods, this runtime, or some kernel does not tell: the made-up node of `tests/http` has all of it.
const MAY_LACK: &[&str] = &[
    // Not every disk's I/O is accounted on cgroup v1, and these pods write nothing.
    "pods[].io.devices[]",
    "container_fs_",
    "io_service",
    // The runtime knows no phase, gives a pod's own cgroup no limit, and tasks none at all.
    "phase",
    "pods[].cpu.limitCores",
    "pods[].memory.limitBytes",
    "pids_limit",
    // By kernel: pressure, swap accounting, `memory.peak`.
    "pressure_seconds_total",
    "memory_swap",
    "memory.swapBytes",
    "memory_peak_bytes",
];

pub(crate) async fn every_place_is_in_a_document_of_real_pods(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let server = testbed.pod("names-server").run().await.unwrap();
    let serving =
        server.container("app").args(["serve-bytes", "--port", &PORT.to_string()]).run().await.unwrap();
    serving.wait_for("listening", Duration::from_secs(10)).await.unwrap();
    let made = testbed.pod("names").run().await.unwrap();
    let app = made
        .container("app")
        .args(["spin", "--duty", "20"])
        .cpu_limit_millis(500)
        .memory_limit(64 << 20)
        .run()
        .await
        .unwrap();
    app.exchange(server.ip().unwrap(), PORT, 1_000_000, 1_000_000).await.unwrap();
    let daemon = &stage.full;
    until_named(daemon, &app).await;
    let table = rows(section());
    let deadline = Instant::now() + Duration::from_secs(10);
    // Limits are read every few seconds.
    let (missing, found) = loop {
        let mut documents = BTreeMap::new();
        let (mut missing, mut found) = (Vec::new(), 0);
        for place in table.iter().flat_map(|row| &row.places) {
            let document = documents.entry(&place.route).or_insert_with(|| {
                let answer = daemon.get(&place.route.replace("{id}", app.id()));
                assert_eq!(answer.status, 200, "{}: {}", place.route, answer.body);
                answer.body
            });
            if has(document, &place.path) {
                found += 1;
            } else if !MAY_LACK.iter().any(|part| place.path.contains(part)) {
                missing.push(format!("{} in {}", place.path, place.route));
            }
        }
        if missing.is_empty() || Instant::now() > deadline {
            break (missing, found);
        }
        sleep(Duration::from_millis(200)).await;
    };
    assert_eq!(missing, [""; 0]);
    println!("       {found} places are in documents of real pods");
    assert!(found >= 90, "{found} places");
    for pod in [made, server] {
        pod.stop().await.unwrap();
    }
}
