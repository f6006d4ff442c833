//! Pods that live as pods do while `kubectl top` is watched: an init container has ended, one of two containers
//! ends, one does nothing at all, and one is made anew under its name.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use anyhow::ensure;
use jiff::Timestamp;
use podvitals_testbed::BUSYBOX;
use podvitals_testbed::LOAD;
use podvitals_testbed::wait_for;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use serde_json::Value;
use serde_json::json;
use tokio::time::sleep;

use crate::metrics_server::PLACE;
use crate::metrics_server::Poll;
use crate::metrics_server::RESOLUTION;
use crate::metrics_server::Usage;
use crate::reader::Reader;
use crate::stage::PATIENCE;
use crate::stage::Stage;
use crate::witness::now;

/// Of one core.
const DUTY: &str = "30";

/// Cores: what works has more, however busy the machine, and what rests has less.
const LITTLE: f64 = 0.05;

/// Made anew under their names: one that burned and then rests, and one that rested and then burns.
const ANEW: [(&str, Burns); 2] = [("calmed", Burns { before: true }), ("roused", Burns { before: false })];

/// Its container `brief` ends and `lasting` goes on.
const HALVES: &str = "halves";

const SECOND: u64 = 1_000_000_000;

#[derive(Clone, Copy)]
struct Burns {
    /// Its first life, or else its second.
    before: bool,
}

/// What happened when, in nanoseconds since 1970.
pub(crate) struct Lives {
    /// The container has ended.
    ended: u64,
    /// Since when the second lives run, in the order of [`ANEW`]: in whole seconds.
    anew: [u64; 2],
    over: u64,
}

/// Those that are there from the beginning.
pub(crate) fn manifests() -> Vec<Value> {
    let idle = container("app", LOAD, &json!(["idle"]));
    let mut prepared = pod("prepared", &[idle]);
    prepared["spec"]["initContainers"] =
        json!([container("first", LOAD, &json!(["idle", "--seconds", "1"]))]);
    let mut sleeper = container("app", BUSYBOX, &Value::Null);
    sleeper["command"] = json!(["/bin/sleep", "100000"]);
    // It ends when it is told to, with exit code 0.
    let mut brief = container("brief", BUSYBOX, &Value::Null);
    brief["command"] = json!(["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.2; done"]);
    let mut halves = pod(HALVES, &[brief, container("lasting", LOAD, &json!(["spin", "--duty", "5"]))]);
    halves["spec"]["restartPolicy"] = json!("Never");
    let first = ANEW.map(|(name, burns)| life(name, burns.before));
    [prepared, pod("sleeper", &[sleeper]), halves].into_iter().chain(first).collect()
}

/// Whether it is there all the time.
pub(crate) fn stays(pod: &str, container: &str) -> bool {
    (pod, container) != (HALVES, "brief") && ANEW.iter().all(|(name, _)| pod != *name)
}

fn container(name: &str, image: &str, args: &Value) -> Value {
    json!({ "name": name, "image": image, "imagePullPolicy": "Never", "args": args })
}

fn pod(name: &str, containers: &[Value]) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": PLACE },
        "spec": { "terminationGracePeriodSeconds": 3, "containers": containers },
    })
}

fn life(name: &str, burns: bool) -> Value {
    let mut app =
        container("app", LOAD, &if burns { json!(["spin", "--duty", DUTY]) } else { json!(["idle"]) });
    app["resources"] = json!({ "requests": { "cpu": "100m" } });
    pod(name, &[app])
}

/// Lets it all happen; over when everybody has had time to notice. `reader` is of whom metrics-server reads.
pub(crate) async fn live(stage: &Arc<Stage>, reader: &Reader) -> Lives {
    // The first answers are of how it was before.
    sleep(Duration::from_secs(3)).await;
    let (ended, anew) = tokio::join!(one_of_two_ends(stage, reader), made_anew(stage));
    sleep(4 * RESOLUTION).await;
    Lives { ended, anew, over: now() }
}

/// In the midst between two sweeps.
async fn one_of_two_ends(stage: &Stage, reader: &Reader) -> u64 {
    let on_node = stage.cluster.find_on_node(PLACE, HALVES).await.unwrap().unwrap();
    let pid = i32::try_from(on_node.container("brief").unwrap().pid).unwrap();
    a_sweep_is_over(reader).await;
    sleep(Duration::from_millis(400)).await;
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    wait_for("the container to end", PATIENCE, async || {
        let pod = stage.cluster.get_json(&["pod", "-n", PLACE, HALVES]).await?;
        let statuses = pod["status"]["containerStatuses"].as_array().context("statuses")?;
        let brief = statuses.iter().find(|it| it["name"] == "brief").context("brief")?;
        ensure!(brief["state"]["terminated"]["exitCode"] == 0, "{brief}");
        assert_eq!(pod["status"]["phase"], "Running", "the other one goes on");
        Ok(Some(()))
    })
    .await
    .unwrap();
    now()
}

