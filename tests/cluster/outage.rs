//! The API server goes away, in every way it can, and comes back. Sampling never notices.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use anyhow::ensure;
use podvitals::model::document::Container;
use podvitals::model::document::Pod;
use podvitals_testbed::LOAD;
use podvitals_testbed::PodOnNode;
use podvitals_testbed::wait_for;
use rustix::process::Pid;
use rustix::process::Signal;
use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::sleep_until;

use crate::reader::Reader;
use crate::release::Release;
use crate::stage::PATIENCE;
use crate::stage::PLAIN_PORT;
use crate::stage::Stage;
use crate::vigil::Names;
use crate::vigil::Vigil;
use crate::vigil::full_name;
use crate::vigil::names;

const OUTAGE: Duration = Duration::from_secs(120);

/// From the moment the API server is ready.
const CATCH_UP: Duration = Duration::from_secs(5);

/// What a scraper may have asked for before.
const PATHS: [&str; 3] = ["/api/v1/pods", "/metrics", "/api/v1/node"];

/// Its process is killed while the API server is away, so that it starts without one.
const LATE: Release = Release::new("late", "late");

const NAMESPACE: &str = "outage";

pub(crate) async fn two_minutes_without_the_api_server(stage: Arc<Stage>) {
    let cluster = &stage.cluster;
    prepare(&stage).await;
    LATE.install(&stage, &[]).await.unwrap();
    let phoenix = make_pod(&stage, "phoenix").await;
    let token = stage.scraper_token().await;
    let unused = stage.scraper_token().await;
    stage.until_rolled_out(LATE.namespace(), &LATE.full_name()).await.unwrap();
    let late_name = LATE.pod(&stage).await["metadata"]["name"].as_str().unwrap().to_owned();
    let late = LATE.find(&stage, &late_name).await;
    let tls = stage.scraper(Some(token)).await;
    let stranger = stage.scraper(Some(unused)).await;
    for path in PATHS {
        assert_eq!(tls.get(path).await.status, 200, "{path}");
    }
    let plain = Release::SHARED.inside(&stage).await;
    let started = Release::SHARED.restarts(&stage).await;
    assert_eq!(started.0, 0);
    let known = settled_names(&stage, &plain).await;
    let log_before = Release::SHARED.log(&stage).await.len();
    let before = Account::read(&plain).await;
    assert_eq!((before.stale, before.up), (0.0, 1.0));

    let vigil = Vigil::begin(plain.clone());
    cluster.stop_api_server().await.unwrap();
    let gone = Instant::now();

    // A new pod, a new container, a new podvitals: all that can begin without the API server.
    let manifest = pod_manifest("fixed", json!(null));
    std::fs::write(cluster.static_pod_dir().join("outage.json"), manifest.to_string()).unwrap();
    kill(phoenix.container("app").unwrap().pid);
    kill(late.container("podvitals").unwrap().pid);
    let fixed_name = format!("fixed-{}", cluster.node_name());
    tokio::join!(
        the_new_pod_is_sampled(&stage, &plain, &fixed_name),
        the_new_container_is_sampled(&stage, &plain, "phoenix", &phoenix),
        it_starts_without_names(&stage, &late_name, &late),
        whom_it_knew_is_served(&tls, &stranger),
        staleness_grows(&plain, &before),
    );

    sleep_until(gone + OUTAGE).await;
    whom_it_knew_is_served(&tls, &stranger).await;
    let during = Account::read(&plain).await;
    let away = gone.elapsed().as_secs_f64();
    assert!(during.stale >= away - 2.0 && during.stale <= away + 15.0, "{} of {away} s", during.stale);
    assert_eq!(during.up, 0.0);
    let retries = during.failures() - before.failures();
    assert!(during.reason("unreachable") > before.reason("unreachable") && retries >= 10.0, "{retries}");
    assert_eq!(during.lists, before.lists, "a list before anybody could answer it");

    cluster.start_api_server().await.unwrap();
    let back = Instant::now();
    let late_plain = Reader::inside(pid_of(&stage, LATE, &late_name).await, PLAIN_PORT);
    let (caught_up, late_caught_up) =
        tokio::join!(caught_up(&plain, &known, back), caught_up(&late_plain, &known, back),);
    let phoenix_named = container_is_named(&stage, &plain, "phoenix", back).await;
    let fixed_named = pod_is_named(&stage, &plain, &fixed_name, back).await;
    let seen = vigil.end().await;
    seen.assert_no_gap(115);
    seen.assert_names(&names(&stage).await, &known);
    let after = Account::read(&plain).await;
    println!(
        "outage: {} s stale, {retries} failures, reasons {:?}; {}; names after {caught_up:.2} s, of a podvitals started meanwhile \
         {late_caught_up:.2} s, a container's {phoenix_named:.2} s and a static pod's {fixed_named:.2} s after they \
         could be had; {} lists, {} watches more",
        during.stale,
        after.reasons(&before),
        seen.summary(),
        after.lists - before.lists,
        after.watches - before.watches,
    );
    assert!(after.lists - before.lists <= 2.0, "{} lists", after.lists - before.lists);
    assert_eq!(Release::SHARED.restarts(&stage).await, started);

    // Once for the outage, not once for each of its failures.
    let log = Release::SHARED.log(&stage).await.split_off(log_before);
    let count = |what: &str| log.iter().filter(|line| line.contains(what)).count();
    assert_eq!(count("cannot be reached"), 1, "{}", log.join("\n"));
    assert_eq!(count("answers again"), 1, "{}", log.join("\n"));
    assert!(count("WARN") <= 3, "{}", log.join("\n"));

    std::fs::remove_file(cluster.static_pod_dir().join("outage.json")).unwrap();
    let ended = ["wait", "-n", NAMESPACE, "--for=delete", &format!("pod/{fixed_name}"), "--timeout=90s"];
    cluster.kubectl(&ended).await.unwrap();
    cluster.helm(&["uninstall", LATE.name(), "-n", LATE.namespace(), "--wait"]).await.unwrap();
    // Waited for: the next test's sweeps are not to show what no API server lists any more.
    cluster.kubectl(&["delete", "namespace", LATE.namespace(), "--timeout=120s"]).await.unwrap();
    let gone = ["delete", "pod", "-n", NAMESPACE, "phoenix", "--grace-period=0", "--force"];
    cluster.kubectl(&gone).await.unwrap();
}

