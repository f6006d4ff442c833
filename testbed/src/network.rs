//! The network of the pods: a bridge of our own, and one veth pair for each pod.
//!
//! The bridge is made here, not by the CNI plugin's `isGateway`, which would turn on the machine's
//! `ip_forward`. Pods reach each other and the bridge's address; nothing is routed or translated.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tokio::process::Command;

use crate::state::StateDir;

/// Of /22, so that a bridge's most ports (1,024) have addresses.
const SUBNET_BITS: u32 = 22;
const SUBNETS: u8 = 64;

/// One testbed's bridge and addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network {
    number: u8,
}

/// What the kernel counted at one end of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the kernel's own names, Documentation/ABI/testing/sysfs-class-net-statistics"
)]
pub struct LinkCounters {
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}

impl LinkCounters {
    /// From `/sys/class/net/<interface>/statistics` of this process's netns.
    pub fn read_host(interface: &str) -> Result<Self> {
        let folder = Path::new("/sys/class/net").join(interface).join("statistics");
        let read = |name: &str| -> Result<u64> {
            let path = folder.join(name);
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            text.trim().parse().with_context(|| path.display().to_string())
        };
        Ok(Self {
            rx_bytes: read("rx_bytes")?,
            rx_packets: read("rx_packets")?,
            rx_errors: read("rx_errors")?,
            rx_dropped: read("rx_dropped")?,
            tx_bytes: read("tx_bytes")?,
            tx_packets: read("tx_packets")?,
            tx_errors: read("tx_errors")?,
            tx_dropped: read("tx_dropped")?,
        })
    }

    /// From `net/dev` of the process's netns: `  eth0: 1016 12 0 0 0 0 0 0 796 10 0 0 0 0 0 0`.
    pub fn read_pod(pid: u32, interface: &str) -> Result<Self> {
        let path = format!("/proc/{pid}/net/dev");
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        for line in text.lines() {
            if let Some((name, values)) = line.split_once(':')
                && name.trim() == interface
            {
                let values: Vec<u64> =
                    values.split_whitespace().filter_map(|value| value.parse().ok()).collect();
                let [
                    rx_bytes,
                    rx_packets,
                    rx_errors,
                    rx_dropped,
                    _,
                    _,
                    _,
                    _,
                    tx_bytes,
                    tx_packets,
                    tx_errors,
                    tx_dropped,
                    ..,
                ] = values[..]
                else {
                    bail!("{path}: {line}");
                };
                return Ok(Self {
                    rx_bytes,
                    rx_packets,
                    rx_errors,
                    rx_dropped,
                    tx_bytes,
                    tx_packets,
                    tx_errors,
                    tx_dropped,
                });
            }
        }
        bail!("{path}: no interface '{interface}'")
    }
}

impl Network {
    /// The network with this number, wherever it may exist.
    pub(crate) fn numbered(number: u8) -> Self {
        Self { number }
    }

    pub(crate) fn number(self) -> u8 {
        self.number
    }

    pub(crate) fn bridge(self) -> String {
        format!("pvt{}", self.number)
    }

