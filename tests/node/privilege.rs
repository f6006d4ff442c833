//! The default profile: uid 65532, no capability, a pid and network namespace of its own, the host's
//! `/proc` and `/sys/fs/cgroup` mounted read-only.

use std::sync::Arc;

use crate::find::pod;
use crate::network::PORT;
use crate::network::serving;
use crate::network::while_quiet_seeing;
use crate::oracle;
use crate::stage::Stage;

pub(crate) async fn the_default_profile_reads_the_same_figures(stage: Arc<Stage>) {
    let testbed = &stage.testbed;
    let server = testbed.pod("p0-server").run().await.unwrap();
    serving(&server).await;
    let client = testbed.pod("p0-client").run().await.unwrap();
    let container =
        client.container("app").args(["spin", "--duty", "37"]).cpu_limit_millis(200).run().await.unwrap();
    let host = testbed.pod("p0-host").host_network(true).run().await.unwrap();
    host.container("app").args(["idle"]).run().await.unwrap();

    assert_unprivileged(stage.confined_pid);
    let (full, confined) = (&stage.full, &stage.confined);

    container.exchange(server.ip().unwrap(), PORT, 1_000_000, 7).await.unwrap();
    let own = || oracle::net_dev(client.sandbox_pid(), "eth0");
    let link = client.host_veth().unwrap();
    let (network, expected) = while_quiet_seeing(confined, client.uid(), link, own).await;
    assert!(network.total.tx_bytes >= 1_000_000);
    assert_eq!(network.source.as_deref(), Some("netns"));
    assert_eq!(oracle::counters(&network.total), expected);

    let usage = container.cgroup_dir("cpuacct").unwrap().join("cpuacct.usage");
    let before = oracle::number(&usage);
    let (list, all) = (confined.next_list().await, full.next_list().await);
    let after = oracle::number(&usage);
    let (bare, named) = (pod(&list, client.uid()), pod(&all, client.uid()));
    assert_eq!(bare.sandbox.as_ref().unwrap().netns, named.sandbox.as_ref().unwrap().netns);
    assert_eq!(bare.sandbox.as_ref().unwrap().pid, Some(client.sandbox_pid()));
    assert_eq!(bare.sandbox.as_ref().unwrap().host_interface, None);
    assert!(named.sandbox.as_ref().unwrap().host_interface.is_some());
    assert!(bare.identity.is_empty() && bare.name.is_none());

    let id = Some(container.id());
    let ours = bare.containers.iter().find(|container| container.id.as_deref() == id).unwrap();
    let cpu = ours.cpu.as_ref().unwrap();
    assert!((before..=after).contains(&cpu.usage_nanoseconds), "{before}, {cpu:?}, {after}");
    // What share it gets depends on what else the machine does; more than its quota it does not.
    assert!((0.01..0.25).contains(&cpu.cores.unwrap()), "{cpu:?}");
    assert_eq!(cpu.limit_cores, Some(0.2));
    assert!(cpu.throttling.as_ref().unwrap().periods > 0);
    let usage = container.cgroup_dir("memory").unwrap().join("memory.usage_in_bytes");
    let memory = ours.memory.as_ref().unwrap();
    assert!(memory.usage_bytes.abs_diff(oracle::number(usage)) < 4 << 20);
    assert!(memory.working_set_bytes.is_some() && ours.pids.as_ref().unwrap().current >= 1);

    let on_host = pod(&list, host.uid());
    assert!(on_host.host_network && on_host.network.is_none());
    let node = confined.node();
    assert!(node.cpu.is_some() && node.memory.is_some() && node.io.is_some());
    let nics = node.network.unwrap().interfaces;
    let own = oracle::net_dev(1, "eth0");
    assert!(nics.iter().any(|nic| nic.name == "eth0" && nic.traffic.rx_bytes <= own[0]), "{nics:?}");

    for made in [server, client, host] {
        made.stop().await.unwrap();
    }
}

/// The process has no privilege at all.
fn assert_unprivileged(pid: u32) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(field("Uid:"), ["65532"; 4]);
    assert_eq!(field("CapEff:"), ["0000000000000000"]);
    assert_eq!(field("CapBnd:"), ["0000000000000000"]);
    assert_eq!(field("NoNewPrivs:"), ["1"]);
    assert_eq!(field("NSpid:").len(), 2, "a pid namespace of its own");
}
