//! Networks that are not one veth and its two ends, in pods that are made up.
//!
//! The kernel's own file in the pod's netns, read by the plainest of means, is the oracle. Where packets
//! go past a device, the program that sent them is.

use std::fs;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use podvitals::host::HostRoot;
use podvitals::host::net_ip::IpReader;
use podvitals::host::process::pin;
use podvitals::model::document::Network;
use podvitals::model::unavailable::Unavailable;
use podvitals_testbed::made_up::MadeUpPod;
use tokio::time::Instant;
use tokio::time::sleep_until;

use crate::daemon::Daemon;
use crate::find::pod;
use crate::netns::at_rest;
use crate::netns::netns;
use crate::netns::sum;
use crate::odd_pods::made_up;
use crate::odd_pods::quick;
use crate::odd_pods::quiet;
use crate::odd_pods::send;
use crate::oracle;
use crate::stage::Stage;

/// Runs a script in the pod's netns.
fn script(pod: &MadeUpPod, text: &str) {
    pod.output_in(&pod.children()[0], &["/bin/sh", "-ec", text]).unwrap();
}

/// Sends raw frames out of an interface of the pod, after one that was not dropped: a new link takes up to
/// a second to carry anything.
fn frames(pod: &MadeUpPod, interface: &str, count: u64) {
    let send =
        |count: &str| pod.output_in(&pod.children()[0], &["load", "frames", interface, count]).unwrap();
    let sent = || netns(pod)[interface][5];
    let (before, deadline) = (sent(), Instant::now() + Duration::from_secs(10));
    while sent() == before {
        assert!(Instant::now() < deadline, "{interface} carries nothing");
        send("1");
    }
    send(&count.to_string());
}

/// A network that hands packets to the pod past its device, as `bpf_redirect_peer` does: they come in by
/// a wire that is no interface of the pod's to us, and are redirected to where `eth0` would have them.
/// `eth0` itself goes on sending.
pub(crate) struct Hidden {
    pod: MadeUpPod,
    far: MadeUpPod,
    begun: Instant,
    /// Before anything was hidden.
    innocent: Network,
}

const PAST_ADDRESS: &str = "10.99.7.1";

impl Hidden {
    async fn begin(stage: &Stage) -> Self {
        let (pod, far) = (made_up(stage).start().unwrap(), made_up(stage).start().unwrap());
        // Neither end is to greet the other in all that time.
        let silent = format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", pod.host_veth().unwrap());
        fs::write(silent, "1").unwrap();
        let (far_pid, address) = (far.children()[0].pid(), interface_address(&pod, "eth0"));
        script(
            &pod,
            &format!(
                "ip link add past_kata address {address} type veth peer name far0
                 ip link set far0 netns {far_pid}; ip link set past_kata up
                 ip addr add {PAST_ADDRESS}/32 dev eth0
                 tc qdisc add dev past_kata ingress
                 tc filter add dev past_kata parent ffff: protocol all u32 match u32 0 0 \
                    action mirred ingress redirect dev eth0"
            ),
        );
        script(
            &far,
            &format!(
                "echo 1 > /proc/sys/net/ipv6/conf/far0/disable_ipv6
                 ip link set far0 up; ip addr add 10.99.7.2/24 dev far0
                 ip neigh replace {PAST_ADDRESS} lladdr {address} dev far0 nud permanent"
            ),
        );
        let begun = Instant::now();
        let innocent = quiet(&stage.full, &pod).await;
        assert_eq!((innocent.source.as_deref(), innocent.rx_suspect), (Some("netns"), None));
        let this = Self { pod, far, begun, innocent };
        this.receive(500);
        // Frames that nobody answers.
        frames(&this.pod, "eth0", 1_100);
        let (_, still, kernel) = at_rest(&stage.full, &this.pod).await;
        assert_eq!(still.total.rx_packets, kernel["eth0"][1], "nothing shows of the 500");
        this
    }

    /// What the next sweep says of it.
    async fn network(&self, daemon: &Daemon) -> Network {
        pod(&daemon.next_list().await, self.pod.uid()).network.clone().unwrap()
    }

    /// What its device says.
    fn link(&self) -> oracle::Counters {
        oracle::net_dev(self.pod.children()[0].pid(), "eth0")
    }

    /// Datagrams with 100 bytes in them, past the device.
    fn receive(&self, count: u64) {
        let command = ["load", "udp", PAST_ADDRESS, "9", "--count", &count.to_string(), "--size", "100"];
        self.far.output_in(&self.far.children()[0], &command).unwrap();
    }
}