    /// The address of the host on the bridge.
    pub(crate) fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.subnet()) + 1)
    }

    fn subnet(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 86, self.number * 4, 0)
    }

    /// The addresses that CNI, which counts from below, does not come to.
    pub(crate) fn upper_half(self) -> String {
        format!(
            "{}/{}",
            Ipv4Addr::from(u32::from(self.subnet()) + (1 << (31 - SUBNET_BITS))),
            SUBNET_BITS + 1
        )
    }

    /// The first that no interface, no route and no other testbed has. The root lock must be held
    /// until the bridge stands.
    pub(crate) fn find_free() -> Result<Self> {
        let taken: Vec<u8> =
            StateDir::all()?.iter().filter_map(|other| other.read_record().ok()?.subnet).collect();
        let path = "/proc/net/route";
        let routes = parse_routes(&fs::read_to_string(path).context(path)?);
        (0..SUBNETS)
            .map(Self::numbered)
            .find(|candidate| {
                !taken.contains(&candidate.number)
                    && !Path::new("/sys/class/net").join(candidate.bridge()).exists()
                    && !routes.iter().any(|route| route.overlaps(candidate.subnet()))
            })
            .context("no free subnet in 10.86.0.0/16 for the pods")
    }

    /// Makes the bridge. Its alias says whose it is: [`Self::remove`] touches no other.
    pub(crate) async fn create(self, state: &StateDir) -> Result<()> {
        let (bridge, alias) = (self.bridge(), state.network());
        let address = format!("{}/{SUBNET_BITS}", self.gateway());
        ip(&["link", "add", "name", &bridge, "type", "bridge"]).await?;
        ip(&["link", "set", "dev", &bridge, "alias", &alias]).await?;
        ip(&["address", "add", &address, "dev", &bridge]).await?;
        ip(&["link", "set", "dev", &bridge, "up"]).await?;
        if frames_pass_iptables() {
            // Without iptables, or where it refuses, there is no rule to be afraid of.
            let _ = self.forward_rule("--insert").await;
        }
        Ok(())
    }

    /// Where bridged frames pass iptables, a Docker's `FORWARD DROP` would stop the pods' traffic.
    async fn forward_rule(self, action: &str) -> Result<()> {
        let bridge = self.bridge();
        let rule = ["--in-interface", &bridge, "--out-interface", &bridge, "--jump", "ACCEPT"];
        let output = Command::new("iptables")
            .args(["--wait", "5", action, "FORWARD"])
            .args(rule)
            .output()
            .await
            .context("iptables")?;
        ensure!(output.status.success(), "iptables: {}", String::from_utf8_lossy(&output.stderr).trim_end());
        Ok(())
    }

    /// Removes the bridge and what still hangs on it, if it is that testbed's. Without an alias it is
    /// too: its maker was killed between two steps, and the record says who that was.
    pub(crate) async fn remove(self, state: &StateDir) -> Result<()> {
        let folder = Path::new("/sys/class/net").join(self.bridge());
        let Ok(alias) = fs::read_to_string(folder.join("ifalias")) else { return Ok(()) };
        if !["", state.network().as_str()].contains(&alias.trim_end()) {
            return Ok(());
        }
        if frames_pass_iptables() {
            while self.forward_rule("--delete").await.is_ok() {}
        }
        let ports = fs::read_dir(folder.join("brif")).into_iter().flatten().flatten();
        for port in ports {
            if let Some(port) = port.file_name().to_str() {
                // It may go by itself this very moment, with its pod's netns.
                let _ = ip(&["link", "delete", "dev", port]).await;
            }
        }
        ip(&["link", "delete", "dev", &self.bridge()]).await
    }

    /// What CNI is told: a `.conflist` for the bridge plugin with host-local addresses.
    pub(crate) fn cni_config(self, state: &StateDir) -> serde_json::Value {
        let subnet = format!("{}/{SUBNET_BITS}", self.subnet());
        json!({
            "cniVersion": "0.4.0",
            "name": state.network(),
            "plugins": [{
                "type": "bridge",
                "bridge": self.bridge(),
                "ipam": {
                    "type": "host-local",
                    "dataDir": state.join("ipam"),
                    "ranges": [[{ "subnet": subnet }]],
                },
            }],
        })
    }
}

/// Documentation/networking/ip-sysctl.rst, `bridge-nf-call-iptables`; absent without br_netfilter.
fn frames_pass_iptables() -> bool {
    fs::read_to_string("/proc/sys/net/bridge/bridge-nf-call-iptables").is_ok_and(|value| value.trim() == "1")
}

/// Runs `ip`; its message is the error.
pub(crate) async fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .arg("-family")
        .arg("inet")
        .args(arguments)
        .output()
        .await
        .context("ip (iproute2)")?;
    ensure!(
        output.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    Ok(())
}

struct Route {
    destination: u32,
    mask: u32,
}

impl Route {
    /// A route wider than /16 (a default route, a VPN over all of 10/8) loses to ours and is left alone.
    fn overlaps(&self, subnet: Ipv4Addr) -> bool {
        let common = self.mask & (u32::MAX << (32 - SUBNET_BITS));
        self.mask.count_ones() >= 16 && self.destination & common == u32::from(subnet) & common
    }
}

/// `pvt0 0000560A 00000000 0001 0 0 0 00FCFFFF 0 0 0`: destination and mask are little-endian hex.
fn parse_routes(text: &str) -> Vec<Route> {
    let field = |text: Option<&str>| u32::from_str_radix(text?, 16).ok().map(u32::swap_bytes);
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let destination = field(fields.next())?;
            let mask = field(fields.nth(5))?;
            Some(Route { destination, mask })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_in_use_is_not_taken_and_a_wide_route_does_not_matter() {
        let routes = parse_routes(
            "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
             eth0 00000000 0101A8C0 0003 0 0 0 00000000 0 0 0\n\
             tun0 0000000A 0101A8C0 0003 0 0 0 000000FF 0 0 0\n\
             pvt0 0000560A 00000000 0001 0 0 0 00FCFFFF 0 0 0\n",
        );
        let overlapping = |n| routes.iter().any(|route| route.overlaps(Network::numbered(n).subnet()));
        assert_eq!(routes.len(), 3);
        assert!(overlapping(0));
        assert!(!overlapping(1));
    }

    #[test]
    fn subnets_lie_side_by_side() {
        assert_eq!(Network::numbered(0).gateway(), Ipv4Addr::new(10, 86, 0, 1));
        assert_eq!(Network::numbered(63).gateway(), Ipv4Addr::new(10, 86, 252, 1));
        assert_eq!(Network::numbered(1).upper_half(), "10.86.6.0/23");
    }
}