/// Killed, its memory of old revisions and etcd's gone: the watch cannot go on from where it was.
pub(crate) async fn a_watch_that_is_too_old_begins_anew(stage: Arc<Stage>) {
    let cluster = &stage.cluster;
    prepare(&stage).await;
    let plain = Release::SHARED.inside(&stage).await;
    let started = Release::SHARED.restarts(&stage).await;
    let known = settled_names(&stage, &plain).await;
    let before = Account::read(&plain).await;
    let vigil = Vigil::begin(plain.clone());
    // What changes last is no pod: the watch has heard of nothing that recent, and cannot go on from there.
    for name in ["one", "two"] {
        cluster.kubectl(&["create", "configmap", "-n", NAMESPACE, name]).await.unwrap();
    }
    cluster.kill_api_server().await.unwrap();
    let revision = cluster.compact_etcd().await.unwrap();
    cluster.start_api_server().await.unwrap();
    let back = Instant::now();
    let caught_up = caught_up(&plain, &known, back).await;
    make_pod(&stage, "fresh").await;
    let named = pod_is_named(&stage, &plain, "fresh", back).await;
    let seen = vigil.end().await;
    seen.assert_no_gap(4);
    let after = Account::read(&plain).await;
    println!(
        "expired: etcd keeps nothing before {revision}; caught up after {caught_up:.2} s, a new pod's name {named:.2} s \
         after it could be had; reasons {:?}, {} lists more; {}",
        after.reasons(&before),
        after.lists - before.lists,
        seen.summary(),
    );
    assert!(after.reason("expired") > before.reason("expired"), "{after:?}");
    assert_eq!(after.lists - before.lists, 1.0, "one list more");
    seen.assert_names(&names(&stage).await, &known);
    assert_eq!(Release::SHARED.restarts(&stage).await, started);
    cluster.kubectl(&["delete", "configmap", "-n", NAMESPACE, "one", "two"]).await.unwrap();
    cluster.kubectl(&["delete", "pod", "-n", NAMESPACE, "fresh", "--wait=false"]).await.unwrap();
}