fn interface_address(pod: &MadeUpPod, interface: &str) -> String {
    let shown = pod.output_in(&pod.children()[0], &["ip", "-o", "link", "show", interface]).unwrap();
    shown.split("ether ").nth(1).unwrap().split(' ').next().unwrap().to_owned()
}

/// Has it begun: it takes a minute to come under suspicion, in which other tests have their turn.
pub(crate) async fn begin_hidden(stage: &Stage) {
    let has_begun = stage.hidden.lock().unwrap().is_some();
    if !has_begun {
        let hidden = Hidden::begin(stage).await;
        *stage.hidden.lock().unwrap() = Some(hidden);
    }
}

pub(crate) async fn interfaces_of_every_kind_are_counted_whole_and_once(stage: Arc<Stage>) {
    begin_hidden(&stage).await;
    let daemon = quick(&stage, &[]).await;
    several_interfaces(&stage).await;
    neighbours_without_a_veth(&stage).await;
    names_of_any_bytes(&stage, &daemon).await;
    a_thousand_interfaces(&stage, &daemon).await;
    a_virtual_machine(&stage, &daemon).await;
    the_ip_layer_counts_what_the_device_does(&stage).await;
}

async fn several_interfaces(stage: &Stage) {
    let (pod, far) = (made_up(stage).start().unwrap(), made_up(stage).start().unwrap());
    let far_pid = far.children()[0].pid();
    script(
        &pod,
        &format!(
            "for name in net1 tunl0 gre0; do
                ip link add $name type veth peer name far-$name; ip link set far-$name netns {far_pid}
                ip link set $name up
             done
             ip link add br0 type bridge mcast_snooping 0; echo 1 > /proc/sys/net/ipv6/conf/br0/disable_ipv6
             ip link set br0 up
             ip addr add 10.99.1.1/24 dev net1; ip route add default via 10.99.1.2 dev net1"
        ),
    );
    script(&far, "for name in net1 tunl0 gre0; do ip link set far-$name up; done");
    // Routes are read now and then; one that begins now begins with these.
    let daemon = &quick(stage, &[]).await;
    for (interface, count) in [("eth0", 100), ("net1", 200), ("tunl0", 300), ("gre0", 400)] {
        frames(&pod, interface, count);
    }
    let (shown, network, kernel) = at_rest(daemon, &pod).await;
    assert!(kernel["tunl0"][5] >= 300 && kernel["gre0"][5] >= 400, "{kernel:?}");
    assert_eq!(oracle::counters(&network.total), sum([&kernel["eth0"], &kernel["net1"], &kernel["br0"]]));
    assert_eq!(sum([&kernel["br0"]]), [0; 8], "an idle bridge adds nothing");
    assert_eq!(network.overlapping, Some(true), "a bridge may carry what another interface has counted");
    let primary: Vec<_> = network.interfaces.iter().filter(|it| it.primary).collect();
    assert_eq!((primary.len(), primary[0].name.as_str()), (1, "net1"), "the default route's");
    assert_eq!(shown.sandbox.unwrap().interface.as_deref(), Some("net1"));
    for interface in &network.interfaces {
        assert_eq!(oracle::counters(&interface.traffic), kernel[&interface.name]);
        assert_eq!(interface.counted, ["eth0", "net1", "br0"].contains(&&*interface.name), "{interface:?}");
    }
    pod.stop().unwrap();
    far.stop().unwrap();
}

pub(crate) async fn links_and_routes_that_a_live_pod_gets_are_followed(stage: Arc<Stage>) {
    let pod_made = made_up(&stage).start().unwrap();
    let daemon = quick(&stage, &[]).await;
    let first = pod_made.host_veth().unwrap().to_owned();
    follow(&daemon, &pod_made, "as it was made", "eth0", Some(&first)).await;
    // Replaced by one of the same name, in no time.
    let second = format!("pvs{}", std::process::id());
    script(
        &pod_made,
        &format!(
            "ip link delete eth0; ip link add eth0 type veth peer name {second}
             ip link set {second} netns {}; ip link set eth0 up",
            std::process::id()
        ),
    );
    follow(&daemon, &pod_made, "with another link", "eth0", Some(&second)).await;
    // A second one takes the default route, and loses it. Its other end is no host's.
    script(
        &pod_made,
        "ip link add net1 type veth peer name far1; ip link set net1 up; ip addr add 10.99.9.1/24 dev net1
         ip link set far1 up; ip route add default via 10.99.9.2 dev net1",
    );
    follow(&daemon, &pod_made, "with another route", "net1", None).await;
    follow(&stage.confined, &pod_made, "with another route, seen without privilege", "net1", None).await;
    script(&pod_made, "ip route delete default");
    follow(&daemon, &pod_made, "without a route", "eth0", Some(&second)).await;
    pod_made.stop().unwrap();
}

