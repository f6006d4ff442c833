//! The program the pods run, `testbed/load`, built statically.
//!
//! It has a target directory of its own: other flags in the common one would make cargo build the
//! workspace anew at every change between the two.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// Builds the program if need be and returns its path. `PODVITALS_TESTBED_LOAD` names one that is
/// already built, for machines without cargo.
pub(crate) async fn build() -> Result<PathBuf> {
    if let Some(ready) = std::env::var_os("PODVITALS_TESTBED_LOAD") {
        return Ok(ready.into());
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("workspace")?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let target = workspace.join(target).join("testbed-load");
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(workspace)
        // With --target the flags do not reach build scripts and macros, which cannot be static.
        .args(["build", "--quiet", "--locked", "--release", "--package", "podvitals-load", "--bin", "load"])
        .args(["--target", &triple])
        .arg("--target-dir")
        .arg(&target)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET")
        .output()
        .await
        .context("cargo")?;
    ensure!(
        output.status.success(),
        "cargo build of the load program: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(target.join(triple).join("release/load"))
}