/// Connections stay open, and nobody answers.
pub(crate) async fn an_api_server_that_is_held_up_loses_nothing(stage: Arc<Stage>) {
    let cluster = &stage.cluster;
    prepare(&stage).await;
    let survivor = make_pod(&stage, "survivor").await;
    let plain = Release::SHARED.inside(&stage).await;
    let started = Release::SHARED.restarts(&stage).await;
    let tls = stage.scraper(Some(stage.scraper_token().await)).await;
    assert_eq!(tls.get("/api/v1/pods").await.status, 200);
    let known = settled_names(&stage, &plain).await;
    let before = Account::read(&plain).await;
    let vigil = Vigil::begin(plain.clone());
    cluster.pause_api_server().unwrap();
    let held = Instant::now();
    kill(survivor.container("app").unwrap().pid);
    the_new_container_is_sampled(&stage, &plain, "survivor", &survivor).await;
    assert_eq!(tls.get("/api/v1/pods").await.status, 200, "whom it knew is served");
    sleep_until(held + Duration::from_secs(20)).await;
    cluster.resume_api_server().unwrap();
    let back = Instant::now();
    let caught_up = caught_up(&plain, &known, back).await;
    let container_named = container_is_named(&stage, &plain, "survivor", back).await;
    make_pod(&stage, "newer").await;
    let pod_named = pod_is_named(&stage, &plain, "newer", back).await;
    let seen = vigil.end().await;
    seen.assert_no_gap(20);
    seen.assert_names(&names(&stage).await, &known);
    let after = Account::read(&plain).await;
    println!(
        "held up: caught up after {caught_up:.2} s; a container's name {container_named:.2} s, a pod's {pod_named:.2} s \
         after they could be had; reasons {:?}, {} lists and {} watches more; {}",
        after.reasons(&before),
        after.lists - before.lists,
        after.watches - before.watches,
        seen.summary(),
    );
    assert_eq!(after.lists, before.lists, "the watch goes on, or is taken up from where it was");
    assert_eq!(Release::SHARED.restarts(&stage).await, started);
    for name in ["survivor", "newer"] {
        cluster.kubectl(&["delete", "pod", "-n", NAMESPACE, name, "--wait=false"]).await.unwrap();
    }
}

/// Of a release that was told the name of a node that is not its own.
pub(crate) async fn a_wrong_node_name_is_said_out_loud(stage: Arc<Stage>) {
    let release = Stage::MISNAMED;
    let plain = release.inside(&stage).await;
    let begun = Instant::now();
    let said = wait_for("the mismatch", Duration::from_secs(80), async || {
        let value = plain.metric("podvitals_node_name_mismatch").await;
        ensure!(value == Some(1.0), "{value:?}");
        Ok(Some(()))
    });
    said.await.unwrap();
    println!("wrong node name: said, {:.1} s waited for", begun.elapsed().as_secs_f64());
    let log = release.log(&stage).await;
    let lines: Vec<_> = log.iter().filter(|line| line.contains("PODVITALS_NODE_NAME")).collect();
    let [line] = lines[..] else { panic!("{}", log.join("\n")) };
    assert!(line.contains("ERROR") && line.contains("elsewhere"), "{line}");
    // Its figures are all there, and nameless.
    let list = plain.next_list().await;
    assert!(list.pods.len() >= 2 && list.pods.iter().all(|pod| pod.name.is_none()), "{:?}", list.pods);
    assert!(list.pods.iter().all(|pod| pod.memory.as_ref().is_some_and(|memory| memory.usage_bytes > 0)));
    // One that knows its own name does not cry wolf.
    let other = Release::SHARED.inside(&stage).await.metric("podvitals_node_name_mismatch").await;
    assert_eq!(other, Some(0.0));
}

