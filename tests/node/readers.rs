//! The types and clients of those in whose place we serve, in Go, on real pods: `tests/readers`.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::sync::Arc;

use podvitals::model::document::Node;
use podvitals::model::document::Pod;
use podvitals::model::document::PodHistory;
use podvitals::model::document::PodList;
use serde_json::Value;

use crate::daemon::Daemon;
use crate::docker_clients::Lines;
use crate::docker_clients::name_of;
use crate::docker_clients::until_named;
use crate::find;
use crate::network::PORT;
use crate::network::serving;
use crate::network::while_quiet;
use crate::stage::Stage;

/// Builds the programs, where they are not there yet, and finds them.
pub(crate) fn programs() -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/readers");
    let output = Command::new(script).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{script}: {}", output.status);
    let said = String::from_utf8(output.stdout).unwrap();
    PathBuf::from(said.lines().last().expect("the folder of the programs"))
}

/// The program on this document; on the one of a URL if it is none.
fn summary(document: Option<&str>, arguments: &[&str]) -> Output {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let mut command = Command::new(programs().join("summary"));
    command.args(["-readme", readme]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let text = document.unwrap_or_default().to_owned();
    // It may end before it has read everything.
    let writing = std::thread::spawn(move || drop(input.write_all(text.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    output
}

/// What it took from the document.
fn taken(output: &Output) -> Value {
    let faults = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{faults}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Added keys that this node has no figures for, as the native document says itself.
fn without(list: &PodList, node: &Node) -> String {
    let anywhere = |has: &dyn Fn(&Pod) -> bool| list.pods.iter().any(has);
    let stalls = |pod: &Pod| pod.pressure.as_ref().is_some_and(|pressure| pressure.io.is_some());
    let throttling = |pod: &Pod| pod.cpu.as_ref().is_some_and(|cpu| cpu.throttling.is_some());
    let file_systems = node.file_systems.as_deref().unwrap_or_default();
    let holds = |what: &str| file_systems.iter().any(|it| it.holds.iter().any(|held| held == what));
    let keys = [
        ("fs.timeUnixNano", holds("kubelet")),
        ("imageFs.timeUnixNano", holds("images")),
        ("containerFs.timeUnixNano", holds("containers")),
        ("io.timeUnixNano", anywhere(&stalls)),
        ("cpu.throttling", anywhere(&throttling)),
        ("podRef.apiUid", anywhere(&|pod| pod.uid.is_some())),
        ("pods.blkio", anywhere(&|pod| pod.io.is_some())),
        ("containers.blkio", anywhere(&|pod| pod.containers.iter().any(|container| container.io.is_some()))),
    ];
    let absent: Vec<_> = keys.into_iter().filter(|(_, there)| !there).map(|(key, _)| key).collect();
    absent.join(",")
}

pub(crate) async fn the_kubelet_s_types_take_the_summary_and_know_all_but_what_is_listed(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let server = testbed.pod("sum-server").run().await.unwrap();
    serving(&server).await;
    let client = testbed.pod("sum-client").run().await.unwrap();
    let spins = client.container("spins").args(["spin", "--duty", "50"]).run().await.unwrap();
    let on_host = testbed.pod("sum-host").host_network(true).run().await.unwrap();
    on_host.container("app").args(["spin", "--duty", "10"]).run().await.unwrap();
    let daemon = Daemon::start(testbed, &["--listen", "127.0.0.1:0"]).await;
    spins.exchange(server.ip().unwrap(), PORT, 300_000, 500_000).await.unwrap();
    let quiet = while_quiet(&daemon, &client).await;
    let before = daemon.next_list().await;
    let document = daemon.get("/stats/summary").body;
    let after = daemon.next_list().await;
    let without = without(&before, &daemon.node());
    println!("       without figures here: {without:?}");
    let without = ["-without", without.as_str()];

    let read = taken(&summary(Some(&document), &without));
    assert_eq!(read["node"], before.node);
    let (pods, mut compared) = (read["pods"].as_array().unwrap(), BTreeSet::new());
    for (earlier, later) in shown_twice(&before, &after) {
        let is_it = |pod: &&Value| pod["uid"] == *earlier.runtime_uid;
        let Some(pod) = pods.iter().find(is_it) else { panic!("{:?} is not in it", earlier.name) };
        assert_eq!(
            (&pod["name"], &pod["namespace"]),
            (&earlier.name.clone().into(), &earlier.namespace.clone().into())
        );
        let cpu = |pod: &Pod| pod.cpu.as_ref().unwrap().usage_nanoseconds;
        between(cpu(earlier), &pod["usageNanoseconds"], cpu(later));
        let received = |pod: &Pod| pod.network.as_ref().map(|network| network.total.rx_bytes);
        match (received(earlier), received(later)) {
            (Some(earlier), Some(later)) => between(earlier, &pod["rxBytes"], later),
            _ => assert!(pod.get("rxBytes").is_none(), "the node's network is not the pod's: {pod}"),
        }
        for container in &earlier.containers {
            let Some(cpu) = &container.cpu else { continue };
            let contents = pod["containers"].as_array().unwrap();
            let is_it = |contents: &&Value| contents["name"].as_str() == container.name.as_deref();
            let contents =
                contents.iter().find(is_it).unwrap_or_else(|| panic!("{:?}: {pod}", container.name));
            let is_later = |later: &&podvitals::model::document::Container| later.id == container.id;
            let later = later.containers.iter().find(is_later).unwrap().cpu.as_ref().unwrap();
            between(cpu.usage_nanoseconds, &contents["usageNanoseconds"], later.usage_nanoseconds);
            assert!(contents["workingSetBytes"].as_u64().unwrap() > 0);
        }
        compared.insert(earlier.runtime_uid.clone());
    }
    assert!([&server, &client, &on_host].iter().all(|pod| compared.contains(pod.uid())), "{compared:?}");
    let of_client = pods.iter().find(|pod| pod["uid"] == client.uid()).unwrap();
    assert!(
        of_client["rxBytes"].as_u64().unwrap() >= quiet.total.rx_bytes && quiet.total.rx_bytes >= 500_000
    );

    let url = format!("http://{}/stats/summary/", daemon.address());
    let by_url = taken(&summary(None, &[&without[..], &[&url]].concat()));
    assert_eq!(by_url["pods"].as_array().unwrap().len(), pods.len());

    // And it finds what is wrong.
    let some_bytes: String =
        document.split("\"txBytes\":").nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
    for (right, wrong, said) in [
        (
            "\"usageCoreNanoSeconds\":",
            "\"usageCoreNanoSeconds\":\"\",\"was\":",
            "usageCoreNanoSeconds of type uint64",
        ),
        ("\"nodeName\":", "\"nodename\":", "summary.node.nodename: unknown to the kubelet's types"),
        ("\"workingSetBytes\":", "\"working\":", "summary.node.memory.working: unknown"),
        ("\"ageSeconds\":", "\"age\":", "pods.ageSeconds: listed as added; served: false"),
        (
            &format!("\"txBytes\":{some_bytes}"),
            &format!("\"txBytes\":{some_bytes}.5"),
            "txBytes of type uint64",
        ),
    ] {
        let tampered = document.replace(right, wrong);
        assert!(tampered != document, "there is no {right} in it");
        let output = summary(Some(&tampered), &without);
        let faults = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && faults.contains(said), "{wrong}: {faults}");
    }
    for pod in [server, client, on_host] {
        pod.stop().await.unwrap();
    }
}

/// The pods with a name that are in both, with their CPU.
fn shown_twice<'a>(before: &'a PodList, after: &'a PodList) -> impl Iterator<Item = (&'a Pod, &'a Pod)> {
    let later: BTreeMap<&str, &Pod> = after.pods.iter().map(|pod| (pod.runtime_uid.as_str(), pod)).collect();
    let named = before.pods.iter().filter(|pod| pod.name.is_some() && pod.cpu.is_some());
    named.filter_map(move |pod| Some((pod, *later.get(pod.runtime_uid.as_str())?)))
}

#[track_caller]
fn between(earlier: u64, figure: &Value, later: u64) {
    let figure = figure.as_u64().unwrap();
    assert!(figure > 0 && (earlier..=later).contains(&figure), "{earlier} ≤ {figure} ≤ {later}");
}

/// The program that has cAdvisor's client packages in it, which ends with this process.
fn cadvisor(what: &str, server: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(programs().join("cadvisor"));
    command.args([what, "-server", server]).args(arguments);
    command
}

pub(crate) async fn cadvisor_s_own_client_decodes_every_route(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let daemon = Daemon::start(testbed, &["--listen", "127.0.0.1:0"]).await;
    let server = testbed.pod("adv-server").run().await.unwrap();
    serving(&server).await;
    let client = testbed.pod("adv-client").run().await.unwrap();
    let spins = client.container("spins").args(["spin", "--duty", "50"]).run().await.unwrap();
    spins.exchange(server.ip().unwrap(), PORT, 300_000, 500_000).await.unwrap();
    until_named(&daemon, &spins).await;
    let quiet = while_quiet(&daemon, &client).await;
    for _ in 0..3 {
        daemon.next_list().await;
    }
    let cgroup = |id: &str| format!("{}/{id}", client.cgroup());
    let (container, sandbox) = (cgroup(spins.id()), cgroup(client.sandbox_id()));
    let url = format!("http://{}", daemon.address());
    let of = ["-container", &container, "-id", spins.id(), "-sandbox", &sandbox, "-pod", client.cgroup()];

    let before = daemon.next_list().await;
    let output = cadvisor("all", &url, &of).output().unwrap();
    let after = daemon.next_list().await;
    let read = taken(&output);
    let node = daemon.node();
    assert_eq!(read["cores"].as_f64(), node.cpu.map(|cpu| cpu.capacity_cores as f64));
    assert_eq!(read["memoryBytes"].as_u64(), node.memory.map(|memory| memory.total_bytes));
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(read["kernelVersion"], release.trim());
    assert!(
        read["aliases"].as_array().unwrap().contains(&name_of(&client, "spins").into()),
        "{}",
        read["aliases"]
    );
    assert_eq!(read["image"], podvitals_testbed::LOAD);
    assert_eq!(read["labels"]["io.kubernetes.pod.uid"], client.uid());

    // The newest sample is of a sweep in between, and each is one that the history shows.
    let cpu = |list: &PodList| find::container(list, spins.id()).cpu.unwrap().usage_nanoseconds;
    let history: PodHistory =
        serde_json::from_str(&daemon.get(&format!("/api/v1/history/{}", client.uid())).body).unwrap();
    let is_it = |history: &&podvitals::model::document::ContainerHistory| history.container.id == spins.id();
    let kept: BTreeSet<u64> = history
        .containers
        .iter()
        .find(is_it)
        .unwrap()
        .samples
        .iter()
        .filter_map(|sample| Some(sample.cpu.as_ref()?.usage_nanoseconds))
        .collect();
    for samples in ["samples", "samplesV2"] {
        let samples = read[samples].as_array().unwrap();
        between(cpu(&before), &samples.last().unwrap()["usageNanoseconds"], cpu(&after));
        for sample in samples {
            assert!(
                kept.contains(&sample["usageNanoseconds"].as_u64().unwrap()),
                "{sample} is not among {kept:?}"
            );
        }
        assert!(samples.len() >= 3, "{samples:?}");
    }
    for sandbox in [&read["sandbox"], &read["sandboxV2"]] {
        let later = find::pod(&after, client.uid()).network.clone().unwrap().total;
        between(quiet.total.rx_bytes, &sandbox["rx_bytes"], later.rx_bytes);
        between(quiet.total.tx_packets, &sandbox["tx_packets"], later.tx_packets);
    }
    let names = |key: &str| -> BTreeSet<String> {
        let names = read[key].as_array().unwrap_or_else(|| panic!("{key}: {read}")).iter();
        names.map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    let server_app = server.live_container("app").unwrap();
    assert!(names("docker").contains(server_app.id()));
    assert!(names("subcontainers").contains(&format!("{}/{}", server.cgroup(), server_app.id())));
    assert!(names("created").contains(&container));
    assert!(
        read["latestUsage"]["cpu"].as_u64().is_some_and(|millis| (100..1_500).contains(&millis)),
        "{read}"
    );
    assert!(read["minuteSamples"].as_u64().unwrap() >= 3);

    // What comes and goes, as it does.
    let events = Lines::of(cadvisor("follow", &url, &[]));
    daemon.next_list().await;
    let late = testbed.pod("adv-late").run().await.unwrap();
    until_named(&daemon, &late.container("app").args(["idle"]).run().await.unwrap()).await;
    // It comes and goes alone: the client decodes each event over the one before, which may not have been taken
    // from it, so that of several at once it may tell the last, twice.
    let short = late.container("short").args(["idle"]).run().await.unwrap();
    let of_short = format!("{}/{}", late.cgroup(), short.id());
    events.until("told of the start", |line| line == format!("containerCreation {of_short}"));
    short.kill().await.unwrap();
    events.until("told of the end", |line| line == format!("containerDeletion {of_short}"));
    late.stop().await.unwrap();

    // And the program finds what is wrong: a container that is not there.
    let gone = ["-container", "/nowhere", "-id", short.id(), "-sandbox", &sandbox, "-pod", client.cgroup()];
    let output = cadvisor("all", &url, &gone).output().unwrap();
    let faults = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && faults.contains("v1.3 containers: ") && faults.contains("/nowhere"),
        "{faults}"
    );
    for pod in [server, client] {
        pod.stop().await.unwrap();
    }
}