/// Waits until the pod, its map and its chain show these interfaces: a few seconds.
async fn follow(daemon: &Daemon, of: &MadeUpPod, what: &str, inside: &str, host: Option<&str>) {
    let deadline = Instant::now() + Duration::from_secs(7);
    let wanted = Some((Some(inside.to_owned()), host.map(str::to_owned)));
    loop {
        let list = daemon.next_list().await;
        let listed = list.pods.iter().find(|pod| pod.runtime_uid == of.uid());
        let listed = listed.and_then(|pod| pod.sandbox.clone());
        let mapped = crate::odd_pods::mapped(daemon, of.uid()).and_then(|pod| pod.sandbox);
        let shown = [listed, mapped].map(|it| it.map(|it| (it.interface, it.host_interface)));
        if shown.iter().all(|shown| *shown == wanted) {
            return;
        }
        assert!(Instant::now() < deadline, "never {what}: {shown:?}, not {wanted:?}");
    }
}

/// A macvlan has no end on the host: its parent is in another pod here.
async fn neighbours_without_a_veth(stage: &Stage) {
    let [parent, one, two] = [(); 3].map(|()| made_up(stage).start().unwrap());
    for (pod, address) in [(&one, "10.99.3.1"), (&two, "10.99.3.2")] {
        let pid = pod.children()[0].pid();
        script(
            &parent,
            &format!("ip link add link eth0 name mv0 type macvlan mode bridge; ip link set mv0 netns {pid}"),
        );
        script(
            pod,
            &format!(
                "ip link delete eth0; ip link set mv0 name eth0; ip link set eth0 up; ip addr add {address}/24 dev eth0"
            ),
        );
    }
    // One that has never seen the veth these pods were made with.
    let daemon = &quick(stage, &[]).await;
    let app = &one.children()[0];
    one.output_in(app, &["load", "udp", "10.99.3.2", "9", "--count", "250", "--size", "100"]).unwrap();
    for (pod, least) in [(&one, [0, 250]), (&two, [250, 0])] {
        let (shown, network, kernel) = at_rest(daemon, pod).await;
        assert_eq!(oracle::counters(&network.total), kernel["eth0"]);
        let packets = [network.total.rx_packets, network.total.tx_packets];
        assert!(packets[0] >= least[0] && packets[1] >= least[1], "{packets:?}");
        assert_eq!(network.source.as_deref(), Some("netns"));
        assert_eq!(shown.sandbox.unwrap().host_interface, None, "a parent is not the other end");
        assert_eq!(network.overlapping, None);
    }
    for pod in [one, two, parent] {
        pod.stop().unwrap();
    }
}

async fn names_of_any_bytes(stage: &Stage, daemon: &Daemon) {
    let (pod, far) = (made_up(stage).start().unwrap(), made_up(stage).start().unwrap());
    let far_pid = far.children()[0].pid();
    // As the shell's printf wants them.
    let names = ["local0", "veth1", "q\"uo\\047te", "b\\377\\200", "back\\\\slash", "<b>&amp;", "x{y=1}"];
    let words: Vec<_> = names.iter().map(|name| format!("\"$(printf '{name}')\"")).collect();
    script(
        &pod,
        &format!(
            "number=0; for name in {}; do
                ip link add \"$name\" type veth peer name far$number; ip link set far$number netns {far_pid}
                ip link set \"$name\" up; number=$((number + 1))
             done",
            words.join(" ")
        ),
    );
    script(&far, "for number in 0 1 2 3 4 5 6; do ip link set far$number up; done");
    frames(&pod, "local0", 70);
    frames(&pod, "veth1", 30);
    // The kernel itself refuses a colon, by which its file ends a name.
    let app = &pod.children()[0];
    assert!(pod.output_in(app, &["ip", "link", "add", "a:b", "type", "bridge"]).is_err());
    let (_, network, kernel) = at_rest(daemon, &pod).await;
    assert_eq!(kernel.len(), 2 + names.len(), "{kernel:?}");
    assert!(kernel["local0"][5] >= 70 && kernel["veth1"][5] >= 30);
    let counted = kernel.iter().filter(|(name, _)| *name != "lo").map(|(_, counters)| counters);
    assert_eq!(oracle::counters(&network.total), sum(counted));
    for interface in &network.interfaces {
        assert_eq!(oracle::counters(&interface.traffic), kernel[&interface.name]);
    }
    assert_eq!(network.interfaces.len(), kernel.len());
    pod.stop().unwrap();
    far.stop().unwrap();
}

