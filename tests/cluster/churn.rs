//! Two hundred pods come and go, names used again and again, and no sweep has anything under a wrong one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use podvitals_testbed::wait_for;
use serde_json::json;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::follower::Follower;
use crate::follower::Sightings;
use crate::stage::PATIENCE;
use crate::stage::Stage;
use crate::witness::Record;
use crate::witness::Witness;
use crate::zoo::reader_token;

const PLACE: &str = "churn";

const PODS: usize = 200;

/// A wave is made while the one before it ends: for a while twice as many are there.
const WAVE: usize = 25;

/// Pods of every other wave have the same names, and differ in all else.
const NAMES: usize = 50;

/// How long a pod lives once it runs.
const LIFE: Duration = Duration::from_millis(1_500);

const BOUND: Duration = Duration::from_secs(180);

const GONE: i64 = 3_000;

pub(crate) async fn no_sweep_has_a_wrong_name_while_200_pods_come_and_go(stage: Arc<Stage>) {
    let begun = Instant::now();
    stage.cluster.create_namespace(PLACE).await.unwrap();
    let witness = Witness::begin(&stage, Duration::from_millis(25)).await;
    // A port-forward passes through the API server and the kubelet, which are busy: what it is too late for,
    // the scraper sees.
    let (_forward, reader) = stage.port_forward().await;
    let scraper = stage.scraper(Some(reader_token(&stage, PLACE).await)).await;
    let followers = [reader, scraper].map(|reader| Follower::begin(reader, Duration::from_millis(100)));

    for wave in 0..PODS / WAVE {
        if let Some(before) = wave.checked_sub(NAMES / WAVE) {
            // Until their names are free.
            witness.until_running(PLACE, Some(("wave", &format!("w{before}"))), 0).await;
        }
        let (label, list) = (format!("w{wave}"), list_of(wave));
        stage.cluster.kubectl_with_stdin(&["create", "-f", "-"], Some(&list)).await.unwrap();
        witness.until_running(PLACE, Some(("wave", &label)), WAVE).await;
        sleep(LIFE).await;
        let selector = format!("wave={label}");
        let end = ["delete", "pods", "-n", PLACE, "-l", &selector, "--grace-period=1", "--wait=false"];
        stage.cluster.kubectl(&end).await.unwrap();
    }
    wait_for("every cgroup to be gone", PATIENCE, async || {
        let record = witness.record();
        let left = churned(&record).filter(|uid| record.directories.get(*uid).is_none_or(|it| !it.is_gone));
        let left = left.count();
        anyhow::ensure!(left == 0, "{left} are left");
        Ok(Some(()))
    })
    .await
    .unwrap();
    // What is still shown after this is shown for too long.
    sleep(Duration::from_millis(GONE.cast_unsigned() + 500)).await;
    let mut seen = Vec::new();
    for follower in followers {
        seen.push(follower.end().await);
    }
    let took = begun.elapsed();
    let record = witness.record();
    drop(witness);
    stage.cluster.kubectl(&["delete", "namespace", PLACE, "--wait=false"]).await.unwrap();
    stage.cluster.kubectl(&["delete", "clusterrolebinding", PLACE]).await.unwrap();
    judge(&seen, &record);
    assert!(took <= BOUND, "{} s", took.as_secs());
}

fn judge(all: &[Sightings], record: &Record) {
    assert_eq!(churned(record).count(), PODS, "the witness missed some");
    let mut ticks: BTreeSet<u64> = BTreeSet::new();
    // Of each pod and reader: from the last look at its cgroup to the last answer that had the pod.
    let mut shown: Vec<i64> = Vec::new();
    for seen in all {
        let wrong = seen.contradictions(record);
        assert!(wrong.is_empty(), "{wrong:#?}");
        ticks.extend(&seen.ticks);
        for uid in churned(record) {
            let present = record.directories[uid].present;
            let last = seen.pods.get(uid).map(|seen| seen.last);
            shown.extend(last.map(|last| last.cast_signed() - present.cast_signed()));
        }
    }
    shown.sort_unstable();
    let [median, worst] = [shown.len() / 2, shown.len() - 1].map(|place| shown[place] / 1_000_000);
    let named = |uid: &&String| all.iter().any(|seen| seen.named(uid).is_some());
    let never: Vec<_> = churned(record).filter(|uid| !named(uid)).collect();
    let containers: BTreeSet<_> = all.iter().flat_map(|seen| seen.sampled.keys()).collect();
    let containers = containers.iter().filter(|(_, pod, _)| record.pods[pod].starts_with(PLACE)).count();
    let all_ticks = ticks.last().unwrap() - ticks.first().unwrap() + 1;
    let missed = all_ticks - ticks.len() as u64;
    println!(
        "       {all_ticks} sweeps, {missed} missed by both readers ({:?} by each); {containers} containers \
         named in sweeps; last shown {worst} ms after the cgroup was \
         there at worst, {median} in the middle (limit {GONE})",
        all.iter().map(Sightings::missed).collect::<Vec<_>>()
    );
    // What nobody read may have said anything; on a machine that is busy otherwise one is read late.
    assert!(missed * 50 <= all_ticks, "{missed} of {all_ticks} sweeps were read by nobody");
    assert!(never.is_empty(), "never named: {never:?}");
    // A container may have ended before the API server told its id; most are not.
    assert!(containers >= PODS * 9 / 10, "only {containers} containers had names in sweeps");
    assert!(worst <= GONE, "still shown {worst} ms after the cgroup was gone");
}

/// The UIDs of the pods of this test.
fn churned(record: &Record) -> impl Iterator<Item = &String> {
    record.pods.iter().filter(|(_, name)| name.starts_with(PLACE)).map(|(uid, _)| uid)
}

fn list_of(wave: usize) -> String {
    let pod = |number: usize| {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": format!("pod-{}", number % NAMES),
                "namespace": PLACE,
                "labels": { "wave": format!("w{wave}") },
            },
            "spec": {
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "containers": [{
                    "name": format!("container-{number}"),
                    "image": "localhost/load:1",
                    "imagePullPolicy": "Never",
                    "args": ["idle"],
                }],
            },
        })
    };
    let items: Vec<_> = (wave * WAVE..(wave + 1) * WAVE).map(pod).collect();
    json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string()
}
