//! Who the pods are: every kind of pod and container, compared with the API server field by field.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use podvitals::model::document::Map;
use podvitals::model::document::Pod;
use podvitals::model::document::PodList;
use podvitals::model::identity::ContainerState;
use podvitals::model::identity::Source;
use podvitals_testbed::wait_for;
use tokio::process::Command;
use tokio::time::Instant;

use crate::follower::Follower;
use crate::reader::Reader;
use crate::same;
use crate::stage::NAMESPACE;
use crate::stage::PATIENCE;
use crate::stage::PLAIN_PORT;
use crate::stage::RELEASE;
use crate::stage::Stage;
use crate::witness::Witness;
use crate::witness::full_name;
use crate::witness::runtime_uid;
use crate::zoo;
use crate::zoo::STATIC;
use crate::zoo::ZOO;
use crate::zoo::Zoo;

/// Every sweep is read, the map more often.
const REST: Duration = Duration::from_millis(100);

/// For a change at the API server to be seen: the kubelet's part and ours.
const FOLLOWS: Duration = Duration::from_secs(15);

/// The sandbox of a pod whose only container crashes at once is settled after 30 s.
const SETTLES: Duration = Duration::from_secs(45);

/// The kubelet is asked once a minute where no cgroup is new: a restart count may be so old.
const KUBELET_FOLLOWS: Duration = Duration::from_secs(75);

pub(crate) async fn every_pod_is_who_the_api_server_says(stage: Arc<Stage>) {
    let witness = Witness::begin(&stage, REST).await;
    let (_forward, reader) = stage.port_forward().await;
    let follower = Follower::begin(reader.clone(), REST);
    let zoo = Zoo::open(&stage).await;

    until_same(&stage, &reader, &[Source::Kube]).await;
    the_kinds_are_as_planned(&zoo, &reader).await;
    labels_come_on_request(&zoo, &reader).await;
    a_crash_loop_is_told(&reader).await;
    explain_shows_the_chain(&reader).await;
    a_name_goes_on_to_a_new_uid(&stage, &zoo, &reader).await;
    a_job_ends(&zoo, &reader).await;
    a_resize_is_followed(&stage, &reader).await;
    until_same(&stage, &reader, &[Source::Kube]).await;
    other_sources_say_the_same(&stage).await;

    zoo.close().await;
    let seen = follower.end().await;
    let record = witness.record();
    let wrong = seen.contradictions(&record);
    assert!(wrong.is_empty(), "{wrong:#?}");
    println!("       {} sweeps, {} missed, {} names", seen.ticks.len(), seen.missed(), seen.names.len());
}

/// Waits until every pod has been seen to be the same on both sides. One that changes while it is compared
/// is compared again.
async fn until_same(stage: &Stage, reader: &Reader, sources: &[Source]) {
    let patience = if sources.contains(&Source::Kube) { SETTLES } else { KUBELET_FOLLOWS };
    let mut agreed = BTreeSet::new();
    let same = wait_for("podvitals to say what the API server says", patience, async || {
        let before = zoo::pods(stage, "").await?;
        let list = reader.next_list().await;
        let after = zoo::pods(stage, "").await?;
        let mut open = Vec::new();
        for object in after.iter().filter(|object| object["status"]["phase"] == "Running") {
            let differences = same::differences(&list, object, sources);
            if differences.is_empty() && before.contains(object) {
                agreed.insert(full_name(object));
            } else if !agreed.contains(&full_name(object)) {
                open.push((full_name(object), differences));
            }
        }
        anyhow::ensure!(open.is_empty(), "{open:#?}");
        // Other clusters on this machine have cgroups in the same tree, whose names nobody knows here.
        let own = format!("{}/", stage.cluster.testbed().cgroup_prefix());
        let map: Map = reader.json("/api/v1/map").await;
        let nameless = map.pods.iter().find(|pod| pod.cgroup.contains(&own) && pod.name.is_none());
        anyhow::ensure!(nameless.is_none(), "{nameless:?} has no name");
        Ok(Some(()))
    });
    same.await.unwrap();
}

fn find<'a>(list: &'a PodList, namespace: &str, name: &str) -> &'a Pod {
    let is_it = |pod: &&Pod| pod.name.as_deref() == Some(name) && pod.namespace.as_deref() == Some(namespace);
    list.pods.iter().find(is_it).unwrap_or_else(|| panic!("no {namespace}/{name}"))
}