/// Every sweep has other timestamps.
async fn a_sweep_is_over(reader: &Reader) {
    let before = reader.get("/metrics/resource").await.body;
    wait_for("another sweep", PATIENCE, async || {
        Ok((reader.get("/metrics/resource").await.body != before).then_some(()))
    })
    .await
    .unwrap();
}

/// The one is forced away, and its second life begins while the first may still be on the node.
async fn made_anew(stage: &Stage) -> [u64; 2] {
    let [calmed, roused] = ANEW;
    let forced = again(stage, calmed, &["--force", "--grace-period=0"]);
    tokio::join!(forced, again(stage, roused, &["--wait"])).into()
}

/// When the second life began to run.
async fn again(stage: &Stage, (name, burns): (&str, Burns), how: &[&str]) -> u64 {
    let delete = ["delete", "pod", "-n", PLACE, name];
    stage.cluster.kubectl(&[&delete[..], how].concat()).await.unwrap();
    let second = life(name, !burns.before).to_string();
    stage.cluster.kubectl_with_stdin(&["create", "-f", "-"], Some(&second)).await.unwrap();
    let started = wait_for("a second life", PATIENCE, async || {
        let pod = stage.cluster.get_json(&["pod", "-n", PLACE, name]).await?;
        let started = pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"].as_str();
        let started: Timestamp = started.context("it does not run")?.parse()?;
        Ok(Some(u64::try_from(started.as_nanosecond())?))
    });
    started.await.unwrap()
}

impl Lives {
    /// Every answer, of metrics-server and of podvitals, that came meanwhile.
    pub(crate) fn check(&self, polls: &[Poll]) {
        self.an_end_costs_the_container_alone(polls);
        for ((name, burns), anew) in ANEW.into_iter().zip(self.anew) {
            self.is_one_or_the_other(polls, name, burns, anew);
        }
        for Poll { top, .. } in polls {
            assert!(top.keys().all(|(.., container)| container != "first"), "one that has ended: {top:?}");
            let Usage { cores, bytes, .. } = top[&key("sleeper", "app")];
            assert!(cores < 0.001 && bytes > 0, "the sleeper has {cores} cores and {bytes} bytes");
        }
    }

    fn an_end_costs_the_container_alone(&self, polls: &[Poll]) {
        let settled = self.ended + 3 * nanoseconds(RESOLUTION);
        let (mut together, mut alone) = (0, 0);
        for Poll { at, top, .. } in polls {
            let lasting = &top[&key(HALVES, "lasting")];
            assert!(lasting.cores > 0.0 && lasting.bytes > 0, "{lasting:?}");
            if top.contains_key(&key(HALVES, "brief")) {
                together += 1;
                assert!(*at < settled, "long after its end it is still there");
            } else {
                alone += 1;
            }
        }
        println!("       {together} answers with a container that then ended, {alone} without");
        assert!(together > 0 && alone > 0, "{together} answers with it, {alone} without");
    }

    fn is_one_or_the_other(&self, polls: &[Poll], name: &str, burns: Burns, anew: u64) {
        let starts = polls.iter().map(|poll| row_of(&poll.resource, "container_start_time_seconds", name));
        let mut starts: Vec<f64> = starts.flatten().collect();
        starts.dedup();
        // Once it was the second it is not the first again.
        assert!(starts.len() == 2 && starts[0] < starts[1], "{name}: {starts:?}");
        let (mut before, mut after, mut back) = (0, 0, None);
        for Poll { at, top, resource } in polls {
            let used = row_of(resource, "container_cpu_usage_seconds_total", name);
            assert!(used.is_none_or(|seconds| seconds > 0.0), "{name}: {used:?}");
            let Some(Usage { cores, begun, end, .. }) = top.get(&key(name, "app")) else { continue };
            // Both are told in whole seconds.
            let is_new = *begun + SECOND >= anew;
            assert!(is_new || *end <= anew + SECOND, "{name}: a figure of both lives, {begun} to {end}");
            if is_new {
                (after, back) = (after + 1, back.or(Some(*at)));
            } else {
                before += 1;
            }
            let burned = *cores > LITTLE;
            assert_eq!(burned, is_new != burns.before, "{name}: {cores} cores, of the second: {is_new}");
        }
        let took = Duration::from_nanos(back.unwrap_or(self.over).saturating_sub(anew));
        println!("       {name}: {before} answers of its first life, after {took:.0?} {after} of its second");
        assert!(before > 0 && after > 0 && took <= 4 * RESOLUTION, "{name}");
    }
}

fn key(pod: &str, container: &str) -> (String, String, String) {
    [PLACE, pod, container].map(str::to_owned).into()
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap()
}

/// The value of the pod's one row in that family, if it has any.
fn row_of(text: &str, family: &str, pod: &str) -> Option<f64> {
    let labels = format!("{family}{{container=\"app\",namespace=\"{PLACE}\",pod=\"{pod}\"}} ");
    let mut rows = text.lines().filter_map(|line| line.strip_prefix(&labels));
    let row = rows.next()?;
    assert!(rows.next().is_none(), "{labels} is there twice:\n{text}");
    Some(row.split(' ').next().unwrap().parse().unwrap())
}