/// Under its UID and its container's id, with figures that grow.
async fn the_new_pod_is_sampled(stage: &Stage, reader: &Reader, name: &str) {
    let on_node = wait_for("the static pod on the node", PATIENCE, async || {
        let found = stage.cluster.find_on_node(NAMESPACE, name).await?;
        Ok(found.filter(|pod| pod.container("app").is_ok()))
    });
    let on_node = on_node.await.unwrap();
    let begun = Instant::now();
    let id = &on_node.container("app").unwrap().id;
    let find = async || {
        let list = reader.list().await;
        let pod = list.pods.into_iter().find(|pod| pod.runtime_uid == on_node.uid);
        let pod = pod.ok_or_else(|| anyhow!("no pod {}", on_node.uid))?;
        ensure!(
            pod.containers.iter().any(|container| container.id.as_ref() == Some(id)),
            "no container {id}"
        );
        Ok(Some((list.tick, pod)))
    };
    let (tick, pod) = wait_for("the static pod's figures", Duration::from_secs(3), find).await.unwrap();
    println!("outage: a static pod is sampled {:.2} s after it ran", begun.elapsed().as_secs_f64());
    assert_eq!((full_name(&pod), &pod.identity[..], pod.uid.as_deref()), (None, &[][..], None));
    assert!(pod.network.is_some(), "{:?}", pod.unavailable);
    let later = reader.list_after(tick + 3).await;
    let later = later.pods.iter().find(|later| later.runtime_uid == on_node.uid).unwrap();
    let usage = |pod: &Pod| pod.cpu.as_ref().unwrap().usage_nanoseconds;
    assert!(usage(later) > usage(&pod), "it spins");
}

/// The pod keeps its name; the container is there under its new id.
async fn the_new_container_is_sampled(stage: &Stage, reader: &Reader, name: &str, before: &PodOnNode) {
    let old = &before.container("app").unwrap().id;
    let new = wait_for("the container to run again", PATIENCE, async || {
        let pod = stage.cluster.find_on_node(NAMESPACE, name).await?;
        let container = pod.and_then(|pod| pod.container("app").ok().cloned());
        Ok(container.filter(|container| container.id != *old))
    });
    let new = new.await.unwrap();
    let begun = Instant::now();
    let found = wait_for("the new container", Duration::from_secs(3), async || {
        let list = reader.list().await;
        let pod = list.pods.into_iter().find(|pod| pod.runtime_uid == before.uid);
        let pod = pod.ok_or_else(|| anyhow!("no pod {}", before.uid))?;
        assert_eq!(pod.name.as_deref(), Some(name));
        let container = pod.containers.iter().find(|container| container.id.as_ref() == Some(&new.id));
        Ok(container.filter(|container| container.cpu.is_some()).cloned())
    });
    let found: Container = found.await.unwrap();
    println!("outage: a new container is sampled {:.2} s after it ran", begun.elapsed().as_secs_f64());
    // Nobody has said what it is.
    assert_eq!((found.name, found.started_at), (None, None));
}

/// Figures from its first sweep, ids and no names, and not ready.
async fn it_starts_without_names(stage: &Stage, pod: &str, before: &PodOnNode) {
    let old = before.container("podvitals").unwrap().pid;
    let pid = wait_for("podvitals to run again", PATIENCE, async || {
        let pid = LATE.find(stage, pod).await.container("podvitals")?.pid;
        Ok((pid != old).then_some(pid))
    });
    let reader = Reader::inside(pid.await.unwrap(), PLAIN_PORT);
    let list = wait_for("its first sweep", Duration::from_secs(10), async || {
        let answer = reader.try_get("/api/v1/pods").await?;
        ensure!(answer.status == 200, "{}", answer.body);
        Ok(Some(serde_json::from_str::<podvitals::model::document::PodList>(&answer.body)?))
    });
    let list = list.await.unwrap();
    assert!(list.tick <= 3, "served from sweep {} on", list.tick);
    let later = reader.list_after(list.tick.max(2)).await;
    for list in [list, later] {
        assert!(list.pods.len() >= 3, "{:?}", list.pods);
        for pod in &list.pods {
            assert_eq!((full_name(pod), &pod.identity[..]), (None, &[][..]));
            assert!(pod.memory.as_ref().is_some_and(|memory| memory.usage_bytes > 0), "{pod:?}");
            assert!(!pod.containers.is_empty() && pod.containers.iter().all(|it| it.id.is_some()), "{pod:?}");
        }
    }
    // As components of Kubernetes say that they are not ready.
    let ready = reader.get("/readyz").await;
    assert_eq!(ready.status, 500, "{}", ready.body);
    assert!(ready.body.contains("[-]identity"), "{}", ready.body);
    assert_eq!(reader.get("/livez").await.status, 200);
}