/// What the comparison would not notice if both sides were wrong.
async fn the_kinds_are_as_planned(zoo: &Zoo, reader: &Reader) {
    let list = reader.list().await;
    let kinds = |pod: &Pod| -> Vec<String> {
        let all = pod.containers.iter().map(|it| (it.kind.unwrap(), it.name.clone().unwrap()));
        all.map(|(kind, name)| format!("{kind:?} {name}")).collect()
    };
    let family = find(&list, ZOO, "family");
    assert_eq!(
        kinds(family),
        ["Init prepare", "Sidecar proxy", "App app", "App other", "Ephemeral debugger"]
    );
    assert_eq!(family.containers[0].state, Some(ContainerState::Terminated));
    assert_eq!(family.containers[0].state_reason.as_deref(), Some("Completed"));
    // All containers that stay: 20 + 30 + 250 mCPU, since a limit without a request is one; while it starts,
    // the first takes 200. Memory likewise: 8 + 16 + 24 against 20 MiB.
    assert_eq!(family.cpu.as_ref().unwrap().request_cores, Some(0.3));
    assert_eq!(family.memory.as_ref().unwrap().request_bytes, Some(48 << 20));
    let fixed = find(&list, ZOO, "fixed");
    assert_eq!(fixed.qos_class.as_deref(), Some("Guaranteed"));
    assert_eq!(fixed.memory.as_ref().unwrap().limit_bytes, Some(32 << 20), "the limit of the whole pod");
    let host = find(&list, ZOO, "host");
    assert!(host.host_network && host.network.is_none());
    assert_eq!(host.unavailable.get("network").map(|why| why.word()), Some("host_network"));

    let mirror = zoo.pod(&format!("{STATIC}-{}", list.node)).await.unwrap();
    let own = find(&list, ZOO, mirror["metadata"]["name"].as_str().unwrap());
    assert!(own.static_pod);
    assert_eq!(own.runtime_uid, mirror["metadata"]["annotations"]["kubernetes.io/config.hash"]);
    assert_eq!(own.uid.as_deref(), mirror["metadata"]["uid"].as_str());
    assert_ne!(Some(&own.runtime_uid), own.uid.as_ref());
    // Both lead to it.
    for uid in [&own.runtime_uid, own.uid.as_ref().unwrap()] {
        let found: Pod = reader.json(&format!("/api/v1/pods/{uid}")).await;
        assert_eq!(found.name, own.name);
    }
}

async fn labels_come_on_request(zoo: &Zoo, reader: &Reader) {
    let asked: serde_json::Value = reader.json("/api/v1/pods?fields=runtimeUid,labels").await;
    let asked = asked["pods"].as_array().unwrap();
    for object in zoo.pods().await.unwrap() {
        let uid = runtime_uid(&object);
        let Some(pod) = asked.iter().find(|pod| pod["runtimeUid"] == uid) else { continue };
        let labels: std::collections::BTreeMap<String, String> =
            serde_json::from_value(pod["labels"].clone()).unwrap();
        assert_eq!(labels, same::labels(&object), "{}", full_name(&object));
    }
    let selected: PodList =
        reader.json("/api/v1/pods?labelSelector=app%3Dweb,tier%20in%20(front,back)").await;
    assert_eq!(selected.pods.len(), 2);
    let web = |pod: &Pod| pod.name.as_ref().unwrap().starts_with("web-");
    assert!(selected.pods.iter().all(web));
    let none: PodList = reader.json("/api/v1/pods?labelSelector=app%3Dweb,tier%21%3Dfront").await;
    assert_eq!(none.pods.len(), 0);
}

/// Between two instances, which is nearly always.
async fn a_crash_loop_is_told(reader: &Reader) {
    for name in ["crash", "crash-alone"] {
        let waiting = wait_for("the container to wait", FOLLOWS, async || {
            let list = reader.next_list().await;
            let crash = find(&list, ZOO, name).clone();
            let mut containers = crash.containers.iter();
            let app = containers.find(|it| it.name.as_deref() == Some("app")).context("no app")?.clone();
            anyhow::ensure!(app.state == Some(ContainerState::Waiting), "{:?}", app.state);
            Ok(Some((crash, app)))
        });
        let (crash, app) = waiting.await.unwrap();
        assert_eq!(app.state_reason.as_deref(), Some("CrashLoopBackOff"), "{name}");
        assert!(app.restart_count >= Some(2), "{name}: {:?}", app.restart_count);
        assert!(app.cpu.is_none(), "nothing runs, so there is nothing to read");
        let sandbox = crash.sandbox.as_ref().unwrap();
        assert!(sandbox.id.is_some() && sandbox.netns.is_some(), "{name}: the sandbox is settled");
        assert!(crash.network.is_some(), "{name}: {:?}", crash.unavailable);
    }
}