async fn a_thousand_interfaces(stage: &Stage, daemon: &Daemon) {
    let (pod, other) = (made_up(stage).start().unwrap(), made_up(stage).start().unwrap());
    script(
        &pod,
        "batch() { number=1; while [ $number -le 499 ]; do
            echo \"link add many$number type veth peer name more$number\"; number=$((number + 1)); done; }
         batch | ip -batch -; ip link set many499 up; ip link set more499 up",
    );
    frames(&pod, "many499", 500);
    send(&other, &other.children()[0], 90);
    let (shown, network, kernel) = at_rest(daemon, &pod).await;
    assert_eq!(kernel.len(), 1_000);
    assert!(kernel["many499"][5] >= 500);
    let counted = kernel.iter().filter(|(name, _)| *name != "lo").map(|(_, counters)| counters);
    assert_eq!(oracle::counters(&network.total), sum(counted), "the total covers all");
    assert_eq!((network.interfaces.len(), network.interfaces_truncated), (64, Some(true)));
    assert!(network.interfaces.iter().any(|it| it.primary && it.name == "eth0"));
    assert!(shown.age_seconds < 1.0, "{}", shown.age_seconds);
    assert!(quiet(daemon, &other).await.total.tx_packets >= 90);
    // The quickest of some: others use this machine too.
    let mut quickest = u64::MAX;
    for _ in 0..10 {
        quickest = quickest.min(daemon.next_list().await.sweep_microseconds);
    }
    assert!(quickest < 50_000, "no sweep under {quickest} µs");
    a_stranger_moves_in(&pod, &other, daemon).await;
    pod.stop().unwrap();
    other.stop().unwrap();
}

/// An interface of another pod comes, with all it has counted there, to a place beyond those listed.
async fn a_stranger_moves_in(pod: &MadeUpPod, from: &MadeUpPod, daemon: &Daemon) {
    script(
        from,
        "ip link add guest type veth peer name guest-far; ip link set guest up; ip link set guest-far up",
    );
    frames(from, "guest", 200_000);
    let mut last = daemon.next_list().await;
    let home = pod.children()[0].pid();
    script(from, &format!("ip link set guest netns {home}"));
    let past = netns(pod)["guest"];
    assert!(past[5] >= 200_000, "the kernel keeps the past of a link that moves: {past:?}");
    let (mut with_rate, mut without_rate) = (0, 0);
    while with_rate < 5 {
        let list = daemon.list_after(last.tick).await;
        let network = crate::find::pod(&list, pod.uid()).network.clone().unwrap();
        let has_it = network.total.tx_packets >= 200_000;
        match network.tx_packets_per_second {
            Some(rate) => assert!(rate < 10_000.0, "{rate} packets a second that were sent elsewhere"),
            None => without_rate += 1,
        }
        with_rate += usize::from(has_it && network.tx_packets_per_second.is_some());
        assert!(without_rate < 50, "it costs an interval, not {without_rate}");
        last = list;
    }
    assert!(without_rate >= 1, "it came between two sweeps");
}

/// Kata: the cgroup holds the machine, and its wire carries what `eth0` has counted.
async fn a_virtual_machine(stage: &Stage, daemon: &Daemon) {
    let pod = made_up(stage).scope_prefix("kata_").sandbox(false).start().unwrap();
    let inside = made_up(stage).start().unwrap();
    let pid = inside.children()[0].pid();
    script(
        &pod,
        &format!(
            "ip link add tap0_kata type veth peer name inside; ip link set inside netns {pid}
             ip link set tap0_kata up"
        ),
    );
    script(&inside, "ip link set inside up");
    frames(&pod, "tap0_kata", 40);
    send(&pod, &pod.children()[0], 60);
    let (shown, network, kernel) = at_rest(daemon, &pod).await;
    assert!(kernel["eth0"][5] >= 60 && kernel["tap0_kata"][5] >= 40, "{kernel:?}");
    assert_eq!(oracle::counters(&network.total), kernel["eth0"]);
    assert_eq!(network.overlapping, None);
    assert!(network.interfaces.iter().any(|it| it.name == "tap0_kata" && !it.counted));
    assert!(shown.cpu.is_some() && shown.memory.is_some(), "the pod's own cgroup is the machine's");
    for container in &shown.containers {
        assert!(container.cpu.is_none() && container.memory.is_none());
        assert_eq!(container.unavailable.get("cpu"), Some(&Unavailable::RuntimeVm));
    }
    pod.stop().unwrap();
    inside.stop().unwrap();
}

