//! What containerd tells beyond CRI: pids, and what the CNI plugin made.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};

/// What we read of containerd's verbose status, the JSON under the key `info`.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Info {
    /// Of the first process; never 0.
    pub(crate) pid: u32,
    cni_result: Option<CniResult>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CniResult {
    interfaces: HashMap<String, CniInterface>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CniInterface {
    /// Empty for an interface of the host.
    #[serde(default)]
    sandbox: String,
}

impl Info {
    /// The host interface that is not the bridge.
    pub(crate) fn host_veth(&self, bridge: &str) -> Option<String> {
        let interfaces = &self.cni_result.as_ref()?.interfaces;
        interfaces
            .iter()
            .find(|(name, interface)| interface.sandbox.is_empty() && *name != bridge)
            .map(|(name, _)| name.clone())
    }
}

/// Reads the JSON under `info`. A process that has ended is an error.
pub(crate) fn parse_info(info: &HashMap<String, String>) -> Result<Info> {
    let text = info.get("info").context("containerd's status has no 'info'")?;
    let info: Info = serde_json::from_str(text).context("containerd's 'info'")?;
    if info.pid == 0 {
        bail!("its process has already ended");
    }
    Ok(info)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(text: &str) -> Result<Info> {
        parse_info(&HashMap::from([("info".to_owned(), text.to_owned())]))
    }

    #[test]
    fn the_host_veth_is_the_host_interface_that_is_not_the_bridge() {
        let info = info(
            r#"{"pid":4242,"cniResult":{"Interfaces":{"eth0":{"Sandbox":"/run/netns/a"},"lo":{"Sandbox":"/run/netns/a"},
               "pvt0":{"Mac":"02:00:00:00:00:01","Sandbox":""},"veth1a2b":{"Mac":"02:00:00:00:00:02","Sandbox":""}}}}"#,
        );
        assert_eq!(info.unwrap().host_veth("pvt0").as_deref(), Some("veth1a2b"));
    }

    #[test]
    fn a_dead_process_is_not_pid_0() {
        assert!(info(r#"{"pid":0}"#).is_err());
        assert!(info("{}").is_err());
        assert_eq!(info(r#"{"pid":7,"cniResult":null}"#).unwrap().host_veth("pvt0"), None);
    }
}