async fn explain_shows_the_chain(reader: &Reader) {
    let server = format!("http://{}", reader.address());
    let list = reader.list().await;
    let family = find(&list, ZOO, "family");
    let mut podvitals = Command::new(env!("CARGO_BIN_EXE_podvitals"));
    podvitals.args(["explain", "--server", &server, &format!("{ZOO}/family")]);
    let output = podvitals.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let sandbox = family.sandbox.as_ref().unwrap();
    let mut expected = vec![
        format!("{ZOO}/family on node {}", list.node),
        family.runtime_uid.clone(),
        format!("/kubepods/burstable/pod{}", family.runtime_uid),
        sandbox.id.clone().unwrap(),
        sandbox.pid.unwrap().to_string(),
        sandbox.netns.unwrap().to_string(),
        "eth0".to_owned(),
    ];
    let running = family.containers.iter().filter(|it| it.state == Some(ContainerState::Running));
    expected.extend(running.flat_map(|it| [it.name.clone().unwrap(), it.id.clone().unwrap()]));
    for part in expected {
        assert!(text.contains(&part), "no {part} in\n{text}");
    }
}

/// A StatefulSet's pod made anew, and a pod whose forerunner still runs when the new one does.
async fn a_name_goes_on_to_a_new_uid(stage: &Stage, zoo: &Zoo, reader: &Reader) {
    let first = runtime_uid(&zoo.pod("db-0").await.unwrap());
    stage.cluster.kubectl(&["delete", "pod", "-n", ZOO, "db-0"]).await.unwrap();

    stage.cluster.apply(&slow_pod()).await.unwrap();
    let mut old = running(zoo, reader, "slow", "").await;
    for attempt in 1.. {
        let (new, both) = replaced(stage, zoo, reader, &old).await;
        if both {
            println!("       two pods of one name were there in attempt {attempt}");
            break;
        }
        assert!(
            attempt < ATTEMPTS,
            "the old one is always gone before the new one is there: nothing was shown"
        );
        old = running(zoo, reader, "slow", &old).await;
        assert_eq!(old, new);
    }

    let second = running(zoo, reader, "db-0", &first).await;
    assert_ne!(first, second);
    wait_for("the old pods to be gone", PATIENCE, async || {
        let list = reader.list().await;
        Ok(list.pods.iter().all(|pod| pod.runtime_uid != old && pod.runtime_uid != first).then_some(()))
    })
    .await
    .unwrap();
    let quick = ["delete", "pod", "-n", ZOO, "slow", "--grace-period=1"];
    stage.cluster.kubectl(&quick).await.unwrap();
}

/// The kubelet gives the old one some seconds, though the API server has forgotten it; how many is its own
/// business, and the new one may come too late to be seen beside it.
const ATTEMPTS: usize = 6;

/// Replaces the pod by another of its name. Returns the other's runtime UID, and whether it had the name while
/// the old one was still there.
async fn replaced(stage: &Stage, zoo: &Zoo, reader: &Reader, old: &str) -> (String, bool) {
    let forced = ["delete", "pod", "-n", ZOO, "slow", "--force", "--grace-period=0", "--wait=false"];
    stage.cluster.kubectl(&forced).await.unwrap();
    stage.cluster.apply(&slow_pod()).await.unwrap();
    let new = runtime_uid(&zoo.pod("slow").await.unwrap());
    assert_ne!(old, new);
    wait_for("the name to be the new one's", PATIENCE, async || {
        let by_name = reader.try_get(&format!("/api/v1/pods/{ZOO}/slow")).await?;
        let is_new = by_name.status == 200 && serde_json::from_str::<Pod>(&by_name.body)?.runtime_uid == new;
        Ok(is_new.then_some(()))
    })
    .await
    .unwrap();
    let both: Map = reader.json("/api/v1/map").await;
    let there = |uid: &str| both.pods.iter().any(|pod| pod.runtime_uid == uid);
    let both = there(old) && there(&new);
    (new, both)
}

/// The runtime UID of a pod of that name, other than `not`, once podvitals shows its container running.
async fn running(zoo: &Zoo, reader: &Reader, name: &str, not: &str) -> String {
    wait_for("the pod to be shown", PATIENCE, async || {
        let uid = runtime_uid(&zoo.pod(name).await?);
        let list = reader.list().await;
        let shown = list.pods.iter().find(|pod| pod.runtime_uid == uid && pod.name.as_deref() == Some(name));
        let runs = shown.is_some_and(|pod| {
            let mut containers = pod.containers.iter();
            containers.any(|it| it.name.is_some() && it.state == Some(ContainerState::Running))
        });
        Ok((uid != not && runs).then_some(uid))
    })
    .await
    .unwrap()
}

fn slow_pod() -> String {
    serde_json::json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "slow", "namespace": ZOO, "labels": { "app": "slow" } },
        "spec": {
            "terminationGracePeriodSeconds": 30,
            "containers": [{
                "name": "app",
                "image": "localhost/load:1",
                "imagePullPolicy": "Never",
                "args": ["idle"],
            }],
        },
    })
    .to_string()
}

