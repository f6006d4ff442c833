//! A program that a test runs beside the cluster, on the node itself and under an account of the cluster:
//! what users run in a pod, without an image of it.

use std::path::PathBuf;
use std::process::Child;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::Cluster;

/// Ends when it is dropped, and with the cluster at the latest.
pub struct Beside {
    child: Child,
}

impl Cluster {
    /// Starts one of the programs that `scripts/kubernetes` builds; [`Self::log_tail`] shows what it says.
    pub fn start_beside(&self, program: &str, arguments: Vec<String>) -> Result<Beside> {
        let there = self.tools.folder().join(program).exists();
        ensure!(there, "no {program} in {}: run scripts/kubernetes", self.tools.folder().display());
        Ok(Beside { child: self.launch(self.command(program), program, arguments)? })
    }

    /// A kubeconfig for whoever holds that token.
    pub fn kubeconfig_of(&self, name: &str, token: &str) -> Result<PathBuf> {
        self.layout.write_kubeconfig_with(name, &json!({ "token": token }), &self.certificates)?;
        Ok(self.layout.kubeconfig(name))
    }

    /// A folder for files of a program, which goes with the cluster.
    pub fn folder_for(&self, program: &str) -> Result<PathBuf> {
        let folder = self.layout.folder(program);
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        Ok(folder)
    }
}

impl Beside {
    /// Whether it has not ended by itself.
    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