/// Bytes of the IP layer and 14 of each packet, and what is no IP, are those of the device.
async fn the_ip_layer_counts_what_the_device_does(stage: &Stage) {
    let pod = made_up(stage).start().unwrap();
    let root = HostRoot::new("/proc".into(), "/sys/fs/cgroup".into());
    let process = pin(&root, pod.children()[0].pid(), |_| true).unwrap();
    let address = pod.address().unwrap().to_string();
    let send = |count: &str| {
        let mut load = Command::new(pod.load());
        load.args(["udp", &address, "9", "--count", count, "--size", "1000"]);
        assert!(load.stdout(Stdio::null()).status().unwrap().success());
    };
    // A new link takes a moment to carry anything.
    while netns(&pod)["eth0"][0] < 1_000 {
        send("1");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    send("700");
    // Over its own `lo`, which is nobody's traffic.
    let app = &pod.children()[0];
    pod.output_in(app, &["load", "udp", "127.0.0.1", "9", "--count", "300", "--size", "900"]).unwrap();
    let mut buffer = Vec::new();
    for _ in 0..40 {
        let before = netns(&pod);
        let by_ip = IpReader::default().read(&process, &mut buffer).unwrap();
        let kernel = netns(&pod);
        if before != kernel {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        let [rx_bytes, rx_packets, ..] = kernel["eth0"];
        assert!(by_ip.packets >= 700 && kernel["lo"][1] >= 300, "{by_ip:?} {kernel:?}");
        // A question for a neighbour, or its answer: 14 and 28 bytes.
        let neighbours = rx_packets - by_ip.packets;
        assert_eq!(by_ip.bytes + 14 * by_ip.packets + 42 * neighbours, rx_bytes, "{kernel:?}");
        pod.stop().unwrap();
        return;
    }
    panic!("the pod was never quiet");
}

pub(crate) async fn what_a_device_hides_the_ip_layer_tells(stage: Arc<Stage>) {
    begin_hidden(&stage).await;
    let (daemon, hidden) = (&stage.full, stage.hidden.lock().unwrap().take().unwrap());
    sleep_until(hidden.begun + Duration::from_secs(61)).await;

    let deadline = Instant::now() + Duration::from_secs(10);
    let (sent, suspect) = loop {
        let sent = hidden.link()[4];
        let now = hidden.network(daemon).await;
        if now.rx_suspect == Some(true) {
            break (sent, now);
        }
        assert!(Instant::now() < deadline, "never suspect: {now:?}");
    };
    assert_eq!(suspect.source.as_deref(), Some("netns_ip"));
    let link = hidden.link();
    // 100 bytes, 8 of UDP and 20 of IP. Devices count 14 more.
    let wire = netns(&hidden.pod)["past_kata"];
    assert!(suspect.total.rx_packets >= 500 && suspect.total.rx_bytes >= 500 * 128, "{suspect:?}");
    assert!(suspect.total.rx_bytes <= wire[0] - 14 * wire[1] + link[0], "{suspect:?}");
    assert_eq!(suspect.since_unix_nano, hidden.innocent.since_unix_nano);
    assert_eq!(suspect.total.tx_errors, Some(0), "what the device sends it counts as ever");
    assert!((sent..=link[4]).contains(&suspect.total.tx_bytes), "{sent}, {suspect:?}, {link:?}");
    hidden.receive(1_000);
    let later = hidden.network(daemon).await;
    let more = later.total.rx_bytes - suspect.total.rx_bytes;
    assert!((128_000..128_300).contains(&more), "1,000 datagrams of 128 bytes: {more}");
    assert!(later.rx_packets_per_second.is_some(), "one witness: there is a rate");
    let explained = Command::new(crate::daemon::PODVITALS)
        .args(["explain", hidden.pod.uid(), "--server", &daemon.socket_url()])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&explained.stdout).contains("the IP layer's count"), "{explained:?}");
    hidden.pod.stop().unwrap();
    hidden.far.stop().unwrap();
}
