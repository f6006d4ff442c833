//! Interfaces that are no end of a veth, or lie upon one: vlan, macvlan, ipvlan, dummy.
//!
//! The kernel's own file in the pod's netns is the oracle; where there is a veth, its other end too. All of
//! it is asked of two daemons: root, and a user who may do nothing but read.

use std::io::Read;
use std::net::Ipv4Addr;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;

use podvitals_testbed::made_up::Driver;
use podvitals_testbed::made_up::MadeUpPod;
use tokio::time::Instant;

use crate::daemon::Daemon;
use crate::daemon::PODVITALS;
use crate::netns::at_rest;
use crate::netns::sum;
use crate::oracle;
use crate::stage::Stage;
use crate::stage::daemon;
use crate::stage::run;

const MB: u64 = 1_000_000;
const PORT: &str = "5001";

/// A pod, and what has to be said of it.
struct Case {
    name: &'static str,
    pod: MadeUpPod,
    /// What the total is made of.
    counted: Vec<&'static str>,
    /// What has passed there at least, received and sent.
    least: [u64; 2],
    /// What has passed these, whose bytes another has counted.
    carried: Vec<(&'static str, u64)>,
}

pub(crate) async fn interfaces_of_every_kind_are_counted_whole_and_once(stage: Arc<Stage>) {
    let mut server = serve_in(None);
    // Two wires in the node's own netns, each with a far end there. Busybox calls that `veth0`.
    run("set -e; for wire in a b; do
            ip link add wire-$wire type veth; ip link set veth0 name far-$wire
            ip link set wire-$wire up; ip link set far-$wire up
         done");
    let cases = vec![
        vlans_beside_their_parent(&stage),
        a_vlan_whose_parent_is_elsewhere(&stage),
        a_macvlan(&stage),
        dummies(&stage),
    ];
    let (asker, answerer) = ipvlans(&stage);
    let cases: Vec<_> = cases.into_iter().chain([asker, answerer]).collect();
    server.kill().unwrap();
    server.wait().unwrap();

    // Two that have never seen the veth some of these pods were made with.
    let root = daemon(Command::new(PODVITALS), "200ms").await;
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid", "65532", "--regid", "65532", "--clear-groups", PODVITALS]);
    let nobody = daemon(nobody, "200ms").await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", nobody.pid())).unwrap();
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    for case in &cases {
        for observer in [&root, &nobody] {
            compare(case, observer).await;
        }
        let (shown, ..) = at_rest(&root, &case.pod).await;
        // A parent on the node is not the other end of what rests on it.
        let expected = case.counted.contains(&"eth0").then(|| case.pod.host_veth().unwrap().to_owned());
        assert_eq!(shown.sandbox.unwrap().host_interface, expected, "{}", case.name);
        println!("       {}: compared", case.name);
    }
    veth_s_other_end_agrees(&root, &cases[0]).await;
    drop(cases);
    run("set -e; ip link delete wire-a; ip link delete wire-b; ip link delete nic0");
}

async fn compare(case: &Case, observer: &Daemon) {
    let (_, network, kernel) = at_rest(observer, &case.pod).await;
    let name = case.name;
    let total = oracle::counters(&network.total);
    assert_eq!(total, sum(case.counted.iter().map(|nic| &kernel[*nic])), "{name}: {kernel:#?}");
    assert!(total[0] >= case.least[0] && total[4] >= case.least[1], "{name}: {total:?}");
    for (carried, bytes) in &case.carried {
        assert!(kernel[*carried][4] >= *bytes, "{name}: little went through {carried}: {kernel:#?}");
    }
    assert_eq!(network.interfaces.len(), kernel.len(), "{name}");
    for nic in &network.interfaces {
        assert_eq!(oracle::counters(&nic.traffic), kernel[&nic.name], "{name}: {}", nic.name);
        assert_eq!(nic.counted, case.counted.contains(&&*nic.name), "{name}: {}", nic.name);
    }
    assert_eq!(network.source.as_deref(), Some("netns"), "{name}");
    assert_eq!(network.overlapping, None, "{name}: there is no doubt");
}

/// All that the vlans carried has gone through `eth0`, and through the other end of that.
async fn veth_s_other_end_agrees(observer: &Daemon, case: &Case) {
    let link = case.pod.host_veth().unwrap();
    for _ in 0..20 {
        let before = oracle::host_link(link);
        let (_, network, _) = at_rest(observer, &case.pod).await;
        if before == oracle::host_link(link) {
            let total = network.total;
            let ours = [total.tx_bytes, total.tx_packets, total.rx_bytes, total.rx_packets];
            assert_eq!(ours, before, "tx and rx of the pod against rx and tx of {link}");
            return;
        }
    }
    panic!("{link} was never quiet for a whole sweep");
}

/// One has a name that says what it is, one has not.
fn vlans_beside_their_parent(stage: &Stage) -> Case {
    let pod = stage.pod(Driver::Cgroupfs).start().unwrap();
    let host_end = pod.host_veth().unwrap().to_owned();
    for (number, name) in [("5", "eth0.5"), ("7", "data")] {
        script(
            &pod,
            &format!(
                "ip link add link eth0 name {name} type vlan id {number}; ip link set {name} up
                 ip addr add 10.98.{number}.2/24 dev {name}"
            ),
        );
        run(&format!(
            "set -e; ip link add link {host_end} name far-{number} type vlan id {number}; ip link set far-{number} up
             ip addr add 10.98.{number}.1/24 dev far-{number}"
        ));
    }
    let gateway = pod.gateway().unwrap();
    for (to, amount) in [([10, 98, 5, 1].into(), MB), ([10, 98, 7, 1].into(), 2 * MB), (gateway, 3 * MB)] {
        exchange(&pod, to, amount, MB);
    }
    // Nobody wants them: as many are dropped on arrival.
    run(&format!("load frames {host_end} 17"));
    let least = [3 * MB, 6 * MB];
    let carried = vec![("eth0.5", MB), ("data", 2 * MB)];
    Case { name: "vlans beside their parent", pod, counted: vec!["eth0"], least, carried }
}

fn a_vlan_whose_parent_is_elsewhere(stage: &Stage) -> Case {
    let pod = without_veth(stage, Driver::Systemd);
    run("set -e; ip link add link far-a name far-9 type vlan id 9; ip link set far-9 up
         ip addr add 10.98.9.1/24 dev far-9; ip link add link wire-a name vlan9 type vlan id 9");
    move_in(&pod, "vlan9", "10.98.9.2/24");
    exchange(&pod, [10, 98, 9, 1].into(), 2 * MB, MB);
    let least = [MB, 2 * MB];
    Case { name: "a vlan alone", pod, counted: vec!["net0"], least, carried: Vec::new() }
}

fn a_macvlan(stage: &Stage) -> Case {
    let pod = without_veth(stage, Driver::Cgroupfs);
    run("set -e; ip addr add 10.98.10.1/24 dev far-b; ip link add link wire-b name macvlan0 type macvlan");
    move_in(&pod, "macvlan0", "10.98.10.2/24");
    exchange(&pod, [10, 98, 10, 1].into(), 2 * MB, 3 * MB);
    let least = [3 * MB, 2 * MB];
    Case { name: "a macvlan", pod, counted: vec!["net0"], least, carried: Vec::new() }
}

/// A dummy has no other end and no parent: what is sent there is nowhere else.
fn dummies(stage: &Stage) -> Case {
    let pod = stage.pod(Driver::Systemd).start().unwrap();
    script(
        &pod,
        "ip link add dummy0 type dummy; ip link set dummy0 up; ip addr add 10.98.12.1/24 dev dummy0",
    );
    exchange(&pod, pod.gateway().unwrap(), MB, 2 * MB);
    pod.output_in(
        &pod.children()[0],
        &["load", "udp", "10.98.12.2", "9", "--count", "1000", "--size", "1000"],
    )
    .unwrap();
    Case {
        name: "a dummy",
        pod,
        counted: vec!["eth0", "dummy0"],
        least: [2 * MB, 2 * MB],
        carried: vec![("dummy0", MB)],
    }
}

/// Two on one parent, which is a dummy of the node's: what they tell each other nobody else sees.
fn ipvlans(stage: &Stage) -> (Case, Case) {
    run("set -e; ip link add nic0 type dummy; ip link set nic0 up");
    let [asker, answerer] = [("1", Driver::Cgroupfs), ("2", Driver::Systemd)].map(|(number, driver)| {
        let pod = without_veth(stage, driver);
        run(&format!("ip link add link nic0 name ipvlan{number} type ipvlan"));
        move_in(&pod, &format!("ipvlan{number}"), &format!("10.98.11.{number}/24"));
        pod
    });
    let mut server = serve_in(Some(&answerer));
    exchange(&asker, [10, 98, 11, 2].into(), 2 * MB, 3 * MB);
    server.kill().unwrap();
    server.wait().unwrap();
    let case = |name, pod, least| Case { name, pod, counted: vec!["net0"], least, carried: Vec::new() };
    (
        case("an ipvlan that asks", asker, [3 * MB, 2 * MB]),
        case("an ipvlan that answers", answerer, [2 * MB, 3 * MB]),
    )
}

fn without_veth(stage: &Stage, driver: Driver) -> MadeUpPod {
    let pod = stage.pod(driver).start().unwrap();
    script(&pod, "ip link delete eth0");
    pod
}

/// Takes a link of the node's into the pod, where it is called `net0`.
fn move_in(pod: &MadeUpPod, link: &str, address: &str) {
    run(&format!("ip link set {link} netns {}", pod.children()[0].pid()));
    script(
        pod,
        &format!("ip link set {link} name net0; ip link set net0 up; ip addr add {address} dev net0"),
    );
}

/// Runs a script in the pod's netns.
fn script(pod: &MadeUpPod, text: &str) {
    pod.output_in(&pod.children()[0], &["/bin/sh", "-ec", text]).unwrap();
}

fn exchange(pod: &MadeUpPod, to: Ipv4Addr, send: u64, receive: u64) {
    let (to, bytes, back) = (to.to_string(), send.to_string(), receive.to_string());
    let words = ["load", "send", &to, PORT, "--bytes", &bytes, "--receive", &back];
    let begun = Instant::now();
    let said = pod.output_in(&pod.children()[0], &words).unwrap();
    println!("       {send} bytes to {to} in {:.1} s", begun.elapsed().as_secs_f64());
    assert_eq!(said.trim(), format!("{{\"sentBytes\":{send},\"receivedBytes\":{receive}}}"));
}

/// The other end of all that is sent, on the node or in a pod; it listens.
fn serve_in(pod: Option<&MadeUpPod>) -> Child {
    let words = ["load", "serve-bytes", "--port", PORT];
    let mut server = match pod {
        Some(pod) => pod.run_in(&pod.children()[0], &words).unwrap(),
        None => Command::new("/bin/load").args(&words[1..]).stdout(Stdio::piped()).spawn().unwrap(),
    };
    // To the end of the line; the rest of its output stays where it is.
    let (output, mut said) = (server.stdout.as_mut().unwrap(), [0]);
    while said != *b"\n" {
        output.read_exact(&mut said).unwrap();
    }
    server
}