/// A decision that is remembered holds; a token nobody can vouch for is not let in.
async fn whom_it_knew_is_served(known: &Reader, stranger: &Reader) {
    for path in PATHS {
        assert_eq!(known.get(path).await.status, 200, "{path}");
    }
    let refused = stranger.get(PATHS[0]).await;
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.head.contains("application/problem+json"), "{}", refused.head);
}

async fn staleness_grows(reader: &Reader, before: &Account) {
    let first = wait_for("the loss to be noticed", Duration::from_secs(5), async || {
        let account = Account::read(reader).await;
        Ok((account.stale > 0.0 && account.failures() > before.failures()).then_some(account))
    });
    let first = first.await.unwrap();
    let begun = Instant::now();
    sleep(Duration::from_secs(10)).await;
    let second = Account::read(reader).await;
    let (grown, passed) = (second.stale - first.stale, begun.elapsed().as_secs_f64());
    assert!((grown - passed).abs() < 1.0, "{grown} s in {passed} s");
}

/// Seconds from `back` until it is ready and up to date, with all these names.
async fn caught_up(reader: &Reader, known: &Names, back: Instant) -> f64 {
    let patience = (back + PATIENCE).duration_since(Instant::now());
    let done = wait_for("names", patience, async || {
        let stale = reader.metric("podvitals_api_stale_seconds").await;
        ensure!(stale == Some(0.0), "{stale:?} s stale");
        let list = reader.list().await;
        let named: Names =
            list.pods.iter().filter_map(|pod| Some((pod.runtime_uid.clone(), full_name(pod)?))).collect();
        for (uid, name) in known {
            ensure!(named.get(uid) == Some(name), "{uid} is {:?}, not {name}", named.get(uid));
        }
        let ready = reader.get("/readyz").await;
        ensure!(ready.status == 200, "{}", ready.body);
        Ok(Some(()))
    });
    done.await.unwrap();
    let took = back.elapsed();
    assert!(took <= CATCH_UP, "caught up after {took:?}");
    took.as_secs_f64()
}

/// Seconds until the pod has its name, from when its object was there and the API server back.
async fn pod_is_named(stage: &Stage, reader: &Reader, name: &str, back: Instant) -> f64 {
    let ask = ["pod", "-n", NAMESPACE, name];
    let object = async || stage.cluster.get_json(&ask).await.map(Some);
    wait_for(&format!("the object of {name}"), PATIENCE, object).await.unwrap();
    named(&format!("pod {name}"), back, async || {
        let list = reader.list().await;
        Ok(list.pods.iter().any(|pod| full_name(pod) == Some(format!("{NAMESPACE}/{name}"))).then_some(()))
    })
    .await
}

/// Seconds until the container has its name, from when its id was in the pod's status.
async fn container_is_named(stage: &Stage, reader: &Reader, name: &str, back: Instant) -> f64 {
    let on_node = stage.cluster.find_on_node(NAMESPACE, name).await.unwrap().unwrap();
    let id = on_node.container("app").unwrap().id.clone();
    let told = format!("containerd://{id}");
    let status = async || {
        let pod = stage.cluster.get_json(&["pod", "-n", NAMESPACE, name]).await?;
        let status = &pod["status"]["containerStatuses"][0];
        ensure!(status["containerID"] == *told, "{status}");
        Ok(Some(()))
    };
    wait_for(&format!("the status of {name}"), PATIENCE, status).await.unwrap();
    named(&format!("container of {name}"), back, async || {
        let list = reader.list().await;
        let mut containers = list.pods.iter().flat_map(|pod| &pod.containers);
        let container = containers.find(|container| container.id.as_deref() == Some(id.as_str()));
        Ok(container
            .filter(|it| it.name.as_deref() == Some("app") && it.restart_count == Some(1))
            .map(|_| ()))
    })
    .await
}

async fn named(what: &str, back: Instant, ask: impl AsyncFnMut() -> anyhow::Result<Option<()>>) -> f64 {
    let there = Instant::now();
    wait_for(&format!("the name of {what}"), PATIENCE, ask).await.unwrap();
    let took = there.elapsed();
    // Either rule of the two suffices: soon after the API server, or soon after the API had it.
    assert!(
        took <= Duration::from_millis(1500) || back.elapsed() <= CATCH_UP,
        "{what}: named after {took:?}"
    );
    took.as_secs_f64()
}

