//! A port of a pod on this machine, as `kubectl port-forward` makes it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::timeout;

use super::Cluster;

const PATIENCE: Duration = Duration::from_secs(30);

/// Ends when it is dropped.
pub struct PortForward {
    address: SocketAddr,
    child: Child,
}

impl PortForward {
    pub(super) async fn start(cluster: &Cluster, mut command: Command) -> Result<Self> {
        let mut child = cluster.spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
        let mut lines = BufReader::new(child.stdout.take().context("port-forward")?).lines();
        let (first, told) = tokio::sync::oneshot::channel();
        // Reads on, or kubectl would one day wait for us to read.
        std::thread::spawn(move || {
            let _ = first.send(lines.next());
            lines.for_each(drop);
        });
        let mut forward = Self { address: SocketAddr::from(([127, 0, 0, 1], 0)), child };
        let line = timeout(PATIENCE, told).await.context("kubectl port-forward says nothing")??;
        let Some(line) = line.transpose()? else {
            bail!("kubectl port-forward ended: {}", forward.child.wait()?)
        };
        forward.address = parse_address(&line).with_context(|| format!("kubectl port-forward: {line}"))?;
        Ok(forward)
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for PortForward {
    fn drop(&mut self) {
        // It may have ended by itself, with its pod.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `Forwarding from 127.0.0.1:41233 -> 9790`
fn parse_address(line: &str) -> Option<SocketAddr> {
    line.strip_prefix("Forwarding from ")?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_what_kubectl_says() {
        let expected = SocketAddr::from(([127, 0, 0, 1], 41233));
        assert_eq!(parse_address("Forwarding from 127.0.0.1:41233 -> 9790"), Some(expected));
        assert_eq!(parse_address("error: pod not found"), None);
    }
}