async fn a_job_ends(zoo: &Zoo, reader: &Reader) {
    let job = async || {
        let pods = zoo.pods().await?;
        Ok::<_, anyhow::Error>(pods.into_iter().find(|pod| pod["metadata"]["labels"]["app"] == "once"))
    };
    let ended = wait_for("the job to end", PATIENCE, async || {
        Ok(job().await?.filter(|pod| pod["status"]["phase"] == "Succeeded"))
    });
    let ended = ended.await.unwrap();
    let uid = runtime_uid(&ended);
    wait_for("the job's pod to be gone", PATIENCE, async || {
        let list = reader.list().await;
        let Some(pod) = list.pods.iter().find(|pod| pod.runtime_uid == uid) else { return Ok(Some(())) };
        // As long as its cgroup stands.
        assert_eq!(pod.owner.as_ref().map(|owner| owner.kind.as_str()), Some("Job"));
        Ok(None)
    })
    .await
    .unwrap();
}

/// `kubectl patch --subresource resize`: the requests are the spec's, the limits what the kernel holds.
async fn a_resize_is_followed(stage: &Stage, reader: &Reader) {
    let resources = r#"{"requests":{"cpu":"300m","memory":"48Mi"},"limits":{"cpu":"300m","memory":"48Mi"}}"#;
    let patch = format!(r#"{{"spec":{{"containers":[{{"name":"app","resources":{resources}}}]}}}}"#);
    let arguments = ["patch", "pod", "-n", ZOO, "fixed", "--subresource", "resize", "--patch", &patch];
    stage.cluster.kubectl(&arguments).await.unwrap();
    let patched = Instant::now();
    let resized = wait_for("the resize", FOLLOWS, async || {
        let list = reader.next_list().await;
        let app = &find(&list, ZOO, "fixed").containers[0];
        let (cpu, memory) = (app.cpu.as_ref().unwrap(), app.memory.as_ref().unwrap());
        let now = (cpu.request_cores, memory.request_bytes, cpu.limit_cores, memory.limit_bytes);
        let wanted = (Some(0.3), Some(48 << 20), Some(0.3), Some(48 << 20));
        anyhow::ensure!(now == wanted, "{now:?}");
        assert_eq!(app.restart_count, Some(0), "in place");
        Ok(Some(()))
    });
    resized.await.unwrap();
    println!("       a resize was shown {} ms after kubectl returned", patched.elapsed().as_millis());
}

/// The kubelet alone, whose client may not list pods, and both at once.
async fn other_sources_say_the_same(stage: &Stage) {
    let ca = format!("kubelet.ca={}", stage.cluster.ca().display());
    let both =
        ["--set-string", r"source=kube\,kubelet", "--set-string", "kubelet.url=https://$(NODE_IP):10250"];
    let both = [&both[..], &["--set-file", &ca]].concat();
    let releases = [
        ("by-kubelet", vec!["--set-string", "source=kubelet"], vec![Source::Kubelet]),
        ("by-both", both, vec![Source::Kube, Source::Kubelet]),
    ];
    for (name, values, _) in &releases {
        stage.make_namespace(name).await.unwrap();
        stage.install(name, name, values).await.unwrap();
    }
    for (name, _, sources) in &releases {
        let daemon_set = format!("{name}-{RELEASE}");
        stage.until_rolled_out(name, &daemon_set).await.unwrap();
        let target = format!("daemonset/{daemon_set}");
        let forward = stage.cluster.port_forward(name, &target, PLAIN_PORT).await.unwrap();
        let reader = Reader::plain(forward.address());
        until_same(stage, &reader, sources).await;
        let map: Map = reader.json("/api/v1/map").await;
        let disagreements: Vec<_> = map.pods.iter().flat_map(|pod| &pod.disagreements).collect();
        assert!(disagreements.is_empty(), "{disagreements:?}");
    }
    let by_kubelet = format!("system:serviceaccount:by-kubelet:by-kubelet-{RELEASE}");
    let by_kube = format!("system:serviceaccount:{NAMESPACE}:{RELEASE}");
    assert!(!may_list_pods(stage, &by_kubelet).await, "it has no need of the API server's pods");
    assert!(may_list_pods(stage, &by_kube).await, "the question is put right");
    for (name, ..) in &releases {
        stage.cluster.helm(&["uninstall", name, "--namespace", name, "--wait"]).await.unwrap();
        stage.cluster.kubectl(&["delete", "namespace", name, "--wait=false"]).await.unwrap();
    }
}

async fn may_list_pods(stage: &Stage, user: &str) -> bool {
    // The answer is also the exit code.
    let arguments = ["auth", "can-i", "list", "pods", "--all-namespaces", "--as", user];
    stage.cluster.kubectl(&arguments).await.is_ok_and(|answer| answer.trim() == "yes")
}