/// All pods' names, once podvitals has them as well. Pods of other clusters may run on this machine: they
/// are seen, and have no name.
async fn settled_names(stage: &Stage, reader: &Reader) -> Names {
    let settled = wait_for("all names", PATIENCE, async || {
        let known = names(stage).await;
        let list = reader.next_list().await;
        for (uid, name) in &known {
            let pod = list.pods.iter().find(|pod| pod.runtime_uid == *uid);
            ensure!(
                pod.and_then(full_name).as_ref() == Some(name),
                "{name} is {:?}",
                pod.and_then(full_name)
            );
        }
        Ok(Some(known))
    });
    settled.await.unwrap()
}

/// The API server, also after a test that failed while it was away, and our namespace.
async fn prepare(stage: &Stage) {
    let _ = stage.cluster.resume_api_server();
    // Refused if it runs already.
    let _ = stage.cluster.start_api_server().await;
    if stage.cluster.kubectl(&["get", "namespace", NAMESPACE]).await.is_err() {
        stage.make_namespace(NAMESPACE).await.unwrap();
    }
}

/// For a pod to run: scheduler and kubelet may have lost the API server too, and take longer to come back.
const RUNS: Duration = Duration::from_secs(150);

/// A pod with one container, `app`, that uses some CPU; running when this returns.
async fn make_pod(stage: &Stage, name: &str) -> PodOnNode {
    stage.cluster.apply(&pod_manifest(name, json!(0)).to_string()).await.unwrap();
    let what = format!("{name} to run");
    let running = wait_for(&what, RUNS, async || {
        let found = stage.cluster.find_on_node(NAMESPACE, name).await?;
        Ok(found.filter(|pod| pod.container("app").is_ok()))
    });
    let found = running.await.unwrap();
    let ready = format!("pod/{name}");
    let wait = ["wait", "-n", NAMESPACE, "--for=condition=Ready", ready.as_str(), "--timeout=150s"];
    stage.cluster.kubectl(&wait).await.unwrap();
    found
}

fn pod_manifest(name: &str, grace: Value) -> Value {
    let container =
        json!({ "name": "app", "image": LOAD, "imagePullPolicy": "Never", "args": ["spin", "--duty", "2"] });
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": { "terminationGracePeriodSeconds": grace, "containers": [container] },
    })
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

async fn pid_of(stage: &Stage, release: Release, pod: &str) -> u32 {
    release.find(stage, pod).await.container("podvitals").unwrap().pid
}

/// What podvitals says of itself and the API server.
#[derive(Debug)]
struct Account {
    stale: f64,
    up: f64,
    lists: f64,
    watches: f64,
    errors: Vec<(String, f64)>,
}

impl Account {
    async fn read(reader: &Reader) -> Self {
        let text = reader.get("/metrics").await.body;
        let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
        let metric = |series: &str| {
            let line = text.lines().find(|line| line.starts_with(series));
            value(line.unwrap_or_else(|| panic!("no {series} in\n{text}")))
        };
        let errors = text.lines().filter_map(|line| {
            let rest = line.strip_prefix("podvitals_source_errors_total{source=\"kube\",reason=\"")?;
            Some((rest.split('"').next()?.to_owned(), value(line)))
        });
        Self {
            stale: metric("podvitals_api_stale_seconds"),
            up: metric("podvitals_source_up{source=\"kube\"}"),
            lists: metric("podvitals_api_requests_total{verb=\"list\""),
            watches: metric("podvitals_api_requests_total{verb=\"watch\""),
            errors: errors.collect(),
        }
    }

    fn reason(&self, reason: &str) -> f64 {
        self.errors.iter().find(|(it, _)| it == reason).unwrap().1
    }

    fn failures(&self) -> f64 {
        self.errors.iter().map(|(_, count)| count).sum()
    }

    /// What has been counted since, by reason.
    fn reasons(&self, before: &Self) -> Vec<(String, f64)> {
        let grown = self.errors.iter().map(|(reason, count)| (reason.clone(), count - before.reason(reason)));
        grown.filter(|(_, count)| *count > 0.0).collect()
    }
}
