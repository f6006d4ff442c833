//! Network: exact to the byte and the packet, against the other end of the veth.

use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use podvitals::model::document::Network;
use podvitals::model::unavailable::Unavailable;
use podvitals_testbed::made_up::Driver;
use podvitals_testbed::made_up::MadeUpPod;
use tokio::time::Instant;

use crate::find::pod;
use crate::oracle;
use crate::stage::DRIVERS;
use crate::stage::Stage;

const MB: u64 = 1_000_000;
/// Sent and received by a pod, of either driver.
const AMOUNTS: [(Driver, u64, u64); 4] = [
    (Driver::Cgroupfs, 0, 0),
    (Driver::Systemd, MB, 2 * MB),
    (Driver::Cgroupfs, 50 * MB, 7 * MB),
    (Driver::Systemd, 50 * MB, 0),
];
const PORT: &str = "5001";

pub(crate) async fn bytes_and_packets_equal_the_host_s_end(stage: Arc<Stage>) {
    let mut server = Command::new("/bin/load")
        .args(["serve-bytes", "--port", PORT])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    for (driver, sent, received) in AMOUNTS {
        let client = stage.pod(driver).start().unwrap();
        let gateway = client.gateway().unwrap().to_string();
        if sent > 0 {
            let (bytes, back) = (sent.to_string(), received.to_string());
            let send = ["load", "send", &gateway, PORT, "--bytes", &bytes, "--receive", &back];
            let said = client.output_in(&client.children()[0], &send).unwrap();
            assert_eq!(said.trim(), format!("{{\"sentBytes\":{sent},\"receivedBytes\":{received}}}"));
        }
        stage.settled(&client).await;
        let network = while_quiet(&stage, &client).await;
        assert_eq!(network.source.as_deref(), Some("netns"));
        assert!(network.total.tx_bytes >= sent, "{} < {sent}", network.total.tx_bytes);
        assert!(network.total.rx_bytes >= received, "{} < {received}", network.total.rx_bytes);
        let interfaces: Vec<_> = network.interfaces.iter().map(|nic| nic.name.as_str()).collect();
        assert!(interfaces.contains(&"eth0"), "{interfaces:?}");
    }
    server.kill().unwrap();
    server.wait().unwrap();
}

pub(crate) async fn a_pod_on_the_host_s_network_has_none_of_its_own(stage: Arc<Stage>) {
    for driver in DRIVERS {
        let made = stage.pod(driver).host_network(true).start().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let shown = loop {
            let list = stage.daemon.next_list().await;
            let there = list.pods.iter().find(|pod| pod.runtime_uid == made.uid());
            // A verdict may take some sweeps; a figure would be wrong in any of them.
            assert!(there.is_none_or(|pod| pod.network.is_none()), "the node's traffic: {there:#?}");
            if let Some(pod) = there.filter(|pod| pod.host_network) {
                break pod.clone();
            }
            assert!(Instant::now() < deadline, "{there:#?}");
        };
        assert_eq!(shown.unavailable.get("network"), Some(&Unavailable::HostNetwork));
        assert!(shown.cpu.is_some() && shown.memory.is_some(), "the rest is its own: {shown:?}");
    }
}

/// The pod's network in a sweep during which nothing moved, after it was compared with the host's end.
pub(crate) async fn while_quiet(stage: &Stage, of: &MadeUpPod) -> Network {
    let link = of.host_veth().unwrap();
    for _ in 0..20 {
        let before = oracle::host_link(link);
        let list = stage.daemon.next_list().await;
        if before != oracle::host_link(link) {
            continue;
        }
        let network = pod(&list, of.uid()).network.clone().unwrap();
        let total = &network.total;
        let ours = [total.tx_bytes, total.tx_packets, total.rx_bytes, total.rx_packets];
        assert_eq!(ours, before, "tx and rx of the pod against rx and tx of {link}");
        return network;
    }
    panic!("{link} was never quiet for a whole sweep");
}
