//! What podvitals answers cAdvisor's clients, against its own document of the same sweep and against the kernel.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use podvitals::model::document::PodList;
use podvitals_testbed::Container;
use podvitals_testbed::Pod;
use serde_json::Value;
use tokio::time::Instant;

use crate::daemon::Daemon;
use crate::docker_api::get;
use crate::find::container;
use crate::find::pod;
use crate::network::PORT;
use crate::network::while_quiet_seeing;
use crate::oracle;
use crate::stage::Stage;
use crate::watcher::metric;

const PATIENCE: Duration = Duration::from_secs(10);
const MIB: u64 = 1 << 20;
const MB: u64 = 1_000_000;

/// What the kernel says on cgroup v1: all pages of 4 KiB that can be counted.
const NO_LIMIT: u64 = i64::MAX as u64 / 4096 * 4096;

/// As a client of v1 asks.
fn post(daemon: &Daemon, path: &str, query: &str) -> Value {
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = query.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}");
    write!(stream, "{head}\r\n\r\n{query}").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{text}");
    serde_json::from_str(body).unwrap()
}

/// The name of the container's cgroup.
pub(crate) fn name(of: &Container, pod: &Pod) -> String {
    format!("{}/{}", pod.cgroup(), of.id())
}

/// The last of several samples.
fn last(stats: &Value) -> &Value {
    stats.as_array().unwrap().last().unwrap()
}

/// Every cgroup's last two samples, and our own document of the same sweep.
async fn both(daemon: &Daemon, of: &Container, pod: &Pod) -> (Value, PodList) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let list = daemon.next_list().await;
        let stats = get(daemon, "/api/v2.0/stats?recursive=true&count=2");
        let at = container(&list, of.id()).cpu.unwrap().time_unix_nano;
        let time: jiff::Timestamp =
            last(&stats[name(of, pod)])["timestamp"].as_str().unwrap().parse().unwrap();
        if time.as_nanosecond() == i128::from(at) {
            return (stats, list);
        }
        assert!(Instant::now() < deadline, "never of one sweep");
    }
}

/// The processes of a container with one of them, as `ps` and the scheduler's account have it.
fn processes(daemon: &Daemon, of: &Container, pod: &Pod) {
    let run = || -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/schedstat", of.pid())).unwrap();
        text.split(' ').next().unwrap().parse().unwrap()
    };
    let pid = of.pid().to_string();
    let columns = ["-o", "ppid=,stime=,stat=,comm=,vsz=", "-p", pid.as_str()];
    let before = run();
    let list = get(daemon, &format!("/api/v2.0/ps{}", name(of, pod)));
    let after = run();
    let printed = std::process::Command::new("ps").args(columns).env("TZ", "UTC").output().unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    let [parent, start, state, command, kib] = printed.split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("{printed:?}")
    };
    let [process] = &list.as_array().unwrap()[..] else { panic!("not one: {list}") };
    println!("       {process}");
    assert_eq!(process["pid"], of.pid());
    assert_eq!(process["parent_pid"], parent.parse::<u32>().unwrap());
    assert_eq!(process["cmd"], command);
    // It counts from the whole second at which the machine was started.
    // Of yesterday the day is told.
    let today = [process["start_time"].as_str().unwrap(), start].iter().all(|text| text.contains(':'));
    let minutes = |text: &str| -> i32 {
        let (hours, minutes) = text.split_once(':').unwrap_or_else(|| panic!("{text}"));
        hours.parse::<i32>().unwrap() * 60 + minutes.parse::<i32>().unwrap()
    };
    if today {
        let apart = minutes(process["start_time"].as_str().unwrap()) - minutes(start);
        assert!((-1..=1).contains(&apart) || apart.abs() == 1439, "{process}: {printed}");
    }
    // It runs and waits in turn; what it leads it goes on leading.
    assert_eq!(process["status"].as_str().unwrap()[1..], state[1..], "{printed}");
    assert_eq!(process["virtual_size"], kib.parse::<u64>().unwrap() * 1024);
    assert!(process["rss"].as_u64().unwrap() > 0 && process["percent_cpu"].as_f64().unwrap() > 1.0);
    let time = process["running_time"].as_str().unwrap().rsplit(':').map(|it| it.parse::<u64>().unwrap());
    let told: u64 = time.zip([1, 60, 3600]).map(|(number, unit)| number * unit).sum();
    // A list may be some seconds old, and the kernel splits CPU time into ticks.
    let (least, most) = (before.saturating_sub(6_000_000_000) / 1_000_000_000, after / 1_000_000_000 + 1);
    assert!((least..=most).contains(&told), "{least} ≤ {told} ≤ {most}");
    // Its pod has it, and so has the node, where it says in what it is.
    let pids = |list: &Value| -> Vec<u64> {
        list.as_array().unwrap().iter().map(|it| it["pid"].as_u64().unwrap()).collect()
    };
    let whole = pids(&get(daemon, &format!("/api/v2.0/ps{}", pod.cgroup())));
    let node = pids(&get(daemon, "/api/v2.0/ps/"));
    assert!(whole.contains(&of.pid().into()) && whole.len() >= 3, "{whole:?}");
    assert!(whole.iter().all(|pid| node.contains(pid)) && node.contains(&std::process::id().into()));
    assert!(!whole.contains(&std::process::id().into()));
}

