//! Made-up pods are what they say: each process in its cgroup and in the pod's netns, a link whose two ends
//! agree, and nothing left afterwards.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use podvitals_testbed::made_up::{Driver, MadeUpPod};
use podvitals_testbed::{LinkCounters, Qos};

const UID: &str = "9c43f1a0-1111-2222-3333-444455556666";

fn netns(pid: u32) -> u64 {
    fs::metadata(format!("/proc/{pid}/net/dev")).unwrap().ino()
}

fn cgroups(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap()
}

/// The pod's end, once both have counted the same.
fn at_rest(pod: &MadeUpPod) -> LinkCounters {
    for _ in 0..200 {
        let (ours, theirs) = (pod.pod_counters().unwrap(), pod.host_counters().unwrap());
        let swapped = [theirs.tx_bytes, theirs.tx_packets, theirs.rx_bytes, theirs.rx_packets];
        if [ours.rx_bytes, ours.rx_packets, ours.tx_bytes, ours.tx_packets] == swapped {
            return ours;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the ends differ: {:?}, {:?}", pod.pod_counters(), pod.host_counters());
}

fn as_it_says(name: &str, driver: Driver, level: &str) {
    let prefix = format!("/podvitals-{name}");
    let pod =
        MadeUpPod::builder(&prefix, UID).qos(Qos::Burstable).driver(driver).containers(2).start().unwrap();
    let sandbox = pod.sandbox().unwrap().clone();
    assert!(pod.cgroup().starts_with(&format!("{prefix}/{level}")), "{}", pod.cgroup());
    let mut all = vec![sandbox.clone()];
    all.extend_from_slice(pod.children());
    assert_eq!(all.len(), 3);
    for child in &all {
        assert_eq!(netns(child.pid()), netns(sandbox.pid()));
        for line in cgroups(child.pid()).lines() {
            assert!(line.ends_with(&format!(":{}", child.cgroup())), "{line} is not {}", child.cgroup());
        }
        assert!(child.cgroup().contains(child.id()));
    }
    assert_ne!(netns(sandbox.pid()), netns(std::process::id()));

    let before = at_rest(&pod);
    let gateway = pod.gateway().unwrap().to_string();
    let send = ["load", "udp", &gateway, "9", "--count", "700", "--size", "100"];
    let said = pod.output_in(&pod.children()[1], &send).unwrap();
    assert_eq!(said.trim(), r#"{"sentDatagrams":700,"size":100}"#);
    let after = at_rest(&pod);
    let sent = (after.tx_bytes - before.tx_bytes, after.tx_packets - before.tx_packets);
    // Ethernet, IP and UDP take 42 bytes of each; a few frames more ask for the neighbour.
    assert!(sent.0 >= 700 * 142 && (700..720).contains(&sent.1), "{sent:?}");

    let usage = fs::read_to_string(pod.cgroup_dir("cpuacct").unwrap().join("cgroup.procs")).unwrap();
    assert!(usage.trim().is_empty(), "processes live in the children only");

    let (folder, veth) = (pod.cgroup_dir("memory").unwrap(), pod.host_veth().unwrap().to_owned());
    assert!(folder.is_dir());
    drop(pod);
    assert!(!folder.exists());
    assert!(!Path::new("/sys/class/net").join(veth).exists());
    for child in all {
        assert!(!Path::new("/proc").join(child.pid().to_string()).exists());
    }
    assert!(!Path::new("/var/lib/podvitals-testbed").join(name).exists());
}

#[test]
fn a_pod_of_the_cgroupfs_driver_is_as_it_says() {
    as_it_says("made-up-fs", Driver::Cgroupfs, "kubepods/burstable/pod");
}

#[test]
fn a_pod_of_the_systemd_driver_is_as_it_says() {
    as_it_says(
        "made-up-sd",
        Driver::Systemd,
        "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod",
    );
}

#[test]
fn a_pod_without_a_sandbox_has_the_netns_of_its_first_container() {
    let mut pod = MadeUpPod::builder("/podvitals-made-up-no", UID)
        .driver(Driver::Systemd)
        .scope_prefix("crio-")
        .sandbox(false)
        .containers(1)
        .start()
        .unwrap();
    assert_eq!(pod.sandbox_pid(), None);
    let first = pod.children()[0].clone();
    assert!(first.cgroup().contains("/crio-"));
    assert_ne!(netns(first.pid()), netns(std::process::id()));
    let second = pod.add_container().unwrap();
    assert_eq!(netns(first.pid()), netns(second.pid()));
    pod.remove_container(second.id()).unwrap();
    assert!(!second.cgroup_dir("memory").unwrap().exists());
    assert!(!Path::new("/proc").join(second.pid().to_string()).exists());
    assert!(Path::new("/proc").join(first.pid().to_string()).exists());
    pod.stop().unwrap();
}

#[test]
fn a_pod_on_the_host_s_network_has_no_link() {
    let pod = MadeUpPod::builder("/podvitals-made-up-host", UID).host_network(true).start().unwrap();
    assert_eq!(netns(pod.sandbox_pid().unwrap()), netns(std::process::id()));
    assert!(pod.host_veth().is_err());
}