pub(crate) async fn figures_are_our_own_and_the_kernel_s_under_the_names_of_the_node(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let made = testbed.pod("rest").run().await.unwrap();
    let app = made.container("app").args(["memory", "--anon", "50MiB"]).memory_limit(200 * MIB).run();
    let app = app.await.unwrap();
    app.wait_for("ready", PATIENCE).await.unwrap();
    let burner = made.container("burner").args(["spin", "--duty", "30"]).run().await.unwrap();
    let server = testbed.pod("rest-server").run().await.unwrap();
    let serving =
        server.container("app").args(["serve-bytes", "--port", &PORT.to_string()]).run().await.unwrap();
    serving.wait_for("listening", PATIENCE).await.unwrap();
    app.exchange(server.ip().unwrap(), PORT, 20 * MB, 3 * MB).await.unwrap();

    for (who, daemon) in stage.observers() {
        daemon.next_list().await;
        daemon.next_list().await;
        daemon.next_list().await;
        let (stats, list) = both(daemon, &burner, &made).await;
        for of in [&app, &burner] {
            let ours = container(&list, of.id());
            let samples = stats[name(of, &made)].as_array().unwrap();
            let theirs = &samples[1];
            let (cpu, memory) = (ours.cpu.unwrap(), ours.memory.unwrap());
            assert_eq!(theirs["cpu"]["usage"]["total"], cpu.usage_nanoseconds, "{who}");
            assert_eq!(theirs["memory"]["usage"], memory.usage_bytes, "{who}");
            assert_eq!(
                Some(&theirs["memory"]["working_set"]),
                memory.working_set_bytes.map(Value::from).as_ref()
            );
            assert_eq!(theirs["processes"]["threads_current"], ours.pids.unwrap().current);
            assert_eq!(theirs["has_network"], false);
            assert!(samples[0]["timestamp"].as_str() < theirs["timestamp"].as_str(), "oldest first");
        }
        // Two samples of one that works, a second apart, give the rate that stands beside the second.
        let [before, now] = &stats[name(&burner, &made)].as_array().unwrap()[..] else { panic!("{stats}") };
        let used = |stat: &Value| stat["cpu"]["usage"]["total"].as_u64().unwrap();
        let time = |stat: &Value| stat["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        let window = (time(now).as_nanosecond() - time(before).as_nanosecond()) as f64 / 1e9;
        let nanocores = now["cpu_inst"]["usage"]["total"].as_u64().unwrap() as f64;
        let derived = (used(now) - used(before)) as f64 / window;
        println!("       {who}: {derived:.0} nanocores from two samples, {nanocores} in the second");
        assert!((derived - nanocores).abs() < 0.01 * derived && derived > 1e7, "{derived} {nanocores}");

        processes(daemon, &burner, &made);

        // The pod's own cgroup, and its network on the sandbox alone.
        let whole = pod(&list, made.uid());
        let of_pod = last(&stats[made.cgroup()]);
        assert_eq!(of_pod["cpu"]["usage"]["total"], whole.cpu.as_ref().unwrap().usage_nanoseconds);
        let with_network: Vec<&String> = stats
            .as_object()
            .unwrap()
            .iter()
            .filter(|(name, stats)| name.starts_with(made.cgroup()) && last(stats)["has_network"] == true)
            .map(|(name, _)| name)
            .collect();
        // Without a source of names nobody tells which child is the sandbox: then it is the pod's.
        let sandbox = format!("{}/{}", made.cgroup(), made.sandbox_id());
        let holder = if who == "root" { sandbox.clone() } else { made.cgroup().to_owned() };
        assert_eq!(with_network, [&holder], "{who}");
        let look = || get(daemon, &format!("/api/v1.3/containers{holder}"));
        let link = made.host_veth().unwrap();
        let (network, v1) = while_quiet_seeing(daemon, made.uid(), link, look).await;
        let network = network.total;
        assert!(network.tx_bytes >= 20 * MB && network.rx_bytes >= 3 * MB);
        let eth0 = &last(&v1["stats"])["network"];
        assert_eq!(eth0["name"], "eth0");
        let theirs =
            ["rx_bytes", "rx_packets", "tx_bytes", "tx_packets"].map(|key| eth0[key].as_u64().unwrap());
        assert_eq!(theirs, [network.rx_bytes, network.rx_packets, network.tx_bytes, network.tx_packets]);

        // By what a client of Docker calls it, with the limit that the kernel has.
        let asked = format!("/docker/{}", app.id());
        let spec = get(daemon, &format!("/api/v2.1/spec{asked}"));
        assert_eq!(spec[&asked]["memory"]["limit"], 200 * MIB);
        let spec = get(daemon, &format!("/api/v2.1/spec/{}?type=docker", &burner.id()[..20]));
        assert_eq!(spec[name(&burner, &made)]["memory"]["limit"], NO_LIMIT, "{spec}");
        let two = post(daemon, &format!("/api/v1.3/containers{}", name(&app, &made)), r#"{"num_stats":2}"#);
        assert_eq!((two["stats"].as_array().unwrap().len(), &two["id"]), (2, &app.id().into()));
        let machine = get(daemon, "/api/v2.1/machinestats?count=1");
        assert!(last(&machine)["memory"]["usage"].as_u64().unwrap() > 50 * MIB);
        let root = get(daemon, "/api/v1.3/subcontainers/");
        let names: Vec<&str> =
            root.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
        assert!(names.contains(&"/") && names.contains(&made.cgroup()) && names.contains(&&*sandbox));
        let summary = get(daemon, &format!("/api/v2.0/summary{}", name(&burner, &made)));
        let minute = &summary[name(&burner, &made)]["minute_usage"]["cpu"];
        assert!(minute["count"].as_u64().unwrap() >= 2 && minute["max"].as_u64().unwrap() >= 50, "{minute}");
    }
    for pod in [made, server] {
        pod.stop().await.unwrap();
    }
}

/// Of a process that has been there as long as the daemon that watches it: what the kernel has counted since.
pub(crate) async fn a_summary_goes_back_as_far_as_the_daemon_does(stage: Arc<Stage>) {
    let watched = &stage.confined_container;
    stage.full.next_list().await;
    let asked = name(watched, &stage.profile);
    let summary = get(&stage.full, &format!("/api/v2.0/summary{asked}"));
    let used = oracle::number(watched.cgroup_dir("cpuacct").unwrap().join("cpuacct.usage")) as f64 / 1e9;
    let number = |of: &Value, key: &str| of[key].as_f64().unwrap_or_else(|| panic!("no {key}: {of}"));
    let [minute, hour, day] =
        ["minute_usage", "hour_usage", "day_usage"].map(|usage| &summary[&asked][usage]["cpu"]);
    let seconds = number(day, "count");
    let told = number(day, "mean") / 1000.0 * seconds;
    println!("       {told:.2} s of CPU time in {seconds} s, {used:.2} of them by the kernel's count");
    // The daemon came a moment after it, and a mean is in whole thousandths of a core.
    assert!((told - used).abs() <= 0.1 * used + 0.0005 * seconds + 0.5, "{told} {used}: {summary}");
    assert!(number(day, "max") > 0.0 && told > 0.0, "it reads every second: {summary}");
    assert!(number(hour, "count") >= number(minute, "count"), "{summary}");
    let sweeps = metric(&stage.full, "podvitals_sweeps_total");
    println!("       {seconds} samples of {sweeps} sweeps");
    // The first has no rate, nor has one that came right after one that was held up.
    let without = sweeps - seconds;
    assert!((0.0..=4.0 + 0.02 * sweeps).contains(&without), "{without} without a sample: {summary}");
    let memory = &summary[&asked]["day_usage"]["memory"];
    let most = oracle::number(watched.cgroup_dir("memory").unwrap().join("memory.max_usage_in_bytes"));
    assert!(number(memory, "max") <= most as f64 && number(memory, "fifty") >= 1e6, "{most}: {memory}");
}

/// Reads events as they come, up to one that is waited for.
pub(crate) struct Following(BufReader<UnixStream>);

impl Following {
    pub(crate) fn new(daemon: &Daemon, path: &str) -> Self {
        let mut stream = UnixStream::connect(daemon.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
        }
        Self(reader)
    }

    fn until(&mut self, kind: &str, name: &str) -> Value {
        self.all_until(kind, name).pop().unwrap()
    }

    /// That one, and what was told before it.
    pub(crate) fn all_until(&mut self, kind: &str, name: &str) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "ended before {kind} of {name}");
            // Between them are the lengths of chunks.
            let Ok(event @ Value::Object(_)) = serde_json::from_str(&line) else { continue };
            let is_it = event["event_type"] == kind && event["container_name"] == name;
            all.push(event);
            if is_it {
                return all;
            }
        }
    }
}

pub(crate) async fn who_comes_and_goes_is_told_as_it_does(stage: Arc<Stage>) {
    let daemon = &stage.full;
    let path = "/api/v1.3/events/?stream=true&subcontainers=true&creation_events=true&deletion_events=true";
    let mut events = tokio::task::block_in_place(|| Following::new(daemon, path));
    // What is there when a client begins to listen is no news.
    daemon.next_list().await;
    let made = stage.testbed.pod("rest-events").run().await.unwrap();
    let app = made.container("app").args(["idle"]).run().await.unwrap();
    let (app, whole) = (name(&app, &made), made.cgroup().to_owned());
    let created = tokio::task::block_in_place(|| events.until("containerCreation", &app));
    daemon.next_list().await;
    let now: jiff::Timestamp = created["timestamp"].as_str().unwrap().parse().unwrap();
    let age = jiff::Timestamp::now().duration_since(now).as_secs_f64();
    assert!((0.0..10.0).contains(&age), "{age} s ago");
    made.stop().await.unwrap();
    tokio::task::block_in_place(|| events.until("containerDeletion", &app));
    daemon.next_list().await;
    for name in [app, whole] {
        let deleted = get(daemon, &format!("/api/v2.0/events{name}?deletion_events=true"));
        assert_eq!(deleted.as_array().unwrap().len(), 1, "{name}: {deleted}");
        assert_eq!(deleted[0]["container_name"], name.as_str());
        let all = get(daemon, &format!("/api/v2.0/events{name}?all_events=true"));
        assert_eq!(last(&all)["event_type"], "containerDeletion", "{all}");
    }
}
